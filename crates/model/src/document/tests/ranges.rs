//! Every number, duration and size of every kind of document: what it may be is what is said, however it is missed.

use serde_json::{Map, Value, json};

use super::leaves::{self, Leaf};
use super::*;
use crate::resource::filter::FilterKind;
use crate::resource::*;
use crate::units::Span;

/// What the fields may be, as `docs/documents.md` has it.
const DOCUMENTED: &[(&str, &str, &str)] = &[
    ("Gateway", "listeners[0].port", "1 to 65535"),
    ("Gateway", "tls.frontend.perPort[0].port", "1 to 65535"),
    ("TrafficPolicy", "balance.loadFactor", "1 to 100"),
    ("TrafficPolicy", "balance.decay", "1ms to 1h"),
    ("TrafficPolicy", "balance.slowStart.window", "1ms to 1h"),
    ("TrafficPolicy", "balance.slowStart.aggression", "more than 0, at most 10"),
    ("TrafficPolicy", "balance.slowStart.floor", "more than 0, at most 1"),
    ("TrafficPolicy", "balance.panicThreshold", "0 to 1"),
    ("TrafficPolicy", "balance.subset", "1 to 10000"),
    ("TrafficPolicy", "retry.attempts", "0 to 10"),
    ("TrafficPolicy", "retry.statuses[0]", "100 to 599"),
    ("TrafficPolicy", "retry.backoff.base", "1ms to 1m"),
    ("TrafficPolicy", "retry.backoff.max", "1ms to 1m"),
    ("TrafficPolicy", "retry.budget.ratio", "0 to 1"),
    ("TrafficPolicy", "retry.budget.reserve", "0 to 100000"),
    ("TrafficPolicy", "retry.budget.window", "1s to 10m"),
    ("TrafficPolicy", "hedge.delay", "1ms to 1m"),
    ("TrafficPolicy", "hedge.percentile", "0.5 to 0.999"),
    ("TrafficPolicy", "breakers[0].failureStatuses[0]", "100 to 599"),
    ("TrafficPolicy", "breakers[0].slowCall", "1us to 1h"),
    ("TrafficPolicy", "breakers[0].window", "100ms to 1h"),
    ("TrafficPolicy", "breakers[0].windowCalls", "1 to 100000"),
    ("TrafficPolicy", "breakers[0].callsMin", "1 to 1000000"),
    ("TrafficPolicy", "breakers[0].failureRatio", "more than 0, at most 1"),
    ("TrafficPolicy", "breakers[0].slowRatio", "more than 0, at most 1"),
    ("TrafficPolicy", "breakers[0].failures", "1 to 100000"),
    ("TrafficPolicy", "breakers[0].normalRatio", "more than 0 and less than 1"),
    ("TrafficPolicy", "breakers[0].failingRatio", "more than 0 and less than 1"),
    ("TrafficPolicy", "breakers[0].callsToFalseTrip", "2 to 1000000000000"),
    ("TrafficPolicy", "breakers[0].factor", "1 to 100"),
    ("TrafficPolicy", "breakers[0].open", "1ms to 24h"),
    ("TrafficPolicy", "breakers[0].openMax", "1ms to 24h"),
    ("TrafficPolicy", "breakers[0].probes", "1 to 1000"),
    ("TrafficPolicy", "breakers[0].ramp", "0s to 1h"),
    ("TrafficPolicy", "breakers[0].fallback.response.status", "200 to 599"),
    ("TrafficPolicy", "breakers[0].fallback.cached.ageMax", "1s to 168h"),
    ("TrafficPolicy", "breakers[0].fallback.cached.sizeMax", "64KiB to 1GiB"),
    ("TrafficPolicy", "outlier.consecutive", "0 to 100000"),
    ("TrafficPolicy", "outlier.interval", "100ms to 1h"),
    ("TrafficPolicy", "outlier.falseDiscovery", "0 to 1"),
    ("TrafficPolicy", "outlier.effectMin", "0 to 1"),
    ("TrafficPolicy", "outlier.failuresMin", "1 to 100000"),
    ("TrafficPolicy", "outlier.ejection", "1ms to 24h"),
    ("TrafficPolicy", "outlier.ejectionMax", "1ms to 24h"),
    ("TrafficPolicy", "outlier.ejectedMax", "0 to 1"),
    ("TrafficPolicy", "connection.streamsMax", "1 to 1000"),
    ("TrafficPolicy", "connection.connectionsMax", "1 to 10000"),
    ("RateLimit", "keysMax", "1 to 1000000"),
    ("RateLimit", "rates[0].requests", "1 to 1000000000"),
    ("RateLimit", "rates[0].per", "1ms to 24h"),
    ("RateLimit", "rates[0].burst", "1 to 1000000000"),
    ("RateLimit", "queue.max", "0 to 100000"),
    ("RateLimit", "queue.timeout", "1ms to 5m"),
    ("RateLimit", "warmUp.over", "100ms to 1h"),
    ("RateLimit", "warmUp.from", "more than 0, at most 1"),
    ("RateLimit", "concurrencyMax", "1 to 1000000"),
    ("RateLimit", "concurrencyMin", "1 to 1000000"),
    ("RateLimit", "response.status", "200 to 599"),
    ("ListenerPolicy", "limits.connections", "1 to 10000000"),
    ("ListenerPolicy", "limits.streams", "1 to 10000"),
    ("ListenerPolicy", "limits.headBytes", "1KiB to 128KiB"),
    ("ListenerPolicy", "limits.headFields", "8 to 1024"),
    ("Service", "check.port", "1 to 65535"),
    ("Service", "check.interval", "100ms to 1h"),
    ("Service", "check.timeout", "10ms to 1m"),
    ("Service", "check.healthyThreshold", "1 to 100"),
    ("Service", "check.unhealthyThreshold", "1 to 100"),
    ("Service", "endpoints[0].port", "1 to 65535"),
    ("Service", "endpoints[0].weight", "0 to 1000000"),
    ("Service", "endpoints[0].check.port", "1 to 65535"),
    ("Service", "endpoints[0].check.interval", "100ms to 1h"),
    ("Service", "endpoints[0].check.timeout", "10ms to 1m"),
    ("Service", "endpoints[0].check.healthyThreshold", "1 to 100"),
    ("Service", "endpoints[0].check.unhealthyThreshold", "1 to 100"),
];

