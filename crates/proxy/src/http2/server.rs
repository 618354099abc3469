//! A client's HTTP/2 connection: one task that drives it, and one for each of its streams.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, server};
use tokio::task::spawn_local;

use super::frames::Frames;
use super::head;
use super::link::Link;
use super::stream::{Served, Stream};
use crate::connection::{Connection, Streams};
use crate::listen::Bounds;
use crate::observe::{Http2Flood, Wire};
use crate::respond::{Reason as Refused, Refusal};
use crate::runtime::{Coarse, Io, Worker, after_time};

type H2<'a> = server::Connection<Frames<&'a mut Io>, Bytes>;

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
    let link = Rc::new(Link::new(&conn.client, conn.secure.is_some(), worker.timers.now_ms()));
    let arrivals = Arrivals { streams: Streams::of(conn), link: link.clone() };
    let ahead = conn.carry.take();
    if let Some(counted) = &mut conn.counted {
        counted.speaks(Wire::Http2);
    }
    let Connection { client, timer, listener, .. } = conn;
    let bounds = listener.bounds();
    let head_bytes_max = bounds.request.head_bytes_max;
    let frames = Frames::of_client(client, ahead, head_bytes_max, link.clone(), worker.timers.clone());
    let settings_by = worker.timers.after(bounds.head_read);
    timer.arm_at(settings_by);
    let mut handshake = pin!(builder(&bounds).handshake(frames));
    let opened = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Pending if timer.expired() || link.is_shut() => Poll::Ready(None),
        other => other.map(Result::ok),
    });
    let Some(mut h2) = opened.await else { return };
    let mut phase = Phase::Open;
    // Why the connection is closed, once it is the client's fault.
    let mut fault = None;
    let mut idle_by = worker.timers.after(bounds.idle);
    timer.arm_at(idle_by);
    // By when the client must have sent what it owes, as far as the timer knows.
    let mut known = None;
    poll_fn(|cx| {
        loop {
            if drive(&mut h2, cx, &arrivals).is_ready() {
                return Poll::Ready(());
            }
            let owed_by = owed_by(&link, settings_by, bounds.head_read).filter(|_| phase == Phase::Open);
            if phase == Phase::Open && owed_by != known {
                known = owed_by;
                timer.arm_at(idle_by.min(owed_by.unwrap_or(Coarse::MAX)));
            }
            let step = if let Some(flood) = link.flood().filter(|_| fault.is_none()) {
                fault = Some(Reason::ENHANCE_YOUR_CALM);
                tracing::debug!(peer = %arrivals.streams.peer(), ?flood, "closing a connection that floods");
                worker.counters.http2.flood(flood.counted());
                Some(Phase::Closing)
            } else if link.is_misshapen() && fault.is_none() {
                fault = Some(Reason::FRAME_SIZE_ERROR);
                Some(Phase::Closing)
            } else if owed_by.is_some_and(|by| by <= worker.timers.now_ms()) {
                fault = Some(if link.is_settled() {
                    Reason::ENHANCE_YOUR_CALM
                } else {
                    Reason::SETTINGS_TIMEOUT
                });
                worker.counters.refusal(Refused::SlowHead);
                Some(Phase::Closing)
            } else if phase == Phase::Open && (worker.is_draining() || listener.is_closing()) {
                Some(Phase::GoingAway)
            } else if timer.expired() {
                overdue(phase, &link, &worker, bounds.idle, |left| {
                    idle_by = worker.timers.after(left);
                    timer.arm_at(idle_by.min(known.unwrap_or(Coarse::MAX)));
                })
            } else {
                None
            };
            match step {
                None => return Poll::Pending,
                Some(Phase::Open) => {}
                Some(Phase::GoingAway) => {
                    phase = Phase::GoingAway;
                    h2.graceful_shutdown();
                    worker.counters.http2.goaways.add(1);
                    timer.arm(worker.config().timeouts.drain_idle_grace);
                }
                // What could be said was said.
                Some(Phase::Closing) if phase == Phase::Closing => return Poll::Ready(()),
                Some(Phase::Closing) => {
                    phase = Phase::Closing;
                    h2.abrupt_shutdown(fault.unwrap_or(Reason::NO_ERROR));
                    worker.counters.http2.goaways.add(1);
                    timer.arm(worker.config().timeouts.linger);
                }
            }
        }
    })
    .await;
}

