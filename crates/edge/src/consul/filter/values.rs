//! What filters compare with: values as Go reads them, and the values of fields that an answer here leaves out.

use serde_json::{Map, Number, Value, json};
use weir_model::DEFAULT_NAMESPACE;

/// What marks an object as a service, alone or with its node; as a check; as a node, alone or with a service.
const OF_SERVICE: [&str; 2] = ["EnableTagOverride", "ServiceEnableTagOverride"];
const OF_CHECK: &str = "CheckID";
const OF_NODE: &str = "Datacenter";

/// What Consul's documentation lets a filter name and an answer here does not have, since nothing of the kind exists: then it is
/// as it would be in Consul, empty or false. `parent` is the name of `map`; `namespace` that of what is listed, where it is known.
pub(super) fn unsaid(
    map: &Map<String, Value>,
    parent: &str,
    name: &str,
    namespace: Option<&str>,
) -> Option<Value> {
    let is_service = OF_SERVICE.iter().any(|mark| map.contains_key(*mark));
    let is_item = is_service || map.contains_key(OF_CHECK);
    Some(match (parent, name) {
        ("Proxy" | "ServiceProxy", name) => match name {
            "Mode" | "DestinationServiceID" | "DestinationServiceName" | "LocalServiceAddress" => json!(""),
            "LocalServicePort" => json!(0),
            "Upstreams" => json!([]),
            "TransparentProxy" => json!({"DialedDirectly": false, "OutboundListenerPort": 0}),
            "MeshGateway" | "Expose" => json!({}),
            _ => return None,
        },
        ("MeshGateway", "Mode") => json!(""),
        ("Connect" | "ServiceConnect", "Native") => json!(false),
        (_, "Kind" | "SocketPath") if is_service => json!(""),
        (_, "Proxy" | "Connect") if is_service => json!({}),
        (_, "PeerName") if is_item || map.contains_key(OF_NODE) => json!(""),
        (_, "Partition") if is_item || map.contains_key(OF_NODE) => json!("default"),
        (_, "Namespace") if is_item => json!(namespace.unwrap_or(DEFAULT_NAMESPACE)),
        _ => return None,
    })
}

/// Whether a number is the one that a text says; `None` if the text says none of its kind.
pub(super) fn is_number(found: &Number, text: &str) -> Option<bool> {
    let known = found.as_i64().map(i128::from).or_else(|| found.as_u64().map(i128::from));
    if let Some(known) = known {
        return whole(text).map(|asked| asked == known);
    }
    let asked = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some(found.as_f64() == Some(asked))
}

/// A whole number as Go reads it: decimal, or in another base by its prefix. What has more than 64 bits is none.
fn whole(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match prefix.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some(octal) if octal.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok().map(|number| sign * i128::from(number))
}

/// Whether or not, as Go reads it.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}
