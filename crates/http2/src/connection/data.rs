//! DATA: its content goes to its stream as it comes, not only once its frame is whole.

use super::{Connection, Role, Slot};
use crate::code::{Code, Fault};
use crate::stream::Receiving;

/// A frame of which something is to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    /// Whose it is; nobody's if it is dropped.
    to: Option<(Slot, u32)>,
    content: u32,
    padding: u32,
    ended: bool,
}

impl Connection {
    /// A DATA frame begins. `bytes` is what it counts in windows: its payload with all padding.
    pub(super) fn begin_data(
        &mut self,
        id: u32,
        ended: bool,
        content: u32,
        padding: u32,
        bytes: u32,
    ) -> Result<(), Fault> {
        if self.is_idle(id) {
            return Err(Fault::Connection(Code::PROTOCOL_ERROR));
        }
        self.receive_window -= i64::from(bytes);
        if self.receive_window < 0 {
            return Err(Fault::Connection(Code::FLOW_CONTROL_ERROR));
        }
        // Whatever happens, nobody reads the padding.
        self.data = Some(UnderWay { to: None, content, padding, ended });
        let Some(slot) = self.find(id) else {
            self.give_back(None, bytes);
            return if self.was_reset(id) { Ok(()) } else { Err(Fault::Stream(id, Code::STREAM_CLOSED)) };
        };
        let stream = &mut self.streams[slot.index()];
        let receiving = stream.receiving;
        let code = match receiving {
            // Of what was reset it may not know yet.
            _ if stream.fault.is_some() => None,
            Receiving::Ended => Some(Code::STREAM_CLOSED),
            Receiving::Head if self.role == Role::Client => Some(Code::PROTOCOL_ERROR),
            _ if stream.receive_window < i64::from(bytes) => Some(Code::FLOW_CONTROL_ERROR),
            _ if !stream.counts(content, ended) => Some(Code::PROTOCOL_ERROR),
            _ => {
                stream.receive_window -= i64::from(bytes);
                self.data = Some(UnderWay { to: Some((slot, id)), content, padding, ended });
                if bytes > content {
                    self.give_back(Some(slot), bytes - content);
                }
                return Ok(());
            }
        };
        self.give_back(None, bytes);
        code.map_or(Ok(()), |code| Err(Fault::Stream(id, code)))
    }

    /// Takes what has come of the frame. Gives how much it was.
    #[inline]
    pub(super) fn take_data(&mut self, bytes: &[u8]) -> usize {
        let Some(mut data) = self.data.take() else { return 0 };
        let len = bytes.len().min(data.content as usize);
        data.content -= len as u32;
        let padding = (bytes.len() - len).min(data.padding as usize);
        data.padding -= padding as u32;
        let whole = data.content == 0 && data.padding == 0;
        if let Some((slot, id)) = data.to {
            let ends = whole && data.ended;
            if len > 0 || ends {
                self.deliver(slot, id, &bytes[..len], ends);
            }
        }
        if !whole {
            self.data = Some(data);
        }
        len + padding
    }

    fn deliver(&mut self, slot: Slot, id: u32, piece: &[u8], ends: bool) {
        let stream = &mut self.streams[slot.index()];
        // It may have been given up, and its place taken, since the frame began.
        let kept = stream.id == id && stream.fault.is_none();
        let read = kept && !piece.is_empty() && stream.inbox.push(piece, ends);
        if kept && ends {
            stream.inbox.end();
            stream.receiving = Receiving::Ended;
            self.closed(slot);
        }
        if !read && !piece.is_empty() {
            self.give_back(kept.then_some(slot), piece.len() as u32);
        }
        if kept {
            self.changed(slot);
        }
    }
}
