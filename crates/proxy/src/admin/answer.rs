//! What the admin interface answers.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode, Uri};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use weir_api::snapshot::SnapshotInputs;
use weir_model::Position;

use crate::explain::{Request, explain};
use crate::source::{Shared, SourceStatus};
use crate::{Metrics, MetricsFormat};

/// The paths there are.
const PATHS: &str = "/healthz, /readyz, /config, /metrics, /explain";
/// The most header fields of a request to be explained.
const HEADERS_MAX: usize = 128;

/// What is in force, as `/config` shows it.
#[derive(Serialize)]
struct Config {
    position: Position,
    ready: bool,
    draining: bool,
    source: SourceStatus,
    inputs: SnapshotInputs,
}

/// Answers one request.
pub(super) fn answer(
    shared: &Shared,
    metrics: &Metrics,
    method: &Method,
    uri: &Uri,
) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut refused =
            text(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not allowed: expected GET\n"));
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match uri.path() {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => ready(shared),
        "/config" => config(shared),
        "/metrics" => {
            let format = MetricsFormat::Text;
            typed(StatusCode::OK, format.content_type(), metrics.render(shared, format).into())
        }
        "/explain" => explained(shared, uri.query().unwrap_or_default())
            .unwrap_or_else(|message| text(StatusCode::BAD_REQUEST, format!("{message}\n"))),
        path => text(StatusCode::NOT_FOUND, format!("there is no {path}: expected one of {PATHS}\n")),
    }
}

fn ready(shared: &Shared) -> Response<Full<Bytes>> {
    if shared.is_draining() {
        text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
    } else if shared.is_ready() {
        text(StatusCode::OK, "ready\n".to_owned())
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "no snapshot is in force yet\n".to_owned())
    }
}

fn config(shared: &Shared) -> Response<Full<Bytes>> {
    let snapshot = shared.snapshot.load();
    json(&Config {
        position: snapshot.position,
        ready: shared.is_ready(),
        draining: shared.is_draining(),
        source: shared.status(),
        inputs: SnapshotInputs::from(&snapshot.inputs),
    })
}

/// Answers `/explain?method=GET&url=http://shop/cart&header=Name: value`, as JSON or with `format=text` for people.
fn explained(shared: &Shared, query: &str) -> Result<Response<Full<Bytes>>, String> {
    let (mut method, mut url, mut headers, mut for_people) = ("GET".to_owned(), None, Vec::new(), false);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or_else(|| format!("parameter `{name}` is not UTF-8"))?;
        match name {
            "method" => method = value,
            "url" => url = Some(value),
            "header" if headers.len() == HEADERS_MAX => {
                return Err(format!("more than {HEADERS_MAX} headers"));
            }
            "header" => headers.push(value),
            "format" => match &*value {
                "json" => for_people = false,
                "text" => for_people = true,
                _ => return Err(format!("format `{value}`: expected `json` or `text`")),
            },
            _ => {
                return Err(format!("unknown parameter `{name}`: expected method, url, header or format"));
            }
        }
    }
    let url = url.ok_or("parameter `url` is missing: expected the URL of the request to explain")?;
    let request = Request::parse(&method, &url, headers.iter().map(String::as_str))
        .map_err(|error| error.to_string())?;
    let explanation = explain(&shared.snapshot.load(), &request, &mut rand::rng());
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
