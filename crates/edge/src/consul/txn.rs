//! `/v1/txn`: several operations on keys, on the catalog and on sessions, all or none.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use weir_control::bounds::{KV_TXN_KEYS_MAX, KV_VALUE_BYTES_MAX, SESSION_END_KEYS_MAX, TXN_OPS_MAX};
use weir_control::kv::{KvFault, KvOp, KvVerb};
use weir_control::registry::RegistryResult;
use weir_control::txn::{Outcome, TxnFault, TxnOp, TxnResult};

use super::ConsulApi;
use super::answer::{Answer, write};
use super::decode::Fields;
use super::kv::EntryJson;
use super::options::{check_place, namespace};
use super::refusal::Refusal;
use super::txn_registry::{self, KINDS};
use super::views::{self, CheckJson, NodeJson, ServiceJson};
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

/// What an operation read or wrote, under the name of its kind.
#[derive(Serialize)]
enum ResultJson<'a> {
    #[serde(rename = "KV")]
    Kv(EntryJson<'a>),
    Node(NodeJson<'a>),
    Service(ServiceJson<'a>),
    Check(CheckJson<'a>),
}

impl<'a> ResultJson<'a> {
    fn of(result: &'a TxnResult, here: views::Here<'a>) -> Self {
        match result {
            TxnResult::Kv(result) => Self::Kv(EntryJson::of_result(result)),
            TxnResult::Registry(RegistryResult::Node(node)) => Self::Node(NodeJson::of(node, here)),
            TxnResult::Registry(RegistryResult::Instance(entry)) => {
                Self::Service(ServiceJson::of(entry, here))
            }
            TxnResult::Registry(RegistryResult::Check(check, about)) => {
                Self::Check(CheckJson::of(check, about.as_ref().map(|about| about.value())))
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorJson {
    op_index: usize,
    what: String,
}

/// `PUT txn`.
pub(super) async fn txn(api: Arc<ConsulApi>, request: Request) -> Answer {
    let datacenter = api.here().datacenter;
    check_place(&request.query, datacenter)?;
    let namespace_asked = namespace(&request.query, None)?;
    let given = operations(&request.body)?;
    if given.len() > TXN_OPS_MAX {
        return Err(too_large_entity(format!(
            "Transaction contains too many operations ({} > {TXN_OPS_MAX})",
            given.len()
        )));
    }
    let mut ops = Vec::with_capacity(given.len());
    let mut unknown = Vec::new();
    for (at, operation) in given.iter().enumerate() {
        match read(at, operation, txn_registry::Here { namespace: &namespace_asked, datacenter })? {
            Ok(op) => ops.push(op),
            Err(what) => unknown.push(ErrorJson { op_index: at, what }),
        }
    }
    let pretty = request.query.has("pretty");
    if !unknown.is_empty() {
        return conflict(pretty, unknown);
    }
    match api.control.txn(&namespace_asked, &ops).await? {
        Outcome::Done(results) => {
            let results = results.iter().map(|result| ResultJson::of(result, api.here())).collect();
            let answer = AnswerJson { results: Some(results), errors: None };
            Ok(Response::json_bytes(StatusCode::OK, write(pretty, &answer)?))
        }
        Outcome::Failed(faults) => {
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
fn read(
    at: usize,
    operation: &Map<String, Value>,
    here: txn_registry::Here<'_>,
) -> Result<Result<TxnOp, String>, Refusal> {
    let whole = format!("[{at}]");
    let fields = Fields::at(operation, &whole);
    if let Some(kv) = fields.map("KV").map_err(unreadable)? {
        return Ok(on_key(kv, &format!("[{at}].KV"), here.namespace)?.map(TxnOp::Kv));
    }
    for kind in KINDS {
        if let Some(operation) = fields.map(kind).map_err(unreadable)? {
            let read = txn_registry::read(kind, operation, &format!("[{at}].{kind}"), here)?;
            return Ok(read.map(|op| TxnOp::Registry(Box::new(op))));
        }
    }
    if let Some(session) = fields.map("Session").map_err(unreadable)? {
        return on_session(session, &format!("[{at}].Session"), here.namespace);
    }
    Ok(Err("no operation specified".to_owned()))
}

/// Reads an operation on a session, which only can be ended.
fn on_session(
    operation: &Map<String, Value>,
    path: &str,
    namespace: &str,
) -> Result<Result<TxnOp, String>, Refusal> {
    let outer = Fields::at(operation, path);
    let inner = format!("{path}.Session");
    let empty = Map::new();
    let session = outer.map("Session").map_err(unreadable)?.unwrap_or(&empty);
    let fields = Fields::at(session, &inner);
    let own = fields.text("Namespace").map_err(unreadable)?;
    if !own.is_empty() && own != namespace {
        return Err(unreadable(format!(
            "{inner}.Namespace: a transaction is in one namespace, that of its ?ns="
        )));
    }
    let (verb, id) = (outer.text("Verb").map_err(unreadable)?, fields.text("ID").map_err(unreadable)?);
    Ok(match (&*verb, &*id) {
        ("delete", "") => Err(format!("failed to delete session: {inner}.ID is missing")),
        ("delete", _) => Ok(TxnOp::EndSession(id)),
        _ => Err(format!("failed to delete session: unknown Session verb {verb:?}")),
    })
}

/// Reads an operation on a key.
fn on_key(kv: &Map<String, Value>, path: &str, namespace: &str) -> Result<Result<KvOp, String>, Refusal> {
    let fields = Fields::at(kv, path);
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
fn say(op: &TxnOp, fault: &TxnFault) -> String {
    match (op, fault) {
        (TxnOp::Kv(op), TxnFault::Kv(fault)) => say_of_key(op, fault),
        (TxnOp::Registry(op), TxnFault::Registry(fault)) => txn_registry::say(op, fault),
        (TxnOp::EndSession(id), _) => format!(
            "failed to delete session: {id:?} holds more than {SESSION_END_KEYS_MAX} keys: too many for a transaction"
        ),
        // A fault is of its operation's kind.
        (_, fault) => format!("{fault:?}"),
    }
}

fn say_of_key(op: &KvOp, fault: &KvFault) -> String {
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
