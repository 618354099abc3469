//! The form in which things are stored and travel: whatever was ever written must be read by every later version, and by
//! the version before. A change that breaks one of these files breaks clusters: add new files, do not edit old ones.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_model::document;
use weir_model::registry::{Address, Check, CheckDefinition, CheckKind, Health, Instance, Node, Weights};
use weir_model::resource::certificate::CertificateSpec;
use weir_model::resource::gateway::{
    AllowedRoutes, CertificateRef, FromNamespaces, GatewayAddress, GatewaySpec, Listener, ListenerProtocol,
    ListenerTls, RouteNamespaces, TlsMode,
};
use weir_model::resource::http_route::{
    BackendRef, HttpRouteMatch, HttpRouteRule, HttpRouteSpec, ParentRef, PathMatch, PathMatchKind,
    RouteTimeouts, ValueMatch, ValueMatchKind,
};
use weir_model::resource::service::{Protocol, ServiceSpec, StaticEndpoint};
use weir_model::resource::traffic_policy::{
    Balance, BalancePolicy, Retry, TargetRef, Timeouts, TrafficPolicySpec,
};
use weir_model::resource::{Metadata, Resource, Spec};
use weir_model::units::Span;
use weir_model::{Position, ServiceRef};

/// What is stored reads as the value, and the value is stored as exactly that; fields of a later version do not disturb.
#[track_caller]
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let path = format!("{}/tests/stored/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let written = format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    let stored =
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}; it should hold:\n{written}"));
    assert_eq!(&serde_json::from_str::<T>(&stored).unwrap(), value, "{path} reads differently");
    assert_eq!(written, stored, "{path} would be written differently");
    let mut later: serde_json::Value = serde_json::from_str(&stored).unwrap();
    age(&mut later);
    assert_eq!(&serde_json::from_value::<T>(later).unwrap(), value, "{path} with fields of a later version");
}

/// Adds a field that nobody knows to every struct, not to maps with free keys nor to the name of an enum's variant.
fn age(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, inner) in fields.iter_mut().filter(|(key, inner)| !is_free(key, inner)) {
                match inner {
                    serde_json::Value::Object(variant) if key == "kind" => variant.values_mut().for_each(age),
                    _ => age(inner),
                }
            }
            fields.insert("fromTheFuture".to_owned(), serde_json::json!({"a": [1]}));
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(age),
        _ => {}
    }
}

fn is_free(key: &str, value: &serde_json::Value) -> bool {
    let all_text = value.as_object().is_some_and(|map| map.values().all(serde_json::Value::is_string));
    ["labels", "annotations", "tagged_addresses", "headers"].contains(&key) || (key == "metadata" && all_text)
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| (text(key), text(value))).collect()
}

fn named(name: &str) -> Metadata {
    Metadata {
        name: text(name),
        namespace: text("shop"),
        labels: map(&[("app.kubernetes.io/name", "cart")]),
        annotations: map(&[("note", "for people")]),
    }
}

fn span(text: &str) -> Span {
    text.parse().unwrap()
}

#[test]
fn gateway() {
    let listener = Listener {
        name: text("https"),
        hostname: Some(text("*.shop.example")),
        port: 443,
        protocol: ListenerProtocol::Https,
        tls: Some(ListenerTls {
            mode: Some(TlsMode::Terminate),
            certificate_refs: vec![CertificateRef {
                group: Some(text("weir.dev")),
                kind: Some(text("Certificate")),
                name: text("shop"),
                namespace: Some(text("certs")),
            }],
        }),
        allowed_routes: Some(AllowedRoutes {
            namespaces: Some(RouteNamespaces { from: Some(FromNamespaces::All) }),
        }),
    };
    let plain = |name: &str, port, protocol| Listener {
        name: text(name),
        hostname: None,
        port,
        protocol,
        tls: None,
        allowed_routes: None,
    };
    let spec = GatewaySpec {
        gateway_class_name: Some(text("weir")),
        addresses: vec![GatewayAddress { kind: text("IPAddress"), value: text("0.0.0.0") }],
        listeners: vec![
            listener,
            plain("http", 80, ListenerProtocol::Http),
            plain("tcp", 5432, ListenerProtocol::Tcp),
            plain("tls", 8443, ListenerProtocol::Tls),
        ],
    };
    golden("gateway", &Resource { metadata: named("edge"), spec: Spec::Gateway(spec) });
}

