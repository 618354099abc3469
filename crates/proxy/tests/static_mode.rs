//! A proxy run from files alone, as the `weir` binary runs it: serves, reloads without a failed request, refuses what is
//! wrong.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use weir_proxy::{Mode, ProxyConfig, ProxyError, SourceConfig};

const PATIENCE: Duration = Duration::from_secs(60);

fn free_addr() -> SocketAddr {
    ([127, 0, 0, 1], weir_tests::free_port()).into()
}

/// An upstream that answers every request with its name, until the process ends.
fn upstream(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            std::thread::spawn(move || answer(socket.unwrap(), name));
        }
    });
    addr
}

fn answer(mut socket: TcpStream, name: &str) {
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty()
            && write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()).is_err()
        {
            return;
        }
    }
}

/// An upstream that answers `/health` with 503 while it is ill, and everything else with its name.
struct Patient {
    addr: SocketAddr,
    ill: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
}

impl Patient {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (ill, looks): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let patient = Self { addr: listener.local_addr().unwrap(), ill, looks };
        let (ill, looks) = (Arc::clone(&patient.ill), Arc::clone(&patient.looks));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (ill, looks) = (Arc::clone(&ill), Arc::clone(&looks));
                std::thread::spawn(move || Self::serve(socket.unwrap(), name, &ill, &looks));
            }
        });
        patient
    }

    fn serve(mut socket: TcpStream, name: &str, ill: &AtomicBool, looks: &AtomicUsize) {
        let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
        let mut is_look = false;
        while let Some(Ok(line)) = lines.next() {
            is_look |= line == "GET /health?deep=1 HTTP/1.1";
            if !line.is_empty() {
                continue;
            }
            looks.fetch_add(usize::from(is_look), Ordering::SeqCst);
            let status = if is_look && ill.load(Ordering::SeqCst) { "503 Ill" } else { "200 OK" };
            let written = write!(socket, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            if written.is_err() {
                return;
            }
            is_look = false;
        }
    }

    fn fall(&self, ill: bool) {
        self.ill.store(ill, Ordering::SeqCst);
    }
}

/// Status and body of the answer to a request on a connection of its own.
fn get(addr: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn documents(port: u16, upstream: SocketAddr) -> String {
    format!(
        "kind: Gateway
metadata: {{name: edge}}
spec:
  listeners: [{{name: web, port: {port}, protocol: HTTP}}]
---
kind: HTTPRoute
metadata: {{name: shop}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{name: cart}}]}}]
---
kind: Service
metadata: {{name: cart}}
spec:
  endpoints: [{{address: {}, port: {}}}]
",
        upstream.ip(),
        upstream.port()
    )
}

struct Proxy {
    admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<Result<(), ProxyError>>>,
}

impl Proxy {
    fn start(file: &Path) -> Self {
        let admin = free_addr();
        let mut config =
            ProxyConfig::new(Mode::Gateway, SourceConfig::Static { files: vec![PathBuf::from(file)] });
        config.workers = 2;
        config.admin = Some(admin);
        let (stop, stopped) = oneshot::channel();
        let running = std::thread::spawn(|| {
            weir_proxy::run(config, async {
                let _ = stopped.await;
            })
        });
        Self { admin, stop: Some(stop), running: Some(running) }
    }

    fn is_ready(&self) -> bool {
        get(self.admin, "/readyz").is_ok_and(|(status, _)| status == 200)
    }

    fn config(&self) -> serde_json::Value {
        let (_, body) = get(self.admin, "/config").unwrap();
        serde_json::from_str(&body).unwrap()
    }

    fn revision(&self) -> u64 {
        self.config()["position"]["revision"].as_u64().unwrap()
    }

