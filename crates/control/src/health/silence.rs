//! Whether silence is to be believed: when most nodes fall silent at once, the fault is likelier on this side. Pure.
//!
//! ```text
//!               more than half silent, within a window
//!   believed  ------------------------------------------>  doubted (self-preservation)
//!             <------------------------------------------
//!               at most a quarter still silent, or too long
//! ```
//!
//! Only lost heartbeats are doubted. An active check that fails is believed.

use std::collections::HashMap;
use std::time::Duration;

use crate::bounds::{
    MASS_EXPIRY_NODES_MIN, MASS_EXPIRY_RECHECK, MASS_EXPIRY_SHARE_MIN, MASS_EXPIRY_WINDOW,
    PRESERVATION_LEAVE_PARTS, PRESERVATION_MAX,
};

#[derive(Debug, Default)]
struct Node {
    /// Its TTL checks.
    checks: usize,
    /// Those of them that are overdue.
    silent: usize,
    /// Since when all of them are.
    silent_since: Option<Duration>,
    /// Whether its silence is not believed.
    doubted: bool,
    /// Whether its silence was doubted once, and is believed now: it says nothing of the others any more.
    settled: bool,
}

/// Which nodes are heard from.
#[derive(Debug, Default)]
pub(super) struct Silence {
    nodes: HashMap<String, Node>,
    /// Since when silence is not believed.
    doubting_since: Option<Duration>,
    recheck_at: Option<Duration>,
    /// Nodes of the whole cluster, where replicas share them out; 0 where there is one server.
    pub(super) cluster: usize,
}

/// Silence is not believed, because most nodes fell silent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preservation {
    /// Since when, as time on the machine's clock.
    pub since: Duration,
    /// How many nodes are silent and not believed to be gone.
    pub doubted: usize,
    /// How many nodes send heartbeats at all.
    pub nodes: usize,
}

impl Silence {
    /// A TTL check appeared on a node.
    pub(super) fn add(&mut self, node: &str) {
        let node = self.nodes.entry(node.to_owned()).or_default();
        node.checks += 1;
        node.silent_since = None;
    }

    /// A TTL check is gone.
    pub(super) fn remove(&mut self, name: &str, silent: bool, now: Duration) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.checks = node.checks.saturating_sub(1);
        node.silent -= usize::from(silent && node.silent > 0);
        if node.checks == 0 {
            self.nodes.remove(name);
        } else if node.silent == node.checks && node.silent_since.is_none() {
            node.silent_since = Some(now);
        }
    }

    /// A TTL check became overdue.
    pub(super) fn silent(&mut self, node: &str, now: Duration) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        node.silent = (node.silent + 1).min(node.checks);
        if node.silent == node.checks {
            node.silent_since = Some(now);
        }
    }

    /// An overdue TTL check was heard from.
    pub(super) fn heard(&mut self, node: &str) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        node.silent = node.silent.saturating_sub(1);
        node.silent_since = None;
        (node.doubted, node.settled) = (false, false);
    }

    /// Judges the present silence anew. It is doubted once more than half of the nodes, of at least
    /// [`MASS_EXPIRY_NODES_MIN`], fell silent within [`MASS_EXPIRY_WINDOW`]: all of these, those too that were judged
    /// before it was seen how many they are, and whoever falls silent as long as it lasts. It ends when at most a part in
    /// [`PRESERVATION_LEAVE_PARTS`] of the nodes is still doubted, or after [`PRESERVATION_MAX`]: then all that is silent
    /// is believed to be so. Answers whether it is doubted, and whether that has changed.
    pub(super) fn judge(&mut self, now: Duration) -> (bool, bool) {
        let before = self.doubting_since.is_some();
        let counts = |node: &Node| {
            node.silent_since.is_some_and(|since| {
                node.doubted || (!node.settled && now.saturating_sub(since) <= MASS_EXPIRY_WINDOW)
            })
        };
        let (total, silent) = (self.nodes.len(), self.nodes.values().filter(|node| counts(node)).count());
        let doubting = match self.doubting_since {
            None => {
                // Where replicas share the nodes out, each sees a part: the whole must be large, and the part no accident.
                let part = total >= MASS_EXPIRY_NODES_MIN
                    || (self.cluster > total && total >= MASS_EXPIRY_SHARE_MIN);
                part && total.max(self.cluster) >= MASS_EXPIRY_NODES_MIN && silent * 2 > total
            }
            Some(since) => {
                silent * PRESERVATION_LEAVE_PARTS > total && now.saturating_sub(since) < PRESERVATION_MAX
            }
        };
        if doubting {
            self.doubting_since.get_or_insert(now);
            self.recheck_at = Some(now + MASS_EXPIRY_RECHECK);
            self.nodes.values_mut().filter(|node| counts(node)).for_each(|node| node.doubted = true);
        } else {
            self.doubting_since = None;
            self.recheck_at = None;
            if before {
                for node in self.nodes.values_mut().filter(|node| node.doubted) {
                    node.doubted = false;
                    node.settled = true;
                }
            }
        }
        (doubting, doubting != before)
    }

    /// When silence is to be judged anew, while it is doubted.
    pub(super) const fn recheck_at(&self) -> Option<Duration> {
        self.recheck_at
    }

    /// Whether a node's silence is not believed.
    pub(super) fn is_doubted(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.doubted)
    }

    /// The nodes that are not heard from, and whether that is not believed.
    pub(super) fn silent_nodes(&self) -> impl Iterator<Item = (&str, bool)> {
        let silent = self.nodes.iter().filter(|(_, node)| node.silent_since.is_some());
        silent.map(|(name, node)| (&**name, node.doubted))
    }

    /// How it stands, while silence is doubted.
    pub(super) fn preservation(&self) -> Option<Preservation> {
        let since = self.doubting_since?;
        let doubted = self.nodes.values().filter(|node| node.doubted && node.silent_since.is_some()).count();
        Some(Preservation { since, doubted, nodes: self.nodes.len() })
    }
}
