//! What must hold within a config entry, beyond the form of its fields.

use serde_json::{Map, Value};

use crate::consul::chain::NAMED_RETRIES;
use crate::consul::filter;
use crate::consul::health;
use crate::consul::pattern;
use crate::consul::refusal::Refusal;

type Entry = Map<String, Value>;
type Judged = Result<(), Refusal>;

/// Hundredths of a percent in a whole.
const ALL_SHARES: i64 = 10_000;

fn bad(path: impl std::fmt::Display, reason: impl std::fmt::Display) -> Judged {
    Err(Refusal::bad(format!("{path}: {reason}")))
}

/// A field as text; empty if it is absent.
fn text<'a>(of: &'a Entry, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn object<'a>(of: &'a Entry, name: &str) -> Option<&'a Entry> {
    of.get(name)?.as_object()
}

/// The objects of a list with their paths.
fn list<'a>(of: &'a Entry, path: &str, name: &str) -> impl Iterator<Item = (String, &'a Entry)> + use<'a> {
    let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let items = of.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    items.enumerate().map(move |(at, item)| (format!("{path}[{at}]"), item))
}

fn is_set(of: &Entry, name: &str) -> bool {
    of.get(name) == Some(&Value::Bool(true))
}

fn one_of(path: &str, value: &str, known: &[&str]) -> Judged {
    if value.is_empty() || known.contains(&value) {
        return Ok(());
    }
    bad(path, format_args!("invalid value {value:?}, expected one of {}", known.join(", ")))
}

/// What a service may be said to speak.
const PROTOCOLS: &[&str] = &["tcp", "http", "http2", "grpc"];

pub(super) fn proxies(_: &str, entry: &Entry) -> Judged {
    match object(entry, "Config").and_then(|config| config.get("protocol")) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(protocol)) => one_of("Config.protocol", protocol, PROTOCOLS),
        Some(other) => bad("Config.protocol", format_args!("expected a string, got {other}")),
    }
}

pub(super) fn defaults(_: &str, entry: &Entry) -> Judged {
    one_of("Protocol", text(entry, "Protocol"), PROTOCOLS)
}

pub(super) fn resolver(_: &str, entry: &Entry) -> Judged {
    let empty = Map::new();
    let subsets = object(entry, "Subsets").unwrap_or(&empty);
    for (name, subset) in subsets {
        let path = format!("Subsets[{name:?}]");
        if !is_label(name) {
            return bad(path, "expected lower-case letters, digits and inner dashes");
        }
        let expression = subset.as_object().map_or("", |subset| text(subset, "Filter"));
        if let Some(error) = filter::fault(expression, &health::sample()) {
            return bad(format_args!("{path}.Filter"), error);
        }
    }
    let default = text(entry, "DefaultSubset");
    if !default.is_empty() && !subsets.contains_key(default) {
        return bad("DefaultSubset", format_args!("{default:?} is none of the Subsets"));
    }
    redirect(entry, subsets)?;
    for (name, failover) in object(entry, "Failover").into_iter().flatten() {
        let path = format!("Failover[{name:?}]");
        if name != "*" && !subsets.contains_key(name) {
            return bad(path, "is for none of the Subsets");
        }
        if failover.as_object().is_none_or(Map::is_empty) {
            return bad(path, "expected Service, ServiceSubset, Namespace, Targets or Datacenters");
        }
    }
    balancer(entry)
}

fn redirect(entry: &Entry, subsets: &Entry) -> Judged {
    let Some(redirect) = object(entry, "Redirect") else { return Ok(()) };
    if redirect.is_empty() {
        return bad("Redirect", "is empty");
    }
    for name in ["Peer", "SamenessGroup"] {
        if !text(redirect, name).is_empty() {
            return bad(format_args!("Redirect.{name}"), "is not supported: there are no peers");
        }
    }
    let subset = text(redirect, "ServiceSubset");
    if !subset.is_empty() && text(redirect, "Service").is_empty() && !subsets.contains_key(subset) {
        return bad("Redirect.ServiceSubset", format_args!("{subset:?} is none of the Subsets"));
    }
    let beside = ["Subsets", "DefaultSubset", "Failover"];
    let is_said = |name: &&&str| {
        entry
            .get(**name)
            .is_some_and(|v| v.as_str() != Some("") && v.as_object().is_none_or(|o| !o.is_empty()))
    };
    match beside.iter().find(is_said) {
        Some(name) => bad("Redirect", format_args!("cannot be beside {name}")),
        None => Ok(()),
    }
}

