//! Everything that a store holds at one revision, while it goes on changing.

use crate::{Error, KeyRange, KeyValue, Position, Read, Store};

/// Entries in one page: what is held at a time where values are large.
const PAGE_ENTRIES_MAX: usize = 128;

/// All entries of a store at one revision, in the order of their keys, page by page.
pub struct Snapshot<'a> {
    position: Position,
    rest: Rest<'a>,
}

enum Rest<'a> {
    /// Keys and values are shared with the store, so holding them costs 64 bytes for each key, and the values that are
    /// replaced meanwhile. However long reading takes, and whatever is written: nothing gets lost. With how many were read.
    Held(Vec<KeyValue>, usize),
    /// Read page by page from the store's own history, from this range on.
    Asked(&'a dyn Store, Option<KeyRange>),
}

impl std::fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("position", &self.position).finish_non_exhaustive()
    }
}

impl<'a> Snapshot<'a> {
    /// One whose entries are in memory.
    pub fn held(entries: Vec<KeyValue>, position: Position) -> Self {
        Self { position, rest: Rest::Held(entries, 0) }
    }

    /// One that asks a store which keeps its history for long enough.
    pub fn asked(store: &'a dyn Store, position: Position) -> Self {
        Self { position, rest: Rest::Asked(store, Some(KeyRange::all())) }
    }

    /// Begins anew: what comes is the same as before.
    pub fn rewind(&mut self) {
        match &mut self.rest {
            Rest::Held(_, read) => *read = 0,
            Rest::Asked(_, rest) => *rest = Some(KeyRange::all()),
        }
    }

    /// Where the store was.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The next entries; none at the end.
    ///
    /// # Errors
    /// What [`Store::range`] answers: [`Error::Compacted`] if the store's history is shorter than reading took.
    pub async fn next(&mut self) -> Result<Vec<KeyValue>, Error> {
        match &mut self.rest {
            Rest::Held(entries, read) => {
                let page: Vec<_> = entries.iter().skip(*read).take(PAGE_ENTRIES_MAX).cloned().collect();
                *read += page.len();
                Ok(page)
            }
            Rest::Asked(store, rest) => {
                let Some(range) = rest.take() else { return Ok(Vec::new()) };
                let read = Read::range(range.clone()).limit(PAGE_ENTRIES_MAX).at(self.position.revision);
                let page = store.range(read).await?;
                if page.more {
                    *rest = page.entries.last().map(|last| range.after(&last.key));
                }
                Ok(page.entries)
            }
        }
    }
}
