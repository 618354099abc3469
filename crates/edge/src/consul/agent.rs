//! `/v1/agent`, reading: this server and what was registered with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::json;
use weir_control::catalog::{CheckRef, NodeView};
use weir_model::registry::{Health, Node, Runner};

use super::answer::{Answer, json};
use super::filter::Filter;
use super::health::{named, own_instance};
use super::options::{check_place, namespace, switch};
use super::refusal::Refusal;
use super::views::{AgentServiceJson, CheckJson, instance_checks, node_maintenance};
use super::{CONSUL_VERSION, ConsulApi, coordinate};
use crate::http::{Request, Response};

/// The gossip port that Consul's agents have; only shown.
const GOSSIP_PORT: u16 = 8301;
/// A member that is alive, in the numbers of Consul's gossip.
const MEMBER_ALIVE: u8 = 1;
/// One that is not heard from.
const MEMBER_FAILED: u8 = 4;

/// `agent/self`.
pub(super) async fn own(api: Arc<ConsulApi>, request: Request) -> Answer {
    let here = api.here();
    let node = api.catalog().node(here.node);
    let (id, meta) = node.map_or_else(Default::default, |entry| {
        let node = &entry.node.value;
        (node.id.clone(), node.metadata.clone())
    });
    let consul = if api.is_agent {
        json!({"server": "false"})
    } else {
        let leader_addr = super::status::address(&api);
        json!({"server": "true", "leader": "true", "known_servers": "1", "leader_addr": leader_addr})
    };
    let answer = json!({
        "Config": {
            "Datacenter": here.datacenter,
            "PrimaryDatacenter": here.datacenter,
            "NodeName": here.node,
            "NodeID": id,
            "Partition": "",
            "Revision": "",
            "Server": !api.is_agent,
            "Version": CONSUL_VERSION,
            "BuildDate": "",
        },
        "DebugConfig": {"Datacenter": here.datacenter, "NodeName": here.node, "ACLsEnabled": false},
        "Coord": coordinate::of(&api.control, here.node),
        "Member": own_member(&api),
        "Stats": {
            "agent": {"version": env!("CARGO_PKG_VERSION"), "product": "weir"},
            "consul": consul,
        },
        "Meta": meta,
        "xDS": {"SupportedProxies": {}},
    });
    json(request.query.has("pretty"), &answer)
}

/// `agent/version`.
pub(super) async fn version(_: Arc<ConsulApi>, request: Request) -> Answer {
    let answer = json!({"SHA": "", "BuildDate": "", "HumanVersion": CONSUL_VERSION, "FIPS": ""});
    json(request.query.has("pretty"), &answer)
}

/// `agent/members`: this one, and the nodes that have an agent. With `wan`, the servers alone, their names with the
/// datacenter's.
pub(super) async fn members(api: Arc<ConsulApi>, request: Request) -> Answer {
    let (mut own, filter) = (own_member(&api), Filter::of(&request.query)?);
    if switch(&request.query, "wan")? {
        own["Name"] = json!(format!("{}.{}", api.here().node, api.here().datacenter));
        return json(request.query.has("pretty"), &filter.apply(vec![own])?);
    }
    let nodes = api.catalog().nodes_view().entries;
    let agents = nodes.iter().filter_map(|node| {
        let presence = node.checks.iter().find(|check| check.value.runner == Runner::Presence)?;
        let status = if presence.value.health == Health::Critical { MEMBER_FAILED } else { MEMBER_ALIVE };
        Some(member(&api, &node.node.value, "node", status))
    });
    let members = std::iter::once(own).chain(agents).collect();
    json(request.query.has("pretty"), &filter.apply(members)?)
}

fn own_member(api: &ConsulApi) -> serde_json::Value {
    let (here, address) = (api.here(), &api.control.settings().node_address);
    let node = Node { name: here.node.to_owned(), address: address.clone(), ..Node::default() };
    member(api, &node, if api.is_agent { "node" } else { "consul" }, MEMBER_ALIVE)
}

