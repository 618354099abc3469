//! Runs the source that a proxy is configured with, and its admin interface, on the control thread.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use weir_tls::{ClientFiles, Connectors};

use super::disk;
use super::file::FileSource;
use super::kept::Kept;
use super::mesh::{MeshSettings, MeshSource};
use super::publish::{NotBound, Publisher, Sockets};
use super::{Shared, SourceError};
use crate::admin::Admin;
use crate::check;
use crate::listen::{BindFailure, Listeners};
use crate::snapshot::{Role, Settings};
use crate::{Metrics, Mode, ProxyConfig, SourceConfig};

/// How often rows of metrics are looked through for what is gone.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(60);

impl Sockets for Listeners {
    fn bind(&self, wanted: &[SocketAddr]) -> Result<(), Vec<NotBound>> {
        let told = |failure: &BindFailure| NotBound { index: failure.index, reason: failure.to_string() };
        Self::bind(self, wanted).map_err(|failures| failures.iter().map(told).collect())
    }

    fn commit(&self, wanted: &[SocketAddr]) {
        Self::commit(self, wanted);
    }
}

/// What is spoken inside TLS with control planes: gRPC's HTTP/2.
const MESH_PROTOCOL: &[u8] = b"h2";
/// How long a process that takes over asks control planes before it makes do with the state on disk.
const ASK_FIRST: Duration = Duration::from_secs(5);

/// Keeps snapshots coming, and answers on the admin listener, until `shutdown` resolves. Must run in a tokio runtime.
/// `inherited` is what the process has in force that this one takes over from, as `Shared::kept` gives it there.
///
/// # Errors
/// What keeps the proxy from ever serving: files of static mode that cannot be used at the start, an address of a
/// control plane that is not one, a data directory that cannot be written to, an admin listener that cannot be bound, or
/// that this one refuses what the other one has in force. A control plane that cannot be reached is none of these.
pub async fn run(
    config: &ProxyConfig,
    shared: Arc<Shared>,
    listeners: Arc<Listeners>,
    metrics: Arc<Metrics>,
    inherited: Option<Vec<u8>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), SourceError> {
    // What was inherited is still answered by the process that had it, until this one serves.
    let mut waits = false;
    let admin = match config.admin {
        Some(addr) => {
            let inherited = listeners.inherited_admin(addr);
            let inherited = inherited.map_err(|source| SourceError::Admin { addr, source })?;
            waits |= inherited.is_some();
            let admin = Admin::bind(addr, inherited, Arc::clone(&shared), Arc::clone(&metrics)).await?;
            listeners.keep_admin(addr, &admin);
            Some(admin.with_listeners(Arc::clone(&listeners)))
        }
        None => None,
    };
    let admin_addr = admin.as_ref().map(Admin::addr);
    let serving = async {
        if let Some(admin) = admin {
            if waits {
                shared.until_in_force().await;
            }
            admin.serve().await;
        }
        std::future::pending().await
    };
    let inherited = inherited.and_then(|bytes| read_inherited(&bytes));
    let following = follow(config, &shared, listeners, &metrics, (admin_addr, inherited), shutdown);
    tokio::select! {
        result = following => result,
        never = serving => never,
        () = announce(&shared, config.ready) => Ok(()),
        () = give_back(&shared, &metrics) => Ok(()),
        () = check::run(&shared) => Ok(()),
    }
}

/// Calls `ready` when a snapshot is in force. Never returns.
async fn announce(shared: &Shared, ready: Option<fn()>) {
    if let Some(ready) = ready {
        shared.until_in_force().await;
        ready();
    }
    std::future::pending::<()>().await;
}

/// Gives back rows of metrics whose subjects are gone, for ever.
async fn give_back(shared: &Shared, metrics: &Metrics) {
    let mut interval = tokio::time::interval(GIVE_BACK_EVERY);
    loop {
        interval.tick().await;
        metrics.give_back(&shared.snapshot.load(), shared.now_s());
    }
}

/// What cannot be read is ignored: then this process has to come by something to serve in another way.
fn read_inherited(bytes: &[u8]) -> Option<Kept> {
    let kept = Kept::from_bytes(bytes);
    kept.inspect_err(|error| tracing::warn!(%error, "ignoring what the running proxy has in force")).ok()
}

