//! `consul members`: who is in the cluster.

use regex::Regex;
use serde_json::Value;

use super::flags::{Takes, Words};
use super::queries::{pairs, text};
use super::remote::Remote;
use crate::commands::block_on;
use crate::exit::{Exit, Failure};
use crate::output::{self, Table};

/// Runs `members`. Ends with 2, as in Consul, where nobody has the status that is asked for.
pub(super) fn run(args: &[String]) -> Result<Exit, Failure> {
    let own = [
        ("detailed", Takes::Switch),
        ("wan", Takes::Switch),
        ("status", Takes::Value),
        ("filter", Takes::Value),
    ];
    let (remote, said) = Remote::read(args, &own, Words::UpTo(0))?;
    let status = Regex::new(said.get("status").unwrap_or(".*"))
        .map_err(|error| Failure::new(Exit::Usage, format!("flag -status: {error}")))?;
    let wan = said.is_on("wan").then_some(("wan", "1"));
    let filter = said.get("filter").map(|filter| ("filter", filter));
    let parameters: Vec<_> = wan.into_iter().chain(filter).collect();
    let mut members: Vec<Value> = block_on(remote.get("/v1/agent/members", &parameters))?;
    members.retain(|member| status.is_match(status_of(member)));
    if members.is_empty() {
        return Err(Failure::new(Exit::Usage, "no member is like that"));
    }
    output::print(&if said.is_on("detailed") { detailed(&members) } else { table(&members) });
    Ok(Exit::Done)
}

/// A member's status by its name.
fn status_of(member: &Value) -> &'static str {
    match member["Status"].as_u64() {
        Some(1) => "alive",
        Some(2) => "leaving",
        Some(3) => "left",
        Some(4) => "failed",
        _ => "none",
    }
}

fn address(member: &Value) -> String {
    let host = text(member, "/Addr");
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{host}:{}", member["Port"])
}

fn table(members: &[Value]) -> String {
    let mut table =
        Table::new(&["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Partition", "Segment"]);
    for member in members {
        let (kind, segment) = match text(member, "/Tags/role") {
            "consul" => ("server", "<all>"),
            _ => ("client", "<default>"),
        };
        let build = text(member, "/Tags/build").split(':').next().unwrap_or("");
        table.row([
            text(member, "/Name").to_owned(),
            address(member),
            status_of(member).to_owned(),
            kind.to_owned(),
            build.to_owned(),
            text(member, "/Tags/vsn").to_owned(),
            text(member, "/Tags/dc").to_owned(),
            "default".to_owned(),
            segment.to_owned(),
        ]);
    }
    table.render()
}

/// All that is known of each, as its tags.
fn detailed(members: &[Value]) -> String {
    let mut table = Table::new(&["Node", "Address", "Status", "Tags"]);
    for member in members {
        let cells = [text(member, "/Name").to_owned(), address(member), status_of(member).to_owned()];
        table.row(cells.into_iter().chain([pairs(&member["Tags"], ",")]));
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> [Value; 2] {
        let member = |name: &str, status: u8, role: &str| {
            serde_json::json!({
                "Name": name, "Addr": "10.0.0.1", "Port": 8301, "Status": status,
                "Tags": {"role": role, "build": "1.21.0:weir", "dc": "dc1", "vsn": "2"},
            })
        };
        [member("s", 1, "consul"), member("web-1", 4, "node")]
    }

    fn words(text: &str) -> Vec<Vec<&str>> {
        text.lines().map(|line| line.split_whitespace().collect()).collect()
    }

    #[test]
    fn members_are_shown_as_scripts_know_them() {
        let shown = table(&members());
        let lines = words(&shown);
        let server = ["s", "10.0.0.1:8301", "alive", "server", "1.21.0", "2", "dc1", "default", "<all>"];
        assert_eq!(lines[1], server);
        assert_eq!(lines[2][..4], ["web-1", "10.0.0.1:8301", "failed", "client"]);
        assert_eq!(lines[2][8], "<default>");
    }

    #[test]
    fn in_detail_they_are_shown_with_their_tags() {
        let shown = detailed(&members());
        let lines = words(&shown);
        assert_eq!(lines[0], ["Node", "Address", "Status", "Tags"]);
        let tags = "build=1.21.0:weir,dc=dc1,role=node,vsn=2";
        assert_eq!(lines[2], ["web-1", "10.0.0.1:8301", "failed", tags]);
    }
}
