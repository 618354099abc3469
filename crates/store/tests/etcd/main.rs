//! What the contract cannot ask of every engine: time that passes, members that die, others who write to the same cluster.

mod member;
mod secure;

use std::time::Duration;

use member::Member;
use weir_store::{
    Batch, Error, Etcd, EtcdAddress, EtcdOptions, Key, KeyRange, Memory, Read, Store, Txn, Watch,
    list_and_watch,
};

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// Opens it, in however many tries: it may just have been started, and take its time on a busy machine.
async fn open(address: &str) -> Etcd {
    let address: EtcdAddress = address.parse().expect("an address");
    let mut last = None;
    let trying = async {
        loop {
            match Etcd::open(&address, EtcdOptions::default()).await {
                Ok(store) => return store,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let opened = tokio::time::timeout(PATIENCE, trying).await;
    opened.unwrap_or_else(|_| panic!("etcd does not answer: {last:?}"))
}

fn key(name: &str) -> Key {
    Key::new("test", "default", name).expect("a valid key")
}

async fn put(store: &Etcd, name: &str) -> Result<u64, Error> {
    Ok(store.commit(Txn::new().put(key(name), *b"x")).await?.position.revision)
}

/// Tries until it works: the cluster is about to be well.
async fn put_in_time(store: &Etcd, name: &str) -> u64 {
    let trying = async {
        loop {
            match put(store, name).await {
                Ok(revision) => return revision,
                Err(error) => assert!(matches!(error, Error::Unavailable { .. }), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("the cluster gets well")
}

async fn next(watch: &mut Watch) -> Result<Batch, Error> {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("it hangs")
}

/// The names of the keys of the next batch that has any.
async fn names(watch: &mut Watch) -> Vec<String> {
    loop {
        let batch = next(watch).await.expect("the watch goes on");
        if !batch.events.is_empty() {
            return batch.events.iter().filter_map(|event| event.key.tail().map(str::to_owned)).collect();
        }
    }
}

/// Waits for a batch with a key of this name alone. What was named before it may come once more: of a write that is tried
/// again it is not known whether it was done.
async fn until_named(watch: &mut Watch, name: &str, before: &str) {
    loop {
        let names = names(watch).await;
        if names == [name] {
            return;
        }
        assert_eq!(names, [before], "neither {name} nor what was before it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_ends_when_it_is_not_renewed() {
    let member = Member::start();
    let store = open(&member.address()).await;
    // Long enough for what is done before it ends, on a busy machine too.
    let ttl = Duration::from_secs(6);
    let lease = store.grant(ttl).await.expect("a lease");
    assert!(lease.ttl >= ttl, "{:?}", lease.ttl);
    store.commit(Txn::new().put_leased(key("leased"), *b"x", lease.id)).await.expect("accepted");
    let revision = put(&store, "other").await.expect("accepted");
    assert_eq!(store.keep_alive(lease.id).await.expect("alive").id, lease.id);
    let mut watch = store.watch(KeyRange::all(), revision + 1).await.expect("a watch");
    let batch = next(&mut watch).await.expect("it ends");
    assert!(batch.events.len() == 1 && batch.events[0].now.is_none(), "{batch:?}");
    assert_eq!(store.keep_alive(lease.id).await, Err(Error::LeaseNotFound { id: lease.id }));
    let late = store.commit(Txn::new().put_leased(key("late"), *b"x", lease.id)).await;
    assert_eq!(late, Err(Error::LeaseNotFound { id: lease.id }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_outlives_its_etcd_and_misses_nothing() {
    let mut member = Member::start();
    let store = open(&member.address()).await;
    let epoch = store.position().await.expect("a position").epoch;
    let (_, _, mut watch) = list_and_watch(&store, &KeyRange::all()).await.expect("a list");
    let mut last = String::new();
    for round in 0..3 {
        let (before, after) = (format!("before {round}"), format!("after {round}"));
        put_in_time(&store, &before).await;
        member.kill();
        let error = put(&store, "meanwhile").await.expect_err("there is nobody");
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        let error = store.get(&key("meanwhile")).await.expect_err("there is nobody");
        assert!(error.is_temporary(), "{error}");
        member.start_again();
        put_in_time(&store, &after).await;
        until_named(&mut watch, &before, &last).await;
        until_named(&mut watch, &after, &before).await;
        last = after;
    }
    assert_eq!(open(&member.address()).await.position().await.expect("a position").epoch, epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_was_away_for_too_long_is_told() {
    let member = Member::start();
    let store = open(&member.address()).await;
    let first = put(&store, "0").await.expect("accepted");
    let (_, _, mut watch) = list_and_watch(&store, &KeyRange::all()).await.expect("a list");
    // The watch is not asked: what etcd sends it in the meantime is more than fits into the windows of its stream.
    for i in 0..400 {
        store.commit(Txn::new().put(key(&format!("{i}")), vec![b'x'; 100_000])).await.expect("accepted");
    }
    let now = store.position().await.expect("a position").revision;
    store.compact(now).await.expect("compacted");
    store.compact(now).await.expect("repeating is no error");
    let mut last = first;
    let error = loop {
        match next(&mut watch).await {
            Ok(batch) => {
                assert_eq!(batch.position.revision, last + 1, "nothing is left out silently");
                last = batch.position.revision;
                if last == now {
                    // etcd had everything on its way already.
                    return;
                }
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Lagged { oldest: now + 1 });
    assert!(next(&mut watch).await.is_err(), "it stays an error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_in_the_same_cluster_are_neither_seen_nor_in_the_way() {
    let member = Member::start();
    let prefixed = |prefix: &str| format!("{}?prefix={prefix}", member.address());
    let (ours, theirs) = (open(&prefixed("/ours")).await, open(&prefixed("/ours-not")).await);
    let (entries, _, mut watch) = list_and_watch(&ours, &KeyRange::all()).await.expect("a list");
    assert!(entries.is_empty());
    put(&theirs, "theirs").await.expect("accepted");
    let position = ours.position().await.expect("a position");
    // A watch of everything gets there, though nothing of ours has changed.
    loop {
        let batch = next(&mut watch).await.expect("the watch goes on");
        assert!(batch.events.is_empty(), "{batch:?}");
        if batch.position.revision >= position.revision {
            break;
        }
    }
    put(&ours, "ours").await.expect("accepted");
    assert_eq!(names(&mut watch).await, ["ours"]);
    let page = ours.range(Read::range(KeyRange::all())).await.expect("a page");
    assert_eq!(page.entries.len(), 1);
    ours.commit(Txn::new().delete_range(KeyRange::all())).await.expect("accepted");
    assert_eq!(theirs.range(Read::range(KeyRange::all())).await.expect("a page").entries.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_delivers_what_was_answered_and_ends_watches() {
    let member = Member::start();
    let store = open(&member.address()).await;
    let revision = put(&store, "a").await.expect("accepted");
    let mut watch = store.watch(KeyRange::all(), revision).await.expect("a watch");
    store.position().await.expect("a position");
    drop(store);
    assert_eq!(names(&mut watch).await, ["a"]);
    assert_eq!(next(&mut watch).await.expect_err("closed"), Error::Closed);
    assert_eq!(next(&mut watch).await.expect_err("closed"), Error::Closed);
}

/// Of three members one may die or stand still at any time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_goes_on_without_any_one() {
    let mut members = Member::cluster(3);
    let hosts: Vec<String> = members.iter().map(Member::host).collect();
    let store = open(&format!("etcd://{}", hosts.join(","))).await;
    let (_, _, mut watch) = list_and_watch(&store, &KeyRange::all()).await.expect("a list");
    put_in_time(&store, "all").await;
    assert_eq!(names(&mut watch).await, ["all"]);
    let mut last = "all".to_owned();
    for (i, member) in members.iter_mut().enumerate() {
        let (killed, paused) = (format!("killed {i}"), format!("paused {i}"));
        member.kill();
        put_in_time(&store, &killed).await;
        until_named(&mut watch, &killed, &last).await;
        member.start_again();
        member.signal("STOP");
        put_in_time(&store, &paused).await;
        until_named(&mut watch, &paused, &killed).await;
        member.signal("CONT");
        last = paused;
    }
    let page = store.range(Read::range(KeyRange::all())).await.expect("a page");
    assert_eq!(page.entries.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_shuts_others_out_until_it_is_done_and_raises_the_epoch() {
    let member = Member::start();
    let address: EtcdAddress = format!("{}?prefix=/ours", member.address()).parse().expect("an address");
    let store = Etcd::open_for_import(&address, EtcdOptions::default()).await.expect("etcd answers");
    let before = store.position().await.expect("a position").epoch;
    let elsewhere = before + 1_000_000;
    store.begin_import(elsewhere).await.expect("begun");
    let refused = Etcd::open(&address, EtcdOptions::default()).await.expect_err("it is not done");
    assert!(matches!(refused, Error::Unfinished { .. }), "{refused}");
    // Broken off, and begun anew.
    drop(store);
    let store = Etcd::open_for_import(&address, EtcdOptions::default()).await.expect("it may be begun anew");
    store.begin_import(elsewhere).await.expect("begun");
    let source = Memory::new();
    let txn = (0..300).fold(Txn::new(), |txn, i| txn.put(key(&format!("{i:04}")), vec![b'x'; 10_000]));
    source.commit(txn).await.expect("accepted");
    let (pairs, _) = weir_store::list(&source, &KeyRange::all()).await.expect("a list");
    let entries = pairs.iter().map(|pair| Ok::<_, Error>((pair.key.clone(), pair.entry.clone())));
    weir_store::archive::fill(&store, entries).await.expect("filled");
    let position = store.end_import().await.expect("done");
    assert!(position.epoch > elsewhere, "{position}");
    let opened = Etcd::open(&address, EtcdOptions::default()).await.expect("it is done");
    assert_eq!(opened.position().await.expect("a position").epoch, position.epoch);
    let (found, _) = weir_store::list(&opened, &KeyRange::all()).await.expect("a list");
    assert_eq!(found.len(), 300);
    assert!(found.iter().zip(&pairs).all(|(a, b)| a.key == b.key && a.entry.value == b.entry.value));
    // And back: a snapshot of etcd does not see what comes later.
    let mut snapshot = opened.snapshot().await.expect("a snapshot");
    opened.commit(Txn::new().delete_range(KeyRange::all())).await.expect("accepted");
    let mut count = 0;
    loop {
        let page = snapshot.next().await.expect("a page");
        if page.is_empty() {
            break;
        }
        count += page.len();
    }
    assert_eq!(count, 300);
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let address: EtcdAddress = "etcd://127.0.0.1:1,127.0.0.1:2".parse().expect("valid");
    let error = Etcd::open(&address, EtcdOptions::default()).await.expect_err("nobody").to_string();
    assert!(error.contains("etcd://127.0.0.1:1,127.0.0.1:2") && error.contains("refused"), "{error}");
    let address: EtcdAddress = "etcd://127.0.0.1:1?ca=/nowhere.pem".parse().expect("valid");
    let error = Etcd::open(&address, EtcdOptions::default()).await.expect_err("no file").to_string();
    assert!(error.contains("/nowhere.pem"), "{error}");
}
