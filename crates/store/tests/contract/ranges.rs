//! Reads of ranges: pages, the past, compaction.

use weir_store::{Error, KeyRange, Limits, Page, Read, Txn, list};

use crate::support::{Fixture, Make, key, value};

async fn filled(make: Make, limits: Limits, keys: usize) -> Fixture {
    let fixture = make(limits);
    for i in 0..keys {
        fixture.put(&format!("{i:03}"), "x").await;
    }
    fixture
}

fn tails(page: &Page) -> Vec<&str> {
    page.entries.iter().filter_map(|found| found.key.tail()).collect()
}

pub(crate) async fn pages_follow_each_other(make: Make) {
    let mut limits = Limits::default();
    limits.range_entries_max = 4;
    let fixture = filled(make, limits, 6).await;
    let range = KeyRange::kind("test");
    let read = |read| fixture.store.range(read);

    let page = read(Read::range(range.clone()).limit(2)).await.expect("a page");
    assert_eq!((tails(&page), page.more), (vec!["000", "001"], true));
    let rest = range.after(&page.entries[1].key);
    let page = read(Read::range(rest.clone())).await.expect("a page");
    assert_eq!(
        (tails(&page), page.more),
        (vec!["002", "003", "004", "005"], false),
        "exactly the limit is no more"
    );
    let page = read(Read::range(range.clone()).limit(1000)).await.expect("a page");
    assert_eq!((page.entries.len(), page.more), (4, true), "the engine's limit holds");
    let page = read(Read::range(range.clone()).limit(0)).await.expect("a page");
    assert_eq!((page.entries.len(), page.more), (0, true));
    let between = KeyRange::between(key("001").as_str(), key("003").as_str());
    assert_eq!(tails(&read(Read::range(between)).await.expect("a page")), ["001", "002"]);
}

pub(crate) async fn keys_only_leaves_values_out(make: Make) {
    let fixture = filled(make, Limits::default(), 2).await;
    let page = fixture.store.range(Read::range(KeyRange::all()).keys_only()).await.expect("a page");
    assert_eq!(tails(&page), ["000", "001"]);
    assert!(page.entries.iter().all(|found| found.entry.value.is_empty() && found.entry.version == 1));
}

pub(crate) async fn the_past_can_be_read(make: Make) {
    let fixture = make(Limits::default());
    let mut expected: Vec<(u64, Vec<(String, String)>)> = Vec::new();
    let remember = async |expected: &mut Vec<_>| {
        let page = fixture.store.range(Read::range(KeyRange::all())).await.expect("a page");
        expected.push((page.position.revision, flat(&page)));
    };
    for (name, text) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
        fixture.put(name, text).await;
        remember(&mut expected).await;
    }
    fixture.delete("a").await;
    remember(&mut expected).await;
    fixture.commit(Txn::new().put(key("a"), value("3")).delete(key("b"))).await;
    remember(&mut expected).await;

    for (revision, entries) in &expected {
        let page = fixture.store.range(Read::range(KeyRange::all()).at(*revision)).await.expect("a page");
        assert_eq!(page.position.revision, *revision);
        assert_eq!(flat(&page), *entries, "at {revision}");
    }
    let first =
        fixture.store.range(Read::range(KeyRange::all()).at(expected[2].0).limit(1)).await.expect("a page");
    assert_eq!(first.entries.len(), 1);
    assert!(first.more);
}

fn flat(page: &Page) -> Vec<(String, String)> {
    let flat = |found: &weir_store::KeyValue| (format!("{}", found.key), format!("{:?}", found.entry));
    page.entries.iter().map(flat).collect()
}

pub(crate) async fn a_list_is_of_one_revision(make: Make) {
    let mut limits = Limits::default();
    limits.range_entries_max = 7;
    let fixture = filled(make, limits, 50).await;
    // A writer changes all keys together, over and over; a list must never see two generations.
    let writer = {
        let store = std::sync::Arc::clone(&fixture.store);
        tokio::spawn(async move {
            for generation in 0..200 {
                let text = value(&generation.to_string());
                let txn = (0..50).fold(Txn::new(), |txn, i| txn.put(key(&format!("{i:03}")), text.clone()));
                store.commit(txn).await.expect("accepted");
            }
        })
    };
    let mut lists = 0;
    while !writer.is_finished() || lists == 0 {
        let (entries, position) = list(&*fixture.store, &KeyRange::all()).await.expect("a list");
        assert_eq!(entries.len(), 50);
        assert!(
            entries.iter().all(|found| found.entry.value == entries[0].entry.value),
            "torn at {position}"
        );
        lists += 1;
    }
    writer.await.expect("the writer is well");
}

pub(crate) async fn compacted_history_is_refused(make: Make) {
    let fixture = filled(make, Limits::default(), 10).await;
    let now = fixture.revision().await;
    fixture.store.compact(now - 3).await.expect("compacted");
    let read = |revision| fixture.store.range(Read::range(KeyRange::all()).at(revision));
    assert_eq!(read(now - 3).await.expect("a page").entries.len(), 7);
    assert_eq!(read(now - 4).await.expect_err("compacted"), Error::Compacted { oldest: now - 3 });
    fixture.store.compact(now - 5).await.expect("again is no error");
    assert_eq!(read(now - 3).await.expect("a page").entries.len(), 7);
    fixture.store.compact(now).await.expect("compacted");
    assert_eq!(read(now).await.expect("a page").entries.len(), 10);
    assert!(read(now - 1).await.is_err());
    assert_eq!(fixture.put("more", "x").await, now + 1);
    assert_eq!(read(now).await.expect("a page").entries.len(), 10);
}

pub(crate) async fn the_future_is_refused(make: Make) {
    let fixture = filled(make, Limits::default(), 1).await;
    let current = fixture.revision().await;
    let future = Error::FutureRevision { asked: current + 1, current };
    let read = fixture.store.range(Read::range(KeyRange::all()).at(current + 1)).await;
    assert_eq!(read.expect_err("the future"), future);
    assert_eq!(fixture.store.compact(current + 1).await.expect_err("the future"), future);
}

pub(crate) async fn ranges_without_keys_are_empty(make: Make) {
    let fixture = filled(make, Limits::default(), 3).await;
    for range in [KeyRange::between("/z", "/a"), KeyRange::between("/a", "/a"), KeyRange::prefix("/none")] {
        let page = fixture.store.range(Read::range(range.clone())).await.expect("a page");
        assert!(page.entries.is_empty() && !page.more, "{range:?}");
        assert_eq!(fixture.commit(Txn::new().delete_range(range)).await.position, page.position);
    }
}
