//! Reads YAML 1.2 (core schema) into trees.
//!
//! Hostile text costs bounded work: nesting, values and what aliases repeat are counted while reading, so a "billion
//! laughs" is refused long before it is built.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::node::{
    DEPTH_MAX, EXPANDED_BYTES_MAX, Entry, Malformed, NODES_MAX, Node, Place, Value, duplicate,
};

/// Reads every document of a text. Documents without content are left out.
pub(super) fn read(text: &str) -> Result<Vec<Node>, Malformed> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|e| Malformed::new(place(*e.marker()), explain(e.info())))?;
        builder.take(event, place(span.start))?;
    }
    Ok(builder.documents)
}

fn place(mark: Marker) -> Place {
    let bounded = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: bounded(mark.line()), column: bounded(mark.col()).saturating_add(1) }
}

/// The parser's own words, where they help a newcomer on.
fn explain(info: &str) -> String {
    if info.contains("tab") {
        return format!("not valid YAML: {info} (indent with spaces, not with tabs)");
    }
    format!("not valid YAML: {info}")
}

/// A list or map that is being read.
struct Open {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Place)> },
}

/// Builds trees from events, without recursion.
#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    bytes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Place) -> Result<(), Malformed> {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, text.len(), at)?;
                if let Some(Open { content: Content::Map { key: key @ None, .. }, .. }) = self.open.last_mut()
                {
                    if text.is_empty() && style == ScalarStyle::Plain {
                        return Err(Malformed::new(at, "a key is missing before `:`"));
                    }
                    *key = Some((text.into_owned(), at));
                    return Ok(());
                }
                let value = scalar(text.into_owned(), style, tag.as_deref(), at)?;
                self.add(Node { place: at, value }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(anchor, tag.as_deref(), at, "seq", Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(anchor, tag.as_deref(), at, "map", Content::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
    }

    fn begin(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        at: Place,
        own_tag: &str,
        content: Content,
    ) -> Result<(), Malformed> {
        self.count(1, 0, at)?;
        if tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && tag.suffix == own_tag)) {
            return Err(unknown_tag(at));
        }
        self.refuse_as_key(at)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(at));
        }
        self.open.push(Open { place: at, anchor, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Malformed> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => {
                if let Some(entry) = duplicate(&entries) {
                    let shown = super::node::shortened(&entry.key);
                    return Err(Malformed::new(entry.place, format!("the key `{shown}` is there twice")));
                }
                Value::Map(entries)
            }
        };
        self.add(Node { place: open.place, value }, open.anchor)
    }

    /// Repeats what an anchor names.
    fn alias(&mut self, anchor: usize, at: Place) -> Result<(), Malformed> {
        self.refuse_as_key(at)?;
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Malformed::new(at, "an alias may not stand inside of what it names"));
        };
        let (nodes, bytes) = node.size();
        if self.open.len() + node.depth() > DEPTH_MAX {
            return Err(too_deep(at));
        }
        // What stands in it keeps the lines where it was written; the whole gets the alias's.
        let copy = Node { place: at, value: node.value.clone() };
        self.count(nodes, bytes, at)?;
        self.add(copy, 0)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Malformed> {
        if anchor != 0 {
            let (nodes, bytes) = node.size();
            self.count(nodes, bytes, node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => {
                self.anchors.clear();
                if node.value != Value::Null {
                    self.documents.push(node);
                }
            }
            Some(Open { content: Content::List(items), .. }) => items.push(node),
            Some(Open { content: Content::Map { entries, key }, .. }) => {
                if let Some((key, place)) = key.take() {
                    entries.push(Entry { key, place, node });
                }
            }
        }
        Ok(())
    }

    fn refuse_as_key(&self, at: Place) -> Result<(), Malformed> {
        match self.open.last() {
            Some(Open { content: Content::Map { key: None, .. }, .. }) => {
                Err(Malformed::new(at, "a key must be plain text, not a list, a map or an alias"))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, bytes: usize, at: Place) -> Result<(), Malformed> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > NODES_MAX {
            return Err(Malformed::new(at, format!("more than {NODES_MAX} values, aliases expanded")));
        }
        if self.bytes > EXPANDED_BYTES_MAX {
            return Err(Malformed::new(
                at,
                format!("more than {EXPANDED_BYTES_MAX} bytes, aliases expanded"),
            ));
        }
        Ok(())
    }
}

fn too_deep(at: Place) -> Malformed {
    Malformed::new(at, format!("nested deeper than {DEPTH_MAX} levels"))
}

fn unknown_tag(at: Place) -> Malformed {
    Malformed::new(at, "tags other than YAML's own (`!!str`, `!!int`, ...) have no meaning here")
}

/// Resolves a scalar by the core schema of YAML 1.2: only plain scalars can be anything but text.
fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>, at: Place) -> Result<Value, Malformed> {
    let Some(tag) = tag else {
        return Ok(if style == ScalarStyle::Plain { plain(text) } else { Value::String(text) });
    };
    // The non-specific tag `!` makes text of any scalar.
    if matches!((tag.handle.as_str(), tag.suffix.as_str()), ("!", "") | ("", "!")) {
        return Ok(Value::String(text));
    }
    if !tag.is_yaml_core_schema() {
        return Err(unknown_tag(at));
    }
    let shown = super::node::shortened(&text);
    let value = match tag.suffix.as_str() {
        "str" => return Ok(Value::String(text)),
        "null" | "bool" | "int" | "float" => plain(text),
        _ => return Err(unknown_tag(at)),
    };
    match (tag.suffix.as_str(), value) {
        ("null", Value::Null) => Ok(Value::Null),
        ("bool", value @ Value::Bool(_))
        | ("int", value @ Value::Int(_))
        | ("float", value @ Value::Float(_)) => Ok(value),
        ("float", Value::Int(value)) => Ok(Value::Float(value as f64)),
        (suffix, _) => Err(Malformed::new(at, format!("`{shown}` is no `!!{suffix}`"))),
    }
}

/// A plain scalar by the core schema (YAML 1.2.2, section 10.3.2). `yes`, `on` and `0777` are not what YAML 1.1 made of
/// them: the first two are text, the last is 777.
fn plain(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let (negative, unsigned) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text.as_str()),
    };
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Value::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if let Some(number) = number(unsigned, text.len() == unsigned.len()) {
        return match number {
            Value::Int(n) if negative => Value::Int(-n),
            Value::Float(n) if negative => Value::Float(-n),
            number => number,
        };
    }
    Value::String(text)
}

/// A number without its sign, or nothing if the text is none.
fn number(text: &str, unsigned: bool) -> Option<Value> {
    let radix = |digits: &str, radix| {
        let all = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        all.then(|| i128::from_str_radix(digits, radix).map_or(Value::Float(f64::INFINITY), Value::Int))
    };
    if let Some(digits) = text.strip_prefix("0o").filter(|_| unsigned) {
        return radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x").filter(|_| unsigned) {
        return radix(digits, 16);
    }
    let bytes = text.as_bytes();
    let digits_at = usize::from(*bytes.first()? == b'.');
    if !bytes.get(digits_at).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    if !bytes.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    if bytes.iter().all(u8::is_ascii_digit)
        && let Ok(number) = text.parse()
    {
        return Some(Value::Int(number));
    }
    text.parse().ok().map(Value::Float)
}
