//! Judges resources that are well formed: values in range, names that fit, references that make sense.
//!
//! [`validate`] looks at one resource alone, [`validate_set`] at resources together. A route to a service that nobody
//! has registered is no fault: it may register later. Registry entities have their own functions here too.

pub mod certificate;
pub mod filters;
pub mod gateway;
pub mod grpc_route;
mod hints;
pub mod http_route;
pub mod listener_policy;
mod policy;
pub mod rate_limit;
mod registry;
mod remainder;
pub mod route;
pub mod service;
mod set;
mod stream_route;
pub mod traffic_policy;

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{self, BadName};
use crate::resource::{Metadata, Resource, ResourceId, Spec};
use crate::units::{Size, Span};
pub use hints::{SHARED_BY_PROXY_MAX, hints};
pub use registry::*;
pub use remainder::{LEFT_OUT_MAX, Remainder, remainder};
pub use set::{Bounded, LIMITS_MAX, SHARED_LIMITS_MAX, Scope, conflicts};

/// Largest weight of an endpoint or a reference (the Gateway API's own limit).
pub const WEIGHT_MAX: u32 = 1_000_000;
/// Ports that can be used.
pub(crate) const PORT: RangeInclusive<u64> = 1..=65_535;
/// Statuses that responses have (RFC 9110, section 15).
pub(crate) const STATUSES: RangeInclusive<u64> = 100..=599;
/// Statuses of responses that end with one (RFC 9110, section 15.2).
pub(crate) const STATUSES_OF_ANSWERS: RangeInclusive<u64> = 200..=599;
/// Most labels, and most annotations, of a resource.
pub const LABELS_MAX: usize = 128;
/// Most bytes of all labels, or all annotations, of a resource (Kubernetes' own limit for annotations).
pub const LABELS_BYTES_MAX: usize = 256 << 10;

/// Most faults reported for one resource: more do not help anybody.
pub const FAULTS_MAX: usize = 100;

/// One thing wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{path}: {message}{}", .expected.as_ref().map(|e| format!("; expected {e}")).unwrap_or_default())]
pub struct FieldError {
    /// Path of the field, such as `spec.listeners[0].port`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What was expected instead, if it can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

impl FieldError {
    /// A fault of the field with a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), expected: None }
    }

    /// Says what was expected instead.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }
}

/// What is wrong with one resource, looked at alone; nothing if it is fine.
pub fn validate(resource: &Resource) -> Vec<FieldError> {
    let mut faults = Faults::default();
    metadata(&resource.metadata, matches!(resource.spec, Spec::Service(_)), &mut faults);
    judge(&resource.spec, &mut faults);
    faults.0
}

/// What is wrong with a spec that stands alone, as in a scenario; paths begin with `spec`.
pub fn validate_spec(spec: &Spec) -> Vec<FieldError> {
    let mut faults = Faults::default();
    judge(spec, &mut faults);
    faults.0
}

fn judge(spec: &Spec, faults: &mut Faults) {
    match spec {
        Spec::Gateway(spec) => gateway::validate(spec, faults),
        Spec::HttpRoute(spec) => http_route::validate(spec, faults),
        Spec::Service(spec) => service::validate(spec, faults),
        Spec::Certificate(spec) => certificate::validate(spec, faults),
        Spec::TrafficPolicy(spec) => traffic_policy::validate(spec, faults),
        Spec::GrpcRoute(spec) => grpc_route::validate(spec, faults),
        Spec::TlsRoute(spec) => stream_route::validate_tls(spec, faults),
        Spec::TcpRoute(spec) => stream_route::validate_tcp(spec, faults),
        Spec::ListenerPolicy(spec) => listener_policy::validate(spec, faults),
        Spec::RateLimit(spec) => rate_limit::validate(spec, faults),
    }
}

/// What is wrong with resources taken together as the whole of a cluster; each fault with the resource it is best mended
/// in. Does not repeat what [`validate`] finds.
pub fn validate_set<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Vec<(ResourceId, FieldError)> {
    validate_set_in(Scope::Cluster, resources)
}

/// As [`validate_set`], for the set that one proxy serves or a whole cluster.
pub fn validate_set_in<'a>(
    scope: Scope,
    resources: impl IntoIterator<Item = &'a Resource>,
) -> Vec<(ResourceId, FieldError)> {
    let resources: Vec<&Resource> = resources.into_iter().collect();
    let faults = conflicts(&resources, scope);
    faults.into_iter().map(|(index, fault)| (resources[index].id(), fault)).collect()
}

