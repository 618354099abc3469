//! One limit at one target: what decides, and what it has decided.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::oneshot::Receiver;
use weir_model::resource::key::KeyPart;
use weir_model::resource::rate_limit::RateLimitSpec;
use weir_model::{Resource, ResourceId, Spec};
use weir_policy::Nanos;
use weir_policy::limit::{Algorithm, LimitConfig, Limiter, Refusal, Tenure, Ticket, Wake, Why};
use weir_policy::quota::{Lease, Wish};

use super::key::{self, Levels};
use super::waiting::{Waiting, Word};
use crate::observe::process_now;
use crate::respond::StaticAnswer;
use crate::snapshot::version;

/// How long nothing must be refused before the next refusal is news again.
const QUIET_S: u32 = 60;

/// A limit in force.
#[derive(Debug)]
pub struct Limit {
    /// The document.
    pub id: ResourceId,
    /// What it limits, as logs and metrics show it: `Service/cart`, or `HTTPRoute/shop#buy`.
    pub target: Arc<str>,
    /// How it is set.
    pub config: LimitConfig,
    /// What refused requests are answered with, where the document says.
    pub(crate) response: Option<Arc<StaticAnswer>>,
    pub(super) key: Box<[KeyPart]>,
    pub(super) levels: Option<Levels>,
    /// The document, for its version.
    resource: Arc<Resource>,
    /// What is made when it is put in force, or first asked.
    live: OnceLock<Live>,
}

/// What goes on when a limit is changed.
#[derive(Debug)]
struct Live {
    limiter: Limiter,
    waiting: Arc<Waiting>,
    counts: Arc<Counts>,
    /// Looked at only if it is shared with other proxies.
    tenure: Arc<Mutex<Tenure>>,
}

impl Live {
    fn new(config: LimitConfig, now: Nanos) -> Self {
        let (limiter, tenure) = (Limiter::new(config, rand::random()), Arc::<Mutex<Tenure>>::default());
        lock(&tenure).begin(&limiter, now);
        Self { limiter, waiting: Arc::default(), counts: Arc::default(), tenure }
    }

    fn going_on(before: &Limit, config: LimitConfig, now: Nanos) -> Self {
        let old = before.live();
        let mut wakes = Vec::new();
        let limiter = Limiter::carry_over(&old.limiter, config, now, &mut wakes);
        wakes.into_iter().for_each(|wake| before.woken(wake, now));
        // Tickets of two limits may look alike.
        let waiting = if limiter.shares(&old.limiter) { old.waiting.clone() } else { Arc::default() };
        let tenure = old.tenure.clone();
        lock(&tenure).begin(&limiter, now);
        Self { limiter, waiting, counts: old.counts.clone(), tenure }
    }
}

fn lock(tenure: &Mutex<Tenure>) -> MutexGuard<'_, Tenure> {
    tenure.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a limit has decided, over all workers.
#[derive(Debug, Default)]
struct Counts {
    admitted: AtomicU64,
    waited: AtomicU64,
    refused: [AtomicU64; Why::ALL.len()],
    shadowed: [AtomicU64; Why::ALL.len()],
    /// When it refused last, and would have refused last in shadow, in seconds and one more; 0: never.
    refused_at_s: [AtomicU32; 2],
}

impl Limit {
    /// A limit as its document has it. It limits nothing yet, and knows nothing of what was before.
    pub(super) fn new(
        id: &ResourceId,
        target: Arc<str>,
        config: LimitConfig,
        (spec, resource): (&RateLimitSpec, &Arc<Resource>),
    ) -> Self {
        Self {
            id: id.clone(),
            target,
            config,
            response: spec.response.as_ref().map(|response| Arc::new(StaticAnswer::new(response))),
            key: key::lowered(&spec.key),
            levels: spec.priority.as_ref().map(Levels::new),
            resource: Arc::clone(resource),
            live: OnceLock::new(),
        }
    }

    /// Puts it in force, going on from what it was before: what is shared with that goes by this one's configuration from
    /// now on.
    pub(super) fn take_effect(&self, previous: Option<&Self>, now: Nanos) {
        self.live.get_or_init(|| match previous {
            Some(old) => Live::going_on(old, self.config.clone(), now),
            None => Live::new(self.config.clone(), now),
        });
    }

    /// What tells this version of the document from others.
    pub(crate) fn version(&self) -> u32 {
        match &self.resource.spec {
            Spec::RateLimit(limit) => version(limit),
            _ => 0,
        }
    }

    fn live(&self) -> &Live {
        self.live.get_or_init(|| Live::new(self.config.clone(), process_now()))
    }

    /// What decides.
    #[inline]
    pub fn limiter(&self) -> &Limiter {
        &self.live().limiter
    }

    /// Whether it bounds what is in flight, so that whoever waits for others must not hold it.
    pub(crate) fn is_of_places(&self) -> bool {
        matches!(self.config.algorithm, Algorithm::Concurrency { .. } | Algorithm::Adaptive { .. })
    }

