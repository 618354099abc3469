//! What is legal and most likely not what was meant: what may stand in a scenario's policies because documents have it, and counts
//! for nothing here; and what people are told of documents when they apply them.

use weir_model::resource::TrafficPolicySpec;
use weir_model::resource::rate_limit::RateLimitSpec;

use super::{Action, Scenario, check};

impl Scenario {
    /// What in its policies has no effect, here or anywhere: `path: reason`.
    pub fn remarks(&self) -> Vec<String> {
        let mut found: Vec<String> = check::hints(self).iter().map(ToString::to_string).collect();
        let is_ever_gone = self.faults.iter().any(|fault| fault.action == Action::ControlPlaneGone);
        for (index, service) in self.services.iter().enumerate() {
            let path = format!("services[{index}]");
            if let Some(policy) = &service.traffic_policy {
                of_policy(&format!("{path}.trafficPolicy"), policy, &mut found);
            }
            of_limits(&format!("{path}.rateLimits"), &service.rate_limits, is_ever_gone, &mut found);
            for (index, servers) in service.servers.iter().enumerate() {
                let path = format!("{path}.servers[{index}].rateLimits");
                of_limits(&path, &servers.rate_limits, is_ever_gone, &mut found);
            }
        }
        found
    }
}

fn of_policy(path: &str, policy: &TrafficPolicySpec, found: &mut Vec<String>) {
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
}

fn of_limits(path: &str, limits: &[RateLimitSpec], is_ever_gone: bool, found: &mut Vec<String>) {
    for (index, limit) in limits.iter().enumerate() {
        if limit.alone.is_some() && !is_ever_gone {
            found.push(format!(
                "{path}[{index}].alone: it counts for nothing here, where the control plane is always there; a fault `controlPlaneGone` shows it"
            ));
        }
        if limit.response.is_some() {
            found.push(format!(
                "{path}[{index}].response: it counts for nothing here, where a refusal is a refusal"
            ));
        }
    }
}
