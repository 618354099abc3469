//! Header blocks: put together, decoded, and judged.

use super::{
    Bench, Connection, Event, INTERIM_RESPONSES_MAX, Leaving, Opened, RESET_STREAMS_MAX, Role, Slot,
};
use crate::code::{Code, Fault};
use crate::head::{Malformed, Response};
use crate::hpack::HpackError;
use crate::stream::Receiving;

/// A block that goes on in the next frame. How many frames it may have is bounded with the floods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) stream: u32,
    ended: bool,
}

/// A block that cannot be decoded leaves both sides with different tables.
fn undecodable(_: HpackError) -> Fault {
    Fault::Connection(Code::COMPRESSION_ERROR)
}

impl Connection {
    pub(super) fn take_headers(
        &mut self,
        stream: u32,
        ended: bool,
        whole: bool,
        block: &[u8],
        bench: &mut Bench,
    ) -> Result<(), Fault> {
        if whole {
            return self.take_block(stream, ended, block, bench);
        }
        self.block = Some(Begun { stream, ended });
        self.fragments.extend_from_slice(block);
        Ok(())
    }

    pub(super) fn take_continuation(
        &mut self,
        whole: bool,
        block: &[u8],
        bench: &mut Bench,
    ) -> Result<(), Fault> {
        self.fragments.extend_from_slice(block);
        if !whole {
            return Ok(());
        }
        let Some(Begun { stream, ended }) = self.block.take() else {
            return Err(Fault::Connection(Code::PROTOCOL_ERROR));
        };
        let block = std::mem::take(&mut self.fragments);
        self.take_block(stream, ended, &block, bench)
    }

    #[inline]
    fn take_block(&mut self, id: u32, ended: bool, block: &[u8], bench: &mut Bench) -> Result<(), Fault> {
        match self.find(id) {
            Some(slot) => self.take_head_of(slot, id, ended, block, bench),
            None if self.role == Role::Server => self.take_request(id, ended, block, bench),
            None => self.pass_over_late(id, block, bench),
        }
    }

    /// A block that nobody reads: decoded all the same, as it changes the table.
    fn pass_over(&mut self, block: &[u8], bench: &mut Bench) -> Result<(), Fault> {
        self.decoder.decode(block, &mut bench.scratch, |_| {}).map(drop).map_err(undecodable)
    }

    /// A block on a stream that is over.
    fn pass_over_late(&mut self, id: u32, block: &[u8], bench: &mut Bench) -> Result<(), Fault> {
        if self.is_idle(id) {
            return Err(Fault::Connection(Code::PROTOCOL_ERROR));
        }
        if !self.was_reset(id) {
            return Err(Fault::Connection(Code::STREAM_CLOSED));
        }
        self.pass_over(block, bench)
    }

    fn take_request(&mut self, id: u32, ended: bool, block: &[u8], bench: &mut Bench) -> Result<(), Fault> {
        if id.is_multiple_of(2) || id <= self.last_peer_id {
            return self.pass_over_late(id, block, bench);
        }
        self.last_peer_id = id;
        if self.leaving == Leaving::Told {
            // It knows by now that this is not processed.
            self.remember(id);
            return self.pass_over(block, bench);
        }
        let streams_max = self.config.streams_max;
        if self.open >= streams_max || self.streams() >= streams_max as usize + RESET_STREAMS_MAX {
            self.pass_over(block, bench)?;
            self.refuse(id, Code::REFUSED_STREAM);
            return Ok(());
        }
        let slot = self.place(id);
        let Bench { scratch, reader } = bench;
        let stream = &mut self.streams[slot.index()];
        reader.begin_request();
        stream.inbox.begin_head();
        let mut text = stream.inbox.text();
        let section = self.decoder.decode(block, scratch, |field| reader.field(&field, &mut text));
        let section = match section {
            Ok(section) => section,
            Err(fault) => {
                self.forget(slot);
                return Err(undecodable(fault));
            }
        };
        let opened = if section.too_large {
            stream.inbox.forget_head();
            stream.inbox.begin(weir_http1::BodyKind::None, ended);
            Opened::TooLarge
        } else {
            match reader.end_request(ended, &mut stream.inbox.text()) {
                Ok(request) => {
                    stream.length_left = request.length;
                    stream.inbox.begin(request.body, ended);
                    if request.connects { Opened::Connect } else { Opened::Request }
                }
                Err(Malformed) => {
                    self.forget(slot);
                    return Err(Fault::Stream(id, Code::PROTOCOL_ERROR));
                }
            }
        };
        stream.receiving = if ended { Receiving::Ended } else { Receiving::Content };
        self.events.push_back(Event::Opened(slot, opened));
        Ok(())
    }

