//! Worlds of the least and the most that a scenario may say: what is accepted runs to its end, whatever it is.

use proptest::prelude::*;
use proptest::sample::select;
use weir_sim::Scenario;

/// Lengths of time from nothing to the longest that can be written.
const SPANS: [&str; 6] = ["0s", "1ns", "1ms", "3s", "24h", "87600h"];

fn span() -> impl Strategy<Value = &'static str> {
    select(&SPANS[..])
}

fn distribution() -> impl Strategy<Value = String> {
    let shape = select(&["0.1", "1", "100"][..]);
    prop_oneof![
        span().prop_map(|span| format!("{{constant: {span}}}")),
        span().prop_map(|span| format!("{{exponential: {span}}}")),
        (span(), span()).prop_map(|(mean, by)| format!("{{normal: {{mean: {mean}, deviation: {by}}}}}")),
        (span(), select(&["0", "10"][..]))
            .prop_map(|(median, sigma)| format!("{{lognormal: {{median: {median}, sigma: {sigma}}}}}")),
        (span(), shape).prop_map(|(least, shape)| format!("{{pareto: {{least: {least}, shape: {shape}}}}}")),
        (span(), span()).prop_map(|(from, to)| format!("{{uniform: {{from: {from}, to: {to}}}}}")),
    ]
}

fn action() -> impl Strategy<Value = String> {
    prop_oneof![
        select(&["pause", "kill", "drain", "partition", "{slow: 1000000}", "{slow: 0.000001}"][..])
            .prop_map(str::to_owned),
        distribution().prop_map(|delay| format!("{{delay: {delay}}}")),
        distribution().prop_map(|time| format!("{{fail: {{ratio: 0.5, status: 503, time: {time}}}}}")),
        (span(), span(), span()).prop_map(|(every, drain, down)| {
            format!("{{restart: {{every: {every}, drain: {drain}, down: {down}}}}}")
        }),
        Just("{add: {count: 3}}".to_owned()),
    ]
}

fn fault() -> impl Strategy<Value = String> {
    let lasts = prop_oneof![Just(String::new()), span().prop_map(|lasts| format!("for: {lasts}, "))];
    (span(), lasts, action()).prop_map(|(at, lasts, action)| format!("- {{at: {at}, {lasts}do: {action}}}\n"))
}

fn servers() -> impl Strategy<Value = String> {
    let cores = select(&["1", "10000000"][..]);
    let limits = [
        "[]",
        "[{rates: [{requests: 1, per: 24h}]}]",
        "[{algorithm: adaptive, queue: {max: 2}}]",
        "[{algorithm: leaky_bucket, rates: [{requests: 1000000000}]}]",
    ];
    let limits = select(limits.to_vec());
    (distribution(), cores, select(&["0", "1", "10000000"][..]), limits, span()).prop_map(
        |(time, cores, max, limits, over)| {
            format!(
                "{{count: 3, cores: {cores}, time: {time}, queue: {{max: {max}, order: lifo}}, \
                 contention: 1000000, cold: {{factor: 1000000, over: {over}}}, rateLimits: {limits}}}"
            )
        },
    )
}

prop_compose! {
    fn scenario()(
        duration in select(&[("1ns", 1e9), ("1ms", 1e5), ("3s", 100.0), ("87600h", 1e-6)][..]),
        timeout in span(),
        retry in select(&["0", "3"][..]),
        base in span(),
        delay in distribution(),
        cross_zone in distribution(),
        evict in span(),
        policy in select(&["round_robin", "least_request", "peak_ewma", "prequal"][..]),
        servers in servers(),
        faults in prop::collection::vec(fault(), 0..4),
    ) -> String {
        let (duration, rate) = duration;
        let faults = if faults.is_empty() { "faults: []\n".to_owned() } else { format!("faults:\n{}", faults.concat()) };
        format!(
            "duration: {duration}\nnetwork: {{delay: {delay}, crossZone: {cross_zone}}}\n\
             discovery: {{evict: {evict}}}\nclients:\n- {{name: web, zone: a, proxies: 2, arrivals: {{rate: {rate}}}, \
             timeout: {timeout}, retry: {{attempts: {retry}, base: {base}}}}}\nservices:\n- name: shop\n  \
             trafficPolicy: {{balance: {{policy: {policy}}}, hedge: {{percentile: 0.9}}, \
             breakers: [{{callsMin: 1}}, {{level: instance, callsMin: 1}}]}}\n  servers: [{servers}]\n{faults}"
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_runs_to_its_end(text in scenario()) {
        let scenario = Scenario::parse("-", &text);
        // Most are: too many that are not would fail the test.
        prop_assume!(scenario.is_ok());
        let scenario = scenario.unwrap();
        let report = weir_sim::run(&scenario).unwrap();
        let group = &report.services[0].groups[0];
        prop_assert!((0.0..=1.0).contains(&group.utilisation), "{group:?}");
        let (all, latency) = (&report.total.all, report.total.all.latency);
        prop_assert!(all.error_ratio <= 1.0 && latency.is_none_or(|latency| latency.p50 <= latency.p99), "{all:?}");
        let svg = weir_sim::plot::plot(&report);
        prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        prop_assert_eq!(weir_sim::run(&scenario).unwrap().to_json(), report.to_json());
    }
}
