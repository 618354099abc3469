//! Policies taken together: one for each target, and bounded numbers of limits.

use std::collections::HashMap;

use crate::resource::targets::Target;
use crate::resource::{Kind, Resource, ResourceId};
use crate::validate::FieldError;

/// Most limits for one target: each takes part in each decision.
pub const LIMITS_MAX: usize = 5;
/// Most limits that proxies share (`scope: global`) in a cluster, each target of a document counted: of each the control
/// plane keeps a book.
pub const SHARED_LIMITS_MAX: usize = 16_384;
/// Where a fault is that is one of the number of such limits.
const SCOPE: &str = "spec.scope";
/// How the place begins of a fault of the number of limits of a target.
const TARGETS: &str = "spec.targetRefs[";

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
            let path = format!("{TARGETS}{at}]");
            if kind == Kind::RateLimit {
                let limits = self.limits.entry(key).or_insert(0);
                *limits += 1;
                if *limits > LIMITS_MAX {
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

/// What there may be only so many of, where a fault of a set is that there are too many. Such a fault is nobody's in
/// particular: whoever is there already may stay, and there must not be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounded<'a> {
    /// Limits that proxies share: at most [`SHARED_LIMITS_MAX`].
    SharedLimits,
    /// Limits of a target of this namespace: at most [`LIMITS_MAX`].
    LimitsOf(&'a str, Target<'a>),
}

impl<'a> Bounded<'a> {
    /// Of a fault that a set has at a resource; none of any other fault.
    pub fn of(resource: &'a Resource, fault: &FieldError) -> Option<Self> {
        if resource.kind() != Kind::RateLimit {
            return None;
        }
        if fault.path == SCOPE {
            return Some(Self::SharedLimits);
        }
        let at = fault.path.strip_prefix(TARGETS)?.strip_suffix(']')?;
        let target = resource.spec.targets().get(at.parse::<usize>().ok()?).copied()?;
        Some(Self::LimitsOf(&resource.metadata.namespace, target))
    }

    /// How many some resources have.
    pub fn count<'r>(&self, resources: impl IntoIterator<Item = &'r Resource>) -> usize {
        let limits = resources.into_iter().filter(|resource| resource.kind() == Kind::RateLimit);
        let of = |resource: &Resource| match self {
            Self::SharedLimits if !resource.spec.is_shared() => 0,
            Self::SharedLimits => resource.spec.targets().len(),
            Self::LimitsOf(namespace, _) if resource.metadata.namespace != *namespace => 0,
            Self::LimitsOf(_, target) => resource.spec.targets().iter().filter(|one| *one == target).count(),
        };
        limits.map(of).sum()
    }
}

fn once(policy: Kind, target: Target<'_>) -> &'static str {
    match (policy, target.kind) {
        (Kind::ListenerPolicy, _) => "one policy for each gateway or listener",
        (_, Some(Kind::Service)) => "one policy for each service",
        _ => "one policy for each route or rule",
    }
}
