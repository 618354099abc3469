//! A proxy in this process, raw clients and raw upstreams that record what they get.

#![allow(dead_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_model::document;
use weir_model::{Position, Spec};
use weir_proxy::listen::Role as ListenRole;
use weir_proxy::snapshot::{Compiler, Inputs, Origin, Role, Services, Snapshot};
use weir_proxy::source::Shared;
use weir_proxy::tls::{CertificateFiles, Certificates, LoadedCertificate};
use weir_proxy::{Engine, Metrics, Mode, ProxyConfig, SourceConfig};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a client lets an upstream go on by.
#[derive(Clone)]
pub(crate) struct Gate(SyncSender<()>, Arc<Mutex<Receiver<()>>>);

impl Gate {
    pub(crate) fn new() -> Self {
        let (open, opened) = sync_channel(8);
        Self(open, Arc::new(Mutex::new(opened)))
    }

    /// Lets one wait end.
    pub(crate) fn open(&self) {
        self.0.send(()).unwrap();
    }

    /// Waits until it is opened.
    pub(crate) fn wait(&self) {
        self.1.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    }
}

/// A proxy that runs until it is dropped.
pub(crate) struct Proxy {
    pub(crate) shared: Arc<Shared>,
    engine: Option<Engine>,
    role: Role,
    revision: u64,
    certificates: Arc<Certificates>,
    /// Who it is to services, from the next documents on.
    pub(crate) origin: Origin,
}

impl Proxy {
    /// A gateway whose listener takes a free port, with documents that hold everything.
    pub(crate) fn gateway(documents: &str) -> Self {
        Self::gateway_with(documents, |_| {})
    }

    pub(crate) fn gateway_with(documents: &str, configure: impl FnOnce(&mut ProxyConfig)) -> Self {
        Self::start(Mode::Gateway, Role::Gateway { gateways: vec![] }, documents, configure)
    }

    /// A gateway that sends everything to one service.
    pub(crate) fn to(upstreams: &[SocketAddr]) -> Self {
        Self::gateway(&documents(upstreams, ""))
    }

    pub(crate) fn start(
        mode: Mode,
        role: Role,
        documents: &str,
        configure: impl FnOnce(&mut ProxyConfig),
    ) -> Self {
        let mut config = ProxyConfig::new(mode, SourceConfig::Static { files: vec![] });
        config.workers = 1;
        configure(&mut config);
        let shared = Shared::new();
        let engine = Engine::start(&config, shared.clone()).unwrap();
        let (certificates, origin) = Default::default();
        let mut proxy = Self { shared, engine: Some(engine), role, revision: 0, certificates, origin };
        proxy.publish(documents);
        proxy
    }

    /// Puts documents in force, as a source does.
    pub(crate) fn publish(&mut self, documents: &str) {
        self.publish_with(documents, Services::new());
    }

    /// The same, with services that have registered.
    pub(crate) fn publish_with(&mut self, documents: &str, services: Services) {
        self.revision += 1;
        let parsed = document::parse("test", documents).unwrap();
        let resources = parsed.documents.into_iter().map(|document| document.resource);
        let mut inputs = Inputs::of_resources(Position::new(0, self.revision), resources);
        inputs.services = Arc::new(services);
        let before = self.shared.snapshot.load_full();
        let mut compiler = Compiler::new(self.role.clone());
        compiler.origin = Arc::new(self.origin.clone());
        compiler.certificates = Some(self.certificates(&inputs));
        let snapshot: Snapshot = compiler.compile(&inputs, Some(&before)).unwrap();
        let wanted: Vec<_> = snapshot.listeners.iter().map(|listener| listener.addr).collect();
        let listeners = self.engine().listeners().clone();
        listeners.bind(&wanted).unwrap();
        snapshot.take_effect(&before);
        self.shared.snapshot.store(Arc::new(snapshot));
        listeners.commit(&wanted);
    }

    /// What is in the files of certificates. Those that were read before are not read again.
    fn certificates(&mut self, inputs: &Inputs) -> Arc<Certificates> {
        let before = std::mem::take(&mut self.certificates);
        let specs = inputs.resources.values().filter_map(|resource| match &resource.spec {
            Spec::Certificate(spec) => Some(CertificateFiles::of(spec)),
            _ => None,
        });
        let load = |files: CertificateFiles| match before.get(&files) {
            Some(loaded) => (files, loaded.clone()),
            None => {
                let loaded = LoadedCertificate::load(&files).map(Arc::new);
                (files, loaded)
            }
        };
        self.certificates = Arc::new(specs.map(load).collect());
        self.certificates.clone()
    }

