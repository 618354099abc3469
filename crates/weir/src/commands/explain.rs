//! `weir explain`: where a request would go, and why.
//!
//! It compiles a snapshot, of a server's state or of files, with the proxy's own compiler, and asks the proxy's own
//! routing. Nothing is decided here. What only running proxies know is taken from what they report (`reported`).

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_api::client::{Client, encode_segment};
use weir_api::native::{List, PREFIX, ResourceView, ServiceView, SourceText};
use weir_api::report::ProxyReport;
use weir_api::snapshot::{COPY_OF, MADE_OF, SnapshotInputs};
use weir_model::dns_names::DnsNames;
use weir_model::document::{self, DocumentError};
use weir_model::validate::Scope;
use weir_model::{DEFAULT_NAMESPACE, Kind, Position, ResourceId, ServiceRef};
use weir_proxy::explain::{Explanation, Outcome, Request, Seen, explain_as};
use weir_proxy::route::RequestView;
use weir_proxy::snapshot::{Compiler, Inputs, MeshTable, Origin, Rejection, Role};

use super::in_part;
use crate::cli::operator::ExplainArgs;
use crate::exit::{Exit, Failure};
use crate::{output, server_client, sources};

/// The gateway that is meant when none is named.
const DEFAULT_GATEWAY: &str = "default";

mod critical;
mod fresh;
mod reported;
mod standing;

pub(super) async fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let request = request(args)?;
    let (mut decided_by, mut remarks) = (BTreeMap::new(), Vec::new());
    let (role, inputs, known, client) = if args.files.is_empty() {
        let client = server_client::client(&args.server)?;
        let role = role_at_server(&client, args).await?;
        let mut sent = inputs_of_server(&client, &role, &request).await?;
        decided_by = std::mem::take(&mut sent.decided_by);
        remarks = std::mem::take(&mut sent.remarks);
        let inputs = Inputs::from(sent);
        in_part::remarks(inputs.resources.values().map(|resource| &**resource))
            .iter()
            .for_each(|remark| output::remark(remark));
        let inputs = in_part::as_proxies_do(inputs);
        let called: Vec<ServiceRef> = match &role {
            Role::Sidecar { .. } => inputs.services.keys().cloned().collect(),
            Role::Gateway { .. } => Vec::new(),
        };
        // After the documents: what is reported from now on is of these, or is known not to be.
        let known = fresh::known(&client, &role, &called).await?;
        (role, inputs, known, Some(client))
    } else {
        let (role, inputs) = (role_in_files(args), inputs_of_files(args)?);
        if let Role::Sidecar { service } = &role {
            let id = ResourceId::new(Kind::Service, &*service.namespace, &*service.name);
            if !inputs.resources.contains_key(&id) {
                output::remark(&format!("no {id} is known in these files; explaining for one of that name"));
            }
        }
        (role, inputs, None, None)
    };
    let view = match &known {
        Some(known) => known.view(&role, args.view.as_deref())?,
        None => None,
    };
    let caller = match &role {
        Role::Sidecar { service } => Some(service),
        Role::Gateway { .. } => None,
    };
    let explanation = explained(&role, &inputs, &request.made_by(caller), view);
    let mut explanation = explanation.by(caller.map(ServiceRef::to_string));
    if let Some(known) = &known {
        known.add(&mut explanation, &role, view);
    }
    if let Some(client) = &client {
        critical::say_why(client, &mut explanation).await;
    }
    explanation.remarks.append(&mut remarks);
    name_entries(&mut explanation, &inputs, &decided_by);
    output::print(&output::render(args.output.format, &explanation, || {
        output::clean(&explanation.to_string())
    })?);
    Ok(exit(&explanation))
}

