//! How a call is made, and which document says so.

use std::time::Duration;

use serde_json::Value;
use weir_model::resource::TrafficPolicySpec;
use weir_model::resource::traffic_policy::{BalancePolicy, Retry, UpstreamTls};
use weir_policy::hedge::HedgeAfter;
use weir_policy::retry::BudgetConfig;

use super::SettingView;
use crate::route::{Rule, TimeLimit};
use crate::snapshot::{Settings, Snapshot, Upstream};

/// What is not left to the defaults: times, retries and hedging in words, and then every other field that is set, by its path
/// in the document.
pub(super) fn settings(
    snapshot: &Snapshot,
    upstream: &Upstream,
    rule: &Rule,
    settings: &Settings,
) -> Vec<SettingView> {
    let said = Said::of(snapshot, upstream, Some(rule));
    let own = |limit: TimeLimit| (limit != TimeLimit::Unset).then(|| rule.label.to_string());
    let of_request =
        said.from(&|spec| spec.timeouts.as_ref().is_some_and(|timeouts| timeouts.request.is_some()));
    let of_attempt =
        said.from(&|spec| spec.timeouts.as_ref().is_some_and(|timeouts| timeouts.per_try.is_some()));
    let rows = [
        (REQUEST, within(rule.request_timeout(settings)), own(rule.request_timeout).or(of_request)),
        (ATTEMPT, within(rule.attempt_timeout(settings)), own(rule.attempt_timeout).or(of_attempt)),
    ];
    rows.into_iter().filter_map(view).chain(said.besides_times(settings)).collect()
}

/// The same for a call that a breaker has sent there, whose first service's settings these are: it has their time still, and goes
/// by the service's own policy in everything else.
pub(super) fn settings_elsewhere(
    snapshot: &Snapshot,
    upstream: &Upstream,
    first: &[SettingView],
) -> Vec<SettingView> {
    let times = first.iter().filter(|row| [REQUEST, ATTEMPT].contains(&&*row.name));
    let said = Said::of(snapshot, upstream, None);
    times.cloned().chain(said.besides_times(&upstream.settings)).collect()
}

/// What is not left to the defaults for connections to a service.
pub(super) fn settings_of_connections(snapshot: &Snapshot, upstream: &Upstream) -> Vec<SettingView> {
    // They have no status that could be a reason to try again.
    let settings = Settings { retry_on: Default::default(), ..upstream.settings.clone() };
    let is_for_requests =
        |row: &SettingView| FOR_REQUESTS.iter().any(|path| row.name.strip_prefix(path).is_some_and(ends));
    let mut rows = Said::of(snapshot, upstream, None).besides_times(&settings);
    rows.retain(|row| !is_for_requests(row));
    rows
}

/// What means nothing to connections that are carried as bytes.
const FOR_REQUESTS: [&str; 4] = ["hedge", "connection", "retry.statuses", "retry.grpcStatuses"];

/// Whether this is what may come behind the path of a field: nothing, or a path below it.
fn ends(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(['.', '['])
}

/// The rows of how long a call may take.
const REQUEST: &str = "request";
const ATTEMPT: &str = "attempt";

fn view((name, value, from): (&str, String, Option<String>)) -> Option<SettingView> {
    Some(SettingView { name: name.to_owned(), value, from: from? })
}

/// How often a call may be tried again, by a rule unless another service's breaker has sent it there: never, where a budget allows
/// nothing.
pub(super) fn retries_of(
    snapshot: &Snapshot,
    upstream: &Upstream,
    rule: Option<&Rule>,
    settings: &Settings,
) -> u32 {
    let budgets = Said::of(snapshot, upstream, rule).budgets();
    if budgets.iter().any(|(_, budget)| allows_none(budget)) { 0 } else { settings.retries }
}

