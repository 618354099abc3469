//! Just enough of HTTP/2 to hold a request in the middle, and to see what is said on its connection meanwhile.

use crate::wire::Wire;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The one stream.
const STREAM: u32 = 1;
/// `:status: 200` in HPACK's static table.
const STATUS_200: u8 = 0x88;

/// A connection with one request, a POST of a length.
pub struct Post {
    wire: Wire,
    is_told_to_go: bool,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Post {
    /// Begins one. It has arrived when this returns.
    pub fn begin(wire: Wire, scheme: &str, authority: &str, path: &str, length: usize) -> Self {
        let mut post = Self { wire, is_told_to_go: false };
        post.wire.send(PREFACE);
        post.send(SETTINGS, 0, 0, &[]);
        // `:method: POST`, and the scheme.
        let mut head = vec![0x83, if scheme == "https" { 0x87 } else { 0x86 }];
        // `:authority`, `:path` and `content-length`, by the numbers of their names, without indexing.
        let length = length.to_string();
        let fields: [(&[u8], &str); 3] = [(&[0x01], authority), (&[0x04], path), (&[0x0f, 0x0d], &length)];
        for (name, value) in fields {
            head.extend(name);
            head.push(u8::try_from(value.len()).ok().filter(|length| *length < 127).expect("a short value"));
            head.extend(value.as_bytes());
        }
        post.send(HEADERS, END_HEADERS, STREAM, &head);
        // It is answered in its turn.
        post.send(PING, 0, 0, b"arrived?");
        while !matches!(post.frame(), Frame { kind: PING, flags: ACK, .. }) {}
        post
    }

    /// Sends a part of the body.
    pub fn body(&mut self, part: &[u8]) {
        self.send(DATA, 0, STREAM, part);
    }

    /// Waits until the other side has said that it takes no more requests on this connection.
    pub fn until_told_to_go(&mut self) {
        while !self.is_told_to_go {
            let frame = self.frame();
            assert!(!matches!(frame.kind, DATA | HEADERS), "it is answered before it has ended");
        }
    }

    /// Sends the last part of the body. Gives the answer's body, if its status is 200. If the other side has said that it
    /// takes no more requests, it has also closed the connection then.
    pub fn end(mut self, part: &[u8]) -> Option<String> {
        self.send(DATA, END_STREAM, STREAM, part);
        let (mut is_good, mut body) = (false, Vec::new());
        loop {
            let Frame { kind, flags, stream, payload } = self.frame();
            if stream != STREAM {
                continue;
            }
            match kind {
                HEADERS => is_good |= payload.contains(&STATUS_200),
                DATA => body.extend(payload),
                WINDOW_UPDATE => {}
                other => panic!("a frame of kind {other} on the stream: {payload:?}"),
            }
            if flags & END_STREAM != 0 {
                break;
            }
        }
        if self.is_told_to_go {
            self.wire.rest();
        }
        is_good.then(|| String::from_utf8_lossy(&body).into_owned())
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.wire.send(&frame);
    }

    /// The next frame. What wants an acknowledgement has got it.
    fn frame(&mut self) -> Frame {
        let head = self.wire.take(9);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.wire.take(length as usize);
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
            PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload),
            GOAWAY => {
                assert_eq!(frame.payload[4..8], [0; 4], "it has nothing to complain of");
                self.is_told_to_go = true;
            }
            _ => {}
        }
        frame
    }
}
