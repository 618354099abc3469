//! What the Gateway API's conformance suite asks of routing, in documents of our own: which service gets a request, or
//! which status answers it.

use super::*;
use crate::filter::{Answer, Place, Scheme, decide};

/// Services `one`, `two` and `three`, and a gateway `edge` with a listener on port 80.
fn world(routes: impl IntoIterator<Item = Resource>) -> Snapshot {
    let listeners = json!([{"name": "web", "port": 80, "protocol": "HTTP"}]);
    world_with(&listeners, routes)
}

fn world_with(listeners: &Value, routes: impl IntoIterator<Item = Resource>) -> Snapshot {
    let services = ["one", "two", "three"].map(|name| service(name, &[9000]));
    let gateway = resource("Gateway", "edge", json!({"listeners": listeners}));
    compile(services.into_iter().chain([gateway]).chain(routes))
}

#[expect(clippy::needless_pass_by_value, reason = "calls read better without `&json!`")]
fn http_route(name: &str, hostnames: Value, rules: Value) -> Resource {
    let spec = json!({"parentRefs": [{"name": "edge"}], "hostnames": hostnames, "rules": rules});
    resource("HTTPRoute", name, spec)
}

#[expect(clippy::needless_pass_by_value, reason = "calls read better without `&json!`")]
fn grpc_route(name: &str, hostnames: Value, rules: Value) -> Resource {
    let spec = json!({"parentRefs": [{"name": "edge"}], "hostnames": hostnames, "rules": rules});
    resource("GRPCRoute", name, spec)
}

/// A rule with matches that leads to a service.
#[expect(clippy::needless_pass_by_value, reason = "calls read better without `&json!`")]
fn to(service: &str, matches: Value) -> Value {
    json!({"matches": matches, "backendRefs": [{"name": service}]})
}

/// A condition on a prefix of the path.
fn under(path: &str) -> Value {
    json!({"path": {"value": path}})
}

fn is(path: &str) -> Value {
    json!({"path": {"type": "Exact", "value": path}})
}

/// A condition on header fields.
fn fields(pairs: &[(&str, &str)]) -> Value {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({"headers": pairs})
}

fn params(pairs: &[(&str, &str)]) -> Value {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({"queryParams": pairs})
}

/// One condition of several.
fn all<const N: usize>(parts: [Value; N]) -> Value {
    let mut whole = serde_json::Map::new();
    for part in parts {
        whole.extend(part.as_object().unwrap().clone());
    }
    whole.into()
}

/// The service that gets a request on the listeners of port 80, or the status that answers it.
fn answer(snapshot: &Snapshot, request: &TestRequest) -> String {
    let mut rng = SmallRng::seed_from_u64(1);
    let table = &snapshot.listeners[0].routes;
    match snapshot.route(table, request, &mut rng) {
        Decision::Forward { upstream, .. } => upstream.label.to_string(),
        Decision::NoRoute => "404".to_owned(),
        Decision::NoBackend { .. } => "500".to_owned(),
    }
}

/// Checks requests, each as `METHOD host/path?query name:value ...`, against what is expected of them.
fn check(snapshot: &Snapshot, cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        let mut words = line.split(' ');
        let request = format!("{} {}", words.next().unwrap(), words.next().unwrap());
        let headers: Vec<_> = words.map(|word| word.split_once(':').unwrap()).collect();
        let mut request = TestRequest::new(&request, &headers);
        // The engine routes by the host without its port.
        request.host = request.host.split(':').next().unwrap().to_owned();
        assert_eq!(answer(snapshot, &request), *expected, "{line}");
    }
}

#[test]
fn matches_of_one_rule_are_alternatives() {
    let rules = json!([
        to("one", json!([under("/"), fields(&[("version", "one")])])),
        to("two", json!([under("/v2"), fields(&[("version", "two")])])),
    ]);
    let snapshot = world([http_route("r", json!([]), rules)]);
    check(
        &snapshot,
        &[
            ("GET h/", "one"),
            ("GET h/example", "one"),
            ("GET h/ Version:one", "one"),
            ("GET h/v2", "two"),
            ("GET h/v2/example", "two"),
            ("GET h/ Version:two", "two"),
            ("GET h/v2/", "two"),
            // Whole segments only.
            ("GET h/v2example", "one"),
            ("GET h/foo/v2/example", "one"),
        ],
    );
}

