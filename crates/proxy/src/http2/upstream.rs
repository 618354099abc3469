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
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_local;
use weir_http2::{Code, Config, Connection};

use super::drive::{Farewell, counted, over, turn};
use super::fault::MALFORMED;
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
    connections: RefCell<Vec<Rc<Link>>>,
    opening: RefCell<Option<Rc<Opening>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.connections.borrow().iter().for_each(|link| link.shut());
    }
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
        let with_room = connections.iter().find(|link| has_room(link, room))?;
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
        self.0.connections.borrow_mut().retain(|link| {
            if is_old(link) {
                link.shut();
            }
            link.is_open()
        });
    }

    /// Closes them all, as soon as their streams have ended.
    pub(crate) fn clear(&self) {
        self.0.connections.borrow_mut().drain(..).for_each(|link| link.shut());
    }
}

fn has_room(link: &Link, room: Room) -> bool {
    link.is_open() && link.streams() < link.h2.borrow().peer_streams_max().min(room.streams_max)
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
    if let Ok((_, link)) = &opened {
        inner.connections.borrow_mut().push(link.clone());
    }
    drop(inner);
    let outcome = opened.as_ref().map(|_| ()).map_err(|fault| {
        tracing::debug!(%fault, "no HTTP/2 connection");
        fault.kind()
    });
    opening.outcome.set(Some(outcome));
    opening.over.notify_waiters();
    drop(opening);
    let Ok((mut io, link)) = opened else { return };
    serve(&worker, &channel, &mut io, &link).await;
    forget(&channel, &link);
    let mut farewell = Farewell::default();
    let said = poll_fn(|cx| {
        link.runs(cx);
        farewell.poll(&link, &mut io, &worker, cx)
    });
    // Whatever has not left by then does not.
    let _ = tokio::time::timeout(worker.config().timeouts.linger, said).await;
}

/// Drives a connection until it is over, or nobody wants it any more.
async fn serve(worker: &Rc<Worker>, channel: &Weak<Inner>, io: &mut Io, link: &Rc<Link>) {
    let timer = worker.timers.slot();
    let timeouts = &worker.config().timeouts;
    let mut watch = Watch::new(timeouts.upstream_silence, timeouts.upstream_ping);
    poll_fn(|cx| {
        timer.wakes(cx.waker());
        let ended = turn(link, io, worker, cx, &mut |_, _, _| {});
        if let Poll::Ready(ended) = ended {
            if let Err(fault) = ended {
                tracing::debug!(%fault, "an upstream's HTTP/2 connection has failed");
            }
            forget(channel, link);
            return Poll::Ready(());
        }
        let mut h2 = link.h2.borrow_mut();
        if let Some(failure) = h2.failure() {
            tracing::debug!(?failure, "closing an upstream's HTTP/2 connection");
            if let Some(flood) = failure.flood {
                worker.counters.http2.flood(counted(flood));
            }
            drop(h2);
            over(link, &mut |_, _, _| {});
            return Poll::Ready(());
        }
        if !h2.may_call() && link.is_open() {
            drop(h2);
            forget(channel, link);
            h2 = link.h2.borrow_mut();
        }
        if !link.is_open() && link.streams() == 0 {
            h2.end(Code::NO_ERROR);
            return Poll::Ready(());
        }
        let heard = Heard { streams: link.streams(), heard: h2.heard(), told: h2.told() };
        let mut asks = false;
        let well = watch.is_well(heard, &timer, || asks = true);
        if asks {
            h2.ping();
            drop(h2);
            link.wake();
        }
        if well {
            return Poll::Pending;
        }
        forget(channel, link);
        over(link, &mut |_, _, _| {});
        Poll::Ready(())
    })
    .await;
}

fn forget(channel: &Weak<Inner>, link: &Rc<Link>) {
    link.shut();
    if let Some(inner) = channel.upgrade() {
        inner.connections.borrow_mut().retain(|one| !Rc::ptr_eq(one, link));
    }
}

