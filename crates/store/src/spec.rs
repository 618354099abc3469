//! Naming an engine in a flag or a config file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Embedded, Error, Etcd, EtcdAddress, EtcdOptions, Memory, Options, Store};

/// Which engine to open: `memory`, `embedded:PATH` or `etcd://HOST:PORT,...`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spec {
    /// [`Memory`].
    Memory,
    /// [`Embedded`] with its file at this path.
    Embedded(PathBuf),
    /// [`Etcd`] at these addresses.
    Etcd(EtcdAddress),
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Self, Error> {
        match spec.split_once(':') {
            None if spec == "memory" => Ok(Self::Memory),
            Some(("embedded", path)) if !path.is_empty() => Ok(Self::Embedded(path.into())),
            Some(("etcd", _)) => spec.parse().map(Self::Etcd),
            _ => {
                let reason = format!(
                    "expected \"memory\", \"embedded:PATH\" or \"etcd://HOST:PORT,...\", got {spec:?}"
                );
                Err(Error::InvalidArgument { field: "store", reason })
            }
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Embedded(path) => write!(f, "embedded:{}", path.display()),
            Self::Etcd(address) => address.fmt(f),
        }
    }
}

/// Opens an engine with its defaults. Must be called within a tokio runtime; may block for as long as the recovery of
/// a file takes.
///
/// # Errors
/// What [`Embedded::open`] and [`Etcd::open`] answer.
pub async fn open(spec: &Spec) -> Result<Arc<dyn Store>, Error> {
    match spec {
        Spec::Memory => Ok(Arc::new(Memory::new())),
        Spec::Embedded(path) => Ok(Arc::new(Embedded::open(path, Options::default())?)),
        Spec::Etcd(address) => Ok(Arc::new(Etcd::open(address, EtcdOptions::default()).await?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_read_back_as_written() {
        for spec in
            ["memory", "embedded:/var/lib/weir/store.redb", "embedded:a:b", "etcd://a:1,b:2?prefix=/x"]
        {
            assert_eq!(spec.parse::<Spec>().expect("valid").to_string(), spec);
        }
        for spec in ["", "Memory", "memory:x", "embedded", "embedded:", "etcd:x"] {
            assert!(spec.parse::<Spec>().is_err(), "{spec}");
        }
    }
}
