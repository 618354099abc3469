//! Tables of counters with labels: rows are made when they are first needed, their number is bounded, and what is gone
//! from the snapshot is given back after a while.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The label of the row that all share for whom there is no row of their own.
pub(crate) const OTHER: &str = "_other";
/// The label of requests that no service or rule was found for.
pub(crate) const NONE: &str = "_none";
/// The label of all hosts outside the mesh.
pub(crate) const OUTSIDE: &str = "_outside";

/// How many seconds a row is kept after its subject has gone: long enough for its last counts to be collected.
pub(super) const GONE_KEPT_S: u32 = 600;

/// What a row of requests is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RouteKey {
    pub(super) service: Arc<str>,
    pub(super) route: Arc<str>,
}

/// What a row of connections is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ListenerKey {
    /// The address as the snapshot names it, and what the listener is for.
    At(SocketAddr, &'static str),
    /// Listeners that have no row of their own.
    Other,
}

impl ListenerKey {
    /// What the listener is for.
    pub(super) fn role(&self) -> &'static str {
        match self {
            Self::At(_, role) => role,
            Self::Other => OTHER,
        }
    }
}

impl fmt::Display for ListenerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(addr, _) => addr.fmt(f),
            Self::Other => f.write_str(OTHER),
        }
    }
}

/// One worker's rows of one kind. The lock is for making and giving back rows; who counts keeps the row it was given.
#[derive(Debug)]
pub(super) struct Table<K, R> {
    rows: Mutex<BTreeMap<K, Kept<R>>>,
    rows_max: usize,
    other: K,
}

#[derive(Debug)]
struct Kept<R> {
    row: Arc<R>,
    /// Since when its subject has been gone; 0 while it is there.
    gone_s: u32,
}

impl<K: Ord + Clone, R: Default> Table<K, R> {
    /// A table of so many rows, beside the one called `other`.
    pub(super) fn new(rows_max: usize, other: K) -> Self {
        Self { rows: Mutex::default(), rows_max, other }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Kept<R>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of a subject: its own, or where there is no room the one that is shared.
    pub(super) fn row(&self, key: &K) -> Arc<R> {
        let mut rows = self.lock();
        if let Some(kept) = rows.get(key) {
            return kept.row.clone();
        }
        let own = rows.len() - usize::from(rows.contains_key(&self.other));
        let key = if own < self.rows_max { key } else { &self.other };
        rows.entry(key.clone()).or_insert_with(|| Kept { row: Arc::default(), gone_s: 0 }).row.clone()
    }

    /// Calls `each` with every row.
    pub(super) fn each(&self, mut each: impl FnMut(&K, &R)) {
        self.lock().iter().for_each(|(key, kept)| each(key, &kept.row));
    }

    /// Gives back the rows whose subjects have been gone for [`GONE_KEPT_S`], unless somebody still counts there.
    pub(super) fn give_back(&self, now_s: u32, is_there: impl Fn(&K) -> bool) {
        self.lock().retain(|key, kept| {
            if *key == self.other || is_there(key) || Arc::strong_count(&kept.row) > 1 {
                kept.gone_s = 0;
                return true;
            }
            if kept.gone_s == 0 {
                kept.gone_s = now_s;
            }
            now_s.saturating_sub(kept.gone_s) < GONE_KEPT_S
        });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::Counter;
    use super::*;

    fn table(rows_max: usize) -> Table<Arc<str>, Counter> {
        Table::new(rows_max, OTHER.into())
    }

    #[test]
    fn beyond_the_bound_a_row_is_shared() {
        let table = table(2);
        for name in ["a", "b", "c", "d", "a"] {
            table.row(&name.into()).add(1);
        }
        let mut seen = Vec::new();
        table.each(|key, row| seen.push((key.to_string(), row.get())));
        let row = |name: &str, count| (name.to_owned(), count);
        assert_eq!(seen, [row("_other", 2), row("a", 2), row("b", 1)]);
    }

    #[test]
    fn what_is_gone_is_given_back_after_a_while() {
        let table = table(2);
        table.row(&"stays".into()).add(1);
        table.row(&"goes".into()).add(1);
        table.row(&"more".into()).add(1);
        let there = |key: &Arc<str>| &**key == "stays";
        table.give_back(100, there);
        table.give_back(100 + GONE_KEPT_S - 1, there);
        assert_eq!(table.len(), 3, "its last counts must be collected");
        table.give_back(100 + GONE_KEPT_S, there);
        assert_eq!(table.len(), 2);
        table.row(&"new".into()).add(1);
        assert_eq!(table.len(), 3, "there is room again: {}", table.row(&"new".into()).get());
        assert_eq!(table.row(&"new".into()).get(), 1);
    }

    #[test]
    fn what_comes_back_or_is_in_use_stays() {
        let table = table(8);
        let held = table.row(&"held".into());
        table.row(&"back".into()).add(7);
        table.give_back(100, |_| false);
        table.give_back(200, |_| true);
        table.give_back(100 + GONE_KEPT_S, |_| false);
        assert_eq!(table.row(&"back".into()).get(), 7, "its time began anew");
        drop(held);
        table.give_back(200 + GONE_KEPT_S, |_| false);
        assert_eq!(table.len(), 2);
        table.give_back(100 + 2 * GONE_KEPT_S, |_| false);
        assert_eq!(table.len(), 1, "the one that was in use is counted from when it no longer was");
        table.give_back(200 + 2 * GONE_KEPT_S, |_| false);
        assert_eq!(table.len(), 0);
    }
}
