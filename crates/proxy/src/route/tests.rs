//! The whole of routing: precedence case by case, and against a reference that looks at everything.

mod precedence;
mod reference;

use super::*;

/// A request for tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestRequest {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl TestRequest {
    /// A request from `METHOD host/path?query`, with header fields as pairs.
    pub(crate) fn new(line: &str, headers: &[(&str, &str)]) -> Self {
        let (method, target) = line.split_once(' ').unwrap();
        let (host, path) = target.split_at(target.find('/').unwrap());
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        Self {
            method: method.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            query,
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        }
    }
}

impl RequestView for TestRequest {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn query(&self) -> Option<&[u8]> {
        self.query.as_ref().map(String::as_bytes)
    }

    fn values<'a>(&'a self, lower_name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let named =
            self.headers.iter().filter(move |(name, _)| name.as_bytes().eq_ignore_ascii_case(lower_name));
        named.map(|(_, value)| value.as_bytes())
    }
}

/// A rule that only has a label.
fn rule(label: &str) -> Rule {
    Rule {
        route: ResourceId::new(weir_model::Kind::HttpRoute, "default", label),
        index: 0,
        name: None,
        label: label.into(),
        request_timeout: TimeLimit::Unset,
        attempt_timeout: TimeLimit::Unset,
        filters: None,
        backends: Backends::new([(1, UpstreamIndex(0))]),
    }
}

/// The label of the rule that a table finds.
fn found<'a>(table: &'a RouteTable, request: &TestRequest) -> Option<&'a str> {
    let mut rng = <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(1);
    table.find(request, &mut rng, &mut NoReasons).map(|found| &*found.rule.label)
}
