//! Instances and checks as the catalog keeps them: as records, which are the store's own, and what is in them is read
//! when somebody asks. A million instances that nobody asks for take no memory but this. Those that were written or
//! asked for last are kept read as well, so that small registries and busy services cost no reading.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::de::DeserializeOwned;
use weir_model::registry::{Check, Health, Instance};
use weir_model::{Revision, ServiceRef};
use weir_store::{Key, Record};

use super::entry::{CheckEntry, InstanceEntry, NodeEntry, ServiceMember, Versioned};
use super::ordered::{By, Pair};
use crate::bounds::OPEN_INSTANCES_MAX;

/// What a store holds under a key.
#[derive(Clone)]
pub(crate) struct Stored(Record);

impl Stored {
    pub(crate) fn new(record: Record) -> Self {
        Self(record)
    }

    pub(crate) fn key(&self) -> Key {
        self.0.key()
    }

    pub(crate) fn modify_revision(&self) -> Revision {
        self.0.mod_revision()
    }

    /// Reads it; what cannot be read is reported.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Option<Versioned<T>> {
        read(self.0.path(), &self.0.value(), [self.0.create_revision(), self.0.mod_revision()])
    }

    /// Reads what was read before it was kept.
    fn again<T: DeserializeOwned>(&self) -> Versioned<T> {
        self.read().expect("only what can be read is kept, and it does not change")
    }

    /// Its namespace, its node in lower case, and its id.
    fn names(&self) -> (&str, &str, &str) {
        let (_, namespace, tail) = weir_store::key::parts(self.0.path()).unwrap_or_default();
        let (node, id) = tail.split_once('/').unwrap_or_default();
        (namespace, node, id)
    }

    /// The same as bytes, for what is compared all the time.
    fn compared(&self) -> (&[u8], &[u8], &[u8]) {
        let (namespace, tail) = self.0.place();
        let at = tail.iter().position(|byte| *byte == b'/').unwrap_or(tail.len());
        (namespace, &tail[..at], tail.get(at + 1..).unwrap_or_default())
    }
}

/// Reads what was created and modified at these revisions; what cannot be read is reported.
pub(super) fn read<T: DeserializeOwned>(path: &str, value: &[u8], at: [Revision; 2]) -> Option<Versioned<T>> {
    match serde_json::from_slice(value) {
        Ok(value) => Some(Versioned { value, create_revision: at[0], modify_revision: at[1] }),
        Err(error) => {
            tracing::error!(key = path, %error, "stored value cannot be read and is ignored");
            None
        }
    }
}

/// A check.
pub(crate) struct KeptCheck {
    pub(crate) stored: Stored,
    about: About,
    /// What it reports.
    pub(crate) health: Health,
    /// Whether it says how it is carried out.
    pub(crate) is_defined: bool,
}

/// What a check is about.
enum About {
    Node,
    /// The instance whose id is so long, and is the end of the check's own id, as it often is.
    Ending(u16),
    Instance(Box<str>),
}

impl KeptCheck {
    /// Keeps a check that was read from what is stored.
    pub(crate) fn new(stored: Stored, check: &Check) -> Self {
        let about = match &check.instance {
            None => About::Node,
            // A key has at most 1024 bytes.
            Some(id) if stored.names().2.ends_with(&**id) => About::Ending(id.len() as u16),
            Some(id) => About::Instance(id.as_str().into()),
        };
        Self { stored, about, health: check.health, is_defined: check.definition.is_some() }
    }

    /// The instance it is about; `None` if it is about its node.
    pub(crate) fn instance(&self) -> Option<&str> {
        match &self.about {
            About::Node => None,
            About::Ending(length) => {
                let id = self.id();
                Some(&id[id.len() - usize::from(*length)..])
            }
            About::Instance(id) => Some(id),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.stored.names().0
    }

    pub(crate) fn id(&self) -> &str {
        self.stored.names().2
    }

    /// Reads it.
    pub(crate) fn read(&self) -> Arc<CheckEntry> {
        Arc::new(self.stored.again())
    }
}

/// An instance with its checks.
pub(crate) struct KeptInstance {
    pub(crate) stored: Stored,
    /// The service it is a copy of; the name is its service's own.
    pub(crate) service: Arc<ServiceRef>,
    /// By namespace and id.
    pub(crate) checks: Box<[Arc<KeptCheck>]>,
    open: Mutex<Option<Arc<InstanceEntry>>>,
}

impl KeptInstance {
    pub(crate) fn new(stored: Stored, service: Arc<ServiceRef>, checks: Box<[Arc<KeptCheck>]>) -> Self {
        Self { stored, service, checks, open: Mutex::new(None) }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.stored.names().0
    }

    /// Its node, in lower case.
    pub(crate) fn node(&self) -> &str {
        self.stored.names().1
    }

    pub(crate) fn id(&self) -> &str {
        self.stored.names().2
    }

    fn opened(&self) -> Option<Arc<InstanceEntry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, entry: Option<Arc<InstanceEntry>>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = entry;
    }

    fn read(&self) -> InstanceEntry {
        InstanceEntry {
            instance: Arc::new(self.stored.again::<Instance>()),
            checks: self.checks.iter().map(|check| check.read()).collect(),
        }
    }
}

/// The instances that are kept read: bounded, those read first go first.
#[derive(Default)]
pub(crate) struct Open(Mutex<VecDeque<Weak<KeptInstance>>>);

