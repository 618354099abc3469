//! Bytes both ways, without looking at them: after 101, for CONNECT, and for TCP and TLS routes.
//!
//! A read goes straight from the worker's scratch to the other side; only what that does not take is kept, and until it
//! is gone nothing more is read. Where much flows between two sockets, the kernel moves it through a pipe instead.
//! An end of one side is passed on as an end, a failure as a reset, so that nobody takes what was cut short for complete.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::runtime::{Io, Pipe, Scratch, TimerSlot, Worker};

/// What one read is limited to while the receiver is slow, and so what each direction holds at most.
const SLOW_READ_BYTES_MAX: usize = 32 * 1024;
/// Rounds of both directions in one turn. Beyond, other connections go first.
const ROUNDS_MAX: u32 = 16;
/// A read of this size or more counts as large: copying it costs more than two more system calls.
const LARGE_READ_BYTES: usize = 16 * 1024;
/// After so many more large reads than small ones, the kernel moves the bytes.
const LARGE_READS: u8 = 4;
/// How many more are remembered, and so how many small ones it takes until bytes are copied again.
const LARGE_READS_MAX: u8 = 8;

/// One direction.
struct Way {
    pending: Vec<u8>,
    from: usize,
    /// The receiver did not take all of what was read last.
    slow: bool,
    /// What the receiver has not taken of what the kernel moves. `pending` is empty then.
    piped: Option<Box<Pipe>>,
    /// How many more reads were large than small, up to a bound.
    large: u8,
    /// Bytes that the receiver has taken.
    moved: u64,
    /// The sender has ended.
    ended: bool,
    /// The receiver was told.
    told: bool,
}

/// Which side has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    Sender,
    Receiver,
}

impl Way {
    fn new(pending: Vec<u8>) -> Self {
        Self { pending, from: 0, slow: false, piped: None, large: 0, moved: 0, ended: false, told: false }
    }

    /// Moves bytes as far as they go, but reads once only. Gives whether any moved.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        sender: &mut Io,
        receiver: &mut Io,
        worker: &Worker,
    ) -> Result<bool, Failed> {
        let mut progress = false;
        while self.from < self.pending.len() {
            match receiver.poll_write(cx, &self.pending[self.from..]) {
                Poll::Ready(n) => self.took(&n)?,
                Poll::Pending => return Ok(progress),
            }
            progress = true;
        }
        if let Some(pipe) = self.piped.take() {
            match self.drain(cx, *pipe, receiver, worker)? {
                0 => return Ok(progress),
                _ if self.piped.is_some() => return Ok(true),
                _ => progress = true,
            }
        }
        self.clear(worker);
        if self.ended {
            if !self.told {
                self.told = true;
                receiver.shutdown();
                return Ok(true);
            }
            return Ok(progress);
        }
        if self.large >= LARGE_READS
            && let Some(socket) = sender.socket()
            && receiver.socket().is_some()
            && let Some(mut pipe) = worker.pipes.take()
        {
            match pipe.poll_fill(cx, socket) {
                Poll::Pending => {
                    worker.pipes.give(pipe);
                    return Ok(progress);
                }
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.count_read(n);
                    self.drain(cx, pipe, receiver, worker)?;
                    return Ok(true);
                }
                // An end is believed when a read says so: the kernel does not move bytes past urgent ones. And who may not
                // have it move any (a sandbox) reads.
                Poll::Ready(_) => {
                    self.large = 0;
                    worker.pipes.give(pipe);
                }
            }
        }
        let mut scratch = worker.scratch.borrow_mut();
        let Scratch { input, .. } = &mut *scratch;
        let room = if self.slow { SLOW_READ_BYTES_MAX.min(input.len()) } else { input.len() };
        let read = sender.poll_read(cx, &mut input[..room]);
        let Some(n) = self.received(&read)? else { return Ok(progress || self.ended) };
        self.count_read(n);
        let before = self.moved;
        match receiver.poll_write(cx, &input[..n]) {
            Poll::Ready(written) => self.took(&written)?,
            Poll::Pending => {}
        }
        let written = (self.moved - before) as usize;
        self.from = 0;
        self.slow = written < n;
        if self.slow {
            self.pending = worker.buffers.take();
            self.pending.extend_from_slice(&input[written..n]);
        }
        Ok(true)
    }

    /// How much has arrived; nothing if it is to be waited for, or the sender has ended.
    fn received(&mut self, read: &Poll<io::Result<usize>>) -> Result<Option<usize>, Failed> {
        match read {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(0)) => {
                self.ended = true;
                Ok(None)
            }
            Poll::Ready(Ok(n)) => Ok(Some(*n)),
            Poll::Ready(Err(_)) => Err(Failed::Sender),
        }
    }

    fn count_read(&mut self, bytes: usize) {
        self.large = match bytes {
            ..LARGE_READ_BYTES => self.large.saturating_sub(1),
            _ => LARGE_READS_MAX.min(self.large + 1),
        };
    }

    /// Passes on what a pipe holds, and keeps the pipe if the receiver does not take all of it. Gives how much it took.
    fn drain(
        &mut self,
        cx: &mut Context<'_>,
        mut pipe: Pipe,
        receiver: &Io,
        worker: &Worker,
    ) -> Result<usize, Failed> {
        let Some(socket) = receiver.socket() else { return Err(Failed::Receiver) };
        let held = pipe.held();
        while pipe.held() > 0 {
            match pipe.poll_drain(cx, socket) {
                Poll::Ready(Ok(n)) if n > 0 => self.moved += n as u64,
                Poll::Ready(_) => return Err(Failed::Receiver),
                Poll::Pending => break,
            }
        }
        let taken = held - pipe.held();
        if pipe.held() > 0 {
            self.piped = Some(Box::new(pipe));
        } else {
            worker.pipes.give(pipe);
        }
        Ok(taken)
    }

    fn took(&mut self, written: &io::Result<usize>) -> Result<(), Failed> {
        match written {
            &Ok(n) if n > 0 => {
                self.from += n;
                self.moved += n as u64;
                Ok(())
            }
            _ => Err(Failed::Receiver),
        }
    }

    fn has_pending(&self) -> bool {
        self.from < self.pending.len() || self.piped.is_some()
    }

    fn clear(&mut self, worker: &Worker) {
        self.from = 0;
        worker.buffers.give_if_used(&mut self.pending);
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides have ended, and everything was passed on.
    Complete,
    /// The client's side failed.
    ClientFailed,
    /// The upstream's side did.
    UpstreamFailed,
    /// Nothing has moved for too long.
    Idle,
}

