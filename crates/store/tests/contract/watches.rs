//! Watches: complete, ordered, whole transactions, and honest when they cannot be.

use std::sync::Arc;

use weir_store::{Error, KeyRange, Limits, Txn, list_and_watch};

use crate::support::{Make, key, names, next, value, within};

pub(crate) async fn nothing_is_missed_from_a_revision_on(make: Make) {
    let fixture = make(Limits::default());
    let first = fixture.put("0", "x").await;
    for i in 1..20 {
        fixture.put(&i.to_string(), "x").await;
    }
    // From the past into the present: what happened and what happens while watching.
    let mut watch = fixture.store.watch(KeyRange::all(), first + 5).await.expect("a watch");
    let writer = {
        let store = Arc::clone(&fixture.store);
        tokio::spawn(async move {
            for i in 20..500 {
                store.commit(Txn::new().put(key(&i.to_string()), value("x"))).await.expect("accepted");
            }
        })
    };
    let epoch = fixture.store.position().await.expect("a position").epoch;
    for i in 5..500 {
        let batch = next(&mut watch).await;
        assert_eq!((batch.position.epoch, batch.position.revision), (epoch, first + i));
        assert_eq!(names(&batch), [i.to_string()]);
    }
    writer.await.expect("the writer is well");
}

pub(crate) async fn a_transaction_is_one_batch(make: Make) {
    let fixture = make(Limits::default());
    let start = fixture.put("gone", "x").await;
    let mut watch = fixture.store.watch(KeyRange::all(), start + 1).await.expect("a watch");
    let outcome = fixture
        .commit(Txn::new().put(key("b"), value("1")).delete(key("gone")).put(key("a"), value("1")))
        .await;
    let batch = next(&mut watch).await;
    assert_eq!(batch.position, outcome.position);
    assert_eq!(names(&batch), ["a", "b", "-gone"]);
}

pub(crate) async fn events_tell_before_and_now(make: Make) {
    let fixture = make(Limits::default());
    let start = fixture.revision().await;
    let mut watch = fixture.store.watch(KeyRange::all(), start + 1).await.expect("a watch");
    fixture.put("a", "1").await;
    fixture.put("a", "2").await;
    fixture.delete("a").await;

    let created = next(&mut watch).await.events[0].clone();
    assert_eq!(created.before, None);
    let created = created.now.expect("it exists");
    assert_eq!((created.create_revision, created.mod_revision, created.version), (start + 1, start + 1, 1));

    let changed = next(&mut watch).await.events[0].clone();
    assert_eq!(changed.before.as_ref(), Some(&created));
    let changed = changed.now.expect("it exists");
    assert_eq!((changed.create_revision, changed.mod_revision, changed.version), (start + 1, start + 2, 2));

    let deleted = next(&mut watch).await.events[0].clone();
    assert_eq!((deleted.before, deleted.now), (Some(changed), None));
}

pub(crate) async fn only_the_range_is_watched(make: Make) {
    let fixture = make(Limits::default());
    let start = fixture.revision().await;
    let mut watch =
        fixture.store.watch(KeyRange::prefix(key("in/").as_str()), start + 1).await.expect("a watch");
    fixture.put("out/1", "x").await;
    fixture.commit(Txn::new().put(key("in/1"), value("x")).put(key("out/2"), value("x"))).await;
    fixture.put("in", "x").await;
    fixture.put("in/2", "x").await;
    let batch = next(&mut watch).await;
    assert_eq!((names(&batch), batch.position.revision), (vec!["in/1".to_owned()], start + 2));
    let batch = next(&mut watch).await;
    assert_eq!((names(&batch), batch.position.revision), (vec!["in/2".to_owned()], start + 4));
}

pub(crate) async fn a_watch_may_start_in_the_future(make: Make) {
    let fixture = make(Limits::default());
    let start = fixture.revision().await;
    let mut watch = fixture.store.watch(KeyRange::all(), start + 3).await.expect("a watch");
    for name in ["1", "2", "3"] {
        fixture.put(name, "x").await;
    }
    assert_eq!(names(&next(&mut watch).await), ["3"]);
}

pub(crate) async fn a_compacted_start_is_refused(make: Make) {
    let fixture = make(Limits::default());
    for name in ["1", "2", "3", "4"] {
        fixture.put(name, "x").await;
    }
    let now = fixture.revision().await;
    fixture.store.compact(now - 1).await.expect("compacted");
    let error = fixture.store.watch(KeyRange::all(), now - 1).await.expect_err("compacted");
    assert_eq!(error, Error::Compacted { oldest: now });
    assert!(error.needs_resync());
    let mut watch = fixture.store.watch(KeyRange::all(), now).await.expect("a watch");
    assert_eq!(names(&next(&mut watch).await), ["4"]);
}

