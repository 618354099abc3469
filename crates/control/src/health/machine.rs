//! The state machine behind health: fed with checks, heartbeats, probe outcomes and the time; answers with what is to
//! be committed. Pure: `now` is monotonic time since some fixed moment, and nothing is read or written here.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use weir_model::registry::{Check, CheckKind, Health, Runner, Streak, Thresholds};

use super::agents::{Absence, Agents};
use super::silence::{Preservation, Silence};
use crate::bounds::{CHECK_OUTPUT_INTERVAL, HEALTH_RETRY, MASS_EXPIRY_RECHECK};
use crate::catalog::{CheckRef, InstanceRef};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A TTL check was not heard from in time: commit that it is critical.
    Expire(CheckRef),
    /// A TTL check expired before it was seen that most nodes fell silent with it: commit that it is as it was.
    Restore(CheckRef, Health),
    /// An instance's check was critical for too long, or its agent silent, as this check says: deregister the instance.
    Evict(InstanceRef, CheckRef),
    /// A node's agent was silent for too long, as this check says: deregister the node.
    Forget(CheckRef),
}

#[derive(Debug)]
struct Tracked {
    name: Arc<CheckRef>,
    instance: Option<String>,
    health: Health,
    output: String,
    ttl: Option<Duration>,
    deregister_after: Option<Duration>,
    thresholds: Thresholds,
    streak: Streak,
    /// When the next heartbeat is due, or when an expiry is tried again.
    due_at: Option<Duration>,
    /// Whether the heartbeat is overdue.
    silent: bool,
    /// Whether its node's silence depends on it: not while it is critical and nobody was heard from, for then its silence is
    /// no news.
    counted: bool,
    /// What it was before it became critical because of its silence.
    lapsed: Option<Health>,
    critical_since: Option<Duration>,
    /// Whose it is to carry it out. An agent also deregisters; the servers do so only while it is silent.
    runner: Runner,
    /// The silence of that agent.
    absence: Option<Absence>,
    /// When an eviction is tried again.
    evict_again_at: Option<Duration>,
    output_at: Option<Duration>,
    /// What a heartbeat said last, if that is not committed.
    unwritten: Option<String>,
    /// The earliest entry of this check in the machine's queue.
    queued_at: Option<Duration>,
}

/// All checks that need somebody to watch the time or count outcomes.
#[derive(Debug, Default)]
pub struct Machine {
    /// Boxed: a table has more places than entries, and entries are taken out and put back.
    checks: HashMap<Arc<CheckRef>, Box<Tracked>>,
    queue: BinaryHeap<Reverse<(Duration, Arc<CheckRef>)>>,
    silence: Silence,
    agents: Agents,
}

/// Entries of the queue beyond twice the number of checks at which it is cleared of those that mean nothing any more.
const QUEUE_SLACK: usize = 1024;

impl Machine {
    /// A machine without checks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Since when the agent of a node has been taken to be gone, if it is.
    pub fn agent_absent_since(&self, node: &str) -> Option<Duration> {
        self.agents.absence(node).map(|absence| absence.since)
    }

    /// A check is as given now; new or changed. A new TTL check, or one that was revived, gets its full time.
    pub fn track(&mut self, check: &Check, now: Duration) {
        let Some(definition) = &check.definition else {
            self.forget(&CheckRef::of(check), now);
            return;
        };
        // Who tells an agent is judged by it.
        let is_waited_for = definition.kind == CheckKind::Ttl && check.runner != Runner::Agent;
        let ttl = is_waited_for.then_some(definition.interval.0);
        let name = Arc::new(CheckRef::of(check));
        let known = self.checks.remove(&name);
        if let Some(known) = known.as_ref().filter(|known| known.ttl != ttl && known.counted) {
            self.silence.remove(&name.node, known.silent, now);
        }
        let known = known.filter(|known| known.ttl == ttl);
        let mut tracked = match known {
            Some(known) => known,
            None => Box::new(Tracked::new(name, ttl, now)),
        };
        if check.health != Health::Critical {
            self.count(&mut tracked);
        }
        tracked.instance.clone_from(&check.instance);
        tracked.thresholds = definition.into();
        tracked.deregister_after = definition.deregister_after.map(|after| after.0);
        tracked.runner = check.runner;
        if tracked.runner == Runner::Agent && tracked.deregister_after.is_some() {
            self.agents.add(&tracked.name);
            tracked.absence = self.agents.absence(&tracked.name.node).cloned();
        } else {
            self.agents.remove(&tracked.name);
            tracked.absence = None;
        }
        if tracked.output != check.output || tracked.health != check.health {
            tracked.unwritten = None;
        }
        tracked.output.clone_from(&check.output);
        let before = std::mem::replace(&mut tracked.health, check.health);
        match (before, check.health) {
            (Health::Critical, Health::Critical) => {}
            (Health::Critical, revived) => match tracked.lapsed.take() {
                // Nobody was heard from: its silence was doubted.
                Some(restored)
                    if restored == revived
                        && tracked.silent
                        && self.silence.is_doubted(&tracked.name.node) =>
                {
                    tracked.due_at = Some(now + MASS_EXPIRY_RECHECK);
                }
                _ => self.sign_of_life(&mut tracked, now),
            },
            (well, Health::Critical) if tracked.silent => tracked.lapsed = Some(well),
            _ => {}
        }
        if check.health == Health::Critical {
            tracked.critical_since.get_or_insert(now);
        } else {
            tracked.critical_since = None;
            tracked.evict_again_at = None;
        }
        self.keep(tracked);
    }

