//! Keys and ranges of keys.
//!
//! Keys are paths, `/weir/v1/<kind>/<namespace>/<tail>`, ordered by their bytes. Kind and namespace are single
//! segments; the tail is any text (an application's KV key may hold empty segments and end in a slash).

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Bound;

use crate::Error;
use crate::held::Held;

/// What every key of this version of the layout starts with.
pub const ROOT: &str = "/weir/v1/";

/// The longest key of any engine, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// How much of a refused key an error message repeats, in characters.
const KEY_SHOWN_MAX: usize = 80;

/// Bytes before a path that say how long it is.
const LENGTH_BYTES: usize = 2;

/// A key: a path of at most [`KEY_BYTES_MAX`] bytes of UTF-8. Cheap to clone, ordered by bytes.
///
/// In memory it is its length, its path, and whatever else a [`crate::Record`] holds of it, which it then is a view of.
#[derive(Clone)]
pub struct Key(Held);

/// The path that such a piece of memory begins with, as bytes.
pub(crate) fn path_bytes(held: &[u8]) -> &[u8] {
    let length = usize::from(u16::from_le_bytes([held[0], held[1]]));
    &held[LENGTH_BYTES..LENGTH_BYTES + length]
}

/// The path that such a piece of memory begins with.
pub(crate) fn path(held: &[u8]) -> &str {
    text(path_bytes(held))
}

fn text(path: &[u8]) -> &str {
    std::str::from_utf8(path).expect("keys are made from text")
}

impl Key {
    /// The key `/weir/v1/<kind>/<namespace>/<tail>`.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] if kind or namespace is empty or holds a slash, if the tail is empty, or if the whole
    /// is too long or holds a NUL character.
    pub fn new(kind: &str, namespace: &str, tail: &str) -> Result<Self, Error> {
        let parts = [ROOT, kind, "/", namespace, "/", tail];
        check_segments(kind, namespace, &parts)?;
        if tail.is_empty() {
            return Err(invalid(&parts.concat(), "the part after the namespace must not be empty"));
        }
        Self::joined(&parts)
    }

    /// The key `/weir/v1/<kind>/<namespace>/<head>/<tail>`.
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn below(kind: &str, namespace: &str, head: &str, tail: &str) -> Result<Self, Error> {
        let parts = [ROOT, kind, "/", namespace, "/", head, "/", tail];
        check_segments(kind, namespace, &parts)?;
        Self::joined(&parts)
    }

    /// A key from its full path, which starts with a slash.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] if it does not start with a slash, names nothing, is too long or holds a NUL character.
    pub fn parse(path: &str) -> Result<Self, Error> {
        Self::joined(&[path])
    }

    fn joined(parts: &[&str]) -> Result<Self, Error> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut held = Vec::with_capacity(LENGTH_BYTES + length);
        // One that does not fit into two bytes is refused.
        held.extend_from_slice(&(length as u16).to_le_bytes());
        parts.iter().for_each(|part| held.extend_from_slice(part.as_bytes()));
        match fault(&held[LENGTH_BYTES..]) {
            Some(reason) => Err(invalid(&parts.concat(), reason)),
            None => Ok(Self(Held::new(&held))),
        }
    }

    /// The key that a record begins with.
    pub(crate) fn view(record: Held) -> Self {
        Self(record)
    }

    /// What it is a view of.
    pub(crate) fn bytes(&self) -> &Held {
        &self.0
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        path(&self.0)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        path_bytes(&self.0)
    }

    /// The kind, if this is a key under [`ROOT`].
    pub fn kind(&self) -> Option<&str> {
        self.parts().map(|(kind, _, _)| kind)
    }

    /// The namespace, if this is a key under [`ROOT`].
    pub fn namespace(&self) -> Option<&str> {
        self.parts().map(|(_, namespace, _)| namespace)
    }

    /// What follows the namespace, if this is a key under [`ROOT`].
    pub fn tail(&self) -> Option<&str> {
        self.parts().map(|(_, _, tail)| tail)
    }

    /// Kind, namespace and tail, if this is a key under [`ROOT`].
    pub fn parts(&self) -> Option<(&str, &str, &str)> {
        parts(self.as_str())
    }
}

