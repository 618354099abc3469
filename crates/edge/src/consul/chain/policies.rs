//! What entries say of how a service is called, as traffic policies.

use std::collections::BTreeMap;

use weir_api::snapshot::COPY_OF;
use weir_model::resource::key::{KeyKind, KeyPart};
use weir_model::resource::traffic_policy::{Balance, BalancePolicy, PolicyTarget, Retry, Timeouts};
use weir_model::resource::{Kind, Metadata, TrafficPolicySpec};
use weir_model::validate::traffic_policy::{RETRIES_MAX, TARGETS_MAX};
use weir_model::{Resource, ResourceId, ServiceRef, Spec};

use super::entries::{HashPolicy, LoadBalancer, Resolver, Route};
use super::{Making, entry_name, http, id_of, routes};

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
            for (at, id) in self.declared(service, Kind::TrafficPolicy).iter().enumerate() {
                self.copy(id, at, service, names);
            }
            for id in self.declared(service, Kind::RateLimit) {
                self.widen(&id, service, names);
            }
        }
    }

    fn declared(&self, service: &ServiceRef, kind: Kind) -> Vec<ResourceId> {
        let policies = self.documents.policies_of(&id_of(service)).iter();
        policies.filter(|id| id.kind == kind).cloned().collect()
    }

    /// Those of a service's derived names for which no policy of the kind is declared: that would go before.
    fn undeclared(&self, service: &ServiceRef, names: &[String], kind: Kind) -> Vec<PolicyTarget> {
        let is_free = |name: &&String| {
            let derived = ServiceRef::new(&*service.namespace, &***name);
            self.declared(&derived, kind).is_empty()
        };
        names.iter().filter(is_free).map(|name| target(Kind::Service, name, None)).collect()
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
        let entry = entry_name("service-resolver", service);
        if let Some(declared) = self.declared(service, Kind::TrafficPolicy).first() {
            let reason = format!("the document {declared} says how the service is called");
            return self.ignore(&entry, reason);
        }
        let mut targets = vec![target(Kind::Service, &service.name, None)];
        targets.extend(self.undeclared(service, derived, Kind::TrafficPolicy));
        let spec = TrafficPolicySpec { timeouts, balance, ..TrafficPolicySpec::default() };
        for policy in policies(&routes::metadata(&entry, service), &spec, &targets) {
            self.add(&entry, policy);
        }
    }

    /// Makes what a declared policy says count for derived services too, as it is declared: of one that breaks a rule proxies
    /// have as much in force for these as for the service.
    fn copy(&mut self, id: &ResourceId, at: usize, service: &ServiceRef, names: &[String]) {
        let targets = self.undeclared(service, names, Kind::TrafficPolicy);
        let Some(declared) = self.documents.get(id) else { return };
        let Spec::TrafficPolicy(spec) = &declared.resource.spec else { return };
        let mut metadata = routes::metadata(&format!("service-subsets/{}", id.name), service);
        metadata.annotations = [(COPY_OF.to_owned(), id.to_string())].into();
        // In the order of those that they are copies of.
        metadata.name.push_str(&format!(".{at:03}"));
        for policy in policies(&metadata, spec, &targets) {
            self.take(&id.to_string(), policy);
        }
    }

    /// Makes a declared limit count for derived services too, each by itself as all its targets. It stays the same document:
    /// by its name servers know which limits proxies share.
    fn widen(&mut self, id: &ResourceId, service: &ServiceRef, names: &[String]) {
        let targets = self.undeclared(service, names, Kind::RateLimit);
        let made = self.made.get(id).or_else(|| self.documents.get(id).map(|declared| &declared.resource));
        let Some(mut resource) = made.cloned() else { return };
        let Spec::RateLimit(spec) = &mut resource.spec else { return };
        let room = TARGETS_MAX.saturating_sub(spec.target_refs.len());
        spec.target_refs.extend(targets.iter().take(room).cloned());
        if targets.len() > room {
            let reason = format!(
                "it has more than {TARGETS_MAX} targets with subsets: it does not count for all of them"
            );
            self.ignore(&id.to_string(), reason);
        }
        self.made.insert(id.clone(), resource);
    }

    /// The retries that a route of a router asks for.
    pub(super) fn retry(&mut self, entry: &str, service: &ServiceRef, at: usize, route: &Route) {
        let Some(to) = &route.destination else { return };
        let mut retry = Retry { statuses: to.retry_on_status_codes.clone(), ..Retry::default() };
        to.retry_on.iter().for_each(|condition| add_condition(&mut retry, condition));
        retry.statuses.sort_unstable();
        retry.statuses.dedup();
        if to.num_retries == 0 && retry.statuses.is_empty() && retry.grpc_statuses.is_empty() {
            return;
        }
        retry.attempts = if to.num_retries == 0 { 1 } else { to.num_retries.min(RETRIES_MAX) };
        let mut metadata = routes::metadata(entry, service);
        let rule = routes::rule_name(at);
        let target = target(Kind::HttpRoute, &metadata.name, Some(&rule));
        metadata.name = format!("{}.{rule}", metadata.name);
        let spec = TrafficPolicySpec {
            target_refs: vec![target],
            retry: Some(retry),
            ..TrafficPolicySpec::default()
        };
        self.add(entry, Resource { metadata, spec: Spec::TrafficPolicy(spec.into()) });
    }
}

/// A policy for these targets, or as many as it takes.
fn policies(metadata: &Metadata, spec: &TrafficPolicySpec, targets: &[PolicyTarget]) -> Vec<Resource> {
    let of = |(at, targets): (usize, &[PolicyTarget])| {
        let mut metadata = metadata.clone();
        if at > 0 {
            metadata.name.push_str(&format!(".{at}"));
        }
        let spec = TrafficPolicySpec { target_refs: targets.to_vec(), ..spec.clone() };
        Resource { metadata, spec: Spec::TrafficPolicy(spec.into()) }
    };
    targets.chunks(TARGETS_MAX).enumerate().map(of).collect()
}

/// Makes a condition of a router count. What it does not name counts anyhow, where a request may be repeated: connections
/// that cannot be made or end too early, and streams that are refused ([`NAMED_RETRIES`]).
fn add_condition(retry: &mut Retry, condition: &str) {
    match condition {
        "5xx" => retry.statuses.extend([500, 502, 503, 504]),
        "gateway-error" => retry.statuses.extend([502, 503, 504]),
        "retriable-4xx" => retry.statuses.push(409),
        "cancelled" | "deadline-exceeded" | "internal" | "resource-exhausted" | "unavailable" => {
            let status = condition.replace('-', "_").to_ascii_uppercase();
            if !retry.grpc_statuses.contains(&status) {
                retry.grpc_statuses.push(status);
            }
        }
        _ => {}
    }
}

/// The conditions of retries that there are, with whether they count.
pub(in crate::consul) const NAMED_RETRIES: [(&str, bool); 12] = [
    ("5xx", true),
    ("gateway-error", true),
    ("reset", true),
    ("connect-failure", true),
    ("envoy-ratelimited", false),
    ("retriable-4xx", true),
    ("refused-stream", true),
    ("cancelled", true),
    ("deadline-exceeded", true),
    ("internal", true),
    ("resource-exhausted", true),
    ("unavailable", true),
];

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
