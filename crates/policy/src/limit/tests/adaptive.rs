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

#[test]
#[ignore]
fn explore() {
    for service in [
        Service::Exponential(10.0 * MS),
        Service::Even(10.0 * MS),
        Service::Exponential(100.0 * MS),
        Service::Even(100.0 * MS),
        Service::Exponential(2.0 * MS),
    ] {
        let (mut m, mut sh, mut lo, mut hi, mut up, mut down): (
            Vec<f64>,
            Vec<f64>,
            f64,
            f64,
            Vec<f64>,
            Vec<f64>,
        ) = (vec![], vec![], 1e9, 0.0, vec![], vec![]);
        for _ in 0..12 {
            let mut world = World::new(finding(), 50, service, 400);
            world.run(30.0);
            let (a, b) = world.mean(20.0);
            m.push(a.round());
            sh.push((b * 1000.).round());
            for _ in 0..600 {
                world.run(0.05);
                lo = lo.min(world.found());
                hi = hi.max(world.found());
            }
            let begin = world.now;
            world.servers = 70;
            while world.found() < 66.0 {
                world.run(0.01);
            }
            up.push(((world.now - begin) as f64 / 1e7).round() / 100.0);
            world.run(5.0);
            let begin = world.now;
            world.servers = 50;
            while world.found() > 56.0 {
                world.run(0.01);
            }
            down.push(((world.now - begin) as f64 / 1e7).round() / 100.0);
        }
        println!("{service:?} mean {m:?} share {sh:?} {lo:.1}..{hi:.1}\n   up {up:?}\n   down {down:?}");
    }
}
