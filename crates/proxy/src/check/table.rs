//! From looks to verdicts: pure.

use std::collections::HashMap;
use std::sync::Arc;

use weir_model::registry::{ActiveChecks, CheckDefinition, Health, Streak, Thresholds};
use weir_policy::Nanos;

use super::plan::Target;
use super::{CheckKey, EndpointKey};
use crate::snapshot::{Verdict, Verdicts};

/// The endpoints that are checked, and what that came to.
#[derive(Debug, Default)]
pub(super) struct Table {
    endpoints: HashMap<EndpointKey, Watched>,
    /// Checks that were given up since the last plan, and of which the schedule does not know that yet.
    ended: Vec<CheckKey>,
    verdicts: Arc<Verdicts>,
}

#[derive(Debug)]
struct Watched {
    how: Arc<ActiveChecks>,
    told: Option<Health>,
    /// What counts for a check that has not been decided.
    assumed: Health,
    looks: Vec<Looked>,
    verdict: Option<Verdict>,
}

#[derive(Clone, Debug, Default)]
struct Looked {
    streak: Streak,
    decided: Option<Health>,
}

/// What is to become of the schedule.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Look at this from now on.
    Begin(CheckKey, CheckDefinition),
    /// Not any more.
    End(CheckKey),
}

/// An endpoint is otherwise than it was taken to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) key: EndpointKey,
    pub(crate) from: Health,
    pub(crate) to: Health,
    /// What the registry told last; nothing of one that is written down.
    pub(crate) told: Option<Health>,
    /// Outcomes in a row that led to it.
    pub(crate) in_a_row: u32,
    /// What was seen last.
    pub(crate) output: String,
}

impl Watched {
    fn new(target: Target) -> Self {
        let looks = vec![Looked::default(); target.how.definitions.len()];
        let assumed = target.told.unwrap_or(Health::Passing);
        Self { how: target.how, told: target.told, assumed, looks, verdict: None }
    }

    /// How it is: the worst of its checks, and of what cannot be seen from here.
    fn health(&self) -> Health {
        let checks = self.looks.iter().map(|look| look.decided.unwrap_or(self.assumed));
        checks.max().unwrap_or_default().max(self.how.others)
    }
}

impl Table {
    /// Watches what is planned, and nothing else. What is checked in another way than before begins anew, and is taken to
    /// be as it was until that is decided.
    pub(super) fn follow(&mut self, targets: Vec<Target>) -> Vec<Step> {
        let mut steps: Vec<Step> = self.ended.drain(..).map(Step::End).collect();
        let mut before = std::mem::take(&mut self.endpoints);
        for target in targets {
            let key = target.key.clone();
            let watched = match before.remove(&key) {
                Some(known) if known.how.definitions == target.how.definitions => {
                    Watched { how: target.how, told: target.told, ..known }
                }
                known => {
                    let mut watched = Watched::new(target);
                    if let Some(known) = known {
                        watched.assumed = known.verdict.map_or(watched.assumed, |verdict| verdict.health);
                        watched.verdict = known.verdict;
                        steps.extend((0..known.looks.len()).map(|at| Step::End((key.clone(), at))));
                    }
                    let definitions = watched.how.definitions.iter().cloned().enumerate();
                    steps.extend(definitions.map(|(at, how)| Step::Begin((key.clone(), at), how)));
                    watched
                }
            };
            self.endpoints.insert(key, watched);
        }
        for (key, gone) in before {
            steps.extend((0..gone.looks.len()).map(|at| Step::End((key.clone(), at))));
            self.judge(&key, None);
        }
        steps
    }

    /// Takes an outcome in. Answers whether a verdict has changed, and with what happened if the endpoint is otherwise
    /// than it was taken to be. A look by a definition that does not hold any more is none.
    pub(super) fn report(
        &mut self,
        (key, at): &CheckKey,
        definition: &CheckDefinition,
        outcome: Health,
        output: &str,
        now: Nanos,
    ) -> (bool, Option<Event>) {
        let Some(watched) = self.endpoints.get_mut(key) else { return (false, None) };
        if watched.how.definitions.get(*at) != Some(definition) {
            return (false, None);
        }
        let Some(look) = watched.looks.get_mut(*at) else { return (false, None) };
        let decided = look.streak.count(outcome, Thresholds::from(definition));
        let in_a_row = look.streak.in_a_row();
        look.decided = decided.or(look.decided);
        if watched.looks.iter().all(|look| look.decided.is_none()) {
            return (false, None);
        }
        let (health, told) = (watched.health(), watched.told);
        let from = watched.verdict.map_or(watched.assumed.max(watched.how.others), |verdict| verdict.health);
        if watched.verdict.is_some_and(|verdict| verdict.health == health) {
            return (false, None);
        }
        let verdict = Verdict { health, since: now };
        watched.verdict = Some(verdict);
        self.judge(key, Some(verdict));
        let event = (from != health).then(|| Event {
            key: key.clone(),
            from,
            to: health,
            told,
            in_a_row,
            output: output.to_owned(),
        });
        (true, event)
    }

    /// Gives up all that the registry judges: it is there again.
    pub(super) fn yield_registered(&mut self) -> usize {
        let gone: Vec<_> = self.endpoints.extract_if(|_, watched| watched.told.is_some()).collect();
        for (key, watched) in &gone {
            self.ended.extend((0..watched.looks.len()).map(|at| (key.clone(), at)));
            self.judge(key, None);
        }
        gone.len()
    }

    /// What the checks came to.
    pub(super) const fn verdicts(&self) -> &Arc<Verdicts> {
        &self.verdicts
    }

    /// How many endpoints are checked: those written down, and those that have registered.
    pub(super) fn counts(&self) -> (usize, usize) {
        let registered = self.endpoints.values().filter(|watched| watched.told.is_some()).count();
        (self.endpoints.len() - registered, registered)
    }

    fn judge(&mut self, key: &EndpointKey, verdict: Option<Verdict>) {
        let known = self.verdicts.of(&key.service).and_then(|verdicts| verdicts.get(&key.endpoint).copied());
        if known != verdict {
            Arc::make_mut(&mut self.verdicts).set(&key.service, &key.endpoint, verdict);
        }
    }
}

#[cfg(test)]
mod tests;
