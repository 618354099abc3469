//! Writes to the KV store.

use std::sync::Arc;

use weir_model::Revision;
use weir_store::{KeyRange, Op, Txn};

use super::draft::{Content, Draft};
use super::txn::check_value;
use crate::bounds::KV_DELETE_KEYS_MAX;
use crate::catalog::State;
use crate::commit::{Committed, Plan};
use crate::registry::check_namespace;
use crate::{Control, Error, keys};

/// What a put does with the key's lock.
#[derive(Clone, Copy, Debug)]
pub enum KvLock<'a> {
    /// Locks it for this session, which may hold it already.
    Acquire(&'a str),
    /// Releases it, if this session holds it.
    Release(&'a str),
}

/// A put of one key. Whoever holds the key goes on holding it, unless `lock` says otherwise.
#[derive(Clone, Debug, Default)]
pub struct KvPut<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The key, not empty.
    pub key: &'a str,
    /// The value, at most [`KV_VALUE_BYTES_MAX`](crate::bounds::KV_VALUE_BYTES_MAX).
    pub value: &'a [u8],
    /// The application's own number.
    pub flags: u64,
    /// Put only if the key was last changed at this revision; 0: only if it does not exist.
    pub cas: Option<Revision>,
    /// Put only together with this; not beside `cas`.
    pub lock: Option<KvLock<'a>>,
}

/// Why nothing was done.
struct Declined;

impl Control {
    /// Sets a key. `None` if `cas` did not hold, or the key could not be locked or released: it is held by another
    /// session, or was until a short while ago. Putting what is there already makes no revision.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or overlong key, [`Error::TooLarge`] for the value, [`Error::NotFound`] for the
    /// session that is to lock the key.
    pub async fn kv_put(&self, put: KvPut<'_>) -> Result<Option<Committed>, Error> {
        check_namespace(put.namespace)?;
        check_key(put.namespace, put.key)?;
        check_value(put.key, put.value)?;
        self.kv_write(put.key, |state| draft_put(state, &put)).await
    }

    /// Deletes a key. `None` if `cas` did not hold; deleting what does not exist changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or overlong key.
    pub async fn kv_delete(
        &self,
        namespace: &str,
        key: &str,
        cas: Option<Revision>,
    ) -> Result<Option<Committed>, Error> {
        check_namespace(namespace)?;
        check_key(namespace, key)?;
        self.kv_write(key, |state| {
            let mut draft = Draft::new(state, namespace);
            if cas.is_some_and(|cas| !draft.is_at(key, cas)) {
                return Ok(Err(Declined));
            }
            draft.delete(key);
            Ok(Ok(draft.into_plan()?))
        })
        .await
    }

    async fn kv_write(
        &self,
        key: &str,
        decide: impl Fn(&State) -> Result<Result<Plan, Declined>, Error>,
    ) -> Result<Option<Committed>, Error> {
        let done = self.execute_if(|| format!("key {key:?}"), decide).await?;
        Ok(done.ok())
    }

    /// Deletes all keys that start so; all keys of the namespace if `prefix` is empty. Atomic up to
    /// [`KV_DELETE_KEYS_MAX`] keys, else in several steps.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the steps before it then stay done.
    pub async fn kv_delete_prefix(&self, namespace: &str, prefix: &str) -> Result<Committed, Error> {
        check_namespace(namespace)?;
        let root = |kind| format!("{}{kind}/{namespace}/{prefix}", weir_store::key::ROOT);
        let until = |kind, end: &str| format!("{}{kind}/{namespace}/{end}", weir_store::key::ROOT);
        let mut committed = Committed { position: self.position(), changed: false };
        loop {
            let bound = step_bound(&self.catalog().state(), namespace, prefix);
            let last = bound.is_none();
            let range = |kind| match &bound {
                None => KeyRange::prefix(&root(kind)),
                Some(end) => KeyRange::between(&root(kind), &until(kind, end)),
            };
            let writes = [keys::KV, keys::KV_LOCKED].map(|kind| Op::DeleteRange(range(kind)));
            let txn = Txn { writes: writes.into(), ..Txn::new() };
            let outcome = self.store().commit(txn).await?;
            self.catalog().visible(outcome.position.revision).await?;
            committed.position = outcome.position;
            committed.changed |=
                matches!(outcome.writes.first(), Some(weir_store::Written::RangeDeleted(1..)));
            if last {
                return Ok(committed);
            }
        }
    }
}

/// The key before which one step of a recursive delete must end; `None` if one step suffices.
fn step_bound(state: &State, namespace: &str, prefix: &str) -> Option<Arc<str>> {
    state.kv.list(namespace, prefix).nth(KV_DELETE_KEYS_MAX).map(|entry| Arc::clone(&entry.key))
}

fn draft_put(state: &State, put: &KvPut<'_>) -> Result<Result<Plan, Declined>, Error> {
    let mut draft = Draft::new(state, put.namespace);
    let content = Content { value: put.value, flags: put.flags };
    let done = match (put.lock, put.cas) {
        (None, None) => {
            draft.set(put.key, content);
            true
        }
        (None, Some(cas)) => draft.set_if(put.key, cas, content),
        (Some(KvLock::Acquire(session)), _) => draft.lock(put.key, session, content)?.is_ok(),
        (Some(KvLock::Release(session)), _) => draft.unlock(put.key, session, content),
    };
    if done { Ok(Ok(draft.into_plan()?)) } else { Ok(Err(Declined)) }
}

pub(super) fn check_key(namespace: &str, key: &str) -> Result<(), Error> {
    if key.is_empty() {
        return Err(Error::invalid("key", "is empty; expected the name of a key"));
    }
    keys::kv(namespace, key).map(drop)
}
