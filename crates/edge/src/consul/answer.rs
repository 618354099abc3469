//! Answers in Consul's form: JSON, with the headers that say how the answer came about.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use weir_model::Revision;

use super::options::{Consistency, ReadOptions};
use super::refusal::Refusal;
use crate::http::Response;

const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");
const ACL_POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");
const QUERY_BACKEND: HeaderName = HeaderName::from_static("x-consul-query-backend");
const CACHE: HeaderName = HeaderName::from_static("x-cache");

/// What every endpoint returns.
pub(super) type Answer = Result<Response, Refusal>;

/// A value as JSON, indented if `pretty` is asked for.
pub(super) fn json<T: Serialize + ?Sized>(pretty: bool, value: &T) -> Answer {
    Ok(Response::json_bytes(StatusCode::OK, write(pretty, value)?))
}

/// A value's JSON as bytes.
pub(super) fn write<T: Serialize + ?Sized>(pretty: bool, value: &T) -> Result<Vec<u8>, Refusal> {
    let failed = |error: serde_json::Error| Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        message: format!("cannot write the answer: {error}"),
    };
    if !pretty {
        return serde_json::to_vec(value).map_err(failed);
    }
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    value.serialize(&mut writer).map_err(failed)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The answer to a read whose JSON is written already.
pub(super) fn written(options: &ReadOptions, index: Revision, json: Bytes) -> Response {
    let mut response = Response::json_bytes(StatusCode::OK, json);
    describe(&mut response.headers, options, index);
    response
}

/// The answer to a read: JSON with index.
pub(super) fn read<T: Serialize + ?Sized>(options: &ReadOptions, index: Revision, value: &T) -> Answer {
    let mut response = json(options.pretty, value)?;
    describe(&mut response.headers, options, index);
    Ok(response)
}

/// The answer to a read of a list: what the filter takes of it, with index.
pub(super) fn read_list<T: Serialize>(options: &ReadOptions, index: Revision, items: Vec<T>) -> Answer {
    read(options, index, &options.filter.apply(items)?)
}

/// The answer to a read of what is not there: 404 with index, so that one can wait for it to appear.
pub(super) fn missing(options: &ReadOptions, index: Revision) -> Response {
    let mut response = Response::empty(StatusCode::NOT_FOUND);
    describe(&mut response.headers, options, index);
    response
}

/// Adds what every answer of Consul's says of the state it was read from. Clients read it even where they were refused.
pub(super) fn stamp(headers: &mut HeaderMap, index: Revision) {
    headers.insert(INDEX, HeaderValue::from(index.max(1)));
    headers.insert(KNOWN_LEADER, HeaderValue::from_static("true"));
    headers.insert(LAST_CONTACT, HeaderValue::from_static("0"));
}

/// Says how old an answer may be, where that is known: its server has lost the store.
pub(super) fn age(headers: &mut HeaderMap, stale_for: Option<Duration>) {
    if let Some(age) = stale_for
        && headers.contains_key(LAST_CONTACT)
    {
        headers.insert(KNOWN_LEADER, HeaderValue::from_static("false"));
        headers.insert(LAST_CONTACT, HeaderValue::from(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
    }
}

/// Adds what readers want to know about an answer.
pub(super) fn describe(headers: &mut HeaderMap, options: &ReadOptions, index: Revision) {
    stamp(headers, index);
    let consistency = match options.consistency {
        Consistency::Default => "leader",
        Consistency::Stale => "stale",
        Consistency::Consistent => "consistent",
    };
    headers.insert(CONSISTENCY, HeaderValue::from_static(consistency));
    headers.insert(ACL_POLICY, HeaderValue::from_static("allow"));
    headers.insert(QUERY_BACKEND, HeaderValue::from_static("blocking-query"));
    if options.cached {
        // Every read is served from memory that the store's watch keeps fresh.
        headers.insert(CACHE, HeaderValue::from_static("HIT"));
        headers.insert(AGE, HeaderValue::from_static("0"));
    }
}

/// The answer to a write that has nothing to say.
pub(super) fn done() -> Answer {
    Ok(Response::empty(StatusCode::OK))
}
