//! From decision to committed revision: decide on the catalog's state, commit on condition that it still holds, and
//! wait until the own catalog shows the result.

use serde::Serialize;
use weir_model::{Position, Revision};
use weir_store::{Compare, Key, LeaseId, Txn, Value, Written};

use crate::bounds::COMMIT_RETRIES_MAX;
use crate::catalog::{State, Versioned};
use crate::turns::Turn;
use crate::{Control, Error};

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The position at which the result is true: the write's own, or the one at which there was nothing to change.
    pub position: Position,
    /// Whether anything changed. If not, nothing was written.
    pub changed: bool,
}

/// A transaction in the making: nothing but its conditions and writes.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    txn: Txn,
    /// Whether the store is to be asked though there is nothing to write.
    confirm: bool,
    /// Whether others are likely to want just the same now, and need only wait until it is there.
    founds: bool,
}

impl Plan {
    /// Nothing to do.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// Has the store confirm the conditions even if nothing is to be written.
    pub(crate) fn confirm(&mut self) {
        self.confirm = true;
    }

    /// Others are likely to want to create the first of what it writes at the same time: one of them does, and the others wait
    /// for that, so that they are not all decided twice.
    pub(crate) fn founds(&mut self) {
        self.founds = true;
    }

    /// Writes what is there as it is: a sign of life for another replica.
    pub(crate) fn touch<T: Serialize>(key: Key, known: &Versioned<T>) -> Result<Self, Error> {
        let mut plan = Self::nothing();
        plan.expect(key.clone(), known.modify_revision);
        plan.put(key, &known.value)?;
        Ok(plan)
    }

    /// Commits only if a key is as it was at this revision (0: absent).
    pub(crate) fn expect(&mut self, key: Key, modify_revision: Revision) {
        if !self.is_about(&key) {
            self.txn.compares.push(Compare::unchanged(key, modify_revision));
        }
    }

    /// Commits only if a key is there, whatever it holds.
    pub(crate) fn expect_there(&mut self, key: Key) {
        if !self.is_about(&key) {
            self.txn.compares.push(Compare::Exists(key));
        }
    }

    fn is_about(&self, key: &Key) -> bool {
        self.txn.compares.iter().any(|compare| compare.key() == key)
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: Key, value: &T) -> Result<(), Error> {
        let value = weir_store::json::to_value(&key, value)?;
        self.put_raw(key, value);
        Ok(())
    }

    pub(crate) fn put_raw(&mut self, key: Key, value: weir_store::Value) {
        self.txn.writes.push(weir_store::Op::Put { key, value, lease: None });
    }

    /// Puts a mark that goes with a lease.
    pub(crate) fn mark_leased(&mut self, key: Key, lease: LeaseId) {
        self.txn.writes.push(weir_store::Op::Put { key, value: Value::from(&b"1"[..]), lease: Some(lease) });
    }

    pub(crate) fn delete(&mut self, key: Key) {
        self.txn.writes.push(weir_store::Op::Delete(key));
    }

    pub(crate) fn delete_range(&mut self, range: weir_store::KeyRange) {
        self.txn.writes.push(weir_store::Op::DeleteRange(range));
    }

    /// How many operations it has so far, by the stricter way to count them: conditions and writes together.
    pub(crate) fn ops(&self) -> usize {
        self.txn.compares.len() + self.txn.writes.len()
    }

    /// Its conditions and writes, for a transaction that does more.
    pub(crate) fn into_txn(self) -> Txn {
        self.txn
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.txn.writes.is_empty() && !self.confirm
    }

    /// The key that stands for all of it when several want to write the same: the first that it names.
    fn subject(&self) -> Option<&Key> {
        let named = |op| match op {
            &weir_store::Op::Put { ref key, .. } | &weir_store::Op::Delete(ref key) => Some(key),
            &weir_store::Op::DeleteRange(_) => None,
        };
        self.txn.writes.iter().find_map(named).or_else(|| self.txn.compares.first().map(Compare::key))
    }
}

impl Control {
    /// Decides and commits. `decide` sees a consistent state and must be pure: it is called again when its plan's
    /// conditions turn out not to hold any more.
    pub(crate) async fn execute(
        &self,
        what: impl Fn() -> String,
        mut decide: impl FnMut(&State) -> Result<Plan, Error>,
    ) -> Result<Committed, Error> {
        let done = self.execute_if(what, |state| Ok(Ok(decide(state)?))).await?;
        Ok(done.unwrap_or_else(|never: std::convert::Infallible| match never {}))
    }

    /// As [`Control::execute`], for what may be declined as things stand, which is not an error. It is declined or
    /// found missing only on a state that is as new as the store.
    pub(crate) async fn execute_if<No>(
        &self,
        what: impl Fn() -> String,
        mut decide: impl FnMut(&State) -> Result<Result<Plan, No>, Error>,
    ) -> Result<Result<Committed, No>, Error> {
        let mut turn: Option<Turn<'_>> = None;
        let (mut newest, mut lost) = (false, false);
        for _ in 0..COMMIT_RETRIES_MAX {
            let (decided, position) = {
                let state = self.catalog().state();
                (decide(&state), state.position)
            };
            let plan = match decided {
                Ok(Err(_)) | Err(Error::NotFound { .. }) if !newest => {
                    self.consistent().await?;
                    newest = true;
                    continue;
                }
                Ok(Err(no)) => return Ok(Err(no)),
                Ok(Ok(plan)) => plan,
                Err(error) => return Err(error),
            };
            // What another replica has changed meanwhile must not be overlooked.
            if plan.is_empty() && self.settings().replica.is_some() && !newest {
                self.consistent().await?;
                newest = true;
                continue;
            }
            if plan.is_empty() {
                return Ok(Ok(Committed { position, changed: false }));
            }
            if let Some(subject) = plan.subject() {
                // What it was for was done by another meanwhile; now this is about something else.
                turn.take_if(|turn| !turn.is_at(self.turns.line(subject)));
                if turn.is_none() && (lost || plan.founds || self.turns.contended(subject)) {
                    turn = self.turns.take(subject);
                    if turn.is_none() {
                        turn = Some(self.turns.wait(subject).await);
                        lost = false;
                        continue;
                    }
                }
            }
            if let Some(committed) = self.commit(plan).await? {
                return Ok(Ok(committed));
            }
            lost = true;
        }
        Err(Error::Conflict { what: what() })
    }

    /// Commits a plan; `None` if a condition did not hold. Either way the catalog then shows what the store decided on.
    pub(crate) async fn commit(&self, plan: Plan) -> Result<Option<Committed>, Error> {
        let outcome = self.store().commit(plan.txn).await?;
        self.catalog().visible(outcome.position.revision).await?;
        let is_change = |written: &Written| match written {
            Written::Put(_) => true,
            Written::Deleted(before) => before.is_some(),
            Written::RangeDeleted(count) => *count > 0,
        };
        let changed = outcome.writes.iter().any(is_change);
        Ok(outcome.succeeded.then_some(Committed { position: outcome.position, changed }))
    }
}
