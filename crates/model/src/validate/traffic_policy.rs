//! Rules of `TrafficPolicy`.

use std::collections::HashSet;
use std::time::Duration;

use super::Faults;
use crate::names;
use crate::resource::TrafficPolicySpec;

/// Most services one policy is for.
pub const TARGETS_MAX: usize = 256;
/// Most retries of one request.
pub const RETRIES_MAX: u32 = 10;

pub(super) fn validate(spec: &TrafficPolicySpec, faults: &mut Faults) {
    if spec.target_refs.is_empty() {
        faults.add("spec.targetRefs", "it is empty", "at least one service");
    }
    faults.at_most("spec.targetRefs", spec.target_refs.len(), TARGETS_MAX);
    let mut seen = HashSet::new();
    for (index, target) in spec.target_refs.iter().enumerate() {
        let path = format!("spec.targetRefs[{index}]");
        faults.reference(&path, (target.kind.as_deref(), &["Service"]), (None, &[]));
        faults.name(&format!("{path}.name"), names::registered(&target.name));
        if !seen.insert(&target.name) {
            faults.add(path, format!("`{}` is there twice", target.name), "each service once");
        }
    }
    if let Some(timeouts) = &spec.timeouts
        && timeouts.connect.is_some_and(|connect| connect.0 == Duration::ZERO)
    {
        faults.add("spec.timeouts.connect", "no time to connect in", "a duration above zero");
    }
    if let Some(retry) = &spec.retry
        && retry.attempts > RETRIES_MAX
    {
        let message = format!("{} retries of one request", retry.attempts);
        faults.add("spec.retry.attempts", message, format!("0 to {RETRIES_MAX}"));
    }
}
