//! What of a traffic policy has no effect, or none unless another document helps.

use super::Surroundings;
use crate::resource::targets::Target;
use crate::resource::traffic_policy::{Outlier, Retry, RetryBudget, Timeouts};
use crate::resource::{Kind, Spec, TrafficPolicySpec};
use crate::units::Span;
use crate::validate::FieldError;
use crate::validate::route::named_rules;
use crate::validate::traffic_policy::REQUEST_DEFAULT;

/// Hints about one policy of a namespace.
pub(super) fn hints<F>(
    namespace: &str,
    spec: &Spec,
    policy: &TrafficPolicySpec,
    surroundings: &Surroundings<'_, F>,
) -> Vec<FieldError> {
    let mut hints = Vec::new();
    let targets = spec.targets();
    if targets.iter().any(|target| target.kind == Some(Kind::Service)) {
        hints.extend(beyond_default(policy));
    }
    hints.extend(policy.timeouts.as_ref().and_then(connecting));
    if let Some(retry) = &policy.retry {
        hints.extend(retries(retry, policy.hedge.is_some()));
    }
    hints.extend(policy.outlier.as_ref().and_then(no_ejection));
    if !targets.is_empty() && targets.iter().all(|target| target.kind == Some(Kind::GrpcRoute)) {
        hints.extend(nothing_cached(policy));
    }
    let routes = targets.into_iter().filter(|target| target.kind.is_some_and(Kind::is_route));
    for target in routes {
        hints.extend(back_to_a_backend(namespace, spec, target, surroundings));
    }
    hints
}

/// Times that the default of `timeouts.request` cuts off. A rule may give its calls more, so they are not refused.
fn beyond_default(policy: &TrafficPolicySpec) -> Vec<FieldError> {
    let timeouts = policy.timeouts.as_ref();
    if timeouts.is_some_and(|timeouts| timeouts.request.is_some()) {
        return Vec::new();
    }
    let hedge = policy.hedge.as_ref().and_then(|hedge| hedge.delay);
    let named = [
        ("spec.timeouts.perTry".to_owned(), timeouts.and_then(|timeouts| timeouts.per_try)),
        ("spec.timeouts.connect".to_owned(), timeouts.and_then(|timeouts| timeouts.connect)),
        ("spec.hedge.delay".to_owned(), hedge),
    ];
    let slow = policy
        .breakers
        .iter()
        .enumerate()
        .map(|(index, breaker)| (format!("spec.breakers[{index}].slowCall"), breaker.slow_call));
    let request = Span(REQUEST_DEFAULT);
    named
        .into_iter()
        .chain(slow)
        .filter_map(|(path, span)| {
            // What is sent when the time is up is too late already; what lasts until then is not.
            let is_sent = path == "spec.hedge.delay";
            if span? < request || (span? == request && !is_sent) {
                return None;
            }
            let (is, within) = if is_sent { ("no shorter", "less than") } else { ("longer", "at most") };
            let message = format!(
                "{is} than a call may take: `timeouts.request` is {request} unless it is written, or a rule has its own"
            );
            let expected = format!("{within} {request}, or `timeouts.request` too");
            Some(FieldError::new(path, message).expected(expected))
        })
        .collect()
}

fn connecting(timeouts: &Timeouts) -> Option<FieldError> {
    let (connect, request) = (timeouts.connect?, timeouts.request?);
    (!request.0.is_zero() && connect > request).then(|| {
        let message = format!("connecting may take longer ({connect}) than the whole request ({request})");
        FieldError::new("spec.timeouts.connect", message).expected(format!("at most {request}"))
    })
}

fn retries(retry: &Retry, is_hedged: bool) -> Vec<FieldError> {
    let mut hints = Vec::new();
    if retry.attempts == 0 {
        let fields = [
            ("statuses", !retry.statuses.is_empty()),
            ("grpcStatuses", !retry.grpc_statuses.is_empty()),
            ("backoff", retry.backoff.is_some()),
        ];
        hints.extend(fields.into_iter().filter(|(_, is_there)| *is_there).map(|(field, _)| {
            FieldError::new(format!("spec.retry.{field}"), "with `attempts: 0` nothing is tried again")
                .expected("`attempts` of 1 and more")
        }));
    }
    let nothing = |budget: &RetryBudget| budget.ratio == Some(0.0) && budget.reserve == Some(0);
    if retry.budget.as_ref().is_some_and(nothing) && (retry.attempts > 0 || is_hedged) {
        let message = "it allows nothing: no request is tried again, and none is copied";
        hints
            .push(FieldError::new("spec.retry.budget", message).expected("a `ratio` or a `reserve` above 0"));
    }
    hints
}

/// Ejection that is on and can eject nobody.
fn no_ejection(outlier: &Outlier) -> Option<FieldError> {
    if outlier.enabled == Some(false) {
        return None;
    }
    let none_at_once = outlier.ejected_max == Some(0.0);
    let no_reason = outlier.consecutive == Some(0) && outlier.false_discovery == Some(0.0);
    (none_at_once || no_reason).then(|| {
        FieldError::new("spec.outlier", "so no instance is ever ejected")
            .expected("`enabled: false` to say so")
    })
}

/// Only what was asked for with GET is kept, and calls of gRPC are not.
fn nothing_cached(policy: &TrafficPolicySpec) -> Vec<FieldError> {
    let breakers = policy.breakers.iter().enumerate();
    let cached = breakers
        .filter(|(_, breaker)| breaker.fallback.as_ref().is_some_and(|fallback| fallback.cached.is_some()));
    cached
        .map(|(index, _)| {
            let path = format!("spec.breakers[{index}].fallback.cached");
            FieldError::new(path, "calls of gRPC have no earlier responses: only those to GET are kept")
                .expected("`service` or `response`")
        })
        .collect()
}

/// A fallback to where a rule sends some of its calls anyway: to what has failed, for those that are not drawn elsewhere. One to
/// where all of them go is refused.
fn back_to_a_backend<F>(
    namespace: &str,
    spec: &Spec,
    target: Target<'_>,
    surroundings: &Surroundings<'_, F>,
) -> Vec<FieldError> {
    let route = target.kind.and_then(|kind| surroundings.rules.get(&(kind, namespace, target.name)));
    let Some(route) = route else { return Vec::new() };
    let rules = named_rules(route);
    let mut hints = Vec::new();
    for fallback in spec.fallbacks() {
        let to = fallback.service(namespace);
        let leads_back = rules.iter().any(|(name, backends)| {
            let meant = target.section.is_none() || target.section == *name;
            meant
                && backends.iter().any(|backend| {
                    let of = backend.namespace.as_deref().unwrap_or(namespace);
                    backend.weight > 0 && of == to.namespace && backend.name == to.name
                })
        });
        if leads_back {
            let message = format!("`{}` sends its calls to `{to}` anyway", target.name);
            hints.push(
                FieldError::new(format!("{}.name", fallback.path()), message).expected("another service"),
            );
        }
    }
    hints
}
