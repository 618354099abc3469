//! Writing bodies: framing around content that the caller writes without copying it.

use crate::body::BodyKind;
use crate::error::BodyError;
use crate::trailers::Trailers;

/// What ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";
/// What ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const PREFIX_BYTES_MAX: usize = 18;

/// The line before a chunk's data, held without allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkPrefix {
    bytes: [u8; PREFIX_BYTES_MAX],
    start: u8,
}

impl ChunkPrefix {
    const EMPTY: Self = Self { bytes: [0; PREFIX_BYTES_MAX], start: PREFIX_BYTES_MAX as u8 };

    /// The bytes to write.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(usize::from(self.start)..).unwrap_or_default()
    }
}

/// The line that begins a chunk of `len` bytes. `len` must not be 0: that would end the body.
pub fn chunk_prefix(len: usize) -> ChunkPrefix {
    debug_assert!(len > 0, "a chunk of no bytes ends the body");
    let mut prefix = ChunkPrefix { bytes: [0; PREFIX_BYTES_MAX], start: (PREFIX_BYTES_MAX - 2) as u8 };
    prefix.bytes[PREFIX_BYTES_MAX - 2..].copy_from_slice(CHUNK_END);
    let mut left = len;
    while left > 0 || usize::from(prefix.start) == PREFIX_BYTES_MAX - 2 {
        prefix.start -= 1;
        prefix.bytes[usize::from(prefix.start)] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    prefix
}

/// Frames one body for the receiver, and knows whether it is complete.
#[derive(Debug)]
pub struct BodyEncoder {
    kind: BodyKind,
    /// Content bytes still to come, for [`BodyKind::Length`].
    left: u64,
}

impl BodyEncoder {
    /// An encoder for a body that the head announces as `kind`.
    pub fn new(kind: BodyKind) -> Self {
        let left = if let BodyKind::Length(length) = kind { length } else { 0 };
        Self { kind, left }
    }

    /// What to write before and after `len` bytes of content. For nothing, and without chunks, both are empty.
    ///
    /// # Errors
    /// [`BodyError::Excess`] when the content would be longer than announced. Nothing of it may be written.
    #[inline]
    pub fn frame(&mut self, len: usize) -> Result<(ChunkPrefix, &'static [u8]), BodyError> {
        match self.kind {
            BodyKind::Chunked if len > 0 => return Ok((chunk_prefix(len), CHUNK_END)),
            BodyKind::Chunked | BodyKind::UntilClose => {}
            BodyKind::None | BodyKind::Length(_) => {
                self.left = self.left.checked_sub(len as u64).ok_or(BodyError::Excess)?;
            }
        }
        Ok((ChunkPrefix::EMPTY, b""))
    }

    /// Appends what ends the body; call it only when the source is complete.
    ///
    /// # Errors
    /// [`BodyError::Incomplete`] when the content was shorter than announced: close without more.
    pub fn finish(&mut self, trailers: Option<&Trailers>, out: &mut Vec<u8>) -> Result<(), BodyError> {
        match self.kind {
            BodyKind::Chunked => {
                out.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    trailers.write(out);
                }
                out.extend_from_slice(CHUNK_END);
                Ok(())
            }
            _ if self.left > 0 => Err(BodyError::Incomplete),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for len in [1, 9, 10, 15, 16, 255, 256, 65536, usize::MAX] {
            assert_eq!(chunk_prefix(len).as_bytes(), format!("{len:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn lengths_are_kept() {
        let mut encoder = BodyEncoder::new(BodyKind::Length(3));
        let mut out = Vec::new();
        assert_eq!(encoder.frame(2).map(|(p, s)| (p.as_bytes().len(), s)), Ok((0, &b""[..])));
        assert_eq!(encoder.finish(None, &mut out), Err(BodyError::Incomplete));
        assert_eq!(encoder.frame(2).err(), Some(BodyError::Excess));
        assert!(encoder.frame(1).is_ok());
        assert_eq!(encoder.finish(None, &mut out), Ok(()));
        assert!(out.is_empty());
    }
}
