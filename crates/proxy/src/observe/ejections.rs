//! What ejection has done, by service and reason.

use std::sync::Arc;

use super::exposition::{Exposition, Kind};
use crate::snapshot::Upstream;

/// Most services that have metrics of their own: those in which something was ejected, or nearly.
const SERVICES_SHOWN_MAX: usize = 1024;

/// Renders the services in which something has happened.
pub(super) fn render(out: &mut Exposition, upstreams: &[Arc<Upstream>]) {
    let happened = |upstream: &&Arc<Upstream>| {
        let ejection = upstream.state.ejection();
        ejection.spared() > 0 || ejection.ejections().any(|(_, ejected, shadowed)| ejected + shadowed > 0)
    };
    let shown: Vec<&Arc<Upstream>> = upstreams.iter().filter(happened).take(SERVICES_SHOWN_MAX).collect();
    ejections(out, &shown);
    let help = "Ejections that did not happen, as enough others were ejected or the others failed alike.";
    out.family("weir_proxy_ejections_spared_total", Kind::Counter, help);
    for upstream in &shown {
        out.sample(&[("service", &upstream.label)], upstream.state.ejection().spared());
    }
    let help = "Endpoints that were ejected and came back.";
    out.family("weir_proxy_ejections_ended_total", Kind::Counter, help);
    for upstream in &shown {
        out.sample(&[("service", &upstream.label)], upstream.state.ejection().returned());
    }
    let help = "Endpoints that are ejected, or would be but for shadow.";
    out.family("weir_proxy_endpoints_ejected", Kind::Gauge, help);
    for upstream in &shown {
        out.sample(&[("service", &upstream.label)], upstream.state.ejection().ejected_now() as u64);
    }
}

fn ejections(out: &mut Exposition, shown: &[&Arc<Upstream>]) {
    let mut family = |name, help, is_shadow: bool| {
        out.family(name, Kind::Counter, help);
        for upstream in shown {
            for (reason, ejected, shadowed) in upstream.state.ejection().ejections() {
                let count = if is_shadow { shadowed } else { ejected };
                if count > 0 {
                    out.sample(&[("service", &upstream.label), ("reason", reason.as_str())], count);
                }
            }
        }
    };
    family("weir_proxy_ejections_total", "Endpoints ejected.", false);
    let help = "Endpoints that would have been ejected but for shadow.";
    family("weir_proxy_ejections_shadow_total", help, true);
}
