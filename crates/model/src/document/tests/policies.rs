//! Traffic policies and limits as people write them.

use super::{one, refused};
use crate::document::parse;

const POLICY: &str = "kind: TrafficPolicy\nmetadata: {name: p}\nspec:\n";

/// A policy for `a` with more fields, which begin at line 5.
fn policy(fields: &str) -> String {
    format!("{POLICY}  targetRefs: [{{name: a}}]\n  {fields}\n")
}

/// A limit of `a` with more fields, which begin at line 6.
fn limit(fields: &str) -> String {
    let start =
        "kind: RateLimit\nmetadata: {name: l}\nspec:\n  targetRefs: [{name: a}]\n  rates: [{requests: 5}]\n";
    format!("{start}  {fields}\n")
}

#[test]
fn what_is_called_otherwise_is_said() {
    let elsewhere = |written: &str, name: &str| {
        let (field, _) = written.split_once(':').unwrap();
        let expected =
            format!(":5: TrafficPolicy/p spec.{field}: unknown field; did you mean `spec.{name}`?");
        refused(&policy(written), &[&expected]);
    };
    elsewhere("breaker: {}", "breakers");
    elsewhere("hedging: {delay: 1s}", "hedge");
    elsewhere("slowStart: {window: 1s}", "balance.slowStart");
    elsewhere("locality: {}", "balance.locality");
    elsewhere("fallback: {}", "breakers[].fallback");
    elsewhere("connectionPool: {}", "connection");
    elsewhere("outlierDetection: {}", "outlier");
    refused(
        &policy("rateLimit: {requests: 5}"),
        &[
            ":5: TrafficPolicy/p spec.rateLimit: `rateLimit` has no meaning here: limits are documents of their own, of kind RateLimit",
        ],
    );
    refused(
        &limit("rate: 5"),
        &[":6: RateLimit/l spec.rate: unknown field; did you mean `spec.rates[].requests`?"],
    );
    refused(
        &limit("burst: 5"),
        &[":6: RateLimit/l spec.burst: unknown field; did you mean `spec.rates[].burst`?"],
    );
}

#[test]
fn algorithms_that_nobody_knows_get_the_nearest() {
    refused(
        &limit("algorithm: tokenbucket"),
        &[":6: RateLimit/l spec.algorithm: unknown value `tokenbucket`; did you mean `token_bucket`?"],
    );
    refused(
        &limit("algorithm: sliding-windows"),
        &[":6: RateLimit/l spec.algorithm: unknown value `sliding-windows`; did you mean `sliding_window`?"],
    );
    refused(
        &limit("algorithm: magic"),
        &[
            ":6: RateLimit/l spec.algorithm: unknown value `magic`; expected one of `token_bucket`, `leaky_bucket`, \
           `sliding_window`, `warm_up`, `concurrency`, `adaptive`",
        ],
    );
    refused(
        &limit("key: [{type: source_address}]"),
        &[":6: RateLimit/l spec.key[0].type: unknown value `source_address`; did you mean `sourceAddress`?"],
    );
    refused(
        &policy("balance: {policy: round-robin}"),
        &[
            ":5: TrafficPolicy/p spec.balance.policy: unknown value `round-robin`; did you mean `round_robin`?",
        ],
    );
    refused(
        &limit("rates: [{requests: -5}]").replace("  rates: [{requests: 5}]\n", ""),
        &[
            ":5: RateLimit/l spec.rates[0].requests: the integer `-5` where an integer from 1 to 1000000000 was expected",
        ],
    );
    refused(
        &limit("algorithm: warm_up\n  warmUp: {from: .nan}"),
        &[":7: RateLimit/l spec.warmUp.from: the number `NaN` where a finite number was expected"],
    );
    refused(
        &limit("algorithm: warm_up\n  warmUp: {from: -0.5}"),
        &[":7: RateLimit/l spec.warmUp.from: -0.5 is out of range; expected more than 0, at most 1"],
    );
}

#[test]
fn what_proxies_do_not_carry_out_yet_is_refused() {
    one(&policy("balance: {policy: maglev, hash: [{type: path}, {type: caller}]}"));
}

#[test]
fn only_token_buckets_are_shared_by_proxies() {
    one(&limit("scope: process"));
    one(&limit("scope: global\n  alone: closed"));
    refused(
        &limit("algorithm: sliding_window\n  scope: global"),
        &[":7: RateLimit/l spec.scope: `global` does not belong to `algorithm: sliding_window`; \
             expected `algorithm: token_bucket`"],
    );
    refused(
        &limit("alone: open"),
        &[":6: RateLimit/l spec.alone: it does not belong to `scope: process`; expected `scope: global`"],
    );
}

#[test]
fn numbers_that_cannot_be_read_are_answered_with_the_range_that_counts() {
    let check = |kind: &str, spec: &str, expected: &str| {
        let text =
            format!("kind: {kind}\nmetadata: {{name: a}}\nspec: {{targetRefs: [{{name: a}}], {spec}}}\n");
        let errors = parse("-", &text).unwrap_err();
        assert!(errors.iter().any(|error| error.to_string().contains(expected)), "{errors:?}");
    };
    let requests =
        "spec.rates[1].requests: the integer `-1` where an integer from 1 to 1000000000 was expected";
    check("RateLimit", "rates: [{requests: 1}, {requests: -1, per: 1m}]", requests);
    check("RateLimit", "rates: [{requests: 1, burst: -3}]", "an integer from 1 to 1000000000");
    check("RateLimit", "algorithm: concurrency, concurrencyMax: -1", "an integer from 1 to 1000000");
    check(
        "RateLimit",
        "algorithm: leaky_bucket, rates: [{requests: 1}], queue: {max: -1}",
        "from 0 to 100000 ",
    );
    check("TrafficPolicy", "retry: {attempts: -1}", "an integer from 0 to 10 ");
    check("TrafficPolicy", "breakers: [{probes: -1}]", "an integer from 1 to 1000 ");
    check("TrafficPolicy", "balance: {subset: -1}", "an integer from 1 to 10000 ");
}
