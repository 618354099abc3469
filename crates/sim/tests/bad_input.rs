//! Scenarios that cannot be used are refused with line, field and what was expected.

use weir_sim::Scenario;

const GOOD: &str = "\
duration: 10s
phases: [{name: one, at: 0s}]
clients:
- name: web
  arrivals: {rate: 10}
services:
- name: shop
  trafficPolicy:
    retry: {attempts: 1}
  rateLimits:
  - rates: [{requests: 5}]
  servers:
  - count: 1
    time: {constant: 1ms}
faults:
- {at: 1s, do: kill}
";

fn errors(text: &str) -> String {
    match Scenario::parse("s.yaml", text) {
        Ok(_) => String::new(),
        Err(errors) => errors.iter().map(|error| format!("{error}\n")).collect(),
    }
}

#[test]
fn the_good_one_is_good() {
    assert_eq!(errors(GOOD), "");
}

#[test]
fn faults_are_named_with_line_path_and_remedy() {
    let check = |from: &str, to: &str, parts: &[&str]| {
        assert!(GOOD.contains(from), "{from}");
        let got = errors(&GOOD.replace(from, to));
        for part in parts {
            assert!(got.contains(part), "{from} -> {to}: `{part}` is missing in\n{got}");
        }
    };
    check("duration: 10s", "duration: 0s", &["s.yaml:1: duration: ", "above zero"]);
    check("duration: 10s", "duraton: 10s", &["s.yaml:1: duraton: unknown field", "did you mean `duration`?"]);
    check("duration: 10s", "duration: 10", &["s.yaml:1: duration: ", "`250ms`"]);
    check("rate: 10", "rate: -1", &["s.yaml:5: clients[0].arrivals.rate: -1 is out of range", "0 to"]);
    check("  arrivals: {rate: 10}\n", "", &["clients[0]: they never send anything", "`arrivals` or `loop`"]);
    check("name: web", "name: web\n  service: shpo", &["clients[0].service", "did you mean `shop`?"]);
    check("name: web", "name: web\n  timeout: 0s", &["clients[0].timeout", "above zero"]);
    check(
        "{constant: 1ms}",
        "{constnt: 1ms}",
        &["s.yaml:14: ", "unknown value `constnt`", "did you mean `constant`?"],
    );
    check(
        "{constant: 1ms}",
        "{pareto: {least: 1ms, shape: 0}}",
        &["services[0].servers[0].time.pareto.shape", "above 0"],
    );
    check("count: 1", "count: -1", &["services[0].servers[0].count", "an integer from 0"]);
    check("attempts: 1", "attempts: 99", &["s.yaml:9: services[0].trafficPolicy.retry.attempts", "0 to 10"]);
    // Specs say here what they say in documents.
    check(
        "attempts: 1",
        "attempts: -1",
        &["services[0].trafficPolicy.retry.attempts", "an integer from 0 to 10 was"],
    );
    check("{requests: 5}", "{requests: 1.5}", &["rates[0].requests", "an integer from 1 to 1000000000 was"]);
    check(
        "retry: {attempts: 1}",
        "breakers: [{failureRatio: 1.5}]",
        &["services[0].trafficPolicy.breakers[0].failureRatio"],
    );
    check(
        "retry: {attempts: 1}",
        "balance: {policy: fastest}",
        &["services[0].trafficPolicy.balance.policy", "`least_request`"],
    );
    check("{requests: 5}", "{requests: 0}", &["s.yaml:11: services[0].rateLimits[0].rates[0].requests"]);
    check("do: kill", "do: kil", &["s.yaml:16: faults[0].do", "did you mean `kill`?"]);
    check("at: 1s", "at: 11s", &["s.yaml:16: faults[0].at", "less than `duration`"]);
    check("do: kill", "servers: {zone: a}, do: kill", &["faults[0].servers.zone", "there is no `a`"]);
    check("do: kill", "clients: [web], do: kill", &["faults[0].clients", "`partition` and `delay`"]);
    check("do: kill", "do: {fail: {ratio: 2}}", &["faults[0].do.fail.ratio: 2 is out of range", "0 to 1"]);
    check("name: one, at: 0s", "name: one, at: 20s", &["phases[0].at", "less than `duration`"]);
}

#[test]
fn several_faults_are_found_at_once() {
    let got = errors(&GOOD.replace("rate: 10", "rate: -1").replace("count: 1", "cores: 0\n    count: 1"));
    assert_eq!(got.lines().count(), 2, "{got}");
}

#[test]
fn hostile_text_does_no_harm() {
    for text in ["", "{", "[]", "a: &a [*a]", "\u{0}", "duration: 1s\nclients: []\nservices: []\n"] {
        assert!(!errors(text).is_empty(), "{text:?}");
    }
}
