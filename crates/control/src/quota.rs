//! Limits that proxies keep together: who of them has leased which share.
//!
//! ```text
//! proxy -> its replica -> the replica that watches over the limit -> Book (weir_policy::quota) -> lease -> back
//! ```
//!
//! Soft state of the report loop: never stored, and forgotten when nobody asks any more. One replica keeps the book of a
//! limit, by the same hash that shares out checks. Who begins to watch over one gives no lease until those are over that
//! another may have given.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use weir_model::{Kind, ResourceId};
use weir_policy::Nanos;
pub use weir_policy::quota::{ASK_EVERY, Lease, Wish};
use weir_policy::quota::{Book, LEASE_TTL};

use crate::bounds::SHARED_LIMITS_MAX;
use crate::replicas::{self, Subject};
use crate::{Control, Replica};

/// Most bytes of a target's name: its kind, namespace, name and section.
const TARGET_BYTES_MAX: usize = 1024;
/// Most bytes of a proxy's id.
const HOLDER_BYTES_MAX: usize = 256;

/// A limit that proxies share, at one of its targets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedLimit {
    /// The namespace of the `RateLimit`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The target, as proxies name it.
    pub target: String,
}

impl Subject for SharedLimit {
    fn subject(&self) -> String {
        format!("limit/{}/{}/{}", self.namespace, self.name, self.target)
    }
}

/// What a proxy could use of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The limit.
    pub limit: SharedLimit,
    /// The proxy.
    pub holder: String,
    /// How much, and what it has.
    pub wish: Wish,
}

/// What it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// None where nothing may be given now, or the limit is not one that is shared.
    pub lease: Option<Lease>,
    /// How many share the limit; 0 where that is not known.
    pub holders: u32,
}

/// The books of one replica.
#[derive(Debug)]
pub(crate) struct Books {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    books: HashMap<SharedLimit, Book>,
    /// The replicas when it was last looked.
    replicas: Vec<String>,
    /// Until when a new book gives nothing.
    silent_until: Nanos,
    swept: Nanos,
}

impl Default for Books {
    fn default() -> Self {
        let state = State {
            books: HashMap::new(),
            replicas: Vec::new(),
            silent_until: Nanos(0) + LEASE_TTL,
            swept: Nanos(0),
        };
        Self { began: Instant::now(), state: Mutex::new(state) }
    }
}

impl Books {
    fn now(&self) -> Nanos {
        Nanos(0) + self.began.elapsed()
    }
}

impl State {
    /// Who watches over what may have changed: books of others go, and new ones are silent for a while.
    fn follow(&mut self, replicas: Vec<String>, owns: impl Fn(&SharedLimit) -> bool, now: Nanos) {
        if self.replicas != replicas {
            self.books.retain(|limit, _| owns(limit));
            self.silent_until = self.silent_until.max(now + LEASE_TTL);
            self.replicas = replicas;
        }
    }

    fn sweep(&mut self, now: Nanos) {
        if now >= self.swept + LEASE_TTL {
            self.swept = now;
            self.books.retain(|_, book| !book.is_empty(now));
        }
    }

    fn ask(&mut self, ask: &Ask, now: Nanos) -> Granted {
        // Of what nobody has asked here for as long as leases last, another replica may have kept the book meanwhile,
        // also where the replicas are the same again as when it was last looked.
        let known = self.books.contains_key(&ask.limit);
        if self.books.get_mut(&ask.limit).is_none_or(|book| book.is_empty(now)) {
            if !known && self.books.len() >= SHARED_LIMITS_MAX {
                return Granted::default();
            }
            let is_only_one = self.replicas.is_empty();
            let silent_until =
                if is_only_one { self.silent_until } else { self.silent_until.max(now + LEASE_TTL) };
            self.books.insert(ask.limit.clone(), Book::new(silent_until));
        }
        let Some(book) = self.books.get_mut(&ask.limit) else { return Granted::default() };
        let lease = book.ask(&ask.holder, ask.wish, now);
        Granted { lease, holders: book.holders() }
    }
}

