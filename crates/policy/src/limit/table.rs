//! The rates of many keys: bounded, and shared by threads.
//!
//! The table is divided into shards by hash, each behind a [`Latch`] that is held for some nanoseconds, so that threads that
//! deal with different keys seldom meet. A key that is refused while it has no place gets none.
//!
//! **Forgetting gives nothing away.** When a key makes room for another, its state is joined into one of a fixed number of
//! *remainders*, chosen by its hash, and a key without a place starts with the state of its remainder. So one that was
//! forgotten finds at least what it had spent: no key ever gets more than its rate and burst, whoever floods the table with
//! keys; and a flood of keys together gets about what as many keys as there are places may have. What may happen instead,
//! while more keys are busy than have places, is that a newcomer is charged for what forgotten keys with the same remainder
//! have spent. Keys that are seen often keep their places (see [`super::keys`]). The idea is that of counting sketches:
//! estimates that are never too low.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};

use super::carry::Carry;
use super::hold::Moment;
use super::keys::{Keys, Put};
use super::latch::{Guard, Latch};
use super::pace::Returned;
use super::scheme::{Denied, Marks, Scheme, Taken, WORDS_MAX};
use crate::time::Nanos;

/// Most shards. A power of two.
const SHARDS_MAX: usize = 64;

/// Fewest places that are worth a shard.
const SHARD_PLACES_MIN: usize = 64;

/// Most places that are gone through while others wait.
const VISITED_AT_ONCE: usize = 16;

/// The rates of many keys.
#[derive(Debug)]
pub(super) struct Table {
    shards: Vec<Shard>,
    /// How far to shift a hash so that the shard's number is left.
    shift: u32,
    /// The state of all keys has gone over to another.
    is_over: AtomicBool,
}

/// Two cache lines of its own, so that threads at different shards do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Latch<Part>);

/// What a decision looks at comes first, to be in one cache line with the latch.
#[derive(Debug)]
#[repr(C)]
struct Part {
    /// Whether slots are kept in `returned`, or the keys are gone: nobody decides the short way.
    keeps: bool,
    /// The keys have gone over to another table.
    is_over: bool,
    keys: Keys,
    returned: Returned,
    forgotten: Forgotten,
}

/// What is left of keys that made room for others.
#[derive(Debug)]
struct Forgotten {
    /// How many there were.
    count: u64,
    /// Their states, joined; empty while there was none.
    remainders: Vec<u64>,
    /// Words of each.
    width: usize,
}

impl Table {
    pub(super) fn new(scheme: &Scheme, keys_max: usize) -> Self {
        let count = (keys_max / SHARD_PLACES_MIN).clamp(1, SHARDS_MAX);
        let count = if count.is_power_of_two() { count } else { count.next_power_of_two() / 2 };
        Self::with_shards(count, scheme, keys_max)
    }

    /// A table that the keys of another can go over to.
    pub(super) fn after(old: &Self, scheme: &Scheme, keys_max: usize) -> Self {
        Self::with_shards(old.shards.len(), scheme, keys_max)
    }

    fn with_shards(count: usize, scheme: &Scheme, keys_max: usize) -> Self {
        let width = scheme.words();
        let part = |number| Part {
            keeps: false,
            is_over: false,
            keys: Keys::new(share(keys_max, count, number), width),
            returned: Returned::default(),
            forgotten: Forgotten { count: 0, remainders: Vec::new(), width },
        };
        Self {
            shards: (0..count).map(|number| Shard(Latch::new(part(number)))).collect(),
            shift: 64 - count.trailing_zeros(),
            is_over: AtomicBool::new(false),
        }
    }

    /// Decides by the words of a key that has a place, of which so many are known when this is compiled; none if it has no
    /// place, or if slots were given back to the table that it might have.
    #[inline]
    pub(super) fn decide<const WIDTH: usize, T>(
        &self,
        hash: u64,
        decide: impl FnOnce(&mut [u64; WIDTH]) -> T,
    ) -> Option<T> {
        let mut part = self.shard(hash);
        if part.keeps {
            return None;
        }
        part.keys.find_words(hash).map(decide)
    }

