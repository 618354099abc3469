//! The attempts of one request.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use weir_model::resource::Protocol;
use weir_policy::Nanos;
use weir_policy::balance::{TRIED_MAX, Tried};
use weir_policy::outlier::Verdict;
use weir_policy::retry::{Decision, Facts, Failure, GiveUp, RetryPolicy, decide};

use super::again::Again;
use super::connect::{ConnectFault, Dial, connect, dial};
use super::exchange::{Ended, Exchange, Link, UpstreamFault};
use super::manner::Manner;
use super::pool;
use super::upstream::{Held, InFlight, LocalUpstream};
use crate::breaker::{CallEnd, Refused};
use crate::connection::{Connection, broken_off, status_like};
use crate::eject::Probing;
use crate::http2::{Channel, NoStream};
use crate::listen::Role;
use crate::observe::GrpcStatus;
use crate::respond::{Reason, Refusal, Unanswered};
use crate::runtime::{Coarse, Io, Worker};

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The response is with the client.
    Complete,
    /// The protocol was changed: the bytes of this connection and the client's go both ways from here on.
    Tunnel(Io, Held),
    /// The proxy has to answer itself.
    Refused(Refusal),
    /// The client is gone.
    ClientGone,
    /// The response was cut off.
    Cut,
}

/// What one attempt came to.
enum Attempt {
    Over(Outcome),
    /// A pooled connection had been closed by the upstream before it saw the request.
    Stale,
    Failed {
        failure: Failure,
        refusal: Refusal,
    },
    /// It was answered with a status upon which it is tried again, after this time.
    Again(Duration),
}

/// Makes attempts until one succeeds or no further one is right.
pub(crate) async fn run(conn: &mut Connection, exchange: &mut Exchange, local: &LocalUpstream) -> Outcome {
    let worker = conn.worker.clone();
    let now = || Nanos::from_millis(worker.timers.now_ms());
    local.carried.budget.borrow_mut().request(now());
    if let Some(budget) = exchange.manner.as_ref().and_then(|manner| manner.budget.as_ref()) {
        budget.borrow_mut().request(now());
    }
    local.touch(worker.now_s.get());
    exchange.begin_call(&worker);
    let mut tried = Tried::default();
    let mut attempts = 0;
    // After a stale connection only a fresh one tells whether the endpoint is well.
    let mut fresh_at = None;
    // Whether any attempt may have reached the application.
    let mut sent = false;
    let mut probing = None;
    loop {
        let picked = match fresh_at {
            Some(index) => Some(index),
            None => match choose(&worker, exchange, local, &tried, &mut probing) {
                Ok(picked) => picked,
                Err(refused) => return Outcome::Refused(broken_off(&refused)),
            },
        };
        let Some(index) = picked else {
            return Outcome::Refused(Refusal::new(
                Reason::NoEndpoint,
                format!("service {} has no endpoint that can take the request", local.upstream.label),
            ));
        };
        attempts += u32::from(fresh_at.is_none());
        if let Some(notes) = &mut exchange.notes {
            notes.attempts = attempts;
            notes.endpoint = Some(local.endpoint(index).id.clone());
        }
        exchange.again = Again::stage(exchange, local, attempts, &tried, index);
        let place = Place { index, only_fresh: fresh_at.take().is_some() };
        let delay = match attempt(conn, exchange, local, place, &mut probing).await {
            Attempt::Over(outcome) => {
                exchange.attempt_permits.abandon();
                return outcome;
            }
            // It may have been cut off at any point: whether the application saw the request is not known.
            Attempt::Stale => {
                sent |= !exchange.is_unsent();
                fresh_at = Some(index);
                exchange.reset_attempt(&worker.buffers);
                continue;
            }
            Attempt::Again(delay) => {
                tried.add(index);
                sent = true;
                delay
            }
            Attempt::Failed { failure, mut refusal } => {
                exchange.attempt_permits.abandon();
                tried.add(index);
                sent |= !matches!(failure, Failure::Connect | Failure::Refused);
                refusal.unanswered = match failure {
                    Failure::Connect | Failure::Refused if !sent => Some(Unanswered::Unsent),
                    Failure::Connect | Failure::Refused | Failure::Reset => Some(Unanswered::Reset),
                    Failure::Timeout
                    | Failure::Malformed
                    | Failure::Status { .. }
                    | Failure::GrpcStatus { .. } => None,
                };
                let facts = Facts {
                    attempts,
                    idempotent: exchange.asked.method.is_idempotent(),
                    unsent: exchange.is_unsent(),
                    replayable: exchange.is_replayable(),
                    response_begun: exchange.was_heard(),
                    another_endpoint: local.has_untried(&tried),
                    deadline: exchange.deadline().map(Nanos::from_millis),
                };
                match may_retry(local, exchange.manner.as_deref(), failure, &facts, now(), &worker) {
                    Some(delay) => delay,
                    None => return Outcome::Refused(refusal),
                }
            }
        };
        let paused = async {
            tokio::select! {
                () = pause(delay) => true,
                () = client_gone(conn) => false,
            }
        };
        // Rare, so the future's size is kept out of the connection's own.
        if !Box::pin(paused).await {
            return Outcome::ClientGone;
        }
        local.counters.retries.add(1);
        exchange.reset_attempt(&worker.buffers);
    }
}

