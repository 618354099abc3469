//! Clients that never stand still and never come to an end either.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use weir_proxy::{ProxyConfig, Reason};

use crate::support::{Client, Proxy, Upstream, documents, eventually};

/// For how long the proxy demands nothing but that something moves; longer than a busy machine stands still.
const GIVEN: Duration = Duration::from_secs(2);

/// A proxy that gives clients that time, and then demands so many bytes per second.
fn impatient(upstream: &Upstream, rate_min: u64) -> Proxy {
    let configure = |config: &mut ProxyConfig| {
        config.timeouts.stream_idle = GIVEN;
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
    drip(&mut client, b"x", 999);
    let response = client.response();
    assert_eq!((response.status, response.field("x-weir-reason")), (408, Some("slow_body")));
    assert!(begun.elapsed() >= GIVEN, "{:?}", begun.elapsed());
    assert!(client.is_closed());
}

#[test]
fn a_body_that_is_slow_but_fast_enough_is_served() {
    let upstream = Upstream::echo();
    let proxy = impatient(&upstream, 100);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 6000\r\n\r\n");
    // Twenty times what is demanded, on a machine that keeps the pace.
    drip(&mut client, &[b'x'; 100], 60);
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_call_of_grpc_may_take_its_time() {
    let upstream = Upstream::echo();
    let proxy = impatient(&upstream, 1000);
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: app\r\nContent-Type: application/grpc+proto\r\nContent-Length: 60\r\n\r\n",
    );
    // It takes longer than what is given, and then is less than what is demanded.
    drip(&mut client, b"x", 60);
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
    // Between what the two read: 1.25 MiB per second, and as fast as a busy machine can.
    let proxy = impatient(&upstream, 4 * 1024 * 1024);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    let (mut read, mut piece) = (0, vec![0; 64 * 1024]);
    let begun = Instant::now();
    loop {
        // Never as long as that without a read.
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
    eventually("it is given up", || proxy.metrics().active_connections() == 0);
}
