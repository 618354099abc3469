//! The mesh server over a real connection, asked by a bare client.

mod client;

use std::time::Duration;

use serde_json::json;
use weir_api::mesh::{Health, ResourceRef, Role, ServiceEndpoints, Update};
use weir_api::report::{Report, ServiceReport, Totals, Wanted};
use weir_control::records::{Record, TableRef, When};
use weir_model::Kind;
use weir_model::registry::{Address, Check, CheckDefinition, CheckKind, Health as CheckHealth, Instance};
use weir_model::units::Span;

use super::Timeouts;
use client::{Client, Server, hello, sidecar};

const GATEWAY: &str = "kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: cart}]}]}
";

fn names(update: &Update) -> Vec<String> {
    update.upserts.iter().filter_map(|resource| resource.r#ref.as_ref()).map(name).collect()
}

fn name(r#ref: &ResourceRef) -> String {
    format!("{}/{}", r#ref.kind, r#ref.name)
}

fn endpoints<'a>(update: &'a Update, service: &str) -> Option<&'a ServiceEndpoints> {
    update.endpoints.iter().find(|endpoints| endpoints.service.as_ref().is_some_and(|s| s.name == service))
}

fn ids(endpoints: &ServiceEndpoints) -> Vec<&str> {
    endpoints.upserts.iter().map(|endpoint| endpoint.id.as_str()).collect()
}

#[tokio::test]
async fn a_gateway_gets_all_it_needs_at_once_and_then_what_changes() {
    let server = Server::start().await;
    server.apply(GATEWAY).await;
    server.register("cart", "cart-1", 9001).await;
    let mut proxy = Client::join(&server, hello("g", Role::Gateway, &["edge"])).await;
    let first = proxy.update().await;
    assert!(first.reset);
    assert_eq!(names(&first), ["Gateway/edge", "HTTPRoute/shop"]);
    let cart = endpoints(&first, "cart").unwrap();
    assert!(cart.whole && cart.known);
    assert_eq!(ids(cart), ["n1/cart-1"]);
    assert!(!server.is_in_sync("g"), "nothing was acknowledged yet");
    proxy.ack(&first).await;
    server.wait_in_sync("g").await;

    // An endpoint that comes is told alone.
    server.register("cart", "cart-2", 9002).await;
    let second = proxy.update().await;
    assert!(!second.reset && second.upserts.is_empty() && second.removals.is_empty());
    let cart = endpoints(&second, "cart").unwrap();
    assert!(!cart.whole);
    assert_eq!(ids(cart), ["n1/cart-2"]);
    assert!(second.position.unwrap().revision > first.position.unwrap().revision);
    proxy.ack(&second).await;

    // One that goes is told by its id.
    server.deregister("cart-1").await;
    let third = proxy.update().await;
    assert_eq!(endpoints(&third, "cart").unwrap().removals, ["n1/cart-1"]);
    proxy.ack(&third).await;

    // A route and the endpoints behind its new backend come in one update.
    server.register("tea", "tea-1", 9003).await;
    server.apply(&GATEWAY.replace("name: cart", "name: tea")).await;
    let fourth = proxy.update().await;
    assert_eq!(names(&fourth), ["HTTPRoute/shop"]);
    assert_eq!(ids(endpoints(&fourth, "tea").unwrap()), ["n1/tea-1"]);
    proxy.ack(&fourth).await;

    // What is deleted is removed.
    server.delete(Kind::HttpRoute, "shop").await;
    let fifth = proxy.update().await;
    assert_eq!(fifth.removals.iter().map(name).collect::<Vec<_>>(), ["HTTPRoute/shop"]);
    proxy.ack(&fifth).await;
    server.wait_in_sync("g").await;

    // What concerns it no longer is not told, and leaves it in sync.
    server.register("tea", "tea-2", 9004).await;
    server.apply("kind: Service\nmetadata: {name: other}\nspec: {}\n").await;
    server.wait_in_sync("g").await;
    proxy.expect_silence().await;
}

#[tokio::test]
async fn a_sidecar_gets_the_limits_of_its_own_service() {
    let server = Server::start().await;
    let limit = |name: &str, of: &str| {
        format!(
            "---\nkind: RateLimit\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{{name: {of}}}], rates: [{{requests: 5}}]}}\n"
        )
    };
    server.apply(&(limit("mine", "me") + &limit("theirs", "them"))).await;
    let mut proxy = Client::join(&server, sidecar("s", &[])).await;
    let first = proxy.update().await;
    assert_eq!(names(&first), ["RateLimit/mine"]);
    assert!(first.endpoints.is_empty(), "its own instances are nothing to it");
    proxy.ack(&first).await;
    server.apply(&limit("later", "me")).await;
    assert_eq!(names(&proxy.update().await), ["RateLimit/later"]);
}

