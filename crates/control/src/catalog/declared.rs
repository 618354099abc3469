//! The catalog's side of the log of change sets: collects stored pieces, and takes a change set over when the head
//! moves to it. Nothing that the head does not lead to is ever visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::Revision;
use weir_store::Value;

use super::effects::Effects;
use super::topic::Topic;
use crate::resources::stored::{CheckpointPart, Head, Part, number_of};
use crate::resources::{ChangeSet, ResourceSet};

/// Stored pieces of change sets that are not, or not yet, part of the log in force.
#[derive(Default)]
struct Pieces {
    parts: BTreeMap<u32, Value>,
    checkpoint: BTreeMap<u32, Value>,
}

pub(crate) struct Declared {
    pub(crate) set: Arc<ResourceSet>,
    pub(crate) head: Option<Head>,
    /// The store's revision of the head's key; 0 while there is none.
    pub(crate) head_revision: Revision,
    index: Revision,
    /// The log in force, as far back as it is kept, by number.
    pub(crate) log: BTreeMap<u64, Arc<ChangeSet>>,
    pending: BTreeMap<String, Pieces>,
}

/// Why a head cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("change set {0} is not stored completely")]
    Incomplete(String),
    #[error("change set {0} cannot be read: {1}")]
    Unreadable(String, String),
}

