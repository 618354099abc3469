//! Byte classes and searches, eight bytes at a time where that pays.
//!
//! The word tricks find the *first* match exactly; matches above it in the same word may be false, because a borrow
//! runs upwards. So only the lowest flag of a word is ever used.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

const fn splat(byte: u8) -> u64 {
    LOW * byte as u64
}

/// Flags bytes equal to `byte`.
#[inline(always)]
const fn equal(word: u64, byte: u8) -> u64 {
    let diff = word ^ splat(byte);
    diff.wrapping_sub(LOW) & !diff & HIGH
}

/// First index at or after `from` of a byte that `flags` marks, else `buf.len()`. Behind the end zero bytes are seen; whether they
/// are marked does not matter.
#[inline(always)]
fn find(buf: &[u8], from: usize, flags: impl Fn(u64) -> u64) -> usize {
    let rest = buf.get(from..).unwrap_or_default();
    let (words, tail) = rest.as_chunks::<8>();
    let mut pos = from;
    for word in words {
        let marks = flags(u64::from_le_bytes(*word));
        if marks != 0 {
            return pos + first(marks);
        }
        pos += 8;
    }
    let marks = flags(tail_word(rest, tail));
    (pos + first(marks)).min(buf.len())
}

/// Index of the lowest flag; 8 without one.
#[inline(always)]
const fn first(flags: u64) -> usize {
    (flags.trailing_zeros() / 8) as usize
}

/// The last bytes of `rest`, fewer than eight, as a word with zeros behind them.
#[inline(always)]
fn tail_word(rest: &[u8], tail: &[u8]) -> u64 {
    match rest.last_chunk::<8>() {
        // Shifted twice, since a shift by 64 is none.
        Some(last) => u64::from_le_bytes(*last) >> (8 * (7 - tail.len())) >> 8,
        None => short_word(tail),
    }
}

/// Fewer than eight bytes as a word with zeros behind them.
#[inline(always)]
pub(crate) fn short_word(bytes: &[u8]) -> u64 {
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // The halves overlap in equal bytes.
        let shift = 8 * (bytes.len() - 4) as u32;
        u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << shift
    } else {
        bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
    }
}

/// Whether `value` is `word` (4 to 16 letters, digits and `-`, in lower case) in any case. `value` must hold no control characters but
/// HTAB: among the other bytes, only the cases of a letter become equal by setting their common bit.
#[inline(always)]
pub(crate) fn is_word<const LEN: usize>(value: &[u8], word: &[u8; LEN]) -> bool {
    const { assert!(LEN >= 4 && LEN <= 16) };
    let fold = splat(0x20);
    if value.len() != LEN {
        false
    } else if let (Some(first), Some(last)) = (value.first_chunk::<8>(), value.last_chunk::<8>()) {
        let (Some(first_word), Some(last_word)) = (word.first_chunk::<8>(), word.last_chunk::<8>()) else {
            return false;
        };
        u64::from_le_bytes(*first) | fold == u64::from_le_bytes(*first_word)
            && u64::from_le_bytes(*last) | fold == u64::from_le_bytes(*last_word)
    } else {
        let zeros_folded = fold & !(u64::MAX >> (8 * (8 - LEN % 8)));
        (short_word(value) | fold) == short_word(word) | zeros_folded
    }
}

/// Flags control characters (HTAB included) and DEL.
#[inline(always)]
const fn controls(word: u64) -> u64 {
    // A byte with its high bit set is none of them; of the others, DEL alone overflows into the high bit.
    let del = (word & !HIGH).wrapping_add(LOW);
    (word.wrapping_sub(splat(0x20)) | del) & !word & HIGH
}

/// Flags all bytes but ASCII letters and `-`; exact in every byte.
#[inline(always)]
const fn not_simple_name(word: u64) -> u64 {
    let low = word & !HIGH;
    let folded = low | splat(0x20);
    let letter = folded.wrapping_add(splat(0x80 - b'a')) & !folded.wrapping_add(splat(0x7f - b'z'));
    let not_dash = (low ^ splat(b'-')).wrapping_add(splat(0x7f));
    ((!letter & not_dash) | word) & HIGH
}

/// Flags all bytes but ASCII letters, digits, `-` and `.`; exact in every byte.
#[inline(always)]
const fn not_simple_host(word: u64) -> u64 {
    let low = word & !HIGH;
    let folded = low | splat(0x20);
    let letter = folded.wrapping_add(splat(0x80 - b'a')) & !folded.wrapping_add(splat(0x7f - b'z'));
    // From `-` to `9` there are `-`, `.`, `/` and the digits.
    let digit = low.wrapping_add(splat(0x80 - b'-')) & !low.wrapping_add(splat(0x7f - b'9'));
    let not_slash = (low ^ splat(b'/')).wrapping_add(splat(0x7f));
    (!(letter | digit & not_slash) | word) & HIGH
}

