//! Which limits a proxy may ever ask: a document may be for several targets, of which some are other proxies'.

use std::collections::HashSet;

use weir_model::{Kind, ResourceId, ServiceRef};

use crate::snapshot::{Inputs, Role, is_gateway_of, is_wanted};

/// What requests of a proxy can come to, as far as limits go.
pub(super) enum Reach {
    /// A gateway: what its routes lead to.
    Gateway {
        /// The gateways that it serves; all when empty.
        gateways: Vec<String>,
        /// Their routes.
        routes: HashSet<ResourceId>,
        /// The services that these lead to, and those that breakers send calls to instead.
        services: HashSet<ServiceRef>,
    },
    /// A sidecar: limits hold where calls arrive, at its own service.
    Sidecar(ServiceRef),
}

impl Reach {
    /// Works out what there is. Looks at all documents once.
    pub(super) fn of(inputs: &Inputs, role: &Role) -> Self {
        let gateways = match role {
            Role::Gateway { gateways } => gateways.clone(),
            Role::Sidecar { service } => return Self::Sidecar(service.clone()),
        };
        let (mut routes, mut services) = (HashSet::new(), HashSet::new());
        for (id, resource) in &*inputs.resources {
            let spec = &resource.spec;
            // Which of these are of a service that routes lead to is not looked into: almost all are.
            let fallbacks = spec.fallbacks();
            services.extend(fallbacks.into_iter().map(|fallback| fallback.service(&id.namespace)));
            if spec.parent_refs().iter().any(|parent| is_gateway_of(parent, id, &gateways)) {
                routes.insert(id.clone());
                let backends = spec.backends().into_iter();
                let to = backends.filter(|backend| backend.kind.is_none_or(|kind| kind == "Service"));
                services.extend(to.map(|backend| {
                    ServiceRef::new(backend.namespace.unwrap_or(&id.namespace), backend.name)
                }));
            }
        }
        Self::Gateway { gateways, routes, services }
    }

    /// Whether a limit of this target is ever asked. A sidecar that calls a service knows its limits, for explanations, but they
    /// hold where the call arrives.
    pub(super) fn asks(&self, target: &ResourceId) -> bool {
        let service = || ServiceRef::new(&*target.namespace, &*target.name);
        match (self, target.kind) {
            (Self::Gateway { gateways, .. }, Kind::Gateway) => is_wanted(target, gateways),
            (Self::Gateway { services, .. }, Kind::Service) => services.contains(&service()),
            (Self::Gateway { routes, .. }, _) => routes.contains(target),
            (Self::Sidecar(own), Kind::Service) => *own == service(),
            (Self::Sidecar(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::snapshot::tests::{gateway, inputs, resource, route, service};
    use crate::snapshot::{Compiler, Role};

    #[test]
    fn a_gateway_shares_limits_of_what_its_routes_lead_to_alone() {
        let of = |kind: &str, name: &str| json!({"kind": kind, "name": name});
        let named = ["cart", "spare", "other", "nowhere"];
        let routes = ["shop", "admin"];
        let targets: Vec<_> = [of("Gateway", "edge"), of("Gateway", "inner")]
            .into_iter()
            .chain(routes.map(|name| of("HTTPRoute", name)))
            .chain(named.map(|name| of("Service", name)))
            .collect();
        let spec = json!({"targetRefs": targets, "scope": "global", "rates": [{"requests": 5}]});
        let falls = json!([{"fallback": {"service": {"name": "spare"}}}]);
        let documents = || {
            inputs([
                gateway("edge"),
                resource(
                    "Gateway",
                    "inner",
                    json!({"listeners": [{"name": "web", "port": 8081, "protocol": "HTTP"}]}),
                ),
                route("shop", json!([{"name": "edge"}]), "cart"),
                route("admin", json!([{"name": "inner"}]), "other"),
                service("cart", &[1]),
                service("spare", &[1]),
                service("other", &[1]),
                resource(
                    "TrafficPolicy",
                    "cart",
                    json!({"targetRefs": [{"name": "cart"}], "breakers": falls}),
                ),
                resource("RateLimit", "all", spec.clone()),
            ])
        };
        let shared = |role: Role| {
            let snapshot = Compiler::new(role).compile(&documents(), None).unwrap();
            let shared = snapshot.limits.all().iter().filter(|limit| limit.is_shared());
            let mut targets: Vec<String> = shared.map(|limit| limit.target.to_string()).collect();
            targets.sort();
            targets
        };
        let edge = Role::Gateway { gateways: vec!["edge".to_owned()] };
        assert_eq!(shared(edge), ["Gateway/edge", "HTTPRoute/shop", "Service/cart", "Service/spare"]);
        let all = Role::Gateway { gateways: Vec::new() };
        assert_eq!(shared(all).len(), 7, "all but the service that no route leads to");
        let own = weir_model::ServiceRef::new("default", "other");
        assert_eq!(shared(Role::Sidecar { service: own }), ["Service/other"]);
    }
}
