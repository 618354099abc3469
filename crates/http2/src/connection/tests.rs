mod room;
mod tables;

use std::collections::HashMap;

use proptest::prelude::*;
use weir_http1::KnownField;

use super::*;
use crate::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, GOAWAY, HEADERS, PADDED, PING,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, header,
};

const CONFIG: Config = Config {
    streams_max: 10,
    stream_window_bytes: 100_000,
    connection_window_bytes: 400_000,
    head_bytes_max: 16 * 1024,
};

/// One side, and what became of its streams.
struct Side {
    h2: Connection,
    bench: Bench,
    opened: Vec<Slot>,
}

impl Side {
    fn new(h2: Connection) -> Self {
        Self { h2, bench: Bench::default(), opened: Vec::new() }
    }

    fn client() -> Self {
        Self::new(Connection::client(CONFIG, 0))
    }

    fn server() -> Self {
        Self::new(Connection::server(CONFIG, 0))
    }

    /// A server whose client has said hello.
    fn greeted() -> Self {
        let mut side = Self::server();
        side.take(&[PREFACE, &frame(SETTINGS, 0, 0, &[])[..]].concat());
        side.said();
        side
    }

    fn take(&mut self, bytes: &[u8]) {
        self.take_only(bytes);
        while let Some(event) = self.h2.next_event() {
            if let Event::Opened(slot, Opened::Request) = event {
                self.opened.push(slot);
            }
        }
    }

    /// The same without a look at what has happened.
    fn take_only(&mut self, bytes: &[u8]) {
        let mut buf = vec![0; FRAME_BYTES_MAX as usize + 9];
        // Nothing may have come after all.
        self.h2.resume(&mut buf);
        let held = self.h2.resume(&mut buf);
        self.h2.receive(&[&buf[..held], bytes].concat(), 0, &mut self.bench);
    }

    /// What it says, as frames: type, flags, stream, payload.
    fn said(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let mut said = Vec::new();
        let out = self.h2.output().to_vec();
        self.h2.wrote(out.len());
        let mut rest = &out[..];
        while let Some(bytes) = rest.first_chunk::<9>() {
            let header = crate::frame::Header::read(*bytes);
            let end = 9 + header.len as usize;
            said.push((header.kind, header.flags, header.stream, rest[9..end].to_vec()));
            rest = &rest[end..];
        }
        said
    }

    fn read(&mut self, slot: Slot) -> String {
        let mut buf = vec![0; 300_000];
        let n = self.h2.read(slot, &mut buf);
        String::from_utf8_lossy(&buf[..n]).into_owned()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&header(payload.len(), kind, flags, stream), payload].concat()
}

/// Literals without a table.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        for text in [name, value] {
            if text == name {
                out.push(0);
            }
            out.push(u8::try_from(text.len()).unwrap());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "app"), (":path", "/")];

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET))
}

fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = GET.to_vec();
    fields[0].1 = "POST";
    fields.extend_from_slice(more);
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

/// Passes on what both say until neither says anything more.
fn talk(client: &mut Side, server: &mut Side, cut: usize) {
    loop {
        let (up, down) = (client.h2.output().to_vec(), server.h2.output().to_vec());
        if up.is_empty() && down.is_empty() {
            return;
        }
        client.h2.wrote(up.len());
        server.h2.wrote(down.len());
        up.chunks(cut).for_each(|piece| server.take(piece));
        down.chunks(cut).for_each(|piece| client.take(piece));
    }
}

