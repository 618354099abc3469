//! Random operations against a trivial model, the same in each run. `WEIR_SEED=random` draws others, and `WEIR_SEED=N`
//! replays one run; a failure prints its seed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_store::{Batch, Compare, Entry, Key, KeyRange, LeaseId, Limits, Op, Read, Relation, Txn, list};

use crate::support::{Fixture, Make, key, next};

const RUNS: u64 = 8;
const STEPS: usize = 250;
const NAMES: [&str; 8] = ["a", "a/1", "a/2", "b", "b/1", "c", "c/1/2", "d"];

/// A small generator with known steps (splitmix64, Steele et al., OOPSLA 2014), so that a seed means the same for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }

    fn name(&mut self) -> Key {
        key(NAMES[self.below(NAMES.len())])
    }
}

/// What a store is: a map for each revision.
#[derive(Default)]
struct Model {
    revisions: Vec<BTreeMap<Key, Entry>>,
    leases: Vec<LeaseId>,
}

impl Model {
    fn now(&self) -> &BTreeMap<Key, Entry> {
        self.revisions.last().expect("revision 0")
    }

    fn holds(&self, compare: &Compare) -> bool {
        let entry = self.now().get(compare.key());
        let relate = |ordering: std::cmp::Ordering, relation: Relation| match relation {
            Relation::Equal => ordering.is_eq(),
            Relation::NotEqual => ordering.is_ne(),
            Relation::Less => ordering.is_lt(),
            Relation::Greater => ordering.is_gt(),
        };
        let number = |field: fn(&Entry) -> u64| entry.map(field).unwrap_or_default();
        match compare {
            Compare::Exists(_) => entry.is_some(),
            Compare::Absent(_) => entry.is_none(),
            Compare::Version(_, relation, n) => relate(number(|e| e.version).cmp(n), *relation),
            Compare::CreateRevision(_, relation, n) => {
                relate(number(|e| e.create_revision).cmp(n), *relation)
            }
            Compare::ModRevision(_, relation, n) => relate(number(|e| e.mod_revision).cmp(n), *relation),
            Compare::Value(_, relation, v) => {
                entry.is_some_and(|e| relate(e.value.bytes().cmp(&v.bytes()), *relation))
            }
        }
    }

    /// Whether the conditions held.
    fn commit(&mut self, txn: &Txn) -> bool {
        let held = txn.compares.iter().all(|compare| self.holds(compare));
        if held {
            self.write(&txn.writes);
        }
        held
    }

    fn write(&mut self, ops: &[Op]) {
        let revision = self.revisions.len() as u64;
        let mut map = self.now().clone();
        let mut changed = false;
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    let before = map.get(key);
                    let entry = Entry {
                        value: value.clone(),
                        create_revision: before.map_or(revision, |before| before.create_revision),
                        mod_revision: revision,
                        version: before.map_or(1, |before| before.version + 1),
                        lease: *lease,
                    };
                    map.insert(key.clone(), entry);
                    changed = true;
                }
                Op::Delete(key) => changed |= map.remove(key).is_some(),
                Op::DeleteRange(range) => {
                    let before = map.len();
                    map.retain(|key, _| !range.contains(key));
                    changed |= map.len() != before;
                }
            }
        }
        if changed {
            self.revisions.push(map);
        }
    }

    fn revoke(&mut self, lease: LeaseId) {
        let attached =
            |(key, entry): (&Key, &Entry)| (entry.lease == Some(lease)).then(|| Op::Delete(key.clone()));
        let ops: Vec<Op> = self.now().iter().filter_map(attached).collect();
        self.write(&ops);
        self.leases.retain(|other| *other != lease);
    }
}

fn compare(random: &mut Random, model: &Model) -> Compare {
    let key = random.name();
    let relation = [Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater][random.below(4)];
    let revision = random.below(model.revisions.len() + 1) as u64;
    match random.below(6) {
        0 => Compare::Exists(key),
        1 => Compare::Absent(key),
        2 => Compare::Version(key, relation, random.below(4) as u64),
        3 => Compare::CreateRevision(key, relation, revision),
        4 => Compare::ModRevision(key, relation, revision),
        _ => Compare::Value(key, relation, random.below(10).to_string().into_bytes().into()),
    }
}