/// Kind, namespace and tail of a path under [`ROOT`].
pub fn parts(path: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = path.strip_prefix(ROOT)?.split_once('/')?;
    let (namespace, tail) = rest.split_once('/')?;
    Some((kind, namespace, tail))
}

/// Refuses a path that is no key.
pub(crate) fn check(path: &str) -> Result<(), Error> {
    fault(path.as_bytes()).map_or(Ok(()), |reason| Err(invalid(path, reason)))
}

/// Why a path is no key, if it is none.
fn fault(path: &[u8]) -> Option<&'static str> {
    if !path.starts_with(b"/") || path.len() < 2 {
        return Some("a key is a path that starts with a slash and names something");
    }
    if path.len() > KEY_BYTES_MAX {
        return Some("a key has at most 1024 bytes");
    }
    path.contains(&0).then_some("a key must not hold a NUL character")
}

fn check_segments(kind: &str, namespace: &str, parts: &[&str]) -> Result<(), Error> {
    if is_segment(kind) && is_segment(namespace) {
        return Ok(());
    }
    Err(invalid(&parts.concat(), "kind and namespace must be non-empty and free of slashes"))
}

fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

fn invalid(path: &str, reason: &'static str) -> Error {
    Error::InvalidKey { key: path.chars().take(KEY_SHOWN_MAX).collect(), reason }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

// By bytes, not as `str` hashes, so that a map of keys can be asked by bytes (see `Borrow`).
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// A half-open range of keys: from `start` (included) to `end` (excluded, or the end of the store).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Box<[u8]>,
    end: Option<Box<[u8]>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self { start: Box::default(), end: None }
    }

    /// This one key.
    pub fn key(key: &Key) -> Self {
        let start = key.as_bytes();
        Self { start: start.into(), end: Some(successor(start)) }
    }

    /// Every key whose path starts with this text.
    pub fn prefix(prefix: &str) -> Self {
        Self { start: prefix.as_bytes().into(), end: prefix_end(prefix.as_bytes()) }
    }

    /// Every key of a kind, in all namespaces.
    pub fn kind(kind: &str) -> Self {
        Self::prefix(&format!("{ROOT}{kind}/"))
    }

    /// Every key of a kind in one namespace.
    pub fn namespace(kind: &str, namespace: &str) -> Self {
        Self::prefix(&format!("{ROOT}{kind}/{namespace}/"))
    }

    /// From `start`, included, to `end`, excluded.
    pub fn between(start: &str, end: &str) -> Self {
        Self { start: start.as_bytes().into(), end: Some(end.as_bytes().into()) }
    }

    /// What of this range lies after `key`: the next page of a read that ended with it.
    #[must_use]
    pub fn after(&self, key: &Key) -> Self {
        let start = successor(key.as_bytes()).max(self.start.clone());
        Self { start, end: self.end.clone() }
    }

    /// Whether the key lies in this range.
    pub fn contains(&self, key: &Key) -> bool {
        self.contains_path(key.as_bytes())
    }

    /// Whether the key with this path lies in this range.
    pub(crate) fn contains_path(&self, path: &[u8]) -> bool {
        *path >= *self.start && self.end.as_ref().is_none_or(|end| *path < **end)
    }

    /// Whether no key can lie in this range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Where it begins, included, and where it ends, excluded, if it ends.
    pub(crate) fn ends(&self) -> (&[u8], Option<&[u8]>) {
        (&self.start, self.end.as_deref())
    }

    /// The bounds in the form that ordered maps take. Only for ranges that are not empty: an ordered map panics on
    /// a start after the end.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = self.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        (Bound::Included(&self.start), end)
    }
}

