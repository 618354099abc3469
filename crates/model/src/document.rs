//! Reads documents, YAML or JSON, into resources.
//!
//! ```text
//! text -> tree with lines (yaml, json) -> known fields without meaning here set aside (fields) -> decoded (decode)
//! ```
//!
//! Every fault names file, line, resource, field path and what was expected; as many as possible are found in one
//! go. No text, however hostile, panics or costs unbounded work. This module judges form only; `validate` judges
//! sense.

mod decode;
mod error;
mod fields;
mod json;
mod kinds;
pub mod node;
mod ranges;
mod suggest;
mod typed;
mod yaml;

use serde::{Deserialize, Serialize};

use crate::resource::Resource;
use crate::validate::{self, FieldError, Scope};
pub use error::DocumentError;
use node::{DOCUMENT_BYTES_MAX, Malformed, Node, Place};
pub use suggest::nearest;
pub use typed::{decode_as, decode_located};

/// Most faults reported for one text: more do not help anybody.
pub const ERRORS_MAX: usize = 100;

/// What a text holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// Its resources, in the order written; the items of a `List` count one by one.
    pub documents: Vec<Document>,
    /// Documents that have no meaning here as a whole, such as a `GatewayClass`; the path is `Kind/name`.
    pub ignored: Vec<Ignored>,
}

/// One resource as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The resource.
    pub resource: Resource,
    /// The line on which it begins.
    pub line: u32,
    /// What it carries that has no meaning here.
    pub ignored: Vec<Ignored>,
    /// Finds the lines of its fields again, for faults found later.
    pub origin: Origin,
}

/// Something written that has no meaning here, and is neither used nor an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignored {
    /// Path of the field.
    pub path: String,
    /// Its line.
    pub line: u32,
    /// Why it has no meaning.
    pub why: String,
}

/// Where a document came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    source: String,
    root: Node,
}

impl Origin {
    /// Name of the file, or `-`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where the field with a path stands, or the nearest of its parents that is there.
    pub fn locate(&self, path: &str) -> Place {
        self.root.locate(path)
    }

    /// A fault of what was read from here as an error with file and line.
    pub fn error(&self, fault: &FieldError) -> DocumentError {
        let place = self.locate(&fault.path);
        DocumentError {
            source: self.source.clone(),
            line: place.line,
            column: place.column,
            path: fault.path.clone(),
            message: fault.message.clone(),
            expected: fault.expected.clone(),
            ..DocumentError::default()
        }
    }
}

impl Document {
    /// A fault of this document's resource as an error with file and line.
    pub fn error(&self, fault: &FieldError) -> DocumentError {
        DocumentError { resource: Some(self.resource.id().to_string()), ..self.origin.error(fault) }
    }
}

/// Reads a text with any number of documents: YAML (`---` between them) or JSON. `source` is the file's name, or `-`.
///
/// # Errors
/// All faults found, at most [`ERRORS_MAX`]; nothing is returned of a text with a fault.
pub fn parse(source: &str, text: &str) -> Result<Parsed, Vec<DocumentError>> {
    let roots = read(text).map_err(|fault| {
        vec![DocumentError {
            source: source.to_owned(),
            line: fault.place.line,
            column: fault.place.column,
            message: fault.message,
            ..DocumentError::default()
        }]
    })?;
    let mut parsed = Parsed { documents: Vec::new(), ignored: Vec::new() };
    let mut errors = Vec::new();
    for root in roots {
        // What comes behind so many is not told in any case.
        if errors.len() < ERRORS_MAX {
            kinds::document(source, root, &mut parsed, &mut errors);
        }
    }
    if errors.is_empty() {
        return Ok(parsed);
    }
    errors.truncate(ERRORS_MAX);
    Err(errors)
}

/// Judges parsed documents, alone and as one set: what `validate` finds, with file and line.
///
/// # Errors
/// All faults found, at most [`ERRORS_MAX`].
pub fn check(documents: &[Document], scope: Scope) -> Result<(), Vec<DocumentError>> {
    let mut errors: Vec<DocumentError> = documents
        .iter()
        .flat_map(|document| {
            validate::validate(&document.resource).into_iter().map(|fault| document.error(&fault))
        })
        .collect();
    let resources: Vec<&Resource> = documents.iter().map(|document| &document.resource).collect();
    errors.extend(
        validate::conflicts(&resources, scope).iter().map(|(index, fault)| documents[*index].error(fault)),
    );
    errors.truncate(ERRORS_MAX);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The trees of a text.
fn read(text: &str) -> Result<Vec<Node>, Malformed> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(Malformed::new(Place::default(), format!("larger than {DOCUMENT_BYTES_MAX} bytes")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(place) = forbidden(text) {
        return Err(Malformed::new(place, "a control character: is this a text file?"));
    }
    // JSON first where it looks like JSON: YAML readers differ from JSON's rules on tabs, escapes and long keys.
    if text.trim_start().starts_with(['{', '[']) {
        return match json::read(text) {
            Ok(node) => Ok(vec![node]),
            // It may still be YAML in flow style; if it is not, JSON's fault is the one to show.
            Err(fault) => yaml::read(text).map_err(|_| fault),
        };
    }
    yaml::read(text)
}

/// The first character that no text has any use for.
fn forbidden(text: &str) -> Option<Place> {
    let at = text.find(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))?;
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let bounded = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Some(Place { line: bounded(line), column: bounded(column) })
}

#[cfg(test)]
mod tests;
