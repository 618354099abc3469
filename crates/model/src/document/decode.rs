//! Turns a tree into typed values: a serde deserializer that knows where it is.
//!
//! It is stricter than serde's derived code alone: unknown fields are faults, all faults are collected, not just the first
//! (see `left_out`), nothing is coerced (a quoted `"80"` is no number), and each fault says path, line, what was expected and
//! what was found. An explicit null counts as an absent field, as in Kubernetes.

mod fault;
mod left_out;

use std::cell::{Cell, RefCell};

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::ERRORS_MAX;
use super::node::{Entry, Node, Value, push_index, push_key, shortened};
use super::ranges::{self, Range, Ranges};
use crate::units::{NotASpan, Span};
pub(super) use fault::{Fault, one_of, unknown_field};
use left_out::LeftOut;

/// Decodes the node that stands at `path`. Gives all faults, as they come in the text, and at most [`ERRORS_MAX`].
pub(super) fn decode<'de, T: serde::Deserialize<'de>>(node: &'de Node, path: &str) -> Result<T, Vec<Fault>> {
    let context = Context {
        path: RefCell::new(path.to_owned()),
        faults: RefCell::default(),
        left_out: LeftOut::default(),
        spec: Cell::new(None),
    };
    for _ in 0..left_out::passes(node) {
        match T::deserialize(Decoder { node, context: &context }) {
            Ok(value) if context.faults.borrow().is_empty() => return Ok(value),
            Ok(_) => break,
            Err(fault) => {
                let goes_on = context.left_out.add(&fault, path.len());
                if !context.left_out.explains(&fault) {
                    context.note(fault);
                }
                if !goes_on {
                    break;
                }
            }
        }
    }
    let mut faults = context.faults.into_inner();
    faults.sort_by_key(|fault| fault.place.map_or((0, 0), |place| (place.line, place.column)));
    Err(faults)
}

/// What all decoders of one document share.
struct Context {
    /// Where the decoder stands.
    path: RefCell<String>,
    /// The faults that were found.
    faults: RefCell<Vec<Fault>>,
    /// What could not be read, and is not read again.
    left_out: LeftOut,
    /// The spec that the decoder is in, if any: what its numbers may be, and how long its own path is.
    spec: Cell<Option<(Ranges, usize)>>,
}

impl Context {
    /// Takes a fault in, which may have been found before.
    fn note(&self, fault: Fault) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < ERRORS_MAX && !faults.contains(&fault) {
            faults.push(fault);
        }
    }

    /// Whether what is one step further down is left out.
    fn leaves_out(&self, push: impl FnOnce(&mut String)) -> bool {
        !self.left_out.is_empty() && self.within(push, || self.left_out.has(&self.path.borrow()))
    }

    /// Runs `inner` one step further down.
    fn within<T>(&self, push: impl FnOnce(&mut String), inner: impl FnOnce() -> T) -> T {
        let length = self.path.borrow().len();
        push(&mut self.path.borrow_mut());
        let result = inner();
        self.path.borrow_mut().truncate(length);
        result
    }

    /// Runs `inner` within a map of fields; a spec is known by the type that it is read into.
    fn within_map<T>(&self, name: &str, inner: impl FnOnce() -> T) -> T {
        let Some(ranges) = ranges::of(name) else { return inner() };
        let outer = self.spec.replace(Some((ranges, self.path.borrow().len())));
        let result = inner();
        self.spec.set(outer);
        result
    }

    /// What the value at the path may be, if that is less than its type can hold.
    fn range(&self) -> Option<Range> {
        let (ranges, length) = self.spec.get()?;
        let path = self.path.borrow();
        ranges(path.get(length..)?.trim_start_matches('.'))
    }
}

/// Floating-point numbers below this, 2^53, are as whole as they look.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

#[derive(Clone, Copy)]
struct Decoder<'de, 'c> {
    node: &'de Node,
    context: &'c Context,
}

