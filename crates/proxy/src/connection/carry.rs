//! Bytes that were read from a client and not dealt with yet: a head that has only begun, the beginning of a body, or
//! requests sent ahead. Holds no memory when empty.

use crate::runtime::Buffers;

/// The bytes.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    bytes: Vec<u8>,
    from: usize,
}

impl Carry {
    /// Bytes that were read before there was a connection to keep them.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, from: 0 }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.from == self.bytes.len()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.from
    }

    /// What is there.
    #[inline]
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    /// The same, to be decoded in place.
    #[inline]
    pub(crate) fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..]
    }

    /// Drops the first `n` bytes; gives the memory back once nothing is left.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize, buffers: &Buffers) {
        self.from += n;
        debug_assert!(self.from <= self.bytes.len());
        if self.is_empty() {
            self.clear(buffers);
        }
    }

    /// Appends what was read.
    pub(crate) fn extend(&mut self, more: &[u8], buffers: &Buffers) {
        if more.is_empty() {
            return;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = buffers.take();
        }
        if self.from > 0 {
            self.bytes.drain(..self.from);
            self.from = 0;
        }
        self.bytes.extend_from_slice(more);
    }

    /// Puts back what was taken too much of.
    #[inline]
    pub(crate) fn push_front(&mut self, rest: &[u8], buffers: &Buffers) {
        if rest.is_empty() {
            return;
        }
        if self.is_empty() {
            return self.extend(rest, buffers);
        }
        self.bytes.splice(..self.from, rest.iter().copied());
        self.from = 0;
    }

    /// Everything, leaving nothing.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.from));
        bytes
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, buffers: &Buffers) {
        self.from = 0;
        buffers.give_if_used(&mut self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_is_left_and_no_memory_when_nothing_is() {
        let buffers = Buffers::new();
        let mut carry = Carry::default();
        carry.extend(b"abcdef", &buffers);
        carry.consume(2, &buffers);
        assert_eq!(carry.unread(), b"cdef");
        carry.push_front(b"ab", &buffers);
        assert_eq!((carry.unread(), carry.len()), (&b"abcdef"[..], 6));
        carry.consume(3, &buffers);
        carry.extend(b"gh", &buffers);
        assert_eq!(carry.unread(), b"defgh");
        carry.consume(5, &buffers);
        assert!(carry.is_empty());
        assert_eq!(carry.bytes.capacity(), 0);
        carry.push_front(b"xy", &buffers);
        carry.consume(1, &buffers);
        assert_eq!(carry.take(), b"y");
        assert!(carry.is_empty());
    }
}
