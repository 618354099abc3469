//! Calls to hosts outside the mesh, and CONNECT: so that a sidecar that is an application's HTTP proxy does not cut it
//! off from the rest of the world. Neither pooled nor balanced.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_local;
use weir_model::ServiceRef;
use weir_model::resource::Protocol;

use super::{Connection, End};
use crate::attempt::{
    Carried, Dial, Exchange, Held, LocalUpstream, Outcome, Pool, Seeker, Tries, connect, reach,
};
use crate::observe::OUTSIDE;
use crate::respond::{Reason, Refusal};
use crate::runtime::{Io, Worker};
use crate::snapshot::{Settings, Upstream, UpstreamTls};

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long resolving a name may take.
const RESOLVE_MAX: Duration = Duration::from_secs(2);
/// Lookups of one worker at a time. Each holds a thread; beyond, a request is refused rather than queued.
const LOOKUPS_MAX: usize = 64;

/// A host outside the mesh.
#[derive(Debug)]
pub(crate) struct Outside {
    host: String,
    port: u16,
}

/// Where CONNECT leads.
pub(crate) enum ConnectTo {
    /// A service of the mesh.
    Service(Rc<LocalUpstream>),
    /// A host outside.
    Host {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

impl Outside {
    pub(super) fn new(host: String, port: u16) -> Self {
        Self { host, port }
    }

    /// Sends the request there: to the first address that accepts a connection.
    pub(super) async fn run(self, conn: &mut Connection, exchange: &mut Exchange) -> Outcome {
        let addrs = match resolve(&conn.worker, &self.host, self.port).await {
            Ok(addrs) => addrs,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        let mut last = Outcome::ClientGone;
        for addr in addrs {
            let local = local(&conn.worker, &self.host, addr);
            last = crate::attempt::run(conn, exchange, &local).await;
            match &last {
                Outcome::Refused(refusal) if refusal.reason == Reason::ConnectFailed => {}
                _ => return last,
            }
            exchange.reset_attempt(&conn.worker.buffers);
        }
        last
    }
}

/// An upstream of one address that is forgotten after the request.
fn local(worker: &Worker, host: &str, addr: SocketAddr) -> Rc<LocalUpstream> {
    let timeouts = &worker.config().timeouts;
    let settings = Settings {
        connect_timeout: timeouts.connect,
        request_timeout: (!timeouts.request.is_zero()).then_some(timeouts.request),
        // The name's other addresses are tried instead.
        retries: 0,
        ..Settings::default()
    };
    let upstream = Upstream::fixed(ServiceRef::new("outside", host), Protocol::Http, settings, addr);
    let pool = Rc::new(Pool::new(0, worker.counters.clone(), UpstreamTls::Plain));
    let counters = worker.counters.service(&OUTSIDE.into());
    LocalUpstream::new(
        Arc::new(upstream),
        vec![pool],
        Box::default(),
        Carried::new(1),
        counters,
        &mut *worker.rng.borrow_mut(),
    )
}

async fn resolve(worker: &Worker, host: &str, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let refuse = |why: String| {
        let message =
            format!("{host:?} is no service of the mesh that is known here, and cannot be resolved: {why}");
        Refusal::new(Reason::ResolveFailed, message)
    };
    let Some(lookup) = worker.lookups.begin() else {
        return Err(Refusal::new(Reason::Overloaded, "too many host names are being resolved"));
    };
    let name = host.to_owned();
    // A task of its own: a lookup holds a thread until the resolver gives up, however long anybody waits for it.
    let found = spawn_local(async move {
        let found = tokio::net::lookup_host((name, port)).await;
        drop(lookup);
        found.map(|addrs| addrs.take(ADDRESSES_MAX).collect::<Vec<_>>())
    });
    match tokio::time::timeout(RESOLVE_MAX, found).await {
        Ok(Ok(Ok(addrs))) if !addrs.is_empty() => Ok(addrs),
        Ok(Ok(Ok(_))) => Err(refuse("it has no address".to_owned())),
        Ok(Ok(Err(fault))) => Err(refuse(fault.to_string())),
        Ok(Err(_)) | Err(_) => Err(refuse("it took too long".to_owned())),
    }
}

/// Counts the lookups of one worker that are under way.
#[derive(Debug, Default)]
pub(crate) struct Lookups(Rc<Cell<usize>>);

/// A lookup that is under way.
struct Lookup(Rc<Cell<usize>>);

impl Lookups {
    /// Counts one more, if there may be one more.
    fn begin(&self) -> Option<Lookup> {
        let under_way = self.0.get();
        (under_way < LOOKUPS_MAX).then(|| {
            self.0.set(under_way + 1);
            Lookup(self.0.clone())
        })
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl ConnectTo {
    /// Opens the tunnel and lives in it. Gives whether the connection can carry another request.
    pub(super) async fn run(self, conn: &mut Connection, mut exchange: Box<Exchange>) -> bool {
        let (upstream, held) = match self.open(conn, &mut exchange).await {
            Ok(opened) => opened,
            Err(refusal) => return conn.answer(exchange, &refusal).await,
        };
        exchange.status = 200;
        conn.observe(&mut exchange, End::Forwarded);
        let ahead = conn.carry.take();
        conn.worker.give_exchange(exchange);
        conn.timer.arm(conn.listener.bounds().body);
        if conn.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await {
            conn.tunnel(upstream, held, ahead).await;
        }
        false
    }

    async fn open(&self, conn: &Connection, exchange: &mut Exchange) -> Result<(Io, Option<Held>), Refusal> {
        match self {
            Self::Service(local) => {
                let seeker = Seeker {
                    worker: &conn.worker,
                    timer: &conn.timer,
                    client: conn.peer_addr().ip(),
                    addresses: conn.addresses(),
                    encrypted: true,
                    here: conn.client.local_addr(),
                };
                let mut tries = Tries::default();
                let reached = reach(local, &seeker, &mut tries).await;
                if let Some(notes) = &mut exchange.notes {
                    notes.endpoint = tries.endpoint;
                    notes.attempts = tries.attempts;
                }
                reached.map(|reached| (reached.io, Some(reached.held)))
            }
            Self::Host { host, port } => {
                let mut why = io::Error::from(io::ErrorKind::TimedOut);
                for addr in resolve(&conn.worker, host, *port).await? {
                    let deadline = conn.worker.timers.after(conn.worker.config().timeouts.connect);
                    match connect(Dial::plain(addr), deadline, &conn.timer).await {
                        Ok(upstream) => return not_a_loop(conn, upstream, addr).map(|io| (io, None)),
                        Err(crate::attempt::ConnectFault::Failed(fault)) => why = fault,
                        Err(_) => {}
                    }
                }
                Err(Refusal::new(Reason::ConnectFailed, format!("no connection to {host}:{port}: {why}")))
            }
        }
    }
}

fn not_a_loop(conn: &Connection, upstream: Io, addr: SocketAddr) -> Result<Io, Refusal> {
    if conn.is_loop(&upstream, addr) {
        return Err(Refusal::new(Reason::Loop, "the tunnel would lead back to this very listener"));
    }
    Ok(upstream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_are_bounded_and_counted_out() {
        let lookups = Lookups::default();
        let mut under_way: Vec<_> = std::iter::from_fn(|| lookups.begin()).take(LOOKUPS_MAX + 1).collect();
        assert_eq!(under_way.len(), LOOKUPS_MAX);
        under_way.pop();
        assert!(lookups.begin().is_some(), "one has ended");
        under_way.clear();
        assert_eq!(lookups.0.get(), 0);
    }
}