/// The policies that have a say in a call.
struct Said<'a> {
    /// The service's.
    of_service: Option<(String, &'a TrafficPolicySpec)>,
    /// Those of the route and of the rule; the last one is the nearest to the call.
    by_route: Vec<(String, &'a TrafficPolicySpec)>,
}

impl<'a> Said<'a> {
    /// Policies of the rule's and its route's count only for calls by it.
    fn of(snapshot: &'a Snapshot, upstream: &Upstream, rule: Option<&Rule>) -> Self {
        let of_service = snapshot.policy_of(&upstream.service);
        let by_rule = rule.into_iter().flat_map(|rule| snapshot.policies.of(rule));
        let by_route = by_rule.filter_map(|policy| {
            let from = format!("{} of {}", policy.id, policy.target);
            policy.spec().map(|spec| (from, spec))
        });
        Self {
            of_service: of_service.map(|(id, spec)| (format!("{id} of Service/{}", upstream.service), spec)),
            by_route: by_route.collect(),
        }
    }

    /// All of them, the nearest first.
    fn nearest_first(&self) -> impl Iterator<Item = &(String, &'a TrafficPolicySpec)> {
        self.by_route.iter().rev().chain(&self.of_service)
    }

    /// The nearest that says something.
    fn from(&self, says: &dyn Fn(&TrafficPolicySpec) -> bool) -> Option<String> {
        self.nearest_first().find(|(_, spec)| says(spec)).map(|(from, _)| from.clone())
    }

    /// The budgets that must all allow a retry, which defaults leave open: the nearest of the rule's and its route's, and the
    /// service's.
    fn budgets(&self) -> Vec<(String, BudgetConfig)> {
        let budget = |(from, spec): &(String, &TrafficPolicySpec)| {
            let budget = spec.retry.as_ref()?.budget.as_ref()?;
            Some((from.clone(), BudgetConfig::from_spec(budget)))
        };
        let by_route = self.by_route.iter().rev().find_map(budget);
        by_route.into_iter().chain(self.of_service.as_ref().and_then(budget)).collect()
    }

    /// Everything but how long a call may take.
    fn besides_times(&self, settings: &Settings) -> Vec<SettingView> {
        let (retry, hedge) =
            (self.from(&|spec| spec.retry.is_some()), self.from(&|spec| spec.hedge.is_some()));
        let nothing =
            self.budgets().into_iter().find(|(_, budget)| allows_none(budget)).map(|(from, _)| from);
        let (retries, hedged) = match nothing {
            Some(from) => {
                let none = |what: &str| format!("{what}: `retry.budget` allows none");
                let by = |asked: Option<String>| asked.is_some().then(|| from.clone());
                ((none("none"), by(retry)), (none("never"), by(hedge)))
            }
            None => ((self::retries(settings), retry), (self::hedge(settings), hedge)),
        };
        let rows = [("retries", retries.0, retries.1), ("hedge", hedged.0, hedged.1)];
        rows.into_iter().filter_map(view).chain(self.fields()).collect()
    }

    /// What is set besides what has a row of its own.
    fn fields(&self) -> Vec<SettingView> {
        let mut found = Vec::new();
        if let Some((from, spec)) = &self.of_service {
            add(from, parts_of_service(spec), &mut found);
        }
        if let Some((from, spec)) = self.nearest_first().find(|(_, spec)| spec.retry.is_some()) {
            let retry = spec.retry.clone().map(|retry| Retry { budget: None, ..retry });
            add(from, vec![("retry", part(&retry, &["attempts"]))], &mut found);
        }
        let budget = |spec: &TrafficPolicySpec| spec.retry.as_ref().and_then(|retry| retry.budget.clone());
        let by_route = self.by_route.iter().rev().find(|(_, spec)| budget(spec).is_some());
        for (from, spec) in by_route.into_iter().chain(&self.of_service) {
            add(from, vec![("retry.budget", part(&budget(spec), &[]))], &mut found);
        }
        found
    }
}

/// What only a service's policy has, and times that concern its connections.
fn parts_of_service(spec: &TrafficPolicySpec) -> Vec<(&'static str, Value)> {
    let policy = spec.balance.as_ref().map(|balance| balance.policy).unwrap_or_default();
    let unwritten: &[&str] = if policy == BalancePolicy::default() { &["policy"] } else { &[] };
    let tls = match &spec.tls {
        Some(tls) if *tls == UpstreamTls::default() => {
            Value::from("with the authorities that the host trusts")
        }
        tls => part(tls, &[]),
    };
    vec![
        ("timeouts", part(&spec.timeouts, &["request", "perTry"])),
        ("balance", part(&spec.balance, unwritten)),
        ("outlier", part(&spec.outlier, &[])),
        ("tls", tls),
        ("proxyProtocol", part(&spec.proxy_protocol, &[])),
        ("connection", part(&spec.connection, &[])),
    ]
}

/// A part of a document as it is written, without some of its fields.
fn part(of: &impl serde::Serialize, without: &[&str]) -> Value {
    let mut value = serde_json::to_value(of).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.retain(|name, _| !without.contains(&name.as_str()));
    }
    value
}

fn add(from: &str, parts: Vec<(&'static str, Value)>, found: &mut Vec<SettingView>) {
    for (path, value) in parts {
        flatten(path.to_owned(), &value, from, found);
    }
}

/// Each value by its path. How deep that goes is bounded by the types of documents.
fn flatten(path: String, value: &Value, from: &str, found: &mut Vec<SettingView>) {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let value = match value {
        Value::Null => return,
        Value::Object(fields) => {
            return fields
                .iter()
                .for_each(|(name, value)| flatten(format!("{path}.{name}"), value, from, found));
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let items = items.iter().enumerate();
            return items.for_each(|(at, item)| flatten(format!("{path}[{at}]"), item, from, found));
        }
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => plain(other),
    };
    found.push(SettingView { name: path, value, from: from.to_owned() });
}

fn allows_none(budget: &BudgetConfig) -> bool {
    budget.per_mille == 0 && budget.reserve == 0
}

fn hedge(settings: &Settings) -> String {
    match settings.hedge.map(|hedge| hedge.after) {
        Some(HedgeAfter::Delay(delay)) => format!("after {} ms", delay.as_millis()),
        Some(HedgeAfter::Percentile(share)) => {
            format!("after the time that {} % of requests take at most", share * 100.0)
        }
        None => "never".to_owned(),
    }
}

fn within(limit: Option<Duration>) -> String {
    match limit {
        Some(limit) => format!("within {} ms", limit.as_millis()),
        None => "without a time limit".to_owned(),
    }
}

fn retries(settings: &Settings) -> String {
    let (statuses, grpc_statuses) = settings.retry_on;
    let none = statuses.is_empty() && grpc_statuses == Default::default();
    let upon = if none { "" } else { ", upon some statuses too" };
    format!("at most {}{upon}", settings.retries)
}
