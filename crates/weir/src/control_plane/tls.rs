//! What the control plane's TLS is made from.

use std::sync::Arc;

use weir_api::client::HTTP_PROTOCOL;
use weir_tls::{Acceptor, Connectors};

use crate::config::ServerConfig;
use crate::exit::{Exit, Failure};

/// What is spoken inside TLS with proxies: gRPC's HTTP/2.
const MESH_PROTOCOL: &[u8] = b"h2";

/// How the listeners speak TLS, and this server with others; nothing if it does not.
#[derive(Default)]
pub(super) struct Tls {
    pub(super) http: Option<Acceptor>,
    pub(super) grpc: Option<Acceptor>,
    pub(super) replicas: Option<Arc<Connectors>>,
}

impl Tls {
    pub(super) fn load(config: &ServerConfig) -> Result<Self, Failure> {
        let Some(files) = &config.tls else { return Ok(Self::default()) };
        let unusable =
            |reason: String| Failure::new(Exit::CannotStart, format!("cannot speak TLS: {reason}"));
        let acceptor = |protocol| Acceptor::load(files.clone(), protocol).map(Some).map_err(unusable);
        let replicas = match config.tls_to_replicas().filter(|_| config.store.is_some()) {
            Some(files) => Some(Arc::new(Connectors::load(files, HTTP_PROTOCOL).map_err(unusable)?)),
            None => None,
        };
        Ok(Self { http: acceptor(HTTP_PROTOCOL)?, grpc: acceptor(MESH_PROTOCOL)?, replicas })
    }
}
