//! `weir explain`: where a request would go, and why.
//!
//! It compiles a snapshot, of a server's state or of files, with the proxy's own compiler, and asks the proxy's own
//! routing. Nothing is decided here.

use weir_api::client::{Client, encode_segment};
use weir_api::native::{PREFIX, SourceText};
use weir_api::snapshot::SnapshotInputs;
use weir_model::document::{self, DocumentError};
use weir_model::validate::Scope;
use weir_model::{Position, ServiceRef};
use weir_proxy::explain::{Explanation, Outcome, Request, explain};
use weir_proxy::route::RequestView;
use weir_proxy::snapshot::{Compiler, Inputs, MeshLookup, Rejection, Role};

use crate::cli::operator::ExplainArgs;
use crate::exit::{Exit, Failure};
use crate::{output, server_client, sources};

/// The gateway that is meant when none is named.
const DEFAULT_GATEWAY: &str = "default";

pub(super) async fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let headers = args.headers.iter().map(String::as_str);
    let request = Request::parse(&args.method, &args.url, headers).map_err(|error| {
        Failure::new(Exit::Usage, error.to_string()).hint("weir explain GET http://shop.example/cart")
    })?;
    let role = role(args);
    let inputs = if args.files.is_empty() {
        inputs_of_server(args, &role, &request).await?
    } else {
        inputs_of_files(args)?
    };
    let (snapshot, refused) = Compiler::new(role).compile_rest(&inputs);
    for Rejection { resource, path, reason } in &refused {
        output::remark(&format!("left out, as a proxy would: {resource}: {path}: {reason}"));
    }
    let explanation = explain(&snapshot, &request, &mut rand::rng());
    output::print(&output::render(args.output, &explanation, || explanation.to_string())?);
    Ok(exit(&explanation))
}

/// A request that would be refused everywhere is found, but not served.
fn exit(explanation: &Explanation) -> Exit {
    let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused { .. });
    if explanation.entrances.iter().all(|entrance| refused(&entrance.outcome)) {
        Exit::NotFound
    } else {
        Exit::Done
    }
}

fn role(args: &ExplainArgs) -> Role {
    match &args.from {
        Some(service) => Role::Sidecar { service: service_ref(service, &args.namespace) },
        None if args.files.is_empty() => {
            let gateway = args.gateway.as_deref().unwrap_or(DEFAULT_GATEWAY);
            Role::Gateway { gateways: vec![format!("{}/{gateway}", args.namespace)] }
        }
        None => Role::Gateway {
            gateways: args.gateway.iter().map(|gateway| format!("{}/{gateway}", args.namespace)).collect(),
        },
    }
}

/// `name` or `namespace/name`.
fn service_ref(name: &str, namespace: &str) -> ServiceRef {
    match name.split_once('/') {
        Some((namespace, name)) => ServiceRef::new(namespace, name),
        None => ServiceRef::new(namespace, name),
    }
}

async fn inputs_of_server(args: &ExplainArgs, role: &Role, request: &Request) -> Result<Inputs, Failure> {
    let client = server_client::client(&args.server)?;
    let query = match role {
        Role::Gateway { .. } => {
            let gateway = args.gateway.as_deref().unwrap_or(DEFAULT_GATEWAY);
            format!("gateway={}&namespace={}", encode_segment(gateway), encode_segment(&args.namespace))
        }
        Role::Sidecar { .. } => match called(role, request) {
            Some(service) => format!(
                "service={}&namespace={}",
                encode_segment(&service.name),
                encode_segment(&service.namespace)
            ),
            // No name of a service: an empty state says what a sidecar does with such a host.
            None => return Ok(Inputs::default()),
        },
    };
    fetch(&client, &query).await
}

/// The service that a sidecar would take the request's host for, by the sidecar's own reading.
fn called(role: &Role, request: &Request) -> Option<ServiceRef> {
    let (nothing_known, _) = Compiler::new(role.clone()).compile_rest(&Inputs::default());
    match nothing_known.mesh.lookup(request.host()) {
        MeshLookup::NotSubscribed(service) => Some(service),
        MeshLookup::Known(_) | MeshLookup::Unknown => None,
    }
}

async fn fetch(client: &Client, query: &str) -> Result<Inputs, Failure> {
    let inputs: SnapshotInputs =
        client.get(&format!("{PREFIX}/snapshot?{query}")).await.map_err(|error| {
            let failure = server_client::failure(&error);
            match failure.exit {
                Exit::NotFound => {
                    failure.hint("`weir get Gateway` shows the gateways; --gateway NAME chooses one")
                }
                _ => failure,
            }
        })?;
    Ok(inputs.into())
}

fn inputs_of_files(args: &ExplainArgs) -> Result<Inputs, Failure> {
    let mut documents = Vec::new();
    let mut errors: Vec<DocumentError> = Vec::new();
    for SourceText { name, text } in sources::read(&args.files)? {
        match document::parse(&name, &text) {
            Ok(parsed) => documents.extend(parsed.documents),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty()
        && let Err(found) = document::check(&documents, Scope::OneProxy)
    {
        errors = found;
    }
    if !errors.is_empty() {
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        return Err(Failure::new(Exit::Invalid, text));
    }
    Ok(Inputs::of_resources(Position::default(), documents.into_iter().map(|document| document.resource)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read_with_and_without_a_namespace() {
        assert_eq!(service_ref("cart", "default"), ServiceRef::new("default", "cart"));
        assert_eq!(service_ref("blue/cart", "default"), ServiceRef::new("blue", "cart"));
    }

    #[test]
    fn a_host_is_read_as_a_sidecar_reads_it() {
        let role = Role::Sidecar { service: ServiceRef::new("default", "front") };
        let check = |url: &str, expected: Option<ServiceRef>| {
            let request = Request::parse("GET", url, []).unwrap();
            assert_eq!(called(&role, &request), expected, "{url}");
        };
        check("http://cart/", Some(ServiceRef::new("default", "cart")));
        check("http://cart.blue:8080/x", Some(ServiceRef::new("blue", "cart")));
        check("http://10.0.0.1/", None);
    }
}
