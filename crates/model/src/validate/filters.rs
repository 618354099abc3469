//! Rules of filters, those of the Gateway API where it has any.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Bounds, Faults, STATUSES_OF_ANSWERS, http_route, route};
use crate::document::node::shortened;
use crate::names;
use crate::resource::filter::{
    Action, Cors, Fault, Filter, FilterKind, Fraction, HeaderModifier, HeaderValue, PathModifier,
    PathModifierKind, RequestMirror, RequestRedirect, UrlRewrite,
};
use crate::resource::route::BackendRef;

/// Most filters of one rule, or of one backend (the Gateway API's own limit).
pub const FILTERS_MAX: usize = 16;
/// Most fields that one filter sets, adds or removes, each (the Gateway API's own limit).
pub const FIELDS_MAX: usize = 16;
/// Most origins, methods or fields of one CORS filter (the Gateway API's own limit).
pub const CORS_NAMES_MAX: usize = 64;
/// Bounds of `maxAge`, in seconds.
pub(crate) const CORS_AGE: RangeInclusive<u64> = 1..=u32::MAX as u64;
/// Bounds of `fraction.denominator`.
pub(crate) const DENOMINATOR: RangeInclusive<u64> = 1..=u32::MAX as u64;
/// Most copies of one request.
pub const MIRRORS_MAX: usize = 4;
/// Bounds of a delay on purpose.
pub(crate) const DELAY: RangeInclusive<Duration> = Duration::from_nanos(1)..=Duration::from_secs(3600);
/// Bounds of `percentage`.
pub(crate) const PERCENTAGE: Bounds = Bounds::From(0.0, 100.0);
/// Statuses of redirects.
pub const REDIRECT_STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
/// The largest gRPC status.
pub const GRPC_STATUS_MAX: u32 = 16;

/// Fields that are the connection's, or that say where the body ends and for whom a request is: to change them by hand
/// would break messages, or smuggle.
const UNTOUCHABLE: [&str; 13] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "http2-settings",
];

/// What filters must know of their rule.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// Whether all of its matches are prefixes, so that one can be replaced.
    pub(super) replaces_prefix: bool,
    /// Whether it is for requests at large, which can be answered with a redirect or have their path rewritten; else
    /// for gRPC calls.
    pub(super) answers: bool,
    /// Whether it has backends.
    pub(super) has_backends: bool,
}

/// The filters of a rule, and those of its backends.
pub(super) fn of_rule(
    path: &str,
    filters: &[Filter],
    backends: &[BackendRef],
    rule: Rule,
    faults: &mut Faults,
) {
    list(&format!("{path}.filters"), filters, rule, faults);
    if rule.has_backends
        && let Some(at) = filters.iter().position(|filter| filter.kind == FilterKind::RequestRedirect)
    {
        let path = format!("{path}.filters[{at}]");
        faults.add(path, "what is redirected goes to no service", "a rule without `backendRefs`");
    }
    for (index, backend) in backends.iter().take(route::BACKENDS_MAX).enumerate() {
        let path = format!("{path}.backendRefs[{index}].filters");
        list(&path, &backend.filters, rule, faults);
        // The Gateway API allows neither in one rule, wherever they stand.
        for (at, filter) in backend.filters.iter().enumerate() {
            let is = |kind: FilterKind| filters.iter().any(|of_rule| of_rule.kind == kind);
            let both = match filter.kind {
                FilterKind::RequestRedirect => is(FilterKind::UrlRewrite),
                FilterKind::UrlRewrite => is(FilterKind::RequestRedirect),
                _ => false,
            };
            if both {
                let message = "a request is redirected or rewritten, not both";
                faults.add(format!("{path}[{at}].type"), message, "one of them");
            }
        }
    }
}

