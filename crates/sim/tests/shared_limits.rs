//! Limits with `scope: global`: the proxies of a world, or the sidecars of its servers, keep them together by leases.

use weir_sim::report::ClientsReport;
use weir_sim::{Report, Scenario};

fn world(text: &str) -> Report {
    let scenario = Scenario::parse("-", text).unwrap_or_else(|errors| panic!("{errors:?}"));
    weir_sim::run(&scenario).unwrap()
}

/// The cookbook's.
const SHARED: &str = include_str!("../../../examples/simulate/shared-limit.yaml");

#[test]
fn what_one_group_does_not_want_another_one_gets() {
    let more = |report: &Report| {
        let phase = report.phases.iter().find(|phase| phase.name == "us wants more").unwrap();
        (phase.clients[0].goodput, phase.clients[1].goodput)
    };
    let (eu, us) = more(&world(SHARED));
    assert!((155.0..175.0).contains(&eu) && (750.0..800.0).contains(&us), "{eu} {us}");
    let each =
        SHARED.replace("scope: global", "scope: process").replace("1000, burst: 100", "250, burst: 25");
    let (eu, us) = more(&world(&each));
    assert!(eu > 190.0 && (495.0..515.0).contains(&us), "{eu} {us}");
}

/// Two groups of clients with so many proxies and so many requests a second, and one limit over all proxies.
fn two_groups(a: (u32, u32), b: (u32, u32), limit: &str) -> Report {
    world(&format!(
        "duration: 40s\nwarmUp: 10s\ninterval: 1s\nclients:\n\
         - {{name: a, proxies: {}, arrivals: {{rate: {}}}}}\n- {{name: b, proxies: {}, arrivals: {{rate: {}}}}}\n\
         services:\n- name: shop\n  rateLimits: [{{scope: global, {limit}}}]\n  \
         servers: [{{count: 40, cores: 8, time: {{constant: 1ms}}}}]\n",
        a.0, a.1, b.0, b.1
    ))
}

fn of<'a>(report: &'a Report, name: &str) -> &'a ClientsReport {
    report.total.clients.iter().find(|clients| clients.name == name).unwrap()
}

#[test]
fn proxies_share_a_limit_by_what_is_asked_of_them() {
    let report = two_groups((4, 4000), (1, 50), "rates: [{requests: 1000, burst: 100}]");
    // A thirty-second is kept back for proxies that come.
    let goodput = report.total.all.goodput;
    assert!((930.0..=1000.0).contains(&goodput), "{goodput}");
    // A fifth of an eighth is everybody's; of the rest it is asked for 50 of 4,050: 36 a second, less what is kept back.
    let b = of(&report, "b").goodput;
    assert!((32.0..=36.5).contains(&b), "{b}");
    assert!(of(&report, "a").goodput > 850.0, "{:?}", of(&report, "a"));
    for point in &report.series[..] {
        assert!(point.goodput <= 1000.0 + 100.0 + 5.0, "at {} s: {}", point.at, point.goodput);
    }
    let leased = report.policies.iter().filter(|policy| policy.state.contains("leased ")).count();
    assert_eq!(leased, 5, "{:?}", report.policies);
    assert!(
        report.policies.iter().all(|policy| policy.state.contains("shared by 5")),
        "{:?}",
        report.policies
    );
}

#[test]
fn nobody_is_refused_what_the_limit_has_room_for() {
    let report = two_groups((4, 400), (4, 300), "rates: [{requests: 1000}]");
    assert!(report.total.all.error_ratio < 0.001, "{:?}", report.total.all);
}

#[test]
fn the_world_begins_with_even_shares() {
    let report = two_groups((4, 2000), (4, 2000), "rates: [{requests: 1000, burst: 80}]");
    let first = &report.series[0];
    assert!((900.0..=1090.0).contains(&first.goodput), "{first:?}");
}

