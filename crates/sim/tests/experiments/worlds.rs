//! Worlds that no scenario can describe.

use std::time::Duration;

use weir_policy::Nanos;
use weir_policy::balance::{Balancer, Candidates, Config, Policy, Query, Tried};
use weir_policy::retry::{Budget, BudgetConfig, Decision, Facts, Failure, RetryPolicy, decide};
use weir_sim::queue::Queue;
use weir_sim::rng::{Actor, Stream};

/// What is in each bin.
struct Bins(Vec<u32>);

impl Candidates for Bins {
    fn in_flight(&self, index: usize) -> u32 {
        self.0[index]
    }

    fn in_flight_total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    fn avoided(&self, _: usize) -> bool {
        false
    }
}

/// As many balls as bins: what the fullest holds.
pub(crate) fn bins(count: usize, policy: Policy, seed: u64) -> u32 {
    let mut rng = Stream::new(seed, Actor::Proxy, 0);
    let keys: Vec<u64> = (0..count as u64).collect();
    let mut balancer = Balancer::new(Config::of(policy), &vec![1; count], &keys, &mut rng);
    let mut bins = Bins(vec![0; count]);
    for _ in 0..count {
        let pick = balancer.pick(Query::default(), &bins, &Tried::none(), &mut rng, &mut ()).unwrap();
        bins.0[pick.index] += 1;
    }
    bins.0.into_iter().max().unwrap()
}

/// Entries of the Maglev table of 1000 endpoints. (That of 65,537, which the paper has, is held to the paper's numbers beside
/// the table itself.)
const SLOTS: u64 = 131_071;

/// Which endpoint each slot of a Maglev table belongs to, with some endpoints removed.
pub(crate) fn maglev(count: usize, removed: &[usize]) -> Vec<usize> {
    let mut rng = Stream::new(1, Actor::Proxy, 0);
    let keys: Vec<u64> = (0..count as u64).map(|key| weir_policy::balance::hash::number(key, 7)).collect();
    let mut shares = vec![1; count];
    for index in removed {
        shares[*index] = 0;
    }
    let mut balancer = Balancer::new(Config::of(Policy::Maglev), &shares, &keys, &mut rng);
    let idle = Bins(vec![0; count]);
    // Hashes from all over their range: one in the middle of each slot's part of it.
    let part = u64::MAX / SLOTS;
    let mut owner = |slot: u64| {
        let query = Query { hash: Some(slot * part + part / 2), ..Query::default() };
        balancer.pick(query, &idle, &Tried::none(), &mut rng, &mut ()).unwrap().index
    };
    (0..SLOTS).map(&mut owner).collect()
}

/// The largest share of the table over the mean.
pub(crate) fn largest_over_mean(table: &[usize], count: usize) -> f64 {
    let mut owned = vec![0u32; count];
    for owner in table {
        owned[*owner] += 1;
    }
    f64::from(owned.into_iter().max().unwrap()) * count as f64 / table.len() as f64
}

/// The share of slots that have another owner.
pub(crate) fn moved(before: &[usize], after: &[usize]) -> f64 {
    before.iter().zip(after).filter(|(a, b)| a != b).count() as f64 / before.len() as f64
}

/// What happens to a client that writes a row if nobody wrote it since it was read ("Exponential Backoff And Jitter", AWS,
/// 2015: optimistic concurrency).
#[derive(Clone, Copy)]
enum Step {
    /// The request to read reaches the row.
    Read { client: u32, calls: u32 },
    /// The row reaches the client, which answers with a write.
    Got { client: u32, calls: u32, version: u32 },
    /// The write reaches the row.
    Write { client: u32, calls: u32, version: u32 },
    /// The client hears that somebody was faster.
    Lost { client: u32, calls: u32 },
}

/// How many calls so many clients need until each has written once. The network takes N(10 ms, 2 ms) each way.
pub(crate) fn backoff(clients: u32, jitter: bool, seed: u64) -> u32 {
    let mut rng = Stream::new(seed, Actor::Clients, 0);
    let mut network = Stream::new(seed, Actor::Network, 0);
    let policy = RetryPolicy {
        retries: u32::MAX,
        backoff_base: Duration::from_millis(5),
        backoff_max: Duration::from_secs(2),
        ..RetryPolicy::default()
    };
    let mut budget =
        Budget::new(BudgetConfig { per_mille: 0, reserve: u32::MAX, window: Duration::from_secs(10) });
    let mut queue = Queue::new();
    // Twelve even numbers add up to one that is nearly normal, with mean 6 and variance 1.
    let mut delay = move || {
        let sum: f64 = (0..12).map(|_| network.unit()).sum();
        (10e6 + 2e6 * (sum - 6.0)) as u64
    };
    for client in 0..clients {
        queue.push(delay(), Step::Read { client, calls: 1 });
    }
    let (mut version, mut total) = (0, 0);
    while let Some((now, step)) = queue.pop() {
        match step {
            Step::Read { client, calls } => queue.push(now + delay(), Step::Got { client, calls, version }),
            Step::Got { client, calls, version } => {
                queue.push(now + delay(), Step::Write { client, calls, version });
            }
            Step::Write { calls, version: read, .. } if read == version => {
                version += 1;
                total += calls;
            }
            Step::Write { client, calls, .. } => queue.push(now + delay(), Step::Lost { client, calls }),
            Step::Lost { client, calls } => {
                let wait = if jitter { pause(&policy, calls, &mut budget, now, &mut rng) } else { 0 };
                queue.push(now + wait + delay(), Step::Read { client, calls: calls + 1 });
            }
        }
    }
    assert_eq!(version, clients);
    total
}

/// What the policy says about how long to wait.
fn pause(policy: &RetryPolicy, attempts: u32, budget: &mut Budget, now: u64, rng: &mut Stream) -> u64 {
    let facts = Facts {
        attempts,
        idempotent: true,
        unsent: false,
        replayable: true,
        response_begun: false,
        another_endpoint: false,
        deadline: None,
    };
    match decide(policy, Failure::Reset, &facts, budget, Nanos(now), rng) {
        Decision::Retry { delay } => delay.as_nanos() as u64,
        Decision::GiveUp(why) => panic!("{why}"),
    }
}
