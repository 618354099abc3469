//! What a gateway shows to those who watch it, seen with a real Prometheus: it scrapes, and every query of the dashboard
//! and of the alerts that are shipped is asked of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use weir_tests::cluster::START_LIMIT;
use weir_tests::load::Load;
use weir_tests::{App, Process, eventually, free_ports, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");
/// How long Prometheus may take to know what has happened.
const KNOWN_LIMIT: Duration = Duration::from_secs(60);
/// How often it scrapes here.
const SCRAPE: &str = "500ms";

fn shipped(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("examples/observability").join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A gateway in front of two services, one of which has an endpoint that is gone.
struct Stage {
    dir: tempfile::TempDir,
    port: u16,
    admin: u16,
    apps: Vec<App>,
    proxy: Process,
}

impl Stage {
    fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [port, admin, gone] = free_ports();
        let apps: Vec<App> = ["one", "two"].iter().map(|name| App::start(TEST_APP, name)).collect();
        let file = dir.path().join("weir.yaml");
        let documents = format!(
            "kind: Gateway
metadata: {{name: edge}}
spec:
  addresses: [{{value: 127.0.0.1}}]
  listeners: [{{name: http, port: {port}, protocol: HTTP}}]
---
kind: Service
metadata: {{name: one}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
---
kind: Service
metadata: {{name: two}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}, {{address: 127.0.0.1, port: {gone}}}]}}
---
kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [shop.test]
  rules:
  - matches: [{{path: {{value: /two}}}}]
    backendRefs: [{{name: two}}]
  - backendRefs: [{{name: one}}]
",
            apps[0].port, apps[1].port
        );
        std::fs::write(&file, documents).unwrap();
        let log = dir.path().join("access.log");
        let admin_address = format!("127.0.0.1:{admin}");
        let mut proxy = Command::new(weir_tests::binary::weir());
        proxy.args(["proxy", "--workers", "2", "--trace-context", "start", "--admin", &admin_address]);
        proxy.arg("-f").arg(&file).arg("--access-log").arg(&log);
        let proxy = Process::start("proxy", proxy);
        let stage = Self { dir, port, admin, apps, proxy };
        eventually("the proxy to be ready", START_LIMIT, || {
            stage.admin("GET", "/readyz").ok().filter(|answer| answer.status == 200)
        });
        stage
    }

    fn admin(&self, method: &str, target: &str) -> std::io::Result<http::Response> {
        http::request(self.admin, method, target, &[], b"")
    }

    fn load(&self, target: &str) -> Load {
        Load {
            port: self.port,
            target: target.to_owned(),
            host: "shop.test".to_owned(),
            rate: 50,
            connections: 4,
            duration_max: Duration::from_secs(900),
        }
    }

    /// The lines that are in the log whole.
    fn lines(&self) -> Vec<Value> {
        let text = read(&self.dir.path().join("access.log"));
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The sum of the samples that `/metrics` shows whose lines begin so.
    fn counted(&self, name: &str) -> f64 {
        let text = self.admin("GET", "/metrics").unwrap().text();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }
}

/// A Prometheus that scrapes one admin port.
struct Prometheus {
    port: u16,
    _dir: tempfile::TempDir,
    _process: Process,
}

