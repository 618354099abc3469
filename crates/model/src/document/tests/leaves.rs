//! Finds the numbers, durations and sizes that documents can have: by reading every field of a type from something that has
//! whatever is asked for.

use std::cell::RefCell;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// What a value is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    Integer,
    Number,
    Span,
    Size,
}

/// The values of a type that are no plain text or truth, by path; lists have one element.
pub(super) fn of<T: de::DeserializeOwned>() -> Vec<(String, Leaf)> {
    let found = RefCell::default();
    let everything = Everything { path: "spec".to_owned(), found: &found };
    let read = T::deserialize(everything);
    assert!(read.is_ok(), "{:?}", read.err());
    found.into_inner()
}

struct Everything<'a> {
    path: String,
    found: &'a RefCell<Vec<(String, Leaf)>>,
}

impl Everything<'_> {
    fn note(&self, leaf: Leaf) {
        self.found.borrow_mut().push((self.path.clone(), leaf));
    }
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.note(Leaf::Integer);
            visitor.visit_u8(1)
        }
    )*};
}

impl<'de> Deserializer<'de> for Everything<'_> {
    type Error = Error;

    integers! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
    }

    /// Sizes, which can be written as text or as numbers.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Leaf::Size);
        visitor.visit_u64(1)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Leaf::Number);
        visitor.visit_f64(0.5)
    }

    /// Durations: other text is asked for as a `String`.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Leaf::Span);
        visitor.visit_str("1s")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str("x")
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(true)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(One(Some(Everything { path: format!("{}[0]", self.path), ..self })))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { fields: [].iter(), next: "", within: self })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { fields: fields.iter(), next: "", within: self })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name: StrDeserializer<'_, Error> = variants[0].into_deserializer();
        visitor.visit_enum(name)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct One<'a>(Option<Everything<'a>>);

impl<'de> de::SeqAccess<'de> for One<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|element| seed.deserialize(element)).transpose()
    }
}

struct Fields<'a> {
    fields: std::slice::Iter<'static, &'static str>,
    next: &'static str,
    within: Everything<'a>,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(field) = self.fields.next() else { return Ok(None) };
        self.next = field;
        let name: StrDeserializer<'_, Error> = self.next.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let path = format!("{}.{}", self.within.path, self.next);
        seed.deserialize(Everything { path, found: self.within.found })
    }
}
