//! Upstreams that fail, and peers that are slow.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_proxy::Reason;

use crate::support::{Client, Gate, Proxy, Upstream, documents, documents_on, eventually, find, free_port};

fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

#[test]
fn malformed_responses_become_502_and_cost_the_connection() {
    for (name, response) in [
        (
            "73 both framings",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("74 NUL", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
        ("74 CR", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n"),
        ("74 LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        (
            "75 bytes after the message",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n",
        ),
        ("77 body of 204", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi"),
        ("77 bytes after 204", "HTTP/1.1 204 No Content\r\n\r\nhi"),
        ("no response at all", "hello\r\n\r\n"),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi"),
        ("bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n"),
    ] {
        let upstream = Upstream::start(move |conn| {
            conn.head()?;
            conn.write(response)?;
            conn.until_closed();
            conn.record("closed;");
            Ok(())
        });
        let proxy = Proxy::to(&[upstream.addr]);
        let mut client = proxy.client();
        let response = client.get("/");
        assert_eq!(
            (response.status, response.field("x-weir-reason")),
            (502, Some("upstream_malformed")),
            "{name}"
        );
        eventually("the connection is closed", || find(&upstream.received(), b"closed;").is_some());
        assert_eq!(upstream.connections(), 1, "{name}: not tried again");
    }
}

#[test]
fn endless_interim_responses_are_refused() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        loop {
            conn.write("HTTP/1.1 102 Processing\r\n\r\n")?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    for seen in 0.. {
        match client.response().status {
            102 => assert!(seen < 16),
            status => {
                assert_eq!(status, 502);
                return;
            }
        }
    }
}

#[test]
fn an_idle_connection_that_speaks_is_discarded() {
    let gate = Gate::new();
    let pooled = gate.clone();
    let upstream = Upstream::start(move |conn| {
        conn.head()?;
        conn.ok(b"one")?;
        pooled.wait();
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")?;
        conn.record("spoke;");
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    assert_eq!(proxy.client().get("/").text(), "one");
    eventually("it is idle", || proxy.metrics().pooled_connections() == 1);
    gate.open();
    eventually("it has spoken", || find(&upstream.received(), b"spoke;").is_some());
    // The proxy's poller has to see it, too.
    eventually("it is found out", || {
        let response = proxy.client().get("/");
        assert_eq!(response.text(), "one");
        upstream.connections() >= 2
    });
    gate.open();
}

#[test]
fn when_one_endpoint_is_down_the_other_answers_and_the_first_is_avoided() {
    let upstream = Upstream::echo();
    let down = nobody();
    let proxy = Proxy::to(&[down, upstream.addr]);
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(proxy.metrics().retries() <= 1, "avoided after the first failure: {}", proxy.metrics().retries());

    // Also a request with a body, of which nothing was sent.
    let proxy = Proxy::to(&[down, upstream.addr]);
    let mut client = proxy.client();
    for _ in 0..5 {
        client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
        assert!(client.response().text().ends_with("\r\n\r\nhi"));
    }
}

#[test]
fn when_all_are_down_the_answer_says_so() {
    let proxy = Proxy::to(&[nobody(), nobody()]);
    let mut client = proxy.client();
    let response = client.get("/");
    assert_eq!((response.status, response.field("x-weir-reason")), (502, Some("connect_failed")));
    assert_eq!(client.get("/").status, 502, "the client's connection lives on");
    assert_eq!(proxy.metrics().refusals(Reason::ConnectFailed), 2);
}

#[test]
fn a_gateway_that_leads_to_itself_says_so() {
    let port = free_port();
    let itself = SocketAddr::from(([127, 0, 0, 1], port));
    let proxy = Proxy::gateway(&documents_on(port, &[itself], "retry: {attempts: 3}"));
    let mut client = proxy.client();
    let response = client.get("/");
    assert_eq!((response.status, response.field("x-weir-reason")), (508, Some("loop")));
    assert_eq!(proxy.metrics().requests(), 1, "it did not come back");
}

/// Answers once per connection and closes it silently after, as a server with a short idle timeout does.
fn forgetful(listener: TcpListener) -> Upstream {
    Upstream::on(listener, |conn| {
        let request = conn.request()?;
        conn.ok(&request.body)
    })
}

#[test]
fn a_stale_connection_costs_nobody_a_request() {
    let upstream = forgetful(TcpListener::bind("127.0.0.1:0").unwrap());
    let proxy = Proxy::gateway(&documents(&[upstream.addr], "retry: {attempts: 0}"));
    let mut client = proxy.client();
    for _ in 0..200 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(proxy.metrics().retries(), 0, "it is no retry, and no fault of the endpoint");
}

#[test]
fn what_is_not_idempotent_is_not_sent_twice() {
    let upstream = Upstream::start(|conn| {
        conn.request()?;
        conn.record("one;");
        conn.reset();
        Ok(())
    });
    let proxy = Proxy::gateway(&documents(&[upstream.addr], "retry: {attempts: 3}"));
    let count = || String::from_utf8_lossy(&upstream.received()).matches("one;").count();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
    let response = client.response();
    assert_eq!((response.status, response.field("x-weir-reason")), (502, Some("upstream_reset")));
    assert_eq!(count(), 1);
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().status, 502);
    assert_eq!(count(), 1 + 4, "this one may be");
}

#[test]
fn an_idempotent_request_survives_the_reset_of_one_endpoint() {
    let bad = Upstream::start(|conn| {
        conn.request()?;
        conn.reset();
        Ok(())
    });
    let good = Upstream::echo();
    for _ in 0..10 {
        let proxy = Proxy::to(&[bad.addr, good.addr]);
        let mut client = proxy.client();
        client.send("PUT / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        client.send("0\r\n\r\n");
        let response = client.response();
        assert_eq!(response.status, 200);
        assert!(
            response.text().ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n") || response.text().ends_with("abc")
        );
    }
}

#[test]
fn slow_heads_are_answered_408() {
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.head_read = Duration::from_millis(200);
    });
    let mut client = proxy.client();
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a");
    let response = client.response();
    assert_eq!((response.status, response.field("x-weir-reason")), (408, Some("slow_head")));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert!(client.is_closed());
    assert!(upstream.received().is_empty());
}

#[test]
fn many_slow_clients_do_not_hurt_the_others() {
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.head_read = Duration::from_secs(2);
    });
    let mut slow: Vec<_> = (0..1000)
        .map(|_| {
            let mut client = proxy.client();
            client.send("POST /slow HTTP/1.1\r\nHost: a");
            client
        })
        .collect();
    let mut client = proxy.client();
    for _ in 0..100 {
        assert_eq!(client.get("/").status, 200);
    }
    for client in &mut slow {
        assert_eq!(client.response().status, 408);
    }
    drop(slow);
    eventually("they are gone", || proxy.metrics().active_connections() == 1);
}

#[test]
fn idle_clients_are_closed() {
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.downstream_idle = Duration::from_secs(2);
    });
    let mut silent = proxy.client();
    let mut used = proxy.client();
    used.get("/");
    assert!(silent.is_closed());
    assert!(used.is_closed());
}

