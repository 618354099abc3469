//! Opening upstream connections.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::http2::Dialling;
use crate::runtime::{Coarse, Io, TimerSlot};

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectFault {
    /// It was refused, or there is no way.
    Failed(io::Error),
    /// Nobody answered in time.
    TimedOut,
    /// Every connection that there may be is in use.
    Full,
}

impl ConnectFault {
    /// Whether it says nothing about the endpoint: this process has no descriptor or no port left.
    pub(crate) fn is_our_own(&self) -> bool {
        const OURS: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
        matches!(self, Self::Full)
            || matches!(self, Self::Failed(fault) if fault.raw_os_error().is_some_and(|code| OURS.contains(&code)))
    }
}

/// Connects, by `deadline`, and sends what the connection must begin with. Leaves the timer armed.
pub(crate) async fn connect(
    addr: SocketAddr,
    header: Option<Vec<u8>>,
    deadline: Coarse,
    timer: &TimerSlot,
) -> Result<Io, ConnectFault> {
    timer.arm_at(deadline);
    // Rare, so the future's size is kept out of the connection's own.
    let mut connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>>>> = Box::pin(open(addr, header));
    std::future::poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome.map(Io::Tcp).map_err(ConnectFault::Failed)),
        Poll::Pending if timer.expired() => Poll::Ready(Err(ConnectFault::TimedOut)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Connects, and sends what the connection must begin with, for as long as whoever waits for it likes.
pub(crate) fn dial(addr: SocketAddr, header: Option<Vec<u8>>) -> Dialling {
    Box::pin(async move { open(addr, header).await.map(Io::Tcp) })
}

async fn open(addr: SocketAddr, header: Option<Vec<u8>>) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    let mut stream = socket.connect(addr).await?;
    if let Some(header) = header {
        stream.write_all(&header).await?;
    }
    Ok(stream)
}
