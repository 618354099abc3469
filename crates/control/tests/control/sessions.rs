//! Sessions and the keys they hold, on the runtime's virtual clock.

use std::sync::Arc;
use std::time::Duration;

use weir_control::bounds::{LEASE_STANDSTILL, SESSION_END_KEYS_MAX};
use weir_control::catalog::Topic;
use weir_control::kv::{KvLock, KvPut};
use weir_control::session::{Behavior, Session, SessionRef};
use weir_control::{Control, Error};
use weir_model::registry::Health;
use weir_model::units::Span;
use weir_store::{Memory, Store};

use crate::support::*;

const TTL: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_secs(15);

fn session() -> Session {
    Session {
        namespace: NS.to_owned(),
        node: NODE.to_owned(),
        lock_delay: Span(DELAY),
        ttl: Some(Span(TTL)),
        ..Session::default()
    }
}

async fn create(control: &Control, session: Session) -> SessionRef {
    control.create_session(session).await.expect("created").0
}

fn is_there(control: &Control, name: &SessionRef) -> bool {
    control.catalog().session(name).entries.is_some()
}

async fn put(control: &Control, key: &str, lock: Option<KvLock<'_>>) -> bool {
    let put = KvPut { namespace: NS, key, value: b"v", lock, ..KvPut::default() };
    control.kv_put(put).await.expect("answered").is_some()
}

async fn acquire(control: &Control, key: &str, session: &SessionRef) -> bool {
    put(control, key, Some(KvLock::Acquire(&session.id))).await
}

async fn release(control: &Control, key: &str, session: &SessionRef) -> bool {
    put(control, key, Some(KvLock::Release(&session.id))).await
}

fn holder(control: &Control, key: &str) -> Option<(Option<String>, u64)> {
    let entry = control.catalog().kv_get(NS, key).entries?;
    Some((entry.session.as_ref().map(ToString::to_string), entry.lock_index))
}

/// Waits until what is under way without a timer is done.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_lives_for_its_ttl_at_least_and_for_twice_of_it_at_most() {
    let control = start().await;
    let name = create(&control, session()).await;
    let forever = create(&control, Session { ttl: None, ..session() }).await;
    for _ in 0..5 {
        tokio::time::sleep(TTL).await;
        control.renew_session(&name).await.expect("it lives");
    }
    let revision = control.position();
    tokio::time::sleep(TTL).await;
    assert!(is_there(&control, &name));
    assert_eq!(control.position(), revision, "renewals are not written");
    tokio::time::sleep(TTL).await;
    assert!(!is_there(&control, &name));
    assert!(matches!(control.renew_session(&name).await, Err(Error::NotFound { .. })));
    tokio::time::sleep(TTL * 1000).await;
    control.renew_session(&forever).await.expect("without a TTL it lives for ever");
}

