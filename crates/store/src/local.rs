//! The part of [`Store`] that all engines in this process have in common: they differ only in how a command gets
//! executed and made durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::shared::Shared;
use crate::state::{Answer, Command, Contents};
use crate::{
    Error, Key, KeyRange, KeyValue, Lease, LeaseId, Limits, Outcome, Page, Position, Read, Revision,
    Snapshot, Stats, Store, Txn, Value, Watch, list,
};

/// An engine that keeps its state in this process.
pub(crate) trait LocalEngine: Send + Sync + 'static {
    fn shared(&self) -> &Arc<Shared>;

    /// Executes a command; its effects are durable and visible when this answers.
    fn submit(&self, command: Command) -> BoxFuture<'_, Result<Answer, Error>>;

    fn stats(&self) -> Stats;
}

impl<E: LocalEngine> Store for E {
    fn limits(&self) -> Limits {
        self.shared().state().limits.clone()
    }

    fn stats(&self) -> Stats {
        LocalEngine::stats(self)
    }

    fn position(&self) -> BoxFuture<'_, Result<Position, Error>> {
        async { Ok(self.shared().position()) }.boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<KeyValue>, Error>> {
        async move { Ok(self.shared().get(key)) }.boxed()
    }

    fn range(&self, read: Read) -> BoxFuture<'_, Result<Page, Error>> {
        async move { self.shared().read(&read) }.boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot<'_>, Error>> {
        async move {
            let (entries, position) = list(self, &KeyRange::all()).await?;
            Ok(Snapshot::held(entries, position))
        }
        .boxed()
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Outcome, Error>> {
        async move { self.submit(Command::Commit(txn)).await.map(Answer::into_commit) }.boxed()
    }

    fn watch(&self, range: KeyRange, from: Revision) -> BoxFuture<'_, Result<Watch, Error>> {
        async move { self.shared().watch(range, from) }.boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.shared().compact(revision) }.boxed()
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Lease, Error>> {
        async move { self.submit(Command::Grant(ttl)).await.map(Answer::into_grant) }.boxed()
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<Lease, Error>> {
        async move { self.shared().keep_alive(lease) }.boxed()
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<Position, Error>> {
        async move { self.submit(Command::Revoke(lease)).await.map(Answer::into_revoke) }.boxed()
    }

    fn replace(
        &self,
        values: BTreeMap<Key, Value>,
        epoch_above: u64,
    ) -> BoxFuture<'_, Result<Position, Error>> {
        async move {
            let epoch = crate::epoch::next(epoch_above.max(self.shared().position().epoch));
            self.submit(Command::Replace(Contents { values, epoch })).await.map(Answer::into_replace)
        }
        .boxed()
    }
}
