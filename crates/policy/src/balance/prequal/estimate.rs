//! What an endpoint answers to a probe (Prequal, NSDI 2024, section 4): its requests in flight, and how long a request that
//! arrives now would take. That is estimated as the median of recent requests that arrived when about as many were in
//! flight.

use std::sync::Mutex;
use std::time::Duration;

use super::ProbeAnswer;
use crate::time::Nanos;

/// How many completed requests are remembered.
pub const COMPLETIONS_MAX: usize = 256;

/// How long a completed request tells something.
pub const COMPLETION_AGE_MAX: Duration = Duration::from_secs(10);

/// The median is taken of so many, those nearest in requests in flight, the latest of equally near ones.
pub const NEAREST_MAX: usize = 15;

/// Recent requests and how they went.
#[derive(Clone, Debug, Default)]
pub struct Estimator {
    completions: Vec<Completion>,
    /// Where the next one goes once all places are taken.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Completion {
    in_flight_at_arrival: u32,
    latency: Duration,
    at: Nanos,
}

impl Estimator {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self { completions: Vec::with_capacity(COMPLETIONS_MAX), next: 0 }
    }

    /// Learns of a completed request: how many others were in flight when it came, and how long it took.
    pub fn completed(&mut self, in_flight_at_arrival: u32, latency: Duration, now: Nanos) {
        let completion = Completion { in_flight_at_arrival, latency, at: now };
        if self.completions.len() < COMPLETIONS_MAX {
            self.completions.push(completion);
        } else {
            self.completions[self.next] = completion;
            self.next = (self.next + 1) % COMPLETIONS_MAX;
        }
        debug_assert!(self.completions.len() <= COMPLETIONS_MAX, "more completions than are kept");
    }

    /// How long a request would take that arrives while so many are in flight; zero if nothing recent is known. (An
    /// endpoint without requests is one to send some to.)
    pub fn latency(&self, in_flight: u32, now: Nanos) -> Duration {
        let mut nearest = [(0u32, Duration::ZERO, Duration::ZERO); COMPLETIONS_MAX];
        let mut count = 0;
        for completion in &self.completions {
            let age = now.since(completion.at);
            if age <= COMPLETION_AGE_MAX {
                nearest[count] =
                    (completion.in_flight_at_arrival.abs_diff(in_flight), age, completion.latency);
                count += 1;
            }
        }
        let mut near = &mut nearest[..count];
        if near.is_empty() {
            return Duration::ZERO;
        }
        if near.len() > NEAREST_MAX {
            near.select_nth_unstable(NEAREST_MAX - 1);
            near = &mut near[..NEAREST_MAX];
        }
        let middle = (near.len() - 1) / 2;
        near.select_nth_unstable_by_key(middle, |(_, _, latency)| *latency).1.2
    }
}

/// An [`Estimator`] for all workers of a process.
#[derive(Debug)]
pub struct SharedEstimator(Mutex<Estimator>);

impl Default for SharedEstimator {
    fn default() -> Self {
        Self::new()
    }
}

impl SharedEstimator {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self(Mutex::new(Estimator::new()))
    }

    /// As [`Estimator::completed`]. While another worker is at it, what is to be learnt is left out rather than waited for.
    pub fn completed(&self, in_flight_at_arrival: u32, latency: Duration, now: Nanos) {
        if let Ok(mut estimator) = self.0.try_lock() {
            estimator.completed(in_flight_at_arrival, latency, now);
        }
    }

    /// The answer to a probe while so many requests are in flight; none while another worker is at it.
    pub fn answer(&self, in_flight: u32, now: Nanos) -> Option<ProbeAnswer> {
        let estimator = self.0.try_lock().ok()?;
        Some(ProbeAnswer { in_flight, latency: estimator.latency(in_flight, now) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_median_of_those_that_met_about_as_many() {
        let mut estimator = Estimator::new();
        let now = Nanos::from_secs(20);
        assert_eq!(estimator.latency(3, now), Duration::ZERO);
        for in_flight in 0..10 {
            for extra in 0..15 {
                // The times around 10 ms for each in flight, and one that is far off.
                let latency = if extra == 0 { Duration::from_secs(9) } else { MS * (10 * in_flight + extra) };
                estimator.completed(in_flight, latency, now);
            }
        }
        // Of 15: 14 from +1 to +14 ms and an outlier; the eighth is +8.
        assert_eq!(estimator.latency(4, now), 48 * MS);
        assert_eq!(estimator.latency(0, now), 8 * MS);
        assert_eq!(estimator.latency(1000, now), 98 * MS, "the nearest there are");
        assert_eq!(estimator.latency(4, now + COMPLETION_AGE_MAX), 48 * MS);
        assert_eq!(estimator.latency(4, now + COMPLETION_AGE_MAX + MS), Duration::ZERO, "too old");
    }

    #[test]
    fn it_forgets_the_oldest_first() {
        let mut estimator = Estimator::new();
        for _ in 0..COMPLETIONS_MAX {
            estimator.completed(1, MS, Nanos::from_secs(1));
        }
        for _ in 0..COMPLETIONS_MAX - 7 {
            estimator.completed(1, 5 * MS, Nanos::from_secs(2));
        }
        assert_eq!(estimator.completions.len(), COMPLETIONS_MAX);
        assert_eq!(estimator.completions.iter().filter(|c| c.latency == MS).count(), 7);
        assert_eq!(estimator.latency(1, Nanos::from_secs(2)), 5 * MS, "the latest of equally near ones");
    }

    #[test]
    fn shared_by_workers_it_learns_and_answers_without_waiting() {
        let estimator = SharedEstimator::new();
        let now = Nanos::from_secs(1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        estimator.completed(2, MS, now);
                        let answer = estimator.answer(2, now);
                        assert!(answer.is_none_or(|answer| answer.in_flight == 2 && answer.latency <= MS));
                    }
                });
            }
        });
        assert_eq!(estimator.answer(7, now), Some(ProbeAnswer { in_flight: 7, latency: MS }));
        let held = estimator.0.lock().unwrap();
        estimator.completed(2, MS, now);
        assert_eq!(estimator.answer(7, now), None);
        drop(held);
    }
}
