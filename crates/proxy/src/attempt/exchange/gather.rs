//! Several pieces of two buffers, written with one call.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use crate::runtime::Io;

/// Pieces at most. When there would be more, content is copied instead.
const PARTS_MAX: usize = 32;
/// Content up to this size is copied: cheaper than one more piece.
const COPIED_BYTES_MAX: usize = 4096;

/// What is to be written, in order: pieces of `out` (heads, framing, copied content) and of `input` (content as it was read).
#[derive(Debug)]
pub(crate) struct Gather {
    parts: [Part; PARTS_MAX],
    len: usize,
    /// Up to where `out` is covered by pieces.
    out_end: usize,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    from_input: bool,
    start: u32,
    end: u32,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self { parts: [Part::default(); PARTS_MAX], len: 0, out_end: 0, bytes: 0 }
    }

    /// Takes in what was appended to `out` since the last piece of it.
    #[inline]
    pub(crate) fn push_out(&mut self, out: &[u8]) {
        let (start, end) = (self.out_end, out.len());
        if start == end {
            return;
        }
        self.out_end = end;
        self.bytes += end - start;
        if let Some(last) = self.parts[..self.len].last_mut()
            && !last.from_input
        {
            last.end = end as u32;
            return;
        }
        self.push(Part { from_input: false, start: start as u32, end: end as u32 });
    }

    /// Takes in content at `start..end` of `input`, by copying it to `out` where that is cheaper.
    #[inline]
    pub(crate) fn push_content(&mut self, out: &mut Vec<u8>, input: &[u8], start: usize, end: usize) {
        if end - start <= COPIED_BYTES_MAX || self.len + 2 >= PARTS_MAX {
            out.extend_from_slice(&input[start..end]);
            return self.push_out(out);
        }
        self.push_out(out);
        self.bytes += end - start;
        self.push(Part { from_input: true, start: start as u32, end: end as u32 });
    }

    fn push(&mut self, part: Part) {
        self.parts[self.len] = part;
        self.len += 1;
    }

    /// Bytes in all.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes once; gives how many bytes went. `more` says that the rest is on its way.
    #[inline]
    pub(crate) fn poll_write(
        &self,
        io: &mut Io,
        cx: &mut Context<'_>,
        out: &[u8],
        input: &[u8],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        match self.parts[..self.len].as_ref() {
            [] => Poll::Ready(Ok(0)),
            [one] if !more => io.poll_write(cx, one.of(out, input)),
            parts => {
                let mut slices = [IoSlice::new(&[]); PARTS_MAX];
                for (slice, part) in slices.iter_mut().zip(parts) {
                    *slice = IoSlice::new(part.of(out, input));
                }
                io.poll_write_vectored(cx, &slices[..parts.len()], more)
            }
        }
    }

    /// Copies what comes after the first `written` bytes.
    pub(crate) fn copy_rest(&self, written: usize, out: &[u8], input: &[u8], into: &mut Vec<u8>) {
        let mut skip = written;
        for part in &self.parts[..self.len] {
            let bytes = part.of(out, input);
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            into.extend_from_slice(&bytes[skipped..]);
        }
    }
}

impl Part {
    #[inline]
    fn of<'a>(&self, out: &'a [u8], input: &'a [u8]) -> &'a [u8] {
        let from = if self.from_input { input } else { out };
        &from[self.start as usize..self.end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_stay_in_order_whatever_was_written() {
        let input: Vec<u8> = (0..60_000u32).map(|i| i as u8).collect();
        let mut out = b"head".to_vec();
        let mut gather = Gather::new();
        let mut expected = b"head".to_vec();
        gather.push_out(&out);
        for (start, end) in [(0, 5000), (5000, 5010), (5010, 20_000), (20_000, 60_000)] {
            out.extend_from_slice(b"<");
            gather.push_out(&out);
            gather.push_content(&mut out, &input, start, end);
            out.extend_from_slice(b">");
            gather.push_out(&out);
            expected.push(b'<');
            expected.extend_from_slice(&input[start..end]);
            expected.push(b'>');
        }
        assert_eq!(gather.bytes(), expected.len());
        for written in [0, 1, 4, 5, 5005, 5006, 20_000, expected.len() - 1, expected.len()] {
            let mut rest = Vec::new();
            gather.copy_rest(written, &out, &input, &mut rest);
            assert_eq!(rest, expected[written..], "{written}");
        }
    }

    #[test]
    fn more_pieces_than_fit_are_copied() {
        let input = vec![7; 5000 * 50];
        let mut out = Vec::new();
        let mut gather = Gather::new();
        for i in 0..50 {
            out.push(1);
            gather.push_out(&out);
            gather.push_content(&mut out, &input, i * 5000, (i + 1) * 5000);
        }
        assert_eq!(gather.bytes(), 50 * 5001);
        let mut rest = Vec::new();
        gather.copy_rest(0, &out, &input, &mut rest);
        assert_eq!(rest.len(), 50 * 5001);
        assert_eq!(rest.iter().filter(|&&b| b == 1).count(), 50);
    }
}