/// Connects, and waits for the endpoint's SETTINGS.
async fn open(worker: &Rc<Worker>, dialling: Dialling, room: Room) -> io::Result<(Io, Rc<Link>)> {
    let mut io = dialling.await?;
    if let Err(fault) = io.watch_peer() {
        tracing::debug!(%fault, "an upstream's connection cannot be watched");
    }
    let head_bytes_max = worker.config().limits.response.head_bytes_max;
    let config = Config {
        streams_max: 0,
        stream_window_bytes: super::STREAM_WINDOW_BYTES,
        connection_window_bytes: room.window_bytes(),
        head_bytes_max: u32::try_from(head_bytes_max).unwrap_or(u32::MAX),
    };
    let now_ms = worker.timers.now_ms();
    let link = Rc::new(Link::new(&io, io.is_secure(), Connection::client(config, now_ms), now_ms));
    poll_fn(|cx| {
        match turn(&link, &mut io, worker, cx, &mut |_, _, _| {}) {
            Poll::Ready(Ok(())) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
            Poll::Pending => {}
        }
        let h2 = link.h2.borrow();
        match h2.failure() {
            Some(failure) => Poll::Ready(Err(io::Error::new(MALFORMED, failure.code.to_string()))),
            None if h2.is_settled() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
    .await?;
    Ok((io, link))
}

/// What of a connection shows whether its endpoint is there.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// Streams that somebody works on.
    streams: u32,
    /// How often something was received.
    heard: u64,
    /// How many frames of messages have come.
    told: u64,
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
    fn is_well(&mut self, now: Heard, timer: &TimerSlot, ask: impl FnOnce()) -> bool {
        if now.streams == 0 {
            if self.since.take().is_some() {
                timer.arm(Duration::ZERO);
            }
            return true;
        }
        let heard = now.heard;
        match self.since {
            Some(since) if self.waits && since == heard => return !timer.expired(),
            // There is no hurry to begin anew while only the silence is measured.
            Some(_) if !self.waits && !timer.expired() => return true,
            Some(since) if since == heard && self.asked_at != Some(now.told) => {
                self.asked_at = Some(now.told);
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
        heard: Heard,
        watch: Watch,
        asked: u32,
    }

    impl Silence {
        fn new() -> Self {
            let timer = crate::runtime::Timers::new().slot();
            let watch = Watch::new(Duration::from_secs(10), Duration::from_secs(5));
            Self { timer, heard: Heard::default(), watch, asked: 0 }
        }

        fn is_well(&mut self) -> bool {
            self.watch.is_well(self.heard, &self.timer, || self.asked += 1)
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
        silence.heard.streams += 1;
        assert!(silence.is_well());
        assert!(silence.is_well_after_a_while());
        assert_eq!(silence.asked, 1);
        assert!(silence.is_well(), "it has time to answer");
        assert!(!silence.is_well_after_a_while(), "it does not answer");
    }

    #[test]
    fn it_is_asked_once_until_it_says_something() {
        let mut silence = Silence::new();
        silence.heard.streams += 1;
        assert!(silence.is_well() && silence.is_well_after_a_while());
        silence.heard.heard += 1;
        assert!(silence.is_well());
        assert!(!silence.timer.expired(), "the answer has come: the watch begins anew");
        for _ in 0..100 {
            assert!(silence.is_well_after_a_while());
        }
        assert_eq!(silence.asked, 1);
        // Nor for another stream, nor because of frames that carry nothing of a message.
        silence.heard.streams -= 1;
        assert!(silence.is_well());
        silence.heard.streams += 1;
        silence.heard.heard += 1;
        for _ in 0..100 {
            assert!(silence.is_well() && silence.is_well_after_a_while());
        }
        assert_eq!(silence.asked, 1);
        silence.heard.heard += 1;
        silence.heard.told += 1;
        assert!(silence.is_well_after_a_while(), "it was heard in the meantime");
        assert_eq!(silence.asked, 1);
        assert!(silence.is_well_after_a_while());
        assert_eq!(silence.asked, 2, "after it has spoken there is a new silence");
        assert!(!silence.is_well_after_a_while());
    }

    #[test]
    fn a_stream_that_ends_while_an_answer_is_waited_for_ends_the_waiting() {
        let mut silence = Silence::new();
        silence.heard.streams += 1;
        assert!(silence.is_well() && silence.is_well_after_a_while());
        silence.heard.streams -= 1;
        assert!(silence.is_well_after_a_while());
        silence.heard.streams += 1;
        assert!(silence.is_well(), "the answer that is missing was asked for by another stream");
        assert!(!silence.timer.expired());
    }
}
