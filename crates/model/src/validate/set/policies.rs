//! Policies taken together: one for each target, bounded numbers of limits, no fallbacks in a circle.

use std::collections::HashMap;

use crate::resource::targets::Target;
use crate::resource::{Kind, Resource, ResourceId, ServiceRef};
use crate::validate::FieldError;

/// Most limits for one target: each takes part in each decision.
pub const LIMITS_MAX: usize = 5;
/// Most limits that proxies share (`scope: global`) in a cluster, each target of a document counted: of each the control
/// plane keeps a book.
pub const SHARED_LIMITS_MAX: usize = 16_384;
/// Where a fault is that is one of the number of such limits.
const SCOPE: &str = "spec.scope";
/// Most services that are named when fallbacks go in a circle.
const SHOWN_MAX: usize = 6;

/// A kind of policy, a namespace and what there is for it.
type Key<'a> = (Kind, &'a str, Target<'a>);

/// What there is for each target.
#[derive(Default)]
pub(super) struct Policies<'a> {
    /// The policy that came first.
    first: HashMap<Key<'a>, usize>,
    /// How many limits there are.
    limits: HashMap<Key<'a>, usize>,
    /// How many of them proxies share.
    shared: usize,
}

impl<'a> Policies<'a> {
    /// Takes in a policy; says which of its targets have one already.
    pub(super) fn add(
        &mut self,
        index: usize,
        resource: &'a Resource,
        ids: &[ResourceId],
        faults: &mut Vec<(usize, FieldError)>,
    ) {
        let kind = resource.kind();
        if resource.spec.is_shared() {
            self.share(index, resource, faults);
        }
        for (at, target) in resource.spec.targets().into_iter().enumerate() {
            let key = (kind, resource.metadata.namespace.as_str(), target);
            let path = format!("spec.targetRefs[{at}]");
            if kind == Kind::RateLimit {
                let limits = self.limits.entry(key).or_insert(0);
                *limits += 1;
                if *limits == LIMITS_MAX + 1 {
                    let message = format!("`{}` already has {LIMITS_MAX} limits", target.name);
                    let expected = format!("at most {LIMITS_MAX} for each target");
                    faults.push((index, FieldError::new(path, message).expected(expected)));
                }
                continue;
            }
            let first = *self.first.entry(key).or_insert(index);
            if first != index {
                let message = format!("`{}` already has a policy, {}", target.name, ids[first]);
                faults.push((index, FieldError::new(path, message).expected(once(kind, target))));
            }
        }
    }
}

impl Policies<'_> {
    /// Counts a limit that proxies share.
    fn share(&mut self, index: usize, resource: &Resource, faults: &mut Vec<(usize, FieldError)>) {
        let before = self.shared;
        self.shared += resource.spec.targets().len();
        if before <= SHARED_LIMITS_MAX && self.shared > SHARED_LIMITS_MAX {
            let message = format!("with it there are {} limits that proxies share", self.shared);
            let expected = format!("at most {SHARED_LIMITS_MAX}, each target counted");
            faults.push((index, FieldError::new(SCOPE, message).expected(expected)));
        }
    }
}

/// How many limits of some resources proxies share, each target counted.
pub fn shared_limits<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> usize {
    let shared = resources.into_iter().filter(|resource| resource.spec.is_shared());
    shared.map(|resource| resource.spec.targets().len()).sum()
}

/// Whether a fault of a set is that it has more than [`SHARED_LIMITS_MAX`].
pub fn is_of_number(fault: &FieldError) -> bool {
    fault.path == SCOPE
}

fn once(policy: Kind, target: Target<'_>) -> &'static str {
    match (policy, target.kind) {
        (Kind::ListenerPolicy, _) => "one policy for each gateway or listener",
        (_, Some(Kind::Service)) => "one policy for each service",
        _ => "one policy for each route or rule",
    }
}

/// Where calls of one service go when a breaker is open.
struct Edge {
    /// The policy that says so.
    policy: usize,
    path: String,
    to: ServiceRef,
}

/// Fallbacks that would send a call in a circle: it might come back while nothing of it is well. A policy's own fault,
/// a fallback to its own target without a namespace, is said by itself.
pub(super) fn circles(resources: &[&Resource], faults: &mut Vec<(usize, FieldError)>) {
    let mut edges: HashMap<ServiceRef, Vec<Edge>> = HashMap::new();
    let mut order = Vec::new();
    for (policy, resource) in resources.iter().enumerate() {
        let fallbacks = resource.spec.fallbacks();
        if fallbacks.is_empty() {
            continue;
        }
        let namespace = &*resource.metadata.namespace;
        let targets = resource.spec.targets();
        for target in targets.iter().filter(|target| target.kind == Some(Kind::Service)) {
            let from = ServiceRef::new(namespace, target.name);
            for fallback in &fallbacks {
                let to = fallback.service(namespace);
                if fallback.service.namespace.is_none() && targets.iter().any(|other| is(other, &to)) {
                    continue;
                }
                let edge = Edge { policy, path: format!("{}.name", fallback.path()), to };
                edges.entry(from.clone()).or_default().push(edge);
            }
            order.push(from);
        }
    }
    walk(&edges, &order, faults);
}

fn is(target: &Target<'_>, service: &ServiceRef) -> bool {
    target.kind == Some(Kind::Service) && target.name == service.name
}

/// Goes along all edges, depth first and without recursion; each one that leads back to where the walk came through
/// closes a circle.
fn walk(edges: &HashMap<ServiceRef, Vec<Edge>>, order: &[ServiceRef], faults: &mut Vec<(usize, FieldError)>) {
    /// Where on the way a service stands, or none when all that it leads to has been looked at.
    type Visited<'a> = HashMap<&'a ServiceRef, Option<usize>>;
    let mut visited: Visited<'_> = HashMap::new();
    for start in order {
        if visited.contains_key(start) {
            continue;
        }
        visited.insert(start, Some(0));
        let mut way: Vec<(&ServiceRef, usize)> = vec![(start, 0)];
        while let Some((service, next)) = way.last_mut() {
            let Some(edge) = edges.get(*service).and_then(|all| all.get(*next)) else {
                visited.insert(*service, None);
                way.pop();
                continue;
            };
            *next += 1;
            match visited.get(&edge.to) {
                None => {
                    visited.insert(&edge.to, Some(way.len()));
                    way.push((&edge.to, 0));
                }
                Some(None) => {}
                Some(Some(at)) => {
                    let circle: Vec<&ServiceRef> = way[*at..].iter().map(|(service, _)| *service).collect();
                    faults.push((edge.policy, circular(&edge.path, &circle)));
                }
            }
        }
    }
}

fn circular(path: &str, circle: &[&ServiceRef]) -> FieldError {
    let mut shown: Vec<String> = circle.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if circle.len() > SHOWN_MAX {
        shown.push("...".to_owned());
    }
    shown.extend(circle.first().map(ToString::to_string));
    FieldError::new(path, format!("calls would fall back in a circle: {}", shown.join(" -> ")))
        .expected("a service that does not lead back")
}
