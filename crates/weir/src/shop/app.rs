//! One application: what it answers to which path.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::ShopConfig;
use super::call::{self, Called};
use super::fault::Fault;
use super::goods;

/// The largest request body that is read.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Which path of the front goes to which service.
const CALLS: [(&str, &str); 3] = [("/cart", "cart"), ("/catalog", "catalog"), ("/pay", "payments")];

pub(super) struct App {
    config: ShopConfig,
    fault: Mutex<Fault>,
    answered: AtomicU64,
}

impl App {
    pub(super) fn new(config: ShopConfig) -> Self {
        Self { config, fault: Mutex::new(Fault::default()), answered: AtomicU64::new(0) }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        // A body is always read to its end, so that the connection can be used again.
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return respond(
                StatusCode::PAYLOAD_TOO_LARGE,
                &json!({"error": "the body is too large or broken"}),
            );
        };
        match path {
            "/healthz" => respond(StatusCode::OK, &self.named(json!({"healthy": true}))),
            "/fault" => self.fault(&parts.method, &body.to_bytes()),
            _ if self.config.name == "front" => self.front(&parts).await,
            _ => self.plain(path, parts.uri.query().unwrap_or("")).await,
        }
    }

    /// What is wrong with this application: asked for, changed, or mended.
    fn fault(&self, method: &Method, body: &[u8]) -> Response<Full<Bytes>> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match *method {
            Method::GET => {}
            Method::DELETE => *fault = Fault::default(),
            Method::PUT => match Fault::from_json(body) {
                Ok(told) => *fault = told,
                Err(error) => return respond(StatusCode::BAD_REQUEST, &json!({"error": error})),
            },
            _ => {
                return respond(
                    StatusCode::METHOD_NOT_ALLOWED,
                    &json!({"error": "expected GET, PUT or DELETE"}),
                );
            }
        }
        respond(StatusCode::OK, &self.named(json!({"fault": *fault})))
    }

    /// An ordinary answer, or the trouble that was asked for.
    async fn plain(&self, path: &str, query: &str) -> Response<Full<Bytes>> {
        match self.suffer(query).await {
            Ok(()) => {}
            Err(refusal) => return refusal,
        }
        let mut answer = self.named(goods::of(&self.config.name, &self.config.version));
        answer["path"] = path.into();
        respond(StatusCode::OK, &answer)
    }

    /// The front: its page is made of what the others say; their own pages are passed on.
    async fn front(&self, parts: &http::request::Parts) -> Response<Full<Bytes>> {
        let query = parts.uri.query().unwrap_or("");
        let path = parts.uri.path();
        let Some(outbound) = self.config.outbound else {
            let error = json!({"error": "front was started without --outbound"});
            return respond(StatusCode::INTERNAL_SERVER_ERROR, &error);
        };
        let called = |service: &'static str, target: String| async move {
            call::call(outbound, service, &target, &parts.method, &parts.headers).await
        };
        if path == "/" {
            if let Err(refusal) = self.suffer(query).await {
                return refusal;
            }
            let (cart, catalog) =
                tokio::join!(called("cart", "/".to_owned()), called("catalog", "/".to_owned()));
            let worst = cart.status.max(catalog.status);
            let page = self.named(json!({"cart": cart.body, "catalog": catalog.body}));
            return respond(if worst.is_success() { StatusCode::OK } else { worst }, &page);
        }
        let whose = CALLS.iter().find(|(prefix, _)| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let Some((prefix, service)) = whose else {
            let error = json!({"error": format!("front has no page {path}"), "pages": ["/", "/cart", "/catalog", "/pay"]});
            return respond(StatusCode::NOT_FOUND, &error);
        };
        let rest = &path[prefix.len()..];
        let target = format!(
            "{}{}{query}",
            if rest.is_empty() { "/" } else { rest },
            if query.is_empty() { "" } else { "?" }
        );
        let Called { status, body } = called(service, target).await;
        respond(status, &self.named(json!({*service: body})))
    }

    /// Waits and fails as this application was told, or as the query asks.
    async fn suffer(&self, query: &str) -> Result<(), Response<Full<Bytes>>> {
        let asked = Fault::from_query(query)
            .map_err(|error| respond(StatusCode::BAD_REQUEST, &json!({"error": error})))?;
        let count = self.answered.fetch_add(1, Ordering::Relaxed);
        let standing = self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fault = asked.unwrap_or(standing);
        if !fault.hits(count) {
            return Ok(());
        }
        if let Some(delay) = fault.delay {
            tokio::time::sleep(delay.0).await;
        }
        match fault.status.and_then(|status| StatusCode::from_u16(status).ok()) {
            Some(status) => Err(respond(status, &self.named(json!({"error": "told to fail"})))),
            None => Ok(()),
        }
    }

    /// The answer with who gave it.
    fn named(&self, mut answer: Value) -> Value {
        answer["app"] = self.config.name.as_str().into();
        answer["version"] = self.config.version.as_str().into();
        answer["pid"] = std::process::id().into();
        answer
    }
}

fn respond(status: StatusCode, answer: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{answer}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
