//! Decisions by one rate or two, as most limits have: the same as [`Scheme::take`] with less to carry about. How many words
//! there are is known when this is compiled, and what was taken fits into one [`Slot`].

use super::Quota;
use super::pace::{Pace, Slot};
use super::scheme::{
    Denied, Marks, NO_MARKS, Scheme, counts, denied_slots, set_counts, set_warmth, take_windows, warmth,
};
use super::warm::Climb;
use super::window::Window;
use crate::time::Nanos;

/// The rates of a scheme that has few.
#[derive(Clone, Copy, Debug)]
pub(super) enum Few<'a> {
    Window(&'a Window),
    Windows(&'a [Window; 2]),
    /// Of a token bucket, or of a leaky one.
    Pace(&'a Pace),
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

#[inline(always)]
pub(super) fn take_window(window: &Window, words: &mut [u64; 2], now: Nanos) -> Result<TakenFew, Denied> {
    let (rolled, elapsed) = window.rolled(counts(words, 1, 0), now);
    match window.next(rolled, elapsed) {
        Ok(next) => {
            set_counts(words, 1, 0, next);
            let mark = Slot { start: 0, end: u64::from(next.index) };
            Ok(TakenFew { mark, quota: window.quota(next, elapsed) })
        }
        Err(retry_after) => Err(Denied { retry_after, quota: window.quota(rolled, elapsed) }),
    }
}

#[inline(always)]
pub(super) fn take_two_windows(
    windows: &[Window; 2],
    words: &mut [u64; 3],
    now: Nanos,
) -> Result<TakenFew, Denied> {
    let [one, other] = windows;
    let (rolled, elapsed) = one.rolled(counts(words, 2, 0), now);
    let (other_rolled, other_elapsed) = other.rolled(counts(words, 2, 1), now);
    match (one.next(rolled, elapsed), other.next(other_rolled, other_elapsed)) {
        (Ok(next), Ok(other_next)) => {
            set_counts(words, 2, 0, next);
            set_counts(words, 2, 1, other_next);
            let mark = Slot { start: u64::from(other_next.index), end: u64::from(next.index) };
            let quota = one.quota(next, elapsed).tighter(other.quota(other_next, other_elapsed));
            Ok(TakenFew { mark, quota })
        }
        _ => refused_by_windows(windows, words, now),
    }
}

/// The longest wait, and the least that is left.
#[cold]
fn refused_by_windows(windows: &[Window; 2], words: &mut [u64; 3], now: Nanos) -> Result<TakenFew, Denied> {
    take_windows(windows, words, now).map(|taken| {
        let mark = Slot { start: taken.marks[1].end, end: taken.marks[0].end };
        TakenFew { mark, quota: taken.quota }
    })
}

/// A bucket of which nothing was given back that could be given out again.
#[inline(always)]
pub(super) fn take_pace(pace: &Pace, words: &mut [u64; 1], now: Nanos) -> Result<TakenFew, Denied> {
    match pace.next(words[0], now) {
        Ok(slot) => {
            words[0] = slot.end;
            Ok(TakenFew { mark: slot, quota: pace.quota(slot.end, now) })
        }
        Err(retry_after) => Err(Denied { retry_after, quota: pace.quota(words[0], now) }),
    }
}

/// Token buckets of which nothing was given back that could be given out again.
#[inline(always)]
pub(super) fn take_two_paces(
    paces: &[Pace; 2],
    words: &mut [u64; 2],
    now: Nanos,
) -> Result<TakenFew, Denied> {
    let [one, other] = paces;
    match (one.next(words[0], now), other.next(words[1], now)) {
        (Ok(slot), Ok(other_slot)) => {
            *words = [slot.end, other_slot.end];
            let quota = one.quota(slot.end, now).tighter(other.quota(other_slot.end, now));
            Ok(TakenFew { mark: Slot { start: slot.end, end: other_slot.end }, quota })
        }
        (slot, other_slot) => {
            let waits = [slot.err(), other_slot.err()];
            let longest = waits.into_iter().flatten().max().unwrap_or_default();
            Err(denied_slots(paces, words, longest, now))
        }
    }
}

#[inline(always)]
pub(super) fn take_warmth(
    pace: &Pace,
    climb: &Climb,
    words: &mut [u64; 2],
    now: Nanos,
) -> Result<TakenFew, Denied> {
    let state = climb.cooled(warmth(words, 1, 0), now);
    match climb.next(pace, state, now) {
        Ok((mark, next)) => {
            set_warmth(words, 1, 0, next);
            Ok(TakenFew { mark, quota: climb.quota(pace, next, now) })
        }
        Err(retry_after) => Err(Denied { retry_after, quota: climb.quota(pace, state, now) }),
    }
}
