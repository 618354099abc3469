//! One worker: everything that its connections share, none of it with another thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::Notify;
use tokio::task::{spawn_blocking, spawn_local};
use weir_http1::{RequestHead, ResponseHead};
use weir_policy::Nanos;

use super::buffers::Buffers;
use super::engine::EngineShared;
use super::pipes::Pipes;
use super::ticks::Ticks;
use super::timers::{TICK, Timers};
use super::view::{KeyMap, View};
use crate::attempt::{Carried, Exchange, LocalUpstream, Pool, PoolTime, Probes, RouteStates, probe_avoided};
use crate::breaker::{Chain, Need};
use crate::config::ProxyConfig;
use crate::connection::{Attendant, CopiesUnderWay, Lookups};
use crate::http2;
use crate::listen::{Bounds, Handshakes, ListenerHandle, Mail, Mailbox, Role, accept_loop};
use crate::observe::{Clock, NONE, RequestRow, Slept, WorkerCounters, WorkerLog};
use crate::snapshot::{ListenerSettings, Snapshot, Upstream};
use crate::source::Shared;
use crate::tls::TlsScratch;

/// Exchanges, and attendants, kept for later use.
const EXCHANGES_KEPT_MAX: usize = 1024;
/// Ticks between two looks at the pools.
const SWEEP_TICKS: u64 = 20;
/// Idle connections, and upstreams, of a worker that has its pools looked at with every tick.
const LOOKS_MAX: u64 = 512;

/// The worker.
pub(crate) struct Worker {
    pub(crate) shared: Arc<EngineShared>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) clock: Clock,
    /// Where requests are logged, if they are.
    pub(crate) log: Option<WorkerLog>,
    pub(crate) buffers: Buffers,
    pub(crate) pipes: Pipes,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) tls: TlsScratch,
    pub(crate) rng: RefCell<SmallRng>,
    /// [`Shared::now_s`], as of the last tick.
    pub(crate) now_s: Cell<u32>,
    #[allow(clippy::vec_box, reason = "the boxes themselves are what is used again")]
    exchanges: RefCell<Vec<Box<Exchange>>>,
    #[allow(clippy::vec_box, reason = "a connection's task holds a pointer, which is as small as can be")]
    attendants: RefCell<Vec<Box<Attendant>>>,
    snapshots: RefCell<Cache<SnapshotOf, Arc<Snapshot>>>,
    view: RefCell<Rc<View>>,
    /// By the key of the endpoint's state. What nobody uses any more is gone.
    pools: RefCell<KeyMap<Weak<Pool>>>,
    /// What is accepted from, by the address that the snapshot names.
    listeners: RefCell<HashMap<SocketAddr, Rc<ListenerHandle>>>,
    /// The row of requests that no service was found for.
    no_row: Rc<RequestRow>,
    /// Endpoints that are probed because they are avoided.
    pub(crate) probes: Probes,
    /// Host names outside the mesh that are being resolved.
    pub(crate) lookups: Lookups,
    /// Copies of requests that are on their way.
    pub(crate) copies: CopiesUnderWay,
    /// What is kept for policies of routes.
    pub(crate) routes: RouteStates,
    pub(crate) http2: http2::Local,
    /// TLS handshakes with clients that are under way.
    pub(crate) handshakes: Handshakes,
    /// Those of listeners that have no policy.
    bounds: Rc<Bounds>,
    index: usize,
    draining: Cell<bool>,
    alone: Notify,
}

/// What one poll works with. Nothing in it survives the poll.
pub(crate) struct Scratch {
    /// What was read.
    pub(crate) input: Box<[u8]>,
    /// Heads and framing to be written.
    pub(crate) out: Vec<u8>,
    /// The normal form of a path.
    pub(crate) path: Vec<u8>,
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
}

/// Lets a cache find the snapshot.
struct SnapshotOf(Arc<Shared>);

impl Deref for SnapshotOf {
    type Target = ArcSwap<Snapshot>;

    fn deref(&self) -> &Self::Target {
        &self.0.snapshot
    }
}

