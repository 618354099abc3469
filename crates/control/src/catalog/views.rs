//! The catalog's answers. Each is read at one moment and shares its entries with the catalog.

use std::net::IpAddr;
use std::sync::Arc;

use weir_model::registry::Health;
use weir_model::{Revision, ServiceRef};

use super::entry::{
    CheckEntry, CheckRef, InstanceRef, NodeEntry, NodeView, Residents, ServiceMember, ServiceSummary, View,
};
use super::kept::KeptCheck;
use super::topic::Topic;
use super::{Catalog, State};
use crate::keys::node_key;
use crate::kv::KvEntry;
use crate::records::{RecordEntry, RecordRef, TableRef};
use crate::resources::{ChangeSet, ResourceSet};
use crate::session::{SessionEntry, SessionRef};

impl Catalog {
    fn view<T>(&self, topic: &Topic, read: impl FnOnce(&State) -> T) -> View<T> {
        let state = self.state();
        View { index: state.index(topic), entries: read(&state) }
    }

    /// A service's instances with their checks and nodes, by node and id. Empty if nobody knows it.
    pub fn service_view(&self, namespace: &str, name: &str) -> View<Vec<ServiceMember>> {
        let service = ServiceRef::new(namespace, name);
        let (index, kept, open) = {
            let state = self.state();
            let kept: Vec<_> =
                state.kept_members(&service).map(|(node, kept)| (node, Arc::clone(kept))).collect();
            (state.index(&Topic::Service(service)), kept, Arc::clone(&state.registry.open))
        };
        // Read without holding anybody up.
        View { index, entries: kept.into_iter().map(|(node, kept)| open.member(node, &kept)).collect() }
    }

    /// The members of all services whose name is this in any case: for those to whom case means nothing, such as DNS and
    /// Consul's clients.
    pub fn view_in_any_case(&self, namespace: &str, name: &str) -> View<Vec<ServiceMember>> {
        let (index, kept, open) = {
            let state = self.state();
            let registry = &state.registry;
            let mut kept = Vec::new();
            for slot in registry.spelled(namespace, name) {
                kept.extend(state.kept_members(slot.name()).map(|(node, kept)| (node, Arc::clone(kept))));
            }
            (state.index(&Topic::service(namespace, name)), kept, Arc::clone(&registry.open))
        };
        // Read without holding anybody up.
        View { index, entries: kept.into_iter().map(|(node, kept)| open.member(node, &kept)).collect() }
    }

    /// Who has an address.
    pub fn at_address(&self, ip: IpAddr) -> Residents {
        self.state().registry.at_address(ip)
    }

