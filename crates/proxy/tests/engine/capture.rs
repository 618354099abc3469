//! Local ports that stand for a service: the application connects there and does not know of the mesh.

use std::io;
use std::net::SocketAddr;

use std::sync::Arc;
use std::time::Duration;

use weir_api::snapshot::EndpointInputs;
use weir_model::ServiceRef;
use weir_model::registry::Health;
use weir_proxy::listen::{Capture, Role as ListenRole};
use weir_proxy::snapshot::{Registered, Role, Services};
use weir_proxy::{AccessLogConfig, Interception, Mode, ProxyConfig};

use crate::support::*;

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn service(name: &str) -> ServiceRef {
    ServiceRef::new("default", name)
}

fn document(name: &str, protocol: &str, endpoints: &[SocketAddr], policy: &str) -> String {
    let endpoints: Vec<_> =
        endpoints.iter().map(|at| format!("{{address: {}, port: {}}}", at.ip(), at.port())).collect();
    format!(
        "kind: Service\napiVersion: weir.dev/v1\nmetadata: {{name: {name}}}\nspec:\n  protocol: {protocol}\n  \
         endpoints: [{}]\n---\nkind: TrafficPolicy\nmetadata: {{name: {name}}}\nspec:\n  targetRefs: [{{name: \
         {name}}}]\n  {policy}\n---\n",
        endpoints.join(", ")
    )
}

/// A sidecar with a local port for each of these services.
fn sidecar(names: &[&str], documents: &str, configure: impl FnOnce(&mut ProxyConfig)) -> Proxy {
    let own = service("front");
    let mode = Mode::Sidecar { service: own.clone(), inbound: any(), app: any(), outbound: any() };
    Proxy::start(mode, Role::Sidecar { service: own }, documents, |config| {
        config.interception = Interception {
            upstreams: names.iter().map(|name| (service(name), any())).collect(),
            ..Interception::default()
        };
        configure(config);
    })
}

fn port_of(proxy: &Proxy, name: &str) -> SocketAddr {
    proxy.engine().captured(ListenRole::Outbound, &Capture::Service(service(name))).unwrap()
}

/// Sends everything back, and after the client's end a last word.
fn echo_bytes() -> Upstream {
    Upstream::start(|conn| {
        loop {
            let had = conn.fill()?;
            if had == 0 {
                return conn.write("bye");
            }
            let bytes = conn.exactly(had)?;
            conn.write(bytes)?;
        }
    })
}

/// An instance that has registered itself, with its metadata `protocol` if it has any.
fn registered(name: &str, at: SocketAddr, protocol: Option<&str>, grpc_check: bool) -> Services {
    let instance = EndpointInputs {
        id: "host/a".to_owned(),
        address: at.ip().to_string(),
        port: at.port(),
        weight: 1,
        health: Health::Passing,
        draining: false,
        inbound: false,
        metadata: protocol.map(|protocol| ("protocol".to_owned(), protocol.to_owned())).into_iter().collect(),
        grpc_check,
        active_checks: None,
    };
    let endpoints = [(instance.id.clone(), instance)].into();
    Services::from([(
        service(name),
        Arc::new(Registered { known: true, endpoints, ..Registered::default() }),
    )])
}

