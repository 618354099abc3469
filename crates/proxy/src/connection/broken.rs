//! Phase `break` at work on a call: its breakers are known once its rule and service are, and asked right before its first
//! attempt.

use std::rc::Rc;
use std::sync::Arc;

use weir_model::ServiceRef;
use weir_model::resource::Protocol;
use weir_policy::Nanos;

use super::notes::End;
use super::way::HeadView;
use super::{Connection, Fallback, Target};
use crate::attempt::{Exchange, LocalUpstream};
use crate::breaker::{CallEnd, Instead, Need, Refused};
use crate::listen::Role;
use crate::observe::GrpcStatus;
use crate::respond::{Reason, Refusal};
use crate::route::Rule;
use crate::runtime::{Broken, View, Worker};
use crate::snapshot::Upstream;

impl Connection {
    /// Takes note of the breakers of a call, if there are any where it begins.
    #[inline]
    pub(super) fn take_breakers(
        &self,
        view: &Rc<View>,
        (rule, upstream): (&Rule, &Arc<Upstream>),
        seen: &HeadView<'_>,
        exchange: &mut Exchange,
    ) {
        if !view.snapshot.breakers.is_empty() && self.listener.role != Role::Inbound {
            let Broken { chain, elsewhere } =
                view.breakers(rule, upstream, self.worker.config().worker_count());
            exchange.permits.begin(chain);
            if let Some(there) = elsewhere
                && self.listener.role == Role::Gateway
            {
                self.look_elsewhere(there, rule, seen, exchange);
            }
        }
    }

    /// Asks the breakers of a call. Gives the answer, if it is refused; it may go to another service instead, and have to wait for
    /// that one's limits.
    #[inline(never)]
    pub(super) fn ask_breakers(&self, exchange: &mut Exchange) -> Option<Refusal> {
        let Err(refused) = self.admit(exchange) else {
            self.take_keeping(exchange);
            return None;
        };
        match &refused.breaker.instead {
            Instead::Service(service) => self.send_to(service, exchange, &refused),
            _ => Some(self.instead(&refused, exchange)),
        }
    }

    /// The answer to a call that is refused, and goes to no other service.
    fn instead(&self, refused: &Refused, exchange: &mut Exchange) -> Refusal {
        let answer = match &refused.breaker.instead {
            Instead::Refusal | Instead::Service(_) => refusal(refused),
            Instead::Answer(answer) => refusal(refused).written_as(Some(&answer.0)),
            Instead::Cached(cached) => self.kept_by(cached, exchange, refusal(refused)),
        };
        if answer.written.is_some() {
            exchange.answer_instead(refused.breaker.clone(), Some(refused.refusal.why.as_str()));
        }
        answer
    }

    fn admit(&self, exchange: &mut Exchange) -> Result<(), Refused> {
        let worker = &self.worker;
        let now = Nanos(worker.clock.recent());
        exchange.permits.admit(now, &mut *worker.rng.borrow_mut(), worker.index())
    }

