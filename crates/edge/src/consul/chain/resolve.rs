//! From a service that is called to the instances that are meant: redirects, subsets, and shares among several.

use weir_model::ServiceRef;
use weir_model::resource::filter::Filter;
use weir_model::validate::filters::FIELDS_MAX;
use weir_model::validate::http_route::BACKENDS_MAX;

use super::derived::{Derived, Judged, Tier};
use super::entries::{Failover, Resolver, Split, Splitter, or};
use super::{Ignored, Making, UNFIT, entry_name, http};
use crate::consul::filter::Filter as Expression;

/// Splitters that are followed, one into the other.
const SPLITTERS_DEEP_MAX: usize = 8;

/// What is called in the end: a service, or a subset of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) service: ServiceRef,
    /// Empty for all of the service.
    pub(super) subset: String,
}

impl Target {
    /// All of a service.
    pub(super) fn all(service: &ServiceRef) -> Self {
        Self { service: service.clone(), subset: String::new() }
    }

    /// What is named from here: of another service its default subset, of the same one the subset that was meant.
    pub(super) fn rewritten(&self, namespace: &str, name: &str, subset: &str) -> Self {
        let service = named(namespace, name, &self.service);
        let same = if service.name == self.service.name { &*self.subset } else { "" };
        Self { service, subset: or(subset, same).to_owned() }
    }

    /// How Consul names it.
    pub(super) fn id(&self, datacenter: &str) -> String {
        let Self { service: ServiceRef { namespace, name, .. }, subset } = self;
        let prefix = if subset.is_empty() { String::new() } else { format!("{subset}.") };
        format!("{prefix}{name}.{namespace}.default.{datacenter}")
    }
}

/// A part of the requests.
pub(super) struct Share {
    /// Of 1.
    pub(super) weight: f64,
    pub(super) target: Target,
    pub(super) filters: Vec<Filter>,
    /// The splitter that it is from, and which of its splits.
    pub(super) split: Option<(ServiceRef, usize)>,
}

/// All parts of the requests, and what of the entries that divide them does not count.
#[derive(Default)]
pub(super) struct Shares {
    pub(super) all: Vec<Share>,
    pub(super) ignored: Vec<Ignored>,
    /// The entries that divided them and led them on.
    pub(super) by: Vec<String>,
    bytes_left: usize,
}

impl Shares {
    fn of(target: Target, by: Vec<String>) -> Self {
        let all = vec![Share { weight: 1.0, target, filters: Vec::new(), split: None }];
        Self { all, by, ..Self::default() }
    }
}

/// Entries that are told of one rule.
const WAY_MAX: usize = 16;

/// Adds entries by which calls go, each once.
pub(super) fn add_way(way: &mut Vec<String>, entries: impl IntoIterator<Item = String>) {
    for entry in entries {
        if way.len() < WAY_MAX && !way.contains(&entry) {
            way.push(entry);
        }
    }
}

/// A part of the requests that may be divided further.
struct Part<'a> {
    weight: f64,
    filters: &'a [Filter],
    of: Option<(&'a ServiceRef, usize)>,
}

/// The splits of a splitter, each with the changes of header fields that hold there; why not, if it has too many.
fn parts<'a>(
    splitter: &'a Splitter,
    filters: &[Filter],
    room: usize,
    bytes_left: usize,
) -> Result<Vec<(&'a Split, Vec<Filter>)>, String> {
    let splits = &splitter.splits;
    if splits.len() > room {
        return Err(format!("{} more shares, where a rule or its route has room for {room}", splits.len()));
    }
    let own = splits.iter().map(|split| split.request_headers.bytes() + split.response_headers.bytes());
    if own.sum::<usize>() + http::size(filters) * splits.len() > bytes_left {
        return Err("the changes of header fields are more than a route has room for".to_owned());
    }
    let with = |split: &'a Split| {
        (split, http::with_headers(filters, &split.request_headers, &split.response_headers))
    };
    let parts: Vec<_> = splits.iter().map(with).collect();
    if parts.iter().any(|(_, filters)| http::has_too_many(filters)) {
        return Err(format!("a share would change more than {FIELDS_MAX} header fields"));
    }
    let bytes: usize = parts.iter().map(|(_, filters)| http::size(filters)).sum();
    if bytes > bytes_left {
        Err("the changes of header fields are more than a route has room for".to_owned())
    } else {
        Ok(parts)
    }
}

