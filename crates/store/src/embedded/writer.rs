//! The writer thread: takes what waits, makes it durable with one flush, makes it visible, answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::durable::Durable;
use crate::shared::Shared;
use crate::state::{Answer, Command, Staging};
use crate::{Error, Limits};

/// How long a batch waits for more at most, beside the time for which the system lets others have the core.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// A command and where its answer goes.
pub(super) struct Job {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Result<Answer, Error>>,
}

/// What is answered, and to whom.
type Answers = Vec<(oneshot::Sender<Result<Answer, Error>>, Result<Answer, Error>)>;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) batches: AtomicU64,
    pub(super) commands: AtomicU64,
    pub(super) failed: AtomicU64,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    durable: Durable,
    counters: Arc<Counters>,
    /// Where those who wait for answers run.
    runtime: Handle,
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

impl Writer {
    /// A writer of a store that is used within `runtime`.
    pub(super) fn new(
        shared: Arc<Shared>,
        durable: Durable,
        counters: Arc<Counters>,
        runtime: Handle,
    ) -> Self {
        Self { shared, durable, counters, runtime }
    }

    /// Works until all senders are gone and the queue is empty.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let limits = self.shared.state().limits.clone();
        while let Some(first) = queue.blocking_recv() {
            let jobs = gather(first, &mut queue, &limits);
            self.batch(jobs);
            self.durable.settle();
        }
        self.durable.close();
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
        let durable = if changes.is_empty() { Ok(()) } else { self.durable.write(&changes) };
        match durable {
            Ok(()) => {
                if !changes.is_empty() {
                    self.counters.batches.fetch_add(1, Ordering::Relaxed);
                    self.counters.commands.fetch_add(count, Ordering::Relaxed);
                    self.shared.apply(changes);
                }
                self.answer(answers);
            }
            Err(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                // What was refused for itself keeps its reason; all else depends on the batch.
                let refused = |result: Result<Answer, Error>| result.and(Err(error.clone()));
                self.answer(answers.into_iter().map(|(answer, result)| (answer, refused(result))).collect());
            }
        }
    }

    /// Answers a batch from within the runtime. From here each answer would wake a thread of it, which takes the core for the
    /// little that one answer is. Whoever follows the store was woken before, so what is answered has mostly been seen.
    fn answer(&self, answers: Answers) {
        self.runtime.spawn(async move {
            for (answer, result) in answers {
                // Whoever asked may have gone away; the effect stays.
                let _gone = answer.send(result);
            }
        });
    }
}
