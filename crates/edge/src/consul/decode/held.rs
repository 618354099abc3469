//! How the JSON that [`Fields`](super::Fields) reads is held: as a tree of its own, or as one that leaves its texts in the body.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// An object. Its fields are in the order of their names, each name once.
pub(in crate::consul) trait Object {
    /// What its fields hold.
    type Held: Held<Object = Self>;

    fn fields(&self) -> impl Iterator<Item = (&str, &Self::Held)>;
}

/// A value, as it is held.
pub(in crate::consul) trait Held: Sized {
    type Object: Object<Held = Self>;

    fn view(&self) -> View<'_, Self>;

    fn is_null(&self) -> bool {
        matches!(self.view(), View::Null)
    }
}

/// What a value is.
pub(in crate::consul) enum View<'a, H: Held> {
    Null,
    Bool(bool),
    Number(&'a Number),
    Text(&'a str),
    Array(&'a [H]),
    Object(&'a H::Object),
}

impl<H: Held> View<'_, H> {
    /// For messages about one that was not expected.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

impl Object for Map<String, Value> {
    type Held = Value;

    fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Held for Value {
    type Object = Map<String, Value>;

    fn view(&self) -> View<'_, Self> {
        match self {
            Self::Null => View::Null,
            Self::Bool(flag) => View::Bool(*flag),
            Self::Number(number) => View::Number(number),
            Self::String(text) => View::Text(text),
            Self::Array(items) => View::Array(items),
            Self::Object(map) => View::Object(map),
        }
    }
}

/// A value within a body. Texts without escapes are not copied out of it.
pub(in crate::consul) enum Part<'b> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'b, str>),
    Array(Vec<Part<'b>>),
    Object(Parts<'b>),
}

/// An object within a body.
pub(in crate::consul) struct Parts<'b>(Vec<(Cow<'b, str>, Part<'b>)>);

impl<'b> Object for Parts<'b> {
    type Held = Part<'b>;

    fn fields(&self) -> impl Iterator<Item = (&str, &Part<'b>)> {
        self.0.iter().map(|(name, part)| (&**name, part))
    }
}

impl<'b> Held for Part<'b> {
    type Object = Parts<'b>;

    fn view(&self) -> View<'_, Self> {
        match self {
            Self::Null => View::Null,
            Self::Bool(flag) => View::Bool(*flag),
            Self::Number(number) => View::Number(number),
            Self::Text(text) => View::Text(text),
            Self::Array(items) => View::Array(items),
            Self::Object(parts) => View::Object(parts),
        }
    }
}

impl<'b> Deserialize<'b> for Part<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor)
    }
}

struct PartVisitor;

impl<'b> Visitor<'b> for PartVisitor {
    type Value = Part<'b>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<Part<'b>, E> {
        Ok(Part::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Part<'b>, E> {
        Ok(Part::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Part<'b>, E> {
        Ok(Part::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Part<'b>, E> {
        Ok(Part::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Part<'b>, E> {
        Ok(Number::from_f64(number).map_or(Part::Null, Part::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'b str) -> Result<Part<'b>, E> {
        Ok(Part::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Part<'b>, E> {
        Ok(Part::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut items: A) -> Result<Part<'b>, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Part::Array(array))
    }

    fn visit_map<A: MapAccess<'b>>(self, mut fields: A) -> Result<Part<'b>, A::Error> {
        let mut parts = Vec::new();
        while let Some((Name(name), part)) = fields.next_entry()? {
            // An empty object, of which a body may have very many, takes nothing.
            if parts.is_empty() {
                parts.reserve_exact(FIELDS);
            }
            parts.push((name, part));
        }
        // Of several with one name the last counts.
        parts.sort_by(|a: &(Cow<'_, str>, Part<'_>), b| a.0.cmp(&b.0));
        parts.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Ok(Part::Object(Parts(parts)))
    }
}

/// Most objects have fewer fields.
const FIELDS: usize = 8;

/// The name of a field.
struct Name<'b>(Cow<'b, str>);

impl<'b> Deserialize<'b> for Name<'b> {
    fn deserialize<D: Deserializer<'b>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'b> Visitor<'b> for NameVisitor {
    type Value = Name<'b>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string key")
    }

    fn visit_borrowed_str<E>(self, text: &'b str) -> Result<Name<'b>, E> {
        Ok(Name(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Name<'b>, E> {
        Ok(Name(Cow::Owned(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(part: &Part<'_>) -> Value {
        match part.view() {
            View::Null => Value::Null,
            View::Bool(flag) => Value::Bool(flag),
            View::Number(number) => Value::Number(number.clone()),
            View::Text(text) => Value::String(text.to_owned()),
            View::Array(items) => Value::Array(items.iter().map(whole).collect()),
            View::Object(parts) => {
                let fields = parts.fields().map(|(name, part)| (name.to_owned(), whole(part)));
                let names: Vec<_> = parts.fields().map(|(name, _)| name).collect();
                assert!(names.is_sorted_by(|a, b| a < b), "in order, each once: {names:?}");
                Value::Object(fields.collect())
            }
        }
    }

    fn alike(text: &str) {
        match (serde_json::from_str::<Value>(text), serde_json::from_str::<Part<'_>>(text)) {
            (Ok(value), Ok(part)) => assert_eq!(whole(&part), value, "{text}"),
            (Err(error), Err(other)) => assert_eq!(other.to_string(), error.to_string(), "{text}"),
            (value, part) => panic!("{text}: {value:?}, but {:?}", part.map(|part| whole(&part))),
        }
    }

    #[test]
    fn both_ways_to_hold_a_body_say_the_same() {
        for text in [
            r#"{"b":1,"a":{"x":[null,true,-2,1.5,1e300,"t\n\u00e9"]},"b":2,"\u0061a":"","B":3}"#,
            "{}",
            "[]",
            " null ",
            "{\"a\": }",
            "{\"a\":1} x",
            "{\"a\":\"\\ud800\"}",
            "{1:2}",
            "1e999",
            "18446744073709551615",
            "-9223372036854775809",
        ] {
            alike(text);
        }
        alike(&format!("{}{}", "[".repeat(200), "]".repeat(200)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_in_the_same_way(
            text in r#"[\[\]{}",:a-cA-C0-9.eE+\- \\n]{0,40}"#,
            names in prop::collection::vec("[a-cA-C_]{0,2}", 0..12),
        ) {
            alike(&text);
            let fields: Vec<_> = names.iter().enumerate().map(|(n, name)| format!("\"{name}\":{n}")).collect();
            alike(&format!("{{{}}}", fields.join(",")));
        }
    }
}
