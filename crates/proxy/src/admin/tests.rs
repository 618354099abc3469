use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::snapshot::Settings;
use crate::snapshot::tests::{endpoint, gateway, inputs, route, with_registered};
use crate::snapshot::{Compiler, Role};

const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// The workers, which none are.
    _lives: Vec<crate::observe::Alive>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start() -> Running {
    let shared = Shared::new();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let metrics = Arc::new(Metrics::new(1));
    let lives = vec![metrics.worker(0).live()];
    let admin = Admin::bind(any, None, shared.clone(), metrics).await.unwrap();
    Running { addr: admin.addr(), shared, _lives: lives, task: tokio::spawn(admin.serve()) }
}

impl Running {
    /// Sends text and gives the status and the body of what comes back.
    async fn send(&self, request: &str) -> (u16, String) {
        let exchange = async {
            let mut socket = TcpStream::connect(self.addr).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    fn put_in_force(&self) {
        let inputs = inputs([gateway("edge"), route("r", serde_json::json!([{"name": "edge"}]), "cart")]);
        let inputs = with_registered(inputs, "cart", true, &[endpoint("a/1", 9001)]);
        let compiler =
            Compiler { defaults: Settings::default(), ..Compiler::new(Role::Gateway { gateways: vec![] }) };
        self.shared.install(compiler.compile(&inputs, None).unwrap());
    }
}

#[tokio::test]
async fn ready_follows_the_life_of_the_proxy() {
    let running = start().await;
    assert_eq!(running.get("/healthz").await.0, 200);
    assert_eq!(running.get("/readyz").await, (503, "no snapshot is in force yet\n".to_owned()));
    running.put_in_force();
    assert_eq!(running.get("/readyz").await, (200, "ready\n".to_owned()));
    running.shared.start_draining();
    assert_eq!(running.get("/readyz").await, (503, "draining\n".to_owned()));
    assert_eq!(running.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn config_shows_what_is_in_force() {
    let running = start().await;
    running.put_in_force();
    let (status, body) = running.get("/config").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(body["position"]["revision"], 1);
    assert_eq!(body["listeners"][0]["address"], "127.0.0.1:8080");
    assert_eq!(body["listeners"][0]["gateway"], "Gateway/edge");
    assert_eq!(body["listeners"][0]["protocol"], "HTTP");
    assert_eq!(body["routes"][0]["rule"], "HTTPRoute/r#0");
    assert_eq!(body["routes"][0]["matches"][0]["path"], "/*");
    assert_eq!(body["routes"][0]["backends"][0]["service"], "cart");
    let cart = &body["upstreams"][0];
    assert_eq!((&cart["service"], &cart["protocol"]), (&"cart".into(), &"http".into()));
    assert_eq!(cart["protocol_declared"], false);
    let endpoint = &cart["endpoints"][0];
    assert_eq!((&endpoint["id"], &endpoint["health"]), (&"a/1".into(), &"passing".into()));
    assert_eq!((&endpoint["in_flight"], &endpoint["address"]), (&0.into(), &"127.0.0.1:9001".into()));
    assert!(body.get("inputs").is_none(), "documents may hold secrets");
}

#[tokio::test]
async fn config_shows_what_is_asked_for() {
    let running = start().await;
    running.put_in_force();
    let parts = async |query: &str| {
        let (status, body) = running.get(&format!("/config?{query}")).await;
        assert_eq!(status, 200, "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        ["listeners", "routes", "upstreams"].map(|part| body[part].as_array().unwrap().len())
    };
    assert_eq!(parts("").await, [1, 1, 1]);
    assert_eq!(parts("service=cart").await, [1, 1, 1]);
    assert_eq!(parts("service=other").await, [1, 0, 0]);
    assert_eq!(parts("listener=127.0.0.1%3A8080").await, [1, 1, 1]);
    assert_eq!(parts("listener=127.0.0.1:1&service=other").await, [0, 0, 0]);
}

#[tokio::test]
async fn drain_is_asked_for_once_and_after_a_while() {
    let running = start().await;
    running.put_in_force();
    let drain = async |query: &str| {
        let (status, body) =
            running.send(&format!("POST /drain{query} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(status, 202, "{body}");
    };
    let asked = tokio::spawn({
        let shared = running.shared.clone();
        async move { shared.drain_asked().await }
    });
    assert_eq!(running.get("/drain").await.0, 405);
    assert!(!running.shared.is_draining());
    drain("?after=1h").await;
    assert_eq!(running.get("/readyz").await, (503, "draining\n".to_owned()), "so that balancers notice");
    drain("?after=1h").await;
    assert!(!asked.is_finished(), "it is put off");
    drain("").await;
    tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap();
}

#[tokio::test]
async fn drain_begins_by_itself_after_its_time() {
    let running = start().await;
    running.put_in_force();
    let (status, body) = running.send("POST /drain?after=20ms HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((status, &*body), (202, "{\"draining\":true,\"after_ms\":20}"));
    tokio::time::timeout(PATIENCE, running.shared.drain_asked()).await.unwrap();
}

#[tokio::test]
async fn pages_of_others_are_kept_out() {
    let running = start().await;
    let check = async |fields: &str, expected: u16| {
        let (status, body) = running.send(&format!("POST /drain HTTP/1.1\r\n{fields}\r\n\r\n")).await;
        assert_eq!(status, expected, "{fields}: {body}");
    };
    check("Host: localhost\r\nOrigin: http://evil.example", 403).await;
    check("Host: localhost\r\nSec-Fetch-Site: cross-site", 403).await;
    check("Host: evil.example", 403).await;
    assert!(!running.shared.is_draining());
    let (status, _) = running.send("GET /config HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(status, 403, "it could read the answer");
    check("Host: 127.0.0.1:1\r\nOrigin: http://127.0.0.1:1", 202).await;
}

#[tokio::test]
async fn not_ready_without_all_workers() {
    let shared = Shared::new();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let metrics = Arc::new(Metrics::new(2));
    let lives = [metrics.worker(0).live(), metrics.worker(1).live()];
    let admin = Admin::bind(any, None, shared.clone(), metrics.clone()).await.unwrap();
    let running = Running { addr: admin.addr(), shared, _lives: vec![], task: tokio::spawn(admin.serve()) };
    running.put_in_force();
    assert_eq!(running.get("/readyz").await.0, 200);
    let [one, _other] = lives;
    drop(one);
    assert_eq!(running.get("/readyz").await, (503, "1 of 2 workers are alive\n".to_owned()));
}

#[tokio::test]
async fn metrics_come_as_they_are_asked_for() {
    let running = start().await;
    let (_, body) = running
        .send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n")
        .await;
    assert!(body.ends_with("# EOF\n"), "{body}");
    let (_, body) = running.get("/metrics").await;
    assert!(!body.contains("# EOF"), "{body}");
}

#[tokio::test]
async fn metrics_are_there() {
    let running = start().await;
    running.put_in_force();
    let (status, body) = running.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(body.contains("# TYPE "), "{body}");
}

#[tokio::test]
async fn explains_with_live_state() {
    let running = start().await;
    running.put_in_force();
    running.shared.snapshot.load().upstreams()[0].endpoints[0].state.begin();
    let (status, body) = running.get("/explain?method=GET&url=http%3A%2F%2Fshop%2Fcart&header=X%3A+1").await;
    assert_eq!(status, 200, "{body}");
    let explanation: crate::explain::Explanation = serde_json::from_str(&body).unwrap();
    let forwarded = explanation.forwarded().unwrap();
    assert_eq!((&*forwarded.rule, &*forwarded.service), ("HTTPRoute/r#0", "cart"));
    assert_eq!(forwarded.endpoints[0].in_flight, 1);
    let (_, body) = running.get("/explain?url=http://shop/cart&format=text").await;
    assert!(body.starts_with("GET http://shop/cart"), "{body}");
    assert!(body.contains("sent to a/1 at 127.0.0.1:9001"), "{body}");
}

#[tokio::test]
async fn bad_questions_are_refused() {
    let running = start().await;
    let check = async |path: &str, status: u16, message: &str| {
        let (found, body) = running.get(path).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.contains(message), "{path}: {body}");
    };
    check("/", 404, "expected one of /healthz, /readyz, /config, /figures, /metrics, /explain, /drain").await;
    check("/config?name=x", 400, "expected service or listener").await;
    check("/explain", 400, "parameter `url` is missing").await;
    check("/explain?url=nowhere%20at%20all", 400, "the URL has a blank in it").await;
    check("/explain?url=http:///nowhere", 400, "is not a URL").await;
    check("/explain?url=http://h/%00", 400, "the URL has the control character U+0000 in it").await;
    check("/explain?url=http://h/&source=here", 400, "source `here`: expected an IP address").await;
    check("/explain?url=http://h/&header=x", 400, "is not a header field").await;
    check("/explain?url=%ff", 400, "not UTF-8").await;
    check("/explain?ulr=http://h/", 400, "unknown parameter `ulr`").await;
    check("/explain?url=http://h/&format=xml", 400, "expected `json` or `text`").await;
    let (status, _) =
        running.send("POST /readyz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx").await;
    assert_eq!(status, 405);
    // As much as is kept, and still no end of the head.
    let (status, _) = running.send(&format!("GET /{}", "x".repeat(HEAD_BYTES_MAX - 5))).await;
    assert!([414, 431].contains(&status), "{status}");
}

#[tokio::test]
async fn idle_connections_do_not_lock_others_out_for_ever() {
    let running = start().await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        idle.push(TcpStream::connect(running.addr).await.unwrap());
    }
    // Answered once one of them has used up its time or gone.
    drop(idle.pop());
    assert_eq!(running.get("/healthz").await.0, 200);
}
