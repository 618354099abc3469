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
