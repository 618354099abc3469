//! The keys that say how listeners speak TLS.

use std::path::PathBuf;

use weir_tls::{ClientFiles, Names, ServerFiles};

use super::ServerConfig;
use crate::exit::{Exit, Failure};

/// What was said.
#[derive(Debug)]
pub(crate) struct TlsKeys {
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
}

impl TlsKeys {
    /// The files of the listeners, if TLS is wanted.
    ///
    /// # Errors
    /// When something is named that has no meaning without the rest.
    pub(crate) fn files(self) -> Result<Option<ServerFiles>, Failure> {
        let Self { cert, key, client_ca, ca } = self;
        match (cert, key) {
            (Some(cert), Some(key)) => Ok(Some(ServerFiles { cert, key, client_ca })),
            (None, None) if client_ca.is_none() && ca.is_none() => Ok(None),
            (None, None) => {
                let which = if client_ca.is_some() { "tls-client-ca" } else { "tls-ca" };
                let message = format!("{which}: there is no TLS; expected tls-cert and tls-key as well");
                Err(Failure::new(Exit::Usage, message))
            }
            (cert, _) => {
                let (is, lacks) =
                    if cert.is_some() { ("tls-cert", "tls-key") } else { ("tls-key", "tls-cert") };
                Err(Failure::new(Exit::Usage, format!("{is}: {lacks} is missing; both belong together")))
            }
        }
    }
}

impl ServerConfig {
    /// What this server shows other replicas, and whom it takes for one; nothing if it speaks no TLS.
    pub(crate) fn tls_to_replicas(&self) -> Option<ClientFiles> {
        let tls = self.tls.as_ref()?;
        let ca = self.tls_ca.clone().or_else(|| tls.client_ca.clone());
        let names = Names { ca: "--tls-ca", cert: "--tls-cert", key: "--tls-key" };
        Some(ClientFiles { ca, identity: Some((tls.cert.clone(), tls.key.clone())), names })
    }
}
