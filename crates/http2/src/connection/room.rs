//! Who may send when there is room again: the connection's window and the output are shared by all streams.
//!
//! ```text
//!  send: no room -> waits -> queue -> go_on: as many as there is room for are told -> they send
//!                     ^ the stream's own window is shut: not before that has grown
//! ```
//!
//! Each time there is room, only so many are told as can use it, in the order in which they came: with hundreds of streams that
//! wait, a write costs what it carries, not what waits.

use std::num::NonZeroU32;

use super::{Connection, OUTPUT_BYTES_MAX, Slot};

impl Connection {
    /// Content that may be added to the output now, all streams together.
    fn room(&self) -> usize {
        let output = OUTPUT_BYTES_MAX.saturating_sub(self.output().len());
        output.min(usize::try_from(self.send_window).unwrap_or(0))
    }

    /// A stream has more to send than it may. One that was told of room which others have taken before it is the next to be told.
    pub(super) fn wait(&mut self, slot: Slot, bytes: usize, first: bool) {
        let stream = &mut self.streams[slot.index()];
        stream.wants = NonZeroU32::new(u32::try_from(bytes).unwrap_or(u32::MAX));
        if first && stream.send_window > 0 && !stream.queued {
            stream.queued = true;
            self.waiting.push_front(slot.0);
        } else {
            self.queue(slot);
        }
    }

    /// Puts a stream that waits, and whose own window is open, into the queue.
    pub(super) fn queue(&mut self, slot: Slot) {
        let stream = &mut self.streams[slot.index()];
        if stream.wants.is_some() && stream.send_window > 0 && !stream.queued {
            stream.queued = true;
            self.waiting.push_back(slot.0);
        }
    }

    /// Whether somebody waits although there is room: those that were told have not taken it yet, and perhaps will not. Whoever
    /// drives the connection calls [`Connection::go_on`] once they have had the time to.
    #[inline]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() && self.room() > 0
    }

    /// Tells those that wait for room that they may send, as many as there is room for.
    #[inline]
    pub fn go_on(&mut self) {
        if self.has_waiting() {
            self.tell_waiting();
        }
    }

    fn tell_waiting(&mut self) {
        let mut room = self.room();
        while room > 0 {
            let Some(slot) = self.waiting.pop_front().map(Slot) else { return };
            let stream = &mut self.streams[slot.index()];
            stream.queued = false;
            // It may have been given back or have failed in the meantime, or its own window may have become smaller.
            if stream.send_window <= 0 || stream.fault.is_some() {
                continue;
            }
            let Some(wants) = stream.wants.take() else { continue };
            stream.called = true;
            let takes = i64::from(wants.get()).min(stream.send_window);
            room = room.saturating_sub(takes as usize);
            self.changed(slot);
        }
    }
}
