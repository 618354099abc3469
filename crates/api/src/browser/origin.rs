//! Which requests a web page of somebody else has made a browser send.
//!
//! A server on loopback is within reach of every page that its user looks at: a page cannot read answers of other
//! origins, but it can send some requests (a POST of plain text, a form) without asking first. Browsers say where such
//! a request comes from (Fetch Metadata, `Sec-Fetch-Site`; RFC 6454, `Origin`). Programs that are no browsers say
//! neither and are let through. Against a page whose own name was made to lead here, see `host`.

use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Method};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request is refused with.
pub const REFUSAL: &str = "a page of another origin may not change anything here (Origin, Sec-Fetch-Site)";

/// Whether a request that may change something comes from a page of another origin.
pub fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let own = headers.get(HOST).map_or(&b""[..], |host| host.as_bytes());
    // What has no authority, as `null` has none, is of nobody here.
    let authority =
        origin.as_bytes().splitn(2, |byte| *byte == b':').nth(1).and_then(|o| o.strip_prefix(b"//"));
    !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(method: &Method, fields: &[(&'static str, &'static str)]) -> bool {
        let headers = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)));
        is_foreign(method, &headers.collect())
    }

    #[test]
    fn only_pages_of_other_origins_are_foreign() {
        let host = ("host", "localhost:8500");
        let check = |fields: &[_], expect| {
            let fields = [&[host], fields].concat();
            assert_eq!(foreign(&Method::POST, &fields), expect, "{fields:?}");
            assert!(!foreign(&Method::GET, &fields), "a page may ask, it cannot read the answer: {fields:?}");
        };
        check(&[], false);
        check(&[("origin", "http://localhost:8500")], false);
        check(&[("origin", "https://LOCALHOST:8500")], false);
        check(&[("origin", "http://localhost")], true);
        check(&[("origin", "http://evil.example")], true);
        check(&[("origin", "null")], true);
        check(&[("origin", "")], true);
        check(&[("sec-fetch-site", "cross-site")], true);
        check(&[("sec-fetch-site", "same-site"), ("origin", "http://localhost:8500")], true);
        // A proxy in between may have put another name into Host.
        check(&[("sec-fetch-site", "same-origin"), ("origin", "https://weir.example")], false);
        check(&[("sec-fetch-site", "none")], false);
        assert!(foreign(&Method::PUT, &[("origin", "http://evil.example")]), "without a Host");
    }
}
