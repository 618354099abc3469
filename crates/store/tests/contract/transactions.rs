//! Conditions, several writes at once, limits.

use weir_store::{Compare, Error, KeyRange, Limits, Read, Relation, Txn, Written};

use crate::support::{Make, key, value};

pub(crate) async fn compares_relate_stored_to_given(make: Make) {
    use Relation::{Equal, Greater, Less, NotEqual};
    let fixture = make(Limits::default());
    let created = fixture.put("a", "m").await;
    let modified = fixture.put("a", "m").await;
    let (a, none) = (key("a"), key("none"));
    let cases = [
        (Compare::Exists(a.clone()), true),
        (Compare::Exists(none.clone()), false),
        (Compare::Absent(a.clone()), false),
        (Compare::Absent(none.clone()), true),
        (Compare::Version(a.clone(), Equal, 2), true),
        (Compare::Version(a.clone(), Less, 2), false),
        (Compare::Version(a.clone(), Less, 3), true),
        (Compare::Version(none.clone(), Equal, 0), true),
        (Compare::CreateRevision(a.clone(), Equal, created), true),
        (Compare::CreateRevision(a.clone(), NotEqual, created), false),
        (Compare::CreateRevision(none.clone(), Equal, 0), true),
        (Compare::unchanged(a.clone(), modified), true),
        (Compare::unchanged(a.clone(), created), false),
        (Compare::unchanged(none.clone(), 0), true),
        (Compare::ModRevision(a.clone(), Greater, created), true),
        (Compare::ModRevision(a.clone(), Greater, modified), false),
        (Compare::Value(a.clone(), Equal, value("m")), true),
        (Compare::Value(a.clone(), NotEqual, value("m")), false),
        (Compare::Value(a.clone(), Less, value("n")), true),
        (Compare::Value(a.clone(), Greater, value("l")), true),
        (Compare::Value(none.clone(), Equal, value("")), false),
        (Compare::Value(none, NotEqual, value("x")), false),
    ];
    for (compare, holds) in cases {
        let outcome = fixture.commit(Txn::new().when(compare.clone())).await;
        assert_eq!(outcome.succeeded, holds, "{compare:?}");
    }
}

pub(crate) async fn all_conditions_must_hold(make: Make) {
    let fixture = make(Limits::default());
    fixture.put("a", "1").await;
    let txn = |second| Txn::new().when(Compare::Exists(key("a"))).when(second).put(key("b"), value("x"));
    assert!(!fixture.commit(txn(Compare::Exists(key("b")))).await.succeeded);
    assert_eq!(fixture.text("b").await, None);
    assert!(fixture.commit(txn(Compare::Absent(key("b")))).await.succeeded);
    assert_eq!(fixture.text("b").await.as_deref(), Some("x"));
}

pub(crate) async fn all_writes_take_effect_in_one_revision(make: Make) {
    let fixture = make(Limits::default());
    fixture.put("old", "1").await;
    let txn =
        (0..50).fold(Txn::new().delete(key("old")), |txn, i| txn.put(key(&format!("new{i:02}")), value("x")));
    let outcome = fixture.commit(txn).await;
    let page = fixture.store.range(Read::range(KeyRange::all())).await.expect("a page");
    assert_eq!(page.position, outcome.position);
    assert_eq!(page.entries.len(), 50);
    assert!(page.entries.iter().all(|found| found.entry.mod_revision == outcome.position.revision));
}

pub(crate) async fn a_failed_condition_answers_the_reads(make: Make) {
    let fixture = make(Limits::default());
    let revision = fixture.put("a", "1").await;
    let txn = Txn::new()
        .when(Compare::Absent(key("a")))
        .put(key("a"), value("2"))
        .otherwise(Read::key(&key("a")))
        .otherwise(Read::key(&key("none")));
    let outcome = fixture.commit(txn.clone()).await;
    assert!(!outcome.succeeded && outcome.writes.is_empty());
    assert_eq!(outcome.position.revision, revision);
    assert_eq!(outcome.reads.len(), 2);
    assert_eq!(&*outcome.reads[0].entries[0].entry.value.bytes(), b"1");
    assert_eq!(outcome.reads[0].position, outcome.position);
    assert!(outcome.reads[1].entries.is_empty());

    fixture.delete("a").await;
    let outcome = fixture.commit(txn).await;
    assert!(outcome.succeeded && outcome.reads.is_empty());

    let txn = Txn::new().when(Compare::Absent(key("a"))).otherwise(Read::key(&key("a")).at(1));
    let error = fixture.store.commit(txn).await.expect_err("the past is refused");
    assert!(matches!(error, Error::InvalidArgument { field: "otherwise.at", .. }), "{error}");
}

