//! The gRPC method: takes the hello, enters the proxy, and starts its stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weir_api::mesh::mesh_server::Mesh;
use weir_api::mesh::{
    Hello, PROTOCOL_VERSION, ProxyMessage, Role, ServerMessage, Welcome, proxy_message, server_message,
};
use weir_control::proxies::Proxy;
use weir_control::resources::Subscription;
use weir_model::{Position, ServiceRef};

use super::hub::About;
use super::leases;
use super::reports::REPORT_EVERY;
use super::session::Session;
use super::stream::Stream;
use super::{HELLO_TIMEOUT, STREAMS_MAX, SUBSCRIPTIONS_MAX, Shared, convert};

/// The longest id of a proxy, in bytes.
const ID_BYTES_MAX: usize = 256;

/// How long the last word to a proxy may wait for it to read.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves `Join` on one connection.
pub(super) struct Joins {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: SocketAddr,
    pub(super) closing: watch::Receiver<bool>,
    /// How many streams are open on this connection.
    pub(super) streams: Arc<watch::Sender<usize>>,
}

/// An open stream of a connection.
struct OpenStream(Arc<watch::Sender<usize>>);

impl OpenStream {
    fn of(streams: &Arc<watch::Sender<usize>>) -> Self {
        streams.send_modify(|open| *open += 1);
        Self(Arc::clone(streams))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

#[tonic::async_trait]
impl Mesh for Joins {
    type JoinStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn join(
        &self,
        request: Request<Streaming<ProxyMessage>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        if self.shared.hub.len() >= STREAMS_MAX {
            return Err(Status::resource_exhausted(format!("{STREAMS_MAX} proxies are connected already")));
        }
        let mut inbound = request.into_inner();
        // One message at a time: what does not fit waits as "the catalog's newest state", not in a queue.
        let (outbound, answers) = mpsc::channel(1);
        let (shared, closing, peer) = (Arc::clone(&self.shared), self.closing.clone(), self.peer);
        let open = OpenStream::of(&self.streams);
        // The hello comes after the answer's head: a client may wait for that before it sends anything.
        tokio::spawn(async move {
            let ended = match hello(&mut inbound).await {
                Ok(hello) => run(shared, peer, hello, inbound, &outbound, closing).await,
                Err(status) => status,
            };
            let _ = outbound.send_timeout(Err(ended), LAST_WORD_TIMEOUT).await;
            drop(open);
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

async fn hello(inbound: &mut Streaming<ProxyMessage>) -> Result<Hello, Status> {
    let message = tokio::time::timeout(HELLO_TIMEOUT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello in time"))??;
    match message.and_then(|message| message.message) {
        Some(proxy_message::Message::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("expected the first message to be a hello")),
    }
}

async fn run(
    shared: Arc<Shared>,
    peer: SocketAddr,
    hello: Hello,
    inbound: Streaming<ProxyMessage>,
    outbound: &mpsc::Sender<Result<ServerMessage, Status>>,
    closing: watch::Receiver<bool>,
) -> Status {
    let (proxy, about, session, resume) = match admit(hello, peer) {
        Ok(admitted) => admitted,
        Err(status) => return status,
    };
    let id = proxy.id.clone();
    let connection = match shared.control.proxies().connect(proxy) {
        Ok(connection) => connection,
        Err(error) => return Status::resource_exhausted(error.to_string()),
    };
    let member = shared.hub.join(&id, connection, about);
    member.set_subscriptions(session.subscriptions());
    let welcome = server_message::Message::Welcome(Welcome {
        protocol: PROTOCOL_VERSION,
        datacenter: shared.control.settings().datacenter.clone(),
        replica: shared.replica.clone(),
        domains: shared.control.settings().domains.clone(),
        report_every_ms: u32::try_from(REPORT_EVERY.as_millis()).unwrap_or(u32::MAX),
        demand_every_ms: leases::demand_every_ms(),
    });
    tracing::info!(proxy = %id, %peer, "proxy joined");
    let status = if outbound.send(Ok(ServerMessage { message: Some(welcome) })).await.is_err() {
        shared.hub.leave(&member, session.services());
        shared.control.proxies().disconnect(&member.connection);
        Status::cancelled("the proxy is gone")
    } else {
        Stream::new(shared, member, session, resume).run(inbound, outbound, closing).await
    };
    tracing::info!(proxy = %id, reason = status.message(), "proxy left");
    status
}

/// Checks what a proxy says about itself, and takes its first subscriptions.
fn admit(hello: Hello, peer: SocketAddr) -> Result<(Proxy, About, Session, Option<Position>), Status> {
    if hello.protocol != PROTOCOL_VERSION {
        return Err(Status::failed_precondition(format!(
            "hello.protocol: this server speaks version {PROTOCOL_VERSION}, the proxy {}",
            hello.protocol
        )));
    }
    if hello.proxy_id.is_empty() || hello.proxy_id.len() > ID_BYTES_MAX {
        return Err(Status::invalid_argument(format!("hello.proxy_id: expected 1 to {ID_BYTES_MAX} bytes")));
    }
    let role = match hello.role() {
        Role::Gateway => "gateway",
        Role::Sidecar => "sidecar",
        Role::Unspecified => {
            return Err(Status::invalid_argument("hello.role: expected gateway or sidecar"));
        }
    };
    let namespace = convert::namespace_from(hello.namespace);
    // A gateway outside the proxy's own namespace is named `namespace/name`.
    let gateways = hello.gateways.iter().map(|name| match name.split_once('/') {
        Some((namespace, name)) => {
            Subscription::Gateway { namespace: namespace.to_owned(), name: name.to_owned() }
        }
        None => Subscription::Gateway { namespace: namespace.clone(), name: name.clone() },
    });
    let own = (role == "sidecar" && !hello.service.is_empty())
        .then(|| Subscription::Own(ServiceRef::new(&*namespace, &*hello.service)));
    let mut session = Session::new();
    session
        .add(gateways.chain(own), hello.upstreams.into_iter().map(convert::service_from), SUBSCRIPTIONS_MAX)
        .map_err(|_| too_many())?;
    let proxy = Proxy {
        id: hello.proxy_id,
        role: role.to_owned(),
        service: hello.service.clone(),
        node: hello.node,
        version: hello.version,
        connected_at: SystemTime::now(),
        sent: Position::default(),
        acknowledged: Position::default(),
        rejections: Vec::new(),
    };
    let about = About {
        peer,
        role: role.to_owned(),
        namespace,
        service: hello.service,
        gateways: hello.gateways,
        admin: hello.admin,
    };
    Ok((proxy, about, session, hello.resume.map(convert::position_from)))
}

pub(super) fn too_many() -> Status {
    Status::resource_exhausted(format!("more than {SUBSCRIPTIONS_MAX} subscriptions"))
}
