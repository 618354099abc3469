//! What happens when the store's watch loses its place.

use std::sync::Arc;
use std::time::Duration;

use weir_control::kv::KvPut;
use weir_control::{ChangeEvent, Topic};
use weir_model::registry::Health;
use weir_store::clock::TokioClock;
use weir_store::{Key, Limits, Memory, Store, Txn};

use crate::support::*;

/// A store whose history is so short that whoever does not look at once has missed something.
fn forgetful() -> Arc<Memory> {
    let mut limits = Limits::default();
    limits.history_events_max = 4;
    Arc::new(Memory::with(limits, Arc::new(TokioClock::new())))
}

/// Commits behind the control plane's back, without giving it a chance to run in between.
async fn put_behind(store: &Memory, key: Key, value: &[u8]) {
    store.commit(Txn::new().put(key, value)).await.unwrap();
}

fn kv_value(text: &str) -> Vec<u8> {
    format!("{{\"flags\":0}}\n{text}").into_bytes()
}

async fn caught_up(store: &Memory, control: &weir_control::Control) {
    let position = store.position().await.unwrap();
    control.catalog().visible(position.revision).await.unwrap();
}

#[tokio::test]
async fn a_lagging_catalog_catches_up_and_keeps_its_subscribers() {
    let store = forgetful();
    let control = start_on(store.clone()).await;
    control.register_instance(instance("web", "w"), vec![], false).await.unwrap();
    control.register_instance(instance("db", "d"), vec![], false).await.unwrap();
    control.kv_put(KvPut { namespace: NS, key: "old", value: b"1", ..KvPut::default() }).await.unwrap();
    let web_index = control.catalog().service_view(NS, "web").index;
    let mut changes = control.changes();
    let waiting = Arc::clone(&control);
    let topic = Topic::KvKey { namespace: NS.to_owned(), key: "new/9".to_owned() };
    let after = control.catalog().index(&topic);
    let waiter = tokio::spawn(async move { waiting.wait(&topic, after, Duration::from_secs(60)).await });
    while control.catalog().waiters() == 0 {
        tokio::task::yield_now().await;
    }

    for number in 0..20 {
        put_behind(&store, Key::new("kv", NS, &format!("new/{number}")).unwrap(), &kv_value("v")).await;
    }
    let gone = Key::new("instance", NS, "weir/d").unwrap();
    store.commit(Txn::new().delete(gone).delete(Key::new("kv", NS, "old").unwrap())).await.unwrap();
    caught_up(&store, &control).await;

    let catalog = control.catalog();
    assert_eq!(catalog.kv_list(NS, "new/").entries.len(), 20);
    assert!(catalog.kv_get(NS, "old").entries.is_none());
    assert!(catalog.service_view(NS, "db").entries.is_empty());
    assert_eq!(catalog.service_view(NS, "db").index, control.position().revision);
    assert_eq!(catalog.service_view(NS, "web").index, web_index, "what did not change keeps its index");
    assert!(waiter.await.unwrap().unwrap() > after);
    let ChangeEvent::Change(change) = changes.next().await else { panic!("the subscription goes on") };
    assert_eq!(change.services, [weir_model::ServiceRef::new(NS, "db")]);
    assert_eq!(change.position, control.position());
}

#[tokio::test]
async fn a_lagging_catalog_finds_change_sets_and_checks_too() {
    let store = forgetful();
    let control = start_on(store.clone()).await;
    let other = start_on(store.clone()).await;
    let checks = vec![check("c", Some("w"), Health::Passing)];
    other.register_instance(instance("web", "w"), checks, false).await.unwrap();
    for number in 0..6 {
        other.apply(&crate::resources::request(&[crate::resources::service("s", number)])).await.unwrap();
    }
    other.set_check(&check_ref("c"), Health::Critical, "down").await.unwrap();
    caught_up(&store, &control).await;
    assert_eq!(control.catalog().service_view(NS, "web").entries[0].health(), Health::Critical);
    assert_eq!(control.catalog().head().unwrap().number, 6);
    assert_eq!(control.catalog().resources().entries.len(), 1);
    // The one that lagged can go on writing.
    control.apply(&crate::resources::request(&[crate::resources::service("s", 99)])).await.unwrap();
    assert_eq!(control.catalog().head().unwrap().number, 7);
}

#[tokio::test]
async fn a_subscriber_that_falls_behind_is_told_to_look_anew() {
    let control = start().await;
    let mut changes = control.changes();
    for number in 0..=weir_control::bounds::CHANGES_MAX + 1 {
        let key = number.to_string();
        control.kv_put(KvPut { namespace: NS, key: &key, value: b"", ..KvPut::default() }).await.unwrap();
    }
    assert!(matches!(changes.next().await, ChangeEvent::Resync));
    let done = control.register_instance(instance("web", "w"), vec![], false).await.unwrap();
    let ChangeEvent::Change(change) = changes.next().await else { panic!("the subscription goes on") };
    assert_eq!(change.position, done.position);
    drop(control);
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_and_harms_nothing_else() {
    let store = Arc::new(Memory::new());
    let control = start_on(store.clone()).await;
    control.register_instance(instance("web", "w"), vec![], false).await.unwrap();
    for (kind, tail) in [("instance", "weir/bad"), ("check", "weir/bad"), ("node", "bad"), ("kv", "bad")] {
        put_behind(&store, Key::new(kind, NS, tail).unwrap(), b"{ nonsense").await;
    }
    put_behind(&store, Key::new("future-kind", NS, "x").unwrap(), b"?").await;
    caught_up(&store, &control).await;
    assert_eq!(control.catalog().service_view(NS, "web").entries.len(), 1);
    let restarted = start_on(store).await;
    assert_eq!(restarted.catalog().service_view(NS, "web").entries.len(), 1);
    assert_eq!(restarted.catalog().nodes_view().entries.len(), 1);
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let store = Arc::new(Memory::new());
    let key = Key::new("format", "cluster", "format").unwrap();
    put_behind(&store, key, br#"{"minimum_reader":2,"minimum_writer":3,"unknown":true}"#).await;
    let refused = weir_control::Control::start(store, settings()).await;
    assert!(matches!(refused, Err(weir_control::Error::Format { needed: 3, known: 1 })), "{refused:?}");
}

#[tokio::test]
async fn after_a_restart_no_index_is_lower_than_before() {
    let store = Arc::new(Memory::new());
    let control = start_on(store.clone()).await;
    control.register_instance(instance("web", "a"), vec![], false).await.unwrap();
    control.register_instance(instance("web", "b"), vec![], false).await.unwrap();
    control.deregister_instance(&instance_ref("b")).await.unwrap();
    let before = control.catalog().service_view(NS, "web").index;
    drop(control);
    let control = start_on(store).await;
    assert!(control.catalog().service_view(NS, "web").index >= before);
}
