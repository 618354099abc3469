//! Which balancer, and its numbers.

use std::time::Duration;

use weir_model::resource::traffic_policy::{Balance, BalancePolicy};

/// The balancers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// In turn, by weight: earliest deadline first with a random initial phase, so that many callers with the same
    /// fresh list do not all begin with the heaviest.
    RoundRobin,
    /// By chance, by weight.
    Random,
    /// The less busy of two distinct endpoints, the first drawn by weight, the second evenly.
    ///
    /// The second is taken if with this request it would be no busier for its weight than the first is already:
    /// (in flight + 1) / weight of the second <= in flight / weight of the first. With equal weights that is "fewer
    /// in flight wins, the first on a tie". With unequal ones it keeps shares true to the weights at low load too:
    /// comparing (in flight + 1) / weight of both would give an endpoint of weight 1 nothing beside one of weight
    /// 99 until 98 are in flight there.
    #[default]
    LeastRequest,
    /// The least busy of all for its weight (in flight / weight), by weight among several.
    LeastConnections,
    /// The quicker of two distinct endpoints by latency and requests in flight: Finagle's Peak EWMA.
    PeakEwma,
    /// By probes of load and latency: Prequal (NSDI 2024).
    Prequal,
    /// Where the hash falls on a ring (Karger et al. 1997, points as in ketama), with bounded loads.
    RingHash,
    /// Where the hash falls in a table (Maglev, NSDI 2016), with bounded loads.
    Maglev,
}

impl Policy {
    /// Whether it goes by a hash of the request.
    pub const fn is_hashing(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

impl From<BalancePolicy> for Policy {
    fn from(declared: BalancePolicy) -> Self {
        match declared {
            BalancePolicy::RoundRobin => Self::RoundRobin,
            BalancePolicy::Random => Self::Random,
            BalancePolicy::LeastRequest => Self::LeastRequest,
            BalancePolicy::LeastConnections => Self::LeastConnections,
            BalancePolicy::PeakEwma => Self::PeakEwma,
            BalancePolicy::Prequal => Self::Prequal,
            BalancePolicy::RingHash => Self::RingHash,
            BalancePolicy::Maglev => Self::Maglev,
        }
    }
}

/// The most an endpoint may be allowed above its share; more is no bound.
const LOAD_FACTOR_MAX: f64 = 1e6;

/// The least time in which `peak_ewma` forgets: shorter, and it would follow single requests.
const DECAY_MIN: Duration = Duration::from_millis(1);

/// A balancer and its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// The balancer.
    pub policy: Policy,
    /// `ring_hash`, `maglev`: how many times its share an endpoint may have in flight before the next one is taken.
    pub load_factor: f64,
    /// `peak_ewma`: the time in which the weight of the past falls to 1/e.
    pub decay: Duration,
    /// `peak_ewma`: the latency of an endpoint that has a request in flight and never answered one.
    pub initial: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            load_factor: 1.25,
            decay: Duration::from_secs(10),
            initial: Duration::from_millis(30),
        }
    }
}

impl Config {
    /// The default numbers with a balancer.
    pub fn of(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// What a document says; numbers that no balancer can work with are taken as the nearest that it can.
    pub fn from_spec(spec: &Balance) -> Self {
        let default = Self::default();
        let factor = spec.load_factor.filter(|factor| !factor.is_nan());
        Self {
            policy: spec.policy.into(),
            load_factor: factor.map_or(default.load_factor, |factor| factor.clamp(1.0, LOAD_FACTOR_MAX)),
            decay: spec.decay.map_or(default.decay, |span| span.0.max(DECAY_MIN)),
            initial: default.initial,
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_model::units::Span;

    use super::*;

    #[test]
    fn documents_fill_in_what_they_say() {
        assert_eq!(Config::from_spec(&Balance::default()), Config::default());
        let spec = Balance {
            policy: BalancePolicy::Maglev,
            load_factor: Some(2.0),
            decay: Some(Span(Duration::from_secs(3))),
            ..Balance::default()
        };
        let config = Config::from_spec(&spec);
        assert_eq!(
            (config.policy, config.load_factor, config.decay),
            (Policy::Maglev, 2.0, Duration::from_secs(3))
        );
        for (said, taken) in [(0.0, 1.0), (f64::NAN, 1.25), (f64::INFINITY, LOAD_FACTOR_MAX)] {
            let spec =
                Balance { load_factor: Some(said), decay: Some(Span(Duration::ZERO)), ..Balance::default() };
            let config = Config::from_spec(&spec);
            assert_eq!((config.load_factor, config.decay), (taken, DECAY_MIN));
        }
    }
}