    /// A node's agent is there, or is silent: what it carries out is then deregistered by its own rule. This is told of
    /// all agents, also where another replica watches over the check that says so.
    pub fn see_agent(&mut self, presence: &CheckRef, is_there: bool, now: Duration) {
        for check in self.agents.see(presence, is_there, now) {
            if let Some(mut tracked) = self.checks.remove(&check) {
                tracked.absence = self.agents.absence(&check.node).cloned();
                self.keep(tracked);
            }
        }
    }

    /// A check is gone; if it was an agent's presence, nothing is known of that agent any more.
    pub fn forget_agent(&mut self, presence: &CheckRef) {
        for check in self.agents.forget(presence) {
            if let Some(tracked) = self.checks.get_mut(&check) {
                tracked.absence = None;
            }
        }
    }

    /// A check is gone.
    pub fn forget(&mut self, check: &CheckRef, now: Duration) {
        self.agents.remove(check);
        if let Some(known) = self.checks.remove(check)
            && known.counted
        {
            self.silence.remove(&check.node, known.silent, now);
        }
    }

    /// The checks that are tracked.
    pub fn tracked(&self) -> impl Iterator<Item = &CheckRef> {
        self.checks.keys().map(|name| &**name)
    }

    /// How many nodes the whole cluster has, where replicas share checks out.
    pub(crate) fn see_cluster(&mut self, nodes: usize) {
        self.silence.cluster = nodes;
    }

    /// The health of a check as it was last seen here; none if it is not tracked.
    pub(crate) fn health(&self, check: &CheckRef) -> Option<Health> {
        self.checks.get(check).map(|tracked| tracked.health)
    }

    /// Whether a check is tracked.
    pub fn knows(&self, check: &CheckRef) -> bool {
        self.checks.contains_key(check)
    }

    /// A heartbeat of a TTL check. Other checks have none.
    pub fn heard_from(&mut self, check: &CheckRef, now: Duration) {
        let Some((_, mut tracked)) = self.checks.remove_entry(check) else { return };
        self.sign_of_life(&mut tracked, now);
        self.keep(tracked);
    }

    /// Every TTL check that is not critical has its full time from now on.
    pub(crate) fn grant_full_time(&mut self, now: Duration) {
        let lives = |(name, tracked): (&Arc<CheckRef>, &Tracked)| {
            (tracked.health != Health::Critical || tracked.lapsed.is_some()).then(|| Arc::clone(name))
        };
        let all: Vec<_> =
            self.checks.iter().map(|(name, tracked)| (name, &**tracked)).filter_map(lives).collect();
        for check in all {
            self.heard_from(&check, now);
        }
    }

    /// From now on its node's silence depends on it as well.
    fn count(&mut self, tracked: &mut Tracked) {
        if tracked.ttl.is_some() && !std::mem::replace(&mut tracked.counted, true) {
            self.silence.add(&tracked.name.node);
        }
    }

    fn sign_of_life(&mut self, tracked: &mut Tracked, now: Duration) {
        self.count(tracked);
        tracked.lapsed = None;
        if std::mem::take(&mut tracked.silent) {
            self.silence.heard(&tracked.name.node);
        }
        tracked.due_at = tracked.ttl.map(|ttl| now + ttl);
    }

