//! A service's instances: which are answered with, in which order, as addresses or as SRV records.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

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
    /// The records of a service's instances, of which there are some, perhaps only of those with a tag.
    pub(super) fn members<G: Registry, R: Rng + ?Sized>(
        &self,
        asked: &Asked<'_, G>,
        service: &str,
        tag: Option<&str>,
        members: &[ServiceMember],
        rng: &mut R,
    ) -> Found {
        let chosen = self.chosen(service, tag, members)?;
        Ok(self.records(asked, self.service_ttl(service), &chosen, Order::ByChance, rng))
    }

    /// The records of these instances.
    pub(super) fn records<G: Registry, R: Rng + ?Sized>(
        &self,
        asked: &Asked<'_, G>,
        ttl: Duration,
        members: &[&ServiceMember],
        order: Order,
        rng: &mut R,
    ) -> Records {
        match asked.rtype {
            Rtype::SRV => self.srv(asked, ttl, members, order, rng),
            _ => self.addresses(asked, ttl, members, order, rng),
        }
    }

    /// The instances that may be answered with. Warning ones are among them unless the settings say otherwise.
    fn chosen<'m>(
        &self,
        service: &str,
        tag: Option<&str>,
        members: &'m [ServiceMember],
    ) -> Result<Vec<&'m ServiceMember>, Absence> {
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
        ttl: Duration,
        members: &[&ServiceMember],
        order: Order,
        rng: &mut R,
    ) -> Records {
        let mut ips = Shares::default();
        for member in members {
            for ip in ips_of(member) {
                ips.add(ip, weight_of(member));
            }
        }
        if ips.0.is_empty() {
            return self.alias(asked, ttl, members, order, rng);
        }
        ips.0.retain(|ip, _| wants(asked.rtype, ip));
        let order = ips.arranged(order, rng).into_iter();
        Records { answers: order.map(|ip| address(asked.name, ttl, ip.item)).collect(), ..Records::default() }
    }

    fn alias<G: Registry, R: Rng + ?Sized>(
        &self,
        asked: &Asked<'_, G>,
        ttl: Duration,
        members: &[&ServiceMember],
        order: Order,
        rng: &mut R,
    ) -> Records {
        let named = |member: &&ServiceMember| {
            Some(Weighted { item: host(member.address())?, weight: weight_of(member) })
        };
        let hosts = members.iter().filter_map(named).collect();
        let hosts = if order == Order::AsGiven { hosts } else { shuffle(hosts, rng) };
        let Some(first) = hosts.into_iter().next() else { return Records::default() };
        let answers = vec![record(asked.name, ttl, Cname::new(first.item.clone()))];
        Records { answers, alias: Some(first.item), ..Records::default() }
    }

    /// SRV records (RFC 2782), with the addresses of their targets as far as they are known here.
    fn srv<G: Registry, R: Rng + ?Sized>(
        &self,
        asked: &Asked<'_, G>,
        ttl: Duration,
        members: &[&ServiceMember],
        order: Order,
        rng: &mut R,
    ) -> Records {
        let mut targets = Shares::default();
        for member in members {
            let Some(target) = self.target(member, asked.domain) else { continue };
            targets.add((target, member.instance.value().port), weight_of(member));
        }
        let mut records = Records::default();
        // More would not fit; and names are what costs here.
        for Weighted { item: (target, port), weight } in
            targets.arranged(order, rng).into_iter().take(SRV_RECORDS_MAX)
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

/// In which order instances are answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// By chance and weight.
    ByChance,
    /// As they are given.
    AsGiven,
}

/// Things with their places among the instances, and their weights together.
struct Shares<T>(BTreeMap<T, (usize, u32)>);

impl<T> Default for Shares<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord> Shares<T> {
    fn add(&mut self, item: T, more: u32) {
        let place = self.0.len();
        let (_, weight) = self.0.entry(item).or_insert((place, 0));
        *weight = weight.saturating_add(more);
    }

    fn arranged<R: Rng + ?Sized>(self, order: Order, rng: &mut R) -> Vec<Weighted<T>> {
        let mut items: Vec<(usize, Weighted<T>)> =
            self.0.into_iter().map(|(item, (place, weight))| (place, Weighted { item, weight })).collect();
        if order == Order::AsGiven {
            items.sort_by_key(|(place, _)| *place);
            return items.into_iter().map(|(_, item)| item).collect();
        }
        shuffle(items.into_iter().map(|(_, item)| item).collect(), rng)
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
