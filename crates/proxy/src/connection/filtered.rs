//! Filters at work on a request whose rule has some: what they decide becomes an answer, or a note in the exchange for
//! those who write the heads.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use weir_http1::TargetForm;

use super::way::HeadView;
use super::{Connection, Copies};
use crate::attempt::Exchange;
use crate::filter::{Abort, Answer, Applied, Mirror, Place, Redirect, decide, line};
use crate::listen::Role;
use crate::respond::{Lines, Reason, Refusal};
use crate::route::{Filtered, RequestView, preflight_method};
use crate::runtime::View;

/// How long a request that is made to wait may take to notice that the proxy is to end.
const DELAY_STEP: Duration = Duration::from_millis(500);

impl Connection {
    /// Makes a request wait, but not for a proxy that is to end. Rare, so that its size is kept out of the connection's own.
    pub(super) fn delay(&self, delay: Duration) -> Pin<Box<dyn Future<Output = ()>>> {
        self.worker.counters.filters.delayed.add(1);
        let worker = self.worker.clone();
        Box::pin(async move {
            let mut left = delay;
            while !left.is_zero() && !worker.is_draining() {
                let step = left.min(DELAY_STEP);
                tokio::time::sleep(step).await;
                left -= step;
            }
        })
    }

    /// Lets the filters of a rule look at a request. Gives the answer, if one of them has it.
    #[inline(never)]
    pub(super) fn filter(
        &self,
        view: &Rc<View>,
        filtered: Filtered<'_>,
        seen: &HeadView<'_>,
        exchange: &mut Exchange,
    ) -> Option<Refusal> {
        let Filtered { filters, prefix } = filtered;
        let verdict = decide(filters, seen, &mut *self.worker.rng.borrow_mut());
        if filters.cors.is_some() {
            exchange.origin.clear();
            exchange.origin.extend_from_slice(seen.header(b"origin").unwrap_or_default());
        }
        exchange.filtered = Some(Applied { filters: filters.clone(), prefix, cors: verdict.cors });
        exchange.asked.delay = verdict.delay;
        if verdict.answer.is_none() && !filters.mirrors.is_empty() && exchange.asked.upgrade.is_none() {
            self.copy(view, &filters.mirrors, seen, exchange);
        }
        match verdict.answer? {
            Answer::Preflight => {
                let mut lines = Lines::default();
                if let Some(cors) = &filters.cors {
                    let method = preflight_method(seen).unwrap_or_default();
                    let headers = seen.header(b"access-control-request-headers");
                    cors.preflight_fields(method, headers, &mut |name, value| {
                        line(&mut lines.0, name.as_bytes(), value);
                    });
                }
                Some(Refusal { lines: Some(Box::new(lines)), ..Refusal::new(Reason::Preflight, "") })
            }
            Answer::PreflightDenied => {
                Some(Refusal::new(Reason::OriginDenied, "pages of this origin may not call this service"))
            }
            Answer::Abort(abort) => Some(aborted(abort, exchange.asked.call.is_some())),
            Answer::Redirect => {
                filters.redirect.as_ref().map(|redirect| self.redirect(redirect, prefix, seen))
            }
        }
    }

    /// Draws who gets copies of a request.
    fn copy(&self, view: &Rc<View>, mirrors: &[Mirror], seen: &HeadView<'_>, exchange: &mut Exchange) {
        let mut to = Vec::new();
        for mirror in mirrors {
            let upstream = view.snapshot.upstream(mirror.upstream);
            // What does not exist gets nothing (Gateway API).
            if upstream.known && mirror.share.draw(&mut *self.worker.rng.borrow_mut()) {
                let hash = self.hash(&upstream.settings.balance.hash, "", seen);
                to.push((self.worker.local(view, upstream), hash));
            }
        }
        if !to.is_empty() {
            exchange.copies = Some(Box::new(Copies { to, head_len: 0 }));
        }
    }

    fn redirect(&self, redirect: &Redirect, prefix: usize, seen: &HeadView<'_>) -> Refusal {
        let HeadView { head, buf, host, path } = *seen;
        // Inside the mesh it is the name that counts; a listener's port is an accident of the sidecar.
        let port = match self.listener.role {
            Role::Gateway => self.listener.addr.port(),
            Role::Inbound | Role::Outbound => {
                head.authority(buf).and_then(|authority| authority.port).unwrap_or(self.scheme().port())
            }
        };
        let query = if head.target_form() == TargetForm::Asterisk { b"" } else { head.query(buf) };
        let place = Place { scheme: self.scheme(), host, port, path, query, prefix };
        let mut lines = Lines::default();
        lines.0.extend_from_slice(b"location: ");
        redirect.write_location(&place, &mut lines.0);
        lines.0.extend_from_slice(b"\r\n");
        let lines = Some(Box::new(lines));
        Refusal { status: redirect.status, lines, ..Refusal::new(Reason::Redirect, "") }
    }
}

/// The answer to a request that is made to fail.
fn aborted(abort: Abort, is_call: bool) -> Refusal {
    const MESSAGE: &str = "a fault was made on purpose";
    match abort {
        Abort::Http(status @ (204 | 304)) => Refusal { status, ..Refusal::new(Reason::Fault, "") },
        Abort::Http(status) => Refusal { status, ..Refusal::new(Reason::Fault, MESSAGE) },
        Abort::Grpc(status) if is_call => {
            Refusal { grpc_status: u8::try_from(status).ok(), ..Refusal::new(Reason::Fault, MESSAGE) }
        }
        // A response of gRPC without messages: its status stands in the head (gRPC over HTTP/2, trailers only).
        Abort::Grpc(status) => {
            let mut lines = Lines::default();
            line(&mut lines.0, b"content-type", b"application/grpc");
            line(&mut lines.0, b"grpc-status", status.to_string().as_bytes());
            line(&mut lines.0, b"grpc-message", MESSAGE.as_bytes());
            Refusal { status: 200, lines: Some(Box::new(lines)), ..Refusal::new(Reason::Fault, "") }
        }
    }
}
