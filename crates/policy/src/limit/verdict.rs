//! What a limit says about a request, and the numbers that responses carry.

use std::fmt;
use std::time::Duration;

use weir_model::units::Rounded;

use super::pace::Slot;
use super::scheme::Marks;
use crate::time::Nanos;

/// What a limit needs to know of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The values that it is told apart by; not looked at by a limit for all.
    pub key: &'a [u8],
    /// How important it is: 0 the most. Not looked at unless the limit has levels.
    pub level: u8,
}

/// What is decided.
#[derive(Debug)]
#[must_use = "an admission must be released or refunded"]
pub enum Verdict {
    /// Go on. What is in flight has no quota.
    Admit(Grant, Option<Quota>),
    /// Go on at a moment, which may be now. Who leaves before gives the turn back with `refund`.
    Turn(Grant, Nanos, Quota),
    /// Wait until a [`Wake`] with this ticket says how it went on. Who leaves before, or has waited until the deadline,
    /// calls `cancel`.
    Wait(Ticket, Nanos),
    /// Answer with a refusal.
    Refuse(Refusal),
}

/// An admission. Whoever has it gives it back once: with `release` when the request is over, or with `refund` when it did not
/// go on. (Rates do not care to be told that a request is over; what is in flight does.)
#[derive(Debug, PartialEq)]
#[must_use = "an admission must be released or refunded"]
pub struct Grant {
    pub(super) held: Held,
}

/// What an admission holds.
#[derive(Debug, PartialEq)]
pub(super) enum Held {
    /// What the only rate gave to everybody, and from which of the limit's forms.
    Slot { slot: Slot, version: u32 },
    /// What the few rates of a key gave.
    KeySlot { key: u64, slot: Slot, version: u32 },
    /// What many rates gave, or those of a key.
    Marks { key: u64, marks: Marks, version: u32 },
    /// A place among those in flight.
    Place { key: u64, place: Place },
    /// Nothing: nothing was limited.
    Nothing,
}

impl Held {
    /// From which of a limit's forms rates gave it, and by which key's hash.
    pub(super) const fn form(&self) -> Option<(u32, u64)> {
        match self {
            Self::Slot { version, .. } => Some((*version, 0)),
            Self::KeySlot { key, version, .. } | Self::Marks { key, version, .. } => Some((*version, *key)),
            Self::Place { .. } | Self::Nothing => None,
        }
    }
}

/// A place among those in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Since when.
    pub(super) at: Nanos,
    /// The controller's phase then.
    pub(super) phase: u32,
}

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    pub(super) key: u64,
    pub(super) number: u64,
}

/// How it went on with one that waited.
#[derive(Debug)]
pub struct Wake {
    /// Which.
    pub ticket: Ticket,
    /// Whether it goes on.
    pub result: Result<Grant, Refusal>,
}

/// How a request that was let through went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Done,
    /// It failed in a way that says nothing about how busy the upstream is: its time does not count.
    Failed,
    /// It took too long, and was given up.
    TimedOut,
    /// The upstream said that it has too much to do (503, `RESOURCE_EXHAUSTED`).
    Overloaded,
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refusal {
    /// Why.
    pub why: Why,
    /// When it may be worth trying again.
    pub retry_after: Duration,
    /// What is left; of a rate only.
    pub quota: Option<Quota>,
}

impl Refusal {
    /// `Retry-After` has whole seconds (RFC 9110, section 10.2.3): rounded up, at least one.
    pub const fn retry_after_secs(&self) -> u64 {
        let secs = self.retry_after.as_secs() + (self.retry_after.subsec_nanos() > 0) as u64;
        if secs == 0 { 1 } else { secs }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The rate is used up.
    Rate,
    /// Its turn would be too late, or too many wait for theirs.
    Turn,
    /// As many are in flight as may be, and no more may wait.
    Full,
    /// It waited as long as it may.
    TimedOut,
    /// It gave its place in the queue to one that is more important.
    Displaced,
    /// There is too much to do for requests of its importance.
    Level,
    /// Every key that is remembered has requests in flight.
    Keys,
    /// The limit is shared, nothing of it is leased to this process, and so it refuses everything.
    NoLease,
    /// The time that the request itself has was over before its turn. Only whoever knows that time says so.
    OutOfTime,
}

impl Why {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Rate,
        Self::Turn,
        Self::Full,
        Self::TimedOut,
        Self::Displaced,
        Self::Level,
        Self::Keys,
        Self::NoLease,
        Self::OutOfTime,
    ];

    /// A word for it, for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Turn => "turn",
            Self::Full => "full",
            Self::TimedOut => "queue_timeout",
            Self::Displaced => "displaced",
            Self::Level => "level",
            Self::Keys => "keys",
            Self::NoLease => "no_lease",
            Self::OutOfTime => "request_timeout",
        }
    }

    /// Whether it is refused because of load and not because of a rate: it is shed and not limited.
    pub const fn is_shed(self) -> bool {
        !matches!(self, Self::Rate | Self::Turn | Self::NoLease)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rate => "the rate is used up",
            Self::Turn => "its turn would be too late",
            Self::Full => "as many requests are in flight as may be",
            Self::TimedOut => "it waited as long as it may",
            Self::Displaced => "a more important request took its place in the queue",
            Self::Level => "there is too much to do for requests of its importance",
            Self::Keys => "every key that is remembered has requests in flight",
            Self::NoLease => {
                "the control plane has leased nothing of the limit, and without a lease all is refused"
            }
            Self::OutOfTime => "the request's time was over before its turn",
        })
    }
}

/// What is left of a rate: the numbers of the `RateLimit` and `RateLimit-Policy` fields (draft-ietf-httpapi-ratelimit-headers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a window (`q`).
    pub limit: u32,
    /// The window (`w`).
    pub window: Duration,
    /// Requests that would be admitted now (`r`).
    pub remaining: u32,
    /// Until all of it is there again (`t`).
    pub reset: Duration,
    /// How many may come at once, where that is not `limit`: `remaining` is of these.
    pub burst: Option<u32>,
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, window, remaining, .. } = self;
        match self.burst {
            Some(burst) => write!(f, "{remaining} left of a burst of {burst} ({limit} in {window:?})")?,
            None => write!(f, "{remaining} left of {limit} in {window:?}")?,
        }
        if self.reset > Duration::ZERO {
            write!(f, ", all in {}", Rounded(self.reset))?;
        }
        Ok(())
    }
}

impl Quota {
    pub(super) const MOST: Self = Self {
        limit: u32::MAX,
        window: Duration::ZERO,
        remaining: u32::MAX,
        reset: Duration::ZERO,
        burst: None,
    };

    /// The one with less left.
    #[must_use]
    pub(super) fn tighter(self, other: Self) -> Self {
        if other.remaining < self.remaining || self.limit == u32::MAX { other } else { self }
    }

    /// Seconds, rounded up.
    pub const fn reset_secs(&self) -> u64 {
        self.reset.as_secs() + (self.reset.subsec_nanos() > 0) as u64
    }
}
