//! Messages with descriptors over a unix socket that keeps packets apart.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType, recvmsg, sendmsg,
};
use tokio::net::{UnixListener, UnixStream};

use super::message::Message;

/// Bytes of a message.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Descriptors that come along with one message. The kernel takes at most 253.
pub(super) const SOCKETS_MAX: usize = 64;
/// Processes that may wait to take over.
const BACKLOG: i32 = 8;

/// No child gets what is received.
#[cfg(target_os = "linux")]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVE: RecvFlags = RecvFlags::empty();

/// A connection between the two processes. The type is the runtime's for any unix socket that is connected.
#[derive(Debug)]
pub(super) struct Channel(UnixStream);

impl Channel {
    /// Connects to the process that listens at a path.
    pub(super) async fn connect(path: &Path) -> io::Result<Self> {
        let socket = packet_socket()?;
        // A local connection is there at once, or the queue is full.
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        UnixStream::from_std(socket.into()).map(Self)
    }

    /// The user whose process is at the other end.
    pub(super) fn peer_uid(&self) -> io::Result<u32> {
        peer_uid(self.0.as_fd())
    }

    pub(super) async fn send(&self, message: &Message, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MESSAGE_BYTES_MAX || sockets.len() > SOCKETS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
        }
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut along = SendAncillaryBuffer::new(&mut space);
            if !sockets.is_empty() && !along.push(SendAncillaryMessage::ScmRights(sockets)) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets"));
            }
            // Nobody there is an error, and no reason for a signal.
            Ok(sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut along, SendFlags::NOSIGNAL)?)
        };
        self.0.async_io(tokio::io::Interest::WRITABLE, send).await.map(drop)
    }

    /// The next message, and what came along; none when the other process has closed the connection.
    pub(super) async fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut along = RecvAncillaryBuffer::new(&mut space);
            let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut along, RECEIVE)?;
            let mut sockets = Vec::new();
            for one in along.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = one {
                    sockets.extend(some);
                }
            }
            if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a message came cut short"));
            }
            Ok((received.bytes, sockets))
        };
        let (length, sockets) = self.0.async_io(tokio::io::Interest::READABLE, receive).await?;
        if length == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(&bytes[..length])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Some((message, sockets)))
    }
}

/// What is found at a path.
#[derive(Debug)]
pub(super) enum Found {
    /// Somebody listens.
    Running(Channel),
    /// Nobody does; there may be a socket that an earlier process left behind.
    Nobody,
    /// Something else than a socket.
    NotASocket,
}

/// Connects to whoever listens at a path.
pub(super) async fn find(path: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Ok(Found::NotASocket),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nobody),
        Err(error) => return Err(error),
    }
    match Channel::connect(path).await {
        Ok(channel) => Ok(Found::Running(channel)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Found::Nobody),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nobody),
        Err(error) => Err(error),
    }
}

/// Listens at a path, where only this process's user may connect.
pub(super) fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = packet_socket()?;
    let addr = SocketAddrUnix::new(path)?;
    match rustix::net::bind(&socket, &addr) {
        Err(rustix::io::Errno::ADDRINUSE) => {
            // Nobody listened there when this process began: what is there is left behind.
            if !fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            fs::remove_file(path)?;
            rustix::net::bind(&socket, &addr)?;
        }
        bound => bound?,
    }
    // Before it listens nobody can connect.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A listener from a socket that another process made.
pub(super) fn listener(socket: OwnedFd) -> io::Result<UnixListener> {
    UnixListener::from_std(own(socket)?.into())
}

/// The next process that wants to take over.
pub(super) async fn accept(listener: &UnixListener) -> io::Result<Channel> {
    listener.accept().await.map(|(stream, _)| Channel(stream))
}

fn packet_socket() -> io::Result<OwnedFd> {
    own(rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?)
}

/// Makes a socket one that never blocks, and that no child gets.
fn own(socket: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Ok(socket)
}

/// This process's own user.
pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(target_os = "linux")]
fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(socket)?.uid.as_raw())
}

#[cfg(not(target_os = "linux"))]
fn peer_uid(_: BorrowedFd<'_>) -> io::Result<u32> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux tells who is at the other end"))
}
