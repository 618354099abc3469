//! Finds the handler for a request by path and method.
//!
//! A route is either exact (`/v1/agent/self`) or, when it ends in `/`, a prefix (`/v1/kv/`) whose rest, slashes
//! included, the handler reads with [`Request::rest`]. The longest route wins.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use http::header::{ALLOW, HeaderValue};
use http::{Method, StatusCode};

use super::request::Request;
use super::response::Response;

/// Largest body of a route that does not say otherwise: 1 MiB.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What a handler returns.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Answers requests. Async functions and closures from [`Request`] to [`Response`] are handlers.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn call(&self, request: Request) -> ResponseFuture;
}

impl<F, Fut> Handler for F
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    fn call(&self, request: Request) -> ResponseFuture {
        Box::pin(self(request))
    }
}

/// Words a refusal by the router or server (400, 404, 405, 408, 413) in an API's own form.
pub type ErrorForm = fn(StatusCode, &str) -> Response;

/// What is behind one path: a handler per method.
pub struct Route {
    handlers: Vec<(Method, Box<dyn Handler>)>,
    /// Largest body it takes, in bytes.
    pub(super) body_bytes_max: usize,
    /// Says that a body is too large: gets the body's length if known, and the limit.
    pub(super) too_large: fn(Option<u64>, usize) -> String,
}

impl Default for Route {
    fn default() -> Self {
        Self { handlers: Vec::new(), body_bytes_max: BODY_BYTES_MAX, too_large: say_too_large }
    }
}

impl Route {
    /// A route without handlers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the handler of a method.
    #[must_use]
    pub fn on(mut self, method: Method, handler: impl Handler) -> Self {
        self.handlers.push((method, Box::new(handler)));
        self
    }

    /// Sets the largest body, in bytes.
    #[must_use]
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// Sets how a body that is too large is refused.
    #[must_use]
    pub fn too_large(mut self, say: fn(Option<u64>, usize) -> String) -> Self {
        self.too_large = say;
        self
    }

    /// The handler for a method; `HEAD` is answered by `GET`.
    pub(super) fn handler(&self, method: &Method) -> Option<&dyn Handler> {
        let find = |wanted: &Method| self.handlers.iter().find(|(m, _)| m == wanted).map(|(_, h)| &**h);
        find(method).or_else(|| if *method == Method::HEAD { find(&Method::GET) } else { None })
    }

    fn allowed(&self) -> HeaderValue {
        let mut names: Vec<&str> = self.handlers.iter().map(|(method, _)| method.as_str()).collect();
        names.sort_unstable();
        HeaderValue::from_str(&names.join(",")).unwrap_or(HeaderValue::from_static(""))
    }
}

/// The routes of one server.
#[derive(Default)]
pub struct Router {
    routes: HashMap<String, Route>,
    /// Length of the longest prefix route, so that a long path costs a bounded search.
    prefix_len_max: usize,
    error_forms: Vec<(String, ErrorForm)>,
    parts: Vec<(&'static str, &'static str)>,
}

impl Router {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route. A path that ends in `/` (except `/` itself) also takes everything below it.
    /// A later route replaces an earlier one of the same path.
    pub fn add(&mut self, path: &str, route: Route) {
        if is_prefix(path) {
            self.prefix_len_max = self.prefix_len_max.max(path.len());
        }
        self.routes.insert(path.to_owned(), route);
    }

    /// Adds a `GET` handler.
    pub fn get(&mut self, path: &str, handler: impl Handler) {
        self.add(path, Route::new().on(Method::GET, handler));
    }

    /// Adds a `PUT` handler.
    pub fn put(&mut self, path: &str, handler: impl Handler) {
        self.add(path, Route::new().on(Method::PUT, handler));
    }

    /// Adds a `POST` handler.
    pub fn post(&mut self, path: &str, handler: impl Handler) {
        self.add(path, Route::new().on(Method::POST, handler));
    }

    /// Sets how refusals below a path are worded; plain text elsewhere.
    pub fn errors_under(&mut self, path: &str, form: ErrorForm) {
        self.error_forms.push((path.to_owned(), form));
    }

