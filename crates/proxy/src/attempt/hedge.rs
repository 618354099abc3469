//! A second copy of a request that takes long, at another endpoint: the first answer that is wanted wins, and the other copy is
//! given up.
//!
//! ```text
//!  first:   sent ----------------------------- head ----> relayed
//!  second:        (delay) pick, connect, sent ---- head -> kept back until it wins: then it is relayed
//! ```
//!
//! Whether and when is decided by `weir_policy::hedge`. What the second one answers is read up to its head and kept back, so
//! the client sees one answer only. An answer that is a failure does not win while the other copy is under way; it is kept, and
//! used where nothing better comes. A copy that is given up says nothing of its endpoint; its connection is closed, its
//! stream is reset.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};
use weir_http1::ResponseHead;
use weir_policy::Nanos;
use weir_policy::balance::Tried;
use weir_policy::hedge::{Hedger, Hedging, NoHedge};
use weir_policy::outlier::Verdict;
use weir_policy::retry::Facts;

use super::again::Again;
use super::connect::ConnectFault;
use super::exchange::{Adopted, Ended, Exchange, Look};
use super::pool;
use super::run::{
    Attempt, FRESH, Leg, Outcome, Place, client_gone, connect_failed, failed, leads_here, now, opened,
    pooled, step, took,
};
use super::upstream::{InFlight, LocalUpstream, Took};
use crate::breaker::{CallEnd, Permits};
use crate::connection::{Connection, HedgeOutcome, answered};
use crate::eject::Probing;
use crate::http2::UNSENT;
use crate::runtime::{Coarse, Io};

/// Bytes of one read of the second answer. With the longest head they fit into the worker's own buffer.
const READ_BYTES_MAX: usize = 16 * 1024;

/// What the race came to.
enum Turn {
    /// The first copy's attempt has ended.
    First(Ended),
    /// The second one has an answer.
    Second,
}

/// The second copy.
enum Second<'a> {
    /// There is none, and will be none.
    None,
    /// It is not time yet.
    Waits(Pin<Box<Sleep>>),
    /// It is under way.
    Sent(Box<Rival<'a>>),
    /// It was answered with a failure, which is kept for when nothing better comes.
    Answered(Box<Rival<'a>>),
}

/// What has come of a second copy.
enum Came {
    /// An answer that is wanted.
    Wanted,
    /// An answer that is a failure.
    Unwanted,
    /// Nothing, and nothing will.
    Nothing,
}

/// A copy that is under way.
struct Rival<'a> {
    index: usize,
    in_flight: InFlight<'a>,
    permits: Permits,
    way: Way<'a>,
    idle_ms: u32,
    began_ns: u64,
    /// When its own time is over.
    deadline: Coarse,
    /// How much of the request it has sent.
    sent: usize,
    /// What has come of its answer.
    read: Vec<u8>,
    head: Box<ResponseHead>,
}

enum Way<'a> {
    Opening(Pin<Box<dyn Future<Output = Result<Io, ConnectFault>> + 'a>>),
    Open(Io),
}

