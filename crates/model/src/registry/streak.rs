//! Outcomes in a row: when a check's health follows what was seen. The same rule for everybody who carries out checks.

use super::{CheckDefinition, Health};

/// Outcomes in a row before a check's health follows them; 0 and 1 mean at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes before it passes.
    pub passing: u32,
    /// Failures before it warns; 0 means never before it is critical.
    pub warning: u32,
    /// Failures before it is critical.
    pub critical: u32,
}

impl From<&CheckDefinition> for Thresholds {
    fn from(definition: &CheckDefinition) -> Self {
        Self {
            passing: definition.successes_before_passing,
            warning: definition.failures_before_warning,
            critical: definition.failures_before_critical,
        }
    }
}

/// The last outcomes of a check, as far as they were alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    successes: u32,
    failures: u32,
}

impl Streak {
    /// Counts an outcome; answers with the health that follows, if a threshold is reached. Whatever does not pass is a
    /// failure.
    pub fn count(&mut self, outcome: Health, thresholds: Thresholds) -> Option<Health> {
        if outcome == Health::Passing {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            return (self.successes >= thresholds.passing).then_some(Health::Passing);
        }
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= thresholds.critical {
            return Some(outcome);
        }
        (thresholds.warning > 0 && self.failures >= thresholds.warning).then_some(Health::Warning)
    }

    /// How many outcomes in a row were like the last one.
    pub const fn in_a_row(self) -> u32 {
        if self.failures > 0 { self.failures } else { self.successes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_outcomes_in_a_row() {
        use Health::{Critical, Passing, Warning};
        let check = |thresholds: Thresholds, outcomes: &[(Health, Option<Health>)]| {
            let mut streak = Streak::default();
            for (at, (outcome, expected)) in outcomes.iter().enumerate() {
                assert_eq!(streak.count(*outcome, thresholds), *expected, "{thresholds:?} {at}");
            }
        };
        let at_once = Thresholds::default();
        check(at_once, &[(Critical, Some(Critical)), (Passing, Some(Passing)), (Warning, Some(Warning))]);
        let patient = Thresholds { passing: 2, warning: 2, critical: 3 };
        check(
            patient,
            &[
                (Critical, None),
                (Passing, None),
                (Critical, None),
                (Critical, Some(Warning)),
                (Critical, Some(Critical)),
                (Passing, None),
                (Passing, Some(Passing)),
            ],
        );
        check(
            Thresholds { warning: 0, ..patient },
            &[(Warning, None), (Critical, None), (Warning, Some(Warning))],
        );
    }
}
