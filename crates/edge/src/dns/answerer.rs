//! From a packet to the packet that answers it: the same for every transport.
//!
//! ```text
//! decode -> zone ──> compose                        at once, for all names of our own
//!              └──> recursors -> compose            later, for others; bounded
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use domain::base::iana::exterr::ExtendedErrorCode;
use domain::base::iana::{OptRcode, Rcode, Rtype};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bounds::RECURSIONS_MAX;
use super::compose::{Composed, Transport, compose, refusal};
use super::query::{Decoded, Query, decode};
use super::record::{Answer, DnsName};
use super::recursor::{Recursors, Reply};
use super::stats::{DnsStats, Gauge, Source};
use super::zone::{Outcome, Registry, Zone};

/// What answers queries.
pub(super) struct Answerer<G> {
    registry: Arc<G>,
    zone: Zone,
    recursors: Recursors,
    /// If others are asked for all names, whether they are asked now.
    relay: Option<Relay>,
    permits: Arc<Semaphore>,
    stats: Arc<DnsStats>,
}

/// How recursors are asked for all names: it is asked before each query whether they may be, and says why not.
#[derive(Clone)]
pub struct Relay(Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

impl Relay {
    /// Asks them while `may` allows it; else queries are answered with SERVFAIL and its reason.
    pub fn while_it(may: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(may))
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Relay").finish_non_exhaustive()
    }
}

/// What a packet leads to.
pub(super) enum Step {
    /// This is sent.
    Reply(Vec<u8>),
    /// Others are asked first.
    Pending(Box<Pending>),
    /// Nothing.
    Silence,
}

/// A query that others are asked about.
pub(super) struct Pending {
    query: Query,
    transport: Transport,
    wanted: Wanted,
    began: Instant,
    _permit: OwnedSemaphorePermit,
    _counted: Gauge,
}

/// What others are asked for.
enum Wanted {
    /// The answer.
    All,
    /// Where the alias in this answer leads.
    Target(Answer, DnsName),
}

impl<G: Registry> Answerer<G> {
    pub(super) fn new(registry: Arc<G>, zone: Zone, recursors: Recursors, stats: Arc<DnsStats>) -> Self {
        let permits = Arc::new(Semaphore::new(RECURSIONS_MAX));
        Self { registry, zone, recursors, relay: None, permits, stats }
    }

    /// The same, which asks others for all names if told to.
    pub(super) fn relaying(self, relay: Option<Relay>) -> Self {
        Self { relay, ..self }
    }

    /// What it counts.
    pub(super) fn stats(&self) -> &Arc<DnsStats> {
        &self.stats
    }

