//! Who may try next to write what several want to write at once.
//!
//! Writes are optimistic: they are decided on what the catalog shows, and decided anew if that changed meanwhile. Among
//! many who change one thing that lets one through per commit, and the others would run out of tries. So whoever lost
//! once waits for its turn, and while somebody waits, so do all who come later. What nobody contends for never waits.
//! Who creates what others are likely to create at the same moment takes the turn at once.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, MutexGuard};
use weir_store::Key;

/// Lines to wait in; different keys that fall into the same one only wait needlessly.
const LINES: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Fair: first come, first served.
    turn: Mutex<()>,
    /// Who waits for the turn or has it.
    waiting: AtomicUsize,
}

/// The lines of one replica.
#[derive(Debug)]
pub(crate) struct Turns {
    hasher: RandomState,
    lines: Vec<Line>,
}

/// A turn, given back when dropped.
pub(crate) struct Turn<'a> {
    _turn: MutexGuard<'a, ()>,
    place: Place<'a>,
}

impl Turn<'_> {
    /// Whether it is a turn in this line.
    pub(crate) fn is_at(&self, line: &Line) -> bool {
        std::ptr::eq(self.place.0, line)
    }
}

struct Place<'a>(&'a Line);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            lines: std::iter::repeat_with(Line::default).take(LINES).collect(),
        }
    }
}

impl Turns {
    /// Where one waits for a turn at this key.
    pub(crate) fn line(&self, key: &Key) -> &Line {
        &self.lines[self.hasher.hash_one(key) as usize % LINES]
    }

    /// Whether somebody waits for a turn at this key.
    pub(crate) fn contended(&self, key: &Key) -> bool {
        self.line(key).waiting.load(Ordering::Relaxed) > 0
    }

    /// The turn at this key, if it is free.
    pub(crate) fn take(&self, key: &Key) -> Option<Turn<'_>> {
        let line = self.line(key);
        let turn = line.turn.try_lock().ok()?;
        line.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Turn { _turn: turn, place: Place(line) })
    }

    /// Waits for a turn at this key. Decide anew after it: what was seen before is old.
    pub(crate) async fn wait(&self, key: &Key) -> Turn<'_> {
        let line = self.line(key);
        line.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(line);
        Turn { _turn: line.turn.lock().await, place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_contended_as_long_as_somebody_is_in_it() {
        let turns = Turns::default();
        let key = Key::new("kind", "ns", "a").unwrap();
        assert!(!turns.contended(&key));
        let first = turns.wait(&key).await;
        // Gives up waiting.
        assert!(futures_util::FutureExt::now_or_never(turns.wait(&key)).is_none());
        assert!(turns.contended(&key));
        assert!(turns.take(&key).is_none() && first.is_at(turns.line(&key)));
        drop(first);
        assert!(!turns.contended(&key));
        drop(turns.wait(&key).await);
        let taken = turns.take(&key);
        assert!(taken.is_some() && turns.contended(&key));
    }
}
