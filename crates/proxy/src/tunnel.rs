//! Bytes both ways, without looking at them: after 101, and for CONNECT.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use crate::connection::Connection;
use crate::runtime::{Buffers, Io, Scratch, Worker};

/// What one read of a tunnel is limited to, and so what each direction holds at most while its receiver is slow.
const READ_BYTES_MAX: usize = 32 * 1024;

/// One direction.
struct Way {
    pending: Vec<u8>,
    from: usize,
    /// The sender has ended.
    ended: bool,
    /// The receiver was told.
    told: bool,
}

impl Way {
    fn new(pending: Vec<u8>) -> Self {
        Self { pending, from: 0, ended: false, told: false }
    }

    /// Moves bytes as far as they go. Gives whether any moved.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        sender: &mut Io,
        receiver: &mut Io,
        worker: &Worker,
    ) -> io::Result<bool> {
        let mut progress = false;
        loop {
            while self.from < self.pending.len() {
                match receiver.poll_write(cx, &self.pending[self.from..]) {
                    Poll::Ready(n) => self.from += n?,
                    Poll::Pending => return Ok(progress),
                }
                progress = true;
            }
            self.clear(&worker.buffers);
            if self.ended {
                if !self.told {
                    self.told = true;
                    receiver.shutdown();
                }
                return Ok(progress);
            }
            let mut scratch = worker.scratch.borrow_mut();
            let Scratch { input, .. } = &mut *scratch;
            match sender.poll_read(cx, &mut input[..READ_BYTES_MAX]) {
                Poll::Pending => return Ok(progress),
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(n)) => {
                    let written = match receiver.poll_write(cx, &input[..n]) {
                        Poll::Ready(written) => written?,
                        Poll::Pending => 0,
                    };
                    if written < n {
                        self.pending = worker.buffers.take();
                        self.pending.extend_from_slice(&input[written..n]);
                    }
                }
                Poll::Ready(Err(fault)) => return Err(fault),
            }
            progress = true;
        }
    }

    fn clear(&mut self, buffers: &Buffers) {
        self.from = 0;
        buffers.give_if_used(&mut self.pending);
    }
}

/// Carries bytes until both sides have ended, one has failed, nothing has moved for too long, or draining is over.
/// `ahead` is what the client sent already.
pub(crate) async fn run(conn: &mut Connection, mut upstream: Io, ahead: Vec<u8>) {
    let worker = conn.worker.clone();
    let mut up = Way::new(ahead);
    let mut down = Way::new(Vec::new());
    worker.counters.tunnels.add(1);
    conn.timer.arm(worker.config().timeouts.tunnel_idle);
    poll_fn(|cx| {
        loop {
            let Ok(moved_up) = up.poll(cx, &mut conn.client, &mut upstream, &worker) else {
                return Poll::Ready(());
            };
            let Ok(moved_down) = down.poll(cx, &mut upstream, &mut conn.client, &worker) else {
                return Poll::Ready(());
            };
            if up.told && down.told {
                return Poll::Ready(());
            }
            if !moved_up && !moved_down {
                break;
            }
            conn.timer.arm(worker.config().timeouts.tunnel_idle);
        }
        let flushed = [conn.client.poll_flush(cx), upstream.poll_flush(cx)];
        if flushed.iter().any(|flushed| matches!(flushed, Poll::Ready(Err(_)))) {
            return Poll::Ready(());
        }
        if conn.timer.expired() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    up.clear(&worker.buffers);
    down.clear(&worker.buffers);
    worker.counters.tunnels.sub(1);
}
