//! Which fields the encoder has sent lately, and where in its table they are: found by a hash, never by a search.
//!
//! Four places share a set. A field moves up one place each time it is met again, and a new one takes the last place: so what
//! comes once cannot push out what comes always.

use super::name::Name;

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
    pub(super) fn of(name: Name, spelled: &[u8], value: &[u8]) -> Self {
        let named = if spelled.is_empty() { name.number() as u64 } else { ends(spelled, CASE) };
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
    sets: [[Sighting; WAYS]; SETS],
    insertions: u16,
}

impl Sightings {
    pub(super) fn new() -> Self {
        Self { sets: [[Sighting::default(); WAYS]; SETS], insertions: 0 }
    }

    /// Looks for a field in a table with `entries` entries; `is_at` says whether it stands at a position.
    #[inline(always)]
    pub(super) fn meet(&mut self, hash: Hash, entries: usize, is_at: impl Fn(usize) -> bool) -> Found {
        let (set, tag) = (&mut self.sets[hash.set()], hash.tag());
        let mut seen = None;
        for way in 0..WAYS {
            if set[way].tag == tag {
                let position = usize::from(self.insertions.wrapping_sub(set[way].insertion));
                if position >= entries {
                    seen = Some(way);
                } else if is_at(position) {
                    if way > 0 {
                        set.swap(way, way - 1);
                    }
                    return Found::Entry(position);
                }
            }
        }
        match seen {
            Some(way) => Found::Seen(hash.set() * WAYS + way),
            None => {
                let insertion = self.insertions.wrapping_sub(entries as u16);
                set[WAYS - 1] = Sighting { tag, insertion };
                Found::New(hash.set() * WAYS + WAYS - 1)
            }
        }
    }

    /// The field at a place was put into the table, as its newest entry.
    pub(super) fn inserted(&mut self, place: usize) {
        self.insertions = self.insertions.wrapping_add(1);
        let set = &mut self.sets[place / WAYS % SETS];
        let way = place % WAYS;
        set[way].insertion = self.insertions;
        set.swap(way, way.saturating_sub(1));
    }
}
