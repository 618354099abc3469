//! What Consul's commands show of an agent and the catalog.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::below;
use super::flags::{Said, Takes, Words};
use super::remote::{Remote, good};
use crate::commands::block_on;
use crate::exit::{Exit, Failure};
use crate::output::{self, Table};

/// How much of a node's id is shown unless details are asked for.
const ID_CHARS_SHOWN: usize = 8;

/// A field as text; empty where it is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// `info`.
pub(super) fn info(args: &[String]) -> Result<Exit, Failure> {
    let (remote, _) = Remote::read(args, &[], Words::UpTo(0))?;
    let own: Value = block_on(remote.get("/v1/agent/self", &[]))?;
    let stats: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_value(own["Stats"].clone()).unwrap_or_default();
    let mut shown = String::new();
    for (section, values) in stats {
        shown.push_str(&format!("{section}:\n"));
        for (name, value) in values {
            shown.push_str(&format!("\t{name} = {value}\n"));
        }
    }
    output::print(&shown);
    Ok(Exit::Done)
}

/// `leave`.
pub(super) fn leave(args: &[String]) -> Result<Exit, Failure> {
    let (remote, _) = Remote::read(args, &[], Words::UpTo(0))?;
    let answered = block_on(remote.ask(Method::PUT, "/v1/agent/leave", &[], Bytes::new()))?;
    good(answered)
        .map_err(|failure| Failure { message: format!("Error leaving: {}", failure.message), ..failure })?;
    output::print("Graceful leave complete\n");
    Ok(Exit::Done)
}

/// `reload`.
pub(super) fn reload(args: &[String]) -> Result<Exit, Failure> {
    let (remote, _) = Remote::read(args, &[], Words::UpTo(0))?;
    block_on(async { good(remote.ask(Method::PUT, "/v1/agent/reload", &[], Bytes::new()).await?) })?;
    output::print("Configuration reload triggered\n");
    Ok(Exit::Done)
}

/// `force-leave`. Nothing is kept of a node that has left, so `-prune` asks for nothing more.
pub(super) fn force_leave(args: &[String]) -> Result<Exit, Failure> {
    let (remote, said) = Remote::read(args, &[("prune", Takes::Switch)], Words::UpTo(1))?;
    let path = super::remote::path("/v1/agent/force-leave/", said.word(0, "NODE")?);
    block_on(async { good(remote.ask(Method::PUT, &path, &[], Bytes::new()).await?) })?;
    Ok(Exit::Done)
}

/// `catalog`.
pub(super) fn catalog(args: &[String]) -> Result<Exit, Failure> {
    let (command, rest) = below("catalog", args, &["services", "nodes", "datacenters"])?;
    match command {
        "services" => services(rest),
        "nodes" => nodes(rest),
        _ => {
            let (remote, _) = Remote::read(rest, &[], Words::UpTo(0))?;
            let names: Vec<String> = block_on(remote.get("/v1/catalog/datacenters", &[]))?;
            output::print(&lines(names));
            Ok(Exit::Done)
        }
    }
}

