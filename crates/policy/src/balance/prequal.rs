//! Prequal (Wydrowski et al., "Load is not what you should balance", NSDI 2024, section 4): probes sent beside the requests
//! fill a small pool, and a request goes to the best endpoint in the pool.
//!
//! ```text
//! per request:  probes_due -> 3 endpoints by chance -> (caller's IO) -> probed(answer) -> pool of 16
//!               pick: hot = requests in flight above their 0.84 quantile; the quickest cold one, else the least hot one
//! ```
//!
//! - An answer is used for at most a second, and [`reuse`] times. A newer one of the same endpoint takes its place.
//! - Each pick counts itself to the answer it used, and removes one: in turn the oldest and the worst.
//! - With fewer than two usable answers it goes by two random choices, as `least_request` does.
//! - Requests in flight count for the weight (times the mean weight, over its own): equal weights are the paper's. And
//!   endpoints are probed by weight.
//!
//! The other side, what an endpoint answers, is in [`estimate`].

pub mod estimate;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rand::{Rng, RngExt};

use super::live::Live;
use super::{Candidates, DRAWS_MAX, Note, Pick, Reasons, Standing, Why};
use crate::time::Nanos;

/// Probes for each request.
pub const PROBES_PER_REQUEST: usize = 3;

/// Most answers in the pool. It is kept smaller than the number of endpoints.
pub const POOL_MAX: usize = 16;

/// How long an answer is used.
pub const ANSWER_AGE_MAX: Duration = Duration::from_secs(1);

/// Most probes without an answer yet; no further ones are asked for until some are answered.
pub const PROBES_PENDING_MAX: u32 = 64;

/// The least answers to go by.
const USABLE_MIN: usize = 2;

/// Answers that each request removes.
const REMOVED_PER_REQUEST: f64 = 1.0;

/// By how much more than it is used up the pool is filled, in answers per request.
const DELTA: f64 = 1.0;

/// The quantile of requests in flight above which an endpoint is hot: 2^-0.25.
const HOT_QUANTILE: f64 = 0.840_896_415_253_714_6;

/// How many of the last answers the quantile is taken of.
const RECENT_MAX: usize = 128;

/// Once so many answers are known, the quantile is taken anew with every so many.
const QUANTILE_EVERY: usize = 16;

/// What an endpoint answers to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Requests in flight there, from everybody.
    pub in_flight: u32,
    /// How long a request that arrives now would take.
    pub latency: Duration,
}

/// The endpoints to be probed, at most [`PROBES_PER_REQUEST`], each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    indices: [u32; PROBES_PER_REQUEST],
    count: u8,
}

impl Probes {
    /// Their indices.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.indices.iter().take(usize::from(self.count)).map(|index| *index as usize)
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn add(&mut self, index: usize) {
        let known = self.indices().any(|listed| listed == index);
        if let (false, Ok(index), Some(place)) =
            (known, u32::try_from(index), self.indices.get_mut(usize::from(self.count)))
        {
            *place = index;
            self.count += 1;
        }
    }
}

/// How often an answer is used when `pool` of `endpoints` fit into the pool; none for as often as comes, until it is too
/// old: with few endpoints, most probes replace an answer there is, and more are removed than come.
pub fn reuse(pool: usize, endpoints: usize) -> Option<f64> {
    let new = (1.0 - pool as f64 / endpoints.max(1) as f64) * PROBES_PER_REQUEST as f64;
    let rest = new - REMOVED_PER_REQUEST;
    (rest > 0.0).then(|| ((1.0 + DELTA) / rest).max(1.0))
}

/// The pool of one worker.
#[derive(Clone, Debug)]
pub(super) struct Prequal {
    pool: Vec<Answer>,
    pool_max: usize,
    reuse: Option<f64>,
    recent: Recent,
    oldest_next: bool,
    pending: u32,
    /// When a probe was last asked for or answered.
    moved: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    index: usize,
    in_flight: u32,
    relative_weight: f64,
    latency: Duration,
    at: Nanos,
    /// Uses left; none for any number.
    left: Option<u32>,
}

