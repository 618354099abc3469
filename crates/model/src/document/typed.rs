//! Reads a text that holds one value of any type: settings, requests, scenarios.
//!
//! As strict as documents are, and with errors of the same quality: unknown fields are faults, nothing is coerced, and
//! each fault has line, path and suggestion. A type that `serde` reads through a buffer (`untagged`, `flatten`, or an
//! enum with `tag`) loses paths and strictness inside; enums as `serde` has them by default (`name`, or `name: {...}`)
//! lose nothing.

use serde::de::DeserializeOwned;

use super::decode::{self, Fault};
use super::error::DocumentError;
use super::node::{Malformed, Node, Place, Value};
use super::{ERRORS_MAX, Origin, read};

/// Reads a text that holds one value, YAML or JSON. A text without content is read as an empty map, so that all fields
/// with defaults have them. `source` is the file's name, or what is to be said instead.
///
/// # Errors
/// All faults found, at most [`ERRORS_MAX`], with line, path and suggestion.
pub fn decode_as<T: DeserializeOwned>(source: &str, text: &str) -> Result<T, Vec<DocumentError>> {
    decode_located(source, text).map(|(value, _)| value)
}

/// As [`decode_as`], along with what finds the lines of fields again ([`Origin::error`]), for faults found later: values
/// out of range.
///
/// # Errors
/// As [`decode_as`].
pub fn decode_located<T: DeserializeOwned>(
    source: &str,
    text: &str,
) -> Result<(T, Origin), Vec<DocumentError>> {
    let report = |fault: Fault| {
        let place = fault.place.unwrap_or_default();
        DocumentError {
            source: source.to_owned(),
            line: place.line,
            column: place.column,
            resource: None,
            path: fault.path,
            message: fault.message,
            expected: fault.expected,
            suggestion: fault.suggestion,
        }
    };
    let malformed = |fault: Malformed| {
        vec![report(Fault { place: Some(fault.place), message: fault.message, ..Fault::default() })]
    };
    let mut roots = read(text).map_err(malformed)?;
    if let Some(second) = roots.get(1) {
        return Err(malformed(Malformed::new(second.place, "a second document, where one was expected")));
    }
    let nothing = Node { place: Place { line: 1, column: 1 }, value: Value::Map(Vec::new()) };
    let root = roots.pop().unwrap_or(nothing);
    match decode::decode(&root, "") {
        Ok(value) => Ok((value, Origin { source: source.to_owned(), root })),
        Err(faults) => Err(faults.into_iter().map(report).take(ERRORS_MAX).collect()),
    }
}
