//! Reads: lists and single things, served from the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weir_api::client::encode_segment;
use weir_api::native::{
    ChangeSetView, Gathered, HealthCounts, InstanceView, List, PREFIX, PositionAnswer, ProxyView,
    RejectionView, ResourceView, ServiceView,
};
use weir_control::Control;
use weir_control::catalog::{InstanceRef, ServiceMember};
use weir_control::proxies::Rejection;
use weir_control::resources::ResourceEntry;
use weir_model::registry::{Health, Runner};
use weir_model::{DEFAULT_NAMESPACE, Kind, Position, ResourceId, ServiceRef, Spec};

use super::refusal::Refusal;
use super::{NativeApi, OWN, flag, known_parameters, ok};
use crate::consul::chain::Effective;
use crate::http::{Request, Response};
use crate::mesh::ProxyStatus;

impl NativeApi {
    pub(super) async fn position(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &[])?;
        Ok(ok(&PositionAnswer { position: self.control.position() }))
    }

    pub(super) async fn resources(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace"])?;
        Ok(ok(&self.list_resources(None, request.query.get_filled("namespace"))))
    }

    /// `/resources/KIND` or `/resources/KIND/NAME`.
    pub(super) async fn resource(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace"])?;
        let namespace = request.query.get_filled("namespace");
        let Some((kind, name)) = request.rest().split_once('/') else {
            return Ok(ok(&self.list_resources(Some(parse_kind(request.rest())?), namespace)));
        };
        let id = ResourceId::new(parse_kind(kind)?, namespace.unwrap_or(DEFAULT_NAMESPACE), name);
        let set = self.control.catalog().resources().entries;
        let entry = set.get(&id).ok_or_else(|| Refusal::not_found(&id))?;
        Ok(ok(&resource_view(entry)))
    }

    fn list_resources(&self, kind: Option<Kind>, namespace: Option<&str>) -> List<ResourceView> {
        let position = self.control.position();
        let set = self.control.catalog().resources().entries;
        let items = set
            .iter()
            .filter(|(id, _)| kind.is_none_or(|kind| id.kind == kind))
            .filter(|(id, _)| namespace.is_none_or(|namespace| id.namespace == namespace))
            .map(|(_, entry)| resource_view(entry))
            .collect();
        List { position, items }
    }

    pub(super) async fn services(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "name"])?;
        let position = self.control.position();
        let (namespace, name) = (request.query.get_filled("namespace"), request.query.get_filled("name"));
        let mut found: BTreeMap<ServiceRef, ServiceView> = BTreeMap::new();
        let effective = self.control.catalog().read(|moment| self.mesh.effective(moment));
        for service in self.known_services(&effective) {
            let wanted = namespace.is_none_or(|namespace| namespace == service.namespace)
                && name.is_none_or(|name| name == service.name);
            if wanted {
                found.insert(service.clone(), self.service_view(&effective, &service));
            }
        }
        Ok(ok(&List { position, items: found.into_values().collect::<Vec<_>>() }))
    }

    /// Every service that is registered or declared, or that config entries route.
    fn known_services(&self, effective: &Effective) -> Vec<ServiceRef> {
        let catalog = self.control.catalog();
        let mut services: Vec<ServiceRef> = effective.routed().into_iter().cloned().collect();
        for namespace in catalog.namespaces() {
            let registered = catalog.services_view(&namespace).entries;
            services
                .extend(registered.into_iter().map(|service| ServiceRef::new(&*namespace, &*service.name)));
        }
        let set = catalog.resources().entries;
        services.extend(set.list(Kind::Service, None).map(|entry| {
            let metadata = &entry.resource.metadata;
            ServiceRef::new(&metadata.namespace, &metadata.name)
        }));
        services
    }

    fn service_view(&self, effective: &Effective, service: &ServiceRef) -> ServiceView {
        let catalog = self.control.catalog();
        let members = catalog.service_view(&service.namespace, &service.name).entries;
        let mut instances = HealthCounts::default();
        let mut tags: Vec<String> = Vec::new();
        for member in &members {
            instances.add(member.health());
            tags.extend(member.instance.value().tags.iter().cloned());
        }
        tags.sort_unstable();
        tags.dedup();
        let set = catalog.resources().entries;
        let id = ResourceId::new(Kind::Service, &service.namespace, &service.name);
        let document = set.get(&id).and_then(|entry| match &entry.resource.spec {
            Spec::Service(spec) => Some(spec),
            _ => None,
        });
        let stated = effective.protocol(service, &catalog.endpoints(service).endpoints);
        let protocol = stated.as_ref().map(|stated| stated.protocol).unwrap_or_default();
        ServiceView {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            protocol: protocol.as_str().to_owned(),
            protocol_from: stated.map(|stated| stated.from),
            config_entries: effective.entries_of(service),
            instances,
            static_endpoints: document.map_or(0, |document| document.endpoints.len()),
            declared: document.is_some(),
            tags,
        }
    }

    pub(super) async fn instances(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "service"])?;
        let position = self.control.position();
        let catalog = self.control.catalog();
        let (wanted, service) = (request.query.get_filled("namespace"), request.query.get_filled("service"));
        let mut items = Vec::new();
        for namespace in catalog.namespaces() {
            if wanted.is_some_and(|wanted| wanted != &*namespace) {
                continue;
            }
            for summary in catalog.services_view(&namespace).entries {
                if service.is_none_or(|service| service == &*summary.name) {
                    let members = catalog.service_view(&namespace, &summary.name).entries;
                    items.extend(members.iter().map(|member| instance_view(&self.control, member)));
                }
            }
        }
        Ok(ok(&List { position, items }))
    }

    /// `/instances/ID`.
    pub(super) async fn instance(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "node"])?;
        let instance = self.instance_ref(&request)?;
        let member = self.control.catalog().instance(&instance);
        let member = member.ok_or_else(|| Refusal::not_found(format!("instance `{}`", instance.id)))?;
        Ok(ok(&instance_view(&self.control, &member)))
    }

    /// Names the instance that a path and query are about; on this server's own node unless they say otherwise.
    pub(super) fn instance_ref(&self, request: &Request) -> Result<InstanceRef, Refusal> {
        if request.rest().is_empty() {
            return Err(Refusal::bad("id", "the path ends after /instances/", "/weir/v1/instances/ID"));
        }
        let namespace = request.query.get_filled("namespace").unwrap_or(DEFAULT_NAMESPACE);
        let node = request.query.get_filled("node").unwrap_or(&self.control.settings().node_name);
        Ok(InstanceRef::new(namespace, node, request.rest()))
    }

    pub(super) async fn proxies(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "id", OWN])?;
        // The position first: a change that comes in between then shows as "behind", never as applied.
        let current = self.mesh.position();
        let now = SystemTime::now();
        let (namespace, id) = (request.query.get_filled("namespace"), request.query.get_filled("id"));
        let mut items: Vec<ProxyView> = self
            .mesh
            .proxies()
            .into_iter()
            .filter(|status| namespace.is_none_or(|namespace| namespace == status.namespace))
            .filter(|status| id.is_none_or(|id| id == status.proxy.id))
            .map(|status| proxy_view(status, current, now))
            .collect();
        let position = self.control.position();
        let mut missing = Vec::new();
        if !flag(&request, OWN)? {
            let given = [("namespace", namespace), ("id", id)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)));
            let query: String =
                given.map(|(name, value)| format!("&{name}={}", encode_segment(value))).collect();
            let others = self.peers.ask::<List<ProxyView>>(&format!("{PREFIX}/proxies?{OWN}{query}")).await;
            items.extend(others.answers.into_iter().flat_map(|list| list.items));
            // One that has just moved is known to both; the newer connection is the one that lasts.
            items.sort_by(|a, b| (&a.id, a.connected_ms).cmp(&(&b.id, b.connected_ms)));
            items.dedup_by(|next, first| next.id == first.id);
            missing = others.missing;
        }
        Ok(ok(&Gathered { position, items, missing }))
    }

    pub(super) async fn changes(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["number"])?;
        let number = match request.query.get_filled("number") {
            None => None,
            Some(text) => Some(text.parse::<u64>().map_err(|_| {
                Refusal::bad("number", format!("`{text}` is no number of a change"), "a number such as 12")
            })?),
        };
        let catalog = self.control.catalog();
        let head = catalog.head().map(|head| head.number);
        let items: Vec<ChangeSetView> = catalog
            .change_sets()
            .entries
            .iter()
            .filter(|set| number.is_none_or(|number| number == set.number))
            .map(|set| ChangeSetView {
                number: set.number,
                time_ms: set.time_ms,
                author: set.author.clone(),
                message: match set.rollback_to {
                    Some(number) if set.message.is_empty() => format!("back to {number}"),
                    _ => set.message.clone(),
                },
                counts: [("created", set.created), ("updated", set.updated), ("deleted", set.deleted)]
                    .into_iter()
                    .filter(|(_, count)| *count > 0)
                    .map(|(what, count)| (what.to_owned(), count))
                    .collect(),
                head: head == Some(set.number),
            })
            .collect();
        Ok(ok(&List { position: self.control.position(), items }))
    }
}

