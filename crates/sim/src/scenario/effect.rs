//! What is legal and most likely not what was meant: what may stand in a scenario and counts for nothing; and what people are told of
//! documents when they apply them.

use weir_model::resource::TrafficPolicySpec;
use weir_model::resource::key::{KeyKind, KeyPart};
use weir_model::resource::rate_limit::{Priority, RateLimitSpec};
use weir_model::resource::traffic_policy::PolicyTarget;
use weir_model::units::Span;

use super::{Action, Clients, Field, Scenario, Service, Values, check};

impl Scenario {
    /// What in it has no effect, here or anywhere: `path: reason`.
    pub fn remarks(&self) -> Vec<String> {
        let mut found: Vec<String> = check::hints(self).iter().map(ToString::to_string).collect();
        self.of_times(&mut found);
        for (index, clients) in self.clients.iter().enumerate() {
            of_arrivals(&format!("clients[{index}].arrivals"), clients, &mut found);
        }
        for index in 0..self.services.len() {
            self.of_service(index, &mut found);
        }
        found
    }

    fn of_service(&self, index: usize, found: &mut Vec<String>) {
        let (service, path) = (&self.services[index], format!("services[{index}]"));
        let is_called = |clients: &&Clients| self.called_by(clients).contains(&index);
        let callers: Vec<&Clients> = self.clients.iter().filter(is_called).collect();
        if callers.is_empty() {
            found.push(format!("{path}: nobody calls it, so nothing of it counts"));
        }
        let is_ever_gone = self.faults.iter().any(|fault| fault.action == Action::ControlPlaneGone);
        let here = Here { service, callers, is_ever_gone };
        if let Some(policy) = &service.traffic_policy {
            here.of_policy(&format!("{path}.trafficPolicy"), policy, found);
        }
        here.of_limits(&format!("{path}.rateLimits"), &service.rate_limits, found);
        for (index, servers) in service.servers.iter().enumerate() {
            here.of_limits(&format!("{path}.servers[{index}].rateLimits"), &servers.rate_limits, found);
        }
    }

    /// What is over before anything counts.
    fn of_times(&self, found: &mut Vec<String>) {
        let Some(warm_up) = self.warm_up else { return };
        for (index, next) in self.phases.iter().skip(1).enumerate().filter(|(_, next)| next.at <= warm_up) {
            found.push(format!(
                "phases[{index}]: it ends at {}, and what happens before `warmUp` is over, at {warm_up}, counts for nothing",
                next.at
            ));
        }
        for (index, fault) in self.faults.iter().enumerate() {
            let Some(lasts) = fault.lasts else { continue };
            let end = Span(fault.at.0.saturating_add(lasts.0));
            if end <= warm_up {
                found.push(format!(
                    "faults[{index}]: it is over at {end}, before `warmUp` is, at {warm_up}: only what it leaves behind counts"
                ));
            }
        }
    }
}

fn of_arrivals(path: &str, clients: &Clients, found: &mut Vec<String>) {
    let Some(arrivals) = &clients.arrivals else { return };
    if arrivals.rate == 0.0 && arrivals.steps.iter().all(|step| step.rate == 0.0) {
        found.push(format!("{path}.rate: it is 0 all the time, so these clients send nothing"));
    }
}

/// A service, and what its policies have to do with.
struct Here<'a> {
    service: &'a Service,
    /// Whose proxies call it, be it after a fallback.
    callers: Vec<&'a Clients>,
    /// The control plane is gone at times.
    is_ever_gone: bool,
}

