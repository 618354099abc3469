//! Copies of requests for services that only look on (the `RequestMirror` filter).
//!
//! ```text
//!  request, once it is read whole and as far as it was recorded --> a client that hears nothing --> attempts
//! ```
//!
//! A copy is a request of its own, made by a client that listens to nothing, so everything below is the same. It never
//! slows the request that it is of: it is made from what was recorded of that anyway, and what cannot be made is counted
//! and forgotten.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::timeout;
use weir_http1::{BodyKind, Version};

use super::{Carry, Connection};
use crate::attempt::{Exchange, LocalUpstream, Outcome, run};
use crate::runtime::Io;

/// Copies under way at a time, of one worker.
const COPIES_MAX: usize = 256;
/// How long a copy may take, its response included.
const COPY_MAX: Duration = Duration::from_secs(30);
/// What tells the service that nobody waits for its answer.
const MARK: &[u8] = b"x-weir-mirrored: 1\r\n";

/// The copies that a request is to have.
pub(crate) struct Copies {
    /// Who gets them, and by which hash their endpoints are chosen.
    pub(super) to: Vec<(Rc<LocalUpstream>, Option<u64>)>,
    /// How long the request's head is.
    pub(super) head_len: usize,
}

/// Counts the copies of one worker that are under way.
#[derive(Debug, Default)]
pub(crate) struct CopiesUnderWay(Rc<Cell<usize>>);

/// A copy that is under way.
struct UnderWay(Rc<Cell<usize>>);

impl CopiesUnderWay {
    /// Counts one more, if there may be one more.
    fn begin(&self) -> Option<UnderWay> {
        let under_way = self.0.get();
        (under_way < COPIES_MAX).then(|| {
            self.0.set(under_way + 1);
            UnderWay(self.0.clone())
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Connection {
    /// Sends the copies of a request, which has been read to its end or will never be.
    #[cold]
    pub(crate) fn send_copies(&self, exchange: &mut Exchange) {
        let Some(copies) = exchange.copies.take() else { return };
        let counters = &self.worker.counters.filters;
        let count = copies.to.len() as u64;
        let Some(request) = exchange.recorded() else {
            if exchange.is_request_read() {
                counters.mirrors_too_large.add(count);
            }
            return;
        };
        let Some((head, body)) = request.split_at_checked(copies.head_len) else { return };
        let Some(head) = head.strip_suffix(b"\r\n") else { return };
        for (local, hash) in copies.to {
            let Some(under_way) = self.worker.copies.begin() else {
                counters.mirrors_overloaded.add(1);
                continue;
            };
            counters.mirrored.add(1);
            let mut copy = self.worker.take_exchange();
            copy.request = self.worker.buffers.take();
            for part in [head, MARK, b"\r\n", body] {
                copy.request.extend_from_slice(part);
            }
            self.ask_as(exchange, &local, &mut copy);
            copy.asked.hash = hash;
            let mut nobody = self.nobody();
            spawn_local(async move {
                poll_fn(|cx| {
                    nobody.timer.wakes(cx.waker());
                    Poll::Ready(())
                })
                .await;
                let outcome = timeout(COPY_MAX, run(&mut nobody, &mut copy, &local)).await;
                if !matches!(outcome, Ok(Outcome::Complete)) {
                    nobody.worker.counters.filters.mirrors_failed.add(1);
                }
                nobody.worker.give_exchange(copy);
                drop(under_way);
            });
        }
    }

    /// Fits an exchange to a copy of a request.
    fn ask_as(&self, exchange: &Exchange, local: &LocalUpstream, copy: &mut Exchange) {
        let asked = &mut copy.asked;
        asked.method = exchange.asked.method;
        asked.version = Version::Http11;
        asked.keep_alive = true;
        asked.expect_continue = false;
        asked.upgrade = None;
        asked.timeout = local.upstream.settings.request_timeout.unwrap_or(COPY_MAX);
        asked.attempt_timeout = Duration::ZERO;
        asked.standstill_max = exchange.asked.standstill_max;
        asked.delay = Duration::ZERO;
        asked.call = exchange.asked.call.clone();
        asked.cut_short = None;
        copy.began_ns = exchange.began_ns;
        // All of it is recorded.
        copy.begin(BodyKind::None, &self.listener.bounds().request, false);
        // Its head says what the request's said, in the same places.
        copy.marks.told = exchange.marks.told;
        copy.restate_time(&self.worker, 1);
    }

    /// A client that hears nothing, in the place of this one.
    fn nobody(&self) -> Self {
        Self {
            timer: self.worker.timers.slot(),
            worker: self.worker.clone(),
            listener: self.listener.clone(),
            client: Io::Nobody(self.client.local_addr()),
            carry: Carry::default(),
            head: None,
            peer: self.peer,
            destination: self.destination.clone(),
            secure: self.secure.clone(),
            counted: None,
            asked_for: None,
            told_to_close: false,
            fresh: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_bounded_and_counted_out() {
        let copies = CopiesUnderWay::default();
        let mut under_way: Vec<_> = std::iter::from_fn(|| copies.begin()).take(COPIES_MAX + 1).collect();
        assert_eq!(under_way.len(), COPIES_MAX);
        under_way.pop();
        assert!(copies.begin().is_some(), "one has ended");
        under_way.clear();
        assert_eq!(copies.0.get(), 0);
    }
}
