//! What this process may have of a bucket that it shares with others: a lease, and what holds when that is over.
//!
//! A share is kept by a *line* of the bucket's own, which moves on as much more slowly as the share is smaller: at a
//! quarter of the limit, a second of it takes four. Slots may reach up to the line, and begin where the last one ended,
//! but no further behind the line than the share of the burst is long: this is the *floor*. A slot of one request is
//! always left room for. So a change of the share changes nothing but where the line goes from then on, however many
//! keys there are; and the floor never moves back, so that a share that grows brings no more burst than has been saved
//! since.
//!
//! All processes' lines together are never faster than time, as their shares are never more than the whole: so in any
//! time t all together admit at most rate x t + burst, and one more for each process beyond the first.
//!
//! A lease ends by itself: the line knows when. What holds without one holds from then on if it is less, or if it is no limit
//! at all; if it is more, once the others' leases are over too.

use std::time::Duration;

use super::carry::Sources;
use super::config::RATES_MAX;
use super::pace::Pace;
use super::verdict::{Quota, Refusal, Why};
use super::versioned::Versioned;
use crate::quota::{Alone, LEASE_TTL, PARTS};
use crate::time::Nanos;

/// When to come again where everything is refused until a lease is there.
const RETRY_AFTER_CLOSED: Duration = Duration::from_secs(1);

/// The longest time that a client is told: by then there is another lease.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// Where lines begin: far enough from 0 for any burst, and far enough from the end for any time.
const BEGIN: u64 = 1 << 62;

/// Binary digits of a share behind the point.
const BITS: u32 = 31;

/// A share of a limit: of all of it, 2^31 parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Share(u32);

impl Share {
    const WHOLE: Self = Self(1 << BITS);

    /// Of so many of [`PARTS`], rounded down.
    fn of_parts(parts: u32) -> Self {
        Self(((u64::from(parts.min(PARTS)) << BITS) / u64::from(PARTS)) as u32)
    }

    /// As much of a length of time.
    #[inline]
    pub(super) fn of(self, length: u64) -> u64 {
        ((u128::from(length) * u128::from(self.0)) >> BITS) as u64
    }

    /// How long it takes until as much of it is a length, rounded up; not longer than clients are told.
    fn stretched(self, length: Duration) -> Duration {
        if self.0 == 0 {
            return AGAIN_MAX;
        }
        let nanos = (length.min(AGAIN_MAX).as_nanos() << BITS).div_ceil(self.0.into());
        u64::try_from(nanos).map_or(AGAIN_MAX, Duration::from_nanos).min(AGAIN_MAX)
    }

    fn ratio(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE.0)
    }
}

/// What a process goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Its lease, in parts of the whole ([`PARTS`]).
    pub parts: u32,
    /// When that ends.
    pub until: Nanos,
    /// When the leases of others that were given out before it ended are over too.
    pub settled: Nanos,
    /// What it does without one. [`Alone::Open`] does not wait for `settled`.
    pub alone: Alone,
    /// How many share the limit, as far as it knows.
    pub holders: u32,
}

impl Holding {
    /// Without a lease.
    pub const fn none(alone: Alone, holders: u32) -> Self {
        Self { parts: 0, until: Nanos(0), settled: Nanos(0), alone, holders }
    }

    /// With a lease that ends then.
    #[must_use]
    pub fn with_lease(self, parts: u32, until: Nanos) -> Self {
        Self { parts, until, settled: until + LEASE_TTL, ..self }
    }

    /// What it has in parts when it has no lease. All of the limit also where that limits nothing.
    fn parts_alone(&self) -> u32 {
        match self.alone {
            Alone::Share => PARTS / self.holders.max(1),
            Alone::Open => PARTS,
            Alone::Closed => 0,
        }
    }
}

const WORDS: usize = 6 + RATES_MAX;

/// The line, and by what it moves.
#[derive(Debug)]
pub(super) struct Hold {
    words: Versioned<WORDS>,
}

impl Default for Hold {
    fn default() -> Self {
        Self::of(Words { line: BEGIN, ..Words::default() })
    }
}

/// The words of a [`Hold`].
#[derive(Clone, Copy, Default)]
struct Words {
    /// Since when it moves like this, and where it was then.
    since: Nanos,
    line: u64,
    /// When the lease ends, and when the leases of others are over too.
    until: Nanos,
    settled: Nanos,
    leased: Share,
    alone: Share,
    /// Alone, nothing is limited.
    open: bool,
    holders: u32,
    /// Where the floor was then, for each rate.
    floors: [u64; RATES_MAX],
}

/// A bucket at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    line: u64,
    share: Share,
    /// Nothing is limited.
    pub(super) open: bool,
    /// There is a lease.
    leased: bool,
    floors: [u64; RATES_MAX],
    /// Where the line was when a share ended, and which; the line at its beginning where none has.
    ended: [(u64, Share); 2],
}

impl Words {
    fn from_array(words: [u64; WORDS]) -> Self {
        let [since, line, until, settled, shares, last, floors @ ..] = words;
        Self {
            since: Nanos(since),
            line,
            until: Nanos(until),
            settled: Nanos(settled),
            leased: Share((shares >> 32) as u32),
            alone: Share(shares as u32),
            open: last >> 32 != 0,
            holders: last as u32,
            floors,
        }
    }

    fn to_array(self) -> [u64; WORDS] {
        let shares = u64::from(self.leased.0) << 32 | u64::from(self.alone.0);
        let last = u64::from(self.open) << 32 | u64::from(self.holders);
        let mut words = [0; WORDS];
        words[..6].copy_from_slice(&[self.since.0, self.line, self.until.0, self.settled.0, shares, last]);
        words[6..].copy_from_slice(&self.floors);
        words
    }

