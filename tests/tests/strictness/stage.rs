//! The proxy process, a client that sends bytes as they are, and an upstream that keeps what it gets.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use weir_tests::cluster::START_LIMIT;
use weir_tests::{Process, eventually, free_port};

use super::reader::{self, Read, Request};

/// How long a client waits for the end of its connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// In an answer: to be waited for [`Stage::go_on`].
pub(crate) const PAUSE: &[u8] = b"<pause>";

/// What one client's bytes came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Everything that the client got.
    pub(crate) answer: Vec<u8>,
    /// The connection did not end.
    pub(crate) hung: bool,
    /// Whole requests that the upstream got.
    pub(crate) received: Vec<Request>,
    /// What the upstream got that is no HTTP.
    pub(crate) faults: Vec<String>,
    /// Upstream connections that were opened or carried bytes.
    pub(crate) connections: usize,
}

impl Outcome {
    /// The statuses of final responses, in order.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.answer).into_owned();
        let after = text.split("HTTP/1.1 ").skip(1);
        after.filter_map(|rest| rest.get(..3)?.parse().ok()).filter(|&status: &u16| status >= 200).collect()
    }

    pub(crate) fn first_status(&self) -> Option<u16> {
        self.statuses().first().copied()
    }
}

#[derive(Default)]
struct Seen {
    received: Vec<Request>,
    faults: Vec<String>,
    used: BTreeSet<usize>,
    /// What to answer next instead of 200.
    answer: Option<Vec<u8>>,
    /// The connection ends after it.
    last: bool,
    may_go_on: bool,
}

#[derive(Default)]
struct Upstream {
    seen: Mutex<Seen>,
    moved: Condvar,
}

impl Upstream {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn serve(&self, number: usize, mut stream: TcpStream) {
        let (mut bytes, mut part) = (Vec::new(), [0; 65536]);
        self.lock().used.insert(number);
        loop {
            match reader::read(&bytes) {
                Read::Whole(request, len, _) => {
                    bytes.drain(..len);
                    let is_head = request.method == "HEAD";
                    let answer = {
                        let mut seen = self.lock();
                        seen.received.push(*request);
                        seen.answer.take()
                    };
                    if self.respond(&mut stream, answer, is_head).is_err() {
                        return;
                    }
                }
                Read::Bad(fault) => return self.lock().faults.push(fault),
                Read::Partial => match stream.read(&mut part) {
                    Ok(n) if n > 0 => {
                        self.lock().used.insert(number);
                        bytes.extend_from_slice(&part[..n]);
                    }
                    // It broke off in the middle, as it must when a body is bad.
                    _ => return,
                },
            }
        }
    }

    fn respond(&self, stream: &mut TcpStream, answer: Option<Vec<u8>>, is_head: bool) -> std::io::Result<()> {
        let Some(answer) = answer else {
            let body = if is_head { "" } else { "ok" };
            return write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
        };
        let Some(at) = reader::find(&answer, PAUSE) else {
            stream.write_all(&answer)?;
            let last = std::mem::take(&mut self.lock().last);
            return if last { Err(std::io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) };
        };
        stream.write_all(&answer[..at])?;
        let seen = self.moved.wait_while(self.lock(), |seen| !seen.may_go_on).unwrap();
        drop(seen);
        stream.write_all(&answer[at + PAUSE.len()..])
    }
}

/// A proxy in front of the upstream.
pub(crate) struct Stage {
    upstream: Arc<Upstream>,
    port: u16,
    _proxy: Process,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = dir.path().join("weir.yaml");
        std::fs::write(&file, documents(port, listener.local_addr().unwrap())).unwrap();
        let upstream = Arc::<Upstream>::default();
        let serving = upstream.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let serving = serving.clone();
                std::thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    serving.serve(number, stream);
                });
            }
        });
        let file = file.to_str().unwrap();
        let proxy = Process::weir("proxy", ["proxy", "-f", file, "--workers", "1"]);
        eventually("the proxy to listen", START_LIMIT, || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { upstream, port, _proxy: proxy, _dir: dir }
    }

    /// The upstream's next answer, as it is. Where [`PAUSE`] stands it waits for `go_on`.
    pub(crate) fn answer_next_with(&self, answer: &[u8]) {
        self.upstream.lock().answer = Some(answer.to_vec());
    }

    /// The same, and then the connection ends, so that nobody waits for what is missing.
    pub(crate) fn answer_last_with(&self, answer: &[u8]) {
        let mut seen = self.upstream.lock();
        seen.answer = Some(answer.to_vec());
        seen.last = true;
    }

    /// Lets an answer that waits in its middle go on.
    pub(crate) fn go_on(&self) {
        self.upstream.lock().may_go_on = true;
        self.upstream.moved.notify_all();
    }

    pub(crate) fn client(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, got: Vec::new() }
    }

    /// Sends bytes on a connection of their own and waits for its end.
    pub(crate) fn send(&self, bytes: &[u8]) -> Outcome {
        let mut client = self.client();
        client.send(bytes);
        self.outcome(client)
    }

    /// Ends a client's side, and tells what came of it.
    pub(crate) fn outcome(&self, mut client: Client) -> Outcome {
        let _ = client.stream.shutdown(Shutdown::Write);
        let hung = !client.read_to_end();
        let mut seen = self.upstream.lock();
        seen.may_go_on = false;
        Outcome {
            answer: client.got,
            hung,
            received: std::mem::take(&mut seen.received),
            faults: std::mem::take(&mut seen.faults),
            connections: std::mem::take(&mut seen.used).len(),
        }
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Client {
    /// Sends; what is refused halfway need not be taken whole.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn until(&mut self, wanted: &[u8]) {
        while reader::find(&self.got, wanted).is_none() {
            assert!(self.fill(), "the connection ended");
        }
    }

    fn fill(&mut self) -> bool {
        let mut part = [0; 65536];
        let n = self.stream.read(&mut part).unwrap_or(0);
        self.got.extend_from_slice(&part[..n]);
        n > 0
    }

    /// Whether it ended, in whatever way.
    fn read_to_end(&mut self) -> bool {
        let mut part = [0; 65536];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return true,
                Ok(n) => self.got.extend_from_slice(&part[..n]),
                Err(fault) => return fault.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    }
}

fn documents(port: u16, upstream: SocketAddr) -> String {
    format!(
        "kind: Gateway
metadata: {{name: edge}}
spec:
  addresses: [{{value: 127.0.0.1}}]
  listeners: [{{name: web, port: {port}, protocol: HTTP}}]
---
kind: HTTPRoute
metadata: {{name: all}}
spec:
  parentRefs: [{{name: edge}}]
  rules: [{{backendRefs: [{{name: app}}]}}]
---
kind: Service
metadata: {{name: app}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {}}}]}}
",
        upstream.port()
    )
}