/// The endpoint for the next attempt, with a permit of its own breakers; none when there is none.
fn choose<'a>(
    worker: &Worker,
    exchange: &mut Exchange,
    local: &'a LocalUpstream,
    tried: &Tried,
    probing: &mut Option<Probing<'a>>,
) -> Result<Option<usize>, Refused> {
    let now = Nanos(worker.clock.recent());
    *probing = local.probe(tried, now);
    let picked = match probing {
        Some(probing) => Some(probing.index()),
        None => local.pick(now, tried, &mut *worker.rng.borrow_mut()),
    };
    match picked {
        Some(index) if exchange.breakers_of(local, index).is_some() => {
            let chosen = unbroken(worker, exchange, local, tried, index)?;
            if chosen != index {
                *probing = None;
            }
            Ok(Some(chosen))
        }
        picked => Ok(picked),
    }
}

/// An endpoint whose breakers let the call through: the one picked, or else another one.
fn unbroken(
    worker: &Worker,
    exchange: &mut Exchange,
    local: &LocalUpstream,
    tried: &Tried,
    picked: usize,
) -> Result<usize, Refused> {
    let now = Nanos(worker.clock.recent());
    let (mut passed, mut broken, mut index) = (*tried, Tried::default(), picked);
    loop {
        let Some(chain) = exchange.breakers_of(local, index).cloned() else { return Ok(index) };
        exchange.attempt_permits.begin(chain);
        let rng = &mut *worker.rng.borrow_mut();
        let Err(refused) = exchange.attempt_permits.admit(now, rng, worker.index()) else { return Ok(index) };
        passed.add(index);
        broken.add(index);
        match local.pick(now, &passed, rng) {
            // Not one that is known to be broken off, and no more than can be remembered.
            Some(other) if !broken.has(other) && broken.len() < TRIED_MAX => index = other,
            _ => return Err(refused),
        }
    }
}

/// How long to wait before the next attempt; none when there is to be none.
pub(super) fn may_retry(
    local: &LocalUpstream,
    manner: Option<&Manner>,
    failure: Failure,
    facts: &Facts,
    now: Nanos,
    worker: &Worker,
) -> Option<Duration> {
    let settings = manner.map_or(&local.upstream.settings, |manner| &manner.settings);
    let (backoff_base, backoff_max) = settings.backoff;
    let (statuses, grpc_statuses) = settings.retry_on;
    let retries = settings.retries;
    let policy = RetryPolicy { retries, backoff_base, backoff_max, statuses, grpc_statuses };
    let mut of_service = local.carried.budget.borrow_mut();
    let of_route = manner.and_then(|manner| manner.budget.as_ref());
    let mut of_route = of_route.map(|budget| budget.borrow_mut());
    let rng = &mut *worker.rng.borrow_mut();
    // Where there are two budgets both must have room for it.
    let decision = match &mut of_route {
        Some(of_route) => match decide(&policy, failure, facts, of_route, now, rng) {
            Decision::Retry { .. } if !of_service.try_retry(now) => Decision::GiveUp(GiveUp::Budget),
            decision => decision,
        },
        None => decide(&policy, failure, facts, &mut of_service, now, rng),
    };
    match decision {
        Decision::Retry { delay } => Some(delay),
        Decision::GiveUp(why) => {
            if why == GiveUp::Budget {
                local.counters.retries_denied.add(1);
            }
            None
        }
    }
}

