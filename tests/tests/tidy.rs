//! Keeps the tree tidy: file lengths, layout, unfinished code, and the direction of dependencies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest a source file may be, tests at its end not counted.
const LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources() -> Vec<(PathBuf, String)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .unwrap();
    let files: Vec<(PathBuf, String)> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(PathBuf::from)
        .filter_map(|path| fs::read_to_string(root().join(&path)).ok().map(|text| (path, text)))
        .collect();
    assert!(files.len() > 50, "the list of sources looks wrong: {} files", files.len());
    files
}

fn is_generated(path: &Path) -> bool {
    path.ends_with("crates/api/src/mesh/generated.rs") || path.ends_with("crates/store/src/etcd/generated.rs")
}

fn check(rule: &str, broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter(|(path, _)| !is_generated(path)).filter_map(|(path, text)| {
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or("");
        let in_tests = path.components().any(|part| part.as_os_str() == "tests");
        let lines = code.lines().count();
        (!in_tests && lines > LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
    });
    check(&format!("a source file has at most {LINES_MAX} lines before its tests"), long);
}

#[test]
fn modules_are_files_with_docs() {
    let broken = sources().into_iter().filter(|(path, _)| !is_generated(path)).filter_map(|(path, text)| {
        if path.ends_with("mod.rs") {
            return Some(format!("{}: use foo.rs and foo/ instead", path.display()));
        }
        // A module of tests is explained by the module it tests.
        let tests = path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
        let documented = tests || text.trim_start().starts_with("//!") || text.starts_with("#!");
        (!documented).then(|| format!("{}: starts without a module doc", path.display()))
    });
    check("a module is foo.rs (with foo/ below it) and says what it is for", broken);
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here, so that this file does not find itself.
    let marks = ["todo!", "unimplemented!", "FIX", "XX"].map(|mark| match mark {
        "FIX" => ["FIX", "ME"].concat(),
        "XX" => "X".repeat(3),
        call => format!("{call}("),
    });
    let broken =
        sources().into_iter().filter(|(path, _)| !path.ends_with("tidy.rs")).flat_map(|(path, text)| {
            let marks = marks.clone();
            text.lines()
                .enumerate()
                .filter(move |(_, line)| marks.iter().any(|mark| line.contains(mark.as_str())))
                .map(move |(number, line)| format!("{}:{}: {}", path.display(), number + 1, line.trim()))
                .collect::<Vec<_>>()
        });
    check("no unfinished code", broken);
}

/// Which of Weir's own crates each crate may use. What is not listed is forbidden.
const ALLOWED: [(&str, &[&str]); 14] = [
    ("weir-model", &[]),
    ("weir-policy", &["weir-model"]),
    ("weir-http1", &[]),
    ("weir-http2", &["weir-http1"]),
    ("weir-sim", &["weir-model", "weir-policy"]),
    ("weir-store", &["weir-model", "weir-tls"]),
    ("weir-tls", &[]),
    ("weir-api", &["weir-model", "weir-tls"]),
    ("weir-probe", &["weir-model"]),
    ("weir-control", &["weir-model", "weir-policy", "weir-store"]),
    ("weir-edge", &["weir-model", "weir-tls", "weir-api", "weir-control", "weir-probe"]),
    ("weir-agent", &["weir-model", "weir-tls", "weir-api", "weir-control", "weir-edge", "weir-probe"]),
    (
        "weir-proxy",
        &["weir-model", "weir-tls", "weir-policy", "weir-http1", "weir-http2", "weir-api", "weir-probe"],
    ),
    (
        "weir",
        &[
            "weir-model",
            "weir-policy",
            "weir-sim",
            "weir-tls",
            "weir-http1",
            "weir-http2",
            "weir-api",
            "weir-store",
            "weir-control",
            "weir-edge",
            "weir-agent",
            "weir-proxy",
        ],
    ),
];

/// Crates without a runtime, a clock of their own or any input and output.
const PURE: [&str; 5] = ["weir-model", "weir-policy", "weir-http1", "weir-http2", "weir-sim"];

#[test]
fn dependencies_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut broken = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else { continue };
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let used = dependency["name"].as_str().unwrap();
            if used.starts_with("weir") && !allowed.contains(&used) {
                broken.push(format!("{name} must not use {used}"));
            }
            if PURE.contains(&name) && ["tokio", "hyper", "h2", "tonic", "tracing"].contains(&used) {
                broken.push(format!("{name} is pure and must not use {used}"));
            }
        }
    }
    check("dependencies follow ARCHITECTURE.md", broken);
}

#[test]
fn pure_crates_read_no_clock() {
    let broken = sources().into_iter().filter_map(|(path, text)| {
        let pure = [
            "crates/model/src",
            "crates/policy/src",
            "crates/http1/src",
            "crates/http2/src",
            "crates/sim/src",
        ];
        let reads = ["Instant::now", "SystemTime::now", "thread_rng", "rand::rng()"];
        // Seeds of tests are drawn there, and printed.
        if path.ends_with("testing.rs") {
            return None;
        }
        let found = pure.iter().any(|dir| path.starts_with(dir))
            && reads
                .iter()
                .any(|call| text.lines().any(|line| !line.trim().starts_with("//") && line.contains(call)));
        found.then(|| path.display().to_string())
    });
    check("time and chance are arguments in the pure crates", broken);
}