/// What a tunnel has carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    /// Bytes to the upstream.
    pub(crate) up: u64,
    /// Bytes to the client.
    pub(crate) down: u64,
    pub(crate) end: End,
}

/// Carries bytes until both sides have ended, one has failed, or nothing has moved for `idle_max`. `ahead` is what the
/// client sent already. The timer must wake this task.
pub(crate) async fn carry(
    worker: &Worker,
    timer: &TimerSlot,
    client: &mut Io,
    upstream: &mut Io,
    ahead: Vec<u8>,
    idle_max: Duration,
) -> Carried {
    let mut up = Way::new(ahead);
    let mut down = Way::new(Vec::new());
    worker.counters.tunnels.add(1);
    worker.counters.tunnels_total.add(1);
    timer.arm(idle_max);
    let end = poll_fn(|cx| {
        for _ in 0..ROUNDS_MAX {
            let (moved_up, moved_down) = match (
                up.poll(cx, client, upstream, worker).map_err(|failed| failed == Failed::Sender),
                down.poll(cx, upstream, client, worker).map_err(|failed| failed == Failed::Receiver),
            ) {
                (Ok(up), Ok(down)) => (up, down),
                (Err(true), _) | (Ok(_), Err(true)) => return Poll::Ready(End::ClientFailed),
                (Err(false), _) | (Ok(_), Err(false)) => return Poll::Ready(End::UpstreamFailed),
            };
            let over = up.told && down.told;
            if over || (!moved_up && !moved_down) {
                // What was accepted above need not be with the kernel yet, and nobody else would ask for it.
                return match (client.poll_flush(cx), upstream.poll_flush(cx)) {
                    (Poll::Ready(Err(_)), _) => Poll::Ready(End::ClientFailed),
                    (_, Poll::Ready(Err(_))) => Poll::Ready(End::UpstreamFailed),
                    (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) if over => Poll::Ready(End::Complete),
                    _ if timer.expired() => Poll::Ready(End::Idle),
                    _ => Poll::Pending,
                };
            }
            timer.arm(idle_max);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    match end {
        End::ClientFailed => upstream.abort(),
        End::UpstreamFailed => client.abort(),
        End::Idle | End::Complete => {
            if up.has_pending() {
                upstream.abort();
            }
            if down.has_pending() {
                client.abort();
            }
        }
    }
    up.clear(worker);
    down.clear(worker);
    worker.counters.tunnels.sub(1);
    Carried { up: up.moved, down: down.moved, end }
}
