//! Traffic policies and limits that are well formed and wrong. What documents cannot say yet is judged as a spec.

use serde_json::{Value, json};

use super::*;
use crate::resource::TrafficPolicySpec;
use crate::resource::key::KeyKind;
use crate::resource::rate_limit::LimitAlgorithm;
use crate::resource::traffic_policy::{BalancePolicy, BreakerLevel, BreakerStrategy};

/// The spec of a traffic policy for `a`, with these fields.
#[track_caller]
fn policy(fields: Value, expected: &[&str]) {
    let mut spec = json!({"targetRefs": [{"name": "a"}]});
    merge(&mut spec, fields);
    let shown = spec.to_string();
    let spec = Spec::TrafficPolicy(serde_json::from_value(spec).unwrap());
    let found: Vec<String> = validate_spec(&spec).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "for {shown}");
}

/// The same of a limit with a rate, unless the fields say otherwise.
#[track_caller]
fn limit(fields: Value, expected: &[&str]) {
    let mut spec = json!({"targetRefs": [{"name": "a"}], "rates": [{"requests": 100}]});
    merge(&mut spec, fields);
    let shown = spec.to_string();
    let spec = Spec::RateLimit(serde_json::from_value(spec).unwrap());
    let found: Vec<String> = validate_spec(&spec).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "for {shown}");
}

fn merge(spec: &mut Value, fields: Value) {
    let Value::Object(fields) = fields else { panic!("{fields} is no map") };
    for (name, value) in fields {
        spec[name] = value;
    }
}

#[track_caller]
fn breaker(fields: Value, expected: &[&str]) {
    policy(json!({"breakers": vec![fields]}), expected);
}

#[test]
fn names_are_those_of_documents() {
    let shown = |value: Value| value.as_str().unwrap().to_owned();
    for one in BalancePolicy::ALL {
        assert_eq!(shown(serde_json::to_value(one).unwrap()), one.as_str());
    }
    for one in BreakerStrategy::ALL {
        assert_eq!(shown(serde_json::to_value(one).unwrap()), one.as_str());
    }
    for one in [BreakerLevel::Service, BreakerLevel::Route, BreakerLevel::Instance] {
        assert_eq!(shown(serde_json::to_value(one).unwrap()), one.as_str());
    }
    for one in LimitAlgorithm::ALL {
        assert_eq!(shown(serde_json::to_value(one).unwrap()), one.as_str());
    }
    for one in KeyKind::ALL {
        assert_eq!(shown(serde_json::to_value(one).unwrap()), one.as_str());
    }
}

#[test]
fn what_policies_are_for() {
    let targets = |targets: Value, expected: &[&str]| policy(json!({"targetRefs": targets}), expected);
    targets(
        json!([{"name": "a"}, {"kind": "HTTPRoute", "name": "a"}, {"kind": "HTTPRoute", "name": "a", "sectionName": "b"}]),
        &[],
    );
    targets(
        json!([{"name": "a", "sectionName": "b"}, {"name": "Web_1"}]),
        &[
            "spec.targetRefs[0].sectionName: a service has no sections; expected a target of another kind, or no `sectionName`",
        ],
    );
    targets(
        json!([{"kind": "GRPCRoute", "name": "a_b", "sectionName": "B", "group": "weir.dev"}]),
        &[
            "spec.targetRefs[0].group: `weir.dev` has no meaning here; expected `gateway.networking.k8s.io`",
            "spec.targetRefs[0].name: `a_b` is not a DNS name; expected lower-case letters, digits, `-` and `.`, up to 253 characters, each part beginning and ending with a letter or digit",
            "spec.targetRefs[0].sectionName: `B` is not a DNS name; expected lower-case letters, digits, `-` and `.`, up to 253 characters, each part beginning and ending with a letter or digit",
        ],
    );
    targets(
        json!([{"kind": "Gateway", "name": "a"}, {"kind": "Gateway", "name": "b"}]),
        &[
            "spec.targetRefs[0].kind: `Gateway` has no meaning here; expected `Service` or `HTTPRoute` or `GRPCRoute`",
            "spec.targetRefs[1].kind: `Gateway` has no meaning here; expected `Service` or `HTTPRoute` or `GRPCRoute`",
        ],
    );
    targets(
        json!([{"name": "a"}, {"kind": "Service", "name": "a"}]),
        &["spec.targetRefs[1]: `a` is there twice; expected each target once"],
    );
    let many: Vec<Value> = (0..257).map(|n| json!({"name": format!("s{n}")})).collect();
    targets(json!(many), &["spec.targetRefs: 257 of them; expected at most 256"]);
    limit(
        json!({"targetRefs": [{"kind": "Gateway", "name": "g", "sectionName": "l"}, {"kind": "TCPRoute", "name": "t"}]}),
        &[
            "spec.targetRefs[1].kind: `TCPRoute` has no meaning here; expected `Service` or `Gateway` or `HTTPRoute` or `GRPCRoute`",
        ],
    );
    limit(json!({"targetRefs": []}), &["spec.targetRefs: it is empty; expected at least one target"]);
}

#[test]
fn policies_for_routes_have_only_what_concerns_calls() {
    let route = json!([{"kind": "HTTPRoute", "name": "a"}]);
    policy(
        json!({"targetRefs": route, "timeouts": {"request": "1s", "perTry": "500ms"}, "retry": {"attempts": 2},
               "hedge": {"delay": "50ms"}, "breakers": [{}]}),
        &[],
    );
    let not = |field: &str| {
        format!(
            "spec.{field}: it does not belong to a policy for a HTTPRoute; expected a policy for services only"
        )
    };
    let expected: Vec<String> =
        ["balance", "timeouts.connect", "timeouts.idle", "outlier", "tls", "proxyProtocol", "connection"]
            .iter()
            .map(|field| not(field))
            .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    policy(
        json!({"targetRefs": [{"name": "a"}, {"kind": "HTTPRoute", "name": "a"}], "balance": {}, "outlier": {},
               "timeouts": {"connect": "1s", "idle": "1s"}, "tls": {}, "proxyProtocol": "v1", "connection": {}}),
        &expected,
    );
}

