//! The form in which things are stored and travel: whatever was ever written must be read by every later version, and by
//! the version before. A change that breaks one of these files breaks clusters: add new files, do not edit old ones.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "stored/policies.rs"]
mod policies;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_model::document;
use weir_model::registry::{
    Address, Check, CheckDefinition, CheckKind, Health, Instance, Node, Runner, Weights,
};
use weir_model::resource::certificate::CertificateSpec;
use weir_model::resource::filter::{
    Cors, Fault, FaultAbort, FaultDelay, Filter, FilterKind, Fraction, HeaderModifier, HeaderValue,
    MirrorRef, PathModifier, PathModifierKind, RequestMirror, RequestRedirect, Scheme, UrlRewrite,
};
use weir_model::resource::gateway::{
    AllowedRoutes, CertificateRef, ClientValidation, ClientValidationMode, FromNamespaces, FrontendTls,
    GatewayAddress, GatewaySpec, GatewayTls, Listener, ListenerProtocol, ListenerTls, PerPortTls, PortTls,
    RouteKind, RouteNamespaces, TlsMode,
};
use weir_model::resource::grpc_route::{
    GrpcMethodMatch, GrpcMethodMatchKind, GrpcRouteMatch, GrpcRouteRule, GrpcRouteSpec,
};
use weir_model::resource::http_route::{
    BackendRef, HttpRouteMatch, HttpRouteRule, HttpRouteSpec, ParentRef, PathMatch, PathMatchKind,
    RouteTimeouts, ValueMatch, ValueMatchKind,
};
use weir_model::resource::listener_policy::{
    AcceptProxyProtocol, ListenerLimits, ListenerPolicySpec, ListenerTargetRef, ListenerTimeouts,
};
use weir_model::resource::service::{Protocol, ServiceCheck, ServiceCheckKind, ServiceSpec, StaticEndpoint};
use weir_model::resource::stream_route::{StreamRouteRule, TcpRouteSpec, TlsRouteSpec};
use weir_model::resource::traffic_policy::{
    Balance, BalancePolicy, Connection, PolicyTarget, ProxyProtocolVersion, Retry, Timeouts,
    TrafficPolicySpec, UpstreamTls,
};
use weir_model::resource::{Metadata, Resource, Spec};
use weir_model::units::{Size, Span};
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
    ["labels", "annotations", "tagged_addresses", "options"].contains(&key)
        || (key == "headers" && value.is_object())
        || (key == "metadata" && all_text)
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
            ..ListenerTls::default()
        }),
        allowed_routes: Some(AllowedRoutes {
            namespaces: Some(RouteNamespaces { from: Some(FromNamespaces::All) }),
            kinds: Vec::new(),
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
        tls: None,
    };
    golden("gateway", &Resource { metadata: named("edge"), spec: Spec::Gateway(spec) });
}

fn certificate_ref(name: &str) -> CertificateRef {
    CertificateRef { name: text(name), ..CertificateRef::default() }
}

#[test]
fn gateway_with_tls() {
    let validation = |name: &str, mode| ClientValidation {
        ca_certificate_refs: vec![certificate_ref(name)],
        mode: Some(mode),
    };
    let listener = Listener {
        name: text("https"),
        hostname: None,
        port: 443,
        protocol: ListenerProtocol::Https,
        tls: Some(ListenerTls {
            mode: None,
            certificate_refs: vec![certificate_ref("shop")],
            options: map(&[("weir.dev/min-version", "1.3")]),
            frontend_validation: Some(validation("old", ClientValidationMode::AllowInsecureFallback)),
        }),
        allowed_routes: Some(AllowedRoutes {
            namespaces: None,
            kinds: vec![
                RouteKind { group: Some(text("gateway.networking.k8s.io")), kind: text("HTTPRoute") },
                RouteKind { group: None, kind: text("GRPCRoute") },
            ],
        }),
    };
    let frontend = FrontendTls {
        default: PortTls { validation: Some(validation("staff", ClientValidationMode::AllowValidOnly)) },
        per_port: vec![PerPortTls { port: 443, tls: PortTls::default() }],
    };
    let spec = GatewaySpec {
        gateway_class_name: None,
        addresses: Vec::new(),
        listeners: vec![listener],
        tls: Some(GatewayTls { frontend: Some(frontend) }),
    };
    golden("gateway_tls", &Resource { metadata: named("edge"), spec: Spec::Gateway(spec) });
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
        filters: Vec::new(),
    };
    let rule = HttpRouteRule {
        name: Some(text("canary")),
        matches: vec![condition, HttpRouteMatch::default()],
        filters: Vec::new(),
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
    let spec = HttpRouteSpec {
        parent_refs: vec![parent],
        hostnames: vec![text("shop.example")],
        rules: vec![rule],
        ..HttpRouteSpec::default()
    };
    golden("http_route", &Resource { metadata: named("cart"), spec: Spec::HttpRoute(spec) });
}

