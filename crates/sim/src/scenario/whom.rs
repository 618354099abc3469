//! Who is meant: services that are called, policies' targets, servers that a fault strikes.

use weir_model::document::nearest;
use weir_model::resource::traffic_policy::{BreakerLevel, Hedge, PolicyTarget};

use super::{Action, Clients, Fault, Scenario, Selector, Servers, Service};

impl Service {
    /// Whether it is what a policy is for.
    pub(super) fn is_target(&self, target: &PolicyTarget) -> bool {
        target.kind.as_deref().is_none_or(|kind| kind == "Service") && target.name == self.name
    }

    /// Breakers that there is one of for each instance.
    pub(super) fn instance_breakers(&self) -> usize {
        let breakers = self.traffic_policy.iter().flat_map(|policy| &policy.breakers);
        breakers.filter(|breaker| breaker.level == BreakerLevel::Instance).count()
    }
}

impl Servers {
    /// What the group is called.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("servers")
    }

    /// How many of them are in a zone; all for none.
    fn count_in(&self, zone: Option<&str>) -> u64 {
        let Some(zone) = zone else { return self.count.into() };
        let (count, zones) = (u64::from(self.count), self.zones.len() as u64);
        let places = (0..).zip(&self.zones).filter(|(_, name)| *name == zone);
        // Zones are given out in turn.
        places.map(|(place, _)| count.saturating_sub(place).div_ceil(zones)).sum()
    }
}

impl Selector {
    /// Whether it means servers of this group.
    pub(crate) fn means(&self, service: &str, group: &str) -> bool {
        let said = |said: &Option<String>, is: &str| said.as_deref().is_none_or(|said| said == is);
        said(&self.service, service) && said(&self.group, group)
    }

    /// Of so many that service, group and zone fit: how many are left out first, and how many are taken then.
    pub(crate) fn taken_of(&self, count: u64) -> (u64, u64) {
        let skipped = u64::from(self.skip.unwrap_or(0)).min(count);
        let left = count - skipped;
        let share = self.share.map_or(left, |share| (share * left as f64).round() as u64);
        (skipped, share.min(left).min(self.count.map_or(left, u64::from)))
    }
}

impl Scenario {
    /// What is wrong with a target of a document that is put in force here: nothing, if it is a service of this scenario.
    pub fn misses(&self, target: &PolicyTarget) -> Option<String> {
        if self.services.iter().any(|service| service.is_target(target)) {
            return None;
        }
        let name = &target.name;
        if let Some(kind) = target.kind.as_deref().filter(|kind| *kind != "Service") {
            return Some(format!("{kind} `{name}`, where a scenario has services alone"));
        }
        let names = || self.services.iter().map(|service| service.name.as_str());
        let hint = nearest(name, names()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Some(format!("there is no service `{name}`{hint}"))
    }

    /// Whether some policy asks for second requests.
    pub(crate) fn hedges(&self) -> bool {
        let policies = self.services.iter().filter_map(|service| service.traffic_policy.as_ref());
        policies.filter_map(|policy| policy.hedge.as_ref()).any(Hedge::is_on)
    }

    /// The indices of the services that some clients' proxies call: theirs, and those that its breakers send calls to.
    pub(crate) fn called_by(&self, clients: &Clients) -> Vec<usize> {
        let index = |name: &str| self.services.iter().position(|service| service.name == name);
        let own = match &clients.service {
            Some(name) => index(name),
            None => (!self.services.is_empty()).then_some(0),
        };
        let Some(own) = own else { return Vec::new() };
        let breakers = self.services[own].traffic_policy.iter().flat_map(|policy| &policy.breakers);
        let fallbacks = breakers.filter_map(|breaker| breaker.fallback.as_ref()?.service.as_ref());
        let mut all: Vec<usize> = fallbacks.filter_map(|of| index(&of.name)).chain([own]).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The groups of servers that a selector means, each with the index of its service.
    pub(crate) fn groups_of(&self, selector: &Selector) -> impl Iterator<Item = (usize, &Servers)> {
        self.services.iter().enumerate().flat_map(|(index, service)| {
            let means = |group: &&Servers| selector.means(&service.name, group.name());
            service.servers.iter().filter(means).map(move |group| (index, group))
        })
    }

    /// How many servers a fault strikes.
    pub(super) fn struck_by(&self, fault: &Fault) -> u64 {
        match &fault.action {
            Action::Add(add) => return add.count.into(),
            Action::ControlPlaneGone => return 0,
            _ => {}
        }
        let zone = fault.servers.zone.as_deref();
        let fit = self.groups_of(&fault.servers).map(|(_, group)| group.count_in(zone)).sum();
        fault.servers.taken_of(fit).1
    }

    /// How many servers each service has, those that faults add among them.
    pub(super) fn servers_ever(&self) -> Vec<u64> {
        let there = |service: &Service| service.servers.iter().map(|group| u64::from(group.count)).sum();
        let mut counts: Vec<u64> = self.services.iter().map(there).collect();
        for fault in &self.faults {
            if let (Action::Add(add), Some((service, _))) =
                (&fault.action, self.groups_of(&fault.servers).next())
            {
                counts[service] += u64::from(add.count);
            }
        }
        counts
    }
}