#[tokio::test]
async fn a_callers_endpoint_is_the_sidecar_with_its_health() {
    let server = Server::start().await;
    let instance = Instance {
        inbound: Some(Address { host: "10.0.0.9".into(), port: 15001 }),
        ..server.instance("cart", "cart-1", 9001)
    };
    let check = Check {
        id: "c".into(),
        instance: Some("cart-1".into()),
        health: CheckHealth::Warning,
        ..Check::default()
    };
    server.control.register_instance(instance, vec![check], true).await.unwrap();
    server
        .apply("kind: Service\nmetadata: {name: cart}\nspec: {endpoints: [{address: 10.1.1.1, port: 80}]}\n")
        .await;
    let mut proxy = Client::join(&server, sidecar("s", &["cart"])).await;
    let update = proxy.update().await;
    let cart = endpoints(&update, "cart").unwrap();
    // The static endpoint reaches the proxy with the document, not here.
    assert_eq!(names(&update), ["Service/cart"]);
    let [endpoint] = cart.upserts.as_slice() else { panic!("{cart:?}") };
    assert_eq!((endpoint.address.as_str(), endpoint.port, endpoint.inbound), ("10.0.0.9", 15001, true));
    assert_eq!(endpoint.health(), Health::Warning);
    assert!(!endpoint.grpc_check);
    // What its checks say of its protocol comes with it.
    let check = Check {
        definition: Some(CheckDefinition {
            kind: CheckKind::Grpc { address: "127.0.0.1:9001".into(), service: String::new() },
            interval: Span(Duration::from_secs(60)),
            timeout: Span(Duration::from_secs(1)),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: None,
        }),
        id: "g".into(),
        instance: Some("cart-1".into()),
        ..Check::default()
    };
    server
        .control
        .register_instance(server.instance("cart", "cart-1", 9001), vec![check], false)
        .await
        .unwrap();
    let update = proxy.update().await;
    let [endpoint] = &endpoints(&update, "cart").unwrap().upserts[..] else { panic!("{update:?}") };
    assert!(endpoint.grpc_check);
    let checks = endpoint.active_checks.as_ref().unwrap();
    assert_eq!((checks.others(), checks.definitions.len()), (Health::Warning, 1));
    let told = weir_api::snapshot::EndpointInputs::try_from(endpoint.clone()).unwrap().active_checks.unwrap();
    assert!(matches!(told.definitions[0].kind, CheckKind::Grpc { .. }), "{told:?}");
}

#[tokio::test]
async fn subscriptions_are_answered_at_once_known_or_not() {
    let server = Server::start().await;
    server.register("cart", "cart-1", 9001).await;
    let mut proxy = Client::join(&server, sidecar("s", &[])).await;
    let first = proxy.update().await;
    assert!(first.reset && first.endpoints.is_empty());
    // Not acknowledged: the answer does not wait for that.
    proxy.subscribe(&["nobody", "cart"], &[]).await;
    let answer = proxy.update().await;
    let nobody = endpoints(&answer, "nobody").unwrap();
    assert!(nobody.whole && !nobody.known && nobody.upserts.is_empty());
    assert!(endpoints(&answer, "cart").unwrap().known);
    proxy.ack(&answer).await;

    // Asked again, it is answered again, whole.
    proxy.subscribe(&["cart"], &[]).await;
    let again = proxy.update().await;
    assert!(endpoints(&again, "cart").unwrap().whole);
    proxy.ack(&again).await;

    // It comes to be known when its first instance does.
    server.register("nobody", "n-1", 9002).await;
    let known = proxy.update().await;
    assert!(endpoints(&known, "nobody").unwrap().known);
    proxy.ack(&known).await;

    // What is dropped is not told any more.
    proxy.subscribe(&[], &["cart"]).await;
    server.wait_in_sync("s").await;
    server.register("cart", "cart-2", 9003).await;
    proxy.expect_silence().await;
}

