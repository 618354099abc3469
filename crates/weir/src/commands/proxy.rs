//! `weir proxy`: starts a data plane from what the command line says.

use std::net::SocketAddr;
use std::path::Path;

use weir_api::client::ServerUrl;
use weir_model::resource::Protocol;
use weir_model::{ServiceRef, names};
use weir_proxy::source::SourceError;
use weir_proxy::{
    AccessLogConfig, AccessLogFormat, HandoverError, Interception, Mode, PlaceConfig, ProxyConfig,
    ProxyError, RequestIdPolicy, SourceConfig, TracePolicy, TracingConfig,
};
use weir_tls::Names;

use crate::cli::roles::{LogFormat, ProxyArgs, RequestIdArg, TraceContextArg};
use crate::exit::{Exit, Failure};
use crate::processes::stop_signal;
use crate::{log, loopback, notify, open_files, server_client};

/// Where the control plane serves proxies when nothing else is said.
const DEFAULT_MESH: &str = "127.0.0.1:8502";

pub(super) fn run(args: &ProxyArgs) -> Result<Exit, Failure> {
    log::start(&args.log)?;
    let config = config(args)?;
    match open_files::raise(0) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
    notify::waiting("waiting for something to serve");
    let with_stdin = args.end_with_stdin;
    let shutdown = async move {
        let stop = stop_signal(with_stdin).await;
        notify::stopping();
        tracing::info!(reason = ?stop, "draining");
    };
    weir_proxy::run(config, shutdown).map_err(|error| cannot_start(&error))?;
    Ok(Exit::Done)
}

fn cannot_start(error: &ProxyError) -> Failure {
    let text = error.to_string();
    let failure = match error {
        // The files are right, and would do where the address is free, or where others may reach it.
        ProxyError::Source(SourceError::Files(_))
            if text.contains("cannot listen on") || text.contains("--insecure") =>
        {
            Failure::new(Exit::CannotStart, text.clone())
        }
        ProxyError::Source(SourceError::Files(_)) => return Failure::new(Exit::Invalid, text),
        _ => Failure::new(Exit::CannotStart, format!("the proxy ended: {text}")),
    };
    if matches!(error, ProxyError::Handover(HandoverError::Stranger { .. } | HandoverError::Path { .. })) {
        return failure.hint("give --handover a path in a directory that only this user may write to");
    }
    if matches!(error, ProxyError::Handover(_) | ProxyError::Source(SourceError::Inherited { .. })) {
        return failure
            .hint("the running proxy goes on; give this one a --handover PATH of its own to run beside it");
    }
    if matches!(error, ProxyError::Source(SourceError::DataDir { .. })) {
        return failure.hint("give --data-dir a directory that this user may write to, or leave it out");
    }
    if text.to_ascii_lowercase().contains("in use") {
        return failure
            .hint("another process listens there; choose another port, or see who with `ss -ltnp`");
    }
    failure
}

/// The data plane's configuration for what was said.
fn config(args: &ProxyArgs) -> Result<ProxyConfig, Failure> {
    check_names(args)?;
    for (flag, address) in
        [("--inbound", args.inbound), ("--outbound", args.outbound), ("--admin", args.admin)]
    {
        if let Some(address) = address {
            loopback::check(flag, address.0, args.insecure)?;
        }
    }
    for (flag, address) in args
        .upstreams
        .iter()
        .filter_map(|upstream| Some(("--upstream", upstream.address?)))
        .chain(args.transparent.iter().map(|address| ("--transparent", *address)))
    {
        loopback::check(flag, address.0, args.insecure)?;
    }
    let source = if args.files.is_empty() {
        mesh_source(args)?
    } else {
        SourceConfig::Static { files: args.files.clone() }
    };
    let mut config = ProxyConfig::new(mode(args)?, source);
    config.insecure = args.insecure;
    config.ready = Some(notify::ready);
    config.interception = interception(args)?;
    config.app_protocol = match &*args.app_protocol {
        "http2" => Protocol::Http2,
        "grpc" => Protocol::Grpc,
        "tcp" => Protocol::Tcp,
        _ => Protocol::Http,
    };
    config.workers = args.workers.map_or(0, usize::from);
    config.admin = args.admin.map(|address| address.0);
    config.access_log = args.access_log.as_deref().map(|path| access_log(path, args));
    config.tracing = tracing_config(args);
    config.place =
        PlaceConfig { region: args.region.clone(), zone: args.zone.clone(), host: crate::host_name() };
    config.drain_timeout = args.drain_timeout.0;
    config.handover.clone_from(&args.handover);
    Ok(config)
}

