//! How a call is made, and which document says so.

use std::time::Duration;

use weir_model::resource::TrafficPolicySpec;
use weir_policy::hedge::HedgeAfter;

use super::SettingView;
use crate::route::{Rule, TimeLimit};
use crate::snapshot::{Settings, Snapshot, Upstream};

/// What is not left to the defaults.
pub(super) fn settings(
    snapshot: &Snapshot,
    upstream: &Upstream,
    rule: &Rule,
    settings: &Settings,
) -> Vec<SettingView> {
    let of_service = snapshot.policy_of(&upstream.service);
    let of_service = of_service.map(|(id, spec)| (format!("{id} of Service/{}", upstream.service), spec));
    let by_route = snapshot.policies.of(rule).filter_map(|policy| {
        let from = format!("{} of {}", policy.id, policy.target);
        policy.spec().map(|spec| (from, spec))
    });
    // The last one that says something is the nearest to the call.
    let said: Vec<(String, &TrafficPolicySpec)> = of_service.into_iter().chain(by_route).collect();
    let from = |says: &dyn Fn(&TrafficPolicySpec) -> bool| {
        said.iter().rev().find(|(_, spec)| says(spec)).map(|(from, _)| from.clone())
    };
    let own = |limit: TimeLimit| (limit != TimeLimit::Unset).then(|| rule.label.to_string());
    let of_request = from(&|spec| spec.timeouts.as_ref().is_some_and(|timeouts| timeouts.request.is_some()));
    let of_attempt = from(&|spec| spec.timeouts.as_ref().is_some_and(|timeouts| timeouts.per_try.is_some()));
    let rows = [
        ("request", within(rule.request_timeout(settings)), own(rule.request_timeout).or(of_request)),
        ("attempt", within(rule.attempt_timeout(settings)), own(rule.attempt_timeout).or(of_attempt)),
        ("retries", retries(settings), from(&|spec| spec.retry.is_some())),
        ("hedge", hedge(settings), from(&|spec| spec.hedge.is_some())),
    ];
    let view = |(name, value, from): (&str, String, Option<String>)| {
        Some(SettingView { name: name.to_owned(), value, from: from? })
    };
    rows.into_iter().filter_map(view).collect()
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
