//! Snapshots that change and proxies that end: no request fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use weir_proxy::{Mode, ProxyConfig, SourceConfig};

use crate::support::{Client, Gate, Proxy, Upstream, documents_on, eventually, find, free_port};

/// Clients that ask as fast as they can until told to stop. One that is closed between two requests connects anew;
/// anything else but a 200 is a failure.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(addr: std::net::SocketAddr, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let threads = (0..clients)
            .map(|_| {
                let (stop, done) = (stop.clone(), done.clone());
                std::thread::spawn(move || {
                    let mut client = Client::connect(addr);
                    while !stop.load(Ordering::Relaxed) {
                        let response = client.get("/");
                        assert_eq!(response.status, 200, "{response:?}");
                        done.fetch_add(1, Ordering::Relaxed);
                        if response.field("connection") == Some("close") {
                            if stop.load(Ordering::Relaxed) {
                                return;
                            }
                            client = Client::connect(addr);
                        }
                    }
                })
            })
            .collect();
        Self { stop, done, threads }
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.done.load(Ordering::Relaxed)
    }
}

#[test]
fn no_request_fails_while_snapshots_are_swapped() {
    let upstreams: Vec<_> = (0..3).map(|_| Upstream::echo()).collect();
    let port = free_port();
    let mut proxy =
        Proxy::gateway_with(&documents_on(port, &[upstreams[0].addr], ""), |config| config.workers = 2);
    let load = Load::start(proxy.addr(), 4);
    for round in 0..100 {
        let chosen: Vec<_> =
            upstreams.iter().enumerate().filter(|(i, _)| (round >> i) & 1 == 0 || *i == 2).collect();
        let chosen: Vec<_> = chosen.into_iter().map(|(_, upstream)| upstream.addr).collect();
        proxy.publish(&documents_on(port, &chosen, ""));
        let before = load.done();
        eventually("requests go on", || load.done() > before + 10);
    }
    assert!(load.finish() > 1000);
    assert!(upstreams.iter().all(|upstream| upstream.connections() > 0));
    assert_eq!(proxy.metrics().retries(), 0);
}

