//! Second copies of requests that take long: who gets which answer, and what becomes of the other copy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use h2::Reason;
use http::{HeaderMap, Response};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use weir_model::ServiceRef;
use weir_proxy::explain::{Request, explain};
use weir_proxy::{AccessLogConfig, AccessLogFormat};

use crate::http2::upstream::{H2Upstream, h2_documents};
use crate::support::{Gate, PATIENCE, Proxy, Served, Upstream, documents, eventually, free_port};

/// Two endpoints that count the requests to both of them together: what is done with each depends on its number, from 0.
fn two(serve: impl Fn(usize, &mut Served) -> io::Result<()> + Send + Sync + 'static) -> [Upstream; 2] {
    let (count, serve) = (Arc::new(AtomicUsize::new(0)), Arc::new(serve));
    [(); 2].map(|()| {
        let (count, serve) = (count.clone(), serve.clone());
        Upstream::start(move |conn| {
            loop {
                conn.request()?;
                serve(count.fetch_add(1, Ordering::SeqCst), conn)?;
            }
        })
    })
}

/// The same where the first request is never answered. Tells when its connection is closed.
fn first_hangs() -> ([Upstream; 2], Receiver<()>) {
    let (told, closed) = channel();
    let told = std::sync::Mutex::new(told);
    let upstreams = two(move |number, conn| {
        if number == 0 {
            conn.until_closed();
            let _ = told.lock().unwrap().send(());
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        conn.ok(b"second")
    });
    (upstreams, closed)
}

fn hedged([a, b]: &[Upstream; 2], policy: &str) -> String {
    documents(&[a.addr, b.addr], policy)
}

fn requests(upstreams: &[Upstream]) -> usize {
    upstreams.iter().map(Upstream::requests).sum()
}

fn metric(proxy: &Proxy, name: &str, value: u64) -> bool {
    let wanted = format!("weir_proxy_{name}_total{{service=\"app\"}} {value}");
    proxy.text().lines().any(|line| line == wanted)
}

fn value(proxy: &Proxy, name: &str) -> u64 {
    let wanted = format!("weir_proxy_{name}_total{{service=\"app\"}} ");
    let text = proxy.text();
    let found = text.lines().find_map(|line| line.strip_prefix(&*wanted));
    found.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Late enough for the first copy to be with its endpoint, on a busy machine too.
const SOON: &str = "hedge: {delay: 1500ms}";
/// Later than that: what the first copy takes until the second one is done.
const LATER: Duration = Duration::from_secs(3);
const FAILED: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";

#[test]
fn the_second_copy_is_answered_and_the_first_is_given_up() {
    let (upstreams, closed) = first_hangs();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let proxy = Proxy::gateway_with(&hedged(&upstreams, SOON), |config| {
        config.access_log = Some(AccessLogConfig {
            path: Some(path.clone()),
            format: AccessLogFormat::Json,
            ..Default::default()
        });
    });
    let mut client = proxy.client();
    let got = client.get("/");
    assert_eq!((got.status, got.text().as_str()), (200, "second"));
    closed.recv_timeout(PATIENCE).unwrap();
    // Counted once it is over, which the client may see a moment before.
    eventually("it to be counted", || metric(&proxy, "hedges", 1) && metric(&proxy, "hedges_won", 1));
    assert!(metric(&proxy, "retries", 0) && metric(&proxy, "upstream_resets", 0), "{}", proxy.text());
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("a line is written", || lines().ends_with('\n'));
    let line: serde_json::Value = serde_json::from_str(&lines()).unwrap();
    assert_eq!((&line["attempts"], &line["hedge"]), (&2.into(), &"won".into()), "{line}");
    // Nothing is in flight any more, and nobody is held to have failed.
    let snapshot = proxy.shared.snapshot.load();
    for endpoint in &snapshot.upstreams()[0].endpoints {
        assert_eq!((endpoint.state.in_flight(), endpoint.state.is_avoided()), (0, false), "{}", endpoint.id);
    }
    // The connection of the second one is kept, and so is the client's.
    assert_eq!(client.get("/").text(), "second");
}

#[test]
fn a_first_copy_that_is_answered_in_the_end_wins() {
    let gate = Gate::new();
    let opened = gate.clone();
    let (told, closed) = channel();
    let told = std::sync::Mutex::new(told);
    let upstreams = two(move |number, conn| {
        if number == 1 {
            conn.until_closed();
            let _ = told.lock().unwrap().send(());
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        gate.wait();
        conn.ok(b"first")
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, SOON));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("a second copy", || requests(&upstreams) == 2);
    opened.open();
    assert_eq!(client.response().text(), "first");
    closed.recv_timeout(PATIENCE).unwrap();
    assert!(metric(&proxy, "hedges", 1) && metric(&proxy, "hedges_won", 0), "{}", proxy.text());
}

#[test]
fn what_may_not_be_done_twice_is_not() {
    let gate = Gate::new();
    let opened = gate.clone();
    let upstreams = two(move |_, conn| {
        gate.wait();
        conn.ok(b"once")
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, "hedge: {delay: 1ms}"));
    for request in [
        "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi",
        "GET / HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        let before = requests(&upstreams);
        let mut client = proxy.client();
        client.send(request);
        eventually("the request", || requests(&upstreams) == before + 1);
        // Long enough for a second copy to go out, if one would.
        std::thread::sleep(Duration::from_millis(60));
        opened.open();
        assert_eq!(client.response().text(), "once");
        assert_eq!(requests(&upstreams), before + 1, "{request}");
    }
    assert!(metric(&proxy, "hedges", 0));
}

#[test]
fn a_body_goes_out_twice() {
    let (upstreams, _closed) = first_hangs();
    let proxy = Proxy::gateway(&hedged(&upstreams, SOON));
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nab");
    client.send("cde");
    assert_eq!(client.response().text(), "second");
    for upstream in &upstreams {
        let received = String::from_utf8_lossy(&upstream.received()).into_owned();
        assert!(received.ends_with("\r\n\r\nabcde"), "{received}");
    }
}

#[test]
fn the_budget_bounds_second_copies() {
    let gate = Gate::new();
    let opened = gate.clone();
    let upstreams = two(move |_, conn| {
        gate.wait();
        conn.ok(b"once")
    });
    let policy = "hedge: {delay: 1ms}\n  retry: {budget: {ratio: 0, reserve: 0}}";
    let proxy = Proxy::gateway(&hedged(&upstreams, policy));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("the budget to be asked", || metric(&proxy, "hedges_denied", 1));
    opened.open();
    assert_eq!(client.response().text(), "once");
    assert!(metric(&proxy, "hedges", 0));
}

#[test]
fn a_failure_does_not_win_while_the_other_copy_is_under_way() {
    // The first one fails when the second one is under way.
    let (gate, other) = (Gate::new(), Gate::new());
    let (opened, other_opened) = (gate.clone(), other.clone());
    let upstreams = two(move |number, conn| match number {
        0 => {
            gate.wait();
            conn.write(FAILED)
        }
        _ => {
            other.wait();
            conn.ok(b"second")
        }
    });
    let policy = format!("{SOON}\n  outlier: {{enabled: false}}");
    let proxy = Proxy::gateway(&hedged(&upstreams, &policy));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("a second copy", || requests(&upstreams) == 2);
    opened.open();
    other_opened.open();
    let got = client.response();
    assert_eq!((got.status, got.text().as_str()), (200, "second"));
    // The second one fails before the first is answered.
    let gate = Gate::new();
    let opened = gate.clone();
    let upstreams = two(move |number, conn| match number {
        0 => {
            gate.wait();
            conn.ok(b"first")
        }
        _ => conn.write(FAILED),
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, &policy));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("a second copy", || requests(&upstreams) == 2);
    opened.open();
    let got = client.response();
    assert_eq!((got.status, got.text().as_str()), (200, "first"));
    // Both fail: then the client is told so by the last one.
    let upstreams = two(move |number, conn| {
        if number == 0 {
            std::thread::sleep(LATER);
        }
        conn.write(FAILED)
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, &policy));
    let got = proxy.client().get("/");
    assert_eq!((got.status, got.text().as_str()), (503, "busy"));
}

#[test]
fn a_copy_that_breaks_off_leaves_it_to_the_other() {
    let gate = Gate::new();
    let opened = gate.clone();
    let other = Gate::new();
    let other_opened = other.clone();
    let upstreams = two(move |number, conn| match number {
        0 => {
            gate.wait();
            conn.reset();
            Err(io::ErrorKind::BrokenPipe.into())
        }
        _ => {
            other.wait();
            conn.ok(b"second")
        }
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, SOON));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("a second copy", || requests(&upstreams) == 2);
    opened.open();
    eventually("the reset to be seen", || metric(&proxy, "upstream_resets", 1));
    other_opened.open();
    assert_eq!(client.response().text(), "second");
    // Counted once it is over, which the client may see a moment before.
    eventually("it to be counted", || metric(&proxy, "hedges_won", 1) && metric(&proxy, "retries", 0));
}

#[test]
fn when_nobody_answers_the_time_of_the_request_ends_it() {
    let upstreams = two(|_, conn| {
        conn.until_closed();
        Err(io::ErrorKind::BrokenPipe.into())
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, "hedge: {delay: 1ms}\n  timeouts: {request: 1s}"));
    assert_eq!(proxy.client().get("/").status, 504);
    assert!(metric(&proxy, "hedges", 1), "{}", proxy.text());
    // The time of an attempt ends the first, and the second one goes on.
    let (upstreams, _closed) = first_hangs();
    let policy = "hedge: {delay: 1500ms}\n  timeouts: {request: 1h, perTry: 3s}\n  retry: {attempts: 0}";
    let proxy = Proxy::gateway(&hedged(&upstreams, policy));
    assert_eq!(proxy.client().get("/").text(), "second");
    let upstreams = two(|_, conn| {
        conn.until_closed();
        Err(io::ErrorKind::BrokenPipe.into())
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, policy));
    assert_eq!(proxy.client().get("/").status, 504);
}

#[test]
fn a_percentile_is_learnt_first() {
    let hang = Arc::new(AtomicUsize::new(usize::MAX));
    let hangs = hang.clone();
    let upstreams = two(move |number, conn| {
        if number == hangs.load(Ordering::SeqCst) {
            conn.until_closed();
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        conn.ok(b"well")
    });
    let proxy = Proxy::gateway(&hedged(
        &upstreams,
        "hedge: {percentile: 0.95}\n  retry: {budget: {ratio: 0, reserve: 1000}}",
    ));
    let mut client = proxy.client();
    for _ in 0..200 {
        assert_eq!(client.get("/").text(), "well");
    }
    // Some may have been sent twice by now, since some take longer than most.
    eventually("one that hangs to be answered by another endpoint", || {
        hang.store(requests(&upstreams), Ordering::SeqCst);
        client.get("/").text() == "well"
            && !proxy.text().contains("weir_proxy_hedges_won_total{service=\"app\"} 0\n")
    });
}

#[test]
fn calls_of_grpc_are_made_twice_where_their_route_says_so() {
    let (told, reset) = channel();
    let count = Arc::new(AtomicUsize::new(0));
    let upstreams = [(); 2].map(|()| {
        let (told, count) = (told.clone(), count.clone());
        H2Upstream::start(move |mut call| {
            let (told, number) = (told.clone(), count.fetch_add(1, Ordering::SeqCst));
            async move {
                call.body().await;
                if number == 0 {
                    let reason = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
                    let _ = told.send(reason.unwrap());
                    return;
                }
                let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                let mut stream = call.respond.send_response(head, false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                stream.send_data("\0\0\0\0\x02hi".into(), false).unwrap();
                stream.send_trailers(trailers).unwrap();
            }
        })
    });
    let documents = h2_documents(&[upstreams[0].addr, upstreams[1].addr], "")
        .replace("kind: HTTPRoute", "kind: GRPCRoute")
        .replace("rules: [{backendRefs", "rules: [{name: get, backendRefs")
        + "\n---\nkind: TrafficPolicy\nmetadata: {name: get}\nspec:\n  targetRefs: [{kind: GRPCRoute, name: all, sectionName: get}]\n  hedge: {delay: 1500ms}\n";
    let proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    client.send("POST /a.B/Get HTTP/1.1\r\nHost: app\r\nTE: trailers\r\ncontent-type: application/grpc\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0");
    let got = client.response();
    assert_eq!((got.status, got.body.as_slice()), (200, &b"\0\0\0\0\x02hi"[..]), "{}", got.head);
    assert_eq!(got.trailers, ["grpc-status: 0"]);
    assert_eq!(reset.recv_timeout(PATIENCE).unwrap(), Reason::CANCEL);
}

/// The failures that were counted of the endpoints.
fn failures(proxy: &Proxy) -> u64 {
    let snapshot = proxy.shared.snapshot.load();
    let app = snapshot.upstream_of(&ServiceRef::new("default", "app")).unwrap();
    app.endpoints.iter().map(|endpoint| endpoint.state.tally().counts().failures).sum()
}

/// An upstream of two that waits at a gate with its first request and then breaks off; the others get 503 at once.
fn first_breaks_off(gate: &Gate) -> [Upstream; 2] {
    let gate = gate.clone();
    two(move |number, conn| {
        if number > 0 {
            return conn.write(FAILED);
        }
        gate.wait();
        conn.reset();
        Err(io::ErrorKind::BrokenPipe.into())
    })
}

#[test]
fn a_failure_that_came_is_given_where_nothing_better_comes() {
    // The first one fails while the second is under way, which breaks off then.
    let (gate, other) = (Gate::new(), Gate::new());
    let (opened, other_opened) = (gate.clone(), other.clone());
    let upstreams = two(move |number, conn| match number {
        0 => {
            gate.wait();
            conn.write(FAILED)?;
            conn.until_closed();
            Err(io::ErrorKind::BrokenPipe.into())
        }
        _ => {
            other.wait();
            conn.reset();
            Err(io::ErrorKind::BrokenPipe.into())
        }
    });
    let policy = format!("{SOON}\n  outlier: {{enabled: false}}");
    let proxy = Proxy::gateway(&hedged(&upstreams, &policy));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("a second copy", || requests(&upstreams) == 2);
    opened.open();
    eventually("the failure to be there", || failures(&proxy) == 1);
    other_opened.open();
    let got = client.response();
    assert_eq!((got.status, got.text().as_str()), (503, "busy"), "{}", got.head);
    assert!(metric(&proxy, "upstream_resets", 1) && metric(&proxy, "retries", 0), "{}", proxy.text());
    assert_eq!(failures(&proxy), 2, "each counts once");

    // The second one fails, and the first breaks off then.
    let gate = Gate::new();
    let upstreams = first_breaks_off(&gate);
    let proxy = Proxy::gateway(&hedged(&upstreams, &policy));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("the second copy to fail", || failures(&proxy) == 1);
    gate.open();
    let got = client.response();
    assert_eq!((got.status, got.text().as_str()), (503, "busy"), "{}", got.head);
    assert_eq!(failures(&proxy), 2, "each counts once");
    // The connection is in order.
    assert_eq!(client.get("/").status, 503);
}

#[test]
fn a_failure_that_came_with_a_large_body_is_given_whole() {
    let (gate, other) = (Gate::new(), Gate::new());
    let (opened, other_opened) = (gate.clone(), other.clone());
    let body = "x".repeat(300_000);
    let failed = format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let upstreams = two(move |number, conn| match number {
        0 => {
            gate.wait();
            conn.write(&failed)
        }
        _ => {
            other.wait();
            conn.reset();
            Err(io::ErrorKind::BrokenPipe.into())
        }
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, SOON));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("a second copy", || requests(&upstreams) == 2);
    opened.open();
    eventually("the failure to be there", || failures(&proxy) == 1);
    other_opened.open();
    let got = client.response();
    assert!(got.status == 500 && got.text() == body, "{}", got.head);
}

#[test]
fn a_copy_that_finds_no_connection_leaves_the_retries() {
    let gate = Gate::new();
    let opened = gate.clone();
    let app = Upstream::start(move |conn| {
        loop {
            let request = conn.request()?;
            if request.head.starts_with("GET /slow ") {
                gate.wait();
                conn.reset();
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            conn.ok(b"well")?;
        }
    });
    let dead = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let policy = format!("{SOON}\n  retry: {{attempts: 1}}\n  outlier: {{enabled: false}}");
    let proxy = Proxy::gateway(&documents(&[app.addr, dead], &policy));
    let mut client = proxy.client();
    // From then on it is the last choice.
    eventually("the other one to be known", || {
        client.get("/");
        value(&proxy, "upstream_connect_failures") > 0
    });
    let (retries, hedges) = (value(&proxy, "retries"), value(&proxy, "hedges"));
    client.send("GET /slow HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("the copy to fail", || value(&proxy, "hedges") > hedges);
    // The first attempt, the same on a fresh connection, since the first one may have been stale, and the retry, which may go here
    // again.
    opened.open();
    opened.open();
    opened.open();
    assert_eq!(client.response().status, 502);
    assert_eq!(value(&proxy, "retries"), retries + 1, "{}", proxy.text());
}

#[test]
fn a_route_turns_off_what_its_service_asks_for() {
    let slow = |number: usize, conn: &mut Served| {
        if number == 0 {
            // Long enough for a copy that were sent at once.
            std::thread::sleep(Duration::from_millis(300));
        }
        conn.ok(if number == 0 { b"first" } else { b"other" })
    };
    let policy = "hedge: {delay: 1ms}\n  balance: {policy: round_robin}";
    let off = "\n---\nkind: TrafficPolicy\nmetadata: {name: off}\nspec: {targetRefs: [{kind: HTTPRoute, name: all}], hedge: {enabled: false}}\n";
    let upstreams = two(slow);
    let proxy = Proxy::gateway(&(hedged(&upstreams, policy) + off));
    assert_eq!(proxy.client().get("/").text(), "first");
    assert_eq!(requests(&upstreams), 1);
    assert!(metric(&proxy, "hedges", 0), "{}", proxy.text());
    let request = Request::parse("GET", "http://app/", []).unwrap();
    let text = explain(&proxy.shared.snapshot.load(), &request, &mut SmallRng::seed_from_u64(1)).to_string();
    assert!(text.contains("hedge never: TrafficPolicy/off of HTTPRoute/all"), "{text}");
    // Without it there is a copy.
    let upstreams = two(slow);
    let proxy = Proxy::gateway(&hedged(&upstreams, policy));
    assert_eq!(proxy.client().get("/").text(), "other");
    assert!(metric(&proxy, "hedges", 1), "{}", proxy.text());
}

/// So many interim responses of 4 KiB each.
fn hints(count: usize) -> String {
    format!("HTTP/1.1 103 Early Hints\r\nX-Pad: {}\r\n\r\n", "h".repeat(4000)).repeat(count)
}

#[test]
fn large_interim_responses_come_from_one_copy_only() {
    // What the first one has begun to say is gone on with, however long it takes.
    let gate = Gate::new();
    let opened = gate.clone();
    let upstreams = two(move |number, conn| match number {
        0 => {
            conn.write(hints(3))?;
            gate.wait();
            conn.ok(b"first")
        }
        _ => conn.ok(b"second"),
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, SOON));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    for _ in 0..3 {
        assert_eq!(client.response().status, 103);
    }
    opened.open();
    assert_eq!(client.response().text(), "first");

    // Those of the second one come when it has won, and only then.
    let upstreams = two(|number, conn| {
        if number == 0 {
            conn.until_closed();
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        conn.write(hints(3))?;
        conn.ok(b"second")
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, SOON));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    for _ in 0..3 {
        assert_eq!(client.response().status, 103);
    }
    assert_eq!(client.response().text(), "second");
}

#[test]
fn a_copy_with_endless_interim_responses_is_given_up() {
    let gate = Gate::new();
    let opened = gate.clone();
    let (told, given_up) = channel();
    let told = std::sync::Mutex::new(told);
    let upstreams = two(move |number, conn| match number {
        0 => {
            gate.wait();
            conn.ok(b"first")
        }
        _ => {
            // More than may be kept back, which is no more than one head.
            let sent = conn.write(hints(64)).map(|()| conn.until_closed());
            let _ = told.lock().unwrap().send(());
            sent.and(Err(io::ErrorKind::BrokenPipe.into()))
        }
    });
    let proxy = Proxy::gateway(&hedged(&upstreams, SOON));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    given_up.recv_timeout(PATIENCE).unwrap();
    opened.open();
    let got = client.response();
    assert_eq!((got.status, got.text().as_str()), (200, "first"), "{}", got.head);
    assert!(metric(&proxy, "hedges", 1) && metric(&proxy, "hedges_won", 0), "{}", proxy.text());
}
