//! What is well formed and still wrong.

use crate::document::parse;
use crate::registry::{Address, Check, CheckDefinition, CheckKind, Instance, Node, Weights};
use crate::units::Span;
use std::collections::BTreeMap;

mod filters;
mod listeners;
mod policies;

use super::*;

fn faults(kind: &str, spec: &str) -> Vec<String> {
    let text = format!("{{kind: {kind}, metadata: {{name: x}}, spec: {{{spec}}}}}");
    let parsed = parse("-", &text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    validate(&parsed.documents[0].resource).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(kind: &str, spec: &str, expected: &[&str]) {
    assert_eq!(faults(kind, spec), expected, "for {kind} {spec}");
}

#[test]
fn names_of_resources() {
    let check = |kind: &str, metadata: &str, paths: &[&str]| {
        let spec = if kind == "Gateway" { "{listeners: [{name: a, port: 1, protocol: HTTP}]}" } else { "{}" };
        let text = format!("{{kind: {kind}, metadata: {metadata}, spec: {spec}}}");
        let parsed = parse("-", &text).unwrap();
        let found: Vec<String> =
            validate(&parsed.documents[0].resource).into_iter().map(|fault| fault.path).collect();
        assert_eq!(found, paths, "{text}");
    };
    check("Service", "{name: cart-2}", &[]);
    check("Service", "{name: cart.v2}", &["metadata.name"]);
    check("Gateway", "{name: edge.example}", &[]);
    check("Gateway", "{name: Edge}", &["metadata.name"]);
    check("Gateway", "{name: a_b, namespace: \"\"}", &["metadata.name", "metadata.namespace"]);
    check("Service", "{name: \"\"}", &["metadata.name"]);
    check("HTTPRoute", &format!("{{name: {}}}", "a".repeat(254)), &["metadata.name"]);
    let labels: Vec<String> = (0..=LABELS_MAX).map(|i| format!("k{i}: v")).collect();
    check("Service", &format!("{{name: a, labels: {{{}}}}}", labels.join(", ")), &["metadata.labels"]);
}

#[test]
fn gateways() {
    let good = |listeners: &str| check("Gateway", &format!("listeners: [{listeners}]"), &[]);
    let bad = |listeners: &str, fault: &str| check("Gateway", &format!("listeners: [{listeners}]"), &[fault]);
    good("{name: a, port: 80, protocol: HTTP}, {name: b, port: 81, protocol: TCP}");
    good(
        "{name: a, port: 80, protocol: HTTP, hostname: a.example}, {name: b, port: 80, protocol: HTTP, hostname: \"*.b\"}",
    );
    good("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}");
    good("{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough}}");
    bad(
        "{name: a, port: 443, protocol: HTTP, hostname: a.b}, \
         {name: b, port: 443, protocol: TLS, hostname: c.d, tls: {mode: Passthrough}}",
        "spec.listeners[1].port: port 443 is already taken by listener `a`; \
         expected another port, or the same protocol with another `hostname`",
    );
    check("Gateway", "listeners: []", &["spec.listeners: it is empty; expected at least one listener"]);
    bad(
        "{name: a, port: 0, protocol: HTTP}",
        "spec.listeners[0].port: port 0 cannot be used; expected a port from 1 to 65535",
    );
    bad(
        "{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: TCP}",
        "spec.listeners[1].port: port 80 is already taken by listener `a`; \
         expected another port, or the same protocol with another `hostname`",
    );
    bad(
        "{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP, hostname: \"\"}",
        "spec.listeners[1].port: port 80 is already taken by listener `a`; \
         expected another port, or the same protocol with another `hostname`",
    );
    bad(
        "{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}",
        "spec.listeners[1].name: `a` is there twice; expected a name of its own",
    );
    bad(
        "{name: a, port: 80, protocol: HTTPS}",
        "spec.listeners[0]: the listener has no `tls`; expected `tls` with `certificateRefs`",
    );
    bad(
        "{name: a, port: 80, protocol: HTTPS, tls: {}}",
        "spec.listeners[0].tls.certificateRefs: there is no certificate to present; expected at least one `Certificate`",
    );
    bad(
        "{name: a, port: 80, protocol: HTTPS, tls: {mode: Passthrough}}",
        "spec.listeners[0].tls.mode: HTTPS is terminated here; expected `Terminate`, or `protocol: TLS`",
    );
    bad(
        "{name: a, port: 80, protocol: HTTP, tls: {certificateRefs: [{name: c}]}}",
        "spec.listeners[0].tls: TLS settings on a listener without TLS; expected `protocol: HTTPS` or `TLS`",
    );
    bad(
        "{name: a, port: 80, protocol: HTTPS, tls: {certificateRefs: [{kind: Secret, name: c}]}}",
        "spec.listeners[0].tls.certificateRefs[0].kind: `Secret` has no meaning here; expected `Certificate`",
    );
    bad(
        "{name: a, port: 80, protocol: TCP, hostname: a.b}",
        "spec.listeners[0].hostname: plain TCP carries no host name; expected no `hostname`",
    );
    let address = |value: &str| {
        faults("Gateway", &format!("listeners: [{{name: a, port: 1, protocol: TCP}}], addresses: [{value}]"))
    };
    assert!(address("{value: 10.0.0.1}, {type: IPAddress, value: \"::1\"}").is_empty());
    assert_eq!(
        address(
            "{value: localhost}, {value: \"127.0.0.1:80\"}, {type: Hostname, value: a}, {value: \"::\"}, {value: \"0::0\"}"
        ),
        [
            "spec.addresses[0].value: `localhost` is not an IP address; expected an IPv4 or IPv6 address, without port",
            "spec.addresses[1].value: `127.0.0.1:80` is not an IP address; expected an IPv4 or IPv6 address, without port",
            "spec.addresses[2].type: `Hostname` has no meaning here; expected `IPAddress`",
            "spec.addresses[4].value: `::` is there twice; expected each address once",
        ]
    );
}

#[test]
fn routes() {
    let path =
        |value: &str| faults("HTTPRoute", &format!("rules: [{{matches: [{{path: {{value: {value:?}}}}}]}}]"));
    for good in ["/", "/cart", "/a/b.c/", "/%20x", "/a;b=c", "/...", "/.well-known"] {
        assert_eq!(path(good), [""; 0], "{good}");
    }
    for bad in [
        "", "cart", "//", "/a/../b", "/a/.", "/a/..", "/a?b", "/a#b", "/ä", "/a b", "/%2Fa", "/%2", "/%",
        "/%zz",
    ] {
        assert_eq!(path(bad).len(), 1, "{bad}: {:?}", path(bad));
    }
    assert_eq!(
        path("cart"),
        ["spec.rules[0].matches[0].path.value: `cart` does not begin with `/`; expected `/cart`"]
    );
    let at = |part: &str, faults: &[&str]| {
        let faults: Vec<String> = faults.iter().map(|fault| format!("spec.rules[0].{fault}")).collect();
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        check("HTTPRoute", &format!("rules: [{{{part}}}]"), &faults);
    };
    at(
        "matches: [{method: get}]",
        &["matches[0].method: `get` would never match: methods are written in capitals; expected `GET`"],
    );
    at(
        "matches: [{method: \"G T\"}]",
        &["matches[0].method: `G T` is not a method; expected a method such as `GET`"],
    );
    at(
        "matches: [{headers: [{name: a, value: b}, {name: A, value: c}, {name: \"a b\", value: c}]}]",
        &[
            "matches[0].headers[1].name: `A` is there twice; expected each name once",
            "matches[0].headers[2].name: `a b` is not a token; expected letters, digits and any of !#$%&'*+-.^_`|~",
        ],
    );
    at(
        "matches: [{queryParams: [{name: a, value: b}, {name: A, value: c}, {name: \"\", value: \"c\\nd\"}]}]",
        &[
            "matches[0].queryParams[2].name: it is empty; expected a name",
            "matches[0].queryParams[2].value: the value cannot match any request; expected at most 4096 bytes, no control characters",
        ],
    );
    at(
        "backendRefs: [{name: My_svc.x, port: 0}, {name: a, kind: ServiceImport, group: x}, {name: \"a b\"}]",
        &[
            "backendRefs[0].port: port 0 cannot be used; expected a port from 1 to 65535",
            "backendRefs[1].kind: `ServiceImport` has no meaning here; expected `Service`",
            "backendRefs[1].group: `x` has no meaning here; expected `core` or `weir.dev`",
            "backendRefs[2].name: `a b` is not a name that can be registered; expected letters, digits, `_`, `.` and `-`, up to 253 \
         characters, beginning with a letter, digit or `_`",
        ],
    );
    at(
        "timeouts: {request: 1s, backendRequest: 2s}",
        &[
            "timeouts.backendRequest: one attempt may take longer (2s) than the whole request (1s); expected at most 1s",
        ],
    );
    at("timeouts: {request: 0s, backendRequest: 2s}", &[]);
    check(
        "HTTPRoute",
        "hostnames: [\"*\", a.example, \"a:80\", a.example], parentRefs: [{name: a, kind: Mesh}]",
        &[
            "spec.parentRefs[0].kind: `Mesh` has no meaning here; expected `Gateway` or `Service`",
            "spec.hostnames[0]: `*` is not a host name; expected a host name in lower case such as `shop.example` or \
         `*.shop.example`, without port",
            "spec.hostnames[2]: `a:80` is not a host name; expected a host name in lower case such as `shop.example` or \
         `*.shop.example`, without port",
            "spec.hostnames[3]: `a.example` is there twice; expected each host name once",
        ],
    );
    check(
        "HTTPRoute",
        "rules: [{name: a}, {name: a}]",
        &["spec.rules[1].name: `a` is there twice; expected a name of its own"],
    );
    let many = vec!["{}"; http_route::RULES_MAX + 1].join(", ");
    check("HTTPRoute", &format!("rules: [{many}]"), &["spec.rules: 1025 of them; expected at most 1024"]);
}

#[test]
fn checks_of_services() {
    let spec = |check: &str| format!("endpoints: [{{address: 10.0.0.1, port: 80}}], check: {{{check}}}");
    let good = |found: &str| check("Service", &spec(found), &[]);
    let bad = |found: &str, fault: &str| check("Service", &spec(found), &[fault]);
    good("type: tcp");
    good(
        "type: http, path: /health?deep=1, host: \"shop.example:8080\", port: 9000, interval: 100ms, timeout: 60s",
    );
    good("type: http, host: \"[::1]:80\", healthyThreshold: 1, unhealthyThreshold: 100");
    good("type: grpc, service: shop.Cart");
    bad(
        "type: tcp, path: /x",
        "spec.check.path: a check of type `tcp` has no path; expected `type: http`, or no `path`",
    );
    bad(
        "type: http, service: a",
        "spec.check.service: a check of type `http` has no service; expected `type: grpc`, or no `service`",
    );
    let path = "is no path that can be asked for; expected a path such as `/health`";
    bad("type: http, path: health", &format!("spec.check.path: `health` {path}"));
    bad("type: http, path: \"/a b\"", &format!("spec.check.path: `/a b` {path}"));
    bad(
        "type: http, host: \"a:0\"",
        "spec.check.host: `a:0` is no host; expected a host name or an address, and a port if need be",
    );
    bad("type: tcp, port: 0", "spec.check.port: port 0 cannot be used; expected a port from 1 to 65535");
    bad("type: tcp, interval: 50ms", "spec.check.interval: 50ms is out of range; expected 100ms to 1h");
    bad("type: tcp, timeout: 2m", "spec.check.timeout: 2m is longer than 1m; expected 10ms to 1m");
    bad(
        "type: tcp, healthyThreshold: 0",
        "spec.check.healthyThreshold: 0 is out of range; expected 1 to 100",
    );
    bad(
        "type: tcp, unhealthyThreshold: 101",
        "spec.check.unhealthyThreshold: 101 is out of range; expected 1 to 100",
    );
    check(
        "Service",
        "check: {type: tcp}",
        &["spec.check: there are no `endpoints` to check: instances that register bring their own checks; \
           expected `endpoints`, or no `check`"],
    );
    check(
        "Service",
        "endpoints: [{address: a, port: 1, check: {type: grpc, port: 0}}]",
        &["spec.endpoints[0].check.port: port 0 cannot be used; expected a port from 1 to 65535"],
    );
}

#[test]
fn services_policies_and_certificates() {
    check(
        "Service",
        "endpoints: [{address: 10.0.0.1, port: 80, weight: 0}, {address: \"::1\", port: 80}, {address: db_1.x, port: 5}]",
        &[],
    );
    check(
        "Service",
        "endpoints: [{address: \"10.0.0.1:80\", port: 0, weight: 1000001}, {address: a, port: 1}, {address: A, port: 1}]",
        &[
            "spec.endpoints[0].address: `10.0.0.1:80` is not an address; expected an IPv4 or IPv6 address or a host name, without port",
            "spec.endpoints[0].port: port 0 cannot be used; expected a port from 1 to 65535",
            "spec.endpoints[0].weight: the weight 1000001 is too large; expected 0 to 1000000",
            "spec.endpoints[2]: A port 1 is there twice; expected each endpoint once; use `weight` for a larger share",
        ],
    );
    check("TrafficPolicy", "targetRefs: []", &["spec.targetRefs: it is empty; expected at least one target"]);
    check(
        "TrafficPolicy",
        "targetRefs: [{name: a}, {name: a}, {kind: X, name: b}], retry: {attempts: 11}, timeouts: {connect: 0s}",
        &[
            "spec.targetRefs[1]: `a` is there twice; expected each target once",
            "spec.targetRefs[2].kind: `X` has no meaning here; expected `Service` or `HTTPRoute` or `GRPCRoute`",
            "spec.timeouts.connect: no time to connect in; expected a duration above zero",
            "spec.retry.attempts: 11 retries of one request; expected 0 to 10",
        ],
    );
    check(
        "Certificate",
        "certFile: a.pem, keyFile: \"\"",
        &["spec.keyFile: it is empty; expected the path of a PEM file"],
    );
}

#[track_caller]
fn check_set(scope: Scope, text: &str, expected: &[(&str, &str)]) {
    let parsed = parse("-", text).unwrap();
    let found = validate_set_in(scope, parsed.documents.iter().map(|document| &document.resource));
    let found: Vec<(String, String)> =
        found.iter().map(|(id, fault)| (id.to_string(), fault.to_string())).collect();
    let found: Vec<(&str, &str)> = found.iter().map(|(id, fault)| (id.as_str(), fault.as_str())).collect();
    assert_eq!(found, expected, "for {text}");
}

fn gateway(name: &str, address: &str, port: u16) -> String {
    let addresses =
        if address.is_empty() { String::new() } else { format!("addresses: [{{value: \"{address}\"}}], ") };
    format!(
        "---\n{{kind: Gateway, metadata: {{name: {name}}}, spec: {{{addresses}listeners: [{{name: l, port: {port}, protocol: HTTP}}]}}}}\n"
    )
}

#[test]
fn gateways_that_collide() {
    let taken = |at: &str| {
        format!(
            "spec.listeners[0].port: port 80 on {at} is already taken by Gateway/a; expected another port or address"
        )
    };
    for (one, other, at) in [
        ("", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "10.0.0.1", "0.0.0.0"),
        ("10.0.0.1", "0.0.0.0", "10.0.0.1"),
        ("10.0.0.1", "::", "10.0.0.1"),
        ("::1", "::", "::1"),
        ("::", "10.0.0.1", "::"),
        ("::", "::1", "::"),
    ] {
        let text = gateway("a", one, 80) + &gateway("b", other, 80);
        check_set(Scope::OneProxy, &text, &[("Gateway/b", &taken(at))]);
        check_set(Scope::Cluster, &text, &[]);
    }
    let same = gateway("a", "10.0.0.1", 80) + &gateway("b", "10.0.0.1", 80);
    check_set(Scope::Cluster, &same, &[("Gateway/b", &taken("10.0.0.1"))]);
    for (one, other) in [("10.0.0.1", "10.0.0.2"), ("::1", "127.0.0.1"), ("0.0.0.0", "::1")] {
        check_set(Scope::OneProxy, &(gateway("a", one, 80) + &gateway("b", other, 80)), &[]);
    }
    check_set(Scope::OneProxy, &(gateway("a", "", 80) + &gateway("b", "", 81)), &[]);
}

#[test]
fn sets() {
    check_set(
        Scope::Cluster,
        "{kind: Service, metadata: {name: a}}\n---\n{kind: Service, metadata: {name: a, namespace: b}}\n---\n{kind: Service, metadata: {name: a}}\n",
        &[("Service/a", "metadata.name: Service/a is there twice; expected each resource once")],
    );
    let policy = |name: &str| {
        format!(
            "---\n{{kind: TrafficPolicy, metadata: {{name: {name}}}, spec: {{targetRefs: [{{name: cart}}]}}}}\n"
        )
    };
    check_set(
        Scope::Cluster,
        &(policy("a") + &policy("b")),
        &[(
            "TrafficPolicy/b",
            "spec.targetRefs[0]: `cart` already has a policy, TrafficPolicy/a; expected one policy for each service",
        )],
    );
    let tls = "---\n{kind: Gateway, metadata: {name: g}, spec: {listeners: [{name: l, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}]}}\n";
    check_set(
        Scope::Cluster,
        tls,
        &[(
            "Gateway/g",
            "spec.listeners[0].tls.certificateRefs[0].name: there is no Certificate/c; expected the name of a `Certificate`",
        )],
    );
    let with = format!(
        "{tls}---\n{{kind: Certificate, metadata: {{name: c}}, spec: {{certFile: a, keyFile: b}}}}\n"
    );
    check_set(Scope::Cluster, &with, &[]);
    // A route to what is not there yet is no fault.
    check_set(
        Scope::OneProxy,
        "{kind: HTTPRoute, metadata: {name: r}, spec: {rules: [{backendRefs: [{name: later}]}]}}",
        &[],
    );
}

fn instance() -> Instance {
    Instance {
        namespace: "default".to_owned(),
        node: "host-1.dc".to_owned(),
        id: "web:host-1:8080".to_owned(),
        service: "Web_1".to_owned(),
        address: "10.0.0.1".to_owned(),
        port: 8080,
        ..Instance::default()
    }
}

fn paths(faults: Vec<FieldError>) -> Vec<String> {
    faults.into_iter().map(|fault| fault.path).collect()
}

#[test]
fn instances() {
    assert_eq!(validate_instance(&instance()), []);
    let check = |change: fn(&mut Instance), expected: &[&str]| {
        let mut changed = instance();
        change(&mut changed);
        assert_eq!(paths(validate_instance(&changed)), expected);
    };
    check(|i| i.service = "a b".to_owned(), &["service"]);
    check(|i| i.service.clear(), &["service"]);
    check(|i| i.id = "a\n".to_owned(), &["id"]);
    check(|i| i.node = "a/b".to_owned(), &["node"]);
    check(|i| i.address = "http://x".to_owned(), &["address"]);
    check(|i| i.port = 0, &[]);
    check(|i| i.inbound = Some(Address { host: String::new(), port: 0 }), &["inbound.host", "inbound.port"]);
    check(|i| i.tags = vec!["a".to_owned(); TAGS_MAX + 1], &["tags"]);
    check(|i| i.tags = vec!["a".repeat(TAG_BYTES_MAX + 1)], &["tags[0]"]);
    check(|i| i.tags = vec!["a".repeat(TAG_BYTES_MAX); 40], &["tags"]);
    check(|i| i.weights = Weights { passing: WEIGHT_MAX + 1, warning: 0 }, &["weights.passing"]);
    check(
        |i| drop(i.metadata.insert("k".to_owned(), "v".repeat(METADATA_VALUE_BYTES_MAX + 1))),
        &["metadata[\"k\"]"],
    );
    check(|i| drop(i.metadata.insert("k".repeat(METADATA_KEY_BYTES_MAX + 1), String::new())), &["metadata"]);
    check(
        |i| i.metadata = (0..=METADATA_MAX).map(|n| (n.to_string(), String::new())).collect(),
        &["metadata"],
    );
    check(
        |i| drop(i.tagged_addresses.insert("lan".to_owned(), Address::default())),
        &["tagged_addresses.lan.host"],
    );
    check(|i| i.maintenance = Some("x".repeat(REASON_BYTES_MAX + 1)), &["maintenance"]);
}

#[test]
fn nodes_and_checks() {
    let node = Node { name: "a".to_owned(), address: "10.0.0.1".to_owned(), ..Node::default() };
    assert_eq!(validate_node(&node), []);
    let odd = Node { name: String::new(), id: "x".to_owned(), address: "a b".to_owned(), ..node.clone() };
    assert_eq!(paths(validate_node(&odd)), ["name", "id", "address"]);
    let id = "40e4a748-2192-161a-0510-9bf59fe950b5".to_owned();
    assert_eq!(validate_node(&Node { id, ..node }), []);

    let second: Span = "1s".parse().unwrap();
    let check = |kind: CheckKind| Check {
        namespace: "default".to_owned(),
        node: "a".to_owned(),
        id: "service:web".to_owned(),
        definition: Some(CheckDefinition {
            kind,
            interval: second,
            timeout: second,
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: None,
        }),
        ..Check::default()
    };
    let http = |url: &str| {
        let kind = CheckKind::Http {
            url: url.to_owned(),
            method: "GET".to_owned(),
            headers: BTreeMap::new(),
            body: String::new(),
        };
        paths(validate_check(&check(kind)))
    };
    for good in ["http://127.0.0.1:80/x?y", "https://host", "http://[::1]:8080/", "HTTP://a_b/"] {
        assert_eq!(http(good), [""; 0], "{good}");
    }
    for bad in [
        "",
        "ftp://a",
        "http://",
        "http://a:0",
        "http://a:x",
        "http://a b/",
        "http://[::1",
        "http://u@h/",
        "/x",
    ] {
        assert_eq!(http(bad), ["definition.http.url"], "{bad}");
    }
    let tcp = |address: &str| paths(validate_check(&check(CheckKind::Tcp { address: address.to_owned() })));
    for good in ["127.0.0.1:80", "[::1]:80", "localhost:1"] {
        assert_eq!(tcp(good), [""; 0], "{good}");
    }
    for bad in ["", "localhost", "a:0", "a:70000", ":80", "a b:80"] {
        assert_eq!(tcp(bad), ["definition.tcp.address"], "{bad}");
    }
    let grpc = |address: &str, service: &str| {
        let kind = CheckKind::Grpc { address: address.to_owned(), service: service.to_owned() };
        paths(validate_check(&check(kind)))
    };
    assert_eq!(grpc("[::1]:80", "shop.Cart"), [""; 0]);
    assert_eq!(
        grpc("localhost", &"x".repeat(256)),
        ["definition.grpc.address", "definition.grpc.service (bytes)"]
    );
    let mut ttl = check(CheckKind::Ttl);
    assert_eq!(validate_check(&ttl), []);
    ttl.output = "x".repeat(CHECK_TEXT_BYTES_MAX + 1);
    assert_eq!(paths(validate_check(&ttl)), ["output (bytes)"]);
    cut(&mut ttl.output, CHECK_TEXT_BYTES_MAX);
    assert_eq!(validate_check(&ttl), []);
    let mut text = "aä".to_owned();
    cut(&mut text, 2);
    assert_eq!(text, "a");
}

#[test]
fn hints_name_what_takes_no_effect() {
    let gateway = "{kind: Gateway, metadata: {name: edge}, spec: {listeners: [{name: http, port: 80, protocol: HTTP}, \
        {name: shared, port: 81, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]}}\n---\n";
    let check = |namespace: &str, spec: &str, expected: &[&str]| {
        let route =
            format!("{{kind: HTTPRoute, metadata: {{name: r, namespace: {namespace}}}, spec: {{{spec}}}}}");
        let parsed = parse("-", &format!("{gateway}{route}")).unwrap();
        let all = || parsed.documents.iter().map(|document| &document.resource);
        let found = hints(all(), all(), |service| ["a", "cart"].contains(&service.name.as_str()));
        let found: Vec<String> = found.iter().map(|(_, hint)| hint.to_string()).collect();
        assert_eq!(found, expected, "{route}");
    };
    let rules = "rules: [{backendRefs: [{name: a}]}]";
    let refer = |parent: &str| format!("parentRefs: [{{{parent}}}], {rules}");
    check("default", &refer("name: edge"), &[]);
    check("default", &refer("name: edge, sectionName: http, port: 80"), &[]);
    check("default", &refer("name: cart, kind: Service"), &[]);
    check("default", rules, &["spec.parentRefs: the route belongs to no gateway and takes effect nowhere"]);
    check(
        "default",
        &refer("name: egde"),
        &["spec.parentRefs[0].name: there is no Gateway/egde yet; expected `edge`?"],
    );
    check(
        "default",
        &refer("name: edge, sectionName: https"),
        &["spec.parentRefs[0].sectionName: the gateway has no such listener; expected `http` or `shared`"],
    );
    check(
        "default",
        &refer("name: edge, sectionName: http, port: 81"),
        &["spec.parentRefs[0].port: the gateway has no such listener on this port"],
    );
    check("shop", &refer("name: edge"), &["spec.parentRefs[0].name: there is no Gateway/shop/edge yet"]);
    check("shop", &refer("name: edge, namespace: default"), &[]);
    check(
        "shop",
        &refer("name: edge, namespace: default, port: 80"),
        &["spec.parentRefs[0]: the gateway takes routes from its own namespace `default` only; \
         expected `allowedRoutes: {namespaces: {from: All}}` at its listener"],
    );
    check(
        "default",
        "parentRefs: [{name: edge}], rules: [{}, {backendRefs: [{name: a, weight: 0}]}]",
        &[
            "spec.rules[0].backendRefs: there is none: matching requests are answered with 500",
            "spec.rules[1].backendRefs: all weights are 0: matching requests are answered with 500",
        ],
    );
}

#[test]
fn hints_name_services_that_nobody_knows() {
    let check = |document: &str, expected: &[&str]| {
        let declared = "{kind: Service, metadata: {name: payments}, spec: {endpoints: []}}\n---\n";
        let parsed = parse("-", &format!("{declared}{document}")).unwrap();
        let all = || parsed.documents.iter().map(|document| &document.resource);
        let found =
            hints(all().skip(1), all(), |service| *service == crate::ServiceRef::new("default", "cart"));
        let found: Vec<String> = found.iter().map(|(_, hint)| hint.to_string()).collect();
        assert_eq!(found, expected, "{document}");
    };
    let route = |spec: &str| format!("{{kind: HTTPRoute, metadata: {{name: r}}, spec: {{{spec}}}}}");
    check(
        &route("parentRefs: [{name: cart, kind: Service}], rules: [{backendRefs: [{name: payments}]}]"),
        &[],
    );
    check(
        &route(
            "parentRefs: [{name: crat, kind: Service}], \
             rules: [{backendRefs: [{name: cart}, {name: paymnets}, {name: cart, namespace: shop}]}]",
        ),
        &[
            "spec.parentRefs[0].name: service `crat` is neither declared nor registered yet",
            "spec.rules[0].backendRefs[1].name: service `paymnets` is neither declared nor registered yet; \
             expected `payments`?",
            "spec.rules[0].backendRefs[2].name: service `shop/cart` is neither declared nor registered yet",
        ],
    );
    check(
        "{kind: TrafficPolicy, metadata: {name: p}, spec: {targetRefs: [{name: cart}, {name: none}]}}",
        &["spec.targetRefs[1].name: service `none` is neither declared nor registered yet"],
    );
}
