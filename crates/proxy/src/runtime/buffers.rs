//! The worker's memory for bytes: one scratch for the poll that runs, and a bounded stock of small buffers for what has
//! to outlive a poll. A connection that waits for its next request holds neither.

use std::cell::RefCell;

/// Buffers kept for later use.
const STOCK_MAX: usize = 1024;
/// A buffer that has grown beyond this is not kept.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// What a new buffer can hold at first.
const FRESH_BYTES: usize = 1024;

/// The stock.
pub(crate) struct Buffers(RefCell<Vec<Vec<u8>>>);

impl Buffers {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(Vec::with_capacity(STOCK_MAX)))
    }

    /// An empty buffer.
    #[inline]
    pub(crate) fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(FRESH_BYTES))
    }

    /// The same for a buffer that may hold no memory at all.
    #[inline]
    pub(crate) fn give_if_used(&self, buffer: &mut Vec<u8>) {
        if buffer.capacity() > 0 {
            self.give(buffer);
        }
    }

    /// Gives a buffer back and leaves an empty one, without memory, in its place.
    #[inline]
    pub(crate) fn give(&self, buffer: &mut Vec<u8>) {
        let mut buffer = std::mem::take(buffer);
        let mut stock = self.0.borrow_mut();
        if buffer.capacity() != 0 && buffer.capacity() <= KEPT_BYTES_MAX && stock.len() < STOCK_MAX {
            buffer.clear();
            stock.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_taken_again_and_the_stock_is_bounded() {
        let buffers = Buffers::new();
        let mut a = buffers.take();
        a.extend_from_slice(b"secret");
        let at = a.as_ptr();
        buffers.give(&mut a);
        assert_eq!(a.capacity(), 0);
        let b = buffers.take();
        assert!(b.is_empty() && b.as_ptr() == at);

        buffers.give(&mut Vec::with_capacity(KEPT_BYTES_MAX + 1));
        assert!(buffers.0.borrow().is_empty());
        for _ in 0..STOCK_MAX + 5 {
            buffers.give(&mut Vec::with_capacity(8));
        }
        assert_eq!(buffers.0.borrow().len(), STOCK_MAX);
    }
}
