//! Claiming, renewing and releasing locks.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use weir_model::units::Span;
use weir_model::{Revision, names};

use super::{Claim, ClaimEntry, ClaimRef, ClaimView, LockRef, Token, decide};
use crate::bounds::{
    CLAIM_ID_BYTES_MAX, CLAIM_TTL_MAX, CLAIM_TTL_MIN, HOLDER_BYTES_MAX, LOCK_COUNT_MAX, LOCK_WAIT_MAX,
};
use crate::catalog::{InstanceRef, State, Topic};
use crate::commit::{Committed, Plan};
use crate::lease::{Ended, LeaseKey};
use crate::registry::check_namespace;
use crate::{Control, Error, keys};

/// What a transaction that takes a lock away holds beside the claims: the lock's condition and its write.
const FORCE_OTHER_OPS: usize = 2;

/// A claim to make.
#[derive(Clone, Debug)]
pub struct NewClaim {
    /// The claim's name. To make it again is to ask after it, so a call whose answer was lost can be repeated.
    pub name: ClaimRef,
    /// How many claims may hold the lock at a time; all must name the same count.
    pub count: u32,
    /// How long the claim lives after a renewal.
    pub ttl: Duration,
    /// Who it is, for people.
    pub holder: String,
    /// The instance that it ends with.
    pub instance: Option<InstanceRef>,
    /// The session that it ends with, of the lock's namespace.
    pub session: Option<String>,
}

/// Where a claim stands.
#[derive(Clone, Debug)]
pub enum Acquired {
    /// It holds the lock.
    Held(ClaimView),
    /// It waits.
    Waiting(ClaimView),
}

impl Control {
    /// Claims a lock and waits, at most [`LOCK_WAIT_MAX`], until the claim holds it. The claim lives as long as this
    /// waits, and its time after it; a claim that waits in vain keeps its place.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::NotFound`] for its instance or session, or if the claim was released or ended
    /// while it waited; [`Error::Refused`] for another count than the lock has; [`Error::Overloaded`].
    pub async fn claim_lock(&self, new: NewClaim, wait: Duration) -> Result<Acquired, Error> {
        let deadline = Instant::now() + wait.min(LOCK_WAIT_MAX);
        let name = new.name.clone();
        let ttl = new.ttl;
        self.make_claim(new).await?;
        let topic = Topic::Lock(name.lock.clone());
        let mut kept: Option<Instant> = None;
        loop {
            // The index first: what changes after it ends the wait.
            let index = self.catalog().index(&topic);
            let holds = self.holds(&name)?;
            // Where it costs a write, no more often than is needed.
            if holds || self.owns(&name.lock) || kept.is_none_or(|at| at.elapsed() >= ttl / 3) {
                self.keep_claim(&name, ttl).await?;
                kept = Some(Instant::now());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if holds || left.is_zero() {
                let claim = self.claim(&name)?;
                // It may have come to hold the lock just now.
                return Ok(if claim.place == 0 { Acquired::Held(claim) } else { Acquired::Waiting(claim) });
            }
            self.wait(&topic, index, left.min(ttl / 3)).await?;
        }
    }

    /// Whether a claim holds its lock. Many ask at once, so this looks at no more than the holders.
    fn holds(&self, name: &ClaimRef) -> Result<bool, Error> {
        let state = self.catalog().state();
        let slot = state.locks.get(&name.lock).filter(|slot| slot.claim(&name.id).is_some());
        let slot = slot.ok_or_else(|| Error::not_found("claim", &name.id))?;
        Ok(slot.holders().any(|entry| entry.value.id == name.id))
    }

    async fn make_claim(&self, new: NewClaim) -> Result<Committed, Error> {
        check_claim(&new)?;
        let NewClaim { name, count, ttl, holder, instance, session } = new;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut claim = Claim {
            namespace: name.lock.namespace.clone(),
            lock: name.lock.name.clone(),
            id: name.id,
            holder,
            ttl: Span(ttl),
            time_ms: u64::try_from(time.as_millis()).unwrap_or_default(),
            instance: None,
            session,
        };
        let what = || format!("lock {:?}", name.lock.name);
        self.execute(what, |state| {
            claim.instance = match &instance {
                Some(instance) => Some(decide::instance(state, instance)?),
                None => None,
            };
            decide::claim(state, &claim, count)
        })
        .await
    }

    /// A sign of life: the claim has its full time again. Without a write, unless another replica watches over the lock:
    /// then the claim is written as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such claim any more, or its end is under way; [`Error::Unavailable`] where it had
    /// to be written and could not be.
    pub async fn renew_claim(&self, name: &ClaimRef) -> Result<ClaimView, Error> {
        let ttl = self.claim(name)?.entry.value.ttl.0;
        self.keep_claim(name, ttl).await?;
        self.claim(name)
    }

    async fn keep_claim(&self, name: &ClaimRef, ttl: Duration) -> Result<(), Error> {
        let gone = || Error::not_found("claim", &name.id);
        if self.owns(&name.lock) && self.may_judge() {
            let in_time = self.keeper.renew(LeaseKey::Claim(name.clone()), Some(ttl));
            return if in_time { Ok(()) } else { Err(gone()) };
        }
        let what = || format!("claim {:?}", name.id);
        self.execute(what, |state| {
            let known = state.locks.claim(name).ok_or_else(gone)?;
            Plan::touch(keys::claim(&name.lock.namespace, &name.lock.name, &name.id)?, known)
        })
        .await
        .map(drop)
    }

    /// Takes a claim away, whether it holds the lock or waits. Whoever is next holds the lock at once.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn release_claim(&self, name: &ClaimRef) -> Result<Committed, Error> {
        let what = || format!("lock {:?}", name.lock.name);
        let done = self.execute(what, |state| decide::release(state, &name.lock, [&*name.id])).await?;
        if done.changed { Ok(done) } else { Err(Error::not_found("claim", &name.id)) }
    }

