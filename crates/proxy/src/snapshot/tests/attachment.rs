use super::*;

#[test]
fn a_route_attaches_to_the_gateway_it_names() {
    let snapshot = compile([
        gateway("edge"),
        service("cart", &[9001]),
        route("mine", json!([{"name": "edge"}]), "cart"),
        route("other", json!([{"name": "elsewhere"}]), "cart"),
        route("orphan", json!([]), "cart"),
    ]);
    assert_eq!(outcome(&snapshot, 8080, "GET h/"), "HTTPRoute/mine#0 -> cart");
    let labels: Vec<_> = snapshot.listeners[0].routes.rules().iter().map(|rule| &*rule.label).collect();
    assert_eq!(labels, ["HTTPRoute/mine#0"]);
    assert_eq!(snapshot.listeners[0].addr, "127.0.0.1:8080".parse().unwrap());
}

fn two_listeners() -> Resource {
    let listeners = json!([
        {"name": "one", "port": 8001, "protocol": "HTTP"},
        {"name": "two", "port": 8002, "protocol": "HTTP"},
    ]);
    resource("Gateway", "edge", json!({"listeners": listeners}))
}

#[test]
fn section_name_and_port_choose_listeners() {
    let check = |parent: Value, one: bool, two: bool| {
        let snapshot =
            compile([two_listeners(), service("cart", &[9001]), route("r", json!([parent.clone()]), "cart")]);
        let expected = |attached: bool| if attached { "HTTPRoute/r#0 -> cart" } else { "404" };
        assert_eq!(outcome(&snapshot, 8001, "GET h/"), expected(one), "{parent}");
        assert_eq!(outcome(&snapshot, 8002, "GET h/"), expected(two), "{parent}");
    };
    check(json!({"name": "edge"}), true, true);
    check(json!({"name": "edge", "kind": "Gateway", "namespace": "default"}), true, true);
    check(json!({"name": "edge", "sectionName": "two"}), false, true);
    check(json!({"name": "edge", "port": 8001}), true, false);
    check(json!({"name": "edge", "sectionName": "two", "port": 8001}), false, false);
    check(json!({"name": "edge", "sectionName": "three"}), false, false);
    check(json!({"name": "edge", "kind": "Service"}), false, false);
    check(json!({"name": "edge", "namespace": "other"}), false, false);
}

#[test]
fn two_parents_on_one_listener_attach_once() {
    let parents = json!([{"name": "edge"}, {"name": "edge", "sectionName": "web"}]);
    let snapshot = compile([gateway("edge"), service("cart", &[9001]), route("r", parents, "cart")]);
    assert_eq!(snapshot.listeners[0].routes.rules().len(), 1);
}

#[test]
fn other_namespaces_need_leave() {
    let check = |from: Option<&str>, namespace: &str, attached: bool| {
        let allowed = from.map(|from| json!({"namespaces": {"from": from}}));
        let mut listener = json!({"name": "web", "port": 8080, "protocol": "HTTP"});
        if let Some(allowed) = allowed {
            listener["allowedRoutes"] = allowed;
        }
        let snapshot = compile([
            resource("Gateway", "infra/edge", json!({"listeners": [listener]})),
            service(&format!("{namespace}/cart"), &[9001]),
            route(&format!("{namespace}/r"), json!([{"name": "edge", "namespace": "infra"}]), "cart"),
        ]);
        let found = outcome(&snapshot, 8080, "GET h/");
        assert_eq!(found != "404", attached, "{from:?} {namespace}: {found}");
    };
    check(None, "infra", true);
    check(None, "shop", false);
    check(Some("Same"), "infra", true);
    check(Some("Same"), "shop", false);
    check(Some("All"), "shop", true);
}

fn with_hostnames(name: &str, hostnames: &[&str]) -> Resource {
    let rules = json!([{"backendRefs": [{"name": "cart"}]}]);
    let spec = json!({"parentRefs": [{"name": "edge"}], "hostnames": hostnames, "rules": rules});
    resource("HTTPRoute", name, spec)
}