#[test]
fn rules_of_several_routes_are_ranked_together() {
    let first = json!([to("one", json!([under("/"), fields(&[("version", "one")])]))]);
    let second = json!([to("two", json!([under("/v2"), fields(&[("version", "two")])]))]);
    let snapshot = world([
        http_route("part1", json!(["example.com", "example.net"]), first),
        http_route("part2", json!(["example.com"]), second),
    ]);
    check(
        &snapshot,
        &[
            ("GET example.com/", "one"),
            ("GET example.com/example", "one"),
            ("GET example.net/example", "one"),
            ("GET example.com/example Version:one", "one"),
            ("GET example.com/v2", "two"),
            // The second route is not for this host.
            ("GET example.net/v2", "one"),
            ("GET example.com/v2/example", "two"),
            ("GET example.com/ Version:two", "two"),
        ],
    );
}

/// The same conditions on fields for both kinds of route.
fn by_fields() -> Value {
    json!([
        to("one", json!([fields(&[("version", "one")])])),
        to("two", json!([fields(&[("version", "two")])])),
        to("one", json!([fields(&[("version", "two"), ("color", "orange")])])),
        to("one", json!([fields(&[("color", "blue")]), fields(&[("color", "green")])])),
        to("two", json!([fields(&[("color", "red")]), fields(&[("color", "yellow")])])),
    ])
}

const BY_FIELDS: [(&str, &str); 11] = [
    ("Version:one", "one"),
    ("Version:two", "two"),
    ("Version:two Color:orange", "one"),
    // Two rules with one field each: the first counts.
    ("Version:two Color:blue", "two"),
    ("Color:orange", "404"),
    ("Some-Other-Header:one", "404"),
    ("Color:blue", "one"),
    ("Color:green", "one"),
    ("Color:red", "two"),
    ("Color:yellow", "two"),
    ("Color:purple", "404"),
];

#[test]
fn header_fields() {
    let snapshot = world([http_route("r", json!([]), by_fields())]);
    for (fields, expected) in BY_FIELDS {
        check(&snapshot, &[(&format!("GET h/ {fields}"), expected)]);
    }
}

#[test]
fn header_fields_of_grpc() {
    let snapshot = world([grpc_route("r", json!([]), by_fields())]);
    for (fields, expected) in BY_FIELDS {
        let request = format!("POST h/a.B/C content-type:application/grpc {fields}");
        check(&snapshot, &[(&request, expected)]);
    }
    // What is not gRPC is none of its business.
    check(&snapshot, &[("POST h/a.B/C Version:one", "404")]);
}

#[test]
fn query_parameters() {
    let whale = || params(&[("animal", "whale")]);
    let rules = json!([
        to("one", json!([whale()])),
        to("two", json!([params(&[("animal", "dolphin")])])),
        to(
            "three",
            json!([params(&[("animal", "dolphin"), ("color", "blue")]), params(&[("ANIMAL", "Whale")])])
        ),
        to("one", json!([all([under("/path1"), whale()])])),
        to("two", json!([all([fields(&[("version", "one")]), whale()])])),
        to("three", json!([all([under("/path2"), fields(&[("version", "two")]), whale()])])),
        to(
            "one",
            json!([
                all([under("/path3"), params(&[("animal", "shark")])]),
                all([under("/path4"), fields(&[("version", "three")]), params(&[("animal", "kraken")])]),
            ])
        ),
        to("one", json!([under("/path5")])),
        to("two", json!([params(&[("animal", "hydra")])])),
        to("three", json!([fields(&[("version", "four")])])),
    ]);
    let snapshot = world([http_route("r", json!([]), rules)]);
    check(
        &snapshot,
        &[
            ("GET h/?animal=whale", "one"),
            ("GET h/?animal=dolphin", "two"),
            ("GET h/?animal=dolphin&color=blue", "three"),
            ("GET h/?ANIMAL=Whale", "three"),
            ("GET h/?animal=whale&otherparam=irrelevant", "one"),
            ("GET h/?animal=dolphin&color=yellow", "two"),
            ("GET h/?color=blue", "404"),
            ("GET h/?animal=dog", "404"),
            ("GET h/?animal=whaledolphin", "404"),
            ("GET h/", "404"),
            ("GET h/path1?animal=whale", "one"),
            ("GET h/?animal=whale version:one", "two"),
            ("GET h/path2?animal=whale version:two", "three"),
            ("GET h/path3?animal=shark", "one"),
            ("GET h/path4?animal=kraken version:three", "one"),
            ("GET h/?animal=shark", "404"),
            ("GET h/path4?animal=kraken", "404"),
            // A longer path beats parameters, fields beat parameters.
            ("GET h/path5?animal=hydra", "one"),
            ("GET h/?animal=hydra version:four", "three"),
        ],
    );
}

