//! Which endpoints take part, and with what share: what stands around every balancer.
//!
//! ```text
//! facts: weight, health, ejected, draining, place, age
//!   -> possible (a weight, not draining) -> healthy, or all if too few are (panic) -> subset
//!   -> slow start -> nearness -> shares for the balancer, and when to look again
//! ```
//!
//! Shares are worked out when something changes or [`Selection::next_change`] has come, not per request. As long as neither
//! slow start nor nearness has anything to say they are the weights as they are; else they are scaled by 1000, so that
//! fractions survive.
//!
//! What this must not do: judge health, or pick.

mod nearness;
mod slow_start;
mod subset;
#[cfg(test)]
mod tests;

use std::fmt;

use weir_model::registry::Health;
use weir_model::resource::traffic_policy::{Balance, Nearness};

use super::Policy;
use crate::time::Nanos;
pub use nearness::{Callers, NEARNESS_ENDPOINTS_MIN, Place};
pub use slow_start::{SLOW_START_STEP_MIN, SLOW_START_STEPS, SlowStart};

/// By how much weights are multiplied when there are fractions to keep.
pub const SHARE_SCALE: u32 = 1000;

/// The largest share given out. It leaves room for the sums that balancers make.
const SHARE_MAX: f64 = 4e9;

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Which one it is, the same on every machine: what a subset is chosen by.
    pub key: u64,
    /// Its share of the requests; 0 for none.
    pub weight: u32,
    /// The registry's judgement.
    pub health: Health,
    /// Whether it is on its way out.
    pub draining: bool,
    /// Whether this process has ejected it.
    pub ejected: bool,
    /// Where it is.
    pub place: Place<'a>,
    /// When it joined, if it is not known to be old.
    pub joined: Option<Nanos>,
    /// When it last came back from ejection.
    pub returned: Option<Nanos>,
}

impl Facts<'_> {
    /// Whether it may get requests when health does not count. A weight of 0 is a person's wish to send nothing there.
    const fn is_possible(&self) -> bool {
        !self.draining && self.weight > 0
    }

    fn is_healthy(&self) -> bool {
        self.health != Health::Critical && !self.ejected
    }
}

/// How shares are worked out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How endpoints that are new, or back from ejection, get their share.
    pub slow_start: Option<SlowStart>,
    /// Which endpoints go first.
    pub prefer: Option<Nearness>,
    /// The share of healthy endpoints among those possible below which health is ignored; 0 for never.
    pub panic_threshold: f64,
    /// How many endpoints to keep to.
    pub subset: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { slow_start: None, prefer: None, panic_threshold: 0.5, subset: None }
    }
}

impl Settings {
    /// What a document says; what makes no sense is taken as the nearest that does. There is no slow start for
    /// `ring_hash` and `maglev`: a growing share would move keys with every step, and keys that have moved are what an
    /// empty cache suffers from.
    pub fn from_spec(spec: &Balance) -> Self {
        let hashing = Policy::from(spec.policy).is_hashing();
        let threshold = spec.panic_threshold.filter(|threshold| !threshold.is_nan());
        Self {
            slow_start: spec.slow_start.as_ref().filter(|_| !hashing).map(SlowStart::from_spec),
            prefer: spec.locality.as_ref().map(|locality| locality.prefer),
            panic_threshold: threshold.map_or(Self::default().panic_threshold, |t| t.clamp(0.0, 1.0)),
            subset: spec.subset.map(|size| size.max(1)),
        }
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller<'a> {
    /// Which one it is, the same for as long as it lives: what its subset is chosen by.
    pub id: u64,
    /// Where it is.
    pub place: Place<'a>,
    /// Where all callers are.
    pub callers: Callers<'a>,
}

/// Who takes part.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// A share for each endpoint; 0 for none.
    pub shares: Vec<u32>,
    /// What became of each endpoint.
    pub roles: Vec<Role>,
    /// Whether health is ignored because too few are healthy: rather some failures than to overload the few.
    pub panicking: bool,
    /// Endpoints that are possible and healthy.
    pub healthy: usize,
    /// Endpoints that have a weight and are not draining.
    pub possible: usize,
    /// When shares change by themselves, if nothing else does.
    pub next_change: Option<Nanos>,
}

