//! TLS to upstreams.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use super::{Authority, ONLY_TLS13, secure_documents};
use crate::support::{PATIENCE, Proxy, Upstream, documents, eventually, find};

/// An HTTP server over TLS that answers with what it was asked; what it saw of handshakes.
struct SecureUpstream {
    addr: SocketAddr,
    handshakes: Arc<Mutex<Vec<Seen>>>,
    requests: Arc<AtomicUsize>,
}

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    name: Option<String>,
    resumed: bool,
    alpn: Option<String>,
    has_certificate: bool,
}

type ServerStream = StreamOwned<ServerConnection, TcpStream>;

impl SecureUpstream {
    fn start(authority: &Authority, name: &str) -> Self {
        Self::start_with(authority, name, rustls::ALL_VERSIONS, false, |stream, body| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(body).map(|()| true)
        })
    }

    fn start_with(
        authority: &Authority,
        name: &str,
        versions: &'static [&'static SupportedProtocolVersion],
        asks: bool,
        answer: impl Fn(&mut ServerStream, &[u8]) -> io::Result<bool> + Send + Sync + 'static,
    ) -> Self {
        let config = server_config(authority, name, versions, asks);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (handshakes, requests): (Arc<Mutex<Vec<_>>>, Arc<AtomicUsize>) = Default::default();
        let upstream = Self { addr, handshakes: handshakes.clone(), requests: requests.clone() };
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (config, answer) = (config.clone(), answer.clone());
                let (handshakes, requests) = (handshakes.clone(), requests.clone());
                std::thread::spawn(move || {
                    let socket = socket.unwrap();
                    socket.set_read_timeout(Some(PATIENCE * 6)).unwrap();
                    let session = ServerConnection::new(config).unwrap();
                    let mut stream = StreamOwned::new(session, socket);
                    while stream.conn.is_handshaking() {
                        if stream.conn.complete_io(&mut stream.sock).is_err() {
                            return;
                        }
                    }
                    handshakes.lock().unwrap().push(Seen {
                        name: stream.conn.server_name().map(str::to_owned),
                        resumed: stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
                        alpn: stream
                            .conn
                            .alpn_protocol()
                            .map(|one| String::from_utf8_lossy(one).into_owned()),
                        has_certificate: stream.conn.peer_certificates().is_some(),
                    });
                    let _ = serve(&mut stream, &requests, &*answer);
                });
            }
        });
        upstream
    }

    fn seen(&self) -> Vec<Seen> {
        self.handshakes.lock().unwrap().clone()
    }
}

