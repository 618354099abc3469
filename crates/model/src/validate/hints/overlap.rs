//! `HTTPRoute`s and `GRPCRoute`s that have hosts in common at one listener: only the first of them counts there (Gateway
//! API, `GRPCRouteSpec.hostnames`), which those who wrote the other one should know.

use std::collections::HashMap;

use super::{FieldError, from};
use crate::resource::gateway::{FromNamespaces, GatewaySpec, Listener};
use crate::resource::{Kind, Resource};

/// Most routes of the other kind that one route is compared with.
const COMPARED_MAX: usize = 1000;

/// The routes for requests of each gateway, by its namespace and name.
#[derive(Default)]
pub(super) struct Routes<'a>(HashMap<(&'a str, &'a str), Vec<&'a Resource>>);

impl<'a> Routes<'a> {
    pub(super) fn add(&mut self, route: &'a Resource) {
        if is_for_requests(route.kind()) {
            for gateway in gateways(route) {
                let of = self.0.entry(gateway).or_default();
                if !of.last().is_some_and(|last| std::ptr::eq(*last, route)) {
                    of.push(route);
                }
            }
        }
    }

    /// What to say of a route at a gateway.
    pub(super) fn hint(
        &self,
        path: &str,
        route: &Resource,
        gateway: (&str, &str),
        spec: &GatewaySpec,
    ) -> Option<FieldError> {
        if !is_for_requests(route.kind()) {
            return None;
        }
        let others = self.0.get(&gateway)?.iter();
        let others = others.filter(|other| is_for_requests(other.kind()) && other.kind() != route.kind());
        others.take(COMPARED_MAX).find_map(|other| {
            let both = |listener: &&Listener| {
                attaches(route, gateway, listener) && attaches(other, gateway, listener)
            };
            let listener =
                spec.listeners.iter().filter(both).find(|listener| meet(route, other, listener))?;
            let (loser, winner) = if rank(route) < rank(other) { (*other, route) } else { (route, *other) };
            let message = format!(
                "{} does not count at listener `{}`: {} comes first and has hosts in common with it",
                loser.id(),
                listener.name,
                winner.id()
            );
            Some(FieldError::new(path, message).expected("`hostnames`, or a listener, of its own"))
        })
    }
}

const fn is_for_requests(kind: Kind) -> bool {
    matches!(kind, Kind::HttpRoute | Kind::GrpcRoute)
}

/// The gateways that a route names as parents.
fn gateways(route: &Resource) -> impl Iterator<Item = (&str, &str)> {
    let own = &*route.metadata.namespace;
    let parents = route.spec.parent_refs().iter();
    let of_gateway = parents.filter(|parent| parent.kind.as_deref().is_none_or(|kind| kind == "Gateway"));
    of_gateway.map(move |parent| (parent.namespace.as_deref().unwrap_or(own), &*parent.name))
}

/// The Gateway API's order for ties.
fn rank(route: &Resource) -> (String, Kind) {
    (format!("{}/{}", route.metadata.namespace, route.metadata.name), route.kind())
}

fn attaches(route: &Resource, gateway: (&str, &str), listener: &Listener) -> bool {
    let own = &*route.metadata.namespace;
    let named = route.spec.parent_refs().iter().any(|parent| {
        parent.kind.as_deref().is_none_or(|kind| kind == "Gateway")
            && (parent.namespace.as_deref().unwrap_or(own), &*parent.name) == gateway
            && parent.section_name.as_ref().is_none_or(|name| *name == listener.name)
            && parent.port.is_none_or(|port| port == listener.port)
    });
    named && listener.takes(route.kind()) && (own == gateway.0 || from(listener) == FromNamespaces::All)
}

/// Whether some host of the listener's is both routes'.
fn meet(a: &Resource, b: &Resource, listener: &Listener) -> bool {
    let hosts = |route: &Resource| match route.spec.hostnames() {
        [] => vec![String::new()],
        names => names.to_vec(),
    };
    let own = listener.hostname.as_deref().unwrap_or("");
    let (a, b) = (hosts(a), hosts(b));
    a.iter().filter_map(|a| common(a, own)).any(|a| b.iter().any(|b| common(&a, b).is_some()))
}

/// The hosts that two names have in common, as a name: exact, a wildcard, or empty for every host.
fn common(a: &str, b: &str) -> Option<String> {
    let is_under = |name: &str, wildcard: &str| {
        let suffix = wildcard.strip_prefix('*')?;
        let bare = name.strip_prefix('*').unwrap_or(name);
        (bare.ends_with(suffix) && (name.starts_with('*') || bare.len() > suffix.len()))
            .then(|| name.to_owned())
    };
    match (a, b) {
        ("", other) | (other, "") => Some(other.to_owned()),
        _ if a == b => Some(a.to_owned()),
        _ => is_under(a, b).or_else(|| is_under(b, a)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_have_in_common() {
        let check = |a: &str, b: &str, expected: Option<&str>| {
            assert_eq!(common(a, b).as_deref(), expected, "{a} {b}");
            assert_eq!(common(b, a).as_deref(), expected, "{b} {a}");
        };
        check("", "a.b", Some("a.b"));
        check("", "", Some(""));
        check("a.b", "a.b", Some("a.b"));
        check("a.b", "c.b", None);
        check("a.b", "*.b", Some("a.b"));
        check("x.a.b", "*.b", Some("x.a.b"));
        check("b", "*.b", None);
        check("*.a.b", "*.b", Some("*.a.b"));
        check("*.a", "*.b", None);
        check("ab", "*.b", None);
    }
}
