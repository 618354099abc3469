//! The conditions of a match besides host and path: method, header fields, query parameters.

use super::view::RequestView;

/// What a match demands besides its path. All of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The method, if it matters.
    pub method: Option<Box<str>>,
    /// Header fields by lower-case name, each name once.
    pub headers: Box<[(Box<str>, Box<str>)]>,
    /// Query parameters by name, each name once.
    pub params: Box<[(Box<str>, Box<str>)]>,
}

/// The first condition that a request does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// Another method.
    Method,
    /// The header condition at this index.
    Header(usize),
    /// The query parameter condition at this index.
    Param(usize),
}

impl Conditions {
    /// Holds them against a request.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn check(&self, request: &impl RequestView) -> Result<(), Unmet> {
        if let Some(method) = &self.method
            && method.as_bytes() != request.method()
        {
            return Err(Unmet::Method);
        }
        for (index, (name, value)) in self.headers.iter().enumerate() {
            if request.header(name.as_bytes()) != Some(value.as_bytes()) {
                return Err(Unmet::Header(index));
            }
        }
        for (index, (name, value)) in self.params.iter().enumerate() {
            if !has_param(request.query(), name.as_bytes(), value.as_bytes()) {
                return Err(Unmet::Param(index));
            }
        }
        Ok(())
    }
}

/// Whether the first parameter of a name has the value, both compared after decoding. As the Gateway API recommends,
/// later parameters of the same name do not count.
fn has_param(query: Option<&[u8]>, name: &[u8], value: &[u8]) -> bool {
    let Some(query) = query else { return false };
    for pair in query.split(|&byte| byte == b'&') {
        let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        if decodes_to(&pair[..equals], name) {
            return decodes_to(pair.get(equals + 1..).unwrap_or_default(), value);
        }
    }
    false
}

/// Compares query text to plain text while decoding it: `%41` is `A` and `+` is a space
/// (`application/x-www-form-urlencoded`). A `%` without two hex digits stands for itself.
fn decodes_to(encoded: &[u8], plain: &[u8]) -> bool {
    let mut encoded = encoded;
    let mut plain = plain;
    loop {
        let (decoded, used) = match encoded {
            [] => return plain.is_empty(),
            [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [b'+', ..] => (b' ', 1),
            [byte, ..] => (*byte, 1),
        };
        match plain.split_first() {
            Some((&first, rest)) if first == decoded => plain = rest,
            _ => return false,
        }
        encoded = &encoded[used..];
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters() {
        let check = |query: &str, name: &str, value: &str, expected: bool| {
            let found = has_param(Some(query.as_bytes()), name.as_bytes(), value.as_bytes());
            assert_eq!(found, expected, "{name}={value} in {query}");
        };
        check("a=1&b=2", "a", "1", true);
        check("a=1&b=2", "b", "2", true);
        check("a=1&b=2", "b", "1", false);
        check("a=1&a=2", "a", "2", false);
        check("a=x%20y", "a", "x y", true);
        check("a=x+y", "a", "x y", true);
        check("%61=%31", "a", "1", true);
        check("a=100%", "a", "100%", true);
        check("a=%zz", "a", "%zz", true);
        check("a", "a", "", true);
        check("a=", "a", "", true);
        check("a=b=c", "a", "b=c", true);
        check("", "a", "", false);
        check("ab=1", "a", "1", false);
        check("a=12", "a", "1", false);
        check("a=1", "a", "12", false);
    }
}
