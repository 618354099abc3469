//! Keeps the servers' registry of this node equal to the one here, and says that the agent is there.
//!
//! ```text
//! a change here ----------------\
//! the servers' differs, or ------> compare: read theirs -> plan -> change -> read again
//!   they do not know the node   /      | fails: later, and later still
//! now and then ----------------/
//! ```

mod alive;
mod compare;
mod complaint;
mod failed;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::timeout;
use weir_api::client::encode_segment;
use weir_api::native::{ErrorAnswer, PREFIX, Problem};
use weir_control::{ChangeEvent, Control};

use failed::Failed;

use crate::bounds::{LEAVE_ANSWER_MAX, LEAVE_CHANGE_MAX, LEAVE_MAX, RETRY_MIN};
use crate::servers::{Ask, Servers};
use crate::status::Status;

/// No revision of a store: what is registered there was not seen yet.
const UNSEEN: u64 = 0;

/// What keeps the two equal.
pub struct AntiEntropy {
    control: Arc<Control>,
    servers: Arc<Servers>,
    status: Arc<Status>,
    path: String,
    id: String,
    /// Told when they may differ.
    may_differ: Notify,
    /// Told when the servers hear the agent again: what failed is tried at once.
    back: Notify,
    /// The node is being deregistered, or is: nothing of it may be registered any more.
    leaves: watch::Sender<bool>,
    /// Held while a change is under way, and while the node is being deregistered.
    changing: Mutex<()>,
    /// The revision of the servers at which they were seen to be equal.
    equal_at: AtomicU64,
}

impl AntiEntropy {
    /// For the own node of this registry. `id` is the node's id, if it has one.
    pub fn new(control: Arc<Control>, servers: Arc<Servers>, status: Arc<Status>, id: String) -> Self {
        let path = format!("{PREFIX}/nodes/{}", encode_segment(&control.settings().node_name));
        let equal_at = AtomicU64::new(UNSEEN);
        let (may_differ, back, leaves) = (Notify::new(), Notify::new(), watch::Sender::new(false));
        let changing = Mutex::default();
        Self { control, servers, status, path, id, may_differ, back, leaves, changing, equal_at }
    }

    /// The servers.
    pub fn servers(&self) -> &Arc<Servers> {
        &self.servers
    }

    /// How it stands.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Goes on until told to stop, or the agent leaves.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut leaves = self.leaves.subscribe();
        tokio::select! {
            () = stop => {}
            _ = leaves.wait_for(|leaves| *leaves) => {}
            () = self.compare_whenever() => {}
            () = self.stay_alive() => {}
            () = self.watch() => {}
        }
    }

    /// Deregisters the node at the servers, with all that is on it; from then on they are told nothing of it. Tries for
    /// [`LEAVE_MAX`].
    ///
    /// # Errors
    /// Why it is still there.
    pub async fn leave(&self) -> Result<(), String> {
        let mut last = None;
        let left = timeout(LEAVE_MAX, async {
            // None begins behind it: this has ended by then whatever makes changes.
            let _held = timeout(LEAVE_CHANGE_MAX, self.changing.lock()).await;
            self.leaves.send_replace(true);
            loop {
                match self.deregister().await {
                    Err(error) if error.may_pass() => last = Some(error),
                    done => return done,
                }
                tokio::time::sleep(RETRY_MIN).await;
            }
        });
        match left.await {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(_) => Err(last.map_or_else(
                || format!("no server has answered within {} s", LEAVE_MAX.as_secs()),
                |error| error.to_string(),
            )),
        }
    }

    /// What is not registered needs no deregistration; so what was lost on the way may be said again. Of an agent that was
    /// not let in, because its name is another's, nothing is there either.
    async fn deregister(&self) -> Result<(), Failed> {
        let below =
            if self.id.is_empty() { String::new() } else { format!("?id={}", encode_segment(&self.id)) };
        match self.ask::<serde_json::Value>(Method::DELETE, &below, &(), LEAVE_ANSWER_MAX).await {
            Ok(_) | Err(Failed::Refused { status: StatusCode::NOT_FOUND | StatusCode::CONFLICT, .. }) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Sees the changes of the own registry.
    async fn watch(&self) {
        let mut changes = self.control.changes();
        loop {
            if matches!(changes.next().await, ChangeEvent::Closed) {
                return std::future::pending().await;
            }
            self.status.set_in_sync(false);
            self.may_differ.notify_one();
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        below: &str,
        body: &(impl serde::Serialize + Sync),
        patience: Duration,
    ) -> Result<T, Failed> {
        self.asked(method, below, body, patience).await.map(|(_, answer)| answer)
    }

    /// The same with the server that has answered.
    async fn asked<T: DeserializeOwned>(
        &self,
        method: Method,
        below: &str,
        body: &(impl serde::Serialize + Sync),
        patience: Duration,
    ) -> Result<(usize, T), Failed> {
        let body = if method == Method::GET || method == Method::DELETE {
            Bytes::new()
        } else {
            serde_json::to_vec(body).map_err(|error| Failed::BadAnswer(error.to_string()))?.into()
        };
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let ask = Ask { method, target: format!("{}{below}", self.path), headers, body, patience };
        let (at, answered) = self.servers.ask_whom(&ask, &|| ()).await?;
        if answered.status.is_success() {
            let read = serde_json::from_slice(&answered.body).map(|answer| (at, answer));
            return read.map_err(|error| self.no_server(at, &error.to_string()));
        }
        let problems = match serde_json::from_slice::<ErrorAnswer>(&answered.body) {
            Ok(answer) => answer.errors,
            // Something between may answer for a server that is away.
            Err(_) if answered.status.is_server_error() => vec![Problem::new("it does not say why")],
            Err(_) => return Err(self.no_server(at, &format!("it answers {}", answered.status))),
        };
        Err(Failed::Refused { status: answered.status, problems })
    }

    /// What answers is something else.
    fn no_server(&self, at: usize, reason: &str) -> Failed {
        Failed::BadAnswer(format!(
            "{} is not a weir server ({reason}); --server wants the HTTP address of one, port 8500 unless it was told otherwise",
            self.servers.name(at)
        ))
    }
}

#[cfg(test)]
mod tests;
