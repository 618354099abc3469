//! Damage to a log that was left open, or to its file: it is all there, or it is said. Nothing is passed over but a last record,
//! which cannot be told from one that was being written.

use std::path::Path;

use redb::{Database, TableDefinition};
use weir_store::{Embedded, Error, Options, Restore, Store};

use crate::log::{BLOCK, Image, Place, corrupt, fill, log_of};
use crate::support::{Random, contents, open, put, say};

type Found = std::collections::BTreeMap<String, String>;

/// A store whose log was left open, with what was acknowledged.
struct Left {
    image: Image,
    found: Found,
    revision: u64,
}

impl Left {
    async fn by(store: &Embedded, path: &Path) -> Self {
        let revision = store.position().await.expect("a position").revision;
        Self { image: Image::take(path), found: contents(store).await, revision }
    }

    /// Opens a damaged copy: whether it could be. All that was acknowledged is there then.
    async fn opens(&self, copy: &Path, what: &str) -> bool {
        match Embedded::open(copy, Options::default()) {
            Ok(store) => {
                let revision = store.position().await.expect("a position").revision;
                assert!(revision == self.revision, "{what}: {revision} of {}", self.revision);
                assert!(contents(&store).await == self.found, "{what}: not what was acknowledged");
                true
            }
            Err(Error::Corrupt { .. }) => false,
            Err(other) => panic!("{what}: {other:?}"),
        }
    }
}

/// Not one bit of what was acknowledged may be another: either it all comes back, or it is said. Only the last record cannot be
/// told from one that was being written.
#[tokio::test]
async fn damage_is_noticed() {
    const ROUNDS: usize = if cfg!(debug_assertions) { 150 } else { 600 };
    let place = Place::new();
    let (path, copy) = (place.path("store"), place.path("copy"));
    let store = open(&path);
    fill(&store, 30).await;
    put(&store, "long", &"y".repeat(3 * BLOCK)).await.expect("accepted");
    fill(&store, 5).await;
    let Left { image, found: whole, revision } = Left::by(&store, &path).await;
    let records = image.records();
    assert_eq!(records.len() as u64, revision);
    let (last, end) = (records[records.len() - 1], records[records.len() - 1] + BLOCK);
    drop(store);
    let seed = Random::seed();
    let mut random = Random(seed);
    let (mut opened, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let mut damaged = image.clone();
        let at = random.index(if round % 10 == 0 { end + 10 * BLOCK } else { end });
        match round % 8 {
            0 => damaged.log.truncate(at),
            1 => damaged.log[at / 512 * 512..][..512].fill(0),
            2 => damaged.log[at / BLOCK * BLOCK..][..BLOCK].fill(0),
            _ => damaged.log[at] ^= 1 << random.below(8),
        }
        damaged.put(&copy);
        match Embedded::open(&copy, Options::default()) {
            Ok(store) => {
                let missing = revision - store.position().await.expect("a position").revision;
                // What stands behind a record, in its last block, is nothing.
                assert!(missing == 0 || at >= last && missing == 1, "byte {at}: {missing}; WEIR_SEED={seed}");
                let found = contents(&store).await;
                assert!(missing == 1 || found == whole, "byte {at}; WEIR_SEED={seed}");
                opened += 1;
            }
            Err(Error::Corrupt { .. }) => {
                assert!(at < last || round % 8 == 0, "byte {at}; WEIR_SEED={seed}");
                refused += 1;
            }
            Err(other) => panic!("byte {at}: {other:?}; WEIR_SEED={seed}"),
        }
    }
    say(&format!("damage to a log: {opened} opened, {refused} refused; WEIR_SEED={seed}"));
    assert!(opened > 0 && refused > 0);
}

/// Wherever a log is cut, also to its header, and to a length that it once had.
#[tokio::test]
async fn a_log_that_is_cut_is_noticed() {
    let place = Place::new();
    let (path, copy) = (place.path("store"), place.path("copy"));
    let mut options = Options::default();
    // It begins with four blocks.
    options.limits.log_bytes_max = 64 * 4 * BLOCK as u64;
    let store = Embedded::open(&path, options).expect("a new store");
    for count in [1, 2, 40] {
        fill(&store, count).await;
        let Left { image, .. } = Left::by(&store, &path).await;
        let odd = [1, 48, 614, BLOCK + 8, BLOCK + 72, 2 * BLOCK - 1];
        for length in odd.into_iter().chain((0..image.log.len()).step_by(BLOCK)) {
            let mut cut = image.clone();
            cut.log.truncate(length);
            cut.put(&copy);
            corrupt(&copy, if length < 48 { "does not belong" } else { "cut short" });
        }
    }
    assert_eq!(Image::take(&path).log.len(), 64 * BLOCK, "it has grown four times");
    // Nothing is in it yet, and its first record would not be there either.
    let store = open(&place.path("big"));
    store.replace(big(), 0).await.expect("replaced");
    let image = Image::take(&place.path("big"));
    assert!(image.records().is_empty(), "it fits in no log");
    for length in [48, BLOCK, 2 * BLOCK - 1] {
        let mut cut = image.clone();
        cut.log.truncate(length);
        cut.put(&copy);
        corrupt(&copy, "cut short");
    }
}