/// Explains as a proxy of the role would, and as this one sees it, if one has reported.
fn explained(role: &Role, inputs: &Inputs, request: &Request, view: Option<&ProxyReport>) -> Explanation {
    let seen = view.map_or(Seen::Here, |view| Seen::Reported(&view.report));
    let mut compiler = Compiler::new(role.clone());
    if let Some(ProxyReport { proxy, report, .. }) = view {
        compiler.origin = Arc::new(Origin::of_proxy(proxy, report.region.clone(), report.zone.clone()));
        compiler.verdicts = seen.verdicts();
    }
    let (snapshot, refused) = compiler.compile_rest(inputs);
    for Rejection { resource, path, reason } in &refused {
        output::remark(&format!("left out, as a proxy would: {resource}: {path}: {reason}"));
    }
    explain_as(seen, &snapshot, request, &mut rand::rng())
}

/// What is asked about: a request by method and URL, or a connection by its URL alone.
fn request(args: &ExplainArgs) -> Result<Request, Failure> {
    let usage = |message: String| {
        Failure::new(Exit::Usage, message).hint("weir explain GET http://shop.example/cart")
    };
    let read = match &args.url {
        Some(url) => Request::parse(&args.method, url, args.headers.iter().map(String::as_str)),
        None if Request::is_connection(&args.method) && !args.headers.is_empty() => {
            let message = format!("--header: {} is a connection, which has no header fields", args.method);
            return Err(Failure::new(Exit::Usage, message));
        }
        None if Request::is_connection(&args.method) => Request::connection(&args.method),
        None if args.method.contains("://") => {
            let message = format!("`{}` is a URL where a method is expected", args.method);
            return Err(Failure::new(Exit::Usage, message).hint(format!("weir explain GET {}", args.method)));
        }
        None => return Err(usage(format!("there is no URL after `{}`", args.method))),
    };
    Ok(read.map_err(|error| usage(error.to_string()))?.from_address(args.source_ip))
}

/// Done where somewhere an endpoint would get it, or a filter answers it; [`Exit::NotFound`] where nobody here would: there is no
/// rule, no such service, or no endpoint that may be chosen. What breakers and limits refuse for a while counts for nothing.
fn exit(explanation: &Explanation) -> Exit {
    let is_served = |outcome: &Outcome| match outcome {
        Outcome::Forward(forwarded) => {
            forwarded.choice.is_some() || forwarded.fallbacks.iter().any(|other| other.choice.is_some())
        }
        Outcome::Answered { .. } => true,
        Outcome::Refused { .. } | Outcome::Closed { .. } | Outcome::PassThrough { .. } => false,
    };
    if explanation.entrances.iter().any(|entrance| is_served(&entrance.outcome)) {
        Exit::Done
    } else {
        Exit::NotFound
    }
}

/// Whose state it is; a service or gateway that does not exist would explain nothing.
async fn role_at_server(client: &Client, args: &ExplainArgs) -> Result<Role, Failure> {
    let failed = |error| server_client::failure(&error);
    if let Some(service) = &args.from {
        let service = service_ref(service, &args.namespace);
        let list: List<ServiceView> = client.get(&format!("{PREFIX}/services")).await.map_err(failed)?;
        let known: Vec<ServiceRef> =
            list.items.into_iter().map(|view| ServiceRef::new(view.namespace, view.name)).collect();
        if !known.contains(&service) {
            let names: Vec<String> = known.iter().map(ServiceRef::to_string).collect();
            return Err(no_such("--from", "service", &service.to_string(), &names));
        }
        return Ok(Role::Sidecar { service });
    }
    let path = format!("{PREFIX}/resources/Gateway?namespace={}", encode_segment(&args.namespace));
    let list: List<ResourceView> = client.get(&path).await.map_err(failed)?;
    let names: Vec<String> = list.items.into_iter().map(|view| view.resource.metadata.name).collect();
    let gateway = gateway(args.gateway.as_deref(), &names)?;
    Ok(Role::Gateway { gateways: vec![format!("{}/{gateway}", args.namespace)] })
}

/// The gateway that is meant: the one named, else `default`, else the only one there is.
fn gateway<'a>(named: Option<&'a str>, names: &'a [String]) -> Result<&'a str, Failure> {
    let wanted = named.unwrap_or(DEFAULT_GATEWAY);
    if names.iter().any(|name| name == wanted) {
        return Ok(wanted);
    }
    match (named, names) {
        (None, [only]) => Ok(only),
        (None, []) => Err(Failure::new(Exit::NotFound, "there is no Gateway")
            .hint("--from SERVICE, for a call that a service makes through its sidecar")),
        _ => Err(no_such("--gateway", "Gateway", wanted, names)),
    }
}

