//! What one rule's rates do with the state of one key: a few words, whose meaning depends on the algorithm.
//!
//! All rates must admit, so all are looked at before any is changed. The caller holds whatever lock guards the words.
//!
//! Words of `n` rates: `n` of 64 bits (where the last slot ended; or the number of a window and the count of the one
//! before it), then, for all but slots, `n` of 32 bits, two to a word (the count of the window; or warmth). Zeros are the
//! state of a key that was never seen.

use std::time::Duration;

use super::Quota;
use super::config::{Algorithm, RATES_MAX};
use super::hold::Moment;
use super::pace::{Pace, Returned, Slot};
use super::warm::{Climb, Warmth};
use super::window::{Counts, Window};
use crate::time::Nanos;

/// Most words that the rates of a rule need.
pub(super) const WORDS_MAX: usize = RATES_MAX + RATES_MAX.div_ceil(2);

/// Rates, ready to be decided by.
#[derive(Clone, Debug)]
pub(super) enum Scheme {
    /// Token buckets; or leaky ones, where a request waits until its slot begins.
    Slots { paces: Vec<Pace>, paced: bool },
    /// Sliding windows.
    Windows(Vec<Window>),
    /// Buckets that warm up.
    Warm { paces: Vec<Pace>, climb: Climb },
}

/// What an admission took of each rate, so that it can be given back.
pub(super) type Marks = [Slot; RATES_MAX];

pub(super) const NO_MARKS: Marks = [Slot { start: 0, end: 0 }; RATES_MAX];

/// An admission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) marks: Marks,
    /// When its turn is.
    pub(super) turn: Nanos,
    pub(super) quota: Quota,
}

/// A refusal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Denied {
    pub(super) retry_after: Duration,
    pub(super) quota: Quota,
}

impl Scheme {
    /// None for algorithms that bound what is in flight.
    pub(super) fn new(algorithm: &Algorithm) -> Option<Self> {
        let rates = || algorithm.rates().iter().take(RATES_MAX).copied();
        Some(match algorithm {
            Algorithm::TokenBucket(_) => {
                Self::Slots { paces: rates().map(Pace::bucket).collect(), paced: false }
            }
            Algorithm::LeakyBucket { queue, .. } => {
                let paces = rates().map(|rate| Pace::leaky(rate, queue.timeout, queue.max)).collect();
                Self::Slots { paces, paced: true }
            }
            Algorithm::SlidingWindow(_) => Self::Windows(rates().map(Window::new).collect()),
            Algorithm::WarmUp { warm_up, .. } => {
                let climb = Climb::new(warm_up);
                Self::Warm { paces: rates().map(|rate| climb.pace(rate)).collect(), climb }
            }
            Algorithm::Concurrency { .. } | Algorithm::Adaptive { .. } => return None,
        })
    }

    /// The paces of slots.
    pub(super) fn paces(&self) -> &[Pace] {
        match self {
            Self::Slots { paces, .. } => paces,
            Self::Windows(_) | Self::Warm { .. } => &[],
        }
    }

    pub(super) fn rates(&self) -> usize {
        match self {
            Self::Slots { paces, .. } | Self::Warm { paces, .. } => paces.len(),
            Self::Windows(windows) => windows.len(),
        }
    }

    /// Words of each key.
    pub(super) fn words(&self) -> usize {
        match self {
            Self::Slots { paces, .. } => paces.len(),
            Self::Windows(_) | Self::Warm { .. } => self.rates() + self.rates().div_ceil(2),
        }
    }

    /// Decides about one request of a key. Nothing is changed by a refusal. Of a bucket that is shared, its moment is
    /// what counts.
    #[inline]
    pub(super) fn take(
        &self,
        words: &mut [u64],
        returned: &mut Returned,
        key: u64,
        shared: Option<&Moment>,
        now: Nanos,
    ) -> Result<Taken, Denied> {
        if let (Self::Slots { paces, .. }, Some(moment)) = (self, shared) {
            return take_shared(paces, words, moment, now);
        }
        match self {
            Self::Slots { paces, paced: false } => take_slots(paces, words, returned, key, now),
            Self::Slots { paces, paced: true } => take_turn(paces, words, returned, key, now),
            Self::Windows(windows) => take_windows(windows, words, now),
            Self::Warm { paces, climb } => take_warm(paces, climb, words, now),
        }
    }

    /// Gives back what an admission took.
    pub(super) fn give_back(
        &self,
        words: &mut [u64],
        returned: &mut Returned,
        key: u64,
        marks: &Marks,
        now: Nanos,
    ) {
        let n = self.rates();
        for (at, mark) in marks.iter().enumerate().take(n) {
            match self {
                Self::Slots { .. } if words[at] == mark.end => words[at] = mark.start,
                // Several leaky buckets agree on a turn; a slot of one alone is of no use to others.
                Self::Slots { paced: true, .. } if n > 1 => {}
                Self::Slots { .. } => returned.keep((key, at as u8), mark.start, now),
                Self::Windows(windows) => {
                    let counts = windows[at].give_back(counts(words, n, at), mark.end as u32, now);
                    set_counts(words, n, at, counts);
                }
                Self::Warm { climb, .. } => {
                    if let Some(state) = climb.rolled_back(warmth(words, n, at), *mark) {
                        set_warmth(words, n, at, state);
                    }
                }
            }
        }
    }