/// Makes an attempt whose request has been given its first connection, `leg`, and perhaps a second copy of it. Gives how
/// the one ended that `leg` is afterwards.
pub(super) async fn race<'a>(
    conn: &mut Connection,
    exchange: &mut Exchange,
    local: &'a LocalUpstream,
    hedger: &RefCell<Hedger>,
    leg: &mut Leg<'a>,
    place: &mut Place,
    probing: &mut Option<Probing<'a>>,
) -> Result<Ended, Attempt> {
    let is_first = place.attempts == 1;
    let mut second = Second::begin(conn, exchange, hedger, place);
    let turn = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = step(conn, exchange, local, leg, second.is_sent(), cx) {
                return Poll::Ready(Turn::First(ended));
            }
            if exchange.was_answered() || exchange.is_passing_on() {
                // It has won, and only its body is missing; or the client is in the middle of what it said before.
                second = Second::None;
            }
            match &mut second {
                Second::None | Second::Answered(_) => return Poll::Pending,
                Second::Waits(time) => {
                    ready!(time.as_mut().poll(cx));
                    second = Second::launch(conn, exchange, local, hedger, leg.index, place);
                }
                Second::Sent(rival) => match ready!(rival.poll(cx, conn, exchange, local)) {
                    Came::Wanted => return Poll::Ready(Turn::Second),
                    Came::Unwanted => second = std::mem::replace(&mut second, Second::None).answered(),
                    Came::Nothing => {
                        place.lose_copy();
                        second = Second::None;
                    }
                },
            }
        }
    })
    .await;
    if is_first && let Some(latency) = latency(conn, exchange, &turn) {
        hedger.borrow_mut().record(latency, Nanos::from_millis(conn.worker.timers.now_ms()));
    }
    let rival = match second {
        Second::Sent(rival) => rival,
        Second::Answered(rival) if matches!(turn, Turn::First(Ended::Failed(_))) => {
            if let Turn::First(Ended::Failed(fault)) = &turn {
                failed(conn, exchange, local, leg, probing, fault);
            }
            // Where the failure said nothing of the first one, the second one's answer does not either.
            exchange.attempt_permits.abandon();
            let Rival { index, in_flight, way, idle_ms, began_ns, deadline, sent, read, .. } = *rival;
            let Way::Open(io) = way else { return Ok(Ended::ClientGone) };
            let copy = Adopted { sent, read, began_ns, deadline };
            let other = Some(Leg { index, io, in_flight, idle_ms });
            won(exchange, local);
            return Ok(fall_back(conn, exchange, local, (leg, other), copy, place).await);
        }
        Second::None | Second::Waits(_) | Second::Answered(_) => {
            return match turn {
                Turn::First(ended) => Ok(ended),
                // There is no answer of what is not under way.
                Turn::Second => Ok(Ended::ClientGone),
            };
        }
    };
    match turn {
        Turn::First(Ended::Failed(fault)) if !exchange.is_out_of_time(&conn.worker) => {
            failed(conn, exchange, local, leg, probing, &fault);
        }
        Turn::First(Ended::Unwanted { verdict, status }) => {
            local.endpoint(leg.index).state.mark_succeeded();
            let took = took(exchange, conn, leg.in_flight.others);
            local.heard(leg.index, verdict, took, probing, now(conn));
            let end = answered(exchange, &conn.worker, status);
            exchange.attempt_permits.finish(end, 0, now(conn));
            let kept = exchange.set_aside();
            return second_or_kept(conn, exchange, local, *rival, (leg, kept), place, probing).await;
        }
        Turn::First(ended) => return Ok(ended),
        Turn::Second => {}
    }
    let (_, ended) = take_over(conn, exchange, local, *rival, leg, place, probing).await;
    if ended.is_ok() {
        won(exchange, local);
    }
    ended
}

/// Notes that the client gets the second copy's answer.
fn won(exchange: &mut Exchange, local: &LocalUpstream) {
    local.counters.hedges_won.add(1);
    if let Some(notes) = &mut exchange.notes {
        notes.hedge = HedgeOutcome::Won;
    }
}

/// Goes on with the second copy; where nothing comes of it, with the answer of the first one, which was kept.
async fn second_or_kept<'a>(
    conn: &mut Connection,
    exchange: &mut Exchange,
    local: &'a LocalUpstream,
    rival: Rival<'a>,
    (leg, kept): (&mut Leg<'a>, Adopted),
    place: &mut Place,
    probing: &mut Option<Probing<'a>>,
) -> Result<Ended, Attempt> {
    let (first, ended) = take_over(conn, exchange, local, rival, leg, place, probing).await;
    match &ended {
        Ok(Ended::Failed(fault)) => {
            place.lose_copy();
            drop(failed(conn, exchange, local, leg, probing, fault));
        }
        Err(Attempt::Failed { .. }) => {}
        Ok(_) => {
            won(exchange, local);
            return ended;
        }
        Err(_) => return ended,
    }
    exchange.attempt_permits.abandon();
    Ok(fall_back(conn, exchange, local, (leg, first), kept, place).await)
}

/// Goes on with a copy that was answered with a failure, since nothing better has come.
async fn fall_back<'a>(
    conn: &mut Connection,
    exchange: &mut Exchange,
    local: &'a LocalUpstream,
    (leg, other): (&mut Leg<'a>, Option<Leg<'a>>),
    copy: Adopted,
    place: &mut Place,
) -> Ended {
    match other {
        Some(other) => {
            place.tried.add(leg.index);
            *leg = other;
        }
        // The one that failed had no connection, so this is the answered one still.
        None => place.tried.add(place.index),
    }
    place.index = leg.index;
    if let Some(notes) = &mut exchange.notes {
        notes.endpoint = Some(local.endpoint(leg.index).id.clone());
    }
    exchange.fall_back(copy, &conn.worker, &conn.timer);
    exchange.again = Again::stage(exchange, local, place.attempts, &place.tried, leg.index);
    poll_fn(|cx| step(conn, exchange, local, leg, false, cx)).await
}

