//! Services that only proxies know: subsets, and services with others to fail over to.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use weir_control::Settings;
use weir_control::catalog::{Endpoint, EndpointsView, Moment, ServiceMember};
use weir_model::ServiceRef;
use weir_model::registry::{ActiveChecks, Address, Health, Weights};
use weir_model::resource::ServiceSpec;

use crate::consul::filter::Filter;
use crate::consul::views::{HealthJson, Here};

/// A service made of instances of others.
#[derive(Debug)]
pub(super) struct Derived {
    /// The service whose policies hold.
    pub(super) base: ServiceRef,
    /// The first that has an instance that may be called counts; if none has, the first.
    pub(super) tiers: Vec<Tier>,
}

/// Some instances of a service.
#[derive(Debug)]
pub(super) struct Tier {
    pub(super) service: ServiceRef,
    /// Empty for all of the service.
    pub(super) subset: String,
    /// Judged on an instance as `health/service` shows it; all when absent.
    pub(super) filter: Option<Judged>,
    pub(super) only_passing: bool,
}

/// A filter, with what it has come to for instances that have not changed since.
#[derive(Debug)]
pub(super) struct Judged {
    filter: Filter,
    /// How many results are kept.
    room: usize,
    /// Of the last time, by what stands for an instance as it is ([`stamp`]).
    last: Mutex<HashMap<u64, bool>>,
    hashes: RandomState,
}

/// Results of filters that are kept, of all subsets together: 16 MiB or so.
const RESULTS_MAX: usize = 1 << 20;

/// Divides the room for results among all subsets.
pub(super) fn share_room<'a>(all: impl Iterator<Item = &'a mut Derived>) {
    let mut filters: Vec<&mut Judged> =
        all.flat_map(|derived| &mut derived.tiers).filter_map(|tier| tier.filter.as_mut()).collect();
    let room = RESULTS_MAX / filters.len().max(1);
    filters.iter_mut().for_each(|filter| filter.room = room);
}

impl Judged {
    pub(super) fn new(filter: Filter) -> Self {
        Self { filter, room: RESULTS_MAX, last: Mutex::default(), hashes: RandomState::new() }
    }

    /// The instances that the filter takes, in their order. Only those are judged (by `takes`) that are not as they were.
    fn taken<'a, T>(
        &self,
        members: &'a [T],
        stamp: impl Fn(&T) -> u64,
        takes: impl Fn(&Filter, &T) -> bool,
    ) -> Vec<&'a T> {
        let last = std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner));
        let mut next = HashMap::with_capacity(members.len().min(self.room));
        let mut taken = Vec::new();
        for member in members {
            let stamp = stamp(member);
            let is_taken = last.get(&stamp).copied().unwrap_or_else(|| takes(&self.filter, member));
            if next.len() < self.room {
                next.insert(stamp, is_taken);
            }
            if is_taken {
                taken.push(member);
            }
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = next;
        taken
    }

    /// What stands for all that a filter can see of an instance: who it is and when it, its node and (if that is looked at)
    /// its checks last changed.
    fn stamp(&self, epoch: u64, member: &ServiceMember) -> u64 {
        let (node, instance) = (&member.node.node, &member.instance.instance);
        let checks = self.filter.names("Checks").then(|| {
            let checks = member.checks().map(|check| (&check.value.id, check.modify_revision));
            checks.collect::<Vec<_>>()
        });
        let who = (&instance.value.node, &instance.value.id);
        self.hashes.hash_one((epoch, who, instance.modify_revision, node.modify_revision, checks))
    }
}

impl Derived {
    /// The services whose instances it may have.
    pub(super) fn sources(&self) -> impl Iterator<Item = &ServiceRef> {
        std::iter::once(&self.base).chain(self.tiers.iter().map(|tier| &tier.service))
    }

    /// Its endpoints; whoever asks knows the index.
    pub(super) fn endpoints(&self, moment: &Moment<'_>, settings: &Settings) -> EndpointsView {
        let endpoints = self.in_force(moment, settings).1;
        EndpointsView { known: true, index: 0, position: moment.position(), protocol: None, endpoints }
    }

    /// The tier that counts now, and its endpoints; the first one's where no tier has an instance that may be called.
    fn in_force(&self, moment: &Moment<'_>, settings: &Settings) -> (Option<&Tier>, Vec<Endpoint>) {
        // The document of a service does not reach proxies under this name, so its own endpoints come with the others.
        let mut first = None;
        for tier in &self.tiers {
            let endpoints = tier.endpoints(moment, settings);
            if endpoints.iter().any(|one| one.health != Health::Critical && one.weight > 0) {
                return (Some(tier), endpoints);
            }
            first.get_or_insert(endpoints);
        }
        (None, first.unwrap_or_default())
    }