async fn follow(
    config: &ProxyConfig,
    shared: &Arc<Shared>,
    listeners: Arc<Listeners>,
    metrics: &Arc<Metrics>,
    (admin, inherited): (Option<SocketAddr>, Option<Kept>),
    shutdown: impl Future<Output = ()>,
) -> Result<(), SourceError> {
    let mut shutdown = std::pin::pin!(shutdown);
    let taking_over = listeners.is_inheriting();
    let role = role(config);
    // Another process of the same name follows the source now; what is in force does for the rest of this one's life.
    let leaving = shared.handed_over();
    let publisher = Publisher::new(Arc::clone(shared), listeners, role.clone(), Settings::default())
        .calling_as(config.origin())
        .loopback_only(!config.insecure)
        .showing(Arc::clone(metrics));
    match &config.source {
        SourceConfig::Static { files } => {
            let hangups = signal(SignalKind::hangup()).map_err(SourceError::Signal)?;
            let mut source = FileSource::new(files.clone(), publisher);
            source.start().await?;
            tokio::select! {
                () = source.follow(Hangups(hangups)) => {}
                () = &mut shutdown => {}
                _ = leaving => shutdown.await,
            }
        }
        SourceConfig::Mesh { server, tls, id, data_dir, .. } => {
            let servers = servers(server)?;
            let tls = connectors(&servers, tls)?;
            if let Some(path) = data_dir {
                disk::prepare(path).map_err(|source| SourceError::DataDir { path: path.clone(), source })?;
            }
            let settings = MeshSettings {
                admin: admin.map(|addr| addr.to_string()).unwrap_or_default(),
                data_dir: data_dir.clone(),
                // A process that serves already has newer state in force than what it has written to disk.
                ask_first: taking_over.then_some(ASK_FIRST),
                inherited,
                declared: config.interception.services().cloned().collect(),
                metrics: Some(Arc::clone(metrics)),
                tls,
                ..MeshSettings::new(servers, id.clone(), role)
            };
            let mut source = MeshSource::start(settings, publisher).await?;
            tokio::select! {
                () = source.follow() => {}
                () = &mut shutdown => {}
                _ = leaving => {
                    source.finish().await;
                    shutdown.await;
                    return Ok(());
                }
            }
            source.finish().await;
        }
    }
    Ok(())
}

fn role(config: &ProxyConfig) -> Role {
    match (&config.mode, &config.source) {
        (Mode::Sidecar { service, .. }, _) => Role::Sidecar { service: service.clone() },
        (Mode::Gateway, SourceConfig::Mesh { gateways, .. }) => Role::Gateway { gateways: gateways.clone() },
        (Mode::Gateway, SourceConfig::Static { .. }) => Role::Gateway { gateways: Vec::new() },
    }
}

/// One or several addresses, with commas between them.
fn servers(text: &str) -> Result<Vec<String>, SourceError> {
    text.split(',')
        .map(|server| {
            let server = server.trim();
            let (scheme, host) = server.split_once("://").unwrap_or_default();
            match host.trim_end_matches('/').parse::<http::uri::Authority>() {
                Ok(authority) if authority.port().is_some() && matches!(scheme, "http" | "https") => {
                    Ok(format!("{scheme}://{authority}"))
                }
                _ => Err(SourceError::Server { server: server.to_owned() }),
            }
        })
        .collect()
}

/// What TLS with these control planes needs, if one of them speaks it.
fn connectors(servers: &[String], files: &ClientFiles) -> Result<Option<Arc<Connectors>>, SourceError> {
    if servers.iter().all(|server| server.starts_with("http://")) {
        return Ok(None);
    }
    let connectors = Connectors::load(files.clone(), MESH_PROTOCOL).map_err(SourceError::Tls)?;
    Ok(Some(Arc::new(connectors)))
}

/// SIGHUP, as often as it comes.
pub(super) struct Hangups(Signal);

impl super::file::Hangup for Hangups {
    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // No more signals will come.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_control_planes() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let found = servers(text).ok();
            let expected = expected.map(|all| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{text}");
        };
        check("http://127.0.0.1:8502", Some(&["http://127.0.0.1:8502"]));
        check("http://a:1/, http://[::1]:2", Some(&["http://a:1", "http://[::1]:2"]));
        check("127.0.0.1:8502", None);
        check("https://a:1/", Some(&["https://a:1"]));
        check("ftp://a:1", None);
        check("http://a", None);
        check("", None);
        check("http://a:1,", None);
    }
}
