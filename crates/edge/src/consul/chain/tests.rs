use serde_json::json;
use weir_control::catalog::Endpoint;
use weir_model::Spec;
use weir_model::registry::{Address, Health};
use weir_model::resource::Protocol;

use super::*;

pub(super) fn document(kind: &str, name: &str, spec: &Value) -> Arc<ResourceEntry> {
    let document = json!({"kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec});
    let text = serde_json::to_string(&document).unwrap();
    let parsed = weir_model::document::parse("test", &text).unwrap();
    let resource = parsed.documents.into_iter().next().unwrap().resource;
    Arc::new(ResourceEntry { resource, created_in: 1, changed_in: 1 })
}

fn effective(entries: &[(&str, &str, Value)], documents: Vec<Arc<ResourceEntry>>) -> Effective {
    let mut read = Entries::default();
    for (kind, name, content) in entries {
        read.add(kind, ServiceRef::new("default", *name), content).unwrap();
    }
    Effective::of(Arc::new(ResourceSet::new(documents)), 7, read, "dc1")
}

/// The spec of a document that was made.
fn spec(of: &Effective, kind: Kind, name: &str) -> Value {
    let entry = of.resources.get(&ResourceId::new(kind, "default", name));
    let entry = entry.unwrap_or_else(|| panic!("no {kind} {name}: {:?}", of.ignored));
    match &entry.resource.spec {
        Spec::HttpRoute(spec) => serde_json::to_value(spec).unwrap(),
        Spec::TcpRoute(spec) => serde_json::to_value(spec).unwrap(),
        Spec::TrafficPolicy(spec) => serde_json::to_value(spec).unwrap(),
        Spec::RateLimit(spec) => serde_json::to_value(spec).unwrap(),
        Spec::Service(spec) => serde_json::to_value(spec).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Where a rule sends requests: names and weights.
fn backends(rule: &Value) -> Vec<(&str, u64)> {
    let refs = rule["backendRefs"].as_array().unwrap().iter();
    refs.map(|one| (one["name"].as_str().unwrap(), one["weight"].as_u64().unwrap())).collect()
}

fn versions() -> (&'static str, &'static str, Value) {
    let subset = |version: &str| json!({"Filter": format!("Service.Meta.version == {version}")});
    let subsets = json!({"v1": subset("v1"), "v2": subset("v2")});
    ("service-resolver", "web", json!({"DefaultSubset": "v1", "Subsets": subsets}))
}

#[test]
fn without_entries_the_documents_are_as_they_are() {
    let made = effective(&[], vec![document("Service", "web", &json!({}))]);
    assert!(Arc::ptr_eq(&made.documents, &made.resources));
    assert_eq!((made.ignored.len(), made.derived.len()), (0, 0));
}

#[test]
fn a_router_becomes_a_route_in_its_own_order() {
    let router = json!({"Routes": [
        {"Match": {"HTTP": {"PathPrefix": "/admin", "Methods": ["GET", "POST"]}},
         "Destination": {"Service": "admin", "PrefixRewrite": "/", "RequestTimeout": "3s", "NumRetries": 2,
            "RetryOnStatusCodes": [503], "RequestHeaders": {"Set": {"X-From": "web"}, "Remove": ["X-Debug"]}}},
        {"Match": {"HTTP": {"PathExact": "/beta", "Header": [{"Name": "x-beta", "Present": true},
            {"Name": "x-user", "Prefix": "a.b"}], "QueryParam": [{"Name": "on", "Exact": "1"}]}},
         "Destination": {"ServiceSubset": "v2", "PrefixRewrite": "/new"}},
        {"Match": {"HTTP": {"PathRegex": "/x/[0-9]+", "CaseInsensitive": true}}},
    ]});
    let made = effective(&[("service-router", "web", router), versions()], Vec::new());
    let route = spec(&made, Kind::HttpRoute, "service-router.web");
    assert_eq!(route["ruleOrder"], "Written");
    assert_eq!(route["parentRefs"], json!([{"kind": "Service", "name": "web"}]));
    let rules = route["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 4);
    assert_eq!(rules[0]["matches"].as_array().unwrap().len(), 2);
    assert_eq!(rules[0]["matches"][1]["method"], "POST");
    assert_eq!(rules[0]["matches"][0]["path"], json!({"type": "PathPrefix", "value": "/admin"}));
    assert_eq!(rules[0]["timeouts"], json!({"request": "3s"}));
    assert_eq!(
        rules[0]["filters"],
        json!([
            {"type": "RequestHeaderModifier", "requestHeaderModifier":
                {"set": [{"name": "X-From", "value": "web"}], "remove": ["X-Debug"]}},
            {"type": "URLRewrite", "urlRewrite":
                {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}},
        ])
    );
    assert_eq!(backends(&rules[0]), [("admin", 1_000_000)]);
    assert_eq!(backends(&rules[1]), [("_v2.web", 1_000_000)]);
    assert_eq!(rules[1]["filters"][0]["urlRewrite"]["path"]["replaceFullPath"], "/new");
    let headers = json!([{"type": "RegularExpression", "name": "x-beta", "value": ".*"},
        {"type": "RegularExpression", "name": "x-user", "value": "a\\.b.*"}]);
    assert_eq!(rules[1]["matches"][0]["headers"], headers);
    assert_eq!(rules[1]["matches"][0]["queryParams"], json!([{"type": "Exact", "name": "on", "value": "1"}]));
    assert_eq!(rules[2]["matches"][0]["path"]["value"], "(?i)/x/[0-9]+");
    assert_eq!(
        backends(&rules[3]),
        [("_v1.web", 1_000_000)],
        "what no route takes goes to the default subset"
    );
    let retry = spec(&made, Kind::TrafficPolicy, "service-router.web.route-0");
    assert_eq!(retry["retry"], json!({"attempts": 2, "statuses": [503]}));
    assert_eq!(retry["targetRefs"][0]["sectionName"], "route-0");
    assert_eq!(made.ignored, []);
    assert_eq!(made.derived.len(), 2);
}

#[test]
fn conditions_of_retries_become_statuses() {
    let check = |conditions: &[&str], expect: Option<Value>| {
        let router = json!({"Routes": [{"Destination": {"RetryOn": conditions}}]});
        let made = effective(&[("service-router", "web", router)], Vec::new());
        assert_eq!(made.ignored, []);
        let id = ResourceId::new(Kind::TrafficPolicy, "default", "service-router.web.route-0");
        assert_eq!(made.resources.get(&id).is_some(), expect.is_some(), "{conditions:?}");
        if let Some(expect) = expect {
            assert_eq!(spec(&made, Kind::TrafficPolicy, &id.name)["retry"], expect, "{conditions:?}");
        }
    };
    let statuses = |statuses: &[u16]| Some(json!({"attempts": 1, "statuses": statuses}));
    check(&["5xx", "gateway-error"], statuses(&[500, 502, 503, 504]));
    check(&["retriable-4xx"], statuses(&[409]));
    let calls = ["CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE"];
    check(
        &["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable", "unavailable"],
        Some(json!({"attempts": 1, "grpcStatuses": calls})),
    );
    // These are retried anyhow.
    check(&["reset", "connect-failure", "refused-stream"], None);
}

#[test]
fn splits_are_divided_further_where_they_lead() {
    let web = json!({"Splits": [
        {"Weight": 90.0, "ServiceSubset": "v1"},
        {"Weight": 10.0, "Service": "next", "RequestHeaders": {"Set": {"X-Canary": "1"}}},
    ]});
    let next = json!({"Splits": [{"Weight": 50.0}, {"Weight": 50.0, "Service": "other"}]});
    let entries = [("service-splitter", "web", web), ("service-splitter", "next", next), versions()];
    let made = effective(&entries, Vec::new());
    let route = spec(&made, Kind::HttpRoute, "service-splitter.web");
    let rule = &route["rules"][0];
    assert_eq!(backends(rule), [("_v1.web", 900_000), ("next", 50_000), ("other", 50_000)]);
    assert_eq!(rule["backendRefs"][2]["filters"][0]["requestHeaderModifier"]["set"][0]["name"], "X-Canary");
}

#[test]
fn redirects_are_followed_and_end() {
    let to = |service: &str| json!({"Redirect": {"Service": service}});
    let entries = [("service-resolver", "a", to("b")), ("service-resolver", "b", to("web")), versions()];
    let made = effective(&entries, Vec::new());
    let route = spec(&made, Kind::HttpRoute, "service-resolver.a");
    assert_eq!(backends(&route["rules"][0]), [("_v1.web", 1_000_000)]);
    // What leads nowhere does not count.
    let round = [("service-resolver", "a", to("b")), ("service-resolver", "b", to("a"))];
    let made = effective(&round, Vec::new());
    assert!(Arc::ptr_eq(&made.documents, &made.resources));
    let entries: Vec<&str> = made.ignored.iter().map(|one| &*one.entry).collect();
    assert_eq!(entries, ["service-resolver/a", "service-resolver/b"]);
}

/// What a service without instances speaks, and who says so.
fn spoken(of: &Effective, service: &str) -> (Protocol, String) {
    let stated = of.protocol(&ServiceRef::new("default", service), &[]);
    stated.map(|stated| (stated.protocol, stated.from)).unwrap_or_default()
}

#[test]
fn what_a_service_speaks_and_who_says_so() {
    let all = ("proxy-defaults", "global", json!({"Config": {"protocol": "http2"}}));
    let own = ("service-defaults", "web", json!({"Protocol": "grpc"}));
    let said = |protocol, from: &str| (protocol, from.to_owned());
    let by_all = said(Protocol::Http2, "config entry proxy-defaults/global");
    let by_own = said(Protocol::Grpc, "config entry service-defaults/web");
    let by_document = said(Protocol::Tcp, "Service/web");
    assert_eq!(spoken(&effective(&[], Vec::new()), "web"), said(Protocol::Http, ""));
    assert_eq!(spoken(&effective(std::slice::from_ref(&all), Vec::new()), "web"), by_all);
    let both = [all, own];
    assert_eq!(spoken(&effective(&both, Vec::new()), "web"), by_own);
    // A document that says nothing of it leaves it to entries, whatever endpoints it has.
    let endpoints = json!({"endpoints": [{"address": "127.0.0.1", "port": 1}]});
    let made = effective(&both, vec![document("Service", "web", &endpoints)]);
    assert_eq!(spoken(&made, "web"), by_own);
    let made = effective(&both, vec![document("Service", "web", &json!({"protocol": "tcp"}))]);
    assert_eq!((spoken(&made, "web"), spoken(&made, "other")), (by_document, by_all.clone()));
    // What is derived of a service speaks as that does.
    let mut failing = both.to_vec();
    failing.push(("service-resolver", "web", json!({"Failover": {"*": {"Service": "spare"}}})));
    failing.push(("service-resolver", "api", json!({"Failover": {"*": {"Service": "spare"}}})));
    let made = effective(&failing, Vec::new());
    assert_eq!(spoken(&made, "_failover_.web"), by_own);
    assert_eq!(spoken(&made, "_failover_.api"), by_all);
    // Instances go before what is said of all services, and after what is said of their own.
    let told = |service: &str| {
        let endpoint = Endpoint {
            id: "n/1".to_owned(),
            address: Address { host: "127.0.0.1".to_owned(), port: 1 },
            inbound: false,
            fixed: false,
            weight: 1,
            health: Health::Passing,
            metadata: [("protocol".to_owned(), "tcp".to_owned())].into(),
            grpc_check: false,
            active_checks: None,
        };
        made.protocol(&ServiceRef::new("default", service), &[endpoint]).unwrap()
    };
    assert_eq!(told("web").protocol, Protocol::Grpc);
    assert_eq!(told("api").from, "instance n/1 (`protocol` in its metadata)");
}

#[test]
fn each_rule_says_by_which_entries_it_leads_where_it_does() {
    let entries = [
        (
            "service-router",
            "web",
            json!({"Routes": [{"Destination": {"Service": "api"}}, {"Destination": {"Service": "plain"}}]}),
        ),
        (
            "service-splitter",
            "web",
            json!({"Splits": [{"Weight": 50, "ServiceSubset": "v2"}, {"Weight": 50, "Service": "other"}]}),
        ),
        versions(),
        ("service-resolver", "api", json!({"Redirect": {"Service": "spare"}})),
        ("service-resolver", "spare", json!({"Failover": {"*": {"Service": "web"}}})),
        ("service-resolver", "plain", json!({"ConnectTimeout": "5s"})),
    ];
    let route = json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "plain"}]}, {"backendRefs": [{"name": "web"}]}]});
    let made = effective(&entries, vec![document("HTTPRoute", "shop", &route)]);
    let ways = |kind, name: &str| {
        let id = ResourceId::new(kind, "default", name);
        (made.ways(&id).iter().map(|way| way.join(",")).collect::<Vec<_>>(), made.made_of(&id).is_some())
    };
    let router = [
        "service-router/web,service-resolver/api,service-resolver/spare",
        "service-router/web",
        "service-router/web,service-splitter/web,service-resolver/web",
    ];
    assert_eq!(ways(Kind::HttpRoute, "service-router.web"), (router.map(str::to_owned).to_vec(), true));
    let gateway = ["", "service-splitter/web,service-resolver/web"];
    assert_eq!(ways(Kind::HttpRoute, "shop"), (gateway.map(str::to_owned).to_vec(), false));
    let connections = ["service-resolver/api,service-resolver/spare"];
    assert_eq!(ways(Kind::TcpRoute, "service-resolver.api"), (connections.map(str::to_owned).to_vec(), true));
    let id = ResourceId::new(Kind::HttpRoute, "default", "shop");
    let told = made.decided_by([&id]);
    assert_eq!(told.keys().collect::<Vec<_>>(), ["HTTPRoute/shop#1"]);
}

