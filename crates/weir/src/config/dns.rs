//! The settings of DNS, flags and file taken together.

use serde_json::Value;
use weir_edge::dns::{DnsConfig, Domain, ServiceTtl, ServiceTtls};

use crate::cli::dns::{DnsArgs, DnsListen, Parsed, Recursor, Ttl};
use crate::exit::{Exit, Failure};

/// Where DNS is served unless told otherwise.
pub(crate) const DEFAULT_DNS: &str = "127.0.0.1:8600";

/// What a control plane serves DNS with.
#[derive(Clone, Debug)]
pub(crate) struct DnsSettings {
    /// Where it is served.
    pub listen: DnsListen,
    /// Whether that may be beyond loopback.
    pub insecure: bool,
    domain: Domain,
    alt_domain: Option<Domain>,
    recursors: Vec<Recursor>,
    only_passing: bool,
    node_ttl: Ttl,
    service_ttls: Vec<ServiceTtl>,
    negative_ttl: Ttl,
}

impl DnsSettings {
    /// What flags and file say, flags first.
    pub(super) fn merge(flags: DnsArgs, file: DnsArgs) -> Result<Self, Failure> {
        let listen = match flags.listen.or(file.listen) {
            Some(listen) => listen,
            None => DEFAULT_DNS.parse().map_err(|error: String| Failure::new(Exit::Failed, error))?,
        };
        Ok(Self {
            listen,
            insecure: flags.insecure || file.insecure,
            domain: flags
                .domain
                .or(file.domain)
                .map_or_else(|| DnsConfig::default().domain, |domain| domain.0),
            alt_domain: flags.alt_domain.or(file.alt_domain).map(|domain| domain.0),
            recursors: either(flags.recursors, file.recursors),
            only_passing: flags.only_passing || file.only_passing,
            node_ttl: flags.node_ttl.or(file.node_ttl).map(|ttl| ttl.0).unwrap_or_default(),
            service_ttls: either(flags.service_ttls, file.service_ttls),
            negative_ttl: flags.negative_ttl.or(file.negative_ttl).map(|ttl| ttl.0).unwrap_or_default(),
        })
    }

    /// The domains that are answered for.
    pub(crate) fn domains(&self) -> Vec<String> {
        std::iter::once(&self.domain).chain(&self.alt_domain).map(ToString::to_string).collect()
    }

    /// What the server itself is to know.
    pub(crate) fn config(&self) -> DnsConfig {
        DnsConfig {
            domain: self.domain.clone(),
            alt_domain: self.alt_domain.clone(),
            only_passing: self.only_passing,
            node_ttl: self.node_ttl.0,
            service_ttls: ServiceTtls::new(self.service_ttls.clone()),
            negative_ttl: self.negative_ttl.0,
            recursors: self.recursors.iter().map(|recursor| recursor.0.into()).collect(),
        }
    }

    /// The value of a key; null if it is none of these, or left to its default.
    pub(super) fn value(&self, key: &str) -> Value {
        let shown = |value: &dyn std::fmt::Display| Value::from(value.to_string());
        match key {
            "dns" => shown(&self.listen),
            "dns-insecure" => self.insecure.into(),
            "dns-domain" => shown(&self.domain),
            "dns-alt-domain" => self.alt_domain.as_ref().map_or(Value::Null, |domain| shown(domain)),
            "dns-recursor" => self.recursors.iter().map(|recursor| shown(recursor)).collect(),
            "dns-only-passing" => self.only_passing.into(),
            "dns-node-ttl" => shown(&self.node_ttl),
            "dns-service-ttl" => self.service_ttls.iter().map(|ttl| shown(ttl)).collect(),
            "dns-negative-ttl" => shown(&self.negative_ttl),
            _ => Value::Null,
        }
    }
}

fn either<T>(flags: Vec<Parsed<T>>, file: Vec<Parsed<T>>) -> Vec<T> {
    let chosen = if flags.is_empty() { file } else { flags };
    chosen.into_iter().map(|parsed| parsed.0).collect()
}
