//! The floor: copies bytes between two sockets with epoll and one buffer, and understands nothing.
//!
//! What a proxy costs above this is its own doing; the rest is the kernel's.

#![allow(
    unsafe_code,
    reason = "raw epoll, so that the floor holds no runtime; each call is a plain system call"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result, ensure};

const BUFFER_BYTES: usize = 128 * 1024;
const EVENTS_MAX: usize = 256;

/// Listens on the first port and copies to the others in turn; runs until it is ended.
pub(crate) fn main(args: impl Iterator<Item = String>) -> Result<()> {
    let ports: Vec<u16> = args.map(|port| port.parse().context("ports expected")).collect::<Result<_>>()?;
    ensure!(ports.len() >= 2, "usage: floor PORT UPSTREAM_PORT..");
    let listener = TcpListener::bind(("127.0.0.1", ports[0]))?;
    let mut floor = Floor { poll: create()?, sides: Vec::new(), buffer: vec![0; BUFFER_BYTES] };
    floor.control(libc::EPOLL_CTL_ADD, listener.as_raw_fd(), libc::EPOLLIN)?;
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
    let mut turn = 0;
    loop {
        // SAFETY: the pointer and length describe `events`, which outlives the call.
        let count = unsafe { libc::epoll_wait(floor.poll, events.as_mut_ptr(), EVENTS_MAX as i32, -1) };
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                let (client, _) = listener.accept()?;
                let upstream = TcpStream::connect(("127.0.0.1", ports[1 + turn % (ports.len() - 1)]))?;
                turn += 1;
                floor.join(client, upstream)?;
            } else {
                floor.ready(fd, event.events)?;
            }
        }
    }
}

/// One direction's source, and what did not fit into its peer yet.
struct Side {
    stream: TcpStream,
    peer: RawFd,
    /// Read here, to be written to the peer. While there is any, nothing more is read.
    left: Vec<u8>,
}

struct Floor {
    poll: RawFd,
    /// By descriptor.
    sides: Vec<Option<Side>>,
    buffer: Vec<u8>,
}

impl Floor {
    fn join(&mut self, client: TcpStream, upstream: TcpStream) -> Result<()> {
        let (a, b) = (client.as_raw_fd(), upstream.as_raw_fd());
        for (stream, fd, peer) in [(client, a, b), (upstream, b, a)] {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let index = usize::try_from(fd)?;
            if self.sides.len() <= index {
                self.sides.resize_with(index + 1, || None);
            }
            self.sides[index] = Some(Side { stream, peer, left: Vec::new() });
            self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN)?;
        }
        Ok(())
    }

    fn control(&self, operation: i32, fd: RawFd, events: i32) -> Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
        // SAFETY: `event` outlives the call; both descriptors are open.
        let result = unsafe { libc::epoll_ctl(self.poll, operation, fd, &raw mut event) };
        ensure!(result == 0, "epoll_ctl: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// A socket is ready to be read, or to be written to again.
    fn ready(&mut self, fd: RawFd, events: u32) -> Result<()> {
        let Some(Some(side)) = self.sides.get(fd as usize) else { return Ok(()) };
        let peer = side.peer;
        let going_on =
            if events & libc::EPOLLOUT as u32 != 0 { self.write_left(peer)? } else { self.copy(fd)? };
        if !going_on {
            self.sides[fd as usize] = None;
            self.sides[peer as usize] = None;
        }
        Ok(())
    }

    /// Reads once and writes what came. Gives whether the connection goes on.
    fn copy(&mut self, fd: RawFd) -> Result<bool> {
        let Some(Some(side)) = self.sides.get(fd as usize) else { return Ok(true) };
        let peer = side.peer;
        let read = match (&side.stream).read(&mut self.buffer) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
        };
        let Some(Some(to)) = self.sides.get(peer as usize) else { return Ok(false) };
        let written = match (&to.stream).write(&self.buffer[..read]) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return Ok(false),
        };
        if written < read {
            let rest = self.buffer[written..read].to_vec();
            if let Some(Some(side)) = self.sides.get_mut(fd as usize) {
                side.left = rest;
            }
            self.control(libc::EPOLL_CTL_MOD, fd, 0)?;
            self.control(libc::EPOLL_CTL_MOD, peer, libc::EPOLLOUT)?;
        }
        Ok(true)
    }

    /// Writes what was left over to the peer of its source. Gives whether the connection goes on.
    fn write_left(&mut self, source: RawFd) -> Result<bool> {
        let Some(Some(side)) = self.sides.get(source as usize) else { return Ok(false) };
        let to = side.peer;
        let Some(Some(peer)) = self.sides.get(to as usize) else { return Ok(false) };
        let written = match (&peer.stream).write(&side.left) {
            Ok(written) => written,
            Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
        };
        let Some(Some(side)) = self.sides.get_mut(source as usize) else { return Ok(false) };
        side.left.drain(..written);
        if side.left.is_empty() {
            self.control(libc::EPOLL_CTL_MOD, source, libc::EPOLLIN)?;
            self.control(libc::EPOLL_CTL_MOD, to, libc::EPOLLIN)?;
        }
        Ok(true)
    }
}

fn create() -> Result<RawFd> {
    // SAFETY: takes and returns plain numbers.
    let poll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    ensure!(poll >= 0, "epoll_create1: {}", std::io::Error::last_os_error());
    Ok(poll)
}
