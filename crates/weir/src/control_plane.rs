//! A control plane in this process: store, domain, HTTP APIs, mesh, prober, put together.
//!
//! ```text
//! addresses allowed -> read files -> bind -> open the store -> load the catalog -> apply the documents given -> serve
//! ```
//!
//! Files are read and addresses bound first, because that is what most often fails, and then nothing has been touched.

mod etcd_hint;
mod stores;
mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{ToSocketAddrs, UdpSocket, lookup_host};
use tokio::sync::watch;
use tokio::task::JoinSet;
use weir_api::native::SourceText;
use weir_control::{Control, Replica, Settings};
use weir_edge::consul::ConsulApi;
use weir_edge::dns::{DnsError, DnsServer};
use weir_edge::http::{Router, Server};
use weir_edge::mesh::{Mesh, MeshListener};
use weir_edge::native::{NativeApi, apply_sources};
use weir_edge::prober::Prober;
use weir_edge::replicas::Peers;
use weir_store::EtcdAddress;
use weir_tls::{Acceptor, Connectors};

use crate::cli::dns::DnsListen;
use crate::config::{AsConsul, ServerConfig};
use crate::definitions::{self, Definer, Scripts};
use crate::exit::{Exit, Failure};
use crate::leave::Leave;
use crate::{listener, loopback, sources};

use stores::open_etcd;
pub(crate) use stores::open_store;
pub(crate) use stores::{STORE_FILE, create_data_dir, mend, role_in};
use tls::Tls;

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
    consul: Arc<ConsulApi>,
    definer: Arc<Definer>,
    leave: Leave,
    /// It is told to leave and to define anew as Consul is.
    obeys: bool,
    stop: watch::Sender<bool>,
    acceptors: Vec<Acceptor>,
    tasks: JoinSet<()>,
}

impl ControlPlane {
    /// Starts one. It serves when this returns.
    ///
    /// # Errors
    /// When an address or the data directory cannot be used, or a document is wrong; each with what to try.
    pub(crate) async fn start(config: &ServerConfig) -> Result<Self, Failure> {
        let http = config.http_listens();
        http.iter().try_for_each(|listen| listen.check(config.insecure))?;
        loopback::check_http("--grpc", config.grpc.0, config.insecure, config.tls.as_ref())?;
        if let DnsListen::At(dns) = config.dns.listen {
            loopback::check_dns(dns.0, config.insecure || config.dns.insecure)?;
        }
        let tls = Tls::load(config)?;
        let documents = sources::read(&config.files)?;
        definitions::read(&config.as_consul.definitions, config.as_consul.scripts)?;
        let (servers, mut acceptors) = listener::bind(&http, &config.allowed_hosts).await?;
        let http = servers[0].address();
        acceptors.extend(tls.grpc.clone());
        let listener = MeshListener::bind(config.grpc.0)
            .await
            .map_err(|error| cannot_bind("--grpc", error.address, &error.cause))?
            .tls(tls.grpc.clone());
        let dns = bind_dns(config).await?;
        let store = match &config.store {
            Some(address) => open_etcd(address).await?,
            None => open_store(config.data_dir.as_deref()).await?,
        };
        let settings = Settings {
            datacenter: config.datacenter.clone(),
            domains: config.dns.domains(),
            node_name: config.node_name.clone(),
            node_address: config
                .as_consul
                .address
                .map_or_else(|| node_address(http), |address| address.to_string()),
            replica: match &config.store {
                Some(etcd) => Some(replica(config, etcd, http, listener.address()).await?),
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
            leaving(&control, apply_at_start(&control, &documents).await).await?;
        }
        let AsConsul { definitions, scripts, obeys, .. } = &config.as_consul;
        let consul = ConsulApi::new(Arc::clone(&control), *scripts == Scripts::On);
        let data_dir = config.data_dir.clone();
        let shared = (Arc::clone(&control), Arc::clone(&consul));
        let definer = Arc::new(Definer::new(definitions.clone(), *scripts, data_dir, shared.0, shared.1));
        leaving(&control, definer.define().await).await?;
        let mut prober = Prober::new(Arc::clone(&control));
        if *scripts != Scripts::Off {
            prober = prober.with_scripts();
        }
        let (stop, stopped) = watch::channel(false);
        let mut plane = Self {
            http,
            grpc: listener.address(),
            dns: dns.as_ref().map(DnsServer::address),
            control,
            consul,
            definer,
            leave: Leave::default(),
            obeys: *obeys,
            stop,
            acceptors,
            tasks: JoinSet::new(),
        };
        plane.follow(&stopped);
        plane.follow_restores(documents, &stopped);
        let mut router = Router::new();
        plane.consul.mount(&mut router);
        if plane.obeys {
            plane.leave.mount(&mut router, || std::future::ready(Ok(())));
            plane.definer.mount(&mut router);
        }
        plane.serve(servers, router, listener, dns, tls.replicas, &stopped);
        plane.tasks.spawn(prober.run(told(stopped)));
        let dns = plane.dns.map_or_else(|| "off".to_owned(), |address| address.to_string());
        tracing::info!(http = %plane.http, grpc = %plane.grpc, dns, position = %plane.control.position(), "serving");
        Ok(plane)
    }

    /// Has the files of listeners read again when they change.
    fn follow(&mut self, stopped: &watch::Receiver<bool>) {
        for acceptor in self.acceptors.clone() {
            self.tasks.spawn(acceptor.follow(told(stopped.clone())));
        }
    }

    /// Has what was given to this server, documents and definitions, in force again after everything was replaced.
    fn follow_restores(&mut self, documents: Vec<SourceText>, stopped: &watch::Receiver<bool>) {
        let (control, definer) = (Arc::clone(&self.control), Arc::clone(&self.definer));
        let (restores, stopped) = (control.restores(), told(stopped.clone()));
        self.tasks.spawn(async move {
            tokio::select! {
                () = define_after_restores(&control, &definer, &documents, restores) => {}
                () = stopped => {}
            }
        });
    }

    /// What is to be done at once when it is told to read anew what it can: the files of TLS.
    pub(crate) fn reload(&self) -> impl Fn() + Send + 'static {
        let (acceptors, obeys) = (self.acceptors.clone(), self.obeys);
        move || {
            if acceptors.is_empty() && !obeys {
                tracing::info!("SIGHUP: nothing to do; the configuration is read at start only");
            }
            acceptors.iter().for_each(Acceptor::reload);
        }
    }

