//! How answers are written: tables for people, JSON and YAML for programs.
//!
//! Everything goes through [`print()`], which ends quietly when the reader has gone (`weir get services | head -1`).

pub(crate) mod table;
pub(crate) mod yaml;

use std::io::Write;

use serde::Serialize;

use crate::cli::operator::Format;
use crate::exit::{Exit, Failure};

pub(crate) use table::Table;

/// Writes text to standard output. A reader that is gone is no error.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error, for remarks that are no part of the answer. They may quote what others have written.
pub(crate) fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", clean(text));
}

/// A text that others have a part in, without what a terminal would take for an order.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// A value in the form asked for; `table` makes the form for people.
///
/// # Errors
/// When the value cannot be written as JSON.
pub(crate) fn render(
    format: Format,
    value: &impl Serialize,
    table: impl FnOnce() -> String,
) -> Result<String, Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("cannot write the answer: {error}"));
    match format {
        Format::Table => Ok(table()),
        Format::Json => serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(failed),
        Format::Yaml => Ok(yaml::to_string(&serde_json::to_value(value).map_err(failed)?)),
    }
}
