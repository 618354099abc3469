//! The Huffman code (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: within a length, codes ascend with their symbols, and each length goes on where the shorter one
//! ended. So the lengths say everything, and all tables are made of them when this is compiled.

use super::error::HpackError;

/// Bits of each symbol's code; the last is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const SYMBOLS: usize = 257;
const EOS: u16 = 256;
const LENGTH_MIN: usize = 5;
const LENGTH_MAX: usize = 30;

/// Codes up to this length are found with one look; they are those of most characters that fields are made of.
const NEAR_BITS: u32 = 9;

/// A symbol and the bits of its code; no bits where the code is longer than [`NEAR_BITS`].
type Near = (u8, u8);

struct Code {
    /// All symbols, by length and then by value.
    sorted: [u16; SYMBOLS],
    /// Where the symbols of a length begin in `sorted`.
    offset: [u32; LENGTH_MAX + 1],
    /// The first code of a length.
    first: [u32; LENGTH_MAX + 1],
    /// The code behind the last one of a length, in the upper bits.
    limit: [u64; LENGTH_MAX + 1],
    near: [Near; 1 << NEAR_BITS],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut made = Code {
        sorted: [0; SYMBOLS],
        offset: [0; LENGTH_MAX + 1],
        first: [0; LENGTH_MAX + 1],
        limit: [0; LENGTH_MAX + 1],
        near: [(0, 0); 1 << NEAR_BITS],
    };
    let (mut next, mut count, mut len) = (0u32, 0, LENGTH_MIN);
    while len <= LENGTH_MAX {
        made.offset[len] = count as u32;
        made.first[len] = next;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == len {
                made.sorted[count] = symbol as u16;
                count += 1;
                fill(&mut made.near, next, len as u32, symbol);
                next += 1;
            }
            symbol += 1;
        }
        // The longest codes end where 64 bits do.
        made.limit[len] = if len == LENGTH_MAX { u64::MAX } else { (next as u64) << (64 - len) };
        next <<= 1;
        len += 1;
    }
    assert!(count == SYMBOLS && next == 1 << (LENGTH_MAX + 1), "the code is complete");
    made
}

/// Notes a short code at all places that begin with it.
const fn fill(near: &mut [Near; 1 << NEAR_BITS], code: u32, len: u32, symbol: usize) {
    if len > NEAR_BITS {
        return;
    }
    let mut at = code << (NEAR_BITS - len);
    while at < (code + 1) << (NEAR_BITS - len) {
        near[at as usize] = (symbol as u8, len as u8);
        at += 1;
    }
}

/// The symbol that `bits` begin with, and the length of its code.
#[inline(always)]
fn symbol(bits: u64) -> (u16, u32) {
    match CODE.near[(bits >> (64 - NEAR_BITS)) as usize] {
        (_, 0) => far_symbol(bits),
        (symbol, len) => (u16::from(symbol), u32::from(len)),
    }
}

#[inline(never)]
fn far_symbol(bits: u64) -> (u16, u32) {
    let mut len = NEAR_BITS as usize + 1;
    while len < LENGTH_MAX && bits >= CODE.limit[len] {
        len += 1;
    }
    let place = (bits >> (64 - len)) as u32 - CODE.first[len] + CODE.offset[len];
    (CODE.sorted[place as usize], len as u32)
}

/// Symbols that are decoded from one word before it is looked at again: 57 bits are enough for them.
const ROUND: usize = 57 / NEAR_BITS as usize;

/// Decodes `coded` into `space`, which grows to what is needed and is never cleared; gives what was written.
pub(super) fn decode<'a>(coded: &[u8], space: &'a mut Vec<u8>) -> Result<&'a [u8], HpackError> {
    let room = coded.len() * 8 / LENGTH_MIN + ROUND;
    if space.len() < room {
        space.resize(room, 0);
    }
    let (mut len, mut bit) = (0, 0);
    while let Some(word) = coded.get(bit / 8..).and_then(|rest| rest.first_chunk::<8>()) {
        // At least 57 bits.
        let mut bits = u64::from_be_bytes(*word) << (bit % 8);
        let Some(to) = space[len..].first_chunk_mut::<ROUND>() else { break };
        let mut count = 0;
        while count < ROUND {
            let (symbol, used) = CODE.near[(bits >> (64 - NEAR_BITS)) as usize];
            if used == 0 {
                break;
            }
            to[count] = symbol;
            count += 1;
            bits <<= used;
            bit += usize::from(used);
        }
        len += count;
        if count == 0 {
            let (symbol, used) = far_symbol(bits);
            if symbol == EOS {
                return Err(HpackError::Eos);
            }
            to[0] = symbol as u8;
            len += 1;
            bit += used as usize;
        }
    }
    decode_end(coded, bit, space, len).map(|len| &space[..len])
}

