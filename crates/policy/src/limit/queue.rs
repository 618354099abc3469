//! Who waits for a place: a bounded queue that serves the newest first when there is a backlog.
//!
//! While the queue was empty within the last `timeout`, whoever waits may wait that long, and the oldest goes first. Once it has
//! not been empty for that long, there is a backlog: only a short wait is allowed, and the newest goes first, since the others
//! have likely been given up by their clients (adaptive LIFO and CoDel's timeout; Maurer, "Fail at Scale", ACM Queue 2015).
//! The queue's last empty moment does not change while somebody waits in it, so each deadline is known from the start.
//!
//! More important requests go first; when the queue is full, the newest of the least important gives way to them.

use std::collections::VecDeque;

use super::config::QueueConfig;
use super::pace::nanos;
use crate::time::Nanos;

/// A queue.
#[derive(Debug)]
pub(super) struct Queue {
    config: QueueConfig,
    /// Those that wait by importance, the oldest first. A short list: levels are few.
    levels: Vec<VecDeque<Waiter>>,
    len: usize,
    number_next: u64,
    /// When the queue was empty last.
    empty_last: Nanos,
}

/// One that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) number: u64,
    pub(super) since: Nanos,
    pub(super) deadline: Nanos,
}

/// What came of asking for a place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It waits.
    Waits(Waiter),
    /// It waits, and another has given way.
    Instead(Waiter, Waiter),
    /// It does not.
    Full,
}

impl Queue {
    pub(super) fn new(config: QueueConfig, levels: u8) -> Self {
        Self {
            config,
            levels: vec![VecDeque::new(); usize::from(levels.max(1))],
            len: 0,
            number_next: 0,
            empty_last: Nanos(0),
        }
    }

    pub(super) fn set_config(&mut self, config: QueueConfig) {
        self.config = config;
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn levels(&self) -> usize {
        self.levels.len()
    }

    pub(super) fn join(&mut self, level: u8, now: Nanos) -> Joined {
        let level = usize::from(level).min(self.levels.len() - 1);
        let mut gives_way = None;
        if self.len >= self.config.max as usize {
            let least = self.levels.iter().rposition(|waiters| !waiters.is_empty());
            let Some(least) = least.filter(|least| *least > level) else { return Joined::Full };
            gives_way = self.levels[least].pop_back();
            self.len -= usize::from(gives_way.is_some());
        }
        if self.len == 0 {
            self.empty_last = self.empty_last.max(now);
        }
        let waiter = Waiter { number: self.number_next, since: now, deadline: self.deadline(now) };
        self.number_next += 1;
        self.levels[level].push_back(waiter);
        self.len += 1;
        self.check();
        gives_way.map_or(Joined::Waits(waiter), |other| Joined::Instead(waiter, other))
    }

    /// Until when one that begins to wait now may.
    fn deadline(&self, now: Nanos) -> Nanos {
        (now + self.config.timeout_backlog).max(self.empty_last + self.config.timeout)
    }

    fn has_backlog(&self, now: Nanos) -> bool {
        now.0.saturating_sub(self.empty_last.0) > nanos(self.config.timeout)
    }

    /// The one that goes on next. Those that are found to have waited too long are handed to `late` and leave.
    pub(super) fn next(&mut self, now: Nanos, mut late: impl FnMut(Waiter)) -> Option<Waiter> {
        let backlog = self.has_backlog(now);
        let mut found = None;
        while let Some(waiters) = self.levels.iter_mut().find(|waiters| !waiters.is_empty()) {
            let waiter = if backlog { waiters.pop_back() } else { waiters.pop_front() };
            let Some(waiter) = waiter else { break };
            self.len -= 1;
            if waiter.deadline >= now {
                found = Some(waiter);
                break;
            }
            late(waiter);
        }
        if self.len == 0 {
            self.empty_last = self.empty_last.max(now);
        }
        self.check();
        found
    }

    /// Takes one out; none if it waits no more.
    pub(super) fn leave(&mut self, number: u64, now: Nanos) -> Option<Waiter> {
        let find =
            |waiters: &VecDeque<Waiter>| waiters.binary_search_by_key(&number, |waiter| waiter.number).ok();
        let (level, at) =
            self.levels.iter().enumerate().find_map(|(level, list)| Some((level, find(list)?)))?;
        let waiter = self.levels[level].remove(at);
        self.len -= usize::from(waiter.is_some());
        if self.len == 0 {
            self.empty_last = self.empty_last.max(now);
        }
        self.check();
        waiter
    }

    fn check(&self) {
        debug_assert_eq!(self.len, self.levels.iter().map(VecDeque::len).sum::<usize>());
    }
}
