//! `weir get`: shows what the control plane knows.

use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_api::client::{Client, encode_segment};
use weir_api::native::{
    ChangeSetView, Gathered, InstanceView, List, LockView, NodeView, PREFIX, ProxyView, ReplicaView,
    ResourceView, RouteView, ServiceView, SessionView,
};
use weir_api::report::Figures;
use weir_model::{DEFAULT_NAMESPACE, Kind};

use super::in_part;
use crate::cli::operator::{Format, GetArgs};
use crate::exit::{Exit, Failure};
use crate::output::{self, Table};
use crate::server_client;

mod tables;
mod written;

pub(super) use tables::why;

/// What can be got besides the kinds.
const VIEWS: [&str; 10] = [
    "services",
    "instances",
    "nodes",
    "proxies",
    "replicas",
    "routes",
    "locks",
    "sessions",
    "changes",
    "all",
];

pub(super) async fn run(args: &GetArgs) -> Result<Exit, Failure> {
    let client = server_client::client(&args.server)?;
    let query = Query { args };
    match args.what.to_ascii_lowercase().as_str() {
        "services" => {
            list::<ServiceView>(&client, args, query.path("services", "name"), tables::services).await
        }
        "instances" | "instance" => instances(&client, args, &query).await,
        "nodes" | "node" => nodes(&client, args, query.path("nodes", "name")).await,
        "proxies" | "proxy" => proxies(&client, args, query.path("proxies", "id")).await,
        "routes" | "route" => {
            list::<RouteView>(&client, args, query.path("routes", "name"), tables::routes).await
        }
        "locks" | "lock" => list::<LockView>(&client, args, query.path("locks", "name"), tables::locks).await,
        "sessions" | "session" => {
            list::<SessionView>(&client, args, query.path("sessions", "id"), tables::sessions).await
        }
        "replicas" | "replica" => {
            list::<ReplicaView>(&client, args, query.path("replicas", "id"), tables::replicas).await
        }
        "changes" | "change" => {
            list::<ChangeSetView>(&client, args, query.path("changes", "number"), tables::changes).await
        }
        "all" => documents(&client, args, None).await,
        what => documents(&client, args, Some(parse_what(what, &args.what)?)).await,
    }
}

fn parse_what(lower: &str, typed: &str) -> Result<Kind, Failure> {
    lower.parse().map_err(|_| {
        let kinds = Kind::ALL.iter().map(|kind| kind.as_str());
        let names: Vec<&str> = VIEWS.into_iter().chain(kinds).collect();
        let failure =
            Failure::new(Exit::Usage, format!("cannot get `{typed}`; expected one of {}", names.join(", ")));
        match weir_model::document::nearest(typed, names) {
            Some(nearest) => failure.hint(format!("weir get {nearest}")),
            None => failure,
        }
    })
}

struct Query<'a> {
    args: &'a GetArgs,
}

impl Query<'_> {
    /// The path of a view; the name selects by `name_parameter`.
    fn path(&self, view: &str, name_parameter: &str) -> String {
        let mut parameters = Vec::new();
        if let Some(name) = &self.args.name {
            parameters.push(format!("{name_parameter}={}", encode_segment(name)));
        }
        if let Some(namespace) = &self.args.namespace {
            parameters.push(format!("namespace={}", encode_segment(namespace)));
        }
        let mark = if parameters.is_empty() { "" } else { "?" };
        format!("{PREFIX}/{view}{mark}{}", parameters.join("&"))
    }
}

async fn list<T: Serialize + DeserializeOwned>(
    client: &Client,
    args: &GetArgs,
    path: String,
    table: fn(&[T]) -> Table,
) -> Result<Exit, Failure> {
    let list: List<T> = client.get(&path).await.map_err(|error| server_client::failure(&error))?;
    shown(args, &list.items, table)
}

/// Each replica waits for the heartbeats that it judges; those of replicas that do not answer are not known.
async fn nodes(client: &Client, args: &GetArgs, path: String) -> Result<Exit, Failure> {
    let list: Gathered<NodeView> = client.get(&path).await.map_err(|error| server_client::failure(&error))?;
    for replica in &list.missing {
        output::remark(&format!(
            "the replica at {replica} does not answer: HEARTBEATS are without those that it waits for"
        ));
    }
    shown(args, &list.items, tables::nodes)
}

