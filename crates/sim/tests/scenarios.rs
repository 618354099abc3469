//! The scenarios under `examples/simulate`: all of them can be read and run, and what they are said to show is so.

use std::path::{Path, PathBuf};

use weir_model::units::Span;
use weir_sim::scenario::Order;
use weir_sim::{Report, Scenario, plot, summary};

fn run(scenario: &Scenario) -> Report {
    weir_sim::run(scenario).unwrap_or_else(|stopped| panic!("{stopped}"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/simulate")
}

fn load(path: &Path) -> (String, Scenario) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = path.display().to_string();
    let scenario = Scenario::parse(&name, &text).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    });
    (text, scenario)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn named(name: &str) -> Scenario {
    load(&folder().join(name).with_extension("yaml")).1
}

/// The first seconds of a scenario, with everything later moved there.
fn brief(mut scenario: Scenario, length: f64) -> Scenario {
    let factor = length / scenario.duration.0.as_secs_f64();
    let scale = |span: &mut Span| span.0 = span.0.mul_f64(factor);
    scale(&mut scenario.duration);
    scenario.warm_up.iter_mut().for_each(scale);
    scenario.interval.iter_mut().for_each(scale);
    scenario.phases.iter_mut().for_each(|phase| scale(&mut phase.at));
    scenario.faults.iter_mut().for_each(|fault| {
        scale(&mut fault.at);
        fault.lasts.iter_mut().for_each(scale);
    });
    for arrivals in scenario.clients.iter_mut().filter_map(|clients| clients.arrivals.as_mut()) {
        arrivals.steps.iter_mut().for_each(|step| scale(&mut step.at));
    }
    for servers in scenario.services.iter_mut().flat_map(|service| &mut service.servers) {
        // A hundred thousand servers are for full runs.
        if servers.count > 1000 {
            let share = servers.count / 1000;
            servers.count /= share;
            for arrivals in scenario.clients.iter_mut().filter_map(|clients| clients.arrivals.as_mut()) {
                arrivals.rate /= f64::from(share);
            }
        }
    }
    scenario
}

#[test]
fn every_scenario_says_what_it_shows_and_runs() {
    let cookbook = files(&folder());
    assert!(cookbook.len() >= 10, "{cookbook:?}");
    for path in cookbook
        .into_iter()
        .chain(files(&folder().join("experiments")))
        .chain(files(&folder().join("ablation")))
    {
        let (text, scenario) = load(&path);
        assert!(text.starts_with("# "), "{}: no comment on what it shows", path.display());
        let report = run(&brief(scenario, 0.6));
        assert!(report.total.all.requests > 0, "{}: nobody asked for anything", path.display());
        let svg = plot::plot(&report);
        assert!(
            svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"),
            "{}",
            path.display()
        );
        assert!(summary(&report).contains("GOODPUT"), "{}", path.display());
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for path in files(&folder()) {
        let scenario = brief(load(&path).1, 1.0);
        let (one, two) = (run(&scenario), run(&scenario));
        assert_eq!(one.to_json(), two.to_json(), "{}", path.display());
        assert_eq!(plot::plot(&one), plot::plot(&two), "{}", path.display());
    }
    let mut scenario = brief(named("slow-server"), 1.0);
    let one = run(&scenario).to_json();
    scenario.seed = Some(2);
    assert_ne!(run(&scenario).to_json(), one);
}

/// Written down once: a change of these numbers means that runs of today can no longer be compared with those of yesterday.
#[test]
fn chance_does_not_change_unnoticed() {
    let text = "duration: 5s\nclients: [{name: web, arrivals: {rate: 500}, timeout: 1s}]\n\
                services:\n- name: shop\n  servers: [{count: 4, cores: 2, time: {exponential: 10ms}}]\n";
    let report = run(&Scenario::parse("-", text).unwrap());
    let all = &report.total.all;
    assert_eq!((report.events, all.requests, report.total.attempts), GOLDEN);
}

/// Events, requests and attempts of the world above.
const GOLDEN: (u64, u64, u64) = (9935, 2425, 2425);

fn phase<'a>(report: &'a Report, name: &str) -> &'a weir_sim::report::PhaseReport {
    report.phases.iter().find(|phase| phase.name == name).unwrap()
}