fn backend(name: &str) -> BackendRef {
    BackendRef {
        group: None,
        kind: None,
        name: text(name),
        namespace: None,
        port: None,
        weight: 1,
        filters: Vec::new(),
    }
}

fn parent(name: &str) -> ParentRef {
    ParentRef { group: None, kind: None, namespace: None, name: text(name), section_name: None, port: None }
}

fn field(name: &str, value: &str) -> HeaderValue {
    HeaderValue { name: text(name), value: text(value) }
}

fn of_kind(kind: FilterKind) -> Filter {
    Filter { kind, ..Filter::default() }
}

/// One filter of each type, with all there is to set.
fn filters() -> Vec<Filter> {
    let modifier = HeaderModifier {
        set: vec![field("X-A", "1")],
        add: vec![field("X-B", "2")],
        remove: vec![text("X-C")],
    };
    let replaced = PathModifier {
        kind: PathModifierKind::ReplacePrefixMatch,
        replace_full_path: None,
        replace_prefix_match: Some(text("/v2")),
    };
    let whole = PathModifier {
        kind: PathModifierKind::ReplaceFullPath,
        replace_full_path: Some(text("/new")),
        replace_prefix_match: None,
    };
    let redirect = RequestRedirect {
        scheme: Some(Scheme::Https),
        hostname: Some(text("shop.example")),
        path: Some(replaced),
        port: Some(8443),
        status_code: Some(308),
    };
    let mirror = RequestMirror {
        backend_ref: MirrorRef {
            group: Some(text("")),
            kind: Some(text("Service")),
            name: text("shadow"),
            namespace: Some(text("test")),
            port: Some(8080),
        },
        percent: Some(10),
        fraction: Some(Fraction { numerator: 1, denominator: 1000 }),
    };
    let cors = Cors {
        allow_origins: vec![text("https://*.shop.example")],
        allow_credentials: Some(true),
        allow_methods: vec![text("PUT")],
        allow_headers: vec![text("X-A")],
        expose_headers: vec![text("X-B")],
        max_age: Some(600),
    };
    let fault = Fault {
        delay: Some(FaultDelay { duration: span("250ms"), percentage: 12.5 }),
        abort: Some(FaultAbort { status: Some(503), grpc_status: None, percentage: 100.0 }),
    };
    let grpc_fault = Fault {
        delay: None,
        abort: Some(FaultAbort { status: None, grpc_status: Some(14), percentage: 0.5 }),
    };
    vec![
        Filter {
            request_header_modifier: Some(modifier.clone()),
            ..of_kind(FilterKind::RequestHeaderModifier)
        },
        Filter { response_header_modifier: Some(modifier), ..of_kind(FilterKind::ResponseHeaderModifier) },
        Filter { request_redirect: Some(redirect), ..of_kind(FilterKind::RequestRedirect) },
        Filter {
            url_rewrite: Some(UrlRewrite { hostname: Some(text("cart.internal")), path: Some(whole) }),
            ..of_kind(FilterKind::UrlRewrite)
        },
        Filter { request_mirror: Some(mirror), ..of_kind(FilterKind::RequestMirror) },
        Filter { cors: Some(cors), ..of_kind(FilterKind::Cors) },
        Filter { fault: Some(fault), ..of_kind(FilterKind::Fault) },
        Filter { fault: Some(grpc_fault), ..of_kind(FilterKind::Fault) },
    ]
}