/// By when something must have come whole, if anything is missing: the client's first SETTINGS; a header block or a frame
/// that has begun. Content is bounded by its stream.
fn owed_by(link: &Link, settings_by: Coarse, within: Duration) -> Option<Coarse> {
    if !link.is_settled() {
        return Some(settings_by);
    }
    link.lacking_ms().map(|begun_ms| after_time(begun_ms, within))
}

fn builder(bounds: &Bounds) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(bounds.streams_max)
        .initial_window_size(super::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(super::CLIENT_WINDOW_BYTES)
        .max_frame_size(super::FRAME_BYTES_MAX)
        .max_header_list_size(u32::try_from(bounds.request.head_bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(super::SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(super::UNSEEN_RESETS_MAX)
        .max_local_error_reset_streams(Some(super::LOCAL_RESETS_MAX));
    builder
}

/// The deadline has passed: what to do about it.
fn overdue(
    phase: Phase,
    link: &Link,
    worker: &Worker,
    idle_max: Duration,
    mut arm: impl FnMut(Duration),
) -> Option<Phase> {
    if phase == Phase::Closing {
        return Some(Phase::Closing);
    }
    if phase == Phase::GoingAway {
        let grace = worker.config().timeouts.drain_idle_grace;
        // What is under way has deadlines of its own.
        return if link.streams() > 0 {
            arm(grace);
            None
        } else {
            Some(Phase::Closing)
        };
    }
    let idle = Duration::from_millis(worker.timers.now_ms().saturating_sub(link.busy_ms()));
    match idle_max.checked_sub(idle) {
        _ if link.streams() > 0 => arm(idle_max),
        Some(left) if !left.is_zero() => arm(left),
        _ => return Some(Phase::GoingAway),
    }
    None
}

/// Moves the connection's bytes and begins its streams. Ready when it has ended.
fn drive(h2: &mut H2<'_>, cx: &mut Context<'_>, arrivals: &Arrivals) -> Poll<()> {
    loop {
        match h2.poll_accept(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok((request, respond)))) => arrivals.begin(request, respond),
            Poll::Ready(Some(Err(fault))) => {
                tracing::debug!(peer = %arrivals.streams.peer(), %fault, "an HTTP/2 connection has failed");
                if fault.is_library() && fault.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                    arrivals.streams.worker.counters.http2.flood(Http2Flood::Other);
                }
                return Poll::Ready(());
            }
            Poll::Ready(None) => return Poll::Ready(()),
        }
    }
}

/// Where requests come in.
struct Arrivals {
    streams: Streams,
    link: Rc<Link>,
}

impl Arrivals {
    fn begin(&self, request: http::Request<h2::RecvStream>, mut respond: server::SendResponse<Bytes>) {
        if request.headers().values().any(|value| head::is_padded(value.as_bytes())) {
            return respond.send_reset(Reason::PROTOCOL_ERROR);
        }
        let connects = *request.method() == http::Method::CONNECT;
        let stream = Served::new(self.streams.worker.clone(), self.link.clone(), request, respond);
        let io = Io::Http2(Box::new(Stream::Served(stream)));
        if connects {
            // A stream of HTTP/1.1 messages cannot become a tunnel.
            let refusal = Refusal::new(Refused::BadRequest, "CONNECT is not served on a stream of HTTP/2");
            spawn_local(self.streams.refuse(io, Refusal { status: 501, ..refusal }));
        } else {
            spawn_local(self.streams.serve(io));
        }
    }
}
