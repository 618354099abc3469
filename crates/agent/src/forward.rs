//! Passes requests on to the servers: all that is not about this node alone.
//!
//! Where Consul's agents fill in their own node, this does so too: in `near=_agent`, for sessions that name no node, and in
//! the list of events, which is that of the ones for this node. So it does for a claim on a lock that an instance holds: what
//! is registered here is on this node.

mod hold;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, ORIGIN, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;
use weir_api::client::encode_segment;
use weir_api::native::{APPLY_BYTES_MAX, ErrorAnswer, LOST, NO_SERVER, NOBODY, Problem};
use weir_edge::http::{Body, Handler, Request, Response, Route, Router};

use hold::Hold;

use crate::bounds::{ANSWER_MAX, HOLD_MAX, WAITING_ANSWER_MAX};
use crate::servers::{Answered, Ask, Servers, Unanswered};
use crate::status::{Status, Unwelcome, count};

/// Fields that are about the connection to the agent, or about who may speak to it.
const NOT_PASSED_ON: [HeaderName; 9] =
    [HOST, CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, TE, UPGRADE, ORIGIN, ACCEPT_ENCODING];
/// The name that stands for the agent's own node in `near`.
const AGENT: &str = "_agent";
/// What everything of the native API starts with.
const NATIVE: &str = "/weir/";

/// Where locks of the native API are.
const LOCKS: &str = "/weir/v1/locks/";

/// What passes requests on.
pub struct Forward {
    servers: Arc<Servers>,
    hold: Hold,
    status: Arc<Status>,
    node: String,
}

impl Forward {
    /// To these servers, for the agent of this node.
    pub fn new(servers: Arc<Servers>, status: Arc<Status>, node: String) -> Arc<Self> {
        let hold = Hold::new(Arc::clone(&servers), HOLD_MAX);
        Arc::new(Self { servers, hold, status, node })
    }

    /// Adds the routes, behind all that are longer: what the agent answers by itself is not passed on. `members` answers
    /// for the servers where none does.
    pub fn mount(self: &Arc<Self>, router: &mut Router, members: impl Handler) {
        for path in ["/v1/", NATIVE] {
            let mut route = Route::new().body_bytes_max(APPLY_BYTES_MAX);
            for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE] {
                let forward = Arc::clone(self);
                route = route.on(method, move |request: Request| {
                    let forward = Arc::clone(&forward);
                    async move { forward.pass(request).await }
                });
            }
            router.add(path, route);
        }
        let (forward, members) = (Arc::clone(self), Arc::new(members));
        router.get("/v1/agent/members", move |request: Request| {
            let (forward, members) = (Arc::clone(&forward), Arc::clone(&members));
            async move {
                match forward.answer_at_once(&forward.ask(&request)).await {
                    Ok(response) => response,
                    Err(_) => members.call(request).await,
                }
            }
        });
    }

    async fn pass(&self, mut request: Request) -> Response {
        let (ask, is_native) = (self.ask(&request), request.path.starts_with(NATIVE));
        // Thousands may wait: what is not needed any more goes first.
        request.forget();
        let mut closing = request.closing.clone();
        let waits = || request.waits();
        tokio::select! {
            answer = self.answer(&ask, &waits) => answer.unwrap_or_else(|error| refuse(&error, is_native)),
            _ = closing.wait_for(|closing| *closing) => {
                Response::text(StatusCode::SERVICE_UNAVAILABLE, "the agent is being stopped")
            }
        }
    }

    /// What the servers answer. While there is none, they are looked for.
    async fn answer(&self, ask: &Ask, waits: &(dyn Fn() + Sync)) -> Result<Response, Unanswered> {
        self.may_ask()?;
        count(&self.status.forwarded);
        self.counted(self.hold.ask(ask, waits, || self.may_ask()).await)
    }

    /// The same for what the agent can answer itself.
    async fn answer_at_once(&self, ask: &Ask) -> Result<Response, Unanswered> {
        self.may_ask()?;
        count(&self.status.forwarded);
        self.counted(self.servers.ask(ask).await)
    }

    fn may_ask(&self) -> Result<(), Unanswered> {
        match self.status.unwelcome() {
            Some(Unwelcome { reason, is_elsewhere: true }) => Err(Unanswered::Unwelcome(reason)),
            _ => Ok(()),
        }
    }

    fn counted(&self, asked: Result<Answered, Unanswered>) -> Result<Response, Unanswered> {
        match asked {
            Ok(answered) => Ok(Response {
                status: answered.status,
                headers: answered.headers,
                body: Body::Whole(answered.body),
            }),
            Err(error) => {
                count(&self.status.unanswered);
                Err(error)
            }
        }
    }

    /// The request as the servers are to get it.
    fn ask(&self, request: &Request) -> Ask {
        let passed_on = request.headers.iter().filter(|(name, _)| !NOT_PASSED_ON.contains(name));
        // Copied: they are parts of the buffer that the head was read into, which would stay for as long as one of them does.
        let headers = passed_on
            .filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_bytes(value.as_bytes()).ok()?)))
            .collect();
        Ask {
            method: request.method.clone(),
            target: self.target(request),
            headers,
            body: named(&request.path, &request.body, &self.node),
            patience: patience(request),
        }
    }

    fn target(&self, request: &Request) -> String {
        let segments: Vec<_> = request.path.split('/').map(encode_segment).collect();
        let mut target = segments.join("/");
        let names_none = request.path == "/v1/event/list" && request.query.get_filled("node").is_none();
        let own = names_none.then_some(("node", &*self.node));
        let given = request.query.pairs().filter(|(name, _)| !(names_none && *name == "node"));
        for (number, (name, value)) in given.chain(own).enumerate() {
            target.push(if number == 0 { '?' } else { '&' });
            target.push_str(&encode_segment(name));
            let value = if name == "near" && value == AGENT { &*self.node } else { value };
            if !value.is_empty() {
                target.push('=');
                target.push_str(&encode_segment(value));
            }
        }
        target
    }
}

