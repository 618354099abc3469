//! Starting and ending the workers.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};

use super::succession::Succession;
use super::worker::{STOP_MAX, Worker, live};
use crate::config::{Interception, Mode, ProxyConfig};
use crate::error::ProxyError;
use crate::handover::Offered;
use crate::listen::{Capture, Listeners, Mail, Mailbox, Outgoing, Role};
use crate::observe::{AccessLog, Metrics, Reopen, Slept};
use crate::snapshot::{Settings, Upstream};
use crate::source::{self, Shared};

/// What every worker reads.
pub(crate) struct EngineShared {
    pub(crate) config: ProxyConfig,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: Option<AccessLog>,
    /// The application behind a sidecar.
    pub(crate) app: Option<Arc<Upstream>>,
    /// What captured connections are passed on by.
    pub(crate) outgoing: Outgoing,
}

/// A listener that comes from the configuration.
struct Fixed {
    role: Role,
    capture: Capture,
    addr: SocketAddr,
}

/// The running workers of a proxy.
pub struct Engine {
    listeners: Arc<Listeners>,
    metrics: Arc<Metrics>,
    fixed: Vec<Fixed>,
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Vec<JoinHandle<()>>,
    /// Disconnects when the last worker has ended.
    ended: Receiver<()>,
    log_writer: Option<JoinHandle<()>>,
    reopen_log: Option<Reopen>,
    drain_timeout: Duration,
}

impl Engine {
    /// Starts the workers, and opens the listeners that come from the configuration rather than from a snapshot.
    ///
    /// # Errors
    /// A thread, a listener or the access log could not be made.
    pub fn start(config: &ProxyConfig, shared: Arc<Shared>) -> Result<Self, ProxyError> {
        Self::start_from(config, shared, Vec::new())
    }

