//! Runs the machine on real time: feeds it from the catalog, and turns its actions into commands.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_model::registry::{Health, Runner};

use super::machine::{Action, Machine};
use super::silence::Preservation;
use super::{CheckFeed, feed};
use crate::bounds::{HEALTH_COMMITS_MAX, PRESERVATION_REMIND, TAKE_OVER_BATCH};
use crate::catalog::{CheckEntry, CheckRef};
use crate::changes::{Change, ChangeEvent, Changes};
use crate::{Control, Error};

/// The machine behind its lock, with its clock.
pub(crate) struct Monitor {
    start: Instant,
    machine: Mutex<Machine>,
    /// The revision up to which the machine knows every change, and with it every sign of life that is a write.
    seen: AtomicU64,
    /// Wakes the driver when a deadline may have come nearer.
    sooner: Notify,
}

impl Monitor {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            machine: Mutex::new(Machine::new()),
            seen: AtomicU64::new(0),
            sooner: Notify::new(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Machine, Duration) -> T) -> T {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let before = machine.next_deadline();
        let done = work(&mut machine, self.start.elapsed());
        let after = machine.next_deadline();
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.sooner.notify_one();
        }
        done
    }

    /// A sign of life of a TTL check.
    pub(crate) fn heard_from(&self, check: &CheckRef) {
        self.with(|machine, now| machine.heard_from(check, now));
    }

    /// Every TTL check has its full time from now on.
    pub(crate) fn grant_full_time(&self) {
        self.with(Machine::grant_full_time);
    }

    /// Whether what a heartbeat says is to be committed, though it changes no health.
    pub(crate) fn say(&self, check: &CheckRef, output: Option<&str>) -> bool {
        self.with(|machine, now| machine.say(check, output, now))
    }

    fn take_over(&self, control: &Control, change: &Change) {
        if change.replicas {
            self.take_over_all(control);
            return;
        }
        let shared = control.settings().replica.is_some();
        let cluster = if shared { control.catalog().state().registry.nodes.len() } else { 0 };
        self.with(|machine, now| {
            machine.see_cluster(cluster);
            for (name, check) in &change.checks {
                see_agent(machine, name, check.as_deref(), now);
                match check {
                    Some(check) if control.owns(name) => {
                        let before = machine.health(name);
                        machine.track(&check.value, now);
                        // What another replica writes of a check that lives comes from a sign of life.
                        let is_alive = check.value.health != Health::Critical;
                        if is_alive && shared && before.is_some_and(|before| before != Health::Critical) {
                            machine.heard_from(name, now);
                        }
                    }
                    _ => machine.forget(name, now),
                }
            }
            // Those that this replica does not judge are not tracked.
            change.told.checks.iter().for_each(|name| machine.heard_from(name, now));
            if change.told.has_gap {
                machine.grant_full_time(now);
            }
        });
        self.seen.fetch_max(change.position.revision, Ordering::Release);
    }

    /// Judges the checks that this replica watches over, and no others. Those that are new to it have full time.
    fn take_over_all(&self, control: &Control) {
        let (before, seen) = (self.seen.load(Ordering::Acquire), control.position().revision);
        let checks = feed::defined_checks(control.catalog());
        let shared = control.settings().replica.is_some();
        let cluster = if shared { control.catalog().state().registry.nodes.len() } else { 0 };
        self.with(|machine, _| machine.see_cluster(cluster));
        let mut present = HashSet::new();
        for some in checks.chunks(TAKE_OVER_BATCH) {
            // Read before the machine is held: heartbeats wait for it meanwhile. All of them at once would be much.
            let read: Vec<_> = some.iter().map(|kept| kept.read()).collect();
            self.with(|machine, now| {
                for check in &read {
                    let name = CheckRef::of(&check.value);
                    see_agent(machine, &name, Some(check), now);
                    if control.owns(&name) {
                        let lived = machine.health(&name).is_some_and(|was| was != Health::Critical);
                        machine.track(&check.value, now);
                        // What was written since is a sign of life, as where changes are looked at one by one.
                        let lives = check.value.health != Health::Critical && check.modify_revision > before;
                        if shared && lived && lives {
                            machine.heard_from(&name, now);
                        }
                        present.insert(name);
                    }
                }
            });
        }
        let told = control.catalog().state().told.is_newer_than(before);
        self.with(|machine, now| {
            let gone: Vec<_> = machine.tracked().filter(|name| !present.contains(name)).cloned().collect();
            for name in gone {
                machine.forget(&name, now);
            }
            // By whom one was heard is not looked up: what was told in between may be gone.
            if told {
                machine.grant_full_time(now);
            }
        });
        self.seen.fetch_max(seen, Ordering::Release);
    }
}

