//! What one proxy has been sent, and what it must be told next. Pure: no tasks, no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use weir_api::mesh;
use weir_control::catalog::{Endpoint, EndpointsView};
use weir_control::resources::{Closure, ResourceSet, Subscription, closure};
use weir_model::{Position, ResourceId, Revision, ServiceRef};

use super::convert;

/// The catalog at one revision, as far as a session asks for it.
pub(crate) trait Moment {
    /// Which revision.
    fn position(&self) -> Position;
    /// The declared resources.
    fn resources(&self) -> &Arc<ResourceSet>;
    /// The endpoints of a service, without those that its document declares.
    fn endpoints(&self, service: &ServiceRef) -> EndpointsView;
    /// The revision at which that answer last changed, as the answer itself says too.
    fn endpoints_index(&self, service: &ServiceRef) -> Revision;
    /// The revision at which any declared resource last changed.
    fn resources_index(&self) -> Revision;
}

/// The endpoints that a proxy has of one service.
#[derive(Debug, Default)]
struct SentEndpoints {
    known: bool,
    index: Revision,
    endpoints: BTreeMap<String, Endpoint>,
}

/// One proxy's state.
#[derive(Debug, Default)]
pub(super) struct Session {
    subscriptions: BTreeSet<Subscription>,
    /// Services that must be answered whole, whether they changed or not.
    asked: BTreeSet<ServiceRef>,
    closure: Closure,
    /// The set that the closure was made of, and whether subscriptions changed since.
    closure_of: Option<Arc<ResourceSet>>,
    resources: HashMap<ResourceId, u64>,
    services: HashMap<ServiceRef, SentEndpoints>,
    /// The positions of the updates that wait for their acknowledgement, oldest first.
    outstanding: VecDeque<Position>,
    /// Nothing was sent yet: the next update says so, or says what to keep.
    fresh: bool,
}