#[test]
fn times_retries_and_hedging() {
    policy(json!({"timeouts": {"request": "0s", "perTry": "9s"}}), &[]);
    policy(
        json!({"timeouts": {"request": "1s", "perTry": "2s"}}),
        &[
            "spec.timeouts.perTry: one attempt may take longer (2s) than the whole request (1s); expected at most 1s",
        ],
    );
    policy(
        json!({"retry": {"statuses": [503, 429], "grpcStatuses": ["UNAVAILABLE"], "backoff": {"base": "25ms", "max": "25ms"},
                         "budget": {"ratio": 0.0, "reserve": 0, "window": "10s"}}}),
        &[],
    );
    policy(
        json!({"retry": {"statuses": [99, 600, 503, 503], "grpcStatuses": ["Unavailible", "OK", "X", "ABORTED", "ABORTED"],
                         "backoff": {"base": "300ms", "max": "250ms"}, "budget": {"ratio": 1.5, "reserve": 100_001, "window": "0s"}}}),
        &[
            "spec.retry.statuses[0]: 99 is out of range; expected 100 to 599",
            "spec.retry.statuses[1]: 600 is out of range; expected 100 to 599",
            "spec.retry.statuses[3]: 503 is there twice; expected each status once",
            "spec.retry.grpcStatuses[0]: `Unavailible` is no status of gRPC; expected `UNAVAILABLE`?",
            "spec.retry.grpcStatuses[1]: `OK` is no failure; expected the status of a failure such as `UNAVAILABLE`",
            "spec.retry.grpcStatuses[2]: `X` is no status of gRPC; expected a name such as `UNAVAILABLE` or `RESOURCE_EXHAUSTED`",
            "spec.retry.grpcStatuses[4]: `ABORTED` is there twice; expected each status once",
            "spec.retry.backoff.base: 300ms is longer than `max` (250ms); expected at most 250ms",
            "spec.retry.budget.ratio: 1.5 is out of range; expected 0 to 1",
            "spec.retry.budget.reserve: 100001 is out of range; expected 0 to 100000",
            "spec.retry.budget.window: 0s is out of range; expected 1s to 10m",
        ],
    );
    policy(
        json!({"retry": {"backoff": {"base": "0s", "max": "2m"}}}),
        &[
            "spec.retry.backoff.base: 0s is out of range; expected 1ms to 1m",
            "spec.retry.backoff.max: 2m is longer than 1m; expected 1ms to 1m",
        ],
    );
    policy(json!({"hedge": {"percentile": 0.95}}), &[]);
    policy(json!({"hedge": {"enabled": false}}), &[]);
    policy(
        json!({"hedge": {"enabled": true}}),
        &["spec.hedge: it does not say after how long; expected `delay` or `percentile`"],
    );
    policy(
        json!({"hedge": {}}),
        &["spec.hedge: it does not say after how long; expected `delay` or `percentile`"],
    );
    policy(
        json!({"hedge": {"percentile": 95.0, "delay": "0s"}}),
        &[
            "spec.hedge: it says twice after how long; expected `delay` or `percentile`",
            "spec.hedge.delay: 0s is out of range; expected 1ms to 1m",
            "spec.hedge.percentile: 95 is out of range; expected 0.5 to 0.999",
        ],
    );
}

#[test]
fn what_is_not_written_is_compared_by_its_default() {
    breaker(json!({"open": "1m", "ramp": "0s"}), &[]);
    breaker(
        json!({"open": "90s"}),
        &[
            "spec.breakers[0].open: 90s is longer than `openMax`, which is 1m unless it is written; expected at most 1m, or a longer `openMax`",
        ],
    );
    breaker(
        json!({"strategy": "consecutive", "openMax": "4s"}),
        &[
            "spec.breakers[0].openMax: 4s is shorter than `open`, which is 5s unless it is written; expected at least 5s, or a shorter `open`",
        ],
    );
    policy(json!({"outlier": {"ejection": "5m"}}), &[]);
    policy(
        json!({"outlier": {"ejection": "10m"}}),
        &[
            "spec.outlier.ejection: 10m is longer than `ejectionMax`, which is 5m unless it is written; expected at most 5m, or a longer `ejectionMax`",
        ],
    );
    policy(
        json!({"outlier": {"ejectionMax": "1s"}}),
        &[
            "spec.outlier.ejectionMax: 1s is shorter than `ejection`, which is 30s unless it is written; expected at least 30s, or a shorter `ejection`",
        ],
    );
    policy(
        json!({"retry": {"backoff": {"base": "251ms"}}}),
        &[
            "spec.retry.backoff.base: 251ms is longer than `max`, which is 250ms unless it is written; expected at most 250ms, or a longer `max`",
        ],
    );
    let adaptive = |min: u32| json!({"algorithm": "adaptive", "rates": [], "concurrencyMin": min});
    limit(adaptive(1000), &[]);
    limit(
        adaptive(1001),
        &[
            "spec.concurrencyMin: the least (1001) is more than the most, which is 1000 unless it is written; expected at most 1000, or a larger `concurrencyMax`",
        ],
    );
}

#[test]
fn nothing_is_to_happen_after_the_end() {
    let timed = |timeouts: Value, hedge: Value, slow: &str, expected: &[&str]| {
        policy(json!({"timeouts": timeouts, "hedge": hedge, "breakers": [{"slowCall": slow}]}), expected);
    };
    timed(json!({"request": "1s", "perTry": "500ms"}), json!({"delay": "499ms"}), "1s", &[]);
    timed(json!({"request": "0s", "perTry": "0s"}), json!({"delay": "1m"}), "1h", &[]);
    timed(
        json!({"request": "1s", "perTry": "500ms"}),
        json!({"delay": "500ms"}),
        "2s",
        &[
            "spec.hedge.delay: after 500ms there is nothing to copy: `timeouts.perTry` ends it after 500ms; expected less than 500ms",
            "spec.breakers[0].slowCall: no call takes longer than 2s: `timeouts.request` ends it after 1s; expected at most 1s",
        ],
    );
    timed(
        json!({"request": "1s"}),
        json!({"delay": "3s"}),
        "1ms",
        &[
            "spec.hedge.delay: after 3s there is nothing to copy: `timeouts.request` ends it after 1s; expected less than 1s",
        ],
    );
}

