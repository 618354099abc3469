//! Certificates as files: read, judged whole, and kept as what handshakes need.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};

use crate::provider::provider;
use crate::x509::{self, Facts};

/// The largest file that is read. Bundles of all public authorities have a quarter of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A chain with its private key.
pub struct Identity {
    /// What handshakes use.
    pub key: Arc<CertifiedKey>,
    /// The leaf's DNS names.
    pub names: Vec<String>,
    /// The first second since 1970 at which all of the chain is valid.
    pub not_before: i64,
    /// The last.
    pub not_after: i64,
}

/// One of the files of an [`Identity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichFile {
    /// The chain's.
    Certificate,
    /// The private key's.
    Key,
}

/// Why files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct FileFault {
    /// Which file is at fault.
    pub file: WhichFile,
    /// The file, and what is wrong with it.
    pub reason: String,
}

/// What the file system says of a file; two that are equal are of the same content, but for writes within one tick of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMark([i64; 7]);

impl FileMark {
    /// That of the file that a path leads to, symbolic links followed; none when there is none to be seen.
    pub fn of(path: impl AsRef<Path>) -> Option<Self> {
        let data = fs::metadata(path).ok()?;
        Some(Self([
            data.dev() as i64,
            data.ino() as i64,
            data.size() as i64,
            data.mtime(),
            data.mtime_nsec(),
            data.ctime(),
            data.ctime_nsec(),
        ]))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads a chain, leaf first, and the leaf's private key, both PEM.
    ///
    /// # Errors
    /// A file that cannot be read or is not what it should be, or a key that is not the certificate's.
    pub fn load(cert: &str, key: &str) -> Result<Self, FileFault> {
        let in_cert = |reason: String| FileFault { file: WhichFile::Certificate, reason };
        let in_key = |reason: String| FileFault { file: WhichFile::Key, reason };
        let chain = authorities(cert).map_err(in_cert)?;
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

    /// What an operator should know about its validity at a time in seconds since 1970.
    pub fn warning(&self, now: i64) -> Option<String> {
        const SOON: i64 = 14 * 24 * 3600;
        let days = (self.not_after - now) / (24 * 3600);
        if now > self.not_after {
            Some(format!("has expired {} days ago", -days))
        } else if now < self.not_before {
            Some("is not valid yet".to_owned())
        } else if self.not_after - now < SOON {
            Some(format!("expires in {days} days"))
        } else {
            None
        }
    }
}

/// Every certificate of a PEM file; at least one.
///
/// # Errors
/// The file, and what is wrong with it.
pub fn authorities(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
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

/// Every certificate of a PEM file as authorities to judge others by.
///
/// # Errors
/// The file, and what is wrong with it.
pub fn roots(path: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (index, authority) in authorities(path)?.into_iter().enumerate() {
        roots.add(authority).map_err(|fault| format!("{path}: certificate {}: {fault}", index + 1))?;
    }
    Ok(roots)
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
