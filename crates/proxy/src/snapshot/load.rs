//! What is known of the load of one endpoint, for `prequal`: what it answered to a probe last, or else what this proxy has
//! seen itself.
//!
//! All workers share it, so an endpoint is probed by a process and not by each of its workers, and at most once in
//! [`PROBE_EVERY`].

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use weir_policy::Nanos;
use weir_policy::balance::prequal::ProbeAnswer;
use weir_policy::balance::prequal::estimate::SharedEstimator;

/// How long an answer is as good as a new one, and an estimate as well.
pub const PROBE_EVERY: Duration = Duration::from_millis(5);
/// How long an endpoint that does not answer probes is not asked again.
pub const SILENT_FOR: Duration = Duration::from_secs(60);

/// The load.
#[derive(Debug, Default)]
pub struct Load {
    /// Requests that this process has seen complete.
    seen: SharedEstimator,
    /// The latest answer: requests in flight, and microseconds.
    answer: AtomicU64,
    /// Requests that this process had in flight there when it came.
    ours: AtomicU32,
    /// When it came, and when the next one may be asked for, in milliseconds of the process' clock; 0: never.
    answered_ms: AtomicU64,
    ask_ms: AtomicU64,
}

/// What is to be done to know the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: it is known.
    Is(ProbeAnswer),
    /// The endpoint is to be asked. Who is told so must say what came of it.
    Ask,
    /// Somebody has asked already.
    NotYet,
}

impl Load {
    /// Learns of a request that is complete.
    pub(crate) fn completed(&self, in_flight_at_arrival: u32, latency: Duration, now: Nanos) {
        self.seen.completed(in_flight_at_arrival, latency, now);
    }

    /// What this process has seen itself.
    pub(crate) fn seen(&self, in_flight: u32, now: Nanos) -> ProbeAnswer {
        match self.fresh(now) {
            Some(answer) => ProbeAnswer { in_flight, ..answer },
            None => match self.seen.answer(in_flight, now) {
                Some(answer) => {
                    self.answered(answer, in_flight, now);
                    answer
                }
                None => ProbeAnswer { in_flight, ..self.last() },
            },
        }
    }

    /// What the endpoint says, if it answers probes; with so many requests of this process in flight there now, which its
    /// latest answer is corrected by.
    pub(crate) fn said(&self, ours: u32, now: Nanos) -> Known {
        if let Some(answer) = self.fresh(now) {
            let others = answer.in_flight.saturating_sub(self.ours.load(Ordering::Relaxed));
            return Known::Is(ProbeAnswer { in_flight: others.saturating_add(ours), ..answer });
        }
        let (now_ms, ask_ms) = (millis(now), self.ask_ms.load(Ordering::Relaxed));
        let next = now_ms.saturating_add(PROBE_EVERY.as_millis() as u64);
        let free = now_ms >= ask_ms
            && self.ask_ms.compare_exchange(ask_ms, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if free { Known::Ask } else { Known::NotYet }
    }

    /// Whether it did not answer a probe lately.
    pub(crate) fn is_silent(&self, now: Nanos) -> bool {
        self.ask_ms.load(Ordering::Relaxed) > millis(now).saturating_add(PROBE_EVERY.as_millis() as u64)
    }

    /// The endpoint has answered, with so many requests of this process in flight there.
    pub(crate) fn answered(&self, answer: ProbeAnswer, ours: u32, now: Nanos) {
        let us = u32::try_from(answer.latency.as_micros()).unwrap_or(u32::MAX);
        self.answer.store(u64::from(answer.in_flight) << 32 | u64::from(us), Ordering::Relaxed);
        self.ours.store(ours, Ordering::Relaxed);
        self.answered_ms.store(millis(now), Ordering::Relaxed);
    }

    /// The endpoint does not answer probes.
    pub(crate) fn silent(&self, now: Nanos) {
        let again = millis(now).saturating_add(SILENT_FOR.as_millis() as u64);
        self.ask_ms.store(again, Ordering::Relaxed);
    }

    /// The latest answer, whenever it was.
    pub(crate) fn last(&self) -> ProbeAnswer {
        let answer = self.answer.load(Ordering::Relaxed);
        ProbeAnswer {
            in_flight: (answer >> 32) as u32,
            latency: Duration::from_micros(u64::from(answer as u32)),
        }
    }

    /// The latest answer, if it is as good as a new one.
    fn fresh(&self, now: Nanos) -> Option<ProbeAnswer> {
        let answered_ms = self.answered_ms.load(Ordering::Relaxed);
        let age_ms = millis(now).saturating_sub(answered_ms);
        (answered_ms > 0 && age_ms < PROBE_EVERY.as_millis() as u64).then(|| self.last())
    }
}

/// Whole milliseconds, and never 0.
fn millis(now: Nanos) -> u64 {
    (now.0 / 1_000_000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn answer(in_flight: u32, latency: Duration) -> ProbeAnswer {
        ProbeAnswer { in_flight, latency }
    }

    #[test]
    fn one_asks_for_all_and_not_too_often() {
        let load = Load::default();
        let now = Nanos::from_secs(1);
        assert_eq!(load.said(1, now), Known::Ask);
        assert_eq!(load.said(1, now + MS), Known::NotYet);
        load.answered(answer(3, 2 * MS), 1, now + MS);
        assert_eq!(load.said(1, now + MS * 5), Known::Is(answer(3, 2 * MS)));
        let more = answer(6, 2 * MS);
        assert_eq!(load.said(4, now + MS * 5), Known::Is(more), "three more were sent there since");
        assert_eq!(load.said(1, now + MS * 6), Known::Ask, "five milliseconds are over");
        // It was lost: after a while another one asks.
        assert_eq!(load.said(1, now + MS * 7), Known::NotYet);
        assert_eq!(load.said(1, now + MS * 11), Known::Ask);
    }

    #[test]
    fn who_does_not_answer_is_left_alone() {
        let load = Load::default();
        let now = Nanos::from_secs(1);
        assert_eq!(load.said(1, now), Known::Ask);
        assert!(!load.is_silent(now));
        load.silent(now);
        assert!(load.is_silent(now + SILENT_FOR / 2));
        assert_eq!(load.said(1, now + SILENT_FOR / 2), Known::NotYet);
        assert_eq!(load.said(1, now + SILENT_FOR), Known::Ask);
    }

    #[test]
    fn what_is_seen_is_estimated_now_and_then_and_counted_now() {
        let load = Load::default();
        let now = Nanos::from_secs(1);
        load.completed(2, 4 * MS, now);
        assert_eq!(load.seen(2, now), answer(2, 4 * MS));
        (0..100).for_each(|_| load.completed(2, 9 * MS, now));
        assert_eq!(load.seen(7, now + MS), answer(7, 4 * MS), "the estimate is as good as a new one");
        assert_eq!(load.seen(7, now + PROBE_EVERY), answer(7, 9 * MS));
    }
}
