//! The experiments whose outcome is known from theory or from a paper, with their scenarios in `examples/simulate/experiments`.
//!
//! Here they run small, so that they are quick without optimisation; the ranges are those of the full size, widened by what
//! chance does to a smaller sample. `full_size` runs them as they stand:
//! `cargo test --release -p weir-sim --test experiments -- --ignored --nocapture`.

#[path = "experiments/worlds.rs"]
mod worlds;

use weir_model::units::Span;
use weir_sim::{Report, Scenario};
use worlds::{backoff, bins};

fn run(scenario: &Scenario) -> Report {
    weir_sim::run(scenario).unwrap_or_else(|stopped| panic!("{stopped}"))
}

fn scenario(name: &str) -> Scenario {
    let path = format!("{}/../../examples/simulate/experiments/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    Scenario::parse(&path, &text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn secs(secs: u64) -> Span {
    Span(std::time::Duration::from_secs(secs))
}

/// The supermarket model with so many servers, at a load, for so long after a warm-up. The mean time in the system, in
/// service times.
fn supermarket(name: &str, servers: u32, load: f64, warm_up: u64, measured: u64) -> f64 {
    let mut scenario = scenario(name);
    scenario.services[0].servers[0].count = servers;
    scenario.clients[0].arrivals.as_mut().unwrap().rate = f64::from(servers) * load;
    scenario.warm_up = Some(secs(warm_up));
    scenario.duration = secs(warm_up + measured);
    let report = run(&scenario);
    assert_eq!(report.total.all.error_ratio, 0.0);
    report.total.all.latency.unwrap().mean / 1000.0
}

/// The mean time in the system for infinitely many servers: the sum over i >= 1 of load^((d^i - d) / (d - 1)).
fn expected(load: f64, choices: u32) -> f64 {
    if choices == 1 {
        return 1.0 / (1.0 - load);
    }
    let d = f64::from(choices);
    (1..60).map(|i| load.powf((d.powi(i) - d) / (d - 1.0))).sum()
}

fn assert_near(what: &str, got: f64, expected: f64, share: f64) {
    assert!((got / expected - 1.0).abs() <= share, "{what}: {got:.3}, expected {expected:.3} within {share}");
}

#[test]
fn theory_says_what_it_is_said_to_say() {
    for (load, two) in [(0.9, 2.61), (0.95, 3.38), (0.99, 5.43)] {
        assert_near("two choices", expected(load, 2), two, 0.002);
    }
}

#[test]
fn two_choices_make_a_supermarket_quick() {
    let got = supermarket("supermarket-two-choices", 1000, 0.9, 60, 120);
    assert_near("d = 2, load 0.9", got, expected(0.9, 2), 0.04);
    let got = supermarket("supermarket-one-choice", 200, 0.8, 300, 900);
    assert_near("d = 1, load 0.8", got, expected(0.8, 1), 0.08);
}

#[test]
fn two_choices_fill_bins_evenly() {
    let one = bins(100_000, weir_policy::balance::Policy::Random, 1);
    let two = bins(100_000, weir_policy::balance::Policy::LeastRequest, 1);
    assert!((6..=10).contains(&one), "one choice: {one}");
    assert!((3..=4).contains(&two), "two choices: {two}");
}

#[test]
fn maglev_is_even_and_moves_little() {
    let table = worlds::maglev(1000, &[]);
    assert_near("largest", worlds::largest_over_mean(&table, 1000), 1.01, 0.0101);
    let one = worlds::moved(&table, &worlds::maglev(1000, &[500]));
    let ten: Vec<usize> = (0..10).map(|n| n * 100 + 7).collect();
    let ten = worlds::moved(&table, &worlds::maglev(1000, &ten));
    // With the paper's 65,537 entries: 0.5 to 0.9 %, and 2.8 to 3.8 %. With twice as many, less moves.
    assert!((0.001..=0.009).contains(&one), "removing 1 of 1000 moves {one}");
    assert!((0.010..=0.038).contains(&ten), "removing 10 of 1000 moves {ten}");
}

#[test]
fn full_jitter_saves_calls_in_contention() {
    let (jitter, none) = (backoff(100, true, 1), backoff(100, false, 1));
    assert!((700..=900).contains(&jitter), "with full jitter: {jitter} calls");
    assert!((2200..=2700).contains(&none), "without backoff: {none} calls");
}

/// Goodput in the last phase, as a share of what is wanted.
fn goodput_after(report: &Report) -> f64 {
    let after = report.phases.last().unwrap();
    after.all.goodput / (after.all.requests as f64 / (after.to - after.from))
}

fn metastable(name: &str) -> f64 {
    let mut scenario = scenario(name);
    // A quarter of the servers and of the load, and half of the time.
    scenario.services[0].servers[0].count /= 4;
    scenario.clients[0].arrivals.as_mut().unwrap().rate /= 4.0;
    scenario.duration = secs(30);
    goodput_after(&run(&scenario))
}

#[test]
fn a_failure_outlives_its_cause_without_budget_and_deadline_drop() {
    let without = metastable("metastable-without");
    let with = metastable("metastable-with-budget-and-drop");
    assert!(without < 0.05, "without: {without}");
    assert!(with > 0.95, "with: {with}");
}

#[test]
fn when_all_servers_stop_nobody_is_ejected_and_all_serve_at_once_when_they_go_on() {
    let scenario = scenario("metastable-with-budget-and-drop");
    let report = run(&scenario);
    let of = |name: &str| report.phases.iter().find(|phase| phase.name == name).unwrap();
    assert!(of("pause").all.goodput < 0.1 * of("before").all.goodput, "it is an outage");
    // The queue that the pause left is thrown away within the first of these five seconds.
    let recovery = of("recovery").all.goodput / of("before").all.goodput;
    assert!(recovery > 0.9, "of the goodput before, {recovery:.3} is back right after the pause");
    let ejections: u64 = report.phases.iter().map(|phase| phase.ejections).sum();
    assert_eq!(ejections, 0);
}

/// The p99.9 of each phase in milliseconds.
fn tails(name: &str, share: u32) -> Vec<f64> {
    let mut scenario = scenario(name);
    if share > 1 {
        // Fewer seconds a step, and half of the servers, clients and load.
        scenario.services[0].servers.iter_mut().for_each(|servers| servers.count /= 2);
        let clients = &mut scenario.clients[0];
        clients.proxies = clients.proxies.map(|proxies| proxies / 2);
        let arrivals = clients.arrivals.as_mut().unwrap();
        arrivals.rate /= 2.0;
        arrivals.steps.iter_mut().for_each(|step| step.rate /= 2.0);
        for (index, phase) in scenario.phases.iter_mut().enumerate() {
            phase.at = Span(phase.at.0 / share);
            let steps = &mut scenario.clients[0].arrivals.as_mut().unwrap().steps;
            if index > 0 {
                steps[index - 1].at = phase.at;
            }
        }
        scenario.duration = Span(scenario.duration.0 / share);
        scenario.warm_up = scenario.warm_up.map(|warm_up| Span(warm_up.0 / share));
    }
    run(&scenario).phases.iter().map(|phase| phase.all.latency.unwrap().p999).collect()
}

#[test]
fn prequal_bears_load_that_weighted_round_robin_does_not() {
    let (turns, prequal) = (tails("prequal-round-robin", 10), tails("prequal-probes", 10));
    // Steps: 0.75, 0.93, 1.09, 1.31, 1.55, 1.74 of capacity.
    assert!(turns[0] < 700.0 && prequal[0] < 700.0, "at 0.75: {turns:?} {prequal:?}");
    assert!(
        turns[3] > 2.0 * turns[0] && turns[5] > 4.0 * turns[0],
        "in turn: {turns:?}, by probes: {prequal:?}"
    );
    assert!(prequal[4] < 1.6 * prequal[0], "in turn: {turns:?}, by probes: {prequal:?}");
}

#[test]
#[ignore = "takes minutes; for the figures of the full size"]
#[allow(clippy::print_stdout, reason = "figures for people")]
fn full_size() {
    for (load, servers, warm_up, measured) in
        [(0.9, 100_000, 50, 50), (0.95, 100_000, 100, 50), (0.99, 100_000, 400, 50)]
    {
        let got = supermarket("supermarket-two-choices", servers, load, warm_up, measured);
        println!("supermarket d = 2, load {load}: {got:.3}, expected {:.3}", expected(load, 2));
        assert_near("d = 2", got, expected(load, 2), 0.03);
    }
    for (load, servers, warm_up, measured) in
        [(0.9, 10_000, 2_000, 1_000), (0.95, 5_000, 6_000, 2_000), (0.99, 200, 60_000, 200_000)]
    {
        let got = supermarket("supermarket-one-choice", servers, load, warm_up, measured);
        println!("supermarket d = 1, load {load}: {got:.3}, expected {:.3}", expected(load, 1));
        assert_near("d = 1", got, expected(load, 1), if load > 0.98 { 0.1 } else { 0.03 });
    }
    for seed in 1..=3 {
        let (one, two) = (
            bins(100_000, weir_policy::balance::Policy::Random, seed),
            bins(100_000, weir_policy::balance::Policy::LeastRequest, seed),
        );
        println!("balls into bins: one choice {one}, two {two}");
        println!(
            "backoff: full jitter {} calls, none {}",
            backoff(100, true, seed),
            backoff(100, false, seed)
        );
    }
    let table = worlds::maglev(1000, &[]);
    let ten: Vec<usize> = (0..10).map(|n| n * 100 + 7).collect();
    println!(
        "maglev: largest/mean {:.4}, 1 removed moves {:.4}, 10 removed {:.4}",
        worlds::largest_over_mean(&table, 1000),
        worlds::moved(&table, &worlds::maglev(1000, &[500])),
        worlds::moved(&table, &worlds::maglev(1000, &ten))
    );
    for name in ["metastable-without", "metastable-with-budget-and-drop"] {
        println!(
            "{name}: goodput after the pause {:.3} of what is wanted",
            goodput_after(&run(&scenario(name)))
        );
    }
    for name in ["prequal-round-robin", "prequal-probes"] {
        println!("{name}: p99.9 in ms by step {:.0?}", tails(name, 1));
    }
}
