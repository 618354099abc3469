//! When requests come of themselves: the rate over time, and the moments it makes.

use crate::rng::Stream;
use crate::scenario::{Arrivals, Process, Step, nanos};

/// A piece of the rate over time: a straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    until: f64,
    /// Requests a nanosecond at its beginning, and how much that grows each nanosecond.
    rate: f64,
    slope: f64,
}

/// When the requests of a group come. Exact for any rate over time: the integral of the rate between two arrivals is
/// exponential with mean 1 for a Poisson process, and 1 for even arrivals.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    process: Process,
    pieces: Vec<Piece>,
    /// Index of the current piece, and where in time this stands.
    piece: usize,
    at: f64,
    begun: f64,
    rng: Stream,
}

impl Pace {
    pub(super) fn new(arrivals: &Arrivals, rng: Stream) -> Self {
        let per_nano = |rate: f64| rate / 1e9;
        let mut pieces = Vec::new();
        let mut rate = per_nano(arrivals.rate);
        for (index, Step { at, rate: to, over }) in arrivals.steps.iter().enumerate() {
            let next = arrivals.steps.get(index + 1).map_or(f64::INFINITY, |step| nanos(step.at) as f64);
            pieces.push(Piece { until: nanos(*at) as f64, rate, slope: 0.0 });
            let to = per_nano(*to);
            let width = over.map_or(0, nanos) as f64;
            if width > 0.0 {
                let until = (nanos(*at) as f64 + width).min(next);
                pieces.push(Piece { until, rate, slope: (to - rate) / width });
            }
            rate = to;
        }
        pieces.push(Piece { until: f64::INFINITY, rate, slope: 0.0 });
        Self { process: arrivals.process, pieces, piece: 0, at: 0.0, begun: 0.0, rng }
    }

    /// Nobody comes.
    pub(super) fn never() -> Self {
        let piece = Piece { until: f64::INFINITY, rate: 0.0, slope: 0.0 };
        Self {
            process: Process::Constant,
            pieces: vec![piece],
            piece: 0,
            at: 0.0,
            begun: 0.0,
            rng: Stream::from_state([1; 4]),
        }
    }

    /// The next arrival, in nanoseconds; none if no more will come.
    pub(super) fn next(&mut self) -> Option<u64> {
        let mut rest = match self.process {
            Process::Poisson => -self.rng.unit().ln(),
            Process::Constant => 1.0,
        };
        loop {
            let piece = self.pieces[self.piece];
            let rate = piece.rate + piece.slope * (self.at - self.begun);
            let left = piece.until - self.at;
            let whole = if left.is_finite() {
                rate * left + piece.slope * left * left / 2.0
            } else if rate > 0.0 {
                f64::INFINITY
            } else {
                return None;
            };
            if whole >= rest && whole > 0.0 {
                self.at += after(rest, rate, piece.slope);
                return Some(self.at as u64);
            }
            rest -= whole.max(0.0);
            self.piece += 1;
            (self.at, self.begun) = (piece.until, piece.until);
        }
    }
}

/// The time in which a rate that grows by `slope` adds up to `area`: the root of slope/2 t^2 + rate t = area.
fn after(area: f64, rate: f64, slope: f64) -> f64 {
    if slope == 0.0 {
        return area / rate;
    }
    let root = (rate * rate + 2.0 * slope * area).max(0.0).sqrt();
    // The form that loses no digits when the slope is small.
    2.0 * area / (rate + root)
}

#[cfg(test)]
mod tests {
    use weir_model::units::Span;

    use super::*;
    use crate::rng::Actor;

    fn counts(process: Process, steps: Vec<Step>, seconds: usize) -> Vec<u32> {
        let arrivals = Arrivals { process, rate: 100.0, steps };
        let mut pace = Pace::new(&arrivals, Stream::new(5, Actor::Arrivals, 0));
        let mut counts = vec![0; seconds];
        while let Some(at) = pace.next()
            && let Some(count) = counts.get_mut((at / 1_000_000_000) as usize)
        {
            *count += 1;
        }
        counts
    }

    fn step(at: u64, rate: f64, over: u64) -> Step {
        let secs = |secs| Span(std::time::Duration::from_secs(secs));
        Step { at: secs(at), rate, over: (over > 0).then(|| secs(over)) }
    }

    #[test]
    fn even_arrivals_follow_steps_and_slopes() {
        let steps = vec![step(2, 1000.0, 0), step(4, 0.0, 2), step(6, 50.0, 0)];
        let counts = counts(Process::Constant, steps, 8);
        let expected = [100, 100, 1000, 1000, 750, 250, 50, 50];
        for (got, expected) in counts.iter().zip(expected) {
            assert!(got.abs_diff(expected) <= 1, "{counts:?}");
        }
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_its_spread() {
        let counts = counts(Process::Poisson, vec![], 10_000);
        let mean = f64::from(counts.iter().sum::<u32>()) / 1e4;
        let variance = counts.iter().map(|c| (f64::from(*c) - mean).powi(2)).sum::<f64>() / 1e4;
        assert!((mean - 100.0).abs() < 0.6 && (variance - 100.0).abs() < 8.0, "{mean} {variance}");
    }

    #[test]
    fn no_rate_means_no_more() {
        let counts = counts(Process::Poisson, vec![step(1, 0.0, 0)], 3);
        assert_eq!(counts[1..], [0, 0]);
    }
}
