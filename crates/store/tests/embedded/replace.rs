//! Everything in a store put in another's place while it is used.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_store::{Compare, Error, Key, KeyRange, Memory, Store, Txn, Value, list};

use crate::support::{PATIENCE, contents, key, open, put, value};

fn values(pairs: &[(&str, &str)]) -> BTreeMap<Key, Value> {
    pairs.iter().map(|(name, text)| (key(name), value(text))).collect()
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// What every engine that can do it must do.
async fn replaces(store: &dyn Store) {
    put(store, "stays", "old").await.expect("accepted");
    put(store, "goes", "old").await.expect("accepted");
    let lease = store.grant(Duration::from_secs(60)).await.expect("a lease").id;
    store.commit(Txn::new().put_leased(key("leased"), value("x"), lease)).await.expect("accepted");
    let before = store.position().await.expect("a position");
    let known = store.get(&key("stays")).await.expect("a read").expect("it is there").entry;
    let mut watch = store.watch(KeyRange::all(), before.revision + 1).await.expect("a watch");

    let after = store.replace(values(&[("stays", "new"), ("comes", "new")]), 0).await.expect("replaced");

    assert_eq!(after, store.position().await.expect("a position"));
    assert!(after.epoch > before.epoch && after.revision == before.revision + 1);
    assert_eq!(contents(store).await, texts(&[("stays", "new"), ("comes", "new")]));
    let (all, _) = list(store, &KeyRange::all()).await.expect("a list");
    assert!(all.iter().all(|pair| pair.entry.mod_revision == after.revision && pair.entry.version == 1));
    let ended = tokio::time::timeout(PATIENCE, watch.next()).await.expect("it hangs").expect_err("it ends");
    assert!(ended.needs_resync(), "{ended}");
    let past = store.watch(KeyRange::all(), before.revision).await.expect_err("no history leads over it");
    assert!(past.needs_resync(), "{past}");
    assert_eq!(store.keep_alive(lease).await, Err(Error::LeaseNotFound { id: lease }));
    assert_eq!(store.stats().leases, 0);
    // What was decided on what was there before is not done.
    let stale =
        Txn::new().when(Compare::unchanged(key("stays"), known.mod_revision)).put(key("stays"), value("no"));
    assert!(!store.commit(stale).await.expect("an answer").succeeded);

    let mut watch = store.watch(KeyRange::all(), after.revision + 1).await.expect("a watch");
    let next = put(store, "later", "x").await.expect("accepted").position;
    assert_eq!((next.epoch, next.revision), (after.epoch, after.revision + 1));
    let batch = tokio::time::timeout(PATIENCE, watch.next()).await.expect("it hangs").expect("a batch");
    assert_eq!(batch.position, next);
    let far = after.epoch + 1_000_000_000;
    assert!(store.replace(BTreeMap::new(), far).await.expect("replaced").epoch > far);
    assert_eq!(contents(store).await, BTreeMap::new());
}

#[tokio::test]
async fn in_memory() {
    replaces(&Memory::new()).await;
}

#[tokio::test]
async fn in_a_file_and_beyond_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let store = open(&path);
    replaces(&store).await;
    let position = store.replace(values(&[("a", "1")]), 0).await.expect("replaced");
    drop(store);
    let store = open(&path);
    assert_eq!(store.position().await.expect("a position"), position);
    assert_eq!(contents(&store).await, texts(&[("a", "1")]));
}

#[tokio::test]
async fn what_does_not_fit_changes_nothing() {
    let store = Memory::new();
    put(&store, "a", "1").await.expect("accepted");
    let before = store.position().await.expect("a position");
    let large = vec![0; store.limits().value_bytes_max + 1].into();
    let error = store.replace(BTreeMap::from([(key("b"), large)]), 0).await.expect_err("too large");
    assert!(matches!(error, Error::LimitExceeded { limit: "value_bytes_max", .. }), "{error}");
    assert_eq!(store.position().await.expect("a position"), before);
    assert_eq!(contents(&store).await, texts(&[("a", "1")]));
}
