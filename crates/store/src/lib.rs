//! The store: ordered keys, one global revision, compare-and-commit transactions, watches and leases.
//!
//! The model is etcd's, cut down to what Weir needs, so that an etcd cluster can be one of the engines ([`Etcd`]). The others are
//! [`Memory`] (tests and `dev`) and [`Embedded`] (one node, one file, group commit). One contract suite,
//! `tests/contract`, runs over every engine and decides what an engine must do.
//!
//! ```text
//! commit ──> engine ──> one revision, durable ──> visible to reads ──> watches ──> the caller's answer
//! ```
//!
//! This crate must not know what its keys and values mean. It never reads the wall clock, except once to number a new
//! store ([`Position::epoch`]).

pub mod archive;
pub mod clock;
mod embedded;
mod epoch;
mod error;
mod etcd;
pub mod fuzzing;
mod held;
pub mod json;
pub mod key;
mod limits;
mod local;
mod memory;
mod ordered;
mod record;
mod resync;
mod shared;
mod snapshot;
mod spec;
mod state;
mod txn;
mod validate;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use embedded::{Embedded, Files, LeftOut, Options, Restore};
pub use error::Error;
pub use etcd::{Etcd, EtcdAddress, EtcdOptions, check_address};
pub use key::{Key, KeyRange};
pub use limits::Limits;
pub use memory::Memory;
pub use ordered::in_order;
pub use record::{Plain, Record, Value};
pub use resync::{list, list_and_watch};
pub use snapshot::Snapshot;
pub use spec::{Spec, open};
pub use txn::{
    Batch, Compare, Entry, Event, KeyValue, Lease, LeaseId, Op, Outcome, Page, Read, Relation, Txn, Written,
};
pub use watch::Watch;
pub use weir_model::{Position, Revision};

/// An engine. Share it as `Arc<dyn Store>`.
///
/// All calls may fail with [`Error::Closed`], and with [`Error::Unavailable`] where the store is elsewhere. A call whose future is dropped may still take effect.
pub trait Store: Send + Sync + 'static {
    /// The engine's bounds.
    fn limits(&self) -> Limits;

    /// Figures for metrics.
    fn stats(&self) -> Stats;

    /// Where the store stands. What was committed before this call is included.
    fn position(&self) -> BoxFuture<'_, Result<Position, Error>>;

    /// What a key holds.
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<KeyValue>, Error>>;

    /// One page of a range, as of one revision. To read on, ask for [`KeyRange::after`] the last key *at the same
    /// revision*; [`list`] does.
    ///
    /// Errors: [`Error::FutureRevision`], [`Error::Compacted`] if the revision asked for is too old.
    fn range(&self, read: Read) -> BoxFuture<'_, Result<Page, Error>>;

    /// All entries as of now, to be read while the store goes on.
    ///
    /// Errors: as [`Store::range`].
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot<'_>, Error>>;

    /// Executes a transaction. Everything it writes gets one new revision and takes effect at once; it is durable
    /// and visible to reads when this answers. A transaction that changes nothing makes no revision.
    ///
    /// Errors: [`Error::LimitExceeded`], [`Error::DuplicateKey`], [`Error::LeaseNotFound`], [`Error::Overloaded`],
    /// [`Error::WriteRefused`], [`Error::Unavailable`]. A condition that does not hold is not an error: see [`Outcome::succeeded`].
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Outcome, Error>>;

    /// The changes of a range, from a revision on, that one included. A watch from the revision after a read's
    /// position misses nothing; `from` may lie in the future.
    ///
    /// Errors: [`Error::Compacted`] if `from` is too old, [`Error::Overloaded`].
    fn watch(&self, range: KeyRange, from: Revision) -> BoxFuture<'_, Result<Watch, Error>>;

    /// Forgets the history before a revision: no read before it and no watch from it or before it is possible any
    /// more. Repeating it is no error.
    ///
    /// Errors: [`Error::FutureRevision`].
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>>;

    /// Grants a lease that ends when it was not renewed for `ttl`. Its keys are then deleted in one transaction.
    /// Makes no revision. After a restart of the store every lease has its full time again.
    ///
    /// Errors: [`Error::InvalidArgument`], [`Error::Overloaded`], [`Error::WriteRefused`].
    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease, Error>>;

    /// Gives a lease its full time again.
    ///
    /// Errors: [`Error::LeaseNotFound`].
    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<Lease, Error>>;

    /// Ends a lease now and deletes its keys in one transaction, whose position is answered.
    ///
    /// Errors: [`Error::LeaseNotFound`], [`Error::WriteRefused`].
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<Position, Error>>;

    /// Whether [`Store::replace`] can be done here, so that nobody gathers everything for nothing.
    ///
    /// Errors: [`Error::Unsupported`].
    fn can_replace(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Puts values in place of everything that the store holds, in one step, while it is used. All leases end, every key gets
    /// the next revision, and an epoch begins above the present one and `epoch_above`. Watches end with [`Error::Lagged`].
    ///
    /// Errors: [`Error::Unsupported`] where an engine cannot do that in one step; [`Error::LimitExceeded`],
    /// [`Error::Overloaded`], [`Error::WriteRefused`].
    fn replace(
        &self,
        values: BTreeMap<Key, Value>,
        epoch_above: u64,
    ) -> BoxFuture<'_, Result<Position, Error>>;
}

/// Figures of a store, for metrics. Counters count from the opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Live keys.
    pub keys: u64,
    /// Bytes of live keys and values.
    pub bytes: u64,
    /// Leases.
    pub leases: u64,
    /// Open watches.
    pub watches: u64,
    /// Batches made durable, one flush to disk each (embedded engine).
    pub batches: u64,
    /// Commands in those batches (embedded engine).
    pub batched_commands: u64,
    /// Batches refused because storage failed (embedded engine).
    pub failed_batches: u64,
    /// How long opening took, recovery after a crash included (embedded engine).
    pub open_duration: Duration,
}