impl Control {
    /// Leases a share of a limit that this replica watches over. Nothing is leased of others, nor of what is no limit
    /// with `scope: global`.
    pub fn lease(&self, ask: &Ask) -> Granted {
        if ask.holder.len() > HOLDER_BYTES_MAX || !self.is_shared(&ask.limit) || !self.may_judge() {
            return Granted::default();
        }
        let catalog = self.catalog().state();
        let own = self.settings().replica.as_ref();
        let owns = |limit: &SharedLimit| replicas::owns(own, &catalog.replicas, limit);
        if !owns(&ask.limit) {
            return Granted::default();
        }
        let mut state = self.books.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.books.now();
        state.follow(catalog.replicas.keys().cloned().collect(), owns, now);
        state.sweep(now);
        state.ask(ask, now)
    }

    /// The other replica that watches over a limit; none if it is this one, or nobody yet.
    pub fn limit_owner(&self, limit: &SharedLimit) -> Option<Replica> {
        let own = self.settings().replica.as_ref()?;
        let catalog = self.catalog().state();
        replicas::owner(&catalog.replicas, limit).filter(|replica| replica.id != own.id).cloned()
    }

    /// Whether there is such a limit, and proxies share it. Nobody is to be asked of what is none.
    pub fn is_shared(&self, limit: &SharedLimit) -> bool {
        if limit.target.len() > TARGET_BYTES_MAX {
            return false;
        }
        let id = ResourceId::new(Kind::RateLimit, &*limit.namespace, &*limit.name);
        let set = self.catalog().resources().entries;
        set.get(&id).is_some_and(|entry| entry.resource.spec.is_shared())
    }
}

#[cfg(test)]
mod tests {
    use weir_policy::quota::PARTS;

    use super::*;

    fn ask(target: &str, lease: u64) -> Ask {
        let limit =
            SharedLimit { namespace: "default".to_owned(), name: "l".to_owned(), target: target.to_owned() };
        Ask { limit, holder: "p".to_owned(), wish: Wish { wanted: PARTS, lease } }
    }

    fn state() -> State {
        Books::default().state.into_inner().unwrap()
    }

    #[test]
    fn who_takes_over_is_silent_until_the_leases_of_others_are_over() {
        let (mut state, start) = (state(), Nanos(0) + LEASE_TTL);
        assert_eq!(state.ask(&ask("kept", 0), Nanos(0)), Granted { lease: None, holders: 1 });
        assert!(state.ask(&ask("kept", 0), start).lease.is_some());
        let (kept, lost) = (ask("kept", 1), ask("lost", 0));
        assert!(state.ask(&lost, start).lease.is_some());

        state.follow(vec!["a".to_owned(), "b".to_owned()], |limit| limit.target == "kept", start);
        assert!(state.ask(&kept, start).lease.is_some(), "its own book goes on");
        assert_eq!(
            state.ask(&lost, start).lease,
            None,
            "the book of one that was another's meanwhile does not"
        );
        assert_eq!(state.ask(&lost, start + LEASE_TTL / 2).lease, None);
        assert!(state.ask(&lost, start + LEASE_TTL).lease.is_some());

        // They come and go, and it is not asked meanwhile: who comes back knows nothing of what others have given.
        let later = start + LEASE_TTL * 4;
        assert_eq!(state.ask(&kept, later).lease, None);
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_and_books_are_bounded() {
        let (mut state, mut now) = (state(), Nanos(0) + LEASE_TTL);
        for number in 0..SHARED_LIMITS_MAX {
            assert!(state.ask(&ask(&number.to_string(), 0), now).lease.is_some());
        }
        assert_eq!(state.ask(&ask("one more", 0), now), Granted::default());
        now = now + LEASE_TTL + LEASE_TTL;
        state.sweep(now);
        assert!(state.books.is_empty());
        assert!(state.ask(&ask("one more", 0), now).lease.is_some());
    }
}