#[test]
fn a_call_goes_there_and_back_however_it_is_cut() {
    for cut in [1, 2, 9, 10, 100, 100_000] {
        let (mut client, mut server) = (Side::client(), Side::server());
        for round in 0..3 {
            let call = client.h2.call(false, false, |block| {
                block.method(b"POST");
                block.scheme(false);
                block.authority(b"app");
                block.path(b"/a.B/C");
                block.field(KnownField::ContentType, b"content-type", b"application/grpc");
                block.field(KnownField::Te, b"te", b"trailers");
                block.field(KnownField::Other, b"X-Own", b"1");
            });
            let call = call.unwrap();
            assert_eq!(client.h2.send(call, b"hello", true), 5);
            talk(&mut client, &mut server, cut);
            let served = server.opened.pop().unwrap();
            let request = server.read(served);
            assert_eq!(
                request,
                "POST /a.B/C HTTP/1.1\r\nhost: app\r\ncontent-type: application/grpc\r\nte: trailers\r\nx-own: 1\r\n\
                 transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "{cut} {round}"
            );
            assert!(server.h2.is_over(served));
            server.h2.respond_interim(served, |block| block.status(103));
            server.h2.respond(served, false, |block| {
                block.status(200);
                block.field(KnownField::ContentType, b"content-type", b"application/grpc");
            });
            assert_eq!(server.h2.send(served, b"world", false), 5);
            server
                .h2
                .send_trailers(served, |block| block.field(KnownField::GrpcStatus, b"grpc-status", b"0"));
            talk(&mut client, &mut server, cut);
            assert_eq!(
                client.read(call),
                "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n\
                 transfer-encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\ngrpc-status: 0\r\n\r\n"
            );
            assert!(client.h2.is_over(call) && client.h2.fault(call).is_none());
            client.h2.close(call, Code::CANCEL);
            server.h2.close(served, Code::INTERNAL_ERROR);
            talk(&mut client, &mut server, cut);
            assert_eq!((client.h2.streams(), server.h2.streams()), (0, 0));
        }
        assert_eq!((client.h2.streams.len(), server.h2.streams.len()), (1, 1), "places are used again");
        assert_eq!((client.h2.failure(), server.h2.failure()), (None, None));
    }
}

#[test]
fn windows_hold_content_back_and_open_again() {
    let (mut client, mut server) = (Side::client(), Side::server());
    talk(&mut client, &mut server, 1000);
    let call = client.h2.call(false, false, |block| {
        block.method(b"POST");
        block.scheme(false);
        block.authority(b"app");
        block.path(b"/");
    });
    let call = call.unwrap();
    let content = vec![7; 1_000_000];
    let mut sent = 0;
    let mut stuck = 0;
    while stuck < 3 {
        let now = client.h2.send(call, &content[sent..], true);
        sent += now;
        stuck = if now == 0 { stuck + 1 } else { 0 };
        talk(&mut client, &mut server, 5000);
    }
    assert_eq!(sent, CONFIG.stream_window_bytes as usize, "nobody has read");
    let served = server.opened[0];
    let mut read = 0;
    let mut buf = vec![0; 10_000];
    while !server.h2.is_over(served) {
        read += server.h2.read(served, &mut buf);
        talk(&mut client, &mut server, 5000);
        if !client.h2.has_sent(call) {
            sent += client.h2.send(call, &content[sent..], true);
            talk(&mut client, &mut server, 5000);
        }
    }
    assert_eq!(sent, content.len());
    assert!(read > content.len());
    // All of it was given back, but for what is not worth a frame.
    assert_eq!(server.h2.received(), (i64::from(CONFIG.connection_window_bytes), 0));
    assert_eq!((client.h2.failure(), server.h2.failure()), (None, None));
}

#[test]
fn what_nobody_reads_is_given_back() {
    let mut server = Side::greeted();
    for round in 0..50 {
        let id = round * 2 + 1;
        server.take(
            &[post(id, &[]), frame(DATA, 0, id, &[1; 16_000]), frame(DATA, PADDED, id, &[255; 256])].concat(),
        );
        let slot = server.opened.pop().unwrap();
        server.take(&frame(DATA, 0, id, &[1; 10_000])[..5000]);
        server.h2.close(slot, Code::INTERNAL_ERROR);
        // The rest of the frame belongs to nobody.
        server.take(&frame(DATA, 0, id, &[1; 10_000])[5000..]);
        server.take(&frame(DATA, END_STREAM, id, &[1; 3000]));
        assert_eq!(server.h2.failure(), None);
    }
    assert_eq!(server.h2.received(), (i64::from(CONFIG.connection_window_bytes), 0));
}

