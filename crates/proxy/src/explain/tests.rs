use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;
use weir_model::registry::Health;
use weir_model::{Resource, ServiceRef};

use super::*;
use crate::snapshot::tests::{endpoint, gateway, inputs, resource, route, service, with_registered};
use crate::snapshot::{Compiler, Inputs, Role};

mod hashes;

fn shop() -> Inputs {
    let rules = json!([
        {"matches": [{"path": {"value": "/cart"}, "headers": [{"name": "X-Beta", "value": "1"}]}],
         "backendRefs": [{"name": "beta"}]},
        {"matches": [{"path": {"value": "/cart"}}], "backendRefs": [{"name": "cart"}]},
        {"matches": [{"path": {"value": "/pay", "type": "Exact"}, "method": "POST"}], "backendRefs": [{"name": "pay"}]},
        {"backendRefs": [{"name": "front"}], "name": "rest"},
    ]);
    let spec = json!({"parentRefs": [{"name": "edge"}], "hostnames": ["shop.example"], "rules": rules});
    let inputs = inputs([gateway("edge"), resource("HTTPRoute", "shop", spec), service("front", &[9000])]);
    let mut sick = endpoint("b/2", 9002);
    sick.health = Health::Critical;
    with_registered(inputs, "cart", true, &[endpoint("a/1", 9001), sick, endpoint("c/3", 9003)])
}

fn ask(inputs: &Inputs, role: Role, method: &str, url: &str, headers: &[&str]) -> Explanation {
    let snapshot = Compiler::new(role).compile(inputs, None).unwrap();
    let request = Request::parse(method, url, headers.iter().copied()).unwrap();
    explain(&snapshot, &request, &mut SmallRng::seed_from_u64(3))
}

fn edge() -> Role {
    Role::Gateway { gateways: vec![] }
}

fn verdicts(explanation: &Explanation) -> Vec<(String, Verdict, String)> {
    let rules = explanation.entrances[0].rules.iter();
    rules.map(|rule| (rule.rule.clone(), rule.verdict, rule.reason.clone())).collect()
}

#[test]
fn each_rule_has_a_verdict_and_a_reason() {
    let explanation = ask(&shop(), edge(), "GET", "http://shop.example/cart/7", &[]);
    let expected = [
        ("HTTPRoute/shop#0", Verdict::NoMatch, "there is no header x-beta"),
        (
            "HTTPRoute/shop#1",
            Verdict::Won,
            "host `shop.example`, the longest prefix that matches, and all conditions hold",
        ),
        ("HTTPRoute/shop#2", Verdict::NoMatch, "the path is `/cart/7`, not `/pay`"),
        ("HTTPRoute/shop#rest", Verdict::Outranked, "HTTPRoute/shop#1 goes first: its prefix is longer"),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(rule, verdict, why)| (rule.to_owned(), verdict, why.to_owned())).collect();
    assert_eq!(verdicts(&explanation), expected);
    assert_eq!(explanation.entrances[0].name, "Gateway/edge@127.0.0.1:8080");
    assert_eq!(explanation.entrances[0].section.as_deref(), Some("Gateway/edge:web"));
    assert_eq!(explanation.entrances[0].rules[3].name.as_deref(), Some("rest"));
}

#[test]
fn candidates_and_choice() {
    let explanation = ask(&shop(), edge(), "GET", "http://shop.example/cart", &[]);
    let forwarded = explanation.forwarded().unwrap();
    assert_eq!((&*forwarded.service, &*forwarded.balance), ("cart", "least_request"));
    let shown: Vec<_> =
        forwarded.endpoints.iter().map(|e| (&*e.id, e.candidate, e.excluded.as_deref())).collect();
    assert_eq!(shown, [("a/1", true, None), ("b/2", false, Some("critical")), ("c/3", true, None)]);
    let choice = forwarded.choice.as_ref().unwrap();
    assert!(["a/1", "c/3"].contains(&&*choice.endpoint));
    assert_eq!(forwarded.considered.len(), 1, "{:?}", forwarded.considered);
    assert!(forwarded.considered[0].contains("a/1 (0 in flight)"), "{:?}", forwarded.considered);
}