fn list(path: &str, filters: &[Filter], rule: Rule, faults: &mut Faults) {
    faults.at_most(path, filters.len(), FILTERS_MAX);
    let mut mirrors = 0;
    for (index, one) in filters.iter().take(FILTERS_MAX).enumerate() {
        let path = format!("{path}[{index}]");
        mirrors += usize::from(one.kind == FilterKind::RequestMirror);
        let before = &filters[..index];
        if one.kind != FilterKind::RequestMirror && before.iter().any(|other| other.kind == one.kind) {
            let message = format!("a second {} in one place", one.kind.as_str());
            faults.add(format!("{path}.type"), message, "each type of filter once");
        }
        let excluded = match one.kind {
            FilterKind::RequestRedirect => Some(FilterKind::UrlRewrite),
            FilterKind::UrlRewrite => Some(FilterKind::RequestRedirect),
            _ => None,
        };
        if before.iter().any(|other| Some(other.kind) == excluded) {
            faults.add(
                format!("{path}.type"),
                "a request is redirected or rewritten, not both",
                "one of them",
            );
        }
        filter(&path, one, rule, faults);
    }
    if mirrors > MIRRORS_MAX {
        faults.add(path, format!("{mirrors} copies of each request"), super::at_most(MIRRORS_MAX));
    }
}

fn filter(path: &str, filter: &Filter, rule: Rule, faults: &mut Faults) {
    if !rule.answers && matches!(filter.kind, FilterKind::RequestRedirect | FilterKind::UrlRewrite) {
        let message = format!("{} has no meaning for gRPC calls", filter.kind.as_str());
        faults.add(format!("{path}.type"), message, "another type");
    }
    for carried in filter.settings().filter(|kind| *kind != filter.kind) {
        let message = format!("it does not belong to a {}", filter.kind.as_str());
        let expected = format!("`type: {}`", carried.as_str());
        faults.add(format!("{path}.{}", carried.field()), message, expected);
    }
    let path = format!("{path}.{}", filter.kind.field());
    match filter.action() {
        None => faults.add(path, "its settings are missing", format!("`{}`", filter.kind.field())),
        Some(Action::RequestHeaders(modifier) | Action::ResponseHeaders(modifier)) => {
            header_modifier(&path, modifier, faults);
        }
        Some(Action::Redirect(redirect)) => request_redirect(&path, redirect, rule, faults),
        Some(Action::Rewrite(rewrite)) => url_rewrite(&path, rewrite, rule, faults),
        Some(Action::Mirror(mirror)) => request_mirror(&path, mirror, faults),
        Some(Action::Cors(settings)) => cors(&path, settings, faults),
        Some(Action::Fault(settings)) => fault(&path, settings, rule, faults),
    }
}

fn header_modifier(path: &str, modifier: &HeaderModifier, faults: &mut Faults) {
    let HeaderModifier { set, add, remove } = modifier;
    let name_of = |field: &HeaderValue| field.name.clone();
    let lists: [(&str, Vec<String>, &[HeaderValue]); 3] = [
        ("set", set.iter().map(name_of).collect(), set),
        ("add", add.iter().map(name_of).collect(), add),
        ("remove", remove.clone(), &[]),
    ];
    if lists.iter().all(|(_, names, _)| names.is_empty()) {
        faults.add(path, "it changes nothing", "`set`, `add` or `remove`");
    }
    let mut seen: HashSet<String> = HashSet::new();
    for (list, names, fields) in &lists {
        let path = format!("{path}.{list}");
        faults.at_most(&path, names.len(), FIELDS_MAX);
        for (index, name) in names.iter().take(FIELDS_MAX).enumerate() {
            let path = if *list == "remove" {
                format!("{path}[{index}]")
            } else {
                value(&format!("{path}[{index}].value"), &fields[index].value, faults);
                format!("{path}[{index}].name")
            };
            field_name(&path, name, faults);
            if !seen.insert(name.to_ascii_lowercase()) {
                faults.add(path, format!("`{}` is there twice", shortened(name)), "each name once");
            }
        }
    }
}

/// The name of a field that may be changed.
pub(super) fn field_name(path: &str, name: &str, faults: &mut Faults) {
    if name.len() > route::CONDITION_NAME_BYTES_MAX {
        return faults.add(
            path,
            format!("{} bytes long", name.len()),
            super::at_most(route::CONDITION_NAME_BYTES_MAX),
        );
    }
    faults.name(path, names::token(name));
    // Some servers take `_` for `-`.
    let lower = name.to_ascii_lowercase().replace('_', "-");
    if UNTOUCHABLE.contains(&&*lower) || lower.starts_with("x-weir-") {
        let expected = if lower == "host" {
            "a URLRewrite with `hostname`"
        } else {
            "a field that is not the connection's"
        };
        faults.add(path, format!("`{}` cannot be changed", shortened(name)), expected);
    }
}

