//! Which routes apply where: attachment of routes to the listeners of gateways, as the Gateway API (v1) says.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use weir_model::resource::Listener;
use weir_model::resource::gateway::FromNamespaces;
use weir_model::resource::route::ParentRef;
use weir_model::{Kind, Resource, ResourceId, Spec};

use super::compile::Interner;
use super::rules::{self, CompiledRoute};
use super::{Inputs, Rejection, is_wanted, streams};
use crate::route::{HostPattern, StreamRule};

/// A route with its identity and, once it is needed, what its rules compiled to.
pub(super) struct Route<'a> {
    pub(super) id: &'a ResourceId,
    pub(super) resource: &'a Arc<Resource>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) compiled: Compiled,
}

/// What the rules of a route compiled to.
pub(super) enum Compiled {
    /// Nobody has needed them yet.
    NotYet,
    /// Rules for requests.
    Requests(Vec<CompiledRoute>),
    /// The rule for connections; none if it was refused.
    Connections(Option<StreamRule>),
}

/// A route that a listener does not take because of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The listener, as `Gateway/edge:web`.
    pub listener: Arc<str>,
    /// The route that does not count there.
    pub route: ResourceId,
    /// The route that does, and has some of the same hosts.
    pub winner: ResourceId,
}

impl Route<'_> {
    /// Its rules for requests.
    pub(super) fn requests(&self) -> &[CompiledRoute] {
        match &self.compiled {
            Compiled::Requests(rules) => rules,
            _ => &[],
        }
    }

    /// Its rule for connections.
    pub(super) fn connections(&self) -> Option<&StreamRule> {
        match &self.compiled {
            Compiled::Connections(rule) => rule.as_ref(),
            _ => None,
        }
    }

    /// Compiles its rules, unless that was done before.
    pub(super) fn compile(&mut self, names: &mut Interner, rejections: &mut Vec<Rejection>) {
        if matches!(self.compiled, Compiled::NotYet) {
            self.compiled = match &self.resource.spec {
                Spec::HttpRoute(spec) => Compiled::Requests(rules::http(self.id, spec, names, rejections)),
                Spec::GrpcRoute(spec) => Compiled::Requests(rules::grpc(self.id, spec, names, rejections)),
                Spec::TlsRoute(spec) => {
                    Compiled::Connections(streams::compile(self.id, &spec.rules, names, rejections))
                }
                Spec::TcpRoute(spec) => {
                    Compiled::Connections(streams::compile(self.id, &spec.rules, names, rejections))
                }
                _ => Compiled::Connections(None),
            };
        }
    }
}

/// Every route with a parent of the kind asked for, in the Gateway API's order for ties: by `namespace/name`.
pub(super) fn routes(inputs: &Inputs, parent: Kind) -> Vec<Route<'_>> {
    let mut routes: Vec<_> = inputs
        .resources
        .iter()
        .filter(|(_, resource)| resource.spec.parent_refs().iter().any(|one| is_kind(one, parent)))
        .collect();
    routes.sort_by_cached_key(|(id, _)| (format!("{}/{}", id.namespace, id.name), id.kind));
    routes
        .into_iter()
        .map(|(id, resource)| {
            let hosts = match resource.spec.hostnames() {
                [] => vec![HostPattern::Any],
                names => names.iter().map(|name| HostPattern::parse(Some(name))).collect(),
            };
            Route { id, resource, hosts, compiled: Compiled::NotYet }
        })
        .collect()
}

pub(super) fn is_kind(parent: &ParentRef, kind: Kind) -> bool {
    parent.kind.as_deref().unwrap_or(Kind::Gateway.as_str()) == kind.as_str()
}

/// Whether a route's parent is a gateway that a proxy serves: those that were named, or all.
pub(crate) fn is_gateway_of(parent: &ParentRef, route: &ResourceId, wanted: &[String]) -> bool {
    let id = || ResourceId::new(Kind::Gateway, namespace_of(parent, route), &*parent.name);
    is_kind(parent, Kind::Gateway) && is_wanted(&id(), wanted)
}

pub(super) fn namespace_of<'a>(parent: &'a ParentRef, route: &'a ResourceId) -> &'a str {
    parent.namespace.as_deref().unwrap_or(&route.namespace)
}

/// The routes of each gateway, by its namespace and name: their places in the list.
pub(super) fn by_gateway<'a>(routes: &'a [Route<'_>]) -> HashMap<(&'a str, &'a str), Vec<usize>> {
    let mut found: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        let parents = route.resource.spec.parent_refs().iter();
        for parent in parents.filter(|parent| is_kind(parent, Kind::Gateway)) {
            let of = found.entry((namespace_of(parent, route.id), &*parent.name)).or_default();
            if of.last() != Some(&index) {
                of.push(index);
            }
        }
    }
    found
}

/// Whether a route names the listener as its parent, directly or with all of its gateway's, and may, and has a host in
/// common with it.
pub(super) fn attaches(route: &Route<'_>, gateway: &ResourceId, listener: &Listener) -> bool {
    let named = route.resource.spec.parent_refs().iter().any(|parent| {
        is_kind(parent, Kind::Gateway)
            && parent.name == gateway.name
            && namespace_of(parent, route.id) == gateway.namespace
            && parent.section_name.as_ref().is_none_or(|name| *name == listener.name)
            && parent.port.is_none_or(|port| port == listener.port)
    });
    let from = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref()?.from);
    let allowed = match from.unwrap_or(FromNamespaces::Same) {
        FromNamespaces::Same => route.id.namespace == gateway.namespace,
        FromNamespaces::All => true,
    };
    let host = HostPattern::parse(listener.hostname.as_deref());
    named
        && allowed
        && listener.takes(route.id.kind)
        && route.hosts.iter().any(|pattern| pattern.intersects(&host))
}

