//! Subscriptions on demand: the first call of a service asks for it and waits, briefly and in bounded number.
//!
//! The request path calls [`Subscriptions::request`]; whichever source can subscribe takes what is wanted from
//! [`Subscriptions::next_wanted`]. With no such source, or while it has no control plane, a request is answered at once:
//! nothing is gained by waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use weir_model::ServiceRef;

/// How long a request waits for the control plane to answer.
pub const WAIT_MAX: Duration = Duration::from_secs(1);
/// How many requests may wait at a time, over all services.
pub const WAITERS_MAX: usize = 1024;
/// How many services may be subscribed to on demand.
pub const ON_DEMAND_MAX: usize = 4096;

/// How many names are remembered that turned out to be no services. Beyond: the oldest is forgotten, so that a caller of
/// many strange hosts does not take the places of services.
const ABSENT_MAX: usize = 512;

/// What became of a request for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// The control plane has answered: the snapshot in force says whether there is such a service.
    Answered,
    /// It has not, within [`WAIT_MAX`].
    TimedOut,
    /// It cannot be asked now, or too many requests wait, or too many services are subscribed to.
    Unavailable,
}

/// What is wanted and who waits for it. Shared by workers and the control thread.
#[derive(Debug)]
pub struct Subscriptions {
    inner: Mutex<Inner>,
    /// Wakes the source when something new is wanted.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Whether a source can ask now.
    online: bool,
    waiters: usize,
    /// Asked for on demand; the sender says when it is answered.
    services: HashMap<ServiceRef, watch::Sender<bool>>,
    /// Those of them that do not exist, the oldest first.
    absent: VecDeque<ServiceRef>,
    /// Asked for and not handed to the source yet.
    fresh: Vec<ServiceRef>,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self { inner: Mutex::default(), wanted: Notify::new() }
    }
}

impl Subscriptions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each critical section leaves the maps consistent, so a panic elsewhere does not spoil them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to a service and waits until the snapshot in force knows of it, or [`WAIT_MAX`] is over.
    pub async fn request(&self, service: &ServiceRef) -> Subscribed {
        let mut answered = match self.enter(service) {
            Ok(receiver) => receiver,
            Err(outcome) => return outcome,
        };
        let _waiter = Waiter(self);
        match tokio::time::timeout(WAIT_MAX, answered.wait_for(|answered| *answered)).await {
            Ok(Ok(_)) => Subscribed::Answered,
            Ok(Err(_)) => Subscribed::Unavailable,
            Err(_) => Subscribed::TimedOut,
        }
    }

    /// Registers a waiter, and the service if it is new.
    fn enter(&self, service: &ServiceRef) -> Result<watch::Receiver<bool>, Subscribed> {
        let mut inner = self.lock();
        if !inner.online || inner.waiters >= WAITERS_MAX {
            return Err(Subscribed::Unavailable);
        }
        let receiver = match inner.services.get(service) {
            Some(sender) => sender.subscribe(),
            None if inner.services.len() >= ON_DEMAND_MAX => return Err(Subscribed::Unavailable),
            None => {
                let (sender, receiver) = watch::channel(false);
                inner.services.insert(service.clone(), sender);
                inner.fresh.push(service.clone());
                self.wanted.notify_one();
                receiver
            }
        };
        inner.waiters += 1;
        Ok(receiver)
    }

    /// Waits until services are wanted that have not been asked for, and takes them.
    pub(super) async fn next_wanted(&self) -> Vec<ServiceRef> {
        loop {
            let fresh = std::mem::take(&mut self.lock().fresh);
            if !fresh.is_empty() {
                return fresh;
            }
            self.wanted.notified().await;
        }
    }

    /// Everything that is subscribed to on demand.
    pub(super) fn all(&self) -> Vec<ServiceRef> {
        self.lock().services.keys().cloned().collect()
    }

    /// Says whether the control plane can be asked. Going offline lets all waiters go.
    pub(super) fn set_online(&self, online: bool) {
        let mut inner = self.lock();
        inner.online = online;
        if !online {
            // Answered ones stay subscribed and are asked for again; the others are for the next request to ask.
            inner.services.retain(|_, sender| *sender.borrow());
            inner.fresh.clear();
        }
    }

    /// Says that the snapshot in force now knows about these services, and whether each exists.
    pub(super) fn answered<'a>(&self, services: impl IntoIterator<Item = (&'a ServiceRef, bool)>) {
        let mut inner = self.lock();
        for (service, exists) in services {
            let Some(sender) = inner.services.get(service) else { continue };
            sender.send_replace(true);
            // Few are told about at a time, except after a new beginning.
            if let Some(at) = inner.absent.iter().position(|absent| absent == service) {
                inner.absent.remove(at);
            }
            if !exists {
                inner.absent.push_back(service.clone());
            }
        }
        while inner.absent.len() > ABSENT_MAX {
            if let Some(oldest) = inner.absent.pop_front() {
                inner.services.remove(&oldest);
            }
        }
    }

    /// Takes over subscriptions that an earlier run of the proxy had, as answered.
    pub(super) fn adopt(&self, services: impl IntoIterator<Item = ServiceRef>) {
        let mut inner = self.lock();
        for service in services {
            if inner.services.len() < ON_DEMAND_MAX {
                inner.services.entry(service).or_insert_with(|| watch::channel(true).0);
            }
        }
    }

    /// Forgets a service that is no longer used.
    pub(super) fn forget(&self, service: &ServiceRef) {
        let mut inner = self.lock();
        inner.services.remove(service);
        inner.absent.retain(|absent| absent != service);
    }
}

