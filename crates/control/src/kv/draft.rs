//! KV operations on a view of the state, one after the other, and the store transaction that follows from them.
//!
//! What an operation has looked at becomes a condition of the transaction. Operations see what those before them did.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_model::Revision;
use weir_store::{Key, LeaseId};

use super::{Header, KvEntry, encode};
use crate::bounds::{KV_TXN_KEYS_MAX, SESSION_END_KEYS_MAX};
use crate::catalog::State;
use crate::commit::Plan;
use crate::session::{Behavior, SessionEntry, SessionRef};
use crate::{Error, keys, records};

/// A key as it is, or would be, at one point of a draft.
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    pub(super) header: Header,
    pub(super) value: Cow<'a, [u8]>,
    /// `None`: this draft creates it.
    pub(super) create_revision: Option<Revision>,
    /// `None`: this draft changes it.
    pub(super) modify_revision: Option<Revision>,
}

impl<'a> Seen<'a> {
    fn of(entry: &'a KvEntry) -> Self {
        let header =
            Header { flags: entry.flags, lock_index: entry.lock_index, session: entry.session.clone() };
        Self {
            header,
            value: Cow::Borrowed(entry.value()),
            create_revision: Some(entry.create_revision),
            modify_revision: Some(entry.modify_revision),
        }
    }
}

struct Touched<'a> {
    base: Option<&'a Arc<KvEntry>>,
    now: Option<Seen<'a>>,
    /// Whether what follows depends on what it was.
    looked_at: bool,
    written: bool,
    /// Whether it is locked by a session that did not hold it.
    acquired: bool,
}

/// Operations in the making, all in one namespace.
pub(crate) struct Draft<'a> {
    state: &'a State,
    namespace: &'a str,
    keys: BTreeMap<String, Touched<'a>>,
    /// Sessions that lock keys.
    sessions: BTreeSet<Arc<str>>,
    /// Sessions that end.
    ended: BTreeMap<SessionRef, Revision>,
    /// Keys that cannot be locked for a while, and the lease that this lasts as long as.
    delayed: BTreeMap<String, LeaseId>,
}

/// What is stored of a value.
#[derive(Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) value: &'a [u8],
    pub(super) flags: u64,
}

/// Why a key is not locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotLocked {
    /// A session holds it.
    Held,
    /// Its last session ended a short while ago.
    Delayed,
}

