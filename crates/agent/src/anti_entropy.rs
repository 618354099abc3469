//! Keeps the servers' registry of this node equal to the one here, and says that the agent is there.
//!
//! ```text
//! a change here ----------------\
//! the servers' differs, or ------> compare: read theirs -> plan -> change -> read again
//!   they do not know the node   /      | fails: later, and later still
//! now and then ----------------/
//! ```

mod complaint;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{Instant, timeout};
use weir_api::client::encode_segment;
use weir_api::native::{
    AGENT_DATACENTER, AgentAlive, AgentHeard, ErrorAnswer, NodeChanged, NodeChanges, NodeState, PREFIX,
    Problem,
};
use weir_control::{ChangeEvent, Control};

use complaint::Complaint;

use crate::bounds::{
    ALIVE_ANSWER_MAX, ALIVE_EVERY, ANSWER_MAX, COLLECT, COMPARE_EVERY, LEAVE_ANSWER_MAX, LEAVE_CHANGE_MAX,
    LEAVE_MAX, REFUSALS_LOGGED_MAX, RETRY_MAX, RETRY_MIN, ROUNDS_MAX,
};
use crate::plan::{Registered, plan};
use crate::servers::{Ask, Servers, Unanswered};
use crate::status::{Status, Unwelcome, count};

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

/// Why the servers were not told.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// They said no.
    #[error("{status}: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused {
        /// The status.
        status: StatusCode,
        /// Why.
        problems: Vec<Problem>,
    },
    /// The answer makes no sense.
    #[error("{0}")]
    BadAnswer(String),
    /// They took everything, and yet it is not there.
    #[error("the servers have taken all changes and still differ")]
    StillDifferent,
}