impl Making<'_> {
    /// Where calls of a service, or of a subset of it, go.
    pub(super) fn resolve(&self, service: &ServiceRef, subset: &str) -> Target {
        self.end_of(Target { service: service.clone(), subset: subset.to_owned() })
    }

    fn end_of(&self, from: Target) -> Target {
        // Redirects without an end have been taken out.
        self.entries.follow(&from, "").unwrap_or(from)
    }

    /// How calls of a service are divided, within what the document that is being made may still hold.
    pub(super) fn shares(&self, service: &ServiceRef, subset: &str) -> Shares {
        if subset.is_empty() {
            return self.shares_within(service, &[], BACKENDS_MAX);
        }
        self.undivided(service, subset)
    }

    /// All calls of a service or of a subset of it, undivided.
    fn undivided(&self, service: &ServiceRef, subset: &str) -> Shares {
        let from = Target { service: service.clone(), subset: subset.to_owned() };
        let by = self.entries.resolvers_of(&from);
        Shares::of(self.end_of(from), by)
    }

    /// The same of all of a service, into at most `room` parts, with these changes of header fields already.
    pub(super) fn shares_within(&self, service: &ServiceRef, filters: &[Filter], room: usize) -> Shares {
        let mut shares = Shares { bytes_left: self.left.bytes, ..Shares::default() };
        let whole = Part { weight: 1.0, filters, of: None };
        let room = self.left.backends.min(room).max(1);
        self.split(service, 0, &whole, room, &mut shares);
        shares
    }

    /// All calls of a service, undivided.
    pub(super) fn whole(&self, service: &ServiceRef) -> Shares {
        self.undivided(service, "")
    }

    /// Adds at least one share, and at most `room`.
    fn split(&self, service: &ServiceRef, deep: usize, part: &Part<'_>, room: usize, shares: &mut Shares) {
        let Part { weight, filters, of } = *part;
        let splitter = self.entries.splitters.get(service).filter(|_| deep < SPLITTERS_DEEP_MAX);
        let parts = splitter.and_then(|splitter| match parts(splitter, filters, room, shares.bytes_left) {
            Ok(parts) => Some(parts),
            Err(reason) => {
                let entry = entry_name("service-splitter", service);
                shares.ignored.push(Ignored { entry, reason: format!("{UNFIT}: {reason}") });
                None
            }
        });
        let Some(parts) = parts else {
            let filters = filters.to_vec();
            let split = of.map(|(splitter, at)| (splitter.clone(), at));
            let Shares { all, by, .. } = self.undivided(service, "");
            add_way(&mut shares.by, by);
            return shares.all.extend(all.into_iter().map(|share| Share {
                weight,
                filters: filters.clone(),
                split: split.clone(),
                ..share
            }));
        };
        add_way(&mut shares.by, [entry_name("service-splitter", service)]);
        let end = shares.all.len() + room;
        shares.bytes_left -= parts.iter().map(|(_, filters)| http::size(filters)).sum::<usize>();
        for (at, (split, filters)) in parts.iter().enumerate() {
            let to = named(&split.namespace, &split.service, service);
            let weight = weight * split.weight / 100.0;
            if split.service_subset.is_empty() && to != *service {
                // Each of those that follow needs a share.
                let room = end - shares.all.len() - (parts.len() - at - 1);
                let part = Part { weight, filters, of: Some((service, at)) };
                self.split(&to, deep + 1, &part, room, shares);
            } else {
                let from = Target { service: to, subset: split.service_subset.clone() };
                add_way(&mut shares.by, self.entries.resolvers_of(&from));
                let split = Some((service.clone(), at));
                let target = self.end_of(from);
                shares.all.push(Share { weight, target, filters: filters.clone(), split });
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
        let failover = resolver.and_then(|resolver| resolver.failover_of(subset));
        let name = match (&**subset, failover) {
            ("", None) => return service.clone(),
            ("", Some(_)) => format!("_failover_.{}", service.name),
            (subset, _) => format!("_{subset}.{}", service.name),
        };
        let backend = ServiceRef::new(&*service.namespace, name);
        if !self.derived.contains_key(&backend) {
            let mut tiers = self.tier(service, subset).into_iter().collect();
            if let Some(failover) = failover {
                self.fail_over(target, failover, &mut tiers);
            }
            self.derived.insert(backend.clone(), Derived { base: service.clone(), tiers });
        }
        backend
    }

    /// The instances of a target; nothing if there is no such subset.
    fn tier(&self, service: &ServiceRef, subset: &str) -> Option<Tier> {
        let all =
            Tier { service: service.clone(), subset: subset.to_owned(), filter: None, only_passing: false };
        if subset.is_empty() {
            return Some(all);
        }
        let of = |resolver: &Resolver| {
            let subset = resolver.subsets.get(subset)?;
            let filter = Some(&*subset.filter).filter(|text| !text.is_empty());
            Some((filter.map(Expression::read).transpose().ok()?.map(Judged::new), subset.only_passing))
        };
        let (filter, only_passing) =
            self.entries.resolvers.get(service).and_then(|of_service| of(of_service))?;
        Some(Tier { filter, only_passing, ..all })
    }

    /// Adds what is called when a service has no instance that may be.
    fn fail_over(&mut self, of: &Target, failover: &Failover, tiers: &mut Vec<Tier>) {
        for target in self.spare(of, failover) {
            tiers.extend(self.tier(&target.service, &target.subset));
        }
        if failover.leads_elsewhere(self.datacenter) {
            let entry = entry_name("service-resolver", &of.service);
            self.ignore(&entry, "Failover: there are no other datacenters or peers to fail over to");
        }
    }

    /// What is called when a target has no instance that may be, in order.
    pub(super) fn spare(&self, of: &Target, failover: &Failover) -> Vec<Target> {
        let ends = self.entries.spare(of, failover, self.datacenter).into_iter().map(|to| self.end_of(to));
        ends.filter(|to| to != of).collect()
    }
}

/// A service as an entry of another one names it.
pub(super) fn named(namespace: &str, name: &str, of: &ServiceRef) -> ServiceRef {
    ServiceRef::new(or(namespace, &of.namespace), or(name, &of.name))
}
