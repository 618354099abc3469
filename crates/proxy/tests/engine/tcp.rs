//! TCP and TLS routes of a gateway, and the PROXY protocol on both sides.

use std::io;
use std::net::{SocketAddr, TcpStream};

use crate::support::*;

fn service(name: &str, protocol: &str, endpoints: &[SocketAddr], policy: &str) -> String {
    let endpoints: Vec<_> =
        endpoints.iter().map(|at| format!("{{address: {}, port: {}}}", at.ip(), at.port())).collect();
    let policy = if policy.is_empty() {
        String::new()
    } else {
        format!(
            "---\nkind: TrafficPolicy\nmetadata: {{name: {name}}}\nspec:\n  targetRefs: [{{name: {name}}}]\n  {policy}\n"
        )
    };
    format!(
        "---\nkind: Service\napiVersion: weir.dev/v1\nmetadata: {{name: {name}}}\nspec:\n  protocol: {protocol}\n  \
         endpoints: [{}]\n{policy}",
        endpoints.join(", ")
    )
}

fn gateway(listeners: &str) -> String {
    format!(
        "kind: Gateway\nmetadata: {{name: edge}}\nspec:\n  addresses: [{{value: 127.0.0.1}}]\n  listeners: {listeners}\n"
    )
}

fn tcp_gateway() -> String {
    gateway(&format!("[{{name: db, port: {}, protocol: TCP}}]", free_port()))
}

const TO_DB: &str = "---\nkind: TCPRoute\nmetadata: {name: db}\nspec:\n  parentRefs: [{name: edge}]\n  rules: [{backendRefs: [{name: db}]}]\n";

fn accept_proxy(from: &str) -> String {
    format!(
        "---\nkind: ListenerPolicy\nmetadata: {{name: edge}}\nspec:\n  targetRefs: [{{kind: Gateway, name: edge}}]\n  \
         proxyProtocol: {{{from}}}\n"
    )
}

/// Says its number first, then sends everything back.
fn numbered(number: u8) -> Upstream {
    Upstream::start(move |conn| {
        conn.write([number])?;
        loop {
            let had = conn.fill()?;
            if had == 0 {
                return Ok(());
            }
            let bytes = conn.exactly(had)?;
            conn.write(bytes)?;
        }
    })
}

fn is_reset(client: &mut Client) -> bool {
    matches!(client.until_end(), Err(fault) if fault.kind() == io::ErrorKind::ConnectionReset)
}

#[test]
fn a_route_shares_connections_out_by_weight() {
    let (one, two) = (numbered(1), numbered(2));
    let route = TO_DB.replace(
        "[{backendRefs: [{name: db}]}]",
        "[{backendRefs: [{name: one, weight: 3}, {name: two, weight: 1}, {name: none, weight: 0}]}]",
    );
    let documents = tcp_gateway()
        + &route
        + &service("one", "tcp", &[one.addr], "")
        + &service("two", "tcp", &[two.addr], "");
    let proxy = Proxy::gateway(&documents);
    let mut counts = [0; 3];
    for _ in 0..200 {
        let mut client = proxy.client();
        counts[usize::from(client.exactly(1).unwrap()[0])] += 1;
        client.send("x");
        assert_eq!(client.exactly(1).unwrap(), b"x");
    }
    // 150 are expected; seven standard deviations are 43.
    assert!((107..=193).contains(&counts[1]), "{counts:?}");
    assert_eq!(counts[1] + counts[2], 200);
}

#[test]
fn without_a_route_or_a_service_connections_are_reset_and_counted() {
    let mut proxy = Proxy::gateway(&tcp_gateway());
    assert!(is_reset(&mut proxy.client()));
    eventually("it is counted", || proxy.metrics().refusals(weir_proxy::Reason::NoRoute) == 1);
    let addr = proxy.addr();
    let documents = gateway(&format!("[{{name: db, port: {}, protocol: TCP}}]", addr.port())) + TO_DB;
    proxy.publish(&documents);
    assert!(is_reset(&mut proxy.client()));
    eventually("so is this", || proxy.metrics().refusals(weir_proxy::Reason::NoBackend) == 1);
}

/// Words would be taken for what the server says.
#[test]
fn beyond_the_limit_a_connection_of_bytes_is_reset() {
    let upstream = numbered(7);
    let of_tls =
        gateway(&format!("[{{name: db, port: {}, protocol: TLS, tls: {{mode: Passthrough}}}}]", free_port()));
    let tls_route =
        TO_DB.replace("TCPRoute", "TLSRoute").replace("spec:\n", "spec:\n  hostnames: [db.example]\n");
    for (documents, first) in
        [(tcp_gateway() + TO_DB, Vec::new()), (of_tls + &tls_route, hello(Some("db.example")))]
    {
        let documents = documents + &service("db", "tcp", &[upstream.addr], "");
        let proxy = Proxy::gateway_with(&documents, |config| config.limits.connections_max = 1);
        let mut client = proxy.client();
        client.send(&first);
        assert_eq!(client.exactly(1).unwrap(), [7]);
        assert!(is_reset(&mut proxy.client()));
        assert_eq!(proxy.metrics().refusals(weir_proxy::Reason::Overloaded), 1);
        drop(client);
        eventually("there is room again", || proxy.metrics().active_connections() == 0);
        let mut client = proxy.client();
        client.send(&first);
        assert_eq!(client.exactly(1).unwrap(), [7]);
    }
}

