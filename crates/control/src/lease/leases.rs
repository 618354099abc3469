//! The deadlines of everything that is renewed. Pure: `now` is monotonic time since some fixed moment.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::bounds::LEASE_RETRY;
use crate::lock::ClaimRef;
use crate::session::SessionRef;

/// What is renewed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LeaseKey {
    Session(SessionRef),
    Claim(ClaimRef),
}

#[derive(Debug)]
struct Lease {
    life: Duration,
    deadline: Duration,
    /// Its time is over: it cannot be renewed any more, only ended.
    over: bool,
    /// It is over for another reason than its time, which no renewal elsewhere takes back.
    condemned: bool,
}

/// All deadlines.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    leases: HashMap<Arc<LeaseKey>, Lease>,
    queue: BTreeSet<(Duration, Arc<LeaseKey>)>,
}

impl Leases {
    /// Begins to watch the time of something, if that is not done already. It lives for `life` from now on.
    pub(crate) fn track(&mut self, key: LeaseKey, life: Duration, now: Duration) {
        if !self.leases.contains_key(&key) {
            let key = Arc::new(key);
            self.queue.insert((now + life, Arc::clone(&key)));
            self.leases.insert(key, Lease { life, deadline: now + life, over: false, condemned: false });
        }
    }

    /// It is gone.
    pub(crate) fn forget(&mut self, key: &LeaseKey) {
        if let Some((key, lease)) = self.leases.remove_entry(key) {
            self.queue.remove(&(lease.deadline, key));
        }
    }

    /// Gives it its full time again. `None` if nobody watches it; `Some(false)` if its time is over.
    pub(crate) fn renew(&mut self, key: &LeaseKey, now: Duration) -> Option<bool> {
        let (key, _) = self.leases.get_key_value(key)?;
        let key = Arc::clone(key);
        let lease = self.leases.get_mut(&key)?;
        // What is due cannot be renewed, even if nobody came to end it yet.
        if lease.over || lease.deadline <= now {
            return Some(false);
        }
        self.queue.remove(&(lease.deadline, Arc::clone(&key)));
        lease.deadline = now + lease.life;
        self.queue.insert((lease.deadline, key));
        Some(true)
    }

    /// Its time is over now, whatever it was.
    pub(crate) fn end(&mut self, key: &LeaseKey, now: Duration) {
        let known = self.leases.get(key);
        if known.is_some_and(|lease| lease.condemned) {
            return;
        }
        let life = known.map_or(Duration::ZERO, |lease| lease.life);
        self.forget(key);
        self.track(key.clone(), Duration::ZERO, now);
        if let Some(lease) = self.leases.get_mut(key) {
            (lease.life, lease.over, lease.condemned) = (life, true, true);
        }
    }

    /// Whether it is over for another reason than its time.
    pub(crate) fn is_condemned(&self, key: &LeaseKey) -> bool {
        self.leases.get(key).is_some_and(|lease| lease.condemned)
    }

    /// It was renewed elsewhere before its time was over here: it has its full time again.
    pub(crate) fn revive(&mut self, key: &LeaseKey, now: Duration) {
        let Some((key, lease)) = self.leases.remove_entry(key) else { return };
        if lease.condemned {
            self.leases.insert(key, lease);
            return;
        }
        self.queue.remove(&(lease.deadline, Arc::clone(&key)));
        let deadline = now + lease.life;
        self.queue.insert((deadline, Arc::clone(&key)));
        self.leases.insert(key, Lease { deadline, over: false, ..lease });
    }

    /// A sign of life that another replica has accepted: it counts although the time is over here.
    pub(crate) fn renew_elsewhere(&mut self, key: &LeaseKey, now: Duration) {
        if self.renew(key, now) == Some(false) {
            self.revive(key, now);
        }
    }

    /// Gives all that is over, and not for another reason than its time, its full time again.
    pub(crate) fn revive_all(&mut self, now: Duration) {
        let over = self.leases.iter().filter(|(_, lease)| lease.over && !lease.condemned);
        let over: Vec<_> = over.map(|(key, _)| Arc::clone(key)).collect();
        for key in over {
            self.revive(&key, now);
        }
    }

    /// How long it still lives if it is not renewed.
    pub(crate) fn remaining(&self, key: &LeaseKey, now: Duration) -> Option<Duration> {
        let lease = self.leases.get(key)?;
        Some(if lease.over { Duration::ZERO } else { lease.deadline.saturating_sub(now) })
    }