#[test]
fn a_death_is_hidden_by_a_retry() {
    let report = run(&brief(named("instance-death"), 6.0));
    let dead = phase(&report, "dead");
    assert!(dead.retries > 0 && dead.all.error_ratio < 0.001, "{dead:?}");
    let mut alone = brief(named("instance-death"), 6.0);
    alone.services[0].traffic_policy.as_mut().unwrap().retry.as_mut().unwrap().attempts = 0;
    assert!(phase(&run(&alone), "dead").all.error_ratio > dead.all.error_ratio);
}

#[test]
fn who_loses_his_own_zone_is_served_by_the_others() {
    let report = run(&named("zone-loss"));
    let lost = phase(&report, "zone a lost");
    let of = |name: &str| lost.clients.iter().find(|clients| clients.name == name).unwrap();
    assert!(of("web-a").error_ratio < 0.01 && of("web-b").error_ratio < 0.01, "{lost:?}");
}

#[test]
fn a_flash_sale_is_shed_at_the_door() {
    let with = run(&named("flash-sale"));
    let mut without = brief(named("flash-sale"), 30.0);
    without.services[0].servers[0].rate_limits.clear();
    let without = run(&without);
    let later = phase(&with, "it goes on");
    assert!(later.all.goodput > 0.9 * 1960.0, "{later:?}");
    let p99 = |name: &str| phase(&with, name).all.latency.unwrap().p99;
    assert!(p99("it begins") > 2.0 * p99("before"), "the limit has to be found");
    assert!(p99("it goes on") < 1.25 * p99("before"), "{later:?}");
    assert!(phase(&with, "after").all.error_ratio < 0.03, "{:?}", phase(&with, "after"));
    assert!(phase(&without, "it goes on").all.error_ratio > 0.99, "{:?}", phase(&without, "it goes on"));
}

#[test]
fn a_storm_outlives_its_cause_where_clients_retry_as_they_like() {
    let report = run(&named("retry-storm"));
    let (failing, after) = (phase(&report, "half fails"), phase(&report, "after"));
    assert!(failing.all.tries > 5 * failing.all.requests / 2, "{failing:?}");
    assert!(after.all.tries > 39 * after.all.requests / 10 && after.all.goodput == 0.0, "{after:?}");
    assert!(after.retries < after.all.tries / 4, "{after:?}");
    let mut calm = named("retry-storm");
    calm.clients[0].retry = None;
    let calm = run(&calm);
    assert_eq!(phase(&calm, "after").all.error_ratio, 0.0, "{:?}", phase(&calm, "after"));
    assert!(summary(&report).contains("  TRIES  ") && !summary(&calm).contains("  TRIES  "));
}

#[test]
fn a_metastable_failure_needs_more_than_a_deadline() {
    let goodput = |edit: &dyn Fn(&mut Scenario)| {
        let mut scenario = named("metastable-failure");
        scenario.duration = Span(std::time::Duration::from_secs(35));
        edit(&mut scenario);
        phase(&run(&scenario), "after").all.goodput
    };
    let queue = |scenario: &mut Scenario| scenario.services[0].servers[0].queue.drop_expired = true;
    assert!(goodput(&|_| {}) < 1.0);
    assert!((400.0..800.0).contains(&goodput(&queue)), "a quarter gets through");
    let bounded = goodput(&|scenario| {
        queue(scenario);
        scenario.clients[0].retry = None;
    });
    let last_first = goodput(&|scenario| {
        queue(scenario);
        scenario.services[0].servers[0].queue.order = Order::Lifo;
    });
    assert!(bounded > 2350.0 && last_first > 2350.0, "{bounded} {last_first}");
}

#[test]
fn a_second_request_cuts_off_the_tail() {
    let with = run(&named("hedging"));
    let mut without = named("hedging");
    without.services[0].traffic_policy.as_mut().unwrap().hedge = None;
    let without = run(&without);
    let (long, short) = (without.total.all.latency.unwrap(), with.total.all.latency.unwrap());
    assert!(short.p99 < 0.55 * long.p99 && short.p999 < 0.2 * long.p999, "{short:?} {long:?}");
    let more = with.total.hedges as f64 / with.total.all.requests as f64;
    assert!((0.04..0.06).contains(&more), "{more}");
    assert!(summary(&with).contains("  HEDGES  ") && !summary(&without).contains("HEDGES"));
}

