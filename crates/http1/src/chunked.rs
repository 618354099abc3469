//! The chunked coding (RFC 9112 section 7.1), read strictly and in linear time.

use std::ops::Range;

use crate::body::Step;
use crate::error::{BodyError, FieldError};
use crate::limits::Limits;
use crate::scan::{find_byte, find_value_end, hex_digit};
use crate::trailers::Trailers;

/// Up to this size a chunk's data is moved next to the data before it; moving more costs more than another span.
const COALESCE_BYTES_MAX: usize = 4096;

const SIZE_DIGITS_MAX: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size,
    /// After `;`.
    Extension,
    /// After the CR of a size line.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a line after the last chunk.
    TrailerStart,
    TrailerLine,
    /// After the CR of the empty line.
    EndLf,
    Done,
}

#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    digits: u8,
    /// The size while it is read; then what is left of the chunk.
    left: u64,
    extension_left: usize,
    limits: Limits,
    /// Only there once a body had trailers.
    trailers: Option<Box<Trailers>>,
}

impl Chunked {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            state: State::Size,
            digits: 0,
            left: 0,
            extension_left: limits.chunk_extension_bytes_max,
            limits: limits.clone(),
            trailers: None,
        }
    }

    pub(crate) fn reset(&mut self, limits: &Limits) {
        self.state = State::Size;
        self.digits = 0;
        self.left = 0;
        self.extension_left = limits.chunk_extension_bytes_max;
        self.limits.clone_from(limits);
        self.forget_trailers();
    }

    #[inline]
    pub(crate) fn forget_trailers(&mut self) {
        if let Some(trailers) = &mut self.trailers {
            trailers.clear();
        }
    }

    pub(crate) fn trailers(&self) -> Option<&Trailers> {
        self.trailers.as_deref().filter(|trailers| !trailers.is_empty())
    }

    pub(crate) fn decode(&mut self, buf: &mut [u8]) -> Result<Step, BodyError> {
        let mut pos = 0;
        let mut data = 0..0;
        while pos < buf.len() && self.state != State::Done {
            match self.state {
                State::Data => match self.take_data(buf, pos, &mut data) {
                    Some(next) => pos = next,
                    None => break,
                },
                State::Size => pos = self.size(buf, pos)?,
                State::Extension => pos = self.extension(buf, pos)?,
                State::TrailerLine => pos = self.trailer_line(buf, pos)?,
                // Both bytes of a line's end mostly come together.
                State::DataCr if buf[pos..].starts_with(b"\r\n") => {
                    self.state = State::Size;
                    pos += 2;
                }
                State::TrailerStart if buf[pos..].starts_with(b"\r\n") => {
                    self.complete()?;
                    pos += 2;
                }
                _ => {
                    self.line_end(buf[pos])?;
                    // A byte that begins a trailer line is looked at again as part of it.
                    pos += usize::from(self.state != State::TrailerLine);
                }
            }
        }
        Ok(Step { consumed: pos, data, done: self.state == State::Done })
    }

    /// Takes data at `pos` into the span; `None` when it should go out on its own in the next step.
    fn take_data(&mut self, buf: &mut [u8], pos: usize, data: &mut Range<usize>) -> Option<usize> {
        let there = buf.len() - pos;
        let take = usize::try_from(self.left).map_or(there, |left| left.min(there));
        if data.start == data.end {
            *data = pos..pos + take;
        } else if take <= COALESCE_BYTES_MAX {
            buf.copy_within(pos..pos + take, data.end);
            data.end += take;
        } else {
            return None;
        }
        self.left -= take as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        Some(pos + take)
    }

    fn size(&mut self, buf: &[u8], mut pos: usize) -> Result<usize, BodyError> {
        while let Some(&byte) = buf.get(pos) {
            pos += 1;
            if let Some(digit) = hex_digit(byte) {
                if self.digits == SIZE_DIGITS_MAX {
                    return Err(BodyError::ChunkSizeTooLong);
                }
                self.digits += 1;
                self.left = self.left << 4 | u64::from(digit);
                continue;
            }
            self.state = match byte {
                b'\r' if self.digits > 0 && buf.get(pos) == Some(&b'\n') => {
                    pos += 1;
                    if self.left == 0 { State::TrailerStart } else { State::Data }
                }
                b'\r' if self.digits > 0 => State::SizeLf,
                b';' if self.digits > 0 => State::Extension,
                _ => return Err(BodyError::ChunkSize(byte)),
            };
            self.digits = 0;
            break;
        }
        Ok(pos)
    }

    fn extension(&mut self, buf: &[u8], pos: usize) -> Result<usize, BodyError> {
        let stop = find_value_end(buf, pos);
        self.extension_left = self
            .extension_left
            .checked_sub(stop - pos)
            .ok_or(BodyError::ChunkExtensionsTooLong(self.limits.chunk_extension_bytes_max))?;
        match buf.get(stop) {
            None => Ok(stop),
            Some(b'\r') => {
                self.state = State::SizeLf;
                Ok(stop + 1)
            }
            Some(&byte) => Err(BodyError::ChunkExtension(byte)),
        }
    }

    /// The single bytes around lines and data.
    fn line_end(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match (self.state, byte) {
            (State::SizeLf, b'\n') if self.left == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::SizeLf, _) => return Err(BodyError::ChunkExtension(byte)),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::DataCr | State::DataLf, _) => return Err(BodyError::ChunkEnd(byte)),
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart, _) => State::TrailerLine,
            (State::EndLf, b'\n') => return self.complete(),
            _ => return Err(FieldError::BareCr.into()),
        };
        Ok(())
    }

    /// The empty line behind the trailers has come.
    #[inline]
    fn complete(&mut self) -> Result<(), BodyError> {
        if let Some(trailers) = &mut self.trailers {
            trailers.complete(&self.limits)?;
        }
        self.state = State::Done;
        Ok(())
    }

    fn trailer_line(&mut self, buf: &[u8], pos: usize) -> Result<usize, BodyError> {
        let line_feed = find_byte(buf, pos, b'\n');
        let end = (line_feed + 1).min(buf.len());
        let trailers = self.trailers.get_or_insert_default();
        trailers.collect(&buf[pos..end], self.limits.trailer_bytes_max)?;
        if line_feed < buf.len() {
            trailers.check_line_end()?;
            self.state = State::TrailerStart;
        }
        Ok(end)
    }
}
