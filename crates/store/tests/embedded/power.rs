//! The power goes at any moment, on a disk that loses what was not flushed, names included, tears sectors and now and then fails: what
//! was acknowledged is there again, nothing is torn, and what was refused for good stays away.
//!
//! Each seed is one life of a store: [`ROUNDS_MAX`] times at most it is written to, cut off and opened again.
//! `WEIR_POWER_SEEDS=10000` runs so many of them; `WEIR_SEED=N` replays the one that failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use weir_store::{Embedded, Error, LeaseId, Options, Store, Txn};

use crate::disk::Disk;
use crate::support::{Random, contents, key, value};

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;
const ROUNDS_MAX: u64 = 4;
/// Transactions are handed over in waves, so that several become durable at once.
const WAVES_MAX: u64 = 12;
const WAVE_MAX: u64 = 6;
/// The power goes with one of so many calls to storage, or at rest.
const CALLS_MAX: u64 = 150;

type Found = BTreeMap<String, String>;

/// One transaction, as the test understands it.
#[derive(Clone, Debug)]
struct Write {
    puts: Vec<(String, String, bool)>,
    deletes: Vec<String>,
}

impl Write {
    fn draw(random: &mut Random, number: u64) -> Self {
        // Some values fill pages of their own.
        let pad = if random.below(8) == 0 { index(random.below(9000)) } else { index(random.below(300)) };
        let text = format!("{number}:{}", "x".repeat(pad));
        let name = |random: &mut Random| format!("{:02}", random.below(40));
        let mut puts = vec![("last".to_owned(), number.to_string(), false)];
        for side in ["left", "right"] {
            puts.push((format!("{side}{}", name(random)), text.clone(), random.below(6) == 0));
        }
        Self { puts, deletes: vec![format!("gone{}", name(random)), format!("left{}", name(random))] }
    }

    fn txn(&self, lease: Option<LeaseId>) -> Txn {
        let mut txn = Txn::new();
        for (name, text, leased) in &self.puts {
            txn = match lease.filter(|_| *leased) {
                Some(lease) => txn.put_leased(key(name), value(text), lease),
                None => txn.put(key(name), value(text)),
            };
        }
        let put = |name: &String| self.puts.iter().any(|(put, ..)| put == name);
        self.deletes.iter().filter(|name| !put(name)).fold(txn, |txn, name| txn.delete(key(name)))
    }

