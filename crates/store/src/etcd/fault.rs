//! What etcd says when something goes wrong, as an error of the store.

use tonic::Status;

use crate::Error;

/// How many proposals wait in etcd before it refuses more (its `maxGapBetweenApplyAndCommitIndex`).
const PROPOSALS_MAX: u64 = 5000;

/// What the caller can do something about, and the rest.
#[derive(Debug)]
pub(super) enum Fault {
    /// The revision asked for is compacted.
    Compacted,
    /// It has not happened yet.
    Future,
    /// A lease does not exist.
    Lease,
    Other(Error),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Other(error) => error,
            Fault::Compacted => nonsense("a revision is compacted that was not asked for"),
            Fault::Future => nonsense("a revision is in the future that was not asked for"),
            Fault::Lease => nonsense("a lease does not exist that was not asked for"),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<&Status> for Fault {
    fn from(status: &Status) -> Self {
        let text = status.message();
        // Codes do not tell these apart; etcd's own clients go by these texts as well.
        if text.contains("required revision has been compacted") {
            Self::Compacted
        } else if text.contains("required revision is a future revision") {
            Self::Future
        } else if text.contains("requested lease not found") {
            Self::Lease
        } else if text.contains("database space exceeded") {
            Self::Other(Error::WriteRefused { reason: text.to_owned() })
        } else if text.contains("too many requests") {
            Self::Other(Error::Overloaded { what: "etcd's queue of proposals", max: PROPOSALS_MAX })
        } else if text.contains("too many operations in txn request") {
            Self::Other(refused("max-txn-ops", text))
        } else if text.contains("request is too large") {
            Self::Other(refused("max-request-bytes", text))
        } else {
            Self::Other(unavailable(&format!("{}: {}", name(status), reason(status))))
        }
    }
}

/// A status's code as gRPC names it.
fn name(status: &Status) -> String {
    format!("{:?}", status.code())
}

/// etcd allows less than this side believed.
fn refused(flag: &'static str, text: &str) -> Error {
    let reason = format!("{text}; etcd was started with a lower --{flag} than Weir needs");
    Error::InvalidArgument { field: "transaction", reason }
}

/// The store cannot be reached, or is not able to answer.
pub(super) fn unavailable(reason: &str) -> Error {
    Error::Unavailable { reason: reason.to_owned() }
}

/// An answer that makes no sense.
pub(super) fn nonsense(what: &str) -> Error {
    unavailable(&format!("etcd has answered what was not expected: {what}"))
}

/// What was said, with all causes.
pub(super) fn reason(told: &(dyn std::error::Error + 'static)) -> String {
    let mut text = match told.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => told.to_string(),
    };
    let mut cause = told.source();
    while let Some(error) = cause {
        let this = error.to_string();
        if !text.ends_with(&this) {
            text = if text.is_empty() { this } else { format!("{text}: {this}") };
        }
        cause = error.source();
    }
    text
}
