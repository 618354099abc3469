//! Writes JSON values as YAML that reads back as the same values.
//!
//! Block style, two blanks a level. Text is left bare only where no YAML reader, of version 1.1 or 1.2, could take it
//! for anything else; everything else is quoted as JSON quotes it, which YAML reads alike.

use serde_json::Value;

/// A list of documents is separated by `---`; any other value is one document.
pub(crate) fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(items) if !items.is_empty() && items.iter().all(is_document) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str("---\n");
                }
                block(&mut out, item, 0);
            }
        }
        other => block(&mut out, other, 0),
    }
    out
}

fn is_document(value: &Value) -> bool {
    value.get("kind").is_some() && value.get("metadata").is_some()
}

/// Writes a value that begins on a line of its own.
fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                indent(out, depth);
                entry(out, key, value, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(out, depth);
                element(out, item, depth);
            }
        }
        other => {
            indent(out, depth);
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

/// Writes `key: value`, where the indentation stands already.
fn entry(out: &mut String, key: &str, value: &Value, depth: usize) {
    out.push_str(&text(key));
    out.push(':');
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(out, value, depth + 1);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, depth);
        }
        other => {
            out.push(' ');
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

/// Writes `- value`, where the indentation stands already; the first key of a map follows the dash.
fn element(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index == 0 {
                    out.push_str("- ");
                } else {
                    indent(out, depth + 1);
                }
                entry(out, key, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            out.push_str("-\n");
            block(out, value, depth + 1);
        }
        other => {
            out.push_str("- ");
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(value) => text(value),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// Bare where that is safe, else quoted.
fn text(value: &str) -> String {
    if is_plain(value) { value.to_owned() } else { Value::String(value.to_owned()).to_string() }
}

/// Whether bare text reads back as itself: it begins with a letter or `/`, holds nothing that YAML gives a meaning,
/// and is no word that YAML 1.1 or 1.2 takes for a boolean, null or number.
fn is_plain(value: &str) -> bool {
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && !value.ends_with(':')
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:".contains(c))
        && !words.contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_looks_as_people_write_it() {
        let value = json!({
            "kind": "HTTPRoute",
            "metadata": {"name": "shop"},
            "spec": {"hostnames": [], "rules": [{"matches": [{"path": {"value": "/"}}], "weight": 3}, {"a": [[1, 2]]}]}
        });
        let expected = "\
kind: HTTPRoute
metadata:
  name: shop
spec:
  hostnames: []
  rules:
  - matches:
    - path:
        value: /
    weight: 3
  - a:
    -
      - 1
      - 2
";
        assert_eq!(to_string(&value), expected);
    }

    #[test]
    fn text_that_could_be_something_else_is_quoted() {
        let check = |value: &str, written: &str| assert_eq!(text(value), written);
        check("cart", "cart");
        check("/a:b", "/a:b");
        check("yes", "\"yes\"");
        check("12", "\"12\"");
        check("", "\"\"");
        check("*.example", "\"*.example\"");
        check("a: b", "\"a: b\"");
        check("a:", "\"a:\"");
        check("line\nline", "\"line\\nline\"");
    }

    #[test]
    fn documents_are_separated() {
        let document = json!({"kind": "Service", "metadata": {"name": "a"}});
        assert_eq!(to_string(&json!([document, document])).matches("---\n").count(), 1);
    }
}
