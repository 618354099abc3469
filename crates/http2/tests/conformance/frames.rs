//! Sections 3, 4 and 6: the preface and the frames, each by itself.

use weir_http2::{Code, PREFACE};

use crate::side::{Verdict::Fine, *};

fn check(rows: &[(&str, Vec<u8>, Verdict)]) {
    for (name, bytes, expect) in rows {
        assert_eq!(to_server(bytes), *expect, "{name}");
    }
}

#[test]
fn s3_4_a_client_begins_with_its_preface_and_settings() {
    for bytes in [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", &[0; 24]] {
        let mut server = Side::server();
        server.take(bytes);
        assert_eq!(server.verdict(), connection(Code::PROTOCOL_ERROR), "{}", bytes.escape_ascii());
    }
    for first in [frame(PING, 0, 0, &[0; 8]), get(1), frame(SETTINGS, ACK, 0, &[]), frame(0xbe, 0, 0, b"")] {
        let mut server = Side::server();
        server.take(&[PREFACE, &first[..]].concat());
        assert_eq!(server.verdict(), connection(Code::PROTOCOL_ERROR), "{}", first.escape_ascii());
    }
}

#[test]
fn s3_4_both_sides_begin_with_settings() {
    let first = |side: &mut Side| side.said()[0].clone();
    let server = first(&mut Side::server());
    assert_eq!((server.kind, server.flags, server.stream), (SETTINGS, 0, 0));
    let mut client = weir_http2::Connection::client(CONFIG, 0);
    assert!(client.output().starts_with(PREFACE));
    assert_eq!(client.output()[PREFACE.len() + 3..][..6], [SETTINGS, 0, 0, 0, 0, 0]);
    client.wrote(client.output().len());
    assert!(!client.is_settled());
}

#[test]
fn s3_4_a_preface_may_come_in_pieces() {
    let mut server = Side::server();
    for byte in [PREFACE, &frame(SETTINGS, 0, 0, &[])[..], &get(1)].concat() {
        server.take(&[byte]);
    }
    assert_eq!((server.verdict(), server.opened.len()), (Fine, 1));
}

#[test]
fn s4_1_the_reserved_bit_and_unknown_flags_are_ignored() {
    let mut reserved = get(1);
    reserved[5] |= 0x80;
    check(&[
        ("a reserved bit", reserved, Fine),
        ("flags of no meaning", frame(PING, 0xfe, 0, &[0; 8]), Fine),
        ("of SETTINGS", frame(SETTINGS, 0xfe, 0, &[]), Fine),
        ("of WINDOW_UPDATE", frame(WINDOW_UPDATE, 0xff, 0, &[0, 0, 0, 1]), Fine),
        ("of HEADERS", frame(HEADERS, WHOLE | 0x52, 1, &block(&GET)), Fine),
    ]);
}

#[test]
fn s4_2_frames_have_at_most_16_384_bytes() {
    check(&[
        ("the largest", [post(1, &[]), frame(DATA, 0, 1, &[0; 16_384])].concat(), Fine),
        (
            "one more",
            [post(1, &[]), frame(DATA, 0, 1, &[0; 16_385])].concat(),
            connection(Code::FRAME_SIZE_ERROR),
        ),
        ("HEADERS", frame(HEADERS, WHOLE, 1, &[0; 16_385]), connection(Code::FRAME_SIZE_ERROR)),
        ("of an unknown type", frame(0xbe, 0, 0, &[0; 16_385]), connection(Code::FRAME_SIZE_ERROR)),
    ]);
    // The header alone is enough to know.
    assert_eq!(to_server(&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]), connection(Code::FRAME_SIZE_ERROR));
}

