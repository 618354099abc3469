//! Connections to one endpoint, of one worker: each carries many streams at once.
//!
//! ```text
//!  a request -> a connection with room? -> a stream on it
//!                      | no: one more is opened, and all that find no room wait for it
//! ```
//!
//! A connection is given out once the endpoint's SETTINGS are there, so what speaks no HTTP/2 fails before a request is
//! sent to it. It is closed when it has been idle for too long, and gets no more streams once its endpoint says GOAWAY.
//! This module must not choose endpoints.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::PingPong;
use h2::client::{self, SendRequest};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::frames::Frames;
use super::link::Link;
use super::stream::{Called, Stream};
use crate::runtime::{Coarse, Io, TimerSlot, Worker};

/// The largest window of a connection (RFC 9113 section 6.9.1).
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// A connection that is being made.
pub(crate) type Dialling = Pin<Box<dyn Future<Output = io::Result<Io>>>>;

/// How much of connections there may be: what the service's settings say.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    /// Streams at a time on one connection, where the endpoint does not allow fewer.
    pub(crate) streams_max: u32,
    /// Connections of one worker to one endpoint. When all are full, a request is refused.
    pub(crate) connections_max: u32,
    /// How long a connection may take to come about.
    pub(crate) connect_max: Duration,
}

impl Room {
    /// What all streams of a connection may hold in memory: so much that a slow one cannot stop the others.
    fn window_bytes(self) -> u32 {
        self.streams_max.saturating_mul(super::STREAM_WINDOW_BYTES).min(WINDOW_BYTES_MAX)
    }
}

/// Why there is no stream.
#[derive(Debug)]
pub(crate) enum NoStream {
    /// No connection came about.
    Failed(io::Error),
    /// Not in time.
    TimedOut,
    /// Every connection that there may be is full.
    Full,
}

/// The connections to one endpoint.
#[derive(Default)]
pub(crate) struct Channel(Rc<Inner>);

#[derive(Default)]
struct Inner {
    connections: RefCell<Vec<Rc<Shared>>>,
    opening: RefCell<Option<Rc<Opening>>>,
}

/// A connection as its streams see it.
pub(super) struct Shared {
    pub(super) link: Rc<Link>,
    pub(super) requests: RefCell<SendRequest<Bytes>>,
}

/// A connection that requests wait for.
#[derive(Default)]
struct Opening {
    over: Notify,
    outcome: Cell<Option<Result<(), io::ErrorKind>>>,
}

impl Channel {
    /// A stream on a connection that has room. To gRPC, gRPC-Web is translated.
    pub(crate) fn stream(&self, worker: &Rc<Worker>, grpc: bool, room: Room) -> Option<Io> {
        let connections = self.0.connections.borrow();
        let with_room = connections.iter().find(|shared| shared.has_room(room))?;
        Some(Io::Http2(Box::new(Stream::Called(Called::new(worker.clone(), with_room.clone(), grpc)))))
    }

