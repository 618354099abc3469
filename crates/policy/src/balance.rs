//! Chooses the endpoint for one attempt of a request.
//!
//! ```text
//! facts about endpoints -> select -> shares -> Balancer -> pick(now, hash, candidates, tried already) -> Pick { index, why }
//!                                                 ^ done(latency, success), probed(answer)
//! ```
//!
//! Whatever the policy: an endpoint of weight 0 is never picked; one that recently failed to connect (*avoided*) only
//! when no other is left; one that this request has *tried* already only when all have been. A pick does not allocate.
//! It costs O(1) (`random`, `least_request`, `peak_ewma`, `prequal`, `ring_hash`, `maglev`) or O(log r) for r different
//! weights (`round_robin`) as long as most endpoints are fresh; once several draws in a row hit stale ones, it looks
//! through all of them, O(n). `least_connections` costs O(log n), if it is told of requests that end ([`Balancer::freed`]), and
//! looks at all only when nobody is fresh.
//!
//! What this must not do: keep health, count requests or know addresses. An endpoint is its index in the list that the
//! balancer was made for, and a key that says which one it is from list to list.

mod config;
mod edf;
mod ewma;
mod floors;
pub mod hash;
mod hashed;
mod live;
mod maglev;
pub mod prequal;
mod reasons;
mod ring;
pub mod select;
mod standby;
#[cfg(test)]
mod tests;
mod tried;
mod weighted;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};

use crate::time::Nanos;
pub use config::{Config, Policy};
use edf::Edf;
use ewma::Ewma;
pub use floors::Floors;
use hashed::Hashed;
pub use hashed::Table;
use live::Live;
pub use maglev::{MAGLEV_SIZE_DEFAULT, MAGLEV_SIZE_MAX};
use prequal::{Prequal, ProbeAnswer, Probes};
pub use reasons::{Note, Reasons};
pub use ring::{RING_POINTS, RING_POINTS_MAX};
pub use standby::standby;
pub use tried::{TRIED_MAX, Tried};
use weighted::Weighted;

/// How often a stale endpoint is passed over by drawing again, before all are looked through.
const DRAWS_MAX: usize = 4;

/// What a balancer may know of the endpoints at the moment of a pick. Indices are those of the weights the balancer was
/// made with.
pub trait Candidates {
    /// Requests in flight to it, of all workers. Where [`Floors`] are shared by threads, read and written as `SeqCst`.
    fn in_flight(&self, index: usize) -> u32;
    /// Requests in flight to all endpoints, of all workers. Asked for only by `ring_hash` and `maglev`, and only when
    /// the endpoint of a hash is not idle.
    fn in_flight_total(&self) -> u64;
    /// Whether it failed lately and is to be the last choice.
    fn avoided(&self, index: usize) -> bool;
}

/// What a pick is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The moment.
    pub now: Nanos,
    /// What `ring_hash` and `maglev` go by, such as [`hash::bytes`] of a header field's value; by chance when there is
    /// none.
    pub hash: Option<u64>,
}

impl Query {
    /// A query that is like no other.
    pub const fn at(now: Nanos) -> Self {
        Self { now, hash: None }
    }
}

/// An endpoint that was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Its index.
    pub index: usize,
    /// What decided for it.
    pub why: Why,
    /// How it stood: anything but fresh means that there was no better one.
    pub standing: Standing,
}

/// What decided for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its turn had come.
    Turn,
    /// It was drawn by weight.
    Drawn,
    /// It was drawn by weight, and the other one was no less busy.
    NotBusier {
        /// The other one.
        than: usize,
    },
    /// It was less busy for its weight than the one drawn first.
    LessBusy {
        /// The one drawn first.
        than: usize,
    },
    /// None was less busy for its weight.
    LeastBusy,
    /// All of those that take part have failed lately, or were tried; it stands by.
    StandsBy,
    /// It was drawn by weight, and is expected to answer no later than the other one, or the other one's weight is too
    /// small for that to count this time.
    NotSlower {
        /// The other one.
        than: usize,
    },
    /// It is expected to answer sooner than the one drawn first.
    Quicker {
        /// The one drawn first.
        than: usize,
    },
    /// Of those probed that are not hot, it is the quickest.
    QuickestCold,
    /// All those probed are hot, and it is the least busy.
    LeastHot,
    /// The hash led to it.
    Hash,
    /// The hash led to others, which were full or stale.
    NextToHash {
        /// The one the hash led to.
        instead_of: usize,
    },
    /// It was the only one of its standing.
    Only,
}

/// How an endpoint stands at a pick, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing speaks against it.
    Fresh,
    /// It failed lately.
    Avoided,
    /// This request has tried it already.
    Tried,
    /// Both.
    TriedAndAvoided,
}