    /// A probe's outcome. Answers with the health to commit, if its thresholds are reached and there is news: another
    /// health, or, now and then, another output. `None` for a check that is not tracked, too.
    pub fn report(
        &mut self,
        check: &CheckRef,
        outcome: Health,
        output: &str,
        now: Duration,
    ) -> Option<Health> {
        let tracked = self.checks.get_mut(check)?;
        let health = tracked.streak.count(outcome, tracked.thresholds)?;
        let fresh = tracked.output_at.is_none_or(|at| now.saturating_sub(at) >= CHECK_OUTPUT_INTERVAL);
        let news = tracked.health != health || (fresh && tracked.output != output);
        if news {
            tracked.output_at = Some(now);
        }
        news.then_some(health)
    }

    /// What a heartbeat says that changes no health: its output, or `None` if that is the committed one. Answers
    /// whether it is to be committed. That is so now and then only, and what is not is kept here, so that heartbeats
    /// with a counter in them do not write each time.
    pub fn say(&mut self, check: &CheckRef, output: Option<&str>, now: Duration) -> bool {
        let Some(tracked) = self.checks.get_mut(check) else { return output.is_some() };
        let Some(output) = output else {
            tracked.unwritten = None;
            return false;
        };
        let fresh = tracked.output_at.is_none_or(|at| now.saturating_sub(at) >= CHECK_OUTPUT_INTERVAL);
        if fresh {
            tracked.output_at = Some(now);
            tracked.unwritten = None;
        } else {
            tracked.unwritten = Some(output.to_owned());
        }
        fresh
    }

    /// What a heartbeat said last of a check, if it is newer than what is committed.
    pub fn said(&self, check: &CheckRef) -> Option<&str> {
        self.checks.get(check)?.unwritten.as_deref()
    }

    /// Whether a check that lapsed is to be restored still.
    pub fn is_to_be_restored(&self, check: &CheckRef) -> bool {
        let lapsed = self.checks.get(check).is_some_and(|tracked| tracked.silent && tracked.lapsed.is_some());
        lapsed && self.silence.is_doubted(&check.node)
    }

    /// Whether a TTL check is overdue.
    pub fn is_silent(&self, check: &CheckRef) -> bool {
        self.checks.get(check).is_some_and(|tracked| tracked.silent)
    }

    /// When [`Machine::due`] is to be called next.
    pub fn next_deadline(&self) -> Option<Duration> {
        let queued = self.queue.peek().map(|Reverse((at, _))| *at);
        [queued, self.silence.recheck_at()].into_iter().flatten().min()
    }

    /// How it stands, while most nodes are silent and not believed to be gone.
    pub fn preservation(&self) -> Option<Preservation> {
        self.silence.preservation()
    }

    /// The nodes whose heartbeats are all overdue, and whether they are not believed to be gone.
    pub fn silent_nodes(&self) -> impl Iterator<Item = (&str, bool)> {
        self.silence.silent_nodes()
    }

    /// What is to be done now. What is not done (since the store is unavailable, say) comes again later.
    pub fn due(&mut self, now: Duration) -> Vec<Action> {
        let mut overdue = Vec::new();
        let mut actions = Vec::new();
        while let Some(Reverse((at, _))) = self.queue.peek()
            && *at <= now
            && let Some(Reverse((at, name))) = self.queue.pop()
        {
            let Some(tracked) = self.checks.get_mut(&name).filter(|tracked| tracked.queued_at == Some(at))
            else {
                continue;
            };
            tracked.queued_at = None;
            if tracked.is_overdue(now) {
                if !std::mem::replace(&mut tracked.silent, true) {
                    self.silence.silent(&name.node, now);
                }
                tracked.due_at = Some(now + HEALTH_RETRY);
                overdue.push(Arc::clone(&name));
            }
            if tracked.is_lost(now) {
                tracked.due_at = None;
                tracked.counted = false;
                self.silence.remove(&name.node, false, now);
            }
            if tracked.evict_at().is_some_and(|at| at <= now) {
                tracked.evict_again_at = Some(now + HEALTH_RETRY);
                actions.push(match &tracked.instance {
                    Some(id) => {
                        let instance = InstanceRef::new(&*name.namespace, &*name.node, &**id);
                        Action::Evict(instance, tracked.evidence().clone())
                    }
                    None => Action::Forget((*name).clone()),
                });
            }
            if let Some(at) = tracked.next() {
                tracked.queued_at = Some(at);
                self.queue.push(Reverse((at, name)));
            }
        }
        self.judge(overdue, now, &mut actions);
        actions
    }