fn transaction(random: &mut Random, model: &Model) -> Txn {
    let mut txn = Txn::new();
    for _ in 0..random.below(3) {
        txn = txn.when(compare(random, model));
    }
    let mut names: Vec<&str> = NAMES.to_vec();
    for _ in 0..random.below(4) {
        let key = key(names.swap_remove(random.below(names.len())));
        let value = random.below(10).to_string().into_bytes();
        txn = match random.below(5) {
            0 => txn.delete(key),
            1 if !model.leases.is_empty() => {
                txn.put_leased(key, value, model.leases[random.below(model.leases.len())])
            }
            _ => txn.put(key, value),
        };
    }
    if random.below(8) == 0 && txn.writes.is_empty() {
        txn = txn.delete_range(KeyRange::prefix(random.name().as_str()));
    }
    txn.otherwise(Read::range(KeyRange::all()))
}

pub(crate) async fn random_operations_match_a_trivial_model(make: Make) {
    let (first, runs) = match std::env::var("WEIR_SEED") {
        Ok(text) if text == "random" => {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
            (u64::try_from(since_1970).expect("before the year 500000"), RUNS)
        }
        Ok(text) => (text.parse().expect("WEIR_SEED is a number, or `random`"), 1),
        Err(_) => (1, RUNS),
    };
    for seed in first..first + runs {
        // Its own task, so that a failure can be told with its seed.
        let run = tokio::spawn(run(make(Limits::default()), seed));
        assert!(run.await.is_ok(), "failed; replay with WEIR_SEED={seed}");
    }
}

async fn run(fixture: Fixture, seed: u64) {
    let mut random = Random(seed);
    let start = usize::try_from(fixture.revision().await).expect("few");
    let mut model = Model { revisions: vec![BTreeMap::new(); start + 1], leases: Vec::new() };
    for _ in 0..STEPS {
        step(&fixture, &mut random, &mut model).await;
        let position = fixture.store.position().await.expect("a position");
        assert_eq!(position.revision + 1, model.revisions.len() as u64);
    }
    // The watch from the beginning tells how each revision came from the one before.
    let mut watch = fixture.store.watch(KeyRange::all(), 1).await.expect("a watch");
    for (revision, pair) in model.revisions.windows(2).enumerate().skip(start) {
        check_batch(&next(&mut watch).await, revision as u64 + 1, &pair[0], &pair[1]);
    }
}

async fn step(fixture: &Fixture, random: &mut Random, model: &mut Model) {
    match random.below(10) {
        0 => model.leases.push(fixture.store.grant(Duration::from_secs(60)).await.expect("a lease").id),
        1 if !model.leases.is_empty() => {
            let lease = model.leases[random.below(model.leases.len())];
            fixture.store.revoke(lease).await.expect("revoked");
            model.revoke(lease);
        }
        2 => {
            let revision = random.below(model.revisions.len());
            let read = Read::range(KeyRange::all()).at(revision as u64);
            let page = fixture.store.range(read).await.expect("the past");
            let expected = &model.revisions[revision];
            assert!(
                page.entries.iter().map(|found| (&found.key, &found.entry)).eq(expected),
                "at {revision}"
            );
        }
        _ => {
            let txn = transaction(random, model);
            let outcome = fixture.commit(txn.clone()).await;
            assert_eq!(outcome.succeeded, model.commit(&txn), "{txn:?}");
            for page in &outcome.reads {
                assert!(page.entries.iter().map(|found| (&found.key, &found.entry)).eq(model.now()));
            }
        }
    }
    let (entries, _) = list(&*fixture.store, &KeyRange::all()).await.expect("a list");
    assert!(entries.iter().map(|found| (&found.key, &found.entry)).eq(model.now()));
}

fn check_batch(batch: &Batch, revision: u64, before: &BTreeMap<Key, Entry>, after: &BTreeMap<Key, Entry>) {
    assert_eq!(batch.position.revision, revision);
    let mut replayed = before.clone();
    for event in &*batch.events {
        assert_eq!(event.before.as_ref(), before.get(&event.key), "{revision}");
        match &event.now {
            Some(entry) => replayed.insert(event.key.clone(), entry.clone()),
            None => replayed.remove(&event.key),
        };
    }
    assert_eq!(&replayed, after, "{revision}");
}
