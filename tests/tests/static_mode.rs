//! `weir proxy -f`: a data plane from files alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use weir_tests::cluster::START_LIMIT;
use weir_tests::load::Load;
use weir_tests::{App, Process, eventually, free_port, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

struct Stage {
    dir: tempfile::TempDir,
    port: u16,
    apps: Vec<App>,
}

impl Stage {
    fn set() -> Self {
        let apps = ["one", "two"].iter().map(|name| App::start(TEST_APP, name)).collect();
        Self { dir: tempfile::tempdir().unwrap(), port: free_port(), apps }
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("weir.yaml")
    }

    /// Writes the file with these rules in its route, as an editor does: aside, then moved into place.
    fn write(&self, rules: &str) {
        let text = format!(
            "kind: Gateway
metadata: {{name: edge}}
spec:
  addresses: [{{value: 127.0.0.1}}]
  listeners: [{{name: http, port: {}, protocol: HTTP}}]
---
kind: Service
metadata: {{name: one}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
---
kind: Service
metadata: {{name: two}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
---
kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{name: edge}}]
  rules:
{rules}
",
            self.port, self.apps[0].port, self.apps[1].port
        );
        let aside = self.dir.path().join("weir.yaml.new");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, self.file()).unwrap();
    }

    fn proxy(&self) -> Process {
        let proxy = Process::weir("proxy", ["proxy".as_ref(), "-f".as_ref(), self.file().as_os_str()]);
        eventually("the proxy to answer", START_LIMIT, || http::get(self.port, "/").ok());
        proxy
    }

    fn who(&self, target: &str, headers: &[(&str, &str)]) -> String {
        http::request(self.port, "GET", target, headers, b"").unwrap().text()
    }
}

#[test]
fn routes_by_path_header_and_weight() {
    let stage = Stage::set();
    stage.write(
        "  - matches: [{path: {value: /two}}]
    backendRefs: [{name: two}]
  - matches: [{headers: [{name: x-pick, value: two}]}]
    backendRefs: [{name: two}]
  - matches: [{path: {value: /split}}]
    backendRefs: [{name: one, weight: 3}, {name: two, weight: 1}]
  - backendRefs: [{name: one}]",
    );
    let _proxy = stage.proxy();
    assert_eq!(stage.who("/", &[]), "one");
    assert_eq!(stage.who("/two", &[]), "two");
    assert_eq!(stage.who("/two/deeper", &[]), "two");
    assert_eq!(stage.who("/twofold", &[]), "one");
    assert_eq!(stage.who("/", &[("X-Pick", "two")]), "two");
    let mut counts = BTreeMap::new();
    for _ in 0..400 {
        *counts.entry(stage.who("/split", &[])).or_insert(0) += 1;
    }
    // 300 expected of 400 draws; seven standard deviations are 61.
    assert!((239..=361).contains(&counts["one"]), "{counts:?}");
}

#[test]
fn a_changed_file_is_taken_up_without_dropping_a_request() {
    let stage = Stage::set();
    stage.write("  - backendRefs: [{name: one}]");
    let _proxy = stage.proxy();
    let load = Load {
        port: stage.port,
        target: "/".to_owned(),
        host: "shop.test".to_owned(),
        rate: 500,
        connections: 8,
        duration_max: Duration::from_secs(600),
    };
    let running = load.start();
    running.wait_for_first(START_LIMIT);
    for name in ["two", "one", "two"] {
        stage.write(&format!("  - backendRefs: [{{name: {name}}}]"));
        eventually("the change to be in force", START_LIMIT, || (stage.who("/", &[]) == name).then_some(()));
    }
    let outcome = running.stop();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
}

#[test]
fn a_bad_file_is_refused_and_the_old_one_stays() {
    let stage = Stage::set();
    stage.write("  - backendRefs: [{name: one}]");
    let mut proxy = stage.proxy();
    stage.write("  - backendRef: [{name: two}]");
    let line = proxy.wait_for_line("backendRef", START_LIMIT);
    for part in ["weir.yaml:20", "spec.rules[0].backendRef", "did you mean", "backendRefs"] {
        assert!(line.contains(part), "`{part}` is missing in: {line}");
    }
    assert_eq!(stage.who("/", &[]), "one");
    stage.write("  - backendRefs: [{name: two}]");
    eventually("the mended file to be in force", START_LIMIT, || {
        (stage.who("/", &[]) == "two").then_some(())
    });
}

#[test]
fn a_bad_file_at_the_start_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, text: &str, expected: &[&str]| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let said = refused(&path);
        for part in expected {
            assert!(said.contains(part), "`{part}` is missing in:\n{said}");
        }
    };
    check("kind.yaml", "kind: Gatewy\nmetadata: {name: a}\n", &["kind.yaml:1", "Gatewy", "Gateway"]);
    check("tabs.yaml", "kind: Service\n\tmetadata: x\n", &["tabs.yaml:", "tab"]);
    check(
        "port.yaml",
        &service("{address: 127.0.0.1, port: 70000}"),
        &["port.yaml:3", "spec.endpoints[0].port"],
    );
    let missing = refused(&dir.path().join("missing.yaml"));
    assert!(missing.contains("missing.yaml"), "{missing}");
}