    /// Decides about any key; none if its state has gone over to another table.
    pub(super) fn take(
        &self,
        scheme: &Scheme,
        (hash, name): (u64, &[u8]),
        shared: Option<&Moment>,
        now: Nanos,
    ) -> Option<Result<Taken, Denied>> {
        let mut part = self.shard(hash);
        if part.is_over {
            return None;
        }
        let taken = part.take(scheme, hash, name, shared, now);
        // Who finds nothing there any more decides the short way.
        part.returned.drop_begun(now);
        part.keeps = part.returned.len() > 0;
        Some(taken)
    }

    /// A key's words: its remainder's if it has no place.
    pub(super) fn words(&self, hash: u64) -> Vec<u64> {
        let part = self.shard(hash);
        match part.keys.place_of(hash) {
            Some(at) => part.keys.words(at).to_vec(),
            None => part.forgotten.state_of(hash).to_vec(),
        }
    }

    /// A key that was forgotten in the meantime gets nothing back.
    pub(super) fn give_back(&self, scheme: &Scheme, hash: u64, marks: &Marks, now: Nanos) {
        let mut part = self.shard(hash);
        let part = &mut *part;
        if let Some(at) = part.keys.place_of(hash) {
            scheme.give_back(part.keys.words_mut(at), &mut part.returned, hash, marks, now);
            part.keeps = part.returned.len() > 0;
        }
    }

    /// Another number of keys may be remembered from now on.
    pub(super) fn resize(&self, scheme: &Scheme, keys_max: usize, now: Nanos) {
        for (number, mut part) in self.parts().enumerate() {
            part.resize(scheme, share(keys_max, self.shards.len(), number), now);
        }
    }

    /// All keys go over to a table that was made for them, with what was spent.
    pub(super) fn hand_over(&self, to: &Self, carry: &Carry<'_>, keys_max: usize) {
        for (number, (mut part, mut next)) in self.parts().zip(to.parts()).enumerate() {
            next.take_over(&mut part, carry);
            next.resize(carry.new, share(keys_max, to.shards.len(), number), carry.now);
        }
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether all keys have gone over to another table.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Whether this key has, or would have.
    pub(super) fn is_over_for(&self, hash: u64) -> bool {
        self.shard(hash).is_over
    }

    /// Calls back with every key's name and words. Nobody waits while it is called.
    pub(super) fn visit(&self, mut each: impl FnMut(&[u8], &[u64])) {
        let mut some: Vec<(Box<[u8]>, Vec<u64>)> = Vec::with_capacity(VISITED_AT_ONCE);
        for shard in &self.shards {
            // A key keeps its place until it makes room for another, so none is seen twice.
            for begin in (0..).step_by(VISITED_AT_ONCE) {
                some.extend(shard.0.lock().keys.some(begin, VISITED_AT_ONCE));
                if some.is_empty() {
                    break;
                }
                some.drain(..).for_each(|(name, words)| each(&name, &words));
            }
        }
    }

    /// Keys that have a place, and keys that were forgotten.
    pub(super) fn counts(&self) -> (usize, u64) {
        self.parts().fold((0, 0), |(tracked, forgotten), part| {
            (tracked + part.keys.len(), forgotten + part.forgotten.count)
        })
    }

    fn parts(&self) -> impl Iterator<Item = Guard<'_, Part>> {
        self.shards.iter().map(|shard| shard.0.lock())
    }

    #[inline]
    fn shard(&self, hash: u64) -> Guard<'_, Part> {
        let number = hash.checked_shr(self.shift).unwrap_or(0) as usize;
        self.shards[number].0.lock()
    }

    /// Bytes on the heap, names not counted.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.parts()
            .map(|part| part.keys.bytes() + part.forgotten.remainders.capacity() * size_of::<u64>())
            .sum()
    }
}

/// The places of one shard, so that all together have as many as there may be.
fn share(keys_max: usize, shards: usize, number: usize) -> usize {
    keys_max / shards + usize::from(number < keys_max % shards)
}