#[test]
fn hostnames_of_listener_and_route_intersect() {
    let check = |listener: Option<&str>, route: &[&str], host: &str, served: bool| {
        let mut spec = json!({"name": "web", "port": 8080, "protocol": "HTTP"});
        if let Some(listener) = listener {
            spec["hostname"] = json!(listener);
        }
        let snapshot = compile([
            resource("Gateway", "edge", json!({"listeners": [spec]})),
            service("cart", &[9001]),
            with_hostnames("r", route),
        ]);
        let found = outcome(&snapshot, 8080, &format!("GET {host}/"));
        assert_eq!(found != "404", served, "{listener:?} {route:?} {host}: {found}");
    };
    check(None, &[], "any", true);
    check(None, &["a.example"], "a.example", true);
    check(None, &["a.example"], "A.Example", true);
    check(None, &["a.example"], "b.example", false);
    check(None, &["*.example"], "a.b.example", true);
    check(None, &["*.example"], "example", false);
    check(Some("a.example"), &[], "a.example", true);
    check(Some("a.example"), &[], "b.example", false);
    check(Some("a.example"), &["*.example"], "a.example", true);
    check(Some("a.example"), &["*.example"], "b.example", false);
    check(Some("*.example"), &["a.example"], "a.example", true);
    check(Some("*.example"), &["a.example"], "b.example", false);
    check(Some("*.example"), &["a.other"], "a.other", false);
    check(Some("*.example"), &["a.other", "b.example"], "b.example", true);
    check(Some("*.example"), &["*.a.example"], "x.a.example", true);
    check(Some("*.a.example"), &["*.example"], "x.example", false);
}

#[test]
fn ties_go_to_the_first_route_by_name() {
    let check = |names: [&str; 2], winner: &str| {
        let routes = names.map(|name| {
            let namespace = name.split_once('/').unwrap().0;
            let rules = json!([{"backendRefs": [{"name": "cart", "namespace": "default"}]}]);
            let parents = json!([{"name": "edge", "namespace": "default"}]);
            let spec = json!({"parentRefs": parents, "rules": rules});
            assert!(!namespace.is_empty());
            resource("HTTPRoute", name, spec)
        });
        let listener = json!({"name": "web", "port": 8080, "protocol": "HTTP",
                              "allowedRoutes": {"namespaces": {"from": "All"}}});
        let gateway = resource("Gateway", "edge", json!({"listeners": [listener]}));
        let snapshot = compile(routes.into_iter().chain([gateway, service("cart", &[9001])]));
        assert_eq!(outcome(&snapshot, 8080, "GET h/"), format!("{winner} -> cart"));
    };
    check(["default/a", "default/b"], "HTTPRoute/a#0");
    check(["shop/a", "default/z"], "HTTPRoute/z#0");
    // By the text `namespace/name`: `-` comes before `/`.
    check(["shop/a", "shop-a/z"], "HTTPRoute/shop-a/z#0");
}

#[test]
fn rules_of_one_route_keep_their_order() {
    let rules = json!([
        {"matches": [{"headers": [{"name": "x", "value": "1"}]}], "backendRefs": [{"name": "cart"}]},
        {"backendRefs": [{"name": "cart"}]},
        {"backendRefs": [{"name": "cart"}]},
    ]);
    let spec = json!({"parentRefs": [{"name": "edge"}], "rules": rules});
    let snapshot = compile([gateway("edge"), service("cart", &[9001]), resource("HTTPRoute", "r", spec)]);
    assert_eq!(outcome(&snapshot, 8080, "GET h/"), "HTTPRoute/r#1 -> cart");
}

#[test]
fn listeners_on_one_port_share_its_socket() {
    let listeners = json!([
        {"name": "shop", "port": 8080, "protocol": "HTTP", "hostname": "shop.example"},
        {"name": "rest", "port": 8080, "protocol": "HTTP"},
    ]);
    let rules = json!([{"backendRefs": [{"name": "cart"}]}]);
    let to_rest = json!({"parentRefs": [{"name": "edge", "sectionName": "rest"}], "rules": rules});
    let snapshot = compile([
        resource("Gateway", "edge", json!({"listeners": listeners})),
        service("cart", &[9001]),
        resource("HTTPRoute", "r", to_rest),
    ]);
    assert_eq!(snapshot.listeners.len(), 1);
    assert_eq!(outcome(&snapshot, 8080, "GET other/"), "HTTPRoute/r#0 -> cart");
    assert_eq!(outcome(&snapshot, 8080, "GET shop.example/"), "404", "that host is the other listener's");
}

#[test]
fn only_the_wanted_gateways_are_served() {
    let second = json!({"listeners": [{"name": "web", "port": 8081, "protocol": "HTTP"}]});
    let resources = || inputs([gateway("edge"), resource("Gateway", "infra/edge", second.clone())]);
    let check = |wanted: &[&str], ports: &[u16]| {
        let gateways = wanted.iter().map(|&name| name.to_owned()).collect();
        let snapshot = Compiler::new(Role::Gateway { gateways }).compile(&resources(), None).unwrap();
        let found: Vec<_> = snapshot.listeners.iter().map(|listener| listener.addr.port()).collect();
        assert_eq!(found, ports, "{wanted:?}");
    };
    check(&[], &[8080, 8081]);
    check(&["edge"], &[8080]);
    check(&["infra/edge"], &[8081]);
    check(&["default/edge", "infra/edge"], &[8080, 8081]);
    check(&["none"], &[]);
}