#[test]
fn an_endpoint_without_a_port_is_left_out_and_says_why() {
    let inputs = with_registered(shop(), "cart", true, &[endpoint("a/1", 0)]);
    let explanation = ask(&inputs, edge(), "GET", "http://shop.example/cart", &[]);
    let forwarded = explanation.forwarded().unwrap();
    let shown = &forwarded.endpoints[0];
    assert_eq!((shown.candidate, shown.excluded.as_deref()), (false, Some("registered without a port")));
    assert_eq!(forwarded.choice, None);
    assert!(explanation.to_string().contains("left out: registered without a port"), "{explanation}");
}

#[test]
fn live_state_decides() {
    let snapshot = Compiler::new(edge()).compile(&shop(), None).unwrap();
    let cart = snapshot.upstream_of(&ServiceRef::new("default", "cart")).unwrap();
    cart.endpoints[0].state.mark_failed();
    cart.endpoints[2].state.begin();
    let request = Request::parse("GET", "http://shop.example/cart", []).unwrap();
    let explanation = explain(&snapshot, &request, &mut SmallRng::seed_from_u64(3));
    let forwarded = explanation.forwarded().unwrap();
    assert!(forwarded.endpoints[0].avoided);
    assert_eq!(forwarded.endpoints[2].in_flight, 1);
    assert_eq!(forwarded.choice.as_ref().unwrap().endpoint, "c/3");
    assert!(forwarded.considered.iter().any(|note| note.contains("a/1 failed lately")), "{forwarded:?}");
    assert_eq!(cart.endpoints[2].state.requests(), 1, "explaining sends nothing");
}

#[test]
fn a_look_leaves_no_breaker_behind() {
    let spec = json!({"targetRefs": [{"name": "cart"}], "breakers": [{"level": "instance"}, {"level": "route"}, {}]});
    let mut inputs = shop();
    let policy = resource("TrafficPolicy", "cart", spec);
    std::sync::Arc::make_mut(&mut inputs.resources).insert(policy.id(), std::sync::Arc::new(policy));
    let snapshot = Compiler::new(edge()).compile(&inputs, None).unwrap();
    let request = Request::parse("GET", "http://shop.example/cart", []).unwrap();
    let explanation = explain(&snapshot, &request, &mut SmallRng::seed_from_u64(3));
    let shown = &explanation.forwarded().unwrap().breakers;
    let parts: Vec<&str> = shown.iter().map(|breaker| &*breaker.part).collect();
    assert_eq!(parts, ["HTTPRoute/shop#1", "", "a/1", "b/2", "c/3"]);
    assert!(shown.iter().all(|breaker| breaker.state.starts_with("closed")), "{shown:?}");
    let made: usize = snapshot.breakers.all().iter().map(|breaker| breaker.all().len()).sum();
    assert_eq!(made, 0, "somebody only looked");
}

#[test]
fn refusals() {
    let check = |method: &str, url: &str, status: u16, reason: &str| {
        let explanation = ask(&shop(), edge(), method, url, &[]);
        let expected = Outcome::Refused { status, reason: reason.to_owned() };
        assert_eq!(explanation.entrances[0].outcome, expected, "{method} {url}");
    };
    check("GET", "http://other/", 404, "no rule matches");
    check(
        "POST",
        "http://shop.example/pay",
        500,
        "HTTPRoute/shop#2 sends it to pay, and there is no such service",
    );
    let listeners = json!([{"name": "web", "port": 8080, "protocol": "HTTP", "hostname": "a.example"}]);
    let narrow = inputs([resource("Gateway", "edge", json!({"listeners": listeners}))]);
    let explanation = ask(&narrow, edge(), "GET", "http://b.example/", &[]);
    let reason = "no listener here serves the host `b.example`".to_owned();
    assert_eq!(explanation.entrances[0].outcome, Outcome::Refused { status: 404, reason });
}

