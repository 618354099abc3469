//! Learns how long a peer keeps idle connections open, so that they are let go before it closes them.
//!
//! A request that is sent at the moment at which the peer closes an idle connection fails, and cannot always be sent
//! again. Two things tell when that moment comes: what the peer says (`Keep-Alive: timeout=N`, RFC 2068 section
//! 19.7.1.1), and the ages at which idle connections were seen to be closed.
//!
//! A peer also closes connections when it restarts, at whatever age they have. That happens at one moment, so what is
//! seen at one moment counts once, and the second lowest of what was seen at different moments counts: one event alone
//! teaches nothing. What was seen long ago is forgotten in two steps, so the limit follows a peer that has changed.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::time::Nanos;

/// How cautious the learner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleConfig {
    /// What was seen counts for at least one of these and at most two.
    pub window: Duration,
    /// What is seen within this belongs to one moment.
    pub moment: Duration,
    /// How much earlier than the peer a connection is let go, at least: how late a close may be noticed, and the time
    /// that a request is on its way.
    pub margin: Duration,
    /// The same as a part of the time that the peer grants: one in so many.
    pub margin_part: u32,
}

impl Default for IdleConfig {
    /// Two windows of 5 min, moments of 2 s, a margin of 100 ms or a tenth.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            moment: Duration::from_secs(2),
            margin: Duration::from_millis(100),
            margin_part: 10,
        }
    }
}

/// What is known of one peer.
#[derive(Clone, Debug)]
pub struct IdleLearner {
    config: IdleConfig,
    now: Window,
    before: Window,
    began: Nanos,
}

/// What was seen in some time.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The least that the peer said.
    said: Option<Duration>,
    /// The two lowest ages, of different moments, in order.
    lowest: [Option<Duration>; 2],
    /// The latest moment, and its lowest age.
    latest: Option<(Nanos, Duration)>,
}

impl IdleLearner {
    /// Knows nothing.
    pub const fn new(config: IdleConfig) -> Self {
        const EMPTY: Window = Window { said: None, lowest: [None; 2], latest: None };
        Self { config, now: EMPTY, before: EMPTY, began: Nanos(0) }
    }

    /// The peer said for how long it keeps an idle connection.
    pub fn said(&mut self, timeout: Duration, now: Nanos) {
        self.turn(now);
        let said = &mut self.now.said;
        // The latest word counts, not the least: a peer that grants more than before means it.
        *said = Some(timeout);
        self.before.said = None;
    }

    /// The peer closed a connection that had been idle, and was last known to be open at this age.
    pub fn closed(&mut self, age: Duration, now: Nanos) {
        self.turn(now);
        let window = &mut self.now;
        window.latest = match window.latest.take() {
            Some((at, lowest)) if now.since(at) < self.config.moment => Some((at, lowest.min(age))),
            over => {
                if let Some((_, lowest)) = over {
                    window.lowest = two_lowest(window.lowest.into_iter().flatten().chain([lowest]));
                }
                Some((now, age))
            }
        };
    }

    /// For how long a connection may have been idle and still be used; none when the peer is not known to close any.
    pub fn limit(&mut self, now: Nanos) -> Option<Duration> {
        self.turn(now);
        let windows = [&self.before, &self.now];
        let seen = windows.iter().flat_map(|window| {
            window.lowest.into_iter().flatten().chain(window.latest.map(|(_, lowest)| lowest))
        });
        let [_, seen] = two_lowest(seen);
        let said = self.now.said.or(self.before.said);
        let granted = [seen, said].into_iter().flatten().min()?;
        let margin = self.config.margin.max(granted / self.config.margin_part.max(1));
        Some(granted.saturating_sub(margin))
    }

    /// Forgets what is too old.
    fn turn(&mut self, now: Nanos) {
        let passed = now.since(self.began);
        if passed < self.config.window {
            return;
        }
        let fresh = Window::default();
        let old = std::mem::replace(&mut self.now, fresh);
        self.before = if passed < self.config.window * 2 { old } else { fresh };
        self.began = now;
    }
}

fn two_lowest(ages: impl Iterator<Item = Duration>) -> [Option<Duration>; 2] {
    let mut lowest: [Option<Duration>; 2] = [None; 2];
    for age in ages {
        match lowest {
            [Some(first), _] if age < first => lowest = [Some(age), Some(first)],
            [Some(_), Some(second)] if age >= second => {}
            [Some(first), _] => lowest = [Some(first), Some(age)],
            [None, _] => lowest = [Some(age), None],
        }
    }
    lowest
}