#[test]
fn sidecars_share_a_limit_and_ask_again_when_they_were_restarted() {
    let report = world(
        "duration: 40s\nwarmUp: 5s\nclients: [{name: web, arrivals: {rate: 2000}}]\nservices:\n- name: shop\n  \
         trafficPolicy: {retry: {attempts: 0}, balance: {policy: round_robin}}\n  servers:\n  - count: 10\n    cores: 8\n    \
         time: {constant: 1ms}\n    rateLimits: [{scope: global, rates: [{requests: 1000, burst: 50}]}]\n\
         faults: [{at: 10s, do: {restart: {every: 2s, drain: 500ms, down: 500ms}}}]\n",
    );
    let goodput = report.total.all.goodput;
    assert!((850.0..=1000.0).contains(&goodput), "{goodput}");
    let service = &report.services[0].groups[0];
    assert!(service.completed_min > service.completed_max / 2, "{service:?}");
}

/// The cookbook's.
const GONE: &str = include_str!("../../../examples/simulate/control-plane-gone.yaml");

/// What both groups of clients get in a phase, a second.
fn goodput(report: &Report, phase: &str) -> [f64; 2] {
    let phase = report.phases.iter().find(|one| one.name == phase).unwrap();
    [phase.clients[0].goodput, phase.clients[1].goodput]
}

#[test]
fn without_the_control_plane_each_proxy_does_what_the_limit_says() {
    let alone = |how: &str| {
        let text = GONE.replace("scope: global", &format!("scope: global\n        alone: {how}"));
        let report = world(&text);
        // Until then, and once it is back, they share what there is by what they are asked for.
        for phase in ["before", "after"] {
            let [eu, us] = goodput(&report, phase);
            assert!(
                (150.0..180.0).contains(&eu) && (740.0..810.0).contains(&us),
                "{how}, {phase}: {eu} {us}"
            );
        }
        goodput(&report, "gone")
    };
    let [eu, us] = alone("share");
    assert!(eu > 190.0 && (490.0..530.0).contains(&us), "{eu} {us}");
    let [eu, us] = alone("open");
    assert!(eu > 190.0 && us > 1300.0, "{eu} {us}");
    let [eu, us] = alone("closed");
    assert_eq!([eu, us], [0.0, 0.0]);
}

/// What another control plane has leased may be held for three seconds more.
#[test]
fn a_control_plane_that_begins_gives_no_leases_at_first() {
    let text = GONE
        .replace("scope: global", "scope: global\n        alone: closed")
        .replace("{name: after, at: 46s}", "{name: it gives leases, at: 42900ms}");
    let report = world(&text);
    assert_eq!(goodput(&report, "it begins anew"), [0.0, 0.0]);
    let [eu, us] = goodput(&report, "it gives leases");
    assert!(eu > 100.0 && us > 600.0, "{eu} {us}");
}

#[test]
fn who_is_cut_off_alone_keeps_to_an_even_share() {
    let text = GONE.replace("do: controlPlaneGone", "clients: [us], do: controlPlaneGone");
    let [eu, us] = goodput(&world(&text), "gone");
    assert!(eu > 190.0 && (490.0..530.0).contains(&us), "{eu} {us}");
    let text = GONE.replace("do: controlPlaneGone", "clients: [eu], do: controlPlaneGone");
    let [_, us] = goodput(&world(&text), "gone");
    assert!(us > 700.0, "the others are given leases still: {us}");
}

#[test]
fn without_the_control_plane_nobody_hears_of_servers() {
    let errors = |fault: &str| {
        let report = world(&format!(
            "duration: 30s\nwarmUp: 5s\nphases: [{{name: gone, at: 0s}}, {{name: after, at: 25s}}]\n\
             clients: [{{name: web, arrivals: {{rate: 500}}, timeout: 1s}}]\nservices:\n- name: shop\n  \
             trafficPolicy: {{balance: {{policy: round_robin}}}}\n  servers: [{{count: 1, cores: 8, time: {{constant: 1ms}}}}]\n\
             faults:\n- {{at: 6s, do: {{add: {{count: 1}}}}}}\n{fault}"
        ));
        let added = report.services[0].groups[0].completed_by_server[1];
        (added, report.total.all.error_ratio)
    };
    let (told, none) = errors("");
    let (late, still_none) = errors("- {at: 5s, for: 20s, do: controlPlaneGone}\n");
    assert_eq!((none, still_none), (0.0, 0.0));
    // Half of 500 a second, for 24 s; or for the 5 s since they have heard of it.
    assert!((5500..6100).contains(&told) && (1150..1350).contains(&late), "{told} {late}");
}
