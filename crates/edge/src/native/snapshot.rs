//! `/snapshot`: everything that a gateway, or a service's sidecar, works from; what `weir explain` runs on.

use std::sync::Arc;

use weir_api::snapshot::{ServiceInputs, SnapshotInputs};
use weir_control::Settings;
use weir_control::catalog::Moment;
use weir_control::resources::{Closure, Subscription, closure};
use weir_model::dns_names::DnsNames;
use weir_model::{DEFAULT_NAMESPACE, Kind, ResourceId, ServiceRef};

use super::refusal::Refusal;
use super::{NativeApi, known_parameters, ok};
use crate::consul::chain::Effective;
use crate::http::{Request, Response};
use crate::mesh::endpoint_inputs;

impl NativeApi {
    /// `?gateway=NAME`, or `?service=NAME` (repeatable) for what callers of services see.
    pub(super) async fn snapshot(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["gateway", "service", "namespace"])?;
        let namespace = request.query.get_filled("namespace").unwrap_or(DEFAULT_NAMESPACE);
        let gateway = request.query.get_filled("gateway");
        let mut subscriptions: Vec<Subscription> = request
            .query
            .all("service")
            .filter(|name| !name.is_empty())
            .map(|name| Subscription::Upstream(service_ref(namespace, name)))
            .collect();
        if let Some(name) = gateway {
            subscriptions
                .push(Subscription::Gateway { namespace: namespace.to_owned(), name: name.to_owned() });
        }
        if subscriptions.is_empty() {
            return Err(Refusal::bad(
                "gateway",
                "neither a gateway nor a service is named",
                "?gateway=NAME or ?service=NAME",
            ));
        }
        let inputs = self.control.catalog().read(|moment| {
            if let Some(name) = gateway {
                let id = ResourceId::new(Kind::Gateway, namespace, name);
                if moment.resources().get(&id).is_none() {
                    return Err(Refusal::not_found(&id));
                }
            }
            Ok(inputs(moment, &self.mesh.effective(moment), &subscriptions, self.control.settings()))
        })?;
        Ok(ok(&inputs))
    }
}

/// `name` or `namespace/name`.
fn service_ref(namespace: &str, name: &str) -> ServiceRef {
    match name.split_once('/') {
        Some((namespace, name)) => ServiceRef::new(namespace, name),
        None => ServiceRef::new(namespace, name),
    }
}

fn inputs(
    moment: &Moment<'_>,
    effective: &Effective,
    subscriptions: &[Subscription],
    settings: &Settings,
) -> SnapshotInputs {
    let mut all = Closure::default();
    for subscription in subscriptions {
        all.extend(closure(effective.resources(), subscription));
    }
    let resources = all
        .resources
        .iter()
        .filter_map(|id| effective.resources().get(id))
        .map(|entry| entry.resource.clone())
        .collect();
    let services = all
        .services
        .iter()
        .map(|service| {
            let view = effective.endpoints(moment, service, settings);
            ServiceInputs {
                service: service.clone(),
                known: view.known,
                protocol: effective.protocol(service, &view.endpoints),
                endpoints: view.endpoints.into_iter().map(endpoint_inputs).collect(),
            }
        })
        .collect();
    let called = subscriptions.iter().filter_map(|subscription| match subscription {
        Subscription::Upstream(service) => Some(service),
        Subscription::Gateway { .. } | Subscription::Own(_) => None,
    });
    let remarks = effective.remarks(moment, settings, &called.collect(), &all.services);
    let decided_by = effective.decided_by(&all.resources);
    let names = Some(DnsNames { domains: settings.domains.clone(), datacenter: settings.datacenter.clone() });
    SnapshotInputs {
        resources,
        services,
        names,
        remarks,
        decided_by,
        ..SnapshotInputs::empty(moment.position())
    }
}