#[test]
fn routes_change_for_new_connections_and_not_for_old_ones() {
    let (one, two) = (numbered(1), numbered(2));
    let head = tcp_gateway() + TO_DB;
    let mut proxy = Proxy::gateway(&(head.clone() + &service("db", "tcp", &[one.addr], "")));
    let mut old = proxy.client();
    assert_eq!(old.exactly(1).unwrap(), [1]);
    proxy.publish(&(head + &service("db", "tcp", &[two.addr], "")));
    assert_eq!(proxy.client().exactly(1).unwrap(), [2]);
    old.send("still here");
    assert_eq!(old.exactly(10).unwrap(), b"still here");
}

/// A ClientHello for a name, or for none, as little as there can be in them.
pub(crate) fn hello(name: Option<&str>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    if let Some(name) = name {
        let n = name.len() as u8;
        body.extend([0, n + 9, 0, 0, 0, n + 5, 0, n + 3, 0, 0, n]);
        body.extend(name.bytes());
    }
    let n = body.len() as u8;
    [&[22, 3, 1, 0, n + 4, 1, 0, 0, n][..], &body].concat()
}

#[test]
fn tls_passes_through_to_where_its_server_name_says() {
    let (exact, wild) = (numbered(1), numbered(2));
    let listener = |name: &str, host: &str, port: u16| {
        format!("{{name: {name}, port: {port}, protocol: TLS, {host}tls: {{mode: Passthrough}}}}")
    };
    let port = free_port();
    let route = |name: &str, host: &str| {
        format!(
            "---\nkind: TLSRoute\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{{name: edge}}]\n  hostnames: \
             [\"{host}\"]\n  rules: [{{backendRefs: [{{name: {name}}}]}}]\n"
        )
    };
    let documents = gateway(&format!("[{}]", listener("all", "hostname: \"*.example\", ", port)))
        + &route("exact", "a.example")
        + &route("wild", "*.example")
        + &service("exact", "tcp", &[exact.addr], "")
        + &service("wild", "tcp", &[wild.addr], "");
    let proxy = Proxy::gateway(&documents);
    for (name, upstream, number) in
        [("a.example", &exact, 1), ("B.Example", &wild, 2), ("c.d.example", &wild, 2)]
    {
        let mut client = proxy.client();
        let sent = [&hello(Some(name))[..], b"and more that is no business of the proxy's"].concat();
        // In pieces, the first within the record's header.
        for part in [&sent[..3], &sent[3..50], &sent[50..]] {
            client.send(part);
        }
        assert_eq!(client.exactly(1).unwrap(), [number], "{name}");
        assert!(client.exactly(sent.len()).unwrap() == sent, "every byte as it was");
        assert!(find(&upstream.received(), &sent).is_some());
    }
    for refused in
        [hello(Some("other")), hello(Some("example")), hello(None), b"GET / HTTP/1.1\r\n\r\n".to_vec()]
    {
        let mut client = proxy.client();
        client.send(&refused);
        let end = client.until_any_end();
        assert!(!end.contains(&1) || end.first() == Some(&21), "an alert at most: {end:?}");
    }
    assert_eq!((exact.connections(), wild.connections()), (1, 2));
}

#[test]
fn the_address_in_a_proxy_header_is_the_clients() {
    let upstream = Upstream::echo();
    let documents = documents(&[upstream.addr], "") + &accept_proxy("");
    let proxy = Proxy::gateway(&documents);
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"[..],
        &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
        &[0; 15],
        &[1, 0x9c, 0x40, 0, 80],
    ]
    .concat();
    for (header, expected) in [
        (&b"PROXY TCP4 203.0.113.9 198.51.100.1 40000 80\r\n"[..], "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 ::1 40000 80\r\n", "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (&v2, "2001:db8::7"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1"),
    ] {
        let mut client = proxy.client();
        client.send([header, b"GET /first HTTP/1.1\r\nHost: app\r\n\r\n"].concat());
        let seen = client.response().text().to_lowercase();
        assert!(seen.contains(&format!("\r\nx-forwarded-for: {expected}\r\n")), "{seen}");
        assert!(client.get("/second").text().to_lowercase().contains(expected), "for all of the connection");
        // Byte by byte.
        let mut client = proxy.client();
        for byte in header {
            client.send([*byte]);
        }
        assert!(client.get("/").text().to_lowercase().contains(expected));
    }
}

