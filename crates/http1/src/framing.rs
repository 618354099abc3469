//! Where a body ends (RFC 9112 section 6): the fields that say so, read in one way only.

use crate::body::BodyKind;
use crate::error::FieldError;
use crate::fields::FieldTable;
use crate::known::{FieldSet, KnownField};
use crate::scan::{all_tchars, decimal, is_word, trim};
use crate::span::Version;

/// The framing that the fields announce: `None` when they are silent.
#[inline]
pub(crate) fn announced(
    buf: &[u8],
    fields: &FieldTable,
    version: Version,
) -> Result<Option<BodyKind>, FieldError> {
    let seen = fields.seen();
    if !seen.intersects(FieldSet::FRAMING) {
        return Ok(None);
    }
    if seen.has(KnownField::TransferEncoding) {
        chunked(buf, fields, version)?;
        return Ok(Some(BodyKind::Chunked));
    }
    if fields.repeated().has(KnownField::ContentLength) {
        return Err(FieldError::RepeatedContentLength);
    }
    let value = fields.value(buf, KnownField::ContentLength).unwrap_or_default();
    Ok(Some(BodyKind::Length(decimal(value).ok_or(FieldError::BadContentLength)?)))
}

fn chunked(buf: &[u8], fields: &FieldTable, version: Version) -> Result<(), FieldError> {
    if fields.seen().has(KnownField::ContentLength) {
        return Err(FieldError::LengthAndEncoding);
    }
    if fields.repeated().has(KnownField::TransferEncoding) {
        return Err(FieldError::RepeatedTransferEncoding);
    }
    if version == Version::Http10 {
        return Err(FieldError::EncodingInHttp10);
    }
    let value = fields.value(buf, KnownField::TransferEncoding).unwrap_or_default();
    if is_word(value, b"chunked") { Ok(()) } else { Err(not_chunked(value)) }
}

/// A coding that is understood but not spoken (501) is told from one that is malformed or ambiguous (400).
fn not_chunked(value: &[u8]) -> FieldError {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut codings = value.split(|&b| b == b',').map(trim);
    let last = codings.next_back().unwrap_or_default();
    let (mut others, mut valid) = (0, all_tchars(last));
    for coding in codings {
        others += 1;
        valid &= all_tchars(coding) && !is_chunked(coding);
    }
    if valid && (others == 0 || is_chunked(last)) {
        FieldError::UnsupportedTransferEncoding
    } else {
        FieldError::BadTransferEncoding
    }
}