#[test]
fn cold_instances_get_little_at_first() {
    let added = |report: &Report| phase(report, "four are added").all.latency.unwrap().p99;
    let with = run(&named("slow-start"));
    assert!(added(&with) < 1.2 * phase(&with, "before").all.latency.unwrap().p99, "{}", added(&with));
    let mut without = named("slow-start");
    without.services[0].traffic_policy.as_mut().unwrap().balance.as_mut().unwrap().slow_start = None;
    assert!(added(&run(&without)) > 1000.0);
}

#[test]
fn a_neighbour_is_held_to_its_limit() {
    let report = run(&brief(named("noisy-neighbour"), 6.0));
    let batch = phase(&report, "batch");
    let of = |name: &str| batch.clients.iter().find(|clients| clients.name == name).unwrap();
    assert!(of("front").error_ratio < 0.05, "{batch:?}");
    assert!(of("batch").goodput < 480.0 && of("batch").error_ratio > 0.8, "{batch:?}");
}

#[test]
fn a_rolling_upgrade_loses_nothing() {
    let report = run(&named("rolling-upgrade"));
    assert_eq!(report.total.all.error_ratio, 0.0, "{:?}", report.total);
}

#[test]
fn a_breaker_falls_back_and_closes_again() {
    let report = run(&named("breaker-with-fallback"));
    let broken = phase(&report, "broken");
    let fallbacks = broken.all.outcomes.get("fallback").copied().unwrap_or(0);
    assert!(broken.trips >= 1 && fallbacks > broken.all.requests * 3 / 4, "{broken:?}");
    let after = phase(&report, "after");
    assert!(after.all.outcomes["ok"] > after.all.requests / 2, "{after:?}");
}

#[test]
fn a_second_fallback_answers_but_goes_no_further() {
    let outcomes = |fallback: &str| {
        let text = format!(
            "duration: 10s\nclients: [{{name: web, arrivals: {{rate: 100}}, timeout: 1s}}]\nservices:\n\
             - name: a\n  trafficPolicy: {{breakers: [{{strategy: consecutive, failures: 1, open: 1m, fallback: {{service: {{name: b}}}}}}]}}\n  \
               servers: [{{count: 1, cores: 2, time: {{constant: 1ms}}}}]\n\
             - name: b\n  trafficPolicy: {{breakers: [{{strategy: consecutive, failures: 1, open: 1m{fallback}}}]}}\n  \
               servers: [{{count: 1, cores: 2, time: {{constant: 1ms}}}}]\n\
             - name: c\n  servers: [{{count: 1, cores: 2, time: {{constant: 1ms}}}}]\n\
             faults:\n\
             - {{at: 0s, for: 10s, servers: {{service: a}}, do: {{fail: {{ratio: 1, status: 500, time: {{constant: 1ms}}}}}}}}\n\
             - {{at: 0s, for: 10s, servers: {{service: b}}, do: {{fail: {{ratio: 1, status: 500, time: {{constant: 1ms}}}}}}}}\n"
        );
        let text = text.replacen("name: web,", "name: web, service: a,", 1);
        let all = run(&Scenario::parse("-", &text).unwrap()).total.all;
        let of = |name: &str| all.outcomes.get(name).copied().unwrap_or(0) > all.requests / 2;
        (of("fallback"), of("broken"))
    };
    assert_eq!(outcomes(""), (false, true));
    assert_eq!(outcomes(", fallback: {response: {status: 200}}"), (true, false));
    assert_eq!(outcomes(", fallback: {service: {name: c}}"), (false, true));
}