    /// The same with listeners that another process offers.
    pub(super) fn start_from(
        config: &ProxyConfig,
        shared: Arc<Shared>,
        offered: Vec<Offered>,
    ) -> Result<Self, ProxyError> {
        let workers = config.worker_count();
        let metrics = Arc::new(Metrics::new(workers));
        let (access_log, log_writer) = match &config.access_log {
            Some(log) => {
                let (log, writer) = AccessLog::start(log, metrics.clone())
                    .map_err(|source| ProxyError::AccessLog { path: log.path.clone(), source })?;
                (Some(log), Some(writer))
            }
            None => (None, None),
        };
        let reopen_log = access_log.as_ref().map(AccessLog::reopen);
        let app = application(config);
        if let Some(app) = &app {
            let _ = metrics.app.set(Arc::clone(app));
        }
        let engine_shared = Arc::new(EngineShared {
            config: config.clone(),
            shared,
            metrics: metrics.clone(),
            access_log,
            app,
            outgoing: Outgoing::default(),
        });
        let mailboxes: Vec<Arc<Mailbox>> = (0..workers).map(|_| Arc::default()).collect();
        let listeners = Listeners::new(mailboxes.clone()).inheriting(offered, config.handover.is_some());
        let listeners = Arc::new(listeners);
        let fixed = open_fixed(config, &listeners)?;
        let (alive, ended) = sync_channel(0);
        let mut threads = Vec::with_capacity(workers);
        for (index, mailbox) in mailboxes.iter().enumerate() {
            let (shared, mailbox, alive) = (engine_shared.clone(), mailbox.clone(), alive.clone());
            let slept = Slept::default();
            let awake = slept.clone();
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().on_thread_unpark(move || awake.woke());
            let life = metrics.worker(index).live();
            let (begun, outcome) = sync_channel(1);
            let thread = std::thread::Builder::new().name(format!("weir-worker-{index}")).spawn(move || {
                let _life = life;
                // It never leaves the thread that made it.
                match builder.build_local(LocalOptions::default()) {
                    Ok(runtime) => {
                        let _ = begun.send(Ok(()));
                        carry(runtime, || live(Worker::new(shared, index, slept), mailbox));
                    }
                    Err(fault) => drop(begun.send(Err(fault))),
                }
                drop(alive);
            });
            threads.push(thread.map_err(|source| ProxyError::Start { what: "a worker thread", source })?);
            let outcome = outcome.recv().unwrap_or_else(|_| Err(std::io::Error::other("it ended at once")));
            outcome.map_err(|source| ProxyError::Start { what: "a worker's runtime", source })?;
        }
        Ok(Self {
            listeners,
            metrics,
            fixed,
            mailboxes,
            threads,
            ended,
            log_writer,
            reopen_log,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Where snapshots' listeners are bound and settled.
    pub fn listeners(&self) -> &Arc<Listeners> {
        &self.listeners
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The address that a sidecar's listener is bound to.
    pub fn fixed(&self, role: Role) -> Option<SocketAddr> {
        self.captured(role, &Capture::None)
    }

    /// The same for one that takes connections which were not made to it.
    pub fn captured(&self, role: Role, capture: &Capture) -> Option<SocketAddr> {
        let is_it = |fixed: &&Fixed| fixed.role == role && fixed.capture == *capture;
        self.fixed.iter().find(is_it).map(|fixed| fixed.addr)
    }

    /// Stops accepting, lets requests in flight finish, for at most the drain timeout, and ends the workers. Blocks.
    /// Gives whether everything had finished in time.
    pub fn drain(self) -> bool {
        // The workers' sockets must be the last, so that nothing is queued once they have emptied them.
        self.listeners.forget_copies();
        self.tell(|| Mail::Drain);
        let in_time = ended_by(&self.ended, Instant::now() + self.drain_timeout);
        if !in_time {
            let left = self.metrics.active_connections();
            tracing::warn!(connections = left, "closing what has not finished within the drain timeout");
        }
        self.stop();
        in_time
    }

    /// Ends the workers at once. Blocks.
    pub fn stop(self) {
        self.tell(|| Mail::Stop);
        if !ended_by(&self.ended, Instant::now() + STOP_MAX) {
            tracing::error!("a worker does not end");
            return;
        }
        for thread in self.threads {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
        if let Some(writer) = self.log_writer {
            // The workers' handles to the log are gone, so the writer ends once it has written what was queued.
            let _ = writer.join();
        }
    }

    fn tell(&self, mail: impl Fn() -> Mail) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(mail()));
    }
}

/// Carries a worker's life on this thread, to its end. Tasks run on the runtime's own queue: a `LocalSet` would be a second
/// one below it, and would look after `life` at every turn.
fn carry<L: Future<Output = ()>>(runtime: LocalRuntime, life: impl FnOnce() -> L) {
    runtime.block_on(async { life().await });
    // To drop it would be to wait for the lookups of host names that are under way, however long the resolver takes.
    runtime.shutdown_background();
}

fn ended_by(ended: &Receiver<()>, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    // Nobody sends: it disconnects when the last worker is gone.
    matches!(ended.recv_timeout(left), Err(RecvTimeoutError::Disconnected))
}

fn application(config: &ProxyConfig) -> Option<Arc<Upstream>> {
    match &config.mode {
        Mode::Gateway => None,
        Mode::Sidecar { service, app, .. } => {
            // Limits and retries are the caller's; a second set of them here would only cut the first one short. When the
            // caller gives up it closes the connection, and that is passed on.
            let settings = Settings {
                connect_timeout: config.timeouts.connect,
                request_timeout: None,
                retries: 0,
                ..Settings::default()
            };
            Some(Arc::new(Upstream::fixed(service.clone(), config.app_protocol, settings, *app)))
        }
    }
}

fn open_fixed(config: &ProxyConfig, listeners: &Listeners) -> Result<Vec<Fixed>, ProxyError> {
    let Mode::Sidecar { inbound, outbound, .. } = config.mode else { return Ok(Vec::new()) };
    let Interception { upstreams, transparent, known: _ } = &config.interception;
    let own = [(Role::Inbound, Capture::None, inbound), (Role::Outbound, Capture::None, outbound)];
    let upstreams =
        upstreams.iter().map(|(service, addr)| (Role::Outbound, Capture::Service(service.clone()), *addr));
    let transparent = transparent.iter().map(|addr| (Role::Outbound, Capture::Transparent, *addr));
    own.into_iter()
        .chain(upstreams)
        .chain(transparent)
        .map(|(role, capture, addr)| match listeners.open_fixed(addr, role, &capture) {
            Ok(bound) => Ok(Fixed { role, capture, addr: bound }),
            Err(source) => Err(ProxyError::Bind { addr, source }),
        })
        .collect()
}

/// Runs a proxy until `shutdown` resolves, and then until it has drained: meanwhile its source and admin interface go on.
/// SIGHUP has the access log opened anew, and files read again. Blocks.
///
/// # Errors
/// The proxy could not be started, or its source of snapshots gave up.
#[allow(
    clippy::needless_pass_by_value,
    reason = "whoever runs a proxy has no further use for its configuration"
)]
pub fn run(config: ProxyConfig, shutdown: impl Future) -> Result<(), ProxyError> {
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ProxyError::Start { what: "the control thread's runtime", source })?;
    // Before anything else: without a handler the signal ends the process.
    let mut hangups = {
        let _inside = control.enter();
        signal(SignalKind::hangup())
            .map_err(|source| ProxyError::Start { what: "the handler of SIGHUP", source })?
    };
    let succession = control.block_on(Succession::begin(&config))?;
    let shared = Shared::new();
    let (succession, offer) = succession;
    let engine = Engine::start_from(&config, shared.clone(), offer.listeners)?;
    let (listeners, metrics) = (engine.listeners().clone(), engine.metrics().clone());
    let reopen_log = engine.reopen_log.clone();
    let mut engine = Some(engine);
    let mut failed = None;
    let outcome = control.block_on(async {
        let drained = async {
            tokio::select! {
                _ = shutdown => {}
                () = shared.drain_asked() => {}
                ended = succession.run(&shared, &listeners) => failed = ended.err(),
            }
            shared.start_draining();
            if let Some(engine) = engine.take() {
                // It reports for itself; a thread of its own, since it blocks.
                let _ = tokio::task::spawn_blocking(move || engine.drain()).await;
            }
        };
        let reopening = async {
            while hangups.recv().await.is_some() {
                reopen_log.iter().for_each(Reopen::ask);
            }
            std::future::pending().await
        };
        tokio::select! {
            outcome = source::run(&config, shared.clone(), listeners.clone(), metrics, offer.state, drained) => outcome,
            never = reopening => never,
        }
    });
    // As with the workers. What had to be written has been waited for.
    control.shutdown_background();
    if let Some(engine) = engine {
        shared.start_draining();
        engine.drain();
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(outcome?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_that_hangs_does_not_hold_up_the_end() {
        let (release, resolver) = sync_channel::<()>(0);
        let (alive, ended) = sync_channel::<()>(0);
        let worker = std::thread::spawn(move || {
            let life = async move {
                let (begun, has_begun) = tokio::sync::oneshot::channel();
                // As a lookup does: in a thread of the runtime's, which nothing can interrupt.
                tokio::task::spawn_blocking(move || {
                    let _ = begun.send(());
                    let _ = resolver.recv();
                });
                has_begun.await.unwrap();
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build_local(LocalOptions::default());
            carry(runtime.unwrap(), || life);
            drop(alive);
        });
        assert!(
            ended_by(&ended, Instant::now() + Duration::from_secs(10)),
            "the worker waits for the resolver"
        );
        drop(release);
        worker.join().unwrap();
    }
}
