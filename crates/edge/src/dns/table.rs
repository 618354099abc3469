//! A registry that is made up: what fuzzing and tests ask instead of a control plane.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use weir_control::catalog::{CheckEntry, InstanceEntry, NodeEntry, Residents, ServiceMember, Versioned};
use weir_model::registry::{Address, Check, Health, Instance, Node, Weights};
use weir_model::{DEFAULT_NAMESPACE, ServiceRef};

use super::zone::{Prepared, Registry};

/// A registry as a list.
#[derive(Default)]
pub(crate) struct Table {
    nodes: BTreeMap<String, Arc<NodeEntry>>,
    members: Vec<ServiceMember>,
}

/// An instance to put into the table, healthy and with weight 1 unless changed.
pub(crate) struct Member {
    pub(crate) instance: Instance,
    pub(crate) health: Health,
}

impl Member {
    /// An instance of a service on the node `a`.
    pub(crate) fn of(service: &str, address: &str, port: u16) -> Self {
        let instance = Instance {
            namespace: DEFAULT_NAMESPACE.to_owned(),
            node: "a".to_owned(),
            id: format!("{service}-{address}-{port}"),
            service: service.to_owned(),
            address: address.to_owned(),
            port,
            ..Instance::default()
        };
        Self { instance, health: Health::Passing }
    }

    /// The same in a namespace.
    pub(crate) fn within(mut self, namespace: &str) -> Self {
        self.instance.namespace = namespace.to_owned();
        self
    }

    /// The same on a node.
    pub(crate) fn on(mut self, node: &str) -> Self {
        self.instance.node = node.to_owned();
        self
    }

    /// The same with tags.
    pub(crate) fn tagged(mut self, tags: &[&str]) -> Self {
        self.instance.tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        self
    }

    /// The same with a health.
    pub(crate) fn that_is(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// The same with weights.
    pub(crate) fn weighing(mut self, passing: u32, warning: u32) -> Self {
        self.instance.weights = Weights { passing, warning };
        self
    }

    /// The same with another address.
    pub(crate) fn also_at(mut self, tag: &str, host: &str) -> Self {
        let address = Address { host: host.to_owned(), port: self.instance.port };
        self.instance.tagged_addresses.insert(tag.to_owned(), address);
        self
    }
}

impl Table {
    /// A node.
    pub(crate) fn node(mut self, name: &str, address: &str, metadata: &[(&str, &str)]) -> Self {
        let metadata = metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let node = Node { name: name.to_owned(), address: address.to_owned(), metadata, ..Node::default() };
        let entry = NodeEntry { node: versioned(node), checks: Vec::new() };
        self.nodes.insert(name.to_ascii_lowercase(), Arc::new(entry));
        self
    }

    /// An instance, on a node that is there.
    pub(crate) fn member(mut self, member: Member) -> Self {
        let check = Check { health: member.health, ..Check::default() };
        let check: Arc<CheckEntry> = Arc::new(versioned(check));
        let node = Arc::clone(&self.nodes[&member.instance.node]);
        let instance = InstanceEntry { instance: Arc::new(versioned(member.instance)), checks: vec![check] };
        self.members.push(ServiceMember { node, instance: Arc::new(instance) });
        self
    }

    /// A bit of everything.
    pub(crate) fn sample() -> Self {
        let many = (0..60).map(|n| Member::of("many", &format!("10.1.0.{n}"), 80).weighing(n % 7, 1));
        let table = Self::default()
            .node("a", "10.0.0.1", &[("zone", "z1"), ("rfc1035-note", "plain")])
            .node("b.example", "2001:db8::b", &[])
            .node("host", "db.example.com", &[])
            .member(Member::of("web", "10.0.1.1", 8080).tagged(&["v1", "blue.green"]))
            .member(Member::of("web", "2001:db8::1", 8080).tagged(&["v2"]).that_is(Health::Warning))
            .member(Member::of("web", "10.0.1.3", 8080).tagged(&["v3"]).that_is(Health::Critical))
            .member(Member::of("bare", "", 5432))
            .member(Member::of("six", "", 1).on("b.example"))
            .member(Member::of("named", "db.example.com", 3306))
            .member(Member::of("round", "round.service.consul", 1))
            .member(Member::of("dotted.name", "10.0.1.4", 1))
            .member(Member::of("Loud", "10.0.1.5", 1))
            .member(Member::of("team-web", "10.0.1.6", 1).within("team"))
            .member(Member::of("ill", "10.0.1.7", 1).that_is(Health::Critical))
            .member(Member::of("dual", "10.0.1.8", 1).also_at("lan_ipv6", "2001:db8::8"));
        many.fold(table, Self::member)
    }
}

impl Registry for Table {
    fn revision(&self) -> u64 {
        self.members.len() as u64
    }

    fn members(&self, namespace: &str, service: &str) -> Vec<ServiceMember> {
        let wanted = |member: &&ServiceMember| {
            let instance = member.instance.value();
            instance.namespace == namespace && instance.service.eq_ignore_ascii_case(service)
        };
        self.members.iter().filter(wanted).cloned().collect()
    }

    fn node(&self, name: &str) -> Option<Arc<NodeEntry>> {
        self.nodes.get(&name.to_ascii_lowercase()).cloned()
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        self.members.iter().any(|member| member.instance.value().namespace == namespace)
    }

    /// One query there is: `best.of`, for the passing `web`, then `bare`, kept for 10 s.
    fn query<R: Rng + ?Sized>(&self, name: &str, _: &mut R) -> Option<Prepared> {
        if !name.eq_ignore_ascii_case("best.of") {
            return None;
        }
        let service = "web".to_owned();
        let mut members = self.members(DEFAULT_NAMESPACE, &service);
        members.retain(|member| member.health() == Health::Passing);
        members.extend(self.members(DEFAULT_NAMESPACE, "bare"));
        Some(Prepared { members, is_ordered: true, service, ttl: Some(Duration::from_secs(10)) })
    }

    fn has_queries_below(&self, name: &str) -> bool {
        name == "of"
    }

    fn at_address(&self, ip: IpAddr) -> Residents {
        let is_it = |address: &str| address.parse() == Ok(ip);
        let nodes = self.nodes.values().map(|entry| &entry.node.value).filter(|node| is_it(&node.address));
        let instances = self.members.iter().map(|member| member.instance.value());
        let instances = instances.filter(|instance| is_it(&instance.address));
        Residents {
            nodes: nodes.map(|node| node.name.clone()).collect(),
            services: instances.map(|found| ServiceRef::new(&*found.namespace, &*found.service)).collect(),
        }
    }
}

fn versioned<T>(value: T) -> Versioned<T> {
    Versioned { value, create_revision: 1, modify_revision: 1 }
}
