//! Bodies, slow peers, ends, and bytes that are no TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Authority, Stream, secure_documents};
use crate::support::{Client, Gate, PATIENCE, Proxy, Upstream, eventually};

fn secure(upstream: &Upstream) -> (Authority, Proxy) {
    secure_with(upstream, |_| {})
}

fn secure_with(
    upstream: &Upstream,
    configure: impl FnOnce(&mut weir_proxy::ProxyConfig),
) -> (Authority, Proxy) {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let documents = secure_documents(&authority, &[("", &["app"])], &[upstream.addr]);
    (authority, Proxy::gateway_with(&documents, configure))
}

fn client(authority: &Authority, proxy: &Proxy) -> Client<Stream> {
    authority.trusting().connect(proxy.addr(), "app").unwrap()
}

/// Bytes that are all different from their neighbours.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let upstream = Upstream::start(|conn| {
        loop {
            let request = conn.request()?;
            conn.ok(&request.body)?;
        }
    });
    let (authority, proxy) = secure(&upstream);
    let mut client = client(&authority, &proxy);
    for len in [1, 100, 16_383, 16_384, 16_385, 100_000, 1 << 20, 5_000_000] {
        let body = content(len);
        let (mut reader, head) =
            (body.as_slice(), format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {len}\r\n\r\n"));
        client.send(head);
        while !reader.is_empty() {
            // Records of all sizes.
            let n = reader.len().min(1 + (reader.len() * 7919) % 40_000);
            client.send(&reader[..n]);
            reader = &reader[n..];
        }
        let response = client.response();
        assert_eq!(response.status, 200);
        assert!(response.body == body, "{len}");
    }
}