/// The smallest byte string greater than this one.
fn successor(bytes: &[u8]) -> Box<[u8]> {
    let mut next = Vec::with_capacity(bytes.len() + 1);
    next.extend_from_slice(bytes);
    next.push(0);
    next.into()
}

/// The smallest byte string greater than all that start with this one; `None` if there is none.
fn prefix_end(prefix: &[u8]) -> Option<Box<[u8]>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_parts() {
        let key = Key::new("kv", "default", "a//b/").expect("valid");
        assert_eq!(key.as_str(), "/weir/v1/kv/default/a//b/");
        assert_eq!(key.parts(), Some(("kv", "default", "a//b/")));
        assert_eq!(Key::parse("/other/x").expect("valid").parts(), None);
        assert_eq!(
            Key::below("check", "n", "node", "a/b").expect("valid").as_str(),
            "/weir/v1/check/n/node/a/b"
        );
    }

    #[test]
    fn bad_keys_are_refused() {
        for (kind, namespace, tail) in [
            ("", "n", "t"),
            ("k", "", "t"),
            ("k", "n", ""),
            ("k/l", "n", "t"),
            ("k", "n/m", "t"),
            ("k", "n", "a\0b"),
        ] {
            assert!(Key::new(kind, namespace, tail).is_err(), "{kind:?} {namespace:?} {tail:?}");
            if !tail.is_empty() {
                assert!(Key::below(kind, namespace, tail, "x").is_err(), "{kind:?} {namespace:?} {tail:?}");
            }
        }
        let long = Key::new("k", "n", &"x".repeat(KEY_BYTES_MAX));
        assert!(
            matches!(&long, Err(Error::InvalidKey { reason, .. }) if reason.contains("1024")),
            "{long:?}"
        );
        for path in ["", "/", "a/b"] {
            assert!(Key::parse(path).is_err(), "{path:?}");
        }
        assert!(Key::parse(&format!("/{}", "x".repeat(KEY_BYTES_MAX - 1))).is_ok());
        assert!(Key::parse(&format!("/{}", "x".repeat(KEY_BYTES_MAX))).is_err());
    }

    #[test]
    fn a_prefix_holds_exactly_what_starts_with_it() {
        let range = KeyRange::prefix("/a/");
        for (path, inside) in
            [("/a/", true), ("/a/b", true), ("/a/\u{10ffff}", true), ("/a", false), ("/a0", false)]
        {
            assert_eq!(range.contains(&Key::parse(path).expect("valid")), inside, "{path}");
        }
        assert!(KeyRange::prefix("").contains(&Key::parse("/z").expect("valid")));
    }

    proptest::proptest! {
        #[test]
        fn ranges_agree_with_what_they_are_named_after(prefix in "/[a-c/\u{7f}\u{80}\u{10ffff}]{0,4}", path in "/[a-c/\u{7f}\u{80}\u{10ffff}]{1,6}") {
            let key = Key::parse(&path).expect("valid");
            proptest::prop_assert_eq!(KeyRange::prefix(&prefix).contains(&key), path.starts_with(&prefix));
            if let Ok(other) = Key::parse(&prefix) {
                proptest::prop_assert_eq!(KeyRange::key(&other).contains(&key), other == key);
                proptest::prop_assert_eq!(KeyRange::all().after(&other).contains(&key), key > other);
            }
        }
    }

    #[test]
    fn the_next_page_starts_right_after_the_key() {
        let key = |path| Key::parse(path).expect("valid");
        let rest = KeyRange::prefix("/a/").after(&key("/a/b"));
        assert!(!rest.contains(&key("/a/b")) && rest.contains(&key("/a/b!")) && !rest.contains(&key("/b")));
        assert!(
            KeyRange::key(&key("/a")).contains(&key("/a"))
                && !KeyRange::key(&key("/a")).contains(&key("/a!"))
        );
        assert!(KeyRange::between("/b", "/a").is_empty() && !KeyRange::all().is_empty());
    }
}