/// A proxy must be one of three, and what it is named for must be able to exist.
fn check_names(args: &ProxyArgs) -> Result<(), Failure> {
    if args.files.is_empty() && args.gateways.is_empty() && args.service.is_none() {
        let message = "a proxy must be one of three: from files (-f FILE), a gateway of a control plane (--gateway \
                       NAME), or a sidecar (--service NAME --app IP:PORT --inbound IP:PORT --outbound IP:PORT)";
        return Err(Failure::new(Exit::Usage, message).hint(
            "weir proxy --gateway default   beside `weir server`; `weir proxy --help` tells more about each",
        ));
    }
    let bad = |flag: &str, bad: names::BadName| {
        Failure::new(Exit::Usage, format!("{flag}: {bad}; expected {}", bad.expected))
    };
    names::label(&args.namespace).map_err(|error| bad("--namespace", error))?;
    for gateway in &args.gateways {
        let (namespace, name) = gateway.split_once('/').unwrap_or((&args.namespace, gateway));
        names::label(namespace).map_err(|error| bad("--gateway", error))?;
        names::subdomain(name).map_err(|error| bad("--gateway", error))?;
    }
    match &args.service {
        Some(service) => names::registered(service).map_err(|error| bad("--service", error)),
        None => Ok(()),
    }
}

fn access_log(path: &Path, args: &ProxyArgs) -> AccessLogConfig {
    AccessLogConfig {
        path: (path != Path::new("-")).then(|| path.to_owned()),
        format: match args.access_log_format {
            LogFormat::Json => AccessLogFormat::Json,
            LogFormat::Text => AccessLogFormat::Text,
        },
        sample: args.access_log_sample,
        ..AccessLogConfig::default()
    }
}

fn tracing_config(args: &ProxyArgs) -> TracingConfig {
    TracingConfig {
        request_id: match args.request_id {
            RequestIdArg::Keep => RequestIdPolicy::Keep,
            RequestIdArg::Replace => RequestIdPolicy::Replace,
            RequestIdArg::Off => RequestIdPolicy::Off,
        },
        trace_context: match args.trace_context {
            TraceContextArg::Pass => TracePolicy::Pass,
            TraceContextArg::Join => TracePolicy::Join,
            TraceContextArg::Start => TracePolicy::Start,
        },
    }
}

fn mode(args: &ProxyArgs) -> Result<Mode, Failure> {
    let Some(service) = &args.service else { return Ok(Mode::Gateway) };
    let missing = |flag: &str| {
        Failure::new(Exit::Usage, format!("a sidecar needs {flag} HOST:PORT")).hint("weir proxy --help")
    };
    let inbound = args.inbound.ok_or_else(|| missing("--inbound"))?.0;
    let app = args.app.ok_or_else(|| missing("--app"))?.0;
    let outbound = args.outbound.ok_or_else(|| missing("--outbound"))?.0;
    differ(("--app", app), ("--inbound", inbound))?;
    differ(("--app", app), ("--outbound", outbound))?;
    differ(("--inbound", inbound), ("--outbound", outbound))?;
    Ok(Mode::Sidecar { service: ServiceRef::new(&args.namespace, service), inbound, app, outbound })
}

/// The listeners for connections that the application does not make to its sidecar.
fn interception(args: &ProxyArgs) -> Result<Interception, Failure> {
    let mut interception = Interception {
        transparent: args.transparent.iter().map(|address| address.0).collect(),
        ..Interception::default()
    };
    for upstream in &args.upstreams {
        let service = upstream.service(&args.namespace);
        match upstream.address {
            Some(address) => interception.upstreams.push((service, address.0)),
            None => interception.known.push(service),
        }
    }
    let own = [("--app", args.app), ("--inbound", args.inbound), ("--outbound", args.outbound)];
    let mut taken: Vec<_> = own.into_iter().filter_map(|(flag, address)| Some((flag, address?.0))).collect();
    let upstreams = interception.upstreams.iter().map(|(_, address)| ("--upstream", *address));
    let transparent = interception.transparent.iter().map(|address| ("--transparent", *address));
    for one in upstreams.chain(transparent) {
        taken.iter().try_for_each(|other| differ(*other, one))?;
        taken.push(one);
    }
    Ok(interception)
}

