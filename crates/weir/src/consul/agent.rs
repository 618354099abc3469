//! `weir consul agent`: a server or a host's agent, from Consul's flags and files.

use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use serde_json::Value;
use weir_api::client::ServerUrl;

use super::flags::{self, Words};
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
use crate::server_client::OF_VARIABLES;
use crate::{host_name, output};

/// Consul's ports.
const HTTP_PORT: u16 = 8500;
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
    let http = http(settings)?;
    // Several servers on one host, as tests start them, name the port of HTTP and no other.
    let free_unless_usual = if http.0.port() == HTTP_PORT { GRPC_PORT } else { 0 };
    let grpc = match settings.grpc_port {
        Some(Port::At(port)) => port,
        Some(Port::Off) => 0,
        None => free_unless_usual,
    };
    let mut config = ServerConfig::load(ServerArgs {
        http: Some(http),
        grpc: Some(ListenAddress(SocketAddr::new(settings.http_ip(), grpc))),
        dns: DnsArgs { listen: Some(dns(settings)), ..dns_args(settings)? },
        data_dir: settings.data_dir.clone(),
        datacenter: settings.datacenter.clone(),
        node_name: Some(settings.node_name.clone().unwrap_or_else(host_name)),
        insecure: listens_openly(settings),
        log: log(settings)?,
        ..ServerArgs::default()
    })?;
    config.as_consul = AsConsul {
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
    let config = AgentConfig {
        tls: connectors(&servers, &ServerTlsArgs::default(), OF_VARIABLES)?,
        servers,
        server_dns: Vec::new(),
        http: http(settings)?,
        dns: dns(settings),
        data_dir: settings.data_dir.clone(),
        datacenter: settings.datacenter.clone().unwrap_or_else(|| DEFAULT_DATACENTER.to_owned()),
        node_name: settings.node_name.clone().unwrap_or_else(host_name),
        address: settings.node_ip(),
        node_meta: settings.node_meta.clone(),
        definitions: source(args),
        scripts: scripts(settings),
        leave_on_terminate: settings.leave_on_terminate.unwrap_or(false),
        insecure: listens_openly(settings),
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

fn http(settings: &Settings) -> Result<ListenAddress, Failure> {
    match settings.http_port.unwrap_or(Port::At(HTTP_PORT)) {
        Port::At(port) => Ok(ListenAddress(SocketAddr::new(settings.http_ip(), port))),
        Port::Off => Err(Failure::new(Exit::Usage, "ports.http: -1: weir is always asked over HTTP")),
    }
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

/// Whether it is to listen where others reach it, as Consul does without more words.
fn listens_openly(settings: &Settings) -> bool {
    let open =
        [settings.http_ip(), settings.dns_ip()].into_iter().find(|ip| !ip.to_canonical().is_loopback());
    if let Some(ip) = open {
        output::remark(&format!(
            "warning: whoever reaches {ip} can read and change everything: no tokens, no TLS"
        ));
    }
    open.is_some()
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