#[test]
fn http_route_with_filters() {
    let expression = |name: &str, value: &str| ValueMatch {
        kind: ValueMatchKind::RegularExpression,
        name: text(name),
        value: text(value),
    };
    let condition = HttpRouteMatch {
        path: Some(PathMatch { kind: PathMatchKind::RegularExpression, value: text("/v[0-9]+/.*") }),
        headers: vec![expression("X-Canary", "yes|true")],
        query_params: vec![expression("v", "[0-9]+")],
        method: None,
    };
    let rule = HttpRouteRule {
        name: None,
        matches: vec![condition],
        filters: filters(),
        backend_refs: vec![BackendRef { filters: filters(), ..backend("cart") }],
        timeouts: None,
    };
    let spec =
        HttpRouteSpec { parent_refs: vec![parent("edge")], rules: vec![rule], ..HttpRouteSpec::default() };
    golden("http_route_filters", &Resource { metadata: named("cart"), spec: Spec::HttpRoute(spec) });
}

#[test]
fn grpc_route() {
    let method = |kind, service, method| GrpcMethodMatch { kind, service, method };
    let exact = method(GrpcMethodMatchKind::Exact, Some(text("shop.v1.Cart")), Some(text("AddItem")));
    let expression = method(GrpcMethodMatchKind::RegularExpression, None, Some(text("Get.*")));
    let header = ValueMatch { kind: ValueMatchKind::Exact, name: text("X-Canary"), value: text("yes") };
    let rule = GrpcRouteRule {
        name: Some(text("canary")),
        matches: vec![
            GrpcRouteMatch { method: Some(exact), headers: vec![header] },
            GrpcRouteMatch { method: Some(expression), headers: Vec::new() },
        ],
        filters: filters(),
        backend_refs: vec![backend("cart")],
    };
    let spec = GrpcRouteSpec {
        parent_refs: vec![parent("edge")],
        hostnames: vec![text("grpc.shop.example")],
        rules: vec![rule],
    };
    golden("grpc_route", &Resource { metadata: named("cart"), spec: Spec::GrpcRoute(spec) });
}

#[test]
fn stream_routes() {
    let rule = StreamRouteRule { name: Some(text("all")), backend_refs: vec![backend("db")] };
    let tls = TlsRouteSpec {
        parent_refs: vec![parent("edge")],
        hostnames: vec![text("db.shop.example")],
        rules: vec![rule.clone()],
    };
    golden("tls_route", &Resource { metadata: named("db"), spec: Spec::TlsRoute(tls) });
    let tcp = TcpRouteSpec { parent_refs: vec![parent("edge")], rules: vec![rule] };
    golden("tcp_route", &Resource { metadata: named("db"), spec: Spec::TcpRoute(tcp) });
}

#[test]
fn listener_policy() {
    let spec = ListenerPolicySpec {
        target_refs: vec![ListenerTargetRef {
            group: Some(text("gateway.networking.k8s.io")),
            kind: Some(text("Gateway")),
            name: text("edge"),
            section_name: Some(text("https")),
        }],
        proxy_protocol: Some(AcceptProxyProtocol { from: vec![text("10.0.0.0/8")] }),
        limits: Some(ListenerLimits {
            connections: Some(10_000),
            streams: Some(100),
            head_bytes: Some(Size(64 << 10)),
            head_fields: Some(100),
        }),
        timeouts: Some(ListenerTimeouts {
            head: Some(span("10s")),
            idle: Some(span("75s")),
            body: Some(span("30s")),
            handshake: Some(span("10s")),
        }),
    };
    golden("listener_policy", &Resource { metadata: named("edge"), spec: Spec::ListenerPolicy(spec) });
}

