//! Snapshots: saved, and put back while the server goes on.

use serde_json::{Value, json};

use crate::support::{self, Api, PATIENCE, web};

async fn save(api: &Api) -> Vec<u8> {
    let (head, archive) = api.call_bytes("GET /v1/snapshot", b"").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for field in ["content-type: application/x-gzip", "x-consul-index: ", "x-consul-knownleader: true"] {
        assert!(head.to_ascii_lowercase().contains(field), "{field} is missing in {head}");
    }
    archive
}

async fn restore(api: &Api, archive: &[u8]) -> (String, String) {
    let (head, body) = api.call_bytes("PUT /v1/snapshot", archive).await;
    (head, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn what_was_saved_comes_back() {
    let api = Api::start().await;
    api.ok("PUT /v1/agent/service/register", &web("web-1")).await;
    api.ok("PUT /v1/agent/check/pass/service:web-1", "").await;
    api.ok("PUT /v1/kv/a", "old").await;
    let session = api.call("PUT /v1/session/create", r#"{"TTL": "60s"}"#).await.json();
    let session = session["ID"].as_str().unwrap().to_owned();
    assert_eq!(api.call(&format!("PUT /v1/kv/lock?acquire={session}"), "me").await.body, "true");
    let entry = json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http"}).to_string();
    api.ok("PUT /v1/config", &entry).await;
    let archive = save(&api).await;

    api.ok("PUT /v1/kv/a", "new").await;
    api.ok("PUT /v1/agent/service/deregister/web-1", "").await;
    api.ok(&format!("PUT /v1/session/destroy/{session}"), "").await;
    api.ok("DELETE /v1/config/service-defaults/web", "").await;
    let index = api.get("/v1/health/service/web").await.index();
    let address = api.address;
    let watch = tokio::spawn(async move {
        support::get(address, &format!("/v1/health/service/web?index={index}&wait=60s")).await
    });
    api.until_waiting(1).await;

    let (head, body) = restore(&api, &archive).await;
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head} {body}");
    let woken = tokio::time::timeout(PATIENCE, watch).await.expect("the watch wakes").unwrap();
    assert_eq!(woken.json()[0]["Service"]["ID"], "web-1");
    assert!(woken.index() > index);
    assert_eq!(api.get("/v1/kv/a?raw").await.body, "old");
    assert_eq!(api.get("/v1/kv/lock").await.json()[0]["Session"], session.as_str());
    assert_eq!(api.get(&format!("/v1/session/info/{session}")).await.json()[0]["ID"], session.as_str());
    assert_eq!(api.get("/v1/config/service-defaults/web").await.json()["Protocol"], "http");
    let passing: Value = api.get("/v1/health/service/web?passing").await.json();
    assert_eq!(passing.as_array().map(Vec::len), Some(1));
    // It goes on from there, and what is restored can be saved.
    api.ok("PUT /v1/agent/check/fail/service:web-1", "").await;
    api.ok("PUT /v1/kv/a", "next").await;
    assert_eq!(api.get("/v1/kv/a?raw").await.body, "next");
    let (head, _) = restore(&api, &save(&api).await).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[tokio::test]
async fn what_is_no_snapshot_changes_nothing() {
    let api = Api::start().await;
    api.ok("PUT /v1/kv/a", "1").await;
    let archive = save(&api).await;
    let index = api.get("/v1/kv/a").await.index();
    let cut = &archive[..archive.len() / 2];
    for (bytes, expect) in [
        (&b"not gzip"[..], "it is not a snapshot"),
        (cut, "the snapshot is damaged"),
        (b"", "not a snapshot"),
    ] {
        let (head, body) = restore(&api, bytes).await;
        assert!(head.starts_with("HTTP/1.1 400") && body.contains(expect), "{head} {body}");
    }
    assert_eq!(api.get("/v1/kv/a").await.index(), index);
    assert_eq!(api.call("GET /v1/snapshot?dc=other", "").await.status, 500);
    assert_eq!(api.call("DELETE /v1/snapshot", "").await.status, 405);
}
