//! TLS to an upstream: what this side demands of it and shows it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption, Tls12Resumption};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use weir_tls::{MinVersion, provider, system_roots};

use super::LoadedCertificate;
use super::server::{roots, same_all};

/// Servers whose sessions are kept for resumption, per upstream: each name or address counts as one.
const SESSIONS_MAX: usize = 256;

/// How an upstream is called over TLS.
#[derive(Clone, Debug)]
pub struct ClientTlsSpec {
    /// The name that its certificate must have, and that is sent as SNI; the endpoint's own name or address when absent.
    pub server_name: Option<String>,
    /// Where the authorities are; the system's when empty.
    pub authorities: Vec<Arc<LoadedCertificate>>,
    /// What is shown to upstreams that ask for a certificate.
    pub identity: Option<Arc<LoadedCertificate>>,
    /// Whether the upstream's certificate is looked at at all.
    pub verify: bool,
    /// The application protocols that are offered, in this order.
    pub protocols: &'static [&'static [u8]],
}

/// TLS to one upstream.
#[derive(Debug)]
pub struct ClientTls {
    spec: ClientTlsSpec,
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// Makes an upstream's TLS. `previous` is the same upstream's before, and is given back if nothing has changed; the
    /// sessions of another are forgotten.
    ///
    /// # Errors
    /// What is missing or wrong, in a sentence.
    pub fn new(spec: &ClientTlsSpec, previous: Option<&Arc<Self>>) -> Result<Arc<Self>, String> {
        if let Some(previous) = previous
            && same(&previous.spec, spec)
        {
            return Ok(Arc::clone(previous));
        }
        let name = match &spec.server_name {
            Some(name) => {
                Some(server_name(name).ok_or_else(|| format!("`{name}` is not a DNS name or an address"))?)
            }
            None => None,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(MinVersion::Tls12.versions())
            .map_err(|fault| fault.to_string())?;
        let builder = if !spec.verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate))
        } else if spec.authorities.is_empty() {
            builder
                .with_root_certificates(system_roots().map_err(|none| format!("{none}: expected `caRefs`"))?)
        } else {
            builder.with_root_certificates(roots(&spec.authorities)?)
        };
        let mut config = match &spec.identity {
            None => builder.with_no_client_auth(),
            Some(one) => {
                let Some(identity) = &one.identity else {
                    return Err("the certificate has no `certFile` and `keyFile`".to_owned());
                };
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
                    identity.key.clone(),
                )))
            }
        };
        config.alpn_protocols = spec.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS_MAX));
        config.resumption = Resumption::store(sessions).tls12_resumption(Tls12Resumption::SessionIdOrTickets);
        Ok(Arc::new(Self { spec: spec.clone(), config: Arc::new(config), name }))
    }

    /// What handshakes are made from.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The name that the certificate must have, for an endpoint that is called by this host.
    pub(crate) fn name(&self, host: impl FnOnce() -> String) -> Option<ServerName<'static>> {
        self.name.clone().or_else(|| server_name(&host()))
    }

    /// Whether nothing can be sent unless the upstream agrees to a protocol: HTTP/2 is not spoken to who does not say
    /// that he knows it (RFC 9113 section 3.2).
    pub(crate) fn needs_protocol(&self) -> bool {
        self.spec.protocols.contains(&&b"h2"[..])
    }
}

fn server_name(text: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(text.strip_suffix('.').unwrap_or(text).to_owned()).ok()
}

fn same(a: &ClientTlsSpec, b: &ClientTlsSpec) -> bool {
    let same_identity = match (&a.identity, &b.identity) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    };
    a.server_name == b.server_name
        && a.verify == b.verify
        && a.protocols == b.protocols
        && same_identity
        && same_all(&a.authorities, &b.authorities)
}

/// Takes every certificate, as `insecureSkipVerify` says; that its holder has the key is still shown.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
