//! The `Connection` field: what it says about this connection, and which other fields it makes hop-by-hop.

use crate::error::FieldError;
use crate::fields::FieldTable;
use crate::known::{FieldSet, KnownField, recognize};
use crate::limits::Limits;
use crate::scan::{all_tchars, is_word, trim};
use crate::span::Version;

/// The options that the codec acts upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

impl Options {
    /// RFC 9112 section 9.3.
    pub(crate) fn persists(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// Reads all `Connection` fields and marks the fields that they name.
pub(crate) fn options(buf: &[u8], fields: &mut FieldTable, limits: &Limits) -> Result<Options, FieldError> {
    let mut options = Options::default();
    if !fields.seen().has(KnownField::Connection) {
        return Ok(options);
    }
    if !fields.repeated().has(KnownField::Connection) {
        let value = fields.value(buf, KnownField::Connection).unwrap_or_default();
        if is_word(value, b"keep-alive") {
            options.keep_alive = true;
            return Ok(options);
        }
        if is_word(value, b"close") {
            options.close = true;
            return Ok(options);
        }
    }
    all_options(buf, fields, limits)
}

fn all_options(buf: &[u8], fields: &mut FieldTable, limits: &Limits) -> Result<Options, FieldError> {
    let mut options = Options::default();
    let mut left = limits.connection_options_max;
    for index in 0..fields.len() {
        let Some(field) = fields.at(index).filter(|field| field.id == KnownField::Connection) else {
            continue;
        };
        for option in field.value.of(buf).split(|&b| b == b',').map(trim) {
            left = left.checked_sub(1).ok_or(FieldError::TooManyOptions(limits.connection_options_max))?;
            if option.is_empty() {
                continue;
            }
            if !all_tchars(option) {
                return Err(FieldError::BadConnection);
            }
            apply(option, buf, fields, &mut options);
        }
    }
    Ok(options)
}

fn apply(option: &[u8], buf: &[u8], fields: &mut FieldTable, options: &mut Options) {
    if option.eq_ignore_ascii_case(b"keep-alive") {
        options.keep_alive = true;
    } else if option.eq_ignore_ascii_case(b"close") {
        options.close = true;
    } else if option.eq_ignore_ascii_case(b"upgrade") {
        options.upgrade = true;
    } else {
        nominate(option, buf, fields);
    }
}

/// Identity, routing and framing stay whatever a peer asks for: dropping them by request is an attack.
fn nominate(option: &[u8], buf: &[u8], fields: &mut FieldTable) {
    let id = recognize(option);
    if FieldSet::PROTECTED.has(id) {
        return;
    }
    for index in 0..fields.len() {
        let named = fields.at(index).is_some_and(|field| {
            field.id == id && (id != KnownField::Other || field.name.of(buf).eq_ignore_ascii_case(option))
        });
        if named {
            fields.nominate(index);
        }
    }
}

/// Whether any value is a list that holds `token`, in any case. Parameters after `;` are ignored.
pub(crate) fn lists<'a>(mut values: impl Iterator<Item = &'a [u8]>, token: &[u8]) -> bool {
    values.any(|value| {
        value.split(|&b| b == b',').any(|item| {
            let name = item.split(|&b| b == b';').next().unwrap_or_default();
            trim(name).eq_ignore_ascii_case(token)
        })
    })
}

/// The value of a single `Upgrade` field that names exactly one protocol which may be tunnelled. `h2c` may not: it would
/// carry requests past the proxy's eyes.
pub(crate) fn single_protocol<'a>(buf: &'a [u8], fields: &FieldTable) -> Option<&'a [u8]> {
    if fields.repeated().has(KnownField::Upgrade) {
        return None;
    }
    let value = fields.value(buf, KnownField::Upgrade)?;
    let mut parts = value.splitn(2, |&b| b == b'/');
    let name = parts.next()?;
    let valid = all_tchars(name) && parts.next().is_none_or(all_tchars);
    let http = name.eq_ignore_ascii_case(b"h2c")
        || name.eq_ignore_ascii_case(b"h2")
        || name.eq_ignore_ascii_case(b"http");
    (valid && !http).then_some(value)
}