#[test]
fn a_fallbacks_limits_hold_and_the_firsts_are_left() {
    let outcomes = |limit: &str| {
        let text = format!(
            "duration: 20s\nwarmUp: 5s\nclients: [{{name: web, service: a, arrivals: {{process: constant, rate: 100}}, timeout: 5s}}]\n\
             services:\n- name: a\n  rateLimits: [{{algorithm: concurrency, concurrencyMax: 1}}]\n  \
             trafficPolicy: {{breakers: [{{strategy: consecutive, failures: 1, open: 1m, fallback: {{service: {{name: b}}}}}}]}}\n  \
               servers: [{{count: 1, cores: 2, time: {{constant: 1ms}}}}]\n\
             - name: b\n  rateLimits: [{{{limit}}}]\n  servers: [{{count: 1, cores: 50, time: {{constant: 95ms}}}}]\n\
             faults: [{{at: 0s, servers: {{service: a}}, do: {{fail: {{ratio: 1, status: 500}}}}}}]\n"
        );
        run(&Scenario::parse("-", &text).unwrap()).total.all
    };
    let share = |all: &weir_sim::report::ClientsReport, name: &str| {
        all.outcomes.get(name).copied().unwrap_or(0) as f64 / all.requests as f64
    };
    // Ten at a time are under way there, which are one at a time where they came from.
    let all = outcomes("algorithm: concurrency, concurrencyMax: 20");
    assert!(share(&all, "fallback") > 0.98, "{all:?}");
    let all = outcomes("rates: [{requests: 60, burst: 10}]");
    assert!((share(&all, "limited") - 0.4).abs() < 0.02, "{all:?}");
    let all = outcomes("algorithm: concurrency, concurrencyMax: 5");
    assert!((share(&all, "shed") - 0.5).abs() < 0.02, "{all:?}");
    // Nine at a time take nine of ten, and a queue makes more of them.
    let all = outcomes("algorithm: concurrency, concurrencyMax: 9");
    assert!((share(&all, "fallback") - 0.9).abs() < 0.005, "{all:?}");
    let all = outcomes("algorithm: concurrency, concurrencyMax: 9, queue: {max: 1000, timeout: 4s}");
    assert!(share(&all, "fallback") > 0.93, "{all:?}");
    let all = outcomes("algorithm: leaky_bucket, rates: [{requests: 90}], queue: {max: 50, timeout: 4s}");
    assert!((share(&all, "fallback") - 0.9).abs() < 0.04 && all.latency.unwrap().p50 > 300.0, "{all:?}");
}

/// A service `a` that fails, whose calls go to `b`.
fn falling_back(clients: &str, a: &str, b: &str) -> Report {
    let breaker =
        "breakers: [{strategy: consecutive, failures: 1, open: 1m, fallback: {service: {name: b}}}]";
    let text = format!(
        "duration: 20s\nwarmUp: 5s\nclients: [{clients}]\n\
         services:\n- name: a\n  trafficPolicy: {{{breaker}{a}}}\n  servers: [{{count: 1, cores: 2, time: {{constant: 1ms}}}}]\n\
         - name: b\n  {b}\n\
         faults: [{{at: 0s, servers: {{service: a}}, do: {{fail: {{ratio: 1, status: 500}}}}}}]\n"
    );
    run(&Scenario::parse("-", &text).unwrap_or_else(|errors| panic!("{errors:?}")))
}

#[test]
fn where_nobody_is_there_to_answer_a_fallback_takes_nothing_of_a_rate() {
    let web = "{name: web, service: a, arrivals: {process: constant, rate: 10}}";
    let nobody =
        "rateLimits: [{rates: [{requests: 5, per: 1h}]}]\n  servers: [{count: 0, time: {constant: 1ms}}]";
    let report = falling_back(web, "", nobody);
    let outcomes: Vec<&str> = report.total.all.outcomes.keys().map(AsRef::as_ref).collect();
    assert_eq!(outcomes, ["unavailable"], "{:?}", report.total.all);
    assert!(report.to_json().contains("token_bucket: 5 left of 5"), "{}", report.to_json());
}

#[test]
fn the_important_ones_go_first_at_a_fallback_too() {
    let class = |name: &str, rate: u32| {
        format!(
            "{{name: {name}, service: a, arrivals: {{rate: {rate}}}, request: {{headers: [{{name: x-class, value: {name}}}]}}}}"
        )
    };
    let limit = "algorithm: concurrency, concurrencyMax: 5, queue: {max: 20, timeout: 1s}, \
                 priority: {header: x-class, levels: [gold, basic]}";
    let b =
        format!("rateLimits: [{{{limit}}}]\n  servers: [{{count: 1, cores: 5, time: {{constant: 20ms}}}}]");
    // 250 a second fit.
    let report = falling_back(&format!("{}, {}", class("gold", 100), class("basic", 400)), "", &b);
    let share = |name: &str, outcome: &str| {
        let group = report.total.clients.iter().find(|group| group.name == name).unwrap();
        group.outcomes.get(outcome).copied().unwrap_or(0) as f64 / group.requests as f64
    };
    assert!(share("gold", "fallback") > 0.97, "{:?}", report.total);
    let left = share("basic", "fallback");
    assert!((0.3..0.45).contains(&left) && share("basic", "shed") > 0.5, "{:?}", report.total);
}

