//! What this proxy's own checks came to: compiled in like the addresses of host names, and in place of what was said of
//! an endpoint's health elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::ServiceRef;
use weir_model::registry::{ActiveChecks, Health};
use weir_policy::Nanos;

/// What the checks of one endpoint came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it is.
    pub health: Health,
    /// Since when it is so, on the process's clock.
    pub since: Nanos,
}

/// The verdicts on a service's endpoints, by their ids.
pub type ServiceVerdicts = BTreeMap<Arc<str>, Verdict>;

/// The verdicts on all endpoints that this proxy checks by itself. Cheap to clone; what has not changed is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts(BTreeMap<ServiceRef, Arc<ServiceVerdicts>>);

impl Verdicts {
    /// Those on a service's endpoints, if there are any.
    pub fn of(&self, service: &ServiceRef) -> Option<&Arc<ServiceVerdicts>> {
        self.0.get(service)
    }

    /// Every service of which an endpoint was judged.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceRef, &Arc<ServiceVerdicts>)> {
        self.0.iter()
    }

    /// Sets a verdict, or takes it away.
    pub fn set(&mut self, service: &ServiceRef, endpoint: &Arc<str>, verdict: Option<Verdict>) {
        let of_service = Arc::make_mut(self.0.entry(service.clone()).or_default());
        match verdict {
            Some(verdict) => drop(of_service.insert(Arc::clone(endpoint), verdict)),
            None => drop(of_service.remove(endpoint)),
        }
        if of_service.is_empty() {
            self.0.remove(service);
        }
    }
}

/// How an endpoint is checked, and what that came to.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// How this proxy can check it, if it can.
    pub how: Option<Arc<ActiveChecks>>,
    /// Its health as the registry has it; of one that is written down nothing is told.
    pub told: Option<Health>,
    /// What this proxy's own checks came to, which counts then.
    pub verdict: Option<Verdict>,
}

impl Checked {
    /// The health and the weight to go by, where the registry says these.
    pub(super) fn instead_of(&self, health: Health, weight: u32) -> (Health, u32) {
        match (self.verdict, &self.how) {
            (Some(verdict), Some(how)) => {
                let weights = how.weights;
                let weight =
                    if verdict.health == Health::Warning { weights.warning } else { weights.passing };
                (verdict.health, weight)
            }
            _ => (health, weight),
        }
    }
}
