//! A worker's side of one listener.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::enter::{enter, refuse};
use super::{Bound, Bounds, Capture, Places, Role};
use crate::config::ProxyConfig;
use crate::observe::ListenerCounters;
use crate::route::RouteTable;
use crate::runtime::{View, Worker};
use crate::snapshot::ListenerConfig;

/// How long accepting rests when the process has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How often somebody is told of that.
const WARN_EVERY_MS: u64 = 10_000;

/// A listener as its connections know it.
pub(crate) struct ListenerHandle {
    /// The address as the snapshot names it.
    pub(crate) addr: SocketAddr,
    /// The same as text, for logs.
    pub(crate) name: Box<str>,
    pub(crate) role: Role,
    pub(crate) capture: Capture,
    pub(crate) counters: Arc<ListenerCounters>,
    places: Places,
    bounds: RefCell<Rc<Bounds>>,
    /// Where the snapshot has it: the view's number, and the index if it is there.
    place: Cell<(u64, Option<u32>)>,
    /// The last view that had it, once a later one has not: what is served to its connections until they end.
    last: RefCell<Option<Rc<View>>>,
    closing: Cell<bool>,
    /// What is queued is another process's.
    left: Cell<bool>,
    closed: Notify,
    /// When somebody was told that nothing can be accepted.
    warned_ms: Cell<Option<u64>>,
}

impl ListenerHandle {
    pub(crate) fn new(
        addr: SocketAddr,
        role: Role,
        capture: Capture,
        counters: Arc<ListenerCounters>,
        places: Places,
        bounds: Rc<Bounds>,
    ) -> Rc<Self> {
        Rc::new(Self {
            addr,
            name: addr.to_string().into(),
            role,
            capture,
            counters,
            places,
            bounds: RefCell::new(bounds),
            place: Cell::new((0, None)),
            last: RefCell::default(),
            closing: Cell::new(false),
            left: Cell::new(false),
            closed: Notify::new(),
            warned_ms: Cell::new(None),
        })
    }

    /// The route table for it in a view.
    #[inline]
    pub(crate) fn table<'v>(&self, view: &'v View) -> Option<&'v RouteTable> {
        self.config(view).map(|config| &*config.routes)
    }

    /// What a view says of it.
    #[inline]
    pub(crate) fn config<'v>(&self, view: &'v View) -> Option<&'v ListenerConfig> {
        let (number, place) = self.place.get();
        let place = if number == view.number { place } else { self.find(view) };
        place.map(|index| &view.snapshot.listeners[index as usize])
    }

    #[cold]
    fn find(&self, view: &View) -> Option<u32> {
        let found = view.snapshot.listeners.iter().position(|listener| listener.addr == self.addr);
        found.and_then(|index| u32::try_from(index).ok())
    }

    /// The last view that had it, if the present one has not.
    pub(crate) fn last(&self) -> Option<Rc<View>> {
        self.last.borrow().clone()
    }

    /// What is accepted, and how much of it.
    #[inline]
    pub(crate) fn bounds(&self) -> Rc<Bounds> {
        self.bounds.borrow().clone()
    }

    /// Finds its place in the first view that it meets.
    pub(crate) fn settle(&self, view: &View, config: &ProxyConfig) {
        self.place.set((view.number, self.find(view)));
        if let Some(found) = self.config(view) {
            let bounds = Bounds::new(&config.limits, &config.timeouts, &found.settings);
            self.bounds.replace(Rc::new(bounds));
        }
    }

    /// The worker moves on from one view to another.
    pub(crate) fn view_changed(&self, old: &Rc<View>, fresh: &View, config: &ProxyConfig) {
        let before = self.table(old).is_some();
        self.settle(fresh, config);
        if self.place.get().1.is_some() {
            self.last.take();
        } else if before {
            self.last.replace(Some(old.clone()));
        }
    }

    /// Stops accepting. Connections see it when they are woken next.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        // Each of its sockets has a loop, and a loop that does not wait now looks before it does.
        self.closed.notify_waiters();
    }

    /// The same, but leaves what is queued to another process.
    pub(crate) fn leave(&self) {
        self.left.set(true);
        self.close();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }
}

/// Accepts until the listener is closed; then takes what the kernel has queued already, so that none of it is reset.
pub(crate) async fn accept_loop(worker: Rc<Worker>, handle: Rc<ListenerHandle>, socket: Bound) {
    let (socket, _held_until_closed) = socket.into_parts();
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(fault) => {
            tracing::error!(addr = %handle.addr, %fault, "cannot accept");
            return;
        }
    };
    while !handle.is_closing() {
        tokio::select! {
            biased;
            () = handle.closed.notified() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => admit(&worker, &handle, stream, peer),
                Err(fault) => rest(&worker, &handle, &fault).await,
            },
        }
    }
    if !handle.left.get() {
        empty_queue(&worker, &handle, listener);
    }
}

/// A fault of one connection is nothing; a fault of the process would repeat at once.
async fn rest(worker: &Worker, handle: &ListenerHandle, fault: &io::Error) {
    if matches!(fault.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) {
        let now_ms = worker.timers.now_ms();
        if handle.warned_ms.get().is_none_or(|warned_ms| now_ms >= warned_ms + WARN_EVERY_MS) {
            handle.warned_ms.set(Some(now_ms));
            tracing::warn!(addr = %handle.addr, %fault, "cannot accept for now; trying again until it goes");
        }
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
}

fn empty_queue(worker: &Rc<Worker>, handle: &Rc<ListenerHandle>, listener: TcpListener) {
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            admit(worker, handle, stream, peer);
        }
    }
}

fn admit(worker: &Rc<Worker>, handle: &Rc<ListenerHandle>, stream: TcpStream, peer: SocketAddr) {
    worker.counters.accepted.add(1);
    let place = handle.places.take(handle.bounds().connections_max);
    let is_full = worker.counters.active.get() >= worker.config().limits.connections_max as u64;
    let Some(place) = place.filter(|_| !is_full) else {
        return refuse(worker, handle, stream);
    };
    enter(worker, handle, stream, peer, place);
}
