//! What the world consists of.

use weir_model::resource::rate_limit::RateLimitSpec;
use weir_policy::balance::Tried;
use weir_policy::balance::prequal::ProbeAnswer;
use weir_policy::balance::prequal::estimate::Estimator;

use crate::proxy::{Holding, Passes};
use crate::rng::Stream;
use crate::scenario::{Clients, Order, Sampler};

use super::NONE;

/// Most header fields of a request that differ by request.
pub(crate) const FIELDS_MAX: usize = 4;

/// How a try or an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered well.
    Ok,
    /// It was answered with a breaker's fallback.
    Fallback,
    /// It was answered with an error.
    Status(u16),
    /// No connection came about.
    Connect,
    /// The server died.
    Reset,
    /// The proxy's time for it ran out.
    Timeout,
    /// A rate limit refused it.
    Limited,
    /// A limit of concurrency refused it.
    Shed,
    /// A breaker refused it.
    Broken,
    /// No endpoint was left.
    Unavailable,
    /// The server found that nobody waits for it any more.
    Expired,
    /// The client gave up.
    GaveUp,
}

/// One try of a client, on its way through a proxy. Between two tries of a client it waits here.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) group: u32,
    pub(crate) client: u32,
    pub(crate) proxy: u32,
    /// The service that it is for; another one once a fallback sent it there.
    pub(crate) service: u32,
    /// When the client began with its first try.
    pub(crate) begun: u64,
    /// When this try was sent.
    pub(crate) sent: u64,
    /// When somebody stops waiting for this try.
    pub(crate) deadline: u64,
    /// Changes with each try: deadlines of another one mean nothing.
    pub(crate) stamp: u32,
    /// Tries so far.
    pub(crate) tries: u32,
    /// Attempts of the proxy in this try.
    pub(crate) attempts: u32,
    /// Attempts under way: the first and a hedge.
    pub(crate) under_way: [u32; 2],
    /// Events that name it.
    pub(crate) pins: u32,
    /// Whether this try is over.
    pub(crate) over: bool,
    pub(crate) tried: Tried,
    /// Which of its values each header field has.
    pub(crate) values: [u32; FIELDS_MAX],
    /// What it holds of the proxy's limits and breakers.
    pub(crate) held: Holding,
    /// What the attempts under way hold.
    pub(crate) passes: [Passes; 2],
}

/// One attempt of a proxy at one server. Exactly one thing carries it: an event, a server's waiting line, or its request if
/// the answer was lost.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The request; [`NONE`] once nobody waits for it.
    pub(crate) request: u32,
    pub(crate) proxy: u32,
    pub(crate) service: u32,
    pub(crate) server: u32,
    /// The server's index among the endpoints of its service.
    pub(crate) endpoint: u32,
    /// The next one in the server's waiting line.
    pub(crate) next: u32,
    pub(crate) stamp: u32,
    /// The life of the server in which it came.
    pub(crate) life: u32,
    pub(crate) sent: u64,
    /// When it came to the server.
    pub(crate) reached: u64,
    pub(crate) deadline: u64,
    /// How much the server had been paused in all when the work began, as far as that was accounted for.
    pub(crate) paused: u64,
    pub(crate) outcome: Outcome,
    pub(crate) working: bool,
    /// Whether it waits at a limit of the server's sidecar.
    pub(crate) held_back: bool,
    /// Whether its answer was lost on its way.
    pub(crate) lost: bool,
    /// Requests that the server had when it came.
    pub(crate) others: u32,
    pub(crate) hedge: bool,
}

/// A probe, on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) proxy: u32,
    pub(crate) service: u32,
    pub(crate) endpoint: u32,
    pub(crate) server: u32,
    pub(crate) answer: Option<ProbeAnswer>,
}

/// A group of clients.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) spec: Clients,
    pub(crate) service: u32,
    /// Its proxies, by number.
    pub(crate) proxies: std::ops::Range<u32>,
    pub(crate) rng: Stream,
    pub(crate) timeout_lane: Option<u32>,
    pub(crate) think: Sampler,
    /// Whether what they ask for may be done twice.
    pub(crate) idempotent: bool,
    /// What draws the values of the fields that differ.
    pub(crate) values: Vec<ValueSampler>,
}

/// Draws one of several values.
#[derive(Clone, Debug)]
pub(crate) enum ValueSampler {
    Uniform(u32),
    /// Shares, summed up.
    Shares(Vec<f64>),
}

impl ValueSampler {
    pub(crate) fn zipf(count: u32, exponent: f64) -> Self {
        let weights = (1..=count).map(|k| f64::from(k).powf(-exponent));
        let total: f64 = weights.clone().sum();
        let mut sum = 0.0;
        Self::Shares(
            weights
                .map(|weight| {
                    sum += weight / total;
                    sum
                })
                .collect(),
        )
    }

    pub(crate) fn draw(&self, rng: &mut Stream) -> u32 {
        match self {
            Self::Uniform(count) => rng.below(*count),
            Self::Shares(shares) => {
                let at = rng.unit();
                let found = shares.partition_point(|share| *share < at);
                u32::try_from(found.min(shares.len() - 1)).unwrap_or(0)
            }
        }
    }
}

/// A client of a closed loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) group: u32,
    pub(crate) proxy: u32,
}

/// Servers that are alike.
#[derive(Debug)]
pub(crate) struct ServerGroup {
    pub(crate) name: String,
    pub(crate) service: u32,
    pub(crate) time: Sampler,
    pub(crate) cores: u32,
    pub(crate) speed: f64,
    pub(crate) contention: f64,
    pub(crate) queue_max: u32,
    pub(crate) order: Order,
    pub(crate) drop_expired: bool,
    pub(crate) weight: u32,
    /// Factor at the start and how long it lasts, in nanoseconds.
    pub(crate) cold: Option<(f64, u64)>,
    pub(crate) zones: Vec<String>,
    pub(crate) limits: Vec<RateLimitSpec>,
}

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) group: u32,
    pub(crate) service: u32,
    pub(crate) zone: u32,
    /// Whether its process runs.
    pub(crate) up: bool,
    /// Whether the registry offers it to proxies.
    pub(crate) announced: bool,
    /// Raised when it dies.
    pub(crate) life: u32,
    /// When it was started; none for those that were there at the beginning.
    pub(crate) started: Option<u64>,
    pub(crate) busy: u32,
    pub(crate) line: Line,
    /// Until when it is paused, and how long it has been paused in all.
    pub(crate) paused_until: u64,
    pub(crate) paused: u64,
    /// What its work takes longer, by faults.
    pub(crate) slow: f64,
    /// The fault by which it fails.
    pub(crate) failing: u32,
    /// How many faults drain it.
    pub(crate) drained: u32,
    /// The limits of its own sidecar.
    pub(crate) guard: Option<Box<crate::proxy::Guard>>,
    /// What it answers to probes; only where somebody probes.
    pub(crate) estimator: Option<Box<Estimator>>,
    pub(crate) rng: Stream,
    pub(crate) tally: Tally,
}

/// What a server did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) reached: u64,
    pub(crate) completed: u64,
    pub(crate) refused: u64,
    pub(crate) expired: u64,
    pub(crate) worked_nanos: u128,
    pub(crate) line_max: u32,
}

/// A waiting line: a list through attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) len: u32,
}

impl Line {
    pub(crate) const EMPTY: Self = Self { first: NONE, last: NONE, len: 0 };
}
