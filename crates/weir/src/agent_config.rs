//! What an agent runs with, whoever says it: the flags of `weir agent`, or Consul's flags and files.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use weir_api::client::{HTTP_PROTOCOL, Scheme, ServerUrl};
use weir_model::registry::Node;
use weir_model::validate::validate_node;
use weir_tls::{Connectors, Names, ServerFiles};

use crate::cli::ListenAddress;
use crate::cli::agent::AgentArgs;
use crate::cli::dns::DnsListen;
use crate::cli::operator::ServerTlsArgs;
use crate::cli::roles::LogArgs;
use crate::config::{DEFAULT_DATACENTER, DEFAULT_DNS, DEFAULT_HTTP, TlsKeys, names};
use crate::definitions::{Scripts, Source};
use crate::exit::{Exit, Failure};
use crate::host_name;
use crate::listener::HttpListen;
use crate::server_client::tls_files;

/// What an agent runs with.
#[derive(Clone, Debug)]
pub(crate) struct AgentConfig {
    /// The servers.
    pub servers: Vec<ServerUrl>,
    /// How those of them are spoken to that are named with `https://`.
    pub tls: Option<Arc<Connectors>>,
    /// Where the servers serve DNS; where nothing is named, where they say.
    pub server_dns: Vec<String>,
    /// Where Consul's HTTP API is served: at least one address.
    pub http: Vec<HttpListen>,
    /// Where DNS is served.
    pub dns: DnsListen,
    /// Where registrations are kept; in memory when absent.
    pub data_dir: Option<PathBuf>,
    /// The datacenter's name.
    pub datacenter: String,
    /// The node's name.
    pub node_name: String,
    /// The node's address, if it is not the one from which it reaches the servers.
    pub address: Option<IpAddr>,
    /// Free data of the node.
    pub node_meta: BTreeMap<String, String>,
    /// Services and checks of files.
    pub definitions: Source,
    /// Which checks may be programs.
    pub scripts: Scripts,
    /// Whether SIGTERM deregisters the node.
    pub leave_on_terminate: bool,
    /// Whether it may listen beyond loopback.
    pub insecure: bool,
    /// Whether DNS alone may.
    pub dns_insecure: bool,
    /// Names under which it is asked on loopback.
    pub allowed_hosts: Vec<String>,
    /// How many files may be open; 0 for as many as possible.
    pub open_files: u64,
    /// The file that says which process serves.
    pub pid_file: Option<PathBuf>,
    /// What is logged.
    pub log: LogArgs,
}

/// What those of the servers need that are named with `https://`, if there is one. `names` are those of the flags.
///
/// # Errors
/// When a file cannot be used.
pub(crate) fn connectors(
    servers: &[ServerUrl],
    tls: &ServerTlsArgs,
    names: Names,
) -> Result<Option<Arc<Connectors>>, Failure> {
    if servers.iter().all(|server| server.scheme == Scheme::Http) {
        return Ok(None);
    }
    let connectors = Connectors::load(tls_files(tls, names)?, HTTP_PROTOCOL);
    let connectors = connectors.map_err(|reason| Failure::new(Exit::Usage, format!("TLS: {reason}")))?;
    Ok(Some(Arc::new(connectors)))
}

/// Where HTTP is served: in the clear and over TLS, where both are named; else at one address, with TLS if there is a certificate.
pub(crate) fn listens(
    http: ListenAddress,
    https: Option<ListenAddress>,
    tls: Option<ServerFiles>,
) -> Vec<HttpListen> {
    let listen = |flag, address, tls| HttpListen { flag, address, tls };
    match https {
        Some(https) => vec![listen("--http", http, None), listen("--https", https, tls)],
        None => vec![listen("--http", http, tls)],
    }
}

impl AgentConfig {
    /// What the command line says.
    ///
    /// # Errors
    /// When a file that TLS needs cannot be used, or a name is none.
    pub(crate) fn of(args: AgentArgs) -> Result<Self, Failure> {
        let default =
            |text: &str| text.parse::<ListenAddress>().map_err(|error| Failure::new(Exit::Failed, error));
        let keys =
            TlsKeys { cert: args.tls_cert, key: args.tls_key, client_ca: args.tls_client_ca, ca: None };
        let http = args.http.map_or_else(|| default(DEFAULT_HTTP), Ok)?;
        let config = Self {
            tls: connectors(&args.servers, &args.tls, Names::default())?,
            servers: args.servers,
            server_dns: args.server_dns,
            http: listens(http, args.https, keys.files()?),
            dns: args.dns.map_or_else(|| default(DEFAULT_DNS).map(DnsListen::At), Ok)?,
            data_dir: args.data_dir,
            datacenter: args.datacenter.unwrap_or_else(|| DEFAULT_DATACENTER.to_owned()),
            node_name: args.node_name.unwrap_or_else(host_name),
            address: args.address,
            node_meta: args.node_meta.into_iter().collect(),
            definitions: Source::files(args.files),
            scripts: if args.enable_script_checks {
                Scripts::On
            } else if args.enable_local_script_checks {
                Scripts::Local
            } else {
                Scripts::Off
            },
            leave_on_terminate: args.leave_on_terminate,
            insecure: args.insecure,
            dns_insecure: args.dns_insecure,
            allowed_hosts: args.allowed_hosts,
            open_files: args.open_files.unwrap_or(0),
            pid_file: None,
            log: args.log,
        };
        config.check()?;
        Ok(config)
    }

    /// Names and metadata must be such that servers take them.
    ///
    /// # Errors
    /// For the first that is not, with what is expected.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        names::check_datacenter(&self.datacenter)?;
        names::check_node(&self.node_name)?;
        names::check_allowed_hosts(&self.allowed_hosts)?;
        let node = Node {
            name: self.node_name.clone(),
            address: std::net::Ipv4Addr::LOCALHOST.to_string(),
            metadata: self.node_meta.clone(),
            ..Node::default()
        };
        let Some(fault) = validate_node(&node).into_iter().next() else { return Ok(()) };
        let expected = fault.expected.map(|expected| format!("; expected {expected}")).unwrap_or_default();
        Err(Failure::new(Exit::Usage, format!("node-meta: {}{expected}", fault.message)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn config(flags: &[&str]) -> Result<AgentConfig, Failure> {
        let line = ["weir", "agent", "--server", "10.0.0.1"].iter().chain(flags);
        let Command::Agent(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
        AgentConfig::of(*args)
    }

    #[test]
    fn bad_names_are_bad_input() {
        assert!(config(&["--node-name", "web-1", "--node-meta", "rack=b7"]).is_ok());
        for (flags, says) in [
            (["--node-name", "a b"], "node-name: "),
            (["--datacenter", "DC1"], "datacenter: `DC1` is not the name of a datacenter"),
            (["--allowed-hosts", "a b"], "allowed-hosts: "),
            (["--node-meta", &format!("k={}", "v".repeat(600))], "node-meta: "),
        ] {
            let failure = config(&flags).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{failure}");
            assert!(failure.message.starts_with(says), "{failure}");
        }
    }
}
