//! A host's agent in this process: local registry, Consul's agent API over it, checks, and what ties it to the servers.
//!
//! ```text
//! addresses allowed -> read what files define -> bind -> open the local store -> own node -> register that -> serve
//! ```

mod boot;
mod identity;
mod renamed;

pub(crate) use identity::FILE as NODE_ID_FILE;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use weir_agent::{AntiEntropy, AskServers, Forward, Servers, Status, Unwelcome, mount_operate};
use weir_control::{Control, Settings};
use weir_edge::consul::ConsulApi;
use weir_edge::dns::{DnsConfig, DnsServer, Relay, Target};
use weir_edge::http::{Router, Server};
use weir_edge::prober::Prober;
use weir_model::registry::Node;
use weir_store::Store;
use weir_tls::Acceptor;

use crate::agent_config::AgentConfig;
use crate::cli::dns::DnsListen;
use crate::control_plane::{address_towards, cannot_serve_dns, open_store, told};
use crate::definitions::{self, Definer, Scripts};
use crate::exit::{Exit, Failure};
use crate::leave::Leave;
use crate::listener::{self, HttpListen};
use crate::loopback;

/// A running agent.
pub(crate) struct HostAgent {
    anti_entropy: Arc<AntiEntropy>,
    definer: Arc<Definer>,
    leave: Leave,
    stop: watch::Sender<bool>,
    acceptors: Vec<Acceptor>,
    tasks: JoinSet<()>,
}

impl HostAgent {
    /// Starts one. It serves when this returns, whether servers answer or not.
    ///
    /// # Errors
    /// When an address or the data directory cannot be used, or a definition is wrong; each with what to try.
    pub(crate) async fn start(config: &AgentConfig) -> Result<Self, Failure> {
        config.http.iter().try_for_each(|listen| listen.check(config.insecure))?;
        if let DnsListen::At(dns) = config.dns {
            loopback::check_dns(dns.0, config.insecure || config.dns_insecure)?;
        }
        definitions::read(&config.definitions, config.scripts)?;
        let (listening, acceptors) = listener::bind(&config.http, &config.allowed_hosts).await?;
        let servers = servers(config);
        let dns = bind_dns(config, &servers).await?;
        // Before anything is written to what may be another's.
        let store = open_store(config.data_dir.as_deref()).await?;
        let id = identity::load(config.data_dir.as_deref())?;
        let control = open_registry(config, store, &id).await?;
        boot::doubt_if_another(config.data_dir.as_deref(), &control).await?;
        let api = ConsulApi::of_agent(Arc::clone(&control), config.scripts == Scripts::On);
        let (data_dir, source) = (config.data_dir.clone(), config.definitions.clone());
        let shared = (Arc::clone(&control), Arc::clone(&api));
        let definer = Definer::new(source, config.scripts, data_dir, shared.0, shared.1);
        definer.define().await?;
        let mut agent = Self::assemble(servers, &control, definer, id);
        agent.acceptors = acceptors;
        agent.serve(config, listening, dns, &control, &api);
        Ok(agent)
    }

    fn assemble(servers: Arc<Servers>, control: &Arc<Control>, definer: Definer, id: String) -> Self {
        let status = Arc::new(Status::default());
        let anti_entropy = Arc::new(AntiEntropy::new(Arc::clone(control), servers, status, id));
        Self {
            anti_entropy,
            definer: Arc::new(definer),
            leave: Leave::default(),
            stop: watch::Sender::new(false),
            acceptors: Vec::new(),
            tasks: JoinSet::new(),
        }
    }

    fn serve(
        &mut self,
        config: &AgentConfig,
        listening: Vec<Server>,
        dns: Option<DnsServer>,
        control: &Arc<Control>,
        api: &Arc<ConsulApi>,
    ) {
        let (servers, status) = (self.anti_entropy.servers(), self.anti_entropy.status());
        let mut router = Router::new();
        api.mount_of_agent(&mut router);
        let forward =
            Forward::new(Arc::clone(servers), Arc::clone(status), control.settings().node_name.clone());
        forward.mount(&mut router, api.members());
        mount_operate(&mut router, control, servers, status);
        let leaving = Arc::clone(&self.anti_entropy);
        self.leave.mount(&mut router, move || deregister(Arc::clone(&leaving)));
        self.definer.mount(&mut router);
        let shown_dns = dns.as_ref().map_or_else(|| "off".to_owned(), |dns| dns.address().to_string());
        tracing::info!(
            http = %shown(config, &listening),
            dns = shown_dns,
            node = control.settings().node_name,
            address = control.settings().node_address,
            servers = config.servers.len(),
            "the agent is serving"
        );
        let stopped = || told(self.stop.subscribe());
        if let Some(dns) = dns {
            let dns = dns.relaying(Relay::while_it(may_ask(status)));
            self.tasks.spawn(dns.serve(Arc::clone(control), stopped()));
        }
        let mut prober = Prober::new(Arc::clone(control))
            .with_elsewhere(Arc::new(AskServers::new(Arc::clone(servers))))
            .soon();
        if config.scripts != Scripts::Off {
            prober = prober.with_scripts();
        }
        self.tasks.spawn(prober.run(stopped()));
        self.tasks.spawn(Arc::clone(&self.anti_entropy).run(stopped()));
        for acceptor in self.acceptors.clone() {
            self.tasks.spawn(acceptor.follow(stopped()));
        }
        let router = Arc::new(router);
        for server in listening {
            self.tasks.spawn(server.serve(Arc::clone(&router), stopped()));
        }
    }