impl<'de> Decoder<'de, '_> {
    /// Gives a fault its place, if it has none yet: the innermost decoder that sees it knows best.
    fn placed<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|mut fault| {
            if fault.place.is_none() {
                fault.place = Some(self.node.place);
                fault.path.clone_from(&self.context.path.borrow());
            }
            fault
        })
    }

    fn mismatch(&self, expected: &str) -> Fault {
        let mut message = format!("{} where {expected} was expected", self.node.value);
        if expected.contains("string")
            && matches!(self.node.value, Value::Bool(_) | Value::Int(_) | Value::Float(_))
        {
            message.push_str(" (put it in quotes)");
        }
        if expected.contains("integer")
            && matches!(self.node.value, Value::Float(number) if number.fract() == 0.0 && number.abs() < WHOLE_MAX)
        {
            message.push_str(" (without a point or an exponent)");
        }
        Fault { message, ..Fault::default() }
    }

    fn integer<T: TryFrom<i128>>(&self, min: i128, max: i128) -> Result<T, Fault> {
        let number = match self.node.value {
            Value::Int(number) => T::try_from(number).ok(),
            _ => None,
        };
        number.ok_or_else(|| self.not_in_range(|| format!("an integer from {min} to {max}")))
    }

    /// A mismatch with the range that counts; where there is none, with what the type can hold.
    fn not_in_range(&self, otherwise: impl FnOnce() -> String) -> Fault {
        self.mismatch(&self.context.range().map_or_else(otherwise, |range| range.to_string()))
    }

    /// Says of what is no value with a unit, or none that can be meant, what it may be.
    fn with_unit<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| match (self.context.range(), &self.node.value) {
            (Some(Range::Span(range)), Value::String(text)) => match text.parse::<Span>() {
                Err(NotASpan::TooLong(_)) => {
                    let (least, most) = (Span(*range.start()), Span(*range.end()));
                    let message = format!("`{}` is longer than {most}", shortened(text));
                    Fault { message, expected: Some(format!("{least} to {most}")), ..fault }
                }
                _ => fault,
            },
            (Some(range @ (Range::Span(_) | Range::Size(_))), _) => self.mismatch(&range.to_string()),
            _ => fault,
        })
    }

    /// A map of several fields where one of them says which variant it is.
    fn several(&self, variants: &[&str]) -> Option<Fault> {
        let Value::Map(entries) = &self.node.value else { return None };
        let (first, second) = (entries.first()?, entries.get(1)?);
        let more = if entries.len() > 2 { " and more" } else { "" };
        let (first, second) = (shortened(&first.key), shortened(&second.key));
        let message =
            format!("`{first}` and `{second}`{more} together, where {} was expected", one_of(variants));
        Some(Fault { message, ..Fault::default() })
    }

    /// A variant with data: a map of its name to them.
    fn variant<V: Visitor<'de>>(
        self,
        entry: &'de Entry,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if !variants.contains(&entry.key.as_str()) {
            let fault = <Fault as de::Error>::unknown_variant(&entry.key, variants);
            let path =
                self.context.within(|p| push_key(p, &entry.key), || self.context.path.borrow().clone());
            return Err(Fault { place: Some(entry.place), path, ..fault });
        }
        self.placed(visitor.visit_enum(Variant { entry, context: self.context }))
    }

    fn list<V: Visitor<'de>>(self, items: &'de [Node], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Items { items, index: 0, context: self.context })
    }

    fn map<V: Visitor<'de>>(self, entries: &'de [Entry], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Entries {
            entries,
            index: 0,
            value: None,
            context: self.context,
            skips_null: false,
        })
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let number = self.integer::<$type>(<$type>::MIN as i128, <$type>::MAX as i128);
            self.placed(number.and_then(|number| visitor.$visit(number)))
        }
    )*};
}

