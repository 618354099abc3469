//! Phase `limit` at work on a request: it is asked about once its rule and service are known, and waits, if it has to, before
//! its first attempt.

use std::fmt::Write as _;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use weir_model::units::Span;
use weir_model::{Kind, ResourceId, ServiceRef};
pub(super) use weir_policy::limit::Outcome as Spent;
use weir_policy::limit::{Outcome, Quota};

use super::notes::End;
use super::way::HeadView;
use super::{Connection, Target};
use crate::attempt::Exchange;
use crate::limit::{Asker, Elsewhere, Pass, Refused, Step, There};
use crate::listen::Role;
use crate::observe::process_now;
use crate::respond::{Lines, Reason, Refusal};
use crate::route::Rule;
use crate::runtime::{Io, View, Worker};
use crate::snapshot::{ListenerConfig, Time, Upstream, label};

/// Where a request is, as limits see it.
pub(super) struct Limited<'a> {
    /// The gateway's listener that it came to.
    pub(super) listener: Option<&'a ListenerConfig>,
    pub(super) rule: Option<&'a Rule>,
    pub(super) service: &'a ServiceRef,
    /// The key of the service's state.
    pub(super) key: u64,
}

impl Connection {
    /// Asks the limits that hold for a request. Gives the answer, if it is refused.
    #[inline]
    pub(super) fn limit(
        &self,
        view: &Rc<View>,
        at: &Limited<'_>,
        seen: &HeadView<'_>,
        exchange: &mut Exchange,
    ) -> Option<Refusal> {
        if view.snapshot.limits.is_empty() || self.listener.role == Role::Outbound {
            return None;
        }
        self.limit_by(view, at, seen, exchange)
    }

    #[inline(never)]
    fn limit_by(
        &self,
        view: &Rc<View>,
        at: &Limited<'_>,
        seen: &HeadView<'_>,
        exchange: &mut Exchange,
    ) -> Option<Refusal> {
        let section = at.listener.and_then(|config| config.routes.section_of(seen.host));
        let chain = view.chain(at.listener, section, at.rule, at.service, at.key);
        if chain.is_empty() {
            return None;
        }
        let rule = at.rule.map_or("", |rule| &*rule.label);
        let caller = self.caller(seen.head, seen.buf);
        exchange.pass.begin(chain, seen, Asker { address: self.peer.text(), caller, rule });
        match exchange.pass.ask(process_now()) {
            Step::GoOn | Step::Waits => None,
            Step::Refused(refused) => Some(refusal(&refused)),
        }
    }

    /// Takes note of what a call is told apart by at the limits of the services that its breakers may send it to.
    #[cold]
    pub(super) fn look_elsewhere(
        &self,
        there: Rc<[There]>,
        rule: &Rule,
        seen: &HeadView<'_>,
        exchange: &mut Exchange,
    ) {
        let caller = self.caller(seen.head, seen.buf);
        let asker = Asker { address: self.peer.text(), caller, rule: &rule.label };
        exchange.elsewhere = Some(Box::new(Elsewhere::of(there, seen, asker)));
    }

    /// Asks the limits of the service that a call is sent to instead of another, which has no more to do with it. Gives the
    /// answer, if it is refused.
    pub(super) fn limit_elsewhere(
        &self,
        from: &ServiceRef,
        to: &Upstream,
        exchange: &mut Exchange,
    ) -> Option<Refusal> {
        // Where nobody is there to answer it takes nothing of what others may have later.
        let takes_requests = !to.selected().candidates.is_empty();
        let elsewhere = exchange.elsewhere.as_mut().filter(|_| takes_requests);
        let next = elsewhere.and_then(|elsewhere| elsewhere.take(&to.service));
        let is_limited = next.is_some();
        let first = label(&ResourceId::new(Kind::Service, &*from.namespace, &*from.name), None);
        exchange.pass.go_on_to(next, |limit| limit.target == first);
        match is_limited.then(|| exchange.pass.ask(process_now()))? {
            Step::GoOn | Step::Waits => None,
            Step::Refused(refused) => Some(refusal(&refused)),
        }
    }

