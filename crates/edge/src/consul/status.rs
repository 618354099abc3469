//! `/v1/status`: who leads. There is no election among replicas above one store: each answers for itself.

use std::sync::Arc;

use super::ConsulApi;
use super::answer::{Answer, json};
use super::options::check_place;
use crate::http::Request;

/// The port that Consul's servers speak among each other on; only shown.
pub(super) const SERVER_PORT: u16 = 8300;

/// `status/leader`.
pub(super) async fn leader(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    json(request.query.has("pretty"), &address(&api))
}

/// `status/peers`.
pub(super) async fn peers(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    json(request.query.has("pretty"), &[address(&api)])
}

/// Where this server would be spoken to by other servers.
pub(super) fn address(api: &ConsulApi) -> String {
    let host = &api.control.settings().node_address;
    if host.contains(':') { format!("[{host}]:{SERVER_PORT}") } else { format!("{host}:{SERVER_PORT}") }
}