#[test]
fn methods() {
    let method = |name: &str| json!({"method": name});
    let version = |name: &str| fields(&[("version", name)]);
    let rules = json!([
        to("one", json!([method("POST")])),
        to("two", json!([method("GET")])),
        to("one", json!([all([under("/path1"), method("GET")])])),
        to("two", json!([all([version("one"), method("PUT")])])),
        to("three", json!([all([under("/path2"), version("two"), method("POST")])])),
        to(
            "one",
            json!([
                all([under("/path3"), method("PATCH")]),
                all([under("/path4"), version("three"), method("DELETE")]),
            ])
        ),
        to("one", json!([under("/path5")])),
        to("two", json!([method("PATCH")])),
        to("three", json!([version("four")])),
    ]);
    let snapshot = world([http_route("r", json!([]), rules)]);
    check(
        &snapshot,
        &[
            ("POST h/", "one"),
            ("GET h/", "two"),
            ("HEAD h/", "404"),
            ("GET h/path1", "one"),
            ("PUT h/ version:one", "two"),
            ("POST h/path2 version:two", "three"),
            ("PATCH h/path3", "one"),
            ("DELETE h/path4 version:three", "one"),
            ("PUT h/", "404"),
            ("DELETE h/path4", "404"),
            // A longer path beats a method, a method beats fields.
            ("PATCH h/path5", "one"),
            ("PATCH h/ version:four", "two"),
        ],
    );
}

#[test]
fn exact_paths() {
    let rules = json!([to("one", json!([is("/one")])), to("two", json!([is("/two")]))]);
    let snapshot = world([http_route("r", json!([]), rules)]);
    check(
        &snapshot,
        &[
            ("GET h/one", "one"),
            ("GET h/two", "two"),
            ("GET h/", "404"),
            ("GET h/one/example", "404"),
            ("GET h/one/", "404"),
            ("GET h/Two", "404"),
        ],
    );
}

#[test]
fn the_order_of_paths() {
    let rules = json!([
        to("three", json!([under("/match/")])),
        to("one", json!([under("/match/prefix/")])),
        to("two", json!([under("/match/prefix/one")])),
        to("one", json!([is("/match")])),
        to("two", json!([is("/match/exact")])),
        to("three", json!([is("/match/exact/one")])),
    ]);
    let snapshot = world([http_route("r", json!([]), rules)]);
    check(
        &snapshot,
        &[
            ("GET h/match/exact/one", "three"),
            ("GET h/match/exact", "two"),
            ("GET h/match", "one"),
            ("GET h/match/prefix/one/any", "two"),
            ("GET h/match/prefix/any", "one"),
            ("GET h/match/any", "three"),
        ],
    );
}

#[test]
fn regular_expressions() {
    let path = |text: &str| json!({"path": {"type": "RegularExpression", "value": text}});
    let field =
        json!({"headers": [{"type": "RegularExpression", "name": "X-Version", "value": "v[23](-beta)?"}]});
    let param = json!({"queryParams": [{"type": "RegularExpression", "name": "id", "value": "[0-9]{1,4}"}]});
    let rules = json!([
        to("one", json!([path("/users/[0-9]+")])),
        to("two", json!([path("/users/[^/]+/orders/.*")])),
        to("three", json!([is("/users/7")])),
        to("two", json!([under("/users/9/x"), field, param])),
    ]);
    let snapshot = world([http_route("r", json!([]), rules)]);
    check(
        &snapshot,
        &[
            ("GET h/users/12", "one"),
            ("GET h/users/7", "three"),
            ("GET h/users/12/orders/3", "two"),
            ("GET h/users/abc", "404"),
            ("GET h/x/users/12", "404"),
            ("GET h/ x-version:v3-beta", "two"),
            ("GET h/ x-version:v4", "404"),
            ("GET h/?id=42", "two"),
            ("GET h/?id=42424", "404"),
            ("GET h/?id=%34%32", "two"),
        ],
    );
}

