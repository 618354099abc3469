//! A control plane: its process, on a core of its own, with an empty store on disk.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::options::{Options, Programs};
use crate::cpu;
use crate::stage::SUBJECT_CORE;
use crate::subject::{end_within, pinned};

/// Where subjects listen: the one that requests go to, and two more.
const PORTS: [u16; 3] = [19_101, 19_102, 19_103];
/// How long a subject may take to listen; with a million instances to read it takes longest.
const START_MAX: Duration = Duration::from_secs(120);
const END_MAX: Duration = Duration::from_secs(10);
/// It rests when it has used less than a twentieth of its core for so long.
const REST_WINDOW: Duration = Duration::from_millis(200);
const REST_SHARE: u32 = 20;
/// How long that may take.
const REST_MAX: Duration = Duration::from_secs(60);
const LOG_BYTES_SHOWN: usize = 400;

const RNACOS_SETTINGS: [(&str, &str); 9] = [
    ("RNACOS_SDK_HOST", "127.0.0.1"),
    ("RNACOS_HTTP_WORKERS", "1"),
    ("RNACOS_HTTP_CONSOLE_PORT", "0"),
    ("RNACOS_ENABLE_OPEN_API_AUTH", "false"),
    ("RNACOS_ENABLE_METRICS", "false"),
    ("RNACOS_NAMING_HEALTH_TIMEOUT_SECOND", "36000"),
    ("RNACOS_NAMING_INSTANCE_TIMEOUT_SECOND", "72000"),
    // It counts from 1970, so that only more seconds than have passed since then keep it from looking at once.
    ("RNACOS_NAMING_PERPETUAL_INSTANCE_PROBE_INTERVAL_SECOND", "2147483647"),
    ("RNACOS_NAMING_INSTANCE_METADATA_PERSISTENCE_ENABLE", "false"),
];

/// A running control plane.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// The port for requests.
    pub(crate) port: u16,
    /// The port for the mesh protocol (Weir).
    pub(crate) mesh_port: u16,
    dir: PathBuf,
    programs: Programs,
    child: Child,
}