    fn apply(&self, found: &mut Found) {
        for name in &self.deletes {
            found.remove(name);
        }
        for (name, text, _) in &self.puts {
            found.insert(name.clone(), text.clone());
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

/// A store and what is known about it.
struct Life {
    seed: u64,
    log_keys_max: usize,
    log_bytes_max: u64,
    disk: Arc<Disk>,
    path: PathBuf,
    random: Random,
    /// What was acknowledged.
    known: Found,
    revision: u64,
    /// What was not, since the last acknowledgement: it may be there after a cut, in one piece of this line.
    doubtful: Vec<Write>,
    lease: Option<LeaseId>,
    written: u64,
    acknowledged: u64,
}

impl Life {
    fn new(seed: u64, folder: &Path) -> Self {
        let mut random = Random(seed ^ 0x106);
        Self {
            seed,
            // Small, so that the log grows, is full, and begins again all the time.
            log_keys_max: 8 + random.index(200),
            log_bytes_max: (8 + random.below(56)) << 12,
            disk: Disk::new(seed ^ 0x5eed),
            path: folder.join("store"),
            random: Random(seed),
            known: Found::new(),
            revision: 0,
            doubtful: Vec::new(),
            lease: None,
            written: 0,
            acknowledged: 0,
        }
    }

    fn try_open(&self) -> Result<Embedded, Error> {
        let mut options = Options::default();
        options.limits.log_keys_max = self.log_keys_max;
        options.limits.log_bytes_max = self.log_bytes_max;
        options.files = Some(self.disk.files());
        options.reopen_after = Duration::ZERO;
        Embedded::open(&self.path, options)
    }

    /// Opens the store; one time in four the power goes while that is done, and comes back.
    fn open(&mut self) -> Embedded {
        if self.random.below(4) == 0 {
            self.disk.cut_after(1 + self.random.below(20));
            if let Ok(store) = self.try_open() {
                drop(store);
            }
            self.disk.restart();
        }
        let store = self.try_open();
        store.unwrap_or_else(|error| panic!("it does not open: {error}; WEIR_SEED={}", self.seed))
    }

    async fn run(&mut self) {
        let mut epoch = None;
        for _ in 0..=self.random.below(ROUNDS_MAX) {
            let store = self.open();
            self.check(&store).await;
            let position = store.position().await.expect("a position");
            assert_eq!(*epoch.get_or_insert(position.epoch), position.epoch, "WEIR_SEED={}", self.seed);
            if self.lease.is_none() {
                self.lease = store.grant(Duration::from_secs(3600)).await.ok().map(|lease| lease.id);
            }
            self.disk.cut_after(1 + self.random.below(CALLS_MAX));
            if self.random.below(3) == 0 {
                self.disk.fail_one_in(4 + self.random.below(40));
            }
            for _ in 0..WAVES_MAX {
                self.wave(&store).await;
                if self.disk.is_off() {
                    break;
                }
            }
            drop(store);
            self.disk.restart();
        }
        let store = self.open();
        self.check(&store).await;
    }

    /// Hands some transactions over at once, and looks at what becomes of them.
    async fn wave(&mut self, store: &Embedded) {
        let count = 1 + self.random.below(WAVE_MAX);
        let writes: Vec<Write> = (0..count)
            .map(|_| {
                self.written += 1;
                Write::draw(&mut self.random, self.written)
            })
            .collect();
        // They join the queue in this order: each is polled once before any is answered.
        let answers = join_all(writes.iter().map(|write| store.commit(write.txn(self.lease)))).await;
        for (write, answer) in writes.into_iter().zip(answers) {
            match answer {
                Ok(outcome) => {
                    write.apply(&mut self.known);
                    self.revision += 1;
                    self.acknowledged += 1;
                    assert_eq!(outcome.position.revision, self.revision, "WEIR_SEED={}", self.seed);
                    // What was refused before is undone by now.
                    self.doubtful.clear();
                }
                Err(Error::WriteRefused { .. }) => self.doubtful.push(write),
                Err(other) => panic!("{other:?}; WEIR_SEED={}", self.seed),
            }
        }
        let found = contents(store).await;
        assert_eq!(found, self.known, "readers see what was acknowledged; WEIR_SEED={}", self.seed);
    }

    /// What was found is what was acknowledged, and perhaps a piece of what was not. It counts as acknowledged from now
    /// on: it was seen.
    async fn check(&mut self, store: &Embedded) {
        let found = contents(store).await;
        let revision = store.position().await.expect("a position").revision;
        let seed = self.seed;
        assert!(revision >= self.revision, "{revision} after {}; WEIR_SEED={seed}", self.revision);
        let more = index(revision - self.revision);
        assert!(more <= self.doubtful.len(), "{more} of {}; WEIR_SEED={seed}", self.doubtful.len());
        let possible = (0..=self.doubtful.len() - more).any(|first| {
            let mut state = self.known.clone();
            self.doubtful[first..first + more].iter().for_each(|write| write.apply(&mut state));
            state == found
        });
        assert!(possible, "{more} more, not what was acknowledged; WEIR_SEED={seed}");
        (self.known, self.revision) = (found, revision);
        self.doubtful.clear();
        if self.lease.is_some() {
            assert_eq!(store.stats().leases, 1, "its lease is gone; WEIR_SEED={seed}");
        }
    }
}

/// What all lives had together.
#[derive(Default)]
struct Totals {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    failed_flushes: AtomicU64,
    failed_calls: AtomicU64,
    names_lost: AtomicU64,
}

fn live(seed: u64, totals: &Totals) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut life = Life::new(seed, folder.path());
    runtime.block_on(life.run());
    let (flushes, calls) = life.disk.failed();
    totals.acknowledged.fetch_add(life.acknowledged, Ordering::Relaxed);
    totals.refused.fetch_add(life.written - life.acknowledged, Ordering::Relaxed);
    totals.failed_flushes.fetch_add(flushes, Ordering::Relaxed);
    totals.failed_calls.fetch_add(calls, Ordering::Relaxed);
    totals.names_lost.fetch_add(life.disk.names_lost(), Ordering::Relaxed);
}

/// Somebody has read its epoch: it must not begin another history.
#[tokio::test]
async fn a_store_that_was_opened_is_there_after_the_power_went() {
    for seed in 0..32 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let life = Life::new(seed, folder.path());
        let epoch = async || life.try_open().expect("it opens").position().await.expect("a position").epoch;
        let before = epoch().await;
        life.disk.restart();
        assert_eq!(epoch().await, before, "WEIR_SEED={seed}");
    }
}

#[test]
fn no_acknowledged_write_is_lost_when_the_power_goes() {
    let totals = Totals::default();
    if let Ok(seed) = std::env::var("WEIR_SEED") {
        return live(seed.parse().expect("WEIR_SEED is a number"), &totals);
    }
    let seeds = std::env::var("WEIR_POWER_SEEDS").map_or(SEEDS, |count| count.parse().expect("a number"));
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < seeds
                {
                    live(seed, &totals);
                }
            });
        }
    });
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    crate::support::say(&format!(
        "power: {seeds} seeds in {:.1?}: {} writes acknowledged, {} refused, {} flushes and {} other calls failed, \
         {} changes of names were lost",
        began.elapsed(),
        of(&totals.acknowledged),
        of(&totals.refused),
        of(&totals.failed_flushes),
        of(&totals.failed_calls),
        of(&totals.names_lost),
    ));
    assert!(of(&totals.acknowledged) > seeds);
    assert!(
        [&totals.refused, &totals.failed_flushes, &totals.names_lost].into_iter().all(|count| of(count) > 0)
    );
}
