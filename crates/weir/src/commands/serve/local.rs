//! What `dev` and `demo` share: a control plane in this process and a gateway in a child process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weir_control::resources::ChangeRequest;
use weir_model::resource::gateway::GatewayAddress;
use weir_model::resource::{GatewaySpec, Listener, ListenerProtocol, Metadata};
use weir_model::validate::hints;
use weir_model::{DEFAULT_NAMESPACE, Kind, Resource, ResourceId, Spec};

use crate::cli::dns::DnsArgs;
use crate::cli::roles::{LocalArgs, LogArgs, ServerArgs};
use crate::config::ServerConfig;
use crate::control_plane::ControlPlane;
use crate::exit::{Exit, Failure};
use crate::processes::{Children, Ended, Spawn, Stop, stop_signal};
use crate::{log, loopback, output};

/// The gateway's name.
const GATEWAY: &str = "default";
/// Where it listens unless told otherwise.
const GATEWAY_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Proxies answer on an admin port of the system's choice, which `weir get proxies` shows.
pub(super) const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];
/// Marks the gateway that stands in where no document declares one.
const OWN_GATEWAY: &str = "weir.dev/stand-in";
/// How long the gateway may take to listen.
const GATEWAY_START: Duration = Duration::from_secs(10);
/// Time between two looks whether it does.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Most notes of a kind.
const NOTES_MAX: usize = 10;
/// What is logged unless told otherwise: the printed text says where everything is.
const QUIET: &str = "warn";

/// What must happen before the runtime starts.
pub(super) fn prepare(args: &LocalArgs) -> Result<(), Failure> {
    log::start(&quiet(&args.log))?;
    if let Some(gateway) = args.gateway {
        loopback::check("--gateway", gateway.0, args.insecure)?;
    }
    super::raise_open_files(0);
    Ok(())
}

fn quiet(log: &LogArgs) -> LogArgs {
    let asked = log.log_level.is_some() || std::env::var_os("WEIR_LOG").is_some();
    LogArgs { log_level: if asked { log.log_level.clone() } else { Some(QUIET.to_owned()) }, ..log.clone() }
}

/// A control plane and a gateway on this machine.
pub(super) struct Local {
    pub(super) plane: ControlPlane,
    pub(super) children: Children,
    gateway: SocketAddr,
    /// What is in force otherwise than the command line or the documents may have been meant.
    notes: Vec<String>,
    data_dir: Option<PathBuf>,
    log: LogArgs,
}

impl Local {
    pub(super) async fn start(args: &LocalArgs) -> Result<Self, Failure> {
        let config = ServerConfig::load(ServerArgs {
            http: Some(args.http),
            grpc: Some(args.grpc),
            dns: DnsArgs { listen: Some(args.dns), ..DnsArgs::default() },
            data_dir: args.data_dir.clone(),
            files: args.files.clone(),
            insecure: args.insecure,
            allowed_hosts: args.allowed_hosts.clone(),
            log: args.log.clone(),
            ..ServerArgs::default()
        })?;
        let plane = ControlPlane::start(&config).await?;
        let asked = args.gateway.map(|gateway| gateway.0);
        let gateway = declare_gateway(&plane, asked.unwrap_or(GATEWAY_ADDRESS)).await?;
        let notes = notes(&plane, asked, gateway);
        let children = Children::new()?;
        let log = quiet(&args.log);
        let mut local = Self { plane, children, gateway, notes, data_dir: args.data_dir.clone(), log };
        local.start_gateway(args.insecure).await?;
        Ok(local)
    }

    async fn start_gateway(&mut self, insecure: bool) -> Result<(), Failure> {
        if std::net::TcpListener::bind(self.gateway).is_err_and(|e| e.kind() == std::io::ErrorKind::AddrInUse)
        {
            let message = format!("cannot listen on {} (--gateway): the address is in use", self.gateway);
            return Err(Failure::new(Exit::CannotStart, message)
                .hint("is a weir running already? Stop it, or choose another address with --gateway"));
        }
        let mut args: Vec<String> =
            ["proxy", "--gateway", GATEWAY, "--id", "gateway-default"].map(str::to_owned).into();
        args.extend(["--server".to_owned(), reachable(self.plane.grpc).to_string()]);
        args.extend(ADMIN.map(str::to_owned));
        if let Some(dir) = &self.data_dir {
            args.extend(["--data-dir".to_owned(), dir.join("gateway").display().to_string()]);
        }
        if insecure {
            args.push("--insecure".to_owned());
        }
        args.extend(self.log_flags());
        self.children.spawn(Spawn { name: "gateway".to_owned(), args })?;
        let began = Instant::now();
        while tokio::net::TcpStream::connect(self.gateway).await.is_err() {
            if began.elapsed() > GATEWAY_START {
                let message = format!(
                    "the gateway does not listen on {} after {} s",
                    self.gateway,
                    GATEWAY_START.as_secs()
                );
                return Err(Failure::new(Exit::CannotStart, message)
                    .hint("--log-level debug shows what it does; `weir get proxies` what it refused"));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                ended = self.children.next_ended() => {
                    return Err(Failure::new(Exit::CannotStart, ended_text(&ended)));
                }
            }
        }
        Ok(())
    }

