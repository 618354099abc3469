//! Calls to the members of a cluster: to one of them as long as it answers, then to the next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Request, Response, Status};
use weir_tls::Dial;

use super::fault::Fault;
use super::generated::AuthenticateRequest;
use super::generated::auth_client::AuthClient;
use super::options::{Credentials, EtcdAddress};

/// How long etcd may take to answer what could be repeated elsewhere.
const READ_ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long it may take to answer what must not be repeated: its own bound on a proposal is about as long.
const WRITE_ANSWER_MAX: Duration = Duration::from_secs(7);
/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How often a silent connection is asked for a sign of life. etcd ends connections that ask more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
/// How long that sign may take.
const PING_ANSWER_MAX: Duration = Duration::from_secs(2);

/// Whether a call may be made again although the first may have had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or the same again.
    Free,
    /// Only if it was certainly not executed.
    Unsent,
}

/// The members of a cluster.
pub(super) struct Client {
    members: Vec<Channel>,
    /// The member that is asked.
    current: AtomicUsize,
    credentials: Option<Credentials>,
    token: RwLock<Option<MetadataValue<Ascii>>>,
}

impl Client {
    /// Connects at the first call.
    pub(super) fn new(address: &EtcdAddress) -> Result<Self, String> {
        let tls = address.tls()?;
        let member = |uri: String| {
            let endpoint = Endpoint::from_shared(uri).map_err(|why| super::fault::reason(&why))?;
            let endpoint = endpoint
                .connect_timeout(CONNECT_MAX)
                .http2_keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_ANSWER_MAX)
                .keep_alive_while_idle(true)
                .tcp_nodelay(true);
            Ok::<_, String>(match &tls {
                Some(tls) => endpoint.connect_with_connector_lazy(Dial(Arc::clone(tls))),
                None => endpoint.connect_lazy(),
            })
        };
        Ok(Self {
            members: address.endpoints().into_iter().map(member).collect::<Result<_, _>>()?,
            current: AtomicUsize::new(0),
            credentials: address.credentials()?,
            token: RwLock::new(None),
        })
    }

    /// Calls a member, and others if it may and must.
    pub(super) async fn call<M: Clone, R>(
        &self,
        repeat: Repeat,
        message: M,
        call: impl AsyncFn(Channel, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Fault> {
        let answer_max = match repeat {
            Repeat::Free => READ_ANSWER_MAX,
            Repeat::Unsent => WRITE_ANSWER_MAX,
        };
        let mut asked = 0;
        let mut refreshed = false;
        loop {
            let at = self.current.load(Ordering::Relaxed);
            let once = async || {
                // Without a token etcd would go by the name in the certificate, if there is one.
                if self.credentials.is_some() && self.token().is_none() {
                    self.authenticate(at).await?;
                }
                let request = self.request(message.clone());
                let called = call(self.member(at), request);
                tokio::time::timeout(answer_max, called).await.unwrap_or_else(|_| Err(late()))
            };
            let status = match once().await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            if is_unauthenticated(&status) && self.credentials.is_some() && !refreshed {
                refreshed = true;
                self.forget_token();
                continue;
            }
            if !is_the_members(&status) {
                return Err(Fault::from(&status));
            }
            self.leave(at);
            asked += 1;
            if asked >= self.members.len() || (repeat == Repeat::Unsent && !is_unsent(&status)) {
                return Err(Fault::from(&status));
            }
        }
    }

    /// The next one is asked from now on, unless somebody has moved on already.
    fn leave(&self, at: usize) {
        let next = at.wrapping_add(1);
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn member(&self, at: usize) -> Channel {
        self.members[at % self.members.len()].clone()
    }

    fn token(&self) -> Option<MetadataValue<Ascii>> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget_token(&self) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        // A member that has no leader says so at once, and ends watches.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = self.token() {
            request.metadata_mut().insert("token", token);
        }
        request
    }

    async fn authenticate(&self, at: usize) -> Result<(), Status> {
        let Some(credentials) = &self.credentials else { return Ok(()) };
        let asked =
            AuthenticateRequest { name: credentials.user.clone(), password: credentials.password.clone() };
        let mut auth = AuthClient::new(self.member(at));
        let answer = tokio::time::timeout(WRITE_ANSWER_MAX, auth.authenticate(asked)).await;
        let token = match answer.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => answer.into_inner().token,
            // Where nobody is asked who he is, a token that is none does no harm; and is refused once somebody is.
            Err(status) if status.message().contains("authentication is not enabled") => String::new(),
            Err(status) => return Err(status),
        };
        let token = token.parse().map_err(|_| Status::internal("etcd has given a token that is none"))?;
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(())
    }
}

fn late() -> Status {
    Status::deadline_exceeded("etcd has not answered in time")
}

/// A token is missing or too old. Nothing was done.
fn is_unauthenticated(status: &Status) -> bool {
    status.code() == Code::Unauthenticated
        || status.message().contains("invalid auth token")
        || status.message().contains("user name is empty")
}

/// Whether another member may answer better.
fn is_the_members(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal
    )
}

/// Whether nothing can have been done.
fn is_unsent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    status.message().contains("etcdserver: no leader")
}