    /// Makes the first state one that allows no more than either does.
    pub(super) fn join(&self, words: &mut [u64], other: &[u64], now: Nanos) {
        let n = self.rates();
        for at in 0..n {
            match self {
                Self::Slots { .. } => words[at] = words[at].max(other[at]),
                Self::Windows(windows) => {
                    let joined = windows[at].joined(counts(words, n, at), counts(other, n, at), now);
                    set_counts(words, n, at, joined);
                }
                Self::Warm { climb, .. } => {
                    let (a, b) = (warmth(words, n, at), warmth(other, n, at));
                    let warmth = climb.cooled(a, now).warmth.min(climb.cooled(b, now).warmth);
                    // Both are as of now, so the idle time until now must not cool again.
                    let tat = a.tat.max(b.tat).max(now.0);
                    set_warmth(words, n, at, Warmth { tat, warmth });
                }
            }
        }
    }

    /// What is left of each rate, in their order.
    pub(super) fn quotas(&self, words: &[u64], shared: Option<&Moment>, now: Nanos) -> Vec<Quota> {
        let n = self.rates();
        let quotas = (0..n).map(|at| match self {
            Self::Slots { paces, .. } => {
                let (pace, now) = shared.map_or((paces[at], now), |moment| moment.pace(at, &paces[at]));
                pace.quota(words[at], now)
            }
            Self::Windows(windows) => {
                let (counts, elapsed) = windows[at].rolled(counts(words, n, at), now);
                windows[at].quota(counts, elapsed)
            }
            Self::Warm { paces, climb } => {
                let state = climb.cooled(warmth(words, n, at), now);
                climb.quota(&paces[at], state, now)
            }
        });
        quotas.collect()
    }

    /// The share of the full rate that is given now, if it is not always the whole.
    pub(super) fn speed(&self, words: &[u64], now: Nanos) -> Option<f64> {
        let Self::Warm { climb, paces } = self else { return None };
        let speeds = (0..paces.len())
            .map(|at| climb.speed(climb.cooled(warmth(words, paces.len(), at), now).warmth))
            .fold(1.0, f64::min);
        Some(speeds)
    }
}

/// Token buckets: each rate has a slot of its own.
#[inline]
fn take_slots(
    paces: &[Pace],
    words: &mut [u64],
    returned: &mut Returned,
    key: u64,
    now: Nanos,
) -> Result<Taken, Denied> {
    let mut marks = NO_MARKS;
    let mut refused: Option<Duration> = None;
    for (at, pace) in paces.iter().enumerate() {
        if returned.len() > 0
            && let Some(start) = returned.find((key, at as u8), now)
        {
            marks[at] = Slot { start, end: start.saturating_add(pace.interval) };
            continue;
        }
        match pace.next(words[at], now) {
            Ok(slot) => marks[at] = slot,
            Err(wait) => refused = Some(refused.map_or(wait, |longest| longest.max(wait))),
        }
    }
    if let Some(retry_after) = refused {
        return Err(denied_slots(paces, words, retry_after, now));
    }
    let mut quota = Quota::MOST;
    for (at, pace) in paces.iter().enumerate() {
        if marks[at].end > words[at] {
            words[at] = marks[at].end;
        } else {
            returned.take(marks[at].start, (key, at as u8));
        }
        quota = quota.tighter(pace.quota(words[at], now));
    }
    Ok(Taken { marks, turn: now, quota })
}

/// Token buckets that are shared with other processes.
#[inline(never)]
fn take_shared(paces: &[Pace], words: &mut [u64], moment: &Moment, now: Nanos) -> Result<Taken, Denied> {
    let mut marks = NO_MARKS;
    let mut refused: Option<Duration> = None;
    let mut quota = Quota::MOST;
    for (at, pace) in paces.iter().enumerate() {
        let (pace, floor) = moment.pace(at, pace);
        match pace.next(words[at], floor) {
            Ok(slot) => {
                marks[at] = slot;
                quota = quota.tighter(pace.quota(slot.end, floor));
            }
            Err(wait) => {
                refused = Some(refused.map_or(wait, |longest| longest.max(wait)));
                quota = quota.tighter(pace.quota(words[at], floor));
            }
        }
    }
    if let Some(retry_after) = refused {
        return Err(Denied { retry_after, quota });
    }
    for (word, mark) in words.iter_mut().zip(&marks).take(paces.len()) {
        *word = mark.end;
    }
    Ok(Taken { marks, turn: now, quota })
}