impl Worker {
    pub(crate) fn new(shared: Arc<EngineShared>, index: usize, slept: Slept) -> Rc<Self> {
        let limits = &shared.config.limits;
        // A head must fit in whole, and there must be room to read on.
        let head_bytes_max = limits.request.head_bytes_max.max(limits.response.head_bytes_max);
        let scratch = Scratch {
            input: vec![0; limits.read_bytes_max.max(head_bytes_max + 16 * 1024)].into(),
            out: Vec::with_capacity(4096),
            path: Vec::new(),
            request: RequestHead::default(),
            response: ResponseHead::default(),
        };
        let snapshots = Cache::new(SnapshotOf(shared.shared.clone()));
        let view = View::new(shared.shared.snapshot.load_full(), 1);
        let counters = shared.metrics.worker(index);
        let config = &shared.config;
        let bounds = Bounds::new(&config.limits, &config.timeouts, &ListenerSettings::default());
        Rc::new(Self {
            bounds: Rc::new(bounds),
            no_row: RequestRow::new(&counters, &NONE.into(), &NONE.into()),
            log: shared.access_log.clone().map(|log| WorkerLog::new(log, counters.clone())),
            counters,
            timers: Timers::new(),
            clock: Clock::new(slept),
            buffers: Buffers::new(),
            pipes: Pipes::new(),
            scratch: RefCell::new(scratch),
            tls: TlsScratch::new(),
            rng: RefCell::new(SmallRng::from_rng(&mut rand::rng())),
            now_s: Cell::new(shared.shared.now_s()),
            exchanges: RefCell::default(),
            attendants: RefCell::default(),
            snapshots: RefCell::new(snapshots),
            view: RefCell::new(view),
            pools: RefCell::default(),
            listeners: RefCell::default(),
            probes: Probes::default(),
            lookups: Lookups::default(),
            copies: CopiesUnderWay::default(),
            routes: RouteStates::new(shared.config.worker_count()),
            http2: http2::Local::default(),
            handshakes: Handshakes::default(),
            index,
            draining: Cell::new(false),
            alone: Notify::new(),
            shared,
        })
    }

    #[inline]
    pub(crate) fn config(&self) -> &ProxyConfig {
        &self.shared.config
    }

    /// Its number.
    #[inline]
    pub(crate) const fn index(&self) -> usize {
        self.index
    }

    /// The snapshot in force, as this worker sees it.
    #[inline]
    pub(crate) fn view(&self) -> Rc<View> {
        let mut snapshots = self.snapshots.borrow_mut();
        let snapshot = snapshots.load();
        let view = self.view.borrow();
        if Arc::ptr_eq(&view.snapshot, snapshot) {
            return view.clone();
        }
        let fresh = View::new(snapshot.clone(), view.number + 1);
        drop(view);
        let old = self.view.replace(fresh.clone());
        self.take_over(&old, &fresh);
        self.listeners.borrow().values().for_each(|handle| handle.view_changed(&old, &fresh, self.config()));
        fresh
    }

    /// What this worker keeps for an upstream of the view.
    #[inline]
    pub(crate) fn local(&self, view: &View, upstream: &Arc<Upstream>) -> Rc<LocalUpstream> {
        if let Some(found) = view.upstreams.borrow().get(&upstream.state.key()) {
            return found.clone();
        }
        let carried = Carried::new(self.config().worker_count());
        let made = self.make_local(&view.snapshot, upstream, carried);
        view.upstreams.borrow_mut().insert(upstream.state.key(), made.clone());
        made
    }

    /// Where requests that a rule sends to an upstream are counted; `None` for no rule.
    #[inline]
    pub(crate) fn row(&self, view: &View, rule: Option<&Arc<str>>, upstream: &Upstream) -> Rc<RequestRow> {
        // The view keeps the snapshot, and the snapshot its rules, where they are.
        let rule_at = rule.map_or(0, |label| label.as_ptr() as usize as u64);
        let place = (rule_at, upstream.state.key());
        if let Some(found) = view.rows.borrow().get(&place) {
            return found.clone();
        }
        let made = self.make_row(rule, &upstream.label);
        view.rows.borrow_mut().insert(place, made.clone());
        made
    }

    /// Where requests are counted that no view keeps a row for.
    #[cold]
    pub(crate) fn make_row(&self, rule: Option<&Arc<str>>, service: &Arc<str>) -> Rc<RequestRow> {
        RequestRow::new(&self.counters, service, rule.unwrap_or(&NONE.into()))
    }

    /// Where requests are counted that no service was found for.
    pub(crate) fn no_row(&self) -> &RequestRow {
        &self.no_row
    }

    #[cold]
    fn make_local(
        &self,
        snapshot: &Snapshot,
        upstream: &Arc<Upstream>,
        carried: Rc<Carried>,
    ) -> Rc<LocalUpstream> {
        let mut pools = self.pools.borrow_mut();
        let endpoints = upstream.endpoints.iter().map(|endpoint| {
            let key = endpoint.state.key();
            if let Some(pool) = pools.get(&key).and_then(Weak::upgrade) {
                if pool.is_for(&upstream.tls) {
                    return pool;
                }
                pool.clear();
            }
            let idle_max = self.config().limits.pool_idle_max;
            let pool = Rc::new(Pool::new(idle_max, self.counters.clone(), upstream.tls.clone()));
            pools.insert(key, Rc::downgrade(&pool));
            pool
        });
        let endpoints = endpoints.collect();
        let counters = self.counters.service(&upstream.label);
        let rng = &mut *self.rng.borrow_mut();
        let breakers = self.breakers_of_instances(snapshot, upstream);
        LocalUpstream::new(upstream.clone(), endpoints, breakers, carried, counters, rng)
    }

