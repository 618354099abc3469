//! The time of requests, which goes along with them; that of gRPC calls also ends them.

use std::task::{Context, Poll};
use std::time::Duration;

use super::gather::Gather;
use super::{Asked, CutShort, Ended, Exchange, Link};
use crate::connection::{ROOM_BYTES, Target, Told, write_timeout};
use crate::listen::Role;
use crate::respond::{GrpcStatus, Reason, Refusal};
use crate::runtime::{Coarse, Worker};
use crate::snapshot::{Settings, Time};

/// An endpoint is not judged by a request that has less than this part of the time which its service is given.
const SHORT_PART: u32 = 2;

/// A call that a server says is over its deadline counts as having been so when no more than this part of its client's time is
/// left: the server was told of it on the way, and its clock is another.
const LEFT_PART: u32 = 8;

impl Exchange {
    /// Begins the time that a call is given, if it is.
    pub(crate) fn begin_call(&mut self, worker: &Worker) {
        if let Some(timeout) = self.asked.call.as_ref().and_then(|call| call.timeout) {
            // It may have waited for its turn.
            let passed = Duration::from_nanos(worker.clock.recent().saturating_sub(self.began_ns));
            let left = timeout.saturating_sub(passed);
            self.overall = worker.timers.after(left.max(Duration::from_millis(1)));
        }
    }

    /// Whether it is a call that is given a time.
    #[inline]
    pub(crate) fn is_timed_call(&self) -> bool {
        self.overall != Coarse::MAX
    }

    /// Waits no longer for a response's head than whoever sent the request does, and makes ready to tell the next hop.
    #[inline]
    pub(crate) fn bound_time(&mut self, role: Role) {
        let Asked { timeout, cut_short, attempt_timeout, call, .. } = &mut self.asked;
        *cut_short = None;
        let said = self.marks.said;
        // Whoever waits almost as long as anybody is no reason to look away.
        let given = *timeout;
        let is_short = |said: Duration| given.is_zero() || said < given / SHORT_PART;
        if let Some(call) = call {
            // Where nothing is given there is nothing to be short of.
            call.is_short = !given.is_zero() && call.timeout.is_some_and(is_short);
        }
        if let Some(said) = said.filter(|said| given.is_zero() || *said < given) {
            *cut_short = is_short(said).then_some(CutShort::BySender);
            *timeout = said;
        }
        self.marks.told = match &self.target {
            Target::Upstream(_) => Told::of(role, said.is_some(), *timeout, *attempt_timeout),
            Target::None | Target::Outside(_) | Target::Connect(_) => Told::NOTHING,
        };
    }

    /// Whether the time is over that was cut short, by whoever sent the request or by waiting here, or of a call that its client has not
    /// sent whole. That says nothing about who was to answer it: a client that has no patience, or says nothing, must not cost an
    /// endpoint its good name.
    pub(crate) fn is_given_up(&self, worker: &Worker) -> bool {
        let now_ms = worker.timers.now_ms();
        let is_short_call = || self.asked.call.as_ref().is_some_and(|call| call.is_short);
        self.asked.cut_short.is_some() && self.deadline.is_some_and(|at| at <= now_ms)
            || self.overall <= now_ms && (is_short_call() || self.awaits_body())
    }

    /// The same of a call that was answered, by its server or here, with `DEADLINE_EXCEEDED`: whether its client's time is over, and that
    /// was short, or the response had begun within it, or the client had not sent all of the call.
    #[cold]
    pub(crate) fn was_given_up(&self, worker: &Worker) -> bool {
        let Some(call) = &self.asked.call else { return false };
        let Some(timeout) = call.timeout else { return false };
        let most = timeout - timeout / LEFT_PART;
        let spent = |at_ns: u64| Duration::from_nanos(at_ns.saturating_sub(self.began_ns));
        let had_begun = self.head_ns > 0 && spent(self.head_ns) < most;
        spent(worker.clock.recent()) >= most && (call.is_short || had_begun || self.awaits_body())
    }

    /// The time that is over, once one is, and how long it was.
    #[cold]
    pub(crate) fn over(&self, worker: &Worker) -> (Time, Duration) {
        let Asked { timeout, attempt_timeout, .. } = self.asked;
        let is_whole = self.deadline.is_some_and(|at| at <= worker.timers.now_ms());
        if is_whole || attempt_timeout.is_zero() {
            (Time::Request, timeout)
        } else {
            (Time::Attempt, attempt_timeout)
        }
    }

