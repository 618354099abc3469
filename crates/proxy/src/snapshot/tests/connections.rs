//! Routes of connections, and the policies of listeners.

use weir_api::snapshot::{MADE_OF, StatedProtocol};
use weir_model::resource::Protocol;

use super::*;
use crate::listen::{ProxySources, ProxyVersion};
use crate::snapshot::StreamDecision;

fn tcp_gateway() -> Resource {
    let listeners = json!([
        {"name": "web", "port": 8080, "protocol": "HTTP"},
        {"name": "db", "port": 5432, "protocol": "TCP"},
        {"name": "cache", "port": 6379, "protocol": "TCP"},
    ]);
    resource("Gateway", "edge", json!({"listeners": listeners}))
}

#[expect(clippy::needless_pass_by_value, reason = "calls read better without `&json!`")]
fn connections(kind: &str, name: &str, parents: Value, service: &str) -> Resource {
    let rules = json!([{"backendRefs": [{"name": service}]}]);
    resource(kind, name, json!({"parentRefs": parents, "rules": rules}))
}

/// The route that serves a connection to a port, or why none does.
fn connected(snapshot: &Snapshot, port: u16, name: Option<&str>) -> String {
    let listener = snapshot.listeners.iter().find(|listener| listener.addr.port() == port).unwrap();
    let Some(table) = &listener.streams else { return "requests".to_owned() };
    let mut rng = SmallRng::seed_from_u64(1);
    match snapshot.stream(table, name.map(str::as_bytes), &mut rng) {
        StreamDecision::Forward { upstream, rule } => format!("{} -> {}", rule.label, upstream.label),
        StreamDecision::NoRoute => "no route".to_owned(),
        StreamDecision::NoBackend { rule, .. } => format!("no backend by {}", rule.label),
    }
}

#[test]
fn a_tcp_route_takes_all_connections_of_its_listener() {
    let snapshot = compile([
        tcp_gateway(),
        service("postgres", &[]),
        connections("TCPRoute", "b", json!([{"name": "edge", "sectionName": "db"}]), "postgres"),
        connections("TCPRoute", "c", json!([{"name": "edge", "sectionName": "db"}]), "late"),
        connections("TCPRoute", "d", json!([{"name": "edge", "port": 6379}]), "nowhere"),
        route("web", json!([{"name": "edge"}]), "postgres"),
    ]);
    assert_eq!(connected(&snapshot, 5432, None), "TCPRoute/b -> postgres");
    assert_eq!(connected(&snapshot, 6379, None), "no backend by TCPRoute/d");
    assert_eq!(connected(&snapshot, 8080, None), "requests");
    assert_eq!(outcome(&snapshot, 8080, "GET h/"), "HTTPRoute/web#0 -> postgres");
    assert!(snapshot.listeners.iter().all(|listener| listener.is_plain() == (listener.addr.port() == 8080)));
    // An HTTPRoute that names the gateway as a whole is none of the other listeners' business.
    let of_db = snapshot.listeners.iter().find(|listener| listener.addr.port() == 5432).unwrap();
    assert!(of_db.routes.rules().is_empty());
}

/// HTTPS, TLS that is terminated and TLS that is passed through, on one port.
fn tls_gateway() -> Resource {
    let certificates = json!({"certificateRefs": [{"name": "c"}]});
    let listeners = json!([
        {"name": "web", "port": 443, "protocol": "HTTPS", "hostname": "*.example", "tls": certificates},
        {"name": "pass", "port": 443, "protocol": "TLS", "hostname": "*.db.example", "tls": {"mode": "Passthrough"}},
        {"name": "end", "port": 443, "protocol": "TLS", "hostname": "end.example", "tls": certificates},
    ]);
    resource("Gateway", "edge", json!({"listeners": listeners}))
}

fn named(mut route: Resource, hostnames: &[&str]) -> Resource {
    let hostnames = hostnames.iter().map(|&name| name.to_owned()).collect();
    match &mut route.spec {
        weir_model::Spec::TlsRoute(spec) => spec.hostnames = hostnames,
        weir_model::Spec::HttpRoute(spec) => spec.hostnames = hostnames,
        weir_model::Spec::GrpcRoute(spec) => spec.hostnames = hostnames,
        _ => panic!("no host names"),
    }
    route
}

#[test]
fn listeners_of_one_tls_port_are_told_apart_by_name() {
    let parent = || json!([{"name": "edge"}]);
    let snapshot = compile([
        tls_gateway(),
        service("a", &[]),
        service("b", &[]),
        service("c", &[]),
        route("web", parent(), "a"),
        named(connections("TLSRoute", "one", parent(), "b"), &["one.db.example", "web.example"]),
        named(connections("TLSRoute", "wild", parent(), "c"), &["*.example"]),
        connections("TCPRoute", "end", json!([{"name": "edge", "sectionName": "end"}]), "a"),
    ]);
    let check = |name: Option<&str>, expected: &str| {
        assert_eq!(connected(&snapshot, 443, name), expected, "{name:?}");
    };
    check(Some("one.db.example"), "TLSRoute/one -> b");
    check(Some("two.db.example"), "TLSRoute/wild -> c");
    // Both attach to it; of routes for all of a listener's names and for one, the latter counts.
    check(Some("end.example"), "TLSRoute/wild -> c");
    check(None, "no route");
    assert_eq!(outcome(&snapshot, 443, "GET web.example/"), "HTTPRoute/web#0 -> a");
    // The host is another listener's, which takes no requests.
    assert_eq!(outcome(&snapshot, 443, "GET one.db.example/"), "404");
    let table = &snapshot.listeners[0].routes;
    let section = |host: &str| table.section_of(host.as_bytes());
    assert_eq!(
        ["x.example", "x.db.example", "end.example", "elsewhere"].map(section),
        [Some(0), Some(1), Some(2), None]
    );
}

