//! Whether a run of failures says anything of an endpoint, or only that everything fails.
//!
//! With a share q of the others' calls failing, a run of k comes about by chance with probability q^k. An endpoint is ejected
//! for it only if that is less than [`CHANCE_MAX`]: where the others are well, the configured number is enough; where four of
//! ten calls fail everywhere, it takes sixteen; where all calls fail, no number does. Else an outage of everything would eject
//! as many as may be, and the rest would have to bear their load as well, when it is over too.

use super::{Sample, Tally};

/// How many of the others are looked at.
pub const OTHERS_MAX: usize = 32;

/// A run that is likelier than this by chance ejects nobody: they are looked at with every failing call, so it must be small.
pub const CHANCE_MAX: f64 = 1e-6;

/// How the others do that are not ejected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Others {
    looked_at: u32,
    /// Those whose latest call was a gateway failure.
    failing: u32,
    /// Since the last comparison.
    calls: Sample,
}

impl Others {
    pub(super) fn add(&mut self, tally: &Tally, since: Sample) {
        self.looked_at += 1;
        self.failing += u32::from(tally.run() > 0);
        self.calls.calls += since.calls;
        self.calls.failures += since.failures;
    }

    pub(super) const fn are_enough(&self) -> bool {
        self.looked_at as usize >= OTHERS_MAX
    }

    /// The share of their calls that fail: of late, by the latest call of each, or since the last comparison, whichever is
    /// more. The first sees an outage that has just begun, the second one that is not of all calls. 0 without others.
    pub(super) fn failing(&self) -> f64 {
        let of_late = f64::from(self.failing) / f64::from(self.looked_at.max(1));
        of_late.max(self.calls.failure_ratio())
    }

    /// Whether so many failures in a row come about easily by what befalls all.
    pub(super) fn explain(&self, run: u32) -> bool {
        self.failing().powf(f64::from(run)) >= CHANCE_MAX
    }
}
