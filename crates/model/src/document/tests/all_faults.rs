//! All that cannot be read is told at once.

use super::refused;

#[test]
fn one_fault_does_not_hide_another() {
    refused(
        "\
kind: TrafficPolicy
metadata: {name: cart, namespace: 5}
spec:
  targetRefs: [{name: cart}]
  timeouts: {connect: -1s, request: soon}
  breakers:
  - {strategy: windw, failures: many}
  - {level: servce}
  colour: red
",
        &[
            ":2: TrafficPolicy/cart metadata.namespace: the integer `5` where a string was expected (put it in quotes)",
            ":5: TrafficPolicy/cart spec.timeouts.connect: `-1s` is not a duration: expected a number with a unit, such as `250ms`, `1.5s` or `1m30s`",
            ":5: TrafficPolicy/cart spec.timeouts.request: `soon` is not a duration: expected a number with a unit, such as `250ms`, `1.5s` or `1m30s`",
            ":7: TrafficPolicy/cart spec.breakers[0].strategy: unknown value `windw`; did you mean `window`?",
            ":7: TrafficPolicy/cart spec.breakers[0].failures: the string `many` where an integer from 1 to 100000 was expected",
            ":8: TrafficPolicy/cart spec.breakers[1].level: unknown value `servce`; did you mean `service`?",
            ":9: TrafficPolicy/cart spec.colour: unknown field; expected one of `targetRefs`, `balance`, `timeouts`, `retry`, `hedge`, `breakers`, `outlier`, `tls`, `proxyProtocol`, `connection`",
        ],
    );
}

#[test]
fn what_could_not_be_read_is_not_missing_besides() {
    refused(
        "\
kind: RateLimit
metadata: {name: cart}
spec:
  targetRefs: [{name: 5}, {nme: cart}]
  rates:
  - {requests: x, per: y}
  - {per: z}
  - requests
",
        &[
            ":4: RateLimit/cart spec.targetRefs[0].name: the integer `5` where a string was expected (put it in quotes)",
            ":4: RateLimit/cart spec.targetRefs[1]: the field `name` is missing",
            ":4: RateLimit/cart spec.targetRefs[1].nme: unknown field; did you mean `name`?",
            ":6: RateLimit/cart spec.rates[0].requests: the string `x` where an integer from 1 to 1000000000 was expected",
            ":6: RateLimit/cart spec.rates[0].per: `y` is not a duration: expected a number with a unit, such as `250ms`, `1.5s` or `1m30s`",
            ":7: RateLimit/cart spec.rates[1]: the field `requests` is missing",
            ":7: RateLimit/cart spec.rates[1].per: `z` is not a duration: expected a number with a unit, such as `250ms`, `1.5s` or `1m30s`",
            ":8: RateLimit/cart spec.rates[2]: the string `requests` where a map of fields was expected",
        ],
    );
}
