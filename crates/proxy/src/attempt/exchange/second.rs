//! A second copy of a request, as the exchange sees it: what its answer is while it is kept back, and how the exchange goes on
//! with it.

use weir_http1::{Limits, Parsed, ResponseHead, Sent, parse_response};
use weir_policy::outlier::Verdict;

use super::Exchange;
use crate::attempt::run::{verdict_on_call, verdict_on_status};
use crate::connection::status_of_call;
use crate::observe::GrpcStatus;
use crate::runtime::{Buffers, Coarse, TimerSlot, Worker};

/// What an answer is that is kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// More of it is needed.
    Partial,
    /// No failure.
    Wanted,
    /// A failure: the other copy's answer may be better.
    Unwanted {
        verdict: Verdict,
        /// The status, or the one that is like gRPC's.
        status: u16,
    },
    /// It is none.
    Malformed,
}

/// How far a copy has come that the exchange goes on with.
pub(crate) struct Adopted {
    pub(crate) sent: usize,
    pub(crate) read: Vec<u8>,
    pub(crate) began_ns: u64,
    /// When the copy's own time is over.
    pub(crate) deadline: Coarse,
}

impl Exchange {
    /// Whether the request may be made twice: as far as its method goes, and what the client awaits of it. Of calls of
    /// gRPC their methods say nothing; a policy for their route does.
    pub(crate) fn may_be_repeated(&self) -> bool {
        let asked = &self.asked;
        let declared =
            asked.call.is_some() && self.manner.as_ref().is_some_and(|manner| manner.repeats_calls);
        (asked.method.is_idempotent() || declared) && asked.upgrade.is_none() && !asked.expect_continue
    }

    /// Whether the head of the final response is there.
    pub(crate) fn was_answered(&self) -> bool {
        self.status != 0
    }

    /// Whether the time for the response has passed.
    pub(crate) fn is_out_of_time(&self, worker: &Worker) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= worker.timers.now_ms())
    }

    /// Looks at the beginning of an answer to this request.
    pub(crate) fn look(&self, bytes: &[u8], head: &mut ResponseHead, limits: &Limits) -> Look {
        head.begin_exchange();
        let sent = Sent { method: self.asked.method, upgrade: None };
        let mut at = 0;
        loop {
            let len = match parse_response(&bytes[at..], limits, sent, head) {
                Ok(Parsed::Complete(len)) => len,
                Ok(_) => return Look::Partial,
                Err(_) => return Look::Malformed,
            };
            if !head.is_interim() {
                let unwanted = unwanted(head, &bytes[at..at + len]);
                return unwanted.map_or(Look::Wanted, |(verdict, status)| Look::Unwanted { verdict, status });
            }
            at += len;
        }
    }

    /// Tells the second copy how much of a call's time is left; the first one must be with its endpoint.
    pub(crate) fn restate_timeout_again(&mut self, worker: &Worker) {
        if self.sent == self.request.len() {
            self.restate_timeout(worker);
        }
    }

    /// Whether the client has only a part of what was passed on so far.
    pub(crate) fn is_passing_on(&self) -> bool {
        self.download.has_pending()
    }

    /// Keeps an answer that is not wanted, as far as it has come.
    pub(super) fn put_back(&mut self, head: &[u8], rest: &[u8], buffers: &Buffers) {
        if self.partial.capacity() == 0 {
            self.partial = buffers.take();
        }
        self.partial.clear();
        self.partial.extend_from_slice(head);
        self.partial.extend_from_slice(rest);
    }

    /// Gives an answer that was put back, for when nothing better comes.
    pub(crate) fn set_aside(&mut self) -> Adopted {
        let read = std::mem::take(&mut self.partial);
        Adopted { sent: self.sent, read, began_ns: self.attempt_ns, deadline: Coarse::MAX }
    }

    /// Goes on with another copy whose answer is a failure: there is nothing better. Its endpoint was told of it.
    pub(crate) fn fall_back(&mut self, copy: Adopted, worker: &Worker, timer: &TimerSlot) {
        self.adopt(copy, worker, timer);
        self.is_told = true;
    }

    /// Goes on with another copy.
    pub(crate) fn adopt(&mut self, copy: Adopted, worker: &Worker, timer: &TimerSlot) {
        self.reset_attempt(&worker.buffers);
        self.attempt_ns = copy.began_ns;
        self.sent = copy.sent;
        self.unread = !copy.read.is_empty();
        self.partial = copy.read;
        let whole = worker.timers.after(self.asked.timeout);
        let deadline = *self.deadline.get_or_insert(whole);
        timer.arm_at(deadline.min(copy.deadline).min(self.overall));
    }
}

/// What a response says of its endpoint, and its status or the one that is like gRPC's, if another answer would be better.
pub(super) fn unwanted(head: &ResponseHead, buf: &[u8]) -> Option<(Verdict, u16)> {
    let (verdict, status) = match GrpcStatus::of_head(head, buf) {
        Some(status) if status != GrpcStatus::MISSING => (verdict_on_call(status), status_of_call(status)),
        _ => (verdict_on_status(head.status()), head.status()),
    };
    (status >= 500 || status == 429).then_some((verdict, status))
}
