//! From bytes to frames, and what each does.

use super::{Bench, Connection, PREFACE, Role};
use crate::code::{Code, Fault, StreamFault};
use crate::frame::{CONTINUATION, DATA, Frame, HEADER_BYTES, HEADERS, Header};

impl Connection {
    /// Puts what was received of a frame that has not come whole at the beginning of `buf`, where what comes next is to be
    /// read behind it. Gives how much it is; `buf` must hold at least a frame.
    pub fn resume(&mut self, buf: &mut [u8]) -> usize {
        let held = self.rest.len();
        buf[..held].copy_from_slice(&self.rest);
        held
    }

    /// Takes what has come: everything since the last call, behind what [`Connection::resume`] gave.
    pub fn receive(&mut self, bytes: &[u8], now_ms: u64, bench: &mut Bench) {
        self.heard += 1;
        let taken = self.receive_frames(bytes, now_ms, bench);
        // Windows may have grown, by many frames.
        self.go_on();
        let rest = &bytes[taken..];
        if rest.is_empty() {
            self.rest = Vec::new();
        }
        self.rest.clear();
        self.rest.extend_from_slice(rest);
        if !rest.is_empty() && self.begun_ms.is_none() {
            self.begun_ms = Some(now_ms);
        }
    }

    fn receive_frames(&mut self, bytes: &[u8], now_ms: u64, bench: &mut Bench) -> usize {
        let mut at = if self.preface_left > 0 { self.take_preface(bytes) } else { 0 };
        while self.failure.is_none() {
            if self.data.is_some() {
                at += self.take_data(&bytes[at..]);
                if self.data.is_some() {
                    return at;
                }
            }
            let Some(first) = bytes[at..].first_chunk::<HEADER_BYTES>() else { return at };
            let header = Header::read(*first);
            if let Err(fault) = self.allow(header) {
                self.fault_of(fault, now_ms);
                break;
            }
            let Some(payload) = bytes[at..].get(HEADER_BYTES..header.needed()) else { return at };
            at += header.needed();
            self.begun_ms = header.goes_on().then(|| self.begun_ms.unwrap_or(now_ms));
            if let Err(fault) = self.take_frame(header, payload, now_ms, bench) {
                self.fault_of(fault, now_ms);
            }
        }
        bytes.len()
    }

    fn take_preface(&mut self, bytes: &[u8]) -> usize {
        let expected = &PREFACE[PREFACE.len() - self.preface_left..];
        let len = expected.len().min(bytes.len());
        if bytes[..len] != expected[..len] {
            self.fail(Code::PROTOCOL_ERROR);
        }
        self.preface_left -= len;
        len
    }

    /// Whether a frame may come now, by its header.
    #[inline]
    fn allow(&self, header: Header) -> Result<(), Fault> {
        let in_place = match &self.block {
            Some(begun) => header.kind == CONTINUATION && header.stream == begun.stream,
            None => header.kind != CONTINUATION && (self.settled || header.is_settings()),
        };
        if in_place { header.check() } else { Err(Fault::Connection(Code::PROTOCOL_ERROR)) }
    }

    fn take_frame(
        &mut self,
        header: Header,
        payload: &[u8],
        now_ms: u64,
        bench: &mut Bench,
    ) -> Result<(), Fault> {
        let frame = header.frame(payload)?;
        // Padding is no content.
        let len = if let Frame::Data { content, .. } = frame { content } else { header.len };
        if let Err(flood) = self.floods.frame(header.kind, header.flags, len, now_ms, self.work) {
            self.flooded(flood);
            return Ok(());
        }
        self.told += u64::from(matches!(header.kind, DATA | HEADERS));
        match frame {
            Frame::Data { stream, ended, content, padding } => {
                self.begin_data(stream, ended, content, padding, header.len)
            }
            Frame::Headers { stream, ended, whole, block } => {
                self.take_headers(stream, ended, whole, block, bench)
            }
            Frame::Continuation { whole, block, .. } => self.take_continuation(whole, block, bench),
            Frame::Reset { stream, code } => self.take_reset(stream, code),
            Frame::Settings(payload) => self.take_settings(payload),
            Frame::SettingsAck => self.take_settings_ack(),
            Frame::Ping(data) => self.take_ping(data),
            Frame::PingAck(data) => self.take_pong(data),
            Frame::GoAway { last, .. } => self.take_go_away(last),
            Frame::WindowUpdate { stream, increment } => self.take_window_update(stream, increment),
            Frame::Ignored => Ok(()),
        }
    }

    fn take_reset(&mut self, id: u32, code: Code) -> Result<(), Fault> {
        if self.is_idle(id) {
            return Err(Fault::Connection(Code::PROTOCOL_ERROR));
        }
        let Some(slot) = self.find(id) else { return Ok(()) };
        let refused = code == Code::REFUSED_STREAM && self.role == Role::Client;
        let fault = if refused { StreamFault::Unprocessed } else { StreamFault::Reset(code) };
        if !self.streams[slot.index()].is_closed() {
            // After a whole response nothing more of the request is wanted (section 8.1): the response is what counts.
            let stream = &mut self.streams[slot.index()];
            let answered = self.role == Role::Client && stream.inbox.is_ended();
            if !answered {
                let unread = stream.inbox.unread_content();
                stream.inbox.drop_unread();
                self.give_back(None, unread as u32);
            }
        }
        self.break_off(slot, fault);
        Ok(())
    }

    /// Whether a stream of this number was never begun.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        match (self.role, id % 2) {
            (Role::Server, 1) => id > self.last_peer_id,
            (Role::Client, 1) => id >= self.next_id,
            // Nobody pushes.
            _ => true,
        }
    }

    /// The stream of this number that somebody has.
    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<super::Slot> {
        self.ids.get(id).map(super::Slot)
    }

    /// Does what a fault asks for.
    #[cold]
    pub(super) fn fault_of(&mut self, fault: Fault, now_ms: u64) {
        match fault {
            Fault::Connection(code) => self.fail(code),
            // RST_STREAM must not be sent on a stream that is idle (section 6.4).
            Fault::Stream(id, code) if self.is_idle(id) => self.fail(code),
            Fault::Stream(id, code) => {
                self.reset_stream(id, code);
                if let Err(flood) = self.floods.malformed(now_ms, self.work) {
                    self.flooded(flood);
                }
            }
        }
    }

    /// Resets a stream because of what came on it.
    fn reset_stream(&mut self, id: u32, code: Code) {
        match self.find(id) {
            Some(slot) => {
                let stream = &self.streams[slot.index()];
                let closed = stream.is_closed();
                self.reset(slot, code);
                if !closed {
                    let stream = &mut self.streams[slot.index()];
                    let unread = stream.inbox.unread_content();
                    stream.inbox.drop_unread();
                    stream.fault = Some(StreamFault::Broken(code));
                    self.give_back(None, unread as u32);
                    self.changed(slot);
                }
            }
            None => self.refuse(id, code),
        }
    }
}