/// What is hinted at a policy beside a route `web`, whose rule `buy` goes to `a` and whose second rule goes to `b`.
#[track_caller]
fn hinted(target: Value, fields: Value, expected: &[&str]) {
    let kind = target["kind"].as_str().filter(|kind| kind.ends_with("Route")).unwrap_or("HTTPRoute");
    let text = format!(
        "kind: {kind}\nmetadata: {{name: web}}\nspec: {{parentRefs: [{{kind: Service, name: a}}], rules: \
         [{{name: buy, backendRefs: [{{name: a}}, {{name: c, weight: 0}}]}}, {{backendRefs: [{{name: b}}]}}]}}\n"
    );
    let parsed = parse("-", &text).unwrap();
    let mut resources: Vec<Resource> = parsed.documents.into_iter().map(|one| one.resource).collect();
    let mut spec = json!({"targetRefs": Value::Array(vec![target])});
    merge(&mut spec, fields);
    let document = json!({"apiVersion": "weir.dev/v1", "kind": "TrafficPolicy", "metadata": {"name": "p"}, "spec": spec});
    resources.push(serde_json::from_value(document).unwrap());
    let found = hints(&resources[1..], &resources, |_| true);
    let found: Vec<String> = found.iter().map(|(_, hint)| hint.to_string()).collect();
    assert_eq!(found, expected);
}

#[test]
fn hints_name_what_has_no_effect() {
    let service = json!({"name": "a"});
    hinted(
        service.clone(),
        json!({"timeouts": {"connect": "1s", "request": "20s", "perTry": "16s"}, "hedge": {"delay": "16s"},
               "retry": {"attempts": 0, "budget": {"ratio": 0.0}}, "outlier": {"ejectedMax": 0.1, "consecutive": 0}}),
        &[],
    );
    let beyond = "than a call may take: `timeouts.request` is 15s unless it is written, or a rule has its own; \
                  expected";
    let (most, less) = ("at most 15s, or `timeouts.request` too", "less than 15s, or `timeouts.request` too");
    let expected = [
        ("timeouts.perTry: longer", most),
        ("timeouts.connect: longer", most),
        ("hedge.delay: no shorter", less),
        ("breakers[1].slowCall: longer", most),
    ]
    .map(|(path, within)| format!("spec.{path} {beyond} {within}"));
    hinted(
        service.clone(),
        json!({"timeouts": {"perTry": "16s", "connect": "16s"}, "hedge": {"delay": "15s"}, "breakers": [{}, {"slowCall": "1m"}]}),
        &expected.each_ref().map(String::as_str),
    );
    hinted(
        service.clone(),
        json!({"timeouts": {"connect": "2s", "request": "1s"},
               "retry": {"attempts": 0, "statuses": [503], "grpcStatuses": ["UNAVAILABLE"], "backoff": {}},
               "outlier": {"consecutive": 0, "falseDiscovery": 0}}),
        &[
            "spec.timeouts.connect: connecting may take longer (2s) than the whole request (1s); expected at most 1s",
            "spec.retry.statuses: with `attempts: 0` nothing is tried again; expected `attempts` of 1 and more",
            "spec.retry.grpcStatuses: with `attempts: 0` nothing is tried again; expected `attempts` of 1 and more",
            "spec.retry.backoff: with `attempts: 0` nothing is tried again; expected `attempts` of 1 and more",
            "spec.outlier: so no instance is ever ejected; expected `enabled: false` to say so",
        ],
    );
    let nothing = json!({"ratio": 0, "reserve": 0});
    let of_budget = "spec.retry.budget: it allows nothing: no request is tried again, and none is copied; expected a `ratio` or a `reserve` above 0";
    hinted(service.clone(), json!({"retry": {"attempts": 0, "budget": nothing}}), &[]);
    hinted(service.clone(), json!({"retry": {"attempts": 1, "budget": nothing}}), &[of_budget]);
    hinted(
        service.clone(),
        json!({"retry": {"attempts": 0, "budget": nothing}, "hedge": {"delay": "1s"}}),
        &[of_budget],
    );
    hinted(
        service,
        json!({"outlier": {"enabled": false, "ejectedMax": 0}, "breakers": [{"fallback": {"cached": {}}}]}),
        &[],
    );
    hinted(
        json!({"kind": "GRPCRoute", "name": "web"}),
        json!({"breakers": [{"fallback": {"cached": {}}}]}),
        &[
            "spec.breakers[0].fallback.cached: calls of gRPC have no earlier responses: only those to GET are kept; expected `service` or `response`",
        ],
    );
}

#[test]
fn fallbacks_of_routes_that_lead_back_are_hinted_at() {
    let back = |section: Option<&str>, to: &str, expected: &[&str]| {
        let mut target = json!({"kind": "HTTPRoute", "name": "web"});
        if let Some(section) = section {
            target["sectionName"] = json!(section);
        }
        hinted(target, json!({"breakers": [{}, {"fallback": {"service": {"name": to}}}]}), expected);
    };
    let of = |service: &str| {
        format!(
            "spec.breakers[1].fallback.service.name: `web` sends its calls to `{service}` anyway; expected another service"
        )
    };
    back(Some("buy"), "a", &[&of("a")]);
    back(Some("buy"), "b", &[]);
    back(Some("buy"), "c", &[]);
    back(None, "b", &[&of("b")]);
    back(None, "spare", &[]);
}

#[test]
fn balancers() {
    policy(
        json!({"balance": {"policy": "maglev", "hash": [{"type": "cookie", "name": "id"}, {"type": "sourceAddress"}], "loadFactor": 1.0}}),
        &[],
    );
    policy(
        json!({"balance": {"policy": "peak_ewma", "decay": "10s", "slowStart": {"window": "30s", "aggression": 1.5, "floor": 1.0},
                           "locality": {"prefer": "region"}, "panicThreshold": 0, "subset": 20}}),
        &[],
    );
    policy(
        json!({"balance": {"policy": "ring_hash", "decay": "1s", "loadFactor": 0.5}}),
        &[
            "spec.balance.decay: it does not belong to `policy: ring_hash`; expected `policy: peak_ewma`",
            "spec.balance.hash: it is missing: there is nothing to take a hash of; expected at least one part of the request, such as `{type: header, name: x-user}`",
            "spec.balance.loadFactor: 0.5 is out of range; expected 1 to 100",
        ],
    );
    policy(
        json!({"balance": {"hash": [{"type": "path"}], "slowStart": {"window": "0s", "aggression": 0.0, "floor": 1.1},
                           "panicThreshold": -0.1, "subset": 0}}),
        &[
            "spec.balance.hash: it does not belong to `policy: least_request`; expected `policy: ring_hash` or `policy: maglev`",
            "spec.balance.slowStart.window: 0s is out of range; expected 1ms to 1h",
            "spec.balance.slowStart.aggression: 0 is out of range; expected more than 0, at most 10",
            "spec.balance.slowStart.floor: 1.1 is out of range; expected more than 0, at most 1",
            "spec.balance.panicThreshold: -0.1 is out of range; expected 0 to 1",
            "spec.balance.subset: 0 is out of range; expected 1 to 10000",
        ],
    );
}

