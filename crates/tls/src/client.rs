//! A client of the control plane: whom it believes, and what it shows.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::files::{FileMark, Identity, roots};
use crate::provider::{MinVersion, provider};
use crate::words::{Names, Side};
use crate::{Io, Secured, TlsError};

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// The files of a client, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// Authorities that servers' certificates are checked against; the system's when absent.
    pub ca: Option<PathBuf>,
    /// What is shown to servers that ask who it is: the chain, leaf first, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// What these are called where they are named.
    pub names: Names,
}

/// Makes connections with TLS.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    side: Side,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// Reads the files. `protocol` is what is spoken inside (ALPN).
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub fn load(files: &ClientFiles, protocol: &'static [u8]) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(MinVersion::Tls12.versions())
            .map_err(|fault| fault.to_string())?;
        let builder = match &files.ca {
            Some(ca) => {
                let found = roots(&ca.display().to_string());
                builder.with_root_certificates(found.map_err(|fault| format!("{}: {fault}", files.names.ca))?)
            }
            None => builder.with_root_certificates(system_roots()?),
        };
        let mut config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let identity = Identity::load(&cert.display().to_string(), &key.display().to_string());
                let Names { cert, key, .. } = files.names;
                let identity = identity.map_err(|fault| format!("{cert}, {key}: {}", fault.reason))?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key)))
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let side = Side::Client { names: files.names, shows: files.identity.is_some() };
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), side })
    }

    /// Shakes hands over a connection to a host, whose certificate must be for that name or address.
    ///
    /// # Errors
    /// Why that failed.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<Io, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
        match tokio::time::timeout(HANDSHAKE_MAX, self.tls.connect(name, stream)).await {
            Ok(connected) => {
                let stream = TlsStream::Client(connected.map_err(|error| self.failed(error))?);
                Ok(Io::Tls(Box::new(Secured { stream, side: self.side })))
            }
            Err(_) => Err(TlsError::Timeout(HANDSHAKE_MAX)),
        }
    }

    /// Tells a server that speaks something else apart.
    fn failed(&self, error: std::io::Error) -> TlsError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
                TlsError::NotTls
            }
            _ => TlsError::Handshake(self.side.explained(error)),
        }
    }
}

/// A [`Connector`] from what the files say by now.
#[derive(Debug)]
pub struct Connectors {
    files: ClientFiles,
    protocol: &'static [u8],
    last: Mutex<(Vec<Option<FileMark>>, Connector)>,
}

impl Connectors {
    /// Reads the files. `protocol` is what is spoken inside (ALPN).
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub fn load(files: ClientFiles, protocol: &'static [u8]) -> Result<Self, String> {
        let last = (marks(&files), Connector::load(&files, protocol)?);
        Ok(Self { files, protocol, last: Mutex::new(last) })
    }

    /// The files are read again if they have changed. What cannot be used is logged, and the one before stays.
    pub fn current(&self) -> Connector {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = marks(&self.files);
        if now != last.0 {
            last.0 = now;
            match Connector::load(&self.files, self.protocol) {
                Ok(connector) => last.1 = connector,
                Err(reason) => tracing::error!("changed TLS files were refused, those before stay: {reason}"),
            }
        }
        last.1.clone()
    }
}

fn marks(files: &ClientFiles) -> Vec<Option<FileMark>> {
    let identity = files.identity.iter().flat_map(|(cert, key)| [cert, key]);
    files.ca.iter().chain(identity).map(FileMark::of).collect()
}

/// The authorities that the system trusts, read once.
///
/// # Errors
/// If there are none.
pub fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added > 0 {
            return Ok(Arc::new(roots));
        }
        let why = found.errors.first().map_or_else(String::new, |fault| format!(": {fault}"));
        Err(format!("the system has no certificate authorities{why}"))
    };
    ROOTS.get_or_init(read).clone()
}
