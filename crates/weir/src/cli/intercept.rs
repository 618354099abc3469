//! Arguments of `weir intercept`.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand};
use weir_model::ServiceRef;
use weir_model::names;
use weir_model::network::Network;

use super::ListenAddress;

/// `weir intercept`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Redirects TCP connections of this host (or container, or network namespace) to a sidecar, so that an \
                  application's calls are governed without a change to it: with nftables, in a table of its own, all \
                  rules at once or none.\n\n\
                  Outbound: what the application connects to goes to the sidecar's --transparent port, which asks the \
                  kernel where it was to go. The proxy's own connections are left alone; they are told by the user or \
                  group that it runs as, so run it as one of its own.\n\n\
                  Inbound: connections to the application's port go to the sidecar's --inbound port.\n\n\
                  IPv4 and IPv6 are redirected alike, to the same port: a sidecar that listens for only one of them there \
                  has the connections of the other one refused. Give it a --transparent of each, such as 127.0.0.1:15001 \
                  and [::1]:15001, or leave IPv6 alone with --ipv4-only.",
    after_long_help = "Examples:\n  \
                       weir intercept print --outbound 15001 --proxy-uid weir\n  \
                       weir intercept apply --outbound 15001 --proxy-uid weir --exclude-port 22 --inbound 9000=19000\n  \
                       weir intercept remove"
)]
pub(crate) struct InterceptArgs {
    /// What to do
    #[command(subcommand)]
    pub action: InterceptAction,
}

/// What to do with the rules.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum InterceptAction {
    /// Show the rules that `apply` would put in force
    Print(RuleArgs),
    /// Put the rules in force, in place of those of an earlier `apply`
    Apply(RuleArgs),
    /// Take the rules out of force; nothing happens when there are none
    Remove(TableArgs),
}

/// Which connections are redirected, and where to.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("proxy").multiple(true)))]
pub(crate) struct RuleArgs {
    /// Redirect the connections that are made here to this port: the proxy's --transparent
    #[arg(long, value_name = "PORT", requires = "proxy", required_unless_present = "inbound")]
    pub outbound: Option<NonZeroU16>,
    /// Redirect connections to the first port (the application's) to the second (the proxy's --inbound); may be repeated
    #[arg(long, value_name = "PORT=PORT")]
    pub inbound: Vec<PortPair>,
    /// The user that the proxy runs as, whose connections are left alone
    #[arg(long, value_name = "USER", group = "proxy")]
    pub proxy_uid: Option<Account>,
    /// The group that the proxy runs as, whose connections are left alone
    #[arg(long, value_name = "GROUP", group = "proxy")]
    pub proxy_gid: Option<Account>,
    /// Redirect only connections that this user makes; may be repeated
    #[arg(long, value_name = "USER")]
    pub only_uid: Vec<Account>,
    /// Leave connections to this port alone; may be repeated
    #[arg(long, value_name = "PORT")]
    pub exclude_port: Vec<NonZeroU16>,
    /// Leave connections to this network alone; may be repeated
    #[arg(long, value_name = "NETWORK")]
    pub exclude_net: Vec<Network>,
    /// Leave IPv6 alone: for a proxy that listens on IPv4 addresses only
    #[arg(long)]
    pub ipv4_only: bool,
    /// Redirect connections to this host's own addresses, too; else they are left alone
    #[arg(long)]
    pub loopback: bool,
    /// The table
    #[command(flatten)]
    pub table: TableArgs,
}

/// Which table the rules are in.
#[derive(Args, Clone, Debug)]
pub(crate) struct TableArgs {
    /// Name of the table that holds the rules and nothing else
    #[arg(long, value_name = "NAME", default_value = "weir")]
    pub table: TableName,
}

/// The name of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableName(String);

impl FromStr for TableName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        if plain && begins && text.len() <= 32 {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected up to 32 letters, digits, `_` and `-`, the first a letter".to_owned())
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user or group, by number or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account(String);

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = text.parse::<u32>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && text.len() <= 32
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        if is_number || is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a number or a name".to_owned())
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.bytes().all(|byte| byte.is_ascii_digit()) {
            f.write_str(&self.0)
        } else {
            write!(f, "\"{}\"", self.0)
        }
    }
}

/// Two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortPair {
    /// The application's.
    pub from: NonZeroU16,
    /// The proxy's.
    pub to: NonZeroU16,
}

impl FromStr for PortPair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected APP-PORT=PROXY-PORT, such as 9000=19000".to_owned();
        let (from, to) = text.split_once('=').ok_or_else(expected)?;
        let (from, to) = (from.parse().map_err(|_| expected())?, to.parse().map_err(|_| expected())?);
        if from == to {
            return Err("a port cannot be redirected to itself".to_owned());
        }
        Ok(Self { from, to })
    }
}

/// `NAME` or `NAMESPACE/NAME`, with `=HOST:PORT` or without: a service, and a local address that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamAddress {
    /// In which namespace; the proxy's own when absent.
    pub namespace: Option<String>,
    /// The service's name.
    pub name: String,
    /// Where to listen, if anywhere.
    pub address: Option<ListenAddress>,
}

impl UpstreamAddress {
    /// The service, for a proxy in a namespace.
    pub(crate) fn service(&self, own_namespace: &str) -> ServiceRef {
        ServiceRef::new(self.namespace.as_deref().unwrap_or(own_namespace), &*self.name)
    }
}

impl FromStr for UpstreamAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, address) = match text.split_once('=') {
            Some((service, address)) => (service, Some(address.parse()?)),
            None => (text, None),
        };
        let (namespace, name) = match service.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, service),
        };
        let bad = |bad: names::BadName| format!("{bad}; expected {}", bad.expected);
        if let Some(namespace) = namespace {
            names::label(namespace).map_err(bad)?;
        }
        names::registered(name).map_err(bad)?;
        Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned(), address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_read() {
        let read = |text: &str| text.parse::<UpstreamAddress>();
        let cart = read("cart=127.0.0.1:9191").unwrap();
        assert_eq!(cart.service("shop"), ServiceRef::new("shop", "cart"));
        assert_eq!(cart.address.unwrap().0.port(), 9191);
        assert!(read("cart").unwrap().address.is_none());
        let other = read("other/my_svc=[::1]:1").unwrap();
        assert_eq!(other.service("shop"), ServiceRef::new("other", "my_svc"));
        for (text, part) in [
            ("cart=9191", "127.0.0.1:9191"),
            ("=127.0.0.1:1", "expected"),
            ("A B=127.0.0.1:1", "expected"),
            ("UP/cart=127.0.0.1:1", "expected"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn nothing_but_names_and_numbers_gets_into_rules() {
        for bad in ["", "a b", "root; drop", "-1", "+1", "4294967296", "\"", "a{", "é"] {
            assert!(bad.parse::<Account>().is_err(), "{bad}");
            assert!(bad.parse::<TableName>().is_err() || bad == "4294967296", "{bad}");
        }
        assert_eq!("1000".parse::<Account>().unwrap().to_string(), "1000");
        assert_eq!("www-data".parse::<Account>().unwrap().to_string(), "\"www-data\"");
        for bad in ["9000", "9000=", "0=1", "1=0", "9000=9000", "9000=70000"] {
            assert!(bad.parse::<PortPair>().is_err(), "{bad}");
        }
    }
}