/// Those that registered, and those that documents have, which proxies check.
async fn instances(client: &Client, args: &GetArgs, query: &Query<'_>) -> Result<Exit, Failure> {
    let failed = |error| server_client::failure(&error);
    let registered: List<InstanceView> =
        client.get(&query.path("instances", "service")).await.map_err(failed)?;
    let of_namespace = Query { args: &GetArgs { name: None, ..args.clone() } };
    let path = of_namespace.path("resources/Service", "name");
    let documents: List<ResourceView> = client.get(&path).await.map_err(failed)?;
    let seen: Figures = client.get(&of_namespace.path("figures", "service")).await.map_err(failed)?;
    let mut items = registered.items;
    items.extend(written::endpoints(&documents.items, args.name.as_deref(), &seen));
    shown(args, &items, tables::instances)
}

/// Proxies are connected to one replica each; those of replicas that do not answer are not known.
async fn proxies(client: &Client, args: &GetArgs, path: String) -> Result<Exit, Failure> {
    let list: Gathered<ProxyView> =
        client.get(&path).await.map_err(|error| server_client::failure(&error))?;
    for replica in &list.missing {
        output::remark(&format!("the replica at {replica} does not answer: its proxies are not listed"));
    }
    shown(args, &list.items, tables::proxies)
}

fn shown<T: Serialize>(args: &GetArgs, items: &[T], table: fn(&[T]) -> Table) -> Result<Exit, Failure> {
    if items.is_empty() && args.name.is_some() {
        let name = args.name.as_deref().unwrap_or_default();
        return Err(Failure::new(Exit::NotFound, format!("nothing named `{name}` among the {}", args.what))
            .hint(format!("weir get {}", args.what)));
    }
    output::print(&output::render(args.output.format, &items, || rendered(&table(items), &args.what))?);
    Ok(Exit::Done)
}

/// The table, or a line that says there is nothing, so that silence is not taken for failure.
fn rendered(table: &Table, what: &str) -> String {
    if table.is_empty() { format!("no {what}\n") } else { table.render() }
}

async fn documents(client: &Client, args: &GetArgs, kind: Option<Kind>) -> Result<Exit, Failure> {
    let failed = |error| server_client::failure(&error);
    if let (Some(kind), Some(name)) = (kind, &args.name) {
        let namespace = args.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let path = format!(
            "{PREFIX}/resources/{kind}/{}?namespace={}",
            encode_segment(name),
            encode_segment(namespace)
        );
        let view: ResourceView = client.get(&path).await.map_err(failed)?;
        in_part::remarks([&view.resource]).iter().for_each(|remark| output::remark(remark));
        let text = match args.output.format {
            Format::Table => tables::resources(std::slice::from_ref(&view)).render(),
            format => output::render(format, &view.resource, String::new)?,
        };
        output::print(&text);
        return Ok(Exit::Done);
    }
    if args.name.is_some() {
        return Err(Failure::new(Exit::Usage, "`all` takes no name").hint("weir get KIND NAME"));
    }
    let namespace = args
        .namespace
        .as_ref()
        .map_or_else(String::new, |name| format!("?namespace={}", encode_segment(name)));
    let kind = kind.map_or_else(String::new, |kind| format!("/{kind}"));
    let list: List<ResourceView> =
        client.get(&format!("{PREFIX}/resources{kind}{namespace}")).await.map_err(failed)?;
    let resources: Vec<_> = list.items.iter().map(|view| &view.resource).collect();
    in_part::remarks(resources.iter().copied()).iter().for_each(|remark| output::remark(remark));
    let table = || rendered(&tables::resources(&list.items), "documents");
    output::print(&output::render(args.output.format, &resources, table)?);
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_got_is_answered_with_what_can() {
        let failure = parse_what("servces", "servces").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.hint.as_deref(), Some("weir get services"));
        assert!(failure.message.contains("HTTPRoute"), "{}", failure.message);
        assert_eq!(parse_what("gateways", "Gateways").unwrap(), Kind::Gateway);
    }
}