    /// What is called in its place, in words, where it fails over now.
    pub(super) fn failed_over(&self, moment: &Moment<'_>, settings: &Settings) -> Option<String> {
        let (first, others) = self.tiers.split_first().filter(|(_, others)| !others.is_empty())?;
        let why = |of: &str| format!("no instance of {of} is passing or has warnings");
        match self.in_force(moment, settings).0 {
            Some(tier) if std::ptr::eq(tier, first) => None,
            Some(tier) => Some(format!("{}, so {} is called", why(&first.shown()), tier.shown())),
            None => {
                let names: Vec<String> = others.iter().map(Tier::shown).collect();
                Some(format!("{}, nor of {}", why(&first.shown()), names.join(" or ")))
            }
        }
    }
}

/// Says of a written endpoint what callers otherwise read in its service's document: where it is, and how it is checked.
pub(super) fn tell(endpoint: &mut Endpoint, document: &ServiceSpec) {
    let Address { host, port } = &endpoint.address;
    let Some(written) = document.endpoints.iter().find(|one| one.address == *host && one.port == *port)
    else {
        return;
    };
    for (key, value) in [("region", &written.region), ("zone", &written.zone)] {
        value.iter().for_each(|value| drop(endpoint.metadata.insert(key.to_owned(), value.clone())));
    }
    if let Some(check) = written.check.as_ref().or(document.check.as_ref()) {
        endpoint.active_checks = Some(Arc::new(ActiveChecks {
            others: Health::Passing,
            weights: Weights { passing: written.weight, warning: written.weight },
            definitions: vec![check.definition_as_written(host, *port)],
        }));
    }
}

impl Tier {
    /// What people call it.
    fn shown(&self) -> String {
        let Self { service, subset, .. } = self;
        if subset.is_empty() { service.to_string() } else { format!("subset {subset} of {service}") }
    }

    fn endpoints(&self, moment: &Moment<'_>, settings: &Settings) -> Vec<Endpoint> {
        let mut endpoints = moment.endpoints(&self.service).endpoints;
        if let Some(judged) = &self.filter {
            let here = Here { datacenter: &settings.datacenter, node: &settings.node_name };
            let (members, epoch) = (moment.members(&self.service), moment.position().epoch);
            // A selector that names nothing takes nobody.
            let takes = |filter: &Filter, one: &ServiceMember| {
                filter.takes(&HealthJson::of(one, here)).unwrap_or(false)
            };
            let taken = judged.taken(&members, |one| judged.stamp(epoch, one), takes);
            let taken: HashSet<String> = taken
                .into_iter()
                .map(|member| member.instance.value())
                .map(|instance| format!("{}/{}", instance.node, instance.id))
                .collect();
            endpoints.retain(|endpoint| taken.contains(&endpoint.id));
        } else if let Some(document) = moment.resources().service(&self.service) {
            endpoints.iter_mut().filter(|one| one.fixed).for_each(|one| tell(one, document));
        }
        if self.only_passing {
            endpoints.retain(|endpoint| endpoint.health == Health::Passing);
        }
        endpoints
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn only_what_has_changed_is_judged_anew() {
        let judged = Judged::new(Filter::read("Service.Meta.v == v1").unwrap());
        let asked = RefCell::new(Vec::new());
        // Members are numbers that stand for themselves; the even ones are taken.
        let look = |judged: &Judged, members: &[u64]| {
            let takes = |_: &Filter, one: &u64| {
                asked.borrow_mut().push(*one);
                one.is_multiple_of(2)
            };
            let taken: Vec<u64> = judged.taken(members, |one| *one, takes).into_iter().copied().collect();
            (taken, std::mem::take(&mut *asked.borrow_mut()))
        };
        assert_eq!(look(&judged, &[1, 2, 3, 4]), (vec![2, 4], vec![1, 2, 3, 4]));
        assert_eq!(look(&judged, &[1, 2, 3, 4]), (vec![2, 4], vec![]));
        assert_eq!(look(&judged, &[1, 6, 3]), (vec![6], vec![6]));
        assert_eq!(look(&judged, &[1, 2, 3]), (vec![2], vec![2]), "who was gone is judged again");

        let small = Judged { room: 2, ..Judged::new(Filter::read("Service.Port == 1").unwrap()) };
        look(&small, &[1, 2, 3]);
        assert_eq!(look(&small, &[1, 2, 3]), (vec![2], vec![3]), "no more than there is room for");
    }
}