    fn judge(&mut self, overdue: Vec<Arc<CheckRef>>, now: Duration, actions: &mut Vec<Action>) {
        let recheck = self.silence.recheck_at().is_some_and(|at| at <= now);
        if overdue.is_empty() && !recheck {
            return;
        }
        let (doubted, changed) = self.silence.judge(now);
        for name in overdue {
            let Some(mut tracked) = self.checks.remove(&name) else { continue };
            if doubted {
                tracked.due_at = Some(now + MASS_EXPIRY_RECHECK);
            } else if !changed {
                actions.push(Action::Expire((*name).clone()));
            }
            self.keep(tracked);
        }
        if doubted {
            self.restore(actions);
        } else if changed {
            self.believe_again(now);
        }
    }

    /// What was judged before it was seen how many are silent is taken back.
    fn restore(&self, actions: &mut Vec<Action>) {
        let doubted = self.checks.values().filter(|tracked| {
            tracked.silent && tracked.lapsed.is_some() && self.silence.is_doubted(&tracked.name.node)
        });
        let restored = doubted.filter_map(|tracked| Some(((*tracked.name).clone(), tracked.lapsed?)));
        actions.extend(restored.map(|(name, health)| Action::Restore(name, health)));
    }

    /// Silence is believed again: who may be on the way back gets the full time once more.
    fn believe_again(&mut self, now: Duration) {
        let silent = self.checks.values_mut().filter(|tracked| tracked.silent);
        for tracked in silent {
            tracked.due_at = tracked.due_at.max(tracked.ttl.map(|ttl| now + ttl));
            tracked.lapsed = None;
        }
    }

    /// Puts a check in its place and in the queue, if its next moment is earlier than the one it is queued for. A
    /// heartbeat makes it later: then the queue is left as it is, and looks again when the old moment comes.
    fn keep(&mut self, mut tracked: Box<Tracked>) {
        if let Some(at) = tracked.next()
            && tracked.queued_at.is_none_or(|queued| at < queued)
        {
            tracked.queued_at = Some(at);
            self.queue.push(Reverse((at, Arc::clone(&tracked.name))));
        }
        self.checks.insert(Arc::clone(&tracked.name), tracked);
        self.clear_queue();
    }

    /// Checks that come and go leave entries behind that are met only when their time comes, which may be far: takes
    /// them out when they are the most.
    fn clear_queue(&mut self) {
        if self.queue.len() <= 2 * self.checks.len() + QUEUE_SLACK {
            return;
        }
        let checks = &self.checks;
        self.queue.retain(|Reverse((at, name))| {
            checks.get(name).is_some_and(|tracked| tracked.queued_at == Some(*at))
        });
    }
}

impl Tracked {
    fn new(name: Arc<CheckRef>, ttl: Option<Duration>, now: Duration) -> Self {
        Self {
            name,
            instance: None,
            health: Health::Critical,
            output: String::new(),
            ttl,
            deregister_after: None,
            thresholds: Thresholds::default(),
            streak: Streak::default(),
            due_at: ttl.map(|ttl| now + ttl),
            silent: false,
            counted: false,
            lapsed: None,
            critical_since: None,
            runner: Runner::Server,
            absence: None,
            evict_again_at: None,
            output_at: None,
            unwritten: None,
            queued_at: None,
        }
    }

    fn is_overdue(&self, now: Duration) -> bool {
        self.health != Health::Critical && self.due_at.is_some_and(|at| at <= now)
    }

    /// Whether one that is critical by what was said of it, not by its silence, was not heard from in time.
    fn is_lost(&self, now: Duration) -> bool {
        self.may_be_lost() && self.due_at.is_some_and(|at| at <= now)
    }

    fn may_be_lost(&self) -> bool {
        self.health == Health::Critical && self.counted && !self.silent
    }

    fn evict_at(&self) -> Option<Duration> {
        let since = match &self.absence {
            Some(absence) => absence.since.min(self.critical_since.unwrap_or(absence.since)),
            None if self.runner == Runner::Agent => return None,
            None => self.critical_since?,
        };
        let at = since + self.deregister_after?;
        // Of a node's other checks nothing follows for the node.
        let is_subject = self.instance.is_some() || self.runner == Runner::Presence;
        is_subject.then(|| at.max(self.evict_again_at.unwrap_or_default()))
    }

    /// The check that is critical for so long: itself, or its agent's presence.
    fn evidence(&self) -> &CheckRef {
        self.absence.as_ref().map_or(&self.name, |absence| &absence.check)
    }

    /// When something may be due.
    fn next(&self) -> Option<Duration> {
        let expiry = self.due_at.filter(|_| self.health != Health::Critical || self.may_be_lost());
        [expiry, self.evict_at()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
