//! Judges registrations by the model's rules. Every refusal names the field.

use weir_model::names::{self, BadName};
use weir_model::registry::{Check, Instance, Node};
use weir_model::validate::{FieldError, validate_check, validate_instance, validate_node};

use crate::Error;

/// Checks the name of a namespace.
pub(crate) fn check_namespace(namespace: &str) -> Result<(), Error> {
    names::label(namespace).map_err(|bad| bad_name("namespace", namespace, &bad))
}

pub(super) fn check_node(node: &Node) -> Result<(), Error> {
    first("node", validate_node(node))
}

pub(super) fn check_node_name(name: &str) -> Result<(), Error> {
    names::registered(name).map_err(|bad| bad_name("node.name", name, &bad))
}

pub(super) fn check_instance(instance: &Instance) -> Result<(), Error> {
    first("instance", validate_instance(instance))
}

pub(super) fn check_check(check: &Check) -> Result<(), Error> {
    first("check", validate_check(check))
}

fn first(what: &str, faults: Vec<FieldError>) -> Result<(), Error> {
    let Some(fault) = faults.into_iter().next() else { return Ok(()) };
    let reason = match fault.expected {
        Some(expected) => format!("{}; expected {expected}", fault.message),
        None => fault.message,
    };
    Err(Error::invalid(format!("{what}.{}", fault.path), reason))
}

fn bad_name(path: &str, name: &str, bad: &BadName) -> Error {
    let shown: String = name.chars().take(80).collect();
    Error::invalid(path, format!("{shown:?}: {}; expected {}", bad.problem, bad.expected))
}
