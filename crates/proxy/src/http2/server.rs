//! A client's HTTP/2 connection: one task that drives it, and one for each of its streams.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::spawn_local;
use weir_http1::Method;
use weir_http2::{Code, Config, Connection as Http2, Opened, Slot};

use super::drive::{Farewell, counted, turn};
use super::link::Link;
use super::stream::{Served, Stream};
use crate::connection::{Connection, Streams};
use crate::listen::{Bounds, ListenerHandle};
use crate::observe::Wire;
use crate::respond::{Reason as Refused, Refusal};
use crate::runtime::{Coarse, Io, TimerSlot, Worker, after_time};

/// After so long without streams a connection holds nothing that streams to come may need.
const RESTS_AFTER: Duration = Duration::from_secs(5);

/// What the connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Requests.
    Open,
    /// Those that are under way: the client was told that there will be no more.
    GoingAway,
    /// That the last bytes leave.
    Closing,
}

/// Serves a connection whose first bytes, kept in its carry, are HTTP/2's, until it ends.
pub(crate) async fn serve(conn: &mut Connection) {
    let worker = conn.worker.clone();
    let bounds = conn.listener.bounds();
    let config = config(&bounds);
    let now_ms = worker.timers.now_ms();
    let h2 = Http2::server(config, now_ms);
    let link = Rc::new(Link::new(&conn.client, conn.secure.is_some(), h2, now_ms));
    let arrivals = Arrivals { streams: Streams::of(conn), link: link.clone() };
    let ahead = conn.carry.take();
    if let Some(counted) = &mut conn.counted {
        counted.speaks(Wire::Http2);
    }
    let Connection { client, timer, listener, .. } = conn;
    let settings_by = worker.timers.after(bounds.head_read);
    let idle_by = worker.timers.after(bounds.idle);
    timer.arm_at(settings_by.min(idle_by));
    let mut life = Life {
        phase: Phase::Open,
        settings_by,
        idle_by,
        rest_by: Coarse::MAX,
        armed: settings_by.min(idle_by),
        farewell: Farewell::default(),
        link: &link,
        worker: &worker,
        bounds: &bounds,
        listener,
        timer,
    };
    let mut ahead = Some(ahead);
    poll_fn(|cx| {
        if let Some(ahead) = ahead.take() {
            link.h2.borrow_mut().receive(&ahead, now_ms, &mut worker.http2.bench.borrow_mut());
        }
        life.poll(cx, client, &arrivals)
    })
    .await;
}

fn config(bounds: &Bounds) -> Config {
    Config {
        streams_max: bounds.streams_max,
        stream_window_bytes: super::STREAM_WINDOW_BYTES,
        connection_window_bytes: super::CLIENT_WINDOW_BYTES,
        head_bytes_max: u32::try_from(bounds.request.head_bytes_max).unwrap_or(u32::MAX),
    }
}

/// The connection's deadlines, and what it has come to.
struct Life<'a> {
    phase: Phase,
    /// By when the client's first SETTINGS must be there.
    settings_by: Coarse,
    /// By when something must have been asked.
    idle_by: Coarse,
    /// By when it rests, unless it does.
    rest_by: Coarse,
    /// What the timer was set to.
    armed: Coarse,
    farewell: Farewell,
    link: &'a Rc<Link>,
    worker: &'a Rc<Worker>,
    bounds: &'a Bounds,
    listener: &'a ListenerHandle,
    timer: &'a TimerSlot,
}