fn balancer(entry: &Entry) -> Judged {
    let Some(balancer) = object(entry, "LoadBalancer") else { return Ok(()) };
    let policy = text(balancer, "Policy");
    one_of(
        "LoadBalancer.Policy",
        policy,
        &["random", "round_robin", "least_request", "ring_hash", "maglev"],
    )?;
    let hashes = matches!(policy, "ring_hash" | "maglev");
    for (path, hash) in list(balancer, "LoadBalancer", "HashPolicies") {
        if !hashes {
            return bad(path, format_args!("HashPolicies need Policy ring_hash or maglev, not {policy:?}"));
        }
        let field = text(hash, "Field");
        one_of(&format!("{path}.Field"), field, &["header", "cookie", "query_parameter"])?;
        let by_source = hash.get("SourceIP") == Some(&Value::Bool(true));
        if by_source != field.is_empty() {
            return bad(path, "expected either Field or SourceIP");
        }
        if !field.is_empty() && text(hash, "FieldValue").is_empty() {
            return bad(path, "Field needs a FieldValue");
        }
    }
    Ok(())
}

pub(super) fn splitter(name: &str, entry: &Entry) -> Judged {
    let mut sum = 0;
    let mut targets = std::collections::BTreeSet::new();
    for (path, split) in list(entry, "", "Splits") {
        let weight = split.get("Weight").and_then(Value::as_f64).unwrap_or_default();
        let shares = (weight * 100.0).round();
        if !(0.0..=100.0).contains(&weight) || (weight > 0.0 && shares < 1.0) {
            return bad(format_args!("{path}.Weight"), "expected 0, or a number from 0.01 to 100");
        }
        sum += shares as i64;
        let service = Some(text(split, "Service")).filter(|service| !service.is_empty()).unwrap_or(name);
        if !targets.insert((service, text(split, "ServiceSubset"), text(split, "Namespace"))) {
            return bad(path, "the same Service, ServiceSubset and Namespace as in another split");
        }
    }
    if targets.is_empty() {
        return bad("Splits", "no splits configured");
    }
    if sum != ALL_SHARES {
        return bad(
            "Splits",
            format_args!("the sum of all split weights must be 100, not {}", sum as f64 / 100.0),
        );
    }
    Ok(())
}

pub(super) fn router(_: &str, entry: &Entry) -> Judged {
    for (path, route) in list(entry, "", "Routes") {
        let http = object(route, "Match").and_then(|matches| object(matches, "HTTP"));
        if let Some(http) = http {
            let path = format!("{path}.Match.HTTP");
            http_match(&path, http)?;
            if let Some((path, _)) = list(http, &path, "Header").find(|(_, header)| is_set(header, "Invert"))
            {
                return bad(format_args!("{path}.Invert"), "is not supported");
            }
        }
        let Some(destination) = object(route, "Destination") else { continue };
        let prefixed = http
            .is_some_and(|http| !text(http, "PathPrefix").is_empty() || !text(http, "PathExact").is_empty());
        if !text(destination, "PrefixRewrite").is_empty() && !prefixed {
            return bad(
                format_args!("{path}.Destination.PrefixRewrite"),
                "needs Match.HTTP.PathPrefix or PathExact",
            );
        }
        if !text(destination, "PrefixRewrite").is_empty()
            && http.is_some_and(|http| is_set(http, "CaseInsensitive"))
        {
            return bad(
                format_args!("{path}.Destination.PrefixRewrite"),
                "is not supported beside Match.HTTP.CaseInsensitive",
            );
        }
        retries(&format!("{path}.Destination"), destination)?;
        let codes = destination.get("RetryOnStatusCodes").and_then(Value::as_array).into_iter().flatten();
        if let Some(code) = codes.filter_map(Value::as_u64).find(|code| !(100..600).contains(code)) {
            return bad(
                format_args!("{path}.Destination.RetryOnStatusCodes"),
                format_args!("{code} is no status"),
            );
        }
    }
    Ok(())
}

