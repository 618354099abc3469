//! Peers that make work without doing any: closed within a bound, counted, and no harm to those beside them.

use std::time::Duration;

use weir_proxy::Reason;

use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, GET, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
    RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, frame, get, post,
};
use super::{connect, exchange, request, run};
use crate::support::{Proxy, Upstream, documents, eventually};

/// Frames of a flood: far more than any budget.
const ROUNDS: usize = 20_000;

struct Case {
    name: &'static str,
    /// The word in the metrics; empty where it is closed because it breaks a rule before it is a flood.
    counted: &'static str,
    begin: Vec<u8>,
    piece: fn(usize) -> Vec<u8>,
}

fn id(round: usize) -> u32 {
    round as u32 * 2 + 1
}

fn cases() -> Vec<Case> {
    let case = |name, counted, begin, piece| Case { name, counted, begin, piece };
    vec![
        case("84: rapid reset", "rapid_reset", vec![], |round| {
            [get(id(round)), frame(RST_STREAM, 0, id(round), &8u32.to_be_bytes())].concat()
        }),
        case("85: resets that the server is made to send", "other", vec![], |round| {
            let fields: Vec<_> = GET.into_iter().chain([("connection", &b"close"[..])]).collect();
            frame(HEADERS, END_HEADERS | END_STREAM, id(round), &block(&fields))
        }),
        case("86: CONTINUATION without an end", "continuation", frame(HEADERS, 0, 1, &block(&GET)), |_| {
            frame(CONTINUATION, 0, 1, &[])
        }),
        case("86: CONTINUATION with fields", "", frame(HEADERS, 0, 1, &block(&GET)), |_| {
            frame(CONTINUATION, 0, 1, &block(&[("x", &[b'v'; 12_000])]))
        }),
        case("88: SETTINGS", "settings", vec![], |_| frame(SETTINGS, 0, 0, &[])),
        case("88: SETTINGS with contents", "settings", vec![], |round| {
            let size = 4096 + (round as u32 % 100);
            frame(SETTINGS, 0, 0, &[&1u16.to_be_bytes()[..], &size.to_be_bytes()].concat())
        }),
        case("88: SETTINGS acknowledged without end", "", vec![], |_| frame(SETTINGS, ACK, 0, &[])),
        case("89: PING", "ping", vec![], |round| frame(PING, 0, 0, &(round as u64).to_be_bytes())),
        case("89: answers to no PING", "ping", vec![], |round| {
            frame(PING, ACK, 0, &(round as u64).to_be_bytes())
        }),
        case("90: PRIORITY", "priority", vec![], |round| frame(PRIORITY, 0, id(round), &[0, 0, 0, 0, 9])),
        case("91: empty DATA", "empty_frames", post(1, &[]), |_| frame(DATA, 0, 1, &[])),
        case("92: WINDOW_UPDATE", "window_update", vec![], |_| {
            frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())
        }),
        case("frames of no known type", "other", vec![], |_| frame(0xbe, 0, 0, b"x")),
    ]
}

/// How long another client may wait at most, on a busy machine.
const WAITS_MAX: Duration = Duration::from_secs(5);

#[test]
fn floods_are_ended_and_counted_and_hurt_nobody_else() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    run(async {
        // A connection that does what it should, beside them all.
        let healthy = connect(proxy.addr()).await;
        for Case { name, counted, begin, piece } in cases() {
            let mut raw = Raw::connect(&proxy);
            raw.send(begin);
            let flooding = tokio::task::spawn_blocking(move || raw.flood(ROUNDS, piece));
            let mut worst = Duration::ZERO;
            while !flooding.is_finished() {
                let began = std::time::Instant::now();
                let got = exchange(&healthy, request("GET", "/"), &[], None).await.unwrap();
                assert_eq!(got.status(), 200, "{name}");
                worst = worst.max(began.elapsed());
            }
            assert!(flooding.await.unwrap(), "{name}: it was let on");
            assert!(worst < WAITS_MAX, "{name}: another client waited for {worst:?}");
            if !counted.is_empty() {
                let line = format!("weir_proxy_http2_floods_total{{kind=\"{counted}\"}} ");
                let text = proxy.text();
                let count = text.lines().find_map(|found| found.strip_prefix(&line)).unwrap_or_default();
                assert!(count.parse::<u64>().unwrap_or_default() > 0, "{name} is not counted\n{text}");
            }
        }
    });
    eventually("all but the healthy one are gone", || proxy.metrics().active_connections() <= 1);
}