    /// Counts requests below a path under a name of their own, unless an earlier one is above them.
    pub fn count_under(&mut self, path: &'static str, name: &'static str) {
        self.parts.push((path, name));
    }

    /// The names under which requests are counted.
    pub(super) fn parts(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().map(|(_, name)| *name)
    }

    /// Which of them a path belongs to.
    pub(super) fn part(&self, path: &str) -> Option<usize> {
        self.parts.iter().position(|(under, _)| path.starts_with(under))
    }

    /// The route for a decoded path, and where in the path its rest begins.
    pub(super) fn find(&self, path: &str) -> Option<(&Route, usize)> {
        if let Some(route) = self.routes.get(path) {
            return Some((route, path.len()));
        }
        let head = &path.as_bytes()[..path.len().min(self.prefix_len_max)];
        (1..head.len()).rev().filter(|at| head[*at] == b'/').find_map(|at| {
            // A slash is one byte, so cutting behind it is on a character's border.
            Some((self.routes.get(&path[..=at])?, at + 1))
        })
    }

    /// A refusal in the form of the API that the path belongs to.
    pub(super) fn refuse(&self, path: &str, status: StatusCode, message: &str) -> Response {
        let form = self.error_forms.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        match form {
            Some((_, form)) => form(status, message),
            None => Response::text(status, message),
        }
    }

    /// The answer when a path has no handler for a method.
    pub(super) fn wrong_method(&self, path: &str, route: &Route, method: &Method) -> Response {
        if *method == Method::OPTIONS {
            return Response::empty(StatusCode::OK).with(ALLOW, route.allowed());
        }
        self.refuse(path, StatusCode::METHOD_NOT_ALLOWED, &format!("method {method} not allowed"))
            .with(ALLOW, route.allowed())
    }
}

fn is_prefix(path: &str) -> bool {
    path.len() > 1 && path.ends_with('/')
}

fn say_too_large(length: Option<u64>, max: usize) -> String {
    match length {
        Some(length) => format!("request body of {length} bytes is too large: at most {max} bytes"),
        None => format!("request body is too large: at most {max} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ok(_: Request) -> Response {
        Response::empty(StatusCode::OK)
    }

    fn router() -> Router {
        let mut router = Router::new();
        router.get("/", ok);
        router.get("/v1/agent/self", ok);
        router.get("/v1/agent/service/", ok);
        router.put("/v1/agent/service/deregister/", ok);
        router
    }

    #[test]
    fn longest_route_wins() {
        let router = router();
        let rest = |path: &str| router.find(path).map(|(_, at)| path[at..].to_owned());
        assert_eq!(rest("/").as_deref(), Some(""));
        assert_eq!(rest("/v1/agent/self").as_deref(), Some(""));
        assert_eq!(rest("/v1/agent/service/a/b").as_deref(), Some("a/b"));
        assert_eq!(rest("/v1/agent/service/deregister/x").as_deref(), Some("x"));
        assert_eq!(rest("/v1/agent/service/").as_deref(), Some(""));
        for unknown in ["/x", "/v1/agent/selfie", "/v1/agent/self/", "/v1/agent", "", "é/"] {
            assert!(router.find(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn methods_are_told_apart() {
        let router = router();
        let (route, _) = router.find("/v1/agent/service/deregister/x").unwrap();
        assert!(route.handler(&Method::PUT).is_some());
        assert!(route.handler(&Method::GET).is_none());
        assert!(router.find("/v1/agent/self").unwrap().0.handler(&Method::HEAD).is_some());
        let refusal = router.wrong_method("/", route, &Method::GET);
        assert_eq!(refusal.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(refusal.headers[ALLOW], "PUT");
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_found_or_not_without_panic(path in "/?(v1/|agent/|service/|é|[a-z/]){0,8}") {
            if let Some((_, at)) = router().find(&path) {
                proptest::prop_assert!(path.is_char_boundary(at));
            }
        }
    }
}
