//! Values as JSON documents.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Key, KeyValue, Value};

/// The document as a value.
///
/// # Errors
/// [`Error::Codec`] if the type cannot be written as JSON (a map with keys that are not text, say).
pub fn to_value<T: Serialize + ?Sized>(key: &Key, document: &T) -> Result<Value, Error> {
    serde_json::to_vec(document).map(Value::from).map_err(|error| codec(key, &error))
}

/// The document in an entry.
///
/// # Errors
/// [`Error::Codec`] if the value is not such a document.
pub fn from_entry<T: DeserializeOwned>(found: &KeyValue) -> Result<T, Error> {
    serde_json::from_slice(&found.entry.value.bytes()).map_err(|error| codec(&found.key, &error))
}

fn codec(key: &Key, error: &serde_json::Error) -> Error {
    Error::Codec { key: key.to_string(), reason: error.to_string() }
}
