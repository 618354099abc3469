//! One breaker of a document, and each of the machines that it has: one for its target, or one for each rule or instance.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_model::resource::traffic_policy::{Breaker as Spec, BreakerLevel};
use weir_model::{Resource, ResourceId, ServiceRef, Spec as Document};
use weir_policy::Nanos;
use weir_policy::breaker::{BreakerConfig, BreakerState, Cause, Phase, SharedBreaker, Transition};

use super::cached::Cached;
use crate::respond::StaticAnswer;
use crate::snapshot::version;

/// Most machines of one breaker, for rules or instances. What comes beyond is not broken off.
const BRAKES_MAX: usize = 4096;

/// A breaker as its document has it, for one target.
#[derive(Debug)]
pub struct Breaker {
    /// The document.
    pub id: ResourceId,
    /// Which of its breakers.
    pub index: usize,
    /// What it is for, as logs and metrics show it: `Service/cart`.
    pub target: Arc<str>,
    /// What it breaks.
    pub level: BreakerLevel,
    /// When it opens.
    pub config: BreakerConfig,
    /// What calls get that it refuses.
    pub instead: Instead,
    /// The document, for its version.
    resource: Arc<Resource>,
    brakes: Arc<Brakes>,
}

/// What a call gets that is refused.
#[derive(Clone, Debug, Default)]
pub enum Instead {
    /// 503.
    #[default]
    Refusal,
    /// An answer that stands in the document.
    Answer(Answer),
    /// It goes to another service.
    Service(ServiceRef),
    /// An earlier answer to the same request, or 503 where there is none.
    Cached(Cached),
}

/// An answer that stands in a document.
#[derive(Clone, Debug)]
pub struct Answer(pub(crate) Arc<StaticAnswer>);

impl Instead {
    fn of(spec: &Spec, namespace: &str, previous: Option<&Self>) -> Self {
        let fallback = spec.fallback.as_ref();
        if let Some(cached) = fallback.and_then(|fallback| fallback.cached.as_ref()) {
            return Self::Cached(Cached::new(cached, previous.and_then(Self::cached)));
        }
        if let Some(response) = fallback.and_then(|fallback| fallback.response.as_ref()) {
            return Self::Answer(Answer(Arc::new(StaticAnswer::new(response))));
        }
        match fallback.and_then(|fallback| fallback.service.as_ref()) {
            Some(service) => {
                let namespace = service.namespace.as_deref().unwrap_or(namespace);
                Self::Service(ServiceRef::new(namespace, &*service.name))
            }
            None => Self::Refusal,
        }
    }

    /// What keeps earlier answers, if anything does.
    pub fn cached(&self) -> Option<&Cached> {
        match self {
            Self::Cached(cached) => Some(cached),
            Self::Refusal | Self::Answer(_) | Self::Service(_) => None,
        }
    }
}

/// The machines of one breaker, by the rule's label or the instance's id; made when they are first needed.
#[derive(Debug, Default)]
struct Brakes(Mutex<HashMap<Arc<str>, Arc<Brake>>>);

impl Brakes {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Brake>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a machine is needed for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// Calls of so many workers: one that is not there yet is made, and stays.
    Call {
        /// How many.
        workers: usize,
    },
    /// To see how it stands: of one that is not there yet, how it would begin. Nothing is left behind.
    Look,
}

impl Breaker {
    /// A breaker as its document has it, going on from what it was before. What another level or strategy has found says
    /// nothing of this one, which begins anew; earlier answers stay in any case.
    pub(super) fn new(
        id: &ResourceId,
        index: usize,
        target: Arc<str>,
        spec: &Spec,
        resource: &Arc<Resource>,
        previous: Option<&Self>,
    ) -> Self {
        let config = BreakerConfig::from_spec(spec);
        let is_like = |old: &&Self| old.is_like(spec.level, &config);
        let brakes = previous.filter(is_like).map(|old| old.brakes.clone()).unwrap_or_default();
        Self {
            id: id.clone(),
            index,
            target,
            level: spec.level,
            config,
            instead: Instead::of(spec, &id.namespace, previous.map(|old| &old.instead)),
            resource: Arc::clone(resource),
            brakes,
        }
    }

    /// Whether what it has found says something of a breaker of this level and configuration: whatever its numbers.
    pub(super) fn is_like(&self, level: BreakerLevel, config: &BreakerConfig) -> bool {
        self.level == level && self.config.strategy.is_like(&config.strategy)
    }

