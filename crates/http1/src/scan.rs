//! Byte classes and searches, eight bytes at a time where that pays.
//!
//! The word tricks find the *first* match exactly; matches above it in the same word may be false, because a borrow
//! runs upwards. So only the lowest flag of a word is ever used.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

const fn splat(byte: u8) -> u64 {
    LOW * byte as u64
}

/// Flags bytes below `bound` (at most 128).
#[inline(always)]
const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(splat(bound)) & !word & HIGH
}

/// Flags bytes equal to `byte`.
#[inline(always)]
const fn equal(word: u64, byte: u8) -> u64 {
    let diff = word ^ splat(byte);
    diff.wrapping_sub(LOW) & !diff & HIGH
}

/// First index at or after `from` that either closure flags, else `buf.len()`.
#[inline(always)]
fn find(buf: &[u8], from: usize, word: impl Fn(u64) -> u64, byte: impl Fn(u8) -> bool) -> usize {
    let mut pos = from;
    while let Some(chunk) = buf.get(pos..).and_then(|rest| rest.first_chunk::<8>()) {
        let flags = word(u64::from_le_bytes(*chunk));
        if flags != 0 {
            return pos + (flags.trailing_zeros() / 8) as usize;
        }
        pos += 8;
    }
    while pos < buf.len() && !byte(buf[pos]) {
        pos += 1;
    }
    pos.min(buf.len())
}

/// First control character (HTAB included) or DEL at or after `from`.
#[inline(always)]
pub(crate) fn find_control(buf: &[u8], from: usize) -> usize {
    find(buf, from, |w| below(w, 0x20) | equal(w, 0x7f), |b| b < 0x20 || b == 0x7f)
}

/// First byte at or after `from` that cannot stand in a request target: controls, SP, `#`, DEL, non-ASCII.
#[inline(always)]
pub(crate) fn find_target_end(buf: &[u8], from: usize) -> usize {
    find(buf, from, |w| below(w, 0x21) | equal(w, b'#') | equal(w, 0x7f) | (w & HIGH), |b| !is_target_byte(b))
}

pub(crate) const fn is_target_byte(byte: u8) -> bool {
    byte > 0x20 && byte < 0x7f && byte != b'#'
}

/// First `wanted` at or after `from`, else `buf.len()`.
#[inline(always)]
pub(crate) fn find_byte(buf: &[u8], from: usize, wanted: u8) -> usize {
    find(buf, from, |w| equal(w, wanted), |b| b == wanted)
}

/// Whether a path surely needs no normalising: no `%`, no `\`, no `//`, no `/.`, no `/;`. May say no without need.
pub(crate) fn is_plain_path(path: &[u8]) -> bool {
    let mut after_slash = 0u64;
    let mut words = path.chunks_exact(8);
    for chunk in &mut words {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let slash = equal(word, b'/');
        let marks = slash | equal(word, b'.') | equal(word, b';');
        let pairs = (slash << 8 | after_slash) & marks;
        if pairs | equal(word, b'%') | equal(word, b'\\') != 0 {
            return false;
        }
        after_slash = slash >> 56;
    }
    let mut slashed = after_slash != 0;
    for &byte in words.remainder() {
        if matches!(byte, b'%' | b'\\') || slashed && matches!(byte, b'/' | b'.' | b';') {
            return false;
        }
        slashed = byte == b'/';
    }
    true
}

const fn class(accept: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut i = 0;
    while i < accept.len() {
        table[accept[i] as usize] = true;
        i += 1;
    }
    table
}

/// `tchar` of RFC 9110 section 5.6.2.
static TOKEN: [bool; 256] = class(b"!#$%&'*+-.^_`|~");
/// What host names and IPv4 addresses are made of. Narrower than `reg-name`: no service has a name with `,` or `%2f`.
static HOST: [bool; 256] = class(b"-._");

#[inline(always)]
pub(crate) fn is_tchar(byte: u8) -> bool {
    TOKEN[byte as usize]
}

#[inline(always)]
pub(crate) fn is_host_byte(byte: u8) -> bool {
    HOST[byte as usize]
}

/// First byte at or after `from` that is no `tchar`, else `buf.len()`.
#[inline(always)]
pub(crate) fn find_token_end(buf: &[u8], from: usize) -> usize {
    let rest = buf.get(from..).unwrap_or_default();
    from + rest.iter().position(|&b| !is_tchar(b)).unwrap_or(rest.len())
}

pub(crate) fn all_tchars(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_tchar(b))
}

/// Drops SP and HTAB at both ends.
#[inline(always)]
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// `1*DIGIT` as a number; `None` for anything else, overflow included.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finders_agree_with_the_plain_definition() {
        for lead in 0..20 {
            for byte in 0..=255u8 {
                let mut buf = vec![b'a'; lead];
                buf.push(byte);
                buf.extend_from_slice(b"\x00 zz");
                let plain = |hit: &dyn Fn(u8) -> bool| buf.iter().position(|&b| hit(b)).unwrap_or(buf.len());
                assert_eq!(find_control(&buf, 0), plain(&|b| b < 0x20 || b == 0x7f));
                assert_eq!(find_target_end(&buf, 0), plain(&|b| !is_target_byte(b)));
                assert_eq!(find_byte(&buf, 0, b':'), plain(&|b| b == b':'));
                assert_eq!(find_token_end(&buf, 0), plain(&|b| !is_tchar(b)));
            }
        }
    }

    #[test]
    fn plain_paths_are_recognised_at_every_offset() {
        for lead in 1..20 {
            let with = |tail: &str| is_plain_path(format!("/{}{tail}", "a".repeat(lead)).as_bytes());
            assert!(with("") && with("/b") && with("/b.c/d;e/"));
            for bad in ["//", "/./", "/..", "/;x", "%41", "\\", "/.well"] {
                assert!(!with(bad), "{lead} {bad}");
            }
        }
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", "18446744073709551616", "1 ", "0x1", "1_0"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }
}