#[tokio::test]
async fn what_a_service_speaks_is_told_with_its_endpoints_or_without() {
    let server = Server::start().await;
    let put = async |kind: &str, name: &str, content: serde_json::Value| {
        let table = TableRef::new("default", format!("config-{kind}"));
        let record = Record { name: name.to_owned(), content, ..Record::default() };
        server.control.put_fitting_record(&table, &record, When::Always, None).await.unwrap();
    };
    let mut proxy = Client::join(&server, sidecar("s", &["db"])).await;
    let first = proxy.update().await;
    assert_eq!(endpoints(&first, "db").unwrap().protocol, "");
    proxy.ack(&first).await;
    // Of one that nobody has registered yet, too.
    put("proxy-defaults", "global", json!({"Config": {"protocol": "tcp"}})).await;
    let told = proxy.update().await;
    let db = endpoints(&told, "db").unwrap();
    assert_eq!((db.whole, db.known, &*db.protocol, db.upserts.len()), (false, false, "tcp", 0));
    proxy.ack(&told).await;
    put("service-defaults", "db", json!({"Protocol": "grpc"})).await;
    let told = proxy.update().await;
    assert_eq!(endpoints(&told, "db").unwrap().protocol, "grpc");
    proxy.ack(&told).await;
    // Proxies that do not know of this hear it from the endpoints.
    server.register("db", "db-1", 9004).await;
    let told = proxy.update().await;
    let db = endpoints(&told, "db").unwrap();
    assert_eq!(db.upserts[0].metadata.get("protocol").map(String::as_str), Some("grpc"));
    proxy.ack(&told).await;
    // A document with endpoints of its own leaves it to entries, until it says so itself.
    let document = |said: &str| {
        format!(
            "kind: Service\nmetadata: {{name: db}}\nspec: {{{said}endpoints: [{{address: 127.0.0.1, port: 1}}]}}\n"
        )
    };
    server.apply(&document("")).await;
    let told = proxy.update().await;
    assert_eq!(names(&told), ["Service/db"]);
    assert!(endpoints(&told, "db").is_none_or(|db| db.protocol == "grpc"));
    proxy.ack(&told).await;
    server.apply(&document("protocol: http2, ")).await;
    assert_eq!(endpoints(&proxy.update().await, "db").unwrap().protocol, "http2");
}

#[tokio::test]
async fn a_break_is_resumed_where_that_can_be_told() {
    let server = Server::start().await;
    server.apply(GATEWAY).await;
    server.register("cart", "cart-1", 9001).await;
    let mut proxy = Client::join(&server, hello("g", Role::Gateway, &["edge"])).await;
    let first = proxy.update().await;
    proxy.ack(&first).await;
    drop(proxy);
    let resume = || {
        let mut hello = hello("g", Role::Gateway, &["edge"]);
        hello.resume = first.position;
        hello
    };

    // Nothing has changed: nothing is sent but where the server stands.
    let mut proxy = Client::join(&server, resume()).await;
    let update = proxy.update().await;
    assert!(!update.reset && update.upserts.is_empty() && update.endpoints.is_empty(), "{update:?}");
    drop(proxy);

    // Endpoints have changed: those of that service are sent whole.
    server.register("cart", "cart-2", 9002).await;
    let mut proxy = Client::join(&server, resume()).await;
    let update = proxy.update().await;
    assert!(!update.reset && update.upserts.is_empty());
    let cart = endpoints(&update, "cart").unwrap();
    assert!(cart.whole);
    assert_eq!(ids(cart), ["n1/cart-1", "n1/cart-2"]);
    drop(proxy);

    // Declared resources have changed: what was removed cannot be told, so everything is sent.
    server.delete(Kind::HttpRoute, "shop").await;
    let mut proxy = Client::join(&server, resume()).await;
    let update = proxy.update().await;
    assert!(update.reset);
    assert_eq!(names(&update), ["Gateway/edge"]);
}

#[tokio::test]
async fn what_cannot_be_resumed_from_is_reset() {
    let server = Server::start().await;
    server.apply(GATEWAY).await;
    let now = server.control.position();
    let check = async |epoch, revision| {
        let mut hello = hello("g", Role::Gateway, &["edge"]);
        hello.resume = Some(weir_api::mesh::Position { epoch, revision });
        let mut proxy = Client::join(&server, hello).await;
        proxy.update().await.reset
    };
    assert!(!check(now.epoch, now.revision).await);
    assert!(check(now.epoch + 1, now.revision).await, "another epoch");
    assert!(check(now.epoch - 1, now.revision).await, "another epoch");
    assert!(check(now.epoch, now.revision + 1).await, "a revision that is not there yet");
    assert!(check(now.epoch, 1).await, "a revision before this server's start");
}