#[test]
fn who_fails_over_has_tiers() {
    let resolver = json!({"Failover": {"*": {"Targets": [{"Service": "web"}, {"Service": "spare"}, {"Datacenter": "dc2"}]}}});
    let made = effective(&[("service-resolver", "web", resolver)], Vec::new());
    let derived = &made.derived[&ServiceRef::new("default", "_failover_.web")];
    let tiers: Vec<&str> = derived.tiers.iter().map(|tier| &*tier.service.name).collect();
    assert_eq!(tiers, ["web", "spare"], "nobody fails over to itself");
    assert!(made.ignored[0].reason.contains("other datacenters"), "{:?}", made.ignored);
}

#[test]
fn failover_within_the_own_datacenter_counts() {
    for (failover, expect, is_whole) in [
        (json!({"Service": "spare", "Datacenters": ["dc1"]}), &["web", "spare"][..], true),
        (json!({"Service": "spare", "Datacenters": ["dc2", "dc1"]}), &["web", "spare"], false),
        (json!({"Service": "spare", "Datacenters": ["dc2"]}), &["web"], false),
        (json!({"Targets": [{"Service": "spare", "Datacenter": "dc1"}]}), &["web", "spare"], true),
    ] {
        let resolver = json!({"Failover": {"*": failover}});
        let made = effective(&[("service-resolver", "web", resolver)], Vec::new());
        let derived = &made.derived[&ServiceRef::new("default", "_failover_.web")];
        let tiers: Vec<&str> = derived.tiers.iter().map(|tier| &*tier.service.name).collect();
        assert_eq!((&*tiers, made.ignored.is_empty()), (expect, is_whole), "{failover}");
    }
}

