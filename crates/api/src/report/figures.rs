//! What the reports of several proxies come to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    BreakerReport, EndpointReport, Histogram, KeptAnswers, LimitReport, Report, RouteReport, ServiceReport,
    Side, Totals,
};

/// Proxies whose word on one limit or breaker is shown.
pub const STATES_SHOWN_MAX: usize = 10;

/// A proxy's newest report, with one to compare it with.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The proxy's id.
    pub proxy: &'a str,
    /// How long ago the report came, in milliseconds.
    pub age_ms: u64,
    /// The report.
    pub latest: &'a Report,
    /// An earlier one of the same process; none when there is no rate yet.
    pub base: Option<&'a Report>,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only services of this namespace, and what concerns them.
    pub namespace: Option<String>,
    /// Only this service: `NAME`, or `NAMESPACE/NAME`.
    pub service: Option<String>,
}

/// What all proxies together report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Proxies that are connected.
    pub proxies: u64,
    /// Those among them that have reported.
    pub reporting: u64,
    /// How old the oldest report is that counts here, in milliseconds; none where nobody has reported.
    pub oldest_ms: Option<u64>,
    /// By service, and by where the proxies stand.
    pub services: Vec<ServiceFigures>,
    /// By document and target.
    pub limits: Vec<LimitFigures>,
    /// By document, target and part.
    pub breakers: Vec<BreakerFigures>,
    /// Rows that proxies left out of their reports because there are too many.
    pub omitted: u64,
    /// Addresses of replicas that did not answer: their proxies are not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// One service, as the proxies that stand on one side of it have counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceFigures {
    /// The service: `NAME`, `NAMESPACE/NAME`, or `_none`, `_outside`, `_other`.
    pub service: String,
    /// Where the proxies stand. A call between two sidecars is counted on both sides.
    pub side: Side,
    /// How many proxies report of it.
    pub proxies: u64,
    /// Requests since the proxies started, by the class of their status, and those they answered themselves.
    pub totals: Totals,
    /// All of these.
    pub requests: u64,
    /// Requests each second, of late; none where no proxy has reported twice.
    pub requests_per_s: Option<f64>,
    /// The share of them that failed: 5xx, or a gRPC status that says that the server failed. None where there were none.
    pub error_ratio: Option<f64>,
    /// The share of them that the proxies answered themselves.
    pub own_ratio: Option<f64>,
    /// The time that half of them did not exceed, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The time that 99 of 100 did not exceed.
    pub p99_ms: Option<f64>,
    /// Requests under way.
    pub in_flight: u64,
    /// Retries since the proxies started.
    pub retries: u64,
    /// Retries that the budget forbade.
    pub retries_denied: u64,
    /// Retries each second, of late.
    pub retries_per_s: Option<f64>,
    /// The most endpoints that any proxy knows.
    pub endpoints_known: u64,
    /// Ejected endpoints, of the proxy that has most.
    pub ejected: u64,
    /// Endpoints.
    pub endpoints: Vec<EndpointFigures>,
    /// The same requests by rule.
    pub routes: Vec<RouteFigures>,
}

/// One endpoint, as all proxies see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointFigures {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub address: String,
    /// The registry's judgement.
    pub health: String,
    /// How many proxies report of it.
    pub proxies: u64,
    /// Requests under way there.
    pub in_flight: u64,
    /// Requests sent there each second, of late.
    pub requests_per_s: Option<f64>,
    /// Requests sent there, since each proxy knows it.
    pub requests: u64,
    /// Failures to connect, and connections that broke off.
    pub failures: u64,
    /// How many proxies take it for a last choice.
    pub avoided_by: u64,
    /// How many proxies have ejected it.
    pub ejected_by: u64,
    /// For how long and why, as the proxies say, or why they would but for shadow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ejected: Vec<StateOf>,
    /// What the proxies' own checks of it came to, where they carry out any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checked: Vec<StateOf>,
}

/// One rule's requests to a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteFigures {
    /// The route and the rule's place in it.
    pub route: String,
    /// Requests since the proxies started.
    pub totals: Totals,
    /// Requests each second, of late.
    pub requests_per_s: Option<f64>,
    /// Whether the rule, as it now stands at all proxies, does not lead to the service: these requests came there by the
    /// fallback of a breaker, or before the rule was changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

/// What one proxy says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateOf {
    /// The proxy's id.
    pub proxy: String,
    /// How it stands there.
    pub state: String,
}

