//! Gives endpoints that are avoided a way back: a connection is tried, and if it comes about they are like the others
//! again.
//!
//! While others are well an avoided endpoint gets no requests, so no request could ever show that it has recovered.
//! One worker does this for the process, once per sweep.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::runtime::Worker;
use crate::snapshot::Upstream;

/// Endpoints that are tried at a time. What comes beyond waits for another sweep.
const PROBES_MAX: usize = 64;
/// How long a connection may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Tries the avoided endpoints of the snapshot in force.
pub(crate) fn probe_avoided(worker: &Rc<Worker>) {
    let view = worker.view();
    for upstream in view.snapshot.upstreams() {
        for index in 0..upstream.endpoints.len() {
            let state = &upstream.endpoints[index].state;
            if !state.is_avoided() {
                continue;
            }
            if worker.probes.get() >= PROBES_MAX {
                return;
            }
            worker.probes.set(worker.probes.get() + 1);
            spawn_local(probe(worker.clone(), upstream.clone(), index));
        }
    }
}

async fn probe(worker: Rc<Worker>, upstream: Arc<Upstream>, index: usize) {
    let endpoint = &upstream.endpoints[index];
    if let Ok(Ok(_)) = tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(endpoint.addr)).await {
        endpoint.state.mark_succeeded();
    }
    worker.probes.set(worker.probes.get() - 1);
}
