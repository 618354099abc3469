//! Who takes part, with what share, and until when.

use std::time::Duration;

use proptest::prelude::*;
use weir_model::resource::traffic_policy::{self, BalancePolicy, Locality};
use weir_model::units::Span;

use super::*;

const NOW: Nanos = Nanos::from_secs(1000);

fn healthy(weight: u32) -> Facts<'static> {
    Facts { weight, health: Health::Passing, ..Facts::default() }
}

fn at(place: (&'static str, &'static str)) -> Facts<'static> {
    Facts { place: place_of(place), ..healthy(1) }
}

fn place_of((region, zone): (&'static str, &'static str)) -> Place<'static> {
    Place { region: Some(region), zone: Some(zone) }
}

fn selected(endpoints: &[Facts<'_>], settings: &Settings) -> Selection {
    select(endpoints, settings, &Caller::default(), NOW)
}

#[test]
fn weights_stay_as_they_are_when_there_is_nothing_to_say() {
    let endpoints = [
        healthy(3),
        Facts { health: Health::Warning, ..healthy(1_000_000) },
        Facts { health: Health::Critical, ..healthy(1) },
        Facts { draining: true, ..healthy(1) },
        healthy(0),
        Facts { ejected: true, ..healthy(1) },
    ];
    let selection = selected(&endpoints, &Settings::default());
    assert_eq!(selection.shares, [3, 1_000_000, 0, 0, 0, 0]);
    assert_eq!(
        selection.roles,
        [Role::Full, Role::Full, Role::Critical, Role::Draining, Role::NoWeight, Role::Ejected]
    );
    assert_eq!((selection.panicking, selection.healthy, selection.possible), (false, 2, 4), "half is enough");
    assert_eq!(selection.next_change, None);
}

#[test]
fn panic_counts_health_and_ejection_but_neither_draining_nor_weight_0() {
    let check = |healthy_ones: usize, critical: usize, ejected: usize, threshold: f64, panicking: bool| {
        let mut endpoints = vec![healthy(2); healthy_ones];
        endpoints.extend(vec![Facts { health: Health::Critical, ..healthy(2) }; critical]);
        endpoints.extend(vec![Facts { ejected: true, ..healthy(2) }; ejected]);
        let possible = endpoints.len();
        endpoints.extend([Facts { draining: true, ..healthy(2) }, healthy(0)]);
        let selection = selected(&endpoints, &Settings { panic_threshold: threshold, ..Settings::default() });
        let what = format!("{healthy_ones} {critical} {ejected} {threshold}");
        assert_eq!(selection.panicking, panicking, "{what}");
        let taking_part = selection.shares.iter().filter(|share| **share == 2).count();
        assert_eq!(taking_part, if panicking { possible } else { healthy_ones }, "{what}");
        assert_eq!(selection.shares[possible..], [0, 0], "{what}");
    };
    check(5, 5, 0, 0.5, false);
    check(5, 3, 3, 0.5, true);
    check(4, 5, 0, 0.5, true);
    check(4, 0, 5, 0.5, true);
    check(0, 1, 0, 0.5, true);
    check(0, 0, 0, 0.5, false);
    check(9, 1, 0, 1.0, true);
    check(10, 0, 0, 1.0, false);
    check(0, 10, 0, 0.0, false);
}

#[test]
fn slow_start_grows_in_steps_from_the_floor() {
    let settings =
        Settings { slow_start: Some(SlowStart::over(Duration::from_secs(32))), ..Settings::default() };
    let joined = NOW;
    let share = |after_ms: u64, facts: Facts<'_>| {
        let now = NOW + Duration::from_millis(after_ms);
        let selection = select(&[healthy(2), facts], &settings, &Caller::default(), now);
        (selection.shares, selection.next_change)
    };
    let new = Facts { joined: Some(joined), ..healthy(2) };
    let second = |s| Some(joined + Duration::from_secs(s));
    // Steps of a second; a tenth is the least.
    assert_eq!(share(0, new), (vec![2000, 200], second(1)));
    assert_eq!(share(3_999, new), (vec![2000, 200], second(4)));
    assert_eq!(share(4_000, new), (vec![2000, 250], second(5)));
    assert_eq!(share(16_000, new), (vec![2000, 1000], second(17)));
    assert_eq!(share(31_999, new), (vec![2000, 1938], second(32)));
    assert_eq!(share(32_000, new), (vec![2, 2], None));
    // Coming back from ejection counts like joining; the later one decides.
    let back = Facts { joined: Some(Nanos(0)), returned: second(100), ..healthy(2) };
    assert_eq!(share(116_000, back), (vec![2000, 1000], second(117)));
    let selection = select(&[healthy(2), new], &settings, &Caller::default(), second(8).unwrap());
    assert_eq!(selection.roles[1].to_string(), "is new and has 25 % of its share");
    // Who takes no part does not grow.
    assert_eq!(share(0, Facts { draining: true, ..new }), (vec![2, 0], None));
}

