//! The conditions of a match besides host and path: method, header fields, query parameters, and that it is gRPC.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::pattern::Pattern;
use super::view::RequestView;

/// What a match demands besides its path. All of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Only requests of gRPC.
    pub grpc: bool,
    /// Also a browser's question whether it may send a request that meets them: the rule answers it.
    pub preflights: bool,
    /// The method, if it matters.
    pub method: Option<Box<str>>,
    /// Header fields by lower-case name, each name once.
    pub headers: Box<[(Box<str>, ValueTest)]>,
    /// Query parameters by name, each name once.
    pub params: Box<[(Box<str>, ValueTest)]>,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueTest {
    /// Exactly this.
    Exact(Box<str>),
    /// All of it matches an expression.
    Regex(Arc<Pattern>),
}

impl ValueTest {
    /// The text that is compared with.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(value) => value,
            Self::Regex(pattern) => pattern.text(),
        }
    }
}

impl fmt::Display for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(value) => write!(f, "`{value}`"),
            Self::Regex(pattern) => write!(f, "matching `{}`", pattern.text()),
        }
    }
}

/// The first condition that a request does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The path does not match the expression.
    Path,
    /// It is no request of gRPC.
    Grpc,
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
        let asked_for = if self.preflights { preflight_method(request) } else { None };
        if self.grpc && asked_for.is_none() && !is_grpc(request) {
            return Err(Unmet::Grpc);
        }
        if let Some(method) = &self.method
            && method.as_bytes() != request.method()
            && asked_for != Some(method.as_bytes())
        {
            return Err(Unmet::Method);
        }
        for (index, (name, test)) in self.headers.iter().enumerate() {
            if !has_header(request, name.as_bytes(), test) {
                return Err(Unmet::Header(index));
            }
        }
        for (index, (name, test)) in self.params.iter().enumerate() {
            if !has_param(request.query(), name.as_bytes(), test) {
                return Err(Unmet::Param(index));
            }
        }
        Ok(())
    }
}

/// The method that a browser asks about before it sends a request, if this is such a question (Fetch standard, "CORS-preflight
/// request").
pub(crate) fn preflight_method(request: &impl RequestView) -> Option<&[u8]> {
    if request.method() != b"OPTIONS" || request.header(b"origin").is_none() {
        return None;
    }
    request.header(b"access-control-request-method")
}

/// Whether a request is one of gRPC (or gRPC-Web): by its content type, as the protocol says.
pub(crate) fn is_grpc(request: &impl RequestView) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    request.header(b"content-type").is_some_and(|value| {
        value.get(..TYPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(TYPE))
            && matches!(value.get(TYPE.len()), None | Some(b'+' | b';' | b'-' | b' '))
    })
}

/// Whether a field's value passes. Fields of the same name count as one, their values joined by commas (RFC 9110 section
/// 5.3); `Cookie`, which is no list, by semicolons.
fn has_header(request: &impl RequestView, name: &[u8], test: &ValueTest) -> bool {
    let mut values = request.values(name);
    let Some(first) = values.next() else { return false };
    let Some(second) = values.next() else {
        return match test {
            ValueTest::Exact(wanted) => wanted.as_bytes() == first,
            ValueTest::Regex(pattern) => pattern.matches(first),
        };
    };
    // Rare, so that it may cost memory.
    let separator: &[u8] = if name == b"cookie" { b"; " } else { b", " };
    let mut joined = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        joined.extend_from_slice(separator);
        joined.extend_from_slice(value);
    }
    match test {
        ValueTest::Exact(wanted) => is_same_list(wanted.as_bytes(), &joined),
        ValueTest::Regex(pattern) => pattern.matches(&joined),
    }
}

/// Compares two lists, whatever white space is after their commas.
fn is_same_list(a: &[u8], b: &[u8]) -> bool {
    let parts = |list| <[u8]>::split(list, |&byte| byte == b',').map(<[u8]>::trim_ascii);
    parts(a).eq(parts(b))
}

/// Whether the first parameter of a name passes, compared after decoding. As the Gateway API recommends, later
/// parameters of the same name do not count.
fn has_param(query: Option<&[u8]>, name: &[u8], test: &ValueTest) -> bool {
    first_param(query, name).is_some_and(|value| match test {
        ValueTest::Exact(wanted) => decodes_to(value, wanted.as_bytes()),
        ValueTest::Regex(pattern) => pattern.matches(&decoded(value)),
    })
}

/// The first parameter of a name, as it is written.
fn first_param<'a>(query: Option<&'a [u8]>, name: &[u8]) -> Option<&'a [u8]> {
    query?.split(|&byte| byte == b'&').find_map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        decodes_to(&pair[..equals], name).then(|| pair.get(equals + 1..).unwrap_or_default())
    })
}

/// The value of the first parameter of a name, decoded.
pub(crate) fn query_value<'a>(query: Option<&'a [u8]>, name: &[u8]) -> Option<Cow<'a, [u8]>> {
    first_param(query, name).map(decoded)
}

