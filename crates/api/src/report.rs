//! What proxies report of their work, and what the reports of several come to.
//!
//! ```text
//! proxy: counters, policies -> Report --mesh stream--> server: Samples of each proxy -+-> figures() -> Figures
//!                                |                                                    |
//!                                +-- Samples of its own -> admin `/figures` ----------+
//! ```
//!
//! A report says what was counted since the proxy started, so that one that is lost loses nothing; rates and quantiles come
//! from the difference between two. Reports travel as JSON whose fields are only ever added, and whose reader ignores what it
//! does not know. Shapes and sums only: no transport, no clock.

mod figures;
mod histogram;
mod samples;

use serde::{Deserialize, Serialize};

pub use figures::{
    BreakerFigures, EndpointFigures, Figures, LimitFigures, ProxyReport, RouteFigures, STATES_SHOWN_MAX,
    Seen, ServiceFigures, StateOf, Wanted, figures,
};
pub use histogram::{BOUNDS_NS, BUCKETS, Histogram};
pub use samples::{Samples, WINDOW_MAX_MS, WINDOW_MS};

/// The version of the form that this binary writes. A reader takes this one and those above, as far as it knows them.
pub const REPORT_FORMAT: u32 = 1;
/// The largest report that is sent or taken, in bytes of JSON.
pub const REPORT_BYTES_MAX: usize = 1 << 20;
/// Services in a report.
pub const SERVICES_MAX: usize = 512;
/// Rules of routes, over all services.
pub const ROUTES_MAX: usize = 1024;
/// Endpoints, over all services; those that are ejected come first.
pub const ENDPOINTS_MAX: usize = 1024;
/// Limits, and machines of breakers.
pub const POLICIES_MAX: usize = 512;
/// Bytes of a text in a report, such as how a limit stands.
pub const TEXT_BYTES_MAX: usize = 1024;

/// What a proxy has counted since it started, and how its policies stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The version of this form, [`REPORT_FORMAT`] when written by this binary.
    pub format: u32,
    /// When it was made, in milliseconds of the proxy's own monotonic clock.
    pub at_ms: u64,
    /// The region that the proxy is in, if it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The zone that it is in, if it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What became of requests, by service.
    pub services: Vec<ServiceReport>,
    /// The limits in force.
    pub limits: Vec<LimitReport>,
    /// The breakers in force, by part; of one that no call has met yet, a row that says so.
    pub breakers: Vec<BreakerReport>,
    /// Rows that were left out because there are too many.
    pub omitted: u64,
}

/// Where a proxy stands, seen from the service whose requests it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// It calls the service: a gateway, or a caller's sidecar.
    #[default]
    Caller,
    /// It stands in front of the service: its own sidecar.
    Callee,
}

impl Side {
    /// The word in tables and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
    }
}

/// What a proxy has counted of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceReport {
    /// The service as metrics name it: `NAME`, `NAMESPACE/NAME`, or `_none`, `_outside`, `_other`.
    pub service: String,
    /// Where the proxy stands.
    pub side: Side,
    /// All requests to it.
    pub totals: Totals,
    /// Requests tried again.
    pub retries: u64,
    /// Retries that the budget forbade.
    pub retries_denied: u64,
    /// Calls of gRPC that ended with a status that says that the server failed.
    pub grpc_failed: u64,
    /// From a request's head to the end of its response.
    pub duration: Histogram,
    /// Requests sent and not answered.
    pub in_flight: u64,
    /// Endpoints, also those that are not listed.
    pub endpoints_known: u64,
    /// Endpoints that are ejected.
    pub ejected: u64,
    /// Endpoints.
    pub endpoints: Vec<EndpointReport>,
    /// The same requests by rule.
    pub routes: Vec<RouteReport>,
}

/// How many requests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// By the class of their status: 1xx to 5xx. Those whose clients went away count as 4xx.
    pub classes: [u64; 5],
    /// Those among them that the proxy answered itself.
    pub own: u64,
}

impl Totals {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.classes.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Those that ended with a status of the class 5xx.
    pub const fn failed(&self) -> u64 {
        self.classes[4]
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.classes.iter_mut().zip(other.classes) {
            *sum = sum.saturating_add(count);
        }
        self.own = self.own.saturating_add(other.own);
    }

    /// What has come since `base`, which must be earlier.
    #[must_use]
    pub fn since(&self, base: &Self) -> Self {
        let mut since = *self;
        for (count, before) in since.classes.iter_mut().zip(base.classes) {
            *count = count.saturating_sub(before);
        }
        since.own = since.own.saturating_sub(base.own);
        since
    }
}

/// What a proxy has counted of one rule's requests to a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteReport {
    /// The route and the rule's place in it: `HTTPRoute/shop#0`.
    pub route: String,
    /// Its requests.
    pub totals: Totals,
    /// Whether the rule, as it now stands, does not lead to the service: these requests came there by the fallback of a
    /// breaker, or before the rule was changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

/// An endpoint as a proxy sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointReport {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub address: String,
    /// The registry's judgement, or `static` where nothing checks it.
    pub health: String,
    /// Requests sent there and not answered.
    pub in_flight: u64,
    /// Requests sent there.
    pub requests: u64,
    /// Failures to connect, and connections that broke off.
    pub failures: u64,
    /// Whether it failed last time, so that it is a last choice.
    pub avoided: bool,
    /// Whether it is ejected.
    pub is_ejected: bool,
    /// For how long it is ejected and why, or would be but for shadow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected: Option<String>,
    /// What `peak_ewma` takes its latency to be, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// What the proxy's own check of it came to, where it carries out one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
}

