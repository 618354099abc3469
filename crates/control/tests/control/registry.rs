//! Registering, deregistering, checks, maintenance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_control::Error;
use weir_control::catalog::Topic;
use weir_control::registry::{KnownHealth, OnNode, Registration};
use weir_model::registry::{Address, Check, CheckKind, Health, Instance, Node, Weights};
use weir_model::resource::Protocol;
use weir_model::units::Span;
use weir_model::{ServiceRef, Spec};
use weir_store::Memory;

use crate::resources::{request, service};
use crate::support::*;

#[tokio::test]
async fn a_write_is_visible_when_it_answers() {
    let control = start().await;
    for number in 0..50 {
        let id = format!("web-{number}");
        let done = control.register_instance(instance("web", &id), vec![], false).await.unwrap();
        assert!(done.changed);
        assert_eq!(control.catalog().service_view(NS, "web").entries.len(), number + 1);
        assert_eq!(control.catalog().service_view(NS, "web").index, done.position.revision);
    }
}

#[tokio::test]
async fn registering_the_same_again_makes_no_revision() {
    let control = start().await;
    let checks = || vec![ttl("alive", Some("web-1"), Duration::from_secs(10), None)];
    let first = control.register_instance(instance("web", "web-1"), checks(), false).await.unwrap();
    let again = control.register_instance(instance("web", "web-1"), checks(), false).await.unwrap();
    assert!(first.changed && !again.changed);
    assert_eq!(again.position, first.position);
    let other = Instance { port: 9090, ..instance("web", "web-1") };
    assert!(control.register_instance(other, checks(), false).await.unwrap().changed);
    let view = control.catalog().service_view(NS, "web");
    assert_eq!(view.entries[0].instance.instance.create_revision, first.position.revision);
    assert_eq!(view.entries[0].instance.value().port, 9090);
}

#[tokio::test]
async fn an_instance_and_its_checks_are_one_revision() {
    let control = start().await;
    let before = control.position().revision;
    let checks = vec![check("a", Some("web-1"), Health::Passing), check("b", Some("web-1"), Health::Warning)];
    control.register_instance(instance("web", "web-1"), checks, false).await.unwrap();
    assert_eq!(control.position().revision, before + 1);
    let view = control.catalog().service_view(NS, "web");
    assert_eq!(view.entries[0].checks().count(), 2);
    assert_eq!(view.entries[0].health(), Health::Warning);
    assert_eq!(view.entries[0].instance.checks[0].value.service, "web");
    control.deregister_instance(&instance_ref("web-1")).await.unwrap();
    assert_eq!(control.position().revision, before + 2);
    assert!(control.catalog().service_view(NS, "web").entries.is_empty());
    assert!(control.catalog().checks_view(NS, None).entries.is_empty());
}

#[tokio::test]
async fn an_agent_keeps_what_a_check_reports_and_a_catalog_registration_overwrites_it() {
    let control = start().await;
    let checks = || vec![check("alive", Some("web-1"), Health::Critical)];
    control.register_instance(instance("web", "web-1"), checks(), false).await.unwrap();
    control.set_check(&check_ref("alive"), Health::Passing, "fine").await.unwrap();
    control.register_instance(instance("web", "web-1"), checks(), false).await.unwrap();
    let health = || control.catalog().service_view(NS, "web").entries[0].health();
    assert_eq!(health(), Health::Passing);
    let registration = Registration {
        node: OnNode::Known("WEIR".to_owned()),
        instance: None,
        checks: checks(),
        known_health: KnownHealth::Overwrite,
        replace_checks: false,
    };
    control.register(&registration).await.unwrap();
    assert_eq!(health(), Health::Critical);
}

