//! Locks: what is sent to claim, renew and release them, and what is shown of them.

use serde::{Deserialize, Serialize};
use weir_model::Position;
use weir_model::units::Span;

/// Claims a lock: the body of `locks/NAME/acquire`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcquireLock {
    /// The claim's id, by which it is renewed and released; made by the server when absent. A call with the id of a claim
    /// that is there asks after it, so a call whose answer was lost can be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// How long the claim lives after a renewal; 15 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// How long this call waits for the lock; not at all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// Whether the claim keeps its place in the line when this call has waited in vain. Else it is withdrawn.
    #[serde(default)]
    pub keep: bool,
    /// How many may hold the lock at a time; 1 when absent. All must name the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Who claims it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub holder: String,
    /// The id of the instance that the claim ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// That instance's node; the server's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The id of the session that the claim ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// Renews a claim: the body of `locks/NAME/renew`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewLock {
    /// The claim's id.
    pub claim: String,
}

/// Releases a claim, or takes a lock away from its holders: the body of `locks/NAME/release`. Exactly one of `claim` and
/// `force`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseLock {
    /// The claim's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Take the lock away from all who hold it.
    #[serde(default)]
    pub force: bool,
    /// With `force`: only from the holder with this fencing token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// The answer to `acquire`, `renew` and `check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimAnswer {
    /// What the answer shows the state of.
    pub position: Position,
    /// Whether the claim holds the lock.
    pub held: bool,
    /// The claim.
    pub claim: ClaimView,
}

/// The answer to `release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The position at which the claims are gone.
    pub position: Position,
    /// How many were released.
    pub released: usize,
}

/// A lock with its claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many may hold it at a time.
    pub count: u32,
    /// Who holds it.
    pub holders: Vec<ClaimView>,
    /// Who waits for it, in order.
    pub waiters: Vec<ClaimView>,
}

/// A claim on a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimView {
    /// Its id.
    pub claim: String,
    /// Its fencing token. Tokens compare as texts: whoever comes to hold the lock later has a greater one.
    pub token: String,
    /// Who made it.
    pub holder: String,
    /// Its place in the line, from 1; 0 if it holds the lock.
    pub place: usize,
    /// How long it lives after a renewal.
    pub ttl: Span,
    /// How long ago it was made, by the clock on the wall.
    pub age_ms: u64,
    /// How long it has held the lock, as far as this server has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<u64>,
    /// How long it still lives if it is not renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// The instance that it ends with, as `NODE/ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The session that it ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}
