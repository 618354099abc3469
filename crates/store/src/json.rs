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
    from_bytes(&found.entry.value.bytes()).map_err(|error| codec(&found.key, &error))
}

/// The document that these bytes are. That they are text is found out once for all of it, not for each text in it.
///
/// # Errors
/// What is wrong with them.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(error) => Err(serde::de::Error::custom(error)),
    }
}

fn codec(key: &Key, error: &serde_json::Error) -> Error {
    Error::Codec { key: key.to_string(), reason: error.to_string() }
}