    /// A block on a stream that somebody has.
    fn take_head_of(
        &mut self,
        slot: Slot,
        id: u32,
        ended: bool,
        block: &[u8],
        bench: &mut Bench,
    ) -> Result<(), Fault> {
        let stream = &self.streams[slot.index()];
        match stream.receiving {
            _ if stream.fault.is_some() => self.pass_over(block, bench),
            Receiving::Head => self.take_response(slot, id, ended, block, bench),
            Receiving::Content => self.take_trailers(slot, id, ended, block, bench),
            Receiving::Ended => {
                self.pass_over(block, bench)?;
                Err(Fault::Stream(id, Code::STREAM_CLOSED))
            }
        }
    }

    fn take_response(
        &mut self,
        slot: Slot,
        id: u32,
        ended: bool,
        block: &[u8],
        bench: &mut Bench,
    ) -> Result<(), Fault> {
        let Bench { scratch, reader } = bench;
        let stream = &mut self.streams[slot.index()];
        let broken = Fault::Stream(id, Code::PROTOCOL_ERROR);
        reader.begin_response();
        stream.inbox.begin_head();
        let mut text = stream.inbox.text();
        let section = self.decoder.decode(block, scratch, |field| reader.field(&field, &mut text));
        let section = section.map_err(undecodable)?;
        let response = reader.end_response(ended, stream.head_only, &mut stream.inbox.text());
        match response {
            Ok(_) if section.too_large => return Err(broken),
            Err(Malformed) => return Err(broken),
            Ok(Response::Interim) => {
                stream.inbox.interim();
                stream.interims += 1;
                // As many bytes of them may be unread as one head may have.
                let unread = stream.inbox.unread().len();
                if stream.interims > INTERIM_RESPONSES_MAX || unread > self.config.head_bytes_max as usize {
                    return Err(Fault::Stream(id, Code::ENHANCE_YOUR_CALM));
                }
            }
            Ok(Response::Final { body, length }) => {
                stream.length_left = length;
                stream.inbox.begin(body, ended);
                stream.receiving = if ended { Receiving::Ended } else { Receiving::Content };
                self.work.done += 1;
                self.closed(slot);
            }
        }
        self.changed(slot);
        Ok(())
    }

    fn take_trailers(
        &mut self,
        slot: Slot,
        id: u32,
        ended: bool,
        block: &[u8],
        bench: &mut Bench,
    ) -> Result<(), Fault> {
        let Bench { scratch, reader } = bench;
        let stream = &mut self.streams[slot.index()];
        reader.begin_trailers();
        let mut text = stream.inbox.text();
        let section = self.decoder.decode(block, scratch, |field| reader.field(&field, &mut text));
        let section = section.map_err(undecodable)?;
        let fits = ended && !section.too_large && stream.counts(0, true);
        if !fits || reader.end_trailers().is_err() {
            stream.inbox.forget_trailers();
            return Err(Fault::Stream(id, Code::PROTOCOL_ERROR));
        }
        stream.inbox.end();
        stream.receiving = Receiving::Ended;
        self.closed(slot);
        self.changed(slot);
        Ok(())
    }
}
