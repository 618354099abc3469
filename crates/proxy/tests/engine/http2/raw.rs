//! Frames, written and read by hand.

use std::io;
use std::time::Duration;

use crate::support::{Client, PATIENCE, Proxy};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block without compression.
pub(super) fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        string(name.as_bytes(), &mut out);
        string(value, &mut out);
    }
    out
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    if text.len() < 127 {
        out.push(text.len() as u8);
    } else {
        out.push(127);
        let mut left = text.len() - 127;
        while left >= 128 {
            out.push((left % 128) as u8 | 128);
            left /= 128;
        }
        out.push(left as u8);
    }
    out.extend_from_slice(text);
}

/// The fields that every request has.
pub(super) const GET: [(&str, &[u8]); 4] =
    [(":method", b"GET"), (":scheme", b"http"), (":authority", b"app"), (":path", b"/")];

/// A whole request without a body.
pub(super) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET))
}

/// A request whose body follows.
pub(super) fn post(stream: u32, more: &[(&str, &[u8])]) -> Vec<u8> {
    let fields: Vec<(&str, &[u8])> = [(":method", &b"POST"[..])]
        .into_iter()
        .chain(GET[1..].iter().copied())
        .chain(more.iter().copied())
        .collect();
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

/// A frame that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection that sends whatever it likes.
pub(super) struct Raw(pub(super) Client);

impl Raw {
    /// Connects and sends preface and empty SETTINGS.
    pub(super) fn connect(proxy: &Proxy) -> Self {
        let mut raw = Self(proxy.client());
        raw.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        raw
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.send(bytes);
        self
    }

    pub(super) fn next(&mut self) -> io::Result<Frame> {
        let head = self.0.exactly(9)?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload: self.0.exactly(len)? })
    }

    /// The next frame of a kind; others are passed over.
    pub(super) fn until(&mut self, kind: u8) -> io::Result<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind {
                return Ok(frame);
            }
        }
    }

    /// How the peer ends a stream: a whole response, RST_STREAM, GOAWAY, or the end of the connection.
    pub(super) fn end_of(&mut self, stream: u32) -> End {
        loop {
            match self.next() {
                Ok(frame) if frame.kind == GOAWAY && frame.code() != 0 => return End::GoAway(frame.code()),
                Ok(frame) if frame.stream == stream && frame.kind == RST_STREAM => {
                    return End::Reset(frame.code());
                }
                Ok(frame)
                    if frame.stream == stream
                        && matches!(frame.kind, HEADERS | DATA)
                        && frame.flags & END_STREAM != 0 =>
                {
                    return End::Whole;
                }
                Ok(_) => {}
                Err(fault) if matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return End::Never;
                }
                Err(_) => return End::Closed,
            }
        }
    }

    /// Sends until the peer refuses to take more, or `rounds` are over. Gives whether it refused.
    pub(super) fn flood(&mut self, rounds: usize, mut piece: impl FnMut(usize) -> Vec<u8>) -> bool {
        // What the peer answers must not be what stops it.
        let mut reader = self.0.stream.try_clone().unwrap();
        reader.set_read_timeout(Some(PATIENCE)).unwrap();
        let reading = std::thread::spawn(move || {
            let mut sink = [0; 65536];
            while matches!(io::Read::read(&mut reader, &mut sink), Ok(n) if n > 0) {}
        });
        let refused = (0..rounds).any(|round| self.0.try_send(piece(round)).is_err());
        if !refused {
            // All is sent, so it is a matter of the peer's closing.
            let ended = std::time::Instant::now() + PATIENCE;
            while !reading.is_finished() && std::time::Instant::now() < ended {
                std::thread::sleep(Duration::from_millis(5));
            }
            return reading.is_finished();
        }
        refused
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Reset(u32),
    GoAway(u32),
    Closed,
    Never,
}
