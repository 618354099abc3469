//! The catalog's KV keys with their indexes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weir_model::Revision;

use super::effects::Effects;
use super::topic::{Tombstones, Topic};
use crate::bounds::KV_TOMBSTONES_MAX;
use crate::kv::KvEntry;

pub(crate) struct KvTable {
    namespaces: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<KvEntry>>>,
    /// By namespace and key.
    gone: Tombstones<(String, String)>,
    /// The keys that each session holds, by namespace and session.
    held: HashMap<(String, String), BTreeSet<Arc<str>>>,
    /// The keys that cannot be locked for now, by namespace and key, with the revisions that say so.
    delays: BTreeMap<(String, String), Revision>,
}

impl KvTable {
    pub(crate) fn new(floor: Revision) -> Self {
        Self {
            namespaces: BTreeMap::new(),
            gone: Tombstones::new(KV_TOMBSTONES_MAX, floor),
            held: HashMap::new(),
            delays: BTreeMap::new(),
        }
    }

    pub(crate) fn put(&mut self, namespace: &str, entry: KvEntry, effects: &mut Effects) {
        self.gone.revive(&(namespace.to_owned(), entry.key.to_string()));
        touch(namespace, &entry.key, effects);
        let entry = Arc::new(entry);
        if let Some(session) = &entry.session {
            let holder = (namespace.to_owned(), session.to_string());
            self.held.entry(holder).or_default().insert(Arc::clone(&entry.key));
        }
        let keys = self.namespaces.entry(namespace.into()).or_default();
        let before = keys.insert(Arc::clone(&entry.key), Arc::clone(&entry));
        if let Some(before) = before.filter(|before| before.session != entry.session) {
            self.let_go(namespace, &before);
        }
    }

    pub(crate) fn delete(&mut self, namespace: &str, key: &str, effects: &mut Effects) {
        let Some(keys) = self.namespaces.get_mut(namespace) else { return };
        let Some(entry) = keys.remove(key) else { return };
        if keys.is_empty() {
            self.namespaces.remove(namespace);
        }
        self.let_go(namespace, &entry);
        self.gone.bury((namespace.to_owned(), key.to_owned()), effects.revision());
        touch(namespace, key, effects);
    }

    /// An entry's session does not hold it any more.
    fn let_go(&mut self, namespace: &str, entry: &KvEntry) {
        let Some(session) = &entry.session else { return };
        let holder = (namespace.to_owned(), session.to_string());
        if let Some(keys) = self.held.get_mut(&holder) {
            keys.remove(&entry.key);
            if keys.is_empty() {
                self.held.remove(&holder);
            }
        }
    }

    /// The entries that a session holds, by key.
    pub(crate) fn held_by(&self, namespace: &str, session: &str) -> impl Iterator<Item = &Arc<KvEntry>> {
        let keys = self.held.get(&(namespace.to_owned(), session.to_owned())).into_iter().flatten();
        keys.filter_map(|key| self.namespaces.get(namespace)?.get(key))
    }

    /// A key cannot be locked until [`KvTable::end_delay`].
    pub(crate) fn delay(&mut self, namespace: &str, key: &str, revision: Revision) {
        self.delays.insert((namespace.to_owned(), key.to_owned()), revision);
    }

    pub(crate) fn end_delay(&mut self, namespace: &str, key: &str) {
        self.delays.remove(&(namespace.to_owned(), key.to_owned()));
    }

    pub(crate) fn is_delayed(&self, namespace: &str, key: &str) -> bool {
        self.delays.contains_key(&(namespace.to_owned(), key.to_owned()))
    }

    pub(crate) fn delays(&self) -> impl Iterator<Item = (&(String, String), &Revision)> {
        self.delays.iter()
    }

    pub(crate) fn get(&self, namespace: &str, key: &str) -> Option<&Arc<KvEntry>> {
        self.namespaces.get(namespace)?.get(key)
    }

    /// The keys that start so, in order.
    pub(crate) fn list<'a>(
        &'a self,
        namespace: &str,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a Arc<KvEntry>> + 'a {
        self.namespaces
            .get(namespace)
            .into_iter()
            .flat_map(move |keys| {
                keys.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            })
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<KvEntry>)> {
        self.namespaces
            .iter()
            .flat_map(|(namespace, keys)| keys.values().map(move |entry| (namespace, entry)))
    }

    pub(crate) fn key_index(&self, namespace: &str, key: &str) -> Revision {
        self.get(namespace, key).map_or_else(
            || self.gone.index(&(namespace.to_owned(), key.to_owned())),
            |entry| entry.modify_revision,
        )
    }

    pub(crate) fn prefix_index(&self, namespace: &str, prefix: &str) -> Revision {
        let live = self.list(namespace, prefix).map(|entry| entry.modify_revision).max();
        let gone = self
            .gone
            .from(&(namespace.to_owned(), prefix.to_owned()))
            .take_while(|((gone_in, key), _)| gone_in == namespace && key.starts_with(prefix))
            .map(|(_, revision)| revision)
            .max();
        live.max(gone).unwrap_or_default().max(self.gone.floor())
    }
}

/// Prefix topics are found by the waiters themselves: only they know which prefixes are waited for.
fn touch(namespace: &str, key: &str, effects: &mut Effects) {
    effects.touch(|| Topic::KvKey { namespace: namespace.to_owned(), key: key.to_owned() });
}

#[cfg(test)]
mod tests {
    use weir_model::Position;

    use super::*;

    fn entry(key: &str, revision: Revision) -> KvEntry {
        let stored = weir_store::Entry {
            value: crate::kv::encode(&crate::kv::Header::default(), b"x"),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: None,
        };
        crate::kv::decode(key, &stored).expect("readable")
    }

    #[test]
    fn keys_that_are_there_do_not_change_with_what_is_forgotten() {
        let mut table = KvTable::new(1);
        let at = |revision| Effects::unobserved(Position::new(1, revision));
        table.put("default", entry("stays", 2), &mut at(2));
        let last = 3 + KV_TOMBSTONES_MAX as u64;
        for revision in 3..=last {
            let key = format!("gone/{revision}");
            table.put("default", entry(&key, revision), &mut at(revision));
            table.delete("default", &key, &mut at(revision));
        }
        assert_eq!(
            table.key_index("default", "stays"),
            2,
            "its watchers must not be woken by other keys' ends"
        );
        assert_eq!(table.key_index("default", "never"), 3, "the oldest end is forgotten");
        assert_eq!(table.key_index("default", &format!("gone/{last}")), last);
        assert_eq!(table.prefix_index("default", "gone/"), last);
    }
}
