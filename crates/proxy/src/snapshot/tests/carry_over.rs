use weir_policy::balance::{Balancer, Query, Tried};

use super::*;

fn upstream<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Arc<Upstream> {
    snapshot.upstream_of(&ServiceRef::new("default", name)).unwrap()
}

fn shop() -> Inputs {
    let inputs = inputs([gateway("edge"), route("r", json!([{"name": "edge"}]), "cart")]);
    let inputs = with_registered(inputs, "cart", true, &[endpoint("a/1", 9001), endpoint("a/2", 9002)]);
    with_registered(inputs, "mail", true, &[endpoint("a/3", 9003)])
}

#[test]
fn live_state_follows_an_endpoint_and_dies_with_it() {
    let before = compiler().compile(&shop(), None).unwrap();
    upstream(&before, "cart").endpoints[0].state.begin();
    upstream(&before, "cart").endpoints[1].state.mark_failed();

    let mut moved = endpoint("a/2", 9002);
    moved.port = 9999;
    let mut changed = endpoint("a/1", 9001);
    changed.weight = 7;
    let after = with_registered(shop(), "cart", true, &[changed, moved]);
    let after = compiler().compile(&after, Some(&before)).unwrap();
    let cart = upstream(&after, "cart");
    assert_eq!(cart.endpoints[0].weight, 7);
    assert_eq!(cart.endpoints[0].state.in_flight(), 1, "the same endpoint keeps its state");
    assert!(!cart.endpoints[1].state.is_avoided(), "another address is another endpoint");
    assert_eq!(cart.state.key(), upstream(&before, "cart").state.key());
}

#[test]
fn what_did_not_change_is_shared() {
    let inputs = shop();
    let before = compiler().compile(&inputs, None).unwrap();
    let inputs = with_registered(inputs, "cart", true, &[endpoint("a/1", 9001)]);
    let after = compiler().compile(&inputs, Some(&before)).unwrap();
    assert!(Arc::ptr_eq(&before.listeners[0].routes, &after.listeners[0].routes));
    assert!(Arc::ptr_eq(upstream(&before, "mail"), upstream(&after, "mail")));
    assert!(!Arc::ptr_eq(upstream(&before, "cart"), upstream(&after, "cart")));
    assert_eq!(upstream(&after, "cart").endpoints.len(), 1);
}

#[test]
fn a_verdict_takes_the_place_of_what_was_told_and_touches_no_other_service() {
    use weir_model::registry::{ActiveChecks, CheckDefinition, CheckKind, Weights};
    let definition: CheckDefinition = CheckDefinition {
        kind: CheckKind::Tcp { address: "127.0.0.1:9001".to_owned() },
        interval: weir_model::units::Span(std::time::Duration::from_secs(1)),
        timeout: weir_model::units::Span(std::time::Duration::from_secs(1)),
        successes_before_passing: 0,
        failures_before_critical: 0,
        failures_before_warning: 0,
        deregister_after: None,
    };
    let weights = Weights { passing: 5, warning: 2 };
    let checks = Arc::new(ActiveChecks { others: Health::Passing, weights, definitions: vec![definition] });
    let checked = |id: &str, port, health| {
        let mut endpoint = endpoint(id, port);
        (endpoint.health, endpoint.weight, endpoint.active_checks) = (health, 5, Some(Arc::clone(&checks)));
        endpoint
    };
    let told = [checked("a/1", 9001, Health::Passing), checked("a/2", 9002, Health::Critical)];
    let inputs = with_registered(shop(), "cart", true, &told);
    let before = compiler().compile(&inputs, None).unwrap();
    assert_eq!(*upstream(&before, "cart").selected().candidates, [0]);
    let mut verdicts = Verdicts::default();
    let cart = ServiceRef::new("default", "cart");
    let mut judge = |id: &str, health| {
        let verdict = Verdict { health, since: weir_policy::Nanos(1) };
        verdicts.set(&cart, &id.into(), Some(verdict));
        Compiler { verdicts: Arc::new(verdicts.clone()), ..compiler() }
    };
    judge("a/1", Health::Critical);
    let compiler = judge("a/2", Health::Warning);
    let after = compiler.compile(&inputs, Some(&before)).unwrap();
    let endpoints = &upstream(&after, "cart").endpoints;
    assert_eq!(*upstream(&after, "cart").selected().candidates, [1]);
    assert_eq!((endpoints[1].health, endpoints[1].weight), (Health::Warning, 2));
    assert_eq!(endpoints[1].checked.told, Some(Health::Critical));
    assert_eq!(endpoints[0].state.key(), upstream(&before, "cart").endpoints[0].state.key());
    assert!(Arc::ptr_eq(upstream(&before, "mail"), upstream(&after, "mail")));
    // The same verdicts again make nothing anew; without them the registry's word counts.
    let again = compiler.compile(&inputs, Some(&after)).unwrap();
    assert!(Arc::ptr_eq(upstream(&again, "cart"), upstream(&after, "cart")));
    let back = super::compiler().compile(&inputs, Some(&again)).unwrap();
    assert_eq!(*upstream(&back, "cart").selected().candidates, [0]);
}

