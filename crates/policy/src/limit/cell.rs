//! The state of rates for everybody: their words, and what was given back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::hold::Moment;
use super::pace::Returned;
use super::scheme::{Denied, Marks, Scheme, Taken, TakenOne, WORDS_MAX, WORDS_ONE};
use super::versioned::Versioned;
use crate::time::Nanos;

/// The state of rates for everybody.
#[derive(Debug, Default)]
pub(super) struct Cell {
    words: Versioned<WORDS_MAX>,
    /// How many slots are kept in `returned`.
    kept: AtomicU32,
    /// Touched only by who changes the words alone.
    returned: Mutex<Returned>,
}

impl Cell {
    /// Decides about one request.
    #[inline]
    pub(super) fn take(&self, scheme: &Scheme, shared: Option<&Moment>, now: Nanos) -> Result<Taken, Denied> {
        if self.kept.load(Ordering::Relaxed) > 0 {
            return self.change(|words, returned| scheme.take(words, returned, 0, shared, now));
        }
        let (width, mut none) = (scheme.words(), Returned::default());
        loop {
            let (version, mut words) = self.words.read(width);
            let decided = scheme.take(&mut words[..width], &mut none, 0, shared, now);
            let in_time = match decided {
                Ok(_) => self.words.publish(version, &words[..width]),
                Err(_) => self.words.is_still(version),
            };
            if in_time {
                return decided;
            }
        }
    }

    /// Decides about one request where there is only one rate, of windows or of a bucket that warms up; none of others.
    /// Nothing is ever kept of these.
    #[inline]
    pub(super) fn take_one(&self, scheme: &Scheme, now: Nanos) -> Option<Result<TakenOne, Denied>> {
        loop {
            let (version, words) = self.words.read(WORDS_ONE);
            let mut one = [words[0], words[1]];
            let decided = scheme.take_one(&mut one, now)?;
            let in_time = match decided {
                Ok(_) => self.words.publish(version, &one),
                Err(_) => self.words.is_still(version),
            };
            if in_time {
                return Some(decided);
            }
        }
    }

    /// Gives back what an admission took.
    pub(super) fn give_back(&self, scheme: &Scheme, marks: &Marks, now: Nanos) {
        self.change(|words, returned| scheme.give_back(words, returned, 0, marks, now));
    }

    /// Goes on by another scheme of the same kind with what was spent.
    pub(super) fn carry(&self, old: &Scheme, new: &Scheme, now: Nanos) {
        self.change(|words, returned| {
            new.carry(words, old, now);
            returned.clear();
        });
    }

    /// The words as they stand.
    pub(super) fn words(&self) -> [u64; WORDS_MAX] {
        self.words.words()
    }

    fn change<T>(&self, change: impl FnOnce(&mut [u64; WORDS_MAX], &mut Returned) -> T) -> T {
        self.words.change(|words| {
            let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
            let result = change(words, &mut returned);
            self.kept.store(returned.len() as u32, Ordering::Relaxed);
            result
        })
    }
}
