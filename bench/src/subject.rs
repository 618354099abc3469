//! What is measured: each subject's process, with the configuration that its module writes.

mod caddy;
mod envoy;
mod floor;
mod haproxy;
mod nginx;
mod sidecar;
mod traefik;
mod weir;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::case::TWO_WORKERS;
use crate::setup::Setup;
use crate::stage::Stage;

/// Each subject's port.
pub(crate) const PORTS: [(&str, u16); 10] = [
    ("weir", 19001),
    ("haproxy", 19002),
    ("nginx", 19003),
    ("envoy", 19004),
    ("traefik", 19005),
    ("caddy", 19006),
    ("floor", 19007),
    ("weir-2", 19011),
    ("haproxy-2", 19012),
    ("nginx-2", 19013),
];

pub(crate) use envoy::binary as envoy_program;
pub(crate) use sidecar::Sidecar;
pub(crate) use weir::command as weir_command;

/// A subject's port; 0 for a name that is none.
pub(crate) fn port(name: &str) -> u16 {
    PORTS.iter().find(|(known, _)| *known == name).map_or(0, |(_, port)| *port)
}

/// How long a subject may take to listen.
const START_MAX: Duration = Duration::from_secs(15);
/// Lines of a subject's own words that are shown when it fails.
const LOG_LINES_SHOWN: usize = 4;

/// What a configuration is made from.
pub(crate) struct Place<'a> {
    /// Where its own files are written.
    pub(crate) dir: &'a Path,
    /// Where the certificate is, as `cert.pem` and `key.pem`, and as `both.pem`.
    pub(crate) stage: &'a Path,
    /// Where it listens.
    pub(crate) port: u16,
    /// Where the upstreams listen.
    pub(crate) upstreams: [u16; 2],
    pub(crate) setup: &'a Setup,
    /// Programs from PyPI.
    pub(crate) peers: &'a Path,
    pub(crate) weir: &'a Path,
}

impl Place<'_> {
    /// A file in the folder, written.
    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// A running subject.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    child: Child,
    log: PathBuf,
}

impl Subject {
    /// Starts a subject by name and waits until it accepts connections. An error says why this one cannot be measured.
    pub(crate) fn start(name: &'static str, stage: &Stage, core: Option<usize>) -> Result<Self> {
        let port = port(name);
        let dir = stage.dir.join(name);
        fs::create_dir_all(&dir)?;
        let mut setup = stage.case.setup;
        let program = name.strip_suffix(TWO_WORKERS).unwrap_or(name);
        if program != name {
            setup.workers = 2;
        }
        let place = Place {
            dir: &dir,
            stage: &stage.dir,
            port,
            upstreams: stage.upstreams,
            setup: &setup,
            peers: &stage.peers,
            weir: &stage.weir,
        };
        ensure!(TcpStream::connect(("127.0.0.1", port)).is_err(), "another program listens on port {port}");
        let command = match program {
            "weir" => weir::alike(&place)?,
            "haproxy" => haproxy::command(&place)?,
            "nginx" => nginx::command(&place)?,
            "envoy" => envoy::command(&place)?,
            "traefik" => traefik::command(&place)?,
            "caddy" => caddy::command(&place)?,
            _ => floor::command(&place)?,
        };
        let log = dir.join("words.log");
        let output = File::create(&log)?;
        let child = pinned(command, core)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut subject = Self { name, port, child, log };
        subject.wait_ready()?;
        Ok(subject)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once, {status}: {}", self.last_words());
            }
            ensure!(start.elapsed() < START_MAX, "it does not listen: {}", self.last_words());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join(" / ")
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// How long an ordinary process may take to end.
const END_MAX: Duration = Duration::from_millis(1500);

/// Asks a process to end (nginx must tell its worker), and makes sure.
pub(crate) fn end(child: &mut Child) {
    end_within(child, END_MAX);
}

/// The same for one that may take its time.
pub(crate) fn end_within(child: &mut Child, patience: Duration) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let asked = Instant::now();
    while asked.elapsed() < patience {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The same command, kept on one core if there is one named.
pub(crate) fn pinned(command: Command, core: Option<usize>) -> Command {
    let Some(core) = core else { return command };
    let mut outer = Command::new("taskset");
    outer.args(["-c", &core.to_string()]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        outer.env(name, value.unwrap_or_else(|| OsStr::new("")));
    }
    outer
}