#[test]
fn aggression_and_floor_shape_the_growth() {
    let shape =
        |aggression, floor| SlowStart { aggression, floor, ..SlowStart::over(Duration::from_secs(100)) };
    let check = |slow_start: SlowStart, age_s, fraction: f64| {
        let grown = slow_start.fraction(Duration::from_secs(age_s));
        assert!((grown - fraction).abs() < 1e-9, "{slow_start:?} after {age_s} s: {grown}");
    };
    check(shape(1.0, 0.1), 50, 0.5);
    check(shape(2.0, 0.1), 25, 0.5);
    check(shape(0.5, 0.1), 50, 0.25);
    check(shape(0.5, 0.4), 50, 0.4);
    check(shape(1.0, 0.1), 100, 1.0);
    check(SlowStart::over(Duration::ZERO), 0, 1.0);
    assert!(shape(1.0, 0.0).fraction(Duration::ZERO) > 0.0);
}

#[test]
fn large_weights_are_scaled_without_overflow() {
    let settings =
        Settings { slow_start: Some(SlowStart::over(Duration::from_secs(32))), ..Settings::default() };
    let endpoints = [healthy(u32::MAX), Facts { joined: Some(NOW), ..healthy(u32::MAX) }];
    let shares = selected(&endpoints, &settings).shares;
    let ratio = f64::from(shares[1]) / f64::from(shares[0]);
    assert!((ratio - 0.1).abs() < 1e-6 && f64::from(shares[0]) <= SHARE_MAX, "{shares:?}");
    let endpoints = [healthy(u32::MAX), Facts { joined: Some(NOW), ..healthy(1) }];
    assert_eq!(selected(&endpoints, &settings).shares[1], 1, "little is more than nothing");
}

/// The part of the requests that each zone gets.
fn parts(endpoints: &[Facts<'static>], caller: &Caller<'_>, prefer: Nearness) -> Vec<(&'static str, f64)> {
    let settings = Settings { prefer: Some(prefer), ..Settings::default() };
    let selection = select(endpoints, &settings, caller, NOW);
    let total: f64 = selection.shares.iter().map(|share| f64::from(*share)).sum();
    let mut parts: Vec<(&str, f64)> = Vec::new();
    for (facts, share) in endpoints.iter().zip(&selection.shares) {
        let zone = facts.place.zone.unwrap();
        let part = f64::from(*share) / total;
        match parts.iter_mut().find(|(known, _)| *known == zone) {
            Some((_, sum)) => *sum += part,
            None => parts.push((zone, part)),
        }
    }
    parts
}

fn zones(counts: &[((&'static str, &'static str), usize)]) -> Vec<Facts<'static>> {
    counts.iter().flat_map(|(place, count)| vec![at(*place); *count]).collect()
}