#[test]
fn keys() {
    limit(
        json!({"key": [{"type": "header", "name": "X-User"}, {"type": "query", "name": "größe"}, {"type": "caller"}], "keysMax": 1_000_000}),
        &[],
    );
    limit(
        json!({"key": [{"type": "header"}, {"type": "path", "name": "x"}, {"type": "header", "name": "a b"},
                       {"type": "header", "name": "X-A"}, {"type": "header", "name": "x-a"}, {"type": "query", "name": ""}]}),
        &[
            "spec.key[0].name: a header needs a name; expected a name",
            "spec.key[1].name: `type: path` has no name; expected no `name`, or another `type`",
            "spec.key[2].name: `a b` is not a token; expected letters, digits and any of !#$%&'*+-.^_`|~",
            "spec.key[4]: it is there twice; expected each part once",
            "spec.key[5].name: it cannot be the name of a parameter; expected text without control characters",
        ],
    );
    limit(
        json!({"keysMax": 5}),
        &["spec.keysMax: without a `key` there is one limit for all; expected a `key`"],
    );
    limit(
        json!({"key": [{"type": "host"}], "keysMax": 1_000_001}),
        &["spec.keysMax: 1000001 is out of range; expected 1 to 1000000"],
    );
    let many: Vec<Value> = (0..9).map(|n| json!({"type": "header", "name": format!("x{n}")})).collect();
    limit(json!({"key": many}), &["spec.key: 9 of them; expected at most 8"]);
    let long = "x".repeat(257);
    limit(
        json!({"key": [{"type": "cookie", "name": long}]}),
        &["spec.key[0].name: 257 bytes long; expected at most 256"],
    );
}

#[test]
fn rates() {
    limit(
        json!({"rates": [{"requests": 10, "burst": 1}, {"requests": 100, "per": "1m", "burst": 200}]}),
        &[],
    );
    limit(
        json!({"algorithm": "sliding_window", "rates": [{"requests": 10}, {"requests": 100, "per": "1m"}]}),
        &[],
    );
    limit(
        json!({"algorithm": "warm_up", "warmUp": {"over": "10s", "from": 0.3}, "rates": [{"requests": 10, "burst": 5}]}),
        &[],
    );
    limit(json!({"algorithm": "leaky_bucket", "queue": {"max": 0}}), &[]);
    limit(
        json!({"rates": []}),
        &["spec.rates: there is none; expected at least one, such as `{requests: 100, per: 1s}`"],
    );
    limit(
        json!({"rates": [{"requests": 0, "burst": 0, "per": "0s"}, {"requests": 5}, {"requests": 6, "per": "1s"}]}),
        &[
            "spec.rates[0].requests: 0 is out of range; expected 1 to 1000000000",
            "spec.rates[0].burst: 0 is out of range; expected 1 to 1000000000",
            "spec.rates[0].per: 0s is out of range; expected 1ms to 24h",
            "spec.rates[2].per: a second rate over 1s; expected each length of time once",
        ],
    );
    limit(
        json!({"algorithm": "sliding_window", "rates": [{"requests": 5, "burst": 5}]}),
        &[
            "spec.rates[0].burst: it does not belong to `algorithm: sliding_window`; expected `algorithm: token_bucket` or `algorithm: warm_up`",
        ],
    );
    limit(
        json!({"rates": [{"requests": 1_000_000_001}]}),
        &["spec.rates[0].requests: 1000000001 is out of range; expected 1 to 1000000000"],
    );
    limit(
        json!({"rates": [{"requests": 1_000_000_000, "per": "999ms"}, {"requests": 1, "per": "24h", "burst": 8}]}),
        &[
            "spec.rates[0].requests: 1000000000 in 999ms are more than can be counted; expected at most 1000000000 a second",
            "spec.rates[1].burst: a burst of 8 would take too long to come back; expected 1 to 7 at this rate",
        ],
    );
    let many: Vec<Value> = (1..10).map(|n| json!({"requests": 1, "per": format!("{n}s")})).collect();
    limit(json!({"rates": many}), &["spec.rates: 9 of them; expected at most 4"]);
}

#[test]
fn what_belongs_to_an_algorithm() {
    limit(
        json!({"rates": [], "algorithm": "adaptive", "concurrencyMin": 2, "concurrencyMax": 2, "queue": {"max": 10, "timeout": "1s"},
               "priority": {"header": "x-priority", "levels": ["high", "low"]}}),
        &[],
    );
    limit(json!({"rates": [], "algorithm": "adaptive"}), &[]);
    limit(
        json!({"queue": {}, "warmUp": {}, "concurrencyMax": 1, "concurrencyMin": 1, "priority": {"header": "x", "levels": ["a", "b"]}}),
        &[
            "spec.queue: it does not belong to `algorithm: token_bucket`; expected `algorithm: leaky_bucket` or `algorithm: concurrency` or `algorithm: adaptive`",
            "spec.warmUp: it does not belong to `algorithm: token_bucket`; expected `algorithm: warm_up`",
            "spec.concurrencyMax: it does not belong to `algorithm: token_bucket`; expected `algorithm: concurrency` or `algorithm: adaptive`",
            "spec.concurrencyMin: it does not belong to `algorithm: token_bucket`; expected `algorithm: adaptive`",
            "spec.priority: it does not belong to `algorithm: token_bucket`; expected `algorithm: concurrency` or `algorithm: adaptive`",
        ],
    );
    limit(
        json!({"algorithm": "concurrency", "queue": {"timeout": "0s"}}),
        &[
            "spec.rates: it does not belong to `algorithm: concurrency`; expected `algorithm: token_bucket` or `algorithm: leaky_bucket` or `algorithm: sliding_window` or `algorithm: warm_up`",
            "spec.queue.timeout: 0s is out of range; expected 1ms to 5m",
            "spec.queue.max: it is missing, and then no request waits; expected 1 to 100000",
            "spec.concurrencyMax: it is missing; expected 1 to 1000000",
        ],
    );
    limit(
        json!({"rates": [], "algorithm": "adaptive", "concurrencyMin": 9, "concurrencyMax": 3,
               "priority": {"header": "", "levels": ["a", "a", " b", ""]}}),
        &[
            "spec.concurrencyMin: the least (9) is more than the most (3); expected at most 3",
            "spec.priority.header: it is empty; expected letters, digits and any of !#$%&'*+-.^_`|~",
            "spec.priority.levels[1]: `a` is there twice; expected each level once",
            "spec.priority.levels[2]: space at an end would be lost; expected a value without space at its ends",
            "spec.priority.levels[3]: 0 bytes long; expected 1 to 256 bytes",
        ],
    );
    limit(
        json!({"algorithm": "warm_up", "warmUp": {"over": "1ms", "from": 0.0}}),
        &[
            "spec.warmUp.over: 1ms is out of range; expected 100ms to 1h",
            "spec.warmUp.from: 0 is out of range; expected more than 0, at most 1",
        ],
    );
    limit(
        json!({"rates": [], "algorithm": "concurrency", "concurrencyMax": 0, "priority": {"header": "x", "levels": ["a"]}}),
        &[
            "spec.concurrencyMax: 0 is out of range; expected 1 to 1000000",
            "spec.priority.levels: 1 of them: there is nothing to tell apart; expected 2 to 16",
        ],
    );
}

