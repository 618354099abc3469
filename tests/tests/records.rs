//! What Consul's API keeps as records (prepared queries, events, config entries) is the same on all servers over one etcd.

#[path = "../../crates/store/tests/etcd/member.rs"]
#[allow(dead_code, reason = "here it neither dies nor stands still")]
mod member;

use std::collections::BTreeSet;
use std::time::Duration;

use member::Member;
use serde_json::{Value, json};

use weir_tests::{Process, eventually, free_ports, http};

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn call(port: u16, method: &str, target: &str, body: &str) -> http::Response {
    http::request(port, method, target, &[], body.as_bytes()).expect("an answer")
}

fn ok(port: u16, method: &str, target: &str, body: &str) -> Value {
    let answer = call(port, method, target, body);
    assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
    if answer.text().is_empty() { Value::Null } else { answer.json() }
}

/// Two servers over one etcd.
fn servers(etcd: &Member) -> [(u16, Process); 2] {
    let store = format!("etcd://{}?prefix=/shop", etcd.host());
    let [http_a, grpc_a, http_b, grpc_b] = free_ports::<4>();
    let servers = [(http_a, grpc_a), (http_b, grpc_b)].map(|(http, grpc)| {
        let (http_address, grpc) = (format!("127.0.0.1:{http}"), format!("127.0.0.1:{grpc}"));
        let args = ["server", "--store", &*store, "--http", &*http_address, "--grpc", &*grpc, "--dns", "off"];
        (http, Process::weir("server", args))
    });
    for (port, _) in &servers {
        eventually("both servers are seen", PATIENCE, || {
            let answer = http::get(*port, "/v1/operator/raft/configuration").ok()?;
            let servers = answer.json()["Servers"].as_array()?.clone();
            let leaders = servers.iter().filter(|server| server["Leader"] == true).count();
            (servers.len() == 2 && leaders == 1).then_some(())
        });
    }
    servers
}

#[test]
fn what_one_server_keeps_the_others_show() {
    let etcd = Member::start();
    let [(a, _one), (b, _other)] = servers(&etcd);
    let health = ok(a, "GET", "/v1/operator/autopilot/health", "");
    assert_eq!((&health["Healthy"], &health["FailureTolerance"]), (&json!(true), &json!(1)));

    // A query that one was told of is carried out by the other, and its name is taken there too.
    ok(a, "PUT", "/v1/agent/service/register", r#"{"Name": "web", "Port": 80}"#);
    let query = json!({"Name": "shop", "Service": {"Service": "web"}}).to_string();
    ok(a, "POST", "/v1/query", &query);
    assert_eq!(call(b, "POST", "/v1/query", &query).status, 409);
    let nodes = ok(b, "GET", "/v1/query/shop/execute?consistent", "")["Nodes"].clone();
    assert_eq!(nodes[0]["Service"]["Port"], 80);

    // A config entry is put on the condition of what the other one wrote.
    let entry = json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http"}).to_string();
    assert_eq!(ok(a, "PUT", "/v1/config?cas=0", &entry), json!(true));
    assert_eq!(ok(b, "PUT", "/v1/config?cas=0", &entry), json!(false));
    assert_eq!(ok(b, "GET", "/v1/config/service-defaults/web?consistent", "")["Protocol"], "http");

    // Events fired at both at once are in one order, and nobody's is lost.
    let fire = |port: u16| {
        move || (0..20).for_each(|n| drop(ok(port, "PUT", &format!("/v1/event/fire/{port}-{n}"), "")))
    };
    let firing = [a, b].map(|port| std::thread::spawn(fire(port)));
    firing.into_iter().for_each(|thread| thread.join().expect("all are fired"));
    let listed = [a, b].map(|port| ok(port, "GET", "/v1/event/list?consistent", ""));
    assert_eq!(listed[0], listed[1]);
    let events = listed[0].as_array().unwrap();
    let names: BTreeSet<&str> = events.iter().filter_map(|event| event["Name"].as_str()).collect();
    assert_eq!((events.len(), names.len()), (40, 40));
}
