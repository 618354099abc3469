//! A server of its own for each test, and a small client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use weir_control::{Control, Settings};
use weir_edge::consul::ConsulApi;
use weir_edge::http::{Router, Server, ServerConfig};

/// Longest a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running Consul API, its checks carried out. Stops when dropped.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) control: Arc<Control>,
    _tasks: JoinSet<()>,
}

/// An answer, its body as text.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header field by its name in lower case; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let field = self
            .head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        field.map_or("", |(_, value)| value)
    }

    pub(crate) fn index(&self) -> u64 {
        self.header("x-consul-index")
            .parse()
            .unwrap_or_else(|_| panic!("no index: {}{}", self.head, self.body))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Api {
    pub(crate) async fn start() -> Self {
        let control = Control::start(Arc::new(weir_store::Memory::new()), Settings::default()).await.unwrap();
        let mut router = Router::new();
        ConsulApi::new(Arc::clone(&control), false).mount(&mut router);
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), ServerConfig::default()).await.unwrap();
        let address = server.address();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(Arc::new(router), std::future::pending()));
        tasks.spawn(weir_edge::prober::run(Arc::clone(&control), std::future::pending()));
        Self { address, control, _tasks: tasks }
    }

    /// Sends a request with a line such as `GET /v1/agent/self`.
    pub(crate) async fn call(&self, line: &str, body: &str) -> Answer {
        call(self.address, line, body).await
    }

    /// The same with any bytes: the answer's head, and its body.
    pub(crate) async fn call_bytes(&self, line: &str, body: &[u8]) -> (String, Vec<u8>) {
        call_bytes(self.address, line, body).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        get(self.address, target).await
    }

    /// Sends a request that must be answered with 200.
    pub(crate) async fn ok(&self, line: &str, body: &str) {
        let answer = self.call(line, body).await;
        assert_eq!(answer.status, 200, "{line} {body}: {}", answer.body);
    }

    /// Waits until so many blocking queries wait.
    pub(crate) async fn until_waiting(&self, count: usize) {
        let reached = async {
            while self.control.catalog().waiters() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("so many queries wait");
    }
}

pub(crate) async fn get(address: SocketAddr, target: &str) -> Answer {
    call(address, &format!("GET {target}"), "").await
}

async fn call(address: SocketAddr, line: &str, body: &str) -> Answer {
    let (head, body) = call_bytes(address, line, body.as_bytes()).await;
    Answer { status: head[9..12].parse().unwrap(), head, body: String::from_utf8(body).unwrap() }
}

async fn call_bytes(address: SocketAddr, line: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("{line}: no answer: {bytes:?}"));
    let body = bytes.split_off(end + 4);
    bytes.truncate(end);
    (String::from_utf8(bytes).unwrap(), body)
}

/// A definition of the service `web` with a TTL check.
pub(crate) fn web(id: &str) -> String {
    json!({"Name": "web", "ID": id, "Port": 80, "Check": {"TTL": "60s"}}).to_string()
}
