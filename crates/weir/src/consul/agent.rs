//! `weir consul agent`: a server or a host's agent, from Consul's flags and files.

use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use serde_json::Value;
use weir_api::client::ServerUrl;

use super::flags::{self, Takes, Words};
use super::keys::{self, OF_THE_COMMAND_LINE};
use super::settings::{Port, Settings};
use super::words;
use crate::agent_config::{AgentConfig, connectors};
use crate::cli::ListenAddress;
use crate::cli::dns::{DnsArgs, DnsListen, Parsed};
use crate::cli::operator::ServerTlsArgs;
use crate::cli::roles::{LogArgs, LogFormat, ServerArgs};
use crate::commands::serve::{run_agent, run_server};
use crate::config::{AsConsul, DEFAULT_DATACENTER, ServerConfig};
use crate::definitions::{Scripts, Source, files, hcl, read_object};
use crate::exit::{Exit, Failure};
use crate::listener::HttpListen;
use crate::server_client::OF_VARIABLES;
use crate::{definitions, host_name, loopback, output};

/// Consul's ports.
const HTTP_PORT: u16 = 8500;
const HTTPS_PORT: u16 = 8501;
const DNS_PORT: u16 = 8600;
const GRPC_PORT: u16 = 8502;
/// The port of Consul's gossip, which addresses to join carry.
const GOSSIP_PORT: u16 = 8301;

/// Runs `weir consul agent`.
///
/// # Errors
/// When flags or files are wrong, or it cannot start.
pub(super) fn run(args: &[String]) -> Result<Exit, Failure> {
    start(args).map_err(words::as_consul)
}

fn start(args: &[String]) -> Result<Exit, Failure> {
    let (settings, is_dev) = read(args)?;
    for remark in &settings.remarks {
        output::remark(&format!("warning: {remark}"));
    }
    if is_dev || settings.server == Some(true) {
        server_config(&settings, args).and_then(|config| run_server(&config))
    } else {
        agent_config(&settings, args).and_then(|config| run_agent(&config))
    }
}

/// Judges files as an agent does that is started with them, and starts none.
///
/// # Errors
/// When something in them is wrong.
pub(super) fn validate(args: &[String]) -> Result<Exit, Failure> {
    judge(args).map_err(words::as_consul)
}

fn judge(args: &[String]) -> Result<Exit, Failure> {
    let own = [("config-format", Takes::Value), ("quiet", Takes::Switch)];
    let said = flags::read(args, &[&own], Words::Any)?;
    said.word(0, "FILE")?;
    let files = said.rest.iter().flat_map(|file| ["-config-file".to_owned(), file.clone()]);
    let format = said.get("config-format").map(|format| format!("-config-format={format}"));
    let args: Vec<String> = files.chain(format).collect();
    let (settings, _) = read(&args)?;
    let warnings = settings.remarks.iter().filter(|_| !said.is_on("quiet"));
    warnings.for_each(|remark| output::remark(&format!("warning: {remark}")));
    if settings.server == Some(true) {
        server_config(&settings, &args)?;
    } else {
        agent_config(&settings, &args)?;
    }
    definitions::read(&source(&args), scripts(&settings))?;
    if !said.is_on("quiet") {
        output::print("Configuration is valid!\n");
    }
    Ok(Exit::Done)
}

/// What flags and files say, and whether it is for development.
fn read(args: &[String]) -> Result<(Settings, bool), Failure> {
    let by_key = keys::flags();
    let said = flags::read(args, &[OF_THE_COMMAND_LINE, &by_key], Words::UpTo(0))?;
    if let Some(format) = said.get("config-format").filter(|format| *format != "json") {
        let message = format!("-config-format {format}: only json is understood");
        return Err(Failure::new(Exit::Usage, message).hint(hcl::HINT));
    }
    if said.get("hcl").is_some() {
        return Err(Failure::new(Exit::Usage, "-hcl: HCL is not understood").hint(hcl::HINT));
    }
    let mut settings = Settings::default();
    for (flag, value) in &said.flags {
        let paths = match *flag {
            "config-file" | "config-dir" => files(Path::new(value))?,
            _ => continue,
        };
        for path in paths {
            settings.read(&path.display().to_string(), &read_object(&path)?)?;
        }
    }
    for (flag, value) in &said.flags {
        if let Some(key) = keys::of_flag(flag) {
            settings.key(&format!("-{flag}"), key, &Value::from(&**value))?;
        }
    }
    Ok((settings, said.is_on("dev")))
}