#[test]
fn a_subset_that_is_not_there_is_said_and_empty() {
    let made = effective(
        &[("service-splitter", "web", json!({"Splits": [{"Weight": 100.0, "ServiceSubset": "v9"}]}))],
        Vec::new(),
    );
    assert_eq!(made.derived[&ServiceRef::new("default", "_v9.web")].tiers.len(), 0);
    let Ignored { entry, reason } = &made.ignored[0];
    assert_eq!(entry, "service-splitter/web", "who names it is to blame");
    assert!(reason.starts_with("service \"web\" does not have a subset named \"v9\": "), "{reason}");
}

#[test]
fn what_is_declared_goes_before() {
    let route = json!({"parentRefs": [{"kind": "Service", "name": "web"}], "rules": [{"backendRefs": [{"name": "a"}]}]});
    let policy = json!({"targetRefs": [{"name": "web"}], "timeouts": {"request": "1s"}});
    let mut resolver = versions();
    resolver.2["ConnectTimeout"] = "5s".into();
    let documents =
        || vec![document("HTTPRoute", "mine", &route), document("TrafficPolicy", "mine", &policy)];
    let made = effective(&[resolver.clone()], documents());
    let reasons: Vec<&str> = made.ignored.iter().map(|one| &*one.reason).collect();
    assert!(reasons[0].starts_with("the document HTTPRoute/mine says"), "{reasons:?}");
    assert!(reasons[1].starts_with("the document TrafficPolicy/mine says"), "{reasons:?}");
}

