//! The task that carries checks out.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use weir_model::registry::CheckDefinition;
use weir_model::units::Span;
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
                looks.spawn(take_look(look, LOOK_TIME_MAX));
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

async fn take_look(look: Look<CheckKey>, most: Duration) -> Done {
    let began = Instant::now();
    let outcome = probe(&bounded(&look.definition, most)).await;
    Done { look, outcome, began }
}

/// The same check, in no more time than a look may take.
fn bounded(definition: &CheckDefinition, most: Duration) -> CheckDefinition {
    let timeout = Span(definition.timeout.0.min(most));
    CheckDefinition { timeout, ..definition.clone() }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use weir_model::ServiceRef;
    use weir_model::registry::{CheckKind, Health};

    use super::super::EndpointKey;
    use super::*;

    fn definition(address: &str, timeout: Duration) -> CheckDefinition {
        CheckDefinition {
            kind: CheckKind::Tcp { address: address.to_owned() },
            interval: Span(Duration::from_secs(60)),
            timeout: Span(timeout),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: None,
        }
    }

    #[test]
    fn no_look_takes_longer_than_it_may() {
        let check = |timeout: Duration, expected: Duration| {
            let before = definition("127.0.0.1:1", timeout);
            let after = bounded(&before, LOOK_TIME_MAX);
            assert_eq!(after, CheckDefinition { timeout: Span(expected), ..before });
        };
        check(Duration::from_secs(600), LOOK_TIME_MAX);
        check(LOOK_TIME_MAX, LOOK_TIME_MAX);
        check(Duration::from_millis(200), Duration::from_millis(200));
    }

    #[tokio::test]
    async fn a_look_goes_by_the_bounded_definition_and_gives_its_own_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let definition = definition(&address, Duration::from_secs(600));
        let key = EndpointKey { service: ServiceRef::new("default", "cart"), endpoint: "a/1".into() };
        let look = Look { check: (key, 0), definition: definition.clone(), generation: 7 };
        let done = take_look(look, LOOK_TIME_MAX).await;
        assert_eq!(done.outcome.unwrap().health, Health::Passing);
        assert_eq!((done.look.definition, done.look.generation), (definition, 7));
    }

    /// It takes the connection, and says nothing for the ten minutes that the check would wait.
    #[tokio::test]
    async fn a_silent_target_is_given_up_when_a_look_is_over() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kind = CheckKind::Http {
            url: format!("http://{}/", listener.local_addr().unwrap()),
            method: "GET".to_owned(),
            headers: BTreeMap::new(),
            body: String::new(),
        };
        let definition = CheckDefinition { kind, ..definition("", Duration::from_secs(600)) };
        let key = EndpointKey { service: ServiceRef::new("default", "cart"), endpoint: "a/1".into() };
        let look = Look { check: (key, 0), definition, generation: 1 };
        let most = Duration::from_millis(100);
        let done = tokio::time::timeout(Duration::from_secs(60), take_look(look, most)).await.unwrap();
        assert!(done.began.elapsed() >= most);
        let outcome = done.outcome.unwrap();
        assert_eq!(outcome.health, Health::Critical, "{}", outcome.output);
        let (_held, _) = listener.accept().await.unwrap();
    }
}