#[test]
fn slow_bodies_are_answered_408_and_slow_upstreams_504() {
    let upstream = Upstream::start(|conn| {
        conn.request()?;
        conn.until_closed();
        conn.record("given up;");
        Ok(())
    });
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], "timeouts: {request: 1h}"), |config| {
        config.timeouts.stream_idle = Duration::from_millis(200);
    });
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 10\r\n\r\nabc");
    let response = client.response();
    assert_eq!((response.status, response.field("x-weir-reason")), (408, Some("slow_body")));
    assert!(client.is_closed());

    let proxy = Proxy::gateway(&documents(&[upstream.addr], "timeouts: {request: 300ms}"));
    let mut client = proxy.client();
    let begun = Instant::now();
    let response = client.get("/");
    assert_eq!((response.status, response.field("x-weir-reason")), (504, Some("timeout")));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    eventually("the upstream is told", || find(&upstream.received(), b"given up;").is_some());
}

#[test]
fn an_upstream_that_never_says_continue_is_at_fault_and_not_the_client() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.stream_idle = Duration::from_millis(200);
    });
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.field("x-weir-reason")), (504, Some("timeout")));
}

#[test]
fn a_rules_own_time_limits_hold() {
    let upstream = Upstream::start(|conn| {
        conn.request()?;
        conn.until_closed();
        Ok(())
    });
    let rule = |timeouts: &str| {
        documents(&[upstream.addr], "").replace(
            "backendRefs: [{name: app}]",
            &format!("backendRefs: [{{name: app}}], timeouts: {timeouts}"),
        )
    };
    for timeouts in ["{request: 200ms}", "{request: 1h, backendRequest: 200ms}"] {
        let proxy = Proxy::gateway(&rule(timeouts));
        assert_eq!(proxy.client().get("/").status, 504, "{timeouts}");
    }
}

