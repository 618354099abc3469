//! What agents tell of their nodes.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use weir_api::native::{AgentHeard, DNS_OFF, NodeChanged, NodeState};
use weir_control::Replica;
use weir_control::bounds::REGISTRATION_CHECKS_MAX;
use weir_model::registry::Runner;

use super::*;
use crate::http::{Request, Response};

const ID: &str = "40e4a748-2192-161a-0510-9bf59fe950b5";

fn node(id: &str) -> serde_json::Value {
    json!({"name": "", "id": id, "address": "10.0.0.1"})
}

fn instance(id: &str) -> serde_json::Value {
    json!({"namespace": "default", "node": "", "id": id, "service": "web", "maintenance": "repairs"})
}

fn check(id: &str, instance: &str) -> serde_json::Value {
    let definition = json!({"kind": "ttl", "interval": "1s", "timeout": "1s"});
    json!({
        "namespace": "default", "node": "", "id": id, "name": id, "instance": instance, "health": "warning",
        "definition": definition, "of_a_later_version": true,
    })
}

#[tokio::test]
async fn a_node_is_made_as_its_agent_has_it() {
    let api = Api::start().await;
    let (status, _) = api.ask("GET", "/weir/v1/nodes/host", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let alive = json!({"id": ID}).to_string();
    let heard: AgentHeard = api.answer("POST", "/weir/v1/nodes/host/alive", &alive).await;
    assert!(!heard.known);

    let changes = json!({
        "node": node(ID),
        "instances": [instance("a"), instance("b"), instance("a\u{0}b")],
        "checks": [check("a1", "a"), check("a2", "a"), check("x1", "nobody")],
    });
    let changed: NodeChanged = api.answer("PUT", "/weir/v1/nodes/host", &changes.to_string()).await;
    let paths: Vec<_> = changed.refused.iter().filter_map(|problem| problem.path.as_deref()).collect();
    assert_eq!(paths, ["instance a\u{0}b", "check x1"], "what is refused holds nothing else up");

    let state: NodeState = api.answer("GET", "/weir/v1/nodes/HOST", "").await;
    assert_eq!((&*state.node.name, &*state.node.id, state.instances.len()), ("host", ID, 2));
    assert_eq!(state.instances[0].maintenance.as_deref(), Some("repairs"));
    let runners: Vec<_> = state.checks.iter().map(|check| (&*check.id, check.runner)).collect();
    assert_eq!(runners, [("serfHealth", Runner::Presence), ("a1", Runner::Agent), ("a2", Runner::Agent)]);
    assert_eq!(state.checks[1].health, Health::Warning);
    let heard: AgentHeard = api.answer("POST", "/weir/v1/nodes/host/alive", &alive).await;
    assert_eq!(heard, AgentHeard { known: true, revision: state.revision, dns: Some(DNS_OFF.to_owned()) });

    let changes = json!({
        "node": node(ID),
        "gone_instances": [{"namespace": "default", "id": "b"}, {"namespace": "default", "id": "never"}],
        "gone_checks": [{"namespace": "default", "id": "a2"}],
    });
    let changed: NodeChanged = api.answer("PUT", "/weir/v1/nodes/host", &changes.to_string()).await;
    assert_eq!(changed.refused, []);
    let state: NodeState = api.answer("GET", "/weir/v1/nodes/host", "").await;
    assert_eq!((state.instances.len(), state.checks.len()), (1, 2));

    let deleted: Deleted = api.answer("DELETE", "/weir/v1/nodes/host", "").await;
    assert_eq!(deleted.deleted, ["Node/host"]);
    assert_eq!(api.ask("DELETE", "/weir/v1/nodes/host", "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_check_that_stands_for_an_agent_is_not_overwritten() {
    let api = Api::start().await;
    let of_instance = check("serfHealth", "a");
    let mut elsewhere = of_instance.clone();
    elsewhere["namespace"] = json!("team");
    elsewhere["instance"] = json!(null);
    let of_node =
        json!({"namespace": "", "node": "", "name": "mine", "id": "serfHealth", "health": "critical"});
    for checks in [json!([of_instance]), json!([of_node])] {
        let changes = json!({"node": node(ID), "instances": [instance("a")], "checks": checks});
        let changed: NodeChanged = api.answer("PUT", "/weir/v1/nodes/host", &changes.to_string()).await;
        let [problem] = &*changed.refused else { panic!("{changed:?}") };
        assert_eq!(problem.path.as_deref(), Some("check serfHealth"));
        let state: NodeState = api.answer("GET", "/weir/v1/nodes/host", "").await;
        let found: Vec<_> =
            state.checks.iter().map(|check| (&*check.id, check.runner, check.health)).collect();
        assert_eq!(found, [("serfHealth", Runner::Presence, Health::Passing)]);
        assert_eq!(state.instances.len(), 1);
    }
    let changes = json!({"node": node(ID), "checks": [elsewhere]});
    let changed: NodeChanged = api.answer("PUT", "/weir/v1/nodes/host", &changes.to_string()).await;
    assert_eq!(changed.refused, [], "another namespace has other names");
}

#[tokio::test]
async fn an_instance_may_have_more_checks_than_one_transaction_takes() {
    let api = Api::start().await;
    let checks: Vec<_> = (0..=REGISTRATION_CHECKS_MAX).map(|n| check(&format!("c{n}"), "a")).collect();
    let changes = json!({"node": node(ID), "instances": [instance("a")], "checks": checks});
    let changed: NodeChanged = api.answer("PUT", "/weir/v1/nodes/host", &changes.to_string()).await;
    assert_eq!(changed.refused, []);
    let state: NodeState = api.answer("GET", "/weir/v1/nodes/host", "").await;
    assert_eq!((state.instances.len(), state.checks.len()), (1, REGISTRATION_CHECKS_MAX + 2));
}

#[tokio::test]
async fn what_is_not_the_agents_is_refused() {
    let api = Api::start().await;
    let put = |id: &str| json!({"node": node(id)}).to_string();
    let first: NodeChanged = api.answer("PUT", "/weir/v1/nodes/host", &put(ID)).await;
    assert_eq!(first.refused, []);
    let other = ID.replace('4', "5");
    let of_dc7 = json!({"id": ID, "datacenter": "dc7"});
    let put_of_dc7 = json!({"node": node(ID), "datacenter": "dc7"});
    for (method, path, body, expected, says) in [
        ("PUT", "/weir/v1/nodes/n1", &*put(ID), 409, "is the node of a server"),
        ("PUT", "/weir/v1/nodes/host", &*put(&other), 409, "is reserved by node"),
        ("PUT", "/weir/v1/nodes/host", &*put(""), 409, "is reserved by node"),
        ("PUT", "/weir/v1/nodes/copy", &*put(ID), 409, "Member 'copy' has conflicting node ID"),
        ("POST", "/weir/v1/nodes/copy/alive", &*json!({"id": ID}).to_string(), 409, "with member 'host'"),
        ("DELETE", &*format!("/weir/v1/nodes/host?id={other}"), "", 409, "is reserved by node"),
        (
            "POST",
            "/weir/v1/nodes/host/alive",
            &*of_dc7.to_string(),
            409,
            "the wrong datacenter \"dc7\": this server is of \"dc1",
        ),
        ("PUT", "/weir/v1/nodes/host", &*put_of_dc7.to_string(), 409, "datacenter"),
        ("DELETE", "/weir/v1/nodes/host?x", "", 400, "unknown query parameter"),
        ("POST", "/weir/v1/nodes/host/alive", &*json!({"id": other}).to_string(), 409, "is reserved by node"),
        ("DELETE", "/weir/v1/nodes/n1", "", 400, "own node"),
        ("POST", "/weir/v1/nodes/host", "{}", 404, "does not exist"),
        ("PUT", "/weir/v1/nodes/host", "[", 400, "body: it cannot be read"),
        ("PUT", "/weir/v1/nodes/a%20b", &*put(""), 400, "node.name"),
        ("GET", "/weir/v1/nodes/host?x", "", 400, "unknown query parameter"),
    ] {
        let (status, text) = api.ask(method, path, body).await;
        assert_eq!(status.as_u16(), expected, "{method} {path}: {text}");
        assert!(text.contains(says), "{method} {path}: {text}");
    }
    let path = format!("/weir/v1/nodes/host?id={ID}");
    let deleted: Deleted = api.answer("DELETE", &path, "").await;
    assert_eq!(deleted.deleted, ["Node/host"]);
}

#[tokio::test]
async fn a_node_whose_agent_is_committed_as_gone_is_silent() {
    let settings = Settings { node_name: "n1".into(), ..Settings::default() };
    let control = Control::start(Arc::new(weir_store::Memory::new()), settings).await.unwrap();
    let api = Api::over(Arc::clone(&control)).await;
    let changes = json!({"node": node(ID)}).to_string();
    let _: NodeChanged = api.answer("PUT", "/weir/v1/nodes/host", &changes).await;
    let heartbeats = || async {
        let nodes: List<NodeView> = api.get("/weir/v1/nodes?name=host").await;
        nodes.items[0].heartbeats
    };
    assert_eq!(heartbeats().await, Heartbeats::Heard);
    // As a server finds it that starts when the agent is long gone: it has not waited for it itself.
    let check = weir_control::catalog::CheckRef::new("default", "host", "serfHealth");
    control.set_check(&check, Health::Critical, "").await.unwrap();
    assert_eq!(control.silent_nodes().get("host"), None);
    assert_eq!(heartbeats().await, Heartbeats::Silent);
}

/// A replica at this address of those that share a store.
async fn replica(store: &Arc<weir_store::Memory>, id: &str, http: &str) -> Arc<Control> {
    let own = Replica {
        id: id.to_owned(),
        http: http.to_owned(),
        grpc: String::new(),
        version: "1".to_owned(),
        datacenter: "dc1".to_owned(),
        node: "n1".to_owned(),
    };
    let settings = Settings { node_name: "n1".into(), replica: Some(own), ..Settings::default() };
    Control::start(store.clone(), settings).await.unwrap()
}

#[tokio::test]
async fn whether_a_name_is_free_is_asked_of_the_replica_that_knows() {
    // What another replica says of a node that it hears of.
    let silent = Arc::new(AtomicBool::new(false));
    let said = Arc::clone(&silent);
    let mut router = Router::new();
    router.get("/weir/v1/nodes", move |request: Request| {
        let name = request.query.get("name").unwrap_or_default().to_owned();
        let heartbeats = if said.load(Ordering::Relaxed) { "doubted" } else { "heard" };
        let node = json!({
            "name": name, "address": "10.0.0.1", "health": "passing", "heartbeats": heartbeats,
            "instances": {"passing": 0, "warning": 0, "critical": 0},
        });
        let list = json!({"position": {"epoch": 1, "revision": 1}, "items": [node]});
        async move { Response::json(StatusCode::OK, &list) }
    });
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), ServerConfig::default()).await.unwrap();
    let address = server.address().to_string();
    tokio::spawn(server.serve(Arc::new(router), std::future::pending()));

    let store = Arc::new(weir_store::Memory::new());
    let control = replica(&store, "a", "127.0.0.1:1").await;
    let _judge = replica(&store, "b", &address).await;
    control.consistent().await.unwrap();
    let judged_by_b = |name: &String| {
        let check = weir_control::catalog::CheckRef::new("default", &**name, "serfHealth");
        control.owned_by_other(&check).is_some()
    };
    let host = (0..1000).map(|number| format!("host-{number}")).find(judged_by_b).expect("some are b's");
    let api = Api::over(Arc::clone(&control)).await;
    let (path, other) = (format!("/weir/v1/nodes/{host}"), ID.replace('4', "5"));
    let put = |id: &str| json!({"node": node(id)}).to_string();
    let first: NodeChanged = api.answer("PUT", &path, &put(ID)).await;
    assert_eq!(first.refused, []);
    let (status, text) = api.ask("PUT", &path, &put(&other)).await;
    assert!(status == StatusCode::CONFLICT && text.contains("is reserved by node"), "{text}");
    silent.store(true, Ordering::Relaxed);
    let second: NodeChanged = api.answer("PUT", &path, &put(&other)).await;
    assert_eq!(second.refused, []);
}
