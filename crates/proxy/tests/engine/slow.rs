//! Clients that never stand still and never come to an end either.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use weir_proxy::{ProxyConfig, Reason};

use crate::support::{Client, Proxy, Upstream, documents, eventually};

/// A proxy that gives clients half a second, and then demands so many bytes per second.
fn impatient(upstream: &Upstream, rate_min: u64) -> Proxy {
    let configure = |config: &mut ProxyConfig| {
        config.timeouts.stream_idle = Duration::from_millis(500);
        config.limits.body_rate_min = rate_min;
    };
    Proxy::gateway_with(&documents(&[upstream.addr], ""), configure)
}

/// Sends so many pieces at this pace, or fewer if the proxy will not have them.
fn drip(client: &mut Client, piece: &[u8], times: usize) {
    client.stream.set_nonblocking(true).unwrap();
    for _ in 0..times {
        // The pace is what the test is about.
        std::thread::sleep(Duration::from_millis(50));
        let answered = !matches!(client.stream.peek(&mut [0]), Err(fault) if fault.kind() == std::io::ErrorKind::WouldBlock);
        if answered || client.stream.write_all(piece).is_err() {
            break;
        }
    }
    client.stream.set_nonblocking(false).unwrap();
}

#[test]
fn a_body_that_drips_is_given_up() {
    let upstream = Upstream::echo();
    let proxy = impatient(&upstream, 1000);
    let mut client = proxy.client();
    let begun = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1000\r\n\r\n");
    drip(&mut client, b"x", 100);
    let response = client.response();
    assert_eq!((response.status, response.field("x-weir-reason")), (408, Some("slow_body")));
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(client.is_closed());
}

#[test]
fn a_body_that_is_slow_but_fast_enough_is_served() {
    let upstream = Upstream::echo();
    let proxy = impatient(&upstream, 1000);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3000\r\n\r\n");
    // Twice what is demanded.
    drip(&mut client, &[b'x'; 100], 30);
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_call_of_grpc_may_take_its_time() {
    let upstream = Upstream::echo();
    let proxy = impatient(&upstream, 1000);
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: app\r\nContent-Type: application/grpc+proto\r\nContent-Length: 30\r\n\r\n",
    );
    drip(&mut client, b"x", 30);
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_reader_that_sips_is_given_up() {
    const BODY_BYTES: usize = 64 * 1024 * 1024;
    let upstream = Upstream::start(|conn| {
        conn.request()?;
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n"))?;
        let piece = [0; 64 * 1024];
        (0..BODY_BYTES / piece.len()).try_for_each(|_| conn.write(piece))
    });
    let proxy = impatient(&upstream, 64 * 1024 * 1024);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let (mut read, mut piece) = (0, vec![0; 256 * 1024]);
    let begun = Instant::now();
    loop {
        // Never half a second without a read.
        std::thread::sleep(Duration::from_millis(50));
        match client.stream.read(&mut piece) {
            Ok(n) if n > 0 => read += n,
            _ => break,
        }
    }
    assert!(read < BODY_BYTES, "it was let read to the end, in {:?}", begun.elapsed());
    eventually("it counts as cut off", || proxy.metrics().active_connections() == 0);

    // As much, read as fast as it comes.
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(client.response().body.len(), BODY_BYTES);
    assert_eq!(proxy.metrics().refusals(Reason::SlowBody), 0);
}

#[test]
fn a_reader_that_does_not_read_is_given_up() {
    let upstream = Upstream::start(|conn| {
        conn.request()?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")?;
        loop {
            conn.write([0; 64 * 1024])?;
        }
    });
    let proxy = impatient(&upstream, 0);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("it is there", || proxy.metrics().active_connections() == 1);
    let begun = Instant::now();
    eventually("it is given up", || proxy.metrics().active_connections() == 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
