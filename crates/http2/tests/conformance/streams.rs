//! Section 5 and what goes with it: stream states, their numbers, windows, and how streams and connections end.

use weir_http2::{Code, Opened, StreamFault};

use crate::side::{Verdict::Fine, *};

const CLOSED: Code = Code::STREAM_CLOSED;

fn check(rows: &[(&str, Vec<u8>, Verdict)]) {
    for (name, bytes, expect) in rows {
        assert_eq!(to_server(bytes), *expect, "{name}");
    }
}

#[test]
fn s5_1_idle() {
    check(&[
        ("DATA", frame(DATA, 0, 1, b"x"), connection(Code::PROTOCOL_ERROR)),
        ("RST_STREAM", frame(RST_STREAM, 0, 1, &[0; 4]), connection(Code::PROTOCOL_ERROR)),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), connection(Code::PROTOCOL_ERROR)),
    ]);
    let client = |bytes: &[u8]| to_client(bytes);
    let idle = connection(Code::PROTOCOL_ERROR);
    assert_eq!(client(&respond(3, END_STREAM, &[(":status", "200")])), idle, "a response to nothing");
    assert_eq!(client(&frame(DATA, 0, 3, b"x")), idle);
    assert_eq!(client(&frame(RST_STREAM, 0, 3, &[0; 4])), idle);
    assert_eq!(client(&respond(2, END_STREAM, &[(":status", "200")])), idle, "nothing was promised");
}

#[test]
fn s5_1_half_closed_by_the_peer() {
    let ended = |more: Vec<u8>| [get(1), more].concat();
    check(&[
        ("DATA", ended(frame(DATA, 0, 1, b"x")), stream(CLOSED)),
        ("HEADERS", ended(frame(HEADERS, WHOLE, 1, &block(&[("a", "b")]))), stream(CLOSED)),
        ("WINDOW_UPDATE", ended(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])), Fine),
        ("PRIORITY", ended(frame(PRIORITY, 0, 1, &[0; 5])), Fine),
        ("RST_STREAM", ended(frame(RST_STREAM, 0, 1, &[0; 4])), Fine),
    ]);
}

/// A server whose stream 1 both sides have ended.
fn finished() -> Side {
    let mut server = Side::greeted();
    server.take(&get(1));
    let (slot, _) = server.opened[0];
    server.h2.respond(slot, true, |block| block.status(204));
    server.h2.close(slot, Code::INTERNAL_ERROR);
    assert_eq!(server.verdict(), Fine);
    server
}

#[test]
fn s5_1_closed_by_both() {
    for (name, bytes) in [("DATA", frame(DATA, 0, 1, b"x")), ("HEADERS", get(1))] {
        let mut server = finished();
        server.take(&bytes);
        let verdict = server.verdict();
        // Either is allowed: whoever knows no more of the stream cannot tell how it ended.
        assert!(verdict == stream(CLOSED) || verdict == connection(CLOSED), "{name}: {verdict:?}");
    }
    for (name, bytes) in [
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("RST_STREAM", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0; 5])),
    ] {
        let mut server = finished();
        server.take(&bytes);
        assert_eq!(server.verdict(), Fine, "{name}");
    }
}

#[test]
fn s5_1_what_was_under_way_when_a_stream_was_reset_is_ignored() {
    let mut server = Side::greeted();
    server.take(&post(1, &[]));
    let (slot, _) = server.opened[0];
    server.h2.reset(slot, Code::CANCEL);
    assert_eq!(server.verdict(), stream(Code::CANCEL));
    server.h2.close(slot, Code::CANCEL);
    for bytes in [
        frame(DATA, 0, 1, b"x"),
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        frame(HEADERS, WHOLE, 1, &block(&[("a", "b")])),
        frame(RST_STREAM, 0, 1, &[0; 4]),
    ] {
        server.take(&bytes);
        assert_eq!(server.verdict(), Fine, "{}", bytes.escape_ascii());
    }
}