    /// Has the files of certificates read again with the next documents.
    pub(crate) fn forget_certificates(&mut self) {
        self.certificates = Arc::default();
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        self.engine().metrics().clone()
    }

    /// What `/metrics` shows.
    pub(crate) fn text(&self) -> String {
        self.metrics().render(&self.shared, weir_proxy::MetricsFormat::Text)
    }

    /// What the (first) gateway listener is called: the address that the document names.
    pub(crate) fn named_addr(&self) -> SocketAddr {
        self.engine().listeners().open()[0].0
    }

    /// Where the (first) gateway listener is.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.engine().listeners().open()[0].1
    }

    pub(crate) fn fixed(&self, role: ListenRole) -> SocketAddr {
        self.engine().fixed(role).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr())
    }

    /// Drains; gives whether all was finished in time.
    pub(crate) fn drain(mut self) -> bool {
        self.engine.take().unwrap().drain()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop();
        }
    }
}

pub(crate) use weir_tests::free_port;

/// Documents of a gateway on a free port whose only route leads to a service of these endpoints. `policy` is the rest
/// of the spec of a `TrafficPolicy` for it.
pub(crate) fn documents(upstreams: &[SocketAddr], policy: &str) -> String {
    documents_on(free_port(), upstreams, policy)
}

pub(crate) fn documents_on(port: u16, upstreams: &[SocketAddr], policy: &str) -> String {
    let mut endpoints = String::new();
    for upstream in upstreams {
        endpoints += &format!("\n  - address: \"{}\"\n    port: {}", upstream.ip(), upstream.port());
    }
    let policy = if policy.is_empty() {
        String::new()
    } else {
        format!(
            "---\nkind: TrafficPolicy\nmetadata: {{name: app}}\nspec:\n  targetRefs: [{{name: app}}]\n  {policy}\n"
        )
    };
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
apiVersion: weir.dev/v1
metadata: {{name: app}}
spec:
  endpoints:{endpoints}
{policy}"
    )
}

/// A raw client, over TCP or whatever else.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    buf: Vec<u8>,
}

