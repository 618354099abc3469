//! Config entries, written as Consul's clients write them, route the calls of sidecars.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::cluster::START_LIMIT;
use weir_tests::documents::gateway;
use weir_tests::{App, Cluster, Process, eventually, free_ports, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

/// Within what a change is to be in force at a proxy: a second, and what a busy machine may add.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(20);
/// Calls in a row that one of two equal instances does not take by chance (2^-40), however often that is tried.
const NOT_BY_CHANCE: usize = 40;
/// Calls over which shares are counted.
const CALLS: usize = 600;

struct Mesh {
    cluster: Cluster,
    outbound: u16,
    _front: Process,
}

impl Mesh {
    /// A server, and the sidecar of a caller.
    fn start() -> Self {
        let cluster = Cluster::start();
        let [inbound, outbound] = free_ports();
        let address = |port: u16| format!("127.0.0.1:{port}");
        let (server, inbound, out) = (address(cluster.grpc), address(inbound), address(outbound));
        let args = ["proxy", "--service", "front", "--app", "127.0.0.1:1", "--inbound", &inbound];
        let args = args.into_iter().chain(["--outbound", &out, "--server", &server, "--workers", "1"]);
        let front = Process::weir("front", args);
        Self { cluster, outbound, _front: front }
    }

    fn register(&self, service: &str, app: &App, version: &str) {
        let registration = json!({
            "ID": app.name, "Name": service, "Address": "127.0.0.1", "Port": app.port, "Meta": {"version": version},
            "Check": {"CheckID": format!("check-{}", app.name), "TTL": "10m", "Status": "passing"},
        });
        let path = "/v1/agent/service/register";
        let answer = http::put(self.cluster.http, path, &registration.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn put(&self, entry: &serde_json::Value) -> http::Response {
        let answer = http::put(self.cluster.http, "/v1/config", &entry.to_string()).unwrap();
        assert_eq!((answer.status, &*answer.text()), (200, "true"), "{entry}");
        answer
    }

    /// What answers a call.
    fn call(&self, target: &str, headers: &[(&str, &str)]) -> String {
        let headers: Vec<_> = [("host", "web")].iter().chain(headers).copied().collect();
        http::request(self.outbound, "GET", target, &headers, b"")
            .map_or_else(|_| String::new(), |a| a.text())
    }

    /// Waits until calls are answered so, which must not take long.
    fn soon(&self, target: &str, headers: &[(&str, &str)], expect: &str) {
        let began = Instant::now();
        eventually(&format!("{target} {headers:?} to be answered by {expect}"), START_LIMIT, || {
            (0..NOT_BY_CHANCE).all(|_| self.call(target, headers) == expect).then_some(())
        });
        assert!(began.elapsed() < IN_FORCE_WITHIN, "in force after {:?}", began.elapsed());
    }
}

#[test]
fn entries_route_by_header_path_weight_and_health() {
    let mesh = Mesh::start();
    let (v1, v2) = (App::start(TEST_APP, "v1"), App::start(TEST_APP, "v2"));
    let spare = App::start(TEST_APP, "spare");
    mesh.register("web", &v1, "v1");
    mesh.register("web", &v2, "v2");
    mesh.register("spare", &spare, "v1");
    eventually("front to reach web", START_LIMIT, || mesh.call("/", &[]).starts_with('v').then_some(()));

    let subset = |version: &str| json!({"Filter": format!("Service.Meta.version == {version}")});
    mesh.put(&json!({"Kind": "service-resolver", "Name": "web", "DefaultSubset": "v1",
        "Subsets": {"v1": subset("v1"), "v2": subset("v2")},
        "Failover": {"v1": {"Service": "spare"}}}));
    mesh.soon("/", &[], "v1");

    // The first route counts, though the second is the more specific.
    let said = mesh.put(&json!({"Kind": "service-router", "Name": "web", "Routes": [
        {"Match": {"HTTP": {"Header": [{"Name": "x-canary", "Exact": "yes"}]}}, "Destination": {"ServiceSubset": "v2"}},
        {"Match": {"HTTP": {"PathPrefix": "/echo"}}, "Destination": {"Service": "spare", "IdleTimeout": "5s"}}]}));
    assert_eq!(said.header("x-weir-ignored"), Some("Routes[1].Destination.IdleTimeout"));
    mesh.soon("/", &[("x-canary", "yes")], "v2");
    assert_eq!(mesh.call("/", &[]), "v1");
    let echo = http::request(mesh.outbound, "GET", "/echo", &[("host", "web")], b"").unwrap();
    assert_eq!(echo.header("x-app"), Some("spare"));
    let explained =
        mesh.cluster.weir(&["explain", "--from", "spare", "GET", "http://web/echo", "-H", "x-canary: yes"]);
    let parts =
        ["service-router.web", "_v2.web", "as they are written", "by config entry service-router/web"];
    for part in parts.into_iter().chain(["protocol http: the default"]) {
        assert!(explained.contains(part), "{part} is missing in\n{explained}");
    }

    // What no route takes is divided.
    mesh.put(&json!({"Kind": "service-splitter", "Name": "web", "Splits": [
        {"Weight": 75, "ServiceSubset": "v1"}, {"Weight": 25, "ServiceSubset": "v2"}]}));
    let began = Instant::now();
    eventually("both to be called", START_LIMIT, || (mesh.call("/", &[]) == "v2").then_some(()));
    assert!(began.elapsed() < IN_FORCE_WITHIN, "in force after {:?}", began.elapsed());
    let second = (0..CALLS).filter(|_| mesh.call("/", &[]) == "v2").count();
    // A quarter of 600 is 150; seven standard deviations (10.6) to either side.
    assert!((76..=224).contains(&second), "{second} of {CALLS}");
    mesh.put(&json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http"}}));
    let routes = mesh.cluster.weir(&["get", "routes"]);
    for part in ["_v1.web:75 _v2.web:25", "service-router/web,service-splitter/web,service-resolver/web"] {
        assert!(routes.contains(part), "{part} is missing in\n{routes}");
    }
    assert!(!routes.contains("TCPRoute"), "of a service that speaks http:\n{routes}");
    let services = mesh.cluster.weir(&["get", "services", "web", "-o", "json"]);
    let services: serde_json::Value = serde_json::from_str(&services).unwrap();
    assert_eq!(services[0]["protocol_from"], "config entry proxy-defaults/global");
    assert_eq!(services[0]["config_entries"].as_array().unwrap().len(), 3, "{services}");

    // A subset without a healthy instance fails over.
    for kind in ["service-splitter", "service-router"] {
        let answer = http::request(mesh.cluster.http, "DELETE", &format!("/v1/config/{kind}/web"), &[], b"");
        assert_eq!(answer.unwrap().status, 200);
    }
    mesh.soon("/", &[("x-canary", "yes")], "v1");
    let fails = http::put(mesh.cluster.http, "/v1/agent/check/fail/check-v1", "").unwrap();
    assert_eq!(fails.status, 200, "{}", fails.text());
    mesh.soon("/", &[], "spare");
    let explained = mesh.cluster.weir(&["explain", "--from", "spare", "GET", "http://web/", "-o", "json"]);
    let explained: serde_json::Value = serde_json::from_str(&explained).unwrap();
    let failed_over = "config entry service-resolver/web: Failover: no instance of subset v1 of web is passing or has warnings, so \
                       spare is called (_v1.web)";
    assert_eq!(explained["remarks"], json!([failed_over]));
    let entrance = &explained["entrances"][0];
    assert_eq!(entrance["rules"][0]["config_entries"], json!(["service-resolver/web"]), "{explained}");
    let by_all = json!({"protocol": "http", "from": "config entry proxy-defaults/global"});
    assert_eq!(entrance["outcome"]["protocol"], by_all);
    http::put(mesh.cluster.http, "/v1/agent/check/pass/check-v1", "").unwrap();
    mesh.soon("/", &[], "v1");

    // What of an entry does not count is said once, whoever asks for what is in force.
    let missing = "a config entry does not count, or not as it is written";
    let log = mesh.cluster.server.output();
    let said: Vec<_> = log.lines().filter(|line| line.contains(missing)).collect();
    let once: std::collections::BTreeSet<_> =
        said.iter().map(|line| line.split_once("WARN").unwrap().1).collect();
    assert_eq!(said.len(), once.len(), "{said:#?}");
}

#[test]
fn gateways_go_on_by_entries_and_explain_names_them() {
    let mesh = Mesh::start();
    let (v1, v2) = (App::start(TEST_APP, "v1"), App::start(TEST_APP, "v2"));
    let spare = App::start(TEST_APP, "spare");
    mesh.register("web", &v1, "v1");
    mesh.register("web", &v2, "v2");
    mesh.register("spare", &spare, "v1");
    let [port] = free_ports();
    mesh.cluster.apply(&gateway(port, "web"));
    let server = format!("127.0.0.1:{}", mesh.cluster.grpc);
    let _gateway =
        Process::weir("gateway", ["proxy", "--gateway", "edge", "--server", &server, "--workers", "1"]);
    let call = || http::get(port, "/").map_or_else(|_| String::new(), |answer| answer.text());
    let soon = |expect: &str| {
        let all = || (0..NOT_BY_CHANCE).all(|_| call() == expect).then_some(());
        eventually(&format!("the gateway to be answered by {expect}"), START_LIMIT, all);
    };
    eventually("the gateway to reach web", START_LIMIT, || call().starts_with('v').then_some(()));

    let subset = |version: &str| json!({"Filter": format!("Service.Meta.version == {version}")});
    mesh.put(
        &json!({"Kind": "service-resolver", "Name": "web", "DefaultSubset": "v1", "RequestTimeout": "7s",
        "Subsets": {"v1": subset("v1"), "v2": subset("v2")},
        "Failover": {"v1": {"Targets": [{"Service": "spare"}, {"Datacenter": "dc2"}]}}}),
    );
    soon("v1");
    let explained =
        mesh.cluster.weir(&["explain", "GET", &format!("http://127.0.0.1:{port}/"), "--gateway", "edge"]);
    for part in [
        "config entry service-resolver/web: Failover: there are no other datacenters",
        "which config entry service-resolver/web asks for",
        "_v1.web",
    ] {
        assert!(explained.contains(part), "{part} is missing in\n{explained}");
    }
    assert_eq!(http::put(mesh.cluster.http, "/v1/agent/check/fail/check-v1", "").unwrap().status, 200);
    soon("spare");
    mesh.put(&json!({"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 100, "ServiceSubset": "v2"}]}));
    soon("v2");
    // What the splitter needs cannot be taken away, nor by the command line.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("entry.json");
    std::fs::write(&file, r#"{"Kind": "service-resolver", "Name": "web"}"#).unwrap();
    let address = format!("-http-addr=127.0.0.1:{}", mesh.cluster.http);
    let delete = |file: &std::path::Path| {
        let args = ["consul", "config", "delete", &address, "-filename", file.to_str().unwrap()];
        let output = std::process::Command::new(weir_tests::binary::weir()).args(args).output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    assert_eq!(http::put(mesh.cluster.http, "/v1/agent/check/pass/check-v1", "").unwrap().status, 200);
    let (done, said) = delete(&file);
    assert!(!done && said.contains("(needed by service-splitter/web)"), "{said}");
    let splitter = dir.path().join("splitter.json");
    std::fs::write(&splitter, r#"{"kind": "service-splitter", "name": "web"}"#).unwrap();
    for file in [&splitter, &file] {
        let (done, said) = delete(file);
        assert!(done && said.contains("Config entry deleted: service-"), "{said}");
    }
    let both = || {
        let seen: std::collections::BTreeSet<String> = (0..NOT_BY_CHANCE).map(|_| call()).collect();
        seen.iter().map(String::as_str).eq(["v1", "v2"])
    };
    eventually("the gateway to go by its own route", START_LIMIT, || both().then_some(()));
}

#[test]
fn a_restored_snapshot_reaches_proxies() {
    let mesh = Mesh::start();
    let (old, new) = (App::start(TEST_APP, "old"), App::start(TEST_APP, "new"));
    mesh.register("web", &old, "v1");
    eventually("front to reach web", START_LIMIT, || (mesh.call("/", &[]) == "old").then_some(()));
    let saved = http::get(mesh.cluster.http, "/v1/snapshot").unwrap();
    assert_eq!(saved.status, 200);

    mesh.register("web", &new, "v2");
    mesh.put(&json!({"Kind": "service-resolver", "Name": "web", "DefaultSubset": "new",
        "Subsets": {"new": {"Filter": "Service.Meta.version == v2"}}}));
    mesh.soon("/", &[], "new");
    let restored = http::request(mesh.cluster.http, "PUT", "/v1/snapshot", &[], &saved.body).unwrap();
    assert_eq!(restored.status, 200, "{}", restored.text());
    mesh.soon("/", &[], "old");
    // And changes reach them from there on.
    mesh.register("web", &new, "v2");
    eventually("front to reach both", START_LIMIT, || (mesh.call("/", &[]) == "new").then_some(()));
}
