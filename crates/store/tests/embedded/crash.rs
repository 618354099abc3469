//! The process dies at any moment: no acknowledged write is lost, no transaction is torn.
//!
//! The child is this very test binary, told to run only [`child`], which does nothing unless the parent has set
//! `WEIR_CRASH_STORE`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_store::{Embedded, Error, Options, Stats, Store, Txn};

use crate::support::{Random, contents, key, open, put, say, value};

const ROUNDS: usize = 20;
const TASKS: usize = 8;
const STORE: &str = "WEIR_CRASH_STORE";
const ABORT_AFTER: &str = "WEIR_CRASH_ABORT_AFTER";

/// Writes until killed, or until it has answered so many writes. Each task writes `<task>/<number>`, and in the same
/// transaction the number to `<task>/left` and `<task>/right`; prints a line for each acknowledged one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the tests in this file"]
async fn child() {
    let Ok(path) = std::env::var(STORE) else { return };
    let abort_after: usize =
        std::env::var(ABORT_AFTER).map_or(usize::MAX, |count| count.parse().expect("a number"));
    let store = Arc::new(open(Path::new(&path)));
    let answered = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (store, answered) = (Arc::clone(&store), Arc::clone(&answered));
        tasks.spawn(async move {
            let left = store.get(&key(&format!("{task}/left"))).await.expect("a read works");
            let last = left.map_or(0, |found| parse(&String::from_utf8_lossy(&found.entry.value.bytes())));
            for number in last + 1.. {
                let text = value(&number.to_string());
                let txn = Txn::new()
                    .put(key(&format!("{task}/{number:08}")), text.clone())
                    .put(key(&format!("{task}/left")), text.clone())
                    .put(key(&format!("{task}/right")), text);
                store.commit(txn).await.expect("accepted");
                // One write call per line, so that lines are whole.
                std::io::stdout()
                    .write_all(format!("\nack {task} {number}\n").as_bytes())
                    .expect("the parent reads");
                std::io::stdout().flush().expect("the parent reads");
                if answered.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 == abort_after {
                    std::process::abort();
                }
            }
        });
    }
    tasks.join_all().await;
}

fn parse(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn start(path: &Path, abort_after: Option<u64>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "crash::child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(STORE, path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(count) = abort_after {
        command.env(ABORT_AFTER, count.to_string());
    }
    command.spawn().expect("the child starts")
}

/// Starts a child, ends it, and returns the last number each task got acknowledged.
fn run_and_end(path: &Path, kill_after: Duration, abort_after: Option<u64>) -> BTreeMap<usize, u64> {
    let mut child = start(path, abort_after);
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let (first, seen_first) = std::sync::mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        let mut acknowledged = BTreeMap::new();
        for line in output.split(b'\n') {
            let line = line.expect("the pipe works");
            let mut words =
                line.split(|byte| *byte == b' ').map(|word| String::from_utf8_lossy(word).into_owned());
            if words.next().as_deref() != Some("ack") {
                continue;
            }
            if let (Some(task), Some(number)) = (words.next(), words.next()) {
                acknowledged.insert(task.parse().expect("a number"), parse(&number));
                // Only the first one counts; the channel is full afterwards.
                let _full = first.try_send(());
            }
        }
        acknowledged
    });
    seen_first.recv_timeout(Duration::from_secs(60)).expect("the child writes");
    if abort_after.is_none() {
        let error = Embedded::open(path, Options::default()).err().expect("the child has it open");
        assert!(matches!(error, Error::InUse { .. }), "{error:?}");
        std::thread::sleep(kill_after);
        child.kill().expect("killed");
    }
    child.wait().expect("ended");
    reader.join().expect("the reader is well")
}

/// Opens what the child left, and checks all of it. Returns how many numbers there are.
async fn check(path: &Path, acknowledged: &BTreeMap<usize, u64>, seed: u64) -> (u64, Stats) {
    let store = open(path);
    let found = contents(&store).await;
    let mut total = 0;
    for task in 0..TASKS {
        let last = |side: &str| found.get(&format!("{task}/{side}")).map_or(0, |text| parse(text));
        let (left, right) = (last("left"), last("right"));
        let acknowledged = acknowledged.get(&task).copied().unwrap_or(0);
        assert_eq!(left, right, "a torn transaction; WEIR_SEED={seed}");
        assert!(left >= acknowledged, "task {task} lost {acknowledged}, found {left}; WEIR_SEED={seed}");
        for number in 1..=left {
            let text = found.get(&format!("{task}/{number:08}"));
            assert_eq!(text, Some(&number.to_string()), "task {task}; WEIR_SEED={seed}");
        }
        total += left;
    }
    let tasks = found.keys().filter(|name| name.ends_with("/left")).count() as u64;
    assert_eq!(found.len() as u64, total + 2 * tasks, "nothing else is there; WEIR_SEED={seed}");
    assert_eq!(
        store.position().await.expect("a position").revision,
        total,
        "one revision each; WEIR_SEED={seed}"
    );
    (total, store.stats())
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_when_killed() {
    let seed = Random::seed();
    let mut random = Random(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let mut slowest = Duration::ZERO;
    let mut total = 0;
    let mut epochs = std::collections::BTreeSet::new();
    for _ in 0..ROUNDS {
        let acknowledged = run_and_end(&path, Duration::from_millis(random.below(150)), None);
        let (found, stats) = check(&path, &acknowledged, seed).await;
        assert!(found > total, "the child wrote");
        total = found;
        slowest = slowest.max(stats.open_duration);
        epochs.insert(open(&path).position().await.expect("a position").epoch);
    }
    assert_eq!(epochs.len(), 1, "a restart keeps the epoch");
    say(&format!(
        "crash: killed {ROUNDS} times, {total} transactions, slowest recovery {slowest:?}; WEIR_SEED={seed}"
    ));
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_when_aborted() {
    let seed = Random::seed();
    let mut random = Random(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    for _ in 0..5 {
        let acknowledged = run_and_end(&path, Duration::ZERO, Some(1 + random.below(200)));
        check(&path, &acknowledged, seed).await;
    }
}

/// How long a store of many instances takes to come back after a kill. The bound is loose, and an unoptimised build
/// has fewer keys: tests run beside others.
#[tokio::test]
async fn recovery_of_many_keys_is_short() {
    const KEYS: usize = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store");
    let store = open(&path);
    let text = value(&"x".repeat(300));
    for start in (0..KEYS).step_by(1000) {
        let txn = (start..start + 1000).fold(Txn::new(), |txn, i| {
            txn.put(key(&format!("node-{:03}/instance-{i:06}", i % 1000)), text.clone())
        });
        store.commit(txn).await.expect("accepted");
    }
    drop(store);
    run_and_end(&path, Duration::from_millis(50), None);
    let started = Instant::now();
    let store = open(&path);
    let took = started.elapsed();
    assert!(store.stats().keys >= KEYS as u64);
    put(&store, "after", "x").await.expect("accepted");
    say(&format!("crash: {} keys recovered in {took:?}", store.stats().keys));
    assert!(took < Duration::from_secs(20), "{took:?}");
}
