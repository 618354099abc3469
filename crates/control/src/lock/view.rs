//! What is to be seen of locks.

use std::sync::Arc;
use std::time::Duration;

use weir_model::Position;

use super::{ClaimEntry, ClaimRef, LockRef, Token};
use crate::catalog::{LockSlot, Topic, View};
use crate::lease::LeaseKey;
use crate::{Control, Error};

/// A lock with its claims.
#[derive(Clone, Debug)]
pub struct LockView {
    /// Its name.
    pub name: LockRef,
    /// How many claims may hold it at a time.
    pub count: u32,
    /// Its claims in their order: those that hold it, then those that wait.
    pub claims: Vec<ClaimView>,
}

impl LockView {
    /// The claims that hold it.
    pub fn holders(&self) -> &[ClaimView] {
        &self.claims[..self.claims.len().min(self.count as usize)]
    }

    /// The claims that wait.
    pub fn waiters(&self) -> &[ClaimView] {
        &self.claims[self.holders().len()..]
    }
}

/// A claim on a lock.
#[derive(Clone, Debug)]
pub struct ClaimView {
    /// The claim.
    pub entry: Arc<ClaimEntry>,
    /// Its fencing token.
    pub token: Token,
    /// Its place in the line, from 1; 0 if it holds the lock.
    pub place: usize,
    /// How long it has held the lock, as far as this replica has seen it.
    pub held: Option<Duration>,
    /// How long it still lives if it is not renewed.
    pub remaining: Option<Duration>,
}

impl Control {
    /// A lock; `None` if nobody claims it.
    pub fn lock(&self, name: &LockRef) -> View<Option<LockView>> {
        let state = self.catalog().state();
        let epoch = state.position.epoch;
        let entries = state.locks.get(name).map(|slot| self.lock_view(name, slot, epoch));
        View { index: state.index(&Topic::Lock(name.clone())), entries }
    }

    /// All locks, or those of a namespace, by namespace and name.
    pub fn locks(&self, namespace: Option<&str>) -> Vec<LockView> {
        let state = self.catalog().state();
        let wanted =
            |(name, _): &(&LockRef, &LockSlot)| namespace.is_none_or(|wanted| wanted == name.namespace);
        let locks = state.locks.all().filter(wanted);
        locks.map(|(name, slot)| self.lock_view(name, slot, state.position.epoch)).collect()
    }

    /// A claim and where it stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn claim(&self, name: &ClaimRef) -> Result<ClaimView, Error> {
        let state = self.catalog().state();
        let slot = state.locks.get(&name.lock);
        let found = slot.and_then(|slot| Some((slot, slot.place(&name.id)?, slot.claim(&name.id)?)));
        let (slot, at, entry) = found.ok_or_else(|| Error::not_found("claim", &name.id))?;
        Ok(self.claim_view(slot, at, entry, state.position.epoch))
    }

    fn lock_view(&self, name: &LockRef, slot: &LockSlot, epoch: u64) -> LockView {
        let claims = slot.claims().enumerate().map(|(at, entry)| self.claim_view(slot, at, entry, epoch));
        LockView { name: name.clone(), count: slot.count(), claims: claims.collect() }
    }

    fn claim_view(&self, slot: &LockSlot, at: usize, entry: &Arc<ClaimEntry>, epoch: u64) -> ClaimView {
        let claim = ClaimRef::of(&entry.value);
        let holders = slot.count() as usize;
        ClaimView {
            token: Token::at(Position::new(epoch, entry.create_revision)),
            place: (at + 1).saturating_sub(holders),
            held: if at < holders { self.keeper.held_for(&claim) } else { None },
            remaining: self.keeper.remaining(&LeaseKey::Claim(claim)),
            entry: Arc::clone(entry),
        }
    }
}
