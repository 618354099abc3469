//! A store whose log was left open, as a kill leaves it: all that was acknowledged comes back, or it is said that it cannot.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadableDatabase, TableDefinition};
use weir_store::clock::ManualClock;
use weir_store::{Embedded, Error, Options, Restore, Store, Txn};

use crate::support::{Random, contents, key, open, put, value};

pub(crate) const BLOCK: usize = 4096;

/// A store and its log.
#[derive(Clone, PartialEq)]
pub(crate) struct Image {
    pub(crate) file: Vec<u8>,
    pub(crate) log: Vec<u8>,
}

pub(crate) fn log_of(path: &Path) -> PathBuf {
    // The names used here have no dots.
    path.with_extension("wal")
}

impl Image {
    /// What a kill would leave now.
    pub(crate) fn take(path: &Path) -> Self {
        let read = |path: &Path| std::fs::read(path).expect("read");
        Self { file: read(path), log: read(&log_of(path)) }
    }

    pub(crate) fn put(&self, path: &Path) {
        std::fs::write(path, &self.file).expect("written");
        std::fs::write(log_of(path), &self.log).expect("written");
    }

    /// Where records begin, of whichever generation.
    pub(crate) fn records(&self) -> Vec<usize> {
        (0..self.log.len()).step_by(BLOCK).filter(|at| self.log[*at..].starts_with(b"weir-rec")).collect()
    }
}

pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn format(path: &Path) -> String {
    let database = Database::open(path).expect("a database");
    let table: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    let meta = database.begin_read().expect("a transaction").open_table(table).expect("a table");
    String::from_utf8(meta.get("format").expect("read").expect("a format").value().to_vec()).expect("text")
}

pub(crate) async fn fill(store: &dyn Store, count: usize) {
    for number in 0..count {
        put(store, &format!("{number:03}"), "x").await.expect("accepted");
    }
}

pub(crate) fn corrupt(path: &Path, reason: &str) {
    match Embedded::open(path, Options::default()).map(|_| ()) {
        Err(error @ Error::Corrupt { .. }) => {
            let said = error.to_string();
            assert!(said.contains(reason) && said.contains("belong together"), "{said}");
            assert!(said.contains(&log_of(path).display().to_string()), "{said}");
        }
        other => panic!("{other:?}"),
    }
}