#[tokio::test]
async fn a_rejection_is_recorded_until_an_acknowledgement_without_it() {
    let server = Server::start().await;
    server.apply(GATEWAY).await;
    let mut proxy = Client::join(&server, hello("g", Role::Gateway, &["edge"])).await;
    let first = proxy.update().await;
    proxy.reject(&first, "Gateway", "edge", "spec.listeners[0].port", "address in use").await;
    server.wait_in_sync("g").await;
    let status = server.mesh.proxies().remove(0);
    let [rejection] = status.proxy.rejections.as_slice() else { panic!("{status:?}") };
    assert_eq!(
        (rejection.resource.as_str(), rejection.path.as_str(), rejection.reason.as_str()),
        ("Gateway/edge", "spec.listeners[0].port", "address in use")
    );
    assert_eq!(status.gateways, ["edge"]);
    proxy.ack(&first).await;
    server.wait("the rejection to be gone", || server.mesh.proxies()[0].proxy.rejections.is_empty()).await;
    drop(proxy);
    server.wait("the proxy to be gone", || server.mesh.proxies().is_empty()).await;
}

#[tokio::test]
async fn a_slow_proxy_gets_the_newest_state_and_no_queue() {
    let server = Server::start().await;
    server.register("cart", "cart-0", 9000).await;
    let mut proxy = Client::join(&server, sidecar("slow", &["cart"])).await;
    for number in 1..=100 {
        server.register("cart", &format!("cart-{number}"), 9000 + number).await;
    }
    // Nothing was acknowledged, so no more than the bound was sent.
    let mut updates = vec![proxy.update().await];
    while updates.len() < super::OUTSTANDING_MAX {
        updates.push(proxy.update().await);
    }
    proxy.expect_silence().await;
    assert!(!server.is_in_sync("slow"));
    // Acknowledged, the rest comes in one.
    let last = updates.last().unwrap().clone();
    proxy.ack(&last).await;
    updates.push(proxy.update().await);
    proxy.ack(updates.last().unwrap()).await;
    server.wait_in_sync("slow").await;
    proxy.expect_silence().await;
    let mut seen: Vec<&str> =
        updates.iter().filter_map(|update| endpoints(update, "cart")).flat_map(|cart| ids(cart)).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 101);
    assert_eq!(updates.last().unwrap().position.unwrap().revision, server.control.position().revision);
}

#[tokio::test]
async fn a_newer_stream_takes_the_place_of_the_older() {
    let server = Server::start().await;
    let mut older = Client::join(&server, sidecar("s", &[])).await;
    older.update().await;
    let mut newer = Client::join(&server, sidecar("s", &[])).await;
    let first = newer.update().await;
    let status = older.end().await;
    assert_eq!(status.code(), tonic::Code::Aborted, "{status:?}");
    newer.ack(&first).await;
    server.wait_in_sync("s").await;
    assert_eq!(server.mesh.proxies().len(), 1, "the older one's end must not take the newer one out");
}

