//! The comparison of both registries, and the changes that make them equal.

use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use weir_api::native::{NodeChanged, NodeChanges, NodeState};

use super::complaint::Complaint;
use super::failed::Failed;
use super::{AntiEntropy, UNSEEN};
use crate::bounds::{
    ANSWER_MAX, COLLECT, COMPARE_EVERY, REFUSALS_LOGGED_MAX, RETRY_MAX, RETRY_MIN, ROUNDS_MAX,
};
use crate::plan::{Registered, plan};
use crate::status::count;

impl AntiEntropy {
    /// Compares at once when something may differ, and now and then in any case.
    pub(super) async fn compare_whenever(&self) {
        let mut complaint = Complaint::default();
        let mut pause = RETRY_MIN;
        loop {
            count(&self.status.comparisons);
            let rest = match self.compare().await {
                Ok(()) => {
                    complaint.is_over("the servers have what is registered here", &self.servers);
                    pause = RETRY_MIN;
                    COMPARE_EVERY
                }
                Err(error) => {
                    count(&self.status.comparisons_failed);
                    self.status.set_in_sync(false);
                    complaint.is("the servers do not have all that is registered here", &error);
                    // What happens meanwhile is seen then; asking all the time would help nobody.
                    let pausing = tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>()));
                    pause = tokio::select! {
                        () = pausing => (pause * 2).min(RETRY_MAX),
                        () = self.back.notified() => RETRY_MIN,
                    };
                    continue;
                }
            };
            let rest = rest.mul_f64(1.0 + 0.5 * rand::random::<f64>());
            if tokio::time::timeout(rest, self.may_differ.notified()).await.is_ok() {
                tokio::time::sleep(COLLECT).await;
            }
        }
    }

    /// Reads theirs, changes what differs, and reads again whether it is so, until it is.
    async fn compare(&self) -> Result<(), Failed> {
        let mut before = Vec::new();
        let mut refused = 0;
        for _ in 0..ROUNDS_MAX {
            let there = match self.ask::<NodeState>(Method::GET, "", &(), ANSWER_MAX).await {
                Ok(there) => Some(there),
                Err(Failed::Refused { status: StatusCode::NOT_FOUND, .. }) => None,
                Err(error) => return Err(error),
            };
            let Some(here) = self.control.catalog().node_view(&self.control.settings().node_name).entries
            else {
                return Ok(());
            };
            let datacenter = &self.control.settings().datacenter;
            let plan: Vec<_> = plan(&Registered::of(&here), there.as_ref())
                .into_iter()
                .map(|changes| NodeChanges { datacenter: datacenter.clone(), ..changes })
                .collect();
            let is_the_same_again = !plan.is_empty() && plan == before;
            // What was refused would be refused again.
            if plan.is_empty() || (is_the_same_again && refused > 0) {
                self.equal_at.store(there.map_or(UNSEEN, |there| there.revision), Ordering::Relaxed);
                self.status.set_in_sync(plan.is_empty());
                return Ok(());
            }
            if is_the_same_again {
                return Err(Failed::StillDifferent);
            }
            refused = 0;
            for changes in &plan {
                refused += self.change(changes).await?;
            }
            before = plan;
        }
        Err(Failed::StillDifferent)
    }

    /// Has something changed; answers with the number of refusals.
    pub(super) async fn change(&self, changes: &NodeChanges) -> Result<usize, Failed> {
        let _held = self.changing.lock().await;
        let changed: NodeChanged = self.ask(Method::PUT, "", changes, ANSWER_MAX).await?;
        for problem in changed.refused.iter().take(REFUSALS_LOGGED_MAX) {
            tracing::error!(%problem, "the servers refuse what is registered here");
        }
        self.status.refused.fetch_add(changed.refused.len() as u64, Ordering::Relaxed);
        tracing::debug!(
            instances = changes.instances.len(),
            checks = changes.checks.len(),
            gone = changes.gone_instances.len() + changes.gone_checks.len(),
            "told the servers"
        );
        Ok(changed.refused.len())
    }
}
