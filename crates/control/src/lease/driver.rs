//! Runs the leases on real time: feeds them from the catalog, and ends what is over.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_model::Revision;
use weir_model::registry::Health;

use super::leases::{LeaseKey, Leases};
use crate::bounds::{LEASE_ENDS_MAX, LEASE_STANDSTILL, LEASE_TICK};
use crate::catalog::State;
use crate::changes::{Change, ChangeEvent, Changes};
use crate::lock::{Claim, ClaimRef, LockRef};
use crate::replicas::{Subject, owns};
use crate::session::{SessionEntry, SessionRef};
use crate::{Control, Error, Replica, lock, session};

/// The claims of a lock, by id.
type Claims = HashMap<String, Seen>;

/// A claim as it was last seen.
#[derive(Clone, Copy)]
struct Seen {
    /// The moment since which it holds the lock.
    since: Option<Duration>,
    revision: Revision,
}

/// What this replica watches over: everything, where it is alone.
struct Share<'a> {
    own: Option<&'a Replica>,
    state: &'a State,
}

impl Share<'_> {
    fn has(&self, subject: &impl Subject) -> bool {
        owns(self.own, &self.state.replicas, subject)
    }
}

/// What is to be ended.
struct Due {
    key: LeaseKey,
    /// Not if it was written after this revision: that is a renewal. None: whatever was written.
    unless_after: Option<Revision>,
}

/// What became of something that was to be ended.
pub(crate) enum Ended {
    Gone,
    /// It was renewed at another replica, in time.
    Renewed,
}

struct Table {
    leases: Leases,
    locks: HashMap<LockRef, Claims>,
    looked_at: Duration,
    /// The revision up to which every change is known here, and with it every renewal that is a write.
    seen: Revision,
}

/// The leases behind their lock, with their clock.
pub(crate) struct Keeper {
    start: Instant,
    table: Mutex<Table>,
}

impl Keeper {
    pub(crate) fn new() -> Self {
        let table =
            Table { leases: Leases::default(), locks: HashMap::new(), looked_at: Duration::ZERO, seen: 0 };
        Self { start: Instant::now(), table: Mutex::new(table) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Table, Duration) -> T) -> T {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.start.elapsed();
        if now.saturating_sub(table.looked_at) > LEASE_STANDSTILL {
            table.leases.begin_anew(now);
        }
        table.looked_at = now;
        work(&mut table, now)
    }

    /// A sign of life. Whether it came in time; what nobody watches yet is watched from now on, if it has a time.
    pub(crate) fn renew(&self, key: LeaseKey, life: Option<Duration>) -> bool {
        self.with(|table, now| match (table.leases.renew(&key, now), life) {
            (Some(in_time), _) => in_time,
            (None, Some(life)) => {
                table.leases.track(key, life, now);
                true
            }
            (None, None) => true,
        })
    }

    /// How long it still lives if it is not renewed.
    pub(crate) fn remaining(&self, key: &LeaseKey) -> Option<Duration> {
        self.with(|table, now| table.leases.remaining(key, now))
    }

    /// How long a claim has held its lock, as far as this replica has seen it.
    pub(crate) fn held_for(&self, claim: &ClaimRef) -> Option<Duration> {
        self.with(|table, now| Some(now - table.locks.get(&claim.lock)?.get(&claim.id)?.since?))
    }

    /// Everything has its full time from now on.
    pub(crate) fn grant_full_time(&self) {
        self.with(|table, now| {
            table.leases.begin_anew(now);
            table.leases.revive_all(now);
        });
    }

    /// Its end has begun, and whatever is written of it is no sign of life.
    pub(crate) fn condemn(&self, key: &LeaseKey) {
        self.with(|table, now| {
            if table.leases.remaining(key, now).is_some() {
                table.leases.end(key, now);
            }
        });
    }

    fn take_over(&self, share: &Share<'_>, change: &Change) {
        if change.replicas {
            self.take_over_all(share);
        }
        let state = share.state;
        self.with(|table, now| {
            for name in &change.sessions {
                table.see_session(share, name, now);
                // Another replica writes a session as it is because of a sign of life.
                if share.own.is_some() {
                    table.leases.renew_elsewhere(&LeaseKey::Session(name.clone()), now);
                }
            }
            for lock in &change.locks {
                table.see_lock(share, lock, now);
            }
            let bad = |check: &&(_, Option<Arc<crate::catalog::CheckEntry>>)| {
                check.1.as_ref().is_none_or(|check| check.value.health == Health::Critical)
            };
            for (check, _) in change.checks.iter().filter(bad) {
                table.end_sessions(state.sessions.relying_on(check), now);
            }
            for node in change.nodes.iter().filter(|node| !state.has_node(node)) {
                table.end_sessions(state.sessions.on_node(node), now);
            }
            for service in &change.services {
                let claims = state.locks.of_service(service);
                for claim in claims.filter(|claim| !lock::is_alive(state, &claim.value)) {
                    table.leases.end(&LeaseKey::Claim(ClaimRef::of(&claim.value)), now);
                }
            }
            table.seen = table.seen.max(change.position.revision);
        });
    }

