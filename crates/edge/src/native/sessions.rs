//! Sessions of Consul's API, as operators look at them.

use std::sync::Arc;

use weir_api::native::{List, SessionView};

use super::refusal::Refusal;
use super::{NativeApi, known_parameters, ok};
use crate::http::{Request, Response};

impl NativeApi {
    /// `GET /sessions`.
    pub(super) async fn sessions(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "id"])?;
        let position = self.control.position();
        let id = request.query.get_filled("id");
        let sessions = self.control.sessions(request.query.get_filled("namespace"));
        let wanted = sessions.into_iter().filter(|session| id.is_none_or(|id| id == session.entry.value.id));
        let view = |session: weir_control::session::SessionView| {
            let value = &session.entry.value;
            SessionView {
                namespace: value.namespace.clone(),
                id: value.id.clone(),
                name: value.name.clone(),
                node: value.node.clone(),
                ttl: value.ttl,
                remaining_ms: session
                    .remaining
                    .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
                keys: session.keys as u64,
            }
        };
        Ok(ok(&List { position, items: wanted.map(view).collect() }))
    }
}