/// Everything goes through the log: transactions, leases granted and ended, what takes the place of everything.
#[tokio::test]
async fn what_was_acknowledged_comes_back_after_a_kill() {
    const TTL: Duration = Duration::from_secs(10);
    let place = Place::new();
    let (path, copy) = (place.path("store"), place.path("copy"));
    let clock = ManualClock::new();
    let mut options = Options::default();
    options.clock = Arc::new(clock.clone());
    let store = Embedded::open(&path, options).expect("a new store");
    assert!(!log_of(&path).exists(), "who only reads needs none");
    put(&store, "gone", "x").await.expect("accepted");
    put(&store, "käse/", "1").await.expect("accepted");
    let short = store.grant(TTL).await.expect("a lease").id;
    let long = store.grant(2 * TTL).await.expect("a lease").id;
    let txn =
        Txn::new().put_leased(key("short"), value("x"), short).put_leased(key("long"), value("x"), long);
    store.commit(txn.delete(key("gone"))).await.expect("accepted");
    let before = store.position().await.expect("a position").revision;
    let mut watch = store.watch(weir_store::KeyRange::all(), before + 1).await.expect("a watch");
    clock.advance(TTL);
    watch.next().await.expect("the lease ends");
    let (found, position) = (contents(&store).await, store.position().await.expect("a position"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["käse/", "long"]);
    Image::take(&path).put(&copy);
    assert_eq!(format(&copy), r#"{"reader_min":2,"writer_min":2}"#, "older versions must not use it");

    let again = open(&copy);
    assert_eq!(contents(&again).await, found);
    assert_eq!(again.position().await.expect("a position"), position);
    assert_eq!(again.stats().leases, 1);
    assert_eq!(again.keep_alive(short).await, Err(Error::LeaseNotFound { id: short }));
    assert_eq!(again.keep_alive(long).await.expect("alive").ttl, 2 * TTL);
    assert!(![short, long].contains(&again.grant(TTL).await.expect("a lease").id));
    drop(again);
    assert_eq!(format(&copy), r#"{"reader_min":1,"writer_min":1}"#);
    assert!(!log_of(&copy).exists(), "a store that was closed is one file");

    let replaced = store.replace(BTreeMap::from([(key("new"), value("1"))]), 0).await.expect("replaced");
    put(&store, "last", "x").await.expect("accepted");
    Image::take(&path).put(&copy);
    let again = open(&copy);
    assert_eq!(contents(&again).await.into_keys().collect::<Vec<_>>(), ["last", "new"]);
    let position = again.position().await.expect("a position");
    assert_eq!((position.epoch, position.revision), (replaced.epoch, replaced.revision + 1));
    assert_eq!(again.stats().leases, 0);
}

#[tokio::test]
async fn a_log_is_its_owners_only() {
    let place = Place::new();
    let path = place.path("store");
    let store = open(&path);
    fill(&store, 2).await;
    for path in [&path, &log_of(&path)] {
        let mode = std::fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

/// The log is full, grows, and begins again, many times over; a batch may be larger than any log.
#[tokio::test]
async fn a_log_begins_again() {
    let place = Place::new();
    let (path, copy) = (place.path("store"), place.path("copy"));
    let mut random = Random(Random::seed());
    for (keys_max, bytes_max) in [(1, 1 << 20), (1000, 0), (1000, 64 << 10), (7, 1 << 20)] {
        let mut options = Options::default();
        (options.limits.log_keys_max, options.limits.log_bytes_max) = (keys_max, bytes_max);
        let store = Embedded::open(&path, options).expect("the store opens");
        for round in 0..60 {
            let length = random.index(if round % 16 == 0 { 200_000 } else { 5000 });
            put(&store, &random.below(40).to_string(), &"x".repeat(length)).await.expect("accepted");
            if round % 7 == 0 {
                let image = Image::take(&path);
                assert!(image.log.len() as u64 <= bytes_max.max(4 * BLOCK as u64), "{}", image.log.len());
                image.put(&copy);
                assert_eq!(
                    contents(&open(&copy)).await,
                    contents(&store).await,
                    "{keys_max} {bytes_max} {round}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_belong_together_is_refused() {
    let place = Place::new();
    let (path, copy) = (place.path("store"), place.path("copy"));
    let mut options = Options::default();
    options.limits.log_keys_max = 10;
    let store = Embedded::open(&path, options).expect("a new store");
    fill(&store, 3).await;
    let first = Image::take(&path);
    fill(&store, 20).await;
    let second = Image::take(&path);
    assert!(first.file != second.file, "the file has taken over what the log had");
    drop(store);
    // Only one of two was copied.
    first.put(&copy);
    std::fs::remove_file(log_of(&copy)).expect("removed");
    corrupt(&copy, "it is missing");
    std::fs::write(log_of(&copy), b"").expect("written");
    corrupt(&copy, "does not belong");
    // Only one of two was put back.
    Image { log: second.log, ..first.clone() }.put(&copy);
    corrupt(&copy, "newer than the store's file");
    // The log of another store, or of this one at another time.
    let store = open(&path);
    fill(&store, 1).await;
    let other = Image::take(&path);
    drop(store);
    Image { log: other.log, ..first.clone() }.put(&copy);
    corrupt(&copy, "does not belong");
    // A backup may take the place of what cannot be read.
    let from = weir_store::Position::new(1, 1);
    let entries = || std::iter::empty::<Result<_, Error>>();
    let kept = Embedded::restore(&copy, Restore { from, replace: false }, entries());
    assert!(matches!(kept, Err(Error::Corrupt { .. })), "{kept:?}");
    Embedded::restore(&copy, Restore { from, replace: true }, entries()).expect("replaced");
    assert!(contents(&open(&copy)).await.is_empty());
}

/// What was left open is closed before something takes its place, and no log of the old one is ever taken for one of the new.
#[tokio::test]
async fn a_store_that_was_killed_can_be_replaced() {
    let place = Place::new();
    let (path, copy) = (place.path("store"), place.path("copy"));
    let store = open(&path);
    fill(&store, 5).await;
    let image = Image::take(&path);
    image.put(&copy);
    drop(store);
    let restore = |replace| {
        let from = weir_store::Position::new(1, 1);
        Embedded::restore(&copy, Restore { from, replace }, std::iter::empty::<Result<_, Error>>())
    };
    let refused = restore(false).expect_err("it holds something");
    assert!(matches!(refused, Error::NotEmpty { keys: 5, .. }), "{refused}");
    assert_eq!(contents(&open(&copy)).await.len(), 5);
    image.put(&copy);
    restore(true).expect("replaced");
    assert!(!log_of(&copy).exists(), "it goes while nobody else can have the new file");
    let store = open(&copy);
    assert!(contents(&store).await.is_empty(), "the old log does not count");
    fill(&store, 2).await;
    Image::take(&copy).put(&place.path("third"));
    assert_eq!(contents(&open(&place.path("third"))).await.len(), 2);
}

/// An older version closed the file properly, or none has: the first write begins a log.
#[tokio::test]
async fn a_log_that_was_left_behind_does_not_count() {
    let place = Place::new();
    let path = place.path("store");
    let store = open(&path);
    fill(&store, 5).await;
    let log = Image::take(&path).log;
    drop(store);
    std::fs::write(log_of(&path), log).expect("written");
    let store = open(&path);
    assert_eq!(contents(&store).await.len(), 5);
    store.commit(Txn::new().delete(key("000"))).await.expect("accepted");
    drop(store);
    assert_eq!(contents(&open(&path)).await.len(), 4);
}
