//! Where a request goes, by the listener it came to: a gateway's routes, the application behind a sidecar, or whatever
//! the application asked for.

use std::rc::Rc;
use std::sync::Arc;

use weir_http1::{Authority, RequestHead, TargetForm};
use weir_model::ServiceRef;
use weir_model::resource::{ListenerProtocol, Protocol};

use super::limited::Limited;
use super::outside::{ConnectTo, Outside};
use super::{Connection, Target};
use crate::attempt::Exchange;
use crate::config::SourceConfig;
use crate::limit::Asker;
use crate::listen::{Destination, Role};
use crate::observe::{NONE, OUTSIDE};
use crate::respond::{Reason, Refusal};
use crate::route::{Decision, RequestView, RouteTable};
use crate::runtime::View;
use crate::snapshot::{HashKey, ListenerConfig, MeshLookup, READINGS_MAX, Snapshot, Upstream};
use crate::source::Subscribed;

/// Where routing leads.
pub(super) enum Way {
    To(Target),
    Refuse(Refusal),
    Ask(ServiceRef),
}

/// A request as routing sees it.
pub(super) struct HeadView<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) buf: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) path: &'a [u8],
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

    #[inline]
    fn values<'a>(&'a self, lower_name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.head.fields().named(self.buf, lower_name)
    }
}

