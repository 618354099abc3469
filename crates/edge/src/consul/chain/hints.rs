//! What an entry that was written does not achieve as things stand. It never refuses: what is missing may come later, and what
//! instances say of themselves may change.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use serde_json::Value;
use weir_control::Settings;
use weir_control::catalog::{Moment, ServiceMember};
use weir_model::ServiceRef;
use weir_model::resource::Protocol;

use super::entries::{Failover, Resolver, Router, Splitter};
use super::graph::{self, Fault};
use super::resolve::{Target, named};
use super::{Effective, entry_name};
use crate::consul::filter::Filter;
use crate::consul::views::{HealthJson, Here};

/// What an entry leads to, by the path of the field that names it.
type Named = Vec<(String, ServiceRef)>;

/// Instances that are judged for hints on one entry, each once for every filter; beyond that there are none.
const JUDGED_MAX: usize = 100_000;

/// What of a service's entries does not fit what instances alone say that they speak. Of the entry that was written, or of
/// all that the service has, where that is one that says what it speaks.
pub(in crate::consul) fn of_protocols(
    moment: &Moment<'_>,
    effective: &Effective,
    kind: &str,
    service: &ServiceRef,
    datacenter: &str,
) -> Vec<String> {
    let room = Cell::new(JUDGED_MAX);
    let known: RefCell<BTreeMap<ServiceRef, Option<Protocol>>> = RefCell::default();
    let told = |service: &ServiceRef| {
        if let Some(known) = known.borrow().get(service) {
            return *known;
        }
        if room.get() == 0 {
            return None;
        }
        let endpoints = moment.endpoints(service).endpoints;
        let left = room.get().checked_sub(endpoints.len());
        room.set(left.unwrap_or(0));
        let stated = endpoints.iter().map(|one| (&one.metadata, one.grpc_check));
        let told = left.and_then(|_| Protocol::of_instances(stated)).map(|told| told.protocol);
        known.borrow_mut().insert(service.clone(), told);
        told
    };
    let faults = |told: &dyn Fn(&ServiceRef) -> Option<Protocol>| -> BTreeSet<Fault> {
        graph::faults_of(service, &effective.kept, &effective.documents, datacenter, told)
    };
    let entry = entry_name(kind, service);
    let plain = faults(&|_| None);
    let seen = faults(&told);
    let new = seen.difference(&plain).filter(|fault| kind == "service-defaults" || fault.entry == entry);
    new.map(|fault| format!("{}: {}, as instances say now", fault.entry, fault.message)).collect()
}

/// Names the filters of a resolver's subsets that take none of the instances that there are.
pub(in crate::consul) fn of_resolver(
    moment: &Moment<'_>,
    settings: &Settings,
    service: &ServiceRef,
    content: &Value,
) -> Vec<String> {
    let Ok(resolver) = Resolver::deserialize(content) else { return Vec::new() };
    let members = moment.members(service);
    if members.is_empty() || members.len().saturating_mul(resolver.subsets.len()) > JUDGED_MAX {
        return Vec::new();
    }
    let here = Here { datacenter: &settings.datacenter, node: &settings.node_name };
    let is_taken =
        |filter: &Filter, one: &ServiceMember| filter.takes(&HealthJson::of(one, here)).unwrap_or(false);
    let mut hints = Vec::new();
    for (name, subset) in resolver.subsets.iter().filter(|(_, subset)| !subset.filter.is_empty()) {
        let Ok(filter) = Filter::read(&subset.filter) else { continue };
        if !members.iter().any(|one| is_taken(&filter, one)) {
            let count = members.len();
            hints.push(format!("Subsets.{name}.Filter takes none of the instances there are now ({count})"));
        }
    }
    hints
}

