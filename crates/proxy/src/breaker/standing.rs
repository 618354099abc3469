//! How a breaker stands, in words, and what it refuses: for explanations and reports.

use std::time::Duration;

use weir_api::report::{KeptAnswers, Refusing};
use weir_policy::Nanos;
use weir_policy::breaker::{BreakerState, Phase, RETRY_SOON, Reading};

use super::brake::{Brake, Instead};

/// How a breaker stands that has no machine yet.
pub const UNMET: &str = "no call has met it yet";

impl Brake {
    /// How it stands, and what changed it last.
    pub(crate) fn described(&self, now: Nanos) -> String {
        let state = self.state(now);
        match self.last_change() {
            Some(last) => {
                let ago_s = now.since(last.at).as_secs_f64();
                format!("{state}; last changed {ago_s:.1} s ago: {last}")
            }
            None => state.to_string(),
        }
    }

    /// What it refuses as it stands; none where it refuses nothing.
    pub(crate) fn refusing(&self, now: Nanos) -> Option<Refusing> {
        let state = self.state(now);
        let (share, why) = share(&state)?;
        let why = match self.last_change().filter(|last| last.to == Phase::Open) {
            Some(last) if state.phase == Phase::Open => format!("{why}: {}", last.cause),
            _ => why,
        };
        let retry_after_ms = Some(millis(state.open_left.unwrap_or(RETRY_SOON)));
        Some(Refusing { share, why, retry_after_ms })
    }
}

impl Instead {
    /// The earlier answers that are kept, where that is what calls get.
    pub(crate) fn kept(&self) -> Option<KeptAnswers> {
        let (answers, bytes, given) = self.cached()?.counts();
        Some(KeptAnswers { answers: answers as u64, bytes: bytes as u64, given })
    }
}

/// The share of calls that is refused, and why, without what changed it.
fn share(state: &BreakerState) -> Option<(f64, String)> {
    match state.phase {
        // When its time is over, the next call is a probe.
        Phase::Open => {
            let left = state.open_left.filter(|left| !left.is_zero())?;
            Some((1.0, format!("it is open for another {:.1} s", left.as_secs_f64())))
        }
        Phase::HalfOpen => {
            let probes =
                state.probes.filter(|probes| probes.under_way + probes.successes >= probes.needed)?;
            Some((1.0, format!("it is half open and its {} probes are under way", probes.under_way)))
        }
        Phase::Closed => {
            let ramp = state.ramp_share.map_or(1.0, |share| share.clamp(0.0, 1.0));
            let throttled = match state.reading {
                Reading::Throttle { refusing, .. } => refusing.clamp(0.0, 1.0),
                _ => 0.0,
            };
            let share = 1.0 - ramp * (1.0 - throttled);
            let why = match state.reading {
                Reading::Throttle { requests, accepts, .. } if throttled > 0.0 => {
                    format!("{accepts} of {requests} calls were accepted lately")
                }
                _ => "it was closed a moment ago and lets calls through by and by".to_owned(),
            };
            (share > 0.0).then_some((share, why))
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use weir_policy::breaker::ProbesState;

    use super::*;

    fn state(phase: Phase) -> BreakerState {
        BreakerState {
            phase,
            strategy: "consecutive",
            reading: Reading::Consecutive { failures: 0, limit: 3 },
            open_left: None,
            probes: None,
            ramp_share: None,
            openings: 1,
            trips: 1,
            refused: 0,
            probes_lost: 0,
        }
    }

    #[test]
    fn what_is_refused_follows_from_how_it_stands() {
        let check = |state: BreakerState, expected: Option<f64>| {
            assert_eq!(share(&state).map(|(share, _)| share), expected, "{state}");
        };
        check(state(Phase::Closed), None);
        let open =
            |left_ms| BreakerState { open_left: Some(Duration::from_millis(left_ms)), ..state(Phase::Open) };
        check(open(1), Some(1.0));
        check(open(0), None);
        let probed = |under_way, successes| BreakerState {
            probes: Some(ProbesState { under_way, successes, failures: 0, needed: 3 }),
            ..state(Phase::HalfOpen)
        };
        check(probed(1, 1), None);
        check(probed(1, 2), Some(1.0));
        check(BreakerState { ramp_share: Some(0.25), ..state(Phase::Closed) }, Some(0.75));
        let reading = Reading::Throttle { requests: 10, accepts: 2, refusing: 0.5, calls_min: 1 };
        check(BreakerState { reading, ..state(Phase::Closed) }, Some(0.5));
    }
}
