//! Cross-origin requests: what browsers are told about who may call (Fetch standard, CORS protocol; Gateway API,
//! `HTTPCORSFilter`).
//!
//! The filter speaks for the service: what the service itself says in `Access-Control-` fields is left out.

use weir_http1::FieldName;

use super::redirect::Scheme;

/// How long browsers may remember a preflight's answer when nothing is said, in seconds.
const MAX_AGE_S: u32 = 5;

const ALLOW_ORIGIN: FieldName<'static> = FieldName::from_static("access-control-allow-origin");
const ALLOW_CREDENTIALS: FieldName<'static> = FieldName::from_static("access-control-allow-credentials");
const ALLOW_METHODS: FieldName<'static> = FieldName::from_static("access-control-allow-methods");
const ALLOW_HEADERS: FieldName<'static> = FieldName::from_static("access-control-allow-headers");
const EXPOSE_HEADERS: FieldName<'static> = FieldName::from_static("access-control-expose-headers");
const MAX_AGE: FieldName<'static> = FieldName::from_static("access-control-max-age");
const VARY: FieldName<'static> = FieldName::from_static("vary");

/// What pages of other origins may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Nothing for all.
    origins: Option<Box<[OriginPattern]>>,
    credentials: bool,
    methods: AllowList,
    headers: AllowList,
    expose: AllowList,
    max_age: Box<str>,
}

/// What a filter says, as it is written.
#[derive(Clone, Debug, Default)]
pub struct CorsSpec<'a> {
    /// Origins, or `*`.
    pub origins: &'a [String],
    /// Whether requests may carry credentials.
    pub credentials: bool,
    /// Methods, or `*`.
    pub methods: &'a [String],
    /// Fields of requests, or `*`.
    pub headers: &'a [String],
    /// Fields of responses, or `*`.
    pub expose: &'a [String],
    /// Seconds.
    pub max_age: Option<u32>,
}

/// Names that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowList {
    /// Nothing is said.
    Unsaid,
    /// All of them.
    Any,
    /// These, separated by commas.
    These(Box<str>),
}

impl AllowList {
    fn new(names: &[String]) -> Self {
        match names {
            [] => Self::Unsaid,
            names if names.iter().any(|name| name == "*") => Self::Any,
            names => Self::These(names.join(", ").into()),
        }
    }

    /// The value of the field: with credentials `*` means nothing, so what was asked for is repeated.
    fn value<'a>(&'a self, credentials: bool, asked: Option<&'a [u8]>) -> Option<&'a [u8]> {
        match self {
            Self::Unsaid => None,
            Self::These(names) => Some(names.as_bytes()),
            Self::Any if credentials => asked,
            Self::Any => Some(b"*"),
        }
    }
}

/// Origins that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    scheme: Scheme,
    host: OriginHost,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OriginHost {
    Any,
    Exact(Box<str>),
    /// Begins with a dot.
    Suffix(Box<str>),
}

/// What an origin is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CorsAnswer {
    /// Nothing: it is not allowed, or there is none.
    #[default]
    Silence,
    /// Every origin may.
    Any,
    /// This one may.
    Echo,
}

impl OriginPattern {
    /// Reads `https://shop.example`, `http://*.shop.example:8080`, `https://*`.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, host, port) = split(text.as_bytes())?;
        let host = std::str::from_utf8(host).ok()?.to_ascii_lowercase();
        let host = match host.strip_prefix('*') {
            Some("") => OriginHost::Any,
            Some(suffix) if suffix.starts_with('.') && !suffix.contains('*') => {
                OriginHost::Suffix(suffix.into())
            }
            Some(_) => return None,
            None if host.contains('*') || host.is_empty() => return None,
            None => OriginHost::Exact(host.into()),
        };
        Some(Self { scheme, host, port })
    }

    fn matches(&self, origin: &[u8]) -> bool {
        let Some((scheme, host, port)) = split(origin) else { return false };
        let same_host = match &self.host {
            OriginHost::Any => !host.is_empty(),
            OriginHost::Exact(name) => host.eq_ignore_ascii_case(name.as_bytes()),
            OriginHost::Suffix(suffix) => {
                host.len() > suffix.len()
                    && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
            }
        };
        same_host && scheme == self.scheme && port == self.port
    }
}

/// Scheme, host and port of an origin.
fn split(origin: &[u8]) -> Option<(Scheme, &[u8], u16)> {
    let (scheme, rest) = [Scheme::Https, Scheme::Http].into_iter().find_map(|scheme| {
        let name = scheme.as_str().as_bytes();
        let (start, rest) = origin.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some((scheme, rest.strip_prefix(b"://")?))
    })?;
    // An IPv6 address has colons of its own, in brackets.
    let end = rest.iter().rposition(|&byte| byte == b']').unwrap_or(0);
    let colon = rest[end..].iter().position(|&byte| byte == b':').map(|at| end + at);
    let port = match colon {
        None => scheme.port(),
        Some(at) => std::str::from_utf8(&rest[at + 1..]).ok()?.parse().ok()?,
    };
    Some((scheme, &rest[..colon.unwrap_or(rest.len())], port))
}

