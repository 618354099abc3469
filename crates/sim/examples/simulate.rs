//! Runs scenario files one after the other and prints their summaries, and how fast that was: what `weir simulate` does,
//! without the rest of Weir.
//!
//! ```text
//! cargo run --release -p weir-sim --example simulate -- [--svg FILE] examples/simulate/*.yaml
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a command")]

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut failed = false;
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    let svg = (paths.first().map(String::as_str) == Some("--svg")).then(|| paths.drain(..2).nth(1)).flatten();
    let mut reports = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let scenario = match weir_sim::Scenario::parse(&path, &text) {
            Ok(scenario) => scenario,
            Err(errors) => {
                errors.iter().for_each(|error| eprintln!("error: {error}"));
                failed = true;
                continue;
            }
        };
        let began = Instant::now();
        let report = match weir_sim::run(&scenario) {
            Ok(report) => report,
            Err(stopped) => {
                eprintln!("error: {path}: {stopped}");
                failed = true;
                continue;
            }
        };
        let took = began.elapsed().as_secs_f64();
        println!("{}", weir_sim::summary(&report));
        println!(
            "{path}: {} events in {took:.2} s, {:.2} million/s\n",
            report.events,
            report.events as f64 / took / 1e6
        );
        reports.push(report);
    }
    if let Some(svg) = svg {
        let text = match reports.as_slice() {
            [only] => weir_sim::plot::plot(only),
            several => weir_sim::plot::compare("", several),
        };
        std::fs::write(&svg, text).unwrap_or_else(|error| panic!("{svg}: {error}"));
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
