//! An authority, the files that it makes, and clients that trust it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, SignatureAlgorithm,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tempfile::TempDir;

use crate::support::{Client, PATIENCE};

/// A connection of a client that speaks TLS.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// What an old client speaks.
pub(crate) static ONLY_TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// What a modern one speaks.
pub(crate) static ONLY_TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// An authority with a directory for its files.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) dir: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// A certificate for names, and its key.
    pub(crate) fn certify(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
    ) -> (String, KeyPair) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key)
    }

    /// Writes `name.pem` and `name.key`, for names.
    pub(crate) fn write(&self, name: &str, names: &[&str]) {
        self.write_with(name, names, &PKCS_ECDSA_P256_SHA256);
    }

    pub(crate) fn write_rsa(&self, name: &str, names: &[&str]) {
        self.write_with(name, names, &PKCS_RSA_SHA256);
    }

    fn write_with(&self, name: &str, names: &[&str], algorithm: &'static SignatureAlgorithm) {
        let (certificate, key) = self.certify(names, algorithm);
        fs::write(self.path(&format!("{name}.pem")), certificate).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// A `Certificate` document over files written.
    pub(crate) fn document(&self, name: &str) -> String {
        let (certificate, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        format!(
            "---\nkind: Certificate\nmetadata: {{name: {name}}}\nspec: {{certFile: \"{certificate}\", keyFile: \"{key}\"}}\n"
        )
    }

    /// A client that trusts it.
    pub(crate) fn trusting(&self) -> Trusting {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Trusting {
            roots: Arc::new(roots),
            versions: rustls::ALL_VERSIONS,
            alpn: vec![],
            identity: None,
            suites: None,
        }
    }

    /// Writes `file.pem` and `file.key`, for a client.
    pub(crate) fn write_client(&self, file: &str, name: &str) {
        let (certificate, key) = self.certify_client(name);
        fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    /// A chain and key for a client.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        let (certificate, key) = self.certify_client(name);
        (certificate.der().clone(), key.serialize_der())
    }

    fn certify_client(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

pub(crate) type Identity = (CertificateDer<'static>, Vec<u8>);

/// How a client speaks TLS.
#[derive(Clone)]
pub(crate) struct Trusting {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) alpn: Vec<&'static str>,
    pub(crate) identity: Option<Identity>,
    /// The only suite that it offers.
    pub(crate) suites: Option<CipherSuite>,
}

impl Trusting {
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let mut provider = default_provider();
        provider.cipher_suites.retain(|one| self.suites.is_none_or(|only| one.suite() == only));
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match self.identity.clone() {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|one| one.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A connection to a name, with the handshake done.
    pub(crate) fn connect(&self, addr: SocketAddr, name: &str) -> io::Result<Client<Stream>> {
        connect(&self.config(), addr, name)
    }
}

/// A connection to a name, with the handshake done.
pub(crate) fn connect(
    config: &Arc<ClientConfig>,
    addr: SocketAddr,
    name: &str,
) -> io::Result<Client<Stream>> {
    let tcp = TcpStream::connect(addr)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(Client::over(stream))
}

/// Documents of a gateway that speaks TLS on a free port, all to a service of these endpoints. `listeners` are pairs of
/// a host (all when empty) and the names of its certificates.
pub(crate) fn secure_documents(
    authority: &Authority,
    listeners: &[(&str, &[&str])],
    upstreams: &[SocketAddr],
) -> String {
    let port = crate::support::free_port();
    let plain = crate::support::documents_on(port, upstreams, "");
    let mut text = String::new();
    for (index, (host, certificates)) in listeners.iter().enumerate() {
        let host = if host.is_empty() { String::new() } else { format!("hostname: \"{host}\", ") };
        let refs: Vec<_> = certificates.iter().map(|name| format!("{{name: {name}}}")).collect();
        let refs = refs.join(", ");
        text += &format!(
            "\n  - {{name: web{index}, port: {port}, protocol: HTTPS, {host}tls: {{certificateRefs: [{refs}]}}}}"
        );
    }
    let one = format!("\n  listeners: [{{name: web, port: {port}, protocol: HTTP}}]");
    assert!(plain.contains(&one));
    let mut documents = plain.replace(&one, &format!("\n  listeners:{text}"));
    let mut named: Vec<_> = listeners.iter().flat_map(|(_, names)| names.iter()).collect();
    named.sort_unstable();
    named.dedup();
    for name in named {
        documents += &authority.document(name);
    }
    documents
}
