//! Services that only proxies know: subsets, and services with others to fail over to.

use weir_control::Settings;
use weir_control::catalog::{Endpoint, EndpointsView, Moment};
use weir_model::ServiceRef;
use weir_model::registry::Health;

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
    /// Judged on an instance as `health/service` shows it; all when absent.
    pub(super) filter: Option<Filter>,
    pub(super) only_passing: bool,
}

impl Derived {
    /// The services whose instances it may have.
    pub(super) fn sources(&self) -> impl Iterator<Item = &ServiceRef> {
        std::iter::once(&self.base).chain(self.tiers.iter().map(|tier| &tier.service))
    }

    /// Its endpoints; whoever asks knows the index.
    pub(super) fn endpoints(&self, moment: &Moment<'_>, settings: &Settings) -> EndpointsView {
        // The document of a service does not reach proxies under this name, so its own endpoints come with the others.
        let mut first = None;
        for tier in &self.tiers {
            let endpoints = tier.endpoints(moment, settings);
            let is_good = endpoints.iter().any(|one| one.health != Health::Critical && one.weight > 0);
            if is_good || first.is_none() {
                first = Some(endpoints);
            }
            if is_good {
                break;
            }
        }
        EndpointsView {
            known: true,
            index: 0,
            position: moment.position(),
            protocol: None,
            endpoints: first.unwrap_or_default(),
        }
    }
}

impl Tier {
    fn endpoints(&self, moment: &Moment<'_>, settings: &Settings) -> Vec<Endpoint> {
        let mut endpoints = moment.endpoints(&self.service).endpoints;
        if let Some(filter) = &self.filter {
            let here = Here { datacenter: &settings.datacenter, node: &settings.node_name };
            let members = moment.members(&self.service);
            // A selector that names nothing takes nobody.
            let taken =
                members.iter().filter(|one| filter.takes(&HealthJson::of(one, here)).unwrap_or(false));
            let taken: std::collections::HashSet<String> = taken
                .map(|member| member.instance.value())
                .map(|instance| format!("{}/{}", instance.node, instance.id))
                .collect();
            endpoints.retain(|endpoint| taken.contains(&endpoint.id));
        }
        if self.only_passing {
            endpoints.retain(|endpoint| endpoint.health == Health::Passing);
        }
        endpoints
    }
}
