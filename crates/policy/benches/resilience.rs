//! What breakers, outlier accounting and retries cost per decision: `cargo bench -p weir-policy --bench resilience`.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_policy::Nanos;
use weir_policy::breaker::{
    Admission, Breaker, BreakerConfig, CallOutcome, CusumConfig, SharedBreaker, Strategy, ThrottleConfig,
};
use weir_policy::hedge::{HedgeConfig, Hedger};
use weir_policy::outlier::{OutlierConfig, Outliers, SharedOutliers, Tally, Verdict, ln_tail};
use weir_policy::retry::{Budget, BudgetConfig, Facts, Failure, RetryPolicy, decide};

const OK: CallOutcome = CallOutcome::success(Duration::from_millis(3));
const START: Nanos = Nanos::from_secs(1_000);
/// Between two calls: 100,000 a second.
const STEP: Duration = Duration::from_micros(10);

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    breakers(&mut criterion);
    shared_breakers(&mut criterion);
    outliers(&mut criterion);
    retries(&mut criterion);
    criterion.final_summary();
}

fn of(strategy: Strategy) -> BreakerConfig {
    BreakerConfig { strategy, ..BreakerConfig::default() }
}

fn strategies() -> [(&'static str, BreakerConfig); 4] {
    [
        ("window", BreakerConfig::default()),
        ("consecutive", of(Strategy::Consecutive { failures: 5 })),
        ("statistical", of(Strategy::Statistical(CusumConfig::default()))),
        ("throttle", of(Strategy::Throttle(ThrottleConfig::default()))),
    ]
}

/// One call: a decision, and a success that is taken note of.
fn breakers(criterion: &mut Criterion) {
    for (name, config) in strategies() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut breaker = Breaker::new(config);
        let mut now = START;
        criterion.bench_function(&format!("breaker/plain/{name}/call"), |bencher| {
            bencher.iter(|| {
                now = now + STEP;
                if let Admission::Admit { permit, .. } = breaker.admit(now, &mut rng) {
                    black_box(breaker.record(permit, OK, now));
                }
            });
        });
    }
}

/// Calls of another worker, until it is told to stop.
fn other_worker(shared: &Arc<SharedBreaker>, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let (shared, stop) = (Arc::clone(shared), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut rng = StdRng::seed_from_u64(2);
        let (mut now, mut calls) = (START, 0);
        while !stop.load(Ordering::Relaxed) {
            now = now + STEP;
            if let Admission::Admit { permit, .. } = shared.admit(now, &mut rng, 1) {
                black_box(shared.record(permit, OK, now, 1));
            }
            calls += 1;
        }
        calls
    })
}

fn shared_breakers(criterion: &mut Criterion) {
    let mut rng = StdRng::seed_from_u64(1);
    let shared = Arc::new(SharedBreaker::new(BreakerConfig::default(), 2));
    criterion.bench_function("breaker/shared/admit", |bencher| {
        bencher.iter(|| black_box(shared.admit(START, &mut rng, 0)));
    });
    let mut now = START;
    let mut call = |shared: &SharedBreaker, outcome| {
        now = now + STEP;
        if let Admission::Admit { permit, .. } = shared.admit(now, &mut rng, 0) {
            black_box(shared.record(permit, outcome, now, 0));
        }
    };
    criterion.bench_function("breaker/shared/call", |bencher| bencher.iter(|| call(&shared, OK)));
    // What a busy neighbour costs by itself, and what it costs that it uses the same breaker.
    let apart = Arc::new(SharedBreaker::new(BreakerConfig::default(), 2));
    for (name, theirs) in [("of another breaker", &apart), ("of the same breaker", &shared)] {
        let stop = Arc::new(AtomicBool::new(false));
        let other = other_worker(theirs, &stop);
        criterion.bench_function(&format!("breaker/shared/call beside a thread {name}"), |bencher| {
            bencher.iter(|| call(&shared, OK));
        });
        stop.store(true, Ordering::Relaxed);
        assert!(other.join().is_ok_and(|calls| calls > 0));
    }
    let mut turn = 0u32;
    criterion.bench_function("breaker/shared/call, one in ten fails", |bencher| {
        bencher.iter(|| {
            turn = (turn + 1) % 10;
            call(&shared, if turn == 0 { CallOutcome::failure(STEP) } else { OK });
        });
    });
    let open = SharedBreaker::new(of(Strategy::Consecutive { failures: 1 }), 2);
    call(&open, CallOutcome::failure(STEP));
    let mut chance = StdRng::seed_from_u64(5);
    criterion.bench_function("breaker/shared/refuse", |bencher| {
        bencher.iter(|| black_box(open.admit(START, &mut chance, 0)));
    });
}

