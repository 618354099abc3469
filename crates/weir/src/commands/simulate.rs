//! `weir simulate`: reads scenarios, runs them, and writes what came out.

use std::time::Instant;

use weir_api::native::SourceText;
use weir_model::document::{self, DocumentError};
use weir_model::validate::Scope;
use weir_sim::{Report, Scenario, plot};

use crate::cli::simulate::SimulateArgs;
use crate::exit::{Exit, Failure};
use crate::{output, sources};

/// Runs `weir simulate`.
///
/// # Errors
/// When a scenario cannot be used, or a file cannot be read or written.
pub(super) fn run(args: &SimulateArgs) -> Result<Exit, Failure> {
    let mut scenarios = read(args)?;
    put_in_force(args, &mut scenarios)?;
    let mut reports = Vec::new();
    for scenario in &scenarios {
        let began = Instant::now();
        let report = weir_sim::run(scenario);
        let took = began.elapsed().as_secs_f64();
        if !args.json {
            output::print(&weir_sim::summary(&report));
            output::print("\n");
            let millions = report.events as f64 / took.max(1e-9) / 1e6;
            output::remark(&format!("{}: {took:.2} s, {millions:.2} million events a second", report.name));
        }
        reports.push(report);
    }
    if args.json {
        output::print(&json(&reports));
    }
    if let Some(path) = &args.svg {
        let text = match reports.as_slice() {
            [only] => plot::plot(only),
            several => plot::compare("", several),
        };
        std::fs::write(path, text).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(Exit::Done)
}

/// One report, or a list of several.
fn json(reports: &[Report]) -> String {
    match reports {
        [only] => only.to_json(),
        several => {
            let texts: Vec<String> =
                several.iter().map(|report| report.to_json().trim_end().to_owned()).collect();
            format!("[{}]\n", texts.join(",\n"))
        }
    }
}

fn read(args: &SimulateArgs) -> Result<Vec<Scenario>, Failure> {
    let mut scenarios = Vec::new();
    let mut errors = Vec::new();
    for SourceText { name, text } in sources::read(&args.files)? {
        match Scenario::parse(&name, &text) {
            Ok(mut scenario) => {
                scenario.seed = args.seed.or(scenario.seed);
                let stem =
                    std::path::Path::new(&name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
                scenario.name = scenario.name.or(stem);
                scenarios.push(scenario);
            }
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(scenarios) } else { Err(invalid(&errors)) }
}

/// Puts documents in force that are not part of a scenario.
fn put_in_force(args: &SimulateArgs, scenarios: &mut [Scenario]) -> Result<(), Failure> {
    if args.with.is_empty() {
        return Ok(());
    }
    for SourceText { name, text } in sources::read(&args.with)? {
        let parsed = document::parse(&name, &text).map_err(|errors| invalid(&errors))?;
        document::check(&parsed.documents, Scope::OneProxy).map_err(|errors| invalid(&errors))?;
        for document in &parsed.documents {
            let services: usize =
                scenarios.iter_mut().filter_map(|scenario| scenario.put_in_force(&document.resource)).sum();
            if services == 0 {
                let id = document.resource.id();
                let message =
                    format!("{name}:{}: {id}: no scenario has a service that it is for", document.line);
                return Err(Failure::new(Exit::Invalid, message));
            }
        }
    }
    Ok(())
}

fn invalid(errors: &[DocumentError]) -> Failure {
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Failure::new(Exit::Invalid, text)
}
