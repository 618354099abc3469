//! Filter expressions, as in `?filter=ServiceMeta.v == "2" and not "old" in ServiceTags`.
//!
//! The language is that of Consul's documentation ("Filtering"): selectors name fields of the answer's own JSON, so an
//! expression is judged on an item as it would be written.

mod parse;
mod values;

use regex::Regex;
use serde::Serialize;
use serde_json::Value;

use super::refusal::Refusal;
use crate::http::Query;

/// Fields that are left out when empty, and maps with free keys: what is missing there is no mistake.
const MAY_BE_ABSENT: [&str; 4] = ["TaggedAddresses", "ServiceTaggedAddresses", "ContentHash", "Namespace"];
const FREE_KEYS: [&str; 5] = ["Meta", "NodeMeta", "ServiceMeta", "TaggedAddresses", "ServiceTaggedAddresses"];

/// What an expression consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Match(Match),
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Match {
    selector: Vec<String>,
    test: Test,
    /// Whether the opposite is asked for. That is judged of each item of a list by itself: `Checks.Status != passing` is true if one
    /// of the checks is not.
    negated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Equals(String),
    /// An array with this item, a map with this key, or a text with this part.
    Contains(String),
    Empty,
    /// A text in which this is found.
    Matches(Pattern),
}

/// A regular expression, equal to others of the same text.
#[derive(Clone, Debug)]
struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// A filter; takes everything when there is none.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    expr: Option<Expr>,
    /// The namespace of what is listed, where that is known.
    namespace: Option<String>,
}

impl Filter {
    /// The filter that a query asks for.
    pub(super) fn of(query: &Query) -> Result<Self, Refusal> {
        let none = Self { expr: None, namespace: None };
        let filter = query.get_filled("filter").map_or(Ok(none), Self::read)?;
        Ok(Self { namespace: query.get_filled("ns").map(str::to_owned), ..filter })
    }

    /// Reads an expression.
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        match parse::parse(text) {
            Ok(expr) => Ok(Self { expr: Some(expr), namespace: None }),
            Err(error) => Err(wrong(error)),
        }
    }

    /// Whether it looks at a part of items.
    pub(super) fn names(&self, part: &str) -> bool {
        self.expr.as_ref().is_some_and(|expr| expr.names(part))
    }

    /// Whether there is one.
    pub(super) fn is_some(&self) -> bool {
        self.expr.is_some()
    }

    /// Whether it takes an item.
    pub(super) fn takes<T: Serialize>(&self, item: &T) -> Result<bool, Refusal> {
        let Some(expr) = &self.expr else { return Ok(true) };
        let json = serde_json::to_value(item).map_err(|error| Refusal::bad(format!("filter: {error}")))?;
        expr.holds(&json, self.namespace.as_deref())
    }

    /// The items that it takes.
    pub(super) fn apply<T: Serialize>(&self, items: Vec<T>) -> Result<Vec<T>, Refusal> {
        let mut taken = Vec::with_capacity(items.len());
        for item in items {
            if self.takes(&item)? {
                taken.push(item);
            }
        }
        Ok(taken)
    }
}

impl Expr {
    fn names(&self, part: &str) -> bool {
        match self {
            Self::And(a, b) | Self::Or(a, b) => a.names(part) || b.names(part),
            Self::Not(expr) => expr.names(part),
            Self::Match(one) => one.selector.first().is_some_and(|first| first == part),
        }
    }

    fn holds(&self, item: &Value, namespace: Option<&str>) -> Result<bool, Refusal> {
        // Both sides are judged, so that a wrong selector is found whatever the other side says.
        match self {
            Self::And(a, b) => Ok(a.holds(item, namespace)? & b.holds(item, namespace)?),
            Self::Or(a, b) => Ok(a.holds(item, namespace)? | b.holds(item, namespace)?),
            Self::Not(expr) => Ok(!expr.holds(item, namespace)?),
            Self::Match(one) => one.holds(item, "", &one.selector, namespace),
        }
    }
}

