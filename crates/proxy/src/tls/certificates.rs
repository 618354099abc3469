//! Certificates as files: read, judged whole, and kept as what handshakes need.
//!
//! Loading reads files and so is for the control thread alone. What it gives is immutable; a changed file gives
//! another one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::Error;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use weir_model::resource::CertificateSpec;

use super::provider::provider;
use super::x509::{self, Facts};

/// The largest file that is read. Bundles of all public authorities have a quarter of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What the files of `Certificate` resources came to, as far as they were looked at.
pub type Certificates = BTreeMap<CertificateFiles, Result<Arc<LoadedCertificate>, LoadFault>>;

/// The files of one `Certificate`, loaded.
pub struct LoadedCertificate {
    files: CertificateFiles,
    pub(super) identity: Option<Identity>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
}

/// A chain with its private key.
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    /// The leaf's DNS names.
    pub(super) names: Vec<String>,
    /// The first second since 1970 at which not all of the chain is valid.
    not_before: i64,
    not_after: i64,
}

/// Why a `Certificate` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct LoadFault {
    /// The field that names the file at fault.
    pub field: &'static str,
    /// The file, and what is wrong with it.
    pub reason: String,
}

/// The files that a `Certificate` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub cert: Option<String>,
    /// The leaf's private key.
    pub key: Option<String>,
    /// Authorities to judge peers by.
    pub ca: Option<String>,
}

impl CertificateFiles {
    /// Those of a resource.
    pub fn of(spec: &CertificateSpec) -> Self {
        Self { cert: spec.cert_file.clone(), key: spec.key_file.clone(), ca: spec.ca_file.clone() }
    }

    /// Each of them.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        [&self.cert, &self.key, &self.ca].into_iter().flatten().map(String::as_str)
    }
}

impl fmt::Debug for LoadedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        let names = self.identity.as_ref().map(|identity| &identity.names);
        f.debug_struct("LoadedCertificate")
            .field("files", &self.files)
            .field("names", &names)
            .field("authorities", &self.authorities.len())
            .finish()
    }
}

impl LoadedCertificate {
    /// Reads the files of a `Certificate` and judges them.
    ///
    /// # Errors
    /// A file that cannot be read or is not what it should be, or a key that is not the certificate's.
    pub fn load(files: &CertificateFiles) -> Result<Self, LoadFault> {
        let identity = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => Some(Identity::load(cert, key)?),
            _ => None,
        };
        let authorities = match &files.ca {
            Some(ca) => chain(ca).map_err(|reason| LoadFault { field: "spec.caFile", reason })?,
            None => Vec::new(),
        };
        Ok(Self { files: files.clone(), identity, authorities })
    }

    /// The files that it is from.
    pub fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// When it ends, in seconds since 1970: the earliest end in its chain.
    pub fn not_after(&self) -> Option<i64> {
        self.identity.as_ref().map(|identity| identity.not_after)
    }

    /// What an operator should know about its validity at a time in seconds since 1970.
    pub fn warning(&self, now: i64) -> Option<String> {
        const SOON: i64 = 14 * 24 * 3600;
        let Identity { not_before, not_after, .. } = self.identity.as_ref()?;
        let days = (not_after - now) / (24 * 3600);
        if now > *not_after {
            Some(format!("has expired {} days ago", -days))
        } else if now < *not_before {
            Some("is not valid yet".to_owned())
        } else if not_after - now < SOON {
            Some(format!("expires in {days} days"))
        } else {
            None
        }
    }
}

impl Identity {
    fn load(cert: &str, key: &str) -> Result<Self, LoadFault> {
        let in_cert = |reason: String| LoadFault { field: "spec.certFile", reason };
        let in_key = |reason: String| LoadFault { field: "spec.keyFile", reason };
        let chain = chain(cert).map_err(in_cert)?;
        let facts: Option<Vec<Facts>> = chain.iter().map(|certificate| x509::facts(certificate)).collect();
        let facts = facts.filter(|facts| !facts.is_empty());
        let Some(facts) = facts else { return Err(in_cert(format!("{cert}: not an X.509 certificate"))) };
        if let Some(at) = facts.windows(2).position(|pair| pair[0].issuer != pair[1].subject) {
            return Err(in_cert(format!(
                "{cert}: certificate {} did not issue certificate {}: expected the leaf first, then each one's issuer",
                at + 2,
                at + 1
            )));
        }
        let private = private_key(key).map_err(in_key)?;
        let key = CertifiedKey::from_der(chain, private, &provider()).map_err(|fault| match fault {
            Error::InconsistentKeys(_) => in_key(format!("{key}: not the key of the certificate in {cert}")),
            Error::InvalidCertificate(_) => in_cert(format!("{cert}: {fault}")),
            fault => in_key(format!("{key}: {fault}: expected an RSA, ECDSA or Ed25519 private key")),
        })?;
        Ok(Self {
            key: Arc::new(key),
            not_before: facts.iter().map(|one| one.not_before).max().unwrap_or_default(),
            not_after: facts.iter().map(|one| one.not_after).min().unwrap_or_default(),
            names: facts.into_iter().next().map(|leaf| leaf.names).unwrap_or_default(),
        })
    }
}

/// Every certificate of a PEM file.
fn chain(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path).map_err(|fault| format!("{path}: {fault}"))?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            Err(format!("{path}: no certificate in it: expected PEM, `-----BEGIN CERTIFICATE-----`"))
        }
        Ok(chain) => Ok(chain),
        Err(fault) => Err(format!("{path}: not PEM: {fault}")),
    }
}

fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(path).map_err(|fault| format!("{path}: {fault}"))?;
    if is_open_to_others(path) {
        tracing::warn!(path, "every user of this host can read the private key");
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|fault| match fault {
        pem::Error::NoItemsFound => {
            format!(
                "{path}: no private key in it: expected PEM, `-----BEGIN PRIVATE KEY-----`, not encrypted"
            )
        }
        fault => format!("{path}: not PEM: {fault}"),
    })
}

fn is_open_to_others(path: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(Path::new(path)).is_ok_and(|data| data.permissions().mode() & 0o004 != 0)
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // Not by its size: what is no plain file has none.
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}
