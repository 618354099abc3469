//! Arguments of the commands that talk to a server.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use weir_api::client::Servers;

/// Which server an operator command talks to.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArg {
    /// The server's HTTP address: HOST:PORT or URL; of several, separated by commas, the next is asked when one does not answer
    /// [default: $WEIR_SERVER, else 127.0.0.1:8500]
    #[arg(long, value_name = "HOST:PORT", global = false)]
    pub server: Option<Servers>,
    /// What https needs
    #[command(flatten)]
    pub tls: ServerTlsArgs,
}

/// How a client speaks TLS with a server.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerTlsArgs {
    /// Authorities (PEM) that the server's certificate is checked against [default: $WEIR_SERVER_CA, else the system's]
    #[arg(long, value_name = "FILE")]
    pub server_ca: Option<PathBuf>,
    /// The certificate (PEM) to show to a server that asks for one [default: $WEIR_SERVER_CERT]
    #[arg(long, value_name = "FILE")]
    pub server_cert: Option<PathBuf>,
    /// Its private key (PEM) [default: $WEIR_SERVER_KEY]
    #[arg(long, value_name = "FILE")]
    pub server_key: Option<PathBuf>,
}

/// In which form a command is to answer.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct OutputArg {
    /// How to answer
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "table|json|yaml"
    )]
    pub format: Format,
}

/// In which form a command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// Documents that can be applied again
    Yaml,
}

/// `weir apply`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Puts documents in force. All documents of all files are one change: they are checked together, and \
                  either all of them take effect at once or none does. Then waits up to 2 seconds for the proxies and \
                  says who applied it, and who refused it and why.\n\n\
                  A document is YAML or JSON with `kind`, `metadata` and `spec`: Gateway, HTTPRoute, GRPCRoute, \
                  TLSRoute and TCPRoute as in the Kubernetes Gateway API, and weir's own Service, TrafficPolicy, \
                  RateLimit, ListenerPolicy and Certificate.",
    after_long_help = "Examples:\n  \
                       weir apply -f shop.yaml\n  \
                       weir apply -f gateway.yaml -f routes.yaml     both files in one change\n  \
                       weir apply -f shop/                           every .yaml, .yml and .json in a directory\n  \
                       weir apply -f shop.yaml --dry-run             check and compare, change nothing\n  \
                       cat shop.yaml | weir apply -f -"
)]
pub(crate) struct ApplyArgs {
    /// A file with documents, a directory of such files, or `-` for standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Check and compare only; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to answer
    #[command(flatten)]
    pub output: OutputArg,
    /// Which server
    #[command(flatten)]
    pub server: ServerArg,
}

/// `weir get`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Shows what the control plane knows.\n\n\
                  What is live:     services, instances, nodes, proxies, replicas, routes, locks, sessions\n\
                  What is declared: Gateway, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, Service, TrafficPolicy,\n\
                  \x20                 RateLimit, ListenerPolicy, Certificate, or `all`\n\
                  What happened:    changes\n\n\
                  `services` are all services, registered or declared; `Service` are the documents of that kind.",
    after_long_help = "Examples:\n  \
                       weir get services\n  \
                       weir get instances cart             the instances of one service\n  \
                       weir get proxies                    who applied which revision\n  \
                       weir get locks                      who holds what, and who waits\n  \
                       weir get HTTPRoute shop -o yaml     a document, ready to be edited and applied\n  \
                       weir get all -o json"
)]
pub(crate) struct GetArgs {
    /// services, instances, nodes, proxies, replicas, routes, locks, sessions, changes, all, or a kind
    #[arg(value_name = "WHAT")]
    pub what: String,
    /// Only this one (for instances: of this service; for changes: by number)
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Only this namespace [default: all for lists, `default` for a name]
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// How to answer
    #[command(flatten)]
    pub output: OutputArg,
    /// Which server
    #[command(flatten)]
    pub server: ServerArg,
}