#[tokio::test]
async fn an_update_that_is_never_acknowledged_ends_the_stream() {
    let server = Server::start_with(Timeouts { ack: Duration::from_millis(50), ..Timeouts::default() }).await;
    let mut proxy = Client::join(&server, sidecar("s", &[])).await;
    proxy.update().await;
    assert_eq!(proxy.end().await.code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_connection_without_a_stream_is_closed() {
    use tokio::io::AsyncReadExt;
    let server = Server::start_with(Timeouts { idle: Duration::from_secs(2), ..Timeouts::default() }).await;
    // One that never speaks, and one that is used and must stay.
    let mut silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut proxy = Client::join(&server, sidecar("s", &["cart"])).await;
    let first = proxy.update().await;
    proxy.ack(&first).await;
    // What the server says first is read; then the end must come.
    let closed = tokio::time::timeout(Duration::from_secs(60), silent.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "still open");
    server.register("cart", "cart-1", 9001).await;
    assert!(endpoints(&proxy.update().await, "cart").unwrap().known);
}

#[tokio::test]
async fn a_long_rejection_is_cut() {
    let server = Server::start().await;
    let mut proxy = Client::join(&server, sidecar("s", &[])).await;
    let first = proxy.update().await;
    proxy.reject(&first, "Gateway", "edge", "spec", &"x".repeat(100_000)).await;
    server.wait_in_sync("s").await;
    assert!(server.mesh.proxies()[0].proxy.rejections[0].reason.len() <= 1024);
}

#[tokio::test]
async fn bad_hellos_are_refused_with_the_field() {
    let server = Server::start().await;
    let check = async |change: fn(&mut weir_api::mesh::Hello), code, part: &str| {
        let mut hello = sidecar("s", &[]);
        change(&mut hello);
        let status = Client::refused(&server, hello).await;
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(part), "{status:?}");
    };
    check(|hello| hello.protocol = 9, tonic::Code::FailedPrecondition, "hello.protocol").await;
    check(|hello| hello.proxy_id.clear(), tonic::Code::InvalidArgument, "hello.proxy_id").await;
    check(|hello| hello.role = 0, tonic::Code::InvalidArgument, "hello.role").await;
    let many = |hello: &mut weir_api::mesh::Hello| {
        hello.upstreams = (0..=super::SUBSCRIPTIONS_MAX)
            .map(|n| weir_api::mesh::ServiceRef { namespace: String::new(), name: format!("s{n}") })
            .collect();
    };
    check(many, tonic::Code::ResourceExhausted, "subscriptions").await;
    assert!(server.mesh.proxies().is_empty());
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let mut server = Server::start().await;
    let mut proxy = Client::join(&server, sidecar("s", &[])).await;
    proxy.update().await;
    server.stop();
    assert_eq!(proxy.end().await.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn what_a_proxy_reports_is_there_as_long_as_it_is() {
    let server = Server::start().await;
    let mut proxy = Client::join(&server, hello("g", Role::Gateway, &["edge"])).await;
    let first = proxy.update().await;
    proxy.ack(&first).await;
    let figures = || server.mesh.figures(&Wanted::default());
    assert_eq!((figures().proxies, figures().reporting), (1, 0));
    let pace = proxy.pace().await;
    assert_eq!((pace.every_ms, pace.for_ms), (1000, 15_000), "somebody has looked");
    let totals = Totals { classes: [0, 7, 0, 0, 0], own: 0 };
    let service = ServiceReport { service: "cart".into(), totals, ..ServiceReport::default() };
    let report = Report { at_ms: 5, services: vec![service], ..Report::default() };
    // What cannot be read is no reason to part; but nothing that follows at once is read.
    proxy.report(b"{".to_vec()).await;
    for _ in 0..200 {
        if figures().reporting == 1 {
            break;
        }
        proxy.report(report.to_json()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.wait("a report", || figures().reporting == 1).await;
    assert_eq!(figures().services[0].requests, 7);
    let [own] = &*server.mesh.reports(false) else { panic!("not one") };
    assert_eq!((&*own.proxy, &*own.role, &own.report), ("g", "gateway", &report));
    assert_eq!(own.gateways, ["edge"]);
    assert!(server.mesh.reports_bytes() > 0);

    // Who comes while somebody looks is told.
    let mut late = Client::join(&server, hello("late", Role::Gateway, &["edge"])).await;
    assert_eq!(late.pace().await.every_ms, 1000);
    drop(proxy);
    server.wait("the figures to go", || figures().services.is_empty()).await;
    assert_eq!((figures().proxies, server.mesh.reports_bytes()), (1, 0));
}

#[tokio::test]
async fn shares_of_a_limit_are_leased_when_what_others_may_have_leased_is_over() {
    let server = Server::start().await;
    let limit = |name: &str, scope: &str| {
        let rates = "rates: [{requests: 10}]";
        format!(
            "kind: RateLimit\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{{name: cart}}], {scope} {rates}}}\n---\n"
        )
    };
    server.apply(&(limit("all", "scope: global,") + &limit("each", ""))).await;
    let mut one = Client::join(&server, hello("one", Role::Gateway, &["edge"])).await;
    let mut two = Client::join(&server, hello("two", Role::Gateway, &["edge"])).await;
    let first = one.lease(1, "all", "Service/cart", 0).await;
    assert_eq!((first.number, first.parts, first.holders), (0, 0, 1), "the server has just been started");
    assert_eq!(two.lease(7, "all", "Service/cart", 0).await.holders, 2);
    // How long that takes is the server's affair; it is asked until it leases.
    let mut number = 7;
    let (lease, other) = loop {
        number += 1;
        let lease = one.lease(number, "all", "Service/cart", 0).await;
        let other = two.lease(number, "all", "Service/cart", 0).await;
        if lease.number > 0 && other.number > 0 {
            break (lease, other);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(
        lease.parts > 0 && other.parts > 0 && lease.parts + other.parts <= 1_000_000,
        "{lease:?} {other:?}"
    );
    assert!(lease.ttl_ms > 0 && lease.holders == 2, "{lease:?}");

    let none = mesh_lease_of(&one.lease(number + 1, "each", "Service/cart", 0).await);
    assert_eq!(none, (0, 0, 0), "that limit is not shared");
    assert_eq!(mesh_lease_of(&one.lease(number + 2, "nobody's", "Service/cart", 0).await), (0, 0, 0));
}

fn mesh_lease_of(lease: &weir_api::mesh::Lease) -> (u64, u32, u32) {
    (lease.number, lease.parts, lease.holders)
}
