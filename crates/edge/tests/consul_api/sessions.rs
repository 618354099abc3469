//! Sessions, keys that are locked by them, and transactions.

use serde_json::{Value, json};

use crate::support::Api;

async fn create(api: &Api, body: &str) -> String {
    let answer = api.call("PUT /v1/session/create", body).await;
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer.json()["ID"].as_str().expect("an id").to_owned()
}

async fn put(api: &Api, target: &str, body: &str) -> String {
    let answer = api.call(&format!("PUT /v1/kv/{target}"), body).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    answer.body
}

#[tokio::test]
async fn a_session_is_shown_as_it_was_made() {
    let api = Api::start().await;
    let id = create(&api, "").await;
    let shown = api.get(&format!("/v1/session/info/{id}")).await;
    let created = shown.json()[0]["CreateIndex"].as_u64().unwrap();
    let plain = json!([{
        "ID": id, "Name": "", "Node": "weir", "LockDelay": 15_000_000_000u64, "Behavior": "release", "TTL": "",
        "NodeChecks": ["serfHealth"], "ServiceChecks": null, "CreateIndex": created, "ModifyIndex": created,
    }]);
    assert_eq!(shown.json(), plain);
    assert!(shown.index() >= created);
    api.ok("PUT /v1/agent/check/register", r#"{"Name": "c", "TTL": "60s", "Status": "passing"}"#).await;
    api.ok(
        "PUT /v1/agent/service/register",
        r#"{"Name": "web", "Check": {"TTL": "60s", "Status": "passing"}}"#,
    )
    .await;
    let full = json!({
        "Name": "mine", "TTL": "90s", "LockDelay": "5s", "Behavior": "delete", "Node": "weir",
        "NodeChecks": ["serfHealth", "c"], "ServiceChecks": [{"ID": "service:web"}],
    });
    let other = create(&api, &full.to_string()).await;
    let shown = api.get(&format!("/v1/session/info/{other}")).await.json()[0].clone();
    for (field, value) in [
        ("Name", json!("mine")),
        ("TTL", json!("1m30s")),
        ("LockDelay", json!(5_000_000_000u64)),
        ("Behavior", json!("delete")),
        ("NodeChecks", json!(["serfHealth", "c"])),
        ("ServiceChecks", json!([{"ID": "service:web"}])),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    let ids = |list: &Value| {
        let mut ids: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|session| session["ID"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    let mut both = vec![id.clone(), other.clone()];
    both.sort();
    assert_eq!(ids(&api.get("/v1/session/list").await.json()), both);
    assert_eq!(ids(&api.get("/v1/session/node/WEIR").await.json()), both);
    assert_eq!(api.get("/v1/session/node/other").await.json(), json!([]));
    let renewed = api.call(&format!("PUT /v1/session/renew/{other}"), "").await;
    assert_eq!((renewed.status, renewed.json()[0]["ID"].as_str()), (200, Some(&*other)));
    for _ in 0..2 {
        let answer = api.call(&format!("PUT /v1/session/destroy/{id}"), "").await;
        assert_eq!((answer.status, &*answer.body), (200, "true"), "also if it is gone");
    }
    let gone = api.get(&format!("/v1/session/info/{id}")).await;
    assert_eq!((gone.status, gone.json()), (200, json!([])));
    assert!(gone.index() > created);
}

#[tokio::test]
async fn lock_delays_are_seconds_if_they_are_small_and_cut_if_they_are_long() {
    let api = Api::start().await;
    for (given, nanos) in [
        (json!("10s"), 10_000_000_000u64),
        (json!(10), 10_000_000_000),
        (json!(10_000_000_000u64), 10_000_000_000),
        (json!("0s"), 0),
        (json!(0), 0),
        (json!("10m"), 60_000_000_000),
        (json!(null), 15_000_000_000),
    ] {
        let id = create(&api, &json!({"LockDelay": given}).to_string()).await;
        let shown = api.get(&format!("/v1/session/info/{id}")).await.json();
        assert_eq!(shown[0]["LockDelay"], nanos, "{given}");
    }
    let id = create(&api, r#"{"NodeChecks": []}"#).await;
    assert_eq!(api.get(&format!("/v1/session/info/{id}")).await.json()[0]["NodeChecks"], json!(null));
}

#[tokio::test]
async fn keys_are_locked_and_released_as_in_consul() {
    let api = Api::start().await;
    let (a, b) = (create(&api, "").await, create(&api, r#"{"LockDelay": 0}"#).await);
    assert_eq!(put(&api, &format!("k?acquire={a}&flags=3304740253564472344"), "me").await, "true");
    assert_eq!(put(&api, &format!("k?acquire={a}"), "me").await, "true", "again by the same session");
    assert_eq!(put(&api, &format!("k?acquire={b}"), "you").await, "false");
    assert_eq!(put(&api, &format!("k?release={b}"), "").await, "false");
    let key = api.get("/v1/kv/k").await.json()[0].clone();
    assert_eq!((&key["Session"], &key["LockIndex"], &key["Value"]), (&json!(a), &json!(1), &json!("bWU=")));
    assert_eq!(put(&api, "k", "x").await, "true");
    assert_eq!(api.get("/v1/kv/k").await.json()[0]["Session"], json!(a));
    assert_eq!(put(&api, &format!("k?release={a}"), "x").await, "true");
    let key = api.get("/v1/kv/k").await.json()[0].clone();
    assert_eq!((key.get("Session"), &key["LockIndex"]), (None, &json!(1)));
    assert_eq!(put(&api, &format!("k?acquire={a}"), "").await, "true");
    api.ok(&format!("PUT /v1/session/destroy/{a}"), "").await;
    let key = api.get("/v1/kv/k").await.json()[0].clone();
    assert_eq!((key.get("Session"), &key["LockIndex"]), (None, &json!(2)));
    assert_eq!(put(&api, &format!("k?acquire={b}"), "").await, "false", "within the lock delay");
    assert_eq!(put(&api, &format!("other?acquire={b}"), "").await, "true");
    let body = json!([{"KV": {"Verb": "lock", "Key": "k", "Session": b}}]).to_string();
    let delayed = api.call("PUT /v1/txn", &body).await;
    let what = r#"failed to lock key "k" due to lock delay"#;
    let expected = json!({"Results": null, "Errors": [{"OpIndex": 0, "What": what}]});
    assert_eq!((delayed.status, delayed.json()), (409, expected));
}

#[tokio::test]
async fn a_session_ends_with_a_critical_check_and_wakes_who_waits_for_its_key() {
    let api = Api::start().await;
    api.ok("PUT /v1/agent/check/register", r#"{"Name": "c", "TTL": "60s", "Status": "passing"}"#).await;
    let id = create(&api, r#"{"NodeChecks": ["c"], "Behavior": "delete"}"#).await;
    assert_eq!(put(&api, &format!("k?acquire={id}"), "").await, "true");
    let index = api.get("/v1/kv/k").await.index();
    let address = api.address;
    let watch = tokio::spawn(async move {
        crate::support::get(address, &format!("/v1/kv/k?index={index}&wait=60s")).await
    });
    api.until_waiting(1).await;
    api.ok("PUT /v1/agent/check/fail/c", "").await;
    let woken = tokio::time::timeout(crate::support::PATIENCE, watch).await.expect("woken").unwrap();
    assert_eq!(woken.status, 404, "it was deleted");
    assert_eq!(api.get(&format!("/v1/session/info/{id}")).await.json(), json!([]));
    let refused = api.call("PUT /v1/session/create", r#"{"NodeChecks": ["c"]}"#).await;
    assert_eq!((refused.status, &*refused.body), (500, "Check 'c' is in critical state"));
}

#[tokio::test]
async fn a_transaction_answers_with_what_it_did() {
    let api = Api::start().await;
    let session = create(&api, "").await;
    let body = json!([
        {"KV": {"Verb": "set", "Key": "a", "Value": "MQ==", "Flags": 7}},
        {"KV": {"Verb": "lock", "Key": "b", "Value": "Mg==", "Session": session}},
        {"KV": {"Verb": "get", "Key": "a"}},
        {"KV": {"Verb": "get-or-empty", "Key": "missing"}},
        {"KV": {"Verb": "delete", "Key": "never"}},
    ]);
    let answer = api.call("PUT /v1/txn", &body.to_string()).await;
    let at = answer.json()["Results"][0]["KV"]["ModifyIndex"].clone();
    let kv = |key: &str, flags: u64, value: Value| json!({"KV": {"LockIndex": 0, "Key": key, "Flags": flags, "Value": value, "CreateIndex": at, "ModifyIndex": at}});
    let mut locked = kv("b", 0, json!(null));
    (locked["KV"]["LockIndex"], locked["KV"]["Session"]) = (json!(1), json!(session));
    let mut missing = kv("missing", 0, json!(null));
    (missing["KV"]["CreateIndex"], missing["KV"]["ModifyIndex"]) = (json!(0), json!(0));
    let results = [kv("a", 7, json!(null)), locked, kv("a", 7, json!("MQ==")), missing];
    assert_eq!((answer.status, answer.json()), (200, json!({"Results": results, "Errors": null})));
    assert_eq!(api.get("/v1/kv/a?raw").await.body, "1");
    let body = json!([
        {"KV": {"Verb": "set", "Key": "c"}},
        {"KV": {"Verb": "cas", "Key": "a", "Index": 1}},
        {"KV": {"Verb": "check-not-exists", "Key": "a"}},
        {"KV": {"Verb": "unlock", "Key": "b", "Session": "x"}},
        {"KV": {"Verb": "check-session", "Key": "b", "Session": "x"}},
        {"KV": {"Verb": "get", "Key": "missing"}},
    ]);
    let failed = api.call("PUT /v1/txn", &body.to_string()).await;
    let says: Vec<_> =
        failed.json()["Errors"].as_array().unwrap().iter().map(|error| error["What"].clone()).collect();
    assert_eq!(
        (failed.status, says),
        (
            409,
            vec![
                json!(r#"failed to set key "a", index is stale"#),
                json!(r#"key "a" exists"#),
                json!(r#"failed to unlock key "b", lock isn't held, or is held by another session"#),
                json!(format!(r#"failed session check for key "b", current session "{session}" != "x""#)),
                json!(r#"key "missing" doesn't exist"#),
            ]
        )
    );
    assert_eq!(api.get("/v1/kv/c").await.status, 404, "nothing was done");
}
