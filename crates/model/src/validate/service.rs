//! Rules of `Service`.

use std::collections::HashSet;

use super::Faults;
use crate::names;
use crate::resource::ServiceSpec;

/// Most endpoints written down for one service.
pub const ENDPOINTS_MAX: usize = 10_000;

pub(super) fn validate(spec: &ServiceSpec, faults: &mut Faults) {
    super::registry::metadata("spec.metadata", &spec.metadata, faults);
    faults.at_most("spec.endpoints", spec.endpoints.len(), ENDPOINTS_MAX);
    let mut seen = HashSet::new();
    for (index, endpoint) in spec.endpoints.iter().take(ENDPOINTS_MAX).enumerate() {
        let path = format!("spec.endpoints[{index}]");
        faults.name(&format!("{path}.address"), names::host(&endpoint.address));
        faults.port(&format!("{path}.port"), endpoint.port);
        faults.weight(&format!("{path}.weight"), endpoint.weight);
        if !seen.insert((endpoint.address.to_ascii_lowercase(), endpoint.port)) {
            let shown = format!("{} port {} is there twice", endpoint.address, endpoint.port);
            faults.add(path, shown, "each endpoint once; use `weight` for a larger share");
        }
    }
}