/// What the server says to `bytes`: the code of its GOAWAY, or the stream and the code of its RST_STREAM.
fn answer(bytes: &[u8]) -> Option<(u32, Code)> {
    let mut server = Side::greeted();
    server.take(bytes);
    let code = |payload: &[u8]| Code(u32::from_be_bytes(payload.try_into().unwrap()));
    server.said().into_iter().find_map(|(kind, _, stream, payload)| match kind {
        GOAWAY => Some((0, code(&payload[4..]))),
        RST_STREAM => Some((stream, code(&payload))),
        _ => None,
    })
}

#[test]
fn faults_have_the_codes_and_the_reach_of_the_rfc() {
    let connection = |code| Some((0, code));
    let stream = |code| Some((1, code));
    let whole = [post(1, &[]), frame(DATA, END_STREAM, 1, b"x")].concat();
    for (name, bytes, expected) in [
        (
            "a length that is not kept",
            [post(1, &[("content-length", "2")]), frame(DATA, END_STREAM, 1, b"x")].concat(),
            stream(Code::PROTOCOL_ERROR),
        ),
        (
            "more than its length",
            [post(1, &[("content-length", "2")]), frame(DATA, 0, 1, b"xyz")].concat(),
            stream(Code::PROTOCOL_ERROR),
        ),
        (
            "trailers before its length",
            [post(1, &[("content-length", "2")]), frame(HEADERS, END_HEADERS | END_STREAM, 1, &[])].concat(),
            stream(Code::PROTOCOL_ERROR),
        ),
        (
            "trailers that end nothing",
            [post(1, &[]), frame(HEADERS, END_HEADERS, 1, &[])].concat(),
            stream(Code::PROTOCOL_ERROR),
        ),
        (
            "a pseudo-header in trailers",
            [post(1, &[]), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&GET))].concat(),
            stream(Code::PROTOCOL_ERROR),
        ),
        (
            "DATA behind the end",
            [whole.clone(), frame(DATA, 0, 1, b"x")].concat(),
            stream(Code::STREAM_CLOSED),
        ),
        (
            "HEADERS behind the end",
            [whole, frame(HEADERS, END_HEADERS | END_STREAM, 1, &[])].concat(),
            stream(Code::STREAM_CLOSED),
        ),
        (
            "more than the stream's window",
            [post(1, &[]), frame(DATA, 0, 1, &[0; 16_384]).repeat(7)].concat(),
            stream(Code::FLOW_CONTROL_ERROR),
        ),
        (
            "a window that overflows",
            [post(1, &[]), frame(WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255])].concat(),
            stream(Code::FLOW_CONTROL_ERROR),
        ),
        (
            "the connection's",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            connection(Code::FLOW_CONTROL_ERROR),
        ),
        ("DATA on an idle stream", frame(DATA, 0, 3, b"x"), connection(Code::PROTOCOL_ERROR)),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 3, &[0; 4]), connection(Code::PROTOCOL_ERROR)),
        (
            "WINDOW_UPDATE on an idle stream",
            frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]),
            connection(Code::PROTOCOL_ERROR),
        ),
        ("an even stream", get(2), connection(Code::PROTOCOL_ERROR)),
        ("a stream that goes backwards", [get(5), get(3)].concat(), connection(Code::STREAM_CLOSED)),
        (
            "CONTINUATION of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &[]),
            connection(Code::PROTOCOL_ERROR),
        ),
        (
            "a block that is interrupted",
            [frame(HEADERS, END_STREAM, 1, &block(&GET)), frame(PING, 0, 0, &[0; 8])].concat(),
            connection(Code::PROTOCOL_ERROR),
        ),
        (
            "a block that goes on elsewhere",
            [frame(HEADERS, END_STREAM, 1, &block(&GET)), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
            connection(Code::PROTOCOL_ERROR),
        ),
        (
            "an index that is not there",
            frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 7]),
            connection(Code::COMPRESSION_ERROR),
        ),
        (
            "a frame that is too large",
            [post(1, &[]), frame(DATA, 0, 1, &[0; 16_385])].concat(),
            connection(Code::FRAME_SIZE_ERROR),
        ),
        (
            "SETTINGS of a bad window",
            frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
            connection(Code::FLOW_CONTROL_ERROR),
        ),
        (
            "SETTINGS of a bad frame size",
            frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
            connection(Code::PROTOCOL_ERROR),
        ),
        (
            "SETTINGS of a bad push",
            frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
            connection(Code::PROTOCOL_ERROR),
        ),
        (
            "more acknowledgements than SETTINGS",
            frame(SETTINGS, ACK, 0, &[]).repeat(2),
            connection(Code::PROTOCOL_ERROR),
        ),
        (
            "PRIORITY of a wrong size",
            [post(1, &[]), frame(2, 0, 1, &[0; 4])].concat(),
            stream(Code::FRAME_SIZE_ERROR),
        ),
        (
            "a fragment in a path",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[GET[0], GET[1], GET[2], (":path", "/a#b")])),
            stream(Code::PROTOCOL_ERROR),
        ),
        ("PRIORITY", frame(2, 0, 1, &[0; 5]), None),
        ("what nobody knows", frame(0xbe, 0xff, 77, b"x"), None),
        (
            "a block in pieces",
            [
                frame(HEADERS, END_STREAM, 1, &block(&GET)[..5]),
                frame(CONTINUATION, END_HEADERS, 1, &block(&GET)[5..]),
            ]
            .concat(),
            None,
        ),
    ] {
        assert_eq!(answer(&bytes), expected, "{name}");
    }
    let mut unsettled = Side::server();
    unsettled.take(&[PREFACE, &frame(PING, 0, 0, &[0; 8])[..]].concat());
    assert_eq!(unsettled.h2.failure().unwrap().code, Code::PROTOCOL_ERROR, "SETTINGS come first");
    let mut other = Side::server();
    other.take(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(other.h2.failure().unwrap().code, Code::PROTOCOL_ERROR, "no preface");
}

