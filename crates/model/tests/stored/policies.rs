//! Traffic policies and limits with everything that they can have.

use weir_model::resource::key::{KeyKind, KeyPart};
use weir_model::resource::rate_limit::{
    LimitAlgorithm, LimitScope, Priority, Queue, Rate, RateLimitSpec, WarmUp,
};
use weir_model::resource::traffic_policy::{
    Backoff, Balance, BalancePolicy, Breaker, BreakerLevel, BreakerStrategy, Cached, Fallback,
    FallbackService, Hedge, Locality, Nearness, Outlier, PolicyTarget, ResponseField, Retry, RetryBudget,
    SlowStart, StaticResponse, Timeouts, TrafficPolicySpec,
};
use weir_model::resource::{Resource, Spec};
use weir_model::units::Size;

use super::{golden, named, span, text};

/// A policy for routes with everything that one can have, and a policy for services with the rest.
#[test]
fn traffic_policy_in_full() {
    let key = |kind, name: Option<&str>| KeyPart { kind, name: name.map(text) };
    let target = |kind: &str, name: &str, section: Option<&str>| PolicyTarget {
        group: None,
        kind: Some(text(kind)),
        name: text(name),
        section_name: section.map(text),
    };
    let window = Breaker {
        level: BreakerLevel::Route,
        failure_statuses: Some(vec![500, 503]),
        slow_call: Some(span("2s")),
        window: Some(span("10s")),
        calls_min: Some(20),
        failure_ratio: Some(0.5),
        slow_ratio: Some(0.9),
        open: Some(span("5s")),
        open_max: Some(span("1m")),
        probes: Some(3),
        ramp: Some(span("10s")),
        fallback: Some(Fallback {
            response: Some(StaticResponse {
                status: 200,
                headers: vec![ResponseField { name: text("content-type"), value: text("application/json") }],
                body: Some(text("[]")),
                ..StaticResponse::default()
            }),
            ..Fallback::default()
        }),
        ..Breaker::default()
    };
    let others = [
        Breaker {
            strategy: BreakerStrategy::Consecutive,
            failures: Some(5),
            fallback: Some(Fallback {
                service: Some(FallbackService { name: text("spare"), namespace: Some(text("far")) }),
                ..Fallback::default()
            }),
            ..Breaker::default()
        },
        Breaker {
            strategy: BreakerStrategy::Statistical,
            normal_ratio: Some(0.01),
            failing_ratio: Some(0.1),
            calls_to_false_trip: Some(1_000_000),
            fallback: Some(Fallback {
                cached: Some(Cached { age_max: Some(span("10m")), size_max: Some(Size(16 << 20)) }),
                ..Fallback::default()
            }),
            ..Breaker::default()
        },
        Breaker {
            level: BreakerLevel::Instance,
            strategy: BreakerStrategy::Throttle,
            window: Some(span("2m")),
            factor: Some(2.0),
            shadow: true,
            ..Breaker::default()
        },
        Breaker { window_calls: Some(100), ..Breaker::default() },
    ];
    let spec = TrafficPolicySpec {
        target_refs: vec![target("HTTPRoute", "shop", Some("buy")), target("GRPCRoute", "shop", None)],
        timeouts: Some(Timeouts {
            request: Some(span("3s")),
            per_try: Some(span("1s")),
            ..Timeouts::default()
        }),
        retry: Some(Retry {
            attempts: 2,
            statuses: vec![502, 503],
            grpc_statuses: vec![text("UNAVAILABLE")],
            backoff: Some(Backoff { base: Some(span("25ms")), max: Some(span("250ms")) }),
            budget: Some(RetryBudget { ratio: Some(0.2), reserve: Some(10), window: Some(span("10s")) }),
        }),
        hedge: Some(Hedge { enabled: None, delay: None, percentile: Some(0.95) }),
        breakers: std::iter::once(window).chain(others).collect(),
        ..TrafficPolicySpec::default()
    };
    golden(
        "traffic_policy_route",
        &Resource { metadata: named("buy"), spec: Spec::TrafficPolicy(Box::new(spec)) },
    );
    let spec = TrafficPolicySpec {
        target_refs: vec![PolicyTarget { name: text("cart"), ..PolicyTarget::default() }],
        balance: Some(Balance {
            policy: BalancePolicy::Maglev,
            hash: vec![key(KeyKind::Cookie, Some("id")), key(KeyKind::SourceAddress, None)],
            load_factor: Some(1.25),
            decay: Some(span("10s")),
            slow_start: Some(SlowStart { window: span("30s"), aggression: Some(1.5), floor: Some(0.1) }),
            locality: Some(Locality { prefer: Nearness::Region }),
            panic_threshold: Some(0.5),
            subset: Some(20),
        }),
        hedge: Some(Hedge { enabled: None, delay: Some(span("50ms")), percentile: None }),
        outlier: Some(Outlier {
            enabled: Some(true),
            consecutive: Some(5),
            interval: Some(span("10s")),
            false_discovery: Some(0.01),
            effect_min: Some(0.05),
            failures_min: Some(5),
            ejection: Some(span("30s")),
            ejection_max: Some(span("5m")),
            ejected_max: Some(0.5),
            shadow: true,
        }),
        ..TrafficPolicySpec::default()
    };
    golden(
        "traffic_policy_balance",
        &Resource { metadata: named("cart"), spec: Spec::TrafficPolicy(Box::new(spec)) },
    );
}

#[test]
fn rate_limit() {
    let target = |kind: Option<&str>, name: &str, section: Option<&str>| PolicyTarget {
        group: kind.map(|_| text("gateway.networking.k8s.io")),
        kind: kind.map(text),
        name: text(name),
        section_name: section.map(text),
    };
    let spec = RateLimitSpec {
        target_refs: vec![target(Some("Gateway"), "edge", Some("https")), target(None, "cart", None)],
        key: vec![
            KeyPart { kind: KeyKind::Header, name: Some(text("x-user")) },
            KeyPart { kind: KeyKind::Route, name: None },
        ],
        keys_max: Some(10_000),
        rates: vec![
            Rate { requests: 10, per: None, burst: Some(20) },
            Rate { requests: 100, per: Some(span("1m")), burst: None },
        ],
        response: Some(StaticResponse { status: 403, ..StaticResponse::default() }),
        ..RateLimitSpec::default()
    };
    golden("rate_limit", &Resource { metadata: named("cart"), spec: Spec::RateLimit(spec) });
    let spec = RateLimitSpec {
        target_refs: vec![target(None, "cart", None)],
        algorithm: LimitAlgorithm::Adaptive,
        queue: Some(Queue { max: Some(100), timeout: Some(span("100ms")) }),
        concurrency_max: Some(1000),
        concurrency_min: Some(4),
        priority: Some(Priority { header: text("x-priority"), levels: vec![text("high"), text("low")] }),
        scope: LimitScope::Global,
        shadow: true,
        ..RateLimitSpec::default()
    };
    golden("rate_limit_adaptive", &Resource { metadata: named("cart"), spec: Spec::RateLimit(spec) });
    let spec = RateLimitSpec {
        target_refs: vec![target(None, "cart", None)],
        algorithm: LimitAlgorithm::WarmUp,
        rates: vec![Rate { requests: 10, per: None, burst: None }],
        warm_up: Some(WarmUp { over: Some(span("10s")), from: Some(0.25) }),
        ..RateLimitSpec::default()
    };
    golden("rate_limit_warm_up", &Resource { metadata: named("cart"), spec: Spec::RateLimit(spec) });
}
