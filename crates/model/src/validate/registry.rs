//! Rules of what is registered: nodes, instances and checks. Paths are the model's own field names; whoever serves
//! another protocol translates them.

use std::collections::BTreeMap;
use std::fmt::Arguments;

use super::{Faults, FieldError};
use crate::names;
use crate::registry::{Address, Check, CheckDefinition, CheckKind, Instance, Node};

/// Most tags of an instance.
pub const TAGS_MAX: usize = 256;
/// Longest tag, in bytes. Gateways are configured through tags, so they can be long.
pub const TAG_BYTES_MAX: usize = 2048;
/// Most bytes of all tags of an instance.
pub const TAGS_BYTES_MAX: usize = 64 << 10;
/// Most entries of metadata (Consul's own limit).
pub const METADATA_MAX: usize = 64;
/// Longest key of metadata, in bytes (Consul's own limit).
pub const METADATA_KEY_BYTES_MAX: usize = 128;
/// Longest value of metadata, in bytes (Consul's own limit).
pub const METADATA_VALUE_BYTES_MAX: usize = 512;
/// Most tagged addresses.
pub const TAGGED_ADDRESSES_MAX: usize = 16;
/// Longest text of a check's name, notes or output, in bytes.
pub const CHECK_TEXT_BYTES_MAX: usize = 4096;
/// Longest URL, body or arguments of a check, in bytes.
pub const CHECK_REQUEST_BYTES_MAX: usize = 16 << 10;
/// Longest name of a gRPC service that a check asks about, in bytes.
pub const GRPC_SERVICE_BYTES_MAX: usize = 255;
/// Most arguments of a script check, its program included.
pub const SCRIPT_ARGS_MAX: usize = 128;
/// Most header fields that a check sends.
pub const CHECK_HEADERS_MAX: usize = 32;
/// Longest reason of a maintenance, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

/// What is wrong with an instance.
pub fn validate_instance(instance: &Instance) -> Vec<FieldError> {
    let mut faults = Faults::default();
    faults.name("namespace", names::label(&instance.namespace));
    faults.name("node", names::registered(&instance.node));
    faults.name("id", names::id(&instance.id));
    faults.name("service", names::registered(&instance.service));
    if !instance.address.is_empty() {
        faults.name("address", names::host(&instance.address));
    }
    if let Some(inbound) = &instance.inbound {
        address("inbound", inbound, true, &mut faults);
    }
    faults.at_most("tags", instance.tags.len(), TAGS_MAX);
    for (index, tag) in instance.tags.iter().enumerate().take(TAGS_MAX) {
        text(format_args!("tags[{index}]"), tag, TAG_BYTES_MAX, &mut faults);
    }
    let bytes: usize = instance.tags.iter().map(String::len).sum();
    if bytes > TAGS_BYTES_MAX {
        faults.add("tags", format!("{bytes} bytes in all"), super::at_most(TAGS_BYTES_MAX));
    }
    metadata("metadata", &instance.metadata, &mut faults);
    faults.at_most("tagged_addresses", instance.tagged_addresses.len(), TAGGED_ADDRESSES_MAX);
    for (purpose, tagged) in instance.tagged_addresses.iter().take(TAGGED_ADDRESSES_MAX) {
        faults.name("tagged_addresses", names::registered(purpose));
        address(&format!("tagged_addresses.{purpose}"), tagged, false, &mut faults);
    }
    faults.weight("weights.passing", instance.weights.passing);
    faults.weight("weights.warning", instance.weights.warning);
    if let Some(reason) = &instance.maintenance {
        text(format_args!("maintenance"), reason, REASON_BYTES_MAX, &mut faults);
    }
    faults.0
}

/// What is wrong with a node.
pub fn validate_node(node: &Node) -> Vec<FieldError> {
    let mut faults = Faults::default();
    faults.name("name", names::registered(&node.name));
    if !node.id.is_empty() && !is_uuid(&node.id) {
        let expected = "a UUID such as `40e4a748-2192-161a-0510-9bf59fe950b5`";
        faults.add("id", "not a UUID", expected);
    }
    faults.name("address", names::host(&node.address));
    metadata("metadata", &node.metadata, &mut faults);
    faults.at_most("tagged_addresses", node.tagged_addresses.len(), TAGGED_ADDRESSES_MAX);
    for (purpose, tagged) in node.tagged_addresses.iter().take(TAGGED_ADDRESSES_MAX) {
        faults.name("tagged_addresses", names::registered(purpose));
        faults.name(&format!("tagged_addresses.{purpose}"), names::host(tagged));
    }
    if let Some(reason) = &node.maintenance {
        text(format_args!("maintenance"), reason, REASON_BYTES_MAX, &mut faults);
    }
    faults.0
}

/// What is wrong with a check.
pub fn validate_check(check: &Check) -> Vec<FieldError> {
    let mut faults = Faults::default();
    faults.name("namespace", names::label(&check.namespace));
    faults.name("node", names::registered(&check.node));
    faults.name("id", names::id(&check.id));
    if let Some(instance) = &check.instance {
        faults.name("instance", names::id(instance));
    }
    if !check.service.is_empty() {
        faults.name("service", names::registered(&check.service));
    }
    // Outputs hold line breaks and worse: only their length is judged. Control cuts what a check says itself.
    for (path, value) in
        [("name (bytes)", &check.name), ("notes (bytes)", &check.notes), ("output (bytes)", &check.output)]
    {
        faults.at_most(path, value.len(), CHECK_TEXT_BYTES_MAX);
    }
    if let Some(found) = &check.definition {
        definition(found, &mut faults);
    }
    faults.0
}

