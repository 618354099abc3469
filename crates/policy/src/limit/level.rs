//! How important a request must be to get in: shedding by importance, as in WeChat's DAGOR (SoCC 2018, section 4.2).
//!
//! A request's rank is its level and, within it, one of 128 shares, so that a level can be let in by parts. In every window (1 s
//! or 2000 requests) it is counted how many came of each rank. If the mean wait in the window was more than 20 ms, the bar
//! falls so far that 5 % fewer would have got in; else it rises so far that 1 % more would have.

use std::time::Duration;

use super::pace::nanos;
use crate::time::Nanos;

/// Shares of a level.
const SHARES: usize = 128;

/// A window ends after this time,
const WINDOW: Duration = Duration::from_secs(1);

/// or after so many requests.
const WINDOW_REQUESTS: u32 = 2000;

/// Beyond this mean wait there is too much to do.
const WAIT_MEAN_MAX: Duration = Duration::from_millis(20);

/// By what share fewer get in.
const DOWN: f64 = 0.05;

/// By what share of those that came more get in.
const UP: f64 = 0.01;

/// The bar.
#[derive(Debug)]
pub(super) struct Bar {
    /// Ranks below this get in.
    bar: usize,
    /// How many came of each rank.
    came: Box<[u32]>,
    came_sum: u32,
    passed_sum: u32,
    waits: u32,
    wait_sum: u64,
    began: Nanos,
    /// Picks shares where requests have no key.
    turn: u32,
}

impl Bar {
    pub(super) fn new(levels: u8) -> Self {
        let ranks = usize::from(levels.max(1)) * SHARES;
        Self {
            bar: ranks,
            came: vec![0; ranks].into(),
            came_sum: 0,
            passed_sum: 0,
            waits: 0,
            wait_sum: 0,
            began: Nanos(0),
            turn: 0,
        }
    }

    /// Whether a request gets in. Requests of one key (not 0) are of one share: clients are let in or not, rather than
    /// a part of each one's requests.
    pub(super) fn passes(&mut self, level: u8, key: u64, now: Nanos) -> bool {
        self.turn_window(now);
        let share = if key == 0 { self.next_share() } else { (key >> 16) as usize % SHARES };
        let rank = (usize::from(level) * SHARES + share).min(self.came.len() - 1);
        self.came[rank] += 1;
        self.came_sum += 1;
        let passes = rank < self.bar;
        self.passed_sum += u32::from(passes);
        passes
    }

    /// Notes how long one that got in waited, whether or not it went on.
    pub(super) fn waited(&mut self, wait: Duration) {
        self.waits = self.waits.saturating_add(1);
        self.wait_sum = self.wait_sum.saturating_add(nanos(wait));
    }

    /// The share of ranks that get in.
    pub(super) fn open(&self) -> f64 {
        self.bar as f64 / self.came.len() as f64
    }

    /// Multiples of the golden ratio are spread evenly, however many are taken.
    fn next_share(&mut self) -> usize {
        self.turn = self.turn.wrapping_add(0x9e37_79b9);
        (self.turn >> 25) as usize
    }

    fn turn_window(&mut self, now: Nanos) {
        if self.came_sum < WINDOW_REQUESTS && now.since(self.began) < WINDOW {
            return;
        }
        let overloaded = self.wait_sum > nanos(WAIT_MEAN_MAX) * u64::from(self.waits.max(1));
        if overloaded {
            self.lower();
        } else {
            self.raise();
        }
        self.came.fill(0);
        (self.came_sum, self.passed_sum, self.waits, self.wait_sum) = (0, 0, 0, 0);
        self.began = now;
    }

    /// The most important always get in.
    fn lower(&mut self) {
        let target = f64::from(self.passed_sum) * (1.0 - DOWN);
        let mut expected = f64::from(self.passed_sum);
        while self.bar > 1 && expected > target {
            self.bar -= 1;
            expected -= f64::from(self.came[self.bar]);
        }
    }

    fn raise(&mut self) {
        let target = f64::from(self.came_sum) * UP;
        let mut added = 0.0;
        while self.bar < self.came.len() {
            added += f64::from(self.came[self.bar]);
            self.bar += 1;
            // Ranks that nobody came of are free.
            if added > target {
                break;
            }
        }
    }
}
