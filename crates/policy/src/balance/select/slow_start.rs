//! Slow start (as Envoy's): the share of an endpoint that is new, or back from ejection, grows with its age:
//! weight * max(floor, (age / window)^(1 / aggression)).
//!
//! It grows in steps that are the same for all endpoints, so that many new ones do not make a balancer be built anew for
//! each of them.

use std::time::Duration;

use weir_model::resource::traffic_policy;

use super::{Facts, Role};
use crate::time::Nanos;

/// Steps of a window.
pub const SLOW_START_STEPS: u32 = 32;

/// The shortest step.
pub const SLOW_START_STEP_MIN: Duration = Duration::from_millis(100);

/// Bounds of the exponent's inverse: beyond, growth is all at the beginning or all at the end.
const AGGRESSION: (f64, f64) = (0.01, 100.0);

/// How the share of a new endpoint grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// The age at which it has its full share.
    pub window: Duration,
    /// The shape: 1 is a straight line, more is faster at first.
    pub aggression: f64,
    /// The least fraction of its share.
    pub floor: f64,
}

impl SlowStart {
    /// With the default shape: a straight line from a tenth.
    pub const fn over(window: Duration) -> Self {
        Self { window, aggression: 1.0, floor: 0.1 }
    }

    /// What a document says; what makes no sense is taken as the nearest that does.
    pub fn from_spec(spec: &traffic_policy::SlowStart) -> Self {
        let default = Self::over(spec.window.0);
        let said = |value: Option<f64>, default| value.filter(|value| !value.is_nan()).unwrap_or(default);
        Self {
            window: default.window,
            aggression: said(spec.aggression, default.aggression).clamp(AGGRESSION.0, AGGRESSION.1),
            floor: said(spec.floor, default.floor).clamp(0.0, 1.0),
        }
    }

    /// The fraction of its share that an endpoint of some age has; never 0.
    pub fn fraction(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let grown = (age.as_secs_f64() / self.window.as_secs_f64()).powf(1.0 / self.aggression);
        grown.max(self.floor).clamp(f64::MIN_POSITIVE, 1.0)
    }

    /// Applies it to those that take part; returns when the next step is, if any is growing.
    pub(super) fn apply(
        &self,
        roles: &mut [Role],
        fractions: &mut [f64],
        endpoints: &[Facts<'_>],
        now: Nanos,
    ) -> Option<Nanos> {
        let step = (self.window / SLOW_START_STEPS).max(SLOW_START_STEP_MIN).as_nanos() as u64;
        let this_step = Nanos(now.0 - now.0 % step);
        let mut growing = false;
        for ((facts, role), fraction) in endpoints.iter().zip(roles).zip(fractions) {
            let Some(since) = facts.joined.max(facts.returned).filter(|_| *role == Role::Full) else {
                continue;
            };
            let age = this_step.since(since);
            if age >= self.window {
                continue;
            }
            growing = true;
            *fraction *= self.fraction(age);
            *role = Role::Growing(*fraction);
        }
        growing.then(|| Nanos(this_step.0.saturating_add(step)))
    }
}
