//! What an HTTP/2 connection's task and its streams share.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::task::{Context, Waker};

use weir_http2::{Connection, Slot};

use crate::runtime::Io;

/// One connection's state, of one thread: nobody holds it borrowed while others run.
pub(super) struct Link {
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
    /// It is encrypted.
    pub(super) secure: bool,
    pub(super) h2: RefCell<Connection>,
    /// Whom to wake for a stream, by its slot. One task has each.
    wakers: RefCell<Vec<Option<Waker>>>,
    /// The connection's task, and whether it was woken and has not run since.
    task: RefCell<Option<Waker>>,
    woken: Cell<bool>,
    /// Streams wait for room that there was at the end of the task's last turn.
    again: Cell<bool>,
    /// New streams may be begun on it.
    open: Cell<bool>,
    /// Streams that somebody works on.
    streams: Cell<u32>,
    /// When a stream was last begun or ended.
    busy_ms: Cell<u64>,
    /// Bytes of responses that are kept for the client.
    kept: Cell<usize>,
}

impl Link {
    pub(super) fn new(io: &Io, secure: bool, h2: Connection, now_ms: u64) -> Self {
        Self {
            local: io.local_addr(),
            peer: io.peer_addr(),
            secure,
            h2: RefCell::new(h2),
            wakers: RefCell::default(),
            task: RefCell::default(),
            woken: Cell::new(false),
            again: Cell::new(false),
            open: Cell::new(true),
            streams: Cell::new(0),
            busy_ms: Cell::new(now_ms),
            kept: Cell::new(0),
        }
    }

    /// It is the connection's task that runs.
    #[inline]
    pub(super) fn runs(&self, cx: &Context<'_>) {
        self.woken.set(false);
        note(&mut self.task.borrow_mut(), cx);
    }

    /// Has the connection's task run: there is something to be written, or it may be over.
    #[inline]
    pub(super) fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }

    /// Has the connection's task run once more behind the streams that were woken: others wait for room, too.
    pub(super) fn look_again(&self) {
        self.again.set(true);
        self.wake();
    }

    /// Whether it runs because of that.
    #[inline]
    pub(super) fn looks_again(&self) -> bool {
        self.again.take()
    }

    /// The task that has a stream waits for something of it.
    #[inline]
    pub(super) fn waits(&self, slot: Slot, cx: &Context<'_>) {
        let mut wakers = self.wakers.borrow_mut();
        if wakers.len() <= slot.index() {
            wakers.resize_with(slot.index() + 1, || None);
        }
        note(&mut wakers[slot.index()], cx);
    }

    /// Wakes whoever waits for a stream.
    #[inline]
    pub(super) fn wake_stream(&self, slot: Slot) {
        if let Some(Some(waker)) = self.wakers.borrow().get(slot.index()) {
            waker.wake_by_ref();
        }
    }

    /// Nobody waits for a stream any more.
    pub(super) fn leave_stream(&self, slot: Slot) {
        let left = self.wakers.borrow_mut().get_mut(slot.index()).and_then(Option::take);
        // It may be the last that holds a task.
        drop(left);
    }

    pub(super) fn begin_stream(&self, now_ms: u64) {
        self.streams.set(self.streams.get() + 1);
        self.busy_ms.set(now_ms);
    }

    pub(super) fn end_stream(&self, now_ms: u64) {
        self.streams.set(self.streams.get() - 1);
        self.busy_ms.set(now_ms);
    }

    /// A stream has ended: the connection's task looks whether there is something to say, or whether it was the last.
    #[inline]
    pub(super) fn ended(&self) {
        if !self.open.get() || !self.h2.borrow().output().is_empty() {
            self.wake();
        }
    }

    pub(super) fn streams(&self) -> u32 {
        self.streams.get()
    }

    pub(super) fn busy_ms(&self) -> u64 {
        self.busy_ms.get()
    }

    /// No new streams are begun on it; once the last has ended it is closed.
    pub(super) fn shut(&self) {
        self.open.set(false);
        self.wake();
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// A stream for which `before` was kept keeps `now`.
    pub(super) fn keep(&self, before: usize, now: usize) {
        self.kept.set(self.kept.get() - before + now);
    }

    pub(super) fn kept(&self) -> usize {
        self.kept.get()
    }
}

#[inline]
fn note(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        place => *place = Some(cx.waker().clone()),
    }
}
