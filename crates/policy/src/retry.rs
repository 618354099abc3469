//! Decides whether a failed attempt is tried again, and when.
//!
//! A retry must be safe (nothing is done twice), possible (the body is still there), and affordable (the budget bounds
//! how much load retries add when everything fails). Idempotent methods: RFC 9110, section 9.2.2; full jitter:
//! "Exponential Backoff And Jitter" (AWS, 2015); what a server may say about it: [`Pushback`].

mod budget;
mod pushback;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use rand::{Rng, RngExt};

use weir_model::resource::traffic_policy::Retry as Spec;

use crate::status::{GrpcStatusSet, StatusSet};
use crate::time::Nanos;
pub use budget::{Budget, BudgetConfig};
pub use pushback::{PUSHBACK_MAX, Pushback};

/// How retries are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request may be tried again after its first attempt; 0 turns retries off.
    pub retries: u32,
    /// Upper end of the first delay; doubles with each retry.
    pub backoff_base: Duration,
    /// Upper end of every delay.
    pub backoff_max: Duration,
    /// Response statuses upon which a request with an idempotent method is tried again.
    pub statuses: StatusSet,
    /// The same for gRPC's. Its methods do not tell whether they are idempotent: whoever lists a status says so.
    pub grpc_statuses: GrpcStatusSet,
}

impl Default for RetryPolicy {
    /// One retry, delayed by up to 25 ms; later ones by up to 250 ms. No status is a reason.
    fn default() -> Self {
        Self {
            retries: 1,
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            statuses: StatusSet::EMPTY,
            grpc_statuses: GrpcStatusSet::EMPTY,
        }
    }
}

impl RetryPolicy {
    /// What a document says, with defaults for what it does not say. Names that are no gRPC status are left out.
    pub fn from_spec(spec: &Spec) -> Self {
        let default = Self::default();
        let backoff = spec.backoff.clone().unwrap_or_default();
        let base = backoff.base.map_or(default.backoff_base, |span| span.0);
        Self {
            retries: spec.attempts,
            backoff_base: base,
            backoff_max: backoff.max.map_or(default.backoff_max, |span| span.0).max(base),
            statuses: StatusSet::of(&spec.statuses),
            grpc_statuses: GrpcStatusSet::of(&spec.grpc_statuses),
        }
    }

    /// Whether a response with this status may be a reason to try again: if not, its caller need not wait for anything.
    pub fn may_retry_status(&self, status: u16) -> bool {
        self.statuses.contains(status)
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection came about.
    Connect,
    /// The peer said that it did not begin with the request (HTTP/2 `REFUSED_STREAM`, a `GOAWAY` before it).
    Refused,
    /// The connection ended before the response was complete.
    Reset,
    /// The time for the attempt ran out. The peer may still be at work.
    Timeout,
    /// The peer answered with something that is no response.
    Malformed,
    /// The peer answered with a status; nothing of the answer was passed on yet.
    Status {
        /// The status.
        code: u16,
        /// What it said about trying again.
        pushback: Option<Pushback>,
    },
    /// The peer answered a gRPC call with nothing but a status, of which nothing was passed on yet.
    GrpcStatus {
        /// The status.
        code: u32,
        /// What it said about trying again.
        pushback: Option<Pushback>,
    },
}

impl Failure {
    const fn pushback(&self) -> Option<Pushback> {
        match self {
            Self::Status { pushback, .. } | Self::GrpcStatus { pushback, .. } => *pushback,
            Self::Connect | Self::Refused | Self::Reset | Self::Timeout | Self::Malformed => None,
        }
    }
}

/// What the proxy knows about a request whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Attempts made so far, the failed one included.
    pub attempts: u32,
    /// The method may be carried out twice with the effect of once, see [`is_idempotent`].
    pub idempotent: bool,
    /// Not one byte of the request reached the connection.
    pub unsent: bool,
    /// The whole body can still be sent: there is none, none of it was read yet, or all of it was kept.
    pub replayable: bool,
    /// A byte of a response (other than 1xx kept back) has arrived; of a status that is asked about, has been passed on.
    pub response_begun: bool,
    /// An endpoint is left that this request has not tried.
    pub another_endpoint: bool,
    /// When the request must be answered.
    pub deadline: Option<Nanos>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again after a delay. The budget has been charged.
    Retry {
        /// How long to wait; zero means at once.
        delay: Duration,
    },
    /// Answer with the failure.
    GiveUp(GiveUp),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// The policy allows no more attempts.
    Attempts,
    /// The response had begun: the caller may have seen part of it.
    ResponseBegun,
    /// The attempt may have had an effect, and the method is not idempotent.
    NotIdempotent,
    /// Failures of this kind are not retried.
    Failure,
    /// The body is gone.
    Body,
    /// There is no time left.
    Deadline,
    /// The peer said that it is not to be asked again, or not within [`PUSHBACK_MAX`].
    Pushback,
    /// Too many requests are being retried already.
    Budget,
}

