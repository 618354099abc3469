//! Multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", The Computer Journal 57(11), 2014) under
//! numbers that clients do not know.
//!
//! ```text
//! h = (a + k0 x length + k1 x w1 + k2 x w2 + ...) mod 2^128, without its lower half
//! ```
//!
//! of the words w of 64 bits that the bytes are, and numbers of 128 bits that are drawn from a seed. Were these numbers independent,
//! each pair of values of h would be as likely as any other for two different strings, whoever has chosen them; they stand for a seed of
//! 64 bits, which nobody is told, nor is any hash. So a key is told from
//! others by 60 bits of its hash alone: among 10,000 keys, two share a hash with a chance of 4 in 10^11, and then they share a
//! limit. The products do not wait for each other, which makes it faster than what mixes word after word.
//!
//! Sums of products keep strings that are evenly spaced so, and tables do not want that: so h is mixed in the end, by a
//! function that gives no two numbers the same result.

use super::keys::SEEN_MASK;

/// Words whose numbers are kept; those of longer strings are drawn each time.
const KEPT: usize = 8;

/// A seeded hash of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hasher {
    seed: u64,
    added: u128,
    of_length: u128,
    /// Of the bytes after the last whole word.
    of_rest: u128,
    of_words: [u128; KEPT],
}

impl Hasher {
    pub(super) fn new(seed: u64) -> Self {
        let [added, of_length, of_rest] = [0, 1, 2].map(|number| drawn(seed, number));
        Self { seed, added, of_length, of_rest, of_words: std::array::from_fn(|at| word_number(seed, at)) }
    }

    /// A key's hash; its lowest bits, of which a table makes another use, are zero.
    #[inline]
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        mixed((self.sum(bytes) >> 64) as u64) & !SEEN_MASK
    }

    #[inline]
    fn sum(&self, bytes: &[u8]) -> u128 {
        let words = bytes.as_chunks::<8>().0;
        let mut sum = self.added.wrapping_add(product(self.of_length, bytes.len() as u64));
        sum = sum.wrapping_add(product(self.of_rest, rest(bytes)));
        for (word, number) in words.iter().zip(&self.of_words) {
            sum = sum.wrapping_add(product(*number, u64::from_le_bytes(*word)));
        }
        if words.len() > KEPT { sum.wrapping_add(self.sum_of_long(words)) } else { sum }
    }

    /// What the words add whose numbers are not kept.
    #[inline(never)]
    fn sum_of_long(&self, words: &[[u8; 8]]) -> u128 {
        let products = words.iter().enumerate().skip(KEPT);
        products.fold(0, |sum, (at, word)| {
            sum.wrapping_add(product(word_number(self.seed, at), u64::from_le_bytes(*word)))
        })
    }
}

#[inline]
const fn product(number: u128, word: u64) -> u128 {
    number.wrapping_mul(word as u128)
}

/// The number of a string's word.
fn word_number(seed: u64, at: usize) -> u128 {
    drawn(seed, 3 + at as u64)
}

/// One of the numbers that a seed stands for: two of `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
fn drawn(seed: u64, number: u64) -> u128 {
    let half = |at: u64| {
        let z = seed.wrapping_add((at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    u128::from(half(2 * number)) << 64 | u128::from(half(2 * number + 1))
}

/// Each bit depends on most others; the multiplier is that of a Weyl sequence (2^64 over the golden ratio).
#[inline]
const fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 29
}

/// The bytes after the last whole word.
#[inline]
fn rest(bytes: &[u8]) -> u64 {
    let bits = bytes.len() % 8 * 8;
    match bytes.last_chunk() {
        // Some of these were in a whole word. Without a branch: keys' lengths are hard to foresee.
        Some(last) => u64::from_le_bytes(*last) >> 1 >> (63 - bits),
        None => bytes.iter().rev().fold(0, |rest, byte| rest << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out in Python from the formula above, with whole numbers of any size.
    #[test]
    fn agrees_with_the_formula() {
        let bytes: Vec<u8> = (0..100).collect();
        let expected = [
            (0, 0x6e93_e893_0c38_50a0),
            (5, 0x6703_f5fc_f05e_98a0),
            (16, 0xfe0c_064d_0d80_8a60),
            (64, 0x20a1_27c8_4c20_71e0),
            (72, 0x6256_c25e_a63e_7720),
            (100, 0x21c2_5fd7_7019_5020),
        ];
        for (len, hash) in expected {
            assert_eq!(Hasher::new(7).hash(&bytes[..len]), hash, "of {len}");
        }
    }

    #[test]
    fn the_rest_is_what_follows_the_last_whole_word() {
        let bytes: Vec<u8> = (1..=40).collect();
        for len in 0..=bytes.len() {
            let mut word = [0; 8];
            word[..len % 8].copy_from_slice(&bytes[len / 8 * 8..len]);
            assert_eq!(rest(&bytes[..len]), u64::from_le_bytes(word), "of {len}");
        }
    }

    #[test]
    fn depends_on_the_seed_and_on_all_bytes() {
        // Of more words than have a number that is kept.
        let bytes = b"a key of some parts, the last of which is longer than others are, and so has no number";
        let hash = Hasher::new(1).hash(bytes);
        assert_ne!(hash, Hasher::new(2).hash(bytes));
        for at in 0..bytes.len() {
            let mut other = bytes.to_vec();
            other[at] ^= 1;
            assert_ne!(hash, Hasher::new(1).hash(&other), "byte {at}");
        }
        // Nor is what is missing taken for zeros.
        let zeros: Vec<u64> = (0..100).map(|len| Hasher::new(1).hash(&vec![0; len])).collect();
        assert!(zeros.iter().enumerate().all(|(at, hash)| !zeros[..at].contains(hash)));
    }

    /// Strings that are evenly spaced fall into the parts of a table as evenly as by chance, whichever bits choose.
    #[test]
    fn spreads_what_is_evenly_spaced() {
        const PARTS: u64 = 64;
        const EACH: u64 = 100;
        for seed in 0..20 {
            let hasher = Hasher::new(seed);
            for step in [1, 256, 1 << 32, 0x0001_0001_0001_0001] {
                for shift in [4, 16, 28, 58] {
                    let mut counts = [0u64; PARTS as usize];
                    for key in 0..PARTS * EACH {
                        let hash = hasher.hash(&(key * step).to_le_bytes());
                        counts[(hash >> shift & (PARTS - 1)) as usize] += 1;
                    }
                    let squares: u64 = counts.iter().map(|count| count.abs_diff(EACH).pow(2)).sum();
                    // A chi-squared of 63 degrees: more than 150 comes by chance once in 10^8 times.
                    assert!(squares < 150 * EACH, "seed {seed}, step {step}, bits {shift}: {squares}");
                }
            }
        }
    }
}
