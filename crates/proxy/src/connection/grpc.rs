//! What of a gRPC call the proxy must know: that it is one, and its deadline.
//!
//! Wire formats: "gRPC over HTTP/2" (grpc/grpc, doc/PROTOCOL-HTTP2.md) and "gRPC Web" (doc/PROTOCOL-WEB.md).

use std::time::Duration;

use weir_http1::{FieldTable, KnownField, RequestHead};

use crate::attempt::Call;
use crate::http2::{is_grpc, is_grpc_web};

/// The field with the caller's deadline.
const TIMEOUT: &[u8] = b"grpc-timeout";
/// Digits of a timeout at most.
const DIGITS_MAX: usize = 8;
/// The largest number of so many digits.
const NUMBER_MAX: u128 = 99_999_999;

/// What there is to know, if it is a call.
#[inline]
pub(super) fn call(head: &RequestHead, buf: &[u8]) -> Option<Box<Call>> {
    let content_type = head.fields().value(buf, KnownField::ContentType)?;
    // All of them begin alike, and little else does.
    if !content_type.get(..12).is_some_and(|begin| begin.eq_ignore_ascii_case(b"application/")) {
        return None;
    }
    if !is_grpc(content_type) && !is_grpc_web(content_type) {
        return None;
    }
    let timeout = head.fields().value(buf, KnownField::GrpcTimeout).and_then(parse);
    Some(Box::new(Call { content_type: content_type.into(), timeout, is_short: false, timeout_at: None }))
}

/// Makes room in a head for a timeout that can be written anew, and gives where. `table` is of the head, if its fields were noted.
pub(super) fn make_room(request: &mut Vec<u8>, table: &mut FieldTable) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = request[at..].iter().position(|&byte| byte == b'\n')? + at + 1;
        let rest = &request[line..];
        let is_it = rest.get(..TIMEOUT.len()).is_some_and(|name| name.eq_ignore_ascii_case(TIMEOUT))
            && rest.get(TIMEOUT.len()) == Some(&b':');
        if is_it {
            let end = rest.iter().position(|&byte| byte == b'\r')?;
            let value = line + TIMEOUT.len() + 1;
            let before = request.len();
            request.splice(value..line + end, *b" 00000000m");
            let moved = request.len().wrapping_sub(before) as u32;
            table.replaced(KnownField::GrpcTimeout, (value + 1, value + 1 + ROOM_BYTES), moved);
            return Some(value + 1);
        }
        if rest.starts_with(b"\r\n") {
            return None;
        }
        at = line;
    }
}

/// Writes what is left of a timeout into the room made for it, as exactly as fits.
pub(crate) fn write_timeout(room: &mut [u8], left: Duration) {
    let units: [(u128, u8); 4] = [
        (left.as_micros(), b'u'),
        (left.as_millis(), b'm'),
        (left.as_secs().into(), b'S'),
        (NUMBER_MAX, b'H'),
    ];
    let fits = units.into_iter().find(|(number, _)| *number <= NUMBER_MAX);
    let (mut number, unit) = fits.unwrap_or((NUMBER_MAX, b'H'));
    // "Positive", says the format: a call that has no time left is not sent.
    number = number.max(1);
    if let Some((last, digits)) = room.split_last_mut() {
        *last = unit;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// Bytes of the room.
pub(crate) const ROOM_BYTES: usize = DIGITS_MAX + 1;

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse::<u32>().ok().filter(|_| digits[0] != b'+')?;
    let number = u64::from(number);
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use weir_http1::Limits;

    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit_and_nothing_else_is() {
        for (text, timeout) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("00000250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("9n", Some(Duration::from_nanos(9))),
            ("0m", Some(Duration::ZERO)),
            ("999999999S", None),
            ("+1S", None),
            ("-1S", None),
            ("1s", None),
            ("S", None),
            ("1", None),
            ("", None),
            ("1 S", None),
        ] {
            assert_eq!(parse(text.as_bytes()), timeout, "{text:?}");
        }
    }

    #[test]
    fn what_is_left_is_written_as_exactly_as_it_fits() {
        for (left, text) in [
            (Duration::from_micros(1), "00000001u"),
            (Duration::from_nanos(1), "00000001u"),
            (Duration::from_micros(99_999_999), "99999999u"),
            (Duration::from_secs(100), "00100000m"),
            (Duration::from_secs(100_000), "00100000S"),
            (Duration::from_secs(1_000_000_000), "99999999H"),
        ] {
            let mut room = [0; ROOM_BYTES];
            write_timeout(&mut room, left);
            assert_eq!(std::str::from_utf8(&room).unwrap(), text, "{left:?}");
            assert!(parse(&room).is_some());
        }
    }

    #[test]
    fn what_was_noted_moves_with_the_room() {
        for timeout in ["1S", " 1S", " 99999999m", "  00000000000000000001S "] {
            let text = format!(
                "POST /a HTTP/1.1\r\nHost: a\r\nGrpc-Timeout:{timeout}\r\nx: y\r\ngrpc-timeout: 2S\r\n\r\n"
            );
            let mut request = text.into_bytes();
            let (mut noted, mut parsed) = (FieldTable::default(), FieldTable::default());
            let from = "POST /a HTTP/1.1\r\n".len();
            noted.parse(&request, from, &Limits::DEFAULT).unwrap();
            make_room(&mut request, &mut noted).unwrap();
            parsed.parse(&request, from, &Limits::DEFAULT).unwrap();
            assert_eq!(noted, parsed, "{timeout}");
        }
    }

    #[test]
    fn room_is_made_where_the_field_is() {
        let mut request = b"POST /a HTTP/1.1\r\nHost: a\r\nGrpc-Timeout: 1S\r\nx: y\r\n\r\n".to_vec();
        let mut table = FieldTable::default();
        let at = make_room(&mut request, &mut table).unwrap();
        write_timeout(&mut request[at..at + ROOM_BYTES], Duration::from_millis(1500));
        let expected = "POST /a HTTP/1.1\r\nHost: a\r\nGrpc-Timeout: 01500000u\r\nx: y\r\n\r\n";
        assert_eq!(std::str::from_utf8(&request).unwrap(), expected);
        assert_eq!(table.written(), 0, "nothing was noted");
        let mut without = b"POST /a HTTP/1.1\r\nHost: a\r\n\r\ngrpc-timeout: 1S\r\n".to_vec();
        assert_eq!(make_room(&mut without, &mut table), None);
    }
}
