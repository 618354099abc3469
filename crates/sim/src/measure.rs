//! What is counted while the world runs: by phase and group of clients, and over time for plots.

use crate::histogram::Histogram;
use crate::report::Point;
use crate::scenario::{Scenario, nanos};
use crate::world::Outcome;

/// Points of a plot when nothing else is said.
const POINTS: u64 = 240;
/// Kinds of outcome.
pub(crate) const OUTCOMES: usize = 12;

/// The names of outcomes in reports.
pub(crate) const OUTCOME_NAMES: [&str; OUTCOMES] = [
    "ok",
    "fallback",
    "status",
    "connect",
    "reset",
    "timeout",
    "limited",
    "shed",
    "broken",
    "unavailable",
    "expired",
    "gaveUp",
];

const fn index(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Ok => 0,
        Outcome::Fallback => 1,
        Outcome::Status(_) => 2,
        Outcome::Connect => 3,
        Outcome::Reset => 4,
        Outcome::Timeout => 5,
        Outcome::Limited => 6,
        Outcome::Shed => 7,
        Outcome::Broken => 8,
        Outcome::Unavailable => 9,
        Outcome::Expired => 10,
        Outcome::GaveUp => 11,
    }
}

/// What became of the requests of some clients in some time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    /// What clients wanted, each once whatever the tries.
    pub(crate) begun: u64,
    pub(crate) tries: u64,
    pub(crate) ended: [u64; OUTCOMES],
    /// From the first try to the good answer.
    pub(crate) latency: Histogram,
}

impl Cell {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.begun += other.begun;
        self.tries += other.tries;
        for (mine, theirs) in self.ended.iter_mut().zip(other.ended) {
            *mine += theirs;
        }
        self.latency.merge(&other.latency);
    }
}

/// What proxies did in some time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    pub(crate) attempts: u64,
    pub(crate) retries: u64,
    pub(crate) hedges: u64,
    pub(crate) trips: u64,
    pub(crate) ejections: u64,
}

/// A phase and what happened in it.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) from: u64,
    pub(crate) cells: Vec<Cell>,
    pub(crate) work: Work,
}

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) phases: Vec<Phase>,
    current: usize,
    /// When the next phase begins.
    next_phase: u64,
    warm_up: u64,
    interval: u64,
    /// What happened since the last point.
    begun: u64,
    tries: u64,
    good: u64,
    refused: u64,
    failed: u64,
    retries: u64,
    attempts: u64,
    latency: Histogram,
    pub(crate) points: Vec<Point>,
}

/// What the world looks like at a point of the plot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    pub(crate) in_flight: u64,
    pub(crate) waiting: u64,
    pub(crate) limit: Option<f64>,
    pub(crate) ejected: u64,
    pub(crate) open: u64,
}

impl Measure {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let phase = |name: &str, from| Phase {
            name: name.to_owned(),
            from,
            cells: vec![Cell::default(); scenario.clients.len()],
            work: Work::default(),
        };
        let mut phases: Vec<Phase> = scenario.phases.iter().map(|of| phase(&of.name, nanos(of.at))).collect();
        if phases.first().is_none_or(|first| first.from > 0) {
            phases.insert(0, phase(if phases.is_empty() { "all" } else { "start" }, 0));
        }
        let duration = nanos(scenario.duration);
        Self {
            next_phase: phases.get(1).map_or(u64::MAX, |next| next.from),
            phases,
            current: 0,
            warm_up: scenario.warm_up.map_or(0, nanos),
            interval: scenario.interval.map_or(duration / POINTS, nanos).max(1),
            begun: 0,
            tries: 0,
            good: 0,
            refused: 0,
            failed: 0,
            retries: 0,
            attempts: 0,
            latency: Histogram::default(),
            points: Vec::new(),
        }
    }

    /// How far apart points are.
    pub(crate) const fn interval(&self) -> u64 {
        self.interval
    }

    /// When counting begins.
    pub(crate) const fn warm_up(&self) -> u64 {
        self.warm_up
    }

    /// The phase of a moment; none while nothing counts. Moments do not go back.
    #[inline]
    fn phase(&mut self, now: u64) -> Option<&mut Phase> {
        while now >= self.next_phase {
            self.current += 1;
            self.next_phase = self.phases.get(self.current + 1).map_or(u64::MAX, |next| next.from);
        }
        (now >= self.warm_up).then(|| &mut self.phases[self.current])
    }

    pub(crate) fn begun(&mut self, group: u32, now: u64) {
        self.begun += 1;
        if let Some(phase) = self.phase(now) {
            phase.cells[group as usize].begun += 1;
        }
    }

    pub(crate) fn sent(&mut self, group: u32, now: u64) {
        self.tries += 1;
        if let Some(phase) = self.phase(now) {
            phase.cells[group as usize].tries += 1;
        }
    }

    pub(crate) fn attempt(&mut self, hedge: bool, now: u64) {
        self.attempts += 1;
        if let Some(phase) = self.phase(now) {
            phase.work.attempts += 1;
            phase.work.hedges += u64::from(hedge);
        }
    }

    pub(crate) fn retried(&mut self, now: u64) {
        self.retries += 1;
        if let Some(phase) = self.phase(now) {
            phase.work.retries += 1;
        }
    }

    pub(crate) fn ejected(&mut self, count: u64, now: u64) {
        if let Some(phase) = self.phase(now) {
            phase.work.ejections += count;
        }
    }

    pub(crate) fn tripped(&mut self, count: u64, now: u64) {
        if let Some(phase) = self.phase(now) {
            phase.work.trips += count;
        }
    }

    /// What a client wanted came about, or did not.
    pub(crate) fn ended(&mut self, group: u32, outcome: Outcome, took: u64, now: u64) {
        match outcome {
            Outcome::Ok | Outcome::Fallback => {
                self.good += 1;
                self.latency.add(took);
            }
            Outcome::Limited | Outcome::Shed | Outcome::Broken => self.refused += 1,
            _ => self.failed += 1,
        }
        let Some(phase) = self.phase(now) else { return };
        let cell = &mut phase.cells[group as usize];
        cell.ended[index(outcome)] += 1;
        if outcome.is_good() {
            cell.latency.add(took);
        }
    }

    /// A point of the plot.
    pub(crate) fn point(&mut self, now: u64, look: Look) {
        let seconds = self.interval as f64 / 1e9;
        let rate = |count: &mut u64| std::mem::take(count) as f64 / seconds;
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let empty = self.latency.count() == 0;
        let percentile = |share| (!empty).then(|| millis(self.latency.percentile(share)));
        let (p50, p99) = (percentile(0.5), percentile(0.99));
        self.latency.clear();
        self.points.push(Point {
            at: now as f64 / 1e9,
            offered: rate(&mut self.begun),
            tries: rate(&mut self.tries),
            goodput: rate(&mut self.good),
            refused: rate(&mut self.refused),
            failed: rate(&mut self.failed),
            retries: rate(&mut self.retries),
            attempts: rate(&mut self.attempts),
            p50,
            p99,
            in_flight: look.in_flight,
            waiting: look.waiting,
            limit: look.limit,
            ejected: look.ejected,
            open: look.open,
        });
    }
}

impl Work {
    pub(crate) const fn add(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.retries += other.retries;
        self.hedges += other.hedges;
        self.trips += other.trips;
        self.ejections += other.ejections;
    }
}
