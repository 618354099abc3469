//! A service's instances: which are answered with, in which order, as addresses or as SRV records.

use std::collections::BTreeMap;
use std::net::IpAddr;

use domain::base::iana::Rtype;
use domain::rdata::{Cname, Srv};
use rand::Rng;
use weir_control::catalog::ServiceMember;
use weir_model::registry::Health;

use super::node::{addresses, both_families};
use super::{Absence, Asked, Found, Records, Registry, Zone, no_name};
use crate::dns::order::{Weighted, shuffle};
use crate::dns::record::{DnsName, address, below, hex, host, record, wants};

/// The priority of all SRV records: chance and weight decide.
const PRIORITY: u16 = 1;
/// As many SRV records as fit an answer at most: 64 KiB of records of 21 bytes, with targets of one letter.
const SRV_RECORDS_MAX: usize = 3120;

impl Zone {
    /// The records of a service's instances, perhaps only of those with a tag.
    pub(super) fn members<G: Registry, R: Rng + ?Sized>(
        &self,
        asked: &Asked<'_, G>,
        service: &str,
        tag: Option<&str>,
        members: &[ServiceMember],
        rng: &mut R,
    ) -> Found {
        let chosen = self.chosen(service, tag, members)?;
        match asked.rtype {
            Rtype::SRV => Ok(self.srv(asked, service, &chosen, rng)),
            _ => Ok(self.addresses(asked, service, &chosen, rng)),
        }
    }

    /// The instances that may be answered with. Warning ones are among them unless the settings say otherwise.
    fn chosen<'m>(
        &self,
        service: &str,
        tag: Option<&str>,
        members: &'m [ServiceMember],
    ) -> Result<Vec<&'m ServiceMember>, Absence> {
        if members.is_empty() {
            return no_name(format!("there is no service {service}"));
        }
        let carries = |member: &&ServiceMember| {
            let tags = &member.instance.value().tags;
            tag.is_none_or(|tag| tags.iter().any(|own| own.eq_ignore_ascii_case(tag)))
        };
        let tagged: Vec<&ServiceMember> = members.iter().filter(carries).collect();
        if tagged.is_empty() {
            return absent_tag(service, tag.unwrap_or_default(), members);
        }
        let worst = if self.config.only_passing { Health::Passing } else { Health::Warning };
        let count = tagged.len();
        let healthy: Vec<_> = tagged.into_iter().filter(|member| member.health() <= worst).collect();
        if healthy.is_empty() {
            return no_name(format!("none of the {count} instances is healthy"));
        }
        Ok(healthy)
    }

    /// A, AAAA and ANY. Where instances are known by host names only, one of these as an alias: a name has no other
    /// records beside an alias (RFC 1034 section 3.6.2).
    fn addresses<G: Registry, R: Rng + ?Sized>(
        &self,
        asked: &Asked<'_, G>,
        service: &str,
        members: &[&ServiceMember],
        rng: &mut R,
    ) -> Records {
        let ttl = self.service_ttl(service);
        let mut ips: BTreeMap<IpAddr, u32> = BTreeMap::new();
        for member in members {
            for ip in ips_of(member) {
                let weight = ips.entry(ip).or_default();
                *weight = weight.saturating_add(weight_of(member));
            }
        }
        if ips.is_empty() {
            return self.alias(asked, ttl, members, rng);
        }
        let wanted = ips.into_iter().filter(|(ip, _)| wants(asked.rtype, ip));
        let wanted = wanted.map(|(item, weight)| Weighted { item, weight }).collect();
        let order = shuffle(wanted, rng).into_iter();
        Records { answers: order.map(|ip| address(asked.name, ttl, ip.item)).collect(), ..Records::default() }
    }

    fn alias<G: Registry, R: Rng + ?Sized>(
        &self,
        asked: &Asked<'_, G>,
        ttl: std::time::Duration,
        members: &[&ServiceMember],
        rng: &mut R,
    ) -> Records {
        let named = |member: &&ServiceMember| {
            Some(Weighted { item: host(member.address())?, weight: weight_of(member) })
        };
        let order = shuffle(members.iter().filter_map(named).collect(), rng);
        let Some(first) = order.into_iter().next() else { return Records::default() };
        let answers = vec![record(asked.name, ttl, Cname::new(first.item.clone()))];
        Records { answers, alias: Some(first.item), ..Records::default() }
    }

    /// SRV records (RFC 2782), with the addresses of their targets as far as they are known here.
    fn srv<G: Registry, R: Rng + ?Sized>(
        &self,
        asked: &Asked<'_, G>,
        service: &str,
        members: &[&ServiceMember],
        rng: &mut R,
    ) -> Records {
        let ttl = self.service_ttl(service);
        let mut targets: BTreeMap<(Target<'_>, u16), u32> = BTreeMap::new();
        for member in members {
            let Some(target) = self.target(member, asked.domain) else { continue };
            let weight = targets.entry((target, member.instance.value().port)).or_default();
            *weight = weight.saturating_add(weight_of(member));
        }
        let weighted = targets.into_iter().map(|(item, weight)| Weighted { item, weight }).collect();
        let mut records = Records::default();
        // More would not fit; and names are what costs here.
        for Weighted { item: (target, port), weight } in
            shuffle(weighted, rng).into_iter().take(SRV_RECORDS_MAX)
        {
            let Some((name, ips)) = self.target_name(&target, asked.domain) else { continue };
            let share = u16::try_from(weight).unwrap_or(u16::MAX);
            // Once for each record, as Consul does it, even if targets are the same: HAProxy gives an address to one
            // server only.
            records.additional.extend(ips.into_iter().map(|ip| address(&name, ttl, ip)));
            records.answers.push(record(asked.name, ttl, Srv::new(PRIORITY, share, port, name)));
        }
        records
    }

    /// Where an instance is, for SRV records; `None` if its address is neither an address nor a host name.
    fn target<'m>(&self, member: &'m ServiceMember, domain: &DnsName) -> Option<Target<'m>> {
        let Some(&main) = ips_of(member).first() else {
            return host(member.address()).map(|_| Target::Host(member.address()));
        };
        let node = &member.node.node.value;
        let at_node =
            member.instance.value().address.is_empty() && self.node_name(&node.name, domain).is_some();
        Some(if at_node {
            Target::Node { name: &node.name, ips: addresses(node) }
        } else {
            Target::Address(main)
        })
    }

    /// The name of a target, and its addresses as far as they are known here.
    fn target_name(&self, target: &Target<'_>, domain: &DnsName) -> Option<(DnsName, Vec<IpAddr>)> {
        match target {
            Target::Address(ip) => {
                let name = below([hex(*ip).as_str(), "addr", self.datacenter.as_str()], domain)?;
                Some((name, vec![*ip]))
            }
            Target::Node { name, ips } => Some((self.node_name(name, domain)?, ips.clone())),
            Target::Host(name) => Some((host(name)?, Vec::new())),
        }
    }
}

