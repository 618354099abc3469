//! Traffic policies and limits of every shape: none that can be written down panics what judges it, and each reads as
//! what was written.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use proptest::prelude::*;
use weir_model::document;
use weir_model::resource::key::{KeyKind, KeyPart};
use weir_model::resource::rate_limit::{
    LimitAlgorithm, LimitScope, Priority, Queue, Rate, RateLimitSpec, WarmUp, WhenAlone,
};
use weir_model::resource::traffic_policy::{
    Backoff, Balance, BalancePolicy, Breaker, BreakerLevel, BreakerStrategy, Cached, Fallback,
    FallbackService, Hedge, Locality, Nearness, Outlier, PolicyTarget, ResponseField, Retry, RetryBudget,
    SlowStart, StaticResponse, Timeouts, TrafficPolicySpec,
};
use weir_model::resource::{Metadata, Resource, Spec};
use weir_model::units::{Size, Span};
use weir_model::validate::{Scope, conflicts, hints, validate, validate_spec};

/// Names from few letters, so that they meet; and anything else.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[ab]", 1 => "[ -~äöü\t\n]{0,6}"]
}

fn maybe<T: Strategy>(strategy: T) -> impl Strategy<Value = Option<T::Value>>
where
    T::Value: Clone,
{
    prop::option::of(strategy)
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![Just(0), 0..2_000_000_000u64, 0..315_360_000_000_000_000u64]
        .prop_map(|nanos| Span(Duration::from_nanos(nanos)))
}

/// Numbers that can be written, and with `odd` all others too.
fn number(odd: bool) -> BoxedStrategy<f64> {
    let usual = prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64, -2.0..200.0f64];
    if odd {
        prop_oneof![usual, any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)].boxed()
    } else {
        usual.boxed()
    }
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![0..4u32, any::<u32>(), Just(u32::MAX)]
}

fn key() -> impl Strategy<Value = Vec<KeyPart>> {
    let part = (prop::sample::select(KeyKind::ALL.to_vec()), maybe(word()));
    prop::collection::vec(part.prop_map(|(kind, name)| KeyPart { kind, name }), 0..4)
}

fn targets() -> impl Strategy<Value = Vec<PolicyTarget>> {
    let kinds = prop::sample::select(vec!["Service", "Gateway", "HTTPRoute", "GRPCRoute", "Nothing"]);
    let target = (maybe(word()), maybe(kinds), word(), maybe(word()));
    let target = target.prop_map(|(group, kind, name, section_name)| PolicyTarget {
        group,
        kind: kind.map(str::to_owned),
        name,
        section_name,
    });
    prop::collection::vec(target, 0..4)
}

fn response() -> impl Strategy<Value = StaticResponse> {
    let fields = prop::collection::vec((word(), word()), 0..3);
    let told = (maybe(word()), maybe(word()), maybe(word()));
    (any::<u16>(), fields, told)
        .prop_map(|(status, fields, told)| {
            let (body, grpc_status, grpc_message) = told;
            let headers = fields.into_iter().map(|(name, value)| ResponseField { name, value }).collect();
            StaticResponse { status, headers, body, grpc_status, grpc_message }
        })
        // Nested as deep as these are, they would need more of a stack than a test's thread has.
        .boxed()
}

fn fallback() -> impl Strategy<Value = Fallback> {
    let service = (word(), maybe(word())).prop_map(|(name, namespace)| FallbackService { name, namespace });
    let cached = (maybe(span()), maybe(0..1u64 << 50))
        .prop_map(|(age_max, size)| Cached { age_max, size_max: size.map(Size) });
    (maybe(response()), maybe(service), maybe(cached))
        .prop_map(|(response, service, cached)| Fallback { response, service, cached })
        .boxed()
}

