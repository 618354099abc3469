//! What is wrong with a node, in words: serde's own errors included.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::super::node::{Entry, Place, shortened};
use super::super::suggest::nearest;

/// A fault found while decoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::document) struct Fault {
    pub(in crate::document) place: Option<Place>,
    pub(in crate::document) path: String,
    pub(in crate::document) message: String,
    pub(in crate::document) expected: Option<String>,
    pub(in crate::document) suggestion: Option<String>,
    /// The field that is missing, if that is the fault.
    pub(in crate::document) missing: Option<Box<Missing>>,
}

/// The name of a field that is missing. In a box, since every value that is read may be a fault instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::document) struct Missing(pub(super) &'static str);

/// What to say about a field that nobody knows.
pub(in crate::document) fn unknown_field(entry: &Entry, fields: &[&str]) -> Fault {
    let message = if entry.key == "<<" {
        "merge keys are not part of YAML 1.2; write the fields out, or use an alias for the whole value"
            .to_owned()
    } else {
        "unknown field".to_owned()
    };
    Fault {
        place: Some(entry.place),
        message,
        expected: Some(one_of(fields)),
        suggestion: nearest(&entry.key, fields.iter().copied()).map(str::to_owned),
        ..Fault::default()
    }
}

/// `a`, or `one of a, b, c`, in backquotes.
pub(in crate::document) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        several => format!("one of {}", several.join(", ")),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), ..Self::default() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let mut message = format!("{} where {expected} was expected", Found(found));
        let scalar = matches!(
            found,
            Unexpected::Bool(_) | Unexpected::Signed(_) | Unexpected::Unsigned(_) | Unexpected::Float(_)
        );
        if scalar && expected.to_string().contains("string") {
            message.push_str(" (put it in quotes)");
        }
        Self { message, ..Self::default() }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self { message: format!("{} where {expected} was expected", Found(found)), ..Self::default() }
    }

    fn missing_field(field: &'static str) -> Self {
        let message = format!("the field `{field}` is missing");
        Self { message, missing: Some(Box::new(Missing(field))), ..Self::default() }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self {
            message: format!("unknown value `{}`", shortened(variant)),
            expected: Some(one_of(expected)),
            suggestion: nearest(variant, expected.iter().copied()).map(str::to_owned),
            ..Self::default()
        }
    }
}

/// What serde found, in the words of [`Value`]'s own messages.
struct Found<'a>(Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Unit | Unexpected::Option => f.write_str("nothing"),
            Unexpected::Bool(value) => write!(f, "the boolean `{value}`"),
            Unexpected::Signed(value) => write!(f, "the integer `{value}`"),
            Unexpected::Unsigned(value) => write!(f, "the integer `{value}`"),
            Unexpected::Float(value) => write!(f, "the number `{value}`"),
            Unexpected::Str(value) => write!(f, "the string `{}`", shortened(value)),
            Unexpected::Seq => f.write_str("a list"),
            Unexpected::Map => f.write_str("a map"),
            other => write!(f, "{other}"),
        }
    }
}
