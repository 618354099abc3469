//! Declared routes of gateways that lead to a service of which entries say where its calls go: they go on as its splitter and
//! resolver say, in place of the service. Its router has no say, as in Consul: the gateway's own route is one.

use weir_model::resource::http_route::BackendRef;
use weir_model::validate::http_route::BACKENDS_MAX;
use weir_model::validate::{self, FieldError};
use weir_model::{Resource, ResourceId, ServiceRef, Spec};

use super::routes::{Left, WEIGHT, backend};
use super::{Making, UNFIT, id_of};

impl Making<'_> {
    /// Has the routes of gateways lead on.
    pub(super) fn gateways(&mut self) {
        if !self.entries.routes_any() {
            return;
        }
        let documents = self.documents;
        for (id, entry) in documents.iter() {
            let parents = entry.resource.spec.parent_refs();
            let of_gateways =
                parents.iter().all(|parent| parent.kind.as_deref().is_none_or(|kind| kind == "Gateway"));
            if parents.is_empty() || !of_gateways {
                continue;
            }
            self.left = Left::default();
            let mut resource = entry.resource.clone();
            let ways = self.leads_on(id, &mut resource.spec);
            if ways.iter().any(Option::is_some) {
                self.ways.insert(id.clone(), ways.into_iter().map(Option::unwrap_or_default).collect());
                self.replace(id, resource);
            }
        }
    }

    /// Has the rules of a route lead on: by which entries each does, none where it leads where it is declared to.
    fn leads_on(&mut self, id: &ResourceId, spec: &mut Spec) -> Vec<Option<Vec<String>>> {
        let mut lead = |refs: &mut Vec<BackendRef>, divides| self.lead(&id.namespace, refs, divides);
        match spec {
            Spec::HttpRoute(route) => {
                route.rules.iter_mut().map(|rule| lead(&mut rule.backend_refs, true)).collect()
            }
            Spec::GrpcRoute(route) => {
                route.rules.iter_mut().map(|rule| lead(&mut rule.backend_refs, true)).collect()
            }
            Spec::TcpRoute(route) => {
                route.rules.iter_mut().map(|rule| lead(&mut rule.backend_refs, false)).collect()
            }
            Spec::TlsRoute(route) => {
                route.rules.iter_mut().map(|rule| lead(&mut rule.backend_refs, false)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Puts what entries say in the place of services in a rule. `divides` says whether it tells requests apart; for connections
    /// only resolvers count. By which entries that is, if any lead on.
    fn lead(&mut self, namespace: &str, refs: &mut Vec<BackendRef>, divides: bool) -> Option<Vec<String>> {
        let whole: u64 = refs.iter().map(|one| u64::from(one.weight)).sum();
        let led: Vec<Option<ServiceRef>> =
            refs.iter().map(|one| self.led(namespace, one, divides).filter(|_| whole > 0)).collect();
        if led.iter().all(Option::is_none) {
            return None;
        }
        self.way.clear();
        let weight = |of: &BackendRef, share: f64| match f64::from(of.weight) / whole as f64 * share * WEIGHT
        {
            none if none <= 0.0 => 0,
            // At most a million: within 32 bits.
            some => (some.round() as u32).max(1),
        };
        let before = std::mem::take(refs);
        let all = before.len();
        for (at, (one, service)) in before.into_iter().zip(led).enumerate() {
            let Some(service) = service else {
                refs.push(BackendRef { weight: weight(&one, 1.0), ..one });
                continue;
            };
            // Each of those that follow needs a place.
            let room = BACKENDS_MAX.saturating_sub(refs.len() + all - at - 1);
            let shares = match divides {
                true => self.shares_within(&service, &one.filters, room),
                false => self.whole(&service),
            };
            for (to, share, filters) in self.ends(shares) {
                let BackendRef { group, kind, port, .. } = one.clone();
                refs.push(BackendRef { group, kind, port, filters, ..backend(&to, weight(&one, share)) });
            }
        }
        Some(std::mem::take(&mut self.way))
    }

    /// The service that a backend names, if entries lead on from there and no document says otherwise.
    fn led(&mut self, namespace: &str, one: &BackendRef, divides: bool) -> Option<ServiceRef> {
        if one.kind.as_deref().is_some_and(|kind| kind != "Service") {
            return None;
        }
        let service = ServiceRef::new(one.namespace.as_deref().unwrap_or(namespace), &*one.name);
        let mut declared = self.documents.routes_of(&id_of(&service)).iter();
        if !self.entries.routes(&service) || declared.any(|id| id.namespace == service.namespace) {
            return None;
        }
        let is_split = divides && self.entries.splitters.contains_key(&service);
        let target = self.resolve(&service, "");
        (is_split || self.backend(&target) != service).then_some(service)
    }

    /// Has a route count in the place of the one that is declared, if it may stand, or as much of it as can do without the
    /// rest: that is for proxies to say, as it is of the one that is declared.
    fn replace(&mut self, id: &ResourceId, resource: Resource) {
        let faults = validate::validate(&resource);
        match faults.first() {
            Some(fault) if validate::remainder(&resource, &faults).is_none() => {
                let FieldError { path, message, .. } = fault;
                let said = format!("{UNFIT}: with what entries say it would have {path}: {message}");
                self.ignore(&id.to_string(), said);
            }
            _ => self.put(&id.to_string(), id.clone(), resource),
        }
    }
}