/// One limit, at all proxies where it is in force. Each proxy keeps to it by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitFigures {
    /// The document.
    pub limit: String,
    /// What it limits.
    pub target: String,
    /// The rule, as requests are counted by it, where it is for one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Whether it only counts.
    pub shadow: bool,
    /// How many proxies report of it.
    pub proxies: u64,
    /// Requests that it let through.
    pub admitted: u64,
    /// Requests that waited.
    pub waited: u64,
    /// Requests that it refused, or would have refused in shadow.
    pub refused: u64,
    /// The same each second, of late.
    pub refused_per_s: Option<f64>,
    /// How it stands, by proxy; [`STATES_SHOWN_MAX`] at most.
    pub states: Vec<StateOf>,
}

/// One machine of a breaker, at all proxies where calls have met it; or a breaker that none has met yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BreakerFigures {
    /// The document, and which of its breakers.
    pub breaker: String,
    /// What it is for.
    pub target: String,
    /// The rule, as requests are counted by it, where it is for one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// The rule or endpoint, where each has its own.
    pub part: String,
    /// Whether it only counts.
    pub shadow: bool,
    /// How many proxies report of it.
    pub proxies: u64,
    /// At how many it is open.
    pub open: u64,
    /// At how many it is half open.
    pub half_open: u64,
    /// At how many it is closed and refuses a share of calls: a throttle, or one that was closed a moment ago.
    pub refusing: u64,
    /// The largest share that it refuses at one of these, 0 to 1.
    pub refusing_share: f64,
    /// At how many it is in force, and no call has met it yet.
    pub unmet: u64,
    /// Its strategy, as documents name it; empty where no proxy has told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub strategy: String,
    /// Calls that it refused, or would have refused in shadow.
    pub refused: u64,
    /// The same each second, of late.
    pub refused_per_s: Option<f64>,
    /// How it stands, by proxy, those first that refuse calls; [`STATES_SHOWN_MAX`] at most.
    pub states: Vec<StateOf>,
    /// What its fallback keeps, where that is earlier answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptAnswers>,
}

/// What one proxy reports, with who it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxyReport {
    /// Its id.
    pub proxy: String,
    /// `gateway` or `sidecar`.
    pub role: String,
    /// Its namespace.
    pub namespace: String,
    /// The service it stands in front of, for a sidecar.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// The gateways it serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// How long ago the report came, in milliseconds.
    pub age_ms: u64,
    /// What it says.
    pub report: Report,
    /// What it said some time before, for rates; only where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Report>,
}

impl ProxyReport {
    /// The same for [`figures`].
    pub fn seen(&self) -> Seen<'_> {
        Seen { proxy: &self.proxy, age_ms: self.age_ms, latest: &self.report, base: self.base.as_ref() }
    }
}

impl Wanted {
    fn has(&self, label: &str) -> bool {
        let (namespace, name) = label.split_once('/').unwrap_or(("default", label));
        let is_named = |wanted: &str| match wanted.split_once('/') {
            Some((space, wanted)) => space == namespace && wanted == name,
            None => wanted == label || (self.namespace.is_some() && wanted == name),
        };
        // What is no service belongs to no namespace.
        let is_service = !label.starts_with('_');
        self.namespace.as_deref().is_none_or(|wanted| is_service && wanted == namespace)
            && self.service.as_deref().is_none_or(is_named)
    }

    fn is_everything(&self) -> bool {
        self.namespace.is_none() && self.service.is_none()
    }
}

/// Adds up what proxies report, as far as it is wanted. Of limits and breakers those count that concern a service that is
/// wanted, or a route to one. `proxies` of the answer is how many have reported: who knows of others sets it.
pub fn figures<'a>(seen: impl IntoIterator<Item = Seen<'a>>, wanted: &Wanted) -> Figures {
    let mut all = Sums::default();
    for one in seen {
        all.figures.reporting = all.figures.reporting.saturating_add(1);
        all.figures.oldest_ms = Some(all.figures.oldest_ms.unwrap_or(0).max(one.age_ms));
        all.figures.omitted = all.figures.omitted.saturating_add(one.latest.omitted);
        let over = Over::of(&one);
        let services = one.latest.services.iter().enumerate();
        for (index, service) in services.filter(|(_, service)| wanted.has(&service.service)) {
            let is_it = |old: &ServiceReport| old.service == service.service && old.side == service.side;
            let before = one.base.and_then(|base| counterpart(&base.services, index, is_it));
            all.service(&one, service, before, over);
        }
        all.policies(&one, over);
    }
    all.finish(wanted)
}

