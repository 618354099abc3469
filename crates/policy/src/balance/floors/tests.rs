//! That nobody is less busy than who is picked, that equals are spread, and that floors hold when threads share them.

use std::sync::Barrier;
use std::sync::atomic::AtomicU32;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::balance::{Balancer, Config, Policy, Query, Standing, Why};
use crate::testing::{plausible, seeded};

/// Endpoints as a test sets them, from any thread.
#[derive(Debug)]
struct World {
    weights: Vec<u32>,
    in_flight: Vec<AtomicU32>,
    avoided: Vec<AtomicBool>,
}

impl Candidates for World {
    fn in_flight(&self, index: usize) -> u32 {
        self.in_flight[index].load(Ordering::SeqCst)
    }

    fn in_flight_total(&self) -> u64 {
        unreachable!("nobody hashes")
    }

    fn avoided(&self, index: usize) -> bool {
        self.avoided[index].load(Ordering::SeqCst)
    }
}

impl World {
    fn new(weights: &[u32]) -> Self {
        Self {
            weights: weights.to_vec(),
            in_flight: weights.iter().map(|_| AtomicU32::new(0)).collect(),
            avoided: weights.iter().map(|_| AtomicBool::new(false)).collect(),
        }
    }

    fn balancer(&self, rng: &mut StdRng) -> Balancer {
        let keys: Vec<u64> = (0..self.weights.len() as u64).collect();
        Balancer::new(Config::of(Policy::LeastConnections), &self.weights, &keys, rng)
    }

    fn begin(&self, index: usize) {
        self.in_flight[index].fetch_add(1, Ordering::SeqCst);
    }

    /// False if nothing is in flight there.
    fn end(&self, index: usize, floors: &Floors) -> bool {
        let down =
            self.in_flight[index].fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        down.map(|before| floors.lower(index, before - 1)).is_ok()
    }

    /// Whether the first is busier for its weight than the second, without rounding.
    fn is_busier(&self, one: usize, other: usize) -> bool {
        let busy = |index: usize| u64::from(self.in_flight(index));
        let weight = |index: usize| u64::from(self.weights[index]);
        busy(one) * weight(other) > busy(other) * weight(one)
    }

    fn is_open(&self, index: usize, tried: &Tried) -> bool {
        self.weights[index] > 0 && !self.avoided(index) && !tried.has(index)
    }
}

/// What happens between two picks.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// The request that was picked for begins.
    Begins,
    /// One that somebody else has picked for begins at the endpoint.
    BeginsAt(usize),
    /// One ends at the endpoint.
    EndsAt(usize),
    /// All end there.
    AllEndAt(usize),
    Fails(usize),
    Recovers(usize),
    Tries(usize),
    TriesNone,
}

fn happens() -> impl Strategy<Value = Happens> {
    let at = 0usize..1000;
    prop_oneof![
        8 => Just(Happens::Begins),
        3 => at.clone().prop_map(Happens::BeginsAt),
        8 => at.clone().prop_map(Happens::EndsAt),
        1 => at.clone().prop_map(Happens::AllEndAt),
        1 => at.clone().prop_map(Happens::Fails),
        1 => at.clone().prop_map(Happens::Recovers),
        1 => at.prop_map(Happens::Tries),
        1 => Just(Happens::TriesNone),
    ]
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        prop::collection::vec(Just(1u32), 1..600),
        prop::collection::vec(prop_oneof![Just(0u32), Just(1000)], 1..300),
        prop::collection::vec(prop_oneof![Just(0u32), 1u32..6, Just(3_000_000_000)], 1..300),
    ]
}

fn check_least(
    world: &World,
    pick: Option<crate::balance::Pick>,
    tried: &Tried,
) -> Result<(), TestCaseError> {
    let open: Vec<usize> = (0..world.weights.len()).filter(|index| world.is_open(*index, tried)).collect();
    match pick.filter(|_| !open.is_empty()) {
        Some(pick) => {
            prop_assert!(world.is_open(pick.index, tried), "{pick:?}");
            prop_assert_eq!((pick.why, pick.standing), (Why::LeastBusy, Standing::Fresh));
            for index in open {
                prop_assert!(!world.is_busier(pick.index, index), "{index} is less busy than {pick:?}");
            }
        }
        // Who has tried or avoids them all takes what there is.
        None => prop_assert!(open.is_empty()),
    }
    Ok(())
}

