//! What concerns the connection as a whole: settings, windows, PING, GOAWAY, and its end.

use super::{Connection, Failure, Leaving, Role, Slot, WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MAX};
use crate::code::{Code, Fault, StreamFault};
use crate::floods::Flood;
use crate::frame::{self, ACK};

/// Settings (RFC 9113 section 6.5.2).
const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// What is in a PING that asks whether the peer is there, and in one whose answer says that it has read a GOAWAY.
const ASK: [u8; 8] = *b"are-you?";
const LEAVE: [u8; 8] = *b"leaving.";

impl Connection {
    /// Says what this side allows.
    pub(super) fn introduce(&mut self) {
        let config = self.config;
        let own = match self.role {
            Role::Client => (ENABLE_PUSH, 0),
            Role::Server => (MAX_CONCURRENT_STREAMS, config.streams_max),
        };
        let settings = [
            own,
            (INITIAL_WINDOW_SIZE, config.stream_window_bytes),
            (MAX_HEADER_LIST_SIZE, config.head_bytes_max),
        ];
        frame::write_header(&mut self.out, 6 * settings.len(), frame::SETTINGS, 0, 0);
        for (setting, value) in settings {
            self.out.extend_from_slice(&setting.to_be_bytes());
            self.out.extend_from_slice(&value.to_be_bytes());
        }
        self.unacknowledged += 1;
        // Of the connection's window only the difference can be said (section 6.9.2).
        if let Some(more @ 1..) = config.connection_window_bytes.checked_sub(WINDOW_BYTES_DEFAULT) {
            frame::write_window_update(&mut self.out, 0, more);
        }
    }

    pub(super) fn take_settings(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let (settings, _) = payload.as_chunks::<6>();
        for [a, b, value @ ..] in settings {
            self.take_setting(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))
                .map_err(Fault::Connection)?;
        }
        self.settled = true;
        frame::write_header(&mut self.out, 0, frame::SETTINGS, ACK, 0);
        Ok(())
    }

    fn take_setting(&mut self, setting: u16, value: u32) -> Result<(), Code> {
        match setting {
            HEADER_TABLE_SIZE => self.encoder.set_table_bytes(value),
            // Only a client may allow it, and this side has nothing to push.
            ENABLE_PUSH if value > 1 || (value == 1 && self.role == Role::Client) => {
                return Err(Code::PROTOCOL_ERROR);
            }
            MAX_CONCURRENT_STREAMS => self.peer_streams_max = value,
            INITIAL_WINDOW_SIZE => return self.set_initial_window(value),
            // No frame that is sent is larger than the smallest bound there is.
            MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => return Err(Code::PROTOCOL_ERROR),
            _ => {}
        }
        Ok(())
    }

    /// Windows of streams that there are change by the difference (section 6.9.2).
    fn set_initial_window(&mut self, bytes: u32) -> Result<(), Code> {
        if i64::from(bytes) > WINDOW_BYTES_MAX {
            return Err(Code::FLOW_CONTROL_ERROR);
        }
        let change = i64::from(bytes) - i64::from(self.initial_send_window);
        self.initial_send_window = bytes;
        for index in 0..self.streams.len() {
            let stream = &mut self.streams[index];
            if stream.id == 0 {
                continue;
            }
            stream.send_window += change;
            if stream.send_window > WINDOW_BYTES_MAX {
                return Err(Code::FLOW_CONTROL_ERROR);
            }
            self.queue(Slot(index as u32));
        }
        Ok(())
    }

    pub(super) fn take_settings_ack(&mut self) -> Result<(), Fault> {
        self.unacknowledged =
            self.unacknowledged.checked_sub(1).ok_or(Fault::Connection(Code::PROTOCOL_ERROR))?;
        Ok(())
    }

    pub(super) fn take_window_update(&mut self, id: u32, increment: u32) -> Result<(), Fault> {
        let increment = i64::from(increment);
        if id == 0 {
            self.send_window += increment;
            if self.send_window > WINDOW_BYTES_MAX {
                return Err(Fault::Connection(Code::FLOW_CONTROL_ERROR));
            }
            return Ok(());
        }
        if self.is_idle(id) {
            return Err(Fault::Connection(Code::PROTOCOL_ERROR));
        }
        let Some(slot) = self.find(id) else { return Ok(()) };
        let stream = &mut self.streams[slot.index()];
        stream.send_window += increment;
        if stream.send_window > WINDOW_BYTES_MAX {
            return Err(Fault::Stream(id, Code::FLOW_CONTROL_ERROR));
        }
        self.queue(slot);
        Ok(())
    }

    pub(super) fn take_ping(&mut self, data: [u8; 8]) -> Result<(), Fault> {
        frame::write_ping(&mut self.out, ACK, data);
        Ok(())
    }

    pub(super) fn take_pong(&mut self, data: [u8; 8]) -> Result<(), Fault> {
        if data == LEAVE && self.leaving == Leaving::Announced {
            self.leaving = Leaving::Told;
            frame::write_go_away(&mut self.out, self.last_peer_id, Code::NO_ERROR);
        }
        Ok(())
    }

    pub(super) fn take_go_away(&mut self, last: u32) -> Result<(), Fault> {
        self.peer_leaves = true;
        if self.role == Role::Client {
            for index in 0..self.streams.len() {
                if self.streams[index].id > last {
                    self.break_off(Slot(index as u32), StreamFault::Unprocessed);
                }
            }
        }
        Ok(())
    }

    /// Asks the peer whether it is there. Its answer, as anything else, is heard: see [`Connection::heard`].
    pub fn ping(&mut self) {
        frame::write_ping(&mut self.out, 0, ASK);
    }

    /// Tells the peer that there will be no more streams. Those that it has begun before it reads this are taken (section
    /// 6.8).
    pub fn leave(&mut self) {
        if self.leaving == Leaving::No && self.failure.is_none() {
            self.leaving = Leaving::Announced;
            frame::write_go_away(&mut self.out, super::STREAM_ID_MAX, Code::NO_ERROR);
            frame::write_ping(&mut self.out, 0, LEAVE);
        }
    }

    /// Whether the peer knows which streams were the last.
    pub fn has_left(&self) -> bool {
        self.leaving == Leaving::Told
    }

    /// Ends the connection: the peer is told, and nothing more is received. All streams fail.
    pub fn end(&mut self, code: Code) {
        self.fail(code);
    }

    pub(super) fn fail(&mut self, code: Code) {
        self.fail_by(Failure { code, flood: None });
    }

    #[cold]
    pub(super) fn flooded(&mut self, flood: Flood) {
        self.fail_by(Failure { code: Code::ENHANCE_YOUR_CALM, flood: Some(flood) });
    }

    fn fail_by(&mut self, failure: Failure) {
        if self.failure.is_none() {
            frame::write_go_away(&mut self.out, self.last_peer_id, failure.code);
            self.failure = Some(failure);
            self.rest = Vec::new();
            self.fragments = Vec::new();
            self.gone();
        }
    }

    /// The connection is over: nothing more can come or go. All streams fail, but what has come may still be read.
    pub fn gone(&mut self) {
        self.peer_leaves = true;
        for index in 0..self.streams.len() {
            let stream = &self.streams[index];
            if stream.id != 0 && !stream.is_closed() {
                self.break_off(Slot(index as u32), StreamFault::Gone);
            }
        }
    }
}
