//! Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4): a table in which each endpoint owns entries in proportion to
//! its weight. Each takes the next free entry of its own permutation in turn; one of half the weight, every other turn.

use super::hash;

/// Entries of a table of up to 655 endpoints: a prime.
pub const MAGLEV_SIZE_DEFAULT: usize = 65_537;

/// Entries of the largest table, 32 MiB: enough for 80,000 endpoints to have a hundred each.
pub const MAGLEV_SIZE_MAX: usize = 8_388_593;

/// The sizes there are: primes, each at least twice the one before but for the rounding.
const SIZES: [usize; 8] =
    [MAGLEV_SIZE_DEFAULT, 131_071, 262_139, 524_287, 1_048_573, 2_097_143, 4_194_301, MAGLEV_SIZE_MAX];

/// Entries for each endpoint that a table is to have.
const ENTRIES_PER_ENDPOINT: usize = 100;

const FREE: u32 = u32::MAX;

/// The first listed size above 100 for each endpoint. `endpoints` counts those without a weight too, so that one that is
/// drained or ejected changes nothing about the size: with it nearly all keys would move.
pub(super) fn size_for(endpoints: usize) -> usize {
    let wanted = endpoints.saturating_mul(ENTRIES_PER_ENDPOINT);
    SIZES.into_iter().find(|size| *size > wanted).unwrap_or(MAGLEV_SIZE_MAX)
}

/// The table.
#[derive(Debug)]
pub(super) struct Maglev {
    /// Slot by entry.
    entries: Box<[u32]>,
}

struct Turn {
    /// The next entry of the permutation.
    entry: usize,
    skip: usize,
    /// Weight saved for the next turn.
    saved: u64,
    weight: u64,
    slot: u32,
}

impl Maglev {
    /// A table of `size`, a prime, of members in the order of their keys: key, weight (not 0) and slot. Each gets at
    /// least one entry while there are any.
    pub(super) fn new(members: &[(u64, u32, u32)], size: usize) -> Self {
        let heaviest = members.iter().map(|(_, weight, _)| u64::from(*weight)).max().unwrap_or(1);
        let mut turns: Vec<Turn> = members
            .iter()
            .map(|&(key, weight, slot)| Turn {
                entry: (hash::number(0, key) % size as u64) as usize,
                skip: (hash::number(1, key) % (size as u64 - 1)) as usize + 1,
                // Enough for a turn in the first round.
                saved: heaviest - u64::from(weight),
                weight: u64::from(weight),
                slot,
            })
            .collect();
        // Without members, one entry that is nobody's.
        let mut free = if turns.is_empty() { 0 } else { size };
        let mut entries = vec![FREE; free.max(1)].into_boxed_slice();
        while free > 0 {
            for turn in &mut turns {
                turn.saved += turn.weight;
                if turn.saved < heaviest {
                    continue;
                }
                turn.saved -= heaviest;
                turn.take(&mut entries);
                free -= 1;
                if free == 0 {
                    break;
                }
            }
        }
        Self { entries }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The hash as a part of all hashes there are: as even as a remainder, without a division.
    pub(super) fn position(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.entries.len() as u128) >> 64) as usize
    }

    pub(super) fn slot(&self, position: usize) -> usize {
        self.entries[position] as usize
    }
}

impl Turn {
    /// Takes the next free entry of the permutation. There is one: the size is a prime, so the permutation visits all.
    fn take(&mut self, entries: &mut [u32]) {
        loop {
            let entry = self.entry;
            self.entry += self.skip;
            if self.entry >= entries.len() {
                self.entry -= entries.len();
            }
            if entries[entry] == FREE {
                entries[entry] = self.slot;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(keys: impl Iterator<Item = u64>, size: usize) -> Maglev {
        let mut members: Vec<(u64, u32, u32)> =
            keys.zip(0..).map(|(id, slot)| (hash::number(id, 99), 1, slot)).collect();
        members.sort_unstable();
        Maglev::new(&members, size)
    }

    /// Experiment 3 of the notes on algorithms: n = 1000, M = 65537.
    #[test]
    fn evenness_and_disruption_are_those_of_the_paper() {
        let counts = |table: &Maglev| {
            let mut counts = vec![0u32; 1000];
            table.entries.iter().for_each(|slot| counts[*slot as usize] += 1);
            counts
        };
        let all = table(0..1000, MAGLEV_SIZE_DEFAULT);
        let most = f64::from(*counts(&all).iter().max().unwrap());
        assert!(most / 65.537 <= 1.02, "{most}");
        for (removed, least, most) in [(1, 0.005, 0.009), (10, 0.028, 0.038)] {
            let fewer = table(0..1000 - removed, MAGLEV_SIZE_DEFAULT);
            let moved =
                all.entries.iter().zip(&fewer.entries).filter(|(before, after)| before != after).count();
            let share = moved as f64 / 65_537.0;
            assert!((least..=most).contains(&share), "{removed} removed: {share} moved");
        }
    }

    #[test]
    fn sizes_grow_with_the_endpoints() {
        let check = |endpoints, size| assert_eq!(size_for(endpoints), size, "{endpoints}");
        check(0, 65_537);
        check(655, 65_537);
        check(656, 131_071);
        check(10_000, 1_048_573);
        check(usize::MAX, MAGLEV_SIZE_MAX);
        for size in SIZES {
            assert!(
                (2..).take_while(|n| n * n <= size).all(|n| !size.is_multiple_of(n)),
                "{size} is no prime"
            );
        }
    }

    proptest! {
        /// Entries are in proportion to weights, give or take a turn; everybody has one.
        #[test]
        fn entries_are_in_proportion(weights in prop::collection::vec(1u32..=1_000_000, 1..30)) {
            let members: Vec<_> = (0u32..).zip(&weights).map(|(slot, w)| (hash::number(slot.into(), 5), *w, slot)).collect();
            let table = Maglev::new(&members, MAGLEV_SIZE_DEFAULT);
            let mut counts = vec![0u32; weights.len()];
            table.entries.iter().for_each(|slot| counts[*slot as usize] += 1);
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            for (count, weight) in counts.iter().zip(&weights) {
                let part = f64::from(*weight) / total;
                let slack = 1.0 + weights.len() as f64 * part;
                prop_assert!(*count >= 1);
                prop_assert!((f64::from(*count) - 65_537.0 * part).abs() <= slack + 1.0, "{count} of {weight} in {total}");
            }
        }
    }
}
