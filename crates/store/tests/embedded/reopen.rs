//! A store closed and opened again is the same store.

use std::sync::Arc;
use std::time::Duration;

use weir_store::clock::ManualClock;
use weir_store::{Embedded, Error, KeyRange, Limits, Options, Spec, Store, Txn, list};

use crate::support::{PATIENCE, contents, key, open, put, value};

const TTL: Duration = Duration::from_secs(10);

#[tokio::test]
async fn everything_is_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let store = open(&path);
    for (name, text) in [("a", "1"), ("b", "1"), ("a", "2"), ("empty", ""), ("gone", "x")] {
        put(&store, name, text).await.expect("accepted");
    }
    store.commit(Txn::new().delete(key("gone"))).await.expect("accepted");
    let before = list(&store, &KeyRange::all()).await.expect("a list");
    drop(store);

    for _ in 0..2 {
        let store = open(&path);
        assert_eq!(list(&store, &KeyRange::all()).await.expect("a list"), before);
    }
    let store = open(&path);
    let next = put(&store, "c", "1").await.expect("accepted").position;
    assert_eq!((next.epoch, next.revision), (before.1.epoch, before.1.revision + 1));
}

#[tokio::test]
async fn watches_start_after_the_present_revision() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let store = open(&path);
    put(&store, "a", "1").await.expect("accepted");
    let last = put(&store, "a", "2").await.expect("accepted").position.revision;
    drop(store);
    let store = open(&path);
    let error = store.watch(KeyRange::all(), last).await.expect_err("the history is gone");
    assert_eq!(error, Error::Compacted { oldest: last + 1 });
    let mut watch = store.watch(KeyRange::all(), last + 1).await.expect("a watch");
    let position = put(&store, "a", "3").await.expect("accepted").position;
    let batch = tokio::time::timeout(PATIENCE, watch.next()).await.expect("it hangs").expect("a batch");
    assert_eq!(batch.position, position);
    assert_eq!(batch.events[0].before.as_ref().map(|before| before.value.clone()), Some(b"2".into()));
}

fn open_with(path: &std::path::Path, clock: &ManualClock) -> Embedded {
    let mut options = Options::default();
    options.clock = Arc::new(clock.clone());
    Embedded::open(path, options).expect("the store opens")
}

#[tokio::test]
async fn leases_survive_with_their_full_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let clock = ManualClock::new();
    let store = open_with(&path, &clock);
    let lease = store.grant(TTL).await.expect("a lease").id;
    let revoked = store.grant(TTL).await.expect("a lease").id;
    let txn = Txn::new().put_leased(key("a"), value("x"), lease).put_leased(key("b"), value("x"), lease);
    store.commit(txn.put_leased(key("c"), value("x"), revoked)).await.expect("accepted");
    store.revoke(revoked).await.expect("revoked");
    clock.advance(TTL - Duration::from_millis(1));
    drop(store);

    let store = open_with(&path, &clock);
    assert!(store.keep_alive(revoked).await.is_err());
    clock.advance(TTL - Duration::from_millis(1));
    assert_eq!(store.stats().leases, 1, "it has its full time again");
    let revision = store.position().await.expect("a position").revision;
    let mut watch = store.watch(KeyRange::all(), revision + 1).await.expect("a watch");
    clock.advance(Duration::from_millis(1));
    let batch = tokio::time::timeout(PATIENCE, watch.next()).await.expect("it hangs").expect("a batch");
    assert_eq!(batch.events.len(), 2);
    assert!(store.keep_alive(lease).await.is_err());
    let new = store.grant(TTL).await.expect("a lease").id;
    assert!(new != lease && new != revoked, "names of leases are not used again");
    drop(store);

    let store = open_with(&path, &clock);
    assert!(contents(&store).await.is_empty());
    assert_eq!(store.stats().leases, 1);
}

#[tokio::test]
async fn a_file_is_open_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let store = open(&path);
    let error = Embedded::open(&path, Options::default()).err().expect("it is in use");
    assert_eq!(error, Error::InUse { path: path.display().to_string() });
    put(&store, "a", "1").await.expect("the first one is unharmed");
    drop(store);
    assert_eq!(contents(&open(&path)).await.len(), 1);
}

#[tokio::test]
async fn a_replaced_file_has_a_higher_epoch() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let first = open(&path).position().await.expect("a position");
    std::fs::remove_file(&path).expect("the file can be removed");
    let second = open(&path).position().await.expect("a position");
    assert!(second.epoch > first.epoch);

    let mut options = Options::default();
    options.epoch_above = second.epoch + 1_000_000;
    let third = Embedded::open(folder.path().join("imported"), options).expect("a new store");
    assert_eq!(third.position().await.expect("a position").epoch, second.epoch + 1_000_001);
}

#[tokio::test]
async fn engines_open_by_their_spec() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let spec: Spec = format!("embedded:{}", path.display()).parse().expect("valid");
    let store = weir_store::open(&spec).await.expect("it opens");
    put(&*store, "a", "1").await.expect("accepted");
    assert_eq!(store.limits(), Limits::default());
    drop(store);
    assert_eq!(contents(&*weir_store::open(&spec).await.expect("it opens")).await.len(), 1);
    let memory = weir_store::open(&Spec::Memory).await.expect("it opens");
    assert!(contents(&*memory).await.is_empty());
}
