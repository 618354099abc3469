//! The KV store.

use std::sync::Arc;

use weir_control::bounds::{KV_DELETE_KEYS_MAX, KV_VALUE_BYTES_MAX};
use weir_control::kv::KvPut;
use weir_control::{Control, Error};
use weir_store::{KeyRange, Memory, Store, list};

use crate::support::*;

fn of<'a>(key: &'a str, value: &'a [u8]) -> KvPut<'a> {
    KvPut { namespace: NS, key, value, ..KvPut::default() }
}

async fn put(control: &Control, key: &str, value: &[u8]) -> u64 {
    control.kv_put(of(key, value)).await.unwrap().unwrap().position.revision
}

#[tokio::test]
async fn a_key_holds_value_flags_and_revisions() {
    let control = start().await;
    let created = put(&control, "a/b c", b"1").await;
    let changed = control.kv_put(KvPut { flags: u64::MAX, ..of("a/b c", b"\n\0") }).await.unwrap().unwrap();
    let entry = control.catalog().kv_get(NS, "a/b c").entries.unwrap();
    assert_eq!((entry.value(), entry.flags), (&b"\n\0"[..], u64::MAX));
    assert_eq!((entry.create_revision, entry.modify_revision), (created, changed.position.revision));
    let again = control.kv_put(KvPut { flags: u64::MAX, ..of("a/b c", b"\n\0") }).await.unwrap().unwrap();
    assert!(!again.changed);
    assert_eq!(control.position().revision, changed.position.revision);
}

#[tokio::test]
async fn compare_and_set_holds_or_changes_nothing() {
    let control = start().await;
    let cas = |cas| KvPut { cas: Some(cas), ..of("k", b"v") };
    assert!(control.kv_put(cas(7)).await.unwrap().is_none());
    let first = control.kv_put(cas(0)).await.unwrap().unwrap();
    assert!(control.kv_put(cas(0)).await.unwrap().is_none());
    let other = KvPut { value: b"w", ..cas(first.position.revision) };
    let second = control.kv_put(other.clone()).await.unwrap().unwrap();
    assert!(control.kv_put(other).await.unwrap().is_none());
    assert!(control.kv_delete(NS, "k", Some(first.position.revision)).await.unwrap().is_none());
    let done = control.kv_delete(NS, "k", Some(second.position.revision)).await.unwrap().unwrap();
    assert!(done.changed);
    assert!(control.catalog().kv_get(NS, "k").entries.is_none());
    assert!(!control.kv_delete(NS, "k", None).await.unwrap().unwrap().changed);
}

#[tokio::test]
async fn keys_are_listed_by_prefix_and_level() {
    let control = start().await;
    for key in ["a", "app/", "app/x", "app/sub/1", "app/sub/2", "apple", "b/1"] {
        put(&control, key, b"").await;
    }
    let names = |prefix: &str, separator: &str| {
        let names = control.catalog().kv_keys(NS, prefix, separator).entries;
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names("", "/"), ["a", "app/", "apple", "b/"]);
    assert_eq!(names("app/", "/"), ["app/", "app/sub/", "app/x"]);
    assert_eq!(names("app/", ""), ["app/", "app/sub/1", "app/sub/2", "app/x"]);
    assert_eq!(names("nothing", "/"), [""; 0]);
    assert_eq!(control.catalog().kv_list(NS, "app/").entries.len(), 4);
    control.kv_delete_prefix(NS, "app/").await.unwrap();
    assert_eq!(names("", ""), ["a", "apple", "b/1"]);
    control.kv_delete_prefix(NS, "").await.unwrap();
    assert!(control.catalog().kv_list(NS, "").entries.is_empty());
    assert!(!control.kv_delete_prefix(NS, "").await.unwrap().changed);
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let control = start().await;
    put(&control, "k", b"1").await;
    control.kv_put(KvPut { namespace: "other", ..of("k", b"2") }).await.unwrap().unwrap();
    control.kv_delete_prefix(NS, "").await.unwrap();
    assert_eq!(control.catalog().kv_get("other", "k").entries.unwrap().value(), b"2");
}

#[tokio::test]
async fn sizes_and_names_are_bounded() {
    let control = start().await;
    let value = vec![7; KV_VALUE_BYTES_MAX + 1];
    put(&control, "k", &value[1..]).await;
    let refused = control.kv_put(of("k", &value)).await;
    assert!(matches!(refused, Err(Error::TooLarge { max, .. }) if max == KV_VALUE_BYTES_MAX as u64));
    assert!(matches!(control.kv_put(of("", b"")).await, Err(Error::Invalid { .. })));
    assert!(matches!(control.kv_put(of(&"k".repeat(2000), b"")).await, Err(Error::Invalid { .. })));
    let elsewhere = KvPut { namespace: "a/b", ..of("k", b"") };
    assert!(matches!(control.kv_put(elsewhere).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn a_large_tree_is_deleted_in_steps() {
    let store = Arc::new(Memory::new());
    let control = start_on(store.clone()).await;
    let keys = KV_DELETE_KEYS_MAX * 2 + 10;
    for number in 0..keys {
        put(&control, &format!("t/{number:06}"), b"").await;
    }
    put(&control, "u", b"").await;
    let before = control.position().revision;
    control.kv_delete_prefix(NS, "t/").await.unwrap();
    assert_eq!(control.position().revision, before + 3);
    assert_eq!(control.catalog().kv_list(NS, "").entries.len(), 1);
    let (left, _) = list(&*store as &dyn Store, &KeyRange::kind("kv")).await.unwrap();
    assert_eq!(left.len(), 1);
}