/// Says something and then sends everything back.
fn greets() -> Upstream {
    Upstream::start(|conn| {
        conn.write("220 ready\r\n")?;
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

fn refuses() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

#[test]
fn requests_go_to_the_ports_service_whatever_their_host() {
    let cart = Upstream::echo();
    let proxy = sidecar(&["cart"], &document("cart", "http", &[cart.addr], ""), |_| {});
    let mut client = Client::connect(port_of(&proxy, "cart"));
    for host in ["127.0.0.1:9191", "elsewhere.example", "front"] {
        let response = client.send(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n")).response();
        assert!(response.text().starts_with(&format!("GET /x HTTP/1.1\r\nHost: {host}\r\n")), "{response:?}");
    }
    assert_eq!(cart.connections(), 1, "pooled as any other");
}

#[test]
fn routes_of_the_service_apply() {
    let (one, two) = (Upstream::echo(), Upstream::echo());
    let route = "kind: HTTPRoute\nmetadata: {name: cart}\nspec:\n  parentRefs: [{kind: Service, name: cart}]\n  rules: \
                 [{backendRefs: [{name: other}]}]\n";
    let documents =
        document("cart", "http", &[one.addr], "") + &document("other", "http", &[two.addr], "") + route;
    let proxy = sidecar(&["cart"], &documents, |_| {});
    assert_eq!(Client::connect(port_of(&proxy, "cart")).get("/").status, 200);
    assert_eq!((one.connections(), two.connections()), (0, 1));
}

#[test]
fn where_no_protocol_is_declared_the_first_bytes_decide() {
    let (web, bytes, mail) = (Upstream::echo(), echo_bytes(), greets());
    let bare =
        |name: &str, at: SocketAddr| document(name, "http", &[at], "").replace("protocol: http\n", "\n");
    let documents = bare("web", web.addr) + &bare("db", bytes.addr);
    let mut proxy = sidecar(&["web", "db", "mail"], &documents, |_| {});
    proxy.publish_with(&documents, registered("mail", mail.addr, None, false));
    let mut client = Client::connect(port_of(&proxy, "web"));
    for _ in 0..2 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!((web.connections(), client.get("/").field("x-weir-reason")), (1, None));
    // Its client speaks first, and all that was looked at arrives.
    for begin in ["\0\x01 not http\r\n\r\n", "GET key\r\n", "*1\r\n$4\r\nPING\r\n"] {
        let mut client = Client::connect(port_of(&proxy, "db"));
        client.send(begin);
        assert_eq!(client.exactly(begin.len()).unwrap(), begin.as_bytes());
    }
    // Its server speaks first: nothing comes from the client until the time for looking is over.
    let mut client = Client::connect(port_of(&proxy, "mail"));
    assert_eq!(client.exactly(11).unwrap(), b"220 ready\r\n");
    client.send("QUIT\r\n");
    assert_eq!(client.exactly(6).unwrap(), b"QUIT\r\n");
}

#[test]
fn what_is_declared_is_not_looked_at() {
    let patient = |config: &mut ProxyConfig| config.timeouts.sniff = Duration::from_secs(3600);
    let mail = greets();
    let mut proxy = sidecar(&["mail"], "", patient);
    // By the metadata of the instance, and by the document, which counts more.
    proxy.publish_with("", registered("mail", mail.addr, Some("tcp"), true));
    assert_eq!(Client::connect(port_of(&proxy, "mail")).exactly(11).unwrap(), b"220 ready\r\n");
    let declared = |protocol: &str| {
        format!("kind: Service\nmetadata: {{name: mail}}\nspec: {{protocol: {protocol}}}\n---\n")
    };
    proxy.publish_with(&declared("tcp"), registered("mail", mail.addr, Some("http"), false));
    assert_eq!(Client::connect(port_of(&proxy, "mail")).exactly(11).unwrap(), b"220 ready\r\n");
    let bad =
        |proxy: &Proxy| Client::connect(port_of(proxy, "mail")).send("GET key\r\n\r\n").response().status;
    proxy.publish_with(&declared("http"), registered("mail", mail.addr, Some("tcp"), false));
    assert_eq!(bad(&proxy), 400);
    for (protocol, grpc_check) in [(Some("http"), false), (None, true)] {
        proxy.publish_with("", registered("mail", mail.addr, protocol, grpc_check));
        assert_eq!(bad(&proxy), 400, "{protocol:?} {grpc_check}");
    }
}

#[test]
fn an_undeclared_service_that_is_called_by_name_speaks_http() {
    let web = Upstream::echo();
    let mut proxy = sidecar(&[], "", |_| {});
    proxy.publish_with("", registered("web", web.addr, None, false));
    let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
    let response = client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n").response();
    assert!(response.text().starts_with("GET / HTTP/1.1\r\n"), "{response:?}");
    proxy.publish_with("", registered("web", web.addr, Some("tcp"), false));
    let response = client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n").response();
    assert_eq!((response.status, response.field("x-weir-reason")), (502, Some("protocol_not_served")));
}

/// Its TLS is its own, whatever the policy says of calls that are made in the clear.
#[test]
fn the_tls_of_a_client_is_passed_through() {
    let upstream = echo_bytes();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let documents = document("db", "http", &[upstream.addr], "tls: {insecureSkipVerify: true}")
        .replace("protocol: http\n", "\n");
    let proxy = sidecar(&["db"], &documents, |config| {
        config.access_log = Some(AccessLogConfig { path: Some(path.clone()), ..AccessLogConfig::default() });
    });
    let hello = crate::tcp::hello(Some("db.example"));
    let mut client = Client::connect(port_of(&proxy, "db"));
    client.send(&hello);
    assert_eq!(client.exactly(hello.len()).unwrap(), hello);
    client.half_close();
    assert_eq!(client.until_end().unwrap(), b"bye");
    eventually("it is logged", || std::fs::read_to_string(&path).is_ok_and(|log| log.ends_with('\n')));
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        (&line["protocol"], &line["sni"], &line["upstream"]),
        (&"tls".into(), &"db.example".into(), &"db".into())
    );
}

#[test]
fn a_service_that_is_not_there_is_told_in_http() {
    let proxy = sidecar(&["nobody"], "", |_| {});
    let response = Client::connect(port_of(&proxy, "nobody")).get("/");
    assert_eq!((response.status, response.field("x-weir-reason")), (404, Some("unknown_service")));
}

#[test]
fn bytes_pass_in_both_directions_and_ends_are_passed_on() {
    let upstream = echo_bytes();
    let proxy = sidecar(&["db"], &document("db", "tcp", &[upstream.addr], ""), |_| {});
    let mut client = Client::connect(port_of(&proxy, "db"));
    for length in [1, 1000, 100_000, 3_000_000] {
        let bytes: Vec<u8> = (0..length).map(|i| (i % 253) as u8).collect();
        let mut writer = client.stream.try_clone().unwrap();
        let sent = bytes.clone();
        let writing = std::thread::spawn(move || io::Write::write_all(&mut writer, &sent).unwrap());
        assert!(client.exactly(length).unwrap() == bytes, "{length} bytes");
        writing.join().unwrap();
    }
    client.half_close();
    assert_eq!(client.until_end().unwrap(), b"bye");
    eventually("the connection is counted out", || proxy.metrics().active_connections() == 0);
}

#[test]
fn the_server_may_speak_first_and_end_first() {
    let upstream = Upstream::start(|conn| {
        conn.write("220 ready\r\n")?;
        conn.stream.shutdown(std::net::Shutdown::Write)?;
        let line = conn.line()?;
        conn.record(&format!("<{}>", line.len()));
        Ok(())
    });
    let proxy = sidecar(&["mail"], &document("mail", "tcp", &[upstream.addr], ""), |_| {});
    let mut client = Client::connect(port_of(&proxy, "mail"));
    assert_eq!(client.until_end().unwrap(), b"220 ready\r\n");
    client.send("QUIT\r\n");
    eventually("what is said after the other side's end arrives", || {
        String::from_utf8_lossy(&upstream.received()).contains("QUIT\r\n<6>")
    });
}

#[test]
fn a_reset_is_passed_on_as_one() {
    let upstream = Upstream::start(|conn| {
        conn.exactly(5)?;
        conn.write("half of an ans")?;
        conn.exactly(5)?;
        conn.reset();
        Ok(())
    });
    let proxy = sidecar(&["db"], &document("db", "tcp", &[upstream.addr], ""), |_| {});
    let mut client = Client::connect(port_of(&proxy, "db"));
    client.send("query");
    assert_eq!(client.exactly(14).unwrap(), b"half of an ans");
    client.send("again");
    let ended = client.until_end().unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset, "not a clean end");
}

#[test]
fn a_clients_reset_reaches_the_upstream() {
    let upstream = Upstream::start(|conn| {
        conn.exactly(5)?;
        conn.write("go on")?;
        let ended = conn.exactly(1).unwrap_err();
        conn.record(&format!("{:?}", ended.kind()));
        Ok(())
    });
    let proxy = sidecar(&["db"], &document("db", "tcp", &[upstream.addr], ""), |_| {});
    let mut client = Client::connect(port_of(&proxy, "db"));
    client.send("begin");
    client.exactly(5).unwrap();
    socket2::SockRef::from(&client.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    eventually("the upstream has seen a reset", || {
        String::from_utf8_lossy(&upstream.received()).ends_with("ConnectionReset")
    });
}

#[test]
fn a_dead_endpoint_costs_nobody_a_connection() {
    let alive = echo_bytes();
    let documents = document("db", "tcp", &[refuses(), alive.addr], "balance: {policy: round_robin}");
    let proxy = sidecar(&["db"], &documents, |_| {});
    for _ in 0..6 {
        let mut client = Client::connect(port_of(&proxy, "db"));
        client.send("ping");
        assert_eq!(client.exactly(4).unwrap(), b"ping");
    }
    assert!(proxy.metrics().retries() >= 1);
}

#[test]
fn without_an_endpoint_that_answers_the_connection_is_reset_and_counted() {
    let documents = document("db", "tcp", &[refuses(), refuses()], "");
    let proxy = sidecar(&["db"], &documents, |_| {});
    let mut client = Client::connect(port_of(&proxy, "db"));
    let ended = client.until_end().unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    eventually("it is counted", || proxy.metrics().refusals(weir_proxy::Reason::ConnectFailed) == 1);
    let mut proxy = proxy;
    proxy.publish(&document("db", "tcp", &[], ""));
    let mut client = Client::connect(port_of(&proxy, "db"));
    assert_eq!(client.until_end().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    eventually("so is this", || proxy.metrics().refusals(weir_proxy::Reason::NoEndpoint) == 1);
}

#[test]
fn open_connections_are_what_the_balancer_sees() {
    let (one, two) = (echo_bytes(), echo_bytes());
    let documents = document("db", "tcp", &[one.addr, two.addr], "balance: {policy: least_request}");
    let mut proxy = sidecar(&["db"], &documents, |_| {});
    let mut clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = Client::connect(port_of(&proxy, "db"));
            client.send("x");
            client.exactly(1).unwrap();
            client
        })
        .collect();
    assert_eq!((one.connections(), two.connections()), (5, 5));
    // A change of the documents does not touch them.
    proxy.publish(&document("db", "tcp", &[two.addr], ""));
    for client in &mut clients {
        client.send("still");
        assert_eq!(client.exactly(5).unwrap(), b"still");
    }
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    const IDLE: Duration = Duration::from_secs(2);
    let upstream = echo_bytes();
    let documents = document("db", "tcp", &[upstream.addr], "");
    let proxy = sidecar(&["db"], &documents, |config| {
        config.timeouts.tunnel_idle = IDLE;
    });
    let (mut busy, mut idle) =
        (Client::connect(port_of(&proxy, "db")), Client::connect(port_of(&proxy, "db")));
    let started = std::time::Instant::now();
    idle.send("x");
    idle.exactly(1).unwrap();
    let waiting = std::thread::spawn(move || {
        assert!(idle.is_closed());
        started.elapsed()
    });
    while !waiting.is_finished() {
        busy.send("tick");
        assert_eq!(busy.exactly(4).unwrap(), b"tick");
    }
    assert!(waiting.join().unwrap() >= IDLE);
    busy.send("tick");
    assert_eq!(busy.exactly(4).unwrap(), b"tick");
}

#[test]
fn draining_lets_connections_finish_until_the_deadline() {
    let upstream = echo_bytes();
    let documents = document("db", "tcp", &[upstream.addr], "");
    for (finishes, patience_ms) in [(true, 20_000), (false, 300)] {
        let proxy = sidecar(&["db"], &documents, |config| {
            config.drain_timeout = std::time::Duration::from_millis(patience_ms);
        });
        let mut client = Client::connect(port_of(&proxy, "db"));
        client.send("x");
        client.exactly(1).unwrap();
        let addr = port_of(&proxy, "db");
        let draining = std::thread::spawn(move || proxy.drain());
        eventually("nothing is accepted any more", || std::net::TcpStream::connect(addr).is_err());
        if finishes {
            client.send("the rest");
            assert_eq!(client.exactly(8).unwrap(), b"the rest");
            drop(client);
            assert!(draining.join().unwrap(), "in time");
        } else {
            assert!(!draining.join().unwrap(), "the deadline has passed");
            assert!(client.until_any_end().is_empty());
        }
    }
}

#[test]
fn a_connection_leaves_a_line_in_the_log() {
    let upstream = echo_bytes();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = AccessLogConfig { path: Some(path.clone()), ..AccessLogConfig::default() };
    let proxy = sidecar(&["db"], &document("db", "tcp", &[upstream.addr], ""), |config| {
        config.access_log = Some(log);
    });
    let mut client = Client::connect(port_of(&proxy, "db"));
    client.send("hello");
    client.exactly(5).unwrap();
    client.half_close();
    assert_eq!(client.until_end().unwrap(), b"bye");
    let line = || std::fs::read_to_string(&path).unwrap();
    eventually("the line is there", || line().ends_with('\n'));
    let line: serde_json::Value = serde_json::from_str(&line()).unwrap();
    assert_eq!(line["upstream"], "db");
    assert_eq!(line["endpoint"], upstream.addr.to_string());
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&5.into(), &8.into()), "{line}");
}

