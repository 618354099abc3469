//! The rates of many keys: bounded, and shared by threads.
//!
//! The table is divided into shards by hash, each behind a mutex that is held for some ten nanoseconds, so that threads that
//! deal with different keys seldom meet. A key that is refused while it has no place gets none.
//!
//! **Forgetting gives nothing away.** When a key makes room for another, its state is joined into one of a fixed number of
//! *remainders*, chosen by its hash, and a key without a place starts with the state of its remainder. So one that was
//! forgotten finds at least what it had spent: no key ever gets more than its rate and burst, whoever floods the table with
//! keys; and a flood of keys together gets about what as many keys as there are places may have. What may happen instead,
//! while more keys are busy than have places, is that a newcomer is charged for what forgotten keys with the same remainder
//! have spent. Keys that are seen often keep their places (see [`super::keys`]). The idea is that of counting sketches:
//! estimates that are never too low.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hold::Moment;
use super::keys::{Keys, Put, reserve};
use super::pace::Returned;
use super::scheme::{Denied, Marks, Scheme, Taken, WORDS_MAX};
use crate::time::Nanos;

/// Most shards. A power of two.
const SHARDS_MAX: usize = 64;

/// Fewest places that are worth a shard.
const SHARD_PLACES_MIN: usize = 64;

/// The rates of many keys.
#[derive(Debug)]
pub(super) struct Table {
    shards: Vec<Shard>,
    /// How far to shift a hash so that the shard's number is left.
    shift: u32,
}

/// Two cache lines of its own, so that threads at different shards do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Mutex<Part>);

#[derive(Debug)]
struct Part {
    keys: Keys,
    /// The state of each place, one after the other.
    words: Vec<u64>,
    /// Of the keys that were forgotten; empty while none was.
    remainders: Vec<u64>,
    returned: Returned,
    /// Words of each place.
    width: usize,
    /// Keys that were forgotten.
    forgotten: u64,
}

impl Table {
    pub(super) fn new(scheme: &Scheme, keys_max: usize) -> Self {
        let count = (keys_max / SHARD_PLACES_MIN).clamp(1, SHARDS_MAX);
        let count = if count.is_power_of_two() { count } else { count.next_power_of_two() / 2 };
        let part = |number| Part {
            keys: Keys::new(share(keys_max, count, number)),
            words: Vec::new(),
            remainders: Vec::new(),
            returned: Returned::default(),
            width: scheme.words(),
            forgotten: 0,
        };
        Self {
            shards: (0..count).map(|number| Shard(Mutex::new(part(number)))).collect(),
            shift: 64 - count.trailing_zeros(),
        }
    }

    #[inline]
    pub(super) fn take(
        &self,
        scheme: &Scheme,
        hash: u64,
        name: &[u8],
        shared: Option<&Moment>,
        now: Nanos,
    ) -> Result<Taken, Denied> {
        self.shard(hash).take(scheme, hash, name, shared, now)
    }

    /// Looks at a key's words: at its remainder's if it has no place.
    pub(super) fn look<T>(&self, hash: u64, look: impl FnOnce(&[u64]) -> T) -> T {
        let part = self.shard(hash);
        let words = match part.keys.place_of(hash) {
            Some(at) => &part.words[at * part.width..][..part.width],
            None => match part.remainder(hash) {
                Some(at) => &part.remainders[at..][..part.width],
                None => &[0; WORDS_MAX],
            },
        };
        look(words)
    }

    /// A key that was forgotten in the meantime gets nothing back.
    pub(super) fn give_back(&self, scheme: &Scheme, hash: u64, marks: &Marks, now: Nanos) {
        let mut part = self.shard(hash);
        let part = &mut *part;
        if let Some(at) = part.keys.place_of(hash) {
            let words = &mut part.words[at * part.width..][..part.width];
            scheme.give_back(words, &mut part.returned, hash, marks, now);
        }
    }

    /// Goes on by another scheme of the same kind, with what was spent.
    pub(super) fn carry(&self, old: &Scheme, scheme: &Scheme, keys_max: usize, now: Nanos) {
        for (number, shard) in self.shards.iter().enumerate() {
            shard.lock().carry(old, scheme, share(keys_max, self.shards.len(), number), now);
        }
    }

    /// Calls back with every key's name and words.
    pub(super) fn visit(&self, mut each: impl FnMut(&[u8], &[u64])) {
        for shard in &self.shards {
            let part = shard.lock();
            for at in 0..part.keys.len() {
                each(part.keys.name(at), &part.words[at * part.width..][..part.width]);
            }
        }
    }

