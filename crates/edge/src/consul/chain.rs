//! How config entries route: from them and the declared documents to the documents that proxies are told.
//!
//! ```text
//! records of config entries + documents -> Entries -> routes, policies (pure) -> Effective, kept until one of them changes
//! ```
//!
//! A service's router, splitter and resolver become one route with the service as its parent, so they count for calls
//! between services; where a gateway's route leads to the service, its splitter and resolver take its place. What a resolver says of balancing and times becomes a traffic policy. What is declared goes before: a
//! service with a route, a policy or a protocol of its own in documents takes nothing of the kind from here.
//!
//! A subset, and a service that fails over, is a service that only proxies know (`Derived`): its endpoints are picked here out
//! of those of services that there are, so that proxies need neither the filters' language nor what they are judged on.
//!
//! Entries that do not fit each other are refused when they are written ([`judge_among`]).
//! What cannot be said with documents is never dropped silently: [`Effective::ignored`], and refused when it is written
//! where it would change who gets a request.

mod derived;
mod entries;
mod gateways;
mod graph;
pub(super) mod hints;
mod http;
mod ignored;
mod overrides;
mod policies;
mod protocols;
mod remarks;
mod resolve;
mod routes;
pub(super) mod shown;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use weir_control::Settings;
use weir_control::catalog::{EndpointsView, Moment};
use weir_control::records::TableRef;
use weir_control::resources::{ResourceEntry, ResourceSet};
use weir_model::{Kind, Resource, ResourceId, Revision, ServiceRef, validate};

use self::derived::Derived;
use self::entries::Entries;
use self::graph::Fault;
use self::routes::Left;
use super::refusal::Refusal;

pub(super) use ignored::fields as ignored_fields;
pub(super) use policies::NAMED_RETRIES;

/// What the tables of config entries begin with.
pub(crate) const TABLES: &str = "config-";

/// Text of all documents that are made of entries, together. Those that a proxy is told must find room in a message.
const MADE_BYTES_MAX: usize = 32 << 20;

/// The kinds of entries that say where calls of a service go.
const ROUTING: [&str; 3] = ["service-router", "service-splitter", "service-resolver"];

/// Lines of the log that one change makes about what does not count.
const LOGGED_MAX: usize = 100;

/// What of an entry does not count, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ignored {
    /// Which entry, as `service-router/web`.
    pub(crate) entry: String,
    /// Why.
    pub(crate) reason: String,
}

/// What is in force: the documents, with what config entries add to them.
#[derive(Debug)]
pub(crate) struct Effective {
    /// The declared documents that it was made of.
    documents: Arc<ResourceSet>,
    /// The revision of the newest config entry.
    index: Revision,
    /// All documents that count.
    resources: Arc<ResourceSet>,
    /// The entries that count.
    entries: Entries,
    /// All that there are.
    kept: Entries,
    /// What of these does not fit.
    faults: BTreeSet<Fault>,
    derived: BTreeMap<ServiceRef, Derived>,
    /// The entries by which the rules of routes lead where they do, by the place of the rule.
    ways: BTreeMap<ResourceId, Vec<Vec<String>>>,
    ignored: Vec<Ignored>,
}

impl Effective {
    /// What is in force at a moment.
    pub(crate) fn at(moment: &Moment<'_>, settings: &Settings) -> Self {
        let index = moment.records_index(TABLES);
        let entries = Entries::of(moment.records(TABLES));
        Self::of(Arc::clone(moment.resources()), index, entries, &settings.datacenter)
    }

    fn of(documents: Arc<ResourceSet>, index: Revision, kept: Entries, datacenter: &str) -> Self {
        let faults = graph::faults(&kept, &documents, datacenter);
        let mut entries = kept.clone();
        let unfit = entries.drop_unfit(datacenter);
        let mut making = Making::new(&entries, &documents, datacenter);
        unfit.into_iter().for_each(|Ignored { entry, reason }| making.ignore(&entry, reason));
        for fault in &faults {
            making.ignore(&fault.entry, format!("{}: {}", fault.message, fault.comes_to()));
        }
        making.subsets();
        for service in entries.services() {
            making.route(service);
        }
        making.gateways();
        making.policies();
        let Making { mut derived, made, mut ways, ignored, .. } = making;
        derived::share_room(derived.values_mut());
        // Of a route that may not stand there is nothing to say.
        ways.retain(|id, _| made.contains_key(id));
        let resources = if made.is_empty() { Arc::clone(&documents) } else { with(&documents, made) };
        Self { documents, index, resources, entries, kept, faults, derived, ways, ignored }
    }

    /// The documents that count.
    pub(crate) fn resources(&self) -> &Arc<ResourceSet> {
        &self.resources
    }

