//! Operations of a transaction on nodes, services and checks: how they are read, and their faults in Consul's words.

use serde_json::{Map, Value};
use weir_control::Error;
use weir_control::registry::{RegistryFault, RegistryOp, RegistryVerb};
use weir_model::registry::{Check, Instance, Node};

use super::catalog_write;
use super::decode::{DecodeError, Fields};
use super::definition::{self, Place};
use super::options::{check_body_partition, check_datacenter};
use super::refusal::Refusal;
use super::validate;

/// The kinds, by the names of their operations and of the objects in them.
pub(super) const KINDS: [&str; 3] = ["Node", "Service", "Check"];

/// Where a transaction takes place.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) namespace: &'a str,
    pub(super) datacenter: &'a str,
}

/// Reads an operation of one of [`KINDS`] that stands at `path`; its verb may not exist.
pub(super) fn read(
    kind: &str,
    operation: &Map<String, Value>,
    path: &str,
    here: Here<'_>,
) -> Result<Result<RegistryOp, String>, Refusal> {
    let outer = Fields::at(operation, path);
    let inner = format!("{path}.{kind}");
    let empty = Map::new();
    let object = outer.map(kind).map_err(unreadable)?.unwrap_or(&empty);
    let fields = Fields::at(object, &inner);
    let verb = outer.text("Verb").map_err(unreadable)?;
    let index = fields.whole("ModifyIndex", u64::MAX).map_err(unreadable)?.unwrap_or(0);
    let verb = match &*verb {
        "get" => RegistryVerb::Get,
        "set" => RegistryVerb::Set,
        "cas" => RegistryVerb::SetIf(index),
        "delete" => RegistryVerb::Delete,
        "delete-cas" => RegistryVerb::DeleteIf(index),
        other => return Ok(Err(format!("unknown {kind} verb {other:?}"))),
    };
    check_body_partition(fields).map_err(unreadable)?;
    let own = fields.text("Namespace").map_err(unreadable)?;
    if kind != "Node" && !own.is_empty() && own != here.namespace {
        return Err(unreadable(format!(
            "{inner}.Namespace: a transaction is in one namespace, that of its ?ns="
        )));
    }
    let op = match kind {
        "Node" => node(verb, fields, here),
        "Service" => service(verb, outer, fields, here),
        _ => check(verb, object, &inner, here),
    };
    op.map(Ok).map_err(|refusal| within(&inner, refusal))
}

fn unreadable(what: impl std::fmt::Display) -> Refusal {
    Refusal::bad(format!("Failed to parse body: {what}"))
}

/// Says which operation a refusal is about.
fn within(path: &str, refusal: Refusal) -> Refusal {
    let message = refusal.message;
    let message = message.strip_prefix("Request decode failed: ").unwrap_or(&message);
    let message = if message.contains(path) {
        format!("Failed to parse body: {message}")
    } else {
        format!("Failed to parse body: {path}: {message}")
    };
    Refusal { message, ..refusal }
}

/// A field that must say something.
fn required(fields: Fields<'_>, name: &str, expected: &str) -> Result<String, DecodeError> {
    let text = fields.text(name)?;
    if text.is_empty() { fields.wrong(name, format_args!("missing; expected {expected}")) } else { Ok(text) }
}

fn node(verb: RegistryVerb, fields: Fields<'_>, here: Here<'_>) -> Result<RegistryOp, Refusal> {
    check_datacenter(&fields.text("Datacenter")?, here.datacenter)?;
    let id = fields.text("ID")?;
    let name = match verb {
        RegistryVerb::Get if !id.is_empty() => fields.text("Node")?,
        _ => required(fields, "Node", "a node's name")?,
    };
    if !verb.sets() {
        return Ok(RegistryOp::Node { verb, node: Node { name, id, ..Node::default() } });
    }
    required(fields, "Address", "a host")?;
    let node = catalog_write::node(fields, "Meta")?;
    validate::node(&node)?;
    Ok(RegistryOp::Node { verb, node })
}

fn service(
    verb: RegistryVerb,
    outer: Fields<'_>,
    fields: Fields<'_>,
    here: Here<'_>,
) -> Result<RegistryOp, Refusal> {
    let node = required(outer, "Node", "a node's name")?;
    if verb.sets() {
        required(fields, "Service", "the service's name")?;
        let place = Place { namespace: here.namespace, node: &node, scripts: false };
        let instance = definition::instance(fields, "Service", place)?;
        validate::instance(&instance)?;
        return Ok(RegistryOp::Instance { verb, instance });
    }
    let id = id_of(fields, "ID", "Service")?;
    let namespace = here.namespace.to_owned();
    Ok(RegistryOp::Instance { verb, instance: Instance { namespace, node, id, ..Instance::default() } })
}

fn check(
    verb: RegistryVerb,
    object: &Map<String, Value>,
    path: &str,
    here: Here<'_>,
) -> Result<RegistryOp, Refusal> {
    let fields = Fields::at(object, path);
    let node = required(fields, "Node", "a node's name")?;
    let id = id_of(fields, "CheckID", "Name")?;
    if verb.sets() {
        required(fields, "Name", "the check's name")?;
        let place = Place { namespace: here.namespace, node: &node, scripts: false };
        let check = catalog_write::check(object, path, place)?;
        validate::check(&check)?;
        return Ok(RegistryOp::Check { verb, check });
    }
    let namespace = here.namespace.to_owned();
    Ok(RegistryOp::Check { verb, check: Check { namespace, node, id, ..Check::default() } })
}

/// An id, which is the name where none is given.
fn id_of(fields: Fields<'_>, id: &str, name: &str) -> Result<String, DecodeError> {
    match fields.text(id)? {
        given if !given.is_empty() => Ok(given),
        _ => match fields.text(name)? {
            given if !given.is_empty() => Ok(given),
            _ => fields.wrong(id, "missing; expected an id"),
        },
    }
}

/// A fault in Consul's words.
pub(super) fn say(op: &RegistryOp, fault: &RegistryFault) -> String {
    let (verb, what) = match op {
        RegistryOp::Node { verb, node } if node.name.is_empty() => (verb, format!("node {:?}", node.id)),
        RegistryOp::Node { verb, node } => (verb, format!("node {:?}", node.name)),
        RegistryOp::Instance { verb, instance } => {
            (verb, format!("service {:?} on node {:?}", instance.id, instance.node))
        }
        RegistryOp::Check { verb, check } => (verb, format!("check {:?} on node {:?}", check.id, check.node)),
    };
    match fault {
        RegistryFault::Missing => format!("{what} doesn't exist"),
        RegistryFault::Stale if verb.sets() => format!("failed to set {what}, index is stale"),
        RegistryFault::Stale => format!("failed to delete {what}, index is stale"),
        RegistryFault::Refused(Error::NotFound { what: missing }) if missing.starts_with("node ") => {
            format!("Missing node registration: {missing} does not exist")
        }
        RegistryFault::Refused(Error::NotFound { what: missing }) => {
            format!("Missing service registration: {missing} does not exist")
        }
        RegistryFault::Refused(error) => error.to_string(),
    }
}
