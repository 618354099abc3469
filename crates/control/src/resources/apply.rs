//! Applying a change set: plan, write its objects, move the head.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use weir_model::{Position, Resource, ResourceId, Revision};
use weir_store::{Key, KeyRange, Value};

use super::plan::{self, Difference};
use super::set::ResourceSet;
use super::stored::{ChangeSet, Head, Part, id_of};
use crate::bounds::{CHANGE_SET_PART_BYTES_MAX, COMMIT_RETRIES_MAX};
use crate::commit::Plan;
use crate::{Control, Error, keys};

/// What a change set is to do.
#[derive(Clone, Debug, Default)]
pub struct ChangeRequest {
    /// Resources to create, or to put in the place of those with the same id.
    pub puts: Vec<Resource>,
    /// Resources to delete.
    pub deletes: Vec<ResourceId>,
    /// Who applies it.
    pub author: String,
    /// Why.
    pub message: String,
    /// Only judge it.
    pub dry_run: bool,
    /// Apply only if this change set is in force, by number (0: none is); whichever is if absent.
    pub expect_head: Option<u64>,
}

/// What happens to one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there before.
    Created,
    /// It was different before.
    Updated,
    /// It is there already, just so.
    Unchanged,
    /// It is taken away.
    Deleted,
}

impl ChangeKind {
    /// The name as tables show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        }
    }
}

/// What a change set did, or would do.
#[derive(Clone, Debug)]
pub struct ApplyReport {
    /// The change set; `None` if nothing changed, or for a dry run.
    pub change_set: Option<ChangeSet>,
    /// The position at which its state is in force.
    pub position: Position,
    /// Every resource of the request with what happens to it.
    pub changes: Vec<(ResourceId, ChangeKind)>,
}

/// What a change set is decided on.
pub(super) struct Base {
    pub(super) set: Arc<ResourceSet>,
    pub(super) head: Option<Head>,
    pub(super) head_revision: Revision,
    pub(super) position: Position,
}

impl Base {
    fn number(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.number)
    }
}

impl Control {
    /// Applies a change set as a whole, or refuses it as a whole. One that changes nothing is not written.
    ///
    /// # Errors
    /// [`Error::Rejected`] with all problems; [`Error::NotFound`] for a delete of what is not there;
    /// [`Error::Conflict`] if `expect_head` does not hold, or if others keep changing the resources meanwhile;
    /// [`Error::TooLarge`].
    pub async fn apply(&self, request: &ChangeRequest) -> Result<ApplyReport, Error> {
        self.apply_as(request, None).await
    }

    pub(super) async fn apply_as(
        &self,
        request: &ChangeRequest,
        rollback_to: Option<u64>,
    ) -> Result<ApplyReport, Error> {
        let conflict = || Error::Conflict { what: "the declared resources".to_owned() };
        let head = keys::head()?;
        let mut turn = None;
        for attempt in 0..COMMIT_RETRIES_MAX {
            if turn.is_none() && (attempt > 0 || self.turns.contended(&head)) {
                turn = Some(self.turns.wait(&head).await);
            }
            let base = self.base();
            if request.expect_head.is_some_and(|number| number != base.number()) {
                return Err(conflict());
            }
            let difference = plan::plan(&base.set, request)?;
            if difference.is_empty() || request.dry_run {
                let position = base.position;
                return Ok(ApplyReport { change_set: None, position, changes: difference.changes });
            }
            let written = self.write_objects(&base, &difference, request, rollback_to).await?;
            if let Some(position) = self.move_head(&base, &written).await? {
                let changes = difference.changes;
                // Now it is certain of some orphans that they never take effect: whoever wrote them may have failed, or
                // have been given up by a caller who went away. They are large; who applies often must not pile them up.
                self.clean_up_change_sets().await;
                return Ok(ApplyReport { change_set: Some(written), position, changes });
            }
            self.remove_objects(&written.id).await;
        }
        Err(conflict())
    }

    pub(super) fn base(&self) -> Base {
        let state = self.catalog().state();
        Base {
            set: Arc::clone(&state.declared.set),
            head: state.declared.head.clone(),
            head_revision: state.declared.head_revision,
            position: state.position,
        }
    }