/// Whether a field is one that the filter speaks for.
#[inline]
pub(crate) fn is_cors_field(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"access-control-";
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

impl Cors {
    /// From what a filter says.
    ///
    /// # Errors
    /// The index of the origin that is none.
    pub fn new(spec: &CorsSpec<'_>) -> Result<Self, usize> {
        let any = spec.origins.iter().any(|origin| origin == "*");
        let patterns = spec.origins.iter().enumerate().filter(|(_, origin)| *origin != "*");
        let patterns: Result<Box<[_]>, usize> =
            patterns.map(|(index, origin)| OriginPattern::parse(origin).ok_or(index)).collect();
        let patterns = patterns?;
        Ok(Self {
            origins: (!any).then_some(patterns),
            credentials: spec.credentials,
            methods: AllowList::new(spec.methods),
            headers: AllowList::new(spec.headers),
            expose: AllowList::new(spec.expose),
            max_age: spec.max_age.unwrap_or(MAX_AGE_S).to_string().into(),
        })
    }

    /// What an origin is told.
    pub(crate) fn judge(&self, origin: Option<&[u8]>) -> CorsAnswer {
        match (&self.origins, origin) {
            (_, None) => CorsAnswer::Silence,
            (None, Some(_)) if self.credentials => CorsAnswer::Echo,
            (None, Some(_)) => CorsAnswer::Any,
            (Some(patterns), Some(origin)) if patterns.iter().any(|pattern| pattern.matches(origin)) => {
                CorsAnswer::Echo
            }
            (Some(_), Some(_)) => CorsAnswer::Silence,
        }
    }

    /// The fields of every response.
    pub(crate) fn fields(
        &self,
        answer: CorsAnswer,
        origin: &[u8],
        put: &mut impl FnMut(FieldName<'_>, &[u8]),
    ) {
        match answer {
            CorsAnswer::Silence => {}
            CorsAnswer::Any => put(ALLOW_ORIGIN, b"*"),
            CorsAnswer::Echo => put(ALLOW_ORIGIN, origin),
        }
        if answer != CorsAnswer::Silence {
            if self.credentials {
                put(ALLOW_CREDENTIALS, b"true");
            }
            if let Some(names) = self.expose.value(self.credentials, None) {
                put(EXPOSE_HEADERS, names);
            }
        }
        if self.origins.is_some() || self.credentials {
            // A cache must not show one origin's answer to another, nor to none.
            put(VARY, b"Origin");
        }
    }

    /// What the answer to a preflight has besides: it asks for a method, and perhaps for header fields.
    pub(crate) fn preflight_fields(
        &self,
        method: &[u8],
        headers: Option<&[u8]>,
        put: &mut impl FnMut(FieldName<'_>, &[u8]),
    ) {
        if let Some(names) = self.methods.value(self.credentials, Some(method)) {
            put(ALLOW_METHODS, names);
        }
        if let Some(names) = self.headers.value(self.credentials, headers) {
            put(ALLOW_HEADERS, names);
        }
        put(MAX_AGE, self.max_age.as_bytes());
    }
}

impl std::fmt::Display for Cors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CORS: pages of ")?;
        match &self.origins {
            None => f.write_str("all origins")?,
            Some(origins) if origins.is_empty() => f.write_str("no origin")?,
            Some(origins) => {
                for (at, origin) in origins.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    let (OriginHost::Exact(host) | OriginHost::Suffix(host)) = &origin.host else {
                        write!(f, "{comma}{}://*:{}", origin.scheme.as_str(), origin.port)?;
                        continue;
                    };
                    let star = if matches!(origin.host, OriginHost::Suffix(_)) { "*" } else { "" };
                    write!(f, "{comma}{}://{star}{host}:{}", origin.scheme.as_str(), origin.port)?;
                }
            }
        }
        f.write_str(if self.credentials { " may call, with credentials" } else { " may call" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    /// What a preflight, or with no method a plain request, is told.
    fn told(cors: &Cors, origin: &str, asked: Option<(&str, Option<&str>)>) -> Vec<String> {
        let answer = cors.judge(Some(origin.as_bytes()));
        let mut lines = Vec::new();
        let mut put = |name: FieldName<'_>, value: &[u8]| {
            let name = String::from_utf8_lossy(name.as_bytes()).replace("access-control-", "");
            lines.push(format!("{name}: {}", String::from_utf8_lossy(value)));
        };
        cors.fields(answer, origin.as_bytes(), &mut put);
        if let Some((method, headers)) = asked.filter(|_| answer != CorsAnswer::Silence) {
            cors.preflight_fields(method.as_bytes(), headers.map(str::as_bytes), &mut put);
        }
        lines
    }

    #[test]
    fn origins() {
        let check = |pattern: &str, origin: &str, expected: bool| {
            let pattern = OriginPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(origin.as_bytes()), expected, "{pattern:?} {origin}");
        };
        check("https://www.foo.com", "https://www.foo.com", true);
        check("https://www.foo.com", "https://WWW.foo.com:443", true);
        check("https://www.foo.com", "http://www.foo.com", false);
        check("https://www.foo.com", "https://www.foo.com:8443", false);
        check("https://www.foo.com:8443", "https://www.foo.com:8443", true);
        check("https://*.bar.com", "https://www.bar.com", true);
        check("https://*.bar.com", "https://a.b.bar.com", true);
        check("https://*.bar.com", "https://bar.com", false);
        check("https://*.bar.com", "https://foobar.com", false);
        check("https://*.bar.com", "https://www.bar.com.evil.example", false);
        check("https://*", "https://anything", true);
        check("https://*", "http://anything", false);
        check("https://*", "null", false);
        check("http://*:8080", "http://a:8080", true);
        check("http://[::1]:80", "http://[::1]", true);
        for bad in [
            "",
            "*",
            "foo.com",
            "ftp://a",
            "https://",
            "https://a.*",
            "https://a*b",
            "https://a:x",
            "https://*a.com",
        ] {
            assert_eq!(OriginPattern::parse(bad), None, "{bad}");
        }
    }

    fn several() -> Cors {
        Cors::new(&CorsSpec {
            origins: &texts(&["https://www.foo.com", "https://*.bar.com"]),
            credentials: true,
            methods: &texts(&["GET", "OPTIONS"]),
            headers: &texts(&["x-header-1", "x-header-2"]),
            expose: &texts(&["x-header-3"]),
            max_age: Some(3600),
        })
        .unwrap()
    }

    #[test]
    fn a_preflight_is_told_everything() {
        let asked = Some(("GET", Some("x-header-1")));
        let expected = [
            "allow-origin: https://a.bar.com",
            "allow-credentials: true",
            "expose-headers: x-header-3",
            "vary: Origin",
            "allow-methods: GET, OPTIONS",
            "allow-headers: x-header-1, x-header-2",
            "max-age: 3600",
        ];
        assert_eq!(told(&several(), "https://a.bar.com", asked), expected);
        assert_eq!(told(&several(), "https://foobar.com", asked), ["vary: Origin"]);
    }

    #[test]
    fn a_plain_request_is_told_who_may_read_the_response() {
        let expected = [
            "allow-origin: https://www.foo.com",
            "allow-credentials: true",
            "expose-headers: x-header-3",
            "vary: Origin",
        ];
        assert_eq!(told(&several(), "https://www.foo.com", None), expected);
        assert_eq!(told(&several(), "https://foobar.com", None), ["vary: Origin"]);
        assert_eq!(several().judge(None), CorsAnswer::Silence);
    }

    #[test]
    fn wildcards_mean_nothing_with_credentials_so_what_was_asked_is_repeated() {
        let any = texts(&["*"]);
        let all = |credentials: bool| {
            let spec = CorsSpec {
                origins: &any,
                credentials,
                methods: &any,
                headers: &any,
                expose: &any,
                max_age: None,
            };
            Cors::new(&spec).unwrap()
        };
        let asked = Some(("PUT", Some("x-a, x-b")));
        let open =
            ["allow-origin: *", "expose-headers: *", "allow-methods: *", "allow-headers: *", "max-age: 5"];
        assert_eq!(told(&all(false), "https://a", asked), open);
        let credited = [
            "allow-origin: https://a",
            "allow-credentials: true",
            "vary: Origin",
            "allow-methods: PUT",
            "allow-headers: x-a, x-b",
            "max-age: 5",
        ];
        assert_eq!(told(&all(true), "https://a", asked), credited);
        assert!(
            !told(&all(true), "https://a", Some(("PUT", None)))
                .iter()
                .any(|line| line.starts_with("allow-headers"))
        );
        assert_eq!(told(&all(false), "null", None), ["allow-origin: *", "expose-headers: *"]);
    }

    #[test]
    fn what_is_not_said_is_not_told() {
        let origins = texts(&["https://a"]);
        let cors = Cors::new(&CorsSpec { origins: &origins, ..CorsSpec::default() }).unwrap();
        let asked = Some(("GET", None));
        assert_eq!(
            told(&cors, "https://a", asked),
            ["allow-origin: https://a", "vary: Origin", "max-age: 5"]
        );
        let nobody = Cors::new(&CorsSpec::default()).unwrap();
        assert_eq!(nobody.judge(Some(b"https://a")), CorsAnswer::Silence);
        assert_eq!(Cors::new(&CorsSpec { origins: &texts(&["*", "a"]), ..CorsSpec::default() }), Err(1));
    }

    #[test]
    fn fields_it_speaks_for() {
        assert!(is_cors_field(b"Access-Control-Allow-Origin") && !is_cors_field(b"access-contro"));
    }
}