/// Refuses two addresses that are the same one, or cannot be listened on at once: a sidecar would call itself.
fn differ(one: (&str, SocketAddr), other: (&str, SocketAddr)) -> Result<(), Failure> {
    let (a, b) = (one.1.ip().to_canonical(), other.1.ip().to_canonical());
    let same_ip = a == b || a.is_unspecified() || b.is_unspecified();
    // Port 0 is chosen by the system, each time another.
    if !same_ip || one.1.port() != other.1.port() || one.1.port() == 0 {
        return Ok(());
    }
    let message = format!("{} {} and {} {} are the same address", one.0, one.1, other.0, other.1);
    Err(Failure::new(Exit::Usage, message)
        .hint("--app is where the application listens; --inbound and --outbound are for the sidecar alone"))
}

fn mesh_source(args: &ProxyArgs) -> Result<SourceConfig, Failure> {
    let servers =
        args.server.as_deref().unwrap_or(DEFAULT_MESH).split(',').map(|text| mesh_server(text.trim()));
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    let gateways = args
        .gateways
        .iter()
        .map(|name| if name.contains('/') { name.clone() } else { format!("{}/{name}", args.namespace) })
        .collect();
    Ok(SourceConfig::Mesh {
        // The source takes several addresses separated by commas, and tries them in turn.
        server: servers.join(","),
        tls: server_client::tls_files(&args.server_tls, Names::default())?,
        id: args.id.clone().unwrap_or_else(|| default_id(args)),
        gateways,
        data_dir: args.data_dir.clone(),
    })
}

/// The URL of a control plane from its address.
fn mesh_server(text: &str) -> Result<String, Failure> {
    let server: ServerUrl =
        text.parse().map_err(|error| Failure::new(Exit::Usage, format!("--server: {error}")))?;
    // An IPv6 address without brackets cannot carry a port.
    let authority = text.trim_start_matches("http://").trim_start_matches("https://");
    let has_port =
        authority.rsplit_once(':').is_some_and(|(host, _)| host.ends_with(']') || !host.contains(':'));
    if !has_port {
        return Err(Failure::new(Exit::Usage, format!("--server: `{text}` has no port")).hint(format!(
            "proxies connect to port 8502: --server {}",
            ServerUrl { port: 8502, ..server }.authority()
        )));
    }
    Ok(server.to_string())
}

