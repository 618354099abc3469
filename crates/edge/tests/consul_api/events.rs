//! Events: fired, listed, waited for as Consul's clients do.

use serde_json::{Value, json};

use crate::support::{Api, PATIENCE, get};

async fn fire(api: &Api, target: &str, payload: &str) -> Value {
    let answer = api.call(&format!("PUT /v1/event/fire/{target}"), payload).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    answer.json()
}

async fn names(api: &Api, query: &str) -> Vec<String> {
    let events = api.get(&format!("/v1/event/list{query}")).await.json();
    events.as_array().unwrap().iter().map(|event| event["Name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_event_is_shown_with_its_payload() {
    let api = Api::start().await;
    let empty = api.get("/v1/event/list").await;
    assert_eq!((empty.index(), empty.json()), (1, json!([])));
    let fired = fire(&api, "deploy?node=^we", "v2").await;
    let expect = json!({
        "ID": fired["ID"], "Name": "deploy", "Payload": "djI=", "NodeFilter": "^we", "ServiceFilter": "",
        "TagFilter": "", "Version": 1, "LTime": 0,
    });
    assert_eq!(fired, expect);
    let listed = api.get("/v1/event/list").await;
    let mut shown = listed.json()[0].clone();
    assert_eq!(shown["LTime"], listed.index());
    shown["LTime"] = json!(0);
    assert_eq!(shown, expect);
    assert_eq!(fire(&api, "bare", "").await["Payload"], Value::Null);
}

#[tokio::test]
async fn the_index_is_that_of_the_last_events_id() {
    let api = Api::start().await;
    for name in ["a", "b", "a"] {
        fire(&api, name, "").await;
    }
    let half = |text: &str| u64::from_str_radix(text, 16).unwrap();
    for (query, count) in [("", 3), ("?name=a", 2), ("?name=b", 1)] {
        let answer = api.get(&format!("/v1/event/list{query}")).await;
        let events = answer.json();
        let last = events.as_array().unwrap().last().unwrap()["ID"].as_str().unwrap().replace('-', "");
        assert_eq!(events.as_array().unwrap().len(), count);
        assert_eq!(answer.index(), half(&last[..16]) ^ half(&last[16..]), "{query}");
    }
}

#[tokio::test]
async fn a_wait_ends_with_an_event_of_its_name() {
    let api = Api::start().await;
    fire(&api, "a", "").await;
    let index = api.get("/v1/event/list?name=a").await.index();
    let (address, target) = (api.address, format!("/v1/event/list?name=a&index={index}&wait=60s"));
    let watch = tokio::spawn(async move { get(address, &target).await });
    api.until_waiting(1).await;
    fire(&api, "b", "").await;
    fire(&api, "a", "2").await;
    let woken = tokio::time::timeout(PATIENCE, watch).await.expect("woken").unwrap();
    assert_eq!(woken.json().as_array().unwrap().len(), 2, "not woken by b, or not to an answer");
    assert!(woken.index() > index);
    let other = api.get(&format!("/v1/event/list?name=a&index={}&wait=60s", u64::MAX)).await;
    assert_eq!(other.index(), woken.index(), "an index of another history is answered at once");
    let same = api.get(&format!("/v1/event/list?name=a&index={}&wait=1ms", woken.index())).await;
    assert_eq!(same.index(), woken.index());
}

#[tokio::test]
async fn filters_say_which_node_an_event_is_for() {
    let api = Api::start().await;
    let service = json!({"Name": "web", "Tags": ["v1"]});
    api.ok("PUT /v1/agent/service/register", &service.to_string()).await;
    let other = json!({"Node": "n2", "Address": "127.0.0.1", "Service": {"Service": "db"}});
    api.ok("PUT /v1/catalog/register", &other.to_string()).await;
    for target in [
        "all",
        "own?node=^weir$",
        "second?node=n[0-9]",
        "web?service=we.",
        "web-v1?service=web&tag=v1",
        "web-v2?service=web&tag=v2",
        "db?service=db",
    ] {
        fire(&api, target, "").await;
    }
    assert_eq!(names(&api, "").await, ["all", "own", "web", "web-v1"]);
    assert_eq!(names(&api, "?node=n2").await, ["all", "second", "db"]);
    assert_eq!(names(&api, "?node=nobody").await, ["all"]);
}

#[tokio::test]
async fn a_ring_of_256_is_kept() {
    let api = Api::start().await;
    for n in 0..260 {
        fire(&api, &format!("e{n}"), "").await;
    }
    let kept = names(&api, "").await;
    assert_eq!((kept.len(), &*kept[0], &*kept[255]), (256, "e4", "e259"));
}

#[tokio::test]
async fn bad_events_are_refused() {
    let api = Api::start().await;
    let large = "x".repeat(513);
    let with_name = "x".repeat(512);
    for (line, body, status, message) in [
        ("PUT /v1/event/fire/", "", 400, "Missing name"),
        ("PUT /v1/event/fire/a", &*large, 413, "user event exceeds configured limit of 512 bytes"),
        ("PUT /v1/event/fire/a", &with_name, 413, "user event exceeds configured limit of 512 bytes"),
        ("PUT /v1/event/fire/a?node=(", "", 400, "Invalid node filter: unclosed group"),
        ("PUT /v1/event/fire/a?tag=v1", "", 400, "Cannot provide tag filter without service filter"),
        ("GET /v1/event/fire/a", "", 405, "method GET not allowed"),
        ("PUT /v1/event/list", "", 405, "method PUT not allowed"),
        ("PUT /v1/event/fire/a?dc=dc9", "", 500, "No path to datacenter"),
    ] {
        let answer = api.call(line, body).await;
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
        assert!(answer.body.contains(message), "{line}: {}", answer.body);
    }
    assert_eq!(names(&api, "").await, [""; 0]);
}
