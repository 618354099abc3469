//! What proxies report, from their counters to `weir top`, `weir explain` and the terminal.
//!
//! The terminal is a pseudo-terminal that a script in Python holds: `python3` must be there.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use weir_tests::cluster::START_LIMIT;
use weir_tests::documents::service;
use weir_tests::{App, Cluster, Process, eventually, free_port, free_ports, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

/// What a terminal is told when it is taken over, and when it is given back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A server, and two gateways in front of one service; the first one lets little through.
struct Stage {
    cluster: Cluster,
    app: App,
    ports: [u16; 2],
    admin: u16,
    gateways: Vec<Process>,
}

fn documents(ports: [u16; 2], app: u16) -> String {
    let gateway = |name: &str, port: u16| {
        format!(
            "kind: Gateway\nmetadata: {{name: {name}}}\nspec:\n  addresses: [{{value: 127.0.0.1}}]\n  \
             listeners: [{{name: http, port: {port}, protocol: HTTP}}]\n---\n"
        )
    };
    let rest = "kind: HTTPRoute\nmetadata: {name: web}\nspec:\n  parentRefs: [{name: one}, {name: two}]\n  \
                rules: [{backendRefs: [{name: web}]}]\n---\nkind: RateLimit\nmetadata: {name: few}\nspec:\n  \
                targetRefs: [{kind: Gateway, name: one}]\n  rates: [{requests: 20, per: 1h, burst: 20}]\n---\n\
                kind: TrafficPolicy\nmetadata: {name: web}\nspec:\n  targetRefs: [{name: web}]\n  \
                breakers: [{level: service, open: 60s}]\n";
    gateway("one", ports[0]) + &gateway("two", ports[1]) + rest + &service("web", &[app])
}

impl Stage {
    fn set() -> Self {
        let cluster = Cluster::start();
        let app = App::start(TEST_APP, "web-1");
        let ports = free_ports();
        cluster.apply(&documents(ports, app.port));
        let admin = free_port();
        let server = format!("127.0.0.1:{}", cluster.grpc);
        let gateways = ["one", "two"].map(|name| {
            let mut args = vec!["proxy", "--gateway", name, "--id", name, "--server", &server];
            let admin = format!("127.0.0.1:{admin}");
            if name == "two" {
                args.extend(["--admin", &admin]);
            }
            Process::weir(name, &args)
        });
        let stage = Self { cluster, app, ports, admin, gateways: gateways.into() };
        for port in ports {
            eventually("the gateway to listen", START_LIMIT, || {
                std::net::TcpStream::connect(("127.0.0.1", port)).ok()
            });
        }
        stage
    }

    /// Sends requests to one of the gateways, and gives how many were answered with 200.
    fn send(&self, gateway: usize, count: usize) -> usize {
        let answer = || http::get(self.ports[gateway], "/").unwrap().status;
        (0..count).filter(|_| answer() == 200).count()
    }

    /// What a command says that ends with this status.
    fn refused(&self, args: &[&str], status: i32) -> String {
        let output = Command::new(weir_tests::binary::weir())
            .args(args)
            .env("WEIR_SERVER", format!("127.0.0.1:{}", self.cluster.http))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{said}");
        said
    }

    /// What is explained of a request to one of the gateways.
    fn explain(&self, gateway: &str) -> String {
        let port = self.ports[usize::from(gateway == "two")];
        self.cluster.weir(&["explain", "GET", &format!("http://127.0.0.1:{port}/"), "--gateway", gateway])
    }

    fn top(&self, args: &[&str]) -> Value {
        let text = self.cluster.weir(&[&["top", "--once", "--json"], args].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// What gateways have counted of the service.
fn web(figures: &Value) -> Option<&Value> {
    let services = figures["services"].as_array().unwrap();
    services.iter().find(|one| one["service"] == "web" && one["side"] == "caller")
}

fn requests(figures: &Value) -> Option<u64> {
    web(figures)?["requests"].as_u64()
}

#[test]
fn figures_of_all_proxies_add_up_and_go_with_their_proxies() {
    let mut stage = Stage::set();
    assert_eq!(stage.send(0, 30), 20, "the others are limited");
    assert_eq!(stage.send(1, 15), 15);
    let sum = eventually("both to have reported", START_LIMIT, || {
        Some(stage.top(&[])).filter(|figures| requests(figures) == Some(45))
    });
    assert_eq!((sum["proxies"].as_u64(), sum["reporting"].as_u64()), (Some(2), Some(2)));
    let row = web(&sum).unwrap();
    assert_eq!(row["totals"], json!({"classes": [0, 35, 0, 10, 0], "own": 10}));
    assert_eq!(row["endpoints"][0]["requests"], 35);
    assert!(row["p99_ms"].is_null() || row["p99_ms"].as_f64().unwrap() > 0.0);
    let limit = &sum["limits"][0];
    assert_eq!((&limit["limit"], &limit["refused"]), (&json!("RateLimit/few"), &json!(10)));
    let table = stage.cluster.weir(&["top", "--once", "--sort", "name"]);
    assert!(table.starts_with("SERVICE") && table.contains("\nweb "), "{table}");
    // The limit is a gateway's, and stands under no service.
    assert!(table.contains("\nRateLimit/few   Gateway/one "), "{table}");
    let said = stage.refused(&["top", "--once", "--service", "wbe"], 4);
    assert!(said.contains("no proxy reports of a service `wbe`; there is web"), "{said}");
    assert!(said.contains("--service web"), "{said}");
    // Traffic shows as a rate.
    eventually("a rate", START_LIMIT, || {
        stage.send(1, 20);
        let figures = stage.top(&[]);
        web(&figures)?["requests_per_s"].as_f64().filter(|rate| *rate > 0.0)
    });

    // One proxy can be asked by itself.
    let admin = format!("127.0.0.1:{}", stage.admin);
    let alone = stage.top(&["--proxy", &admin]);
    assert_eq!(alone["proxies"], 1);
    eventually("the server to hear of all that it has counted", START_LIMIT, || {
        (requests(&stage.top(&[])) == requests(&alone).map(|own| own + 30)).then_some(())
    });

    stage.gateways[0].kill_9();
    eventually("its figures to go", START_LIMIT, || {
        let figures = stage.top(&[]);
        (figures["proxies"] == 1 && requests(&figures) == requests(&alone)).then_some(())
    });
    stage.gateways[1].kill_9();
    eventually("nobody to be left", START_LIMIT, || {
        stage.cluster.weir(&["top", "--once"]).starts_with("no proxies are connected").then_some(())
    });
}

#[test]
fn a_server_explains_with_what_its_proxies_have_counted() {
    let stage = Stage::set();
    stage.send(0, 25);
    // It is asked for anew: nothing that has happened is missing.
    let text = stage.explain("one");
    assert!(text.contains("20 let through, 5 refused"), "{text}");
    assert!(text.contains("counts: as 1 proxy has reported, at most "), "{text}");
    assert!(text.contains("token_bucket: 0 left of 20"), "{text}");
    assert!(text.contains("TrafficPolicy/web#0 of Service/web: 0 refused"), "{text}");
    assert!(text.contains("closed"), "{text}");
    // The other gateway's proxy has seen nothing of this.
    let other = stage.explain("two");
    assert!(!other.contains("RateLimit/few"), "{other}");
}

#[test]
fn a_server_explains_what_an_open_breaker_refuses() {
    let mut stage = Stage::set();
    assert_eq!(stage.send(1, 5), 5);
    stage.app.process.kill_9();
    assert_eq!(stage.send(1, 40), 0);
    let refused = "refused (503), by TrafficPolicy/web#0 of Service/web: it is open for another ";
    let text = stage.explain("two");
    assert!(text.contains(refused), "{text}");
    assert!(text.contains(" calls failed (at most 0.5)"), "{text}");
    assert!(text.contains("open (window)"), "{text}");
    // It is the word of a proxy: the one that nobody has called knows of nothing.
    let other = stage.explain("one");
    assert!(other.contains("no call has met it yet") && !other.contains(refused), "{other}");
}

#[test]
fn what_is_explained_is_of_the_documents_in_force_now() {
    let stage = Stage::set();
    stage.send(0, 25);
    stage.send(1, 5);
    let changed = documents(stage.ports, stage.app.port)
        .replace("requests: 20, per: 1h, burst: 20", "requests: 500, per: 1h, burst: 500")
        .replace("{level: service, open: 60s}", "{level: service, strategy: consecutive, failures: 3}");
    stage.cluster.apply(&changed);
    eventually("reports of the new documents", START_LIMIT, || {
        let text = stage.explain("one");
        assert!(!text.contains("of 20 in ") && !text.contains("(window)"), "{text}");
        text.contains("of 500 in ").then_some(())
    });
    // A proxy that stands still is waited for a moment. What it is known to have had before is not passed off as new.
    stage.gateways[1].signal(libc::SIGSTOP);
    stage.cluster.apply(&changed.replace("failures: 3", "failures: 7"));
    let text = stage.explain("two");
    stage.gateways[1].signal(libc::SIGCONT);
    assert!(text.contains("proxy two does not answer: what is told of it is as of "), "{text}");
    assert!(text.contains("TrafficPolicy/web#0 of Service/web: not reported yet"), "{text}");
}

/// Runs `weir top` on a pseudo-terminal.
fn on_a_terminal(stage: &Stage, steps: &Value, environment: &[(&str, &str)]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/top/on_a_terminal.py");
    let output = Command::new("python3")
        .arg(script)
        .args([&steps.to_string(), weir_tests::binary::weir().to_str().unwrap(), "top"])
        .env("WEIR_SERVER", format!("127.0.0.1:{}", stage.cluster.http))
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let ended: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(ended["vain"], Value::Null, "{}", ended["output"]);
    ended
}

/// The terminal is as it was, and so is what stood on it.
fn given_back(ended: &Value, status: i64) {
    let output = ended["output"].as_str().unwrap();
    assert_eq!((&ended["status"], &ended["restored"]), (&json!(status), &json!(true)), "{output}");
    assert_eq!((output.matches(ENTER).count(), output.matches(LEAVE).count()), (1, 1), "{output}");
    assert!(output.ends_with(LEAVE), "{output:?}");
}

#[test]
fn the_picture_is_live_and_the_terminal_is_given_back() {
    let mut stage = Stage::set();
    stage.send(1, 5);
    let steps = json!([
        ["expect", "SERVICE"],
        ["expect", "web"],
        ["expect", "2 proxies"],
        ["send", "s"],
        ["expect", "sorted by errors"],
        ["send", "/we\r"],
        ["expect", "filter: we"],
        ["send", "\r"],
        ["expect", "endpoints"],
        ["expect", "HTTPRoute/web#0"],
        ["expect", "TrafficPolicy/web#0"],
        ["send", "\u{1b}"],
        ["expect", "SERVICE"],
        // There is room for all columns now.
        ["resize", 140, 10],
        ["expect", "PROXIES"],
        ["send", "q"],
    ]);
    let ended = on_a_terminal(&stage, &steps, &[]);
    given_back(&ended, 0);
    assert!(ended["output"].as_str().unwrap().contains("\x1b[0;32m"), "colours");

    let interrupted = json!([["expect", "web"], ["send", "\u{3}"]]);
    let plain = on_a_terminal(&stage, &interrupted, &[("NO_COLOR", "1")]);
    given_back(&plain, 0);
    assert!(!plain["output"].as_str().unwrap().contains("\x1b[0;32m"), "no colours");
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let terminated = json!([["expect", "web"], ["signal", signal]]);
        given_back(&on_a_terminal(&stage, &terminated, &[]), 0);
    }

    // The server goes while somebody looks on: the picture stays.
    let server = stage.cluster.server.pid();
    let steps = json!([
        ["expect", "web"],
        ["kill", server, libc::SIGTERM],
        ["expect", "cannot reach it"],
        ["expect", "the picture is"],
        ["expect", "web"],
        ["send", "q"],
    ]);
    given_back(&on_a_terminal(&stage, &steps, &[]), 0);
    stage.cluster.server.wait(START_LIMIT);
    let nobody = Command::new(weir_tests::binary::weir())
        .args(["top", "--once", "--server", &format!("127.0.0.1:{}", stage.cluster.http)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(5), "{said}");
    assert!(said.contains("cannot reach a weir server"), "{said}");
}