/// Whether a method may be carried out twice with the effect of once (RFC 9110, section 9.2.2). Unknown ones may not.
pub fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// Decides about one failed attempt. Charges the budget only when the answer is to retry.
pub fn decide(
    policy: &RetryPolicy,
    failure: Failure,
    facts: &Facts,
    budget: &mut Budget,
    now: Nanos,
    rng: &mut impl Rng,
) -> Decision {
    if let Some(reason) = forbidden(policy, failure, facts) {
        return Decision::GiveUp(reason);
    }
    let undone = facts.unsent || matches!(failure, Failure::Connect);
    let delay = match failure.pushback() {
        Some(Pushback::After(delay)) if delay <= PUSHBACK_MAX => delay,
        Some(_) => return Decision::GiveUp(GiveUp::Pushback),
        // Nothing says that another endpoint is in trouble.
        None if undone && facts.another_endpoint => Duration::ZERO,
        None => full_jitter(policy, facts.attempts, rng),
    };
    if facts.deadline.is_some_and(|deadline| now + delay >= deadline) {
        return Decision::GiveUp(GiveUp::Deadline);
    }
    if !budget.try_retry(now) {
        return Decision::GiveUp(GiveUp::Budget);
    }
    Decision::Retry { delay }
}

/// The reasons that time and budget have no say in.
fn forbidden(policy: &RetryPolicy, failure: Failure, facts: &Facts) -> Option<GiveUp> {
    if facts.response_begun {
        return Some(GiveUp::ResponseBegun);
    }
    match failure {
        Failure::Connect | Failure::Refused => {}
        Failure::Reset if facts.unsent || facts.idempotent => {}
        Failure::Reset => return Some(GiveUp::NotIdempotent),
        Failure::Status { code, .. } if policy.statuses.contains(code) => {
            if !facts.idempotent {
                return Some(GiveUp::NotIdempotent);
            }
        }
        Failure::GrpcStatus { code, .. } if policy.grpc_statuses.contains(code) => {}
        Failure::Timeout | Failure::Malformed | Failure::Status { .. } | Failure::GrpcStatus { .. } => {
            return Some(GiveUp::Failure);
        }
    }
    if facts.attempts > policy.retries {
        return Some(GiveUp::Attempts);
    }
    (!facts.replayable).then_some(GiveUp::Body)
}

/// Evenly from zero to min(cap, base * 2^(attempt - 1)).
fn full_jitter(policy: &RetryPolicy, attempts: u32, rng: &mut impl Rng) -> Duration {
    let doubled = policy.backoff_base.saturating_mul(1 << attempts.saturating_sub(1).min(30));
    let end = u64::try_from(doubled.min(policy.backoff_max).as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rng.random_range(0..=end))
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attempts => "no attempts are left",
            Self::ResponseBegun => "the response had begun",
            Self::NotIdempotent => "the request may have had an effect and its method is not idempotent",
            Self::Failure => "failures of this kind are not retried",
            Self::Body => "the body cannot be sent again",
            Self::Deadline => "no time is left",
            Self::Pushback => "the server does not want to be asked again",
            Self::Budget => "the retry budget is used up",
        })
    }
}
