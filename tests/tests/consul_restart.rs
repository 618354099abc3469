//! What Consul clients registered and stored is there again after the server was killed and started anew: services
//! with what their checks reported, keys, and indexes that do not go backwards.

use std::time::Duration;

use serde_json::json;
use weir_tests::http::{self, Response};
use weir_tests::{Cluster, eventually};

/// Longest a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn ok(cluster: &Cluster, target: &str, body: &str) {
    let response = http::put(cluster.http, target, body).expect(target);
    assert_eq!(response.status, 200, "{target}: {}", response.text());
}

fn get(cluster: &Cluster, target: &str) -> Response {
    let response = http::get(cluster.http, target).expect(target);
    assert_eq!(response.status, 200, "{target}: {}", response.text());
    response
}

fn index(response: &Response) -> u64 {
    response.header("x-consul-index").and_then(|index| index.parse().ok()).expect("an index")
}

#[test]
fn registrations_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_with(&["--data-dir", folder.path().to_str().unwrap()]);
    for id in ["web-1", "web-2"] {
        let body = json!({"Name": "web", "ID": id, "Port": 80, "Tags": ["a"], "Check": {"TTL": "600s"}});
        ok(&cluster, "/v1/agent/service/register", &body.to_string());
    }
    ok(&cluster, "/v1/agent/check/pass/service:web-1?note=well", "");
    ok(&cluster, "/v1/agent/service/maintenance/web-2?enable=true&reason=why", "");
    ok(&cluster, "/v1/kv/a/b", "value");
    let before = get(&cluster, "/v1/health/service/web");
    let passing = get(&cluster, "/v1/health/service/web?passing").json();
    assert_eq!(passing.as_array().map(Vec::len), Some(1));
    let key = get(&cluster, "/v1/kv/a/b").text();
    cluster.server.kill_9();
    cluster.restart();
    let after = get(&cluster, "/v1/health/service/web");
    assert_eq!(after.json(), before.json());
    assert!(index(&after) >= index(&before), "{} then {}", index(&before), index(&after));
    assert_eq!(get(&cluster, "/v1/health/service/web?passing").json(), passing);
    assert_eq!(get(&cluster, "/v1/kv/a/b").text(), key);
    // It goes on from there: a check-and-set with the old index still holds.
    let modified = serde_json::from_str::<serde_json::Value>(&key).unwrap()[0]["ModifyIndex"].clone();
    assert_eq!(http::put(cluster.http, &format!("/v1/kv/a/b?cas={modified}"), "new").unwrap().text(), "true");
}

#[test]
fn checks_are_carried_out_again_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_with(&["--data-dir", folder.path().to_str().unwrap()]);
    let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap().to_string();
    let body = json!({"Name": "web", "Port": 80, "Check": {"TCP": address, "Interval": "100ms"}});
    ok(&cluster, "/v1/agent/service/register", &body.to_string());
    let until = |cluster: &Cluster, count: usize| {
        eventually(&format!("{count} passing"), PATIENCE, || {
            let passing = get(cluster, "/v1/health/service/web?passing").json();
            (passing.as_array().map(Vec::len) == Some(count)).then_some(())
        });
    };
    until(&cluster, 1);
    cluster.server.kill_9();
    drop(target);
    cluster.restart();
    until(&cluster, 0);
}
