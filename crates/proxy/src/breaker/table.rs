//! Which breakers hold for a call: from documents to chains.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use weir_model::resource::traffic_policy::{Breaker as Declared, BreakerLevel};
use weir_model::validate::traffic_policy::BREAKERS_MAX;
use weir_model::{Kind, ResourceId, ServiceRef, Spec};
use weir_policy::Nanos;
use weir_policy::breaker::BreakerConfig;

use super::brake::{Brake, Breaker, Need};
use crate::route::Rule;
use crate::snapshot::{Inputs, label};

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
    by_target: HashMap<ResourceId, Vec<Part>>,
    all: Vec<Arc<Breaker>>,
}

/// The breakers of a target, or of a part of it.
#[derive(Debug)]
struct Part {
    section: Option<Box<str>>,
    breakers: Vec<Arc<Breaker>>,
}

impl BreakerTable {
    /// The breakers of some documents, going on from what they were before. Of several policies for one target the first
    /// by name counts.
    pub(crate) fn compile(inputs: &Inputs, previous: Option<&Self>) -> Self {
        let mut before: HashMap<(&ResourceId, &str), Vec<&Breaker>> = HashMap::new();
        for old in previous.iter().flat_map(|table| &table.all) {
            before.entry((&old.id, &*old.target)).or_default().push(old);
        }
        let mut table = Self::default();
        for (id, resource) in inputs.resources.iter() {
            let Spec::TrafficPolicy(policy) = &resource.spec else { continue };
            for target in resource.spec.targets() {
                let Some(target_id) = target.id(&id.namespace) else { continue };
                let parts = table.by_target.entry(target_id.clone()).or_default();
                if parts.iter().any(|part| part.section.as_deref() == target.section) {
                    continue;
                }
                let label = label(&target_id, target.section);
                let specs = &policy.breakers[..policy.breakers.len().min(BREAKERS_MAX)];
                let old = goes_on(specs, before.get(&(id, &*label)).map_or(&[], Vec::as_slice));
                let breakers = specs.iter().zip(old).enumerate();
                let breakers = breakers.map(|(index, (spec, old))| {
                    Arc::new(Breaker::new(id, index, label.clone(), spec, resource, old))
                });
                let breakers: Vec<Arc<Breaker>> = breakers.collect();
                table.all.extend(breakers.iter().cloned());
                parts.push(Part { section: target.section.map(Into::into), breakers });
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

    fn of(&self, service: &ServiceRef) -> impl Iterator<Item = &Arc<Breaker>> {
        let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
        self.by_target.get(&id).into_iter().flatten().flat_map(|part| &part.breakers)
    }

    /// Those that the rule has itself, then those of its route.
    fn by(&self, rule: &Rule) -> impl Iterator<Item = &Arc<Breaker>> {
        // The direct way to a service is no route, and the service's own are asked anyway.
        let parts = self.by_target.get(&rule.route).filter(|_| rule.route.kind.is_route());
        let parts =
            move |own: bool| parts.into_iter().flatten().filter(move |part| part.section.is_some() == own);
        let own = parts(true).filter(|part| part.section == rule.name);
        own.chain(parts(false)).flat_map(|part| &part.breakers)
    }

    /// The breakers of calls to a service by a rule, all but those of instances: first the rule's own, then its route's, then
    /// the service's.
    pub(crate) fn chain(&self, rule: &Rule, service: &ServiceRef, need: Need) -> Chain {
        let all = self.by(rule).chain(self.of(service));
        all.filter_map(|breaker| of_call(breaker, &rule.label, need)).collect()
    }

    /// Those of the service alone, for calls that come to it because another service's breakers refused them.
    pub(crate) fn chain_of_service(&self, rule: &str, service: &ServiceRef, need: Need) -> Chain {
        self.of(service).filter_map(|breaker| of_call(breaker, rule, need)).collect()
    }

    /// Whether instances of a service have breakers.
    pub(crate) fn has_instances(&self, service: &ServiceRef) -> bool {
        self.of(service).any(|breaker| breaker.level == BreakerLevel::Instance)
    }

    /// Whether instances have breakers for calls by a rule.
    pub(crate) fn has_instances_by(&self, rule: &Rule) -> bool {
        self.by(rule).any(|breaker| breaker.level == BreakerLevel::Instance)
    }

    /// The breakers of an instance.
    pub(crate) fn of_instance(&self, service: &ServiceRef, endpoint: &str, need: Need) -> Chain {
        self.of_instance_by(None, service, endpoint, need)
    }

    /// The same for calls by a rule: first the rule's own, then its route's, then the service's.
    pub(crate) fn of_instance_by(
        &self,
        rule: Option<&Rule>,
        service: &ServiceRef,
        endpoint: &str,
        need: Need,
    ) -> Chain {
        // A route may lead to several services, whose endpoints may have the same id.
        let of_routes = format!("{service}/{endpoint}");
        let by_rule = rule.into_iter().flat_map(|rule| self.by(rule)).map(|breaker| (breaker, &*of_routes));
        let all = by_rule.chain(self.of(service).map(|breaker| (breaker, endpoint)));
        let own = all.filter(|(breaker, _)| breaker.level == BreakerLevel::Instance);
        own.filter_map(|(breaker, part)| {
            Some(Link { breaker: breaker.clone(), brake: breaker.brake(part, need)? })
        })
        .collect()
    }
}

/// For each breaker of a document the one before it that it goes on from, each at most once: the same one wherever it stands
/// now, else one of its level and strategy, else what is left in its place, of which only earlier answers stay. So a breaker that
/// is put before another, or taken away from before it, takes nothing from that one.
fn goes_on<'a>(specs: &[Declared], before: &[&'a Breaker]) -> Vec<Option<&'a Breaker>> {
    let mut left: Vec<Option<&Breaker>> = before.iter().copied().map(Some).collect();
    let mut found = vec![None; specs.len()];
    let configs: Vec<BreakerConfig> = specs.iter().map(BreakerConfig::from_spec).collect();
    let mut take = |fits: &dyn Fn(usize, &Breaker) -> bool| {
        for (at, found) in found.iter_mut().enumerate().filter(|(_, found)| found.is_none()) {
            let taken = left.iter_mut().find(|old| old.is_some_and(|old| fits(at, old)));
            *found = taken.and_then(Option::take);
        }
    };
    take(&|at, old| old.level == specs[at].level && old.config == configs[at]);
    take(&|at, old| old.is_like(specs[at].level, &configs[at]));
    take(&|at, old| old.index == at);
    found
}

/// The machine of a breaker for a call by a rule, unless it is for instances.
fn of_call(breaker: &Arc<Breaker>, rule: &str, need: Need) -> Option<Link> {
    let part = match breaker.level {
        BreakerLevel::Service => "",
        BreakerLevel::Route => rule,
        BreakerLevel::Instance => return None,
    };
    Some(Link { breaker: breaker.clone(), brake: breaker.brake(part, need)? })
}