/// How long the first copy took until its answer, at least.
fn latency(conn: &Connection, exchange: &Exchange, turn: &Turn) -> Option<Duration> {
    let until_ns = match turn {
        Turn::First(_) if exchange.head_ns == 0 => return None,
        Turn::First(_) => exchange.head_ns,
        Turn::Second => conn.worker.clock.now(),
    };
    Some(Duration::from_nanos(until_ns.saturating_sub(exchange.attempt_ns)))
}

/// Goes on with the second copy alone. Gives what the first one had as well, where that is not in `leg` any more.
async fn take_over<'a>(
    conn: &mut Connection,
    exchange: &mut Exchange,
    local: &'a LocalUpstream,
    rival: Rival<'a>,
    leg: &mut Leg<'a>,
    place: &mut Place,
    probing: &mut Option<Probing<'a>>,
) -> (Option<Leg<'a>>, Result<Ended, Attempt>) {
    let Rival { index, in_flight, permits, way, idle_ms, began_ns, deadline, sent, read, .. } = rival;
    // A probe that was overtaken has shown nothing.
    *probing = None;
    place.tried.add(leg.index);
    place.index = index;
    exchange.attempt_permits = permits;
    if let Some(notes) = &mut exchange.notes {
        notes.endpoint = Some(local.endpoint(index).id.clone());
    }
    let io = match way {
        Way::Open(io) => io,
        Way::Opening(opening) => {
            let opened = tokio::select! {
                biased;
                opened = opening => opened,
                () = client_gone(conn) => return (None, Err(Attempt::Over(Outcome::ClientGone))),
            };
            match opened {
                Ok(io) if conn.is_loop(&io, local.endpoint(index).addr) => {
                    return (None, Err(Attempt::Over(Outcome::Refused(leads_here(local)))));
                }
                Ok(io) => {
                    local.counters.connects.add(1);
                    io
                }
                Err(fault) => {
                    place.lose_copy();
                    let took = took_since(conn, began_ns, in_flight.others);
                    not_opened(conn, &mut exchange.attempt_permits, local, (index, took), &fault);
                    return (None, Err(connect_failed(local, index, &fault)));
                }
            }
        }
    };
    let first = std::mem::replace(leg, Leg { index, io, in_flight, idle_ms });
    exchange.adopt(Adopted { sent, read, began_ns, deadline }, &conn.worker, &conn.timer);
    exchange.again = Again::stage(exchange, local, place.attempts, &place.tried, index);
    let ended = poll_fn(|cx| step(conn, exchange, local, leg, false, cx)).await;
    (Some(first), Ok(ended))
}

/// What a copy that began then has taken until now.
fn took_since(conn: &Connection, began_ns: u64, others: u32) -> Took {
    Took { time: Duration::from_nanos(conn.worker.clock.now().saturating_sub(began_ns)), others }
}

/// Takes note of an endpoint that could not be connected to.
fn not_opened(
    conn: &Connection,
    permits: &mut Permits,
    local: &LocalUpstream,
    (index, took): (usize, Took),
    fault: &ConnectFault,
) {
    if !fault.is_our_own() {
        local.heard(index, Verdict::GatewayFailure, took, &mut None, now(conn));
        permits.finish(CallEnd::Failure, 0, now(conn));
    }
}

impl Place {
    /// A copy came to nothing: it is no retry, and leaves those there are.
    const fn lose_copy(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
        self.lost += 1;
    }
}

impl<'a> Second<'a> {
    fn is_sent(&self) -> bool {
        matches!(self, Self::Sent(_))
    }

    /// It was answered with a failure.
    fn answered(self) -> Self {
        match self {
            Self::Sent(rival) => Self::Answered(rival),
            other => other,
        }
    }

    /// Waits for its time, if the request may be made twice at all.
    fn begin(conn: &Connection, exchange: &Exchange, hedger: &RefCell<Hedger>, place: &Place) -> Self {
        if place.attempts > 1 || !exchange.may_be_repeated() {
            return Self::None;
        }
        let now = Nanos::from_millis(conn.worker.timers.now_ms());
        let delay = hedger.borrow_mut().delay(now);
        delay.map_or(Self::None, |delay| Self::Waits(Box::pin(sleep(delay))))
    }

