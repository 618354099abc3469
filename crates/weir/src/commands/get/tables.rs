//! The tables of `weir get`, one for each view.

use std::time::Duration;

use weir_api::native::{
    ChangeSetView, ClaimView, InstanceView, LockView, NodeView, ProxyView, ReplicaView, ResourceView,
    RouteView, ServiceView, SessionView,
};
use weir_model::registry::{CheckKind, Health, Instance};

use super::written;
use crate::output::Table;

pub(super) fn services(services: &[ServiceView]) -> Table {
    let columns = [
        "NAMESPACE",
        "SERVICE",
        "PROTOCOL",
        "BY",
        "PASSING",
        "WARNING",
        "CRITICAL",
        "STATIC",
        "ENTRIES",
        "TAGS",
    ];
    let mut table = Table::new(&columns);
    for service in services {
        table.row([
            service.namespace.clone(),
            service.name.clone(),
            service.protocol.clone(),
            service.protocol_from.clone().unwrap_or_else(|| "default".to_owned()),
            service.instances.passing.to_string(),
            service.instances.warning.to_string(),
            service.instances.critical.to_string(),
            service.static_endpoints.to_string(),
            service.config_entries.join(","),
            service.tags.join(","),
        ]);
    }
    table
}

pub(super) fn instances(instances: &[InstanceView]) -> Table {
    let mut table =
        Table::new(&["NAMESPACE", "SERVICE", "INSTANCE", "NODE", "ADDRESS", "INBOUND", "HEALTH", "WHY"]);
    for view in instances {
        let Instance { namespace, service, id, node, address, port, inbound, maintenance, .. } =
            &view.instance;
        let is_written = node == written::NO_NODE;
        let why = match maintenance {
            Some(_) => why(view),
            None if is_written && view.checks.is_empty() => "not checked".to_owned(),
            None if view.health == Health::Passing && !is_written => String::new(),
            None => why(view),
        };
        table.row([
            namespace.clone(),
            service.clone(),
            id.clone(),
            if is_written { "(document)".to_owned() } else { node.clone() },
            host_port(address, *port),
            inbound.as_ref().map_or_else(String::new, |inbound| host_port(&inbound.host, inbound.port)),
            view.health.as_str().to_owned(),
            why,
        ]);
    }
    table
}

/// One row for each claim: those that hold the lock, then those that wait.
pub(super) fn locks(locks: &[LockView]) -> Table {
    let headings = ["NAMESPACE", "LOCK", "STATE", "HOLDER", "AGE", "ENDS IN", "TOKEN"];
    let mut table = Table::new(&headings);
    for lock in locks {
        for claim in lock.holders.iter().chain(&lock.waiters) {
            let holder = if claim.holder.is_empty() { &claim.claim } else { &claim.holder };
            table.row([
                lock.namespace.clone(),
                lock.name.clone(),
                claim_state(lock, claim),
                holder.clone(),
                ago(Duration::from_millis(claim.held_ms.unwrap_or(claim.age_ms))),
                claim.remaining_ms.map_or_else(String::new, |left| ago(Duration::from_millis(left))),
                claim.token.clone(),
            ]);
        }
    }
    table
}

/// The servers that share a store, with a mark at the one that answers.
pub(super) fn replicas(replicas: &[ReplicaView]) -> Table {
    let mut table = Table::new(&["REPLICA", "HTTP", "GRPC", "VERSION", "ANSWERS"]);
    for replica in replicas {
        table.row([
            replica.id.clone(),
            replica.http.clone(),
            replica.grpc.clone(),
            replica.version.clone(),
            if replica.answers { "*".to_owned() } else { String::new() },
        ]);
    }
    table
}

/// Consul's sessions, with how many keys each holds.
pub(super) fn sessions(sessions: &[SessionView]) -> Table {
    let mut table = Table::new(&["NAMESPACE", "SESSION", "NAME", "NODE", "TTL", "ENDS IN", "KEYS"]);
    for session in sessions {
        table.row([
            session.namespace.clone(),
            session.id.clone(),
            session.name.clone(),
            session.node.clone(),
            session.ttl.map_or_else(String::new, |ttl| ttl.to_string()),
            session.remaining_ms.map_or_else(String::new, |left| ago(Duration::from_millis(left))),
            session.keys.to_string(),
        ]);
    }
    table
}

/// Where a claim stands; of a semaphore also how many may hold it.
fn claim_state(lock: &LockView, claim: &ClaimView) -> String {
    match (claim.place, lock.count) {
        (0, 1) => "held".to_owned(),
        (0, count) => format!("held (1 of {count})"),
        (place, _) => format!("waits at {place}"),
    }
}