/// A name of letters and `-` that a colon ends: its length and its first words. `None` does not mean that the name is bad.
#[inline(always)]
pub(crate) fn simple_name(line: &[u8]) -> Option<(usize, u64, u64)> {
    let words = u128::from_le_bytes(*line.first_chunk::<16>()?);
    let (low, high) = (words as u64, (words >> 64) as u64);
    let mut len = first(not_simple_name(low));
    if len == 8 {
        len += first(not_simple_name(high));
        if len == 16 {
            len = find(line, 16, not_simple_name);
        }
    }
    (len > 0 && line.get(len) == Some(&b':')).then_some((len, low, high))
}

/// First control character (HTAB included) or DEL at or after `from`.
#[inline(always)]
pub(crate) fn find_control(buf: &[u8], from: usize) -> usize {
    let rest = buf.get(from..).unwrap_or_default();
    let mut pos = from;
    if let Some(near) = rest.first_chunk::<16>() {
        let words = u128::from_le_bytes(*near);
        let marks = controls(words as u64);
        if marks != 0 {
            return from + first(marks);
        }
        let marks = controls((words >> 64) as u64);
        if marks != 0 {
            return from + 8 + first(marks);
        }
        // Long values go on in blocks that compilers turn into vector instructions.
        for block in rest[16..].as_chunks::<16>().0 {
            if block.iter().fold(false, |any, &byte| any | (byte < 0x20) | (byte == 0x7f)) {
                break;
            }
            pos += 16;
        }
        pos += 16;
    }
    find(buf, pos, controls)
}

/// Whether there is any control character (HTAB included) or DEL.
#[inline]
pub(crate) fn has_control(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<8>() else {
        // Spaces behind the end.
        return controls(short_word(text) | splat(b' ') << (8 * text.len())) != 0;
    };
    // The last words overlap.
    let words = text.as_chunks::<8>().0.iter().chain([last]);
    words.fold(0, |marks, word| marks | controls(u64::from_le_bytes(*word))) != 0
}

/// First byte at or after `from` that a field value cannot hold, else `buf.len()`.
#[inline(always)]
pub(crate) fn find_value_end(buf: &[u8], from: usize) -> usize {
    let mut stop = find_control(buf, from);
    while let Some(b'\t') = buf.get(stop) {
        stop = find_control(buf, stop + 1);
    }
    stop
}

/// First byte at or after `from` that cannot stand in a request target (controls, SP, `#`, DEL, non-ASCII), or that is `?`.
#[inline(always)]
pub(crate) fn find_target_mark(buf: &[u8], from: usize) -> usize {
    // As in `controls`, but one more byte below and every high bit.
    let flags = |word: u64| {
        let del = (word & !HIGH).wrapping_add(LOW);
        (word.wrapping_sub(splat(0x21)) | del | word | equal(word, b'#') | equal(word, b'?')) & HIGH
    };
    find(buf, from, flags)
}

/// First byte at or after `from` that cannot stand in a request target.
#[inline(always)]
pub(crate) fn find_target_end(buf: &[u8], from: usize) -> usize {
    let mut end = find_target_mark(buf, from);
    while buf.get(end) == Some(&b'?') {
        end = find_target_mark(buf, end + 1);
    }
    end
}

/// First `wanted` at or after `from`, else `buf.len()`.
#[inline(always)]
pub(crate) fn find_byte(buf: &[u8], from: usize, wanted: u8) -> usize {
    find(buf, from, |word| equal(word, wanted))
}

/// First byte that no host name holds, else the length.
#[inline(always)]
pub(crate) fn find_host_end(text: &[u8]) -> usize {
    let mut end = find(text, 0, not_simple_host);
    while text.get(end) == Some(&b'_') {
        end = find(text, end + 1, not_simple_host);
    }
    end
}

pub(crate) const fn is_target_byte(byte: u8) -> bool {
    byte > 0x20 && byte < 0x7f && byte != b'#'
}

/// Whether a path surely needs no normalising: no `%`, no `\`, no `//`, no `/.`, no `/;`. May say no without need.
pub(crate) fn is_plain_path(path: &[u8]) -> bool {
    let mut after_slash = 0u64;
    let mut is_odd = |word: u64| {
        let slash = equal(word, b'/');
        let marks = slash | equal(word, b'.') | equal(word, b';');
        let pairs = (slash << 8 | after_slash) & marks;
        after_slash = slash >> 56;
        pairs | equal(word, b'%') | equal(word, b'\\') != 0
    };
    let (words, tail) = path.as_chunks::<8>();
    for word in words {
        if is_odd(u64::from_le_bytes(*word)) {
            return false;
        }
    }
    !is_odd(tail_word(path, tail))
}

