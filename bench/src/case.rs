//! The cases: what is done to each subject, in turn.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};

use crate::cpu;
use crate::options::{Case, Options};
use crate::subject::{self, Subject};
use crate::upstream;

/// By subject, one figure per round: microseconds of CPU per request, or bytes per idle connection.
pub(crate) type Samples = BTreeMap<String, Vec<f64>>;

/// Seconds of load before the first measurement of each subject.
const WARM_UP_SECONDS: u32 = 1;

/// A folder that goes away with the run, and the upstream that serves from it.
struct Stage {
    dir: PathBuf,
    upstream: Child,
}

impl Stage {
    fn set(body_bytes: usize) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let upstream = upstream::start(&dir, body_bytes)?;
        Ok(Self { dir, upstream })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        subject::end(&mut self.upstream);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Runs the chosen case.
pub(crate) fn run(options: &Options) -> Result<Samples> {
    let stage = Stage::set(if options.case == Case::Http1Large { 64 * 1024 } else { 128 })?;
    match options.case {
        Case::Http1 | Case::Http1Large => requests(options, &stage.dir),
        Case::Idle => idle(options, &stage.dir),
    }
}

fn requests(options: &Options, dir: &Path) -> Result<Samples> {
    let subjects = start_all(options, dir)?;
    for subject in &subjects {
        wrk(options, subject.port, WARM_UP_SECONDS)?;
    }
    let mut samples = Samples::new();
    for round in 0..options.rounds {
        for subject in &subjects {
            let before = cpu::nanos(subject.pid())?;
            let requests = wrk(options, subject.port, options.seconds)?;
            let used = cpu::nanos(subject.pid())? - before;
            let micros = used as f64 / 1000.0 / requests as f64;
            println!("round {} {:8} {micros:7.2} us/request {requests:9} requests", round + 1, subject.name);
            samples.entry(subject.name.clone()).or_default().push(micros);
        }
    }
    Ok(samples)
}

fn idle(options: &Options, dir: &Path) -> Result<Samples> {
    let mut samples = Samples::new();
    for round in 0..options.rounds {
        for subject in start_all(options, dir)? {
            // One request each way first, so that what is allocated once is not counted per connection.
            wrk(options, subject.port, WARM_UP_SECONDS)?;
            let before = cpu::resident(subject.pid())?;
            let connections: Vec<TcpStream> = (0..options.connections)
                .map(|_| kept_alive(subject.port))
                .collect::<Result<_>>()
                .context("opening idle connections (is the open-file limit high enough? see `ulimit -n`)")?;
            let after = cpu::resident(subject.pid())?;
            let bytes = after.saturating_sub(before) as f64 / connections.len() as f64;
            println!("round {} {:8} {bytes:8.0} bytes per idle connection", round + 1, subject.name);
            samples.entry(subject.name.clone()).or_default().push(bytes);
        }
    }
    Ok(samples)
}

fn start_all(options: &Options, dir: &Path) -> Result<Vec<Subject>> {
    options.subjects.iter().map(|name| Subject::start(name, dir, &options.weir)).collect()
}

/// A connection that has had one answer and waits.
fn kept_alive(port: u16) -> Result<TcpStream> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")?;
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer)?;
    ensure!(buffer[..read].starts_with(b"HTTP/1.1 200"), "the subject did not answer 200");
    Ok(stream)
}

/// Loads a port from core 1 and returns how many requests were answered.
fn wrk(options: &Options, port: u16, seconds: u32) -> Result<u64> {
    let connections = if options.case == Case::Idle { 64 } else { options.connections };
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "-c", &connections.to_string(), "-d", &format!("{seconds}s")])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .context("cannot start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(!text.contains("Non-2xx"), "answers other than 200:\n{text}");
    ensure!(!text.contains("Socket errors"), "socket errors:\n{text}");
    let line = text.lines().find(|line| line.contains("requests in")).context("wrk printed no count")?;
    Ok(line.trim().split(' ').next().context("no count")?.parse()?)
}
