//! Which checks are to be carried out, for whoever does the probing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use weir_model::registry::{Check, CheckDefinition, CheckKind};

use crate::catalog::{CheckEntry, CheckRef, KeptCheck};
use crate::changes::{ChangeEvent, Changes};
use crate::replicas::owns;
use crate::{Catalog, Replica};

/// What a prober is told.
#[derive(Clone, Debug)]
pub enum CheckEvent {
    /// Carry out this check from now on; if it runs already, its definition has changed.
    Run(Arc<CheckEntry>),
    /// It is gone, or is not to be carried out any more.
    Stop(CheckRef),
}

/// The checks to carry out: first all that are there, then what changes.
#[derive(Debug)]
pub struct CheckFeed {
    changes: Changes,
    /// The replica that carries them out, where there are several.
    own: Option<Replica>,
    running: HashMap<CheckRef, CheckDefinition>,
    ready: VecDeque<CheckEvent>,
}

impl CheckFeed {
    pub(crate) fn new(catalog: &Catalog, own: Option<Replica>) -> Self {
        let mut feed =
            Self { changes: catalog.changes(), own, running: HashMap::new(), ready: VecDeque::new() };
        feed.compare(catalog);
        feed
    }

    /// Waits for the next event; `None` when the control plane has stopped. Dropping the future loses nothing.
    pub async fn next(&mut self, catalog: &Catalog) -> Option<CheckEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.changes.next().await {
                ChangeEvent::Change(change) if change.replicas => self.compare(catalog),
                ChangeEvent::Change(change) => {
                    for (name, check) in &change.checks {
                        match check {
                            Some(check) if self.owns(catalog, name) => self.see(name, check),
                            _ => self.stop(name),
                        }
                    }
                }
                ChangeEvent::Resync => self.compare(catalog),
                ChangeEvent::Closed => return None,
            }
        }
    }

    fn owns(&self, catalog: &Catalog, check: &CheckRef) -> bool {
        self.own.is_none() || owns(self.own.as_ref(), &catalog.state().replicas, check)
    }

    fn compare(&mut self, catalog: &Catalog) {
        let mut present = HashSet::new();
        for kept in defined_checks(catalog) {
            // One after the other: all of them at once would be much.
            let check = kept.read();
            let name = CheckRef::of(&check.value);
            if self.owns(catalog, &name) {
                self.see(&name, &check);
                present.insert(name);
            }
        }
        let gone: Vec<_> = self.running.keys().filter(|name| !present.contains(name)).cloned().collect();
        for name in gone {
            self.stop(&name);
        }
    }

    fn see(&mut self, name: &CheckRef, check: &Arc<CheckEntry>) {
        let Some(definition) = to_run(&check.value) else { return self.stop(name) };
        if self.running.get(name) != Some(definition) {
            self.running.insert(name.clone(), definition.clone());
            self.ready.push_back(CheckEvent::Run(Arc::clone(check)));
        }
    }

    fn stop(&mut self, name: &CheckRef) {
        if self.running.remove(name).is_some() {
            self.ready.push_back(CheckEvent::Stop(name.clone()));
        }
    }
}

fn to_run(check: &Check) -> Option<&CheckDefinition> {
    let definition = check.definition.as_ref().filter(|_| check.runner.is_server())?;
    (definition.kind != CheckKind::Ttl).then_some(definition)
}

/// All checks of all namespaces that say how they are carried out.
pub(super) fn defined_checks(catalog: &Catalog) -> Vec<Arc<KeptCheck>> {
    let state = catalog.state();
    let all = state.registry.nodes.values().flat_map(|slot| slot.checks.iter());
    all.filter(|check| check.is_defined).cloned().collect()
}