#[test]
fn what_is_written_down_is_checked_where_it_is_and_over_tls_only_connected_to() {
    use weir_model::registry::CheckKind;
    let spec = json!({"check": {"type": "http", "path": "/up"}, "endpoints": [
        {"address": "127.0.0.1", "port": 1}, {"address": "127.0.0.1", "port": 2, "check": {"type": "tcp", "port": 3}}]});
    let written = || resource("Service", "web", spec.clone());
    let kinds = |snapshot: &Snapshot| -> Vec<CheckKind> {
        let of = |one: &Endpoint| one.checked.how.as_ref().unwrap().definitions[0].kind.clone();
        upstream(snapshot, "web").endpoints.iter().map(of).collect()
    };
    let plain = kinds(&compiler().compile(&inputs([written()]), None).unwrap());
    assert!(matches!(&plain[0], CheckKind::Http { url, .. } if url == "http://127.0.0.1:1/up"), "{plain:?}");
    assert_eq!(plain[1], CheckKind::Tcp { address: "127.0.0.1:3".to_owned() });
    let policy = resource("TrafficPolicy", "web", json!({"targetRefs": [{"name": "web"}], "tls": {}}));
    let secure = kinds(&compiler().compile(&inputs([written(), policy]), None).unwrap());
    assert_eq!(secure[0], CheckKind::Tcp { address: "127.0.0.1:1".to_owned() });
}

#[test]
fn shared_tables_lead_to_the_right_upstream_when_services_come_and_go() {
    let before = compiler().compile(&shop(), None).unwrap();
    assert_eq!(outcome(&before, 8080, "GET h/"), "HTTPRoute/r#0 -> cart");
    // `aaa` sorts before `cart` and must not take its place.
    let mut inputs = with_registered(before.inputs.clone(), "aaa", true, &[]);
    let after = compiler().compile(&inputs, Some(&before)).unwrap();
    assert_eq!(outcome(&after, 8080, "GET h/"), "HTTPRoute/r#0 -> cart");
    Arc::make_mut(&mut inputs.services).remove(&ServiceRef::new("default", "cart"));
    let gone = compiler().compile(&inputs, Some(&after)).unwrap();
    assert_eq!(outcome(&gone, 8080, "GET h/"), "500 by HTTPRoute/r#0");
}

#[test]
fn declared_and_registered_endpoints_are_merged() {
    let inputs = inputs([service("cart", &[9001, 9002])]);
    let inputs = with_registered(inputs, "cart", false, &[endpoint("a/1", 9003)]);
    let snapshot = compiler().compile(&inputs, None).unwrap();
    let cart = upstream(&snapshot, "cart");
    let ids: Vec<_> = cart.endpoints.iter().map(|endpoint| &*endpoint.id).collect();
    assert_eq!(ids, ["a/1", "127.0.0.1:9001", "127.0.0.1:9002"]);
    assert!(cart.known, "a document makes a service known");
}