    /// Waits until a request may go on that has had to wait since a moment on the worker's clock. Gives the answer, if it is refused; one
    /// whose client leaves goes nowhere. Rare, so that its size is kept out of the connection's own.
    pub(super) fn await_turn<'a>(
        &'a mut self,
        exchange: &'a mut Exchange,
        since_ns: u64,
    ) -> Pin<Box<dyn Future<Output = Option<Refusal>> + 'a>> {
        Box::pin(async move {
            match self.turn_or_end(exchange, since_ns).await {
                Turn::Come => exchange.spend_time(&self.worker, since_ns),
                Turn::Refused(refusal) => return Some(refusal),
                Turn::ClientGone => {
                    // It was never let through: nobody gets it, nor a copy of it.
                    exchange.pass.abandon();
                    exchange.copies = None;
                    exchange.target = Target::None;
                }
            }
            None
        })
    }

    /// The same for one that a breaker has sent to another service, which asks the breakers of that one at its turn.
    pub(super) fn await_turn_elsewhere<'a>(
        &'a mut self,
        exchange: &'a mut Exchange,
    ) -> Pin<Box<dyn Future<Output = Option<Refusal>> + 'a>> {
        Box::pin(async move {
            let since_ns = self.worker.clock.now();
            let refused = self.await_turn(exchange, since_ns).await;
            if refused.is_some() || matches!(exchange.target, Target::None) {
                return refused;
            }
            self.ask_last_breakers(exchange)
        })
    }

    async fn turn_or_end(&mut self, exchange: &mut Exchange, since_ns: u64) -> Turn {
        let now_ns = self.worker.clock.now();
        let left = |time: Duration, since_ns: u64| {
            time.saturating_sub(Duration::from_nanos(now_ns.saturating_sub(since_ns)))
        };
        let call = exchange.asked.call.as_ref().and_then(|call| call.timeout);
        let call = call.map(|time| left(time, exchange.began_ns));
        let own = Some(exchange.asked.timeout).filter(|time| !time.is_zero());
        let left = call.into_iter().chain(own.map(|time| left(time, since_ns))).min();
        if let Some(left) = left {
            let now = process_now();
            if let Some(refused) = exchange.pass.refuse_if_late(now + left, now) {
                return Turn::Refused(refusal(&refused));
            }
        }
        let grace = self.worker.config().timeouts.half_close_grace;
        let client = &mut self.client;
        let gone = async {
            // One that only says that it will send no more is given the usual time.
            if poll_fn(|cx| poll_gone(client, cx)).await.is_ok() {
                tokio::time::sleep(grace).await;
            }
        };
        let too_late = async {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            turn = turn(&mut exchange.pass) => turn,
            () = gone => Turn::ClientGone,
            () = too_late => {
                let refusal = out_of_time(&self.worker, exchange, call.is_some() && call == left);
                exchange.pass.out_of_time(process_now());
                Turn::Refused(refusal)
            }
        }
    }
}

async fn turn(pass: &mut Pass) -> Turn {
    loop {
        let step = if pass.waits() {
            pass.wait().await
        } else if let Some(turn) = pass.take_turn() {
            tokio::time::sleep(turn.since(process_now())).await;
            pass.ask(process_now())
        } else {
            return Turn::Come;
        };
        if let Step::Refused(refused) = step {
            return Turn::Refused(refusal(&refused));
        }
    }
}

