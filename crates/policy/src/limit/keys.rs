//! Which keys have a place in a table, and which one makes room: an index by hash, and a clock.
//!
//! ```text
//! hash -> index: number of a place -> tag, words of its state | tag, words | ...     names, which nobody looks at to decide
//! ```
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

/// The keys of a table (of one shard). What is needed to find one comes first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Keys {
    /// Places by hash: open addressing, a power of two, at most three quarters full.
    index: Vec<u32>,
    /// Of each place its tag, which is the hash with its lowest bits replaced by the count, and the words of its state: what a
    /// decision looks at is side by side.
    cells: Vec<u64>,
    names: Vec<Box<[u8]>>,
    /// How many words a state has.
    width: usize,
    hand: usize,
    max: usize,
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
    /// At most so many keys, with so many words of state each.
    pub(super) fn new(max: usize, width: usize) -> Self {
        let (index, cells, names) = (Vec::new(), Vec::new(), Vec::new());
        Self { index, cells, names, width, hand: 0, max: max.max(1) }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
    }

    pub(super) fn name(&self, at: usize) -> &[u8] {
        &self.names[at]
    }

    /// The hash of a place's key.
    pub(super) fn hash(&self, at: usize) -> u64 {
        self.tag(at) & !SEEN_MASK
    }

    /// The words of a place.
    pub(super) fn words(&self, at: usize) -> &[u64] {
        &self.cells[self.cell(at) + 1..][..self.width]
    }

    pub(super) fn words_mut(&mut self, at: usize) -> &mut [u64] {
        let cell = self.cell(at);
        &mut self.cells[cell + 1..][..self.width]
    }

    /// Copies of the names and words of so many places from one on.
    pub(super) fn some(&self, begin: usize, count: usize) -> impl Iterator<Item = (Box<[u8]>, Vec<u64>)> {
        let places = begin.min(self.len())..self.len().min(begin.saturating_add(count));
        places.map(|at| (self.names[at].clone(), self.words(at).to_vec()))
    }

    /// The same keys with states of so many words, which are filled in.
    pub(super) fn with_words(self, width: usize, mut fill: impl FnMut(&[u64], &mut [u64])) -> Self {
        let mut cells = vec![0; self.len() * (1 + width)];
        for (old, new) in self.cells.chunks_exact(1 + self.width).zip(cells.chunks_exact_mut(1 + width)) {
            new[0] = old[0];
            fill(&old[1..], &mut new[1..]);
        }
        Self { cells, width, ..self }
    }

    /// The place of a key, which counts as seen.
    #[inline]
    pub(super) fn find(&mut self, hash: u64) -> Option<usize> {
        let at = self.place_of(hash)?;
        count_seen(self.tag_mut(at));
        Some(at)
    }

    /// The words of a key, which counts as seen. Their number, known when this is compiled, must be that of the table.
    #[inline]
    pub(super) fn find_words<const WIDTH: usize>(&mut self, hash: u64) -> Option<&mut [u64; WIDTH]> {
        debug_assert_eq!(WIDTH, self.width);
        let at = self.place_in(hash, 1 + WIDTH)?;
        let (tag, words) = self.cells[at * (1 + WIDTH)..].split_first_mut()?;
        count_seen(tag);
        words.first_chunk_mut()
    }

    fn tag(&self, at: usize) -> u64 {
        self.cells[self.cell(at)]
    }

    #[inline]
    fn tag_mut(&mut self, at: usize) -> &mut u64 {
        let cell = self.cell(at);
        &mut self.cells[cell]
    }

    /// Where a place begins in `cells`.
    #[inline]
    fn cell(&self, at: usize) -> usize {
        at * (1 + self.width)
    }

    /// The place of a key.
    #[inline]
    pub(super) fn place_of(&self, hash: u64) -> Option<usize> {
        self.place_in(hash, 1 + self.width)
    }

    /// The same where cells are so many words apart.
    #[inline]
    fn place_in(&self, hash: u64, stride: usize) -> Option<usize> {
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
            if (self.cells[at as usize * stride] ^ hash) & !SEEN_MASK == 0 {
                return Some(at as usize);
            }
            cell = (cell + 1) & mask;
        }
    }

    /// Gives a key that has none a place, with a state that was never used. `may_go` says whether a place may be given up;
    /// `forget` is called with the one that is, before it changes hands.
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
        let name = name[..name.len().min(KEY_BYTES_MAX)].into();
        let (put, at) = if self.len() < self.max {
            let (at, stride) = (self.len(), 1 + self.width);
            reserve(&mut self.names, 1, self.max);
            self.names.push(name);
            reserve(&mut self.cells, stride, self.max * stride);
            self.cells.resize(self.cells.len() + stride, 0);
            self.grow_index();
            (Put::New(at), at)
        } else {
            let Some(at) = self.victim(may_go) else { return Put::Full };
            forget(self, at);
            self.remove_from_index(at);
            self.names[at] = name;
            self.words_mut(at).fill(0);
            (Put::Instead(at), at)
        };
        *self.tag_mut(at) = hash & !SEEN_MASK;
        self.add_to_index(hash, at as u32);
        self.check();
        put
    }

    /// Gives up the last place.
    pub(super) fn pop(&mut self) {
        let Some(last) = self.len().checked_sub(1) else { return };
        self.remove_from_index(last);
        self.names.pop();
        self.cells.truncate(self.cell(last));
        self.hand = 0;
        self.check();
    }

    fn victim(&mut self, may_go: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        // Where places are held, all are looked at before a newcomer is turned away.
        for step in 0..self.len() {
            if step >= HAND_STEPS_MAX && best.is_some() {
                break;
            }
            let at = self.hand;
            self.hand = (self.hand + 1) % self.len();
            if !may_go(at) {
                continue;
            }
            let tag = self.tag_mut(at);
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

    fn has_room(&self) -> bool {
        self.len() * 4 <= self.index.len() * 3
    }

    fn grow_index(&mut self) {
        if self.has_room() {
            return;
        }
        self.index = vec![EMPTY; (self.index.len() * 2).max(8)];
        // The newest is not in the index yet.
        for at in 0..self.len() - 1 {
            self.add_to_index(self.tag(at), at as u32);
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
        let mut hole = start(self.tag(at)) & mask;
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
            let home = start(self.tag(other as usize)) & mask;
            if (cell.wrapping_sub(home) & mask) >= (cell.wrapping_sub(hole) & mask) {
                self.index[hole] = other;
                hole = cell;
            }
        }
        self.index[hole] = EMPTY;
    }

    fn check(&self) {
        debug_assert!(self.has_room());
        debug_assert_eq!(self.cells.len(), self.cell(self.len()));
    }

    /// Bytes on the heap, names not counted.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.index.capacity() * size_of::<u32>()
            + self.cells.capacity() * size_of::<u64>()
            + self.names.capacity() * size_of::<Box<[u8]>>()
    }
}

#[inline]
fn count_seen(tag: &mut u64) {
    *tag += u64::from(*tag & SEEN_MASK < SEEN_MAX);
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
