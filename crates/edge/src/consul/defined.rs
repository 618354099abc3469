//! What files define, judged before anything of it is registered. Unlike what requests send, a field that Consul does not know
//! is refused there: whoever mistyped it would else never hear of it.

use serde_json::{Map, Value};
use weir_model::document::nearest;

use super::agent_write::defined_namespace;
use super::check_write;
use super::decode::same_name;
use super::definition::{self, Place};
use super::refusal::Refusal;
use super::validate;

/// The fields of a service.
const SERVICE: &[&str] = &[
    "name",
    "id",
    "address",
    "port",
    "tags",
    "meta",
    "check",
    "checks",
    "weights",
    "enable_tag_override",
    "tagged_addresses",
    "kind",
    "namespace",
    "partition",
    "token",
    "connect",
    "proxy",
    "socket_path",
    "locality",
];
/// The fields of a check.
const CHECK: &[&str] = &[
    "name",
    "id",
    "check_id",
    "notes",
    "service_id",
    "status",
    "ttl",
    "interval",
    "timeout",
    "http",
    "method",
    "header",
    "body",
    "disable_redirects",
    "tls_server_name",
    "tls_skip_verify",
    "tcp",
    "tcp_use_tls",
    "udp",
    "grpc",
    "grpc_use_tls",
    "h2ping",
    "h2ping_use_tls",
    "alias_node",
    "alias_service",
    "args",
    "script_args",
    "script",
    "shell",
    "docker_container_id",
    "os_service",
    "success_before_passing",
    "failures_before_warning",
    "failures_before_critical",
    "deregister_critical_service_after",
    "output_max_size",
    "namespace",
    "partition",
    "token",
];
const WEIGHTS: &[&str] = &["passing", "warning"];
const ADDRESS: &[&str] = &["address", "port"];

/// Judges the definition of a service, as [`super::ConsulApi::define_service`] would. `scripts` says whether its checks may be
/// programs.
///
/// # Errors
/// The field, and what is wrong with it.
pub fn judge_service(map: &Map<String, Value>, scripts: bool) -> Result<(), String> {
    known("", map, SERVICE)?;
    for (key, value) in map {
        let one = |wanted: &str| same_name(key, wanted);
        match value {
            Value::Object(check) if one("check") => known("check.", check, CHECK)?,
            Value::Array(checks) if one("checks") => {
                for (at, check) in checks.iter().enumerate() {
                    if let Value::Object(check) = check {
                        known(&format!("checks[{at}]."), check, CHECK)?;
                    }
                }
            }
            Value::Object(weights) if one("weights") => known("weights.", weights, WEIGHTS)?,
            Value::Object(addresses) if one("tagged_addresses") => {
                for (name, address) in addresses {
                    if let Value::Object(address) = address {
                        known(&format!("tagged_addresses.{name}."), address, ADDRESS)?;
                    }
                }
            }
            _ => {}
        }
    }
    let judge = || {
        let namespace = defined_namespace(map)?;
        let (instance, checks) = definition::service(map, place(&namespace, scripts))?;
        validate::instance(&instance)?;
        checks.iter().try_for_each(validate::own_check)
    };
    judge().map_err(|refusal: Refusal| refusal.message)
}

/// Judges the definition of a check, as [`super::ConsulApi::define_check`] would, but for whether its service is there.
///
/// # Errors
/// The field, and what is wrong with it.
pub fn judge_check(map: &Map<String, Value>, scripts: bool) -> Result<(), String> {
    known("", map, CHECK)?;
    let judge = || {
        let namespace = defined_namespace(map)?;
        check_write::defined(map, place(&namespace, scripts)).map(drop)
    };
    judge().map_err(|refusal: Refusal| refusal.message)
}

/// On a node that is not known yet; its name is judged elsewhere.
fn place(namespace: &str, scripts: bool) -> Place<'_> {
    Place { namespace, node: "node", scripts }
}

/// Refuses fields that are not known; behind an underscore may stand a remark.
fn known(below: &str, map: &Map<String, Value>, fields: &[&str]) -> Result<(), String> {
    let is_known = |key: &str| key.starts_with('_') || fields.iter().any(|field| same_name(key, field));
    match map.keys().find(|key| !is_known(key)) {
        None => Ok(()),
        Some(key) => Err(match nearest(key, fields.iter().copied()) {
            Some(near) => format!("{below}{key}: unknown field; did you mean `{near}`?"),
            None => format!("{below}{key}: unknown field; Consul has none of that name here"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: serde_json::Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value}") };
        map
    }

    #[test]
    fn what_nobody_knows_is_refused_with_what_was_meant() {
        let service = |value| judge_service(&map(value), false);
        let check = |value| judge_check(&map(value), false);
        let program = |value| judge_check(&map(value), true);
        use serde_json::json;
        for (outcome, says) in [
            (service(json!({"name": "a", "prot": 1})), "prot: unknown field; did you mean `port`?"),
            (service(json!({"name": "a", "check": {"ttl": "1s", "intervall": "1s"}})), "check.intervall: "),
            (service(json!({"name": "a", "Checks": [{"TTL": "1s"}, {"tttl": "1s"}]})), "checks[1].tttl: "),
            (service(json!({"name": "a", "weights": {"pasing": 1}})), "did you mean `passing`?"),
            (
                service(json!({"name": "a", "tagged_addresses": {"lan": {"prt": 1}}})),
                "tagged_addresses.lan.prt: ",
            ),
            (
                service(json!({"name": "a", "qqqqqqqqqqqq": 1})),
                "qqqqqqqqqqqq: unknown field; Consul has none",
            ),
            (service(json!({"name": "a", "port": "x"})), "Port: expected a whole number"),
            (service(json!({"name": "a", "check": {}})), ""),
            (service(json!({"Name": "a", "EnableTagOverride": true, "_why": "a remark"})), ""),
            (check(json!({"name": "a", "ttl": "1s", "notez": ""})), "did you mean `notes`?"),
            (
                check(json!({"name": "a", "args": ["/bin/true"], "interval": "1s"})),
                "Args: script checks are not",
            ),
            (
                check(json!({"name": "a", "os_service": "web.service", "interval": "1s"})),
                "OSService: it runs `systemctl is-active`",
            ),
            (program(json!({"name": "a", "os_service": "web@1.service", "interval": "1s"})), ""),
            (
                program(json!({"name": "a", "OSService": "a b", "Interval": "1s"})),
                "is not the name of a systemd unit",
            ),
            (
                program(json!({"name": "a", "args": ["x"], "os_service": "b", "interval": "1s"})),
                "it is several at once",
            ),
            (check(json!({"name": "a", "udp": "127.0.0.1:53", "interval": "1s"})), ""),
            (check(json!({"name": "a"})), "TTL must be > 0"),
            (check(json!({"ttl": "1s"})), "Missing check name"),
            (check(json!({"name": "a", "TTL": "1s", "ServiceID": "web"})), ""),
        ] {
            let said = outcome.err().unwrap_or_default();
            assert!(said.contains(says) && said.is_empty() == says.is_empty(), "{said}: {says}");
        }
    }
}