/// Responses may be under way on every stream that a client has given up, however many these are.
#[test]
fn s5_1_late_responses_to_many_calls_that_were_given_up_are_ignored() {
    let (mut client, calls) = Side::calling(400);
    calls.into_iter().for_each(|slot| client.h2.close(slot, Code::CANCEL));
    client.said();
    let kept = client.call(b"GET", true);
    for id in (0..400).map(|at| 2 * at + 1) {
        client.take(&respond(id, 0, &[(":status", "200")]));
        client.take(&frame(DATA, END_STREAM, id, b"late"));
    }
    assert_eq!(client.h2.failure(), None);
    client.take(&respond(801, END_STREAM, &[(":status", "200")]));
    assert!(client.read(kept).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn s5_1_1_numbers_are_odd_and_ascend() {
    check(&[
        ("ascending", [get(1), get(3), get(9)].concat(), Fine),
        ("even", get(2), connection(Code::PROTOCOL_ERROR)),
    ]);
    // One that was passed over is closed: either code says so.
    for bytes in [[get(5), get(3)].concat(), [get(5), get(4)].concat()] {
        let verdict = to_server(&bytes);
        assert!(verdict == connection(Code::PROTOCOL_ERROR) || verdict == connection(CLOSED), "{verdict:?}");
    }
}

#[test]
fn s5_1_2_streams_beyond_the_limit_are_refused() {
    let mut server = Side::greeted();
    let max = CONFIG.streams_max;
    (0..max).for_each(|at| server.take(&get(2 * at + 1)));
    assert_eq!(server.verdict(), Fine);
    server.take(&get(2 * max + 1));
    assert_eq!(server.verdict(), Verdict::Stream(2 * max + 1, Code::REFUSED_STREAM));
    let (slot, _) = server.opened[0];
    server.h2.respond(slot, true, |block| block.status(204));
    server.h2.close(slot, Code::CANCEL);
    server.said();
    server.take(&get(2 * max + 3));
    assert_eq!((server.verdict(), server.opened.len()), (Fine, max as usize + 1));
}

#[test]
fn s5_2_windows_that_are_overrun() {
    let full = frame(DATA, 0, 1, &[0; 16_384]);
    let six = [post(1, &[]), full.repeat(6)].concat();
    let last = CONFIG.stream_window_bytes as usize - 6 * 16_384;
    check(&[
        ("all of a stream's", [&six[..], &frame(DATA, 0, 1, &vec![0; last])].concat(), Fine),
        (
            "one more",
            [&six[..], &frame(DATA, 0, 1, &vec![0; last + 1])].concat(),
            stream(Code::FLOW_CONTROL_ERROR),
        ),
        (
            "padding counts",
            [&six[..], &frame(DATA, PADDED, 1, &[&[9][..], &vec![0; last]].concat())].concat(),
            stream(Code::FLOW_CONTROL_ERROR),
        ),
    ]);
    let mut server = Side::greeted();
    for id in [1, 3, 5, 7] {
        server.take(&[post(id, &[]), frame(DATA, 0, id, &[0; 16_384]).repeat(6)].concat());
    }
    assert_eq!(server.verdict(), Fine);
    server.take(&[post(9, &[]), frame(DATA, 0, 9, &[0; 16_384])].concat());
    assert_eq!(server.verdict(), connection(Code::FLOW_CONTROL_ERROR), "the connection's");
}

#[test]
fn s5_2_content_that_is_read_opens_the_windows_again() {
    let mut server = Side::greeted();
    server.take(&[post(1, &[]), frame(DATA, 0, 1, &[0; 16_384]).repeat(6)].concat());
    assert_eq!(server.said(), [], "nobody has read");
    let (slot, _) = server.opened[0];
    while !server.read(slot).is_empty() {}
    let said = server.said();
    assert!(said.iter().any(|said| said.kind == WINDOW_UPDATE && said.stream == 1), "{said:?}");
    assert!(said.iter().all(|said| said.kind == WINDOW_UPDATE));
}

/// The payloads of what a client sends as content, by stream.
fn content(client: &mut Side) -> Vec<usize> {
    client.said().into_iter().filter(|said| said.kind == DATA).map(|said| said.payload.len()).collect()
}

#[test]
fn s6_9_1_nothing_is_sent_beyond_a_window() {
    let (mut client, _) = Side::calling(0);
    let slot = client.call(b"POST", false);
    let sent = client.h2.send(slot, &[0; 200_000], true);
    let mut written: usize = content(&mut client).into_iter().sum();
    assert_eq!(written, sent);
    let mut all = sent;
    // Room in the output, not in the window.
    loop {
        let more = client.h2.send(slot, &vec![0; 200_000 - all], true);
        let frames = content(&mut client);
        assert!(frames.iter().all(|len| *len <= 16_384));
        written += frames.into_iter().sum::<usize>();
        all += more;
        if more == 0 {
            break;
        }
    }
    assert_eq!((all, written), (65_535, 65_535));
    client.take(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 3, 232]));
    assert_eq!(client.h2.send(slot, &[0; 5000], true), 0, "the connection's window is empty");
    client.take(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 100]));
    assert_eq!(client.h2.send(slot, &[0; 5000], true), 100);
    assert_eq!(content(&mut client), [100]);
}

