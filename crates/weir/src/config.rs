//! The configuration file of `weir server`: every flag has a key of the same name.
//!
//! The file is read as strictly as documents are: unknown keys are errors, with the key that was probably meant.

mod dns;
mod keys;
pub(crate) mod names;
mod tls;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use weir_edge::dns::{Domain, ServiceTtl};
use weir_model::document::{DocumentError, decode_as};
use weir_store::EtcdAddress;
use weir_tls::ServerFiles;

use crate::cli::ListenAddress;
use crate::cli::dns::{DnsArgs, DnsListen, Parsed, Recursor, Ttl};
use crate::cli::roles::{LogArgs, LogFormat, ServerArgs};
use crate::definitions::{Scripts, Source};
use crate::exit::{Exit, Failure};
use crate::listener::HttpListen;
use crate::output::yaml;
use crate::{host_name, sources};

pub(crate) use dns::{DEFAULT_DNS, DnsSettings};
use keys::KEYS;
pub(crate) use tls::TlsKeys;

/// Where the HTTP APIs are served unless told otherwise.
pub(crate) const DEFAULT_HTTP: &str = "127.0.0.1:8500";
/// Where proxies connect unless told otherwise.
pub(crate) const DEFAULT_GRPC: &str = "127.0.0.1:8502";
/// The datacenter's name unless told otherwise.
pub(crate) const DEFAULT_DATACENTER: &str = "dc1";

/// The node that registrations belong to where servers share a store.
const SHARED_NODE: &str = "weir";

/// What a control plane runs with: flags, then the file, then the defaults.
#[derive(Clone, Debug)]
pub(crate) struct ServerConfig {
    /// Where the HTTP APIs are served.
    pub http: ListenAddress,
    /// Where proxies connect.
    pub grpc: ListenAddress,
    /// Where and how DNS is served.
    pub dns: DnsSettings,
    /// Where everything is kept; in memory when absent.
    pub data_dir: Option<PathBuf>,
    /// The etcd cluster in which everything is kept instead.
    pub store: Option<EtcdAddress>,
    /// The address under which other replicas reach this one, if it is not the one it listens on.
    pub advertise: Option<IpAddr>,
    /// What its listeners show and whom they let in; no TLS when absent.
    pub tls: Option<ServerFiles>,
    /// Authorities that other replicas' certificates are checked against, if they are not those of clients.
    pub tls_ca: Option<PathBuf>,
    /// Documents to apply at start.
    pub files: Vec<PathBuf>,
    /// The datacenter's name.
    pub datacenter: String,
    /// The node that registrations made here belong to.
    pub node_name: String,
    /// Whether it may listen beyond loopback.
    pub insecure: bool,
    /// Names beside addresses, `localhost` and the host's own under which it is asked on loopback.
    pub allowed_hosts: Vec<String>,
    /// How many files may be open; 0 for as many as possible.
    pub open_files: u64,
    /// What is logged.
    pub log: LogArgs,
    /// What it does besides because it was started as Consul is.
    pub as_consul: AsConsul,
}

/// What only those who start a server with Consul's flags and files get.
#[derive(Clone, Debug, Default)]
pub(crate) struct AsConsul {
    /// Where it is asked besides over TLS.
    pub https: Option<HttpListen>,
    /// The address of the server's own node, if it is not the one it listens on.
    pub address: Option<IpAddr>,
    /// Services and checks of the own node that files define.
    pub definitions: Source,
    /// Which checks may be programs.
    pub scripts: Scripts,
    /// Whether it obeys `PUT /v1/agent/leave`, which ends it, and `PUT /v1/agent/reload`.
    pub obeys: bool,
    /// The file that says which process serves.
    pub pid_file: Option<PathBuf>,
}

impl ServerConfig {
    /// What the command line and its configuration file say together.
    ///
    /// # Errors
    /// When the file cannot be read, or has something wrong in it: then all that is wrong is said.
    pub(crate) fn load(flags: ServerArgs) -> Result<Self, Failure> {
        let file = match &flags.config {
            Some(path) => read_file(path)?,
            None => ServerFile::default(),
        };
        Self::merge(flags, file)
    }

