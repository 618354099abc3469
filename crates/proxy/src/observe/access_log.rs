//! The access log: one line per request, put into words by the worker and written by a thread of its own. Workers collect
//! lines and hand them over in batches through a bounded queue; they never wait: a batch that finds the queue full is
//! dropped and its lines counted.
//!
//! ```text
//!  worker: line, line, line -> batch --(a tick, or it is full)--> queue -> writer -> file
//! ```
//!
//! The file can be opened anew, so that it can be moved away and a new one begun (as logrotate does).

mod line;

use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::Rng;

use super::counters::WorkerCounters;
use super::metrics::Metrics;
use crate::config::{AccessLogConfig, AccessLogFormat};
pub(crate) use line::{FellBack, Line};

/// A batch that has grown so large is handed over at once.
const BATCH_BYTES: usize = 16 * 1024;
/// How soon a file is opened anew when there is nothing to write.
const REOPEN_WITHIN: Duration = Duration::from_millis(250);

/// Lines on their way to the writer.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

/// Somebody's means to have the file opened anew. Does not keep the log going.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reopen(Arc<AtomicBool>);

impl Reopen {
    /// Has the file opened anew, soon.
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Acquire)
    }
}

/// The log, as far as workers share it.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    queue: SyncSender<Batch>,
    format: AccessLogFormat,
    /// The share of requests that is logged, of `u64::MAX`.
    share: u64,
    reopen: Reopen,
}

impl AccessLog {
    /// Opens the log and starts its writer. The writer ends when the last handle is gone.
    pub(crate) fn start(
        config: &AccessLogConfig,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let out = Output::open(config)?;
        let (queue, batches) = sync_channel(config.queue_max.max(1));
        let reopen = Reopen::default();
        let log = Self {
            queue,
            format: config.format,
            share: (config.sample.clamp(0.0, 1.0) * u64::MAX as f64) as u64,
            reopen: reopen.clone(),
        };
        let writer = std::thread::Builder::new()
            .name("weir-access-log".into())
            .spawn(move || write_batches(&batches, out, &reopen, &metrics))?;
        Ok((log, writer))
    }

    /// What opens the file anew.
    pub(crate) fn reopen(&self) -> Reopen {
        self.reopen.clone()
    }

    /// Whether a line is logged. A request has the same luck at every proxy that it passes, by its id.
    fn is_sampled(&self, line: &Line<'_>, rng: &mut impl Rng) -> bool {
        if self.share == u64::MAX || line.is_error() {
            return true;
        }
        let luck = if line.request_id.is_empty() { rng.next_u64() } else { luck(line.request_id) };
        luck < self.share
    }
}

/// An even draw that an id decides, the same in every process: FNV-1a, stirred once more (the last step of MurmurHash3),
/// since what counts here are the upper bits.
fn luck(id: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = id.iter().fold(0xcbf2_9ce4_8422_2325, step);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// One worker's lines. What is left when it is dropped is handed over.
#[derive(Debug)]
pub(crate) struct WorkerLog {
    log: AccessLog,
    batch: RefCell<Batch>,
    /// The size of a batch lately, so that the next one need not grow.
    usual_bytes: Cell<usize>,
    counters: Arc<WorkerCounters>,
}

impl WorkerLog {
    pub(crate) fn new(log: AccessLog, counters: Arc<WorkerCounters>) -> Self {
        Self { log, batch: RefCell::default(), usual_bytes: Cell::new(0), counters }
    }

    /// Takes a line down, unless the sample leaves it out.
    pub(crate) fn log(&self, line: &Line<'_>, rng: &mut impl Rng) {
        if !self.log.is_sampled(line, rng) {
            return;
        }
        let mut batch = self.batch.borrow_mut();
        if batch.bytes.capacity() == 0 {
            batch.bytes.reserve(self.usual_bytes.get());
        }
        line.write(self.log.format, &mut batch.bytes);
        batch.lines += 1;
        let is_full = batch.bytes.len() >= BATCH_BYTES;
        drop(batch);
        if is_full {
            self.hand_over();
        }
    }

    /// Hands over what there is, or drops it.
    pub(crate) fn hand_over(&self) {
        let batch = self.batch.take();
        if batch.lines == 0 {
            return;
        }
        self.usual_bytes.set(batch.bytes.len());
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
            self.log.queue.try_send(batch)
        {
            self.counters.log_dropped.add(batch.lines);
        }
    }
}

impl Drop for WorkerLog {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// Where lines go.
struct Output {
    to: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    /// The last write has failed.
    failing: bool,
}

impl Output {
    fn open(config: &AccessLogConfig) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = match &config.path {
            Some(path) => append(path)?,
            None => Box::new(io::stdout()),
        };
        Ok(Self { to, path: config.path.clone(), failing: false })
    }

    /// Writes a batch, or counts it as lost. That it cannot is said once.
    fn write(&mut self, batch: &Batch, metrics: &Metrics) {
        let written = self.to.write_all(&batch.bytes).and_then(|()| self.to.flush());
        if let Err(fault) = &written {
            metrics.log_lost.fetch_add(batch.lines, Ordering::Relaxed);
            if !self.failing {
                tracing::error!(%fault, "the access log cannot be written; its lines are lost until it can");
            }
        } else if self.failing {
            tracing::info!("the access log can be written again");
        }
        self.failing = written.is_err();
    }

    /// Goes on in the file that has the name now. If there can be none, the old one is gone on with.
    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match append(path) {
            Ok(file) => {
                self.to = file;
                tracing::info!(path = %path.display(), "opened the access log anew");
            }
            Err(fault) => {
                let path = path.display();
                tracing::error!(%fault, %path, "cannot open the access log anew; going on in the old file");
            }
        }
    }
}

