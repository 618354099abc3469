//! Answers of the proxy itself, and what happens to the rest of a request that nobody wants.

use std::future::poll_fn;
use std::task::Poll;

use weir_http1::{Method, Version};

use super::notes::{End, OwnAnswer};
use super::{Connection, count};
use crate::attempt::Exchange;
use crate::config::RequestIdPolicy;
use crate::listen::Role;
use crate::observe::RequestId;
use crate::respond::{Reason, Refusal};
use crate::runtime::Idle;

impl Connection {
    /// Answers a request that was read. Gives whether the connection can go on.
    pub(super) async fn refuse(&mut self, exchange: &mut Exchange, refusal: &Refusal) -> bool {
        let unanswered = refusal.unanswered.filter(|_| self.listener.role == Role::Inbound);
        let mut refusal = Refusal { unanswered, ..refusal.clone() };
        if let Some(also) = exchange.fallback.as_ref().and_then(|fallback| fallback.also_said()) {
            refusal.message = format!("{}{also}", refusal.message).into();
        }
        let refusal = &refusal;
        count(&self.worker, refusal.reason);
        let asked = &exchange.asked;
        // After a fault in the request, or while the client waits to be told to go on, nobody knows where the next
        // request would begin.
        let keeps = asked.keep_alive
            && asked.version == Version::Http11
            // What a hasty client sends into a tunnel that it does not get must not be read as requests.
            && asked.method != Method::Connect
            && refusal.reason != Reason::BadRequest
            && refusal.status != 408
            && (!asked.expect_continue || exchange.is_request_read())
            && !(exchange.is_half_closed() && self.carry.is_empty())
            && !self.is_closing();
        let head_only = asked.method == Method::Head;
        let answer = self.worded(refusal, exchange, head_only, !keeps);
        let own = OwnAnswer { status: refusal.status, reason: refusal.reason, bytes: answer.len() as u64 };
        self.observe(exchange, End::Own(own));
        if !self.write_answer(answer).await {
            return false;
        }
        if keeps && self.discard_upload(exchange).await {
            return true;
        }
        self.linger().await;
        false
    }

    /// Answers a head that could not be read. The connection must be closed.
    pub(super) async fn refuse_head(&mut self, refusal: &Refusal, head_only: bool) {
        count(&self.worker, refusal.reason);
        let mut request_id = RequestId::NONE;
        if self.worker.config().tracing.request_id != RequestIdPolicy::Off {
            request_id.make(&mut *self.worker.rng.borrow_mut());
        }
        let mut answer = self.worker.buffers.take();
        refusal.write(&mut answer, head_only, true, request_id.as_bytes());
        let own = OwnAnswer { status: refusal.status, reason: refusal.reason, bytes: answer.len() as u64 };
        self.observe_bad(own, request_id.as_bytes());
        if self.write_answer(answer).await {
            self.linger().await;
        }
    }

    /// The answer, with what the rule's filters have to say.
    fn worded(&self, refusal: &Refusal, exchange: &Exchange, head_only: bool, close: bool) -> Vec<u8> {
        let mut answer = self.worker.buffers.take();
        let mut lines = Vec::new();
        if let Some(applied) = &exchange.filtered {
            applied.answer_lines(&exchange.origin, &mut lines);
        }
        let request_id = exchange.marks.request_id.as_bytes();
        match &exchange.asked.call {
            Some(call) => refusal.write_grpc(&mut answer, &call.content_type, close, request_id, &lines),
            None => refusal.write_with(&mut answer, head_only, close, request_id, &lines),
        }
        answer
    }

    async fn write_answer(&mut self, mut answer: Vec<u8>) -> bool {
        self.timer.arm(self.listener.bounds().body);
        let written = self.write_all(&answer).await;
        self.worker.counters.bytes_out.add(answer.len() as u64);
        self.worker.buffers.give(&mut answer);
        written
    }

    /// Writes to the client; gives whether it took everything before the timer expired.
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> bool {
        let mut from = 0;
        poll_fn(|cx| {
            while from < bytes.len() {
                match self.client.poll_write(cx, &bytes[from..]) {
                    Poll::Ready(Ok(n)) => from += n,
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending if self.timer.expired() => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(true)
        })
        .await
    }

    /// Reads the rest of a request that was answered early, up to a bound of bytes and time. Gives whether its end was
    /// reached, so that another request can follow.
    pub(super) async fn discard_upload(&mut self, exchange: &mut Exchange) -> bool {
        if exchange.is_request_read() {
            return true;
        }
        let mut left = self.worker.config().limits.discard_bytes_max;
        self.timer.arm(self.worker.config().timeouts.linger);
        poll_fn(|cx| {
            loop {
                match exchange.discard_carried(&mut self.carry, &self.worker.buffers) {
                    Ok(()) if exchange.is_request_read() => return Poll::Ready(true),
                    Ok(()) => {}
                    Err(_) => return Poll::Ready(false),
                }
                let mut scratch = self.worker.scratch.borrow_mut();
                match self.client.poll_read(cx, &mut scratch.input) {
                    Poll::Ready(Ok(n)) if n > 0 && n as u64 <= left => {
                        left -= n as u64;
                        self.carry.extend(&scratch.input[..n], &self.worker.buffers);
                    }
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending if self.timer.expired() => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Whether the client has sent something that was not read, as far as the poller knows.
    pub(super) fn has_more(&mut self) -> bool {
        self.client.look() == Idle::Talking
    }

    /// Ends the sending side and swallows what the client still sends, up to a bound of bytes and time: closing with
    /// unread bytes would reset the connection, and the client might never see the answer (RFC 9112 section 9.6).
    pub(super) async fn linger(&mut self) {
        self.client.shutdown();
        let mut left = self.worker.config().limits.linger_bytes_max;
        self.timer.arm(self.worker.config().timeouts.linger);
        self.carry.clear(&self.worker.buffers);
        poll_fn(|cx| {
            loop {
                let mut scratch = self.worker.scratch.borrow_mut();
                match self.client.poll_read(cx, &mut scratch.input) {
                    Poll::Ready(Ok(n)) if n > 0 && n as u64 <= left => left -= n as u64,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending if self.timer.expired() => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}