    /// Writes a change set's objects. They mean nothing until the head moves to them.
    pub(super) async fn write_objects(
        &self,
        base: &Base,
        difference: &Difference,
        request: &ChangeRequest,
        rollback_to: Option<u64>,
    ) -> Result<ChangeSet, Error> {
        let number = base.number() + 1;
        let id = id_of(number, rand::random());
        let parts = plan::parts(difference)?;
        let checkpoint = if number.is_multiple_of(self.settings().checkpoint_every.max(1)) {
            let change = Part { puts: difference.puts.clone(), deletes: difference.deletes.clone() };
            plan::checkpoint(&base.set.after(&[change], number))?
        } else {
            Vec::new()
        };
        let change_set = ChangeSet {
            id: id.clone(),
            number,
            parent: base.head.as_ref().map(|head| head.id.clone()),
            author: request.author.clone(),
            message: request.message.clone(),
            time_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64),
            rollback_to,
            created: difference.count(ChangeKind::Created),
            updated: difference.count(ChangeKind::Updated),
            deleted: difference.count(ChangeKind::Deleted),
            parts: parts.len() as u32,
            checkpoint_parts: checkpoint.len() as u32,
        };
        let manifest = keys::part(keys::CHANGE_SET, &id, 0)?;
        let mut objects: Vec<(Key, Value)> = Vec::new();
        for (kind, parts) in [(keys::CHANGE_SET, parts), (keys::CHECKPOINT, checkpoint)] {
            for (at, part) in parts.into_iter().enumerate() {
                objects.push((keys::part(kind, &id, at as u32 + 1)?, part.into()));
            }
        }
        // The manifest last: who sees it sees the rest.
        objects.push((manifest.clone(), weir_store::json::to_value(&manifest, &change_set)?));
        if let Err(error) = self.put_in_steps(objects).await {
            self.remove_objects(&id).await;
            return Err(error);
        }
        Ok(change_set)
    }

    /// Writes objects in as few transactions as the store's limits allow.
    async fn put_in_steps(&self, objects: Vec<(Key, Value)>) -> Result<(), Error> {
        let limits = self.store().limits();
        // One part always fits; together they stay far below what a transaction may hold.
        let bytes_max = (limits.txn_bytes_max / 2).max(CHANGE_SET_PART_BYTES_MAX);
        let mut step = Plan::nothing();
        let (mut count, mut bytes) = (0, 0);
        for (key, value) in objects {
            let size = key.as_str().len() + value.len();
            if count > 0 && (count == limits.txn_ops_max || bytes + size > bytes_max) {
                self.commit(std::mem::take(&mut step)).await?;
                (count, bytes) = (0, 0);
            }
            step.put_raw(key, value);
            count += 1;
            bytes += size;
        }
        self.commit(step).await.map(drop)
    }

    /// Puts a change set in force; `None` if another was faster.
    pub(super) async fn move_head(
        &self,
        base: &Base,
        change_set: &ChangeSet,
    ) -> Result<Option<Position>, Error> {
        let key = keys::head()?;
        let mut plan = Plan::nothing();
        plan.expect(key.clone(), base.head_revision);
        // Where everything was replaced meanwhile by what has no head either, the objects are gone.
        plan.expect_there(keys::part(keys::CHANGE_SET, &change_set.id, 0)?);
        plan.put(key, &Head { id: change_set.id.clone(), number: change_set.number })?;
        Ok(self.commit(plan).await?.map(|committed| committed.position))
    }

    /// Takes away the objects of a change set that never took effect. What cannot be removed now is an orphan, and
    /// is removed later.
    pub(super) async fn remove_objects(&self, id: &str) {
        let ranges: [KeyRange; 2] = [keys::parts(keys::CHANGE_SET, id), keys::parts(keys::CHECKPOINT, id)];
        let mut plan = Plan::nothing();
        for range in ranges {
            plan.delete_range(range);
        }
        if let Err(error) = self.commit(plan).await {
            tracing::warn!(%error, id, "objects of a change set stay for now");
        }
    }
}
