//! Transactions on the catalog: nodes, services and checks, together with keys.

use serde_json::{Value, json};

use crate::support::{Answer, Api};

async fn txn(api: &Api, ops: Value) -> Answer {
    api.call("PUT /v1/txn", &ops.to_string()).await
}

/// The results of a transaction that must be done.
async fn done(api: &Api, ops: Value) -> Vec<Value> {
    let answer = txn(api, ops).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["Errors"], json!(null));
    answer.json()["Results"].as_array().unwrap().clone()
}

/// The errors of one that must fail, each as the number of its operation and what it says.
async fn failed(api: &Api, ops: Value) -> Vec<(u64, String)> {
    let answer = txn(api, ops).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert_eq!(answer.json()["Results"], json!(null));
    let errors = answer.json()["Errors"].as_array().unwrap().clone();
    let read =
        |error: Value| (error["OpIndex"].as_u64().unwrap(), error["What"].as_str().unwrap().to_owned());
    errors.into_iter().map(read).collect()
}

fn node(verb: &str, index: u64) -> Value {
    let node = json!({
        "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1",
        "TaggedAddresses": {"wan": "1.2.3.4"}, "Meta": {"rack": "7"}, "ModifyIndex": index,
    });
    json!({"Node": {"Verb": verb, "Node": node}})
}

fn service(verb: &str, index: u64) -> Value {
    let service = json!({
        "ID": "web-1", "Service": "web", "Tags": ["a"], "Port": 80, "Address": "10.0.0.2", "Meta": {"v": "2"},
        "Weights": {"Passing": 3, "Warning": 2}, "ModifyIndex": index,
    });
    json!({"Service": {"Verb": verb, "Node": "n1", "Service": service}})
}

fn check(verb: &str, index: u64, status: &str) -> Value {
    let check = json!({
        "Node": "n1", "CheckID": "c1", "Name": "alive", "Status": status, "Notes": "by hand", "Output": "fine",
        "ServiceID": "web-1", "ModifyIndex": index,
    });
    json!({"Check": {"Verb": verb, "Check": check}})
}

async fn all_set(api: &Api) -> u64 {
    let results = done(api, json!([node("set", 0), service("set", 0), check("set", 0, "passing")])).await;
    results[0]["Node"]["ModifyIndex"].as_u64().unwrap()
}

#[tokio::test]
async fn what_is_set_is_seen_by_what_follows_and_shares_an_index() {
    let api = Api::start().await;
    let kv = json!({"KV": {"Verb": "set", "Key": "k", "Value": "MQ=="}});
    let ops = json!([kv, node("set", 0), service("set", 0), check("set", 0, "passing"), service("get", 0)]);
    let results = done(&api, ops).await;
    let at = results[0]["KV"]["ModifyIndex"].clone();
    assert!(at.as_u64().unwrap() > 0);
    let names = ["KV", "Node", "Service", "Check", "Service"];
    for (result, name) in results.iter().zip(names) {
        assert_eq!(result.as_object().unwrap().keys().collect::<Vec<_>>(), [name]);
        assert_eq!((&result[name]["CreateIndex"], &result[name]["ModifyIndex"]), (&at, &at), "{name}");
    }
    assert_eq!(results.len(), names.len());
    let node = &results[1]["Node"];
    assert_eq!(
        (&node["Node"], &node["Address"], &node["Meta"]),
        (&json!("n1"), &json!("10.0.0.1"), &json!({"rack": "7"}))
    );
    assert_eq!((&node["Datacenter"], &node["TaggedAddresses"]["wan"]), (&json!("dc1"), &json!("1.2.3.4")));
    let service = &results[2]["Service"];
    assert_eq!(
        (&service["ID"], &service["Service"], &service["Port"]),
        (&json!("web-1"), &json!("web"), &json!(80))
    );
    assert_eq!((&service["Weights"], &results[4]), (&json!({"Passing": 3, "Warning": 2}), &results[2]));
    let check = &results[3]["Check"];
    assert_eq!(
        (&check["CheckID"], &check["Status"], &check["Notes"]),
        (&json!("c1"), &json!("passing"), &json!("by hand"))
    );
    assert_eq!((&check["ServiceName"], &check["ServiceTags"]), (&json!("web"), &json!(["a"])));
    let shown = api.get("/v1/health/service/web?passing").await.json();
    assert_eq!((&shown[0]["Service"]["ModifyIndex"], &shown[0]["Node"]["CreateIndex"]), (&at, &at));
    assert_eq!(shown[0]["Checks"][0]["CheckID"], "c1");
    assert_eq!(api.get("/v1/kv/k?raw").await.body, "1");
}

