//! What an entry that was written does not achieve as things stand. It never refuses: what is missing may come later, and what
//! instances say of themselves may change.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use weir_control::Settings;
use weir_control::catalog::{Moment, ServiceMember};
use weir_model::ServiceRef;
use weir_model::resource::Protocol;

use super::entries::Resolver;
use super::graph::{self, Fault};
use super::{Effective, entry_name};
use crate::consul::filter::Filter;
use crate::consul::views::{HealthJson, Here};

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
    content: &serde_json::Value,
) -> Vec<String> {
    let Ok(resolver) = <Resolver as serde::Deserialize>::deserialize(content) else { return Vec::new() };
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
