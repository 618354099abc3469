//! The writer thread: takes what waits, makes it durable with one flush, makes it visible, answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::{mpsc, oneshot};

use super::file::File;
use crate::shared::Shared;
use crate::state::{Answer, Changes, Command, Staging};
use crate::{Error, Key, LeaseId, Limits};

/// How long a batch waits for more at most, beside the time for which the system lets others have the core.
const GATHER_MAX: Duration = Duration::from_millis(1);

/// A command and where its answer goes.
pub(super) struct Job {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Result<Answer, Error>>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) batches: AtomicU64,
    pub(super) commands: AtomicU64,
    pub(super) failed: AtomicU64,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    file: File,
    /// `None` after a failure, until the file could be reopened.
    database: Option<Database>,
    counters: Arc<Counters>,
    reopen_after: Duration,
    failure: Option<Failure>,
    /// A flush failed: what the file seems to hold may not be there.
    suspect: bool,
}

/// Takes what waits, and what comes from those who only lack a core to ask: they get this one first. Where cores are free
/// that takes no time; where they are all busy, a batch is then as large as it can be, and flushes cost each write less.
fn gather(first: Job, queue: &mut mpsc::Receiver<Job>, limits: &Limits) -> Vec<Job> {
    let began = Instant::now();
    let mut bytes = first.command.bytes();
    let mut jobs = vec![first];
    loop {
        let known = jobs.len();
        thread::yield_now();
        while jobs.len() < limits.batch_txns_max && bytes < limits.batch_bytes_max {
            let Ok(job) = queue.try_recv() else { break };
            bytes += job.command.bytes();
            jobs.push(job);
        }
        let is_full = jobs.len() >= limits.batch_txns_max || bytes >= limits.batch_bytes_max;
        if is_full || jobs.len() == known || began.elapsed() >= GATHER_MAX {
            return jobs;
        }
    }
}

/// What is left of failed batches: they may or may not have reached the disk.
struct Failure {
    at: Instant,
    error: Error,
    keys: BTreeSet<Key>,
    leases: BTreeSet<LeaseId>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        file: File,
        database: Database,
        counters: Arc<Counters>,
        reopen_after: Duration,
    ) -> Self {
        Self { shared, file, database: Some(database), counters, reopen_after, failure: None, suspect: false }
    }

    /// Works until all senders are gone and the queue is empty.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let limits = self.shared.state().limits.clone();
        while let Some(first) = queue.blocking_recv() {
            let jobs = gather(first, &mut queue, &limits);
            self.batch(jobs);
        }
    }

    fn batch(&mut self, jobs: Vec<Job>) {
        let now = self.shared.now();
        let count = jobs.len() as u64;
        let mut answers = Vec::with_capacity(jobs.len());
        let changes = {
            let state = self.shared.state();
            let mut staging = Staging::new(&state);
            for Job { command, answer } in jobs {
                answers.push((answer, staging.execute(command, now)));
            }
            staging.finish()
        };
        let durable = if changes.is_empty() { Ok(()) } else { self.make_durable(&changes) };
        match durable {
            Ok(()) => {
                if !changes.is_empty() {
                    self.counters.batches.fetch_add(1, Ordering::Relaxed);
                    self.counters.commands.fetch_add(count, Ordering::Relaxed);
                    self.shared.apply(changes);
                }
                for (answer, result) in answers {
                    // Whoever asked may have gone away; the effect stays.
                    let _gone = answer.send(result);
                }
            }
            Err(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                for (answer, result) in answers {
                    // What was refused for itself keeps its reason; all else depends on the batch.
                    let _gone = answer.send(result.and(Err(error.clone())));
                }
            }
        }
    }

    fn make_durable(&mut self, changes: &Changes) -> Result<(), Error> {
        self.reopen()?;
        let Some(database) = &self.database else { return Err(Error::Closed) };
        let written = self.file.write(database, changes);
        written.inspect_err(|error| self.fail(error, Some(changes)))
    }

    /// Gets a usable database after a failure, with exactly the acknowledged state in it.
    fn reopen(&mut self) -> Result<(), Error> {
        let Some(failure) = &self.failure else { return Ok(()) };
        if failure.at.elapsed() < self.reopen_after {
            return Err(failure.error.clone());
        }
        let reopened = if self.suspect {
            self.file.rebuild(&self.shared)
        } else {
            // Closed before it is opened again: the file is locked.
            self.database = None;
            self.file.reopen().and_then(|database| {
                self.file.restore(&database, &self.shared, &failure.keys, &failure.leases)?;
                Ok(database)
            })
        };
        match reopened {
            Ok(database) => {
                tracing::info!(path = %self.file.path(), "storage works again, writes are accepted");
                self.database = Some(database);
                self.failure = None;
                self.suspect = false;
                Ok(())
            }
            Err(error) => {
                self.fail(&error, None);
                Err(error)
            }
        }
    }

    fn fail(&mut self, error: &Error, changes: Option<&Changes>) {
        tracing::error!(path = %self.file.path(), %error, "storage failed, writes are refused");
        self.suspect |= self.file.take_flush_failed();
        let failure = self.failure.get_or_insert_with(|| Failure {
            at: Instant::now(),
            error: error.clone(),
            keys: BTreeSet::new(),
            leases: BTreeSet::new(),
        });
        failure.at = Instant::now();
        failure.error = error.clone();
        if let Some(changes) = changes {
            failure.keys.extend(changes.entries.keys().cloned());
            failure.leases.extend(changes.leases.keys().copied());
        }
    }
}
