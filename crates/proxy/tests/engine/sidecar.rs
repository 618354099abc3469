//! The two listeners of a sidecar.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_api::snapshot::EndpointInputs;
use weir_model::ServiceRef;
use weir_model::registry::Health;
use weir_proxy::listen::Role as ListenRole;
use weir_proxy::snapshot::{Registered, Role, Services};
use weir_proxy::{AccessLogConfig, Mode};

use crate::http2;
use crate::http2::upstream::H2Upstream;
use crate::support::{Client, Proxy, Upstream, documents, eventually, find, free_port};

pub(crate) fn sidecar(app: SocketAddr, callee: SocketAddr) -> Proxy {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let service = ServiceRef::new("default", "front");
    let mode = Mode::Sidecar { service: service.clone(), inbound: any, app, outbound: any };
    let documents = format!(
        "kind: Service
apiVersion: weir.dev/v1
metadata: {{name: cart}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
",
        callee.port()
    );
    Proxy::start(mode, Role::Sidecar { service }, &documents, |_| {})
}

#[test]
fn inbound_requests_reach_the_application() {
    let (app, callee) = (Upstream::echo(), Upstream::echo());
    let proxy = sidecar(app.addr, callee.addr);
    let mut client = Client::connect(proxy.fixed(ListenRole::Inbound));
    for _ in 0..2 {
        client.send(
            "GET /x HTTP/1.1\r\nHost: whatever\r\nX-Forwarded-For: 10.0.0.1\r\nX-Weir-Attempt: 2\r\n\r\n",
        );
        let seen = client.response().text().to_lowercase();
        assert!(seen.starts_with("get /x http/1.1\r\nhost: whatever\r\n"), "{seen}");
        assert!(
            seen.contains("\r\nx-forwarded-for: 10.0.0.1\r\n")
                && seen.contains("\r\nx-forwarded-for: 127.0.0.1\r\n")
        );
        assert!(seen.contains("\r\nx-weir-attempt: 2\r\n"), "inside the mesh it is kept");
    }
    client.send("CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n");
    assert_eq!(client.response().status, 405);
    assert!(callee.received().is_empty());
}

#[test]
fn http2_is_spoken_on_both_sides_of_a_sidecar() {
    let (app, callee) = (H2Upstream::echo(), H2Upstream::echo());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let service = ServiceRef::new("default", "front");
    let mode = Mode::Sidecar { service: service.clone(), inbound: any, app: app.addr, outbound: any };
    let documents = format!(
        "kind: Service
apiVersion: weir.dev/v1
metadata: {{name: cart}}
spec: {{protocol: http2, endpoints: [{{address: 127.0.0.1, port: {}}}]}}
",
        callee.addr.port()
    );
    let proxy = Proxy::start(mode, Role::Sidecar { service }, &documents, |config| {
        config.app_protocol = weir_model::resource::Protocol::Http2;
    });
    for (role, host) in [(ListenRole::Inbound, "whatever"), (ListenRole::Outbound, "cart")] {
        let got = http2::run(async {
            let requests = http2::connect(proxy.fixed(role)).await;
            let request = http::Request::get(format!("http://{host}/x")).body(()).unwrap();
            http2::exchange(&requests, request, &[], None).await.unwrap()
        });
        assert!(got.text().starts_with(&format!("GET http://{host}/x HTTP/2.0\n")), "{}", got.text());
        let old = Client::connect(proxy.fixed(role))
            .send(format!("GET /y HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .response();
        assert!(old.text().starts_with(&format!("GET http://{host}/y HTTP/2.0\n")), "{}", old.text());
    }
}

#[test]
fn the_applications_connections_outlive_a_swap() {
    let (app, callee) = (Upstream::echo(), Upstream::echo());
    let mut proxy = sidecar(app.addr, callee.addr);
    let mut client = Client::connect(proxy.fixed(ListenRole::Inbound));
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
        proxy.publish("kind: Service\napiVersion: weir.dev/v1\nmetadata: {name: other}\nspec: {}\n");
    }
    assert_eq!(app.connections(), 1);
}

#[test]
fn outbound_requests_find_services_by_name_in_any_form() {
    let (app, callee) = (Upstream::echo(), Upstream::echo());
    let proxy = sidecar(app.addr, callee.addr);
    let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
    for request in [
        "GET /a HTTP/1.1\r\nHost: cart\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: cart.default:8080\r\n\r\n",
        "GET http://cart/a HTTP/1.1\r\nHost: cart\r\n\r\n",
        "GET http://cart.default:80/a HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let response = client.send(request).response();
        assert_eq!(response.status, 200, "{request}");
        assert!(response.text().starts_with("GET /a HTTP/1.1\r\nHost: cart"), "{}", response.text());
    }
    let callees = callee.received().len();
    let plain = client.send("GET https://cart/a HTTP/1.1\r\nHost: cart\r\n\r\n").response();
    assert_eq!((plain.status, callee.received().len()), (400, callees), "not in plain text");
    let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
    // Without a control plane to ask whether there is a service of just that spelling.
    for spelled in ["CART", "Cart.Default"] {
        let response = client.send(format!("GET /a HTTP/1.1\r\nHost: {spelled}\r\n\r\n")).response();
        assert!(response.text().starts_with(&format!("GET /a HTTP/1.1\r\nHost: {spelled}")), "{response:?}");
    }
    let unknown = client.send("GET / HTTP/1.1\r\nHost: nobody\r\n\r\n").response();
    assert_eq!((unknown.status, unknown.field("x-weir-reason")), (404, Some("unknown_service")));
    assert!(find(&callee.received(), b"nobody").is_none());
}

#[test]
fn what_is_outside_the_mesh_passes_through() {
    let (app, callee, world) = (Upstream::echo(), Upstream::echo(), Upstream::echo());
    let proxy = sidecar(app.addr, callee.addr);
    let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
    for _ in 0..2 {
        let response =
            client.send(format!("GET http://{}/w?x=1 HTTP/1.1\r\nHost: z\r\n\r\n", world.addr)).response();
        assert!(response.text().starts_with(&format!("GET /w?x=1 HTTP/1.1\r\nHost: {}\r\n", world.addr)));
    }
    // A name may have addresses where nobody listens, as `localhost` has ::1.
    let response = client
        .send(format!("GET http://localhost:{}/l HTTP/1.1\r\nHost: z\r\n\r\n", world.addr.port()))
        .response();
    assert!(response.text().starts_with("GET /l "), "{response:?}");
    let nowhere = client.send("GET http://no-such-host.invalid/ HTTP/1.1\r\nHost: z\r\n\r\n").response();
    assert_eq!((nowhere.status, nowhere.field("x-weir-reason")), (502, Some("resolve_failed")));
    let said = nowhere.text();
    assert!(said.contains("is no service of the mesh") && said.contains("cannot be resolved"), "{said}");
}

#[test]
fn connect_opens_a_tunnel_to_a_host_or_a_service() {
    let (app, callee, world) = (Upstream::echo(), Upstream::echo(), Upstream::echo());
    let proxy = sidecar(app.addr, callee.addr);
    for (to, upstream) in [(world.addr.to_string(), &world), ("cart:80".to_owned(), &callee)] {
        let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
        client.send(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"));
        assert!(client.head().unwrap().starts_with("HTTP/1.1 200 "));
        // Inside, nobody looks.
        let inside = client.send("GET /in HTTP/1.1\r\nHost: t\r\nX_Raw: 1\r\n\r\n").response();
        assert!(inside.text().contains("X_Raw: 1"));
        assert!(find(&upstream.received(), b"GET /in").is_some());
        client.half_close();
        assert!(client.is_closed());
    }
    let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
    let nobody = crate::support::free_port();
    client.send(format!("CONNECT 127.0.0.1:{nobody} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(client.response().status, 502);
    assert!(client.is_closed());
}

#[test]
fn connect_gives_up_when_all_of_many_endpoints_are_gone() {
    let app = Upstream::echo();
    let nobody: Vec<_> = (0..40).map(|_| free_port()).collect();
    let mut proxy = sidecar(app.addr, app.addr);
    let endpoints: String =
        nobody.iter().map(|port| format!("{{address: 127.0.0.1, port: {port}}},")).collect();
    proxy.publish(&format!(
        "kind: Service\napiVersion: weir.dev/v1\nmetadata: {{name: cart}}\nspec: {{endpoints: [{endpoints}]}}\n"
    ));
    let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
    client.send("CONNECT cart:80 HTTP/1.1\r\nHost: cart\r\n\r\n");
    let refused = client.response();
    assert_eq!((refused.status, refused.field("x-weir-reason")), (502, Some("connect_failed")));
}

/// Documents of a gateway whose only service has registered itself.
fn gateway() -> String {
    documents(&[], "").replace("spec:\n  endpoints:", "spec: {}")
}

/// What is registered: instances behind sidecars at these addresses.
pub(crate) fn behind_sidecars(addrs: &[SocketAddr]) -> Services {
    let endpoints = addrs.iter().map(|addr| EndpointInputs {
        id: addr.to_string(),
        address: addr.ip().to_string(),
        port: addr.port(),
        weight: 1,
        health: Health::Passing,
        draining: false,
        inbound: true,
        metadata: Default::default(),
        grpc_check: false,
        active_checks: None,
    });
    let endpoints = endpoints.map(|endpoint| (endpoint.id.clone(), endpoint)).collect();
    let registered = Registered { known: true, endpoints, ..Registered::default() };
    Services::from([(ServiceRef::new("default", "app"), Arc::new(registered))])
}

#[test]
fn when_an_application_is_gone_its_sidecar_says_so_and_the_caller_goes_elsewhere() {
    let (app, callee) = (Upstream::echo(), Upstream::echo());
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (well, orphan) = (sidecar(app.addr, callee.addr), sidecar(nobody, callee.addr));
    let addrs = [orphan.fixed(ListenRole::Inbound), well.fixed(ListenRole::Inbound)];

    let mut direct = Client::connect(addrs[0]);
    let said = direct.get("/");
    assert_eq!((said.status, said.field("x-weir-unanswered")), (502, Some("unsent")));

    let documents = gateway();
    let mut proxy = Proxy::gateway(&documents);
    proxy.publish_with(&documents, behind_sidecars(&addrs));
    let mut client = proxy.client();
    for _ in 0..20 {
        client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().status, 200, "not sent is not sent, whatever the method");
    }

    proxy.publish_with(&documents, behind_sidecars(&addrs[..1]));
    let refused = client.get("/");
    assert_eq!((refused.status, refused.field("x-weir-reason")), (502, Some("connect_failed")));
    assert_eq!(refused.field("x-weir-unanswered"), None, "that is between proxies");
}

#[test]
fn nobody_but_a_sidecar_can_say_that_a_request_was_not_answered() {
    let upstream = Upstream::start(|conn| {
        loop {
            conn.request()?;
            conn.write(
                "HTTP/1.1 502 Bad Gateway\r\nX-Weir-Unanswered: unsent\r\nContent-Length: 2\r\n\r\nno",
            )?;
        }
    });
    let proxy = Proxy::to(&[upstream.addr]);
    assert_eq!(proxy.client().get("/").text(), "no");
    assert_eq!(proxy.metrics().retries(), 0);
}

#[test]
fn an_application_cannot_say_it_in_its_sidecars_name() {
    let app = Upstream::start(|conn| {
        loop {
            conn.request()?;
            conn.write(
                "HTTP/1.1 502 Bad Gateway\r\nX-Weir-Unanswered: unsent\r\nX-Other: y\r\nContent-Length: 2\r\n\r\nno",
            )?;
        }
    });
    let callee = Upstream::echo();
    let sidecar = sidecar(app.addr, callee.addr);
    let inbound = sidecar.fixed(ListenRole::Inbound);
    let said = Client::connect(inbound).get("/");
    assert_eq!((said.status, said.field("x-weir-unanswered"), said.field("x-other")), (502, None, Some("y")));

    let documents = gateway();
    let mut proxy = Proxy::gateway(&documents);
    proxy.publish_with(&documents, behind_sidecars(&[inbound]));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().text(), "no");
    assert_eq!(proxy.metrics().retries(), 0, "it was carried out once");
}

#[test]
fn an_absolute_target_is_logged_by_its_path() {
    let (app, callee) = (Upstream::echo(), Upstream::echo());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let service = ServiceRef::new("default", "front");
    let mode = Mode::Sidecar { service: service.clone(), inbound: any, app: app.addr, outbound: any };
    let proxy = Proxy::start(mode, Role::Sidecar { service }, "", |config| {
        config.access_log = Some(AccessLogConfig { path: Some(path.clone()), ..Default::default() });
    });
    let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
    for target in ["/a/b?c=d", "?x=y", ""] {
        let request = format!("GET http://{}{target} HTTP/1.1\r\nHost: x\r\n\r\n", callee.addr);
        assert_eq!(client.send(request).response().status, 200);
    }
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("all are logged", || lines().lines().count() == 3);
    let paths: Vec<serde_json::Value> = lines()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].clone())
        .collect();
    assert_eq!(paths, ["/a/b?c=d", "/?x=y", "/"]);
}
