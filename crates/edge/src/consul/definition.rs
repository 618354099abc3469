//! Service and check definitions as agents take them, turned into the model's instances and checks.

mod look;

use serde_json::{Map, Value};
use weir_model::registry::{Address, Check, CheckDefinition, CheckKind, Health, Instance, Runner, Weights};
use weir_model::units::Span;

use super::decode::{Fields, Held, Object, View};
use super::refusal::Refusal;

/// The key in `TaggedAddresses` under which an instance names its sidecar.
pub(super) const INBOUND_KEY: &str = "weir-inbound";

/// Shortest interval of a check; shorter ones are raised to it.
const INTERVAL_MIN: Span = Span(std::time::Duration::from_millis(100));
/// How often an alias looks at what it follows.
const ALIAS_INTERVAL: Span = Span(std::time::Duration::from_secs(1));
/// How long a program may take when nothing is said.
const SCRIPT_TIMEOUT_DEFAULT: Span = Span(std::time::Duration::from_secs(30));
/// How long a run of another check may take when nothing is said.
const TIMEOUT_DEFAULT: Span = Span(std::time::Duration::from_secs(10));
/// Shortest `DeregisterCriticalServiceAfter`; shorter ones are raised to it, as Consul does.
const DEREGISTER_AFTER_MIN: Span = Span(std::time::Duration::from_secs(60));

/// Fields that name a kind of check which is known but not carried out, and what to say.
const NOT_RUN: [(&str, &str); 3] = [
    ("TCPUseTLS", "TCP checks over TLS are not available yet"),
    ("GRPCUseTLS", "gRPC checks over TLS are not available yet"),
    (
        "DockerContainerID",
        "checks within containers are not available: Args can run `docker exec`, where scripts are enabled",
    ),
];

/// Where a definition is registered.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) namespace: &'a str,
    pub(super) node: &'a str,
    /// Whether checks may be programs.
    pub(super) scripts: bool,
}

/// Reads the body of `agent/service/register`.
pub(super) fn service(map: &Map<String, Value>, place: Place<'_>) -> Result<(Instance, Vec<Check>), Refusal> {
    let fields = Fields::root(map);
    let instance = instance(fields, "Name", place)?;
    let mut definitions = Vec::new();
    if let Some(check) = fields.map("Check")? {
        definitions.push(("Check".to_owned(), check));
    }
    definitions.extend(fields.maps("Checks")?.into_iter().map(|(i, check)| (format!("Checks[{i}]"), check)));
    // An empty object is what some clients send for "no check".
    definitions.retain(|(_, check)| check.values().any(|value| !value.is_null()));
    let several = definitions.len() > 1;
    let mut checks = Vec::with_capacity(definitions.len());
    for (i, (path, map)) in definitions.into_iter().enumerate() {
        let mut check = check(Fields::at(map, &path), place)?;
        if check.id.is_empty() {
            check.id = format!("service:{}", instance.id);
            if several {
                check.id.push_str(&format!(":{}", i + 1));
            }
        }
        if check.name.is_empty() {
            check.name = format!("Service '{}' check", instance.service);
        }
        if checks.iter().any(|known: &Check| known.id == check.id) {
            return Err(Refusal::bad(format!("Invalid check: {path}.CheckID: {:?} is used twice", check.id)));
        }
        check.instance = Some(instance.id.clone());
        check.service.clone_from(&instance.service);
        checks.push(check);
    }
    Ok((instance, checks))
}

/// Reads an instance; the service's name stands in `name_field` (`Name` for agents, `Service` in the catalog).
pub(super) fn instance<O: Object>(
    fields: Fields<'_, O>,
    name_field: &str,
    place: Place<'_>,
) -> Result<Instance, Refusal> {
    let service = fields.text(name_field)?;
    if service.is_empty() {
        return Err(Refusal::bad("Missing service name"));
    }
    let mut id = fields.text("ID")?;
    if id.is_empty() {
        id.clone_from(&service);
    }
    refuse_mesh(fields)?;
    let address = fields.text("Address")?;
    if address == "0.0.0.0" || address == "::" || address == "[::]" {
        return Err(Refusal::bad(
            "Invalid service address: an address to connect to is needed, not a wildcard",
        ));
    }
    let mut tagged_addresses = std::collections::BTreeMap::new();
    let mut inbound = None;
    for (key, tagged) in fields.map("TaggedAddresses")?.into_iter().flat_map(Object::fields) {
        let path = fields.path_of(&format!("TaggedAddresses.{key}"));
        let View::Object(tagged) = tagged.view() else {
            return Err(Refusal::bad(format!(
                "Request decode failed: {path}: expected an object with Address and Port"
            )));
        };
        let tagged = Fields::at(tagged, &path);
        let address = Address { host: tagged.text("Address")?, port: tagged.port("Port")? };
        if key == INBOUND_KEY {
            inbound = Some(address);
        } else {
            tagged_addresses.insert(key.to_owned(), address);
        }
    }
    Ok(Instance {
        namespace: place.namespace.to_owned(),
        node: place.node.to_owned(),
        id,
        service,
        address,
        port: fields.port("Port")?,
        inbound,
        tags: fields.texts("Tags")?,
        metadata: fields.text_map("Meta")?,
        tagged_addresses,
        weights: weights(fields)?,
        enable_tag_override: fields.flag("EnableTagOverride")?,
        maintenance: None,
    })
}