#[test]
fn a_client_is_told_to_calm_down() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut raw = Raw::connect(&proxy);
    let pings: Vec<u8> = (0..300u64).flat_map(|n| frame(PING, 0, 0, &n.to_be_bytes())).collect();
    raw.send(pings);
    assert_eq!(raw.until(GOAWAY).unwrap().code(), 0xb, "ENHANCE_YOUR_CALM");
}

#[test]
fn who_works_may_ping_and_update_as_much_as_that_takes() {
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut raw = Raw::connect(&proxy);
    for round in 0..2000 {
        let stream = id(round);
        raw.send(
            [
                get(stream),
                frame(PING, 0, 0, &(round as u64).to_be_bytes()),
                frame(WINDOW_UPDATE, 0, 0, &300u32.to_be_bytes()),
                frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()),
            ]
            .concat(),
        );
        assert_eq!(raw.end_of(stream), End::Whole, "round {round}");
    }
}

/// An upstream whose every response has so many bytes of content.
fn giving(bytes: usize) -> Upstream {
    Upstream::start(move |conn| {
        loop {
            conn.request()?;
            conn.ok(&vec![b'x'; bytes])?;
        }
    })
}

#[test]
fn a_download_may_be_acknowledged_in_small_pieces() {
    const BODY_BYTES: usize = 12 << 20;
    // For each, the stream and the connection are told.
    const PIECE_BYTES: usize = 2048;
    let upstream = giving(BODY_BYTES);
    let proxy = Proxy::to(&[upstream.addr]);
    let mut raw = Raw::connect(&proxy);
    raw.send(get(1));
    let (mut taken, mut owed) = (0, 0);
    let mut ended = false;
    while !ended {
        let got = raw.next().unwrap();
        assert_ne!(got.kind, GOAWAY, "{got:?} after {taken} bytes");
        if got.kind == DATA {
            taken += got.payload.len();
            owed += got.payload.len();
            ended = got.flags & END_STREAM != 0;
            let piece = u32::try_from(PIECE_BYTES).unwrap().to_be_bytes();
            let update = [frame(WINDOW_UPDATE, 0, 1, &piece), frame(WINDOW_UPDATE, 0, 0, &piece)].concat();
            raw.send(update.repeat(owed / PIECE_BYTES));
            owed %= PIECE_BYTES;
        }
    }
    assert_eq!(taken, BODY_BYTES);
}

#[test]
fn many_large_downloads_share_a_connection_to_their_end() {
    const STREAMS: usize = 80;
    const BODY_BYTES: usize = 300_000;
    let upstream = giving(BODY_BYTES);
    let proxy = Proxy::to(&[upstream.addr]);
    let mut raw = Raw::connect(&proxy);
    let enough = (1u32 << 30).to_be_bytes();
    raw.send(frame(SETTINGS, 0, 0, &[&4u16.to_be_bytes()[..], &enough].concat()));
    raw.send(frame(WINDOW_UPDATE, 0, 0, &enough));
    raw.send((0..STREAMS).flat_map(|round| get(id(round))).collect::<Vec<u8>>());
    let mut left: std::collections::BTreeMap<u32, usize> =
        (0..STREAMS).map(|round| (id(round), BODY_BYTES)).collect();
    while !left.is_empty() {
        let got = raw.next().unwrap();
        assert!(!matches!(got.kind, GOAWAY | RST_STREAM), "{got:?}, with {} streams left", left.len());
        if got.kind == DATA {
            *left.get_mut(&got.stream).unwrap() -= got.payload.len();
            if got.flags & END_STREAM != 0 {
                assert_eq!(left.remove(&got.stream), Some(0));
            }
        }
    }
}

#[test]
fn a_bomb_of_indexed_fields_is_refused_within_bounds() {
    // 87: one large field goes into the table, and a small block names it tens of thousands of times.
    let upstream = Upstream::echo();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut raw = Raw::connect(&proxy);
    let value = [b'v'; 4000];
    let mut bomb = block(&GET);
    // Literal with incremental indexing: index 62 from here on.
    bomb.extend_from_slice(&[0x40, 1, b'x', 127, 0xa1, 0x1e]);
    bomb.extend_from_slice(&value);
    bomb.extend(std::iter::repeat_n(0x80 | 62, 10_000));
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
    let end = raw.end_of(1);
    assert!(matches!(end, End::Whole | End::GoAway(_) | End::Closed), "{end:?}");
    assert!(upstream.received().is_empty());
}