/// Why an instance is not well: maintenance, what its worst checks say, or which of them has said nothing yet.
pub(crate) fn why(view: &InstanceView) -> String {
    if let Some(reason) = &view.instance.maintenance {
        return format!("maintenance: {reason}");
    }
    if let Some(silent) = view.agent_silent_ms {
        let silent = ago(Duration::from_millis(silent));
        return format!("the agent of {} has been silent for {silent}", view.instance.node);
    }
    let worst = || view.checks.iter().filter(|check| check.health == view.health);
    let Some(check) = worst().find(|check| !check.output.is_empty()).or_else(|| worst().next()) else {
        return String::new();
    };
    let name = if check.name.is_empty() { &check.id } else { &check.name };
    // Several instances fail with their node, and nobody finds the reason at the instance.
    let of_node =
        if check.instance.is_none() { format!("node {}: {name}", check.node) } else { String::new() };
    let said = match check.definition.as_ref().map(|definition| &definition.kind) {
        _ if !check.output.is_empty() => check.output.clone(),
        Some(CheckKind::Ttl) if check.health == Health::Critical => {
            "ttl check: reported critical without a note, or not heard of yet".to_owned()
        }
        Some(CheckKind::Ttl) => format!("ttl check: reported {} without a note", check.health.as_str()),
        Some(_) if of_node.is_empty() => format!("{name}: no result yet"),
        Some(_) => "no result yet".to_owned(),
        None if of_node.is_empty() => name.clone(),
        None => return first_line(&of_node),
    };
    first_line(&if of_node.is_empty() { said } else { format!("{of_node}: {said}") })
}

pub(super) fn nodes(nodes: &[NodeView]) -> Table {
    let mut table =
        Table::new(&["NODE", "ADDRESS", "HEALTH", "PASSING", "WARNING", "CRITICAL", "HEARTBEATS"]);
    for node in nodes {
        table.row([
            node.name.clone(),
            node.address.clone(),
            node.health.as_str().to_owned(),
            node.instances.passing.to_string(),
            node.instances.warning.to_string(),
            node.instances.critical.to_string(),
            node.heartbeats.as_str().to_owned(),
        ]);
    }
    table
}

pub(super) fn proxies(proxies: &[ProxyView]) -> Table {
    let mut table =
        Table::new(&["PROXY", "ROLE", "SERVES", "NODE", "APPLIED", "STATE", "CONNECTED", "ADMIN"]);
    for proxy in proxies {
        let serves = if proxy.service.is_empty() { proxy.gateways.join(",") } else { proxy.service.clone() };
        let state = match proxy.rejections.first() {
            Some(first) => {
                format!("refused {}: {}: {}", first.resource, first.path, first_line(&first.reason))
            }
            None if proxy.in_sync => "in sync".to_owned(),
            None => format!("behind, sent {}", proxy.sent.revision),
        };
        table.row([
            proxy.id.clone(),
            proxy.role.clone(),
            serves,
            proxy.node.clone(),
            // The revision up to which all that concerns it is applied: a proxy in sync is as new as the server.
            if proxy.in_sync { proxy.current.revision } else { proxy.applied.revision }.to_string(),
            state,
            ago(Duration::from_millis(proxy.connected_ms)),
            proxy.admin.clone(),
        ]);
    }
    table
}

pub(super) fn routes(routes: &[RouteView]) -> Table {
    let columns = ["NAMESPACE", "KIND", "ROUTE", "RULE", "PARENTS", "HOSTS", "MATCHES", "BACKENDS", "BY"];
    let mut table = Table::new(&columns);
    for view in routes {
        let or_any = |list: &[String]| if list.is_empty() { "any".to_owned() } else { list.join(" | ") };
        table.row([
            view.route.namespace.clone(),
            view.route.kind.to_string(),
            view.route.name.clone(),
            view.rule.clone(),
            view.parents.join(","),
            or_any(&view.hostnames),
            or_any(&view.matches),
            backends(view),
            by(view),
        ]);
    }
    table
}

/// The services that a rule leads to, with the weights that its document gives them. What config entries lead to has its part in
/// a hundred, as these say it.
fn backends(view: &RouteView) -> String {
    let all: u64 = view.backends.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let by_entries = all > 0 && (view.made || !view.config_entries.is_empty());
    let of = |(name, weight): &(String, u32)| {
        if !by_entries {
            return format!("{name}:{weight}");
        }
        let part = f64::from(*weight) / all as f64 * 100.0;
        let digits = format!("{part:.4}");
        format!("{name}:{}", digits.trim_end_matches('0').trim_end_matches('.'))
    };
    view.backends.iter().map(of).collect::<Vec<_>>().join(" ")
}

/// What a rule leads where it does by: a document, config entries, or both.
fn by(view: &RouteView) -> String {
    let document = (!view.made).then_some("document");
    let entries = view.config_entries.iter().map(String::as_str);
    document.into_iter().chain(entries).collect::<Vec<_>>().join(",")
}

pub(super) fn changes(changes: &[ChangeSetView]) -> Table {
    let mut table = Table::new(&["CHANGE", "WHEN", "BY", "WHAT", "MESSAGE"]);
    for change in changes {
        let counts: Vec<String> =
            change.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let age = weir_age(change.time_ms);
        table.row([
            format!("{}{}", change.number, if change.head { " (in force)" } else { "" }),
            format!("{age} ago"),
            change.author.clone(),
            counts.join(", "),
            first_line(&change.message),
        ]);
    }
    table
}