#[tokio::test]
async fn checks_are_replaced_only_when_asked() {
    let control = start().await;
    let checks = vec![check("a", Some("web-1"), Health::Passing), check("b", Some("web-1"), Health::Passing)];
    control.register_instance(instance("web", "web-1"), checks, false).await.unwrap();
    let one = || vec![check("a", Some("web-1"), Health::Passing)];
    let count = || control.catalog().service_checks_view(NS, "web").entries.len();
    control.register_instance(instance("web", "web-1"), one(), false).await.unwrap();
    assert_eq!(count(), 2);
    control.register_instance(instance("web", "web-1"), one(), true).await.unwrap();
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn an_instance_may_change_its_service_and_its_checks_follow() {
    let control = start().await;
    let checks = vec![check("a", Some("x"), Health::Passing)];
    control.register_instance(instance("old", "x"), checks, false).await.unwrap();
    control.register_instance(instance("new", "x"), vec![], false).await.unwrap();
    let names: Vec<_> = control.catalog().services_view(NS).entries.into_iter().map(|s| s.name).collect();
    assert_eq!(names, [Arc::from("new")]);
    let member = control.catalog().service_view(NS, "new").entries.remove(0);
    assert_eq!(member.instance.checks[0].value.service, "new");
}

#[tokio::test]
async fn a_node_goes_with_all_that_is_on_it() {
    let control = start().await;
    control.register_node(node("Host-1")).await.unwrap();
    for (namespace, id) in [(NS, "a"), ("other", "b")] {
        let instance =
            Instance { namespace: namespace.to_owned(), node: "host-1".to_owned(), ..instance("web", id) };
        let mut own = check(id, Some(id), Health::Passing);
        own.namespace = namespace.to_owned();
        control.register_instance(instance, vec![own], false).await.unwrap();
    }
    let mut of_node = check("disk", None, Health::Warning);
    of_node.node = "HOST-1".to_owned();
    control.register_check(of_node).await.unwrap();
    assert_eq!(control.catalog().node_view("host-1").entries.unwrap().checks().count(), 3);
    assert_eq!(control.catalog().service_view("other", "web").entries[0].health(), Health::Warning);

    let done = control.deregister_node("hOST-1").await.unwrap();
    assert!(control.catalog().node_view("host-1").entries.is_none());
    for namespace in [NS, "other"] {
        let view = control.catalog().service_view(namespace, "web");
        assert!(view.entries.is_empty());
        assert_eq!(view.index, done.position.revision);
        assert!(control.catalog().checks_view(namespace, None).entries.is_empty());
    }
    assert!(matches!(control.deregister_node("host-1").await, Err(Error::NotFound { .. })));
    assert!(matches!(control.deregister_node(NODE).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn maintenance_makes_critical_and_survives_a_registration() {
    let control = start().await;
    control.register_instance(instance("web", "a"), vec![], false).await.unwrap();
    let member = || control.catalog().service_view(NS, "web").entries.remove(0);
    assert_eq!(member().health(), Health::Passing);
    control.maintain_instance(&instance_ref("a"), Some("upgrade")).await.unwrap();
    control.register_instance(instance("web", "a"), vec![], false).await.unwrap();
    assert_eq!((member().health(), member().maintenance()), (Health::Critical, Some("upgrade")));
    control.maintain_instance(&instance_ref("a"), None).await.unwrap();
    control.maintain_node(NODE, Some("")).await.unwrap();
    assert_eq!((member().health(), member().maintenance()), (Health::Critical, Some("")));
    assert!(!control.maintain_node("WEIR", Some("")).await.unwrap().changed);
    control.maintain_node(NODE, None).await.unwrap();
    assert_eq!(member().health(), Health::Passing);
}

#[tokio::test]
async fn a_heartbeat_that_changes_nothing_does_not_touch_the_store() {
    let store = Faulty::over(Arc::new(Memory::new()));
    let control = start_on(store.clone()).await;
    let checks = vec![ttl("alive", Some("a"), Duration::from_secs(10), None)];
    control.register_instance(instance("web", "a"), checks, false).await.unwrap();
    control.set_check(&check_ref("alive"), Health::Passing, "ok").await.unwrap();
    let commits = store.commits.load(Ordering::SeqCst);
    for _ in 0..100 {
        control.set_check(&check_ref("alive"), Health::Passing, "ok").await.unwrap();
    }
    assert_eq!(store.commits.load(Ordering::SeqCst), commits);
    let long = "é".repeat(10_000);
    control.set_check(&check_ref("alive"), Health::Warning, &long).await.unwrap();
    let output = control.catalog().check(&check_ref("alive")).unwrap().value.output.clone();
    assert!(output.len() <= weir_control::bounds::CHECK_OUTPUT_BYTES_MAX && long.starts_with(&output));
    assert!(!control.set_check(&check_ref("alive"), Health::Warning, &long).await.unwrap().changed);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_path() {
    let control = start().await;
    let path = |result: Result<_, Error>| match result {
        Err(Error::Invalid { path, .. }) => path,
        other => panic!("{other:?}"),
    };
    let bad = Instance { id: String::new(), ..instance("web", "") };
    assert_eq!(path(control.register_instance(bad, vec![], false).await), "instance.id");
    let bad = Instance { service: "no spaces".to_owned(), ..instance("", "a") };
    assert_eq!(path(control.register_instance(bad, vec![], false).await), "instance.service");
    let twice = vec![check("c", Some("a"), Health::Passing), check("c", Some("a"), Health::Warning)];
    assert_eq!(path(control.register_instance(instance("web", "a"), twice, false).await), "check.id");
    let before = control.position();
    let stray = check("c", Some("nobody"), Health::Passing);
    assert!(matches!(control.register_check(stray).await, Err(Error::NotFound { .. })));
    let elsewhere = Instance { node: "nowhere".to_owned(), ..instance("web", "a") };
    let refused = control.register_instance(elsewhere, vec![], false).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
    let many = (0..65).map(|n| check(&n.to_string(), None, Health::Passing)).collect();
    let refused = control.register_instance(instance("web", "a"), many, false).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    assert_eq!(control.position(), before);
}

#[tokio::test]
async fn writes_fail_and_reads_go_on_when_the_store_refuses() {
    let store = Faulty::over(Arc::new(Memory::new()));
    let control = start_on(store.clone()).await;
    control.register_instance(instance("web", "a"), vec![], false).await.unwrap();
    store.refuse_all.store(true, Ordering::SeqCst);
    let refused = control.register_instance(instance("web", "b"), vec![], false).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert_eq!(control.catalog().service_view(NS, "web").entries.len(), 1);
    store.refuse_all.store(false, Ordering::SeqCst);
    control.register_instance(instance("web", "b"), vec![], false).await.unwrap();
    assert_eq!(control.catalog().service_view(NS, "web").entries.len(), 2);
}

#[tokio::test]
async fn racing_registrations_of_one_instance_all_succeed_in_some_order() {
    let control = start().await;
    let racers = (0..8u16).map(|number| {
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            let instance = Instance { port: 1000 + number, ..instance("web", "a") };
            control.register_instance(instance, vec![], false).await
        })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await.unwrap().unwrap();
    }
    assert_eq!(control.catalog().service_view(NS, "web").entries.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_at_once_each_read_their_own_writes() {
    let control = start().await;
    let writers = (0..32u16).map(|writer| {
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            let (service, id) = (format!("s{}", writer % 4), format!("i{writer}"));
            for port in 1..50 {
                let checks = vec![check(&id, Some(&id), Health::Passing)];
                let wanted = Instance { port, ..instance(&service, &id) };
                let done = control.register_instance(wanted, checks, false).await.unwrap();
                let member = control.catalog().instance(&instance_ref(&id)).expect("visible");
                assert_eq!(member.instance.value().port, port);
                assert!(control.catalog().service_view(NS, &service).index >= done.position.revision);
                if port % 7 == 0 {
                    control.deregister_instance(&instance_ref(&id)).await.unwrap();
                    assert!(control.catalog().instance(&instance_ref(&id)).is_none());
                    assert!(control.catalog().check(&check_ref(&id)).is_none());
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(control.catalog().checks_view(NS, None).entries.len(), 0);
}

#[tokio::test]
async fn endpoints_carry_address_weight_and_health() {
    let control = start().await;
    let inbound = Address { host: "10.9.9.9".to_owned(), port: 15001 };
    let fast = Instance {
        inbound: Some(inbound.clone()),
        weights: Weights { passing: 10, warning: 1 },
        metadata: BTreeMap::from([("protocol".to_owned(), "grpc".to_owned())]),
        ..instance("web", "a")
    };
    let checks = vec![check("c", Some("a"), Health::Warning)];
    control.register_instance(fast, checks, false).await.unwrap();
    control.register_instance(instance("web", "b"), vec![], false).await.unwrap();
    let web = ServiceRef::new(NS, "web");
    let view = control.catalog().endpoints(&web);
    assert!(view.known);
    assert_eq!(view.protocol, Some(Protocol::Grpc));
    let [a, b] = &view.endpoints[..] else { panic!("{view:?}") };
    assert_eq!((&*a.id, &a.address, a.inbound, a.weight), ("weir/a", &inbound, true, 1));
    let own = Address { host: "127.0.0.1".to_owned(), port: 8080 };
    assert_eq!((&b.address, b.inbound, b.weight, b.health), (&own, false, 1, Health::Passing));
    assert!(!control.catalog().endpoints(&ServiceRef::new(NS, "nobody")).known);
}

#[tokio::test]
async fn callers_are_told_of_the_checks_that_they_can_carry_out_and_what_the_others_say() {
    let control = start().await;
    let web = ServiceRef::new(NS, "web");
    let tcp = |id: &str, address: &str, health| {
        let mut check = ttl(id, Some("a"), Duration::from_secs(10), Some(Duration::from_secs(90)));
        let definition = check.definition.as_mut().unwrap();
        definition.kind = CheckKind::Tcp { address: address.to_owned() };
        definition.timeout = Span(Duration::from_secs(1));
        definition.failures_before_critical = 3;
        Check { health, ..check }
    };
    let told = || {
        let view = control.catalog().endpoints(&web);
        let [endpoint] = &view.endpoints[..] else { panic!("{view:?}") };
        (endpoint.health, endpoint.active_checks.clone())
    };
    let at = |address: &str| Instance {
        address: address.to_owned(),
        weights: Weights { passing: 7, warning: 2 },
        ..instance("web", "a")
    };
    let alive = Check { health: Health::Warning, ..ttl("alive", Some("a"), Duration::from_secs(600), None) };
    let checks =
        vec![alive, tcp("far", "10.0.0.1:80", Health::Critical), tcp("own", "127.0.0.1:80", Health::Passing)];
    control.register_instance(at("10.0.0.1"), checks.clone(), true).await.unwrap();
    let (health, active) = told();
    let active = active.unwrap();
    assert_eq!((health, active.others), (Health::Critical, Health::Warning), "what the heartbeat says");
    assert_eq!(active.weights, Weights { passing: 7, warning: 2 });
    let [definition] = &active.definitions[..] else { panic!("{active:?}") };
    assert_eq!(definition.kind, CheckKind::Tcp { address: "10.0.0.1:80".to_owned() });
    assert_eq!((definition.failures_before_critical, &definition.deregister_after), (3, &None));
    // By a sidecar elsewhere it is reached elsewhere.
    let inbound = Some(Address { host: "127.0.0.1".to_owned(), port: 1 });
    control.register_instance(Instance { inbound, ..at("10.0.0.1") }, checks, true).await.unwrap();
    assert_eq!(told().1.unwrap().definitions.len(), 2);
    // Maintenance holds whatever the checks say.
    control.maintain_instance(&instance_ref("a"), Some("why")).await.unwrap();
    assert_eq!(told().1.unwrap().others, Health::Critical);
    // Nothing to carry out, or too much of it.
    control
        .register_instance(at("10.0.0.1"), vec![tcp("own", "[::1]:80", Health::Passing)], true)
        .await
        .unwrap();
    assert_eq!(told().1, None);
    let many = (0..9).map(|n| tcp(&n.to_string(), "10.0.0.1:80", Health::Passing)).collect();
    control.register_instance(at("10.0.0.1"), many, true).await.unwrap();
    assert_eq!(told().1, None);
}

#[tokio::test]
async fn a_protocol_is_declared_by_document_metadata_or_check() {
    let control = start().await;
    let web = ServiceRef::new(NS, "web");
    let seen = || {
        let view = control.catalog().endpoints(&web);
        (view.protocol, view.endpoints.iter().map(|endpoint| endpoint.grpc_check).collect::<Vec<_>>())
    };
    let grpc = |address: &str| {
        let mut check = ttl("c", Some("b"), Duration::from_secs(10), None);
        let definition = check.definition.as_mut().unwrap();
        definition.kind = CheckKind::Grpc { address: address.to_owned(), service: String::new() };
        definition.timeout = Span(Duration::from_secs(1));
        check
    };
    control.register_instance(instance("web", "a"), vec![], true).await.unwrap();
    assert_eq!(seen(), (None, vec![false]));
    let checked = instance("web", "b");
    control.register_instance(checked.clone(), vec![grpc("127.0.0.1:9999")], true).await.unwrap();
    assert_eq!(seen(), (None, vec![false, false]), "another port's");
    let index = control.catalog().endpoints(&web).index;
    control.register_instance(checked, vec![grpc("[::1]:8080")], true).await.unwrap();
    assert_eq!(seen(), (Some(Protocol::Grpc), vec![false, true]));
    assert!(control.catalog().endpoints(&web).index > index, "proxies are told");
    let metadata = BTreeMap::from([("protocol".to_owned(), "http2".to_owned())]);
    control.register_instance(Instance { metadata, ..instance("web", "c") }, vec![], true).await.unwrap();
    assert_eq!(seen().0, Some(Protocol::Http2));
    let declare = async |protocol| {
        let mut document = service("web", 1);
        let Spec::Service(spec) = &mut document.spec else { unreachable!() };
        spec.protocol = protocol;
        control.apply(&request(&[document])).await.unwrap();
        seen().0
    };
    assert_eq!(declare(None).await, Some(Protocol::Http2), "a document need not say it");
    assert_eq!(declare(Some(Protocol::Tcp)).await, Some(Protocol::Tcp));
}

#[tokio::test]
async fn the_list_of_services_has_each_tag_once() {
    let control = start().await;
    let tagged = |id: &str, tags: &[&str]| Instance {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..instance("web", id)
    };
    control.register_instance(tagged("a", &["v1", "v1", "x"]), vec![], false).await.unwrap();
    control.register_instance(tagged("b", &["v1", "v2"]), vec![], false).await.unwrap();
    let tags = || control.catalog().services_view(NS).entries.remove(0).tags;
    assert_eq!(tags(), ["v1", "v2", "x"].map(Arc::from));
    // What leaves the list as it is does not move its index.
    let index = control.catalog().index(&Topic::Services { namespace: NS.to_owned() });
    control
        .register_instance(Instance { port: 1, ..tagged("a", &["v1", "x"]) }, vec![], false)
        .await
        .unwrap();
    assert_eq!(control.catalog().services_view(NS).index, index);
    control.deregister_instance(&instance_ref("a")).await.unwrap();
    assert_eq!(tags(), ["v1", "v2"].map(Arc::from));
    assert!(control.catalog().services_view(NS).index > index);
}

#[tokio::test]
async fn many_who_change_one_thing_at_once_all_get_through() {
    let control = start().await;
    control.register_node(node("shared")).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..64u16 {
        let control = Arc::clone(&control);
        writers.spawn(async move {
            for round in 0..5 {
                let one = Instance { port: 1 + number * 5 + round, ..instance("web", "one") };
                control.register_instance(one, vec![], false).await?;
                let address = format!("10.0.{number}.{round}");
                control.register_node(Node { address, ..node("shared") }).await?;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap().expect("nobody is turned away");
    }
}

#[tokio::test]
async fn services_are_found_in_any_case_and_forgotten() {
    let control = start().await;
    let found = |namespace: &str, name: &str| {
        let members = control.catalog().view_in_any_case(namespace, name).entries;
        members.iter().map(|member| member.instance.value().id.clone()).collect::<Vec<_>>()
    };
    for (service, id) in [("web", "1"), ("Web", "2"), ("WEB", "3"), ("web-api", "4")] {
        control.register_instance(instance(service, id), vec![], false).await.unwrap();
    }
    assert_eq!(found(NS, "wEb"), ["3", "2", "1"]);
    assert_eq!(found(NS, "WEB-API"), ["4"]);
    assert_eq!((found("team", "web").len(), found(NS, "we").len()), (0, 0));
    assert!(control.catalog().has_namespace(NS) && !control.catalog().has_namespace("team"));
    // One moves to another service, one goes; each is news under every spelling.
    let index = |name: &str| control.catalog().index(&Topic::service(NS, name));
    let moved = control.register_instance(instance("other", "2"), vec![], false).await.unwrap();
    assert_eq!((index("web"), index("wEB")), (moved.position.revision, moved.position.revision));
    let gone = control.deregister_instance(&instance_ref("1")).await.unwrap();
    assert_eq!((index("web"), index("WEB")), (gone.position.revision, gone.position.revision));
    assert_eq!(found(NS, "web"), ["3"]);
    let last = control.deregister_instance(&instance_ref("3")).await.unwrap();
    assert_eq!((index("web"), index("Web")), (last.position.revision, last.position.revision));
    assert!(found(NS, "web").is_empty());
}

#[tokio::test]
async fn whoever_moves_is_found_at_the_new_address() {
    let control = start().await;
    let at = |ip: &str| {
        let found = control.catalog().at_address(ip.parse().unwrap());
        (found.nodes, found.services.into_iter().map(|service| service.name.clone()).collect::<Vec<_>>())
    };
    control.register_node(node("Alpha")).await.unwrap();
    assert_eq!(at("10.0.0.1"), (vec!["Alpha".to_owned()], vec![]));
    control.register_node(Node { address: "10.0.0.7".into(), ..node("Alpha") }).await.unwrap();
    assert_eq!((at("10.0.0.1").0.len(), at("10.0.0.7").0.len()), (0, 1));
    let placed = |id: &str, address: &str| Instance { address: address.into(), ..instance("web", id) };
    for id in ["1", "2"] {
        control.register_instance(placed(id, "2001:db8::1"), vec![], false).await.unwrap();
    }
    assert_eq!(at("2001:db8:0::1").1, ["web"], "each service once, the address in any form");
    control.register_instance(placed("1", "2001:db8::2"), vec![], false).await.unwrap();
    assert_eq!((at("2001:db8::1").1.len(), at("2001:db8::2").1.len()), (1, 1));
    control.deregister_instance(&instance_ref("2")).await.unwrap();
    control.deregister_node("alpha").await.unwrap();
    assert_eq!((at("2001:db8::1").1.len(), at("10.0.0.7").0.len()), (0, 0));
}
