//! What entries say of how a service is called, as traffic policies.

use std::collections::BTreeMap;

use weir_model::resource::key::{KeyKind, KeyPart};
use weir_model::resource::traffic_policy::{Balance, BalancePolicy, PolicyTarget, Retry, Timeouts};
use weir_model::resource::{Kind, TrafficPolicySpec};
use weir_model::validate::traffic_policy::RETRIES_MAX;
use weir_model::{Resource, ResourceId, ServiceRef, Spec};

use super::entries::{HashPolicy, LoadBalancer, Resolver, Route};
use super::{Making, http, id_of, routes};

impl Making<'_> {
    /// The policies of all resolvers, and those that are declared: what holds for a service holds for what is derived from it.
    pub(super) fn policies(&mut self) {
        let mut derived: BTreeMap<ServiceRef, Vec<String>> = BTreeMap::new();
        for (service, of) in &self.derived {
            derived.entry(of.base.clone()).or_default().push(service.name.clone());
        }
        for (service, resolver) in &self.entries.resolvers {
            let names = derived.get(service).map_or(&[][..], |names| names);
            self.of_resolver(service, resolver, names);
        }
        for (service, names) in &derived {
            for id in self.declared(service) {
                self.widen(&id, names);
            }
        }
    }

    fn declared(&self, service: &ServiceRef) -> Vec<ResourceId> {
        let policies = self.documents.policies_of(&id_of(service)).iter();
        policies.filter(|id| id.kind == Kind::TrafficPolicy).cloned().collect()
    }

    fn of_resolver(&mut self, service: &ServiceRef, resolver: &Resolver, derived: &[String]) {
        let timeouts = Timeouts {
            connect: http::span(&resolver.connect_timeout),
            request: http::span(&resolver.request_timeout),
            ..Timeouts::default()
        };
        let timeouts = Some(timeouts).filter(|timeouts| *timeouts != Timeouts::default());
        let balance = resolver.load_balancer.as_ref().and_then(balance);
        if timeouts.is_none() && balance.is_none() {
            return;
        }
        let entry = format!("service-resolver/{}", service.name);
        if let Some(declared) = self.declared(service).first() {
            let reason = format!("the document {declared} says how the service is called");
            return self.ignore(&entry, reason);
        }
        let names = std::iter::once(&service.name).chain(derived);
        let target_refs = names.map(|name| target(Kind::Service, name, None)).collect();
        let spec = TrafficPolicySpec { target_refs, timeouts, balance, ..TrafficPolicySpec::default() };
        let metadata = routes::metadata(&entry, service);
        self.add(&entry, Resource { metadata, spec: Spec::TrafficPolicy(spec.into()) });
    }

    /// Makes a declared policy count for derived services too.
    fn widen(&mut self, id: &ResourceId, names: &[String]) {
        let Some(declared) = self.documents.get(id) else { return };
        let mut resource = self.made_of(id).unwrap_or_else(|| declared.resource.clone());
        if let Spec::TrafficPolicy(spec) = &mut resource.spec {
            spec.target_refs.extend(names.iter().map(|name| target(Kind::Service, name, None)));
        }
        if weir_model::validate::validate(&resource).is_empty() {
            self.made.push(resource);
        } else {
            self.ignore(
                &id.to_string(),
                "it has too many targets: it does not count for subsets of its services",
            );
        }
    }

    /// What a document was already made into.
    fn made_of(&mut self, id: &ResourceId) -> Option<Resource> {
        let at = self.made.iter().position(|resource| resource.id() == *id)?;
        Some(self.made.swap_remove(at))
    }

    /// The retries that a route of a router asks for.
    pub(super) fn retry(&mut self, entry: &str, service: &ServiceRef, at: usize, route: &Route) {
        let Some(to) = &route.destination else { return };
        let mut statuses = to.retry_on_status_codes.clone();
        for condition in &to.retry_on {
            match &**condition {
                "5xx" => statuses.extend([500, 502, 503, 504]),
                "gateway-error" => statuses.extend([502, 503, 504]),
                _ => {}
            }
        }
        statuses.sort_unstable();
        statuses.dedup();
        if to.num_retries == 0 && statuses.is_empty() {
            return;
        }
        let attempts = if to.num_retries == 0 { 1 } else { to.num_retries.min(RETRIES_MAX) };
        let mut metadata = routes::metadata(entry, service);
        let rule = routes::rule_name(at);
        let target = target(Kind::HttpRoute, &metadata.name, Some(&rule));
        metadata.name = format!("{}.{rule}", metadata.name);
        let spec = TrafficPolicySpec {
            target_refs: vec![target],
            retry: Some(Retry { attempts, statuses, ..Retry::default() }),
            ..TrafficPolicySpec::default()
        };
        self.add(entry, Resource { metadata, spec: Spec::TrafficPolicy(spec.into()) });
    }
}

fn target(kind: Kind, name: &str, section: Option<&str>) -> PolicyTarget {
    PolicyTarget {
        group: None,
        kind: Some(kind.as_str().to_owned()),
        name: name.to_owned(),
        section_name: section.map(str::to_owned),
    }
}

fn balance(balancer: &LoadBalancer) -> Option<Balance> {
    let policy = BalancePolicy::ALL.into_iter().find(|policy| policy.as_str() == balancer.policy)?;
    let mut hash: Vec<KeyPart> = balancer.hash_policies.iter().filter_map(key_part).collect();
    if hash.is_empty() && matches!(policy, BalancePolicy::RingHash | BalancePolicy::Maglev) {
        hash.push(KeyPart { kind: KeyKind::SourceAddress, name: None });
    }
    Some(Balance { policy, hash, ..Balance::default() })
}

fn key_part(of: &HashPolicy) -> Option<KeyPart> {
    let kind = match &*of.field {
        "header" => KeyKind::Header,
        "cookie" => KeyKind::Cookie,
        "query_parameter" => KeyKind::Query,
        _ if of.source_ip => return Some(KeyPart { kind: KeyKind::SourceAddress, name: None }),
        _ => return None,
    };
    Some(KeyPart { kind, name: Some(of.field_value.clone()) })
}
