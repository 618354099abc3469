//! `weir simulate` as people run it: what it prints, what it writes, how it ends.

use std::path::Path;
use std::process::{Command, Output};

fn simulate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).arg("simulate").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const SCENARIO: &str = "\
duration: 5s
phases: [{name: before, at: 0s}, {name: failing, at: 2s}]
clients: [{name: web, arrivals: {rate: 200}, timeout: 1s}]
services:
- name: shop
  servers: [{count: 4, cores: 2, time: {exponential: 10ms}}]
faults:
- {at: 2s, do: {fail: {ratio: 0.5, status: 503}}}
";

const POLICY: &str = "\
kind: TrafficPolicy
metadata: {name: shop}
spec:
  targetRefs: [{name: shop}]
  timeouts: {request: 5ms}
";

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn the_same_seed_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = write(folder.path(), "outage.yaml", SCENARIO);
    let svg = folder.path().join("outage.svg").display().to_string();
    let (one, two) = (simulate(&[&scenario, "--svg", &svg]), simulate(&[&scenario]));
    assert_eq!((one.status.code(), text(&one.stdout)), (Some(0), text(&two.stdout)));
    assert!(text(&one.stdout).starts_with("outage: 5 s of virtual time, seed 1, "), "{}", text(&one.stdout));
    assert!(text(&one.stderr).contains("million events a second"), "{}", text(&one.stderr));
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg "));
    assert_ne!(text(&simulate(&[&scenario, "--seed", "2"]).stdout), text(&one.stdout));
}

#[test]
fn a_document_can_be_tried_before_it_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = write(folder.path(), "outage.yaml", SCENARIO);
    let policy = write(folder.path(), "policy.yaml", POLICY);
    let errors = |args: &[&str]| {
        let output = simulate(args);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["phases"][1]["all"]["errorRatio"].as_f64().unwrap()
    };
    let without = errors(&[&scenario, "--json"]);
    let with = errors(&[&scenario, "--json", "--with", &policy]);
    assert!(without < 0.6 && with > without + 0.1, "{without} {with}");
    let other = write(folder.path(), "other.yaml", &POLICY.replace("[{name: shop}]", "[{name: shpo}]"));
    let gateway = format!(
        "{POLICY}---\nkind: Gateway\nmetadata: {{name: edge}}\n\
        spec: {{listeners: [{{name: http, port: 8080, protocol: HTTP}}]}}\n"
    );
    let base = write(folder.path(), "base.yaml", &gateway);
    let output = simulate(&[&scenario, "--with", &base]);
    assert_eq!(output.status.code(), Some(3));
    let refused =
        "base.yaml:7: Gateway/edge: only a TrafficPolicy or a RateLimit can be put in force in a scenario";
    assert!(text(&output.stderr).contains(refused), "{}", text(&output.stderr));
    let output = simulate(&[&scenario, "--with", &other]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).contains(
            "no scenario has a service that it is for: spec.targetRefs[0]: there is no service `shpo`; did you mean `shop`?"
        ),
        "{}",
        text(&output.stderr)
    );
    // What it is for besides counts for nothing, and is said.
    let also = POLICY.replace("[{name: shop}]", "[{name: shop}, {kind: HTTPRoute, name: shop}]");
    let output = simulate(&[&scenario, "--with", &write(folder.path(), "also.yaml", &also)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = "also.yaml:1: TrafficPolicy/shop: spec.targetRefs[1]: HTTPRoute `shop`, where a scenario has services alone; \
                it counts for nothing here\n";
    assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("services[0].trafficPolicy"), "{}", text(&output.stderr));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = write(folder.path(), "bad.yaml", &SCENARIO.replace("count: 4", "cuont: 4"));
    let output = simulate(&[&scenario]);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.contains("bad.yaml:6: services[0].servers[0].cuont") && said.contains("`count`"), "{said}");
    assert_eq!(simulate(&["/nowhere.yaml"]).status.code(), Some(3));
    assert_eq!(simulate(&[]).status.code(), Some(2));
}

#[test]
fn documents_are_judged_where_they_are_put_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = write(folder.path(), "outage.yaml", SCENARIO);
    let falls_back =
        POLICY.replace("timeouts: {request: 5ms}", "breakers: [{fallback: {service: {name: other}}}]");
    let policy = write(folder.path(), "policy.yaml", &falls_back);
    let output = simulate(&[&scenario, "--with", &policy]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    for part in ["in force at `outage`", "breakers[0].fallback.service.name: there is no `other`", "`shop`"] {
        assert!(said.contains(part), "`{part}` is missing in\n{said}");
    }
    let shared = "kind: RateLimit\nmetadata: {name: all}\nspec:\n  targetRefs: [{name: shop}]\n  \
                  scope: global\n  alone: closed\n  rates: [{requests: 50}]\n";
    let limit = write(folder.path(), "limit.yaml", shared);
    let output = simulate(&[&scenario, "--json", "--with", &limit]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("outage: services[0].rateLimits[0].alone: it counts for nothing here"), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let goodput = report["phases"][0]["all"]["goodput"].as_f64().unwrap();
    assert!((45.0..100.0).contains(&goodput), "{goodput}");
}