#[test]
fn the_port_chooses_the_listener() {
    let second = json!({"listeners": [{"name": "web", "port": 9090, "protocol": "HTTP"}]});
    let inputs = inputs([
        gateway("edge"),
        resource("Gateway", "inner", second),
        service("cart", &[9001]),
        route("r", json!([{"name": "inner"}]), "cart"),
    ]);
    let names = |url: &str| {
        let explanation = ask(&inputs, edge(), "GET", url, &[]);
        explanation.entrances.into_iter().map(|entrance| entrance.name).collect::<Vec<_>>()
    };
    let (first, second) = ("Gateway/edge@127.0.0.1:8080", "Gateway/inner@127.0.0.1:9090");
    assert_eq!(names("http://h:9090/"), [second]);
    assert_eq!(names("http://h/"), [first, second]);
    assert_eq!(names("http://h:1/"), [first, second]);
    assert!(ask(&inputs, edge(), "GET", "http://h/", &[]).forwarded().is_some());
    let remarks = |url: &str| ask(&inputs, edge(), "GET", url, &[]).remarks;
    assert!(remarks("http://h:9090/").is_empty() && remarks("http://h/").is_empty());
    let other = "no listener has port 1, only 8080, 9090; this is for a request that arrives there";
    assert_eq!(remarks("http://h:1/"), [other]);
    assert!(ask(&inputs, edge(), "GET", "http://h:1/", &[]).to_string().contains(&format!("note: {other}")));
}

#[test]
fn calls_inside_the_mesh() {
    let front = Role::Sidecar { service: ServiceRef::new("default", "front") };
    let explanation = ask(&shop(), front.clone(), "GET", "http://cart/x", &[]);
    assert_eq!(explanation.entrances[0].section.as_deref(), Some("Service/cart"));
    assert_eq!(explanation.forwarded().unwrap().rule, "Service/cart");
    let explanation = ask(&shop(), front, "GET", "http://www.shop.example/", &[]);
    assert!(matches!(explanation.entrances[0].outcome, Outcome::PassThrough { .. }));
}

#[test]
fn https_comes_in_by_listeners_that_speak_it() {
    let listeners = json!([
        {"name": "web", "port": 8080, "protocol": "HTTP"},
        {"name": "secure", "port": 8443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "shop"}]}},
    ]);
    let both = inputs([
        resource("Gateway", "edge", json!({"listeners": listeners})),
        service("cart", &[1]),
        route("to-secure", json!([{"name": "edge", "sectionName": "secure"}]), "cart"),
    ]);
    let https = ask(&both, edge(), "GET", "https://shop.example/", &[]);
    assert!(https.remarks.is_empty(), "{https}");
    assert_eq!(https.entrances.len(), 1);
    assert!(https.forwarded().is_some());
    let http = ask(&both, edge(), "GET", "http://shop.example:8080/", &[]);
    assert!(matches!(http.entrances[0].outcome, Outcome::Refused { status: 404, .. }), "{http}");
}

#[test]
fn what_is_not_served_is_said() {
    let https = ask(&shop(), edge(), "GET", "https://shop.example/cart", &[]);
    assert_eq!(https.remarks, ["no TLS is spoken there; this is what becomes of the same request by http"]);
    assert!(https.forwarded().is_some());
    let connect = ask(&shop(), edge(), "CONNECT", "shop.example:443", &[]);
    let Outcome::Refused { status: 405, reason } = &connect.entrances[0].outcome else { panic!("{connect}") };
    assert_eq!(reason, "CONNECT is not served here");
    let trace = ask(&shop(), edge(), "TRACE", "http://shop.example/", &[]);
    assert!(matches!(trace.entrances[0].outcome, Outcome::Refused { status: 405, .. }), "{trace}");
    let front = Role::Sidecar { service: ServiceRef::new("default", "front") };
    let tunnel = ask(&shop(), front, "CONNECT", "cart:80", &[]);
    let Outcome::PassThrough { reason } = &tunnel.entrances[0].outcome else { panic!("{tunnel}") };
    assert!(reason.contains("a tunnel to an endpoint of cart"), "{reason}");
}

#[test]
fn an_only_endpoint_is_called_that_and_static_ones_are_not_checked() {
    let choice = |inputs: &Inputs, url: &str| {
        let explanation = ask(inputs, edge(), "GET", url, &[]);
        let forwarded = explanation.forwarded().unwrap();
        (forwarded.choice.clone().unwrap().reason, forwarded.endpoints[0].health.clone())
    };
    let of = |reason: &str, health: &str| (reason.to_owned(), health.to_owned());
    assert_eq!(choice(&shop(), "http://shop.example/"), of("the only endpoint", "not checked"));
    let mut sick = endpoint("b/2", 9002);
    sick.health = Health::Critical;
    let one_well = with_registered(shop(), "cart", true, &[endpoint("a/1", 9001), sick]);
    assert_eq!(choice(&one_well, "http://shop.example/cart"), of("the only candidate", "passing"));
}

