//! Decisions by one rate or two, as most limits have: the same as [`Scheme::take`] with less to carry about. How many words
//! there are is known when this is compiled, and what was taken fits into one [`Slot`].

use std::slice;

use super::Quota;
use super::pace::{Pace, Slot};
use super::scheme::{
    Denied, Marks, NO_MARKS, Scheme, counts, denied_slots, set_counts, set_warmth, take_windows, warmth,
};
use super::warm::{Climb, Warmth};
use super::window::{Counts, Window};
use crate::time::Nanos;

/// The rates of a scheme that has few.
#[derive(Clone, Copy, Debug)]
pub(super) enum Few<'a> {
    Window(&'a Window),
    Windows(&'a [Window; 2]),
    /// Of a token bucket.
    Pace(&'a Pace),
    /// Of a leaky one.
    Turn(&'a Pace),
    /// Of token buckets.
    Paces(&'a [Pace; 2]),
    Warm(&'a Pace, &'a Climb),
}

/// An admission by few rates.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakenFew {
    /// What was taken: see [`Scheme::marks`].
    pub(super) mark: Slot,
    pub(super) quota: Quota,
}

impl Scheme {
    /// None if it has more, or if requests wait for a turn of several. A single pace for everybody needs no words: see
    /// [`super::pace::Bucket`].
    #[inline]
    pub(super) fn few(&self) -> Option<Few<'_>> {
        match self {
            Self::Windows(windows) => match &windows[..] {
                [window] => Some(Few::Window(window)),
                several => several.try_into().ok().map(Few::Windows),
            },
            Self::Slots { paces, paced } => match &paces[..] {
                [pace] if *paced => Some(Few::Turn(pace)),
                [pace] => Some(Few::Pace(pace)),
                several if !paced => several.try_into().ok().map(Few::Paces),
                _ => None,
            },
            Self::Warm { paces, climb } => match &paces[..] {
                [pace] => Some(Few::Warm(pace, climb)),
                _ => None,
            },
        }
    }

    /// What an admission by few rates took of each. Of two windows the slot has the number of the second one where others begin;
    /// of two paces, where each one's slot ends.
    pub(super) fn marks(&self, mark: Slot) -> Marks {
        let mut marks = NO_MARKS;
        match self.few() {
            Some(Few::Windows(_)) => (marks[0].end, marks[1].end) = (mark.end, mark.start),
            Some(Few::Paces(paces)) => {
                for ((mark, pace), end) in marks.iter_mut().zip(paces).zip([mark.start, mark.end]) {
                    *mark = Slot { start: end.saturating_sub(pace.interval), end };
                }
            }
            _ => marks[0] = mark,
        }
        marks
    }
}

/// An admission by a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    /// The window's number.
    index: u32,
    /// How much of it is over.
    elapsed: u64,
    /// How many may follow now.
    remaining: u32,
}

impl Counted {
    #[inline(always)]
    fn new((counts, remaining): (Counts, u32), elapsed: u64) -> Self {
        Self { index: counts.index, elapsed, remaining }
    }
}

#[inline(always)]
pub(super) fn take_window(window: &Window, words: &mut [u64; 2], now: Nanos) -> Result<Counted, Denied> {
    let (rolled, elapsed) = window.rolled(counts(words, 1, 0), now);
    match window.next(rolled, elapsed) {
        Ok(next) => {
            set_counts(words, 1, 0, next.0);
            Ok(Counted::new(next, elapsed))
        }
        Err(_) => Err(refused_by_windows(slice::from_ref(window), words, now)),
    }
}

#[inline(always)]
pub(super) fn of_window(window: &Window, counted: Counted) -> TakenFew {
    let mark = Slot { start: 0, end: u64::from(counted.index) };
    TakenFew { mark, quota: window.quota_of(counted.remaining, counted.elapsed) }
}

#[inline(always)]
pub(super) fn take_two_windows(
    windows: &[Window; 2],
    words: &mut [u64; 3],
    now: Nanos,
) -> Result<(Counted, Counted), Denied> {
    let [one, other] = windows;
    let (rolled, elapsed) = one.rolled(counts(words, 2, 0), now);
    let (other_rolled, other_elapsed) = other.rolled(counts(words, 2, 1), now);
    match (one.next(rolled, elapsed), other.next(other_rolled, other_elapsed)) {
        (Ok(next), Ok(other_next)) => {
            set_counts(words, 2, 0, next.0);
            set_counts(words, 2, 1, other_next.0);
            Ok((Counted::new(next, elapsed), Counted::new(other_next, other_elapsed)))
        }
        _ => Err(refused_by_windows(windows, words, now)),
    }
}

#[inline(always)]
pub(super) fn of_two_windows([one, other]: &[Window; 2], counted: (Counted, Counted)) -> TakenFew {
    let mark = Slot { start: u64::from(counted.1.index), end: u64::from(counted.0.index) };
    // Only the tighter one is told of.
    let (window, counted) =
        if counted.1.remaining < counted.0.remaining { (other, counted.1) } else { (one, counted.0) };
    TakenFew { mark, quota: window.quota_of(counted.remaining, counted.elapsed) }
}

/// The longest wait, and the least that is left.
#[cold]
fn refused_by_windows(windows: &[Window], words: &mut [u64], now: Nanos) -> Denied {
    match take_windows(windows, words, now) {
        Err(denied) => denied,
        Ok(taken) => unreachable!("one of them has refused it: {taken:?}"),
    }
}

/// A bucket of which nothing was given back that could be given out again.
#[inline(always)]
pub(super) fn take_pace(pace: &Pace, words: &mut [u64; 1], now: Nanos) -> Result<Slot, Denied> {
    match pace.next(words[0], now) {
        Ok(slot) => {
            words[0] = slot.end;
            Ok(slot)
        }
        Err(wait) => Err(denied_slots(slice::from_ref(pace), words, wait, now)),
    }
}

#[inline(always)]
pub(super) fn of_pace(pace: &Pace, slot: Slot, now: Nanos) -> TakenFew {
    TakenFew { mark: slot, quota: pace.quota(slot.end, now) }
}

/// Token buckets of which nothing was given back that could be given out again. Where their last slots end now.
#[inline(always)]
pub(super) fn take_two_paces(
    paces: &[Pace; 2],
    words: &mut [u64; 2],
    now: Nanos,
) -> Result<(u64, u64), Denied> {
    let [one, other] = paces;
    match (one.next(words[0], now), other.next(words[1], now)) {
        (Ok(slot), Ok(other_slot)) => {
            *words = [slot.end, other_slot.end];
            Ok((slot.end, other_slot.end))
        }
        (slot, other_slot) => {
            let waits = [slot.err(), other_slot.err()];
            let longest = waits.into_iter().flatten().max().unwrap_or_default();
            Err(denied_slots(paces, words, longest, now))
        }
    }
}

#[inline(always)]
pub(super) fn of_two_paces([one, other]: &[Pace; 2], (end, other_end): (u64, u64), now: Nanos) -> TakenFew {
    let mark = Slot { start: end, end: other_end };
    let (left, other_left) = (one.remaining(end, now), other.remaining(other_end, now));
    // Only the tighter one is told of.
    let (pace, left, end) = if other_left < left { (other, other_left, other_end) } else { (one, left, end) };
    TakenFew { mark, quota: pace.quota_of(left, end, now) }
}

#[inline(always)]
pub(super) fn take_warmth(
    pace: &Pace,
    climb: &Climb,
    words: &mut [u64; 2],
    now: Nanos,
) -> Result<(Slot, Warmth), Denied> {
    let state = climb.cooled(warmth(words, 1, 0), now);
    match climb.next(pace, state, now) {
        Ok((slot, next)) => {
            set_warmth(words, 1, 0, next);
            Ok((slot, next))
        }
        Err(retry_after) => Err(Denied { retry_after, quota: climb.quota(pace, state, now) }),
    }
}

#[inline(always)]
pub(super) fn of_warmth(pace: &Pace, climb: &Climb, (mark, next): (Slot, Warmth), now: Nanos) -> TakenFew {
    TakenFew { mark, quota: climb.quota(pace, next, now) }
}