#[test]
fn chunks_and_trailers_pass() {
    let upstream = Upstream::start(|conn| {
        loop {
            let request = conn.request()?;
            conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n")?;
            for piece in request.body.chunks(3000) {
                conn.write(format!("{:x}\r\n", piece.len()))?;
                conn.write(piece)?;
                conn.write("\r\n")?;
            }
            conn.write("0\r\nx-sum: 1\r\n\r\n")?;
        }
    });
    let (authority, proxy) = secure(&upstream);
    let mut client = client(&authority, &proxy);
    let body = content(200_000);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(7000) {
        client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    client.send("0\r\n\r\n");
    let response = client.response();
    assert!(response.body == body);
    assert_eq!(response.trailers, ["x-sum: 1"]);
}

#[test]
fn a_slow_reader_gets_everything_and_holds_little() {
    let body = content(40 << 20);
    let expected = body.clone();
    let upstream = Upstream::start(move |conn| {
        loop {
            conn.request()?;
            conn.ok(&body)?;
        }
    });
    let (authority, proxy) = secure(&upstream);
    let mut client = client(&authority, &proxy);
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // Long enough for the kernel's buffers to be full.
    let stood_still = || proxy.text();
    let mut before = String::new();
    eventually("nothing moves", || {
        let now: String =
            stood_still().lines().filter(|line| line.starts_with("weir_proxy_sent_bytes_total")).collect();
        let same = now == before;
        before = now;
        same
    });
    let got = client.until_end().unwrap();
    assert!(got == expected, "{} of {}", got.len(), expected.len());
}

#[test]
fn a_body_that_only_the_end_delimits_is_ended_by_close_notify_or_not_at_all() {
    let gate = Gate::new();
    let may_end = gate.clone();
    let upstream = Upstream::start(move |conn| {
        let head = conn.head()?;
        conn.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome of it")?;
        may_end.wait();
        if head.starts_with("GET /cut") {
            conn.reset();
        }
        Ok(())
    });
    let (authority, proxy) = secure(&upstream);
    for (path, whole) in [("/whole", true), ("/cut", false)] {
        let mut client = client(&authority, &proxy);
        // HTTP/1.0 knows no chunks.
        client.send(format!("GET {path} HTTP/1.0\r\nHost: app\r\n\r\n"));
        assert!(client.head().unwrap().starts_with("HTTP/1.1 200"));
        assert_eq!(client.exactly(10).unwrap(), b"some of it");
        gate.open();
        // rustls gives an error where the connection ends without a close_notify.
        assert_eq!(client.until_end().is_ok(), whole, "{path}");
    }
}

#[test]
fn an_upload_that_is_cut_off_is_never_complete() {
    let upstream = Upstream::start(|conn| {
        let _ = conn.request();
        conn.record("END");
        conn.ok(b"")
    });
    let (authority, proxy) = secure(&upstream);
    let mut client = client(&authority, &proxy);
    client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    eventually("it has begun", || upstream.received().ends_with(b"hello\r\n"));
    client.stream.sock.shutdown(Shutdown::Both).unwrap();
    eventually("it has ended", || upstream.received().ends_with(b"END"));
    assert!(!upstream.received().ends_with(b"0\r\n\r\nEND"));
}

#[test]
fn keys_may_be_changed_at_any_time() {
    let upstream = Upstream::echo();
    let (authority, proxy) = secure(&upstream);
    let mut client = client(&authority, &proxy);
    for i in 0..10 {
        client.stream.conn.refresh_traffic_keys().unwrap();
        assert_eq!(client.get(&format!("/{i}")).status, 200);
    }
}

#[test]
fn a_connection_is_ended_with_a_close_notify() {
    let upstream = Upstream::echo();
    let (authority, proxy) = secure_with(&upstream, |config| {
        config.timeouts.downstream_idle = Duration::from_millis(200);
    });
    let mut idle = client(&authority, &proxy);
    assert_eq!(idle.get("/").status, 200);
    assert_eq!(idle.until_end().unwrap(), b"", "after idling");
    let mut last = client(&authority, &proxy);
    last.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
    assert_eq!(last.response().status, 200);
    assert_eq!(last.until_end().unwrap(), b"", "after the last response");
    let mut bad = client(&authority, &proxy);
    bad.send("GARBAGE\r\n\r\n");
    assert_eq!(bad.response().status, 400);
    assert_eq!(bad.until_end().unwrap(), b"", "after a refusal");
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let upstream = Upstream::echo();
    let (authority, proxy) = secure(&upstream);
    let mut client = client(&authority, &proxy);
    let ahead: String = (0..200).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: app\r\n\r\n")).collect();
    client.send(ahead);
    for i in 0..200 {
        assert!(client.response().text().starts_with(&format!("GET /{i} ")));
    }
}

#[test]
fn tunnels_pass_over_tls() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")?;
        loop {
            let some = conn.exactly(1)?;
            conn.write(some)?;
        }
    });
    let (authority, proxy) = secure(&upstream);
    let mut client = client(&authority, &proxy);
    client.send("GET / HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.response().status, 101);
    for round in 0..20 {
        let said = content(round * 1000 + 1);
        client.send(&said);
        assert!(client.exactly(said.len()).unwrap() == said);
    }
}

#[test]
fn a_slow_handshake_is_over_in_time() {
    let upstream = Upstream::echo();
    let (_authority, proxy) = secure_with(&upstream, |config| {
        config.timeouts.handshake = Duration::from_millis(300);
    });
    let hello = client_hello();
    let mut all: Vec<_> = [0, 1, 5, hello.len() / 2, hello.len()]
        .into_iter()
        .map(|sent| {
            let mut socket = TcpStream::connect(proxy.addr()).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.write_all(&hello[..sent]).unwrap();
            socket
        })
        .collect();
    let begun = Instant::now();
    for socket in &mut all {
        // A server's flight may come before the end.
        let _ = socket.read_to_end(&mut Vec::new());
    }
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    let row = "weir_proxy_tls_handshake_failures_total{side=\"client\",reason=\"timeout\"} 5";
    eventually("all are counted", || proxy.text().contains(row));
    eventually("all are gone", || proxy.metrics().active_connections() == 0);
}

