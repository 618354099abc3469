//! The attempts of one request.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use weir_model::resource::Protocol;
use weir_policy::Nanos;
use weir_policy::balance::{Policy, TRIED_MAX, Tried};
use weir_policy::outlier::Verdict;
use weir_policy::retry::{Decision, Facts, Failure, GiveUp, RetryPolicy, decide};

use super::again::Again;
use super::connect::{ConnectFault, Dial, connect, dial};
use super::exchange::{Ended, Exchange, Link, UpstreamFault};
use super::hedge::race;
use super::load::ask_for_load;
use super::manner::Manner;
use super::pool;
use super::upstream::{Held, InFlight, LocalUpstream, Took};
use crate::breaker::{CallEnd, Refused};
use crate::connection::{Connection, answered, broken_off, status_like};
use crate::eject::Probing;
use crate::http2::{Channel, NoStream};
use crate::listen::Role;
use crate::observe::GrpcStatus;
use crate::respond::{Reason, Refusal, Unanswered};
use crate::runtime::{Coarse, Io, TimerSlot, Worker};

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
pub(super) enum Attempt {
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
pub(crate) async fn run(
    conn: &mut Connection,
    exchange: &mut Exchange,
    local: &Rc<LocalUpstream>,
) -> Outcome {
    let worker = conn.worker.clone();
    let now = || Nanos::from_millis(worker.timers.now_ms());
    local.carried.budget.borrow_mut().request(now());
    if let Some(budget) = exchange.manner.as_ref().and_then(|manner| manner.budget.as_ref()) {
        budget.borrow_mut().request(now());
    }
    local.touch(worker.now_s.get());
    exchange.begin_call(&worker);
    let mut place = Place::default();
    // After a stale connection only a fresh one tells whether the endpoint is well.
    let mut fresh_at = None;
    // Whether any attempt may have reached the application.
    let mut sent = false;
    let mut probing = None;
    loop {
        let picked = match fresh_at {
            Some(index) => Some(index),
            None => match choose(&worker, exchange, local, &place.tried, &mut probing) {
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
        place.index = index;
        place.attempts += u32::from(fresh_at.is_none());
        place.only_fresh = fresh_at.take().is_some();
        if let Some(notes) = &mut exchange.notes {
            notes.attempts = place.attempts + place.lost;
            notes.endpoint = Some(local.endpoint(index).id.clone());
        }
        exchange.again = Again::stage(exchange, local, place.attempts, &place.tried, index);
        let delay = match attempt(conn, exchange, local, &mut place, &mut probing).await {
            Attempt::Over(outcome) => {
                exchange.attempt_permits.abandon();
                return outcome;
            }
            // It may have been cut off at any point: whether the application saw the request is not known.
            Attempt::Stale => {
                sent |= !exchange.is_unsent();
                fresh_at = Some(place.index);
                exchange.reset_attempt(&worker.buffers);
                continue;
            }
            Attempt::Again(delay) => {
                place.tried.add(place.index);
                sent = true;
                delay
            }
            Attempt::Failed { failure, mut refusal } => {
                exchange.attempt_permits.abandon();
                place.tried.add(place.index);
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
                    attempts: place.attempts,
                    idempotent: exchange.asked.method.is_idempotent(),
                    unsent: exchange.is_unsent(),
                    replayable: exchange.is_replayable(),
                    response_begun: exchange.was_heard(),
                    another_endpoint: local.has_untried(&place.tried),
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
    worker: &Rc<Worker>,
    exchange: &mut Exchange,
    local: &'a Rc<LocalUpstream>,
    tried: &Tried,
    probing: &mut Option<Probing<'a>>,
) -> Result<Option<usize>, Refused> {
    let now = Nanos(worker.clock.recent());
    *probing = local.probe(tried, now);
    let picked = match probing {
        Some(probing) => Some(probing.index()),
        None => local.pick(now, exchange.asked.hash, tried, &mut *worker.rng.borrow_mut()),
    };
    if local.upstream.settings.balance.config.policy == Policy::Prequal {
        ask_for_load(worker, local, now);
    }
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

/// An endpoint whose breakers let the call through: the one picked, or else another one. Where none does, the one that may do so
/// first answers.
fn unbroken(
    worker: &Worker,
    exchange: &mut Exchange,
    local: &LocalUpstream,
    tried: &Tried,
    picked: usize,
) -> Result<usize, Refused> {
    let now = Nanos(worker.clock.recent());
    let (mut passed, mut broken, mut index) = (*tried, Tried::default(), picked);
    let mut soonest: Option<Refused> = None;
    loop {
        let Some(chain) = exchange.breakers_of(local, index).cloned() else { return Ok(index) };
        exchange.attempt_permits.begin(chain);
        let rng = &mut *worker.rng.borrow_mut();
        let Err(refused) = exchange.attempt_permits.admit(now, rng, worker.index()) else { return Ok(index) };
        // Who comes again when the first of them opens may be let through.
        let first = match soonest.take() {
            Some(before) if before.refusal.retry_after <= refused.refusal.retry_after => before,
            _ => refused,
        };
        passed.add(index);
        broken.add(index);
        match local.pick(now, exchange.asked.hash, &passed, rng) {
            // Not one that is known to be broken off, and no more than can be remembered.
            Some(other) if !broken.has(other) && broken.len() < TRIED_MAX => {
                (index, soonest) = (other, Some(first));
            }
            _ => return Err(first),
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

/// Where an attempt is made, and what was tried before.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// The endpoint.
    pub(super) index: usize,
    /// Only on a connection of its own.
    only_fresh: bool,
    /// How many attempts there were, with this one, but for `lost`.
    pub(super) attempts: u32,
    /// Copies that came to nothing: what is left of retries is not for them.
    pub(super) lost: u32,
    pub(super) tried: Tried,
}

/// A copy of a request under way at an endpoint.
pub(super) struct Leg<'a> {
    pub(super) index: usize,
    pub(super) io: Io,
    pub(super) in_flight: InFlight<'a>,
    /// How long the connection had idled.
    pub(super) idle_ms: u32,
}

/// The idle time of a connection that was just opened.
pub(super) const FRESH: u32 = u32::MAX;

async fn attempt<'a>(
    conn: &mut Connection,
    exchange: &mut Exchange,
    local: &'a LocalUpstream,
    place: &mut Place,
    probing: &mut Option<Probing<'a>>,
) -> Attempt {
    let index = place.index;
    let in_flight = InFlight::begin(local, index);
    exchange.attempt_ns = conn.worker.clock.recent();
    let (io, idle_ms) = match pooled(conn, local, index, place.only_fresh) {
        Some(pooled) => pooled,
        // Rare, so the future's size is kept out of the connection's own.
        None => match Box::pin(open(conn, exchange, local, index)).await {
            Ok(upstream) if conn.is_loop(&upstream, local.endpoint(index).addr) => {
                return Attempt::Over(Outcome::Refused(leads_here(local)));
            }
            Ok(upstream) => {
                local.counters.connects.add(1);
                (upstream, FRESH)
            }
            Err((failed, is_theirs)) => {
                if is_theirs {
                    local.heard(
                        index,
                        Verdict::GatewayFailure,
                        took(exchange, conn, in_flight.others),
                        probing,
                        now(conn),
                    );
                    exchange.attempt_permits.finish(CallEnd::Failure, 0, now(conn));
                }
                return failed;
            }
        },
    };
    exchange.restate_timeout(&conn.worker);
    // The first attempt on a connection that is there has all of the time that the head says; a call may have less.
    if idle_ms == FRESH || place.attempts > 1 || exchange.is_timed_call() {
        exchange.restate_time(&conn.worker, place.attempts);
    }
    conn.timer.arm(exchange.asked.standstill_max);
    let mut leg = Leg { index, io, in_flight, idle_ms };
    let ended = match exchange.hedger(local) {
        // Who makes copies for those that only look on makes no copies of them.
        Some(hedger) if !matches!(conn.client, Io::Nobody(_)) => {
            let hedger = hedger.clone();
            let racing = race(conn, exchange, local, &hedger, &mut leg, place, probing);
            // Where it is asked for only, so the future's size is kept out of the connection's own.
            match Box::pin(racing).await {
                Ok(ended) => ended,
                Err(failed) => return failed,
            }
        }
        _ => poll_fn(|cx| step(conn, exchange, local, &mut leg, false, cx)).await,
    };
    over(conn, exchange, local, leg, probing, ended)
}

/// A connection to an endpoint that is there already, and for how long it had idled.
pub(super) fn pooled(
    conn: &Connection,
    local: &LocalUpstream,
    index: usize,
    only_fresh: bool,
) -> Option<(Io, u32)> {
    let settings = &local.upstream.settings;
    if local.upstream.is_http2() && is_shared(local) {
        let grpc = local.upstream.protocol() == Protocol::Grpc;
        // An HTTP/2 connection is watched while it is idle: that a stream of it ends is no sign of age.
        return local.pool(index).http2.stream(&conn.worker, grpc, settings.room()).map(|io| (io, FRESH));
    }
    if only_fresh || !is_shared(local) {
        return None;
    }
    let state = &local.endpoint(index).state;
    let (io, idle_ms) = local.pool(index).take(conn.worker.pool_time(), settings.idle_max, state)?;
    Some((io, u32::try_from(idle_ms).unwrap_or(FRESH - 1)))
}

/// Whether connections are for requests of any client: whoever is told who its client is must not be given another's.
fn is_shared(local: &LocalUpstream) -> bool {
    local.upstream.settings.proxy_protocol.is_none()
}

/// Lets an exchange go on. `rivalled` says that another copy of it is under way.
#[inline]
pub(super) fn step(
    conn: &mut Connection,
    exchange: &mut Exchange,
    local: &LocalUpstream,
    leg: &mut Leg<'_>,
    rivalled: bool,
    cx: &mut Context<'_>,
) -> Poll<Ended> {
    let mut link = Link {
        closing: conn.is_closing(),
        worker: &conn.worker,
        client: &mut conn.client,
        carry: &mut conn.carry,
        timer: &conn.timer,
        upstream: &mut leg.io,
        sidecar: local.endpoint(leg.index).inbound,
        app: conn.listener.role == Role::Inbound,
        rivalled,
        again: exchange.again.map(|stage| Again { local, stage }),
    };
    let polled = exchange.poll(cx, &mut link);
    if exchange.copies.is_some() && exchange.is_request_read() {
        conn.send_copies(exchange);
    }
    polled
}

/// Takes note of how an attempt ended.
fn over(
    conn: &Connection,
    exchange: &mut Exchange,
    local: &LocalUpstream,
    leg: Leg<'_>,
    probing: &mut Option<Probing<'_>>,
    ended: Ended,
) -> Attempt {
    let index = leg.index;
    let state = &local.endpoint(index).state;
    match ended {
        Ended::Complete => {
            state.mark_succeeded();
            if !exchange.is_told {
                let took = took(exchange, conn, leg.in_flight.others);
                local.heard(index, verdict(exchange), took, probing, now(conn));
            }
            if !exchange.attempt_permits.is_idle() {
                let end = answered(exchange, &conn.worker, status_like(exchange));
                exchange.attempt_permits.finish(end, exchange.head_ns, now(conn));
            }
            if let Some(timeout_s) = exchange.upstream_idle_s() {
                state.idle_said(timeout_s, conn.worker.now_s.get());
            }
            if is_shared(local) && exchange.upstream_reusable() {
                local.pool(index).put(leg.io, conn.worker.timers.now_ms());
            }
            Attempt::Over(Outcome::Complete)
        }
        Ended::Upgraded => {
            state.mark_succeeded();
            let took = took(exchange, conn, leg.in_flight.others);
            local.heard(index, Verdict::Success, took, probing, now(conn));
            Attempt::Over(Outcome::Tunnel(leg.io, leg.in_flight.hold()))
        }
        Ended::Failed(fault) => failed(conn, exchange, local, &leg, probing, &fault),
        Ended::Again { delay, verdict, status } => {
            state.mark_succeeded();
            if !exchange.is_told {
                let took = took(exchange, conn, leg.in_flight.others);
                local.heard(index, verdict, took, probing, now(conn));
            }
            let end = answered(exchange, &conn.worker, status);
            exchange.attempt_permits.finish(end, 0, now(conn));
            Attempt::Again(delay)
        }
        Ended::Refused(refusal) => Attempt::Over(Outcome::Refused(refusal)),
        Ended::ClientGone => Attempt::Over(Outcome::ClientGone),
        // An answer is unwanted only while another copy is under way, and that one would have gone on.
        Ended::Spoilt | Ended::Unwanted { .. } => Attempt::Over(Outcome::Cut),
        Ended::Cut => {
            local.counters.resets.add(1);
            if exchange.broken_off {
                state.mark_failed();
                let took = took(exchange, conn, leg.in_flight.others);
                local.heard(index, Verdict::GatewayFailure, took, probing, now(conn));
                exchange.attempt_permits.finish(CallEnd::Failure, 0, now(conn));
            }
            Attempt::Over(Outcome::Cut)
        }
    }
}

/// Takes note of an attempt that failed before anything of a final response was passed on.
pub(super) fn failed(
    conn: &Connection,
    exchange: &mut Exchange,
    local: &LocalUpstream,
    leg: &Leg<'_>,
    probing: &mut Option<Probing<'_>>,
    fault: &UpstreamFault,
) -> Attempt {
    // That an idle connection was closed says nothing about the endpoint, but how long it keeps them.
    let reset = matches!(fault, UpstreamFault::Reset);
    let idled_out = reset && leg.idle_ms != FRESH && !exchange.was_heard();
    if idled_out {
        let state = &local.endpoint(leg.index).state;
        pool::closed(state, u64::from(leg.idle_ms), conn.worker.pool_time());
    }
    if reset && leg.idle_ms != FRESH && may_be_stale(exchange) {
        return Attempt::Stale;
    }
    if let Some(verdict) = verdict_on(fault).filter(|_| !idled_out) {
        let took = took(exchange, conn, leg.in_flight.others);
        local.heard(leg.index, verdict, took, probing, now(conn));
        exchange.attempt_permits.finish(CallEnd::Failure, 0, now(conn));
    }
    exchange_failed(conn, exchange, local, leg.index, (fault, idled_out))
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
    let opening = opened(&conn.worker, local, index, header, usual.min(limit), &conn.timer);
    let opened = tokio::select! {
        biased;
        opened = opening => opened,
        () = client_gone(conn) => return Err((Attempt::Over(Outcome::ClientGone), false)),
    };
    match opened {
        Ok(upstream) => Ok(upstream),
        Err(ConnectFault::TimedOut) if limit < usual && exchange.is_given_up(&conn.worker) => {
            Err((Attempt::Over(Outcome::Refused(exchange.given_up())), false))
        }
        Err(fault) => {
            let is_theirs = !fault.is_our_own();
            let mut failed = connect_failed(local, index, &fault);
            if let (Attempt::Failed { refusal, .. }, ConnectFault::TimedOut) = (&mut failed, fault)
                && limit < usual
            {
                *refusal = out_of_time(conn, exchange, local);
            }
            Err((failed, is_theirs))
        }
    }
}

pub(super) fn now(conn: &Connection) -> Nanos {
    Nanos(conn.worker.clock.recent())
}

/// What an attempt took, at an endpoint with so many others in flight.
pub(super) fn took(exchange: &Exchange, conn: &Connection, others: u32) -> Took {
    let end = if exchange.head_ns > 0 { exchange.head_ns } else { conn.worker.clock.now() };
    Took { time: Duration::from_nanos(end.saturating_sub(exchange.attempt_ns)), others }
}

/// What a response says of its endpoint.
fn verdict(exchange: &Exchange) -> Verdict {
    if exchange.kept_to_limit {
        return Verdict::Success;
    }
    match verdict_on_status(exchange.status) {
        Verdict::Success => exchange.grpc_status().map_or(Verdict::Success, verdict_on_call),
        verdict => verdict,
    }
}

pub(super) const fn verdict_on_status(status: u16) -> Verdict {
    match status {
        502..=504 => Verdict::GatewayFailure,
        500.. => Verdict::Failure,
        _ => Verdict::Success,
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
pub(super) async fn client_gone(conn: &Connection) {
    if poll_fn(|cx| conn.client.poll_end(cx)).await.is_ok() {
        let grace = conn.worker.config().timeouts.half_close_grace;
        tokio::time::sleep(grace).await;
    }
}

/// A new connection, or a stream of one that is opened where none has room.
pub(super) async fn opened(
    worker: &Rc<Worker>,
    local: &LocalUpstream,
    index: usize,
    header: Option<Vec<u8>>,
    deadline: Coarse,
    timer: &TimerSlot,
) -> Result<Io, ConnectFault> {
    if !local.upstream.is_http2() {
        let dial = Dial::to(worker, &local.upstream, local.endpoint(index), header)?;
        return connect(dial, deadline, timer).await;
    }
    let room = local.upstream.settings.room();
    // A connection that begins with this client's addresses is for its request alone.
    let own = header.as_ref().map(|_| Channel::default());
    let channel = own.as_ref().unwrap_or(&local.pool(index).http2);
    let to = Dial::to(worker, &local.upstream, local.endpoint(index), header)?;
    let dial = || dial(to.clone());
    let grpc = local.upstream.protocol() == Protocol::Grpc;
    let opened = channel.open(worker, grpc, dial, room, deadline, timer).await;
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

pub(super) fn connect_failed(local: &LocalUpstream, index: usize, fault: &ConnectFault) -> Attempt {
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

/// The answer where a service is this proxy itself.
pub(super) fn leads_here(local: &LocalUpstream) -> Refusal {
    let message = format!("service {} leads back to this very listener", local.upstream.label);
    Refusal::new(Reason::Loop, message)
}

/// Says how long the service had, and who says so.
#[cold]
fn out_of_time(conn: &Connection, exchange: &Exchange, local: &LocalUpstream) -> Refusal {
    let label = &local.upstream.label;
    let (time, limit) = exchange.over(&conn.worker);
    let by = exchange.who_asks(&conn.worker, &local.upstream.settings, (time, limit));
    let message = format!("service {label} did not answer within {} ms ({by})", limit.as_millis());
    Refusal::new(Reason::Timeout, message)
}

fn exchange_failed(
    conn: &Connection,
    exchange: &Exchange,
    local: &LocalUpstream,
    index: usize,
    (fault, idled_out): (&UpstreamFault, bool),
) -> Attempt {
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
        UpstreamFault::Timeout => (Failure::Timeout, out_of_time(conn, exchange, local)),
        UpstreamFault::Malformed(fault) => (Failure::Malformed, Refusal::response(fault)),
        UpstreamFault::MalformedBody(fault) => {
            let message = format!("the upstream's response is malformed: {fault}");
            (Failure::Malformed, Refusal::new(Reason::UpstreamMalformed, message))
        }
    };
    Attempt::Failed { failure, refusal }
}