impl Declared {
    pub(crate) fn new(floor: Revision) -> Self {
        Self {
            set: Arc::default(),
            head: None,
            head_revision: 0,
            index: floor,
            log: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    pub(crate) fn index(&self) -> Revision {
        self.index
    }

    pub(crate) fn put_part(&mut self, id: &str, part: u32, value: Value) {
        self.pending.entry(id.to_owned()).or_default().parts.insert(part, value);
    }

    pub(crate) fn put_checkpoint(&mut self, id: &str, part: u32, value: Value) {
        self.pending.entry(id.to_owned()).or_default().checkpoint.insert(part, value);
    }

    /// A change set's piece is gone: an orphan was cleaned up, or the log was cut.
    pub(crate) fn delete_part(&mut self, id: &str, part: u32) {
        if let Some(pieces) = self.pending.get_mut(id) {
            pieces.parts.remove(&part);
            if pieces.parts.is_empty() && pieces.checkpoint.is_empty() {
                self.pending.remove(id);
            }
        }
        if part == 0
            && self.head.as_ref().is_none_or(|head| head.id != id)
            && let Some(number) = self.logged(id).map(|change_set| change_set.number)
        {
            self.log.remove(&number);
        }
    }

    pub(crate) fn delete_checkpoint(&mut self, id: &str, part: u32) {
        if let Some(pieces) = self.pending.get_mut(id) {
            pieces.checkpoint.remove(&part);
            if pieces.parts.is_empty() && pieces.checkpoint.is_empty() {
                self.pending.remove(id);
            }
        }
    }

    /// Ids of stored change sets that are not in the log, with their numbers as far as they tell them.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = &String> {
        self.pending.keys().filter(|id| self.logged(id).is_none())
    }

    /// Follows the head. On damage the old state stays in force.
    pub(crate) fn move_head(
        &mut self,
        head: Head,
        revision: Revision,
        effects: &mut Effects,
    ) -> Result<(), Damage> {
        self.head_revision = revision;
        if self.head.as_ref() == Some(&head) {
            return Ok(());
        }
        let (set, log) = self.state_at(&head)?;
        self.log.extend(log.into_iter().map(|change_set| (change_set.number, change_set)));
        for (id, entry) in set.iter() {
            if self.set.get(id).is_none_or(|old| old.changed_in != entry.changed_in || old != entry) {
                effects.resource(id.clone(), true);
            }
        }
        for (id, _) in self.set.iter().filter(|(id, _)| set.get(id).is_none()) {
            effects.resource(id.clone(), false);
        }
        self.set = Arc::new(set);
        // Whoever puts back an older head by hand does not leave what came after it.
        self.log.split_off(&(head.number + 1));
        self.head = Some(head);
        self.index = effects.revision();
        effects.touch(|| Topic::Resources);
        self.forget_pieces();
        Ok(())
    }

    /// The state at a head and the change sets that lead to it, newest first.
    fn state_at(&self, head: &Head) -> Result<(ResourceSet, Vec<Arc<ChangeSet>>), Damage> {
        let mut log = Vec::new();
        let mut steps = Vec::new();
        let mut base = None;
        let mut next = Some(head.id.clone());
        while let Some(id) = next.take() {
            if base.is_none() && self.head.as_ref().is_some_and(|head| head.id == id) {
                base = Some((*self.set).clone());
                break;
            }
            let change_set = match self.manifest(&id) {
                Ok(change_set) => change_set,
                // The log is cut somewhere behind its last checkpoint.
                Err(_) if base.is_some() => break,
                Err(damage) => return Err(damage),
            };
            if base.is_none() {
                base = self.checkpoint(&change_set)?;
                if base.is_none() {
                    steps.push(Arc::clone(&change_set));
                }
            }
            next = change_set.parent.clone();
            log.push(change_set);
        }
        let mut set = base.unwrap_or_default();
        for change_set in steps.iter().rev() {
            set = set.after(&self.parts(change_set)?, change_set.number);
        }
        Ok((set, log))
    }

    fn manifest(&self, id: &str) -> Result<Arc<ChangeSet>, Damage> {
        if let Some(change_set) = self.logged(id) {
            return Ok(Arc::clone(change_set));
        }
        let value = self.pending.get(id).and_then(|pieces| pieces.parts.get(&0));
        let value = value.ok_or_else(|| Damage::Incomplete(id.to_owned()))?;
        serde_json::from_slice(&value.bytes()).map(Arc::new).map_err(|error| unreadable(id, &error))
    }

    fn parts(&self, change_set: &ChangeSet) -> Result<Vec<Part>, Damage> {
        let id = &change_set.id;
        let pieces = self.pending.get(id).ok_or_else(|| Damage::Incomplete(id.clone()))?;
        let read = |part: u32| {
            let value = pieces.parts.get(&part).ok_or_else(|| Damage::Incomplete(id.clone()))?;
            serde_json::from_slice(&value.bytes()).map_err(|error| unreadable(id, &error))
        };
        (1..=change_set.parts).map(read).collect()
    }

    /// The state that was written down with a change set; `None` if none was, or not all of it is there.
    fn checkpoint(&self, change_set: &ChangeSet) -> Result<Option<ResourceSet>, Damage> {
        let pieces = self.pending.get(&change_set.id).map(|pieces| &pieces.checkpoint);
        let Some(pieces) = pieces.filter(|_| change_set.checkpoint_parts > 0) else { return Ok(None) };
        let mut entries = Vec::new();
        for part in 1..=change_set.checkpoint_parts {
            let Some(value) = pieces.get(&part) else { return Ok(None) };
            let part: CheckpointPart =
                serde_json::from_slice(&value.bytes()).map_err(|error| unreadable(&change_set.id, &error))?;
            entries.extend(part.resources.into_iter().map(|entry| Arc::new(entry.into())));
        }
        Ok(Some(ResourceSet::new(entries)))
    }

    /// The pieces of the log in force are not needed any more: their effect is in the set, and history reads the
    /// store.
    fn forget_pieces(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|id, _| self.logged(id).is_none());
        self.pending = pending;
    }

    /// A change set of the log in force, by its id.
    fn logged(&self, id: &str) -> Option<&Arc<ChangeSet>> {
        let change_set = self.log.get(&number_of(id)?)?;
        (change_set.id == id).then_some(change_set)
    }
}

fn unreadable(id: &str, error: &serde_json::Error) -> Damage {
    Damage::Unreadable(id.to_owned(), error.to_string())
}