/// What a limit or a breaker does with requests as it stands: it refuses some or all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refusing {
    /// The share of requests that it refuses, more than 0, at most 1.
    pub share: f64,
    /// Why, with the numbers.
    pub why: String,
    /// When it may be worth while to ask again, in milliseconds; none where that cannot be said beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The earlier answers that a breaker's fallback keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptAnswers {
    /// How many.
    pub answers: u64,
    /// What they take, in bytes.
    pub bytes: u64,
    /// How often one was given.
    pub given: u64,
}

impl KeptAnswers {
    /// Adds another proxy's.
    pub fn add(&mut self, other: Self) {
        self.answers = self.answers.saturating_add(other.answers);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.given = self.given.saturating_add(other.given);
    }
}

/// A limit as it stands at a proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitReport {
    /// The document: `RateLimit/cart`.
    pub limit: String,
    /// What it limits: `Service/cart`.
    pub target: String,
    /// The rule, as requests are counted by it, where it is for one that the proxy has: `HTTPRoute/shop#0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Whether it only counts.
    pub shadow: bool,
    /// Requests that it let through.
    pub admitted: u64,
    /// Requests that waited for their turn or place.
    pub waited: u64,
    /// Requests that it refused, or would have refused in shadow.
    pub refused: u64,
    /// Of these, those that only shadow let through.
    pub shadowed: u64,
    /// How it stands, for people.
    pub state: String,
    /// The status that refused requests are answered with.
    pub status: u16,
    /// What tells this version of the document from others; 0 where that was not told.
    pub version: u32,
    /// What it refuses as it stands, whatever the request; none where it refuses nothing, or that depends on the request's
    /// key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusing: Option<Refusing>,
}

/// A machine of a breaker as it stands at a proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BreakerReport {
    /// The document, and which of its breakers: `TrafficPolicy/cart#0`.
    pub breaker: String,
    /// What it is for: `Service/cart`.
    pub target: String,
    /// The rule, as requests are counted by it, where it is for one that the proxy has: `HTTPRoute/shop#0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// The rule or endpoint, where each has its own.
    pub part: String,
    /// Whether it only counts.
    pub shadow: bool,
    /// `closed`, `half_open` or `open`.
    pub phase: String,
    /// Calls that it refused, or would have refused in shadow.
    pub refused: u64,
    /// Of these, those that only shadow let through.
    pub shadowed: u64,
    /// How it stands, for people, and what changed it last.
    pub state: String,
    /// Its strategy, as documents name it.
    pub strategy: String,
    /// What tells this version of what the document says of it from others; 0 where that was not told.
    pub version: u32,
    /// Whether no call has met it yet: then it has no parts, and this row says only that it is in force.
    pub unmet: bool,
    /// What it refuses as it stands; none where it refuses nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusing: Option<Refusing>,
    /// What its fallback keeps, where that is earlier answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptAnswers>,
}

/// Why a report is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is too large.
    #[error("the report has {0} bytes: expected at most {REPORT_BYTES_MAX}")]
    TooLarge(usize),
    /// It cannot be read.
    #[error("the report cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

impl Report {
    /// Reads a report. What is beyond a bound is cut off.
    ///
    /// # Errors
    /// As [`ReportError`] says.
    pub fn from_json(json: &[u8]) -> Result<Self, ReportError> {
        if json.len() > REPORT_BYTES_MAX {
            return Err(ReportError::TooLarge(json.len()));
        }
        let mut report: Self = serde_json::from_slice(json)?;
        report.services.truncate(SERVICES_MAX);
        report.limits.truncate(POLICIES_MAX);
        report.breakers.truncate(POLICIES_MAX);
        let (mut endpoints, mut routes) = (ENDPOINTS_MAX, ROUTES_MAX);
        for service in &mut report.services {
            service.endpoints.truncate(endpoints);
            service.routes.truncate(routes);
            service.duration.counts.truncate(BUCKETS);
            endpoints -= service.endpoints.len();
            routes -= service.routes.len();
            service.endpoints.shrink_to_fit();
            service.routes.shrink_to_fit();
            service.duration.counts.shrink_to_fit();
        }
        // What was cut off is not to stay allocated.
        report.services.shrink_to_fit();
        report.limits.shrink_to_fit();
        report.breakers.shrink_to_fit();
        Ok(report)
    }

    /// The report as it travels, without its details where it would be too large with them.
    pub fn to_json(&self) -> Vec<u8> {
        // Plain structs with string keys: writing them cannot fail.
        let json = serde_json::to_vec(self).unwrap_or_default();
        if json.len() <= REPORT_BYTES_MAX {
            return json;
        }
        let mut short = self.clone();
        for service in &mut short.services {
            short.omitted += (service.endpoints.len() + service.routes.len()) as u64;
            service.endpoints.clear();
            service.routes.clear();
        }
        for limit in &mut short.limits {
            limit.state.clear();
            limit.refusing.iter_mut().for_each(|refusing| refusing.why.clear());
        }
        for breaker in &mut short.breakers {
            breaker.state.clear();
            breaker.refusing.iter_mut().for_each(|refusing| refusing.why.clear());
        }
        serde_json::to_vec(&short).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
