//! What a DNS server is started with.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use weir_model::names;
use weir_model::units::Span;

use super::record::{DnsName, below};
use super::recursor::Target;

/// Settings of a DNS server. [`Default`] is what Consul does.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// The domain it answers for.
    pub domain: Domain,
    /// A second one, beside it.
    pub alt_domain: Option<Domain>,
    /// Whether instances that warn are left out as well; critical ones always are.
    pub only_passing: bool,
    /// How long answers about nodes may be kept.
    pub node_ttl: Duration,
    /// How long answers about services may be kept.
    pub service_ttls: ServiceTtls,
    /// How long it may be kept that there is nothing.
    pub negative_ttl: Duration,
    /// Servers that are asked for names of other domains, in this order.
    pub recursors: Vec<Target>,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            domain: Domain { labels: vec!["consul".to_owned()] },
            alt_domain: None,
            only_passing: false,
            node_ttl: Duration::ZERO,
            service_ttls: ServiceTtls::default(),
            negative_ttl: Duration::ZERO,
            recursors: Vec::new(),
        }
    }
}

/// A domain, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    labels: Vec<String>,
}

impl Domain {
    pub(super) fn name(&self) -> DnsName {
        // Its labels were checked when it was read.
        below(self.labels.iter().map(String::as_str), &DnsName::root_bytes())
            .unwrap_or_else(DnsName::root_bytes)
    }
}

/// Text that is no domain to answer for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no domain to answer for: expected a DNS name such as `consul` or `svc.example`", .0.escape_default())]
pub struct NotADomain(pub String);

impl FromStr for Domain {
    type Err = NotADomain;

    fn from_str(text: &str) -> Result<Self, NotADomain> {
        let folded = text.to_ascii_lowercase();
        let name = folded.strip_suffix('.').unwrap_or(&folded);
        let labels: Vec<String> = name.split('.').map(str::to_owned).collect();
        // Reverse names are answered for anyway, by address.
        if names::subdomain(name).is_err() || labels.last().is_some_and(|last| last == "arpa") {
            return Err(NotADomain(text.to_owned()));
        }
        Ok(Self { labels })
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.labels.join("."))
    }
}

/// How long answers may be kept, by service. The rule for a service's whole name wins, then the one for its longest
/// beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTtls(Vec<ServiceTtl>);

impl ServiceTtls {
    /// These rules.
    pub fn new(rules: Vec<ServiceTtl>) -> Self {
        Self(rules)
    }

    /// How many rules there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How long answers about a service may be kept: not at all unless a rule says so.
    pub fn of(&self, service: &str) -> Duration {
        let fits = self.0.iter().filter(|rule| rule.fits(service));
        let best = fits.max_by_key(|rule| (!rule.is_prefix, rule.name.len()));
        best.map_or(Duration::ZERO, |rule| rule.ttl)
    }
}

/// One rule: `5s` for all services, `web=30s` for one, `web*=30s` for those that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTtl {
    /// The service's name or its beginning, in lower case.
    name: String,
    is_prefix: bool,
    ttl: Duration,
}

impl ServiceTtl {
    fn fits(&self, service: &str) -> bool {
        let bytes = service.as_bytes();
        let begins = bytes.len() >= self.name.len()
            && bytes[..self.name.len()].eq_ignore_ascii_case(self.name.as_bytes());
        begins && (self.is_prefix || bytes.len() == self.name.len())
    }
}

impl FromStr for ServiceTtl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, ttl) = text.split_once('=').unwrap_or(("*", text));
        let expected =
            "expected a duration such as `5s`, or one for a service such as `web=30s` or `web*=30s`";
        let ttl = ttl_of(ttl).map_err(|problem| format!("{problem}; {expected}"))?;
        let (name, is_prefix) = name.strip_suffix('*').map_or((name, false), |begin| (begin, true));
        if !(is_prefix && name.is_empty()) && names::registered(name).is_err() {
            return Err(format!("`{}` is not the name of a service; {expected}", name.escape_default()));
        }
        Ok(Self { name: name.to_ascii_lowercase(), is_prefix, ttl })
    }
}

impl fmt::Display for ServiceTtl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_prefix { "*" } else { "" };
        write!(f, "{}{star}={}", self.name, Span(self.ttl))
    }
}

/// A time to live as people write it.
///
/// # Errors
/// Says what is wrong; DNS counts whole seconds.
pub fn ttl_of(text: &str) -> Result<Duration, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    if span.0.subsec_nanos() != 0 {
        return Err(format!("`{text}` is no time to live: DNS counts whole seconds"));
    }
    Ok(span.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        assert_eq!("Consul.".parse::<Domain>().unwrap().name().to_string(), "consul");
        assert_eq!("svc.Example".parse::<Domain>().unwrap().to_string(), "svc.example");
        for bad in ["", ".", "a..b", "-a", "a b", "in-addr.arpa"] {
            let error = bad.parse::<Domain>().unwrap_err().to_string();
            assert!(error.contains("expected a DNS name"), "{error}");
        }
    }

    #[test]
    fn the_most_exact_rule_on_times_to_live_wins() {
        let rules = ["5s", "web*=10s", "web=30s", "web-a*=40s"].map(|text| text.parse().unwrap());
        let ttls = ServiceTtls::new(rules.to_vec());
        for (service, secs) in
            [("db", 5), ("web", 30), ("WEB", 30), ("web-b", 10), ("web-api", 40), ("we", 5)]
        {
            assert_eq!(ttls.of(service).as_secs(), secs, "{service}");
        }
        assert_eq!(ServiceTtls::default().of("web"), Duration::ZERO);
        assert_eq!(rules.map(|rule| rule.to_string())[1..], ["web*=10s", "web=30s", "web-a*=40s"]);
    }

    #[test]
    fn bad_rules_are_said() {
        for (text, part) in [
            ("web", "not a duration"),
            ("web=", "not a duration"),
            ("a b=5s", "`a b` is not the name of a service"),
            ("=5s", "`` is not the name of a service"),
            ("1500ms", "whole seconds"),
        ] {
            let error = text.parse::<ServiceTtl>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