#[test]
fn answers() {
    limit(
        json!({"response": {"status": 403, "headers": [{"name": "x-why", "value": "no"}, {"name": "Set-Cookie", "value": "a=b"}], "body": "no"}}),
        &[],
    );
    limit(json!({"response": {"status": 204, "body": ""}}), &[]);
    limit(
        json!({"response": {"status": 100, "headers": [{"name": "Content-Length", "value": "5"}, {"name": "a b", "value": "x\n"},
                                                       {"name": "transfer_encoding", "value": "chunked"}]}}),
        &[
            "spec.response.status: 100 is out of range; expected 200 to 599",
            "spec.response.headers[0].name: `Content-Length` cannot be changed; expected a field that is not the connection's",
            "spec.response.headers[1].name: `a b` is not a token; expected letters, digits and any of !#$%&'*+-.^_`|~",
            "spec.response.headers[1].value: not a value of a header field; expected at most 4096 bytes, no control characters",
            "spec.response.headers[2].name: `transfer_encoding` cannot be changed; expected a field that is not the connection's",
        ],
    );
    limit(
        json!({"response": {"status": 204, "body": "x"}}),
        &["spec.response.body: a response with 204 has no body; expected no `body`, or another `status`"],
    );
    let body = "x".repeat((64 << 10) + 1);
    limit(
        json!({"response": {"status": 503, "body": body}}),
        &["spec.response.body: 65537 bytes long; expected at most 64KiB"],
    );
    let many: Vec<Value> = (0..33).map(|n| json!({"name": format!("x{n}"), "value": ""})).collect();
    limit(
        json!({"response": {"status": 503, "headers": many}}),
        &["spec.response.headers: 33 of them; expected at most 32"],
    );
}

#[test]
fn breakers() {
    policy(
        json!({"breakers": [{}, {"strategy": "consecutive"}, {"strategy": "statistical"}, {"strategy": "throttle"}]}),
        &[],
    );
    breaker(
        json!({"windowCalls": 20, "callsMin": 20, "failureRatio": 1.0, "slowRatio": 0.5, "slowCall": "1s", "open": "5s", "openMax": "5s", "probes": 1, "ramp": "0s"}),
        &[],
    );
    breaker(
        json!({"strategy": "consecutive", "windowCalls": 5, "window": "1s", "factor": 2.0, "normalRatio": 0.01}),
        &[
            "spec.breakers[0].window: it does not belong to `strategy: consecutive`; expected `strategy: window` or `strategy: throttle`",
            "spec.breakers[0].windowCalls: it does not belong to `strategy: consecutive`; expected `strategy: window`",
            "spec.breakers[0].normalRatio: it does not belong to `strategy: consecutive`; expected `strategy: statistical`",
            "spec.breakers[0].factor: it does not belong to `strategy: consecutive`; expected `strategy: throttle`",
        ],
    );
    let opens = "expected `strategy: window` or `strategy: consecutive` or `strategy: statistical`";
    let expected: Vec<String> = ["open", "openMax", "probes", "ramp"]
        .iter()
        .map(|field| format!("spec.breakers[0].{field}: it does not belong to `strategy: throttle`; {opens}"))
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    breaker(
        json!({"strategy": "throttle", "factor": 1.0, "window": "2m", "open": "1s", "openMax": "1s", "probes": 1, "ramp": "1s"}),
        &expected,
    );
    breaker(
        json!({"failureStatuses": [99], "failureRatio": 1.01, "slowRatio": -1.0, "window": "0s", "windowCalls": 10, "callsMin": 11,
               "open": "2m", "openMax": "1m", "probes": 0, "ramp": "2h"}),
        &[
            "spec.breakers[0].failureStatuses[0]: 99 is out of range; expected 100 to 599",
            "spec.breakers[0].window: 0s is out of range; expected 100ms to 1h",
            "spec.breakers[0].failureRatio: 1.01 is out of range; expected more than 0, at most 1",
            "spec.breakers[0].slowRatio: -1 is out of range; expected more than 0, at most 1",
            "spec.breakers[0].windowCalls: a window over time and over calls; expected `window` or `windowCalls`",
            "spec.breakers[0].slowRatio: without `slowCall` no call is slow; expected `slowCall` too",
            "spec.breakers[0].callsMin: 11 calls never are in a window of 10; expected at most 10",
            "spec.breakers[0].open: 2m is longer than `openMax` (1m); expected at most 1m",
            "spec.breakers[0].probes: 0 is out of range; expected 1 to 1000",
            "spec.breakers[0].ramp: 2h is longer than 1h; expected 0s to 1h",
        ],
    );
    breaker(
        json!({"strategy": "statistical", "normalRatio": 0.2, "failingRatio": 0.2, "callsToFalseTrip": 1}),
        &[
            "spec.breakers[0].failingRatio: 0.2 is no more than what is normal (0.2); expected `normalRatio` below `failingRatio`",
            "spec.breakers[0].callsToFalseTrip: 1 is out of range; expected 2 to 1000000000000",
        ],
    );
    breaker(
        json!({"strategy": "statistical", "normalRatio": 0.3}),
        &[
            "spec.breakers[0].normalRatio: 0.3 is no less than what is found out (0.1); expected `normalRatio` below `failingRatio`",
        ],
    );
    breaker(json!({"strategy": "throttle", "callsMin": 1}), &[]);
    breaker(
        json!({"strategy": "statistical", "callsMin": 1}),
        &[
            "spec.breakers[0].callsMin: it does not belong to `strategy: statistical`; expected `strategy: window` or `strategy: throttle`",
        ],
    );
    breaker(
        json!({"strategy": "throttle", "factor": 0.5}),
        &["spec.breakers[0].factor: 0.5 is out of range; expected 1 to 100"],
    );
    policy(json!({"breakers": vec![json!({}); 9]}), &["spec.breakers: 9 of them; expected at most 8"]);
}

