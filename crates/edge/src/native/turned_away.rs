//! Agents that are refused come again every few seconds: each is told of in the log now and then.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::refusal::Refusal;

/// How long nothing is said of an agent that was told of.
const REMIND: Duration = Duration::from_secs(600);
/// Most agents that are kept in mind; of more than these nothing is said.
const TOLD_MAX: usize = 1024;

/// Which agents were told of, and when.
#[derive(Debug, Default)]
pub(super) struct TurnedAway(Mutex<BTreeMap<String, Instant>>);

impl TurnedAway {
    /// Logs that the agent of this name is refused, unless that was said a while ago.
    pub(super) fn say(&self, name: &str, refusal: &Refusal) {
        if self.is_news(name, Instant::now()) {
            let reasons: Vec<_> = refusal.problems().iter().map(ToString::to_string).collect();
            tracing::warn!(agent = name, reason = reasons.join("; "), "an agent is refused");
        }
    }

    fn is_news(&self, name: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.duration_since(*at) < REMIND);
        if told.contains_key(name) || told.len() >= TOLD_MAX {
            return false;
        }
        told.insert(name.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_told_of_now_and_then() {
        let (told, start) = (TurnedAway::default(), Instant::now());
        let steps = [("a", 0, true), ("a", 1, false), ("b", 1, true), ("a", 600, true), ("b", 600, false)];
        for (name, after, expected) in steps {
            assert_eq!(told.is_news(name, start + Duration::from_secs(after)), expected, "{name} {after}");
        }
        for number in 0..2 * TOLD_MAX {
            told.is_news(&number.to_string(), start);
        }
        assert!(told.0.lock().unwrap().len() <= TOLD_MAX);
    }
}
