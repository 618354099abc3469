//! Single keys, revisions, epochs.

use weir_store::{KeyRange, Limits, Read, Txn, json};

use crate::support::{Make, key, value};

pub(crate) async fn a_put_can_be_read(make: Make) {
    let fixture = make(Limits::default());
    assert_eq!(fixture.text("a").await, None);
    fixture.put("a", "1").await;
    fixture.put("empty", "").await;
    assert_eq!(fixture.text("a").await.as_deref(), Some("1"));
    assert_eq!(fixture.text("empty").await.as_deref(), Some(""));
    fixture.delete("a").await;
    assert_eq!(fixture.text("a").await, None);
}

pub(crate) async fn keys_are_ordered_by_bytes(make: Make) {
    let fixture = make(Limits::default());
    let names = ["b", "a/b", "a", "a-b", "é", "Z", "a/", "aa"];
    for name in names {
        fixture.put(name, "x").await;
    }
    let page = fixture.store.range(Read::range(KeyRange::kind("test"))).await.expect("a page");
    let found: Vec<&str> = page.entries.iter().filter_map(|found| found.key.tail()).collect();
    assert_eq!(found, ["Z", "a", "a-b", "a/", "a/b", "aa", "b", "é"]);
    assert!(!page.more);
}

pub(crate) async fn versions_count_and_start_anew_after_a_delete(make: Make) {
    let fixture = make(Limits::default());
    let created = fixture.put("a", "1").await;
    fixture.put("other", "x").await;
    let written = fixture.put("a", "1").await;
    let entry = fixture.store.get(&key("a")).await.expect("a read works").expect("it exists").entry;
    assert_eq!((entry.create_revision, entry.mod_revision, entry.version), (created, written, 2));

    fixture.delete("a").await;
    let again = fixture.put("a", "2").await;
    let entry = fixture.store.get(&key("a")).await.expect("a read works").expect("it exists").entry;
    assert_eq!((entry.create_revision, entry.mod_revision, entry.version), (again, again, 1));
}

pub(crate) async fn every_change_is_one_revision(make: Make) {
    let fixture = make(Limits::default());
    let start = fixture.revision().await;
    assert_eq!(fixture.put("a", "1").await, start + 1);
    assert_eq!(fixture.put("a", "1").await, start + 2, "the same value again is a change");
    assert_eq!(
        fixture.commit(Txn::new().put(key("b"), value("1")).delete(key("a"))).await.position.revision,
        start + 3
    );
    assert_eq!(fixture.revision().await, start + 3);
}

pub(crate) async fn doing_nothing_makes_no_revision(make: Make) {
    let fixture = make(Limits::default());
    let revision = fixture.put("a", "1").await;
    let nothing = [
        Txn::new(),
        Txn::new().delete(key("absent")),
        Txn::new().delete_range(KeyRange::prefix("/nowhere/")),
        Txn::new().when(weir_store::Compare::Absent(key("a"))).put(key("a"), value("2")),
    ];
    for txn in nothing {
        assert_eq!(fixture.commit(txn.clone()).await.position.revision, revision, "{txn:?}");
    }
    fixture.store.grant(std::time::Duration::from_secs(10)).await.expect("a lease");
    assert_eq!(fixture.revision().await, revision);
    assert_eq!(fixture.put("a", "2").await, revision + 1);
}

pub(crate) async fn a_new_store_has_a_higher_epoch(make: Make) {
    let mut last = 0;
    for _ in 0..3 {
        let position = make(Limits::default()).store.position().await.expect("a position");
        assert!(position.epoch > last, "{} after {last}", position.epoch);
        last = position.epoch;
    }
}

pub(crate) async fn stats_follow_the_contents(make: Make) {
    let fixture = make(Limits::default());
    fixture.put("a", "12345").await;
    fixture.put("b", "1").await;
    fixture.put("a", "123").await;
    fixture.delete("b").await;
    let lease = fixture.store.grant(std::time::Duration::from_secs(9)).await.expect("a lease");
    let watch = fixture.store.watch(KeyRange::all(), 1).await.expect("a watch");
    let stats = fixture.store.stats();
    assert_eq!((stats.keys, stats.bytes), (1, key("a").as_str().len() as u64 + 3));
    assert_eq!((stats.leases, stats.watches), (1, 1));
    drop(watch);
    fixture.store.revoke(lease.id).await.expect("revoked");
    let stats = fixture.store.stats();
    assert_eq!((stats.leases, stats.watches), (0, 0));
}

pub(crate) async fn json_documents_read_back(make: Make) {
    let fixture = make(Limits::default());
    let document = vec![Some(1), None];
    fixture.commit(Txn::new().put(key("a"), json::to_value(&key("a"), &document).expect("JSON"))).await;
    let found = fixture.store.get(&key("a")).await.expect("a read works").expect("it exists");
    assert_eq!(json::from_entry::<Vec<Option<i32>>>(&found).expect("JSON"), document);
    let error = json::from_entry::<String>(&found).expect_err("not text").to_string();
    assert!(error.contains(key("a").as_str()), "{error}");
}