/// The same of routes; `F` stands for the filters of a rule and for those of its backends.
const OF_ROUTES: &[(&str, &str)] = &[
    ("parentRefs[0].port", "1 to 65535"),
    ("rules[0].backendRefs[0].port", "1 to 65535"),
    ("rules[0].backendRefs[0].weight", "0 to 1000000"),
    ("F.requestRedirect.port", "1 to 65535"),
    ("F.requestRedirect.statusCode", "301, 302, 303, 307"),
    ("F.requestMirror.backendRef.port", "1 to 65535"),
    ("F.requestMirror.percent", "0 to 100"),
    ("F.requestMirror.fraction.denominator", "1 to 4294967295"),
    ("F.requestMirror.fraction.numerator", "0 to 4294967295"),
    ("F.cors.maxAge", "1 to 4294967295"),
    ("F.fault.delay.duration", "1ns to 1h"),
    ("F.fault.delay.percentage", "0 to 100"),
    ("F.fault.abort.status", "200 to 599"),
    ("F.fault.abort.grpcStatus", "1 to 16"),
    ("F.fault.abort.percentage", "0 to 100"),
];

/// Durations that have no bound of their own.
const UNBOUNDED: &[(&str, &str)] = &[
    ("TrafficPolicy", "timeouts.connect"),
    ("TrafficPolicy", "timeouts.request"),
    ("TrafficPolicy", "timeouts.perTry"),
    ("TrafficPolicy", "timeouts.idle"),
    ("ListenerPolicy", "timeouts.head"),
    ("ListenerPolicy", "timeouts.idle"),
    ("ListenerPolicy", "timeouts.body"),
    ("ListenerPolicy", "timeouts.handshake"),
    ("HTTPRoute", "rules[0].timeouts.request"),
    ("HTTPRoute", "rules[0].timeouts.backendRequest"),
];