/// The answer to a request whose time was over before its turn: how long that was, by whose word (the client's, of a call), and what
/// it waited for.
#[cold]
fn out_of_time(worker: &Worker, exchange: &Exchange, is_of_call: bool) -> Refusal {
    let timeout = exchange.asked.timeout;
    let (time, by) = match (exchange.asked.call.as_ref().and_then(|call| call.timeout), &exchange.target) {
        (Some(time), _) if is_of_call => (time, "grpc-timeout of the call".to_owned()),
        (_, Target::Upstream(local)) => {
            (timeout, exchange.who_asks(worker, &local.upstream.settings, (Time::Request, timeout)))
        }
        _ => (timeout, "the default".to_owned()),
    };
    let of = exchange.pass.waits_for().map_or_else(String::new, |limit| format!(" at {}", limit.id));
    Refusal::new(Reason::Timeout, format!("its turn{of} did not come within {} ms ({by})", time.as_millis()))
}

/// Whether the client is gone for good (an error), or has said that it will send no more.
fn poll_gone(client: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    match client.poll_gone(cx) {
        Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        Poll::Pending => client.poll_end(cx),
    }
}

/// How waiting ended.
enum Turn {
    Come,
    Refused(Refusal),
    ClientGone,
}

/// What a request's end says to its limits.
pub(super) fn outcome(exchange: &Exchange, end: End, worker: &Worker) -> Outcome {
    match end {
        End::Own(own) => match own.reason {
            Reason::Timeout if !exchange.is_given_up(worker) => Outcome::TimedOut,
            Reason::Overloaded => Outcome::Overloaded,
            _ => Outcome::Failed,
        },
        End::Forwarded if matches!(exchange.status, 429 | 503) => Outcome::Overloaded,
        End::Forwarded
            if exchange.grpc_status().is_some_and(|status| status.as_str() == "RESOURCE_EXHAUSTED") =>
        {
            Outcome::Overloaded
        }
        End::Forwarded => Outcome::Done,
        End::Cut | End::ClientGone => Outcome::Failed,
    }
}

/// The answer to a request that is refused.
fn refusal(refused: &Refused) -> Refusal {
    let Refused { limit, refusal: why, quotas } = refused;
    let reason = if why.why.is_shed() { Reason::Shed } else { Reason::Limited };
    let mut lines = Lines::default();
    quota_lines(&limit.id.name, quotas, why.retry_after_secs(), &mut lines.0);
    let mut refusal = Refusal::new(reason, format!("{}, by {}", why.why, limit.id));
    refusal.lines = Some(Box::new(lines));
    refusal.retry_after_s = Some(u32::try_from(why.retry_after_secs()).unwrap_or(u32::MAX));
    refusal.written_as(limit.response.as_ref())
}

/// What is left of each rate (draft-ietf-httpapi-ratelimit-headers, sections 3 and 4); nothing where there are none. Of several
/// rates, which are no more than [`weir_policy::limit::RATES_MAX`], each has the limit's name and its own length of time.
fn quota_lines(name: &str, quotas: &[Quota], retry_after_secs: u64, out: &mut Vec<u8>) {
    let (mut policies, mut left) = (String::new(), String::new());
    for quota in quotas {
        let of_several = if quotas.len() > 1 { format!(":{}", Span(quota.window)) } else { String::new() };
        let also = if policies.is_empty() { "" } else { ", " };
        let window = quota.window.as_secs() + u64::from(quota.window.subsec_nanos() > 0);
        // One that is used up has nothing before it is worth trying again.
        let reset = if quota.remaining == 0 && quotas.len() == 1 { retry_after_secs } else { 0 };
        let reset = quota.reset_secs().max(reset);
        // Writing into memory cannot fail. A resource's name has no quotes.
        let _ = write!(policies, "{also}\"{name}{of_several}\";q={};w={window}", quota.limit);
        let _ = write!(left, "{also}\"{name}{of_several}\";r={};t={reset}", quota.remaining);
    }
    if !quotas.is_empty() {
        out.extend_from_slice(format!("ratelimit-policy: {policies}\r\nratelimit: {left}\r\n").as_bytes());
    }
}