    /// The breakers of each of an upstream's endpoints; nothing where none has any. A sidecar breaks nothing off that
    /// arrives.
    fn breakers_of_instances(&self, snapshot: &Snapshot, upstream: &Arc<Upstream>) -> Box<[Chain]> {
        let is_app = self.shared.app.as_ref().is_some_and(|app| Arc::ptr_eq(app, upstream));
        if is_app || !snapshot.breakers.has_instances(&upstream.service) {
            return Box::default();
        }
        let need = Need::Call { workers: self.config().worker_count() };
        let endpoints = upstream.endpoints.iter();
        let of = |id: &str| snapshot.breakers.of_instance(&upstream.service, id, need);
        endpoints.map(|endpoint| of(&endpoint.id)).collect()
    }

    /// Takes over what the new view needs of the old one, so that pools, balancers and budgets outlive the swap. Only
    /// what was in use: an upstream that this worker never called needs nothing.
    #[cold]
    fn take_over(&self, old: &View, fresh: &View) {
        let app = self.shared.app.as_ref();
        let mut upstreams = fresh.upstreams.borrow_mut();
        for (&key, local) in old.upstreams.borrow().iter() {
            let now = fresh.snapshot.upstream_of(&local.upstream.service);
            let now = app.filter(|app| Arc::ptr_eq(app, &local.upstream)).or(now);
            match now {
                Some(now) if Arc::ptr_eq(now, &local.upstream) => {
                    upstreams.insert(key, local.clone());
                }
                Some(now) if now.state.key() == key => {
                    let made = self.make_local(&fresh.snapshot, now, local.carried.clone());
                    upstreams.insert(key, made);
                }
                _ => {}
            }
        }
    }

    /// An exchange to fill, used before or new.
    #[inline]
    pub(crate) fn take_exchange(&self) -> Box<Exchange> {
        self.exchanges.borrow_mut().pop().unwrap_or_else(|| Box::new(Exchange::new(&self.config().limits)))
    }

    /// Keeps an exchange that is over.
    #[inline]
    pub(crate) fn give_exchange(&self, mut exchange: Box<Exchange>) {
        exchange.clear(&self.buffers);
        let mut kept = self.exchanges.borrow_mut();
        if kept.len() < EXCHANGES_KEPT_MAX {
            kept.push(exchange);
        }
    }

    /// Somebody to serve a request, who has served others before or is new.
    #[inline]
    pub(crate) fn take_attendant(&self) -> Box<Attendant> {
        self.attendants.borrow_mut().pop().unwrap_or_else(Attendant::new)
    }

    /// Keeps an attendant that has nothing to do.
    #[inline]
    pub(crate) fn give_attendant(&self, attendant: Box<Attendant>) {
        let mut kept = self.attendants.borrow_mut();
        if kept.len() < EXCHANGES_KEPT_MAX {
            kept.push(attendant);
        }
    }

    /// What a listener is bound by as long as no snapshot says otherwise.
    fn bounds_for(&self, role: Role) -> Rc<Bounds> {
        let config = self.config();
        match role {
            Role::Inbound => Rc::new(Bounds::inside(&config.limits, &config.timeouts)),
            Role::Gateway | Role::Outbound => self.bounds.clone(),
        }
    }

    /// Whether no new work is wanted.
    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Counts a client connection.
    pub(crate) fn connection_opened(&self) {
        self.counters.active.add(1);
    }

    /// Counts a client connection out.
    pub(crate) fn connection_closed(&self) {
        self.counters.active.sub(1);
        if self.counters.active.get() == 0 {
            self.alone.notify_one();
        }
    }

    fn tick(self: &Rc<Self>, count: u64) {
        self.timers.tick();
        self.clock.now();
        if let Some(log) = &self.log {
            log.hand_over();
        }
        self.now_s.set(self.shared.shared.now_s());
        self.counters.beat(self.now_s.get());
        if self.index == 0 && !self.is_draining() {
            self.compare_endpoints();
        }
        if !count.is_multiple_of(SWEEP_TICKS) {
            // So that the moment at which an endpoint closes a connection is known well.
            if self.counters.pool_idle.get() <= LOOKS_MAX {
                self.look_at_pools();
            }
            return;
        }
        self.sweep();
        if self.index == 0 && !self.is_draining() {
            probe_avoided(self);
        }
    }

