//! The command line: what can be said, and the help for it.
//!
//! Only shapes and texts: what a command does is in `commands`. Every help text is written for somebody who meets
//! weir for the first time.

pub(crate) mod address;
pub(crate) mod agent;
pub(crate) mod dns;
pub(crate) mod intercept;
pub(crate) mod lock;
pub(crate) mod operator;
pub(crate) mod roles;
pub(crate) mod simulate;
pub(crate) mod store;
pub(crate) mod top;

use clap::{Parser, Subcommand};

use crate::exit;

pub(crate) use address::ListenAddress;

const EXAMPLES: &str = "\
Examples:
  weir demo                                a running example, with things to try
  weir dev -f shop.yaml                    control plane and gateway on this machine
  weir apply -f canary.yaml                change routing
  weir get services                        what is registered, and how it is
  weir explain GET http://shop.example/    why a request goes where it goes
  weir top                                 what services do right now
  weir lock nightly -- ./report.sh         one at a time, wherever it is started
  weir simulate outage.yaml                what a policy does when things fail

`weir COMMAND --help` tells more about one command.";

/// Weir governs the traffic between services.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    about = "Weir governs the traffic between services: register, discover, balance, route, explain.",
    long_about = "Weir governs the traffic between services with one binary: it registers and discovers them, balances \
                  and routes every call between them, and explains why a call went where it went.\n\n\
                  New here? `weir demo` starts a control plane, a gateway and a small shop on this machine, and prints \
                  what to try.",
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{}", exit::TABLE),
    arg_required_else_help = true,
    subcommand_required = true
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order in which a newcomer meets them. What each is about is no comment here: the parser would take
/// that for its long description as well, in place of the one beside its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(about = "Start a running example: control plane, gateway and a small shop")]
    Demo(roles::DemoArgs),
    #[command(about = "Start a control plane and a gateway on this machine, for development")]
    Dev(roles::DevArgs),
    #[command(about = "Start a control plane")]
    Server(Box<roles::ServerArgs>),
    #[command(about = "Start a host's agent: Consul's API on this host, its services and their checks")]
    Agent(Box<agent::AgentArgs>),
    #[command(
        about = "Understand the command line of Consul: agent, members, kv, catalog, services and more"
    )]
    Consul(agent::ConsulArgs),
    #[command(about = "Start a proxy: a gateway, a sidecar, or from files alone")]
    Proxy(Box<roles::ProxyArgs>),
    #[command(about = "Put documents in force, all of them or none")]
    Apply(operator::ApplyArgs),
    #[command(about = "Show services, instances, proxies, routes or declared documents")]
    Get(operator::GetArgs),
    #[command(about = "Ask whether a server, an agent or a proxy answers")]
    Health(operator::HealthArgs),
    #[command(about = "Delete declared documents")]
    Delete(operator::DeleteArgs),
    #[command(about = "Show where a request would go, and why")]
    Explain(operator::ExplainArgs),
    #[command(about = "Show what services do right now: rates, errors, latencies, breakers, limits")]
    Top(top::TopArgs),
    #[command(about = "Run a command while it holds a lock")]
    Lock(Box<lock::LockArgs>),
    #[command(about = "Take a lock away from its holders")]
    Unlock(lock::UnlockArgs),
    #[command(about = "Back up, restore, export, import or check everything that a control plane keeps")]
    Store(store::StoreArgs),
    #[command(about = "Try policies on virtual time: clients, servers and what goes wrong")]
    Simulate(simulate::SimulateArgs),
    #[command(about = "Redirect an application's connections to its sidecar, with nftables")]
    Intercept(Box<intercept::InterceptArgs>),
    /// Show the version of this binary
    Version,
    /// One application of the demo's shop
    #[command(hide = true)]
    ShopApp(roles::ShopAppArgs),
}

impl Command {
    /// The form in which an answer is asked for.
    pub(crate) const fn format(&self) -> operator::Format {
        match self {
            Self::Apply(args) => args.output.format,
            Self::Get(args) => args.output.format,
            Self::Explain(args) => args.output.format,
            Self::Top(args) => args.format(),
            Self::Simulate(args) if args.json => operator::Format::Json,
            _ => operator::Format::Table,
        }
    }
}

#[cfg(test)]
mod tests;