    fn take_over_all(&self, share: &Share<'_>) {
        let state = share.state;
        self.with(|table, now| {
            let tracked: Vec<_> = table.leases.keys().cloned().collect();
            for key in tracked {
                match &key {
                    LeaseKey::Session(name) => table.see_session(share, name, now),
                    LeaseKey::Claim(name) => table.see_lock(share, &name.lock, now),
                }
            }
            for entry in state.sessions.all() {
                table.see_session(share, &SessionRef::of(&entry.value), now);
            }
            for (name, _) in state.locks.all() {
                table.see_lock(share, name, now);
            }
            table.seen = table.seen.max(state.position.revision);
        });
    }
}

impl Table {
    fn see_session(&mut self, share: &Share<'_>, name: &SessionRef, now: Duration) {
        let state = share.state;
        let key = LeaseKey::Session(name.clone());
        let Some(entry) = state.sessions.get(&name.namespace, &name.id) else {
            self.leases.forget(&key);
            for claim in state.locks.of_session(name) {
                self.leases.end(&LeaseKey::Claim(ClaimRef::of(&claim.value)), now);
            }
            return;
        };
        if !session::is_alive(state, &entry.value) {
            self.leases.end(&key, now);
        } else if !share.has(name) {
            self.leases.forget(&key);
        } else if let Some(life) = session::life(&entry.value) {
            self.leases.track(key, life, now);
        }
    }

    fn end_sessions<'a>(&mut self, sessions: impl Iterator<Item = &'a Arc<SessionEntry>>, now: Duration) {
        for entry in sessions {
            self.leases.end(&LeaseKey::Session(SessionRef::of(&entry.value)), now);
        }
    }

    /// Whoever comes to hold the lock has its full time from then on.
    fn see_lock(&mut self, share: &Share<'_>, name: &LockRef, now: Duration) {
        let (state, owned, shared) = (share.state, share.has(name), share.own.is_some());
        let mut before = self.locks.remove(name).unwrap_or_default();
        let mut claims = Claims::new();
        let slot = state.locks.get(name);
        let holders = slot.map_or(0, |slot| slot.count() as usize);
        for (place, entry) in slot.into_iter().flat_map(|slot| slot.claims()).enumerate() {
            let claim = &entry.value;
            let known = before.remove(&claim.id);
            let mut since = known.and_then(|known| known.since);
            // The line may be long, and most of it is as it was.
            if known.is_none() || (place < holders && since.is_none()) {
                let key = LeaseKey::Claim(ClaimRef::of(claim));
                if known.is_none() && !lock::is_alive(state, claim) {
                    self.leases.end(&key, now);
                }
                if owned {
                    self.leases.track(key.clone(), claim.ttl.0, now);
                }
                if place < holders {
                    self.leases.renew(&key, now);
                    since = Some(now);
                }
            }
            if shared {
                // Which replica watches over it may have changed; and another one writes it as it is for a sign of life.
                let touched = known.is_some_and(|known| known.revision != entry.modify_revision);
                self.share_claim(claim, owned, touched, now);
            }
            claims.insert(claim.id.clone(), Seen { since, revision: entry.modify_revision });
        }
        for id in before.into_keys() {
            self.leases.forget(&LeaseKey::Claim(ClaimRef::new(name.clone(), id)));
        }
        if !claims.is_empty() {
            self.locks.insert(name.clone(), claims);
        }
    }
}

impl Table {
    /// What is to be ended now.
    fn due(&mut self, now: Duration) -> Vec<Due> {
        let seen = self.seen;
        let due = self.leases.due(now).into_iter();
        due.map(|key| {
            let unless_after = (!self.leases.is_condemned(&key)).then_some(seen);
            Due { key, unless_after }
        })
        .collect()
    }

    fn share_claim(&mut self, claim: &Claim, owned: bool, touched: bool, now: Duration) {
        let key = LeaseKey::Claim(ClaimRef::of(claim));
        match (owned, self.leases.remaining(&key, now)) {
            (true, None) => self.leases.track(key, claim.ttl.0, now),
            (true, Some(_)) if touched => self.leases.renew_elsewhere(&key, now),
            // What is to be ended stays, whoever does it.
            (false, Some(left)) if !left.is_zero() => self.leases.forget(&key),
            _ => {}
        }
    }
}

