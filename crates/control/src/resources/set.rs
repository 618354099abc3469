//! The declared resources in force: an immutable set with the indexes that closures need.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_model::{Kind, Resource, ResourceId, ServiceRef, Spec};

use super::stored::Part;

/// A declared resource with the change sets that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceEntry {
    /// The resource.
    pub resource: Resource,
    /// The number of the change set that created it.
    pub created_in: u64,
    /// The number of the change set that last changed it: its version.
    pub changed_in: u64,
}

/// All declared resources as of one change set.
#[derive(Clone, Debug, Default)]
pub struct ResourceSet {
    entries: BTreeMap<ResourceId, Arc<ResourceEntry>>,
    /// Routes by the gateway or service that is their parent, in order of their ids.
    routes: HashMap<ResourceId, Vec<ResourceId>>,
    /// Policies of every kind by what they are for (a service, a gateway, a route), in order of their ids.
    policies: HashMap<ResourceId, Vec<ResourceId>>,
}

impl ResourceSet {
    /// A set of these resources.
    pub fn new(entries: impl IntoIterator<Item = Arc<ResourceEntry>>) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.resource.id(), entry)).collect();
        let mut set = Self { entries, ..Self::default() };
        set.index();
        set
    }

    /// The set after these changes, made by the change set of this number.
    pub(crate) fn after(&self, parts: &[Part], number: u64) -> Self {
        let mut entries = self.entries.clone();
        for part in parts {
            for id in &part.deletes {
                entries.remove(id);
            }
            for resource in &part.puts {
                let id = resource.id();
                let created_in = entries.get(&id).map_or(number, |entry| entry.created_in);
                let entry = ResourceEntry { resource: resource.clone(), created_in, changed_in: number };
                entries.insert(id, Arc::new(entry));
            }
        }
        let mut set = Self { entries, ..Self::default() };
        set.index();
        set
    }

    fn index(&mut self) {
        for (id, entry) in &self.entries {
            for parent in entry.resource.spec.parent_refs() {
                let kind = match parent.kind.as_deref() {
                    None | Some("Gateway") => Kind::Gateway,
                    Some("Service") => Kind::Service,
                    Some(_) => continue,
                };
                let namespace = parent.namespace.as_ref().unwrap_or(&id.namespace);
                let parent = ResourceId::new(kind, &**namespace, &*parent.name);
                push_once(self.routes.entry(parent).or_default(), id);
            }
            for target in entry.resource.spec.targets() {
                if let Some(target) = target.id(&id.namespace) {
                    push_once(self.policies.entry(target).or_default(), id);
                }
            }
        }
    }

    /// One resource.
    pub fn get(&self, id: &ResourceId) -> Option<&Arc<ResourceEntry>> {
        self.entries.get(id)
    }

    /// All resources, by kind, namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceId, &Arc<ResourceEntry>)> {
        self.entries.iter()
    }

    /// All resources of a kind, of one namespace or of all, by namespace and name.
    pub fn list<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<ResourceEntry>> {
        let wanted =
            move |id: &ResourceId| id.kind == kind && namespace.is_none_or(|wanted| wanted == id.namespace);
        self.entries.iter().filter(move |(id, _)| wanted(id)).map(|(_, entry)| entry)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The document of a service, if one was declared.
    pub fn service(&self, service: &ServiceRef) -> Option<&weir_model::resource::ServiceSpec> {
        let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
        match &self.entries.get(&id)?.resource.spec {
            Spec::Service(spec) => Some(spec),
            _ => None,
        }
    }

    /// The routes whose parent is this gateway or service, by id.
    pub fn routes_of(&self, parent: &ResourceId) -> &[ResourceId] {
        self.routes.get(parent).map_or(&[], |routes| routes)
    }

    /// The policies of every kind for this service, gateway or route (or parts of it), by id.
    pub fn policies_of(&self, target: &ResourceId) -> &[ResourceId] {
        self.policies.get(target).map_or(&[], |policies| policies)
    }
}

/// Adds what is not the last already: the ids come in order, and one resource may refer to the same thing twice.
fn push_once(ids: &mut Vec<ResourceId>, id: &ResourceId) {
    if ids.last() != Some(id) {
        ids.push(id.clone());
    }
}
