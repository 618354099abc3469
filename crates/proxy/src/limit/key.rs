//! What a limit tells requests apart by, taken from a request.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use weir_model::resource::key::{KeyKind, KeyPart};
use weir_model::resource::rate_limit::Priority;

use crate::route::{RequestView, query_value};

/// Bytes of a value that a key has; of a longer one it has these and a hash of all.
const VALUE_BYTES_MAX: usize = 96;

/// What each value of a key ends with.
const END: u8 = 0;

/// What a key may have that is not in the request's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    /// The client's address, as text.
    pub(crate) address: &'a [u8],
    /// The service that calls, as its sidecar says; empty where nobody says.
    pub(crate) caller: &'a [u8],
    /// The rule that the request goes by.
    pub(crate) rule: &'a str,
}

/// The parts as they are compared: field names have no case.
pub(crate) fn lowered(parts: &[KeyPart]) -> Box<[KeyPart]> {
    let lowered = parts.iter().map(|part| {
        let name = part.name.as_deref().filter(|_| part.kind == KeyKind::Header);
        KeyPart { name: name.map(str::to_ascii_lowercase).or_else(|| part.name.clone()), kind: part.kind }
    });
    lowered.collect()
}

/// Appends the key of a request, of parts that were [`lowered`]: each part's value, none for what is not there, and an end
/// that no value has.
pub(super) fn write(parts: &[KeyPart], request: &impl RequestView, asker: Asker<'_>, out: &mut Vec<u8>) {
    for part in parts {
        value(find(part, request, asker).as_deref(), out);
    }
}

/// The value of a part that was [`lowered`], without space around it; none if the request has none.
pub(crate) fn find<'a>(
    part: &'a KeyPart,
    request: &'a impl RequestView,
    asker: Asker<'a>,
) -> Option<Cow<'a, [u8]>> {
    let name = part.name.as_deref().unwrap_or_default().as_bytes();
    let found = match part.kind {
        KeyKind::Header => request.header(name)?.into(),
        KeyKind::Cookie => cookie(request, name)?.into(),
        KeyKind::Query => query_value(request.query(), name)?,
        KeyKind::Path => request.path().into(),
        KeyKind::Host => folded(request.host()),
        KeyKind::Method => request.method().into(),
        KeyKind::SourceAddress => asker.address.into(),
        KeyKind::Route => asker.rule.as_bytes().into(),
        KeyKind::Caller => asker.caller.into(),
    };
    Some(match found {
        Cow::Borrowed(bytes) => bytes.trim_ascii().into(),
        Cow::Owned(bytes) => bytes.trim_ascii().to_vec().into(),
    })
}

/// A host as hosts are compared.
fn folded(host: &[u8]) -> Cow<'_, [u8]> {
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.iter().any(u8::is_ascii_uppercase) { host.to_ascii_lowercase().into() } else { host.into() }
}

/// What long values are told apart by: unlike a fixed one, nobody can look for two that are alike.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn value(found: Option<&[u8]>, out: &mut Vec<u8>) {
    let bytes = found.unwrap_or_default();
    if bytes.len() <= VALUE_BYTES_MAX && !bytes.contains(&END) {
        out.extend_from_slice(bytes);
    } else {
        out.extend(bytes.iter().take(VALUE_BYTES_MAX).filter(|byte| **byte != END));
        out.push(b'~');
        let hash = HASHER.hash_one(bytes);
        out.extend((0..16).rev().map(|digit| b"0123456789abcdef"[(hash >> (4 * digit)) as usize & 15]));
    }
    out.push(END);
}

/// A cookie's value, of the first cookie with the name (RFC 6265, section 4.2.1).
fn cookie<'a>(request: &'a impl RequestView, name: &[u8]) -> Option<&'a [u8]> {
    request
        .values(b"cookie")
        .flat_map(|line| line.split(|&byte| byte == b';'))
        .find_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
}

/// How important requests are.
#[derive(Debug)]
pub(super) struct Levels {
    header: Box<[u8]>,
    values: Box<[Box<[u8]>]>,
}

impl Levels {
    pub(super) fn new(priority: &Priority) -> Self {
        Self {
            header: priority.header.to_ascii_lowercase().into_bytes().into(),
            values: priority.levels.iter().map(|level| level.as_bytes().into()).collect(),
        }
    }

    /// A request's level, 0 the most important. What says none is of the last.
    pub(super) fn of(&self, request: &impl RequestView) -> u8 {
        let said = request.header(&self.header).map(<[u8]>::trim_ascii);
        let found =
            said.and_then(|said| self.values.iter().position(|value| value.eq_ignore_ascii_case(said)));
        u8::try_from(found.unwrap_or(self.values.len().saturating_sub(1))).unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::tests::TestRequest;

    fn part(kind: KeyKind, name: &str) -> KeyPart {
        KeyPart { kind, name: (!name.is_empty()).then(|| name.to_owned()) }
    }

    fn key(parts: &[KeyPart], request: &TestRequest) -> String {
        let mut out = Vec::new();
        write(
            &lowered(parts),
            request,
            Asker { address: b"192.0.2.7", caller: b"blue/front", rule: "HTTPRoute/shop#0" },
            &mut out,
        );
        String::from_utf8(out).unwrap().replace('\0', "|")
    }

    #[test]
    fn each_part_of_a_request() {
        use KeyKind::*;
        let request = TestRequest::new(
            "GET Shop.Example/a/b?x=1&y=a%20b&x=2",
            &[("x-user", " ada "), ("cookie", "a=1; sid=77;sid=8")],
        );
        let check = |kind, name, expected: &str| assert_eq!(key(&[part(kind, name)], &request), expected);
        check(Header, "X-User", "ada|");
        check(Header, "x-none", "|");
        check(Cookie, "sid", "77|");
        check(Cookie, "si", "|");
        check(Query, "x", "1|");
        check(Query, "y", "a b|");
        check(Query, "z", "|");
        check(Path, "", "/a/b|");
        check(Host, "", "shop.example|");
        check(Method, "", "GET|");
        check(SourceAddress, "", "192.0.2.7|");
        check(Caller, "", "blue/front|");
        check(Route, "", "HTTPRoute/shop#0|");
        assert_eq!(key(&[part(Method, ""), part(Header, "x-user")], &request), "GET|ada|");
    }

    #[test]
    fn long_values_are_told_apart() {
        let of = |last: char| {
            let value = format!("{}{last}", "a".repeat(5000));
            key(&[part(KeyKind::Header, "x")], &TestRequest::new("GET h/", &[("x", &value)]))
        };
        assert_ne!(of('a'), of('b'));
        assert_eq!(of('a'), of('a'));
        assert_eq!(of('a').len(), VALUE_BYTES_MAX + 18);
    }

    #[test]
    fn levels_are_read_from_a_field() {
        let levels = Levels::new(&Priority {
            header: "X-Criticality".to_owned(),
            levels: vec!["high".to_owned(), "normal".to_owned(), "low".to_owned()],
        });
        let of = |value: &str| levels.of(&TestRequest::new("GET h/", &[("x-criticality", value)]));
        assert_eq!([of("high"), of("Normal"), of("low"), of("else"), of("")], [0, 1, 2, 2, 2]);
    }
}
