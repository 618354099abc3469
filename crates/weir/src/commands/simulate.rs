//! `weir simulate`: reads scenarios, runs them, and writes what came out.

use std::time::{Duration, Instant};

use weir_api::native::SourceText;
use weir_model::document::{self, Document, DocumentError};
use weir_model::resource::traffic_policy::PolicyTarget;
use weir_model::validate::Scope;
use weir_model::{Kind, Resource, Spec};
use weir_sim::{Progress, Report, Scenario, plot};

use crate::cli::simulate::SimulateArgs;
use crate::exit::{Exit, Failure};
use crate::{output, sources};

/// How often it is said how far a long run has come.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Runs `weir simulate`.
///
/// # Errors
/// When a scenario cannot be used, or a file cannot be read or written.
pub(super) fn run(args: &SimulateArgs) -> Result<Exit, Failure> {
    let mut scenarios = read(args)?;
    put_in_force(args, &mut scenarios)?;
    let mut reports = Vec::new();
    for scenario in &scenarios {
        reports.push(simulate(scenario, args.json)?);
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

/// Runs one scenario, says how far it has come while that takes long, and writes its summary unless it is for programs.
fn simulate(scenario: &Scenario, for_programs: bool) -> Result<Report, Failure> {
    let name = scenario.name.as_deref().unwrap_or("scenario");
    for remark in scenario.remarks() {
        output::remark(&format!("{name}: {remark}"));
    }
    let began = Instant::now();
    let mut told = began;
    let report = weir_sim::run_watched(scenario, &mut |progress: Progress| {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let Progress { at, end, events } = progress;
            let (took, millions) = (began.elapsed().as_secs(), events / 1_000_000);
            output::remark(&format!(
                "{name}: at {at:.1} s of {end:.1} s after {took} s, {millions} million events"
            ));
        }
    });
    let report = report.map_err(|stopped| Failure::new(Exit::Failed, format!("{name}: {stopped}")))?;
    let took = began.elapsed().as_secs_f64();
    if !for_programs {
        output::print(&weir_sim::summary(&report));
        output::print("\n");
        let millions = report.events as f64 / took.max(1e-9) / 1e6;
        output::remark(&format!("{name}: {took:.2} s, {millions:.2} million events a second"));
    }
    Ok(report)
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
        only_policies(&name, &parsed.documents)?;
        document::check(&parsed.documents, Scope::OneProxy).map_err(|errors| invalid(&errors))?;
        for document in &parsed.documents {
            let services: usize =
                scenarios.iter_mut().filter_map(|scenario| scenario.put_in_force(&document.resource)).sum();
            let (line, id, missed) =
                (document.line, document.resource.id(), missed(&document.resource, scenarios));
            if services == 0 {
                let why = missed.join("; ");
                let message = format!("{name}:{line}: {id}: no scenario has a service that it is for: {why}");
                return Err(Failure::new(Exit::Invalid, message));
            }
            for target in missed {
                output::remark(&format!("{name}:{line}: {id}: {target}; it counts for nothing here"));
            }
        }
    }
    let faults = scenarios.iter().flat_map(|scenario| {
        let name = scenario.name.as_deref().unwrap_or("scenario");
        let found = scenario.check_policies().into_iter();
        found.map(move |fault| format!("with these documents in force at `{name}`: {fault}"))
    });
    let faults: Vec<String> = faults.collect();
    if faults.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Invalid, faults.join("\n"))) }
}

/// What is wrong with those targets of a document that no scenario has.
fn missed(resource: &Resource, scenarios: &[Scenario]) -> Vec<String> {
    let targets: &[PolicyTarget] = match &resource.spec {
        Spec::TrafficPolicy(policy) => &policy.target_refs,
        Spec::RateLimit(limit) => &limit.target_refs,
        _ => &[],
    };
    let missed = |(index, target): (usize, &PolicyTarget)| {
        let why: Option<Vec<String>> = scenarios.iter().map(|scenario| scenario.misses(target)).collect();
        Some(format!("spec.targetRefs[{index}]: {}", why?.first()?))
    };
    targets.iter().enumerate().filter_map(missed).collect()
}

/// A world has no use for gateways, routes and the like: what they do is not simulated.
fn only_policies(source: &str, documents: &[Document]) -> Result<(), Failure> {
    let is_policy = |kind| matches!(kind, Kind::TrafficPolicy | Kind::RateLimit);
    let other = documents.iter().find(|document| !is_policy(document.resource.kind()));
    other.map_or(Ok(()), |document| {
        let message = format!(
            "{source}:{}: {}: only a TrafficPolicy or a RateLimit can be put in force in a scenario",
            document.line,
            document.resource.id()
        );
        Err(Failure::new(Exit::Invalid, message))
    })
}

fn invalid(errors: &[DocumentError]) -> Failure {
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Failure::new(Exit::Invalid, text)
}
