//! Which fields the encoder has sent lately, and where in its table they are: found by number and hash, never by a search.
//!
//! First comes what was last sent under the same name, which in most heads is what is sent again. Then a hash of name and value.
//! Four places share a set. In front are those that are in the table; one moves up each time it is met again. A new one is put
//! behind them, and the last is forgotten: so what comes once cannot push out what comes always.

use super::name::Number;

/// Places for the latest of names that have no number of their own; those that share one take it from each other.
const LATEST_OTHERS: usize = 16;

const SETS: usize = 32;
const WAYS: usize = 4;

/// One field: nothing but hints, which the table confirms.
#[derive(Clone, Copy, Default)]
struct Sighting {
    tag: u16,
    /// The number, from 1 and wrapping, of the insertion that put it into the table. Of one that is not in the table, that of an
    /// insertion so long ago that its entry is gone.
    insertion: u16,
}

/// The hash of a field.
#[derive(Clone, Copy)]
pub(super) struct Hash(u64);

impl Hash {
    /// Of a name, which counts as `spelled` when its number stands for many, and a value.
    #[inline(always)]
    pub(super) fn of(number: Number, spelled: &[u8], value: &[u8]) -> Self {
        let named = if spelled.is_empty() { number.index() as u64 } else { ends(spelled, CASE) };
        let mixed = ends(value, 0).wrapping_add(named.rotate_left(24)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }

    fn set(self) -> usize {
        (self.0 >> 59) as usize % SETS
    }

    fn tag(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

/// The bit that tells lower from upper case, in eight bytes.
const CASE: u64 = 0x2020_2020_2020_2020;

/// The length, the first and the last eight bytes.
#[inline(always)]
fn ends(bytes: &[u8], fold: u64) -> u64 {
    let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => short_ends(bytes),
    };
    (first | fold) ^ (last | fold).rotate_left(29).wrapping_mul(0xd134_2543_de82_ef95) ^ bytes.len() as u64
}

#[inline(always)]
fn short_ends(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
    } else {
        (bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0)
    }
}

/// What is known about a field.
pub(super) enum Found {
    /// It is in the table, at this position.
    Entry(usize),
    /// It was met before, as far as one can tell. The place is for [`Sightings::inserted`].
    Seen(usize),
    /// It is new, and noted at this place.
    New(usize),
}

pub(super) struct Sightings {
    /// The insertion of the entry that each name was last sent with.
    latest: [u16; Number::COUNT + LATEST_OTHERS],
    sets: [[Sighting; WAYS]; SETS],
    insertions: u16,
}

/// Where [`Sightings`] keeps the latest entry of a name.
#[derive(Clone, Copy)]
pub(super) struct Slot(usize);

impl Slot {
    /// Of a name, which counts as `spelled` when its number stands for many.
    #[inline(always)]
    pub(super) fn of(number: Number, spelled: &[u8]) -> Self {
        match spelled {
            [first, .., last] => {
                let mixed = usize::from(first & 0x1f) + 5 * usize::from(last & 0x1f) + 3 * spelled.len();
                Self(Number::COUNT + mixed % LATEST_OTHERS)
            }
            _ => Self(number.index()),
        }
    }
}

impl Sightings {
    pub(super) fn new() -> Self {
        Self {
            latest: [0; Number::COUNT + LATEST_OTHERS],
            sets: [[Sighting::default(); WAYS]; SETS],
            insertions: 0,
        }
    }

    /// The position of the entry that a name was last sent with; beyond the table if there is none any more.
    #[inline(always)]
    pub(super) fn latest(&self, slot: Slot) -> usize {
        self.position(self.latest[slot.0])
    }

    #[inline(always)]
    fn position(&self, insertion: u16) -> usize {
        usize::from(self.insertions.wrapping_sub(insertion))
    }

    /// Looks for a field in a table with `entries` entries; `is_at` says whether it stands at a position.
    pub(super) fn meet(
        &mut self,
        hash: Hash,
        slot: Slot,
        entries: usize,
        is_at: impl Fn(usize) -> bool,
    ) -> Found {
        let (place, tag) = (hash.set() * WAYS, hash.tag());
        let mut seen = None;
        for way in 0..WAYS {
            let one = self.sets[hash.set()][way];
            let position = self.position(one.insertion);
            if one.tag != tag {
                continue;
            } else if position >= entries {
                seen = Some(way);
            } else if is_at(position) {
                self.latest[slot.0] = one.insertion;
                self.sets[hash.set()].swap(way, way.saturating_sub(1));
                return Found::Entry(position);
            }
        }
        match seen {
            Some(way) => Found::Seen(place + way),
            None => Found::New(place + self.note(hash, entries)),
        }
    }

    /// Notes a new field behind those that are in the table.
    fn note(&mut self, hash: Hash, entries: usize) -> usize {
        let is_entry = |one: &&Sighting| self.position(one.insertion) < entries;
        let way = self.sets[hash.set()].iter().take_while(is_entry).count().min(WAYS - 1);
        let insertion = self.insertions.wrapping_sub(entries as u16);
        let set = &mut self.sets[hash.set()];
        set[way..].rotate_right(1);
        set[way] = Sighting { tag: hash.tag(), insertion };
        way
    }

    /// The field at a place was put into the table, as its newest entry.
    pub(super) fn inserted(&mut self, place: usize, slot: Slot) {
        self.inserted_name(slot);
        let set = &mut self.sets[place / WAYS % SETS];
        let way = place % WAYS;
        set[way].insertion = self.insertions;
        set.swap(way, way.saturating_sub(1));
    }

    /// A field was put into the table for the sake of its name, as its newest entry.
    pub(super) fn inserted_name(&mut self, slot: Slot) {
        self.insertions = self.insertions.wrapping_add(1);
        self.latest[slot.0] = self.insertions;
    }
}