/// What a policy is for.
fn targets(of: &Effective, kind: Kind, name: &str) -> Vec<String> {
    let spec = spec(of, kind, name);
    let targets = spec["targetRefs"].as_array().unwrap().iter();
    targets.map(|target| target["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_declared_for_a_service_holds_for_its_subsets() {
    let policy = |of: &str| json!({"targetRefs": [{"name": of}], "tls": {}, "timeouts": {"request": "1s"}});
    let many: Vec<Value> = (0..254).map(|at| json!({"name": format!("s{at}")})).collect();
    let limit = |targets: &[Value]| {
        let targets = [targets, &[json!({"name": "web"})]].concat();
        json!({"targetRefs": targets, "rates": [{"requests": 1, "per": "1s"}]})
    };
    let documents = vec![
        document("TrafficPolicy", "mine", &policy("web")),
        document("TrafficPolicy", "of-v2", &policy("_v2.web")),
        document("RateLimit", "few", &limit(&[])),
        document("RateLimit", "many", &limit(&many)),
    ];
    let mut resolver = versions();
    resolver.2["ConnectTimeout"] = "5s".into();
    let made = effective(&[resolver], documents);
    assert_eq!(targets(&made, Kind::TrafficPolicy, "mine"), ["web"]);
    assert_eq!(targets(&made, Kind::TrafficPolicy, "service-subsets.web.000"), ["_v1.web"]);
    let copy = spec(&made, Kind::TrafficPolicy, "service-subsets.web.000");
    assert_eq!((&copy["tls"], &copy["timeouts"]), (&json!({}), &json!({"request": "1s"})));
    assert_eq!(targets(&made, Kind::RateLimit, "few"), ["web", "_v1.web", "_v2.web"]);
    assert_eq!(targets(&made, Kind::RateLimit, "many").len(), 256);
    let reasons: Vec<&str> = made.ignored.iter().map(|one| &*one.reason).collect();
    assert!(reasons[0].starts_with("the document TrafficPolicy/mine says"), "{reasons:?}");
    assert!(reasons[1].contains("more than 256 targets"), "{reasons:?}");
}

#[test]
fn a_policy_that_is_in_force_in_part_holds_in_part_for_subsets() {
    let policy =
        json!({"targetRefs": [{"name": "web"}], "tls": {}, "timeouts": {"request": "3s", "perTry": "4s"}});
    let documents = vec![document("TrafficPolicy", "mine", &policy)];
    let in_part = |of: &Resource| validate::remainder(of, &validate::validate(of)).map(|rest| rest.left_out);
    let left_out = Some(vec!["spec.timeouts.perTry".to_owned()]);
    assert_eq!(in_part(&documents[0].resource), left_out);
    let made = effective(&[versions()], documents);
    assert_eq!(targets(&made, Kind::TrafficPolicy, "service-subsets.web.000"), ["_v1.web", "_v2.web"]);
    let copy = ResourceId::new(Kind::TrafficPolicy, "default", "service-subsets.web.000");
    assert_eq!(in_part(&made.resources.get(&copy).unwrap().resource), left_out);
    assert_eq!(spec(&made, Kind::TrafficPolicy, &copy.name)["tls"], json!({}));
    assert_eq!(made.ignored, []);
}

#[test]
fn a_route_of_a_gateway_that_is_in_force_in_part_leads_on() {
    let route = json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "web"}]}]});
    let mut declared = document("HTTPRoute", "shop", &route);
    let labels = (0..=validate::LABELS_MAX).map(|at| (format!("k{at}"), "v".to_owned())).collect();
    Arc::get_mut(&mut declared).unwrap().resource.metadata.labels = labels;
    assert!(!validate::validate(&declared.resource).is_empty(), "it breaks a rule");
    let made = effective(&[versions()], vec![declared]);
    assert_eq!(backends(&spec(&made, Kind::HttpRoute, "shop")["rules"][0]), [("_v1.web", 1_000_000)]);
    assert_eq!(made.ignored, []);
}

