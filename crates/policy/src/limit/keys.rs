//! Which keys have a place in a table, and which one makes room: an index by hash, and a clock.
//!
//! Each place has a count of how often its key was seen since the hand last passed. The hand takes one from the places it
//! passes and stops at one that has none left; so a flood of keys that are seen once push out each other, and not those that
//! are seen again and again (the idea of CLOCK, and of the small counts of S3-FIFO, SOSP 2023).

/// Bytes of a key that are remembered, to name it by. Keys are told apart by all of their bytes.
pub(super) const KEY_BYTES_MAX: usize = 256;

/// Highest count of a place; it takes as many passes to push out.
const SEEN_MAX: u64 = 15;

/// Most places that the hand looks at for one newcomer; then the one seen least of these makes room.
const HAND_STEPS_MAX: usize = 32;

/// The lowest bits of a place's tag hold its count; the others are the hash's.
pub(super) const SEEN_MASK: u64 = 15;

const EMPTY: u32 = u32::MAX;

/// The keys of a table (of one shard).
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Places by hash: open addressing, a power of two, at most three quarters full.
    index: Vec<u32>,
    places: Vec<Place>,
    hand: usize,
    max: usize,
}

#[derive(Debug)]
struct Place {
    /// The hash, its lowest bits replaced by the count.
    tag: u64,
    name: Box<[u8]>,
}

/// Where a new key was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// In a new place, the last one.
    New(usize),
    /// In the place of a key that is forgotten.
    Instead(usize),
    /// Nowhere: no place may be given up.
    Full,
}

impl Keys {
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
    }

    pub(super) fn name(&self, at: usize) -> &[u8] {
        &self.places[at].name
    }

    /// The hash of a place's key.
    pub(super) fn hash(&self, at: usize) -> u64 {
        self.places[at].tag & !SEEN_MASK
    }

    /// The place of a key, which counts as seen.
    #[inline]
    pub(super) fn find(&mut self, hash: u64) -> Option<usize> {
        let at = self.place_of(hash)?;
        let tag = &mut self.places[at].tag;
        *tag += u64::from(*tag & SEEN_MASK < SEEN_MAX);
        Some(at)
    }

    /// The place of a key.
    #[inline]
    pub(super) fn place_of(&self, hash: u64) -> Option<usize> {
        if self.index.is_empty() {
            return None;
        }
        let mask = self.index.len() - 1;
        let mut cell = start(hash) & mask;
        loop {
            let at = self.index[cell];
            if at == EMPTY {
                return None;
            }
            if (self.places[at as usize].tag ^ hash) & !SEEN_MASK == 0 {
                return Some(at as usize);
            }
            cell = (cell + 1) & mask;
        }
    }

    /// Gives a key that has none a place. `may_go` says whether a place may be given up; `forget` is called with the one
    /// that is, before it changes hands.
    ///
    /// While there are more places than there may be (the bound was lowered), none is added.
    pub(super) fn put(
        &mut self,
        hash: u64,
        name: &[u8],
        may_go: impl Fn(usize) -> bool,
        forget: impl FnOnce(&Self, usize),
    ) -> Put {
        debug_assert!(self.place_of(hash).is_none());
        let place = Place { tag: hash & !SEEN_MASK, name: name[..name.len().min(KEY_BYTES_MAX)].into() };
        let put = if self.places.len() < self.max {
            let at = self.places.len();
            reserve(&mut self.places, 1, self.max);
            self.places.push(place);
            self.grow_index();
            Put::New(at)
        } else {
            let Some(at) = self.victim(may_go) else { return Put::Full };
            forget(self, at);
            self.remove_from_index(at);
            self.places[at] = place;
            Put::Instead(at)
        };
        if let Put::New(at) | Put::Instead(at) = put {
            self.add_to_index(hash, at as u32);
        }
        self.check();
        put
    }

    /// Gives up the last place.
    pub(super) fn pop(&mut self) {
        let Some(last) = self.places.len().checked_sub(1) else { return };
        self.remove_from_index(last);
        self.places.pop();
        self.hand = 0;
        self.check();
    }

    fn victim(&mut self, may_go: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        // Where places are held, all are looked at before a newcomer is turned away.
        for step in 0..self.places.len() {
            if step >= HAND_STEPS_MAX && best.is_some() {
                break;
            }
            let at = self.hand;
            self.hand = (self.hand + 1) % self.places.len();
            if !may_go(at) {
                continue;
            }
            let tag = &mut self.places[at].tag;
            let seen = *tag & SEEN_MASK;
            if seen == 0 {
                return Some(at);
            }
            *tag -= 1;
            if best.is_none_or(|(least, _)| seen < least) {
                best = Some((seen, at));
            }
        }
        best.map(|(_, at)| at)
    }

    fn grow_index(&mut self) {
        if self.places.len() * 4 <= self.index.len() * 3 {
            return;
        }
        self.index = vec![EMPTY; (self.index.len() * 2).max(8)];
        // The newest is not in the index yet.
        for at in 0..self.places.len() - 1 {
            self.add_to_index(self.places[at].tag, at as u32);
        }
    }

    fn add_to_index(&mut self, hash: u64, at: u32) {
        let mask = self.index.len() - 1;
        let mut cell = start(hash) & mask;
        while self.index[cell] != EMPTY {
            cell = (cell + 1) & mask;
        }
        self.index[cell] = at;
    }

    /// Takes a place out, and moves those behind it nearer to where they are looked for.
    fn remove_from_index(&mut self, at: usize) {
        let mask = self.index.len() - 1;
        let mut hole = start(self.places[at].tag) & mask;
        while self.index[hole] != at as u32 {
            hole = (hole + 1) & mask;
        }
        let mut cell = hole;
        loop {
            cell = (cell + 1) & mask;
            let other = self.index[cell];
            if other == EMPTY {
                break;
            }
            let home = start(self.places[other as usize].tag) & mask;
            if (cell.wrapping_sub(home) & mask) >= (cell.wrapping_sub(hole) & mask) {
                self.index[hole] = other;
                hole = cell;
            }
        }
        self.index[hole] = EMPTY;
    }

    fn check(&self) {
        debug_assert!(self.places.len() * 4 <= self.index.len() * 3 || self.places.is_empty());
    }

    /// Bytes on the heap, names not counted.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.index.capacity() * size_of::<u32>() + self.places.capacity() * size_of::<Place>()
    }
}

/// The lowest bits are not part of a tag, the highest choose the shard.
#[inline]
fn start(hash: u64) -> usize {
    (hash >> 4) as usize
}

/// Makes room for one element more, by a half more than there is, and never for more than `max`.
pub(super) fn reserve<T>(list: &mut Vec<T>, one: usize, max: usize) {
    if list.len() + one > list.capacity() {
        let room = (list.len() / 2).max(8 * one).min(max.saturating_sub(list.len())).max(one);
        list.reserve_exact(room);
    }
}