    /// Its time has come: sends it, if it is right to.
    fn launch(
        conn: &Connection,
        exchange: &mut Exchange,
        local: &'a LocalUpstream,
        hedger: &RefCell<Hedger>,
        first: usize,
        place: &mut Place,
    ) -> Self {
        let worker = &conn.worker;
        let mut tried = place.tried;
        tried.add(first);
        let facts = Facts {
            attempts: place.attempts,
            idempotent: exchange.may_be_repeated(),
            unsent: false,
            replayable: exchange.recorded().is_some(),
            response_begun: exchange.was_heard(),
            another_endpoint: local.has_untried(&tried),
            deadline: exchange.deadline().map(Nanos::from_millis),
        };
        let waited = Duration::from_nanos(worker.clock.now().saturating_sub(exchange.attempt_ns));
        match decide(exchange, local, hedger, &facts, waited, worker.timers.now_ms()) {
            Hedging::Now => match Rival::send(conn, exchange, local, &tried) {
                Some(rival) => {
                    local.counters.hedges.add(1);
                    place.attempts += 1;
                    place.tried.add(rival.index);
                    if let Some(notes) = &mut exchange.notes {
                        notes.attempts = place.attempts + place.lost;
                        notes.hedge = HedgeOutcome::Lost;
                    }
                    Self::Sent(Box::new(rival))
                }
                None => Self::None,
            },
            Hedging::In(wait) => Self::Waits(Box::pin(tokio::time::sleep_until(Instant::now() + wait))),
            Hedging::No(why) => {
                if why == NoHedge::Budget {
                    local.counters.hedges_denied.add(1);
                }
                Self::None
            }
        }
    }
}

/// Whether it goes out now. Where there are two budgets both must have room for it.
fn decide(
    exchange: &Exchange,
    local: &LocalUpstream,
    hedger: &RefCell<Hedger>,
    facts: &Facts,
    waited: Duration,
    now_ms: Coarse,
) -> Hedging {
    let now = Nanos::from_millis(now_ms);
    let mut hedger = hedger.borrow_mut();
    let mut of_service = local.carried.budget.borrow_mut();
    match exchange.manner.as_ref().and_then(|manner| manner.budget.as_ref()) {
        Some(of_route) => match hedger.decide(facts, waited, &mut of_route.borrow_mut(), now) {
            Hedging::Now if !of_service.try_retry(now) => Hedging::No(NoHedge::Budget),
            decided => decided,
        },
        None => hedger.decide(facts, waited, &mut of_service, now),
    }
}

impl<'a> Rival<'a> {
    /// Sends a copy to an endpoint that was not tried; none where the breakers or the balancer have no such endpoint.
    fn send(
        conn: &Connection,
        exchange: &mut Exchange,
        local: &'a LocalUpstream,
        tried: &Tried,
    ) -> Option<Self> {
        let worker = &conn.worker;
        let now = now(conn);
        let index = local.pick(now, exchange.asked.hash, tried, &mut *worker.rng.borrow_mut())?;
        if tried.has(index) || local.upstream.is_ejected(index) {
            return None;
        }
        let mut permits = Permits::default();
        if let Some(chain) = exchange.breakers_of(local, index) {
            permits.begin(chain.clone());
            permits.admit(now, &mut *worker.rng.borrow_mut(), worker.index()).ok()?;
        }
        exchange.restate_timeout_again(worker);
        let in_flight = InFlight::begin(local, index);
        let deadline = worker.timers.after(exchange.asked.attempt_timeout);
        let (way, idle_ms) = match pooled(conn, local, index, false) {
            Some((io, idle_ms)) => (Way::Open(io), idle_ms),
            None => (Way::Opening(opening(conn, exchange, local, index)), FRESH),
        };
        let began_ns = worker.clock.now();
        let (read, head) = Default::default();
        Some(Self { index, in_flight, permits, way, idle_ms, began_ns, deadline, sent: 0, read, head })
    }