/// The spec of a declared route as it counts.
fn led(entries: &[(&str, &str, Value)], route: &Value, more: Vec<Arc<ResourceEntry>>) -> (Effective, Value) {
    let documents = [vec![document("HTTPRoute", "shop", route)], more].concat();
    let made = effective(entries, documents);
    let spec = spec(&made, Kind::HttpRoute, "shop");
    (made, spec)
}

#[test]
fn routes_of_gateways_lead_on() {
    let header = |name: &str| {
        json!({"requestHeaderModifier": {"set": [{"name": name, "value": "1"}]},
        "type": "RequestHeaderModifier"})
    };
    let mut route = json!({"parentRefs": [{"name": "edge"}], "rules": [
        {"name": "mixed", "backendRefs": [
            {"name": "web", "weight": 3, "port": 80, "filters": [header("x-edge")]}, {"name": "plain"}]},
        {"backendRefs": [{"name": "plain", "weight": 7}]},
        {"backendRefs": [{"name": "web", "weight": 0}]},
    ]});
    let splitter = json!({"Splits": [
        {"Weight": 90.0, "ServiceSubset": "v1"},
        {"Weight": 10.0, "ServiceSubset": "v2", "RequestHeaders": {"Set": {"X-Canary": "1"}}}]});
    let router =
        json!({"Routes": [{"Match": {"HTTP": {"PathPrefix": "/"}}, "Destination": {"Service": "other"}}]});
    let entries = [versions(), ("service-splitter", "web", splitter), ("service-router", "web", router)];
    let (made, spec) = led(&entries, &route, Vec::new());
    assert_eq!(made.ignored, []);
    let rules = spec["rules"].as_array().unwrap();
    assert_eq!(backends(&rules[0]), [("_v1.web", 675_000), ("_v2.web", 75_000), ("plain", 250_000)]);
    let refs = &rules[0]["backendRefs"];
    assert_eq!((&refs[0]["port"], &refs[0]["filters"]), (&json!(80), &json!([header("x-edge")])));
    let set = refs[1]["filters"][0]["requestHeaderModifier"]["set"].as_array().unwrap();
    assert_eq!(set.iter().map(|field| &field["name"]).collect::<Vec<_>>(), ["x-edge", "X-Canary"]);
    assert_eq!(backends(&rules[1]), [("plain", 7)], "what entries say nothing of stays as it is written");
    assert_eq!(backends(&rules[2]), [("web", 0)]);

    // A service whose calls a document routes is what it was, and so is a route of the mesh.
    let own = json!({"parentRefs": [{"kind": "Service", "name": "web"}], "rules": [{"backendRefs": [{"name": "a"}]}]});
    let (_, spec) = led(&entries, &route, vec![document("HTTPRoute", "own", &own)]);
    assert_eq!(backends(&spec["rules"][0]), [("web", 3), ("plain", 1)]);
    route["parentRefs"] = json!([{"kind": "Service", "name": "front"}]);
    let (_, spec) = led(&entries, &route, Vec::new());
    assert_eq!(backends(&spec["rules"][0]), [("web", 3), ("plain", 1)]);
}

#[test]
fn routes_of_gateways_fail_over_and_follow_redirects() {
    let route = json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "web"}]}]});
    let failover = json!({"Failover": {"*": {"Service": "spare"}}});
    let (_, spec) = led(&[("service-resolver", "web", failover)], &route, Vec::new());
    assert_eq!(backends(&spec["rules"][0]), [("_failover_.web", 1_000_000)]);
    let redirect = json!({"Redirect": {"Service": "other"}});
    let (_, spec) = led(&[("service-resolver", "web", redirect)], &route, Vec::new());
    assert_eq!(backends(&spec["rules"][0]), [("other", 1_000_000)]);
    let connections =
        json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "web"}]}]});
    let splitter = json!({"Splits": [{"Weight": 100.0, "ServiceSubset": "v2"}]});
    let entries = [versions(), ("service-splitter", "web", splitter)];
    let made = effective(&entries, vec![document("TCPRoute", "shop", &connections)]);
    let spec = self::spec(&made, Kind::TcpRoute, "shop");
    assert_eq!(backends(&spec["rules"][0]), [("_v1.web", 1_000_000)], "connections go by the resolver");
}

#[test]
fn a_rule_of_a_gateway_keeps_within_its_bounds() {
    let splits: Vec<Value> =
        (0..64).map(|at| json!({"Weight": 100.0 / 64.0, "Service": format!("s{at}")})).collect();
    let route = json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "many"}, {"name": "b"}]}]});
    let (made, spec) = led(&[("service-splitter", "many", json!({"Splits": splits}))], &route, Vec::new());
    assert_eq!(backends(&spec["rules"][0]), [("many", 500_000), ("b", 500_000)]);
    let entries: Vec<&str> = made.ignored.iter().map(|one| &*one.entry).collect();
    assert_eq!(entries, ["service-splitter/many"]);
}

