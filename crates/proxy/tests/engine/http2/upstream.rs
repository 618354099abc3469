//! Upstreams that speak HTTP/2, called by clients of either version.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};

use super::{connect, exchange, request, run};
use crate::support::{PATIENCE, Proxy, Upstream, documents, eventually};

/// A request as an upstream got it, and how to answer it.
pub(crate) struct Call {
    pub(crate) request: Request<h2::RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
    /// The connection's number, from 0.
    pub(crate) connection: usize,
}

impl Call {
    /// Reads the request's body and trailers.
    pub(crate) async fn body(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let body = self.request.body_mut();
        let mut content = Vec::new();
        while let Some(Ok(piece)) = body.data().await {
            let _ = body.flow_control().release_capacity(piece.len());
            content.extend_from_slice(&piece);
        }
        (content, body.trailers().await.ok().flatten())
    }

    /// Answers with a body.
    pub(super) fn ok(&mut self, body: impl Into<Bytes>) {
        let mut stream = self.respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(body.into(), true).unwrap();
    }
}

/// An upstream on a thread of its own.
pub(crate) struct H2Upstream {
    pub(crate) addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl H2Upstream {
    pub(crate) fn start<F: Future<Output = ()> + 'static>(
        serve: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::with(&h2::server::Builder::new(), serve)
    }

    pub(crate) fn with<F: Future<Output = ()> + 'static>(
        builder: &h2::server::Builder,
        serve: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let calls = Arc::new(AtomicUsize::new(0));
        let (count, called, builder) = (connections.clone(), calls.clone(), builder.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let serve = Arc::new(serve);
                while let Ok((stream, _)) = listener.accept().await {
                    let connection = count.fetch_add(1, Ordering::SeqCst);
                    let (serve, called, builder) = (serve.clone(), called.clone(), builder.clone());
                    tokio::task::spawn_local(async move {
                        let Ok(mut h2) = builder.handshake(stream).await else { return };
                        while let Some(Ok((request, respond))) = h2.accept().await {
                            called.fetch_add(1, Ordering::SeqCst);
                            tokio::task::spawn_local(serve(Call { request, respond, connection }));
                        }
                    });
                }
            });
        });
        Self { addr, connections, calls }
    }

    /// Answers every request with what it was.
    pub(crate) fn echo() -> Self {
        Self::start(|mut call| async move {
            let (body, trailers) = call.body().await;
            let head = &call.request;
            let mut text = format!("{} {} {:?}\n", head.method(), head.uri(), head.version());
            for (name, value) in head.headers() {
                text += &format!("{name}: {}\n", value.to_str().unwrap());
            }
            for (name, value) in &trailers.unwrap_or_default() {
                text += &format!("late {name}: {}\n", value.to_str().unwrap());
            }
            text += &format!("\n{}", String::from_utf8_lossy(&body));
            call.ok(text);
        })
    }

    /// An address that nobody listens at.
    pub(super) fn nowhere() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { addr: listener.local_addr().unwrap(), connections: Arc::default(), calls: Arc::default() }
    }

    /// Requests that have begun.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Documents of a gateway in front of a service that speaks HTTP/2.
pub(crate) fn h2_documents(upstreams: &[SocketAddr], policy: &str) -> String {
    documents(upstreams, policy).replace("spec:\n  endpoints:", "spec:\n  protocol: http2\n  endpoints:")
}

fn proxy(upstream: &H2Upstream) -> Proxy {
    Proxy::gateway(&h2_documents(&[upstream.addr], ""))
}

#[test]
fn an_http1_client_is_served() {
    let upstream = H2Upstream::echo();
    let proxy = proxy(&upstream);
    let mut client = proxy.client();
    for i in 0..5 {
        let got = client.get(&format!("/x/{i}?y"));
        let text = got.text();
        assert_eq!(got.status, 200, "{text}");
        assert!(text.starts_with(&format!("GET http://app/x/{i}?y HTTP/2.0\n")), "{text}");
        assert!(text.contains("\nx-forwarded-for: 127.0.0.1\n"), "{text}");
        assert!(!text.contains("connection") && !text.contains("host: app\nhost"), "{text}");
    }
    let got = client.send("POST /p HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nhello").response();
    assert!(
        got.text().contains("\ncontent-length: 5\n") && got.text().ends_with("\n\nhello"),
        "{}",
        got.text()
    );
    let chunked = "POST /c HTTP/1.1\r\nHost: app\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-late: 1\r\n\r\n";
    let got = client.send(chunked).response();
    let text = got.text();
    assert!(text.contains("\nte: trailers\n") && text.ends_with("\nlate x-late: 1\n\nhello"), "{text}");
    assert!(!text.contains("transfer-encoding"), "{text}");
    assert_eq!(upstream.connections(), 1, "all on one connection");
}