    /// What asks for a limit of its time, where the settings of its service count.
    #[cold]
    pub(crate) fn who_asks(
        &self,
        worker: &Worker,
        of_service: &Settings,
        (time, limit): (Time, Duration),
    ) -> String {
        if time == Time::Request && self.marks.said == Some(limit) {
            return "what whoever sent the request waits for".to_owned();
        }
        let rule = self.row.as_ref().map_or("", |row| &*row.route);
        // One that was sent to another service has its time from the first.
        let first = self.fallback.as_ref().and_then(|fallback| fallback.settings());
        let own = || self.manner.as_ref().map_or(of_service, |manner| &manner.settings);
        let settings = first.unwrap_or_else(own);
        worker.view().snapshot.who_says(time, rule, settings)
    }

    /// The answer then.
    #[cold]
    pub(crate) fn given_up(&self) -> Refusal {
        let message = match self.asked.cut_short {
            Some(CutShort::Here) => {
                "the request had waited here for most of its time, and the rest of it is over"
            }
            _ => "the time that whoever sent the request waits for is over",
        };
        Refusal::new(Reason::Timeout, message)
    }

    /// Takes what a request has waited in this proxy, since that moment on the worker's clock, from the time it is given.
    #[cold]
    pub(crate) fn spend_time(&mut self, worker: &Worker, since_ns: u64) {
        let Asked { timeout, cut_short, .. } = &mut self.asked;
        if timeout.is_zero() {
            return;
        }
        let passed = Duration::from_nanos(worker.clock.now().saturating_sub(since_ns));
        *timeout = timeout.saturating_sub(passed).max(Duration::from_millis(1));
        if passed >= *timeout {
            cut_short.get_or_insert(CutShort::Here);
        }
        self.restate_time(worker, 1);
    }

    /// Tells the upstream how much time is left for its response's head, and which attempt this is.
    pub(crate) fn restate_time(&mut self, worker: &Worker, attempt: u32) {
        let timers = &worker.timers;
        let whole = self.deadline.unwrap_or_else(|| timers.after(self.asked.timeout));
        let until = whole.min(timers.after(self.asked.attempt_timeout)).min(self.overall);
        let left = timers.left(until);
        self.marks.told.restate(&mut self.request, left, attempt);
    }

    /// Tells the upstream how much of the call's time is left.
    pub(crate) fn restate_timeout(&mut self, worker: &Worker) {
        let Some(call) = &self.asked.call else { return };
        if let (Some(timeout), Some(at)) = (call.timeout, call.timeout_at)
            && let Some(room) = self.request.get_mut(at..at + ROOM_BYTES)
        {
            let passed = Duration::from_nanos(worker.clock.now().saturating_sub(self.began_ns));
            write_timeout(room, timeout.saturating_sub(passed));
        }
    }

    /// Ends a call whose response has begun with a status of the proxy's own, where that can be done in good order.
    #[cold]
    pub(super) fn poll_end_call(&mut self, cx: &mut Context<'_>, link: &mut Link<'_>) -> Poll<Ended> {
        if self.ended_here {
            // It was ended; only the client has not taken it.
            return Poll::Ready(Ended::Cut);
        }
        let mut scratch = link.worker.scratch.borrow_mut();
        let out = &mut scratch.out;
        out.clear();
        let status = GrpcStatus::DeadlineExceeded as u8;
        let trailers =
            format!("grpc-status: {status}\r\ngrpc-message: the call has not ended before its deadline\r\n");
        if !self.download.end_early(trailers.as_bytes(), out) {
            return Poll::Ready(Ended::Cut);
        }
        self.upstream_keeps = false;
        self.ended_here = true;
        let mut gather = Gather::new();
        gather.push_out(out);
        if self.download.write(cx, link.client, &gather, out, &[], &link.worker.buffers).is_err() {
            return Poll::Ready(Ended::ClientGone);
        }
        if self.download.is_complete() {
            return Poll::Ready(Ended::Complete);
        }
        link.timer.arm(link.worker.config().timeouts.stream_idle);
        self.overall = Coarse::MAX;
        Poll::Pending
    }
}
