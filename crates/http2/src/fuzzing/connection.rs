//! A connection, in either role, that is told anything.

use weir_http1::{
    KnownField, Limits, Parsed, RequestHead, ResponseHead, Sent, parse_request, parse_response,
};

use crate::frame::{HEADER_BYTES, Header};
use crate::{Bench, Code, Config, Connection, Event, Opened, PREFACE, Role, Slot};

/// Small bounds, so that inputs of a few hundred bytes reach them.
const CONFIG: Config =
    Config { streams_max: 3, stream_window_bytes: 300, connection_window_bytes: 65_600, head_bytes_max: 600 };

/// Requests of the client's role: what is received answers them.
const CALLS: usize = 4;

/// The connection, with whoever has its streams.
struct Run {
    h2: Connection,
    role: Role,
    bench: Bench,
    /// Streams, with what was read of each and whether it was answered.
    streams: Vec<(Slot, Vec<u8>, bool)>,
}

/// Bytes of a connection: nothing panics, whatever they are; what is read begins with one head that can be read in one way,
/// or is refused; windows and numbers of streams hold; what is said are frames.
///
/// The first byte chooses the role and how the rest is cut, the second when streams are read, answered and given up.
pub fn http2_connection(data: &[u8]) {
    let [how, what, bytes @ ..] = data else { return };
    let role = if how & 1 == 0 { Role::Server } else { Role::Client };
    let mut run = Run::new(role);
    let cut = usize::from(how >> 1) + 1;
    let mut moves = u32::from(*what);
    let hello: &[u8] = if role == Role::Server { PREFACE } else { b"" };
    for piece in [hello, b"\0\0\0\x04\0\0\0\0\0"].into_iter().chain(bytes.chunks(cut)) {
        run.receive(piece);
        moves = moves.wrapping_mul(37).wrapping_add(11);
        run.act(moves);
        run.check();
    }
    run.h2.gone();
    run.finish();
}

impl Run {
    fn new(role: Role) -> Self {
        let h2 = match role {
            Role::Server => Connection::server(CONFIG, 0),
            Role::Client => Connection::client(CONFIG, 0),
        };
        let mut run = Self { h2, role, bench: Bench::default(), streams: Vec::new() };
        if role == Role::Client {
            for call in 0..CALLS {
                let slot = run.h2.call(call % 2 == 0, call == 3, |block| {
                    block.method(if call == 3 { b"HEAD" } else { b"POST" });
                    block.scheme(false);
                    block.authority(b"app");
                    block.path(b"/");
                });
                run.streams.push((slot.expect("a stream"), Vec::new(), call % 2 == 0));
            }
        }
        run
    }

    fn receive(&mut self, piece: &[u8]) {
        let mut buf = vec![0; 17_000];
        let held = self.h2.resume(&mut buf);
        buf.truncate(held);
        buf.extend_from_slice(piece);
        self.h2.receive(&buf, 0, &mut self.bench);
        while let Some(event) = self.h2.next_event() {
            let Event::Opened(slot, opened) = event else { continue };
            if opened == Opened::Request && self.h2.fault(slot).is_none() {
                let head = self.h2.unread(slot);
                check_request(&head[..head_end(head).expect("a head that has come is whole")]);
            }
            self.streams.push((slot, Vec::new(), false));
        }
    }

    /// Does something with the streams.
    fn act(&mut self, moves: u32) {
        let h2 = &mut self.h2;
        let mut buf = [0; 200];
        for (number, (slot, read, answered)) in self.streams.iter_mut().enumerate() {
            let n = h2.read(*slot, &mut buf[..1 + (moves as usize + number) % 199]);
            read.extend_from_slice(&buf[..n]);
            if moves & 1 << (number % 8) != 0 && !*answered {
                *answered = true;
                if h2.fault(*slot).is_none() {
                    if self.role == Role::Server {
                        h2.respond(*slot, false, |block| {
                            block.status(200);
                            block.field(KnownField::Server, b"Server", b"x");
                        });
                    }
                    h2.send(*slot, &[0; 100], false);
                    h2.send_trailers(*slot, |block| block.field(KnownField::Other, b"x-late", b"1"));
                }
            }
        }
        if moves & 0x300 == 0 && !self.streams.is_empty() {
            let (slot, ..) = self.streams.remove(moves as usize / 1024 % self.streams.len());
            h2.close(slot, Code::CANCEL);
        }
        if moves & 0x7000 == 0 {
            h2.leave();
        }
    }

