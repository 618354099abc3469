//! One side of a connection, driven by bytes, and the words that the tables are written in.

use weir_http2::{Bench, Code, Config, Connection, Event, Opened, PREFACE, Slot};

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

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;
/// HEADERS that are a whole message.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(crate) const CONFIG: Config = Config {
    streams_max: 10,
    stream_window_bytes: 100_000,
    connection_window_bytes: 400_000,
    head_bytes_max: 16 * 1024,
};

/// What a peer is told about what it has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Neither of these.
    Fine,
    /// The connection ends with this code.
    Connection(Code),
    /// This stream ends with this code, and the connection goes on.
    Stream(u32, Code),
}

pub(crate) fn connection(code: Code) -> Verdict {
    Verdict::Connection(code)
}

pub(crate) fn stream(code: Code) -> Verdict {
    Verdict::Stream(1, code)
}

/// A frame as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Side {
    pub(crate) h2: Connection,
    bench: Bench,
    pub(crate) opened: Vec<(Slot, Opened)>,
}

impl Side {
    fn new(h2: Connection) -> Self {
        Self { h2, bench: Bench::default(), opened: Vec::new() }
    }

    /// A server to which nothing was sent.
    pub(crate) fn server() -> Self {
        Self::new(Connection::server(CONFIG, 0))
    }

    /// A server whose client has sent its preface.
    pub(crate) fn greeted() -> Self {
        let mut side = Self::server();
        side.take(&[PREFACE, &frame(SETTINGS, 0, 0, &[])[..]].concat());
        side.said();
        side
    }

    /// A client whose server has greeted it, and its calls: GET, on the streams 1, 3 and so on.
    pub(crate) fn calling(calls: usize) -> (Self, Vec<Slot>) {
        let mut side = Self::new(Connection::client(CONFIG, 0));
        side.take(&frame(SETTINGS, 0, 0, &[]));
        let slots = (0..calls).map(|_| side.call(b"GET", true)).collect();
        side.said();
        (side, slots)
    }

    pub(crate) fn call(&mut self, method: &[u8], ended: bool) -> Slot {
        let slot = self.h2.call(ended, method == b"HEAD", |block| {
            block.method(method);
            block.scheme(false);
            block.authority(b"app");
            block.path(b"/");
        });
        slot.expect("room for a stream")
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let mut buf = vec![0; 17_000];
        let held = self.h2.resume(&mut buf);
        self.h2.receive(&[&buf[..held], bytes].concat(), 0, &mut self.bench);
        while let Some(event) = self.h2.next_event() {
            if let Event::Opened(slot, opened) = event {
                self.opened.push((slot, opened));
            }
        }
    }

    /// The frames that it has sent since it was last asked.
    pub(crate) fn said(&mut self) -> Vec<Said> {
        let out = self.h2.output().to_vec();
        self.h2.wrote(out.len());
        let mut rest = out.strip_prefix(&PREFACE[..]).unwrap_or(&out);
        let mut said = Vec::new();
        while let [a, b, c, kind, flags, id @ ..] = rest {
            let end = 4 + u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let stream = u32::from_be_bytes(id[..4].try_into().unwrap());
            said.push(Said { kind: *kind, flags: *flags, stream, payload: id[4..end].to_vec() });
            rest = &id[end..];
        }
        said
    }

    /// What it says to what it has taken.
    pub(crate) fn verdict(&mut self) -> Verdict {
        let code = |payload: &[u8]| Code(u32::from_be_bytes(payload.try_into().unwrap()));
        let said = self.said();
        let ends = said.iter().find(|frame| frame.kind == GOAWAY);
        assert_eq!(ends.is_some(), self.h2.failure().is_some());
        if let Some(frame) = ends {
            return Verdict::Connection(code(&frame.payload[4..]));
        }
        let reset = said.iter().find(|frame| frame.kind == RST_STREAM);
        reset.map_or(Verdict::Fine, |frame| Verdict::Stream(frame.stream, code(&frame.payload)))
    }

    pub(crate) fn read(&mut self, slot: Slot) -> String {
        let mut buf = vec![0; 200_000];
        let len = self.h2.read(slot, &mut buf);
        String::from_utf8_lossy(&buf[..len]).into_owned()
    }
}

/// What a greeted server says to `bytes`, which mean the same however they are cut.
pub(crate) fn to_server(bytes: &[u8]) -> Verdict {
    let mut whole = Side::greeted();
    whole.take(bytes);
    let verdict = whole.verdict();
    let mut dripped = Side::greeted();
    bytes.chunks(7).for_each(|piece| dripped.take(piece));
    assert_eq!(dripped.verdict(), verdict, "cut into pieces");
    verdict
}

/// What a client with one call says to `bytes`.
pub(crate) fn to_client(bytes: &[u8]) -> Verdict {
    let (mut client, _) = Side::calling(1);
    client.take(bytes);
    client.verdict()
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Literals without a table.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "a length of one octet");
            out.push(text.len() as u8);
            out.extend(text.bytes());
        }
    }
    out
}

pub(crate) const METHOD: (&str, &str) = (":method", "GET");
pub(crate) const SCHEME: (&str, &str) = (":scheme", "http");
pub(crate) const AUTHORITY: (&str, &str) = (":authority", "app");
pub(crate) const PATH: (&str, &str) = (":path", "/");
pub(crate) const GET: [(&str, &str); 4] = [METHOD, SCHEME, AUTHORITY, PATH];

/// A request without content.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &block(&GET))
}

/// A request whose content is to come.
pub(crate) fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [&[(":method", "POST"), SCHEME, AUTHORITY, PATH], more].concat();
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

/// A response's head.
pub(crate) fn respond(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}