#[test]
fn an_http2_client_is_served() {
    let upstream = H2Upstream::start(|mut call| async move {
        let (body, trailers) = call.body().await;
        let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(format!("{} bytes", body.len()).into(), false).unwrap();
        stream.send_trailers(trailers.unwrap()).unwrap();
    });
    let proxy = proxy(&upstream);
    let got = run(async {
        let requests = connect(proxy.addr()).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-late", "yes".parse().unwrap());
        exchange(&requests, request("POST", "/"), &[&[b'x'; 40_000]], Some(trailers)).await.unwrap()
    });
    assert_eq!(got.text(), "40000 bytes");
    assert_eq!(got.trailers.unwrap()["x-late"], "yes");
}

#[test]
fn a_body_gets_through_a_window_smaller_than_its_pieces() {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(100);
    let upstream = H2Upstream::with(&builder, |mut call| async move {
        let (body, trailers) = call.body().await;
        let sum: usize = body.iter().map(|&byte| usize::from(byte)).sum();
        call.ok(format!("{} {sum} {}", body.len(), trailers.is_some()));
    });
    let proxy = proxy(&upstream);
    let mut client = proxy.client();
    // Within the window, beyond it, and beyond what goes along with the head.
    for (len, pieces) in [(7, 1), (500, 1), (500, 5), (20_000, 1), (20_000, 2)] {
        let body: Vec<u8> = (0..len).map(|i| i as u8 % 64 + b'0').collect();
        let sum: usize = body.iter().map(|&byte| usize::from(byte)).sum();
        let parts: Vec<&[u8]> = body.chunks(len / pieces).collect();
        for late in [false, true] {
            let trailers = late.then(|| HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]));
            let got = run(async {
                let requests = connect(proxy.addr()).await;
                exchange(&requests, request("POST", "/"), &parts, trailers).await.unwrap()
            });
            assert_eq!(got.text(), format!("{len} {sum} {late}"), "{pieces}");
        }
        let head = format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {len}\r\n\r\n");
        let got = client.send(&(head + std::str::from_utf8(&body).unwrap())).response();
        assert_eq!(got.text(), format!("{len} {sum} false"));
    }
}

#[test]
fn responses_of_every_kind_arrive() {
    let upstream = H2Upstream::start(|mut call| async move {
        let path = call.request.uri().path().to_owned();
        let mut response = Response::new(());
        match &*path {
            "/204" => *response.status_mut() = http::StatusCode::NO_CONTENT,
            "/head" => {
                response.headers_mut().insert("content-length", "12".parse().unwrap());
            }
            "/103" => {
                let mut hints = Response::new(());
                *hints.status_mut() = http::StatusCode::EARLY_HINTS;
                hints.headers_mut().insert("link", "</a>".parse().unwrap());
                call.respond.send_informational(hints).unwrap();
            }
            _ => {}
        }
        call.respond.send_response(response, true).unwrap();
    });
    let proxy = proxy(&upstream);
    let mut client = proxy.client();
    assert_eq!(client.get("/204").status, 204);
    let empty = client.get("/");
    assert_eq!((empty.status, empty.field("content-length")), (200, Some("0")));
    let head = client.send("HEAD /head HTTP/1.1\r\nHost: app\r\n\r\n").response_to_head();
    assert_eq!(head.field("content-length"), Some("12"));
    let hints = client.get("/103");
    assert_eq!((hints.status, hints.field("link")), (103, Some("</a>")));
    assert_eq!(client.response().status, 200);
}

#[test]
fn another_connection_is_opened_when_one_is_full() {
    const STREAMS: usize = 35;
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(10);
    // Nobody is answered before all are under way.
    let arrived = Arc::new(AtomicUsize::new(0));
    let upstream = H2Upstream::with(&builder, move |mut call| {
        let arrived = arrived.clone();
        async move {
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < STREAMS {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            call.ok(format!("{}", call.connection));
        }
    });
    let proxy = proxy(&upstream);
    run(async {
        let requests = connect(proxy.addr()).await;
        let tasks: Vec<_> = (0..STREAMS)
            .map(|_| {
                let requests = requests.clone();
                tokio::task::spawn_local(async move {
                    exchange(&requests, request("GET", "/"), &[], None).await.unwrap().text()
                })
            })
            .collect();
        let mut seen = [0; 8];
        for task in tasks {
            seen[task.await.unwrap().parse::<usize>().unwrap()] += 1;
        }
        assert!(seen.iter().all(|&streams| streams <= 10), "{seen:?}");
        assert_eq!(seen.iter().sum::<usize>(), STREAMS);
    });
    assert_eq!(upstream.connections(), 4);
}

#[test]
fn a_policy_bounds_streams_and_connections() {
    // Nobody is answered before the others are refused.
    let refused = Arc::new(AtomicUsize::new(0));
    let are_refused = refused.clone();
    let upstream = H2Upstream::with(&h2::server::Builder::new(), move |mut call| {
        let refused = are_refused.clone();
        async move {
            while refused.load(Ordering::SeqCst) < 4 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            call.ok(format!("{}", call.connection));
        }
    });
    let policy = "connection: {streamsMax: 2, connectionsMax: 3}";
    let proxy = Proxy::gateway(&h2_documents(&[upstream.addr], policy));
    run(async {
        let requests = connect(proxy.addr()).await;
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (requests, refused) = (requests.clone(), refused.clone());
                tokio::task::spawn_local(async move {
                    let status = exchange(&requests, request("GET", "/"), &[], None).await.unwrap().status();
                    refused.fetch_add(usize::from(status == 503), Ordering::SeqCst);
                    status
                })
            })
            .collect();
        let mut served = 0;
        for task in tasks {
            match task.await.unwrap() {
                200 => served += 1,
                status => assert_eq!(status, 503),
            }
        }
        assert_eq!(served, 6, "two on each of three connections");
    });
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn a_tls_less_request_without_a_host_is_for_the_endpoint_itself() {
    let upstream = H2Upstream::echo();
    let proxy = proxy(&upstream);
    let got = proxy.client().send("GET / HTTP/1.0\r\n\r\n").response();
    assert!(got.text().starts_with(&format!("GET http://{}/ HTTP/2.0", upstream.addr)), "{}", got.text());
}