#[test]
fn service() {
    let spec = ServiceSpec {
        protocol: Some(Protocol::Http2),
        metadata: map(&[("team", "shop")]),
        check: None,
        endpoints: vec![StaticEndpoint {
            address: text("10.0.0.1"),
            port: 8080,
            weight: 3,
            check: None,
            region: None,
            zone: None,
        }],
    };
    golden("service", &Resource { metadata: named("cart"), spec: Spec::Service(spec.clone()) });
    let placed = spec.endpoints[0].clone();
    let placed = StaticEndpoint { region: Some(text("eu")), zone: Some(text("eu-1a")), ..placed };
    let spec = ServiceSpec { endpoints: vec![placed], ..spec };
    golden("service_placed", &Resource { metadata: named("cart"), spec: Spec::Service(spec) });
    let least = Metadata { name: text("a"), namespace: text("default"), ..Metadata::default() };
    // What was stored before a protocol could be left open says one, whoever wrote it.
    let spec = ServiceSpec { protocol: Some(Protocol::Http), ..ServiceSpec::default() };
    golden("service_least", &Resource { metadata: least.clone(), spec: Spec::Service(spec) });
    let check = |kind| ServiceCheck {
        kind,
        path: Some(text("/health")),
        host: Some(text("cart.example")),
        service: Some(text("shop.Cart")),
        port: Some(9000),
        interval: Some(span("2s")),
        timeout: Some(span("500ms")),
        healthy_threshold: Some(1),
        unhealthy_threshold: Some(4),
    };
    let endpoint = |kind| StaticEndpoint {
        address: text("10.0.0.1"),
        port: 8080,
        weight: 3,
        check: Some(check(kind)),
        region: None,
        zone: None,
    };
    let spec = ServiceSpec {
        check: Some(check(ServiceCheckKind::Http)),
        endpoints: vec![endpoint(ServiceCheckKind::Tcp), endpoint(ServiceCheckKind::Grpc)],
        ..ServiceSpec::default()
    };
    golden("service_checked", &Resource { metadata: least.clone(), spec: Spec::Service(spec) });
    golden("service_undeclared", &Resource { metadata: least, spec: Spec::Service(ServiceSpec::default()) });
}

#[test]
fn certificate() {
    let spec = CertificateSpec {
        cert_file: Some(text("/etc/shop/cert.pem")),
        key_file: Some(text("/etc/shop/key.pem")),
        ca_file: None,
    };
    golden("certificate", &Resource { metadata: named("shop"), spec: Spec::Certificate(spec) });
    let spec = CertificateSpec { ca_file: Some(text("/etc/shop/ca.pem")), ..CertificateSpec::default() };
    golden("certificate_ca", &Resource { metadata: named("shop-ca"), spec: Spec::Certificate(spec) });
}

#[test]
fn traffic_policy() {
    let spec = TrafficPolicySpec {
        target_refs: vec![PolicyTarget {
            kind: Some(text("Service")),
            name: text("cart"),
            ..PolicyTarget::default()
        }],
        balance: Some(Balance { policy: BalancePolicy::RoundRobin, ..Balance::default() }),
        timeouts: Some(Timeouts {
            connect: Some(span("500ms")),
            request: Some(span("0s")),
            per_try: None,
            idle: Some(span("90s")),
        }),
        retry: Some(Retry { attempts: 2, ..Retry::default() }),
        ..TrafficPolicySpec::default()
    };
    golden(
        "traffic_policy",
        &Resource { metadata: named("cart"), spec: Spec::TrafficPolicy(Box::new(spec)) },
    );
    let spec = TrafficPolicySpec {
        target_refs: vec![PolicyTarget { name: text("cart"), ..PolicyTarget::default() }],
        tls: Some(UpstreamTls {
            server_name: Some(text("cart.internal")),
            ca_refs: vec![certificate_ref("internal")],
            certificate_ref: Some(certificate_ref("edge")),
            insecure_skip_verify: true,
        }),
        proxy_protocol: Some(ProxyProtocolVersion::V2),
        connection: Some(Connection { streams_max: Some(100), connections_max: Some(8) }),
        ..TrafficPolicySpec::default()
    };
    golden(
        "traffic_policy_tls",
        &Resource { metadata: named("cart"), spec: Spec::TrafficPolicy(Box::new(spec)) },
    );
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
        is_server: false,
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
        runner: Runner::Server,
    };
    golden("check_http", &check("service:web", kind));
    golden("check_tcp", &check("tcp", CheckKind::Tcp { address: text("10.0.0.1:8080") }));
    golden("check_udp", &check("udp", CheckKind::Udp { address: text("10.0.0.1:53") }));
    golden("check_ttl", &check("ttl", CheckKind::Ttl));
    golden("check_h2ping", &check("h2", CheckKind::H2Ping { address: text("10.0.0.1:8080") }));
    let alias = |node: &str, instance: Option<&str>| CheckKind::Alias {
        node: text(node),
        instance: instance.map(text),
    };
    golden("check_alias", &check("alias", alias("host-2", Some("db"))));
    golden("check_alias_node", &check("alias", alias("host-2", None)));
    let script = CheckKind::Script { args: vec![text("/usr/lib/check"), text("-w")] };
    golden("check_script", &Check { runner: Runner::Agent, ..check("script", script) });
    golden("check_presence", &Check { runner: Runner::Presence, ..check("here", CheckKind::Ttl) });
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

