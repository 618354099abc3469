//! What a check looks at, by the field that says it.

use serde_json::{Map, Value};
use weir_model::registry::CheckKind;

use super::invalid;
use crate::consul::decode::Fields;
use crate::consul::refusal::Refusal;

/// What to do where programs are not run.
const NOT_ENABLED: &str = "`weir agent` runs them with --enable-script-checks, those that files define also with \
    --enable-local-script-checks; else use ttl, http, tcp, udp, grpc or h2ping";
/// The longest name of a unit (systemd.unit(5)), in bytes.
const UNIT_BYTES_MAX: usize = 255;

/// What is looked at, if anything is; a ttl check waits to be told.
pub(super) fn kind(fields: Fields<'_>, scripts: bool) -> Result<Option<CheckKind>, Refusal> {
    let mut kinds = Vec::new();
    let http = fields.text("HTTP")?;
    if !http.is_empty() {
        kinds.push(http_kind(fields, http)?);
    }
    let tcp = fields.text("TCP")?;
    if !tcp.is_empty() {
        if weir_probe::tcp_target(&tcp).is_none() {
            return Err(invalid(&format!("TCP: {tcp:?} is not HOST:PORT")));
        }
        kinds.push(CheckKind::Tcp { address: tcp });
    }
    let udp = fields.text("UDP")?;
    if !udp.is_empty() {
        if weir_probe::tcp_target(&udp).is_none() {
            return Err(invalid(&format!("UDP: {udp:?} is not HOST:PORT")));
        }
        kinds.push(CheckKind::Udp { address: udp });
    }
    let grpc = fields.text("GRPC")?;
    if !grpc.is_empty() {
        let (address, service) = grpc.split_once('/').unwrap_or((&grpc, ""));
        if weir_probe::tcp_target(address).is_none() {
            return Err(invalid(&format!("GRPC: {grpc:?} is not HOST:PORT or HOST:PORT/SERVICE")));
        }
        kinds.push(CheckKind::Grpc { address: address.to_owned(), service: service.to_owned() });
    }
    kinds.extend(h2ping_kind(fields)?);
    let (node, instance) = (fields.text("AliasNode")?, fields.text("AliasService")?);
    if !node.is_empty() || !instance.is_empty() {
        kinds.push(CheckKind::Alias { node, instance: Some(instance).filter(|id| !id.is_empty()) });
    }
    kinds.extend(script_kind(fields, scripts)?);
    kinds.extend(os_service_kind(fields, scripts)?);
    if kinds.len() > 1 {
        let names: Vec<_> = kinds.iter().map(CheckKind::as_str).collect();
        return Err(invalid(&format!(
            "it is several at once ({}): only one can be specified",
            names.join(", ")
        )));
    }
    Ok(kinds.pop())
}

fn h2ping_kind(fields: Fields<'_>) -> Result<Option<CheckKind>, Refusal> {
    let address = fields.text("H2PING")?;
    if address.is_empty() {
        return Ok(None);
    }
    // Consul's default is TLS: who says nothing would get something else than what he thinks.
    if !fields.has("H2PingUseTLS") || fields.flag("H2PingUseTLS")? {
        let path = fields.path_of("H2PingUseTLS");
        return Err(invalid(&format!(
            "HTTP/2 ping checks over TLS are not available yet; say {path}: false"
        )));
    }
    if weir_probe::tcp_target(&address).is_none() {
        return Err(invalid(&format!("H2PING: {address:?} is not HOST:PORT")));
    }
    Ok(Some(CheckKind::H2Ping { address }))
}

/// A program, where one may be run. One that is not in its parts would need a shell.
fn script_kind(fields: Fields<'_>, enabled: bool) -> Result<Option<CheckKind>, Refusal> {
    let given =
        ["Args", "ScriptArgs", "Script", "Shell"].into_iter().find(|name| fields.says_something(name));
    let Some(name) = given else { return Ok(None) };
    if !enabled {
        return Err(invalid(&format!(
            "{}: script checks are not enabled on this agent; {NOT_ENABLED}",
            fields.path_of(name)
        )));
    }
    if name == "Script" || name == "Shell" {
        return Err(invalid(&format!("{}: not supported, use Args", fields.path_of(name))));
    }
    Ok(Some(CheckKind::Script { args: fields.texts(name)? }))
}

/// A unit of systemd, asked after with the program that everybody would use for it.
fn os_service_kind(fields: Fields<'_>, enabled: bool) -> Result<Option<CheckKind>, Refusal> {
    let (unit, path) = (fields.text("OSService")?, fields.path_of("OSService"));
    if unit.is_empty() {
        return Ok(None);
    }
    if !enabled {
        return Err(invalid(&format!(
            "{path}: it runs `systemctl is-active`, and script checks are not enabled on this agent; {NOT_ENABLED}"
        )));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if unit.len() > UNIT_BYTES_MAX || !unit.chars().all(is_plain) {
        return Err(invalid(&format!(
            "{path}: {unit:?} is not the name of a systemd unit such as web.service"
        )));
    }
    let args = ["systemctl", "is-active", "--", &unit];
    Ok(Some(CheckKind::Script { args: args.map(str::to_owned).to_vec() }))
}

fn http_kind(fields: Fields<'_>, url: String) -> Result<CheckKind, Refusal> {
    weir_probe::http_target(&url).map_err(|reason| invalid(&format!("HTTP: {url:?}: {reason}")))?;
    let mut method = fields.text("Method")?.to_ascii_uppercase();
    if method.is_empty() {
        method.push_str("GET");
    }
    if http::Method::from_bytes(method.as_bytes()).is_err() {
        return Err(invalid(&format!("Method: {method:?} is not an HTTP method")));
    }
    let mut headers = std::collections::BTreeMap::new();
    for (name, values) in fields.map("Header")?.into_iter().flatten() {
        let path = fields.path_of("Header");
        let values = match values {
            // One value without its array is accepted: many write it so by hand.
            Value::String(value) => vec![value.clone()],
            Value::Array(_) => Fields::at(fields.map("Header")?.unwrap_or(&Map::new()), &path).texts(name)?,
            _ => return Err(invalid(&format!("{path}.{name}: expected an array of strings"))),
        };
        let name_ok = http::HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !name_ok || values.iter().any(|value| http::HeaderValue::from_str(value).is_err()) {
            return Err(invalid(&format!("{path}.{name}: not a valid header field")));
        }
        headers.insert(name.clone(), values);
    }
    Ok(CheckKind::Http { url, method, headers, body: fields.text("Body")? })
}