#[test]
fn what_was_refused_unprocessed_is_sent_again_whatever_it_is() {
    let refusing =
        H2Upstream::start(|mut call| async move { call.respond.send_reset(Reason::REFUSED_STREAM) });
    let serving = H2Upstream::echo();
    let proxy = Proxy::gateway(&h2_documents(&[refusing.addr, serving.addr], ""));
    let mut client = proxy.client();
    for _ in 0..10 {
        let got = client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nbody").response();
        assert_eq!(got.status, 200, "{}", got.text());
        assert!(got.text().ends_with("\n\nbody"));
    }
    assert!(refusing.connections() > 0, "the other one was asked, too");
}

#[test]
fn a_reset_after_work_began_is_not_repeated_unless_it_may_be() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let upstream = H2Upstream::start(move |mut call| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { call.respond.send_reset(Reason::INTERNAL_ERROR) }
    });
    let proxy = proxy(&upstream);
    let mut client = proxy.client();
    let got = client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\nbody").response();
    assert_eq!((got.status, got.field("x-weir-reason")), (502, Some("upstream_reset")));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(client.get("/").status, 502);
    assert_eq!(calls.load(Ordering::SeqCst), 3, "a GET is tried once more");
}

#[test]
fn a_response_cut_short_does_not_look_complete() {
    let upstream = H2Upstream::start(|mut call| async move {
        let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
        stream.send_data("half".into(), false).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    });
    let proxy = proxy(&upstream);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    assert!(client.try_response(false).is_err());
    let fault = run(async {
        let requests = connect(proxy.addr()).await;
        exchange(&requests, request("GET", "/"), &[], None).await.unwrap_err()
    });
    assert_eq!(fault.reason(), Some(Reason::INTERNAL_ERROR));
}

#[test]
fn a_client_that_goes_cancels_the_stream() {
    let (told, cancelled) = std::sync::mpsc::channel();
    let upstream = H2Upstream::start(move |mut call| {
        let told = told.clone();
        async move {
            let reason = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
            let _ = told.send(reason.unwrap());
        }
    });
    let proxy = proxy(&upstream);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
    eventually("it is under way", || upstream.connections() > 0);
    drop(client);
    assert_eq!(cancelled.recv_timeout(PATIENCE).unwrap(), Reason::CANCEL);
}

#[test]
fn an_upstream_that_speaks_http1_only_gets_no_request() {
    let upstream = Upstream::start(|conn| {
        conn.fill()?;
        conn.write("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    });
    let proxy = Proxy::gateway(&h2_documents(&[upstream.addr], ""));
    let got =
        proxy.client().send("POST /secret HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n").response();
    assert_eq!((got.status, got.field("x-weir-reason")), (502, Some("connect_failed")));
    let received = String::from_utf8_lossy(&upstream.received()).into_owned();
    assert!(!received.contains("secret"), "{received}");
}

#[test]
fn an_upstream_that_goes_away_is_left_without_a_failure() {
    // Each connection serves a few streams and then says GOAWAY.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let Ok(mut h2) = h2::server::handshake(stream).await else { return };
                    let mut served = 0;
                    while let Some(Ok((_, mut respond))) = h2.accept().await {
                        served += 1;
                        let mut stream = respond.send_response(Response::new(()), false).unwrap();
                        stream.send_data("ok".into(), true).unwrap();
                        if served == 5 {
                            h2.graceful_shutdown();
                        }
                    }
                });
            }
        });
    });
    let proxy = Proxy::gateway(&h2_documents(&[addr], ""));
    run(async {
        let requests = connect(proxy.addr()).await;
        for round in 0..20 {
            let tasks: Vec<_> = (0..5)
                .map(|_| {
                    let requests = requests.clone();
                    tokio::task::spawn_local(async move {
                        exchange(&requests, request("GET", "/"), &[], None).await.unwrap()
                    })
                })
                .collect();
            for task in tasks {
                let got = task.await.unwrap();
                assert_eq!((got.status(), &*got.text()), (200, "ok"), "round {round}");
            }
        }
    });
}
