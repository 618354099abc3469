//! Ways to find what is registered other than by its own key: by address, by a node's id, and by name in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
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
    /// By address and service; how many instances of it.
    instances: BTreeMap<Resident, u32>,
}

/// An address of an instance, and its service.
type Resident = (IpAddr, Arc<ServiceRef>);

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
        if let Some(ip) = parsed(address) {
            *self.instances.entry((ip, Arc::clone(service))).or_default() += 1;
        }
    }

    /// An instance that has this address left its service.
    pub(super) fn leave(&mut self, address: &str, service: &Arc<ServiceRef>) {
        let Some(ip) = parsed(address) else { return };
        let resident = (ip, Arc::clone(service));
        if let Some(count) = self.instances.get_mut(&resident) {
            *count -= 1;
            if *count == 0 {
                self.instances.remove(&resident);
            }
        }
    }
}

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
        let first = Arc::new(ServiceRef::new("", ""));
        let services = self.by_address.instances.range((ip, first)..);
        let services = services.take_while(|((at, _), _)| *at == ip);
        Residents {
            nodes: nodes.collect(),
            services: services.map(|((_, service), _)| (**service).clone()).collect(),
        }
    }
}
