//! Which kinds of document there are, and what to say about those that are not ours.

use super::decode::{Fault, decode, one_of, unknown_field};
use super::error::DocumentError;
use super::fields;
use super::node::{Entry, Node, Value, push_key, shortened};
use super::suggest::nearest;
use super::{Document, ERRORS_MAX, Ignored, Origin, Parsed};
use crate::resource::{GATEWAY_API_VERSION, Kind, Metadata, Resource, Spec, WEIR_API_VERSION};

/// Older versions of the Gateway API, whose kinds have the same form.
const GATEWAY_API_VERSION_BETA: &str = "gateway.networking.k8s.io/v1beta1";
const GATEWAY_API_VERSION_ALPHA: &str = "gateway.networking.k8s.io/v1alpha2";
const GATEWAY_API_VERSION_ALPHA_3: &str = "gateway.networking.k8s.io/v1alpha3";

/// Fields of every document.
const DOCUMENT_FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];

/// Kinds of the design that are not there yet: to drop one silently would change what the set means.
const NOT_YET: [&str; 9] = [
    "UDPRoute",
    "AccessPolicy",
    "JwtProvider",
    "ConfigItem",
    "Lock",
    "Release",
    "BackendTLSPolicy",
    "BackendTrafficPolicy",
    "ListenerSet",
];

/// Kinds that come along in manifests and say nothing to Weir.
const WITHOUT_MEANING: [(&str, &str); 3] = [
    ("GatewayClass", "Weir serves every gateway, whatever its class"),
    ("ReferenceGrant", "references between namespaces need no grant yet"),
    ("Namespace", "a namespace exists as soon as something is in it"),
];

/// Reads one document of a file (or the items of a `List`) into `parsed`.
pub(super) fn document(source: &str, root: Node, parsed: &mut Parsed, errors: &mut Vec<DocumentError>) {
    if errors.len() >= ERRORS_MAX {
        return;
    }
    let name = root.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text);
    let kind = root.get("kind").and_then(Node::text);
    let label = match (kind, name) {
        (Some(kind), Some(name)) => Some(format!("{}/{}", shortened(kind), shortened(name))),
        (Some(kind), None) => Some(shortened(kind)),
        _ => None,
    };
    let line = root.place.line;
    let report = |fault: Fault| {
        let place = fault.place.unwrap_or(root.place);
        DocumentError {
            source: source.to_owned(),
            line: place.line,
            column: place.column,
            resource: label.clone(),
            path: fault.path,
            message: fault.message,
            expected: fault.expected,
            suggestion: fault.suggestion,
        }
    };
    match sort(&root) {
        Err(fault) => errors.push(report(fault)),
        Ok(Sorted::Ignored(why)) => {
            let path = label.unwrap_or_default();
            parsed.ignored.push(Ignored { path, line, why: why.to_owned() });
        }
        Ok(Sorted::List) => list(source, root, parsed, errors),
        Ok(Sorted::Resource(kind)) => match resource(kind, root.clone()) {
            Err(faults) => errors.extend(faults.into_iter().map(report)),
            Ok((resource, ignored)) => {
                let origin = Origin { source: source.to_owned(), root };
                parsed.documents.push(Document { resource, line, ignored, origin });
            }
        },
    }
}

/// What a document is.
enum Sorted {
    Resource(Kind),
    List,
    Ignored(&'static str),
}

/// Finds out what a document is from its `kind` and `apiVersion`.
fn sort(root: &Node) -> Result<Sorted, Fault> {
    if !matches!(root.value, Value::Map(_)) {
        let message =
            format!("{} where a document with `kind`, `metadata` and `spec` was expected", root.value);
        return Err(Fault { message, ..Fault::default() });
    }
    let Some(entry) = root.entry("kind") else {
        return Err(Fault {
            message: "the field `kind` is missing".to_owned(),
            expected: Some(one_of(&Kind::ALL.map(Kind::as_str))),
            suggestion: None,
            ..Fault::default()
        });
    };
    let Some(name) = entry.node.text() else {
        return Err(at(entry, format!("{} where the name of a kind was expected", entry.node.value)));
    };
    let version = match root.entry("apiVersion") {
        Some(entry) if entry.node.value != Value::Null => match entry.node.text() {
            Some(text) => Some((entry, text)),
            None => return Err(at(entry, format!("{} where a version was expected", entry.node.value))),
        },
        _ => None,
    };
    let api_version = version.map_or("", |(_, text)| text);
    if name == "List" || (name == "Service" && api_version == "v1") {
        return if name == "List" {
            Ok(Sorted::List)
        } else {
            Err(at(
                entry,
                "this is Kubernetes' Service (`apiVersion: v1`), which Weir does not know; for Weir's own write \
                 `apiVersion: weir.dev/v1`, or leave `apiVersion` out, and list its `endpoints` if it does not register \
                 itself",
            ))
        };
    }
    if let Some((_, why)) = WITHOUT_MEANING.iter().find(|(known, _)| *known == name) {
        return Ok(Sorted::Ignored(why));
    }
    if NOT_YET.contains(&name) {
        return Err(at(entry, format!("the kind `{name}` is not supported yet")));
    }
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == name) else {
        let known = Kind::ALL.map(Kind::as_str);
        let suggestion = nearest(name, known).map(str::to_owned);
        let message = format!("unknown kind `{}`", shortened(name));
        return Err(Fault { expected: Some(one_of(&known)), suggestion, ..at(entry, message) });
    };
    let accepted: &[&str] = match kind {
        Kind::Gateway | Kind::HttpRoute => &[GATEWAY_API_VERSION, GATEWAY_API_VERSION_BETA],
        Kind::GrpcRoute | Kind::TcpRoute => &[GATEWAY_API_VERSION, GATEWAY_API_VERSION_ALPHA],
        Kind::TlsRoute => &[GATEWAY_API_VERSION, GATEWAY_API_VERSION_ALPHA_3, GATEWAY_API_VERSION_ALPHA],
        Kind::Service | Kind::Certificate | Kind::TrafficPolicy | Kind::ListenerPolicy | Kind::RateLimit => {
            &[WEIR_API_VERSION]
        }
    };
    if let Some((entry, text)) = version
        && !accepted.contains(&text)
    {
        let message = format!("`{}` has no kind {kind} that Weir knows", shortened(text));
        return Err(Fault { expected: Some(one_of(accepted)), ..at(entry, message) });
    }
    Ok(Sorted::Resource(kind))
}

