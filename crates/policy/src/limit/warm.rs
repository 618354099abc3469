//! The bucket that warms up: its rate is a share of the full one when cold and climbs as it is used.
//!
//! Warmth is a time from 0 (cold) to `over` (warm). An admission warms by the length of its slot, idle time cools by its
//! own length. So with all of the rate used, warmth is the time that passed, and the full rate is reached after `over`; after
//! `over` of idleness the bucket is cold. In between it settles where half of the rate is used: who uses less than half of
//! what a cold bucket gives needs no more. The idea is Guava's `SmoothWarmingUp`; the state is two numbers instead of
//! stored permits. A cold bucket's burst is smaller in the same measure, but never below one.

use std::time::Duration;

use super::Quota;
use super::config::{RateConfig, WarmUpConfig};
use super::pace::{Pace, Slot, nanos, signed};
use crate::time::Nanos;

/// How rates climb, ready to be decided by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climb {
    over: u64,
    /// What a nanosecond is as a share of `over`, in the unit of warmth, times 2^[`UNIT_BITS`].
    unit: u64,
    /// The rate when cold, as a share of the full one, and what each unit of warmth adds to it.
    from: f64,
    slope: f64,
}

/// Binary digits behind the point of [`Climb::unit`]: as many as leave room for the shortest climb, of 2^16 ns.
const UNIT_BITS: u32 = 48;

/// The state of one rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Warmth {
    /// Where the last slot ended.
    pub(super) tat: u64,
    /// From 0 to [`u32::MAX`]: as shares of `over`.
    pub(super) warmth: u32,
}

impl Climb {
    pub(super) fn new(config: &WarmUpConfig) -> Self {
        let over = nanos(config.over).max(1 << 16);
        let unit = (u128::from(u32::MAX) << UNIT_BITS) / u128::from(over);
        let from = config.from.clamp(0.001, 1.0);
        let slope = (1.0 - from) / f64::from(u32::MAX);
        Self { over, unit: unit as u64, from, slope }
    }

    /// A rate that climbs like this.
    pub(super) fn pace(&self, rate: RateConfig) -> Pace {
        let pace = Pace::bucket(rate);
        Pace { cold: stretched(&pace, self.speed(0)), ..pace }
    }

    /// As of now: what was idle has cooled.
    #[inline]
    pub(super) fn cooled(&self, state: Warmth, now: Nanos) -> Warmth {
        let idle = now.0.saturating_sub(state.tat);
        Warmth { warmth: state.warmth.saturating_sub(self.share(idle)), tat: state.tat }
    }

    /// A length of time as a share of `over`, rounded up so that no use is too short to warm.
    #[inline]
    fn share(&self, length: u64) -> u32 {
        if length >= self.over {
            return u32::MAX;
        }
        // Less than `over`, so at most 2^32 - 1 units.
        ((u128::from(length) * u128::from(self.unit)).div_ceil(1 << UNIT_BITS)) as u32
    }

    /// The rate at a warmth, as a share of the full one.
    #[inline]
    pub(super) fn speed(&self, warmth: u32) -> f64 {
        self.from + self.slope * f64::from(warmth)
    }

    /// The slot, and the state after it, of one that has been cooled; or how long until there is one.
    #[inline]
    pub(super) fn next(&self, pace: &Pace, state: Warmth, now: Nanos) -> Result<(Slot, Warmth), Duration> {
        let length = self.length(pace, state.warmth);
        let slot = pace.next_of(state.tat, now, length, pace.depth.max(length))?;
        let warmth = state.warmth.saturating_add(self.share(length));
        Ok((slot, Warmth { tat: slot.end, warmth }))
    }

    /// The length of a slot, rounded up: never shorter than at the full rate.
    ///
    /// Whoever uses less than half of the rate gets cold, whoever uses more gets warm. So a slot seldom has to be worked out from
    /// the state, which takes longer than all the rest.
    #[inline]
    fn length(&self, pace: &Pace, warmth: u32) -> u64 {
        match warmth {
            0 => pace.cold,
            u32::MAX => pace.interval,
            _ => self.length_between(pace, warmth),
        }
    }

    #[inline(never)]
    fn length_between(&self, pace: &Pace, warmth: u32) -> u64 {
        stretched(pace, self.speed(warmth))
    }

    /// What is left at a warmth.
    #[inline]
    pub(super) fn quota(&self, pace: &Pace, state: Warmth, now: Nanos) -> Quota {
        let debt = state.tat.saturating_sub(now.0);
        // Only a burst of few may be shorter than a slot.
        let is_short = pace.depth < pace.cold;
        let depth = if is_short { pace.depth.max(self.length(pace, state.warmth)) } else { pace.depth };
        let room = signed(depth.saturating_sub(debt)) as f64;
        Quota {
            limit: pace.rate.requests,
            window: pace.rate.per,
            // The smallest addition makes up for what the product lost.
            remaining: ((room * pace.inverse * self.speed(state.warmth) + 1e-6) as i64).min(u32::MAX.into())
                as u32,
            reset: Duration::from_nanos(debt),
            burst: pace.rate.other_burst(),
        }
    }

    /// The state before a slot was taken, if it is the last one.
    pub(super) fn rolled_back(&self, state: Warmth, slot: Slot) -> Option<Warmth> {
        let warmth = state.warmth.saturating_sub(self.share(slot.end - slot.start));
        (state.tat == slot.end).then_some(Warmth { tat: slot.start, warmth })
    }
}

/// The length of a slot at a share of the full rate.
fn stretched(pace: &Pace, speed: f64) -> u64 {
    let length = signed(pace.interval) as f64 / speed;
    let whole = length as i64;
    (whole.saturating_add(i64::from((whole as f64) < length)) as u64).max(pace.interval)
}
