//! What this proxy's own health checks have done.

use std::sync::Arc;

use weir_model::registry::Health;

use super::exposition::{Exposition, Kind};
use crate::check::Checks;
use crate::snapshot::Upstream;

/// Most services that have metrics of their own: those of which an endpoint was judged.
const SERVICES_SHOWN_MAX: usize = 1024;
/// In the order in which they are counted.
const OUTCOMES: [Health; 3] = [Health::Passing, Health::Warning, Health::Critical];

pub(super) fn render(out: &mut Exposition, checks: &Checks, upstreams: &[Arc<Upstream>]) {
    let counts = checks.counts();
    let help = "1 while this proxy judges registered endpoints itself, because the control plane is gone.";
    out.family("weir_proxy_checks_ruling", Kind::Gauge, help).value(u8::from(counts.ruling));
    let (written, registered) = counts.endpoints;
    out.family("weir_proxy_checks_endpoints", Kind::Gauge, "Endpoints that this proxy checks by itself.")
        .sample(&[("of", "written")], written)
        .sample(&[("of", "registered")], registered);
    let help = "Endpoints that are not checked, because there are too many.";
    out.family("weir_proxy_checks_omitted", Kind::Gauge, help).value(counts.omitted);
    let mut counter = |name, help, each: [u64; 3]| {
        out.family(name, Kind::Counter, help);
        for (health, count) in OUTCOMES.iter().zip(each) {
            out.sample(&[("health", health.as_str())], count);
        }
    };
    counter("weir_proxy_checks_total", "Looks at endpoints by this proxy itself.", counts.looks);
    let help = "Endpoints that became so by this proxy's own checks.";
    counter("weir_proxy_checks_changes_total", help, counts.changes);
    render_services(out, upstreams);
}

fn render_services(out: &mut Exposition, upstreams: &[Arc<Upstream>]) {
    let help = "Endpoints by what this proxy's own checks came to.";
    out.family("weir_proxy_endpoints_checked", Kind::Gauge, help);
    let judged =
        |upstream: &&Arc<Upstream>| upstream.endpoints.iter().any(|one| one.checked.verdict.is_some());
    for upstream in upstreams.iter().filter(judged).take(SERVICES_SHOWN_MAX) {
        let verdicts = || upstream.endpoints.iter().filter_map(|endpoint| endpoint.checked.verdict);
        for health in OUTCOMES {
            let count = verdicts().filter(|verdict| verdict.health == health).count();
            out.sample(&[("service", &upstream.label), ("health", health.as_str())], count);
        }
    }
}
