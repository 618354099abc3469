//! Prepared queries: kept, found by id and name, made of templates, carried out.

use serde_json::{Value, json};

use crate::support::{Api, PATIENCE, get};

async fn create(api: &Api, body: &Value) -> String {
    let answer = api.call("POST /v1/query", &body.to_string()).await;
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer.json()["ID"].as_str().unwrap().to_owned()
}

async fn ids(api: &Api, query: &str) -> Vec<String> {
    let answer = api.get(&format!("/v1/query/{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    let nodes = answer.json()["Nodes"].as_array().unwrap().clone();
    let mut ids: Vec<String> =
        nodes.iter().map(|node| node["Service"]["ID"].as_str().unwrap().to_owned()).collect();
    if !query.contains("near") {
        ids.sort();
    }
    ids
}

/// Instances a to d of `web`, on nodes of these names: passing with tag `v1`, passing, warning, critical.
async fn four(api: &Api) {
    for (id, tags, status, zone) in [
        ("a", json!(["v1", "old"]), "passing", "z1"),
        ("b", json!(["v2"]), "passing", "z2"),
        ("c", json!(["v2"]), "warning", "z2"),
        ("d", json!([]), "critical", "z1"),
    ] {
        let body = json!({
            "Node": format!("n-{id}"), "Address": "127.0.0.1", "NodeMeta": {"zone": zone},
            "Service": {"Service": "web", "ID": id, "Tags": tags, "Port": 80, "Meta": {"id": id}},
            "Check": {"CheckID": format!("check-{id}"), "Name": "c", "ServiceID": id, "Status": status},
        });
        api.ok("PUT /v1/catalog/register", &body.to_string()).await;
    }
}

#[tokio::test]
async fn a_query_comes_back_as_consul_shows_it() {
    let api = Api::start().await;
    let definition = json!({
        "Name": "near-web", "token": "secret",
        "Service": {
            "Service": "web", "OnlyPassing": true, "Near": "_agent", "Tags": ["v1", "!old"],
            "NodeMeta": {"zone": "z1"}, "ServiceMeta": {"id": "a"}, "IgnoreCheckIDs": ["x"],
            "Failover": {"NearestN": 3, "Datacenters": ["dc2"]},
        },
        "DNS": {"TTL": "10s"},
    });
    let id = create(&api, &definition).await;
    let answer = api.get(&format!("/v1/query/{id}")).await;
    assert!(answer.index() > 1);
    let mut shown = answer.json()[0].clone();
    let revision = shown["CreateIndex"].clone();
    assert_eq!(shown["ModifyIndex"], revision);
    shown.as_object_mut().unwrap().retain(|key, _| !key.ends_with("Index"));
    let expect = json!({
        "ID": id, "Name": "near-web", "Session": "", "Token": "",
        "Template": {"Type": "", "Regexp": "", "RemoveEmptyTags": false},
        "Service": {
            "Service": "web", "SamenessGroup": "", "OnlyPassing": true, "Near": "_agent",
            "Tags": ["v1", "!old"], "NodeMeta": {"zone": "z1"}, "ServiceMeta": {"id": "a"},
            "IgnoreCheckIDs": ["x"], "Failover": {"NearestN": 3, "Datacenters": ["dc2"]}, "Connect": false,
            "Peer": "",
        },
        "DNS": {"TTL": "10s"},
    });
    assert_eq!(shown, expect, "{shown:#}");
    assert_eq!(api.get("/v1/query").await.json()[0]["ID"], id);
    let renamed = json!({"Name": "other", "Service": {"Service": "db"}});
    api.ok(&format!("PUT /v1/query/{id}"), &renamed.to_string()).await;
    let shown = api.get(&format!("/v1/query/{id}")).await.json()[0].clone();
    assert_eq!((&shown["Name"], &shown["Service"]["Service"]), (&json!("other"), &json!("db")));
    assert_eq!(api.get("/v1/query/near-web/execute").await.status, 404);
    assert_eq!(api.get("/v1/query/OTHER/execute").await.status, 200, "names are found in any case");
    api.ok(&format!("DELETE /v1/query/{id}"), "").await;
    assert_eq!(api.get("/v1/query").await.json(), json!([]));
    let gone = api.get(&format!("/v1/query/{id}")).await;
    assert_eq!((gone.status, gone.body.as_str()), (404, "Query not found"));
}

#[tokio::test]
async fn what_it_takes_is_what_it_says() {
    let api = Api::start().await;
    four(&api).await;
    for (service, expect) in [
        (json!({}), vec!["a", "b", "c"]),
        (json!({"OnlyPassing": true}), vec!["a", "b"]),
        (json!({"Tags": ["V2"]}), vec!["b", "c"]),
        (json!({"Tags": ["v2", "!v1"], "OnlyPassing": true}), vec!["b"]),
        (json!({"Tags": ["!old"]}), vec!["b", "c"]),
        (json!({"NodeMeta": {"zone": "z2"}}), vec!["b", "c"]),
        (json!({"ServiceMeta": {"id": "a"}}), vec!["a"]),
        (json!({"IgnoreCheckIDs": ["check-d"]}), vec!["a", "b", "c", "d"]),
        (json!({"IgnoreCheckIDs": ["check-c"], "OnlyPassing": true}), vec!["a", "b", "c"]),
        (json!({"Service": "nobody", "Failover": {"Datacenters": ["dc2"]}}), vec![]),
        (json!({"Service": "consul"}), vec!["consul"]),
    ] {
        let mut service = service;
        service.as_object_mut().unwrap().entry("Service").or_insert("web".into());
        let id = create(&api, &json!({"Name": "q", "Service": service})).await;
        assert_eq!(ids(&api, &format!("{id}/execute")).await, expect, "{service}");
        assert_eq!(ids(&api, "q/execute").await, expect, "{service}");
        let answer = api.get("/v1/query/q/execute").await.json();
        assert_eq!((&answer["Failovers"], &answer["Datacenter"]), (&json!(0), &json!("dc1")));
        api.ok(&format!("DELETE /v1/query/{id}"), "").await;
    }
    api.ok("PUT /v1/agent/service/register", r#"{"Name": "web", "ID": "own"}"#).await;
    api.ok("PUT /v1/agent/maintenance?enable=true", "").await;
    let ignoring =
        json!({"Name": "q", "Service": {"Service": "web", "IgnoreCheckIDs": ["_node_maintenance"]}});
    create(&api, &ignoring).await;
    assert!(ids(&api, "q/execute").await.contains(&"own".to_owned()));
}

#[tokio::test]
async fn the_nearest_come_first_and_the_limit_cuts_the_others() {
    let api = Api::start().await;
    four(&api).await;
    create(&api, &json!({"Name": "q", "Service": {"Service": "web", "Near": "n-c"}})).await;
    for _ in 0..10 {
        assert_eq!(
            ids(&api, "q/execute?near=&limit=1").await,
            ["c"],
            "the node itself, whatever else is known"
        );
        assert_eq!(ids(&api, "q/execute?near=n-b&limit=1").await, ["b"]);
    }
    for (node, at) in [("n-a", 0.01), ("n-b", 0.05), ("n-c", 0.02)] {
        let coord = json!({"Vec": [at, 0, 0, 0, 0, 0, 0, 0], "Height": 0.001, "Error": 1.5, "Adjustment": 0});
        let body = json!({"Node": node, "Coord": coord});
        api.ok("PUT /v1/coordinate/update", &body.to_string()).await;
    }
    assert_eq!(ids(&api, "q/execute?near=n-a").await, ["a", "c", "b"]);
    assert_eq!(ids(&api, "q/execute?near=n-b&limit=2").await, ["b", "c"]);
    let order = async |path: &str, field: fn(&Value) -> &Value| {
        let lines = api.get(path).await.json();
        lines.as_array().unwrap().iter().map(|line| field(line).clone()).collect::<Vec<_>>()
    };
    let near_b = ["n-b", "n-c", "n-a", "n-d"];
    assert_eq!(order("/v1/health/service/web?near=n-b", |line| &line["Node"]["Node"]).await, near_b);
    assert_eq!(order("/v1/catalog/service/web?near=n-b", |line| &line["Node"]).await, near_b);
    assert_eq!(order("/v1/health/checks/web?near=n-b", |line| &line["Node"]).await, near_b);
    assert_eq!(order("/v1/catalog/nodes?near=n-b", |line| &line["Node"]).await[..3], near_b[..3]);
    assert_eq!(
        order("/v1/health/service/web", |line| &line["Node"]["Node"]).await,
        ["n-a", "n-b", "n-c", "n-d"]
    );
    assert_eq!(order("/v1/coordinate/nodes", |line| &line["Node"]).await, ["n-a", "n-b", "n-c"]);
    assert_eq!(api.get("/v1/coordinate/node/N-A").await.json()[0]["Coord"]["Vec"][0], 0.01);
    assert_eq!(api.get("/v1/coordinate/node/n-d").await.status, 404);
    assert_eq!(api.get("/v1/coordinate/datacenters").await.json()[0]["Datacenter"], "dc1");
    assert_eq!(api.get("/v1/agent/self").await.json()["Coord"], Value::Null);
    api.ok("PUT /v1/catalog/deregister", r#"{"Node": "n-b"}"#).await;
    assert_eq!(order("/v1/coordinate/nodes", |line| &line["Node"]).await, ["n-a", "n-c"]);
}

#[tokio::test]
async fn templates_make_queries_of_names() {
    let api = Api::start().await;
    four(&api).await;
    let template = json!({
        "Name": "geo-", "Template": {"Type": "name_prefix_match", "Regexp": "^geo-(.*?)-([^-]+)$", "RemoveEmptyTags": true},
        "Service": {"Service": "${match(1)}", "Tags": ["${match(2)}", "${match(3)}"]},
    });
    create(&api, &template).await;
    let longer = json!({
        "Name": "geo-db", "Template": {"Type": "name_prefix_match"}, "Service": {"Service": "db${name.suffix}"},
    });
    create(&api, &longer).await;
    assert_eq!(ids(&api, "geo-web-v2/execute").await, ["b", "c"]);
    assert_eq!(ids(&api, "geo-web-v1/execute").await, ["a"]);
    let explained = api.get("/v1/query/geo-web-v1/explain").await.json()["Query"].clone();
    assert_eq!((&explained["Name"], &explained["Service"]["Service"]), (&json!("geo-"), &json!("web")));
    assert_eq!(explained["Service"]["Tags"], json!(["v1"]));
    let explained = api.get("/v1/query/geo-db-main/explain").await.json()["Query"].clone();
    assert_eq!(explained["Service"]["Service"], "db-main", "the longest beginning is meant");
    assert_eq!(api.get("/v1/query/web/execute").await.status, 404);
    create(&api, &json!({"Template": {"Type": "name_prefix_match"}, "Service": {"Service": "${name.full}"}}))
        .await;
    assert_eq!(ids(&api, "web/execute").await, ["a", "b", "c"], "the template for all names");
    create(&api, &json!({"Name": "geo-web-v1", "Service": {"Service": "web"}})).await;
    assert_eq!(
        ids(&api, "geo-web-v1/execute").await,
        ["a", "b", "c"],
        "a query of this very name goes first"
    );
}

#[tokio::test]
async fn a_query_ends_with_its_session_and_can_be_waited_for() {
    let api = Api::start().await;
    let session = api.call("PUT /v1/session/create", "").await.json()["ID"].as_str().unwrap().to_owned();
    create(&api, &json!({"Session": session, "Service": {"Service": "web"}})).await;
    let listed = api.get("/v1/query").await;
    assert_eq!(listed.json()[0]["Session"], *session);
    let (address, target) = (api.address, format!("/v1/query?index={}&wait=60s", listed.index()));
    let watch = tokio::spawn(async move { get(address, &target).await });
    api.until_waiting(1).await;
    api.ok("PUT /v1/kv/unrelated", "").await;
    assert!(!watch.is_finished());
    api.ok(&format!("PUT /v1/session/destroy/{session}"), "").await;
    let woken = tokio::time::timeout(PATIENCE, watch).await.expect("woken").unwrap();
    assert_eq!(woken.json(), json!([]));
}

#[tokio::test]
async fn bad_queries_are_refused() {
    let api = Api::start().await;
    create(&api, &json!({"Name": "taken", "Service": {"Service": "web"}})).await;
    let service = json!({"Service": "web"});
    let with = |field: &str, value: Value| {
        let mut service = service.clone();
        service[field] = value;
        json!({"Name": "q", "Service": service})
    };
    let template = |regexp: &str, service: &str| {
        json!({
            "Name": "t", "Template": {"Type": "name_prefix_match", "Regexp": regexp}, "Service": {"Service": service},
        })
    };
    for (body, status, message) in [
        (json!({}), 400, "Must be bound to a session"),
        (json!({"Name": "q"}), 400, "Must provide a Service name to query"),
        (json!({"Name": "q", "Service": {}}), 400, "Must provide a Service name to query"),
        (
            json!({"Name": "q", "Service": {"Servce": "web"}}),
            400,
            "Must provide a Service name to query: Service.Servce is no field; did you mean Service?",
        ),
        (json!({"Name": "q", "Servic": {}}), 400, "Servic is no field; did you mean Service?"),
        (json!({"Name": "a b", "Service": service}), 400, "Name: expected at most 255 bytes"),
        (
            json!({"Name": "0f6a2c1e-0000-4000-8000-00000000000a", "Service": service}),
            400,
            "form of a query's ID",
        ),
        (json!({"ID": "x", "Name": "q", "Service": service}), 400, "ID must be empty"),
        (json!({"Name": "Taken", "Service": service}), 409, "name 'Taken' aliases an existing query name"),
        (json!({"Session": "none", "Service": service}), 500, "invalid session \"none\""),
        (json!({"Name": "q", "Service": service, "DNS": {"TTL": "soon"}}), 400, "Bad DNS TTL 'soon'"),
        (json!({"Name": "q", "Service": {"Service": "a/b"}}), 400, "Service.Service: "),
        (with("Tags", json!("a")), 400, "Service.Tags: expected an array"),
        (with("Connect", json!(true)), 400, "Service.Connect: not supported"),
        (with("Peer", json!("p")), 400, "Service.Peer: not supported"),
        (
            with("Failover", json!({"NearestN": -1})),
            400,
            "Service.Failover.NearestN: expected a whole number",
        ),
        (
            with("Failover", json!({"Targets": [{"Peer": "p"}]})),
            400,
            "Service.Failover.Targets: not supported",
        ),
        (json!({"Template": {"Type": "regexp"}, "Service": service}), 400, "Bad Template.Type 'regexp'"),
        (template("(", "web"), 400, "Bad Regexp: unclosed group"),
        (template("", "${name"), 400, "Bad format '${name' in Service.Service"),
        (template("", "${nothing}"), 400, "unknown variable `nothing`"),
        (json!({"Name": "q", "Service": service, "Datacenter": "dc9"}), 500, "No path to datacenter"),
    ] {
        let answer = api.call("POST /v1/query", &body.to_string()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.body.contains(message), "{body}: {}", answer.body);
    }
    let body = with("Near", json!("_agent")).to_string();
    for (line, body, status, message) in [
        ("PUT /v1/query/none", &*body, 404, "Cannot modify non-existent prepared query: 'none'"),
        ("DELETE /v1/query/none", "", 404, "Cannot modify non-existent prepared query: 'none'"),
        ("DELETE /v1/query/", "", 400, "Missing query ID"),
        ("GET /v1/query/taken/execute?limit=x", "", 400, "Invalid limit"),
        ("GET /v1/query/taken/execute?connect=true", "", 400, "connect: not supported"),
        ("GET /v1/query/none/execute", "", 404, "Query not found"),
        ("GET /v1/query/none/explain", "", 404, "Query not found"),
        ("DELETE /v1/query", "", 405, "method DELETE not allowed"),
        ("PUT /v1/coordinate/update", "{}", 400, "Node: expected the name of a registered node"),
        ("PUT /v1/coordinate/update", r#"{"Node": "none"}"#, 404, "node \"none\" does not exist"),
        ("PUT /v1/coordinate/update", r#"{"Node": "weir"}"#, 400, "Coord.Vec: rejected bad coordinate"),
        (
            "PUT /v1/coordinate/update",
            r#"{"Node": "weir", "Coord": {"Vec": [0,0,0,0,0,0,0,1e300]}}"#,
            400,
            "Coord.Vec: rejected bad coordinate",
        ),
    ] {
        let answer = api.call(line, body).await;
        assert_eq!(answer.status, status, "{line}: {}", answer.body);
        assert!(answer.body.contains(message), "{line}: {}", answer.body);
    }
    assert_eq!(api.get("/v1/query").await.json().as_array().unwrap().len(), 1);
}
