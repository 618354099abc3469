//! Instances and checks as the catalog keeps them: as records, which are the store's own, and what is in them is read
//! when somebody asks. A million instances that nobody asks for take no memory but this. Those that were asked for last are
//! kept read as well, whatever is written of them since, so that small registries and busy services cost no reading.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use serde::de::DeserializeOwned;
use weir_model::registry::{Check, Health, Instance};
use weir_model::{Revision, ServiceRef};
use weir_store::{Entry, Key, Record};

use super::entry::{CheckEntry, InstanceEntry, NodeEntry, ServiceMember, Versioned};
use super::ordered::{By, Pair};
use crate::bounds::OPEN_INSTANCES_MAX;

/// What a store holds under the key of something that is on a node.
#[derive(Clone)]
pub(crate) struct Stored {
    record: Record,
    /// Where the parts of its key begin; a key has at most 1024 bytes.
    namespace_at: u16,
    node_at: u16,
    id_at: u16,
}

impl Stored {
    /// What is kept under this record's key, `/weir/v1/<kind>/<namespace>/<node>/<id>`.
    pub(crate) fn new(record: Record) -> Self {
        let path = record.path_bytes();
        let next = |from: usize| {
            let slash = path.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'/'));
            slash.map_or(path.len(), |at| from + at + 1)
        };
        let namespace_at = next(weir_store::key::ROOT.len());
        let node_at = next(namespace_at);
        let id_at = next(node_at);
        let [namespace_at, node_at, id_at] = [namespace_at, node_at, id_at].map(|at| at as u16);
        Self { record, namespace_at, node_at, id_at }
    }

    pub(crate) fn key(&self) -> Key {
        self.record.key()
    }

    pub(crate) fn modify_revision(&self) -> Revision {
        self.record.mod_revision()
    }

    /// The revisions that created and last changed it.
    pub(crate) fn revisions(&self) -> [Revision; 2] {
        [self.record.create_revision(), self.record.mod_revision()]
    }

    /// What the store holds.
    pub(crate) fn entry(&self) -> Entry {
        self.record.entry()
    }

    /// Reads it; what cannot be read is reported.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Option<Versioned<T>> {
        let record = &self.record;
        read(|| record.path(), &record.value(), [record.create_revision(), record.mod_revision()])
    }

    /// Reads what was read before it was kept.
    fn again<T: DeserializeOwned>(&self) -> Versioned<T> {
        self.read().expect("only what can be read is kept, and it does not change")
    }

    pub(super) fn namespace(&self) -> &str {
        text(self.namespace_bytes())
    }

    /// Its node, in lower case.
    pub(super) fn node(&self) -> &str {
        text(self.node_bytes())
    }

    fn id(&self) -> &str {
        text(self.id_bytes())
    }

    // As bytes, for what is compared all the time.

    fn namespace_bytes(&self) -> &[u8] {
        self.between(self.namespace_at, self.node_at)
    }

    fn node_bytes(&self) -> &[u8] {
        self.between(self.node_at, self.id_at)
    }

    pub(super) fn id_bytes(&self) -> &[u8] {
        &self.record.path_bytes()[usize::from(self.id_at)..]
    }

    /// Namespace and node, for what is only compared.
    pub(super) fn home(&self) -> &[u8] {
        self.between(self.namespace_at, self.id_at)
    }

    /// A part of the key, without the slash before the next.
    fn between(&self, from: u16, to: u16) -> &[u8] {
        self.record.path_bytes().get(usize::from(from)..usize::from(to) - 1).unwrap_or_default()
    }
}

/// Part of a key, or of an id.
fn text(part: &[u8]) -> &str {
    std::str::from_utf8(part).expect("keys are made from text")
}

/// Reads what was created and modified at these revisions; what cannot be read is reported, with its key's path.
pub(super) fn read<'a, T: DeserializeOwned>(
    path: impl FnOnce() -> &'a str,
    value: &[u8],
    at: [Revision; 2],
) -> Option<Versioned<T>> {
    match weir_store::json::from_bytes(value) {
        Ok(value) => Some(Versioned { value, create_revision: at[0], modify_revision: at[1] }),
        Err(error) => {
            tracing::error!(key = path(), %error, "stored value cannot be read and is ignored");
            None
        }
    }
}

/// A check.
pub(crate) struct KeptCheck {
    pub(crate) stored: Stored,
    /// The instance it is about, unless that is the end of its own id: seldom, so it takes no more than a word otherwise.
    #[allow(clippy::box_collection, reason = "a string takes three words where there is none, too")]
    named: Option<Box<String>>,
    /// How many bytes at the end of its own id are the instance it is about, as is often so; [`NO_ENDING`] otherwise.
    ending: u16,
    /// What it reports.
    pub(crate) health: Health,
    /// Whether it says how it is carried out.
    pub(crate) is_defined: bool,
}

