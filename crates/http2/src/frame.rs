//! Frames: read out of the bytes they came in, and written to a buffer (RFC 9113 sections 4 and 6).
//!
//! Here every rule is checked that a frame shows by itself: sizes, flags, padding, and whether it belongs to a stream or to
//! the connection. What it means for a stream's state is judged elsewhere.

use crate::code::{Code, Fault};

/// Bytes of a frame's header.
pub(crate) const HEADER_BYTES: usize = 9;
/// The largest frame that is accepted: the smallest bound that may be set (section 4.2), so nothing has to be said.
pub(crate) const FRAME_BYTES_MAX: u32 = 16 * 1024;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

/// What every frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) len: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// The beginning of DATA: its content, and then its padding, is not part of it.
    Data {
        stream: u32,
        ended: bool,
        content: u32,
        padding: u32,
    },
    Headers {
        stream: u32,
        ended: bool,
        whole: bool,
        block: &'a [u8],
    },
    Continuation {
        stream: u32,
        whole: bool,
        block: &'a [u8],
    },
    Reset {
        stream: u32,
        code: Code,
    },
    Settings(&'a [u8]),
    SettingsAck,
    Ping([u8; 8]),
    PingAck([u8; 8]),
    GoAway {
        last: u32,
        code: Code,
    },
    /// An increment for a stream, or for the connection where `stream` is 0.
    WindowUpdate {
        stream: u32,
        increment: u32,
    },
    /// PRIORITY, which says nothing any more (section 5.3.2), and types that nobody knows.
    Ignored,
}

impl Header {
    #[inline]
    pub(crate) fn read(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, id @ ..] = bytes;
        Self {
            len: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(id) & 0x7fff_ffff,
        }
    }

    /// How many bytes there must be before the frame can be read. Content of DATA need not be there.
    #[inline]
    pub(crate) fn needed(self) -> usize {
        match self.kind {
            DATA => HEADER_BYTES + usize::from(self.flags & PADDED != 0 && self.len > 0),
            _ => HEADER_BYTES + self.len as usize,
        }
    }

    /// Whether a frame can be like this at all. If not, it is the connection's end.
    #[inline]
    pub(crate) fn check(self) -> Result<(), Fault> {
        let wrong_size = match self.kind {
            _ if self.len > FRAME_BYTES_MAX => true,
            SETTINGS if self.flags & ACK != 0 => self.len != 0,
            SETTINGS => !self.len.is_multiple_of(6),
            RST_STREAM | WINDOW_UPDATE => self.len != 4,
            PING => self.len != 8,
            GOAWAY => self.len < 8,
            _ => false,
        };
        if wrong_size {
            return Err(Fault::Connection(Code::FRAME_SIZE_ERROR));
        }
        let misplaced = match self.kind {
            DATA | HEADERS | PRIORITY | RST_STREAM | CONTINUATION => self.stream == 0,
            SETTINGS | PING | GOAWAY => self.stream != 0,
            // Nobody is asked to push, and clients must not.
            PUSH_PROMISE => true,
            _ => false,
        };
        if misplaced { Err(Fault::Connection(Code::PROTOCOL_ERROR)) } else { Ok(()) }
    }

    /// The frame. `payload` is what follows the header: as much as [`Header::needed`] says.
    #[inline]
    pub(crate) fn frame(self, payload: &[u8]) -> Result<Frame<'_>, Fault> {
        let Self { len, kind, flags, stream } = self;
        let ended = flags & END_STREAM != 0;
        let whole = flags & END_HEADERS != 0;
        match kind {
            DATA if flags & PADDED == 0 => Ok(Frame::Data { stream, ended, content: len, padding: 0 }),
            DATA => {
                let Some(&padding) = payload.first() else {
                    return Err(Fault::Connection(Code::FRAME_SIZE_ERROR));
                };
                let padding = u32::from(padding);
                match (len - 1).checked_sub(padding) {
                    Some(content) => Ok(Frame::Data { stream, ended, content, padding }),
                    None => Err(Fault::Connection(Code::PROTOCOL_ERROR)),
                }
            }
            HEADERS => Ok(Frame::Headers { stream, ended, whole, block: fragment(flags, payload)? }),
            CONTINUATION => Ok(Frame::Continuation { stream, whole, block: payload }),
            RST_STREAM => Ok(Frame::Reset { stream, code: Code(word(payload)) }),
            SETTINGS if flags & ACK != 0 => Ok(Frame::SettingsAck),
            SETTINGS => Ok(Frame::Settings(payload)),
            PING => {
                let data = payload.try_into().unwrap_or_default();
                Ok(if flags & ACK != 0 { Frame::PingAck(data) } else { Frame::Ping(data) })
            }
            GOAWAY => Ok(Frame::GoAway {
                last: word(payload) & 0x7fff_ffff,
                code: Code(word(payload.get(4..).unwrap_or_default())),
            }),
            WINDOW_UPDATE => match word(payload) & 0x7fff_ffff {
                0 if stream == 0 => Err(Fault::Connection(Code::PROTOCOL_ERROR)),
                0 => Err(Fault::Stream(stream, Code::PROTOCOL_ERROR)),
                increment => Ok(Frame::WindowUpdate { stream, increment }),
            },
            PRIORITY if len != 5 => Err(Fault::Stream(stream, Code::FRAME_SIZE_ERROR)),
            _ => Ok(Frame::Ignored),
        }
    }

    /// Whether it is what every peer begins with.
    pub(crate) fn is_settings(self) -> bool {
        self.kind == SETTINGS && self.flags & ACK == 0
    }

    /// Whether a header block goes on behind it.
    #[inline]
    pub(crate) fn goes_on(self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION) && self.flags & END_HEADERS == 0
    }
}

