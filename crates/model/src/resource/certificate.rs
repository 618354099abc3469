//! `Certificate`: a certificate chain and its private key, or certificates to trust, in files of the proxy's host.

use serde::{Deserialize, Serialize};

/// The spec of a `Certificate`. `certFile` and `keyFile` belong together: what is presented. `caFile` is what is
/// trusted. At least one of the two is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    /// Path of the PEM certificate chain, leaf first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// Path of the PEM private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Path of a PEM bundle of authorities, to validate the other side's certificate with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}
