//! What replicas that share a store tell each other: heartbeats that came to one and concern a check that another judges.
//!
//! ```text
//! heartbeat -> not ours -> collected for a moment -> POST /weir/v1/heartbeats of the replica that judges
//!                                                     | it does not answer, or did not a moment ago
//!                                                     +-> the check is written as it is: the store tells it
//! ```

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_api::client::{Client, ServerUrl};
use weir_api::native::{HeardAnswer, HeartbeatInput, PREFIX};
use weir_control::{Control, Error, Heartbeat};

/// How long heartbeats are collected before they are sent.
const COLLECT: Duration = Duration::from_millis(100);
/// Heartbeats that are sent at once.
const BATCH_MAX: usize = 4096;
/// How long a replica may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How long the store may take to be told of one batch.
const WRITE_MAX: Duration = Duration::from_secs(2);
/// Writes at a time, where a replica does not answer.
const WRITES_MAX: usize = 32;

/// Batches under way at one time: one replica that does not answer must not hold up what is for the others.
const BATCHES_MAX: usize = 8;
/// How long a replica that has not answered is not asked again: meanwhile the store tells it.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// Passes heartbeats on until told to stop.
pub async fn run(control: Arc<Control>, stop: impl Future<Output = ()> + Send) {
    let Some(mut heartbeats) = control.heartbeats_for_others() else { return };
    let others = Arc::new(Others { control, silent: Mutex::default() });
    let passing = async {
        let mut batches = JoinSet::new();
        let mut batch = Vec::new();
        while heartbeats.recv_many(&mut batch, BATCH_MAX).await > 0 {
            tokio::time::sleep(COLLECT).await;
            while batch.len() < BATCH_MAX
                && let Ok(heartbeat) = heartbeats.try_recv()
            {
                batch.push(heartbeat);
            }
            while batches.try_join_next().is_some() {}
            if batches.len() >= BATCHES_MAX {
                batches.join_next().await;
            }
            let (others, batch) = (Arc::clone(&others), std::mem::take(&mut batch));
            batches.spawn(async move { others.pass_on(batch).await });
        }
    };
    tokio::select! {
        () = passing => {}
        () = stop => {}
    }
}

/// The replicas that heartbeats are passed on to.
struct Others {
    control: Arc<Control>,
    /// Those that have not answered, by address, and since when. No more than there are replicas: who answers leaves, and
    /// others when their time is over.
    silent: Mutex<HashMap<String, Instant>>,
}

impl Others {
    /// Sends each to the replica that judges its check now.
    async fn pass_on(&self, batch: Vec<Heartbeat>) {
        let mut by_replica: HashMap<Option<String>, Vec<Heartbeat>> = HashMap::new();
        for heartbeat in batch {
            let replica = self.control.owned_by_other(&heartbeat.check).map(|replica| replica.http);
            by_replica.entry(replica).or_default().push(heartbeat);
        }
        let passing = by_replica.into_iter().map(|(address, heartbeats)| async move {
            match address {
                Some(address) => self.pass_to(&address, heartbeats).await,
                // This one has taken over meanwhile. What was deregistered needs no heartbeat.
                None => {
                    for heartbeat in &heartbeats {
                        let _ = self.control.hear(heartbeat).await;
                    }
                }
            }
        });
        join_all(passing).await;
    }

    async fn pass_to(&self, address: &str, heartbeats: Vec<Heartbeat>) {
        if !self.is_silent(address) {
            let Err(reason) = send(address, &heartbeats).await else {
                return self.control.passed_on(address, true);
            };
            tracing::warn!(
                replica = address,
                count = heartbeats.len(),
                reason,
                "a replica does not take heartbeats; the store tells it"
            );
            self.silent().insert(address.to_owned(), Instant::now());
        }
        let written = tokio::time::timeout(WRITE_MAX, write(&self.control, heartbeats)).await;
        self.control.passed_on(address, written.unwrap_or(false));
    }

    fn is_silent(&self, address: &str) -> bool {
        let mut silent = self.silent();
        silent.retain(|_, since| since.elapsed() < SILENT_FOR);
        silent.contains_key(address)
    }

    fn silent(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(address: &str, heartbeats: &[Heartbeat]) -> Result<(), String> {
    let server: ServerUrl = address.parse().map_err(|bad| format!("{bad}"))?;
    let inputs: Vec<HeartbeatInput> = heartbeats
        .iter()
        .map(|heartbeat| HeartbeatInput {
            namespace: heartbeat.check.namespace.clone(),
            node: heartbeat.check.node.clone(),
            check: heartbeat.check.id.clone(),
            output: heartbeat.output.clone(),
        })
        .collect();
    let (client, path) = (Client::new(server), format!("{PREFIX}/heartbeats"));
    let sending = client.send_json::<HeardAnswer>(Method::POST, &path, "application/json", &inputs);
    match tokio::time::timeout(ANSWER_MAX, sending).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {ANSWER_MAX:?}")),
    }
}

/// Writes the checks as they are. Whether that went well.
async fn write(control: &Control, heartbeats: Vec<Heartbeat>) -> bool {
    let mut well = true;
    for some in heartbeats.chunks(WRITES_MAX) {
        let writes = some.iter().map(|heartbeat| control.touch_check(&heartbeat.check));
        for failed in join_all(writes).await.into_iter().filter_map(Result::err) {
            tracing::debug!(error = %failed, "a heartbeat is lost");
            well &= matches!(failed, Error::NotFound { .. });
        }
    }
    well
}
