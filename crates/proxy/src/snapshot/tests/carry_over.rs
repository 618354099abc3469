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
