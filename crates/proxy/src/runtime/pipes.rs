//! Pipes of the kernel, which move bytes from one socket to another without a copy in this process (splice(2)).
//!
//! A pipe is held only while it holds bytes, so one serves all tunnels of a worker whose receivers keep up.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Pipes of one worker, held and spare.
const PIPES_MAX: usize = 64;
/// Empty pipes that are kept for later use.
const SPARE_MAX: usize = 8;
/// What a pipe may hold. The kernel's memory for them is bounded by this times [`PIPES_MAX`] for each worker.
const PIPE_BYTES: usize = 256 * 1024;

/// A worker's pipes.
pub(crate) struct Pipes {
    spare: RefCell<Vec<Pipe>>,
    open: Rc<Cell<usize>>,
}

/// One pipe.
pub(crate) struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
    held: usize,
    open: Rc<Cell<usize>>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl Pipes {
    pub(crate) fn new() -> Self {
        Self { spare: RefCell::default(), open: Rc::default() }
    }

    /// An empty pipe; none where too many are open, or the system gives none.
    pub(crate) fn take(&self) -> Option<Pipe> {
        let spare = self.spare.borrow_mut().pop();
        spare.or_else(|| (self.open.get() < PIPES_MAX).then(|| Pipe::new(&self.open)).flatten())
    }

    /// Gives an empty pipe back.
    pub(crate) fn give(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if pipe.held == 0 && spare.len() < SPARE_MAX {
            spare.push(pipe);
        }
    }
}

impl Pipe {
    /// How many bytes it holds.
    pub(crate) fn held(&self) -> usize {
        self.held
    }
}

#[cfg(not(target_os = "linux"))]
impl Pipe {
    fn new(_: &Rc<Cell<usize>>) -> Option<Self> {
        None
    }

    pub(crate) fn poll_fill(&mut self, _: &mut Context<'_>, _: &TcpStream) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    pub(crate) fn poll_drain(&mut self, _: &mut Context<'_>, _: &TcpStream) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

#[cfg(target_os = "linux")]
impl Pipe {
    fn new(open: &Rc<Cell<usize>>) -> Option<Self> {
        use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
        let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Who may not have it larger goes on with what the system gives.
        let _ = fcntl_setpipe_size(&input, PIPE_BYTES);
        open.set(open.get() + 1);
        Some(Self { output, input, held: 0, open: Rc::clone(open) })
    }

    /// Takes once what has arrived; 0 at the end. Only for an empty pipe: a full one and a socket that has nothing look
    /// the same.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, sender: &TcpStream) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0);
        loop {
            ready!(sender.poll_read_ready(cx))?;
            let taken = sender.try_io(Interest::READABLE, || splice(sender, &self.input, PIPE_BYTES));
            match taken {
                // It said so to the runtime too: wait.
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
                taken => {
                    self.held = *taken.as_ref().unwrap_or(&0);
                    return Poll::Ready(taken);
                }
            }
        }
    }

    /// Passes once on what it holds.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        receiver: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(receiver.poll_write_ready(cx))?;
            let given = receiver.try_io(Interest::WRITABLE, || splice(&self.output, receiver, self.held));
            match given {
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {}
                given => {
                    self.held -= given.as_ref().unwrap_or(&0);
                    return Poll::Ready(given);
                }
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn splice(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, bytes: usize) -> io::Result<usize> {
    use rustix::pipe::{SpliceFlags, splice};
    Ok(splice(from, None, to, None, bytes, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_used_again_and_bounded() {
        let pipes = Pipes::new();
        let first = pipes.take().unwrap();
        pipes.give(first);
        assert_eq!((pipes.open.get(), pipes.spare.borrow().len()), (1, 1));
        let mut all: Vec<_> = (0..PIPES_MAX).map(|_| pipes.take().unwrap()).collect();
        assert!(pipes.take().is_none());
        all.pop();
        assert!(pipes.take().is_some(), "one that was dropped makes room for another");
        for pipe in all {
            pipes.give(pipe);
        }
        assert_eq!((pipes.open.get(), pipes.spare.borrow().len()), (SPARE_MAX, SPARE_MAX));
        let mut full = pipes.take().unwrap();
        full.held = 1;
        pipes.give(full);
        assert_eq!(pipes.open.get(), SPARE_MAX - 1, "what holds somebody's bytes is nobody else's");
    }
}