pub(super) async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Where an attempt is made.
#[derive(Clone, Copy)]
struct Place {
    /// The endpoint.
    index: usize,
    /// Only on a connection of its own.
    only_fresh: bool,
}

/// The idle time of a connection that was just opened.
const FRESH: u32 = u32::MAX;

async fn attempt(
    conn: &mut Connection,
    exchange: &mut Exchange,
    local: &LocalUpstream,
    Place { index, only_fresh }: Place,
    probing: &mut Option<Probing<'_>>,
) -> Attempt {
    let endpoint = local.endpoint(index);
    let settings = &local.upstream.settings;
    let in_flight = InFlight::begin(endpoint);
    exchange.attempt_ns = conn.worker.clock.recent();
    // Whoever is told who its client is must not be given another's requests on the same connection.
    let shared = settings.proxy_protocol.is_none();
    let pooled = if local.upstream.is_http2() && shared {
        let grpc = local.upstream.protocol() == Protocol::Grpc;
        local.pool(index).http2.stream(&conn.worker, grpc, settings.room()).map(|stream| (stream, 0))
    } else if only_fresh || !shared {
        None
    } else {
        local.pool(index).take(conn.worker.pool_time(), settings.idle_max, &endpoint.state)
    };
    // An HTTP/2 connection is watched while it is idle: that a stream of it ends is no sign of age.
    let idle_ms = match &pooled {
        Some((_, idle_ms)) if !local.upstream.is_http2() => u32::try_from(*idle_ms).unwrap_or(FRESH - 1),
        _ => FRESH,
    };
    let mut upstream = match pooled {
        Some((upstream, _)) => upstream,
        // Rare, so the future's size is kept out of the connection's own.
        None => match Box::pin(open(conn, exchange, local, index)).await {
            Ok(upstream) if conn.is_loop(&upstream, endpoint.addr) => {
                let message = format!("service {} leads back to this very listener", local.upstream.label);
                return Attempt::Over(Outcome::Refused(Refusal::new(Reason::Loop, message)));
            }
            Ok(upstream) => {
                local.counters.connects.add(1);
                upstream
            }
            Err((failed, is_theirs)) => {
                if is_theirs {
                    local.heard(index, Verdict::GatewayFailure, probing, now(conn));
                    exchange.attempt_permits.finish(CallEnd::Failure, 0, now(conn));
                }
                return failed;
            }
        },
    };
    exchange.restate_timeout(&conn.worker);
    conn.timer.arm(exchange.asked.standstill_max);
    let ended = poll_fn(|cx| {
        let mut link = Link {
            closing: conn.is_closing(),
            worker: &conn.worker,
            client: &mut conn.client,
            carry: &mut conn.carry,
            timer: &conn.timer,
            upstream: &mut upstream,
            sidecar: endpoint.inbound,
            app: conn.listener.role == Role::Inbound,
            again: exchange.again.map(|stage| Again { local, stage }),
        };
        let polled = exchange.poll(cx, &mut link);
        if exchange.copies.is_some() && exchange.is_request_read() {
            conn.send_copies(exchange);
        }
        polled
    })
    .await;
    match ended {
        Ended::Complete => {
            endpoint.state.mark_succeeded();
            local.heard(index, verdict(exchange), probing, now(conn));
            if !exchange.attempt_permits.is_idle() {
                let end = CallEnd::Status(status_like(exchange));
                exchange.attempt_permits.finish(end, exchange.head_ns, now(conn));
            }
            if let Some(timeout_s) = exchange.upstream_idle_s() {
                endpoint.state.idle_said(timeout_s, conn.worker.now_s.get());
            }
            if shared && exchange.upstream_reusable() {
                local.pool(index).put(upstream, conn.worker.timers.now_ms());
            }
            Attempt::Over(Outcome::Complete)
        }
        Ended::Upgraded => {
            endpoint.state.mark_succeeded();
            local.heard(index, Verdict::Success, probing, now(conn));
            Attempt::Over(Outcome::Tunnel(upstream, in_flight.hold()))
        }
        Ended::Failed(fault) => {
            // That an idle connection was closed says nothing about the endpoint, but how long it keeps them.
            let reset = matches!(fault, UpstreamFault::Reset);
            let idled_out = reset && idle_ms != FRESH && !exchange.was_heard();
            if idled_out {
                pool::closed(&endpoint.state, u64::from(idle_ms), conn.worker.pool_time());
            }
            if reset && idle_ms != FRESH && may_be_stale(exchange) {
                return Attempt::Stale;
            }
            if let Some(verdict) = verdict_on(&fault).filter(|_| !idled_out) {
                local.heard(index, verdict, probing, now(conn));
                exchange.attempt_permits.finish(CallEnd::Failure, 0, now(conn));
            }
            exchange_failed(local, index, &fault, idled_out)
        }
        Ended::Again { delay, verdict, status } => {
            endpoint.state.mark_succeeded();
            local.heard(index, verdict, probing, now(conn));
            exchange.attempt_permits.finish(CallEnd::Status(status), 0, now(conn));
            Attempt::Again(delay)
        }
        Ended::Refused(refusal) => Attempt::Over(Outcome::Refused(refusal)),
        Ended::ClientGone => Attempt::Over(Outcome::ClientGone),
        Ended::Spoilt => Attempt::Over(Outcome::Cut),
        Ended::Cut => {
            local.counters.resets.add(1);
            Attempt::Over(Outcome::Cut)
        }
    }
}