fn member(api: &ConsulApi, node: &Node, role: &str, status: u8) -> serde_json::Value {
    let mut tags = json!({
        "build": format!("{CONSUL_VERSION}:weir"),
        "dc": api.here().datacenter,
        "role": role,
        "vsn": "2",
    });
    if role == "consul" {
        tags["port"] = json!(super::status::SERVER_PORT.to_string());
    }
    if !node.id.is_empty() {
        tags["id"] = json!(node.id);
    }
    json!({
        "Name": node.name,
        "Addr": node.address,
        "Port": GOSSIP_PORT,
        "Tags": tags,
        "Status": status,
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    })
}

/// What this server's own node holds, and the namespace asked for.
pub(super) fn own_node(api: &ConsulApi, request: &Request) -> Result<(Option<NodeView>, String), Refusal> {
    check_place(&request.query, api.here().datacenter)?;
    let namespace = namespace(&request.query, None)?;
    Ok((api.catalog().node_view(api.here().node).entries, namespace))
}

/// `agent/services`: by id.
pub(super) async fn services(api: Arc<ConsulApi>, request: Request) -> Answer {
    let (node, namespace) = own_node(&api, &request)?;
    let instances = node.iter().flat_map(|node| &node.instances).map(|entry| entry.value());
    let mut services = BTreeMap::new();
    let filter = Filter::of(&request.query)?;
    for instance in instances.filter(|instance| instance.namespace == namespace) {
        let service = AgentServiceJson::of(instance, api.here());
        if filter.takes(&service)? {
            services.insert(instance.id.as_str(), service);
        }
    }
    json(request.query.has("pretty"), &services)
}

/// `agent/service/:id`.
pub(super) async fn service(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let id = named(&request, "Missing service ID")?;
    let namespace = namespace(&request.query, None)?;
    let Some(member) = own_instance(&api, &namespace, &id) else {
        return Err(Refusal::not_found(format!("unknown service ID: {id}")));
    };
    let view = || AgentServiceJson::of(member.instance.value(), api.here());
    let hash = content_hash(&serde_json::to_vec(&view()).unwrap_or_default());
    let response = json(request.query.has("pretty"), &view().with_hash(hash.clone()))?;
    with_hash(response, &hash)
}

fn with_hash(response: Response, hash: &str) -> Answer {
    let value = http::HeaderValue::from_str(hash).map_err(|error| Refusal {
        status: http::StatusCode::INTERNAL_SERVER_ERROR,
        message: error.to_string(),
    })?;
    Ok(response.with(http::HeaderName::from_static("x-consul-contenthash"), value))
}

/// A number that changes with the content (FNV-1a, 64 bits), in hexadecimal. It protects nothing.
fn content_hash(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// `agent/checks`: by id. Unlike in the catalog, the agent's own liveness is not among them, and what a heartbeat said
/// is there at once.
pub(super) async fn checks(api: Arc<ConsulApi>, request: Request) -> Answer {
    let (node, namespace) = own_node(&api, &request)?;
    let said: HashMap<String, String> = node
        .iter()
        .flat_map(|node| {
            node.node.checks.iter().chain(node.instances.iter().flat_map(|instance| &instance.checks))
        })
        .filter(|check| check.value.namespace == namespace)
        .filter_map(|check| Some((check.value.id.clone(), api.control.said(&CheckRef::of(&check.value))?)))
        .collect();
    let mut checks: BTreeMap<String, CheckJson<'_>> = BTreeMap::new();
    if let Some(node) = &node {
        let entry = &node.node;
        let maintenance = node_maintenance(entry, entry.node.modify_revision);
        let of_node = entry.checks.iter().filter(|check| check.value.namespace == namespace);
        let of_instances = node.instances.iter().filter(|instance| instance.value().namespace == namespace);
        let all = maintenance
            .into_iter()
            .chain(of_node.map(|check| CheckJson::of(check, None)))
            .chain(of_instances.flat_map(|instance| instance_checks(instance)))
            .map(|check| match said.get(check.id()) {
                Some(output) => check.saying(output),
                None => check,
            });
        let taken = Filter::of(&request.query)?.apply(all.collect())?;
        checks.extend(taken.into_iter().map(|check| (check.id().to_owned(), check)));
    }
    json(request.query.has("pretty"), &checks)
}
