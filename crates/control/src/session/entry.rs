//! A session and its stored form.

use serde::{Deserialize, Serialize};
use weir_model::units::Span;

use crate::catalog::{CheckRef, Versioned};

/// What becomes of the keys that a session holds when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behavior {
    /// They stay, unlocked.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// A check of an instance that a session relies on; it is on the session's node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCheck {
    /// Its namespace.
    pub namespace: String,
    /// Its id.
    pub id: String,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The namespace it belongs to, and the keys it may hold.
    pub namespace: String,
    /// A UUID; never used twice.
    pub id: String,
    /// Name for people; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The node it is on, with which it ends.
    pub node: String,
    /// Whether it relies on its node's agent being alive.
    #[serde(default)]
    pub node_alive: bool,
    /// Checks of its node that it relies on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_checks: Vec<String>,
    /// Checks of instances on its node that it relies on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_checks: Vec<ServiceCheck>,
    /// What becomes of its keys when it ends.
    #[serde(default)]
    pub behavior: Behavior,
    /// How long its keys cannot be locked after its end.
    pub lock_delay: Span,
    /// How long it lives at least after a renewal; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
}

impl Session {
    /// The checks that it relies on.
    pub fn checks(&self) -> impl Iterator<Item = CheckRef> {
        let of_node = self.node_checks.iter().map(|id| (weir_model::DEFAULT_NAMESPACE, id));
        let of_services = self.service_checks.iter().map(|check| (&*check.namespace, &check.id));
        of_node.chain(of_services).map(|(namespace, id)| CheckRef::new(namespace, &*self.node, &**id))
    }
}

/// A session with its revisions. It is created once and never changes; a later `modify_revision` only says that it
/// locked a key then.
pub type SessionEntry = Versioned<Session>;

/// Names a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRef {
    /// Its namespace.
    pub namespace: String,
    /// Its id.
    pub id: String,
}

impl SessionRef {
    /// A session by its parts.
    pub fn new(namespace: impl Into<String>, id: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), id: id.into() }
    }

    /// The name of this session.
    pub fn of(session: &Session) -> Self {
        Self::new(&*session.namespace, &*session.id)
    }
}
