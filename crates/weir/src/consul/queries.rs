//! What Consul's commands show of an agent and the catalog.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::below;
use super::flags::{Said, Takes};
use super::remote::{Remote, good};
use crate::commands::block_on;
use crate::exit::{Exit, Failure};
use crate::output::{self, Table};

/// A field as text; empty where it is none.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// `members`.
pub(super) fn members(args: &[String]) -> Result<Exit, Failure> {
    let own = [
        ("detailed", Takes::Switch),
        ("wan", Takes::Switch),
        ("status", Takes::Value),
        ("segment", Takes::Value),
        ("filter", Takes::Value),
    ];
    let (remote, said) = Remote::read(args, &own)?;
    let wan: &[(&str, &str)] = if said.is_on("wan") { &[("wan", "1")] } else { &[] };
    let members: Vec<Value> = block_on(remote.get("/v1/agent/members", wan))?;
    let shown = said.get("status").unwrap_or(".*");
    output::print(&table_of_members(&members, shown));
    Ok(Exit::Done)
}

/// The members, of those with a status that is `status`, or of all.
fn table_of_members(members: &[Value], status: &str) -> String {
    let mut table =
        Table::new(&["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Partition", "Segment"]);
    for member in members {
        let word = match member["Status"].as_u64() {
            Some(1) => "alive",
            Some(2) => "leaving",
            Some(3) => "left",
            Some(4) => "failed",
            _ => "none",
        };
        if status != ".*" && status != word {
            continue;
        }
        let host = text(member, "/Addr");
        let address = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let build = text(member, "/Tags/build").split(':').next().unwrap_or("").to_owned();
        table.row([
            text(member, "/Name").to_owned(),
            format!("{address}:{}", member["Port"]),
            word.to_owned(),
            if text(member, "/Tags/role") == "consul" { "server" } else { "client" }.to_owned(),
            build,
            text(member, "/Tags/vsn").to_owned(),
            text(member, "/Tags/dc").to_owned(),
            "default".to_owned(),
            "<default>".to_owned(),
        ]);
    }
    table.render()
}

/// `info`.
pub(super) fn info(args: &[String]) -> Result<Exit, Failure> {
    let (remote, _) = Remote::read(args, &[])?;
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
    let (remote, _) = Remote::read(args, &[])?;
    let answered = block_on(remote.ask(Method::PUT, "/v1/agent/leave", &[], Bytes::new()))?;
    good(answered)
        .map_err(|failure| Failure { message: format!("Error leaving: {}", failure.message), ..failure })?;
    output::print("Graceful leave complete\n");
    Ok(Exit::Done)
}

/// `reload`.
pub(super) fn reload(args: &[String]) -> Result<Exit, Failure> {
    let (remote, _) = Remote::read(args, &[])?;
    block_on(async { good(remote.ask(Method::PUT, "/v1/agent/reload", &[], Bytes::new()).await?) })?;
    output::print("Configuration reload triggered\n");
    Ok(Exit::Done)
}

/// `catalog`.
pub(super) fn catalog(args: &[String]) -> Result<Exit, Failure> {
    let (command, rest) = below("catalog", args, &["services", "nodes", "datacenters"])?;
    match command {
        "services" => services(rest),
        "nodes" => nodes(rest),
        _ => {
            let (remote, _) = Remote::read(rest, &[])?;
            let names: Vec<String> = block_on(remote.get("/v1/catalog/datacenters", &[]))?;
            output::print(&lines(names));
            Ok(Exit::Done)
        }
    }
}

fn services(args: &[String]) -> Result<Exit, Failure> {
    let own = [("tags", Takes::Switch), ("node", Takes::Value), ("node-meta", Takes::Value)];
    let (remote, said) = Remote::read(args, &own)?;
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
    let (remote, said) = Remote::read(args, &own)?;
    let path = match said.get("service") {
        None => "/v1/catalog/nodes".to_owned(),
        Some(service) => super::remote::path("/v1/catalog/service/", service),
    };
    let mut parameters = node_meta(&said);
    for name in ["filter", "near"] {
        parameters.extend(said.get(name).map(|value| (name, value)));
    }
    let nodes: Vec<Value> = block_on(remote.get(&path, &parameters))?;
    let mut table = Table::new(&["Node", "ID", "Address", "DC"]);
    let mut shown = std::collections::BTreeSet::new();
    for node in &nodes {
        if shown.insert(text(node, "/Node")) {
            let id: String = text(node, "/ID").chars().take(8).collect();
            let cells = [text(node, "/Node"), &id, text(node, "/Address"), text(node, "/Datacenter")];
            table.row(cells.map(str::to_owned));
        }
    }
    output::print(&table.render());
    Ok(Exit::Done)
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
    fn members_are_shown_as_scripts_know_them() {
        let member = |name: &str, status: u8, role: &str| {
            serde_json::json!({
                "Name": name, "Addr": "10.0.0.1", "Port": 8301, "Status": status,
                "Tags": {"role": role, "build": "1.21.0:weir", "dc": "dc1", "vsn": "2"},
            })
        };
        let members = [member("s", 1, "consul"), member("web-1", 4, "node")];
        let shown = table_of_members(&members, ".*");
        let lines: Vec<_> = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(
            lines[1],
            ["s", "10.0.0.1:8301", "alive", "server", "1.21.0", "2", "dc1", "default", "<default>"]
        );
        assert_eq!(lines[2][..4], ["web-1", "10.0.0.1:8301", "failed", "client"]);
        assert_eq!(table_of_members(&members, "alive").lines().count(), 2);
    }
}
