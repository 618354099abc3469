//! Percent-decoding of paths and queries, strict where silence would change the meaning.

use std::borrow::Cow;

/// Text that is not valid percent-encoding of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEncoding {
    /// A `%` without two hexadecimal digits after it.
    #[error("invalid URL escape at byte {0}: `%` must be followed by two hexadecimal digits")]
    Escape(usize),
    /// The decoded bytes are not UTF-8.
    #[error("the URL does not decode to UTF-8")]
    NotUtf8,
}

/// Decodes a path; `+` stays as it is.
pub fn decode_path(text: &str) -> Result<Cow<'_, str>, BadEncoding> {
    if !text.as_bytes().contains(&b'%') {
        return Ok(Cow::Borrowed(text));
    }
    decode(text, false).map(Cow::Owned)
}

/// Decodes a name or a value of a query, in which `+` means a space.
pub fn decode_query(text: &str) -> Result<Cow<'_, str>, BadEncoding> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Ok(Cow::Borrowed(text));
    }
    decode(text, true).map(Cow::Owned)
}

fn decode(text: &str, plus_is_space: bool) -> Result<String, BadEncoding> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digit = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
                let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                    return Err(BadEncoding::Escape(at));
                };
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            b'+' if plus_is_space => {
                out.push(b' ');
                at += 1;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_err(|_| BadEncoding::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_paths_and_queries() {
        assert_eq!(decode_path("a/b").unwrap(), "a/b");
        assert_eq!(decode_path("a%2Fb%20c+d").unwrap(), "a/b c+d");
        assert_eq!(decode_query("a%2Fb%20c+d").unwrap(), "a/b c d");
        assert_eq!(decode_path("%C3%A4").unwrap(), "ä");
    }

    #[test]
    fn refuses_what_is_no_encoding() {
        assert_eq!(decode_path("ab%2"), Err(BadEncoding::Escape(2)));
        assert_eq!(decode_path("%"), Err(BadEncoding::Escape(0)));
        assert_eq!(decode_query("%zz"), Err(BadEncoding::Escape(0)));
        assert_eq!(decode_path("%ff"), Err(BadEncoding::NotUtf8));
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_inverts_encoding(text in ".*") {
            let _ = decode_path(&text);
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
            proptest::prop_assert_eq!(decode_query(&encoded).unwrap(), text);
        }
    }
}
