//! A worker's memory for ciphertext: what one poll of one TLS connection works with. Nothing in it survives the poll.

use std::cell::RefCell;
use std::rc::Rc;

use super::session::{CONTROL_BYTES, RECORD_OVERHEAD_BYTES, RECORD_PLAIN_BYTES_MAX};

/// Plaintext that one write takes at most.
pub(super) const WRITE_BYTES_MAX: usize = 128 * 1024;
/// Ciphertext that one read takes at most, with what was held back of an earlier one: above all a handshake message, of
/// which rustls takes 64 KiB.
pub(super) const READ_BYTES_MAX: usize = 160 * 1024;

/// The memory, shared by all TLS connections of a worker.
#[derive(Clone, Debug)]
pub(crate) struct TlsScratch(pub(super) Rc<RefCell<Both>>);

/// One for each direction.
#[derive(Debug)]
pub(super) struct Both {
    pub(super) incoming: Box<[u8]>,
    pub(super) outgoing: Box<[u8]>,
}

impl TlsScratch {
    pub(crate) fn new() -> Self {
        let pieces = WRITE_BYTES_MAX / RECORD_PLAIN_BYTES_MAX + super::stream::PIECES_MAX;
        let outgoing = WRITE_BYTES_MAX + pieces * RECORD_OVERHEAD_BYTES + CONTROL_BYTES;
        // Zeroed memory from the system costs nothing until it is touched: a worker without TLS has none of it.
        let both = Both { incoming: vec![0; READ_BYTES_MAX].into(), outgoing: vec![0; outgoing].into() };
        Self(Rc::new(RefCell::new(both)))
    }
}