impl Answer {
    fn load(&self) -> f64 {
        f64::from(self.in_flight) / self.relative_weight
    }

    fn is_fresh(&self, now: Nanos) -> bool {
        now.since(self.at) <= ANSWER_AGE_MAX
    }
}

impl Prequal {
    /// For so many endpoints that have a weight.
    pub(super) fn new(endpoints: usize) -> Self {
        let pool_max = POOL_MAX.min(endpoints.saturating_sub(1));
        Self {
            pool: Vec::with_capacity(POOL_MAX),
            pool_max,
            reuse: reuse(pool_max, endpoints),
            recent: Recent::default(),
            oldest_next: true,
            pending: 0,
            moved: Nanos::default(),
        }
    }

    /// Takes over the answers of endpoints that are still there.
    pub(super) fn carry_over(&mut self, old: &Self, old_keys: &[u64], keys: &[u64]) {
        for answer in &old.pool {
            let Some(key) = old_keys.get(answer.index) else { continue };
            let index = if keys.get(answer.index) == Some(key) {
                Some(answer.index)
            } else {
                keys.iter().position(|listed| listed == key)
            };
            if let Some(index) = index
                && self.pool.len() < self.pool_max
            {
                self.pool.push(Answer { index, ..*answer });
            }
        }
        (self.recent, self.pending, self.moved) = (old.recent.clone(), old.pending, old.moved);
    }

    pub(super) fn due<C: Candidates>(
        &mut self,
        live: &Live<'_, C>,
        now: Nanos,
        rng: &mut impl Rng,
    ) -> Probes {
        let mut probes = Probes::default();
        if self.pending >= PROBES_PENDING_MAX && now.since(self.moved) > ANSWER_AGE_MAX {
            // Their answers would be of no use any more, should they come.
            self.pending = 0;
        }
        let wanted = PROBES_PER_REQUEST.min(self.pool_max).min((PROBES_PENDING_MAX - self.pending) as usize);
        for _ in 0..wanted * DRAWS_MAX {
            if usize::from(probes.count) >= wanted {
                break;
            }
            if let Some(slot) = live.weighted.draw(rng)
                && live.standing(slot) == Standing::Fresh
            {
                probes.add(live.weighted.index(slot));
            }
        }
        if !probes.is_empty() {
            self.pending += u32::from(probes.count);
            self.moved = now;
        }
        debug_assert!(self.pending <= PROBES_PENDING_MAX, "more probes than there may be");
        probes
    }

    pub(super) fn probed(
        &mut self,
        index: usize,
        answer: Option<ProbeAnswer>,
        relative_weight: f64,
        now: Nanos,
        rng: &mut impl Rng,
    ) {
        self.pending = self.pending.saturating_sub(1);
        self.moved = now;
        let Some(ProbeAnswer { in_flight, latency }) = answer else { return };
        let left = self.reuse.map(|reuse| {
            // By chance to the whole number below or above, so that the mean is right.
            reuse as u32 + u32::from(rng.random_bool(reuse.fract()))
        });
        let answer = Answer { index, in_flight, relative_weight, latency, at: now, left };
        self.recent.add(answer.load());
        if let Some(known) = self.pool.iter_mut().find(|known| known.index == index) {
            *known = answer;
        } else if self.pool_max > 0 {
            if self.pool.len() >= self.pool_max {
                self.remove_oldest();
            }
            self.pool.push(answer);
        }
        debug_assert!(self.pool.len() <= self.pool_max, "a pool larger than it may be");
    }

    pub(super) fn pick<C: Candidates>(
        &mut self,
        live: &Live<'_, C>,
        now: Nanos,
        rng: &mut impl Rng,
        reasons: &mut impl Reasons,
    ) -> Option<Pick> {
        self.pool.retain(|answer| answer.is_fresh(now));
        let pick = match self.best(live, reasons) {
            Ok((at, slot, why)) => {
                self.used(at);
                Some(live.pick(slot, why, Standing::Fresh))
            }
            Err(usable) => {
                reasons.note(|| Note::FewProbes { usable });
                live.least_busy(rng, reasons)
            }
        };
        self.remove_one();
        pick
    }

