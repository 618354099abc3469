//! What does not work between an agent and its servers, said loudly, but not all the time.

use tokio::time::Instant;

use super::failed::Failed;
use crate::bounds::REMIND;
use crate::servers::Servers;

/// Says that something does not work, and now and then again, until it does.
#[derive(Default)]
pub(super) struct Complaint {
    told: Option<(Instant, String)>,
}

impl Complaint {
    pub(super) fn is(&mut self, what: &str, error: &Failed) {
        let text = error.to_string();
        if self.told.as_ref().is_some_and(|(at, told)| *told == text && at.elapsed() < REMIND) {
            return;
        }
        match error {
            // That does not pass by itself.
            Failed::Refused { .. } | Failed::BadAnswer(_) => tracing::error!(error = text, "{what}"),
            _ => tracing::warn!(error = text, "{what}"),
        }
        self.told = Some((Instant::now(), text));
    }

    /// Whether it was told that it does not.
    pub(super) fn is_over(&mut self, what: &str, servers: &Servers) -> bool {
        let was_told = self.told.take().is_some();
        if was_told {
            tracing::info!(server = servers.in_use(), "{what}");
        }
        was_told
    }
}
