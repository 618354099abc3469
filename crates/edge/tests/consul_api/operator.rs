//! What tools of operators ask, and what is answered where Consul's ACLs and Connect are off.

use serde_json::json;

use crate::support::Api;

#[tokio::test]
async fn the_server_is_the_leader_and_well() {
    let api = Api::start().await;
    let raft = api.get("/v1/operator/raft/configuration").await;
    let server = raft.json()["Servers"][0].clone();
    assert_eq!((&server["Node"], &server["Address"]), (&json!("weir"), &json!("127.0.0.1:8300")));
    assert_eq!((&server["Leader"], &server["Voter"]), (&json!(true), &json!(true)));
    assert_eq!(raft.json()["Index"], 0, "as a Consul answers whose configuration never changed");
    let health = api.get("/v1/operator/autopilot/health").await;
    assert_eq!((health.status, &health.json()["Healthy"]), (200, &json!(true)));
    let since = health.json()["Servers"][0]["StableSince"].as_str().unwrap().to_owned();
    assert!(since.starts_with("20") && since.ends_with('Z') && since.len() == 20, "{since}");
    let state = api.get("/v1/operator/autopilot/state").await.json();
    let leader = state["Leader"].as_str().unwrap();
    assert_eq!((&state["Servers"][leader]["Status"], &state["Voters"]), (&json!("leader"), &json!([leader])));
    assert_eq!(api.get("/v1/operator/autopilot/configuration").await.json()["CleanupDeadServers"], true);
    let usage = api.get("/v1/operator/usage").await.json()["Usage"]["dc1"].clone();
    assert_eq!(
        (&usage["Nodes"], &usage["Services"]),
        (&json!(1), &json!(1)),
        "itself, as the service consul"
    );
    assert_eq!(api.get("/v1/agent/version").await.json()["HumanVersion"], "1.21.0");
}

#[tokio::test]
async fn figures_come_in_both_forms() {
    let api = Api::start().await;
    api.ok("PUT /v1/agent/service/register", r#"{"Name": "web"}"#).await;
    let figures = api.get("/v1/agent/metrics").await.json();
    let gauges = figures["Gauges"].as_array().unwrap();
    let value =
        |name: &str| gauges.iter().find(|gauge| gauge["Name"] == name).map(|gauge| gauge["Value"].clone());
    assert_eq!(value("consul.state.service_instances"), Some(json!(2)));
    assert_eq!(value("consul.state.nodes"), Some(json!(1)));
    assert!(figures["Timestamp"].as_str().unwrap().ends_with(" +0000 UTC"));
    let text = api.get("/v1/agent/metrics?format=prometheus").await;
    assert!(text.header("content-type").starts_with("text/plain"));
    for line in [
        "consul_state_service_instances{datacenter=\"dc1\"} 2",
        "# TYPE consul_autopilot_healthy gauge",
        "consul_api_http_requests_total{api=\"consul_agent\",status=\"2xx\"} 2",
    ] {
        assert!(text.body.lines().any(|found| found == line), "{line}: {}", text.body);
    }
    assert_eq!(api.get("/v1/agent/metrics?format=xml").await.status, 400);
}

#[tokio::test]
async fn what_is_off_is_refused_as_consul_refuses_it() {
    let api = Api::start().await;
    let connect = "Connect must be enabled in order to use this endpoint";
    for (line, status, message) in [
        ("PUT /v1/acl/bootstrap", 401, "ACL support disabled"),
        ("GET /v1/acl/tokens", 401, "ACL support disabled"),
        ("GET /v1/acl/token/self", 401, "ACL support disabled"),
        ("PUT /v1/acl/token", 401, "ACL support disabled"),
        ("DELETE /v1/acl/policy/x", 401, "ACL support disabled"),
        ("PUT /v1/acl/create", 401, "ACL support disabled"),
        ("POST /v1/acl/login", 401, "ACL support disabled"),
        ("PUT /v1/agent/token/default", 401, "ACL support disabled"),
        ("GET /v1/connect/ca/roots", 500, connect),
        ("GET /v1/agent/connect/ca/leaf/web", 500, connect),
        ("POST /v1/agent/connect/authorize", 500, connect),
        ("GET /v1/connect/intentions", 500, connect),
        ("DELETE /v1/operator/raft/peer?id=x", 400, "stop the server instead"),
        ("PUT /v1/operator/autopilot/configuration", 400, "is fixed"),
        ("GET /v1/operator/keyring", 501, "this part of the operator API is not supported yet"),
    ] {
        let answer = api.call(line, "").await;
        assert_eq!((answer.status, answer.body.contains(message)), (status, true), "{line}: {}", answer.body);
    }
    for path in ["/v1/health/connect/web", "/v1/catalog/connect/web", "/v1/health/ingress/web"] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, answer.json()), (200, json!([])), "{path}");
        let began = std::time::Instant::now();
        api.get(&format!("{path}?index={}&wait=50ms", answer.index())).await;
        assert!(began.elapsed().as_millis() >= 50, "{path} waits");
    }
}

#[tokio::test]
async fn nobody_is_forced_to_leave_who_is_there_or_was_never() {
    let api = Api::start().await;
    api.ok("PUT /v1/catalog/register", r#"{"Node": "without-agent", "Address": "10.0.0.1"}"#).await;
    for name in ["nosuch", "without-agent"] {
        let answer = api.call(&format!("PUT /v1/agent/force-leave/{name}"), "").await;
        assert_eq!(
            (answer.status, &*answer.body),
            (500, &*format!("agent: No node found with name '{name}'"))
        );
    }
    api.ok("PUT /v1/agent/force-leave/weir?prune", "").await;
    assert_eq!(api.get("/v1/catalog/nodes").await.json().as_array().unwrap().len(), 2);
    assert_eq!(api.call("PUT /v1/agent/force-leave/", "").await.status, 400);
    let joins = api.call("PUT /v1/agent/join/10.0.0.1", "").await;
    assert!(joins.status == 501 && joins.body.contains("--server"), "{}", joins.body);
}
