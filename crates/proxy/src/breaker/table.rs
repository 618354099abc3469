//! Which breakers hold for a call: from documents to chains.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use weir_model::resource::traffic_policy::BreakerLevel;
use weir_model::{Kind, ResourceId, ServiceRef, Spec};
use weir_policy::Nanos;

use super::brake::{Brake, Breaker};
use crate::snapshot::Inputs;

/// Most breakers of one call.
const BREAKERS_PER_CALL_MAX: usize = 16;

/// A breaker, and the machine of it that a call has to do with.
#[derive(Clone, Debug)]
pub struct Link {
    /// The breaker.
    pub breaker: Arc<Breaker>,
    /// The machine.
    pub brake: Arc<Brake>,
}

/// The breakers that must let a call through, in the order in which they are asked.
pub type Chain = Rc<[Link]>;

/// The breakers of a snapshot, by what they are for.
#[derive(Debug, Default)]
pub struct BreakerTable {
    by_target: HashMap<ResourceId, Vec<Arc<Breaker>>>,
    all: Vec<Arc<Breaker>>,
}

impl BreakerTable {
    /// The breakers of some documents, going on from what they were before. Of several policies for one service the first
    /// by name counts.
    pub(crate) fn compile(inputs: &Inputs, previous: Option<&Self>) -> Self {
        let before: HashMap<(&ResourceId, usize, &str), &Arc<Breaker>> = previous
            .iter()
            .flat_map(|table| &table.all)
            .map(|old| ((&old.id, old.index, &*old.target), old))
            .collect();
        let mut table = Self::default();
        for (id, resource) in inputs.resources.iter() {
            let Spec::TrafficPolicy(policy) = &resource.spec else { continue };
            let targets = resource.spec.targets().into_iter().filter(|one| one.kind == Some(Kind::Service));
            for target_id in targets.filter_map(|target| target.id(&id.namespace)) {
                if table.by_target.contains_key(&target_id) {
                    continue;
                }
                let label: Arc<str> = target_id.to_string().into();
                let breakers = policy.breakers.iter().take(BREAKERS_PER_CALL_MAX).enumerate();
                let breakers = breakers.map(|(index, spec)| {
                    let old = before.get(&(id, index, &*label)).map(|old| &***old);
                    let old = old.filter(|old| old.level == spec.level);
                    Arc::new(Breaker::new(id, index, label.clone(), spec, old))
                });
                let breakers: Vec<Arc<Breaker>> = breakers.collect();
                table.all.extend(breakers.iter().cloned());
                table.by_target.insert(target_id, breakers);
            }
        }
        table
    }

    /// Puts configurations in force.
    pub(crate) fn take_effect(&self, now: Nanos) {
        self.all.iter().for_each(|breaker| breaker.take_effect(now));
    }

    /// Whether nothing is broken off.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Every breaker.
    pub fn all(&self) -> &[Arc<Breaker>] {
        &self.all
    }

    fn of(&self, service: &ServiceRef) -> &[Arc<Breaker>] {
        let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
        self.by_target.get(&id).map_or(&[], |breakers| breakers)
    }

    /// The breakers of calls to a service by a rule: all but those of instances.
    pub(crate) fn chain(&self, rule: &str, service: &ServiceRef, workers: usize) -> Chain {
        let links = self.of(service).iter().filter_map(|breaker| {
            let part = match breaker.level {
                BreakerLevel::Service => "",
                BreakerLevel::Route => rule,
                BreakerLevel::Instance => return None,
            };
            Some(Link { breaker: breaker.clone(), brake: breaker.brake(part, workers)? })
        });
        links.collect()
    }

    /// Whether instances of a service have breakers.
    pub(crate) fn has_instances(&self, service: &ServiceRef) -> bool {
        self.of(service).iter().any(|breaker| breaker.level == BreakerLevel::Instance)
    }

    /// The breakers of an instance.
    pub(crate) fn of_instance(&self, service: &ServiceRef, endpoint: &str, workers: usize) -> Chain {
        let own = self.of(service).iter().filter(|breaker| breaker.level == BreakerLevel::Instance);
        let links = own.filter_map(|breaker| {
            Some(Link { breaker: breaker.clone(), brake: breaker.brake(endpoint, workers)? })
        });
        links.collect()
    }
}