impl Failed {
    /// Whether the same may be answered otherwise a moment later, or by another server.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unanswered(_) => true,
            Self::Refused { status, .. } => status.is_server_error(),
            Self::BadAnswer(_) | Self::StillDifferent => false,
        }
    }
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

    /// Says that the agent is there, and hears whether the servers' registry has changed.
    async fn stay_alive(&self) {
        let mut complaint = Complaint::default();
        loop {
            let asked = Instant::now();
            let alive =
                AgentAlive { id: self.id.clone(), datacenter: self.control.settings().datacenter.clone() };
            match self.ask::<AgentHeard>(Method::POST, "/alive", &alive, ALIVE_ANSWER_MAX).await {
                Ok(heard) => {
                    if complaint.is_over("the servers hear this agent again", &self.servers) {
                        self.back.notify_one();
                    }
                    self.status.heard(asked);
                    self.status.set_unwelcome(None);
                    if !heard.known || heard.revision != self.equal_at.load(Ordering::Relaxed) {
                        self.may_differ.notify_one();
                    }
                }
                Err(error) => {
                    if let Failed::Refused { status: StatusCode::CONFLICT, problems } = &error {
                        self.status.set_unwelcome(unwelcome(problems));
                    }
                    complaint.is("the servers do not hear that this agent is there", &error);
                }
            }
            // By chance, so that many agents do not speak at once for ever.
            tokio::time::sleep_until(asked + ALIVE_EVERY.mul_f64(0.9 + 0.2 * rand::random::<f64>())).await;
        }
    }

    /// Compares at once when something may differ, and now and then in any case.
    async fn compare_whenever(&self) {
        let mut complaint = Complaint::default();
        let mut pause = RETRY_MIN;
        loop {
            count(&self.status.comparisons);
            let rest = match self.compare().await {
                Ok(()) => {
                    complaint.is_over("the servers have what is registered here", &self.servers);
                    pause = RETRY_MIN;
                    COMPARE_EVERY
                }
                Err(error) => {
                    count(&self.status.comparisons_failed);
                    self.status.set_in_sync(false);
                    complaint.is("the servers do not have all that is registered here", &error);
                    // What happens meanwhile is seen then; asking all the time would help nobody.
                    let pausing = tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>()));
                    pause = tokio::select! {
                        () = pausing => (pause * 2).min(RETRY_MAX),
                        () = self.back.notified() => RETRY_MIN,
                    };
                    continue;
                }
            };
            let rest = rest.mul_f64(1.0 + 0.5 * rand::random::<f64>());
            if tokio::time::timeout(rest, self.may_differ.notified()).await.is_ok() {
                tokio::time::sleep(COLLECT).await;
            }
        }
    }

    /// Reads theirs, changes what differs, and reads again whether it is so, until it is.
    async fn compare(&self) -> Result<(), Failed> {
        let mut before = Vec::new();
        let mut refused = 0;
        for _ in 0..ROUNDS_MAX {
            let there = match self.ask::<NodeState>(Method::GET, "", &(), ANSWER_MAX).await {
                Ok(there) => Some(there),
                Err(Failed::Refused { status: StatusCode::NOT_FOUND, .. }) => None,
                Err(error) => return Err(error),
            };
            let Some(here) = self.control.catalog().node_view(&self.control.settings().node_name).entries
            else {
                return Ok(());
            };
            let datacenter = &self.control.settings().datacenter;
            let plan: Vec<_> = plan(&Registered::of(&here), there.as_ref())
                .into_iter()
                .map(|changes| NodeChanges { datacenter: datacenter.clone(), ..changes })
                .collect();
            let is_the_same_again = !plan.is_empty() && plan == before;
            // What was refused would be refused again.
            if plan.is_empty() || (is_the_same_again && refused > 0) {
                self.equal_at.store(there.map_or(UNSEEN, |there| there.revision), Ordering::Relaxed);
                self.status.set_in_sync(plan.is_empty());
                return Ok(());
            }
            if is_the_same_again {
                return Err(Failed::StillDifferent);
            }
            refused = 0;
            for changes in &plan {
                refused += self.change(changes).await?;
            }
            before = plan;
        }
        Err(Failed::StillDifferent)
    }

    /// Has something changed; answers with the number of refusals.
    async fn change(&self, changes: &NodeChanges) -> Result<usize, Failed> {
        let _held = self.changing.lock().await;
        let changed: NodeChanged = self.ask(Method::PUT, "", changes, ANSWER_MAX).await?;
        for problem in changed.refused.iter().take(REFUSALS_LOGGED_MAX) {
            tracing::error!(%problem, "the servers refuse what is registered here");
        }
        self.status.refused.fetch_add(changed.refused.len() as u64, Ordering::Relaxed);
        tracing::debug!(
            instances = changes.instances.len(),
            checks = changes.checks.len(),
            gone = changes.gone_instances.len() + changes.gone_checks.len(),
            "told the servers"
        );
        Ok(changed.refused.len())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        below: &str,
        body: &(impl serde::Serialize + Sync),
        patience: Duration,
    ) -> Result<T, Failed> {
        let body = if method == Method::GET || method == Method::DELETE {
            Bytes::new()
        } else {
            serde_json::to_vec(body).map_err(|error| Failed::BadAnswer(error.to_string()))?.into()
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let ask = Ask { method, target: format!("{}{below}", self.path), headers, body, patience };
        let answered = self.servers.ask(&ask).await?;
        if answered.status.is_success() {
            return serde_json::from_slice(&answered.body).map_err(|error| {
                Failed::BadAnswer(format!("the answer is not that of a weir server: {error}"))
            });
        }
        let problems = match serde_json::from_slice::<ErrorAnswer>(&answered.body) {
            Ok(answer) => answer.errors,
            Err(_) => vec![Problem::new("the answer is not that of a weir server")],
        };
        Err(Failed::Refused { status: answered.status, problems })
    }
}

/// What a refusal of signs of life means.
fn unwelcome(problems: &[Problem]) -> Option<Unwelcome> {
    let problem = problems.first()?;
    let is_elsewhere = problem.path.as_deref() == Some(AGENT_DATACENTER);
    Some(Unwelcome { reason: problem.message.clone(), is_elsewhere })
}

#[cfg(test)]
mod tests;