fn assert_parts(parts: &[(&str, f64)], expected: &[(&str, f64)]) {
    assert_eq!(parts.len(), expected.len());
    for ((zone, part), (expected_zone, expected)) in parts.iter().zip(expected) {
        assert!(
            zone == expected_zone && (part - expected).abs() < 0.001,
            "{zone} gets {part}, not {expected}"
        );
    }
}

#[test]
fn a_zone_with_room_keeps_its_requests_and_one_without_spills_the_rest() {
    let (a, b, c) = (("eu", "a"), ("eu", "b"), ("eu", "c"));
    let endpoints = zones(&[(a, 2), (b, 4), (c, 6)]);
    let callers = [(place_of(a), 10), (place_of(b), 10), (place_of(c), 10)];
    let from = |place| Caller { place: place_of(place), callers: &callers, ..Caller::default() };
    // Shares of endpoints 1/6, 1/3, 1/2; of callers 1/3 each. a keeps half; only c has to spare.
    assert_parts(&parts(&endpoints, &from(a), Nearness::Zone), &[("a", 0.5), ("b", 0.0), ("c", 0.5)]);
    assert_parts(&parts(&endpoints, &from(b), Nearness::Zone), &[("a", 0.0), ("b", 1.0), ("c", 0.0)]);
    assert_parts(&parts(&endpoints, &from(c), Nearness::Zone), &[("a", 0.0), ("b", 0.0), ("c", 1.0)]);
    // As many callers everywhere is what is assumed when nobody knows.
    let alone = Caller { place: place_of(a), ..Caller::default() };
    assert_parts(&parts(&endpoints, &alone, Nearness::Zone), &[("a", 0.5), ("b", 0.0), ("c", 0.5)]);
    // Of two with something to spare, each gets in proportion: a has 1/8 against 1/3, b 3/8 - 1/3, c 4/8 - 1/3.
    let endpoints = zones(&[(a, 2), (b, 6), (c, 8)]);
    assert_parts(&parts(&endpoints, &from(a), Nearness::Zone), &[("a", 0.375), ("b", 0.125), ("c", 0.5)]);
    let settings = Settings { prefer: Some(Nearness::Zone), ..Settings::default() };
    assert_eq!(select(&endpoints, &settings, &from(c), NOW).roles[0], Role::Far);
    // The whole region is near; and few endpoints are all alike, as they are in a panic.
    assert_parts(&parts(&endpoints, &from(a), Nearness::Region), &[("a", 0.125), ("b", 0.375), ("c", 0.5)]);
    let few = zones(&[(a, 1), (b, 1), (c, 3)]);
    assert_parts(&parts(&few, &from(a), Nearness::Zone), &[("a", 0.2), ("b", 0.2), ("c", 0.6)]);
    let mut failing = endpoints;
    failing.iter_mut().skip(4).for_each(|facts| facts.ejected = true);
    assert_parts(&parts(&failing, &from(a), Nearness::Zone), &[("a", 0.125), ("b", 0.375), ("c", 0.5)]);
}

#[test]
fn requests_stay_in_the_region_as_long_as_it_has_room() {
    let (a, b, far) = (("eu", "a"), ("eu", "b"), ("us", "x"));
    let endpoints = zones(&[(a, 2), (b, 6), (far, 8)]);
    let callers = [(place_of(a), 1), (place_of(b), 1), (place_of(far), 2)];
    let caller = Caller { place: place_of(a), callers: &callers, ..Caller::default() };
    // a: 1/8 against 1/4, b: 3/8 against 1/4: what a misses is just what b has to spare.
    assert_parts(&parts(&endpoints, &caller, Nearness::Zone), &[("a", 0.5), ("b", 0.5), ("x", 0.0)]);
    // b has less to spare than a misses: b gets that, and the rest leaves.
    let endpoints = zones(&[(a, 2), (b, 5), (far, 9)]);
    assert_parts(&parts(&endpoints, &caller, Nearness::Zone), &[("a", 0.5), ("b", 0.25), ("x", 0.25)]);
    // Nothing in the own zone, or region: to who has room.
    let nowhere = Caller { place: place_of(("mars", "m")), callers: &[], ..Caller::default() };
    let sum: f64 = parts(&endpoints, &nowhere, Nearness::Zone).iter().map(|(_, part)| part).sum();
    assert!((sum - 1.0).abs() < 1e-9);
}