/// Ends what is over until the control plane is gone.
pub(crate) async fn run(control: Weak<Control>, mut changes: Changes) {
    let Some((keeper, mut epoch)) = control.upgrade().map(|control| {
        let state = control.catalog().state();
        control.keeper.take_over_all(&share(&control, &state));
        (Arc::clone(&control.keeper), state.position.epoch)
    }) else {
        return;
    };
    let mut over = VecDeque::new();
    let mut ends = JoinSet::new();
    let mut tick = tokio::time::interval(LEASE_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let judges = control.upgrade().is_none_or(|control| control.may_judge());
        if over.is_empty() && judges {
            over.extend(keeper.with(Table::due));
        }
        while ends.len() < LEASE_ENDS_MAX
            && let Some(due) = over.pop_front()
        {
            ends.spawn(end(control.clone(), due));
        }
        let deadline = keeper.with(|table, _| table.leases.next_deadline()).map(|at| keeper.start + at);
        let anything = deadline.is_some();
        tokio::select! {
            event = changes.next() => {
                let Some(control) = control.upgrade() else { return };
                match event {
                    ChangeEvent::Change(change) => {
                        keeper.take_over(&share(&control, &control.catalog().state()), &change);
                    }
                    ChangeEvent::Resync => {
                        let state = control.catalog().state();
                        if std::mem::replace(&mut epoch, state.position.epoch) != state.position.epoch {
                            // Of another history, which knows nothing of how long something was not renewed.
                            keeper.grant_full_time();
                        }
                        keeper.take_over_all(&share(&control, &state));
                    }
                    ChangeEvent::Closed => return,
                }
            }
            Some(_) = ends.join_next() => {}
            // A look now and then, by which a standstill is noticed.
            _ = tick.tick(), if anything => {}
            () = sleep_until(deadline), if over.is_empty() && judges => {}
        }
    }
}

fn share<'a>(control: &'a Control, state: &'a State) -> Share<'a> {
    Share { own: control.settings().replica.as_ref(), state }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn end(control: Weak<Control>, Due { key, unless_after }: Due) {
    let Some(control) = control.upgrade() else { return };
    if !control.may_judge() {
        return;
    }
    let done = match &key {
        LeaseKey::Session(name) => control.end_session(name, unless_after).await,
        LeaseKey::Claim(claim) => control.end_claim(claim, unless_after).await,
    };
    match done {
        Ok(Ended::Gone) | Err(Error::NotFound { .. }) => match &key {
            LeaseKey::Session(name) => {
                tracing::info!(session = %name.id, namespace = %name.namespace, "the session has ended");
            }
            LeaseKey::Claim(claim) => {
                let ClaimRef { lock, id } = claim;
                tracing::info!(lock = %lock.name, namespace = %lock.namespace, claim = %id, "the claim has ended");
            }
        },
        Ok(Ended::Renewed) => control.keeper.with(|table, now| table.leases.revive(&key, now)),
        Err(error) => tracing::warn!(?key, %error, "not ended, will be tried again"),
    }
}

#[cfg(test)]
mod tests {
    use weir_model::units::Span;
    use weir_store::Memory;

    use super::*;
    use crate::Settings;
    use crate::commit::Plan;
    use crate::keys;
    use crate::lock::NewClaim;
    use crate::session::Session;

    /// Writes something as it is, as another replica does for a renewal.
    async fn touch(control: &Control, key: &LeaseKey) {
        let plan = |state: &State| match key {
            LeaseKey::Session(name) => Plan::touch(
                keys::session(&name.namespace, &name.id)?,
                state.sessions.get(&name.namespace, &name.id).expect("it lives"),
            ),
            LeaseKey::Claim(ClaimRef { lock, id }) => {
                let known = state.locks.claim(&ClaimRef::new(lock.clone(), id.clone())).expect("it lives");
                Plan::touch(keys::claim(&lock.namespace, &lock.name, id)?, known)
            }
        };
        control.execute(|| "it".to_owned(), plan).await.expect("written");
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_is_not_seen_yet_wins_over_the_end() {
        let control = Control::start(Arc::new(Memory::new()), Settings::default()).await.expect("starts");
        let session = Session {
            namespace: "default".to_owned(),
            node: "weir".to_owned(),
            ttl: Some(Span(Duration::from_secs(3600))),
            ..Session::default()
        };
        let (session, _) = control.create_session(session).await.expect("created");
        let claim = ClaimRef::new(LockRef::new("default", "report"), "a");
        let new = NewClaim {
            name: claim.clone(),
            count: 1,
            ttl: Duration::from_secs(3600),
            holder: String::new(),
            instance: None,
            session: None,
        };
        control.claim_lock(new, Duration::ZERO).await.expect("claimed");
        for key in [LeaseKey::Session(session), LeaseKey::Claim(claim)] {
            let seen = control.position().revision;
            touch(&control, &key).await;
            let end = async |seen| match &key {
                LeaseKey::Session(name) => control.end_session(name, seen).await.expect("answered"),
                LeaseKey::Claim(name) => control.end_claim(name, seen).await.expect("answered"),
            };
            assert!(matches!(end(Some(seen)).await, Ended::Renewed), "{key:?}");
            assert!(matches!(end(Some(control.position().revision)).await, Ended::Gone), "{key:?}");
        }
    }
}
