//! Bytes that many hold and nobody changes, behind one pointer: what `Arc<[u8]>` is, in 8 bytes beside the bytes instead of 16, and
//! with references of 8 bytes instead of 16. A store with a million instances has two records for each, and half a dozen references
//! to them.

// One allocation of a length that is known only at run time, and a count of who holds it, cannot be had without.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// References at one time; far more than have room in memory unless they are leaked. Whoever makes more ends the process, as with
/// an `Arc`: half of what can be counted, so that threads which do it at once cannot pass the other half.
const HOLDERS_MAX: u32 = u32::MAX / 2;

/// Shared bytes. Cheap to clone.
pub(crate) struct Held(NonNull<Head>);

/// What stands before the bytes.
#[repr(C)]
struct Head {
    holders: AtomicU32,
    length: u32,
}

// SAFETY: the bytes are never changed, and the count is atomic.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

/// The memory that so many bytes take with what stands before them.
fn layout(length: u32) -> Layout {
    let bytes = length as usize;
    let whole = size_of::<Head>().checked_add(bytes);
    let layout = whole.and_then(|whole| Layout::from_size_align(whole, align_of::<Head>()).ok());
    layout.expect("4 GiB and a little more can be addressed")
}

impl Held {
    /// A copy of these bytes.
    ///
    /// # Panics
    /// If they are 4 GiB or more; keys and values are far shorter.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).expect("keys and values are far below 4 GiB");
        let layout = layout(length);
        // SAFETY: the layout is not empty, for a head is in it.
        let start = unsafe { alloc(layout) };
        let Some(head) = NonNull::new(start.cast::<Head>()) else { handle_alloc_error(layout) };
        // SAFETY: the memory is as the layout says, so there is room for the head at its beginning, rightly aligned, and for the bytes
        // behind it; nobody else knows of it, so it does not overlap with `bytes`.
        unsafe {
            head.write(Head { holders: AtomicU32::new(1), length });
            head.add(1).cast::<u8>().as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Self(head)
    }

    fn head(&self) -> &Head {
        // SAFETY: it was written when this was made, and is there as long as somebody holds it.
        unsafe { self.0.as_ref() }
    }

    /// Whether both are the very same piece of memory.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let length = self.head().length as usize;
        // SAFETY: so many bytes were written behind the head, and are not changed as long as somebody holds them.
        unsafe { std::slice::from_raw_parts(self.0.add(1).cast::<u8>().as_ptr(), length) }
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        // Whoever clones it holds it: nothing has to be seen in an order.
        if self.head().holders.fetch_add(1, Ordering::Relaxed) > HOLDERS_MAX {
            std::process::abort();
        }
        Self(self.0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.head().holders.fetch_sub(1, Ordering::Release) > 1 {
            return;
        }
        // What others did with it comes before it is given back.
        fence(Ordering::Acquire);
        let layout = layout(self.head().length);
        // SAFETY: it was allocated with this layout, and nobody holds it any more. A head needs no drop.
        unsafe { dealloc(self.0.as_ptr().cast::<u8>(), layout) }
    }
}

impl From<&[u8]> for Held {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl Default for Held {
    fn default() -> Self {
        Self::new(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_as_they_were_given() {
        for length in [0, 1, 7, 8, 9, 160, 70_000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let held = Held::new(&bytes);
            let again = held.clone();
            assert!(held.is(&again) && !held.is(&Held::new(&bytes)));
            drop(held);
            assert_eq!(*again, *bytes);
        }
        assert!(Held::default().is_empty());
        assert_eq!(size_of::<Option<Held>>(), 8, "there are millions");
    }

    #[test]
    fn threads_that_hold_the_same_give_it_back_once() {
        let held = Held::new(b"shared");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let own = held.clone();
                scope.spawn(move || {
                    let copies: Vec<Held> = (0..1000).map(|_| own.clone()).collect();
                    assert!(copies.iter().all(|copy| **copy == *b"shared"));
                });
            }
        });
        assert_eq!(held.head().holders.load(Ordering::Relaxed), 1);
    }
}
