//! Follows the registry's checks, looks at each in its time, and reports.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
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
/// Looks by UDP under way at one time, counted apart: one at a target that is well takes all of its time, since nobody answers,
/// and must not hold up those that do not.
pub const DATAGRAMS_MAX: usize = 1024;
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
        let mut lanes = Lanes::new(LOOKS_MAX, DATAGRAMS_MAX);
        // Those that are there at the start may be many: a server spreads them over their whole intervals.
        while let Some(Some(event)) = feed.next(control.catalog()).now_or_never() {
            lanes.follow(event, prober.start_within);
        }
        let Lanes { ordinary, datagrams } = &lanes;
        tracing::debug!(checks = ordinary.schedule.len() + datagrams.schedule.len(), "probing");
        loop {
            lanes.ordinary.begin(&prober);
            lanes.datagrams.begin(&prober);
            let due = lanes.due();
            tokio::select! {
                () = &mut shutdown => return,
                event = feed.next(control.catalog()) => match event {
                    Some(event) => lanes.follow(event, FIRST_LOOK_MAX),
                    None => return,
                },
                Some(done) = lanes.ordinary.looks.join_next() => lanes.ordinary.looked(done),
                Some(done) = lanes.datagrams.looks.join_next() => lanes.datagrams.looked(done),
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

/// Checks that share a bound on the looks under way.
struct Lane {
    schedule: Schedule<CheckRef>,
    looks: JoinSet<Done>,
    looks_max: usize,
}

impl Lane {
    fn new(looks_max: usize) -> Self {
        Self { schedule: Schedule::default(), looks: JoinSet::new(), looks_max }
    }

    /// Begins what is due, as far as there is room.
    fn begin(&mut self, prober: &Arc<Prober>) {
        while self.looks.len() < self.looks_max
            && let Some(look) = self.schedule.take(Instant::now())
        {
            self.looks.spawn(Arc::clone(prober).take_look(look));
        }
    }

    /// When the next look may begin; none while there is no room for one.
    fn due(&self) -> Option<Instant> {
        self.schedule.next().filter(|_| self.looks.len() < self.looks_max)
    }

    fn looked(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(done) => self.schedule.looked(&done.check, done.generation, done.began, Instant::now()),
            Err(error) => {
                tracing::error!(%error, "a look at a check broke off; the check is not looked at again");
            }
        }
    }
}

/// All checks: those that wait for nobody to answer apart from all others.
struct Lanes {
    ordinary: Lane,
    datagrams: Lane,
}

impl Lanes {
    fn new(looks_max: usize, datagrams_max: usize) -> Self {
        Self { ordinary: Lane::new(looks_max), datagrams: Lane::new(datagrams_max) }
    }

    fn due(&self) -> Option<Instant> {
        [self.ordinary.due(), self.datagrams.due()].into_iter().flatten().min()
    }

    fn follow(&mut self, event: CheckEvent, first_look_max: Duration) {
        match event {
            CheckEvent::Stop(check) => self.remove(&check),
            CheckEvent::Run(entry) => {
                let Some(definition) = &entry.value.definition else { return };
                let check = CheckRef::of(&entry.value);
                // It may have been of another kind.
                self.remove(&check);
                let pause = definition.interval.0.min(first_look_max).mul_f64(rand::random::<f64>());
                let lane = match definition.kind {
                    CheckKind::Udp { .. } => &mut self.datagrams,
                    _ => &mut self.ordinary,
                };
                lane.schedule.put(check, definition, Instant::now() + pause);
            }
        }
    }

    fn remove(&mut self, check: &CheckRef) {
        self.ordinary.schedule.remove(check);
        self.datagrams.schedule.remove(check);
    }
}

#[cfg(test)]
mod tests {
    use weir_control::Settings;
    use weir_model::registry::{Check, CheckDefinition};
    use weir_model::units::Span;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn check(id: &str, kind: CheckKind) -> Check {
        let definition = CheckDefinition {
            kind,
            interval: Span(Duration::from_millis(100)),
            timeout: Span(PATIENCE * 10),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: None,
        };
        let (namespace, node) = ("default".to_owned(), "weir".to_owned());
        Check {
            namespace,
            node,
            id: id.to_owned(),
            name: id.to_owned(),
            definition: Some(definition),
            ..Check::default()
        }
    }

    #[tokio::test]
    async fn those_that_nobody_answers_hold_up_no_others() {
        let control = Control::start(Arc::new(weir_store::Memory::new()), Settings::default()).await.unwrap();
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let udp = || CheckKind::Udp { address: silent.local_addr().unwrap().to_string() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = CheckKind::Tcp { address: listener.local_addr().unwrap().to_string() };
        for check in [check("a", udp()), check("b", udp()), check("c", tcp.clone())] {
            control.register_check(check).await.unwrap();
        }
        let prober = Arc::new(Prober::new(Arc::clone(&control)));
        let mut lanes = Lanes::new(1, 1);
        let mut feed = control.checks_to_run();
        while let Some(Some(event)) = feed.next(control.catalog()).now_or_never() {
            lanes.follow(event, Duration::ZERO);
        }
        lanes.datagrams.begin(&prober);
        lanes.ordinary.begin(&prober);
        assert_eq!((lanes.datagrams.looks.len(), lanes.datagrams.due()), (1, None), "the other one waits");
        let looked = tokio::time::timeout(PATIENCE, lanes.ordinary.looks.join_next()).await.unwrap().unwrap();
        assert_eq!(&*looked.as_ref().unwrap().check.id, "c");
        lanes.ordinary.looked(looked);
        assert!(lanes.due().is_some(), "it is looked at again, though no place is left by UDP");
        // One that becomes another kind leaves nothing where it was.
        for id in ["a", "b"] {
            control.register_check(check(id, tcp.clone())).await.unwrap();
        }
        while let Some(Some(event)) = feed.next(control.catalog()).now_or_never() {
            lanes.follow(event, Duration::ZERO);
        }
        assert_eq!((lanes.ordinary.schedule.len(), lanes.datagrams.schedule.len()), (3, 0));
    }
}