#[test]
fn what_is_written_down_keeps_its_zone_and_check_where_it_is_failed_over_to() {
    let spec = json!({"check": {"type": "http", "path": "/up"}, "endpoints": [
        {"address": "10.0.0.1", "port": 80, "zone": "a", "region": "r"},
        {"address": "db.example", "port": 81, "check": {"type": "tcp"}, "weight": 5}]});
    let entry = document("Service", "web", &spec);
    let weir_model::Spec::Service(document) = &entry.resource.spec else { panic!("no service") };
    let told = |address: &str, port: u16| {
        let mut endpoint = weir_control::catalog::Endpoint {
            id: format!("static/{address}:{port}"),
            address: weir_model::registry::Address { host: address.to_owned(), port },
            inbound: false,
            fixed: true,
            weight: 1,
            health: weir_model::registry::Health::Passing,
            metadata: BTreeMap::new(),
            grpc_check: false,
            active_checks: None,
        };
        derived::tell(&mut endpoint, document);
        endpoint
    };
    let first = told("10.0.0.1", 80);
    let zones: Vec<(&str, &str)> = first.metadata.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(zones, [("region", "r"), ("zone", "a")]);
    let kind = |of: &weir_control::catalog::Endpoint| {
        let checks = of.active_checks.as_ref().unwrap();
        serde_json::to_value(&checks.definitions[0].kind).unwrap().to_string()
    };
    assert!(kind(&first).contains("http://10.0.0.1:80/up"), "{}", kind(&first));
    let second = told("db.example", 81);
    assert!(kind(&second).contains("db.example:81"), "{}", kind(&second));
    assert_eq!(second.active_checks.unwrap().weights.passing, 5);
}

#[test]
fn a_policy_holds_for_however_many_subsets() {
    let subsets: serde_json::Map<String, Value> =
        (0..300).map(|at| (format!("v{at}"), json!({"OnlyPassing": true}))).collect();
    let policy = json!({"targetRefs": [{"name": "web"}], "tls": {}});
    let resolver = ("service-resolver", "web", json!({"Subsets": subsets}));
    let made = effective(&[resolver], vec![document("TrafficPolicy", "mine", &policy)]);
    let mut all = targets(&made, Kind::TrafficPolicy, "service-subsets.web.000");
    all.extend(targets(&made, Kind::TrafficPolicy, "service-subsets.web.000.1"));
    assert_eq!((all.len(), made.ignored.len()), (300, 0));
}

#[test]
fn a_route_of_another_namespace_is_for_callers_there() {
    let text = json!({"kind": "HTTPRoute", "metadata": {"name": "theirs", "namespace": "other"}, "spec":
        {"parentRefs": [{"kind": "Service", "name": "web", "namespace": "default"}], "rules": []}});
    let parsed = weir_model::document::parse("test", &text.to_string()).unwrap();
    let resource = parsed.documents.into_iter().next().unwrap().resource;
    let made =
        effective(&[versions()], vec![Arc::new(ResourceEntry { resource, created_in: 1, changed_in: 1 })]);
    spec(&made, Kind::HttpRoute, "service-resolver.web");
    assert_eq!(made.ignored, []);
}

#[test]
fn small_entries_make_no_large_document() {
    let set: serde_json::Map<String, Value> =
        (0..16).map(|at| (format!("x-{at}"), Value::from("v".repeat(40)))).collect();
    let splits: Vec<Value> =
        (0..64).map(|_| json!({"Weight": 100.0 / 64.0, "RequestHeaders": {"Set": set}})).collect();
    let routes: Vec<Value> = (0..1023)
        .map(|at| json!({"Match": {"HTTP": {"PathExact": format!("/{at}")}}, "Destination": {"Service": "many"}}))
        .collect();
    let entries = [
        ("service-router", "web", json!({"Routes": routes})),
        ("service-splitter", "many", json!({"Splits": splits})),
    ];
    let made = effective(&entries, Vec::new());
    let route = spec(&made, Kind::HttpRoute, "service-router.web");
    let rules = route["rules"].as_array().unwrap();
    assert_eq!((rules.len(), backends(&rules[0]).len()), (1024, 64));
    assert_eq!(
        backends(&rules[1000]),
        [("many", 1_000_000)],
        "what has no room goes to the service undivided"
    );
    assert!(route.to_string().len() < 3 << 20, "{}", route.to_string().len());
    let entries: Vec<&str> = made.ignored.iter().map(|one| &*one.entry).collect();
    assert_eq!(entries, ["service-splitter/many"]);

    let methods: Vec<String> = (0..2000).map(|at| format!("M{at}")).collect();
    let header = json!([{"Name": "a", "Exact": "x".repeat(60_000)}]);
    let router = json!({"Routes": [{"Match": {"HTTP": {"Header": header, "Methods": methods}}}]});
    let made = effective(&[("service-router", "web", router)], Vec::new());
    assert!(made.ignored[0].reason.contains("more than 4194304 bytes"), "{:?}", made.ignored);
}

