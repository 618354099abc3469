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
        self.load_all(&entries, &mut waiting, &mut effects);
        // What is in it is kept; the list is not needed any more.
        drop(entries);
        self.put_alone(waiting.all(), &mut effects);
        self.registry.touch_all(self.position.revision);
    }

    /// Most of the time goes into reading documents, which all cores can do.
    fn load_all(&mut self, entries: &[Record], waiting: &mut Waiting, effects: &mut Effects) {
        let mut order = in_loading_order(entries);
        let pieces = std::iter::from_fn(|| {
            let piece: Vec<u32> = order.by_ref().take(LOADED_TOGETHER).collect();
            (!piece.is_empty()).then_some(piece)
        });
        let found = |at: u32| Found::of(entries[at as usize].clone());
        weir_store::in_order(
            pieces,
            |piece| piece.into_iter().filter_map(found).collect::<Vec<_>>(),
            |found| found.into_iter().for_each(|found| self.load_one(found, waiting, effects)),
        );
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

/// Where in the list what is loaded next stands: nodes first, the head of the declared resources last; in between each node's
/// checks before its instances, as long as a store gives them in the order of their keys. Any other order is right too, and
/// takes longer. By numbers, which take little of a memory that is full already; there are far fewer entries than these can count.
fn in_loading_order(entries: &[Record]) -> impl Iterator<Item = u32> {
    let (mut nodes, mut checks, mut instances) = (Vec::new(), Vec::new(), Vec::new());
    let (mut others, mut head) = (Vec::new(), Vec::new());
    for (at, record) in entries.iter().enumerate() {
        let part = match kind(record.path_bytes()) {
            Some(kind) if kind == keys::NODE.as_bytes() => &mut nodes,
            Some(kind) if kind == keys::CHECK.as_bytes() => &mut checks,
            Some(kind) if kind == keys::INSTANCE.as_bytes() => &mut instances,
            Some(kind) if kind == keys::HEAD.as_bytes() => &mut head,
            _ => &mut others,
        };
        part.push(at as u32);
    }
    let home_of = |at: u32| home(entries[at as usize].path_bytes());
    let mut checks = checks.into_iter().peekable();
    let mut instances = instances.into_iter().peekable();
    let on_nodes = std::iter::from_fn(move || match (checks.peek(), instances.peek()) {
        (Some(check), Some(instance)) if home_of(*instance) < home_of(*check) => instances.next(),
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

#[cfg(test)]
mod tests {
    use weir_model::Position;
    use weir_model::registry::{Check, Instance, Node};
    use weir_store::{Entry, Event, Key, KeyValue};

    use super::*;

    const NAMESPACES: [&str; 2] = ["a", "a-b"];
    /// One of them begins with another, and goes on with what sorts before a slash.
    const NODES: [&str; 3] = ["n", "n-1", "n.x"];

    fn stored(key: Result<Key, crate::Error>, document: &impl serde::Serialize) -> KeyValue {
        let value = serde_json::to_vec(document).expect("it can be written").into();
        let entry = Entry { value, create_revision: 1, mod_revision: 2, version: 1, lease: None };
        KeyValue { key: key.expect("a key"), entry }
    }

    fn check(namespace: &str, node: &str, id: &str, instance: Option<&str>) -> KeyValue {
        let check = Check {
            namespace: namespace.to_owned(),
            node: node.to_owned(),
            id: id.to_owned(),
            instance: instance.map(str::to_owned),
            ..Check::default()
        };
        stored(keys::check(namespace, node, id), &check)
    }

    /// On each node instances with no check, one and several, whose ids come in another order than theirs; a check of the node,
    /// and one of an instance that is not there. One of the nodes is missing.
    fn entries() -> Vec<KeyValue> {
        let mut entries = Vec::new();
        for node in NODES.into_iter().filter(|node| *node != "n.x") {
            let name = node.to_owned();
            entries.push(stored(keys::node(node), &Node { name, ..Node::default() }));
        }
        for namespace in NAMESPACES {
            for node in NODES {
                for id in ["i", "i-1", "j", "none"] {
                    let instance = Instance {
                        namespace: namespace.to_owned(),
                        node: node.to_owned(),
                        id: id.to_owned(),
                        service: "s".to_owned(),
                        ..Instance::default()
                    };
                    entries.push(stored(keys::instance(namespace, node, id), &instance));
                }
                for (id, instance) in [
                    ("z", Some("i")),
                    ("a", Some("j")),
                    ("service:i-1", Some("i-1")),
                    ("m/1", Some("j")),
                    ("disk", None),
                    ("lost", Some("gone")),
                ] {
                    entries.push(check(namespace, node, id, instance));
                }
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries
    }

    /// What is on the nodes, with the checks that belong to it.
    fn shown(state: &State) -> Vec<(String, Vec<String>)> {
        let mut shown = Vec::new();
        for (name, slot) in &state.registry.nodes {
            let own = slot.node.iter().flat_map(|node| &node.checks).map(|check| check.value.id.clone());
            shown.push((name.to_string(), own.collect()));
            for kept in slot.instances.sorted() {
                let checks = kept.checks.iter().map(|check| check.id().to_owned()).collect();
                shown.push((format!("{name}/{}/{}", kept.namespace(), kept.id()), checks));
            }
            for namespace in NAMESPACES {
                let lost = slot.orphans_of(namespace, "gone").map(|check| check.id().to_owned());
                shown.push((format!("{name}/{namespace} lost"), lost.collect()));
            }
        }
        let service = |namespace| state.registry.service(namespace, "s").expect("it has instances");
        for namespace in NAMESPACES {
            let members = service(namespace).members.iter();
            let members = members.map(|kept| format!("{}/{}+{}", kept.node(), kept.id(), kept.checks.len()));
            shown.push((namespace.to_owned(), members.collect()));
        }
        shown
    }

    #[test]
    fn what_is_loaded_in_any_order_is_what_would_have_been_followed() {
        let mut entries = entries();
        let position = Position::new(1, 2);
        let mut followed = State::new(position);
        for KeyValue { key, entry } in &entries {
            followed.apply(position, &[Event { key: key.clone(), now: Some(entry.clone()), before: None }]);
        }
        let expected = shown(&followed);
        assert!(
            expected.iter().any(|(name, checks)| name == "n/a/j" && *checks == ["a", "m/1"]),
            "{expected:?}"
        );
        assert!(
            expected.iter().any(|(name, checks)| name == "n/a lost" && *checks == ["lost"]),
            "{expected:?}"
        );
        for round in 0..20 {
            let records = entries.iter().map(|pair| Record::of(&pair.key, &pair.entry)).collect();
            assert_eq!(shown(&State::of(position, records)), expected, "order {round}");
            let by = 7 * round + 1;
            let middle = by % entries.len();
            entries.rotate_left(middle);
            entries[..middle].reverse();
        }
    }

    #[test]
    fn an_instance_that_comes_with_checks_has_them_at_once() {
        let position = Position::new(1, 2);
        let mut state = State::new(position);
        let events: Vec<Event> = entries()
            .into_iter()
            .map(|KeyValue { key, entry }| Event { key, now: Some(entry), before: None })
            .collect();
        let wanted = |event: &&Event| {
            let path = event.key.as_str();
            path.ends_with("/a/n/j")
                || path.ends_with("/a/n/a")
                || path.ends_with("/a/n/m/1")
                || path.ends_with("cluster/n")
        };
        let some: Vec<Event> = events.iter().filter(wanted).cloned().collect();
        assert_eq!(some.len(), 4);
        let change = state.apply(position, &some).into_change();
        let told: Vec<&str> = change.checks.iter().map(|(name, _)| &*name.id).collect();
        assert_eq!((told, change.nodes), (vec!["a", "m/1"], vec!["n".to_owned()]));
        let entry = state.registry.instance("a", "n", "j").expect("it is there");
        let checks: Vec<&str> = entry.checks.iter().map(|check| &*check.value.id).collect();
        assert_eq!(checks, ["a", "m/1"]);
        // Again, with one of them changed: it is there already.
        let again: Vec<Event> =
            some.iter().filter(|event| !event.key.as_str().ends_with("/m/1")).cloned().collect();
        state.apply(position, &again);
        let entry = state.registry.instance("a", "n", "j").expect("it is there");
        assert_eq!(entry.checks.len(), 2);
    }
}