    /// Whether a namespace holds or held something registered.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.state().registry.namespaces.contains_key(namespace)
    }

    /// The services of a namespace with their tags, by name.
    pub fn services_view(&self, namespace: &str) -> View<Vec<ServiceSummary>> {
        self.view(&Topic::Services { namespace: namespace.to_owned() }, |state| {
            let services =
                state.registry.namespaces.get(namespace).into_iter().flat_map(|slot| &slot.services);
            services
                .map(|(name, slot)| ServiceSummary {
                    name: Arc::clone(name),
                    tags: slot.tags.keys().cloned().collect(),
                    instances: slot.members.len(),
                })
                .collect()
        })
    }

    /// All namespaces that hold or held something registered, in order.
    pub fn namespaces(&self) -> Vec<Arc<str>> {
        self.state().registry.namespaces.keys().cloned().collect()
    }

    /// All nodes, by name.
    pub fn nodes_view(&self) -> View<Vec<Arc<NodeEntry>>> {
        self.view(&Topic::Nodes, |state| {
            state.registry.nodes.values().filter_map(|slot| slot.node.clone()).collect()
        })
    }

    /// A node, its name in any case, with all that runs on it in all namespaces.
    pub fn node_view(&self, name: &str) -> View<Option<NodeView>> {
        let name = node_key(name);
        let View { index, entries } = self.view(&Topic::Node(name.clone().into_owned()), |state| {
            let slot = state.registry.nodes.get(&*name)?;
            Some((slot.node.clone()?, slot.instances.sorted(), Arc::clone(&state.registry.open)))
        });
        // Read without holding anybody up.
        let entries = entries.map(|(node, kept, open)| NodeView {
            node,
            instances: kept.iter().map(|kept| open.entry(kept)).collect(),
        });
        View { index, entries }
    }

    /// A node, its name in any case, without what runs on it: for those who need only the node, however much that is.
    pub fn node(&self, name: &str) -> Option<Arc<NodeEntry>> {
        self.state().registry.nodes.get(&*node_key(name))?.node.clone()
    }

    /// The nodes that have this id: one, unless an older version let in more.
    pub fn nodes_with_id(&self, id: &str) -> Vec<Arc<NodeEntry>> {
        let state = self.state();
        let registry = &state.registry;
        registry.with_id(id).filter_map(|name| registry.nodes.get(name)?.node.clone()).collect()
    }

    /// One instance.
    pub fn instance(&self, instance: &InstanceRef) -> Option<ServiceMember> {
        let state = self.state();
        let slot = state.registry.nodes.get(&*node_key(&instance.node))?;
        let kept = slot.instances.get(&instance.namespace, &instance.id)?;
        Some(state.registry.open.member(slot.node.clone()?, kept))
    }

    /// One check.
    pub fn check(&self, check: &CheckRef) -> Option<Arc<CheckEntry>> {
        self.state().registry.check(&check.namespace, &node_key(&check.node), &check.id)
    }

    /// The checks of a namespace that report this, or all of them; by node and id.
    pub fn checks_view(&self, namespace: &str, health: Option<Health>) -> View<Vec<Arc<CheckEntry>>> {
        let wanted = |check: &&Arc<KeptCheck>| {
            check.namespace() == namespace && health.is_none_or(|health| check.health == health)
        };
        let topic = Topic::Checks { namespace: namespace.to_owned(), health };
        let View { index, entries } = self.view(&topic, |state| {
            let mut found: Vec<Arc<KeptCheck>> = Vec::new();
            for slot in state.registry.nodes.values() {
                let start = found.len();
                found.extend(slot.checks.iter().filter(wanted).cloned());
                found[start..].sort_unstable_by(|a, b| a.id().cmp(b.id()));
            }
            found
        });
        // Read without holding anybody up.
        View { index, entries: entries.iter().map(|kept| kept.read()).collect() }
    }

    /// The checks of a service's instances (not those of their nodes), by node, instance and id.
    pub fn service_checks_view(&self, namespace: &str, name: &str) -> View<Vec<Arc<CheckEntry>>> {
        let view = self.service_view(namespace, name);
        let entries = view.entries.iter().flat_map(|member| member.instance.checks.iter().cloned()).collect();
        View { index: view.index, entries }
    }

    /// A KV key.
    pub fn kv_get(&self, namespace: &str, key: &str) -> View<Option<Arc<KvEntry>>> {
        let topic = Topic::KvKey { namespace: namespace.to_owned(), key: key.to_owned() };
        self.view(&topic, |state| state.kv.get(namespace, key).cloned())
    }

    /// All KV keys that start so, in order.
    pub fn kv_list(&self, namespace: &str, prefix: &str) -> View<Vec<Arc<KvEntry>>> {
        let topic = Topic::KvPrefix { namespace: namespace.to_owned(), prefix: prefix.to_owned() };
        self.view(&topic, |state| state.kv.list(namespace, prefix).cloned().collect())
    }

    /// The names of all KV keys that start so, in order. With a separator, names are cut after its first occurrence
    /// behind the prefix, each name once: a listing of one level.
    pub fn kv_keys(&self, namespace: &str, prefix: &str, separator: &str) -> View<Vec<Arc<str>>> {
        let topic = Topic::KvPrefix { namespace: namespace.to_owned(), prefix: prefix.to_owned() };
        self.view(&topic, |state| {
            let mut names: Vec<Arc<str>> = Vec::new();
            for entry in state.kv.list(namespace, prefix) {
                let cut = if separator.is_empty() { None } else { entry.key[prefix.len()..].find(separator) };
                let name = match cut {
                    None => Arc::clone(&entry.key),
                    Some(at) => entry.key[..prefix.len() + at + separator.len()].into(),
                };
                if names.last() != Some(&name) {
                    names.push(name);
                }
            }
            names
        })
    }

    /// A session.
    pub fn session(&self, name: &SessionRef) -> View<Option<Arc<SessionEntry>>> {
        self.view(&Topic::Session(name.clone()), |state| {
            state.sessions.get(&name.namespace, &name.id).cloned()
        })
    }

    /// The sessions of a namespace, by id.
    pub fn sessions_view(&self, namespace: &str) -> View<Vec<Arc<SessionEntry>>> {
        self.view(&Topic::Sessions { namespace: namespace.to_owned() }, |state| {
            state.sessions.list(namespace).cloned().collect()
        })
    }

    /// The sessions of a namespace on a node, its name in any case, by id.
    pub fn node_sessions_view(&self, namespace: &str, node: &str) -> View<Vec<Arc<SessionEntry>>> {
        self.view(&Topic::node_sessions(namespace, node), |state| {
            let of_namespace = |entry: &&Arc<SessionEntry>| entry.value.namespace == namespace;
            state.sessions.on_node(node).filter(of_namespace).cloned().collect()
        })
    }

    /// How many sessions there are, in all namespaces.
    pub fn session_count(&self) -> usize {
        self.state().sessions.len()
    }

    /// How many locks somebody holds, and how many claims there are on them, in all namespaces.
    pub fn lock_counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.locks.len(), state.locks.claims())
    }

    /// A table's records, by name.
    pub fn table_view(&self, table: &TableRef) -> View<Vec<Arc<RecordEntry>>> {
        self.view(&Topic::Table(table.clone()), |state| state.records.list(table).cloned().collect())
    }

    /// A record, by its name.
    pub fn record(&self, record: &RecordRef) -> View<Option<Arc<RecordEntry>>> {
        self.view(&Topic::Record(record.clone()), |state| {
            state.records.get(&record.table, &record.name).cloned()
        })
    }

    /// A record, by either of its names.
    pub fn find_record(&self, table: &TableRef, name: &str) -> Option<Arc<RecordEntry>> {
        self.state().records.find(table, name).cloned()
    }

    /// The declared resources in force.
    pub fn resources(&self) -> View<Arc<ResourceSet>> {
        self.view(&Topic::Resources, |state| Arc::clone(&state.declared.set))
    }

    /// The change set in force; `None` before the first.
    pub fn head(&self) -> Option<Arc<ChangeSet>> {
        let state = self.state();
        let number = state.declared.head.as_ref()?.number;
        state.declared.log.get(&number).cloned()
    }

    /// The change sets that are kept, newest first.
    pub fn change_sets(&self) -> View<Vec<Arc<ChangeSet>>> {
        self.view(&Topic::Resources, |state| state.declared.log.values().rev().cloned().collect())
    }

    /// The revision of the last change of a service's view, for callers that need nothing else.
    pub fn service_index(&self, service: &ServiceRef) -> Revision {
        self.state().index(&Topic::Service(service.clone()))
    }
}
