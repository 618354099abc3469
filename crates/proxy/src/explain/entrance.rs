//! Asks routing and balancing what they would do.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use weir_model::ResourceId;
use weir_model::resource::{ListenerProtocol, Protocol};

use super::balance::{Balanced, Hashed};
use super::policies::Call;
use super::record::Record;
use super::request::Speaks;
use super::settings::{retries_of, settings};
use super::{Asked, Backend, Entrance, Forwarded, Outcome, ProtocolView, Request, describe};
use crate::filter::{Abort, Answer, Scheme, decide};
use crate::route::{Backends, Decision, Filtered, RequestView, RouteTable, Rule};
use crate::snapshot::{Endpoint, ListenerConfig, MeshLookup, Snapshot, Upstream};

/// Most routes of which it is said that another one excludes them.
const OVERLAPS_SHOWN_MAX: usize = 10;

/// What of the URL could not be taken as it is, and which routes do not count.
pub(super) fn remarks(snapshot: &Snapshot, request: &Request) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut ports: Vec<u16> = snapshot.listeners.iter().map(|listener| listener.addr.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    if let Some(port) = request.port
        && !ports.is_empty()
        && !ports.contains(&port)
    {
        let listened: Vec<String> = ports.iter().map(u16::to_string).collect();
        remarks.push(format!(
            "no listener has port {port}, only {}; this is for a request that arrives there",
            listened.join(", ")
        ));
    }
    let mut meant = meant(snapshot, request).into_iter();
    match request.speaks {
        Speaks::Https if !snapshot.listeners.is_empty() && !meant.any(is_secret) => {
            remarks
                .push("no TLS is spoken there; this is what becomes of the same request by http".to_owned());
        }
        Speaks::Http if meant.len() > 0 && meant.all(is_secret) => {
            remarks.push("TLS is spoken there; this is what becomes of the same request by https".to_owned());
        }
        _ => {}
    }
    let overlaps = snapshot.overlaps.iter().take(OVERLAPS_SHOWN_MAX);
    remarks.extend(overlaps.map(|overlap| {
        format!(
            "{} does not count at {}: {} comes first and has hosts in common with it",
            overlap.route, overlap.listener, overlap.winner
        )
    }));
    remarks
}

/// Whether TLS is spoken at a listener. On one port it may end there, or be passed through, by name.
fn is_secret(listener: &ListenerConfig) -> bool {
    matches!(listener.protocol, ListenerProtocol::Https | ListenerProtocol::Tls)
}

/// The listeners that a request may come in by: those with the port that the URL names, else those that speak what its
/// scheme says, else all that take requests.
fn meant<'a>(snapshot: &'a Snapshot, request: &Request) -> Vec<&'a ListenerConfig> {
    let listeners = snapshot.listeners.iter();
    let takes =
        |listener: &&ListenerConfig| !listener.routes.sections().is_empty() || listener.streams.is_none();
    let taking: Vec<&ListenerConfig> = listeners.filter(takes).collect();
    let narrowed = |keep: &dyn Fn(&ListenerConfig) -> bool| {
        let kept: Vec<&ListenerConfig> = taking.iter().copied().filter(|listener| keep(listener)).collect();
        (!kept.is_empty()).then_some(kept)
    };
    narrowed(&|listener| Some(listener.addr.port()) == request.port)
        .or_else(|| narrowed(&|listener| is_secret(listener) == (request.speaks == Speaks::Https)))
        .unwrap_or(taking)
}

/// What happens at each entrance that the request may come in by.
pub(super) fn entrances(asked: Asked<'_>, rng: &mut impl Rng) -> Vec<Entrance> {
    let Asked { snapshot, request, .. } = asked;
    if snapshot.listeners.is_empty() {
        return vec![mesh(asked, rng)];
    }
    let mut entrances: Vec<Entrance> = Vec::new();
    let mut tables: Vec<&Arc<RouteTable>> = Vec::new();
    for listener in meant(snapshot, request) {
        // A gateway with several addresses has the same table behind each.
        if !tables.iter().any(|table| Arc::ptr_eq(table, &listener.routes)) {
            tables.push(&listener.routes);
            let refused = is_secret(listener).then(|| by_name(listener, request)).flatten();
            entrances.push(refused.unwrap_or_else(|| entrance(asked, Some(listener), &listener.routes, rng)));
        }
    }
    entrances
}