#[tokio::test(start_paused = true)]
async fn who_stood_still_judges_nobody() {
    let control = start().await;
    let name = create(&control, session()).await;
    settle().await;
    tokio::time::advance(LEASE_STANDSTILL + TTL * 3).await;
    settle().await;
    assert!(is_there(&control, &name), "nobody could have renewed it");
    tokio::time::sleep(TTL * 2).await;
    assert!(!is_there(&control, &name));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_held_by_one_session_until_it_is_released() {
    let control = start().await;
    let (a, b) = (create(&control, session()).await, create(&control, session()).await);
    assert!(acquire(&control, "k", &a).await);
    let revision = control.position();
    assert!(acquire(&control, "k", &a).await, "again by the same session");
    assert_eq!(control.position(), revision, "and nothing to write");
    assert!(!acquire(&control, "k", &b).await);
    assert!(!release(&control, "k", &b).await);
    assert_eq!(holder(&control, "k"), Some((Some(a.id.clone()), 1)));
    let other = KvPut { namespace: NS, key: "k", value: b"w", ..KvPut::default() };
    assert!(control.kv_put(other).await.unwrap().is_some(), "locks are advisory");
    assert_eq!(holder(&control, "k"), Some((Some(a.id.clone()), 1)), "and a put changes no holder");
    assert!(release(&control, "k", &a).await);
    assert!(!release(&control, "k", &a).await);
    assert_eq!(holder(&control, "k"), Some((None, 1)));
    assert!(acquire(&control, "k", &b).await, "a release is not delayed");
    assert_eq!(holder(&control, "k"), Some((Some(b.id.clone()), 2)));
    control.kv_delete(NS, "k", None).await.unwrap();
    assert!(acquire(&control, "k", &a).await);
    assert_eq!(holder(&control, "k"), Some((Some(a.id), 1)), "it begins anew with the key");
    let unknown = KvLock::Acquire("7c2fa8a5-0000-4000-8000-000000000000");
    let put = KvPut { namespace: NS, key: "k", lock: Some(unknown), ..KvPut::default() };
    assert!(matches!(control.kv_put(put).await, Err(Error::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_lets_go_of_its_keys_and_delays_the_next_lock() {
    let control = start().await;
    let other = create(&control, Session { ttl: None, ..session() }).await;
    for behavior in [Behavior::Release, Behavior::Delete] {
        let name = create(&control, Session { behavior, ..session() }).await;
        assert!(acquire(&control, "a", &name).await && acquire(&control, "b", &name).await);
        control.destroy_session(&name).await.unwrap();
        let left = (behavior == Behavior::Release).then_some((None, 1));
        assert_eq!((holder(&control, "a"), holder(&control, "b")), (left.clone(), left));
        assert!(!acquire(&control, "a", &other).await, "within the delay");
        assert!(put(&control, "a", None).await, "a put is not delayed");
        tokio::time::sleep(DELAY - Duration::from_secs(1)).await;
        assert!(!acquire(&control, "b", &other).await, "within the delay");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(acquire(&control, "a", &other).await && acquire(&control, "b", &other).await);
        control.kv_delete_prefix(NS, "").await.unwrap();
    }
    let hasty = create(&control, Session { lock_delay: Span(Duration::ZERO), ..session() }).await;
    assert!(acquire(&control, "a", &hasty).await);
    control.destroy_session(&hasty).await.unwrap();
    assert!(acquire(&control, "a", &other).await, "it wants no delay");
    assert!(!control.destroy_session(&hasty).await.unwrap().changed);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_what_it_relies_on() {
    let control = start().await;
    control.register_node(node("host")).await.unwrap();
    let checked = |id: &str| weir_model::registry::Check {
        node: "host".to_owned(),
        ..check(id, None, Health::Passing)
    };
    for id in ["fails", "goes", "stays"] {
        control.register_check(checked(id)).await.unwrap();
    }
    let on_host = |checks: &[&str]| Session {
        node: "HOST".to_owned(),
        node_checks: checks.iter().map(|id| (*id).to_owned()).collect(),
        ttl: None,
        ..session()
    };
    let fails = create(&control, on_host(&["fails", "stays"])).await;
    let goes = create(&control, on_host(&["goes"])).await;
    let stays = create(&control, on_host(&["stays"])).await;
    assert!(acquire(&control, "k", &fails).await);
    let name = |id: &str| weir_control::catalog::CheckRef::new(NS, "host", id);
    control.set_check(&name("fails"), Health::Warning, "").await.unwrap();
    settle().await;
    assert!(is_there(&control, &fails), "a warning is no failure");
    control.set_check(&name("fails"), Health::Critical, "").await.unwrap();
    control.deregister_check(&name("goes")).await.unwrap();
    settle().await;
    assert_eq!([&fails, &goes, &stays].map(|name| is_there(&control, name)), [false, false, true]);
    assert_eq!(holder(&control, "k"), Some((None, 1)));
    assert!(matches!(control.create_session(on_host(&["fails"])).await, Err(Error::Refused { .. })));
    assert!(matches!(control.create_session(on_host(&["goes"])).await, Err(Error::NotFound { .. })));
    control.deregister_node("host").await.unwrap();
    settle().await;
    assert!(!is_there(&control, &stays));
    assert!(matches!(control.create_session(on_host(&[])).await, Err(Error::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn many_keys_are_let_go_in_several_steps() {
    let control = start().await;
    let name = create(&control, session()).await;
    let count = SESSION_END_KEYS_MAX * 2 + 1;
    for number in 0..count {
        assert!(acquire(&control, &format!("k/{number}"), &name).await);
    }
    control.destroy_session(&name).await.unwrap();
    assert!(!is_there(&control, &name));
    let entries = control.catalog().kv_list(NS, "k/").entries;
    assert_eq!((entries.len(), entries.iter().filter(|entry| entry.session.is_some()).count()), (count, 0));
}

#[tokio::test(start_paused = true)]
async fn sessions_outlive_a_restart_and_have_their_full_time_again() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let control = start_on(Arc::clone(&store)).await;
    let name = create(&control, session()).await;
    let gone = create(&control, session()).await;
    assert!(acquire(&control, "k", &name).await && acquire(&control, "delayed", &gone).await);
    control.destroy_session(&gone).await.unwrap();
    tokio::time::sleep(TTL).await;
    drop(control);
    let control = start_on(store).await;
    tokio::time::sleep(TTL).await;
    assert!(is_there(&control, &name));
    assert_eq!(holder(&control, "k"), Some((Some(name.id.clone()), 1)));
    tokio::time::sleep(TTL).await;
    assert!(!is_there(&control, &name));
    assert_eq!(holder(&control, "k"), Some((None, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_known_after_a_restart() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let control = start_on(Arc::clone(&store)).await;
    let name = create(&control, session()).await;
    assert!(acquire(&control, "k", &name).await);
    control.destroy_session(&name).await.unwrap();
    drop(control);
    let control = start_on(store).await;
    let other = create(&control, session()).await;
    assert!(!acquire(&control, "k", &other).await);
    tokio::time::sleep(DELAY + Duration::from_secs(1)).await;
    control.renew_session(&other).await.unwrap_err();
    let other = create(&control, session()).await;
    assert!(acquire(&control, "k", &other).await);
}

#[tokio::test]
async fn no_key_is_held_by_a_session_that_has_ended() {
    let control = start().await;
    for round in 0..30 {
        let name = create(&control, Session { lock_delay: Span(Duration::ZERO), ..session() }).await;
        let keys: Vec<_> = (0..8).map(|number| format!("{round}/{number}")).collect();
        let locks = futures_util::future::join_all(keys.iter().map(|key| async {
            let lock = Some(KvLock::Acquire(&name.id));
            let put = KvPut { namespace: NS, key, value: b"", lock, ..KvPut::default() };
            // Refused if the session has ended already.
            control.kv_put(put).await.is_ok_and(|done| done.is_some())
        }));
        let (_, ended) = futures_util::future::join(locks, control.destroy_session(&name)).await;
        ended.unwrap();
        let held = control.catalog().kv_list(NS, "").entries;
        let held: Vec<_> = held.iter().filter(|entry| entry.session.is_some()).collect();
        assert!(held.is_empty(), "{held:?}");
    }
}

#[tokio::test]
async fn plain_puts_and_locks_at_the_same_time_lose_no_lock() {
    let control = start().await;
    let name = create(&control, session()).await;
    for round in 0..50 {
        let key = format!("k{round}");
        let puts = futures_util::future::join_all((0..4).map(|_| put(&control, &key, None)));
        let (_, locked) = futures_util::future::join(puts, acquire(&control, &key, &name)).await;
        assert!(locked);
        assert_eq!(holder(&control, &key), Some((Some(name.id.clone()), 1)));
    }
}

#[tokio::test]
async fn watches_of_sessions_wake_for_sessions_only() {
    let control = start().await;
    let name = create(&control, session()).await;
    let topics = [
        Topic::Session(name.clone()),
        Topic::Sessions { namespace: NS.to_owned() },
        Topic::node_sessions(NS, NODE),
    ];
    let before = topics.each_ref().map(|topic| control.catalog().index(topic));
    assert!(acquire(&control, "k", &name).await);
    assert_eq!(topics.each_ref().map(|topic| control.catalog().index(topic)), before);
    let done = control.destroy_session(&name).await.unwrap().position.revision;
    assert_eq!(topics.each_ref().map(|topic| control.catalog().index(topic)), [done; 3]);
}
