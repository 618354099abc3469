//! Why a request goes where it goes, told by the code that sends it there: the route table and the balancer report to a
//! sink that keeps what they say.
//!
//! Nothing here decides anything about a request. It asks `Snapshot::route_with` and `Balancer::pick`, as the request
//! path does, and puts the answers into a form for people and programs. What is random is drawn once, so the next
//! request may be sent elsewhere; the shares say how often.

mod balance;
mod connection;
mod describe;
mod entrance;
mod policies;
mod record;
mod reports;
mod request;
mod seen;
mod settings;
mod show;

use rand::Rng;
use serde::{Deserialize, Serialize};
use weir_model::Position;

pub use crate::breaker::UNMET;
pub(crate) use balance::checked;
pub use policies::earlier_answers;
pub use reports::{NOT_REPORTED, OfBreaker, of_breaker, of_limit};
use request::Speaks;
pub use request::{Request, RequestError};
pub use seen::Seen;

use crate::snapshot::{Snapshot, Upstream};

/// The most rules that are listed of one table, besides those that were looked at.
pub const OTHER_RULES_MAX: usize = 100;

/// Why a request goes where it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The position of the snapshot that decides.
    pub position: Position,
    /// The scheme: `http`, `https`, `tcp` or `tls`.
    #[serde(default = "http")]
    pub scheme: String,
    /// The method; `TCP` or `TLS` for a connection.
    pub method: String,
    /// The host, without a port, as it is routed by.
    pub host: String,
    /// The path as it is routed by: normalised, without the query.
    pub path: String,
    /// The service that calls, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Whose counts these are, where proxies were asked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Reported>,
    /// What of the URL could not be taken as it is, and what of config entries does not count, or leads elsewhere for now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// What happens at each entrance that the request may come in by. More than one only where the URL leaves open
    /// which listener is meant.
    pub entrances: Vec<Entrance>,
}

/// Whose counts an explanation shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// How many proxies have reported that stand where the request comes in.
    pub proxies: usize,
    /// How old the oldest of their reports is, in milliseconds; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// The one of them whose view decides: what it refuses, how its endpoints stand, whom it would choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn http() -> String {
    Speaks::Http.as_str().to_owned()
}

/// What happens to the request at one listener, or as a call inside the mesh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entrance {
    /// The listener, as `Gateway/edge@127.0.0.1:8080`, or `mesh`.
    pub name: String,
    /// The part of it that serves the host: a listener of the gateway, or the service called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// The rules in the order in which they were looked at, then those that were not.
    #[serde(default)]
    pub rules: Vec<ConsideredRule>,
    /// How many more rules there are that were not looked at.
    #[serde(default)]
    pub rules_omitted: usize,
    /// What happens on the way, by the filters of the rule and of the service drawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// What comes of it.
    pub outcome: Outcome,
}

/// A match of a rule, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsideredRule {
    /// The route and the rule's place in it, as `HTTPRoute/shop#0`.
    pub rule: String,
    /// The rule's own name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The hosts it is for.
    pub host: String,
    /// Its condition on the path.
    pub path: String,
    /// Its other conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// The config entries by which it leads where it does, as `service-router/web`, where the control plane told them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_entries: Vec<String>,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It serves the request.
    Won,
    /// One of its conditions does not hold.
    NoMatch,
    /// It would match, but another is more specific or comes first.
    Outranked,
}

/// What comes of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Outcome {
    /// It is sent to a service.
    Forward(Box<Forwarded>),
    /// It is answered by a filter.
    Answered {
        /// The status of the answer.
        status: u16,
        /// Where it is to be made instead, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
        /// Why.
        reason: String,
    },
    /// It is answered by the proxy itself.
    Refused {
        /// The status of the answer.
        status: u16,
        /// Why.
        reason: String,
    },
    /// It is a connection, and is closed.
    Closed {
        /// Why.
        reason: String,
    },
    /// It is no call of a service, and is passed on to the host that it names.
    PassThrough {
        /// Why.
        reason: String,
    },
}