    fn check(&mut self) {
        let (window, unread) = self.h2.received();
        assert!(window <= i64::from(CONFIG.connection_window_bytes));
        assert!(unread <= CONFIG.connection_window_bytes as usize);
        assert!(self.streams.len() <= CONFIG.streams_max as usize + 256 + CALLS);
        assert_eq!(self.streams.len(), self.h2.streams());
        let said = self.h2.output().to_vec();
        self.h2.wrote(said.len());
        let mut rest = said.strip_prefix(PREFACE).unwrap_or(&said);
        while let Some(bytes) = rest.first_chunk::<HEADER_BYTES>() {
            let header = Header::read(*bytes);
            header.check().expect("a frame of this side's can be like this");
            rest = &rest[HEADER_BYTES + header.len as usize..];
        }
        assert!(rest.is_empty());
    }

    /// Reads all there is, and gives the streams back.
    fn finish(mut self) {
        for (slot, mut read, _) in self.streams {
            let mut buf = [0; 100];
            loop {
                let n = self.h2.read(slot, &mut buf);
                if n == 0 {
                    break;
                }
                read.extend_from_slice(&buf[..n]);
            }
            if self.role == Role::Client && !read.is_empty() {
                check_response(&read, self.h2.fault(slot).is_some());
            }
            self.h2.close(slot, Code::CANCEL);
        }
        let (window, unread) = self.h2.received();
        assert_eq!((self.h2.streams(), unread), (0, 0));
        assert!(window <= i64::from(CONFIG.connection_window_bytes));
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// One head in HTTP/1.1 that means what was sent, or that is refused by whoever reads it.
fn check_request(head: &[u8]) {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    assert_eq!(line.iter().filter(|&&byte| byte == b' ').count(), 2, "{}", head.escape_ascii());
    check_lines(head);
    let parsed = parse_request(head, &Limits::DEFAULT, &mut RequestHead::default());
    assert!(matches!(parsed, Ok(Parsed::Complete(len)) if len == head.len()) || parsed.is_err());
}

/// Heads, of which the last may be cut when the stream has failed while it was read.
fn check_response(read: &[u8], failed: bool) {
    let mut head = ResponseHead::default();
    let mut at = 0;
    loop {
        let Some(len) = head_end(&read[at..]) else {
            assert!(failed, "a head that has come is whole");
            return;
        };
        let end = at + len;
        check_lines(&read[at..end]);
        match parse_response(&read[at..], &Limits::DEFAULT, Sent::default(), &mut head) {
            Ok(Parsed::Complete(len)) => assert_eq!(at + len, end),
            Ok(Parsed::Partial) => panic!("a head that is whole"),
            Err(_) => return,
        }
        at = end;
        if !head.is_interim() || at == read.len() {
            return;
        }
    }
}

fn check_lines(head: &[u8]) {
    let control = |byte: &&u8| byte.is_ascii_control() && !matches!(**byte, b'\t' | b'\r' | b'\n');
    assert_eq!(head.iter().find(control), None, "{}", head.escape_ascii());
    let lines = head.windows(2).filter(|two| *two == b"\r\n").count();
    let (returns, feeds) =
        (head.iter().filter(|&&byte| byte == b'\r'), head.iter().filter(|&&byte| byte == b'\n'));
    assert!(returns.count() == lines && feeds.count() == lines, "{}", head.escape_ascii());
}