    /// What is to be done at once when it is told to read anew what it can: the files of TLS.
    pub(crate) fn reload(&self) -> impl Fn() + Send + 'static {
        let acceptors = self.acceptors.clone();
        move || acceptors.iter().for_each(Acceptor::reload)
    }

    /// What registers what files define.
    pub(crate) fn definer(&self) -> Arc<Definer> {
        Arc::clone(&self.definer)
    }

    /// Returns when somebody asks the agent to leave.
    pub(crate) async fn left(&self) {
        self.leave.asked().await;
    }

    /// Stops serving. The servers wait for the agent to come back, unless it `leaves`.
    ///
    /// # Errors
    /// When it was to leave, and no server has heard that.
    pub(crate) async fn stop(mut self, leaves: bool) -> Result<(), Failure> {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        if !leaves {
            return Ok(());
        }
        deregister(self.anti_entropy).await.map_err(|reason| Failure::new(Exit::Unreachable, reason))
    }
}

/// Where it is asked, for people.
fn shown(config: &AgentConfig, listening: &[Server]) -> String {
    let shown = |(server, listen): (&Server, &HttpListen)| {
        format!("{}{}", if listen.tls.is_some() { "https://" } else { "" }, server.address())
    };
    listening.iter().zip(&config.http).map(shown).collect::<Vec<_>>().join(",")
}

/// Deregisters the node at the servers.
async fn deregister(anti_entropy: Arc<AntiEntropy>) -> Result<(), String> {
    anti_entropy.leave().await.map_err(|error| {
        let message = format!(
            "the agent ends, but its node is still registered: {error}; it is critical within 10 s and deregistered after \
             72 h, or at once by PUT /v1/catalog/deregister at a server"
        );
        tracing::error!("{message}");
        message
    })
}

/// Whether the servers may be asked for others: what those of another datacenter know is not told as if it were of this one.
fn may_ask(status: &Arc<Status>) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
    let status = Arc::clone(status);
    move || match status.unwelcome() {
        Some(Unwelcome { reason, is_elsewhere: true }) => Err(reason),
        _ => Ok(()),
    }
}

/// The servers, of which any may be asked first.
fn servers(config: &AgentConfig) -> Arc<Servers> {
    let first = rand::random_range(0..config.servers.len().max(1));
    let servers = Servers::new(config.servers.clone(), first);
    Arc::new(match &config.tls {
        Some(connectors) => servers.tls(connectors),
        None => servers,
    })
}

async fn bind_dns(config: &AgentConfig, servers: &Servers) -> Result<Option<DnsServer>, Failure> {
    let DnsListen::At(address) = config.dns else { return Ok(None) };
    let target = |name: String| name.parse().map_or(Target::Name(name), Target::Address);
    let mut recursors = match &*config.server_dns {
        [] => servers.dns().targets(),
        named => named.iter().cloned().map(target).collect(),
    };
    recursors.truncate(weir_edge::dns::bounds::RECURSORS_MAX);
    recursors.retain(|recursor| *recursor != Target::Address(address.0));
    let settings = DnsConfig { recursors, ..DnsConfig::default() };
    DnsServer::bind(address.0, settings).await.map(Some).map_err(|error| cannot_serve_dns(&error))
}

/// The registry of this host, with its one node.
async fn open_registry(
    config: &AgentConfig,
    store: Arc<dyn Store>,
    id: &str,
) -> Result<Arc<Control>, Failure> {
    let failed = |error: weir_control::Error| {
        Failure::new(Exit::CannotStart, format!("cannot start the agent: {error}"))
    };
    let address = match config.address {
        Some(address) => address.to_string(),
        None => facing(config).await,
    };
    let settings = Settings {
        datacenter: config.datacenter.clone(),
        node_name: config.node_name.clone(),
        node_address: address.clone(),
        is_server: false,
        ..Settings::default()
    };
    let control = Control::start(store, settings).await.map_err(failed)?;
    let node = Node {
        name: config.node_name.clone(),
        id: id.to_owned(),
        address,
        metadata: config.node_meta.clone(),
        ..Node::default()
    };
    // Before the id is the new name's: then the former one is gone, with all that is on it.
    renamed::move_here(&control).await.map_err(failed)?;
    control.register_node(node).await.map_err(failed)?;
    Ok(control)
}

/// The address from which this host reaches its servers; loopback where there is none.
async fn facing(config: &AgentConfig) -> String {
    for server in &config.servers {
        if let Some(ip) = address_towards((server.host.as_str(), server.port)).await {
            return ip.to_string();
        }
    }
    if !config.servers.is_empty() {
        tracing::warn!("no way to a server is known: the node has 127.0.0.1; --address names another");
    }
    "127.0.0.1".to_owned()
}