/// Where a request is sent, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forwarded {
    /// The rule that says so.
    pub rule: String,
    /// What documents say of how the call is made, and which; what is not here is as the defaults have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<SettingView>,
    /// The limits that it must pass, as they stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitView>,
    /// The limits that hold where it arrives, as documents have them: how they stand there, only reports say.
    #[serde(skip)]
    pub arriving: Vec<LimitView>,
    /// The breakers that must let it through, and those of the endpoints, as they stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<BreakerView>,
    /// The services that the rule sends requests to.
    pub backends: Vec<Backend>,
    /// The one drawn.
    pub service: String,
    /// What is spoken there.
    #[serde(default)]
    pub protocol: ProtocolView,
    /// Limit to the response head, in milliseconds; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout_ms: Option<u64>,
    /// How often it may be tried again.
    pub retries: u32,
    /// The balancer.
    pub balance: String,
    /// Whether too few endpoints are healthy, so that the others are tried as well.
    pub panicking: bool,
    /// Why that is so, with the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<String>,
    /// What the endpoint is chosen by, under a balancer that hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// The endpoints.
    pub endpoints: Vec<EndpointView>,
    /// Host names of endpoints that could not be resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved: Vec<String>,
    /// What the balancer considered, as it told it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<String>,
    /// The endpoint chosen; none when there is none that may be, which is answered with 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// What is to be said of limits that neither let it through for certain nor refuse it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// What refuses such calls now, in the order in which they meet it. From the first one that refuses all of them on,
    /// nothing comes to the choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusalView>,
    /// How calls go on that breakers send to another service, by service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Forwarded>,
}

/// What is spoken with a service's instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolView {
    /// `http`, `http2`, `grpc` or `tcp`.
    pub protocol: String,
    /// Who says so, as `Service/web`, `config entry service-defaults/web` or an instance; none where it is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl ProtocolView {
    fn of(upstream: &Upstream) -> Self {
        let from = Some(upstream.declared_by.to_string()).filter(|_| upstream.declared.is_some());
        Self { protocol: upstream.protocol().as_str().to_owned(), from }
    }
}

impl std::fmt::Display for ProtocolView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let from = self.from.as_deref().unwrap_or("the default, since nothing says what it speaks");
        write!(f, "{}: {from}", self.protocol)
    }
}

/// A limit or a breaker that refuses calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusalView {
    /// Which one, and of what.
    pub by: String,
    /// The share of such calls that it refuses, more than 0, at most 1.
    pub share: f64,
    /// Why, with the numbers.
    pub reason: String,
    /// What `Retry-After` says, in seconds, where it is known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// What a refused call gets.
    pub answer: AnswerView,
}

/// What a call gets that is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerView {
    /// The status of HTTP that the client gets; none where the call goes to another service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The status of gRPC, by name, where it is such a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<String>,
    /// The service that it goes to instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Whether it gets an earlier answer where one is kept, and the status only where there is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub earlier: bool,
}

/// How calls are made in one respect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingView {
    /// In which: `request`, `attempt`, `retries`, `hedge`; else the path of a field of the policy: `balance.subset`.
    pub name: String,
    /// How.
    pub value: String,
    /// Who says so: a rule, or a policy and what it is for.
    pub from: String,
}

/// A limit as it stands. What it has decided is known only to proxies: to the one that explains, or those that report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitView {
    /// The document.
    pub limit: String,
    /// What it limits.
    pub target: String,
    /// How it stands.
    pub state: String,
    /// Requests that it let through; none as long as no proxy has reported of this version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted: Option<u64>,
    /// Requests that it refused, or would have refused in shadow; none as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// Of these, those that only shadow let through: `shadow` may have been set or cleared since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shadowed: u64,
    /// What tells this version of the document from others in reports.
    #[serde(skip)]
    pub version: u32,
    /// What a refused request gets.
    #[serde(default)]
    pub answer: AnswerView,
    /// Whether it refuses nothing, but only counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

