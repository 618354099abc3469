//! One request and its answer on a connection to a server.
//!
//! hyper keeps two buffers and its own state for as long as a request is under way. So an answer that does not come at once is
//! waited for with the bare connection; hyper gets it anew to read the answer.
//!
//! ```text
//! send: hyper writes the request -> (answer at once) -> answered
//!         |  nothing has come after a moment
//!         v
//!       wait: the connection, nothing else -> read: hyper reads the answer -> answered
//! ```

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use weir_tls::Io;

use super::link::{Bare, Link, Stand};
use super::{Answered, Ask};
use crate::bounds::{ANSWER_BYTES_MAX, AT_ONCE_MAX};

/// Fields that are about the connection, or that whoever sends the answer adds himself.
const OF_THE_CONNECTION: [HeaderName; 4] = [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH, DATE];

/// What answers there is no server's HTTP API.
const NOT_HTTP1: &str =
    "it does not speak HTTP/1; is it the port for proxies? Agents ask the HTTP address (8500)";

/// Why one server has not answered.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request cannot have arrived.
    NotSent(String),
    /// It may have.
    Lost(String),
    /// It has, and its answer is larger than [`ANSWER_BYTES_MAX`].
    TooLarge,
}

/// What hyper makes of a connection.
type Running = Connection<TokioIo<Link>, Full<Bytes>>;

/// What is known of who is on the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nobody has answered on it yet: it may be something else than a server.
    Nothing,
    /// It has answered as a server does.
    Speaks,
}

/// A connection in hyper's hands. It is driven by who asks on it, and by nobody while it is idle.
pub(super) struct Live {
    sender: SendRequest<Full<Bytes>>,
    /// None when it has come to its end.
    connection: Option<Running>,
    stand: Arc<Stand>,
}

/// An answer, and the connection if it can be used again.
pub(super) type Done = (Answered, Option<Live>);

/// What has come of a request.
pub(super) enum Sent {
    /// It is answered.
    Done(Box<Done>),
    /// It has arrived, and its answer is waited for.
    Waits(Bare),
}

impl Live {
    /// Over a new connection.
    pub(super) async fn new(io: Io) -> Result<Self, String> {
        let stand = Arc::new(Stand::default());
        Self::over(Link::new(io, Arc::clone(&stand)), stand).await
    }

    async fn over(link: Link, stand: Arc<Stand>) -> Result<Self, String> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(link)).await.map_err(|error| error.to_string())?;
        Ok(Self { sender, connection: Some(connection), stand })
    }

    /// Sends a request, and reads its answer if that comes at once; whoever lingers gives it a moment.
    pub(super) async fn send(
        mut self,
        host: &str,
        ask: &Ask,
        known: Known,
        linger: bool,
    ) -> Result<Sent, Failure> {
        let request = request(host, ask).map_err(Failure::NotSent)?;
        self.stand.begin();
        let mut response = pin!(self.sender.try_send_request(request));
        let mut moment = pin!(tokio::time::sleep(if linger { AT_ONCE_MAX } else { Duration::ZERO }));
        let sent = poll_fn(|context| {
            if let Poll::Ready(response) = drive(&mut self.connection, response.as_mut(), context) {
                return Poll::Ready(Ok(response));
            }
            let is_over = moment.as_mut().poll(context).is_ready();
            match self.connection.take_if(|_| is_over && self.stand.is_waiting()) {
                Some(connection) => Poll::Ready(Err(connection)),
                None => Poll::Pending,
            }
        });
        match sent.await {
            Ok(response) => self
                .read(response.map_err(|error| failure(error, known))?)
                .await
                .map(|done| Sent::Done(Box::new(done))),
            Err(connection) => Ok(Sent::Waits(connection.into_parts().io.into_inner().bare())),
        }
    }

    /// Reads the answer of a request that was waited for.
    pub(super) async fn resume(link: Link, stand: Arc<Stand>) -> Result<Done, Failure> {
        let mut live = Self::over(link, stand).await.map_err(Failure::Lost)?;
        // It stands for the one that was sent, and goes nowhere.
        let response = pin!(live.sender.try_send_request(hyper::Request::default()));
        let response = driven(&mut live.connection, response).await;
        live.read(response.map_err(|error| Failure::Lost(error.into_error().to_string()))?).await
    }

    async fn read(mut self, response: hyper::Response<Incoming>) -> Result<Done, Failure> {
        let (parts, body) = response.into_parts();
        let whole = pin!(Limited::new(body, ANSWER_BYTES_MAX).collect());
        let body = driven(&mut self.connection, whole)
            .await
            .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => Failure::TooLarge,
                None => Failure::Lost(error.to_string()),
            })?
            .to_bytes();
        let ready = driven(&mut self.connection, pin!(self.sender.ready())).await;
        let mut headers = parts.headers;
        for name in OF_THE_CONNECTION {
            headers.remove(name);
        }
        let answered = Answered { status: parts.status, headers, body };
        Ok((answered, (ready.is_ok() && self.connection.is_some()).then_some(self)))
    }
}

/// Waits for something while the connection goes on.
async fn driven<F: Future>(connection: &mut Option<Running>, mut future: Pin<&mut F>) -> F::Output {
    poll_fn(|context| drive(connection, future.as_mut(), context)).await
}

fn drive<F: Future>(
    connection: &mut Option<Running>,
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> Poll<F::Output> {
    if connection.as_mut().is_some_and(|running| Pin::new(running).poll(context).is_ready()) {
        // Whoever asks on it is told.
        *connection = None;
    }
    future.poll(context)
}

fn request(host: &str, ask: &Ask) -> Result<hyper::Request<Full<Bytes>>, String> {
    let mut request = hyper::Request::new(Full::new(ask.body.clone()));
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = ask.target.parse().map_err(|error| format!("{}: {error}", ask.target))?;
    let fields = request.headers_mut();
    for (name, value) in &ask.headers {
        fields.append(name, value.clone());
    }
    fields.insert(HOST, HeaderValue::from_str(host).map_err(|error| error.to_string())?);
    Ok(request)
}

/// What an error says of a request that was given to a connection.
fn failure(error: TrySendError<hyper::Request<Full<Bytes>>>, known: Known) -> Failure {
    let was_sent = error.message().is_none();
    let error = error.into_error();
    match weir_tls::said(&error) {
        Some(reason) if was_sent && !weir_tls::is_refused(&error) => Failure::Lost(reason),
        Some(reason) => Failure::NotSent(reason),
        // What is no server has not done what it does not understand.
        None if error.is_parse() && known == Known::Nothing => Failure::NotSent(NOT_HTTP1.to_owned()),
        None if was_sent => Failure::Lost(error.to_string()),
        None => Failure::NotSent(error.to_string()),
    }
}