#[test]
fn more_streams_than_allowed_are_refused_and_those_reset_count_within_bounds() {
    let mut server = Side::greeted();
    (0..11).for_each(|round| server.take(&get(round * 2 + 1)));
    let said = server.said();
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].0, said[0].2, &said[0].3[..]), (RST_STREAM, 21, &7u32.to_be_bytes()[..]));
    // One that the client gives up makes room for another, although somebody has it yet.
    server.take(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    server.take(&get(23));
    assert_eq!(server.opened.len(), 11);
    assert_eq!(server.h2.fault(server.opened[0]), Some(StreamFault::Reset(Code::CANCEL)));
    assert!(server.said().is_empty());
    // Not without end.
    for id in (25..2000).step_by(2) {
        server.take(&[get(id), frame(RST_STREAM, 0, id, &8u32.to_be_bytes())].concat());
    }
    assert!(server.h2.streams() <= CONFIG.streams_max as usize + RESET_STREAMS_MAX);
    assert_eq!(server.h2.failure().unwrap().flood, Some(Flood::Reset));
}

#[test]
fn who_leaves_takes_what_was_under_way() {
    let (mut client, mut server) = (Side::client(), Side::server());
    talk(&mut client, &mut server, 1000);
    let ask = |client: &mut Side| {
        client.h2.call(true, false, |block| {
            block.method(b"GET");
            block.scheme(false);
            block.authority(b"app");
            block.path(b"/");
        })
    };
    let first = ask(&mut client).unwrap();
    server.h2.leave();
    talk(&mut client, &mut server, 1000);
    assert!(!client.h2.may_call() && server.h2.has_left());
    assert_eq!((server.opened.len(), ask(&mut client)), (1, None));
    assert_eq!(client.h2.fault(first), None);
    // One that came too late is not processed, which the client knows.
    let mut late = Side::client();
    let slots = [ask(&mut late).unwrap(), ask(&mut late).unwrap()];
    late.take(&[frame(SETTINGS, 0, 0, &[]), frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])].concat());
    assert_eq!(late.h2.fault(slots[0]), None);
    assert_eq!(late.h2.fault(slots[1]), Some(StreamFault::Unprocessed));
}