/// Counts a waiter out again, also when the request is given up.
struct Waiter<'a>(&'a Subscriptions);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.lock().waiters -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn service(name: &str) -> ServiceRef {
        ServiceRef::new("default", name)
    }

    #[tokio::test]
    async fn offline_requests_do_not_wait() {
        let subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.request(&service("cart")).await, Subscribed::Unavailable);
    }

    #[tokio::test]
    async fn an_answer_wakes_every_waiter_and_is_asked_for_once() {
        let subscriptions = Arc::new(Subscriptions::default());
        subscriptions.set_online(true);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let subscriptions = Arc::clone(&subscriptions);
                tokio::spawn(async move { subscriptions.request(&service("cart")).await })
            })
            .collect();
        assert_eq!(subscriptions.next_wanted().await, [service("cart")]);
        subscriptions.answered([(&service("cart"), true)]);
        for task in waiting {
            assert_eq!(task.await.unwrap(), Subscribed::Answered);
        }
        assert_eq!(subscriptions.lock().waiters, 0);
        assert!(subscriptions.lock().fresh.is_empty());
        assert_eq!(subscriptions.all(), [service("cart")]);
    }

    #[tokio::test]
    async fn waits_no_longer_than_the_limit() {
        let subscriptions = Subscriptions::default();
        subscriptions.set_online(true);
        let start = std::time::Instant::now();
        assert_eq!(subscriptions.request(&service("cart")).await, Subscribed::TimedOut);
        assert!(start.elapsed() >= WAIT_MAX);
        assert_eq!(subscriptions.lock().waiters, 0);
    }

    #[tokio::test]
    async fn losing_the_control_plane_lets_waiters_go() {
        let subscriptions = Arc::new(Subscriptions::default());
        subscriptions.set_online(true);
        let waiting = {
            let subscriptions = Arc::clone(&subscriptions);
            tokio::spawn(async move { subscriptions.request(&service("cart")).await })
        };
        subscriptions.next_wanted().await;
        subscriptions.set_online(false);
        assert_eq!(waiting.await.unwrap(), Subscribed::Unavailable);
    }

    #[test]
    fn names_that_are_no_services_take_no_places_of_services() {
        let subscriptions = Subscriptions::default();
        subscriptions.set_online(true);
        let ask = |name: &str, exists: bool| {
            assert!(subscriptions.enter(&service(name)).is_ok(), "{name}");
            subscriptions.lock().waiters = 0;
            subscriptions.answered([(&service(name), exists)]);
        };
        ask("cart", true);
        ask("soon", false);
        for i in 0..ON_DEMAND_MAX + 10 {
            ask(&format!("strange{i}"), false);
            if i == 0 {
                // It has come to be since.
                subscriptions.answered([(&service("soon"), true)]);
            }
        }
        ask("mail", true);
        let all = subscriptions.all();
        assert_eq!(all.len(), ABSENT_MAX + 3);
        assert!(["cart", "soon", "mail"].iter().all(|name| all.contains(&service(name))));
        assert!(!all.contains(&service("strange0")));
        let newest = service(&format!("strange{}", ON_DEMAND_MAX + 9));
        subscriptions.forget(&newest);
        assert!(!subscriptions.lock().absent.contains(&newest));
    }

    #[tokio::test]
    async fn services_and_waiters_are_bounded() {
        let subscriptions = Subscriptions::default();
        subscriptions.set_online(true);
        subscriptions.lock().waiters = WAITERS_MAX;
        assert_eq!(subscriptions.request(&service("cart")).await, Subscribed::Unavailable);
        subscriptions.lock().waiters = 0;
        subscriptions.adopt((0..=ON_DEMAND_MAX).map(|i| service(&format!("s{i}"))));
        assert_eq!(subscriptions.all().len(), ON_DEMAND_MAX);
        assert_eq!(subscriptions.request(&service("cart")).await, Subscribed::Unavailable);
        assert_eq!(subscriptions.lock().waiters, 0);
    }
}