fn breaker(odd: bool) -> impl Strategy<Value = Breaker> {
    let level =
        prop::sample::select(vec![BreakerLevel::Service, BreakerLevel::Route, BreakerLevel::Instance]);
    let shape =
        (level, prop::sample::select(BreakerStrategy::ALL.to_vec()), maybe(fallback()), any::<bool>());
    let counts = (maybe(count()), maybe(count()), maybe(count()), maybe(count()), maybe(any::<u64>()));
    let spans = prop::collection::vec(maybe(span()), 5);
    let ratios = prop::collection::vec(maybe(number(odd)), 5);
    let statuses = maybe(prop::collection::vec(any::<u16>(), 0..3));
    (shape, counts, spans, ratios, statuses)
        .prop_map(|(shape, counts, spans, ratios, failure_statuses)| Breaker {
            level: shape.0,
            strategy: shape.1,
            failure_statuses,
            slow_call: spans[0],
            window: spans[1],
            window_calls: counts.0,
            calls_min: counts.1,
            failure_ratio: ratios[0],
            slow_ratio: ratios[1],
            failures: counts.2,
            normal_ratio: ratios[2],
            failing_ratio: ratios[3],
            calls_to_false_trip: counts.4,
            factor: ratios[4],
            open: spans[2],
            open_max: spans[3],
            probes: counts.3,
            ramp: spans[4],
            fallback: shape.2,
            shadow: shape.3,
        })
        .boxed()
}

fn balance(odd: bool) -> impl Strategy<Value = Balance> {
    let slow_start = (span(), maybe(number(odd)), maybe(number(odd)))
        .prop_map(|(window, aggression, floor)| SlowStart { window, aggression, floor });
    let locality = prop::sample::select(vec![Nearness::Zone, Nearness::Region]);
    let policy = prop::sample::select(BalancePolicy::ALL.to_vec());
    (
        policy,
        key(),
        maybe(number(odd)),
        maybe(span()),
        maybe(slow_start),
        maybe(locality),
        maybe(number(odd)),
        maybe(count()),
    )
        .prop_map(|(policy, hash, load_factor, decay, slow_start, prefer, panic_threshold, subset)| {
            Balance {
                policy,
                hash,
                load_factor,
                decay,
                slow_start,
                locality: prefer.map(|prefer| Locality { prefer }),
                panic_threshold,
                subset,
            }
        })
}

fn retry(odd: bool) -> impl Strategy<Value = Retry> {
    let backoff = (maybe(span()), maybe(span())).prop_map(|(base, max)| Backoff { base, max });
    let budget = (maybe(number(odd)), maybe(count()), maybe(span()))
        .prop_map(|(ratio, reserve, window)| RetryBudget { ratio, reserve, window });
    let statuses = prop::collection::vec(any::<u16>(), 0..3);
    let names = prop::collection::vec(prop_oneof![word(), Just("UNAVAILABLE".to_owned())], 0..3);
    (count(), statuses, names, maybe(backoff), maybe(budget)).prop_map(
        |(attempts, statuses, grpc_statuses, backoff, budget)| Retry {
            attempts,
            statuses,
            grpc_statuses,
            backoff,
            budget,
        },
    )
}

fn outlier(odd: bool) -> impl Strategy<Value = Outlier> {
    let ratios = prop::collection::vec(maybe(number(odd)), 3);
    let spans = prop::collection::vec(maybe(span()), 3);
    (maybe(any::<bool>()), maybe(count()), maybe(count()), ratios, spans, any::<bool>()).prop_map(
        |(enabled, consecutive, failures_min, ratios, spans, shadow)| Outlier {
            enabled,
            consecutive,
            interval: spans[0],
            false_discovery: ratios[0],
            effect_min: ratios[1],
            failures_min,
            ejection: spans[1],
            ejection_max: spans[2],
            ejected_max: ratios[2],
            shadow,
        },
    )
}

fn policy(odd: bool) -> impl Strategy<Value = Spec> {
    let timeouts = prop::collection::vec(maybe(span()), 4).prop_map(|spans| Timeouts {
        connect: spans[0],
        request: spans[1],
        per_try: spans[2],
        idle: spans[3],
    });
    let hedge = (maybe(any::<bool>()), maybe(span()), maybe(number(odd)))
        .prop_map(|(enabled, delay, percentile)| Hedge { enabled, delay, percentile });
    let breakers = prop::collection::vec(breaker(odd), 0..3);
    (
        targets(),
        maybe(balance(odd)),
        maybe(timeouts),
        maybe(retry(odd)),
        maybe(hedge),
        breakers,
        maybe(outlier(odd)),
    )
        .prop_map(|(target_refs, balance, timeouts, retry, hedge, breakers, outlier)| {
            Spec::TrafficPolicy(Box::new(TrafficPolicySpec {
                target_refs,
                balance,
                timeouts,
                retry,
                hedge,
                breakers,
                outlier,
                ..TrafficPolicySpec::default()
            }))
        })
}