    /// Whether it gives requests their turns.
    pub(super) fn is_of_turns(&self) -> bool {
        matches!(self.config.algorithm, Algorithm::LeakyBucket { .. })
    }

    /// Tells one that waited how it goes on. If nobody waits for it any more, what it was given is given back.
    pub(super) fn woken(&self, wake: Wake, now: Nanos) {
        let mut wakes = vec![wake];
        while let Some(Wake { ticket, result }) = wakes.pop() {
            if let Some(Ok(grant)) = self.live().waiting.deliver(ticket, result) {
                self.limiter().refund(grant, now, &mut wakes);
            }
        }
    }

    /// Those that wait.
    pub(super) fn waiting(&self) -> &Waiting {
        &self.live().waiting
    }

    /// One that waits leaves. Its word may be under way, or there already: what it was given is given back in any case.
    pub(super) fn leave(&self, ticket: Ticket, mut word: Receiver<Word>, now: Nanos) {
        if self.limiter().cancel(ticket, now) {
            return self.live().waiting.forget(ticket);
        }
        // From here on a word that is under way finds nobody, and goes back.
        word.close();
        if let Ok(Ok(grant)) = word.try_recv() {
            let mut wakes = Vec::new();
            self.limiter().refund(grant, now, &mut wakes);
            wakes.into_iter().for_each(|wake| self.woken(wake, now));
        }
    }

    pub(super) fn count_admitted(&self) {
        self.live().counts.admitted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_waited(&self) {
        self.live().counts.waited.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal, and says so in the log if there was none for a while.
    pub(super) fn count_refused(&self, refusal: &Refusal, is_shadow: bool, now: Nanos) {
        let counts = if is_shadow { &self.live().counts.shadowed } else { &self.live().counts.refused };
        counts[refusal.why as usize].fetch_add(1, Ordering::Relaxed);
        let now_s = u32::try_from(now.0 / 1_000_000_000).unwrap_or(u32::MAX).saturating_add(1);
        let before_s = self.live().counts.refused_at_s[usize::from(is_shadow)].swap(now_s, Ordering::Relaxed);
        if before_s == 0 || now_s.saturating_sub(before_s) > QUIET_S {
            self.say(refusal, is_shadow, now);
        }
    }

    #[cold]
    fn say(&self, refusal: &Refusal, is_shadow: bool, now: Nanos) {
        // To look at every key would hold up the request: what is said is what it was refused by.
        let state = match (self.config.is_keyed(), refusal.quota) {
            (false, _) => self.limiter().state(now).to_string(),
            (true, Some(quota)) => format!("{}: {quota}, for its key", self.config.algorithm.name()),
            (true, None) => format!("{}: no place left, for its key", self.config.algorithm.name()),
        };
        let (limit, target, why) = (&self.id, &*self.target, refusal.why);
        if is_shadow {
            tracing::info!(%limit, target, %why, state, "would begin to refuse requests (shadow)");
        } else {
            tracing::warn!(%limit, target, %why, state, "begins to refuse requests");
        }
    }

    /// Whether it is shared with other proxies: one that this proxy never asks is not.
    pub(crate) fn is_shared(&self) -> bool {
        self.config.global.is_some()
    }

    /// What to ask for of a limit that is shared, by the requests that have come since it was last asked. What it would have
    /// refused in shadow went on, and is among those that were let through.
    pub(crate) fn wish(&self, now: Nanos) -> Wish {
        let refused: u64 = self.refused().map(|(_, refused, _)| refused).sum();
        let live = self.live();
        lock(&live.tenure).wish(self.admitted() + refused, &self.config, now)
    }

    /// Whether a share of it was ever asked for.
    pub(crate) fn was_asked_for(&self) -> bool {
        lock(&self.live().tenure).was_asked_for()
    }

    /// Takes the answer to what was asked for at a moment. Gives whether there is less now than before.
    pub(crate) fn take_lease(&self, lease: Option<Lease>, holders: u32, asked: Nanos, now: Nanos) -> bool {
        let live = self.live();
        lock(&live.tenure).take(lease, holders, asked, &live.limiter, now)
    }

    /// Requests that it let through, since it exists.
    pub fn admitted(&self) -> u64 {
        self.live().counts.admitted.load(Ordering::Relaxed)
    }

    /// Requests that had to wait for a place, since it exists.
    pub fn waited(&self) -> u64 {
        self.live().counts.waited.load(Ordering::Relaxed)
    }

    /// Requests that it refused, by why; and those that it would have refused, being in shadow.
    pub fn refused(&self) -> impl Iterator<Item = (Why, u64, u64)> {
        Why::ALL.into_iter().enumerate().map(|(index, why)| {
            let count = |counts: &[AtomicU64]| counts[index].load(Ordering::Relaxed);
            (why, count(&self.live().counts.refused), count(&self.live().counts.shadowed))
        })
    }
}