/// The body of a request; that of a session without a node names this one, and so does that of a claim with an instance. What is
/// no object is the servers' to refuse. A field that is null or empty says nothing.
fn named(path: &str, body: &Bytes, node: &str) -> Bytes {
    let field = match path {
        "/v1/session/create" => "Node",
        path if is_claim(path) => "node",
        _ => return body.clone(),
    };
    let given = if body.is_empty() { &b"{}"[..] } else { body };
    let Ok(Value::Object(mut map)) = serde_json::from_slice::<Value>(given) else {
        return body.clone();
    };
    let says = |value: &Value| !value.is_null() && value.as_str() != Some("");
    let names = |field: &str| map.iter().any(|(key, value)| key.eq_ignore_ascii_case(field) && says(value));
    if names("node") || (field == "node" && !names("instance")) {
        return body.clone();
    }
    map.retain(|key, _| !key.eq_ignore_ascii_case("node"));
    map.insert(field.to_owned(), Value::from(node));
    Value::Object(map).to_string().into()
}

/// Whether something is asked for that an instance may hold.
fn is_claim(path: &str) -> bool {
    path.strip_prefix(LOCKS).is_some_and(|rest| rest.ends_with("/acquire"))
}

/// How long the answer may take: blocking queries and waits for locks take their time.
fn patience(request: &Request) -> Duration {
    let is_lock = request.path.starts_with(NATIVE) && request.method == Method::POST;
    if request.query.has("index") || request.query.has("wait") || is_lock {
        WAITING_ANSWER_MAX
    } else {
        ANSWER_MAX
    }
}

/// What Consul's agents say without servers, and why; and, for clients of ours, that it is no server that says so.
fn refuse(error: &Unanswered, is_native: bool) -> Response {
    let answer = refusal(error, is_native);
    let unanswered = match error {
        Unanswered::Nobody(_) => NOBODY,
        Unanswered::Unknown { .. } => LOST,
        Unanswered::Unwelcome(_) | Unanswered::TooLarge { .. } | Unanswered::Unsendable(_) => return answer,
    };
    answer.with(HeaderName::from_static(NO_SERVER), HeaderValue::from_static(unanswered))
}

fn refusal(error: &Unanswered, is_native: bool) -> Response {
    let is_bad = matches!(error, Unanswered::Unsendable(_));
    if is_native {
        let status = if is_bad { StatusCode::BAD_REQUEST } else { StatusCode::SERVICE_UNAVAILABLE };
        return Response::json(status, &ErrorAnswer { errors: vec![Problem::new(error.to_string())] });
    }
    if is_bad {
        return Response::text(StatusCode::BAD_REQUEST, error.to_string());
    }
    let text = match error {
        Unanswered::Nobody(_) | Unanswered::Unwelcome(_) => format!("No cluster leader ({error})"),
        Unanswered::Unknown { .. } | Unanswered::TooLarge { .. } | Unanswered::Unsendable(_) => {
            format!("rpc error: {error}")
        }
    };
    Response::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        .with(HeaderName::from_static("x-consul-knownleader"), HeaderValue::from_static("false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_and_claims_with_an_instance_get_the_node() {
        let check = |path: &str, body: &str, expected: &str| {
            let sent = named(path, &Bytes::copy_from_slice(body.as_bytes()), "n1");
            assert_eq!(std::str::from_utf8(&sent).unwrap(), expected, "{path} {body}");
        };
        let (session, claim) = ("/v1/session/create", "/weir/v1/locks/a/acquire");
        check(session, "", r#"{"Node":"n1"}"#);
        check(session, r#"{"node":"n2"}"#, r#"{"node":"n2"}"#);
        check(session, r#"{"node":null}"#, r#"{"Node":"n1"}"#);
        check(session, "[]", "[]");
        check(claim, r#"{"instance":"web-1"}"#, r#"{"instance":"web-1","node":"n1"}"#);
        check(claim, r#"{"instance":"web-1","node":""}"#, r#"{"instance":"web-1","node":"n1"}"#);
        check(claim, r#"{"instance":"web-1","node":"n2"}"#, r#"{"instance":"web-1","node":"n2"}"#);
        for none in [r#"{"instance":null}"#, r#"{"instance":""}"#, "{}"] {
            check(claim, none, none);
        }
        check("/v1/kv/a", "{}", "{}");
    }
}
