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
    let mut floor = Floor { poll: create()?, peers: Vec::new(), buffer: vec![0; BUFFER_BYTES] };
    floor.add(listener.as_raw_fd())?;
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
                floor.copy(fd);
            }
        }
    }
}

struct Floor {
    poll: RawFd,
    /// By descriptor: the socket itself, and the descriptor of its peer.
    peers: Vec<Option<(TcpStream, RawFd)>>,
    buffer: Vec<u8>,
}

impl Floor {
    fn join(&mut self, client: TcpStream, upstream: TcpStream) -> Result<()> {
        let (a, b) = (client.as_raw_fd(), upstream.as_raw_fd());
        for (stream, fd, peer) in [(client, a, b), (upstream, b, a)] {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let index = usize::try_from(fd)?;
            if self.peers.len() <= index {
                self.peers.resize_with(index + 1, || None);
            }
            self.peers[index] = Some((stream, peer));
            self.add(fd)?;
        }
        Ok(())
    }

    fn add(&self, fd: RawFd) -> Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: fd as u64 };
        // SAFETY: `event` outlives the call; both descriptors are open.
        let result = unsafe { libc::epoll_ctl(self.poll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        ensure!(result == 0, "epoll_ctl: {}", std::io::Error::last_os_error());
        Ok(())
    }

    fn copy(&mut self, fd: RawFd) {
        let Some(Some((from, peer))) = self.peers.get(fd as usize) else { return };
        let peer = *peer;
        let mut from: &TcpStream = from;
        match from.read(&mut self.buffer) {
            Ok(read) if read > 0 => {
                let Some(Some((to, _))) = self.peers.get(peer as usize) else { return };
                if write_all(to, &self.buffer[..read]).is_ok() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            _ => {}
        }
        self.peers[fd as usize] = None;
        self.peers[peer as usize] = None;
    }
}

/// Waits where a socket is full: simpler than a second event, and the load never makes it so for long.
fn write_all(mut to: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn create() -> Result<RawFd> {
    // SAFETY: takes and returns plain numbers.
    let poll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    ensure!(poll >= 0, "epoll_create1: {}", std::io::Error::last_os_error());
    Ok(poll)
}