fn service(endpoint: &str) -> String {
    format!("kind: Service\nmetadata: {{name: a}}\nspec: {{endpoints: [{endpoint}]}}\n")
}

fn refused(path: &Path) -> String {
    let mut proxy = Process::weir("proxy", ["proxy".as_ref(), "-f".as_ref(), path.as_os_str()]);
    let status = proxy.wait(START_LIMIT);
    assert!(!status.success());
    proxy.output()
}

#[test]
fn an_address_is_not_shared_with_another_proxy() {
    let stage = Stage::set();
    stage.write("  - backendRefs: [{name: one}]");
    let _proxy = stage.proxy();
    let mut second = Process::weir("second", ["proxy".as_ref(), "-f".as_ref(), stage.file().as_os_str()]);
    assert_eq!(second.wait(START_LIMIT).code(), Some(6), "{}", second.output());
    for part in ["weir.yaml:5", "spec.listeners[0].port", "in use", "another process listens there"] {
        assert!(second.output().contains(part), "`{part}` is missing in:\n{}", second.output());
    }
    assert_eq!(stage.who("/", &[]), "one");
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let stage = Stage::set();
    stage.write("  - backendRefs: [{name: one}]");
    let loopback = std::fs::read_to_string(stage.file()).unwrap();
    let open = loopback.replace("value: 127.0.0.1", "value: 0.0.0.0");
    std::fs::write(stage.file(), &open).unwrap();
    let mut proxy = Process::weir("proxy", ["proxy".as_ref(), "-f".as_ref(), stage.file().as_os_str()]);
    assert_eq!(proxy.wait(START_LIMIT).code(), Some(6), "{}", proxy.output());
    for part in ["weir.yaml:4", "spec.addresses[0].value", "--insecure", "loopback"] {
        assert!(proxy.output().contains(part), "`{part}` is missing in:\n{}", proxy.output());
    }

    std::fs::write(stage.file(), &loopback).unwrap();
    let mut proxy = stage.proxy();
    std::fs::write(stage.file(), &open).unwrap();
    proxy.wait_for_line("spec.addresses[0].value", START_LIMIT);
    assert_eq!(stage.who("/", &[]), "one", "what was there stays");
    drop(proxy);

    std::fs::write(stage.file(), &open).unwrap();
    let file = stage.file();
    let _proxy =
        Process::weir("proxy", ["proxy".as_ref(), "--insecure".as_ref(), "-f".as_ref(), file.as_os_str()]);
    eventually("the proxy to answer", START_LIMIT, || http::get(stage.port, "/").ok());
}

#[test]
fn sighup_begins_a_new_log_and_reads_the_files() {
    let stage = Stage::set();
    stage.write("  - backendRefs: [{name: one}]");
    let (log, moved) = (stage.dir.path().join("access.log"), stage.dir.path().join("access.log.1"));
    let file = stage.file();
    let args = ["proxy".as_ref(), "-f".as_ref(), file.as_os_str(), "--access-log".as_ref(), log.as_os_str()];
    let mut proxy = Process::weir("proxy", args);
    eventually("the proxy to answer", START_LIMIT, || http::get(stage.port, "/").ok());
    let logged = |log: &Path, what: &str| std::fs::read_to_string(log).is_ok_and(|text| text.contains(what));
    for round in 0..3 {
        assert_eq!(stage.who(&format!("/before-{round}"), &[]), "one");
        eventually("the line before", START_LIMIT, || {
            logged(&log, &format!("/before-{round}")).then_some(())
        });
        std::fs::rename(&log, &moved).unwrap();
        proxy.signal(libc::SIGHUP);
        eventually("a new log", START_LIMIT, || log.exists().then_some(()));
        assert_eq!(stage.who(&format!("/after-{round}"), &[]), "one");
        eventually("the line after", START_LIMIT, || logged(&log, &format!("/after-{round}")).then_some(()));
        assert!(!logged(&moved, &format!("/after-{round}")));
    }
    proxy.wait_for_line("as told by SIGHUP", START_LIMIT);
    assert!(proxy.is_running());
}

#[test]
fn sigterm_drains() {
    let stage = Stage::set();
    stage.write("  - backendRefs: [{name: one}]");
    let (file, admin) = (stage.file(), free_port());
    let at = format!("127.0.0.1:{admin}");
    let mut proxy = Process::weir("proxy", ["proxy", "-f", file.to_str().unwrap(), "--admin", &at]);
    eventually("the proxy to answer", START_LIMIT, || http::get(stage.port, "/").ok());
    let mut connection = http::Connection::open(stage.port).unwrap();
    assert_eq!(connection.request("GET", "/", &[], b"").unwrap().status, 200);
    // A request that is under way when the signal comes: its body is not complete yet.
    connection.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab").unwrap();
    eventually("the request to be under way", START_LIMIT, || {
        let metrics = http::get(admin, "/metrics").ok()?.text();
        metrics
            .lines()
            .any(|line| line.starts_with("weir_proxy_requests_active") && line.ends_with(" 1"))
            .then_some(())
    });
    proxy.signal(libc::SIGTERM);
    eventually("new connections to be refused", START_LIMIT, || http::get(stage.port, "/").err());
    connection.send(b"cd").unwrap();
    let answer = connection.response(false).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(proxy.wait(START_LIMIT).success());
}
