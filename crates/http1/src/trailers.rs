//! Trailer sections (RFC 9110 section 6.5): parsed when complete, and rid of what may not stand there.

use crate::error::{BodyError, FieldError};
use crate::fields::{Field, FieldTable};
use crate::known::{FieldSet, KnownField};
use crate::limits::Limits;

/// Names without a [`KnownField`] that a trailer must not set: controls, conditions, response control data,
/// authentication, content handling (RFC 9110 section 6.5.1).
const FORBIDDEN_NAMES: [&[u8]; 21] = [
    b"age",
    b"allow",
    b"cache-control",
    b"content-language",
    b"content-location",
    b"content-range",
    b"cookie2",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"max-forwards",
    b"pragma",
    b"proxy-authentication-info",
    b"range",
    b"set-cookie2",
    b"vary",
    b"www-authenticate",
];

const FORBIDDEN: FieldSet = FieldSet::HOP_BY_HOP
    .union(FieldSet::PROTECTED)
    .with(KnownField::Trailer)
    .with(KnownField::Expect)
    .with(KnownField::ContentEncoding)
    .with(KnownField::RetryAfter);

/// The fields after a chunked body.
#[derive(Clone, Debug, Default)]
pub struct Trailers {
    raw: Vec<u8>,
    fields: FieldTable,
    complete: bool,
}

impl Trailers {
    /// The fields that may be passed on, as (name, value).
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.allowed().map(|field| (field.name.of(&self.raw), field.value.of(&self.raw)))
    }

    /// The value of the first field of a kind that may be passed on.
    pub fn value(&self, id: KnownField) -> Option<&[u8]> {
        if FORBIDDEN.has(id) || !self.complete {
            return None;
        }
        self.fields.value(&self.raw, id)
    }

    /// Whether there is no field to pass on.
    pub fn is_empty(&self) -> bool {
        self.allowed().next().is_none()
    }

    /// Appends the fields as lines.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn allowed(&self) -> impl Iterator<Item = &Field> {
        let complete = self.complete;
        self.fields.iter().filter(move |field| {
            let name = field.name.of(&self.raw);
            complete
                && !FORBIDDEN.has(field.id)
                && (field.id != KnownField::Other
                    || !FORBIDDEN_NAMES.iter().any(|no| no.eq_ignore_ascii_case(name)))
        })
    }

    pub(crate) fn clear(&mut self) {
        self.raw.clear();
        self.fields.clear();
        self.complete = false;
    }

    pub(crate) fn collect(&mut self, part: &[u8], bytes_max: usize) -> Result<(), BodyError> {
        // Offsets are 32 bits wide, whatever the setting.
        if self.raw.len() + part.len() > bytes_max.min(16 * 1024 * 1024) {
            return Err(BodyError::TrailersTooLarge(bytes_max));
        }
        self.raw.extend_from_slice(part);
        Ok(())
    }

    pub(crate) fn check_line_end(&self) -> Result<(), FieldError> {
        if self.raw.ends_with(b"\r\n") { Ok(()) } else { Err(FieldError::BareLf) }
    }

    /// The empty line has come.
    pub(crate) fn complete(&mut self, limits: &Limits) -> Result<(), FieldError> {
        if self.raw.is_empty() {
            return Ok(());
        }
        self.raw.extend_from_slice(b"\r\n");
        match self.fields.parse(&self.raw, 0, limits)? {
            Some(end) if end == self.raw.len() => {
                self.complete = true;
                Ok(())
            }
            _ => Err(FieldError::BareCr),
        }
    }
}