fn server_config(
    authority: &Authority,
    name: &str,
    versions: &'static [&'static SupportedProtocolVersion],
    asks: bool,
) -> Arc<ServerConfig> {
    authority.write("upstream", &[name]);
    let chain = CertificateDer::pem_file_iter(authority.path("upstream.pem")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.path("upstream.key")).unwrap();
    let provider = Arc::new(default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
    let builder = if asks {
        let roots = authority.trusting().roots;
        builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap(),
        )
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Answers requests with a body by their length, until `answer` says that it was the last.
fn serve(
    stream: &mut ServerStream,
    requests: &AtomicUsize,
    answer: &dyn Fn(&mut ServerStream, &[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    let mut buf = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = find(&buf, b"\r\n\r\n") {
                break at + 4;
            }
            read_more(stream, &mut buf)?;
        };
        let head = String::from_utf8_lossy(&buf[..end]).to_ascii_lowercase();
        let length = head
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        while buf.len() < end + length {
            read_more(stream, &mut buf)?;
        }
        let request: Vec<u8> = buf.drain(..end + length).collect();
        requests.fetch_add(1, Ordering::SeqCst);
        if !answer(stream, if length > 0 { &request[end..] } else { &request })? {
            return Ok(());
        }
    }
}

fn read_more(stream: &mut ServerStream, buf: &mut Vec<u8>) -> io::Result<()> {
    let mut part = [0; 65536];
    let n = stream.read(&mut part)?;
    buf.extend_from_slice(&part[..n]);
    if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Documents that call the upstreams over TLS; `more` is the rest of the policy's `tls`.
fn policy(authority: &Authority, upstreams: &[SocketAddr], more: &str) -> String {
    let tls = format!("tls: {{caRefs: [{{name: ca}}]{more}}}");
    documents(upstreams, &tls) + &ca(authority)
}

fn ca(authority: &Authority) -> String {
    format!(
        "---\nkind: Certificate\nmetadata: {{name: ca}}\nspec: {{caFile: \"{}\"}}\n",
        authority.path("ca.pem")
    )
}

#[test]
fn requests_go_over_tls_on_a_kept_connection() {
    let authority = Authority::new();
    let upstream = SecureUpstream::start(&authority, "shop.example");
    let proxy = Proxy::gateway(&policy(&authority, &[upstream.addr], ", serverName: shop.example"));
    let mut client = proxy.client();
    for i in 0..5 {
        let response = client.get(&format!("/{i}"));
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.text().starts_with(&format!("GET /{i} ")));
    }
    assert_eq!(
        upstream.seen(),
        [Seen {
            name: Some("shop.example".to_owned()),
            resumed: false,
            alpn: Some("http/1.1".to_owned()),
            has_certificate: false,
        }]
    );
    // The tickets that came after the handshake did not count as chatter on an idle connection.
    eventually("one pooled connection", || proxy.metrics().pooled_connections() == 1);
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let authority = Authority::new();
    let upstream = SecureUpstream::start(&authority, "app");
    let proxy = Proxy::gateway(&policy(&authority, &[upstream.addr], ""));
    let mut client = proxy.client();
    for len in [1, 16_384, 70_000, 5_000_000] {
        let body: Vec<u8> = (0..len).map(|at| (at * 7 + at / 253) as u8).collect();
        client.send(format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {len}\r\n\r\n"));
        client.send(&body);
        let response = client.response();
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.body == body, "{len}");
    }
}

#[test]
fn without_a_name_the_service_s_own_is_asked_for() {
    let authority = Authority::new();
    let upstream = SecureUpstream::start(&authority, "app");
    let proxy = Proxy::gateway(&policy(&authority, &[upstream.addr], ""));
    assert_eq!(proxy.client().get("/").status, 200);
    assert_eq!(upstream.seen()[0].name.as_deref(), Some("app"));
}

#[test]
fn a_certificate_that_is_not_to_be_trusted_gets_no_request() {
    let authority = Authority::new();
    let elsewhere = Authority::new();
    for (upstream, why) in [
        (SecureUpstream::start(&elsewhere, "app"), "another authority"),
        (SecureUpstream::start(&authority, "other"), "another name"),
    ] {
        let proxy = Proxy::gateway(&policy(&authority, &[upstream.addr], ""));
        let response = proxy.client().get("/");
        assert_eq!(response.status, 502, "{why}");
        assert_eq!(response.field("x-weir-reason"), Some("upstream_tls"), "{why}");
        assert_eq!(upstream.requests.load(Ordering::SeqCst), 0, "{why}");
        let row = "weir_proxy_tls_handshake_failures_total{side=\"upstream\",reason=\"server_certificate\"}";
        assert!(proxy.text().contains(row), "{why}: {}", proxy.text());
        drop(proxy);
        // Unless that is what was asked for.
        let documents = documents(&[upstream.addr], "tls: {insecureSkipVerify: true}");
        assert_eq!(Proxy::gateway(&documents).client().get("/").status, 200, "{why}");
    }
}

#[test]
fn another_endpoint_is_tried_where_a_handshake_fails() {
    let authority = Authority::new();
    let bad = SecureUpstream::start(&Authority::new(), "app");
    let plain = Upstream::start(|conn| conn.write("220 hello, this is something else\r\n"));
    let good = SecureUpstream::start(&authority, "app");
    let addrs = [bad.addr, plain.addr, good.addr];
    let documents = policy(&authority, &addrs, "").replace(
        "  tls: {caRefs",
        "  retry: {attempts: 3}\n  balance: {policy: round_robin}\n  tls: {caRefs",
    );
    let proxy = Proxy::gateway(&documents);
    let mut client = proxy.client();
    for _ in 0..6 {
        client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
        let response = client.response();
        assert_eq!(response.status, 200, "{response:?}");
    }
    assert_eq!(good.requests.load(Ordering::SeqCst), 6);
}

#[test]
fn a_handshake_that_stands_still_ends_with_the_time_to_connect() {
    let authority = Authority::new();
    let mute = Upstream::start(|conn| {
        conn.until_closed();
        Ok(())
    });
    let documents = policy(&authority, &[mute.addr], "")
        .replace("  tls: {caRefs", "  timeouts: {connect: 300ms}\n  retry: {attempts: 0}\n  tls: {caRefs");
    let proxy = Proxy::gateway(&documents);
    let response = proxy.client().get("/");
    assert_eq!((response.status, response.field("x-weir-reason")), (504, Some("connect_failed")));
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new();
    let upstream =
        SecureUpstream::start_with(&authority, "app", rustls::ALL_VERSIONS, false, |stream, body| {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(body)?;
            stream.conn.send_close_notify();
            stream.flush().map(|()| false)
        });
    let proxy = Proxy::gateway(&policy(&authority, &[upstream.addr], ""));
    for _ in 0..4 {
        assert_eq!(proxy.client().get("/").status, 200);
    }
    let resumed: Vec<_> = upstream.seen().iter().map(|seen| seen.resumed).collect();
    assert_eq!(resumed, [false, true, true, true]);
}

#[test]
fn a_certificate_is_shown_to_upstreams_that_ask() {
    let authority = Authority::new();
    authority.write_client("me", "a proxy");
    let answer = |stream: &mut ServerStream, body: &[u8]| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(body).map(|()| true)
    };
    let upstream = SecureUpstream::start_with(&authority, "app", rustls::ALL_VERSIONS, true, answer);
    let proxy = Proxy::gateway(&policy(&authority, &[upstream.addr], ""));
    let refused = proxy.client().get("/");
    // In TLS 1.3 the refusal comes after the handshake, from this side's view.
    assert_eq!(refused.status, 502, "{refused:?}");
    drop(proxy);
    let documents =
        policy(&authority, &[upstream.addr], ", certificateRef: {name: me}") + &authority.document("me");
    let proxy = Proxy::gateway(&documents);
    assert_eq!(proxy.client().get("/").status, 200);
    assert!(upstream.seen().iter().any(|seen| seen.has_certificate));
}

#[test]
fn a_response_that_only_the_end_delimits_must_be_ended_properly() {
    for properly in [true, false] {
        let authority = Authority::new();
        let upstream =
            SecureUpstream::start_with(&authority, "app", rustls::ALL_VERSIONS, false, move |stream, _| {
                write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nperhaps not all")?;
                if properly {
                    stream.conn.send_close_notify();
                }
                stream.flush().map(|()| false)
            });
        let proxy = Proxy::gateway(&policy(&authority, &[upstream.addr], ""));
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
        let response = client.try_response(false);
        assert_eq!(response.is_ok(), properly, "{response:?}");
    }
}

#[test]
fn http2_is_agreed_on_or_there_is_no_connection() {
    let authority = Authority::new();
    authority.write("app", &["app"]);
    let echo = Upstream::echo();
    let inner = Proxy::gateway(&secure_documents(&authority, &[("", &["app"])], &[echo.addr]));
    let over_http2 = |addr: SocketAddr| {
        let documents = policy(&authority, &[addr], "");
        let plain = "metadata: {name: app}\nspec:\n  endpoints:";
        assert!(documents.contains(plain));
        documents.replace(plain, "metadata: {name: app}\nspec:\n  protocol: http2\n  endpoints:")
    };
    let proxy = Proxy::gateway(&over_http2(inner.addr()));
    let mut client = proxy.client();
    let body = vec![b'x'; 300_000];
    for i in 0..3 {
        assert!(client.get(&format!("/{i}")).text().starts_with(&format!("GET /{i} ")));
        client.send(format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        assert!(client.response().body.ends_with(&body));
    }
    let text = inner.text();
    assert!(text.contains("protocol=\"h2\""), "{text}");
    drop(proxy);
    // One that knows only HTTP/1.1 says so in the handshake.
    let old = SecureUpstream::start(&authority, "app");
    let response = Proxy::gateway(&over_http2(old.addr)).client().get("/");
    assert_eq!((response.status, response.field("x-weir-reason")), (502, Some("upstream_tls")));
    assert_eq!(old.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn connections_of_an_older_policy_are_not_used_under_a_newer_one() {
    let authority = Authority::new();
    let upstream = SecureUpstream::start(&authority, "shop.example");
    let old = policy(&authority, &[upstream.addr], ", serverName: shop.example");
    let mut proxy = Proxy::gateway(&old);
    let mut client = proxy.client();
    let mut status = || client.get("/").status;
    assert_eq!((status(), status()), (200, 200));
    assert_eq!(upstream.seen().len(), 1);
    // The same over again is no change.
    proxy.publish(&old.replace("name: all", "name: everything"));
    assert_eq!((status(), upstream.seen().len()), (200, 1));
    proxy.publish(&old.replace("shop.example", "another.example"));
    assert_eq!((status(), status()), (502, 502));
    proxy.publish(&old);
    assert_eq!((status(), upstream.seen().len()), (200, 2));
}

#[test]
fn what_an_upstream_says_of_tls_itself_does_not_spoil_an_idle_connection() {
    let authority = Authority::new();
    let upstream = SecureUpstream::start_with(&authority, "app", ONLY_TLS13, false, |stream, body| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(body)?;
        stream.flush()?;
        // The response has been read before the rest comes.
        std::thread::sleep(Duration::from_millis(20));
        stream.conn.refresh_traffic_keys().unwrap();
        stream.flush().map(|()| true)
    });
    let proxy = Proxy::gateway(&policy(&authority, &[upstream.addr], ""));
    let mut client = proxy.client();
    for _ in 0..10 {
        client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().status, 200);
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(upstream.seen().len(), 1, "connections");
}

#[test]
fn an_idle_connection_that_the_upstream_ends_is_not_used_again() {
    let authority = Authority::new();
    let ended = Arc::new(AtomicUsize::new(0));
    let ends = ended.clone();
    let upstream =
        SecureUpstream::start_with(&authority, "app", rustls::ALL_VERSIONS, false, move |stream, body| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(body)?;
            std::thread::sleep(Duration::from_millis(20));
            stream.conn.send_close_notify();
            stream.flush()?;
            ends.fetch_add(1, Ordering::SeqCst);
            Ok(false)
        });
    let proxy = Proxy::gateway(&policy(&authority, &[upstream.addr], ", serverName: app"));
    let mut client = proxy.client();
    for round in 1..=10 {
        client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().status, 200);
        eventually("it has ended", || ended.load(Ordering::SeqCst) == round);
    }
}
