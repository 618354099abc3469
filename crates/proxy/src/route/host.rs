//! Finding things by host name: exact names first, then wildcards from the longest suffix, then "any host".
//!
//! Names are compared without regard to case and without a trailing dot. A lookup costs one hash per label of the host,
//! however many names there are, and allocates nothing.

use std::collections::HashMap;

use super::hash::TextHash;

/// The longest host name there can be (RFC 1035: 255 octets on the wire, 253 in text), with room for a trailing dot.
const HOST_LEN_MAX: usize = 254;

/// A host name or a wildcard, as a listener or a route states it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Exactly this name, in lower case.
    Exact(Box<str>),
    /// Every name that ends with this suffix and has at least one label before it. Starts with a dot, in lower case.
    Suffix(Box<str>),
    /// Every host, and requests without one.
    Any,
}

impl HostPattern {
    /// Reads `shop.example`, `*.shop.example`, or nothing for every host.
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            None | Some("" | "*") => Self::Any,
            Some(text) => {
                let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
                match text.strip_prefix('*') {
                    Some(suffix) => Self::Suffix(suffix.into()),
                    None => Self::Exact(text.into()),
                }
            }
        }
    }

    /// Whether some host matches both: the Gateway API's condition for a route to attach to a listener.
    pub fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Exact(name), Self::Suffix(suffix)) | (Self::Suffix(suffix), Self::Exact(name)) => {
                has_suffix(name.as_bytes(), suffix.as_bytes())
            }
            (Self::Suffix(a), Self::Suffix(b)) => a.ends_with(&**b) || b.ends_with(&**a),
        }
    }

    /// Whether a folded host matches.
    pub fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name.as_bytes() == host,
            Self::Suffix(suffix) => has_suffix(host, suffix.as_bytes()),
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

fn has_suffix(host: &[u8], suffix: &[u8]) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

/// Room for a host in lower case, used only when the one that was sent is not.
#[derive(Default)]
pub struct HostBuffer(Option<[u8; HOST_LEN_MAX]>);

impl HostBuffer {
    /// The host in lower case and without a trailing dot. One that is too long to be a name becomes empty, and so
    /// matches only "any host".
    pub fn fold<'a>(&'a mut self, host: &'a [u8]) -> &'a [u8] {
        if host.len() > HOST_LEN_MAX {
            return b"";
        }
        let host = host.strip_suffix(b".").unwrap_or(host);
        if !host.iter().any(u8::is_ascii_uppercase) {
            return host;
        }
        let folded = &mut self.0.insert([0; HOST_LEN_MAX])[..host.len()];
        folded.copy_from_slice(host);
        folded.make_ascii_lowercase();
        folded
    }
}

/// Values by host pattern.
#[derive(Debug)]
pub(crate) struct HostIndex<T> {
    exact: HashMap<Box<[u8]>, T, TextHash>,
    suffix: HashMap<Box<[u8]>, T, TextHash>,
    any: Option<T>,
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        Self { exact: HashMap::default(), suffix: HashMap::default(), any: None }
    }
}

impl<T> HostIndex<T> {
    /// The value of a pattern, made if there is none yet.
    pub(crate) fn entry(&mut self, pattern: &HostPattern, make: impl FnOnce() -> T) -> &mut T {
        match pattern {
            HostPattern::Exact(name) => self.exact.entry(name.as_bytes().into()).or_insert_with(make),
            HostPattern::Suffix(suffix) => self.suffix.entry(suffix.as_bytes().into()).or_insert_with(make),
            HostPattern::Any => self.any.get_or_insert_with(make),
        }
    }

    /// Every value that matches a folded host, the most specific pattern first.
    pub(crate) fn matching<'a>(&'a self, host: &'a [u8]) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        // A suffix starts at a dot that has something before it; leftmost dots give the longest suffixes.
        let dots = if self.suffix.is_empty() { &[] } else { host };
        let suffixes = dots
            .iter()
            .enumerate()
            .filter(|&(at, &byte)| byte == b'.' && at > 0)
            .filter_map(|(at, _)| self.suffix.get(&host[at..]));
        exact.into_iter().chain(suffixes).chain(self.any.as_ref())
    }

    /// The values, for finishing touches while a table is built.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.suffix.values_mut()).chain(self.any.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(Some(text))
    }

    #[test]
    fn patterns_read_and_show() {
        for text in ["shop.example", "*.shop.example", "*"] {
            assert_eq!(pattern(text).to_string(), text);
        }
        assert_eq!(pattern("Shop.Example."), pattern("shop.example"));
        assert_eq!(HostPattern::parse(None), HostPattern::Any);
    }

    #[test]
    fn intersections() {
        let check = |a: &str, b: &str, expected: bool| {
            assert_eq!(pattern(a).intersects(&pattern(b)), expected, "{a} and {b}");
            assert_eq!(pattern(b).intersects(&pattern(a)), expected, "{b} and {a}");
        };
        check("a.example", "a.example", true);
        check("a.example", "b.example", false);
        check("*.example", "a.example", true);
        check("*.example", "a.b.example", true);
        check("*.example", "example", false);
        check("*.example", "aexample", false);
        check("*.example", "*.example", true);
        check("*.b.example", "*.example", true);
        check("*.a.example", "*.b.example", false);
        check("*", "a.example", true);
    }

    #[test]
    fn most_specific_first() {
        let mut index = HostIndex::default();
        for text in ["a.b.c", "*.b.c", "*.c", "*", "other"] {
            index.entry(&pattern(text), || text);
        }
        let check = |host: &str, expected: &[&str]| {
            let mut buffer = HostBuffer::default();
            let folded = buffer.fold(host.as_bytes());
            assert_eq!(index.matching(folded).copied().collect::<Vec<_>>(), expected, "{host}");
        };
        check("a.b.c", &["a.b.c", "*.b.c", "*.c", "*"]);
        check("A.B.C.", &["a.b.c", "*.b.c", "*.c", "*"]);
        check("x.y.b.c", &["*.b.c", "*.c", "*"]);
        check("b.c", &["*.c", "*"]);
        check("c", &["*"]);
        check(".c", &["*"]);
        check("", &["*"]);
        check(&"a.c".repeat(100), &["*"]);
    }
}