    /// The revision at which they last changed; never 0.
    pub(crate) fn resources_index(&self, moment: &Moment<'_>) -> Revision {
        moment.resources_index().max(self.index)
    }

    /// Whether documents are made of entries: these are none that the store holds, and change with the version that makes them.
    pub(crate) fn makes(&self) -> bool {
        self.entries.routes_any()
    }

    /// Whether entries make a service something that can be called.
    pub(crate) fn knows(&self, service: &ServiceRef) -> bool {
        self.derived.contains_key(service) || self.entries.routes(service)
    }

    /// What of the entries does not count.
    fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// The service that another one is derived of; else the service itself.
    fn base<'a>(&'a self, service: &'a ServiceRef) -> &'a ServiceRef {
        self.derived.get(service).map_or(service, |derived| &derived.base)
    }

    /// The endpoints that proxies are told of a service.
    pub(crate) fn endpoints(
        &self,
        moment: &Moment<'_>,
        service: &ServiceRef,
        settings: &Settings,
    ) -> EndpointsView {
        let mut view = match self.derived.get(service) {
            Some(derived) => derived.endpoints(moment, settings),
            None => crate::mesh::registered_endpoints(moment, service),
        };
        view.index = self.endpoints_index(moment, service);
        // It can be called though it has no instance: what is said of it may lead elsewhere.
        view.known |= self.entries.routes(service);
        view.protocol = self.protocol(service, &view.endpoints).map(|stated| stated.protocol);
        view
    }

    /// The index that [`Self::endpoints`] answers with.
    pub(crate) fn endpoints_index(&self, moment: &Moment<'_>, service: &ServiceRef) -> Revision {
        let index = match self.derived.get(service) {
            Some(derived) => derived.sources().map(|from| moment.endpoints_index(from)).max(),
            None => Some(moment.endpoints_index(service)),
        };
        index.unwrap_or(1).max(self.index)
    }

    /// The services whose instances are behind these.
    pub(crate) fn sources<'a>(&self, services: &'a BTreeSet<ServiceRef>) -> Cow<'a, BTreeSet<ServiceRef>> {
        if self.derived.is_empty() {
            return Cow::Borrowed(services);
        }
        let sources = |service: &ServiceRef| match self.derived.get(service) {
            Some(derived) => derived.sources().cloned().collect::<Vec<_>>(),
            None => vec![service.clone()],
        };
        Cow::Owned(services.iter().flat_map(sources).collect())
    }
}

/// The last that was made.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    last: Mutex<Option<Arc<Effective>>>,
}

impl Cache {
    /// What is in force at a moment; made only if something has changed since it was last asked for.
    pub(crate) fn at(&self, moment: &Moment<'_>, settings: &Settings) -> Arc<Effective> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let index = moment.records_index(TABLES);
        if let Some(last) = &*last
            && last.index == index
            && Arc::ptr_eq(&last.documents, moment.resources())
        {
            return Arc::clone(last);
        }
        let made = Arc::new(Effective::at(moment, settings));
        let known: BTreeSet<&Ignored> = last.iter().flat_map(|last| last.ignored()).collect();
        let news: Vec<&Ignored> = made.ignored().iter().filter(|one| !known.contains(one)).collect();
        for Ignored { entry, reason } in news.iter().take(LOGGED_MAX) {
            tracing::warn!(entry, reason, "a config entry does not count, or not as it is written");
        }
        if news.len() > LOGGED_MAX {
            tracing::warn!(more = news.len() - LOGGED_MAX, "more of config entries does not count");
        }
        *last = Some(Arc::clone(&made));
        made
    }
}

/// The table that is written with every entry: entries are judged together.
pub(super) fn head() -> TableRef {
    // Its name does not begin as those of tables of entries do.
    TableRef::new(weir_model::DEFAULT_NAMESPACE, "config")
}

/// Says why an entry must not be put beside those that there are, or must not be deleted (without content).
pub(super) fn judge_among(
    effective: &Effective,
    kind: &str,
    service: &ServiceRef,
    content: Option<&Value>,
    datacenter: &str,
) -> Result<(), String> {
    let mut entries = effective.kept.clone();
    entries.remove(kind, service);
    if let Some(content) = content {
        entries.add(kind, service.clone(), content).map_err(|refusal| refusal.message)?;
    }
    let after = graph::faults(&entries, &effective.documents, datacenter);
    graph::judge(&effective.faults, &after, &entry_name(kind, service))
}

/// How an entry is named: `service-router/web`, outside the default namespace `service-router/NAMESPACE/web`.
fn entry_name(kind: &str, service: &ServiceRef) -> String {
    format!("{kind}/{service}")
}

