//! A limit that this process shares with others, as seen from here: what it needs of it, and what it has.
//!
//! ```text
//! requests counted -> wish -> whoever keeps the book -> lease -> the limiter's own clock (`hold`)
//! ```

use std::time::Duration;

use super::Limiter;
use super::config::{LimitConfig, RateConfig};
use super::hold::Holding;
use crate::quota::{Alone, Lease, PARTS, WANTED_MAX, Wish};
use crate::time::Nanos;

/// A demand that is measured over less time than this says little: the one before it stands.
const MEASURE_MIN: Duration = Duration::from_millis(100);

/// What is wanted is at least so much of what was wanted before: who pauses for a moment does not lose his share.
const FADES_BY: u32 = 2;

/// What this process has of a shared limit, from configuration to configuration.
#[derive(Debug)]
pub struct Tenure {
    /// The newest lease, also when it is over.
    lease: u64,
    holding: Holding,
    /// Requests that had come when it was last measured, and when that was.
    measured: Option<(u64, Nanos)>,
    wanted: u32,
}

impl Default for Tenure {
    /// It knows of nobody else.
    fn default() -> Self {
        Self { lease: 0, holding: Holding::none(Alone::Share, 1), measured: None, wanted: 0 }
    }
}

impl Tenure {
    /// The limiter begins to go by what is held here.
    pub fn begin(&mut self, limiter: &Limiter, now: Nanos) {
        if let Some(alone) = limiter.config().global {
            self.holding.alone = alone;
            limiter.hold(self.holding, now);
        }
    }

    /// Whether anything was ever asked for.
    pub const fn was_asked_for(&self) -> bool {
        self.measured.is_some()
    }

    /// What to ask for, after so many requests since the process began.
    pub fn wish(&mut self, requests: u64, config: &LimitConfig, now: Nanos) -> Wish {
        match self.measured {
            Some((_, at)) if now.since(at) < MEASURE_MIN => {}
            Some((before, at)) => {
                let wanted = wanted(requests.saturating_sub(before), now.since(at), config.algorithm.rates());
                self.wanted = wanted.max(self.wanted / FADES_BY);
                self.measured = Some((requests, now));
            }
            None => self.measured = Some((requests, now)),
        }
        Wish { wanted: self.wanted, lease: self.lease }
    }

    /// Takes the answer to what was asked for at a moment. An older one than what is there is late, and worth nothing.
    /// Gives whether there is less now than before: then it is to be asked again soon
    /// ([`crate::quota::ASK_AGAIN`]), as what is given up is of no use to others until then.
    pub fn take(
        &mut self,
        lease: Option<Lease>,
        holders: u32,
        asked: Nanos,
        limiter: &Limiter,
        now: Nanos,
    ) -> bool {
        let before = self.holding;
        let newer = lease.filter(|lease| lease.number > self.lease);
        if let Some(Lease { number, parts, ttl }) = newer {
            self.lease = number;
            self.holding = self.holding.with_lease(parts, asked + ttl);
        }
        let is_news = holders > 0 && holders != self.holding.holders;
        if is_news {
            self.holding.holders = holders;
        }
        if newer.is_some() || is_news {
            limiter.hold(self.holding, now);
        }
        now < before.until && self.holding.parts < before.parts
    }
}

/// How much of the tightest of the rates so many requests would use.
fn wanted(requests: u64, time: Duration, rates: &[RateConfig]) -> u32 {
    let per_second = requests as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE);
    let of = |rate: &RateConfig| per_second * rate.per.as_secs_f64() / f64::from(rate.requests.max(1));
    let share = rates.iter().map(of).fold(0.0, f64::max);
    (share * f64::from(PARTS)).min(f64::from(WANTED_MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, Request, Verdict};
    use super::*;

    fn config() -> LimitConfig {
        let rate = RateConfig { burst: 1, ..RateConfig::per_second(100) };
        LimitConfig {
            algorithm: Algorithm::TokenBucket(vec![rate]),
            global: Some(Alone::Share),
            ..LimitConfig::default()
        }
    }

    fn at(ms: u64) -> Nanos {
        Nanos::from_millis(10_000 + ms)
    }

    #[test]
    fn what_is_wanted_follows_what_comes_and_fades_slowly() {
        let (mut tenure, config) = (Tenure::default(), config());
        assert_eq!(tenure.wish(500, &config, at(0)), Wish { wanted: 0, lease: 0 });
        assert_eq!(tenure.wish(650, &config, at(1000)).wanted, 3 * PARTS / 2);
        assert_eq!(tenure.wish(650, &config, at(1050)).wanted, 3 * PARTS / 2, "too soon to tell");
        assert_eq!(tenure.wish(650, &config, at(2000)).wanted, 3 * PARTS / 4);
        assert_eq!(tenure.wish(u64::MAX, &config, at(3000)).wanted, WANTED_MAX);
    }

    /// Evenly spread requests of a second that pass.
    fn passes(limiter: &Limiter, from: u64) -> usize {
        let admits = |n: &u64| {
            let verdict = limiter.admit(&Request::default(), at(from + n), &mut Vec::new());
            matches!(verdict, Verdict::Admit(..))
        };
        (0..1000).filter(admits).count()
    }

    #[test]
    fn it_goes_by_its_lease_and_then_by_an_even_share() {
        let (mut tenure, limiter) = (Tenure::default(), Limiter::new(config(), 1));
        tenure.begin(&limiter, at(0));
        assert!(passes(&limiter, 0).abs_diff(100) <= 1, "it knows of nobody else");
        let lease = |number, parts| Some(Lease { number, parts, ttl: Duration::from_secs(3) });
        tenure.take(lease(7, PARTS / 5), 4, at(1000), &limiter, at(1000));
        assert!(passes(&limiter, 1000).abs_diff(20) <= 1);
        // A late answer, and one that there is no lease.
        tenure.take(lease(6, PARTS), 4, at(500), &limiter, at(2000));
        tenure.take(None, 4, at(1500), &limiter, at(2000));
        assert!(passes(&limiter, 2000).abs_diff(20) <= 1);
        // From 4000 on there is no lease, and until 7000 others may have theirs.
        assert!(passes(&limiter, 4000).abs_diff(20) <= 1);
        assert!(passes(&limiter, 7000).abs_diff(25) <= 1);
        assert!(limiter.state(at(8000)).to_string().contains("no lease: 25.0 % of it, shared by 4"));
    }
}
