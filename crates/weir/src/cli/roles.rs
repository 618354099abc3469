//! Arguments of the commands that stay and serve: demo, dev, server, proxy.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use weir_model::units::Span;
use weir_store::EtcdAddress;

use super::ListenAddress;
use super::dns::{DnsArgs, DnsListen};
use super::intercept::UpstreamAddress;
use super::operator::ServerTlsArgs;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl LogFormat {
    /// The word for it, as flags and configuration files carry it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// What is logged, and how.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct LogArgs {
    /// error, warn, info, debug or trace; or a filter such as `warn,weir_edge=debug` [default: info; $WEIR_LOG]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "text|json")]
    pub log_format: Option<LogFormat>,
}

/// What `dev` and `demo` have in common.
#[derive(Args, Clone, Debug)]
pub(crate) struct LocalArgs {
    /// Where the HTTP APIs are served: the native API and Consul's
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8500")]
    pub http: ListenAddress,
    /// Where proxies connect
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8502")]
    pub grpc: ListenAddress,
    /// Where DNS is served, over UDP and TCP; `off` for nowhere
    #[arg(long, value_name = "IP:PORT|off", default_value = "127.0.0.1:8600")]
    pub dns: DnsListen,
    /// Where the gateway listens, unless a document declares a Gateway named `default` [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT")]
    pub gateway: Option<ListenAddress>,
    /// Keep everything in this directory; without it, in memory until the end
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Documents to apply at start: a file, or a directory of such files; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Listen on addresses that others can reach, without tokens and TLS
    #[arg(long)]
    pub insecure: bool,
    /// Host name under which the HTTP APIs may be asked on loopback, beside localhost and this host's; may be repeated
    #[arg(long, value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// What is logged
    #[command(flatten)]
    pub log: LogArgs,
}

/// `weir dev`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Starts a control plane and a gateway on this machine, for development. Everything is kept in memory \
                  unless --data-dir is given, and all of it stops with Ctrl-C.\n\n\
                  Services register through Consul's HTTP API or the native one; documents given with -f, or later \
                  with `weir apply`, say what the gateway does.",
    after_long_help = "Examples:\n  \
                       weir dev\n  \
                       weir dev -f shop.yaml -f routes.yaml\n  \
                       weir dev --data-dir ./weir-data --http 127.0.0.1:9500 --grpc 127.0.0.1:9502"
)]
pub(crate) struct DevArgs {
    /// The settings
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `weir demo`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Starts a control plane, a gateway and a small shop on this machine: front, cart, catalog in two \
                  versions, payments. Each is a process of its own behind its own sidecar. Sends a little traffic, \
                  prints where everything is and what to try. Ctrl-C stops all of it.",
    after_long_help = "Examples:\n  \
                       weir demo\n  \
                       weir demo --http 127.0.0.1:9500 --grpc 127.0.0.1:9502 --gateway 127.0.0.1:9080"
)]
pub(crate) struct DemoArgs {
    /// The settings
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `weir server`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(
    long_about = "Starts a control plane: it keeps the registry and the declared documents, serves the HTTP APIs \
                  (native and Consul's), and tells proxies what is in force.\n\n\
                  Every flag is also a key of the configuration file, without the dashes; a flag wins over the file. \
                  `weir server --print-config` prints a file with every key, its default and what it means.\n\n\
                  Beyond loopback it wants --insecure, or TLS with client certificates (--tls-cert, --tls-key and \
                  --tls-client-ca): there are no tokens yet.",
    after_long_help = "Examples:\n  \
                       weir server --data-dir /var/lib/weir\n  \
                       weir server --store etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379\n  \
                       weir server --print-config > weir.yaml\n  \
                       weir server --config weir.yaml --log-format json\n\n\
                       Answers /healthz (it runs), /readyz (it serves) and /metrics (Prometheus) on the HTTP address."
)]
pub(crate) struct ServerArgs {
    /// Configuration file (YAML)
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print a configuration file with every key and what it means, and end: the defaults, or with --config or other
    /// flags what they come to
    #[arg(long)]
    pub print_config: bool,
    /// Where the HTTP APIs are served [default: 127.0.0.1:8500]
    #[arg(long, value_name = "IP:PORT")]
    pub http: Option<ListenAddress>,
    /// Where proxies connect [default: 127.0.0.1:8502]
    #[arg(long, value_name = "IP:PORT")]
    pub grpc: Option<ListenAddress>,
    /// Where and how DNS is served
    #[command(flatten)]
    pub dns: DnsArgs,
    /// Keep everything in this directory; without it, in memory until the end
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    pub data_dir: Option<PathBuf>,
    /// Keep everything in an etcd cluster: `etcd://HOST:PORT,...`, with options after a question mark (prefix, user,
    /// password-file, tls, ca, cert, key, compact); see docs/etcd.md
    #[arg(long, value_name = "ETCD")]
    pub store: Option<EtcdAddress>,
    /// The IP address under which other servers with the same --store reach this one [default: the one it listens on, or
    /// that from which it reaches etcd]
    #[arg(long, value_name = "IP")]
    pub advertise: Option<IpAddr>,
    /// Speak TLS, with HTTP clients and with proxies: the certificate's chain (PEM, leaf first)
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Let in only who shows a certificate of these authorities (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Authorities (PEM) that the certificates of other servers with the same --store are checked against [default: those of
    /// --tls-client-ca, else the system's]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Documents to apply at start: a file, or a directory of such files; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Name of the datacenter [default: dc1]
    #[arg(long, value_name = "NAME")]
    pub datacenter: Option<String>,
    /// Name of the node that registrations made here belong to [default: the host's name; with --store: weir]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Listen on addresses that others can reach, without client certificates
    #[arg(long)]
    pub insecure: bool,
    /// Host name under which the HTTP APIs may be asked on loopback, beside localhost and this host's; may be repeated
    #[arg(long, value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// How many files and connections may be open; 0 for as many as the system allows [default: 0]
    #[arg(long, value_name = "COUNT")]
    pub open_files: Option<u64>,
    /// What is logged
    #[command(flatten)]
    pub log: LogArgs,
}

/// What is done to `x-request-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RequestIdArg {
    /// One that came is kept, else one is made
    Keep,
    /// At a gateway one is made for every request
    Replace,
    /// Nothing
    Off,
}

/// What is done to trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceContextArg {
    /// Nothing
    Pass,
    /// A request of a trace gets a span of this proxy
    Join,
    /// And a trace begins for one of none
    Start,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err("expected a number from 0 to 1".to_owned()) }
}

