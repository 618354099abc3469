//! From bytes to a request that knows where it goes, within one poll: read, parse, route, write the head for the
//! upstream. Nothing of a request is forwarded unless all of its head is well-formed.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use weir_http1::{
    Authority, ConnectionOption, FieldName, FieldSet, HeadWriter, KnownField, Method, Normalized, Parsed,
    RequestError, RequestHead, TargetForm, WriteError, normalize_path, parse_request,
};
use weir_model::ServiceRef;

use super::outside::{ConnectTo, Outside};
use super::{Connection, Notes, Target};
use crate::attempt::Exchange;
use crate::config::SourceConfig;
use crate::listen::Role;
use crate::respond::{Reason, Refusal};
use crate::route::{Decision, RequestView, RouteTable};
use crate::runtime::io::poll_read;
use crate::runtime::{Scratch, View};
use crate::snapshot::{MeshLookup, Snapshot, Upstream};
use crate::source::Subscribed;

const X_FORWARDED_FOR: FieldName<'static> = FieldName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: FieldName<'static> = FieldName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: FieldName<'static> = FieldName::from_static("x-forwarded-host");
const TE: FieldName<'static> = FieldName::from_static("te");
const CONNECTION: FieldName<'static> = FieldName::from_static("connection");

/// What comes next on a connection.
pub(super) enum Next {
    /// A request, to be sent on.
    Forward(Box<Exchange>),
    /// A request that the proxy answers.
    Refuse(Box<Exchange>, Refusal),
    /// A head that is no request, or not one that may be served: answer and close.
    Bad(Refusal),
    /// The request in `carry` is for a service that must be asked for first.
    Ask(ServiceRef),
    /// Nothing.
    Closed,
}

/// Where routing leads.
enum Way {
    To(Target),
    Refuse(Refusal),
    Ask(ServiceRef),
}

/// A request as routing sees it.
struct HeadView<'a> {
    head: &'a RequestHead,
    buf: &'a [u8],
    host: &'a [u8],
    path: &'a [u8],
}

impl RequestView for HeadView<'_> {
    fn method(&self) -> &[u8] {
        self.head.method_bytes(self.buf)
    }

    fn host(&self) -> &[u8] {
        self.host
    }

    fn path(&self) -> &[u8] {
        self.path
    }

    fn query(&self) -> Option<&[u8]> {
        self.head.query(self.buf).strip_prefix(b"?")
    }

    fn header(&self, lower_name: &[u8]) -> Option<&[u8]> {
        let is_it = |name: &[u8]| name.len() == lower_name.len() && name.eq_ignore_ascii_case(lower_name);
        self.head
            .fields()
            .iter()
            .find(|field| is_it(field.name.of(self.buf)))
            .map(|field| field.value.of(self.buf))
    }
}

impl Connection {
    /// Sets the deadline for the next head.
    pub(super) fn await_head(&mut self) {
        let timeouts = &self.worker.config().timeouts;
        let within = if self.is_closing() { timeouts.drain_idle_grace } else { timeouts.downstream_idle };
        self.timer.arm(within);
    }

