//! Asks the routing of connections what it would do.

use std::sync::Arc;

use rand::Rng;
use weir_model::resource::ListenerProtocol;

use super::balance::{Balanced, Hashed};
use super::entrance::sent;
use super::request::Speaks;
use super::settings::{retries_of, settings_of_connections};
use super::{Asked, ConsideredRule, Entrance, Forwarded, Outcome, Request, Verdict};
use crate::route::{Backends, RequestView, StreamTable};
use crate::snapshot::{ListenerConfig, MeshLookup, Snapshot, StreamDecision, Upstream};

/// What happens at each entrance that the connection may come in by.
pub(super) fn entrances(asked: Asked<'_>, rng: &mut impl Rng) -> Vec<Entrance> {
    let Asked { snapshot, request, .. } = asked;
    if snapshot.listeners.is_empty() {
        return vec![mesh(asked, rng)];
    }
    let mut entrances: Vec<Entrance> = Vec::new();
    let mut tables: Vec<&Arc<StreamTable>> = Vec::new();
    for listener in meant(snapshot, request) {
        match &listener.streams {
            Some(table) if tables.iter().any(|known| Arc::ptr_eq(known, table)) => {}
            Some(table) => {
                tables.push(table);
                entrances.push(at(asked, listener, table, rng));
            }
            None => entrances.push(closed(&listener.id, None, "requests are expected there, not bytes")),
        }
    }
    if entrances.is_empty() {
        let reason = format!("no listener takes connections by {}", request.speaks.as_str());
        entrances.push(closed("no listener", None, &reason));
    }
    entrances
}

/// The listeners with the port that is named; else those that take connections, in the clear or by TLS as it is asked.
fn meant<'a>(snapshot: &'a Snapshot, request: &Request) -> Vec<&'a ListenerConfig> {
    let on_port = |listener: &&ListenerConfig| Some(listener.addr.port()) == request.port;
    let named: Vec<&ListenerConfig> = snapshot.listeners.iter().filter(on_port).collect();
    if !named.is_empty() {
        return named;
    }
    let is_tls = request.speaks == Speaks::Tls;
    let fits = |listener: &&ListenerConfig| {
        listener.streams.is_some() && (listener.protocol != ListenerProtocol::Tcp) == is_tls
    };
    snapshot.listeners.iter().filter(fits).collect()
}

fn at(asked: Asked<'_>, listener: &ListenerConfig, table: &StreamTable, rng: &mut impl Rng) -> Entrance {
    let request = asked.request;
    let takes_tls = listener.protocol != ListenerProtocol::Tcp;
    if takes_tls && request.speaks == Speaks::Tcp {
        return closed(&listener.id, None, "TLS is expected there: ask for tls://NAME");
    }
    let name = takes_tls.then(|| request.host());
    // Of all listeners of the port, also those that end TLS for requests, the most specific one has the name.
    let owner = listener.routes.section_of(request.host()).map(|at| &listener.routes.sections()[at]);
    let section = table.section_of(name).map(|at| &table.sections()[at]);
    if let Some(owner) = owner
        && section.is_none_or(|section| section.label != owner.label)
    {
        let reason = format!("requests are expected by this name: ask for GET https://{}/", request.host);
        return closed(&listener.id, Some(owner.label.to_string()), &reason);
    }
    let Some(section) = section else {
        let reason = format!("no listener of this port is for the name `{}`", request.host);
        return closed(&listener.id, None, &reason);
    };
    let outcome = outcome(asked, table, name, rng);
    Entrance {
        name: listener.id.to_string(),
        section: Some(section.label.to_string()),
        rules: taken(&outcome, &section.host.to_string()).into_iter().collect(),
        rules_omitted: 0,
        filters: Vec::new(),
        outcome,
    }
}

/// The rule that takes a connection.
fn taken(outcome: &Outcome, host: &str) -> Option<ConsideredRule> {
    let Outcome::Forward(forwarded) = outcome else { return None };
    Some(ConsideredRule {
        rule: forwarded.rule.clone(),
        name: None,
        host: host.to_owned(),
        path: "none: bytes".to_owned(),
        conditions: Vec::new(),
        verdict: Verdict::Won,
        reason: "the most specific route for the name, and the first of its kind".to_owned(),
        config_entries: Vec::new(),
    })
}

fn outcome(asked: Asked<'_>, table: &StreamTable, name: Option<&[u8]>, rng: &mut impl Rng) -> Outcome {
    let Asked { snapshot, request, seen } = asked;
    let reason = match snapshot.stream(table, name, rng) {
        StreamDecision::Forward { upstream, rule } => {
            let hashed = Hashed::of_connection(&upstream.settings.balance.hash, request.source());
            let balanced = Balanced::of(upstream, seen, hashed, &|_| None, rng);
            return carried(snapshot, upstream, (&rule.label, &rule.backends), balanced);
        }
        StreamDecision::NoRoute => "no route is for it".to_owned(),
        StreamDecision::NoBackend { rule, service: Some(service) } => {
            format!("{} sends it to {service}, and there is no such service", rule.label)
        }
        StreamDecision::NoBackend { rule, service: None } => {
            format!("{} names no service with a weight", rule.label)
        }
    };
    Outcome::Closed { reason }
}

/// A connection that is carried to a service.
fn carried(snapshot: &Snapshot, upstream: &Upstream, by: (&str, &Backends), balanced: Balanced) -> Outcome {
    let settings = settings_of_connections(snapshot, upstream);
    let retries = retries_of(snapshot, upstream, None, &upstream.settings);
    let sent = sent(snapshot, upstream, by, None, balanced);
    Outcome::Forward(Box::new(Forwarded { settings, retries, ..sent }))
}

/// A connection that a sidecar's application makes to a service, by a local port or by being redirected.
fn mesh(asked: Asked<'_>, rng: &mut impl Rng) -> Entrance {
    let Asked { snapshot, request, seen } = asked;
    let MeshLookup::Known(service) = snapshot.mesh.lookup(request.host()) else {
        let reason = format!("`{}` is not a service that is known here", request.host);
        return Entrance { outcome: Outcome::PassThrough { reason }, ..closed("mesh", None, "") };
    };
    let outcome = match &service.streams {
        Some(table) => {
            let outcome = outcome(asked, table, None, rng);
            let rules = taken(&outcome, &service.service.to_string()).into_iter().collect();
            return Entrance { outcome, rules, ..closed("mesh", None, "") };
        }
        None => {
            let upstream = snapshot.upstream(service.upstream);
            let label = format!("Service/{}", service.service);
            let to_itself = Backends::new([(1, service.upstream)]);
            let hashed = Hashed::of_connection(&upstream.settings.balance.hash, request.source());
            let balanced = Balanced::of(upstream, seen, hashed, &|_| None, rng);
            carried(snapshot, upstream, (&label, &to_itself), balanced)
        }
    };
    Entrance { outcome, ..closed("mesh", None, "") }
}

fn closed(name: &str, section: Option<String>, reason: &str) -> Entrance {
    Entrance {
        name: name.to_owned(),
        section,
        rules: Vec::new(),
        rules_omitted: 0,
        filters: Vec::new(),
        outcome: Outcome::Closed { reason: reason.to_owned() },
    }
}
