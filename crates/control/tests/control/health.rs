//! Health over time, on the runtime's virtual clock.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_control::health::CheckEvent;
use weir_control::{Control, Error};
use weir_model::registry::{Check, CheckKind, Health, Instance, Runner};
use weir_store::Memory;

use crate::support::*;

const TTL: Duration = Duration::from_secs(10);

fn health(control: &Control, id: &str) -> Option<Health> {
    control.catalog().check(&check_ref(id)).map(|check| check.value.health)
}

#[tokio::test(start_paused = true)]
async fn a_ttl_check_expires_after_its_time_and_recovers_with_a_heartbeat() {
    let control = start().await;
    let checks = vec![ttl("alive", Some("a"), TTL, None)];
    control.register_instance(instance("web", "a"), checks, false).await.unwrap();
    for _ in 0..5 {
        tokio::time::sleep(TTL - Duration::from_secs(1)).await;
        assert_eq!(health(&control, "alive"), Some(Health::Passing));
        control.set_check(&check_ref("alive"), Health::Passing, "").await.unwrap();
    }
    tokio::time::sleep(TTL - Duration::from_millis(10)).await;
    assert_eq!(health(&control, "alive"), Some(Health::Passing));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(health(&control, "alive"), Some(Health::Critical));
    assert_eq!(control.catalog().check(&check_ref("alive")).unwrap().value.output, "TTL expired");
    let revision = control.position();
    tokio::time::sleep(TTL * 10).await;
    assert_eq!(control.position(), revision, "judged once");
    control.set_check(&check_ref("alive"), Health::Warning, "").await.unwrap();
    tokio::time::sleep(TTL - Duration::from_millis(10)).await;
    assert_eq!(health(&control, "alive"), Some(Health::Warning));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(health(&control, "alive"), Some(Health::Critical));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_counts_however_the_node_is_written() {
    let control = start().await;
    let checks = vec![ttl("alive", Some("a"), TTL, None)];
    control.register_instance(instance("web", "a"), checks, false).await.unwrap();
    let shouted = weir_control::catalog::CheckRef::new(NS, NODE.to_uppercase(), "alive");
    for _ in 0..5 {
        tokio::time::sleep(TTL - Duration::from_secs(1)).await;
        control.set_check(&shouted, Health::Passing, "").await.unwrap();
        assert_eq!(health(&control, "alive"), Some(Health::Passing));
    }
    let revision = control.position();
    tokio::time::sleep(TTL - Duration::from_millis(10)).await;
    assert_eq!(control.position(), revision, "it never expired");
}

#[tokio::test(start_paused = true)]
async fn a_restart_grants_a_full_ttl() {
    let store = Arc::new(Memory::new());
    let control = start_on(store.clone()).await;
    let checks = vec![ttl("alive", Some("a"), TTL, None)];
    control.register_instance(instance("web", "a"), checks, false).await.unwrap();
    tokio::time::sleep(TTL - Duration::from_secs(1)).await;
    drop(control);
    let control = start_on(store).await;
    tokio::time::sleep(TTL - Duration::from_millis(10)).await;
    assert_eq!(health(&control, "alive"), Some(Health::Passing));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(health(&control, "alive"), Some(Health::Critical));
}

#[tokio::test(start_paused = true)]
async fn what_stays_critical_is_deregistered() {
    let control = start().await;
    let after = Duration::from_secs(90);
    let checks = vec![ttl("alive", Some("a"), TTL, Some(after))];
    control.register_instance(instance("web", "a"), checks, false).await.unwrap();
    // Critical for a while, then not: the time begins anew.
    tokio::time::sleep(TTL + after - Duration::from_secs(1)).await;
    control.set_check(&check_ref("alive"), Health::Passing, "").await.unwrap();
    tokio::time::sleep(TTL + after - Duration::from_secs(1)).await;
    assert_eq!(health(&control, "alive"), Some(Health::Critical));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(control.catalog().service_view(NS, "web").entries.is_empty());
    assert_eq!(health(&control, "alive"), None);
}

#[tokio::test(start_paused = true)]
async fn whose_heart_stopped_before_a_restart_is_critical_and_deregistered_after_it() {
    let store = Arc::new(Memory::new());
    let control = start_on(store.clone()).await;
    let after = Duration::from_secs(90);
    let checks = vec![ttl("alive", Some("a"), TTL, Some(after))];
    control.register_instance(instance("web", "a"), checks, false).await.unwrap();
    drop(control);
    let control = start_on(store.clone()).await;
    tokio::time::sleep(TTL + Duration::from_secs(10)).await;
    assert_eq!(health(&control, "alive"), Some(Health::Critical));
    // It stays so over another restart, and its own rule still holds.
    drop(control);
    let control = start_on(store).await;
    assert_eq!(health(&control, "alive"), Some(Health::Critical));
    tokio::time::sleep(after + Duration::from_secs(2)).await;
    assert_eq!(health(&control, "alive"), None);
    assert!(control.catalog().service_view(NS, "web").entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_is_too_short_is_raised() {
    let control = start().await;
    let checks = vec![ttl("alive", Some("a"), TTL, Some(Duration::from_secs(1)))];
    control.register_instance(instance("web", "a"), checks, false).await.unwrap();
    tokio::time::sleep(TTL + Duration::from_secs(59)).await;
    assert_eq!(health(&control, "alive"), Some(Health::Critical));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(health(&control, "alive"), None);
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_the_store_refuses_is_tried_again() {
    let store = Faulty::over(Arc::new(Memory::new()));
    let control = start_on(store.clone()).await;
    let checks = vec![ttl("alive", Some("a"), TTL, None)];
    control.register_instance(instance("web", "a"), checks, false).await.unwrap();
    store.refuse_all.store(true, Ordering::SeqCst);
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(health(&control, "alive"), Some(Health::Passing));
    store.refuse_all.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(health(&control, "alive"), Some(Health::Critical));
}

/// Registers instances with a TTL check each, one to a node.
async fn cluster(control: &Control, nodes: usize) {
    for number in 0..nodes {
        let name = format!("n{number}");
        control.register_node(node(&name)).await.unwrap();
        let instance = Instance { node: name.clone(), ..instance("web", &name) };
        let mut alive = ttl(&name, Some(&name), TTL, None);
        alive.node.clone_from(&name);
        control.register_instance(instance, vec![alive], false).await.unwrap();
    }
}

fn critical(control: &Control) -> usize {
    control.catalog().checks_view(NS, Some(Health::Critical)).entries.len()
}

async fn heartbeats(control: &Control, nodes: std::ops::Range<usize>) {
    for number in nodes {
        let check = weir_control::catalog::CheckRef::new(NS, format!("n{number}"), format!("n{number}"));
        control.set_check(&check, Health::Passing, "").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn when_most_nodes_fall_silent_at_once_none_is_judged() {
    let control = start().await;
    cluster(&control, 12).await;
    tokio::time::sleep(TTL * 30).await;
    assert_eq!(critical(&control), 0);
    let (preservation, lasts) = control.preservation().unwrap();
    assert_eq!((preservation.doubted, preservation.nodes), (12, 12));
    assert!(lasts >= TTL * 28, "{lasts:?}");
    // When most are heard from again, the rest is believed to be silent, after its full time.
    for _ in 0..4 {
        heartbeats(&control, 0..9).await;
        tokio::time::sleep(TTL / 2).await;
    }
    assert_eq!(critical(&control), 3);
    assert!(control.preservation().is_none());
    assert_eq!(control.silent_nodes().into_values().collect::<Vec<_>>(), [false; 3]);
}

#[tokio::test(start_paused = true)]
async fn who_was_judged_before_it_was_seen_how_many_are_silent_is_restored() {
    let control = start().await;
    cluster(&control, 12).await;
    tokio::time::sleep(TTL / 2).await;
    heartbeats(&control, 6..12).await;
    tokio::time::sleep(TTL / 2 + Duration::from_secs(2)).await;
    assert_eq!(critical(&control), 6, "half of them is not most");
    tokio::time::sleep(TTL).await;
    assert_eq!(critical(&control), 0);
    let restored = control.catalog().check(&weir_control::catalog::CheckRef::new(NS, "n0", "n0")).unwrap();
    assert!(restored.value.output.contains("not believed"), "{}", restored.value.output);
    tokio::time::sleep(TTL * 20).await;
    assert_eq!(critical(&control), 0);
}

#[tokio::test(start_paused = true)]
async fn a_few_silent_nodes_and_small_clusters_are_believed() {
    let control = start().await;
    cluster(&control, 12).await;
    for _ in 0..6 {
        heartbeats(&control, 0..7).await;
        tokio::time::sleep(TTL / 2).await;
    }
    assert_eq!(critical(&control), 5);
    let control = start().await;
    cluster(&control, 9).await;
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(critical(&control), 9);
}

#[tokio::test]
async fn probers_learn_what_to_run_and_thresholds_hold_back() {
    let control = start().await;
    let mut probe = ttl("probe", Some("a"), TTL, None);
    let definition = probe.definition.as_mut().unwrap();
    definition.kind = CheckKind::Tcp { address: "127.0.0.1:1".to_owned() };
    definition.timeout.0 = Duration::from_secs(1);
    definition.failures_before_critical = 3;
    definition.successes_before_passing = 2;
    let all = vec![probe.clone(), ttl("alive", Some("a"), TTL, None)];
    control.register_instance(instance("web", "a"), all, false).await.unwrap();
    let mut feed = control.checks_to_run();
    let Some(CheckEvent::Run(run)) = feed.next(control.catalog()).await else { panic!("a check to run") };
    assert_eq!(run.value.id, "probe");

    let name = check_ref("probe");
    let now = || health(&control, "probe").unwrap();
    for (outcome, expected) in [
        (Health::Critical, Health::Passing),
        (Health::Critical, Health::Passing),
        (Health::Critical, Health::Critical),
        (Health::Passing, Health::Critical),
        (Health::Critical, Health::Critical),
        (Health::Passing, Health::Critical),
        (Health::Passing, Health::Passing),
    ] {
        control.report(&name, outcome, "probed").await.unwrap();
        assert_eq!(now(), expected);
    }
    let position = control.position();
    control.report(&name, Health::Passing, "another text every time").await.unwrap();
    assert_eq!(control.position(), position, "output alone is written now and then only");

    probe.definition.as_mut().unwrap().interval.0 = TTL * 2;
    control.register_check(probe).await.unwrap();
    let Some(CheckEvent::Run(run)) = feed.next(control.catalog()).await else { panic!("a changed check") };
    assert_eq!(run.value.definition.as_ref().unwrap().interval.0, TTL * 2);
    control.deregister_instance(&instance_ref("a")).await.unwrap();
    assert!(matches!(feed.next(control.catalog()).await, Some(CheckEvent::Stop(stopped)) if stopped == name));
    assert!(matches!(control.report(&name, Health::Passing, "").await, Err(Error::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_that_differ_only_in_what_they_say_are_written_now_and_then() {
    let store = Faulty::over(Arc::new(Memory::new()));
    let control = start_on(store.clone()).await;
    let checks = vec![ttl("alive", Some("a"), TTL, None)];
    control.register_instance(instance("web", "a"), checks, false).await.unwrap();
    let check = check_ref("alive");
    let beat = async |output: &str| control.set_check(&check, Health::Passing, output).await.unwrap().changed;
    let written = || control.catalog().check(&check).unwrap().value.output.clone();
    assert!(beat("beat 0").await);
    let (commits, began) = (store.commits.load(Ordering::SeqCst), tokio::time::Instant::now());
    let interval = weir_control::bounds::CHECK_OUTPUT_INTERVAL;
    while began.elapsed() + TTL < interval {
        tokio::time::sleep(TTL / 2).await;
        assert!(!beat(&format!("beat at {:?}", began.elapsed())).await);
        assert_eq!(control.said(&check), Some(format!("beat at {:?}", began.elapsed())));
    }
    assert_eq!(store.commits.load(Ordering::SeqCst), commits);
    assert_eq!((written(), health(&control, "alive")), ("beat 0".to_owned(), Some(Health::Passing)));
    // What is committed already is no news, and nothing newer was said then.
    assert!(!beat("beat 0").await);
    assert_eq!(control.said(&check), None);
    assert!(!beat("beat n").await);
    // Another health is written at once, with what is said then.
    assert!(control.set_check(&check, Health::Warning, "slow").await.unwrap().changed);
    assert_eq!((written(), health(&control, "alive")), ("slow".to_owned(), Some(Health::Warning)));
    while began.elapsed() < interval {
        tokio::time::sleep(TTL / 2).await;
        control.set_check(&check, Health::Warning, "slow").await.unwrap();
    }
    assert!(control.set_check(&check, Health::Warning, "slower").await.unwrap().changed);
    assert_eq!((written(), control.said(&check)), ("slower".to_owned(), None));
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_carried_out_goes_by_its_own_rule_when_the_agent_is_gone() {
    let store = Arc::new(Memory::new());
    let control = start_on(store.clone()).await;
    let (soon, after) = (Duration::from_secs(1), Duration::from_secs(90));
    let presence = Check { runner: Runner::Presence, ..ttl("here", None, TTL, Some(after * 10)) };
    control.register_check(presence).await.unwrap();
    for (id, after) in [("a", Some(after)), ("b", None)] {
        let run = Check { runner: Runner::Agent, ..ttl(id, Some(id), soon, after) };
        control.register_instance(instance("web", id), vec![run], false).await.unwrap();
    }
    let registered = |control: &Control| {
        let members = control.catalog().service_view(NS, "web").entries;
        members.iter().map(|member| (member.instance.value().id.clone(), member.health())).collect::<Vec<_>>()
    };
    let both = |health| vec![("a".to_owned(), health), ("b".to_owned(), health)];
    // Its ttl checks are the agent's to wait for.
    for _ in 0..60 {
        control.set_check(&check_ref("here"), Health::Passing, "").await.unwrap();
        tokio::time::sleep(TTL / 2).await;
    }
    assert_eq!(registered(&control), both(Health::Passing));
    // Silent for less than its rule says.
    tokio::time::sleep(TTL + after - soon * 10).await;
    assert_eq!(registered(&control), both(Health::Critical));
    control.set_check(&check_ref("here"), Health::Passing, "").await.unwrap();
    assert_eq!(registered(&control), both(Health::Passing));
    tokio::time::sleep(TTL + after - soon * 10).await;
    assert_eq!(registered(&control), both(Health::Critical), "the time began anew");
    // The server restarts while the agent is gone.
    drop(control);
    let control = start_on(store).await;
    tokio::time::sleep(after - soon * 10).await;
    assert_eq!(registered(&control), both(Health::Critical));
    tokio::time::sleep(soon * 20).await;
    assert_eq!(registered(&control), [("b".to_owned(), Health::Critical)]);
    tokio::time::sleep(after * 10).await;
    assert_eq!(registered(&control), [], "its node is forgotten");
    assert!(control.catalog().node(NODE).is_none());
}
