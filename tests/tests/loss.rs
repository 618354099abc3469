//! What is promised when things are lost: an instance, the control plane, a server in the middle of its writes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_tests::cluster::START_LIMIT;
use weir_tests::load::Load;
use weir_tests::{App, Cluster, Process, documents, eventually, free_port, http};

const TEST_APP: &str = env!("CARGO_BIN_EXE_test-app");

/// Kills of a server while it is written to; `WEIR_SERVER_KILLS` sets another number.
const SERVER_KILLS: usize = 100;

fn gateway_documents(port: u16, endpoints: &[u16]) -> String {
    documents::gateway(port, "web") + &documents::service("web", endpoints)
}

fn load(port: u16) -> Load {
    Load {
        port,
        target: "/".to_owned(),
        host: "shop.test".to_owned(),
        rate: 1000,
        connections: 32,
        duration_max: Duration::from_secs(600),
    }
}

fn wait_for_gateway(port: u16) {
    eventually("the gateway to answer", START_LIMIT, || {
        http::get(port, "/").ok().filter(|response| response.status == 200)
    });
}

#[test]
fn a_killed_instance_fails_at_most_one_request() {
    let mut apps: Vec<App> = ["a", "b", "c"].iter().map(|name| App::start(TEST_APP, name)).collect();
    let ports: Vec<u16> = apps.iter().map(|app| app.port).collect();
    let port = free_port();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    std::fs::write(&file, gateway_documents(port, &ports)).unwrap();
    let _proxy = Process::weir("proxy", ["proxy", "--workers", "1", "-f", file.to_str().unwrap()]);
    wait_for_gateway(port);

    let running = load(port).start();
    running.wait_for_first(START_LIMIT);
    running.wait_for_more(2000, START_LIMIT);
    apps[1].process.kill_9();
    running.wait_for_more(4000, START_LIMIT);
    let outcome = running.stop();
    assert!(
        outcome.failures.len() <= 1,
        "{} of {}: {:?}",
        outcome.failures.len(),
        outcome.good,
        outcome.failures
    );
}

