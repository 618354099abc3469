//! What came out: kept as JSON, printed, and written into a page.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::case::{Case, Load};

/// A whole run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    /// When it began, in seconds since 1970.
    pub(crate) begun_s: u64,
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    /// What each subject says it is.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) cases: Vec<CaseResults>,
}

/// One case.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct CaseResults {
    pub(crate) name: String,
    pub(crate) subjects: Vec<SubjectResults>,
    /// Who was not measured, and why.
    pub(crate) missing: BTreeMap<String, String>,
}

/// One subject in one case.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SubjectResults {
    pub(crate) name: String,
    /// One figure for each round, in the case's unit.
    pub(crate) figures: Vec<f64>,
    /// Units done in a second, in each round.
    pub(crate) rates: Vec<f64>,
    /// The share of its core that it was busy, from 0 to 1, in each round.
    pub(crate) busy: Vec<f64>,
    /// The share of their core that load and upstreams were busy, in each round.
    pub(crate) load_busy: Vec<f64>,
    /// Memory before the connections, where memory is measured, in MiB.
    pub(crate) base_mib: Option<f64>,
}

/// Below this share of its core a subject waited for the load.
const SATURATED_MIN: f64 = 0.9;
/// Above this share the load had nothing left to give.
const LOAD_FULL_MIN: f64 = 0.95;

impl SubjectResults {
    pub(crate) fn median(&self) -> f64 {
        median(&self.figures)
    }

    /// Whether the load was the bottleneck.
    pub(crate) fn is_load_bound(&self, case: &Case) -> bool {
        let loads = !matches!(case.load, Load::Rate { .. } | Load::Idle | Load::Rest) && case.is_pinned();
        loads && median(&self.busy) < SATURATED_MIN && median(&self.load_busy) > LOAD_FULL_MIN
    }

    /// This one's figures divided by another's, of the same round each: median, least and most.
    pub(crate) fn ratio_to(&self, other: &Self) -> Option<[f64; 3]> {
        let ratios: Vec<f64> = self.figures.iter().zip(&other.figures).map(|(a, b)| a / b).collect();
        if ratios.is_empty() || ratios.iter().any(|ratio| !ratio.is_finite()) {
            return None;
        }
        Some([median(&ratios), least(&ratios), most(&ratios)])
    }
}

impl CaseResults {
    /// The ratio that is shown beside a subject: median, least and most.
    pub(crate) fn ratio_beside(&self, case: &Case, name: &str) -> Option<[f64; 3]> {
        let compared = case.compared(name)?;
        self.subject(compared.above)?.ratio_to(self.subject(compared.below)?)
    }

    pub(crate) fn subject(&self, name: &str) -> Option<&SubjectResults> {
        self.subjects.iter().find(|subject| subject.name == name)
    }
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

pub(crate) fn least(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

pub(crate) fn most(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let of = |figures: &[f64]| SubjectResults { figures: figures.to_vec(), ..SubjectResults::default() };
        // A machine that is slower in its second round changes no ratio.
        let ratio = of(&[1.0, 3.0, 1.0]).ratio_to(&of(&[2.0, 6.0, 4.0])).unwrap();
        assert_eq!(ratio, [0.5, 0.25, 0.5]);
        assert_eq!(of(&[]).ratio_to(&of(&[1.0])), None);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
