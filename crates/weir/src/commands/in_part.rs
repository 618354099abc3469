//! Documents that were applied under other rules than this version's, and break one of these: proxies of this version have them
//! in force only as far as they are right.

use std::sync::Arc;

use weir_model::Resource;
use weir_model::validate::{self, FieldError};
use weir_proxy::snapshot::{Inputs, Resources};

/// Most documents that are named.
const NAMED_MAX: usize = 10;

/// What is to be said of those among them that break a rule.
pub(super) fn remarks<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut more = 0;
    for resource in resources {
        let faults = validate::validate(resource);
        if faults.is_empty() {
            continue;
        }
        if remarks.len() == NAMED_MAX {
            more += 1;
            continue;
        }
        let is_left = validate::remainder(resource, &faults).is_some();
        remarks.push(remark(resource, &faults, is_left));
    }
    if more > 0 {
        remarks.push(format!("{more} more like this"));
    }
    remarks
}

fn remark(resource: &Resource, faults: &[FieldError], is_left: bool) -> String {
    let means = if is_left { "in force in part: left out is what" } else { "not in force: it" };
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    format!("{} is {means} breaks a rule of this version: {}", resource.id(), faults.join("; "))
}

/// The same inputs as proxies of this version take them that have never seen others: what is right of each document.
pub(super) fn as_proxies_do(inputs: Inputs) -> Inputs {
    let faulty: Vec<_> = inputs
        .resources
        .iter()
        .map(|(id, resource)| (id.clone(), validate::validate(resource)))
        .filter(|(_, faults)| !faults.is_empty())
        .collect();
    if faulty.is_empty() {
        return inputs;
    }
    let mut resources = Resources::clone(&inputs.resources);
    for (id, faults) in faulty {
        let Some(whole) = resources.remove(&id) else { continue };
        if let Some(rest) = validate::remainder(&whole, &faults) {
            resources.insert(id, Arc::new(rest.resource));
        }
    }
    Inputs { resources: Arc::new(resources), ..inputs }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_model::{Position, Spec};

    use super::*;

    fn policy(name: &str, ratio: f64) -> Resource {
        let json = json!({"apiVersion": "any", "kind": "TrafficPolicy", "metadata": {"name": name},
            "spec": {"targetRefs": [{"name": "cart"}], "breakers": [{"failureRatio": ratio}, {}]}});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        assert!(remarks(&[policy("good", 0.5)]).is_empty());
        let said = remarks(&[policy("good", 0.5), policy("bad", 1.5)]);
        let expected = "TrafficPolicy/bad is in force in part: left out is what breaks a rule of this version: \
                        spec.breakers[0].failureRatio: 1.5 is out of range; expected more than 0, at most 1";
        assert_eq!(said, [expected]);
        let many: Vec<Resource> = (0..12).map(|number| policy(&format!("p{number}"), 1.5)).collect();
        assert_eq!(remarks(&many)[NAMED_MAX..], ["2 more like this"]);
        let route = json!({"apiVersion": "any", "kind": "HTTPRoute", "metadata": {"name": "r"},
            "spec": {"rules": [{"backendRefs": [{"name": "a", "port": 1, "weight": 2_000_000}]}]}});
        let route: Resource = serde_json::from_value(route).unwrap();
        assert!(
            remarks(&[route])[0]
                .starts_with("HTTPRoute/r is not in force: it breaks a rule of this version: ")
        );
    }

    #[test]
    fn what_is_right_of_it_counts() {
        let inputs = Inputs::of_resources(Position::default(), [policy("bad", 1.5), policy("good", 0.5)]);
        let taken = as_proxies_do(inputs);
        let breakers: Vec<usize> = taken
            .resources
            .values()
            .map(|resource| match &resource.spec {
                Spec::TrafficPolicy(policy) => policy.breakers.len(),
                _ => panic!("{resource:?}"),
            })
            .collect();
        assert_eq!(breakers, [1, 2]);
    }
}