/// An id that is the same after a restart and differs between the proxies of a host: the role, what it serves, the
/// host, and for a sidecar the port at which calls arrive.
fn default_id(args: &ProxyArgs) -> String {
    let host = crate::host_name();
    match (&args.service, args.inbound) {
        (Some(service), Some(inbound)) => format!("sidecar-{service}-{host}-{}", inbound.0.port()),
        (Some(service), None) => format!("sidecar-{service}-{host}"),
        _ => format!("gateway-{}-{host}", args.gateways.join("-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn parse(line: &str) -> Result<ProxyConfig, Failure> {
        match Cli::try_parse_from(line.split_whitespace()).expect(line).command {
            Command::Proxy(args) => config(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_three_kinds_of_proxy() {
        let files = parse("weir proxy -f a.yaml -f b.yaml --workers 3 --drain-timeout 5s").unwrap();
        assert_eq!(files.mode, Mode::Gateway);
        assert_eq!(files.source, SourceConfig::Static { files: vec!["a.yaml".into(), "b.yaml".into()] });
        assert_eq!((files.workers, files.drain_timeout.as_secs()), (3, 5));
        let placed = parse("weir proxy -f a.yaml --region eu --zone eu-1a").unwrap().place;
        assert_eq!((placed.region.as_deref(), placed.zone.as_deref()), (Some("eu"), Some("eu-1a")));
        assert!(!placed.host.is_empty());

        let gateway = parse("weir proxy --gateway edge -n shop --id g1 --server 10.0.0.1:8502").unwrap();
        let SourceConfig::Mesh { server, id, gateways, .. } = gateway.source else { panic!() };
        assert_eq!((server.as_str(), id.as_str()), ("http://10.0.0.1:8502", "g1"));
        assert_eq!(gateways, ["shop/edge"]);

        let sidecar =
            parse("weir proxy --service cart --app 127.0.0.1:1 --inbound 127.0.0.1:2 --outbound 127.0.0.1:3")
                .unwrap();
        let Mode::Sidecar { service, inbound, .. } = sidecar.mode else { panic!() };
        assert_eq!((service.name.as_str(), inbound.port()), ("cart", 2));
        let SourceConfig::Mesh { id, .. } = sidecar.source else { panic!() };
        assert!(id.starts_with("sidecar-cart-") && id.ends_with("-2"), "{id}");

        let more = parse(
            "weir proxy --service cart -n shop --app 127.0.0.1:1 --inbound 127.0.0.1:2 --outbound 127.0.0.1:3 \
             --upstream db=127.0.0.1:5432 --upstream other/mail=127.0.0.1:25 --upstream cart --transparent 127.0.0.1:15001 \
             --transparent [::1]:15001 --app-protocol tcp",
        )
        .unwrap();
        let services: Vec<_> =
            more.interception.upstreams.iter().map(|(service, _)| service.to_string()).collect();
        assert_eq!(services, ["shop/db", "other/mail"]);
        assert_eq!(more.interception.known, [ServiceRef::new("shop", "cart")]);
        assert_eq!((more.interception.transparent.len(), more.app_protocol), (2, Protocol::Tcp));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let usage = |line: &str, part: &str| {
            let failure = parse(line).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{line}");
            assert!(failure.to_string().contains(part), "{line}: {failure}");
        };
        let logged = "weir proxy -f a.yaml --access-log - --access-log-format text --access-log-sample 0.25";
        let log = parse(logged).unwrap().access_log.unwrap();
        assert_eq!((log.path, log.format, log.sample), (None, AccessLogFormat::Text, 0.25));
        assert_eq!(parse("weir proxy -f a.yaml").unwrap().tracing, TracingConfig::default());
        let traced =
            parse("weir proxy -f a.yaml --request-id replace --trace-context start").unwrap().tracing;
        assert_eq!(traced.request_id, RequestIdPolicy::Replace);
        assert_eq!(traced.trace_context, TracePolicy::Start);
        usage("weir proxy", "(-f FILE), a gateway of a control plane (--gateway NAME), or a sidecar");
        usage("weir proxy --gateway Default!", "--gateway: `Default!` is not a DNS name");
        usage("weir proxy --gateway shop/a/b", "--gateway: `a/b`");
        usage("weir proxy --gateway a -n A", "--namespace: `A` is not a DNS label");
        usage("weir proxy --gateway edge --server weir.example", "weir.example:8502");
        usage("weir proxy --gateway edge --server ::1", "[::1]:8502");
        let sidecar = |app: &str, inbound: &str, outbound: &str| {
            format!("weir proxy --insecure --service a --app {app} --inbound {inbound} --outbound {outbound}")
        };
        let (one, two, three) = ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3");
        usage(&sidecar(one, one, two), "--app 127.0.0.1:1 and --inbound 127.0.0.1:1 are the same address");
        usage(&sidecar(one, two, one), "--app 127.0.0.1:1 and --outbound");
        usage(&sidecar(one, two, two), "--inbound 127.0.0.1:2 and --outbound");
        usage(&sidecar(one, "0.0.0.0:1", two), "are the same address");
        let with = |more: &str| format!("{} {more}", sidecar(one, two, three));
        usage(
            &with("--upstream a=127.0.0.1:2"),
            "--inbound 127.0.0.1:2 and --upstream 127.0.0.1:2 are the same",
        );
        usage(
            &with("--upstream a=127.0.0.1:4 --transparent 127.0.0.1:4"),
            "--upstream 127.0.0.1:4 and --transparent",
        );
        assert!(parse(&sidecar(one, two, three)).is_ok() && parse(&sidecar(one, "127.0.0.2:1", two)).is_ok());
        usage("weir proxy --gateway edge --server ftp://weir:8502", "unknown scheme");
        let tls = "--server https://weir:8502 --server-ca ca.pem --server-cert a.pem";
        usage(&format!("weir proxy --gateway edge {tls}"), "--server-cert and --server-key belong together");
        let secure = parse(&format!("weir proxy --gateway edge {tls} --server-key a.key")).unwrap();
        let SourceConfig::Mesh { server, tls, .. } = secure.source else { panic!() };
        assert_eq!((server.as_str(), tls.ca), ("https://weir:8502", Some("ca.pem".into())));
        let failure = parse("weir proxy -f a.yaml --admin 0.0.0.0:9000").unwrap_err();
        assert_eq!(failure.exit, Exit::CannotStart);
        assert!(parse("weir proxy -f a.yaml --admin 0.0.0.0:9000 --insecure").is_ok());
    }
}