proptest! {
    /// Whatever has happened, nobody fresh is less busy for its weight than who is picked.
    #[test]
    fn nobody_is_less_busy(weights in weights(), history in prop::collection::vec(happens(), 1..400), seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (world, floors) = (World::new(&weights), std::sync::Arc::new(Floors::new(&weights)));
        floors.watch();
        let mut balancer = world.balancer(&mut rng);
        balancer.share(&floors);
        let mut tried = Tried::none();
        for happens in history {
            let pick = balancer.pick(Query::default(), &world, &tried, &mut rng, &mut ());
            check_least(&world, pick, &tried)?;
            let at = |index: usize| index % weights.len();
            match happens {
                Happens::Begins => pick.iter().for_each(|pick| world.begin(pick.index)),
                Happens::BeginsAt(index) => world.begin(at(index)),
                Happens::EndsAt(index) => drop(world.end(at(index), &floors)),
                Happens::AllEndAt(index) => while world.end(at(index), &floors) {},
                Happens::Fails(index) => world.avoided[at(index)].store(true, Ordering::SeqCst),
                Happens::Recovers(index) => {
                    world.avoided[at(index)].store(false, Ordering::SeqCst);
                    balancer.freed(at(index), world.in_flight(at(index)));
                }
                Happens::Tries(index) => tried.add(at(index)),
                Happens::TriesNone => tried = Tried::none(),
            }
        }
    }

    /// Floors that nobody keeps low any more are not gone by.
    #[test]
    fn retired_floors_hide_nobody(weights in weights(), ends in prop::collection::vec(0usize..1000, 1..50), seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (world, floors) = (World::new(&weights), Floors::new(&weights));
        world.in_flight.iter().for_each(|n| n.store(9, Ordering::SeqCst));
        let nobody = Tried::none();
        floors.watch();
        floors.least(&world, &nobody, |_| None, &mut rng);
        floors.retire();
        for index in ends {
            world.in_flight[index % weights.len()].store(0, Ordering::SeqCst);
            let Some(index) = floors.least(&world, &nobody, |_| None, &mut rng) else { break };
            let others = (0..weights.len()).filter(|other| weights[*other] > 0);
            prop_assert!(others.into_iter().all(|other| !world.is_busier(index, other)));
        }
    }
}

/// Among equals each has its share by weight, however busy they are, and however many others there are.
#[test]
fn equals_are_spread_by_weight() {
    let (mut rng, _seed) = seeded();
    const PICKS: u64 = 40_000;
    for (len, every) in [(7, 1), (40, 3), (300, 1), (300, 97), (1000, 250)] {
        for weight in [|_| 1, |index: usize| 1 + index as u32 / 5 % 3] {
            let weights: Vec<u32> = (0..len).map(weight).collect();
            let world = World::new(&weights);
            // Some are equally busy for their weights, and all others are busier.
            let is_equal = |index: usize| index.is_multiple_of(every);
            for (index, weight) in weights.iter().enumerate() {
                let busy = weight * if is_equal(index) { 2 } else { 3 };
                world.in_flight[index].store(busy, Ordering::SeqCst);
            }
            let mut balancer = world.balancer(&mut rng);
            let mut counts = vec![0u64; len];
            for _ in 0..PICKS {
                let pick = balancer.pick(Query::default(), &world, &Tried::none(), &mut rng, &mut ());
                counts[pick.unwrap().index] += 1;
            }
            let share = |index: usize| if is_equal(index) { f64::from(weights[index]) } else { 0.0 };
            let total: f64 = (0..len).map(share).sum();
            for (index, count) in counts.iter().enumerate() {
                let share = share(index) / total;
                assert!(
                    plausible(*count, PICKS, share),
                    "{index} of {len}, one in {every}: {count} for {share}"
                );
            }
        }
    }
}

