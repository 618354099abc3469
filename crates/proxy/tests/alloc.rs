//! What the engine allocates: nothing for a request in steady state, little for a waiting connection, and no more than a
//! bound for a slow one. The whole process is counted, so client and upstream here allocate nothing while it matters.

#[path = "engine/support.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::{Proxy, Upstream, eventually};
use weir_proxy::{AccessLogConfig, TracePolicy};

struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on to the system's allocator; only numbers are kept beside it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        if COUNTING.load(Ordering::Relaxed) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise is the same as ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: it came from `System` with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers without allocating; `/big` with a body of 64 KiB, `/chunked` in chunks.
fn upstream() -> Upstream {
    let big = [&b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n"[..], &[b'x'; 65536]].concat();
    Upstream::start(move |conn| {
        let mut buf = [0; 4096];
        loop {
            let n = conn.stream.read(&mut buf)?;
            if n == 0 {
                return Ok(());
            }
            let answer: &[u8] = if buf.starts_with(b"GET /big") {
                &big
            } else if buf.starts_with(b"GET /chunked") {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
            };
            conn.stream.write_all(answer)?;
        }
    })
}

fn ask(stream: &mut TcpStream, request: &[u8], buf: &mut [u8]) -> usize {
    stream.write_all(request).unwrap();
    let mut read = 0;
    loop {
        read += stream.read(&mut buf[read..]).unwrap();
        let seen = &buf[..read];
        let whole = if request.starts_with(b"GET /big") {
            read > 65536 + 40
        } else if request.starts_with(b"GET /chunked") {
            seen.ends_with(b"0\r\n\r\n")
        } else {
            seen.ends_with(b"\r\n\r\nhello")
        };
        if whole {
            return read;
        }
    }
}

// One test, because the whole process is counted.
#[test]
fn allocations() {
    steady_requests_allocate_nothing();
    logged_requests_allocate_next_to_nothing();
    waiting_connections_are_small();
    a_slow_reader_is_bounded();
}

/// What a rule can do without allocating: all that needs no answer of the proxy itself, and no copy.
const FILTERS: &str = "filters: [
    {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: a}], add: [{name: X-B, value: b}], remove: [cookie]}},
    {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-A, value: a}], remove: [content-type]}},
    {type: URLRewrite, urlRewrite: {hostname: other.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}},
    {type: CORS, cors: {allowOrigins: ['https://*.example'], allowCredentials: true}},
    {type: Fault, fault: {abort: {status: 503, percentage: 0}}}], matches: [
    {path: {type: RegularExpression, value: '/[a-z0-9/]+'}, headers: [{type: RegularExpression, name: Host, value: '[a-z]+'}]},
    {path: {value: /}}]";

/// A service to fall back to without limits; one that has some, for breakers in shadow; and limits for calls themselves.
const GOVERNED: &str = "
---
kind: Service
metadata: {name: spare}
spec: {endpoints: [{address: 127.0.0.1, port: 9}]}
---
kind: Service
metadata: {name: limited}
spec: {endpoints: [{address: 127.0.0.1, port: 9}]}
---
kind: TrafficPolicy
metadata: {name: all}
spec: {targetRefs: [{kind: HTTPRoute, name: all}], breakers: [{shadow: true, fallback: {service: {name: limited}}}]}
---
kind: RateLimit
metadata: {name: limited}
spec: {targetRefs: [{name: limited}], key: [{type: header, name: x-user}], rates: [{requests: 1000000}]}
---
kind: RateLimit
metadata: {name: app}
spec: {targetRefs: [{name: app}], key: [{type: path}], rates: [{requests: 1000000}]}
";

fn steady_requests_allocate_nothing() {
    let upstream = upstream();
    steady(&Proxy::to(&[upstream.addr]));
    let plain = support::documents(&[upstream.addr], "");
    // An expression's matches cannot replace a prefix, but leave the path alone.
    let filtered = plain.replace("rules: [{", &format!("rules: [{{{FILTERS}, "));
    assert_ne!(plain, filtered);
    steady(&Proxy::gateway(&filtered));
    // Where no call can come to another service's limits, nothing is kept for them.
    steady(&Proxy::gateway(
        &(support::documents(&[upstream.addr], "breakers: [{fallback: {service: {name: spare}}}]")
            + GOVERNED),
    ));
    let other = self::upstream();
    for balance in [
        "policy: maglev, hash: [{type: header, name: x-user}, {type: cookie, name: a}, {type: path}]",
        "policy: ring_hash, hash: [{type: query, name: c}, {type: host}]",
        "policy: least_connections, slowStart: {window: 1h}",
        "policy: peak_ewma",
        "policy: prequal",
    ] {
        let policy = format!("balance: {{{balance}}}");
        steady(&Proxy::gateway(&support::documents(&[upstream.addr, other.addr], &policy)));
    }
}