/// Reads a kind in a path.
pub(super) fn parse_kind(text: &str) -> Result<Kind, Refusal> {
    text.parse().map_err(|_| {
        let names = Kind::ALL.map(Kind::as_str);
        let mut problem = weir_api::native::Problem::new(format!("unknown kind `{text}`"))
            .at("kind")
            .expected(names.join(", "));
        problem.suggestion = weir_model::document::nearest(text, names).map(str::to_owned);
        Refusal::new(http::StatusCode::NOT_FOUND, problem)
    })
}

fn resource_view(entry: &ResourceEntry) -> ResourceView {
    ResourceView { revision: entry.changed_in, resource: entry.resource.clone() }
}

fn instance_view(control: &Control, member: &ServiceMember) -> InstanceView {
    let mut instance = member.instance.value().clone();
    // What people want to see is where it is; that it inherits its node's address is no news.
    member.address().clone_into(&mut instance.address);
    instance.maintenance = member.maintenance().map(str::to_owned);
    InstanceView {
        health: member.health(),
        instance,
        checks: member.checks().map(|check| check.value.clone()).collect(),
        agent_silent_ms: agent_silent(control, member).map(|silent| silent.as_millis() as u64),
    }
}

/// For how long the agent of an instance's node has been silent, where it is taken to be gone: that it was waited for, and since.
fn agent_silent(control: &Control, member: &ServiceMember) -> Option<Duration> {
    let mut checks = member.checks();
    let presence = checks
        .find(|check| check.value.runner == Runner::Presence && check.value.health == Health::Critical)?;
    let waited = presence.value.definition.as_ref()?.interval.0;
    Some(control.agent_absence(&presence.value.node)? + waited)
}

fn proxy_view(status: ProxyStatus, current: Position, now: SystemTime) -> ProxyView {
    let ProxyStatus { proxy, namespace, gateways, admin, subscriptions, behind } = status;
    let connected = now.duration_since(proxy.connected_at).unwrap_or_default();
    let rejection = |rejection: Rejection| RejectionView {
        resource: rejection.resource,
        path: rejection.path,
        reason: rejection.reason,
    };
    ProxyView {
        id: proxy.id,
        role: proxy.role,
        namespace,
        service: proxy.service,
        gateways,
        node: proxy.node,
        version: proxy.version,
        admin,
        connected_ms: u64::try_from(connected.as_millis()).unwrap_or(u64::MAX),
        sent: proxy.sent,
        applied: proxy.acknowledged,
        in_sync: !behind,
        current: current.max(proxy.acknowledged),
        subscriptions,
        rejections: proxy.rejections.into_iter().map(rejection).collect(),
    }
}
