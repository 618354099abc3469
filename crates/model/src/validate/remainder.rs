//! What is left of a resource when what breaks a rule is taken out of it.
//!
//! What was applied under other rules than these, by an older version or a newer one, is not to be lost as a whole: a
//! policy with ten breakers of which one is out of range is still one with nine. Taken out is the smallest part whose
//! absence does not make the document mean something else. What widens what a document is for, or drops what protects
//! somebody (a key, TLS as a whole, a filter of a route), is no such part: then there is no remainder. Nor is a listener of a gateway with another
//! one at its port, which would serve its hosts as it serves all: perhaps without asking for certificates.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::{FieldError, validate};
use crate::resource::{Kind, Resource};

/// Most parts that are taken out of one resource.
pub const LEFT_OUT_MAX: usize = 256;

/// A resource without what broke a rule in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Remainder {
    /// What is left: nothing is wrong with it.
    pub resource: Resource,
    /// Paths of the parts that were taken out, each as it was numbered when its turn came.
    pub left_out: Vec<String>,
}

/// What is left of a resource that has faults; none where the fault is in something that cannot be done without.
pub fn remainder(resource: &Resource, faults: &[FieldError]) -> Option<Remainder> {
    let units = units(resource.kind());
    let mut json = serde_json::to_value(resource).ok()?;
    let (mut faults, mut left_out) = (faults.to_vec(), Vec::new());
    while left_out.len() < LEFT_OUT_MAX {
        // The last ones first, so that those before them keep their numbers.
        let parts: BTreeSet<Path> =
            faults.iter().map(|fault| part(&json, &units, &fault.path)).collect::<Option<_>>()?;
        if resource.kind() == Kind::Gateway && parts.iter().any(|part| shares_port(part, &json)) {
            return None;
        }
        for part in parts.iter().rev() {
            if part.take_out(&mut json) {
                left_out.push(part.to_string());
            }
        }
        let resource: Resource = serde_json::from_value(json.clone()).ok()?;
        faults = validate(&resource);
        if faults.is_empty() {
            return Some(Remainder { resource, left_out });
        }
    }
    None
}

/// The parts that documents of a kind can do without. `[]` is any element of a list, `*` any field.
fn units(kind: Kind) -> Vec<Path> {
    let own: &[&str] = match kind {
        Kind::TrafficPolicy => &[
            "spec.targetRefs[]",
            "spec.breakers[]",
            "spec.balance.*",
            "spec.balance",
            "spec.timeouts.*",
            "spec.retry.*",
            "spec.hedge",
            "spec.outlier.*",
            "spec.connection.*",
            // What is left still asks for TLS, and trusts whom the host trusts: calls fail rather than go in the clear.
            "spec.tls.*",
        ],
        Kind::RateLimit => &[
            "spec.targetRefs[]",
            "spec.rates[].burst",
            "spec.rates[]",
            "spec.keysMax",
            "spec.queue",
            "spec.warmUp.*",
            "spec.concurrencyMax",
            "spec.concurrencyMin",
            "spec.priority",
            "spec.response",
            "spec.scope",
            "spec.alone",
        ],
        Kind::ListenerPolicy => &["spec.targetRefs[]", "spec.limits.*", "spec.timeouts.*"],
        Kind::Service => &["spec.endpoints[]", "spec.check", "spec.metadata"],
        Kind::Gateway => &["spec.listeners[]"],
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::Certificate => &[],
    };
    own.iter().chain(&["metadata.labels", "metadata.annotations"]).map(|text| Path::parse(text)).collect()
}

/// Whether another listener of a gateway has the port of this one, or may be meant to: where this one's is none.
fn shares_port(listener: &Path, gateway: &Value) -> bool {
    let port = |listener: &Value| listener["port"].as_u64().filter(|port| *port != 0);
    let Some(this) = listener.get(gateway).filter(|_| listener.0.len() == 3) else { return false };
    let all = gateway["spec"]["listeners"].as_array().map_or(&[][..], Vec::as_slice);
    let others = all.iter().filter(|other| !std::ptr::eq(*other, this));
    port(this)
        .map_or(all.len() > 1, |this| others.map(port).any(|other| other.is_none_or(|other| other == this)))
}