#[test]
fn a_policy_reaches_its_services_and_the_first_by_name_counts() {
    let policy = |name: &str, attempts: u32, targets: &[&str]| {
        let targets: Vec<_> = targets.iter().map(|name| json!({"name": name})).collect();
        resource("TrafficPolicy", name, json!({"targetRefs": targets, "retry": {"attempts": attempts}}))
    };
    let snapshot = compile([
        service("cart", &[9001]),
        service("mail", &[9002]),
        service("other/cart", &[9003]),
        policy("a", 5, &["cart"]),
        policy("b", 6, &["cart", "mail"]),
    ]);
    assert_eq!(upstream(&snapshot, "cart").settings.retries, 5);
    assert_eq!(upstream(&snapshot, "mail").settings.retries, 6);
    let other = snapshot.upstream_of(&ServiceRef::new("other", "cart")).unwrap();
    assert_eq!(other.settings, Settings::default());
}

#[test]
fn a_changed_policy_reaches_an_upstream_whose_endpoints_did_not_change() {
    let before = compiler().compile(&shop(), None).unwrap();
    let policy = json!({"targetRefs": [{"name": "cart"}], "retry": {"attempts": 9}});
    let mut inputs = before.inputs.clone();
    let policy = resource("TrafficPolicy", "p", policy);
    Arc::make_mut(&mut inputs.resources).insert(policy.id(), Arc::new(policy));
    let after = compiler().compile(&inputs, Some(&before)).unwrap();
    assert_eq!(upstream(&after, "cart").settings.retries, 9);
}

#[test]
fn a_table_is_made_once_and_kept_while_the_endpoints_are_the_same() {
    let hashing = |retries: u32| {
        let balance = json!({"policy": "maglev", "hash": [{"type": "path"}]});
        let policy =
            json!({"targetRefs": [{"name": "cart"}], "balance": balance, "retry": {"attempts": retries}});
        resource("TrafficPolicy", "p", policy)
    };
    let with = |ports: &[u16], retries| inputs([service("cart", ports), hashing(retries)]);
    let table = |snapshot: &Snapshot| upstream(snapshot, "cart").selected().table.clone().unwrap();
    let first = compiler().compile(&with(&[9001, 9002], 1), None).unwrap();
    let mut rng = SmallRng::seed_from_u64(1);
    let (one, two) =
        (upstream(&first, "cart").balancer(&mut rng), upstream(&first, "cart").balancer(&mut rng));
    assert!(one.table().unwrap().is(two.table().unwrap()), "the workers share it");
    // Another policy that leaves endpoints and balancer alone.
    let second = compiler().compile(&with(&[9001, 9002], 2), Some(&first)).unwrap();
    assert!(!Arc::ptr_eq(upstream(&first, "cart"), upstream(&second, "cart")));
    assert!(table(&first).is(&table(&second)));
    // An ejection makes no other one either.
    upstream(&second, "cart").select(process_now());
    assert!(table(&first).is(&table(&second)));
    let third = compiler().compile(&with(&[9001, 9002, 9003], 2), Some(&second)).unwrap();
    assert!(!table(&second).is(&table(&third)));
}

/// What a worker does when it picks under `least_connections`.
fn picked(upstream: &Upstream, balancer: &mut Balancer, rng: &mut SmallRng) -> u16 {
    let pick = balancer.pick(Query::default(), upstream, &Tried::none(), rng, &mut ()).unwrap();
    upstream.endpoints[pick.index].addr.port()
}

fn begin_two(endpoint: &Endpoint) {
    endpoint.state.begin();
    endpoint.state.begin();
}