/// Longer than any key.
const NO_ENDING: u16 = u16::MAX;

impl KeptCheck {
    /// Keeps a check that was read from what is stored.
    pub(crate) fn new(stored: Stored, check: &Check) -> Self {
        let (named, ending) = match &check.instance {
            None => (None, NO_ENDING),
            // A key has at most 1024 bytes.
            Some(id) if stored.id_bytes().ends_with(id.as_bytes()) => (None, id.len() as u16),
            Some(id) => (Some(Box::new(id.clone())), NO_ENDING),
        };
        Self { stored, named, ending, health: check.health, is_defined: check.definition.is_some() }
    }

    /// The instance it is about; `None` if it is about its node.
    pub(crate) fn instance(&self) -> Option<&str> {
        self.instance_bytes().map(text)
    }

    /// The same as bytes, for what is only compared.
    pub(super) fn instance_bytes(&self) -> Option<&[u8]> {
        if self.ending == NO_ENDING {
            return self.named.as_deref().map(String::as_bytes);
        }
        let id = self.stored.id_bytes();
        Some(&id[id.len() - usize::from(self.ending)..])
    }

    /// Whether it is about this instance.
    pub(super) fn is_of(&self, instance: &Stored) -> bool {
        self.stored.home() == instance.home() && self.instance_bytes() == Some(instance.id_bytes())
    }

    pub(crate) fn namespace(&self) -> &str {
        self.stored.namespace()
    }

    pub(crate) fn id(&self) -> &str {
        self.stored.id()
    }

    /// Reads it.
    pub(crate) fn read(&self) -> Arc<CheckEntry> {
        Arc::new(self.stored.again())
    }
}

/// The checks of an instance; one, as most have, without a list around it.
pub(crate) enum KeptChecks {
    One(Arc<KeptCheck>),
    /// Or none.
    Several(Box<[Arc<KeptCheck>]>),
}

impl Default for KeptChecks {
    fn default() -> Self {
        Self::Several(Box::default())
    }
}

impl From<Vec<Arc<KeptCheck>>> for KeptChecks {
    fn from(checks: Vec<Arc<KeptCheck>>) -> Self {
        match <[_; 1]>::try_from(checks) {
            Ok([check]) => Self::One(check),
            Err(checks) => Self::Several(checks.into()),
        }
    }
}

impl FromIterator<Arc<KeptCheck>> for KeptChecks {
    fn from_iter<I: IntoIterator<Item = Arc<KeptCheck>>>(checks: I) -> Self {
        Vec::from_iter(checks).into()
    }
}

impl std::ops::Deref for KeptChecks {
    type Target = [Arc<KeptCheck>];

    fn deref(&self) -> &Self::Target {
        match self {
            Self::One(check) => std::slice::from_ref(check),
            Self::Several(checks) => checks,
        }
    }
}

/// An instance with its checks.
pub(crate) struct KeptInstance {
    pub(crate) stored: Stored,
    /// The service it is a copy of; the name is its service's own.
    pub(crate) service: Arc<ServiceRef>,
    /// By namespace and id.
    pub(crate) checks: KeptChecks,
    open: ArcSwapOption<InstanceEntry>,
}

impl KeptInstance {
    pub(crate) fn new(stored: Stored, service: Arc<ServiceRef>, checks: KeptChecks) -> Self {
        Self { stored, service, checks, open: ArcSwapOption::empty() }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.stored.namespace()
    }

    /// Its node, in lower case.
    pub(crate) fn node(&self) -> &str {
        self.stored.node()
    }

    pub(crate) fn id(&self) -> &str {
        self.stored.id()
    }

    /// Whether it is kept read.
    pub(super) fn is_open(&self) -> bool {
        self.open.load().is_some()
    }

    fn opened(&self) -> Option<Arc<InstanceEntry>> {
        self.open.load_full()
    }

    fn set(&self, entry: Option<Arc<InstanceEntry>>) {
        self.open.store(entry);
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
        checks: KeptChecks,
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
        (kept.stored.namespace_bytes(), kept.stored.id_bytes())
    }
}

impl By<KeptCheck> for ById {
    fn pair(kept: &KeptCheck) -> Pair<'_> {
        (kept.stored.namespace_bytes(), kept.stored.id_bytes())
    }
}

pub(crate) struct ByNode;

impl By<KeptInstance> for ByNode {
    fn pair(kept: &KeptInstance) -> Pair<'_> {
        (kept.stored.node_bytes(), kept.stored.id_bytes())
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
        Arc::new(KeptInstance::new(Stored::new(Record::of(&key, &entry)), service, KeptChecks::default()))
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
    fn what_there_are_millions_of_is_small() {
        assert!(size_of::<KeptCheck>() <= 32, "{}", size_of::<KeptCheck>());
        assert!(size_of::<KeptInstance>() <= 48, "{}", size_of::<KeptInstance>());
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