impl Match {
    /// Whether it holds for what the `rest` of the selector names within a value, which `parent` names.
    fn holds(
        &self,
        value: &Value,
        parent: &str,
        rest: &[String],
        namespace: Option<&str>,
    ) -> Result<bool, Refusal> {
        let Some((name, below)) = rest.split_first() else { return self.judge(Some(value)) };
        match value {
            Value::Object(map) => match map.get(name) {
                Some(Value::Null) => self.judge(None),
                Some(found) => self.holds(found, name, below, namespace),
                None if FREE_KEYS.contains(&parent) => self.judge(None),
                None => match values::unsaid(map, parent, name, namespace) {
                    Some(empty) => self.holds(&empty, name, below, namespace),
                    None if MAY_BE_ABSENT.contains(&name.as_str()) => self.judge(None),
                    None => Err(unknown(&self.selector)),
                },
            },
            Value::Array(items) if items.iter().all(Value::is_object) => {
                let mut holds = false;
                for item in items {
                    holds |= self.holds(item, parent, rest, namespace)?;
                }
                Ok(holds)
            }
            _ => Err(unknown(&self.selector)),
        }
    }

    /// Whether it holds for a value; `None` where a free key is not there.
    fn judge(&self, found: Option<&Value>) -> Result<bool, Refusal> {
        let holds = match found {
            None => self.test == Test::Empty,
            Some(found) => self.test.holds(found).map_err(|fault| fault.of(&self.selector))?,
        };
        Ok(holds != self.negated)
    }
}

/// Why a test says nothing of a value.
enum Misfit<'a> {
    /// Values of this kind are not tested so.
    Operator(&'static str),
    /// It is compared with what is no value of its kind.
    Value(&'a str),
    /// It is no text.
    NoText,
}

impl Misfit<'_> {
    fn of(self, selector: &[String]) -> Refusal {
        let selector = selector.join(".");
        match self {
            Self::Operator(name) => {
                wrong(format_args!("Invalid match operator {name:?} for selector {selector:?}"))
            }
            Self::Value(text) => {
                wrong(format_args!("Failed to coerce value {text:?} for selector {selector:?}"))
            }
            Self::NoText => wrong(format_args!("Selector {selector:?} is no text to match")),
        }
    }
}

impl Test {
    fn holds<'a>(&'a self, found: &Value) -> Result<bool, Misfit<'a>> {
        Ok(match (self, found) {
            (Self::Equals(text), Value::String(found)) => found == text,
            (Self::Equals(text), Value::Bool(found)) => {
                values::truth(text).ok_or(Misfit::Value(text))? == *found
            }
            (Self::Equals(text), Value::Number(found)) => {
                values::is_number(found, text).ok_or(Misfit::Value(text))?
            }
            (Self::Equals(_), _) => return Err(Misfit::Operator("==")),
            (Self::Contains(text), Value::Array(items)) => {
                items.iter().any(|item| item.as_str() == Some(text))
            }
            (Self::Contains(text), Value::Object(map)) => map.contains_key(text),
            (Self::Contains(text), Value::String(found)) => found.contains(text.as_str()),
            (Self::Contains(_), _) => return Err(Misfit::Operator("contains")),
            (Self::Empty, Value::String(found)) => found.is_empty(),
            (Self::Empty, Value::Array(items)) => items.is_empty(),
            (Self::Empty, Value::Object(map)) => map.is_empty(),
            (Self::Empty, _) => return Err(Misfit::Operator("is empty")),
            (Self::Matches(pattern), Value::String(found)) => pattern.0.is_match(found),
            (Self::Matches(_), _) => return Err(Misfit::NoText),
        })
    }
}

fn unknown(selector: &[String]) -> Refusal {
    wrong(format_args!("Selector {:?} is not valid", selector.join(".")))
}

fn wrong(what: impl std::fmt::Display) -> Refusal {
    Refusal::bad(format!("Failed to create boolean expression evaluator: filter: {what}"))
}