#[test]
fn unchanged_expressions_are_shared_with_the_snapshot_before() {
    let rule = |extra: &str| {
        let path = json!({"path": {"type": "RegularExpression", "value": "/a/[0-9]+"}});
        json!([to("one", json!([path, under(extra)]))])
    };
    let first = world([http_route("r", json!([]), rule("/b"))]);
    let mut inputs = first.inputs.clone();
    let changed = http_route("r", json!([]), rule("/c"));
    Arc::make_mut(&mut inputs.resources).insert(changed.id(), Arc::new(changed));
    let second = compiler().compile(&inputs, Some(&first)).unwrap();
    let pattern = |snapshot: &Snapshot| {
        let found = snapshot.listeners[0].routes.matches().iter().find_map(|matched| match &matched.path {
            crate::route::PathPattern::Regex(pattern) => Some(Arc::clone(pattern)),
            _ => None,
        });
        found.unwrap()
    };
    assert!(!Arc::ptr_eq(&first.listeners[0].routes, &second.listeners[0].routes));
    assert!(Arc::ptr_eq(&pattern(&first), &pattern(&second)));
}

#[test]
fn hostnames_of_listeners_and_routes_intersect() {
    let listeners = json!([
        {"name": "one", "port": 80, "protocol": "HTTP", "hostname": "very.specific.com"},
        {"name": "two", "port": 80, "protocol": "HTTP", "hostname": "*.wildcard.io"},
        {"name": "three", "port": 80, "protocol": "HTTP", "hostname": "*.anotherwildcard.io"},
    ]);
    let route = |name: &str, hostnames: Value, path: &str, service: &str| {
        http_route(name, hostnames, json!([to(service, json!([under(path)]))]))
    };
    let wrong = json!(["specific.but.wrong.com", "wildcard.io"]);
    let specific = json!(["non.matching.com", "*.nonmatchingwildcard.io", "very.specific.com"]);
    let several = json!([
        "non.matching.com",
        "wildcard.io",
        "foo.wildcard.io",
        "bar.wildcard.io",
        "foo.bar.wildcard.io"
    ]);
    let snapshot = world_with(
        &listeners,
        [
            route("s1", specific, "/s1", "one"),
            route("s2", several, "/s2", "two"),
            route("s3", json!(["non.matching.com", "*.specific.com"]), "/s3", "three"),
            route("s4", json!(["*.anotherwildcard.io"]), "/s4", "one"),
            route("s5", wrong, "/s5", "two"),
        ],
    );
    check(
        &snapshot,
        &[
            ("GET very.specific.com/s1", "one"),
            ("GET very.specific.com:1234/s1", "one"),
            ("GET non.matching.com/s1", "404"),
            ("GET foo.nonmatchingwildcard.io/s1", "404"),
            ("GET foo.wildcard.io/s1", "404"),
            ("GET very.specific.com/non-matching-prefix", "404"),
            ("GET foo.wildcard.io/s2", "two"),
            ("GET bar.wildcard.io/s2", "two"),
            ("GET foo.bar.wildcard.io/s2", "two"),
            ("GET non.matching.com/s2", "404"),
            ("GET wildcard.io/s2", "404"),
            ("GET very.specific.com/s2", "404"),
            ("GET very.specific.com/s3", "three"),
            ("GET non.matching.com/s3", "404"),
            ("GET foo.specific.com/s3", "404"),
            ("GET foo.wildcard.io/s3", "404"),
            ("GET foo.anotherwildcard.io/s4", "one"),
            ("GET foo.bar.anotherwildcard.io/s4", "one"),
            ("GET anotherwildcard.io/s4", "404"),
            ("GET very.specific.com/s4", "404"),
            ("GET specific.but.wrong.com/s5", "404"),
            ("GET wildcard.io/s5", "404"),
        ],
    );
}