fn documented() -> Vec<(String, String, &'static str)> {
    let mut all: Vec<_> = DOCUMENTED
        .iter()
        .map(|(kind, path, range)| ((*kind).to_owned(), format!("spec.{path}"), *range))
        .collect();
    for kind in ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"] {
        for (path, range) in OF_ROUTES {
            let filters = ["rules[0].filters[0]", "rules[0].backendRefs[0].filters[0]"];
            for filters in if path.starts_with('F') { &filters[..] } else { &[""] } {
                all.push((kind.to_owned(), format!("spec.{}", path.replacen('F', filters, 1)), range));
            }
        }
    }
    // Connections are not filtered; what is written there is refused as a whole.
    all.retain(|(kind, path, _)| {
        !(["TLSRoute", "TCPRoute"].contains(&&**kind) && path.contains("].filters["))
    });
    all
}

fn leaves() -> Vec<(Kind, String, Leaf)> {
    let mut all = Vec::new();
    let mut note = |kind, leaves: Vec<(String, Leaf)>| {
        all.extend(leaves.into_iter().map(|(path, leaf)| (kind, path, leaf)));
    };
    for kind in Kind::ALL {
        note(
            kind,
            match kind {
                Kind::Gateway => leaves::of::<gateway::GatewaySpec>(),
                Kind::HttpRoute => leaves::of::<HttpRouteSpec>(),
                Kind::GrpcRoute => leaves::of::<GrpcRouteSpec>(),
                Kind::TlsRoute => leaves::of::<TlsRouteSpec>(),
                Kind::TcpRoute => leaves::of::<TcpRouteSpec>(),
                Kind::Service => leaves::of::<ServiceSpec>(),
                Kind::TrafficPolicy => leaves::of::<TrafficPolicySpec>(),
                Kind::RateLimit => leaves::of::<rate_limit::RateLimitSpec>(),
                Kind::ListenerPolicy => leaves::of::<listener_policy::ListenerPolicySpec>(),
                Kind::Certificate => leaves::of::<certificate::CertificateSpec>(),
            },
        );
    }
    all.retain(|(kind, path, _)| {
        !(matches!(kind, Kind::TlsRoute | Kind::TcpRoute) && path.contains("].filters["))
    });
    all
}

/// A map with a value at a path; filters have the type that goes with their settings.
fn with(path: &str, value: Value) -> Value {
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    let mut inner = match rest {
        Some(rest) => with(rest, value),
        None => value,
    };
    let name = first.strip_suffix("[0]").unwrap_or(first);
    if let Value::Object(fields) = &mut inner
        && name == "filters"
    {
        let kind = FilterKind::ALL.into_iter().find(|kind| fields.contains_key(kind.field()));
        fields.insert("type".to_owned(), json!(kind.unwrap().as_str()));
    }
    if name.len() < first.len() {
        inner = json!([inner]);
    }
    let mut map = Map::new();
    map.insert(name.to_owned(), inner);
    Value::Object(map)
}

/// What is said of the field with a path when it has a value, by whoever finds it.
fn said(kind: &str, path: &str, value: &Value) -> Vec<String> {
    let mut document = with(path, value.clone());
    let root = document.as_object_mut().unwrap();
    root.insert("kind".to_owned(), json!(kind));
    root.insert("metadata".to_owned(), json!({"name": "a"}));
    complete(kind, &mut root["spec"]);
    let text = document.to_string();
    let errors = match parse("-", &text) {
        Err(errors) => errors,
        Ok(parsed) => check(&parsed.documents, Scope::OneProxy).err().unwrap_or_default(),
    };
    let here = errors.iter().filter(|error| error.path == path);
    here.map(|error| error.to_string()).collect()
}