#[test]
fn backends_that_do_not_exist_or_weigh_nothing() {
    let check = |backends: Value, expected: &str| {
        let spec = json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": backends}]});
        let snapshot = compile([gateway("edge"), service("cart", &[9001]), resource("HTTPRoute", "r", spec)]);
        assert_eq!(outcome(&snapshot, 8080, "GET h/"), expected);
    };
    check(json!([]), "500 by HTTPRoute/r#0");
    check(json!([{"name": "nowhere"}]), "500 by HTTPRoute/r#0");
    check(json!([{"name": "cart", "weight": 0}]), "500 by HTTPRoute/r#0");
    check(json!([{"name": "nowhere", "weight": 0}, {"name": "cart"}]), "HTTPRoute/r#0 -> cart");
}

#[test]
fn calls_inside_the_mesh() {
    let to_service = |name: &str, target: &str| {
        let matches = json!([{"path": {"value": "/v2"}}]);
        let backends = json!([{"name": "cart-v2", "namespace": "default"}]);
        let rules = json!([{"matches": matches, "backendRefs": backends}]);
        let parents = json!([{"kind": "Service", "name": target, "namespace": "default"}]);
        resource("HTTPRoute", name, json!({"parentRefs": parents, "rules": rules, "hostnames": ["ignored"]}))
    };
    let check = |routes: &[Resource], namespace: &str, request: &str, expected: &str| {
        let services = [service("cart", &[9001]), service("cart-v2", &[9002])];
        let snapshot =
            sidecar(namespace).compile(&inputs(routes.iter().cloned().chain(services)), None).unwrap();
        let MeshLookup::Known(cart) = snapshot.mesh.lookup(b"cart.default") else { panic!("not known") };
        assert_eq!(decide(&snapshot, &cart.routes, request), expected, "{namespace}");
        assert!(snapshot.listeners.is_empty());
    };
    check(&[], "default", "GET cart/v2", "Service/cart -> cart");
    let routes = [to_service("producer", "cart")];
    check(&routes, "default", "GET cart/v2/x", "HTTPRoute/producer#0 -> cart-v2");
    check(&routes, "shop", "GET cart/v2/x", "HTTPRoute/producer#0 -> cart-v2");
    check(&routes, "default", "GET cart/v1", "404");
    let routes = [to_service("producer", "cart"), to_service("shop/consumer", "cart")];
    check(&routes, "shop", "GET cart/v2", "HTTPRoute/shop/consumer#0 -> cart-v2");
    check(&routes, "other", "GET cart/v2", "HTTPRoute/producer#0 -> cart-v2");
}

#[test]
fn what_the_control_plane_denies_is_no_service() {
    let inputs = with_registered(inputs([]), "gone", false, &[]);
    let inputs = with_registered(inputs, "cart", true, &[endpoint("a/1", 9001)]);
    let snapshot = sidecar("default").compile(&inputs, None).unwrap();
    assert!(matches!(snapshot.mesh.lookup(b"gone"), MeshLookup::Unknown));
    assert!(matches!(snapshot.mesh.lookup(b"cart"), MeshLookup::Known(_)));
    assert!(matches!(snapshot.mesh.lookup(b"new"), MeshLookup::NotSubscribed(_)));
}

#[test]
fn routes_of_grpc_count_before_those_of_http() {
    let parent = || json!([{"kind": "Service", "name": "cart"}]);
    let calls = |name: &str, service: &str| {
        let rules = json!([{"backendRefs": [{"name": service}]}]);
        resource("GRPCRoute", name, json!({"parentRefs": parent(), "rules": rules}))
    };
    let inputs = inputs([
        service("cart", &[]),
        service("web", &[]),
        service("calls", &[]),
        route("a", parent(), "web"),
        calls("b", "calls"),
    ]);
    let snapshot = sidecar("default").compile(&inputs, None).unwrap();
    let cart = snapshot.mesh.known(b"cart").unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    let request = TestRequest::new("POST cart/a.B/C", &[("content-type", "application/grpc")]);
    let Decision::Forward { upstream, rule, .. } = snapshot.route(&cart.routes, &request, &mut rng) else {
        panic!("not forwarded")
    };
    assert_eq!((&*rule.label, &*upstream.label), ("GRPCRoute/b#0", "calls"));
    assert_eq!(cart.routes.rules().len(), 1, "the other kind does not count");
}
