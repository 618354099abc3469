//! The access log: one line per request, written by a thread of its own. Workers hand lines over through a bounded queue
//! and never wait: a line that finds the queue full is dropped and counted.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use weir_model::Position;

use super::metrics::Metrics;
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

/// Where workers hand records over.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    queue: SyncSender<AccessRecord>,
    metrics: Arc<Metrics>,
}

impl AccessLog {
    /// Opens the log and starts its writer. The writer ends when the last handle is gone.
    pub(crate) fn start(
        config: &AccessLogConfig,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let out: Box<dyn Write + Send> = match &config.path {
            Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
            None => Box::new(io::stdout()),
        };
        let (queue, lines) = sync_channel(config.queue_max.max(1));
        let format = config.format;
        let writer = std::thread::Builder::new()
            .name("weir-access-log".into())
            .spawn(move || write_lines(&lines, out, format))?;
        Ok((Self { queue, metrics }, writer))
    }

    /// Hands a record over, or drops it.
    pub(crate) fn log(&self, record: AccessRecord) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(record) {
            self.metrics.log_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_lines(lines: &Receiver<AccessRecord>, out: Box<dyn Write + Send>, format: AccessLogFormat) {
    let mut out = BufWriter::new(out);
    let mut line = String::new();
    while let Ok(record) = lines.recv() {
        let mut next = Some(record);
        while let Some(record) = next {
            line.clear();
            match format {
                AccessLogFormat::Json => record.json(&mut line),
                AccessLogFormat::Text => record.text(&mut line),
            }
            line.push('\n');
            if let Err(fault) = out.write_all(line.as_bytes()) {
                tracing::warn!(%fault, "the access log cannot be written");
            }
            next = lines.try_recv().ok();
        }
        // The queue is empty: let readers see what there is.
        let _ = out.flush();
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
        let metrics = Arc::new(Metrics::new(1));
        let (queue, lines) = sync_channel(1);
        let log = AccessLog { queue, metrics: metrics.clone() };
        log.log(record());
        log.log(record());
        assert_eq!(metrics.log_dropped.load(Ordering::Relaxed), 1);
        assert!(lines.try_recv().is_ok());
    }
}