/// Fields without which a document is not read, so that nobody would look at the others.
fn complete(kind: &str, spec: &mut Value) {
    let put = |map: &mut Value, fields: Value| {
        if let (Some(map), Value::Object(fields)) = (map.as_object_mut(), fields) {
            for (name, value) in fields {
                map.entry(name).or_insert(value);
            }
        }
    };
    put(
        spec,
        match kind {
            "Gateway" => json!({"listeners": [{}]}),
            "TrafficPolicy" | "RateLimit" | "ListenerPolicy" => json!({"targetRefs": [{"name": "a"}]}),
            _ => json!({}),
        },
    );
    let parts: &[(&str, Value)] = &[
        ("/listeners/0", json!({"name": "a", "port": 80, "protocol": "HTTP"})),
        ("/tls/frontend", json!({"default": {}})),
        ("/tls/frontend/perPort/0", json!({"tls": {}, "port": 80})),
        ("/balance/slowStart", json!({"window": "1s"})),
        ("/rates/0", json!({"requests": 1})),
        ("/response", json!({"status": 503})),
        ("/breakers/0/fallback/response", json!({"status": 503})),
        ("/endpoints/0", json!({"address": "10.0.0.1", "port": 80})),
        ("/check", json!({"type": "tcp"})),
        ("/endpoints/0/check", json!({"type": "tcp"})),
        ("/parentRefs/0", json!({"name": "a"})),
        ("/rules/0/backendRefs/0", json!({"name": "a"})),
    ];
    for (pointer, fields) in parts {
        if let Some(part) = spec.pointer_mut(pointer) {
            put(part, fields.clone());
        }
    }
    for filter in ["/rules/0/filters/0", "/rules/0/backendRefs/0/filters/0"] {
        let parts = [
            ("requestMirror", json!({"backendRef": {}})),
            ("requestMirror/backendRef", json!({"name": "a"})),
            ("requestMirror/fraction", json!({"numerator": 0})),
            ("fault/delay", json!({"duration": "1s"})),
        ];
        for (part, fields) in parts {
            if let Some(part) = spec.pointer_mut(&format!("{filter}/{part}")) {
                put(part, fields);
            }
        }
    }
}

#[test]
fn the_table_has_every_number_that_documents_can_have() {
    let mut expected: Vec<(String, String)> =
        documented().into_iter().map(|(kind, path, _)| (kind, path)).collect();
    expected.extend(UNBOUNDED.iter().map(|(kind, path)| ((*kind).to_owned(), format!("spec.{path}"))));
    expected.sort();
    let mut found: Vec<(String, String)> =
        leaves().into_iter().map(|(kind, path, _)| (kind.to_string(), path)).collect();
    found.sort();
    found.dedup();
    assert_eq!(found, expected);
}

#[test]
fn whatever_is_out_of_range_is_answered_with_the_range() {
    let leaves = leaves();
    for (kind, path, range) in documented() {
        let leaf =
            leaves.iter().find(|(of, at, _)| of.as_str() == kind && *at == path).map(|(_, _, leaf)| *leaf);
        let bad = match leaf.unwrap() {
            Leaf::Integer => {
                vec![json!(-1), json!(1.5), json!(1e30), json!(u64::MAX), json!("x"), json!(true)]
            }
            Leaf::Number => vec![json!(-1), json!(1e30), json!("x"), json!([1])],
            Leaf::Span => vec![json!("87600h"), json!("99999999h"), json!(-1), json!(1.5), json!(1e30)],
            Leaf::Size => vec![json!(-1), json!(1.5), json!(1e30), json!("x"), json!("1B"), json!("1024GiB")],
        };
        for value in bad {
            let said = said(&kind, &path, &value);
            assert!(said.iter().any(|said| said.contains(range)), "{kind} {path}: {value}: {said:?}");
        }
    }
}

#[test]
fn what_is_just_out_of_range_is_refused_and_the_ends_are_not() {
    for (kind, path, range) in documented() {
        let Some((least, most)) = range.split_once(" to ") else { continue };
        let (Ok(least), Ok(most)) = (least.parse::<u64>(), most.parse::<u64>()) else { continue };
        for (value, is_fine) in
            [(least.checked_sub(1), false), (Some(least), true), (Some(most), true), (Some(most + 1), false)]
        {
            let Some(value) = value else { continue };
            let said = said(&kind, &path, &json!(value));
            let refused = said.iter().any(|said| said.contains(range));
            assert_ne!(refused, is_fine, "{kind} {path}: {value}: {said:?}");
        }
    }
}

#[test]
fn what_is_too_long_is_called_so() {
    for (kind, path, range) in documented() {
        let Some((_, most)) = range.split_once(" to ").filter(|(_, most)| most.parse::<Span>().is_ok())
        else {
            continue;
        };
        for value in ["99999999h", "200h"] {
            let said = said(&kind, &path, &json!(value));
            let expected = format!("`{value}` is longer than {most}; expected {range}");
            assert!(
                said.iter().any(|said| said.replace('`', "").contains(&expected.replace('`', ""))),
                "{said:?}"
            );
        }
    }
    for (kind, path) in UNBOUNDED {
        let said = said(kind, &format!("spec.{path}"), &json!("99999999h"));
        assert!(said.iter().any(|said| said.contains("`99999999h` is longer than 87600h")), "{said:?}");
    }
}
