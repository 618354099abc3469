//! The source against a control plane that says what the test wants.

mod checks;
mod reports;
mod unwelcome;

use std::convert::Infallible;
use std::net::SocketAddr;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weir_api::mesh::mesh_server::{Mesh, MeshServer};
use weir_api::mesh::{self, ProxyMessage, ServerMessage, proxy_message, server_message};
use weir_model::Position;
use weir_model::resource::Protocol;

use super::messages::{endpoints, update, upsert};
use super::*;
use crate::snapshot::tests::{endpoint, gateway, resource, route, service};
use crate::snapshot::{MeshLookup, Settings};
use crate::source::Subscribed;
use crate::source::publish::tests::FakeSockets;

const PATIENCE: Duration = Duration::from_secs(60);
/// Where the end of a silent server is waited for: short, and longer than a busy machine stands still.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// A control plane that hands each stream to the test.
struct Server {
    addr: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    accepting: JoinHandle<()>,
}

struct Stream {
    inbox: Streaming<ProxyMessage>,
    outbox: mpsc::Sender<Result<ServerMessage, Status>>,
}

#[derive(Clone)]
struct Handler(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl Mesh for Handler {
    type JoinStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn join(
        &self,
        request: Request<Streaming<ProxyMessage>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let (outbox, messages) = mpsc::channel(16);
        let stream = Stream { inbox: request.into_inner(), outbox };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

impl Server {
    async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    async fn start_at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(4);
        let accepting = tokio::spawn(async move {
            // Ends its connections when it is aborted, as a killed server does.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(serve(socket, sender.clone()));
            }
        });
        Self { addr, streams, accepting }
    }

    async fn stream(&mut self) -> Stream {
        timeout(PATIENCE, self.streams.recv()).await.expect("no stream in time").unwrap()
    }

    /// Takes the next stream up to the proxy's hello and welcomes it.
    async fn welcome(&mut self) -> (Stream, mesh::Hello) {
        self.welcome_with(0).await
    }

    /// The same, and says how often it wants reports.
    async fn welcome_with(&mut self, report_every_ms: u32) -> (Stream, mesh::Hello) {
        let mut stream = self.stream().await;
        let Some(proxy_message::Message::Hello(hello)) = stream.next().await else { panic!("no hello") };
        let welcome = mesh::Welcome { protocol: 1, report_every_ms, ..mesh::Welcome::default() };
        stream.send(server_message::Message::Welcome(welcome)).await;
        (stream, hello)
    }

    async fn kill(self) -> SocketAddr {
        self.accepting.abort();
        let _ = self.accepting.await;
        self.addr
    }
}

async fn serve(socket: TcpStream, streams: mpsc::Sender<Stream>) {
    let service = MeshServer::new(Handler(streams));
    let answer = service_fn(move |request| {
        let mut service = service.clone();
        async move { Ok::<_, Infallible>(tonic::codegen::Service::call(&mut service, request).await.unwrap()) }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), answer)
        .await;
}

impl Stream {
    async fn next(&mut self) -> Option<proxy_message::Message> {
        let message = timeout(PATIENCE, self.inbox.message()).await.expect("no message in time");
        message.ok().flatten().and_then(|message| message.message)
    }

    async fn send(&self, message: server_message::Message) {
        self.outbox.send(Ok(ServerMessage { message: Some(message) })).await.unwrap();
    }

    async fn update(&self, update: mesh::Update) {
        self.send(server_message::Message::Update(update)).await;
    }

    async fn ack(&mut self) -> mesh::Ack {
        match self.next().await {
            Some(proxy_message::Message::Ack(ack)) => ack,
            other => panic!("expected an acknowledgement, not {other:?}"),
        }
    }

    async fn subscribe(&mut self) -> mesh::Subscribe {
        match self.next().await {
            Some(proxy_message::Message::Subscribe(subscribe)) => subscribe,
            other => panic!("expected a subscription, not {other:?}"),
        }
    }
}

/// A proxy's source at work.
struct Proxy {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

fn settings(addr: SocketAddr, role: Role) -> MeshSettings {
    MeshSettings::new(vec![format!("http://{addr}")], "proxy-1".into(), role)
}

fn edge() -> Role {
    Role::Gateway { gateways: vec!["edge".into()] }
}

fn front() -> Role {
    Role::Sidecar { service: ServiceRef::new("default", "front") }
}

async fn start(settings: MeshSettings) -> Proxy {
    start_with(settings, Arc::default()).await
}

async fn start_with(settings: MeshSettings, sockets: Arc<FakeSockets>) -> Proxy {
    let shared = Shared::new();
    let publisher = Publisher::new(shared.clone(), sockets, settings.role.clone(), Settings::default());
    let mut source = MeshSource::start(settings, publisher).await.unwrap();
    Proxy { shared, task: tokio::spawn(async move { source.follow().await }) }
}

impl Proxy {
    fn rules(&self) -> Vec<String> {
        let snapshot = self.shared.snapshot.load();
        let listeners = snapshot.listeners.iter();
        listeners.flat_map(|l| l.routes.rules()).map(|rule| rule.label.to_string()).collect()
    }

    fn endpoints(&self, name: &str) -> Vec<String> {
        let snapshot = self.shared.snapshot.load();
        let upstream = snapshot.upstream_of(&ServiceRef::new("default", name));
        upstream.map_or(vec![], |upstream| upstream.endpoints.iter().map(|e| e.id.to_string()).collect())
    }

    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn shop(epoch: u64, revision: u64) -> mesh::Update {
    mesh::Update {
        reset: true,
        upserts: vec![upsert(&gateway("edge")), upsert(&route("shop", parents(), "cart"))],
        endpoints: vec![endpoints("cart", true, &[endpoint("a/1", 9001)], &[])],
        ..update(epoch, revision)
    }
}

fn parents() -> serde_json::Value {
    serde_json::json!([{"name": "edge"}])
}

#[tokio::test]
async fn updates_are_put_in_force_and_acknowledged() {
    let mut server = Server::start().await;
    let proxy = start(settings(server.addr, edge())).await;
    let (mut stream, hello) = server.welcome().await;
    assert_eq!((hello.protocol, hello.proxy_id.as_str()), (1, "proxy-1"));
    assert_eq!(hello.gateways, ["edge"]);
    assert_eq!(hello.role(), mesh::Role::Gateway);
    assert_eq!(hello.resume, None);

    stream.update(shop(1, 5)).await;
    let ack = stream.ack().await;
    assert_eq!(ack.position, Some(mesh::Position { epoch: 1, revision: 5 }));
    assert!(ack.rejections.is_empty());
    assert_eq!(proxy.rules(), ["HTTPRoute/shop#0"]);
    assert_eq!(proxy.endpoints("cart"), ["a/1"]);
    assert_eq!(*proxy.shared.in_force().borrow(), Some(Position::new(1, 5)));
    let subscribe = stream.subscribe().await;
    assert_eq!(subscribe.add[0].name, "cart", "a route leads there");

    let delta = endpoints("cart", false, &[endpoint("a/2", 9002)], &["a/1"]);
    stream.update(mesh::Update { endpoints: vec![delta], ..update(1, 6) }).await;
    stream.ack().await;
    assert_eq!(proxy.endpoints("cart"), ["a/2"]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_bad_resource_is_rejected_and_the_rest_applies() {
    let mut server = Server::start().await;
    let proxy = start(settings(server.addr, edge())).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(shop(1, 5)).await;
    stream.ack().await;
    stream.subscribe().await;

    let listeners = serde_json::json!([{"name": "web", "port": 0, "protocol": "HTTP"}]);
    let none = resource("Gateway", "edge", serde_json::json!({"listeners": listeners}));
    let upserts = vec![upsert(&none), upsert(&route("new", parents(), "cart"))];
    stream.update(mesh::Update { upserts, ..update(1, 6) }).await;
    let ack = stream.ack().await;
    assert_eq!(ack.position, Some(mesh::Position { epoch: 1, revision: 6 }));
    assert_eq!(ack.rejections.len(), 1);
    assert_eq!(ack.rejections[0].resource.as_ref().unwrap().kind, "Gateway");
    assert_eq!(ack.rejections[0].path, "spec.listeners[0].port");
    assert!(ack.rejections[0].reason.contains("port 0 cannot be used"));
    assert_eq!(proxy.rules(), ["HTTPRoute/new#0", "HTTPRoute/shop#0"]);
    assert_eq!(proxy.shared.status().rejections.len(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn a_lost_control_plane_changes_nothing_and_the_stream_resumes() {
    let mut server = Server::start().await;
    let proxy = start(settings(server.addr, edge())).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(shop(1, 5)).await;
    stream.ack().await;
    let addr = server.kill().await;
    assert_eq!(proxy.endpoints("cart"), ["a/1"]);

    let mut server = Server::start_at(addr).await;
    let (mut stream, hello) = server.welcome().await;
    assert_eq!(hello.resume, Some(mesh::Position { epoch: 1, revision: 5 }));
    assert_eq!(hello.upstreams[0].name, "cart");
    let delta = endpoints("cart", false, &[endpoint("a/2", 9002)], &[]);
    stream.update(mesh::Update { endpoints: vec![delta], ..update(1, 7) }).await;
    stream.ack().await;
    assert_eq!(proxy.endpoints("cart"), ["a/1", "a/2"]);
    proxy.stop().await;
}

#[tokio::test]
async fn another_history_is_begun_from_nothing() {
    let mut server = Server::start().await;
    let proxy = start(settings(server.addr, edge())).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(shop(1, 5)).await;
    stream.ack().await;
    stream.subscribe().await;
    // Another epoch without a reset does not fit: the proxy asks for everything.
    stream.update(update(2, 1)).await;
    let (mut stream, hello) = server.welcome().await;
    assert_eq!(hello.resume, None);
    assert_eq!(proxy.rules(), ["HTTPRoute/shop#0"], "what is in force stays meanwhile");
    stream
        .update(mesh::Update { upserts: vec![upsert(&gateway("edge"))], reset: true, ..update(2, 1) })
        .await;
    stream.ack().await;
    assert!(proxy.rules().is_empty());
    assert_eq!(*proxy.shared.in_force().borrow(), Some(Position::new(2, 1)));
    proxy.stop().await;
}

#[tokio::test]
async fn servers_are_tried_in_turn() {
    let mut server = Server::start().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut settings = settings(server.addr, edge());
    settings.servers.insert(0, format!("http://{dead}"));
    let proxy = start(settings).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(shop(1, 1)).await;
    stream.ack().await;
    assert_eq!(proxy.shared.status().connected_to, Some(format!("http://{}", server.addr)));
    proxy.stop().await;
}

#[tokio::test]
async fn a_silent_server_is_left() {
    // Accepts and never says a word: connected, but dead.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut server = Server::start().await;
    let mut settings = settings(server.addr, edge());
    settings.servers.insert(0, format!("http://{}", silent.local_addr().unwrap()));
    settings.keepalive = KEEPALIVE;
    let proxy = start(settings).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(shop(1, 1)).await;
    stream.ack().await;
    proxy.stop().await;
}

/// Passes bytes between the next client and a server until it is told to freeze: then the connection stays open, and
/// nothing gets through, as when a host loses power.
async fn freezing_relay(server: SocketAddr, frozen: Arc<tokio::sync::Notify>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut upstream = TcpStream::connect(server).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {}
            () = frozen.notified() => {}
        }
        // Holds both connections, and the listener, which accepts no more.
        std::future::pending::<()>().await;
        drop((client, upstream, listener));
    });
    addr
}

#[tokio::test]
async fn a_server_that_dies_without_a_word_is_noticed() {
    let mut server = Server::start().await;
    let frozen = Arc::new(tokio::sync::Notify::new());
    let relay = freezing_relay(server.addr, frozen.clone()).await;
    let mut settings = settings(relay, edge());
    settings.servers.push(format!("http://{}", server.addr));
    settings.keepalive = KEEPALIVE;
    let proxy = start(settings).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(shop(1, 5)).await;
    stream.ack().await;
    frozen.notify_one();
    let (_stream, hello) = server.welcome().await;
    assert_eq!(hello.resume, Some(mesh::Position { epoch: 1, revision: 5 }));
    assert_eq!(proxy.rules(), ["HTTPRoute/shop#0"]);
    proxy.stop().await;
}

#[test]
fn services_are_subscribed_to_whatever_kind_of_route_leads_there() {
    let parse = |text: &str| weir_model::document::parse("test", text).unwrap().documents.remove(0).resource;
    let routes = [
        "kind: TCPRoute\nmetadata: {name: a}\nspec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: db}]}]}",
        "kind: TLSRoute\nmetadata: {name: b}\nspec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: \
         mail}]}]}",
    ];
    let inputs = Inputs::of_resources(Position::new(1, 1), routes.into_iter().map(parse));
    let names: Vec<_> = referenced(&inputs).into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["db", "mail"]);
}

#[tokio::test]
async fn declared_services_are_subscribed_to_from_the_start_and_for_good() {
    let mut server = Server::start().await;
    let mut settings = settings(server.addr, front());
    settings.declared = vec![ServiceRef::new("default", "db")];
    settings.idle_max = Duration::ZERO;
    let proxy = start(settings).await;
    let (mut stream, hello) = server.welcome().await;
    let subscribed: Vec<_> = hello.upstreams.iter().map(|service| &*service.name).collect();
    assert_eq!(subscribed, ["db"]);
    let known = endpoints("db", true, &[endpoint("a/1", 5432)], &[]);
    stream.update(mesh::Update { reset: true, endpoints: vec![known], ..update(1, 5) }).await;
    stream.ack().await;
    let addr = "127.0.0.1:5432".parse().unwrap();
    assert_eq!(proxy.shared.snapshot.load().service_at(addr), Some(&ServiceRef::new("default", "db")));
    proxy.stop().await;
}

#[tokio::test]
async fn a_service_is_subscribed_to_when_it_is_called() {
    let mut server = Server::start().await;
    let proxy = start(settings(server.addr, front())).await;
    let cart = ServiceRef::new("default", "cart");
    assert_eq!(proxy.shared.subscriptions.request(&cart).await, Subscribed::Unavailable, "not connected yet");

    let (mut stream, hello) = server.welcome().await;
    assert_eq!((hello.role(), hello.service.as_str()), (mesh::Role::Sidecar, "front"));
    stream.update(mesh::Update { reset: true, ..update(1, 5) }).await;
    stream.ack().await;
    assert!(matches!(proxy.shared.snapshot.load().mesh.lookup(b"cart"), MeshLookup::NotSubscribed(_)));

    let shared = proxy.shared.clone();
    let asking = tokio::spawn(async move { shared.subscriptions.request(&cart).await });
    assert_eq!(stream.subscribe().await.add[0].name, "cart");
    let known = endpoints("cart", true, &[endpoint("a/1", 9001)], &[]);
    stream.update(mesh::Update { endpoints: vec![known], ..update(1, 5) }).await;
    assert_eq!(asking.await.unwrap(), Subscribed::Answered);
    assert!(matches!(proxy.shared.snapshot.load().mesh.lookup(b"cart"), MeshLookup::Known(_)));
    stream.ack().await;
    // What it speaks is told beside its endpoints, and may be said anew alone; a word that is not known here says nothing.
    for (word, expect) in
        [("tcp", Some(Protocol::Tcp)), ("smoke", None), ("grpc", Some(Protocol::Grpc)), ("", None)]
    {
        let said = mesh::ServiceEndpoints { protocol: word.to_owned(), ..endpoints("cart", false, &[], &[]) };
        stream.update(mesh::Update { endpoints: vec![said], ..update(1, 5) }).await;
        stream.ack().await;
        let snapshot = proxy.shared.snapshot.load();
        let upstream = snapshot.upstream_of(&ServiceRef::new("default", "cart")).unwrap();
        assert_eq!((upstream.declared, upstream.endpoints.len()), (expect, 1), "{word}");
    }

    // One that does not exist is answered, too.
    let shared = proxy.shared.clone();
    let gone = ServiceRef::new("default", "gone");
    let asking = tokio::spawn(async move { shared.subscriptions.request(&gone).await });
    stream.subscribe().await;
    let unknown = mesh::ServiceEndpoints { known: false, ..endpoints("gone", true, &[], &[]) };
    stream.update(mesh::Update { endpoints: vec![unknown], ..update(1, 5) }).await;
    assert_eq!(asking.await.unwrap(), Subscribed::Answered);
    assert!(matches!(proxy.shared.snapshot.load().mesh.lookup(b"gone"), MeshLookup::Unknown));
    proxy.stop().await;
}

#[tokio::test]
async fn an_unused_service_is_dropped() {
    let mut server = Server::start().await;
    let mut settings = settings(server.addr, front());
    settings.idle_max = Duration::ZERO;
    let proxy = start(settings).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(mesh::Update { reset: true, ..update(1, 5) }).await;
    stream.ack().await;
    let shared = proxy.shared.clone();
    let asking =
        tokio::spawn(async move { shared.subscriptions.request(&ServiceRef::new("default", "cart")).await });
    stream.subscribe().await;
    stream.update(mesh::Update { endpoints: vec![endpoints("cart", true, &[], &[])], ..update(1, 5) }).await;
    assert_eq!(asking.await.unwrap(), Subscribed::Answered);
    stream.ack().await;
    let dropped = stream.subscribe().await;
    assert_eq!((dropped.add.len(), dropped.drop[0].name.as_str()), (0, "cart"));
    let forgotten = async {
        while !matches!(proxy.shared.snapshot.load().mesh.lookup(b"cart"), MeshLookup::NotSubscribed(_)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, forgotten).await.unwrap();
    proxy.stop().await;
}

#[tokio::test]
async fn a_restarted_proxy_serves_from_disk_and_resumes() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start().await;
    let with_disk = |addr| MeshSettings { data_dir: Some(directory.path().into()), ..settings(addr, edge()) };
    let proxy = start(with_disk(server.addr)).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(shop(4, 9)).await;
    stream.ack().await;
    let written = async {
        while disk::load(directory.path()).unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, written).await.unwrap();
    proxy.stop().await;
    let addr = server.kill().await;

    let proxy = start(with_disk(addr)).await;
    assert!(proxy.shared.is_ready(), "without any control plane");
    assert_eq!(proxy.rules(), ["HTTPRoute/shop#0"]);
    assert_eq!(proxy.endpoints("cart"), ["a/1"]);
    let mut server = Server::start_at(addr).await;
    let (_stream, hello) = server.welcome().await;
    assert_eq!(hello.resume, Some(mesh::Position { epoch: 4, revision: 9 }));
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_lacking_is_not_claimed_when_resuming() {
    let mut server = Server::start().await;
    let proxy = start(settings(server.addr, edge())).await;
    let (mut stream, _) = server.welcome().await;
    let without_endpoints = mesh::Update { endpoints: vec![], ..shop(1, 5) };
    stream.update(without_endpoints).await;
    stream.ack().await;
    stream.subscribe().await;
    // The answer never comes.
    let addr = server.kill().await;
    let mut server = Server::start_at(addr).await;
    let (mut stream, hello) = server.welcome().await;
    assert!(hello.resume.is_some());
    assert!(hello.upstreams.is_empty());
    assert_eq!(stream.subscribe().await.add[0].name, "cart");
    proxy.stop().await;
}

#[tokio::test]
async fn a_gateway_whose_port_is_taken_for_a_while_is_not_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = Some(directory.path().to_owned());
    let mut server = Server::start().await;
    let with_disk = MeshSettings { data_dir: data_dir.clone(), ..settings(server.addr, edge()) };
    let sockets: Arc<FakeSockets> = Arc::default();
    sockets.refused.lock().unwrap().push(8080);
    let proxy = start_with(with_disk.clone(), sockets.clone()).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(shop(1, 5)).await;
    assert_eq!(stream.ack().await.rejections.len(), 1);
    stream.subscribe().await;
    assert!(proxy.rules().is_empty());
    sockets.refused.lock().unwrap().clear();
    assert!(stream.ack().await.rejections.is_empty(), "it is tried again, and that is told");
    assert_eq!(proxy.rules(), ["HTTPRoute/shop#0"]);
    proxy.stop().await;
    server.kill().await;

    sockets.refused.lock().unwrap().push(8080);
    let proxy = start_with(with_disk, sockets.clone()).await;
    assert!(proxy.rules().is_empty());
    sockets.refused.lock().unwrap().clear();
    let served = async {
        while proxy.rules().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, served).await.expect("tried again without a control plane");
    proxy.stop().await;
}

fn edge_on(ports: &[u16]) -> mesh::Resource {
    gateway_named("edge", ports)
}

fn gateway_named(name: &str, ports: &[u16]) -> mesh::Resource {
    let listener =
        |port: &u16| serde_json::json!({"name": format!("p{port}"), "port": port, "protocol": "HTTP"});
    let listeners: Vec<_> = ports.iter().map(listener).collect();
    upsert(&resource("Gateway", name, serde_json::json!({"listeners": listeners})))
}

/// Waits until these ports and no others are open.
async fn until_open(sockets: &FakeSockets, expected: &[u16]) {
    let open = || sockets.open.lock().unwrap().iter().map(SocketAddr::port).collect::<Vec<_>>();
    let opened = async {
        while open() != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, opened).await.is_ok(), "{:?} are open, not {expected:?}", open());
}

/// A proxy that serves `edge` at 8080 and has refused a version with 8081 as well, which is taken.
async fn with_one_refused(
    settings: MeshSettings,
    server: &mut Server,
    sockets: &Arc<FakeSockets>,
) -> (Proxy, Stream) {
    sockets.refused.lock().unwrap().push(8081);
    let proxy = start_with(settings, sockets.clone()).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(shop(4, 1)).await;
    assert!(stream.ack().await.rejections.is_empty());
    stream.update(mesh::Update { upserts: vec![edge_on(&[8080, 8081])], ..update(4, 2) }).await;
    loop {
        match stream.next().await {
            Some(proxy_message::Message::Ack(ack)) => break assert_eq!(ack.rejections.len(), 1),
            other => assert!(matches!(other, Some(proxy_message::Message::Subscribe(_))), "{other:?}"),
        }
    }
    until_open(sockets, &[8080]).await;
    (proxy, stream)
}

/// What a control plane says at first to a proxy that lacks the newest version.
fn refused_shop() -> mesh::Update {
    let route = upsert(&route("shop", parents(), "cart"));
    mesh::Update { upserts: vec![edge_on(&[8080, 8081]), route], ..shop(4, 2) }
}

#[tokio::test]
async fn after_a_restart_the_last_good_version_is_served_of_what_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start().await;
    let settings = MeshSettings { data_dir: Some(directory.path().into()), ..settings(server.addr, edge()) };
    let sockets: Arc<FakeSockets> = Arc::default();
    let (proxy, _stream) = with_one_refused(settings.clone(), &mut server, &sockets).await;
    let incomplete = || disk::load(directory.path()).unwrap().is_some_and(|kept| !kept.complete);
    let written = async {
        while !incomplete() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, written).await.expect("not written");
    proxy.stop().await;

    // Even its own port is taken for a while, as by a process that has not ended yet.
    sockets.open.lock().unwrap().clear();
    sockets.refused.lock().unwrap().push(8080);
    let proxy = start_with(settings.clone(), sockets.clone()).await;
    let (mut stream, hello) = server.welcome().await;
    assert_eq!(hello.resume, None, "it lacks something");
    stream.update(refused_shop()).await;
    let rejections = stream.ack().await.rejections;
    assert!(!rejections.is_empty());
    assert!(rejections.iter().any(|rejection| rejection.reason.contains("8081")), "{rejections:?}");
    until_open(&sockets, &[]).await;
    sockets.refused.lock().unwrap().retain(|port| *port != 8080);
    until_open(&sockets, &[8080]).await;
    assert_eq!(proxy.rules(), ["HTTPRoute/shop#0"]);
    proxy.stop().await;
}

#[tokio::test]
async fn after_a_restart_what_was_refused_does_not_displace_what_was_served() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start().await;
    let role = Role::Gateway { gateways: vec![] };
    let settings = MeshSettings { data_dir: Some(directory.path().into()), ..settings(server.addr, role) };
    let sockets: Arc<FakeSockets> = Arc::default();
    let proxy = start_with(settings.clone(), sockets.clone()).await;
    let (mut stream, _) = server.welcome().await;
    let before = mesh::Update { reset: true, upserts: vec![gateway_named("b", &[8080])], ..update(4, 1) };
    stream.update(before).await;
    stream.ack().await;
    // A newcomer for the same port comes first in the alphabet.
    stream.update(mesh::Update { upserts: vec![gateway_named("a", &[8080])], ..update(4, 2) }).await;
    assert!(!stream.ack().await.rejections.is_empty());
    let gateways = |proxy: &Proxy| {
        let snapshot = proxy.shared.snapshot.load();
        snapshot.listeners.iter().map(|listener| listener.gateway.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(gateways(&proxy), ["b"]);
    let written = async {
        while disk::load(directory.path()).unwrap().is_none_or(|kept| kept.refused.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, written).await.expect("not written");
    proxy.stop().await;
    server.kill().await;
    let proxy = start_with(settings, sockets).await;
    assert_eq!(gateways(&proxy), ["b"]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_process_that_takes_over_begins_with_what_the_one_before_has_in_force() {
    let mut server = Server::start().await;
    let sockets: Arc<FakeSockets> = Arc::default();
    let (before, stream) = with_one_refused(settings(server.addr, edge()), &mut server, &sockets).await;
    let kept = before.shared.kept().unwrap().unwrap();
    before.stop().await;
    drop(stream);
    sockets.open.lock().unwrap().clear();

    let inherited = || Some(Kept::from_bytes(&kept).unwrap());
    let taking_over = MeshSettings {
        inherited: inherited(),
        ask_first: Some(Duration::from_secs(600)),
        ..settings(server.addr, edge())
    };
    let proxy = start_with(taking_over.clone(), sockets.clone()).await;
    assert!(proxy.shared.is_ready(), "whether or not a control plane answers");
    assert_eq!(proxy.rules(), ["HTTPRoute/shop#0"]);
    assert_eq!(proxy.endpoints("cart"), ["a/1"]);
    let (mut stream, hello) = server.welcome().await;
    assert_eq!(hello.resume, None, "it lacks something");
    assert_eq!(hello.upstreams.len(), 1, "what it has is asked for at once");
    stream.update(refused_shop()).await;
    assert_eq!(stream.ack().await.rejections.len(), 1);
    until_open(&sockets, &[8080]).await;
    assert_eq!(proxy.endpoints("cart"), ["a/1"]);
    proxy.stop().await;

    // Whatever of it is refused, nothing is put in force.
    sockets.open.lock().unwrap().clear();
    sockets.refused.lock().unwrap().push(8080);
    let shared = Shared::new();
    let publisher = Publisher::new(shared.clone(), sockets.clone(), edge(), Settings::default());
    let error = MeshSource::start(taking_over, publisher).await.err().expect("refused").to_string();
    assert!(
        error.contains("Gateway/edge: spec.listeners[0].port: cannot listen on 127.0.0.1:8080"),
        "{error}"
    );
    assert!(!shared.is_ready());
    until_open(&sockets, &[]).await;
}

#[tokio::test]
async fn a_process_that_lacks_nothing_goes_on_where_the_one_before_stood() {
    let mut server = Server::start().await;
    let before = start(settings(server.addr, edge())).await;
    let (mut stream, _) = server.welcome().await;
    stream.update(shop(4, 9)).await;
    stream.ack().await;
    let kept = before.shared.kept().unwrap().unwrap();
    before.stop().await;
    let inherited = Some(Kept::from_bytes(&kept).unwrap());
    let proxy = start(MeshSettings { inherited, ..settings(server.addr, edge()) }).await;
    let (_stream, hello) = server.welcome().await;
    assert_eq!(hello.resume, Some(mesh::Position { epoch: 4, revision: 9 }));
    proxy.stop().await;
}

#[tokio::test]
async fn a_last_word_about_a_dropped_service_is_not_believed() {
    let mut server = Server::start().await;
    let proxy = start(settings(server.addr, front())).await;
    let (mut stream, _) = server.welcome().await;
    let unasked = endpoints("cart", true, &[endpoint("a/1", 9001)], &[]);
    stream.update(mesh::Update { reset: true, endpoints: vec![unasked], ..update(1, 5) }).await;
    stream.ack().await;
    assert!(matches!(proxy.shared.snapshot.load().mesh.lookup(b"cart"), MeshLookup::NotSubscribed(_)));
    proxy.stop().await;
}

#[tokio::test]
async fn a_damaged_state_on_disk_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(disk::path(directory.path()), "{\"format\": 1,").unwrap();
    let mut server = Server::start().await;
    let settings = MeshSettings { data_dir: Some(directory.path().into()), ..settings(server.addr, edge()) };
    let proxy = start(settings).await;
    assert!(!proxy.shared.is_ready());
    let (mut stream, hello) = server.welcome().await;
    assert_eq!(hello.resume, None);
    stream.update(mesh::Update { upserts: vec![upsert(&service("cart", &[1]))], ..shop(1, 1) }).await;
    stream.ack().await;
    assert!(proxy.shared.is_ready());
    proxy.stop().await;
}

#[test]
fn backoff_grows_to_its_bound() {
    assert_eq!(backoff(0, 1.0), BACKOFF_MIN);
    assert_eq!(backoff(1, 1.0), BACKOFF_MIN * 2);
    assert_eq!(backoff(2, 0.5), BACKOFF_MIN * 2);
    assert_eq!(backoff(10, 1.0), BACKOFF_MAX);
    assert_eq!(backoff(u32::MAX, 1.0), BACKOFF_MAX);
    assert_eq!(backoff(u32::MAX, 0.0), Duration::ZERO);
}