fn http_match(path: &str, http: &Entry) -> Judged {
    let paths = ["PathExact", "PathPrefix", "PathRegex"].map(|name| (name, text(http, name)));
    let given: Vec<_> = paths.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    if given.len() > 1 {
        return bad(path, "should only contain at most one of PathExact, PathPrefix, or PathRegex");
    }
    for (name, value) in given {
        if name != "PathRegex" && !value.starts_with('/') {
            return bad(format_args!("{path}.{name}"), format_args!("doesn't start with '/': {value:?}"));
        }
        if name == "PathRegex" {
            regex(&format!("{path}.{name}"), value)?;
        }
    }
    for (path, header) in list(http, path, "Header") {
        named_match(&path, header, &["Exact", "Prefix", "Suffix", "Contains", "Regex"])?;
    }
    for (path, parameter) in list(http, path, "QueryParam") {
        named_match(&path, parameter, &["Exact", "Regex"])?;
    }
    let mut seen = std::collections::BTreeSet::new();
    for method in texts(http, "Methods") {
        let known = METHODS.iter().find(|known| known.eq_ignore_ascii_case(method));
        let Some(known) = known else {
            let reason =
                format_args!("contains an invalid method {method:?}, expected one of {}", METHODS.join(", "));
            return bad(format_args!("{path}.Methods"), reason);
        };
        if !seen.insert(known) {
            return bad(format_args!("{path}.Methods"), format_args!("contains {known:?} more than once"));
        }
    }
    Ok(())
}

/// The methods that Consul knows.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

/// The texts of a list.
fn texts<'a>(of: &'a Entry, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    of.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether something can be retried on conditions of such names.
fn retries(path: &str, destination: &Entry) -> Judged {
    let is_known = |condition: &&str| NAMED_RETRIES.iter().any(|(known, _)| known == condition);
    let Some(unknown) = texts(destination, "RetryOn").find(|condition| !is_known(condition)) else {
        return Ok(());
    };
    let known: Vec<&str> = NAMED_RETRIES.iter().map(|(known, _)| *known).collect();
    let reason =
        format!("contains an invalid retry condition: {unknown:?}, expected one of {}", known.join(", "));
    bad(format_args!("{path}.RetryOn"), reason)
}

/// What is compared with a name: one thing, if only that it is there.
fn named_match(path: &str, of: &Entry, kinds: &[&str]) -> Judged {
    if text(of, "Name").is_empty() {
        return bad(path, "missing required Name field");
    }
    let present = of.get("Present") == Some(&Value::Bool(true));
    let given = kinds.iter().filter(|kind| !text(of, kind).is_empty()).count() + usize::from(present);
    if given != 1 {
        let (last, others) = kinds.split_last().unwrap_or((&"", &[]));
        let reason = format!("should only contain one of Present, {}, or {last}", others.join(", "));
        let none = if given == 0 { ", and has none" } else { "" };
        return bad(path, reason + none);
    }
    regex(&format!("{path}.Regex"), text(of, "Regex"))
}

fn regex(path: &str, text: &str) -> Judged {
    match pattern::compile(text) {
        Ok(_) => Ok(()),
        Err(error) => bad(path, error),
    }
}

pub(super) fn intentions(_: &str, entry: &Entry) -> Judged {
    let mut seen = std::collections::BTreeSet::new();
    for (path, source) in list(entry, "", "Sources") {
        let name = text(source, "Name");
        if name.is_empty() {
            return bad(format_args!("{path}.Name"), "is required");
        }
        if !seen.insert((name, text(source, "Namespace"), text(source, "Peer"))) {
            return bad(format_args!("{path}.Name"), format_args!("{name:?} is there more than once"));
        }
        let action = text(source, "Action");
        one_of(&format!("{path}.Action"), action, &["allow", "deny"])?;
        let mut permissions = list(source, &path, "Permissions").peekable();
        if action.is_empty() == permissions.peek().is_none() {
            return bad(path, "must set either Action or Permissions");
        }
        for (path, permission) in permissions {
            let action = text(permission, "Action");
            if action.is_empty() {
                return bad(format_args!("{path}.Action"), "expected allow or deny");
            }
            one_of(&format!("{path}.Action"), action, &["allow", "deny"])?;
            if let Some(http) = object(permission, "HTTP") {
                http_match(&format!("{path}.HTTP"), http)?;
            }
        }
    }
    Ok(())
}

fn is_label(name: &str) -> bool {
    weir_model::names::label(name).is_ok()
}