    /// Sends a refused call to another service, whose own limits and breakers must let it through. Where these refuse it, it gets what
    /// they answer, but goes to no third service.
    #[cold]
    fn send_to(&self, service: &ServiceRef, exchange: &mut Exchange, refused: &Refused) -> Option<Refusal> {
        let view = self.worker.view();
        let found = view.snapshot.upstream_of(service);
        let takes_requests =
            |upstream: &&Arc<Upstream>| upstream.known && upstream.protocol() != Protocol::Tcp;
        let Some(upstream) = found.filter(takes_requests) else { return Some(refusal(refused)) };
        let route = exchange.row.as_ref().map(|row| row.route.clone());
        exchange.row = Some(self.worker.make_row(route.as_ref(), &upstream.label));
        let rule = route.as_deref().unwrap_or_default();
        let need = Need::Call { workers: self.worker.config().worker_count() };
        // Its route's policies are for the service that it was to go to.
        let manner = exchange.manner.take();
        exchange.permits.begin(view.snapshot.breakers.chain_of_service(rule, &upstream.service, need));
        // The head that another hash would be taken of is gone.
        let is_same =
            |before: &LocalUpstream| before.upstream.settings.balance.hash == upstream.settings.balance.hash;
        let local = self.worker.local(&view, upstream);
        let refused = match std::mem::replace(&mut exchange.target, Target::Upstream(local)) {
            Target::Upstream(before) => {
                if !is_same(&before) {
                    exchange.asked.hash = None;
                }
                let limited = self.limit_elsewhere(&before.upstream.service, upstream, exchange);
                let (breaker, why) = (refused.breaker.clone(), refused.refusal.why.as_str());
                exchange.fallback = Some(Box::new(Fallback::elsewhere(breaker, why, before, manner)));
                limited
            }
            // Only calls of services have breakers.
            Target::None | Target::Outside(_) | Target::Connect(_) => None,
        };
        if refused.is_some() || exchange.pass.is_held_up() {
            return refused;
        }
        self.ask_last_breakers(exchange)
    }

    /// Asks the breakers of the service that a call was sent to instead of another.
    pub(super) fn ask_last_breakers(&self, exchange: &mut Exchange) -> Option<Refusal> {
        if let Err(refused) = self.admit(exchange) {
            return Some(self.instead(&refused, exchange));
        }
        self.take_keeping(exchange);
        None
    }
}

/// The answer to a call that is refused.
pub(crate) fn refusal(refused: &Refused) -> Refusal {
    let Refused { breaker, refusal: why } = refused;
    let message = format!("{}, by {} of {}", why.why, breaker.name(), breaker.target);
    let seconds = why.retry_after.as_secs() + u64::from(why.retry_after.subsec_nanos() > 0);
    let mut refusal = Refusal::new(Reason::BreakerOpen, message);
    refusal.retry_after_s = Some(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX));
    refusal
}

/// What a call's end says to its breakers.
pub(super) fn call_end(exchange: &Exchange, end: End, worker: &Worker) -> CallEnd {
    match end {
        End::Own(own) => match own.reason {
            Reason::Timeout if exchange.is_given_up(worker) => CallEnd::Unknown,
            reason if is_failure(reason) => CallEnd::Failure,
            _ => CallEnd::Unknown,
        },
        End::Forwarded => answered(exchange, worker, status_like(exchange)),
        End::Cut if exchange.broken_off => CallEnd::Failure,
        // It may have been the client that was too slow.
        End::Cut | End::ClientGone => CallEnd::Unknown,
    }
}

/// What a response with a status, or with one of gRPC that is like it, says to breakers. That a client had no patience says
/// nothing.
pub(crate) fn answered(exchange: &Exchange, worker: &Worker, status: u16) -> CallEnd {
    if status == TIMED_OUT && exchange.was_given_up(worker) {
        CallEnd::Unknown
    } else {
        CallEnd::Status(status)
    }
}

/// Whether a call came to nothing because of what it was to go to.
pub(super) const fn is_failure(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ConnectFailed
            | Reason::UpstreamReset
            | Reason::UpstreamMalformed
            | Reason::UpstreamTls
            | Reason::Timeout
    )
}

/// What `DEADLINE_EXCEEDED` is like.
const TIMED_OUT: u16 = 504;

/// The status of a response: for gRPC's the one of HTTP that is like it (as gRPC's gateways have it).
pub(crate) fn status_like(exchange: &Exchange) -> u16 {
    exchange.grpc_status().map_or(exchange.status, status_of_call)
}

/// The status of HTTP that is like one of gRPC.
pub(crate) fn status_of_call(status: GrpcStatus) -> u16 {
    match status.as_str() {
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => TIMED_OUT,
        "RESOURCE_EXHAUSTED" => 429,
        "UNKNOWN" | "INTERNAL" | "DATA_LOSS" | "MISSING" => 500,
        "UNIMPLEMENTED" => 501,
        _ => 200,
    }
}
