//! One question to one server and its answer. Whoever calls bounds the time.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use domain::base::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Duration, timeout};

use crate::dns::bounds::QUERY_BYTES_MAX;
use crate::dns::query::Query;

/// When a packet is sent once more; one may get lost.
const AGAIN_AFTER: Duration = Duration::from_millis(800);

/// Asks in a packet. The socket is new, so its port is one that nobody can foresee, and takes packets of that server only.
pub(super) async fn udp(to: SocketAddr, message: &[u8], query: &Query, id: u16) -> io::Result<Vec<u8>> {
    let from: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(from).await?;
    socket.connect(to).await?;
    // No server sends more than it is asked for, and one byte more would show.
    let mut buffer = vec![0; QUERY_BYTES_MAX + 1];
    socket.send(message).await?;
    if let Ok(answer) = timeout(AGAIN_AFTER, matching(&socket, &mut buffer, query, id)).await {
        return answer;
    }
    socket.send(message).await?;
    matching(&socket, &mut buffer, query, id).await
}

/// The answer to this query; others are passed over.
async fn matching(socket: &UdpSocket, buffer: &mut [u8], query: &Query, id: u16) -> io::Result<Vec<u8>> {
    loop {
        let len = socket.recv(buffer).await?;
        if answers(&buffer[..len], query, id) {
            return Ok(buffer[..len].to_vec());
        }
    }
}

/// Asks over a connection of its own.
pub(super) async fn tcp(to: SocketAddr, message: &[u8], query: &Query, id: u16) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    let len = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes(), message].concat()).await?;
    let len = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(len)];
    stream.read_exact(&mut answer).await?;
    if answers(&answer, query, id) {
        return Ok(answer);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it answers something else"))
}

/// Whether a message answers this query: its number and its one question, the name written out in whatever case.
pub(super) fn answers(bytes: &[u8], query: &Query, id: u16) -> bool {
    let Ok(message) = Message::from_slice(bytes) else { return false };
    let header = message.header();
    let Ok(question) = message.sole_question() else { return false };
    header.qr()
        && header.id() == id
        && !question.qname().is_compressed()
        && question.qtype() == query.rtype
        && question.qclass() == query.class
        && *question.qname() == query.name
}