pub(super) fn value(path: &str, value: &str, faults: &mut Faults) {
    let is_odd = |c: char| c.is_control() && c != '\t';
    if value.len() > route::CONDITION_VALUE_BYTES_MAX || value.chars().any(is_odd) {
        let max = route::CONDITION_VALUE_BYTES_MAX;
        faults.add(
            path,
            "not a value of a header field",
            format!("at most {max} bytes, no control characters"),
        );
    } else if value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']) {
        faults.add(path, "space at an end would be lost", "a value without space at its ends");
    }
}

fn request_redirect(path: &str, redirect: &RequestRedirect, rule: Rule, faults: &mut Faults) {
    if let Some(name) = &redirect.hostname {
        precise_hostname(&format!("{path}.hostname"), name, faults);
    }
    if let Some(modifier) = &redirect.path {
        path_modifier(&format!("{path}.path"), modifier, rule, faults);
    }
    if let Some(port) = redirect.port {
        faults.port(&format!("{path}.port"), port);
    }
    if let Some(status) = redirect.status_code
        && !REDIRECT_STATUSES.contains(&status)
    {
        faults.add(
            format!("{path}.statusCode"),
            format!("{status} is no redirect to follow"),
            "301, 302, 303, 307 or 308",
        );
    }
}

fn url_rewrite(path: &str, rewrite: &UrlRewrite, rule: Rule, faults: &mut Faults) {
    if rewrite.hostname.is_none() && rewrite.path.is_none() {
        faults.add(path, "it changes nothing", "`hostname` or `path`");
    }
    if let Some(name) = &rewrite.hostname {
        precise_hostname(&format!("{path}.hostname"), name, faults);
    }
    if let Some(modifier) = &rewrite.path {
        path_modifier(&format!("{path}.path"), modifier, rule, faults);
    }
}

fn precise_hostname(path: &str, name: &str, faults: &mut Faults) {
    if name.starts_with("*.") {
        faults.add(path, "a request goes to one host, not to many", "a host name without `*`");
    } else {
        faults.name(path, names::hostname(name));
    }
}

fn path_modifier(path: &str, modifier: &PathModifier, rule: Rule, faults: &mut Faults) {
    let PathModifier { kind, replace_full_path, replace_prefix_match } = modifier;
    let (field, wanted, other, stray) = match kind {
        PathModifierKind::ReplaceFullPath => {
            ("replaceFullPath", replace_full_path, "replacePrefixMatch", replace_prefix_match)
        }
        PathModifierKind::ReplacePrefixMatch => {
            ("replacePrefixMatch", replace_prefix_match, "replaceFullPath", replace_full_path)
        }
    };
    if stray.is_some() {
        faults.add(format!("{path}.{other}"), "it does not belong to this `type`", format!("`{field}`"));
    }
    let Some(value) = wanted else {
        return faults.add(path, format!("the field `{field}` is missing"), "what to put in its place");
    };
    if *kind == PathModifierKind::ReplacePrefixMatch && !rule.replaces_prefix {
        faults.add(
            format!("{path}.type"),
            "a match of this rule is no prefix that could be replaced",
            "matches of type `PathPrefix` only, or `ReplaceFullPath`",
        );
    }
    // Nothing in place of a prefix is the Gateway API's own way to cut it off.
    if !value.is_empty() || *kind == PathModifierKind::ReplaceFullPath {
        http_route::path_value(&format!("{path}.{field}"), value, faults);
    }
}