#[test]
fn http_route() {
    let condition = HttpRouteMatch {
        path: Some(PathMatch { kind: PathMatchKind::Exact, value: text("/cart") }),
        headers: vec![ValueMatch { kind: ValueMatchKind::Exact, name: text("X-Canary"), value: text("yes") }],
        query_params: vec![ValueMatch { kind: ValueMatchKind::Exact, name: text("v"), value: text("2") }],
        method: Some(text("GET")),
    };
    let backend = BackendRef {
        group: Some(text("")),
        kind: Some(text("Service")),
        name: text("cart"),
        namespace: Some(text("shop")),
        port: Some(8080),
        weight: 90,
    };
    let rule = HttpRouteRule {
        name: Some(text("canary")),
        matches: vec![condition, HttpRouteMatch::default()],
        backend_refs: vec![backend],
        timeouts: Some(RouteTimeouts { request: Some(span("10s")), backend_request: Some(span("1500ms")) }),
    };
    let parent = ParentRef {
        group: Some(text("gateway.networking.k8s.io")),
        kind: Some(text("Gateway")),
        namespace: Some(text("edge")),
        name: text("edge"),
        section_name: Some(text("https")),
        port: Some(443),
    };
    let spec =
        HttpRouteSpec { parent_refs: vec![parent], hostnames: vec![text("shop.example")], rules: vec![rule] };
    golden("http_route", &Resource { metadata: named("cart"), spec: Spec::HttpRoute(spec) });
}

#[test]
fn service() {
    let spec = ServiceSpec {
        protocol: Protocol::Http2,
        metadata: map(&[("team", "shop")]),
        endpoints: vec![StaticEndpoint { address: text("10.0.0.1"), port: 8080, weight: 3 }],
    };
    golden("service", &Resource { metadata: named("cart"), spec: Spec::Service(spec) });
    let least = Metadata { name: text("a"), namespace: text("default"), ..Metadata::default() };
    golden("service_least", &Resource { metadata: least, spec: Spec::Service(ServiceSpec::default()) });
}

#[test]
fn certificate() {
    let spec = CertificateSpec { cert_file: text("/etc/shop/cert.pem"), key_file: text("/etc/shop/key.pem") };
    golden("certificate", &Resource { metadata: named("shop"), spec: Spec::Certificate(spec) });
}

#[test]
fn traffic_policy() {
    let spec = TrafficPolicySpec {
        target_refs: vec![TargetRef { kind: Some(text("Service")), name: text("cart") }],
        balance: Some(Balance { policy: BalancePolicy::RoundRobin }),
        timeouts: Some(Timeouts {
            connect: Some(span("500ms")),
            request: Some(span("0s")),
            idle: Some(span("90s")),
        }),
        retry: Some(Retry { attempts: 2 }),
    };
    golden("traffic_policy", &Resource { metadata: named("cart"), spec: Spec::TrafficPolicy(spec) });
}

#[test]
fn registry() {
    let instance = Instance {
        namespace: text("default"),
        node: text("host-1"),
        id: text("web:8080"),
        service: text("web"),
        address: text("10.0.0.1"),
        port: 8080,
        inbound: Some(Address { host: text("10.0.0.1"), port: 21000 }),
        tags: vec![text("b"), text("a")],
        tagged_addresses: [(text("lan"), Address { host: text("10.0.0.1"), port: 8080 })].into(),
        weights: Weights { passing: 10, warning: 1 },
        enable_tag_override: true,
        maintenance: Some(text("upgrade")),
        metadata: map(&[("version", "1.2")]),
    };
    golden("instance", &instance);
    let node = Node {
        name: text("host-1"),
        id: text("40e4a748-2192-161a-0510-9bf59fe950b5"),
        address: text("10.0.0.1"),
        tagged_addresses: map(&[("wan", "1.2.3.4")]),
        metadata: map(&[("zone", "a")]),
        maintenance: None,
    };
    golden("node", &node);
    let kind = CheckKind::Http {
        url: text("http://10.0.0.1:8080/health"),
        method: text("GET"),
        headers: [(text("x-a"), vec![text("b")])].into(),
        body: String::new(),
    };
    let check = |id: &str, kind| Check {
        namespace: text("default"),
        node: text("host-1"),
        id: text(id),
        name: text("web is alive"),
        instance: Some(text("web:8080")),
        service: text("web"),
        health: Health::Warning,
        output: text("429"),
        notes: text("see runbook"),
        definition: Some(CheckDefinition {
            kind,
            interval: span("10s"),
            timeout: span("1s"),
            successes_before_passing: 1,
            failures_before_critical: 3,
            failures_before_warning: 2,
            deregister_after: Some(span("90m")),
        }),
    };
    golden("check_http", &check("service:web", kind));
    golden("check_tcp", &check("tcp", CheckKind::Tcp { address: text("10.0.0.1:8080") }));
    golden("check_ttl", &check("ttl", CheckKind::Ttl));
}

#[test]
fn identities() {
    golden("position", &Position::new(3, 4711));
    golden("service_ref", &ServiceRef::new("shop", "cart"));
    let resource = Resource { metadata: named("cart"), spec: Spec::Service(ServiceSpec::default()) };
    golden("resource_id", &resource.id());
}

