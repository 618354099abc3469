//! Peers that do what is allowed at the worst moment.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir_model::Position;
use weir_model::document;
use weir_proxy::listen::Role as ListenRole;
use weir_proxy::snapshot::{Compiler, Inputs, Role};
use weir_proxy::{Engine, Mode, ProxyConfig, Reason, SourceConfig};

use crate::support::{Client, Proxy, Upstream, documents_on, eventually, find, free_port};

/// The next request comes while a response still streams, so the socket is readable when the response ends.
#[test]
fn a_request_sent_during_a_response_arrives_whole() {
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let upstream = Upstream::start(move |conn| {
        conn.request()?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")?;
        let _ = may_go_on.lock().unwrap().recv();
        conn.write("half")?;
        let second = conn.request()?;
        conn.ok(second.head.as_bytes())
    });
    let proxy = Proxy::to(&[upstream.addr]);
    let mut client = proxy.client();
    client.send("GET /first HTTP/1.1\r\nHost: app\r\n\r\n");
    client.head().unwrap();
    client.exactly(4).unwrap();
    client.send("GET /second HTTP/1.1\r\nHost: app\r\n\r\n");
    go_on.send(()).unwrap();
    client.exactly(4).unwrap();
    let second = client.response().text();
    assert!(second.starts_with("GET /second HTTP/1.1\r\n"), "{second}");
}

/// What the kernel had accepted when draining began is served, however much of it there is.
#[test]
fn connections_that_were_queued_when_draining_began_are_served() {
    const QUEUED: usize = 300;
    let upstream = Upstream::echo();
    let mut config = ProxyConfig::new(Mode::Gateway, SourceConfig::Static { files: vec![] });
    config.workers = 1;
    let shared = weir_proxy::source::Shared::new();
    let engine = Engine::start(&config, shared.clone()).unwrap();
    let port = free_port();
    let parsed = document::parse("test", &documents_on(port, &[upstream.addr], "")).unwrap();
    let resources = parsed.documents.into_iter().map(|document| document.resource);
    let inputs = Inputs::of_resources(Position::new(0, 1), resources);
    let snapshot = Compiler::new(Role::Gateway { gateways: vec![] }).compile(&inputs, None).unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    engine.listeners().bind(&[addr]).unwrap();
    // Bound, and not accepted from yet.
    let mut clients: Vec<_> = (0..QUEUED).map(|_| Client::connect(addr)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    }
    shared.snapshot.store(Arc::new(snapshot));
    engine.listeners().commit(&[addr]);
    assert!(engine.drain());
    let served = clients.iter_mut().filter_map(|client| client.try_response(false).ok());
    assert_eq!(served.filter(|response| response.status == 200).count(), QUEUED);
}

/// The client has taken half of an interim head when the time for its body is over: an answer in the middle of that head
/// would be read as part of it.
#[test]
fn no_answer_is_written_into_an_unfinished_interim_head() {
    // More than the sockets between can hold.
    const INTERIM: u16 = 200;
    let field = "x".repeat(60_000);
    let upstream = Upstream::start(move |conn| {
        conn.head()?;
        conn.record("interim begins");
        for _ in 0..INTERIM {
            conn.write(format!("HTTP/1.1 103 Early Hints\r\nLink: {field}\r\n\r\n"))?;
        }
        Ok(())
    });
    let documents = documents_on(free_port(), &[upstream.addr], "");
    let proxy = Proxy::gateway_with(&documents, |config| {
        config.limits.response.interim_responses_max = INTERIM;
        config.timeouts.stream_idle = Duration::from_millis(300);
    });
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&proxy.addr().into()).unwrap();
    let mut client = Client::from_stream(socket.into());
    // Its body never comes, so an answer is due once nothing moves any more.
    client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\n");
    eventually("the interim responses begin", || find(&upstream.received(), b"interim begins").is_some());
    // Before it ends, so that an answer that waits behind the interim heads would come along.
    eventually("the proxy gives up", || {
        let metrics = proxy.metrics();
        metrics.active_connections() == 0 || metrics.refusals(Reason::SlowBody) > 0
    });
    let got = client.until_any_end();
    assert!(find(&got, b"HTTP/1.1 103").is_some());
    let size = got.len();
    assert!(
        find(&got, b"x-weir-reason").is_none(),
        "an answer where no answer can stand, after {size} bytes"
    );
}

/// A service whose endpoint is the proxy itself must not make it call itself until it has no descriptor left.
#[test]
fn a_gateway_that_leads_to_itself_answers_at_once() {
    let port = free_port();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let proxy = Proxy::gateway(&documents_on(port, &[addr], ""));
    let response = proxy.client().get("/");
    assert_eq!((response.status, response.field("x-weir-reason")), (508, Some("loop")), "{response:?}");
    eventually("no connection is left but the client's", || proxy.metrics().active_connections() <= 1);
}

#[test]
fn so_does_a_sidecar() {
    let any = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let outbound = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let service = weir_model::ServiceRef::new("default", "front");
    let documents = format!(
        "kind: Service\napiVersion: weir.dev/v1\nmetadata: {{name: me}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}\n",
        outbound.port()
    );
    let mode = Mode::Sidecar { service: service.clone(), inbound: any, app: any, outbound };
    let proxy = Proxy::start(mode, Role::Sidecar { service }, &documents, |_| {});
    let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
    let response = client.send("GET / HTTP/1.1\r\nHost: me\r\n\r\n").response();
    assert_eq!((response.status, response.field("x-weir-reason")), (508, Some("loop")), "{response:?}");
}

/// What is sent into a tunnel before there is one must not be read as requests when there will be none.
#[test]
fn a_refused_tunnel_ends_the_connection() {
    let app = Upstream::echo();
    let any = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let outbound = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let service = weir_model::ServiceRef::new("default", "front");
    let documents = format!(
        "kind: Service\napiVersion: weir.dev/v1\nmetadata: {{name: me}}\nspec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}\n",
        app.addr.port()
    );
    let mode = Mode::Sidecar { service: service.clone(), inbound: any, app: any, outbound };
    let proxy = Proxy::start(mode, Role::Sidecar { service }, &documents, |_| {});
    let nobody = free_port();
    for target in [format!("127.0.0.1:{nobody}"), format!("127.0.0.1:{}", outbound.port())] {
        let mut client = Client::connect(proxy.fixed(ListenRole::Outbound));
        client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        client.send("GET /smuggled HTTP/1.1\r\nHost: me\r\n\r\n");
        let response = client.response();
        assert!(response.status >= 500, "{response:?}");
        assert_eq!(response.field("connection"), Some("close"), "{response:?}");
        assert!(client.is_closed(), "{target}");
    }
    assert_eq!(String::from_utf8_lossy(&app.received()), "");
}
