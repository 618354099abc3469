//! A look at a UDP port: an empty datagram, and whether the target's host says that nobody takes it.
//!
//! Most protocols over UDP do not answer what they do not understand, so silence passes, as in Consul. What fails is what the
//! kernel is told by ICMP (RFC 1122, section 4.1.3.3): that the port, or the host, cannot be reached.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, timeout_at};
use weir_model::registry::Health;

use super::look::Outcome;
use super::target::tcp_target;

/// Looks once; takes all of `timeout` where nobody answers. The addresses of a name are asked in order: one that refuses leaves
/// the time to the next, as when a connection is made, since a service need not be at all of them.
pub(crate) async fn check(address: &str, timeout: Duration) -> Outcome {
    let Some(target) = tcp_target(address) else {
        return Outcome::critical(format!("UDP {address}: not HOST:PORT"));
    };
    let until = Instant::now() + timeout;
    let all: Vec<SocketAddr> = match timeout_at(until, lookup_host(target)).await {
        Ok(Ok(all)) => all.collect(),
        Ok(Err(error)) => return Outcome::critical(format!("UDP {address}: {error}")),
        Err(_) => return Outcome::critical(format!("UDP {address}: no address within {timeout:?}")),
    };
    match ask(&all, until).await {
        Ok(true) => passing(format!("UDP {address}: answered")),
        Ok(false) => passing(format!("UDP {address}: not refused within {timeout:?}")),
        Err(error) => Outcome::critical(format!("UDP {address}: {error}")),
    }
}

fn passing(output: String) -> Outcome {
    Outcome { health: Health::Passing, output }
}

/// Asks one address after the other until one does not refuse. Whether it answers; why the last one refuses, if all do.
async fn ask(all: &[SocketAddr], until: Instant) -> io::Result<bool> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for to in all {
        match timeout_at(until, answer(*to)).await {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(error)) => refused = error,
            Err(_) => return Ok(false),
        }
    }
    Err(refused)
}

/// Sends a datagram and waits for one, from a socket that hears of nobody else.
async fn answer(to: SocketAddr) -> io::Result<()> {
    let from: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(from).await?;
    socket.connect(to).await?;
    socket.send(&[]).await?;
    socket.recv(&mut [0; 1]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn silence_and_answers_pass() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let outcome = check(&address, PATIENCE).await;
        assert_eq!(outcome.health, Health::Passing, "{outcome:?}");
        assert!(outcome.output.contains("not refused within 200ms"), "{outcome:?}");
        let (read, client) = socket.recv_from(&mut [0; 8]).await.unwrap();
        assert_eq!(read, 0, "an empty datagram was sent");
        assert!(client.ip().is_loopback());
        let answering = tokio::spawn(async move {
            let (_, client) = socket.recv_from(&mut [0; 8]).await.unwrap();
            socket.send_to(b"x", client).await.unwrap();
        });
        // Whatever it answers, and without waiting any longer.
        let outcome = check(&address, Duration::from_secs(60)).await;
        assert_eq!((outcome.health, outcome.output.contains("answered")), (Health::Passing, true));
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn an_address_that_refuses_leaves_the_rest_of_the_time_to_the_next() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let silent = socket.local_addr().unwrap();
        let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        let refused = ask(&[free, free], later).await.expect_err("both refuse");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(ask(&[], later).await.is_err(), "there is nobody");
        assert!(!ask(&[free, silent], Instant::now() + PATIENCE).await.unwrap());
        // The one that it was sent just now.
        socket.recv_from(&mut [0; 8]).await.unwrap();
        let answering = tokio::spawn(async move {
            let (_, client) = socket.recv_from(&mut [0; 8]).await.unwrap();
            socket.send_to(b"x", client).await.unwrap();
        });
        assert!(ask(&[free, silent], later).await.unwrap());
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn a_port_that_nobody_has_is_critical() {
        let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let outcome = check(&free, Duration::from_secs(60)).await;
        assert_eq!(outcome.health, Health::Critical);
        assert!(outcome.output.contains("refused"), "{outcome:?}");
        for wrong in ["nowhere.invalid:53", "no address"] {
            assert_eq!(check(wrong, Duration::from_secs(5)).await.health, Health::Critical, "{wrong}");
        }
    }
}
