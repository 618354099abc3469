//! Runs cases: all subjects in turn, round by round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::case::{Case, Load, OURS};
use crate::options::Options;
use crate::results::{CaseResults, Results, SubjectResults};
use crate::stage::{LOAD_CORE, SUBJECT_CORE, Stage};
use crate::subject::{Sidecar, Subject};
use crate::{check, cpu, load, peers, report};

/// Seconds of load before the first measurement of each subject.
const WARM_UP_SECONDS: u32 = 1;
/// Memory varies little from one fresh start to the next.
const IDLE_ROUNDS_MAX: usize = 2;
/// How long what a subject sets aside after a burst may take to settle.
const SETTLE: Duration = Duration::from_millis(300);

/// What is kept of why a subject was left out.
const REASON_CHARS_MAX: usize = 300;

/// Runs the chosen cases.
pub(crate) fn run(options: &Options) -> Result<Results> {
    raise_open_files()?;
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut results = Results {
        machine: machine(),
        begun_s: begun,
        rounds: options.rounds,
        seconds: options.seconds,
        versions: BTreeMap::new(),
        cases: Vec::new(),
    };
    for (name, _) in crate::subject::PORTS {
        if let Some(version) = peers::version(name, &options.target, &options.weir) {
            results.versions.insert(name.to_owned(), version);
        }
    }
    println!("{}", results.machine);
    for case in &options.choice.cases {
        println!("\n== {}: {}", case.name, case.what);
        let outcome = match case.load {
            Load::Idle => idle(case, options),
            Load::Rest => rest(case, options),
            _ => work(case, options),
        };
        let outcome = outcome.with_context(|| format!("case {}", case.name))?;
        report::print(case, &outcome);
        results.cases.push(outcome);
    }
    Ok(results)
}

fn work(case: &Case, options: &Options) -> Result<CaseResults> {
    let stage = Stage::set(*case, options)?;
    let mut outcome = CaseResults { name: case.name.to_owned(), ..CaseResults::default() };
    let core = case.is_pinned().then_some(SUBJECT_CORE);
    let mut running = Vec::new();
    for name in options.choice.subjects_of(case) {
        let started = Subject::start(name, &stage, core).and_then(|subject| {
            check::answers_soon(case, subject.port)?;
            load::run(case, &stage.dir, subject.port, WARM_UP_SECONDS)?;
            Ok(subject)
        });
        match started {
            Ok(subject) => {
                let results = SubjectResults { name: name.to_owned(), ..SubjectResults::default() };
                running.push((subject, results));
            }
            Err(fault) => leave_out(&mut outcome, name, &fault),
        }
    }
    for round in 0..options.rounds {
        for (subject, results) in &mut running {
            if outcome.missing.contains_key(subject.name) {
                continue;
            }
            let measured = check::answers(case, subject.port)
                .and_then(|()| measure(case, &stage, subject, results, options));
            match measured {
                Ok(line) => println!("round {} {:8} {line}", round + 1, subject.name),
                Err(fault) => leave_out(&mut outcome, subject.name, &fault),
            }
        }
    }
    outcome.subjects = running
        .into_iter()
        .map(|(_, results)| results)
        .filter(|r| r.figures.len() == options.rounds)
        .collect();
    Ok(outcome)
}

fn leave_out(outcome: &mut CaseResults, name: &str, fault: &anyhow::Error) {
    let words = format!("{fault:#}");
    let words: String =
        words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(REASON_CHARS_MAX).collect();
    println!("{name} is left out: {words}");
    outcome.missing.insert(name.to_owned(), words);
}