    /// Waits for the next request and finds out where it goes.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // The scratch is the worker's: hold on to the worker, not to the connection.
        let worker = self.worker.clone();
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { input, out: _, path, request, .. } = &mut *scratch;
        if !self.carry.is_empty() && self.head.is_none() {
            // Sent ahead, or read before a service was asked for.
            if let Some(next) = self.parse_carry(request, path) {
                return Poll::Ready(next);
            }
        }
        loop {
            let read = match poll_read(&mut self.client, cx, input) {
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
            match parse_request(buf, &worker.config().limits.request, request) {
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
                    self.timer.arm(worker.config().timeouts.head_read);
                }
                Err(fault) => return Poll::Ready(Next::Bad(Refusal::request(&fault))),
            }
        }
    }

    /// Parses the head in `carry`, going on where the last look ended.
    fn parse_carry(&mut self, shared: &mut RequestHead, path: &mut Vec<u8>) -> Option<Next> {
        let worker = self.worker.clone();
        let resumed = self.head.take();
        if resumed.is_none() {
            shared.reset();
        }
        let mut own = resumed;
        let carry = std::mem::take(&mut self.carry);
        let head = own.as_deref_mut().unwrap_or(shared);
        let parsed = parse_request(carry.unread(), &worker.config().limits.request, head);
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
                    self.timer.arm(worker.config().timeouts.head_read);
                    own = Some(Box::new(shared.clone()));
                }
                self.head = own;
                None
            }
            Err(fault) => Some(Next::Bad(Refusal::request(&fault))),
        };
        self.carry = carry;
        next
    }

    /// Nothing has come. Perhaps that is long enough.
    fn overdue(&mut self) -> Poll<Next> {
        if self.head.is_some() {
            if self.timer.expired() {
                let refusal = Refusal::new(Reason::SlowHead, "the request's head did not arrive in time");
                return Poll::Ready(Next::Bad(refusal));
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

    /// A whole head: decides where it goes and writes it for the upstream.
    #[inline]
    fn begin(&mut self, head: &RequestHead, buf: &[u8], path: &mut Vec<u8>) -> Next {
        let worker = self.worker.clone();
        let outbound = self.listener.role == Role::Outbound;
        if let Err(fault) = head.check_method(outbound) {
            return Next::Bad(Refusal::request(&fault));
        }
        let path = match normal_path(head, buf, path) {
            Ok(path) => path,
            Err(fault) => return Next::Bad(Refusal::request(&fault)),
        };
        let mut exchange = worker.take_exchange();
        let asked = &mut exchange.asked;
        asked.method = head.method();
        asked.version = head.version();
        asked.keep_alive = head.keep_alive();
        asked.expect_continue = head.expect_continue();
        asked.upgrade = head.upgrade(buf).map(Into::into);
        asked.timeout = worker.config().timeouts.request;
        asked.attempt_timeout = Duration::ZERO;
        exchange.begin(head.body(), &worker.config().limits.request);
        if worker.shared.access_log.is_some() {
            exchange.notes = Some(Notes::new(head, buf, worker.timers.precise_ns()));
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
        if head.method() != Method::Connect && self.write_head(&mut exchange.request, &seen).is_err() {
            // What parsed can be written; if not, it is not fit to be sent on.
            worker.give_exchange(exchange);
            return Next::Bad(Refusal::new(Reason::BadRequest, "the request cannot be sent on"));
        }
        Next::Forward(exchange)
    }

    #[inline]
    fn way(
        &mut self,
        view: &Rc<View>,
        seen: &HeadView<'_>,
        authority: Option<Authority<'_>>,
        exchange: &mut Exchange,
    ) -> Way {
        let snapshot = &view.snapshot;
        if let Some(notes) = &mut exchange.notes {
            notes.position = snapshot.position;
        }
        match self.listener.role {
            Role::Gateway => match self.listener.table(view) {
                Some(table) => self.routed(view, snapshot, table, seen, exchange),
                None => self.late(seen, exchange),
            },
            Role::Inbound => match &self.worker.shared.app {
                Some(app) => self.to_upstream(view, app, exchange),
                None => Way::Refuse(Refusal::new(Reason::NoBackend, "this sidecar has no application")),
            },
            Role::Outbound => self.outbound(view, seen, authority, exchange),
        }
    }

    /// The gateway was removed, and a request came that was on its way already: it is served as it would have been.
    #[cold]
    fn late(&mut self, seen: &HeadView<'_>, exchange: &mut Exchange) -> Way {
        let last = self.listener.last();
        match last.as_ref().and_then(|view| self.listener.table(view).map(|table| (view, table))) {
            Some((view, table)) => self.routed(view, &view.snapshot, table, seen, exchange),
            None => Way::Refuse(Refusal::new(
                Reason::NoRoute,
                "no gateway is configured at this address any more",
            )),
        }
    }

    #[inline]
    fn routed(
        &self,
        view: &Rc<View>,
        snapshot: &Snapshot,
        table: &RouteTable,
        seen: &HeadView<'_>,
        exchange: &mut Exchange,
    ) -> Way {
        let decision = snapshot.route(table, seen, &mut *self.worker.rng.borrow_mut());
        match decision {
            Decision::Forward { upstream, rule } => {
                let way = self.to_upstream(view, upstream, exchange);
                exchange.asked.timeout = rule.request_timeout(&upstream.settings).unwrap_or_default();
                exchange.asked.attempt_timeout = rule.attempt_timeout().unwrap_or_default();
                if let Some(notes) = &mut exchange.notes {
                    notes.route = Some(rule.label.clone());
                }
                way
            }
            Decision::NoRoute => Way::Refuse(Refusal::new(
                Reason::NoRoute,
                "no route matches the request's host, path and fields",
            )),
            Decision::NoBackend { rule, service } => {
                if let Some(notes) = &mut exchange.notes {
                    notes.route = Some(rule.label.clone());
                }
                let message = match service {
                    Some(service) => format!("{} names service {service}, which does not exist", rule.label),
                    None => format!("{} names no service that takes requests", rule.label),
                };
                Way::Refuse(Refusal::new(Reason::NoBackend, message))
            }
        }
    }

    #[inline]
    fn to_upstream(
        &self,
        view: &Rc<View>,
        upstream: &std::sync::Arc<Upstream>,
        exchange: &mut Exchange,
    ) -> Way {
        exchange.asked.timeout = upstream.settings.request_timeout.unwrap_or_default();
        if let Some(notes) = &mut exchange.notes {
            notes.upstream = Some(upstream.label.clone());
        }
        if upstream.protocol != weir_model::resource::Protocol::Http {
            let message = format!(
                "service {} does not speak HTTP/1.1, the only protocol served so far",
                upstream.label
            );
            return Way::Refuse(Refusal::new(Reason::ProtocolNotServed, message));
        }
        Way::To(Target::Upstream(self.worker.local(view, upstream)))
    }

    /// What the application asks for: a service of the mesh by its name, or anything else where the form of the request
    /// says that this is taken for a proxy.
    fn outbound(
        &mut self,
        view: &Rc<View>,
        seen: &HeadView<'_>,
        authority: Option<Authority<'_>>,
        exchange: &mut Exchange,
    ) -> Way {
        let snapshot = &view.snapshot;
        let form = seen.head.target_form();
        let known = match snapshot.mesh.lookup(seen.host) {
            MeshLookup::Known(service) => Some(service),
            MeshLookup::Unknown => None,
            MeshLookup::NotSubscribed(service) if self.asked_for.is_none() => return Way::Ask(service),
            MeshLookup::NotSubscribed(_) => None,
        };
        if form == TargetForm::Authority {
            let Some(Authority { host, port: Some(port) }) = authority else {
                return Way::Refuse(Refusal::new(Reason::BadRequest, "CONNECT needs host:port"));
            };
            let to = match known {
                Some(service) => {
                    ConnectTo::Service(self.worker.local(view, snapshot.upstream(service.upstream)))
                }
                None => ConnectTo::Host { host: text(host), port },
            };
            return Way::To(Target::Connect(Box::new(to)));
        }
        if let Some(service) = known {
            return self.routed(view, snapshot, &service.routes, seen, exchange);
        }
        match authority {
            Some(_) if form == TargetForm::Absolute && is_https(seen) => {
                let message = "a proxy is asked for https with CONNECT, not with a URL in the request line";
                Way::Refuse(Refusal::new(Reason::BadRequest, message))
            }
            Some(Authority { host, port }) if form == TargetForm::Absolute => {
                Way::To(Target::Outside(Box::new(Outside::new(text(host), port.unwrap_or(80)))))
            }
            _ => Way::Refuse(self.unknown_service(seen.host)),
        }
    }

    #[cold]
    fn unknown_service(&self, host: &[u8]) -> Refusal {
        let host = String::from_utf8_lossy(host);
        let is_static = matches!(self.worker.config().source, SourceConfig::Static { .. });
        match self.asked_for {
            Some(Subscribed::TimedOut | Subscribed::Unavailable) if !is_static => {
                let message = format!("the control plane has not said where service {host:?} is");
                Refusal::new(Reason::NotSubscribed, message)
            }
            _ => Refusal::new(Reason::UnknownService, format!("no service of the mesh is called {host:?}")),
        }
    }

    /// Writes the head for the upstream.
    #[inline]
    fn write_head(&self, out: &mut Vec<u8>, seen: &HeadView<'_>) -> Result<(), WriteError> {
        let HeadView { head, buf, path, .. } = *seen;
        let mut writer = HeadWriter::request(out, head.method_bytes(buf), path, head.query(buf))?;
        let host = head.host(buf).unwrap_or_default();
        writer.host(host)?;
        match self.listener.role {
            // The trust boundary: what a client says about where it comes from is not believed.
            Role::Gateway => {
                writer.copy(buf, head.fields(), FieldSet::FORWARDING);
                writer.field(X_FORWARDED_FOR, self.peer.text())?;
                writer.field(X_FORWARDED_PROTO, b"http")?;
                if !host.is_empty() {
                    writer.field(X_FORWARDED_HOST, host)?;
                }
            }
            // Behind it the chain is kept, and grows by who called.
            Role::Inbound => {
                writer.copy(buf, head.fields(), FieldSet::NONE);
                writer.field(X_FORWARDED_FOR, self.peer.text())?;
                if !head.fields().seen().has(KnownField::XForwardedProto) {
                    writer.field(X_FORWARDED_PROTO, b"http")?;
                }
            }
            Role::Outbound => {
                writer.copy(buf, head.fields(), FieldSet::NONE);
            }
        }
        if let Some(protocol) = head.upgrade(buf) {
            writer.connection(ConnectionOption::Upgrade(protocol))?;
        } else if head.te_trailers() {
            writer.field(TE, b"trailers")?;
            writer.field(CONNECTION, b"te")?;
        }
        writer.framing(head.body());
        writer.finish();
        Ok(())
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

fn is_https(seen: &HeadView<'_>) -> bool {
    seen.head.target(seen.buf).get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https:"))
}

/// A host as text, without the brackets of an IPv6 address. What parsed as a host is ASCII.
fn text(host: &[u8]) -> String {
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    String::from_utf8_lossy(host).into_owned()
}