/// The same row in an earlier report. Mostly it has the same place there, so that looking for all of them takes no longer
/// than reading them.
fn counterpart<T>(rows: &[T], index: usize, is_it: impl Fn(&T) -> bool) -> Option<&T> {
    rows.get(index).filter(|row| is_it(row)).or_else(|| rows.iter().find(|row| is_it(row)))
}

/// Over how many seconds two reports are compared.
#[derive(Clone, Copy)]
struct Over(Option<f64>);

impl Over {
    fn of(seen: &Seen<'_>) -> Self {
        let ms = seen.base.map_or(0, |base| seen.latest.at_ms.saturating_sub(base.at_ms));
        Self((ms > 0).then_some(ms as f64 / 1000.0))
    }

    /// Adds a rate to a sum of such.
    fn add(self, sum: &mut Option<f64>, now: u64, before: Option<u64>) {
        if let Some(seconds) = self.0 {
            *sum = Some(sum.unwrap_or(0.0) + now.saturating_sub(before.unwrap_or(0)) as f64 / seconds);
        }
    }
}

/// A document's breaker, its target and part.
type BreakerKey = (String, String, String);

#[derive(Default)]
struct Sums {
    figures: Figures,
    services: BTreeMap<(String, Side), ServiceSum>,
    limits: BTreeMap<(String, String), LimitFigures>,
    breakers: BTreeMap<BreakerKey, BreakerFigures>,
}

#[derive(Default)]
struct ServiceSum {
    figures: ServiceFigures,
    late: Totals,
    late_failed: u64,
    duration: Histogram,
    endpoints: BTreeMap<String, EndpointFigures>,
    routes: BTreeMap<String, RouteFigures>,
}

impl Sums {
    fn service(
        &mut self,
        seen: &Seen<'_>,
        service: &ServiceReport,
        before: Option<&ServiceReport>,
        over: Over,
    ) {
        let none = ServiceReport::default();
        let sum = self.services.entry((service.service.clone(), service.side)).or_default();
        let figures = &mut sum.figures;
        figures.proxies = figures.proxies.saturating_add(1);
        figures.totals.add(&service.totals);
        figures.in_flight = figures.in_flight.saturating_add(service.in_flight);
        figures.retries = figures.retries.saturating_add(service.retries);
        figures.retries_denied = figures.retries_denied.saturating_add(service.retries_denied);
        figures.endpoints_known = figures.endpoints_known.max(service.endpoints_known);
        figures.ejected = figures.ejected.max(service.ejected);
        let old = before.unwrap_or(&none);
        if over.0.is_some() {
            let late = service.totals.since(&old.totals);
            sum.late.add(&late);
            sum.late_failed = sum
                .late_failed
                .saturating_add(late.failed() + service.grpc_failed.saturating_sub(old.grpc_failed));
            sum.duration.add(&service.duration.since(&old.duration));
            over.add(&mut figures.requests_per_s, late.requests(), None);
            over.add(&mut figures.retries_per_s, service.retries, Some(old.retries));
        }
        for (index, endpoint) in service.endpoints.iter().enumerate() {
            let before = counterpart(&old.endpoints, index, |before| before.id == endpoint.id);
            let entry = sum.endpoints.entry(endpoint.id.clone()).or_default();
            add_endpoint(entry, endpoint, before, seen.proxy, over);
        }
        for (index, route) in service.routes.iter().enumerate() {
            let before = counterpart(&old.routes, index, |before| before.route == route.route);
            let fresh = || RouteFigures { elsewhere: true, ..RouteFigures::default() };
            add_route(sum.routes.entry(route.route.clone()).or_insert_with(fresh), route, before, over);
        }
    }

