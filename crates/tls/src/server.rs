//! A listener of the control plane: what it shows, and whom it lets in.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::files::{FileMark, Identity, roots};
use crate::provider::{MinVersion, provider};
use crate::words::Side;
use crate::{Io, Secured, TlsError};

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How often the files are looked at.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// What every TLS connection begins with: a handshake record (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// The files of a listener, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
    /// Authorities: a client must show a certificate of one of them, if there are any.
    pub client_ca: Option<PathBuf>,
}

/// Shakes hands with clients, with what the files say by now. Clones share it.
#[derive(Clone)]
pub struct Acceptor {
    files: Arc<ServerFiles>,
    protocol: &'static [u8],
    current: Arc<RwLock<Arc<ServerConfig>>>,
    /// The files as they were before they were first read.
    loaded: Arc<Vec<Option<FileMark>>>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads the files. `protocol` is what is spoken inside (ALPN).
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub fn load(files: ServerFiles, protocol: &'static [u8]) -> Result<Self, String> {
        let loaded = Arc::new(marks(&files));
        let current = Arc::new(RwLock::new(Arc::new(config(&files, protocol)?)));
        Ok(Self { files: Arc::new(files), protocol, current, loaded })
    }

    /// Whether clients must show a certificate.
    pub fn asks_clients(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Shakes hands with who has connected.
    ///
    /// # Errors
    /// Why that failed; the connection is closed then, but for [`TlsError::NotTls`], where nothing was read of it.
    pub async fn accept(&self, stream: TcpStream) -> Result<Io, (TlsError, Option<TcpStream>)> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let shaking = async {
            let mut first = [0];
            match stream.peek(&mut first).await {
                Ok(1) if first[0] != HANDSHAKE_RECORD => return Err((TlsError::NotTls, Some(stream))),
                Ok(_) => {}
                Err(error) => return Err((error.into(), None)),
            }
            let accepted = TlsAcceptor::from(config).accept(stream).await;
            let accepted =
                accepted.map_err(|error| (TlsError::Handshake(Side::Server.explained(error)), None))?;
            Ok(Io::Tls(Box::new(Secured { stream: TlsStream::Server(accepted), side: Side::Server })))
        };
        let shaken = tokio::time::timeout(HANDSHAKE_MAX, shaking).await;
        shaken.unwrap_or(Err((TlsError::Timeout(HANDSHAKE_MAX), None)))
    }

    /// Reads the files again when they have changed and then looked the same twice, until `stop` is ready. What cannot be used is
    /// logged, and the one before stays. Connections keep what they began with.
    pub async fn follow(self, stop: impl Future<Output = ()>) {
        let following = async {
            // What has changed since the first reading is read as well.
            let (mut read, mut seen) = (self.loaded.to_vec(), self.marks());
            loop {
                tokio::time::sleep(POLL_EVERY).await;
                let now = self.marks();
                let is_settled = now == seen;
                seen.clone_from(&now);
                if now == read || !is_settled {
                    continue;
                }
                read = now;
                self.reload();
            }
        };
        tokio::select! {
            () = following => {}
            () = stop => {}
        }
    }

    /// Reads the files now. What cannot be used is logged, and the one before stays.
    pub fn reload(&self) {
        let cert = self.files.cert.display();
        match config(&self.files, self.protocol) {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(%cert, "a listener's certificate has changed and is in force");
            }
            Err(reason) => {
                tracing::error!(%cert, "a changed certificate was refused, the one before stays: {reason}");
            }
        }
    }

    fn marks(&self) -> Vec<Option<FileMark>> {
        marks(&self.files)
    }
}

fn marks(files: &ServerFiles) -> Vec<Option<FileMark>> {
    let ServerFiles { cert, key, client_ca } = files;
    [Some(cert), Some(key), client_ca.as_ref()].into_iter().flatten().map(FileMark::of).collect()
}

fn config(files: &ServerFiles, protocol: &'static [u8]) -> Result<ServerConfig, String> {
    let shown = |path: &PathBuf| path.display().to_string();
    let identity = Identity::load(&shown(&files.cert), &shown(&files.key));
    let identity = identity.map_err(|fault| format!("--tls-cert, --tls-key: {}", fault.reason))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if let Some(warning) = identity.warning(i64::try_from(now).unwrap_or(i64::MAX)) {
        tracing::warn!(cert = shown(&files.cert), "a certificate {warning}");
    }
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(MinVersion::Tls12.versions())
        .map_err(|fault| fault.to_string())?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let found = roots(&shown(ca)).map_err(|fault| format!("--tls-client-ca: {fault}"))?;
            let roots = Arc::new(found);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = verifier.build().map_err(|fault| format!("{}: {fault}", shown(ca)))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key)));
    config.alpn_protocols = vec![protocol.to_vec()];
    // Tickets hold the session; nothing is kept for each client. Their keys go with this configuration, so that who was let in
    // under one rule shows who he is again under another.
    config.ticketer = Ticketer::new().map_err(|fault| fault.to_string())?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

#[cfg(test)]
mod tests;
