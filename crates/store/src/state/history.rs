//! The recent past: what each of the last transactions changed. Feeds watches and reads of the past.
//!
//! Bounded by events and bytes; the oldest transactions go first, the newest always stays. One transaction per
//! revision without a gap, so a revision is found by subtraction.

use std::collections::VecDeque;

use super::{Change, Commit, Overlay};
use crate::{Error, KeyRange, Record, Revision};

/// Memory that an event takes beside its key and values: two references, and what its commit takes if it has no other.
const EVENT_BYTES: usize = 80;

#[derive(Debug)]
pub(crate) struct History {
    commits: VecDeque<Commit>,
    events: usize,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    /// The newest revision whose changes are forgotten. The state at it can still be read.
    compacted: Revision,
}

impl History {
    /// An empty history of a store that stands at `revision`.
    pub(crate) fn new(events_max: usize, bytes_max: usize, revision: Revision) -> Self {
        Self { commits: VecDeque::new(), events: 0, bytes: 0, events_max, bytes_max, compacted: revision }
    }

    /// The newest revision known.
    pub(crate) fn newest(&self) -> Revision {
        self.compacted + self.commits.len() as u64
    }

    /// The oldest revision a watch can start from.
    pub(crate) fn oldest(&self) -> Revision {
        self.compacted + 1
    }

    pub(crate) fn push(&mut self, commit: Commit) {
        debug_assert_eq!(commit.revision, self.newest() + 1, "one commit per revision");
        self.events += commit.changes.len();
        self.bytes += weight(&commit);
        self.commits.push_back(commit);
        while self.commits.len() > 1 && (self.events > self.events_max || self.bytes > self.bytes_max) {
            self.forget_oldest();
        }
    }

    /// Forgets the changes up to and including `revision`.
    pub(crate) fn compact(&mut self, revision: Revision) {
        while self.compacted < revision && !self.commits.is_empty() {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(commit) = self.commits.pop_front() {
            self.events -= commit.changes.len();
            self.bytes -= weight(&commit);
            self.compacted = commit.revision;
        }
    }

    /// The commits from `revision` on; empty if it is in the future.
    pub(crate) fn since(&self, revision: Revision) -> Result<impl Iterator<Item = &Commit>, Error> {
        if revision < self.oldest() {
            return Err(Error::Compacted { oldest: self.oldest() });
        }
        let first = usize::try_from(revision - self.oldest()).unwrap_or(usize::MAX);
        Ok(self.commits.range(first.min(self.commits.len())..))
    }

    /// What must be laid over the present entries of `range` to see them as of `revision`.
    pub(crate) fn undo_to(&self, revision: Revision, range: &KeyRange) -> Result<Overlay, Error> {
        if revision < self.compacted {
            return Err(Error::Compacted { oldest: self.compacted });
        }
        let mut past = Overlay::new();
        for change in self.since(revision + 1)?.flat_map(|commit| commit.changes.iter()) {
            let path = change.path_bytes();
            // The first change after `revision` knows what was there at it.
            if range.contains_path(path) && !past.contains_key(path) {
                past.insert(change.key(), change.before.clone());
            }
        }
        Ok(past)
    }
}

/// The memory a commit is counted with. Values shared with the live state are counted too: they may outlive it.
fn weight(commit: &Commit) -> usize {
    let held = |record: &Option<Record>| record.as_ref().map_or(0, Record::held);
    let weight = |change: &Change| EVENT_BYTES + held(&change.now) + held(&change.before);
    commit.changes.iter().map(weight).sum()
}
