//! Rules of `HTTPRoute`, those of the Gateway API where it has any.

use std::time::Duration;

use super::{Faults, filters, route};
use crate::document::node::shortened;
use crate::names;
use crate::resource::http_route::{HttpRouteMatch, HttpRouteRule, HttpRouteSpec, PathMatch, PathMatchKind};

pub use super::route::{
    BACKENDS_MAX, CONDITION_NAME_BYTES_MAX, CONDITION_VALUE_BYTES_MAX, CONDITIONS_MAX, HOSTNAMES_MAX,
    MATCHES_MAX, PARENTS_MAX, RULES_MAX,
};

/// Longest path to compare with, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// Longest method, in bytes.
const METHOD_BYTES_MAX: usize = 32;

pub(super) fn validate(spec: &HttpRouteSpec, faults: &mut Faults) {
    route::parents(&spec.parent_refs, route::WITH_MESH, faults);
    route::hostnames(&spec.hostnames, faults);
    let rules = spec.rules.iter().map(|rule| rule.name.as_deref());
    route::rule_names(rules, RULES_MAX, faults);
    for (index, one) in spec.rules.iter().take(RULES_MAX).enumerate() {
        rule(&format!("spec.rules[{index}]"), one, faults);
    }
}

fn rule(path: &str, rule: &HttpRouteRule, faults: &mut Faults) {
    faults.at_most(&format!("{path}.matches"), rule.matches.len(), MATCHES_MAX);
    for (index, one) in rule.matches.iter().take(MATCHES_MAX).enumerate() {
        condition(&format!("{path}.matches[{index}]"), one, faults);
    }
    let filtered = filters::Rule {
        replaces_prefix: replaces_prefix(&rule.matches),
        answers: true,
        has_backends: !rule.backend_refs.is_empty(),
    };
    filters::of_rule(path, &rule.filters, &rule.backend_refs, filtered, faults);
    route::backends(path, &rule.backend_refs, faults);
    if let Some(timeouts) = &rule.timeouts
        && let (Some(request), Some(attempt)) = (timeouts.request, timeouts.backend_request)
        && request.0 != Duration::ZERO
        && (attempt > request || attempt.0 == Duration::ZERO)
    {
        faults.add(
            format!("{path}.timeouts.backendRequest"),
            format!(
                "one attempt may take longer ({}) than the whole request ({request})",
                unlimited(attempt)
            ),
            format!("at most {request}"),
        );
    }
}

/// Whether `ReplacePrefixMatch` makes sense: each match, or the one that is meant when there is none, is a prefix.
fn replaces_prefix(matches: &[HttpRouteMatch]) -> bool {
    let kind = |one: &HttpRouteMatch| one.path.as_ref().map_or(PathMatchKind::PathPrefix, |path| path.kind);
    matches.iter().all(|one| kind(one) == PathMatchKind::PathPrefix)
}

fn unlimited(span: crate::units::Span) -> String {
    if span.0 == Duration::ZERO { "no limit".to_owned() } else { span.to_string() }
}

fn condition(path: &str, condition: &HttpRouteMatch, faults: &mut Faults) {
    if let Some(wanted) = &condition.path {
        path_match(&format!("{path}.path.value"), wanted, faults);
    }
    if let Some(method) = &condition.method {
        let path = format!("{path}.method");
        if names::token(method).is_err() || method.len() > METHOD_BYTES_MAX {
            faults.add(path, format!("`{}` is not a method", shortened(method)), "a method such as `GET`");
        } else if method.bytes().any(|b| b.is_ascii_lowercase()) {
            let expected = format!("`{}`", method.to_ascii_uppercase());
            faults.add(
                path,
                format!("`{method}` would never match: methods are written in capitals"),
                expected,
            );
        }
    }
    route::headers(&format!("{path}.headers"), &condition.headers, faults);
    route::values(&format!("{path}.queryParams"), &condition.query_params, str::to_owned, faults);
}

fn path_match(path: &str, wanted: &PathMatch, faults: &mut Faults) {
    if wanted.kind == PathMatchKind::RegularExpression {
        faults.pattern(path, &wanted.value);
    } else {
        path_value(path, &wanted.value, faults);
    }
}

/// The Gateway API's rules for a path: it must be in the form that paths have after they are normalised, else it would
/// never match.
pub(super) fn path_value(path: &str, value: &str, faults: &mut Faults) {
    let shown = shortened(value);
    if !value.starts_with('/') {
        let expected = format!("`/{}`", shown.trim_start_matches('/'));
        return faults.add(path, format!("`{shown}` does not begin with `/`"), expected);
    }
    if value.len() > PATH_BYTES_MAX {
        return faults.add(path, format!("{} bytes long", value.len()), super::at_most(PATH_BYTES_MAX));
    }
    let lower = value.to_ascii_lowercase();
    let unreachable = ["//", "/./", "/../", "%2f"].into_iter().find(|part| lower.contains(part));
    let unreachable = unreachable.or_else(|| ["/..", "/."].into_iter().find(|part| value.ends_with(part)));
    if let Some(part) = unreachable {
        let message =
            format!("`{shown}` would never match: paths are normalised first, so that none holds `{part}`");
        return faults.add(path, message, "a normalised path");
    }
    if let Some(odd) =
        value.chars().find(|c| !(c.is_ascii_alphanumeric() || "-/._~!$&'()*+,;=:@%".contains(*c)))
    {
        let message = format!("`{shown}` holds {odd:?}, which no path does");
        return faults.add(path, message, "letters, digits, -._~!$&'()*+,;=:@/ and %XX for others");
    }
    let escapes = value.split('%').skip(1);
    if escapes.into_iter().any(|rest| !rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count().eq(&2)) {
        faults.add(path, format!("`{shown}` holds a `%` without two hex digits"), "%XX");
    }
}
