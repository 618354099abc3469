//! HTTP/2 and gRPC through a real proxy process, by clients that others have written: grpcio (installed below
//! `clients/` at its pinned version when it is not there yet), and where the system has them curl, nghttp and h2load.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use weir_tests::cluster::START_LIMIT;
use weir_tests::{App, Process, eventually, free_port, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Runs a command and returns its standard output; what went wrong is shown in full.
fn run(what: &str, command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{what}: cannot start {:?}: {error}; is it installed?", command.get_program())
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{text}{errors}", output.status);
    text
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The interpreter with grpcio.
fn python() -> PathBuf {
    let venv = clients().join(".venv").join("grpc");
    let list = clients().join("requirements-grpc.txt");
    let wanted = std::fs::read_to_string(&list).unwrap();
    let mark = venv.join(".installed");
    if !std::fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        let _ = std::fs::remove_dir_all(&venv);
        run("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(&venv));
        let mut pip = Command::new(venv.join("bin/pip"));
        run("pip install", pip.args(["install", "--quiet", "--requirement"]).arg(&list));
        std::fs::write(&mark, wanted).unwrap();
    }
    venv.join("bin/python")
}

/// The server of the flows; ends when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(python())
            .arg(clients().join("grpc_flows.py"))
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { port: line.trim().parse().unwrap_or_else(|_| panic!("no port: {line:?}")), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A proxy that serves documents from a file, at a port.
fn proxy(dir: &Path, port: u16, documents: &str) -> Process {
    let file = dir.join("weir.yaml");
    let gateway = format!(
        "kind: Gateway\nmetadata: {{name: edge}}\nspec:\n  addresses: [{{value: 127.0.0.1}}]\n  listeners: [{{name: http, port: {port}, protocol: HTTP}}]\n"
    );
    std::fs::write(&file, format!("{gateway}{documents}")).unwrap();
    let proxy = Process::weir("proxy", ["proxy".as_ref(), "-f".as_ref(), file.as_os_str()]);
    eventually("the proxy to answer", START_LIMIT, || http::get(port, "/").ok());
    proxy
}

fn service(name: &str, protocol: &str, port: u16) -> String {
    format!(
        "---
kind: Service
metadata: {{name: {name}}}
spec: {{protocol: {protocol}, endpoints: [{{address: 127.0.0.1, port: {port}}}]}}
---
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [{name}.test]
  rules: [{{backendRefs: [{{name: {name}}}]}}]
"
    )
}

#[test]
fn grpcio_calls_grpcio() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let documents = service("flows", "grpc", server.port) + &service("down", "grpc", free_port());
    let _proxy = proxy(dir.path(), port, &documents);
    let mut flows = Command::new(python());
    flows.arg(clients().join("grpc_flows.py")).args(["call", "127.0.0.1", &port.to_string()]);
    let output = run("grpc flows", &mut flows);
    let counts = output.lines().last().unwrap_or_default();
    assert_eq!(counts, "grpcio: 14 passed, 0 failed", "{output}");
}

#[test]
fn curl_nghttp_and_h2load_are_served() {
    let app = App::start(TEST_APP, "one");
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let _proxy = proxy(dir.path(), port, &service("one", "http", app.port));
    let url = format!("http://127.0.0.1:{port}/");
    if is_there("curl") {
        let seen = run(
            "curl",
            Command::new("curl").args(["-sS", "--http2-prior-knowledge", "-H", "host: one.test"]).args([
                "-w",
                "%{http_version} %{http_code}",
                "-o",
                "/dev/null",
                &url,
            ]),
        );
        assert_eq!(seen, "2 200");
    }
    if is_there("nghttp") {
        let seen = run("nghttp", Command::new("nghttp").args(["-v", "-H", ":authority: one.test", &url]));
        assert!(seen.contains(":status: 200"), "{seen}");
    }
    if is_there("h2load") {
        let mut h2load = Command::new("h2load");
        h2load.args(["-n", "2000", "-c", "4", "-m", "20", "-H", ":authority: one.test", &url]);
        let seen = run("h2load", &mut h2load);
        assert!(seen.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{seen}");
        assert!(seen.contains("status codes: 2000 2xx"), "{seen}");
    }
}
