//! Certificates as files: read, judged whole, and kept as what handshakes need.
//!
//! Loading reads files and so is for the control thread alone. What it gives is immutable; a changed file gives
//! another one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use weir_model::resource::CertificateSpec;
use weir_tls::{Identity, WhichFile, authorities};

/// What the files of `Certificate` resources came to, as far as they were looked at.
pub type Certificates = BTreeMap<CertificateFiles, Result<Arc<LoadedCertificate>, LoadFault>>;

/// The files of one `Certificate`, loaded.
pub struct LoadedCertificate {
    files: CertificateFiles,
    pub(super) identity: Option<Identity>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
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
            (Some(cert), Some(key)) => Some(Identity::load(cert, key).map_err(|fault| LoadFault {
                field: match fault.file {
                    WhichFile::Certificate => "spec.certFile",
                    WhichFile::Key => "spec.keyFile",
                },
                reason: fault.reason,
            })?),
            _ => None,
        };
        let authorities = match &files.ca {
            Some(ca) => authorities(ca).map_err(|reason| LoadFault { field: "spec.caFile", reason })?,
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
        self.identity.as_ref()?.warning(now)
    }
}
