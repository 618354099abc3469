//! What proxies tell each other of a request's time and attempts.
//!
//! `x-weir-timeout` says for how many milliseconds more whoever sends a request waits for the head of its response: nobody
//! works for a caller that has given up. It is a length and no moment, since clocks of two machines differ. Calls of gRPC have
//! `grpc-timeout` besides, which is for all of the response. `x-weir-attempt` says how often the request was sent, with this
//! time; copies of one attempt have the same number.

use std::time::Duration;

use weir_http1::{FieldName, HeadWriter, KnownField, RequestHead, WriteError};
use weir_policy::deadline::DeadlineConfig;

use crate::listen::Role;

const X_WEIR_TIMEOUT: FieldName<'static> = FieldName::from_static("x-weir-timeout");
const X_WEIR_ATTEMPT: FieldName<'static> = FieldName::from_static("x-weir-attempt");

/// How their lines begin, with the end of the line before.
const TIME_LINE: &[u8] = b"\r\nx-weir-timeout: ";
const ATTEMPT_LINE: &[u8] = b"\r\nx-weir-attempt: ";

/// Digits of a time that is told, so that it can be written anew in its place: more than a day.
const TIME_DIGITS: usize = 8;
const TIME_MS_MAX: u64 = 99_999_999;
/// Digits of the number of an attempt.
const ATTEMPT_DIGITS: usize = 2;
const ATTEMPT_MAX: u32 = 99;

/// What is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// How long the response's head is waited for; nothing is said where that is not bounded.
    time: Option<Duration>,
    /// Whether the next hop is told which attempt it is.
    attempts: bool,
    /// Where both stand in the head that was written; 0 for nowhere.
    time_at: u32,
    attempt_at: u32,
}

impl Told {
    pub(crate) const NOTHING: Self = Self { time: None, attempts: false, time_at: 0, attempt_at: 0 };

    /// What is told of a request that came to a listener of that role: how long this proxy waits, for all attempts and for one (zero:
    /// for ever). A sidecar in front of its application makes no attempts of its own, and passes on what it was told.
    pub(crate) fn of(role: Role, was_told: bool, whole: Duration, attempt: Duration) -> Self {
        let tells = role != Role::Inbound;
        let bound = match (whole.is_zero(), attempt.is_zero()) {
            (true, true) => None,
            (true, false) => Some(attempt),
            (false, true) => Some(whole),
            (false, false) => Some(whole.min(attempt)),
        };
        Self { time: if tells || was_told { bound } else { None }, attempts: tells, ..Self::NOTHING }
    }

    /// Appends the fields, as for a first attempt that is made at once.
    #[inline]
    pub(super) fn write(&mut self, writer: &mut HeadWriter<'_>) -> Result<(), WriteError> {
        if let Some(time) = self.time {
            writer.field(X_WEIR_TIMEOUT, &digits::<TIME_DIGITS>(millis(time)))?;
            self.time_at = place(writer, TIME_DIGITS);
        }
        if self.attempts {
            writer.field(X_WEIR_ATTEMPT, b"01")?;
            self.attempt_at = place(writer, ATTEMPT_DIGITS);
        }
        Ok(())
    }

    /// Follows the head, of which something at `at` has been given another length: all of it has `after` bytes now, not `before`.
    #[cold]
    pub(super) fn moved(&mut self, at: usize, before: usize, after: usize) {
        for place in [&mut self.time_at, &mut self.attempt_at] {
            if *place as usize > at {
                *place = place.wrapping_add((after as u32).wrapping_sub(before as u32));
            }
        }
    }

    /// Writes both anew into the head: what is left, and which attempt it is. Nothing else is ever written over.
    pub(crate) fn restate(&self, head: &mut [u8], left: Duration, attempt: u32) {
        if let Some(room) = room(head, self.time_at, TIME_LINE) {
            *room = digits::<TIME_DIGITS>(millis(left));
        }
        if let Some(room) = room(head, self.attempt_at, ATTEMPT_LINE) {
            *room = digits::<ATTEMPT_DIGITS>(attempt.min(ATTEMPT_MAX));
        }
    }
}

/// The digits at a place of a head, if what stands before them is the beginning of their field's line.
fn room<'a, const N: usize>(head: &'a mut [u8], at: u32, line: &[u8]) -> Option<&'a mut [u8; N]> {
    let (before, rest) = head.split_at_mut_checked(at as usize)?;
    let room = rest.first_chunk_mut::<N>()?;
    (before.ends_with(line) && room.iter().all(u8::is_ascii_digit)).then_some(room)
}

fn place(writer: &HeadWriter<'_>, digits: usize) -> u32 {
    u32::try_from(writer.place_of_last(digits).start).unwrap_or(0)
}

/// Whole milliseconds, rounded down: who is told has no more time than who tells it. A request that has none is not sent.
fn millis(time: Duration) -> u32 {
    let ms = time.as_secs().saturating_mul(1000).saturating_add(time.subsec_millis().into());
    ms.clamp(1, TIME_MS_MAX) as u32
}

