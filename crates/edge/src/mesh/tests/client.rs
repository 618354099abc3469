//! A mesh server on a free port, and a client that says exactly what a test wants.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use weir_api::mesh::mesh_client::MeshClient;
use weir_api::mesh::{
    Ack, Demand, Hello, Lease, PROTOCOL_VERSION, ProxyMessage, Rejection, Report, ReportPace, ResourceRef,
    Role, ServerMessage, ServiceRef, Subscribe, Update, Wish, proxy_message, server_message,
};
use weir_api::native::SourceText;
use weir_control::resources::ChangeRequest;
use weir_control::{Control, Settings};
use weir_model::registry::Instance;
use weir_model::{DEFAULT_NAMESPACE, Kind, ResourceId};

use crate::mesh::{Mesh, MeshListener, Timeouts};
use crate::native::apply_sources;

/// How long anything may take that must happen.
const LIMIT: Duration = Duration::from_secs(60);
/// How long is listened for what must not happen.
const SILENCE: Duration = Duration::from_millis(150);

pub(super) struct Server {
    pub(super) control: Arc<Control>,
    pub(super) mesh: Mesh,
    pub(super) address: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(Timeouts::default()).await
    }

    pub(super) async fn start_with(timeouts: Timeouts) -> Self {
        let settings = Settings { node_name: "n1".into(), ..Settings::default() };
        let control = Control::start(Arc::new(weir_store::Memory::new()), settings).await.unwrap();
        let mesh = Mesh::with((Arc::clone(&control), Arc::default()), "r1", timeouts, None);
        let listener = MeshListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(listener.serve(mesh.clone(), async {
            let _ = stopped.await;
        }));
        Self { control, mesh, address, stop: Some(stop) }
    }

    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(super) async fn apply(&self, text: &str) {
        let source = SourceText { name: "test".into(), text: text.into() };
        apply_sources(&self.control, &[source], "test").await.unwrap();
    }

    pub(super) async fn delete(&self, kind: Kind, name: &str) {
        let deletes = vec![ResourceId::new(kind, DEFAULT_NAMESPACE, name)];
        self.control.apply(&ChangeRequest { deletes, ..ChangeRequest::default() }).await.unwrap();
    }

    pub(super) fn instance(&self, service: &str, id: &str, port: u16) -> Instance {
        Instance {
            namespace: DEFAULT_NAMESPACE.into(),
            node: "n1".into(),
            id: id.into(),
            service: service.into(),
            port,
            ..Instance::default()
        }
    }

    pub(super) async fn register(&self, service: &str, id: &str, port: u16) {
        self.control.register_instance(self.instance(service, id, port), Vec::new(), true).await.unwrap();
    }

    pub(super) async fn deregister(&self, id: &str) {
        let instance = weir_control::catalog::InstanceRef::new(DEFAULT_NAMESPACE, "n1", id);
        self.control.deregister_instance(&instance).await.unwrap();
    }

    /// Whether a proxy has acknowledged all that concerns it, as of the catalog's present position.
    pub(super) fn is_in_sync(&self, id: &str) -> bool {
        let looked_at = self.mesh.position() >= self.control.position();
        looked_at && self.mesh.proxies().iter().any(|status| status.proxy.id == id && !status.behind)
    }

    pub(super) async fn wait_in_sync(&self, id: &str) {
        self.wait("the proxy to be in sync", || self.is_in_sync(id)).await;
    }

    pub(super) async fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let looking = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }
}

pub(super) fn hello(id: &str, role: Role, gateways: &[&str]) -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        proxy_id: id.into(),
        role: role.into(),
        gateways: gateways.iter().map(|gateway| (*gateway).to_owned()).collect(),
        ..Hello::default()
    }
}

pub(super) fn sidecar(id: &str, upstreams: &[&str]) -> Hello {
    Hello { service: "me".into(), upstreams: services(upstreams), ..hello(id, Role::Sidecar, &[]) }
}

fn services(names: &[&str]) -> Vec<ServiceRef> {
    names.iter().map(|name| ServiceRef { namespace: String::new(), name: (*name).to_owned() }).collect()
}

pub(super) struct Client {
    say: mpsc::Sender<ProxyMessage>,
    answers: Streaming<ServerMessage>,
}