    fn stop(&mut self) -> Result<(), ProxyError> {
        drop(self.stop.take());
        self.running.take().map_or(Ok(()), |running| running.join().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

#[test]
fn serves_reloads_and_refuses() {
    let (old, new) = (upstream("old"), upstream("new"));
    let web = free_addr();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.yaml");
    fs::write(&file, documents(web.port(), old)).unwrap();
    let mut proxy = Proxy::start(&file);
    eventually("ready", || proxy.is_ready());
    assert_eq!(get(web, "/").unwrap(), (200, "old".to_owned()));

    // Requests go on through everything that follows.
    let (done, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking = {
        let (done, asked) = (done.clone(), asked.clone());
        std::thread::spawn(move || {
            let mut failed = Vec::new();
            while !done.load(Ordering::Relaxed) {
                match get(web, "/") {
                    Ok((200, _)) => {}
                    other => failed.push(format!("{other:?}")),
                }
                asked.fetch_add(1, Ordering::Relaxed);
            }
            failed
        })
    };
    fs::write(&file, documents(web.port(), new)).unwrap();
    eventually("the new upstream", || get(web, "/").is_ok_and(|(_, body)| body == "new"));
    assert_eq!(proxy.revision(), 2);

    fs::write(&file, documents(web.port(), old).replace("backendRefs", "backendRef")).unwrap();
    eventually("the refusal", || proxy.config()["source"]["error"].is_string());
    assert_eq!(get(web, "/").unwrap().1, "new", "what is refused changes nothing");

    let second = free_addr();
    let both =
        format!("{{name: web, port: {}, protocol: HTTP}}, {{name: two, port: {}", web.port(), second.port());
    let added = documents(web.port(), new).replace(&format!("{{name: web, port: {}", web.port()), &both);
    fs::write(&file, added).unwrap();
    eventually("the second port", || get(second, "/").is_ok_and(|(status, _)| status == 200));
    assert_eq!(proxy.revision(), 3);
    eventually("the end of the refusal", || proxy.config()["source"]["error"].is_null());

    let so_far = asked.load(Ordering::Relaxed);
    eventually("more requests", || asked.load(Ordering::Relaxed) > so_far + 10);
    done.store(true, Ordering::Relaxed);
    assert_eq!(asking.join().unwrap(), Vec::<String>::new());
    let (status, text) = get(proxy.admin, "/explain?url=http://shop/cart&format=text").unwrap();
    assert_eq!(status, 200);
    assert!(text.contains(&format!("at {new}")), "{text}");
    proxy.stop().unwrap();
    assert!(get(web, "/").is_err(), "nobody listens any more");
}

/// The bodies of so many answers, each of which must be a success.
fn answers(web: SocketAddr, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| {
            let (status, body) = get(web, "/").unwrap();
            assert_eq!(status, 200);
            body
        })
        .collect()
}

#[test]
fn endpoints_of_files_are_checked_left_out_and_taken_back() {
    let (a, b) = (Patient::start("a"), Patient::start("b"));
    let web = free_addr();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.yaml");
    let check =
        "{type: http, path: \"/health?deep=1\", interval: 100ms, healthyThreshold: 2, unhealthyThreshold: 2}";
    let endpoints = format!(
        "endpoints: [{{address: 127.0.0.1, port: {}}}, {{address: 127.0.0.1, port: {}}}]\n  check: {check}",
        a.addr.port(),
        b.addr.port()
    );
    let text = documents(web.port(), a.addr);
    let written = format!("endpoints: [{{address: {}, port: {}}}]", a.addr.ip(), a.addr.port());
    fs::write(&file, text.replace(&written, &endpoints)).unwrap();
    let proxy = Proxy::start(&file);
    eventually("ready", || proxy.is_ready());
    let explained = || get(proxy.admin, "/explain?url=http://shop/&format=text").unwrap().1;
    eventually("both are checked", || {
        explained().matches("passing, weight 1, 0 in flight, checked by this proxy").count() == 2
    });

    a.fall(true);
    eventually("the ill one is left out", || explained().contains("left out: critical"));
    assert!(
        explained().contains("critical, weight 1, 0 in flight, checked by this proxy, so since"),
        "{}",
        explained()
    );
    assert_eq!(answers(web, 20), vec!["b"; 20]);
    let metrics = get(proxy.admin, "/metrics").unwrap().1;
    for line in [
        "weir_proxy_checks_ruling 0",
        "weir_proxy_checks_endpoints{of=\"written\"} 2",
        "weir_proxy_checks_changes_total{health=\"critical\"} 1",
        "weir_proxy_endpoints_checked{service=\"cart\",health=\"passing\"} 1",
        "weir_proxy_endpoints_checked{service=\"cart\",health=\"critical\"} 1",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }

    // When all are ill, a try is worth more than a certain refusal.
    b.fall(true);
    eventually("panic", || explained().contains("too few endpoints are healthy"));
    answers(web, 5);
    a.fall(false);
    b.fall(false);
    eventually("both are back", || !explained().contains("critical"));
    let all: std::collections::BTreeSet<_> = answers(web, 60).into_iter().collect();
    assert_eq!(all.len(), 2, "{all:?}");

    // Without the check nobody looks, and what it came to does not count any more.
    a.fall(true);
    eventually("the ill one is left out again", || explained().contains("left out: critical"));
    fs::write(&file, text.replace(&written, endpoints.lines().next().unwrap())).unwrap();
    eventually("not checked", || explained().matches("not checked").count() == 2);
    eventually("looks end", || {
        let seen = a.looks.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        a.looks.load(Ordering::SeqCst) == seen
    });
}

#[test]
fn a_bad_file_at_the_start_is_told_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.yaml");
    fs::write(&file, documents(8080, free_addr()).replace("backendRefs", "backendRef")).unwrap();
    let error = Proxy::start(&file).stop().unwrap_err().to_string();
    assert!(error.contains("shop.yaml:10: HTTPRoute/shop spec.rules[0].backendRef"), "{error}");
    assert!(error.contains("did you mean `backendRefs`?"), "{error}");
}

#[test]
fn a_port_that_is_taken_is_told_with_its_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.yaml");
    fs::write(&file, documents(taken.local_addr().unwrap().port(), free_addr())).unwrap();
    let error = Proxy::start(&file).stop().unwrap_err().to_string();
    assert!(
        error.contains("shop.yaml:4: Gateway/edge spec.listeners[0].port: cannot listen on 127.0.0.1"),
        "{error}"
    );
}
