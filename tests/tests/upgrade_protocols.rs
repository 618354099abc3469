//! A running proxy is replaced while connections of every kind are under way: they finish where they are, within the
//! drain timeout, and new ones go to the new process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use weir_tests::cluster::START_LIMIT;
use weir_tests::http2::Post;
use weir_tests::load::Load;
use weir_tests::wire::Wire;
use weir_tests::{App, Process, eventually, free_port, free_ports, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");
const TEST_STREAM: &str = env!("CARGO_BIN_EXE_test-stream");
const NAME: &str = "app.test";

/// A gateway with a port for HTTP, one for HTTPS and one for bytes.
struct Stage {
    dir: tempfile::TempDir,
    plain: u16,
    secure: u16,
    bytes: u16,
    _app: App,
    _stream: Process,
}

impl Stage {
    fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app = App::start(TEST_APP, "web");
        let stream_port = free_port();
        let address = format!("127.0.0.1:{stream_port}");
        let mut stream = Command::new(TEST_STREAM);
        stream.args(["bytes", &address]);
        let stream = Process::start("stream", stream);
        eventually("the stream server to listen", START_LIMIT, || {
            std::net::TcpStream::connect(&address).ok()
        });
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        std::fs::write(dir.path().join("tls.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        let [plain, secure, bytes] = free_ports();
        let documents = format!(
            "kind: Gateway
metadata: {{name: edge}}
spec:
  addresses: [{{value: 127.0.0.1}}]
  listeners:
  - {{name: plain, port: {plain}, protocol: HTTP}}
  - {{name: secure, port: {secure}, protocol: HTTPS, hostname: {NAME}, tls: {{certificateRefs: [{{name: app}}]}}}}
  - {{name: bytes, port: {bytes}, protocol: TCP}}
---
kind: Certificate
metadata: {{name: app}}
spec: {{certFile: {tls}.pem, keyFile: {tls}.key}}
---
kind: HTTPRoute
metadata: {{name: web}}
spec: {{parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{{name: web}}]}}]}}
---
kind: TCPRoute
metadata: {{name: bytes}}
spec: {{parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{{name: bytes}}]}}]}}
---
kind: Service
metadata: {{name: web}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
---
kind: Service
metadata: {{name: bytes}}
spec: {{protocol: tcp, endpoints: [{{address: 127.0.0.1, port: {stream_port}}}]}}
",
            app.port,
            tls = dir.path().join("tls").display(),
        );
        std::fs::write(dir.path().join("weir.yaml"), documents).unwrap();
        Self { dir, plain, secure, bytes, _app: app, _stream: stream }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A process of the proxy, which logs to a file of its name.
    fn process(&self, name: &str) -> Process {
        let mut command = Command::new(weir_tests::binary::weir());
        command
            .args(["proxy", "--workers", "2", "--drain-timeout", "120s", "-f"])
            .arg(self.path("weir.yaml"));
        command.arg("--handover").arg(self.path("handover.sock"));
        command.arg("--access-log").arg(self.path(name));
        Process::start(name, command)
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn tls(&self, protocol: &str) -> Wire {
        Wire::tls(self.secure, NAME, &self.path("tls.pem"), protocol).unwrap()
    }

    fn cleartext(&self, path: &str) -> Post {
        Post::begin(Wire::tcp(self.plain).unwrap(), "http", NAME, path, 10)
    }

    /// A WebSocket that answers.
    fn websocket(&self, path: &str) -> Wire {
        let mut wire = Wire::tcp(self.plain).unwrap();
        wire.send(
            format!(
                "GET {path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        );
        let head = String::from_utf8(wire.take_to(b"\r\n\r\n")).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // A frame of text, masked with zeros.
        wire.echo(b"\x81\x85\0\0\0\0hello");
        wire
    }

    /// Bytes that come back.
    fn bytes(&self) -> Wire {
        let mut wire = Wire::tcp(self.bytes).unwrap();
        assert_eq!(wire.take_to(b"\n"), b"bytes\n");
        wire.echo(b"\0\x01 not http \r\n\r\n");
        wire
    }

    /// What curl gets over TLS, on a connection of its own.
    fn curl(&self, version: &str, path: &str) -> Result<String, String> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "30", version, "--cacert"]);
        command.arg(self.path("tls.pem")).args(["--resolve", &format!("{NAME}:{}:127.0.0.1", self.secure)]);
        command.args(["--write-out", " %{http_version} %{response_code}"]);
        let done =
            command.arg(format!("https://{NAME}:{}{path}", self.secure)).output().expect("curl is missing");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
    }
}

