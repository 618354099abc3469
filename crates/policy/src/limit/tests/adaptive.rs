//! The limit that is found, in a closed loop: an upstream with some servers behind a queue, on virtual time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::testing::seeded;

/// How long the work on one request takes.
#[derive(Clone, Copy, Debug)]
enum Service {
    /// Exponentially distributed.
    Exponential(f64),
    /// Within a tenth of this.
    Even(f64),
}

/// An upstream with a number of servers and one queue, and clients that always want more than it gives, or not.
struct World {
    limiter: Limiter,
    rng: StdRng,
    now: u64,
    servers: usize,
    service: Service,
    /// When those that are served are done, and what they hold.
    served: BinaryHeap<(Reverse<u64>, usize)>,
    queue: VecDeque<usize>,
    grants: Vec<Option<Grant>>,
    free: Vec<usize>,
    /// Requests in the system wanted at once.
    demand: usize,
    in_system: usize,
    done: u64,
}

impl World {
    fn new(limiter: Limiter, servers: usize, service: Service, demand: usize) -> Self {
        let (mut rng, _seed) = seeded();
        let rng = StdRng::seed_from_u64(rng.random());
        Self {
            limiter,
            rng,
            now: 0,
            servers,
            service,
            served: BinaryHeap::new(),
            queue: VecDeque::new(),
            grants: Vec::new(),
            free: Vec::new(),
            demand,
            in_system: 0,
            done: 0,
        }
    }

    fn found(&self) -> f64 {
        self.limiter.state(Nanos(self.now)).all.unwrap().found.unwrap()
    }

    /// Lets clients try until the limit refuses or there are as many as are wanted.
    fn fill(&mut self) {
        while self.in_system < self.demand {
            let verdict = self.limiter.admit(&Request::default(), Nanos(self.now), &mut Vec::new());
            let Verdict::Admit(grant, _) = verdict else { break };
            let id = self.free.pop().unwrap_or_else(|| {
                self.grants.push(None);
                self.grants.len() - 1
            });
            self.grants[id] = Some(grant);
            self.in_system += 1;
            self.queue.push_back(id);
        }
        while self.served.len() < self.servers
            && let Some(id) = self.queue.pop_front()
        {
            let nanos = match self.service {
                Service::Exponential(mean) => -mean * (1.0 - self.rng.random::<f64>()).ln(),
                Service::Even(mean) => mean * self.rng.random_range(0.9..1.1),
            };
            self.served.push((Reverse(self.now + nanos as u64), id));
        }
    }

    fn run(&mut self, secs: f64) {
        let end = self.now + (secs * 1e9) as u64;
        self.fill();
        while let Some((Reverse(at), id)) = self.served.pop_if_before(end) {
            self.now = at;
            self.done += 1;
            self.in_system -= 1;
            self.free.push(id);
            let grant = self.grants[id].take().unwrap();
            self.limiter.release(grant, Outcome::Done, Nanos(at), &mut Vec::new());
            self.fill();
        }
        self.now = end;
    }

    /// The mean of the limit over some time, and the throughput as a share of what the upstream could do.
    fn mean(&mut self, secs: f64) -> (f64, f64) {
        let (before, steps) = (self.done, 100);
        let mean = (0..steps).map(|_| {
            self.run(secs / f64::from(steps));
            self.found()
        });
        let mean = mean.sum::<f64>() / f64::from(steps);
        let (Service::Exponential(service) | Service::Even(service)) = self.service;
        let could = self.servers as f64 * secs * 1e9 / service;
        (mean, (self.done - before) as f64 / could)
    }
}

trait PopBefore {
    fn pop_if_before(&mut self, end: u64) -> Option<(Reverse<u64>, usize)>;
}

impl PopBefore for BinaryHeap<(Reverse<u64>, usize)> {
    fn pop_if_before(&mut self, end: u64) -> Option<(Reverse<u64>, usize)> {
        if self.peek()?.0.0 > end { None } else { self.pop() }
    }
}

const MS: f64 = 1e6;