/// How many names an error tells.
const NAMES_SHOWN_MAX: usize = 20;

/// Says that there is no such thing, and what there is.
fn no_such(flag: &str, what: &str, name: &str, known: &[String]) -> Failure {
    let failure = |rest: String| Failure::new(Exit::NotFound, format!("there is no {what} `{name}`{rest}"));
    if known.is_empty() {
        return failure(format!(", and no other {what} either"));
    }
    let shown: Vec<&str> = known.iter().take(NAMES_SHOWN_MAX).map(String::as_str).collect();
    let more = if known.len() > shown.len() { ", ..." } else { "" };
    let nearest = weir_model::document::nearest(name, known.iter().map(String::as_str));
    failure(format!("; there is {}{more}", shown.join(", ")))
        .hint(format!("{flag} {}", nearest.unwrap_or(shown[0])))
}

fn role_in_files(args: &ExplainArgs) -> Role {
    match &args.from {
        Some(service) => Role::Sidecar { service: service_ref(service, &args.namespace) },
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

async fn inputs_of_server(
    client: &Client,
    role: &Role,
    request: &Request,
) -> Result<SnapshotInputs, Failure> {
    let query = match role {
        Role::Gateway { gateways } => gateways.first().map(|name| {
            let ServiceRef { namespace, name } = service_ref(name, DEFAULT_NAMESPACE);
            format!("gateway={}&namespace={}", encode_segment(&name), encode_segment(&namespace))
        }),
        Role::Sidecar { service } => return inputs_of_callers(client, service, request.host()).await,
    };
    // No name of a service: an empty state says what a sidecar does with such a host.
    let Some(query) = query else { return Ok(SnapshotInputs::empty(Position::default())) };
    client.get(&format!("{PREFIX}/snapshot?{query}")).await.map_err(|error| server_client::failure(&error))
}

/// What callers see of the services that a host may mean: by the usual names in DNS, and by those of the server, if it has others.
async fn inputs_of_callers(
    client: &Client,
    caller: &ServiceRef,
    host: &[u8],
) -> Result<SnapshotInputs, Failure> {
    let readings = |names| MeshTable::new(&*caller.namespace, names).readings(host);
    let mut called = readings(DnsNames::default());
    loop {
        let parameter = |service: &ServiceRef| {
            format!("service={}/{}", encode_segment(&service.namespace), encode_segment(&service.name))
        };
        // The caller itself is asked for where the host means nothing: the answer says which names there are.
        let asked = if called.is_empty() { std::slice::from_ref(caller) } else { &called[..] };
        let query = asked.iter().map(parameter).collect::<Vec<_>>().join("&");
        let inputs: SnapshotInputs = client
            .get(&format!("{PREFIX}/snapshot?{query}"))
            .await
            .map_err(|error| server_client::failure(&error))?;
        let of_server = readings(inputs.names.clone().unwrap_or_default());
        if of_server == called {
            return Ok(inputs);
        }
        called = of_server;
    }
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

/// Names the config entries by which rules lead where they do, and those behind what documents that were made of them say of
/// how calls are made.
fn name_entries(explanation: &mut Explanation, inputs: &Inputs, decided_by: &BTreeMap<String, Vec<String>>) {
    for rule in explanation.entrances.iter_mut().flat_map(|entrance| &mut entrance.rules) {
        // A rule for connections is told by its route, of which the first one counts.
        let of_route = |label: &str| label.split_once('#').is_some_and(|(route, _)| route == rule.rule);
        let first = || decided_by.iter().find(|(label, _)| of_route(label)).map(|(_, by)| by);
        rule.config_entries = decided_by.get(&rule.rule).or_else(first).cloned().unwrap_or_default();
    }
    let made = inputs.resources.iter().filter_map(|(id, resource)| {
        let annotations = &resource.metadata.annotations;
        let asked = annotations.get(MADE_OF).map(|entry| format!(", which config entry {entry} asks for"));
        let copied = || annotations.get(COPY_OF).map(|of| format!(", a copy of {of} for a subset"));
        Some((id.to_string(), asked.or_else(copied)?))
    });
    let made: Vec<(String, String)> = made.collect();
    let forwarded = explanation.entrances.iter_mut().filter_map(|entrance| match &mut entrance.outcome {
        Outcome::Forward(forwarded) => Some(forwarded),
        _ => None,
    });
    for setting in forwarded.flat_map(|forwarded| &mut forwarded.settings) {
        let is_of = |id: &str| {
            setting.from.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with(['#', ' ']))
        };
        if let Some((_, why)) = made.iter().find(|(id, _)| is_of(id)) {
            setting.from.push_str(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `weir explain` ends with for a call of the sidecar of `front`, by these documents.
    fn ends(documents: &str, url: &str) -> Exit {
        let parsed = document::parse("test", documents).expect("documents");
        let resources = parsed.documents.into_iter().map(|document| document.resource);
        let inputs = Inputs::of_resources(Position::default(), resources);
        let role = Role::Sidecar { service: ServiceRef::new("default", "front") };
        let request = Request::parse("GET", url, []).expect("a request");
        exit(&explained(&role, &inputs, &request, None))
    }

    #[test]
    fn nobody_who_would_get_it_is_one_status() {
        let web = "kind: Service\nmetadata: {name: web}\nspec: ";
        let served = format!("{web}{{endpoints: [{{address: 127.0.0.1, port: 9}}]}}\n");
        assert_eq!(ends(&served, "http://web/"), Exit::Done);
        assert_eq!(ends(&served, "http://wbe/"), Exit::NotFound, "no such service");
        assert_eq!(ends(&format!("{web}{{}}\n"), "http://web/"), Exit::NotFound, "no endpoint");
        let route = |rule: &str| {
            format!(
                "{served}---\nkind: HTTPRoute\nmetadata: {{name: r}}\nspec:\n  \
                 parentRefs: [{{kind: Service, name: web}}]\n  rules:\n  - {rule}\n"
            )
        };
        let nowhere = route("{backendRefs: [{name: gone, port: 80}]}");
        assert_eq!(ends(&nowhere, "http://web/"), Exit::NotFound, "a route to a service that is not there");
        let away = "{filters: [{type: RequestRedirect, requestRedirect: {hostname: a.example}}]}";
        assert_eq!(ends(&route(away), "http://web/"), Exit::Done, "a filter answers");
    }

    #[test]
    fn services_are_read_with_and_without_a_namespace() {
        assert_eq!(service_ref("cart", "default"), ServiceRef::new("default", "cart"));
        assert_eq!(service_ref("blue/cart", "default"), ServiceRef::new("blue", "cart"));
    }

    #[test]
    fn the_only_gateway_is_meant_where_none_is_named() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(gateway(None, &names(&["default", "edge"])).unwrap(), "default");
        assert_eq!(gateway(None, &names(&["edge"])).unwrap(), "edge");
        assert_eq!(gateway(Some("edge"), &names(&["default", "edge"])).unwrap(), "edge");
        let check = |named: Option<&str>, there: &[&str], message: &str| {
            let failure = gateway(named, &names(there)).unwrap_err();
            assert_eq!((failure.exit, failure.message.as_str()), (Exit::NotFound, message));
        };
        check(None, &["edge", "inner"], "there is no Gateway `default`; there is edge, inner");
        check(Some("egde"), &["edge"], "there is no Gateway `egde`; there is edge");
        check(Some("edge"), &[], "there is no Gateway `edge`, and no other Gateway either");
        check(None, &[], "there is no Gateway");
        let hint = gateway(None, &[]).unwrap_err().hint.unwrap();
        assert!(hint.starts_with("--from SERVICE"), "{hint}");
        let hint = gateway(Some("innr"), &names(&["edge", "inner"])).unwrap_err().hint;
        assert_eq!(hint.as_deref(), Some("--gateway inner"));
    }
}