fn outliers(criterion: &mut Criterion) {
    let shared = SharedOutliers::new(OutlierConfig::default());
    let tally = Tally::default();
    shared.update([(7, &tally)]);
    criterion.bench_function("outlier/success", |bencher| {
        bencher.iter(|| black_box(shared.record(7, &tally, Verdict::Success, START, || [])));
    });
    criterion
        .bench_function("outlier/is a probe due", |bencher| bencher.iter(|| black_box(shared.probe(START))));
    criterion.bench_function("outlier/test of 100 calls", |bencher| {
        bencher.iter(|| black_box(ln_tail(black_box(12), 100, 9_000, 1_000_000)));
    });
    criterion.bench_function("outlier/test of 10^6 calls", |bencher| {
        bencher.iter(|| black_box(ln_tail(black_box(101_000), 1_000_000, 1_000_000_000, 10_000_000_000)));
    });
    let mut rng = StdRng::seed_from_u64(3);
    for (name, bad) in [("all are well", 0), ("30 % are bad", 3_000)] {
        let tallies: Vec<Tally> = (0..10_000).map(|_| Tally::default()).collect();
        let mut fresh = Outliers::new(OutlierConfig::default());
        fresh.update((0u64..).zip(&tallies));
        for (index, tally) in tallies.iter().enumerate() {
            let share = if index < bad { 0.3 } else { 0.01 };
            for _ in 0..200 {
                let failed = rng.random::<f64>() < share;
                tally.record(if failed { Verdict::Failure } else { Verdict::Success });
            }
        }
        criterion.bench_function(&format!("outlier/sweep of 10000 endpoints, {name}"), |bencher| {
            bencher.iter_batched_ref(
                || fresh.clone(),
                |outliers| {
                    let mut events = 0;
                    outliers.sweep((0u64..).zip(&tallies), START, |_| events += 1);
                    black_box(events)
                },
                BatchSize::LargeInput,
            );
        });
    }
}

fn retries(criterion: &mut Criterion) {
    let mut rng = StdRng::seed_from_u64(4);
    let facts = Facts {
        attempts: 1,
        idempotent: true,
        unsent: false,
        replayable: true,
        response_begun: false,
        another_endpoint: true,
        deadline: Some(Nanos(u64::MAX)),
    };
    let mut budget = Budget::new(BudgetConfig { reserve: u32::MAX, ..BudgetConfig::default() });
    let mut now = START;
    criterion.bench_function("retry/decision", |bencher| {
        bencher.iter(|| {
            now = now + STEP;
            black_box(decide(&RetryPolicy::default(), Failure::Reset, &facts, &mut budget, now, &mut rng))
        });
    });
    criterion.bench_function("retry/a request counts", |bencher| {
        bencher.iter(|| {
            now = now + STEP;
            budget.request(now);
        });
    });
    let mut hedger = Hedger::new(HedgeConfig::default());
    criterion.bench_function("hedge/a call: record and delay", |bencher| {
        bencher.iter(|| {
            now = now + STEP;
            hedger.record(Duration::from_micros(now.0 % 10_000), now);
            black_box(hedger.delay(now))
        });
    });
}