fn limit(odd: bool) -> impl Strategy<Value = Spec> {
    let rate = (count(), maybe(span()), maybe(count()));
    let rates =
        prop::collection::vec(rate.prop_map(|(requests, per, burst)| Rate { requests, per, burst }), 0..4);
    let queue = (maybe(count()), maybe(span())).prop_map(|(max, timeout)| Queue { max, timeout });
    let warm_up = (maybe(span()), maybe(number(odd))).prop_map(|(over, from)| WarmUp { over, from });
    let priority = (word(), prop::collection::vec(word(), 0..3));
    let priority = priority.prop_map(|(header, levels)| Priority { header, levels });
    let shape = (
        targets(),
        prop::sample::select(LimitAlgorithm::ALL.to_vec()),
        key(),
        prop::sample::select(vec![LimitScope::Process, LimitScope::Global]),
        maybe(prop::sample::select(vec![WhenAlone::Share, WhenAlone::Open, WhenAlone::Closed])),
    );
    let counts = (maybe(count()), maybe(count()), maybe(count()));
    (shape, counts, rates, maybe(queue), maybe(warm_up), maybe(priority), maybe(response()), any::<bool>())
        .prop_map(|(shape, counts, rates, queue, warm_up, priority, response, shadow)| {
            Spec::RateLimit(RateLimitSpec {
                target_refs: shape.0,
                algorithm: shape.1,
                key: shape.2,
                keys_max: counts.0,
                rates,
                queue,
                warm_up,
                concurrency_max: counts.1,
                concurrency_min: counts.2,
                priority,
                scope: shape.3,
                alone: shape.4,
                response,
                shadow,
            })
        })
}

fn resources(odd: bool) -> impl Strategy<Value = Vec<Resource>> {
    let spec = prop_oneof![policy(odd), limit(odd)];
    let resource = ("[a-d]", "[ab]", spec).prop_map(|(name, namespace, spec)| Resource {
        metadata: Metadata { name, namespace, ..Metadata::default() },
        spec,
    });
    prop::collection::vec(resource, 1..8)
}

/// A fault is of no use without a place and an expectation.
fn explained(path: &str, message: &str, expected: Option<&str>) -> bool {
    path.starts_with("spec") && !message.is_empty() && expected.is_some_and(|expected| !expected.is_empty())
}

proptest! {
    #[test]
    fn no_policy_panics_what_judges_it(resources in resources(true)) {
        for resource in &resources {
            for fault in validate(resource) {
                prop_assert!(explained(&fault.path, &fault.message, fault.expected.as_deref()), "{fault}");
            }
            let _ = (resource.spec.targets(), resource.spec.fallbacks());
        }
        let all: Vec<&Resource> = resources.iter().collect();
        let _ = conflicts(&all, Scope::OneProxy);
        let _ = hints(&resources, &resources, |service| service.name == "a");
    }

    #[test]
    fn every_policy_survives_being_stored(resources in resources(false)) {
        for resource in resources {
            let json = serde_json::to_string(&resource).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Resource>(&json).unwrap(), &resource);
        }
    }

    #[test]
    fn every_limit_survives_its_document(spec in limit(false)) {
        let metadata = Metadata { name: "a".to_owned(), namespace: "a".to_owned(), ..Metadata::default() };
        let resource = Resource { metadata, spec };
        let parsed = document::parse("-", &serde_json::to_string(&resource).unwrap()).unwrap();
        prop_assert_eq!(&parsed.documents[0].resource, &resource);
    }

    /// A spec that is read by itself, as a scenario does, reads as strictly as in a document.
    #[test]
    fn every_spec_can_be_read_by_itself(spec in policy(false)) {
        let Spec::TrafficPolicy(policy) = &spec else { unreachable!("a policy") };
        let text = serde_json::to_string(policy).unwrap();
        let (read, origin) = document::decode_located::<TrafficPolicySpec>("-", &text).unwrap();
        prop_assert_eq!(&read, &**policy);
        for fault in validate_spec(&spec) {
            prop_assert!(origin.error(&fault).line > 0);
        }
    }
}

#[test]
fn the_smallest_limit_is_right() {
    let limit: RateLimitSpec =
        document::decode_as("-", "targetRefs: [{name: a}]\nrates: [{requests: 1}]\n").unwrap();
    assert_eq!(validate_spec(&Spec::RateLimit(limit)), []);
}
