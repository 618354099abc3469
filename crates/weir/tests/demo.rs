//! The demo as a newcomer meets it: real processes on free ports.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const WEIR: &str = env!("CARGO_BIN_EXE_weir");
/// How long the demo may take to be up; generous, for debug builds on busy machines.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long anything else may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A running demo. Killed when dropped; its children then end by themselves.
struct Demo {
    process: Child,
    log: PathBuf,
    http: u16,
    gateway: u16,
    _folder: tempfile::TempDir,
}

impl Demo {
    fn start() -> Self {
        let [http, grpc, gateway] = weir_tests::free_ports();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let out = std::fs::File::create(&log).unwrap();
        let process = Command::new(WEIR)
            .arg("demo")
            .args(["--http", &format!("127.0.0.1:{http}"), "--grpc", &format!("127.0.0.1:{grpc}")])
            .args(["--dns", "127.0.0.1:0"])
            .args(["--gateway", &format!("127.0.0.1:{gateway}")])
            .stdin(Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .unwrap();
        let mut demo = Self { process, log, http, gateway, _folder: folder };
        let began = Instant::now();
        while !demo.said().contains("Ctrl-C stops everything.") {
            assert!(demo.process.try_wait().unwrap().is_none(), "it ended:\n{}", demo.said());
            assert!(began.elapsed() < START_LIMIT, "it is not up:\n{}", demo.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        demo
    }

    /// What it has printed so far.
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Runs an operator command against it.
    fn weir(&self, args: &[&str]) -> Output {
        let server = format!("127.0.0.1:{}", self.http);
        Command::new(WEIR).args(args).env("WEIR_SERVER", server).output().unwrap()
    }

    /// Runs an operator command that must succeed, and returns what it printed.
    fn weir_says(&self, args: &[&str]) -> String {
        let output = self.weir(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Gets a page of the shop.
    fn page(&self, path: &str, field: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.gateway)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n{field}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        answer
    }

    /// The process ids in a line of the table of applications: the application's and its sidecar's.
    fn pids(&self, application: &str) -> [String; 2] {
        let said = self.said();
        let line = said.lines().find(|line| line.starts_with(&format!("{application} "))).unwrap().to_owned();
        let mut words = line.split_whitespace().skip(1).map(str::to_owned);
        [words.next().unwrap(), words.next().unwrap()]
    }

    /// The ids of its child processes, as the system knows them.
    fn children(&self) -> Vec<u32> {
        let parent = self.process.id().to_string();
        let entries = std::fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| status_of(*pid).is_some_and(|(_, ppid)| ppid == parent)).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "---- the demo said:\n{}", self.said());
        }
    }
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

/// The state of a process and the id of its parent.
fn status_of(pid: u32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses, and may hold some itself.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some((words.next()?, words.next()?))
}

/// A zombie is not running; it only waits to be collected.
fn is_running(pid: u32) -> bool {
    status_of(pid).is_some_and(|(state, _)| state != "Z")
}

#[test]
fn the_demo_does_what_it_proposes() {
    let mut demo = Demo::start();
    let said = demo.said();
    assert!(said.contains("40 requests sent, 40 answered with 200"), "{said}");
    assert!(said.contains("with x-canary: yes   catalog v2 answered 5"), "{said}");

    let dns = said.lines().find_map(|line| line.trim().strip_prefix("dig @127.0.0.1 -p ")).unwrap();
    let (port, question) = dns.split_once(' ').unwrap();
    let question: Vec<&str> = question.split(' ').collect();
    let carts = weir_tests::dns::short(port.parse().unwrap(), &question);
    assert_eq!(carts.len(), 2, "{dns}: {carts:?}");

    assert!(demo.page("/cart", "").contains("\"kettle\""));
    assert!(demo.page("/catalog", "").contains("\"version\":\"v1\"}"), "front's own version stands last");
    assert!(demo.page("/catalog", "x-canary: yes\r\n").contains("teapot"));

    let explained =
        demo.weir_says(&["explain", "GET", "http://catalog/", "--from", "front", "-H", "x-canary: yes"]);
    assert!(
        explained.contains("HTTPRoute/catalog#asked-for") && explained.contains("catalog-v2-1"),
        "{explained}"
    );
    let gateway = format!("http://127.0.0.1:{}/cart", demo.gateway);
    let explained = demo.weir_says(&["explain", "GET", &gateway]);
    assert!(explained.contains("HTTPRoute/shop#front") && explained.contains("front-1"), "{explained}");

    let canary = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/canary.yaml");
    let applied = demo.weir_says(&["apply", "-f", canary]);
    assert!(applied.starts_with("HTTPRoute/catalog updated\napplied by "), "{applied}");
    // The command does not wait as long as a busy machine takes.
    eventually("all to have applied it", || {
        demo.weir_says(&["get", "proxies"]).matches("in sync").count() == 7
    });
    // Acknowledged means in force: no waiting here. All from one version would be a chance of one in 2^39.
    let canaries = (0..40).filter(|_| demo.page("/catalog", "").contains("teapot")).count();
    assert!((1..40).contains(&canaries), "{canaries} of 40");

    let services = demo.weir_says(&["get", "services", "-o", "json"]);
    assert!(services.contains("\"catalog-v2\""), "{services}");

    // What is shown as YAML is what was applied.
    let shown = demo.weir_says(&["get", "all", "-o", "yaml"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.yaml");
    std::fs::write(&file, &shown).unwrap();
    let applied = demo.weir_says(&["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(applied.matches(" unchanged\n").count(), 4, "{applied}\n{shown}");
    assert!(applied.ends_with("nothing to change\n"), "{applied}");

    for pid in demo.pids("cart-1") {
        kill("-9", &pid);
    }
    for _ in 0..20 {
        demo.page("/cart", "");
    }
    eventually("the loss to be reported", || {
        demo.said().contains("cart-1 (process") && demo.said().contains("sidecar-cart-1 (process")
    });
    eventually("the loss to be seen by the check", || {
        demo.weir_says(&["get", "instances", "cart"]).contains("critical")
    });

    let children = demo.children();
    assert_eq!(children.len(), 11, "a gateway, five applications and five sidecars are left");
    kill("-TERM", &demo.process.id().to_string());
    let status = demo.process.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(children.iter().all(|pid| !is_running(*pid)), "some children are left");
}

#[test]
fn children_end_with_a_parent_that_is_killed() {
    let mut demo = Demo::start();
    let children = demo.children();
    assert_eq!(children.len(), 13);
    demo.process.kill().unwrap();
    demo.process.wait().unwrap();
    eventually("the children to end", || children.iter().all(|pid| !is_running(*pid)));
}

#[test]
fn applying_what_is_wrong_ends_with_its_status() {
    let demo = Demo::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    let check = |text: &str, status: i32, part: &str| {
        std::fs::write(&file, text).unwrap();
        let output = demo.weir(&["apply", "-f", file.to_str().unwrap()]);
        let error =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{error}");
        assert!(error.contains(part), "`{part}` is missing in\n{error}");
    };
    check("kind: HTTPRoute\nmetadata: {name: x}\nspec: {rulez: []}\n", 3, "bad.yaml:3:");
    // Everything is right with this one but that the port is taken, which only the gateway can tell.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let gateway = format!(
        "kind: Gateway\nmetadata: {{name: default}}\nspec: {{addresses: [{{value: 127.0.0.1}}], \
         listeners: [{{name: http, port: {port}, protocol: HTTP}}]}}\n"
    );
    check(&gateway, 7, "spec.listeners[0].port");
    demo.page("/cart", "");
    assert_eq!(demo.weir(&["get", "HTTPRoute", "none"]).status.code(), Some(4));
    drop(taken);
    assert_eq!(
        demo.weir(&["get", "services", "--server", &format!("127.0.0.1:{port}")]).status.code(),
        Some(5)
    );
}
