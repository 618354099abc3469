//! Arguments of `weir agent`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use weir_api::client::ServerUrl;

use super::ListenAddress;
use super::dns::DnsListen;
use super::operator::ServerTlsArgs;
use super::roles::LogArgs;

/// `weir agent`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Starts a host's agent: it serves Consul's HTTP API and DNS on this host. What is registered with it belongs \
                  to this host's node, is kept on disk, and is checked here; the servers are told. Everything else is asked \
                  of the servers, of which another is used when one does not answer.\n\n\
                  While no server answers, what is registered here can be read and changed all the same; the servers are told \
                  when they are back. When the agent is gone, its node is critical within 10 s.",
    after_long_help = "Examples:\n  \
                       weir agent --server 10.0.0.1:8500,10.0.0.2:8500 --data-dir /var/lib/weir-agent\n  \
                       weir agent --server 10.0.0.1 -f /etc/weir/services --enable-local-script-checks\n  \
                       weir agent --server https://10.0.0.1:8500 --https 10.0.0.7:8501 --tls-cert agent.pem --tls-key \
                       agent.key --tls-client-ca ca.pem"
)]
pub(crate) struct AgentArgs {
    /// A server's HTTP address; several, separated by commas or repeated, are used in turn
    #[arg(long = "server", value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub servers: Vec<ServerUrl>,
    /// How servers are spoken to that are named with https://
    #[command(flatten)]
    pub tls: ServerTlsArgs,
    /// Where the servers serve DNS; several, separated by commas or repeated [default: where they say]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub server_dns: Vec<String>,
    /// Where Consul's HTTP API is served [default: 127.0.0.1:8500]
    #[arg(long, value_name = "IP:PORT")]
    pub http: Option<ListenAddress>,
    /// Where it is served over TLS besides; then --http stays in the clear [default: nowhere]
    #[arg(long, value_name = "IP:PORT", requires = "tls_cert")]
    pub https: Option<ListenAddress>,
    /// Speak TLS, at --https if there is one, else at --http: the certificate's chain (PEM, leaf first)
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Let in over TLS only who shows a certificate of these authorities (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Where DNS is served, over UDP and TCP; `off` for nowhere [default: 127.0.0.1:8600]
    #[arg(long, value_name = "IP:PORT|off")]
    pub dns: Option<DnsListen>,
    /// Keep registrations in this directory; without it, in memory until the end
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Services and checks to register at start: a JSON file, or a directory of such files; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Name of the datacenter, which the servers must have too [default: dc1]
    #[arg(long, value_name = "NAME")]
    pub datacenter: Option<String>,
    /// Name of this host's node [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// The address of this host's node [default: the one from which it reaches a server]
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Metadata of this host's node; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub node_meta: Vec<(String, String)>,
    /// Allow checks that are programs, also of whoever may register here: he can then run what he likes
    #[arg(long)]
    pub enable_script_checks: bool,
    /// Allow checks that are programs where files (-f) define them
    #[arg(long)]
    pub enable_local_script_checks: bool,
    /// Deregister the node when told to end by SIGTERM
    #[arg(long)]
    pub leave_on_terminate: bool,
    /// Listen on addresses that others can reach, without client certificates
    #[arg(long)]
    pub insecure: bool,
    /// Serve DNS, and nothing else, on an address that others can reach: it is not encrypted
    #[arg(long)]
    pub dns_insecure: bool,
    /// Host name under which the HTTP API may be asked on loopback, beside localhost and this host's; may be repeated
    #[arg(long, value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// How many files and connections may be open; 0 for as many as the system allows [default: 0]
    #[arg(long, value_name = "COUNT")]
    pub open_files: Option<u64>,
    /// What is logged
    #[command(flatten)]
    pub log: LogArgs,
}

/// `weir consul`: what follows is read as Consul reads it, also what asks for help.
#[derive(Args, Clone, Debug)]
#[command(
    disable_help_flag = true,
    long_about = "Understands the command line of Consul, so that what starts `consul` can start weir: put a file named \
                  `consul` with these two lines into the PATH.\n\n  \
                  #!/bin/sh\n  exec weir consul \"$@\"\n\n\
                  `weir consul help` shows what is understood; docs/consul.md says what differs.",
    after_long_help = "Examples:\n  \
                       weir consul agent -dev -http-port 8500\n  \
                       weir consul agent -config-dir /etc/consul.d -retry-join 10.0.0.1\n  \
                       weir consul kv export"
)]
pub(crate) struct ConsulArgs {
    /// A command of Consul with its flags
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

/// `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}