/// Rules with filters and expressions.
fn filtered() -> Inputs {
    let rules = json!([
        {"matches": [{"path": {"value": "/old"}}], "filters": [
            {"type": "RequestRedirect", "requestRedirect": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}}]},
        {"matches": [{"path": {"type": "RegularExpression", "value": "/items/[0-9]+"}}], "backendRefs": [{"name": "cart"}]},
        {"matches": [{"path": {"value": "/fail"}}], "filters": [{"type": "Fault", "fault": {"abort": {"status": 503}}}]},
        {"filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-A", "value": "1"}], "remove": ["X-B"]}},
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shadow"}, "percent": 25}},
            {"type": "URLRewrite", "urlRewrite": {"hostname": "cart.internal"}},
            {"type": "CORS", "cors": {"allowOrigins": ["https://*.example"]}}],
         "backendRefs": [{"name": "cart"}]},
    ]);
    let spec = json!({"parentRefs": [{"name": "edge"}], "rules": rules});
    inputs([
        gateway("edge"),
        resource("HTTPRoute", "shop", spec),
        service("cart", &[9001]),
        service("shadow", &[9002]),
    ])
}

#[test]
fn filters_and_what_they_answer_are_told() {
    let all = ask(&filtered(), edge(), "GET", "http://shop/", &[]);
    let expected = [
        "request field: remove x-b",
        "request field: set X-A: 1",
        "CORS: pages of https://*.example:443 may call",
        "rewrite: host cart.internal",
        "mirror: 25 % to shadow",
    ];
    assert_eq!(all.entrances[0].filters, expected);
    assert!(all.to_string().contains("\n  filters\n     request field: remove x-b\n"), "{all}");
    let redirected = ask(&filtered(), edge(), "GET", "http://shop:8080/old/a?b=c", &[]);
    let Outcome::Answered { status: 302, location: Some(location), .. } = &redirected.entrances[0].outcome
    else {
        panic!("{redirected}")
    };
    assert_eq!(location, "http://shop:8080/new/a?b=c");
    assert!(
        redirected.to_string().contains("answered with 302 to http://shop:8080/new/a?b=c"),
        "{redirected}"
    );
    let preflight = ["Origin: https://a.example", "Access-Control-Request-Method: PUT"];
    let asked = ask(&filtered(), edge(), "OPTIONS", "http://shop/", &preflight);
    assert!(matches!(asked.entrances[0].outcome, Outcome::Answered { status: 204, .. }), "{asked}");
    let failed = ask(&filtered(), edge(), "GET", "http://shop/fail", &[]);
    assert!(matches!(failed.entrances[0].outcome, Outcome::Answered { status: 503, .. }), "{failed}");
    assert_eq!(failed.entrances[0].filters, ["fault: 100 % are answered with 503"]);
}

#[test]
fn expressions_that_do_not_match_say_so() {
    let explanation = ask(&filtered(), edge(), "GET", "http://shop/items/x", &[]);
    let missed = verdicts(&explanation).into_iter().find(|(rule, ..)| rule == "HTTPRoute/shop#1").unwrap();
    let reason = "the path is `/items/x`, which does not match `/items/[0-9]+` as a whole";
    assert_eq!((missed.1, &*missed.2), (Verdict::NoMatch, reason));
    let explanation = ask(&filtered(), edge(), "GET", "http://shop/items/7", &[]);
    let (_, verdict, reason) =
        verdicts(&explanation).into_iter().find(|(rule, ..)| rule == "HTTPRoute/shop#3").unwrap();
    assert_eq!(verdict, Verdict::Outranked);
    assert!(reason.starts_with("HTTPRoute/shop#1 goes first: expressions go before prefixes"), "{reason}");
}

