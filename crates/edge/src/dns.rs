//! The DNS server: the registry by name, as Consul serves it, over UDP and TCP.
//!
//! ```text
//! udp, tcp -> answerer -> query (reads) -> zone (name -> registry -> records, ordered by chance) -> compose (writes)
//!                                   └───> recursor (other domains)
//! ```
//!
//! Packets are read and written by the library `domain`; what is answered is decided here. Every answer about our own
//! names is made at once from the catalog in memory. The names, and what they mean, are in `zone/name.rs`.
//!
//! Where it differs from Consul on purpose:
//! - names that only others lie below (`service.consul`, `dc1.consul`) are there, without data;
//! - a namespace may be named: `web.service.team.ns.consul`;
//! - UDP answers hold as much as the client takes, not three addresses; what comes first is drawn by weight;
//! - `Connect` and ingress have no names here.

mod answerer;
pub mod bounds;
mod compose;
mod config;
pub(crate) mod fuzzing;
mod live;
mod order;
mod query;
mod record;
mod recursor;
mod stats;
mod table;
mod tcp;
mod udp;
mod zone;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use weir_control::Control;

pub use answerer::Relay;
pub use config::{DnsConfig, Domain, NotADomain, ServiceTtl, ServiceTtls, ttl_of};
pub use recursor::{Said, Target};
pub use stats::DnsStats;

use answerer::Answerer;
use bounds::{RECURSORS_MAX, SERVICE_TTLS_MAX};
use recursor::Recursors;
use udp::Socket;
use zone::Zone;

pub(crate) use zone::Prepared;

/// How often a port that is free for UDP is tried for TCP, where the system chooses it.
const BIND_TRIES_MAX: usize = 16;

/// Why a DNS server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The address cannot be bound.
    #[error("cannot listen on {address} ({transport}): {cause}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// `udp` or `tcp`.
        transport: &'static str,
        /// The system's answer.
        #[source]
        cause: io::Error,
    },
    /// A recursor is this server.
    #[error("recursor {0} is this server itself: it would ask itself for ever")]
    Itself(SocketAddr),
    /// There is more of something than there may be.
    #[error("{count} {what}, expected at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        max: usize,
    },
}

/// A bound DNS server that answers nothing yet.
#[derive(Debug)]
pub struct DnsServer {
    udp: Socket,
    tcp: TcpListener,
    address: SocketAddr,
    config: DnsConfig,
    relay: Option<Relay>,
    stats: Arc<DnsStats>,
}

/// A DNS server that runs beside.
#[derive(Clone, Debug)]
pub struct DnsBeside {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it counts.
    pub stats: Arc<DnsStats>,
}

impl DnsServer {
    /// Binds an address for UDP and TCP; port 0 takes one that is free for both.
    ///
    /// # Errors
    /// When it cannot be bound, or the settings lead nowhere.
    pub async fn bind(address: SocketAddr, config: DnsConfig) -> Result<Self, DnsError> {
        for (what, count, max) in [
            ("recursors", config.recursors.len(), RECURSORS_MAX),
            ("rules on the time to live of services", config.service_ttls.len(), SERVICE_TTLS_MAX),
        ] {
            if count > max {
                return Err(DnsError::TooMany { what, count, max });
            }
        }
        let (udp, tcp, address) = bind_both(address).await?;
        let udp = Socket::new(udp).map_err(|cause| DnsError::Bind { address, transport: "udp", cause })?;
        let of_addresses = config.recursors.iter().filter_map(|target| match target {
            Target::Address(recursor) => Some(*recursor),
            Target::Name(_) | Target::Said(_) => None,
        });
        if let Some(own) = of_addresses.into_iter().find(|recursor| is_itself(address, *recursor)) {
            return Err(DnsError::Itself(own));
        }
        let stats = DnsStats::new(&config.recursors);
        Ok(Self { udp, tcp, address, config, relay: None, stats })
    }

    /// The same, which asks the recursors for all names, the own domain's too: what an agent does, whose registry is not the
    /// whole.
    #[must_use]
    pub fn relaying(self, relay: Relay) -> Self {
        Self { relay: Some(relay), ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What others of this process may know of it.
    pub fn beside(&self) -> DnsBeside {
        DnsBeside { address: self.address, stats: Arc::clone(&self.stats) }
    }

    /// Answers until `shutdown` is ready.
    pub async fn serve(self, control: Arc<Control>, shutdown: impl Future<Output = ()>) {
        let Self { udp, tcp, address, config, relay, stats } = self;
        let recursors = Recursors::new(&config.recursors, Some(address), Arc::clone(&stats));
        let settings = control.settings();
        let own = own_address(address.ip(), &settings.node_address);
        let zone = Zone::new(config, &settings.datacenter, own);
        let answerer = Arc::new(Answerer::new(control, zone, recursors, stats).relaying(relay));
        let (stop, stopped) = watch::channel(false);
        let told = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let stopping = async {
            shutdown.await;
            stop.send_replace(true);
        };
        tokio::join!(
            stopping,
            udp::serve(udp, Arc::clone(&answerer), told(stopped.clone())),
            tcp::serve(tcp, answerer, tcp::Limits::default(), told(stopped)),
        );
    }
}

/// Sockets of both kinds on one port.
async fn bind_both(address: SocketAddr) -> Result<(UdpSocket, TcpListener, SocketAddr), DnsError> {
    let mut tries = if address.port() == 0 { BIND_TRIES_MAX } else { 1 };
    loop {
        tries -= 1;
        let failed = |transport| move |cause| DnsError::Bind { address, transport, cause };
        let udp = UdpSocket::bind(address).await.map_err(failed("udp"))?;
        let bound = udp.local_addr().map_err(failed("udp"))?;
        match TcpListener::bind(bound).await {
            Ok(tcp) => return Ok((udp, tcp, bound)),
            Err(cause) if tries == 0 => return Err(failed("tcp")(cause)),
            Err(_) => {}
        }
    }
}

/// Whether whoever asks `recursor` asks the server that listens at `own`.
fn is_itself(own: SocketAddr, recursor: SocketAddr) -> bool {
    let ip = recursor.ip().to_canonical();
    let listens = own.ip().to_canonical();
    // An address that can be bound is one of this machine.
    let is_local = || ip.is_unspecified() || StdUdpSocket::bind((ip, 0)).is_ok();
    let is_reached = listens == ip || ip.is_unspecified() || (listens.is_unspecified() && is_local());
    recursor.port() == own.port() && is_reached
}

/// The address under which the server tells of itself.
fn own_address(listens: IpAddr, node_address: &str) -> IpAddr {
    if listens.is_unspecified() { node_address.parse().unwrap_or(listens) } else { listens }
}

#[cfg(test)]
mod tests;
