//! Rules of `Service`.

use std::collections::HashSet;

use super::Faults;
use crate::names;
use crate::resource::ServiceSpec;

/// Most endpoints written down for one service.
pub const ENDPOINTS_MAX: usize = 10_000;

/// Longest name of a zone or a region, in bytes.
pub const PLACE_BYTES_MAX: usize = 128;

pub(super) fn validate(spec: &ServiceSpec, faults: &mut Faults) {
    super::registry::metadata("spec.metadata", &spec.metadata, faults);
    faults.at_most("spec.endpoints", spec.endpoints.len(), ENDPOINTS_MAX);
    let mut seen = HashSet::new();
    for (index, endpoint) in spec.endpoints.iter().take(ENDPOINTS_MAX).enumerate() {
        let path = format!("spec.endpoints[{index}]");
        faults.name(&format!("{path}.address"), names::host(&endpoint.address));
        faults.port(&format!("{path}.port"), endpoint.port);
        faults.weight(&format!("{path}.weight"), endpoint.weight);
        place(&format!("{path}.region"), endpoint.region.as_deref(), faults);
        place(&format!("{path}.zone"), endpoint.zone.as_deref(), faults);
        if !seen.insert((endpoint.address.to_ascii_lowercase(), endpoint.port)) {
            let shown = format!("{} port {} is there twice", endpoint.address, endpoint.port);
            faults.add(path, shown, "each endpoint once; use `weight` for a larger share");
        }
    }
}

/// The name of a zone or a region, if there is one.
fn place(path: &str, name: Option<&str>, faults: &mut Faults) {
    let Some(name) = name else { return };
    if name.is_empty() || name.len() > PLACE_BYTES_MAX || name.chars().any(char::is_control) {
        let expected = format!("1 to {PLACE_BYTES_MAX} bytes without control characters, such as `eu-1a`");
        faults.add(path, "it is not the name of a place", expected);
    }
}
