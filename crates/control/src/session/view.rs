//! What is to be seen of sessions.

use std::sync::Arc;
use std::time::Duration;

use super::{SessionEntry, SessionRef};
use crate::Control;
use crate::lease::LeaseKey;

/// A session as it is now.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// The session.
    pub entry: Arc<SessionEntry>,
    /// How long it lives still if it is not renewed; none if it lives for ever, or another replica watches over it.
    pub remaining: Option<Duration>,
    /// How many keys it holds.
    pub keys: usize,
}

impl Control {
    /// The sessions of a namespace, or of all, by namespace and id.
    pub fn sessions(&self, namespace: Option<&str>) -> Vec<SessionView> {
        let state = self.catalog().state();
        let wanted = |entry: &&Arc<SessionEntry>| namespace.is_none_or(|name| name == entry.value.namespace);
        let view = |entry: &Arc<SessionEntry>| SessionView {
            remaining: self.keeper.remaining(&LeaseKey::Session(SessionRef::of(&entry.value))),
            keys: state.kv.held_by(&entry.value.namespace, &entry.value.id).count(),
            entry: Arc::clone(entry),
        };
        state.sessions.all().filter(wanted).map(view).collect()
    }
}
