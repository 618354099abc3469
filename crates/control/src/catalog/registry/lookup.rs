//! Ways to find what is registered other than by its own key: by address, by a node's id, and by name in any case.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use weir_model::ServiceRef;

use super::Registry;
use super::slot::ServiceSlot;
use crate::catalog::entry::Residents;
use crate::keys::node_key;

/// Who has which address. Of instances only those that have one of their own, and not as a host name.
#[derive(Default)]
pub(in crate::catalog) struct ByAddress {
    nodes: BTreeSet<(IpAddr, Arc<str>)>,
    // Apart, so that an address of four bytes takes four.
    v4: Residences<Ipv4Addr>,
    v6: Residences<Ipv6Addr>,
}

/// Which services have instances at addresses of one length.
struct Residences<A>(BTreeSet<Residence<A>>);

/// A service at an address. A million of them are mostly one each, so a place in the set is as small as it can be.
struct Residence<A> {
    ip: A,
    /// How many instances of it.
    count: u32,
    service: Arc<ServiceRef>,
}

impl ByAddress {
    /// A node came, went or moved.
    pub(super) fn node(&mut self, name: &str, from: Option<&str>, to: Option<&str>) {
        if from == to {
            return;
        }
        if let Some(ip) = from.and_then(parsed) {
            self.nodes.remove(&(ip, name.into()));
        }
        if let Some(ip) = to.and_then(parsed) {
            self.nodes.insert((ip, name.into()));
        }
    }

    /// An instance that has this address joined its service, whose name is the one that its slot has: so a million instances
    /// cost no names.
    pub(super) fn join(&mut self, address: &str, service: &Arc<ServiceRef>) {
        match parsed(address) {
            Some(IpAddr::V4(ip)) => self.v4.join(ip, service),
            Some(IpAddr::V6(ip)) => self.v6.join(ip, service),
            None => {}
        }
    }

    /// An instance that has this address left its service.
    pub(super) fn leave(&mut self, address: &str, service: &Arc<ServiceRef>) {
        match parsed(address) {
            Some(IpAddr::V4(ip)) => self.v4.leave(ip, service),
            Some(IpAddr::V6(ip)) => self.v6.leave(ip, service),
            None => {}
        }
    }

    /// The services that have instances at an address, in order.
    fn services(&self, ip: IpAddr) -> Vec<ServiceRef> {
        match ip {
            IpAddr::V4(ip) => self.v4.at(ip),
            IpAddr::V6(ip) => self.v6.at(ip),
        }
    }
}

impl<A: Ord + Copy> Residences<A> {
    fn join(&mut self, ip: A, service: &Arc<ServiceRef>) {
        self.count(ip, service, |known| known + 1);
    }

    fn leave(&mut self, ip: A, service: &Arc<ServiceRef>) {
        self.count(ip, service, |known| known.saturating_sub(1));
    }

    fn count(&mut self, ip: A, service: &Arc<ServiceRef>, change: impl FnOnce(u32) -> u32) {
        let mut residence = Residence { ip, count: 0, service: Arc::clone(service) };
        // The one that is there keeps the name that it has.
        if let Some(known) = self.0.take(&residence) {
            residence = known;
        }
        residence.count = change(residence.count);
        if residence.count > 0 {
            self.0.insert(residence);
        }
    }

    fn at(&self, ip: A) -> Vec<ServiceRef> {
        let first = Residence { ip, count: 0, service: Arc::new(ServiceRef::new("", "")) };
        let here = self.0.range(first..).take_while(|residence| residence.ip == ip);
        here.map(|residence| (*residence.service).clone()).collect()
    }
}

impl<A> Default for Residences<A> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

// By address and service alone.

impl<A: Ord> Ord for Residence<A> {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.ip, &self.service).cmp(&(&other.ip, &other.service))
    }
}

impl<A: Ord> PartialOrd for Residence<A> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<A: Ord> PartialEq for Residence<A> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<A: Ord> Eq for Residence<A> {}

