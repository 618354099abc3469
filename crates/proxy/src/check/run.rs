//! The task that carries checks out.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use weir_probe::{Look, Outcome, Schedule, probe};

use super::plan::plan;
use super::table::Step;
use super::{CheckKey, FIRST_LOOK_MAX, LOOK_GAP, LOOKS_MAX};
use crate::observe::process_now;
use crate::snapshot::Snapshot;
use crate::source::Shared;

/// How often it is looked whether something else is to be checked.
const PLAN_EVERY: Duration = Duration::from_millis(250);
/// The least time between two snapshots that are made because verdicts have changed.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// A look that is over.
struct Done {
    look: Look<CheckKey>,
    outcome: Option<Outcome>,
    began: Instant,
}

/// Checks what is to be checked, for ever. Must run in a tokio runtime.
pub(crate) async fn run(shared: &Shared) {
    let mut runner = Runner::default();
    let mut looks: JoinSet<Done> = JoinSet::new();
    let mut planning = tokio::time::interval(PLAN_EVERY);
    let mut flushing = tokio::time::interval(FLUSH_EVERY);
    for interval in [&mut planning, &mut flushing] {
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        let due = runner.next().filter(|_| looks.len() < LOOKS_MAX);
        tokio::select! {
            _ = planning.tick() => runner.plan(shared),
            _ = flushing.tick(), if !runner.schedule.is_empty() => shared.checks.flush(),
            Some(done) = looks.join_next() => match done {
                Ok(done) => runner.looked(shared, &done),
                Err(error) => tracing::error!(%error, "a look at an endpoint broke off; it is not looked at again"),
            },
            () = sleep_until(due) => if let Some(look) = runner.take() {
                looks.spawn(take_look(look));
            }
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What a look may take, whatever was registered: slow ones must not hold up all others.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);

async fn take_look(look: Look<CheckKey>) -> Done {
    let began = Instant::now();
    let mut definition = look.definition.clone();
    definition.timeout.0 = definition.timeout.0.min(LOOK_TIME_MAX);
    let outcome = probe(&definition).await;
    Done { look, outcome, began }
}

#[derive(Default)]
struct Runner {
    schedule: Schedule<CheckKey>,
    /// When the last look began.
    last: Option<Instant>,
    /// What the plan was last made for, and whether the control plane was gone then.
    planned_for: Option<(Arc<Snapshot>, bool)>,
}

impl Runner {
    /// When the next look may begin.
    fn next(&self) -> Option<Instant> {
        let due = self.schedule.next()?;
        Some(self.last.map_or(due, |last| due.max(last + LOOK_GAP)))
    }

    fn take(&mut self) -> Option<Look<CheckKey>> {
        let now = Instant::now();
        let look = self.schedule.take(now)?;
        self.last = Some(now);
        Some(look)
    }

    fn plan(&mut self, shared: &Shared) {
        let away = shared.checks.is_away(process_now());
        let snapshot = shared.snapshot.load_full();
        // While the control plane is gone it matters what is used, too.
        let planned_for = self.planned_for.as_ref();
        if planned_for.is_some_and(|(before, was_away)| !was_away && !away && Arc::ptr_eq(before, &snapshot))
        {
            return;
        }
        let steps = shared.checks.follow(plan(&snapshot, away, shared.now_s()), away);
        self.planned_for = Some((snapshot, away));
        let now = Instant::now();
        for step in steps {
            match step {
                Step::End(check) => self.schedule.remove(&check),
                Step::Begin(check, definition) => {
                    let within = definition.interval.0.min(FIRST_LOOK_MAX);
                    let pause = within.mul_f64(rand::rng().random::<f64>());
                    self.schedule.put(check, &definition, now + pause);
                }
            }
        }
        // When nothing is looked at any more, nothing else tells the source.
        shared.checks.flush();
    }

    fn looked(&mut self, shared: &Shared, done: &Done) {
        let Done { look, outcome, began } = done;
        if let Some(outcome) = outcome {
            let seen = (outcome.health, &*outcome.output);
            shared.checks.report(&look.check, &look.definition, seen, process_now());
        }
        self.schedule.looked(&look.check, look.generation, *began, Instant::now());
    }
}