/// Cuts text to at most `bytes_max` bytes, at a character's end: for what checks and clients say at length.
pub fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
}

fn definition(definition: &CheckDefinition, faults: &mut Faults) {
    if definition.interval.0.is_zero() {
        faults.add("definition.interval", "it is zero", "a duration above zero");
    }
    match &definition.kind {
        CheckKind::Ttl => {}
        CheckKind::Http { url, method, headers, body } => {
            timeout(definition, faults);
            if !is_http_url(url) {
                let shown = crate::document::node::shortened(url);
                let expected = "a URL such as `http://127.0.0.1:8080/health`";
                faults.add(
                    "definition.http.url",
                    format!("`{shown}` is not a URL that can be checked"),
                    expected,
                );
            }
            faults.name("definition.http.method", names::token(method));
            faults.at_most("definition.http.headers", headers.len(), CHECK_HEADERS_MAX);
            for (name, values) in headers.iter().take(CHECK_HEADERS_MAX) {
                faults.name("definition.http.headers", names::token(name));
                if values.iter().any(|value| value.chars().any(|c| c.is_control() && c != '\t')) {
                    let path = format!("definition.http.headers.{name}");
                    faults.add(path, "a control character", "no control characters");
                }
            }
            let bytes: usize =
                headers.iter().flat_map(|(name, values)| values.iter().map(|v| v.len() + name.len())).sum();
            faults.at_most(
                "definition.http (bytes)",
                url.len() + body.len() + bytes,
                CHECK_REQUEST_BYTES_MAX,
            );
        }
        CheckKind::Tcp { address } => {
            timeout(definition, faults);
            checked_address("definition.tcp.address", address, faults);
        }
        CheckKind::Udp { address } => {
            timeout(definition, faults);
            checked_address("definition.udp.address", address, faults);
        }
        CheckKind::Grpc { address, service } => {
            timeout(definition, faults);
            checked_address("definition.grpc.address", address, faults);
            faults.at_most("definition.grpc.service (bytes)", service.len(), GRPC_SERVICE_BYTES_MAX);
        }
        CheckKind::H2Ping { address } => {
            timeout(definition, faults);
            checked_address("definition.h2_ping.address", address, faults);
        }
        CheckKind::Alias { node, instance } => {
            if !node.is_empty() {
                faults.name("definition.alias.node", names::registered(node));
            }
            if let Some(instance) = instance {
                faults.name("definition.alias.instance", names::id(instance));
            }
            if node.is_empty() && instance.is_none() {
                faults.add("definition.alias", "it names nothing", "a node or an instance");
            }
        }
        CheckKind::Script { args } => {
            timeout(definition, faults);
            script(args, faults);
        }
    }
}

fn script(args: &[String], faults: &mut Faults) {
    let path = "definition.script.args";
    if args.first().is_none_or(String::is_empty) {
        faults.add(path, "it names no program", "a program and its arguments");
    }
    faults.at_most(path, args.len(), SCRIPT_ARGS_MAX);
    faults.at_most(&format!("{path} (bytes)"), args.iter().map(String::len).sum(), CHECK_REQUEST_BYTES_MAX);
    if args.iter().any(|arg| arg.contains('\0')) {
        faults.add(path, "it holds a NUL", "text");
    }
}

fn checked_address(path: &str, address: &str, faults: &mut Faults) {
    let parts = address.rsplit_once(':');
    let good = parts.is_some_and(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        names::host(host).is_ok() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !good {
        let shown = crate::document::node::shortened(address);
        faults.add(path, format!("`{shown}` is no address"), "`HOST:PORT`");
    }
}

fn timeout(definition: &CheckDefinition, faults: &mut Faults) {
    if definition.timeout.0.is_zero() {
        faults.add("definition.timeout", "it is zero", "a duration above zero");
    }
}

/// Metadata of an instance, node or service.
pub(super) fn metadata(path: &str, metadata: &BTreeMap<String, String>, faults: &mut Faults) {
    faults.at_most(path, metadata.len(), METADATA_MAX);
    for (key, value) in metadata.iter().take(METADATA_MAX) {
        if key.is_empty() || key.len() > METADATA_KEY_BYTES_MAX || key.chars().any(char::is_control) {
            let shown = crate::document::node::shortened(key);
            let expected = format!("1 to {METADATA_KEY_BYTES_MAX} bytes");
            faults.add(path, format!("the key `{shown}` will not do"), expected);
        } else {
            text(format_args!("{path}[\"{key}\"]"), value, METADATA_VALUE_BYTES_MAX, faults);
        }
    }
}

fn address(path: &str, address: &Address, needs_port: bool, faults: &mut Faults) {
    faults.name(&format!("{path}.host"), names::host(&address.host));
    if needs_port {
        faults.port(&format!("{path}.port"), address.port);
    }
}

/// Judges a text; its path is written only if something is wrong with it.
fn text(path: Arguments<'_>, text: &str, bytes_max: usize, faults: &mut Faults) {
    if text.len() > bytes_max {
        faults.add(path.to_string(), format!("{} bytes long", text.len()), super::at_most(bytes_max));
    }
    if text.as_bytes().contains(&0) {
        faults.add(path.to_string(), "it holds a NUL", "text");
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// `http(s)://HOST[:PORT][/...]` without white space, control characters or user information.
fn is_http_url(url: &str) -> bool {
    let lower = url.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://")) else {
        return false;
    };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((host, tail)) => (host, tail.strip_prefix(':').or(tail.is_empty().then_some("80"))),
            None => return false,
        },
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("80")),
        },
    };
    let good_port = port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    good_port && names::host(host).is_ok() && !rest.chars().any(|c| c.is_control() || c == ' ')
}