#[test]
fn splitters_that_are_too_many_together_count_as_far_as_there_is_room() {
    let splits = |to: &dyn Fn(usize) -> String, count: usize| {
        let split = |at| json!({"Weight": 100.0 / count as f64, "Service": to(at)});
        json!({"Splits": (0..count).map(split).collect::<Vec<_>>()})
    };
    let header = |name: &str, value: &str| json!({"Set": {name: value}});
    let mut web = splits(&|at| format!("next{at}"), 2);
    web["Splits"][0]["RequestHeaders"] = header("X-From", "web");
    let mut first = splits(&|at| format!("a{at}"), 40);
    first["Splits"][0]["RequestHeaders"] = header("x-from", "next");
    let entries = [
        ("service-splitter", "web", web),
        ("service-splitter", "next0", first),
        ("service-splitter", "next1", splits(&|at| format!("b{at}"), 40)),
    ];
    let made = effective(&entries, Vec::new());
    let route = spec(&made, Kind::HttpRoute, "service-splitter.web");
    let shares = backends(&route["rules"][0]);
    assert_eq!((shares.len(), shares[0].0, shares[40]), (41, "a0", ("next1", 500_000)));
    let set = |at: usize| {
        route["rules"][0]["backendRefs"][at]["filters"][0]["requestHeaderModifier"]["set"].clone()
    };
    assert_eq!(set(0), json!([{"name": "x-from", "value": "next"}]), "what is nearer to the instance counts");
    assert_eq!(set(1), json!([{"name": "X-From", "value": "web"}]));
    assert_eq!(made.ignored.len(), 1);
    assert_eq!(made.ignored[0].entry, "service-splitter/next1");
}

#[test]
fn what_would_send_requests_elsewhere_does_not_count() {
    let inverted = json!({"Routes": [{"Match": {"HTTP": {"Header": [{"Name": "a", "Exact": "1", "Invert": true}]}},
        "Destination": {"Service": "other"}}]});
    let made = effective(&[("service-router", "web", inverted)], Vec::new());
    assert!(Arc::ptr_eq(&made.documents, &made.resources));
    assert!(made.ignored[0].reason.contains("Routes[0].Match.HTTP.Header[0].Invert"), "{:?}", made.ignored);
    let redirect = |field: &str, value: &str| {
        let content = json!({"Redirect": {"Service": "other", field: value}});
        let made = effective(&[("service-resolver", "web", content.clone())], Vec::new());
        let Value::Object(content) = content else { panic!("no object") };
        let refused = judge("service-resolver", "default", "web", &content, "dc1").is_err();
        assert_eq!((made.resources.is_empty(), !made.ignored.is_empty()), (refused, refused));
        refused
    };
    assert!(redirect("Peer", "p"));
    assert!(redirect("Datacenter", "dc2"));
    assert!(!redirect("Datacenter", "dc1"));
}

#[test]
fn a_resolver_says_how_a_service_and_its_subsets_are_called() {
    let mut resolver = versions();
    resolver.2["ConnectTimeout"] = "2s".into();
    resolver.2["RequestTimeout"] = "1m30s".into();
    resolver.2["LoadBalancer"] = json!({"Policy": "maglev", "HashPolicies": [{"Field": "header", "FieldValue": "x-user"},
        {"SourceIP": true}]});
    let made = effective(&[resolver], Vec::new());
    let policy = spec(&made, Kind::TrafficPolicy, "service-resolver.web");
    assert_eq!(policy["timeouts"], json!({"connect": "2s", "request": "90s"}));
    let hash = json!([{"type": "header", "name": "x-user"}, {"type": "sourceAddress"}]);
    assert_eq!(policy["balance"], json!({"policy": "maglev", "hash": hash}));
    assert_eq!(policy["targetRefs"].as_array().unwrap().len(), 3);
    assert_eq!(made.ignored, []);
}

#[test]
fn a_service_that_speaks_tcp_has_a_route_of_connections() {
    let defaults = ("service-defaults", "web", json!({"Protocol": "tcp"}));
    let made = effective(&[defaults, versions()], Vec::new());
    let route = spec(&made, Kind::TcpRoute, "service-resolver.web");
    assert_eq!(route["rules"][0]["backendRefs"][0]["name"], "_v1.web");
    assert!(
        made.resources.get(&ResourceId::new(Kind::HttpRoute, "default", "service-resolver.web")).is_none()
    );
}

#[test]
fn a_service_of_which_nothing_is_said_has_routes_of_both() {
    let defaults = ("proxy-defaults", "global", json!({"Config": {"protocol": "tcp"}}));
    let router = ("service-router", "web", json!({"Routes": [{"Match": {"HTTP": {"PathPrefix": "/a"}}}]}));
    let made = effective(&[defaults, router, versions()], Vec::new());
    let route = spec(&made, Kind::TcpRoute, "service-router.web");
    assert_eq!(route["rules"][0]["backendRefs"][0]["name"], "_v1.web");
    spec(&made, Kind::HttpRoute, "service-router.web");
    // It would be refused now; kept, it counts for those that speak something else.
    assert!(made.ignored[0].reason.contains("does not permit advanced routing"), "{:?}", made.ignored);
    assert_eq!(made.ignored.len(), 1);
    assert_eq!(made.entries.protocol(&ServiceRef::new("default", "web")), None);
}