fn append(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(OpenOptions::new().create(true).append(true).open(path)?))
}

fn write_batches(batches: &Receiver<Batch>, mut out: Output, reopen: &Reopen, metrics: &Metrics) {
    loop {
        let next = match batches.recv_timeout(REOPEN_WITHIN) {
            Ok(batch) => Some(batch),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if reopen.take() {
            out.reopen();
        }
        if let Some(batch) = next {
            out.write(&batch, metrics);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::line::tests::line;
    use super::*;

    fn rng() -> SmallRng {
        SmallRng::seed_from_u64(3)
    }

    fn log(queue_max: usize, share: u64) -> (WorkerLog, Receiver<Batch>) {
        let (queue, batches) = sync_channel(queue_max);
        let log = AccessLog { queue, format: AccessLogFormat::Json, share, reopen: Reopen::default() };
        (WorkerLog::new(log, Arc::default()), batches)
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (log, batches) = log(1, u64::MAX);
        for _ in 0..2 {
            log.log(&line(), &mut rng());
            log.log(&line(), &mut rng());
            log.hand_over();
        }
        assert_eq!(log.counters.log_dropped.get(), 2);
        assert_eq!(batches.try_recv().unwrap().lines, 2);
        log.hand_over();
        assert!(batches.try_recv().is_err(), "nothing is nothing");
    }

    #[test]
    fn a_large_batch_does_not_wait() {
        let (log, batches) = log(4, u64::MAX);
        let mut lines = 0;
        let batch = loop {
            log.log(&line(), &mut rng());
            lines += 1;
            if let Ok(batch) = batches.try_recv() {
                break batch;
            }
        };
        assert_eq!(batch.lines, lines);
        assert!((BATCH_BYTES..BATCH_BYTES + 4096).contains(&batch.bytes.len()));
        assert_eq!(batch.bytes.iter().filter(|&&b| b == b'\n').count() as u64, lines);
        log.log(&line(), &mut rng());
        drop(log);
        assert_eq!(batches.try_recv().unwrap().lines, 1, "what is left is handed over in the end");
    }

    #[test]
    fn a_sample_has_its_share_and_all_errors() {
        let (log, _batches) = log(1, u64::MAX / 10);
        let mut rng = rng();
        let fine = Line { status: 200, reason: "", ..line() };
        let mut logged = 0;
        for i in 0..10_000 {
            let id = format!("id-{i}");
            let of_id = Line { request_id: id.as_bytes(), ..fine };
            let sampled = log.log.is_sampled(&of_id, &mut rng);
            assert_eq!(log.log.is_sampled(&of_id, &mut rng), sampled, "by its id");
            logged += u32::from(sampled);
            logged += u32::from(log.log.is_sampled(&Line { request_id: b"", ..fine }, &mut rng));
            assert!(log.log.is_sampled(&line(), &mut rng), "an error");
        }
        // 2000 of 20000 expected; six standard deviations are 255.
        assert!((1745..=2255).contains(&logged), "{logged}");
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let metrics = Arc::new(Metrics::new(1));
        let config = AccessLogConfig { path: Some("/dev/full".into()), ..AccessLogConfig::default() };
        if !Path::new("/dev/full").exists() {
            return;
        }
        let (shared, writer) = AccessLog::start(&config, metrics.clone()).unwrap();
        let log = WorkerLog::new(shared, Arc::default());
        log.log(&line(), &mut rng());
        log.log(&line(), &mut rng());
        drop(log);
        writer.join().unwrap();
        assert_eq!(metrics.log_lost.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_moved_file_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
        let config = AccessLogConfig { path: Some(path.clone()), ..AccessLogConfig::default() };
        let (shared, writer) = AccessLog::start(&config, Arc::new(Metrics::new(1))).unwrap();
        let reopen = shared.reopen();
        let log = WorkerLog::new(shared, Arc::default());
        let eventually = |done: &dyn Fn() -> bool| {
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while !done() {
                assert!(std::time::Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        log.log(&line(), &mut rng());
        log.hand_over();
        eventually(&|| std::fs::metadata(&path).is_ok_and(|file| file.len() > 0));
        std::fs::rename(&path, &moved).unwrap();
        reopen.ask();
        eventually(&|| path.exists());
        log.log(&Line { status: 200, ..line() }, &mut rng());
        drop(log);
        writer.join().unwrap();
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert!(read(&moved).contains("\"status\":502") && !read(&moved).contains("\"status\":200"));
        assert!(read(&path).contains("\"status\":200"));
    }
}
