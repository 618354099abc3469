//! Why one match goes before another, for explanations. What decides are the indices and `build`; a property test holds
//! the two against each other.

use std::cmp::Ordering;

use super::{HostPattern, Match, PathPattern, trimmed};

/// The first thing in which two matches differ, in the order in which the Gateway API compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// The hostname of its route is more specific.
    Host,
    /// Its path is exact, an expression, or a longer prefix.
    Path,
    /// It is for one method.
    Method,
    /// It has more conditions on header fields.
    Headers,
    /// It has more conditions on query parameters.
    Params,
    /// Its route, rule or match is the first of equals.
    Order,
}

/// Larger is more specific: a name over a wildcard over any host; among wildcards the longer one.
fn host(pattern: &HostPattern) -> (u8, usize) {
    match pattern {
        HostPattern::Any => (0, 0),
        HostPattern::Suffix(suffix) => (1, suffix.len()),
        HostPattern::Exact(_) => (2, 0),
    }
}

/// Larger is more specific.
fn path(pattern: &PathPattern) -> (u8, usize, usize) {
    match pattern {
        PathPattern::Prefix(prefix) if trimmed(prefix).is_empty() => (0, 0, 0),
        PathPattern::AnyService(_) => (1, 0, 0),
        PathPattern::Prefix(prefix) => (2, trimmed(prefix).len(), 0),
        PathPattern::Regex(pattern) => (3, pattern.under().matches('/').count(), pattern.text().len()),
        PathPattern::Exact(_) => (4, 0, 0),
    }
}

/// What is tried in order counts like an expression for every path, before those that are some.
fn place(matched: &Match) -> (u8, usize, usize) {
    if matched.in_order { (3, 0, usize::MAX) } else { path(&matched.path) }
}

/// Which of two matches that both hold goes first, and why. `Less` is the first.
pub fn compare(a: &Match, b: &Match) -> (Ordering, Ahead) {
    let (first, second) = (&a.conditions, &b.conditions);
    let stages = [
        (host(&b.host).cmp(&host(&a.host)), Ahead::Host),
        (place(b).cmp(&place(a)), Ahead::Path),
        (second.method.is_some().cmp(&first.method.is_some()), Ahead::Method),
        (second.headers.len().cmp(&first.headers.len()), Ahead::Headers),
        (second.params.len().cmp(&first.params.len()), Ahead::Params),
    ];
    let in_order = a.in_order && b.in_order;
    let stages = stages.into_iter().filter(|(_, stage)| !in_order || *stage == Ahead::Host);
    let decided = stages.into_iter().find(|(order, _)| order.is_ne());
    decided.unwrap_or((a.order.cmp(&b.order), Ahead::Order))
}
