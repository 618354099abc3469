//! What can be said about DNS: as flags of `weir server` and as keys of its configuration file.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Deserializer, de};
use weir_edge::dns::{Domain, ServiceTtl, ttl_of};
use weir_model::units::Span;

use super::ListenAddress;

/// The port of DNS servers.
const DNS_PORT: u16 = 53;

/// The settings of DNS, as flags.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct DnsArgs {
    /// Where DNS is served, over UDP and TCP; `off` for nowhere [default: 127.0.0.1:8600]
    #[arg(long = "dns", value_name = "IP:PORT|off")]
    pub listen: Option<DnsListen>,
    /// Serve DNS, and nothing else, on an address that others can reach: it is not encrypted
    #[arg(id = "dns_insecure", long = "dns-insecure")]
    pub insecure: bool,
    /// The domain that names are below [default: consul]
    #[arg(long = "dns-domain", value_name = "NAME")]
    pub domain: Option<Parsed<Domain>>,
    /// A second domain, beside it
    #[arg(long = "dns-alt-domain", value_name = "NAME")]
    pub alt_domain: Option<Parsed<Domain>>,
    /// DNS server that is asked for names of other domains; may be repeated, they are tried in turn [default: none]
    #[arg(long = "dns-recursor", value_name = "IP[:PORT]")]
    pub recursors: Vec<Parsed<Recursor>>,
    /// Leave out instances that warn as well as critical ones
    #[arg(long = "dns-only-passing")]
    pub only_passing: bool,
    /// How long answers about nodes may be kept [default: 0s]
    #[arg(long = "dns-node-ttl", value_name = "DURATION")]
    pub node_ttl: Option<Parsed<Ttl>>,
    /// How long answers about services may be kept: all, or those named so (`web`, `web*`); may be repeated [default: 0s]
    #[arg(long = "dns-service-ttl", value_name = "[NAME=]DURATION")]
    pub service_ttls: Vec<Parsed<ServiceTtl>>,
    /// How long it may be kept that there is nothing [default: 0s]
    #[arg(long = "dns-negative-ttl", value_name = "DURATION")]
    pub negative_ttl: Option<Parsed<Ttl>>,
}

/// Where DNS is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DnsListen {
    /// Nowhere.
    Off,
    /// There.
    At(ListenAddress),
}

impl FromStr for DnsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|bad: String| {
            // A word is meant to be the other one.
            if text.contains(':') || text.parse::<u16>().is_ok() {
                bad
            } else {
                "expected IP:PORT or `off`, such as 127.0.0.1:8600".to_owned()
            }
        })
    }
}

impl<'de> Deserialize<'de> for DnsListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Parsed::deserialize(deserializer).map(|parsed| parsed.0)
    }
}

impl fmt::Display for DnsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// A server to ask, `IP` or `IP:PORT`; port 53 if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recursor(pub SocketAddr);

impl FromStr for Recursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let with_port = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
        let address = with_port.or_else(|_| text.parse());
        address.map(Self).map_err(|_| {
            let shown = text.escape_default();
            format!("`{shown}` is no address of a DNS server: expected IP or IP:PORT, such as 10.0.0.2 or [::1]:53")
        })
    }
}

impl fmt::Display for Recursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A time to live, in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ttl(pub Duration);

impl FromStr for Ttl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ttl_of(text).map(Self)
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(self.0).fmt(f)
    }
}

/// A setting that is text in a file, read as the flag is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parsed<T>(pub T);

impl<T: FromStr> FromStr for Parsed<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        text.parse().map(Self)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        for (text, shown) in [
            ("10.0.0.2", "10.0.0.2:53"),
            ("10.0.0.2:5353", "10.0.0.2:5353"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:5353", "[::1]:5353"),
        ] {
            assert_eq!(text.parse::<Recursor>().unwrap().to_string(), shown);
        }
        for bad in ["", "dns.example", "10.0.0.2:", "10.0.0.2:99999", "udp://10.0.0.2"] {
            assert!(bad.parse::<Recursor>().unwrap_err().contains("IP or IP:PORT"), "{bad}");
        }
    }

    #[test]
    fn where_it_is_served() {
        for text in ["off", "127.0.0.1:8600", "[::1]:0"] {
            assert_eq!(text.parse::<DnsListen>().unwrap().to_string(), text);
        }
        assert!("on".parse::<DnsListen>().unwrap_err().contains("expected IP:PORT"));
    }
}