#[test]
fn a_registered_instance_that_dies_fails_at_most_one_request() {
    let cluster = Cluster::start();
    let mut apps: Vec<App> = ["a", "b", "c"].iter().map(|name| App::start(TEST_APP, name)).collect();
    for app in &apps {
        let registration = serde_json::json!({
            "ID": app.name, "Name": "web", "Address": "127.0.0.1", "Port": app.port,
            "Check": {"TCP": format!("127.0.0.1:{}", app.port), "Interval": "1s"},
        });
        let answer =
            http::put(cluster.http, "/v1/agent/service/register", &registration.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    eventually("the checks to pass", START_LIMIT, || {
        let passing = http::get(cluster.http, "/v1/health/service/web?passing").ok()?.json();
        (passing.as_array()?.len() == 3).then_some(())
    });
    let port = free_port();
    cluster.apply(&gateway_documents(port, &[]));
    let grpc = format!("127.0.0.1:{}", cluster.grpc);
    let _proxy = Process::weir("proxy", ["proxy", "--gateway", "edge", "--server", &grpc, "--workers", "1"]);
    wait_for_gateway(port);

    let running = load(port).start();
    running.wait_for_first(START_LIMIT);
    running.wait_for_more(2000, START_LIMIT);
    apps[2].process.kill_9();
    eventually("the registry to notice", START_LIMIT, || {
        let passing = http::get(cluster.http, "/v1/health/service/web?passing").ok()?.json();
        (passing.as_array()?.len() == 2).then_some(())
    });
    running.wait_for_more(2000, START_LIMIT);
    let outcome = running.stop();
    assert!(
        outcome.failures.len() <= 1,
        "{} of {}: {:?}",
        outcome.failures.len(),
        outcome.good,
        outcome.failures
    );
}

#[test]
fn the_data_plane_outlives_the_control_plane() {
    let apps: Vec<App> = ["a", "b"].iter().map(|name| App::start(TEST_APP, name)).collect();
    let ports: Vec<u16> = apps.iter().map(|app| app.port).collect();
    let mut cluster = Cluster::start();
    let port = free_port();
    cluster.apply(&gateway_documents(port, &ports));
    let dir = tempfile::tempdir().unwrap();
    let grpc = format!("127.0.0.1:{}", cluster.grpc);
    let data_dir = dir.path().to_str().unwrap();
    let args = ["proxy", "--gateway", "edge", "--server", &grpc, "--data-dir", data_dir, "--workers", "1"];
    let mut proxy = Process::weir("proxy", args);
    wait_for_gateway(port);

    let running = load(port).start();
    running.wait_for_first(START_LIMIT);
    running.wait_for_more(1000, START_LIMIT);
    cluster.server.kill_9();
    running.wait_for_more(3000, START_LIMIT);
    let outcome = running.stop();
    assert!(outcome.failures.is_empty(), "{} good, then {:?}", outcome.good, outcome.failures);

    // With nobody to ask, a new process serves from the snapshot on disk.
    eventually("the snapshot on disk", START_LIMIT, || {
        dir.path().join("snapshot.json").exists().then_some(())
    });
    proxy.kill_9();
    let mut again = Process::weir("proxy-again", args);
    wait_for_gateway(port);
    assert!(again.is_running());

    // And takes up the stream again when there is somebody.
    cluster.restart();
    cluster.apply(&gateway_documents(port, &ports[..1]));
    eventually("the proxy to follow the new server", START_LIMIT, || {
        let names: Vec<String> =
            (0..10).filter_map(|_| http::get(port, "/").ok()).map(|response| response.text()).collect();
        (names.len() == 10 && names.iter().all(|name| *name == apps[0].name)).then_some(())
    });
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures of a longer run are what it is made for")]
fn a_killed_server_keeps_every_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_with(&["--data-dir", dir.path().to_str().unwrap()]);
    let acknowledged: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    let kills = std::env::var("WEIR_SERVER_KILLS").map_or(SERVER_KILLS, |count| count.parse().unwrap());
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    for round in 0..kills {
        let stop = Arc::new(AtomicBool::new(false));
        let before = acknowledged.lock().unwrap().values().sum::<u64>();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (stop, acknowledged, port) = (Arc::clone(&stop), Arc::clone(&acknowledged), cluster.http);
                std::thread::spawn(move || write_until_refused(port, round, writer, &stop, &acknowledged))
            })
            .collect();
        // A different moment each time: after 1, 8, 15 ... further acknowledged writes.
        let goal = before + 1 + (round as u64 * 7) % 40;
        eventually("writes to be acknowledged", START_LIMIT, || {
            (acknowledged.lock().unwrap().values().sum::<u64>() >= goal).then_some(())
        });
        cluster.server.kill_9();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
        let killed = Instant::now();
        cluster.restart();
        slowest = slowest.max(killed.elapsed());
        check_all_there(cluster.http, &acknowledged.lock().unwrap());
    }
    let writes: u64 = acknowledged.lock().unwrap().values().sum();
    let took = began.elapsed();
    println!(
        "killed {kills} times in {took:.0?}, {writes} acknowledged writes, slowest restart {slowest:.2?}"
    );
}

/// Writes rising numbers to a key of its own, and notes the last that was acknowledged.
fn write_until_refused(
    port: u16,
    round: usize,
    writer: usize,
    stop: &AtomicBool,
    acknowledged: &Mutex<BTreeMap<String, u64>>,
) {
    let Ok(mut connection) = http::Connection::open(port) else { return };
    let key = format!("crash/{round}/{writer}");
    for number in 1..=10_000u64 {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let target = format!("/v1/kv/{key}");
        match connection.request("PUT", &target, &[], number.to_string().as_bytes()) {
            Ok(answer) if answer.status == 200 && answer.text().trim() == "true" => {
                acknowledged.lock().unwrap().insert(key.clone(), number);
            }
            _ => return,
        }
    }
}

/// Each key holds what was last acknowledged, or the next number: that write may have been made and not answered.
fn check_all_there(port: u16, acknowledged: &BTreeMap<String, u64>) {
    let mut connection = http::Connection::open(port).unwrap();
    for (key, last) in acknowledged {
        let answer = connection.request("GET", &format!("/v1/kv/{key}?raw"), &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{key} is gone; {last} had been acknowledged");
        let found: u64 = answer.text().parse().unwrap();
        assert!(found == *last || found == last + 1, "{key}: found {found}, acknowledged {last}");
    }
}