/// A breaker as it stands. What it has decided is known only to proxies: to the one that explains, or those that report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerView {
    /// The document, and which of its breakers.
    pub breaker: String,
    /// What it is for.
    pub target: String,
    /// The rule or endpoint, where each has its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub part: String,
    /// How it stands.
    pub state: String,
    /// Calls that it refused, or would have refused in shadow; none as long as no proxy has reported of this version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// Of these, those that only shadow let through: `shadow` may have been set or cleared since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shadowed: u64,
    /// What tells this version of what the document says of it from others in reports.
    #[serde(skip)]
    pub version: u32,
    /// What a refused call gets instead of 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// What that comes to for this call.
    #[serde(default)]
    pub answer: AnswerView,
    /// Whether it refuses nothing, but only counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

/// A service of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The service.
    pub service: String,
    /// Its weight among the rule's services.
    pub weight: u64,
    /// Whether there is such a service.
    pub known: bool,
}

/// An endpoint as the balancer sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointView {
    /// Its id.
    pub id: String,
    /// Its address.
    pub address: String,
    /// Its health.
    pub health: String,
    /// Since when this proxy's own checks say so, and what the control plane said last. Known only to the proxy itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// Its share of the requests by weight, slow start and nearness, 0 to 1.
    #[serde(default)]
    pub share: f64,
    /// Which part of its share it has during slow start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growing: Option<f64>,
    /// The region that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The zone that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What `peak_ewma` takes its latency to be, in microseconds. Known only to the proxy itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Requests in flight there. Known only to proxies.
    pub in_flight: u32,
    /// Whether it failed lately, so that it is a last choice. Known only to proxies.
    pub avoided: bool,
    /// Whether it may be chosen.
    pub candidate: bool,
    /// Why not, if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
    /// For how long it is ejected and why, or would be but for shadow. Known only to proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected: Option<String>,
    /// Why its own breakers let no call through, if they do not. Known only to proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// The endpoint chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Its id.
    pub endpoint: String,
    /// Its address.
    pub address: String,
    /// Why it was chosen.
    pub reason: String,
}

impl Explanation {
    /// The same request, as this service makes it.
    #[must_use]
    pub fn by(mut self, caller: Option<String>) -> Self {
        self.caller = caller;
        self
    }

    /// The first entrance where the request is sent to a service.
    pub fn forwarded(&self) -> Option<&Forwarded> {
        self.entrances.iter().find_map(|entrance| match &entrance.outcome {
            Outcome::Forward(forwarded) => Some(&**forwarded),
            _ => None,
        })
    }
}

/// Explains a request: at the snapshot's listeners if it has any, else as a call inside the mesh. Of several listeners,
/// those count whose port the URL names; if it names none of theirs, all, with a remark.
pub fn explain(snapshot: &Snapshot, request: &Request, rng: &mut impl Rng) -> Explanation {
    explain_as(Seen::Here, snapshot, request, rng)
}

/// The same, with the word of somebody else for what only running proxies know.
pub fn explain_as(seen: Seen<'_>, snapshot: &Snapshot, request: &Request, rng: &mut impl Rng) -> Explanation {
    seen.take_over(snapshot);
    let asked = Asked { snapshot, request, seen };
    Explanation {
        position: snapshot.position,
        scheme: request.speaks.as_str().to_owned(),
        method: request.method.clone(),
        host: request.host.clone(),
        path: request.path.clone(),
        caller: None,
        reported: None,
        remarks: entrance::remarks(snapshot, request),
        entrances: match request.speaks {
            Speaks::Http | Speaks::Https => entrance::entrances(asked, rng),
            Speaks::Tcp | Speaks::Tls => connection::entrances(asked, rng),
        },
    }
}

/// What is asked, and who answers.
#[derive(Clone, Copy)]
struct Asked<'a> {
    snapshot: &'a Snapshot,
    request: &'a Request,
    seen: Seen<'a>,
}

#[cfg(test)]
mod tests;
