//! What one decision of a limit costs: alone, for many keys, and from two threads.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use weir_model::resource::key::{KeyKind, KeyPart};
use weir_policy::Nanos;
use weir_policy::limit::{
    AdaptiveConfig, Admission, Algorithm, GateConfig, LimitConfig, Limiter, Outcome, QueueConfig, RateConfig,
    Request, Rule, Verdict, WarmUpConfig,
};

/// A rate that is never used up here: each decision is an admission.
fn plenty() -> RateConfig {
    RateConfig { requests: 500_000_000, per: Duration::from_secs(1), burst: 500_000_000 }
}

fn limiter(algorithm: Algorithm, keyed: bool) -> Limiter {
    let part = KeyPart { kind: KeyKind::SourceAddress, name: None };
    let key = if keyed { vec![part] } else { Vec::new() };
    Limiter::new(LimitConfig { algorithm, key, keys_max: 200_000, ..LimitConfig::default() }, 42)
}

fn algorithms() -> Vec<(&'static str, Algorithm)> {
    let gate = GateConfig::default();
    let queue = QueueConfig { max: 1000, ..QueueConfig::LEAKY };
    vec![
        ("token_bucket", Algorithm::TokenBucket(vec![plenty()])),
        ("token_bucket, 2 rates", Algorithm::TokenBucket(vec![plenty(), plenty()])),
        ("leaky_bucket", Algorithm::LeakyBucket { rates: vec![plenty()], queue }),
        ("sliding_window", Algorithm::SlidingWindow(vec![plenty()])),
        ("sliding_window, 2 windows", Algorithm::SlidingWindow(vec![plenty(), plenty()])),
        ("warm_up", Algorithm::WarmUp { rates: vec![plenty()], warm_up: WarmUpConfig::default() }),
        ("concurrency", Algorithm::Concurrency { max: 100, gate }),
        ("adaptive", Algorithm::Adaptive { adaptive: AdaptiveConfig::default(), gate }),
    ]
}

/// One request: in and, where it matters, out. The clock is read by the caller; here it is a number that grows.
fn one(limiter: &Limiter, key: &[u8], now: &mut u64, wakes: &mut Vec<weir_policy::limit::Wake>) {
    *now += 50;
    match limiter.admit(&Request { key: black_box(key), level: 0 }, Nanos(*now), wakes) {
        Verdict::Admit(grant, _) | Verdict::Turn(grant, ..) => {
            limiter.release(grant, Outcome::Done, Nanos(*now + 10), wakes);
        }
        other => drop(black_box(other)),
    }
}

fn uncontended(c: &mut Criterion) {
    let mut group = c.benchmark_group("alone");
    for (name, algorithm) in algorithms() {
        let (limiter, mut now, mut wakes) = (limiter(algorithm, false), 1_000_000_000, Vec::new());
        group.bench_function(name, |b| b.iter(|| one(&limiter, b"", &mut now, &mut wakes)));
    }
    let spent = RateConfig { requests: 1, per: Duration::from_secs(3600), burst: 1 };
    let (limiter, mut now, mut wakes) =
        (limiter(Algorithm::TokenBucket(vec![spent]), false), 1_000_000_000, Vec::new());
    group.bench_function("token_bucket, refused", |b| b.iter(|| one(&limiter, b"", &mut now, &mut wakes)));
}

/// What the machine charges for the operations that decisions are made of.
fn floor(c: &mut Criterion) {
    let mut group = c.benchmark_group("floor");
    let (word, mutex) = (AtomicU64::new(0), Mutex::new(0u64));
    group.bench_function("a compare-and-swap", |b| {
        b.iter(|| {
            let old = word.load(Ordering::Relaxed);
            black_box(word.compare_exchange_weak(old, old + 1, Ordering::Relaxed, Ordering::Relaxed)).is_ok()
        });
    });
    group.bench_function("a mutex, taken and let go", |b| {
        b.iter(|| *black_box(&mutex).lock().expect("nobody panics") += 1);
    });
    // What is in each of the figures below and is no decision.
    let (keys, mut now, mut at) = (keys(1000), 1_000_000_000u64, 0);
    group.bench_function("the loop that asks", |b| {
        b.iter(|| {
            at = if at + 1 == keys.len() { 0 } else { at + 1 };
            now += 50;
            black_box((black_box(&keys[at]), now));
        });
    });
}

fn keys(count: usize) -> Vec<[u8; 16]> {
    (0..count as u128)
        .map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_le_bytes())
        .collect()
}

fn keyed(c: &mut Criterion) {
    for count in [1, 1000, 100_000] {
        let mut group = c.benchmark_group(format!("{count} keys"));
        let keys = keys(count);
        for (name, algorithm) in algorithms() {
            let (limiter, mut now, mut wakes) = (limiter(algorithm, true), 1_000_000_000, Vec::new());
            keys.iter().for_each(|key| one(&limiter, key, &mut now, &mut wakes));
            let mut at = 0;
            group.bench_function(name, |b| {
                b.iter(|| {
                    at = if at + 1 == keys.len() { 0 } else { at + 1 };
                    one(&limiter, &keys[at], &mut now, &mut wakes);
                });
            });
        }
    }
}

/// Time per decision of each thread: the same as alone if they do not disturb each other.
fn threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("threads, each with 500 keys of its own");
    let keys = keys(1000);
    let limiter = limiter(Algorithm::TokenBucket(vec![plenty()]), true);
    for threads in [1usize, 2] {
        group.bench_function(BenchmarkId::from_parameter(threads), |b| {
            b.iter_custom(|iterations| longest(&limiter, &keys, threads, iterations));
        });
    }
}

fn longest(limiter: &Limiter, keys: &[[u8; 16]], threads: usize, iterations: u64) -> Duration {
    let barrier = Barrier::new(threads);
    let run = |thread: usize| {
        let keys = &keys[thread * 500..][..500];
        let (mut now, mut wakes, mut at) = (1_000_000_000, Vec::new(), 0);
        barrier.wait();
        let began = Instant::now();
        for _ in 0..iterations {
            at = if at + 1 == keys.len() { 0 } else { at + 1 };
            one(limiter, &keys[at], &mut now, &mut wakes);
        }
        began.elapsed()
    };
    std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread ends")).max().unwrap_or_default()
    })
}

fn stack(c: &mut Criterion) {
    let limiters = [
        limiter(Algorithm::TokenBucket(vec![plenty()]), true),
        limiter(Algorithm::SlidingWindow(vec![plenty()]), false),
        limiter(Algorithm::Concurrency { max: 100, gate: GateConfig::default() }, false),
    ];
    let rules: Vec<Rule<'_>> = limiters
        .iter()
        .map(|limiter| Rule { limiter, request: Request { key: b"192.0.2.17", level: 0 } })
        .collect();
    let (mut admission, mut now, mut wakes) = (Admission::default(), 1_000_000_000, Vec::new());
    c.bench_function("three rules, in and out", |b| {
        b.iter(|| {
            now += 50;
            black_box(admission.admit(&rules, Nanos(now), &mut |_, wake| wakes.push(wake), |_, _| {}));
            admission.release(&rules, Outcome::Done, Nanos(now + 10), &mut |_, wake| wakes.push(wake));
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    targets = floor, uncontended, keyed, threads, stack
}
criterion_main!(benches);
