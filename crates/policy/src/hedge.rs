//! Hedging: a second request for a call that takes long, of which the first answer wins.
//!
//! J. Dean and L. A. Barroso, "The Tail at Scale" (2013): sent after the 95th percentile of latency, it adds some 5 % of
//! load and cuts off the tail. It is charged to the retry budget, so that a service that is slow as a whole is not sent
//! twice the load.
//!
//! What this must not do: send anything, or choose where to.

mod quantile;

use std::fmt;
use std::time::Duration;

use weir_model::resource::traffic_policy::Hedge as Spec;

use crate::retry::{Budget, Facts};
use crate::time::Nanos;
pub use quantile::LatencyQuantile;

/// When the second request goes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HedgeAfter {
    /// After this time.
    Delay(Duration),
    /// After the time that this share of calls takes at most, of late.
    Percentile(f64),
}

/// How calls are hedged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgeConfig {
    /// When the second request goes out.
    pub after: HedgeAfter,
    /// The fewest calls that tell a percentile; until there are so many no call is hedged.
    pub samples_min: u64,
    /// For how long latencies count, at least; at most twice as long.
    pub window: Duration,
}

impl Default for HedgeConfig {
    /// The 95th percentile of at least 100 calls of the last 30 to 60 s.
    fn default() -> Self {
        Self { after: HedgeAfter::Percentile(0.95), samples_min: 100, window: Duration::from_secs(30) }
    }
}

impl HedgeConfig {
    /// What a document says. What validation would refuse is brought into range.
    pub fn from_spec(spec: &Spec) -> Self {
        let default = Self::default();
        let after = match (spec.delay, spec.percentile) {
            (Some(delay), _) => HedgeAfter::Delay(delay.0),
            (None, Some(share)) if !share.is_nan() => HedgeAfter::Percentile(share.clamp(0.5, 0.999)),
            (None, _) => default.after,
        };
        Self { after, ..default }
    }
}

/// Whether the second request goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedging {
    /// Now. The budget has been charged.
    Now,
    /// Not before this time has passed.
    In(Duration),
    /// Not at all.
    No(NoHedge),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHedge {
    /// It was made twice already, by a retry or by this.
    Attempts,
    /// The response has begun.
    ResponseBegun,
    /// It may not be carried out twice.
    NotIdempotent,
    /// Its body cannot be sent again.
    Body,
    /// There is no other endpoint to send it to.
    Endpoint,
    /// Too few calls are known to tell how long they take.
    Samples,
    /// There would be no time for an answer.
    Deadline,
    /// Too many calls are tried again or hedged already.
    Budget,
}

/// A percentile is looked up again after so many calls.
const REFRESH_CALLS: u32 = 64;

/// Decides which calls of one kind are made twice, and learns how long they take. One for each worker.
#[derive(Clone, Debug)]
pub struct Hedger {
    config: HedgeConfig,
    latencies: LatencyQuantile,
    known: Option<Duration>,
    /// Calls since it was looked up, and when.
    since: u32,
    looked_up: Nanos,
}

impl Hedger {
    /// Knows no latencies.
    pub fn new(config: HedgeConfig) -> Self {
        Self {
            config,
            latencies: LatencyQuantile::new(config.window),
            known: None,
            since: REFRESH_CALLS,
            looked_up: Nanos(0),
        }
    }

    /// Puts another configuration in force; latencies stay known, unless they are to count for another time.
    pub fn reconfigure(&mut self, config: HedgeConfig) {
        if config.window != self.config.window {
            self.latencies = LatencyQuantile::new(config.window);
        }
        self.config = config;
        self.since = REFRESH_CALLS;
    }

    /// A first attempt took so long until its response began.
    ///
    /// One that the second request overtook took at least as long as it was waited for, and is to be recorded with that:
    /// if only winners counted, the percentile would sink and more and more calls be hedged.
    pub fn record(&mut self, latency: Duration, now: Nanos) {
        self.since = self.since.saturating_add(1);
        if matches!(self.config.after, HedgeAfter::Percentile(_)) {
            self.latencies.record(latency, now);
        }
    }

    /// The time after which a second request goes out; none while too little is known. O(1) but once in a while.
    pub fn delay(&mut self, now: Nanos) -> Option<Duration> {
        let share = match self.config.after {
            HedgeAfter::Delay(delay) => return Some(delay),
            HedgeAfter::Percentile(share) => share,
        };
        if self.since >= REFRESH_CALLS || now.since(self.looked_up) >= self.config.window {
            let enough = self.latencies.count(now) >= self.config.samples_min;
            self.known = if enough { self.latencies.quantile(share, now) } else { None };
            (self.since, self.looked_up) = (0, now);
        }
        self.known
    }

    /// Decides about a call that has been waiting for an answer; to be asked when it is sent, and again when the time it
    /// was told is over. Charges the budget only when the answer is to send now.
    pub fn decide(&mut self, facts: &Facts, waited: Duration, budget: &mut Budget, now: Nanos) -> Hedging {
        if let Some(reason) = forbidden(facts) {
            return Hedging::No(reason);
        }
        let Some(delay) = self.delay(now) else { return Hedging::No(NoHedge::Samples) };
        let wait = delay.saturating_sub(waited);
        if facts.deadline.is_some_and(|deadline| now + wait >= deadline) {
            return Hedging::No(NoHedge::Deadline);
        }
        if !wait.is_zero() {
            return Hedging::In(wait);
        }
        if budget.try_retry(now) { Hedging::Now } else { Hedging::No(NoHedge::Budget) }
    }
}

fn forbidden(facts: &Facts) -> Option<NoHedge> {
    let reasons = [
        (facts.attempts > 1, NoHedge::Attempts),
        (facts.response_begun, NoHedge::ResponseBegun),
        (!facts.idempotent, NoHedge::NotIdempotent),
        (!facts.replayable, NoHedge::Body),
        (!facts.another_endpoint, NoHedge::Endpoint),
    ];
    reasons.into_iter().find(|(applies, _)| *applies).map(|(_, reason)| reason)
}

impl fmt::Display for NoHedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attempts => "it was made twice already",
            Self::ResponseBegun => "the response has begun",
            Self::NotIdempotent => "its method is not idempotent",
            Self::Body => "the body cannot be sent again",
            Self::Endpoint => "there is no other endpoint",
            Self::Samples => "too few calls are known",
            Self::Deadline => "no time is left",
            Self::Budget => "the retry budget is used up",
        })
    }
}

#[cfg(test)]
mod tests;
