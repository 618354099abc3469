//! Who is concerned by a change: an index from services to the streams that carry their endpoints.
//!
//! One task follows the catalog's changes and marks the streams concerned, so that a change costs only those. Streams
//! are marked, and called behind, before the hub's position moves on: who sees the position sees who is behind it.
//! Both happen under one lock, and [`Hub::settle`] takes "behind" back under the same.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use weir_control::proxies::{Connection, Proxies, Proxy};
use weir_control::{ChangeEvent, Changes};
use weir_model::{Position, ServiceRef};

use super::reports::Reported;
use super::{ProxyStatus, Shared};
use crate::consul::chain::TABLES;

/// What a proxy says about itself.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) peer: SocketAddr,
    pub(super) role: String,
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) gateways: Vec<String>,
    pub(super) admin: String,
}

/// A stream as the hub sees it.
#[derive(Debug)]
pub(super) struct Member {
    number: u64,
    proxy_id: String,
    /// The entry in the table of proxies.
    pub(super) connection: Connection,
    /// What it says about itself that the table does not hold.
    about: About,
    /// What it reports of its work.
    pub(super) reported: Reported,
    subscriptions: AtomicUsize,
    behind: AtomicBool,
    dirty: AtomicBool,
    wake: Notify,
    replaced: Notify,
}

impl Member {
    /// The proxy's id.
    pub(super) fn proxy_id(&self) -> &str {
        &self.proxy_id
    }

    /// What the proxy says about itself.
    pub(super) const fn about(&self) -> &About {
        &self.about
    }

    /// Waits until something concerns the stream.
    pub(super) async fn marked(&self) {
        while !self.is_marked() {
            self.wake.notified().await;
        }
    }