fn metadata(metadata: &Metadata, is_service: bool, faults: &mut Faults) {
    let rule = if is_service { names::label } else { names::subdomain };
    faults.name("metadata.name", rule(&metadata.name));
    faults.name("metadata.namespace", names::label(&metadata.namespace));
    for (field, map) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        faults.at_most(&format!("metadata.{field}"), map.len(), LABELS_MAX);
        if bytes > LABELS_BYTES_MAX {
            faults.add(
                format!("metadata.{field}"),
                format!("{bytes} bytes in all"),
                at_most(LABELS_BYTES_MAX),
            );
        }
    }
}

/// Collects faults.
#[derive(Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>, expected: impl Into<String>) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(FieldError::new(path, message).expected(expected));
        }
    }

    fn name(&mut self, path: &str, result: Result<(), BadName>) {
        if let Err(bad) = result {
            self.add(path, bad.problem, bad.expected);
        }
    }

    fn at_most(&mut self, path: &str, count: usize, max: usize) {
        if count > max {
            self.add(path, format!("{count} of them"), at_most(max));
        }
    }

    fn port(&mut self, path: &str, port: u16) {
        if port == 0 {
            let expected = format!("a port from {} to {}", PORT.start(), PORT.end());
            self.add(path, "port 0 cannot be used", expected);
        }
    }

    /// A number must be in a range, if it is there.
    fn within(&mut self, path: &str, value: Option<u64>, range: RangeInclusive<u64>) {
        if let Some(value) = value
            && !range.contains(&value)
        {
            let expected = format!("{} to {}", range.start(), range.end());
            self.add(path, format!("{value} is out of range"), expected);
        }
    }

    /// A number must be in a range, if it is there. What is no number is in none.
    fn number(&mut self, path: &str, value: Option<f64>, range: Bounds) {
        if let Some(value) = value
            && !range.hold(value)
        {
            self.add(path, format!("{value} is out of range"), range.to_string());
        }
    }

    /// A length of time must be in a range, if it is there.
    fn span(&mut self, path: &str, value: Option<Span>, range: RangeInclusive<Duration>) {
        if let Some(value) = value
            && !range.contains(&value.0)
        {
            let (least, most) = (Span(*range.start()), Span(*range.end()));
            let message = if value > most {
                format!("{value} is longer than {most}")
            } else {
                format!("{value} is out of range")
            };
            self.add(path, message, format!("{least} to {most}"));
        }
    }

    /// A number of bytes must be in a range, if it is there.
    fn size(&mut self, path: &str, value: Option<Size>, range: RangeInclusive<u64>) {
        if let Some(value) = value
            && !range.contains(&value.0)
        {
            let expected = format!("{} to {}", Size(*range.start()), Size(*range.end()));
            self.add(path, format!("{value} is out of range"), expected);
        }
    }

    fn pattern(&mut self, path: &str, pattern: &str) {
        if let Err(why) = crate::pattern::check(pattern) {
            let shown = crate::document::node::shortened(pattern);
            let message = format!("`{shown}` cannot be used: {why}");
            self.add(path, message, "a regular expression in the syntax of Rust's `regex`");
        }
    }

    fn weight(&mut self, path: &str, weight: u32) {
        if weight > WEIGHT_MAX {
            self.add(path, format!("the weight {weight} is too large"), format!("0 to {WEIGHT_MAX}"));
        }
    }

    /// A reference's optional kind and group must be among those that mean something here.
    fn reference(&mut self, path: &str, kind: (Option<&str>, &[&str]), group: (Option<&str>, &[&str])) {
        for (field, (value, known)) in [("kind", kind), ("group", group)] {
            if let Some(value) = value
                && !known.contains(&value)
            {
                let shown = crate::document::node::shortened(value);
                let named = known.iter().filter(|name| !name.is_empty());
                let quoted: Vec<String> = named.map(|name| format!("`{name}`")).collect();
                self.add(
                    format!("{path}.{field}"),
                    format!("`{shown}` has no meaning here"),
                    quoted.join(" or "),
                );
            }
        }
    }
}

/// A range of numbers, shown as what is expected. `Above` leaves its first number out, `Between` both.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bounds {
    From(f64, f64),
    Above(f64, f64),
    Between(f64, f64),
}

impl Bounds {
    /// A share of something.
    pub(crate) const SHARE: Self = Self::From(0.0, 1.0);
    /// A share that is not nothing.
    pub(crate) const SHARE_ABOVE_ZERO: Self = Self::Above(0.0, 1.0);

    fn hold(self, value: f64) -> bool {
        match self {
            Self::From(min, max) => min <= value && value <= max,
            Self::Above(min, max) => min < value && value <= max,
            Self::Between(min, max) => min < value && value < max,
        }
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::From(min, max) => write!(f, "{min} to {max}"),
            Self::Above(min, max) => write!(f, "more than {min}, at most {max}"),
            Self::Between(min, max) => write!(f, "more than {min} and less than {max}"),
        }
    }
}

fn at_most(max: usize) -> String {
    format!("at most {max}")
}

#[cfg(test)]
mod tests;
