//! Upstreams that close idle connections: learnt, so that no request is on its way when they do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::support::{Client, Proxy, documents, eventually};

/// The least time that the upstream keeps an idle connection, and the most.
const PATIENCE_MS: std::ops::Range<u64> = 600..900;
/// How long a client waits before its next request.
const GAP_MS: std::ops::Range<u64> = 0..1200;
/// Requests after which the upstream's patience must be known.
const LESSONS_MAX: usize = 100;
/// The time for which a request that comes too late finds the connection open and nobody at its other end: what a
/// network between the two makes of it.
const LATE: Duration = Duration::from_millis(80);
/// Requests of each client once the patience is known.
const AFTER: usize = 16;
/// How many of all of these may fail, where a busy machine wakes somebody too late. One in fifteen would, were nothing known.
const UNLUCKY_MAX: usize = 2;

/// Numbers that look random, from a seed.
fn scattered(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

fn within(seed: &mut u64, range: &std::ops::Range<u64>) -> Duration {
    Duration::from_millis(range.start + scattered(seed) % (range.end - range.start))
}

/// An upstream that answers each request and closes connections that are idle.
fn impatient(field: &'static str, patience_ms: std::ops::Range<u64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let patience = within(&mut (number as u64 * 7919), &patience_ms);
            std::thread::spawn(move || answer_until_idle(stream, field, patience));
        }
    });
    addr
}

fn answer_until_idle(mut stream: TcpStream, field: &str, patience: Duration) -> Option<()> {
    stream.set_read_timeout(Some(patience)).ok()?;
    let (mut buf, mut held) = ([0; 4096], Vec::new());
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return None,
            Ok(n) => held.extend_from_slice(&buf[..n]),
            Err(_) => {
                std::thread::sleep(LATE);
                return None;
            }
        }
        // Each request ends with its body, and the body with this.
        if held.ends_with(b"over") {
            held.clear();
            let answer = format!("HTTP/1.1 200 OK\r\n{field}content-length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).ok()?;
        }
    }
}

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nover";

/// A client that POSTs at random times.
struct Poster {
    addr: SocketAddr,
    seed: u64,
    client: Option<Client>,
}

impl Poster {
    /// Gives whether it was answered.
    fn post(&mut self) -> bool {
        // Not waiting for anything: how long a connection is idle is what the test is about.
        std::thread::sleep(within(&mut self.seed, &GAP_MS));
        let open = self.client.get_or_insert_with(|| Client::connect(self.addr));
        let answer = open.try_send(POST).and_then(|()| open.try_response(false));
        let answered = answer.is_ok_and(|response| response.status == 200);
        if !answered {
            self.client = None;
        }
        answered
    }
}

/// One client, so that its idle time is its connection's. Gives how many POSTs it took to learn, and how many of them
/// failed; and how many failed of those that followed.
fn learn_and_go_on(seed: u64) -> (usize, usize, usize) {
    let proxy = Proxy::gateway(&documents(&[impatient("", PATIENCE_MS)], ""));
    let limit_ms = || proxy.shared.snapshot.load().upstreams()[0].endpoints[0].state.idle_limit_ms();
    let mut poster = Poster { addr: proxy.addr(), seed, client: None };
    let (mut sent, mut failed) = (0, 0);
    while limit_ms() >= PATIENCE_MS.start {
        assert!(sent < LESSONS_MAX, "its patience is not known after {sent} requests");
        sent += 1;
        failed += usize::from(!poster.post());
    }
    assert!(limit_ms() > 200, "connections are still used again: {}", limit_ms());
    let failed_after = (0..AFTER).filter(|_| !poster.post()).count();
    (sent, failed, failed_after)
}

#[test]
fn no_post_meets_an_upstream_that_hangs_up_once_its_patience_is_known() {
    let threads: Vec<_> =
        (0..8).map(|index| std::thread::spawn(move || learn_and_go_on(index * 104_729 + 5))).collect();
    let all: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let sum = |what: fn(&(usize, usize, usize)) -> usize| all.iter().map(what).sum::<usize>();
    assert!(sum(|one| one.2) <= UNLUCKY_MAX, "sent before, failed before, failed after: {all:?}");
    assert!(sum(|one| one.1) * 4 < sum(|one| one.0), "too many failed before: {all:?}");
}

#[test]
fn what_an_upstream_says_of_its_patience_is_believed() {
    let upstream = impatient("Keep-Alive: timeout=7, max=100\r\n", 60_000..60_001);
    let proxy = Proxy::gateway(&documents(&[upstream], ""));
    let mut client = proxy.client();
    assert_eq!(client.send(POST).response().status, 200);
    let state = proxy.shared.snapshot.load().upstreams()[0].endpoints[0].state.clone();
    eventually("the field was read", || state.idle_limit_ms() == 6300);
}
