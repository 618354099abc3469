//! Phase `route`: from a request head to the rule and service that serve it.
//!
//! ```text
//! host -> section (one listener of the gateway) -> route hostnames, most specific first
//!      -> path: exact, then expressions, then longest prefix -> conditions: method, headers, query
//!      -> rule -> service by weight, with the filters on the way there
//! ```
//!
//! Precedence is the Gateway API's (v1, `HTTPRouteSpec.hostnames`, `HTTPRouteRule.matches`, `GRPCRouteRule.matches`).
//! Where it leaves open how regular expressions rank among paths, they come after exact paths and before prefixes: first
//! those with more literal segments at their beginning, then the longer ones. Tables are immutable and indexed by host and
//! path, so that the cost of a request does not grow with the number of routes; only expressions whose literal beginning
//! fits are run. Routing allocates nothing. It reads no clock, and its only randomness is the generator it is given. It must not look at endpoints:
//! choosing among them is the attempt's work.

mod backends;
mod build;
mod conditions;
mod hash;
mod host;
mod path;
mod pattern;
mod rank;
mod reasons;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod view;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use weir_model::{ResourceId, ServiceRef};

pub use backends::{Backend, Backends};
pub use build::{MatchSpec, RouteTableBuilder};
pub use conditions::{Conditions, Unmet, ValueTest};
pub(crate) use conditions::{preflight_method, query_value};
pub(crate) use host::HostIndex;
pub use host::{HostBuffer, HostPattern};
pub use pattern::{KnownPatterns, PATTERN_BYTES_MAX, PATTERNS_MAX, Pattern, PatternError, Patterns};
pub use rank::{Ahead, compare};
pub use reasons::{NoReasons, Reasons};
pub use stream::{StreamFound, StreamRule, StreamTable, StreamTableBuilder};
pub use view::RequestView;

use crate::filter::{Filters, trimmed};
use crate::snapshot::{Settings, Upstream};
pub(crate) use hash::TextHash;
use path::{PathIndex, Stage};

/// Which upstream of the snapshot: see `Snapshot::upstream`. Valid only together with the snapshot it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamIndex(pub(crate) u32);

/// What routing decided.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'a> {
    /// Send it to this upstream, under this rule.
    Forward {
        /// Where to.
        upstream: &'a Arc<Upstream>,
        /// The rule that matched.
        rule: &'a Rule,
        /// What happens on the way, if anything.
        filtered: Option<Filtered<'a>>,
    },
    /// No listener or no rule matches: answer 404.
    NoRoute,
    /// A rule matches, but it names no service, or the one drawn does not exist, or all weights are 0: answer 500, as
    /// the Gateway API says.
    NoBackend {
        /// The rule that matched.
        rule: &'a Rule,
        /// The service that does not exist, if one was drawn.
        service: Option<&'a ServiceRef>,
        /// What happens all the same: a redirect, say, needs no service.
        filtered: Option<Filtered<'a>>,
    },
}

/// The filters that a request goes through.
#[derive(Clone, Copy, Debug)]
pub struct Filtered<'a> {
    /// The filters.
    pub filters: &'a Arc<Filters>,
    /// How many bytes of the path are the prefix that matched, without a slash at its end.
    pub prefix: usize,
}

/// The rule that a table found for a request, and the service drawn from it. `Snapshot::route` makes it a
/// [`Decision`].
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The rule that matched.
    pub rule: &'a Rule,
    /// By which of its matches.
    pub matched: &'a Match,
    /// The service drawn; none when the rule has none with a weight.
    pub backend: Option<&'a Backend>,
}

impl<'a> Found<'a> {
    /// The filters of the service drawn, else of the rule.
    #[inline]
    pub fn filtered(&self) -> Option<Filtered<'a>> {
        let filters = match self.backend {
            Some(backend) => backend.filters.as_ref(),
            None => self.rule.filters.as_ref(),
        };
        let matched = self.matched;
        filters.map(|filters| Filtered { filters, prefix: matched.path.prefix_len() })
    }
}

/// A rule of a route, as a request meets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The route it is from; for calls that no route covers, the service itself.
    pub route: ResourceId,
    /// Which of the route's rules, from 0.
    pub index: usize,
    /// Its own name, if it has one.
    pub name: Option<Box<str>>,
    /// `HTTPRoute/shop#buy` or `HTTPRoute/shop#0`: what it is called, and what its state is kept by.
    pub label: Arc<str>,
    /// Limit from the request's arrival to the response head.
    pub request_timeout: TimeLimit,
    /// The same for one attempt.
    pub attempt_timeout: TimeLimit,
    /// What happens to requests for which no service is drawn.
    pub filters: Option<Arc<Filters>>,
    /// Where it sends requests.
    pub backends: Backends,
}

/// A time limit that a rule may or may not state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeLimit {
    /// Nothing is said: what the service's settings say holds.
    #[default]
    Unset,
    /// Expressly none.
    Unlimited,
    /// This long.
    Limited(Duration),
}

impl TimeLimit {
    /// This limit, or another where nothing is said; `None` means no limit.
    pub fn or(self, other: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Unset => other,
            Self::Unlimited => None,
            Self::Limited(limit) => Some(limit),
        }
    }
}

