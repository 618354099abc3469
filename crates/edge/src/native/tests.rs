//! The native API over a real connection.

mod agents;
mod locks;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use weir_api::client::{Client, ClientError};
use weir_api::native::{
    Applied, Change, ChangeSetView, Deleted, Heartbeats, InstanceView, List, NodeView, PositionAnswer,
    Problem, ProxyView, ResourceView, RouteView, SOURCES_TYPE, ServiceView, SourceText, Sources,
};
use weir_api::report::{Figures, ProxyReport};
use weir_api::snapshot::SnapshotInputs;
use weir_control::{Control, Settings};
use weir_model::registry::Health;

use super::NativeApi;
use crate::http::{Router, Server, ServerConfig};
use crate::mesh::Mesh;

const SHOP: &str = "kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.example]
  rules:
  - matches: [{path: {value: /cart}, method: GET, headers: [{name: x-a, value: b}]}]
    backendRefs: [{name: cart, weight: 3}, {name: tea}]
";

struct Api {
    client: Client,
}

impl Api {
    async fn start() -> Self {
        let settings = Settings { node_name: "n1".into(), ..Settings::default() };
        Self::over(Control::start(Arc::new(weir_store::Memory::new()), settings).await.unwrap()).await
    }

    async fn over(control: Arc<Control>) -> Self {
        let mesh = Mesh::new(Arc::clone(&control), "r1");
        let mut router = Router::new();
        crate::consul::ConsulApi::new(Arc::clone(&control), false).mount(&mut router);
        NativeApi::new(control, mesh).mount(&mut router);
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), ServerConfig::default()).await.unwrap();
        let client = Client::new(server.address().to_string().parse().unwrap());
        tokio::spawn(server.serve(Arc::new(router), std::future::pending()));
        Self { client }
    }

    /// Sends a request and returns its status and body.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let method: Method = method.parse().unwrap();
        match self.client.send(method, path, None, Bytes::copy_from_slice(body.as_bytes())).await {
            Ok(body) => (StatusCode::OK, String::from_utf8(body.into()).unwrap()),
            Err(ClientError::Refused { status, problems }) => {
                (status, problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }

    async fn answer<T: serde::de::DeserializeOwned>(&self, method: &str, path: &str, body: &str) -> T {
        let (status, text) = self.ask(method, path, body).await;
        assert_eq!(status, StatusCode::OK, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> List<T> {
        self.answer("GET", path, "").await
    }
}

#[tokio::test]
async fn documents_are_applied_shown_and_deleted() {
    let api = Api::start().await;
    let changes = |applied: &Applied| applied.changes.iter().map(|(_, change)| *change).collect::<Vec<_>>();

    let rehearsed: Applied = api.answer("POST", "/weir/v1/apply?dry_run", SHOP).await;
    assert!(rehearsed.dry_run && rehearsed.change_set.is_none());
    assert_eq!(changes(&rehearsed), [Change::Created, Change::Created]);
    assert!(
        api.get::<ResourceView>("/weir/v1/resources").await.items.is_empty(),
        "a dry run changed something"
    );

    let applied: Applied = api.answer("POST", "/weir/v1/apply", SHOP).await;
    assert_eq!((applied.change_set, changes(&applied)), (Some(1), vec![Change::Created, Change::Created]));
    let list = api.get::<ResourceView>("/weir/v1/resources").await;
    assert_eq!(list.items.len(), 2, "what was written can be read at once");
    assert!(list.position >= applied.position);

    let again: Applied = api.answer("POST", "/weir/v1/apply", SHOP).await;
    assert_eq!((again.change_set, changes(&again)), (None, vec![Change::Unchanged, Change::Unchanged]));

    let changed = SHOP.replace("shop.example", "shop.test");
    let updated: Applied = api.answer("POST", "/weir/v1/apply", &changed).await;
    assert_eq!(changes(&updated), [Change::Unchanged, Change::Updated]);
    let route: ResourceView = api.answer("GET", "/weir/v1/resources/HTTPRoute/shop", "").await;
    assert_eq!((route.revision, route.resource.id().to_string()), (2, "HTTPRoute/shop".to_owned()));

    let routes = api.get::<RouteView>("/weir/v1/routes").await.items;
    let [rule] = routes.as_slice() else { panic!("{routes:?}") };
    assert_eq!(rule.matches, ["GET /cart* x-a=b"]);
    assert_eq!(rule.backends, [("cart".to_owned(), 3), ("tea".to_owned(), 1)]);
    assert_eq!(
        (rule.parents.as_slice(), rule.hostnames.as_slice()),
        (&["Gateway/edge".to_owned()][..], &["shop.test".to_owned()][..])
    );

    let back: Applied = api.answer("POST", "/weir/v1/changes/1/rollback", "").await;
    assert_eq!(back.change_set, Some(3));
    let history = api.get::<ChangeSetView>("/weir/v1/changes").await.items;
    assert_eq!(
        history.iter().map(|set| (set.number, set.head)).collect::<Vec<_>>(),
        [(3, true), (2, false), (1, false)]
    );
    assert_eq!(history[0].message, "back to 1");
    let route = api.get::<RouteView>("/weir/v1/routes").await.items.remove(0);
    assert_eq!(route.hostnames, ["shop.example"]);

    let deleted: Deleted = api.answer("DELETE", "/weir/v1/resources/HTTPRoute/shop", "").await;
    assert_eq!(deleted.deleted, ["HTTPRoute/shop"]);
    let deleted: Deleted = api
        .answer("POST", "/weir/v1/delete", "kind: Gateway\nmetadata: {name: edge}\nspec: {listeners: [{name: a, port: 1, protocol: HTTP}]}\n")
        .await;
    assert_eq!(deleted.deleted, ["Gateway/edge"]);
    assert!(api.get::<ResourceView>("/weir/v1/resources").await.items.is_empty());
}

#[tokio::test]
async fn what_will_not_work_is_said_and_not_refused() {
    let api = Api::start().await;
    let warned = |applied: &Applied| applied.warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
    let wrong = SHOP.replace("{name: edge}]", "{name: egde}]");
    let rehearsed: Applied = api.answer("POST", "/weir/v1/apply?dry_run", &wrong).await;
    let expected = [
        "Gateway/edge: no connected proxy serves Gateway/edge: start one with `weir proxy --gateway edge` \
         (`weir dev` and `weir demo` serve `default`)",
        "HTTPRoute/shop: spec.parentRefs[0].name: there is no Gateway/egde yet; expected `edge`?",
        "HTTPRoute/shop: spec.rules[0].backendRefs[0].name: service `cart` is neither declared nor registered yet",
        "HTTPRoute/shop: spec.rules[0].backendRefs[1].name: service `tea` is neither declared nor registered yet",
    ];
    assert_eq!(warned(&rehearsed), expected);
    let applied: Applied = api.answer("POST", "/weir/v1/apply", &wrong).await;
    assert_eq!(warned(&applied), expected);
    api.ask("PUT", "/weir/v1/instances/a", "{\"service\": \"cart\", \"port\": 1}").await;
    let tea = format!("{SHOP}---\nkind: Service\nmetadata: {{name: tea}}\nspec: {{}}\n");
    let mended: Applied = api.answer("POST", "/weir/v1/apply?dry_run", &tea).await;
    assert_eq!(warned(&mended), expected[..1]);
}

#[tokio::test]
async fn several_files_are_one_change_with_their_own_names() {
    let api = Api::start().await;
    let send = async |second: &str| {
        let sources = Sources {
            sources: vec![
                SourceText {
                    name: "a.yaml".into(),
                    text: "kind: Service\nmetadata: {name: a}\nspec: {}\n".into(),
                },
                SourceText { name: "b.yaml".into(), text: second.into() },
            ],
        };
        let sent: Result<Applied, _> =
            api.client.send_json(Method::POST, "/weir/v1/apply", SOURCES_TYPE, &sources).await;
        sent
    };
    let error = send("kind: Service\nmetadata: {name: b}\nspec: {protocl: http}\n").await.unwrap_err();
    let ClientError::Refused { status, problems } = error else { panic!("{error}") };
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!((problems[0].source.as_deref(), problems[0].line), (Some("b.yaml"), Some(3)));
    assert_eq!(problems[0].suggestion.as_deref(), Some("protocol"));
    assert!(api.get::<ResourceView>("/weir/v1/resources").await.items.is_empty(), "half of it was applied");
    let applied = send("kind: Service\nmetadata: {name: b}\nspec: {protocol: http}\n").await.unwrap();
    assert_eq!((applied.change_set, applied.changes.len()), (Some(1), 2));
}

#[tokio::test]
async fn fields_without_a_meaning_here_are_named() {
    let api = Api::start().await;
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\n\
                spec: {listeners: [{name: a, port: 8080, protocol: HTTP}]}\nstatus: {addresses: []}\n";
    let applied: Applied = api.answer("POST", "/weir/v1/apply?source=k.yaml", text).await;
    let [ignored] = applied.ignored.as_slice() else { panic!("{applied:?}") };
    assert_eq!((ignored.source.as_deref(), ignored.line), (Some("k.yaml"), Some(5)));
    assert_eq!(ignored.path, "Gateway/a status");
}

#[tokio::test]
async fn instances_are_registered_seen_and_deregistered() {
    let api = Api::start().await;
    let body = r#"{"service": "cart", "address": "10.0.0.1", "port": 9001, "tags": ["v1"],
        "inbound": {"host": "10.0.0.1", "port": 15001}, "metadata": {"protocol": "http"},
        "checks": [{"http": "http://10.0.0.1:9001/healthz", "interval": "5s"}, {"ttl": "1h"}]}"#;
    let done: PositionAnswer = api.answer("PUT", "/weir/v1/instances/cart-1", body).await;
    let list = api.get::<InstanceView>("/weir/v1/instances?service=cart").await;
    assert!(list.position >= done.position);
    let [view] = list.items.as_slice() else { panic!("{list:?}") };
    assert_eq!((view.health, view.checks.len()), (Health::Critical, 2));
    assert_eq!((view.instance.node.as_str(), view.instance.address.as_str()), ("n1", "10.0.0.1"));
    assert_eq!(view.instance.inbound.as_ref().unwrap().port, 15001);

    let services = api.get::<ServiceView>("/weir/v1/services").await.items;
    let [cart] = services.as_slice() else { panic!("{services:?}") };
    assert_eq!((cart.name.as_str(), cart.instances.critical, cart.declared), ("cart", 1, false));
    assert_eq!((cart.protocol.as_str(), cart.tags.as_slice()), ("http", &["v1".to_owned()][..]));

    // Registered anew with one check: the other is gone.
    let fewer = r#"{"service": "cart", "port": 9001, "checks": [{"tcp": "10.0.0.1:9001"}]}"#;
    let _: PositionAnswer = api.answer("PUT", "/weir/v1/instances/cart-1", fewer).await;
    let view: InstanceView = api.answer("GET", "/weir/v1/instances/cart-1", "").await;
    assert_eq!((view.checks.len(), view.instance.inbound), (1, None));
    assert_eq!(view.instance.address, "127.0.0.1", "the node's address is inherited");

    let snapshot: SnapshotInputs = api.answer("GET", "/weir/v1/snapshot?service=cart", "").await;
    assert_eq!(snapshot.services[0].endpoints[0].id, "n1/cart-1");

    let _: Deleted = api.answer("DELETE", "/weir/v1/instances/cart-1", "").await;
    assert!(api.get::<InstanceView>("/weir/v1/instances").await.items.is_empty());
}

#[tokio::test]
async fn a_gateways_snapshot_is_all_it_works_from() {
    let api = Api::start().await;
    let _: Applied = api.answer("POST", "/weir/v1/apply", SHOP).await;
    let _: Applied =
        api.answer("POST", "/weir/v1/apply", "kind: Service\nmetadata: {name: unrelated}\nspec: {}\n").await;
    let snapshot: SnapshotInputs = api.answer("GET", "/weir/v1/snapshot?gateway=edge", "").await;
    let ids: Vec<String> = snapshot.resources.iter().map(|resource| resource.id().to_string()).collect();
    assert_eq!(ids, ["Gateway/edge", "HTTPRoute/shop"]);
    let known: Vec<(&str, bool)> =
        snapshot.services.iter().map(|service| (service.service.name.as_str(), service.known)).collect();
    assert_eq!(known, [("cart", false), ("tea", false)]);
}

#[tokio::test]
async fn refusals_have_the_right_status_and_name_the_field() {
    let api = Api::start().await;
    let check = async |method: &str, path: &str, body: &str, status: u16, parts: &[&str]| {
        let (found, text) = api.ask(method, path, body).await;
        assert_eq!(found.as_u16(), status, "{method} {path}: {text}");
        for part in parts {
            assert!(text.contains(part), "{method} {path}: `{part}` is missing in `{text}`");
        }
    };
    check("POST", "/weir/v1/apply", "", 400, &["no documents"]).await;
    check("POST", "/weir/v1/apply", "kind: [", 400, &["body:", "not valid YAML"]).await;
    check("POST", "/weir/v1/apply", "kind: Servce\nmetadata: {name: a}\n", 400, &["Servce", "Service"]).await;
    check(
        "POST",
        "/weir/v1/apply?source=x.yaml",
        "kind: Service\nmetadata: {name: A!}\nspec: {}\n",
        400,
        &["x.yaml:2", "metadata.name"],
    )
    .await;
    check("POST", "/weir/v1/apply?dry_run=maybe", SHOP, 400, &["dry_run", "true or false"]).await;
    check("POST", "/weir/v1/apply?dryrun", SHOP, 400, &["dryrun", "did you mean `dry_run`"]).await;
    check("GET", "/weir/v1/apply", "", 405, &["GET not allowed"]).await;
    check("GET", "/weir/v1/nothing", "", 404, &["not found"]).await;
    check("GET", "/weir/v1/resources/Servce", "", 404, &["unknown kind", "did you mean `Service`"]).await;
    check("GET", "/weir/v1/resources/Service/none", "", 404, &["Service/none does not exist"]).await;
    check("DELETE", "/weir/v1/resources/Service/none", "", 404, &["Service/none"]).await;
    check("DELETE", "/weir/v1/resources/Service", "", 400, &["KIND/NAME"]).await;
    check("PUT", "/weir/v1/instances/", "{}", 400, &["instances/ID"]).await;
    check("PUT", "/weir/v1/instances/a", "{\"service\": \"cart\"}", 400, &["port"]).await;
    for weight in ["-1", "1.5", "4294967296", "1000001"] {
        let body = format!(
            "{{\"service\": \"cart\", \"port\": 1, \"weights\": {{\"passing\": {weight}, \"warning\": 1}}}}"
        );
        check("PUT", "/weir/v1/instances/a", &body, 400, &["weights.passing", "0 to 1000000"]).await;
    }
    let inbound = r#"{"service": "cart", "port": 1, "inbound": {"host": "h", "port": 65536}}"#;
    check("PUT", "/weir/v1/instances/a", inbound, 400, &["inbound.port", "1 to 65535"]).await;
    check(
        "PUT",
        "/weir/v1/instances/a",
        "{\"service\": \"cart\", \"prt\": 1}",
        400,
        &["prt", "did you mean `port`"],
    )
    .await;
    check("PUT", "/weir/v1/instances/a", "{\"service\": \"a b\", \"port\": 1}", 400, &["service"]).await;
    check("PUT", "/weir/v1/instances/a?node=none", "{\"service\": \"cart\", \"port\": 1}", 404, &["none"])
        .await;
    check(
        "PUT",
        "/weir/v1/instances/a",
        r#"{"service": "cart", "port": 1, "checks": [{}]}"#,
        400,
        &["checks[0]", "exactly one of"],
    )
    .await;
    check(
        "PUT",
        "/weir/v1/instances/a",
        r#"{"service": "cart", "port": 1, "checks": [{"ttl": "0s"}]}"#,
        400,
        &["checks[0].ttl"],
    )
    .await;
    check("DELETE", "/weir/v1/instances/none", "", 404, &["none"]).await;
    check("GET", "/weir/v1/instances/none", "", 404, &["none"]).await;
    check("GET", "/weir/v1/instances?servce=a", "", 400, &["did you mean `service`"]).await;
    check("GET", "/weir/v1/snapshot", "", 400, &["?gateway=NAME"]).await;
    check("GET", "/weir/v1/snapshot?gateway=none", "", 404, &["Gateway/none does not exist"]).await;
    check("POST", "/weir/v1/changes/x/rollback", "", 404, &["NUMBER"]).await;
    check("POST", "/weir/v1/changes/99/rollback", "", 404, &["99"]).await;
}

#[tokio::test]
async fn nodes_are_listed_with_what_is_on_them_and_whether_they_are_heard_from() {
    let api = Api::start().await;
    let nodes: List<NodeView> = api.get("/weir/v1/nodes").await;
    let [node] = &nodes.items[..] else { panic!("{nodes:?}") };
    assert_eq!((&*node.name, node.health, node.heartbeats), ("n1", Health::Passing, Heartbeats::None));
    let instance = r#"{"service": "web", "port": 80, "checks": [{"id": "alive", "ttl": "1h"}]}"#;
    api.ask("PUT", "/weir/v1/instances/web-1", instance).await;
    let nodes: List<NodeView> = api.get("/weir/v1/nodes?name=N1").await;
    assert_eq!(nodes.items[0].heartbeats, Heartbeats::Heard);
    assert_eq!(nodes.items[0].instances.critical, 1, "not heard from yet");
    assert_eq!(api.ask("PUT", "/v1/agent/check/pass/alive?node=n1", "").await.0, StatusCode::OK);
    let nodes: List<NodeView> = api.get("/weir/v1/nodes").await;
    assert_eq!(nodes.items[0].instances.passing, 1);
    assert!(api.get::<NodeView>("/weir/v1/nodes?name=none").await.items.is_empty());
    assert_eq!(api.ask("GET", "/weir/v1/nodes?nam=x", "").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let api = Api::start().await;
    let large = "#".repeat(weir_api::native::APPLY_BYTES_MAX + 1);
    let (status, text) = api.ask("POST", "/weir/v1/apply", &large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
}

#[tokio::test]
async fn operators_see_health_and_figures() {
    let api = Api::start().await;
    assert_eq!(api.ask("GET", "/healthz", "").await.1, "ok\n");
    assert!(api.ask("GET", "/readyz", "").await.1.starts_with("ready at "));
    let _: Applied = api.answer("POST", "/weir/v1/apply", SHOP).await;
    api.ask("GET", "/weir/v1/resources/Service/none", "").await;
    api.ask("PUT", "/v1/kv/a", "b").await;
    let (_, text) = api.ask("GET", "/metrics", "").await;
    for line in [
        "weir_resources 2",
        "weir_nodes 1",
        "weir_nodes_silent 0",
        "weir_self_preservation 0",
        "weir_proxies_connected 0",
        "weir_native_requests_total{class=\"write\",status=\"2xx\"} 1",
        "weir_native_requests_total{class=\"read\",status=\"4xx\"} 1",
        "# TYPE weir_http_connections gauge",
        "weir_http_connections_refused_total 0",
        "weir_http_bodies_bytes 0",
        "weir_http_bodies_refused_total 0",
        "weir_http_answers_total{status=\"2xx\"} 4",
        "weir_http_answers_total{status=\"4xx\"} 1",
        "weir_http_requests_total{api=\"consul_kv\",status=\"2xx\"} 1",
        "weir_http_requests_total{api=\"consul_other\",status=\"2xx\"} 0",
        "weir_http_requests_total{api=\"native\",status=\"2xx\"} 1",
        "weir_http_requests_total{api=\"native\",status=\"4xx\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "`{line}` is missing in\n{text}");
    }
    assert!(api.get::<ProxyView>("/weir/v1/proxies").await.items.is_empty());
    let position: PositionAnswer = api.answer("GET", "/weir/v1/position", "").await;
    assert!(position.position.revision > 0);
}

#[tokio::test]
async fn figures_are_answered_where_nobody_has_reported() {
    let api = Api::start().await;
    let figures: Figures = api.client.get("/weir/v1/figures?namespace=default&service=cart").await.unwrap();
    assert_eq!(figures, Figures::default());
    assert!(api.get::<ProxyReport>("/weir/v1/reports").await.items.is_empty());
    let (status, text) = api.ask("GET", "/weir/v1/figures?servce=cart", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("servce") && text.contains("service"), "{text}");
}

#[tokio::test]
async fn a_service_has_the_routes_of_what_it_speaks() {
    let api = Api::start().await;
    let put = async |path: &str, body: &str| {
        let (status, text) = api.ask("PUT", path, body).await;
        assert_eq!(status, StatusCode::OK, "{text}");
    };
    let register = async |protocol: &str| {
        let body = format!(r#"{{"Name": "db", "Port": 1, "Meta": {{"protocol": "{protocol}"}}}}"#);
        put("/v1/agent/service/register", &body).await;
    };
    let routes = async || {
        let items = api.get::<RouteView>("/weir/v1/routes").await.items;
        items.into_iter().map(|rule| format!("{} {}", rule.route.kind, rule.rule)).collect::<Vec<_>>()
    };
    let speaks_tcp = async || {
        let snapshot: SnapshotInputs = api.answer("GET", "/weir/v1/snapshot?service=db", "").await;
        snapshot.remarks.iter().any(|remark| remark.contains("speaks tcp"))
    };
    put("/v1/agent/service/register", r#"{"Name": "db", "Port": 1}"#).await;
    put("/v1/agent/service/register", r#"{"Name": "cart", "Port": 1}"#).await;
    put(
        "/v1/config",
        r#"{"Kind": "service-resolver", "Name": "db", "DefaultSubset": "a", "Subsets": {"a": {}}}"#,
    )
    .await;
    put(
        "/v1/config",
        r#"{"Kind": "service-router", "Name": "db", "Routes": [
        {"Match": {"HTTP": {"PathPrefix": "/x"}}, "Destination": {"Service": "cart"}}]}"#,
    )
    .await;
    assert_eq!(
        routes().await,
        ["HTTPRoute route-0", "HTTPRoute 1", "TCPRoute 0"],
        "nobody says what it speaks"
    );
    register("http").await;
    assert_eq!(
        (routes().await, speaks_tcp().await),
        (vec!["HTTPRoute route-0".into(), "HTTPRoute 1".into()], false)
    );
    register("tcp").await;
    assert_eq!((routes().await, speaks_tcp().await), (vec!["TCPRoute 0".to_owned()], true));
}