#[test]
fn names_that_no_document_has_are_written_otherwise() {
    let written = |name: &str| {
        let name = routes::metadata("service-router/x", &ServiceRef::new("default", name)).name;
        assert!(weir_model::names::subdomain(&name).is_ok(), "{name}");
        name
    };
    assert_eq!(written("web"), "service-router.web");
    assert_eq!(written("My_Web"), "service-router.x-4d795f576562");
    let long = |last: &str| written(&format!("{}_{last}", "a".repeat(40)));
    assert_ne!(long("a"), long("b"));
    assert_ne!(written(&"a".repeat(200)), written(&"a".repeat(201)));
    assert_ne!(written("x-4d795f576562"), written("My_Web"));
}

#[test]
fn what_cannot_be_carried_out_is_refused() {
    let judged = |content: Value| {
        let Value::Object(content) = content else { panic!("no object") };
        judge("service-router", "default", "web", &content, "dc1").err().map(|refusal| refusal.message)
    };
    let header = json!({"Name": "a", "Exact": "1"});
    let twice = json!({"Routes": [{"Match": {"HTTP": {"Header": [header, header]}}}]});
    let reason = judged(twice).unwrap();
    assert!(reason.starts_with(UNFIT) && reason.contains("headers[1].name"), "{reason}");
    assert_eq!(judged(json!({"Routes": [{"Match": {"HTTP": {"PathPrefix": "/a"}}}]})), None);
}

#[test]
fn fields_that_count_for_nothing_are_named() {
    let check = |kind: &str, content: Value, expect: &[&str]| {
        let Value::Object(content) = content else { panic!("no object") };
        assert_eq!(ignored_fields(kind, &content, "dc1"), expect);
    };
    check(
        "service-defaults",
        json!({"Protocol": "http", "MaxInboundConnections": 7, "Expose": {"Checks": false}}),
        &["MaxInboundConnections"],
    );
    check(
        "service-router",
        json!({"Routes": [{"Destination": {"Service": "a", "IdleTimeout": "1s"}}]}),
        &["Routes[0].Destination.IdleTimeout"],
    );
    check(
        "service-router",
        json!({"Routes": [{"Destination": {"RetryOn": ["reset", "envoy-ratelimited", "unavailable"]}}]}),
        &["Routes[0].Destination.RetryOn[1]"],
    );
    check(
        "service-resolver",
        json!({"Failover": {"*": {"Service": "a", "Datacenters": ["dc2"]}},
        "LoadBalancer": {"Policy": "ring_hash", "RingHashConfig": {"MinimumRingSize": 9}}}),
        &["LoadBalancer.RingHashConfig", "Failover.*"],
    );
    check(
        "service-resolver",
        json!({"Failover": {
            "a": {"Datacenters": ["dc2", "dc1"]},
            "b": {"Service": "spare", "Datacenters": ["dc1"]},
            "c": {"Targets": [{"Service": "spare", "Datacenter": "dc1"}, {"Datacenter": "dc2"}, {"Peer": "p"}]},
        }}),
        &["Failover.a.Datacenters[0]", "Failover.c.Targets[1]", "Failover.c.Targets[2]"],
    );
    check("service-intentions", json!({"Sources": [{"Name": "*", "Action": "deny"}]}), &["Sources"]);
    check("proxy-defaults", json!({"Config": {"protocol": "http", "x": 1}}), &["Config.x"]);
}

fn split() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    proptest::collection::vec(prop_oneof!["a", "b", "c", "d", ""], 1..4).prop_map(|to| {
        let weight = 100.0 / to.len() as f64;
        let splits: Vec<Value> =
            to.into_iter().map(|service| json!({"Weight": weight, "Service": service})).collect();
        json!({"Splits": splits})
    })
}

proptest::proptest! {
    /// However entries lead to each other, each rule divides all of its requests, or is said to be left out.
    #[test]
    fn whatever_leads_where_ends(
        splitters in proptest::collection::btree_map("[abcd]", split(), 0..4),
        redirects in proptest::collection::btree_map("[abcd]", "[abcd]", 0..4),
    ) {
        let mut entries: Vec<(&str, &str, Value)> = Vec::new();
        for (name, splitter) in &splitters {
            entries.push(("service-splitter", name, splitter.clone()));
        }
        for (name, to) in &redirects {
            entries.push(("service-resolver", name, json!({"Redirect": {"Service": to}})));
        }
        let made = effective(&entries, Vec::new());
        for name in splitters.keys() {
            let id = ResourceId::new(Kind::HttpRoute, "default", format!("service-splitter.{name}"));
            if made.resources.get(&id).is_none() {
                let entry = format!("service-splitter/{name}");
                proptest::prop_assert!(made.ignored.iter().any(|one| one.entry == entry));
                continue;
            }
            let route = spec(&made, Kind::HttpRoute, &id.name);
            let all: u64 = backends(&route["rules"][0]).iter().map(|(_, weight)| weight).sum();
            proptest::prop_assert!((999_900..=1_000_100).contains(&all), "{all}");
        }
    }
}
