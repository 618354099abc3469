use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::snapshot::Settings;
use crate::snapshot::tests::{endpoint, gateway, inputs, route, with_registered};
use crate::snapshot::{Compiler, Role};

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    addr: SocketAddr,
    shared: Arc<Shared>,
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
    let admin = Admin::bind(any, None, shared.clone(), Arc::new(Metrics::new(1))).await.unwrap();
    Running { addr: admin.addr(), shared, task: tokio::spawn(admin.serve()) }
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
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n")).await
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
    assert_eq!(body["inputs"]["resources"][0]["kind"], "Gateway");
    assert_eq!(body["inputs"]["services"][0]["endpoints"][0]["id"], "a/1");
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
    check("/", 404, "expected one of /healthz, /readyz, /config, /metrics, /explain").await;
    check("/explain", 400, "parameter `url` is missing").await;
    check("/explain?url=nowhere%20at%20all", 400, "is not a URL").await;
    check("/explain?url=http://h/&header=x", 400, "is not a header field").await;
    check("/explain?url=%ff", 400, "not UTF-8").await;
    check("/explain?ulr=http://h/", 400, "unknown parameter `ulr`").await;
    check("/explain?url=http://h/&format=xml", 400, "expected `json` or `text`").await;
    let (status, _) = running.send("POST /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").await;
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