fn steady(proxy: &Proxy) {
    let mut stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let mut buf = vec![0; 128 * 1024];
    let requests: [&[u8]; 5] = [
        b"GET /a HTTP/1.1\r\nHost: app\r\nOrigin: https://shop.example\r\n\r\n",
        b"GET /a/b?c=d HTTP/1.1\r\nHost: app\r\nUser-Agent: test\r\nAccept: */*\r\nCookie: a=b\r\n\r\n",
        b"POST /post HTTP/1.1\r\nHost: app\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\nhello world",
        b"GET /chunked HTTP/1.1\r\nHost: app\r\n\r\n",
        b"GET /big HTTP/1.1\r\nHost: app\r\n\r\n",
    ];
    for request in requests {
        for _ in 0..100 {
            ask(&mut stream, request, &mut buf);
        }
        let mut count = || {
            ALLOCATIONS.store(0, Ordering::SeqCst);
            COUNTING.store(true, Ordering::SeqCst);
            for _ in 0..1000 {
                ask(&mut stream, request, &mut buf);
            }
            COUNTING.store(false, Ordering::SeqCst);
            ALLOCATIONS.load(Ordering::SeqCst)
        };
        let line = String::from_utf8_lossy(request);
        // Ticks and sweeps run meanwhile; they are not allowed any either. A response that does not fit into the
        // client's socket is kept until it does, in memory of its own.
        let allowed = if request.starts_with(b"GET /big") { 1000 } else { 0 };
        // A balancer may choose an endpoint for the first time, and a connection that is opened is not steady: once more.
        let first = count();
        let steady = first <= allowed || count() <= allowed || count() <= allowed;
        assert!(
            steady,
            "{first} allocations in 1000 requests, and more than {allowed} each time later: {line}"
        );
    }
}

/// With an access log and a span for each request: what is allocated is the batches of lines, and the log's own writer.
fn logged_requests_allocate_next_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = upstream();
    let proxy = Proxy::gateway_with(&support::documents(&[upstream.addr], ""), |config| {
        let path = Some(dir.path().join("access.log"));
        config.access_log = Some(AccessLogConfig { path, ..AccessLogConfig::default() });
        config.tracing.trace_context = TracePolicy::Start;
    });
    let mut stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let mut buf = vec![0; 4096];
    let request = b"GET /a HTTP/1.1\r\nHost: app\r\nUser-Agent: test\r\nX-Request-Id: abc\r\nb3: 64fe8b2a57d3eff7-e457b5a2e4d86bd1-1\r\n\r\n";
    for _ in 0..200 {
        ask(&mut stream, request, &mut buf);
    }
    ALLOCATIONS.store(0, Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
    for _ in 0..1000 {
        ask(&mut stream, request, &mut buf);
    }
    COUNTING.store(false, Ordering::SeqCst);
    let allocations = ALLOCATIONS.load(Ordering::SeqCst);
    assert!(allocations <= 100, "{allocations} allocations in 1000 logged requests");
}

fn waiting_connections_are_small() {
    const CONNECTIONS: u64 = 500;
    let upstream = upstream();
    let proxy = Proxy::to(&[upstream.addr]);
    let mut buf = vec![0; 128 * 1024];
    let request = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n";
    let mut first = TcpStream::connect(proxy.addr()).unwrap();
    ask(&mut first, request, &mut buf);
    let before = LIVE_BYTES.load(Ordering::SeqCst);
    let mut streams = Vec::with_capacity(CONNECTIONS as usize);
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(proxy.addr()).unwrap();
        ask(&mut stream, request, &mut buf);
        streams.push(stream);
    }
    let each = (LIVE_BYTES.load(Ordering::SeqCst) - before) / CONNECTIONS;
    assert!(each <= 768, "a waiting connection takes {each} bytes");
}

fn a_slow_reader_is_bounded() {
    const SIZE: usize = 256 * 1024 * 1024;
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))?;
        let block = [b'x'; 64 * 1024];
        for _ in 0..SIZE / block.len() {
            conn.write(block)?;
        }
        Ok(())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut stream = TcpStream::connect(proxy.addr()).unwrap();
    let before = LIVE_BYTES.load(Ordering::SeqCst);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
    // Reads a little: enough to show that it flows, not enough to drain it.
    let mut buf = vec![0; 64 * 1024];
    let mut most = 0;
    for _ in 0..40 {
        assert!(stream.read(&mut buf).unwrap() > 0);
        std::thread::sleep(Duration::from_millis(5));
        most = most.max(LIVE_BYTES.load(Ordering::SeqCst).saturating_sub(before));
    }
    assert!(most < 1024 * 1024, "holds {most} bytes");
    let mut left = SIZE as u64;
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    while left > SIZE as u64 / 2 {
        left -= stream.read(&mut buf).unwrap() as u64;
    }
    drop(stream);
    eventually("the exchange is given up", || proxy.metrics().active_connections() == 0);
}
