//! The chunked coding, read as the engine writes it: its strictness was exercised upon whoever sent the body.

use std::io;

/// A body that comes in pieces, cut anywhere.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    /// The size while it is read; then what is left of the chunk.
    left: u64,
    /// Trailers that have not come whole; once they have, all of them.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Content,
    /// Behind a chunk's content.
    LineEnd,
    Trailers,
    Over,
}

/// What a piece begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes of framing.
    Framing(usize),
    /// So many bytes of content. They are to be reported with [`Chunks::took`].
    Content(usize),
    /// So many bytes that end the body.
    End(usize),
}

/// What ends a body without trailers, behind a chunk's content.
const PLAIN_END: &[u8] = b"\r\n0\r\n\r\n";

impl Chunks {
    /// What the next piece, which is not empty, begins with.
    pub(super) fn step(&mut self, piece: &[u8]) -> io::Result<Step> {
        match self.state {
            State::Size => self.size(piece).map(Step::Framing),
            State::Content => Ok(Step::Content(
                usize::try_from(self.left).map_or(piece.len(), |left| left.min(piece.len())),
            )),
            State::LineEnd => self.line_end(piece).map(Step::Framing),
            State::Trailers => Ok(self.end(piece)),
            State::Over => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn size(&mut self, piece: &[u8]) -> io::Result<usize> {
        for (at, &byte) in piece.iter().enumerate() {
            match byte {
                b'\r' => {}
                b'\n' => {
                    self.state = if self.left == 0 { State::Trailers } else { State::Content };
                    return Ok(at + 1);
                }
                _ => {
                    let digit = char::from(byte).to_digit(16).filter(|_| self.left >> 60 == 0);
                    self.left = self.left << 4 | u64::from(digit.ok_or(io::ErrorKind::InvalidInput)?);
                }
            }
        }
        Ok(piece.len())
    }

    fn line_end(&mut self, piece: &[u8]) -> io::Result<usize> {
        for (at, &byte) in piece.iter().enumerate() {
            match byte {
                b'\r' => {}
                b'\n' => {
                    self.state = State::Size;
                    return Ok(at + 1);
                }
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(piece.len())
    }

    /// So much of a chunk's content was dealt with.
    #[inline]
    pub(super) fn took(&mut self, content: usize) {
        self.left -= content as u64;
        if self.left == 0 {
            self.state = State::LineEnd;
        }
    }

    /// Whether nothing but the end follows `content` bytes of a chunk that `rest` comes behind.
    #[inline]
    pub(super) fn ends_with(&self, content: usize, rest: &[u8]) -> bool {
        self.left == content as u64 && rest == PLAIN_END
    }

    /// That end was passed over.
    #[inline]
    pub(super) fn passed_end(&mut self) {
        self.state = State::Over;
    }

    fn end(&mut self, piece: &[u8]) -> Step {
        self.trailers.extend_from_slice(piece);
        if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
            self.state = State::Over;
            return Step::End(piece.len());
        }
        Step::Framing(piece.len())
    }

    /// The section behind the content, with the empty line that ends it.
    pub(super) fn trailers(&self) -> &[u8] {
        &self.trailers
    }
}

#[cfg(test)]
mod tests {
    use weir_http1::{BodyEncoder, BodyKind};

    use super::*;

    /// The content of a body that is cut into pieces, and whether it has ended.
    fn read(chunks: &mut Chunks, body: &[u8], cut: usize, slow: bool) -> io::Result<(Vec<u8>, bool)> {
        let (mut content, mut ended) = (Vec::new(), false);
        for piece in body.chunks(cut) {
            let mut at = 0;
            while at < piece.len() {
                match chunks.step(&piece[at..])? {
                    Step::Framing(n) => at += n,
                    Step::Content(n) => {
                        let last = chunks.ends_with(n, &piece[at + n..]);
                        let n = if slow { n.div_ceil(2) } else { n };
                        content.extend_from_slice(&piece[at..at + n]);
                        chunks.took(n);
                        at += n;
                        if last && !slow {
                            chunks.passed_end();
                            (at, ended) = (piece.len(), true);
                        }
                    }
                    Step::End(n) => (at, ended) = (at + n, true),
                }
            }
        }
        Ok((content, ended))
    }

    #[test]
    fn what_the_engine_writes_is_read_however_it_is_cut() {
        let parts = [&b"one"[..], &[b'2'; 300], b"\r\n0\r\n\r\n", &[b'4'; 70_000]];
        let trailers = b"Grpc-Status: 0\r\ngrpc-message:\t a: b \r\ngrpc-status: 1\r\n";
        let mut body = Vec::new();
        let mut encoder = BodyEncoder::new(BodyKind::Chunked);
        for part in parts {
            let (prefix, suffix) = encoder.frame(part.len()).unwrap();
            body.extend_from_slice(prefix.as_bytes());
            body.extend_from_slice(part);
            body.extend_from_slice(suffix);
        }
        let mut plain = body.clone();
        encoder.finish(None, &mut plain).unwrap();
        let trailing = [&body, &b"0\r\n"[..], trailers, b"\r\n"].concat();
        for (body, has_trailers) in [(&plain, false), (&trailing, true)] {
            for cut in [1, 2, 3, 7, 100, 4096, body.len()] {
                for slow in [false, true] {
                    let mut chunks = Chunks::default();
                    let (content, ended) = read(&mut chunks, body, cut, slow).unwrap();
                    assert!(ended, "{cut}");
                    assert_eq!(content, parts.concat(), "{cut}");
                    if has_trailers {
                        assert_eq!(chunks.trailers(), [&trailers[..], b"\r\n"].concat(), "{cut}");
                    }
                    assert!(chunks.step(b"0").is_err(), "nothing follows");
                }
            }
        }
    }

    #[test]
    fn what_the_engine_never_writes_is_an_error() {
        for bad in ["x", "3\r\nabcd", "11112222333344445"] {
            assert!(read(&mut Chunks::default(), bad.as_bytes(), 100, false).is_err(), "{bad}");
        }
    }
}