#[test]
fn what_is_no_number_is_in_no_range() {
    let spec = TrafficPolicySpec {
        target_refs: vec![crate::resource::traffic_policy::PolicyTarget {
            name: "a".to_owned(),
            ..Default::default()
        }],
        balance: Some(crate::resource::traffic_policy::Balance {
            panic_threshold: Some(f64::NAN),
            ..Default::default()
        }),
        ..TrafficPolicySpec::default()
    };
    let found = validate_spec(&Spec::TrafficPolicy(Box::new(spec)));
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["spec.balance.panicThreshold: NaN is out of range; expected 0 to 1"]);
}

#[test]
fn fallbacks() {
    let fallback = |fallback: Value, expected: &[&str]| breaker(json!({"fallback": fallback}), expected);
    fallback(json!({"service": {"name": "b"}}), &[]);
    fallback(json!({"cached": {}}), &[]);
    fallback(json!({"cached": {"ageMax": "10m", "sizeMax": "16MiB"}}), &[]);
    fallback(json!({"response": {"status": 200, "body": "[]"}}), &[]);
    // Whose own namespace it is shows when it is judged with the others.
    fallback(json!({"service": {"name": "a", "namespace": "b"}}), &[]);
    fallback(
        json!({}),
        &["spec.breakers[0].fallback: it is empty; expected `response`, `service` or `cached`"],
    );
    fallback(
        json!({"service": {"name": "a"}, "cached": {"ageMax": "0s", "sizeMax": 1}}),
        &[
            "spec.breakers[0].fallback: several things cannot happen to one call; expected one of them",
            "spec.breakers[0].fallback.service.name: calls to `a` would fall back to itself; expected a service that this policy is not for",
            "spec.breakers[0].fallback.cached.ageMax: 0s is out of range; expected 1s to 168h",
            "spec.breakers[0].fallback.cached.sizeMax: 1B is out of range; expected 64KiB to 1GiB",
        ],
    );
    fallback(
        json!({"service": {"name": "a b", "namespace": "C"}}),
        &[
            "spec.breakers[0].fallback.service.name: `a b` is not a name that can be registered; expected letters, digits, `_`, `.` and `-`, up to 253 characters, beginning with a letter, digit or `_`",
            "spec.breakers[0].fallback.service.namespace: `C` is not a DNS label; expected lower-case letters, digits and `-`, 1 to 63 characters, no `-` at either end",
        ],
    );
    breaker(
        json!({"level": "instance", "fallback": {}}),
        &[
            "spec.breakers[0].fallback: it does not belong to `level: instance`, whose calls go to other instances; expected `level: service` or `level: route`",
        ],
    );
}

#[test]
fn ejection() {
    policy(
        json!({"outlier": {"enabled": false, "consecutive": 0, "falseDiscovery": 0, "ejection": "30s", "ejectionMax": "30s"}}),
        &[],
    );
    policy(
        json!({"outlier": {"interval": "1ms", "falseDiscovery": 2, "effectMin": -1, "failuresMin": 0, "ejection": "6m", "ejectionMax": "5m", "ejectedMax": 1.5}}),
        &[
            "spec.outlier.interval: 1ms is out of range; expected 100ms to 1h",
            "spec.outlier.falseDiscovery: 2 is out of range; expected 0 to 1",
            "spec.outlier.effectMin: -1 is out of range; expected 0 to 1",
            "spec.outlier.failuresMin: 0 is out of range; expected 1 to 100000",
            "spec.outlier.ejection: 6m is longer than `ejectionMax` (5m); expected at most 5m",
            "spec.outlier.ejectedMax: 1.5 is out of range; expected 0 to 1",
        ],
    );
}

/// Policies by `(namespace, name, target, fallback)`.
fn falling_back(policies: &[(&str, &str, &str, Value)]) -> Vec<Resource> {
    policies
        .iter()
        .map(|(namespace, name, target, fallback)| {
            let document = json!({
                "apiVersion": "weir.dev/v1", "kind": "TrafficPolicy", "metadata": {"name": name, "namespace": namespace},
                "spec": {"targetRefs": [{"name": target}], "breakers": [{"fallback": {"service": fallback}}]}
            });
            serde_json::from_value(document).unwrap()
        })
        .collect()
}

fn set_faults(resources: &[Resource]) -> Vec<String> {
    validate_set(resources).iter().map(|(id, fault)| format!("{id} {fault}")).collect()
}

#[test]
fn a_route_does_not_fall_back_to_the_only_service_it_has() {
    let faults = |kind: &str, rules: Value, target: Value, to: Value| {
        let policy = json!({"targetRefs": [target], "breakers": [{}, {"fallback": {"service": to}}]});
        let document = |version: &str, kind: &str, name: &str, spec: Value| -> Resource {
            let json = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec});
            serde_json::from_value(json).unwrap()
        };
        let resources = [
            document("weir.dev/v1", "TrafficPolicy", "p", policy),
            document("gateway.networking.k8s.io/v1", kind, "web", json!({"rules": rules})),
        ];
        set_faults(&resources)
    };
    let rule = |name: &str, services: &[(&str, u32)]| {
        let backends = services.iter().map(|(name, weight)| json!({"name": name, "weight": weight}));
        json!({"name": name, "backendRefs": backends.collect::<Vec<_>>()})
    };
    let of = |kind: &str, section: Option<&str>| {
        let mut target = json!({"kind": kind, "name": "web"});
        if let Some(section) = section {
            target["sectionName"] = json!(section);
        }
        target
    };
    let refused = ["TrafficPolicy/p spec.breakers[1].fallback.service.name: all calls of `web` go to `a`, \
                    and would fall back to it; expected another service"];
    let to = |name: &str| json!({"name": name});
    let one = json!([rule("buy", &[("a", 1)])]);
    assert_eq!(faults("HTTPRoute", one.clone(), of("HTTPRoute", None), to("a")), refused);
    assert_eq!(faults("GRPCRoute", one.clone(), of("GRPCRoute", Some("buy")), to("a")), refused);
    assert_eq!(faults("HTTPRoute", one.clone(), of("HTTPRoute", None), to("b")), [""; 0]);
    let elsewhere = json!({"name": "a", "namespace": "far"});
    assert_eq!(faults("HTTPRoute", one.clone(), of("HTTPRoute", None), elsewhere), [""; 0]);
    assert_eq!(faults("HTTPRoute", one.clone(), of("HTTPRoute", Some("sell")), to("a")), [""; 0]);
    assert_eq!(faults("GRPCRoute", one, of("HTTPRoute", None), to("a")), [""; 0], "that route is not there");
    // Of two services one may stand in for the other, whatever their shares are just now.
    let two = json!([rule("buy", &[("a", 1), ("b", 0)])]);
    assert_eq!(faults("HTTPRoute", two, of("HTTPRoute", None), to("a")), [""; 0]);
    let rules = json!([rule("buy", &[("a", 1)]), rule("sell", &[("b", 1)])]);
    assert_eq!(faults("HTTPRoute", rules.clone(), of("HTTPRoute", None), to("a")), [""; 0]);
    assert_eq!(faults("HTTPRoute", rules, of("HTTPRoute", Some("buy")), to("a")), refused);
}

