//! Nodes by name: addresses, and their metadata as text.

use std::net::IpAddr;

use bytes::Bytes;
use domain::base::iana::Rtype;
use domain::rdata::rfc1035::TxtBuilder;
use domain::rdata::{Cname, Txt};
use weir_model::registry::Node;

use super::{Asked, Found, Records, Registry, Zone, no_name};
use crate::dns::record::{address, host, record, wants};

impl Zone {
    /// A node, healthy or not: who asks for a node wants to reach it, not what runs there.
    pub(super) fn node<G: Registry>(&self, asked: &Asked<'_, G>, name: &str) -> Found {
        let Some(entry) = asked.registry.node(name) else {
            return no_name(format!("there is no node {name}"));
        };
        let node = &entry.node.value;
        let ttl = self.config.node_ttl;
        let mut records = Records::default();
        let ips = addresses(node);
        if ips.is_empty()
            && let Some(target) = host(&node.address)
        {
            if asked.rtype != Rtype::TXT {
                records.answers.push(record(asked.name, ttl, Cname::new(target.clone())));
                records.alias = Some(target);
            }
            return Ok(records);
        }
        let wanted = ips.into_iter().filter(|ip| wants(asked.rtype, ip));
        records.answers.extend(wanted.map(|ip| address(asked.name, ttl, ip)));
        if matches!(asked.rtype, Rtype::TXT | Rtype::ANY) {
            let texts = node.metadata.iter().filter_map(|(key, value)| text(key, value));
            records.answers.extend(texts.map(|text| record(asked.name, ttl, text)));
        }
        Ok(records)
    }
}

/// A node's addresses: its own, and one of the other family that is tagged as such.
pub(super) fn addresses(node: &Node) -> Vec<IpAddr> {
    let tagged = |tag: &str| node.tagged_addresses.get(tag).map(String::as_str);
    both_families(&node.address, tagged("lan_ipv4"), tagged("lan_ipv6"))
}

/// The address and its counterparts: at most one of each family, the main one first.
pub(super) fn both_families(main: &str, v4: Option<&str>, v6: Option<&str>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::with_capacity(2);
    for ip in [Some(main), v4, v6].into_iter().flatten().filter_map(|text| text.parse::<IpAddr>().ok()) {
        if found.iter().all(|known| known.is_ipv4() != ip.is_ipv4()) {
            found.push(ip);
        }
    }
    found
}

/// `key=value`, or the value alone if the key begins with `rfc1035-`, as in Consul.
fn text(key: &str, value: &str) -> Option<Txt<Bytes>> {
    let line = if key.to_ascii_lowercase().starts_with("rfc1035-") {
        value.to_owned()
    } else {
        format!("{key}={value}")
    };
    let mut builder = TxtBuilder::new_bytes();
    builder.append_slice(line.as_bytes()).ok()?;
    builder.finish().ok()
}
