//! TLS that ends here: what one section of a listener offers its clients.
//!
//! A section's sessions are resumed by tickets that hold the session itself, encrypted under keys that all workers share
//! and that change every six hours. The keys belong to one section and to its rule for client certificates: a session
//! begun under one rule cannot be resumed under another.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};

use weir_tls::{MinVersion, provider};

use super::LoadedCertificate;

/// The application protocols that clients of HTTP sections are offered, in this order.
pub(crate) const HTTP_PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// What a section of a listener is to offer.
#[derive(Clone, Debug)]
pub struct ServerTlsSpec {
    /// The certificates, at least one, each with a key. The first is for clients whose name none of them is for.
    pub certificates: Vec<Arc<LoadedCertificate>>,
    /// The oldest version.
    pub min_version: MinVersion,
    /// Whether clients must, or may, show a certificate.
    pub clients: Option<ClientCheck>,
    /// Whether HTTP is spoken inside, and so protocols are negotiated.
    pub http: bool,
}

/// How clients' certificates are judged.
#[derive(Clone, Debug)]
pub struct ClientCheck {
    /// Where the authorities are.
    pub authorities: Vec<Arc<LoadedCertificate>>,
    /// What becomes of clients without a valid one.
    pub mode: ClientMode,
}

/// What becomes of clients without a valid certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMode {
    /// They are refused.
    ValidOnly,
    /// They are served.
    InsecureFallback,
}

/// TLS of one section.
#[derive(Debug)]
pub struct ServerTls {
    spec: ServerTlsSpec,
    config: Arc<ServerConfig>,
    tickets: Arc<dyn ProducesTickets>,
}

impl ServerTls {
    /// Makes a section's TLS. `previous` is the same section's before: it is given back if nothing has changed, and its
    /// sessions can be resumed unless the rule for client certificates has.
    ///
    /// # Errors
    /// What is missing, in a sentence.
    pub fn new(spec: &ServerTlsSpec, previous: Option<&Arc<Self>>) -> Result<Arc<Self>, String> {
        if let Some(previous) = previous
            && same(&previous.spec, spec)
        {
            return Ok(Arc::clone(previous));
        }
        let keys = Keys::new(&spec.certificates)?;
        let builder = ServerConfig::builder_with_provider(provider());
        let builder =
            builder.with_protocol_versions(spec.min_version.versions()).map_err(|fault| fault.to_string())?;
        let builder = match &spec.clients {
            None => builder.with_no_client_auth(),
            Some(check) => builder.with_client_cert_verifier(verifier(check)?),
        };
        let tickets = match previous {
            Some(previous) if same_check(previous.spec.clients.as_ref(), spec.clients.as_ref()) => {
                previous.tickets.clone()
            }
            _ => Ticketer::new().map_err(|fault| fault.to_string())?,
        };
        let mut config = builder.with_cert_resolver(Arc::new(keys));
        config.ticketer = tickets.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if spec.http {
            config.alpn_protocols = HTTP_PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
        }
        Ok(Arc::new(Self { spec: spec.clone(), config: Arc::new(config), tickets }))
    }

    /// Whether a client that one of them has let in would be let in by the other: it is the same section's, and its rule
    /// for client certificates has not changed since.
    pub(crate) fn has_rule_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tickets, &other.tickets)
    }

    /// What handshakes are made from.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

fn same(a: &ServerTlsSpec, b: &ServerTlsSpec) -> bool {
    a.min_version == b.min_version
        && a.http == b.http
        && same_all(&a.certificates, &b.certificates)
        && same_check(a.clients.as_ref(), b.clients.as_ref())
}

fn same_check(a: Option<&ClientCheck>, b: Option<&ClientCheck>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.mode == b.mode && same_all(&a.authorities, &b.authorities),
        _ => false,
    }
}

/// Loading gives the same one while the files say the same.
pub(super) fn same_all(a: &[Arc<LoadedCertificate>], b: &[Arc<LoadedCertificate>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// The authorities of several certificates in one.
pub(super) fn roots(from: &[Arc<LoadedCertificate>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for one in from {
        if one.authorities.is_empty() {
            return Err("a certificate has no `caFile`".to_owned());
        }
        for (index, authority) in one.authorities.iter().enumerate() {
            roots.add(authority.clone()).map_err(|fault| {
                let file = one.files().ca.as_deref().unwrap_or_default();
                format!("{file}: certificate {} is no authority: {fault}", index + 1)
            })?;
        }
    }
    Ok(roots)
}

fn verifier(check: &ClientCheck) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = Arc::new(roots(&check.authorities)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    match check.mode {
        ClientMode::ValidOnly => builder.build().map_err(|fault| fault.to_string()),
        ClientMode::InsecureFallback => {
            let strict = builder.allow_unauthenticated().build().map_err(|fault| fault.to_string())?;
            Ok(Arc::new(Lenient(strict)))
        }
    }
}

/// Takes every certificate, or none, as `AllowInsecureFallback` says; that its holder has the key is still shown.
#[derive(Debug)]
struct Lenient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Err(fault) = self.0.verify_client_cert(end_entity, intermediates, now) {
            tracing::debug!(%fault, "a client's certificate is not valid; it is served all the same");
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A section's certificates, by the names that they are for.
#[derive(Debug)]
struct Keys {
    all: Vec<Arc<CertifiedKey>>,
    /// Indices into `all`. Wildcards are kept as `*.rest`.
    by_name: HashMap<String, Vec<usize>>,
}

impl Keys {
    fn new(certificates: &[Arc<LoadedCertificate>]) -> Result<Self, String> {
        let mut keys = Self { all: Vec::new(), by_name: HashMap::new() };
        for one in certificates {
            let Some(identity) = &one.identity else {
                return Err("a certificate has no `certFile` and `keyFile`".to_owned());
            };
            for name in &identity.names {
                keys.by_name.entry(name.clone()).or_default().push(keys.all.len());
            }
            keys.all.push(identity.key.clone());
        }
        if keys.all.is_empty() {
            return Err("no certificate is given".to_owned());
        }
        Ok(keys)
    }

    /// The certificate for a name: one that has it, else one whose wildcard stands for its first label, else any; of
    /// each kind the first whose key can sign as the client wants.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let can_sign = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        if self.all.len() > 1
            && let Some(name) = name
        {
            let name = name.to_ascii_lowercase();
            let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            for wanted in [Some(name), wildcard].into_iter().flatten() {
                let found = self.by_name.get(&wanted).into_iter().flatten();
                if let Some(key) = found.map(|&index| &self.all[index]).find(can_sign) {
                    return Some(key.clone());
                }
            }
        }
        // If none can, the handshake must fail for want of an algorithm, not of a certificate.
        self.all.iter().find(can_sign).or(self.all.first()).cloned()
    }
}

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}
