//! What can go wrong in a store, for every engine.
//!
//! Errors are `Clone` because one failed batch answers many callers.

use crate::{LeaseId, Revision};

/// A failed store operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key is not a valid path.
    #[error("invalid key {key:?}: {reason}")]
    InvalidKey {
        /// The key as given, cut to a readable length.
        key: String,
        /// What a key must look like.
        reason: &'static str,
    },
    /// An argument makes no sense.
    #[error("invalid {field}: {reason}")]
    InvalidArgument {
        /// Which argument.
        field: &'static str,
        /// What was expected.
        reason: String,
    },
    /// One of the engine's [`crate::Limits`] would be exceeded; nothing was written.
    #[error("{what} is {actual}, more than the engine's {limit} of {max}")]
    LimitExceeded {
        /// What was measured.
        what: String,
        /// The limit's name, as in [`crate::Limits`].
        limit: &'static str,
        /// The limit's value.
        max: u64,
        /// What was asked for.
        actual: u64,
    },
    /// One transaction writes the same key twice.
    #[error("the transaction writes key {key} more than once")]
    DuplicateKey {
        /// The key in question.
        key: String,
    },
    /// The lease was never granted, was revoked, or has expired.
    #[error("lease {id} does not exist or has expired")]
    LeaseNotFound {
        /// The lease asked for.
        id: LeaseId,
    },
    /// The history asked for is gone: read the present state, then watch from there.
    #[error("revision is compacted: the oldest that can be asked for is {oldest}")]
    Compacted {
        /// The oldest revision with which the same call would still succeed.
        oldest: Revision,
    },
    /// A watcher was slower than the history is long: read the present state, then watch from there.
    #[error("the watcher fell behind: the oldest revision still known is {oldest}")]
    Lagged {
        /// The oldest revision a new watch could start from.
        oldest: Revision,
    },
    /// A revision that has not happened yet.
    #[error("revision {asked} is in the future: the store is at {current}")]
    FutureRevision {
        /// The revision asked for.
        asked: Revision,
        /// The store's revision.
        current: Revision,
    },
    /// A bounded queue or table of the store is full; try again later.
    #[error("the store is overloaded: {what} is full ({max})")]
    Overloaded {
        /// The bound's name.
        what: &'static str,
        /// The bound's value.
        max: u64,
    },
    /// The engine could not make the write durable (disk full, input/output error). Reads go on, and later writes
    /// succeed once the cause is gone.
    ///
    /// The write is not visible, and will not be while this process lives. If the process dies before any later write
    /// succeeded, it may be found committed afterwards, as after a lost answer.
    #[error("the write was refused, storage failed: {reason}")]
    WriteRefused {
        /// What the storage said.
        reason: String,
    },
    /// The store is elsewhere, and does not answer, or has no majority. A write may have happened nevertheless.
    #[error("the store cannot be reached: {reason}")]
    Unavailable {
        /// What is wrong.
        reason: String,
    },
    /// Another process has the store open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file in question.
        path: String,
    },
    /// There is something where nothing was expected.
    #[error("{path} holds {keys} keys already")]
    NotEmpty {
        /// The store in question.
        path: String,
        /// How many keys it holds.
        keys: u64,
    },
    /// Somebody has begun to fill it from elsewhere, and is not done.
    #[error("{path} is being filled by an import, or one was broken off; import again to fill it")]
    Unfinished {
        /// The store in question.
        path: String,
    },
    /// The file is damaged, or not a store.
    #[error("{path} is damaged or not a weir store: {reason}")]
    Corrupt {
        /// The file in question.
        path: String,
        /// What was found.
        reason: String,
    },
    /// The file was written by a newer version that older ones must not read or write.
    #[error("{path} has format {found}, this version reads up to {supported}; use a newer weir")]
    NewerFormat {
        /// The file in question.
        path: String,
        /// The format that a program must know at least to use the file.
        found: u32,
        /// The newest format this version knows.
        supported: u32,
    },
    /// The store could not be opened.
    #[error("cannot open {path}: {reason}")]
    Open {
        /// The file in question.
        path: String,
        /// What failed.
        reason: String,
    },
    /// A stored value is not what its reader expects.
    #[error("value of key {key} cannot be read: {reason}")]
    Codec {
        /// The key in question.
        key: String,
        /// What failed.
        reason: String,
    },
    /// The engine cannot do it.
    #[error("{what}")]
    Unsupported {
        /// What it cannot do, and what can be done instead.
        what: &'static str,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Whether a watcher that got this error must read the state again and watch from there.
    pub fn needs_resync(&self) -> bool {
        matches!(self, Self::Compacted { .. } | Self::Lagged { .. })
    }

    /// Whether the same call may succeed later without a change to it.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Overloaded { .. } | Self::WriteRefused { .. } | Self::Unavailable { .. })
    }
}
