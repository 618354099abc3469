//! Paths in one normal form, so that what is authorised and routed is what the upstream sees.
//!
//! Once, before routing: unreserved characters are decoded, dot segments resolved (plain, encoded, or with a `;`
//! parameter, which some servers ignore), runs of slashes merged. `%2f`, `%5c` and all other escapes stay as they were
//! sent and never count as separators. The result is normal itself, and never leaves the root.

use crate::error::PathError;
use crate::scan::{hex_digit, is_plain_path, is_target_byte};

/// What [`normalize_path`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalized {
    /// The path is in normal form; what `out` holds means nothing.
    Unchanged,
    /// `out` holds the normal form.
    Changed,
}

/// Brings `path` (without a query) into normal form. When that differs, `out` is replaced by it.
///
/// # Errors
/// The request must be answered with 400.
#[inline]
pub fn normalize_path(path: &[u8], out: &mut Vec<u8>) -> Result<Normalized, PathError> {
    if path.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plain_path(path) { Ok(Normalized::Unchanged) } else { rewrite(path, out) }
}

#[cold]
fn rewrite(path: &[u8], out: &mut Vec<u8>) -> Result<Normalized, PathError> {
    out.clear();
    let mut segments = path[1..].split(|&b| b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let start = out.len();
        out.push(b'/');
        decode_unreserved(segment, out)?;
        settle(out, start, is_last);
    }
    Ok(if out == path { Normalized::Unchanged } else { Normalized::Changed })
}

/// Resolves the segment that begins with the slash at `start`, the last of `out`.
fn settle(out: &mut Vec<u8>, start: usize, is_last: bool) {
    let segment = &out[start + 1..];
    let parameter = segment.iter().position(|&b| b == b';');
    match &segment[..parameter.unwrap_or(segment.len())] {
        // Of an empty segment with a parameter only the last one means something (`/shop/;session=1`).
        b"" if is_last => return,
        b"" | b"." => out.truncate(start),
        b".." => {
            let parent = out[..start].iter().rposition(|&b| b == b'/').unwrap_or(0);
            out.truncate(parent);
        }
        _ => return,
    }
    if is_last {
        out.push(b'/');
    }
}

fn decode_unreserved(segment: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut bytes = segment.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let pair = (bytes.next(), bytes.next());
                let (Some(high), Some(low)) = pair else { return Err(PathError::BadEscape) };
                let digits = hex_digit(high).zip(hex_digit(low));
                match digits.map(|(high, low)| high << 4 | low).ok_or(PathError::BadEscape)? {
                    0 => return Err(PathError::Nul),
                    plain @ (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => {
                        out.push(plain);
                    }
                    _ => out.extend_from_slice(&[b'%', high, low]),
                }
            }
            b'\\' => return Err(PathError::Backslash),
            byte if is_target_byte(byte) => out.push(byte),
            byte => return Err(PathError::Byte(byte)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<String, PathError> {
        let mut out = b"left over".to_vec();
        Ok(match normalize_path(path.as_bytes(), &mut out)? {
            Normalized::Unchanged => path.to_owned(),
            Normalized::Changed => String::from_utf8_lossy(&out).into_owned(),
        })
    }

    #[test]
    fn normal_forms() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("//", "/"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/../b", "/b"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/%2e/a", "/a"),
            ("/.;/a", "/a"),
            ("/a/..;x=1/b", "/b"),
            ("/a/%2e%2e;x/b", "/b"),
            ("/;/a", "/a"),
            ("/a/;s=1", "/a/;s=1"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/a/...", "/a/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a%2fb", "/a%2fb"),
            ("/a/..%2fb", "/a/..%2fb"),
            ("/a/..%5c..", "/a/..%5c.."),
            ("/%61dmin", "/admin"),
            ("/%7e%5F", "/~_"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/%25%32%65", "/%252e"),
            ("/a%20b", "/a%20b"),
            ("/%c0%ae", "/%c0%ae"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
            assert_eq!(normal(expected).as_deref(), Ok(expected), "again {path}");
        }
    }

    #[test]
    fn refusals() {
        for (path, fault) in [
            ("", PathError::NotAbsolute),
            ("a", PathError::NotAbsolute),
            ("/%00", PathError::Nul),
            ("/a%0", PathError::BadEscape),
            ("/%", PathError::BadEscape),
            ("/%zz", PathError::BadEscape),
            ("/%2/e", PathError::BadEscape),
            ("/a\\b", PathError::Backslash),
            ("/%41 b", PathError::Byte(b' ')),
        ] {
            assert_eq!(normal(path), Err(fault), "{path}");
        }
    }
}
