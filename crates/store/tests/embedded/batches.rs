//! Group commit: many writers share a flush, and nobody is answered before it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use weir_store::{Embedded, Error, Options, Store};

use crate::faulty::{Faults, files};
use crate::support::{PATIENCE, contents, put};

/// Lets every task that can run do so. Sound on a runtime of one thread, where a task runs until it waits.
async fn let_all_run(tasks: usize) {
    for _ in 0..2 * tasks {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn concurrent_writers_share_a_flush() {
    const WRITERS: usize = 64;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let faults = Arc::new(Faults::default());
    let mut options = Options::default();
    options.files = Some(files(&faults));
    let store = Arc::new(Embedded::open(&path, options).expect("a new store"));

    faults.hold();
    let mut writers = JoinSet::new();
    for i in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(
            async move { put(&*store, &i.to_string(), "x").await.expect("accepted").position.revision },
        );
    }
    let_all_run(WRITERS).await;
    assert!(writers.try_join_next().is_none(), "nobody is answered before the flush");
    assert!(contents(&*store).await.is_empty(), "and nothing is visible");
    faults.release();
    let mut revisions = tokio::time::timeout(PATIENCE, writers.join_all()).await.expect("it hangs");
    revisions.sort_unstable();
    assert!(revisions.iter().copied().eq(1..=WRITERS as u64), "each has its own revision");
    let stats = store.stats();
    assert_eq!(stats.batched_commands, WRITERS as u64);
    // The first batch holds what was there when the writer woke; all others waited for its flush.
    assert!(stats.batches <= 2, "{} batches", stats.batches);
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_queue_refuses() {
    const WRITERS: usize = 20;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let faults = Arc::new(Faults::default());
    let mut options = Options::default();
    options.files = Some(files(&faults));
    options.limits.queue_max = 4;
    options.limits.batch_txns_max = 2;
    options.queue_wait = Duration::from_millis(20);
    let store = Arc::new(Embedded::open(&path, options).expect("a new store"));

    faults.hold();
    let mut writers = JoinSet::new();
    for i in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move { put(&*store, &i.to_string(), "x").await });
    }
    // The held batch and the queue take six at most; the others are told so while the flush still hangs.
    let mut refused = 0;
    while refused < WRITERS - 6 {
        let done = tokio::time::timeout(PATIENCE, writers.join_next()).await.expect("it hangs");
        let error = done.expect("a writer").expect("it is well").expect_err("refused");
        assert_eq!(error, Error::Overloaded { what: "queue_max", max: 4 });
        refused += 1;
    }
    faults.release();
    let mut accepted = 0;
    for result in tokio::time::timeout(PATIENCE, writers.join_all()).await.expect("it hangs") {
        match result {
            Ok(_) => accepted += 1,
            Err(error) => assert_eq!(error, Error::Overloaded { what: "queue_max", max: 4 }),
        }
    }
    assert!(accepted >= 4, "{accepted}");
    assert_eq!(contents(&*store).await.len(), accepted);
}