proptest! {
    /// If every caller goes by it, every endpoint gets the same, wherever endpoints and callers are.
    #[test]
    fn all_callers_together_load_all_endpoints_alike(
        counts in prop::collection::vec((0usize..3, 0usize..30, 1u32..30), 1..8),
        by_region: bool,
    ) {
        const REGIONS: [&str; 3] = ["eu", "us", "ap"];
        const ZONES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let place = |zone: usize| Place { region: Some(REGIONS[counts[zone].0]), zone: Some(ZONES[zone]) };
        let endpoints: Vec<Facts<'_>> = (0..counts.len())
            .flat_map(|zone| vec![Facts { place: place(zone), ..healthy(1000) }; counts[zone].1])
            .collect();
        let callers: Vec<(Place<'_>, u32)> = (0..counts.len()).map(|zone| (place(zone), counts[zone].2)).collect();
        let prefer = if by_region { Nearness::Region } else { Nearness::Zone };
        let settings = Settings { prefer: Some(prefer), ..Settings::default() };
        let mut load = vec![0.0; endpoints.len()];
        for (place, count) in &callers {
            let caller = Caller { place: *place, callers: &callers, ..Caller::default() };
            let shares = select(&endpoints, &settings, &caller, NOW).shares;
            let total: f64 = shares.iter().map(|share| f64::from(*share)).sum();
            for (load, share) in load.iter_mut().zip(shares) {
                *load += f64::from(*count) * f64::from(share) / total;
            }
        }
        let mean = load.iter().sum::<f64>() / endpoints.len().max(1) as f64;
        for load in load {
            prop_assert!((load / mean - 1.0).abs() < 0.001, "{} of {}", load, mean);
        }
    }

    /// Whatever the facts: who may not have a share has none, and somebody has one if anybody may.
    #[test]
    fn shares_are_legal(
        facts in prop::collection::vec(
            (0u32..3, 0usize..3, any::<bool>(), any::<bool>(), 0usize..4, prop::option::of(0u64..2000)), 0..30),
        subset in prop::option::of(1u32..10),
        prefer in prop::option::of(prop::sample::select(vec![Nearness::Zone, Nearness::Region])),
        threshold in 0.0f64..=1.0,
        caller_id: u64,
    ) {
        const HEALTH: [Health; 3] = [Health::Passing, Health::Warning, Health::Critical];
        const PLACES: [(&str, &str); 4] = [("eu", "a"), ("eu", "b"), ("us", "a"), ("us", "c")];
        let endpoints: Vec<Facts<'_>> = (0..)
            .zip(&facts)
            .map(|(key, &(weight, health, draining, ejected, place, joined))| Facts {
                key,
                weight,
                health: HEALTH[health],
                draining,
                ejected,
                place: place_of(PLACES[place]),
                joined: joined.map(Nanos::from_secs),
                returned: None,
            })
            .collect();
        let slow_start = Some(SlowStart::over(Duration::from_secs(500)));
        let settings = Settings { slow_start, prefer, panic_threshold: threshold, subset };
        let caller = Caller { id: caller_id, place: place_of(PLACES[0]), callers: &[] };
        let selection = select(&endpoints, &settings, &caller, NOW);
        prop_assert_eq!(selection.shares.len(), endpoints.len());
        for ((facts, share), role) in endpoints.iter().zip(&selection.shares).zip(&selection.roles) {
            let may = facts.weight > 0 && !facts.draining && (selection.panicking || facts.is_healthy());
            prop_assert!(may || *share == 0);
            prop_assert_eq!(*share > 0, matches!(role, Role::Full | Role::Growing(_)));
        }
        let taking_part = selection.shares.iter().filter(|share| **share > 0).count();
        let may = if selection.panicking { selection.possible } else { selection.healthy };
        prop_assert_eq!(taking_part == 0, may == 0);
        if let Some(subset) = subset {
            prop_assert!(taking_part <= subset as usize);
        }
        if let Some(next) = selection.next_change {
            prop_assert!(next > NOW);
            let just_before = Nanos(next.0 - 1);
            prop_assert_eq!(&select(&endpoints, &settings, &caller, just_before).shares, &selection.shares);
        }
    }
}

fn keyed(count: u64) -> Vec<Facts<'static>> {
    (0..count).map(|id| Facts { key: hash::bytes(&id.to_le_bytes()), ..healthy(1) }).collect()
}

