//! Integers with a prefix (RFC 7541 section 5.1), and the cursor that reads a block.

use super::error::HpackError;

/// Continuation octets that an integer may have: 28 bits, more than any length or index here can use.
const OCTETS_MAX: usize = 4;

/// What of a block is still to be read.
pub(super) struct Input<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self { block, at: 0 }
    }

    /// The next octet, which stays.
    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.block.get(self.at).copied()
    }

    /// Takes the integer in the low `prefix` bits of the next octet and in what follows it.
    #[inline(always)]
    pub(super) fn integer(&mut self, prefix: u32) -> Result<u32, HpackError> {
        let first = self.peek().ok_or(HpackError::Truncated)?;
        self.at += 1;
        let mask = u8::MAX >> (8 - prefix);
        let value = first & mask;
        if value < mask { Ok(u32::from(value)) } else { self.continued(u32::from(mask)) }
    }

    #[inline(never)]
    fn continued(&mut self, mut value: u32) -> Result<u32, HpackError> {
        for count in 0..OCTETS_MAX {
            let octet = self.peek().ok_or(HpackError::Truncated)?;
            self.at += 1;
            // At most 255 + 2^28: no overflow.
            value += u32::from(octet & 0x7f) << (7 * count);
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(HpackError::Integer)
    }

    /// Takes `len` octets.
    #[inline(always)]
    pub(super) fn take(&mut self, len: u32) -> Result<&'a [u8], HpackError> {
        let rest = self.block.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len as usize).ok_or(HpackError::Truncated)?;
        self.at += taken.len();
        Ok(taken)
    }
}

/// Appends `value` with a prefix of `prefix` bits, below the bits of `pattern`.
#[inline(always)]
pub(super) fn put_integer(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let mask = usize::from(u8::MAX >> (8 - prefix));
    if value < mask {
        out.push(pattern | value as u8);
    } else {
        put_continued(out, pattern | mask as u8, value - mask);
    }
}

#[inline(never)]
fn put_continued(out: &mut Vec<u8>, first: u8, mut value: usize) {
    out.push(first);
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendix C.1.
    #[test]
    fn the_specification_s_examples() {
        for (prefix, value, coded) in
            [(5, 10usize, &[0x0a][..]), (5, 1337, &[0x1f, 0x9a, 0x0a]), (8, 42, &[0x2a]), (5, 31, &[0x1f, 0])]
        {
            let mut out = Vec::new();
            put_integer(&mut out, 0, prefix, value);
            assert_eq!(out, coded);
            let mut input = Input::new(coded);
            assert_eq!(input.integer(prefix), Ok(value as u32));
            assert_eq!(input.peek(), None);
        }
    }

    #[test]
    fn integers_have_an_end() {
        let read = |block: &[u8]| Input::new(block).integer(7);
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x7f]), Ok(127 + (1 << 28) - 1));
        assert_eq!(read(&[0xff, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(HpackError::Integer));
        assert_eq!(read(&[0xff; 40]), Err(HpackError::Integer));
        assert_eq!(read(&[0xff, 0x80, 0x80, 0x80, 0x80]), Err(HpackError::Integer));
        assert_eq!(read(&[0xff, 0x80, 0x80]), Err(HpackError::Truncated));
        assert_eq!(read(&[0xff]), Err(HpackError::Truncated));
        assert_eq!(read(&[]), Err(HpackError::Truncated));
    }
}
