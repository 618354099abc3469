//! What can go wrong in the control plane's domain, in the terms that every edge turns into its own statuses.

use weir_model::Revision;

/// A refused or failed operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request itself is wrong; nothing was written.
    #[error("{path}: {reason}")]
    Invalid {
        /// The field in question, such as `instance.port`.
        path: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A set of documents does not hold together; nothing was written.
    #[error("{} {} refused, first: {}", problems.len(), if problems.len() == 1 { "problem" } else { "problems" },
        problems.first().map_or_else(String::new, ToString::to_string))]
    Rejected {
        /// All that is wrong, in the order of the documents.
        problems: Vec<Problem>,
    },
    /// What the request is about does not exist.
    #[error("{what} does not exist")]
    NotFound {
        /// Kind and name, such as `node "web-1"`.
        what: String,
    },
    /// Somebody else changed the same thing again and again while this request tried to.
    #[error("{what} was changed by others at the same time; try again")]
    Conflict {
        /// What was fought over.
        what: String,
    },
    /// As things stand it cannot be done; nothing was written.
    #[error("{reason}")]
    Refused {
        /// What stands against it.
        reason: String,
    },
    /// A value is larger than its bound; nothing was written.
    #[error("{what} is {actual}, more than the {max} allowed")]
    TooLarge {
        /// What was measured, with its unit.
        what: String,
        /// The bound.
        max: u64,
        /// What was asked for.
        actual: u64,
    },
    /// A bounded table is full; try again later.
    #[error("{what} is full ({max})")]
    Overloaded {
        /// The bound's name.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// The store refused or could not be reached; reads go on, and the write may be tried again.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What the store said.
        reason: String,
    },
    /// The write is committed, but this replica has not seen it yet.
    #[error("committed as revision {revision}, but not visible here yet")]
    NotVisible {
        /// The write's revision.
        revision: Revision,
    },
    /// The store was written by a version that this one must not touch.
    #[error("the store needs a weir that knows format {needed}; this one knows {known}")]
    Format {
        /// The format the store asks for.
        needed: u32,
        /// The newest one known here.
        known: u32,
    },
}

/// One thing that is wrong with a set of documents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{resource}: {path}: {reason}")]
pub struct Problem {
    /// Which document, as `Kind/name`.
    pub resource: String,
    /// The field in question, such as `spec.rules[0].backendRefs[1].name`.
    pub path: String,
    /// What is wrong and what was expected.
    pub reason: String,
}

impl Error {
    pub(crate) fn invalid(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { path: path.into(), reason: reason.into() }
    }

    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    pub(crate) fn not_found(kind: &str, name: &str) -> Self {
        Self::NotFound { what: format!("{kind} {name:?}") }
    }
}

impl From<weir_store::Error> for Error {
    fn from(error: weir_store::Error) -> Self {
        use weir_store::Error as Store;
        match error {
            Store::InvalidKey { key, reason } => Self::Invalid { path: key, reason: reason.to_owned() },
            Store::LimitExceeded { what, max, actual, .. } => Self::TooLarge { what, max, actual },
            Store::Overloaded { what, max } => Self::Overloaded { what, max },
            Store::Unsupported { what } => Self::Refused { reason: what.to_owned() },
            Store::NewerFormat { found, supported, .. } => Self::Format { needed: found, known: supported },
            other => Self::Unavailable { reason: other.to_string() },
        }
    }
}