#[test]
fn a_body_that_stands_still_is_cut_off() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")?;
        conn.until_closed();
        Ok(())
    });
    let proxy = Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| {
        config.timeouts.stream_idle = Duration::from_millis(200);
    });
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert!(client.try_response(false).is_err());
}

#[test]
fn idle_upstream_connections_are_closed() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.ok(b"x")?;
        conn.until_closed();
        conn.record("closed;");
        Ok(())
    });
    let proxy = Proxy::gateway(&documents(&[upstream.addr], "timeouts: {idle: 200ms}"));
    assert_eq!(proxy.client().get("/").status, 200);
    eventually("it is closed", || find(&upstream.received(), b"closed;").is_some());
    eventually("and counted out", || proxy.metrics().pooled_connections() == 0);
}

#[test]
fn too_many_connections_are_refused() {
    let upstream = Upstream::echo();
    let proxy =
        Proxy::gateway_with(&documents(&[upstream.addr], ""), |config| config.limits.connections_max = 2);
    let (mut a, mut b) = (proxy.client(), proxy.client());
    assert_eq!((a.get("/").status, b.get("/").status), (200, 200));
    let mut c = proxy.client();
    let response = c.response();
    assert_eq!((response.status, response.field("x-weir-reason")), (503, Some("overloaded")));
    drop(a);
    eventually("there is room again", || proxy.metrics().active_connections() == 1);
    assert_eq!(proxy.client().get("/").status, 200);
}

