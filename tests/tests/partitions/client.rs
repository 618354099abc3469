//! A client with a list of servers: one is asked as long as it answers well, then the next.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::http::{Connection, Response};

/// How long a connection may take to come about, and then the answer, before another server is asked.
const CONNECT_MAX: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_millis(1500);
/// The same for what nobody else is asked for: only what hangs takes longer.
const HANGS: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    servers: Vec<SocketAddr>,
    current: usize,
}

/// One request on a connection of its own.
pub(crate) fn ask(server: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<Response> {
    ask_within((CONNECT_MAX, ANSWER_MAX), server, method, path, body)
}

/// One request that must be answered, however busy the machine is.
pub(crate) fn ask_patiently(
    server: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Response> {
    ask_within((HANGS, HANGS), server, method, path, body)
}

/// The same, within times for the connection and the answer.
fn ask_within(
    (connect_max, answer_max): (Duration, Duration),
    server: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Response> {
    let headers = [("connection", "close"), ("host", "weir.test")];
    Connection::open_at(server, connect_max, answer_max)?.request(method, path, &headers, body.as_bytes())
}

impl Client {
    pub(crate) fn new(servers: &[SocketAddr], first: usize) -> Self {
        Self { servers: servers.to_vec(), current: first % servers.len() }
    }

    /// Asks one server after the other, each once, until one answers with less than 500.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &str) -> Option<Response> {
        for _ in 0..self.servers.len() {
            match ask(self.servers[self.current], method, path, body) {
                Ok(answer) if answer.status < 500 => return Some(answer),
                _ => self.current = (self.current + 1) % self.servers.len(),
            }
        }
        None
    }

    /// The same; whether it was answered with 200.
    pub(crate) fn done(&mut self, method: &str, path: &str, body: &str) -> bool {
        self.call(method, path, body).is_some_and(|answer| answer.status == 200)
    }
}