/// A response as it came.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Raw body bytes of a chunked response, framing included.
    pub(crate) raw_body: Vec<u8>,
    pub(crate) trailers: Vec<String>,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        Self::from_stream(stream)
    }

    pub(crate) fn from_stream(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::over(stream)
    }

    pub(crate) fn half_close(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, buf: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends what may be refused in the middle.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: app\r\n\r\n")).response()
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut part = [0; 65536];
        let n = self.stream.read(&mut part)?;
        self.buf.extend_from_slice(&part[..n]);
        Ok(n)
    }

    /// The next head, with its empty line.
    pub(crate) fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.buf, b"\r\n\r\n") {
                let head: Vec<u8> = self.buf.drain(..at + 4).collect();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(crate) fn response(&mut self) -> Response {
        self.try_response(false).unwrap()
    }

    /// A response without a body, whatever its head says.
    pub(crate) fn response_to_head(&mut self) -> Response {
        self.try_response(true).unwrap()
    }

    /// Reads a whole response. An error where it is incomplete.
    pub(crate) fn try_response(&mut self, head_only: bool) -> io::Result<Response> {
        let head = self.head()?;
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response { status, head, body: vec![], raw_body: vec![], trailers: vec![] };
        if head_only || status < 200 || status == 204 || status == 304 {
            return Ok(response);
        }
        if let Some(length) = response.field("content-length") {
            let length: usize = length.parse().unwrap();
            response.body = self.exactly(length)?;
        } else if response.field("transfer-encoding").is_some() {
            self.chunked(&mut response)?;
        } else {
            response.body = self.until_end()?;
        }
        Ok(response)
    }

    pub(crate) fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buf.len() < length {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buf.drain(..length).collect())
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.buf, b"\r\n") {
                return Ok(self.buf.drain(..at + 2).collect());
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn chunked(&mut self, response: &mut Response) -> io::Result<()> {
        loop {
            let line = self.line()?;
            response.raw_body.extend_from_slice(&line);
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            let data = self.exactly(size + 2)?;
            response.raw_body.extend_from_slice(&data);
            response.body.extend_from_slice(&data[..size]);
        }
        loop {
            let line = self.line()?;
            if line == b"\r\n" {
                return Ok(());
            }
            response.trailers.push(String::from_utf8_lossy(&line).trim().to_owned());
        }
    }

    /// Everything until the proxy closes; an error when it resets.
    pub(crate) fn until_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.buf))
    }

    /// Everything until the proxy closes or resets.
    pub(crate) fn until_any_end(&mut self) -> Vec<u8> {
        while matches!(self.fill(), Ok(n) if n > 0) {}
        std::mem::take(&mut self.buf)
    }

    /// Whether the proxy closes, after what was read.
    pub(crate) fn is_closed(&mut self) -> bool {
        let is_late =
            |fault: io::Error| matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        self.buf.is_empty() && self.fill().map_or_else(|fault| !is_late(fault), |n| n == 0)
    }
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A raw upstream. Each connection is served by the closure, on a thread of its own.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Upstream {
    pub(crate) fn start(serve: impl Fn(&mut Served) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), serve)
    }

    pub(crate) fn on(
        listener: TcpListener,
        serve: impl Fn(&mut Served) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let received = Arc::new(Mutex::new(Vec::new()));
        let (count, record) = (connections.clone(), received.clone());
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (serve, record) = (serve.clone(), record.clone());
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    let mut served = Served { stream, buf: vec![], record, number };
                    let _ = serve(&mut served);
                });
            }
        });
        Self { addr, connections, received }
    }

    /// Answers every request with 200 and the request itself as body, head included.
    pub(crate) fn echo() -> Self {
        Self::start(|conn| {
            loop {
                let request = conn.request()?;
                let body = [request.head.as_bytes(), &request.body].concat();
                conn.ok(&body)?;
            }
        })
    }

    /// Answers each request with 200 when it is let.
    pub(crate) fn gated(gate: Gate) -> Self {
        Self::start(move |conn| {
            loop {
                conn.request()?;
                gate.wait();
                conn.ok(b"late")?;
            }
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many requests have reached it.
    pub(crate) fn requests(&self) -> usize {
        String::from_utf8_lossy(&self.received()).matches(" HTTP/1.1\r\n").count()
    }

    /// Everything that has arrived, on all connections.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }
}

/// One connection of an upstream.
pub(crate) struct Served {
    pub(crate) stream: TcpStream,
    buf: Vec<u8>,
    record: Arc<Mutex<Vec<u8>>>,
    /// Which connection it is, from 0.
    pub(crate) number: usize,
}

/// A request as the upstream got it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body with its framing.
    pub(crate) raw_body: Vec<u8>,
}

impl Served {
    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        let mut part = [0; 65536];
        let n = self.stream.read(&mut part)?;
        self.record.lock().unwrap().extend_from_slice(&part[..n]);
        self.buf.extend_from_slice(&part[..n]);
        Ok(n)
    }

    fn need(&mut self) -> io::Result<()> {
        if self.fill()? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    pub(crate) fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.buf, b"\r\n\r\n") {
                let head: Vec<u8> = self.buf.drain(..at + 4).collect();
                return Ok(String::from_utf8(head).unwrap());
            }
            self.need()?;
        }
    }

    pub(crate) fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buf.len() < length {
            self.need()?;
        }
        Ok(self.buf.drain(..length).collect())
    }

    pub(crate) fn request(&mut self) -> io::Result<Request> {
        let head = self.head()?;
        let lower = head.to_ascii_lowercase();
        let mut request = Request { head, body: vec![], raw_body: vec![] };
        if let Some(at) = lower.find("\r\ncontent-length: ") {
            let rest = &lower[at + 18..];
            let length = rest[..rest.find('\r').unwrap()].parse().unwrap();
            request.body = self.exactly(length)?;
            request.raw_body.clone_from(&request.body);
        } else if lower.contains("\r\ntransfer-encoding: chunked\r\n") {
            loop {
                let line = self.line()?;
                request.raw_body.extend_from_slice(&line);
                let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
                if size == 0 {
                    break;
                }
                let data = self.exactly(size + 2)?;
                request.raw_body.extend_from_slice(&data);
                request.body.extend_from_slice(&data[..size]);
            }
            loop {
                let line = self.line()?;
                request.raw_body.extend_from_slice(&line);
                if line == b"\r\n" {
                    break;
                }
            }
        }
        Ok(request)
    }

    pub(crate) fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.buf, b"\r\n") {
                return Ok(self.buf.drain(..at + 2).collect());
            }
            self.need()?;
        }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    pub(crate) fn ok(&mut self, body: &[u8]) -> io::Result<()> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        self.write([head.as_bytes(), body].concat())
    }

    /// Adds a mark to what was received.
    pub(crate) fn record(&self, mark: &str) {
        self.record.lock().unwrap().extend_from_slice(mark.as_bytes());
    }

    /// Reads until the proxy closes or resets.
    pub(crate) fn until_closed(&mut self) {
        while matches!(self.fill(), Ok(n) if n > 0) {}
    }

    /// Closes with a reset.
    pub(crate) fn reset(&self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
