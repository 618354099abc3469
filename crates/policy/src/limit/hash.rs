//! SipHash-1-3 (Aumasson and Bernstein, 2012), under a seed that clients do not know.
//!
//! A key is told from others by 60 bits of its hash alone: among 10,000 keys, two share a hash with a chance of 4 in 10^11,
//! and then they share a limit. Who does not know the seed cannot look for such keys.

use super::keys::SEEN_MASK;

/// A seeded hash of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hasher {
    keys: [u64; 2],
}

impl Hasher {
    pub(super) const fn new(seed: u64) -> Self {
        // Two different keys of one seed; the constant is that of a Weyl sequence (2^64 over the golden ratio).
        Self {
            keys: [seed, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) ^ 0x5851_f42d_4c95_7f2d],
        }
    }

    /// A key's hash; its lowest bits, of which a table makes another use, are zero.
    #[inline]
    pub(super) fn hash(self, bytes: &[u8]) -> u64 {
        sip::<1, 3>(self.keys, bytes) & !SEEN_MASK
    }
}

#[inline]
fn sip<const C: usize, const D: usize>(keys: [u64; 2], bytes: &[u8]) -> u64 {
    let mut v = [
        keys[0] ^ 0x736f_6d65_7073_6575,
        keys[1] ^ 0x646f_7261_6e64_6f6d,
        keys[0] ^ 0x6c79_6765_6e65_7261,
        keys[1] ^ 0x7465_6462_7974_6573,
    ];
    for block in bytes.as_chunks::<8>().0 {
        compress::<C>(&mut v, u64::from_le_bytes(*block));
    }
    compress::<C>(&mut v, (bytes.len() as u64) << 56 | rest(bytes));
    v[2] ^= 0xff;
    (0..D).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

/// The bytes after the last whole block.
#[inline]
fn rest(bytes: &[u8]) -> u64 {
    let bits = bytes.len() % 8 * 8;
    match bytes.last_chunk() {
        // Some of these were in a whole block. Without a branch: keys' lengths are hard to foresee.
        Some(last) => u64::from_le_bytes(*last) >> 1 >> (63 - bits),
        None => bytes.iter().rev().fold(0, |rest, byte| rest << 8 | u64::from(*byte)),
    }
}

#[inline]
fn compress<const C: usize>(v: &mut [u64; 4], block: u64) {
    v[3] ^= block;
    (0..C).for_each(|_| round(v));
    v[0] ^= block;
}

#[inline]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the paper's reference code are of SipHash-2-4, which has the same rounds.
    #[test]
    fn agrees_with_the_reference() {
        let keys = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let bytes: Vec<u8> = (0..15).collect();
        assert_eq!(sip::<2, 4>(keys, &[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(sip::<2, 4>(keys, &bytes), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn the_rest_is_what_follows_the_last_whole_block() {
        let bytes: Vec<u8> = (1..=40).collect();
        for len in 0..=bytes.len() {
            let mut block = [0; 8];
            block[..len % 8].copy_from_slice(&bytes[len / 8 * 8..len]);
            assert_eq!(rest(&bytes[..len]), u64::from_le_bytes(block), "of {len}");
        }
    }

    #[test]
    fn depends_on_the_seed_and_on_all_bytes() {
        let bytes = b"a key of more than two blocks";
        let hash = Hasher::new(1).hash(bytes);
        assert_ne!(hash, Hasher::new(2).hash(bytes));
        for at in 0..bytes.len() {
            let mut other = bytes.to_vec();
            other[at] ^= 1;
            assert_ne!(hash, Hasher::new(1).hash(&other), "byte {at}");
        }
    }
}
