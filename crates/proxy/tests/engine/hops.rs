//! Requests that pass several proxies: round in circles, and with all the fields that one may have.

use std::net::SocketAddr;

use weir_model::ServiceRef;
use weir_proxy::Mode;
use weir_proxy::listen::Role as ListenRole;
use weir_proxy::snapshot::Role;

use crate::support::{Client, Proxy, Upstream, documents, documents_on, free_port};

fn on(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn a_loop_over_several_proxies_ends() {
    let (one, two) = (free_port(), free_port());
    let first = Proxy::gateway(&documents_on(one, &[on(two)], ""));
    let second = Proxy::gateway(&documents_on(two, &[on(one)], ""));
    let response = first.client().get("/");
    assert_eq!(
        (response.status, response.field("x-weir-reason")),
        (508, Some("loop")),
        "{}",
        response.text()
    );
    let passed = first.metrics().requests() + second.metrics().requests();
    assert_eq!(passed, 33);
}

#[test]
fn the_number_of_hops_is_what_the_upstream_sees_and_no_client_can_break_it() {
    let upstream = Upstream::echo();
    let proxy = Proxy::gateway(&documents(&[upstream.addr], ""));
    let mut client = proxy.client();
    let mut hops = |fields: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}\r\n");
        let seen = client.send(request).response().text().to_lowercase();
        let lines: Vec<_> = seen.lines().filter_map(|line| line.strip_prefix("x-weir-hops: ")).collect();
        assert_eq!(lines.len(), 1, "{seen}");
        lines[0].to_owned()
    };
    assert_eq!(hops(""), "01");
    assert_eq!(hops("X-Weir-Hops: 1\r\n"), "02");
    assert_eq!(hops("X-Weir-Hops: 08\r\n"), "09");
    assert_eq!(hops("X-Weir-Hops: 31\r\n"), "32");
    assert_eq!(hops("X-Weir-Hops: 3\r\nx-weir-hops: 5\r\n"), "06");
    assert_eq!(hops("X-Weir-Hops: -1\r\n"), "01");
    assert_eq!(hops("X-Weir-Hops: 99999\r\n"), "01");
    assert_eq!(hops("X-Weir-Hops: 2, 3\r\n"), "01");
    let refused = |value: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: app\r\nX-Weir-Hops: {value}\r\n\r\n");
        Client::connect(proxy.addr()).send(request).response().status
    };
    assert_eq!((refused("32"), refused("255")), (508, 508));
}

#[test]
fn what_a_gateway_lets_pass_is_not_too_much_for_a_sidecar() {
    let app = Upstream::echo();
    let mode = Mode::Sidecar {
        service: ServiceRef::new("default", "app"),
        inbound: on(0),
        app: app.addr,
        outbound: on(0),
    };
    let role = Role::Sidecar { service: ServiceRef::new("default", "app") };
    let sidecar = Proxy::start(mode, role, "", |_| {});
    let gateway = Proxy::gateway(&documents(&[sidecar.fixed(ListenRole::Inbound)], ""));
    // With Host, as many as a gateway takes.
    let fields: String = (1..100).map(|number| format!("X-Field-{number}: {number}\r\n")).collect();
    let mut client = gateway.client();
    let response = client.send(format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}\r\n")).response();
    assert_eq!(response.status, 200, "{}", response.text());
    let request = format!("GET / HTTP/1.1\r\nHost: app\r\n{fields}X-One-More: 1\r\n\r\n");
    assert_eq!(gateway.client().send(request).response().status, 431);
}