/// Chooses among the endpoints of one upstream. One for each worker; [`Balancer::update`] follows changes of endpoints
/// and weights.
#[derive(Clone, Debug)]
pub struct Balancer {
    config: Config,
    /// By index.
    keys: Box<[u64]>,
    weighted: Weighted,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    RoundRobin(Edf),
    Random,
    LeastRequest,
    LeastConnections(Arc<Floors>),
    PeakEwma(Ewma),
    Prequal(Box<Prequal>),
    Hashed(Hashed),
}

impl Balancer {
    /// A balancer for endpoints with these weights; those of weight 0 are never picked.
    ///
    /// `keys` has one for each endpoint, which stays with it from list to list. For `ring_hash` and `maglev` it must be the
    /// same on every machine too, such as [`hash::bytes`] of its id: requests go where it says. An endpoint without one
    /// has its index for a key.
    pub fn new(config: Config, shares: &[u32], keys: &[u64], rng: &mut impl Rng) -> Self {
        Self::with_table(config, shares, keys, None, rng)
    }

    /// The same with a table made before: to build it once for all workers, and not on theirs. One that does not fit is
    /// built anew.
    pub fn with_table(
        config: Config,
        shares: &[u32],
        keys: &[u64],
        table: Option<&Table>,
        rng: &mut impl Rng,
    ) -> Self {
        debug_assert_eq!(shares.len(), keys.len(), "an endpoint without a key");
        let weighted = Weighted::new(shares);
        let keys: Box<[u64]> =
            (0..shares.len()).map(|index| keys.get(index).copied().unwrap_or(index as u64)).collect();
        let state = match config.policy {
            Policy::RoundRobin => State::RoundRobin(Edf::new(weighted.weights(), rng)),
            Policy::Random => State::Random,
            Policy::LeastRequest => State::LeastRequest,
            Policy::LeastConnections => State::LeastConnections(own_floors(shares)),
            Policy::PeakEwma => State::PeakEwma(Ewma::new(config.decay, config.initial, shares.len())),
            Policy::Prequal => State::Prequal(Box::new(Prequal::new(weighted.len()))),
            Policy::RingHash | Policy::Maglev => State::Hashed(Hashed::new(
                Table::fitting(table, config.policy, &weighted, &keys),
                config.load_factor,
            )),
        };
        Self { config, keys, weighted, state }
    }

    /// A balancer for other endpoints, weights or another policy that goes on with what this one knows: observed
    /// latencies and fresh probes by the endpoints' keys, and its table if that still fits and the one given does not.
    /// Turns of `round_robin` begin anew, at random.
    #[must_use]
    pub fn carry_over(
        &self,
        config: Config,
        shares: &[u32],
        keys: &[u64],
        table: Option<&Table>,
        rng: &mut impl Rng,
    ) -> Self {
        let mut new = Self::with_table(config, shares, keys, table.or_else(|| self.table()), rng);
        match (&mut new.state, &self.state) {
            (State::PeakEwma(new_ewma), State::PeakEwma(ewma)) => {
                new_ewma.carry_over(ewma, &self.keys, &new.keys);
            }
            (State::Prequal(new_prequal), State::Prequal(prequal)) => {
                new_prequal.carry_over(prequal, &self.keys, &new.keys);
            }
            _ => {}
        }
        new
    }

    /// Follows a change, as [`Balancer::carry_over`] does; nothing happens when there is none. Returns whether there was
    /// one. As long as `keys` are the same, so are the indices, and whoever still has one may go on using it.
    pub fn update(
        &mut self,
        config: &Config,
        shares: &[u32],
        keys: &[u64],
        table: Option<&Table>,
        rng: &mut impl Rng,
    ) -> bool {
        let same = self.is_for(config, keys) && self.weighted.is_of(shares);
        if !same {
            *self = self.carry_over(*config, shares, keys, table, rng);
        }
        !same
    }

    /// Whether it follows this configuration, for endpoints with these keys.
    pub fn is_for(&self, config: &Config, keys: &[u64]) -> bool {
        self.config == *config && *self.keys == *keys
    }

    /// How it was configured.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The policy it follows.
    pub const fn policy(&self) -> Policy {
        self.config.policy
    }

    /// The table of `ring_hash` or `maglev`, to be shared.
    pub const fn table(&self) -> Option<&Table> {
        match &self.state {
            State::Hashed(hashed) => Some(hashed.table()),
            _ => None,
        }
    }

    /// The index of the endpoint with a key, O(n): for who holds the index of an older list.
    pub fn index_of(&self, key: u64) -> Option<usize> {
        self.keys.iter().position(|listed| *listed == key)
    }

