//! Whether a response is a reason to try again: asked when its head is there, before anything of it is passed on. What is asked
//! for is decided once, with the budget; a response that is no reason goes to the client as it is.

use std::time::Duration;

use weir_http1::{KnownField, ResponseHead};
use weir_policy::Nanos;
use weir_policy::balance::Tried;
use weir_policy::outlier::Verdict;
use weir_policy::retry::{Facts, Failure, Pushback};

use super::exchange::Exchange;
use super::run::{may_retry, verdict_on_call, verdict_on_status};
use super::upstream::LocalUpstream;
use crate::observe::GrpcStatus;
use crate::runtime::Worker;

/// Who is asked.
#[derive(Clone, Copy)]
pub(super) struct Again<'a> {
    pub(super) local: &'a LocalUpstream,
    pub(super) stage: Stage,
}

/// How far a request has come, with the attempt under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    attempts: u32,
    another_endpoint: bool,
}

/// It is to be tried again.
pub(super) struct Retried {
    pub(super) delay: Duration,
    pub(super) verdict: Verdict,
    /// The status, or the one that is like gRPC's.
    pub(super) status: u16,
}

impl Again<'_> {
    /// For an attempt at an endpoint; none where no response is a reason.
    #[inline]
    pub(super) fn stage(
        exchange: &Exchange,
        local: &LocalUpstream,
        attempts: u32,
        tried: &Tried,
        index: usize,
    ) -> Option<Stage> {
        let settings = exchange.settings(local);
        let (statuses, calls) = settings.retry_on;
        if statuses.is_empty() && calls == Default::default() || attempts > settings.retries {
            return None;
        }
        let mut tried = *tried;
        tried.add(index);
        Some(Stage { attempts, another_endpoint: local.has_untried(&tried) })
    }

    /// Asks about a response.
    pub(super) fn ask(
        &self,
        exchange: &Exchange,
        head: &ResponseHead,
        buf: &[u8],
        worker: &Worker,
    ) -> Option<Retried> {
        let (failure, verdict, status) = self.failure(exchange, head, buf)?;
        let facts = Facts {
            attempts: self.stage.attempts,
            idempotent: exchange.asked.method.is_idempotent(),
            unsent: false,
            replayable: exchange.is_recorded(),
            response_begun: false,
            another_endpoint: self.stage.another_endpoint,
            deadline: exchange.deadline().map(Nanos::from_millis),
        };
        let now = Nanos::from_millis(worker.timers.now_ms());
        let delay = may_retry(self.local, exchange.manner.as_deref(), failure, &facts, now, worker)?;
        Some(Retried { delay, verdict, status })
    }

    /// What a response is, if its status is one of those that are asked about.
    fn failure(
        &self,
        exchange: &Exchange,
        head: &ResponseHead,
        buf: &[u8],
    ) -> Option<(Failure, Verdict, u16)> {
        let (statuses, calls) = exchange.settings(self.local).retry_on;
        let code = head.status();
        if statuses.contains(code) {
            let said = head.fields().named(buf, b"retry-after").next();
            let failure = Failure::Status { code, pushback: said.and_then(Pushback::from_retry_after) };
            return Some((failure, verdict_on_status(code), code));
        }
        let status = GrpcStatus::of_head(head, buf)?;
        let said = head.fields().value(buf, KnownField::GrpcStatus)?;
        let code: u32 = std::str::from_utf8(said).ok()?.parse().ok()?;
        calls.contains(code).then(|| {
            let said = head.fields().named(buf, b"grpc-retry-pushback-ms").next();
            let failure = Failure::GrpcStatus { code, pushback: said.map(Pushback::from_grpc) };
            (failure, verdict_on_call(status), crate::connection::status_of_call(status))
        })
    }
}