pub(crate) async fn a_slow_watcher_is_told_and_can_resync(make: Make) {
    let mut limits = Limits::default();
    limits.history_events_max = 10;
    let fixture = make(limits);
    let start = fixture.revision().await;
    let mut slow = fixture.store.watch(KeyRange::all(), start + 1).await.expect("a watch");
    for i in 0..30 {
        fixture.put(&i.to_string(), "x").await;
    }
    let error = within(slow.next()).await.expect_err("it fell behind");
    assert_eq!(error, Error::Lagged { oldest: start + 21 });
    assert!(error.needs_resync());
    assert!(within(slow.next()).await.is_err(), "it stays an error");

    let (entries, position, mut watch) =
        list_and_watch(&*fixture.store, &KeyRange::all()).await.expect("a resync");
    assert_eq!((entries.len(), position.revision), (30, start + 30));
    fixture.put("after", "x").await;
    assert_eq!(names(&next(&mut watch).await), ["after"]);

    // Bytes are bounded as well as events.
    let mut limits = Limits::default();
    limits.history_bytes_max = 10_000;
    let fixture = make(limits);
    let first = fixture.put("a", &"x".repeat(9_000)).await;
    fixture.put("b", &"x".repeat(9_000)).await;
    assert!(fixture.store.watch(KeyRange::all(), first).await.is_err());
    assert!(fixture.store.watch(KeyRange::all(), first + 1).await.is_ok(), "the newest always stays");
}

pub(crate) async fn dropping_a_wait_loses_nothing(make: Make) {
    let fixture = make(Limits::default());
    let start = fixture.revision().await;
    let mut watch = fixture.store.watch(KeyRange::all(), start + 1).await.expect("a watch");
    let writer = {
        let store = Arc::clone(&fixture.store);
        tokio::spawn(async move {
            for i in 0..100 {
                store.commit(Txn::new().put(key(&i.to_string()), value("x"))).await.expect("accepted");
                tokio::task::yield_now().await;
            }
        })
    };
    let mut seen = 0;
    while seen < 100 {
        tokio::select! {
            biased;
            batch = watch.next() => {
                seen += 1;
                assert_eq!(batch.expect("the watch goes on").position.revision, start + seen);
            }
            () = tokio::task::yield_now() => {}
        }
    }
    writer.await.expect("the writer is well");
}

/// The watcher falls asleep just when the next change comes, over and over: it must wake up each time.
pub(crate) async fn no_change_is_slept_through(make: Make) {
    const ROUNDS: u64 = 1000;
    let fixture = make(Limits::default());
    let start = fixture.revision().await;
    let mut watch = fixture.store.watch(KeyRange::all(), start + 1).await.expect("a watch");
    let (seen, mut wait) = tokio::sync::watch::channel(start);
    let writer = {
        let store = Arc::clone(&fixture.store);
        tokio::spawn(async move {
            for round in 1..=ROUNDS {
                let revision = start + round;
                store.commit(Txn::new().put(key("a"), value("x"))).await.expect("accepted");
                within(wait.wait_for(|seen| *seen == revision)).await.expect("the watcher lives");
            }
        })
    };
    for round in 1..=ROUNDS {
        assert_eq!(next(&mut watch).await.position.revision, start + round);
        seen.send_replace(start + round);
    }
    writer.await.expect("the writer is well");
}

pub(crate) async fn closing_ends_watches(make: Make) {
    let fixture = make(Limits::default());
    let revision = fixture.put("a", "1").await;
    let mut watch = fixture.store.watch(KeyRange::all(), revision).await.expect("a watch");
    drop(fixture);
    assert_eq!(names(&next(&mut watch).await), ["a"], "what was committed is still delivered");
    assert_eq!(within(watch.next()).await.expect_err("closed"), Error::Closed);
}

pub(crate) async fn watches_are_bounded(make: Make) {
    let mut limits = Limits::default();
    limits.watches_max = 2;
    let fixture = make(limits);
    let open = || fixture.store.watch(KeyRange::all(), 1);
    let first = open().await.expect("a watch");
    let _second = open().await.expect("a watch");
    let error = open().await.expect_err("one too many");
    assert_eq!(error, Error::Overloaded { what: "watches_max", max: 2 });
    drop(first);
    open().await.expect("room again");
}