/// `tchar` of RFC 9110 section 5.6.2.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
            || matches!(byte as u8, b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

#[inline(always)]
pub(crate) fn is_tchar(byte: u8) -> bool {
    TOKEN[byte as usize]
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
        for lead in (0..20).chain([30, 47, 48, 49, 60, 79, 80, 81, 120]) {
            for byte in 0..=255u8 {
                let mut buf = vec![b'a'; lead];
                buf.push(byte);
                buf.extend_from_slice(b"\x00 zz");
                let plain = |hit: &dyn Fn(u8) -> bool| buf.iter().position(|&b| hit(b)).unwrap_or(buf.len());
                assert_eq!(find_control(&buf, 0), plain(&|b| b < 0x20 || b == 0x7f));
                for end in [lead + 1, lead + 4] {
                    let text: Vec<u8> =
                        buf[..end].iter().map(|&b| if b == 0 && end > lead + 1 { b'0' } else { b }).collect();
                    assert_eq!(has_control(&text), text.iter().any(u8::is_ascii_control), "{lead} {byte}");
                }
                assert!(!has_control(&buf[..lead]));
                assert_eq!(find_target_end(&buf, 0), plain(&|b| !is_target_byte(b)));
                assert_eq!(find_byte(&buf, 0, b':'), plain(&|b| b == b':'));
                assert_eq!(find_token_end(&buf, 0), plain(&|b| !is_tchar(b)));
                assert_eq!(find_value_end(&buf, 0), plain(&|b| b != b'\t' && (b < 0x20 || b == 0x7f)));
                assert_eq!(
                    find_host_end(&buf),
                    plain(&|b| !b.is_ascii_alphanumeric() && !b"-._".contains(&b))
                );
            }
        }
    }

    /// The word tricks say of each byte the same, whatever its neighbours.
    #[test]
    fn words_agree_with_bytes() {
        for byte in 0..=255u8 {
            for neighbour in [0, b'-', b'/', b'a', b'z', b'~', 0x7f, 0x80, 0xff] {
                for at in 0..8 {
                    let mut bytes = [neighbour; 8];
                    bytes[at] = byte;
                    let marked = |flags: u64| flags >> (8 * at + 7) & 1 != 0;
                    let word = u64::from_le_bytes(bytes);
                    assert_eq!(
                        marked(not_simple_name(word)),
                        !(byte.is_ascii_alphabetic() || byte == b'-'),
                        "{byte:#x}"
                    );
                    assert_eq!(
                        marked(not_simple_host(word)),
                        !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')),
                        "{byte:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn simple_names_end_at_their_colon() {
        let padded = |text: &str| {
            let line = format!("{text}xxxxxxxxxxxxxxxx");
            simple_name(line.as_bytes()).map(|(len, ..)| len)
        };
        for (text, len) in [
            ("a:", 1),
            ("Host: a", 4),
            ("abcdefg:", 7),
            ("abcdefgh:", 8),
            ("abcdefghi-klmno:", 15),
            ("abcdefghi-klmnop:", 16),
            ("abcdefghi-klmnopq-stuvwxyz:a", 26),
        ] {
            assert_eq!(padded(text), Some(len), "{text}");
        }
        for text in [
            ":",
            "a b:",
            "a\r:",
            "a1:",
            "a_b:",
            "abcdefgh :",
            "abcdefghijklmnop",
            "abcdefghijklmnop q:",
            "a\u{80}:",
        ] {
            assert_eq!(padded(text), None, "{text}");
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
    fn words_are_compared_in_any_case() {
        for (value, is_close) in [
            ("close", true),
            ("CLOSE", true),
            ("Close", true),
            ("clos", false),
            ("closf", false),
            ("cmose", false),
        ] {
            assert_eq!(is_word(value.as_bytes(), b"close"), is_close, "{value}");
        }
        assert!(is_word(b"Keep-Alive", b"keep-alive") && !is_word(b"keep_alive", b"keep-alive"));
        assert!(
            is_word(b"CHUNKED", b"chunked")
                && !is_word(b"xchunke", b"chunked")
                && !is_word(b"chun ed", b"chunked")
        );
        assert!(is_word(b"100-Continue", b"100-continue") && !is_word(b"100-contiuue", b"100-continue"));
        assert!(is_word(b"GZip", b"gzip") && !is_word(b"gzap", b"gzip"));
        assert!(is_word(b"Deflates", b"deflates") && !is_word(b"deflated", b"deflates"));
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", "18446744073709551616", "1 ", "0x1", "1_0"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }
}
