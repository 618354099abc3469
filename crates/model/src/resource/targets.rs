//! What policies are for, and where they send calls instead: in one place for validation, hints, what a proxy is told and
//! what it compiles.

use super::rate_limit::LimitScope;
use super::traffic_policy::{FallbackService, PolicyTarget};
use super::{Kind, ResourceId, ServiceRef, Spec};

/// What a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target<'a> {
    /// The kind; none when it is written and no target of such a policy.
    pub kind: Option<Kind>,
    /// The name, in the policy's namespace.
    pub name: &'a str,
    /// A part of it: a listener of a gateway, a named rule of a route.
    pub section: Option<&'a str>,
}

impl Target<'_> {
    /// The resource it names, for a policy of this namespace. A service need not be declared.
    pub fn id(&self, namespace: &str) -> Option<ResourceId> {
        self.kind.map(|kind| ResourceId::new(kind, namespace, self.name))
    }
}

/// Where a breaker sends calls instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallbackRef<'a> {
    /// Which of the policy's breakers.
    pub breaker: usize,
    /// The service.
    pub service: &'a FallbackService,
}

impl FallbackRef<'_> {
    /// Path of the reference.
    pub fn path(&self) -> String {
        format!("spec.breakers[{}].fallback.service", self.breaker)
    }

    /// The service, for a policy of this namespace.
    pub fn service(&self, namespace: &str) -> ServiceRef {
        ServiceRef::new(self.service.namespace.as_deref().unwrap_or(namespace), &*self.service.name)
    }
}

impl Kind {
    /// The kinds that a policy of this kind can be for, the one that is meant when none is written first; none for what
    /// is no policy.
    pub const fn targets(self) -> &'static [Self] {
        match self {
            Self::TrafficPolicy => &[Self::Service, Self::HttpRoute, Self::GrpcRoute],
            Self::RateLimit => &[Self::Service, Self::Gateway, Self::HttpRoute, Self::GrpcRoute],
            Self::ListenerPolicy => &[Self::Gateway],
            _ => &[],
        }
    }
}

impl PolicyTarget {
    /// This target of a policy of a kind.
    pub fn of(&self, policy: Kind) -> Target<'_> {
        target(policy, self.kind.as_deref(), &self.name, self.section_name.as_deref())
    }
}

impl Spec {
    /// What a policy is for, in the order of its `targetRefs`; nothing for what is no policy.
    pub fn targets(&self) -> Vec<Target<'_>> {
        match self {
            Self::TrafficPolicy(spec) => {
                spec.target_refs.iter().map(|one| one.of(Kind::TrafficPolicy)).collect()
            }
            Self::RateLimit(spec) => spec.target_refs.iter().map(|one| one.of(Kind::RateLimit)).collect(),
            Self::ListenerPolicy(spec) => {
                let targets = spec.target_refs.iter();
                let of = Kind::ListenerPolicy;
                targets
                    .map(|one| target(of, one.kind.as_deref(), &one.name, one.section_name.as_deref()))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether it is a limit that proxies share.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::RateLimit(spec) if spec.scope == LimitScope::Global)
    }

    /// The services that a traffic policy's breakers send calls to instead; none for others.
    pub fn fallbacks(&self) -> Vec<FallbackRef<'_>> {
        let Self::TrafficPolicy(spec) = self else { return Vec::new() };
        let breakers = spec.breakers.iter().enumerate();
        breakers
            .filter_map(|(breaker, one)| {
                let service = one.fallback.as_ref()?.service.as_ref()?;
                Some(FallbackRef { breaker, service })
            })
            .collect()
    }
}

fn target<'a>(policy: Kind, kind: Option<&str>, name: &'a str, section: Option<&'a str>) -> Target<'a> {
    let kinds = policy.targets();
    let kind = match kind {
        None => kinds.first().copied(),
        Some(written) => kinds.iter().copied().find(|kind| kind.as_str() == written),
    };
    Target { kind, name, section }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_that_is_not_written_depends_on_the_policy() {
        let kind = |policy: Kind, kind: Option<&str>| {
            let kind = kind.map(str::to_owned);
            PolicyTarget { kind, name: "a".to_owned(), ..PolicyTarget::default() }.of(policy).kind
        };
        assert_eq!(kind(Kind::TrafficPolicy, None), Some(Kind::Service));
        assert_eq!(kind(Kind::RateLimit, None), Some(Kind::Service));
        assert_eq!(kind(Kind::RateLimit, Some("Gateway")), Some(Kind::Gateway));
        assert_eq!(kind(Kind::TrafficPolicy, Some("Gateway")), None);
        assert_eq!(kind(Kind::ListenerPolicy, None), Some(Kind::Gateway));
        assert_eq!(kind(Kind::Service, None), None);
    }

    #[test]
    fn what_a_policy_refers_to() {
        let spec = serde_json::json!({
            "targetRefs": [{"name": "cart"}, {"kind": "HTTPRoute", "name": "shop", "sectionName": "buy"}, {"kind": "X", "name": "a"}],
            "breakers": [{}, {"fallback": {"service": {"name": "spare"}}},
                         {"fallback": {"service": {"name": "spare", "namespace": "far"}}}]
        });
        let spec = Spec::TrafficPolicy(serde_json::from_value(spec).unwrap());
        let ids: Vec<Option<String>> =
            spec.targets().iter().map(|target| target.id("shop").map(|id| id.to_string())).collect();
        assert_eq!(ids, [Some("Service/shop/cart".to_owned()), Some("HTTPRoute/shop/shop".to_owned()), None]);
        assert_eq!(spec.targets()[1].section, Some("buy"));
        let found: Vec<String> =
            spec.fallbacks().iter().map(|one| format!("{} {}", one.path(), one.service("near"))).collect();
        assert_eq!(
            found,
            ["spec.breakers[1].fallback.service near/spare", "spec.breakers[2].fallback.service far/spare"]
        );
    }
}
