//! How breakers stand and what they have decided, by document, target, and rule or instance.

use std::sync::Arc;

use weir_policy::breaker::Phase;

use super::exposition::{Exposition, Kind};
use super::process_now;
use crate::breaker::{Brake, BreakerTable};

/// Most machines that have metrics of their own.
const BRAKES_SHOWN_MAX: usize = 1024;

/// Renders the breakers that calls have met.
pub(super) fn render(out: &mut Exposition, table: &BreakerTable) {
    let all = table.all().iter();
    let brakes = all.flat_map(|breaker| {
        let name = breaker.name();
        breaker.all().into_iter().map(move |brake| (name.clone(), breaker.target.clone(), brake))
    });
    let brakes: Vec<(String, Arc<str>, Arc<Brake>)> = brakes.take(BRAKES_SHOWN_MAX).collect();
    let now = process_now();
    let help = "How a breaker stands: 0 closed, 1 half_open, 2 open.";
    out.family("weir_proxy_breaker_state", Kind::Gauge, help);
    for (name, target, brake) in &brakes {
        let state = match brake.state(now).phase {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        };
        out.sample(&[("breaker", name), ("target", target), ("part", &brake.part)], state);
    }
    let help = "Changes of breakers, by what they changed to.";
    out.family("weir_proxy_breaker_transitions_total", Kind::Counter, help);
    for (name, target, brake) in &brakes {
        for (to, count) in brake.changes().filter(|(_, count)| *count > 0) {
            let labels =
                [("breaker", &**name), ("target", target), ("part", &brake.part), ("to", to.as_str())];
            out.sample(&labels, count);
        }
    }
    let mut counter = |name, help, value: fn(&Brake) -> u64| {
        out.family(name, Kind::Counter, help);
        for (of, target, brake) in &brakes {
            out.sample(&[("breaker", of), ("target", target), ("part", &brake.part)], value(brake));
        }
    };
    let help = "Calls that a breaker refused.";
    counter("weir_proxy_breaker_refused_total", help, |brake| brake.refused().0);
    let help = "Calls that a breaker in shadow would have refused.";
    counter("weir_proxy_breaker_shadow_refused_total", help, |brake| brake.refused().1);
    render_kept(out, table);
}

/// Renders the answers that breakers keep for bad times.
fn render_kept(out: &mut Exposition, table: &BreakerTable) {
    let all = table.all().iter();
    let keepers = all.filter_map(|breaker| Some((breaker, breaker.instead.cached()?.counts())));
    let keepers: Vec<_> = keepers.take(BRAKES_SHOWN_MAX).collect();
    let mut family = |name, kind, help, value: fn(&(usize, usize, u64)) -> u64| {
        out.family(name, kind, help);
        for (breaker, counts) in &keepers {
            out.sample(&[("breaker", &breaker.name()), ("target", &breaker.target)], value(counts));
        }
    };
    let help = "Answers that a breaker keeps for bad times.";
    family("weir_proxy_breaker_kept_answers", Kind::Gauge, help, |counts| counts.0 as u64);
    let help = "Bytes of the answers that a breaker keeps.";
    family("weir_proxy_breaker_kept_bytes", Kind::Gauge, help, |counts| counts.1 as u64);
    let help = "Earlier answers given to calls that were refused or came to nothing.";
    family("weir_proxy_breaker_kept_answers_served_total", Kind::Counter, help, |counts| counts.2);
}
