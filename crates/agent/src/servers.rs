//! The servers, of which one is in use until it does not answer.
//!
//! ```text
//! ask -> the one in use -> answered
//!          | cannot be reached, breaks off, is late
//!          v
//!        the next one is in use, for everybody; a read is asked again there
//! ```
//!
//! A change that may have arrived is not sent again: whoever made it is told that nobody knows.

mod connection;
mod dns;
mod exchange;
mod link;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::watch;
use weir_api::client::ServerUrl;
use weir_tls::Connectors;

use connection::Server;
pub use dns::ServersDns;
use exchange::Failure;

use crate::bounds::{ANSWER_BYTES_MAX, TURNS_MAX};

/// A request to whichever server answers.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// Path and query, encoded.
    pub target: String,
    /// Header fields from end to end, in order; those of the connection are added. No map, which would take more for few.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// How long the answer of one server may take.
    pub patience: Duration,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// Header fields from end to end.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No server answers. Nothing was changed.
    #[error("none of the servers answers: {0}")]
    Nobody(String),
    /// The servers are not this agent's. Nothing was asked.
    #[error("the servers do not let this agent in: {0}")]
    Unwelcome(String),
    /// It cannot be sent to any server.
    #[error("the request cannot be passed on: {0}")]
    Unsendable(String),
    /// The answer is larger than what is passed on.
    #[error("the answer of {server} is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge {
        /// The server.
        server: String,
    },
    /// A change was sent and nobody knows whether it was made.
    #[error("the answer of {server} is lost, what was asked for may be done or not: {reason}")]
    Unknown {
        /// The server.
        server: String,
        /// What happened.
        reason: String,
    },
}

/// The servers.
pub struct Servers {
    list: Vec<Server>,
    dns: ServersDns,
    in_use: watch::Sender<usize>,
    /// Which one answered last; none yet, if that is beyond the list.
    answered: AtomicUsize,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").field("count", &self.list.len()).finish_non_exhaustive()
    }
}

impl Servers {
    /// These, in this order, from the `first`-th on. None is connected to yet.
    pub fn new(urls: Vec<ServerUrl>, first: usize) -> Self {
        let first = if urls.is_empty() { 0 } else { first % urls.len() };
        let dns = ServersDns::new(urls.iter());
        let list: Vec<_> = urls.into_iter().map(Server::new).collect();
        let answered = AtomicUsize::new(list.len());
        Self { list, dns, in_use: watch::Sender::new(first), answered }
    }

    /// The same with what those with `https` need; see [`weir_api::client::HTTP_PROTOCOL`].
    #[must_use]
    pub fn tls(mut self, connectors: &Arc<Connectors>) -> Self {
        self.list = self.list.into_iter().map(|server| server.tls(Arc::clone(connectors))).collect();
        self
    }

    /// Where they serve DNS.
    pub fn dns(&self) -> &ServersDns {
        &self.dns
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The one that is in use, for people.
    pub fn in_use(&self) -> String {
        self.list.get(*self.in_use.borrow()).map_or_else(|| "none".to_owned(), |server| server.to_string())
    }

    /// Asks the server in use and, where it does not answer, the others.
    ///
    /// # Errors
    /// When none answers, or a change may have been made that nobody knows of.
    pub async fn ask(&self, ask: &Ask) -> Result<Answered, Unanswered> {
        self.ask_patiently(ask, &|| ()).await
    }

    /// The same; `waits` is told when the answer does not come at once. What is kept until it comes is little.
    ///
    /// # Errors
    /// As [`Servers::ask`].
    pub async fn ask_patiently(&self, ask: &Ask, waits: &(dyn Fn() + Sync)) -> Result<Answered, Unanswered> {
        self.ask_whom(ask, waits).await.map(|(_, answered)| answered)
    }

    /// The same with the server that has answered, by its place in the list.
    pub(crate) async fn ask_whom(
        &self,
        ask: &Ask,
        waits: &(dyn Fn() + Sync),
    ) -> Result<(usize, Answered), Unanswered> {
        if let Err(error) = ask.target.parse::<http::Uri>() {
            return Err(Unanswered::Unsendable(error.to_string()));
        }
        let is_read = ask.method == Method::GET;
        let mut reasons: Vec<String> = Vec::new();
        let (mut failed, mut turned) = (0, 0);
        while failed < self.list.len() && turned < TURNS_MAX {
            let mut in_use = self.in_use.subscribe();
            let at = *in_use.borrow_and_update();
            let server = &self.list[at];
            let failure = tokio::select! {
                answered = tokio::time::timeout(ask.patience, server.ask(ask, waits)) => match answered {
                    Ok(Ok(answered)) => {
                        self.note_answer_of(at);
                        return Ok((at, answered));
                    }
                    Ok(Err(failure)) => failure,
                    Err(_) => Failure::Lost(format!("no answer within {} s", ask.patience.as_secs())),
                },
                // Somebody found that it does not answer: who waits there would wait in vain.
                _ = in_use.wait_for(|now| *now != at), if is_read => {
                    turned += 1;
                    if turned == TURNS_MAX {
                        reasons.push(format!("{server}: it does not answer others"));
                    }
                    continue;
                }
            };
            let server = server.to_string();
            let (reason, may_be_done) = match failure {
                // It answers, and another would say the same.
                Failure::TooLarge => return Err(Unanswered::TooLarge { server }),
                Failure::Lost(reason) => (reason, !is_read),
                Failure::NotSent(reason) => (reason, false),
            };
            failed += 1;
            self.turn_away_from(at);
            if may_be_done {
                return Err(Unanswered::Unknown { server, reason });
            }
            reasons.push(format!("{server}: {reason}"));
        }
        let none = || "no server is known".to_owned();
        Err(Unanswered::Nobody(if reasons.is_empty() { none() } else { reasons.join("; ") }))
    }

    /// What one is called.
    pub(crate) fn name(&self, at: usize) -> String {
        self.list.get(at).map_or_else(|| "none".to_owned(), ToString::to_string)
    }

    /// Says which server answers, when that is another than before. Whether it is one of Weir's is found out by who reads the answer.
    fn note_answer_of(&self, at: usize) {
        if self.answered.swap(at, Ordering::Relaxed) != at {
            tracing::debug!(server = %self.list[at], "answers come from here");
        }
    }

    /// Uses the next one, unless somebody does so already.
    fn turn_away_from(&self, at: usize) {
        self.in_use.send_if_modified(|now| {
            let is_news = *now == at && self.list.len() > 1;
            if is_news {
                *now = (at + 1) % self.list.len();
                tracing::debug!(from = %self.list[at], to = %self.list[*now], "the server does not answer, using another");
            }
            is_news
        });
    }
}

#[cfg(test)]
mod tests;