#[test]
fn pools_outlive_a_swap() {
    let upstream = Upstream::echo();
    let port = free_port();
    let mut proxy = Proxy::gateway(&documents_on(port, &[upstream.addr], ""));
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").status, 200);
        proxy.publish(&documents_on(port, &[upstream.addr], "retry: {attempts: 2}"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_listener_that_is_removed_drains() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |conn| {
        loop {
            if conn.head()?.contains("/held") {
                held.wait();
            }
            conn.ok(b"done")?;
        }
    });
    let (first, second) = (free_port(), free_port());
    let mut proxy = Proxy::gateway_with(&documents_on(first, &[upstream.addr], ""), |config| {
        // What is on its way when the listener goes may take so long on a busy machine.
        config.timeouts.drain_idle_grace = Duration::from_secs(5);
    });
    let mut in_flight = proxy.client();
    let (mut idle, mut late) = (proxy.client(), proxy.client());
    assert_eq!((idle.get("/").status, late.get("/").status), (200, 200));
    in_flight.send("GET /held HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("it is in flight", || proxy.metrics().requests() == 3);
    let old = proxy.addr();
    proxy.publish(&documents_on(second, &[upstream.addr], ""));
    let late = late.get("/");
    assert_eq!((late.status, late.field("connection")), (200, Some("close")), "it was on its way");
    gate.open();
    let response = in_flight.response();
    assert_eq!((response.status, response.field("connection")), (200, Some("close")));
    assert!(in_flight.is_closed());
    assert!(idle.is_closed());
    assert_ne!(proxy.addr(), old);
    assert_eq!(proxy.client().get("/").status, 200);
    eventually("nobody listens there", || std::net::TcpStream::connect(old).is_err());
}

#[test]
fn a_tunnel_through_a_listener_that_is_removed_keeps_no_idle_connections_open() {
    let upstream = Upstream::start(|conn| {
        loop {
            if conn.head()?.contains("/ws") {
                conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")?;
                conn.until_closed();
                return Ok(());
            }
            conn.ok(b"done")?;
        }
    });
    let mut proxy = Proxy::to(&[upstream.addr]);
    let (mut tunnel, mut client) = (proxy.client(), proxy.client());
    tunnel.send("GET /ws HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(tunnel.response().status, 101);
    assert_eq!(client.get("/").status, 200);
    eventually("it is pooled", || proxy.metrics().pooled_connections() == 1);
    let other = Upstream::echo();
    proxy.publish(&documents_on(free_port(), &[other.addr], ""));
    eventually("nobody can use it any more", || proxy.metrics().pooled_connections() == 0);
    eventually("only the tunnel stays", || proxy.metrics().active_connections() == 1);
    tunnel.send("more").half_close();
    eventually("it works", || find(&upstream.received(), b"more").is_some());
}

#[test]
fn draining_finishes_what_is_in_flight_and_fails_nothing() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |conn| {
        loop {
            let head = conn.head()?;
            if head.contains("/slow") {
                held.wait();
            }
            conn.ok(b"done")?;
        }
    });
    let port = free_port();
    let proxy = Proxy::gateway_with(&documents_on(port, &[upstream.addr], ""), |config| config.workers = 2);
    let addr = proxy.addr();
    let mut slow = proxy.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: app\r\n\r\n");
    // Busy clients, told to stop as the drain begins: what they have under way is still answered.
    let load = Load::start(addr, 4);
    eventually("requests go through", || load.done() > 100);
    load.stop.store(true, Ordering::Relaxed);
    let answer = std::thread::spawn(move || {
        eventually("the drain has begun", || std::net::TcpStream::connect(addr).is_err());
        gate.open();
        slow.response()
    });
    assert!(proxy.drain(), "all finished in time");
    assert!(load.finish() > 100);
    assert_eq!(answer.join().unwrap().text(), "done");
    assert!(std::net::TcpStream::connect(addr).is_err());
}

#[test]
fn a_busy_client_is_told_to_close_while_draining() {
    let upstream = Upstream::start(|conn| {
        loop {
            conn.head()?;
            conn.ok(b"done")?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    let asking = std::thread::spawn(move || {
        let mut count = 0;
        loop {
            let response = client.get("/");
            assert_eq!(response.status, 200);
            count += 1;
            if response.field("connection") == Some("close") {
                return count;
            }
        }
    });
    eventually("it is busy", || proxy.metrics().requests() > 20);
    assert!(proxy.drain());
    assert!(asking.join().unwrap() > 1);
}

#[test]
fn draining_ends_at_its_timeout() {
    let upstream = Upstream::start(|conn| {
        conn.head()?;
        conn.until_closed();
        Ok(())
    });
    let port = free_port();
    let proxy = Proxy::gateway_with(&documents_on(port, &[upstream.addr], ""), |config| {
        config.drain_timeout = Duration::from_millis(300);
    });
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("it is in flight", || upstream.connections() == 1);
    assert!(!proxy.drain());
    assert!(client.is_closed());
}

#[test]
fn a_gateway_listens_on_ipv6_and_every_worker_serves() {
    let upstream = Upstream::echo();
    let documents =
        documents_on(free_port(), &[upstream.addr], "").replace("value: 127.0.0.1", "value: \"::1\"");
    let proxy = Proxy::gateway_with(&documents, |config| config.workers = 4);
    assert!(proxy.addr().is_ipv6());
    let mut clients: Vec<_> = (0..40).map(|_| proxy.client()).collect();
    for client in &mut clients {
        let seen = client.get("/").text().to_lowercase();
        assert!(seen.contains("\r\nx-forwarded-for: ::1\r\n"), "{seen}");
    }
    // Which worker gets a connection is up to the kernel; 40 on one of four would be one chance in 4^39.
    assert!(upstream.connections() > 1);
}

#[test]
fn a_proxy_runs_from_a_file_until_it_is_told_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shop.yaml");
    let upstream = Upstream::echo();
    let port = free_port();
    std::fs::write(&file, documents_on(port, &[upstream.addr], "")).unwrap();
    let mut config = ProxyConfig::new(Mode::Gateway, SourceConfig::Static { files: vec![file] });
    config.workers = 2;
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let running = std::thread::spawn(move || weir_proxy::run(config, ended));
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it listens", || std::net::TcpStream::connect(addr).is_ok());
    assert_eq!(Client::connect(addr).get("/").status, 200);
    end.send(()).unwrap();
    running.join().unwrap().unwrap();
    assert!(std::net::TcpStream::connect(addr).is_err());
}
