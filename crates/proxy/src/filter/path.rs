//! Another path: a whole one, or another beginning.

/// What stands instead of a path, or of the prefix that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// All of it.
    Full(Box<str>),
    /// The prefix.
    Prefix(Box<str>),
}

/// A prefix as whole segments are compared: without a slash at its end.
pub(crate) fn trimmed(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

impl PathChange {
    /// The new path in two parts, one of which may be empty. `prefix` is how many bytes of `path` are the prefix that
    /// matched, without a slash at its end.
    pub fn parts<'a>(&'a self, path: &'a [u8], prefix: usize) -> (&'a [u8], &'a [u8]) {
        // `OPTIONS *` asks about the server as a whole.
        if path == b"*" {
            return (path, b"");
        }
        match self {
            Self::Full(full) => (full.as_bytes(), b""),
            Self::Prefix(replacement) => match path.get(prefix..).unwrap_or_default() {
                b"" if replacement.is_empty() => (b"/", b""),
                b"" => (replacement.as_bytes(), b""),
                rest => (trimmed(replacement).as_bytes(), rest),
            },
        }
    }
}

impl std::fmt::Display for PathChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full(path) => write!(f, "path {path}"),
            Self::Prefix(prefix) => write!(f, "prefix {}", if prefix.is_empty() { "/" } else { prefix }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the Gateway API's `HTTPPathModifier`, and what it leaves out.
    #[test]
    fn prefixes_are_replaced_by_whole_segments() {
        let check = |path: &str, prefix: &str, replacement: &str, expected: &str| {
            let change = PathChange::Prefix(replacement.into());
            let (start, rest) = change.parts(path.as_bytes(), trimmed(prefix).len());
            let found = String::from_utf8([start, rest].concat()).unwrap();
            assert_eq!(found, expected, "{path} with {replacement} for {prefix}");
        };
        check("/foo/bar", "/foo", "/xyz", "/xyz/bar");
        check("/foo/bar", "/foo", "/xyz/", "/xyz/bar");
        check("/foo/bar", "/foo/", "/xyz", "/xyz/bar");
        check("/foo/bar", "/foo/", "/xyz/", "/xyz/bar");
        check("/foo", "/foo", "/xyz", "/xyz");
        check("/foo/", "/foo", "/xyz", "/xyz/");
        check("/foo/bar", "/foo", "", "/bar");
        check("/foo/", "/foo", "", "/");
        check("/foo", "/foo", "", "/");
        check("/foo/", "/foo", "/", "/");
        check("/foo", "/foo", "/", "/");
        check("/foo/bar", "/", "/xyz", "/xyz/foo/bar");
        check("/", "/", "/xyz", "/xyz/");
        check("/foo", "/foo", "/xyz/", "/xyz/");
        check("*", "/", "/xyz", "*");
    }

    #[test]
    fn a_whole_path() {
        assert_eq!(PathChange::Full("/x".into()).parts(b"/a/b", 2), (&b"/x"[..], &b""[..]));
        assert_eq!(PathChange::Full("/x".into()).parts(b"*", 0), (&b"*"[..], &b""[..]));
    }
}
