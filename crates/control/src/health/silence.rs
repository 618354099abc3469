//! Whether silence is to be believed: when most nodes fall silent at once, the fault is likelier on this side. Pure.
//!
//! Only lost heartbeats are doubted. An active check that fails is believed.

use std::collections::HashMap;
use std::time::Duration;

use crate::bounds::{MASS_EXPIRY_NODES_MIN, MASS_EXPIRY_WINDOW};

#[derive(Debug, Default)]
struct Node {
    /// Its TTL checks.
    checks: usize,
    /// Those of them that are overdue.
    silent: usize,
    /// Since when all of them are.
    silent_since: Option<Duration>,
    /// Whether its silence was not believed.
    doubted: bool,
}

/// Which nodes are heard from.
#[derive(Debug, Default)]
pub(super) struct Silence {
    nodes: HashMap<String, Node>,
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
        node.doubted = false;
    }

    /// Whether the present silence is suspicious: more than half of the nodes, of at least
    /// [`MASS_EXPIRY_NODES_MIN`], fell silent within [`MASS_EXPIRY_WINDOW`], or did so earlier and have been doubted
    /// since. All of them then stay doubted until they are heard from, those too that were judged before it was seen
    /// how many they are.
    pub(super) fn suspicious(&mut self, now: Duration) -> bool {
        let counts = |node: &Node| {
            node.silent_since
                .is_some_and(|since| node.doubted || now.saturating_sub(since) <= MASS_EXPIRY_WINDOW)
        };
        let total = self.nodes.len();
        let suspicious = total >= MASS_EXPIRY_NODES_MIN
            && self.nodes.values().filter(|node| counts(node)).count() * 2 > total;
        if suspicious {
            for node in self.nodes.values_mut().filter(|node| counts(node)) {
                node.doubted = true;
            }
        }
        suspicious
    }
}