    fn serve(
        &mut self,
        servers: Vec<Server>,
        mut router: Router,
        listener: MeshListener,
        dns: Option<DnsServer>,
        replicas: Option<Arc<Connectors>>,
        stopped: &watch::Receiver<bool>,
    ) {
        let replica = self.control.settings().node_name.clone();
        let mesh = Mesh::beside(&self.consul, replica, replicas.clone());
        let beside = dns.as_ref().map(DnsServer::beside);
        let peers = Peers::new(Arc::clone(&self.control), replicas.clone());
        NativeApi::with(Arc::clone(&self.control), mesh.clone(), peers, beside).mount(&mut router);
        if let Some(dns) = dns {
            self.tasks.spawn(dns.serve(Arc::clone(&self.control), told(stopped.clone())));
        }
        let router = Arc::new(router);
        for server in servers {
            self.tasks.spawn(server.serve(Arc::clone(&router), told(stopped.clone())));
        }
        self.tasks.spawn(listener.serve(mesh, told(stopped.clone())));
        self.tasks.spawn(weir_edge::replicas::run(
            Arc::clone(&self.control),
            replicas,
            told(stopped.clone()),
        ));
    }

    /// What registers what files define.
    pub(crate) fn definer(&self) -> Arc<Definer> {
        Arc::clone(&self.definer)
    }

    /// Returns when somebody asks the server to leave, where that is allowed.
    pub(crate) async fn left(&self) {
        self.leave.asked().await;
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
pub(crate) async fn told(mut stopped: watch::Receiver<bool>) {
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
        http: format!(
            "{}{}",
            if config.tls.is_some() { "https://" } else { "" },
            SocketAddr::new(host, http.port())
        ),
        grpc: SocketAddr::new(host, grpc.port()).to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        datacenter: config.datacenter.clone(),
        node: config.node_name.clone(),
    })
}

/// The address from which this machine reaches etcd. Nothing is sent to find out.
async fn facing(etcd: &EtcdAddress) -> Option<IpAddr> {
    for member in etcd.members() {
        if let Some(ip) = address_towards(member).await {
            return Some(ip);
        }
    }
    None
}

/// The address from which this machine reaches another. Nothing is sent to find out.
pub(crate) async fn address_towards(target: impl ToSocketAddrs) -> Option<IpAddr> {
    for found in lookup_host(target).await.ok()? {
        let found = SocketAddr::new(found.ip().to_canonical(), found.port());
        // A machine may have no IPv6; one that has reaches everything from there.
        for any in [SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), (Ipv4Addr::UNSPECIFIED, 0).into()] {
            let Ok(socket) = UdpSocket::bind(any).await else { continue };
            if socket.connect(found).await.is_ok()
                && let Ok(own) = socket.local_addr()
                && !own.ip().to_canonical().is_unspecified()
            {
                return Some(own.ip().to_canonical());
            }
        }
    }
    None
}

/// Of what failed, no other replica is left to believe that this one is there.
async fn leaving<T>(control: &Control, done: Result<T, Failure>) -> Result<T, Failure> {
    if done.is_err() {
        control.leave().await;
    }
    done
}

/// Defines anew, after each restore, what was given to this server.
pub(crate) async fn define_after_restores(
    control: &Control,
    definer: &Definer,
    documents: &[SourceText],
    mut restores: watch::Receiver<u64>,
) {
    while restores.changed().await.is_ok() {
        let applied = if documents.is_empty() { Ok(()) } else { apply_at_start(control, documents).await };
        for done in [applied, definer.define().await] {
            if let Err(Failure { message: error, .. }) = done {
                tracing::error!(error, "after a restore: what was given to this server is not in force");
            }
        }
    }
}

async fn apply_at_start(control: &Control, documents: &[SourceText]) -> Result<(), Failure> {
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

async fn bind_dns(config: &ServerConfig) -> Result<Option<DnsServer>, Failure> {
    let DnsListen::At(address) = config.dns.listen else { return Ok(None) };
    DnsServer::bind(address.0, config.dns.config()).await.map(Some).map_err(|error| cannot_serve_dns(&error))
}

pub(crate) fn cannot_serve_dns(error: &DnsError) -> Failure {
    match error {
        DnsError::Bind { address, cause, .. } => {
            let failure = cannot_bind("--dns, where DNS is served", *address, cause);
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
    }
}

pub(crate) fn cannot_bind(flag: &str, address: SocketAddr, cause: &io::Error) -> Failure {
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
