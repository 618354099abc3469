//! `consul config`: config entries, written, read, listed and deleted. Files are JSON.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};

use super::below;
use super::flags::{Said, Takes, Words};
use super::kv::content;
use super::remote::{Remote, good, path};
use crate::commands::block_on;
use crate::definitions::hcl;
use crate::exit::{Exit, Failure};
use crate::output;

const CONFIG: &str = "/v1/config";

/// Runs `config write`, `read`, `list` or `delete`.
pub(super) fn run(args: &[String]) -> Result<Exit, Failure> {
    let (command, rest) = below("config", args, &["write", "read", "list", "delete"])?;
    match command {
        "write" => write(rest),
        "read" => read(rest),
        "list" => list(rest),
        _ => delete(rest),
    }
}

fn of_flag<'a>(said: &'a Said, flag: &str) -> Result<&'a str, Failure> {
    said.get(flag).ok_or_else(|| Failure::new(Exit::Usage, format!("Must specify the -{flag} parameter")))
}

fn write(args: &[String]) -> Result<Exit, Failure> {
    let own = [("cas", Takes::Switch), ("modify-index", Takes::Value)];
    let (remote, said) = Remote::read(args, &own, Words::UpTo(1))?;
    let entry = entry(said.word(0, "FILE")?)?;
    let (kind, name) = (named(&entry, "kind"), name_of(&entry));
    let index = said.get("modify-index").unwrap_or("0");
    let cas: &[(&str, &str)] = if said.is_on("cas") { &[("cas", index)] } else { &[] };
    let body = Value::Object(entry).to_string();
    let answered = block_on(async { good(remote.ask(Method::PUT, CONFIG, cas, body).await?) })?;
    if answered.body.trim_ascii() != b"true" {
        return Err(Failure::new(Exit::Failed, format!("Config entry not updated: {kind}/{name}")));
    }
    output::print(&format!("Config entry written: {kind}/{name}\n"));
    let header = |field: &str| answered.headers.get(field).and_then(|value| value.to_str().ok());
    if let Some(ignored) = header("x-weir-ignored") {
        output::remark(&format!("warning: kept, and not in force: {ignored}"));
    }
    if let Some(hints) = header("x-weir-hints") {
        output::remark(&format!("warning: {hints}"));
    }
    Ok(Exit::Done)
}

/// The entry that a file, or standard input (`-`), holds.
fn entry(file: &str) -> Result<Map<String, Value>, Failure> {
    let argument = if file == "-" { file.to_owned() } else { format!("@{file}") };
    serde_json::from_slice(&content("the config entry", &argument)?).map_err(|error| {
        Failure::new(Exit::Invalid, format!("{file} is no JSON object: {error}"))
            .hint(format!("JSON is expected; if it is HCL, {}", hcl::HINT))
    })
}

/// A text of an entry; empty if it is absent.
fn named(entry: &Map<String, Value>, key: &str) -> String {
    let found = entry.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    found.and_then(|(_, value)| value.as_str()).unwrap_or_default().to_owned()
}

/// The name of an entry. Of proxy-defaults there is one only, whose name need not be said.
fn name_of(entry: &Map<String, Value>) -> String {
    match (named(entry, "name"), &*named(entry, "kind")) {
        (name, "proxy-defaults") if name.is_empty() => "global".to_owned(),
        (name, _) => name,
    }
}

/// The kind and the name that `delete` is to take: of its flags, or of the entry in a file.
fn which(said: &Said) -> Result<(String, String), Failure> {
    let Some(file) = said.get("filename") else {
        return Ok((of_flag(said, "kind")?.to_owned(), of_flag(said, "name")?.to_owned()));
    };
    let failed = |exit, message: &str| Err(Failure::new(exit, message));
    if said.get("kind").is_some() || said.get("name").is_some() {
        return failed(Exit::Usage, "The -kind and -name parameters cannot be set together with -filename");
    }
    let entry = entry(file)?;
    match (named(&entry, "kind"), name_of(&entry)) {
        (kind, name) if !kind.is_empty() && !name.is_empty() => Ok((kind, name)),
        _ => failed(Exit::Invalid, "the entry in the file has no Kind or no Name"),
    }
}

fn read(args: &[String]) -> Result<Exit, Failure> {
    let (remote, said) =
        Remote::read(args, &[("kind", Takes::Value), ("name", Takes::Value)], Words::UpTo(0))?;
    let (kind, name) = (of_flag(&said, "kind")?, of_flag(&said, "name")?);
    let entry: Value = block_on(remote.get(&path(CONFIG, &format!("/{kind}/{name}")), &[]))?;
    output::print(&(serde_json::to_string_pretty(&entry).unwrap_or_default() + "\n"));
    Ok(Exit::Done)
}

fn list(args: &[String]) -> Result<Exit, Failure> {
    let (remote, said) =
        Remote::read(args, &[("kind", Takes::Value), ("filter", Takes::Value)], Words::UpTo(0))?;
    let kind = of_flag(&said, "kind")?;
    let filter: &[(&str, &str)] = match said.get("filter") {
        Some(filter) => &[("filter", filter)],
        None => &[],
    };
    let entries: Vec<Value> = block_on(remote.get(&path(CONFIG, &format!("/{kind}")), filter))?;
    let names = entries.iter().filter_map(|entry| entry["Name"].as_str());
    output::print(&names.map(|name| format!("{name}\n")).collect::<String>());
    Ok(Exit::Done)
}

fn delete(args: &[String]) -> Result<Exit, Failure> {
    let own = [
        ("kind", Takes::Value),
        ("name", Takes::Value),
        ("filename", Takes::Value),
        ("cas", Takes::Switch),
        ("modify-index", Takes::Value),
    ];
    let (remote, said) = Remote::read(args, &own, Words::UpTo(0))?;
    let (kind, name) = which(&said)?;
    let index = said.get("modify-index").unwrap_or("0");
    let cas: &[(&str, &str)] = if said.is_on("cas") { &[("cas", index)] } else { &[] };
    let target = path(CONFIG, &format!("/{kind}/{name}"));
    let answered = block_on(async { good(remote.ask(Method::DELETE, &target, cas, Bytes::new()).await?) })?;
    if said.is_on("cas") && answered.body.trim_ascii() != b"true" {
        return Err(Failure::new(Exit::Failed, format!("Config entry not deleted: {kind}/{name}")));
    }
    output::print(&format!("Config entry deleted: {kind}/{name}\n"));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_defaults_have_their_name_without_saying_it() {
        for (text, name) in [
            (r#"{"Kind": "proxy-defaults"}"#, "global"),
            (r#"{"kind": "proxy-defaults", "name": "global"}"#, "global"),
            (r#"{"Kind": "service-defaults", "Name": "web"}"#, "web"),
            (r#"{"Kind": "service-defaults"}"#, ""),
        ] {
            assert_eq!(name_of(&serde_json::from_str(text).unwrap()), name, "{text}");
        }
    }
}
