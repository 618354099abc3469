//! What one proxy has been sent, and what it must be told next. Pure: no tasks, no clock, no messages.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use weir_control::catalog::{Endpoint, EndpointsView};
use weir_control::resources::{Closure, ResourceEntry, ResourceSet, Subscription, closure};
use weir_model::resource::Protocol;
use weir_model::{Position, ResourceId, ServiceRef};

use super::moment::Moment;

/// What brings a proxy from where it stands to a position.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub(super) position: Position,
    /// Everything known before is void.
    pub(super) reset: bool,
    pub(super) upserts: Vec<(ResourceId, Arc<ResourceEntry>)>,
    pub(super) removals: Vec<ResourceId>,
    pub(super) endpoints: Vec<EndpointsDelta>,
}

/// What has to be said about the endpoints of one service.
#[derive(Debug)]
pub(super) struct EndpointsDelta {
    pub(super) service: ServiceRef,
    pub(super) known: bool,
    /// What the service speaks, where anything says so.
    pub(super) protocol: Option<Protocol>,
    /// `upserts` are all there are.
    pub(super) whole: bool,
    pub(super) upserts: Vec<Endpoint>,
    pub(super) removals: Vec<String>,
}

/// One proxy's state.
#[derive(Debug, Default)]
pub(super) struct Session {
    subscriptions: BTreeSet<Subscription>,
    /// Services that must be answered whole, whether they changed or not.
    asked: BTreeSet<ServiceRef>,
    closure: Closure,
    /// The set that the closure was made of; none when subscriptions have changed since.
    closure_of: Option<Arc<ResourceSet>>,
    /// The declared resources that the proxy has, by the change set that last changed them.
    resources: HashMap<ResourceId, u64>,
    /// The endpoints that the proxy has.
    services: HashMap<ServiceRef, Arc<EndpointsView>>,
    /// The positions of the updates that wait for their acknowledgement, oldest first.
    outstanding: VecDeque<Position>,
    /// Nothing was sent yet, and nothing is known of what the proxy has.
    fresh: bool,
    /// The epoch of what was sent last.
    epoch: u64,
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

    /// The services whose endpoints concern this proxy, as of the last look.
    pub(super) fn services(&self) -> &BTreeSet<ServiceRef> {
        &self.closure.services
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Takes a proxy's word for what it has, if what it lacks can be told: no declared resource has changed since, and
    /// the catalog's memory reaches back that far. Services that changed since are sent whole. A proxy that resumes
    /// names only services that it has; what it merely wants, it asks for once it has joined.
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
                self.services.insert(service.clone(), moment.endpoints(service));
                self.asked.remove(service);
            }
        }
        self.fresh = false;
        self.epoch = now.epoch;
        true
    }

    /// What the proxy must be told to stand where the catalog stands; `None` if nothing concerns it. `greet` asks for
    /// an answer even so.
    pub(super) fn advance(&mut self, moment: &impl Moment, greet: bool) -> Option<Delta> {
        if std::mem::replace(&mut self.epoch, moment.position().epoch) != moment.position().epoch {
            self.begin_anew();
        }
        let mut delta = Delta { position: moment.position(), reset: self.fresh, ..Delta::default() };
        if self.refresh_closure(moment.resources()) || self.fresh {
            self.advance_resources(moment.resources(), &mut delta);
            let wanted = &self.closure.services;
            self.services.retain(|service, _| wanted.contains(service));
        }
        for service in &self.closure.services {
            let asked = self.asked.remove(service);
            delta.endpoints.extend(next_endpoints(&mut self.services, service, moment, asked));
        }
        let empty = delta.upserts.is_empty() && delta.removals.is_empty() && delta.endpoints.is_empty();
        if empty && !self.fresh && !greet {
            return None;
        }
        self.fresh = false;
        self.outstanding.push_back(delta.position);
        Some(delta)
    }

    /// What was sent belongs to another history: change sets and indexes of the same numbers mean something else.
    fn begin_anew(&mut self) {
        self.fresh = true;
        self.resources.clear();
        self.services.clear();
    }

    fn advance_resources(&mut self, set: &ResourceSet, delta: &mut Delta) {
        for id in &self.closure.resources {
            let Some(entry) = set.get(id) else { continue };
            if self.resources.get(id) != Some(&entry.changed_in) {
                self.resources.insert(id.clone(), entry.changed_in);
                delta.upserts.push((id.clone(), Arc::clone(entry)));
            }
        }
        let closure = &self.closure.resources;
        delta.removals = self.resources.extract_if(|id, _| !closure.contains(id)).map(|(id, _)| id).collect();
        delta.removals.sort_unstable();
    }

    /// Makes the closure that of a set; false if it is already.
    fn refresh_closure(&mut self, set: &Arc<ResourceSet>) -> bool {
        if self.closure_of.as_ref().is_some_and(|of| Arc::ptr_eq(of, set)) {
            return false;
        }
        self.closure = Closure::default();
        for subscription in &self.subscriptions {
            self.closure.extend(closure(set, subscription));
        }
        self.closure_of = Some(Arc::clone(set));
        true
    }

    /// Takes an acknowledgement in, which covers every update up to its position.
    pub(super) fn acknowledge(&mut self, position: Position) {
        while self.outstanding.front().is_some_and(|sent| *sent <= position) {
            self.outstanding.pop_front();
        }
    }
}

/// What has to be said about one service: nothing, what changed, or all of it.
fn next_endpoints(
    sent: &mut HashMap<ServiceRef, Arc<EndpointsView>>,
    service: &ServiceRef,
    moment: &impl Moment,
    asked: bool,
) -> Option<EndpointsDelta> {
    let before = sent.get(service).filter(|_| !asked);
    if before.is_some_and(|before| before.index == moment.endpoints_index(service)) {
        return None;
    }
    let now = moment.endpoints(service);
    let (upserts, removals) = match before {
        Some(before) => difference(&before.endpoints, &now.endpoints),
        None => (now.endpoints.clone(), Vec::new()),
    };
    let whole = before.is_none();
    let (known, protocol) = (now.known, now.protocol);
    let same = before.is_some_and(|before| (before.known, before.protocol) == (known, protocol))
        && upserts.is_empty()
        && removals.is_empty();
    sent.insert(service.clone(), now);
    (!same).then(|| EndpointsDelta { service: service.clone(), known, protocol, whole, upserts, removals })
}

/// What came or changed, and the ids of what is gone, of two lists by id.
fn difference(before: &[Endpoint], now: &[Endpoint]) -> (Vec<Endpoint>, Vec<String>) {
    let (mut upserts, mut removals) = (Vec::new(), Vec::new());
    let (mut old, mut new) = (before.iter().peekable(), now.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return (upserts, removals),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.id.cmp(&new.id),
        };
        match order {
            Ordering::Less => removals.extend(old.next().map(|endpoint| endpoint.id.clone())),
            Ordering::Greater => upserts.extend(new.next().cloned()),
            Ordering::Equal => {
                if old.next() != new.peek().copied() {
                    upserts.extend(new.next().cloned());
                } else {
                    new.next();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