#[test]
fn beyond_the_limit_a_captured_connection_is_reset() {
    let upstream = echo_bytes();
    let proxy = sidecar(&["db"], &document("db", "tcp", &[upstream.addr], ""), |config| {
        config.limits.connections_max = 1;
    });
    let mut client = Client::connect(port_of(&proxy, "db"));
    client.send("x");
    assert_eq!(client.exactly(1).unwrap(), b"x");
    let ended = Client::connect(port_of(&proxy, "db")).until_end().unwrap_err();
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    // The application asks for requests here.
    let response = Client::connect(proxy.fixed(ListenRole::Outbound)).response();
    assert_eq!((response.status, response.field("x-weir-reason")), (503, Some("overloaded")));
}

#[test]
fn an_application_that_does_not_speak_http_gets_its_connections() {
    let app = echo_bytes();
    let own = service("db");
    let mode = Mode::Sidecar { service: own.clone(), inbound: any(), app: app.addr, outbound: any() };
    let proxy = Proxy::start(mode, Role::Sidecar { service: own }, "", |config| {
        config.app_protocol = weir_model::resource::Protocol::Tcp;
    });
    let mut client = Client::connect(proxy.fixed(ListenRole::Inbound));
    client.send("\0\x01 not http\r\n\r\n");
    assert_eq!(client.exactly(15).unwrap(), b"\0\x01 not http\r\n\r\n");
    client.half_close();
    assert_eq!(client.until_end().unwrap(), b"bye");
}