#[test]
fn a_listener_for_all_hosts_leaves_the_choice_to_routes() {
    let hosts = json!(["first.com", "sub.first.com", "second.com", "sub.second.com"]);
    let snapshot = world([http_route("r", hosts, json!([{"backendRefs": [{"name": "two"}]}]))]);
    check(
        &snapshot,
        &[
            ("GET first.com/", "two"),
            ("GET sub.first.com/", "two"),
            ("GET second.com/", "two"),
            ("GET sub.second.com/", "two"),
            ("GET third.com/", "404"),
            ("GET sub.third.com/", "404"),
        ],
    );
}

/// Routes, each with the listeners that it names.
fn attached_to(routes: &[(&str, &[&str], Value)]) -> Vec<Resource> {
    let route = |(name, sections, rules): &(&str, &[&str], Value)| {
        let parents: Vec<_> =
            sections.iter().map(|section| json!({"name": "edge", "sectionName": section})).collect();
        resource("HTTPRoute", name, json!({"parentRefs": parents, "rules": rules}))
    };
    routes.iter().map(route).collect()
}

#[test]
fn the_most_specific_listener_serves_a_host() {
    let listeners = json!([
        {"name": "bar", "port": 80, "protocol": "HTTP", "hostname": "bar.com"},
        {"name": "foo-bar", "port": 80, "protocol": "HTTP", "hostname": "foo.bar.com"},
        {"name": "any-bar", "port": 80, "protocol": "HTTP", "hostname": "*.bar.com"},
        {"name": "any-foo", "port": 80, "protocol": "HTTP", "hostname": "*.foo.com"},
    ]);
    let rules = |service: &str| json!([{"backendRefs": [{"name": service}]}]);
    let routes = attached_to(&[
        ("a", &["bar"], rules("one")),
        ("b", &["foo-bar"], rules("two")),
        ("c", &["any-bar", "any-foo"], rules("three")),
    ]);
    check(
        &world_with(&listeners, routes),
        &[
            ("GET bar.com/", "one"),
            ("GET foo.bar.com/", "two"),
            ("GET baz.bar.com/", "three"),
            ("GET boo.bar.com/", "three"),
            ("GET multiple.prefixes.bar.com/", "three"),
            ("GET multiple.prefixes.foo.com/", "three"),
            ("GET foo.com/", "404"),
            ("GET no.matching.host/", "404"),
        ],
    );
}

#[test]
fn listeners_are_isolated_from_each_other() {
    let hosts = [
        ("all", None),
        ("example", Some("*.example.com")),
        ("foo", Some("*.foo.example.com")),
        ("abc", Some("abc.foo.example.com")),
    ];
    let listeners: Vec<_> = hosts
        .iter()
        .map(|(name, host)| json!({"name": name, "port": 80, "protocol": "HTTP", "hostname": host}))
        .collect();
    let rules = |name: &str| json!([to("one", json!([under(&format!("/{name}"))]))]);
    let routes = attached_to(&[
        ("a", &["all"], rules("all")),
        ("b", &["example"], rules("example")),
        ("c", &["foo"], rules("foo")),
        ("d", &["abc"], rules("abc")),
    ]);
    let snapshot = world_with(&json!(listeners), routes);
    let served = [
        ("bar.com", "all"),
        ("bar.example.com", "example"),
        ("bar.foo.example.com", "foo"),
        ("abc.foo.example.com", "abc"),
    ];
    for (host, own) in served {
        for (name, _) in hosts {
            let expected = if name == own { "one" } else { "404" };
            check(&snapshot, &[(&format!("GET {host}/{name}"), expected)]);
        }
    }
}