#[test]
fn more_streams_than_are_allowed_are_refused() {
    let upstream = Upstream::start(|conn| {
        conn.until_closed();
        Ok(())
    });
    let proxy =
        Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| config.limits.streams_max = 10);
    let mut raw = Raw::connect(&proxy);
    let streams: Vec<u8> = (0..11).flat_map(|round| get(id(round))).collect();
    raw.send(streams);
    assert_eq!(raw.end_of(id(10)), End::Reset(7), "REFUSED_STREAM");
}

#[test]
fn a_reader_that_opens_no_window_is_given_up_in_time() {
    // 92: the response can never be handed over.
    let upstream = Upstream::start(|conn| {
        loop {
            conn.request()?;
            conn.ok(&vec![b'x'; 1_000_000])?;
        }
    });
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.stream_idle = Duration::from_millis(200);
    });
    let mut raw = Raw::connect(&proxy);
    raw.send(frame(SETTINGS, 0, 0, &[&4u16.to_be_bytes()[..], &0u32.to_be_bytes()].concat()));
    for round in 0..50 {
        raw.send(get(id(round)));
    }
    let mut open: std::collections::BTreeSet<u32> = (0..50).map(id).collect();
    while !open.is_empty() {
        // In whatever order.
        let reset = raw.until(RST_STREAM).unwrap();
        assert_eq!(reset.code(), 2, "INTERNAL_ERROR");
        assert!(open.remove(&reset.stream), "{reset:?}");
    }
    // A small response fits into what is kept, but is no more taken than a large one.
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.stream_idle = Duration::from_millis(200);
    });
    let mut raw = Raw::connect(&proxy);
    raw.send(frame(SETTINGS, 0, 0, &[&4u16.to_be_bytes()[..], &0u32.to_be_bytes()].concat()));
    raw.send(get(1));
    assert_eq!(raw.end_of(1), End::Reset(2), "INTERNAL_ERROR");
}

#[test]
fn a_body_that_stalls_is_given_up_in_time() {
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.stream_idle = Duration::from_millis(200);
    });
    let mut raw = Raw::connect(&proxy);
    raw.send([post(1, &[]), frame(DATA, 0, 1, b"some")].concat());
    let answer = raw.until(HEADERS).unwrap();
    assert_eq!(answer.stream, 1);
    assert!(upstream.received().windows(4).all(|four| four != b"0\r\n\r"), "it must not look complete");
}

#[test]
fn an_idle_connection_is_told_to_go() {
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.downstream_idle = Duration::from_millis(200);
    });
    let mut raw = Raw::connect(&proxy);
    raw.send(get(1));
    assert_eq!(raw.end_of(1), End::Whole);
    assert_eq!(raw.until(GOAWAY).unwrap().code(), 0);
    eventually("it is closed", || proxy.metrics().active_connections() == 0);
}

#[test]
fn a_client_that_says_nothing_after_the_preface_is_let_go() {
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.head_read = Duration::from_millis(200);
    });
    let mut half = proxy.client();
    half.send("PRI * HTTP/2.0\r\n\r\nS");
    assert_eq!(half.response().status, 408);
    let mut whole = Raw(proxy.client());
    whole.send(PREFACE);
    assert_eq!(whole.until(GOAWAY).unwrap().code(), 4, "SETTINGS_TIMEOUT");
    eventually("it is closed", || proxy.metrics().active_connections() == 0);
    eventually("both are counted", || proxy.metrics().refusals(Reason::SlowHead) == 2);
}

/// How long a head may take in these tests.
const HEAD_MAX: Duration = Duration::from_millis(600);

fn hurried(upstream: &Upstream) -> Proxy {
    Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| config.timeouts.head_read = HEAD_MAX)
}

#[test]
fn a_head_that_does_not_come_whole_is_given_up_in_time() {
    let upstream = Upstream::echo();
    let proxy = hurried(&upstream);
    let whole = get(3);
    for (name, begun) in [
        ("a block that goes on", frame(HEADERS, END_STREAM, 3, &block(&GET))),
        ("half a block", whole[..20].to_vec()),
        ("half a frame's header", whole[..5].to_vec()),
        ("half a PING", frame(PING, 0, 0, &[0; 8])[..10].to_vec()),
        (
            "half a continuation",
            [
                frame(HEADERS, END_STREAM, 3, &block(&GET)),
                frame(CONTINUATION, END_HEADERS, 3, b"abc")[..10].to_vec(),
            ]
            .concat(),
        ),
    ] {
        let mut raw = Raw::connect(&proxy);
        raw.send(get(1));
        assert_eq!(raw.end_of(1), End::Whole);
        let began = std::time::Instant::now();
        raw.send(begun);
        assert_eq!(raw.until(GOAWAY).unwrap().code(), 0xb, "{name}: ENHANCE_YOUR_CALM");
        assert!(began.elapsed() >= HEAD_MAX, "{name}: {:?}", began.elapsed());
        raw.0.until_any_end();
    }
    eventually("all are closed", || proxy.metrics().active_connections() == 0);
    eventually("all are counted", || proxy.metrics().refusals(Reason::SlowHead) == 5);
}