/// Names what an entry leads to in vain: services that nobody has, and the service itself where another one is to be called.
pub(in crate::consul) fn of_targets(
    moment: &Moment<'_>,
    effective: &Effective,
    kind: &str,
    service: &ServiceRef,
    content: &Value,
    datacenter: &str,
) -> Vec<String> {
    let mut room = JUDGED_MAX;
    let mut known: BTreeMap<ServiceRef, bool> = BTreeMap::new();
    let mut is_there = |to: &ServiceRef| {
        *known.entry(to.clone()).or_insert_with(|| {
            if effective.knows(to) || effective.documents.service(to).is_some() || room == 0 {
                return true;
            }
            let view = moment.endpoints(to);
            room = room.saturating_sub(view.endpoints.len());
            view.known
        })
    };
    let mut hints = Vec::new();
    for (path, to) in leads_to(kind, service, content, datacenter) {
        if to != *service && !is_there(&to) {
            hints.push(format!("{path}: there is no service {to} now"));
        }
    }
    if kind == "service-resolver"
        && let Ok(resolver) = Resolver::deserialize(content)
    {
        hints.extend(to_itself(effective, service, &resolver, datacenter));
    }
    hints
}

/// The services that an entry names, within the datacenter.
fn leads_to(kind: &str, of: &ServiceRef, content: &Value, datacenter: &str) -> Named {
    match kind {
        "service-router" => {
            let Ok(router) = Router::deserialize(content) else { return Vec::new() };
            let destinations = router.routes.iter().map(|route| &route.destination).enumerate();
            let named = destinations.filter_map(|(at, to)| {
                let to = to.as_ref()?;
                let path = format!("Routes[{at}].Destination.Service");
                Some((path, named(&to.namespace, &to.service, of)))
            });
            named.collect()
        }
        "service-splitter" => {
            let Ok(splitter) = Splitter::deserialize(content) else { return Vec::new() };
            let splits = splitter.splits.iter().enumerate();
            splits
                .map(|(at, to)| (format!("Splits[{at}].Service"), named(&to.namespace, &to.service, of)))
                .collect()
        }
        "service-resolver" => {
            let Ok(resolver) = Resolver::deserialize(content) else { return Vec::new() };
            let redirect = resolver.redirect.iter().map(|to| {
                let path = "Redirect.Service".to_owned();
                (path, named(&to.namespace, &to.service, of))
            });
            let spare = resolver.failover.iter().flat_map(|(name, to)| spare(name, to, of, datacenter));
            redirect.chain(spare).collect()
        }
        _ => Vec::new(),
    }
}

/// The services that are called in place of one, or of a subset of it.
fn spare(name: &str, failover: &Failover, of: &ServiceRef, datacenter: &str) -> Named {
    if failover.targets.is_empty() {
        let to = named(&failover.namespace, &failover.service, of);
        let here = failover.is_here(datacenter).then(|| (format!("Failover.{name}.Service"), to));
        return here.into_iter().collect();
    }
    let targets = failover.targets.iter().enumerate().filter(|(_, to)| to.is_here(datacenter));
    targets
        .map(|(at, to)| {
            (format!("Failover.{name}.Targets[{at}].Service"), named(&to.namespace, &to.service, of))
        })
        .collect()
}

/// Where a resolver leads to nothing but the service that it is for. Consul, too, takes that, and goes on without it.
fn to_itself(
    effective: &Effective,
    service: &ServiceRef,
    resolver: &Resolver,
    datacenter: &str,
) -> Vec<String> {
    let mut hints = Vec::new();
    let all = Target::all(service);
    if let Some(to) = &resolver.redirect
        && all.rewritten(&to.namespace, &to.service, &to.service_subset) == all
    {
        hints.push("Redirect leads to the service itself".to_owned());
    }
    let entries = &effective.entries;
    let end = |to: &Target| entries.follow(to, "").unwrap_or_else(|_| to.clone());
    for (name, failover) in &resolver.failover {
        if failover.leads_elsewhere(datacenter) {
            continue;
        }
        let subsets: Vec<&str> = match &**name {
            "*" => resolver.subsets.keys().map(String::as_str).chain([""]).collect(),
            subset => vec![subset],
        };
        let mut of = subsets
            .into_iter()
            .map(|subset| end(&Target { service: service.clone(), subset: subset.to_owned() }));
        if of.all(|of| entries.spare(&of, failover, datacenter).iter().all(|to| end(to) == of)) {
            hints.push(format!("Failover.{name} leads to nothing but the service itself"));
        }
    }
    hints
}