#[test]
fn without_the_header_that_must_be_there_nothing_is_served() {
    let upstream = Upstream::echo();
    let documents = documents(&[upstream.addr], "") + &accept_proxy("");
    let proxy = Proxy::gateway_with(&documents, |config| {
        config.timeouts.handshake = std::time::Duration::from_millis(200);
    });
    for bad in [
        "GET / HTTP/1.1\r\nHost: app\r\n\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\nGET / HTTP/1.1\r\nHost: app\r\n\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        "PROXY TCP4 1.2.3.4 5.6",
    ] {
        let mut client = proxy.client();
        client.send(bad);
        assert!(client.until_any_end().is_empty(), "{bad:?}");
    }
    assert_eq!(upstream.connections(), 0);
    eventually("they are counted", || proxy.metrics().refusals(weir_proxy::Reason::BadProxyHeader) == 4);
    // A check that only connects is no fault.
    drop(TcpStream::connect(proxy.addr()).unwrap());
    eventually("all are counted out", || proxy.metrics().active_connections() == 0);
    assert_eq!(proxy.metrics().refusals(weir_proxy::Reason::BadProxyHeader), 4);
}

#[test]
fn other_networks_are_not_believed() {
    let upstream = Upstream::echo();
    let documents = documents(&[upstream.addr], "") + &accept_proxy("from: [10.0.0.0/8, \"fd00::/8\"]");
    let proxy = Proxy::gateway(&documents);
    assert!(proxy.client().get("/").text().to_lowercase().contains("x-forwarded-for: 127.0.0.1"));
    let mut liar = proxy.client();
    liar.send("PROXY TCP4 203.0.113.9 198.51.100.1 40000 80\r\nGET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert_eq!(liar.response().status, 400);
    assert_eq!(upstream.connections(), 1);
}

/// Reads the header of each connection and records it between brackets.
fn reads_headers(then: impl Fn(&mut Served) -> io::Result<()> + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |conn| {
        let line = conn.line()?;
        conn.record(&format!("[{}]", String::from_utf8_lossy(&line).trim_end()));
        then(conn)
    })
}

fn headers_seen(upstream: &Upstream) -> Vec<String> {
    let all = String::from_utf8_lossy(&upstream.received()).into_owned();
    all.split('[').skip(1).map(|rest| rest[..rest.find(']').unwrap()].to_owned()).collect()
}

#[test]
fn an_upstream_is_told_who_the_client_is() {
    let upstream = reads_headers(|conn| {
        let bytes = conn.exactly(5)?;
        conn.write(bytes)
    });
    let documents = tcp_gateway() + TO_DB + &service("db", "tcp", &[upstream.addr], "proxyProtocol: v1");
    let proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    client.send("hello");
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    let (from, to) = (client.stream.local_addr().unwrap(), proxy.addr());
    let expected = format!("PROXY TCP4 {} {} {} {}", from.ip(), to.ip(), from.port(), to.port());
    assert_eq!(headers_seen(&upstream), [expected]);
}

#[test]
fn what_one_proxy_says_is_passed_on_to_the_next() {
    let upstream = Upstream::start(|conn| {
        conn.exactly(28)?;
        conn.write("ok")
    });
    let documents = tcp_gateway()
        + TO_DB
        + &accept_proxy("")
        + &service("db", "tcp", &[upstream.addr], "proxyProtocol: v2");
    let proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    client.send("PROXY TCP4 192.0.2.7 198.51.100.1 40000 5432\r\n");
    assert_eq!(client.exactly(2).unwrap(), b"ok");
    assert_eq!(
        upstream.received(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\x15\x38"
    );
}

#[test]
fn requests_of_two_clients_do_not_share_a_connection_that_names_one() {
    let upstream = reads_headers(|conn| {
        loop {
            let request = conn.request()?;
            conn.ok(request.head.as_bytes())?;
        }
    });
    let proxy = Proxy::gateway(&documents(&[upstream.addr], "proxyProtocol: v1"));
    let (mut one, mut two) = (proxy.client(), proxy.client());
    assert_eq!(one.get("/").status, 200);
    assert_eq!(two.get("/").status, 200);
    assert_eq!(one.get("/").status, 200);
    let seen = headers_seen(&upstream);
    assert_eq!(seen.len(), upstream.connections());
    let ports = |client: &Client| client.stream.local_addr().unwrap().port().to_string();
    let of =
        |client: &Client| seen.iter().filter(|line| line.contains(&format!(" {} ", ports(client)))).count();
    assert_eq!((of(&one), of(&two)), (2, 1), "{seen:?}");
}
