//! Rules of faults: when they happen, to whom, and what.

use super::Faults;
use crate::scenario::bounds::{FACTOR_MAX, FAULTS_MAX, SERVERS_MAX, STRUCK_MAX};
use crate::scenario::{Action, Fault, Scenario, Selector, Servers};

pub(super) fn check(scenario: &Scenario, faults: &mut Faults) {
    let count = scenario.faults.len();
    if count > FAULTS_MAX {
        return faults.add("faults", format!("{count} of them"), format!("at most {FAULTS_MAX}"));
    }
    let mut struck = 0u64;
    for (index, of) in scenario.faults.iter().enumerate() {
        fault(&format!("faults[{index}]"), of, scenario, faults);
        struck += scenario.struck_by(of);
    }
    faults.in_all("faults", struck, STRUCK_MAX, "servers struck by all of them together");
}

fn fault(path: &str, fault: &Fault, scenario: &Scenario, faults: &mut Faults) {
    if fault.at >= scenario.duration {
        faults.add(format!("{path}.at"), "it happens when all is over", "less than `duration`");
    }
    if fault.lasts.is_some_and(|lasts| lasts.0.is_zero()) {
        let expected = "a duration above zero; leave it out for good";
        faults.add(format!("{path}.for"), "it is over at once", expected);
    }
    if fault.action == Action::ControlPlaneGone {
        if fault.servers != Selector::default() {
            faults.add(
                format!("{path}.servers"),
                "it happens to no servers",
                "no `servers` with `controlPlaneGone`",
            );
        }
    } else if selector(&format!("{path}.servers"), fault, scenario, faults) {
        whom(path, fault, scenario, faults);
    }
    for (at, name) in fault.clients.iter().enumerate() {
        if fault.clients[..at].contains(name) {
            faults.add(
                format!("{path}.clients[{at}]"),
                format!("`{name}` is there twice"),
                "names that differ",
            );
        }
        let known = scenario.clients.iter().map(|clients| clients.name.as_str());
        faults.known(&format!("{path}.clients[{at}]"), name, known);
    }
    let is_seen = matches!(fault.action, Action::Partition | Action::Delay(_) | Action::ControlPlaneGone);
    if !fault.clients.is_empty() && !is_seen {
        let expected = "`clients` only with `partition`, `delay` and `controlPlaneGone`";
        faults.add(format!("{path}.clients"), "it has no meaning here", expected);
    }
    action(path, fault, faults);
}

fn action(path: &str, fault: &Fault, faults: &mut Faults) {
    let at = |field: &str| format!("{path}.do.{field}");
    match &fault.action {
        Action::Slow(factor) => faults.above_zero(&at("slow"), *factor, FACTOR_MAX),
        Action::Fail(of) => {
            faults.number(&at("fail.ratio"), of.ratio, (0.0, 1.0));
            if let Some(status) = of.status {
                faults.within(&at("fail.status"), status, (400, 599));
            }
            if let Some(time) = &of.time {
                faults.random(&at("fail.time"), time);
            }
        }
        Action::Delay(delay) => faults.random(&at("delay"), delay),
        Action::Add(add) => faults.within(&at("add.count"), add.count, (1, SERVERS_MAX)),
        Action::Restart(_) if fault.lasts.is_some() => {
            faults.add(format!("{path}.for"), "it has no meaning here", "no `for` with `restart`");
        }
        Action::Pause
        | Action::Kill
        | Action::Drain
        | Action::Partition
        | Action::Restart(_)
        | Action::ControlPlaneGone => {}
    }
}

/// Whether all names are known.
fn selector(path: &str, fault: &Fault, scenario: &Scenario, faults: &mut Faults) -> bool {
    let selector = &fault.servers;
    let before = faults.0.len();
    if let Some(name) = &selector.service {
        let known = scenario.services.iter().map(|service| service.name.as_str());
        faults.known(&format!("{path}.service"), name, known);
    }
    let groups = || scenario.services.iter().flat_map(|service| &service.servers);
    if let Some(name) = &selector.group {
        faults.known(&format!("{path}.group"), name, groups().map(Servers::name));
    }
    if let Some(zone) = &selector.zone {
        let known = groups().flat_map(|servers| servers.zones.iter().map(String::as_str));
        faults.known(&format!("{path}.zone"), zone, known);
    }
    if let Some(count) = selector.count {
        faults.within(&format!("{path}.count"), count, (1, SERVERS_MAX));
    }
    if let Some(skip) = selector.skip {
        faults.within(&format!("{path}.skip"), skip, (0, SERVERS_MAX));
    }
    if let Some(share) = selector.share {
        faults.number(&format!("{path}.share"), share, (0.0, 1.0));
    }
    faults.0.len() == before
}

/// As many as are asked for must be there.
fn enough(path: &str, fault: &Fault, scenario: &Scenario, faults: &mut Faults) {
    let Some(count) = fault.servers.count else { return };
    let all =
        Fault { servers: Selector { count: None, share: None, ..fault.servers.clone() }, ..fault.clone() };
    let there = scenario.struck_by(&all);
    if there > 0 && u64::from(count) > there {
        let are = if there == 1 { "there is 1".to_owned() } else { format!("there are {there}") };
        let message = format!("{count} servers, where {are} to choose from at the beginning");
        faults.add(format!("{path}.count"), message, format!("at most {there}"));
    }
}

/// Somebody must be meant; of groups that servers are added to, one.
fn whom(path: &str, fault: &Fault, scenario: &Scenario, faults: &mut Faults) {
    let path = format!("{path}.servers");
    let selector = &fault.servers;
    if !matches!(fault.action, Action::Add(_)) {
        if scenario.struck_by(fault) == 0 {
            faults.add(
                &path,
                "no server is meant",
                "a selection of at least one that is there at the beginning",
            );
        }
        return enough(&path, fault, scenario, faults);
    }
    let groups = scenario.groups_of(selector).count();
    if groups != 1 {
        let message = if groups == 0 { "no group is meant" } else { "several groups could be meant" };
        faults.add(&path, message, "`service` and `group` of one to which servers are added");
    }
    let others = [
        ("zone", selector.zone.is_some()),
        ("count", selector.count.is_some()),
        ("share", selector.share.is_some()),
        ("skip", selector.skip.is_some()),
    ];
    for (field, _) in others.into_iter().filter(|(_, is_there)| *is_there) {
        let expected = "with `add` only `service` and `group`";
        faults.add(format!("{path}.{field}"), "it has no meaning here", expected);
    }
}