/// What of a HEADERS frame's payload is a header block.
#[inline]
fn fragment(flags: u8, payload: &[u8]) -> Result<&[u8], Fault> {
    if flags & (PADDED | WITH_PRIORITY) == 0 {
        return Ok(payload);
    }
    let too_small = Fault::Connection(Code::FRAME_SIZE_ERROR);
    let (mut rest, mut padding) = (payload, 0);
    if flags & PADDED != 0 {
        let (&len, after) = rest.split_first().ok_or(too_small)?;
        (rest, padding) = (after, usize::from(len));
    }
    if flags & WITH_PRIORITY != 0 {
        rest = rest.get(5..).ok_or(too_small)?;
    }
    let len = rest.len().checked_sub(padding).ok_or(Fault::Connection(Code::PROTOCOL_ERROR))?;
    Ok(&rest[..len])
}

/// The number that a payload begins with; its size was checked.
#[inline]
fn word(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Appends a frame's header.
#[inline]
pub(crate) fn write_header(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&header(len, kind, flags, stream));
}

/// A frame's header. `len` fits into 24 bits: callers keep to the peer's frame size, which does.
#[inline]
pub(crate) fn header(len: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEADER_BYTES] {
    debug_assert!(len < 1 << 24 && stream < 1 << 31);
    let [_, a, b, c] = (len as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

pub(crate) fn write_reset(out: &mut Vec<u8>, stream: u32, code: Code) {
    write_header(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

pub(crate) fn write_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    write_header(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

pub(crate) fn write_ping(out: &mut Vec<u8>, flags: u8, data: [u8; 8]) {
    write_header(out, data.len(), PING, flags, 0);
    out.extend_from_slice(&data);
}

pub(crate) fn write_go_away(out: &mut Vec<u8>, last: u32, code: Code) {
    write_header(out, 8, GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<Frame<'_>, Fault> {
        let header = Header::read(header(payload.len(), kind, flags, stream));
        header.check()?;
        header.frame(payload)
    }

    const CONNECTION: fn(Code) -> Fault = Fault::Connection;

    #[test]
    fn sizes_and_places_are_checked_with_the_codes_of_the_rfc() {
        let size = Err(CONNECTION(Code::FRAME_SIZE_ERROR));
        let protocol = Err(CONNECTION(Code::PROTOCOL_ERROR));
        let check = |kind, flags, stream, payload: &[u8], expected: Result<(), Fault>| {
            assert_eq!(
                read(kind, flags, stream, payload).map(drop),
                expected,
                "{kind} {flags} {stream} {payload:?}"
            );
        };
        check(DATA, 0, 1, &[0; FRAME_BYTES_MAX as usize + 1], size);
        check(DATA, 0, 1, &[0; FRAME_BYTES_MAX as usize], Ok(()));
        for kind in [DATA, HEADERS, RST_STREAM, CONTINUATION] {
            check(kind, 0, 0, &[0; 4], protocol);
        }
        check(PRIORITY, 0, 0, &[0; 5], protocol);
        check(PRIORITY, 0, 3, &[0; 4], Err(Fault::Stream(3, Code::FRAME_SIZE_ERROR)));
        check(PRIORITY, 0, 3, &[0; 5], Ok(()));
        for len in [0, 3, 5] {
            check(RST_STREAM, 0, 1, &vec![0; len], size);
            check(WINDOW_UPDATE, 0, 1, &vec![0; len], size);
        }
        check(SETTINGS, 0, 0, &[0; 5], size);
        check(SETTINGS, ACK, 0, &[0; 6], size);
        check(SETTINGS, 0, 0, &[0; 12], Ok(()));
        check(SETTINGS, 0, 1, &[], protocol);
        check(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2], protocol);
        check(PING, 0, 0, &[0; 7], size);
        check(PING, 0, 1, &[0; 8], protocol);
        check(GOAWAY, 0, 0, &[0; 7], size);
        check(GOAWAY, 0, 1, &[0; 8], protocol);
        check(WINDOW_UPDATE, 0, 0, &[0x80, 0, 0, 0], protocol);
        check(WINDOW_UPDATE, 0, 5, &[0; 4], Err(Fault::Stream(5, Code::PROTOCOL_ERROR)));
        check(0xbe, 0xff, 9, b"anything", Ok(()));
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        assert_eq!(
            read(DATA, PADDED | END_STREAM, 1, b"\x02abcXX"),
            Ok(Frame::Data { stream: 1, ended: true, content: 3, padding: 2 })
        );
        assert_eq!(read(DATA, PADDED, 1, b""), Err(CONNECTION(Code::FRAME_SIZE_ERROR)));
        assert_eq!(read(DATA, PADDED, 1, b"\x01"), Err(CONNECTION(Code::PROTOCOL_ERROR)));
        let block = |flags, payload| match read(HEADERS, flags, 1, payload) {
            Ok(Frame::Headers { block, .. }) => Ok(block.to_vec()),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => Err(fault),
        };
        assert_eq!(block(0, b"abc"), Ok(b"abc".to_vec()));
        assert_eq!(block(PADDED, b"\x01abcX"), Ok(b"abc".to_vec()));
        assert_eq!(block(PADDED | WITH_PRIORITY, b"\x01PPPPPabcX"), Ok(b"abc".to_vec()));
        assert_eq!(block(PADDED, b"\x05abc"), Err(CONNECTION(Code::PROTOCOL_ERROR)));
        assert_eq!(block(PADDED, b""), Err(CONNECTION(Code::FRAME_SIZE_ERROR)));
        assert_eq!(block(WITH_PRIORITY, b"PPPP"), Err(CONNECTION(Code::FRAME_SIZE_ERROR)));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = Vec::new();
        write_reset(&mut out, 7, Code::CANCEL);
        write_window_update(&mut out, 0, 70_000);
        write_ping(&mut out, ACK, *b"12345678");
        write_go_away(&mut out, 0x7fff_ffff, Code::NO_ERROR);
        let mut frames = Vec::new();
        let mut rest = &out[..];
        while let Some(bytes) = rest.first_chunk() {
            let header = Header::read(*bytes);
            header.check().unwrap();
            frames.push(header.frame(&rest[HEADER_BYTES..header.needed()]).unwrap());
            rest = &rest[header.needed()..];
        }
        assert_eq!(
            frames,
            [
                Frame::Reset { stream: 7, code: Code::CANCEL },
                Frame::WindowUpdate { stream: 0, increment: 70_000 },
                Frame::PingAck(*b"12345678"),
                Frame::GoAway { last: 0x7fff_ffff, code: Code::NO_ERROR },
            ]
        );
    }
}
