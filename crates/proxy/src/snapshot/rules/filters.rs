//! Filters of rules and of their services, put together into what happens to a request.
//!
//! What a document may say is validated with the document. What is said twice, by the rule and by the service, is done
//! one after the other where that has a meaning (fields, copies); else the service's word counts.

use weir_model::resource::filter::{
    self as model, Action, Filter, HeaderModifier, PathModifier, PathModifierKind,
};
use weir_model::{Kind, ServiceRef};

use super::Scope;
use crate::filter::{
    Abort, Cors, CorsSpec, Fault, Filters, HeaderChange, HeaderOp, Mirror, PathChange, Redirect, Share,
};

/// A filter with the path of its settings; none for those that were compiled, and so judged, with the rule.
type Placed<'a> = (Option<String>, Action<'a>);

/// The filters at `path`, after those of the rule if they are a service's. Nothing when there are none.
pub(super) fn compile(
    scope: &mut Scope<'_>,
    path: &str,
    filters: &[Filter],
    of_rule: Option<&[Filter]>,
) -> Option<Filters> {
    let mut placed: Vec<Placed<'_>> = Vec::new();
    placed.extend(of_rule.unwrap_or_default().iter().filter_map(|filter| Some((None, filter.action()?))));
    for (at, filter) in filters.iter().enumerate() {
        match filter.action() {
            Some(action) => placed.push((Some(format!("{path}[{at}].{}", filter.kind.field())), action)),
            None => {
                scope.reject(format!("{path}[{at}]"), format!("expected `{}`", filter.kind.field()));
            }
        }
    }
    if placed.is_empty() {
        return None;
    }
    let mut compiled = Filters {
        request: headers(scope, &placed, |action| match action {
            Action::RequestHeaders(modifier) => Some(modifier),
            _ => None,
        }),
        response: headers(scope, &placed, |action| match action {
            Action::ResponseHeaders(modifier) => Some(modifier),
            _ => None,
        }),
        ..Filters::default()
    };
    let mut mirrors = Vec::new();
    for (place, action) in &placed {
        match action {
            Action::RequestHeaders(_) | Action::ResponseHeaders(_) => {}
            Action::Redirect(redirect) => {
                compiled.redirect = Some(Redirect {
                    scheme: redirect.scheme,
                    host: redirect.hostname.as_deref().map(Into::into),
                    port: redirect.port,
                    path: redirect.path.as_ref().map(path_change),
                    status: redirect.status_code.unwrap_or(302),
                });
            }
            Action::Rewrite(rewrite) => {
                compiled.host = rewrite.hostname.as_deref().map(Into::into).or(compiled.host);
                compiled.path = rewrite.path.as_ref().map(path_change).or(compiled.path);
            }
            Action::Mirror(mirror) => mirrors.extend(self::mirror(scope, place.as_deref(), mirror)),
            Action::Cors(cors) => compiled.cors = self::cors(scope, place.as_deref(), cors),
            Action::Fault(fault) => compiled.fault = Some(self::fault(fault)),
        }
    }
    if compiled.redirect.is_some() && (compiled.host.is_some() || compiled.path.is_some()) {
        scope.reject(path, "a request is redirected or rewritten, not both");
    }
    compiled.mirrors = mirrors.into();
    Some(compiled)
}

/// All changes of fields of one side, one after the other.
fn headers<'a>(
    scope: &mut Scope<'_>,
    placed: &[Placed<'a>],
    pick: impl Fn(&Action<'a>) -> Option<&'a HeaderModifier>,
) -> Option<HeaderChange> {
    let mut ops = Vec::new();
    let mut places = Vec::new();
    for (place, action) in placed {
        let Some(HeaderModifier { set, add, remove }) = pick(action) else { continue };
        let mut push = |field: String, op| {
            ops.push(op);
            places.push(place.as_ref().map(|place| format!("{place}.{field}")));
        };
        for (at, name) in remove.iter().enumerate() {
            push(format!("remove[{at}]"), HeaderOp::Remove(name));
        }
        for (at, field) in set.iter().enumerate() {
            push(format!("set[{at}]"), HeaderOp::Set(&field.name, &field.value));
        }
        for (at, field) in add.iter().enumerate() {
            push(format!("add[{at}]"), HeaderOp::Add(&field.name, &field.value));
        }
    }
    HeaderChange::new(ops).unwrap_or_else(|(at, why)| {
        if let Some(Some(place)) = places.into_iter().nth(at) {
            scope.reject(place, why);
        }
        None
    })
}

fn path_change(modifier: &PathModifier) -> PathChange {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    match modifier.kind {
        PathModifierKind::ReplaceFullPath => PathChange::Full(text(&modifier.replace_full_path)),
        PathModifierKind::ReplacePrefixMatch => PathChange::Prefix(text(&modifier.replace_prefix_match)),
    }
}

fn mirror(scope: &mut Scope<'_>, place: Option<&str>, mirror: &model::RequestMirror) -> Option<Mirror> {
    let to = &mirror.backend_ref;
    let kind = to.kind.as_deref().unwrap_or(Kind::Service.as_str());
    if kind != Kind::Service.as_str() {
        if let Some(place) = place {
            let reason = format!("`{kind}` is not supported: expected `Service`");
            scope.reject(format!("{place}.backendRef.kind"), reason);
        }
        return None;
    }
    let namespace = to.namespace.as_deref().unwrap_or(&scope.id.namespace);
    let share = mirror.share();
    Some(Mirror {
        upstream: scope.names.index(&ServiceRef::new(namespace, &*to.name)),
        share: Share::new(share.numerator.into(), share.denominator.into()),
    })
}

fn cors(scope: &mut Scope<'_>, place: Option<&str>, cors: &model::Cors) -> Option<Cors> {
    let spec = CorsSpec {
        origins: &cors.allow_origins,
        credentials: cors.allow_credentials.unwrap_or(false),
        methods: &cors.allow_methods,
        headers: &cors.allow_headers,
        expose: &cors.expose_headers,
        max_age: cors.max_age,
    };
    let compiled = Cors::new(&spec);
    if let (Err(at), Some(place)) = (&compiled, place) {
        let origin = &cors.allow_origins[*at];
        let reason = format!("`{origin}` is not an origin: expected `https://shop.example`, or `*`");
        scope.reject(format!("{place}.allowOrigins[{at}]"), reason);
    }
    compiled.ok()
}

fn fault(fault: &model::Fault) -> Fault {
    let share = |percentage| Share::new(percentage, 100.0);
    Fault {
        delay: fault.delay.map(|delay| (delay.duration.0, share(delay.percentage))),
        abort: fault.abort.map(|abort| {
            let answer = match abort.grpc_status {
                Some(status) => Abort::Grpc(status),
                None => Abort::Http(abort.status.unwrap_or(503)),
            };
            (answer, share(abort.percentage))
        }),
    }
}
