//! The names that services have in DNS, as hosts: which service one means, and where it says that this is.
//!
//! ```text
//! NAME.service[.PLACE].DOMAIN      _NAME._tcp[.service][.PLACE].DOMAIN
//! PLACE:  DC  |  NAMESPACE.DC  |  [NAMESPACE.ns.][default.ap.][DC.dc]
//! ```

use serde::{Deserialize, Serialize};

use crate::DEFAULT_NAMESPACE;

/// The domain, unless a server is told another.
pub const DEFAULT_DOMAIN: &str = "consul";

/// What these names end in, and which datacenter is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsNames {
    /// The domains, in lower case and without a dot at either end.
    pub domains: Vec<String>,
    /// The datacenter; empty where nobody has said it, and then no name may name one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub datacenter: String,
}

impl Default for DnsNames {
    fn default() -> Self {
        Self { domains: vec![DEFAULT_DOMAIN.to_owned()], datacenter: String::new() }
    }
}

/// What a name in one of the domains means to somebody who calls services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A service, by its namespace and the name as it is spelled.
    Service(String, String),
    /// Instances of a service with a tag, or a service whose name has dots: its namespace, and all that stands before `service`.
    Tagged(String, String),
    /// Something in another datacenter or partition.
    Elsewhere,
    /// No service.
    Other,
}

/// Where the labels at the end of a name point to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The namespace, if one is named.
    pub namespace: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// The namespace that is meant.
    pub fn namespace(&self) -> &'a str {
        self.namespace.unwrap_or(DEFAULT_NAMESPACE)
    }
}

/// The place that labels in lower case name behind `service` or another such word; nothing if it is not here, or none.
pub fn place<'a>(labels: &'a [String], datacenter: &str) -> Option<Place<'a>> {
    let is_here = |label: &str| !datacenter.is_empty() && label.eq_ignore_ascii_case(datacenter);
    match labels {
        [] => return Some(Place { namespace: None }),
        [dc] => return is_here(dc).then_some(Place { namespace: None }),
        [namespace, dc] if dc != "ns" && dc != "ap" && dc != "dc" => {
            return is_here(dc).then_some(Place { namespace: Some(namespace) });
        }
        _ => {}
    }
    let mut found = Place { namespace: None };
    let (mut partition, mut at_datacenter) = (None, None);
    let (pairs, rest) = labels.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    for [value, word] in pairs {
        let slot = match word.as_str() {
            "ns" => &mut found.namespace,
            "ap" => &mut partition,
            "dc" => &mut at_datacenter,
            _ => return None,
        };
        if slot.replace(value.as_str()).is_some() {
            return None;
        }
    }
    let known = partition.is_none_or(|name| name == "default") && at_datacenter.is_none_or(is_here);
    known.then_some(found)
}

/// Whether a label in lower case decides what a name stands for. The one furthest to the right does, and so do those that begin
/// with an underscore.
pub fn is_kind(label: &str) -> bool {
    matches!(label, "service" | "node" | "addr" | "query" | "connect" | "ingress" | "virtual")
}

impl DnsNames {
    /// What a host means, given without a port and without a dot at its end; nothing if it is in none of the domains.
    pub fn read(&self, host: &str) -> Option<Named> {
        let below =
            self.domains.iter().filter_map(|domain| below(host, domain)).min_by_key(|below| below.len())?;
        let spelled: Vec<&str> = below.split('.').collect();
        let labels: Vec<String> = spelled.iter().map(|label| label.to_ascii_lowercase()).collect();
        let Some(at) = labels.iter().rposition(|label| label.starts_with('_') || is_kind(label)) else {
            return Some(Named::Other);
        };
        let Some(place) = place(&labels[at + 1..], &self.datacenter) else { return Some(Named::Elsewhere) };
        let namespace = place.namespace().to_owned();
        let before = match &*labels[at] {
            "service" => &spelled[..at],
            word if word.starts_with('_') => &spelled[..=at],
            _ => return Some(Named::Other),
        };
        Some(match before {
            [service, tag] if service.starts_with('_') && tag.starts_with('_') => {
                let (service, tag) = (service[1..].to_owned(), &tag[1..]);
                match tag.is_empty() || tag.eq_ignore_ascii_case("tcp") {
                    true => Named::Service(namespace, service),
                    false => Named::Tagged(namespace, format!("{tag}.{service}")),
                }
            }
            [] => Named::Other,
            _ if labels[at] != "service" => Named::Other,
            [service] => Named::Service(namespace, (*service).to_owned()),
            all => Named::Tagged(namespace, all.join(".")),
        })
    }
}

/// What stands before a domain.
fn below<'a>(host: &'a str, domain: &str) -> Option<&'a str> {
    let (below, end) = host.split_at_checked(host.len().checked_sub(domain.len())?)?;
    let below = below.strip_suffix('.')?;
    end.eq_ignore_ascii_case(domain).then_some(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_dns_reads_names() {
        let names = DnsNames {
            domains: vec!["consul".to_owned(), "weir.example".to_owned(), "example".to_owned()],
            datacenter: "dc1".to_owned(),
        };
        let service = |namespace: &str, name: &str| Some(Named::Service(namespace.into(), name.into()));
        let tagged = |namespace: &str, text: &str| Some(Named::Tagged(namespace.into(), text.into()));
        for (host, expected) in [
            ("cart.service.consul", service("default", "cart")),
            ("Cart.Service.Consul", service("default", "Cart")),
            ("cart.service.weir.example", service("default", "cart")),
            ("cart.service.dc1.consul", service("default", "cart")),
            ("cart.service.DC1.dc.consul", service("default", "cart")),
            ("cart.service.Shop.ns.consul", service("shop", "cart")),
            ("cart.service.shop.dc1.consul", service("shop", "cart")),
            ("cart.service.shop.ns.dc1.dc.consul", service("shop", "cart")),
            ("cart.service.shop.ns.default.ap.consul", service("shop", "cart")),
            ("_cart._tcp.service.consul", service("default", "cart")),
            ("_cart._tcp.dc1.consul", service("default", "cart")),
            ("_cart.service.consul", service("default", "_cart")),
            ("service.service.consul", service("default", "service")),
            ("v1.cart.service.consul", tagged("default", "v1.cart")),
            ("v1.cart.service.shop.ns.consul", tagged("shop", "v1.cart")),
            ("_cart._v1.service.consul", tagged("default", "v1.cart")),
            ("cart.service.dc2.consul", Some(Named::Elsewhere)),
            ("cart.service.shop.ns.dc2.dc.consul", Some(Named::Elsewhere)),
            ("cart.service.other.ap.consul", Some(Named::Elsewhere)),
            ("n1.node.consul", Some(Named::Other)),
            ("cart.consul", Some(Named::Other)),
            ("service.consul", Some(Named::Other)),
            ("a._cart._tcp.consul", Some(Named::Other)),
            ("_cart.consul", Some(Named::Other)),
            ("consul", None),
            ("cartservice.notconsul", None),
            ("cart.service.other", None),
            ("", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(names.read(host), expected, "{host}");
        }
        let unsaid = DnsNames::default();
        assert_eq!(unsaid.read("cart.service.dc1.consul"), Some(Named::Elsewhere));
        assert_eq!(unsaid.read("cart.service.shop.ns.consul"), service("shop", "cart"));
    }
}
