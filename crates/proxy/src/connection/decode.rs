//! From bytes to a request that knows where it goes, within one poll: read, parse, route (`way`), write the head for the
//! upstream (`head`). Nothing of a request is forwarded unless all of its head is well-formed.

use std::task::{Context, Poll};
use std::time::Duration;

use weir_http1::{
    BodyKind, Method, Normalized, Parsed, RequestError, RequestHead, TargetForm, normalize_path,
    parse_noted_request, parse_request,
};
use weir_model::ServiceRef;

use super::way::{HeadView, Way};
use super::{Connection, Target, grpc};
use crate::attempt::{Exchange, LOAD_FIELD};
use crate::http2::{Preface, preface};
use crate::listen::Role;
use crate::observe::Wire;
use crate::respond::{Reason, Refusal};
use crate::runtime::{Io, Scratch};

/// What comes next on a connection.
pub(super) enum Next {
    /// A request, to be sent on.
    Forward(Box<Exchange>),
    /// A request that the proxy answers.
    Refuse(Box<Exchange>, Refusal),
    /// A head that is no request, or not one that may be served: answer and close.
    Bad {
        /// The answer.
        refusal: Refusal,
        /// It is one to HEAD.
        head_only: bool,
    },
    /// The request in `carry` is for a service that must be asked for first.
    Ask(ServiceRef),
    /// A caller's proxy asks how busy the application behind this sidecar is.
    Load,
    /// Nothing.
    Closed,
    /// It is HTTP/2 that was read.
    Http2,
}

impl Next {
    /// Refuses what was read so far of a head: perhaps too little, or too broken, to be parsed.
    fn bad(refusal: Refusal, read: &[u8]) -> Self {
        Self::Bad { refusal, head_only: read.starts_with(b"HEAD ") }
    }
}

impl Connection {
    /// Sets the deadline for the next head.
    pub(super) fn await_head(&mut self) {
        let bounds = self.listener.bounds();
        if let Io::Http2(_) = self.client {
            // After its one request only the rest of the response is waited for.
            return self.timer.arm(bounds.body);
        }
        let grace = self.worker.config().timeouts.drain_idle_grace;
        let within = if self.is_closing() { grace } else { bounds.idle };
        self.timer.arm(within);
    }

