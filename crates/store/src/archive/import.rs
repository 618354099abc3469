//! Filling a store from an archive, through transactions.

use crate::{Entry, Error, Key, Store, Txn};

/// Puts entries into a store, in transactions as large as it takes. They get new revisions, and no lease. What was put stays
/// when it fails in between.
///
/// # Errors
/// The first error of `entries`, as it is, and what [`Store::commit`] answers.
pub async fn fill<E: From<Error>>(
    store: &dyn Store,
    entries: impl Iterator<Item = Result<(Key, Entry), E>>,
) -> Result<u64, E> {
    let limits = store.limits();
    let (mut txn, mut bytes, mut count) = (Txn::new(), 0, 0);
    for entry in entries {
        let (key, entry) = entry?;
        let size = key.as_bytes().len() + entry.value.len();
        let is_full = txn.writes.len() == limits.txn_ops_max || bytes + size > limits.txn_bytes_max;
        if is_full && !txn.writes.is_empty() {
            store.commit(std::mem::take(&mut txn)).await?;
            bytes = 0;
        }
        txn = txn.put(key, entry.value);
        bytes += size;
        count += 1;
    }
    if !txn.writes.is_empty() {
        store.commit(txn).await?;
    }
    Ok(count)
}