/// The services and checks that the same flags and files define, whenever they are read.
fn source(args: &[String]) -> Source {
    let args = args.to_vec();
    Source::new(move || read(&args).map(|(settings, _)| settings.definitions))
}

/// What a server is started with.
fn server_config(settings: &Settings, args: &[String]) -> Result<ServerConfig, Failure> {
    let listens = listens(settings)?;
    let first = &listens[0];
    // Several servers on one host, as tests start them, name the port of HTTP and no other.
    let is_usual = [HTTP_PORT, HTTPS_PORT].contains(&first.address.0.port());
    let free_unless_usual = if is_usual { GRPC_PORT } else { 0 };
    let grpc = match settings.grpc_port {
        Some(Port::At(port)) => port,
        Some(Port::Off) => 0,
        None => free_unless_usual,
    };
    let mut config = ServerConfig::load(ServerArgs {
        http: Some(first.address),
        tls_cert: first.tls.as_ref().map(|tls| tls.cert.clone()),
        tls_key: first.tls.as_ref().map(|tls| tls.key.clone()),
        tls_client_ca: first.tls.as_ref().and_then(|tls| tls.client_ca.clone()),
        grpc: Some(ListenAddress(SocketAddr::new(settings.http_ip(), grpc))),
        dns: DnsArgs { listen: Some(dns(settings)), insecure: opens_dns(settings), ..dns_args(settings)? },
        data_dir: settings.data_dir.clone(),
        datacenter: settings.datacenter.clone(),
        node_name: Some(settings.node_name.clone().unwrap_or_else(host_name)),
        insecure: is_open(&listens),
        log: log(settings)?,
        ..ServerArgs::default()
    })?;
    config.as_consul = AsConsul {
        https: listens.get(1).cloned(),
        address: settings.node_ip(),
        definitions: source(args),
        scripts: scripts(settings),
        obeys: true,
        pid_file: settings.pid_file.clone(),
    };
    for ignored in &settings.retry_join {
        output::remark(&format!(
            "warning: {ignored}: servers do not join each other; share a store (docs/etcd.md)"
        ));
    }
    Ok(config)
}

/// What a host's agent is started with.
fn agent_config(settings: &Settings, args: &[String]) -> Result<AgentConfig, Failure> {
    let servers = settings.retry_join.iter().map(|join| server(join)).collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() {
        output::remark(
            "warning: no server is named (-retry-join): the agent serves what is registered with it, and no more",
        );
    }
    let http = listens(settings)?;
    let config = AgentConfig {
        insecure: is_open(&http),
        dns_insecure: opens_dns(settings),
        tls: connectors(&servers, &ServerTlsArgs::default(), OF_VARIABLES)?,
        servers,
        server_dns: Vec::new(),
        http,
        dns: dns(settings),
        data_dir: settings.data_dir.clone(),
        datacenter: settings.datacenter.clone().unwrap_or_else(|| DEFAULT_DATACENTER.to_owned()),
        node_name: settings.node_name.clone().unwrap_or_else(host_name),
        address: settings.node_ip(),
        node_meta: settings.node_meta.clone(),
        definitions: source(args),
        scripts: scripts(settings),
        leave_on_terminate: settings.leave_on_terminate.unwrap_or(false),
        allowed_hosts: Vec::new(),
        open_files: 0,
        pid_file: settings.pid_file.clone(),
        log: log(settings)?,
    };
    config.check()?;
    Ok(config)
}

/// The HTTP address of a server that is to be joined: the port of gossip stands for Consul's, any other is meant.
fn server(join: &str) -> Result<ServerUrl, Failure> {
    if join.contains("provider=") {
        let message =
            format!("retry_join: {join}: servers are not looked for at providers, name their addresses");
        return Err(Failure::new(Exit::Usage, message));
    }
    let mut url = ServerUrl::from_str(join)
        .map_err(|error| Failure::new(Exit::Usage, format!("retry_join: {error}")))?;
    if url.port == GOSSIP_PORT {
        url.port = HTTP_PORT;
    }
    Ok(url)
}