#[test]
fn fallbacks_do_not_go_in_circles() {
    let to = |name: &str| json!({"name": name});
    let line = falling_back(&[("n", "p", "a", to("b")), ("n", "q", "b", to("c")), ("m", "r", "c", to("a"))]);
    assert_eq!(set_faults(&line), [""; 0]);
    let circle = falling_back(&[
        ("n", "p", "a", to("b")),
        ("n", "q", "b", to("c")),
        ("n", "r", "c", to("b")),
        ("n", "s", "d", to("a")),
    ]);
    assert_eq!(
        set_faults(&circle),
        ["TrafficPolicy/n/r spec.breakers[0].fallback.service.name: calls would fall back in a circle: \
          n/b -> n/c -> n/b; expected a service that does not lead back"]
    );
    let own = falling_back(&[("n", "p", "a", json!({"name": "a", "namespace": "n"}))]);
    assert_eq!(
        set_faults(&own),
        ["TrafficPolicy/n/p spec.breakers[0].fallback.service.name: calls would fall back in a circle: \
          n/a -> n/a; expected a service that does not lead back"]
    );
    // Said of the policy by itself already.
    assert_eq!(set_faults(&falling_back(&[("n", "p", "a", to("a"))])), [""; 0]);
    // A long way neither takes long nor much of the stack.
    let names: Vec<String> = (0..50_000).map(|n| format!("s{n}")).collect();
    let long: Vec<_> =
        (0..50_000).map(|n| ("n", &*names[n], &*names[n], to(&names[(n + 1) % 50_000]))).collect();
    let found = set_faults(&falling_back(&long));
    assert_eq!(
        found,
        [
            "TrafficPolicy/n/s49999 spec.breakers[0].fallback.service.name: calls would fall back in a circle: \
          n/s0 -> n/s1 -> n/s2 -> n/s3 -> n/s4 -> n/s5 -> ... -> n/s0; expected a service that does not lead back"
        ]
    );
}

#[test]
fn one_policy_for_each_target_and_some_limits() {
    let document = |kind: &str, name: &str, target: Value| -> Resource {
        let document = json!({"apiVersion": "weir.dev/v1", "kind": kind, "metadata": {"name": name},
                              "spec": {"targetRefs": [target], "rates": [{"requests": 1}]}});
        serde_json::from_value(document).unwrap()
    };
    let route = json!({"kind": "HTTPRoute", "name": "r"});
    let rule = json!({"kind": "HTTPRoute", "name": "r", "sectionName": "x"});
    let service = json!({"name": "r"});
    let resources = [
        document("TrafficPolicy", "a", route.clone()),
        document("TrafficPolicy", "b", rule.clone()),
        document("TrafficPolicy", "c", service),
        document("TrafficPolicy", "d", rule),
    ];
    assert_eq!(
        set_faults(&resources),
        [
            "TrafficPolicy/d spec.targetRefs[0]: `r` already has a policy, TrafficPolicy/b; expected one policy for each route or rule"
        ]
    );
    let limits: Vec<Resource> =
        (0..34).map(|n| document("RateLimit", &format!("l{n}"), route.clone())).collect();
    let found = set_faults(&limits);
    assert_eq!(found.len(), 29, "{found:?}");
    let fault = "spec.targetRefs[0]: `r` already has 5 limits; expected at most 5 for each target";
    assert_eq!(found[0], format!("RateLimit/l5 {fault}"));
}

#[test]
fn limits_that_proxies_share_are_bounded() {
    let limits = |documents: usize, targets: usize, scope: &str| -> Vec<Resource> {
        let targets: Vec<Value> = (0..targets).map(|n| json!({"name": format!("s{n}")})).collect();
        let document = |n: usize| {
            let metadata = json!({"name": format!("l{n:03}"), "namespace": format!("n{n}")});
            let spec = json!({"targetRefs": targets, "rates": [{"requests": 1}], "scope": scope});
            let json =
                json!({"apiVersion": "weir.dev/v1", "kind": "RateLimit", "metadata": metadata, "spec": spec});
            serde_json::from_value(json).unwrap()
        };
        (0..documents).map(document).collect()
    };
    assert_eq!(set_faults(&limits(64, 256, "global")), [""; 0]);
    assert_eq!(set_faults(&limits(70, 256, "process")), [""; 0]);
    assert_eq!(
        set_faults(&limits(70, 256, "global")),
        [
            "RateLimit/n64/l064 spec.scope: with it there are 16640 limits that proxies share; expected at most 16384, \
          each target counted"
        ]
    );
    let hinted = |documents: usize| {
        let all = limits(documents, 256, "global");
        let found = hints(&all[..1], &all, |_| true);
        found.iter().map(|(_, hint)| format!("{}: {}", hint.path, hint.message)).collect::<Vec<_>>()
    };
    assert_eq!(hinted(4), [""; 0]);
    assert_eq!(
        hinted(5),
        [
            "spec.scope: there are 1280 limits that proxies share; a proxy shares 1024 of those that concern it, and keeps \
          the last ones alone"
        ]
    );
}

