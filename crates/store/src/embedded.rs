//! The embedded engine: one node, one redb file and its log, group commit.
//!
//! ```text
//! callers ──> bounded queue ──> writer thread: stage a batch in memory
//!                                 -> one record of the log, one flush
//!                                 -> apply to the shared state -> watches -> answers
//!                               now and then: one redb transaction with all that was touched since the last
//! ```
//!
//! The log is beside the file while the store is written to, see [`log`]; a store that was closed is one file.
//!
//! All live entries are in memory as well (see [`crate::state`]): the file is read once, when it is opened. The
//! history is in memory only, so after a restart a watch can start at the revision after the present one, and an
//! older start gets [`Error::Compacted`].
//!
//! When storage fails, the batch is refused and nothing of it becomes visible; reads go on. The next batch first makes sure
//! that the file has what is acknowledged, and that no log counts, see [`durable`]. After a failed *flush* of the file
//! it is not trusted any more: a new one is written from memory and takes its place.

mod durable;
mod file;
mod held;
mod layout;
mod load;
mod log;
mod reading;
mod restore;
mod storage;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use log::LeftOut;
pub(crate) use log::fuzzing;
pub use restore::Restore;
pub use storage::Files;

use crate::clock::{Clock, ManualClock, TokioClock};
use crate::local::LocalEngine;
use crate::shared::{Shared, expire_leases};
use crate::state::{Answer, Command, State};
use crate::{Entry, Error, Key, Limits, Memory, Position, Stats};
use durable::Durable;
use file::{File, Opened};
use writer::{Counters, Job, Writer};

/// How to open an embedded store.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The bounds.
    pub limits: Limits,
    /// Where leases get their time from.
    pub clock: Arc<dyn Clock>,
    /// A file that is created gets an epoch above this one.
    pub epoch_above: u64,
    /// How long a write waits for room in the queue before it is refused.
    pub queue_wait: Duration,
    /// How soon after a storage failure the file is reopened, at the earliest; writes are refused until then.
    pub reopen_after: Duration,
    /// In place of plain files: for tests that make storage fail.
    pub files: Option<Arc<dyn Files>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            clock: Arc::new(TokioClock::new()),
            epoch_above: 0,
            queue_wait: Duration::from_secs(1),
            reopen_after: Duration::from_millis(250),
            files: None,
        }
    }
}

/// A store in one file, and its log while it is written to.
pub struct Embedded {
    shared: Arc<Shared>,
    jobs: Option<mpsc::Sender<Job>>,
    queue_max: usize,
    queue_wait: Duration,
    counters: Arc<Counters>,
    open_duration: Duration,
    timer: JoinHandle<()>,
    writer: Option<thread::JoinHandle<()>>,
}

impl Embedded {
    /// Opens the file at `path`, and creates it if there is none. Must be called within a tokio runtime, which runs
    /// the lease timer and gives the answers to writes. Blocks for as long as reading the file takes, and its recovery after a crash.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it open, [`Error::Corrupt`] if it is damaged or something else,
    /// [`Error::NewerFormat`], [`Error::Open`].
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let path = path.as_ref();
        let Options { limits, clock, epoch_above, queue_wait, reopen_after, files } = options;
        let started = Instant::now();
        let file = File::new(path, files.unwrap_or_else(storage::plain));
        let Opened { database, stored, replayed, .. } = file.open(epoch_above)?;
        let state = State::new(limits.clone(), stored, clock.now());
        let shared = Arc::new(Shared::new(state, Arc::clone(&clock)));
        let counters = Arc::new(Counters::default());
        let (jobs, queue) = mpsc::channel(limits.queue_max);
        let durable = Durable::new(Arc::clone(&shared), file, database, replayed, reopen_after);
        let runtime = tokio::runtime::Handle::current();
        let writer = Writer::new(Arc::clone(&shared), durable, Arc::clone(&counters), runtime);
        let failed = |error: std::io::Error| Error::Open {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let thread = thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(queue));
        let thread = thread.map_err(failed)?;
        let expire = {
            let jobs = jobs.downgrade();
            move || expire(&jobs).boxed()
        };
        let timer = tokio::spawn(expire_leases(Arc::downgrade(&shared), clock, expire));
        Ok(Self {
            shared,
            jobs: Some(jobs),
            queue_max: limits.queue_max,
            queue_wait,
            counters,
            open_duration: started.elapsed(),
            timer,
            writer: Some(thread),
        })
    }
}

