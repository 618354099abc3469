//! What is said when a document cannot be used.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing wrong with a document, placed so that a person can go and mend it.
///
/// Shown as `shop.yaml:14: HTTPRoute/cart spec.rules[0].backendRef: unknown field; did you mean `backendRefs`?`.
/// Serialises to the same parts, for an API's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentError {
    /// Name of the file, or `-` for standard input.
    pub source: String,
    /// Line, from 1; 0 when the error concerns no line.
    pub line: u32,
    /// Column in characters, from 1; 0 when the error concerns no column.
    pub column: u32,
    /// The resource as `Kind/name`, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Path of the field, such as `spec.rules[0].backendRefs[1].weight`; empty for the document as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What was expected instead, if it can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The known name nearest to the one that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(":")?;
        for part in self.resource.iter().chain((!self.path.is_empty()).then_some(&self.path)) {
            write!(f, " {part}")?;
        }
        let separator = if self.resource.is_some() || !self.path.is_empty() { ": " } else { " " };
        write!(f, "{separator}{}", self.message)?;
        if let Some(suggestion) = &self.suggestion {
            return write!(f, "; did you mean `{suggestion}`?");
        }
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DocumentError {}