#[test]
fn rules_that_nobody_wrote_are_not_shown() {
    let front = Role::Sidecar { service: ServiceRef::new("default", "front") };
    let explanation = ask(&shop(), front, "GET", "http://cart/x", &[]);
    let rules = &explanation.entrances[0].rules;
    assert_eq!(rules.iter().map(|rule| &*rule.path).collect::<Vec<_>>(), ["under /"], "{explanation}");
    assert_eq!(explanation.entrances[0].rules_omitted, 0);
}

#[test]
fn long_tables_are_cut() {
    let routes = (0..OTHER_RULES_MAX + 50).map(|i| {
        let rules =
            json!([{"matches": [{"path": {"value": format!("/p{i}")}}], "backendRefs": [{"name": "cart"}]}]);
        resource("HTTPRoute", &format!("r{i}"), json!({"parentRefs": [{"name": "edge"}], "rules": rules}))
    });
    let all: Vec<Resource> = routes.chain([gateway("edge"), service("cart", &[9001])]).collect();
    let explanation = ask(&inputs(all), edge(), "GET", "http://h/p140", &[]);
    let entrance = &explanation.entrances[0];
    assert_eq!(entrance.rules[0].verdict, Verdict::Won);
    assert_eq!(entrance.rules.len(), OTHER_RULES_MAX + 1);
    assert_eq!(entrance.rules_omitted, 49);
}

#[test]
fn an_explanation_survives_json() {
    let explanation = ask(&shop(), edge(), "GET", "http://shop.example/cart", &[]);
    let text = serde_json::to_string(&explanation).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), explanation);
}

#[test]
fn text_for_people() {
    let text = ask(&shop(), edge(), "GET", "http://shop.example/cart?id=7", &["x-beta: 2"]).to_string();
    assert_eq!(text, include_str!("tests/cart.txt"));
}

/// HTTP, HTTPS beside TLS that is passed through, and a database.
fn every_listener() -> Inputs {
    let tls = json!({"certificateRefs": [{"name": "c"}]});
    let listeners = json!([
        {"name": "web", "port": 8080, "protocol": "HTTP"},
        {"name": "secret", "port": 8443, "protocol": "HTTPS", "hostname": "*.example", "tls": tls},
        {"name": "pass", "port": 8443, "protocol": "TLS", "hostname": "vault.example", "tls": {"mode": "Passthrough"}},
        {"name": "db", "port": 5432, "protocol": "TCP"},
    ]);
    let to = |kind: &str, name: &str, section: &str, service: &str| {
        let parents = json!([{"name": "edge", "sectionName": section}]);
        let rules = json!([{"backendRefs": [{"name": service}]}]);
        resource(kind, name, json!({"parentRefs": parents, "rules": rules}))
    };
    inputs([
        resource("Gateway", "edge", json!({"listeners": listeners})),
        service("cart", &[9001]),
        service("vault", &[9002]),
        service("db", &[9003]),
        to("HTTPRoute", "web", "web", "cart"),
        to("HTTPRoute", "secret", "secret", "cart"),
        to("TLSRoute", "vault", "pass", "vault"),
        to("TCPRoute", "db", "db", "db"),
    ])
}

#[test]
fn connections_are_explained() {
    let inputs = every_listener();
    let ask = |url: &str| {
        let snapshot = Compiler::new(edge()).compile(&inputs, None).unwrap();
        let request = Request::connection(url).unwrap();
        explain(&snapshot, &request, &mut SmallRng::seed_from_u64(3))
    };
    let sent = |url: &str| {
        let explanation = ask(url);
        let [entrance] = &*explanation.entrances else { panic!("{explanation}") };
        let forwarded = explanation.forwarded().unwrap_or_else(|| panic!("{explanation}"));
        (entrance.section.clone().unwrap(), forwarded.rule.clone(), forwarded.service.clone())
    };
    let of =
        |section: &str, rule: &str, service: &str| (section.to_owned(), rule.to_owned(), service.to_owned());
    assert_eq!(sent("tcp://127.0.0.1:5432"), of("Gateway/edge:db", "TCPRoute/db", "db"));
    assert_eq!(sent("tls://vault.example"), of("Gateway/edge:pass", "TLSRoute/vault", "vault"));
    assert_eq!(sent("tls://vault.example:8443"), of("Gateway/edge:pass", "TLSRoute/vault", "vault"));
    assert!(ask("tcp://127.0.0.1:5432").to_string().starts_with("tcp://127.0.0.1   (revision"));
    let closed = |url: &str, part: &str| {
        let explanation = ask(url);
        let Outcome::Closed { reason } = &explanation.entrances[0].outcome else { panic!("{explanation}") };
        assert!(reason.contains(part), "{url}: {reason}");
    };
    closed("tls://shop.example:8443", "ask for GET https://shop.example/");
    closed("tls://elsewhere:8443", "no listener of this port is for the name `elsewhere`");
    closed("tcp://127.0.0.1:8443", "TLS is expected there");
    closed("tcp://127.0.0.1:8080", "requests are expected there");
    let front = Role::Sidecar { service: ServiceRef::new("default", "front") };
    let snapshot = Compiler::new(front).compile(&inputs, None).unwrap();
    let request = Request::connection("tcp://db:5432").unwrap();
    let explanation = explain(&snapshot, &request, &mut SmallRng::seed_from_u64(3));
    assert_eq!(explanation.forwarded().unwrap().rule, "Service/db");
}