    /// Logging for child processes as for this one.
    pub(super) fn log_flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if let Some(level) = &self.log.log_level {
            flags.extend(["--log-level".to_owned(), level.clone()]);
        }
        if let Some(format) = self.log.log_format {
            flags.extend(["--log-format".to_owned(), format.as_str().to_owned()]);
        }
        flags
    }

    pub(super) fn http(&self) -> SocketAddr {
        reachable(self.plane.http)
    }

    pub(super) fn grpc(&self) -> SocketAddr {
        reachable(self.plane.grpc)
    }

    /// Where this machine reaches DNS, if it is served.
    pub(super) fn dns(&self) -> Option<SocketAddr> {
        self.plane.dns.map(reachable)
    }

    pub(super) const fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// The flag that operator commands need to find this server; nothing when they find it by themselves.
    pub(super) fn server_flag(&self) -> String {
        let http = self.http();
        if http.to_string() == crate::config::DEFAULT_HTTP {
            String::new()
        } else {
            format!(" --server {http}")
        }
    }

    /// Where everything is.
    pub(super) fn places(&self) -> String {
        let data = match &self.data_dir {
            Some(dir) => dir.display().to_string(),
            None => "in memory, lost at the end (--data-dir DIR keeps it)".to_owned(),
        };
        let dns = self.dns().map_or_else(String::new, |dns| format!("DNS             {dns}\n"));
        let notes = self.notes.iter().map(|note| format!("note            {note}\n")).collect::<String>();
        format!(
            "control plane   http://{}   native API under /weir/v1, Consul's under /v1\n\
             proxies join    {}\n\
             gateway         http://{}\n\
             {dns}\
             data            {data}\n\
             {notes}",
            self.http(),
            self.grpc(),
            self.gateway,
        )
    }

    /// Serves until told to stop; says which children end before that.
    pub(super) async fn run_until_stopped(mut self) -> Result<Exit, Failure> {
        let mut stop = std::pin::pin!(stop_signal(false));
        loop {
            tokio::select! {
                stop = &mut stop => {
                    if stop == Stop::Interrupt {
                        // The terminal shows ^C on the same line.
                        output::remark("");
                    }
                    output::remark("stopping");
                    self.end().await;
                    return Ok(Exit::Done);
                }
                ended = self.children.next_ended() => output::remark(&ended_text(&ended)),
            }
        }
    }

    /// Ends the children, then the control plane.
    pub(super) async fn end(self) {
        self.children.end().await;
        self.plane.stop().await;
    }
}

fn ended_text(ended: &Ended) -> String {
    let Ended { name, pid, status } = ended;
    format!("{name} (process {pid}) has ended: {status}")
}

/// Declares the Gateway `default` unless somebody else has, and returns where it listens. One that this command
/// declared in a former run follows the command line.
async fn declare_gateway(plane: &ControlPlane, address: SocketAddr) -> Result<SocketAddr, Failure> {
    let id = ResourceId::new(Kind::Gateway, DEFAULT_NAMESPACE, GATEWAY);
    let set = plane.control.catalog().resources().entries;
    if let Some(entry) = set.get(&id)
        && let Spec::Gateway(spec) = &entry.resource.spec
        && !entry.resource.metadata.annotations.contains_key(OWN_GATEWAY)
    {
        return Ok(reachable(first_address(spec)));
    }
    let request = ChangeRequest {
        puts: vec![gateway_resource(address)],
        author: "start".to_owned(),
        ..ChangeRequest::default()
    };
    plane
        .control
        .apply(&request)
        .await
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot declare the gateway: {error}")))?;
    Ok(reachable(address))
}

/// What somebody may wonder about: an address that is not used, a gateway that nobody serves, a route to a parent that
/// is not there. Which services will register is not known yet.
fn notes(plane: &ControlPlane, asked: Option<SocketAddr>, gateway: SocketAddr) -> Vec<String> {
    let set = plane.control.catalog().resources().entries;
    let resources = || set.iter().map(|(_, entry)| &entry.resource);
    let own = ResourceId::new(Kind::Gateway, DEFAULT_NAMESPACE, GATEWAY);
    let mut notes = Vec::new();
    if let Some(asked) = asked
        && reachable(asked) != gateway
    {
        notes.push(format!(
            "--gateway {asked} is not used: {own} is declared by a document, which says where it listens"
        ));
    }
    let others = resources().map(Resource::id).filter(|id| id.kind == Kind::Gateway && *id != own);
    notes.extend(others.take(NOTES_MAX).map(|id| {
        format!("{id} is declared, but this gateway serves {own} only; rename it, or start `weir proxy --gateway {}`", id.name)
    }));
    let hints = hints(resources(), resources(), |_| true).into_iter().take(NOTES_MAX);
    notes.extend(hints.map(|(id, hint)| format!("{id}: {hint}")));
    notes
}

