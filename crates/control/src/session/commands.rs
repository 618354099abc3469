//! Creating, renewing and destroying sessions.

use std::sync::Arc;

use weir_model::units::Span;
use weir_model::{Revision, names};
use weir_store::LeaseId;

use super::{Behavior, Session, SessionEntry, SessionRef, life};
use crate::bounds::{
    LOCK_DELAY_MAX, SESSION_CHECKS_MAX, SESSION_END_KEYS_MAX, SESSION_RECORDS_MAX, SESSION_TTL_MAX,
    SESSION_TTL_MIN, SESSIONS_MAX,
};
use crate::catalog::State;
use crate::commit::{Committed, Plan};
use crate::keys::node_key;
use crate::kv::{Header, KvEntry, encode};
use crate::lease::{Ended, LeaseKey};
use crate::registry::check_namespace;
use crate::{Control, Error, ids, keys, records};

/// Longest name of a session, in bytes.
const NAME_BYTES_MAX: usize = 1024;

impl Control {
    /// Creates a session; its `id` is made here. A longer lock delay than [`LOCK_DELAY_MAX`] is cut to it.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::NotFound`] for its node or a check; [`Error::Refused`] for a critical check;
    /// [`Error::Overloaded`] with [`SESSIONS_MAX`] sessions.
    pub async fn create_session(&self, session: Session) -> Result<(SessionRef, Committed), Error> {
        check_session(&session)?;
        let lock_delay = Span(session.lock_delay.0.min(LOCK_DELAY_MAX));
        let session = Session { id: ids::uuid(), lock_delay, ..session };
        let name = SessionRef::of(&session);
        let done = self.execute(|| format!("session {:?}", name.id), |state| create(state, &session)).await?;
        Ok((name, done))
    }

    /// A sign of life: the session has its full time again. Without a write, unless another replica watches over it: then
    /// the session is written as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such session, or its end is under way; [`Error::Unavailable`] where it had to be
    /// written and could not be.
    pub async fn renew_session(&self, name: &SessionRef) -> Result<Arc<SessionEntry>, Error> {
        let entry = self.catalog().session(name).entries;
        let entry = entry.ok_or_else(|| Error::not_found("session", &name.id))?;
        if !(self.owns(name) && self.may_judge()) {
            let what = || format!("session {:?}", name.id);
            self.execute(what, |state| {
                let known = state.sessions.get(&name.namespace, &name.id);
                let known = known.ok_or_else(|| Error::not_found("session", &name.id))?;
                Plan::touch(keys::session(&name.namespace, &name.id)?, known)
            })
            .await?;
            return Ok(entry);
        }
        if self.keeper.renew(LeaseKey::Session(name.clone()), life(&entry.value)) {
            Ok(entry)
        } else {
            Err(Error::not_found("session", &name.id))
        }
    }

    /// Ends a session. Its keys are released or deleted, as it says, and cannot be locked for its lock delay, and its
    /// records are deleted, all in one transaction (in several beyond [`SESSION_END_KEYS_MAX`] keys). Ending one that
    /// is not there changes nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Unavailable`].
    pub async fn destroy_session(&self, name: &SessionRef) -> Result<Committed, Error> {
        self.release_session(name, None).await
    }

    /// Ends a session whose time is over, unless it was written after a revision.
    pub(crate) async fn end_session(
        &self,
        name: &SessionRef,
        unless_after: Option<Revision>,
    ) -> Result<Ended, Error> {
        self.release_session(name, unless_after).await?;
        let is_there = self.catalog().session(name).entries.is_some();
        Ok(if is_there { Ended::Renewed } else { Ended::Gone })
    }

    async fn release_session(
        &self,
        name: &SessionRef,
        mut unless_after: Option<Revision>,
    ) -> Result<Committed, Error> {
        let Some(entry) = self.catalog().session(name).entries else {
            return Ok(Committed { position: self.position(), changed: false });
        };
        let delay = entry.value.lock_delay.0;
        let mut lease = None;
        let what = || format!("session {:?}", name.id);
        loop {
            if lease.is_none() && !delay.is_zero() && self.holds_keys(name) {
                lease = Some(self.store().grant(delay).await?.id);
            }
            let delayed = lease.is_some() || delay.is_zero();
            let limits = self.store().limits();
            // Each key takes a condition and up to two writes, beside the session's own and those of its records.
            let others = 2 + 3 * SESSION_RECORDS_MAX;
            let keys_max = SESSION_END_KEYS_MAX.min(limits.txn_ops_max.saturating_sub(others) / 4).max(1);
            let most = (keys_max, limits.txn_bytes_max / 2);
            let decide = |state: &State| match state.sessions.get(&name.namespace, &name.id) {
                Some(entry) if unless_after.is_some_and(|seen| entry.modify_revision > seen) => {
                    Ok(Plan::nothing())
                }
                _ => end(state, name, lease, delayed, most),
            };
            let done = self.execute(what, decide).await?;
            // What is begun is finished.
            unless_after = None;
            if !done.changed || self.catalog().session(name).entries.is_none() {
                return Ok(done);
            }
            self.keeper.condemn(&LeaseKey::Session(name.clone()));
        }
    }