/// Decodes from a bit within the last eight octets to the end.
fn decode_end(coded: &[u8], bit: usize, space: &mut [u8], mut len: usize) -> Result<usize, HpackError> {
    let mut have = (8 * coded.len() - bit) as u32;
    let word = match coded.last_chunk::<8>() {
        Some(last) => u64::from_be_bytes(*last),
        None => coded.iter().fold(0, |word, &octet| word << 8 | u64::from(octet)),
    };
    // What is behind the end does not matter: a symbol whose code is whole is found with anything behind it.
    let mut bits = word.checked_shl(64 - have).unwrap_or(0);
    loop {
        let (symbol, used) = symbol(bits);
        if used > have {
            let padded = have < 8 && (have == 0 || bits >> (64 - have) == (1 << have) - 1);
            return if padded { Ok(len) } else { Err(HpackError::Padding) };
        }
        if symbol == EOS {
            return Err(HpackError::Eos);
        }
        space[len] = symbol as u8;
        len += 1;
        bits <<= used;
        have -= used;
    }
}

/// Encodes; for the tests, since the encoder sends strings as they are.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut bits, mut have) = (0u64, 0);
    for &byte in text {
        let len = usize::from(LENGTHS[usize::from(byte)]);
        let at = CODE.sorted.iter().position(|&symbol| symbol == u16::from(byte)).unwrap() as u32;
        bits = bits << len | u64::from(CODE.first[len] + at - CODE.offset[len]);
        have += len;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push(((bits << (8 - have)) as u8) | (0xff >> have));
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, HpackError> {
        decode(coded, &mut Vec::new()).map(<[u8]>::to_vec)
    }

    #[test]
    fn codes_are_those_of_the_specification() {
        let coded = |text: &[u8]| encode(text);
        assert_eq!(coded(b"0"), [0b0000_0111]);
        assert_eq!(coded(b"www.example.com"), *b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff");
        // RFC 7541 appendix B: codes of some lengths, padded with ones.
        assert_eq!(coded(&[0]), [0xff, 0xc7]);
        assert_eq!(coded(b"<"), [0xff, 0xf9]);
        assert_eq!(coded(b"\\"), [0xff, 0xfe, 0x1f]);
        assert_eq!(coded(&[255]), [0xff, 0xff, 0xfb, 0xbf]);
        assert_eq!(coded(&[22]), [0xff, 0xff, 0xff, 0xfb]);
    }

    #[test]
    fn padding_is_fewer_than_eight_ones() {
        // "a" is 00011.
        assert_eq!(decoded(&[0b0001_1111]).unwrap(), b"a");
        assert_eq!(decoded(&[]).unwrap(), b"");
        assert_eq!(decoded(&[0b0001_1110]), Err(HpackError::Padding));
        assert_eq!(decoded(&[0b0001_1000]), Err(HpackError::Padding));
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(HpackError::Padding));
        assert_eq!(decoded(&[0xff]), Err(HpackError::Padding));
        assert_eq!(decoded(&[0xff, 0xff, 0xff]), Err(HpackError::Padding));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(HpackError::Eos));
        assert_eq!(decoded(&[0xff; 20]), Err(HpackError::Eos));
        let mut long = encode(&[b'a'; 40]);
        assert_eq!(long.len(), 25);
        long.push(0xff);
        assert_eq!(decoded(&long), Err(HpackError::Padding));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(decoded(&encode(&text)).unwrap(), text);
        }

        /// A string has one coding, so whatever decodes encodes to itself.
        #[test]
        fn what_decodes_encodes_to_itself(coded in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(text) = decoded(&coded) {
                prop_assert_eq!(encode(&text), coded);
            }
        }
    }
}
