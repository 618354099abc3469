//! How a limit goes on by other rates: which of them goes on from which, and what becomes of the words of a key.
//!
//! | of the old rates it goes on from | |
//! |---|---|
//! | the same one | first of all, wherever it stands |
//! | one with as many requests in as much time | |
//! | one over as much time | |
//! | the first that is left | |
//! | none | as if nothing were spent |
//!
//! So a rate that stays holds on, whatever comes beside it; and what no new rate goes on from is dropped.

use super::config::{RATES_MAX, RateConfig};
use super::hold::Moment;
use super::pace::Pace;
use super::scheme::{Scheme, WORDS_MAX, counts, set_counts, set_warmth, warmth};
use super::warm::{Climb, Warmth};
use super::window::{Counts, Window};
use crate::time::Nanos;

/// From which of the old rates each new one goes on.
pub(super) type Sources = [Option<usize>; RATES_MAX];

/// Finds out from which of the old rates each new one goes on.
pub(super) fn sources(old: &[RateConfig], new: &[RateConfig]) -> Sources {
    let alike: [fn(&RateConfig, &RateConfig) -> bool; 4] = [
        |a, b| a == b,
        |a, b| (a.per, a.requests) == (b.per, b.requests),
        |a, b| a.per == b.per,
        |_, _| true,
    ];
    let mut from = Sources::default();
    for is_like in alike {
        for (at, rate) in new.iter().enumerate().take(RATES_MAX) {
            if from[at].is_none() {
                from[at] = (0..old.len().min(RATES_MAX))
                    .find(|other| !from.contains(&Some(*other)) && is_like(&old[*other], rate));
            }
        }
    }
    from
}

/// From the words of one scheme to those of another of the same algorithm.
#[derive(Debug)]
pub(super) struct Carry<'a> {
    pub(super) old: &'a Scheme,
    pub(super) new: &'a Scheme,
    pub(super) from: Sources,
    /// What was held, and is, of a bucket that is shared with other processes.
    pub(super) held: Option<Moment>,
    pub(super) holds: Option<Moment>,
    pub(super) now: Nanos,
}

impl Carry<'_> {
    /// Fills in words that are zero.
    pub(super) fn words(&self, old: &[u64], new: &mut [u64]) {
        match (self.old, self.new) {
            (Scheme::Slots { paces: old_paces, paced }, Scheme::Slots { paces, .. }) => {
                for (at, from) in self.pairs(paces.len()) {
                    new[at] = self.slot(old[from], *paced, (from, &old_paces[from]), &paces[at]);
                }
            }
            (Scheme::Windows(old_windows), Scheme::Windows(windows)) => {
                for (at, from) in self.pairs(windows.len()) {
                    let counts = counts(old, old_windows.len(), from);
                    let carried = self.counts(counts, &old_windows[from], &windows[at]);
                    set_counts(new, windows.len(), at, carried);
                }
            }
            (Scheme::Warm { paces: old_paces, climb }, Scheme::Warm { paces, .. }) => {
                for (at, pace) in paces.iter().enumerate() {
                    let state = self.warmth(old, old_paces, climb, (at, pace));
                    set_warmth(new, paces.len(), at, state);
                }
            }
            // Limits of different algorithms have nothing in common.
            _ => {}
        }
    }

    /// The words of the new scheme.
    pub(super) fn all_words(&self, old: &[u64]) -> [u64; WORDS_MAX] {
        let mut words = [0; WORDS_MAX];
        self.words(old, &mut words);
        words
    }

    /// New rates, and from which old ones they go on.
    fn pairs(&self, rates: usize) -> impl Iterator<Item = (usize, usize)> {
        self.from.into_iter().enumerate().take(rates).filter_map(|(at, from)| Some((at, from?)))
    }

    /// On a line of its own, what is left is as much; by time, what is spent is as many.
    fn slot(&self, word: u64, paced: bool, (from, old): (usize, &Pace), pace: &Pace) -> u64 {
        let now = self.now;
        if word == 0 {
            return 0;
        }
        match (&self.held, &self.holds) {
            (None, None) if paced => pace.carried_turn(word, old, now),
            (None, None) => pace.carried(word, old, now),
            (Some(_), Some(_)) => word,
            (None, Some(holds)) => {
                let spent = pace.carried(word, old, now).saturating_sub(now.0);
                holds.with_left(pace.depth.saturating_sub(spent))
            }
            (Some(held), None) => {
                let spent = old.depth.saturating_sub(held.left(word, from, old));
                pace.carried(now.0.saturating_add(spent), old, now)
            }
        }
    }

    fn counts(&self, counts: Counts, old: &Window, window: &Window) -> Counts {
        window.carried(counts, old, self.now)
    }

    /// A rate that goes on from none is as warm as the coldest of the old ones.
    fn warmth(&self, old: &[u64], old_paces: &[Pace], climb: &Climb, (at, pace): (usize, &Pace)) -> Warmth {
        let cooled = |from| climb.cooled(warmth(old, old_paces.len(), from), self.now);
        match self.from[at] {
            Some(from) => {
                // It is as of now, so the idle time until now must not cool again.
                let state = cooled(from);
                let tat = pace.carried(state.tat.max(self.now.0), &old_paces[from], self.now);
                Warmth { tat, ..state }
            }
            None => {
                let coldest = (0..old_paces.len()).map(|from| cooled(from).warmth).min();
                Warmth { tat: self.now.0, warmth: coldest.unwrap_or(0) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_go_on_from_those_that_are_most_alike() {
        let rate = |requests, secs, burst| RateConfig { requests, per: Duration::from_secs(secs), burst };
        let (a, b, c) = (rate(1, 600, 3), rate(10, 1, 10), rate(100, 60, 100));
        let check = |old: &[RateConfig], new: &[RateConfig], expected: &[Option<usize>]| {
            assert_eq!(sources(old, new)[..new.len()], *expected, "{old:?} {new:?}");
        };
        check(&[a], &[a, b], &[Some(0), None]);
        check(&[a], &[b, a], &[None, Some(0)]);
        check(&[a, b], &[b, a], &[Some(1), Some(0)]);
        check(&[b, a], &[a], &[Some(1)]);
        check(&[a, b, c], &[c, a, b], &[Some(2), Some(0), Some(1)]);
        // As many in as much time, before any in as much time, before what is left.
        check(&[rate(2, 600, 9), rate(1, 600, 9)], &[a, b], &[Some(1), Some(0)]);
        check(&[b, rate(2, 600, 9)], &[a, c], &[Some(1), Some(0)]);
        check(&[a, a], &[a, a, a], &[Some(0), Some(1), None]);
        check(&[b], &[c], &[Some(0)]);
    }
}
