//! Finding things by path: the exact path first, then prefixes of whole segments from the longest.
//!
//! Prefixes are a trie of segments with sorted children. A lookup walks each byte of the path once and then climbs from
//! the deepest prefix to shorter ones, so its cost depends on the path's length and not on the number of prefixes, and
//! a path of very many slashes buys an attacker nothing.

use std::collections::HashMap;

use super::hash::TextHash;

const ROOT: u32 = 0;

/// Values by exact path and by path prefix.
#[derive(Debug)]
pub(super) struct PathIndex<T> {
    exact: HashMap<Box<[u8]>, T, TextHash>,
    /// The root, for the prefix `/`, is the first.
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    /// By segment, sorted.
    children: Vec<(Box<[u8]>, u32)>,
    parent: u32,
    value: Option<T>,
}

impl<T> Default for PathIndex<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            nodes: vec![Node { children: Vec::new(), parent: ROOT, value: None }],
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

impl<T> PathIndex<T> {
    /// The value of an exact path, made if there is none yet.
    pub(super) fn exact(&mut self, path: &str, make: impl FnOnce() -> T) -> &mut T {
        self.exact.entry(path.as_bytes().into()).or_insert_with(make)
    }

    /// The value of a prefix, made if there is none yet.
    pub(super) fn prefix(&mut self, prefix: &str, make: impl FnOnce() -> T) -> &mut T {
        let trimmed = prefix.strip_suffix('/').unwrap_or(prefix);
        let mut node = ROOT;
        for segment in trimmed.as_bytes().split(|&byte| byte == b'/').skip(1) {
            node = self.child_or_new(node, segment);
        }
        self.nodes[node as usize].value.get_or_insert_with(make)
    }

    fn child_or_new(&mut self, parent: u32, segment: &[u8]) -> u32 {
        let next = self.nodes.len() as u32;
        let children = &mut self.nodes[parent as usize].children;
        match children.binary_search_by(|(name, _)| (**name).cmp(segment)) {
            Ok(at) => children[at].1,
            Err(at) => {
                children.insert(at, (segment.into(), next));
                self.nodes.push(Node { children: Vec::new(), parent, value: None });
                next
            }
        }
    }

    /// Every value that matches a path, the most specific first.
    pub(super) fn matching<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(path) };
        let mut at = self.deepest(path);
        let climb = std::iter::from_fn(move || {
            while let Some(index) = at {
                let node = &self.nodes[index as usize];
                at = (index != ROOT).then_some(node.parent);
                if let Some(value) = &node.value {
                    return Some(value);
                }
            }
            None
        });
        exact.into_iter().chain(climb)
    }

    /// The deepest node on the path; `None` for what is not a path.
    fn deepest(&self, path: &[u8]) -> Option<u32> {
        let mut node = ROOT;
        for segment in segments(path)? {
            let children = &self.nodes[node as usize].children;
            match children.binary_search_by(|(name, _)| (**name).cmp(segment)) {
                Ok(at) => node = children[at].1,
                Err(_) => break,
            }
        }
        Some(node)
    }

    /// The values, for finishing touches while a table is built.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.nodes.iter_mut().filter_map(|node| node.value.as_mut()))
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
            assert_eq!(index.matching(path.as_bytes()).copied().collect::<Vec<_>>(), expected, "{path}");
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
    fn same_prefix_with_and_without_a_slash() {
        let mut index = PathIndex::default();
        *index.prefix("/a", || 1) += 1;
        *index.prefix("/a/", || 10) += 1;
        assert_eq!(index.matching(b"/a").copied().collect::<Vec<_>>(), [3]);
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