#[test]
fn grpc_methods() {
    let method = |spec: Value| json!([{"method": spec}]);
    let rules = json!([
        to("one", method(json!({"service": "shop.Cart", "method": "Add"}))),
        to("two", method(json!({"service": "shop.Cart"}))),
        to("three", method(json!({"method": "Add"}))),
        to("three", method(json!({"type": "RegularExpression", "service": "admin\\..*", "method": "Get.*"}))),
    ]);
    let snapshot = world([grpc_route("r", json!([]), rules)]);
    let grpc = |path: &str, expected: &str| {
        check(&snapshot, &[(&format!("POST h{path} content-type:application/grpc+proto"), expected)]);
    };
    grpc("/shop.Cart/Add", "one");
    grpc("/shop.Cart/Remove", "two");
    grpc("/shop.Other/Add", "three");
    grpc("/shop.Other/Remove", "404");
    grpc("/admin.Users/GetOne", "three");
    grpc("/admin.Users/SetOne", "404");
    grpc("/shop.cart/Add", "three");
    grpc("/x/shop.Cart/Add", "404");
    check(&snapshot, &[("POST h/shop.Cart/Add", "404")]);
}

#[test]
fn a_host_has_routes_of_one_kind() {
    let rules = |service: &str| json!([{"backendRefs": [{"name": service}]}]);
    let both = |http: &str, grpc: &str, http_host: Value, grpc_host: Value| {
        world([http_route(http, http_host, rules("one")), grpc_route(grpc, grpc_host, rules("two"))])
    };
    let calls = |expected: [&'static str; 2]| {
        [
            ("GET x.example/a.B/C", expected[0]),
            ("POST x.example/a.B/C content-type:application/grpc", expected[1]),
        ]
    };
    // The first one by name stays.
    let wide = both("b", "a", json!([]), json!(["*.example"]));
    check(&wide, &calls(["404", "two"]));
    let narrow = both("a", "b", json!(["x.example"]), json!(["*.example"]));
    check(&narrow, &calls(["one", "one"]));
    let apart = both("a", "b", json!(["y.example"]), json!(["x.example"]));
    check(&apart, &calls(["404", "two"]));
    check(&apart, &[("GET y.example/", "one")]);
}