impl Connection {
    #[inline]
    pub(super) fn way(
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
            Role::Gateway => match self.listener.config(view) {
                Some(config) => self.by_gateway(view, config, seen, exchange),
                None => self.late(seen, exchange),
            },
            Role::Inbound => match &self.worker.shared.app {
                Some(app) => {
                    exchange.row = Some(self.worker.row(view, None, app));
                    let at =
                        Limited { listener: None, rule: None, service: &app.service, key: app.state.key() };
                    match self.limit(view, &at, seen, exchange) {
                        Some(refusal) => Way::Refuse(refusal),
                        None => self.to_upstream(view, app, exchange),
                    }
                }
                None => Way::Refuse(Refusal::new(Reason::NoBackend, "this sidecar has no application")),
            },
            Role::Outbound => self.outbound(view, seen, authority, exchange),
        }
    }

    /// The gateway was removed, and a request came that was on its way already: it is served as it would have been.
    #[cold]
    fn late(&mut self, seen: &HeadView<'_>, exchange: &mut Exchange) -> Way {
        let last = self.listener.last();
        match last.as_ref().and_then(|view| self.listener.config(view).map(|config| (view, config))) {
            Some((view, config)) => self.by_gateway(view, config, seen, exchange),
            None => Way::Refuse(Refusal::new(
                Reason::NoRoute,
                "no gateway is configured at this address any more",
            )),
        }
    }

    #[inline]
    fn by_gateway(
        &self,
        view: &Rc<View>,
        config: &ListenerConfig,
        seen: &HeadView<'_>,
        exchange: &mut Exchange,
    ) -> Way {
        if !self.may_ask_for(seen.host, config) {
            return Way::Refuse(Refusal::new(
                Reason::Misdirected,
                "the connection was made for another host than the one that is asked for",
            ));
        }
        self.routed(view, &view.snapshot, (&config.routes, Some(config)), seen, exchange)
    }

    /// Whether a client that came in as this one did may ask for a host: by TLS where TLS is demanded, and by the TLS of
    /// that very host's section, under a rule for its certificate that holds today. The listener may have changed since.
    #[inline]
    fn may_ask_for(&self, host: &[u8], config: &ListenerConfig) -> bool {
        match (&self.secure, &config.tls) {
            (None, None) => config.protocol == ListenerProtocol::Http,
            (Some(secure), Some(port)) => {
                let section = config.routes.section_of(host);
                section.is_some_and(|section| port.admits(&secure.server, section))
            }
            _ => false,
        }
    }

    #[inline]
    fn routed(
        &self,
        view: &Rc<View>,
        snapshot: &Snapshot,
        (table, listener): (&RouteTable, Option<&ListenerConfig>),
        seen: &HeadView<'_>,
        exchange: &mut Exchange,
    ) -> Way {
        let decision = snapshot.route(table, seen, &mut *self.worker.rng.borrow_mut());
        match decision {
            Decision::Forward { upstream, rule, filtered } => {
                exchange.row = Some(self.worker.row(view, Some(&rule.label), upstream));
                if let Some(filtered) = filtered
                    && let Some(refusal) = self.filter(view, filtered, seen, exchange)
                {
                    return Way::Refuse(refusal);
                }
                let key = upstream.state.key();
                let at = Limited { listener, rule: Some(rule), service: &upstream.service, key };
                if let Some(refusal) = self.limit(view, &at, seen, exchange) {
                    return Way::Refuse(refusal);
                }
                self.take_breakers(view, (rule, upstream), seen, exchange);
                if !snapshot.policies.is_empty() {
                    let workers = self.worker.config().worker_count();
                    exchange.manner = view.manner(rule, upstream, workers, &self.worker.routes);
                }
                let way = self.to_upstream(view, upstream, exchange);
                let hash = &upstream.settings.balance.hash;
                if !hash.is_empty() {
                    exchange.asked.hash = self.hash(hash, &rule.label, seen);
                }
                let settings = exchange.manner.as_ref().map_or(&upstream.settings, |manner| &manner.settings);
                exchange.asked.timeout = rule.request_timeout(settings).unwrap_or_default();
                exchange.asked.attempt_timeout = rule.attempt_timeout(settings).unwrap_or_default();
                way
            }
            Decision::NoRoute => Way::Refuse(Refusal::new(
                Reason::NoRoute,
                "no route matches the request's host, path and fields",
            )),
            Decision::NoBackend { rule, service, filtered } => {
                let named = service.map_or_else(|| NONE.into(), |service| service.to_string().into());
                exchange.row = Some(self.worker.make_row(Some(&rule.label), &named));
                if let Some(filtered) = filtered
                    && let Some(refusal) = self.filter(view, filtered, seen, exchange)
                {
                    return Way::Refuse(refusal);
                }
                let message = match service {
                    Some(service) => format!("{} names service {service}, which does not exist", rule.label),
                    None => format!("{} names no service that takes requests", rule.label),
                };
                Way::Refuse(Refusal::new(Reason::NoBackend, message))
            }
        }
    }

    /// The hash that a request's endpoint is chosen by.
    #[inline(never)]
    pub(super) fn hash(&self, of: &HashKey, rule: &str, seen: &HeadView<'_>) -> Option<u64> {
        let asker = Asker { address: self.peer.text(), caller: self.caller(seen.head, seen.buf), rule };
        of.of_request(seen, asker).map(|(_, hash)| hash)
    }

    #[inline]
    fn to_upstream(&self, view: &Rc<View>, upstream: &Arc<Upstream>, exchange: &mut Exchange) -> Way {
        exchange.asked.timeout = upstream.settings.request_timeout.unwrap_or_default();
        if upstream.protocol() == Protocol::Tcp {
            let message = format!("service {} takes bytes, not requests", upstream.label);
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
        // Also to a service of the mesh: who says https does not mean plain text.
        if form == TargetForm::Absolute && is_https(seen) {
            let message = "a proxy is asked for https with CONNECT, not with a URL in the request line";
            return Way::Refuse(Refusal::new(Reason::BadRequest, message));
        }
        let destination = self.destination.clone();
        if let Some(service) = destination.as_ref().and_then(|destination| destination.service.as_ref()) {
            return match snapshot.mesh.service(service) {
                MeshLookup::Known(found) => {
                    self.routed(view, snapshot, (&found.routes, None), seen, exchange)
                }
                MeshLookup::NotSubscribed(service) if self.may_ask() => Way::Ask(service),
                _ => Way::Refuse(self.unknown_service(service.to_string().as_bytes(), None)),
            };
        }
        let known = match snapshot.mesh.lookup(seen.host) {
            MeshLookup::Known(service) => Some(service),
            MeshLookup::Unknown => None,
            MeshLookup::NotSubscribed(service) if self.may_ask() => return Way::Ask(service),
            MeshLookup::NotSubscribed(_) => snapshot.mesh.known(seen.host),
        };
        if form == TargetForm::Authority {
            let Some(Authority { host, port: Some(port) }) = authority else {
                return Way::Refuse(Refusal::new(Reason::BadRequest, "CONNECT needs host:port"));
            };
            let to = match known {
                Some(service) => {
                    let upstream = snapshot.upstream(service.upstream);
                    exchange.row = Some(self.worker.row(view, None, upstream));
                    ConnectTo::Service(self.worker.local(view, upstream))
                }
                None => {
                    exchange.row = Some(self.worker.make_row(None, &OUTSIDE.into()));
                    ConnectTo::Host { host: text(host), port }
                }
            };
            return Way::To(Target::Connect(Box::new(to)));
        }
        if let Some(service) = known {
            return self.routed(view, snapshot, (&service.routes, None), seen, exchange);
        }
        match authority {
            Some(Authority { host, port }) if form == TargetForm::Absolute => {
                exchange.row = Some(self.worker.make_row(None, &OUTSIDE.into()));
                Way::To(Target::Outside(Box::new(Outside::new(text(host), port.unwrap_or(80)))))
            }
            _ => match destination.as_deref() {
                // The application did not ask the proxy for anything: it goes where it was going.
                Some(Destination { addr: Some(addr), captured: true, .. }) => {
                    exchange.row = Some(self.worker.make_row(None, &OUTSIDE.into()));
                    Way::To(Target::Outside(Box::new(Outside::new(addr.ip().to_string(), addr.port()))))
                }
                _ => Way::Refuse(self.unknown_service(seen.host, snapshot.mesh.why_unknown(seen.host))),
            },
        }
    }

    /// Whether the control plane may be asked for what a host means: once for each reading, until it does not answer.
    fn may_ask(&self) -> bool {
        match self.asked_for {
            None => true,
            Some((Subscribed::Answered, times)) => usize::from(times) < READINGS_MAX,
            Some(_) => false,
        }
    }

    #[cold]
    fn unknown_service(&self, host: &[u8], why: Option<String>) -> Refusal {
        let host = String::from_utf8_lossy(host);
        let is_static = matches!(self.worker.config().source, SourceConfig::Static { .. });
        match self.asked_for {
            Some((Subscribed::TimedOut | Subscribed::Unavailable, _)) if !is_static => {
                let message = format!("the control plane has not said where service {host:?} is");
                Refusal::new(Reason::NotSubscribed, message)
            }
            _ => {
                let message = format!("no service of the mesh is called {host:?}");
                Refusal::new(
                    Reason::UnknownService,
                    match why {
                        Some(why) => format!("{message}: {why}"),
                        None => message,
                    },
                )
            }
        }
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
