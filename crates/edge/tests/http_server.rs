//! The shared HTTP server over real sockets: refusals, bounds, timeouts, shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use weir_edge::http::{Request, Response, Route, Router, Server, ServerConfig};

/// Longest a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Told when a request to `/wait` has arrived.
static WAITING: Notify = Notify::const_new();

/// Told when a request to `/hold` has arrived with its body.
static HOLDING: Notify = Notify::const_new();

/// Told when a request to `/later` has arrived, when it is to be answered, and when nobody waits for it any more.
static LATER_ASKED: Notify = Notify::const_new();
static LATER_NOW: Notify = Notify::const_new();
static LATER_OVER: Notify = Notify::const_new();

struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        LATER_OVER.notify_one();
    }
}

fn router() -> Router {
    let mut router = Router::new();
    router.get("/hello", |_: Request| async { Response::text(StatusCode::OK, "hello") });
    router.get("/rest/", |request: Request| async move { Response::text(StatusCode::OK, request.rest()) });
    let echo = |request: Request| async move {
        Response::bytes(StatusCode::OK, http::HeaderValue::from_static("text/plain"), request.body)
    };
    router.add("/echo", Route::new().on(Method::PUT, echo).body_bytes_max(1000));
    router.get("/later", |request: Request| async move {
        let _over = Over;
        request.waits();
        LATER_ASKED.notify_one();
        LATER_NOW.notified().await;
        Response::text(StatusCode::OK, "later")
    });
    router.get("/wait", |mut request: Request| async move {
        request.waits();
        WAITING.notify_one();
        request.server_closing().await;
        Response::text(StatusCode::OK, "closing")
    });
    router.get("/pieces", |_: Request| async {
        let (response, pieces) =
            Response::stream(StatusCode::OK, http::HeaderValue::from_static("text/plain"));
        tokio::spawn(async move {
            for piece in ["a", "b", "c"] {
                pieces.send(Bytes::from(piece)).await.unwrap();
            }
        });
        response
    });
    router.put("/hold", |mut request: Request| async move {
        HOLDING.notify_one();
        request.server_closing().await;
        Response::text(StatusCode::OK, "held")
    });
    router.get("/large", |_: Request| async {
        Response::bytes(StatusCode::OK, http::HeaderValue::from_static("text/plain"), vec![b'x'; 64 << 20])
    });
    router.get("/stats", |request: Request| async move {
        let stats = &request.server;
        let text = format!("{} {} {}", stats.connections(), stats.answers(2), stats.answers(4));
        Response::text(StatusCode::OK, text)
    });
    router.errors_under("/native/", |status, message| {
        Response::json(status, &std::collections::BTreeMap::from([("error", message)]))
    });
    router.put("/native/x", |_: Request| async { Response::empty(StatusCode::NO_CONTENT) });
    router
}

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

async fn start(address: &str, config: ServerConfig) -> Running {
    let server = Server::bind(address.parse().unwrap(), config).await.unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(server.serve(Arc::new(router()), async move { drop(stopped.await) }));
    Running { address, stop, served }
}

/// Sends bytes and returns everything that comes back until the server closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time").unwrap();
    String::from_utf8(answer).unwrap()
}