/// One measurement of one subject.
fn measure(
    case: &Case,
    stage: &Stage,
    subject: &Subject,
    results: &mut SubjectResults,
    options: &Options,
) -> Result<String> {
    let (begin, core) = (Instant::now(), cpu::core(LOAD_CORE)?);
    let before = cpu::nanos(subject.pid())?;
    let units = load::run(case, &stage.dir, subject.port, options.seconds)?;
    let used = (cpu::nanos(subject.pid())? - before) as f64;
    let wall = begin.elapsed().as_secs_f64();
    let busy = used / 1e9 / wall;
    let load_busy = cpu::core(LOAD_CORE)?.busy_since(core);
    let figure = used / 1e3 / units;
    results.figures.push(figure);
    results.rates.push(units / f64::from(options.seconds));
    results.busy.push(busy);
    results.load_busy.push(load_busy);
    Ok(format!(
        "{figure:8.2} {} {units:10.0} {} busy {:3.0} % load {:3.0} %",
        case.unit.figure(),
        case.unit.counted(),
        busy * 100.0,
        load_busy * 100.0
    ))
}

fn idle(case: &Case, options: &Options) -> Result<CaseResults> {
    let stage = Stage::set(*case, options)?;
    let mut outcome = CaseResults { name: case.name.to_owned(), ..CaseResults::default() };
    for name in options.choice.subjects_of(case) {
        let mut results = SubjectResults { name: name.to_owned(), ..SubjectResults::default() };
        let mut measured = Ok(());
        for _ in 0..options.rounds.min(IDLE_ROUNDS_MAX) {
            measured = measured.and_then(|()| idle_once(case, &stage, name, &mut results));
        }
        match measured {
            Ok(()) => outcome.subjects.push(results),
            Err(fault) => leave_out(&mut outcome, name, &fault),
        }
    }
    Ok(outcome)
}

fn idle_once(case: &Case, stage: &Stage, name: &'static str, results: &mut SubjectResults) -> Result<()> {
    let subject = Subject::start(name, stage, Some(SUBJECT_CORE))?;
    check::answers_soon(case, subject.port)?;
    std::thread::sleep(SETTLE);
    results.base_mib = Some(cpu::resident(subject.pid())? as f64 / 1024.0 / 1024.0);
    // Some load first, so that what is allocated once is not counted per connection.
    load::run(case, &stage.dir, subject.port, WARM_UP_SECONDS)?;
    let before = cpu::resident(subject.pid())?;
    let connections = load::idle::open(case, subject.port)?;
    std::thread::sleep(SETTLE);
    let after = cpu::resident(subject.pid())?;
    let kib = after.saturating_sub(before) as f64 / 1024.0 / connections.len() as f64;
    println!("{name:8} {kib:8.2} {}", case.unit.figure());
    results.figures.push(kib);
    Ok(())
}

/// A sidecar's memory, once it is ready.
fn rest(case: &Case, options: &Options) -> Result<CaseResults> {
    let stage = Stage::set(*case, options)?;
    let mut outcome = CaseResults { name: case.name.to_owned(), ..CaseResults::default() };
    let mut results = SubjectResults { name: OURS.to_owned(), ..SubjectResults::default() };
    for _ in 0..options.rounds.min(IDLE_ROUNDS_MAX) {
        let sidecar = Sidecar::start(&stage)?;
        std::thread::sleep(SETTLE);
        let mib = cpu::resident(sidecar.pid())? as f64 / 1024.0 / 1024.0;
        println!("{OURS:8} {mib:8.2} {}", case.unit.figure());
        results.figures.push(mib);
    }
    outcome.subjects.push(results);
    Ok(outcome)
}

/// The machine, in a line.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores, Linux {}", model.map_or("unknown CPU", |(_, name)| name), kernel.trim())
}

/// Keeps this process to a core.
pub(crate) fn keep_to_core(core: usize) -> Result<()> {
    let id = std::process::id().to_string();
    let done = std::process::Command::new("taskset")
        .args(["-a", "-c", "-p", &core.to_string(), &id])
        .stdout(std::process::Stdio::null())
        .status()?;
    anyhow::ensure!(done.success(), "cannot keep to core {core}");
    Ok(())
}

/// Thousands of idle connections need as many descriptors, here and (by inheritance) in the subjects.
#[allow(unsafe_code, reason = "two plain system calls on a struct of two numbers")]
pub(crate) fn raise_open_files() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the call to write.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    anyhow::ensure!(read == 0, "cannot read the open-file limit");
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid for the call to read.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    anyhow::ensure!(set == 0, "cannot raise the open-file limit to {}", limit.rlim_max);
    Ok(())
}
