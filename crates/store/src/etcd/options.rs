//! Where an etcd cluster is, and how to get in: `etcd://HOST:PORT[,HOST:PORT...][?OPTION=VALUE&...]`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use weir_tls::{ClientFiles, Connectors, Names};

use crate::{Error, Limits};

/// etcd's port for clients.
const PORT: u16 = 2379;
/// What is spoken inside TLS: gRPC's HTTP/2.
const PROTOCOL: &[u8] = b"h2";
/// Most members that are named.
const MEMBERS_MAX: usize = 16;

/// Where a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdAddress {
    /// `host:port` of each member.
    members: Vec<String>,
    /// What all keys begin with in etcd.
    prefix: String,
    user: Option<String>,
    password_file: Option<PathBuf>,
    /// Whether connections are encrypted.
    tls: bool,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    /// Whether old revisions are compacted from here.
    compacts: bool,
}

/// A user of etcd's.
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// How an etcd is used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EtcdOptions {
    /// What is refused beforehand. etcd's own bounds, as they are if nobody has changed them, are the default.
    pub limits: Limits,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        let limits = Limits {
            txn_ops_max: 128,
            // A request has 1.5 MiB at most, keys and framing included.
            txn_bytes_max: (1 << 20) + (1 << 18),
            value_bytes_max: 1 << 20,
            range_entries_max: 1000,
            ..Limits::default()
        };
        Self { limits }
    }
}

impl EtcdAddress {
    /// `host:port` of each member that was named.
    pub fn members(&self) -> &[String] {
        &self.members
    }

    /// What all keys begin with in etcd.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether connections are encrypted.
    pub fn speaks_tls(&self) -> bool {
        self.tls
    }

    /// Whether history is forgotten from here; not if whoever runs etcd sees to it.
    pub(super) fn compacts(&self) -> bool {
        self.compacts
    }

    pub(super) fn endpoints(&self) -> Vec<String> {
        // With TLS as well: the transport is not told that its bytes are encrypted.
        self.members.iter().map(|member| format!("http://{member}")).collect()
    }

    /// Who is let in, if etcd asks for it.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>, String> {
        let Some(user) = self.user.clone() else { return Ok(None) };
        let mut password = match &self.password_file {
            Some(path) => {
                String::from_utf8(read(path)?).map_err(|_| format!("{}: not text", path.display()))?
            }
            None => String::new(),
        };
        password.truncate(password.trim_end_matches(['\r', '\n']).len());
        Ok(Some(Credentials { user, password }))
    }

    /// How connections are encrypted, if they are.
    pub(super) fn tls(&self) -> Result<Option<Arc<Connectors>>, String> {
        if !self.tls {
            return Ok(None);
        }
        let identity = self.cert.clone().zip(self.key.clone());
        let names = Names { ca: "?ca=", cert: "?cert=", key: "?key=" };
        let files = ClientFiles { ca: self.ca.clone(), identity, names };
        let connectors = Connectors::load(files, PROTOCOL)?;
        Ok(Some(Arc::new(connectors)))
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("option {option:?} has no value"));
        }
        match option {
            "prefix" => {
                if value.contains('\0') || value.len() > 256 {
                    return Err("prefix: expected at most 256 bytes without NUL".to_owned());
                }
                self.prefix = value.trim_end_matches('/').to_owned();
            }
            "user" => self.user = Some(value.to_owned()),
            "password-file" => self.password_file = Some(value.into()),
            "ca" => self.ca = Some(value.into()),
            "cert" => self.cert = Some(value.into()),
            "key" => self.key = Some(value.into()),
            "compact" => {
                self.compacts =
                    value.parse().map_err(|_| format!("compact: expected true or false, got {value:?}"))?;
                return Ok(());
            }
            "tls" => {
                self.tls =
                    value.parse().map_err(|_| format!("tls: expected true or false, got {value:?}"))?;
                return Ok(());
            }
            _ => {
                let known = "prefix, user, password-file, tls, ca, cert, key, compact";
                return Err(format!("unknown option {option:?}, expected one of {known}"));
            }
        }
        self.tls |= matches!(option, "ca" | "cert" | "key");
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.cert.is_some() != self.key.is_some() {
            return Err("cert and key belong together: both or neither".to_owned());
        }
        if self.user.is_some() != self.password_file.is_some() {
            return Err("user and password-file belong together: both or neither".to_owned());
        }
        if !self.tls && (self.ca.is_some() || self.cert.is_some()) {
            return Err("tls=false, but there is a certificate".to_owned());
        }
        Ok(())
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|why| format!("{}: {why}", path.display()))
}

