//! The commands that stay and serve: server, dev, demo, and the demo's applications.

mod demo;
mod local;

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::agent_config::AgentConfig;
use crate::cli::agent::AgentArgs;
use crate::cli::roles::{DemoArgs, DevArgs, ServerArgs, ShopAppArgs};
use crate::config::{self, ServerConfig};
use crate::control_plane::ControlPlane;
use crate::exit::{Exit, Failure};
use crate::host_agent::HostAgent;
use crate::processes::{PidFile, Stop, at_hangups, hangups, stop_signal};
use crate::shop::{self, ShopConfig};
use crate::{log, notify, open_files, output};

/// `weir server`.
pub(super) fn server(args: ServerArgs) -> Result<Exit, Failure> {
    if args.print_config {
        let is_default = args == ServerArgs { print_config: true, ..ServerArgs::default() };
        output::print(&if is_default { config::print_default() } else { ServerConfig::load(args)?.print() });
        return Ok(Exit::Done);
    }
    run_server(&ServerConfig::load(args)?)
}

/// Runs a server until it is told to stop.
pub(crate) fn run_server(config: &ServerConfig) -> Result<Exit, Failure> {
    log::start(&config.log)?;
    raise_open_files(config.open_files);
    runtime()?.block_on(async {
        let hangups = hangups();
        notify::waiting("starting");
        let plane = ControlPlane::start(config).await?;
        let _pid = config.as_consul.pid_file.as_deref().map(PidFile::write).transpose()?;
        tokio::spawn(at_hangups(hangups, plane.reload()));
        if config.as_consul.obeys {
            let definer = plane.definer();
            tokio::spawn(async move { definer.define_at_hangups().await });
        }
        let stopped = stop_signal(false);
        notify::ready();
        if config.data_dir.is_none() && config.store.is_none() {
            tracing::warn!("everything is kept in memory and lost at the end; --data-dir DIR keeps it");
        }
        tokio::select! {
            stop = stopped => tracing::info!(reason = ?stop, "stopping"),
            () = plane.left() => tracing::info!("leaving"),
        }
        notify::stopping();
        plane.stop().await;
        Ok(Exit::Done)
    })
}

/// `weir agent`.
pub(super) fn agent(args: AgentArgs) -> Result<Exit, Failure> {
    run_agent(&AgentConfig::of(args)?)
}

/// Runs an agent until it is told to stop, or to leave.
pub(crate) fn run_agent(config: &AgentConfig) -> Result<Exit, Failure> {
    log::start(&config.log)?;
    raise_open_files(config.open_files);
    runtime()?.block_on(async {
        // From here on one ends nothing.
        let hangups = hangups();
        notify::waiting("starting");
        let agent = HostAgent::start(config).await?;
        let _pid = config.pid_file.as_deref().map(PidFile::write).transpose()?;
        tokio::spawn(at_hangups(hangups, agent.reload()));
        let definer = agent.definer();
        tokio::spawn(async move { definer.define_at_hangups().await });
        if config.data_dir.is_none() {
            tracing::warn!("registrations are kept in memory and lost at the end; --data-dir DIR keeps them");
        }
        let stopped = stop_signal(false);
        notify::ready();
        let leaves = tokio::select! {
            stop = stopped => {
                tracing::info!(reason = ?stop, "stopping");
                stop == Stop::Terminate && config.leave_on_terminate
            }
            // Its node was deregistered by then, or whoever asked was told why not.
            () = agent.left() => {
                tracing::info!("leaving");
                false
            }
        };
        notify::stopping();
        agent.stop(leaves).await?;
        Ok(Exit::Done)
    })
}

/// `weir dev`.
pub(super) fn dev(args: &DevArgs) -> Result<Exit, Failure> {
    local::prepare(&args.local)?;
    runtime()?.block_on(async {
        let local = local::Local::start(&args.local).await?;
        output::print(&dev_text(&local));
        local.run_until_stopped().await
    })
}

fn dev_text(local: &local::Local) -> String {
    let weir = local::weir_command();
    let mut text = local.places();
    let _ = write!(
        text,
        "\nTry, in another terminal:\n  \
         {weir} get services{server}\n  \
         {weir} apply -f FILE{server}              # Gateway, HTTPRoute, Service, TrafficPolicy, RateLimit\n  \
         curl -X PUT http://{http}/v1/agent/service/register -d '{{\"Name\": \"web\", \"Port\": 9000}}'\n  \
         {weir} explain GET http://{gateway}/{server}\n  \
         {weir} top{server}\n\
         {dig}\n\
         Ctrl-C stops everything.\n",
        dig = local.dns().map_or_else(String::new, |dns| format!("  {}\n", dig(dns, "web"))),
        server = local.server_flag(),
        http = local.http(),
        gateway = local.gateway(),
    );
    text
}

/// How DNS is asked for a service.
fn dig(dns: SocketAddr, service: &str) -> String {
    format!("dig @{} -p {} {service}.service.consul SRV", dns.ip(), dns.port())
}

/// `weir demo`.
pub(super) fn demo(args: &DemoArgs) -> Result<Exit, Failure> {
    local::prepare(&args.local)?;
    runtime()?.block_on(demo::run(&args.local))
}

/// One application of the shop.
pub(super) fn shop_app(args: &ShopAppArgs) -> Result<Exit, Failure> {
    if !shop::NAMES.contains(&args.name.as_str()) {
        let message =
            format!("the shop has no application `{}`; it has {}", args.name, shop::NAMES.join(", "));
        return Err(Failure::new(Exit::Usage, message));
    }
    let config = ShopConfig {
        name: args.name.clone(),
        version: args.version.clone(),
        outbound: args.outbound.map(|address| address.0),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let listener = listen(args.listen.0).await?;
        let with_stdin = args.end_with_stdin;
        let stopped = async move {
            stop_signal(with_stdin).await;
        };
        shop::serve(config, listener, stopped).await;
        Ok(Exit::Done)
    })
}

async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener, Failure> {
    tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| Failure::new(Exit::CannotStart, format!("cannot listen on {address}: {error}")))
}

fn raise_open_files(wanted: u64) {
    match open_files::raise(wanted) {
        Ok(limit) if limit < wanted => {
            tracing::warn!(wanted, limit, "the system does not allow as many open files");
        }
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))
}