/// An upstream on a port of one's choice that can be killed: its listener and all its connections end at once.
struct Mortal {
    addr: SocketAddr,
    killed: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Mortal {
    fn on(listener: TcpListener) -> Self {
        let addr = listener.local_addr().unwrap();
        let killed = Arc::new(AtomicBool::new(false));
        let streams: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (is_killed, kept) = (killed.clone(), streams.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_killed.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                kept.lock().unwrap().push(stream.try_clone().unwrap());
                std::thread::spawn(move || {
                    let mut buf = [0; 4096];
                    while matches!(stream.read(&mut buf), Ok(n) if n > 0) {
                        std::thread::sleep(Duration::from_millis(1));
                        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { addr, killed, streams, thread: Some(thread) }
    }

    fn kill(&mut self) {
        self.killed.store(true, Ordering::SeqCst);
        // Wakes the thread, whose listener then ends.
        let _ = TcpStream::connect(self.addr);
        self.thread.take().unwrap().join().unwrap();
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

#[test]
fn a_client_that_leaves_while_an_upstream_is_connected_to_is_noticed() {
    let (addrs, _full) = unanswering(1);
    let policy = "timeouts: {connect: 60s, request: 60s}";
    let proxy = Proxy::gateway_with(&documents(&addrs, policy), |config| {
        config.timeouts.half_close_grace = Duration::from_millis(100);
    });
    let metrics = proxy.metrics();
    for resets in [false, true] {
        let mut client = proxy.client();
        let before = metrics.requests();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        eventually("its request was read", || metrics.requests() > before);
        if resets {
            socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        eventually("nothing is left", || metrics.active_connections() == 0);
    }
}

/// Addresses where connecting hangs: their listener's queue is full for as long as what is returned lives.
fn unanswering(count: u8) -> (Vec<SocketAddr>, impl Sized) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let within = Duration::from_millis(200);
    let connect = || std::net::TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), within);
    let queued: Vec<_> = std::iter::from_fn(|| connect().ok()).collect();
    ((1..=count).map(|i| SocketAddr::from(([127, 0, 1, i], port))).collect(), (socket, queued))
}

#[test]
fn a_requests_time_limit_includes_connecting() {
    let (addrs, _full) = unanswering(3);
    let policy = "timeouts: {connect: 1h, request: 300ms}";
    let proxy = Proxy::to(&addrs);
    for (policy, rule) in
        [(policy, ""), ("timeouts: {connect: 1h}", ", timeouts: {request: 1h, backendRequest: 300ms}")]
    {
        let rules = format!("backendRefs: [{{name: app}}]{rule}");
        let documents = documents(&addrs, policy).replace("backendRefs: [{name: app}]", &rules);
        let limited = Proxy::gateway(&documents);
        let response = limited.client().get("/");
        assert_eq!((response.status, response.field("x-weir-reason")), (504, Some("timeout")), "{policy}");
        let tried = if rule.is_empty() { 1 } else { 2 };
        assert_eq!(
            limited.metrics().retries(),
            tried - 1,
            "when the request's time is over nothing is tried again"
        );
        let snapshot = limited.shared.snapshot.load_full();
        let failures: u64 =
            snapshot.upstreams()[0].endpoints.iter().map(|endpoint| endpoint.state.failures()).sum();
        assert_eq!(failures, tried);
    }
    let response = proxy.client().get("/");
    assert_eq!((response.status, response.field("x-weir-reason")), (504, Some("connect_failed")));
}

#[test]
fn endpoints_that_never_answer_do_not_keep_another_from_coming_back() {
    let (mut addrs, _full) = unanswering(100);
    let well = Upstream::echo();
    addrs.push(well.addr);
    let proxy = Proxy::to(&addrs);
    let snapshot = proxy.shared.snapshot.load_full();
    let endpoints = &snapshot.upstreams()[0].endpoints;
    endpoints.iter().for_each(|endpoint| endpoint.state.mark_failed());
    let last = endpoints.iter().find(|endpoint| endpoint.addr == well.addr).unwrap();
    eventually("it is found to be well again", || !last.state.is_avoided());
    assert_eq!(endpoints.iter().filter(|endpoint| endpoint.state.is_avoided()).count(), 100);
}

#[test]
fn killing_an_instance_costs_no_replayable_request_and_it_gets_requests_again_once_it_is_back() {
    // The system must not give the port of the one that dies to somebody else meanwhile.
    let bind = || TcpListener::bind(nobody()).unwrap();
    let (mut mortal, others) = (Mortal::on(bind()), [Mortal::on(bind()), Mortal::on(bind())]);
    let proxy = Proxy::to(&[mortal.addr, others[0].addr, others[1].addr]);
    let addr = proxy.addr();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(addr);
                let mut failed = 0;
                while !stop.load(Ordering::Relaxed) {
                    failed += u32::from(client.get("/").status != 200);
                }
                failed
            })
        })
        .collect();
    eventually("requests go to it", || mortal.streams.lock().unwrap().len() > 1);
    mortal.kill();
    let then = proxy.metrics().requests();
    eventually("requests go on", || proxy.metrics().requests() > then + 500);

    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&mortal.addr.into()).unwrap();
    socket.listen(128).unwrap();
    let back = Mortal::on(socket.into());
    eventually("it gets requests again", || back.streams.lock().unwrap().len() > 1);
    stop.store(true, Ordering::Relaxed);
    let failed: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(failed, 0);
}
