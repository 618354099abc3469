//! Who decides that an instance is dead: the control plane by its checks and heartbeats, the proxy by itself while the
//! control plane is gone, and nobody by the silence of most nodes at once.

use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::cluster::START_LIMIT;
use weir_tests::load::Load;
use weir_tests::{App, Cluster, Process, documents, eventually, free_port, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

/// Longest a test waits for anything: the proxy itself waits 10 s before it checks anything.
const PATIENCE: Duration = Duration::from_secs(90);
/// By when those are critical that are not heard from any more: 1 s of TTL and 10 s, and what a busy machine may add.
const CRITICAL_WITHIN: Duration = Duration::from_secs(30);
/// How long it is looked whether anybody is taken to be gone: more than the silent ones have left.
const LOOKED_FOR: Duration = Duration::from_secs(5);

fn register(cluster: &Cluster, name: &str, port: u16) {
    let registration = json!({
        "ID": name, "Name": "web", "Address": "127.0.0.1", "Port": port,
        "Check": {"TCP": format!("127.0.0.1:{port}"), "Interval": "1s", "FailuresBeforeCritical": 2},
    });
    let answer = http::put(cluster.http, "/v1/agent/service/register", &registration.to_string()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn passing(cluster: &Cluster) -> usize {
    let answer = http::get(cluster.http, "/v1/health/service/web?passing");
    answer.ok().and_then(|answer| answer.json().as_array().map(Vec::len)).unwrap_or(0)
}

/// What a proxy says of the endpoint of an instance.
fn explained(admin: u16, instance: &str) -> String {
    let answer = http::get(admin, "/explain?url=http://shop.test/&format=text").unwrap().text();
    let line = answer.lines().find(|line| line.contains(&format!("/{instance} "))).map(str::to_owned);
    line.unwrap_or_else(|| panic!("{instance} is not there: {answer}"))
}

fn metric(port: u16, line: &str) -> bool {
    http::get(port, "/metrics").is_ok_and(|answer| answer.text().lines().any(|one| one == line))
}

#[test]
fn the_proxy_checks_by_itself_while_the_server_is_gone() {
    let data = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_with(&["--data-dir", data.path().to_str().unwrap()]);
    let mut apps: Vec<App> = ["a", "b"].iter().map(|name| App::start(TEST_APP, name)).collect();
    let unborn = free_port();
    apps.iter().for_each(|app| register(&cluster, &app.name, app.port));
    register(&cluster, "c", unborn);
    eventually("two of three to pass", START_LIMIT, || (passing(&cluster) == 2).then_some(()));
    let (port, admin) = (free_port(), free_port());
    cluster.apply(&documents::gateway(port, "web"));
    let grpc = format!("127.0.0.1:{}", cluster.grpc);
    let at = format!("127.0.0.1:{admin}");
    let args = ["proxy", "--gateway", "edge", "--server", &grpc, "--workers", "1", "--admin", &at];
    let mut proxy = Process::weir("proxy", args);
    eventually("the gateway to answer", START_LIMIT, || {
        http::get(port, "/").ok().filter(|response| response.status == 200)
    });
    let load = Load {
        port,
        target: "/".to_owned(),
        host: "shop.test".to_owned(),
        rate: 200,
        connections: 8,
        duration_max: Duration::from_secs(600),
    };
    let running = load.start();
    running.wait_for_first(START_LIMIT);
    assert!(explained(admin, "c").contains("left out: critical"));
    assert!(!explained(admin, "a").contains("checked by this proxy"));

    cluster.server.kill_9();
    apps[0].process.kill_9();
    let mut command = Command::new(TEST_APP);
    command.args(["c", &unborn.to_string()]);
    let _reborn = Process::start("c", command);
    eventually("the dead one to be left out by the proxy's own check", PATIENCE, || {
        let line = explained(admin, "a");
        (line.contains("critical") && line.contains("checked by this proxy")).then_some(())
    });
    eventually("the one that came back to be let in", PATIENCE, || {
        let line = explained(admin, "c");
        (line.contains("passing") && line.contains("the control plane's last word is critical")).then_some(())
    });
    until_metric(admin, "weir_proxy_checks_ruling 1");
    until_metric(admin, "weir_proxy_checks_endpoints{of=\"registered\"} 3");
    eventually("requests to go to the one that came back", START_LIMIT, || {
        http::get(port, "/").ok().filter(|response| response.text() == "c")
    });
    proxy.wait_for_line("this proxy checks the endpoints", START_LIMIT);
    running.wait_for_more(200, START_LIMIT);

    cluster.restart();
    eventually("the control plane to rule again", PATIENCE, || {
        (!explained(admin, "a").contains("checked by this proxy")).then_some(())
    });
    eventually("its own checks to come to the same", PATIENCE, || {
        let (dead, alive) = (explained(admin, "a"), explained(admin, "c"));
        (dead.contains("left out: critical") && alive.contains("passing")).then_some(())
    });
    until_metric(admin, "weir_proxy_checks_ruling 0");
    until_metric(admin, "weir_proxy_checks_endpoints{of=\"registered\"} 0");
    running.wait_for_more(200, START_LIMIT);
    let outcome = running.stop();
    assert!(outcome.failures.len() <= 1, "of {}: {:?}", outcome.good, outcome.failures);
}

fn until_metric(port: u16, line: &str) {
    eventually(line, START_LIMIT, || metric(port, line).then_some(()));
}

/// Nodes with an instance that must be heard from each second.
fn nodes_with_heartbeats(cluster: &Cluster, nodes: usize) {
    for number in 0..nodes {
        let node = json!({"Node": format!("n{number}"), "Address": "127.0.0.1"});
        assert_eq!(http::put(cluster.http, "/v1/catalog/register", &node.to_string()).unwrap().status, 200);
        let instance = json!({"service": "web", "port": 80, "checks": [{"id": "alive", "ttl": "1s"}]});
        let path = format!("/weir/v1/instances/web-{number}?node=n{number}");
        let answer = http::put(cluster.http, &path, &instance.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn heartbeat(port: u16, nodes: Range<usize>) {
    for number in nodes {
        let path = format!("/v1/agent/check/pass/alive?node=n{number}");
        assert_eq!(http::put(port, &path, "").unwrap().status, 200);
    }
}

/// Heartbeats of some nodes, which go on until it is dropped, whatever the test does meanwhile.
struct Heartbeats {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeats {
    /// How often each node is heard: well within its time.
    const EVERY: Duration = Duration::from_millis(100);

    fn of(cluster: &Cluster, nodes: Range<usize>) -> Self {
        let (stop, port) = (Arc::new(AtomicBool::new(false)), cluster.http);
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    heartbeat(port, nodes.clone());
                    std::thread::sleep(Self::EVERY);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "a heartbeat was not taken");
    }
}

fn until_passing(cluster: &Cluster, count: usize) {
    eventually(&format!("{count} to pass"), START_LIMIT, || (passing(cluster) == count).then_some(()));
}

#[test]
fn the_silence_of_most_nodes_is_not_believed_and_said_loudly() {
    let mut cluster = Cluster::start();
    nodes_with_heartbeats(&cluster, 12);
    let heartbeats = Heartbeats::of(&cluster, 0..12);
    until_passing(&cluster, 12);
    until_metric(cluster.http, "weir_self_preservation 0");

    // All fall silent. A check that fails is believed all the same.
    drop(heartbeats);
    register(&cluster, "dead", free_port());
    eventually("self-preservation", START_LIMIT, || {
        metric(cluster.http, "weir_self_preservation 1").then_some(())
    });
    // The judgement of some is taken back.
    until_passing(&cluster, 12);
    let began = Instant::now();
    while began.elapsed() < LOOKED_FOR {
        assert_eq!(passing(&cluster), 12, "nobody is taken to be gone");
        std::thread::sleep(Duration::from_millis(100));
    }
    eventually("the one that fails alone to be critical", START_LIMIT, || {
        let critical = http::get(cluster.http, "/v1/health/state/critical").unwrap().json();
        let critical: Vec<_> = critical.as_array().unwrap().iter().map(|check| &check["ServiceID"]).collect();
        (critical == ["dead"]).then_some(())
    });
    let ready = http::get(cluster.http, "/readyz").unwrap();
    assert!(ready.status == 200 && ready.text().contains("SELF-PRESERVATION for "), "{}", ready.text());
    assert!(ready.text().contains("the heartbeats of 12 of 12 nodes"), "{}", ready.text());
    cluster.server.wait_for_line("SELF-PRESERVATION", START_LIMIT);
    let table = cluster.weir(&["get", "nodes"]);
    assert_eq!(table.matches("silent, not believed").count(), 12, "{table}");

    // Ten are back: the other two are gone indeed.
    let _heartbeats = Heartbeats::of(&cluster, 0..10);
    until_passing(&cluster, 10);
    until_metric(cluster.http, "weir_self_preservation 0");
    assert!(!http::get(cluster.http, "/readyz").unwrap().text().contains("SELF-PRESERVATION"));
    eventually("two to be silent and ten to be heard", START_LIMIT, || {
        let table = cluster.weir(&["get", "nodes"]);
        ((table.matches(" silent").count(), table.matches("heard").count()) == (2, 10)).then_some(())
    });
}

#[test]
fn what_is_not_heard_from_any_more_is_critical_in_time_after_a_restart_too() {
    let data = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_with(&["--data-dir", data.path().to_str().unwrap()]);
    nodes_with_heartbeats(&cluster, 3);
    let heartbeats = Heartbeats::of(&cluster, 0..3);
    until_passing(&cluster, 3);
    drop(heartbeats);
    cluster.server.kill_9();
    cluster.restart();
    // One goes on; the others' agents are gone.
    let _heartbeats = Heartbeats::of(&cluster, 0..1);
    eventually("those that are gone to be critical", CRITICAL_WITHIN, || {
        (passing(&cluster) == 1).then_some(())
    });
}

#[test]
fn endpoints_of_documents_are_listed_with_what_proxies_found_out() {
    let cluster = Cluster::start();
    let (app, port, unborn) = (App::start(TEST_APP, "web-1"), free_port(), free_port());
    let service = format!(
        "---\nkind: Service\nmetadata: {{name: web}}\nspec:\n  check: {{type: tcp, interval: 100ms, healthyThreshold: 1}}\n  \
         endpoints: [{{address: 127.0.0.1, port: {}}}, {{address: 127.0.0.1, port: {unborn}}}]\n",
        app.port
    );
    cluster.apply(&(documents::gateway(port, "web") + &service));
    let before = cluster.weir(&["get", "instances", "web"]);
    assert_eq!(before.matches("no proxy has checked it yet").count(), 2, "{before}");

    let grpc = format!("127.0.0.1:{}", cluster.grpc);
    let _proxy = Process::weir("proxy", ["proxy", "--gateway", "edge", "--id", "edge-1", "--server", &grpc]);
    let table = eventually("both endpoints to be judged", START_LIMIT, || {
        let table = cluster.weir(&["get", "instances", "web"]);
        let (dead, well) =
            ("critical by the checks of 1 of 1: edge-1", "passing by the checks of 1 of 1: edge-1");
        (table.contains(dead) && table.contains(well)).then_some(table)
    });
    let dead = table.lines().find(|line| line.contains(&format!("127.0.0.1:{unborn}"))).unwrap();
    assert!(dead.contains("(document)") && dead.contains("critical"), "{table}");
    let json = cluster.weir(&["get", "instances", "web", "-o", "json"]);
    assert!(json.contains("a connection every 100ms, by each proxy that calls it"), "{json}");
}
