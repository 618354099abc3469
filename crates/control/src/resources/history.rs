//! Looking back: the content of former change sets, and returning to a former state by a new one.

use weir_model::{Resource, ResourceId};
use weir_store::list;

use super::apply::{ApplyReport, ChangeRequest};
use super::set::ResourceSet;
use super::stored::{ChangeSet, CheckpointPart, Part};
use crate::{Control, Error, keys};

/// A change set with what it did.
#[derive(Clone, Debug)]
pub struct ChangeSetContent {
    /// The change set.
    pub change_set: ChangeSet,
    /// What it created or changed.
    pub puts: Vec<Resource>,
    /// What it deleted.
    pub deletes: Vec<ResourceId>,
}

impl Control {
    /// A change set by its number, with its content. The list is [`crate::Catalog::change_sets`].
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none or it is no longer kept.
    pub async fn change_set(&self, number: u64) -> Result<ChangeSetContent, Error> {
        let change_set = self.known_change_set(number)?;
        let mut content = ChangeSetContent { change_set, puts: Vec::new(), deletes: Vec::new() };
        for mut part in self.read_parts(&content.change_set).await? {
            content.puts.append(&mut part.puts);
            content.deletes.append(&mut part.deletes);
        }
        Ok(content)
    }

    /// The declared resources as of a change set; number 0 is the empty beginning.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such change set or it is no longer kept.
    pub async fn resources_at(&self, number: u64) -> Result<ResourceSet, Error> {
        let mut steps = Vec::new();
        let mut set = ResourceSet::default();
        for number in (1..=number).rev() {
            let change_set = self.known_change_set(number)?;
            if change_set.checkpoint_parts > 0 {
                set = self.read_checkpoint(&change_set).await?;
                break;
            }
            steps.push(change_set);
        }
        for change_set in steps.iter().rev() {
            set = set.after(&self.read_parts(change_set).await?, change_set.number);
        }
        Ok(set)
    }

    /// Returns to the state of a former change set (0: the empty beginning), by a new change set that is judged and
    /// recorded like any other.
    ///
    /// # Errors
    /// As [`Control::apply`]; [`Error::NotFound`] if there is no such change set or it is no longer kept.
    pub async fn rollback(
        &self,
        number: u64,
        author: &str,
        message: &str,
        dry_run: bool,
    ) -> Result<ApplyReport, Error> {
        let target = self.resources_at(number).await?;
        let base = self.base();
        let differs = |id: &ResourceId, resource: &Resource| {
            base.set.get(id).is_none_or(|present| present.resource != *resource)
        };
        let request = ChangeRequest {
            puts: target
                .iter()
                .filter(|(id, entry)| differs(id, &entry.resource))
                .map(|(_, entry)| entry.resource.clone())
                .collect(),
            deletes: base
                .set
                .iter()
                .map(|(id, _)| id.clone())
                .filter(|id| target.get(id).is_none())
                .collect(),
            author: author.to_owned(),
            message: message.to_owned(),
            dry_run,
            // The difference is right only for the state it was taken from.
            expect_head: Some(base.head.map_or(0, |head| head.number)),
        };
        self.apply_as(&request, Some(number)).await
    }

    fn known_change_set(&self, number: u64) -> Result<ChangeSet, Error> {
        let state = self.catalog().state();
        let known = state.declared.log.get(&number);
        known
            .map(|known| (**known).clone())
            .ok_or_else(|| Error::not_found("change set", &number.to_string()))
    }

    async fn read_parts(&self, change_set: &ChangeSet) -> Result<Vec<Part>, Error> {
        let (entries, _) = list(self.store(), &keys::parts(keys::CHANGE_SET, &change_set.id)).await?;
        let manifest = keys::part(keys::CHANGE_SET, &change_set.id, 0)?;
        let parts = entries.iter().filter(|entry| entry.key != manifest);
        let parts = parts.map(weir_store::json::from_entry).collect::<Result<Vec<Part>, _>>()?;
        complete(change_set, parts.len(), change_set.parts)?;
        Ok(parts)
    }

    async fn read_checkpoint(&self, change_set: &ChangeSet) -> Result<ResourceSet, Error> {
        let (entries, _) = list(self.store(), &keys::parts(keys::CHECKPOINT, &change_set.id)).await?;
        let parts = entries.iter().map(weir_store::json::from_entry);
        let parts = parts.collect::<Result<Vec<CheckpointPart>, _>>()?;
        complete(change_set, parts.len(), change_set.checkpoint_parts)?;
        let entries = parts.into_iter().flat_map(|part| part.resources);
        Ok(ResourceSet::new(entries.map(|entry| std::sync::Arc::new(entry.into()))))
    }
}

/// The log may be cut at the very moment it is read.
fn complete(change_set: &ChangeSet, found: usize, expected: u32) -> Result<(), Error> {
    if found == expected as usize {
        return Ok(());
    }
    Err(Error::not_found("the content of change set", &change_set.number.to_string()))
}
