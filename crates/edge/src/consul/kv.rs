//! `/v1/kv`: values by key.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use serde::{Serialize, Serializer};
use weir_control::catalog::Topic;
use weir_control::kv::{KvEntry, KvLock, KvPut, KvResult};
use weir_model::Revision;

use super::ConsulApi;
use super::answer::{Answer, describe, json, missing, read};
use super::options::{ReadOptions, check_place, namespace};
use super::refusal::Refusal;
use crate::http::{Query, Request, Response};

/// Largest value.
pub(super) const VALUE_BYTES_MAX: usize = weir_control::bounds::KV_VALUE_BYTES_MAX;

/// Says that a value is too large, as Consul says it.
pub(super) fn too_large(length: Option<u64>, max: usize) -> String {
    match length {
        Some(length) => format!("Request body({length} bytes) too large, max size: {max} bytes"),
        None => format!("Request body too large, max size: {max} bytes"),
    }
}

/// A key as Consul shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EntryJson<'a> {
    lock_index: u64,
    key: &'a str,
    flags: u64,
    value: ValueJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    create_index: Revision,
    modify_index: Revision,
}

impl<'a> EntryJson<'a> {
    fn of(entry: &'a KvEntry) -> Self {
        Self {
            lock_index: entry.lock_index,
            key: &entry.key,
            flags: entry.flags,
            value: ValueJson(entry.value()),
            session: entry.session.as_deref(),
            create_index: entry.create_revision,
            modify_index: entry.modify_revision,
        }
    }

    /// What a transaction read or wrote.
    pub(super) fn of_result(result: &'a KvResult) -> Self {
        Self {
            lock_index: result.lock_index,
            key: &result.key,
            flags: result.flags,
            value: ValueJson(result.value.as_deref().unwrap_or_default()),
            session: result.session.as_deref(),
            create_index: result.create_revision,
            modify_index: result.modify_revision,
        }
    }
}

/// A value in base64; an empty one is `null`, as Go writes bytes that were never there.
struct ValueJson<'a>(&'a [u8]);

impl Serialize for ValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            serializer.serialize_none()
        } else {
            serializer.serialize_str(&STANDARD.encode(self.0))
        }
    }
}

/// `GET kv/:key`, with `recurse`, `keys` or `raw`.
pub(super) async fn get(api: Arc<ConsulApi>, mut request: Request) -> Answer {
    let options = api.options(&request)?;
    let (keys, recurse) = (request.query.has("keys"), request.query.has("recurse"));
    let key = request.rest().to_owned();
    if key.is_empty() && !keys && !recurse {
        return Err(Refusal::bad("Missing key name"));
    }
    let namespace = options.namespace.clone();
    if keys || recurse {
        api.wait(&mut request, &options, &Topic::KvPrefix { namespace, prefix: key.clone() }).await?;
        let separator = request.query.get("separator").unwrap_or("");
        return if keys { names(&api, &options, &key, separator) } else { list(&api, &options, &key) };
    }
    api.wait(&mut request, &options, &Topic::KvKey { namespace, key: key.clone() }).await?;
    let view = api.catalog().kv_get(&options.namespace, &key);
    let Some(entry) = view.entries else { return Ok(missing(&options, view.index)) };
    if request.query.has("raw") {
        return Ok(raw(&options, view.index, &entry));
    }
    read(&options, view.index, &[EntryJson::of(&entry)])
}

fn names(api: &ConsulApi, options: &ReadOptions, prefix: &str, separator: &str) -> Answer {
    let view = api.catalog().kv_keys(&options.namespace, prefix, separator);
    // The root is always there, if only as an empty list.
    if view.entries.is_empty() && !prefix.is_empty() {
        return Ok(missing(options, view.index));
    }
    read(options, view.index, &view.entries)
}

fn list(api: &ConsulApi, options: &ReadOptions, prefix: &str) -> Answer {
    let view = api.catalog().kv_list(&options.namespace, prefix);
    if view.entries.is_empty() {
        return Ok(missing(options, view.index));
    }
    let entries: Vec<_> = view.entries.iter().map(|entry| EntryJson::of(entry)).collect();
    read(options, view.index, &entries)
}

/// The bare value, with headers that keep a browser from making anything of what a stranger stored.
fn raw(options: &ReadOptions, index: Revision, entry: &KvEntry) -> Response {
    let mut headers = HeaderMap::new();
    describe(&mut headers, options, index);
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    let value = bytes::Bytes::copy_from_slice(entry.value());
    Response { status: StatusCode::OK, headers, body: crate::http::Body::Whole(value) }
}

/// `PUT kv/:key`, with `cas`, `acquire` or `release`, and `flags`: answers whether it was put.
pub(super) async fn put(api: Arc<ConsulApi>, request: Request) -> Answer {
    let (key, namespace) = target(&api, &request)?;
    if key.is_empty() {
        return Err(Refusal::bad("Missing key name"));
    }
    conflicting(&request.query, &["cas", "acquire", "release"])?;
    let flags = number(&request.query, "flags")?.unwrap_or(0);
    let cas = number(&request.query, "cas")?;
    let acquire = request.query.get("acquire");
    let lock = acquire.map(KvLock::Acquire).or_else(|| request.query.get("release").map(KvLock::Release));
    if let Some(KvLock::Acquire("") | KvLock::Release("")) = lock {
        return Err(failed("missing session"));
    }
    let put = KvPut { namespace: &namespace, key, value: &request.body, flags, cas, lock };
    let committed = match api.control.kv_put(put).await {
        Err(weir_control::Error::NotFound { .. }) => {
            return Err(failed(&format!("invalid session {:?}", acquire.unwrap_or_default())));
        }
        done => done.map_err(refuse)?,
    };
    json(false, &committed.is_some())
}

/// `DELETE kv/:key`, with `recurse` or `cas`.
pub(super) async fn delete(api: Arc<ConsulApi>, request: Request) -> Answer {
    let (key, namespace) = target(&api, &request)?;
    conflicting(&request.query, &["recurse", "cas"])?;
    if request.query.has("recurse") {
        api.control.kv_delete_prefix(&namespace, key).await.map_err(refuse)?;
        return json(false, &true);
    }
    if key.is_empty() {
        return Err(Refusal::bad("Missing key name"));
    }
    let cas = number(&request.query, "cas")?;
    let committed = api.control.kv_delete(&namespace, key, cas).await.map_err(refuse)?;
    json(false, &committed.is_some())
}

/// What Consul answers about sessions that are not there.
fn failed(message: &str) -> Refusal {
    Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message: message.to_owned() }
}

/// A refusal by the domain. Where the store keeps a key is nobody's business: only what is wrong with it is told.
fn refuse(error: weir_control::Error) -> Refusal {
    match error {
        weir_control::Error::Invalid { reason, .. } => Refusal::bad(format!("Invalid key: {reason}")),
        other => other.into(),
    }
}

fn target<'a>(api: &ConsulApi, request: &'a Request) -> Result<(&'a str, String), Refusal> {
    check_place(&request.query, api.here().datacenter)?;
    Ok((request.rest(), namespace(&request.query, None)?))
}

fn number(query: &Query, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(text) = query.get(name) else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => {
            Err(Refusal::bad(format!("Invalid value for ?{name}: {text:?}, expected a number, at least 0")))
        }
    }
}

fn conflicting(query: &Query, names: &[&str]) -> Result<(), Refusal> {
    let given: Vec<_> = names.iter().copied().filter(|name| query.has(name)).collect();
    if given.len() > 1 {
        Err(Refusal::bad(format!("Conflicting flags: {}", given.join(", "))))
    } else {
        Ok(())
    }
}