    /// The machine for a part: a rule's label, an instance's id, or nothing for the target as a whole. None where there are
    /// too many.
    pub(super) fn brake(&self, part: &str, need: Need) -> Option<Arc<Brake>> {
        let mut brakes = self.brakes.lock();
        if let Some(found) = brakes.get(part) {
            return Some(found.clone());
        }
        let workers = match need {
            Need::Call { workers } => workers,
            Need::Look => return Some(Arc::new(Brake::new(part.into(), self.config.clone(), 1))),
        };
        if brakes.len() >= BRAKES_MAX {
            // Those that nobody holds are for rules and instances that are gone.
            brakes.retain(|_, brake| Arc::strong_count(brake) > 1);
        }
        (brakes.len() < BRAKES_MAX).then(|| {
            let part: Arc<str> = part.into();
            let made = Arc::new(Brake::new(part.clone(), self.config.clone(), workers));
            brakes.insert(part, made.clone());
            made
        })
    }

    /// Every machine that was needed so far, in order.
    pub fn all(&self) -> Vec<Arc<Brake>> {
        let mut all: Vec<Arc<Brake>> = self.brakes.lock().values().cloned().collect();
        all.sort_by(|a, b| a.part.cmp(&b.part));
        all
    }

    /// Puts the configuration in force.
    pub(super) fn take_effect(&self, now: Nanos) {
        for brake in self.all() {
            if brake.breaker.config() != self.config {
                brake.breaker.reconfigure(self.config.clone(), now);
            }
        }
    }

    /// What tells this version of what the document says of it from others.
    pub(crate) fn version(&self) -> u32 {
        match &self.resource.spec {
            Document::TrafficPolicy(policy) => policy.breakers.get(self.index).map_or(0, version),
            _ => 0,
        }
    }

    /// The document and which of its breakers, as metrics show it: `TrafficPolicy/cart#0`.
    pub fn name(&self) -> String {
        format!("{}#{}", self.id, self.index)
    }
}

/// A machine: what decides, and what it has decided.
#[derive(Debug)]
pub struct Brake {
    /// The rule or the instance that it is for; empty for all of the target.
    pub part: Arc<str>,
    pub(super) breaker: SharedBreaker,
    refused: AtomicU64,
    shadowed: AtomicU64,
    changes: [AtomicU64; Change::ALL.len()],
    /// What changed it last, for explanations.
    last: Mutex<Option<Transition>>,
}

/// What a breaker changed to, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Change {
    /// It refuses calls.
    Open,
    /// It lets a few through.
    HalfOpen,
    /// It lets all through, by and by.
    Closed,
    /// A throttle began or ended to refuse calls.
    Throttle,
}

impl Change {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Open, Self::HalfOpen, Self::Closed, Self::Throttle];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Closed => "closed",
            Self::Throttle => "throttle",
        }
    }

    fn of(transition: &Transition) -> Self {
        match transition.to {
            to if to == transition.from => Self::Throttle,
            Phase::Open => Self::Open,
            Phase::HalfOpen => Self::HalfOpen,
            Phase::Closed => Self::Closed,
        }
    }
}

impl Brake {
    fn new(part: Arc<str>, config: BreakerConfig, workers: usize) -> Self {
        Self {
            part,
            breaker: SharedBreaker::new(config, workers),
            refused: AtomicU64::new(0),
            shadowed: AtomicU64::new(0),
            changes: Default::default(),
            last: Mutex::default(),
        }
    }

    /// Counts and logs what has changed.
    #[cold]
    pub(super) fn tell(&self, of: &Breaker, transition: &Transition) {
        self.changes[Change::of(transition) as usize].fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(*transition);
        let (policy, target, part, shadow) = (of.name(), &*of.target, &*self.part, of.config.shadow);
        // A throttle stays closed, whatever it refuses.
        let is_good =
            transition.to == Phase::Closed && !matches!(transition.cause, Cause::ThrottleBegan { .. });
        if is_good {
            tracing::info!(policy, target, part, shadow, "breaker {transition}");
        } else {
            tracing::warn!(policy, target, part, shadow, "breaker {transition}");
        }
    }

    pub(super) fn count_refused(&self, is_shadow: bool) {
        let count = if is_shadow { &self.shadowed } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// How it stands.
    pub fn state(&self, now: Nanos) -> BreakerState {
        self.breaker.state(now)
    }

    /// What changed it last; none as long as nothing did.
    pub(super) fn last_change(&self) -> Option<Transition> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls that it refused, and those that only shadow has let through.
    pub fn refused(&self) -> (u64, u64) {
        (self.refused.load(Ordering::Relaxed), self.shadowed.load(Ordering::Relaxed))
    }

    /// How often it changed to what.
    pub fn changes(&self) -> impl Iterator<Item = (Change, u64)> {
        Change::ALL.into_iter().map(|to| (to, self.changes[to as usize].load(Ordering::Relaxed)))
    }
}