#[test]
fn s4_3_a_block_that_cannot_be_decoded_ends_the_connection() {
    let bad = connection(Code::COMPRESSION_ERROR);
    check(&[
        ("an index beyond the tables", frame(HEADERS, WHOLE, 1, &[0xbe]), bad),
        ("a string without its end", frame(HEADERS, WHOLE, 1, &[0x00, 0x05, b'a']), bad),
        ("in a request that is refused", [get(3), frame(HEADERS, WHOLE, 5, &[0x80])].concat(), bad),
        ("in trailers", [post(1, &[]), frame(HEADERS, WHOLE, 1, &[0x80])].concat(), bad),
    ]);
    let (mut client, _) = Side::calling(1);
    client.take(&frame(HEADERS, WHOLE, 1, &[0x40]));
    assert_eq!(client.verdict(), bad);
}

/// What is refused, malformed or late changes the table all the same.
#[test]
fn s4_3_every_block_is_decoded() {
    let entry = |name: u8| [&[0x40, 1, name, 1, b'1'][..], &block(&GET)].concat();
    let uses = [&[0x82, 0x86, 0x84][..], &[0xbe]].concat();
    let refused: Vec<u8> = (0..CONFIG.streams_max).flat_map(|at| get(2 * at + 1)).collect();
    for (name, before, id) in [
        ("malformed: a field before the pseudo-headers", frame(HEADERS, WHOLE, 1, &entry(b'a')), 3),
        (
            "too many streams",
            [refused, frame(HEADERS, WHOLE, 21, &[&block(&GET)[..], &entry(b'a')[..5]].concat())].concat(),
            0,
        ),
        (
            "on a stream that was reset",
            [post(1, &[("te", "x")]), frame(HEADERS, WHOLE, 1, &entry(b'a')[..5])].concat(),
            3,
        ),
    ] {
        let mut server = Side::greeted();
        server.take(&before);
        server.said();
        if id == 0 {
            // Room for another.
            let (slot, _) = server.opened[0];
            server.h2.close(slot, Code::CANCEL);
        }
        let id = if id == 0 { 23 } else { id };
        server.take(&frame(HEADERS, WHOLE, id, &uses));
        let (slot, _) = *server.opened.last().expect(name);
        assert!(server.read(slot).contains("\r\na: 1\r\n"), "{name}");
    }
}

#[test]
fn s4_3_nothing_comes_between_the_frames_of_a_block() {
    let begun = frame(HEADERS, END_STREAM, 1, &block(&GET)[..3]);
    let rest = &block(&GET)[3..];
    let broken = connection(Code::PROTOCOL_ERROR);
    let after = |between: &[u8]| [&begun, between, &frame(CONTINUATION, END_HEADERS, 1, rest)].concat();
    check(&[
        ("nothing", after(&[]), Fine),
        ("an empty CONTINUATION", after(&frame(CONTINUATION, 0, 1, &[])), Fine),
        ("DATA", after(&frame(DATA, 0, 1, &[])), broken),
        ("HEADERS of another", after(&get(3)), broken),
        ("PRIORITY", after(&frame(PRIORITY, 0, 1, &[0; 5])), broken),
        ("PING", after(&frame(PING, 0, 0, &[0; 8])), broken),
        ("SETTINGS", after(&frame(SETTINGS, 0, 0, &[])), broken),
        ("RST_STREAM", after(&frame(RST_STREAM, 0, 1, &[0; 4])), broken),
        ("WINDOW_UPDATE", after(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])), broken),
        ("an unknown type", after(&frame(0xbe, 0, 1, &[])), broken),
        ("CONTINUATION of another", after(&frame(CONTINUATION, 0, 3, &[])), broken),
    ]);
}

#[test]
fn s5_5_unknown_types_are_ignored() {
    check(&[
        ("on the connection", frame(0x77, 0, 0, b"anything"), Fine),
        (
            "on a stream",
            [post(1, &[]), frame(0x77, 0xff, 1, b"x"), frame(DATA, END_STREAM, 1, b"")].concat(),
            Fine,
        ),
        ("on an idle one", frame(0x77, 0, 9, b"x"), Fine),
    ]);
    let unknown = frame(SETTINGS, 0, 0, &[0xff, 0xff, 0, 0, 0, 9]);
    check(&[("a setting that nobody knows", unknown, Fine)]);
}