use crate::balance::hash;

#[test]
fn subsets_are_even_and_stable() {
    const CALLERS: u64 = 3000;
    let settings = Settings { subset: Some(20), ..Settings::default() };
    let members = |endpoints: &[Facts<'_>], id: u64| -> Vec<u64> {
        let caller = Caller { id: hash::number(id, 3), ..Caller::default() };
        let shares = select(endpoints, &settings, &caller, NOW).shares;
        endpoints.iter().zip(shares).filter(|(_, share)| *share > 0).map(|(facts, _)| facts.key).collect()
    };
    let endpoints = keyed(200);
    let mut callers_of = std::collections::HashMap::<u64, u64>::new();
    for id in 0..CALLERS {
        let members = members(&endpoints, id);
        assert_eq!(members.len(), 20);
        members.into_iter().for_each(|key| *callers_of.entry(key).or_default() += 1);
    }
    // Each endpoint has as many callers as if each caller had drawn it with probability 1/10.
    assert_eq!(callers_of.len(), 200);
    assert!(callers_of.values().all(|n| crate::testing::plausible(*n, CALLERS, 0.1)), "{callers_of:?}");
    // One goes, or is ejected: who had it takes one other, nobody else sees a difference.
    let mut ejected = endpoints.clone();
    ejected[7].ejected = true;
    for id in 0..500 {
        let before = members(&endpoints, id);
        let after = members(&ejected, id);
        let kept = before.iter().filter(|key| after.contains(key)).count();
        assert_eq!(kept, if before.contains(&endpoints[7].key) { 19 } else { 20 });
        assert_eq!(after.len(), 20);
        assert_eq!(after, members(&[&endpoints[..7], &endpoints[8..]].concat(), id));
    }
}

#[test]
fn documents_fill_in_what_they_say() {
    assert_eq!(Settings::from_spec(&Balance::default()), Settings::default());
    let slow_start = |aggression, floor| {
        Some(traffic_policy::SlowStart { window: Span(Duration::from_secs(9)), aggression, floor })
    };
    let spec = Balance {
        slow_start: slow_start(None, None),
        locality: Some(Locality { prefer: Nearness::Region }),
        panic_threshold: Some(7.0),
        subset: Some(0),
        ..Balance::default()
    };
    let settings = Settings::from_spec(&spec);
    assert_eq!(settings.slow_start, Some(SlowStart::over(Duration::from_secs(9))));
    assert_eq!(
        (settings.prefer, settings.panic_threshold, settings.subset),
        (Some(Nearness::Region), 1.0, Some(1))
    );
    let odd = Balance { slow_start: slow_start(Some(0.0), Some(-1.0)), ..Balance::default() };
    let odd = Settings::from_spec(&odd).slow_start.unwrap();
    assert_eq!((odd.aggression, odd.floor), (0.01, 0.0));
    let hashing = Balance { policy: BalancePolicy::Maglev, ..spec };
    assert_eq!(Settings::from_spec(&hashing).slow_start, None, "it would move keys");
}