    pub(crate) fn holds_keys(&self, name: &SessionRef) -> bool {
        self.catalog().state().kv.held_by(&name.namespace, &name.id).next().is_some()
    }
}

fn check_session(session: &Session) -> Result<(), Error> {
    check_namespace(&session.namespace)?;
    names::registered(&session.node)
        .map_err(|bad| Error::invalid("session.node", format!("{bad}; expected {}", bad.expected)))?;
    if session.name.len() > NAME_BYTES_MAX || session.name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "session.name",
            format!("expected at most {NAME_BYTES_MAX} bytes of text"),
        ));
    }
    if session.node_checks.len() + session.service_checks.len() > SESSION_CHECKS_MAX {
        return Err(Error::invalid(
            "session.checks",
            format!("expected at most {SESSION_CHECKS_MAX} checks"),
        ));
    }
    match session.ttl {
        Some(Span(ttl)) if !(SESSION_TTL_MIN..=SESSION_TTL_MAX).contains(&ttl) => {
            Err(Error::invalid("session.ttl", "expected a time from 10s to 24h"))
        }
        _ => Ok(()),
    }
}

fn create(state: &State, session: &Session) -> Result<Plan, Error> {
    if state.sessions.len() >= SESSIONS_MAX {
        return Err(Error::Overloaded { what: "the table of sessions", max: SESSIONS_MAX as u64 });
    }
    let mut plan = Plan::nothing();
    let node = node_key(&session.node);
    let slot = state.registry.nodes.get(&*node).and_then(|slot| slot.node.as_ref());
    let slot = slot.ok_or_else(|| Error::not_found("node", &session.node))?;
    plan.expect(keys::node(&node)?, slot.node.modify_revision);
    for check in session.checks() {
        let found = state.registry.check(&check.namespace, &node, &check.id);
        let found = found.ok_or_else(|| Error::not_found("check", &check.id))?;
        if found.value.health == weir_model::registry::Health::Critical {
            return Err(Error::refused(format!("check {:?} is critical", check.id)));
        }
        plan.expect(keys::check(&check.namespace, &node, &check.id)?, found.modify_revision);
    }
    let session = Session { node: slot.node.value.name.clone(), ..session.clone() };
    plan.put(keys::session(&session.namespace, &session.id)?, &session)?;
    Ok(plan)
}

/// Releases or deletes as many keys as one transaction takes; ends the session with the last of them. Nothing if there
/// are keys but no lease for their delay yet.
fn end(
    state: &State,
    name: &SessionRef,
    lease: Option<LeaseId>,
    delayed: bool,
    (keys_max, bytes_max): (usize, usize),
) -> Result<Plan, Error> {
    let mut plan = Plan::nothing();
    let Some(entry) = state.sessions.get(&name.namespace, &name.id) else { return Ok(plan) };
    let stored_at = keys::session(&name.namespace, &name.id)?;
    // Whoever locks a key writes the session: then this is decided anew.
    plan.expect(stored_at.clone(), entry.modify_revision);
    let (mut count, mut bytes) = (0, 0);
    let mut held = state.kv.held_by(&name.namespace, &name.id).peekable();
    if held.peek().is_some() && !delayed {
        // Keys were locked since the lease was thought unnecessary: a write that changes nothing leads to another look.
        plan.put(stored_at, &entry.value)?;
        return Ok(plan);
    }
    while let Some(key) = held.peek() {
        bytes += key.value().len();
        if count > 0 && (count >= keys_max || bytes > bytes_max) {
            break;
        }
        count += 1;
        let_go(&entry.value, key, lease, &mut plan)?;
        held.next();
    }
    match held.peek() {
        None => {
            plan.delete(stored_at);
            records::end_with_sessions(state, std::iter::once(name), &mut plan)?;
        }
        Some(_) => plan.put(stored_at, &entry.value)?,
    }
    Ok(plan)
}

fn let_go(session: &Session, key: &KvEntry, lease: Option<LeaseId>, plan: &mut Plan) -> Result<(), Error> {
    let stored_at = keys::kv(&session.namespace, &key.key)?;
    plan.expect(stored_at.clone(), key.modify_revision);
    match session.behavior {
        Behavior::Release => {
            let header = Header { flags: key.flags, lock_index: key.lock_index, session: None };
            plan.put_raw(stored_at, encode(&header, key.value()));
        }
        Behavior::Delete => {
            plan.delete(stored_at);
            plan.delete(keys::kv_locked(&session.namespace, &key.key)?);
        }
    }
    if let Some(lease) = lease {
        plan.mark_leased(keys::kv_delayed(&session.namespace, &key.key)?, lease);
    }
    Ok(())
}
