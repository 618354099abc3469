//! The access log: one line per request, written by a thread of its own. Workers hand lines over through a bounded queue
//! and never wait: a line that finds the queue full is dropped and counted.
//!
//! The file can be opened anew, so that it can be moved away and a new one begun (as logrotate does).

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use weir_model::Position;

use super::counters::WorkerCounters;
use crate::config::{AccessLogConfig, AccessLogFormat};
use crate::respond::Reason;

/// What is known of a request once it is over.
#[derive(Debug)]
pub(crate) struct AccessRecord {
    pub(crate) at: SystemTime,
    pub(crate) position: Position,
    pub(crate) client: IpAddr,
    pub(crate) method: Box<str>,
    pub(crate) host: Box<str>,
    pub(crate) path: Box<str>,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) upstream: Option<Arc<str>>,
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) attempts: u32,
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
    /// The response was cut off after its head.
    pub(crate) truncated: bool,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) duration_us: u64,
}

/// How soon a file is opened anew when there is nothing to write.
const REOPEN_WITHIN: Duration = Duration::from_millis(250);

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

/// Where workers hand records over.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    queue: SyncSender<AccessRecord>,
    reopen: Reopen,
}

impl AccessLog {
    /// Opens the log and starts its writer. The writer ends when the last handle is gone.
    pub(crate) fn start(config: &AccessLogConfig) -> io::Result<(Self, JoinHandle<()>)> {
        let out = Output::open(config)?;
        let (queue, lines) = sync_channel(config.queue_max.max(1));
        let reopen = Reopen::default();
        let log = Self { queue, reopen: reopen.clone() };
        let writer = std::thread::Builder::new()
            .name("weir-access-log".into())
            .spawn(move || write_lines(&lines, out, &reopen))?;
        Ok((log, writer))
    }

    /// What opens the file anew.
    pub(crate) fn reopen(&self) -> Reopen {
        self.reopen.clone()
    }

    /// Hands a record over, or drops it.
    pub(crate) fn log(&self, record: AccessRecord, counters: &WorkerCounters) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(record) {
            counters.log_dropped.add(1);
        }
    }
}

/// Where lines go, and how they look.
struct Output {
    to: BufWriter<Box<dyn Write + Send>>,
    path: Option<PathBuf>,
    format: AccessLogFormat,
    line: String,
}