/// Leaky buckets: all rates' slots begin at one moment.
#[inline]
fn take_turn(
    paces: &[Pace],
    words: &mut [u64],
    returned: &mut Returned,
    key: u64,
    now: Nanos,
) -> Result<Taken, Denied> {
    let mut marks = NO_MARKS;
    if let [pace] = paces
        && returned.len() > 0
        && let Some(start) = returned.find((key, 0), now)
    {
        returned.take(start, (key, 0));
        marks[0] = Slot { start, end: start.saturating_add(pace.interval) };
        return Ok(Taken { marks, turn: Nanos(start), quota: pace.quota(words[0], now) });
    }
    let turn = words[..paces.len()].iter().fold(now.0, |turn, tat| turn.max(*tat));
    let mut refused: Option<Duration> = None;
    for pace in paces {
        if let Err(wait) = pace.next(turn, now) {
            refused = Some(refused.map_or(wait, |longest| longest.max(wait)));
        }
    }
    if let Some(retry_after) = refused {
        return Err(denied_slots(paces, words, retry_after, now));
    }
    let mut quota = Quota::MOST;
    for (at, pace) in paces.iter().enumerate() {
        // What lies between the last slot and the turn stays unused.
        marks[at] = Slot { start: turn, end: turn.saturating_add(pace.interval) };
        words[at] = marks[at].end;
        quota = quota.tighter(pace.quota(words[at], now));
    }
    Ok(Taken { marks, turn: Nanos(turn), quota })
}

#[cold]
pub(super) fn denied_slots(paces: &[Pace], words: &[u64], retry_after: Duration, now: Nanos) -> Denied {
    let quota = paces
        .iter()
        .zip(words)
        .fold(Quota::MOST, |quota, (pace, word)| quota.tighter(pace.quota(*word, now)));
    Denied { retry_after, quota }
}

#[inline]
pub(super) fn take_windows(windows: &[Window], words: &mut [u64], now: Nanos) -> Result<Taken, Denied> {
    let n = windows.len();
    let mut next = [Counts::default(); RATES_MAX];
    let mut refused: Option<Duration> = None;
    let mut quota = Quota::MOST;
    for (at, window) in windows.iter().enumerate() {
        let (rolled, elapsed) = window.rolled(counts(words, n, at), now);
        match window.next(rolled, elapsed) {
            Ok((counts, remaining)) => {
                next[at] = counts;
                quota = quota.tighter(window.quota_of(remaining, elapsed));
            }
            Err(wait) => {
                refused = Some(refused.map_or(wait, |longest| longest.max(wait)));
                quota = quota.tighter(window.quota(rolled, elapsed));
            }
        }
    }
    if let Some(retry_after) = refused {
        return Err(Denied { retry_after, quota });
    }
    let mut marks = NO_MARKS;
    for (at, counts) in next.iter().enumerate().take(n) {
        set_counts(words, n, at, *counts);
        marks[at].end = u64::from(counts.index);
    }
    Ok(Taken { marks, turn: now, quota })
}

#[inline]
fn take_warm(paces: &[Pace], climb: &Climb, words: &mut [u64], now: Nanos) -> Result<Taken, Denied> {
    let n = paces.len();
    let mut marks = NO_MARKS;
    let mut next = [Warmth::default(); RATES_MAX];
    let mut refused: Option<Duration> = None;
    let mut quota = Quota::MOST;
    for (at, pace) in paces.iter().enumerate() {
        let state = climb.cooled(warmth(words, n, at), now);
        match climb.next(pace, state, now) {
            Ok((slot, state)) => (marks[at], next[at]) = (slot, state),
            Err(wait) => {
                refused = Some(refused.map_or(wait, |longest| longest.max(wait)));
                next[at] = state;
            }
        }
        quota = quota.tighter(climb.quota(pace, next[at], now));
    }
    if let Some(retry_after) = refused {
        return Err(Denied { retry_after, quota });
    }
    for (at, state) in next.iter().enumerate().take(n) {
        set_warmth(words, n, at, *state);
    }
    Ok(Taken { marks, turn: now, quota })
}

#[inline]
fn half(words: &[u64], n: usize, at: usize) -> u32 {
    (words[n + at / 2] >> (32 * (at % 2))) as u32
}

#[inline]
fn set_half(words: &mut [u64], n: usize, at: usize, value: u32) {
    let shift = 32 * (at % 2);
    let word = &mut words[n + at / 2];
    *word = *word & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift;
}

#[inline]
pub(super) fn counts(words: &[u64], n: usize, at: usize) -> Counts {
    Counts { index: (words[at] >> 32) as u32, before: words[at] as u32, current: half(words, n, at) }
}

#[inline]
pub(super) fn set_counts(words: &mut [u64], n: usize, at: usize, counts: Counts) {
    words[at] = u64::from(counts.index) << 32 | u64::from(counts.before);
    set_half(words, n, at, counts.current);
}

#[inline]
pub(super) fn warmth(words: &[u64], n: usize, at: usize) -> Warmth {
    Warmth { tat: words[at], warmth: half(words, n, at) }
}

#[inline]
pub(super) fn set_warmth(words: &mut [u64], n: usize, at: usize, state: Warmth) {
    words[at] = state.tat;
    set_half(words, n, at, state.warmth);
}
