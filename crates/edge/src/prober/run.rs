//! Follows the registry's checks, looks at each in its time, and reports.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_control::catalog::CheckRef;
use weir_control::health::CheckEvent;
use weir_control::{Control, Error};
use weir_probe::{Look, Schedule, probe};

/// Looks under way at one time; further ones wait until one is over. Many, since targets that swallow packets hold
/// theirs for the whole timeout, and must not hold up the others.
pub const LOOKS_MAX: usize = 2048;
/// A new check is looked at within this time: whoever registers wants to see it soon, but not all in one instant.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(1);

/// A look that is over.
struct Done {
    check: CheckRef,
    generation: u64,
    began: Instant,
}

/// Looks at all http and tcp checks of the registry until `shutdown` is ready or the control plane stops.
pub async fn run(control: Arc<Control>, shutdown: impl Future<Output = ()>) {
    let mut shutdown = std::pin::pin!(shutdown);
    let mut feed = control.checks_to_run();
    let mut schedule = Schedule::<CheckRef>::default();
    let mut looks: JoinSet<Done> = JoinSet::new();
    // Those that are there at the start may be many: they are spread over their whole intervals.
    while let Some(Some(event)) = feed.next(control.catalog()).now_or_never() {
        follow(&mut schedule, event, Duration::MAX);
    }
    tracing::debug!(checks = schedule.len(), "probing");
    loop {
        while looks.len() < LOOKS_MAX
            && let Some(look) = schedule.take(Instant::now())
        {
            looks.spawn(take_look(Arc::clone(&control), look));
        }
        let due = schedule.next().filter(|_| looks.len() < LOOKS_MAX);
        tokio::select! {
            () = &mut shutdown => return,
            event = feed.next(control.catalog()) => match event {
                Some(event) => follow(&mut schedule, event, FIRST_LOOK_MAX),
                None => return,
            },
            Some(done) = looks.join_next() => match done {
                Ok(done) => schedule.looked(&done.check, done.generation, done.began, Instant::now()),
                Err(error) => tracing::error!(%error, "a look at a check broke off; the check is not looked at again"),
            },
            () = sleep_until(due) => {}
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn follow(schedule: &mut Schedule<CheckRef>, event: CheckEvent, first_look_max: Duration) {
    match event {
        CheckEvent::Stop(check) => schedule.remove(&check),
        CheckEvent::Run(entry) => {
            if let Some(definition) = &entry.value.definition {
                let pause = definition.interval.0.min(first_look_max).mul_f64(rand::random::<f64>());
                schedule.put(CheckRef::of(&entry.value), definition, Instant::now() + pause);
            }
        }
    }
}

async fn take_look(control: Arc<Control>, look: Look<CheckRef>) -> Done {
    let began = Instant::now();
    if let Some(outcome) = probe(&look.definition).await {
        match control.report(&look.check, outcome.health, &outcome.output).await {
            // One that was deregistered meanwhile needs no report.
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(check = %look.check, %error, "cannot report a check"),
        }
    }
    Done { check: look.check, generation: look.generation, began }
}
