//! Finding things by path: the exact path first, then what is under the literal beginning of regular expressions, then
//! prefixes of whole segments from the longest; before the shortest, `/`, gRPC methods of any service.
//!
//! Prefixes are a trie of segments, whose children are sorted where they are few and hashed where they are many. A lookup walks each byte of the path once and then climbs from
//! the deepest prefix to shorter ones, so its cost depends on the path's length and not on the number of prefixes, and
//! a path of very many slashes buys an attacker nothing.

use std::collections::HashMap;

use super::hash::TextHash;

const ROOT: u32 = 0;
/// Up to so many children are searched; more are hashed.
const FEW_MAX: usize = 8;

/// Values by exact path and by path prefix.
#[derive(Debug)]
pub(super) struct PathIndex<T> {
    exact: HashMap<Box<[u8]>, T, TextHash>,
    /// The root, for the prefix `/`, is the first.
    nodes: Vec<Node<T>>,
    /// Whether any node has expressions.
    has_expressions: bool,
    /// By gRPC method.
    methods: HashMap<Box<[u8]>, T, TextHash>,
}

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its path is that of the request, or a prefix of it.
    Path,
    /// Its expression may match the path.
    Expression,
}

#[derive(Debug)]
struct Node<T> {
    /// By segment, sorted.
    children: Vec<(Box<[u8]>, u32)>,
    /// The same, where they are many.
    many: HashMap<Box<[u8]>, u32, TextHash>,
    parent: u32,
    value: Option<T>,
    expressions: Option<T>,
}

impl<T> Node<T> {
    #[inline]
    fn child(&self, segment: &[u8]) -> Option<u32> {
        if !self.many.is_empty() {
            return self.many.get(segment).copied();
        }
        let at = self.children.binary_search_by(|(name, _)| (**name).cmp(segment)).ok()?;
        Some(self.children[at].1)
    }

    fn add(&mut self, segment: &[u8], child: u32) {
        let at = self.children.partition_point(|(name, _)| **name < *segment);
        self.children.insert(at, (segment.into(), child));
        if self.children.len() > FEW_MAX {
            let missing = if self.many.is_empty() { &self.children[..] } else { &self.children[at..=at] };
            self.many.extend(missing.iter().cloned());
        }
    }

    fn under(parent: u32) -> Self {
        Self { children: Vec::new(), many: HashMap::default(), parent, value: None, expressions: None }
    }
}

impl<T> Default for PathIndex<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            nodes: vec![Node::under(ROOT)],
            has_expressions: false,
            methods: HashMap::default(),
        }
    }
}

/// The segments of a path that starts with `/`: none for `/` itself.
fn segments(path: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let rest = path.strip_prefix(b"/")?;
    let parts = rest.split(|&byte| byte == b'/');
    Some(parts.take(if rest.is_empty() { 0 } else { usize::MAX }))
}