/// Why a session does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotEnded {
    /// It holds more than [`SESSION_END_KEYS_MAX`] keys.
    TooManyKeys,
    /// It holds keys that cannot be locked for a while after, and there is no lease that lasts as long.
    NoLease,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(state: &'a State, namespace: &'a str) -> Self {
        Self {
            state,
            namespace,
            keys: BTreeMap::new(),
            sessions: BTreeSet::new(),
            ended: BTreeMap::new(),
            delayed: BTreeMap::new(),
        }
    }

    fn touch(&mut self, key: &str) -> &mut Touched<'a> {
        if !self.keys.contains_key(key) {
            let base = self.state.kv.get(self.namespace, key);
            let now = base.map(|entry| Seen::of(entry));
            let touched = Touched { base, now, looked_at: false, written: false, acquired: false };
            self.keys.insert(key.to_owned(), touched);
        }
        self.keys.get_mut(key).expect("it was just put there")
    }

    /// A key as it is now.
    pub(super) fn look(&mut self, key: &str) -> Option<&Seen<'a>> {
        let touched = self.touch(key);
        touched.looked_at = true;
        touched.now.as_ref()
    }

    /// A key as it is now, for somebody who decides nothing by it.
    pub(super) fn peek(&mut self, key: &str) -> Option<&Seen<'a>> {
        self.touch(key).now.as_ref()
    }

    /// All keys that start so, in order; `None` if there are more than [`KV_TXN_KEYS_MAX`].
    pub(super) fn list(&mut self, prefix: &str) -> Option<Vec<String>> {
        let stored = self.state.kv.list(self.namespace, prefix).take(KV_TXN_KEYS_MAX + 1);
        let stored = stored.map(|entry| entry.key.to_string());
        let drafted = self.keys.keys().filter(|key| key.starts_with(prefix)).cloned();
        let keys: BTreeSet<String> = stored.chain(drafted).collect();
        if keys.len() > KV_TXN_KEYS_MAX {
            return None;
        }
        Some(keys.into_iter().filter(|key| self.peek(key).is_some()).collect())
    }

    /// Sets a key; whoever holds it goes on holding it.
    pub(super) fn set(&mut self, key: &str, content: Content<'a>) {
        let touched = self.touch(key);
        let held = touched.now.as_ref().map(|seen| seen.header.clone()).unwrap_or_default();
        touched.looked_at |= held.lock_index > 0;
        write(touched, Header { flags: content.flags, ..held }, content.value);
    }

    /// Sets a key if it was last changed at this revision; 0: if it is not there. A key that this draft has changed
    /// has no revision yet.
    pub(super) fn set_if(&mut self, key: &str, revision: Revision, content: Content<'a>) -> bool {
        let held = self.is_at(key, revision);
        if held {
            self.set(key, content);
        }
        held
    }

    /// Whether a key was last changed at this revision; 0: whether it is not there.
    pub(super) fn is_at(&mut self, key: &str, revision: Revision) -> bool {
        match self.look(key) {
            None => revision == 0,
            Some(seen) => revision != 0 && seen.modify_revision == Some(revision),
        }
    }

    pub(super) fn delete(&mut self, key: &str) {
        let touched = self.touch(key);
        touched.now = None;
        touched.written = true;
    }

    /// Sets a key and locks it for a session, which may hold it already.
    pub(super) fn lock(
        &mut self,
        key: &str,
        session: &str,
        content: Content<'a>,
    ) -> Result<Result<(), NotLocked>, Error> {
        let known = self.session(session).ok_or_else(|| Error::not_found("session", session))?;
        let session: Arc<str> = known.value.id.as_str().into();
        if self.state.kv.is_delayed(self.namespace, key) || self.delayed.contains_key(key) {
            return Ok(Err(NotLocked::Delayed));
        }
        self.look(key);
        let touched = self.touch(key);
        let header = touched.now.as_ref().map(|seen| seen.header.clone()).unwrap_or_default();
        let lock_index = match &header.session {
            Some(holder) if *holder != session => return Ok(Err(NotLocked::Held)),
            Some(_) => header.lock_index,
            None => header.lock_index + 1,
        };
        touched.acquired |= header.session.is_none();
        write(
            touched,
            Header { flags: content.flags, lock_index, session: Some(session.clone()) },
            content.value,
        );
        self.sessions.insert(session);
        Ok(Ok(()))
    }

    /// Sets a key and releases it, if this session holds it.
    pub(super) fn unlock(&mut self, key: &str, session: &str, content: Content<'a>) -> bool {
        let Some(seen) = self.look(key) else { return false };
        if seen.header.session.as_deref() != Some(session) {
            return false;
        }
        let header = Header { flags: content.flags, lock_index: seen.header.lock_index, session: None };
        write(self.touch(key), header, content.value);
        true
    }

    /// A session that has not ended by now.
    fn session(&self, id: &str) -> Option<&'a Arc<SessionEntry>> {
        let known = self.state.sessions.get(self.namespace, id)?;
        (!self.ended.contains_key(&SessionRef::of(&known.value))).then_some(known)
    }

    /// Ends a session: its keys are released or deleted, as it says, and cannot be locked as long as `delay` lasts. One that is not
    /// there is no fault.
    pub(crate) fn end_session(&mut self, id: &str, delay: Option<LeaseId>) -> Result<(), NotEnded> {
        let Some(session) = self.session(id) else { return Ok(()) };
        let stored = self.state.kv.held_by(self.namespace, id).map(|entry| entry.key.to_string());
        let drafted = self.keys.keys().cloned();
        let keys: BTreeSet<String> = stored.take(SESSION_END_KEYS_MAX + 1).chain(drafted).collect();
        let holder = |seen: &Seen<'_>| seen.header.session.as_deref() == Some(id);
        let held: Vec<String> = keys.into_iter().filter(|key| self.peek(key).is_some_and(holder)).collect();
        if held.len() > SESSION_END_KEYS_MAX {
            return Err(NotEnded::TooManyKeys);
        }
        let is_delayed = !session.value.lock_delay.0.is_zero();
        if is_delayed && delay.is_none() && !held.is_empty() {
            return Err(NotEnded::NoLease);
        }
        for key in held {
            let touched = self.touch(&key);
            touched.looked_at = true;
            match (session.value.behavior, touched.now.take()) {
                (Behavior::Release, Some(seen)) => {
                    write(touched, Header { session: None, ..seen.header }, seen.value);
                }
                _ => touched.written = true,
            }
            if let Some(lease) = delay.filter(|_| is_delayed) {
                self.delayed.insert(key, lease);
            }
        }
        self.ended.insert(SessionRef::of(&session.value), session.modify_revision);
        self.sessions.remove(id);
        Ok(())
    }

    /// The transaction that does all of it, if everything still is as it was looked at.
    pub(crate) fn into_plan(self) -> Result<Plan, Error> {
        let mut plan = Plan::nothing();
        plan.confirm();
        let mut acquired = false;
        for (name, touched) in self.keys {
            let stored_at = keys::kv(self.namespace, &name)?;
            let mark = keys::kv_locked(self.namespace, &name)?;
            let base = touched.base.map_or(0, |entry| entry.modify_revision);
            let was_locked = touched.base.is_some_and(|entry| entry.lock_index > 0);
            let changed = touched.written && touched.differs();
            if touched.looked_at || (touched.written && !changed && touched.now.is_some()) {
                plan.expect(stored_at.clone(), base);
            }
            if touched.acquired {
                plan.expect(keys::kv_delayed(self.namespace, &name)?, 0);
                acquired = true;
            }
            match touched.now {
                Some(seen) if changed => {
                    if seen.header.lock_index > 0 && !was_locked {
                        plan.put_raw(mark, weir_store::Value::from(&b"1"[..]));
                    } else if seen.header.lock_index == 0 && was_locked {
                        plan.delete(mark);
                    } else if !touched.looked_at {
                        // Nobody must have locked it meanwhile.
                        plan.expect(mark, 0);
                    }
                    plan.put_raw(stored_at, encode(&seen.header, &seen.value));
                }
                None if touched.written => delete(&mut plan, stored_at, mark),
                _ => {}
            }
        }
        for (key, lease) in self.delayed {
            plan.mark_leased(keys::kv_delayed(self.namespace, &key)?, lease);
        }
        for (session, revision) in &self.ended {
            let stored_at = keys::session(&session.namespace, &session.id)?;
            // Whoever locks a key writes the session: then this is decided anew.
            plan.expect(stored_at.clone(), *revision);
            plan.delete(stored_at);
        }
        records::end_with_sessions(self.state, self.ended.keys(), &mut plan)?;
        for session in self.sessions {
            let stored_at = keys::session(self.namespace, &session)?;
            plan.expect_there(stored_at.clone());
            // So that an end of the session which was decided before this does not overlook its new key.
            if acquired && let Some(entry) = self.state.sessions.get(self.namespace, &session) {
                plan.put(stored_at, &entry.value)?;
            }
        }
        Ok(plan)
    }
}

impl Touched<'_> {
    /// Whether it would be something else than it was.
    fn differs(&self) -> bool {
        match (&self.now, self.base) {
            (Some(now), Some(base)) => {
                let same_lock =
                    now.header.lock_index == base.lock_index && now.header.session == base.session;
                !same_lock || now.header.flags != base.flags || *now.value != *base.value()
            }
            (None, None) => false,
            _ => true,
        }
    }
}

fn write<'a>(touched: &mut Touched<'a>, header: Header, value: impl Into<Cow<'a, [u8]>>) {
    // A key that is deleted and set again is, to the store, one that is set.
    let create_revision = touched.base.map(|entry| entry.create_revision);
    touched.now = Some(Seen { header, value: value.into(), create_revision, modify_revision: None });
    touched.written = true;
    if !touched.differs() {
        // It is what it was, and so is its revision.
        touched.now = touched.base.map(|entry| Seen::of(entry));
    }
}

/// A key that may never have been there: what the store holds decides.
fn delete(plan: &mut Plan, stored_at: Key, mark: Key) {
    plan.delete(stored_at);
    plan.delete(mark);
}
