//! Gives endpoints that are avoided a way back: a connection is tried, and if it comes about they are like the others
//! again.
//!
//! While others are well an avoided endpoint gets no requests, so no request could ever show that it has recovered.
//! One worker does this for the process, once per sweep.

use std::cell::Cell;
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

/// The probes of one worker.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    under_way: Cell<usize>,
    /// How many there were: where the next sweep begins, or those that never answer would be all that are ever tried.
    begun: Cell<usize>,
}

/// Tries the avoided endpoints of the snapshot in force.
pub(crate) fn probe_avoided(worker: &Rc<Worker>) {
    let view = worker.view();
    let endpoints = |upstream: &'_ Arc<Upstream>| 0..upstream.endpoints.len();
    let all = view.snapshot.upstreams().iter();
    let all = all.flat_map(|upstream| endpoints(upstream).map(move |index| (upstream, index)));
    let avoided: Vec<_> =
        all.filter(|(upstream, index)| upstream.endpoints[*index].state.is_avoided()).collect();
    let Probes { under_way, begun } = &worker.probes;
    let room = PROBES_MAX.saturating_sub(under_way.get()).min(avoided.len());
    for &(upstream, index) in avoided.iter().cycle().skip(begun.get() % avoided.len().max(1)).take(room) {
        begun.set(begun.get().wrapping_add(1));
        under_way.set(under_way.get() + 1);
        spawn_local(probe(worker.clone(), upstream.clone(), index));
    }
}

async fn probe(worker: Rc<Worker>, upstream: Arc<Upstream>, index: usize) {
    let endpoint = &upstream.endpoints[index];
    if let Ok(Ok(_)) = tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(endpoint.addr)).await {
        endpoint.state.mark_succeeded();
    }
    let under_way = &worker.probes.under_way;
    under_way.set(under_way.get() - 1);
}
