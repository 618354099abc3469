//! Leases: how long they live, when they end, and which keys end with them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::{Error, Key, LeaseId};

/// A staged change of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseChange {
    Granted { ttl: Duration, deadline: Duration },
    Ended,
}

#[derive(Debug, Default)]
pub(crate) struct Leases {
    leases: HashMap<LeaseId, LeaseState>,
    /// The same leases, by the moment they end.
    deadlines: BTreeSet<(Duration, LeaseId)>,
}

#[derive(Debug, Default)]
struct LeaseState {
    ttl: Duration,
    deadline: Duration,
    keys: BTreeSet<Key>,
}

impl Leases {
    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// Whether the lease is granted and its time has not come.
    pub(crate) fn is_alive(&self, id: LeaseId, now: Duration) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.deadline > now)
    }

    pub(crate) fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// All leases and how long they live after a renewal.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, Duration)> {
        self.leases.iter().map(|(id, lease)| (*id, lease.ttl))
    }

    /// How long the lease lives after a renewal; `None` if there is no such lease.
    pub(crate) fn ttl(&self, id: LeaseId) -> Option<Duration> {
        self.leases.get(&id).map(|lease| lease.ttl)
    }

    /// The keys that end with the lease.
    pub(crate) fn keys(&self, id: LeaseId) -> impl Iterator<Item = &Key> {
        self.leases.get(&id).into_iter().flat_map(|lease| &lease.keys)
    }

    pub(crate) fn key_count(&self, id: LeaseId) -> usize {
        self.leases.get(&id).map_or(0, |lease| lease.keys.len())
    }

    /// The earliest moment at which a lease ends.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The leases whose time has come.
    pub(crate) fn due(&self, now: Duration) -> Vec<LeaseId> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, id)| *id).collect()
    }

    /// Gives the lease its full time again. A lease whose time has come cannot be renewed, even if its keys are
    /// not deleted yet: its end is already being decided.
    pub(crate) fn renew(&mut self, id: LeaseId, now: Duration) -> Result<Duration, Error> {
        let lease = self.leases.get_mut(&id).filter(|lease| lease.deadline > now);
        let lease = lease.ok_or(Error::LeaseNotFound { id })?;
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = now + lease.ttl;
        self.deadlines.insert((lease.deadline, id));
        Ok(lease.ttl)
    }

    pub(crate) fn apply(&mut self, id: LeaseId, change: LeaseChange) {
        match change {
            LeaseChange::Granted { ttl, deadline } => {
                let lease = self.leases.entry(id).or_default();
                lease.ttl = ttl;
                lease.deadline = deadline;
                self.deadlines.insert((deadline, id));
            }
            LeaseChange::Ended => {
                if let Some(lease) = self.leases.remove(&id) {
                    self.deadlines.remove(&(lease.deadline, id));
                }
            }
        }
    }

    pub(crate) fn attach(&mut self, id: LeaseId, key: &Key) {
        self.leases.entry(id).or_default().keys.insert(key.clone());
    }

    pub(crate) fn detach(&mut self, id: LeaseId, key: &Key) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }
}
