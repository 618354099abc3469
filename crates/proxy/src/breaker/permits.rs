//! What a call has of its breakers: from being asked to its end.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use weir_policy::Nanos;
use weir_policy::breaker::{Admission, CallOutcome, Ended, Permit, Refusal};

use super::brake::Breaker;
use super::cached::Cached;
use super::table::Chain;
use crate::observe::process_now;

/// The permits of a call. Kept with its exchange and used again, so that it costs no memory; what was not handed back when it
/// is dropped is handed back as cancelled.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    chain: Option<Chain>,
    /// By the place in the chain; none where only shadow let the call through.
    permits: Vec<Option<Permit>>,
    began: Nanos,
    worker: usize,
}

/// A call that is not made.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) refusal: Refusal,
}

impl Permits {
    /// Takes the breakers of a call. They are asked by [`Permits::admit`].
    pub(crate) fn begin(&mut self, chain: Chain) {
        debug_assert!(self.chain.is_none(), "what another call had was not handed back");
        self.chain = Some(chain).filter(|chain| !chain.is_empty());
    }

    /// Whether there is nothing to ask, and nothing to hand back.
    #[inline]
    pub(crate) const fn is_idle(&self) -> bool {
        self.chain.is_none()
    }

    /// Breakers that keep answers to the call for bad times, with what they keep.
    pub(crate) fn keepers(&self) -> impl Iterator<Item = (&Arc<Breaker>, &Cached)> {
        let links = self.chain.iter().flat_map(|chain| chain.iter());
        // What is in shadow changes no answer.
        let in_force = links.map(|link| &link.breaker).filter(|breaker| !breaker.config.shadow);
        in_force.filter_map(|breaker| Some((breaker, breaker.instead.cached()?)))
    }

    /// Asks all breakers. If one refuses, the others have their permits back.
    pub(crate) fn admit(&mut self, now: Nanos, rng: &mut impl Rng, worker: usize) -> Result<(), Refused> {
        let Some(chain) = self.chain.clone() else { return Ok(()) };
        debug_assert!(self.permits.is_empty(), "asked twice");
        (self.began, self.worker) = (now, worker);
        for link in chain.iter() {
            match link.brake.breaker.admit(now, rng, worker) {
                Admission::Admit { permit, transition } => {
                    self.permits.push(Some(permit));
                    if let Some(transition) = transition {
                        link.brake.tell(&link.breaker, &transition);
                    }
                }
                Admission::Refuse(refusal) => {
                    let shadow = link.breaker.config.shadow;
                    link.brake.count_refused(shadow);
                    if !shadow {
                        self.cancel(now);
                        return Err(Refused { breaker: link.breaker.clone(), refusal });
                    }
                    self.permits.push(None);
                }
            }
        }
        Ok(())
    }

    /// The call is over: with a status that is HTTP's (for gRPC the one that is like it), with a failure that is always one,
    /// or with nothing that says anything. `answered` is when its response began, 0 for never.
    pub(crate) fn finish(&mut self, ended: CallEnd, answered: u64, now: Nanos) {
        let until = if answered > 0 { Nanos(answered) } else { now };
        self.hand_back(ended, until.since(self.began), now);
    }

    /// The call says nothing.
    pub(crate) fn cancel(&mut self, now: Nanos) {
        self.hand_back(CallEnd::Unknown, Duration::ZERO, now);
    }

    /// The same, now.
    #[inline]
    pub(crate) fn abandon(&mut self) {
        if self.chain.is_some() {
            self.cancel(process_now());
        }
    }

    fn hand_back(&mut self, ended: CallEnd, latency: Duration, now: Nanos) {
        let Some(chain) = self.chain.take() else { return };
        for (link, permit) in chain.iter().zip(self.permits.drain(..)) {
            let Some(permit) = permit else { continue };
            let ended = match ended {
                CallEnd::Status(status) if link.breaker.config.failure_statuses.contains(status) => {
                    Ended::Failure
                }
                CallEnd::Status(_) => Ended::Success,
                CallEnd::Failure => Ended::Failure,
                CallEnd::Unknown => Ended::Cancelled,
            };
            let outcome = CallOutcome { ended, latency };
            if let Some(transition) = link.brake.breaker.record(permit, outcome, now, self.worker) {
                link.brake.tell(&link.breaker, &transition);
            }
        }
    }
}

/// How a call ended, as breakers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    /// It was answered.
    Status(u16),
    /// No connection, a reset, no answer in time, or none that can be read.
    Failure,
    /// Whatever it was, it says nothing of the service.
    Unknown,
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.abandon();
    }
}