impl Open {
    /// An instance with its checks, read if it is not.
    pub(crate) fn entry(&self, kept: &Arc<KeptInstance>) -> Arc<InstanceEntry> {
        if let Some(entry) = kept.opened() {
            return entry;
        }
        let entry = Arc::new(kept.read());
        self.keep(kept, Arc::clone(&entry));
        entry
    }

    /// An instance on its node.
    pub(crate) fn member(&self, node: Arc<NodeEntry>, kept: &Arc<KeptInstance>) -> ServiceMember {
        ServiceMember { node, instance: self.entry(kept) }
    }

    /// An instance that is not asked for again soon.
    pub(crate) fn peek(kept: &KeptInstance) -> Arc<InstanceEntry> {
        kept.opened().unwrap_or_else(|| Arc::new(kept.read()))
    }

    /// Keeps what was read of an instance.
    pub(crate) fn keep(&self, kept: &Arc<KeptInstance>, entry: Arc<InstanceEntry>) {
        kept.set(Some(entry));
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back(Arc::downgrade(kept));
        if open.len() > OPEN_INSTANCES_MAX
            && let Some(first) = open.pop_front().and_then(|first| first.upgrade())
        {
            first.set(None);
        }
    }

    /// Gives the checks of an instance another form: `change` says which there are then.
    pub(crate) fn with_checks(
        &self,
        kept: &Arc<KeptInstance>,
        checks: Box<[Arc<KeptCheck>]>,
        change: impl FnOnce(&[Arc<CheckEntry>]) -> Vec<Arc<CheckEntry>>,
    ) -> Arc<KeptInstance> {
        let next = KeptInstance::new(kept.stored.clone(), Arc::clone(&kept.service), checks);
        let next = Arc::new(next);
        if let Some(entry) = kept.opened() {
            let checks = change(&entry.checks);
            let instance = Arc::clone(&entry.instance);
            self.keep(&next, Arc::new(InstanceEntry { instance, checks }));
        }
        next
    }
}

pub(crate) struct ById;

impl By<KeptInstance> for ById {
    fn pair(kept: &KeptInstance) -> Pair<'_> {
        let (namespace, _, id) = kept.stored.compared();
        (namespace, id)
    }
}

impl By<KeptCheck> for ById {
    fn pair(kept: &KeptCheck) -> Pair<'_> {
        let (namespace, _, id) = kept.stored.compared();
        (namespace, id)
    }
}

pub(crate) struct ByNode;

impl By<KeptInstance> for ByNode {
    fn pair(kept: &KeptInstance) -> Pair<'_> {
        let (_, node, id) = kept.stored.compared();
        (node, id)
    }
}

#[cfg(test)]
mod tests {
    use weir_store::Entry;

    use super::*;

    fn kept(number: usize) -> Arc<KeptInstance> {
        let key = crate::keys::instance("ns", "Node", &format!("i{number}")).expect("a key");
        let instance = Instance {
            namespace: "ns".to_owned(),
            node: "Node".to_owned(),
            id: format!("i{number}"),
            service: "s".to_owned(),
            ..Instance::default()
        };
        let entry = Entry {
            value: serde_json::to_vec(&instance).expect("it can be written").into(),
            create_revision: 1,
            mod_revision: 2,
            version: 1,
            lease: None,
        };
        let service = Arc::new(ServiceRef::new("ns", "s"));
        Arc::new(KeptInstance::new(Stored::new(Record::of(&key, &entry)), service, Box::default()))
    }

    #[test]
    fn what_is_kept_is_found_by_its_key_and_read_when_asked_for() {
        let kept = kept(7);
        assert_eq!((kept.namespace(), kept.node(), kept.id()), ("ns", "node", "i7"));
        let open = Open::default();
        assert!(Open::peek(&kept).value().node == "Node" && kept.opened().is_none());
        let entry = open.entry(&kept);
        assert_eq!((entry.instance.create_revision, entry.instance.modify_revision), (1, 2));
        assert!(Arc::ptr_eq(&entry, &open.entry(&kept)), "it is read once");
    }

    #[test]
    fn a_check_knows_its_instance_however_it_is_named() {
        for (id, instance) in
            [("service:i7", Some("i7")), ("i7", Some("i7")), ("x", Some("i7")), ("x", Some("")), ("x", None)]
        {
            let key = crate::keys::check("ns", "node", id).expect("a key");
            let check = Check { instance: instance.map(str::to_owned), ..Check::default() };
            let entry = Entry {
                value: serde_json::to_vec(&check).expect("it can be written").into(),
                create_revision: 1,
                mod_revision: 1,
                version: 1,
                lease: None,
            };
            assert_eq!(
                KeptCheck::new(Stored::new(Record::of(&key, &entry)), &check).instance(),
                instance,
                "{id}"
            );
        }
    }

    #[test]
    fn a_bounded_number_is_kept_read() {
        let open = Open::default();
        let all: Vec<_> = (0..OPEN_INSTANCES_MAX + 10).map(kept).collect();
        for kept in &all {
            open.entry(kept);
        }
        let read = all.iter().filter(|kept| kept.opened().is_some()).count();
        assert_eq!(read, OPEN_INSTANCES_MAX);
        assert!(all[0].opened().is_none() && open.entry(&all[0]).value().id == "i0");
        let gone = all.len();
        drop(all);
        assert!(
            gone > OPEN_INSTANCES_MAX && open.0.lock().expect("not poisoned").len() <= OPEN_INSTANCES_MAX
        );
    }
}
