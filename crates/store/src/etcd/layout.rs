//! Where keys lie in etcd: behind a prefix. Every key begins with a slash and has something behind it, so that the engine's own
//! never meet one of the store's.

use crate::{Key, KeyRange};

/// Key of the epoch, behind the prefix.
const EPOCH: &str = "weir-epoch";
/// Touched so that watches of everything move on. In their range, but no key of the store.
const TICK: &str = "/";
/// The first key behind the tick; all keys of the store are behind it.
const FIRST: &[u8] = b"/\0";
/// What is behind all keys of the store: the character after the slash.
const END: &[u8] = b"0";

/// Where keys lie.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    prefix: String,
}

impl Layout {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn behind(&self, tail: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), tail].concat()
    }

    pub(super) fn epoch(&self) -> Vec<u8> {
        self.behind(EPOCH.as_bytes())
    }

    pub(super) fn tick(&self) -> Vec<u8> {
        self.behind(TICK.as_bytes())
    }

    pub(super) fn key(&self, key: &Key) -> Vec<u8> {
        self.behind(key.as_str().as_bytes())
    }

    /// A key of the store; none for the engine's own and for what somebody else has put there.
    pub(super) fn parse(&self, key: &[u8]) -> Option<Key> {
        let path = key.strip_prefix(self.prefix.as_bytes())?;
        Key::parse(std::str::from_utf8(path).ok()?).ok()
    }

    /// From and to, for reads and deletions: the store's keys only. None if no key can be in the range.
    pub(super) fn readable(&self, range: &KeyRange) -> Option<(Vec<u8>, Vec<u8>)> {
        let (start, end) = range.ends();
        let start = if start < FIRST { FIRST } else { start };
        let end = end.filter(|end| *end < END).unwrap_or(END);
        (start < end).then(|| (self.behind(start), self.behind(end)))
    }

    /// From and to, for watches. Everything includes the tick.
    pub(super) fn watchable(&self, range: &KeyRange) -> Option<(Vec<u8>, Vec<u8>)> {
        let (from, to) = self.readable(range)?;
        Some(if Self::is_everything(range) { (self.tick(), to) } else { (from, to) })
    }

    /// Whether the range holds all keys of the store.
    pub(super) fn is_everything(range: &KeyRange) -> bool {
        let (start, end) = range.ends();
        start <= FIRST && end.is_none_or(|end| end >= END)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_own_keys_are_none_of_the_stores() {
        for prefix in ["", "/team/weir", "x"] {
            let layout = Layout::new(prefix);
            let key = Key::parse("/a").expect("valid");
            assert_eq!(layout.parse(&layout.key(&key)), Some(key.clone()));
            let (from, to) = layout.readable(&KeyRange::all()).expect("keys");
            for own in [layout.epoch(), layout.tick()] {
                assert_eq!(layout.parse(&own), None);
                assert!(own < from || own >= to);
            }
            let (from, to) = layout.watchable(&KeyRange::all()).expect("keys");
            assert!(layout.tick() >= from && layout.tick() < to && layout.epoch() >= to);
            assert!(layout.key(&key) > from && layout.key(&key) < to);
        }
    }

    #[test]
    fn ranges_keep_their_ends_within_the_prefix() {
        let layout = Layout::new("p");
        let ends = |range| layout.readable(&range);
        assert_eq!(ends(KeyRange::prefix("/a/")), Some((b"p/a/".to_vec(), b"p/a0".to_vec())));
        assert_eq!(ends(KeyRange::between("/b", "9")), Some((b"p/b".to_vec(), b"p0".to_vec())));
        assert_eq!(ends(KeyRange::between("/b", "/a")), None);
        assert_eq!(ends(KeyRange::between("5", "9")), None);
        assert!(Layout::is_everything(&KeyRange::all()) && Layout::is_everything(&KeyRange::prefix("/")));
        assert!(!Layout::is_everything(&KeyRange::prefix("/a")));
    }
}