/// Refuses what would change how the service is reached: to take it and not do it would be worse than to refuse.
fn refuse_mesh<O: Object>(fields: Fields<'_, O>) -> Result<(), Refusal> {
    let kind = fields.text("Kind")?;
    if !kind.is_empty() && kind != "typical" {
        return Err(Refusal::bad(format!("Kind: {kind:?} is not supported, only ordinary services are")));
    }
    if let Some(connect) = fields.map("Connect")? {
        let connect = Fields::at(connect, "Connect");
        for name in ["SidecarService", "Native"] {
            if connect.says_something(name) || connect.map(name).is_ok_and(|map| map.is_some()) {
                return Err(Refusal::bad(format!(
                    "Connect.{name}: not supported; start a sidecar and name it as TaggedAddresses.{INBOUND_KEY}"
                )));
            }
        }
    }
    if fields.says_something("SocketPath") {
        return Err(Refusal::bad("SocketPath: not supported, use Address and Port"));
    }
    if let Some(proxy) = fields.map("Proxy")? {
        let proxy = Fields::at(proxy, "Proxy");
        if proxy.says_something("DestinationServiceName") || proxy.says_something("Upstreams") {
            return Err(Refusal::bad("Proxy: not supported, only ordinary services are"));
        }
    }
    Ok(())
}

fn weights<O: Object>(fields: Fields<'_, O>) -> Result<Weights, Refusal> {
    let Some(map) = fields.map("Weights")? else { return Ok(Weights::default()) };
    let path = fields.path_of("Weights");
    let weights = Fields::at(map, &path);
    let max = 65_535;
    let passing = weights.whole("Passing", max)?.unwrap_or(1);
    if passing == 0 {
        return Err(Refusal::bad("Invalid Weights: Passing must be greater than 0"));
    }
    Ok(Weights { passing: passing as u32, warning: weights.whole("Warning", max)?.unwrap_or(1) as u32 })
}

/// Reads one check definition. Id, name and what it is about are left to the caller where they are absent.
pub(super) fn check(fields: Fields<'_>, place: Place<'_>) -> Result<Check, Refusal> {
    for (name, reason) in NOT_RUN {
        if fields.says_something(name) {
            return Err(invalid(&format!(
                "{reason} ({}); use ttl, http, tcp, udp, grpc or h2ping",
                fields.path_of(name)
            )));
        }
    }
    let mut id = fields.text("CheckID")?;
    if id.is_empty() {
        id = fields.text("ID")?;
    }
    let health = match fields.text("Status")?.as_str() {
        "" => Health::Critical,
        text => health(text).ok_or_else(|| Refusal::bad("Bad check status"))?,
    };
    Ok(Check {
        namespace: place.namespace.to_owned(),
        node: place.node.to_owned(),
        id,
        name: fields.text("Name")?,
        instance: None,
        service: String::new(),
        health,
        output: String::new(),
        notes: fields.text("Notes")?,
        definition: Some(check_definition(fields, place.scripts)?),
        runner: Runner::Server,
    })
}

fn check_definition(fields: Fields<'_>, scripts: bool) -> Result<CheckDefinition, Refusal> {
    let (ttl, interval) = (fields.span(&["TTL"])?, fields.span(&["Interval"])?);
    let looks = look::kind(fields, scripts)?;
    if ttl.is_some() && (interval.is_some() || looks.is_some()) {
        return Err(invalid("Interval and TTL cannot both be specified"));
    }
    let mut timeout = fields.span(&["Timeout"])?;
    let (kind, interval) = match looks {
        None => (CheckKind::Ttl, ttl.ok_or_else(|| invalid("TTL must be > 0 for TTL checks"))?),
        Some(kind @ CheckKind::Alias { .. }) => (kind, ALIAS_INTERVAL),
        Some(kind) => {
            if matches!(kind, CheckKind::Script { .. }) {
                timeout.get_or_insert(SCRIPT_TIMEOUT_DEFAULT);
            }
            let missing =
                "Interval must be > 0 for script, HTTP, H2PING, TCP, UDP, OSService and gRPC checks";
            (kind, interval.ok_or_else(|| invalid(missing))?.max(INTERVAL_MIN))
        }
    };
    let count = |name| fields.whole(name, u64::from(u16::MAX)).map(|n| n.unwrap_or(0) as u32);
    Ok(CheckDefinition {
        kind,
        interval,
        timeout: timeout.unwrap_or(TIMEOUT_DEFAULT),
        successes_before_passing: count("SuccessBeforePassing")?,
        failures_before_critical: count("FailuresBeforeCritical")?,
        failures_before_warning: count("FailuresBeforeWarning")?,
        deregister_after: fields
            .span(&["DeregisterCriticalServiceAfter"])?
            .map(|after| after.max(DEREGISTER_AFTER_MIN)),
    })
}

fn invalid(reason: &str) -> Refusal {
    Refusal::bad(format!("Invalid check: {reason}"))
}

/// A status by its name.
pub(super) fn health(text: &str) -> Option<Health> {
    [Health::Passing, Health::Warning, Health::Critical].into_iter().find(|health| health.as_str() == text)
}
