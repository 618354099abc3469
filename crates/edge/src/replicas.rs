//! What replicas that share a store tell each other: heartbeats that came to one and concern a check that another judges, and
//! what only each of them knows, when somebody wants to know all of it.
//!
//! ```text
//! heartbeat -> not ours -> collected for a moment -> POST /weir/v1/heartbeats of the replica that judges
//!                                                     | it does not answer, or did not a moment ago
//!                                                     +-> what is heard is written for it: the store tells it
//! ```
//!
//! And what proxies of one could use of limits that another keeps the books of: `POST /weir/v1/leases`. Where that does not
//! answer, there is no lease.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_api::client::{Client, ServerUrl};
use weir_api::native::{HeardAnswer, HeartbeatInput, LeaseAnswer, LeaseInput, LeasesAnswer, PREFIX};
use weir_control::quota::{Ask, Granted, Lease, SharedLimit, Wish};
use weir_control::{Control, Heartbeat};
use weir_tls::Connectors;

/// How long heartbeats are collected before they are sent.
const COLLECT: Duration = Duration::from_millis(100);
/// Heartbeats that are sent at once.
const BATCH_MAX: usize = 4096;
/// How long a replica may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How long the store may take to be told of one batch.
const WRITE_MAX: Duration = Duration::from_secs(2);

/// Batches under way at one time: one replica that does not answer must not hold up what is for the others.
const BATCHES_MAX: usize = 8;
/// How long a replica that has not answered is not asked again: meanwhile the store tells it.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// The other replicas of a control plane, as one of them asks them.
#[derive(Debug)]
pub struct Peers {
    control: Arc<Control>,
    tls: Option<Arc<Connectors>>,
}

/// What the others have answered.
#[derive(Debug)]
pub struct Answers<T> {
    /// Of those that did.
    pub answers: Vec<T>,
    /// The addresses of the rest.
    pub missing: Vec<String>,
}

impl Peers {
    /// Those of a control plane; `tls` is for those that want it.
    pub const fn new(control: Arc<Control>, tls: Option<Arc<Connectors>>) -> Self {
        Self { control, tls }
    }

    /// Gets a path of the native API from every other replica, all at once, each within its time. No one is asked who would ask
    /// on: the path must be answered by each from what it knows itself.
    pub async fn ask<T: DeserializeOwned + Send>(&self, path: &str) -> Answers<T> {
        let own = self.control.settings().replica.as_ref().map(|own| own.id.clone());
        let others = self.control.replicas().into_iter().filter(|replica| Some(&replica.id) != own.as_ref());
        let asked = join_all(others.map(|replica| async move {
            let answer = self.ask_one::<T>(&replica.http, path).await;
            (replica.http, answer)
        }));
        let mut all = Answers { answers: Vec::new(), missing: Vec::new() };
        for (address, answer) in asked.await {
            match answer {
                Some(answer) => all.answers.push(answer),
                None => all.missing.push(address),
            }
        }
        all
    }

    /// The same of one replica, by its address; nothing if it does not answer.
    pub async fn ask_one<T: DeserializeOwned>(&self, address: &str, path: &str) -> Option<T> {
        let asking = async {
            let client = client(address, self.tls.as_deref())?;
            client.get::<T>(path).await.map_err(|error| error.to_string())
        };
        let answer = tokio::time::timeout(ANSWER_MAX, asking).await;
        match answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_MAX:?}"))) {
            Ok(answer) => Some(answer),
            Err(reason) => {
                tracing::warn!(replica = address, reason, "a replica does not say what it knows");
                None
            }
        }
    }
}

fn client(address: &str, tls: Option<&Connectors>) -> Result<Client, String> {
    let server: ServerUrl = address.parse().map_err(|bad| format!("{bad}"))?;
    let client = Client::new(server);
    Ok(match tls {
        Some(tls) => client.tls(&tls.current()),
        None => client,
    })
}