#[test]
fn s6_1_data() {
    let open = |more: Vec<u8>| [post(1, &[]), more].concat();
    check(&[
        ("on stream 0", frame(DATA, 0, 0, b"x"), connection(Code::PROTOCOL_ERROR)),
        ("padded", open(frame(DATA, PADDED, 1, &[2, b'x', 0, 0])), Fine),
        ("nothing but padding", open(frame(DATA, PADDED, 1, &[2, 0, 0])), Fine),
        (
            "as much padding as payload",
            open(frame(DATA, PADDED, 1, &[3, 0, 0])),
            connection(Code::PROTOCOL_ERROR),
        ),
        (
            "no room for the padding's length",
            open(frame(DATA, PADDED, 1, &[])),
            connection(Code::FRAME_SIZE_ERROR),
        ),
    ]);
    let mut server = Side::greeted();
    server.take(&[post(1, &[]), frame(DATA, PADDED | END_STREAM, 1, &[2, b'x', b'y', 9, 9])].concat());
    let text = server.opened[0].0;
    assert!(server.read(text).ends_with("\r\n\r\n2\r\nxy\r\n0\r\n\r\n"), "padding is no content");
}

#[test]
fn s6_2_headers() {
    let fields = block(&GET);
    let with = |before: &[u8], after: &[u8]| [before, &fields, after].concat();
    let all = PADDED | WITH_PRIORITY | WHOLE;
    check(&[
        ("on stream 0", frame(HEADERS, WHOLE, 0, &fields), connection(Code::PROTOCOL_ERROR)),
        ("padded", frame(HEADERS, PADDED | WHOLE, 1, &with(&[2], &[0, 0])), Fine),
        ("with priority", frame(HEADERS, WITH_PRIORITY | WHOLE, 1, &with(&[0, 0, 0, 0, 15], &[])), Fine),
        ("with both", frame(HEADERS, all, 1, &with(&[1, 0x80, 0, 0, 7, 15], &[0])), Fine),
        (
            "too much padding",
            frame(HEADERS, PADDED | WHOLE, 1, &[3, 0x82, 0]),
            connection(Code::PROTOCOL_ERROR),
        ),
        (
            "padding and priority",
            frame(HEADERS, all, 1, &[1, 0, 0, 0, 0, 0]),
            connection(Code::PROTOCOL_ERROR),
        ),
        ("no room for padding", frame(HEADERS, PADDED | WHOLE, 1, &[]), connection(Code::FRAME_SIZE_ERROR)),
        (
            "no room for priority",
            frame(HEADERS, WITH_PRIORITY | WHOLE, 1, &[0; 4]),
            connection(Code::FRAME_SIZE_ERROR),
        ),
    ]);
}

#[test]
fn s6_3_priority_says_nothing_any_more() {
    check(&[
        ("on an idle stream", frame(PRIORITY, 0, 9, &[0; 5]), Fine),
        (
            "on a stream that depends on itself",
            [post(1, &[]), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0])].concat(),
            Fine,
        ),
        ("on a closed one", [get(1), frame(PRIORITY, 0, 1, &[0; 5])].concat(), Fine),
        ("on stream 0", frame(PRIORITY, 0, 0, &[0; 5]), connection(Code::PROTOCOL_ERROR)),
        (
            "of a wrong size",
            [post(1, &[]), frame(PRIORITY, 0, 1, &[0; 6])].concat(),
            stream(Code::FRAME_SIZE_ERROR),
        ),
    ]);
}

