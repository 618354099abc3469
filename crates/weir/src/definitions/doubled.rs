//! Keys that stand twice in one object. JSON does not say which of the two counts, and what is defined by the other would be lost
//! without a word.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::exit::{Exit, Failure};

/// What a message is led by that says where a key stands twice; all others are the parser's.
const MARK: &str = "doubled key: ";
/// Objects whose keys are names that people choose: they differ where their letters do.
const FREE: [&str; 5] = ["header", "meta", "node_meta", "service_ttl", "tagged_addresses"];
/// Keys beside which their plural stands, for several.
const PLURALS: [(&str, &str); 2] = [("service", "services"), ("check", "checks")];

/// Refuses a text of JSON in which a key stands twice in one object. Case and underscores make no difference, but among names
/// that people choose they do.
///
/// # Errors
/// With the path of the first such key.
pub(super) fn refuse(place: &str, text: &str) -> Result<(), Failure> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let Err(error) = (Unique { path: "", is_free: false }).deserialize(&mut reader) else { return Ok(()) };
    let message = error.to_string();
    // What else is wrong is found by whoever reads the values.
    let Some(found) = message.strip_prefix(MARK) else { return Ok(()) };
    let failure = Failure::new(Exit::Invalid, format!("{place}: {found}"));
    let key = found.split(':').next().unwrap_or_default();
    let plural = PLURALS.iter().find(|(one, _)| key.eq_ignore_ascii_case(one));
    Err(match plural {
        Some((_, several)) => {
            failure.hint(format!("several stand in an array: \"{several}\": [{{...}}, {{...}}]"))
        }
        None => failure.hint("leave one of them"),
    })
}

/// Reads a value and keeps nothing of it.
#[derive(Clone, Copy)]
struct Unique<'a> {
    /// Where it stands; empty at the top.
    path: &'a str,
    /// Whether its keys are chosen by people.
    is_free: bool,
}

impl Unique<'_> {
    fn below(self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = self.below(&key);
            let same = if self.is_free { key.clone() } else { bare(&key) };
            // Remarks may be as many as one likes.
            if !key.starts_with('_')
                && let Some(before) = seen.insert(same, key.clone())
            {
                // Behind it the parser writes at which line.
                return Err(A::Error::custom(format!("{MARK}{path}: given as `{before}` before; again")));
            }
            let is_free = FREE.iter().any(|free| bare(free) == bare(&key));
            map.next_value_seed(Unique { path: &path, is_free })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut at = 0;
        // A block that a program has made of HCL stands in an array, and its keys are what they would be without.
        while items.next_element_seed(Unique { path: &format!("{}[{at}]", self.path), ..self })?.is_some() {
            at += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// What counts of a key: definitions have them in lower case with underscores, or as Consul's API does (`TaggedAddresses`).
fn bare(key: &str) -> String {
    key.replace('_', "").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_named_with_its_place() {
        for (text, says, tries) in [
            (
                r#"{"service": {}, "service": {}}"#,
                "a.json: service: given as `service` before; again at line 1",
                "\"services\": [",
            ),
            (r#"{"check": {}, "Check": {}}"#, "a.json: Check: given as `check` before", "\"checks\": ["),
            (
                r#"{"service": {"name": "a", "Name": "b"}}"#,
                "a.json: service.Name: given as `name` before",
                "leave one",
            ),
            (
                r#"{"service": {"TaggedAddresses": {}, "tagged_addresses": {}}}"#,
                "given as `TaggedAddresses`",
                "leave",
            ),
            (
                r#"{"services": [{}, {"check": {"ttl": 1, "ttl": 1}}]}"#,
                "services[1].check.ttl: given as",
                "leave",
            ),
            (r#"{"service": {"meta": {"a": "b", "a": "c"}}}"#, "service.meta.a: given as", "leave one"),
        ] {
            let failure = refuse("a.json", text).unwrap_err();
            assert_eq!(failure.exit, Exit::Invalid);
            assert!(failure.message.contains(says), "{text}: {failure}");
            assert!(failure.hint.as_ref().is_some_and(|hint| hint.contains(tries)), "{text}: {failure}");
        }
    }

    #[test]
    fn other_keys_stand_beside_each_other() {
        for text in [
            r#"{"service": {"name": "a", "check": {"name": "a"}}, "services": [{"name": "a"}, {"name": "a"}]}"#,
            r#"{"service": {"meta": {"Key": "a", "key": "b"}}, "_": 1, "_": [null, true, -1, 1.5, "x"]}"#,
            r#"{"service": [{"meta": [{"Key": "a", "key": "b"}]}]}"#,
            r#"{"service": {"check": {"Header": {"X-A": ["1"], "x-a": ["2"]}}}}"#,
            "{",
        ] {
            assert!(refuse("a.json", text).is_ok(), "{text}");
        }
    }
}