/// `weir health`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Asks /healthz of a server, an agent or a proxy's --admin address, and ends with 0 if it answers: what health \
                  checks of containers run. With --ready it asks /readyz: whether it does its work.",
    after_long_help = "Examples:\n  \
                       weir health\n  \
                       weir health --server https://weir.example:8500 --server-ca ca.pem\n  \
                       weir health --ready --server 127.0.0.1:9901        a proxy with --admin 127.0.0.1:9901"
)]
pub(crate) struct HealthArgs {
    /// Ask whether it is ready
    #[arg(long)]
    pub ready: bool,
    /// Whom to ask
    #[command(flatten)]
    pub server: ServerArg,
}

/// `weir delete`.
#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "weir delete [OPTIONS] <KIND> <NAME>\n       weir delete [OPTIONS] -f <FILE>...",
    long_about = "Deletes declared documents, by kind and name or all that stand in files. Registered instances are \
                  not touched. Deleting what something else refers to is allowed: requests that would have used it \
                  are then answered with a clear error.",
    after_long_help = "Examples:\n  \
                       weir delete HTTPRoute canary\n  \
                       weir delete -f canary.yaml"
)]
pub(crate) struct DeleteArgs {
    /// Gateway, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, Service, TrafficPolicy, RateLimit, ListenerPolicy or
    /// Certificate
    #[arg(value_name = "KIND", required_unless_present = "files", conflicts_with = "files")]
    pub kind: Option<String>,
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Delete what stands in this file; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Its namespace [default: default]
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Which server
    #[command(flatten)]
    pub server: ServerArg,
}

/// `weir explain`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Shows where a request would go and why: every rule that was considered, the one that won, the \
                  endpoints that could serve it and the one that would be chosen. Nothing is sent. It runs the same \
                  code as the proxy, on the same state.\n\n\
                  Without --gateway or --from it asks for the gateway `default`, or for the only one there is. With -f it needs no server: it \
                  explains what a proxy would do with these files.",
    after_long_help = "Examples:\n  \
                       weir explain GET http://127.0.0.1:8080/cart\n  \
                       weir explain GET http://shop.example/catalog --header 'x-canary: yes'\n  \
                       weir explain GET http://catalog/items --from front     a call between services\n  \
                       weir explain GET http://shop.example/ --source-ip 192.0.2.7\n  \
                       weir explain tcp://127.0.0.1:5432                      a connection that is no request\n  \
                       weir explain tls://vault.shop.example                  the same, by server name\n  \
                       weir explain GET http://shop.example/ -f gateway.yaml  without a server\n\n\
                       Exit status: 0 if an endpoint would get it or a filter answers it; 4 if nobody here would (no rule takes \
                       it, there is no such service, or none of its endpoints may be chosen), or if the gateway or service that \
                       is named does not exist. Refusals of limits and breakers, which pass, do not count"
)]
pub(crate) struct ExplainArgs {
    /// The method, such as GET; left out for a connection
    #[arg(value_name = "METHOD")]
    pub method: String,
    /// The URL, such as http://127.0.0.1:8080/cart
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// A header field of the request, as 'Name: value'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The client's address, for limits and balancers that go by it
    #[arg(long, value_name = "ADDRESS")]
    pub source_ip: Option<IpAddr>,
    /// The request arrives at this gateway [default: `default`, or the only one there is]
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    pub gateway: Option<String>,
    /// The request is made by this service, through its sidecar
    #[arg(long, value_name = "SERVICE")]
    pub from: Option<String>,
    /// The namespace of the gateway or service
    #[arg(short = 'n', long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Explain these files instead of a server's state; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with = "server")]
    pub files: Vec<PathBuf>,
    /// Explain it as this proxy sees it, by its id [default: the first that has reported]
    #[arg(long = "as", value_name = "PROXY", conflicts_with = "files")]
    pub view: Option<String>,
    /// How to answer
    #[command(flatten)]
    pub output: OutputArg,
    /// Which server
    #[command(flatten)]
    pub server: ServerArg,
}
