//! Values as JSON documents.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Key, KeyValue, Value};

/// Most documents are shorter.
const DOCUMENT_BYTES: usize = 512;

/// The document as a value.
///
/// # Errors
/// [`Error::Codec`] if the type cannot be written as JSON (a map with keys that are not text, say).
pub fn to_value<T: Serialize + ?Sized>(key: &Key, document: &T) -> Result<Value, Error> {
    let mut text = Vec::with_capacity(DOCUMENT_BYTES);
    serde_json::to_writer(&mut text, document).map_err(|error| codec(key, &error))?;
    Ok(text.into())
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
