//! Blocking queries: precise wakes, indexes that never go backwards, bounds.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use weir_control::kv::KvPut;
use weir_control::{Control, Error, Topic};
use weir_model::Revision;
use weir_model::registry::{Health, Instance};

use crate::support::*;

const LONG: Duration = Duration::from_secs(300);

/// A waiter that has taken its place.
async fn waiter(control: &Arc<Control>, topic: Topic) -> JoinHandle<Result<Revision, Error>> {
    let before = control.catalog().waiters();
    let after = control.catalog().index(&topic);
    let waiting = Arc::clone(control);
    let task = tokio::spawn(async move { waiting.wait(&topic, after, LONG).await });
    while control.catalog().waiters() == before {
        tokio::task::yield_now().await;
    }
    task
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn kv(key: &str) -> Topic {
    Topic::KvKey { namespace: NS.to_owned(), key: key.to_owned() }
}

fn prefix(prefix: &str) -> Topic {
    Topic::KvPrefix { namespace: NS.to_owned(), prefix: prefix.to_owned() }
}

async fn put(control: &Control, key: &str) {
    control.kv_put(KvPut { namespace: NS, key, value: b"x", ..KvPut::default() }).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_change_of_one_service_wakes_no_other_watcher() {
    let control = start().await;
    control.register_instance(instance("web", "w"), vec![], false).await.unwrap();
    control.register_instance(instance("db", "d"), vec![], false).await.unwrap();
    let web = waiter(&control, Topic::service(NS, "web")).await;
    let db = waiter(&control, Topic::service(NS, "db")).await;
    let list = waiter(&control, Topic::Services { namespace: NS.to_owned() }).await;
    let nodes = waiter(&control, Topic::Nodes).await;
    let critical =
        waiter(&control, Topic::Checks { namespace: NS.to_owned(), health: Some(Health::Critical) }).await;

    let done =
        control.register_instance(Instance { port: 1, ..instance("web", "w") }, vec![], false).await.unwrap();
    assert_eq!(web.await.unwrap().unwrap(), done.position.revision);
    put(&control, "unrelated").await;
    let warning = vec![check("c", Some("w"), Health::Warning)];
    control.register_instance(Instance { port: 1, ..instance("web", "w") }, warning, false).await.unwrap();
    settle().await;
    assert!(!db.is_finished() && !list.is_finished() && !nodes.is_finished() && !critical.is_finished());
    assert_eq!(control.catalog().waiters(), 4);

    // A check of the node concerns every service on it.
    let done = control.register_check(check("disk", None, Health::Critical)).await.unwrap();
    assert_eq!(db.await.unwrap().unwrap(), done.position.revision);
    assert_eq!(critical.await.unwrap().unwrap(), done.position.revision);
    assert!(!list.is_finished() && !nodes.is_finished());
    list.abort();
    nodes.abort();
    let _ = (list.await, nodes.await);
    assert_eq!(control.catalog().waiters(), 0);
}

#[tokio::test]
async fn maintenance_wakes_who_watches_critical_checks() {
    let control = start().await;
    control.register_instance(instance("web", "w"), vec![], false).await.unwrap();
    let critical = || Topic::Checks { namespace: NS.to_owned(), health: Some(Health::Critical) };
    for reason in [Some("disk"), None] {
        let watch = waiter(&control, critical()).await;
        let done = control.maintain_instance(&instance_ref("w"), reason).await.unwrap();
        assert_eq!(watch.await.unwrap().unwrap(), done.position.revision, "instance: {reason:?}");
        let watch = waiter(&control, critical()).await;
        let done = control.maintain_node(NODE, reason).await.unwrap();
        assert_eq!(watch.await.unwrap().unwrap(), done.position.revision, "node: {reason:?}");
    }
}

#[tokio::test]
async fn a_service_that_appears_and_vanishes_wakes_its_watchers() {
    let control = start().await;
    let task = waiter(&control, Topic::service(NS, "web")).await;
    let done = control.register_instance(instance("web", "w"), vec![], false).await.unwrap();
    assert_eq!(task.await.unwrap().unwrap(), done.position.revision);
    let task = waiter(&control, Topic::service(NS, "web")).await;
    let done = control.deregister_instance(&instance_ref("w")).await.unwrap();
    assert_eq!(task.await.unwrap().unwrap(), done.position.revision);
    // The deletion's index stays when others move on.
    put(&control, "unrelated").await;
    assert_eq!(control.catalog().service_view(NS, "web").index, done.position.revision);
}

#[tokio::test]
async fn kv_watchers_wake_for_their_keys_only() {
    let control = start().await;
    put(&control, "app/a").await;
    put(&control, "other/a").await;
    let key = waiter(&control, kv("app/a")).await;
    let app = waiter(&control, prefix("app/")).await;
    let all = waiter(&control, prefix("")).await;
    let other = waiter(&control, prefix("other/")).await;
    let half = waiter(&control, prefix("app/abc")).await;
    put(&control, "app/b").await;
    assert!(app.await.unwrap().unwrap() == control.position().revision);
    all.await.unwrap().unwrap();
    settle().await;
    assert!(!key.is_finished() && !other.is_finished() && !half.is_finished());
    let done = control.kv_delete(NS, "app/a", None).await.unwrap().unwrap();
    assert_eq!(key.await.unwrap().unwrap(), done.position.revision);
    assert_eq!(control.catalog().kv_get(NS, "app/a").index, done.position.revision);
    assert_eq!(control.catalog().kv_list(NS, "app/").index, done.position.revision);
    settle().await;
    assert!(!other.is_finished() && !half.is_finished());
    put(&control, "app/abcd").await;
    half.await.unwrap().unwrap();
    other.abort();
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_time_or_at_once_when_there_is_news() {
    let control = start().await;
    put(&control, "a").await;
    let index = control.catalog().index(&kv("a"));
    assert_eq!(control.wait(&kv("a"), 0, LONG).await.unwrap(), index);
    assert_eq!(control.wait(&kv("a"), index - 1, LONG).await.unwrap(), index);
    let start = tokio::time::Instant::now();
    assert_eq!(control.wait(&kv("a"), index, Duration::from_secs(7)).await.unwrap(), index);
    assert_eq!(start.elapsed(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn an_index_ahead_of_the_catalog_waits_for_it_but_not_for_ever() {
    let control = start().await;
    put(&control, "a").await;
    let ahead = control.position().revision + 2;
    let start = tokio::time::Instant::now();
    let index = control.wait(&kv("a"), ahead, LONG).await.unwrap();
    assert!(index < ahead, "the client is told to start anew");
    assert_eq!(start.elapsed(), weir_control::bounds::AHEAD_WAIT_MAX);

    let waiting = Arc::clone(&control);
    let task = tokio::spawn(async move { waiting.wait(&kv("a"), ahead, LONG).await });
    while control.catalog().waiters() == 0 {
        tokio::task::yield_now().await;
    }
    put(&control, "b").await;
    put(&control, "c").await;
    put(&control, "b2").await;
    settle().await;
    assert!(!task.is_finished(), "the catalog got there, so it waits for a change like any other");
    control.kv_delete(NS, "a", None).await.unwrap();
    assert_eq!(task.await.unwrap().unwrap(), control.position().revision);
}

#[tokio::test]
async fn too_many_waiters_are_refused() {
    let control = start().await;
    let after = control.catalog().index(&Topic::Nodes);
    let mut waiting: Vec<_> = (0..weir_control::bounds::WAITERS_MAX)
        .map(|_| Box::pin(control.wait(&Topic::Nodes, after, LONG)))
        .collect();
    for wait in &mut waiting {
        assert!(futures_util::poll!(wait.as_mut()).is_pending());
    }
    let refused = control.wait(&Topic::Nodes, after, LONG).await;
    assert!(matches!(refused, Err(Error::Overloaded { .. })), "{refused:?}");
    drop(waiting);
    assert_eq!(control.catalog().waiters(), 0);
}
