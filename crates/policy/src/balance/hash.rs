//! Hashes that are the same on every machine, in every version and in every process: XXH64 (the xxHash specification,
//! section "XXH64 algorithm description").
//!
//! Proxies agree on where a key belongs only because they hash alike, so nothing here may change: neither the function
//! nor the order in which parts go in. The tests hold the published test vectors. It is no defence against somebody
//! who chooses keys to collide: bounded loads are.

const PRIME_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME_5: u64 = 0x27D4_EB2F_1656_67C5;

/// The hash of some bytes: XXH64 with seed 0.
pub fn bytes(bytes: &[u8]) -> u64 {
    seeded(bytes, 0)
}

/// The hash of several parts in their order; each one's seed is the hash of those before it, so that `ab`, `c` differs
/// from `a`, `bc`. One part alone hashes as [`bytes`] does.
pub fn parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    parts.into_iter().fold(0, |seed, part| seeded(part, seed))
}

/// The hash of a number, as its eight bytes with the lowest first, under a seed.
pub fn number(number: u64, seed: u64) -> u64 {
    let hash = seed.wrapping_add(PRIME_5).wrapping_add(8);
    finish(word(hash, number))
}

/// XXH64.
pub fn seeded(bytes: &[u8], seed: u64) -> u64 {
    let length = bytes.len() as u64;
    let (stripes, rest) = bytes.as_chunks::<32>();
    let mut hash = if stripes.is_empty() { seed.wrapping_add(PRIME_5) } else { lanes(stripes, seed) };
    hash = hash.wrapping_add(length);
    let (words, rest) = rest.as_chunks::<8>();
    for bytes in words {
        hash = word(hash, u64::from_le_bytes(*bytes));
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIME_1);
        hash = hash.rotate_left(23).wrapping_mul(PRIME_2).wrapping_add(PRIME_3);
    }
    for byte in rest {
        hash ^= u64::from(*byte).wrapping_mul(PRIME_5);
        hash = hash.rotate_left(11).wrapping_mul(PRIME_1);
    }
    finish(hash)
}

fn lanes(stripes: &[[u8; 32]], seed: u64) -> u64 {
    let mut lanes = [
        seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
        seed.wrapping_add(PRIME_2),
        seed,
        seed.wrapping_sub(PRIME_1),
    ];
    for stripe in stripes {
        for (lane, bytes) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*bytes));
        }
    }
    let turned = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
    let hash = turned.fold(0u64, u64::wrapping_add);
    lanes.iter().fold(hash, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(PRIME_1).wrapping_add(PRIME_4))
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1)
}

fn word(hash: u64, input: u64) -> u64 {
    (hash ^ round(0, input)).rotate_left(27).wrapping_mul(PRIME_1).wrapping_add(PRIME_4)
}

fn finish(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_vectors() {
        let check = |text: &str, seed, hash| assert_eq!(seeded(text.as_bytes(), seed), hash, "{text:?}");
        check("", 0, 0xEF46_DB37_51D8_E999);
        check("a", 0, 0xD24E_C4F1_A98C_6E5B);
        check("abc", 0, 0x44BC_2CF5_AD77_0999);
        check("Nobody inspects the spammish repetition", 0, 0xFBCE_A83C_8A37_8BF1);
        check("xxhash", 20_141_025, 0xB559_B98D_844E_0635);
    }

    #[test]
    fn where_a_part_ends_matters() {
        let two = |a: &str, b: &str| parts([a.as_bytes(), b.as_bytes()]);
        assert_ne!(two("ab", "c"), two("a", "bc"));
        assert_ne!(two("abc", ""), two("", "abc"));
        assert_eq!(parts([b"abc".as_slice()]), bytes(b"abc"));
    }

    proptest! {
        #[test]
        fn a_number_hashes_as_its_bytes(value: u64, seed: u64) {
            prop_assert_eq!(number(value, seed), seeded(&value.to_le_bytes(), seed));
        }
    }
}
