//! The form of config entries: which fields there are, and what is in them. Read into the one spelling that Consul shows;
//! unlike elsewhere in its API, unknown fields are refused.

use serde_json::{Map, Value};

use crate::consul::decode::{self, DecodeError, Fields};
use crate::consul::options::check_body_partition;

/// The most that one list or map of an entry may hold.
const ITEMS_MAX: usize = 1024;

/// A field's name and what is in it.
pub(super) struct Field(pub(super) &'static str, pub(super) Shape);

/// What is in a field.
pub(super) enum Shape {
    Text,
    Flag,
    /// A whole number from 0 on.
    Whole,
    /// Any number.
    Number,
    /// A duration: text, or nanoseconds. Kept as text.
    Span,
    Texts,
    /// Whole numbers.
    Wholes,
    TextMap,
    /// Anything.
    Any,
    Object(&'static [Field]),
    List(&'static [Field]),
    /// Objects by free keys.
    MapOf(&'static [Field]),
}

/// What stands beside the fields of its kind in every entry, and is no part of its content.
const ENVELOPE: [&str; 8] =
    ["Kind", "Name", "Namespace", "Partition", "Datacenter", "CreateIndex", "ModifyIndex", "Hash"];

/// Reads the content of an entry.
pub(super) fn read(
    map: &Map<String, Value>,
    fields: &'static [Field],
) -> Result<Map<String, Value>, DecodeError> {
    let root = Fields::root(map);
    check_body_partition(root)?;
    object(root, map, fields, &ENVELOPE)
}

fn object(
    from: Fields<'_>,
    map: &Map<String, Value>,
    fields: &'static [Field],
    besides: &[&str],
) -> Result<Map<String, Value>, DecodeError> {
    let is_known = |key: &String| {
        let mut names = fields.iter().map(|Field(name, _)| *name).chain(besides.iter().copied());
        names.any(|name| decode::same_name(key, name))
    };
    if let Some(unknown) = map.keys().find(|key| !is_known(key)) {
        return from.wrong(unknown, format_args!("invalid config key {unknown:?}{}", hint(unknown, fields)));
    }
    let mut read = Map::new();
    for Field(name, shape) in fields {
        if from.get(name).is_some()
            && let Some(value) = value(from, name, shape)?
        {
            read.insert((*name).to_owned(), value);
        }
    }
    Ok(read)
}

fn hint(unknown: &str, fields: &'static [Field]) -> String {
    let nearest = weir_model::document::nearest(unknown, fields.iter().map(|Field(name, _)| *name));
    nearest.map_or_else(String::new, |nearest| format!(", did you mean {nearest:?}?"))
}

fn value(from: Fields<'_>, name: &str, shape: &'static Shape) -> Result<Option<Value>, DecodeError> {
    Ok(Some(match shape {
        Shape::Text => from.text(name)?.into(),
        Shape::Flag => from.flag(name)?.into(),
        Shape::Whole => from.whole(name, u64::from(u32::MAX))?.into(),
        Shape::Number => match from.get(name) {
            Some(Value::Number(number)) => Value::Number(number.clone()),
            _ => return from.wrong(name, "expected a number"),
        },
        Shape::Span => match from.span(&[name])? {
            None => return Ok(None),
            Some(span) => crate::consul::duration::to_go(span.0).into(),
        },
        Shape::Texts => from.texts(name)?.into(),
        Shape::Wholes => wholes(from, name)?,
        Shape::TextMap => {
            Value::Object(from.text_map(name)?.into_iter().map(|(k, v)| (k, v.into())).collect())
        }
        Shape::Any => from.get(name).cloned().unwrap_or_default(),
        Shape::Object(fields) => {
            let Some(map) = from.map(name)? else { return Ok(None) };
            let path = from.path_of(name);
            Value::Object(object(Fields::at(map, &path), map, fields, &[])?)
        }
        Shape::List(fields) => list(from, name, fields)?,
        Shape::MapOf(fields) => map_of(from, name, fields)?,
    }))
}

fn wholes(from: Fields<'_>, name: &str) -> Result<Value, DecodeError> {
    let numbers = match from.get(name) {
        Some(Value::Array(items)) => items.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>(),
        _ => None,
    };
    numbers
        .map_or_else(|| from.wrong(name, "expected an array of whole numbers"), |numbers| Ok(numbers.into()))
}

fn list(from: Fields<'_>, name: &str, fields: &'static [Field]) -> Result<Value, DecodeError> {
    let maps = from.maps(name)?;
    check_count(from, name, maps.len())?;
    let read = maps.into_iter().map(|(at, map)| {
        let path = from.path_of(&format!("{name}[{at}]"));
        Ok(Value::Object(object(Fields::at(map, &path), map, fields, &[])?))
    });
    read.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn map_of(from: Fields<'_>, name: &str, fields: &'static [Field]) -> Result<Value, DecodeError> {
    let Some(map) = from.map(name)? else { return Ok(Value::Null) };
    check_count(from, name, map.len())?;
    let path = from.path_of(name);
    let inner = Fields::at(map, &path);
    let mut read = Map::new();
    for (key, value) in map {
        let path = inner.path_of(key);
        let value = match value {
            Value::Null => Map::new(),
            Value::Object(map) => object(Fields::at(map, &path), map, fields, &[])?,
            _ => return inner.wrong(key, "expected an object"),
        };
        read.insert(key.clone(), Value::Object(value));
    }
    Ok(Value::Object(read))
}

fn check_count(from: Fields<'_>, name: &str, count: usize) -> Result<(), DecodeError> {
    if count > ITEMS_MAX {
        return from.wrong(name, format_args!("{count} are too many, expected at most {ITEMS_MAX}"));
    }
    Ok(())
}
