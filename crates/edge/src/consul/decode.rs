//! Reads JSON bodies the way Consul's clients expect: field names without regard to case or underscores, `null` as
//! absent, unknown fields ignored, durations as text (`"10s"`) or as a number of nanoseconds.
//!
//! Wrong types are never ignored: the answer names the field and what was expected.

mod held;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use weir_model::units::Span;

pub(super) use held::{Held, Object, Part, Parts, View};

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    /// Not JSON at all; the text has line and column.
    #[error("{0}")]
    Syntax(String),
    /// A field has the wrong type or value.
    #[error("{path}: {reason}")]
    Field { path: String, reason: String },
}

/// Reads a whole body as one object that may be kept.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, DecodeError> {
    match whole(body)? {
        Value::Object(map) => Ok(map),
        other => Err(no_object(&other)),
    }
}

/// Reads a whole body as one object that is gone when the body is.
pub(super) fn parts(body: &[u8]) -> Result<Parts<'_>, DecodeError> {
    match whole(body)? {
        Part::Object(parts) => Ok(parts),
        other => Err(no_object(&other)),
    }
}

fn no_object(value: &impl Held) -> DecodeError {
    DecodeError::Syntax(format!("expected a JSON object, got {}", value.view().kind()))
}

fn whole<'b, H: Held + Deserialize<'b>>(body: &'b [u8]) -> Result<H, DecodeError> {
    if body.is_empty() {
        return Err(DecodeError::Syntax("EOF: expected a JSON object, got an empty body".to_owned()));
    }
    // That it is text is found out once for all of it; what is not is refused by who can say where.
    let read = match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    };
    read.map_err(|error: serde_json::Error| DecodeError::Syntax(error.to_string()))
}

/// An object within a body, with the path that leads to it.
pub(super) struct Fields<'a, O = Map<String, Value>> {
    map: &'a O,
    path: &'a str,
}

impl<O> Clone for Fields<'_, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Fields<'_, O> {}

type Decoded<T> = Result<T, DecodeError>;

impl<'a, O: Object> Fields<'a, O> {
    /// The body itself.
    pub(super) fn root(map: &'a O) -> Self {
        Self { map, path: "" }
    }

    /// An object that stands at `path`.
    pub(super) fn at(map: &'a O, path: &'a str) -> Self {
        Self { map, path }
    }

    /// A field's full path.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// An error about a field.
    pub(super) fn wrong<T>(&self, name: &str, reason: impl Display) -> Decoded<T> {
        Err(DecodeError::Field { path: self.path_of(name), reason: reason.to_string() })
    }