/// Where an instance is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target<'m> {
    /// At an address of its own.
    Address(IpAddr),
    /// At its node's.
    Node {
        /// The node's name.
        name: &'m str,
        /// Its addresses.
        ips: Vec<IpAddr>,
    },
    /// At the host name that it was registered with.
    Host(&'m str),
}

/// An instance's addresses: its own, else its node's; one of the other family if it is tagged as such.
fn ips_of(member: &ServiceMember) -> Vec<IpAddr> {
    let instance = member.instance.value();
    let tagged = |tag: &str| instance.tagged_addresses.get(tag).map(|address| address.host.as_str());
    let (v4, v6) = (tagged("lan_ipv4"), tagged("lan_ipv6"));
    if !instance.address.is_empty() || v4.is_some() || v6.is_some() {
        return both_families(member.address(), v4, v6);
    }
    addresses(&member.node.node.value)
}

fn weight_of(member: &ServiceMember) -> u32 {
    let weights = member.instance.value().weights;
    if member.health() == Health::Passing { weights.passing } else { weights.warning }
}

/// Nobody carries a tag; but there may be one that ends so, which this name is on the way to.
fn absent_tag<T>(service: &str, tag: &str, members: &[ServiceMember]) -> Result<T, Absence> {
    let end = format!(".{tag}");
    let ends = |own: &String| own.to_ascii_lowercase().ends_with(&end);
    if members.iter().any(|member| member.instance.value().tags.iter().any(ends)) {
        return super::no_data("only longer names have records");
    }
    no_name(format!("no instance of {service} has the tag {tag}"))
}
