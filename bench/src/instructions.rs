//! Counts the instructions that Weir needs for a request, under valgrind's callgrind, and compares them with bounds that are
//! kept beside the code. Unlike time, the count is the same on a busy machine: it guards the request path in CI.
//!
//! One connection asks for one thing after the other. The process is run twice, with few requests and with many, so that
//! what happens once (start, configuration, end) drops out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::choice::{self, Choice, Measurable, Offer};
use crate::client::{self, Http2, head_end};
use crate::setup::{Back, Front, POLICIES_PATH, Setup};
use crate::subject::{self, Place};
use crate::upstream::{self, grpc};

const USAGE: &str = "\
usage: cargo run -p weir-bench -- instructions [CASE..] [OPTIONS]

Without a CASE: all of them.

options
  --weir PATH     the binary (default: beside this one); bounds are kept for each profile
  --requests N    requests that are counted (default 2000)
  --keep DIR      keeps the profiles, for callgrind_annotate
  --write-bounds  takes what is counted as the new bounds

Needs valgrind.";

/// Requests of the shorter run: enough that everything lazy has happened.
const FIRST_REQUESTS: u32 = 300;
/// How often the first request is tried until it is answered well.
const FIRST_TRIES_MAX: u32 = 5;
const START_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The bounds, as kept in `bench/instructions.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Bounds {
    /// How far above its bound a count may be, as a share.
    tolerance: f64,
    /// By cargo's profile and by case: instructions per request.
    profiles: BTreeMap<String, BTreeMap<String, u64>>,
}

struct Options {
    choice: Choice<Case>,
    weir: PathBuf,
    requests: u32,
    keep: Option<PathBuf>,
    write: bool,
}

/// What requests are counted of.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    what: &'static str,
    /// What Weir is set up for.
    setup: Setup,
}

impl Measurable for Case {
    fn name(&self) -> &'static str {
        self.name
    }

    fn what(&self) -> &'static str {
        self.what
    }

    fn subjects(&self) -> &'static [&'static str] {
        SUBJECTS
    }
}

const SUBJECTS: &[&str] = &["weir"];

const CASES: &[Case] = &[
    Case { name: "http1", what: "HTTP/1.1 in and out", setup: Setup::PLAIN },
    Case {
        name: "http1-policies",
        what: "the same with rules, limits and a breaker",
        setup: Setup { policies: true, ..Setup::PLAIN },
    },
    Case {
        name: "h2-h1",
        what: "HTTP/2 in, HTTP/1.1 out",
        setup: Setup { front: Front::Http2, ..Setup::PLAIN },
    },
    Case {
        name: "grpc",
        what: "unary gRPC, HTTP/2 in and out",
        setup: Setup { front: Front::Http2, back: Back::Grpc, ..Setup::PLAIN },
    },
];

/// Counts, compares, and fails where a bound is passed.
pub(crate) fn main(args: impl Iterator<Item = String>) -> Result<()> {
    let options = parse(args)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut bounds: Bounds = serde_json::from_str(&text)?;
    let profile = options.weir.parent().and_then(Path::file_name).context("the binary is in no folder")?;
    let profile = profile.to_string_lossy().into_owned();
    let answering = [answering()?, answering()?];
    let calling = [upstream::in_thread()?, upstream::in_thread()?];
    let known = bounds.profiles.entry(profile.clone()).or_default();
    // A profile that nobody keeps bounds for is counted and not judged; one that has some has them for every case.
    let is_judged = !known.is_empty() && !options.write;
    let mut failures = Vec::new();
    for &Case { name, setup, .. } in &options.choice.cases {
        let upstreams = if setup.back == Back::Grpc { calling } else { answering };
        let count = count(&options, name, setup, upstreams).with_context(|| format!("case {name}"))?;
        if options.write {
            println!("{profile} {name:16} {count:8} instructions per request");
            known.insert(name.to_owned(), count);
            continue;
        }
        let Some(bound) = known.get(name).copied() else {
            println!("{profile} {name:16} {count:8} instructions per request, no bound");
            if is_judged {
                failures.push(format!("{name}: {count}, and no bound for it in the profile {profile}"));
            }
            continue;
        };
        let share = count as f64 / bound as f64 - 1.0;
        println!(
            "{profile} {name:16} {count:8} instructions per request, bound {bound} ({:+.1} %)",
            share * 100.0
        );
        if share > bounds.tolerance {
            failures.push(format!("{name}: {count}, {:.1} % more than its bound {bound}", share * 100.0));
        }
    }
    if options.write {
        fs::write(&path, serde_json::to_string_pretty(&bounds)? + "\n")?;
        println!("written to {}", path.display());
    }
    ensure!(
        failures.is_empty(),
        "more instructions per request than is known to be allowed:\n  {}\nMake it cheaper, or say in the commit why it is worth \
         it and run with --write-bounds.",
        failures.join("\n  ")
    );
    Ok(())
}

fn parse(args: impl Iterator<Item = String>) -> Result<Options> {
    let mut weir = std::env::current_exe()?.with_file_name("weir");
    let (mut requests, mut keep, mut write) = (2000, None, false);
    let offer = Offer { usage: USAGE, cases: CASES, subjects: SUBJECTS };
    let choice = Choice::read(args, &offer, |option, value| {
        match option {
            "--weir" => weir = value()?.into(),
            "--requests" => requests = choice::count(option, &value()?)?,
            "--keep" => keep = Some(value()?.into()),
            "--write-bounds" => write = true,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let weir = weir.canonicalize().with_context(|| format!("no {}", weir.display()))?;
    Ok(Options { choice, weir, requests, keep, write })
}

/// Instructions per request.
fn count(options: &Options, name: &str, setup: Setup, upstreams: [u16; 2]) -> Result<u64> {
    let few = run(options, name, setup, upstreams, FIRST_REQUESTS)?;
    let many = run(options, name, setup, upstreams, FIRST_REQUESTS + options.requests)?;
    Ok(many.saturating_sub(few) / u64::from(options.requests))
}

/// Instructions of a whole run with so many requests.
fn run(options: &Options, name: &str, setup: Setup, upstreams: [u16; 2], requests: u32) -> Result<u64> {
    let dir = std::env::temp_dir().join(format!("weir-instructions-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let outcome = run_in(&dir, options, name, setup, upstreams, requests);
    let _ = fs::remove_dir_all(&dir);
    outcome
}

fn run_in(
    dir: &Path,
    options: &Options,
    name: &str,
    setup: Setup,
    upstreams: [u16; 2],
    requests: u32,
) -> Result<u64> {
    // Free now, and nobody else's in the next moment.
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let place = Place { dir, stage: dir, port, upstreams, setup: &setup, peers: dir, weir: &options.weir };
    let inner = subject::weir_command(&place)?;
    let profile = match &options.keep {
        Some(keep) => keep.join(format!("callgrind.{name}.{requests}")),
        None => dir.join("callgrind"),
    };
    let mut child = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--log-file={}", dir.join("log").display()))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(dir.join("words"))?)
        .spawn()
        .context("cannot start valgrind (Debian: valgrind)")?;
    let asked = wait_ready(port, &mut child).and_then(|()| ask_all(&setup, port, requests));
    // Under valgrind everything takes its time.
    subject::end_within(&mut child, START_MAX);
    asked.with_context(|| fs::read_to_string(dir.join("words")).unwrap_or_default())?;
    let log = fs::read_to_string(dir.join("log"))?;
    let line = log
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .with_context(|| format!("callgrind counted nothing: {log}"))?;
    line.1.trim().parse().context("callgrind's count is no number")
}

fn ask_all(setup: &Setup, port: u16, requests: u32) -> Result<()> {
    let path = match setup.back {
        Back::Grpc => "/bench.Echo/Say",
        _ if setup.policies => POLICIES_PATH,
        _ => "/",
    };
    if setup.front == Front::Http2 {
        let mut connection = Http2::connect(port)?;
        connection.patience = ANSWER_MAX;
        let message = (setup.back == Back::Grpc).then(grpc::message);
        for _ in 0..requests {
            let answer = connection.ask(path, message.clone())?;
            ensure!(answer.status == 200, "answered with {}", answer.status);
        }
        return Ok(());
    }
    let request = client::request(path, false);
    let mut stream = client::connect(port)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    // The first one meets code that valgrind has not translated yet, which may take longer than the rule allows.
    for _ in 0..FIRST_TRIES_MAX {
        if client::ask(&mut stream, &request)?.status == 200 {
            break;
        }
    }
    for _ in 0..requests {
        let answer = client::ask(&mut stream, &request)?;
        ensure!(answer.status == 200, "answered with {}", answer.status);
    }
    Ok(())
}

fn wait_ready(port: u16, child: &mut Child) -> Result<()> {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(child.try_wait()?.is_none(), "it ended at once");
        ensure!(start.elapsed() < START_MAX, "it does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// An upstream that gives each request the same small answer, until the program ends.
fn answering() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{}",
        upstream::SMALL_BYTES,
        "x".repeat(upstream::SMALL_BYTES)
    );
    stream.set_nodelay(true)?;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        seen.extend_from_slice(&buffer[..read]);
        if let Some(end) = head_end(&seen) {
            seen.drain(..end);
            stream.write_all(answer.as_bytes())?;
        }
    }
}