    /// All that are watched.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &LeaseKey> {
        self.leases.keys().map(|key| &**key)
    }

    /// When something is to be ended next.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.queue.first().map(|(deadline, _)| *deadline)
    }

    /// What is to be ended now. Each comes again after [`LEASE_RETRY`] until it is forgotten.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<LeaseKey> {
        let mut due = Vec::new();
        while let Some((deadline, key)) = self.queue.first().filter(|(deadline, _)| *deadline <= now) {
            let (deadline, key) = (*deadline, Arc::clone(key));
            self.queue.remove(&(deadline, Arc::clone(&key)));
            if let Some(lease) = self.leases.get_mut(&key) {
                lease.over = true;
                lease.deadline = now + LEASE_RETRY;
                self.queue.insert((lease.deadline, Arc::clone(&key)));
                due.push((*key).clone());
            }
        }
        due
    }

    /// Gives everything its full time again that is not over: nobody could be heard for a while.
    pub(crate) fn begin_anew(&mut self, now: Duration) {
        for (key, lease) in &mut self.leases {
            if !lease.over {
                self.queue.remove(&(lease.deadline, Arc::clone(key)));
                lease.deadline = now + lease.life;
                self.queue.insert((lease.deadline, Arc::clone(key)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(10);

    fn key(id: &str) -> LeaseKey {
        LeaseKey::Session(SessionRef::new("default", id))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_renewed_elsewhere_is_revived_and_what_is_condemned_is_not() {
        let mut leases = Leases::default();
        leases.track(key("a"), LIFE, at(0));
        leases.track(key("b"), LIFE, at(0));
        assert_eq!(leases.due(at(10)), [key("a"), key("b")]);
        leases.end(&key("b"), at(10));
        for id in ["a", "b", "unknown"] {
            leases.revive(&key(id), at(11));
        }
        assert_eq!(leases.renew(&key("a"), at(12)), Some(true));
        assert_eq!(leases.renew(&key("b"), at(12)), Some(false));
        leases.renew_elsewhere(&key("b"), at(12));
        leases.revive_all(at(12));
        assert_eq!(leases.renew(&key("b"), at(12)), Some(false), "it has ended for another reason");
        assert!(leases.is_condemned(&key("b")) && !leases.is_condemned(&key("a")));
        assert_eq!(leases.due(at(21)), [key("b")]);
        assert_eq!(leases.due(at(22)), [key("a"), key("b")]);
    }

    #[test]
    fn what_is_renewed_lives_on_and_what_is_over_stays_over() {
        let mut leases = Leases::default();
        leases.track(key("a"), LIFE, at(0));
        leases.track(key("b"), LIFE, at(0));
        // Tracked again, it keeps its deadline.
        leases.track(key("b"), LIFE, at(5));
        assert_eq!(leases.renew(&key("a"), at(9)), Some(true));
        assert_eq!(leases.renew(&key("c"), at(9)), None);
        assert_eq!(leases.renew(&key("b"), at(10)), Some(false), "due, though not ended yet");
        assert_eq!(leases.due(at(10)), [key("b")]);
        assert_eq!(leases.due(at(10)), []);
        assert_eq!(leases.renew(&key("b"), at(10)), Some(false));
        assert_eq!(leases.due(at(10) + LEASE_RETRY), [key("b")], "it is tried again");
        leases.forget(&key("b"));
        assert_eq!(leases.next_deadline(), Some(at(19)));
        assert_eq!(leases.remaining(&key("a"), at(12)), Some(at(7)));
    }

    #[test]
    fn what_is_ended_is_due_at_once_and_cannot_be_renewed() {
        let mut leases = Leases::default();
        leases.track(key("a"), LIFE, at(0));
        leases.end(&key("a"), at(1));
        leases.end(&key("untracked"), at(1));
        assert_eq!(leases.renew(&key("a"), at(1)), Some(false));
        assert_eq!(leases.due(at(1)), [key("a"), key("untracked")]);
        leases.end(&key("a"), at(1));
        assert_eq!(leases.due(at(1)), [], "its end is under way");
        assert_eq!(leases.due(at(1) + LEASE_RETRY).len(), 2);
    }

    #[test]
    fn after_a_standstill_all_begin_anew_but_those_that_are_over() {
        let mut leases = Leases::default();
        leases.track(key("a"), LIFE, at(0));
        leases.track(key("over"), LIFE, at(0));
        leases.renew(&key("a"), at(5));
        assert_eq!(leases.due(at(10)), [key("over")]);
        leases.begin_anew(at(100));
        assert_eq!(leases.renew(&key("a"), at(109)), Some(true));
        assert_eq!(leases.renew(&key("over"), at(100)), Some(false));
    }

    proptest::proptest! {
        /// Against a table of plain deadlines.
        #[test]
        fn nothing_is_over_early_or_late(steps in proptest::collection::vec((0u8..4, 0u8..4, 0u64..8), 0..60)) {
            let mut leases = Leases::default();
            let mut model: HashMap<u8, Duration> = HashMap::new();
            let mut now = Duration::ZERO;
            for (what, id, pass) in steps {
                now += at(pass);
                let over: Vec<u8> = model.iter().filter(|(_, end)| **end <= now).map(|(id, _)| *id).collect();
                let mut due: Vec<_> = leases.due(now).into_iter().collect();
                due.sort();
                let mut expected: Vec<_> = over.iter().map(|id| key(&id.to_string())).collect();
                expected.sort();
                proptest::prop_assert_eq!(&due, &expected);
                for id in over {
                    model.remove(&id);
                    leases.forget(&key(&id.to_string()));
                }
                let name = key(&id.to_string());
                match what {
                    0 => { leases.track(name, LIFE, now); model.entry(id).or_insert(now + LIFE); }
                    1 => { leases.forget(&name); model.remove(&id); }
                    _ => {
                        let known = model.get_mut(&id).map(|end| { *end = now + LIFE; true });
                        proptest::prop_assert_eq!(leases.renew(&name, now), known);
                    }
                }
                proptest::prop_assert_eq!(leases.next_deadline(), model.values().min().copied());
            }
        }
    }
}
