//! Deadlines that travel with a request: what is left of one, what the next hop is told, and what is not worth doing.
//!
//! A caller that has given up wants no answer any more. Work for it takes capacity from those that still wait, and under
//! overload that is most of the work; so it is dropped as early as it is noticed. ("Addressing Cascading Failures",
//! "Site Reliability Engineering", chapter 22, "Latency and Deadlines".)
//!
//! What this must not do: read or write header fields.

use std::fmt;
use std::time::Duration;

use weir_model::units::Rounded;

use crate::time::Nanos;

/// How deadlines are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineConfig {
    /// How much earlier than the caller's the next hop's deadline is: the time that the answer takes on its way back.
    pub margin: Duration,
    /// The longest that a caller's deadline counts for, whatever it says.
    pub max: Duration,
}

impl Default for DeadlineConfig {
    /// A margin of 1 ms; at most an hour.
    fn default() -> Self {
        Self { margin: Duration::from_millis(1), max: Duration::from_secs(3_600) }
    }
}

/// What is left of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// There is none.
    Unlimited,
    /// This long.
    Time(Duration),
    /// It is over, for this long: the work is to be dropped.
    Passed(Duration),
}

impl DeadlineConfig {
    /// The deadline of a request: the earlier of what its caller says is left and of this side's own time limit, both
    /// counted from its arrival.
    pub fn of_request(
        &self,
        said: Option<Duration>,
        limit: Option<Duration>,
        arrived: Nanos,
    ) -> Option<Nanos> {
        let said = said.map(|left| left.min(self.max));
        [said, limit].into_iter().flatten().min().map(|left| arrived + left)
    }

    /// What the next hop is told is left; [`Left::Passed`] also if the margin uses up all of it.
    pub fn for_next_hop(&self, deadline: Option<Nanos>, now: Nanos) -> Left {
        match left(deadline, now) {
            Left::Time(time) if time <= self.margin => Left::Passed(self.margin - time),
            Left::Time(time) => Left::Time(time - self.margin),
            other => other,
        }
    }
}

/// What is left of a deadline. One that is reached is over.
pub fn left(deadline: Option<Nanos>, now: Nanos) -> Left {
    match deadline {
        None => Left::Unlimited,
        Some(deadline) if now < deadline => Left::Time(deadline.since(now)),
        Some(deadline) => Left::Passed(now.since(deadline)),
    }
}

/// Whether work may still be in time: not if its deadline passes before it can begin, or before it is done, if it is
/// known how long it takes at least.
pub fn is_worth_while(deadline: Option<Nanos>, begins: Nanos, takes: Duration) -> bool {
    deadline.is_none_or(|deadline| begins < deadline && begins + takes <= deadline)
}

impl Left {
    /// Whether the work is to be dropped.
    pub const fn is_passed(self) -> bool {
        matches!(self, Self::Passed(_))
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("no deadline"),
            Self::Time(left) => write!(f, "{} left", Rounded(*left)),
            Self::Passed(by) => write!(f, "the deadline passed {} ago", Rounded(*by)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_earlier_limit_counts() {
        let config = DeadlineConfig { max: ms(1_000), ..DeadlineConfig::default() };
        let of = |said: Option<u64>, limit: Option<u64>| {
            config.of_request(said.map(ms), limit.map(ms), Nanos::from_millis(50))
        };
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some(100), None), Some(Nanos::from_millis(150)));
        assert_eq!(of(Some(100), Some(30)), Some(Nanos::from_millis(80)));
        assert_eq!(of(Some(100), Some(300)), Some(Nanos::from_millis(150)));
        assert_eq!(of(Some(u64::MAX), None), Some(Nanos::from_millis(1_050)), "nobody waits that long");
        assert_eq!(config.of_request(Some(Duration::MAX), None, Nanos(u64::MAX)), Some(Nanos(u64::MAX)));
    }

    #[test]
    fn what_has_passed_is_dropped() {
        let deadline = Some(Nanos::from_millis(100));
        let at = |millis| left(deadline, Nanos::from_millis(millis));
        assert_eq!(
            (at(99), at(100), at(130)),
            (Left::Time(ms(1)), Left::Passed(ms(0)), Left::Passed(ms(30)))
        );
        assert!(at(100).is_passed() && !at(99).is_passed());
        assert_eq!(at(130).to_string(), "the deadline passed 30ms ago");
        assert!(!left(None, Nanos(u64::MAX)).is_passed());
        let worth = |begins, takes| is_worth_while(deadline, Nanos::from_millis(begins), ms(takes));
        assert!(worth(99, 0) && worth(50, 50) && !worth(50, 51) && !worth(100, 0));
        assert!(is_worth_while(None, Nanos(u64::MAX), Duration::MAX));
    }

    proptest! {
        /// The next hop never gets more than is left here, and never nothing without being dropped.
        #[test]
        fn hops_shorten_it(deadline in any::<u64>(), now in any::<u64>(), margin in 0u64..10_000_000) {
            let config = DeadlineConfig { margin: Duration::from_nanos(margin), ..DeadlineConfig::default() };
            match (config.for_next_hop(Some(Nanos(deadline)), Nanos(now)), left(Some(Nanos(deadline)), Nanos(now))) {
                (Left::Time(next), Left::Time(here)) => {
                    prop_assert!(!next.is_zero());
                    prop_assert_eq!(next + config.margin, here);
                }
                (Left::Passed(_), Left::Time(here)) => prop_assert!(here <= config.margin),
                (next, here) => prop_assert_eq!(next, here),
            }
        }
    }
}
