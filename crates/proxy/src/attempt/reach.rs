//! A connection to some endpoint of a service, for bytes that are nobody's requests: a TCP or TLS route, CONNECT.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_policy::Nanos;
use weir_policy::balance::Tried;
use weir_policy::outlier::Verdict;
use weir_policy::retry::{Facts, Failure};

use super::connect::{ConnectFault, Dial, connect};
use super::run::{may_retry, pause};
use super::upstream::{Held, InFlight, LocalUpstream, Took};
use crate::listen::proxy_protocol::Addresses;
use crate::respond::{Reason, Refusal};
use crate::runtime::{Io, TimerSlot, Worker};

/// Who asks.
pub(crate) struct Seeker<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) timer: &'a TimerSlot,
    /// The client, as far as endpoints are chosen by it.
    pub(crate) client: IpAddr,
    /// For upstreams that want to be told.
    pub(crate) addresses: Addresses,
    /// What the client sends is, or may be, encrypted for the endpoint already.
    pub(crate) encrypted: bool,
    /// The address that the client has connected to, to tell a loop by.
    pub(crate) here: Option<SocketAddr>,
}

/// A connection, counted in flight at its endpoint.
pub(crate) struct Reached {
    pub(crate) io: Io,
    pub(crate) held: Held,
}

/// What was tried, whatever came of it.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    pub(crate) attempts: u32,
    /// The last endpoint.
    pub(crate) endpoint: Option<Arc<str>>,
}

/// Connects to the endpoints that the balancer picks until one accepts, as long as retry policy and budget allow.
pub(crate) async fn reach(
    local: &LocalUpstream,
    seeker: &Seeker<'_>,
    tries: &mut Tries,
) -> Result<Reached, Refusal> {
    let Seeker { worker, timer, .. } = *seeker;
    let settings = &local.upstream.settings;
    let now = || Nanos::from_millis(worker.timers.now_ms());
    local.carried.budget.borrow_mut().request(now());
    local.touch(worker.now_s.get());
    let mut tried = Tried::default();
    let hash = match &settings.balance.hash {
        key if key.is_empty() => None,
        key => key.of_connection(seeker.client.to_canonical().to_string().as_bytes()),
    };
    loop {
        let mut probing = local.probe(&tried, Nanos(worker.clock.recent()));
        let picked = match &probing {
            Some(probing) => Some(probing.index()),
            None => local.pick(Nanos(worker.clock.recent()), hash, &tried, &mut *worker.rng.borrow_mut()),
        };
        let Some(index) = picked else {
            return Err(Refusal::new(
                Reason::NoEndpoint,
                format!("service {} has no endpoint that can take the connection", local.upstream.label),
            ));
        };
        tries.attempts += 1;
        let endpoint = local.endpoint(index);
        tries.endpoint = Some(endpoint.id.clone());
        let in_flight = InFlight::begin(local, index);
        let began_ns = worker.clock.now();
        let others = in_flight.others;
        let took = || {
            let time = Duration::from_nanos(worker.clock.now().saturating_sub(began_ns));
            Took { time, others }
        };
        let deadline = worker.timers.after(settings.connect_timeout);
        let header = settings.proxy_header_for(|| seeker.addresses);
        let dial = Dial::to(worker, &local.upstream, endpoint, header);
        let dial = if seeker.encrypted { dial.map(Dial::in_the_clear) } else { dial };
        let connected = match dial {
            Ok(dial) => connect(dial, deadline, timer).await,
            Err(fault) => Err(fault),
        };
        let fault = match connected {
            Ok(io) if leads_back(&io, endpoint.addr, seeker.here) => {
                let message = format!("service {} leads back to this very listener", local.upstream.label);
                return Err(Refusal::new(Reason::Loop, message));
            }
            Ok(io) => {
                local.counters.connects.add(1);
                endpoint.state.mark_succeeded();
                local.heard(index, Verdict::Success, took(), &mut probing, Nanos(worker.clock.recent()));
                return Ok(Reached { io, held: in_flight.hold() });
            }
            Err(fault) => fault,
        };
        drop(in_flight);
        local.counters.connect_failures.add(1);
        if !fault.is_our_own() {
            endpoint.state.mark_failed();
            local.heard(index, Verdict::GatewayFailure, took(), &mut probing, Nanos(worker.clock.recent()));
        }
        tried.add(index);
        let facts = Facts {
            attempts: tries.attempts,
            idempotent: false,
            unsent: true,
            replayable: true,
            response_begun: false,
            another_endpoint: local.has_untried(&tried),
            deadline: None,
        };
        match may_retry(local, None, Failure::Connect, &facts, now(), worker) {
            Some(delay) => pause(delay).await,
            None => return Err(refusal(local, &fault)),
        }
        local.counters.retries.add(1);
    }
}

fn refusal(local: &LocalUpstream, fault: &ConnectFault) -> Refusal {
    let label = &local.upstream.label;
    tracing::debug!(upstream = %label, ?fault, "cannot connect");
    let reason = match fault {
        ConnectFault::Tls => Reason::UpstreamTls,
        _ => Reason::ConnectFailed,
    };
    Refusal::new(reason, format!("no connection to service {label}"))
}

/// Whether a fresh connection leads back to where the client has connected to. Asks the system only when the port is the
/// same.
pub(crate) fn leads_back(upstream: &Io, addr: SocketAddr, here: Option<SocketAddr>) -> bool {
    here.is_some_and(|here| here.port() == addr.port() && upstream.peer_addr() == Some(here))
}
