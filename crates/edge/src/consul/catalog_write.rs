//! `/v1/catalog`, writing: nodes, instances and checks that no agent looks after.

use std::sync::Arc;

use weir_control::Error;
use weir_control::catalog::{CheckRef, InstanceRef};
use weir_control::registry::{KnownHealth, OnNode, Registration};
use weir_model::registry::{Check, Health, Node, Runner};

use super::agent_write::body_namespace;
use super::answer::{Answer, json};
use super::decode::{self, Fields, Object};
use super::definition::{self, Place};
use super::options::{check_body_partition, check_datacenter, check_place};
use super::refusal::Refusal;
use super::{ConsulApi, validate};
use crate::http::Request;

/// `catalog/register`: node, instance and checks in one transaction.
pub(super) async fn register(api: Arc<ConsulApi>, request: Request) -> Answer {
    let map = decode::parts(&request.body)?;
    let fields = Fields::root(&map);
    check_body_place(&api, &request, fields)?;
    let node = node(fields, "NodeMeta")?;
    let namespace = body_namespace(&request, fields)?;
    let place = Place { namespace: &namespace, node: &node.name, scripts: false };
    let instance = match fields.map("Service")? {
        Some(service) => {
            let service = Fields::at(service, "Service");
            check_body_partition(service)?;
            Some(definition::instance(service, "Service", place)?)
        }
        None => None,
    };
    let mut checks = Vec::new();
    if let Some(map) = fields.map("Check")? {
        checks.push(check(map, "Check", place)?);
    }
    for (i, map) in fields.maps("Checks")? {
        checks.push(check(map, &format!("Checks[{i}]"), place)?);
    }
    if let Some(instance) = &instance {
        // It would be found out, and each check copied to say it.
        for check in checks.iter_mut().filter(|check| check.instance.as_ref() == Some(&instance.id)) {
            check.service.clone_from(&instance.service);
        }
    }
    validate::node(&node)?;
    instance.iter().try_for_each(validate::instance)?;
    checks.iter().try_for_each(validate::check)?;
    let known = fields.flag("SkipNodeUpdate")? && api.catalog().node(&node.name).is_some();
    let registration = Registration {
        node: if known { OnNode::Known(node.name) } else { OnNode::Put(node) },
        instance,
        checks,
        known_health: KnownHealth::Overwrite,
        replace_checks: false,
    };
    match api.control.register(&registration).await {
        Ok(_) => json(false, &true),
        Err(Error::NotFound { what }) => Err(Refusal::bad(format!("Invalid check: {what} does not exist"))),
        Err(error) => Err(error.into()),
    }
}

fn check_body_place<O: Object>(
    api: &ConsulApi,
    request: &Request,
    fields: Fields<'_, O>,
) -> Result<(), Refusal> {
    let datacenter = api.here().datacenter;
    check_place(&request.query, datacenter)?;
    check_datacenter(&fields.text("Datacenter")?, datacenter)
}

/// A node; its metadata stand in `meta_field`.
pub(super) fn node<O: Object>(fields: Fields<'_, O>, meta_field: &str) -> Result<Node, Refusal> {
    let (name, address) = (fields.text("Node")?, fields.text("Address")?);
    if name.is_empty() || address.is_empty() {
        return Err(Refusal::bad("Must provide node and address"));
    }
    Ok(Node {
        name,
        id: fields.text("ID")?,
        address,
        tagged_addresses: fields.text_map("TaggedAddresses")?,
        metadata: fields.text_map(meta_field)?,
        ..Node::default()
    })
}

/// A check as the catalog takes it: a state that somebody else reports. A `Definition` is for tools that run checks
/// themselves; this server does not run it.
pub(super) fn check<O: Object>(map: &O, path: &str, place: Place<'_>) -> Result<Check, Refusal> {
    let fields = Fields::at(map, path);
    check_body_partition(fields)?;
    let name = fields.text("Name")?;
    let mut id = fields.text("CheckID")?;
    if id.is_empty() {
        id.clone_from(&name);
    }
    let node = fields.text("Node")?;
    if !node.is_empty() && !node.eq_ignore_ascii_case(place.node) {
        return Err(Refusal::bad(format!(
            "Invalid check: {path}.Node: {node:?} is not the node that is registered"
        )));
    }
    let health = match &*fields.text("Status")? {
        "" => Health::Critical,
        status => definition::health(status).ok_or_else(|| {
            Refusal::bad(format!("Invalid check status: {status:?}: expected passing, warning or critical"))
        })?,
    };
    Ok(Check {
        namespace: place.namespace.to_owned(),
        node: place.node.to_owned(),
        id,
        name,
        instance: Some(fields.text("ServiceID")?).filter(|id| !id.is_empty()),
        service: String::new(),
        health,
        output: fields.text("Output")?,
        notes: fields.text("Notes")?,
        definition: None,
        runner: Runner::Server,
    })
}

/// `catalog/deregister`: a check, an instance, or a node with all that is on it. What is not there is fine.
pub(super) async fn deregister(api: Arc<ConsulApi>, request: Request) -> Answer {
    let map = decode::parts(&request.body)?;
    let fields = Fields::root(&map);
    check_body_place(&api, &request, fields)?;
    let node = fields.text("Node")?;
    if node.is_empty() {
        return Err(Refusal::bad("Must provide node"));
    }
    let namespace = body_namespace(&request, fields)?;
    let (service, check) = (fields.text("ServiceID")?, fields.text("CheckID")?);
    let outcome = if !service.is_empty() {
        api.control.deregister_instance(&InstanceRef::new(namespace, node, service)).await
    } else if !check.is_empty() {
        api.control.deregister_check(&CheckRef::new(namespace, node, check)).await
    } else {
        api.control.deregister_node(&node).await
    };
    match outcome {
        Ok(_) | Err(Error::NotFound { .. }) => json(false, &true),
        Err(error) => Err(error.into()),
    }
}
