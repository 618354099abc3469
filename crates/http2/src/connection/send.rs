//! What is sent on streams: heads, content as far as the windows reach, trailers.

use super::{Connection, OUTPUT_BYTES_MAX, Role, STREAM_ID_MAX, Slot};
use crate::frame::{self, CONTINUATION, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, HEADER_BYTES, HEADERS};
use crate::hpack::Block;
use crate::stream::{Receiving, Sending};

impl Connection {
    /// Whether there can be more streams on this connection.
    pub fn may_call(&self) -> bool {
        self.failure.is_none() && !self.peer_leaves && self.next_id <= STREAM_ID_MAX
    }

    /// Begins a stream with a request's head, which `write` writes. `head_only` says that it is HEAD. None when there can be
    /// no more streams on this connection.
    pub fn call(&mut self, ended: bool, head_only: bool, write: impl FnOnce(&mut Block<'_>)) -> Option<Slot> {
        debug_assert!(self.role == Role::Client);
        if !self.may_call() {
            return None;
        }
        let id = self.next_id;
        self.next_id += 2;
        let slot = self.place(id);
        self.streams[slot.index()].head_only = head_only;
        self.send_head(slot, ended, write);
        Some(slot)
    }

    /// Sends the final head of a response.
    pub fn respond(&mut self, slot: Slot, ended: bool, write: impl FnOnce(&mut Block<'_>)) {
        if self.may_send(slot, Sending::Head) {
            self.send_head(slot, ended, write);
            self.closed(slot);
        }
    }

    /// Sends an interim response.
    pub fn respond_interim(&mut self, slot: Slot, write: impl FnOnce(&mut Block<'_>)) {
        if self.may_send(slot, Sending::Head) {
            let id = self.streams[slot.index()].id;
            self.send_block(id, false, write);
        }
    }

    /// Sends content, as far as windows and room reach. Gives how much; when that is not all the stream is among the events
    /// as soon as there may be more. `last` says that nothing follows.
    pub fn send(&mut self, slot: Slot, content: &[u8], last: bool) -> usize {
        if !self.may_send(slot, Sending::Content) {
            return content.len();
        }
        let stream = &mut self.streams[slot.index()];
        stream.wants = None;
        let called = std::mem::take(&mut stream.called);
        let mut sent = 0;
        loop {
            let left = content.len() - sent;
            let stream = &mut self.streams[slot.index()];
            let room = OUTPUT_BYTES_MAX.saturating_sub(self.out.len() - self.out_from);
            let window = stream.send_window.min(self.send_window).max(0) as usize;
            let len = left.min(window).min(room).min(FRAME_BYTES_MAX as usize);
            let ends = last && len == left;
            if len > 0 || ends {
                stream.send_window -= len as i64;
                self.send_window -= len as i64;
                self.work.sent_bytes += len as u64;
                frame::write_header(&mut self.out, len, frame::DATA, u8::from(ends) * END_STREAM, stream.id);
                self.out.extend_from_slice(&content[sent..sent + len]);
                sent += len;
            }
            if ends {
                stream.sending = Sending::Ended;
                self.closed(slot);
            }
            if sent == content.len() && (ends || !last) {
                self.work.done += 1;
                return sent;
            }
            if len == 0 {
                self.wait(slot, left, called && sent == 0);
                return sent;
            }
        }
    }

    /// Ends a message with trailers.
    pub fn send_trailers(&mut self, slot: Slot, write: impl FnOnce(&mut Block<'_>)) {
        if self.may_send(slot, Sending::Content) {
            let stream = &mut self.streams[slot.index()];
            stream.sending = Sending::Ended;
            let id = stream.id;
            self.send_block(id, true, write);
            self.closed(slot);
        }
    }

    /// Whether everything that there is to send was sent.
    #[inline]
    pub fn has_sent(&self, slot: Slot) -> bool {
        self.streams[slot.index()].sending == Sending::Ended
    }

    /// Whether the peer has sent everything.
    #[inline]
    pub fn has_received(&self, slot: Slot) -> bool {
        self.streams[slot.index()].receiving == Receiving::Ended
    }

    /// Nobody listens on a stream that has failed; what is sent on it is dropped.
    #[inline]
    fn may_send(&self, slot: Slot, sending: Sending) -> bool {
        let stream = &self.streams[slot.index()];
        debug_assert!(stream.fault.is_some() || stream.sending == sending);
        stream.fault.is_none() && stream.sending == sending
    }

    fn send_head(&mut self, slot: Slot, ended: bool, write: impl FnOnce(&mut Block<'_>)) {
        let stream = &mut self.streams[slot.index()];
        stream.sending = if ended { Sending::Ended } else { Sending::Content };
        let id = stream.id;
        self.work.done += 1;
        self.send_block(id, ended, write);
    }

    /// Appends a header block, in as many frames as it takes.
    fn send_block(&mut self, id: u32, ended: bool, write: impl FnOnce(&mut Block<'_>)) {
        let flags = u8::from(ended) * END_STREAM;
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEADER_BYTES]);
        write(&mut self.encoder.block(&mut self.out));
        let len = self.out.len() - start - HEADER_BYTES;
        if len <= FRAME_BYTES_MAX as usize {
            let header = frame::header(len, HEADERS, flags | END_HEADERS, id);
            self.out[start..start + HEADER_BYTES].copy_from_slice(&header);
            return;
        }
        let block = self.out.split_off(start + HEADER_BYTES);
        self.out.truncate(start);
        let mut parts = block.chunks(FRAME_BYTES_MAX as usize).peekable();
        let (mut kind, mut flags) = (HEADERS, flags);
        while let Some(part) = parts.next() {
            flags |= if parts.peek().is_none() { END_HEADERS } else { 0 };
            frame::write_header(&mut self.out, part.len(), kind, flags, id);
            self.out.extend_from_slice(part);
            (kind, flags) = (CONTINUATION, 0);
        }
    }
}
