//! Calls to the members of a cluster: to one of them as long as it answers, then to another.
//!
//! Whether they answer is found out by [`contact`](super::contact), which asks all the time. So a call that may be repeated
//! leaves a member that has gone silent at once, and while none answers all calls are refused at once, with the reason.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch as signal;
use tokio::time::Instant;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Request, Response, Status};
use weir_tls::{Connectors, Dial};

use super::fault::{self, Fault};
use super::generated::auth_client::AuthClient;
use super::generated::kv_client::KvClient;
use super::generated::{AuthenticateRequest, RangeRequest};
use super::options::{Credentials, EtcdAddress};

/// How long etcd may take to answer what could be repeated elsewhere.
const READ_ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long it may take to answer a page of a range, which may be large.
const PAGE_ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long it may take to answer what must not be repeated: its own bound on a proposal is about as long.
const WRITE_ANSWER_MAX: Duration = Duration::from_secs(7);
/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How often a silent connection is asked for a sign of life. etcd ends connections that ask more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
/// How long that sign may take.
const PING_ANSWER_MAX: Duration = Duration::from_secs(2);

/// Between two questions to a member that has answered with an error.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// Whether a call may be made again although the first may have had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or the same again.
    Free,
    /// It changes nothing, and its answer may be large.
    Page,
    /// Only if it was certainly not executed.
    Unsent,
}

/// The members of a cluster.
pub(super) struct Client {
    endpoints: Vec<Endpoint>,
    tls: Option<Arc<Connectors>>,
    /// A connection to each, which comes about at its first call.
    members: RwLock<Vec<Channel>>,
    /// The member that is asked.
    current: signal::Sender<usize>,
    /// Why no member can be asked, while that is so.
    lost: signal::Sender<Option<String>>,
    credentials: Option<Credentials>,
    token: RwLock<Option<MetadataValue<Ascii>>>,
    /// Whoever asks for a token.
    turn: tokio::sync::Mutex<()>,
}

