use serde_json::json;
use weir_model::Spec;

use super::*;

fn document(kind: &str, name: &str, spec: &Value) -> Arc<ResourceEntry> {
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
    Effective::of(Arc::new(ResourceSet::new(documents)), 7, read)
}

/// The spec of a document that was made.
fn spec(of: &Effective, kind: Kind, name: &str) -> Value {
    let entry = of.resources.get(&ResourceId::new(kind, "default", name));
    let entry = entry.unwrap_or_else(|| panic!("no {kind} {name}: {:?}", of.ignored));
    match &entry.resource.spec {
        Spec::HttpRoute(spec) => serde_json::to_value(spec).unwrap(),
        Spec::TcpRoute(spec) => serde_json::to_value(spec).unwrap(),
        Spec::TrafficPolicy(spec) => serde_json::to_value(spec).unwrap(),
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
    effective(&[("service-resolver", "a", to("b")), ("service-resolver", "b", to("a"))], Vec::new());
}

#[test]
fn who_fails_over_has_tiers() {
    let resolver = json!({"Failover": {"*": {"Targets": [{"Service": "spare"}, {"Datacenter": "dc2"}]}}});
    let made = effective(&[("service-resolver", "web", resolver)], Vec::new());
    let derived = &made.derived[&ServiceRef::new("default", "_failover_.web")];
    let tiers: Vec<&str> = derived.tiers.iter().map(|tier| &*tier.service.name).collect();
    assert_eq!(tiers, ["web", "spare"]);
    assert!(made.ignored[0].reason.contains("other datacenters"), "{:?}", made.ignored);
}

#[test]
fn a_subset_that_is_not_there_is_said_and_empty() {
    let made = effective(
        &[("service-splitter", "web", json!({"Splits": [{"Weight": 100.0, "ServiceSubset": "v9"}]}))],
        Vec::new(),
    );
    assert_eq!(made.derived[&ServiceRef::new("default", "_v9.web")].tiers.len(), 0);
    assert!(made.ignored[0].reason.contains("no subset \"v9\""), "{:?}", made.ignored);
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
    // A declared policy holds for subsets of its service too.
    let made = effective(&[resolver], documents().split_off(1));
    let targets = &spec(&made, Kind::TrafficPolicy, "mine")["targetRefs"];
    let names: Vec<&str> =
        targets.as_array().unwrap().iter().filter_map(|target| target["name"].as_str()).collect();
    assert_eq!(names, ["web", "_v1.web", "_v2.web"]);
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
    assert_eq!(made.entries.protocol(&ServiceRef::new("default", "web")), Some(Protocol::Tcp));
}

#[test]
fn names_that_no_document_has_are_written_otherwise() {
    let service = ServiceRef::new("default", "My_Web");
    let name = routes::metadata("service-router/My_Web", &service).name;
    assert_eq!(name, "service-router.x4d795f576562");
}

#[test]
fn what_cannot_be_carried_out_is_refused() {
    let judged = |content: Value| {
        let Value::Object(content) = content else { panic!("no object") };
        judge("service-router", "default", "web", &content).err().map(|refusal| refusal.message)
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
        assert_eq!(ignored_fields(kind, &content), expect);
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
        "service-resolver",
        json!({"Failover": {"*": {"Service": "a", "Datacenters": ["dc2"]}},
        "LoadBalancer": {"Policy": "ring_hash", "RingHashConfig": {"MinimumRingSize": 9}}}),
        &["Failover.*.Datacenters", "LoadBalancer.RingHashConfig"],
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