    /// Takes a claim away whose time is over, unless it was written after a revision.
    pub(crate) async fn end_claim(
        &self,
        name: &ClaimRef,
        unless_after: Option<Revision>,
    ) -> Result<Ended, Error> {
        let what = || format!("lock {:?}", name.lock.name);
        self.execute(what, |state| decide::end(state, name, unless_after)).await?;
        let is_there = self.catalog().state().locks.claim(name).is_some();
        Ok(if is_there { Ended::Renewed } else { Ended::Gone })
    }

    /// Takes the lock away from all who hold it now, or from the one with this token, whoever they are; from more than one
    /// transaction of the store takes in several. Returns from how many.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nobody holds it, or not with this token.
    pub async fn force_lock(
        &self,
        lock: &LockRef,
        token: Option<Token>,
    ) -> Result<(Committed, usize), Error> {
        let at_once = self.store().limits().txn_ops_max.saturating_sub(FORCE_OTHER_OPS).max(1);
        let what = || format!("lock {:?}", lock.name);
        let mut last: Option<Revision> = None;
        let mut total = 0;
        loop {
            let mut count = 0;
            let mut held_at = last;
            let done = self
                .execute(what, |state| {
                    let holders = holders_to_go(state, lock, token);
                    // Those of the first look only, and not who comes to hold the lock meanwhile.
                    held_at = last.or_else(|| holders.last().map(|entry| entry.create_revision));
                    let known = holders.iter().filter(|entry| Some(entry.create_revision) <= held_at);
                    let ids: Vec<&str> = known.take(at_once).map(|entry| &*entry.value.id).collect();
                    count = ids.len();
                    decide::release(state, lock, ids)
                })
                .await?;
            last = held_at;
            total += count;
            match (done.changed && count == at_once, total, token) {
                (true, ..) => {}
                (false, 1.., _) => return Ok((done, total)),
                (false, 0, Some(token)) => return Err(Error::not_found("holder", &token.to_string())),
                (false, 0, None) => return Err(Error::not_found("lock", &lock.name)),
            }
        }
    }

    /// The claim that holds a lock with this token, on a state that is as new as the store; `None` if none does.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::NotVisible`].
    pub async fn check_token(&self, lock: &LockRef, token: Token) -> Result<Option<ClaimView>, Error> {
        self.consistent().await?;
        let lock = self.lock(lock).entries;
        Ok(lock.and_then(|lock| lock.holders().iter().find(|claim| claim.token == token).cloned()))
    }
}

/// Those that hold a lock, or the one of them with a token, in their order.
fn holders_to_go<'a>(state: &'a State, lock: &LockRef, token: Option<Token>) -> Vec<&'a Arc<ClaimEntry>> {
    let token_at = |revision| Token::at(weir_model::Position::new(state.position.epoch, revision));
    let wanted =
        |entry: &&Arc<ClaimEntry>| token.is_none_or(|token| token == token_at(entry.create_revision));
    let holders = state.locks.get(lock).into_iter().flat_map(|slot| slot.holders());
    holders.filter(wanted).collect()
}

/// Checks a lock's name.
pub(crate) fn check_lock(lock: &LockRef) -> Result<(), Error> {
    check_namespace(&lock.namespace)?;
    names::registered(&lock.name)
        .map_err(|bad| Error::invalid("name", format!("{bad}; expected {}", bad.expected)))
}

fn check_claim(new: &NewClaim) -> Result<(), Error> {
    check_lock(&new.name.lock)?;
    let id = &new.name.id;
    let is_id = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > CLAIM_ID_BYTES_MAX || !id.bytes().all(is_id) {
        let expected = format!("expected 1 to {CLAIM_ID_BYTES_MAX} letters, digits, `-`, `_` and `.`");
        return Err(Error::invalid("claim", expected));
    }
    if new.count == 0 || new.count > LOCK_COUNT_MAX {
        return Err(Error::invalid("count", format!("expected a number from 1 to {LOCK_COUNT_MAX}")));
    }
    if !(CLAIM_TTL_MIN..=CLAIM_TTL_MAX).contains(&new.ttl) {
        let expected = format!("expected a time from {} to {}", Span(CLAIM_TTL_MIN), Span(CLAIM_TTL_MAX));
        return Err(Error::invalid("ttl", expected));
    }
    if new.holder.len() > HOLDER_BYTES_MAX || new.holder.chars().any(char::is_control) {
        let expected =
            format!("expected at most {HOLDER_BYTES_MAX} bytes of text without control characters");
        return Err(Error::invalid("holder", expected));
    }
    Ok(())
}
