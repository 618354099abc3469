//! From a service that is called to the instances that are meant: redirects, subsets, and shares among several.

use weir_model::ServiceRef;
use weir_model::resource::filter::Filter;
use weir_model::validate::http_route::BACKENDS_MAX;

use super::derived::{Derived, Tier};
use super::entries::{Failover, FailoverTarget, Resolver, or};
use super::{Making, http};
use crate::consul::filter::Filter as Expression;

/// Redirects that are followed, one after the other.
const REDIRECTS_MAX: usize = 8;
/// Splitters that are followed, one into the other.
const SPLITTERS_DEEP_MAX: usize = 8;

/// What is called in the end: a service, or a subset of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) service: ServiceRef,
    /// Empty for all of the service.
    pub(super) subset: String,
}

/// A part of the requests.
pub(super) struct Share {
    /// Of 1.
    pub(super) weight: f64,
    pub(super) target: Target,
    pub(super) filters: Vec<Filter>,
}

impl Making<'_> {
    /// Where calls of a service, or of a subset of it, go.
    pub(super) fn resolve(&self, service: &ServiceRef, subset: &str) -> Target {
        let mut target = Target { service: service.clone(), subset: subset.to_owned() };
        for _ in 0..REDIRECTS_MAX {
            let Some(resolver) = self.entries.resolvers.get(&target.service) else { break };
            let Some(redirect) = &resolver.redirect else {
                if target.subset.is_empty() {
                    target.subset.clone_from(&resolver.default_subset);
                }
                break;
            };
            target = Target {
                service: named(&redirect.namespace, &redirect.service, &target.service),
                subset: redirect.service_subset.clone(),
            };
        }
        target
    }

    /// How calls of a service are divided.
    pub(super) fn shares(&self, service: &ServiceRef, subset: &str) -> Vec<Share> {
        let mut shares = Vec::new();
        if subset.is_empty() {
            self.split(service, 0, (1.0, &[]), &mut shares);
        } else {
            shares.push(Share { weight: 1.0, target: self.resolve(service, subset), filters: Vec::new() });
        }
        shares
    }

    fn split(
        &self,
        service: &ServiceRef,
        deep: usize,
        (weight, filters): (f64, &[Filter]),
        shares: &mut Vec<Share>,
    ) {
        // More than a rule takes: the route will be refused, however many more there are.
        if shares.len() > BACKENDS_MAX {
            return;
        }
        let splitter = self.entries.splitters.get(service).filter(|_| deep < SPLITTERS_DEEP_MAX);
        let Some(splitter) = splitter else {
            let filters = filters.to_vec();
            return shares.push(Share { weight, target: self.resolve(service, ""), filters });
        };
        for split in &splitter.splits {
            let to = named(&split.namespace, &split.service, service);
            let weight = weight * split.weight / 100.0;
            let filters = http::with_headers(filters, &split.request_headers, &split.response_headers);
            if split.service_subset.is_empty() && to != *service {
                self.split(&to, deep + 1, (weight, &filters), shares);
            } else {
                let target = self.resolve(&to, &split.service_subset);
                shares.push(Share { weight, target, filters });
            }
        }
    }

    /// Makes a service of each subset, which declared routes may name too.
    pub(super) fn subsets(&mut self) {
        for (service, resolver) in &self.entries.resolvers {
            for subset in resolver.subsets.keys() {
                self.backend(&Target { service: service.clone(), subset: subset.clone() });
            }
        }
    }

    /// The service by whose name a route leads to a target: a derived one, unless it is all of a service.
    pub(super) fn backend(&mut self, target: &Target) -> ServiceRef {
        let Target { service, subset } = target;
        let resolver = self.entries.resolvers.get(service);
        let failover = resolver
            .and_then(|resolver| resolver.failover.get(&**subset).or_else(|| resolver.failover.get("*")));
        let name = match (&**subset, failover) {
            ("", None) => return service.clone(),
            ("", Some(_)) => format!("_failover_.{}", service.name),
            (subset, _) => format!("_{subset}.{}", service.name),
        };
        let backend = ServiceRef::new(&*service.namespace, name);
        if !self.derived.contains_key(&backend) {
            let mut tiers = self.tier(service, subset).into_iter().collect();
            if let Some(failover) = failover {
                self.fail_over(service, failover, &mut tiers);
            }
            self.derived.insert(backend.clone(), Derived { base: service.clone(), tiers });
        }
        backend
    }

    /// The instances of a target; nothing if there is no such subset.
    fn tier(&mut self, service: &ServiceRef, subset: &str) -> Option<Tier> {
        let all = Tier { service: service.clone(), filter: None, only_passing: false };
        if subset.is_empty() {
            return Some(all);
        }
        let of = |resolver: &Resolver| {
            let subset = resolver.subsets.get(subset)?;
            let filter = Some(&*subset.filter).filter(|text| !text.is_empty());
            Some((filter.map(Expression::read).transpose().ok()?, subset.only_passing))
        };
        let Some((filter, only_passing)) = self.entries.resolvers.get(service).and_then(of) else {
            let entry = format!("service-resolver/{}", service.name);
            self.ignore(&entry, format!("there is no subset {subset:?}: what goes there finds no instance"));
            return None;
        };
        Some(Tier { filter, only_passing, ..all })
    }

    /// Adds what is called when a service has no instance that may be.
    fn fail_over(&mut self, service: &ServiceRef, failover: &Failover, tiers: &mut Vec<Tier>) {
        for target in self.spare(service, failover) {
            tiers.extend(self.tier(&target.service, &target.subset));
        }
        let elsewhere = |to: &FailoverTarget| !to.datacenter.is_empty() || !to.peer.is_empty();
        if !failover.datacenters.is_empty() || failover.targets.iter().any(elsewhere) {
            let entry = format!("service-resolver/{}", service.name);
            self.ignore(&entry, "Failover: there are no other datacenters or peers to fail over to");
        }
    }

    /// What is called when a service has no instance that may be, in order.
    pub(super) fn spare(&self, service: &ServiceRef, failover: &Failover) -> Vec<Target> {
        let to = |namespace: &str, name: &str, subset: &str| {
            self.resolve(&named(namespace, name, service), subset)
        };
        let Failover { service: name, service_subset: subset, namespace, datacenters, targets } = failover;
        if targets.is_empty() && datacenters.is_empty() && !(name.is_empty() && subset.is_empty()) {
            return vec![to(namespace, name, subset)];
        }
        let here = targets.iter().filter(|to| to.datacenter.is_empty() && to.peer.is_empty());
        here.map(|one| to(&one.namespace, &one.service, &one.service_subset)).collect()
    }
}

/// A service as an entry of another one names it.
pub(super) fn named(namespace: &str, name: &str, of: &ServiceRef) -> ServiceRef {
    ServiceRef::new(or(namespace, &of.namespace), or(name, &of.name))
}