/// Of an `HTTPRoute` and a `GRPCRoute` that have a host in common at one listener, only the first counts there (Gateway
/// API, `GRPCRouteSpec.hostnames`). Takes the others out, and tells of them.
pub(super) fn exclude(
    label: &Arc<str>,
    host: &HostPattern,
    routes: &[Route<'_>],
    attached: &mut Vec<usize>,
    overlaps: &mut Vec<Overlap>,
) {
    let of = |kind: Kind| attached.iter().any(|&index| routes[index].id.kind == kind);
    if !(of(Kind::HttpRoute) && of(Kind::GrpcRoute)) {
        return;
    }
    let mut taken: [HostSet<'_>; 2] = Default::default();
    attached.retain(|&index| {
        let route = &routes[index];
        let own = usize::from(route.id.kind == Kind::GrpcRoute);
        let hosts =
            || route.hosts.iter().filter(|pattern| pattern.intersects(host)).map(|p| narrower(p, host));
        if let Some(winner) = hosts().find_map(|pattern| taken[1 - own].owner(pattern)) {
            let winner = routes[winner].id.clone();
            overlaps.push(Overlap { listener: Arc::clone(label), route: route.id.clone(), winner });
            return false;
        }
        hosts().for_each(|pattern| taken[own].add(pattern, index));
        true
    });
}

/// What two patterns that have hosts in common have in common.
fn narrower<'a>(a: &'a HostPattern, b: &'a HostPattern) -> &'a HostPattern {
    match (a, b) {
        (HostPattern::Exact(_), _) | (_, HostPattern::Any) => a,
        (_, HostPattern::Exact(_)) | (HostPattern::Any, _) => b,
        (HostPattern::Suffix(first), HostPattern::Suffix(second)) => {
            if first.len() >= second.len() {
                a
            } else {
                b
            }
        }
    }
}

/// The hosts that routes have, and whose they are.
#[derive(Default)]
struct HostSet<'a> {
    /// Who was the first to have any.
    first: Option<usize>,
    any: Option<usize>,
    exact: HashMap<&'a str, usize>,
    /// By the suffix, which begins with a dot.
    suffix: HashMap<&'a str, usize>,
    /// Every suffix of every name and suffix above.
    within: HashMap<&'a str, usize>,
    seen: HashSet<&'a HostPattern>,
}

/// The suffixes of a name that begin with a dot, itself included if it does.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(at, _)| &name[at..])
}

impl<'a> HostSet<'a> {
    fn add(&mut self, pattern: &'a HostPattern, owner: usize) {
        self.first.get_or_insert(owner);
        if !self.seen.insert(pattern) {
            return;
        }
        match pattern {
            HostPattern::Any => drop(self.any.get_or_insert(owner)),
            HostPattern::Exact(name) => self.within(&mut |set| &mut set.exact, name, owner),
            HostPattern::Suffix(suffix) => self.within(&mut |set| &mut set.suffix, suffix, owner),
        }
    }

    fn within(
        &mut self,
        own: &mut impl FnMut(&mut Self) -> &mut HashMap<&'a str, usize>,
        name: &'a str,
        owner: usize,
    ) {
        own(self).entry(name).or_insert(owner);
        for suffix in suffixes(name) {
            self.within.entry(suffix).or_insert(owner);
        }
    }

    /// Who has a host that the pattern matches.
    fn owner(&self, pattern: &HostPattern) -> Option<usize> {
        let above = |name: &str| suffixes(name).find_map(|suffix| self.suffix.get(suffix));
        let found = match pattern {
            HostPattern::Any => self.first.as_ref(),
            HostPattern::Exact(name) => self.exact.get(&**name).or_else(|| {
                // A wildcard needs at least one label before it.
                above(name.get(1..).unwrap_or_default())
            }),
            HostPattern::Suffix(suffix) => self.within.get(&**suffix).or_else(|| above(suffix)),
        };
        found.or(self.any.as_ref()).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern() -> impl Strategy<Value = HostPattern> {
        let texts = ["*", "a", "a.b", "*.b", "*.a.b", "x.a.b", "*.x.a.b", "b", "*.c", "y.c"];
        prop::sample::select(texts.to_vec()).prop_map(|text| HostPattern::parse(Some(text)))
    }

    proptest! {
        #[test]
        fn owners_are_found_as_if_all_were_compared(
            patterns in prop::collection::vec(pattern(), 0..6),
            asked in pattern(),
        ) {
            let mut set = HostSet::default();
            for (index, pattern) in patterns.iter().enumerate() {
                set.add(pattern, index);
            }
            let expected = patterns.iter().any(|pattern| pattern.intersects(&asked));
            prop_assert_eq!(set.owner(&asked).is_some(), expected, "{:?} in {:?}", asked, patterns);
            if let Some(owner) = set.owner(&asked) {
                prop_assert!(patterns[owner].intersects(&asked));
            }
        }

        #[test]
        fn the_narrower_of_two_is_their_intersection(a in pattern(), b in pattern(), host in "[axy]?\\.?[axb]\\.[bc]") {
            if a.intersects(&b) {
                let both = a.matches(host.as_bytes()) && b.matches(host.as_bytes());
                prop_assert_eq!(narrower(&a, &b).matches(host.as_bytes()), both);
            }
        }
    }
}