fn member(text: &str) -> Result<String, String> {
    let bad = || format!("expected HOST:PORT, got {text:?}");
    if text.is_empty() || text.contains(['@', '/', ' ']) || text.contains("://") {
        return Err(bad());
    }
    let has_port = text.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && !host.is_empty() && (!host.contains(':') || host.ends_with(']'))
    });
    match has_port {
        true => Ok(text.to_owned()),
        false if text.contains(':') && !text.ends_with(']') => Err(bad()),
        false => Ok(format!("{text}:{PORT}")),
    }
}

impl FromStr for EtcdAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || -> Result<Self, String> {
            let rest = text
                .strip_prefix("etcd://")
                .ok_or_else(|| format!("expected \"etcd://...\", got {text:?}"))?;
            let (members, options) = rest.split_once('?').unwrap_or((rest, ""));
            if members.contains('@') {
                return Err(
                    "a user is named with ?user=NAME&password-file=PATH: secrets do not belong in addresses"
                        .to_owned(),
                );
            }
            let members: Vec<String> =
                members.trim_end_matches('/').split(',').map(member).collect::<Result<_, _>>()?;
            if members.len() > MEMBERS_MAX {
                return Err(format!("{} members, at most {MEMBERS_MAX} can be named", members.len()));
            }
            let mut etcd = Self {
                members,
                prefix: String::new(),
                user: None,
                password_file: None,
                tls: false,
                ca: None,
                cert: None,
                key: None,
                compacts: true,
            };
            for option in options.split('&').filter(|option| !option.is_empty()) {
                let (name, value) =
                    option.split_once('=').ok_or_else(|| format!("expected OPTION=VALUE, got {option:?}"))?;
                etcd.set(name, value)?;
            }
            etcd.check()?;
            Ok(etcd)
        };
        parse().map_err(|reason| Error::InvalidArgument { field: "store", reason })
    }
}

impl fmt::Display for EtcdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcd://{}", self.members.join(","))?;
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let options = [
            ("prefix", Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty())),
            ("user", self.user.clone()),
            ("password-file", path(&self.password_file)),
            ("tls", self.tls.then(|| "true".to_owned())),
            ("ca", path(&self.ca)),
            ("cert", path(&self.cert)),
            ("key", path(&self.key)),
            ("compact", (!self.compacts).then(|| "false".to_owned())),
        ];
        let mut sign = '?';
        for (name, value) in options {
            if let Some(value) = value {
                write!(f, "{sign}{name}={value}")?;
                sign = '&';
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_written() {
        for text in [
            "etcd://a:2379",
            "etcd://a:2379,b:2380,[::1]:2379?prefix=/weir&user=root&password-file=/run/p",
            "etcd://a:1?tls=true&ca=/etc/ca.pem&cert=/c&key=/k&compact=false",
        ] {
            assert_eq!(text.parse::<EtcdAddress>().expect("valid").to_string(), text);
        }
        let short = "etcd://a,10.0.0.1,[::1]/?prefix=/weir/".parse::<EtcdAddress>().expect("valid");
        assert_eq!(short.to_string(), "etcd://a:2379,10.0.0.1:2379,[::1]:2379?prefix=/weir");
    }

    #[test]
    fn bad_addresses_say_what_is_expected() {
        for (text, expected) in [
            ("etcd:a", "etcd://"),
            ("etcd://", "HOST:PORT"),
            ("etcd://a,,b", "HOST:PORT"),
            ("etcd://a:x", "HOST:PORT"),
            ("etcd://::1:2379", "HOST:PORT"),
            ("etcd://root:secret@a", "password-file"),
            ("etcd://a?prefix", "OPTION=VALUE"),
            ("etcd://a?prefix=", "no value"),
            ("etcd://a?Prefix=x", "unknown option"),
            ("etcd://a?cert=x", "belong together"),
            ("etcd://a?tls=maybe", "true or false"),
            ("etcd://a?ca=x&tls=false", "certificate"),
            ("etcd://a?password-file=x", "belong together"),
            ("etcd://a?user=x", "belong together"),
        ] {
            let error = text.parse::<EtcdAddress>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
