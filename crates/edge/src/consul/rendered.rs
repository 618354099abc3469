//! Answers that are already written, so that many readers of one service cost one rendering per change.
//!
//! An answer is reused only while its index and the store's epoch are the same: then it would be written the same
//! again. Bounded in bytes; what is not asked for is dropped.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use weir_model::Revision;

/// Bytes of written answers that are kept, keys included.
pub(super) const RENDERED_BYTES_MAX: usize = 32 << 20;
/// A larger answer is not kept: it would push out all others.
const ANSWER_BYTES_MAX: usize = RENDERED_BYTES_MAX / 16;

/// The state an answer was written from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) epoch: u64,
    pub(super) index: Revision,
}

type Table = HashMap<String, (Stamp, Bytes)>;

/// Two generations: what is read moves to the young one; when that is half of the bound, the old one goes.
#[derive(Default)]
struct Generations {
    young: Table,
    young_bytes: usize,
    old: Table,
}

/// The written answers of one API.
#[derive(Default)]
pub(super) struct Rendered {
    generations: Mutex<Generations>,
}

impl Rendered {
    /// The answer to this question, if it was written from this very state.
    pub(super) fn get(&self, question: &str, stamp: Stamp) -> Option<Bytes> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |table: &Table| {
            table.get(question).filter(|(at, _)| *at == stamp).map(|(_, bytes)| bytes.clone())
        };
        if let Some(bytes) = fresh(&generations.young) {
            return Some(bytes);
        }
        let bytes = fresh(&generations.old)?;
        generations.put(question.to_owned(), stamp, bytes.clone());
        Some(bytes)
    }

    /// Keeps an answer.
    pub(super) fn put(&self, question: String, stamp: Stamp, bytes: Bytes) {
        if question.len() + bytes.len() <= ANSWER_BYTES_MAX {
            self.generations.lock().unwrap_or_else(PoisonError::into_inner).put(question, stamp, bytes);
        }
    }
}

impl Generations {
    fn put(&mut self, question: String, stamp: Stamp, bytes: Bytes) {
        self.old.remove(&question);
        let len = question.len();
        self.young_bytes += len + bytes.len();
        if let Some((_, known)) = self.young.insert(question, (stamp, bytes)) {
            self.young_bytes -= len + known.len();
        }
        if self.young_bytes > RENDERED_BYTES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(generations: &Generations) -> usize {
        let both = generations.young.iter().chain(&generations.old);
        both.map(|(question, (_, bytes))| question.len() + bytes.len()).sum()
    }

    #[test]
    fn an_answer_is_good_for_its_state_only() {
        let rendered = Rendered::default();
        let stamp = Stamp { epoch: 1, index: 5 };
        rendered.put("q".to_owned(), stamp, Bytes::from_static(b"five"));
        assert_eq!(rendered.get("q", stamp).as_deref(), Some(b"five".as_slice()));
        assert_eq!(rendered.get("q", Stamp { index: 6, ..stamp }), None);
        assert_eq!(rendered.get("q", Stamp { epoch: 2, ..stamp }), None);
        assert_eq!(rendered.get("r", stamp), None);
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let rendered = Rendered::default();
        let stamp = Stamp { epoch: 1, index: 5 };
        let answer = Bytes::from(vec![b'x'; 1 << 20]);
        rendered.put("often".to_owned(), stamp, answer.clone());
        for n in 0..200 {
            rendered.put(format!("once-{n}"), stamp, answer.clone());
            assert!(rendered.get("often", stamp).is_some(), "{n}");
            let generations = rendered.generations.lock().unwrap();
            assert!(bytes_of(&generations) <= RENDERED_BYTES_MAX + ANSWER_BYTES_MAX);
        }
        assert!(rendered.get("once-0", stamp).is_none());
        rendered.put("huge".to_owned(), stamp, Bytes::from(vec![b'x'; ANSWER_BYTES_MAX]));
        assert!(rendered.get("huge", stamp).is_none());
    }

    #[test]
    fn replacing_an_answer_counts_it_once() {
        let rendered = Rendered::default();
        for index in 0..100 {
            rendered.put("q".to_owned(), Stamp { epoch: 1, index }, Bytes::from(vec![b'x'; 1000]));
        }
        assert_eq!(rendered.generations.lock().unwrap().young_bytes, 1001);
    }
}