    /// A field's value, unless it is absent or `null`. The exact name is preferred over other spellings.
    pub(super) fn get(&self, name: &str) -> Option<&'a O::Held> {
        let mut found = None;
        for (key, value) in self.map.fields() {
            if key == name {
                found = Some(value);
                break;
            }
            if found.is_none() && same_name(key, name) {
                found = Some(value);
            }
        }
        found.filter(|value| !value.is_null())
    }

    /// Whether a field is given, be it as `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.fields().any(|(key, _)| same_name(key, name))
    }

    /// The first of several names under which a field is known.
    fn any(&self, names: &[&str]) -> Option<&'a O::Held> {
        names.iter().find_map(|name| self.get(name))
    }

    fn view(&self, name: &str) -> Option<View<'a, O::Held>> {
        self.get(name).map(Held::view)
    }

    pub(super) fn text(&self, name: &str) -> Decoded<String> {
        match self.view(name) {
            None => Ok(String::new()),
            Some(View::Text(text)) => Ok(text.to_owned()),
            Some(other) => self.wrong(name, format_args!("expected a string, got {}", other.kind())),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Decoded<bool> {
        match self.view(name) {
            None => Ok(false),
            Some(View::Bool(flag)) => Ok(flag),
            Some(other) => self.wrong(name, format_args!("expected true or false, got {}", other.kind())),
        }
    }

    pub(super) fn port(&self, name: &str) -> Decoded<u16> {
        Ok(self.whole(name, 65_535)?.map_or(0, |port| port as u16))
    }

    /// A whole number from 0 to `max`.
    pub(super) fn whole(&self, name: &str, max: u64) -> Decoded<Option<u64>> {
        match self.view(name) {
            None => Ok(None),
            Some(View::Number(number)) => match number.as_u64().filter(|n| *n <= max) {
                Some(n) => Ok(Some(n)),
                None => {
                    self.wrong(name, format_args!("expected a whole number from 0 to {max}, got {number}"))
                }
            },
            Some(other) => self.wrong(name, format_args!("expected a whole number, got {}", other.kind())),
        }
    }

    /// A duration: `"10s"` or nanoseconds. Absent, empty and zero are all `None`.
    pub(super) fn span(&self, names: &[&str]) -> Decoded<Option<Span>> {
        let name = names[0];
        let span = match self.any(names).map(Held::view) {
            None => return Ok(None),
            Some(View::Text("")) => return Ok(None),
            Some(View::Text(text)) => match text.parse::<Span>() {
                Ok(span) => span,
                Err(error) => return self.wrong(name, error),
            },
            Some(View::Number(number)) => match number.as_u64() {
                // The same longest span as the text form allows, checked there.
                Some(nanos) if nanos < 315_360_000_000_000_000 => Span(Duration::from_nanos(nanos)),
                _ => return self.wrong(name, format_args!("expected nanoseconds, at least 0, got {number}")),
            },
            Some(other) => {
                return self.wrong(
                    name,
                    format_args!(
                        "expected a duration such as \"10s\" or a number of nanoseconds, got {}",
                        other.kind()
                    ),
                );
            }
        };
        Ok(Some(span).filter(|span| !span.0.is_zero()))
    }

    pub(super) fn texts(&self, name: &str) -> Decoded<Vec<String>> {
        let Some(value) = self.view(name) else { return Ok(Vec::new()) };
        let View::Array(items) = value else {
            return self.wrong(name, format_args!("expected an array of strings, got {}", value.kind()));
        };
        let texts = items.iter().enumerate().map(|(i, item)| match item.view() {
            View::Text(text) => Ok(text.to_owned()),
            other => {
                self.wrong(&format!("{name}[{i}]"), format_args!("expected a string, got {}", other.kind()))
            }
        });
        texts.collect()
    }

    /// An object whose values are strings.
    pub(super) fn text_map(&self, name: &str) -> Decoded<BTreeMap<String, String>> {
        let Some(map) = self.map(name)? else { return Ok(BTreeMap::new()) };
        let given = map.fields().filter(|(_, value)| !value.is_null());
        let entries = given.map(|(key, value)| match value.view() {
            View::Text(text) => Ok((key.to_owned(), text.to_owned())),
            other => {
                self.wrong(&format!("{name}.{key}"), format_args!("expected a string, got {}", other.kind()))
            }
        });
        entries.collect()
    }

    pub(super) fn map(&self, name: &str) -> Decoded<Option<&'a O>> {
        match self.view(name) {
            None => Ok(None),
            Some(View::Object(map)) => Ok(Some(map)),
            Some(other) => self.wrong(name, format_args!("expected an object, got {}", other.kind())),
        }
    }

    /// An array of objects, each with its index.
    pub(super) fn maps(&self, name: &str) -> Decoded<Vec<(usize, &'a O)>> {
        let Some(value) = self.view(name) else { return Ok(Vec::new()) };
        let View::Array(items) = value else {
            return self.wrong(name, format_args!("expected an array of objects, got {}", value.kind()));
        };
        let given = items.iter().enumerate().filter(|(_, item)| !item.is_null());
        let maps = given.map(|(i, item)| match item.view() {
            View::Object(map) => Ok((i, map)),
            other => {
                self.wrong(&format!("{name}[{i}]"), format_args!("expected an object, got {}", other.kind()))
            }
        });
        maps.collect()
    }

    /// A field that is there and may be meant to be this one, which is not.
    pub(super) fn mistaken_for(&self, name: &str) -> Option<&'a str> {
        weir_model::document::nearest(name, self.map.fields().map(|(key, _)| key))
    }

    /// Whether a field says something: not absent, `null`, empty, zero or false.
    pub(super) fn says_something(&self, name: &str) -> bool {
        self.view(name).is_some_and(|value| match value {
            View::Null => false,
            View::Bool(flag) => flag,
            View::Number(number) => number.as_f64() != Some(0.0),
            View::Text(text) => !text.is_empty(),
            View::Array(items) => !items.is_empty(),
            View::Object(map) => map.fields().next().is_some(),
        })
    }
}

