//! What limits have decided, by document and target.

use weir_policy::limit::HoldState;

use super::exposition::{Exposition, Kind};
use super::process_now;
use crate::limit::{Limit, LimitTable};

/// Most limits that have metrics of their own.
const LIMITS_SHOWN_MAX: usize = 1024;

/// Renders every limit in force.
pub(super) fn render(out: &mut Exposition, table: &LimitTable) {
    let limits = &table.all()[..table.all().len().min(LIMITS_SHOWN_MAX)];
    let mut counter = |name, help, value: fn(&Limit) -> u64| {
        out.family(name, Kind::Counter, help);
        for limit in limits {
            out.sample(&labels(&limit.id.to_string(), limit), value(limit));
        }
    };
    counter("weir_proxy_limit_admitted_total", "Requests that a limit let through.", Limit::admitted);
    counter("weir_proxy_limit_waited_total", "Requests that waited for a place or a turn.", Limit::waited);
    refusals(out, limits);
    shares(out, limits);
    let help =
        "Limits with scope global that this proxy keeps alone, because they are more than it can share.";
    out.family("weir_proxy_limits_not_shared", Kind::Gauge, help);
    out.sample(&[], table.not_shared());
    let now = process_now();
    let help = "Requests in flight under a limit of concurrency for all.";
    // Those with keys have no state for all, and would be asked for every key.
    let for_all = limits.iter().filter(|limit| !limit.limiter().config().is_keyed());
    let states: Vec<_> = for_all.map(|limit| (limit, limit.limiter().state(now).all)).collect();
    let mut gauge = |name, help, value: fn((u32, u32)) -> u32| {
        out.family(name, Kind::Gauge, help);
        for (limit, state) in &states {
            if let Some(in_flight) = state.as_ref().and_then(|state| state.in_flight) {
                out.sample(&labels(&limit.id.to_string(), limit), value(in_flight));
            }
        }
    };
    gauge("weir_proxy_limit_in_flight", help, |(in_flight, _)| in_flight);
    gauge("weir_proxy_limit_concurrency", "How many may be in flight.", |(_, limit)| limit);
}

/// What this proxy has of the limits that it shares with others.
fn shares(out: &mut Exposition, limits: &[std::sync::Arc<Limit>]) {
    let now = process_now();
    let shared: Vec<_> =
        limits.iter().filter_map(|limit| Some((limit, limit.limiter().holds(now)?))).collect();
    let mut gauge = |name, help, value: fn(HoldState) -> f64| {
        out.family(name, Kind::Gauge, help);
        for (limit, held) in &shared {
            out.sample(&labels(&limit.id.to_string(), limit), value(*held));
        }
    };
    let help = "The share of a limit with scope global that this proxy decides by, from 0 to 1.";
    gauge("weir_proxy_limit_share", help, |held| held.share);
    let help = "Whether that is leased from the control plane.";
    gauge("weir_proxy_limit_leased", help, |held| f64::from(u8::from(held.left.is_some())));
    let help = "Proxies that share the limit, when it was last heard of.";
    gauge("weir_proxy_limit_holders", help, |held| f64::from(held.holders));
}

fn refusals(out: &mut Exposition, limits: &[std::sync::Arc<Limit>]) {
    let mut family = |name, help, is_shadow: bool| {
        out.family(name, Kind::Counter, help);
        for limit in limits {
            let id = limit.id.to_string();
            for (why, refused, shadowed) in limit.refused() {
                let count = if is_shadow { shadowed } else { refused };
                if count > 0 {
                    let [of_limit, of_target] = labels(&id, limit);
                    out.sample(&[of_limit, of_target, ("reason", why.as_str())], count);
                }
            }
        }
    };
    family("weir_proxy_limit_refused_total", "Requests that a limit refused.", false);
    let help = "Requests that a limit in shadow would have refused.";
    family("weir_proxy_limit_shadow_refused_total", help, true);
}

fn labels<'a>(id: &'a str, limit: &'a Limit) -> [(&'static str, &'a str); 2] {
    [("limit", id), ("target", &limit.target)]
}
