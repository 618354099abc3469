//! Reads JSON (RFC 8259) into a tree. Own code because the tree needs lines, and duplicate keys must be refused.

use super::node::{DEPTH_MAX, Entry, Malformed, NODES_MAX, Node, Place, Value, duplicate, shortened};

/// Reads exactly one value.
pub(super) fn read(text: &str) -> Result<Node, Malformed> {
    let mut reader = Reader { text, at: 0, line: 1, known: (0, 1), depth: 0, nodes: 0 };
    let node = reader.value()?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.fault("something follows after the end of the value"));
    }
    Ok(node)
}

struct Reader<'a> {
    text: &'a str,
    /// Offset of the next byte.
    at: usize,
    line: u32,
    /// An offset in the current line and its column: columns are counted on from here, because counting from the
    /// line's start each time would take quadratic time where all is on one line.
    known: (usize, usize),
    depth: usize,
    nodes: usize,
}

impl Reader<'_> {
    fn place(&self) -> Place {
        let column = self.known.1 + self.text[self.known.0..self.at].chars().count();
        Place { line: self.line, column: u32::try_from(column).unwrap_or(u32::MAX) }
    }

    /// As [`Self::place`], and remembers it.
    fn mark(&mut self) -> Place {
        let place = self.place();
        self.known = (self.at, place.column as usize);
        place
    }

    fn fault(&self, message: impl Into<String>) -> Malformed {
        Malformed::new(self.place(), format!("not valid JSON: {}", message.into()))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.at += 1;
            if byte == b'\n' {
                self.line += 1;
                self.known = (self.at, 1);
            }
        }
    }

    /// Takes one byte if it is next, white space aside.
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self) -> Result<Node, Malformed> {
        self.space();
        let place = self.mark();
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.fault(format!("more than {NODES_MAX} values")));
        }
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::map)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { place, value })
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Value, Malformed>) -> Result<Value, Malformed> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fault(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.at += 1;
        let value = inner(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn map(&mut self) -> Result<Value, Malformed> {
        let mut entries = Vec::new();
        if self.takes(b'}') {
            return Ok(Value::Map(entries));
        }
        loop {
            self.space();
            let place = self.mark();
            if self.peek() != Some(b'"') {
                return Err(self.fault("expected a key in double quotes"));
            }
            let key = self.string()?;
            if !self.takes(b':') {
                return Err(self.fault("expected `:` after the key"));
            }
            let node = self.value()?;
            entries.push(Entry { key, place, node });
            if self.takes(b'}') {
                break;
            }
            if !self.takes(b',') {
                return Err(self.fault("expected `,` or `}`"));
            }
        }
        if let Some(entry) = duplicate(&entries) {
            let message = format!("the key `{}` is there twice", shortened(&entry.key));
            return Err(Malformed::new(entry.place, message));
        }
        Ok(Value::Map(entries))
    }

    fn list(&mut self) -> Result<Value, Malformed> {
        let mut items = Vec::new();
        if self.takes(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.takes(b']') {
                return Ok(Value::List(items));
            }
            if !self.takes(b',') {
                return Err(self.fault("expected `,` or `]`"));
            }
        }
    }

    fn word(&mut self) -> Result<Value, Malformed> {
        let rest = &self.text[self.at..];
        let words = [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))];
        for (word, value) in words {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.fault(if rest.is_empty() { "it ends too early" } else { "expected a value" }))
    }

    fn number(&mut self) -> Result<Value, Malformed> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')))
            .unwrap_or(rest.len());
        let text = &rest[..end];
        let digits = text.strip_prefix('-').unwrap_or(text);
        let leading_zero =
            digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
        let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
        let dangling = digits.ends_with('.') || digits.contains(".e") || digits.contains(".E");
        let value = if whole == 0 || leading_zero || dangling {
            None
        } else if whole == digits.len() {
            Some(
                text.parse().map_or_else(|_| Value::Float(text.parse().unwrap_or(f64::INFINITY)), Value::Int),
            )
        } else {
            text.parse().ok().map(Value::Float)
        };
        let value = value.ok_or_else(|| self.fault(format!("`{}` is no number", shortened(text))))?;
        self.at += end;
        Ok(value)
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest
                .find(|c: char| c == '"' || c == '\\' || c < ' ')
                .ok_or_else(|| self.fault("a string does not end"))?;
            out.push_str(&rest[..end]);
            self.at += end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    let escaped = self.escape();
                    out.push(escaped.ok_or_else(|| self.fault("an unknown escape in a string"))?);
                }
                _ => return Err(self.fault("a control character or line break inside of a string")),
            }
        }
    }

    /// What an escape stands for; nothing if it is none.
    fn escape(&mut self) -> Option<char> {
        self.at += 1;
        let byte = self.peek().filter(u8::is_ascii)?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' => Some(char::from(byte)),
            b'b' => Some('\u{8}'),
            b'f' => Some('\u{c}'),
            b'n' => Some('\n'),
            b'r' => Some('\r'),
            b't' => Some('\t'),
            b'u' => {
                let unit = self.hex()?;
                if !(0xd800..0xdc00).contains(&unit) {
                    return char::from_u32(unit);
                }
                // Two halves make one character outside of the basic plane.
                if !self.text[self.at..].starts_with("\\u") {
                    return None;
                }
                self.at += 2;
                let low = self.hex().filter(|low| (0xdc00..0xe000).contains(low))?;
                char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
            }
            _ => None,
        }
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}
