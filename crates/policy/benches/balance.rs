//! What one pick costs, by policy and number of endpoints.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use weir_policy::Nanos;
use weir_policy::balance::prequal::ProbeAnswer;
use weir_policy::balance::{Balancer, Candidates, Config, Policy, Query, Tried, hash};

const POLICIES: [(&str, Policy); 8] = [
    ("round_robin", Policy::RoundRobin),
    ("random", Policy::Random),
    ("least_request", Policy::LeastRequest),
    ("least_connections", Policy::LeastConnections),
    ("peak_ewma", Policy::PeakEwma),
    ("prequal", Policy::Prequal),
    ("ring_hash", Policy::RingHash),
    ("maglev", Policy::Maglev),
];

/// Endpoints with one to four requests in flight each: the bound is known to hold only after a look at the total.
struct Busy {
    in_flight: Vec<AtomicU32>,
    total: u64,
}

impl Busy {
    fn new(endpoints: usize, rng: &mut SmallRng) -> Self {
        let in_flight: Vec<AtomicU32> =
            (0..endpoints).map(|_| AtomicU32::new(rng.random_range(1..5))).collect();
        let total = in_flight.iter().map(|n| u64::from(n.load(Ordering::Relaxed))).sum();
        Self { in_flight, total }
    }
}

impl Candidates for Busy {
    fn in_flight(&self, index: usize) -> u32 {
        self.in_flight[index].load(Ordering::Relaxed)
    }

    fn in_flight_total(&self) -> u64 {
        self.total
    }

    fn avoided(&self, _: usize) -> bool {
        false
    }
}

fn pick(c: &mut Criterion) {
    for weights in ["even", "uneven"] {
        let mut group = c.benchmark_group(format!("pick/{weights}"));
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        for (name, policy) in POLICIES {
            for endpoints in [100usize, 10_000] {
                let mut rng = SmallRng::seed_from_u64(1);
                let shares = shares(weights, endpoints);
                let keys: Vec<u64> = (0..endpoints as u64).map(|id| hash::number(id, 0)).collect();
                let busy = Busy::new(endpoints, &mut rng);
                let mut balancer = Balancer::new(Config::of(policy), &shares, &keys, &mut rng);
                for index in 0..endpoints {
                    balancer.done(index, Duration::from_micros(rng.random_range(500..1500)), true, Nanos(1));
                }
                let mut now = Nanos::from_secs(1);
                group.bench_function(BenchmarkId::new(name, endpoints), |bencher| {
                    bencher.iter(|| {
                        now = now + Duration::from_micros(10);
                        let query = Query { now, hash: Some(rng.random()) };
                        black_box(balancer.pick(query, &busy, &Tried::none(), &mut rng, &mut ()))
                    });
                });
            }
        }
    }
}

/// Whole requests: as one by chance ends, the next is picked for and begins. On average `LEVEL` of them are at each endpoint.
fn held(c: &mut Criterion) {
    const LEVEL: usize = 2;
    for weights in ["even", "uneven"] {
        let mut group = c.benchmark_group(format!("pick, begin and end/{weights}"));
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        for (name, policy) in [POLICIES[2], POLICIES[3]] {
            for endpoints in [100usize, 10_000] {
                let mut rng = SmallRng::seed_from_u64(1);
                let shares = shares(weights, endpoints);
                let keys: Vec<u64> = (0..endpoints as u64).map(|id| hash::number(id, 0)).collect();
                let mut balancer = Balancer::new(Config::of(policy), &shares, &keys, &mut rng);
                let busy = Busy { in_flight: shares.iter().map(|_| AtomicU32::new(0)).collect(), total: 0 };
                let begin = |balancer: &mut Balancer, rng: &mut SmallRng| {
                    let pick = balancer.pick(Query::default(), &busy, &Tried::none(), rng, &mut ());
                    let index = pick.map_or(0, |pick| pick.index);
                    busy.in_flight[index].fetch_add(1, Ordering::SeqCst);
                    index
                };
                let mut under_way: Vec<usize> =
                    (0..LEVEL * endpoints).map(|_| begin(&mut balancer, &mut rng)).collect();
                group.bench_function(BenchmarkId::new(name, endpoints), |bencher| {
                    bencher.iter(|| {
                        let at = rng.random_range(0..under_way.len());
                        let index = under_way[at];
                        let before = busy.in_flight[index].fetch_sub(1, Ordering::SeqCst);
                        balancer.freed(index, before - 1);
                        under_way[at] = begin(&mut balancer, &mut rng);
                    });
                });
            }
        }
    }
}

fn shares(weights: &str, endpoints: usize) -> Vec<u32> {
    let weight = |index: usize| if weights == "even" { 1 } else { 1 + (index % 4) as u32 };
    (0..endpoints).map(weight).collect()
}

/// `prequal` with its three probes and their answers for each pick.
fn probing(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick/probed");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for endpoints in [100usize, 10_000] {
        let mut rng = SmallRng::seed_from_u64(1);
        let keys: Vec<u64> = (0..endpoints as u64).collect();
        let busy = Busy::new(endpoints, &mut rng);
        let mut balancer = Balancer::new(Config::of(Policy::Prequal), &vec![1; endpoints], &keys, &mut rng);
        let mut now = Nanos::from_secs(1);
        group.bench_function(BenchmarkId::new("prequal", endpoints), |bencher| {
            bencher.iter(|| {
                now = now + Duration::from_micros(10);
                for index in balancer.probes_due(now, &busy, &mut rng).indices() {
                    let latency = Duration::from_micros(rng.random_range(500..1500));
                    let answer = ProbeAnswer { in_flight: rng.random_range(0..10), latency };
                    balancer.probed(index, Some(answer), now, &mut rng);
                }
                black_box(balancer.pick(Query::at(now), &busy, &Tried::none(), &mut rng, &mut ()))
            });
        });
    }
}

/// Making a balancer, as when endpoints change.
fn making(c: &mut Criterion) {
    let mut group = c.benchmark_group("new");
    group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1));
    for (name, policy) in POLICIES {
        for endpoints in [100usize, 10_000] {
            let mut rng = SmallRng::seed_from_u64(1);
            let shares = vec![1; endpoints];
            let keys: Vec<u64> = (0..endpoints as u64).map(|id| hash::number(id, 0)).collect();
            group.bench_function(BenchmarkId::new(name, endpoints), |bencher| {
                bencher.iter(|| black_box(Balancer::new(Config::of(policy), &shares, &keys, &mut rng)));
            });
        }
    }
}

criterion_group!(benches, pick, held, probing, making);
criterion_main!(benches);
