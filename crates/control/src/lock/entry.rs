//! A lock and its claims, and their stored forms.

use serde::{Deserialize, Serialize};
use weir_model::units::Span;

use crate::catalog::Versioned;

/// A lock that somebody holds. It is gone with its last claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// How many claims may hold it at a time.
    pub count: u32,
}

/// The instance that a claim ends with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimInstance {
    /// Its node.
    pub node: String,
    /// Its id.
    pub id: String,
    /// Its service when the lock was claimed.
    pub service: String,
}

/// Somebody's claim on a lock. It is created once and never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The lock's namespace.
    pub namespace: String,
    /// The lock's name.
    pub lock: String,
    /// Unique among the lock's claims. Whoever knows it may renew and release the claim.
    pub id: String,
    /// Who it is, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub holder: String,
    /// How long it lives after a renewal.
    pub ttl: Span,
    /// When it was made, in milliseconds since 1970; for people.
    #[serde(default)]
    pub time_ms: u64,
    /// The instance that it ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<ClaimInstance>,
    /// The session that it ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// A claim with the revision that created it, which is its place in the order.
pub type ClaimEntry = Versioned<Claim>;

/// Names a lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl LockRef {
    /// A lock by its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// Names a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimRef {
    /// Its lock.
    pub lock: LockRef,
    /// Its id.
    pub id: String,
}

impl ClaimRef {
    /// A claim by its parts.
    pub fn new(lock: LockRef, id: impl Into<String>) -> Self {
        Self { lock, id: id.into() }
    }

    /// The name of this claim.
    pub fn of(claim: &Claim) -> Self {
        Self::new(LockRef::new(&*claim.namespace, &*claim.lock), &*claim.id)
    }
}
