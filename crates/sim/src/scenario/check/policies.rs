//! Rules of policies: those of the documents that they stand for, by the model's own judgement, and what a scenario adds.

use weir_model::names;
use weir_model::resource::traffic_policy::PolicyTarget;
use weir_model::resource::{DEFAULT_NAMESPACE, Metadata, Resource, ResourceId, Spec};
use weir_model::validate::{self, FieldError, Scope};

use super::Faults;
use crate::scenario::{Scenario, Service};

pub(super) fn check(scenario: &Scenario, faults: &mut Faults) {
    for set in sets(scenario, faults) {
        set.judge_together(faults);
    }
    for (index, service) in scenario.services.iter().enumerate() {
        fallbacks(&format!("services[{index}]"), service, scenario, faults);
    }
}

/// What is legal and most likely not what was meant.
pub(super) fn hints(scenario: &Scenario) -> Vec<FieldError> {
    sets(scenario, &mut Faults(Vec::new())).iter().flat_map(Documents::hints).collect()
}

/// The policies of a scenario: those at its services, and those of each group of servers, whose sidecars have limits of their own.
fn sets(scenario: &Scenario, faults: &mut Faults) -> Vec<Documents> {
    let (mut at_services, mut sets) = (Documents::default(), Vec::new());
    for (index, service) in scenario.services.iter().enumerate() {
        // What is wrong with the name has been said, and would be said again of each policy.
        if names::registered(&service.name).is_err() {
            continue;
        }
        let path = format!("services[{index}]");
        at_services.add_policy(&path, service, faults);
        at_services.add_limits(&format!("{path}.rateLimits"), service, &service.rate_limits, faults);
        for (index, servers) in service.servers.iter().enumerate() {
            let mut own = Documents::default();
            let path = format!("{path}.servers[{index}].rateLimits");
            own.add_limits(&path, service, &servers.rate_limits, faults);
            sets.push(own);
        }
    }
    sets.push(at_services);
    sets
}

/// Policies as documents, and under which path of the scenario each of them stands.
#[derive(Default)]
struct Documents {
    resources: Vec<Resource>,
    paths: Vec<String>,
}

impl Documents {
    fn add_policy(&mut self, path: &str, service: &Service, faults: &mut Faults) {
        let Some(policy) = &service.traffic_policy else { return };
        let path = format!("{path}.trafficPolicy");
        for_service(&path, &policy.target_refs, service, faults);
        let mut policy = policy.clone();
        policy.target_refs = targets(service);
        self.add(path, Spec::TrafficPolicy(Box::new(policy)), faults);
        // It is not looked for what its TLS needs: nothing here is encrypted.
        if let Some(Resource { spec: Spec::TrafficPolicy(policy), .. }) = self.resources.last_mut() {
            policy.tls = None;
        }
    }

    fn add_limits(
        &mut self,
        path: &str,
        service: &Service,
        limits: &[weir_model::resource::RateLimitSpec],
        faults: &mut Faults,
    ) {
        for (index, limit) in limits.iter().enumerate() {
            let path = format!("{path}[{index}]");
            for_service(&path, &limit.target_refs, service, faults);
            let mut limit = limit.clone();
            limit.target_refs = targets(service);
            self.add(path, Spec::RateLimit(limit), faults);
        }
    }

    /// Takes a document in, and judges it alone.
    fn add(&mut self, path: String, spec: Spec, faults: &mut Faults) {
        let found = validate::validate_spec(&spec);
        faults.0.extend(found.into_iter().map(|fault| moved(&path, fault)));
        let name = format!("policy-{}", self.resources.len());
        let metadata = Metadata { name, namespace: DEFAULT_NAMESPACE.to_owned(), ..Metadata::default() };
        self.resources.push(Resource { metadata, spec });
        self.paths.push(path);
    }

    fn hints(&self) -> Vec<FieldError> {
        // All services are there: others have been refused.
        let found = validate::hints(&self.resources, &self.resources, |_| true).into_iter();
        let place = |id: &ResourceId| self.resources.iter().position(|resource| resource.id() == *id);
        found.filter_map(|(id, hint)| Some(moved(&self.paths[place(&id)?], hint))).collect()
    }

    fn judge_together(&self, faults: &mut Faults) {
        let resources: Vec<&Resource> = self.resources.iter().collect();
        let found = validate::conflicts(&resources, Scope::OneProxy);
        faults.0.extend(found.into_iter().map(|(index, fault)| moved(&self.paths[index], fault)));
    }
}

/// A fault of a document under the path that its spec has here.
fn moved(path: &str, fault: FieldError) -> FieldError {
    let field = fault.path.strip_prefix("spec").unwrap_or_default();
    // Which target it is has no meaning here: it is the service under which the policy stands.
    let field = if field.starts_with(".targetRefs") { "" } else { field };
    FieldError { path: format!("{path}{field}"), ..fault }
}

fn targets(service: &Service) -> Vec<PolicyTarget> {
    vec![PolicyTarget { name: service.name.clone(), ..PolicyTarget::default() }]
}

/// A policy that names what it is for must name the service under which it stands.
fn for_service(path: &str, targets: &[PolicyTarget], service: &Service, faults: &mut Faults) {
    if targets.is_empty() || targets.iter().any(|target| service.is_target(target)) {
        return;
    }
    let expected = format!("`{}`, or no `targetRefs`: it is in force where it stands", service.name);
    faults.add(format!("{path}.targetRefs"), "they do not name this service", expected);
}

/// Fallbacks go to services of the scenario.
fn fallbacks(path: &str, service: &Service, scenario: &Scenario, faults: &mut Faults) {
    let breakers = service.traffic_policy.iter().flat_map(|policy| &policy.breakers).enumerate();
    for (index, breaker) in breakers {
        let Some(to) = breaker.fallback.as_ref().and_then(|fallback| fallback.service.as_ref()) else {
            continue;
        };
        let path = format!("{path}.trafficPolicy.breakers[{index}].fallback.service");
        if to.namespace.as_ref().is_some_and(|namespace| namespace != DEFAULT_NAMESPACE) {
            let message = "all services of a scenario are in one namespace";
            faults.add(format!("{path}.namespace"), message, format!("`{DEFAULT_NAMESPACE}`, or none"));
        }
        let known = scenario.services.iter().map(|service| service.name.as_str());
        faults.known(&format!("{path}.name"), &to.name, known);
    }
}