/// Opens a connection, within what the endpoint and the request are given. If there is none, also whether that is the
/// endpoint's fault.
async fn open(
    conn: &Connection,
    exchange: &mut Exchange,
    local: &LocalUpstream,
    index: usize,
) -> Result<Io, (Attempt, bool)> {
    let limit = exchange.connect_deadline(&conn.worker);
    let usual = conn.worker.timers.after(local.upstream.settings.connect_timeout);
    let settings = &local.upstream.settings;
    let header = settings.proxy_header_for(|| conn.addresses());
    let opening = async {
        if local.upstream.is_http2() {
            open_stream(conn, local, index, header, usual.min(limit)).await
        } else {
            let dial = Dial::to(&conn.worker, &local.upstream, local.endpoint(index), header)?;
            connect(dial, usual.min(limit), &conn.timer).await
        }
    };
    let opened = tokio::select! {
        biased;
        opened = opening => opened,
        () = client_gone(conn) => return Err((Attempt::Over(Outcome::ClientGone), false)),
    };
    match opened {
        Ok(upstream) => Ok(upstream),
        Err(fault) => {
            let is_theirs = !fault.is_our_own();
            let mut failed = connect_failed(local, index, &fault);
            if let (Attempt::Failed { refusal, .. }, ConnectFault::TimedOut) = (&mut failed, fault)
                && limit < usual
            {
                *refusal = out_of_time(local);
            }
            Err((failed, is_theirs))
        }
    }
}

fn now(conn: &Connection) -> Nanos {
    Nanos(conn.worker.clock.recent())
}

/// What a response says of its endpoint.
fn verdict(exchange: &Exchange) -> Verdict {
    if exchange.kept_to_limit {
        return Verdict::Success;
    }
    match exchange.status {
        502..=504 => Verdict::GatewayFailure,
        500.. => Verdict::Failure,
        _ => exchange.grpc_status().map_or(Verdict::Success, verdict_on_call),
    }
}

pub(super) fn verdict_on_call(status: GrpcStatus) -> Verdict {
    match status.as_str() {
        "UNAVAILABLE" => Verdict::GatewayFailure,
        "UNKNOWN" | "INTERNAL" | "DATA_LOSS" => Verdict::Failure,
        _ => Verdict::Success,
    }
}

/// What a failure says of its endpoint; nothing where the endpoint only refused to begin.
const fn verdict_on(fault: &UpstreamFault) -> Option<Verdict> {
    match fault {
        UpstreamFault::Reset | UpstreamFault::Unanswered(_) | UpstreamFault::Timeout => {
            Some(Verdict::GatewayFailure)
        }
        UpstreamFault::Protocol(_) | UpstreamFault::Malformed(_) | UpstreamFault::MalformedBody(_) => {
            Some(Verdict::Failure)
        }
        UpstreamFault::Refused => None,
    }
}

/// Waits until the client is gone. One that only says that it will send no more is given the usual time.
async fn client_gone(conn: &Connection) {
    if poll_fn(|cx| conn.client.poll_end(cx)).await.is_ok() {
        let grace = conn.worker.config().timeouts.half_close_grace;
        tokio::time::sleep(grace).await;
    }
}

