//! Writes to the KV store.

use std::sync::Arc;

use weir_model::Revision;
use weir_store::{Compare, Op, Txn};

use super::{KvEntry, encode};
use crate::bounds::{KV_DELETE_KEYS_MAX, KV_VALUE_BYTES_MAX};
use crate::catalog::State;
use crate::commit::{Committed, Plan};
use crate::registry::check_namespace;
use crate::{Control, Error, keys};

/// A put of one key.
#[derive(Clone, Debug, Default)]
pub struct KvPut<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The key, not empty.
    pub key: &'a str,
    /// The value, at most [`KV_VALUE_BYTES_MAX`].
    pub value: &'a [u8],
    /// The application's own number.
    pub flags: u64,
    /// Put only if the key was last changed at this revision; 0: only if it does not exist.
    pub cas: Option<Revision>,
}

impl Control {
    /// Sets a key. `None` if `cas` did not hold. Putting what is there already makes no revision.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or overlong key, [`Error::TooLarge`] for the value.
    pub async fn kv_put(&self, put: KvPut<'_>) -> Result<Option<Committed>, Error> {
        let KvPut { namespace, key, value, flags, cas } = put;
        check_namespace(namespace)?;
        check_key(key)?;
        if value.len() > KV_VALUE_BYTES_MAX {
            let what = format!("the value of {key:?} in bytes");
            return Err(Error::TooLarge { what, max: KV_VALUE_BYTES_MAX as u64, actual: value.len() as u64 });
        }
        let stored_at = keys::kv(namespace, key)?;
        let known = self.catalog().kv_get(namespace, key).entries;
        let same = |entry: &Arc<KvEntry>| entry.flags == flags && entry.value() == value;
        if let Some(entry) = known.filter(same)
            && cas.is_none_or(|cas| cas == entry.modify_revision)
            && self.commit(Plan::only_if(stored_at.clone(), entry.modify_revision)).await?.is_some()
        {
            return Ok(Some(Committed { position: self.position(), changed: false }));
        }
        let mut plan = Plan::nothing();
        if let Some(cas) = cas {
            plan.expect(stored_at.clone(), cas);
        }
        plan.put_raw(stored_at, encode(flags, value));
        self.commit(plan).await
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
        check_key(key)?;
        let stored_at = keys::kv(namespace, key)?;
        let mut txn = Txn::new().delete(stored_at.clone());
        if let Some(cas) = cas {
            txn = txn.when(Compare::unchanged(stored_at, cas));
        }
        let outcome = self.store().commit(txn).await?;
        self.catalog().visible(outcome.position.revision).await?;
        let changed = matches!(outcome.writes.first(), Some(weir_store::Written::Deleted(Some(_))));
        Ok(outcome.succeeded.then_some(Committed { position: outcome.position, changed }))
    }

    /// Deletes all keys that start so; all keys of the namespace if `prefix` is empty. Atomic up to
    /// [`KV_DELETE_KEYS_MAX`] keys, else in several steps.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the steps before it then stay done.
    pub async fn kv_delete_prefix(&self, namespace: &str, prefix: &str) -> Result<Committed, Error> {
        check_namespace(namespace)?;
        let root = format!("{}{}/{namespace}/", weir_store::key::ROOT, keys::KV);
        let mut committed = Committed { position: self.position(), changed: false };
        loop {
            let bound = step_bound(&self.catalog().state(), namespace, prefix);
            let last = bound.is_none();
            let range = match bound {
                None => weir_store::KeyRange::prefix(&format!("{root}{prefix}")),
                Some(end) => {
                    weir_store::KeyRange::between(&format!("{root}{prefix}"), &format!("{root}{end}"))
                }
            };
            let txn = Txn { writes: vec![Op::DeleteRange(range)], ..Txn::new() };
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

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() { Err(Error::invalid("key", "is empty; expected the name of a key")) } else { Ok(()) }
}
