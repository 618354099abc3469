//! Deadlines. Those that are set equally far ahead come due in the order in which they were set, so that each length
//! needs a line and one event only; and most of them never come due, because the answer came first.

use std::collections::VecDeque;

/// What comes due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The client gives up.
    Client,
    /// The proxy gives up on the request.
    Request,
    /// The proxy gives up on an attempt.
    Attempt,
}

/// One deadline: of the thing with a number, as long as its stamp is the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: u64,
    pub(super) number: u32,
    pub(super) stamp: u32,
}

/// Deadlines equally far ahead.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) due: Due,
    after: u64,
    line: VecDeque<Deadline>,
    /// Whether an event is planned for the first one.
    armed: bool,
}

/// All lanes, few.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Vec<Lane>);

impl Lanes {
    /// The lane of deadlines of a kind, so far ahead.
    pub(crate) fn lane(&mut self, due: Due, after: u64) -> u32 {
        let found = self.0.iter().position(|lane| lane.due == due && lane.after == after);
        let index = found.unwrap_or_else(|| {
            self.0.push(Lane { due, after, line: VecDeque::new(), armed: false });
            self.0.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Sets a deadline. Tells when an event is to be planned, if one is. `live` says which deadlines still mean something.
    pub(super) fn set(
        &mut self,
        lane: u32,
        now: u64,
        (number, stamp): (u32, u32),
        live: impl Fn(Due, Deadline) -> bool,
    ) -> Option<u64> {
        let lane = &mut self.0[lane as usize];
        while let Some(first) = lane.line.front()
            && !live(lane.due, *first)
        {
            lane.line.pop_front();
        }
        let at = now.saturating_add(lane.after);
        lane.line.push_back(Deadline { at, number, stamp });
        (!std::mem::replace(&mut lane.armed, true)).then_some(at)
    }

    /// The next deadline of a lane that has come due and still means something; else when to look again, if at all.
    pub(super) fn next(
        &mut self,
        lane: u32,
        now: u64,
        live: impl Fn(Due, Deadline) -> bool,
    ) -> Result<(Due, Deadline), Option<u64>> {
        let lane = &mut self.0[lane as usize];
        while let Some(first) = lane.line.front().copied() {
            if !live(lane.due, first) {
                lane.line.pop_front();
            } else if first.at <= now {
                lane.line.pop_front();
                return Ok((lane.due, first));
            } else {
                return Err(Some(first.at));
            }
        }
        lane.armed = false;
        Err(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_serves_a_line_and_dead_deadlines_are_dropped() {
        let mut lanes = Lanes::default();
        let lane = lanes.lane(Due::Client, 100);
        assert_eq!(lanes.lane(Due::Client, 100), lane);
        assert_ne!(lanes.lane(Due::Request, 100), lane);
        let live = |_, deadline: Deadline| deadline.number != 1;
        assert_eq!(lanes.set(lane, 0, (1, 0), live), Some(100));
        assert_eq!(lanes.set(lane, 5, (2, 0), live), None);
        assert_eq!(lanes.set(lane, 9, (3, 0), live), None);
        assert_eq!(lanes.next(lane, 100, live).unwrap_err(), Some(105));
        assert_eq!(lanes.next(lane, 105, live).unwrap().1.number, 2);
        assert_eq!(lanes.next(lane, 105, live).unwrap_err(), Some(109));
        assert_eq!(lanes.next(lane, 109, live).unwrap().1.number, 3);
        assert_eq!(lanes.next(lane, 109, live).unwrap_err(), None);
        assert_eq!(lanes.set(lane, 200, (4, 0), live), Some(300));
    }
}