    /// A stream on a connection that has room, as soon as there is one. `dial` makes connections; one is made at a
    /// time. `deadline` is how long this request waits for it. Leaves the timer armed.
    pub(crate) async fn open(
        &self,
        worker: &Rc<Worker>,
        grpc: bool,
        dial: impl Fn() -> Dialling,
        room: Room,
        deadline: Coarse,
        timer: &TimerSlot,
    ) -> Result<Io, NoStream> {
        timer.arm_at(deadline);
        loop {
            if let Some(io) = self.stream(worker, grpc, room) {
                return Ok(io);
            }
            let opening = self.0.opening.borrow().clone();
            let opening = match opening {
                Some(opening) => opening,
                None if self.0.connections.borrow().len() >= room.connections_max as usize => {
                    return Err(NoStream::Full);
                }
                None => self.begin(worker, dial(), room),
            };
            let mut over = pin!(opening.over.notified());
            let mut waits = true;
            poll_fn(|cx| {
                if opening.outcome.get().is_some() || over.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                waits = !timer.expired();
                if waits { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            match opening.outcome.get() {
                Some(Ok(())) => {}
                Some(Err(kind)) => return Err(NoStream::Failed(kind.into())),
                None if waits => {}
                None => return Err(NoStream::TimedOut),
            }
        }
    }

    fn begin(&self, worker: &Rc<Worker>, dialling: Dialling, room: Room) -> Rc<Opening> {
        let opening = Rc::new(Opening::default());
        self.0.opening.replace(Some(opening.clone()));
        spawn_local(live(worker.clone(), Rc::downgrade(&self.0), opening.clone(), dialling, room));
        opening
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn sweep(&self, now_ms: u64, idle_max: Duration) {
        let is_old = |link: &Link| {
            let idle = u128::from(now_ms.saturating_sub(link.busy_ms()));
            link.streams() == 0 && !idle_max.is_zero() && idle >= idle_max.as_millis()
        };
        self.0.connections.borrow_mut().retain(|shared| !is_old(&shared.link));
    }

    /// Closes them all, as soon as their streams have ended.
    pub(crate) fn clear(&self) {
        self.0.connections.borrow_mut().clear();
    }
}

impl Shared {
    fn has_room(&self, room: Room) -> bool {
        let allowed = self.requests.borrow().current_max_send_streams();
        let allowed = u32::try_from(allowed).unwrap_or(u32::MAX).min(room.streams_max);
        self.link.streams() < allowed
    }
}

/// The life of one connection: made, given out, driven to its end.
async fn live(
    worker: Rc<Worker>,
    channel: Weak<Inner>,
    opening: Rc<Opening>,
    dialling: Dialling,
    room: Room,
) {
    let opened = open(&worker, dialling, room);
    let opened = match tokio::time::timeout(room.connect_max, opened).await {
        Ok(opened) => opened,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let Some(inner) = channel.upgrade() else { return };
    inner.opening.replace(None);
    let opened = opened.map(|(requests, link, connection)| {
        let shared = Rc::new(Shared { link, requests: RefCell::new(requests) });
        inner.connections.borrow_mut().push(shared.clone());
        (shared, connection)
    });
    drop(inner);
    let outcome = opened.as_ref().map(|_| ()).map_err(|fault| {
        tracing::debug!(%fault, "no HTTP/2 connection");
        fault.kind()
    });
    opening.outcome.set(Some(outcome));
    opening.over.notify_waiters();
    drop(opening);
    let Ok((shared, mut connection)) = opened else { return };
    let link = shared.link.clone();
    // The list's own handle and those of streams keep it open, not this task's.
    let weak = Rc::downgrade(&shared);
    drop(shared);
    let shared = weak;
    let timer = worker.timers.slot();
    let timeouts = &worker.config().timeouts;
    let mut pings = connection.ping_pong();
    let mut watch = Watch::new(timeouts.upstream_silence, timeouts.upstream_ping);
    poll_fn(|cx| {
        timer.wakes(cx.waker());
        let ended = Pin::new(&mut connection).poll(cx);
        if ended.is_ready() || link.is_going_away() || link.is_shut() {
            forget(&channel, &shared);
        }
        if let Poll::Ready(Err(fault)) = &ended {
            tracing::debug!(%fault, "an upstream's HTTP/2 connection has failed");
        }
        if let Some(flood) = link.flood() {
            worker.counters.http2.flood(flood.counted());
        }
        if link.is_shut() {
            return Poll::Ready(());
        }
        if ended.is_ready() || !watch.is_well(&link, &timer, || ping(&mut pings, cx)) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    forget(&channel, &shared);
}

type Connection = client::Connection<Frames<Io>, Bytes>;

fn ping(pings: &mut Option<PingPong>, cx: &mut Context<'_>) {
    if let Some(pings) = pings {
        // The answer to the one before must be taken before there can be another.
        let _ = pings.poll_pong(cx);
        let _ = pings.send_ping(h2::Ping::opaque());
    }
}

fn forget(channel: &Weak<Inner>, shared: &Weak<Shared>) {
    if let (Some(inner), Some(shared)) = (channel.upgrade(), shared.upgrade()) {
        inner.connections.borrow_mut().retain(|one| !Rc::ptr_eq(one, &shared));
    }
}

/// Connects, and waits for the endpoint's SETTINGS.
async fn open(
    worker: &Rc<Worker>,
    dialling: Dialling,
    room: Room,
) -> io::Result<(SendRequest<Bytes>, Rc<Link>, Connection)> {
    let io = dialling.await?;
    if let Err(fault) = io.watch_peer() {
        tracing::debug!(%fault, "an upstream's connection cannot be watched");
    }
    let secure = io.is_secure();
    let link = Rc::new(Link::new(&io, secure, worker.timers.now_ms()));
    let limits = &worker.config().limits;
    let head_bytes_max = limits.response.head_bytes_max;
    let frames = Frames::of_upstream(io, head_bytes_max, link.clone(), worker.timers.clone());
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(super::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(room.window_bytes())
        .max_frame_size(super::FRAME_BYTES_MAX)
        .max_header_list_size(u32::try_from(limits.response.head_bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(super::SEND_BUFFER_BYTES)
        .max_local_error_reset_streams(Some(super::LOCAL_RESETS_MAX));
    let (requests, mut connection) = builder.handshake(frames).await.map_err(super::fault::of)?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        Poll::Ready(Err(why)) => Poll::Ready(Err(super::fault::of(why))),
        Poll::Pending if link.is_settled() => Poll::Ready(Ok(())),
        Poll::Pending if link.is_shut() => Poll::Ready(Err(super::fault::MALFORMED.into())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((requests, link, connection))
}

/// Notices that an endpoint does not answer any more, although its machine does: whether that is there the kernel watches.
///
/// It is asked once in a silence, however long that is. Servers of gRPC count how often they are asked, and end a
/// connection that asks again before they have said something themselves (grpc/grpc, doc/keepalive.md).
struct Watch {
    /// After so long a silence with streams open it is asked.
    silence: Duration,
    /// How long it may take to answer.
    answer: Duration,
    /// How often it had been heard when the watch was last set; none while no stream is open.
    since: Option<u64>,
    /// An answer is waited for.
    waits: bool,
    /// How much it had told when it was last asked.
    asked_at: Option<u64>,
}

impl Watch {
    fn new(silence: Duration, answer: Duration) -> Self {
        Self { silence, answer, since: None, waits: false, asked_at: None }
    }

    /// Whether the endpoint is there, as far as is known. Has it asked when it has been silent for long.
    fn is_well(&mut self, link: &Link, timer: &TimerSlot, ask: impl FnOnce()) -> bool {
        if link.streams() == 0 {
            if self.since.take().is_some() {
                timer.arm(Duration::ZERO);
            }
            return true;
        }
        let heard = link.heard();
        match self.since {
            Some(since) if self.waits && since == heard => return !timer.expired(),
            // There is no hurry to begin anew while only the silence is measured.
            Some(_) if !self.waits && !timer.expired() => return true,
            Some(since) if since == heard && self.asked_at != Some(link.told()) => {
                self.asked_at = Some(link.told());
                self.waits = true;
                ask();
                timer.arm(self.answer);
                return true;
            }
            _ => {}
        }
        self.since = Some(heard);
        self.waits = false;
        timer.arm(self.silence);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker's clock stands still, so a deadline that is armed has not passed and one in the past has.
    struct Silence {
        timer: TimerSlot,
        link: Link,
        watch: Watch,
        asked: u32,
    }

    impl Silence {
        fn new() -> Self {
            let timer = crate::runtime::Timers::new().slot();
            let watch = Watch::new(Duration::from_secs(10), Duration::from_secs(5));
            Self { timer, link: Link::of_nobody(), watch, asked: 0 }
        }

        fn is_well(&mut self) -> bool {
            self.watch.is_well(&self.link, &self.timer, || self.asked += 1)
        }

        fn is_well_after_a_while(&mut self) -> bool {
            self.timer.arm_at(0);
            self.is_well()
        }
    }

    #[test]
    fn a_silent_endpoint_is_asked_and_then_given_up() {
        let mut silence = Silence::new();
        assert!(silence.is_well(), "nobody waits for it");
        silence.link.begin_stream(0);
        assert!(silence.is_well());
        assert!(silence.is_well_after_a_while());
        assert_eq!(silence.asked, 1);
        assert!(silence.is_well(), "it has time to answer");
        assert!(!silence.is_well_after_a_while(), "it does not answer");
    }

    #[test]
    fn it_is_asked_once_until_it_says_something() {
        let mut silence = Silence::new();
        silence.link.begin_stream(0);
        assert!(silence.is_well() && silence.is_well_after_a_while());
        silence.link.hear();
        assert!(silence.is_well());
        assert!(!silence.timer.expired(), "the answer has come: the watch begins anew");
        for _ in 0..100 {
            assert!(silence.is_well_after_a_while());
        }
        assert_eq!(silence.asked, 1);
        // Nor for another stream, nor because of frames that carry nothing of a message.
        silence.link.end_stream(0);
        assert!(silence.is_well());
        silence.link.begin_stream(0);
        silence.link.hear();
        for _ in 0..100 {
            assert!(silence.is_well() && silence.is_well_after_a_while());
        }
        assert_eq!(silence.asked, 1);
        silence.link.hear();
        silence.link.tell();
        assert!(silence.is_well_after_a_while(), "it was heard in the meantime");
        assert_eq!(silence.asked, 1);
        assert!(silence.is_well_after_a_while());
        assert_eq!(silence.asked, 2, "after it has spoken there is a new silence");
        assert!(!silence.is_well_after_a_while());
    }

    #[test]
    fn a_stream_that_ends_while_an_answer_is_waited_for_ends_the_waiting() {
        let mut silence = Silence::new();
        silence.link.begin_stream(0);
        assert!(silence.is_well() && silence.is_well_after_a_while());
        silence.link.end_stream(0);
        assert!(silence.is_well_after_a_while());
        silence.link.begin_stream(0);
        assert!(silence.is_well(), "the answer that is missing was asked for by another stream");
        assert!(!silence.timer.expired());
    }
}
