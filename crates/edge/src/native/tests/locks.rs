//! Locks over the native API.

use std::time::Duration;

use http::StatusCode;
use weir_api::native::{ClaimAnswer, LockView, Released};

use super::Api;

const ACQUIRE: &str = "/weir/v1/locks/report/acquire";

async fn line(api: &Api) -> Option<(Vec<String>, Vec<String>)> {
    let (status, text) = api.ask("GET", "/weir/v1/locks/report", "").await;
    if status == StatusCode::NOT_FOUND {
        return None;
    }
    let lock: LockView = serde_json::from_str(&text).unwrap();
    let ids =
        |claims: &[weir_api::native::ClaimView]| claims.iter().map(|claim| claim.claim.clone()).collect();
    Some((ids(&lock.holders), ids(&lock.waiters)))
}

/// Waits until so many are in the line.
async fn until_in_line(api: &Api, count: usize) {
    let reached = async {
        while line(api).await.map_or(0, |(holders, waiters)| holders.len() + waiters.len()) != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("so many are in the line");
}

#[tokio::test]
async fn a_lock_goes_from_hand_to_hand_with_rising_tokens() {
    let api = Api::start().await;
    let first: ClaimAnswer =
        api.answer("POST", ACQUIRE, r#"{"claim": "a", "holder": "me", "ttl": "30s"}"#).await;
    assert!(first.held && first.claim.place == 0 && first.claim.remaining_ms.is_some());
    let again: ClaimAnswer = api.answer("POST", ACQUIRE, r#"{"claim": "a"}"#).await;
    assert_eq!((again.held, &again.claim.token), (true, &first.claim.token));
    assert_eq!(
        api.ask("POST", ACQUIRE, "").await,
        (StatusCode::LOCKED, "lock `report` is held by me".to_owned())
    );
    assert_eq!(line(&api).await, Some((vec!["a".to_owned()], vec![])), "it was withdrawn");
    let waits: ClaimAnswer = api.answer("POST", ACQUIRE, r#"{"claim": "b", "keep": true}"#).await;
    assert_eq!((waits.held, waits.claim.place), (false, 1));
    let gives_up = api.ask("POST", ACQUIRE, r#"{"claim": "b"}"#).await;
    assert_eq!((gives_up.0, line(&api).await), (StatusCode::LOCKED, Some((vec!["a".to_owned()], vec![]))));
    let waits: ClaimAnswer = api.answer("POST", ACQUIRE, r#"{"claim": "b", "keep": true}"#).await;
    let check = |token: &str| format!("/weir/v1/locks/report/check?token={token}");
    let current: ClaimAnswer = api.answer("GET", &check(&first.claim.token), "").await;
    assert_eq!(current.claim.holder, "me");
    assert_eq!(api.ask("GET", &check(&waits.claim.token), "").await.0, StatusCode::CONFLICT, "it only waits");
    let released: Released = api.answer("POST", "/weir/v1/locks/report/release", r#"{"claim": "a"}"#).await;
    assert_eq!(released.released, 1);
    assert_eq!(api.ask("GET", &check(&first.claim.token), "").await.0, StatusCode::CONFLICT);
    let renewed: ClaimAnswer = api.answer("POST", "/weir/v1/locks/report/renew", r#"{"claim": "b"}"#).await;
    assert!(renewed.held && renewed.claim.token > first.claim.token);
    let (status, why) = api.ask("POST", "/weir/v1/locks/report/renew", r#"{"claim": "a"}"#).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(why.contains("not renewed in time, released, taken away"), "{why}");
    let listed = api.get::<LockView>("/weir/v1/locks").await;
    assert_eq!(listed.items.iter().map(|lock| &*lock.name).collect::<Vec<_>>(), ["report"]);
    let forced: Released = api.answer("POST", "/weir/v1/locks/report/release", r#"{"force": true}"#).await;
    assert_eq!((forced.released, line(&api).await), (1, None));
    assert_eq!(
        api.ask("POST", "/weir/v1/locks/report/release", r#"{"force": true}"#).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn whoever_hangs_up_while_waiting_is_not_in_the_line_any_more() {
    let api = Api::start().await;
    let _: ClaimAnswer = api.answer("POST", ACQUIRE, r#"{"claim": "a"}"#).await;
    let waiting = r#"{"claim": "b", "wait": "60s", "ttl": "1h"}"#;
    tokio::select! {
        answer = api.ask("POST", ACQUIRE, waiting) => panic!("it does not wait: {answer:?}"),
        () = until_in_line(&api, 2) => {}
    }
    until_in_line(&api, 1).await;
    let kept = r#"{"claim": "c", "wait": "60s", "ttl": "1h", "keep": true}"#;
    let (held, _) = tokio::join!(api.answer::<ClaimAnswer>("POST", ACQUIRE, kept), async {
        until_in_line(&api, 2).await;
        api.answer::<Released>("POST", "/weir/v1/locks/report/release", r#"{"claim": "a"}"#).await
    });
    assert!(held.held);
}

#[tokio::test]
async fn bad_requests_about_locks_name_the_field() {
    let api = Api::start().await;
    let release = "/weir/v1/locks/report/release";
    for (method, path, body, status, part) in [
        ("POST", "/weir/v1/locks/a%20b/acquire", "", 400, "name: "),
        ("POST", ACQUIRE, r#"{"wait": "601s"}"#, 400, "wait: "),
        ("POST", "/weir/v1/locks//acquire", "", 400, "name: "),
        ("POST", ACQUIRE, r#"{"tll": "1s"}"#, 400, "did you mean `ttl`?"),
        ("POST", ACQUIRE, r#"{"ttl": "soon"}"#, 400, "ttl"),
        ("POST", ACQUIRE, r#"{"ttl": "10ms"}"#, 400, "ttl: expected a time from 1s to 24h"),
        ("POST", ACQUIRE, r#"{"count": 0}"#, 400, "count: expected a number from 1 to 1000"),
        ("POST", ACQUIRE, r#"{"claim": "a/b"}"#, 400, "claim: expected 1 to 64"),
        ("POST", ACQUIRE, r#"{"node": "n1"}"#, 400, "node: "),
        (
            "POST",
            ACQUIRE,
            r#"{"instance": "web-1"}"#,
            404,
            "instance \"web-1\" on node \"n1\" does not exist",
        ),
        ("POST", ACQUIRE, r#"{"session": "s"}"#, 404, "session \"s\" does not exist"),
        ("POST", release, "", 400, "either `claim`, or `force`"),
        ("POST", release, r#"{"claim": "a", "force": true}"#, 400, "either `claim`, or `force`"),
        ("POST", release, r#"{"claim": "a"}"#, 404, "claim \"a\" does not exist"),
        ("POST", release, r#"{"force": true, "token": "7"}"#, 400, "token: it is no fencing token"),
        ("POST", "/weir/v1/locks/report/renew", "", 400, "claim"),
        ("POST", "/weir/v1/locks/report/steal", "", 404, "there is no `steal` for a lock"),
        ("GET", "/weir/v1/locks/report/check", "", 400, "token: it is no fencing token"),
        ("GET", "/weir/v1/locks/report", "", 404, "nobody holds lock `report`"),
        ("GET", "/weir/v1/locks?nam=x", "", 400, "did you mean `name"),
    ] {
        let (got, text) = api.ask(method, path, body).await;
        assert_eq!(got.as_u16(), status, "{path} {body}: {text}");
        assert!(text.contains(part), "{path} {body}: {text}");
    }
    assert!(api.get::<LockView>("/weir/v1/locks").await.items.is_empty(), "nothing is left of it");
}