/// Where HTTP is served: in the clear, unless its port is -1, and over TLS, where a port is named. At least one.
fn listens(settings: &Settings) -> Result<Vec<HttpListen>, Failure> {
    let listen =
        |flag, ip, port, tls| HttpListen { flag, address: ListenAddress(SocketAddr::new(ip, port)), tls };
    let http = match settings.http_port.unwrap_or(Port::At(HTTP_PORT)) {
        Port::At(port) => Some(listen("--http", settings.http_ip(), port, None)),
        Port::Off => None,
    };
    let https = match settings.https_port {
        Some(Port::At(port)) if port > 0 => {
            Some(listen("--https", settings.https_ip(), port, Some(settings.secure.files()?)))
        }
        _ => {
            if settings.secure.is_said() {
                output::remark("warning: TLS is spoken at ports.https, which is not set: NOT IN FORCE");
            }
            None
        }
    };
    let all: Vec<_> = [http, https].into_iter().flatten().collect();
    if all.is_empty() {
        let message = "ports.http: -1: weir is always asked over HTTP; expected a port of it, or of https";
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(all)
}

fn dns(settings: &Settings) -> DnsListen {
    match settings.dns_port {
        Some(Port::Off) => DnsListen::Off,
        Some(Port::At(port)) => DnsListen::At(ListenAddress(SocketAddr::new(settings.dns_ip(), port))),
        None => DnsListen::At(ListenAddress(SocketAddr::new(settings.dns_ip(), DNS_PORT))),
    }
}

fn dns_args(settings: &Settings) -> Result<DnsArgs, Failure> {
    Ok(DnsArgs {
        listen: None,
        domain: settings
            .domain
            .as_deref()
            .map(|text| parsed("domain", text.trim_end_matches('.')))
            .transpose()?,
        alt_domain: settings
            .alt_domain
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(|text| parsed("alt_domain", text.trim_end_matches('.')))
            .transpose()?,
        recursors: settings
            .recursors
            .iter()
            .map(|text| parsed("recursors", text))
            .collect::<Result<_, _>>()?,
        only_passing: settings.only_passing.unwrap_or(false),
        node_ttl: settings.node_ttl.as_deref().map(|text| parsed("dns_config.node_ttl", text)).transpose()?,
        service_ttls: settings
            .service_ttls
            .iter()
            .map(|(name, ttl)| {
                let text = if name == "*" { ttl.clone() } else { format!("{name}={ttl}") };
                parsed("dns_config.service_ttl", &text)
            })
            .collect::<Result<_, _>>()?,
        negative_ttl: None,
        insecure: false,
    })
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(key: &str, text: &str) -> Result<Parsed<T>, Failure> {
    text.parse().map(Parsed).map_err(|error| Failure::new(Exit::Usage, format!("{key}: {error}")))
}

fn scripts(settings: &Settings) -> Scripts {
    if settings.script_checks == Some(true) {
        Scripts::On
    } else if settings.local_script_checks == Some(true) {
        Scripts::Local
    } else {
        Scripts::Off
    }
}

/// Whether HTTP is to be served where others reach it and show no certificate, as Consul does without more words.
fn is_open(listens: &[HttpListen]) -> bool {
    let open = listens.iter().find(|listen| listen.check(false).is_err());
    if let Some(HttpListen { address, tls, .. }) = open {
        let without = if tls.is_some() { "verify_incoming" } else { "TLS" };
        output::remark(&format!(
            "warning: whoever reaches {address} can read and change everything: no tokens, no {without}"
        ));
    }
    open.is_some()
}

/// The same for DNS.
fn opens_dns(settings: &Settings) -> bool {
    let DnsListen::At(ListenAddress(address)) = dns(settings) else { return false };
    let is_open = loopback::check_dns(address, false).is_err();
    if is_open {
        output::remark(&format!(
            "warning: whoever reaches {address} learns what is registered: DNS is not encrypted"
        ));
    }
    is_open
}

fn log(settings: &Settings) -> Result<LogArgs, Failure> {
    let level = match &settings.log_level {
        None => None,
        Some(level) => Some(match &*level.to_ascii_lowercase() {
            "err" => "error".to_owned(),
            known @ ("trace" | "debug" | "info" | "warn" | "error") => known.to_owned(),
            _ => {
                let message = format!("log_level: `{level}`: expected trace, debug, info, warn or error");
                return Err(Failure::new(Exit::Usage, message));
            }
        }),
    };
    Ok(LogArgs {
        log_level: level,
        log_format: settings.log_json.filter(|json| *json).map(|_| LogFormat::Json),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(args: &[&str]) -> Result<(Settings, bool), String> {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        read(&args).map_err(|failure| failure.to_string())
    }

    #[test]
    fn flags_win_over_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("a.json", r#"{"ports": {"http": 1, "dns": 2}, "datacenter": "dc7", "retry_join": ["a"]}"#);
        write("b.json", r#"{"ports": {"dns": 3}, "retry_join": ["b"]}"#);
        let dir = dir.path().to_str().unwrap();
        let (settings, is_dev) =
            said(&["-http-port=4", "-config-dir", dir, "-dev", "-retry-join", "c", "-node", "n"]).unwrap();
        assert!(is_dev);
        assert_eq!((settings.http_port, settings.dns_port), (Some(Port::At(4)), Some(Port::At(3))));
        assert_eq!(settings.retry_join, ["a", "b", "c"]);
        let config = server_config(&settings, &[]).unwrap();
        assert_eq!((config.http.to_string(), &*config.datacenter), ("127.0.0.1:4".to_owned(), "dc7"));
        assert_eq!((config.grpc.0.port(), &*config.node_name), (0, "n"));
        let config = agent_config(&settings, &[]).unwrap();
        assert_eq!(config.servers[2].to_string(), "http://c:8500");
    }

    #[test]
    fn files_are_judged_without_an_agent() {
        let dir = tempfile::tempdir().unwrap();
        let judged = |text: &str| {
            let file = dir.path().join("a.json");
            std::fs::write(&file, text).unwrap();
            validate(&["-quiet".to_owned(), file.display().to_string()])
                .map_err(|failure| (failure.exit, failure.message))
        };
        assert_eq!(
            judged(r#"{"server": true, "service": {"name": "web"}, "acl": {"enabled": true}}"#),
            Ok(Exit::Done)
        );
        for (text, exit, says) in [
            (r#"{"datacentre": "x"}"#, Exit::Usage, "datacentre: Consul knows no such key"),
            (r#"{"service": {"name": "web", "prot": 1}}"#, Exit::Invalid, "prot: unknown field"),
            (r#"{"log_level": "loud"}"#, Exit::Usage, "log_level"),
            (r#"{"ports": {"https": 8501}}"#, Exit::Usage, "ports.https: TLS wants cert_file"),
            (r#"{"ports": {"http": -1}}"#, Exit::Usage, "always asked over HTTP"),
        ] {
            let (found, message) = judged(text).unwrap_err();
            assert!(found == exit && message.contains(says), "{text}: {found:?} {message}");
        }
        assert!(validate(&[]).unwrap_err().message.contains("Missing FILE"));
    }

    #[test]
    fn addresses_to_join_are_those_of_http() {
        for (join, url) in [
            ("10.0.0.1", "http://10.0.0.1:8500"),
            ("10.0.0.1:8301", "http://10.0.0.1:8500"),
            ("10.0.0.1:9500", "http://10.0.0.1:9500"),
            ("[::1]:8301", "http://[::1]:8500"),
            ("https://10.0.0.1:8501", "https://10.0.0.1:8501"),
        ] {
            assert_eq!(server(join).unwrap().to_string(), url);
        }
        assert!(server("provider=aws tag_key=x").unwrap_err().message.contains("providers"));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (args, says) in [
            (&["-config-file", "/nowhere.json"][..], "cannot read /nowhere.json"),
            (&["-config-format", "hcl"], "only json"),
            (&["-hcl", "x"], "HCL is not understood"),
            (&["-bind", "eth0"], "-bind: bind_addr: `eth0` is no IP address"),
            (&["run"], "Too many arguments (expected 0, got 1): `run`"),
        ] {
            let error = said(args).unwrap_err();
            assert!(error.contains(says), "{args:?}: {error}");
        }
        let (settings, _) = said(&["-http-port", "-1"]).unwrap();
        assert!(server_config(&settings, &[]).unwrap_err().message.contains("always asked over HTTP"));
        let (settings, _) = said(&["-log-level", "loud"]).unwrap();
        assert!(server_config(&settings, &[]).unwrap_err().message.contains("log_level"));
    }
}