/// Filters, sensible or not: the settings need not be those of the type.
fn filter() -> impl Strategy<Value = Filter> {
    let fields =
        || prop::collection::vec((word(), word()).prop_map(|(name, value)| field(&name, &value)), 0..3);
    let modifier = (fields(), fields(), prop::collection::vec(word(), 0..3))
        .prop_map(|(set, add, remove)| HeaderModifier { set, add, remove });
    let path =
        (any::<bool>(), prop::option::of(word()), prop::option::of(word())).prop_map(|(full, a, b)| {
            let kind =
                if full { PathModifierKind::ReplaceFullPath } else { PathModifierKind::ReplacePrefixMatch };
            PathModifier { kind, replace_full_path: a, replace_prefix_match: b }
        });
    let redirect = (prop::option::of(path), prop::option::of(word()), prop::option::of(any::<u16>()))
        .prop_map(|(path, hostname, port)| RequestRedirect {
            scheme: None,
            hostname,
            path,
            port,
            status_code: port,
        });
    let mirror = (word(), prop::option::of(any::<u32>()), any::<u32>()).prop_map(|(name, percent, of)| {
        let fraction = Some(Fraction { numerator: of / 3, denominator: of });
        RequestMirror { backend_ref: MirrorRef { name, ..MirrorRef::default() }, percent, fraction }
    });
    let cors = prop::collection::vec(word(), 0..3).prop_map(|names| Cors {
        allow_origins: names.clone(),
        allow_methods: names.clone(),
        allow_headers: names,
        ..Cors::default()
    });
    let fault = (0..200_000u32, spans())
        .prop_map(|(percentage, duration)| (f64::from(percentage) / 1000.0, duration));
    let fault = fault.prop_map(|(percentage, duration)| Fault {
        delay: duration.map(|duration| FaultDelay { duration, percentage }),
        abort: Some(FaultAbort { status: Some(500), grpc_status: None, percentage }),
    });
    (
        prop::sample::select(FilterKind::ALL.to_vec()),
        prop::option::of(modifier),
        prop::option::of(redirect),
        prop::option::of(mirror),
        prop::option::of(cors),
        prop::option::of(fault),
    )
        .prop_map(|(kind, modifier, redirect, mirror, cors, fault)| Filter {
            request_header_modifier: modifier,
            request_redirect: redirect,
            request_mirror: mirror,
            cors,
            fault,
            ..of_kind(kind)
        })
}

/// The routes that are not of HTTP, and what belongs to listeners.
fn other() -> impl Strategy<Value = Spec> {
    let grpc = (word(), word(), prop::collection::vec(filter(), 0..2), any::<bool>()).prop_map(
        |(service, method, filters, exact)| {
            let kind =
                if exact { GrpcMethodMatchKind::Exact } else { GrpcMethodMatchKind::RegularExpression };
            let method = GrpcMethodMatch { kind, service: Some(service), method: Some(method) };
            let matches = vec![GrpcRouteMatch { method: Some(method), headers: Vec::new() }];
            let rule = GrpcRouteRule { name: None, matches, filters, backend_refs: vec![backend("a")] };
            let rules = vec![rule];
            Spec::GrpcRoute(GrpcRouteSpec { parent_refs: vec![parent("e")], hostnames: Vec::new(), rules })
        },
    );
    let rules = || {
        let rule = (prop::option::of(word()), word())
            .prop_map(|(name, to)| StreamRouteRule { name, backend_refs: vec![backend(&to)] });
        prop::collection::vec(rule, 0..3)
    };
    let tls = (prop::collection::vec(word(), 0..3), rules()).prop_map(|(hostnames, rules)| {
        Spec::TlsRoute(TlsRouteSpec { parent_refs: Vec::new(), hostnames, rules })
    });
    let tcp = rules().prop_map(|rules| Spec::TcpRoute(TcpRouteSpec { parent_refs: Vec::new(), rules }));
    let policy = (word(), prop::collection::vec(word(), 0..3), 0..(1u64 << 50), spans()).prop_map(
        |(name, from, size, span)| {
            Spec::ListenerPolicy(ListenerPolicySpec {
                target_refs: vec![ListenerTargetRef { name, ..ListenerTargetRef::default() }],
                proxy_protocol: Some(AcceptProxyProtocol { from }),
                limits: Some(ListenerLimits { head_bytes: Some(Size(size)), ..ListenerLimits::default() }),
                timeouts: Some(ListenerTimeouts { head: span, ..ListenerTimeouts::default() }),
            })
        },
    );
    prop_oneof![grpc, tls, tcp, policy]
}