impl Prometheus {
    fn start(scraped: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [port] = free_ports();
        let alerts = shipped("alerts.yml");
        let config = format!(
            "global: {{scrape_interval: {SCRAPE}, scrape_timeout: {SCRAPE}, evaluation_interval: {SCRAPE}}}
rule_files: [\"{}\"]
scrape_configs:
- job_name: weir-proxy
  static_configs: [{{targets: [\"127.0.0.1:{scraped}\"]}}]
",
            alerts.display()
        );
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=warn");
        let process = Process::start("prometheus", command);
        let prometheus = Self { port, _dir: dir, _process: process };
        eventually("Prometheus to be ready", START_LIMIT, || {
            http::get(port, "/-/ready").ok().filter(|answer| answer.status == 200)
        });
        prometheus
    }

    fn api(&self, target: &str) -> Value {
        let answer = http::get(self.port, &format!("/api/v1/{target}")).unwrap().json();
        assert_eq!(answer["status"], "success", "{target}: {answer}");
        answer["data"].clone()
    }

    /// The series that a query gives now. A query that cannot be understood is a failure.
    fn query(&self, query: &str) -> Vec<Value> {
        let data = self.api(&format!("query?query={}", escaped(query)));
        data["result"].as_array().unwrap_or_else(|| panic!("{query}: {data}")).clone()
    }

    /// The one number that a query gives now.
    fn number(&self, query: &str) -> Option<f64> {
        let series = self.query(query);
        assert!(series.len() <= 1, "{query}: {series:?}");
        series.first()?["value"][1].as_str()?.parse().ok()
    }
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// Every query of the dashboard with its panel's title, with what Grafana would put in.
fn dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read(&shipped("weir-proxies.json"))).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$__rate_interval", "5s");
            let query = query.replace("$instance", ".*").replace("$service", ".*");
            assert!(!query.contains('$'), "an unknown variable in {query}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    assert!(queries.len() > 40, "{}", queries.len());
    queries
}

/// What has nothing to show at a plain gateway that works from a file and is not attacked.
fn may_be_empty(query: &str) -> bool {
    [
        "weir_proxy_certificate_expiry_seconds",
        "weir_proxy_control_connected",
        "weir_proxy_grpc_responses_total",
    ]
    .iter()
    .any(|name| query.contains(name))
        || (query.ends_with("> 0") && (query.contains("tls") || query.contains("floods")))
}

/// The names of metrics in a query.
fn names(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("weir_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// The families that `/metrics` shows, by the names that their samples have.
fn families(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .flat_map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            let endings: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            endings.iter().map(move |ending| format!("{name}{ending}"))
        })
        .collect()
}

#[test]
fn prometheus_scrapes_and_every_shipped_query_answers() {
    let stage = Stage::set();
    let prometheus = Prometheus::start(stage.admin);
    let good = stage.load("/").start();
    let flaky = stage.load("/two").start();
    let lost = Load { host: "nobody.test".to_owned(), ..stage.load("/") }.start();
    good.wait_for_first(START_LIMIT);

    for (title, query) in dashboard() {
        if may_be_empty(&query) {
            prometheus.query(&query);
        } else {
            eventually(&format!("data for `{title}`: {query}"), KNOWN_LIMIT, || {
                (!prometheus.query(&query).is_empty()).then_some(())
            });
        }
    }
    let busy =
        "sum(rate(weir_proxy_requests_total{service=\"one\",class=\"2xx\",decision=\"forwarded\"}[5s])) > 20";
    eventually("the load to be seen", KNOWN_LIMIT, || prometheus.number(busy));
    let lost_seen = "sum(rate(weir_proxy_requests_total{service=\"_none\",decision=\"no_route\"}[5s])) > 20";
    eventually("what finds no route", KNOWN_LIMIT, || prometheus.number(lost_seen));
    let avoided = "weir_proxy_endpoints{service=\"two\",state=\"avoided\"} == 1";
    eventually("the endpoint that is gone", KNOWN_LIMIT, || prometheus.number(avoided));
    eventually("connections", KNOWN_LIMIT, || {
        prometheus.number("sum(weir_proxy_connections_active{role=\"gateway\",protocol=\"h1\"}) >= 12")
    });

    assert!(good.stop().failures.is_empty());
    assert!(flaky.stop().failures.is_empty(), "a request is tried again where the endpoint is gone");
    drop(lost.stop());
    // An answer may be seen before it is counted.
    let requests = || stage.counted("weir_proxy_requests_total{");
    eventually("each request to have a duration", KNOWN_LIMIT, || {
        (stage.counted("weir_proxy_request_duration_seconds_count{") == requests()).then_some(())
    });
    eventually("Prometheus to have the same sum", KNOWN_LIMIT, || {
        prometheus.number(&format!("sum(weir_proxy_requests_total) == {}", requests()))
    });
    let le = prometheus.api("label/le/values");
    assert!(le.as_array().unwrap().contains(&"0.1".into()), "{le}");
    drop(stage.apps);
}

#[test]
fn alerts_are_understood_and_about_what_exists() {
    let stage = Stage::set();
    let families = families(&stage.admin("GET", "/metrics").unwrap().text());
    for (title, query) in dashboard() {
        let unknown: Vec<_> = names(&query).difference(&families).cloned().collect();
        assert!(unknown.is_empty(), "{title}: {unknown:?} in {query}");
    }
    let prometheus = Prometheus::start(stage.admin);
    let judged = || {
        let rules = prometheus.api("rules")["groups"][0]["rules"].as_array().unwrap().clone();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    };
    let rules = eventually("all alerts to be judged", KNOWN_LIMIT, judged);
    assert!(rules.len() >= 15, "{}", rules.len());
    for rule in &rules {
        assert_eq!((&rule["health"], &rule["type"]), (&"ok".into(), &"alerting".into()), "{rule}");
        let query = rule["query"].as_str().unwrap();
        let unknown: Vec<_> = names(query).difference(&families).cloned().collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", rule["name"]);
        assert!(rule["annotations"]["summary"].is_string(), "{rule}");
        // Also what is compared is there, so that an alert is not silent for want of a metric.
        prometheus.query(query);
    }
    // A proxy that is gone is noticed: the alert only waits for its time.
    let pending = |name: &str| {
        let alerts = prometheus.api("alerts")["alerts"].as_array().unwrap().clone();
        alerts.iter().any(|alert| alert["labels"]["alertname"] == name).then_some(())
    };
    // A scrape that takes too long on a busy machine is no answer either.
    eventually("the proxy to be seen", KNOWN_LIMIT, || pending("WeirProxyDown").is_none().then_some(()));
    drop(stage);
    eventually("the alert", KNOWN_LIMIT, || pending("WeirProxyDown"));
}

#[test]
fn promtool_agrees() {
    let check = |args: &[&str], file: &str| {
        let path = shipped(file);
        let output =
            Command::new("promtool").args(args).arg(&path).output().expect("promtool is not installed");
        assert!(output.status.success(), "{args:?} {file}: {}", String::from_utf8_lossy(&output.stderr));
    };
    check(&["check", "rules"], "alerts.yml");
    check(&["check", "config"], "prometheus.yml");
    check(&["test", "rules"], "alerts_test.yml");
}

#[test]
fn metrics_pass_promtools_lint_and_are_documented() {
    let stage = Stage::set();
    http::request(stage.port, "GET", "/two?a=b", &[("host", "shop.test"), ("user-agent", "test")], b"")
        .unwrap();
    http::request(stage.port, "GET", "/", &[("host", "nobody.test")], b"").unwrap();
    eventually("both to be logged", START_LIMIT, || (stage.lines().len() == 2).then_some(()));
    let text = stage.admin("GET", "/metrics").unwrap().text();

    let exposition = stage.dir.path().join("metrics.txt");
    std::fs::write(&exposition, &text).unwrap();
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(std::fs::File::open(&exposition).unwrap());
    let output = promtool.output().expect("promtool is not installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs");
    let docs = read(&folder.join("observability.md"));
    let reasons = read(&folder.join("sidecars.md"));
    for line in text.lines().filter(|line| line.starts_with("weir_proxy_refusals_total{")) {
        let reason = line.split('"').nth(1).unwrap();
        assert!(reasons.contains(&format!("| `{reason}` |")), "docs/sidecars.md does not mention {reason}");
    }
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let untold: Vec<&str> = names
        .filter(|name| !docs.contains(&format!("`{}`", name.trim_start_matches("weir_proxy_"))))
        .collect();
    assert!(untold.is_empty(), "docs/observability.md does not mention {untold:?}");
    for field in stage.lines().iter().flat_map(|line| line.as_object().unwrap().keys()) {
        assert!(
            docs.contains(&format!("`{field}`")),
            "docs/observability.md does not mention the field {field}"
        );
    }
    for rule in read(&shipped("alerts.yml")).lines().filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(docs.contains(&format!("`{rule}`")), "docs/observability.md does not mention {rule}");
    }
}

#[test]
fn drain_over_the_admin_port_ends_the_proxy_in_good_order() {
    let mut stage = Stage::set();
    let host = [("host", "shop.test")];
    assert_eq!(http::request(stage.port, "GET", "/", &host, b"").unwrap().status, 200);
    assert_eq!(stage.admin("GET", "/drain").unwrap().status, 405);
    let answer = stage.admin("POST", "/drain?after=5s").unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(stage.admin("GET", "/readyz").unwrap().status, 503);
    assert_eq!(
        http::request(stage.port, "GET", "/", &host, b"").unwrap().status,
        200,
        "until balancers notice"
    );
    assert!(stage.proxy.wait(START_LIMIT).success());
}