impl Rule {
    /// The limit from the request's arrival to the response head when it goes to a service with these settings.
    pub fn request_timeout(&self, settings: &Settings) -> Option<Duration> {
        self.request_timeout.or(settings.request_timeout)
    }

    /// The limit for one attempt at a service with these settings, within that of the request.
    pub fn attempt_timeout(&self, settings: &Settings) -> Option<Duration> {
        self.attempt_timeout.or(settings.attempt_timeout)
    }
}

/// One condition of a rule together with where it applies. A rule has one for each of its matches and hostnames.
#[derive(Clone, Debug)]
pub struct Match {
    /// Which section of the table it is in.
    pub section: usize,
    /// The hostname of its route.
    pub host: HostPattern,
    /// The path, and how it is compared.
    pub path: PathPattern,
    /// Everything else.
    pub conditions: Conditions,
    /// Index of its rule.
    rule: usize,
    /// Whether it is tried in the order of rules, however specific it is.
    in_order: bool,
    /// Where it stands among its likes when nothing else decides: the order of routes, then of rules, then of matches.
    order: u32,
}

impl Match {
    /// Whether it is tried in the order in which rules are written, however specific it is.
    pub fn is_in_order(&self) -> bool {
        self.in_order
    }
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// The whole path.
    Exact(Box<str>),
    /// Whole segments from the start.
    Prefix(Box<str>),
    /// An expression that the whole path matches.
    Regex(Arc<Pattern>),
    /// Two segments, the second of which is this: a method of any gRPC service.
    AnyService(Box<str>),
}

impl PathPattern {
    /// Whether a path matches.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        match self {
            Self::Exact(path) => path.as_bytes() == candidate,
            Self::Prefix(prefix) => path::is_under(candidate, prefix.as_bytes()),
            // `*`, the server as a whole, is no path.
            Self::Regex(pattern) => candidate.starts_with(b"/") && pattern.matches(candidate),
            Self::AnyService(method) => path::grpc_method(candidate) == Some(method.as_bytes()),
        }
    }

    /// Whether it is there for `OPTIONS *` alone: nobody has written it, so it is shown only where it counts.
    pub(crate) fn is_for_the_server(&self) -> bool {
        matches!(self, Self::Exact(path) if &**path == "*")
    }

    /// How many bytes of a path that matches are the prefix, without a slash at its end. Only prefixes have one.
    fn prefix_len(&self) -> usize {
        match self {
            Self::Prefix(prefix) => trimmed(prefix).len(),
            _ => 0,
        }
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "= {path}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Regex(pattern) => write!(f, "~ {}", pattern.text()),
            Self::AnyService(method) => write!(f, "/*/{method}"),
        }
    }
}

/// A part of a table with rules of its own: one listener of a gateway.
#[derive(Clone, Debug)]
pub struct Section {
    /// What it is called: `Gateway/edge:web`.
    pub label: Arc<str>,
    /// The hosts it serves.
    pub host: HostPattern,
}

impl Section {
    /// The listener's own name.
    pub fn name(&self) -> Option<&str> {
        self.label.rsplit_once(':').map(|(_, name)| name)
    }
}

/// Index into the table's matches, in order of precedence.
type Bucket = Vec<u32>;

/// The rules behind one port, or of one service of the mesh. Built by [`RouteTableBuilder`].
#[derive(Debug, Default)]
pub struct RouteTable {
    sections: Vec<Section>,
    by_host: HostIndex<usize>,
    /// One per section.
    indices: Vec<HostIndex<PathIndex<Bucket>>>,
    matches: Vec<Match>,
    rules: Vec<Rule>,
}

impl RouteTable {
    /// Finds the rule for a request and draws one of its services, telling why. `rng` is used only where a rule has
    /// several services.
    pub fn find(
        &self,
        request: &impl RequestView,
        rng: &mut impl Rng,
        reasons: &mut impl Reasons,
    ) -> Option<Found<'_>> {
        let mut buffer = HostBuffer::default();
        let host = buffer.fold(request.host());
        // Only the most specific listener serves a host, even when none of its rules matches (Gateway API, listener
        // isolation).
        let &section = self.by_host.matching(host).next()?;
        reasons.section(section);
        let path = request.path();
        for paths in self.indices[section].matching(host) {
            for (stage, bucket) in paths.matching(path) {
                for &id in bucket {
                    let matched = &self.matches[id as usize];
                    if stage == Stage::Expression && !matched.path.matches(path) {
                        reasons.unmet(id, Unmet::Path);
                        continue;
                    }
                    match matched.conditions.check(request) {
                        Err(why) => reasons.unmet(id, why),
                        Ok(()) => {
                            reasons.won(id);
                            let rule = self.rule(matched);
                            return Some(Found { rule, matched, backend: rule.backends.choose(rng) });
                        }
                    }
                }
            }
        }
        None
    }

    /// The section that serves a host.
    pub fn section_of(&self, host: &[u8]) -> Option<usize> {
        let mut buffer = HostBuffer::default();
        self.by_host.matching(buffer.fold(host)).next().copied()
    }

    /// The table's sections.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Every match of the table, in the order in which they were declared.
    pub fn matches(&self) -> &[Match] {
        &self.matches
    }

    /// The rule of a match.
    pub fn rule(&self, matched: &Match) -> &Rule {
        &self.rules[matched.rule]
    }

    /// Every rule of the table.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}