impl Output {
    fn open(config: &AccessLogConfig) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = match &config.path {
            Some(path) => append(path)?,
            None => Box::new(io::stdout()),
        };
        let path = config.path.clone();
        Ok(Self { to: BufWriter::new(to), path, format: config.format, line: String::new() })
    }

    fn write(&mut self, record: &AccessRecord) {
        self.line.clear();
        match self.format {
            AccessLogFormat::Json => record.json(&mut self.line),
            AccessLogFormat::Text => record.text(&mut self.line),
        }
        self.line.push('\n');
        if let Err(fault) = self.to.write_all(self.line.as_bytes()) {
            tracing::warn!(%fault, "the access log cannot be written");
        }
    }

    /// Goes on in the file that has the name now. If there can be none, the old one is gone on with.
    fn reopen(&mut self) {
        let _ = self.to.flush();
        let Some(path) = &self.path else { return };
        match append(path) {
            Ok(file) => {
                self.to = BufWriter::new(file);
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

fn write_lines(lines: &Receiver<AccessRecord>, mut out: Output, reopen: &Reopen) {
    loop {
        let mut next = match lines.recv_timeout(REOPEN_WITHIN) {
            Ok(record) => Some(record),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if reopen.take() {
            out.reopen();
        }
        if next.is_none() {
            continue;
        }
        while let Some(record) = next {
            out.write(&record);
            next = lines.try_recv().ok();
        }
        // The queue is empty: let readers see what there is.
        let _ = out.to.flush();
    }
}

impl AccessRecord {
    fn time_ms(&self) -> u128 {
        self.at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis())
    }

    fn json(&self, out: &mut String) {
        let text = |value: &str| serde_json::Value::from(value);
        // Writing into memory cannot fail.
        let _ = write!(
            out,
            "{{\"time_ms\":{},\"position\":\"{}\",\"client\":\"{}\",\"method\":{},\"host\":{},\"path\":{}",
            self.time_ms(),
            self.position,
            self.client,
            text(&self.method),
            text(&self.host),
            text(&self.path)
        );
        for (name, value) in
            [("route", &self.route), ("upstream", &self.upstream), ("endpoint", &self.endpoint)]
        {
            if let Some(value) = value {
                let _ = write!(out, ",\"{name}\":{}", text(value));
            }
        }
        let _ = write!(out, ",\"attempts\":{},\"status\":{}", self.attempts, self.status);
        if let Some(reason) = self.reason {
            let _ = write!(out, ",\"reason\":\"{}\"", reason.as_str());
        }
        if self.truncated {
            out.push_str(",\"truncated\":true");
        }
        let _ = write!(
            out,
            ",\"bytes_in\":{},\"bytes_out\":{},\"duration_us\":{}}}",
            self.bytes_in, self.bytes_out, self.duration_us
        );
    }

    fn text(&self, out: &mut String) {
        let or_dash = |value: &Option<Arc<str>>| value.as_deref().unwrap_or("-").to_owned();
        let _ = write!(
            out,
            "time_ms={} position={} client={} method={} host={:?} path={:?} route={} upstream={} endpoint={} attempts={} status={} reason={} truncated={} bytes_in={} bytes_out={} duration_us={}",
            self.time_ms(),
            self.position,
            self.client,
            self.method,
            self.host,
            self.path,
            or_dash(&self.route),
            or_dash(&self.upstream),
            or_dash(&self.endpoint),
            self.attempts,
            self.status,
            self.reason.map_or("-", Reason::as_str),
            self.truncated,
            self.bytes_in,
            self.bytes_out,
            self.duration_us
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AccessRecord {
        AccessRecord {
            at: SystemTime::UNIX_EPOCH,
            position: Position::new(1, 42),
            client: IpAddr::from([127, 0, 0, 1]),
            method: "GET".into(),
            host: "shop".into(),
            path: "/a\"b".into(),
            route: Some("shop/0".into()),
            upstream: Some("cart".into()),
            endpoint: None,
            attempts: 2,
            status: 502,
            reason: Some(Reason::UpstreamReset),
            truncated: false,
            bytes_in: 10,
            bytes_out: 20,
            duration_us: 30,
        }
    }

    #[test]
    fn a_json_line_is_json() {
        let mut line = String::new();
        record().json(&mut line);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["position"], "1.42");
        assert_eq!(json["path"], "/a\"b");
        assert_eq!(json["reason"], "upstream_reset");
        assert_eq!(json["endpoint"], serde_json::Value::Null);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let counters = WorkerCounters::default();
        let (queue, lines) = sync_channel(1);
        let log = AccessLog { queue, reopen: Reopen::default() };
        log.log(record(), &counters);
        log.log(record(), &counters);
        assert_eq!(counters.log_dropped.get(), 1);
        assert!(lines.try_recv().is_ok());
    }

    #[test]
    fn a_moved_file_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
        let config = AccessLogConfig { path: Some(path.clone()), ..AccessLogConfig::default() };
        let (log, writer) = AccessLog::start(&config).unwrap();
        let eventually = |done: &dyn Fn() -> bool| {
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while !done() {
                assert!(std::time::Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let counters = WorkerCounters::default();
        log.log(record(), &counters);
        eventually(&|| std::fs::metadata(&path).is_ok_and(|file| file.len() > 0));
        std::fs::rename(&path, &moved).unwrap();
        log.reopen().ask();
        eventually(&|| path.exists());
        log.log(AccessRecord { status: 200, ..record() }, &counters);
        drop(log);
        writer.join().unwrap();
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert!(read(&moved).contains("\"status\":502") && !read(&moved).contains("\"status\":200"));
        assert!(read(&path).contains("\"status\":200"));
    }
}
