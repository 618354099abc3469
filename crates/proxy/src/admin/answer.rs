//! What the admin interface answers.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use weir_api::browser::{AllowedHosts, REFUSAL, is_foreign};
use weir_api::report::Wanted;
use weir_model::units::Span;

use super::config::{Config, Filter};
use crate::explain::{Request, explain};
use crate::listen::Listeners;
use crate::source::Shared;
use crate::{Metrics, MetricsFormat};

/// The paths there are.
const PATHS: &str = "/healthz, /readyz, /config, /figures, /metrics, /explain, /drain";
/// The most header fields of a request to be explained.
const HEADERS_MAX: usize = 128;
/// The longest that draining may be put off.
const AFTER_MAX: Duration = Duration::from_secs(3600);

/// What answers are made from.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) listeners: Option<Arc<Listeners>>,
    pub(super) hosts: Arc<AllowedHosts>,
}

type Answer = Response<Full<Bytes>>;

/// Answers one request.
pub(super) fn answer<B>(sources: &Sources, request: &http::Request<B>) -> Answer {
    let (method, uri) = (request.method(), request.uri());
    if let Err(refusal) = sources.hosts.check(request.headers()) {
        return text(StatusCode::FORBIDDEN, format!("{refusal}\n"));
    }
    if is_foreign(method, request.headers()) {
        return text(StatusCode::FORBIDDEN, format!("{REFUSAL}\n"));
    }
    let (shared, metrics) = (&*sources.shared, &*sources.metrics);
    let query = uri.query().unwrap_or_default();
    let reads = method == Method::GET || method == Method::HEAD;
    let outcome = match uri.path() {
        "/drain" if method == Method::POST => drain(&sources.shared, query),
        "/drain" => Ok(not_allowed(method, "POST")),
        "/healthz" | "/readyz" | "/config" | "/figures" | "/metrics" | "/explain" if !reads => {
            Ok(not_allowed(method, "GET, HEAD"))
        }
        "/healthz" => Ok(text(StatusCode::OK, "ok\n".to_owned())),
        "/readyz" => Ok(ready(shared, metrics)),
        "/config" => config(sources, query),
        "/figures" => figures(sources, query),
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = MetricsFormat::accepted(accept.unwrap_or_default());
            Ok(typed(StatusCode::OK, format.content_type(), metrics.render(shared, format).into()))
        }
        "/explain" => explained(sources, query),
        path => Ok(text(StatusCode::NOT_FOUND, format!("there is no {path}: expected one of {PATHS}\n"))),
    };
    outcome.unwrap_or_else(|message| text(StatusCode::BAD_REQUEST, format!("{message}\n")))
}

