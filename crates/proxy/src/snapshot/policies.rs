//! What traffic policies say of calls by routes: more than the service's own policy knows, and before it.
//!
//! ```text
//! rule's own timeouts > policy for the rule > policy for its route > policy for the service > defaults
//! ```
//!
//! A field of `timeouts` counts by itself; `retry` and `hedge` each count as a whole, from where they are written nearest
//! to the call. Breakers add up (`crate::breaker`).

use std::collections::HashMap;
use std::sync::Arc;

use weir_model::resource::TrafficPolicySpec;
use weir_model::{Kind, Resource, ResourceId, ServiceRef, Spec};

use super::{Inputs, Settings};
use crate::route::Rule;

/// The policies for routes of a snapshot.
#[derive(Debug, Default)]
pub struct RoutePolicies {
    by_route: HashMap<ResourceId, Vec<RoutePolicy>>,
}

/// A policy for a route, or for one rule of it.
#[derive(Debug)]
pub struct RoutePolicy {
    /// The document.
    pub id: ResourceId,
    /// What it is for, as logs and metrics show it: `HTTPRoute/shop`, or `HTTPRoute/shop#buy`.
    pub target: Arc<str>,
    section: Option<Box<str>>,
    resource: Arc<Resource>,
}

impl RoutePolicy {
    /// What it says.
    pub fn spec(&self) -> Option<&TrafficPolicySpec> {
        match &self.resource.spec {
            Spec::TrafficPolicy(spec) => Some(spec),
            _ => None,
        }
    }
}

impl RoutePolicies {
    /// The policies of some documents. Of several for one target the first by name counts.
    pub(super) fn compile(inputs: &Inputs) -> Self {
        let mut by_route: HashMap<ResourceId, Vec<RoutePolicy>> = HashMap::new();
        for (id, resource) in inputs.resources.iter().filter(|(id, _)| id.kind == Kind::TrafficPolicy) {
            for target in resource.spec.targets() {
                let route = target.id(&id.namespace).filter(|route| route.kind.is_route());
                let Some(route) = route else { continue };
                let of_route = by_route.entry(route.clone()).or_default();
                if of_route.iter().all(|other| other.section.as_deref() != target.section) {
                    of_route.push(RoutePolicy {
                        id: id.clone(),
                        target: label(&route, target.section),
                        section: target.section.map(Into::into),
                        resource: resource.clone(),
                    });
                }
            }
        }
        for of_route in by_route.values_mut() {
            // The one for all rules first: what comes later counts before it.
            of_route.sort_by_key(|policy| policy.section.is_some());
        }
        Self { by_route }
    }

    /// Whether no route has one.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.by_route.is_empty()
    }

    /// The policies that hold for calls by a rule: the one of its route, then its own, which counts before it.
    pub fn of(&self, rule: &Rule) -> impl Iterator<Item = &RoutePolicy> {
        let of_route = self.by_route.get(&rule.route).map_or(&[][..], |policies| policies);
        of_route.iter().filter(|policy| policy.section.is_none() || policy.section == rule.name)
    }

    /// How calls by a rule are made to a service with these settings.
    pub fn settings(&self, rule: &Rule, of_service: &Settings) -> Settings {
        let said = self.of(rule).filter_map(|policy| Some((&policy.id, policy.spec()?)));
        said.fold(Settings::clone(of_service), |settings, (id, spec)| settings.overridden_by(id, spec))
    }
}

/// A part of a target, as logs and metrics show it.
pub(crate) fn label(target: &ResourceId, section: Option<&str>) -> Arc<str> {
    match section {
        Some(section) => format!("{target}#{section}").into(),
        None => target.to_string().into(),
    }
}

/// The policy for each service. Of several for the same service, the first by name counts.
pub(super) fn of_services(inputs: &Inputs) -> HashMap<ServiceRef, (&ResourceId, &TrafficPolicySpec)> {
    let mut policies = HashMap::new();
    for (id, resource) in inputs.resources.iter() {
        if let Spec::TrafficPolicy(policy) = &resource.spec {
            let targets = policy.target_refs.iter().map(|target| target.of(Kind::TrafficPolicy));
            for target in targets.filter(|target| target.kind == Some(Kind::Service)) {
                policies.entry(ServiceRef::new(&*id.namespace, target.name)).or_insert((id, &**policy));
            }
        }
    }
    policies
}