    fn policies(&mut self, seen: &Seen<'_>, over: Over) {
        for (index, limit) in seen.latest.limits.iter().enumerate() {
            let is_it = |old: &LimitReport| old.limit == limit.limit && old.target == limit.target;
            let before = seen.base.and_then(|base| counterpart(&base.limits, index, is_it));
            let entry = self.limits.entry((limit.limit.clone(), limit.target.clone())).or_default();
            entry.proxies = entry.proxies.saturating_add(1);
            entry.shadow |= limit.shadow;
            if !limit.rule.is_empty() {
                entry.rule.clone_from(&limit.rule);
            }
            entry.admitted = entry.admitted.saturating_add(limit.admitted);
            entry.waited = entry.waited.saturating_add(limit.waited);
            entry.refused = entry.refused.saturating_add(limit.refused);
            over.add(&mut entry.refused_per_s, limit.refused, before.map(|before| before.refused));
            say(&mut entry.states, seen.proxy, &limit.state);
        }
        for (index, breaker) in seen.latest.breakers.iter().enumerate() {
            let is_it = |old: &BreakerReport| {
                old.breaker == breaker.breaker && old.target == breaker.target && old.part == breaker.part
            };
            let before = seen.base.and_then(|base| counterpart(&base.breakers, index, is_it));
            let key = (breaker.breaker.clone(), breaker.target.clone(), breaker.part.clone());
            let entry = self.breakers.entry(key).or_default();
            entry.proxies = entry.proxies.saturating_add(1);
            entry.shadow |= breaker.shadow;
            if !breaker.rule.is_empty() {
                entry.rule.clone_from(&breaker.rule);
            }
            entry.open = entry.open.saturating_add(u64::from(breaker.phase == "open"));
            entry.half_open = entry.half_open.saturating_add(u64::from(breaker.phase == "half_open"));
            if let Some(refusing) = breaker.refusing.as_ref().filter(|_| breaker.phase == "closed") {
                entry.refusing = entry.refusing.saturating_add(1);
                entry.refusing_share = entry.refusing_share.max(refusing.share.clamp(0.0, 1.0));
            }
            entry.unmet = entry.unmet.saturating_add(u64::from(breaker.unmet));
            if !breaker.strategy.is_empty() {
                entry.strategy.clone_from(&breaker.strategy);
            }
            entry.refused = entry.refused.saturating_add(breaker.refused);
            over.add(&mut entry.refused_per_s, breaker.refused, before.map(|before| before.refused));
            if let Some(kept) = breaker.kept {
                entry.kept.get_or_insert_default().add(kept);
            }
            let goes_first = breaker.phase != "closed" || breaker.refusing.is_some();
            if goes_first && entry.states.len() == STATES_SHOWN_MAX {
                entry.states.pop();
            }
            say(&mut entry.states, seen.proxy, &breaker.state);
            // One that says nothing stands nowhere.
            if goes_first && !entry.states.is_empty() && !breaker.state.is_empty() {
                entry.states.rotate_right(1);
            }
        }
    }

    fn finish(self, wanted: &Wanted) -> Figures {
        let mut figures = self.figures;
        figures.proxies = figures.reporting;
        figures.services =
            self.services.into_iter().map(|((service, side), sum)| sum.finish(service, side)).collect();
        let services = &figures.services;
        let limits =
            self.limits.into_iter().map(|((limit, target), sum)| LimitFigures { limit, target, ..sum });
        let concerns = |limit: &LimitFigures| {
            let is_one = |service: &ServiceFigures| service.is_concerned_by(&limit.target, &limit.rule);
            wanted.is_everything() || services.iter().any(is_one)
        };
        let limits = limits.filter(concerns).collect();
        let parts = parts(&self.breakers);
        let breakers = self.breakers.into_iter();
        let breakers =
            breakers.map(|((breaker, target, part), sum)| BreakerFigures { breaker, target, part, ..sum });
        // Where each rule or endpoint has its own, what no call has met at one proxy stands among those of the others.
        let is_shown = |row: &BreakerFigures| {
            let is_unmet = row.part.is_empty() && row.unmet == row.proxies;
            let is_met = || services.iter().any(|service| service.meets(row));
            (wanted.is_everything() || is_met())
                && !(is_unmet && parts.contains(&(row.breaker.clone(), row.target.clone())))
        };
        let breakers = breakers.filter(is_shown).collect();
        (figures.limits, figures.breakers) = (limits, breakers);
        figures
    }
}

/// The breakers of which there are parts.
fn parts(breakers: &BTreeMap<BreakerKey, BreakerFigures>) -> BTreeSet<(String, String)> {
    let parts = breakers.keys().filter(|(_, _, part)| !part.is_empty());
    parts.map(|(breaker, target, _)| (breaker.clone(), target.clone())).collect()
}

impl ServiceFigures {
    /// Whether a policy for this target is for the service.
    pub fn is_target(&self, target: &str) -> bool {
        target.strip_prefix("Service/") == Some(&*self.service)
    }