impl Here<'_> {
    fn of_policy(&self, path: &str, policy: &TrafficPolicySpec, found: &mut Vec<String>) {
        self.of_targets(path, &policy.target_refs, found);
        let idle = policy.timeouts.as_ref().is_some_and(|timeouts| timeouts.idle.is_some());
        let grpc = policy.retry.as_ref().is_some_and(|retry| !retry.grpc_statuses.is_empty());
        let fields = [
            ("tls", policy.tls.is_some(), "nothing is encrypted"),
            ("proxyProtocol", policy.proxy_protocol.is_some(), "connections carry requests alone"),
            ("connection", policy.connection.is_some(), "there are no pools of connections"),
            ("timeouts.idle", idle, "there are no pools of connections"),
            ("retry.grpcStatuses", grpc, "no call is one of gRPC"),
        ];
        let there = fields.into_iter().filter(|(_, is_there, _)| *is_there);
        found.extend(
            there.map(|(field, _, why)| format!("{path}.{field}: it counts for nothing here, where {why}")),
        );
        if let Some(balance) = &policy.balance {
            self.of_parts(&format!("{path}.balance.hash"), &balance.hash, found);
        }
    }

    fn of_limits(&self, path: &str, limits: &[RateLimitSpec], found: &mut Vec<String>) {
        for (index, limit) in limits.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.of_targets(&path, &limit.target_refs, found);
            if limit.alone.is_some() && !self.is_ever_gone {
                found.push(format!(
                    "{path}.alone: it counts for nothing here, where the control plane is always there; a fault `controlPlaneGone` shows it"
                ));
            }
            if limit.response.is_some() {
                found.push(format!(
                    "{path}.response: it counts for nothing here, where a refusal is a refusal"
                ));
            }
            self.of_parts(&format!("{path}.key"), &limit.key, found);
            if let Some(priority) = &limit.priority {
                self.of_priority(&format!("{path}.priority"), priority, found);
            }
        }
    }

    /// A policy is in force where it stands, whatever else it is for.
    fn of_targets(&self, path: &str, targets: &[PolicyTarget], found: &mut Vec<String>) {
        for (index, _) in targets.iter().enumerate().filter(|(_, target)| !self.service.is_target(target)) {
            found.push(format!(
                "{path}.targetRefs[{index}]: it counts for nothing here, where a policy is in force at the service under which it stands"
            ));
        }
    }

    /// What requests are told apart by, and none of them has.
    fn of_parts(&self, path: &str, parts: &[KeyPart], found: &mut Vec<String>) {
        for (index, part) in parts.iter().enumerate() {
            let is_field = matches!(part.kind, KeyKind::Header | KeyKind::Cookie | KeyKind::Query);
            let name = part.name.as_deref().unwrap_or_default();
            if is_field && self.none_sends(name) {
                found.push(format!(
                    "{path}[{index}]: no client that calls this service sends `{name}`, so it tells none of them apart"
                ));
            }
        }
    }

    fn of_priority(&self, path: &str, priority: &Priority, found: &mut Vec<String>) {
        let Priority { header, levels } = priority;
        if self.none_sends(header) {
            found.push(format!(
                "{path}.header: no client that calls this service sends `{header}`, so all are of the last level"
            ));
            return;
        }
        let sent = |level: &&String| !self.sent(header).any(|field| may_be(field, level));
        for level in levels.iter().filter(sent) {
            found.push(format!("{path}.levels: no client that calls this service sends `{header}: {level}`"));
        }
    }

    /// The fields of a name that clients send. Cookies and parameters are fields here too.
    fn sent(&self, name: &str) -> impl Iterator<Item = &Field> {
        let fields = self.callers.iter().flat_map(|clients| &clients.request.headers);
        fields.filter(move |field| field.name.eq_ignore_ascii_case(name))
    }

    /// Whether there are clients, and none of them sends a field.
    fn none_sends(&self, name: &str) -> bool {
        !self.callers.is_empty() && self.sent(name).next().is_none()
    }
}

/// Whether a field has a value at times.
fn may_be(field: &Field, value: &str) -> bool {
    let below =
        |count: u32| value.parse().is_ok_and(|number: u32| number < count && number.to_string() == value);
    match &field.values {
        Some(Values::Uniform(count)) => below(*count),
        Some(Values::Zipf(zipf)) => below(zipf.count),
        Some(Values::OneOf(list)) => list.iter().any(|one| one == value),
        None => field.value.as_deref() == Some(value),
    }
}