#[test]
fn the_scheme_chooses_the_listener() {
    let inputs = every_listener();
    let section = |url: &str| {
        let explanation = ask(&inputs, edge(), "GET", url, &[]);
        let [entrance] = &*explanation.entrances else { panic!("{explanation}") };
        (entrance.section.clone(), explanation.remarks.clone())
    };
    let of = |section: &str| Some(format!("Gateway/edge:{section}"));
    assert_eq!(section("http://a.example/"), (of("web"), vec![]));
    assert_eq!(section("https://a.example/"), (of("secret"), vec![]));
    assert_eq!(section("https://a.example:8443/"), (of("secret"), vec![]));
    let clear = "TLS is spoken there; this is what becomes of the same request by https".to_owned();
    assert_eq!(section("http://a.example:8443/"), (of("secret"), vec![clear]));
}

#[test]
fn routes_that_others_exclude_are_told() {
    let call = json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "cart"}]}]});
    let inputs = inputs([
        gateway("edge"),
        service("cart", &[9001]),
        route("a", json!([{"name": "edge"}]), "cart"),
        resource("GRPCRoute", "b", call),
    ]);
    let explanation = ask(&inputs, edge(), "GET", "http://h:8080/", &[]);
    assert_eq!(
        explanation.remarks,
        [
            "GRPCRoute/b does not count at Gateway/edge:web: HTTPRoute/a comes first and has hosts in common with it"
        ]
    );
}

#[test]
fn the_name_that_tls_asks_for_counts_first() {
    let tls = json!({"certificateRefs": [{"name": "c"}]});
    let listeners = json!([
        {"name": "a", "port": 8443, "protocol": "HTTPS", "hostname": "a.example", "tls": tls},
        {"name": "b", "port": 8443, "protocol": "HTTPS", "hostname": "b.example", "tls": tls},
        {"name": "pass", "port": 8443, "protocol": "TLS", "hostname": "p.example", "tls": {"mode": "Passthrough"}},
    ]);
    let inputs = inputs([
        resource("Gateway", "edge", json!({"listeners": listeners})),
        service("cart", &[9001]),
        route("all", json!([{"name": "edge"}]), "cart"),
    ]);
    let outcome = |url: &str, headers: &[&str]| {
        let explanation = ask(&inputs, edge(), "GET", url, headers);
        explanation.entrances.into_iter().next().unwrap().outcome
    };
    assert!(matches!(outcome("https://a.example/", &[]), Outcome::Forward(_)));
    let Outcome::Refused { status: 421, reason } = outcome("https://a.example/", &["Host: b.example"]) else {
        panic!("not misdirected")
    };
    assert!(reason.contains("`b.example` belongs to another listener"), "{reason}");
    let closed = |url: &str, part: &str| match outcome(url, &[]) {
        Outcome::Closed { reason } => assert!(reason.contains(part), "{url}: {reason}"),
        other => panic!("{other:?}"),
    };
    closed("https://p.example/", "ask for tls://p.example");
    closed("https://c.example/", "unrecognized_name");
    closed("https://127.0.0.1:8443/", "no listener of this port is for no name");
}