    /// Answers what can be answered from the registry, without waiting for anything.
    pub(super) fn begin(&self, packet: &[u8], transport: Transport, began: Instant) -> Step {
        let query = match decode(packet) {
            Decoded::Query(query) => query,
            Decoded::Refused(refused) => {
                let rtype = refused.question.as_ref().map(|question| question.1);
                let composed = refusal(&refused, self.recurses());
                return Step::Reply(self.counted(composed, rtype, Source::Here, began));
            }
            Decoded::Ignored(why) => {
                self.stats.ignore(why);
                return Step::Silence;
            }
        };
        let asks_others = self.recursors.any() && (query.head.recursion_desired || self.relay.is_some());
        let (answer, wanted) = match self.resolve(&query) {
            Outcome::Elsewhere(_) if asks_others => (Answer::of(Rcode::SERVFAIL), Wanted::All),
            Outcome::Alias(answer, target) if asks_others && query.rtype != Rtype::CNAME => {
                (answer.clone(), Wanted::Target(answer, target))
            }
            Outcome::Answer(answer) | Outcome::Elsewhere(answer) | Outcome::Alias(answer, _) => {
                return Step::Reply(self.composed(&query, &answer, transport, Source::Here, began));
            }
        };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.stats.refuse_recursion();
            return Step::Reply(self.composed(&query, &answer, transport, Source::Here, began));
        };
        let counted = self.stats.recursion();
        let pending = Pending { query, transport, wanted, began, _permit: permit, _counted: counted };
        Step::Pending(Box::new(pending))
    }

    /// Asks others, within a bounded time.
    pub(super) async fn finish(&self, pending: Box<Pending>) -> Vec<u8> {
        let Pending { query, transport, wanted, began, .. } = &*pending;
        let answer = match wanted {
            Wanted::All => match self.asked(query, *transport).await {
                Some(reply) => {
                    let rcode = OptRcode::from_rcode(reply.rcode);
                    self.stats.answered(Some(query.rtype), rcode, Source::Recursor, began.elapsed());
                    return reply.bytes;
                }
                None => self.unanswered(),
            },
            Wanted::Target(answer, target) => {
                let mut answer = answer.clone();
                answer.answers.extend(self.recursors.records(target, query.rtype).await);
                answer
            }
        };
        self.composed(query, &answer, *transport, Source::Recursor, *began)
    }

    /// The answer of others, for all names or for those that are not here.
    async fn asked(&self, query: &Query, transport: Transport) -> Option<Reply> {
        match &self.relay {
            Some(relay) => self.recursors.relay(query, transport, || relay.0().is_ok()).await,
            None => self.recursors.forward(query, transport).await,
        }
    }

    /// Whether answers say that recursion is available. Who relays cannot tell: that is for those to say who are asked, in their
    /// answers, and not in those that are made because they are silent.
    fn recurses(&self) -> bool {
        self.recursors.any() && self.relay.is_none()
    }

    /// What a query gets that nobody who was asked answers.
    fn unanswered(&self) -> Answer {
        // An agent asks those who alone know; a server asks those who ask others.
        let why_code = match self.relay {
            Some(_) => ExtendedErrorCode::NO_REACHABLE_AUTHORITY,
            None => ExtendedErrorCode::NETWORK_ERROR,
        };
        let refused = self.relay.as_ref().and_then(|relay| relay.0().err());
        Answer {
            why: Some(refused.unwrap_or_else(|| self.recursors.problem())),
            why_code,
            ..Answer::of(Rcode::SERVFAIL)
        }
    }

    /// The zone's word on a query, aliases within it followed.
    fn resolve(&self, query: &Query) -> Outcome {
        if let Some(relay) = &self.relay {
            return match relay.0() {
                Ok(()) => Outcome::Elsewhere(Answer::of(Rcode::SERVFAIL)),
                Err(why) => Outcome::Answer(Answer { why: Some(why), ..Answer::of(Rcode::SERVFAIL) }),
            };
        }
        let mut rng = rand::rng();
        let mut outcome = self.zone.answer(&*self.registry, &query.name, query.rtype, &mut rng);
        for _ in 0..super::bounds::ALIASES_MAX {
            let Outcome::Alias(mut answer, target) = outcome else { return outcome };
            if query.rtype == Rtype::CNAME {
                return Outcome::Answer(answer);
            }
            let so_far = std::mem::take(&mut answer.answers);
            let joined = |next: Answer| Answer { answers: [so_far, next.answers].concat(), ..next };
            outcome = match self.zone.answer(&*self.registry, &target, query.rtype, &mut rng) {
                // It leads out of here.
                Outcome::Elsewhere(_) => return Outcome::Alias(joined(answer), target),
                Outcome::Answer(next) => return Outcome::Answer(joined(next)),
                Outcome::Alias(next, further) => Outcome::Alias(joined(next), further),
            };
        }
        // Aliases that lead round and round.
        Outcome::Answer(Answer::of(Rcode::SERVFAIL))
    }

    fn composed(
        &self,
        query: &Query,
        answer: &Answer,
        transport: Transport,
        source: Source,
        began: Instant,
    ) -> Vec<u8> {
        let composed = compose(query, answer, transport, self.recurses());
        tracing::debug!(
            name = %query.name, rtype = %query.rtype, rcode = %composed.rcode, answers = answer.answers.len(),
            why = answer.why.as_deref(), "dns"
        );
        self.counted(composed, Some(query.rtype), source, began)
    }

    fn counted(&self, composed: Composed, rtype: Option<Rtype>, source: Source, began: Instant) -> Vec<u8> {
        if composed.truncated {
            self.stats.truncate();
        }
        self.stats.answered(rtype, composed.rcode, source, began.elapsed());
        composed.bytes
    }
}