/// What becomes of a request over TLS before it is routed: the name that its connection asks for chooses the listener of
/// the port, and its host must be one of the same.
fn by_name(listener: &ListenerConfig, request: &Request) -> Option<Entrance> {
    let table = &listener.routes;
    let refused = |section: Option<usize>, outcome| Entrance {
        name: listener.id.to_string(),
        section: section.map(|at| table.sections()[at].label.to_string()),
        rules: Vec::new(),
        rules_omitted: 0,
        filters: Vec::new(),
        outcome,
    };
    let name = request.server_name.as_deref();
    let shown = name.map_or_else(|| "no name".to_owned(), |name| format!("the name `{name}`"));
    let Some(chosen) = table.section_of(name.unwrap_or_default().as_bytes()) else {
        let reason =
            format!("no listener of this port is for {shown}: the handshake ends with unrecognized_name");
        return Some(refused(None, Outcome::Closed { reason }));
    };
    let label = &table.sections()[chosen].label;
    let takes_bytes = listener
        .streams
        .as_ref()
        .is_some_and(|streams| streams.sections().iter().any(|section| section.label == *label));
    if takes_bytes {
        let asked = name.unwrap_or_default();
        let reason = format!("no requests are expected by {shown}: ask for tls://{asked}");
        return Some(refused(Some(chosen), Outcome::Closed { reason }));
    }
    (table.section_of(request.host()) != Some(chosen)).then(|| {
        let reason = format!(
            "the host `{}` belongs to another listener of the port than {shown}, which the connection asked for",
            request.host
        );
        refused(Some(chosen), Outcome::Refused { status: 421, reason })
    })
}

fn mesh(asked: Asked<'_>, rng: &mut impl Rng) -> Entrance {
    let Asked { snapshot, request, .. } = asked;
    let reason = match snapshot.mesh.lookup(request.host()) {
        MeshLookup::Known(service) if request.is_connect() => {
            format!("CONNECT opens a tunnel to an endpoint of {}, whatever its routes say", service.service)
        }
        MeshLookup::Known(service) => return entrance(asked, None, &service.routes, rng),
        MeshLookup::Unknown => {
            let why = snapshot.mesh.why_unknown(request.host());
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            format!(
                "`{}` is not a service; asked for by Host alone, it is answered with 404{why}",
                request.host
            )
        }
        MeshLookup::NotSubscribed(service) => {
            if let Some(known) = snapshot.mesh.known(request.host()) {
                return entrance(asked, None, &known.routes, rng);
            }
            format!("no service {service} is known here; the first call asks the control plane for it")
        }
    };
    Entrance {
        name: "mesh".to_owned(),
        section: None,
        rules: Vec::new(),
        rules_omitted: 0,
        filters: Vec::new(),
        outcome: Outcome::PassThrough { reason },
    }
}

fn entrance(
    asked: Asked<'_>,
    listener: Option<&ListenerConfig>,
    table: &RouteTable,
    rng: &mut impl Rng,
) -> Entrance {
    let Asked { snapshot, request, .. } = asked;
    let name = listener.map_or("mesh", |listener| &*listener.id);
    if matches!(&*request.method, "CONNECT" | "TRACE") {
        let reason = format!("{} is not served here", request.method);
        return Entrance {
            name: name.to_owned(),
            section: None,
            rules: Vec::new(),
            rules_omitted: 0,
            filters: Vec::new(),
            outcome: Outcome::Refused { status: 405, reason },
        };
    }
    let mut record = Record::default();
    let decision = snapshot.route_with(table, request, rng, &mut record);
    let filtered = match decision {
        Decision::Forward { filtered, .. } | Decision::NoBackend { filtered, .. } => filtered,
        Decision::NoRoute => None,
    };
    let label = |index| snapshot.upstream(index).label.to_string();
    let filters = filtered.map_or_else(Vec::new, |filtered| filtered.filters.described(label));
    let outcome = match decision {
        _ if let Some(answered) =
            filtered.and_then(|filtered| answered(filtered, listener, request, rng)) =>
        {
            answered
        }
        Decision::Forward { upstream, rule, .. } if upstream.protocol() == Protocol::Tcp => {
            let reason = format!(
                "{} sends it to {}, which takes bytes, not requests (protocol {})",
                rule.label,
                upstream.label,
                ProtocolView::of(upstream)
            );
            Outcome::Refused { status: 502, reason }
        }
        Decision::Forward { upstream, rule, .. } => {
            let section = record.section.and_then(|at| table.sections().get(at)?.name());
            let listener = listener.map(|listener| (&listener.gateway, section));
            let forwarded = forwarded(asked, listener, upstream, rule, rng);
            Outcome::Forward(Box::new(forwarded))
        }
        Decision::NoRoute => {
            let reason = match record.section {
                None => format!("no listener here serves the host `{}`", request.host),
                Some(_) => "no rule matches".to_owned(),
            };
            Outcome::Refused { status: 404, reason }
        }
        Decision::NoBackend { rule, service, .. } => {
            let reason = match service {
                Some(service) => {
                    format!("{} sends it to {service}, and there is no such service", rule.label)
                }
                None => format!("{} names no service with a weight", rule.label),
            };
            Outcome::Refused { status: 500, reason }
        }
    };
    let (rules, rules_omitted) = describe::rules(table, request, &record);
    let section = record.section.map(|section| table.sections()[section].label.to_string());
    Entrance { name: name.to_owned(), section, rules, rules_omitted, filters, outcome }
}

