//! What is done to a subject: by wrk and h2load, or by this program where there is nothing to be had.

mod handshakes;
pub(crate) mod idle;
pub(crate) mod messages;
mod rate;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::case::{Case, Load};
use crate::setup::{Back, Front};
use crate::stage::LOAD_CORE;
use crate::subject::{self, pinned};
use crate::upstream::grpc;

/// How much longer than it should a load may take.
const OVERTIME_MAX: Duration = Duration::from_secs(10);

/// Loads a port for so many seconds and gives how many units were done.
pub(crate) fn run(case: &Case, dir: &Path, port: u16, seconds: u32) -> Result<f64> {
    match case.load {
        Load::Wrk | Load::Idle | Load::Rest => wrk(case, port, seconds),
        Load::H2load => h2load(case, dir, port, seconds),
        Load::Rate { .. } | Load::Echo | Load::Bulk | Load::Handshakes => own(case, port, seconds),
    }
}

fn wrk(case: &Case, port: u16, seconds: u32) -> Result<f64> {
    let scheme = if case.setup.front == Front::Tls { "https" } else { "http" };
    // Idle connections come later.
    let connections = case.connections.min(64);
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c", &connections.to_string(), "-d", &format!("{seconds}s")]);
    command.arg(format!("{scheme}://localhost:{port}{}", case.path));
    let text = output(case, command, "wrk", seconds)?;
    ensure!(!text.contains("Non-2xx"), "answers other than 200:\n{text}");
    ensure!(!text.contains("Socket errors"), "socket errors:\n{text}");
    let line = text.lines().find(|line| line.contains("requests in")).context("wrk printed no count")?;
    Ok(line.trim().split(' ').next().context("no count")?.parse()?)
}

fn h2load(case: &Case, dir: &Path, port: u16, seconds: u32) -> Result<f64> {
    let mut command = Command::new("h2load");
    command.args(["-t", "1", "-c", &case.connections.to_string(), "-m", "32", "-D", &seconds.to_string()]);
    if case.setup.back == Back::Grpc {
        let file = dir.join("message");
        std::fs::write(&file, grpc::message())?;
        command.args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"]).arg(file);
    }
    command.arg(format!("http://127.0.0.1:{port}{}", case.path));
    let text = output(case, command, "h2load (Debian: nghttp2-client)", seconds)?;
    let line = text.lines().find(|line| line.starts_with("requests:")).context("h2load printed no count")?;
    let count = |name: &str| -> Result<f64> {
        let part = line.trim_start_matches("requests:").split(',').find(|part| part.ends_with(name));
        Ok(part.and_then(|part| part.trim().split(' ').next()).context("no count")?.parse()?)
    };
    ensure!(count("failed")? + count("errored")? + count("timeout")? == 0.0, "failures:\n{text}");
    let codes = text.lines().find(|line| line.starts_with("status codes:")).context("no status codes")?;
    ensure!(codes.contains(" 0 3xx, 0 4xx, 0 5xx"), "answers other than 200:\n{text}");
    count("succeeded")
}

/// Runs this program itself as the load.
fn own(case: &Case, port: u16, seconds: u32) -> Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("load").args([case.name, &port.to_string(), &seconds.to_string()]);
    output(case, command, "the load", seconds)?.trim().parse().context("the load printed no count")
}

/// What [`own`] runs: prints how many units were done.
pub(crate) fn main(args: impl Iterator<Item = String>) -> Result<()> {
    let args: Vec<String> = args.collect();
    let [name, port, seconds] = args.as_slice() else { bail!("usage: load CASE PORT SECONDS") };
    let case = Case::find(name).context("unknown case")?;
    let (port, seconds) = (port.parse()?, seconds.parse()?);
    let units = match case.load {
        Load::Rate { per_second } => rate::run(&case, port, seconds, per_second)? as f64,
        Load::Handshakes => handshakes::run(&case, port, seconds)? as f64,
        Load::Echo => messages::echo(&case, port, seconds)? as f64,
        Load::Bulk => messages::bulk(&case, port, seconds)? as f64 / (1024.0 * 1024.0),
        other => bail!("{other:?} is not made here"),
    };
    println!("{units}");
    Ok(())
}

/// Runs a program to its end and gives what it printed. One that hangs is ended: a subject that does not answer must not
/// keep the others waiting.
fn output(case: &Case, command: Command, program: &str, seconds: u32) -> Result<String> {
    let mut command = pinned(command, case.is_pinned().then_some(LOAD_CORE));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let end = Instant::now() + Duration::from_secs(seconds.into()) + OVERTIME_MAX;
    // What these programs print fits into a pipe, so that none waits for us.
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            subject::end(&mut child);
            bail!("{program} did not come to an end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let faults = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}{text}", faults.trim());
    Ok(text)
}