#[test]
fn kinds_that_a_listener_does_not_take_do_not_attach() {
    let listeners = json!([
        {"name": "web", "port": 8080, "protocol": "HTTP", "allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}},
        {"name": "db", "port": 5432, "protocol": "TCP"},
    ]);
    let snapshot = compile([
        resource("Gateway", "edge", json!({"listeners": listeners})),
        service("cart", &[]),
        route("web", json!([{"name": "edge"}]), "cart"),
        connections("TLSRoute", "tls", json!([{"name": "edge"}]), "cart"),
    ]);
    assert_eq!(outcome(&snapshot, 8080, "GET h/"), "404");
    assert_eq!(connected(&snapshot, 5432, None), "no route");
}

#[expect(clippy::needless_pass_by_value, reason = "calls read better without `&json!`")]
fn policy(name: &str, target: Value, more: Value) -> Resource {
    let mut spec = json!({"targetRefs": [target]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    resource("ListenerPolicy", name, spec)
}

#[test]
fn a_listeners_policy_counts_before_its_gateways() {
    let limits = |connections: u32| json!({"limits": {"connections": connections}});
    let snapshot = compile([
        tcp_gateway(),
        policy("all", json!({"kind": "Gateway", "name": "edge"}), limits(10)),
        policy("later", json!({"name": "edge"}), limits(20)),
        policy("db", json!({"name": "edge", "sectionName": "db"}), json!({"timeouts": {"idle": "5s"}})),
        policy("other", json!({"name": "other"}), limits(30)),
    ]);
    let of = |port: u16| {
        let listener = snapshot.listeners.iter().find(|listener| listener.addr.port() == port).unwrap();
        (listener.settings.connections_max, listener.settings.idle_timeout.map(|idle| idle.as_secs()))
    };
    assert_eq!(of(8080), (Some(10), None));
    assert_eq!(of(5432), (None, Some(5)));
    assert_eq!(of(6379), (Some(10), None));
}

#[test]
fn who_begins_with_a_proxy_header() {
    let sources = |accept: Value| {
        let more = json!({ "proxyProtocol": accept });
        let snapshot = compile([gateway("edge"), policy("p", json!({"name": "edge"}), more)]);
        snapshot.listeners[0].proxy_protocol.clone()
    };
    assert_eq!(sources(json!({})), Some(ProxySources::All));
    let from = ["10.0.0.0/8", "::1"].map(|text| text.parse().unwrap());
    assert_eq!(sources(json!({"from": ["10.0.0.0/8", "::1"]})), Some(ProxySources::From(from.into())));
    assert_eq!(sources(Value::Null), None);
}

#[test]
fn what_a_policy_says_of_connections_to_a_service() {
    let spec = json!({"targetRefs": [{"name": "cart"}], "proxyProtocol": "v2"});
    let snapshot = compile([service("cart", &[]), resource("TrafficPolicy", "p", spec)]);
    let upstream = snapshot.upstream_of(&ServiceRef::new("default", "cart")).unwrap();
    assert_eq!(upstream.settings.proxy_protocol, Some(ProxyVersion::V2));
}

#[test]
fn calls_inside_the_mesh_by_connection() {
    let parent = json!([{"kind": "Service", "name": "db"}]);
    let inputs =
        inputs([service("db", &[]), service("db-new", &[]), connections("TCPRoute", "db", parent, "db-new")]);
    let snapshot = sidecar("default").compile(&inputs, None).unwrap();
    let found = snapshot.mesh.known(b"db").unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    match snapshot.stream(found.streams.as_ref().unwrap(), None, &mut rng) {
        StreamDecision::Forward { upstream, .. } => assert_eq!(&*upstream.label, "db-new"),
        other => panic!("{other:?}"),
    }
    assert!(snapshot.mesh.known(b"db-new").unwrap().streams.is_none());
}

#[test]
fn routes_made_of_entries_count_by_what_the_service_speaks() {
    let made = |mut route: Resource| {
        route.metadata.annotations.insert(MADE_OF.to_owned(), "service-router/db".to_owned());
        route
    };
    let parent = || json!([{"kind": "Service", "name": "db"}]);
    let told = |protocol: Option<Protocol>, is_made: bool| {
        let routes =
            [route("db", parent(), "requests"), connections("TCPRoute", "db", parent(), "connections")];
        let routes = routes.map(|route| if is_made { made(route) } else { route });
        let services = [service("requests", &[]), service("connections", &[])];
        let mut inputs = inputs(services.into_iter().chain(routes));
        let stated = protocol.map(|protocol| StatedProtocol { protocol, from: "instance a".to_owned() });
        let registered = Registered { known: true, protocol: stated, ..Registered::default() };
        Arc::make_mut(&mut inputs.services).insert(ServiceRef::new("default", "db"), Arc::new(registered));
        let snapshot = sidecar("default").compile(&inputs, None).unwrap();
        let found = snapshot.mesh.known(b"db").unwrap();
        (decide(&snapshot, &found.routes, "GET db/"), found.streams.is_some())
    };
    let (routed, direct) = ("HTTPRoute/db#0 -> requests", "Service/db -> db");
    assert_eq!(told(None, true), (routed.to_owned(), true));
    assert_eq!(told(Some(Protocol::Http), true), (routed.to_owned(), false));
    assert_eq!(told(Some(Protocol::Grpc), true), (routed.to_owned(), false));
    assert_eq!(told(Some(Protocol::Tcp), true), (direct.to_owned(), true));
    // What somebody has declared counts as it is.
    assert_eq!(told(Some(Protocol::Tcp), false), (routed.to_owned(), true));
    assert_eq!(told(Some(Protocol::Http), false), (routed.to_owned(), true));
}
