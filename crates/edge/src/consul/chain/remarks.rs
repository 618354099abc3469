//! What entries make of routing, for people who ask why calls go where they go.

use std::collections::{BTreeMap, BTreeSet};

use weir_api::snapshot::{MADE_OF, made_route_counts};
use weir_control::Settings;
use weir_control::catalog::Moment;
use weir_model::resource::Protocol;
use weir_model::resource::references::rule_label;
use weir_model::{Resource, ResourceId, ServiceRef};

use super::{Effective, Ignored, ROUTING, entry_name, protocols};

/// Remarks on entries that one question is answered with.
const REMARKS_MAX: usize = 20;

impl Effective {
    /// What is to be said of entries to somebody who asks where calls of some services go, by name or through a gateway: `called`
    /// are those that are called by name, and `services` all that calls may come to.
    pub(crate) fn remarks(
        &self,
        moment: &Moment<'_>,
        settings: &Settings,
        called: &BTreeSet<&ServiceRef>,
        services: &BTreeSet<ServiceRef>,
    ) -> Vec<String> {
        let bases: BTreeSet<&ServiceRef> = services.iter().map(|service| self.base(service)).collect();
        let about: BTreeSet<String> =
            bases.iter().flat_map(|base| ROUTING.map(|kind| entry_name(kind, base))).collect();
        let of_them = self.ignored.iter().filter(|one| about.contains(&one.entry));
        let of_them = of_them.map(|Ignored { entry, reason }| format!("config entry {entry}: {reason}"));
        let undivided = called.iter().filter_map(|service| self.undivided(moment, service));
        let failed_over = services.iter().filter_map(|service| {
            let derived = self.derived.get(service)?;
            let said = derived.failed_over(moment, settings)?;
            let entry = entry_name("service-resolver", &derived.base);
            Some(format!("config entry {entry}: Failover: {said} ({service})"))
        });
        failed_over.chain(undivided).chain(of_them).take(REMARKS_MAX).collect()
    }

    /// Of a service whose instances alone say that they speak tcp, or the entry for all services: what does not count for it.
    fn undivided(&self, moment: &Moment<'_>, service: &ServiceRef) -> Option<String> {
        let entries = &self.entries;
        let kind = if entries.routers.contains_key(service) {
            "service-router"
        } else if entries.splitters.contains_key(service) {
            "service-splitter"
        } else {
            return None;
        };
        // What is said before instances are asked has been judged with the entry.
        if protocols::stated(entries, &self.documents, service).is_some() {
            return None;
        }
        let stated = self.protocol(service, &moment.endpoints(service).endpoints)?;
        (stated.protocol == Protocol::Tcp).then(|| {
            let entry = entry_name(kind, service);
            format!(
                "config entry {entry}: {} says that the service speaks tcp: only what its resolver says counts",
                stated.from
            )
        })
    }

    /// The entries by which the rules of a route lead where they do, by the place of the rule; none where they lead where
    /// their document says.
    pub(crate) fn ways(&self, route: &ResourceId) -> &[Vec<String>] {
        self.ways.get(route).map_or(&[], Vec::as_slice)
    }

    /// The same of several routes, by what rules are called: `HTTPRoute/service-router.web#route-0`.
    pub(crate) fn decided_by<'a>(
        &self,
        routes: impl IntoIterator<Item = &'a ResourceId>,
    ) -> BTreeMap<String, Vec<String>> {
        let of = |id: &'a ResourceId| {
            let names =
                self.resources.get(id).map(|entry| entry.resource.spec.rule_names()).unwrap_or_default();
            let ways = self.ways(id).iter().enumerate().filter(|(_, way)| !way.is_empty());
            ways.map(move |(at, way)| (rule_label(id, at, names.get(at).copied().flatten()), way.clone()))
        };
        routes.into_iter().flat_map(of).collect()
    }

    /// Whether a route counts: one that was made for the service of its parent does not beside what that one speaks.
    pub(crate) fn route_counts(&self, moment: &Moment<'_>, route: &Resource) -> bool {
        let id = route.id();
        if self.made_of(&id).is_none() {
            return true;
        }
        let parents = route.spec.parent_refs().iter();
        let mut services = parents.map(|parent| ServiceRef::new(&*id.namespace, &*parent.name));
        services.all(|service| {
            let stated = self.protocol(&service, &moment.endpoints(&service).endpoints);
            made_route_counts(id.kind, stated.map(|stated| stated.protocol))
        })
    }

    /// The entry that a document was made of; none of one that is declared.
    pub(crate) fn made_of(&self, id: &ResourceId) -> Option<&str> {
        if self.documents.get(id).is_some() {
            return None;
        }
        self.resources.get(id)?.resource.metadata.annotations.get(MADE_OF).map(String::as_str)
    }

    /// The entries of a service that say how its calls go, and what it speaks.
    pub(crate) fn entries_of(&self, service: &ServiceRef) -> Vec<String> {
        let kinds = [
            (ROUTING[0], self.entries.routers.contains_key(service)),
            (ROUTING[1], self.entries.splitters.contains_key(service)),
            (ROUTING[2], self.entries.resolvers.contains_key(service)),
            ("service-defaults", self.entries.protocol(service).is_some()),
        ];
        let there = kinds.into_iter().filter(|(_, is_there)| *is_there);
        there.map(|(kind, _)| entry_name(kind, service)).collect()
    }

    /// The services that entries route, whether or not they have an instance.
    pub(crate) fn routed(&self) -> BTreeSet<&ServiceRef> {
        self.entries.services()
    }
}
