//! Loading a catalog with all that a store holds: what can be read alone is read on all cores, and each instance is put with
//! its checks, so that nothing is made twice.

use std::cmp::Ordering;
use std::sync::Arc;

use weir_store::Record;

use super::effects::Effects;
use super::found::{Found, FoundCheck};
use super::kept::{KeptCheck, Stored};
use super::state::State;
use crate::keys::{self, place};

/// Entries that are read at a time.
const LOADED_TOGETHER: usize = 256;

impl State {
    /// Applies what a store held at this state's position. Nobody waits or listens yet.
    pub(super) fn load(&mut self, entries: Vec<Record>) {
        let mut effects = Effects::unobserved(self.position);
        let mut waiting = Waiting::default();
        let mut entries = in_loading_order(entries);
        let pieces = std::iter::from_fn(|| {
            let piece: Vec<Record> = entries.by_ref().take(LOADED_TOGETHER).collect();
            (!piece.is_empty()).then_some(piece)
        });
        // Most of the time goes into reading documents, which all cores can do.
        weir_store::in_order(
            pieces,
            |piece| piece.into_iter().filter_map(Found::of).collect::<Vec<_>>(),
            |found| found.into_iter().for_each(|found| self.load_one(found, &mut waiting, &mut effects)),
        );
        self.put_alone(waiting.all(), &mut effects);
        self.registry.touch_all(self.position.revision);
    }

    fn load_one(&mut self, found: Found, waiting: &mut Waiting, effects: &mut Effects) {
        match found {
            Found::Check(check) => {
                if !waiting.is_for(&check.kept.stored) {
                    self.put_alone(waiting.all(), effects);
                }
                waiting.checks.push(check.kept);
            }
            Found::Instance(stored, instance) => {
                let (before, with) = waiting.of(&stored);
                self.put_alone(before, effects);
                self.registry.put_instance(stored, *instance, with, effects);
            }
            Found::Other(record) => {
                let key = record.key();
                if let Some(place) = place(&key) {
                    self.put_other(place, &key, &record.entry(), effects);
                }
            }
        }
    }

    /// Puts checks that are not an instance's which is there.
    fn put_alone(&mut self, checks: impl Iterator<Item = Arc<KeptCheck>>, effects: &mut Effects) {
        checks.for_each(|kept| self.registry.put_check(&FoundCheck::again(kept), effects));
    }
}

/// Nodes first, the head of the declared resources last; in between each node's checks before its instances, as long as a store
/// gives them in the order of their keys. Any other order is right too, and takes longer.
fn in_loading_order(entries: Vec<Record>) -> impl Iterator<Item = Record> {
    let (mut nodes, mut checks, mut instances) = (Vec::new(), Vec::new(), Vec::new());
    let (mut others, mut head) = (Vec::new(), Vec::new());
    for record in entries {
        let part = match kind(record.path_bytes()) {
            Some(kind) if kind == keys::NODE.as_bytes() => &mut nodes,
            Some(kind) if kind == keys::CHECK.as_bytes() => &mut checks,
            Some(kind) if kind == keys::INSTANCE.as_bytes() => &mut instances,
            Some(kind) if kind == keys::HEAD.as_bytes() => &mut head,
            _ => &mut others,
        };
        part.push(record);
    }
    let mut checks = checks.into_iter().peekable();
    let mut instances = instances.into_iter().peekable();
    let on_nodes = std::iter::from_fn(move || match (checks.peek(), instances.peek()) {
        (Some(check), Some(instance)) if home(instance.path_bytes()) < home(check.path_bytes()) => {
            instances.next()
        }
        (None, _) => instances.next(),
        (Some(_), _) => checks.next(),
    });
    nodes.into_iter().chain(on_nodes).chain(others).chain(head)
}

/// The kind of what is under a key.
fn kind(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(weir_store::key::ROOT.as_bytes())?.split(|byte| *byte == b'/').next()
}

/// What the keys of all have in common that is on one node in one namespace, but for its kind.
fn home(path: &[u8]) -> &[u8] {
    let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    // Behind `/weir/v1/<kind>`, and behind `/<namespace>/<node>`.
    match (slashes.nth(3), slashes.nth(1)) {
        (Some(from), Some(to)) => &path[from..=to],
        _ => &[],
    }
}

/// The checks of one node in one namespace, until their instances come.
#[derive(Default)]
struct Waiting {
    checks: Vec<Arc<KeptCheck>>,
    /// Whether they are in the order of their instances.
    is_sorted: bool,
    /// How many of them do not wait any more.
    taken: usize,
}

impl Waiting {
    /// Whether one on the same node can wait with them.
    fn is_for(&self, stored: &Stored) -> bool {
        !self.is_sorted && self.checks.last().is_none_or(|last| last.stored.home() == stored.home())
    }

    /// Those that wait in vain, and those that are this instance's.
    fn of(&mut self, instance: &Stored) -> (std::vec::IntoIter<Arc<KeptCheck>>, Vec<FoundCheck>) {
        let (mut before, mut with) = (Vec::new(), Vec::new());
        if self.checks.last().is_some_and(|last| last.stored.home() != instance.home()) {
            before.extend(self.all());
        }
        if !std::mem::replace(&mut self.is_sorted, true) {
            self.checks.sort_by(|a, b| a.instance_bytes().cmp(&b.instance_bytes()));
        }
        while let Some(check) = self.checks.get(self.taken) {
            match check.instance_bytes().cmp(&Some(instance.id_bytes())) {
                Ordering::Less => before.push(Arc::clone(check)),
                Ordering::Equal => with.push(FoundCheck::again(Arc::clone(check))),
                Ordering::Greater => break,
            }
            self.taken += 1;
        }
        (before.into_iter(), with)
    }

    /// All that wait; none does afterwards.
    fn all(&mut self) -> std::vec::IntoIter<Arc<KeptCheck>> {
        let Self { mut checks, taken, .. } = std::mem::take(self);
        checks.drain(..taken);
        checks.into_iter()
    }
}