impl Embedded {
    /// Whether there is a store at `path`, or a part of one.
    pub fn is_there(path: impl AsRef<Path>) -> bool {
        restore::is_there(path.as_ref())
    }

    /// Reads the file at `path` and its log into memory, and changes neither, also after a crash and where nothing can be written.
    /// Time stands still in what is read, and what is written there is forgotten. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`Embedded::open`], and [`Error::Open`] if there is no file.
    pub fn read(path: impl AsRef<Path>) -> Result<Memory, Error> {
        let Opened { stored, .. } = File::to_read(path.as_ref()).open(0)?;
        Ok(Memory::of(Limits::default(), stored, Arc::new(ManualClock::new())))
    }

    /// The same where the log may be damaged: what is whole, and what of the log is left out then.
    ///
    /// # Errors
    /// As [`Embedded::read`]: [`Error::Corrupt`] too, where the file itself is damaged or missing.
    pub fn read_intact(path: impl AsRef<Path>) -> Result<(Memory, Option<LeftOut>), Error> {
        let Opened { stored, left_out, .. } = File::to_read_intact(path.as_ref()).open(0)?;
        Ok((Memory::of(Limits::default(), stored, Arc::new(ManualClock::new())), left_out))
    }

    /// Makes the file at `path` from entries in the order of their keys, without leases. It takes the place of one that is there
    /// only when it is whole and on disk; until then, and if anything fails, nothing has changed. Gives the position that the
    /// file begins with.
    ///
    /// # Errors
    /// The first error of `entries`, as it is; [`Error::NotEmpty`], unless what is there is to be replaced; [`Error::InUse`],
    /// [`Error::Open`], [`Error::WriteRefused`].
    pub fn restore<E: From<Error>>(
        path: impl AsRef<Path>,
        options: Restore,
        entries: impl Iterator<Item = Result<(Key, Entry), E>>,
    ) -> Result<Position, E> {
        restore::restore(path.as_ref(), options, entries)
    }
}

/// Asks the writer to end the leases whose time has come. Keeps no sender while it waits, so that it does not keep
/// the writer running.
fn expire(jobs: &mpsc::WeakSender<Job>) -> impl Future<Output = Result<(), Error>> + use<> {
    let (answer, answered) = oneshot::channel();
    let sent = match jobs.upgrade() {
        Some(jobs) => jobs
            .try_send(Job { command: Command::Expire, answer })
            .map_err(|_| Error::Overloaded { what: "queue_max", max: jobs.max_capacity() as u64 }),
        None => Err(Error::Closed),
    };
    async move {
        sent?;
        answered.await.unwrap_or(Err(Error::Closed)).map(drop)
    }
}

impl LocalEngine for Embedded {
    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn submit(&self, command: Command) -> BoxFuture<'_, Result<Answer, Error>> {
        async move {
            let jobs = self.jobs.as_ref().ok_or(Error::Closed)?;
            let (answer, answered) = oneshot::channel();
            let job = Job { command, answer };
            if let Err(full) = jobs.try_send(job) {
                let job = match full {
                    mpsc::error::TrySendError::Full(job) => job,
                    mpsc::error::TrySendError::Closed(_) => return Err(Error::Closed),
                };
                let overloaded = Error::Overloaded { what: "queue_max", max: self.queue_max as u64 };
                let room =
                    tokio::time::timeout(self.queue_wait, jobs.reserve()).await.map_err(|_| overloaded)?;
                room.map_err(|_| Error::Closed)?.send(job);
            }
            answered.await.unwrap_or(Err(Error::Closed))
        }
        .boxed()
    }

    fn stats(&self) -> Stats {
        Stats {
            batches: self.counters.batches.load(Ordering::Relaxed),
            batched_commands: self.counters.commands.load(Ordering::Relaxed),
            failed_batches: self.counters.failed.load(Ordering::Relaxed),
            open_duration: self.open_duration,
            ..self.shared.stats()
        }
    }
}

impl Drop for Embedded {
    /// Waits for the writer to finish its batch, so that the file is free when this returns.
    fn drop(&mut self) {
        self.timer.abort();
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer thread had panicked");
        }
        self.shared.close();
    }
}
