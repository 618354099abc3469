//! Whatever is sent, the server answers with a status that blames the sender, and stays whole.

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};

use crate::support::Api;

/// Requests per run. `WEIR_TEST_SEED` repeats a run.
const REQUESTS: usize = 1500;

/// Field names that mean something somewhere, so that random bodies get beyond the first refusal.
const FIELDS: &[&str] = &[
    "Name",
    "ID",
    "Service",
    "Node",
    "Address",
    "Port",
    "Tags",
    "Meta",
    "Check",
    "Checks",
    "CheckID",
    "TTL",
    "HTTP",
    "TCP",
    "Interval",
    "Timeout",
    "Header",
    "Method",
    "Status",
    "Output",
    "Weights",
    "TaggedAddresses",
    "Connect",
    "Kind",
    "Proxy",
    "Namespace",
    "Datacenter",
    "NodeMeta",
    "ServiceID",
    "DeregisterCriticalServiceAfter",
    "Body",
    "Passing",
    "weir-inbound",
    "FailuresBeforeCritical",
    "SkipNodeUpdate",
    "enable_tag_override",
    "notes",
    "",
];

const PATHS: &[&str] = &[
    "PUT /v1/agent/service/register",
    "PUT /v1/agent/service/register?replace-existing-checks",
    "PUT /v1/agent/check/register",
    "PUT /v1/agent/check/update/web",
    "PUT /v1/agent/check/pass/service:web",
    "PUT /v1/agent/service/maintenance/web?enable=true",
    "PUT /v1/catalog/register",
    "PUT /v1/catalog/deregister",
    "PUT /v1/kv/a",
    "PUT /v1/txn",
    "DELETE /v1/kv/?recurse",
    "GET /v1/health/state/any",
    "GET /v1/catalog/services",
];

fn text(rng: &mut SmallRng) -> String {
    const TEXTS: &[&str] = &[
        "web",
        "n1",
        "10.0.0.1",
        "::1",
        "10s",
        "-1s",
        "1h",
        "http://127.0.0.1:1/",
        "127.0.0.1:1",
        "passing",
        "critical",
        "default",
        "dc1",
        "GET",
        "",
        "a b",
        "\u{0}",
        "\u{e4}/..",
        "99999999999999999999",
    ];
    match rng.random_range(0..20) {
        0 => "x".repeat(rng.random_range(0..3000)),
        1 => (0..8).map(|_| char::from_u32(rng.next_u32() % 0x11_0000).unwrap_or('?')).collect(),
        _ => TEXTS[rng.random_range(0..TEXTS.len())].to_owned(),
    }
}

fn value(rng: &mut SmallRng, depth: usize) -> Value {
    match rng.random_range(0..if depth > 4 { 6 } else { 10 }) {
        0 => Value::Null,
        1 => json!(rng.random_range(0..2) == 0),
        2 => json!(rng.next_u64()),
        3 => json!(rng.random_range(0..100)),
        4 => json!(-1.5),
        5 => json!(text(rng)),
        6 => (0..rng.random_range(0..4)).map(|_| value(rng, depth + 1)).collect(),
        _ => Value::Object(object(rng, depth + 1)),
    }
}

fn object(rng: &mut SmallRng, depth: usize) -> Map<String, Value> {
    let mut map = Map::new();
    for _ in 0..rng.random_range(0..7) {
        map.insert(FIELDS[rng.random_range(0..FIELDS.len())].to_owned(), value(rng, depth));
    }
    // Often what is needed to get further is right.
    for (field, right) in
        [("Name", "web"), ("Node", "n1"), ("Address", "10.0.0.1"), ("Service", "web"), ("TTL", "60s")]
    {
        if rng.random_range(0..3) == 0 {
            map.insert(field.to_owned(), json!(right));
        }
    }
    map
}

#[tokio::test]
async fn random_requests_are_answered_and_blamed_on_the_sender() {
    let seed = std::env::var("WEIR_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20);
    let mut rng = SmallRng::seed_from_u64(seed);
    let api = Api::start().await;
    let mut accepted = 0;
    for n in 0..REQUESTS {
        let line = PATHS[rng.random_range(0..PATHS.len())];
        let mut body = Value::Object(object(&mut rng, 0)).to_string();
        if rng.random_range(0..8) == 0 {
            let cut = rng.random_range(0..=body.len());
            body.truncate(body.floor_char_boundary(cut));
        }
        let answer = api.call(line, &body).await;
        // An unknown datacenter is a 500 in Consul, which clients rely on.
        let fault = answer.status >= 500 && answer.body != "No path to datacenter";
        assert!(!fault, "seed {seed}, request {n}: {line} {body}: {} {}", answer.status, answer.body);
        assert!(
            answer.status < 400 || !answer.body.is_empty(),
            "seed {seed}: {line} {body}: refused without a word"
        );
        accepted += usize::from(answer.status == 200 && line.contains("register"));
    }
    assert!(
        accepted > REQUESTS / 50,
        "seed {seed}: only {accepted} registrations were accepted: too hostile to test"
    );
    for path in ["/v1/agent/services", "/v1/agent/checks", "/v1/health/state/any", "/v1/health/service/web"] {
        assert_eq!(api.get(path).await.status, 200);
    }
}
