//! What good requests are answered, field by field.

use serde_json::{Value, json};

use crate::support::{Api, web};

#[tokio::test]
async fn a_whole_registration_comes_back_as_consul_shows_it() {
    let api = Api::start().await;
    let definition = json!({
        "name": "web", "id": "web-1", "TAGS": ["a", "B"], "address": "127.0.0.2", "Port": 8080,
        "meta": {"v": "2"}, "enable_tag_override": true, "Weights": {"Passing": 5, "Warning": 2},
        "TaggedAddresses": {"weir-inbound": {"Address": "127.0.0.1", "Port": 20001}},
        "Checks": [
            {"name": "alive", "ttl": 15_000_000_000_u64, "notes": "n", "DeregisterCriticalServiceAfter": "90m"},
            {"CheckID": "port", "tcp": "127.0.0.1:1", "interval": "1h", "timeout": "1500ms", "Status": "passing"},
        ],
        "Check": null, "Proxy": {}, "Connect": null, "Unknown": {"ignored": true},
    });
    api.ok("PUT /v1/agent/service/register", &definition.to_string()).await;
    let answer = api.get("/v1/health/service/web").await;
    for (header, expect) in [
        ("x-consul-knownleader", "true"),
        ("x-consul-lastcontact", "0"),
        ("x-consul-effective-consistency", "leader"),
        ("x-consul-default-acl-policy", "allow"),
        ("x-consul-query-backend", "blocking-query"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(answer.header(header), expect, "{header}");
    }
    assert!(answer.index() > 0);
    let mut entry = answer.json()[0].clone();
    let revision = entry["Service"]["CreateIndex"].as_u64().unwrap();
    entry.as_object_mut().unwrap().remove("Node");
    let check = |id: &str, name: &str, kind: &str| {
        let mut check = json!({
            "Node": "weir", "CheckID": id, "Name": name, "Status": "critical", "Notes": "", "Output": "",
            "ServiceID": "web-1", "ServiceName": "web", "ServiceTags": ["a", "B"], "Type": kind, "Interval": "",
            "Timeout": "", "ExposedPort": 0, "Definition": {}, "CreateIndex": revision, "ModifyIndex": revision,
        });
        if kind == "tcp" {
            check["Interval"] = json!("1h0m0s");
            check["Timeout"] = json!("1.5s");
            check["Status"] = json!("passing");
        } else {
            check["Notes"] = json!("n");
        }
        check
    };
    let alive = entry["Checks"][0].clone();
    assert_eq!((&alive["CheckID"], &alive["Status"]), (&json!("serfHealth"), &json!("passing")));
    entry["Checks"].as_array_mut().unwrap().remove(0);
    let address = json!({"Address": "127.0.0.2", "Port": 8080});
    let expect = json!({
        "Service": {
            "ID": "web-1", "Service": "web", "Tags": ["a", "B"], "Address": "127.0.0.2", "Meta": {"v": "2"},
            "Port": 8080, "Weights": {"Passing": 5, "Warning": 2}, "EnableTagOverride": true,
            "TaggedAddresses": {
                "lan_ipv4": address, "wan_ipv4": address, "weir-inbound": {"Address": "127.0.0.1", "Port": 20001},
            },
            "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "Connect": {}, "PeerName": "",
            "CreateIndex": revision, "ModifyIndex": revision,
        },
        "Checks": [check("port", "Service 'web' check", "tcp"), check("service:web-1:1", "alive", "ttl")],
    });
    assert_eq!(entry, expect, "{entry:#}");
    let own = api.get("/v1/agent/service/web-1").await;
    assert_eq!(own.header("x-consul-contenthash"), own.json()["ContentHash"].as_str().unwrap());
    let pretty = api.get("/v1/agent/services?pretty").await.body;
    assert!(pretty.starts_with("{\n    \"web-1\": {\n") && pretty.ends_with("}\n"), "{pretty}");
}

#[tokio::test]
async fn agent_health_is_a_status_code() {
    let api = Api::start().await;
    api.ok("PUT /v1/agent/service/register", &web("web-1")).await;
    api.ok("PUT /v1/agent/service/register", &json!({"Name": "web", "ID": "web-2"}).to_string()).await;
    let by_id = "/v1/agent/health/service/id/web-1";
    let by_name = "/v1/agent/health/service/name/web";
    for (report, status, word) in
        [("fail", 503, "critical"), ("warn", 429, "warning"), ("pass", 200, "passing")]
    {
        api.ok(&format!("PUT /v1/agent/check/{report}/service:web-1"), "").await;
        let answer = api.get(by_id).await;
        assert_eq!((answer.status, answer.json()["AggregatedStatus"].as_str()), (status, Some(word)));
        assert_eq!(answer.json()["Service"]["ID"], "web-1");
        let text = api.get(&format!("{by_id}?format=text")).await;
        assert_eq!((text.status, text.body.as_str()), (status, word));
        let named = api.get(&format!("{by_name}?format=text")).await;
        assert_eq!((named.status, named.body.as_str()), (status, word), "the worst instance decides");
        assert_eq!(api.get(by_name).await.json().as_array().unwrap().len(), 2);
    }
    api.ok("PUT /v1/agent/service/maintenance/web-2?enable=true&reason=why", "").await;
    let named = api.get(&format!("{by_name}?format=text")).await;
    assert_eq!((named.status, named.body.as_str()), (503, "maintenance"));
    for path in ["/v1/agent/health/service/id/nobody", "/v1/agent/health/service/name/nobody"] {
        assert_eq!(api.get(path).await.status, 404);
        assert_eq!(api.get(&format!("{path}?format=text")).await.status, 404);
    }
}

#[tokio::test]
async fn replace_existing_checks_removes_those_not_named() {
    let api = Api::start().await;
    let with = |checks: Value| json!({"Name": "web", "Checks": checks}).to_string();
    let two = with(json!([{"CheckID": "a", "TTL": "60s"}, {"CheckID": "b", "TTL": "60s"}]));
    let one = with(json!([{"CheckID": "a", "TTL": "60s"}]));
    let checks = async || {
        let checks = api.get("/v1/agent/checks").await.json();
        checks.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    api.ok("PUT /v1/agent/service/register", &two).await;
    api.ok("PUT /v1/agent/check/pass/a", "").await;
    api.ok("PUT /v1/agent/service/register", &one).await;
    assert_eq!(checks().await, ["a", "b"]);
    assert_eq!(api.get("/v1/agent/checks").await.json()["a"]["Status"], "passing", "what it reports stays");
    api.ok("PUT /v1/agent/service/register?replace-existing-checks=true", &one).await;
    assert_eq!(checks().await, ["a"]);
}

#[tokio::test]
async fn raw_values_cannot_be_run_by_a_browser() {
    let api = Api::start().await;
    assert_eq!(api.call("PUT /v1/kv/a", "<script>").await.body, "true");
    let raw = api.get("/v1/kv/a?raw").await;
    assert_eq!((raw.status, raw.body.as_str()), (200, "<script>"));
    assert_eq!(raw.header("content-type"), "text/plain");
    assert_eq!(raw.header("x-content-type-options"), "nosniff");
    assert_eq!(raw.header("content-security-policy"), "sandbox");
    let missing = api.get("/v1/kv/b?raw").await;
    assert_eq!((missing.status, missing.body.as_str()), (404, ""));
    assert!(missing.index() > 0);
}

#[tokio::test]
async fn consistency_and_cache_are_told() {
    let api = Api::start().await;
    for (query, expect) in
        [("", "leader"), ("?stale", "stale"), ("?consistent", "consistent"), ("?cached", "leader")]
    {
        let answer = api.get(&format!("/v1/catalog/services{query}")).await;
        assert_eq!((answer.status, answer.header("x-consul-effective-consistency")), (200, expect));
        assert_eq!(answer.header("x-cache"), if query == "?cached" { "HIT" } else { "" });
    }
}

#[tokio::test]
async fn node_metadata_and_namespaces_select() {
    let api = Api::start().await;
    for (node, zone) in [("n1", "a"), ("n2", "b")] {
        let body = json!({"Node": node, "Address": "127.0.0.1", "NodeMeta": {"zone": zone}, "Service": {"Service": "db"}});
        assert_eq!(api.call("PUT /v1/catalog/register", &body.to_string()).await.body, "true");
    }
    let nodes = async |path: &str| {
        let lines = api.get(path).await.json();
        let name =
            |line: &Value| line.get("Node").map_or(Value::Null, |n| n.get("Node").unwrap_or(n).clone());
        lines.as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(nodes("/v1/health/service/db").await, ["n1", "n2"]);
    assert_eq!(nodes("/v1/health/service/db?node-meta=zone:b").await, ["n2"]);
    assert_eq!(nodes("/v1/catalog/service/db?node-meta=zone:a").await, ["n1"]);
    assert_eq!(nodes("/v1/catalog/nodes?node-meta=zone:a").await, ["n1"]);
    assert_eq!(api.get("/v1/catalog/services?node-meta=zone:c").await.json(), json!({}));
    assert_eq!(api.get("/v1/catalog/services?node-meta=zone:a").await.json(), json!({"db": []}));
    assert_eq!(api.get("/v1/health/service/db?peer=elsewhere").await.json(), json!([]));
    api.ok("PUT /v1/agent/service/register?ns=team", &json!({"Name": "db", "ID": "x"}).to_string()).await;
    assert_eq!(nodes("/v1/health/service/db?ns=team").await, ["weir"]);
    assert_eq!(nodes("/v1/health/service/db").await, ["n1", "n2"]);
    assert_eq!(api.get("/v1/agent/services").await.json(), json!({}));
    assert!(api.get("/v1/agent/services?ns=team").await.json().get("x").is_some());
}

#[tokio::test]
async fn inbound_reaches_the_domain() {
    let api = Api::start().await;
    let body = json!({
        "Name": "web", "Port": 80, "TaggedAddresses": {"weir-inbound": {"Address": "127.0.0.1", "Port": 20001}},
    });
    api.ok("PUT /v1/agent/service/register", &body.to_string()).await;
    let view = api.control.catalog().service_view("default", "web");
    let inbound = view.entries[0].instance.value().inbound.clone().unwrap();
    assert_eq!((&*inbound.host, inbound.port), ("127.0.0.1", 20001));
    assert!(view.entries[0].instance.value().tagged_addresses.is_empty());
}

#[tokio::test]
async fn an_answer_that_was_given_before_is_not_given_when_things_have_changed() {
    let api = Api::start().await;
    let register = async |id: &str, tag: &str| {
        let body = json!({"Name": "web", "ID": id, "Tags": [tag], "Check": {"TTL": "60s"}});
        api.ok("PUT /v1/agent/service/register", &body.to_string()).await;
    };
    let ids = async |query: &str| {
        // Twice, so that the second may come from what was written for the first.
        let first = api.get(&format!("/v1/health/service/web{query}")).await;
        let second = api.get(&format!("/v1/health/service/web{query}")).await;
        assert_eq!((&first.body, first.index()), (&second.body, second.index()));
        let catalog = api.get(&format!("/v1/catalog/service/web{query}")).await.json();
        let lines = second.json();
        let ids: Vec<String> = lines
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["Service"]["ID"].as_str().unwrap().to_owned())
            .collect();
        if !query.contains("passing") {
            let of_catalog: Vec<&str> =
                catalog.as_array().unwrap().iter().map(|line| line["ServiceID"].as_str().unwrap()).collect();
            assert_eq!(of_catalog, ids);
        }
        ids
    };
    register("a", "x").await;
    assert_eq!(ids("").await, ["a"]);
    register("b", "y").await;
    assert_eq!(ids("").await, ["a", "b"]);
    assert_eq!(ids("?tag=x").await, ["a"]);
    assert_eq!(ids("?tag=y").await, ["b"]);
    assert_eq!(ids("?tag=x&tag=y").await, [""; 0]);
    assert_eq!(ids("?passing").await, [""; 0]);
    api.ok("PUT /v1/agent/check/pass/service:b", "").await;
    assert_eq!(ids("?passing").await, ["b"]);
    assert_eq!(ids("?passing=false").await, ["a", "b"]);
    api.ok("PUT /v1/agent/maintenance?enable=true", "").await;
    assert_eq!(ids("?passing").await, [""; 0]);
    api.ok("PUT /v1/agent/maintenance?enable=false", "").await;
    api.ok("PUT /v1/agent/service/deregister/b", "").await;
    assert_eq!(ids("?passing").await, [""; 0]);
    assert_eq!(ids("").await, ["a"]);
}

#[tokio::test]
async fn the_servers_are_the_service_consul() {
    let api = Api::start().await;
    let entry = api.get("/v1/health/service/consul?passing").await.json()[0].clone();
    assert_eq!((&entry["Node"]["Node"], &entry["Service"]["Port"]), (&json!("weir"), &json!(8300)));
    assert_eq!(api.get("/v1/catalog/service/consul").await.json()[0]["ServiceID"], "consul");
    assert_eq!(api.get("/v1/catalog/service/Consul").await.json()[0]["ServiceID"], "consul");
    assert_eq!(api.get("/v1/catalog/services").await.json(), json!({"consul": []}));
    assert_eq!(api.get("/v1/catalog/node/weir").await.json()["Services"]["consul"]["Port"], 8300);
    assert_eq!(api.get("/v1/catalog/node-services/weir").await.json()["Services"][0]["Service"], "consul");
    assert_eq!(api.get("/v1/agent/services").await.json(), json!({}), "it was not registered with the agent");
    assert_eq!(api.get("/v1/catalog/services?ns=team").await.json(), json!({}));
    api.ok("PUT /v1/agent/maintenance?enable=true", "").await;
    assert_eq!(api.get("/v1/health/service/consul?passing").await.json(), json!([]));
    assert!(api.control.catalog().services_view("default").entries.is_empty(), "the domain does not know it");
}

#[tokio::test]
async fn filters_select() {
    let api = Api::start().await;
    for (id, v) in [("a", "1"), ("b", "2")] {
        let body = json!({"Name": "web", "ID": id, "Tags": [v], "Meta": {"v": v}, "Check": {"TTL": "60s"}});
        api.ok("PUT /v1/agent/service/register", &body.to_string()).await;
    }
    for (path, count) in [
        ("/v1/health/service/web?filter=Service.Meta.v+==+%222%22", 1),
        ("/v1/health/service/web?filter=Service.Meta.v+!=+%223%22", 2),
        ("/v1/health/service/web?filter=Service.Meta.v+==+%223%22", 0),
        ("/v1/health/service/web", 2),
        ("/v1/catalog/service/web?filter=ServiceMeta.v+==+%221%22", 1),
        ("/v1/catalog/service/web?filter=%221%22+in+ServiceTags+or+ServiceID+==+b", 2),
        ("/v1/catalog/services?filter=%222%22+in+ServiceTags", 1),
        ("/v1/catalog/services?filter=ServiceName+!=+consul", 1),
        ("/v1/catalog/services?filter=ServiceTags+is+empty", 1),
        ("/v1/catalog/nodes?filter=Node+==+weir", 1),
        ("/v1/catalog/nodes?filter=Node+!=+weir", 0),
        ("/v1/catalog/node-services/weir?filter=Service+==+web", 2),
        ("/v1/health/checks/web?filter=ServiceID+==+a", 1),
        ("/v1/health/node/weir?filter=CheckID+==+serfHealth", 1),
        ("/v1/health/state/any?filter=Status+==+critical", 2),
        ("/v1/agent/services?filter=%222%22+in+Tags", 1),
        // What no answer has is as empty as in Consul.
        ("/v1/health/service/web?filter=Service.Kind+!=+%22connect-proxy%22", 2),
        ("/v1/health/service/web?filter=Service.Connect.Native+==+true", 0),
        ("/v1/health/service/web?filter=Service.Proxy.DestinationServiceName+==+web", 0),
        ("/v1/health/service/web?filter=Node.PeerName+is+empty", 2),
        ("/v1/health/service/web?filter=Service.Namespace+==+default", 2),
        ("/v1/health/service/web?filter=Checks.Status+==+critical", 2),
        ("/v1/health/service/web?filter=Checks.ServiceID+==+a", 1),
        ("/v1/catalog/service/web?filter=ServiceProxy.DestinationServiceName+is+not+empty", 0),
        ("/v1/catalog/service/web?filter=ServiceConnect.Native+==+false+and+Namespace+==+default", 2),
        ("/v1/catalog/node-services/weir?filter=Connect.Native+==+false+and+Service+==+web", 2),
        ("/v1/catalog/nodes?filter=PeerName+is+empty", 1),
        ("/v1/health/checks/web?filter=Namespace+==+default", 2),
        ("/v1/agent/services?filter=Proxy.Mode+is+empty+and+Connect.Native+!=+true", 2),
        ("/v1/agent/checks?filter=CheckID+==+%22service:a%22", 1),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let json = answer.json();
        let list = json.get("Services").filter(|list| list.is_array()).unwrap_or(&json);
        let found = list.as_array().map_or_else(|| list.as_object().unwrap().len(), Vec::len);
        assert_eq!(found, count, "{path}: {json:#}");
    }
    let node = api.get("/v1/catalog/node/weir?filter=ID+==+a").await.json();
    assert_eq!(node["Services"].as_object().unwrap().len(), 1, "{node:#}");
}

#[tokio::test]
async fn services_are_found_in_any_case() {
    let api = Api::start().await;
    for (name, id) in [("Cs", "1"), ("cs", "2"), ("CS", "3")] {
        let body = json!({"Name": name, "ID": id, "Check": {"TTL": "60s", "Status": "passing"}});
        api.ok("PUT /v1/agent/service/register", &body.to_string()).await;
    }
    for name in ["cs", "CS", "cS"] {
        for (path, field) in [("health/service", "Service"), ("catalog/service", "ServiceName")] {
            let answer = api.get(&format!("/v1/{path}/{name}")).await.json();
            let names: Vec<_> = answer
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["Service"].get(field).unwrap_or(&one[field]).as_str().unwrap().to_owned())
                .collect();
            assert_eq!(names, ["CS", "Cs", "cs"], "{path}/{name}: as they were registered");
        }
        let checks = api.get(&format!("/v1/health/checks/{name}")).await.json();
        assert_eq!(checks.as_array().unwrap().len(), 3, "{checks:#}");
        let own = api.get(&format!("/v1/agent/health/service/name/{name}")).await;
        assert_eq!((own.status, own.json().as_array().unwrap().len()), (200, 3));
    }
    let query = json!({"Name": "q", "Service": {"Service": "cS"}}).to_string();
    api.ok("POST /v1/query", &query).await;
    let executed = api.get("/v1/query/q/execute").await.json();
    assert_eq!(executed["Nodes"].as_array().unwrap().len(), 3, "{executed:#}");
    // What was answered before is not when one of them changes.
    let before = api.get("/v1/health/service/CS").await.index();
    api.ok("PUT /v1/agent/service/deregister/1", "").await;
    let after = api.get("/v1/health/service/CS").await;
    assert!(after.index() > before);
    assert_eq!(after.json().as_array().unwrap().len(), 2);
    assert_eq!(api.get("/v1/health/service/Consul").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_agent_shows_what_a_heartbeat_said_before_the_catalog_does() {
    let api = Api::start().await;
    api.ok("PUT /v1/agent/service/register", &web("web")).await;
    for note in ["one", "two", "three"] {
        api.ok(&format!("PUT /v1/agent/check/pass/service:web?note={note}"), "").await;
        let checks = api.get("/v1/agent/checks").await.json();
        assert_eq!(checks["service:web"]["Output"], note);
    }
    let before = api.get("/v1/health/checks/web").await;
    assert_eq!(before.json()[0]["Status"], "passing");
    api.ok("PUT /v1/agent/check/pass/service:web?note=four", "").await;
    let after = api.get("/v1/health/checks/web").await;
    assert_eq!((after.index(), after.body), (before.index(), before.body), "nobody is woken for it");
}