/// The same for a stream of an HTTP/2 connection, which is opened where none has room.
async fn open_stream(
    conn: &Connection,
    local: &LocalUpstream,
    index: usize,
    header: Option<Vec<u8>>,
    deadline: Coarse,
) -> Result<Io, ConnectFault> {
    let room = local.upstream.settings.room();
    // A connection that begins with this client's addresses is for its request alone.
    let own = header.as_ref().map(|_| Channel::default());
    let channel = own.as_ref().unwrap_or(&local.pool(index).http2);
    let to = Dial::to(&conn.worker, &local.upstream, local.endpoint(index), header)?;
    let dial = || dial(to.clone());
    let grpc = local.upstream.protocol() == Protocol::Grpc;
    let opened = channel.open(&conn.worker, grpc, dial, room, deadline, &conn.timer).await;
    opened.map_err(|why| match why {
        NoStream::Failed(fault) if fault.kind() == io::ErrorKind::TimedOut => ConnectFault::TimedOut,
        NoStream::Failed(fault) => ConnectFault::of(fault),
        NoStream::TimedOut => ConnectFault::TimedOut,
        NoStream::Full => ConnectFault::Full,
    })
}

/// The upstream closes idle connections when it likes; that says nothing about its health, and the request goes out
/// again where that is safe.
fn may_be_stale(exchange: &Exchange) -> bool {
    exchange.is_replayable() && (exchange.is_unsent() || exchange.asked.method.is_idempotent())
}

fn connect_failed(local: &LocalUpstream, index: usize, fault: &ConnectFault) -> Attempt {
    local.counters.connect_failures.add(1);
    if !fault.is_our_own() {
        local.endpoint(index).state.mark_failed();
    }
    let label = &local.upstream.label;
    let refusal = match fault {
        ConnectFault::Failed(fault) => {
            tracing::debug!(upstream = %label, endpoint = %local.endpoint(index).id, %fault, "cannot connect");
            Refusal::new(Reason::ConnectFailed, format!("no connection to service {label}"))
        }
        ConnectFault::TimedOut => {
            let mut refusal =
                Refusal::new(Reason::ConnectFailed, format!("no connection to service {label} in time"));
            refusal.status = 504;
            refusal
        }
        ConnectFault::Tls => {
            Refusal::new(Reason::UpstreamTls, format!("no secure connection to service {label}"))
        }
        ConnectFault::Full => {
            let message = format!("every connection to an instance of service {label} is full");
            Refusal::new(Reason::Overloaded, message)
        }
    };
    Attempt::Failed { failure: Failure::Connect, refusal }
}

fn out_of_time(local: &LocalUpstream) -> Refusal {
    Refusal::new(Reason::Timeout, format!("service {} did not answer in time", local.upstream.label))
}

fn exchange_failed(local: &LocalUpstream, index: usize, fault: &UpstreamFault, idled_out: bool) -> Attempt {
    let label = &local.upstream.label;
    let state = &local.endpoint(index).state;
    let (failure, refusal) = match fault {
        UpstreamFault::Reset => {
            if !idled_out {
                state.mark_failed();
            }
            local.counters.resets.add(1);
            let message = format!("service {label} closed the connection before it answered");
            (Failure::Reset, Refusal::new(Reason::UpstreamReset, message))
        }
        UpstreamFault::Unanswered(unanswered) => {
            state.mark_failed();
            let message = format!("an instance of service {label} does not answer its sidecar");
            let failure = match unanswered {
                Unanswered::Unsent => Failure::Refused,
                Unanswered::Reset => Failure::Reset,
            };
            (failure, Refusal::new(Reason::ConnectFailed, message))
        }
        UpstreamFault::Refused => {
            let message = format!("service {label} refused the request without looking at it");
            (Failure::Refused, Refusal::new(Reason::UpstreamReset, message))
        }
        UpstreamFault::Protocol(fault) => {
            let message = format!("service {label} breaks the rules of HTTP/2: {fault}");
            (Failure::Malformed, Refusal::new(Reason::UpstreamMalformed, message))
        }
        UpstreamFault::Timeout => (Failure::Timeout, out_of_time(local)),
        UpstreamFault::Malformed(fault) => (Failure::Malformed, Refusal::response(fault)),
        UpstreamFault::MalformedBody(fault) => {
            let message = format!("the upstream's response is malformed: {fault}");
            (Failure::Malformed, Refusal::new(Reason::UpstreamMalformed, message))
        }
    };
    Attempt::Failed { failure, refusal }
}
