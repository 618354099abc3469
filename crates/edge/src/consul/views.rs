//! The registry in the shapes of Consul's JSON. Everything is borrowed from the catalog and written once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use weir_control::catalog::{CheckEntry, InstanceEntry, NodeEntry, ServiceMember};
use weir_model::Revision;
use weir_model::registry::{CheckKind, Health, Instance, Runner, Weights};

use super::definition::INBOUND_KEY;
use super::duration;

/// What the views must know about this server.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) datacenter: &'a str,
    /// The node that registrations made at this server's agent API belong to.
    pub(super) node: &'a str,
}

impl Here<'_> {
    pub(super) fn is(&self, node: &str) -> bool {
        self.node.eq_ignore_ascii_case(node)
    }
}

/// An empty object, where Consul has settings that do not exist here.
#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ProxyJson {
    mode: &'static str,
    mesh_gateway: Nothing,
    expose: Nothing,
}

const PROXY: ProxyJson = ProxyJson { mode: "", mesh_gateway: Nothing {}, expose: Nothing {} };

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddressJson<'a> {
    address: &'a str,
    port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WeightsJson {
    passing: u32,
    warning: u32,
}

impl From<Weights> for WeightsJson {
    fn from(weights: Weights) -> Self {
        Self { passing: weights.passing, warning: weights.warning }
    }
}

type TaggedJson<'a> = BTreeMap<&'a str, AddressJson<'a>>;

fn tagged<'a>(instance: &'a Instance, here: Here<'_>) -> TaggedJson<'a> {
    let mut all: BTreeMap<&str, AddressJson<'_>> = instance
        .tagged_addresses
        .iter()
        .map(|(key, address)| (key.as_str(), AddressJson { address: &address.host, port: address.port }))
        .collect();
    if let Some(inbound) = &instance.inbound {
        all.insert(INBOUND_KEY, AddressJson { address: &inbound.host, port: inbound.port });
    }
    // A Consul agent adds these to what is registered with it by address; the catalog does not.
    if here.is(&instance.node)
        && let Ok(ip) = instance.address.parse::<std::net::IpAddr>()
    {
        let keys = if ip.is_ipv4() { ["lan_ipv4", "wan_ipv4"] } else { ["lan_ipv6", "wan_ipv6"] };
        for key in keys {
            all.entry(key).or_insert(AddressJson { address: &instance.address, port: instance.port });
        }
    }
    all
}

/// A map that is `null` when empty, as Go writes a map that was never made.
fn null_if_empty<K: Serialize, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if map.is_empty() { serializer.serialize_none() } else { map.serialize(serializer) }
}

/// A node, in lists of nodes and of a service's instances.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NodeJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    #[serde(serialize_with = "null_if_empty")]
    tagged_addresses: BTreeMap<&'a str, &'a str>,
    #[serde(serialize_with = "null_if_empty")]
    meta: BTreeMap<&'a str, &'a str>,
    create_index: Revision,
    modify_index: Revision,
}

impl<'a> NodeJson<'a> {
    pub(super) fn of(entry: &'a NodeEntry, here: Here<'a>) -> Self {
        let node = &entry.node.value;
        Self {
            id: &node.id,
            node: &node.name,
            address: &node.address,
            datacenter: here.datacenter,
            tagged_addresses: node_tagged(entry, here),
            meta: node.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            create_index: entry.node.create_revision,
            modify_index: entry.node.modify_revision,
        }
    }
}

fn node_tagged<'a>(entry: &'a NodeEntry, here: Here<'_>) -> BTreeMap<&'a str, &'a str> {
    let node = &entry.node.value;
    let mut all: BTreeMap<&str, &str> =
        node.tagged_addresses.iter().map(|(key, address)| (key.as_str(), address.as_str())).collect();
    // An agent names its own node's addresses itself.
    if here.is(&node.name) {
        for key in ["lan", "wan"] {
            all.entry(key).or_insert(&node.address);
        }
    }
    all
}

/// An instance within the catalog: in `health/service` and `catalog/node`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ServiceJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    address: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tagged_addresses: TaggedJson<'a>,
    meta: &'a BTreeMap<String, String>,
    port: u16,
    weights: WeightsJson,
    enable_tag_override: bool,
    proxy: ProxyJson,
    connect: Nothing,
    peer_name: &'static str,
    create_index: Revision,
    modify_index: Revision,
}