/// Compares field names without regard to case and underscores: Consul takes `EnableTagOverride`,
/// `enabletagoverride` and `enable_tag_override` alike.
pub(super) fn same_name(given: &str, wanted: &str) -> bool {
    // Most names differ where they begin.
    if let (Some(a), Some(b)) = (given.bytes().next(), wanted.bytes().next())
        && a != b'_'
        && b != b'_'
        && !a.eq_ignore_ascii_case(&b)
    {
        return false;
    }
    let mut given = given.bytes().filter(|b| *b != b'_').map(|b| b.to_ascii_lowercase());
    let mut wanted = wanted.bytes().filter(|b| *b != b'_').map(|b| b.to_ascii_lowercase());
    loop {
        match (given.next(), wanted.next()) {
            (None, None) => return true,
            (a, b) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(json: &str, read: impl FnOnce(Fields<'_>) -> T) -> T {
        let map = object(json.as_bytes()).unwrap();
        read(Fields::root(&map))
    }

    #[test]
    fn names_are_found_in_every_spelling() {
        for spelling in ["EnableTagOverride", "enabletagoverride", "enable_tag_override", "ENABLETAGOVERRIDE"]
        {
            assert!(
                with(&format!(r#"{{"{spelling}": true}}"#), |f| f.flag("EnableTagOverride")).unwrap(),
                "{spelling}"
            );
        }
        assert!(!with(r#"{"EnableTagOverrides": true}"#, |f| f.flag("EnableTagOverride")).unwrap());
        assert_eq!(with(r#"{"name": "a", "Name": "b"}"#, |f| f.text("Name")).unwrap(), "b");
        assert_eq!(with(r#"{"Name": null}"#, |f| f.text("Name")).unwrap(), "");
    }

    #[test]
    fn durations_are_text_or_nanoseconds() {
        let read = |json: &str| with(json, |f| f.span(&["TTL"])).map(|span| span.map(|s| s.0.as_millis()));
        assert_eq!(read(r#"{"ttl": "1m30s"}"#), Ok(Some(90_000)));
        assert_eq!(read(r#"{"TTL": 15000000000}"#), Ok(Some(15_000)));
        assert_eq!(read(r#"{"TTL": "0s"}"#), Ok(None));
        assert_eq!(read(r#"{"TTL": ""}"#), Ok(None));
        assert_eq!(read("{}"), Ok(None));
        for bad in ["\"10\"", "\"-1s\"", "-5", "1.5", "true", "1e300"] {
            assert!(read(&format!(r#"{{"TTL": {bad}}}"#)).is_err(), "{bad}");
        }
    }

    #[test]
    fn wrong_types_are_named() {
        let check = |json: &str, read: fn(Fields<'_>) -> Option<DecodeError>, expect: &str| {
            assert_eq!(with(json, read).expect("an error").to_string(), expect, "{json}");
        };
        check(r#"{"Port":"80"}"#, |f| f.port("Port").err(), "Port: expected a whole number, got a string");
        check(
            r#"{"Port":-1}"#,
            |f| f.port("Port").err(),
            "Port: expected a whole number from 0 to 65535, got -1",
        );
        check(r#"{"Tags":["a",1]}"#, |f| f.texts("Tags").err(), "Tags[1]: expected a string, got a number");
        check(r#"{"Meta":{"a":1}}"#, |f| f.text_map("Meta").err(), "Meta.a: expected a string, got a number");
        check(
            r#"{"Checks":[{},2]}"#,
            |f| f.maps("Checks").err(),
            "Checks[1]: expected an object, got a number",
        );
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_position() {
        for (body, expect) in [
            ("", "EOF: expected a JSON object, got an empty body"),
            ("[]", "expected a JSON object, got an array"),
            ("{\"a\": }", "expected value at line 1 column 7"),
        ] {
            assert_eq!(object(body.as_bytes()).unwrap_err().to_string(), expect);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>) {
            let _ = object(&body);
        }
    }
}