/// Threads begin and end requests, and raise floors while others end; when they pause, no floor is too high.
#[test]
fn floors_hold_when_threads_share_them() {
    let (mut rng, _seed) = seeded();
    const THREADS: usize = 4;
    const ROUNDS: usize = 60;
    for weights in [vec![1u32; 20], (0..150).map(|index| 1 + index % 3).collect::<Vec<_>>()] {
        let (world, floors) = (World::new(&weights), Floors::new(&weights));
        floors.watch();
        let barrier = Barrier::new(THREADS + 1);
        let seeds: [u64; THREADS] = rng.random();
        // Looked at when all threads are done: they would wait for one that has panicked.
        let mut wrong = Vec::new();
        std::thread::scope(|scope| {
            for seed in seeds {
                let (world, floors, barrier) = (&world, &floors, &barrier);
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(seed);
                    let mut own = Vec::new();
                    for _ in 0..ROUNDS {
                        for _ in 0..300 {
                            let index = floors
                                .least(world, &Tried::none(), |_| None, &mut rng)
                                .expect("all are fresh");
                            world.begin(index);
                            own.push(index);
                            if own.len() > 30 {
                                let at = rng.random_range(0..own.len());
                                assert!(world.end(own.swap_remove(at), floors));
                            }
                        }
                        barrier.wait();
                        barrier.wait();
                    }
                });
            }
            for _ in 0..ROUNDS {
                barrier.wait();
                wrong.extend(floors.too_high(&world));
                let index = floors.least(&world, &Tried::none(), |_| None, &mut rng).expect("all are fresh");
                wrong.extend((0..weights.len()).find(|other| world.is_busier(index, *other)));
                barrier.wait();
            }
        });
        assert_eq!(wrong, [0; 0], "passed over");
    }
}

/// Endpoints of which one ends a request just after the so-many-th look at any of them.
struct Meddling<'a> {
    in_flight: [AtomicU32; FAN],
    floors: &'a Floors,
    looks: AtomicU32,
    ends_after: u32,
    ends_at: usize,
}

impl Candidates for Meddling<'_> {
    fn in_flight(&self, index: usize) -> u32 {
        let seen = self.in_flight[index].load(Ordering::SeqCst);
        if self.looks.fetch_add(1, Ordering::SeqCst) + 1 == self.ends_after {
            let before = self.in_flight[self.ends_at].fetch_sub(1, Ordering::SeqCst);
            self.floors.lower(self.ends_at, before - 1);
        }
        seen
    }

    fn in_flight_total(&self) -> u64 {
        unreachable!("nobody hashes")
    }

    fn avoided(&self, _: usize) -> bool {
        false
    }
}

/// Whenever a request ends while somebody raises the floor above it, the floor is right afterwards.
#[test]
fn an_end_in_the_middle_of_a_raise_is_not_lost() {
    let (mut rng, _seed) = seeded();
    let nobody = Tried::none();
    for ends_after in 1..3 * FAN as u32 {
        for ends_at in 0..FAN {
            let floors = Floors::new(&[1; FAN]);
            floors.watch();
            let in_flight = || std::array::from_fn(|_| AtomicU32::new(2));
            let looks = AtomicU32::new(0);
            let world = Meddling { in_flight: in_flight(), floors: &floors, looks, ends_after: 0, ends_at };
            floors.least(&world, &nobody, |_| None, &mut rng);
            // All begin one more, which nobody says.
            world.in_flight.iter().for_each(|count| count.store(3, Ordering::SeqCst));
            let world = Meddling { looks: AtomicU32::new(0), ends_after, ..world };
            floors.least(&world, &nobody, |_| None, &mut rng);
            if world.looks.load(Ordering::SeqCst) >= ends_after {
                let floor = floors.groups[0].floor.load(Ordering::SeqCst);
                assert_eq!(floor, 2, "one of {ends_at} ended after look {ends_after}");
            }
        }
    }
}

impl Floors {
    /// An endpoint that is less busy than a floor above it, if there is one.
    fn too_high(&self, world: &World) -> Option<usize> {
        (0..self.endpoints).find(|index| {
            let load = self.load_of(*index, world);
            let mut group = *index;
            self.levels.iter().any(|begin| {
                group /= FAN;
                self.groups[begin + group].floor.load(Ordering::SeqCst) > load
            })
        })
    }
}