    /// The rules that lead to it.
    fn rules(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().filter(|own| !own.elsewhere).map(|own| &*own.route)
    }

    /// Whether requests come to it by a rule of this route.
    fn is_reached_by(&self, route: &str) -> bool {
        self.rules().any(|rule| rule.split('#').next() == Some(route))
    }

    /// Whether calls to it meet a breaker: its own, or one of a route by which requests come to it. Where each rule or
    /// endpoint has its own, those of other rules, and of other services' endpoints, are none of its.
    pub fn meets(&self, breaker: &BreakerFigures) -> bool {
        if self.is_target(&breaker.target) {
            return true;
        }
        let is_own_part = |part: &str| {
            self.rules().any(|rule| rule == part)
                || part.strip_prefix(&*self.service).is_some_and(|rest| rest.starts_with('/'))
        };
        self.is_concerned_by(&breaker.target, &breaker.rule)
            && (breaker.part.is_empty() || is_own_part(&breaker.part))
    }

    /// Whether a policy for this target is for the service, or for a route by which requests come to it, or for this rule of
    /// such a route. Which rule is meant by a target may not be known: then it is empty, and all of the route's may be meant.
    pub fn is_concerned_by(&self, target: &str, rule: &str) -> bool {
        // Calls that another service's breaker sent here as to its fallback are counted here by that one's name. Its own
        // policies are none of this one's.
        if target.starts_with("Service/") {
            return self.is_target(target);
        }
        if rule.is_empty() {
            return self.is_reached_by(target.split('#').next().unwrap_or(target));
        }
        self.rules().any(|own| own == rule)
    }
}

impl ServiceSum {
    fn finish(self, service: String, side: Side) -> ServiceFigures {
        let late = self.late.requests();
        let share = |part: u64| (late > 0).then(|| (part as f64 / late as f64).min(1.0));
        ServiceFigures {
            service,
            side,
            requests: self.figures.totals.requests(),
            error_ratio: share(self.late_failed),
            own_ratio: share(self.late.own),
            p50_ms: self.duration.quantile_ms(0.5),
            p99_ms: self.duration.quantile_ms(0.99),
            endpoints: named(self.endpoints, |id, endpoint| endpoint.id = id),
            routes: named(self.routes, |route, figures| figures.route = route),
            ..self.figures
        }
    }
}

fn named<T>(all: BTreeMap<String, T>, name: impl Fn(String, &mut T)) -> Vec<T> {
    let all = all.into_iter().map(|(key, mut one)| {
        name(key, &mut one);
        one
    });
    all.collect()
}

fn add_endpoint(
    sum: &mut EndpointFigures,
    endpoint: &EndpointReport,
    before: Option<&EndpointReport>,
    proxy: &str,
    over: Over,
) {
    sum.address.clone_from(&endpoint.address);
    sum.health.clone_from(&endpoint.health);
    sum.proxies = sum.proxies.saturating_add(1);
    sum.in_flight = sum.in_flight.saturating_add(endpoint.in_flight);
    sum.requests = sum.requests.saturating_add(endpoint.requests);
    sum.failures = sum.failures.saturating_add(endpoint.failures);
    sum.avoided_by = sum.avoided_by.saturating_add(u64::from(endpoint.avoided));
    sum.ejected_by = sum.ejected_by.saturating_add(u64::from(endpoint.is_ejected));
    over.add(&mut sum.requests_per_s, endpoint.requests, before.map(|before| before.requests));
    if let Some(why) = &endpoint.ejected {
        say(&mut sum.ejected, proxy, why);
    }
    if let Some(checked) = &endpoint.checked {
        say(&mut sum.checked, proxy, &format!("{}, {checked}", endpoint.health));
    }
}

fn add_route(sum: &mut RouteFigures, route: &RouteReport, before: Option<&RouteReport>, over: Over) {
    sum.totals.add(&route.totals);
    sum.elsewhere &= route.elsewhere;
    let before = before.map(|before| before.totals.requests());
    over.add(&mut sum.requests_per_s, route.totals.requests(), before);
}

fn say(states: &mut Vec<StateOf>, proxy: &str, state: &str) {
    if states.len() < STATES_SHOWN_MAX && !state.is_empty() {
        states.push(StateOf { proxy: proxy.to_owned(), state: state.to_owned() });
    }
}