async fn request(address: SocketAddr, line: &str, body: &str) -> (u16, String, String) {
    let text = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(address, &text).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn answers_and_refuses() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let server = start(address, ServerConfig::default()).await;
        let long = "x".repeat(1001);
        let cases = [
            ("GET /hello", "", 200, "hello"),
            ("GET /hello?a=%20b", "", 200, "hello"),
            ("GET /rest/a%2Fb/../c%20d", "", 200, "a/b/../c d"),
            ("PUT /echo", "body", 200, "body"),
            ("PUT /echo", &long[..1000], 200, &long[..1000]),
            ("PUT /echo", &long, 413, "request body of 1001 bytes is too large: at most 1000 bytes"),
            ("GET /echo", "", 405, "method GET not allowed"),
            ("DELETE /hello", "", 405, "method DELETE not allowed"),
            ("GET /nothing", "", 404, "Invalid URL path: not found"),
            (
                "GET /rest/%zz",
                "",
                400,
                "invalid URL escape at byte 6: `%` must be followed by two hexadecimal digits",
            ),
            (
                "GET /hello?x=%",
                "",
                400,
                "invalid URL escape at byte 0: `%` must be followed by two hexadecimal digits",
            ),
            ("GET /native/x", "", 405, r#"{"error":"method GET not allowed"}"#),
            ("GET /native/y", "", 404, r#"{"error":"Invalid URL path: not found"}"#),
        ];
        for (line, body, status, text) in cases {
            let (got_status, _, got) = request(server.address, line, body).await;
            assert_eq!((got_status, got.as_str()), (status, text), "{line}");
        }
        let (status, head, body) = request(server.address, "HEAD /hello", "").await;
        assert_eq!((status, body.as_str()), (200, ""));
        assert!(head.contains("content-length: 5"), "{head}");
        let (status, head, _) = request(server.address, "OPTIONS /echo", "").await;
        assert_eq!(status, 200);
        assert!(head.contains("allow: put"), "{head}");
        let (_, head, body) = request(server.address, "GET /pieces", "").await;
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(body.contains('a') && body.contains('b') && body.contains('c'), "{body}");
    }
}

#[tokio::test]
async fn a_chunked_body_is_bounded_too() {
    let server = start("127.0.0.1:0", ServerConfig::default()).await;
    let chunk = format!("1f4\r\n{}\r\n", "y".repeat(500));
    let head =
        "PUT /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let fits = exchange(server.address, &format!("{head}{chunk}{chunk}0\r\n\r\n")).await;
    assert!(fits.starts_with("HTTP/1.1 200") && fits.ends_with(&"y".repeat(1000)), "{fits}");
    let more = exchange(server.address, &format!("{head}{chunk}{chunk}1\r\ny\r\n0\r\n\r\n")).await;
    assert!(more.starts_with("HTTP/1.1 413"), "{more}");
}

#[tokio::test]
async fn a_half_sent_head_is_closed_and_an_idle_connection_is_not() {
    let config = ServerConfig { head_timeout: Duration::from_millis(200), ..ServerConfig::default() };
    let server = start("127.0.0.1:0", config).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let begun = Instant::now();
    let answer = exchange(server.address, "GET /hello HTTP/1.1\r\nho").await;
    assert!(begun.elapsed() >= Duration::from_millis(200), "{answer}");
    assert!(!answer.contains("200 OK"), "{answer}");
    // The idle one has been idle for longer than the head's time, and still serves, twice.
    for _ in 0..2 {
        idle.write_all(b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut bytes = [0; 4096];
        let n = tokio::time::timeout(PATIENCE, idle.read(&mut bytes)).await.unwrap().unwrap();
        assert!(bytes[..n].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&bytes[..n]));
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let config = ServerConfig { body_timeout: Duration::from_millis(100), ..ServerConfig::default() };
    let server = start("127.0.0.1:0", config).await;
    let answer =
        exchange(server.address, "PUT /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc")
            .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn too_many_connections_are_refused_clearly() {
    let config = ServerConfig { connections_max: 1, ..ServerConfig::default() };
    let server = start("127.0.0.1:0", config).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut bytes = [0; 1024];
    assert!(first.read(&mut bytes).await.unwrap() > 0);
    let refused = exchange(server.address, "").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{refused}");
}

#[tokio::test]
async fn shutdown_answers_waiting_requests_and_ends() {
    let server = start("127.0.0.1:0", ServerConfig::default()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let ask = "GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let waiting = tokio::spawn(async move { exchange(server.address, ask).await });
    idle.write_all(b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut bytes = [0; 1024];
    assert!(idle.read(&mut bytes).await.unwrap() > 0);
    tokio::time::timeout(PATIENCE, WAITING.notified()).await.expect("the waiting request arrives");
    server.stop.send(()).unwrap();
    let answer = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\nclosing"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    tokio::time::timeout(PATIENCE, server.served).await.expect("the server ends").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// Sends a request to `/later`, has it wait for a moment, and returns everything that comes until the server closes.
async fn later(address: SocketAddr, request: &str, ahead: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::timeout(PATIENCE, LATER_ASKED.notified()).await.expect("it arrives");
    stream.write_all(ahead.as_bytes()).await.unwrap();
    // Whether it was read yet or not: the answers are the same.
    tokio::task::yield_now().await;
    LATER_NOW.notify_one();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time").unwrap();
    LATER_OVER.notified().await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn what_was_waited_for_is_answered_as_if_it_had_been_there() {
    let server = start("127.0.0.1:0", ServerConfig::default()).await;
    let get = "GET /later HTTP/1.1\r\nhost: localhost\r\n";
    let echo =
        format!("PUT /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900\r\n\r\n{}", "x".repeat(900));
    let last = "GET /hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    // More is sent ahead than is taken while the first waits.
    let answers = later(server.address, &format!("{get}\r\n"), &(echo.repeat(9) + last)).await;
    let (first, rest) = answers.split_once("\r\n\r\nlater").expect("answered in order");
    assert!(first.starts_with("HTTP/1.1 200 OK") && first.contains("content-length: 5"), "{first}");
    assert_eq!(rest.matches("HTTP/1.1 200 OK").count(), 10, "{rest}");
    assert!(rest.ends_with("hello"), "{rest}");

    let closed = later(server.address, &format!("{get}connection: close\r\n\r\n"), last).await;
    assert!(closed.ends_with("\r\n\r\nlater") && closed.contains("connection: close"), "{closed}");
    let head = later(server.address, "HEAD /later HTTP/1.1\r\nhost: localhost\r\n\r\n", last).await;
    assert_eq!(head.matches("HTTP/1.1 200 OK").count(), 2, "{head}");
    assert!(!head.contains("later") && head.ends_with("hello"), "{head}");
    let old = later(server.address, "GET /later HTTP/1.0\r\nhost: localhost\r\n\r\n", "").await;
    assert!(old.starts_with("HTTP/1.0 200 OK") && old.ends_with("later"), "{old}");

    let mut gives_up = TcpStream::connect(server.address).await.unwrap();
    gives_up.write_all(format!("{get}\r\n").as_bytes()).await.unwrap();
    tokio::time::timeout(PATIENCE, LATER_ASKED.notified()).await.expect("it arrives");
    drop(gives_up);
    tokio::time::timeout(PATIENCE, LATER_OVER.notified()).await.expect("nobody works for who has gone");
}

#[tokio::test]
async fn the_server_counts() {
    let server = start("127.0.0.1:0", ServerConfig::default()).await;
    request(server.address, "GET /hello", "").await;
    request(server.address, "GET /nothing", "").await;
    request(server.address, "PUT /hello", "").await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    let begun = Instant::now();
    loop {
        let (_, _, counts) = request(server.address, "GET /stats", "").await;
        // The closed connections go and the idle one comes when their tasks have run.
        let parts: Vec<u32> = counts.split(' ').map(|count| count.parse().unwrap()).collect();
        assert_eq!(parts[2], 2, "{counts}");
        if parts[0] == 2 && parts[1] >= 1 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{counts}");
    }
    drop(idle);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let config = ServerConfig { write_timeout: Duration::from_millis(100), ..ServerConfig::default() };
    let running = start("127.0.0.1:0", config).await;
    let mut stalled = TcpStream::connect(running.address).await.unwrap();
    stalled.write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let request = "GET /stats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    // It has begun to answer, then given up: only the connection that asks is left.
    let ended = async {
        loop {
            let answer = exchange(running.address, request).await;
            let mut counts = answer.rsplit("\r\n\r\n").next().unwrap().split(' ');
            let (connections, answered) = (counts.next().unwrap(), counts.next().unwrap());
            if connections == "1" && answered.parse::<u32>().unwrap() >= 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the connection is let go");
    drop(stalled);
    running.stop.send(()).unwrap();
    running.served.await.unwrap();
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let running = start("127.0.0.1:0", ServerConfig::default()).await;
    let put = |origin: &str| {
        format!(
            "PUT /native/x HTTP/1.1\r\nhost: {}\r\norigin: {origin}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            running.address
        )
    };
    let foreign = exchange(running.address, &put("http://evil.example")).await;
    assert!(foreign.starts_with("HTTP/1.1 403 ") && foreign.contains("{\"error\":"), "{foreign}");
    let own = exchange(running.address, &put(&format!("http://{}", running.address))).await;
    assert!(own.starts_with("HTTP/1.1 204 "), "{own}");
    running.stop.send(()).unwrap();
    running.served.await.unwrap();
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = start("127.0.0.1:0", ServerConfig::default()).await;
    for (request, status) in [
        ("GET /hello HTTP/1.1\r\nconnection: close\r\n\r\n", "400"),
        ("GET /hello HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\nconnection: close\r\n\r\n", "400"),
        ("GET /hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", "200"),
        ("GET /hello HTTP/1.0\r\n\r\n", "200"),
    ] {
        let answer = exchange(server.address, request).await;
        assert_eq!(&answer[9..12], status, "{request}: {answer}");
    }
}

#[tokio::test]
async fn whoever_sends_too_much_can_send_it_and_sees_the_refusal() {
    let server = start("127.0.0.1:0", ServerConfig::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let pieces = 70;
    let head =
        format!("PUT /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", pieces * 10_000);
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in 0..pieces {
        // Slowly, so that a server that does not read on has closed long before the end.
        tokio::time::sleep(Duration::from_millis(1)).await;
        stream.write_all(&[b'x'; 10_000]).await.unwrap_or_else(|error| panic!("piece {piece}: {error}"));
    }
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.ends_with("request body of 700000 bytes is too large: at most 1000 bytes"), "{answer}");
}

#[tokio::test]
async fn whoever_waits_for_leave_gets_it_or_the_refusal() {
    let server = start("127.0.0.1:0", ServerConfig::default()).await;
    let head = |length: usize| {
        format!(
            "PUT /echo HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let refused = exchange(server.address, &head(5000)).await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head(2).as_bytes()).await.unwrap();
    let mut bytes = [0; 1024];
    let n = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await.unwrap().unwrap();
    assert!(bytes[..n].starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&bytes[..n]));
}

#[tokio::test]
async fn on_loopback_it_answers_only_to_names_that_lead_there() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), ServerConfig::default()).await.unwrap();
    let server = server.allow_hosts(["weir.example".to_owned()]);
    let address = server.address();
    tokio::spawn(server.serve(Arc::new(router()), std::future::pending()));
    for (path, host, status) in [
        ("/hello", "127.0.0.1", "200"),
        ("/hello", "weir.example:80", "200"),
        ("/hello", "evil.example", "403"),
        ("/native/x", "evil.example", "403"),
    ] {
        let method = if path == "/hello" { "GET" } else { "PUT" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let answer = exchange(address, &head).await;
        assert_eq!(&answer[9..12], status, "{host}: {answer}");
        assert_eq!(answer.contains("--allowed-hosts"), status == "403", "{answer}");
    }
}

#[tokio::test]
async fn bodies_of_all_requests_together_are_bounded() {
    let config = ServerConfig { bodies_bytes_max: 1500, ..ServerConfig::default() };
    let server = start("127.0.0.1:0", config).await;
    let body = "x".repeat(1000);
    // Each is let go when its request is done with.
    for _ in 0..3 {
        assert_eq!(request(server.address, "PUT /echo", &body).await.0, 200);
    }
    let held = tokio::spawn({
        let (address, body) = (server.address, body.clone());
        async move { request(address, "PUT /hold", &body).await }
    });
    HOLDING.notified().await;
    let (status, head, text) = request(server.address, "PUT /echo", &body).await;
    assert_eq!((status, text.as_str()), (503, "too many request bodies are under way at once, try again"));
    assert!(head.contains("retry-after: 1") && head.contains("connection: close"), "{head}");
    assert_eq!(request(server.address, "PUT /echo", &body[..500]).await.0, 200, "what fits is taken");
    server.stop.send(()).unwrap();
    assert_eq!(held.await.unwrap().0, 200);
    server.served.await.unwrap();
}
