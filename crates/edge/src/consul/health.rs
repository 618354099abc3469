//! `/v1/health`: who is there, and how well.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_control::catalog::{InstanceEntry, InstanceRef, ServiceMember, Topic};
use weir_model::registry::{Health, Instance};

use super::answer::{Answer, read_list, write};
use super::options::{node_meta, switch};
use super::refusal::Refusal;
use super::views::{CheckJson, HealthJson, instance_checks, node_checks};
use super::{ConsulApi, definition};
use crate::http::Request;

/// `health/service/:service`: the instances of a service with their nodes and checks.
pub(super) async fn service(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let passing_only = switch(&request.query, "passing")?;
    let name = service_named(&request)?;
    api.wait(&mut request, &options, &Topic::service(&*options.namespace, &*name)).await?;
    api.about_service("health", &request, &options, &name, || {
        let view = api.service_view(&options.namespace, &name);
        let filter = MemberFilter::of(&request);
        let wanted = |member: &&ServiceMember| {
            filter.takes(member) && (!passing_only || member.health() == Health::Passing)
        };
        let mut members: Vec<_> = view.entries.iter().filter(wanted).collect();
        if let Some(nearness) = api.nearness(&request) {
            nearness.sort(&mut members, |member| &member.node.node.value.name);
        }
        let lines: Vec<_> = members.into_iter().map(|member| HealthJson::of(member, api.here())).collect();
        Ok((view.index, write(options.pretty, &options.filter.apply(lines)?)?.into()))
    })
}

/// `health/checks/:service`: the checks of a service's instances.
pub(super) async fn checks(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let name = service_named(&request)?;
    api.wait(&mut request, &options, &Topic::service(&*options.namespace, &*name)).await?;
    let view = api.service_view(&options.namespace, &name);
    let meta = node_meta(&request.query);
    let mut members: Vec<_> = view.entries.iter().filter(|member| has_meta(member, &meta)).collect();
    if let Some(nearness) = api.nearness(&request) {
        nearness.sort(&mut members, |member| &member.node.node.value.name);
    }
    let checks: Vec<_> = members.into_iter().flat_map(|member| instance_checks(&member.instance)).collect();
    read_list(&options, view.index, checks)
}

/// `health/node/:node`: all checks on a node.
pub(super) async fn node(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let name = named(&request, "Missing node name")?;
    api.wait(&mut request, &options, &Topic::node(&name)).await?;
    let view = api.catalog().node_view(&name);
    let mut checks = Vec::new();
    if let Some(node) = &view.entries {
        checks.extend(node_checks(&node.node, api.here()));
        let here = node.instances.iter().filter(|instance| instance.value().namespace == options.namespace);
        checks.extend(here.flat_map(|instance| instance_checks(instance)));
    }
    read_list(&options, view.index, checks)
}

/// `health/state/:state`: all checks that report a state, or `any`.
pub(super) async fn state(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let name = named(&request, "Missing check state")?;
    let health = match &*name {
        "any" => None,
        name => Some(definition::health(name).ok_or_else(|| {
            Refusal::bad(format!("Invalid check state {name:?}: expected any, passing, warning or critical"))
        })?),
    };
    let topic = Topic::Checks { namespace: options.namespace.clone(), health };
    api.wait(&mut request, &options, &topic).await?;
    let catalog = api.catalog();
    let index = catalog.index(&topic);
    let meta = node_meta(&request.query);
    // Maintenance and liveness are checks to Consul's clients, though not to the registry: look at whole nodes.
    let mut nodes: Vec<_> = catalog
        .nodes_view()
        .entries
        .iter()
        .filter(|entry| {
            meta.iter().all(|(key, value)| entry.node.value.metadata.get(*key).is_some_and(|v| v == value))
        })
        .filter_map(|entry| catalog.node_view(&entry.node.value.name).entries)
        .collect();
    if let Some(nearness) = api.nearness(&request) {
        nearness.sort(&mut nodes, |node| &node.node.node.value.name);
    }
    // Most instances have nothing to say to a question about one state: they are passed over before any is written.
    let says = |instance: &&Arc<InstanceEntry>| {
        let value = instance.value();
        let Some(health) = health else { return value.namespace == options.namespace };
        value.namespace == options.namespace
            && (instance.checks.iter().any(|check| check.value.health == health)
                || (health == Health::Critical && value.maintenance.is_some()))
    };
    let mut checks: Vec<CheckJson<'_>> = Vec::new();
    for node in &nodes {
        checks.extend(node_checks(&node.node, api.here()));
        checks.extend(node.instances.iter().filter(says).flat_map(|instance| instance_checks(instance)));
    }
    if let Some(health) = health {
        checks.retain(|check| check.status() == health.as_str());
    }
    read_list(&options, index, checks)
}

/// What stands behind the route, which must not be empty.
pub(super) fn named(request: &Request, missing: &str) -> Result<String, Refusal> {
    match request.rest() {
        "" => Err(Refusal::bad(missing)),
        name => Ok(name.to_owned()),
    }
}

/// The name of a service, in lower case: in reads it means services of that name in any case, as in Consul.
pub(super) fn service_named(request: &Request) -> Result<String, Refusal> {
    Ok(named(request, "Missing service name")?.to_ascii_lowercase())
}

/// An instance as `health/service` shows it: every field that a filter may name.
pub(super) fn sample() -> Value {
    json!({
        "Node": {
            "ID": "", "Node": "", "Address": "", "Datacenter": "", "TaggedAddresses": {}, "Meta": {},
            "CreateIndex": 1, "ModifyIndex": 1,
        },
        "Service": {
            "ID": "", "Service": "", "Tags": [], "Address": "", "TaggedAddresses": {}, "Meta": {}, "Port": 1,
            "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false, "Connect": {},
            "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "PeerName": "", "CreateIndex": 1, "ModifyIndex": 1,
        },
        "Checks": [],
    })
}

/// Which instances of a service a request wants: all of the tags, all of the node metadata.
pub(super) struct MemberFilter<'a> {
    tags: Vec<&'a str>,
    meta: Vec<(&'a str, &'a str)>,
    /// Asks for what another cluster exports to this one; nothing is.
    of_peer: bool,
}

impl<'a> MemberFilter<'a> {
    pub(super) fn of(request: &'a Request) -> Self {
        let tags = request.query.all("tag").filter(|tag| !tag.is_empty()).collect();
        Self { tags, meta: node_meta(&request.query), of_peer: request.query.get_filled("peer").is_some() }
    }

    pub(super) fn takes(&self, member: &ServiceMember) -> bool {
        let instance = member.instance.value();
        !self.of_peer && self.tags.iter().all(|tag| has_tag(instance, tag)) && has_meta(member, &self.meta)
    }
}

fn has_tag(instance: &Instance, tag: &str) -> bool {
    instance.tags.iter().any(|own| own.eq_ignore_ascii_case(tag))
}

fn has_meta(member: &ServiceMember, wanted: &[(&str, &str)]) -> bool {
    let metadata = &member.node.node.value.metadata;
    wanted.iter().all(|(key, value)| metadata.get(*key).is_some_and(|own| own == value))
}

/// An instance of this server's own node.
pub(super) fn own_instance(api: &ConsulApi, namespace: &str, id: &str) -> Option<ServiceMember> {
    api.catalog().instance(&InstanceRef::new(namespace, api.here().node, id))
}