impl Subject {
    /// Starts one with an empty store.
    pub(crate) fn start(name: &'static str, options: &Options) -> Result<Self> {
        let dir = options.data.join(format!("weir-bench-control-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let started = launch(name, &dir, &options.programs);
        let child = started.inspect_err(|_| drop(fs::remove_dir_all(&dir)))?;
        let mut subject = Self {
            name,
            port: PORTS[0],
            mesh_port: PORTS[1],
            dir,
            programs: options.programs.clone(),
            child,
        };
        subject.wait_ready(Instant::now())?;
        Ok(subject)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it does nothing more, so that work which it put off until after its answers is over.
    pub(crate) async fn come_to_rest(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let used = cpu::nanos(self.pid())?;
            tokio::time::sleep(REST_WINDOW).await;
            let used = Duration::from_nanos(cpu::nanos(self.pid())? - used);
            if used < REST_WINDOW / REST_SHARE {
                return Ok(());
            }
            ensure!(began.elapsed() < REST_MAX, "it still works {REST_MAX:?} after its last answer");
        }
    }

    /// Kills it and starts it again with what it has stored.
    pub(crate) fn kill_and_start(&mut self) -> Result<Instant> {
        self.child.kill()?;
        self.child.wait()?;
        let began = Instant::now();
        self.child = launch(self.name, &self.dir, &self.programs)?;
        self.wait_ready(began)?;
        Ok(began)
    }

    /// The size of what it has stored, in bytes.
    pub(crate) fn stored_bytes(&self) -> u64 {
        fn of(dir: &Path) -> u64 {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .map(|entry| match entry.metadata() {
                    Ok(meta) if meta.is_dir() => of(&entry.path()),
                    Ok(meta) => meta.len(),
                    Err(_) => 0,
                })
                .sum()
        }
        of(&self.dir)
    }

    fn wait_ready(&mut self, began: Instant) -> Result<()> {
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once, {status}: {}", self.last_words());
            }
            ensure!(began.elapsed() < START_MAX, "it does not listen: {}", self.last_words());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The end of what it has written.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read(self.dir.join("words.log")).unwrap_or_default();
        let end = &text[text.len().saturating_sub(LOG_BYTES_SHOWN)..];
        String::from_utf8_lossy(end).trim().replace('\n', " / ")
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        end_within(&mut self.child, END_MAX);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn launch(name: &str, dir: &Path, programs: &Programs) -> Result<Child> {
    for port in PORTS {
        ensure!(TcpStream::connect(("127.0.0.1", port)).is_err(), "another program listens on port {port}");
    }
    let log = File::options().create(true).append(true).open(dir.join("words.log"))?;
    let command = match name {
        "weir" => weir_command(&programs.weir, dir)?,
        "etcd" => etcd_command(dir),
        "rnacos" => rnacos_command(&programs.rnacos, dir)?,
        _ => consul_command(dir),
    };
    let program = command.get_program().to_owned();
    let found = program.to_string_lossy().contains('/') || is_on_path(&program);
    ensure!(found, "not installed: no `{}` on the PATH", program.to_string_lossy());
    ending_with_us(&pinned(command, Some(SUBJECT_CORE)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}

/// The same command, killed when this program ends in whatever way.
fn ending_with_us(command: &Command) -> Command {
    let mut outer = Command::new("setpriv");
    outer.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        outer.env(name, value.unwrap_or_else(|| OsStr::new("")));
    }
    outer
}

fn is_on_path(program: &OsStr) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn weir_command(weir: &Path, dir: &Path) -> Result<Command> {
    ensure!(weir.exists(), "there is no {}: `cargo build --release` first", weir.display());
    let mut command = Command::new(weir.canonicalize()?);
    command.arg("server").arg("--data-dir").arg(dir.join("data"));
    for (option, port) in ["--http", "--grpc", "--dns"].iter().zip(PORTS) {
        command.arg(option).arg(format!("127.0.0.1:{port}"));
    }
    Ok(command)
}

/// With room for a million instances, and without writing a line for each slow request.
fn etcd_command(dir: &Path) -> Command {
    let mut command = Command::new("etcd");
    let client = format!("http://127.0.0.1:{}", PORTS[0]);
    let peer = format!("http://127.0.0.1:{}", PORTS[1]);
    command.arg("--data-dir").arg(dir.join("data"));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    command.args(["--quota-backend-bytes", "8589934592", "--logger", "zap", "--log-level", "error"]);
    command
}

/// One server with one worker for HTTP, no console and no line for each request, that neither lets instances go which
/// do not beat, nor looks whether they listen, and does not write their metadata a second time.
fn rnacos_command(rnacos: &Path, dir: &Path) -> Result<Command> {
    let by_path = rnacos.components().nth(1).is_some();
    ensure!(!by_path || rnacos.is_file(), "not installed: there is no {}", rnacos.display());
    let mut command = Command::new(if by_path { rnacos.canonicalize()? } else { rnacos.to_owned() });
    command.env("RNACOS_DATA_DIR", dir.join("data"));
    command.env("RUST_LOG", "error");
    for (name, value) in RNACOS_SETTINGS {
        command.env(name, value);
    }
    for (name, port) in ["RNACOS_HTTP_PORT", "RNACOS_GRPC_PORT"].iter().zip(PORTS) {
        command.env(name, port.to_string());
    }
    Ok(command)
}

/// One server with its store on disk.
fn consul_command(dir: &Path) -> Command {
    let mut command = Command::new("consul");
    command.args(["agent", "-server", "-bootstrap-expect", "1", "-bind", "127.0.0.1", "-log-level", "err"]);
    command.arg("-data-dir").arg(dir.join("data"));
    command.args(["-http-port", &PORTS[0].to_string(), "-dns-port", "-1", "-serf-wan-port", "-1"]);
    command.args(["-serf-lan-port", &PORTS[1].to_string(), "-server-port", &PORTS[2].to_string()]);
    command
}