/// What became of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// It takes part.
    Full,
    /// It takes part with a fraction of its weight, because it is new.
    Growing(f64),
    /// It is on its way out.
    Draining,
    /// Its weight is 0.
    NoWeight,
    /// The registry says that it does not work.
    Critical,
    /// It is ejected.
    Ejected,
    /// It is not of this caller's subset.
    OutsideSubset,
    /// Nearer ones have room for all requests.
    Far,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("takes part"),
            Self::Growing(fraction) => write!(f, "is new and has {:.0} % of its share", fraction * 100.0),
            Self::Draining => f.write_str("is draining"),
            Self::NoWeight => f.write_str("has weight 0"),
            Self::Critical => f.write_str("is critical"),
            Self::Ejected => f.write_str("is ejected"),
            Self::OutsideSubset => f.write_str("is not of this proxy's subset"),
            Self::Far => f.write_str("is farther away than those that have room"),
        }
    }
}

/// Works out who takes part.
pub fn select(endpoints: &[Facts<'_>], settings: &Settings, caller: &Caller<'_>, now: Nanos) -> Selection {
    let possible = endpoints.iter().filter(|facts| facts.is_possible()).count();
    let healthy = endpoints.iter().filter(|facts| facts.is_possible() && facts.is_healthy()).count();
    let panicking = (healthy as f64) < possible as f64 * settings.panic_threshold;
    let roles = endpoints.iter().map(|facts| role(facts, panicking)).collect();
    let mut selection =
        Selection { shares: Vec::new(), roles, panicking, healthy, possible, next_change: None };
    if let Some(size) = settings.subset {
        subset::keep(&mut selection.roles, endpoints, size as usize, caller.id);
    }
    let mut fractions: Vec<f64> =
        selection.roles.iter().map(|role| if *role == Role::Full { 1.0 } else { 0.0 }).collect();
    if let Some(slow_start) = &settings.slow_start {
        selection.next_change = slow_start.apply(&mut selection.roles, &mut fractions, endpoints, now);
    }
    if let Some(prefer) = settings.prefer
        && !panicking
    {
        nearness::apply(&mut selection.roles, &mut fractions, endpoints, prefer, caller);
    }
    selection.shares = shares(endpoints, &fractions);
    debug_assert!(
        selection.shares.iter().zip(endpoints).all(|(share, facts)| *share == 0 || facts.is_possible()),
        "a share for an endpoint that may not have one"
    );
    debug_assert!(selection.next_change.is_none_or(|at| at > now), "a change that is over already");
    selection
}

fn role(facts: &Facts<'_>, panicking: bool) -> Role {
    match facts {
        Facts { draining: true, .. } => Role::Draining,
        Facts { weight: 0, .. } => Role::NoWeight,
        _ if panicking => Role::Full,
        Facts { health: Health::Critical, .. } => Role::Critical,
        Facts { ejected: true, .. } => Role::Ejected,
        _ => Role::Full,
    }
}

/// Weights times fractions, scaled if any fraction is neither 0 nor 1. A fraction above 0 leaves a share above 0.
fn shares(endpoints: &[Facts<'_>], fractions: &[f64]) -> Vec<u32> {
    let wanted = || endpoints.iter().zip(fractions).map(|(facts, part)| f64::from(facts.weight) * part);
    let whole = fractions.iter().all(|part| *part == 0.0 || *part == 1.0);
    let scale = if whole {
        1.0
    } else {
        let largest = wanted().fold(0.0, f64::max);
        f64::from(SHARE_SCALE).min(SHARE_MAX / largest)
    };
    wanted().map(|share| if share > 0.0 { (share * scale).round().max(1.0) as u32 } else { 0 }).collect()
}