fn route() -> impl Strategy<Value = Spec> {
    let values = || {
        let value = (word(), word());
        let kinds = vec![ValueMatchKind::Exact, ValueMatchKind::RegularExpression];
        let value = (prop::sample::select(kinds), value).prop_map(|(kind, (name, value))| ValueMatch {
            kind,
            name,
            value,
        });
        prop::collection::vec(value, 0..3)
    };
    let kinds = [PathMatchKind::Exact, PathMatchKind::PathPrefix, PathMatchKind::RegularExpression];
    let path =
        (prop::sample::select(kinds.to_vec()), word()).prop_map(|(kind, value)| PathMatch { kind, value });
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
            filters: Vec::new(),
        },
    );
    let timeouts =
        (spans(), spans()).prop_map(|(request, backend_request)| RouteTimeouts { request, backend_request });
    let rule = (
        prop::option::of(word()),
        prop::collection::vec(condition, 0..3),
        prop::collection::vec(filter(), 0..3),
        prop::collection::vec(backend, 0..3),
        prop::option::of(timeouts),
    )
        .prop_map(|(name, matches, filters, backend_refs, timeouts)| HttpRouteRule {
            name,
            matches,
            filters,
            backend_refs,
            timeouts,
        });
    (prop::collection::vec(word(), 0..3), prop::collection::vec(rule, 0..3)).prop_map(|(hostnames, rules)| {
        Spec::HttpRoute(HttpRouteSpec { hostnames, rules, ..HttpRouteSpec::default() })
    })
}

fn spec() -> impl Strategy<Value = Spec> {
    let place = || prop::option::of(word());
    let endpoint = (word(), any::<u16>(), any::<u32>(), place(), place()).prop_map(
        |(address, port, weight, region, zone)| StaticEndpoint {
            address,
            port,
            weight,
            check: None,
            region,
            zone,
        },
    );
    let service = (free(), prop::collection::vec(endpoint, 0..3)).prop_map(|(metadata, endpoints)| {
        Spec::Service(ServiceSpec { protocol: Some(Protocol::Grpc), metadata, check: None, endpoints })
    });
    let file = || prop::option::of(word());
    let certificate = (file(), file(), file()).prop_map(|(cert_file, key_file, ca_file)| {
        Spec::Certificate(CertificateSpec { cert_file, key_file, ca_file })
    });
    let policy = (word(), spans(), any::<u32>()).prop_map(|(name, connect, attempts)| {
        Spec::TrafficPolicy(Box::new(TrafficPolicySpec {
            target_refs: vec![PolicyTarget { name, ..PolicyTarget::default() }],
            timeouts: Some(Timeouts { connect, request: connect, per_try: None, idle: None }),
            retry: Some(Retry { attempts, ..Retry::default() }),
            tls: Some(UpstreamTls { server_name: Some(attempts.to_string()), ..UpstreamTls::default() }),
            proxy_protocol: Some(ProxyProtocolVersion::V1),
            connection: Some(Connection { streams_max: Some(attempts), connections_max: None }),
            ..TrafficPolicySpec::default()
        }))
    });
    let listener =
        (word(), prop::option::of(word()), any::<u16>()).prop_map(|(name, hostname, port)| Listener {
            name,
            hostname,
            port,
            protocol: ListenerProtocol::Tls,
            tls: Some(ListenerTls { mode: Some(TlsMode::Passthrough), ..ListenerTls::default() }),
            allowed_routes: None,
        });
    let gateway = prop::collection::vec(listener, 0..4).prop_map(|listeners| {
        Spec::Gateway(GatewaySpec { gateway_class_name: None, addresses: Vec::new(), listeners, tls: None })
    });
    prop_oneof![service, certificate, policy, gateway, route(), other()]
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