/// The bytes that query text stands for: `%41` is `A` and `+` is a space (`application/x-www-form-urlencoded`). A `%`
/// without two hex digits stands for itself.
struct Decoder<'a>(&'a [u8]);

impl Iterator for Decoder<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (decoded, used) = match self.0 {
            [] => return None,
            [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [b'+', ..] => (b' ', 1),
            [byte, ..] => (*byte, 1),
        };
        self.0 = &self.0[used..];
        Some(decoded)
    }
}

/// Compares query text to plain text while decoding it.
fn decodes_to(encoded: &[u8], plain: &[u8]) -> bool {
    Decoder(encoded).eq(plain.iter().copied())
}

/// Decodes query text; costs memory only where there is something to decode.
fn decoded(encoded: &[u8]) -> Cow<'_, [u8]> {
    if encoded.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        Decoder(encoded).collect()
    } else {
        encoded.into()
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
    use super::super::tests::TestRequest;
    use super::*;

    fn exact(text: &str) -> ValueTest {
        ValueTest::Exact(text.into())
    }

    fn matching(text: &str) -> ValueTest {
        ValueTest::Regex(Arc::new(Pattern::new(text).unwrap()))
    }

    #[test]
    fn query_parameters() {
        let check = |query: &str, name: &str, value: &str, expected: bool| {
            let found = has_param(Some(query.as_bytes()), name.as_bytes(), &exact(value));
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

    #[test]
    fn query_parameters_by_expression() {
        let check = |query: &str, pattern: &str, expected: bool| {
            assert_eq!(has_param(Some(query.as_bytes()), b"a", &matching(pattern)), expected, "{query}");
        };
        check("a=12", "[0-9]+", true);
        check("a=12x", "[0-9]+", false);
        check("a=%31+%32", "[0-9] [0-9]", true);
        check("a=x&a=1", "[0-9]+", false);
        check("a", "", true);
        check("b=1", ".*", false);
    }

    #[test]
    fn header_fields() {
        let check = |headers: &[(&str, &str)], test: &ValueTest, expected: bool| {
            let request = TestRequest::new("GET h/", headers);
            assert_eq!(has_header(&request, b"x-a", test), expected, "{headers:?} {test}");
        };
        check(&[("X-A", "1")], &exact("1"), true);
        check(&[("x-a", "1 ")], &exact("1"), false);
        check(&[("x-b", "1")], &exact("1"), false);
        check(&[("x-a", "v10")], &matching("v[0-9]+"), true);
        check(&[("x-a", "v10")], &matching("v[0-9]"), false);
        // Repeated fields count as one.
        check(&[("x-a", "1"), ("X-a", "2")], &exact("1,2"), true);
        check(&[("x-a", "1"), ("X-a", "2")], &exact("1, 2"), true);
        check(&[("x-a", "1"), ("x-a", "2")], &exact("1"), false);
        check(&[("x-a", "1"), ("x-a", "2")], &exact("2, 1"), false);
        check(&[("x-a", "1"), ("x-a", "2")], &matching(".*\\b2\\b.*"), true);
    }

    #[test]
    fn cookies_are_no_list() {
        let request = TestRequest::new("GET h/", &[("cookie", "a=1"), ("cookie", "b=2")]);
        assert!(has_header(&request, b"cookie", &exact("a=1; b=2")));
        assert!(has_header(&request, b"cookie", &matching("(.*; )?b=2(;.*)?")));
    }

    #[test]
    fn preflights_stand_for_what_they_ask_about() {
        let preflight = |method: &str| {
            let fields = [("origin", "https://a"), ("access-control-request-method", method)];
            TestRequest::new("OPTIONS h/a.B/C", &fields)
        };
        let put = Conditions { method: Some("PUT".into()), ..Conditions::default() };
        let answered = Conditions { preflights: true, ..put.clone() };
        assert_eq!(answered.check(&preflight("PUT")), Ok(()));
        assert_eq!(answered.check(&preflight("GET")), Err(Unmet::Method));
        assert_eq!(put.check(&preflight("PUT")), Err(Unmet::Method));
        let grpc = Conditions { grpc: true, ..Conditions::default() };
        assert_eq!(grpc.check(&preflight("POST")), Err(Unmet::Grpc));
        assert_eq!(Conditions { preflights: true, ..grpc }.check(&preflight("POST")), Ok(()));
    }

    #[test]
    fn grpc_by_content_type() {
        let check = |value: &str, expected: bool| {
            assert_eq!(
                is_grpc(&TestRequest::new("POST h/a/b", &[("content-type", value)])),
                expected,
                "{value}"
            );
        };
        check("application/grpc", true);
        check("Application/gRPC+proto", true);
        check("application/grpc;a=b", true);
        check("application/grpc-web+proto", true);
        check("application/grpcx", false);
        check("application/json", false);
        assert!(!is_grpc(&TestRequest::new("POST h/a/b", &[])));
    }
}