pub(super) fn resources(resources: &[ResourceView]) -> Table {
    let mut table = Table::new(&["KIND", "NAMESPACE", "NAME", "CHANGE"]);
    for view in resources {
        table.row([
            view.resource.kind().to_string(),
            view.resource.metadata.namespace.clone(),
            view.resource.metadata.name.clone(),
            view.revision.to_string(),
        ]);
    }
    table
}

fn weir_age(time_ms: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    ago(now.saturating_sub(Duration::from_millis(time_ms)))
}

/// A length of time in its two largest units.
fn ago(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Port 0 stands for none: an instance may be registered without.
fn host_port(host: &str, port: u16) -> String {
    if port == 0 {
        return host.to_owned();
    }
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_model::registry::{Check, CheckDefinition};
    use weir_model::units::Span;

    #[test]
    fn times_are_shown_in_two_units() {
        let check = |seconds, shown: &str| assert_eq!(ago(Duration::from_secs(seconds)), shown);
        check(5, "5s");
        check(65, "1m5s");
        check(7260, "2h1m");
        check(90_000, "1d1h");
    }

    #[test]
    fn what_entries_lead_to_has_its_part_in_a_hundred() {
        let check = |made: bool, entries: &[&str], weights: &[u32], expect: &str| {
            let view = RouteView {
                route: weir_model::ResourceId::new(weir_model::Kind::HttpRoute, "default", "web"),
                parents: Vec::new(),
                hostnames: Vec::new(),
                rule: "0".to_owned(),
                matches: Vec::new(),
                backends: weights.iter().map(|weight| ("a".to_owned(), *weight)).collect(),
                made,
                config_entries: entries.iter().map(|&entry| entry.to_owned()).collect(),
            };
            assert_eq!(backends(&view), expect);
        };
        check(true, &["service-splitter/web"], &[900_000, 100_000], "a:90 a:10");
        check(true, &[], &[1_000_000], "a:100");
        check(false, &["service-splitter/web"], &[995_000, 5_000, 0], "a:99.5 a:0.5 a:0");
        check(true, &[], &[999_999, 1], "a:99.9999 a:0.0001");
        check(false, &[], &[3, 1], "a:3 a:1");
        check(true, &[], &[0], "a:0");
    }

    #[test]
    fn an_ipv6_address_gets_brackets() {
        assert_eq!(host_port("::1", 80), "[::1]:80");
        assert_eq!(host_port("10.0.0.1", 80), "10.0.0.1:80");
    }

    #[test]
    fn an_address_without_a_port_stands_alone() {
        assert_eq!(host_port("127.0.0.1", 0), "127.0.0.1");
        assert_eq!(host_port("::1", 0), "::1");
    }

    #[test]
    fn an_instance_that_is_not_well_says_why() {
        let check = |kind: Option<CheckKind>, output: &str| Check {
            name: "alive".to_owned(),
            instance: Some("web".to_owned()),
            output: output.to_owned(),
            definition: kind.map(|kind| CheckDefinition {
                kind,
                interval: Span::default(),
                timeout: Span::default(),
                successes_before_passing: 0,
                failures_before_critical: 0,
                failures_before_warning: 0,
                deregister_after: None,
            }),
            ..Check::default()
        };
        let why = |checks: Vec<Check>| {
            let (health, instance) = (Health::Critical, Instance::default());
            why(&InstanceView { health, instance, checks, agent_silent_ms: None })
        };
        let silent = InstanceView {
            health: Health::Critical,
            instance: Instance { node: "web-1".to_owned(), ..Instance::default() },
            checks: vec![check(Some(CheckKind::Ttl), "TTL expired")],
            agent_silent_ms: Some(45_300),
        };
        assert_eq!(super::why(&silent), "the agent of web-1 has been silent for 45s");
        let tcp = || Some(CheckKind::Tcp { address: "127.0.0.1:1".to_owned() });
        let unsaid = "ttl check: reported critical without a note, or not heard of yet";
        assert_eq!(why(vec![check(Some(CheckKind::Ttl), "")]), unsaid);
        let warns = Check { health: Health::Warning, ..check(Some(CheckKind::Ttl), "") };
        let instance = Instance::default();
        let view =
            InstanceView { health: Health::Warning, instance, checks: vec![warns], agent_silent_ms: None };
        assert_eq!(super::why(&view), "ttl check: reported warning without a note");
        assert_eq!(why(vec![check(tcp(), "")]), "alive: no result yet");
        assert_eq!(why(vec![check(None, "")]), "alive");
        assert_eq!(why(vec![check(Some(CheckKind::Ttl), ""), check(tcp(), "refused\nmore")]), "refused");
        assert_eq!(why(Vec::new()), "");
        let of_node =
            |kind, output| vec![Check { node: "web-1".to_owned(), instance: None, ..check(kind, output) }];
        assert_eq!(why(of_node(tcp(), "full\nmore")), "node web-1: alive: full");
        assert_eq!(why(of_node(tcp(), "")), "node web-1: alive: no result yet");
        assert_eq!(why(of_node(None, "")), "node web-1: alive");
    }
}
