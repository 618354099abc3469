//! One stream's state on its connection (RFC 9113 section 5.1).

use std::num::NonZeroU32;

use crate::code::StreamFault;
use crate::inbox::Inbox;

/// The stream. Used again for another one when both the peers and whoever has it here are done with it.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Its number; 0 while nobody uses it.
    pub(crate) id: u32,
    pub(crate) inbox: Inbox,
    pub(crate) receiving: Receiving,
    pub(crate) sending: Sending,
    /// Why it is over before its messages are.
    pub(crate) fault: Option<StreamFault>,
    /// What may be sent; below 0 when the peer has made its windows smaller.
    pub(crate) send_window: i64,
    /// What the peer may send.
    pub(crate) receive_window: i64,
    /// What was read of what it has sent, without a word to it.
    pub(crate) credit: u32,
    /// How much content is missing of what was announced.
    pub(crate) length_left: Option<u64>,
    /// The request was HEAD.
    pub(crate) head_only: bool,
    /// Interim responses that came.
    pub(crate) interims: u32,
    /// Somebody waits to send so many bytes of content.
    pub(crate) wants: Option<NonZeroU32>,
    /// It stands in the queue for the connection's room.
    pub(crate) queued: bool,
    /// It was told that there is room, and has not tried since.
    pub(crate) called: bool,
    /// It is among the events already.
    pub(crate) noted: bool,
    /// It counts among those that are open.
    pub(crate) open: bool,
}

/// How far the peer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// Its final head has not come.
    #[default]
    Head,
    Content,
    Ended,
}

/// How far this side has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sending {
    #[default]
    Head,
    Content,
    Ended,
}

impl Stream {
    /// Begins a stream in a place that nobody uses.
    pub(crate) fn begin(&mut self, id: u32, send_window: u32, receive_window: u32) {
        self.inbox.clear();
        *self = Self {
            id,
            inbox: std::mem::take(&mut self.inbox),
            send_window: i64::from(send_window),
            receive_window: i64::from(receive_window),
            noted: self.noted,
            queued: self.queued,
            open: true,
            ..Self::default()
        };
    }

    /// Whether nothing more can come or go on it.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.fault.is_some() || (self.receiving == Receiving::Ended && self.sending == Sending::Ended)
    }

    /// Takes so much content off what was announced. Gives whether there may be so much.
    #[inline]
    pub(crate) fn counts(&mut self, content: u32, last: bool) -> bool {
        let Some(left) = &mut self.length_left else { return true };
        match left.checked_sub(u64::from(content)) {
            Some(rest) => {
                *left = rest;
                !last || rest == 0
            }
            None => false,
        }
    }
}
