//! From the client to the upstream.

use std::task::{Context, Poll};

use weir_http1::BodyError;

use super::gather::Gather;
use super::{Ended, Exchange, Link, RECORDED_BYTES_MAX};
use crate::connection::Carry;
use crate::respond::{Reason, Refusal};
use crate::runtime::{Buffers, Scratch};

/// Room that framing may take beside content in the record.
const FRAMING_BYTES: usize = 256;

impl Exchange {
    /// Sends what there is and reads more of the body. Gives whether anything moved.
    #[inline]
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>, link: &mut Link<'_>) -> Result<bool, Ended> {
        if self.upload_broken {
            return Ok(false);
        }
        let mut progress = false;
        if !self.upload.done && self.recording && !link.carry.is_empty() {
            // What came along with the head goes out along with it.
            progress |= self.take_carried(link)?;
        }
        while self.sent < self.request.len() {
            let written = match self.sent {
                0 => link.upstream.poll_write_request(cx, &self.request, &self.request_table),
                sent => link.upstream.poll_write(cx, &self.request[sent..]),
            };
            match written {
                Poll::Pending => return Ok(progress),
                Poll::Ready(Ok(n)) => {
                    self.sent += n;
                    progress = true;
                }
                Poll::Ready(Err(_)) => return Ok(self.give_up_upload()),
            }
        }
        match self.upload.flush(cx, link.upstream, &link.worker.buffers) {
            Ok(flushed) => progress |= flushed,
            Err(_) => return Ok(self.give_up_upload()),
        }
        if self.upload.done || self.upload.has_pending() {
            return Ok(progress);
        }
        Ok(self.read_body(cx, link)? || progress)
    }

    /// The upstream takes no more. It may have answered before it stopped listening, so its side is still read.
    fn give_up_upload(&mut self) -> bool {
        self.upload_broken = true;
        true
    }

    fn take_carried(&mut self, link: &mut Link<'_>) -> Result<bool, Ended> {
        let carried = link.carry.unread_mut();
        if self.request.len() + carried.len() + FRAMING_BYTES > RECORDED_BYTES_MAX {
            self.recording = false;
            return Ok(false);
        }
        let taken =
            self.upload.encode_into(carried, &mut self.request).map_err(|fault| self.body_fault(&fault))?;
        link.carry.consume(taken, &link.worker.buffers);
        Ok(taken > 0)
    }

    fn read_body(&mut self, cx: &mut Context<'_>, link: &mut Link<'_>) -> Result<bool, Ended> {
        let mut scratch = link.worker.scratch.borrow_mut();
        let Scratch { input, out, .. } = &mut *scratch;
        let read = if link.carry.is_empty() {
            let room = self.upload.read_max.min(input.len());
            match link.client.poll_read(cx, &mut input[..room]) {
                Poll::Pending => return Ok(false),
                // The message must never look complete to the upstream.
                Poll::Ready(Ok(0) | Err(_)) => return Err(Ended::ClientGone),
                Poll::Ready(Ok(n)) => n,
            }
        } else {
            let carried = link.carry.unread_mut();
            let n = carried.len().min(input.len());
            input[..n].copy_from_slice(&carried[..n]);
            link.carry.consume(n, &link.worker.buffers);
            n
        };
        link.worker.counters.bytes_in.add(read as u64);
        self.upload_read += read as u64;
        let fits = self.request.len() + read + FRAMING_BYTES <= RECORDED_BYTES_MAX;
        if self.recording && fits {
            let taken = self.upload.encode_into(&mut input[..read], &mut self.request);
            let taken = taken.map_err(|fault| self.body_fault(&fault))?;
            link.carry.push_front(&input[taken..read], &link.worker.buffers);
            return Ok(true);
        }
        self.recording = false;
        out.clear();
        let mut gather = Gather::new();
        let taken = self.upload.encode_gather(&mut gather, &mut input[..read], 0, out, None);
        let taken = taken.map_err(|fault| self.body_fault(&fault))?;
        link.carry.push_front(&input[taken..read], &link.worker.buffers);
        if self.upload.write(cx, link.upstream, &gather, out, input, &link.worker.buffers).is_err() {
            return Ok(self.give_up_upload());
        }
        Ok(true)
    }

    /// Reads over what of the body is in `carry`, for a request that is answered already.
    pub(crate) fn discard_carried(&mut self, carry: &mut Carry, buffers: &Buffers) -> Result<(), BodyError> {
        while !self.upload.done && !carry.is_empty() {
            let taken = self.upload.skip(carry.unread_mut())?;
            carry.consume(taken, buffers);
        }
        Ok(())
    }

    fn body_fault(&self, fault: &BodyError) -> Ended {
        if self.status != 0 {
            return Ended::Spoilt;
        }
        let message = format!("the request's body is malformed: {fault}");
        Ended::Refused(Refusal { status: fault.status(), ..Refusal::new(Reason::BadRequest, message) })
    }
}
