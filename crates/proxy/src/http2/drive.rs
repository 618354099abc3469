//! Moves a connection's bytes: what has come goes to the streams, what they have said goes out, with one write for all that
//! were woken in the same turn.

use std::io;
use std::task::{Context, Poll};

use weir_http2::{Connection, Event, Flood, Opened, Slot};

use super::link::Link;
use crate::observe::Http2Flood;
use crate::runtime::{Io, Worker};

/// How much is read after the last word, so that it arrives: a peer that goes on is cut off.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// Takes a stream that a client has begun.
pub(super) type Begin<'a> = dyn FnMut(&Connection, Slot, Opened) + 'a;

/// Reads and writes as far as it goes. `begin` gets the streams that a client begins. Ready at the connection's end.
pub(super) fn turn(
    link: &Link,
    io: &mut Io,
    worker: &Worker,
    cx: &mut Context<'_>,
    begin: &mut Begin<'_>,
) -> Poll<io::Result<()>> {
    link.runs(cx);
    loop {
        let received = receive(link, io, worker, cx, begin);
        let sent = send(link, io, cx, begin);
        match (received, sent) {
            (Poll::Ready(Err(fault)), _) | (_, Err(fault)) => {
                over(link, begin);
                return Poll::Ready(Err(fault));
            }
            (Poll::Ready(Ok(())), _) => {
                over(link, begin);
                return Poll::Ready(Ok(()));
            }
            // There was too much output to read on.
            (Poll::Pending, Ok(true)) => {}
            (Poll::Pending, Ok(false)) => return Poll::Pending,
        }
    }
}

fn receive(
    link: &Link,
    io: &mut Io,
    worker: &Worker,
    cx: &mut Context<'_>,
    begin: &mut Begin<'_>,
) -> Poll<io::Result<()>> {
    let mut h2 = link.h2.borrow_mut();
    let mut scratch = worker.scratch.borrow_mut();
    while h2.wants_input() {
        let input = &mut scratch.input;
        let held = h2.resume(input);
        let read = match io.poll_read(cx, &mut input[held..]) {
            Poll::Pending => break,
            Poll::Ready(read) => read?,
        };
        if read == 0 {
            return Poll::Ready(Ok(()));
        }
        h2.receive(&input[..held + read], worker.timers.now_ms(), &mut worker.http2.bench.borrow_mut());
        while let Some(event) = h2.next_event() {
            tell(link, &h2, event, begin);
        }
    }
    Poll::Pending
}

fn tell(link: &Link, h2: &Connection, event: Event, begin: &mut Begin<'_>) {
    match event {
        Event::Opened(slot, opened) => begin(h2, slot, opened),
        Event::Changed(slot) => link.wake_stream(slot),
    }
}

/// Writes. Gives whether reading, which had stopped because nothing was written, may go on.
fn send(link: &Link, io: &mut Io, cx: &mut Context<'_>, begin: &mut Begin<'_>) -> io::Result<bool> {
    let mut h2 = link.h2.borrow_mut();
    let stopped = !h2.wants_input();
    if link.looks_again() && h2.output().is_empty() {
        // Those that were told of room have had nothing to send after all.
        h2.go_on();
    }
    while !h2.output().is_empty() {
        match io.poll_write(cx, h2.output()) {
            Poll::Pending => break,
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(written) => h2.wrote(written?),
        }
    }
    while let Some(event) = h2.next_event() {
        tell(link, &h2, event, begin);
    }
    if h2.output().is_empty() && h2.has_waiting() {
        // Nothing that is written may tell the others of it: this task looks again, behind those that were told.
        link.look_again();
    }
    if let Poll::Ready(Err(fault)) = io.poll_flush(cx) {
        return Err(fault);
    }
    Ok(stopped && h2.wants_input())
}

/// Nothing more comes or goes: all streams are told.
pub(super) fn over(link: &Link, begin: &mut Begin<'_>) {
    let mut h2 = link.h2.borrow_mut();
    h2.gone();
    while let Some(event) = h2.next_event() {
        tell(link, &h2, event, begin);
    }
}

/// The last bytes of a connection that this side ends.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    said: bool,
    read: usize,
}

impl Farewell {
    /// Writes what there is, ends the sending side, and reads what the peer has sent in the meantime, so that its system does
    /// not throw away what it was told. Ready when that is done.
    pub(super) fn poll(
        &mut self,
        link: &Link,
        io: &mut Io,
        worker: &Worker,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if !self.said {
            if send(link, io, cx, &mut |_, _, _| {}).is_err() {
                return Poll::Ready(());
            }
            if !link.h2.borrow().output().is_empty() {
                return Poll::Pending;
            }
            io.shutdown();
            self.said = true;
        }
        let mut scratch = worker.scratch.borrow_mut();
        while self.read < LINGER_BYTES_MAX {
            match io.poll_read(cx, &mut scratch.input) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) if n > 0 => self.read += n,
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    }
}

/// As it is counted.
pub(super) const fn counted(flood: Flood) -> Http2Flood {
    match flood {
        Flood::Settings => Http2Flood::Settings,
        Flood::Ping => Http2Flood::Ping,
        Flood::Priority => Http2Flood::Priority,
        Flood::Reset => Http2Flood::RapidReset,
        Flood::WindowUpdate => Http2Flood::WindowUpdate,
        Flood::EmptyData => Http2Flood::EmptyFrames,
        Flood::Continuation => Http2Flood::Continuation,
        Flood::Malformed | Flood::Unknown => Http2Flood::Other,
    }
}
