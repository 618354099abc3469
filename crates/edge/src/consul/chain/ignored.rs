//! Fields of config entries that are kept and shown, and count for nothing.

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::entries::Failover;
use super::policies::NAMED_RETRIES;

/// What counts of each kind that routes: paths as [`fields`] gives them, without the places in lists and the keys of maps.
/// One stands for all below it.
const IN_FORCE: [(&str, &[&str]); 5] = [
    ("service-defaults", &["Protocol", "Meta"]),
    ("proxy-defaults", &["Config.protocol", "Meta"]),
    ("service-splitter", &["Splits", "Meta"]),
    (
        "service-router",
        &[
            "Meta",
            "Routes.Match",
            "Routes.Destination.Service",
            "Routes.Destination.ServiceSubset",
            "Routes.Destination.Namespace",
            "Routes.Destination.PrefixRewrite",
            "Routes.Destination.RequestTimeout",
            "Routes.Destination.NumRetries",
            "Routes.Destination.RetryOnConnectFailure",
            "Routes.Destination.RetryOn",
            "Routes.Destination.RetryOnStatusCodes",
            "Routes.Destination.RequestHeaders",
            "Routes.Destination.ResponseHeaders",
        ],
    ),
    (
        "service-resolver",
        &[
            "Meta",
            "DefaultSubset",
            "Subsets",
            "Redirect.Service",
            "Redirect.ServiceSubset",
            "Redirect.Namespace",
            "Redirect.Datacenter",
            "Failover.*.Service",
            "Failover.*.ServiceSubset",
            "Failover.*.Namespace",
            "Failover.*.Datacenters",
            "Failover.*.Targets.Service",
            "Failover.*.Targets.ServiceSubset",
            "Failover.*.Targets.Namespace",
            "Failover.*.Targets.Datacenter",
            "Failover.*.Targets.Peer",
            "ConnectTimeout",
            "RequestTimeout",
            "LoadBalancer.Policy",
            "LoadBalancer.HashPolicies.Field",
            "LoadBalancer.HashPolicies.FieldValue",
            "LoadBalancer.HashPolicies.SourceIP",
        ],
    ),
];

/// Fields whose keys are free.
const MAPS: [&str; 2] = ["Failover", "Subsets"];

/// The fields of an entry that say something and count for nothing: `Routes[0].Destination.IdleTimeout`. Of intentions all do.
/// What leads out of this datacenter is among them.
pub(in crate::consul) fn fields(kind: &str, content: &Map<String, Value>, datacenter: &str) -> Vec<String> {
    let in_force = IN_FORCE.iter().find(|(of, _)| *of == kind).map_or(&["Meta"][..], |(_, paths)| paths);
    let mut found = Vec::new();
    walk(in_force, "", "", content, &mut found);
    if kind == "service-router" {
        retries(content, &mut found);
    }
    if kind == "service-resolver" {
        failovers(content, datacenter, &mut found);
    }
    found
}

/// Failover to other datacenters and peers: all of one that goes nowhere else, else the parts that do.
fn failovers(content: &Map<String, Value>, datacenter: &str, found: &mut Vec<String>) {
    for (subset, failover) in content.get("Failover").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("Failover.{subset}");
        let Ok(failover) = Failover::deserialize(failover) else { continue };
        if failover.targets.is_empty() && !failover.is_here(datacenter) {
            found.push(path);
            continue;
        }
        let others = failover.datacenters.iter().enumerate().filter(|(_, named)| *named != datacenter);
        found.extend(others.map(|(at, _)| format!("{path}.Datacenters[{at}]")));
        let others = failover.targets.iter().enumerate().filter(|(_, to)| !to.is_here(datacenter));
        found.extend(others.map(|(at, _)| format!("{path}.Targets[{at}]")));
    }
}

/// Conditions of retries that nobody here can see.
fn retries(content: &Map<String, Value>, found: &mut Vec<String>) {
    let routes = content.get("Routes").and_then(Value::as_array).into_iter().flatten();
    for (at, route) in routes.enumerate() {
        let conditions = route.pointer("/Destination/RetryOn").and_then(Value::as_array);
        for (index, condition) in conditions.into_iter().flatten().enumerate() {
            let counts = NAMED_RETRIES.iter().any(|(name, counts)| condition == name && *counts);
            if !counts {
                found.push(format!("Routes[{at}].Destination.RetryOn[{index}]"));
            }
        }
    }
}

fn walk(in_force: &[&str], path: &str, pattern: &str, map: &Map<String, Value>, found: &mut Vec<String>) {
    let is_free = MAPS.contains(&pattern);
    for (key, value) in map {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let key = if is_free { "*" } else { key };
        let pattern = if pattern.is_empty() { key.to_owned() } else { format!("{pattern}.{key}") };
        if in_force.contains(&&*pattern) || says_nothing(value) {
            continue;
        }
        let below = format!("{pattern}.");
        let leads_on = in_force.iter().any(|one| one.starts_with(&below));
        match value {
            Value::Object(map) if leads_on => walk(in_force, &path, &pattern, map, found),
            Value::Array(items) if leads_on => {
                for (at, item) in items.iter().enumerate() {
                    if let Value::Object(map) = item {
                        walk(in_force, &format!("{path}[{at}]"), &pattern, map, found);
                    }
                }
            }
            _ => found.push(path),
        }
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(says_nothing),
    }
}
