//! What is to be checked: pure.

use std::cmp::Reverse;
use std::sync::Arc;

use weir_model::registry::{ActiveChecks, Health};

use super::{ENDPOINTS_MAX, EndpointKey, USED_WITHIN_S};
use crate::snapshot::{Endpoint, Snapshot, Upstream};

/// An endpoint that is to be checked.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) key: EndpointKey,
    pub(super) how: Arc<ActiveChecks>,
    /// Its health as the registry told it; none for one that is written down, whose checks nobody else carries out.
    pub(super) told: Option<Health>,
}

/// What is to be checked, and how many endpoints are left out because there are too many.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) targets: Vec<Target>,
    pub(super) omitted: usize,
}

/// Makes the plan for a snapshot. `away`: whether the control plane has been gone for too long. `now_s` is of the clock
/// that uses are stamped by.
pub(super) fn plan(snapshot: &Snapshot, away: bool, now_s: u32) -> Plan {
    let mut plan = Plan::default();
    for upstream in snapshot.upstreams() {
        plan.add(upstream, |endpoint| endpoint.checked.told.is_none());
    }
    if away {
        let is_used = |upstream: &&Arc<Upstream>| {
            let used_s = upstream.state.last_used_s();
            used_s > 0 && now_s.saturating_sub(used_s) <= USED_WITHIN_S
        };
        let mut used: Vec<_> = snapshot.upstreams().iter().filter(is_used).collect();
        used.sort_by_key(|upstream| Reverse(upstream.state.last_used_s()));
        for upstream in used {
            plan.add(upstream, |endpoint| endpoint.checked.told.is_some());
        }
    }
    plan
}

impl Plan {
    fn add(&mut self, upstream: &Upstream, which: impl Fn(&Endpoint) -> bool) {
        for endpoint in upstream.endpoints.iter().filter(|endpoint| which(endpoint)) {
            // What has no port or no weight gets no requests however it is.
            let Some(how) = endpoint.checked.how.as_ref().filter(|_| endpoint.addr.port() != 0) else {
                continue;
            };
            if self.targets.len() >= ENDPOINTS_MAX {
                self.omitted += 1;
                continue;
            }
            self.targets.push(Target {
                key: EndpointKey { service: upstream.service.clone(), endpoint: Arc::clone(&endpoint.id) },
                how: Arc::clone(how),
                told: endpoint.checked.told,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_model::registry::{CheckDefinition, CheckKind, Weights};
    use weir_model::units::Span;

    use super::*;
    use crate::snapshot::tests::{endpoint, inputs, resource, with_registered};
    use crate::snapshot::{Compiler, Role};

    fn checks() -> Option<Arc<ActiveChecks>> {
        let definition = CheckDefinition {
            kind: CheckKind::Tcp { address: "127.0.0.1:9001".to_owned() },
            interval: Span(std::time::Duration::from_secs(1)),
            timeout: Span(std::time::Duration::from_secs(1)),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: None,
        };
        let weights = Weights::default();
        Some(Arc::new(ActiveChecks { others: Health::Passing, weights, definitions: vec![definition] }))
    }

    fn snapshot() -> Snapshot {
        let written = json!({"check": {"type": "tcp"}, "endpoints": [
            {"address": "127.0.0.1", "port": 1}, {"address": "localhost", "port": 2}]});
        let inputs = inputs([
            resource("Service", "written", written),
            resource("Service", "unchecked", json!({"endpoints": [{"address": "127.0.0.1", "port": 3}]})),
        ]);
        let checked = |id: &str| {
            let mut endpoint = endpoint(id, 9001);
            endpoint.active_checks = checks();
            endpoint
        };
        let inputs = with_registered(inputs, "cart", true, &[checked("a/1"), endpoint("a/2", 9002)]);
        let inputs = with_registered(inputs, "mail", true, &[checked("b/1")]);
        let mut compiler = Compiler::new(Role::Gateway { gateways: vec![] });
        let ips = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        compiler.addresses = Arc::new([("localhost".to_owned(), ips)].into());
        compiler.compile(&inputs, None).unwrap()
    }

    fn planned(plan: &Plan) -> Vec<String> {
        plan.targets.iter().map(|target| format!("{} {}", target.key.service, target.key.endpoint)).collect()
    }

    #[test]
    fn what_is_written_down_is_always_checked_at_each_address() {
        let found = planned(&plan(&snapshot(), false, 1));
        assert_eq!(
            found,
            ["written 127.0.0.1:1", "written localhost:2/127.0.0.1", "written localhost:2/::1"]
        );
    }

    #[test]
    fn of_what_has_registered_what_was_used_is_checked_while_the_control_plane_is_gone() {
        let snapshot = snapshot();
        let used = |service: &str, at_s: u32| {
            let service = weir_model::ServiceRef::new("default", service);
            snapshot.upstream_of(&service).unwrap().state.touch(at_s);
        };
        assert_eq!(planned(&plan(&snapshot, true, 100)).len(), 3, "nothing was used");
        used("cart", 90);
        used("mail", 95);
        assert_eq!(planned(&plan(&snapshot, true, 100))[3..], ["mail b/1", "cart a/1"]);
        assert_eq!(planned(&plan(&snapshot, true, 90 + USED_WITHIN_S + 1))[3..], ["mail b/1"]);
        assert_eq!(planned(&plan(&snapshot, false, 100)).len(), 3);
    }
}