impl<'a> ServiceJson<'a> {
    pub(super) fn of(entry: &'a InstanceEntry, here: Here<'_>) -> Self {
        let instance = entry.value();
        Self {
            id: &instance.id,
            service: &instance.service,
            tags: &instance.tags,
            address: &instance.address,
            tagged_addresses: tagged(instance, here),
            meta: &instance.metadata,
            port: instance.port,
            weights: instance.weights.into(),
            enable_tag_override: instance.enable_tag_override,
            proxy: PROXY,
            connect: Nothing {},
            peer_name: "",
            create_index: entry.instance.create_revision,
            modify_index: entry.instance.modify_revision,
        }
    }
}

impl<'a> ServiceJson<'a> {
    /// The instance's id.
    pub(super) fn id(&self) -> &'a str {
        self.id
    }
}

/// An instance as its agent tells it: in `agent/services`, `agent/service/:id` and `agent/health`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AgentServiceJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    meta: &'a BTreeMap<String, String>,
    port: u16,
    address: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tagged_addresses: TaggedJson<'a>,
    weights: WeightsJson,
    enable_tag_override: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_hash: Option<String>,
    datacenter: &'a str,
}

impl<'a> AgentServiceJson<'a> {
    pub(super) fn of(instance: &'a Instance, here: Here<'a>) -> Self {
        Self {
            id: &instance.id,
            service: &instance.service,
            tags: &instance.tags,
            meta: &instance.metadata,
            port: instance.port,
            address: &instance.address,
            tagged_addresses: tagged(instance, here),
            weights: instance.weights.into(),
            enable_tag_override: instance.enable_tag_override,
            content_hash: None,
            datacenter: here.datacenter,
        }
    }

    pub(super) fn with_hash(mut self, hash: String) -> Self {
        self.content_hash = Some(hash);
        self
    }
}

/// An instance with its node in one object: in `catalog/service`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CatalogServiceJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    #[serde(serialize_with = "null_if_empty")]
    tagged_addresses: BTreeMap<&'a str, &'a str>,
    #[serde(serialize_with = "null_if_empty")]
    node_meta: BTreeMap<&'a str, &'a str>,
    service_kind: &'static str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    service_address: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    service_tagged_addresses: TaggedJson<'a>,
    service_weights: WeightsJson,
    service_meta: &'a BTreeMap<String, String>,
    service_port: u16,
    service_socket_path: &'static str,
    service_enable_tag_override: bool,
    service_proxy: ProxyJson,
    service_connect: Nothing,
    create_index: Revision,
    modify_index: Revision,
}

impl<'a> CatalogServiceJson<'a> {
    pub(super) fn of(member: &'a ServiceMember, here: Here<'a>) -> Self {
        let node = NodeJson::of(&member.node, here);
        let service = ServiceJson::of(&member.instance, here);
        Self {
            id: node.id,
            node: node.node,
            address: node.address,
            datacenter: node.datacenter,
            tagged_addresses: node.tagged_addresses,
            node_meta: node.meta,
            service_kind: "",
            service_id: service.id,
            service_name: service.service,
            service_tags: service.tags,
            service_address: service.address,
            service_tagged_addresses: service.tagged_addresses,
            service_weights: service.weights,
            service_meta: service.meta,
            service_port: service.port,
            service_socket_path: "",
            service_enable_tag_override: service.enable_tag_override,
            service_proxy: PROXY,
            service_connect: Nothing {},
            create_index: service.create_index,
            modify_index: service.modify_index,
        }
    }
}

/// A check with what it last reported.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CheckJson<'a> {
    node: &'a str,
    #[serde(rename = "CheckID")]
    check_id: Cow<'a, str>,
    name: &'a str,
    status: &'static str,
    notes: &'a str,
    output: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    #[serde(rename = "Type")]
    kind: &'static str,
    interval: String,
    timeout: String,
    exposed_port: u16,
    definition: Nothing,
    create_index: Revision,
    modify_index: Revision,
}

impl<'a> CheckJson<'a> {
    /// The same check, saying something newer.
    pub(super) fn saying(self, output: &'a str) -> Self {
        Self { output, ..self }
    }