    /// The key of an endpoint.
    pub fn key_of(&self, index: usize) -> Option<u64> {
        self.keys.get(index).copied()
    }

    /// Picks an endpoint; none only if no endpoint has a weight. `reasons` is `()` on the hot path, where it costs
    /// nothing; `explain` hands in a `Vec`.
    pub fn pick(
        &mut self,
        query: Query,
        candidates: &impl Candidates,
        tried: &Tried,
        rng: &mut impl Rng,
        reasons: &mut impl Reasons,
    ) -> Option<Pick> {
        let live = Live { weighted: &self.weighted, candidates, tried };
        live.explain(reasons);
        let pick = match &mut self.state {
            State::RoundRobin(edf) => live.in_turn(edf, rng),
            State::Random => live.by_weight(rng),
            State::LeastRequest => live.least_busy(rng, reasons),
            State::LeastConnections(floors) => live.least_of_all(floors, rng),
            State::PeakEwma(ewma) => ewma.pick(&live, query.now, rng, reasons),
            State::Prequal(prequal) => prequal.pick(&live, query.now, rng, reasons),
            State::Hashed(hashed) => {
                let hash = query.hash.unwrap_or_else(|| rng.random());
                hashed.pick(&live, hash, rng, reasons)
            }
        };
        if let Some(pick) = pick {
            debug_assert!(self.weighted.weight_of(pick.index) > 0, "picked an endpoint without weight");
            reasons.note(|| Note::Picked(pick));
        }
        pick
    }

    /// Learns how a request went: how long its answer took, and whether it was one that counts. `peak_ewma` only.
    pub fn done(&mut self, index: usize, latency: Duration, success: bool, now: Nanos) {
        if let State::PeakEwma(ewma) = &mut self.state {
            ewma.observe(index, latency, success, now);
        }
    }

    /// Learns that an endpoint has become less busy, and has so many in flight now, or that it is not avoided any more:
    /// `least_connections` only, which otherwise may pass it over. Of floors that are shared one of all who share them says so.
    #[inline]
    pub fn freed(&self, index: usize, in_flight: u32) {
        if let State::LeastConnections(floors) = &self.state {
            floors.lower(index, in_flight);
        }
    }

    /// Goes by floors that others go by as well, under `least_connections`. Those that are of other shares are left alone.
    pub fn share(&mut self, shared: &Arc<Floors>) {
        if let State::LeastConnections(floors) = &mut self.state
            && shared.fit(&self.weighted)
        {
            *floors = Arc::clone(shared);
        }
    }

    /// What `peak_ewma` takes an endpoint's latency to be, as last observed; none if never, or under another policy.
    pub fn latency(&self, index: usize) -> Option<Duration> {
        match &self.state {
            State::PeakEwma(ewma) => ewma.latency(index),
            _ => None,
        }
    }

    /// The endpoints to be probed now, to be asked for once with each request. The answer of each, or that there was
    /// none, is to be given to [`Balancer::probed`]. None unless the policy is `prequal`.
    pub fn probes_due(&mut self, now: Nanos, candidates: &impl Candidates, rng: &mut impl Rng) -> Probes {
        let live = Live { weighted: &self.weighted, candidates, tried: &Tried::none() };
        match &mut self.state {
            State::Prequal(prequal) => prequal.due(&live, now, rng),
            _ => Probes::default(),
        }
    }

    /// Takes the answer of a probe; none if it failed or nobody waits for it any more.
    pub fn probed(&mut self, index: usize, answer: Option<ProbeAnswer>, now: Nanos, rng: &mut impl Rng) {
        if let State::Prequal(prequal) = &mut self.state {
            let weight = self.weighted.weight_of(index);
            let relative = self.weighted.relative(weight);
            prequal.probed(index, answer.filter(|_| weight > 0), relative, now, rng);
        }
    }
}

/// Floors of a balancer that is told itself of who becomes less busy.
fn own_floors(shares: &[u32]) -> Arc<Floors> {
    let floors = Floors::new(shares);
    floors.watch();
    Arc::new(floors)
}

/// Calls `carry` with the old and the new index of each endpoint that is in both lists.
fn for_each_carried(old_keys: &[u64], keys: &[u64], mut carry: impl FnMut(usize, usize)) {
    if old_keys == keys {
        (0..keys.len()).for_each(|index| carry(index, index));
        return;
    }
    let old: HashMap<u64, usize> = old_keys.iter().copied().zip(0..).collect();
    for (index, key) in keys.iter().enumerate() {
        if let Some(from) = old.get(key) {
            carry(*from, index);
        }
    }
}
