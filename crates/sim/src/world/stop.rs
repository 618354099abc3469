//! What a run is stopped for, and what is told while it goes on.

use std::fmt;

use super::World;
use crate::scenario::bounds::{REQUESTS_MAX, UNDER_WAY_MAX};

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Where in the world's time it is, in seconds.
    pub at: f64,
    /// When the world ends, in seconds.
    pub end: f64,
    /// Events so far.
    pub events: u64,
}

/// Why a run was stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stopped {
    /// More requests than a run may have.
    Requests {
        /// When, in seconds.
        at: f64,
    },
    /// More requests and attempts at one moment than there is to be memory for.
    UnderWay {
        /// When, in seconds.
        at: f64,
    },
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests { at } => write!(
                f,
                "stopped at {at:.3} s: {REQUESTS_MAX} requests have come, and no run has more; give clients in loops \
                 a pause (`think`), or the world a shorter `duration`"
            ),
            Self::UnderWay { at } => write!(
                f,
                "stopped at {at:.3} s: {UNDER_WAY_MAX} requests and attempts are under way at once, and no world has \
                 more; give clients a `timeout`, servers a shorter `queue`, or send less"
            ),
        }
    }
}

impl std::error::Error for Stopped {}

impl World<'_> {
    pub(super) fn progress(&self) -> Progress {
        Progress { at: self.now as f64 / 1e9, end: self.end as f64 / 1e9, events: self.events }
    }

    /// One more request: is it one too many?
    pub(super) fn count_request(&mut self) {
        self.begun += 1;
        let at = self.now as f64 / 1e9;
        if self.begun > REQUESTS_MAX {
            self.stopped = Some(Stopped::Requests { at });
        }
        if self.requests.len() + self.attempts.len() > self.under_way_max {
            self.stopped = Some(Stopped::UnderWay { at });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;

    #[test]
    fn what_would_take_all_memory_is_stopped() {
        // Nobody ever gives up, and nothing is ever answered.
        let text = "duration: 1h\nclients: [{name: web, arrivals: {rate: 200000}}]\n\
                    network: {delay: {constant: 0s}}\nservices:\n- name: shop\n  \
                    trafficPolicy: {timeouts: {request: 0s}, retry: {attempts: 0}}\n  \
                    servers: [{count: 1, time: {constant: 2h}, queue: {max: 10000000}}]\n";
        let scenario = Scenario::parse("-", text).unwrap();
        let mut world = World::build(&scenario);
        world.under_way_max = 1000;
        let stopped = world.live(&mut |_| {}).unwrap_err();
        let Stopped::UnderWay { at } = stopped else { panic!("{stopped:?}") };
        // Each is a request and an attempt.
        assert!((at - 1000.0 / 2.0 / 200_000.0).abs() < 0.001, "{at}");
        assert!(stopped.to_string().starts_with("stopped at 0.00"), "{stopped}");
    }

    #[test]
    fn nobody_is_answered_in_no_time_for_ever() {
        let text = "duration: 1s\nclients: [{name: web, loop: {clients: 2}}]\n\
                    network: {delay: {constant: 0s}}\nservices:\n- name: shop\n  \
                    servers: [{count: 1, time: {constant: 0s}}]\n";
        let scenario = Scenario::parse("-", text).unwrap();
        let mut told = Vec::new();
        let report = crate::run_watched(&scenario, &mut |progress| told.push(progress)).unwrap();
        assert!((1900..=2002).contains(&report.total.all.requests), "{:?}", report.total.all);
        assert!((told.len(), told[0].end) == (240, 1.0) && told[0].events < told[239].events, "{told:?}");
    }
}