/// The part that a fault is in, which is there and can be done without.
fn part(json: &Value, units: &[Path], fault: &str) -> Option<Path> {
    let fault = Path::parse(fault);
    let mut parts = units.iter().filter_map(|unit| fault.within(unit, json));
    parts.find(|part| part.get(json).is_some())
}

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    Element(usize),
    /// Of units only.
    AnyField,
    AnyElement,
}

/// The way to a part of a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Path(Vec<Step>);

impl Path {
    /// `spec.rates[1].burst`, in steps.
    fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        for segment in text.split('.') {
            let mut parts = segment.split(['[', ']']);
            let name = parts.next().unwrap_or_default();
            steps.push(if name == "*" { Step::AnyField } else { Step::Field(name.to_owned()) });
            if segment.ends_with("[]") {
                steps.push(Step::AnyElement);
            }
            steps.extend(parts.filter_map(|number| number.parse().ok()).map(Step::Element));
        }
        Self(steps)
    }

    /// This path cut off where a unit ends; none if it does not lead into one. A list that is wrong as a whole, having too
    /// many elements, can do without its last one.
    fn within(&self, unit: &Self, json: &Value) -> Option<Self> {
        let mut steps = Vec::with_capacity(unit.0.len());
        for (at, wanted) in unit.0.iter().enumerate() {
            let step = match self.0.get(at) {
                Some(step) => step.clone(),
                None if at + 1 == unit.0.len() && *wanted == Step::AnyElement => {
                    let list = Self(steps.clone()).get(json)?.as_array()?.len();
                    Step::Element(list.checked_sub(1)?)
                }
                None => return None,
            };
            let fits = match wanted {
                Step::AnyField => matches!(step, Step::Field(_)),
                Step::AnyElement => matches!(step, Step::Element(_)),
                exact => step == *exact,
            };
            if !fits {
                return None;
            }
            steps.push(step);
        }
        Some(Self(steps))
    }

    fn get<'a>(&self, json: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(json, |at, step| match step {
            Step::Field(name) => at.get(name),
            Step::Element(number) => at.get(number),
            Step::AnyField | Step::AnyElement => None,
        })
    }

    /// Takes what it leads to out of a document. Says whether it was there.
    fn take_out(&self, json: &mut Value) -> bool {
        let Some((last, before)) = self.0.split_last() else { return false };
        let parent = before.iter().try_fold(json, |at, step| match step {
            Step::Field(name) => at.get_mut(name),
            Step::Element(number) => at.get_mut(number),
            Step::AnyField | Step::AnyElement => None,
        });
        match (parent, last) {
            (Some(Value::Object(fields)), Step::Field(name)) => fields.remove(name).is_some(),
            (Some(Value::Array(elements)), Step::Element(number)) if *number < elements.len() => {
                elements.remove(*number);
                true
            }
            _ => false,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            match step {
                Step::Field(name) => write!(f, "{dot}{name}")?,
                Step::Element(number) => write!(f, "[{number}]")?,
                Step::AnyField => write!(f, "{dot}*")?,
                Step::AnyElement => f.write_str("[]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(kind: &str, spec: &Value) -> Resource {
        let json =
            json!({"apiVersion": "weir.dev/v1", "kind": kind, "metadata": {"name": "cart"}, "spec": spec});
        serde_json::from_value(json).unwrap()
    }

    /// What is left, and what is not; nothing where nothing is.
    #[track_caller]
    fn check(kind: &str, spec: &Value, expected: Option<(&Value, &[&str])>) {
        let whole = resource(kind, spec);
        let faults = validate(&whole);
        assert!(!faults.is_empty(), "nothing is wrong with {spec}");
        let left = remainder(&whole, &faults);
        let expected = expected.map(|(spec, left_out)| Remainder {
            resource: resource(kind, spec),
            left_out: left_out.iter().map(|&path| path.to_owned()).collect(),
        });
        assert_eq!(left, expected, "{faults:?}");
    }

    #[test]
    fn one_breaker_of_three_goes() {
        let spec = json!({"targetRefs": [{"name": "cart"}], "timeouts": {"request": "3s", "perTry": "4s"},
            "breakers": [{"failures": 3, "strategy": "consecutive"}, {"failureRatio": 1.5}, {"probes": 0}, {}]});
        let left = json!({"targetRefs": [{"name": "cart"}], "timeouts": {"request": "3s"},
            "breakers": [{"failures": 3, "strategy": "consecutive"}, {}]});
        let left_out = ["spec.timeouts.perTry", "spec.breakers[2]", "spec.breakers[1]"];
        check("TrafficPolicy", &spec, Some((&left, &left_out)));
    }

    #[test]
    fn a_limit_keeps_the_rates_that_are_well_and_never_loses_its_key() {
        let targets = json!([{"name": "cart"}]);
        let rates =
            json!([{"requests": 10}, {"requests": 0, "per": "1m"}, {"requests": 5, "per": "1h", "burst": 0}]);
        check(
            "RateLimit",
            &json!({"targetRefs": targets, "rates": rates, "keysMax": 5}),
            Some((
                &json!({"targetRefs": targets, "rates": [{"requests": 10}, {"requests": 5, "per": "1h"}]}),
                &["spec.rates[2].burst", "spec.rates[1]", "spec.keysMax"],
            )),
        );
        let keyed = json!({"targetRefs": targets, "rates": [{"requests": 10}], "key": [{"type": "header"}]});
        check("RateLimit", &keyed, None);
        check("RateLimit", &json!({"targetRefs": targets, "rates": [{"requests": 0}]}), None);
        check("RateLimit", &json!({"targetRefs": targets}), None);
    }

    #[test]
    fn what_is_missing_takes_along_what_it_is_missing_in() {
        let targets = json!([{"name": "cart"}]);
        let spec = json!({"targetRefs": targets, "balance": {"policy": "maglev"}});
        check("TrafficPolicy", &spec, Some((&json!({"targetRefs": targets}), &["spec.balance"])));
        check("TrafficPolicy", &json!({"targetRefs": [], "retry": {"attempts": 1}}), None);
    }

    #[test]
    fn tls_is_never_left_out_as_a_whole() {
        let targets = json!([{"name": "cart"}]);
        let tls = json!({"serverName": "not a name", "caRefs": [{"name": "mesh-ca"}]});
        let left = json!({"targetRefs": targets, "tls": {"caRefs": [{"name": "mesh-ca"}]}});
        let spec = json!({"targetRefs": targets, "tls": tls});
        check("TrafficPolicy", &spec, Some((&left, &["spec.tls.serverName"])));
        let spec = json!({"targetRefs": targets, "tls": {"caRefs": [{"name": ""}]}});
        let left = json!({"targetRefs": targets, "tls": {}});
        check("TrafficPolicy", &spec, Some((&left, &["spec.tls.caRefs"])));
    }

    #[test]
    fn what_is_too_many_goes_from_the_end() {
        let targets = json!([{"name": "cart"}]);
        let breakers = |count: usize| json!({"targetRefs": targets, "breakers": vec![json!({}); count]});
        check(
            "TrafficPolicy",
            &breakers(10),
            Some((&breakers(8), &["spec.breakers[9]", "spec.breakers[8]"])),
        );
    }

    #[test]
    fn a_listener_goes_only_where_no_other_would_serve_its_hosts() {
        let plain =
            |name: &str, port: u16, protocol: &str| json!({"name": name, "port": port, "protocol": protocol});
        let gateway = |listeners: &[&Value]| json!({"listeners": listeners});
        let (web, odd) = (plain("web", 80, "HTTP"), plain("odd", 8443, "HTTPS"));
        // It has no certificates.
        let left = gateway(&[&web]);
        check("Gateway", &gateway(&[&web, &odd]), Some((&left, &["spec.listeners[1]"])));
        let secure = json!({"name": "any", "port": 8443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "any"}]}});
        let mut strict = odd.clone();
        strict["hostname"] = json!("secret.example");
        check("Gateway", &gateway(&[&web, &secure, &strict]), None);
        // Whose port is none may be meant to be anywhere.
        check("Gateway", &gateway(&[&web, &plain("nowhere", 0, "HTTP")]), None);
    }

    #[test]
    fn a_route_is_not_cut() {
        let rules = json!([{"matches": [{"path": {"value": "x"}}], "backendRefs": [{"name": "a"}]}]);
        check("HTTPRoute", &json!({"parentRefs": [{"name": "edge"}], "rules": rules}), None);
    }

    #[test]
    fn an_endpoint_that_cannot_be_goes() {
        let endpoint = |port: u16| json!({"address": "10.0.0.1", "port": port});
        check(
            "Service",
            &json!({"endpoints": [endpoint(0), endpoint(80)]}),
            Some((&json!({"endpoints": [endpoint(80)]}), &["spec.endpoints[0]"])),
        );
    }
}