#[tokio::test]
async fn gets_answer_with_what_is_stored_and_setting_the_same_changes_nothing() {
    let api = Api::start().await;
    let at = all_set(&api).await;
    api.ok("PUT /v1/kv/other", "x").await;
    let by_id = json!({"Node": {"Verb": "get", "Node": {"ID": "40e4a748-2192-161a-0510-9bf59fe950b5"}}});
    let gets = json!([node("get", 0), by_id, service("get", 0), check("get", 0, "")]);
    let read = done(&api, gets).await;
    let same = done(&api, json!([node("set", 0), service("set", 0), check("set", 0, "passing")])).await;
    assert_eq!((&read[0], &read[2..]), (&read[1], &same[1..]));
    assert_eq!(read[0], same[0]);
    for (result, name) in read.iter().zip(["Node", "Node", "Service", "Check"]) {
        assert_eq!((&result[name]["CreateIndex"], &result[name]["ModifyIndex"]), (&json!(at), &json!(at)));
    }
    let changed = done(&api, json!([check("set", 0, "critical"), check("get", 0, "")])).await;
    assert_eq!((&changed[0], &changed[0]["Check"]["CreateIndex"]), (&changed[1], &json!(at)));
    assert_eq!(changed[0]["Check"]["Status"], "critical");
    assert!(changed[0]["Check"]["ModifyIndex"].as_u64().unwrap() > at);
    let missing = json!([
        {"Node": {"Verb": "get", "Node": {"Node": "nowhere"}}},
        {"Node": {"Verb": "get", "Node": {"ID": "11111111-2192-161a-0510-9bf59fe950b5"}}},
        {"Service": {"Verb": "get", "Node": "n1", "Service": {"ID": "nothing"}}},
        {"Check": {"Verb": "get", "Check": {"Node": "n1", "CheckID": "nothing"}}},
    ]);
    let expected = [
        (0, r#"node "nowhere" doesn't exist"#.to_owned()),
        (1, r#"node "11111111-2192-161a-0510-9bf59fe950b5" doesn't exist"#.to_owned()),
        (2, r#"service "nothing" on node "n1" doesn't exist"#.to_owned()),
        (3, r#"check "nothing" on node "n1" doesn't exist"#.to_owned()),
    ];
    assert_eq!(failed(&api, missing).await, expected);
}

#[tokio::test]
async fn deletes_answer_with_nothing_and_take_along_what_is_below() {
    let api = Api::start().await;
    all_set(&api).await;
    assert_eq!(done(&api, json!([check("delete", 0, "")])).await, Vec::<Value>::new());
    assert_eq!(api.get("/v1/health/checks/web").await.json(), json!([]));
    all_set(&api).await;
    assert_eq!(done(&api, json!([service("delete", 0)])).await, Vec::<Value>::new());
    assert_eq!(api.get("/v1/health/node/n1").await.json(), json!([]), "its check went with it");
    assert_eq!(api.get("/v1/catalog/node/n1").await.json()["Services"], json!({}));
    all_set(&api).await;
    assert_eq!(done(&api, json!([node("delete", 0)])).await, Vec::<Value>::new());
    assert_eq!(api.get("/v1/catalog/node/n1").await.json(), json!(null));
    assert_eq!(api.get("/v1/catalog/service/web").await.json(), json!([]));
    assert_eq!(
        api.get("/v1/health/state/any")
            .await
            .json()
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["Node"] == "n1")
            .count(),
        0
    );
    let again = json!([check("delete", 0, ""), service("delete", 0), node("delete", 0)]);
    assert_eq!(done(&api, again).await, Vec::<Value>::new(), "what is not there is fine");
}

#[tokio::test]
async fn a_node_is_deleted_and_set_again_in_one_transaction() {
    let api = Api::start().await;
    all_set(&api).await;
    let other = json!({"Service": {"Verb": "set", "Node": "n1", "Service": {"Service": "api", "Port": 1}}});
    let ops = json!([node("delete", 0), node("set", 0), other, service("delete", 0)]);
    let results = done(&api, ops).await;
    assert_eq!(results.len(), 2);
    let services = api.get("/v1/catalog/node/n1").await.json()["Services"].clone();
    assert_eq!(services.as_object().unwrap().keys().collect::<Vec<_>>(), ["api"]);
    assert_eq!(api.get("/v1/health/node/n1").await.json(), json!([]));
    let orphaned = json!([node("delete", 0), service("set", 0)]);
    let what = r#"Missing node registration: node "n1" does not exist"#.to_owned();
    assert_eq!(failed(&api, orphaned).await, [(1, what)]);
    let replaced =
        json!([service("set", 0), check("set", 0, "warning"), service("delete", 0), service("set", 0)]);
    done(&api, replaced).await;
    assert_eq!(api.get("/v1/health/checks/web").await.json(), json!([]), "it went with the service");
    assert_eq!(api.get("/v1/catalog/service/web").await.json()[0]["ServicePort"], 80);
}

#[tokio::test]
async fn a_failing_operation_leaves_nothing_of_the_others() {
    let api = Api::start().await;
    let kv = json!({"KV": {"Verb": "set", "Key": "k", "Value": "MQ=="}});
    let mut alone = check("set", 0, "passing");
    alone["Check"]["Check"]["ServiceID"] = json!("nothing");
    let before = api.control.position();
    let errors = failed(&api, json!([kv, node("set", 0), service("set", 0), alone])).await;
    assert_eq!(
        errors,
        [(3, r#"Missing service registration: instance "nothing" does not exist"#.to_owned())]
    );
    let errors = failed(&api, json!([service("set", 0), check("set", 0, "passing")])).await;
    assert_eq!(errors.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1]);
    assert!(errors.iter().all(|(_, what)| what.starts_with("Missing node registration")), "{errors:?}");
    let stale = json!([node("set", 0), service("set", 0), {"KV": {"Verb": "cas", "Key": "k", "Index": 9}}]);
    assert_eq!(failed(&api, stale).await, [(2, r#"failed to set key "k", index is stale"#.to_owned())]);
    assert_eq!(api.control.position(), before, "nothing was written");
    assert_eq!(api.get("/v1/catalog/node/n1").await.json(), json!(null));
    assert_eq!(api.get("/v1/kv/k").await.status, 404);
    let own = api.get("/v1/agent/self").await.json()["Config"]["NodeName"].clone();
    let own = json!([node("set", 0), {"Node": {"Verb": "delete", "Node": {"Node": own}}}]);
    let errors = failed(&api, own).await;
    assert!(errors[0].0 == 1 && errors[0].1.contains("own node"), "{errors:?}");
    assert_eq!(api.control.position(), before);
}

#[tokio::test]
async fn cas_compares_the_index_of_what_is_there() {
    let api = Api::start().await;
    type Make = fn(&str, u64) -> Value;
    let kinds: [(&str, Make, &str); 3] = [
        ("Node", node, r#"node "n1""#),
        ("Service", service, r#"service "web-1" on node "n1""#),
        ("Check", |verb, index| check(verb, index, "passing"), r#"check "c1" on node "n1""#),
    ];
    for (kind, op, what) in kinds {
        let stale = [(0, format!("failed to set {what}, index is stale"))];
        let undeleted = [(0, format!("failed to delete {what}, index is stale"))];
        assert_eq!(failed(&api, json!([op("cas", 7)])).await, stale, "it is not there");
        assert_eq!(failed(&api, json!([op("delete-cas", 7)])).await, undeleted);
        assert_eq!(failed(&api, json!([op("delete-cas", 0)])).await, undeleted);
        let created = done(&api, json!([op("cas", 0)])).await;
        let at = created[0][kind]["ModifyIndex"].as_u64().unwrap();
        assert_eq!(failed(&api, json!([op("cas", 0)])).await, stale, "it is there");
        assert_eq!(failed(&api, json!([op("cas", at - 1)])).await, stale);
        assert_eq!(failed(&api, json!([op("delete-cas", at - 1)])).await, undeleted);
        assert_eq!(done(&api, json!([op("cas", at)])).await, created, "the same again is no change");
        let mut other = op("cas", at);
        other[kind][kind][if kind == "Check" { "Notes" } else { "Address" }] = json!("10.9.9.9");
        let changed = done(&api, json!([other])).await;
        let now = changed[0][kind]["ModifyIndex"].as_u64().unwrap();
        assert!(now > at);
        assert_eq!(failed(&api, json!([op("delete-cas", at)])).await, undeleted);
        let twice = json!([op("set", 0), op("cas", u64::MAX)]);
        assert_eq!(
            failed(&api, twice).await,
            [(1, stale[0].1.clone())],
            "what was just set has no index yet"
        );
        assert_eq!(done(&api, json!([op("delete-cas", now)])).await, Vec::<Value>::new());
        done(&api, json!([op("set", 0)])).await;
    }
}

#[tokio::test]
async fn of_several_that_compare_one_wins() {
    let api = Api::start().await;
    let at = all_set(&api).await;
    let attempts = (0..8).map(|number| {
        let mut op = service("cas", at);
        op["Service"]["Service"]["Port"] = json!(1000 + number);
        let key = json!({"KV": {"Verb": "set", "Key": format!("won/{number}")}});
        txn(&api, json!([key, op]))
    });
    let answers = futures_util::future::join_all(attempts).await;
    let won: Vec<_> = (0..8).filter(|number| answers[*number].status == 200).collect();
    assert_eq!((won.len(), answers.iter().filter(|answer| answer.status == 409).count()), (1, 7));
    let port = api.get("/v1/catalog/service/web").await.json()[0]["ServicePort"].clone();
    assert_eq!(port, json!(1000 + won[0]));
    assert_eq!(api.get("/v1/kv/won/?keys").await.json(), json!([format!("won/{}", won[0])]));
}

#[tokio::test]
async fn as_many_operations_as_are_allowed_are_done_together() {
    let api = Api::start().await;
    let mut ops = vec![node("set", 0)];
    ops.extend((1..128).map(|number| {
        json!({"Service": {"Verb": "set", "Node": "n1", "Service": {"ID": format!("s{number}"), "Service": "many"}}})
    }));
    assert_eq!(done(&api, json!(ops)).await.len(), 128);
    assert_eq!(api.get("/v1/catalog/service/many").await.json().as_array().unwrap().len(), 127);
    ops.push(node("get", 0));
    let answer = txn(&api, json!(ops)).await;
    assert_eq!((answer.status, &*answer.body), (413, "Transaction contains too many operations (129 > 128)"));
}