fn gateway_resource(address: SocketAddr) -> Resource {
    let spec = GatewaySpec {
        gateway_class_name: None,
        addresses: vec![GatewayAddress { kind: "IPAddress".to_owned(), value: address.ip().to_string() }],
        listeners: vec![Listener {
            name: "http".to_owned(),
            hostname: None,
            port: address.port(),
            protocol: ListenerProtocol::Http,
            tls: None,
            allowed_routes: None,
        }],
        tls: None,
    };
    let metadata = Metadata {
        name: GATEWAY.to_owned(),
        namespace: DEFAULT_NAMESPACE.to_owned(),
        annotations: [(OWN_GATEWAY.to_owned(), "true".to_owned())].into(),
        ..Metadata::default()
    };
    Resource { metadata, spec: Spec::Gateway(spec) }
}

/// The first address that a gateway listens on: loopback if it names none.
fn first_address(spec: &GatewaySpec) -> SocketAddr {
    let ip = spec.addresses.iter().find_map(|address| address.value.parse().ok());
    let port = spec.listeners.first().map_or(0, |listener| listener.port);
    SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port)
}

/// Where this machine reaches a listener: loopback for one that listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// How the user calls this binary: `weir` if the shell finds it so, else by its path.
pub(super) fn weir_command() -> String {
    let Ok(exe) = std::env::current_exe() else { return "weir".to_owned() };
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| same_file(&dir.join("weir"), &exe)));
    if on_path {
        return "weir".to_owned();
    }
    let relative =
        std::env::current_dir().ok().and_then(|dir| exe.strip_prefix(dir).ok().map(Path::to_owned));
    relative.unwrap_or(exe).display().to_string()
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dns::DnsListen;
    use weir_api::native::SourceText;

    async fn plane() -> ControlPlane {
        let any = || Some("127.0.0.1:0".parse().unwrap());
        let dns = DnsArgs { listen: Some(DnsListen::Off), ..DnsArgs::default() };
        let args = ServerArgs { http: any(), grpc: any(), dns, ..ServerArgs::default() };
        ControlPlane::start(&ServerConfig::load(args).unwrap()).await.unwrap()
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn the_stand_in_follows_the_command_line_and_a_declared_gateway_does_not() {
        let plane = plane().await;
        let declare = async |text| declare_gateway(&plane, address(text)).await.unwrap();
        assert_eq!(declare("127.0.0.1:8080").await, address("127.0.0.1:8080"));
        assert_eq!(declare("0.0.0.0:8081").await, address("127.0.0.1:8081"), "reached on loopback");
        let text = "kind: Gateway\nmetadata: {name: default}\n\
                    spec: {addresses: [{value: '::1'}], listeners: [{name: a, port: 9090, protocol: HTTP}]}\n";
        let source = SourceText { name: "-".into(), text: text.into() };
        weir_edge::native::apply_sources(&plane.control, &[source], "test").await.unwrap();
        assert_eq!(declare("127.0.0.1:8080").await, address("[::1]:9090"));
        plane.stop().await;
    }

    #[tokio::test]
    async fn what_is_not_used_or_not_served_is_noted() {
        let plane = plane().await;
        let gateway = declare_gateway(&plane, address("127.0.0.1:8080")).await.unwrap();
        assert_eq!(notes(&plane, Some(address("127.0.0.1:8080")), gateway), [""; 0]);
        let text = "kind: Gateway\nmetadata: {name: default}\n\
                    spec: {listeners: [{name: a, port: 9090, protocol: HTTP}]}\n---\n\
                    kind: Gateway\nmetadata: {name: edge}\n\
                    spec: {listeners: [{name: a, port: 9091, protocol: HTTP}]}\n---\n\
                    kind: HTTPRoute\nmetadata: {name: shop}\n\
                    spec: {parentRefs: [{name: egde}], rules: [{backendRefs: [{name: cart}]}]}\n";
        let source = SourceText { name: "-".into(), text: text.into() };
        weir_edge::native::apply_sources(&plane.control, &[source], "test").await.unwrap();
        let gateway = declare_gateway(&plane, address("127.0.0.1:8081")).await.unwrap();
        let found = notes(&plane, Some(address("127.0.0.1:8081")), gateway);
        let begins = [
            "--gateway 127.0.0.1:8081 is not used: Gateway/default is declared",
            "Gateway/edge is declared, but this gateway serves Gateway/default only",
            "HTTPRoute/shop: spec.parentRefs[0].name: there is no Gateway/egde yet",
        ];
        assert_eq!(found.len(), begins.len(), "{found:?}");
        for (note, begin) in found.iter().zip(begins) {
            assert!(note.starts_with(begin), "{note}");
        }
        assert_eq!(notes(&plane, None, gateway).len(), 2, "nothing was asked for");
        plane.stop().await;
    }

    #[test]
    fn children_log_as_quietly_unless_told_otherwise() {
        let told = LogArgs { log_level: Some("debug".into()), log_format: None };
        assert_eq!(quiet(&told).log_level.as_deref(), Some("debug"));
    }
}