impl Client {
    /// Connects at the first call.
    pub(super) fn new(address: &EtcdAddress) -> Result<Self, String> {
        let tls = address.tls()?;
        let member = |uri: String| {
            let endpoint = Endpoint::from_shared(uri).map_err(|why| fault::reason(&why))?;
            let endpoint = endpoint
                .connect_timeout(CONNECT_MAX)
                .http2_keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_ANSWER_MAX)
                .keep_alive_while_idle(true)
                .tcp_nodelay(true);
            Ok::<_, String>(endpoint)
        };
        let endpoints: Vec<Endpoint> =
            address.endpoints().into_iter().map(member).collect::<Result<_, String>>()?;
        Ok(Self {
            members: RwLock::new(endpoints.iter().map(|member| connect(member, tls.as_ref())).collect()),
            endpoints,
            tls,
            current: signal::Sender::new(0),
            lost: signal::Sender::new(None),
            credentials: address.credentials()?,
            token: RwLock::new(None),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    /// Calls a member, and others if it may and must.
    pub(super) async fn call<M: Clone, R>(
        &self,
        repeat: Repeat,
        message: M,
        call: impl AsyncFn(Channel, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Fault> {
        let mut lost = self.lost.subscribe();
        let called = self.call_members(repeat, message, call);
        tokio::select! {
            // What is known already comes first.
            biased;
            why = lost.wait_for(Option::is_some) => {
                let why = why.ok().and_then(|why| why.clone()).unwrap_or_default();
                Err(fault::unavailable(&why).into())
            }
            answer = called => answer,
        }
    }

    async fn call_members<M: Clone, R>(
        &self,
        repeat: Repeat,
        message: M,
        call: impl AsyncFn(Channel, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, Fault> {
        let answer_max = match repeat {
            Repeat::Free => READ_ANSWER_MAX,
            Repeat::Page => PAGE_ANSWER_MAX,
            Repeat::Unsent => WRITE_ANSWER_MAX,
        };
        let mut asked = 0;
        let mut refreshed = false;
        loop {
            let mut current = self.current.subscribe();
            let at = *current.borrow_and_update();
            let mut used = None;
            let once = async {
                // Without a token etcd would go by the name in the certificate, if there is one.
                if self.credentials.is_some() && self.token().is_none() {
                    self.authenticate(at).await?;
                }
                used = self.token();
                call(self.member(at), self.request(message.clone())).await
            };
            let status = tokio::select! {
                called = tokio::time::timeout(answer_max, once) => match called {
                    Ok(Ok(answer)) => return Ok(answer.into_inner()),
                    Ok(Err(status)) => status,
                    Err(_) => silent(),
                },
                // Another has been found to answer, unlike this one.
                _ = current.changed(), if repeat != Repeat::Unsent => silent(),
            };
            if is_unauthenticated(&status) && self.credentials.is_some() && !refreshed {
                refreshed = true;
                self.forget_token(used.as_ref());
                continue;
            }
            if !is_the_members(&status) {
                return Err(Fault::from(&status));
            }
            self.leave(at);
            asked += 1;
            if asked >= self.endpoints.len() || (repeat == Repeat::Unsent && !is_unsent(&status)) {
                return Err(Fault::from(&status));
            }
        }
    }

    /// The next one is asked from now on, unless somebody has moved on already.
    fn leave(&self, at: usize) {
        self.move_on(at, (at + 1) % self.endpoints.len());
    }

    fn move_on(&self, from: usize, to: usize) {
        self.current.send_if_modified(|current| {
            let moves = *current == from && from != to;
            if moves {
                *current = to;
            }
            moves
        });
    }

    fn member(&self, at: usize) -> Channel {
        self.members.read().unwrap_or_else(PoisonError::into_inner)[at].clone()
    }

    /// A new connection for the calls to come: on the old one, what is sent waits for TCP to try again.
    fn connect_anew(&self, at: usize) {
        let channel = connect(&self.endpoints[at], self.tls.as_ref());
        self.members.write().unwrap_or_else(PoisonError::into_inner)[at] = channel;
    }

    /// The member that is asked, for whoever depends on one.
    pub(super) fn current(&self) -> signal::Receiver<usize> {
        self.current.subscribe()
    }

    /// Why no member can be asked, while that is so.
    pub(super) fn lost(&self) -> signal::Receiver<Option<String>> {
        self.lost.subscribe()
    }

    /// Looks whether the member that is asked answers within a time.
    pub(super) async fn asks_well(&self, key: &[u8], answer_max: Duration) -> bool {
        let at = *self.current.borrow();
        self.lost.borrow().is_none() && self.ask(at, key, answer_max).await.is_ok()
    }

    /// Asks all members at once, for so long. The first that answers is asked from now on; if none does, all calls are
    /// refused until one is found here.
    pub(super) async fn find(&self, key: &[u8], answer_max: Duration) {
        let from = *self.current.borrow();
        let deadline = Instant::now() + answer_max;
        let asking = |at| async move {
            loop {
                let answer = self.ask(at, key, deadline.saturating_duration_since(Instant::now())).await;
                // A cluster that is electing a leader says so at once, and is not lost.
                if answer.is_ok() || deadline.saturating_duration_since(Instant::now()) <= ASK_PAUSE {
                    return (at, answer);
                }
                tokio::time::sleep(ASK_PAUSE).await;
            }
        };
        let mut asked: FuturesUnordered<_> = (0..self.endpoints.len()).map(asking).collect();
        let mut why = None;
        while let Some((at, answer)) = asked.next().await {
            match answer {
                Ok(()) => {
                    drop(asked);
                    self.move_on(from, at);
                    self.lost.send_if_modified(|lost| lost.take().is_some());
                    return;
                }
                Err(status) => why = why.or(Some(status)),
            }
        }
        let why = why.unwrap_or_else(silent);
        let why = format!("no member of etcd answers: {}", fault::reason(&why));
        self.lost.send_if_modified(|lost| lost.replace(why).is_none());
    }

    /// Whether a member answers, whatever it says, after it has agreed with a majority.
    async fn ask(&self, at: usize, key: &[u8], answer_max: Duration) -> Result<(), Status> {
        let request = RangeRequest { key: key.to_vec(), count_only: true, ..RangeRequest::default() };
        let mut client = KvClient::new(self.member(at));
        match tokio::time::timeout(answer_max, client.range(self.request(request))).await {
            Ok(Err(status)) if is_the_members(&status) => Err(status),
            Ok(_) => Ok(()),
            Err(_) => {
                self.connect_anew(at);
                Err(silent())
            }
        }
    }

    fn token(&self) -> Option<MetadataValue<Ascii>> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets a token that is of no use, unless somebody has got another meanwhile.
    fn forget_token(&self, used: Option<&MetadataValue<Ascii>>) {
        let mut token = self.token.write().unwrap_or_else(PoisonError::into_inner);
        if token.as_ref() == used {
            *token = None;
        }
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
        // One asks for all: it costs etcd much.
        let _turn = self.turn.lock().await;
        if self.token().is_some() {
            return Ok(());
        }
        let asked =
            AuthenticateRequest { name: credentials.user.clone(), password: credentials.password.clone() };
        let mut auth = AuthClient::new(self.member(at));
        let answer = tokio::time::timeout(WRITE_ANSWER_MAX, auth.authenticate(asked)).await;
        let token = match answer.unwrap_or_else(|_| Err(silent())) {
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

/// A connection that comes about at its first call.
fn connect(member: &Endpoint, tls: Option<&Arc<Connectors>>) -> Channel {
    match tls {
        Some(tls) => member.connect_with_connector_lazy(Dial(Arc::clone(tls))),
        None => member.connect_lazy(),
    }
}

fn silent() -> Status {
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