/// Passes heartbeats on until told to stop; with `tls` to replicas that want it.
pub async fn run(control: Arc<Control>, tls: Option<Arc<Connectors>>, stop: impl Future<Output = ()> + Send) {
    let Some(mut heartbeats) = control.heartbeats_for_others() else { return };
    let others = Arc::new(Others { control, tls, silent: Mutex::default() });
    let mut batches = JoinSet::new();
    let mut batch = Vec::new();
    let passing = async {
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
    // What was answered is not lost with this replica.
    heartbeats.close();
    let last = async {
        loop {
            while batch.len() < BATCH_MAX
                && let Ok(heartbeat) = heartbeats.try_recv()
            {
                batch.push(heartbeat);
            }
            if batch.is_empty() {
                break;
            }
            others.pass_on(std::mem::take(&mut batch)).await;
        }
        while batches.join_next().await.is_some() {}
    };
    let _ = tokio::time::timeout(ANSWER_MAX + WRITE_MAX, last).await;
}

/// The replicas that heartbeats are passed on to.
struct Others {
    control: Arc<Control>,
    tls: Option<Arc<Connectors>>,
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
            let Err(reason) = send(address, self.tls.as_deref(), &heartbeats).await else {
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

async fn send(address: &str, tls: Option<&Connectors>, heartbeats: &[Heartbeat]) -> Result<(), String> {
    let inputs: Vec<HeartbeatInput> = heartbeats
        .iter()
        .map(|heartbeat| HeartbeatInput {
            namespace: heartbeat.check.namespace.clone(),
            node: heartbeat.check.node.clone(),
            check: heartbeat.check.id.clone(),
            output: heartbeat.output.clone(),
        })
        .collect();
    post::<HeardAnswer>(address, tls, "heartbeats", &inputs).await.map(drop)
}

/// Tells another replica something.
async fn post<T: DeserializeOwned>(
    address: &str,
    tls: Option<&Connectors>,
    what: &str,
    inputs: &(impl Serialize + Sync),
) -> Result<T, String> {
    let (client, path) = (client(address, tls)?, format!("{PREFIX}/{what}"));
    let sending = client.send_json::<T>(Method::POST, &path, "application/json", inputs);
    match tokio::time::timeout(ANSWER_MAX, sending).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {ANSWER_MAX:?}")),
    }
}

/// Asks another replica for leases; the answers are in the order of what was asked.
pub(crate) async fn ask_other(
    address: &str,
    tls: Option<&Connectors>,
    asks: &[Ask],
) -> Result<Vec<Granted>, String> {
    let inputs: Vec<LeaseInput> = asks.iter().map(lease_input).collect();
    let answer: LeasesAnswer = post(address, tls, "leases", &inputs).await?;
    Ok(answer.leases.into_iter().map(granted_from).collect())
}

fn lease_input(ask: &Ask) -> LeaseInput {
    let SharedLimit { namespace, name, target } = ask.limit.clone();
    let Wish { wanted, lease } = ask.wish;
    LeaseInput { namespace, name, target, holder: ask.holder.clone(), wanted, lease }
}

/// What another replica asks for.
pub(crate) fn ask_from(input: LeaseInput) -> Ask {
    let LeaseInput { namespace, name, target, holder, wanted, lease } = input;
    Ask { limit: SharedLimit { namespace, name, target }, holder, wish: Wish { wanted, lease } }
}

/// What it is answered.
pub(crate) fn lease_answer(granted: Granted) -> LeaseAnswer {
    let holders = granted.holders;
    granted.lease.map_or(LeaseAnswer { holders, ..LeaseAnswer::default() }, |lease| LeaseAnswer {
        number: lease.number,
        parts: lease.parts,
        ttl_ms: u32::try_from(lease.ttl.as_millis()).unwrap_or(u32::MAX),
        holders,
    })
}

fn granted_from(answer: LeaseAnswer) -> Granted {
    let LeaseAnswer { number, parts, ttl_ms, holders } = answer;
    let lease = Lease { number, parts, ttl: Duration::from_millis(ttl_ms.into()) };
    Granted { lease: (number > 0).then_some(lease), holders }
}

/// Has the store tell the replica that judges these checks. Whether that went well.
async fn write(control: &Control, heartbeats: Vec<Heartbeat>) -> bool {
    let checks: Vec<_> = heartbeats.into_iter().map(|heartbeat| heartbeat.check).collect();
    let told = control.tell(&checks).await;
    if let Err(error) = &told {
        tracing::debug!(%error, count = checks.len(), "heartbeats are lost");
    }
    told.is_ok()
}
