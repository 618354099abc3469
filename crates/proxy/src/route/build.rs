//! Building a route table: collects sections, rules and matches, then puts each bucket in order of precedence.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Conditions, HostPattern, Match, PathPattern, RouteTable, Rule, Section};

/// One match of a rule, before it is put into a table.
#[derive(Clone, Debug)]
pub struct MatchSpec {
    /// The condition on the path.
    pub path: PathPattern,
    /// Everything else.
    pub conditions: Conditions,
    /// Whether it is tried in the order in which it was added, however specific it is.
    pub in_order: bool,
}

impl MatchSpec {
    /// A match that goes by how specific it is.
    pub fn new(path: PathPattern, conditions: Conditions) -> Self {
        Self { path, conditions, in_order: false }
    }
}

/// Collects what a [`RouteTable`] is made of. Routes are to be added in order of precedence: where the Gateway API's
/// rules leave a tie, what was added first wins.
#[derive(Debug, Default)]
pub struct RouteTableBuilder {
    table: RouteTable,
}

impl RouteTableBuilder {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a section and returns its index. Of two with the same host the first one serves it.
    pub fn section(&mut self, label: impl Into<Arc<str>>, host: HostPattern) -> usize {
        let index = self.table.sections.len();
        self.table.by_host.entry(&host, || index);
        self.table.sections.push(Section { label: label.into(), host });
        self.table.indices.push(super::HostIndex::default());
        index
    }

    /// Adds a rule and its matches to a section, for each of the hosts that its route is for.
    pub fn rule(&mut self, section: usize, hosts: &[HostPattern], rule: Rule, matches: &[MatchSpec]) {
        let table = &mut self.table;
        let rule_index = table.rules.len();
        table.rules.push(rule);
        for host in hosts {
            let paths = table.indices[section].entry(host, super::PathIndex::default);
            for spec in matches {
                let id = table.matches.len() as u32;
                // `*`, the server as a whole, is no path, and found by itself.
                let in_order = spec.in_order && !spec.path.is_for_the_server();
                let bucket = match &spec.path {
                    _ if in_order => paths.expressions("/", Vec::new),
                    PathPattern::Exact(path) => paths.exact(path, Vec::new),
                    PathPattern::Prefix(prefix) => paths.prefix(prefix, Vec::new),
                    PathPattern::Regex(pattern) => paths.expressions(pattern.under(), Vec::new),
                    PathPattern::AnyService(method) => paths.method(method, Vec::new),
                };
                bucket.push(id);
                table.matches.push(Match {
                    section,
                    host: host.clone(),
                    path: spec.path.clone(),
                    conditions: spec.conditions.clone(),
                    rule: rule_index,
                    in_order,
                    order: id,
                });
            }
        }
    }

    /// The finished table.
    pub fn build(self) -> RouteTable {
        let RouteTable { sections, by_host, mut indices, matches, rules } = self.table;
        for paths in indices.iter_mut().flat_map(super::HostIndex::values_mut) {
            for bucket in paths.values_mut() {
                bucket.sort_by_key(|&id| precedence(&matches[id as usize]));
            }
        }
        RouteTable { sections, by_host, indices, matches, rules }
    }
}

/// The Gateway API's order within the same host and path: a method, then more headers, then more query parameters, then
/// the order of routes and rules. Before that, expressions under the same beginning go by their length; before these, what
/// is tried in order. Smallest first.
fn precedence(matched: &Match) -> (Reverse<usize>, bool, Reverse<usize>, Reverse<usize>, u32) {
    let conditions = &matched.conditions;
    if matched.in_order {
        return (Reverse(usize::MAX), false, Reverse(0), Reverse(0), matched.order);
    }
    let length = match &matched.path {
        PathPattern::Regex(pattern) => pattern.text().len(),
        _ => 0,
    };
    (
        Reverse(length),
        conditions.method.is_none(),
        Reverse(conditions.headers.len()),
        Reverse(conditions.params.len()),
        matched.order,
    )
}