    /// Compares the endpoints of services, and works out who takes part in balancing, where that is due. One worker does
    /// this for the process.
    fn compare_endpoints(&self) {
        let now = Nanos(self.clock.recent());
        for upstream in self.view().snapshot.upstreams() {
            upstream.state.ejection().sweep_if_due(upstream, now);
            if upstream.begin_selecting(now) {
                // It takes a while where there are many endpoints, and requests do not wait for it.
                let upstream = upstream.clone();
                drop(spawn_blocking(move || upstream.select(now)));
            } else if upstream.is_unseated() {
                let upstream = upstream.clone();
                drop(spawn_blocking(move || upstream.seat()));
            }
        }
    }

    /// The time as pools need it.
    #[inline]
    pub(crate) fn pool_time(&self) -> PoolTime {
        PoolTime { ms: self.timers.now_ms(), shared_s: self.now_s.get() }
    }

    /// Closes idle upstream connections that are old or dead, of a few upstreams.
    fn look_at_pools(&self) {
        let view = self.view.borrow().clone();
        let upstreams = view.upstreams.borrow();
        if self.counters.pool_idle.get() > 0 && upstreams.len() as u64 <= LOOKS_MAX {
            let now = self.pool_time();
            upstreams.values().for_each(|local| local.sweep(now));
        }
    }

    /// Closes idle upstream connections that are old or dead, and those to endpoints that only an old view knows, which
    /// a request or a tunnel may hold on to for long. Also moves on to the snapshot in force, so that an idle worker does
    /// not keep an old one alive.
    fn sweep(&self) {
        let view = self.view();
        let now = self.pool_time();
        for local in view.upstreams.borrow().values() {
            local.sweep(now);
            local.tend(now.shared_s);
        }
        let now_ms = now.ms;
        self.pools.borrow_mut().retain(|_, pool| {
            let Some(pool) = pool.upgrade() else { return false };
            if !pool.is_swept(now_ms) {
                pool.clear();
            }
            true
        });
    }
}

/// The life of a worker: obeys its mail until it is told to stop, or has drained.
pub(crate) async fn live(worker: Rc<Worker>, mailbox: Arc<Mailbox>) {
    let ticking = spawn_local(tick_forever(worker.clone()));
    let mut accepting = Vec::new();
    loop {
        for mail in mailbox.take() {
            match mail {
                // Too late: what it would accept would have to be closed at once.
                Mail::Listen { .. } if worker.is_draining() => {}
                Mail::Listen { addr, role, capture, socket } => {
                    let view = worker.view();
                    let handle = worker
                        .listeners
                        .borrow_mut()
                        .entry(addr)
                        .or_insert_with(|| {
                            let counters = worker.counters.listener(addr, role);
                            let handle = ListenerHandle::new(
                                addr,
                                role,
                                capture,
                                counters,
                                socket.places(),
                                worker.bounds_for(role),
                            );
                            handle.settle(&view, worker.config());
                            handle
                        })
                        .clone();
                    accepting.push(spawn_local(accept_loop(worker.clone(), handle, socket)));
                }
                Mail::Retire(addr) => {
                    // Lets the listener see what the snapshot says about it while it is still known.
                    worker.view();
                    let removed = worker.listeners.borrow_mut().remove(&addr);
                    if let Some(handle) = removed {
                        handle.close();
                    }
                    worker.timers.wake_all();
                }
                Mail::Leave(addr) => {
                    worker.view();
                    let removed = worker.listeners.borrow_mut().remove(&addr);
                    if let Some(handle) = removed {
                        handle.leave();
                    }
                    worker.timers.wake_all();
                }
                Mail::Drain => {
                    worker.draining.set(true);
                    worker.listeners.borrow_mut().drain().for_each(|(_, handle)| handle.close());
                    // What is queued in the kernel becomes connections before anything is counted.
                    for task in accepting.drain(..) {
                        let _ = task.await;
                    }
                    worker.timers.wake_all();
                }
                Mail::Stop => {
                    ticking.abort();
                    return;
                }
            }
        }
        accepting.retain(|task| !task.is_finished());
        if worker.is_draining() && worker.counters.active.get() == 0 {
            ticking.abort();
            return;
        }
        tokio::select! {
            () = mailbox.arrived() => {}
            () = worker.alone.notified() => {}
        }
    }
}

async fn tick_forever(worker: Rc<Worker>) {
    let mut ticks = Ticks::every(TICK);
    for count in 0.. {
        worker.tick(count);
        ticks.next().await;
    }
}

/// How long the threads of an engine may take to end once they are told to.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(5);
