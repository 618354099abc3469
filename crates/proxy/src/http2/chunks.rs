//! The chunked coding, read as the engine writes it: its strictness was exercised upon whoever sent the body.

use std::io;

use bytes::Bytes;
use http::HeaderMap;

use super::head;

/// A body that comes in pieces, cut anywhere.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    /// The size while it is read; then what is left of the chunk.
    left: u64,
    /// Trailers that have not come whole.
    partial: Vec<u8>,
    trailers: Option<HeaderMap>,
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

impl Chunks {
    /// The content of the next piece.
    pub(super) fn read(&mut self, mut piece: &[u8]) -> io::Result<Bytes> {
        // Most pieces have the content of one chunk.
        let (mut first, mut all) = (&[][..], Vec::new());
        while let Some((&byte, after)) = piece.split_first() {
            match (self.state, byte) {
                (State::Size, b'\r') => piece = after,
                (State::Size, b'\n') => {
                    self.state = if self.left == 0 { State::Trailers } else { State::Content };
                    piece = after;
                }
                (State::Size, _) => {
                    let digit = char::from(byte).to_digit(16).filter(|_| self.left >> 60 == 0);
                    self.left = self.left << 4 | u64::from(digit.ok_or(io::ErrorKind::InvalidInput)?);
                    piece = after;
                }
                (State::Content, _) => {
                    let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
                    let (content, after) = piece.split_at(len);
                    if first.is_empty() {
                        first = content;
                    } else {
                        if all.is_empty() {
                            all.reserve_exact(first.len() + piece.len());
                            all.extend_from_slice(first);
                        }
                        all.extend_from_slice(content);
                    }
                    self.left -= len as u64;
                    if self.left == 0 {
                        self.state = State::LineEnd;
                    }
                    piece = after;
                }
                (State::LineEnd, b'\r') => piece = after,
                (State::LineEnd, b'\n') => {
                    self.state = State::Size;
                    piece = after;
                }
                (State::Trailers, _) => {
                    self.trailers(piece)?;
                    piece = &[];
                }
                (State::LineEnd | State::Over, _) => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(if all.is_empty() { Bytes::copy_from_slice(first) } else { all.into() })
    }

    fn trailers(&mut self, piece: &[u8]) -> io::Result<()> {
        let joined;
        let section = if self.partial.is_empty() {
            piece
        } else {
            self.partial.extend_from_slice(piece);
            joined = std::mem::take(&mut self.partial);
            &joined
        };
        if section == b"\r\n" {
            self.state = State::Over;
        } else if section.ends_with(b"\r\n\r\n") {
            self.trailers = Some(head::trailers(section)?);
            self.state = State::Over;
        } else {
            self.partial = section.to_vec();
        }
        Ok(())
    }

    /// Whether the body is over.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// What came behind the content, once.
    pub(super) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }
}

#[cfg(test)]
mod tests {
    use weir_http1::{BodyEncoder, BodyKind};

    use super::*;

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
                let mut chunks = Chunks::default();
                let mut content = Vec::new();
                for piece in body.chunks(cut) {
                    assert!(!chunks.is_over());
                    content.extend_from_slice(&chunks.read(piece).unwrap());
                }
                assert!(chunks.is_over(), "{cut}");
                assert_eq!(content, parts.concat(), "{cut}");
                let found = chunks.take_trailers();
                assert_eq!(found.is_some(), has_trailers, "{cut}");
                if let Some(found) = found {
                    let statuses: Vec<_> = found.get_all("grpc-status").iter().collect();
                    assert_eq!(statuses, ["0", "1"], "{cut}");
                    assert_eq!(found["grpc-message"], "a: b", "{cut}");
                }
                assert!(chunks.read(b"0").is_err(), "nothing follows");
            }
        }
    }

    #[test]
    fn what_the_engine_never_writes_is_an_error() {
        for bad in ["x", "3\r\nabcd", "11112222333344445", "0\r\nno colon\r\n\r\n", "0\r\na b: c\r\n\r\n"] {
            assert!(Chunks::default().read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
