//! Reads JSON bodies the way Consul's clients expect: field names without regard to case or underscores, `null` as
//! absent, unknown fields ignored, durations as text (`"10s"`) or as a number of nanoseconds.
//!
//! Wrong types are never ignored: the answer names the field and what was expected.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use serde_json::{Map, Value};
use weir_model::units::Span;

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

/// Reads a whole body as one object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, DecodeError> {
    if body.is_empty() {
        return Err(DecodeError::Syntax("EOF: expected a JSON object, got an empty body".to_owned()));
    }
    // That it is text is found out once for all of it; what is not is refused by who can say where.
    let read = match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    };
    match read {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(DecodeError::Syntax(format!("expected a JSON object, got {}", kind(&other)))),
        Err(error) => Err(DecodeError::Syntax(error.to_string())),
    }
}

/// An object within a body, with the path that leads to it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a str,
}

type Decoded<T> = Result<T, DecodeError>;

impl<'a> Fields<'a> {
    /// The body itself.
    pub(super) fn root(map: &'a Map<String, Value>) -> Self {
        Self { map, path: "" }
    }

    /// An object that stands at `path`.
    pub(super) fn at(map: &'a Map<String, Value>, path: &'a str) -> Self {
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
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let mut found = None;
        for (key, value) in self.map {
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
        self.map.keys().any(|key| same_name(key, name))
    }

    /// The first of several names under which a field is known.
    fn any(&self, names: &[&str]) -> Option<&'a Value> {
        names.iter().find_map(|name| self.get(name))
    }

    pub(super) fn text(&self, name: &str) -> Decoded<String> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => self.wrong(name, format_args!("expected a string, got {}", kind(other))),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Decoded<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => self.wrong(name, format_args!("expected true or false, got {}", kind(other))),
        }
    }

    pub(super) fn port(&self, name: &str) -> Decoded<u16> {
        Ok(self.whole(name, 65_535)?.map_or(0, |port| port as u16))
    }

    /// A whole number from 0 to `max`.
    pub(super) fn whole(&self, name: &str, max: u64) -> Decoded<Option<u64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_u64().filter(|n| *n <= max) {
                Some(n) => Ok(Some(n)),
                None => {
                    self.wrong(name, format_args!("expected a whole number from 0 to {max}, got {number}"))
                }
            },
            Some(other) => self.wrong(name, format_args!("expected a whole number, got {}", kind(other))),
        }
    }

    /// A duration: `"10s"` or nanoseconds. Absent, empty and zero are all `None`.
    pub(super) fn span(&self, names: &[&str]) -> Decoded<Option<Span>> {
        let name = names[0];
        let span = match self.any(names) {
            None => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => match text.parse::<Span>() {
                Ok(span) => span,
                Err(error) => return self.wrong(name, error),
            },
            Some(Value::Number(number)) => match number.as_u64() {
                // The same longest span as the text form allows, checked there.
                Some(nanos) if nanos < 315_360_000_000_000_000 => Span(Duration::from_nanos(nanos)),
                _ => return self.wrong(name, format_args!("expected nanoseconds, at least 0, got {number}")),
            },
            Some(other) => {
                return self.wrong(
                    name,
                    format_args!(
                        "expected a duration such as \"10s\" or a number of nanoseconds, got {}",
                        kind(other)
                    ),
                );
            }
        };
        Ok(Some(span).filter(|span| !span.0.is_zero()))
    }

    pub(super) fn texts(&self, name: &str) -> Decoded<Vec<String>> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let Value::Array(items) = value else {
            return self.wrong(name, format_args!("expected an array of strings, got {}", kind(value)));
        };
        let texts = items.iter().enumerate().map(|(i, item)| match item {
            Value::String(text) => Ok(text.clone()),
            other => {
                self.wrong(&format!("{name}[{i}]"), format_args!("expected a string, got {}", kind(other)))
            }
        });
        texts.collect()
    }

    /// An object whose values are strings.
    pub(super) fn text_map(&self, name: &str) -> Decoded<BTreeMap<String, String>> {
        let Some(map) = self.map(name)? else { return Ok(BTreeMap::new()) };
        let entries = map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| match value {
            Value::String(text) => Ok((key.clone(), text.clone())),
            other => {
                self.wrong(&format!("{name}.{key}"), format_args!("expected a string, got {}", kind(other)))
            }
        });
        entries.collect()
    }

    pub(super) fn map(&self, name: &str) -> Decoded<Option<&'a Map<String, Value>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => self.wrong(name, format_args!("expected an object, got {}", kind(other))),
        }
    }

    /// An array of objects, each with its index.
    pub(super) fn maps(&self, name: &str) -> Decoded<Vec<(usize, &'a Map<String, Value>)>> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let Value::Array(items) = value else {
            return self.wrong(name, format_args!("expected an array of objects, got {}", kind(value)));
        };
        let maps = items.iter().enumerate().filter(|(_, item)| !item.is_null()).map(|(i, item)| match item {
            Value::Object(map) => Ok((i, map)),
            other => {
                self.wrong(&format!("{name}[{i}]"), format_args!("expected an object, got {}", kind(other)))
            }
        });
        maps.collect()
    }

    /// A field that is there and may be meant to be this one, which is not.
    pub(super) fn mistaken_for(&self, name: &str) -> Option<&'a str> {
        weir_model::document::nearest(name, self.map.keys().map(String::as_str))
    }

    /// Whether a field says something: not absent, `null`, empty, zero or false.
    pub(super) fn says_something(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| match value {
            Value::Null => false,
            Value::Bool(flag) => *flag,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
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

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
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
