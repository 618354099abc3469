//! Phase `filter`: what a rule does to requests and responses on the way, besides saying where they go.
//!
//! ```text
//! route -> cors (preflight answered) -> fault (delay, abort) -> redirect (answered)
//!       -> request head: host, path, fields -> mirror (copies) ... response head: cors, fields
//! ```
//!
//! Filters are compiled with the snapshot; those of a rule and of the service drawn are one by then. They are the same for
//! every protocol, because every protocol's heads pass here. A request through a rule without filters pays one look
//! at an empty pointer. This module decides and writes; it must not touch connections, and reads no clock. Its randomness
//! is the generator it is given.

mod decide;

mod apply;
mod cors;
mod counters;
mod fault;
mod headers;
mod path;
mod redirect;
mod share;

pub(crate) use apply::{Applied, copy_request, line};
pub(crate) use cors::CorsAnswer;
pub use cors::{AllowList, Cors, CorsSpec, OriginPattern};
pub(crate) use counters::FilterCounters;
pub(crate) use decide::{Answer, decide};
pub use fault::{Abort, Fault};
pub use headers::{HeaderChange, HeaderOp, may_change};
pub use path::PathChange;
pub(crate) use path::trimmed;
pub use redirect::{Place, Redirect, Scheme};
pub use share::Share;

use crate::route::UpstreamIndex;

/// The filters of a rule, or of a rule and one of its services together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    /// Changes of the request's fields.
    pub request: Option<HeaderChange>,
    /// Changes of the response's fields.
    pub response: Option<HeaderChange>,
    /// The answer is a redirect.
    pub redirect: Option<Redirect>,
    /// The host that the service sees.
    pub host: Option<Box<str>>,
    /// The path that the service sees.
    pub path: Option<PathChange>,
    /// Who gets copies.
    pub mirrors: Box<[Mirror]>,
    /// What pages of other origins may do.
    pub cors: Option<Cors>,
    /// What is made to fail.
    pub fault: Option<Fault>,
}

/// Copies of requests for a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirror {
    /// The service.
    pub upstream: UpstreamIndex,
    /// How many of the requests.
    pub share: Share,
}

impl Filters {
    /// What they do, a line each, for people; `name` says what a service is called.
    pub fn described(&self, name: impl Fn(UpstreamIndex) -> String) -> Vec<String> {
        let mut lines = Vec::new();
        let mut change = |what: &str, change: &Option<HeaderChange>| {
            for one in change.iter().flat_map(HeaderChange::described) {
                lines.push(format!("{what}: {one}"));
            }
        };
        change("request field", &self.request);
        change("response field", &self.response);
        lines.extend(self.cors.iter().map(ToString::to_string));
        if let Some(Fault { delay, abort }) = &self.fault {
            lines.extend(delay.map(|(delay, share)| format!("fault: {share} wait {} ms", delay.as_millis())));
            lines.extend(abort.map(|(abort, share)| format!("fault: {share} are answered with {abort}")));
        }
        lines.extend(self.redirect.iter().map(ToString::to_string));
        lines.extend(self.host.iter().map(|host| format!("rewrite: host {host}")));
        lines.extend(self.path.iter().map(|path| format!("rewrite: {path}")));
        lines.extend(
            self.mirrors
                .iter()
                .map(|mirror| format!("mirror: {} to {}", mirror.share, name(mirror.upstream))),
        );
        lines
    }
}