impl Life<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, io: &mut Io, arrivals: &Arrivals) -> Poll<()> {
        loop {
            if self.phase == Phase::Closing {
                self.link.runs(cx);
                return match self.farewell.poll(self.link, io, self.worker, cx) {
                    Poll::Pending if !self.timer.expired() => Poll::Pending,
                    _ => Poll::Ready(()),
                };
            }
            let turn = turn(self.link, io, self.worker, cx, &mut |h2, slot, opened| {
                arrivals.begin(h2, slot, opened);
            });
            if let Poll::Ready(ended) = turn {
                if let Err(fault) = ended {
                    tracing::debug!(peer = %arrivals.streams.peer(), %fault, "an HTTP/2 connection has failed");
                }
                return Poll::Ready(());
            }
            if !self.goes_on(arrivals) {
                return Poll::Pending;
            }
        }
    }

    /// Looks what is due. Gives whether the phase has changed.
    fn goes_on(&mut self, arrivals: &Arrivals) -> bool {
        let failure = self.link.h2.borrow().failure();
        if let Some(failure) = failure {
            tracing::debug!(peer = %arrivals.streams.peer(), ?failure, "closing a connection");
            if let Some(flood) = failure.flood {
                self.worker.counters.http2.flood(counted(flood));
            }
            return self.close();
        }
        match self.phase {
            Phase::Open => self.open_goes_on(),
            Phase::GoingAway => {
                let over = self.link.streams() == 0 && self.link.h2.borrow().has_left();
                if over {
                    return self.close();
                }
                if self.timer.expired() {
                    // What is under way has deadlines of its own.
                    if self.link.streams() == 0 {
                        return self.end(Code::NO_ERROR);
                    }
                    self.timer.arm(self.worker.config().timeouts.drain_idle_grace);
                }
                false
            }
            Phase::Closing => false,
        }
    }

    fn open_goes_on(&mut self) -> bool {
        let owed_by = self.owed_by();
        if owed_by.is_some_and(|by| by <= self.worker.timers.now_ms()) {
            self.worker.counters.refusal(Refused::SlowHead);
            let settled = self.link.h2.borrow().is_settled();
            return self.end(if settled { Code::ENHANCE_YOUR_CALM } else { Code::SETTINGS_TIMEOUT });
        }
        if self.worker.is_draining() || self.listener.is_closing() {
            return self.leave();
        }
        if self.link.streams() > 0 {
            self.rest_by = self.worker.timers.after(RESTS_AFTER);
        }
        if self.timer.expired() && !self.stays() {
            return self.leave();
        }
        let due = self.idle_by.min(self.rest_by).min(owed_by.unwrap_or(Coarse::MAX));
        if due != self.armed {
            self.armed = due;
            self.timer.arm_at(due);
        }
        false
    }

    /// Does what has become due. Gives whether it has not been idle for too long.
    fn stays(&mut self) -> bool {
        let now_ms = self.worker.timers.now_ms();
        if self.rest_by <= now_ms {
            self.link.h2.borrow_mut().rest();
            self.rest_by = Coarse::MAX;
        }
        if self.idle_by <= now_ms {
            let idle = Duration::from_millis(now_ms.saturating_sub(self.link.busy_ms()));
            let left = self.bounds.idle.checked_sub(idle).filter(|left| !left.is_zero());
            match left {
                _ if self.link.streams() > 0 => self.idle_by = self.worker.timers.after(self.bounds.idle),
                Some(left) => self.idle_by = self.worker.timers.after(left),
                None => return false,
            }
        }
        true
    }

    /// By when something must have come whole, if anything is missing: the client's first SETTINGS; a header block or a frame
    /// that has begun. Content is bounded by its stream.
    fn owed_by(&self) -> Option<Coarse> {
        let h2 = self.link.h2.borrow();
        if !h2.is_settled() {
            return Some(self.settings_by);
        }
        h2.lacking_ms().map(|begun_ms| after_time(begun_ms, self.bounds.head_read))
    }

    fn leave(&mut self) -> bool {
        self.phase = Phase::GoingAway;
        self.link.h2.borrow_mut().leave();
        self.link.shut();
        self.worker.counters.http2.goaways.add(1);
        self.timer.arm(self.worker.config().timeouts.drain_idle_grace);
        true
    }

    fn end(&mut self, code: Code) -> bool {
        self.link.h2.borrow_mut().end(code);
        self.close()
    }

    fn close(&mut self) -> bool {
        super::drive::over(self.link, &mut |_, _, _| {});
        self.phase = Phase::Closing;
        self.worker.counters.http2.goaways.add(1);
        self.timer.arm(self.worker.config().timeouts.linger);
        true
    }
}

/// Where requests come in.
struct Arrivals {
    streams: Streams,
    link: Rc<Link>,
}

impl Arrivals {
    fn begin(&self, h2: &Http2, slot: Slot, opened: Opened) {
        let method = h2.unread(slot).split(|&byte| byte == b' ').next().unwrap_or_default();
        let method = Method::from_bytes(method);
        let stream = Served::new(self.streams.worker.clone(), self.link.clone(), slot, method);
        let io = Io::Http2(Box::new(Stream::Served(stream)));
        let refusal = match opened {
            Opened::Request => {
                spawn_local(self.streams.serve(io));
                return;
            }
            Opened::Connect => {
                // A stream of HTTP/1.1 messages cannot become a tunnel.
                let refusal =
                    Refusal::new(Refused::BadRequest, "CONNECT is not served on a stream of HTTP/2");
                Refusal { status: 501, ..refusal }
            }
            Opened::TooLarge => {
                let message = format!("a head has more than {} bytes", h2.head_bytes_max());
                Refusal { status: 431, ..Refusal::new(Refused::BadRequest, message) }
            }
        };
        spawn_local(self.streams.refuse(io, refusal));
    }
}
