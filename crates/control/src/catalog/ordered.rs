//! Sets of shared entries that are looked up by a pair of texts, without storing the texts a second time: ordered
//! ones for few entries, hashed ones for many.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Two texts, as bytes, which have the same order.
pub(crate) type Pair<'a> = (&'a [u8], &'a [u8]);

/// Something that is ordered by two texts.
pub(crate) trait Paired {
    fn pair(&self) -> Pair<'_>;
}

impl Paired for (&str, &str) {
    fn pair(&self) -> Pair<'_> {
        (self.0.as_bytes(), self.1.as_bytes())
    }
}

impl PartialEq for dyn Paired + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.pair() == other.pair()
    }
}

impl Eq for dyn Paired + '_ {}

impl PartialOrd for dyn Paired + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Paired + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pair().cmp(&other.pair())
    }
}

impl Hash for dyn Paired + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pair().hash(state);
    }
}

/// How an entry is ordered within a set.
pub(crate) trait By<T> {
    fn pair(entry: &T) -> Pair<'_>;
}

/// An entry in the order that `B` gives it.
struct Member<T, B>(Arc<T>, std::marker::PhantomData<fn() -> B>);

impl<T, B: By<T>> Paired for Member<T, B> {
    fn pair(&self) -> Pair<'_> {
        B::pair(&self.0)
    }
}

impl<T, B: By<T>> PartialEq for Member<T, B> {
    fn eq(&self, other: &Self) -> bool {
        self.pair() == other.pair()
    }
}

impl<T, B: By<T>> Eq for Member<T, B> {}

impl<T, B: By<T>> PartialOrd for Member<T, B> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T, B: By<T>> Ord for Member<T, B> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pair().cmp(&other.pair())
    }
}

impl<T, B: By<T>> Hash for Member<T, B> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pair().hash(state);
    }
}

impl<'a, T: 'a, B: By<T> + 'a> Borrow<dyn Paired + 'a> for Member<T, B> {
    fn borrow(&self) -> &(dyn Paired + 'a) {
        self
    }
}

/// An ordered set of shared entries; about two words each.
pub(crate) struct Entries<T, B>(BTreeSet<Member<T, B>>);

impl<T, B: By<T>> Default for Entries<T, B> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T, B: By<T>> Entries<T, B> {
    /// Puts an entry in the place of the one with the same texts, if there is one.
    pub(crate) fn put(&mut self, entry: Arc<T>) {
        self.0.replace(Member(entry, std::marker::PhantomData));
    }

    pub(crate) fn remove(&mut self, first: &str, second: &str) -> Option<Arc<T>> {
        self.0.take(&(first, second) as &dyn Paired).map(|member| member.0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.iter().map(|member| &member.0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A hashed set of shared entries, for many: a lookup touches one or two of them instead of a path through all.
pub(crate) struct Table<T, B>(HashSet<Member<T, B>>);

impl<T, B: By<T>> Default for Table<T, B> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T, B: By<T>> Table<T, B> {
    pub(crate) fn get(&self, first: &str, second: &str) -> Option<&Arc<T>> {
        self.0.get(&(first, second) as &dyn Paired).map(|member| &member.0)
    }

    /// Puts an entry in the place of the one with the same texts, if there is one.
    pub(crate) fn put(&mut self, entry: Arc<T>) {
        self.0.replace(Member(entry, std::marker::PhantomData));
    }

    pub(crate) fn remove(&mut self, first: &str, second: &str) -> Option<Arc<T>> {
        self.0.take(&(first, second) as &dyn Paired).map(|member| member.0)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.iter().map(|member| &member.0)
    }

    /// All entries, in order.
    pub(crate) fn sorted(&self) -> Vec<Arc<T>> {
        let mut entries: Vec<_> = self.iter().cloned().collect();
        entries.sort_unstable_by(|a, b| B::pair(a).cmp(&B::pair(b)));
        entries
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Whole;

    impl By<(String, String)> for Whole {
        fn pair(entry: &(String, String)) -> Pair<'_> {
            (entry.0.as_bytes(), entry.1.as_bytes())
        }
    }

    #[test]
    fn both_kinds_find_what_they_hold_and_nothing_else() {
        let mut entries = Entries::<_, Whole>::default();
        let mut table = Table::<_, Whole>::default();
        for (a, b) in [("b", "1"), ("a", "2"), ("a", "1"), ("a", "2")] {
            let entry = Arc::new((a.to_owned(), b.to_owned()));
            entries.put(Arc::clone(&entry));
            table.put(entry);
        }
        assert_eq!(entries.len(), 3);
        assert!(entries.iter().eq(table.sorted().iter()));
        for (a, b, held) in [("a", "2", true), ("a2", "", false), ("", "a2", false), ("b", "1", true)] {
            assert_eq!(table.get(a, b).is_some(), held);
        }
        assert!(table.remove("a", "2").is_some() && table.remove("a", "2").is_none());
        assert!(entries.remove("a", "2").is_some() && entries.remove("a", "2").is_none());
        assert_eq!(table.sorted().len(), 2);
        assert!(!table.is_empty() && !entries.is_empty());
    }
}