#[test]
fn an_end_is_heard_of_by_who_picks_now_whatever_snapshot_it_began_under() {
    let least_busy = || {
        let balance = json!({"policy": "least_connections"});
        resource("TrafficPolicy", "p", json!({"targetRefs": [{"name": "cart"}], "balance": balance}))
    };
    let with = |ports: &[u16]| inputs([service("cart", ports), least_busy()]);
    let mut rng = SmallRng::seed_from_u64(1);
    let empty = compiler().compile(&inputs([]), None).unwrap();
    let sharing = |upstream: &Upstream, rng: &mut SmallRng| {
        let mut balancer = upstream.balancer(rng);
        let floors = upstream.selected().floors.clone().unwrap();
        assert!(floors.is_watched());
        balancer.share(&floors);
        balancer
    };
    let ports: Vec<u16> = (9001..9100).collect();
    let first = compiler().compile(&with(&ports), None).unwrap();
    first.take_effect(&empty);
    let before = upstream(&first, "cart");
    before.endpoints.iter().for_each(begin_two);
    let mut old = sharing(before, &mut rng);
    picked(before, &mut old, &mut rng);
    before.endpoints[70].state.end();
    assert_eq!(picked(before, &mut old, &mut rng), 9071);
    // Others are before them in the list now.
    let ports: Vec<u16> = (8951..9100).collect();
    let second = compiler().compile(&with(&ports), Some(&first)).unwrap();
    assert!(before.selected().floors.as_ref().unwrap().is_watched(), "it is not in force");
    second.take_effect(&first);
    let now = upstream(&second, "cart");
    now.endpoints[..50].iter().for_each(begin_two);
    let mut new = sharing(now, &mut rng);
    assert_eq!(picked(now, &mut new, &mut rng), 9071);
    before.endpoints[70].state.begin();
    // Who still picks by the snapshot before is not told, and looks at all.
    before.endpoints[33].state.end();
    assert_eq!((picked(now, &mut new, &mut rng), picked(before, &mut old, &mut rng)), (9034, 9034));
    // Who failed is not picked until he has answered, and has the others' word for it then.
    before.endpoints[33].state.mark_failed();
    before.endpoints[44].state.end();
    assert_eq!((picked(now, &mut new, &mut rng), picked(before, &mut old, &mut rng)), (9045, 9045));
    before.endpoints[44].state.begin();
    before.endpoints[33].state.mark_succeeded();
    assert_eq!(picked(now, &mut new, &mut rng), 9034);
    // A selection that was under way when the snapshot changed may take the endpoints away, until that is seen.
    before.select(process_now());
    assert!(now.is_unseated() && !before.is_unseated());
    now.seat();
    assert!(before.is_unseated() && !now.is_unseated());
    before.endpoints[12].state.end();
    before.endpoints[12].state.end();
    assert_eq!(picked(now, &mut new, &mut rng), 9013);
    // Under another policy nobody is told.
    let third = compiler().compile(&inputs([service("cart", &ports)]), Some(&second)).unwrap();
    third.take_effect(&second);
    assert!(now.is_unseated());
}

#[test]
fn endpoints_tell_only_one_of_two_who_call_them_at_once() {
    let balance = json!({"policy": "least_connections"});
    let policy =
        || resource("TrafficPolicy", "p", json!({"targetRefs": [{"name": "cart"}], "balance": balance}));
    let with = |ports: &[u16]| inputs([service("cart", ports), policy()]);
    let ports: Vec<u16> = (9001..9200).collect();
    let first = compiler().compile(&with(&ports), None).unwrap();
    let second = compiler().compile(&with(&ports[1..]), Some(&first)).unwrap();
    let both = [upstream(&first, "cart"), upstream(&second, "cart")];
    let floors = both.map(|upstream| upstream.selected().floors.clone().unwrap());
    for _ in 0..300 {
        floors.iter().for_each(|floors| floors.retire());
        std::thread::scope(|scope| {
            for upstream in both {
                scope.spawn(move || upstream.seat());
            }
        });
        assert_eq!(floors.iter().filter(|floors| floors.is_watched()).count(), 1);
    }
}

