//! Conditions and changes of requests, in the words of `HTTPRoute`.

use std::collections::{BTreeMap, BTreeSet};

use weir_model::resource::filter::{
    Filter, FilterKind, HeaderModifier, HeaderValue, PathModifier, PathModifierKind, UrlRewrite,
};
use weir_model::resource::http_route::{HttpRouteMatch, PathMatch, PathMatchKind};
use weir_model::resource::route::{ValueMatch, ValueMatchKind};
use weir_model::units::Span;

use weir_model::validate::filters::FIELDS_MAX;
use weir_model::validate::http_route::MATCHES_MAX;

use super::entries::{Headers, HttpMatch, NamedMatch};

/// About what a changed field takes beside its name and value.
const FIELD_BYTES: usize = 32;

/// A route's conditions: one for each of the methods.
pub(super) fn matches(http: &HttpMatch) -> Vec<HttpRouteMatch> {
    let one = HttpRouteMatch {
        path: path(http),
        headers: http.header.iter().map(value).collect(),
        query_params: http.query_param.iter().map(value).collect(),
        method: None,
    };
    if http.methods.is_empty() {
        return vec![one];
    }
    let of = |method: &String| HttpRouteMatch { method: Some(method.to_ascii_uppercase()), ..one.clone() };
    // One more than a rule takes is enough to have it refused.
    http.methods.iter().take(MATCHES_MAX + 1).map(of).collect()
}

fn path(http: &HttpMatch) -> Option<PathMatch> {
    let (kind, value) = if !http.path_exact.is_empty() {
        (PathMatchKind::Exact, &http.path_exact)
    } else if !http.path_prefix.is_empty() {
        (PathMatchKind::PathPrefix, &http.path_prefix)
    } else if !http.path_regex.is_empty() {
        (PathMatchKind::RegularExpression, &http.path_regex)
    } else {
        return None;
    };
    if !http.case_insensitive {
        return Some(PathMatch { kind, value: value.clone() });
    }
    let value = match kind {
        PathMatchKind::Exact => regex::escape(value),
        PathMatchKind::PathPrefix => format!("{}(/.*)?", regex::escape(value.trim_end_matches('/'))),
        PathMatchKind::RegularExpression => value.clone(),
    };
    Some(PathMatch { kind: PathMatchKind::RegularExpression, value: format!("(?i){value}") })
}

fn value(of: &NamedMatch) -> ValueMatch {
    let escaped = |text: &str| regex::escape(text);
    let expression = if !of.exact.is_empty() {
        if !of.ignore_case {
            let (name, value) = (of.name.clone(), of.exact.clone());
            return ValueMatch { kind: ValueMatchKind::Exact, name, value };
        }
        escaped(&of.exact)
    } else if !of.prefix.is_empty() {
        format!("{}.*", escaped(&of.prefix))
    } else if !of.suffix.is_empty() {
        format!(".*{}", escaped(&of.suffix))
    } else if !of.contains.is_empty() {
        format!(".*{}.*", escaped(&of.contains))
    } else if !of.regex.is_empty() {
        of.regex.clone()
    } else {
        ".*".to_owned()
    };
    let flag = if of.ignore_case { "(?i)" } else { "" };
    ValueMatch {
        kind: ValueMatchKind::RegularExpression,
        name: of.name.clone(),
        value: format!("{flag}{expression}"),
    }
}

/// Filters, with these changes of header fields after those that are there: of two changes of a field the later counts.
pub(super) fn with_headers(filters: &[Filter], request: &Headers, response: &Headers) -> Vec<Filter> {
    let mut filters = filters.to_vec();
    for (kind, headers) in
        [(FilterKind::RequestHeaderModifier, request), (FilterKind::ResponseHeaderModifier, response)]
    {
        if headers.add.is_empty() && headers.set.is_empty() && headers.remove.is_empty() {
            continue;
        }
        let at = filters.iter().position(|filter| filter.kind == kind).unwrap_or_else(|| {
            filters.push(Filter { kind, ..Filter::default() });
            filters.len() - 1
        });
        let filter = &mut filters[at];
        let modifier = match kind {
            FilterKind::RequestHeaderModifier => &mut filter.request_header_modifier,
            _ => &mut filter.response_header_modifier,
        };
        add(modifier.get_or_insert_default(), headers);
    }
    filters
}

fn add(modifier: &mut HeaderModifier, headers: &Headers) {
    let names: BTreeSet<String> = headers.names().map(str::to_ascii_lowercase).collect();
    let stays = |name: &str| !names.contains(&name.to_ascii_lowercase());
    modifier.set.retain(|field| stays(&field.name));
    modifier.add.retain(|field| stays(&field.name));
    modifier.remove.retain(|name| stays(name));
    let values = |map: &BTreeMap<String, String>| -> Vec<HeaderValue> {
        map.iter().map(|(name, value)| HeaderValue { name: name.clone(), value: value.clone() }).collect()
    };
    modifier.set.extend(values(&headers.set));
    modifier.add.extend(values(&headers.add));
    modifier.remove.extend(headers.remove.iter().cloned());
}

/// Whether a list of a filter's changes has more fields than it may.
pub(super) fn has_too_many(filters: &[Filter]) -> bool {
    let modifiers = filters.iter().flat_map(modifiers);
    modifiers.into_iter().any(|HeaderModifier { set, add, remove }| {
        [set.len(), add.len(), remove.len()].iter().any(|count| *count > FIELDS_MAX)
    })
}

/// About how many bytes of text filters that change header fields make.
pub(super) fn size(filters: &[Filter]) -> usize {
    let fields = filters.iter().flat_map(modifiers).flat_map(|HeaderModifier { set, add, remove }| {
        let values = set.iter().chain(add).map(|field| field.name.len() + field.value.len());
        values.chain(remove.iter().map(String::len))
    });
    fields.map(|bytes| bytes + FIELD_BYTES).sum()
}

fn modifiers(filter: &Filter) -> impl Iterator<Item = &HeaderModifier> {
    filter.request_header_modifier.iter().chain(&filter.response_header_modifier)
}

/// What takes the place of the path that matched, or of its beginning.
pub(super) fn rewrite(http: Option<&HttpMatch>, with: &str) -> Option<Filter> {
    if with.is_empty() {
        return None;
    }
    let is_whole = http.is_some_and(|http| !http.path_exact.is_empty());
    let path = if is_whole {
        PathModifier {
            kind: PathModifierKind::ReplaceFullPath,
            replace_full_path: Some(with.to_owned()),
            replace_prefix_match: None,
        }
    } else {
        PathModifier {
            kind: PathModifierKind::ReplacePrefixMatch,
            replace_full_path: None,
            replace_prefix_match: Some(with.to_owned()),
        }
    };
    let rewrite = UrlRewrite { hostname: None, path: Some(path) };
    Some(Filter { kind: FilterKind::UrlRewrite, url_rewrite: Some(rewrite), ..Filter::default() })
}

/// A duration as entries are kept with; none where there is none.
pub(super) fn span(text: &str) -> Option<Span> {
    let span: Span = text.replace('µ', "u").parse().ok()?;
    (!span.0.is_zero()).then_some(span)
}