#[test]
fn s6_9_2_a_smaller_window_may_leave_less_than_nothing() {
    let (mut client, _) = Side::calling(0);
    let slot = client.call(b"POST", false);
    assert_eq!(client.h2.send(slot, &[0; 1000], false), 1000);
    client.take(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    assert_eq!(client.h2.send(slot, b"x", false), 0);
    client.take(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 3, 231]));
    assert_eq!(client.h2.send(slot, b"x", false), 0, "1000 are lacking, 999 have come");
    client.take(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 3]));
    assert_eq!(client.h2.send(slot, b"xyz", false), 2);
    // Content that ends nothing and has no bytes needs no window.
    assert_eq!(client.h2.send(slot, b"", true), 0);
    let said = client.said();
    assert_eq!(said.last().map(|said| (said.kind, said.flags)), Some((DATA, END_STREAM)));
}

#[test]
fn s6_9_2_a_setting_that_overflows_a_window() {
    let (mut client, _) = Side::calling(1);
    client.take(&frame(WINDOW_UPDATE, 0, 1, &0x7000_0000u32.to_be_bytes()));
    client.take(&frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    assert_eq!(client.verdict(), connection(Code::FLOW_CONTROL_ERROR));
}

#[test]
fn s5_4_1_after_a_connection_error_nothing_is_processed() {
    let mut server = Side::greeted();
    server.take(&[get(1), frame(PING, 0, 1, &[0; 8]), get(3), frame(PING, 0, 0, &[0; 8])].concat());
    let said = server.said();
    assert_eq!((said.len(), server.opened.len()), (1, 1));
    assert_eq!(said[0].payload[..4], [0, 0, 0, 1], "the last stream that was processed");
    server.take(&get(5));
    assert_eq!((server.said(), server.opened.len()), (vec![], 1));
    assert!(!server.h2.wants_input());
}

#[test]
fn s5_4_2_a_stream_error_leaves_the_others_alone() {
    let mut server = Side::greeted();
    server
        .take(&[post(1, &[]), post(3, &[]), frame(HEADERS, END_HEADERS, 1, &block(&[("a", "b")]))].concat());
    assert_eq!(server.verdict(), stream(Code::PROTOCOL_ERROR));
    server.take(&frame(DATA, END_STREAM, 3, b"hello"));
    let (slot, _) = server.opened[1];
    assert!(server.read(slot).contains("hello"));
    assert_eq!(server.h2.fault(server.opened[0].0), Some(StreamFault::Broken(Code::PROTOCOL_ERROR)));
}

#[test]
fn s6_8_a_client_knows_what_was_not_processed() {
    let (mut client, calls) = Side::calling(3);
    client.take(&frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
    assert_eq!(client.h2.fault(calls[0]), None);
    assert_eq!(client.h2.fault(calls[1]), None);
    assert_eq!(client.h2.fault(calls[2]), Some(StreamFault::Unprocessed));
    assert!(!client.h2.may_call());
    assert!(client.h2.call(true, false, |block| block.method(b"GET")).is_none());
    client.take(&respond(1, END_STREAM, &[(":status", "200")]));
    assert!(client.read(calls[0]).starts_with("HTTP/1.1 200"), "what is under way goes on");
}

#[test]
fn s8_7_a_refused_stream_may_be_tried_again() {
    let (mut client, calls) = Side::calling(2);
    client.take(&frame(RST_STREAM, 0, 1, &Code::REFUSED_STREAM.0.to_be_bytes()));
    client.take(&frame(RST_STREAM, 0, 3, &Code::CANCEL.0.to_be_bytes()));
    assert_eq!(client.h2.fault(calls[0]), Some(StreamFault::Unprocessed));
    assert_eq!(client.h2.fault(calls[1]), Some(StreamFault::Reset(Code::CANCEL)));
}

#[test]
fn s8_5_connect_is_told_apart() {
    let mut server = Side::greeted();
    server.take(&frame(
        HEADERS,
        END_HEADERS,
        1,
        &block(&[(":method", "CONNECT"), (":authority", "app:443")]),
    ));
    assert_eq!(server.opened[0].1, Opened::Connect);
}
