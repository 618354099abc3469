//! A bounded, open-loop load: so many GET requests a second for so long, each failure kept. A connection that is behind,
//! because an answer took longer than its share, sends the next requests without a pause until it is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http::Connection;

/// What is sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Path to GET.
    pub target: String,
    /// `Host` field.
    pub host: String,
    /// Requests per second over all connections.
    pub rate: u32,
    /// Connections, each with a thread of its own.
    pub connections: u32,
    /// The longest it may run.
    pub duration_max: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests answered with 200.
    pub good: u64,
    /// Everything else, in words.
    pub failures: Vec<String>,
    /// The longest time to an answer.
    pub slowest: Duration,
}

/// A load under way.
pub struct Running {
    begin: Instant,
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Outcome>>,
    ready: mpsc::Receiver<()>,
}

impl Load {
    /// Starts it, each connection kept open as long as it goes.
    pub fn start(self) -> Running {
        self.start_mixed(0)
    }

    /// Starts it with a fresh connection for every request of so many of its connections.
    pub fn start_mixed(self, fresh: u32) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let good = Arc::new(AtomicU64::new(0));
        let (announce, ready) = mpsc::channel();
        let begin = Instant::now();
        let threads = (0..self.connections)
            .map(|index| {
                let (load, stop, good, announce) =
                    (self.clone(), Arc::clone(&stop), Arc::clone(&good), announce.clone());
                std::thread::spawn(move || load.run(index, index < fresh, begin, &stop, &good, &announce))
            })
            .collect();
        Running { begin, stop, good, threads, ready }
    }

    fn run(
        &self,
        index: u32,
        fresh: bool,
        begin: Instant,
        stop: &AtomicBool,
        good: &AtomicU64,
        announce: &mpsc::Sender<()>,
    ) -> Outcome {
        let gap = Duration::from_secs(1) * self.connections / self.rate;
        let mut next = begin + gap * index / self.connections;
        let mut outcome = Outcome::default();
        let mut connection: Option<Connection> = None;
        while !stop.load(Ordering::Relaxed) && begin.elapsed() < self.duration_max {
            // Pacing, not waiting for a condition: the rate is what the test is about.
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += gap;
            let sent = Instant::now();
            match self.one(&mut connection) {
                Ok(200) => {
                    outcome.good += 1;
                    if good.fetch_add(1, Ordering::Relaxed) == 0 {
                        let _ = announce.send(());
                    }
                }
                Ok(status) => outcome.failures.push(format!("{:?}: status {status}", begin.elapsed())),
                Err(error) => {
                    connection = None;
                    outcome.failures.push(format!("{:?}: {error}", begin.elapsed()));
                }
            }
            outcome.slowest = outcome.slowest.max(sent.elapsed());
            if fresh {
                connection = None;
            }
        }
        outcome
    }

    fn one(&self, connection: &mut Option<Connection>) -> std::io::Result<u16> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(Connection::open(self.port)?),
        };
        let response = open.request("GET", &self.target, &[("host", &self.host)], b"")?;
        if response.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")) {
            *connection = None;
        }
        Ok(response.status)
    }
}

impl Running {
    /// Requests answered with 200 so far.
    pub fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Requests answered with 200 per second since it began.
    pub fn reached(&self) -> f64 {
        self.good() as f64 / self.begin.elapsed().as_secs_f64()
    }

    /// Waits for the first good answer.
    pub fn wait_for_first(&self, limit: Duration) {
        self.ready.recv_timeout(limit).expect("no request was answered");
    }

    /// Waits until this many more have been answered.
    pub fn wait_for_more(&self, count: u64, limit: Duration) {
        let goal = self.good() + count;
        crate::wait::eventually("more requests to be answered", limit, || {
            (self.good() >= goal).then_some(())
        });
    }

    /// Ends it and adds up.
    pub fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Outcome::default();
        for thread in self.threads {
            let part = thread.join().expect("a load thread panicked");
            total.good += part.good;
            total.failures.extend(part.failures);
            total.slowest = total.slowest.max(part.slowest);
        }
        total
    }
}