impl Part {
    fn take(
        &mut self,
        scheme: &Scheme,
        hash: u64,
        name: &[u8],
        shared: Option<&Moment>,
        now: Nanos,
    ) -> Result<Taken, Denied> {
        match self.keys.find(hash) {
            Some(at) => scheme.take(self.keys.words_mut(at), &mut self.returned, hash, shared, now),
            None => self.take_new(scheme, hash, name, shared, now),
        }
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
        let words = &mut words[..self.forgotten.width];
        words.copy_from_slice(self.forgotten.state_of(hash));
        let taken = scheme.take(words, &mut self.returned, hash, shared, now)?;
        if self.keys.len() == self.keys.max() {
            self.forgotten.make_room(self.keys.max());
        }
        let forgotten = &mut self.forgotten;
        let forget = |keys: &Keys, at| forgotten.add(scheme, keys.hash(at), keys.words(at), now);
        match self.keys.put(hash, name, |_| true, forget) {
            Put::New(at) | Put::Instead(at) => self.keys.words_mut(at).copy_from_slice(words),
            Put::Full => debug_assert!(false, "every place may be given up"),
        }
        Ok(taken)
    }

    /// Takes what another part has, which is over.
    fn take_over(&mut self, old: &mut Self, carry: &Carry<'_>) {
        let width = self.forgotten.width;
        let keys = mem::replace(&mut old.keys, Keys::new(1, old.forgotten.width));
        self.keys = keys.with_words(width, |old, new| carry.words(old, new));
        self.forgotten.take_over(&old.forgotten, carry);
        old.forgotten.remainders = Vec::new();
        old.returned.clear();
        (old.keeps, old.is_over) = (true, true);
    }

    fn resize(&mut self, scheme: &Scheme, places: usize, now: Nanos) {
        self.keys.set_max(places);
        self.forgotten.halve(scheme, places, now);
        if self.keys.len() > places {
            self.forgotten.make_room(places);
        }
        while self.keys.len() > places.max(1) {
            let last = self.keys.len() - 1;
            self.forgotten.add(scheme, self.keys.hash(last), self.keys.words(last), now);
            self.keys.pop();
        }
    }
}

impl Forgotten {
    /// Makes room for what keys leave, as many of which have a place.
    fn make_room(&mut self, places: usize) {
        if self.remainders.is_empty() {
            self.remainders = vec![0; remainders(places, self.width) * self.width];
        }
    }

    /// Joins what a key leaves into its remainder.
    fn add(&mut self, scheme: &Scheme, hash: u64, words: &[u64], now: Nanos) {
        self.count += 1;
        if let Some(at) = self.remainder(hash) {
            scheme.join(&mut self.remainders[at..][..self.width], words, now);
        }
    }

    /// What a key without a place begins with.
    fn state_of(&self, hash: u64) -> &[u64] {
        match self.remainder(hash) {
            Some(at) => &self.remainders[at..][..self.width],
            None => &[0; WORDS_MAX][..self.width],
        }
    }

    /// Where a key's remainder begins. By bits that choose neither the shard nor, mostly, the place in the index.
    fn remainder(&self, hash: u64) -> Option<usize> {
        let count = self.remainders.len() / self.width;
        (count > 0).then(|| ((hash >> 28) as usize & (count - 1)) * self.width)
    }

    /// Begins with what others have left, as many remainders.
    fn take_over(&mut self, old: &Self, carry: &Carry<'_>) {
        self.count = old.count;
        self.remainders = vec![0; old.remainders.len() / old.width * self.width];
        let new = self.remainders.chunks_exact_mut(self.width);
        old.remainders.chunks_exact(old.width).zip(new).for_each(|(old, new)| carry.words(old, new));
    }

    /// Joins remainders until they are no more than so many places may have.
    fn halve(&mut self, scheme: &Scheme, places: usize, now: Nanos) {
        let most = remainders(places, self.width) * self.width;
        while self.remainders.len() > most {
            // A key's remainder is chosen by one bit less.
            let upper = self.remainders.split_off(self.remainders.len() / 2);
            let lower = self.remainders.chunks_exact_mut(self.width);
            lower.zip(upper.chunks_exact(self.width)).for_each(|(one, other)| scheme.join(one, other, now));
        }
        self.remainders.shrink_to_fit();
    }
}

/// How many remainders there are: so many that they take at most a quarter, or of wide states an eighth, of what the places
/// take. A power of two.
fn remainders(places: usize, width: usize) -> usize {
    let count = (places / if width <= 2 { 4 } else { 8 }).max(1);
    if count.is_power_of_two() { count } else { count.next_power_of_two() / 2 }
}