fn services(args: &[String]) -> Result<Exit, Failure> {
    let own = [("tags", Takes::Switch), ("node", Takes::Value), ("node-meta", Takes::Value)];
    let (remote, said) = Remote::read(args, &own, Words::UpTo(0))?;
    let services: BTreeMap<String, Vec<String>> = match said.get("node") {
        None => block_on(remote.get("/v1/catalog/services", &node_meta(&said)))?,
        Some(node) => {
            let path = super::remote::path("/v1/catalog/node/", node);
            let found: Value = block_on(remote.get(&path, &[]))?;
            let of_node = found["Services"].as_object().into_iter().flat_map(|services| services.values());
            let mut services = BTreeMap::<_, Vec<_>>::new();
            for service in of_node {
                let tags = service["Tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
                services
                    .entry(text(service, "/Service").to_owned())
                    .or_default()
                    .extend(tags.map(str::to_owned));
            }
            services
        }
    };
    let shown = services.into_iter().map(|(name, tags)| {
        if said.is_on("tags") && !tags.is_empty() { format!("{name}    {}", tags.join(",")) } else { name }
    });
    output::print(&lines(shown));
    Ok(Exit::Done)
}

fn nodes(args: &[String]) -> Result<Exit, Failure> {
    let own = [
        ("service", Takes::Value),
        ("node-meta", Takes::Value),
        ("filter", Takes::Value),
        ("near", Takes::Value),
        ("detailed", Takes::Switch),
    ];
    let (remote, said) = Remote::read(args, &own, Words::UpTo(0))?;
    let path = match said.get("service") {
        None => "/v1/catalog/nodes".to_owned(),
        Some(service) => super::remote::path("/v1/catalog/service/", service),
    };
    let mut parameters = node_meta(&said);
    for name in ["filter", "near"] {
        parameters.extend(said.get(name).map(|value| (name, value)));
    }
    let nodes: Vec<Value> = block_on(remote.get(&path, &parameters))?;
    if nodes.is_empty() {
        output::remark("No nodes match the given query - try expanding your search.");
    } else {
        output::print(&table_of_nodes(&nodes, said.is_on("detailed")));
    }
    Ok(Exit::Done)
}

/// The nodes, each once; in detail with the whole id, addresses and metadata.
fn table_of_nodes(nodes: &[Value], detailed: bool) -> String {
    let mut headings = vec!["Node", "ID", "Address", "DC"];
    if detailed {
        headings.extend(["TaggedAddresses", "Meta"]);
    }
    let mut table = Table::new(&headings);
    let mut shown = std::collections::BTreeSet::new();
    for node in nodes.iter().filter(|node| shown.insert(text(node, "/Node"))) {
        let id = text(node, "/ID").chars().take(if detailed { usize::MAX } else { ID_CHARS_SHOWN }).collect();
        let cells = [text(node, "/Node").to_owned(), id, text(node, "/Address").to_owned()];
        let mut row: Vec<_> = cells.into_iter().chain([text(node, "/Datacenter").to_owned()]).collect();
        if detailed {
            // Of a service's instances the node's metadata has another name.
            let meta = node.get("NodeMeta").unwrap_or(&node["Meta"]);
            row.extend([pairs(&node["TaggedAddresses"], ", "), pairs(meta, ", ")]);
        }
        table.row(row);
    }
    table.render()
}

/// The texts of an object as `name=text`, in the order of their names.
pub(super) fn pairs(value: &Value, between: &str) -> String {
    let texts = value.as_object().into_iter().flatten();
    let sorted: BTreeMap<_, _> = texts.filter_map(|(name, text)| Some((name, text.as_str()?))).collect();
    sorted.iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join(between)
}

/// The wanted metadata of nodes: `KEY=VALUE` here, `KEY:VALUE` there.
fn node_meta(said: &Said) -> Vec<(&str, &str)> {
    said.all("node-meta").map(|pair| ("node-meta", pair)).collect()
}

/// Each on a line of its own.
fn lines(all: impl IntoIterator<Item = String>) -> String {
    all.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_shown_once_and_in_detail_with_all_there_is() {
        let node = |name: &str| {
            serde_json::json!({
                "Node": name, "ID": "0123456789", "Address": "10.0.0.1", "Datacenter": "dc1",
                "TaggedAddresses": {"wan": "1.1.1.1", "lan": "10.0.0.1"}, "Meta": {"rack": "b7"},
            })
        };
        let nodes = [node("a"), node("b"), node("a")];
        let shown = table_of_nodes(&nodes, false);
        assert_eq!(shown.lines().count(), 3);
        assert!(shown.contains("01234567 ") && !shown.contains("rack"), "{shown}");
        let shown = table_of_nodes(&nodes, true);
        assert!(shown.contains("0123456789 ") && shown.contains("lan=10.0.0.1, wan=1.1.1.1"), "{shown}");
        assert!(shown.lines().nth(1).is_some_and(|line| line.ends_with("rack=b7")), "{shown}");
    }
}
