//! Near endpoints first (Envoy's zone-aware routing, extended by regions).
//!
//! A zone with at least its callers' share of all endpoints keeps its requests. One with less keeps as many as it has room
//! for, and the rest goes to the zones that have more than their callers need, in proportion to what they have to spare:
//! first within the region, then to other regions. If all callers do so, every endpoint gets the same for its weight.
//!
//! With u and c the shares of endpoints and callers of a zone: it keeps min(1, u/c). Of what is left, the region takes
//! min(1, S/D), where S is the sum of its zones' (u - c) above 0 and D that of (c - u) above 0; what no zone of the
//! region has to spare goes to other regions in proportion to their S - D, and there to zones in proportion to u - c.

use weir_model::resource::traffic_policy::Nearness;

use super::{Caller, Facts, Role};

/// With fewer endpoints that take part, all are alike: shares of so few are too coarse to be kept to.
pub const NEARNESS_ENDPOINTS_MIN: usize = 6;

/// A smaller part of the requests is what rounding leaves.
const REQUESTS_MIN: f64 = 1e-9;

/// Where something is. What is not known is the same as what is not known elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place<'a> {
    /// The region.
    pub region: Option<&'a str>,
    /// The zone within the region.
    pub zone: Option<&'a str>,
}

/// Where all callers of an upstream are, this one included: places and how many are there. When nobody knows (empty), as
/// many in each place that has endpoints, or this caller.
pub type Callers<'a> = &'a [(Place<'a>, u32)];

/// A zone, or a region when those are not told apart.
#[derive(Clone, Copy, Debug)]
struct Area<'a> {
    place: Place<'a>,
    /// Its share of the endpoints' weight.
    endpoints: f64,
    /// Its share of the callers.
    callers: f64,
    /// What part of this caller's requests goes there.
    requests: f64,
}

impl Area<'_> {
    fn spare(&self) -> f64 {
        (self.endpoints - self.callers).max(0.0)
    }

    fn missing(&self) -> f64 {
        (self.callers - self.endpoints).max(0.0)
    }
}

/// Multiplies the fractions of those that take part by what nearness gives them.
pub(super) fn apply(
    roles: &mut [Role],
    fractions: &mut [f64],
    endpoints: &[Facts<'_>],
    prefer: Nearness,
    caller: &Caller<'_>,
) {
    let taking_part = fractions.iter().filter(|part| **part > 0.0).count();
    if taking_part < NEARNESS_ENDPOINTS_MIN {
        return;
    }
    let mut areas = areas(fractions, endpoints, prefer, caller);
    let own = area_of(caller.place, prefer);
    assign(&mut areas, own);
    for ((facts, role), fraction) in endpoints.iter().zip(roles).zip(fractions) {
        if *fraction == 0.0 {
            continue;
        }
        let place = area_of(facts.place, prefer);
        let Some(area) = areas.iter().find(|area| area.place == place) else { continue };
        // An area's requests are shared by weight, so each gets the area's relation of requests to endpoints.
        if area.requests < REQUESTS_MIN {
            (*fraction, *role) = (0.0, Role::Far);
        } else {
            *fraction *= area.requests / area.endpoints;
        }
    }
}

fn area_of(place: Place<'_>, prefer: Nearness) -> Place<'_> {
    match prefer {
        Nearness::Zone => place,
        Nearness::Region => Place { zone: None, ..place },
    }
}

/// All places with endpoints or callers, and their shares of both.
fn areas<'a>(
    fractions: &[f64],
    endpoints: &[Facts<'a>],
    prefer: Nearness,
    caller: &Caller<'a>,
) -> Vec<Area<'a>> {
    let mut areas: Vec<Area<'a>> = Vec::new();
    fn at<'b, 'a>(areas: &'b mut Vec<Area<'a>>, place: Place<'a>) -> &'b mut Area<'a> {
        let known = areas.iter().position(|area| area.place == place);
        let index = known.unwrap_or_else(|| {
            areas.push(Area { place, endpoints: 0.0, callers: 0.0, requests: 0.0 });
            areas.len() - 1
        });
        &mut areas[index]
    }
    for (facts, fraction) in endpoints.iter().zip(fractions).filter(|(_, fraction)| **fraction > 0.0) {
        at(&mut areas, area_of(facts.place, prefer)).endpoints += f64::from(facts.weight) * fraction;
    }
    let own = area_of(caller.place, prefer);
    at(&mut areas, own);
    for (place, count) in caller.callers {
        at(&mut areas, area_of(*place, prefer)).callers += f64::from(*count);
    }
    if caller.callers.is_empty() {
        areas.iter_mut().for_each(|area| area.callers = 1.0);
    }
    // This caller is one of them, whatever was counted.
    let of_own = at(&mut areas, own);
    of_own.callers = of_own.callers.max(1.0);
    let (all_endpoints, all_callers) = areas
        .iter()
        .fold((0.0, 0.0), |(endpoints, callers), area| (endpoints + area.endpoints, callers + area.callers));
    for area in &mut areas {
        area.endpoints /= all_endpoints;
        area.callers /= all_callers;
    }
    areas
}

/// Shares a caller's requests out; `own` is one of the areas.
fn assign(areas: &mut [Area<'_>], own: Place<'_>) {
    let Some(index) = areas.iter().position(|area| area.place == own) else { return };
    let kept = (areas[index].endpoints / areas[index].callers).min(1.0);
    areas[index].requests = kept;
    let region = |areas: &[Area<'_>], of: Option<&str>| {
        let of_region = areas.iter().filter(|area| area.place.region == of);
        of_region.fold((0.0, 0.0), |(spare, missing), area| (spare + area.spare(), missing + area.missing()))
    };
    let left = 1.0 - kept;
    if left <= 0.0 {
        return;
    }
    let (spare, missing) = region(areas, own.region);
    let stays = left * (spare / missing).min(1.0);
    let leaves = left - stays;
    // What leaves here is missing here, so others have it to spare: this is above 0, but for what rounding leaves.
    let beyond: f64 = areas
        .iter()
        .filter(|area| area.place.region != own.region && area.spare() > 0.0)
        .map(|area| {
            let (spare, missing) = region(areas, area.place.region);
            (spare - missing).max(0.0) * area.spare() / spare
        })
        .sum();
    let shares: Vec<f64> = areas
        .iter()
        .map(|area| {
            if area.spare() == 0.0 {
                0.0
            } else if area.place.region == own.region {
                stays * area.spare() / spare
            } else {
                let (spare, missing) = region(areas, area.place.region);
                leaves * (spare - missing).max(0.0) * area.spare() / spare / beyond.max(f64::MIN_POSITIVE)
            }
        })
        .collect();
    for (area, share) in areas.iter_mut().zip(shares) {
        area.requests += share;
    }
}