/// The keys of nodes by their id in lower case. A store of an older version may have one id twice.
#[derive(Default)]
pub(in crate::catalog) struct ById(BTreeMap<Box<str>, BTreeSet<Arc<str>>>);

impl ById {
    /// A node came, went or has another id.
    pub(super) fn node(&mut self, name: &str, from: Option<&str>, to: Option<&str>) {
        if from == to {
            return;
        }
        if let Some(from) = from.map(str::to_ascii_lowercase)
            && let Some(names) = self.0.get_mut(&*from)
        {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(&*from);
            }
        }
        if let Some(to) = to.filter(|id| !id.is_empty()) {
            self.0.entry(to.to_ascii_lowercase().into()).or_default().insert(name.into());
        }
    }
}

fn parsed(address: &str) -> Option<IpAddr> {
    address.parse().ok()
}

/// The names of services that are not all in lower case, by their lower case.
#[derive(Default)]
pub(crate) struct Spellings(BTreeMap<Box<str>, BTreeSet<Box<str>>>);

impl Spellings {
    /// A service of this name is there.
    pub(super) fn add(&mut self, name: &str) {
        let folded = name.to_ascii_lowercase();
        if folded != name {
            self.0.entry(folded.into()).or_default().insert(name.into());
        }
    }

    /// It is gone.
    pub(super) fn remove(&mut self, name: &str) {
        let folded = name.to_ascii_lowercase();
        if let Some(names) = self.0.get_mut(&*folded) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(&*folded);
            }
        }
    }
}

impl Registry {
    /// The services whose names are this name in any case, in the order of their names.
    pub(crate) fn spelled(&self, namespace: &str, name: &str) -> impl Iterator<Item = &ServiceSlot> {
        let slot = self.namespaces.get(namespace);
        slot.into_iter().flat_map(move |slot| {
            let folded = node_key(name);
            let others = slot.spelled.0.get(&*folded).into_iter().flatten();
            let others = others.filter_map(|name| slot.services.get(&**name));
            others.chain(slot.services.get(&*folded))
        })
    }

    /// The keys of the nodes that have this id.
    pub(crate) fn with_id(&self, id: &str) -> impl Iterator<Item = &Arc<str>> {
        self.by_id.0.get(&*id.to_ascii_lowercase()).into_iter().flatten()
    }

    /// Who has an address.
    pub(crate) fn at_address(&self, ip: IpAddr) -> Residents {
        let empty: Arc<str> = "".into();
        let nodes = self.by_address.nodes.range((ip, empty)..);
        let nodes = nodes.take_while(|(at, _)| *at == ip).filter_map(|(_, key)| {
            let entry = self.nodes.get(key)?.node.as_ref()?;
            Some(entry.node.value.name.clone())
        });
        Residents { nodes: nodes.collect(), services: self.by_address.services(ip) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_at_an_address_as_long_as_one_of_its_instances_is() {
        let mut by = ByAddress::default();
        let names = ["a", "b"].map(|name| Arc::new(ServiceRef::new("ns", name)));
        let at = |by: &ByAddress, ip: &str| -> Vec<String> {
            by.services(ip.parse().expect("an address")).into_iter().map(|service| service.name).collect()
        };
        for ip in ["10.0.0.1", "fd00::1"] {
            for service in [&names[1], &names[0], &names[1]] {
                by.join(ip, service);
            }
            by.join("10.0.0.2", &names[0]);
            assert_eq!(at(&by, ip), ["a", "b"]);
            by.leave(ip, &names[1]);
            by.leave(ip, &names[0]);
            assert_eq!(at(&by, ip), ["b"]);
            by.leave(ip, &names[1]);
            by.leave(ip, &names[1]);
            assert!(at(&by, ip).is_empty());
        }
        by.join("a.host.name", &names[0]);
        assert_eq!(at(&by, "10.0.0.2"), ["a"]);
        assert!(at(&by, "10.0.0.3").is_empty() && at(&by, "::").is_empty());
        assert!(std::mem::size_of::<Residence<Ipv4Addr>>() <= 16, "there are millions");
    }
}