/// Whether a path lies under a prefix, by whole segments. `/a/` means the same prefix as `/a`.
pub(super) fn is_under(path: &[u8], prefix: &[u8]) -> bool {
    let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The method in the path of a gRPC request, `/service/method`.
pub(super) fn grpc_method(path: &[u8]) -> Option<&[u8]> {
    let last = path.iter().rposition(|&byte| byte == b'/')?;
    let (service, method) = (path.get(1..last)?, &path[last + 1..]);
    (!service.is_empty() && !service.contains(&b'/') && !method.is_empty()).then_some(method)
}

impl<T> PathIndex<T> {
    /// The value of an exact path, made if there is none yet.
    pub(super) fn exact(&mut self, path: &str, make: impl FnOnce() -> T) -> &mut T {
        self.exact.entry(path.as_bytes().into()).or_insert_with(make)
    }

    /// The value of a prefix, made if there is none yet.
    pub(super) fn prefix(&mut self, prefix: &str, make: impl FnOnce() -> T) -> &mut T {
        self.node(prefix).value.get_or_insert_with(make)
    }

    /// The value of the expressions that match only what is under a prefix, made if there is none yet.
    pub(super) fn expressions(&mut self, prefix: &str, make: impl FnOnce() -> T) -> &mut T {
        self.has_expressions = true;
        self.node(prefix).expressions.get_or_insert_with(make)
    }

    /// The value of a gRPC method of any service, made if there is none yet.
    pub(super) fn method(&mut self, method: &str, make: impl FnOnce() -> T) -> &mut T {
        self.methods.entry(method.as_bytes().into()).or_insert_with(make)
    }

    fn node(&mut self, prefix: &str) -> &mut Node<T> {
        let trimmed = prefix.strip_suffix('/').unwrap_or(prefix);
        let mut node = ROOT;
        for segment in trimmed.as_bytes().split(|&byte| byte == b'/').skip(1) {
            node = self.child_or_new(node, segment);
        }
        &mut self.nodes[node as usize]
    }

    fn child_or_new(&mut self, parent: u32, segment: &[u8]) -> u32 {
        if let Some(child) = self.nodes[parent as usize].child(segment) {
            return child;
        }
        let next = self.nodes.len() as u32;
        self.nodes[parent as usize].add(segment, next);
        self.nodes.push(Node::under(parent));
        next
    }

    /// Every value that matches a path, the most specific first. Of expressions it is only known that their beginning does.
    pub(super) fn matching<'a>(
        &'a self,
        path: &'a [u8],
    ) -> impl Iterator<Item = (Stage, &'a T)> + use<'a, T> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(path) };
        let deepest = self.deepest(path);
        let expressions = self.climb(deepest.filter(|_| self.has_expressions));
        let expressions =
            expressions.filter_map(|(_, node)| Some((Stage::Expression, node.expressions.as_ref()?)));
        let prefixes = self.climb(deepest).flat_map(|(index, node)| {
            // The method of any service is more than nothing, and less than a service.
            let method = if index == ROOT && !self.methods.is_empty() { grpc_method(path) } else { None };
            let method = method.and_then(|method| self.methods.get(method));
            method.into_iter().chain(node.value.as_ref())
        });
        let exact = exact.into_iter().map(|value| (Stage::Path, value));
        exact.chain(expressions).chain(prefixes.map(|value| (Stage::Path, value)))
    }

    /// A node and all above it.
    fn climb(&self, from: Option<u32>) -> impl Iterator<Item = (u32, &Node<T>)> {
        let mut at = from;
        std::iter::from_fn(move || {
            let index = at?;
            let node = &self.nodes[index as usize];
            at = (index != ROOT).then_some(node.parent);
            Some((index, node))
        })
    }

    /// The deepest node on the path; `None` for what is not a path.
    fn deepest(&self, path: &[u8]) -> Option<u32> {
        let mut node = ROOT;
        for segment in segments(path)? {
            match self.nodes[node as usize].child(segment) {
                Some(child) => node = child,
                None => break,
            }
        }
        Some(node)
    }

    /// The values, for finishing touches while a table is built.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let nodes = self
            .nodes
            .iter_mut()
            .flat_map(|node| node.value.as_mut().into_iter().chain(&mut node.expressions));
        self.exact.values_mut().chain(nodes).chain(self.methods.values_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_then_longest_prefix() {
        let mut index = PathIndex::default();
        index.exact("/a/b", || "=/a/b");
        index.exact("/a/", || "=/a/");
        for prefix in ["/", "/a", "/a/b/", "/a/b/c/d", "/x//y"] {
            index.prefix(prefix, || prefix);
        }
        let check = |path: &str, expected: &[&str]| {
            let found = index.matching(path.as_bytes()).map(|(_, value)| *value);
            assert_eq!(found.collect::<Vec<_>>(), expected, "{path}");
        };
        check("/", &["/"]);
        check("/a", &["/a", "/"]);
        check("/a/", &["=/a/", "/a", "/"]);
        check("/ab", &["/"]);
        check("/a/b", &["=/a/b", "/a/b/", "/a", "/"]);
        check("/a/b/", &["/a/b/", "/a", "/"]);
        check("/a/b/c", &["/a/b/", "/a", "/"]);
        check("/a/b/c/d/e", &["/a/b/c/d", "/a/b/", "/a", "/"]);
        check("/x//y/z", &["/x//y", "/"]);
        check("/x/y", &["/"]);
        check("/A", &["/"]);
        check("*", &[]);
        check("", &[]);
    }

    #[test]
    fn children_are_found_however_many() {
        let mut index = PathIndex::default();
        for i in 0..3 * FEW_MAX {
            // Neither in order nor each once.
            for name in [i * 7 % (3 * FEW_MAX), i] {
                index.prefix(&format!("/a/{name}"), || name);
            }
            let known: Vec<_> = (0..3 * FEW_MAX)
                .filter(|name| {
                    index.matching(format!("/a/{name}/x").as_bytes()).next() == Some((Stage::Path, name))
                })
                .collect();
            let expected: std::collections::BTreeSet<_> =
                (0..=i).flat_map(|j| [j * 7 % (3 * FEW_MAX), j]).collect();
            assert_eq!(known, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn same_prefix_with_and_without_a_slash() {
        let mut index = PathIndex::default();
        *index.prefix("/a", || 1) += 1;
        *index.prefix("/a/", || 10) += 1;
        assert_eq!(index.matching(b"/a").collect::<Vec<_>>(), [(Stage::Path, &3)]);
    }

    #[test]
    fn expressions_where_their_beginning_fits_and_methods_before_the_root() {
        let mut index = PathIndex::default();
        for prefix in ["/", "/a"] {
            index.prefix(prefix, || prefix);
        }
        for under in ["", "/a", "/a/b"] {
            index.expressions(under, || under);
        }
        index.method("Get", || "Get");
        let check = |path: &str, expressions: &[&str], paths: &[&str]| {
            let of = |wanted: Stage| {
                let found = index.matching(path.as_bytes()).filter(move |(stage, _)| *stage == wanted);
                found.map(|(_, value)| *value).collect::<Vec<_>>()
            };
            assert_eq!(of(Stage::Expression), expressions, "{path}");
            assert_eq!(of(Stage::Path), paths, "{path}");
        };
        check("/a/b/c", &["/a/b", "/a", ""], &["/a", "/"]);
        check("/a/Get", &["/a", ""], &["/a", "Get", "/"]);
        check("/x/Get", &[""], &["Get", "/"]);
        check("/x/y/Get", &[""], &["/"]);
        check("/Get", &[""], &["/"]);
        check("//Get", &[""], &["/"]);
        check("/x/", &[""], &["/"]);
        check("*", &[], &[]);
    }

    #[test]
    fn whole_segments() {
        for (path, prefix, expected) in [
            ("/a", "/a", true),
            ("/a/", "/a", true),
            ("/a", "/a/", true),
            ("/a/b", "/a/", true),
            ("/ab", "/a", false),
            ("/", "/", true),
            ("/x", "/", true),
            ("*", "/", false),
        ] {
            assert_eq!(is_under(path.as_bytes(), prefix.as_bytes()), expected, "{path} under {prefix}");
        }
    }
}
