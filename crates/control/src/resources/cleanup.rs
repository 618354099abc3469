//! Keeps the stored log short: removes orphans, and change sets that are older than the history that is kept.

use std::sync::Weak;

use super::stored::number_of;
use crate::Control;
use crate::bounds::HISTORY_MAX;
use crate::catalog::State;

/// Removes what an earlier crash left behind.
pub(crate) async fn clean_up_at_start(control: Weak<Control>) {
    if let Some(control) = control.upgrade() {
        control.clean_up_change_sets().await;
    }
}

impl Control {
    /// Removes the objects of orphans and of change sets that are no longer kept. What fails is tried again next time.
    pub async fn clean_up_change_sets(&self) {
        let doomed = doomed(&self.catalog().state());
        for id in doomed {
            self.remove_objects(&id).await;
        }
    }
}

/// The ids of change sets to be removed. Pure.
fn doomed(state: &State) -> Vec<String> {
    let declared = &state.declared;
    let Some(head) = declared.head.as_ref().map(|head| head.number) else { return Vec::new() };
    // An orphan with a number beyond the head may be just about to be put in force. One that is not beyond it can
    // never be: its writer compares the head.
    let orphans = declared.strangers().filter(|id| number_of(id).is_none_or(|number| number <= head));
    // A state can be restored only from a checkpoint on: keep the one that the oldest kept change set starts from.
    let oldest = head.saturating_sub(HISTORY_MAX);
    let with_checkpoint =
        declared.log.range(..=oldest).rev().find(|(_, change_set)| change_set.checkpoint_parts > 0);
    let cut = with_checkpoint.map_or(0, |(number, _)| *number);
    let old = declared.log.range(..cut).map(|(_, change_set)| &change_set.id);
    orphans.chain(old).cloned().collect()
}