#[test]
fn host_names_become_the_addresses_they_resolve_to() {
    let endpoints = json!([{"address": "one.example", "port": 80}, {"address": "two.example", "port": 80},
                           {"address": "none.example", "port": 80}]);
    let inputs = inputs([resource("Service", "cart", json!({"endpoints": endpoints}))]);
    let mut compiler = compiler();
    compiler.addresses = Arc::new(Addresses::from([
        ("one.example".to_owned(), vec!["10.0.0.1".parse().unwrap()]),
        ("two.example".to_owned(), vec!["10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap()]),
    ]));
    let snapshot = compiler.compile(&inputs, None).unwrap();
    let cart = upstream(&snapshot, "cart");
    let shown: Vec<_> = cart.endpoints.iter().map(|e| format!("{} {}", e.id, e.addr)).collect();
    assert_eq!(
        shown,
        [
            "one.example:80 10.0.0.1:80",
            "two.example:80/10.0.0.2 10.0.0.2:80",
            "two.example:80/10.0.0.3 10.0.0.3:80",
        ]
    );
    assert_eq!(&*cart.unresolved, ["none.example"]);

    compiler.addresses = Arc::default();
    let after = compiler.compile(&inputs, Some(&snapshot)).unwrap();
    assert!(upstream(&after, "cart").endpoints.is_empty(), "new addresses reach unchanged inputs");
}

#[test]
fn inputs_survive_their_serialised_form() {
    let inputs = shop();
    let form = weir_api::snapshot::SnapshotInputs::from(&inputs);
    let text = serde_json::to_string(&form).unwrap();
    let read = Inputs::from(serde_json::from_str::<weir_api::snapshot::SnapshotInputs>(&text).unwrap());
    assert_eq!(read.position, inputs.position);
    assert_eq!(read.resources, inputs.resources);
    assert_eq!(read.services, inputs.services);
}

/// Two ports, and a route for each.
fn two_ports(second: &str) -> Vec<Resource> {
    let listeners = json!([
        {"name": "a", "port": 8080, "protocol": "HTTP"},
        {"name": "b", "port": 8081, "protocol": "HTTP", "hostname": second},
    ]);
    vec![
        resource("Gateway", "edge", json!({"listeners": listeners})),
        service("cart", &[]),
        route("a", json!([{"name": "edge", "sectionName": "a"}]), "cart"),
        route("b", json!([{"name": "edge", "sectionName": "b"}]), "cart"),
    ]
}

fn table(snapshot: &Snapshot, port: u16) -> &Arc<RouteTable> {
    &snapshot.listeners.iter().find(|listener| listener.addr.port() == port).unwrap().routes
}

#[test]
fn a_change_of_one_listener_leaves_the_tables_of_others() {
    let first = compile(two_ports("b.example"));
    // Read anew, as from files: nothing is shared but what it says.
    let second = compiler().compile(&inputs(two_ports("c.example")), Some(&first)).unwrap();
    assert!(Arc::ptr_eq(table(&first, 8080), table(&second, 8080)));
    assert!(!Arc::ptr_eq(table(&first, 8081), table(&second, 8081)));
    assert_eq!(outcome(&second, 8081, "GET c.example/"), "HTTPRoute/b#0 -> cart");
    assert_eq!(outcome(&second, 8081, "GET b.example/"), "404");
    assert_eq!(outcome(&second, 8080, "GET h/"), "HTTPRoute/a#0 -> cart");
}

#[test]
fn a_change_of_a_route_or_policy_leaves_the_tables_of_others() {
    let first = compile(two_ports("b.example"));
    let mut resources = two_ports("b.example");
    resources[3] = route("b", json!([{"name": "edge", "sectionName": "b"}]), "mail");
    resources.push(service("mail", &[]));
    let second = compiler().compile(&inputs(resources), Some(&first)).unwrap();
    assert!(Arc::ptr_eq(table(&first, 8080), table(&second, 8080)));
    assert_eq!(outcome(&second, 8081, "GET b.example/"), "HTTPRoute/b#0 -> mail");
    assert_eq!(outcome(&second, 8080, "GET h/"), "HTTPRoute/a#0 -> cart");

    let spec = json!({"targetRefs": [{"name": "edge", "sectionName": "b"}], "limits": {"streams": 5}});
    let mut resources = two_ports("b.example");
    resources.push(resource("ListenerPolicy", "p", spec));
    let third = compiler().compile(&inputs(resources), Some(&second)).unwrap();
    assert!(Arc::ptr_eq(table(&second, 8080), table(&third, 8080)));
    let limited = third.listeners.iter().find(|listener| listener.addr.port() == 8081).unwrap();
    assert_eq!(limited.settings.streams_max, Some(5));
}

#[test]
fn names_of_services_that_are_gone_are_forgotten_in_the_end() {
    let with = |services: usize, target: &str| {
        let mut resources: Vec<Resource> = (0..services).map(|i| service(&format!("s{i}"), &[])).collect();
        resources.extend([gateway("edge"), route("r", json!([{"name": "edge"}]), target)]);
        inputs(resources)
    };
    let mut snapshot = compiler().compile(&with(500, "s499"), None).unwrap();
    snapshot = compiler().compile(&with(3, "s2"), Some(&snapshot)).unwrap();
    assert_eq!(outcome(&snapshot, 8080, "GET h/"), "HTTPRoute/r#0 -> s2");
    assert_eq!(snapshot.upstreams().len(), 3);
    // A few may stay, so that tables need not be made anew each time.
    snapshot = compiler().compile(&with(2, "s1"), Some(&snapshot)).unwrap();
    assert_eq!(outcome(&snapshot, 8080, "GET h/"), "HTTPRoute/r#0 -> s1");
    assert!(snapshot.upstreams().len() <= 3);
    assert!(snapshot.upstream_of(&ServiceRef::new("default", "s2")).is_none_or(|gone| !gone.known));
}

mod changes {
    use proptest::prelude::*;

    use super::*;

    /// Some of a few resources, each in one of a few versions.
    fn resources() -> impl Strategy<Value = Vec<Resource>> {
        let versions = prop::collection::vec(0u8..4, 8);
        versions.prop_map(|versions| {
            let mut resources = Vec::new();
            for (slot, version) in versions.into_iter().enumerate().filter(|(_, version)| *version > 0) {
                let section = ["a", "b"][slot % 2];
                let parents = json!([{"name": "edge", "sectionName": section}]);
                let target = format!("s{version}");
                resources.push(match slot {
                    0..4 => route(&format!("r{slot}"), parents, &target),
                    4..7 => service(&format!("s{}", slot - 3), &[]),
                    _ => resource(
                        "ListenerPolicy",
                        "p",
                        json!({"targetRefs": [{"name": "edge"}], "limits": {"streams": version}}),
                    ),
                });
            }
            let host = format!("h{}.example", resources.len() % 2);
            let listeners = json!([
                {"name": "a", "port": 8080, "protocol": "HTTP"},
                {"name": "b", "port": 8081, "protocol": "HTTP", "hostname": host},
            ]);
            resources.push(resource("Gateway", "edge", json!({"listeners": listeners})));
            resources
        })
    }

    proptest! {
        #[test]
        fn what_is_shared_decides_as_what_is_made_anew(steps in prop::collection::vec(resources(), 1..6)) {
            let mut snapshot: Option<Snapshot> = None;
            for resources in steps {
                let inputs = inputs(resources);
                let fresh = compiler().compile(&inputs, None).unwrap();
                let next = compiler().compile(&inputs, snapshot.as_ref()).unwrap();
                for (port, request) in [(8080, "GET x/"), (8081, "GET h0.example/"), (8081, "GET h1.example/")] {
                    prop_assert_eq!(outcome(&next, port, request), outcome(&fresh, port, request));
                }
                for (a, b) in next.listeners.iter().zip(&fresh.listeners) {
                    prop_assert_eq!(&a.settings, &b.settings);
                }
                snapshot = Some(next);
            }
        }
    }
}