fn not_allowed(method: &Method, allowed: &'static str) -> Answer {
    let expected = allowed.trim_end_matches(", HEAD");
    let mut refused =
        text(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not allowed: expected {expected}\n"));
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refused
}

fn ready(shared: &Shared, metrics: &Metrics) -> Answer {
    let not = |why: String| text(StatusCode::SERVICE_UNAVAILABLE, why);
    let now_s = shared.now_s();
    if shared.is_draining() {
        not("draining\n".to_owned())
    } else if !shared.is_ready() {
        not("no snapshot is in force yet\n".to_owned())
    } else if !metrics.is_whole(now_s) {
        not(format!("{} of {} workers are alive\n", metrics.workers_alive(now_s), metrics.workers()))
    } else {
        text(StatusCode::OK, "ready\n".to_owned())
    }
}

/// Answers `/config?service=shop/cart&listener=0.0.0.0:80`.
fn config(sources: &Sources, query: &str) -> Result<Answer, String> {
    let mut filter = Filter::default();
    for (name, value) in parameters(query) {
        let value = value?;
        match name {
            "service" => filter.service = Some(value),
            "listener" => filter.listener = Some(value),
            _ => return Err(format!("unknown parameter `{name}`: expected service or listener")),
        }
    }
    let listeners = sources.listeners.as_deref();
    Ok(json(&Config::of(&sources.shared, &sources.metrics, listeners, &filter)))
}

/// Answers `/figures?namespace=shop&service=cart`: what was counted, with rates since somebody last asked.
fn figures(sources: &Sources, query: &str) -> Result<Answer, String> {
    let mut wanted = Wanted::default();
    for (name, value) in parameters(query) {
        let value = Some(value?).filter(|value| !value.is_empty());
        match name {
            "namespace" => wanted.namespace = value,
            "service" => wanted.service = value,
            _ => return Err(format!("unknown parameter `{name}`: expected namespace or service")),
        }
    }
    Ok(json(&sources.metrics.figures(&sources.shared, &wanted)))
}

/// What `POST /drain` answers.
#[derive(Serialize)]
struct Draining {
    draining: bool,
    after_ms: u64,
}

/// Answers `POST /drain?after=5s`: from now on the proxy says that it is not ready, and after that time it drains and
/// ends, as when it is told to by a signal.
fn drain(shared: &Arc<Shared>, query: &str) -> Result<Answer, String> {
    let mut after = Duration::ZERO;
    for (name, value) in parameters(query) {
        let value = value?;
        match name {
            "after" => {
                let span = value.parse::<Span>();
                after = span.map_err(|error| format!("parameter `after`: {error}"))?.0;
            }
            _ => return Err(format!("unknown parameter `{name}`: expected after")),
        }
    }
    if after > AFTER_MAX {
        return Err(format!("parameter `after`: at most {} s", AFTER_MAX.as_secs()));
    }
    // Of several that are put off, the first counts, so that asking again and again makes nothing grow.
    let is_first = !shared.is_draining();
    shared.start_draining();
    tracing::info!(after_ms = after.as_millis() as u64, "asked to drain");
    if after.is_zero() {
        shared.ask_to_drain();
    } else if is_first {
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            shared.ask_to_drain();
        });
    }
    let mut answer = json(&Draining { draining: true, after_ms: after.as_millis() as u64 });
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}

/// The parameters of a query, their values decoded.
fn parameters(query: &str) -> impl Iterator<Item = (&str, Result<String, String>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name, decoded(value).ok_or_else(|| format!("parameter `{name}` is not UTF-8")))
    })
}

/// Answers `/explain?method=GET&url=http://shop/cart&header=Name: value`, as JSON or with `format=text` for people.
fn explained(sources: &Sources, query: &str) -> Result<Answer, String> {
    let (mut method, mut url, mut headers, mut for_people) = ("GET".to_owned(), None, Vec::new(), false);
    let mut source: Option<IpAddr> = None;
    for (name, value) in parameters(query) {
        let value = value?;
        match name {
            "method" => method = value,
            "url" => url = Some(value),
            "header" if headers.len() == HEADERS_MAX => {
                return Err(format!("more than {HEADERS_MAX} headers"));
            }
            "header" => headers.push(value),
            "source" => {
                let address = value.parse();
                source = Some(address.map_err(|_| format!("source `{value}`: expected an IP address"))?);
            }
            "format" => match &*value {
                "json" => for_people = false,
                "text" => for_people = true,
                _ => return Err(format!("format `{value}`: expected `json` or `text`")),
            },
            _ => {
                return Err(format!(
                    "unknown parameter `{name}`: expected method, url, header, source or format"
                ));
            }
        }
    }
    let url = url.ok_or("parameter `url` is missing: expected the URL of the request to explain")?;
    let request = if Request::is_connection(&url) {
        Request::connection(&url)
    } else {
        Request::parse(&method, &url, headers.iter().map(String::as_str))
    };
    let request = request.map_err(|error| error.to_string())?.from_address(source);
    // A sidecar explains what its application calls.
    let app = sources.metrics.app.get();
    let request = request.made_by(app.map(|app| &app.service));
    let explanation = explain(&sources.shared.snapshot.load(), &request, &mut rand::rng());
    let explanation = explanation.by(app.map(|app| app.label.to_string()));
    Ok(if for_people { text(StatusCode::OK, explanation.to_string()) } else { json(&explanation) })
}

/// The value of a query parameter (`application/x-www-form-urlencoded`).
fn decoded(value: &str) -> Option<String> {
    let spaced = value.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => typed(StatusCode::OK, "application/json", body.into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body.into())
}

fn typed(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