pub(crate) async fn a_key_is_written_once(make: Make) {
    let fixture = make(Limits::default());
    let revision = fixture.put("a", "1").await;
    let twice = [
        Txn::new().put(key("a"), value("2")).put(key("a"), value("3")),
        Txn::new().put(key("a"), value("2")).delete(key("a")),
        Txn::new().delete(key("none")).delete(key("none")),
        Txn::new().put(key("z"), value("2")).delete_range(KeyRange::kind("test")),
    ];
    for txn in twice {
        let error = fixture.store.commit(txn.clone()).await.expect_err("refused");
        assert!(matches!(error, Error::DuplicateKey { .. }), "{txn:?}: {error}");
    }
    assert_eq!(fixture.revision().await, revision);
    assert_eq!(fixture.text("a").await.as_deref(), Some("1"));
}

pub(crate) async fn ranges_are_deleted(make: Make) {
    let fixture = make(Limits::default());
    for name in ["a/1", "a/2", "a/3", "b/1"] {
        fixture.put(name, "x").await;
    }
    let prefix = |name: &str| KeyRange::prefix(key(name).as_str());
    let txn = Txn::new().delete_range(prefix("a/")).delete_range(prefix("a/1")).put(key("c"), value("x"));
    let outcome = fixture.commit(txn).await;
    assert_eq!(outcome.writes, [Written::RangeDeleted(3), Written::RangeDeleted(0), Written::Put(None)]);
    let page = fixture.store.range(Read::range(KeyRange::all())).await.expect("a page");
    let left: Vec<_> = page.entries.iter().filter_map(|found| found.key.tail()).collect();
    assert_eq!(left, ["b/1", "c"]);
}

pub(crate) async fn writes_say_what_was_there(make: Make) {
    let fixture = make(Limits::default());
    let before = fixture.put("a", "1").await;
    let outcome = fixture.commit(Txn::new().put(key("a"), value("2")).delete(key("b"))).await;
    let [Written::Put(Some(entry)), Written::Deleted(None)] = &outcome.writes[..] else {
        panic!("{:?}", outcome.writes);
    };
    assert_eq!((entry.mod_revision, &*entry.value.bytes()), (before, b"1".as_slice()));
}

pub(crate) async fn limits_are_enforced_and_named(make: Make) {
    let mut limits = Limits::default();
    (limits.txn_ops_max, limits.txn_bytes_max, limits.txn_events_max) = (4, 1000, 3);
    (limits.key_bytes_max, limits.value_bytes_max) = (64, 500);
    let fixture = make(limits.clone());
    assert_eq!(fixture.store.limits(), limits);
    for name in ["a", "b", "c", "d"] {
        fixture.put(name, "x").await;
    }
    let revision = fixture.revision().await;
    let large = |bytes: usize| value(&"x".repeat(bytes));
    let puts = |count: usize, bytes: usize| {
        (0..count).fold(Txn::new(), |txn, i| txn.put(key(&format!("n{i}")), large(bytes)))
    };
    let cases = [
        (puts(4, 1).delete(key("a")), "txn_ops_max"),
        (puts(3, 350), "txn_bytes_max"),
        (puts(1, 501), "value_bytes_max"),
        (Txn::new().put(key(&"k".repeat(60)), large(1)), "key_bytes_max"),
        (Txn::new().delete_range(KeyRange::all()), "txn_events_max"),
    ];
    for (txn, name) in cases {
        let error = fixture.store.commit(txn).await.expect_err(name);
        let Error::LimitExceeded { limit, max, actual, .. } = &error else { panic!("{name}: {error}") };
        assert!(*limit == name && actual > max, "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(fixture.revision().await, revision, "nothing was written");
    fixture.commit(puts(3, 250)).await;
}

pub(crate) async fn a_full_state_takes_nothing_but_what_makes_it_smaller(make: Make) {
    let mut limits = Limits::default();
    limits.state_keys_max = 3;
    limits.state_bytes_max = 10_000;
    let fixture = make(limits);
    let put = |name: &str, bytes: usize| Txn::new().put(key(name), vec![b'x'; bytes]);
    for name in ["a", "b", "c"] {
        fixture.commit(put(name, 100)).await;
    }
    let full = |what, max| Err(Error::Overloaded { what, max });
    assert_eq!(fixture.store.commit(put("d", 1)).await, full("state_keys_max", 3));
    assert_eq!(fixture.store.commit(put("a", 10_700)).await, full("state_bytes_max", 10_000));
    assert_eq!(fixture.text("a").await.map(|text| text.len()), Some(100), "nothing was written");
    // In the place of another there is room.
    fixture.commit(put("d", 100).delete(key("a"))).await;
    fixture.commit(Txn::new().delete(key("c"))).await;
    fixture.commit(put("b", 9_500)).await;
    assert_eq!(fixture.store.commit(put("e", 500)).await, full("state_bytes_max", 10_000));
    // What is there may still change a little, and shrink.
    fixture.commit(put("d", 600)).await;
    fixture.commit(put("d", 500)).await;
    assert_eq!(fixture.store.commit(put("d", 1_200)).await, full("state_bytes_max", 10_000));
    fixture.commit(Txn::new().delete_range(KeyRange::all())).await;
    fixture.commit(put("e", 9_000)).await;
}