/// A number in so many digits.
fn digits<const N: usize>(mut number: u32) -> [u8; N] {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    text
}

/// How long a request says that it is waited for: the least that any of its fields says. What is no number says nothing.
#[cold]
pub(super) fn said(head: &RequestHead, buf: &[u8]) -> Option<Duration> {
    let values = head.fields().values(buf, KnownField::XWeirTimeout);
    let ms = values.filter_map(|value| {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(value).ok().filter(|_| is_number)?.parse::<u32>().ok()
    });
    ms.min().map(|ms| Duration::from_millis(ms.into()).min(DeadlineConfig::default().max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_bound_is_told_and_by_a_sidecar_only_what_it_was_told() {
        let s = Duration::from_secs;
        let time = |role, was_told, whole, attempt| Told::of(role, was_told, s(whole), s(attempt)).time;
        assert_eq!(time(Role::Gateway, false, 15, 0), Some(s(15)));
        assert_eq!(time(Role::Outbound, false, 15, 4), Some(s(4)));
        assert_eq!(time(Role::Gateway, false, 0, 0), None);
        assert_eq!(time(Role::Inbound, false, 3, 0), None);
        assert_eq!(time(Role::Inbound, true, 3, 0), Some(s(3)));
        assert!(Told::of(Role::Gateway, false, s(0), s(0)).attempts);
        assert!(!Told::of(Role::Inbound, true, s(1), s(0)).attempts);
    }

    #[test]
    fn what_is_told_is_written_anew_in_its_place() {
        let mut out = Vec::new();
        let mut told = Told::of(Role::Gateway, false, Duration::from_micros(1_500_900), Duration::ZERO);
        let mut writer = HeadWriter::request(&mut out, b"GET", b"/", b"").unwrap();
        told.write(&mut writer).unwrap();
        writer.finish();
        let text = |out: &[u8]| String::from_utf8(out.to_vec()).unwrap();
        assert_eq!(text(&out), "GET / HTTP/1.1\r\nx-weir-timeout: 00001500\r\nx-weir-attempt: 01\r\n\r\n");
        told.restate(&mut out, Duration::from_millis(7), 12);
        assert_eq!(text(&out), "GET / HTTP/1.1\r\nx-weir-timeout: 00000007\r\nx-weir-attempt: 12\r\n\r\n");
        // Nothing left is not nothing said, and what is too much is as much as can be said.
        told.restate(&mut out, Duration::ZERO, 1000);
        assert!(text(&out).contains("x-weir-timeout: 00000001\r\nx-weir-attempt: 99\r\n"));
        told.restate(&mut out, Duration::MAX, 1);
        assert!(text(&out).contains("x-weir-timeout: 99999999\r\n"));
        // Something before them is longer now, or shorter.
        out.splice(4..5, *b"/a/longer/path");
        told.moved(4, 0, 13);
        told.restate(&mut out, Duration::from_millis(8), 2);
        assert!(text(&out).ends_with("x-weir-timeout: 00000008\r\nx-weir-attempt: 02\r\n\r\n"));
        out.splice(4..18, *b"/");
        told.moved(4, 13, 0);
        told.moved(usize::MAX, 0, 100);
        told.restate(&mut out, Duration::from_millis(9), 1);
        assert!(
            text(&out).starts_with("GET / HTTP/1.1\r\nx-weir-timeout: 00000009\r\nx-weir-attempt: 01\r\n")
        );
        Told::NOTHING.restate(&mut out, Duration::ZERO, 5);
        assert!(text(&out).contains("x-weir-attempt: 01\r\n"));
    }

    #[test]
    fn nothing_but_the_two_is_written_over() {
        let mut out = Vec::new();
        let mut told = Told::of(Role::Gateway, false, Duration::from_secs(1), Duration::ZERO);
        let mut writer = HeadWriter::request(&mut out, b"GET", b"/", b"").unwrap();
        told.write(&mut writer).unwrap();
        writer.finish();
        let restated = |told: &Told, head: &[u8]| {
            let mut head = head.to_vec();
            told.restate(&mut head, Duration::from_millis(7), 12);
            String::from_utf8(head).unwrap()
        };
        // Whatever moves without being told of leaves the head as it is.
        let longer = [&b"GET /0123 HTTP/1.1\r\n"[..], &out[b"GET / HTTP/1.1\r\n".len()..]].concat();
        assert_eq!(restated(&told, &longer).as_bytes(), longer);
        assert_eq!(restated(&told, &out[..20]).as_bytes(), &out[..20]);
        told.moved(5, out.len(), longer.len());
        let expected = "GET /0123 HTTP/1.1\r\nx-weir-timeout: 00000007\r\nx-weir-attempt: 12\r\n\r\n";
        assert_eq!(restated(&told, &longer), expected);
        // What stands before what has changed has not moved.
        told.moved(longer.len() - 2, longer.len(), longer.len() + 9);
        assert_eq!(restated(&told, &longer), expected);
    }
}