impl Client {
    async fn connect(server: &Server, hello: Hello) -> Self {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
        let mut mesh = MeshClient::new(endpoint.connect().await.unwrap());
        let (say, said) = mpsc::channel(16);
        say.send(ProxyMessage { message: Some(proxy_message::Message::Hello(hello)) }).await.unwrap();
        let answers = mesh.join(ReceiverStream::new(said)).await.unwrap().into_inner();
        Self { say, answers }
    }

    /// Joins, and takes the welcome.
    pub(super) async fn join(server: &Server, hello: Hello) -> Self {
        let mut client = Self::connect(server, hello).await;
        match client.next().await.unwrap() {
            server_message::Message::Welcome(welcome) => {
                assert_eq!((welcome.datacenter.as_str(), welcome.replica.as_str()), ("dc1", "r1"));
            }
            other => panic!("expected a welcome: {other:?}"),
        }
        client
    }

    /// Says a hello that must be refused.
    pub(super) async fn refused(server: &Server, hello: Hello) -> Status {
        Self::connect(server, hello).await.next().await.unwrap_err()
    }

    async fn next(&mut self) -> Result<server_message::Message, Status> {
        let message = timeout(LIMIT, self.answers.message()).await.expect("no message in time")?;
        Ok(message.expect("the stream ended without a status").message.expect("an empty message"))
    }

    pub(super) async fn update(&mut self) -> Update {
        match self.next().await.unwrap() {
            server_message::Message::Update(update) => update,
            other => panic!("expected an update: {other:?}"),
        }
    }

    /// The next pace, whatever updates come before.
    pub(super) async fn pace(&mut self) -> ReportPace {
        loop {
            match self.next().await.unwrap() {
                server_message::Message::ReportPace(pace) => return pace,
                server_message::Message::Update(_) => {}
                other => panic!("expected a pace: {other:?}"),
            }
        }
    }

    pub(super) async fn report(&self, json: Vec<u8>) {
        self.say(proxy_message::Message::Report(Report { json })).await;
    }

    /// Asks for a share of a limit, and takes the answer, whatever updates come before.
    pub(super) async fn lease(&mut self, number: u64, limit: &str, target: &str, lease: u64) -> Lease {
        let resource =
            ResourceRef { kind: "RateLimit".into(), namespace: DEFAULT_NAMESPACE.into(), name: limit.into() };
        let wish = Wish { limit: Some(resource), target: target.into(), wanted: 1_000_000, lease };
        self.say(proxy_message::Message::Demand(Demand { number, wishes: vec![wish] })).await;
        loop {
            match self.next().await.unwrap() {
                server_message::Message::Leases(leases) => {
                    assert_eq!(leases.demand, number);
                    let [lease] = &*leases.leases else { panic!("not one: {leases:?}") };
                    return lease.clone();
                }
                server_message::Message::Update(_) => {}
                other => panic!("expected leases: {other:?}"),
            }
        }
    }

    /// The status with which the stream ends, whatever comes before.
    pub(super) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }

    pub(super) async fn expect_silence(&mut self) {
        if let Ok(message) = timeout(SILENCE, self.answers.message()).await {
            panic!("expected nothing: {message:?}");
        }
    }

    async fn say(&self, message: proxy_message::Message) {
        self.say.send(ProxyMessage { message: Some(message) }).await.unwrap();
    }

    pub(super) async fn ack(&self, update: &Update) {
        self.say(proxy_message::Message::Ack(Ack { position: update.position, rejections: Vec::new() }))
            .await;
    }

    pub(super) async fn reject(&self, update: &Update, kind: &str, name: &str, path: &str, reason: &str) {
        let resource =
            ResourceRef { kind: kind.into(), namespace: DEFAULT_NAMESPACE.into(), name: name.into() };
        let rejection = Rejection { resource: Some(resource), path: path.into(), reason: reason.into() };
        self.say(proxy_message::Message::Ack(Ack { position: update.position, rejections: vec![rejection] }))
            .await;
    }

    pub(super) async fn subscribe(&self, add: &[&str], drop: &[&str]) {
        let subscribe = Subscribe { add: services(add), drop: services(drop) };
        self.say(proxy_message::Message::Subscribe(subscribe)).await;
    }
}
