//! `/v1/txn`: several operations on keys, all or none.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use weir_control::bounds::{KV_TXN_KEYS_MAX, KV_TXN_OPS_MAX, KV_VALUE_BYTES_MAX};
use weir_control::kv::{KvFault, KvOp, KvTxn, KvVerb};

use super::ConsulApi;
use super::answer::{Answer, write};
use super::decode::Fields;
use super::kv::EntryJson;
use super::options::{check_place, namespace};
use super::refusal::Refusal;
use crate::http::{Request, Response};

/// Largest body, as Consul's default has it.
pub(super) const BODY_BYTES_MAX: usize = KV_VALUE_BYTES_MAX;

/// Says that a body is too large, as Consul says it.
pub(super) fn too_large(_: Option<u64>, max: usize) -> String {
    format!("Request body too large, max size: {max} bytes")
}

/// The verbs with their names.
const VERBS: [(&str, KvVerb); 13] = [
    ("set", KvVerb::Set),
    ("cas", KvVerb::SetIf),
    ("lock", KvVerb::Lock),
    ("unlock", KvVerb::Unlock),
    ("get", KvVerb::Get),
    ("get-or-empty", KvVerb::GetOrEmpty),
    ("get-tree", KvVerb::GetTree),
    ("check-index", KvVerb::CheckIndex),
    ("check-session", KvVerb::CheckSession),
    ("check-not-exists", KvVerb::CheckAbsent),
    ("delete", KvVerb::Delete),
    ("delete-cas", KvVerb::DeleteIf),
    ("delete-tree", KvVerb::DeleteTree),
];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AnswerJson<'a> {
    results: Option<Vec<ResultJson<'a>>>,
    errors: Option<Vec<ErrorJson>>,
}

#[derive(Serialize)]
struct ResultJson<'a> {
    #[serde(rename = "KV")]
    kv: EntryJson<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorJson {
    op_index: usize,
    what: String,
}

/// `PUT txn`.
pub(super) async fn txn(api: Arc<ConsulApi>, request: Request) -> Answer {
    check_place(&request.query, api.here().datacenter)?;
    let namespace_asked = namespace(&request.query, None)?;
    let given = operations(&request.body)?;
    if given.len() > KV_TXN_OPS_MAX {
        return Err(too_large_entity(format!(
            "Transaction contains too many operations ({} > {KV_TXN_OPS_MAX})",
            given.len()
        )));
    }
    let mut ops = Vec::with_capacity(given.len());
    let mut unknown = Vec::new();
    for (at, operation) in given.iter().enumerate() {
        match read(at, operation, &namespace_asked)? {
            Ok(op) => ops.push(op),
            Err(what) => unknown.push(ErrorJson { op_index: at, what }),
        }
    }
    let pretty = request.query.has("pretty");
    if !unknown.is_empty() {
        return conflict(pretty, unknown);
    }
    match api.control.kv_txn(&namespace_asked, &ops).await? {
        KvTxn::Done(results) => {
            let results =
                results.iter().map(|result| ResultJson { kv: EntryJson::of_result(result) }).collect();
            let answer = AnswerJson { results: Some(results), errors: None };
            Ok(Response::json_bytes(StatusCode::OK, write(pretty, &answer)?))
        }
        KvTxn::Failed(faults) => {
            let errors =
                faults.into_iter().map(|(at, fault)| ErrorJson { op_index: at, what: say(&ops[at], &fault) });
            conflict(pretty, errors.collect())
        }
    }
}

fn conflict(pretty: bool, errors: Vec<ErrorJson>) -> Answer {
    let answer = AnswerJson { results: None, errors: Some(errors) };
    Ok(Response::json_bytes(StatusCode::CONFLICT, write(pretty, &answer)?))
}

fn too_large_entity(message: String) -> Refusal {
    Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, message }
}

fn unreadable(what: impl std::fmt::Display) -> Refusal {
    Refusal::bad(format!("Failed to parse body: {what}"))
}

