//! Starts child processes of this binary, reports those that end, and ends them all.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long children may take to end before they are killed.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Most children at a time.
const CHILDREN_MAX: usize = 64;

/// A child to start.
#[derive(Clone, Debug)]
pub(crate) struct Spawn {
    /// Name for people.
    pub name: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// A child that has ended although nobody told it to.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its name.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
}

/// The children of this process. All are told to end when it is dropped.
#[derive(Debug)]
pub(crate) struct Children {
    program: PathBuf,
    pipes: Vec<ChildStdin>,
    waits: JoinSet<()>,
    ended: mpsc::Sender<Ended>,
    reports: mpsc::Receiver<Ended>,
}

impl Children {
    /// None yet. Children run the same binary as this process.
    ///
    /// # Errors
    /// When the system does not tell where the binary is.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (ended, reports) = mpsc::channel(CHILDREN_MAX);
        let program = std::env::current_exe().context("cannot find out where the weir binary is")?;
        Ok(Self { program, pipes: Vec::new(), waits: JoinSet::new(), ended, reports })
    }

    /// Starts a child and returns its process id.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn(&mut self, spawn: Spawn) -> anyhow::Result<u32> {
        anyhow::ensure!(self.pipes.len() < CHILDREN_MAX, "more than {CHILDREN_MAX} child processes");
        let Spawn { name, args } = spawn;
        let mut child = Command::new(&self.program)
            .args(&args)
            .arg("--end-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Not in the terminal's foreground group: Ctrl-C reaches the parent, which ends its children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let pid = child.id().unwrap_or_default();
        if let Some(pipe) = child.stdin.take() {
            self.pipes.push(pipe);
        }
        let ended = self.ended.clone();
        self.waits.spawn(async move {
            // Waiting also collects the process, so that it leaves no zombie.
            if let Ok(status) = child.wait().await {
                let _ = ended.try_send(Ended { name, pid, status });
            }
        });
        Ok(pid)
    }

    /// Waits for the next child that ends by itself.
    pub(crate) async fn next_ended(&mut self) -> Ended {
        match self.reports.recv().await {
            Some(ended) => ended,
            // Cannot be: `self` holds a sender. Waiting for ever is what "no child ends" means.
            None => std::future::pending().await,
        }
    }

    /// Tells all children to end and waits for them; those that take too long are killed.
    pub(crate) async fn end(mut self) {
        self.pipes.clear();
        let all_ended = async { while self.waits.join_next().await.is_some() {} };
        if timeout(END_TIMEOUT, all_ended).await.is_err() {
            // Dropping a child's handle kills it; the aborted tasks hold them.
            self.waits.shutdown().await;
        }
    }
}
