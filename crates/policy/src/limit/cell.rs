//! The state of rates for everybody: their words, and what was given back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::few::TakenFew;
use super::hold::Moment;
use super::pace::Returned;
use super::scheme::{Denied, Marks, Scheme, Taken, WORDS_MAX};
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
    /// Decides about one request; none if the state has gone over to another.
    #[inline]
    pub(super) fn take(
        &self,
        scheme: &Scheme,
        shared: Option<&Moment>,
        now: Nanos,
    ) -> Option<Result<Taken, Denied>> {
        if !self.keeps_none() {
            return self.change(|words, returned| scheme.take(words, returned, 0, shared, now));
        }
        let (width, mut none) = (scheme.words(), Returned::default());
        loop {
            let (version, mut words) = self.words.read(width)?;
            let decided = scheme.take(&mut words[..width], &mut none, 0, shared, now);
            let in_time = match decided {
                Ok(_) => self.words.publish(version, &words[..width]),
                Err(_) => self.words.is_still(version),
            };
            if in_time {
                return Some(decided);
            }
        }
    }

    /// Whether nothing is kept that could be given out again.
    #[inline]
    pub(super) fn keeps_none(&self) -> bool {
        self.kept.load(Ordering::Relaxed) == 0
    }

    /// Decides by the first words where there are few rates, again if others changed them in the meantime.
    #[inline(always)]
    pub(super) fn decide<const N: usize>(
        &self,
        decide: impl Fn(&mut [u64; N]) -> Result<TakenFew, Denied>,
    ) -> Option<Result<TakenFew, Denied>> {
        loop {
            let (version, mut words) = self.words.read_first()?;
            let decided = decide(&mut words);
            let in_time = match decided {
                Ok(_) => self.words.publish(version, &words),
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

    /// Begins with what another has spent.
    pub(super) fn begin(&self, begin: &[u64; WORDS_MAX]) {
        self.change(|words, _| *words = *begin);
    }

    /// Decides nothing any more. The words as they are then.
    pub(super) fn end(&self) -> [u64; WORDS_MAX] {
        self.words.end()
    }

    /// Whether its state has gone over to another.
    pub(super) fn is_over(&self) -> bool {
        self.words.is_over()
    }

    /// The words as they stand.
    pub(super) fn words(&self) -> [u64; WORDS_MAX] {
        self.words.words()
    }

    fn change<T>(&self, change: impl FnOnce(&mut [u64; WORDS_MAX], &mut Returned) -> T) -> Option<T> {
        self.words.change(|words| {
            let mut returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
            let result = change(words, &mut returned);
            self.kept.store(returned.len() as u32, Ordering::Relaxed);
            result
        })
    }
}
