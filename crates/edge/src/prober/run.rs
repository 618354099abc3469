//! Follows the registry's checks, looks at each in its time, and reports.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_control::catalog::CheckRef;
use weir_control::health::CheckEvent;
use weir_control::{Control, Error};
use weir_model::registry::{CheckKind, Health};
use weir_probe::{Look, Outcome, Schedule, probe, script};

use super::alias::{self, Elsewhere};

/// Looks under way at one time; further ones wait until one is over. Many, since targets that swallow packets hold
/// theirs for the whole timeout, and must not hold up the others.
pub const LOOKS_MAX: usize = 2048;
/// Programs under way at one time; further ones wait, and their time begins when they do not.
pub const SCRIPTS_MAX: usize = 32;
/// A new check is looked at within this time: whoever registers wants to see it soon, but not all in one instant.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(1);

/// A look that is over.
struct Done {
    check: CheckRef,
    generation: u64,
    began: Instant,
}

/// What carries out the checks of a registry.
pub struct Prober {
    control: Arc<Control>,
    /// Whether it may run programs, and how many more now.
    scripts: Option<Semaphore>,
    elsewhere: Option<Arc<dyn Elsewhere>>,
    /// Within which time those that are there at the start are looked at, where their interval is longer.
    start_within: Duration,
}

/// Looks at all checks of a server's registry until `shutdown` is ready or the control plane stops.
pub async fn run(control: Arc<Control>, shutdown: impl Future<Output = ()>) {
    Prober::new(control).run(shutdown).await;
}

impl Prober {
    /// One that runs no programs and knows no other nodes than the registry's.
    pub fn new(control: Arc<Control>) -> Self {
        Self { control, scripts: None, elsewhere: None, start_within: Duration::MAX }
    }

    /// The same, which looks soon at the checks that are there at the start too: those of one host are few, and what was
    /// known of them before may hold no more.
    #[must_use]
    pub fn soon(self) -> Self {
        Self { start_within: FIRST_LOOK_MAX, ..self }
    }

    /// The same, which may run programs.
    #[must_use]
    pub fn with_scripts(self) -> Self {
        Self { scripts: Some(Semaphore::new(SCRIPTS_MAX)), ..self }
    }

    /// The same, which asks this one about nodes that the registry does not have.
    #[must_use]
    pub fn with_elsewhere(self, elsewhere: Arc<dyn Elsewhere>) -> Self {
        Self { elsewhere: Some(elsewhere), ..self }
    }

    /// Looks at all checks of the registry until `shutdown` is ready or the control plane stops.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let prober = Arc::new(self);
        let control = &prober.control;
        let mut shutdown = std::pin::pin!(shutdown);
        let mut feed = control.checks_to_run();
        let mut schedule = Schedule::<CheckRef>::default();
        let mut looks: JoinSet<Done> = JoinSet::new();
        // Those that are there at the start may be many: a server spreads them over their whole intervals.
        while let Some(Some(event)) = feed.next(control.catalog()).now_or_never() {
            follow(&mut schedule, event, prober.start_within);
        }
        tracing::debug!(checks = schedule.len(), "probing");
        loop {
            while looks.len() < LOOKS_MAX
                && let Some(look) = schedule.take(Instant::now())
            {
                looks.spawn(Arc::clone(&prober).take_look(look));
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

    async fn take_look(self: Arc<Self>, look: Look<CheckRef>) -> Done {
        let began = Instant::now();
        if let Some(outcome) = self.look(&look).await {
            match self.control.report(&look.check, outcome.health, &outcome.output).await {
                // One that was deregistered meanwhile needs no report.
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => tracing::warn!(check = %look.check, %error, "cannot report a check"),
            }
        }
        Done { check: look.check, generation: look.generation, began }
    }

    async fn look(&self, look: &Look<CheckRef>) -> Option<Outcome> {
        match &look.definition.kind {
            CheckKind::Alias { node, instance } => {
                let elsewhere = self.elsewhere.as_ref();
                alias::look(&self.control, elsewhere, &look.check, node, instance.as_deref()).await
            }
            CheckKind::Script { args } => {
                let Some(permits) = &self.scripts else {
                    let output = "script checks are not enabled here".to_owned();
                    return Some(Outcome { health: Health::Critical, output });
                };
                let _permit = permits.acquire().await.ok()?;
                Some(script(args, look.definition.timeout.0).await)
            }
            _ => probe(&look.definition).await,
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
