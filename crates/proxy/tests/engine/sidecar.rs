//! The two listeners of a sidecar.

use std::net::SocketAddr;

use weir_model::ServiceRef;
use weir_proxy::Mode;
use weir_proxy::listen::Role as ListenRole;
use weir_proxy::snapshot::Role;

use crate::support::{Client, Proxy, Upstream, find};

fn sidecar(app: SocketAddr, callee: SocketAddr) -> Proxy {
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
    let nowhere = client.send("GET http://no-such-host.invalid/ HTTP/1.1\r\nHost: z\r\n\r\n").response();
    assert_eq!((nowhere.status, nowhere.field("x-weir-reason")), (502, Some("resolve_failed")));
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
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: cart\r\n\r\n").response().status, 200);
}