    /// Whether something concerns the stream that it has not looked at.
    pub(super) fn is_marked(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// The stream looks at the catalog now.
    pub(super) fn unmark(&self) {
        self.dirty.store(false, Ordering::Release);
    }

    /// Something concerns the stream.
    pub(super) fn mark(&self) {
        self.behind.store(true, Ordering::Release);
        self.dirty.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// How much the proxy is subscribed to.
    pub(super) fn set_subscriptions(&self, count: usize) {
        self.subscriptions.store(count, Ordering::Relaxed);
    }

    /// Waits until a newer stream of the same proxy takes this one's place.
    pub(super) async fn replaced(&self) {
        self.replaced.notified().await;
    }
}

/// All streams.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    position: Position,
    numbers: u64,
    members: HashMap<u64, Arc<Member>>,
    by_proxy: HashMap<String, u64>,
    by_service: HashMap<ServiceRef, HashSet<u64>>,
}

impl Hub {
    pub(super) fn new(position: Position) -> Self {
        let state = State {
            position,
            numbers: 0,
            members: HashMap::new(),
            by_proxy: HashMap::new(),
            by_service: HashMap::new(),
        };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn position(&self) -> Position {
        self.state().position
    }

    pub(super) fn len(&self) -> usize {
        self.state().members.len()
    }

    /// Enters a stream, marked, and ends the one that the proxy had before.
    pub(super) fn join(&self, proxy_id: &str, connection: Connection, about: About) -> Arc<Member> {
        let mut state = self.state();
        state.numbers += 1;
        let number = state.numbers;
        let member = Arc::new(Member {
            number,
            proxy_id: proxy_id.to_owned(),
            connection,
            about,
            reported: Reported::default(),
            subscriptions: AtomicUsize::new(0),
            behind: AtomicBool::new(true),
            dirty: AtomicBool::new(true),
            wake: Notify::new(),
            replaced: Notify::new(),
        });
        state.members.insert(number, Arc::clone(&member));
        if let Some(older) = state.by_proxy.insert(proxy_id.to_owned(), number)
            && let Some(older) = state.members.get(&older)
        {
            let (older_peer, newer_peer) = (older.about.peer, member.about.peer);
            tracing::warn!(
                proxy = proxy_id, %older_peer, %newer_peer,
                "a newer stream takes the place of an older one; if this goes on, two proxies use the same id"
            );
            older.replaced.notify_one();
        }
        member
    }

    /// Takes a stream out.
    pub(super) fn leave(&self, member: &Member, services: &BTreeSet<ServiceRef>) {
        let mut state = self.state();
        state.members.remove(&member.number);
        if state.by_proxy.get(&member.proxy_id) == Some(&member.number) {
            state.by_proxy.remove(&member.proxy_id);
        }
        for service in services {
            state.unlink(service, member.number);
        }
    }

    /// Sets which services concern a stream. Look at the catalog afterwards, so that nothing falls in between.
    pub(super) fn concern(&self, member: &Member, before: &BTreeSet<ServiceRef>, now: &BTreeSet<ServiceRef>) {
        let mut state = self.state();
        for service in before.difference(now) {
            state.unlink(service, member.number);
        }
        for service in now.difference(before) {
            state.by_service.entry(service.clone()).or_default().insert(member.number);
        }
    }

    /// Calls a stream's proxy up to date, unless something has come up meanwhile.
    pub(super) fn settle(&self, member: &Member) {
        let _state = self.state();
        if !member.is_marked() {
            member.behind.store(false, Ordering::Release);
        }
    }

    /// The table of proxies, with what the streams add. A proxy whose stream is just coming or going is left out.
    pub(super) fn proxies(&self, table: &Proxies) -> Vec<ProxyStatus> {
        let state = self.state();
        let status = |proxy: Proxy| {
            let member = state.members.get(state.by_proxy.get(&proxy.id)?)?;
            let About { namespace, gateways, admin, .. } = member.about.clone();
            let subscriptions = member.subscriptions.load(Ordering::Relaxed);
            let behind = member.behind.load(Ordering::Acquire);
            Some(ProxyStatus { proxy, namespace, gateways, admin, subscriptions, behind })
        };
        table.list().into_iter().filter_map(status).collect()
    }

    /// The newest stream of each proxy, by id.
    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        let state = self.state();
        let newest = state.by_proxy.values().filter_map(|number| state.members.get(number));
        let mut members: Vec<Arc<Member>> = newest.cloned().collect();
        members.sort_by(|a, b| a.proxy_id.cmp(&b.proxy_id));
        members
    }

    /// Marks whom a change concerns: with `services` absent, or when another history begins, everybody.
    fn changed(&self, position: Position, services: Option<&[ServiceRef]>) {
        let mut state = self.state();
        let goes_on = position.epoch == state.position.epoch;
        let concerned: Vec<Arc<Member>> = match services.filter(|_| goes_on) {
            None => state.members.values().cloned().collect(),
            Some(services) => {
                let numbers: HashSet<u64> = services
                    .iter()
                    .filter_map(|service| state.by_service.get(service))
                    .flatten()
                    .copied()
                    .collect();
                numbers.iter().filter_map(|number| state.members.get(number)).cloned().collect()
            }
        };
        for member in &concerned {
            member.mark();
        }
        state.position = state.position.max(position);
    }
}

impl State {
    fn unlink(&mut self, service: &ServiceRef, number: u64) {
        if let Some(numbers) = self.by_service.get_mut(service) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_service.remove(service);
            }
        }
    }
}

/// Follows the catalog's changes until the server is gone.
pub(super) async fn follow(shared: Weak<Shared>, mut changes: Changes) {
    loop {
        let event = changes.next().await;
        let Some(shared) = shared.upgrade() else { return };
        match event {
            ChangeEvent::Change(change) => {
                let declared = !change.resources.is_empty() || !change.removed_resources.is_empty();
                let configured = change.tables.iter().any(|table| table.name.starts_with(TABLES));
                let services = (!declared && !configured).then_some(change.services.as_slice());
                shared.hub.changed(change.position, services);
            }
            ChangeEvent::Resync => shared.hub.changed(shared.control.position(), None),
            ChangeEvent::Closed => return,
        }
    }
}
