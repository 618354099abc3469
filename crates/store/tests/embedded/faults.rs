//! Disk full and failing flushes: writes are refused, reads go on, writes resume.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_store::{Embedded, Error, KeyRange, Options, Store, Txn};

use crate::faulty::{Fault, Faults, files};
use crate::support::{PATIENCE, Random, contents, key, open, put, say, value};

fn open_faulty(path: &Path, faults: &Arc<Faults>) -> Embedded {
    let mut options = Options::default();
    options.files = Some(files(faults));
    options.reopen_after = Duration::from_millis(1);
    Embedded::open(path, options).expect("the store opens")
}

/// Repeats a put until it is accepted.
async fn put_when_possible(store: &dyn Store, name: &str, text: &str) -> u64 {
    let start = Instant::now();
    loop {
        match put(store, name, text).await {
            Ok(outcome) => return outcome.position.revision,
            Err(error) => assert!(error.is_temporary() && start.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

async fn writes_are_refused_and_resume(fault: Fault) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let faults = Arc::new(Faults::default());
    let store = open_faulty(&path, &faults);
    put(&store, "a", "1").await.expect("accepted");
    let lease = store.grant(Duration::from_secs(60)).await.expect("a lease").id;
    let before = store.position().await.expect("a position");
    let mut watch = store.watch(KeyRange::all(), before.revision + 1).await.expect("a watch");

    faults.set(fault, true);
    let large = "x".repeat(900_000);
    for round in 0..10 {
        let txn = Txn::new().put(key("refused"), value(&large)).put(key("a"), value("2")).delete(key("b"));
        let error = store.commit(txn).await.expect_err("refused");
        assert!(matches!(&error, Error::WriteRefused { .. }) && error.is_temporary(), "{round}: {error:?}");
        assert!(error.to_string().contains("injected"), "{round}: {error}");
        assert!(matches!(store.grant(Duration::from_secs(1)).await, Err(Error::WriteRefused { .. })));
        assert_eq!(store.position().await.expect("a position"), before);
        assert_eq!(contents(&store).await, map(&[("a", "1")]), "reads go on");
        store.keep_alive(lease).await.expect("renewal needs no disk");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(store.stats().failed_batches > 0);

    faults.set(fault, false);
    assert_eq!(put_when_possible(&store, "c", "1").await, before.revision + 1);
    let batch = tokio::time::timeout(PATIENCE, watch.next()).await.expect("it hangs").expect("a batch");
    assert_eq!(
        (batch.position.revision, batch.events.len()),
        (before.revision + 1, 1),
        "nothing refused is seen"
    );
    let expected = map(&[("a", "1"), ("c", "1")]);
    assert_eq!(contents(&store).await, expected);
    let position = store.position().await.expect("a position");
    drop(store);

    // What the page cache shows and the disk does not have must not matter any more.
    faults.cut_power(&path);
    let store = open(&path);
    assert_eq!(contents(&store).await, expected, "what was refused is not in the file either");
    assert_eq!(store.position().await.expect("a position"), position);
    assert_eq!(store.stats().leases, 1);
}

#[tokio::test]
async fn failing_flush() {
    writes_are_refused_and_resume(Fault::Flush).await;
}

#[tokio::test]
async fn failing_write() {
    writes_are_refused_and_resume(Fault::Write).await;
}

#[tokio::test]
async fn full_disk() {
    writes_are_refused_and_resume(Fault::Grow).await;
}

/// A disk that is too full for what was to come is not too full for what is there.
#[tokio::test]
async fn writes_go_on_after_a_replacement_that_does_not_fit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let faults = Arc::new(Faults::default());
    let store = open_faulty(&path, &faults);
    let text = "x".repeat(3000);
    let mut expected = BTreeMap::new();
    for part in 0..10 {
        let names = (0..100).map(|i| format!("{part}/{i:02}"));
        let fill = names.clone().fold(Txn::new(), |txn, name| txn.put(key(&name), value(&text)));
        store.commit(fill).await.expect("accepted");
        expected.extend(names.map(|name| (name, text.clone())));
    }
    let before = store.position().await.expect("a position");
    faults.set(Fault::Room, true);
    let more = (0..9000).map(|i| (key(&format!("other/{i}")), value(&text))).collect();
    let refused = store.replace(more, 0).await.expect_err("it does not fit");
    assert!(matches!(refused, Error::WriteRefused { .. }), "{refused}");
    assert_eq!(store.position().await.expect("a position"), before);
    put_when_possible(&store, "0/00", "1").await;
    expected.insert("0/00".to_owned(), "1".to_owned());
    assert_eq!(contents(&store).await, expected);
    drop(store);
    assert_eq!(contents(&open(&path)).await, expected);
}

/// A flush fails once, and works again at once: the file looks whole, but pages of it are not on the disk.
#[tokio::test]
async fn power_may_go_after_a_failed_flush() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let faults = Arc::new(Faults::default());
    let store = open_faulty(&path, &faults);
    let text = "x".repeat(300);
    let mut expected = BTreeMap::new();
    for i in 0..500 {
        expected.insert(format!("{i:03}"), text.clone());
    }
    let fill = expected.iter().fold(Txn::new(), |txn, (name, text)| txn.put(key(name), value(text)));
    store.commit(fill).await.expect("accepted");
    for round in 0..20 {
        // Splits a page: its second half is written anew, and nothing below ever touches that again.
        faults.set(Fault::Flush, true);
        let refused = put(&store, &format!("{:03}+", round * 20 + 50), &text).await;
        assert!(matches!(refused, Err(Error::WriteRefused { .. })), "{refused:?}");
        faults.set(Fault::Flush, false);
        put_when_possible(&store, "last", &round.to_string()).await;
        expected.insert("last".to_owned(), round.to_string());
    }
    drop(store);
    faults.cut_power(&path);
    let store = open(&path);
    assert_eq!(contents(&store).await, expected);
}

/// Any single call to storage may fail, at any point of a commit or of the reopening after it: what was acknowledged
/// stays, what was refused does not happen.
#[tokio::test]
async fn any_call_may_fail() {
    let seed = Random::seed();
    say(&format!("any call may fail: WEIR_SEED={seed}"));
    let mut random = Random(seed);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..4 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("store");
        let faults = Arc::new(Faults::default());
        let store = open_faulty(&path, &faults);
        let mut expected = BTreeMap::new();
        let mut revision = 0;
        for step in 0..100 {
            if random.below(3) == 0 {
                faults.fail_after(random.below(12));
            }
            let (first, second) = (random.below(20).to_string(), format!("x{}", random.below(20)));
            let text = step.to_string();
            let delete = random.below(4) == 0;
            let txn = Txn::new().put(key(&first), value(&text));
            let txn = if delete { txn.delete(key(&second)) } else { txn.put(key(&second), value(&text)) };
            match store.commit(txn).await {
                Ok(outcome) => {
                    accepted += 1;
                    revision += 1;
                    assert_eq!(outcome.position.revision, revision);
                    expected.insert(first, text.clone());
                    if delete {
                        expected.remove(&second)
                    } else {
                        expected.insert(second, text)
                    };
                }
                Err(Error::WriteRefused { .. }) => {
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(other) => panic!("{other:?}"),
            }
            assert_eq!(contents(&store).await, expected);
        }
        faults.heal();
        put_when_possible(&store, "last", "x").await;
        expected.insert("last".to_owned(), "x".to_owned());
        drop(store);
        faults.cut_power(&path);
        let store = open(&path);
        assert_eq!(contents(&store).await, expected);
        assert_eq!(store.position().await.expect("a position").revision, revision + 1);
    }
    say(&format!("any call may fail: {accepted} accepted, {refused} refused"));
    assert!(accepted > 0 && refused > 0);
}

/// One call fails, whichever it is, to the file or to its log: opening, writing, growing or flushing one. Once storage works
/// again, what is there is what was acknowledged and nothing else, after a kill at any moment as well as after a clean end.
#[tokio::test]
async fn each_of_the_first_calls_may_fail() {
    const WRITES: usize = 6;
    let mut worked = 0;
    for calls in 0.. {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, copy) = (folder.path().join("store"), folder.path().join("copy"));
        let faults = Arc::new(Faults::default());
        faults.fail_after(calls);
        let open = || {
            let mut options = Options::default();
            options.files = Some(files(&faults));
            options.reopen_after = Duration::from_millis(1);
            (options.limits.log_keys_max, options.limits.log_bytes_max) = (5, 32 << 10);
            Embedded::open(&path, options)
        };
        let store = open().or_else(|error| {
            assert!(matches!(error, Error::Open { .. }), "{calls}: {error:?}");
            open()
        });
        let store = store.expect("only one call fails");
        let mut expected = BTreeMap::new();
        for number in 0..WRITES {
            let text = "x".repeat(number * 2000);
            if let Err(error) = put(&store, &format!("refused/{number}"), &text).await {
                assert!(error.is_temporary(), "{calls}: {error}");
            } else {
                expected.insert(format!("refused/{number}"), text);
            }
            assert_eq!(contents(&store).await, expected, "{calls}");
            put_when_possible(&store, "last", &number.to_string()).await;
            expected.insert("last".to_owned(), number.to_string());
            // Each takes its time.
            if !(number + 1).is_multiple_of(WRITES / 2) {
                continue;
            }
            for suffix in ["", "wal"] {
                let with = |path: &Path| path.with_extension(suffix);
                if with(&path).exists() {
                    std::fs::copy(with(&path), with(&copy)).expect("copied");
                }
            }
            let again = crate::support::open(&copy);
            assert_eq!(contents(&again).await, expected, "{calls}, killed after {number}");
        }
        drop(store);
        let healed = faults.heal();
        assert_eq!(contents(&crate::support::open(&path)).await, expected, "{calls}");
        if healed {
            break;
        }
        worked = calls;
    }
    say(&format!("each call may fail: {worked} calls"));
    assert!(worked > 60);
}
