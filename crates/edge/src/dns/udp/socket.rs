//! A UDP socket that answers from the address it was asked at.
//!
//! A socket bound to one address always does. One bound to all addresses of a machine does not: the system chooses the
//! address nearest to the client, and a client that asked another one takes no notice of the answer. So the socket asks
//! for the address with each packet (`IP_PKTINFO`, RFC 3542 section 4 for IPv6), and answers from there.

use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;

#[cfg(target_os = "linux")]
use super::message;

/// The socket.
#[derive(Debug)]
pub(in crate::dns) struct Socket {
    inner: UdpSocket,
    /// Whether it is bound to all addresses.
    #[cfg(target_os = "linux")]
    is_for_all: bool,
}

/// Whom to answer, and from where.
#[derive(Clone, Copy, Debug)]
pub(in crate::dns) struct Client {
    address: SocketAddr,
    #[cfg(target_os = "linux")]
    asked_at: Option<message::Local>,
}

impl Socket {
    /// Wraps a bound socket.
    ///
    /// # Errors
    /// If the system does not tell where packets arrive.
    pub(in crate::dns) fn new(inner: UdpSocket) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            let is_for_all = inner.local_addr()?.ip().is_unspecified();
            if is_for_all {
                message::ask_where_packets_arrive(&inner)?;
            }
            Ok(Self { inner, is_for_all })
        }
        #[cfg(not(target_os = "linux"))]
        Ok(Self { inner })
    }

    /// The next packet.
    pub(in crate::dns) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Client)> {
        #[cfg(target_os = "linux")]
        if self.is_for_all {
            let received =
                self.inner.async_io(tokio::io::Interest::READABLE, || message::receive(&self.inner, buffer));
            let (len, address, asked_at) = received.await?;
            return Ok((len, Client { address, asked_at }));
        }
        let (len, address) = self.inner.recv_from(buffer).await?;
        #[cfg(target_os = "linux")]
        let client = Client { address, asked_at: None };
        #[cfg(not(target_os = "linux"))]
        let client = Client { address };
        Ok((len, client))
    }

    /// Answers a client.
    pub(in crate::dns) async fn send(&self, bytes: &[u8], client: Client) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(from) = client.asked_at {
            let sent = self.inner.async_io(tokio::io::Interest::WRITABLE, || {
                message::send(&self.inner, bytes, client.address, from)
            });
            return sent.await;
        }
        self.inner.send_to(bytes, client.address).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;

    /// Asks at each address; a connected socket hears only answers from there.
    async fn check(bind: &str, asked: &[&str]) {
        let server = Socket::new(UdpSocket::bind(bind).await.unwrap()).unwrap();
        let port = server.inner.local_addr().unwrap().port();
        for text in asked {
            let ip: IpAddr = text.parse().unwrap();
            let any = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let client = UdpSocket::bind(any).await.unwrap();
            client.connect((ip, port)).await.unwrap();
            client.send(b"question").await.unwrap();
            let mut buffer = [0; 32];
            let (len, whom) = server.receive(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..len], b"question", "{text}");
            server.send(b"answer", whom).await.unwrap();
            let heard = tokio::time::timeout(Duration::from_secs(5), client.recv(&mut buffer)).await;
            let len = heard.unwrap_or_else(|_| panic!("no answer from {text}")).unwrap();
            assert_eq!(&buffer[..len], b"answer", "{text}");
        }
    }

    #[tokio::test]
    async fn it_answers_from_where_it_was_asked() {
        check("127.0.0.1:0", &["127.0.0.1"]).await;
        if cfg!(target_os = "linux") {
            check("0.0.0.0:0", &["127.0.0.1", "127.0.0.2", "127.9.9.9"]).await;
        }
        // A machine may be without IPv6.
        if std::net::UdpSocket::bind("[::1]:0").is_ok() && cfg!(target_os = "linux") {
            check("[::]:0", &["::1", "127.0.0.2"]).await;
        }
    }
}