/// A fault of a top-level field.
fn at(entry: &Entry, message: impl Into<String>) -> Fault {
    Fault { place: Some(entry.place), path: entry.key.clone(), message: message.into(), ..Fault::default() }
}

/// Kubernetes' `List`: its items are documents of their own.
fn list(source: &str, mut root: Node, parsed: &mut Parsed, errors: &mut Vec<DocumentError>) {
    let items = root.take("items").map(|entry| entry.node);
    match items {
        Some(Node { value: Value::List(items), .. }) => {
            for item in items {
                if errors.len() >= ERRORS_MAX {
                    break;
                }
                // A list in a list would recurse as deep as the tree, which is bounded.
                document(source, item, parsed, errors);
            }
        }
        other => {
            let place = other.as_ref().map_or(root.place, |node| node.place);
            errors.push(DocumentError {
                source: source.to_owned(),
                line: place.line,
                column: place.column,
                resource: Some("List".to_owned()),
                path: "items".to_owned(),
                message: "expected a list of documents".to_owned(),
                ..DocumentError::default()
            });
        }
    }
}

/// Decodes a document of a known kind.
fn resource(kind: Kind, mut root: Node) -> Result<(Resource, Vec<Ignored>), Vec<Fault>> {
    let mut faults = Vec::new();
    let ignored = fields::set_aside(kind, &mut root, &mut faults);
    if let Value::Map(entries) = &root.value {
        for entry in
            entries.iter().filter(|entry| !DOCUMENT_FIELDS.contains(&entry.key.as_str())).take(ERRORS_MAX)
        {
            let mut path = String::new();
            push_key(&mut path, &entry.key);
            faults.push(Fault { path, ..unknown_field(entry, &DOCUMENT_FIELDS) });
        }
    }
    let nothing = Node { place: root.place, value: Value::Map(Vec::new()) };
    let part = |name| root.get(name).filter(|node| node.value != Value::Null).unwrap_or(&nothing);
    // A value that is not supported yet is unknown to the decoder too: say it once.
    let refused: Vec<String> = faults.iter().map(|fault| fault.path.clone()).collect();
    let mut note =
        |found: Vec<Fault>| faults.extend(found.into_iter().filter(|f| !refused.contains(&f.path)));
    let metadata = decode::<Metadata>(part("metadata"), "metadata").map_err(&mut note).ok();
    let spec = part("spec");
    let spec = match kind {
        Kind::Gateway => decode(spec, "spec").map(Spec::Gateway),
        Kind::HttpRoute => decode(spec, "spec").map(Spec::HttpRoute),
        Kind::Service => decode(spec, "spec").map(Spec::Service),
        Kind::Certificate => decode(spec, "spec").map(Spec::Certificate),
        Kind::TrafficPolicy => decode(spec, "spec").map(Spec::TrafficPolicy),
        Kind::GrpcRoute => decode(spec, "spec").map(Spec::GrpcRoute),
        Kind::TlsRoute => decode(spec, "spec").map(Spec::TlsRoute),
        Kind::TcpRoute => decode(spec, "spec").map(Spec::TcpRoute),
        Kind::ListenerPolicy => decode(spec, "spec").map(Spec::ListenerPolicy),
        Kind::RateLimit => decode(spec, "spec").map(Spec::RateLimit),
    };
    let spec = spec.map_err(&mut note).ok();
    match (metadata, spec) {
        (Some(metadata), Some(spec)) if faults.is_empty() => Ok((Resource { metadata, spec }, ignored)),
        _ => {
            faults.sort_by_key(|fault| fault.place.map_or((0, 0), |place| (place.line, place.column)));
            Err(faults)
        }
    }
}
