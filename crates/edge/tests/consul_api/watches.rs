//! Blocking queries: woken by what they watch and by nothing else.

use serde_json::json;

use crate::support::{self, Api, PATIENCE, web};

/// What is watched, what must not wake it, what must: each a request line with its body.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], (&'a str, &'a str));

#[tokio::test]
async fn a_watch_wakes_for_its_own_change_only() {
    let api = Api::start().await;
    api.ok("PUT /v1/agent/service/register", &web("web-1")).await;
    api.call("PUT /v1/kv/dir/a", "1").await;
    let register = "PUT /v1/agent/service/register";
    let passes = ("PUT /v1/agent/check/pass/service:web-1", "");
    let fails = ("PUT /v1/agent/check/fail/service:web-1", "");
    let other = json!({"Name": "other", "Check": {"TTL": "60s"}}).to_string();
    let other_passes = ("PUT /v1/agent/check/pass/service:other", "");
    let fresh = json!({"Name": "fresh"}).to_string();
    let later = json!({"Name": "later"}).to_string();
    let cased = json!({"Name": "Cased"}).to_string();
    let node = json!({"Node": "n9", "Address": "127.0.0.1"}).to_string();
    let cases: &[Case<'_>] = &[
        ("/v1/health/service/web", &[(register, &other), ("PUT /v1/kv/x", "x"), other_passes], passes),
        ("/v1/health/checks/web", &[("PUT /v1/agent/check/warn/service:other", "")], fails),
        ("/v1/catalog/services", &[passes, ("PUT /v1/kv/x", "y")], (register, &fresh)),
        ("/v1/catalog/nodes", &[fails, ("PUT /v1/kv/x", "z")], ("PUT /v1/catalog/register", &node)),
        ("/v1/health/node/n9", &[passes], ("PUT /v1/catalog/deregister", &node)),
        ("/v1/catalog/nodes", &[fails], ("PUT /v1/catalog/register", &node)),
        ("/v1/health/service/later", &[fails], (register, &later)),
        ("/v1/health/service/cased", &[fails], (register, &cased)),
        ("/v1/catalog/service/CASED", &[passes], ("PUT /v1/agent/service/deregister/Cased", "")),
        (
            "/v1/kv/dir/a",
            &[("PUT /v1/kv/dir/b", "x"), ("PUT /v1/kv/dir/a", "1"), passes],
            ("PUT /v1/kv/dir/a", "2"),
        ),
        ("/v1/kv/dir/?recurse", &[("PUT /v1/kv/dire", "x"), fails], ("DELETE /v1/kv/dir/b", "")),
        ("/v1/kv/dir/?keys", &[("PUT /v1/kv/di", "x")], ("PUT /v1/kv/dir/c", "x")),
        ("/v1/session/list", &[passes, ("PUT /v1/kv/x", "t")], ("PUT /v1/session/create", "")),
        (
            "/v1/session/node/n9",
            &[("PUT /v1/session/create", "")],
            ("PUT /v1/session/create", r#"{"Node": "n9", "NodeChecks": []}"#),
        ),
        ("/v1/kv/new", &[("PUT /v1/kv/newer", "x")], ("PUT /v1/kv/new", "x")),
    ];
    for (path, unrelated, (line, body)) in cases {
        let index = api.get(path).await.index();
        let mark = if path.contains('?') { '&' } else { '?' };
        let target = format!("{path}{mark}index={index}&wait=60s");
        let address = api.address;
        let watch = tokio::spawn(async move { support::get(address, &target).await });
        api.until_waiting(1).await;
        for (line, body) in *unrelated {
            let answer = api.call(line, body).await;
            assert_eq!(answer.status, 200, "{line}: {}", answer.body);
        }
        // Every write above is visible by now, so whatever it wakes is awake: nobody.
        let again = api.get(&format!("{path}{mark}index={index}&wait=1ms")).await;
        assert_eq!(again.index(), index, "{path}");
        assert!(!watch.is_finished(), "{path} was woken by something else");
        let answer = api.call(line, body).await;
        assert_eq!(answer.status, 200, "{line}: {}", answer.body);
        let woken = tokio::time::timeout(PATIENCE, watch).await.expect("woken").unwrap();
        assert!(woken.index() > index, "{path}: {index} then {}", woken.index());
        api.until_waiting(0).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_waiter() {
    let api = Api::start().await;
    let index = api.get("/v1/health/service/web").await.index();
    let target = format!("/v1/health/service/web?index={index}&wait=60s");
    let address = api.address;
    let watch = tokio::spawn(async move { support::get(address, &target).await });
    api.until_waiting(1).await;
    watch.abort();
    api.until_waiting(0).await;
}

#[tokio::test]
async fn an_index_from_elsewhere_does_not_wait_for_ever() {
    let api = Api::start().await;
    let answer =
        tokio::time::timeout(PATIENCE, api.get("/v1/health/service/web?index=99999999&wait=10m")).await;
    assert!(answer.expect("answered").index() < 99_999_999, "the client starts anew");
}