#[test]
fn hints_name_what_policies_do_not_find() {
    let text = "\
kind: HTTPRoute\nmetadata: {name: web}\nspec: {parentRefs: [{kind: Service, name: a}], rules: [{name: buy, backendRefs: [{name: a}]}]}\n---\n\
kind: Service\nmetadata: {name: a}\n---\n\
kind: Gateway\nmetadata: {name: edge}\nspec: {listeners: [{name: l, port: 80, protocol: HTTP}]}\n---\n\
kind: RateLimit\nmetadata: {name: m}\nspec:\n  rates: [{requests: 1}]\n  targetRefs: [{name: b}, {kind: Gateway, name: edges}, \
{kind: Gateway, name: edge, sectionName: k}, {kind: HTTPRoute, name: wep}, {kind: HTTPRoute, name: web, sectionName: buys}, \
{kind: HTTPRoute, name: web, sectionName: buy}, {kind: GRPCRoute, name: web}]\n";
    let parsed = parse("-", text).unwrap();
    let mut resources: Vec<Resource> = parsed.documents.into_iter().map(|one| one.resource).collect();
    resources.extend(falling_back(&[("default", "p", "a", json!({"name": "spare"}))]));
    let found = hints(&resources, &resources, |_| false);
    let found: Vec<String> = found.iter().map(|(id, hint)| format!("{id} {hint}")).collect();
    assert_eq!(
        found,
        [
            "RateLimit/m spec.targetRefs[0].name: service `b` is neither declared nor registered yet; expected `a`?",
            "RateLimit/m spec.targetRefs[1].name: there is no Gateway/edges yet; expected `edge`?",
            "RateLimit/m spec.targetRefs[2].sectionName: the gateway has no such listener; expected `l`",
            "RateLimit/m spec.targetRefs[3].name: there is no HTTPRoute/wep yet; expected `web`?",
            "RateLimit/m spec.targetRefs[4].sectionName: the route has no rule of this name; expected `buy`?",
            "RateLimit/m spec.targetRefs[6].name: there is no GRPCRoute/web yet",
            "TrafficPolicy/p spec.breakers[0].fallback.service.name: service `spare` is neither declared nor registered yet",
        ]
    );
}

#[test]
fn that_calls_fall_back_no_further_is_hinted_at() {
    let text = "\
kind: Service\nmetadata: {name: a}\n---\nkind: Service\nmetadata: {name: b}\n---\nkind: Service\nmetadata: {name: c}\n---\n\
kind: TrafficPolicy\nmetadata: {name: p}\nspec: {targetRefs: [{name: a}], breakers: [{fallback: {service: {name: b}}}]}\n---\n\
kind: TrafficPolicy\nmetadata: {name: q}\nspec: {targetRefs: [{name: b}], breakers: [{fallback: {service: {name: c}}}]}\n---\n\
kind: TrafficPolicy\nmetadata: {name: r}\nspec: {targetRefs: [{name: c}], breakers: [{fallback: {response: {status: 200}}}]}\n---\n\
kind: Service\nmetadata: {name: db}\nspec: {protocol: tcp}\n---\n\
kind: TrafficPolicy\nmetadata: {name: s}\nspec: {targetRefs: [{kind: HTTPRoute, name: web}], breakers: [{fallback: {service: {name: db}}}]}\n";
    let parsed = parse("-", text).unwrap();
    let resources: Vec<Resource> = parsed.documents.into_iter().map(|one| one.resource).collect();
    let found = hints(&resources, &resources, |_| false);
    let found: Vec<String> = found.iter().map(|(id, hint)| format!("{id} {hint}")).collect();
    assert_eq!(
        found,
        [
            "TrafficPolicy/p spec.breakers[0].fallback.service.name: `b` falls back to a service in turn, but a call goes no \
             further than `b`; expected a service whose fallback is none, `response` or `cached`",
            "TrafficPolicy/s spec.targetRefs[0].name: there is no HTTPRoute/web yet",
            "TrafficPolicy/s spec.breakers[0].fallback.service.name: `db` takes bytes, not requests: calls that fall back to it are \
             answered with 503; expected a service of another `protocol` than `tcp`",
        ]
    );
}

#[test]
fn a_chain_is_hinted_at_whichever_half_of_it_comes_last() {
    let to = |name: &str| json!({"name": name});
    let both = falling_back(&[("n", "p", "a", to("b")), ("n", "q", "b", to("c"))]);
    let of = |about: &[Resource]| {
        let found = hints(about, &both, |_| true);
        found.iter().map(|(id, hint)| format!("{id} {hint}")).collect::<Vec<String>>()
    };
    let path = "spec.breakers[0].fallback.service.name";
    let first = format!(
        "TrafficPolicy/n/p {path}: `n/b` falls back to a service in turn, but a call goes no further than `n/b`; \
         expected a service whose fallback is none, `response` or `cached`"
    );
    let second = format!(
        "TrafficPolicy/n/q {path}: calls that TrafficPolicy/n/p sends to `n/b` go no further than `n/b`: none comes to \
         `n/c`; expected `response` or `cached`, or another fallback there"
    );
    assert_eq!(of(&both[..1]), [&*first]);
    assert_eq!(of(&both[1..]), [&*second]);
    assert_eq!(of(&both), [first], "once is enough");
}

#[test]
fn callers_are_not_known_at_gateways() {
    let hints_of = |targets: &str| {
        let text = format!(
            "kind: Service\nmetadata: {{name: a}}\n---\nkind: Gateway\nmetadata: {{name: edge}}\n\
             spec: {{listeners: [{{name: l, port: 80, protocol: HTTP}}]}}\n---\nkind: RateLimit\nmetadata: {{name: m}}\n\
             spec: {{rates: [{{requests: 1}}], key: [{{type: method}}, {{type: caller}}], targetRefs: {targets}}}\n"
        );
        let parsed = parse("-", &text).unwrap();
        let resources: Vec<Resource> = parsed.documents.into_iter().map(|one| one.resource).collect();
        let found = hints(&resources, &resources, |_| false);
        found.iter().map(|(id, hint)| format!("{id} {}: {}", hint.path, hint.message)).collect::<Vec<_>>()
    };
    assert_eq!(hints_of("[{name: a}]"), [""; 0]);
    let expected = "RateLimit/m spec.key[1].type: at a gateway nobody says which service calls: all its requests have the \
                    same `caller`";
    assert_eq!(hints_of("[{name: a}, {kind: Gateway, name: edge}]"), [expected]);
}