    /// A check of the registry; `instance` is the one it is about, if any.
    pub(super) fn of(entry: &'a CheckEntry, instance: Option<&'a Instance>) -> Self {
        let check = &entry.value;
        // Consul's agents see of each other only whether they are there.
        let definition = check.definition.as_ref().filter(|_| check.runner != Runner::Presence);
        let kind = definition.map_or("", |definition| definition.kind.as_str());
        let looked_at = definition
            .filter(|definition| !matches!(definition.kind, CheckKind::Ttl | CheckKind::Alias { .. }));
        let (interval, timeout) = looked_at.map_or_else(Default::default, |definition| {
            (duration::to_go(definition.interval.0), duration::to_go(definition.timeout.0))
        });
        Self {
            node: &check.node,
            check_id: Cow::Borrowed(&check.id),
            name: &check.name,
            status: check.health.as_str(),
            notes: &check.notes,
            output: &check.output,
            service_id: check.instance.as_deref().unwrap_or(""),
            service_name: &check.service,
            service_tags: instance.map_or(&[], |instance| &instance.tags),
            kind,
            interval,
            timeout,
            exposed_port: 0,
            definition: Nothing {},
            create_index: entry.create_revision,
            modify_index: entry.modify_revision,
        }
    }

    fn made_up(
        node: &'a str,
        check_id: Cow<'a, str>,
        name: &'a str,
        health: Health,
        revision: Revision,
    ) -> Self {
        Self {
            node,
            check_id,
            name,
            status: health.as_str(),
            notes: "",
            output: "",
            service_id: "",
            service_name: "",
            service_tags: &[],
            kind: "",
            interval: String::new(),
            timeout: String::new(),
            exposed_port: 0,
            definition: Nothing {},
            create_index: revision,
            modify_index: revision,
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.check_id
    }

    /// What it reports, by name.
    pub(super) fn status(&self) -> &'static str {
        self.status
    }
}

/// The id of the check that stands for a node's agent being alive.
pub(crate) const NODE_ALIVE: &str = "serfHealth";
/// Its name for people.
pub(crate) const NODE_ALIVE_NAME: &str = "Serf Health Status";
/// What it says while the agent is heard from.
pub(crate) const NODE_ALIVE_OUTPUT: &str = "Agent alive and reachable";
pub(super) const NODE_MAINTENANCE: &str = "_node_maintenance";
pub(super) const SERVICE_MAINTENANCE: &str = "_service_maintenance:";

/// A node's checks as Consul shows them: maintenance and the agent's own liveness are checks there.
pub(super) fn node_checks<'a>(entry: &'a NodeEntry, here: Here<'_>) -> impl Iterator<Item = CheckJson<'a>> {
    let node = &entry.node.value;
    let revision = entry.node.modify_revision;
    let alive = here.is(&node.name).then(|| {
        let id = Cow::Borrowed(NODE_ALIVE);
        let created = entry.node.create_revision;
        let check = CheckJson::made_up(&node.name, id, NODE_ALIVE_NAME, Health::Passing, created);
        CheckJson { output: NODE_ALIVE_OUTPUT, ..check }
    });
    let maintenance = node_maintenance(entry, revision);
    alive.into_iter().chain(maintenance).chain(entry.checks.iter().map(|check| CheckJson::of(check, None)))
}

/// The check that stands for a node's maintenance, if it is in it.
pub(super) fn node_maintenance(entry: &NodeEntry, revision: Revision) -> Option<CheckJson<'_>> {
    let node = &entry.node.value;
    node.maintenance.as_deref().map(|reason| CheckJson {
        notes: reason,
        kind: "maintenance",
        ..CheckJson::made_up(
            &node.name,
            Cow::Borrowed(NODE_MAINTENANCE),
            "Node Maintenance Mode",
            Health::Critical,
            revision,
        )
    })
}

/// An instance's checks as Consul shows them, its maintenance first.
pub(super) fn instance_checks(entry: &InstanceEntry) -> impl Iterator<Item = CheckJson<'_>> {
    let instance = entry.value();
    let maintenance = instance.maintenance.as_deref().map(|reason| CheckJson {
        notes: reason,
        kind: "maintenance",
        service_id: &instance.id,
        service_name: &instance.service,
        service_tags: &instance.tags,
        ..CheckJson::made_up(
            &instance.node,
            Cow::Owned(format!("{SERVICE_MAINTENANCE}{}", instance.id)),
            "Service Maintenance Mode",
            Health::Critical,
            entry.instance.modify_revision,
        )
    });
    maintenance.into_iter().chain(entry.checks.iter().map(|check| CheckJson::of(check, Some(instance))))
}

/// One line of `health/service`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HealthJson<'a> {
    node: NodeJson<'a>,
    service: ServiceJson<'a>,
    checks: Vec<CheckJson<'a>>,
}

impl<'a> HealthJson<'a> {
    pub(super) fn of(member: &'a ServiceMember, here: Here<'a>) -> Self {
        Self {
            node: NodeJson::of(&member.node, here),
            service: ServiceJson::of(&member.instance, here),
            checks: node_checks(&member.node, here).chain(instance_checks(&member.instance)).collect(),
        }
    }
}