    /// Waits for the next request and finds out where it goes.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // The scratch is the worker's: hold on to the worker, not to the connection.
        let worker = self.worker.clone();
        let bounds = self.listener.bounds();
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { input, out: _, path, request, .. } = &mut *scratch;
        if !self.carry.is_empty() && self.head.is_none() {
            // Sent ahead, or read before a service was asked for.
            if let Some(next) = self.parse_carry(request, path) {
                return Poll::Ready(next);
            }
        }
        loop {
            let read = match self.client.poll_read(cx, input) {
                Poll::Pending => return self.overdue(),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::Closed),
                Poll::Ready(Ok(n)) => n,
            };
            worker.counters.bytes_in.add(read as u64);
            if !self.carry.is_empty() {
                self.carry.extend(&input[..read], &worker.buffers);
                match self.parse_carry(request, path) {
                    Some(next) => return Poll::Ready(next),
                    None => continue,
                }
            }
            let buf = &input[..read];
            request.reset();
            let noted = self.client.take_table(request.table());
            let parsed = if noted {
                parse_noted_request(buf, &bounds.request, request)
            } else {
                parse_request(buf, &bounds.request, request)
            };
            match parsed {
                Ok(Parsed::Complete(len)) => {
                    let next = self.begin(request, &buf[..len], path);
                    // When a service must be asked for first, the head is looked at again after.
                    let rest = if matches!(next, Next::Ask(_)) { buf } else { &buf[len..] };
                    self.carry.extend(rest, &worker.buffers);
                    return Poll::Ready(next);
                }
                Ok(Parsed::Partial) => {
                    self.carry.extend(buf, &worker.buffers);
                    self.head = Some(Box::new(request.clone()));
                    self.timer.arm(bounds.head_read);
                }
                Err(fault) => match self.first_words(buf) {
                    Preface::No => return Poll::Ready(Next::bad(Refusal::request(&fault), buf)),
                    Preface::Yes => {
                        self.carry.extend(buf, &worker.buffers);
                        return Poll::Ready(Next::Http2);
                    }
                    Preface::Perhaps => {
                        self.carry.extend(buf, &worker.buffers);
                        self.head = Some(Box::default());
                        self.timer.arm(bounds.head_read);
                    }
                },
            }
        }
    }

    /// Whether what cannot be read is how HTTP/2 begins.
    #[cold]
    fn first_words(&self, read: &[u8]) -> Preface {
        if self.fresh { preface(read) } else { Preface::No }
    }

    /// Parses the head in `carry`, going on where the last look ended.
    fn parse_carry(&mut self, shared: &mut RequestHead, path: &mut Vec<u8>) -> Option<Next> {
        let worker = self.worker.clone();
        let bounds = self.listener.bounds();
        let resumed = self.head.take();
        if resumed.is_none() {
            shared.reset();
        }
        let mut own = resumed;
        let carry = std::mem::take(&mut self.carry);
        let head = own.as_deref_mut().unwrap_or(shared);
        let parsed = parse_request(carry.unread(), &bounds.request, head);
        let next = match parsed {
            Ok(Parsed::Complete(len)) => {
                let next = self.begin(head, &carry.unread()[..len], path);
                let dealt_with = if matches!(next, Next::Ask(_)) { 0 } else { len };
                self.carry = carry;
                self.carry.consume(dealt_with, &worker.buffers);
                return Some(next);
            }
            Ok(Parsed::Partial) => {
                if own.is_none() {
                    // A head sent ahead has just become the one that is waited for.
                    self.timer.arm(bounds.head_read);
                    own = Some(Box::new(shared.clone()));
                }
                self.head = own;
                None
            }
            Err(fault) => match self.first_words(carry.unread()) {
                Preface::No => Some(Next::bad(Refusal::request(&fault), carry.unread())),
                Preface::Yes => Some(Next::Http2),
                Preface::Perhaps => {
                    if own.is_none() {
                        self.timer.arm(bounds.head_read);
                    }
                    self.head = Some(own.unwrap_or_default());
                    None
                }
            },
        };
        self.carry = carry;
        next
    }

    /// Nothing has come. Perhaps that is long enough.
    fn overdue(&mut self) -> Poll<Next> {
        if self.head.is_some() {
            if self.timer.expired() {
                let refusal = Refusal::new(Reason::SlowHead, "the request's head did not arrive in time");
                return Poll::Ready(Next::bad(refusal, self.carry.unread()));
            }
        } else {
            if self.timer.expired() {
                return Poll::Ready(Next::Closed);
            }
            if self.is_closing() && !self.told_to_close {
                // One last request may be on its way.
                self.told_to_close = true;
                self.await_head();
            }
        }
        Poll::Pending
    }

    /// Whether it is a question that the sidecar answers for its application.
    fn asks_for_load(&self, head: &RequestHead, buf: &[u8]) -> bool {
        self.listener.role == Role::Inbound
            && !self.client.is_http2()
            && head.body() == BodyKind::None
            && head.keep_alive()
            && head.fields().named(buf, LOAD_FIELD.as_bytes()).next().is_some()
    }

    /// A whole head: decides where it goes and writes it for the upstream.
    #[inline]
    fn begin(&mut self, head: &RequestHead, buf: &[u8], path: &mut Vec<u8>) -> Next {
        let worker = self.worker.clone();
        let outbound = self.listener.role == Role::Outbound;
        if let Err(fault) = head.check_method(outbound) {
            return Next::bad(Refusal::request(&fault), buf);
        }
        let path = match normal_path(head, buf, path) {
            Ok(path) => path,
            Err(fault) => return Next::bad(Refusal::request(&fault), buf),
        };
        self.fresh = false;
        if head.target_form() == TargetForm::Asterisk && self.asks_for_load(head, buf) {
            return Next::Load;
        }
        let mut exchange = worker.take_exchange();
        let asked = &mut exchange.asked;
        asked.method = head.method();
        asked.version = head.version();
        asked.keep_alive = head.keep_alive();
        asked.expect_continue = head.expect_continue();
        asked.upgrade = head.upgrade(buf).map(Into::into);
        asked.timeout = worker.config().timeouts.request;
        asked.attempt_timeout = Duration::ZERO;
        asked.call = grpc::call(head, buf);
        let bounds = self.listener.bounds();
        asked.standstill_max = bounds.body;
        asked.delay = Duration::ZERO;
        asked.hash = None;
        exchange.begin(head.body(), &bounds.request, self.client.is_http2());
        exchange.began_ns = worker.clock.recent();
        let logged = worker.log.is_some();
        if logged {
            exchange.take_notes().begin(head, buf, self.caller(head, buf));
        }
        if let Some(counted) = &mut self.counted {
            counted.speaks(Wire::Http1);
        }
        let (role, tracing) = (self.listener.role, worker.config().tracing);
        exchange.marks.read(head, buf, role, tracing, logged, &mut *worker.rng.borrow_mut());

        if exchange.marks.is_loop() {
            worker.counters.requests.add(1);
            self.asked_for = None;
            let message = "the request has passed too many proxies: it goes round in circles";
            return Next::Refuse(exchange, Refusal::new(Reason::Loop, message));
        }
        if exchange.marks.said == Some(Duration::ZERO) {
            worker.counters.requests.add(1);
            self.asked_for = None;
            let message = "the time that whoever sent the request waits for is over";
            return Next::Refuse(exchange, Refusal::new(Reason::Timeout, message));
        }
        let view = worker.view();
        let authority = head.authority(buf);
        let host = authority.map_or(&b""[..], |authority| authority.host);
        let seen = HeadView { head, buf, host, path };
        match self.way(&view, &seen, authority, &mut exchange) {
            Way::To(target) => exchange.target = target,
            Way::Refuse(refusal) => {
                worker.counters.requests.add(1);
                self.asked_for = None;
                return Next::Refuse(exchange, refusal);
            }
            Way::Ask(service) => {
                worker.give_exchange(exchange);
                return Next::Ask(service);
            }
        }
        worker.counters.requests.add(1);
        self.asked_for = None;
        exchange.request = worker.buffers.take();
        let forwarded = &mut *exchange;
        forwarded.bound_time(self.listener.role);
        let towards = (&forwarded.target, forwarded.filtered.as_ref());
        // What goes on in HTTP/2 is taken apart again.
        let again = matches!(&forwarded.target, Target::Upstream(local) if local.upstream.is_http2());
        let table = again.then_some(&mut forwarded.request_table);
        if head.method() != Method::Connect
            && self.write_head((&mut forwarded.request, table), &seen, &mut forwarded.marks, towards).is_err()
        {
            // What parsed can be written; if not, it is not fit to be sent on.
            worker.counters.requests_ended.add(1);
            worker.give_exchange(exchange);
            return Next::bad(Refusal::new(Reason::BadRequest, "the request cannot be sent on"), buf);
        }
        if let Some(call) = &mut exchange.asked.call
            && call.timeout.is_some()
        {
            let before = exchange.request.len();
            call.timeout_at = grpc::make_room(&mut exchange.request, &mut exchange.request_table);
            if let Some(at) = call.timeout_at {
                exchange.marks.told.moved(at, before, exchange.request.len());
            }
        }
        if let Some(copies) = &mut exchange.copies {
            copies.head_len = exchange.request.len();
        }
        Next::Forward(exchange)
    }
}

#[inline]
fn normal_path<'a>(
    head: &RequestHead,
    buf: &'a [u8],
    normal: &'a mut Vec<u8>,
) -> Result<&'a [u8], RequestError> {
    match head.target_form() {
        TargetForm::Origin | TargetForm::Absolute => match normalize_path(head.path(buf), normal)? {
            Normalized::Unchanged => Ok(head.path(buf)),
            Normalized::Changed => Ok(normal),
        },
        TargetForm::Asterisk | TargetForm::Authority => Ok(head.path(buf)),
    }
}