#[test]
fn a_turn_that_would_come_too_late_is_refused_at_once_and_is_others() {
    let even = "algorithm: leaky_bucket, rates: [{requests: 10}], queue: {max: 1000, timeout: 5m}";
    let outcomes = |timeouts: &str, limits: &str, sidecar: &str| {
        let text = format!(
            "duration: 60s\nwarmUp: 10s\nclients: [{{name: web, arrivals: {{process: constant, rate: 20}}}}]\n\
             services:\n- name: a\n  trafficPolicy: {{retry: {{attempts: 0}}, timeouts: {timeouts}}}\n  rateLimits: [{limits}]\n  \
               servers: [{{count: 1, cores: 10, time: {{constant: 1ms}}, rateLimits: [{sidecar}]}}]\n"
        );
        let scenario = Scenario::parse("-", &text).unwrap_or_else(|errors| panic!("{errors:?}"));
        run(&scenario).total.all
    };
    let limit = format!("{{{even}}}");
    let cases = [
        ("{request: 2s}", &*limit, ""),
        ("{request: 2s}", "", &*limit),
        ("{request: 1m, perTry: 2s}", "", &*limit),
    ];
    for (timeouts, limits, sidecar) in cases {
        let all = outcomes(timeouts, limits, sidecar);
        // Half of them fit: those are answered before their time is over, and nobody waits in vain.
        let share = |name: &str| all.outcomes.get(name).copied().unwrap_or(0) as f64 / all.requests as f64;
        assert!((share("limited") - 0.5).abs() < 0.02, "{timeouts}: {all:?}");
        assert!((share("ok") - 0.5).abs() < 0.02, "{timeouts}: {all:?}");
        assert!(all.latency.as_ref().unwrap().max <= 2000.0, "{timeouts}: {all:?}");
    }
}

#[test]
fn a_long_queue_before_an_open_breaker_is_worked_off() {
    let text = "duration: 3s\nclients: [{name: web, arrivals: {rate: 40000}}]\nservices:\n- name: a\n  \
                rateLimits: [{algorithm: concurrency, concurrencyMax: 1, queue: {max: 100000, timeout: 1m}}]\n  \
                trafficPolicy: {retry: {attempts: 0}, breakers: [{strategy: consecutive, failures: 1, open: 1m}]}\n  \
                servers: [{count: 1, time: {constant: 2s}}]\nfaults: [{at: 0s, do: {fail: {ratio: 1, status: 500}}}]\n";
    let all = run(&Scenario::parse("-", text).unwrap()).total.all;
    assert!(all.outcomes["broken"] > 100_000, "{all:?}");
}

#[test]
fn documents_are_put_in_force() {
    let mut scenario = named("slow-server");
    let text = "kind: TrafficPolicy\nmetadata: {name: p}\nspec:\n  targetRefs: [{name: shop}]\n  retry: {attempts: 0}\n---\n\
                kind: RateLimit\nmetadata: {name: l}\nspec:\n  targetRefs: [{name: other}]\n  rates: [{requests: 5}]\n";
    let parsed = weir_model::document::parse("-", text).unwrap();
    let used: Vec<Option<usize>> =
        parsed.documents.iter().map(|document| scenario.put_in_force(&document.resource)).collect();
    assert_eq!(used, [Some(1), None]);
    let policy = scenario.services[0].traffic_policy.as_ref().unwrap();
    assert_eq!((policy.retry.as_ref().unwrap().attempts, policy.balance.is_none()), (0, true));
}

#[test]
fn where_nothing_is_answered_well_there_is_no_latency() {
    let text = "\
duration: 2s
clients: [{name: web, arrivals: {rate: 100}}]
services: [{name: shop, servers: [{count: 1, time: {constant: 1ms}}]}]
faults: [{at: 0s, do: {fail: {ratio: 1}}}]
";
    let scenario = Scenario::parse("dead.yaml", text).unwrap();
    let report = run(&scenario);
    assert!(report.to_json().contains("\"latency\": null"), "{}", report.to_json());
    let text = summary(&report);
    let row: Vec<&str> =
        text.lines().find(|line| line.contains("100.0 %")).unwrap().split_whitespace().collect();
    // After the share of errors come three latencies and then counts.
    let at = row.iter().position(|cell| *cell == "%").unwrap();
    assert_eq!(row[at + 1..at + 5], ["-", "-", "-", "0"], "{text}");
}