/// Tells the machine of an agent, if the check is an agent's presence.
fn see_agent(machine: &mut Machine, name: &CheckRef, check: Option<&CheckEntry>, now: Duration) {
    match check {
        Some(check) if check.value.runner == Runner::Presence => {
            machine.see_agent(name, check.value.health != Health::Critical, now);
        }
        Some(_) => {}
        // Whose node is deregistered has nothing left that could be.
        None => machine.forget_agent(name),
    }
}

impl Control {
    /// The checks that somebody on this server has to carry out (all but TTL checks), from now on.
    pub fn checks_to_run(&self) -> CheckFeed {
        CheckFeed::new(self.catalog(), self.settings().replica.clone())
    }

    /// How it stands while most nodes are silent and not believed to be gone (self-preservation), and for how long that
    /// has lasted.
    pub fn preservation(&self) -> Option<(Preservation, Duration)> {
        self.monitor.with(|machine, now| {
            let preservation = machine.preservation()?;
            Some((preservation, now.saturating_sub(preservation.since)))
        })
    }

    /// The nodes whose heartbeats are all overdue, by name, and whether they are not believed to be gone.
    pub fn silent_nodes(&self) -> BTreeMap<String, bool> {
        self.monitor.with(|machine, _| {
            machine.silent_nodes().map(|(name, doubted)| (name.to_owned(), doubted)).collect()
        })
    }

    /// For how long the agent of a node has been taken to be gone, if it is; as far as this server has seen it.
    pub fn agent_absence(&self, node: &str) -> Option<Duration> {
        self.monitor.with(|machine, now| Some(now.saturating_sub(machine.agent_absent_since(node)?)))
    }

    /// What a heartbeat said last of a check, if that is newer than what the catalog shows; see [`Control::set_check`].
    pub fn said(&self, check: &CheckRef) -> Option<String> {
        self.monitor.with(|machine, _| machine.said(check).map(str::to_owned))
    }