/// Calls over TLS, one after another, until it is told to stop.
struct Callers(Arc<AtomicBool>, Vec<JoinHandle<Vec<String>>>);

impl Callers {
    fn start(stage: &Arc<Stage>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let versions = [("--http1.1", "web 1.1 200"), ("--http2", "web 2 200")];
        let start = |(version, expected)| {
            let (stage, stop) = (Arc::clone(stage), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match stage.curl(version, "/meanwhile") {
                        Ok(answer) if answer == expected => seen.push(String::new()),
                        Ok(other) | Err(other) => seen.push(other),
                    }
                }
                seen
            })
        };
        let threads = versions.map(start).into();
        Self(stop, threads)
    }

    /// Ends them: every call was answered.
    fn stop(self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1 {
            let seen = thread.join().unwrap();
            let failed: Vec<_> = seen.iter().filter(|text| !text.is_empty()).collect();
            assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), seen.len());
            assert!(!seen.is_empty());
        }
    }
}

#[test]
fn connections_of_every_kind_live_through_an_upgrade() {
    let stage = Arc::new(Stage::set());
    let mut running = stage.process("old.log");
    eventually("the proxy to answer", START_LIMIT, || http::get(stage.plain, "/").ok());
    eventually("the proxy to hand over", START_LIMIT, || stage.path("handover.sock").exists().then_some(()));

    // Under way: three requests of which half has been sent, and two tunnels.
    let mut posts =
        [stage.cleartext("/under-way-h2c"), Post::begin(stage.tls("h2"), "https", NAME, "/under-way-h2", 10)];
    posts.iter_mut().for_each(|post| post.body(b"01234"));
    let mut old_fashioned = stage.tls("http/1.1");
    let head = format!("POST /echo/under-way-h1 HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 10\r\n\r\n01234");
    old_fashioned.send(head.as_bytes());
    let (mut websocket, mut bytes) = (stage.websocket("/under-way-ws"), stage.bytes());
    let load = Load {
        port: stage.plain,
        target: "/meanwhile".to_owned(),
        host: NAME.to_owned(),
        rate: 200,
        connections: 8,
        duration_max: Duration::from_secs(300),
    };
    let load = load.start_mixed(4);
    load.wait_for_first(START_LIMIT);
    let callers = Callers::start(&stage);

    let mut next = stage.process("new.log");
    next.wait_for_line("serving in the place of the proxy that ran before", START_LIMIT);

    // What is new goes to the new process.
    assert_eq!(stage.curl("--http1.1", "/after-h1").as_deref(), Ok("web 1.1 200"));
    assert_eq!(stage.curl("--http2", "/after-h2").as_deref(), Ok("web 2 200"));
    assert_eq!(stage.cleartext("/after-h2c").end(b"0123456789").as_deref(), Some("web"));
    drop(stage.websocket("/after-ws"));
    drop(stage.bytes());
    let after = ["/after-h1\"", "/after-h2\"", "/after-h2c\"", "/after-ws\"", "\"protocol\":\"tcp\""];
    eventually("the new process to log what is new", START_LIMIT, || {
        let log = stage.log("new.log");
        after.iter().all(|one| log.contains(one)).then_some(())
    });

    // What is under way finishes in the old one: requests are answered, and their connections end then.
    assert!(running.is_running());
    for mut post in posts {
        post.until_told_to_go();
        post.body(b"567");
        assert_eq!(post.end(b"89").as_deref(), Some("web"));
    }
    old_fashioned.send(b"56789");
    let answer = String::from_utf8(old_fashioned.rest()).unwrap().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    // Tunnels live on.
    websocket.echo(b"\x81\x83\0\0\0\0bye");
    bytes.echo(b"still here");
    assert!(running.is_running());
    callers.stop();
    load.wait_for_more(100, START_LIMIT);
    let outcome = load.stop();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    drop((websocket, bytes));
    let status = running.wait(START_LIMIT);
    let said = running.output();
    assert!(status.success(), "{status}\n{said}");
    assert!(!said.contains("within the drain timeout"), "{said}");

    let (old, new) = (stage.log("old.log"), stage.log("new.log"));
    for path in ["h2c", "h2", "h1", "ws"].map(|kind| format!("/under-way-{kind}\"")) {
        assert!(old.contains(&path) && !new.contains(&path), "{path}: {old}");
    }
    assert_eq!(old.matches("\"protocol\":\"tcp\"").count(), 1, "{old}");
    assert!(!old.contains("/after-"), "{old}");
    assert!(next.terminate().success());
}
