//! A control plane in this process: store, domain, HTTP APIs, mesh, prober, put together.
//!
//! ```text
//! addresses allowed -> bind -> open the store -> load the catalog -> apply the documents given -> serve
//! ```
//!
//! Binding comes first because it is what most often fails, and then nothing has been touched.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use weir_control::{Control, Replica, Settings};
use weir_edge::consul::ConsulApi;
use weir_edge::dns::{DnsError, DnsServer};
use weir_edge::http::{Router, Server, ServerConfig as HttpConfig};
use weir_edge::mesh::{Mesh, MeshListener};
use weir_edge::native::{NativeApi, apply_sources};
use weir_store::{Embedded, Etcd, EtcdAddress, EtcdOptions, Memory, Options, Store};

use crate::cli::dns::DnsListen;
use crate::config::ServerConfig;
use crate::exit::{Exit, Failure};
use crate::{loopback, sources};

/// The store's file in the data directory.
const STORE_FILE: &str = "store.redb";

/// How long a server that starts waits for its etcd, which may be starting as well.
const ETCD_WAIT_MAX: Duration = Duration::from_secs(15);
/// Between two tries.
const ETCD_PAUSE: Duration = Duration::from_millis(500);

/// A running control plane.
pub(crate) struct ControlPlane {
    /// Where the HTTP APIs are served.
    pub http: SocketAddr,
    /// Where proxies connect.
    pub grpc: SocketAddr,
    /// Where DNS is served, if it is.
    pub dns: Option<SocketAddr>,
    /// The domain.
    pub control: Arc<Control>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl ControlPlane {
    /// Starts one. It serves when this returns.
    ///
    /// # Errors
    /// When an address or the data directory cannot be used, or a document is wrong; each with what to try.
    pub(crate) async fn start(config: &ServerConfig) -> Result<Self, Failure> {
        loopback::check("--http", config.http.0, config.insecure)?;
        loopback::check("--grpc", config.grpc.0, config.insecure)?;
        if let DnsListen::At(dns) = config.dns.listen {
            loopback::check("--dns", dns.0, config.insecure)?;
        }
        let documents = sources::read(&config.files)?;
        let server = Server::bind(config.http.0, HttpConfig::default()).await.map_err(
            |weir_edge::http::ServerError::Bind { address, cause }| cannot_bind("--http", address, &cause),
        )?;
        let server = server.allow_hosts(config.allowed_hosts.iter().cloned().chain([crate::host_name()]));
        let listener = MeshListener::bind(config.grpc.0)
            .await
            .map_err(|error| cannot_bind("--grpc", error.address, &error.cause))?;
        let dns = bind_dns(config).await?;
        let store = match &config.store {
            Some(address) => open_etcd(address).await?,
            None => open_store(config.data_dir.as_deref()).await?,
        };
        let settings = Settings {
            datacenter: config.datacenter.clone(),
            node_name: config.node_name.clone(),
            node_address: node_address(server.address()),
            replica: match &config.store {
                Some(etcd) => Some(replica(config, etcd, server.address(), listener.address()).await?),
                None => None,
            },
            ..Settings::default()
        };
        let control = Control::start(store, settings).await.map_err(|error| {
            let differs = matches!(error, weir_control::Error::Refused { .. });
            let failure = Failure::new(Exit::CannotStart, format!("cannot start the control plane: {error}"));
            if differs { failure.hint("give it the same, or another ?prefix= of the store") } else { failure }
        })?;
        if !documents.is_empty() {
            apply_at_start(&control, &documents).await?;
        }
        let (stop, stopped) = watch::channel(false);
        let mut plane = Self {
            http: server.address(),
            grpc: listener.address(),
            dns: dns.as_ref().map(DnsServer::address),
            control,
            stop,
            tasks: JoinSet::new(),
        };
        plane.serve(server, listener, dns, &stopped, &config.node_name);
        let dns = plane.dns.map_or_else(|| "off".to_owned(), |address| address.to_string());
        tracing::info!(http = %plane.http, grpc = %plane.grpc, dns, position = %plane.control.position(), "serving");
        Ok(plane)
    }

    fn serve(
        &mut self,
        server: Server,
        listener: MeshListener,
        dns: Option<DnsServer>,
        stopped: &watch::Receiver<bool>,
        replica: &str,
    ) {
        let mesh = Mesh::new(Arc::clone(&self.control), replica);
        let mut router = Router::new();
        ConsulApi::new(Arc::clone(&self.control)).mount(&mut router);
        let dns_stats = dns.as_ref().map(DnsServer::stats);
        NativeApi::with_dns(Arc::clone(&self.control), mesh.clone(), dns_stats).mount(&mut router);
        if let Some(dns) = dns {
            self.tasks.spawn(dns.serve(Arc::clone(&self.control), told(stopped.clone())));
        }
        self.tasks.spawn(server.serve(Arc::new(router), told(stopped.clone())));
        self.tasks.spawn(listener.serve(mesh, told(stopped.clone())));
        self.tasks.spawn(weir_edge::replicas::run(Arc::clone(&self.control), told(stopped.clone())));
        self.tasks.spawn(weir_edge::prober::run(Arc::clone(&self.control), told(stopped.clone())));
    }

    /// Stops serving, lets requests under way finish, and closes the store.
    pub(crate) async fn stop(mut self) {
        // First, so that the others take over while requests under way finish.
        self.control.leave().await;
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Returns when the control plane is told to stop.
async fn told(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// The address under which this server's own node is known: the one it listens on, or loopback where it listens on
/// all of them.
fn node_address(http: SocketAddr) -> String {
    let ip = http.ip();
    if ip.is_unspecified() { "127.0.0.1".to_owned() } else { ip.to_string() }
}

/// What the other replicas are told of this one.
async fn replica(
    config: &ServerConfig,
    etcd: &EtcdAddress,
    http: SocketAddr,
    grpc: SocketAddr,
) -> Result<Replica, Failure> {
    let host = match config.advertise {
        Some(ip) => ip,
        None if !http.ip().is_unspecified() => http.ip(),
        None => facing(etcd).await.ok_or_else(|| {
            let message =
                "no address is known under which other replicas reach this one: it listens on all of them";
            Failure::new(Exit::CannotStart, message).hint("name one with --advertise IP")
        })?,
    };
    Ok(Replica {
        id: format!("{}-{:016x}", config.node_name, rand::random::<u64>()),
        http: SocketAddr::new(host, http.port()).to_string(),
        grpc: SocketAddr::new(host, grpc.port()).to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        datacenter: config.datacenter.clone(),
        node: config.node_name.clone(),
    })
}

/// The address from which this machine reaches etcd. Nothing is sent to find out.
async fn facing(etcd: &EtcdAddress) -> Option<IpAddr> {
    for member in etcd.members() {
        let Ok(socket) = tokio::net::UdpSocket::bind("[::]:0").await else { return None };
        if socket.connect(member).await.is_ok()
            && let Ok(own) = socket.local_addr()
        {
            return Some(own.ip().to_canonical());
        }
    }
    None
}

async fn apply_at_start(
    control: &Control,
    documents: &[weir_api::native::SourceText],
) -> Result<(), Failure> {
    let applied = apply_sources(control, documents, "start").await.map_err(|problems| {
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Failure::new(Exit::Invalid, text).hint("mend the documents given with -f; nothing was changed")
    })?;
    for ignored in &applied.ignored {
        tracing::warn!(path = %ignored.path, source = ?ignored.source, line = ?ignored.line, "has no meaning here, ignored");
    }
    tracing::info!(documents = applied.changes.len(), position = %applied.position, "documents applied");
    Ok(())
}

async fn open_etcd(address: &EtcdAddress) -> Result<Arc<dyn Store>, Failure> {
    weir_store::check_address(address)
        .map_err(|error| Failure::new(Exit::CannotStart, format!("cannot use etcd as the store: {error}")))?;
    let began = Instant::now();
    loop {
        let error = match Etcd::open(address, EtcdOptions::default()).await {
            Ok(store) => return Ok(Arc::new(store)),
            Err(error) => error,
        };
        if began.elapsed() < ETCD_WAIT_MAX && matches!(error, weir_store::Error::Open { .. }) {
            tracing::warn!(%error, "trying again");
            tokio::time::sleep(ETCD_PAUSE).await;
            continue;
        }
        return Err(Failure::new(Exit::CannotStart, format!("cannot use etcd as the store: {error}"))
            .hint("is etcd there? `etcdctl --endpoints HOST:PORT endpoint health` tells; see docs/etcd.md"));
    }
}

async fn open_store(data_dir: Option<&Path>) -> Result<Arc<dyn Store>, Failure> {
    let Some(dir) = data_dir else { return Ok(Arc::new(Memory::new())) };
    let shown = dir.display().to_string();
    if dir.exists() && !dir.is_dir() {
        let message = format!("cannot use the data directory {shown}: it is a file, expected a directory");
        return Err(Failure::new(Exit::CannotStart, message)
            .hint("name a directory with --data-dir; it is created if it is not there"));
    }
    let failed = |error: &io::Error| {
        Failure::new(Exit::CannotStart, format!("cannot use the data directory {shown}: {error}"))
            .hint("name a directory that this user may create or write to with --data-dir")
    };
    // What is kept is for this user alone.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| failed(&error))?;
    let file = dir.join(STORE_FILE);
    // Opening recovers what a crash left behind, which may take a moment.
    let opened = tokio::task::spawn_blocking(move || Embedded::open(file, Options::default())).await;
    match opened {
        Ok(Ok(store)) => Ok(Arc::new(store)),
        Ok(Err(weir_store::Error::InUse { .. })) => Err(Failure::new(
            Exit::CannotStart,
            format!("the data directory {shown} is in use by another weir server"),
        )
        .hint("stop that one first, or give this one its own --data-dir")),
        Ok(Err(error)) => {
            Err(Failure::new(Exit::CannotStart, format!("cannot open the data directory {shown}: {error}")))
        }
        Err(error) => Err(Failure::new(Exit::CannotStart, format!("opening {shown} broke off: {error}"))),
    }
}

async fn bind_dns(config: &ServerConfig) -> Result<Option<DnsServer>, Failure> {
    let DnsListen::At(address) = config.dns.listen else { return Ok(None) };
    DnsServer::bind(address.0, config.dns.config()).await.map(Some).map_err(|error| match error {
        DnsError::Bind { address, ref cause, .. } => {
            let failure = cannot_bind("--dns, where DNS is served", address, cause);
            if cause.kind() == io::ErrorKind::AddrInUse {
                return failure.hint(format!(
                    "if another weir of this machine has DNS there, give this one an address of its own \
                     (--dns 127.0.0.1:{}) or none (--dns off); `ss -lntup 'sport = :{}'` shows who listens",
                    address.port().wrapping_add(100),
                    address.port()
                ));
            }
            let hint = failure.hint.clone().unwrap_or_default();
            failure.hint(format!("{hint}{}--dns off serves none", if hint.is_empty() { "" } else { "; " }))
        }
        DnsError::Itself(_) => Failure::new(Exit::Usage, format!("--dns-recursor: {error}")).hint(
            "name the servers that this machine asks, as in /etc/resolv.conf, unless they ask this one",
        ),
        DnsError::TooMany { .. } => Failure::new(Exit::Usage, format!("dns: {error}")),
    })
}

fn cannot_bind(flag: &str, address: SocketAddr, cause: &io::Error) -> Failure {
    let failure = Failure::new(Exit::CannotStart, format!("cannot listen on {address} ({flag}): {cause}"));
    match cause.kind() {
        io::ErrorKind::AddrInUse => failure.hint(format!(
            "is a weir running already? Stop it, or choose another address with {flag}; \
             `ss -lntup 'sport = :{}'` shows who listens there",
            address.port()
        )),
        io::ErrorKind::PermissionDenied => {
            failure.hint("ports below 1024 need a privilege; choose a higher one")
        }
        io::ErrorKind::AddrNotAvailable => {
            failure.hint("this machine has no such address; `ip address` lists those it has")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests;