#[test]
fn the_end_of_a_connection_leaves_what_was_received() {
    let mut server = Side::greeted();
    server.take(&[get(1), post(3, &[])].concat());
    server.h2.gone();
    let (whole, half) = (server.opened[0], server.opened[1]);
    assert_eq!(server.read(whole), "GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(server.h2.fault(half), Some(StreamFault::Gone));
}

#[test]
fn a_response_that_breaks_the_rules_fails_its_stream_alone() {
    let long = "x".repeat(120);
    let ok = |more: &[(&str, &str)], ended| {
        let fields = [&[(":status", "200")], more].concat();
        frame(HEADERS, END_HEADERS | if ended { END_STREAM } else { 0 }, 1, &block(&fields))
    };
    for (name, bytes) in [
        ("no status", frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("a", "b")]))),
        ("101", frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "101")]))),
        (
            "an interim response that ends",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":status", "103")])),
        ),
        ("a status of letters", frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":status", "2xx")]))),
        ("a field of the connection", ok(&[("connection", "close")], true)),
        ("content before a head", frame(DATA, END_STREAM, 1, b"x")),
        ("a length without content", ok(&[("content-length", "1")], true)),
        ("too much content", [ok(&[("content-length", "1")], false), frame(DATA, 0, 1, b"xy")].concat()),
        ("too large a head", ok(&[("a", long.as_str())].repeat(200), true)),
    ] {
        let mut client = Side::client();
        let slot = client.h2.call(true, false, |block| block.method(b"GET")).unwrap();
        client.take(&frame(SETTINGS, 0, 0, &[]));
        // A block without a bound is cut into frames here.
        let (head, payload) = bytes.split_at(9);
        if payload.len() > FRAME_BYTES_MAX as usize {
            let mut parts = payload.chunks(FRAME_BYTES_MAX as usize).peekable();
            client.take(&frame(HEADERS, END_STREAM, 1, parts.next().unwrap()));
            while let Some(part) = parts.next() {
                let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
                client.take(&frame(CONTINUATION, flags, 1, part));
            }
        } else {
            client.take(&[head, payload].concat());
        }
        assert_eq!(client.h2.fault(slot), Some(StreamFault::Broken(Code::PROTOCOL_ERROR)), "{name}");
        assert_eq!(client.read(slot), "", "{name}");
        assert_eq!(client.h2.failure(), None, "{name}");
    }
}

#[test]
fn output_is_bounded_and_goes_on_when_it_was_written() {
    let (mut client, mut server) = (Side::client(), Side::server());
    talk(&mut client, &mut server, 1000);
    client.h2.send_window = 1 << 30;
    client.h2.initial_send_window = 1 << 30;
    let call = client.h2.call(false, false, |block| block.method(b"POST")).unwrap();
    let sent = client.h2.send(call, &[0; 1_000_000], false);
    assert!(sent <= OUTPUT_BYTES_MAX && client.h2.output().len() < OUTPUT_BYTES_MAX + 1000, "{sent}");
    assert_eq!(client.h2.next_event(), None);
    client.h2.wrote(client.h2.output().len());
    assert_eq!(client.h2.next_event(), Some(Event::Changed(call)));
    // A peer that takes nothing of what it is answered is not listened to.
    let mut server = Side::greeted();
    let mut pings = 0;
    while server.h2.wants_input() {
        server.take(&frame(PING, 0, 0, &[0; 8]));
        server.h2.floods = Floods::new(0, 0);
        pings += 1;
    }
    assert!(pings * 17 >= OUTPUT_BYTES_MAX && pings * 17 <= OUTPUT_BYTES_MAX + ANSWER_BYTES_MAX + 17);
}

