//! Leases on shares of the limits that proxies keep together: a proxy asks for all of its own at once, and is answered
//! once.
//!
//! Of a limit that this replica keeps the book of the answer is there at once. What concerns others is collected for a
//! moment and asked for together, so that a replica is sent one request for all the proxies that are connected here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use weir_api::mesh;
use weir_control::quota::{ASK_EVERY, Ask, Granted, SharedLimit, Wish};
use weir_model::validate::SHARED_BY_PROXY_MAX;
use weir_tls::Connectors;

use super::Shared;
use crate::replicas::ask_other;

/// What concerns other replicas and waits to be sent.
const WAITING_MAX: usize = 8192;

/// How long it is collected.
const COLLECT: Duration = Duration::from_millis(20);

/// Most that is asked for in one request.
const BATCH_MAX: usize = 2048;

/// Something to ask another replica.
pub(super) struct Forwarded {
    address: String,
    ask: Ask,
    answer: oneshot::Sender<Granted>,
}

/// The way to other replicas; its other end is for [`forward`].
pub(super) fn way() -> (mpsc::Sender<Forwarded>, mpsc::Receiver<Forwarded>) {
    mpsc::channel(WAITING_MAX)
}

/// How often proxies are told to ask.
pub(super) fn demand_every_ms() -> u32 {
    u32::try_from(ASK_EVERY.as_millis()).unwrap_or(u32::MAX)
}

/// Answers a proxy's demand.
pub(super) async fn answer(shared: Arc<Shared>, holder: String, demand: mesh::Demand) -> mesh::Leases {
    let wishes = demand.wishes.into_iter().take(SHARED_BY_PROXY_MAX);
    let leases = wishes.map(|wish| async {
        let limit = wish.limit.clone().unwrap_or_default();
        let limit = SharedLimit { namespace: limit.namespace, name: limit.name, target: wish.target.clone() };
        let asked = Wish { wanted: wish.wanted, lease: wish.lease };
        let ask = Ask { limit, holder: holder.clone(), wish: asked };
        lease(wish, granted(&shared, ask).await)
    });
    mesh::Leases { demand: demand.number, leases: join_all(leases).await }
}

async fn granted(shared: &Shared, ask: Ask) -> Granted {
    // Nor is another replica asked for what is no limit.
    if !shared.control.is_shared(&ask.limit) {
        return Granted::default();
    }
    let Some(owner) = shared.control.limit_owner(&ask.limit) else { return shared.control.lease(&ask) };
    let (answer, answered) = oneshot::channel();
    // Who is not answered keeps what it has, and asks again soon.
    if shared.forwarded.try_send(Forwarded { address: owner.http, ask, answer }).is_err() {
        return Granted::default();
    }
    answered.await.unwrap_or_default()
}

fn lease(wish: mesh::Wish, granted: Granted) -> mesh::Lease {
    let mesh::Wish { limit, target, .. } = wish;
    let none = mesh::Lease { limit, target, holders: granted.holders, ..mesh::Lease::default() };
    match granted.lease {
        None => none,
        Some(lease) => mesh::Lease {
            number: lease.number,
            parts: lease.parts,
            ttl_ms: u32::try_from(lease.ttl.as_millis()).unwrap_or(u32::MAX),
            ..none
        },
    }
}

/// Asks other replicas until the server is gone.
pub(super) async fn forward(mut forwarded: mpsc::Receiver<Forwarded>, tls: Option<Arc<Connectors>>) {
    let mut batch = Vec::new();
    while forwarded.recv_many(&mut batch, BATCH_MAX).await > 0 {
        tokio::time::sleep(COLLECT).await;
        while batch.len() < BATCH_MAX
            && let Ok(one_more) = forwarded.try_recv()
        {
            batch.push(one_more);
        }
        let mut by_replica: HashMap<String, Vec<(Ask, oneshot::Sender<Granted>)>> = HashMap::new();
        for Forwarded { address, ask, answer } in batch.drain(..) {
            by_replica.entry(address).or_default().push((ask, answer));
        }
        // A replica that does not answer holds up nobody who asks another.
        for (address, asked) in by_replica {
            tokio::spawn(ask_for_all(address, tls.clone(), asked));
        }
    }
}

async fn ask_for_all(
    address: String,
    tls: Option<Arc<Connectors>>,
    asked: Vec<(Ask, oneshot::Sender<Granted>)>,
) {
    let (asks, answers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    match ask_other(&address, tls.as_deref(), &asks).await {
        Ok(granted) => {
            for (answer, granted) in answers.into_iter().zip(granted) {
                // A proxy that has gone meanwhile needs none.
                let _ = answer.send(granted);
            }
        }
        Err(reason) => {
            tracing::debug!(replica = address, count = asks.len(), reason, "a replica leases nothing");
        }
    }
}