    /// Ready when it has an answer, or failed.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        conn: &Connection,
        exchange: &Exchange,
        local: &LocalUpstream,
    ) -> Poll<Came> {
        if let Way::Opening(opening) = &mut self.way {
            match ready!(opening.as_mut().poll(cx)) {
                Ok(io) if conn.is_loop(&io, local.endpoint(self.index).addr) => {
                    return Poll::Ready(Came::Nothing);
                }
                Ok(io) => {
                    local.counters.connects.add(1);
                    self.way = Way::Open(io);
                }
                Err(fault) => {
                    let took = self.took(conn);
                    not_opened(conn, &mut self.permits, local, (self.index, took), &fault);
                    connect_failed(local, self.index, &fault);
                    return Poll::Ready(Came::Nothing);
                }
            }
        }
        let Way::Open(io) = &mut self.way else { return Poll::Ready(Came::Nothing) };
        let Some(request) = exchange.recorded() else { return Poll::Ready(Came::Nothing) };
        while self.sent < request.len() {
            match io.poll_write(cx, &request[self.sent..]) {
                Poll::Ready(Ok(n)) => self.sent += n,
                // It may have answered all the same.
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        let _ = io.poll_flush(cx);
        loop {
            let mut scratch = conn.worker.scratch.borrow_mut();
            match ready!(io.poll_read(cx, &mut scratch.input[..READ_BYTES_MAX])) {
                Ok(n) if n > 0 => {
                    if self.read.capacity() == 0 {
                        self.read = conn.worker.buffers.take();
                    }
                    self.read.extend_from_slice(&scratch.input[..n]);
                }
                Ok(_) => return Poll::Ready(self.broke_off(conn, local, true)),
                Err(fault) => return Poll::Ready(self.broke_off(conn, local, fault.kind() != UNSENT)),
            }
            drop(scratch);
            match exchange.look(&self.read, &mut self.head, &conn.worker.config().limits.response) {
                // With one more read it must fit into the worker's buffer, interim heads included.
                Look::Partial if self.read.len() <= conn.worker.config().limits.response.head_bytes_max => {}
                Look::Partial => {
                    return Poll::Ready(self.told(conn, local, Verdict::Failure, CallEnd::Failure));
                }
                Look::Wanted => return Poll::Ready(Came::Wanted),
                Look::Unwanted { verdict, status } => {
                    local.endpoint(self.index).state.mark_succeeded();
                    self.told(conn, local, verdict, answered(exchange, &conn.worker, status));
                    return Poll::Ready(Came::Unwanted);
                }
                Look::Malformed => {
                    return Poll::Ready(self.told(conn, local, Verdict::Failure, CallEnd::Failure));
                }
            }
        }
    }

    /// There is no answer.
    fn broke_off(&mut self, conn: &Connection, local: &LocalUpstream, is_failure: bool) -> Came {
        let state = &local.endpoint(self.index).state;
        if self.idle_ms != FRESH && self.read.is_empty() {
            // That an idle connection was closed says nothing about the endpoint, but how long it keeps them.
            pool::closed(state, u64::from(self.idle_ms), conn.worker.pool_time());
        } else if is_failure {
            state.mark_failed();
            local.counters.resets.add(1);
            self.told(conn, local, Verdict::GatewayFailure, CallEnd::Failure);
        }
        Came::Nothing
    }

    /// What it has taken until now.
    fn took(&self, conn: &Connection) -> Took {
        took_since(conn, self.began_ns, self.in_flight.others)
    }

    /// Takes note of what this copy says of its endpoint.
    fn told(&mut self, conn: &Connection, local: &LocalUpstream, verdict: Verdict, end: CallEnd) -> Came {
        local.heard(self.index, verdict, self.took(conn), &mut None, now(conn));
        self.permits.finish(end, 0, now(conn));
        Came::Nothing
    }
}

/// A connection of its own for a copy, with a timer of its own.
fn opening<'a>(
    conn: &Connection,
    exchange: &mut Exchange,
    local: &'a LocalUpstream,
    index: usize,
) -> Pin<Box<dyn Future<Output = Result<Io, ConnectFault>> + 'a>> {
    let worker = conn.worker.clone();
    let settings = &local.upstream.settings;
    let header = settings.proxy_header_for(|| conn.addresses());
    let usual = worker.timers.after(settings.connect_timeout);
    let deadline = exchange.connect_deadline(&worker).min(usual);
    Box::pin(async move {
        let timer = worker.timers.slot();
        timer.wakes_this().await;
        opened(&worker, local, index, header, deadline, &timer).await
    })
}