/// Bytes that could be a connection's.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![8 => 0u8..10, 1 => any::<u8>()];
    let one = (kind, any::<u8>(), 0u32..12, prop::collection::vec(any::<u8>(), 0..40), any::<bool>());
    prop::collection::vec(one, 1..40).prop_map(|all| {
        let frames = all.into_iter().flat_map(|(kind, flags, stream, payload, fits)| {
            let fitting = match kind {
                HEADERS if fits => [block(&GET), payload].concat(),
                PING => vec![1; 8],
                RST_STREAM | WINDOW_UPDATE => vec![0, 0, 1, 1],
                SETTINGS => vec![0, 4, 0, 1, flags, 0],
                _ => payload,
            };
            let stream = if matches!(kind, SETTINGS | PING | GOAWAY) { 0 } else { stream };
            frame(kind, flags & !(PADDED | 0x20), stream, &fitting)
        });
        frames.collect::<Vec<u8>>()
    })
}

proptest! {
    /// What comes of bytes does not depend on how they are cut, and what is promised about windows holds.
    #[test]
    fn cuts_change_nothing(bytes in frames(), cut in 1usize..50) {
        let run = |cut: usize| {
            let mut server = Side::greeted();
            bytes.chunks(cut).for_each(|piece| server.take(piece));
            let mut seen = HashMap::new();
            for slot in server.opened.clone() {
                let id = server.h2.streams[slot.index()].id;
                let text = server.read(slot);
                seen.insert(id, (text, server.h2.fault(slot)));
            }
            prop_assert!(server.h2.received().0 <= i64::from(CONFIG.connection_window_bytes));
            Ok((seen, server.said(), server.h2.failure()))
        };
        prop_assert_eq!(run(cut)?, run(usize::MAX)?);
    }
}

#[test]
fn a_body_that_its_sender_gives_up_never_looks_complete() {
    let mut server = Side::greeted();
    server.take(&post(1, &[]));
    let slot = server.opened[0];
    server.read(slot);
    server.take(&frame(DATA, END_STREAM, 1, b"all of it"));
    server.take(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    assert_eq!(server.read(slot), "", "not the end of a chunked body");
    assert!(server.h2.fault(slot).is_some());
}

#[test]
fn what_some_leave_unread_does_not_stop_those_that_read() {
    let mut server = Side::greeted();
    // Three of them fill more than half of the connection's window and read nothing.
    for stream in [1, 3, 5] {
        server.take(&post(stream, &[]));
        for _ in 0..5 {
            server.take(&frame(DATA, 0, stream, &[b'x'; 16_000]));
        }
    }
    server.take(&post(7, &[]));
    let reads = server.opened[3];
    server.said();
    let mut window = 400_000 - 3 * 5 * 16_000;
    for _ in 0..100 {
        assert!(window >= 16_000, "the connection's window stays shut");
        server.take(&frame(DATA, 0, 7, &[b'y'; 16_000]));
        window -= 16_000;
        server.read(reads);
        for (kind, _, stream, payload) in server.said() {
            if (kind, stream) == (WINDOW_UPDATE, 0) {
                window += i32::from_be_bytes(payload.try_into().unwrap());
            }
        }
    }
}

#[test]
fn who_waits_to_send_takes_turns() {
    let mut server = Side::greeted();
    for stream in [1, 3, 5] {
        server.take(&get(stream));
    }
    // Room for all that anybody has to say.
    server.take(&frame(WINDOW_UPDATE, 0, 0, &1_000_000_000u32.to_be_bytes()));
    for stream in [1, 3, 5] {
        server.take(&frame(WINDOW_UPDATE, 0, stream, &1_000_000_000u32.to_be_bytes()));
    }
    let slots = server.opened.clone();
    for &slot in &slots {
        server.h2.respond(slot, false, |block| block.status(200));
    }
    let mut sent = [0usize; 3];
    let all = vec![b'x'; 1 << 20];
    for &slot in &slots {
        server.h2.send(slot, &all, false);
    }
    for _ in 0..30 {
        let len = server.h2.output().len();
        server.h2.wrote(len);
        // Each that may try again takes all that it is given.
        while let Some(event) = server.h2.next_event() {
            if let Event::Changed(slot) = event {
                let at = slots.iter().position(|&one| one == slot).unwrap();
                sent[at] += server.h2.send(slot, &all, false);
            }
        }
    }
    assert!(sent.iter().all(|&bytes| bytes > 0), "{sent:?}");
}