    fn merge(flags: ServerArgs, mut file: ServerFile) -> Result<Self, Failure> {
        let default =
            |text: &str| text.parse::<ListenAddress>().map_err(|error| Failure::new(Exit::Failed, error));
        let tls = TlsKeys {
            cert: flags.tls_cert.or(file.tls_cert.take()),
            key: flags.tls_key.or(file.tls_key.take()),
            client_ca: flags.tls_client_ca.or(file.tls_client_ca.take()),
            ca: flags.tls_ca.or(file.tls_ca.take()),
        };
        let tls_ca = tls.ca.clone();
        let mut config = Self {
            http: flags.http.or(file.http).map_or_else(|| default(DEFAULT_HTTP), Ok)?,
            grpc: flags.grpc.or(file.grpc).map_or_else(|| default(DEFAULT_GRPC), Ok)?,
            dns: DnsSettings::merge(flags.dns, file.dns_args())?,
            // A flag for the one wins over the file's other.
            data_dir: if flags.store.is_some() { None } else { flags.data_dir.clone().or(file.data_dir) },
            store: if flags.data_dir.is_some() {
                None
            } else {
                flags.store.or(file.store.map(|store| store.0))
            },
            advertise: flags.advertise.or(file.advertise),
            tls: tls.files()?,
            tls_ca,
            files: if flags.files.is_empty() { file.file.unwrap_or_default() } else { flags.files },
            datacenter: flags.datacenter.or(file.datacenter).unwrap_or_else(|| DEFAULT_DATACENTER.to_owned()),
            node_name: String::new(),
            insecure: flags.insecure || file.insecure.unwrap_or(false),
            allowed_hosts: if flags.allowed_hosts.is_empty() {
                file.allowed_hosts.unwrap_or_default()
            } else {
                flags.allowed_hosts
            },
            open_files: flags.open_files.or(file.open_files).unwrap_or(0),
            log: LogArgs {
                log_level: flags.log.log_level.or(file.log_level),
                log_format: flags.log.log_format.or(file.log_format),
            },
            as_consul: AsConsul::default(),
        };
        // Registrations made at any replica belong to one node.
        let default = || if config.store.is_some() { SHARED_NODE.to_owned() } else { host_name() };
        config.node_name = flags.node_name.or(file.node_name).unwrap_or_else(default);
        config.check()?;
        Ok(config)
    }

    /// Where its HTTP APIs are served; the first is the one under which it is known.
    pub(crate) fn http_listens(&self) -> Vec<HttpListen> {
        let first = HttpListen { flag: "--http", address: self.http, tls: self.tls.clone() };
        [Some(first), self.as_consul.https.clone()].into_iter().flatten().collect()
    }

    /// Names must be such that clients can use them.
    fn check(&self) -> Result<(), Failure> {
        names::check_datacenter(&self.datacenter)?;
        if self.data_dir.is_some() && self.store.is_some() {
            let message = "data-dir, store: both are given; expected one place in which everything is kept";
            return Err(Failure::new(Exit::Usage, message));
        }
        if self.advertise.is_some() && self.store.is_none() {
            let message = "advertise: there is no store that others share; expected store as well";
            return Err(Failure::new(Exit::Usage, message));
        }
        names::check_allowed_hosts(&self.allowed_hosts)?;
        names::check_node(&self.node_name)
    }

    /// This configuration as a file, with every key and what it means.
    pub(crate) fn print(&self) -> String {
        let begin =
            "# Configuration of `weir server`: its file, its flags and the defaults taken together.\n";
        let mut text = begin.to_owned();
        for key in KEYS {
            let value = self.value(key.name);
            let value = if value.is_null() {
                format!("{}: {}\n", key.name, key.default)
            } else {
                entry(key.name, value)
            };
            text.push_str(&key.comment());
            text.push_str(&value);
        }
        text
    }