/// What is wrong with an expression that is to be kept, and is for items such as this one; an empty one takes everything.
pub(super) fn fault(text: &str, sample: &Value) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    match parse::parse(text) {
        Ok(expr) => expr.holds(sample, None).err().map(|refusal| refusal.message),
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn takes(filter: &str) -> Result<bool, String> {
        let item = json!({
            "Node": {"Node": "n1", "Meta": {"zone": "a"}, "TaggedAddresses": null, "Datacenter": "dc1"},
            "Service": {"ID": "web-1", "Port": 80, "Tags": ["v1", "blue"], "Meta": {"a.b": "c"}, "Address": "",
                "EnableTagOverride": false, "Weights": {"Passing": 1}, "Connect": {}, "Proxy": {"MeshGateway": {}}},
            "Checks": [{"CheckID": "a", "Status": "passing"}, {"CheckID": "b", "Status": "warning"}],
        });
        let query = Query::parse("").unwrap();
        assert!(!Filter::of(&query).unwrap().is_some());
        let expr = parse::parse(filter).map_err(|error| error.to_string())?;
        expr.holds(&item, Some("team")).map_err(|refusal| refusal.message)
    }

    #[test]
    fn expressions_select_as_documented() {
        for (filter, expect) in [
            (r#"Service.ID == "web-1""#, true),
            ("Service.ID==web-1", true),
            ("Service.ID == `web-1`", true),
            (r#"Service.ID != "web-1""#, false),
            ("Service.Port == 80", true),
            ("Service.Port != 80", false),
            ("Service.Port == 0x50", true),
            ("Service.EnableTagOverride == F", true),
            ("Service.Weights.Passing == 1", true),
            ("Service.EnableTagOverride == false", true),
            (r#""v1" in Service.Tags"#, true),
            ("v2 in Service.Tags", false),
            (r#""v2" not in Service.Tags"#, true),
            ("Service.Tags contains blue", true),
            ("Service.Tags not contains blue", false),
            ("Service.ID contains web", true),
            ("zone in Node.Meta", true),
            ("Node.Meta.zone == a", true),
            ("Node.Meta.other == a", false),
            ("Node.Meta.other != a", true),
            ("Node.Meta.other is empty", true),
            (r#"Service.Meta["a.b"] == c"#, true),
            (r#"Service.ID matches "^web-[0-9]+$""#, true),
            ("Service.ID matches `b-`", true),
            ("Service.ID matches \"^b-\"", false),
            ("Service.ID not matches \"^b-\"", true),
            ("Node.Meta.other matches `.*`", false),
            ("Node.Meta.other not matches `.*`", true),
            ("Service.Address is empty", true),
            ("Service.Tags is not empty", true),
            ("Node.TaggedAddresses is empty", true),
            ("Service.Port == 0120", true),
            ("Service.Port != 18446744073709551615", true),
            // One of the checks is enough, also for what it is not.
            ("Checks.Status == warning", true),
            ("Checks.Status != passing", true),
            ("Checks.Status == critical", false),
            ("not Checks.Status == warning", false),
            ("Checks is not empty", true),
            // What does not exist here is as empty as in Consul.
            (r#"Service.Kind == "connect-proxy""#, false),
            ("Service.Kind == ``", true),
            ("Service.Proxy.DestinationServiceName is empty", true),
            ("Service.Proxy.LocalServicePort == 0", true),
            ("Service.Proxy.MeshGateway.Mode == local", false),
            ("Service.Proxy.TransparentProxy.DialedDirectly != false", false),
            ("Service.Proxy.Upstreams is empty", true),
            ("Service.Proxy.Upstreams.DestinationName == db", false),
            ("Service.Connect.Native == true", false),
            ("Node.PeerName is empty", true),
            ("Checks.PeerName is empty", true),
            ("Service.Namespace == team", true),
            ("Checks.Namespace != team", false),
            ("Service.Partition == default", true),
            ("Service.TaggedAddresses.lan.Port == 1", false),
            ("Service.Port == 80 and Node.Node == n1", true),
            ("Service.Port == 81 and Node.Node == n1", false),
            ("Service.Port == 81 or Node.Node == n1", true),
            ("not Service.Port == 81", true),
            ("not (Service.Port == 80 or Node.Node == n2)", false),
            // `and` binds more tightly than `or`.
            ("Service.Port == 80 or Node.Node == n1 and Node.Node == n2", true),
            ("(Service.Port == 80 or Node.Node == n1) and Node.Node == n2", false),
        ] {
            assert_eq!(takes(filter), Ok(expect), "{filter}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_place() {
        for (filter, part) in [
            ("Service.Nothing == 1", "Selector \"Service.Nothing\" is not valid"),
            ("Service.Port.x == 1", "is not valid"),
            ("Service.Port", "at byte 12: expected an operator"),
            ("Service.Port ==", "at byte 15: expected a value"),
            ("Service.Port = 80", "at byte 13: expected `==`"),
            ("Service.Port == 80 Node", "at byte 19: expected `and`, `or` or the end"),
            ("(Service.Port == 80", "at byte 19: expected `)`"),
            ("Service.ID == \"web", "at byte 14: the text has no end"),
            ("Service.ID matches `(`", "at byte 19: unclosed group"),
            ("Service.ID matches `a{1000}{1000}`", "at byte 19: too large"),
            ("Service.ID matches", "at byte 18: expected a value"),
            (
                "ID matches a and ID matches b and (ID matches c or ID not matches d) and ID matches e",
                "at byte 84: more than 4 regular expressions",
            ),
            ("Service.Tags matches `a`", "Selector \"Service.Tags\" is no text to match"),
            ("Service.Port matches `8`", "is no text to match"),
            ("Service.Port == abc", "Failed to coerce value \"abc\" for selector \"Service.Port\""),
            ("Service.Port != 0xg", "Failed to coerce value \"0xg\""),
            ("Service.Port == 99999999999999999999", "Failed to coerce value \"99999999999999999999\""),
            ("Service.Port == 80.5", "Failed to coerce value \"80.5\""),
            ("Service.Port == 0x-1", "Failed to coerce value \"0x-1\""),
            ("Service.Tags.x == a", "Selector \"Service.Tags.x\" is not valid"),
            ("Service.Proxy.Nothing == a", "Selector \"Service.Proxy.Nothing\" is not valid"),
            ("Node.Kind == a", "Selector \"Node.Kind\" is not valid"),
            ("Checks.Nothing == a", "Selector \"Checks.Nothing\" is not valid"),
            ("Service.EnableTagOverride == no", "Failed to coerce value \"no\""),
            ("Service.Tags == v1", "Invalid match operator \"==\" for selector \"Service.Tags\""),
            ("Service.Meta != v1", "Invalid match operator \"==\""),
            ("8 in Service.Port", "Invalid match operator \"contains\""),
            ("Service.Port is not empty", "Invalid match operator \"is empty\""),
            ("Service.ID is full", "at byte 14: expected `empty` or `not empty`"),
            ("Service.Meta[a] == b", "at byte 13: expected a text in quotes"),
            ("== 1", "at byte 0: expected a selector or a value"),
            ("a \u{e4} b", "at byte 2"),
        ] {
            let error = takes(filter).unwrap_err();
            assert!(error.contains(part), "{filter}: {error}");
        }
        assert!(takes(&"(".repeat(100_000)).unwrap_err().contains("at most"));
        assert!(takes(&format!("{}a == b", "not ".repeat(500))).unwrap_err().contains("nested"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"( |not|and|or|in|is|empty|contains|matches|\(\?|\*|[A-Za-z.]{1,4}|"a"|`|"|\[|\]|\(|\)|==|!=|é){0,20}"#) {
            let _ = takes(&text);
        }
    }
}