fn request_mirror(path: &str, mirror: &RequestMirror, faults: &mut Faults) {
    let to = &mirror.backend_ref;
    let kind = (to.group.as_deref(), to.kind.as_deref());
    let name = (to.namespace.as_deref(), &*to.name);
    route::service(&format!("{path}.backendRef"), kind, name, to.port, faults);
    if mirror.percent.is_some() && mirror.fraction.is_some() {
        faults.add(format!("{path}.percent"), "`fraction` says it too", "one of the two");
    }
    faults.within(&format!("{path}.percent"), mirror.percent.map(u64::from), 0..=100);
    let Some(Fraction { numerator, denominator }) = mirror.fraction else { return };
    faults.within(&format!("{path}.fraction.denominator"), Some(denominator.into()), DENOMINATOR);
    if denominator > 0 && numerator > denominator {
        let message = format!("{numerator} of {denominator} is no share");
        faults.add(format!("{path}.fraction"), message, "a `numerator` of at most the `denominator`");
    }
}

fn cors(path: &str, cors: &Cors, faults: &mut Faults) {
    let lists = [
        ("allowOrigins", &cors.allow_origins),
        ("allowMethods", &cors.allow_methods),
        ("allowHeaders", &cors.allow_headers),
        ("exposeHeaders", &cors.expose_headers),
    ];
    for (field, names) in lists {
        let path = format!("{path}.{field}");
        faults.at_most(&path, names.len(), CORS_NAMES_MAX);
        let mut seen = HashSet::new();
        for (index, name) in names.iter().take(CORS_NAMES_MAX).enumerate() {
            let path = format!("{path}[{index}]");
            if name == "*" {
                if names.len() > 1 && ["allowOrigins", "allowMethods"].contains(&field) {
                    faults.add(&path, "`*` stands for all the others", "`*` alone");
                }
            } else if field == "allowOrigins" {
                if !is_origin(name) {
                    let message = format!("`{}` is not an origin", shortened(name));
                    faults.add(
                        &path,
                        message,
                        "such as `https://shop.example`, `https://*.shop.example` or `*`",
                    );
                }
            } else {
                faults.name(&path, names::token(name));
            }
            let folded = if field == "allowMethods" { name.clone() } else { name.to_ascii_lowercase() };
            if !seen.insert(folded) {
                faults.add(path, format!("`{}` is there twice", shortened(name)), "each once");
            }
        }
    }
    if cors.allow_origins.is_empty() {
        faults.add(format!("{path}.allowOrigins"), "no origin would be allowed", "at least one, or `*`");
    }
    faults.within(&format!("{path}.maxAge"), cors.max_age.map(u64::from), CORS_AGE);
}

/// `scheme://host` with an optional port; the host is a name, an address, or `*` with or without a rest.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number > 0 && !port.starts_with('+'));
    let is_address = |host: &str| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        bare.map_or_else(
            || host.parse::<std::net::Ipv4Addr>().is_ok(),
            |bare| bare.parse::<std::net::Ipv6Addr>().is_ok(),
        )
    };
    matches!(scheme, "http" | "https")
        && port.is_none_or(is_port)
        && (host == "*" || names::hostname(host).is_ok() || is_address(host))
}

fn fault(path: &str, fault: &Fault, rule: Rule, faults: &mut Faults) {
    if fault.delay.is_none() && fault.abort.is_none() {
        faults.add(path, "it does nothing", "`delay` or `abort`");
    }
    if let Some(delay) = &fault.delay {
        faults.number(&format!("{path}.delay.percentage"), Some(delay.percentage), PERCENTAGE);
        faults.span(&format!("{path}.delay.duration"), Some(delay.duration), DELAY);
    }
    let Some(abort) = &fault.abort else { return };
    let path = format!("{path}.abort");
    faults.number(&format!("{path}.percentage"), Some(abort.percentage), PERCENTAGE);
    match (abort.status, abort.grpc_status) {
        (None, None) => {
            let expected = if rule.answers { "`status` or `grpcStatus`" } else { "`grpcStatus` or `status`" };
            faults.add(&path, "it does not say with what", expected);
        }
        (Some(_), Some(_)) => faults.add(&path, "two answers to one request", "`status` or `grpcStatus`"),
        _ => {}
    }
    faults.within(&format!("{path}.status"), abort.status.map(u64::from), STATUSES_OF_ANSWERS);
    let grpc = abort.grpc_status.map(u64::from);
    faults.within(&format!("{path}.grpcStatus"), grpc, 1..=u64::from(GRPC_STATUS_MAX));
}