    /// The outcome of carrying out a check once. The check's health follows when its thresholds are reached; what
    /// changes nothing is not written.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the check was deregistered meanwhile; stop running it.
    pub async fn report(&self, check: &CheckRef, outcome: Health, output: &str) -> Result<(), Error> {
        let entry = self.catalog().check(check).ok_or_else(|| Error::not_found("check", &check.id))?;
        let check = &CheckRef::of(&entry.value);
        let news = self.monitor.with(|machine, now| {
            // Its registration may be visible before the driver has come to it.
            if !machine.knows(check) {
                machine.track(&entry.value, now);
            }
            machine.report(check, outcome, output, now)
        });
        match news {
            // One that another replica carries out by now is for that one to report.
            Some(health) if self.judges(check) => {
                self.commit_health(check, health, Some(output)).await.map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// Judges health until the control plane is gone.
pub(crate) async fn run(control: Weak<Control>, mut changes: Changes) {
    let Some((monitor, mut epoch)) = control.upgrade().map(|control| {
        let epoch = control.position().epoch;
        control.monitor.take_over_all(&control);
        (Arc::clone(&control.monitor), epoch)
    }) else {
        return;
    };
    let mut actions = VecDeque::new();
    let mut commits = JoinSet::new();
    let mut herald = Herald::default();
    loop {
        herald.tell(monitor.with(|machine, now| (machine.preservation(), now)));
        while commits.len() < HEALTH_COMMITS_MAX
            && let Some(action) = actions.pop_front()
        {
            commits.spawn(carry_out(control.clone(), action));
        }
        let deadline = monitor.with(|machine, _| machine.next_deadline());
        tokio::select! {
            event = changes.next() => match event {
                ChangeEvent::Change(change) => match control.upgrade() {
                    Some(control) => monitor.take_over(&control, &change),
                    None => return,
                },
                ChangeEvent::Resync => {
                    let Some(control) = control.upgrade() else { return };
                    let shown = control.position().epoch;
                    if std::mem::replace(&mut epoch, shown) != shown {
                        // First: nothing of the new history is judged by how long it was not heard from in the old one.
                        monitor.grant_full_time();
                        commits.spawn(stay_registered(Arc::clone(&control)));
                    }
                    monitor.take_over_all(&control);
                }
                ChangeEvent::Closed => return,
            },
            Some(_) = commits.join_next() => {}
            () = monitor.sooner.notified() => {}
            // New actions only when the former are under way, so that their number stays bounded.
            () = sleep_until(deadline.map(|at| monitor.start + at)), if actions.is_empty() => {
                actions.extend(monitor.with(Machine::due));
            }
        }
    }
}

/// What was put in place of everything may know nothing of this server, or another address.
async fn stay_registered(control: Arc<Control>) {
    if let Err(error) = control.register_own_node().await {
        tracing::error!(%error, "this server's node is not registered in what has taken the place of everything");
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Says loudly, but not all the time, that silence is doubted.
#[derive(Default)]
struct Herald {
    last: Option<Preservation>,
    told_at: Duration,
}

impl Herald {
    fn tell(&mut self, (preservation, now): (Option<Preservation>, Duration)) {
        match (self.last, preservation) {
            (None, Some(Preservation { doubted, nodes, .. })) => {
                self.told_at = now;
                tracing::error!(
                    silent = doubted,
                    nodes,
                    "SELF-PRESERVATION: the heartbeats of most nodes have stopped at once; nobody is taken to be gone for \
                     that, until they are back (checks that fail still count)"
                );
            }
            (Some(_), Some(Preservation { doubted, nodes, since })) => {
                if now.saturating_sub(self.told_at) >= PRESERVATION_REMIND {
                    self.told_at = now;
                    let lasts_s = now.saturating_sub(since).as_secs();
                    tracing::error!(silent = doubted, nodes, lasts_s, "SELF-PRESERVATION lasts");
                }
            }
            (Some(Preservation { since, nodes, .. }), None) => {
                let lasted_s = now.saturating_sub(since).as_secs();
                tracing::warn!(
                    nodes,
                    lasted_s,
                    "self-preservation is over: whoever is silent now is taken to be gone"
                );
            }
            (None, None) => {}
        }
        self.last = preservation;
    }
}

async fn carry_out(control: Weak<Control>, action: Action) {
    let Some(control) = control.upgrade() else { return };
    // Before the machine is asked: what it has not seen then is not judged.
    let seen = control.monitor.seen.load(Ordering::Acquire);
    let result = match &action {
        // Another replica may judge it by now.
        Action::Expire(check) if !control.judges(check) => return,
        // The check may be an agent's, over which another watches; what it says is looked at with the deregistration.
        Action::Evict(..) if !control.may_judge() => return,
        Action::Forget(check) if !control.judges(check) => return,
        // It may have been heard from since.
        Action::Expire(check) if !control.monitor.with(|machine, _| machine.is_silent(check)) => return,
        Action::Expire(check) => control.expire(check, seen).await.map(drop),
        Action::Restore(check, _) if !control.monitor.with(|machine, _| machine.is_to_be_restored(check)) => {
            return;
        }
        Action::Restore(check, health) => {
            let why = "its heartbeats have stopped together with those of most nodes: not believed";
            control.commit_health(check, *health, Some(why)).await.map(drop)
        }
        Action::Evict(instance, check) => {
            tracing::warn!(%instance, %check, "deregistered: its check was critical for too long");
            control.evict(instance, check).await.map(drop)
        }
        Action::Forget(check) => {
            tracing::warn!(node = check.node, "deregistered: its agent was silent for too long");
            control.forget_node(check).await.map(drop)
        }
    };
    match result {
        Ok(()) | Err(Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(?action, %error, "failed, will be tried again"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_model::registry::{Check, CheckDefinition, CheckKind};
    use weir_model::units::Span;
    use weir_store::Memory;

    use super::*;
    use crate::{Replica, Settings};

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_that_is_not_seen_yet_wins_over_an_expiry() {
        let replica = Replica {
            id: "a".to_owned(),
            http: "a:8500".to_owned(),
            grpc: "a:8502".to_owned(),
            version: "1".to_owned(),
            datacenter: String::new(),
            node: String::new(),
        };
        let settings = Settings { replica: Some(replica), ..Settings::default() };
        let control = Control::start(Arc::new(Memory::new()), settings).await.expect("starts");
        let definition = CheckDefinition {
            kind: CheckKind::Ttl,
            interval: Span(Duration::from_secs(3600)),
            timeout: Span(Duration::ZERO),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: None,
        };
        let check = Check {
            namespace: "default".to_owned(),
            node: "weir".to_owned(),
            id: "c".to_owned(),
            name: "c".to_owned(),
            health: Health::Passing,
            definition: Some(definition),
            ..Check::default()
        };
        let name = CheckRef::of(&check);
        let seen = control.register_check(check).await.expect("registered").position.revision;
        let modified = control.catalog().check(&name).expect("known").modify_revision;
        control.tell(std::slice::from_ref(&name)).await.expect("told");
        control.consistent().await.expect("read");
        let told = control.position().revision;
        assert!(told > seen);
        assert!(!control.expire(&name, seen).await.expect("answered").changed);
        assert_eq!(control.catalog().check(&name).expect("known").modify_revision, modified);
        assert!(control.expire(&name, told).await.expect("answered").changed);
        assert_eq!(control.catalog().check(&name).expect("known").value.health, Health::Critical);
    }
}
