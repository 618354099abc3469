//! Ordered sets of shared entries that are looked up by a pair of texts, without storing the texts a second time.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Something that is ordered by two texts.
pub(crate) trait Paired {
    fn pair(&self) -> (&str, &str);
}

impl Paired for (&str, &str) {
    fn pair(&self) -> (&str, &str) {
        *self
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

/// How an entry is ordered within a set.
pub(crate) trait By<T> {
    fn pair(entry: &T) -> (&str, &str);
}

/// An entry in the order that `B` gives it.
struct Member<T, B>(Arc<T>, std::marker::PhantomData<fn() -> B>);

impl<T, B: By<T>> Paired for Member<T, B> {
    fn pair(&self) -> (&str, &str) {
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