    /// The value of a key; null if it is left to its default.
    fn value(&self, key: &str) -> Value {
        let shown = |value: &dyn std::fmt::Display| Value::from(value.to_string());
        let path = |path: Option<&PathBuf>| path.map_or(Value::Null, |path| shown(&path.display()));
        match key {
            "http" => shown(&self.http),
            "grpc" => shown(&self.grpc),
            "data-dir" => path(self.data_dir.as_ref()),
            "store" => self.store.as_ref().map_or(Value::Null, |store| shown(store)),
            "advertise" => self.advertise.map_or(Value::Null, |ip| shown(&ip)),
            "tls-cert" => path(self.tls.as_ref().map(|tls| &tls.cert)),
            "tls-key" => path(self.tls.as_ref().map(|tls| &tls.key)),
            "tls-client-ca" => path(self.tls.as_ref().and_then(|tls| tls.client_ca.as_ref())),
            "tls-ca" => path(self.tls_ca.as_ref()),
            "file" => self.files.iter().map(|file| shown(&file.display())).collect(),
            "datacenter" => self.datacenter.as_str().into(),
            "node-name" => self.node_name.as_str().into(),
            "insecure" => self.insecure.into(),
            "allowed-hosts" => self.allowed_hosts.iter().map(String::as_str).collect(),
            "open-files" => self.open_files.into(),
            "log-level" => self.log.log_level.as_deref().into(),
            "log-format" => self.log.log_format.map(LogFormat::as_str).into(),
            _ => self.dns.value(key),
        }
    }
}

/// A key with its value, as it stands in a file.
fn entry(key: &str, value: Value) -> String {
    yaml::to_string(&Value::Object([(key.to_owned(), value)].into_iter().collect()))
}

/// The default file, with every key and what it means.
pub(crate) fn print_default() -> String {
    let mut text =
        "# Configuration of `weir server`. Every key is also a flag, which wins over this file.\n".to_owned();
    text.push_str(
        "# All values here are the defaults; a key that is left out or `null` keeps its default.\n",
    );
    for key in KEYS {
        text.push_str(&key.comment());
        text.push_str(&format!("{}: {}\n", key.name, key.default));
    }
    text
}

/// The file's keys. What is absent or `null` is left to the flags and defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct ServerFile {
    http: Option<ListenAddress>,
    grpc: Option<ListenAddress>,
    dns: Option<DnsListen>,
    dns_insecure: Option<bool>,
    dns_domain: Option<Parsed<Domain>>,
    dns_alt_domain: Option<Parsed<Domain>>,
    dns_recursor: Option<Vec<Parsed<Recursor>>>,
    dns_only_passing: Option<bool>,
    dns_node_ttl: Option<Parsed<Ttl>>,
    dns_service_ttl: Option<Vec<Parsed<ServiceTtl>>>,
    dns_negative_ttl: Option<Parsed<Ttl>>,
    data_dir: Option<PathBuf>,
    store: Option<Parsed<EtcdAddress>>,
    advertise: Option<IpAddr>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    file: Option<Vec<PathBuf>>,
    datacenter: Option<String>,
    node_name: Option<String>,
    insecure: Option<bool>,
    allowed_hosts: Option<Vec<String>>,
    open_files: Option<u64>,
    log_level: Option<String>,
    log_format: Option<LogFormat>,
}

impl ServerFile {
    /// What it says of DNS.
    fn dns_args(&mut self) -> DnsArgs {
        DnsArgs {
            listen: self.dns,
            insecure: self.dns_insecure.unwrap_or(false),
            domain: self.dns_domain.take(),
            alt_domain: self.dns_alt_domain.take(),
            recursors: self.dns_recursor.take().unwrap_or_default(),
            only_passing: self.dns_only_passing.unwrap_or(false),
            node_ttl: self.dns_node_ttl.take(),
            service_ttls: self.dns_service_ttl.take().unwrap_or_default(),
            negative_ttl: self.dns_negative_ttl.take(),
        }
    }
}

fn read_file(path: &Path) -> Result<ServerFile, Failure> {
    let as_usage = |failure: Failure| Failure { exit: Exit::Usage, ..failure };
    let source = sources::read_file(path).map_err(as_usage)?;
    parse(&source.name, &source.text).map_err(|errors| {
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Failure::new(Exit::Usage, text)
            .hint("`weir server --print-config` prints every key and what it means")
    })
}

/// Reads a configuration file's text.
fn parse(source: &str, text: &str) -> Result<ServerFile, Vec<DocumentError>> {
    decode_as(source, text)
}

#[cfg(test)]
mod tests;