/// What is stored today must not have been lost from a document on the way: text to resource to JSON to text again.
fn spans() -> impl Strategy<Value = Option<Span>> {
    prop::option::of((0..300_000_000_000_000_000u64).prop_map(|n| Span(Duration::from_nanos(n))))
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,6}",
        "[ -~\u{e4}\u{1f600}\\n\\t]{0,12}",
        Just(text("null")),
        Just(text("5")),
        Just(text("~"))
    ]
}

fn free() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(word(), word(), 0..3)
}

fn metadata() -> impl Strategy<Value = Metadata> {
    (word(), word(), free(), free()).prop_map(|(name, namespace, labels, annotations)| Metadata {
        name,
        namespace,
        labels,
        annotations,
    })
}

fn route() -> impl Strategy<Value = Spec> {
    let values = || {
        let value = (word(), word());
        let value = value.prop_map(|(name, value)| ValueMatch { kind: ValueMatchKind::Exact, name, value });
        prop::collection::vec(value, 0..3)
    };
    let path = (any::<bool>(), word()).prop_map(|(exact, value)| PathMatch {
        kind: if exact { PathMatchKind::Exact } else { PathMatchKind::PathPrefix },
        value,
    });
    let condition = (prop::option::of(path), values(), values(), prop::option::of(word())).prop_map(
        |(path, headers, query_params, method)| HttpRouteMatch { path, headers, query_params, method },
    );
    let backend = (prop::option::of(word()), word(), prop::option::of(any::<u16>()), any::<u32>()).prop_map(
        |(kind, name, port, weight)| BackendRef {
            group: kind.clone(),
            kind,
            name,
            namespace: None,
            port,
            weight,
        },
    );
    let timeouts =
        (spans(), spans()).prop_map(|(request, backend_request)| RouteTimeouts { request, backend_request });
    let rule = (
        prop::option::of(word()),
        prop::collection::vec(condition, 0..3),
        prop::collection::vec(backend, 0..3),
        prop::option::of(timeouts),
    )
        .prop_map(|(name, matches, backend_refs, timeouts)| HttpRouteRule {
            name,
            matches,
            backend_refs,
            timeouts,
        });
    (prop::collection::vec(word(), 0..3), prop::collection::vec(rule, 0..3)).prop_map(|(hostnames, rules)| {
        Spec::HttpRoute(HttpRouteSpec { parent_refs: Vec::new(), hostnames, rules })
    })
}

fn spec() -> impl Strategy<Value = Spec> {
    let endpoint = (word(), any::<u16>(), any::<u32>()).prop_map(|(address, port, weight)| StaticEndpoint {
        address,
        port,
        weight,
    });
    let service = (free(), prop::collection::vec(endpoint, 0..3)).prop_map(|(metadata, endpoints)| {
        Spec::Service(ServiceSpec { protocol: Protocol::Grpc, metadata, endpoints })
    });
    let certificate = (word(), word())
        .prop_map(|(cert_file, key_file)| Spec::Certificate(CertificateSpec { cert_file, key_file }));
    let policy = (word(), spans(), any::<u32>()).prop_map(|(name, connect, attempts)| {
        Spec::TrafficPolicy(TrafficPolicySpec {
            target_refs: vec![TargetRef { kind: None, name }],
            balance: None,
            timeouts: Some(Timeouts { connect, request: connect, idle: None }),
            retry: Some(Retry { attempts }),
        })
    });
    let listener =
        (word(), prop::option::of(word()), any::<u16>()).prop_map(|(name, hostname, port)| Listener {
            name,
            hostname,
            port,
            protocol: ListenerProtocol::Tls,
            tls: Some(ListenerTls { mode: Some(TlsMode::Passthrough), certificate_refs: Vec::new() }),
            allowed_routes: None,
        });
    let gateway = prop::collection::vec(listener, 0..4).prop_map(|listeners| {
        Spec::Gateway(GatewaySpec { gateway_class_name: None, addresses: Vec::new(), listeners })
    });
    prop_oneof![service, certificate, policy, gateway, route()]
}

proptest! {
    #[test]
    fn every_resource_survives_its_document(metadata in metadata(), spec in spec()) {
        let resource = Resource { metadata, spec };
        let json = serde_json::to_string(&resource).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Resource>(&json).unwrap(), &resource);
        let parsed = document::parse("-", &json).unwrap();
        prop_assert_eq!(&parsed.documents[0].resource, &resource);
        prop_assert!(parsed.documents[0].ignored.is_empty());
        // And nothing the rules do with it panics, however odd it is.
        let _ = document::check(&parsed.documents, weir_model::validate::Scope::OneProxy);
    }
}
