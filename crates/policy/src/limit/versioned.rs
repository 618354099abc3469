//! Several words that change together, without a mutex.
//!
//! ```text
//! read the version and the words -> work out what they become -> version + 1 (if it is still that) -> words -> version + 2
//! ```
//!
//! The work is done on a copy; only the stores are between the two changes of the version (a sequence lock: Lameter,
//! "Effective synchronization on Linux/NUMA systems", 2005, whose writers do their work before they enter). So a change
//! costs one compare-and-swap where a mutex costs two, looking changes nothing, and who is interrupted while he works
//! holds up nobody.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::latch::look_again;

/// The version of words that change no more.
const OVER: u64 = u64::MAX;

/// Words, all zero at first.
#[derive(Debug)]
pub(super) struct Versioned<const N: usize> {
    /// Odd while somebody stores words, and [`OVER`] at the end.
    version: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Default for Versioned<N> {
    fn default() -> Self {
        Self { version: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl<const N: usize> Versioned<N> {
    /// The words as they stand.
    #[inline]
    pub(super) fn words(&self) -> [u64; N] {
        loop {
            match self.read(N) {
                Some((version, words)) if self.is_still(version) => return words,
                Some(_) => {}
                None => return self.loaded(),
            }
        }
    }

    fn loaded(&self) -> [u64; N] {
        self.words.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    /// A version, and the first of the words, which are of that if it [`Versioned::is_still`] the same, or if something
    /// can be published in its place. None if they change no more.
    #[inline]
    pub(super) fn read(&self, width: usize) -> Option<(u64, [u64; N])> {
        let version = self.even_version()?;
        let mut words = [0; N];
        for (copy, word) in words[..width].iter_mut().zip(&self.words) {
            *copy = word.load(Ordering::Relaxed);
        }
        Some((version, words))
    }

    /// The same for a number of words that is known when this is compiled.
    #[inline]
    pub(super) fn read_first<const FIRST: usize>(&self) -> Option<(u64, [u64; FIRST])> {
        const { assert!(FIRST <= N) };
        let version = self.even_version()?;
        Some((version, std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed))))
    }

    /// Whether words that were read at a version are all of that version.
    #[inline]
    pub(super) fn is_still(&self, version: u64) -> bool {
        fence(Ordering::Acquire);
        self.version.load(Ordering::Relaxed) == version
    }

    /// Stores the first words in the place of those of a version; false if there are newer ones.
    #[inline]
    pub(super) fn publish(&self, version: u64, words: &[u64]) -> bool {
        let entered = self.enter(version);
        if entered {
            self.leave(version, words);
        }
        entered
    }

    /// Changes the words while all others wait, so it is for what is rare. None if they change no more.
    #[cold]
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut [u64; N]) -> T) -> Option<T> {
        let entered = self.enter_any()?;
        let mut words = self.loaded();
        let result = change(&mut words);
        self.leave(entered, &words);
        Some(result)
    }

    /// From now on they change no more. The words as they are then.
    #[cold]
    pub(super) fn end(&self) -> [u64; N] {
        let entered = self.enter_any();
        let words = self.loaded();
        if entered.is_some() {
            self.version.store(OVER, Ordering::Release);
        }
        words
    }

    /// Whether they change no more.
    pub(super) fn is_over(&self) -> bool {
        self.version.load(Ordering::Acquire) == OVER
    }

    fn enter_any(&self) -> Option<u64> {
        loop {
            let version = self.even_version()?;
            if self.enter(version) {
                return Some(version);
            }
        }
    }

    #[inline]
    fn even_version(&self) -> Option<u64> {
        // Acquires what the one before has stored.
        let version = self.version.load(Ordering::Acquire);
        if version.is_multiple_of(2) { Some(version) } else { self.await_even() }
    }

    #[cold]
    fn await_even(&self) -> Option<u64> {
        let mut looks = 0;
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version.is_multiple_of(2) {
                return Some(version);
            }
            if version == OVER {
                return None;
            }
            look_again(&mut looks);
        }
    }

    #[inline]
    fn enter(&self, version: u64) -> bool {
        self.version.compare_exchange(version, version + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline]
    fn leave(&self, entered: u64, words: &[u64]) {
        // Who sees one of the words sees by this that the version is odd, or later.
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(words) {
            word.store(*value, Ordering::Relaxed);
        }
        self.version.store(entered + 2, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Words that are always alike are never seen otherwise, and no change is lost.
    #[test]
    fn words_change_together() {
        const CHANGES: u64 = 20_000;
        let words = Versioned::<5>::default();
        let alike = |words: &[u64; 5]| words.iter().all(|word| *word == words[0]);
        thread::scope(|scope| {
            for thread in 0..4 {
                let words = &words;
                scope.spawn(move || {
                    for round in 0..CHANGES {
                        if (round + thread).is_multiple_of(16) {
                            words.change(|words| words.iter_mut().for_each(|word| *word += 1));
                            continue;
                        }
                        loop {
                            let (version, copy) = words.read(5).unwrap();
                            if words.publish(version, &copy.map(|word| word + 1)) {
                                assert!(alike(&copy), "{copy:?}");
                                break;
                            }
                        }
                        assert!(alike(&words.words()));
                    }
                });
            }
        });
        assert_eq!(words.words(), [4 * CHANGES; 5]);
        assert_eq!(words.end(), [4 * CHANGES; 5]);
        assert!(words.is_over() && words.read(5).is_none() && words.change(|words| words[0] = 0).is_none());
        assert_eq!(words.words(), [4 * CHANGES; 5]);
    }
}