    /// Keys that have a place, and keys that were forgotten.
    pub(super) fn counts(&self) -> (usize, u64) {
        self.shards.iter().map(Shard::lock).fold((0, 0), |(tracked, forgotten), part| {
            (tracked + part.keys.len(), forgotten + part.forgotten)
        })
    }

    #[inline]
    fn shard(&self, hash: u64) -> MutexGuard<'_, Part> {
        let number = hash.checked_shr(self.shift).unwrap_or(0) as usize;
        self.shards[number].lock()
    }

    /// Bytes on the heap, names not counted.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let part = |part: MutexGuard<'_, Part>| {
            part.keys.bytes() + (part.words.capacity() + part.remainders.capacity()) * size_of::<u64>()
        };
        self.shards.iter().map(Shard::lock).map(part).sum()
    }
}

/// The places of one shard, so that all together have as many as there may be.
fn share(keys_max: usize, shards: usize, number: usize) -> usize {
    keys_max / shards + usize::from(number < keys_max % shards)
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Part> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    #[inline]
    fn take(
        &mut self,
        scheme: &Scheme,
        hash: u64,
        name: &[u8],
        shared: Option<&Moment>,
        now: Nanos,
    ) -> Result<Taken, Denied> {
        if let Some(at) = self.keys.find(hash) {
            let words = &mut self.words[at * self.width..][..self.width];
            return scheme.take(words, &mut self.returned, hash, shared, now);
        }
        self.take_new(scheme, hash, name, shared, now)
    }

    #[cold]
    fn take_new(
        &mut self,
        scheme: &Scheme,
        hash: u64,
        name: &[u8],
        shared: Option<&Moment>,
        now: Nanos,
    ) -> Result<Taken, Denied> {
        let mut words = [0; WORDS_MAX];
        let words = &mut words[..self.width];
        if let Some(at) = self.remainder(hash) {
            words.copy_from_slice(&self.remainders[at..][..self.width]);
        }
        let taken = scheme.take(words, &mut self.returned, hash, shared, now)?;
        if self.keys.len() == self.keys.max() && self.remainders.is_empty() {
            self.remainders = vec![0; remainders(self.keys.max(), self.width) * self.width];
        }
        let mut gone = None;
        match self.keys.put(hash, name, |_| true, |keys, at| gone = Some((at, keys.hash(at)))) {
            Put::New(_) => {
                reserve(&mut self.words, self.width, self.keys.max() * self.width);
                self.words.extend_from_slice(words);
            }
            Put::Instead(at) => {
                if let Some((_, hash)) = gone {
                    self.remember(scheme, hash, at, now);
                }
                self.words[at * self.width..][..self.width].copy_from_slice(words);
            }
            Put::Full => debug_assert!(false, "every place may be given up"),
        }
        debug_assert_eq!(self.words.len(), self.keys.len() * self.width);
        Ok(taken)
    }

    /// Joins the state of a place whose key goes into its remainder.
    fn remember(&mut self, scheme: &Scheme, hash: u64, place: usize, now: Nanos) {
        self.forgotten += 1;
        if let Some(at) = self.remainder(hash) {
            let remainder = &mut self.remainders[at..][..self.width];
            scheme.join(remainder, &self.words[place * self.width..][..self.width], now);
        }
    }

    /// Where a key's remainder begins. By bits that choose neither the shard nor, mostly, the place in the index.
    fn remainder(&self, hash: u64) -> Option<usize> {
        let count = self.remainders.len() / self.width;
        (count > 0).then(|| ((hash >> 28) as usize & (count - 1)) * self.width)
    }

    fn carry(&mut self, old: &Scheme, scheme: &Scheme, places: usize, now: Nanos) {
        let states =
            self.words.chunks_exact_mut(self.width).chain(self.remainders.chunks_exact_mut(self.width));
        for words in states {
            scheme.carry(words, old, now);
        }
        self.returned.clear();
        self.keys.set_max(places);
        if self.keys.len() > places && self.remainders.is_empty() {
            self.remainders = vec![0; remainders(places, self.width) * self.width];
        }
        while self.keys.len() > places.max(1) {
            let last = self.keys.len() - 1;
            self.remember(scheme, self.keys.hash(last), last, now);
            self.keys.pop();
            self.words.truncate(last * self.width);
        }
        debug_assert_eq!(self.words.len(), self.keys.len() * self.width);
    }
}

/// How many remainders there are: so many that they take at most a quarter, or of wide states an eighth, of what the places
/// take. A power of two.
fn remainders(places: usize, width: usize) -> usize {
    let count = (places / if width <= 2 { 4 } else { 8 }).max(1);
    if count.is_power_of_two() { count } else { count.next_power_of_two() / 2 }
}
