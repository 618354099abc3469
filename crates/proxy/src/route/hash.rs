//! A fast hash for looking up hosts and paths: folds eight bytes at a time (multiply and fold, as wyhash does).
//!
//! Collisions cannot be provoked by requests, because requests only look up: what is in a map comes from the
//! configuration. It must not be used for maps that requests fill.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds [`TextHasher`]s.
pub(crate) type TextHash = BuildHasherDefault<TextHasher>;

/// An odd number whose bits look random (the golden ratio's fraction), and another (wyhash's first secret).
const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xa076_1d64_78bd_642f;

/// The state of the hash.
#[derive(Default)]
pub(crate) struct TextHasher(u64);

impl TextHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ FIRST) * u128::from(SECOND);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for TextHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last));
        }
    }

    /// The length of a text, which makes texts differ that do only in trailing zeros.
    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    fn hash(text: &str) -> u64 {
        TextHash::default().hash_one(text.as_bytes())
    }

    #[test]
    fn names_that_look_alike_spread() {
        let count = 20_000u32;
        let names: Vec<_> = (0..count).map(|i| format!("h{i}.shop.example.com")).collect();
        let low: HashSet<_> = names.iter().map(|name| hash(name) & 0xffff).collect();
        let high: HashSet<_> = names.iter().map(|name| hash(name) >> 48).collect();
        // 20,000 balls in 65,536 bins fill 17,237 on average.
        assert!(low.len() > 16_900 && high.len() > 16_900, "{} {}", low.len(), high.len());
        assert_eq!(names.iter().map(|name| hash(name)).collect::<HashSet<_>>().len(), count as usize);
    }

    #[test]
    fn length_counts() {
        assert_ne!(hash("a"), hash("a\0"));
        assert_ne!(hash(""), hash("\0\0\0\0\0\0\0\0"));
        assert_ne!(hash("12345678"), hash("12345678\0"));
    }
}
