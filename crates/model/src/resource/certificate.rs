//! `Certificate`: a certificate chain and its private key, in files of the proxy's host.

use serde::{Deserialize, Serialize};

/// The spec of a `Certificate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    /// Path of the PEM certificate chain, leaf first.
    pub cert_file: String,
    /// Path of the PEM private key.
    pub key_file: String,
}