#[test]
fn a_listener_takes_the_kinds_that_it_names() {
    let listeners = json!([{"name": "web", "port": 80, "protocol": "HTTP",
                            "allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}}]);
    let rules = || json!([{"backendRefs": [{"name": "one"}]}]);
    let snapshot =
        world_with(&listeners, [http_route("a", json!([]), rules()), grpc_route("b", json!([]), rules())]);
    check(&snapshot, &[("GET h/", "404"), ("POST h/a.B/C content-type:application/grpc", "one")]);
}

#[test]
fn calls_of_a_service_with_routes_of_both_kinds_go_by_those_of_grpc() {
    let parent = json!([{"kind": "Service", "group": "", "name": "one"}]);
    let of = |kind: &str, name: &str, to: &str| {
        resource(kind, name, json!({"parentRefs": parent, "rules": [{"backendRefs": [{"name": to}]}]}))
    };
    let services = ["one", "two", "three"].map(|name| service(name, &[9000]));
    let routes = [of("HTTPRoute", "a", "two"), of("GRPCRoute", "b", "three")];
    let inputs = inputs(services.into_iter().chain(routes));
    let snapshot = sidecar("default").compile(&inputs, None).unwrap();
    let MeshLookup::Known(known) = snapshot.mesh.lookup(b"one") else { panic!("not known") };
    let ask = |headers: &[(&str, &str)]| {
        let request = TestRequest::new("POST one/a.B/C", headers);
        match snapshot.route(&known.routes, &request, &mut SmallRng::seed_from_u64(1)) {
            Decision::Forward { upstream, .. } => upstream.label.to_string(),
            _ => "none".to_owned(),
        }
    };
    assert_eq!(ask(&[("content-type", "application/grpc")]), "three");
    assert_eq!(ask(&[]), "none");
}

/// Where requests to `host/path` are redirected by rules of one redirect each, with the prefix that each is for.
#[test]
fn redirects() {
    let redirect = |path: &str, spec: Value| json!({"matches": [under(path)], "filters": [{"type": "RequestRedirect", "requestRedirect": spec}]});
    let prefix = |to: &str| json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to});
    let full = |to: &str| json!({"type": "ReplaceFullPath", "replaceFullPath": to});
    let rules = json!([
        redirect("/original-prefix", json!({"path": prefix("/replacement-prefix")})),
        redirect("/full", json!({"path": full("/full-path-replacement")})),
        redirect("/path-and-host", json!({"hostname": "example.org", "path": prefix("/replacement-prefix")})),
        redirect("/path-and-status", json!({"path": prefix("/replacement-prefix"), "statusCode": 301})),
        redirect(
            "/full-path-and-host",
            json!({"hostname": "example.org", "path": full("/replacement-full")})
        ),
        redirect("/host-and-status", json!({"hostname": "example.org", "statusCode": 301})),
        redirect("/scheme", json!({"scheme": "https"})),
        redirect("/scheme-and-port", json!({"scheme": "https", "port": 8443})),
        redirect("/port", json!({"port": 8083})),
        redirect("/303", json!({"statusCode": 303})),
        redirect("/307", json!({"statusCode": 307})),
        redirect("/308", json!({"statusCode": 308})),
    ]);
    let snapshot = world([http_route("r", json!([]), rules)]);
    let check = |path: &str, status: u16, expected: &str| {
        let request = TestRequest::new(&format!("GET shop{path}"), &[]);
        let mut rng = SmallRng::seed_from_u64(1);
        let decision = snapshot.route(&snapshot.listeners[0].routes, &request, &mut rng);
        let Decision::NoBackend { filtered: Some(filtered), .. } = decision else { panic!("{decision:?}") };
        assert_eq!(decide(filtered.filters, &request, &mut rng).answer, Some(Answer::Redirect));
        let redirect = filtered.filters.redirect.as_ref().unwrap();
        let place = Place {
            scheme: Scheme::Http,
            host: b"shop",
            port: snapshot.listeners[0].addr.port(),
            path: request.path.as_bytes(),
            query: b"",
            prefix: filtered.prefix,
        };
        let mut location = Vec::new();
        redirect.write_location(&place, &mut location);
        assert_eq!((redirect.status, &*String::from_utf8(location).unwrap()), (status, expected), "{path}");
    };
    check("/original-prefix/lemon", 302, "http://shop/replacement-prefix/lemon");
    check("/full/path/original", 302, "http://shop/full-path-replacement");
    check("/path-and-host/lemon", 302, "http://example.org/replacement-prefix/lemon");
    check("/path-and-status/lemon", 301, "http://shop/replacement-prefix/lemon");
    check("/full-path-and-host/lemon", 302, "http://example.org/replacement-full");
    check("/host-and-status", 301, "http://example.org/host-and-status");
    check("/scheme", 302, "https://shop/scheme");
    check("/scheme-and-port", 302, "https://shop:8443/scheme-and-port");
    check("/port", 302, "http://shop:8083/port");
    check("/303", 303, "http://shop/303");
    check("/307", 307, "http://shop/307");
    check("/308", 308, "http://shop/308");
}

#[test]
fn weights_are_shares_and_what_does_not_exist_keeps_its_own() {
    let rules = json!([{"backendRefs": [
        {"name": "one", "weight": 70}, {"name": "two", "weight": 20}, {"name": "gone", "weight": 10}, {"name": "three", "weight": 0},
    ]}]);
    let snapshot = world([http_route("r", json!([]), rules)]);
    let mut rng = SmallRng::seed_from_u64(5);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..10_000 {
        let request = TestRequest::new("GET h/", &[]);
        let key = match snapshot.route(&snapshot.listeners[0].routes, &request, &mut rng) {
            Decision::Forward { upstream, .. } => upstream.label.to_string(),
            Decision::NoBackend { .. } => "500".to_owned(),
            Decision::NoRoute => "404".to_owned(),
        };
        *counts.entry(key).or_insert(0u32) += 1;
    }
    for (name, share) in [("one", 7000), ("two", 2000), ("500", 1000)] {
        assert!(counts[name].abs_diff(share) < 200, "{counts:?}");
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
}

#[test]
fn a_rule_without_services_answers_500() {
    let snapshot = world([http_route("r", json!([]), json!([{}]))]);
    check(&snapshot, &[("GET h/", "500")]);
}