    /// Position in the pool and slot of the best usable answer; if there are too few, how many there are.
    fn best<C: Candidates>(
        &self,
        live: &Live<'_, C>,
        reasons: &mut impl Reasons,
    ) -> Result<(usize, usize, Why), usize> {
        let hot_above = self.recent.hot_above;
        let mut usable = 0;
        let mut cold: Option<(Duration, usize, usize)> = None;
        let mut hot: Option<(f64, usize, usize)> = None;
        for (at, answer) in self.pool.iter().enumerate() {
            let Some(slot) = live.weighted.slot(answer.index) else { continue };
            if live.standing(slot) != Standing::Fresh {
                continue;
            }
            usable += 1;
            let load = answer.load();
            let is_hot = load > hot_above;
            reasons.note(|| Note::Probe {
                index: answer.index,
                in_flight: answer.in_flight,
                latency_us: u64::try_from(answer.latency.as_micros()).unwrap_or(u64::MAX),
                hot: is_hot,
            });
            if is_hot {
                if hot.is_none_or(|(least, ..)| load < least) {
                    hot = Some((load, at, slot));
                }
            } else if cold.is_none_or(|(least, ..)| answer.latency < least) {
                cold = Some((answer.latency, at, slot));
            }
        }
        if usable < USABLE_MIN {
            return Err(usable);
        }
        match (cold, hot) {
            (Some((_, at, slot)), _) => Ok((at, slot, Why::QuickestCold)),
            (None, Some((_, at, slot))) => Ok((at, slot, Why::LeastHot)),
            (None, None) => Err(usable),
        }
    }

    /// Counts a request to the answer that sent it there.
    fn used(&mut self, at: usize) {
        let answer = &mut self.pool[at];
        answer.in_flight = answer.in_flight.saturating_add(1);
        if let Some(left) = &mut answer.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.pool.swap_remove(at);
            }
        }
    }

    fn remove_one(&mut self) {
        if self.oldest_next {
            self.remove_oldest();
        } else {
            self.remove_worst();
        }
        self.oldest_next = !self.oldest_next;
    }

    fn remove_oldest(&mut self) {
        if let Some((at, _)) = self.pool.iter().enumerate().min_by_key(|(_, answer)| answer.at) {
            self.pool.swap_remove(at);
        }
    }

    /// The hottest, or the slowest if none is hot.
    fn remove_worst(&mut self) {
        let hot_above = self.recent.hot_above;
        let badness = |answer: &Answer| {
            let load = answer.load();
            if load > hot_above { (load, Duration::ZERO) } else { (-1.0, answer.latency) }
        };
        let worst = self.pool.iter().enumerate().max_by(|(_, a), (_, b)| {
            let (a, b) = (badness(a), badness(b));
            a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
        });
        if let Some((at, _)) = worst {
            self.pool.swap_remove(at);
        }
    }
}

/// The loads of the last answers.
#[derive(Clone, Debug)]
struct Recent {
    loads: Vec<f64>,
    oldest: usize,
    /// The load that is hot when exceeded.
    hot_above: f64,
}

impl Default for Recent {
    fn default() -> Self {
        Self { loads: Vec::with_capacity(RECENT_MAX), oldest: 0, hot_above: f64::INFINITY }
    }
}

impl Recent {
    fn add(&mut self, load: f64) {
        if self.loads.len() < RECENT_MAX {
            self.loads.push(load);
        } else {
            self.loads[self.oldest] = load;
            self.oldest = (self.oldest + 1) % RECENT_MAX;
        }
        if self.loads.len() < RECENT_MAX || self.oldest.is_multiple_of(QUANTILE_EVERY) {
            self.hot_above = self.quantile();
        }
        debug_assert!(self.loads.len() <= RECENT_MAX, "more loads than are kept");
    }

    fn quantile(&self) -> f64 {
        let mut sorted = [0.0; RECENT_MAX];
        let sorted = &mut sorted[..self.loads.len()];
        sorted.copy_from_slice(&self.loads);
        let at = (HOT_QUANTILE * sorted.len() as f64) as usize;
        *sorted.select_nth_unstable_by(at, f64::total_cmp).1
    }
}
