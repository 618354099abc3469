//! Rules of services and their servers.

use weir_model::names;
use weir_model::validate::WEIGHT_MAX;

use super::Faults;
use crate::scenario::bounds::{AT_ONCE_MAX, FACTOR_MAX, GROUPS_MAX, KNOWN_MAX, SERVERS_MAX};
use crate::scenario::{Scenario, Servers, nanos};

pub(super) fn check(scenario: &Scenario, faults: &mut Faults) {
    for (index, service) in scenario.services.iter().enumerate() {
        let path = format!("services[{index}]");
        // An empty name has been said to be one.
        if !service.name.is_empty()
            && let Err(bad) = names::registered(&service.name)
        {
            faults.add(format!("{path}.name"), bad.problem, bad.expected);
        }
        let path = format!("{path}.servers");
        if service.servers.is_empty() || service.servers.len() > GROUPS_MAX {
            let expected = format!("1 to {GROUPS_MAX}");
            faults.add(&path, format!("{} groups", service.servers.len()), expected);
        }
        faults.unique(&path, service.servers.iter().map(Servers::name));
        for (index, servers) in service.servers.iter().enumerate() {
            group(&format!("{path}[{index}]"), servers, faults);
        }
    }
    memory(scenario, faults);
}

fn group(path: &str, servers: &Servers, faults: &mut Faults) {
    faults.within(&format!("{path}.count"), servers.count, (0, SERVERS_MAX));
    faults.random(&format!("{path}.time"), &servers.time);
    if let Some(cores) = servers.cores {
        faults.within(&format!("{path}.cores"), cores, (1, AT_ONCE_MAX));
    }
    if let Some(max) = servers.queue.max {
        faults.within(&format!("{path}.queue.max"), max, (0, AT_ONCE_MAX));
    }
    if let Some(speed) = servers.speed {
        faults.above_zero(&format!("{path}.speed"), speed, FACTOR_MAX);
    }
    if let Some(contention) = servers.contention {
        faults.number(&format!("{path}.contention"), contention, (0.0, FACTOR_MAX));
    }
    if let Some(weight) = servers.weight {
        faults.within(&format!("{path}.weight"), weight, (0, WEIGHT_MAX));
    }
    if let Some(zone) = servers.zones.iter().position(String::is_empty) {
        faults.add(format!("{path}.zones[{zone}]"), "it is empty", "the name of a zone");
    }
    if let Some(cold) = &servers.cold {
        faults.number(&format!("{path}.cold.factor"), cold.factor, (1.0, FACTOR_MAX));
        if nanos(cold.over) == 0 {
            faults.add(format!("{path}.cold.over"), "no time at all", "a duration above zero");
        }
    }
}

/// What all of it takes.
fn memory(scenario: &Scenario, faults: &mut Faults) {
    let servers = scenario.servers_ever();
    let what = "servers in all, with those that are added";
    faults.in_all("services", servers.iter().sum(), SERVERS_MAX.into(), what);
    let known = scenario.clients.iter().map(|clients| {
        let each = scenario.called_by(clients).into_iter().map(|service| {
            let breakers = scenario.services[service].instance_breakers() as u64;
            servers[service].saturating_mul(1 + breakers)
        });
        each.sum::<u64>().saturating_mul(clients.proxies.unwrap_or(1).into())
    });
    let known = known.fold(0, u64::saturating_add);
    faults.in_all("clients", known, KNOWN_MAX, "servers that proxies know, each counted for each proxy");
}