    #[inline]
    fn at(&self, now: Nanos) -> Moment {
        let mut moment = Moment {
            line: self.line,
            share: self.alone,
            open: self.open,
            leased: now < self.until,
            floors: self.floors,
            ended: [NEVER; 2],
        };
        let (between, mut from) = (self.leased.min(self.alone), self.since);
        for (ended, (share, until)) in
            [(self.leased, self.until), (between, self.settled)].into_iter().enumerate()
        {
            // What has not been in force since then did not end either.
            if until <= from {
                continue;
            }
            let to = until.min(now).max(from);
            moment.line = moment.line.saturating_add(share.of(to.0 - from.0));
            from = to;
            if now < until {
                return Moment { share, open: false, ..moment };
            }
            moment.ended[ended] = (moment.line, share);
        }
        moment.line = moment.line.saturating_add(self.alone.of(now.0.saturating_sub(from.0)));
        moment
    }
}

/// A share that did not end.
const NEVER: (u64, Share) = (0, Share::WHOLE);

impl Hold {
    /// Goes on by something else from now on. The paces are those of the bucket.
    pub(super) fn set(&self, holding: Holding, paces: &[Pace], now: Nanos) {
        self.words.change(|words| {
            let before = Words::from_array(*words);
            let now = now.max(before.since);
            let moment = before.at(now);
            let mut floors = before.floors;
            for (at, (floor, pace)) in floors.iter_mut().zip(paces).enumerate() {
                *floor = moment.pace(at, pace).1.0;
            }
            let changed = Words {
                since: now,
                line: moment.line,
                until: holding.until,
                // What limits nothing waits for nobody.
                settled: if holding.alone == Alone::Open { holding.until } else { holding.settled },
                leased: Share::of_parts(holding.parts),
                alone: Share::of_parts(holding.parts_alone()),
                open: holding.alone == Alone::Open,
                holders: holding.holders,
                floors,
            };
            *words = changed.to_array();
        });
    }

    /// The same for rates that go on from these.
    pub(super) fn reordered(&self, from: &Sources) -> Self {
        let words = Words::from_array(self.words.words());
        let floors = from.map(|from| from.map_or(0, |from| words.floors[from]));
        Self::of(Words { floors, ..words })
    }

    fn of(words: Words) -> Self {
        let hold = Self { words: Versioned::default() };
        hold.words.change(|array| *array = words.to_array());
        hold
    }

    #[inline]
    pub(super) fn at(&self, now: Nanos) -> Moment {
        Words::from_array(self.words.words()).at(now)
    }

    /// As it stands, for people.
    pub(super) fn state(&self, now: Nanos) -> HoldState {
        let words = Words::from_array(self.words.words());
        let moment = words.at(now);
        HoldState {
            share: moment.share.ratio(),
            open: moment.open,
            left: (now < words.until).then(|| words.until.since(now)),
            holders: words.holders,
        }
    }
}

impl Moment {
    /// One of the bucket's paces, as deep as it is now, and the moment from which that is counted: its floor.
    #[inline]
    pub(super) fn pace(&self, at: usize, pace: &Pace) -> (Pace, Nanos) {
        let behind = |(line, share): (u64, Share)| {
            line.saturating_sub(pace.interval.saturating_add(share.of(pace.depth - pace.interval)))
        };
        let [leased, between] = self.ended;
        let floor =
            self.floors[at].max(behind(leased)).max(behind(between)).max(behind((self.line, self.share)));
        (Pace { depth: self.line.saturating_sub(floor), ..*pace }, Nanos(floor))
    }

    /// How much is left, of one of the bucket's paces, when the last slot ends at `tat`.
    pub(super) fn left(&self, tat: u64, at: usize, pace: &Pace) -> u64 {
        let (pace, floor) = self.pace(at, pace);
        pace.depth.saturating_sub(tat.saturating_sub(floor.0))
    }

    /// Where the last slot ends when so much is left.
    pub(super) const fn with_left(&self, left: u64) -> u64 {
        self.line.saturating_sub(left)
    }

    /// Whether nothing may be had.
    pub(super) fn is_closed(&self) -> bool {
        self.share == Share::default()
    }

    /// What is said to clients, in their time.
    pub(super) fn quota(&self, quota: Quota) -> Quota {
        Quota { reset: self.share.stretched(quota.reset), ..quota }
    }

    /// What is said to clients, in their time.
    pub(super) fn refusal(&self, refusal: Refusal) -> Refusal {
        Refusal {
            retry_after: self.share.stretched(refusal.retry_after),
            quota: refusal.quota.map(|quota| self.quota(quota)),
            ..refusal
        }
    }

    /// The refusal of everything.
    pub(super) const fn closed(&self) -> Refusal {
        let why = if self.leased { Why::Rate } else { Why::NoLease };
        Refusal { why, retry_after: RETRY_AFTER_CLOSED, quota: None }
    }
}

/// What a process has of a limit that it shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HoldState {
    /// The share by which it decides now, from 0 to 1.
    pub share: f64,
    /// It limits nothing now.
    pub open: bool,
    /// How long its lease lasts; none if it has none.
    pub left: Option<Duration>,
    /// How many share the limit, as far as it knows.
    pub holders: u32,
}

impl std::fmt::Display for HoldState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.left {
            Some(left) => write!(f, "leased {:.1} % of it for {} ms", self.share * 100.0, left.as_millis())?,
            None if self.open => f.write_str("no lease: open")?,
            None => write!(f, "no lease: {:.1} % of it", self.share * 100.0)?,
        }
        write!(f, ", shared by {}", self.holders)
    }
}