impl<'de> Deserializer<'de> for Decoder<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (_, Ok(value)) => visitor.visit_u64(value),
                _ => visitor.visit_i128(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(value) => visitor.visit_borrowed_str(value),
            Value::List(items) => self.list(items, visitor),
            Value::Map(entries) => self.map(entries, visitor),
        };
        self.placed(self.with_unit(result))
    }

    integers! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.placed(match self.node.value {
            Value::Int(value) => visitor.visit_f64(value as f64),
            Value::Float(value) if value.is_finite() => visitor.visit_f64(value),
            Value::Float(_) => Err(self.not_in_range(|| "a finite number".to_owned())),
            _ => Err(self.not_in_range(|| "a number".to_owned())),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.placed(match &self.node.value {
            Value::List(items) => self.list(items, visitor),
            _ => Err(self.mismatch("a list")),
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.placed(match &self.node.value {
            Value::Map(entries) => self.map(entries, visitor),
            _ => Err(self.mismatch("a map")),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Value::Map(entries) = &self.node.value else {
            return self.placed(Err(self.mismatch("a map of fields")));
        };
        let unknown = entries.iter().filter(|entry| !fields.contains(&entry.key.as_str()));
        for entry in unknown.take(ERRORS_MAX) {
            let fault = unknown_field(entry, fields);
            let path =
                self.context.within(|p| push_key(p, &entry.key), || self.context.path.borrow().clone());
            self.context.note(Fault { path, ..fault });
        }
        let entries = Entries { entries, index: 0, value: None, context: self.context, skips_null: true };
        self.context.within_map(name, || self.placed(visitor.visit_map(entries)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Value::Map(entries) = &self.node.value
            && let [entry] = entries.as_slice()
        {
            return self.variant(entry, variants, visitor);
        }
        self.placed(match self.node.text() {
            Some(text) if variants.contains(&text) => visitor.visit_enum(Bare(text)),
            Some(text) => Err(de::Error::unknown_variant(text, variants)),
            None => Err(self.several(variants).unwrap_or_else(|| self.mismatch(&one_of(variants)))),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Items<'de, 'c> {
    items: &'de [Node],
    index: usize,
    context: &'c Context,
}

impl<'de> de::SeqAccess<'de> for Items<'de, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        while self.context.leaves_out(|path| push_index(path, self.index)) {
            self.index += 1;
        }
        let Some(node) = self.items.get(self.index) else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        let decoder = Decoder { node, context: self.context };
        self.context
            .within(|path| push_index(path, index), || decoder.placed(seed.deserialize(decoder)))
            .map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len().saturating_sub(self.index))
    }
}

struct Entries<'de, 'c> {
    entries: &'de [Entry],
    index: usize,
    value: Option<&'de Entry>,
    context: &'c Context,
    skips_null: bool,
}

impl<'de> de::MapAccess<'de> for Entries<'de, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        while let Some(entry) = self.entries.get(self.index) {
            self.index += 1;
            let is_absent = self.skips_null && entry.node.value == Value::Null;
            if is_absent || self.context.leaves_out(|path| push_key(path, &entry.key)) {
                continue;
            }
            self.value = Some(entry);
            let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self.value.take().ok_or_else(|| <Fault as de::Error>::custom("a value without a key"))?;
        let decoder = Decoder { node: &entry.node, context: self.context };
        self.context.within(|path| push_key(path, &entry.key), || decoder.placed(seed.deserialize(decoder)))
    }
}

/// A variant's name alone.
struct Bare<'de>(&'de str);

impl Bare<'_> {
    fn too_little<T>(&self) -> Result<T, Fault> {
        let message = format!("`{}` alone says too little", self.0);
        Err(Fault { message, expected: Some(format!("`{}: ...`", self.0)), ..Fault::default() })
    }
}

impl<'de> de::EnumAccess<'de> for Bare<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Bare<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Fault> {
        self.too_little()
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        self.too_little()
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Fault> {
        self.too_little()
    }
}

/// A variant with data.
struct Variant<'de, 'c> {
    entry: &'de Entry,
    context: &'c Context,
}

impl<'de, 'c> Variant<'de, 'c> {
    /// Runs `read` with the decoder of the data, at their path.
    fn data<T>(&self, read: impl FnOnce(Decoder<'de, 'c>) -> Result<T, Fault>) -> Result<T, Fault> {
        let decoder = Decoder { node: &self.entry.node, context: self.context };
        self.context.within(|path| push_key(path, &self.entry.key), || decoder.placed(read(decoder)))
    }
}

impl<'de> de::EnumAccess<'de> for Variant<'de, '_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.entry.key.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'de, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        self.data(|decoder| match decoder.node.is_void() {
            true => Ok(()),
            false => Err(decoder.mismatch("nothing")),
        })
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        self.data(|decoder| seed.deserialize(decoder))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.data(|decoder| decoder.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.data(|decoder| decoder.deserialize_struct("", fields, visitor))
    }
}