/// A proxy asks for more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Session {
    pub(super) fn new() -> Self {
        Self { fresh: true, ..Self::default() }
    }

    /// Adds subscriptions. Each service is answered with the next update, even one that is sent already.
    pub(super) fn add(
        &mut self,
        gateways: impl IntoIterator<Item = Subscription>,
        services: impl IntoIterator<Item = ServiceRef>,
        max: usize,
    ) -> Result<(), TooMany> {
        self.closure_of = None;
        self.subscriptions.extend(gateways);
        for service in services {
            self.subscriptions.insert(Subscription::Upstream(service.clone()));
            self.asked.insert(service);
            if self.subscriptions.len() > max {
                return Err(TooMany);
            }
        }
        if self.subscriptions.len() > max { Err(TooMany) } else { Ok(()) }
    }

    /// Drops subscriptions; what else leads to the same service keeps it.
    pub(super) fn drop_services(&mut self, services: impl IntoIterator<Item = ServiceRef>) {
        self.closure_of = None;
        for service in services {
            self.asked.remove(&service);
            self.subscriptions.remove(&Subscription::Upstream(service));
        }
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// The services whose endpoints concern this proxy, as of the last update.
    pub(super) fn services(&self) -> &BTreeSet<ServiceRef> {
        &self.closure.services
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Takes a proxy's word for what it has, if what it lacks can be told: no declared resource has changed since, and
    /// the catalog's memory reaches back that far. Services that changed since are sent whole.
    pub(super) fn resume(&mut self, moment: &impl Moment, resume: Position, since: Position) -> bool {
        let now = moment.position();
        let tellable = resume.epoch == now.epoch
            && resume.revision <= now.revision
            && resume.revision >= since.revision
            && moment.resources_index() <= resume.revision;
        if !tellable {
            return false;
        }
        self.refresh_closure(moment.resources());
        for id in &self.closure.resources {
            if let Some(entry) = moment.resources().get(id) {
                self.resources.insert(id.clone(), entry.changed_in);
            }
        }
        for service in &self.closure.services {
            if moment.endpoints_index(service) <= resume.revision {
                let view = moment.endpoints(service);
                self.services.insert(service.clone(), SentEndpoints::of(&view));
                self.asked.remove(service);
            }
        }
        self.fresh = false;
        true
    }

    /// What the proxy must be told to stand where the catalog stands; `None` if nothing concerns it. `greet` asks for
    /// an update even so.
    pub(super) fn advance(&mut self, moment: &impl Moment, greet: bool) -> Option<mesh::Update> {
        let set = moment.resources();
        self.refresh_closure(set);
        let mut update = mesh::Update {
            position: Some(convert::position(moment.position())),
            reset: self.fresh,
            ..mesh::Update::default()
        };
        for id in &self.closure.resources {
            let Some(entry) = set.get(id) else { continue };
            if self.resources.insert(id.clone(), entry.changed_in) != Some(entry.changed_in) {
                update.upserts.push(convert::resource(id, entry));
            }
        }
        let gone: Vec<ResourceId> =
            self.resources.keys().filter(|id| !self.closure.resources.contains(*id)).cloned().collect();
        for id in gone {
            self.resources.remove(&id);
            update.removals.push(convert::resource_ref(&id));
        }
        update
            .removals
            .sort_by(|a, b| (&a.kind, &a.namespace, &a.name).cmp(&(&b.kind, &b.namespace, &b.name)));
        let wanted: HashSet<&ServiceRef> = self.closure.services.iter().collect();
        self.services.retain(|service, _| wanted.contains(service));
        for service in &self.closure.services {
            let asked = self.asked.remove(service);
            update.endpoints.extend(next_endpoints(&mut self.services, service, moment, asked));
        }
        self.asked.clear();
        let empty = update.upserts.is_empty() && update.removals.is_empty() && update.endpoints.is_empty();
        if empty && !self.fresh && !greet {
            return None;
        }
        self.fresh = false;
        self.outstanding.push_back(moment.position());
        Some(update)
    }

    fn refresh_closure(&mut self, set: &Arc<ResourceSet>) {
        if self.closure_of.as_ref().is_some_and(|of| Arc::ptr_eq(of, set)) {
            return;
        }
        self.closure = Closure::default();
        for subscription in &self.subscriptions {
            self.closure.extend(closure(set, subscription));
        }
        self.closure_of = Some(Arc::clone(set));
    }

    /// Takes an acknowledgement in, which covers every update up to its position.
    pub(super) fn acknowledge(&mut self, position: Position) {
        while self.outstanding.front().is_some_and(|sent| *sent <= position) {
            self.outstanding.pop_front();
        }
    }
}

impl SentEndpoints {
    fn of(view: &EndpointsView) -> Self {
        let endpoints =
            view.endpoints.iter().map(|endpoint| (endpoint.id.clone(), endpoint.clone())).collect();
        Self { known: view.known, index: view.index, endpoints }
    }
}

/// What has to be said about one service: nothing, what changed, or all of it.
fn next_endpoints(
    sent: &mut HashMap<ServiceRef, SentEndpoints>,
    service: &ServiceRef,
    moment: &impl Moment,
    asked: bool,
) -> Option<mesh::ServiceEndpoints> {
    let before = sent.get(service);
    if !asked && before.is_some_and(|before| before.index == moment.endpoints_index(service)) {
        return None;
    }
    let view = moment.endpoints(service);
    let now = SentEndpoints::of(&view);
    let mut message = mesh::ServiceEndpoints {
        service: Some(convert::service(service)),
        known: now.known,
        ..mesh::ServiceEndpoints::default()
    };
    match before {
        Some(before) if !asked => {
            let changed = now.endpoints.values().filter(|e| before.endpoints.get(&e.id) != Some(e));
            message.upserts = changed.map(convert::endpoint).collect();
            message.removals =
                before.endpoints.keys().filter(|id| !now.endpoints.contains_key(*id)).cloned().collect();
            let same = message.upserts.is_empty() && message.removals.is_empty() && before.known == now.known;
            sent.insert(service.clone(), now);
            (!same).then_some(message)
        }
        _ => {
            message.whole = true;
            message.upserts = now.endpoints.values().map(convert::endpoint).collect();
            sent.insert(service.clone(), now);
            Some(message)
        }
    }
}