#[test]
fn what_is_no_tls_is_told_so() {
    let upstream = Upstream::echo();
    let (authority, proxy) = secure(&upstream);
    let mut socket = TcpStream::connect(proxy.addr()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = socket.read_to_end(&mut said);
    assert_eq!(said, [21, 3, 3, 0, 2, 2, 50], "an alert");
    let row = "weir_proxy_tls_handshake_failures_total{side=\"client\",reason=\"not_tls\"} 1";
    eventually("it is counted", || proxy.text().contains(row));
    assert_eq!(client(&authority, &proxy).get("/").status, 200);
}

/// The first bytes that a client sends.
fn client_hello() -> Vec<u8> {
    let config = Authority::new().trusting().config();
    let name = rustls::pki_types::ServerName::try_from("app").unwrap();
    let mut session = rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn garbage_neither_harms_nor_stays() {
    let upstream = Upstream::echo();
    let (authority, proxy) = secure_with(&upstream, |config| {
        config.timeouts.handshake = Duration::from_secs(2);
    });
    let hello = client_hello();
    let seed = rand::random();
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut fine = client(&authority, &proxy);
    for round in 0..300 {
        let mut bytes = hello.clone();
        match round % 4 {
            // Noise from the start.
            0 => bytes = (0..rng.random_range(1..3000)).map(|_| rng.random()).collect(),
            // A good beginning, then noise.
            1 => bytes.extend((0..rng.random_range(1..3000)).map(|_| rng.random::<u8>())),
            // A hello with some bytes changed.
            2 => {
                for _ in 0..rng.random_range(1..4) {
                    let at = rng.random_range(0..bytes.len());
                    bytes[at] = rng.random();
                }
            }
            // Records of random types and lengths.
            _ => {
                for _ in 0..rng.random_range(1..20) {
                    let len: u16 = rng.random_range(0..2000);
                    bytes.extend([rng.random_range(19..25), 3, 3]);
                    bytes.extend(len.to_be_bytes());
                    bytes.extend((0..len).map(|_| rng.random::<u8>()));
                }
            }
        }
        let mut socket = TcpStream::connect(proxy.addr()).unwrap();
        let _ = socket.write_all(&bytes);
        if round % 3 == 0 {
            let _ = socket.shutdown(Shutdown::Write);
        }
        if round % 10 == 0 {
            assert_eq!(fine.get("/").status, 200, "seed {seed}, round {round}");
        }
    }
    eventually("only the good one is left", || proxy.metrics().active_connections() == 1);
    assert_eq!(fine.get("/").status, 200, "seed {seed}");
}

#[test]
fn garbage_after_the_handshake_ends_the_connection() {
    let upstream = Upstream::echo();
    let (authority, proxy) = secure(&upstream);
    let mut client = client(&authority, &proxy);
    assert_eq!(client.get("/").status, 200);
    client.stream.sock.write_all(&[23, 3, 3, 0, 32]).unwrap();
    client.stream.sock.write_all(&[7; 32]).unwrap();
    // An alert, which rustls gives as an error.
    assert!(client.until_end().is_err());
    eventually("it is gone", || proxy.metrics().active_connections() == 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// However the bytes of a request are cut into records, and those into packets.
    #[test]
    fn records_may_be_cut_anywhere(cuts in proptest::collection::vec(1..40usize, 1..30), len in 0..3000usize) {
        let upstream = Upstream::echo();
        let (authority, proxy) = secure(&upstream);
        let mut client = client(&authority, &proxy);
        let body = content(len);
        let request = [format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {len}\r\n\r\n").as_bytes(), &body].concat();
        let mut rest = &request[..];
        let mut wire = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let n = rest.len().min(*cut * 17);
            client.stream.conn.writer().write_all(&rest[..n]).unwrap();
            client.stream.conn.write_tls(&mut wire).unwrap();
            rest = &rest[n..];
        }
        for piece in wire.chunks(cuts[0] * 13) {
            client.stream.sock.write_all(piece).unwrap();
        }
        let response = client.response();
        prop_assert_eq!(response.status, 200);
        prop_assert!(response.body.ends_with(&body));
    }
}
