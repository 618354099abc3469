//! What the control plane's TLS is made from.

use std::sync::Arc;

use weir_api::client::HTTP_PROTOCOL;
use weir_tls::{Acceptor, Connectors};

use crate::config::ServerConfig;
use crate::exit::{Exit, Failure};

/// What is spoken inside TLS with proxies: gRPC's HTTP/2.
const MESH_PROTOCOL: &[u8] = b"h2";

/// How the listener of proxies speaks TLS, and this server with others; nothing if it does not.
#[derive(Default)]
pub(super) struct Tls {
    pub(super) grpc: Option<Acceptor>,
    pub(super) replicas: Option<Arc<Connectors>>,
}

impl Tls {
    pub(super) fn load(config: &ServerConfig) -> Result<Self, Failure> {
        let Some(files) = &config.tls else { return Ok(Self::default()) };
        let unusable =
            |reason: String| Failure::new(Exit::CannotStart, format!("cannot speak TLS: {reason}"));
        let grpc = Acceptor::load(files.clone(), MESH_PROTOCOL).map_err(unusable)?;
        let replicas = match config.tls_to_replicas().filter(|_| config.store.is_some()) {
            Some(files) => Some(Arc::new(Connectors::load(files, HTTP_PROTOCOL).map_err(unusable)?)),
            None => None,
        };
        Ok(Self { grpc: Some(grpc), replicas })
    }
}