fn operations(body: &[u8]) -> Result<Vec<Map<String, Value>>, Refusal> {
    if body.is_empty() {
        return Err(unreadable("EOF: expected a JSON array of operations, got an empty body"));
    }
    let value: Value = serde_json::from_slice(body).map_err(unreadable)?;
    let Value::Array(items) = value else { return Err(unreadable("expected a JSON array of operations")) };
    let object = |(at, item)| match item {
        Value::Object(map) => Ok(map),
        _ => Err(unreadable(format!("[{at}]: expected an object such as {{\"KV\": ...}}"))),
    };
    items.into_iter().enumerate().map(object).collect()
}

/// Reads one operation; what it is about may not exist here.
fn read(at: usize, operation: &Map<String, Value>, namespace: &str) -> Result<Result<KvOp, String>, Refusal> {
    let whole = format!("[{at}]");
    let fields = Fields::at(operation, &whole);
    let Some(kv) = fields.map("KV").map_err(unreadable)? else {
        let other = ["Node", "Service", "Check", "Session"].into_iter().find(|kind| fields.has(kind));
        return Ok(Err(match other {
            Some(kind) => format!("operations on {kind} are not supported yet, only on KV"),
            None => "no operation specified".to_owned(),
        }));
    };
    let path = format!("[{at}].KV");
    let fields = Fields::at(kv, &path);
    let text = |name: &str| fields.text(name).map_err(unreadable);
    let number =
        |name: &str| Ok::<_, Refusal>(fields.whole(name, u64::MAX).map_err(unreadable)?.unwrap_or(0));
    let own = text("Namespace")?;
    if !own.is_empty() && own != namespace {
        return Err(unreadable(format!(
            "{path}.Namespace: a transaction is in one namespace, that of its ?ns="
        )));
    }
    let (verb, key) = (text("Verb")?, text("Key")?);
    let Some((_, verb)) = VERBS.iter().find(|(name, _)| *name == verb) else {
        return Ok(Err(format!("unknown KV verb {verb:?}")));
    };
    let value = STANDARD
        .decode(text("Value")?)
        .map_err(|error| unreadable(format!("{path}.Value: failed to decode value: {error}")))?;
    if value.len() > KV_VALUE_BYTES_MAX {
        let size = value.len();
        return Err(too_large_entity(format!(
            "Value for key {key:?} is too large ({size} > {KV_VALUE_BYTES_MAX} bytes)"
        )));
    }
    let (flags, revision) = (number("Flags")?, number("Index")?);
    Ok(Ok(KvOp { verb: *verb, key, value, flags, revision, session: text("Session")? }))
}

/// A fault in Consul's words.
fn say(op: &KvOp, fault: &KvFault) -> String {
    let key = &op.key;
    match (fault, op.verb) {
        (KvFault::NoKey, _) => "Must provide key".to_owned(),
        (KvFault::NoSession, _) => "missing session".to_owned(),
        (KvFault::UnknownSession, _) => format!("invalid session {:?}", op.session),
        (KvFault::Delayed, _) => format!("failed to lock key {key:?} due to lock delay"),
        (KvFault::TooManyKeys, _) => {
            format!("more than {KV_TXN_KEYS_MAX} keys start with {key:?}: too many for a transaction")
        }
        (KvFault::Missing, KvVerb::CheckIndex) => format!("failed to check index, key {key:?} doesn't exist"),
        (KvFault::Missing, KvVerb::CheckSession) => {
            format!("failed to check session, key {key:?} doesn't exist")
        }
        (KvFault::Missing, _) => format!("key {key:?} doesn't exist"),
        (KvFault::Exists, _) => format!("key {key:?} exists"),
        (KvFault::Revision(now), KvVerb::CheckIndex) => {
            format!("failed index check for key {key:?}, current modify index {now} != {}", op.revision)
        }
        (KvFault::Revision(_), KvVerb::DeleteIf) => format!("failed to delete key {key:?}, index is stale"),
        (KvFault::Revision(_), _) => format!("failed to set key {key:?}, index is stale"),
        (KvFault::Session(now), KvVerb::CheckSession) => format!(
            "failed session check for key {key:?}, current session {:?} != {:?}",
            now.as_deref().unwrap_or_default(),
            op.session
        ),
        (KvFault::Session(_), KvVerb::Unlock) => {
            format!("failed to unlock key {key:?}, lock isn't held, or is held by another session")
        }
        (KvFault::Session(_), _) => format!("failed to lock key {key:?}, lock is already held"),
    }
}
