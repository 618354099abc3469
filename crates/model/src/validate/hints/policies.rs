//! Policies for what is not there, and fallbacks to services that nobody knows.

use super::{Surroundings, effect, no_gateway, no_listener};
use crate::document::nearest;
use crate::resource::key::KeyKind;
use crate::resource::targets::Target;
use crate::resource::{Kind, ResourceId, ServiceRef, Spec};
use crate::validate::FieldError;

/// Most limits that one proxy shares with others, as the proxy has it.
pub const SHARED_BY_PROXY_MAX: usize = 1024;

/// Hints about one policy.
pub(super) fn hints<F>(namespace: &str, spec: &Spec, surroundings: &Surroundings<'_, F>) -> Vec<FieldError>
where
    F: Fn(&ServiceRef) -> bool,
{
    let mut hints = Vec::new();
    for (index, target) in spec.targets().into_iter().enumerate() {
        let path = format!("spec.targetRefs[{index}]");
        hints.extend(match target.kind {
            Some(Kind::Service) => {
                surroundings.unknown_service(format!("{path}.name"), namespace, target.name)
            }
            Some(Kind::Gateway) => at_gateway(&path, namespace, target, surroundings),
            Some(kind) => at_route(&path, (kind, namespace), target, surroundings),
            None => None,
        });
    }
    hints.extend(callers_at_gateways(spec));
    if spec.is_shared() && surroundings.shared > SHARED_BY_PROXY_MAX {
        hints.push(FieldError::new(
            "spec.scope",
            format!(
                "there are {} limits that proxies share; a proxy shares {SHARED_BY_PROXY_MAX} of those that concern \
                 it, and keeps the last ones alone",
                surroundings.shared
            ),
        ));
    }
    if let Spec::TrafficPolicy(policy) = spec {
        hints.extend(effect::hints(namespace, spec, policy, surroundings));
    }
    for fallback in spec.fallbacks() {
        let service = fallback.service(namespace);
        let path = format!("{}.name", fallback.path());
        hints.extend(no_further(&path, &service, surroundings));
        hints.extend(not_for_all(&path, (namespace, spec), &service, surroundings));
        hints.extend(surroundings.unknown_service(path, &service.namespace, &service.name));
    }
    hints
}

/// What comes to a service by another one's fallback is sent on by none of its own, and has to be what the service takes.
fn no_further<F>(path: &str, to: &ServiceRef, surroundings: &Surroundings<'_, F>) -> Option<FieldError> {
    let named = (to.namespace.as_str(), to.name.as_str());
    if surroundings.in_bytes.contains(&named) {
        let message =
            format!("`{to}` takes bytes, not requests: calls that fall back to it are answered with 503");
        return Some(FieldError::new(path, message).expected("a service of another `protocol` than `tcp`"));
    }
    surroundings.falling_back.contains(&named).then(|| {
        let message =
            format!("`{to}` falls back to a service in turn, but a call goes no further than `{to}`");
        FieldError::new(path, message).expected("a service whose fallback is none, `response` or `cached`")
    })
}

/// The same from the other side: this policy falls back for a service that another policy's calls fall back to.
fn not_for_all<F>(
    path: &str,
    (namespace, spec): (&str, &Spec),
    to: &ServiceRef,
    surroundings: &Surroundings<'_, F>,
) -> Option<FieldError> {
    let services = spec.targets().into_iter().filter(|target| target.kind == Some(Kind::Service));
    let mut services = services.map(|target| ServiceRef::new(namespace, target.name));
    let (from, by) =
        services.find_map(|from| surroundings.sent_by_others.get(&from).map(|by| (from.clone(), by)))?;
    let message =
        format!("calls that {by} sends to `{from}` go no further than `{from}`: none comes to `{to}`");
    Some(FieldError::new(path, message).expected("`response` or `cached`, or another fallback there"))
}

/// Gateways believe nobody who says which service calls, so that all of their requests have one key.
fn callers_at_gateways(spec: &Spec) -> Option<FieldError> {
    let Spec::RateLimit(limit) = spec else { return None };
    let part = limit.key.iter().position(|part| part.kind == KeyKind::Caller)?;
    let is_elsewhere = spec.targets().iter().any(|target| target.kind != Some(Kind::Service));
    is_elsewhere.then(|| {
        let path = format!("spec.key[{part}].type");
        FieldError::new(
            path,
            "at a gateway nobody says which service calls: all its requests have the same `caller`",
        )
        .expected("another key, or a Service as target, where its sidecars know their callers")
    })
}

fn at_gateway<F>(
    path: &str,
    namespace: &str,
    target: Target<'_>,
    surroundings: &Surroundings<'_, F>,
) -> Option<FieldError> {
    match surroundings.gateways.get(&(namespace, target.name)) {
        None => Some(no_gateway(path, namespace, target.name, &surroundings.gateways)),
        Some(gateway) => target.section.and_then(|section| no_listener(path, section, gateway)),
    }
}

fn at_route<F>(
    path: &str,
    (kind, namespace): (Kind, &str),
    target: Target<'_>,
    surroundings: &Surroundings<'_, F>,
) -> Option<FieldError> {
    let Some(spec) = surroundings.rules.get(&(kind, namespace, target.name)) else {
        let known = surroundings.rules.keys().filter(|(of, within, _)| (*of, *within) == (kind, namespace));
        let id = ResourceId::new(kind, namespace, target.name);
        let hint = FieldError::new(format!("{path}.name"), format!("there is no {id} yet"));
        return Some(match nearest(target.name, known.map(|(_, _, name)| *name)) {
            Some(name) => hint.expected(format!("`{name}`?")),
            None => hint,
        });
    };
    let section = target.section?;
    let names: Vec<&str> = spec.rule_names().into_iter().flatten().collect();
    if names.contains(&section) {
        return None;
    }
    let hint = FieldError::new(format!("{path}.sectionName"), "the route has no rule of this name");
    Some(match nearest(section, names) {
        Some(name) => hint.expected(format!("`{name}`?")),
        None => hint.expected("the `name` of a rule"),
    })
}