/// RST_STREAM must not be sent on an idle stream (section 6.4), so what is wrong there is the connection's end.
#[test]
fn s6_4_no_idle_stream_is_reset() {
    for (name, bytes) in [
        ("PRIORITY of a wrong size", frame(PRIORITY, 0, 5, &[0; 4])),
        ("an increment of 0", frame(WINDOW_UPDATE, 0, 5, &[0; 4])),
    ] {
        let verdict = to_server(&bytes);
        assert!(matches!(verdict, Verdict::Connection(_)), "{name}: {verdict:?}");
    }
}

#[test]
fn s6_4_rst_stream() {
    check(&[
        ("on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), connection(Code::PROTOCOL_ERROR)),
        ("on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), connection(Code::PROTOCOL_ERROR)),
        (
            "of a wrong size",
            [post(1, &[]), frame(RST_STREAM, 0, 1, &[0; 5])].concat(),
            connection(Code::FRAME_SIZE_ERROR),
        ),
        ("twice", [post(1, &[]), frame(RST_STREAM, 0, 1, &[0; 4]).repeat(2)].concat(), Fine),
        ("with a code that nobody knows", [post(1, &[]), frame(RST_STREAM, 0, 1, &[0xff; 4])].concat(), Fine),
    ]);
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

#[test]
fn s6_5_settings() {
    check(&[
        ("none", frame(SETTINGS, 0, 0, &[]), Fine),
        ("on a stream", frame(SETTINGS, 0, 1, &[]), connection(Code::PROTOCOL_ERROR)),
        (
            "an acknowledgement with a payload",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            connection(Code::FRAME_SIZE_ERROR),
        ),
        (
            "a size that is no multiple of 6",
            frame(SETTINGS, 0, 0, &[0; 7]),
            connection(Code::FRAME_SIZE_ERROR),
        ),
        ("ENABLE_PUSH 0", setting(2, 0), Fine),
        ("ENABLE_PUSH 1", setting(2, 1), Fine),
        ("ENABLE_PUSH 2", setting(2, 2), connection(Code::PROTOCOL_ERROR)),
        ("MAX_CONCURRENT_STREAMS 0", setting(3, 0), Fine),
        ("the largest window", setting(4, (1 << 31) - 1), Fine),
        ("a larger one", setting(4, 1 << 31), connection(Code::FLOW_CONTROL_ERROR)),
        ("the least frame size", setting(5, 1 << 14), Fine),
        ("less", setting(5, (1 << 14) - 1), connection(Code::PROTOCOL_ERROR)),
        ("the largest frame size", setting(5, (1 << 24) - 1), Fine),
        ("more", setting(5, 1 << 24), connection(Code::PROTOCOL_ERROR)),
        ("MAX_HEADER_LIST_SIZE 0", setting(6, 0), Fine),
        ("HEADER_TABLE_SIZE", setting(1, u32::MAX), Fine),
    ]);
    assert_eq!(to_client(&setting(2, 1)), connection(Code::PROTOCOL_ERROR), "only a client may allow pushes");
    assert_eq!(to_client(&setting(2, 0)), Fine);
}

#[test]
fn s6_5_3_settings_are_acknowledged_in_order() {
    let mut server = Side::greeted();
    server.take(&[frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, b"between."), setting(4, 70_000)].concat());
    let kinds: Vec<(u8, u8)> = server.said().into_iter().map(|said| (said.kind, said.flags)).collect();
    assert_eq!(kinds, [(SETTINGS, ACK), (PING, ACK), (SETTINGS, ACK)]);
    server.take(&frame(SETTINGS, ACK, 0, &[]));
    assert_eq!((server.verdict(), server.said()), (Fine, vec![]), "an acknowledgement has no answer");
}

#[test]
fn s6_6_pushes_are_not_taken() {
    let promise = [&[0, 0, 0, 2][..], &block(&GET)].concat();
    check(&[(
        "a client's",
        [post(1, &[]), frame(PUSH_PROMISE, END_HEADERS, 1, &promise)].concat(),
        connection(Code::PROTOCOL_ERROR),
    )]);
    assert_eq!(to_client(&frame(PUSH_PROMISE, END_HEADERS, 1, &promise)), connection(Code::PROTOCOL_ERROR));
}

#[test]
fn s6_7_ping() {
    let mut server = Side::greeted();
    server.take(&frame(PING, 0, 0, b"01234567"));
    let said = server.said();
    assert_eq!(said, [Said { kind: PING, flags: ACK, stream: 0, payload: b"01234567".to_vec() }]);
    server.take(&frame(PING, ACK, 0, b"01234567"));
    assert_eq!(server.said(), [], "an answer has no answer");
    check(&[
        ("on a stream", frame(PING, 0, 1, &[0; 8]), connection(Code::PROTOCOL_ERROR)),
        ("of a wrong size", frame(PING, 0, 0, &[0; 7]), connection(Code::FRAME_SIZE_ERROR)),
        ("an answer of a wrong size", frame(PING, ACK, 0, &[0; 9]), connection(Code::FRAME_SIZE_ERROR)),
    ]);
}

#[test]
fn s6_8_goaway() {
    check(&[
        ("on a stream", frame(GOAWAY, 0, 1, &[0; 8]), connection(Code::PROTOCOL_ERROR)),
        ("of a wrong size", frame(GOAWAY, 0, 0, &[0; 7]), connection(Code::FRAME_SIZE_ERROR)),
        ("with words", frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0goodbye"), Fine),
        (
            "and what is under way goes on",
            [post(1, &[]), frame(GOAWAY, 0, 0, &[0; 8]), frame(DATA, END_STREAM, 1, b"x")].concat(),
            Fine,
        ),
    ]);
}

#[test]
fn s6_9_window_update() {
    let increment = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    check(&[
        ("of a wrong size", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), connection(Code::FRAME_SIZE_ERROR)),
        ("by nothing", increment(0, 0), connection(Code::PROTOCOL_ERROR)),
        ("by nothing, of a stream", [post(1, &[]), increment(1, 0)].concat(), stream(Code::PROTOCOL_ERROR)),
        ("with the reserved bit", increment(0, 0x8000_0001), Fine),
        ("of an idle stream", increment(1, 1), connection(Code::PROTOCOL_ERROR)),
        ("of one that the peer has ended", [get(1), increment(1, 1)].concat(), Fine),
        ("to the largest window", increment(0, 0x7fff_ffff - 65_535), Fine),
        ("beyond it", increment(0, 0x7fff_ffff - 65_534), connection(Code::FLOW_CONTROL_ERROR)),
        ("of a stream", [post(1, &[]), increment(1, 0x7fff_ffff - 65_535)].concat(), Fine),
        (
            "of a stream, beyond",
            [post(1, &[]), increment(1, 0x7fff_ffff - 65_534)].concat(),
            stream(Code::FLOW_CONTROL_ERROR),
        ),
    ]);
}

#[test]
fn s6_10_continuation() {
    let whole = frame(HEADERS, WHOLE, 1, &block(&GET));
    check(&[
        ("without HEADERS", frame(CONTINUATION, END_HEADERS, 1, &[]), connection(Code::PROTOCOL_ERROR)),
        ("on stream 0", frame(CONTINUATION, END_HEADERS, 0, &[]), connection(Code::PROTOCOL_ERROR)),
        (
            "behind END_HEADERS",
            [whole, frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
            connection(Code::PROTOCOL_ERROR),
        ),
        (
            "behind DATA",
            [post(1, &[]), frame(DATA, 0, 1, b"x"), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
            connection(Code::PROTOCOL_ERROR),
        ),
        (
            "behind CONTINUATION that has ended it",
            [frame(HEADERS, END_STREAM, 1, &block(&GET)), frame(CONTINUATION, END_HEADERS, 1, &[]).repeat(2)]
                .concat(),
            connection(Code::PROTOCOL_ERROR),
        ),
    ]);
}
