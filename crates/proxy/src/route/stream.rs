//! Where connections go: the TCP and TLS routes of one port.
//!
//! ```text
//! server name (SNI), if there is one -> section (one listener) -> route hostnames, most specific first -> service by weight
//! ```
//!
//! A connection has nothing else to be told apart by, so there is one rule for each name. Precedence is the Gateway
//! API's, as for requests.

use std::sync::Arc;

use rand::Rng;
use weir_model::ResourceId;

use super::host::HostIndex;
use super::{Backends, HostBuffer, HostPattern, Section, UpstreamIndex};

/// The rules for the connections of one port. Built by [`StreamTableBuilder`].
#[derive(Debug, Default)]
pub struct StreamTable {
    sections: Vec<Section>,
    by_name: HostIndex<usize>,
    /// One per section: index of the rule.
    indices: Vec<HostIndex<usize>>,
    rules: Vec<StreamRule>,
}

/// The rule of a `TCPRoute` or `TLSRoute`.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRule {
    /// The route it is from.
    pub route: ResourceId,
    /// Its own name, if it has one.
    pub name: Option<Box<str>>,
    /// `TLSRoute/db`, for logs.
    pub label: Arc<str>,
    /// Where it sends connections.
    pub backends: Backends,
}

/// The rule that a table found for a connection, and the service drawn from it.
#[derive(Clone, Copy, Debug)]
pub struct StreamFound<'a> {
    /// The rule.
    pub rule: &'a StreamRule,
    /// The service drawn; none when the rule has none with a weight.
    pub upstream: Option<UpstreamIndex>,
}

impl StreamTable {
    /// Finds the rule for a connection and draws one of its services. `rng` is used only where a rule has several.
    pub fn find(&self, server_name: Option<&[u8]>, rng: &mut impl Rng) -> Option<StreamFound<'_>> {
        let mut buffer = HostBuffer::default();
        let name = buffer.fold(server_name.unwrap_or_default());
        // As with requests: only the most specific listener serves a name.
        let &section = self.by_name.matching(name).next()?;
        let &rule = self.indices[section].matching(name).next()?;
        let rule = &self.rules[rule];
        Some(StreamFound { rule, upstream: rule.backends.choose(rng).map(|backend| backend.upstream) })
    }

    /// The section that serves a name, the same as `find` takes.
    pub fn section_of(&self, server_name: Option<&[u8]>) -> Option<usize> {
        let mut buffer = HostBuffer::default();
        self.by_name.matching(buffer.fold(server_name.unwrap_or_default())).next().copied()
    }

    /// The table's sections, in the order in which they were added.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Every rule.
    pub fn rules(&self) -> &[StreamRule] {
        &self.rules
    }
}

/// Builds a [`StreamTable`].
#[derive(Debug, Default)]
pub struct StreamTableBuilder(StreamTable);

impl StreamTableBuilder {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a section, one listener's, for the names given. Of two for the same names the first counts.
    pub fn section(&mut self, label: impl Into<Arc<str>>, host: HostPattern) -> usize {
        let table = &mut self.0;
        let section = table.sections.len();
        table.by_name.entry(&host, || section);
        table.sections.push(Section { label: label.into(), host });
        table.indices.push(HostIndex::default());
        section
    }

    /// Adds a rule for the names given. Where another one has a name already, that one keeps it.
    pub fn rule(&mut self, section: usize, hosts: &[HostPattern], rule: StreamRule) {
        let table = &mut self.0;
        let index = table.rules.len();
        table.rules.push(rule);
        for host in hosts {
            table.indices[section].entry(host, || index);
        }
    }

    /// The table.
    pub fn build(self) -> StreamTable {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use weir_model::Kind;

    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(Some(text))
    }

    fn rule(name: &str, upstream: u32) -> StreamRule {
        StreamRule {
            route: ResourceId::new(Kind::HttpRoute, "default", name),
            name: None,
            label: name.into(),
            backends: Backends::new([(1, UpstreamIndex(upstream))]),
        }
    }

    #[test]
    fn the_most_specific_name_wins_within_the_most_specific_listener() {
        let mut builder = StreamTableBuilder::new();
        let wild = builder.section("Gateway/edge:wild", pattern("*.example"));
        let exact = builder.section("Gateway/edge:db", pattern("db.example"));
        builder.rule(wild, &[pattern("*.example")], rule("wild", 0));
        builder.rule(wild, &[pattern("a.example"), pattern("*.b.example")], rule("named", 1));
        builder.rule(wild, &[pattern("a.example")], rule("late", 2));
        builder.rule(exact, &[pattern("other.example")], rule("elsewhere", 3));
        let table = builder.build();
        let check = |name: Option<&str>, expected: Option<&str>| {
            let mut rng = SmallRng::seed_from_u64(1);
            let found = table.find(name.map(str::as_bytes), &mut rng);
            assert_eq!(found.map(|found| &*found.rule.label), expected, "{name:?}");
        };
        check(Some("a.example"), Some("named"));
        check(Some("A.EXAMPLE"), Some("named"));
        check(Some("x.b.example"), Some("named"));
        check(Some("c.example"), Some("wild"));
        check(Some("db.example"), None);
        check(Some("example"), None);
        check(None, None);
    }

    #[test]
    fn a_port_without_names_takes_everything() {
        let mut builder = StreamTableBuilder::new();
        let section = builder.section("Gateway/edge:db", HostPattern::Any);
        builder.rule(section, &[HostPattern::Any], rule("db", 7));
        let table = builder.build();
        let mut rng = SmallRng::seed_from_u64(1);
        for name in [None, Some(&b"db.example"[..])] {
            assert_eq!(table.find(name, &mut rng).unwrap().upstream, Some(UpstreamIndex(7)));
        }
        assert_eq!(table.sections().len(), 1);
    }
}