/// More than a log may hold.
fn big() -> std::collections::BTreeMap<weir_store::Key, weir_store::Value> {
    let text = "x".repeat(1_000_000);
    let entry = |number: usize| (crate::support::key(&number.to_string()), crate::support::value(&text));
    (0..20).map(entry).collect()
}

/// The file has two states, the present one and the one before. Whatever is damaged, the older one must not take its place
/// as if nothing had been written since.
#[tokio::test]
async fn damage_to_a_file_with_a_log_is_noticed() {
    let place = Place::new();
    let (path, copy) = (place.path("store"), place.path("copy"));
    let mut options = Options::default();
    options.limits.log_bytes_max = 8 * BLOCK as u64;
    let seed = Random::seed();
    let mut random = Random(seed);
    let (mut opened, mut refused) = (0, 0);
    let store = Embedded::open(&path, options).expect("a new store");
    // The log has just been begun; it has some; it has begun again, with a batch that did not fit; a batch fits in no log.
    for (count, bytes) in [(1, 1), (3, 1), (6, 1), (1, 100_000)] {
        for _ in 0..count {
            let name = random.below(1000).to_string();
            put(&store, &name, &"x".repeat(bytes)).await.expect("accepted");
        }
        let left = Left::by(&store, &path).await;
        // Which state is the present one, and how it was written, is in the tenth byte; nothing guards that against a flip but
        // that both states need the log. What fits in no log is then in one of them only.
        let header = (0..8).filter(|_| bytes == 1).map(|bit| (9, 1 << bit));
        let pages =
            left.image.file.chunks(BLOCK).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
        let pages: Vec<usize> = pages.map(|(number, _)| number * BLOCK).collect();
        let in_pages = pages.iter().flat_map(|page| {
            let first = usize::from(*page == 0) * 64;
            [first, random.index(BLOCK - 64) + 64].map(|byte| (page + byte, 0xff))
        });
        for (at, flip) in header.chain(in_pages.collect::<Vec<_>>()) {
            let mut damaged = left.image.clone();
            damaged.file[at] ^= flip;
            damaged.put(&copy);
            let what = format!("{count} of {bytes} bytes, byte {at}, {flip:#x}; WEIR_SEED={seed}");
            if left.opens(&copy, &what).await { opened += 1 } else { refused += 1 }
        }
    }
    say(&format!("damage to a file with a log: {opened} opened, {refused} refused; WEIR_SEED={seed}"));
    assert!(refused > 0);
}

/// The file was repaired and has a new epoch, and the process ended before it could take over what the log has.
#[tokio::test]
async fn a_file_whose_epoch_was_raised_goes_on_with_its_log() {
    let place = Place::new();
    let (path, copy) = (place.path("store"), place.path("copy"));
    let store = open(&path);
    fill(&store, 5).await;
    Image::take(&path).put(&copy);
    let epoch = store.position().await.expect("a position").epoch + 7;
    let database = Database::open(&copy).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    let counters: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
    transaction.open_table(counters).expect("a table").insert("epoch", epoch).expect("inserted");
    transaction.commit().expect("committed");
    drop(database);
    for _ in 0..2 {
        let again = open(&copy);
        let position = again.position().await.expect("a position");
        assert_eq!((position.epoch, position.revision), (epoch, 5));
        assert_eq!(contents(&again).await, contents(&store).await);
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_read_can_be_replaced() {
    let place = Place::new();
    let (path, copy) = (place.path("store"), place.path("copy"));
    let store = open(&path);
    fill(&store, 5).await;
    Image::take(&path).put(&copy);
    std::fs::remove_file(log_of(&copy)).expect("removed");
    std::fs::create_dir(log_of(&copy)).expect("a folder");
    corrupt(&copy, "it cannot be read");
    let options = Restore { from: weir_store::Position::new(1, 1), replace: true };
    Embedded::restore(&copy, options, std::iter::empty::<Result<_, Error>>()).expect("replaced");
    // What is in the way of a log is in nobody else's.
    let store = open(&copy);
    fill(&store, 2).await;
    drop(store);
    assert_eq!(contents(&open(&copy)).await.len(), 2);
}

#[tokio::test]
async fn what_is_too_long_for_a_log_is_refused() {
    let place = Place::new();
    let path = place.path("store");
    let mut options = Options::default();
    options.limits.log_bytes_max = u64::MAX;
    let store = Embedded::open(&path, options).expect("a new store");
    fill(&store, 3).await;
    let copy = place.path("copy");
    Image::take(&path).put(&copy);
    assert_eq!(contents(&open(&copy)).await.len(), 3, "it is no longer than what is read");
    Image::take(&path).put(&copy);
    let log = std::fs::OpenOptions::new().write(true).open(log_of(&copy)).expect("the log");
    log.set_len((1 << 30) + 1).expect("a long file");
    corrupt(&copy, "more than any log");
}