#[test]
fn what_comes_slowly_but_whole_is_served() {
    let upstream = Upstream::echo();
    let proxy = hurried(&upstream);
    let mut raw = Raw::connect(&proxy);
    // Content may take longer than heads, whatever its frame has announced.
    let data = frame(DATA, END_STREAM, 1, b"slow");
    raw.send(post(1, &[]));
    let (before, after) = data.split_at(10);
    raw.send(before);
    std::thread::sleep(3 * HEAD_MAX);
    raw.send(after);
    assert_eq!(raw.end_of(1), End::Whole);
    // Always in the middle of some frame, and never for long.
    let frames: Vec<u8> = (1..40).flat_map(|round| get(id(round))).collect();
    let began = std::time::Instant::now();
    for piece in frames.chunks(50) {
        raw.send(piece);
        std::thread::sleep(HEAD_MAX / 15);
    }
    assert!(began.elapsed() > 2 * HEAD_MAX);
    assert_eq!(raw.end_of(id(39)), End::Whole);
}

/// A gauge or a counter without labels.
fn value(proxy: &Proxy, name: &str) -> u64 {
    let text = proxy.text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("there is no {name}")).parse().unwrap()
}

#[test]
fn what_a_client_does_not_take_is_kept_within_bounds() {
    const STREAMS: usize = 250;
    const BODY_BYTES: usize = 300_000;
    const KEPT_BYTES_MAX: u64 = (1 << 20) + STREAMS as u64 * 4096;
    let upstream = Upstream::start(|conn| {
        loop {
            conn.request()?;
            conn.ok(&vec![b'x'; BODY_BYTES])?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let kept = || value(&proxy, "weir_proxy_http2_kept_bytes");
    let mut raw = Raw::connect(&proxy);
    let window =
        |bytes: u32| frame(SETTINGS, 0, 0, &[&4u16.to_be_bytes()[..], &bytes.to_be_bytes()].concat());
    raw.send(window(0));
    for round in 0..STREAMS {
        raw.send(get(id(round)));
    }
    for _ in 0..STREAMS {
        raw.until(HEADERS).unwrap();
        assert!(kept() <= KEPT_BYTES_MAX, "{}", kept());
    }
    // What there is room for is used, not more.
    eventually("as much as may be is kept", || kept() >= 1 << 20);
    assert!(kept() <= KEPT_BYTES_MAX, "{}", kept());
    // Nobody else is held up by it.
    assert_eq!(proxy.client().get("/").body.len(), BODY_BYTES);

    // One stream is taken from, while all others are not.
    let update = |stream: u32, bytes: u32| frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    raw.send(update(0, BODY_BYTES as u32));
    let last = id(STREAMS - 1);
    raw.send(update(last, BODY_BYTES as u32));
    let mut got = 0;
    while got < BODY_BYTES {
        let data = raw.until(DATA).unwrap();
        assert_eq!(data.stream, last);
        got += data.payload.len();
    }
    // Then all are, and all arrive whole.
    raw.send(window(1 << 20)).send(update(0, 1 << 30));
    let (mut open, mut got) = (STREAMS - 1, 0);
    while open > 0 {
        let data = raw.until(DATA).unwrap();
        got += data.payload.len();
        open -= usize::from(data.flags & END_STREAM != 0 && data.stream != last);
    }
    assert_eq!(got, (STREAMS - 1) * BODY_BYTES);
    eventually("nothing is kept", || kept() == 0);
}

#[test]
fn what_is_kept_for_a_client_that_goes_is_forgotten() {
    let upstream = Upstream::start(|conn| {
        loop {
            conn.request()?;
            conn.ok(&vec![b'x'; 300_000])?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let kept = || value(&proxy, "weir_proxy_http2_kept_bytes");
    let mut raw = Raw::connect(&proxy);
    raw.send(frame(SETTINGS, 0, 0, &[&4u16.to_be_bytes()[..], &0u32.to_be_bytes()].concat()));
    raw.send(get(1)).send(get(3));
    eventually("something is kept for both", || kept() > 24 * 1024);
    raw.send(frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    eventually("that of one is gone", || kept() <= 20 * 1024);
    assert!(kept() > 0, "the other's is not");
    drop(raw);
    eventually("all is gone", || kept() == 0);
}
