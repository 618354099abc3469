//! Agents that are silent, and what they carried out: an instance whose agent is gone is deregistered by its own rule, as
//! if its checks had turned critical when the agent fell silent. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::CheckRef;

/// A node's agent that is silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Absence {
    /// The check that says so.
    pub(super) check: Arc<CheckRef>,
    /// Since when, as time on the machine's clock.
    pub(super) since: Duration,
}

/// What is known of agents.
#[derive(Debug, Default)]
pub(super) struct Agents {
    absent: HashMap<String, Absence>,
    /// The checks that agents carry out and that may lead to a deregistration, by node.
    checks: HashMap<String, HashSet<Arc<CheckRef>>>,
}

impl Agents {
    /// An agent is there, or is not. Answers with the checks for which that is news.
    pub(super) fn see(&mut self, presence: &CheckRef, is_there: bool, now: Duration) -> Vec<Arc<CheckRef>> {
        let node = &presence.node;
        let news = if is_there {
            self.absent.remove(node).is_some()
        } else if self.absent.contains_key(node) {
            false
        } else {
            let absence = Absence { check: Arc::new(presence.clone()), since: now };
            self.absent.insert(node.clone(), absence);
            true
        };
        if news { self.checks.get(node).into_iter().flatten().cloned().collect() } else { Vec::new() }
    }

    /// A check is gone. Answers with the checks for which that is news, if it was an agent's presence.
    pub(super) fn forget(&mut self, presence: &CheckRef) -> Vec<Arc<CheckRef>> {
        if self.absent.get(&presence.node).is_none_or(|absence| *absence.check != *presence) {
            return Vec::new();
        }
        self.absent.remove(&presence.node);
        self.checks.get(&presence.node).into_iter().flatten().cloned().collect()
    }

    /// How long a node's agent has been silent, if it is.
    pub(super) fn absence(&self, node: &str) -> Option<&Absence> {
        self.absent.get(node)
    }

    /// A check that an agent carries out is there.
    pub(super) fn add(&mut self, check: &Arc<CheckRef>) {
        self.checks.entry(check.node.clone()).or_default().insert(Arc::clone(check));
    }

    /// A check is gone, or nothing follows from it any more.
    pub(super) fn remove(&mut self, check: &CheckRef) {
        let Some(checks) = self.checks.get_mut(&check.node) else { return };
        checks.remove(check);
        if checks.is_empty() {
            self.checks.remove(&check.node);
        }
    }
}