/// `weir proxy`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "weir proxy -f <FILE>...\n       weir proxy --gateway <NAME>... [--server <HOST:PORT>]\n       \
                      weir proxy --service <NAME> --app <IP:PORT> --inbound <IP:PORT> --outbound <IP:PORT> \
                      [--server <HOST:PORT>]",
    long_about = "Starts a proxy. It is one of three:\n\n\
                  From files (-f): listens and routes as the documents say; no control plane. A changed file is taken \
                  over without dropping a request; a bad one is refused and the old one stays in force.\n\n\
                  Gateway (--gateway): serves the Gateway documents with these names.\n\n\
                  Sidecar (--service): stands in front of one application (--app). Calls to it arrive at --inbound; \
                  its own calls leave through --outbound, by Host or as its HTTP_PROXY.",
    after_long_help = "Examples:\n  \
                       weir proxy -f gateway.yaml --workers 2\n  \
                       weir proxy --gateway default --server 10.0.0.1:8502 --data-dir /var/lib/weir-proxy\n  \
                       weir proxy --service cart --app 127.0.0.1:9001 --inbound 127.0.0.1:19001 --outbound \
                       127.0.0.1:15001"
)]
pub(crate) struct ProxyArgs {
    /// A file with documents, or a directory of such files; may be repeated
    #[arg(
        short = 'f',
        long = "file",
        value_name = "FILE",
        conflicts_with_all = ["gateways", "service", "server", "data_dir", "id"]
    )]
    pub files: Vec<PathBuf>,
    /// Serve the Gateway with this name; may be repeated
    #[arg(long = "gateway", value_name = "NAME", conflicts_with = "service")]
    pub gateways: Vec<String>,
    /// Be the sidecar of an instance of this service
    #[arg(long, value_name = "NAME", requires_all = ["app", "inbound", "outbound"])]
    pub service: Option<String>,
    /// Sidecar: where the application listens
    #[arg(long, value_name = "IP:PORT", requires = "service")]
    pub app: Option<ListenAddress>,
    /// Sidecar: where calls to the application arrive
    #[arg(long, value_name = "IP:PORT", requires = "service")]
    pub inbound: Option<ListenAddress>,
    /// Sidecar: where the application's own calls arrive
    #[arg(long, value_name = "IP:PORT", requires = "service")]
    pub outbound: Option<ListenAddress>,
    /// Sidecar: a service that the application calls, and a local address that stands for it; without the address, so that
    /// redirected connections to the service are known as such; may be repeated
    #[arg(long = "upstream", value_name = "SERVICE[=IP:PORT]", requires = "service")]
    pub upstreams: Vec<UpstreamAddress>,
    /// Sidecar: where connections arrive that `weir intercept` redirects; may be repeated, for IPv4 and IPv6
    #[arg(long, value_name = "IP:PORT", requires = "service")]
    pub transparent: Vec<ListenAddress>,
    /// Sidecar: what the application speaks
    #[arg(
        long,
        value_name = "http|http2|grpc|tcp",
        value_parser = ["http", "http2", "grpc", "tcp"],
        hide_possible_values = true,
        default_value = "http",
        requires = "service"
    )]
    pub app_protocol: String,
    /// The namespace of the gateways or the service
    #[arg(short = 'n', long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// The control plane's address for proxies, with https:// where it speaks TLS; several, separated by commas, are tried in turn
    /// [default: 127.0.0.1:8502]
    #[arg(long, value_name = "HOST:PORT")]
    pub server: Option<String>,
    /// What https needs
    #[command(flatten)]
    pub server_tls: ServerTlsArgs,
    /// Keep the last good state in this directory, to serve from when the control plane is gone
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Unique name of this proxy [default: made from its role, name, host and addresses]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// The region it is in: where a policy wants it, endpoints go first whose `region` is the same
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// The zone of the region it is in: the same for `zone`
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// Threads that handle requests [default: one for each processor]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Where it answers /healthz, /readyz, /metrics, /explain, /config (what is in force) and POST /drain
    #[arg(long, value_name = "IP:PORT")]
    pub admin: Option<ListenAddress>,
    /// Write a line for each request to this file, or to standard output for `-`
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// How a line of it looks: json or text
    #[arg(
        long,
        value_enum,
        default_value = "json",
        hide_possible_values = true,
        value_name = "json|text",
        requires = "access_log"
    )]
    pub access_log_format: LogFormat,
    /// The share of requests that is logged, 0 to 1; errors are logged always
    #[arg(long, value_name = "RATIO", default_value = "1", value_parser = ratio, requires = "access_log")]
    pub access_log_sample: f64,
    /// What is done to x-request-id: `keep` makes one where none came, `replace` also replaces what came to a gateway,
    /// `off` leaves it alone
    #[arg(
        long,
        value_enum,
        default_value = "keep",
        hide_possible_values = true,
        value_name = "keep|replace|off"
    )]
    pub request_id: RequestIdArg,
    /// What is done to trace context (W3C, B3): `pass` leaves it alone, `join` puts a span of this proxy between caller
    /// and service, `start` also begins a trace where there is none
    #[arg(
        long,
        value_enum,
        default_value = "pass",
        hide_possible_values = true,
        value_name = "pass|join|start"
    )]
    pub trace_context: TraceContextArg,
    /// How long requests in flight may take to finish when it is told to stop
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub drain_timeout: Span,
    /// Take over the listeners of the proxy that listens at this path, if one does, and listen there for the proxy that
    /// comes next: start a new binary with the same PATH, and the running one drains and ends
    #[arg(long, value_name = "PATH")]
    pub handover: Option<PathBuf>,
    /// Listen on addresses that others can reach, without TLS
    #[arg(long)]
    pub insecure: bool,
    /// End when standard input closes: set by the process that started this one
    #[arg(long, hide = true)]
    pub end_with_stdin: bool,
    /// What is logged
    #[command(flatten)]
    pub log: LogArgs,
}

/// `weir shop-app`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ShopAppArgs {
    /// front, cart, catalog or payments
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where it listens
    #[arg(long, value_name = "IP:PORT")]
    pub listen: ListenAddress,
    /// The version it says it is
    #[arg(long, value_name = "VERSION", default_value = "v1")]
    pub version: String,
    /// The outbound address of its sidecar, for front
    #[arg(long, value_name = "IP:PORT")]
    pub outbound: Option<ListenAddress>,
    /// End when standard input closes
    #[arg(long, hide = true)]
    pub end_with_stdin: bool,
}
