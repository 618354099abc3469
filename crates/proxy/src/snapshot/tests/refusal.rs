use super::*;

fn refused(resources: impl IntoIterator<Item = Resource>) -> Vec<String> {
    let rejections = compiler().compile(&inputs(resources), None).unwrap_err();
    rejections.iter().map(ToString::to_string).collect()
}

#[test]
fn the_rest_compiles() {
    let none = json!({"listeners": [{"name": "web", "port": 0, "protocol": "TCP"}]});
    let inputs = inputs([gateway("b"), gateway("a"), resource("Gateway", "none", none)]);
    let (snapshot, rejections) = compiler().compile_rest(&inputs);
    let refused: Vec<_> = rejections.iter().map(|rejection| &*rejection.resource.name).collect();
    assert_eq!(refused, ["none", "b"]);
    assert_eq!(snapshot.listeners.len(), 1);
}

#[test]
fn addresses() {
    let listeners = json!([{"name": "web", "port": 8080, "protocol": "HTTP"}]);
    let spec = json!({"addresses": [{"value": "::1"}, {"value": "here"}, {"type": "Hostname", "value": "x"}],
                      "listeners": listeners});
    assert_eq!(
        refused([resource("Gateway", "edge", spec)]),
        [
            "Gateway/edge: spec.addresses[1].value: `here` is not an IPv4 or IPv6 address",
            "Gateway/edge: spec.addresses[2].type: `Hostname` is not supported: expected `IPAddress`",
        ]
    );
}

#[test]
fn addresses_that_others_reach_are_refused_unless_told_otherwise() {
    let careful = Compiler { loopback_only: true, ..compiler() };
    let check = |value: &str, passes: bool| {
        let spec = json!({"addresses": [{"value": value}],
                          "listeners": [{"name": "web", "port": 8080, "protocol": "HTTP"}]});
        let inputs = inputs([resource("Gateway", "edge", spec)]);
        assert!(compiler().compile(&inputs, None).is_ok(), "{value}");
        let expected = format!(
            "Gateway/edge: spec.addresses[0].value: others can reach {value} and listener `web` has no TLS: start \
             the proxy with --insecure, or use a loopback address"
        );
        match careful.compile(&inputs, None) {
            Ok(snapshot) => assert!(passes && snapshot.listeners.len() == 1, "{value}"),
            Err(rejections) => {
                assert!(!passes, "{value}");
                assert_eq!(rejections.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
            }
        }
    };
    for value in ["127.0.0.2", "::1", "::ffff:127.0.0.1"] {
        check(value, true);
    }
    for value in ["0.0.0.0", "::", "10.0.0.1", "fe80::1", "::ffff:10.0.0.1"] {
        check(value, false);
    }
    assert!(careful.compile(&inputs([gateway("edge")]), None).is_ok(), "loopback is the default");
}

#[test]
fn a_port_belongs_to_one_gateway() {
    assert_eq!(
        refused([gateway("a"), gateway("b")]),
        ["Gateway/b: spec.listeners[0].port: 127.0.0.1:8080 is already taken by Gateway/a"]
    );
    let everywhere = json!({"addresses": [{"value": "0.0.0.0"}],
                            "listeners": [{"name": "web", "port": 8080, "protocol": "HTTP"}]});
    assert_eq!(
        refused([gateway("a"), resource("Gateway", "b", everywhere)]),
        ["Gateway/b: spec.listeners[0].port: 0.0.0.0:8080 is already taken by Gateway/a"]
    );
}

#[test]
fn listeners_of_one_port_must_differ() {
    let listeners = json!([
        {"name": "one", "port": 8080, "protocol": "HTTP", "hostname": "shop.example"},
        {"name": "two", "port": 8080, "protocol": "HTTP", "hostname": "Shop.Example"},
    ]);
    assert_eq!(
        refused([resource("Gateway", "edge", json!({"listeners": listeners}))]),
        ["Gateway/edge: spec.listeners[1].hostname: listener `one` on port 8080 already serves the hosts \
          `shop.example`"]
    );
}

#[test]
fn a_port_speaks_one_thing() {
    let listeners = json!([
        {"name": "one", "port": 8080, "protocol": "HTTP"},
        {"name": "two", "port": 8080, "protocol": "TCP", "hostname": "a"},
    ]);
    assert_eq!(
        refused([resource("Gateway", "edge", json!({"listeners": listeners}))]),
        ["Gateway/edge: spec.listeners[1].protocol: listener `one` speaks something else on port 8080"]
    );
}

#[test]
fn routes_of_connections() {
    let rules = json!([
        {"backendRefs": [{"name": "x", "kind": "Deployment"}, {"name": "y", "filters": [{"type": "CORS"}]}]},
        {},
    ]);
    let spec = json!({"parentRefs": [{"name": "edge"}], "rules": rules});
    assert_eq!(
        refused([gateway("edge"), resource("TCPRoute", "r", spec)]),
        [
            "TCPRoute/r: spec.rules[1]: nothing tells a second rule from the first",
            "TCPRoute/r: spec.rules[0].backendRefs[0].kind: `Deployment` is not supported: expected `Service`",
            "TCPRoute/r: spec.rules[0].backendRefs[1].filters: bytes are passed on as they are",
        ]
    );
}

#[test]
fn routes() {
    let rules = json!([
        {"backendRefs": [{"name": "cart"}]},
        {"matches": [{}, {"path": {"value": "cart"}}], "backendRefs": [{"name": "x", "kind": "Deployment"}]},
    ]);
    let spec = json!({"parentRefs": [{"name": "edge"}], "rules": rules});
    assert_eq!(
        refused([gateway("edge"), resource("HTTPRoute", "r", spec)]),
        [
            "HTTPRoute/r: spec.rules[1].matches[1].path.value: `cart` is not a path: the path must begin with /",
            "HTTPRoute/r: spec.rules[1].backendRefs[0].kind: `Deployment` is not supported: expected `Service`",
        ]
    );
}

#[test]
fn expressions_that_documents_may_hold_are_not_too_large() {
    let long = format!("(?i){}", "é|".repeat(300));
    let extremes = [
        r"\w{20}",
        r"(\w\s\d){15}",
        "(?i)[a-zé]{1000}",
        "(?:a|b|c){6000}",
        "(.{100}){20}",
        "[^/]{2000}",
        &*long,
    ];
    for pattern in extremes {
        assert_eq!(weir_model::pattern::check(pattern), Ok(()), "{pattern}");
        let rules = json!([{"matches": [{"path": {"type": "RegularExpression", "value": pattern}}]}]);
        let spec = json!({"parentRefs": [{"name": "edge"}], "rules": rules});
        let inputs = inputs([gateway("edge"), resource("HTTPRoute", "r", spec)]);
        let compiled = compiler().compile(&inputs, None).map(drop);
        assert!(compiled.is_ok(), "{pattern}: {compiled:?}");
    }
}