/// Refuses an entry that cannot be made into documents, before it is kept.
pub(super) fn judge(
    kind: &str,
    namespace: &str,
    name: &str,
    content: &Map<String, Value>,
    datacenter: &str,
) -> Result<(), Refusal> {
    let mut entries = Entries::default();
    entries.add(kind, ServiceRef::new(namespace, name), &Value::Object(content.clone()))?;
    let effective = Effective::of(Arc::default(), 0, entries, datacenter);
    let unfit = effective.ignored.into_iter().find(|ignored| ignored.reason.starts_with(UNFIT));
    match unfit {
        Some(Ignored { reason, .. }) => Err(Refusal::bad(reason)),
        None => Ok(()),
    }
}

/// What the reason begins with if an entry asks for what no document can say.
const UNFIT: &str = "it cannot be carried out";

/// Documents in the making.
struct Making<'a> {
    entries: &'a Entries,
    documents: &'a ResourceSet,
    /// This one.
    datacenter: &'a str,
    derived: BTreeMap<ServiceRef, Derived>,
    made: BTreeMap<ResourceId, Resource>,
    /// The entries by which the rules of routes lead where they do.
    ways: BTreeMap<ResourceId, Vec<Vec<String>>>,
    /// The same of the rule that is being made.
    way: Vec<String>,
    ignored: Vec<Ignored>,
    /// The same, each of which is said once.
    said: BTreeSet<Ignored>,
    /// Room for the shares of the route that is being made.
    left: Left,
    /// Room for documents.
    bytes_left: usize,
}

impl<'a> Making<'a> {
    fn new(entries: &'a Entries, documents: &'a ResourceSet, datacenter: &'a str) -> Self {
        Self {
            entries,
            documents,
            datacenter,
            derived: BTreeMap::new(),
            made: BTreeMap::new(),
            ways: BTreeMap::new(),
            way: Vec::new(),
            ignored: Vec::new(),
            said: BTreeSet::new(),
            left: Left::default(),
            bytes_left: MADE_BYTES_MAX,
        }
    }

    fn ignore(&mut self, entry: &str, reason: impl Into<String>) {
        let ignored = Ignored { entry: entry.to_owned(), reason: reason.into() };
        if self.said.insert(ignored.clone()) {
            self.ignored.push(ignored);
        }
    }

    /// Takes a document in that was made of an entry, if it may stand.
    fn add(&mut self, entry: &str, resource: Resource) {
        let id = resource.id();
        if let Some(fault) = validate::validate(&resource).first() {
            let expected =
                fault.expected.as_ref().map_or_else(String::new, |text| format!(", expected {text}"));
            let said = format!("{UNFIT}: as {id} it would have {}: {}{expected}", fault.path, fault.message);
            return self.ignore(entry, said);
        }
        self.take(entry, resource);
    }

    /// Takes a document in whose id no other has.
    fn take(&mut self, entry: &str, resource: Resource) {
        let id = resource.id();
        if self.documents.get(&id).is_some() || self.made.contains_key(&id) {
            return self.ignore(entry, format!("there is a document {id}"));
        }
        self.put(entry, id, resource);
    }

    /// Takes a document in, if there is room.
    fn put(&mut self, entry: &str, id: ResourceId, resource: Resource) {
        let Some(left) = self.bytes_left.checked_sub(size(&resource)) else {
            let said = format!("the documents of all entries would have more than {MADE_BYTES_MAX} bytes");
            return self.ignore(entry, said);
        };
        self.bytes_left = left;
        self.made.insert(id, resource);
    }
}

/// How long something is as text.
fn size(of: &impl serde::Serialize) -> usize {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // Documents are plain structs with string keys: writing them cannot fail.
    serde_json::to_writer(&mut count, of).map_or(usize::MAX, |()| count.0)
}

/// The id of a service's document, which stands for the service where routes and policies name it.
fn id_of(service: &ServiceRef) -> ResourceId {
    ResourceId::new(Kind::Service, &*service.namespace, &*service.name)
}

/// A set with more documents, each of which takes the place of one with its id.
fn with(documents: &ResourceSet, made: BTreeMap<ResourceId, Resource>) -> Arc<ResourceSet> {
    let made = made.into_values().map(|resource| {
        let changed_in = version(&resource);
        Arc::new(ResourceEntry { resource, created_in: 0, changed_in })
    });
    Arc::new(ResourceSet::new(documents.iter().map(|(_, entry)| Arc::clone(entry)).chain(made)))
}

/// A number that is another when the document is: no change set has made it.
fn version(resource: &Resource) -> u64 {
    let mut hasher = DefaultHasher::new();
    // Documents are plain structs with string keys: writing them cannot fail.
    serde_json::to_vec(resource).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}
