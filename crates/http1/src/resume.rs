//! Keeps a head that drips in byte by byte from being parsed again at every byte.

/// How far an unfinished head was looked at.
///
/// A head is parsed at its first sight, again when its end has arrived, and otherwise only when it has doubled. So the
/// work stays linear in its size, and a fault is still found long before the limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resume {
    parsed: usize,
    searched: usize,
}

impl Resume {
    /// Whether parsing `buf` now could lead to another verdict than last time.
    #[inline]
    pub(crate) fn is_due(&mut self, buf: &[u8]) -> bool {
        self.parsed == 0 || self.search(buf)
    }

    #[cold]
    fn search(&mut self, buf: &[u8]) -> bool {
        if buf.len() < self.searched || buf.len() >= 2 * self.parsed {
            return true;
        }
        // An end may have begun up to three bytes back; a bare LF counts too, so that the parser can refuse it.
        let from = self.searched.saturating_sub(3);
        self.searched = buf.len();
        let tail = &buf[from..];
        tail.windows(2).any(|w| w == b"\n\n") || tail.windows(3).any(|w| w == b"\n\r\n")
    }

    pub(crate) fn note_partial(&mut self, len: usize) {
        *self = Self { parsed: len.max(1), searched: len };
    }

    #[inline]
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dripping_head_is_parsed_a_few_times_only() {
        let head = [&b"GET / HTTP/1.1\r\nA: "[..], &[b'x'; 60_000], b"\r\n\r\n"].concat();
        let (mut resume, mut parses) = (Resume::default(), 0);
        for end in 1..=head.len() {
            if resume.is_due(&head[..end]) {
                parses += 1;
                resume.note_partial(end);
            }
        }
        // At each doubling, and at the end.
        assert_eq!(parses, 17);
    }

    #[test]
    fn an_end_is_seen_however_it_is_cut() {
        for end in ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n"] {
            let head = [&[b'x'; 100], end.as_bytes(), b"yz"].concat();
            for first in 90..100 + end.len() {
                for second in first + 1..=head.len() {
                    let mut resume = Resume::default();
                    resume.note_partial(first);
                    let due = resume.is_due(&head[..second]);
                    assert_eq!(due, second >= 100 + end.len(), "{end:?} {first} {second}");
                    if !due {
                        assert!(resume.is_due(&head), "{end:?} {first} {second}");
                    }
                }
            }
        }
    }
}