/// The answer that a filter has.
fn answered(
    filtered: Filtered<'_>,
    listener: Option<&ListenerConfig>,
    request: &Request,
    rng: &mut impl Rng,
) -> Option<Outcome> {
    let filters = filtered.filters;
    let answered =
        |status, reason: &str| Outcome::Answered { status, location: None, reason: reason.to_owned() };
    Some(match decide(filters, request, rng).answer? {
        Answer::Preflight => answered(204, "a browser asks whether it may, and this origin may"),
        Answer::PreflightDenied => answered(403, "a browser asks whether it may, and this origin may not"),
        Answer::Abort(Abort::Http(status)) => answered(status, "a fault is made on purpose"),
        Answer::Abort(Abort::Grpc(status)) => {
            answered(200, &format!("a fault is made on purpose: gRPC status {status}"))
        }
        Answer::Redirect => {
            let redirect = filters.redirect.as_ref()?;
            let mut location = Vec::new();
            let mut place = request.place(filtered.prefix);
            if let Some(listener) = listener {
                place.port = listener.addr.port();
                place.scheme =
                    if listener.protocol == ListenerProtocol::Https { Scheme::Https } else { Scheme::Http };
            }
            redirect.write_location(&place, &mut location);
            Outcome::Answered {
                status: redirect.status,
                location: Some(String::from_utf8_lossy(&location).into_owned()),
                reason: "the rule redirects".to_owned(),
            }
        }
    })
}

/// Where a request goes that a rule sends to an upstream.
fn forwarded(
    asked: Asked<'_>,
    listener: Option<(&ResourceId, Option<&str>)>,
    upstream: &Upstream,
    rule: &Rule,
    rng: &mut impl Rng,
) -> Forwarded {
    let Asked { snapshot, request, seen } = asked;
    let of_call = snapshot.policies.settings(rule, &upstream.settings);
    let timeout = rule.request_timeout(&of_call);
    let call = Call { snapshot, request, rule, seen };
    let hashed = Hashed::of_request(&upstream.settings.balance.hash, request, call.asker());
    let broken = |endpoint: &Endpoint| call.broken_at(Some(rule), upstream, endpoint);
    let balanced = Balanced::of(upstream, seen, hashed, &broken, rng);
    let mut forwarded = sent(snapshot, upstream, (&rule.label, &rule.backends), timeout, balanced);
    forwarded.retries = retries_of(snapshot, upstream, Some(rule), &of_call);
    forwarded.settings = settings(snapshot, upstream, rule, &of_call);
    call.limited(listener, upstream, &mut forwarded);
    call.broken(upstream, listener.is_some(), &mut forwarded, rng);
    forwarded
}

/// Where something goes that a rule sends to an upstream.
pub(super) fn sent(
    snapshot: &Snapshot,
    upstream: &Upstream,
    (label, backends): (&str, &Backends),
    timeout: Option<Duration>,
    balanced: Balanced,
) -> Forwarded {
    let backends = backends.weights().map(|(weight, index)| {
        let upstream = snapshot.upstream(index);
        Backend { service: upstream.label.to_string(), weight, known: upstream.known }
    });
    Forwarded { backends: backends.collect(), ..to(upstream, label, timeout, balanced) }
}

/// Where something goes that is sent to an upstream.
pub(super) fn to(
    upstream: &Upstream,
    label: &str,
    timeout: Option<Duration>,
    balanced: Balanced,
) -> Forwarded {
    let Balanced { hash, endpoints, considered, choice } = balanced;
    Forwarded {
        rule: label.to_owned(),
        settings: Vec::new(),
        limits: Vec::new(),
        arriving: Vec::new(),
        breakers: Vec::new(),
        backends: Vec::new(),
        service: upstream.label.to_string(),
        protocol: ProtocolView::of(upstream),
        request_timeout_ms: timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        retries: upstream.settings.retries,
        balance: upstream.settings.balance.policy.as_str().to_owned(),
        panicking: upstream.is_panicking(),
        panic: panic(upstream),
        hash,
        endpoints,
        unresolved: upstream.unresolved.to_vec(),
        considered,
        choice,
        remarks: Vec::new(),
        refusals: Vec::new(),
        fallbacks: Vec::new(),
    }
}

/// Why health does not count, if it does not.
fn panic(upstream: &Upstream) -> Option<String> {
    let selected = upstream.selected();
    let (well, of) = (selected.healthy, selected.possible);
    let threshold = upstream.settings.balance.select.panic_threshold;
    let are = if well == 1 { "is" } else { "are" };
    selected.panicking.then(|| {
        format!("only {well} of {of} endpoints {are} well, less than panicThreshold ({threshold}) asks for")
    })
}
