//! gRPC calls: their deadline goes along with them, and ends them.

use std::task::{Context, Poll};
use std::time::Duration;

use super::gather::Gather;
use super::{Ended, Exchange, Link};
use crate::connection::{ROOM_BYTES, write_timeout};
use crate::respond::GrpcStatus;
use crate::runtime::Worker;

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
        self.overall = crate::runtime::Coarse::MAX;
        Poll::Pending
    }
}
