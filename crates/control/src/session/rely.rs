//! What a session relies on, and how long it lives.

use std::time::Duration;

use weir_model::registry::Health;

use super::Session;
use crate::catalog::State;
use crate::keys::node_key;

/// Whether its node and all its checks are there, and none of them is critical.
pub(crate) fn is_alive(state: &State, session: &Session) -> bool {
    let healthy = |check: crate::catalog::CheckRef| {
        let found = state.registry.check(&check.namespace, &node_key(&check.node), &check.id);
        found.is_some_and(|check| check.value.health != Health::Critical)
    };
    state.has_node(&node_key(&session.node)) && session.checks().all(healthy)
}

/// How long it lives without a renewal: its TTL and half of it, so that a renewal that is a little late still counts.
pub(crate) fn life(session: &Session) -> Option<Duration> {
    session.ttl.map(|ttl| ttl.0 + ttl.0 / 2)
}