fn finding() -> Limiter {
    limiter(Algorithm::Adaptive { adaptive: AdaptiveConfig::default(), gate: GateConfig::default() })
}

/// An hour in which there is always more to do than the upstream can: the limit neither drifts nor pauses.
#[test]
fn does_not_drift_over_an_hour_of_saturation() {
    let mut world = World::new(finding(), 50, Service::Exponential(100.0 * MS), 400);
    let mut found = Vec::new();
    for minute in 1..=60 {
        let (mean, share) = world.mean(60.0);
        // The first minute has the search in it.
        assert!(minute == 1 || share > 0.88, "{share} of what could be done in minute {minute}");
        found.push(mean);
    }
    for minute in [1, 30, 60] {
        let around = &found[(minute - 1).max(1) - 1..minute];
        assert!(around.iter().all(|mean| (40.0..=65.0).contains(mean)), "minute {minute}: {around:?}");
    }
    let third = |part: usize| found[part * 20..][..20].iter().sum::<f64>() / 20.0;
    let (first, last) = (third(0), third(2));
    assert!((46.0..=58.0).contains(&first) && (46.0..=58.0).contains(&last), "{first} and then {last}");
}

#[test]
fn settles_at_the_knee_and_stays_there() {
    let mut world = World::new(finding(), 50, Service::Even(10.0 * MS), 400);
    world.run(5.0);
    for second in 0..60 {
        let (mean, share) = world.mean(1.0);
        assert!((47.0..=57.0).contains(&mean) && share > 0.95, "{mean}, {share} after {second} s");
    }
}

#[test]
fn follows_a_change_of_capacity_within_a_second() {
    for service in [Service::Even(10.0 * MS), Service::Exponential(10.0 * MS)] {
        let (mut seeds, _seed) = seeded();
        for _ in 0..5 {
            let mut world = World::new(finding(), 50, service, 400);
            world.rng = StdRng::seed_from_u64(seeds.random());
            world.run(10.0);
            for (servers, range) in [(70, 58.0..90.0), (50, 40.0..64.0), (70, 58.0..90.0)] {
                world.servers = servers;
                world.run(1.0);
                let (mean, share) = world.mean(1.0);
                assert!(range.contains(&mean), "{service:?}: {mean} with {servers} servers");
                assert!(share > 0.85, "{service:?}: {share} with {servers} servers");
                world.run(3.0);
            }
        }
    }
}

/// Slower, but as many at once: the least response time is another, and the limit is the same.
#[test]
fn keeps_its_limit_when_the_upstream_becomes_slower() {
    let mut world = World::new(finding(), 50, Service::Even(10.0 * MS), 400);
    world.run(10.0);
    world.service = Service::Even(14.0 * MS);
    world.run(1.0);
    let (mean, share) = world.mean(2.0);
    assert!((45.0..=58.0).contains(&mean) && share > 0.93, "{mean}, {share}");
}

#[test]
fn a_limit_that_is_not_used_does_not_move() {
    let mut world = World::new(finding(), 50, Service::Exponential(10.0 * MS), 10);
    world.run(120.0);
    assert_eq!(world.found(), 20.0);
    // Nor once it has been found.
    world.demand = 400;
    world.run(20.0);
    let found = world.found();
    world.demand = 20;
    world.run(120.0);
    assert!((world.found() / found - 1.0).abs() < 0.1, "{} after {found}", world.found());
}

#[test]
fn an_upstream_that_says_it_has_too_much_to_do_is_heard_once_a_phase() {
    let limiter = finding();
    let now = Nanos::from_secs(1);
    let grants: Vec<Grant> =
        std::iter::from_fn(|| match limiter.admit(&Request::default(), now, &mut Vec::new()) {
            Verdict::Admit(grant, _) => Some(grant),
            _ => None,
        })
        .collect();
    assert_eq!(grants.len(), 22);
    for grant in grants {
        limiter.release(grant, Outcome::Overloaded, now, &mut Vec::new());
    }
    assert_eq!(limiter.state(now).all.unwrap().found, Some(19.0));
}
