//! What a copy of a store carries, and what it leaves behind.
//!
//! Left behind is what holds only while it is held: replicas, locks and claims on them, and the delays after a key was locked.
//! Whoever held a lock is told so at the next renewal, and who takes it next has a greater fencing token, since the copy begins a
//! higher epoch. Sessions come along, with the keys that they hold, and get their full time again.

use weir_store::archive::Export;
use weir_store::{Key, KeyRange, Read, Store};

use crate::replicas::Replica;
use crate::{Control, Error, keys};

/// Whether a copy carries a key. Keys under leases are left behind without being asked about.
pub fn is_carried(key: &Key) -> bool {
    !matches!(key.kind(), Some(keys::LOCK | keys::CLAIM | keys::REPLICA | keys::KV_DELAYED))
}

/// The servers that live on a store, by where the others reach them.
///
/// # Errors
/// What the store answers.
pub async fn servers_on(store: &dyn Store) -> Result<Vec<String>, Error> {
    let page = store.range(Read::range(KeyRange::kind(keys::REPLICA))).await?;
    let servers = page.entries.iter().map(|pair| {
        weir_store::json::from_entry::<Replica>(pair)
            .map_or_else(|_| pair.key.to_string(), |replica| replica.http)
    });
    Ok(servers.collect())
}

impl Control {
    /// A copy of everything as it is now, in the form of [`weir_store::archive`].
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn backup(&self) -> Result<Export<'_>, Error> {
        Ok(Export::begin(self.store(), is_carried).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_only_while_it_is_held_is_left_behind() {
        let carried = |key: Result<Key, Error>| is_carried(&key.unwrap());
        for key in [keys::node("a"), keys::kv("n", "k"), keys::kv_locked("n", "k"), keys::session("n", "s")] {
            assert!(carried(key));
        }
        for key in [keys::format(), keys::head(), keys::part(keys::CHANGE_SET, "1-a", 0)] {
            assert!(carried(key));
        }
        for key in
            [keys::lock("n", "l"), keys::claim("n", "l", "c"), keys::replica("r"), keys::kv_delayed("n", "k")]
        {
            assert!(!carried(key));
        }
    }
}
