//! `consul kv`.

mod transfer;

use std::io::Read as _;

use base64::Engine as _;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use super::below;
use super::flags::{Said, Takes, Words};
use super::remote::{Remote, good, path};
use crate::commands::block_on;
use crate::exit::{Exit, Failure};
use crate::output;

/// What every key is below.
const KV: &str = "/v1/kv/";

/// Runs `kv get`, `put`, `delete`, `export` or `import`.
pub(super) fn run(args: &[String]) -> Result<Exit, Failure> {
    let (command, rest) = below("kv", args, &["get", "put", "delete", "export", "import"])?;
    match command {
        "get" => get(rest),
        "put" => put(rest),
        "export" => transfer::export(rest),
        "import" => transfer::import(rest),
        _ => delete(rest),
    }
}

/// The key, without the slash before it that some write.
fn key(said: &Said) -> Result<&str, Failure> {
    said.word(0, "KEY").map(|key| key.strip_prefix('/').unwrap_or(key))
}

fn get(args: &[String]) -> Result<Exit, Failure> {
    let own = [
        ("base64", Takes::Switch),
        ("detailed", Takes::Switch),
        ("keys", Takes::Switch),
        ("recurse", Takes::Switch),
        ("separator", Takes::Value),
    ];
    let (remote, said) = Remote::read(args, &own, Words::UpTo(1))?;
    let (all, keys) = (said.is_on("recurse"), said.is_on("keys"));
    let key = if all || keys {
        said.rest.first().map_or("", |key| key.trim_start_matches('/'))
    } else {
        key(&said)?
    };
    let mut parameters = Vec::new();
    if keys {
        parameters.push(("keys", ""));
        parameters.push(("separator", said.get("separator").unwrap_or("/")));
    } else if all {
        parameters.push(("recurse", ""));
    }
    let answered = block_on(remote.ask(Method::GET, &path(KV, key), &parameters, Bytes::new()))?;
    if answered.status == StatusCode::NOT_FOUND {
        if all || keys {
            return Ok(Exit::Done);
        }
        return Err(Failure::new(Exit::Failed, format!("No key exists at: {key}")));
    }
    let answered = good(answered)?;
    let found: Vec<Value> = serde_json::from_slice(&answered.body)
        .map_err(|error| Failure::new(Exit::Failed, format!("the answer is not Consul's: {error}")))?;
    let mut shown = String::new();
    for entry in &found {
        match entry.as_str() {
            Some(name) => shown.push_str(name),
            None => shown.push_str(&entry_text(entry, all, said.is_on("base64"), said.is_on("detailed"))?),
        }
        shown.push('\n');
    }
    output::print(&shown);
    Ok(Exit::Done)
}

/// An entry as it is shown: its value, after its key if there may be several, or all that is known of it.
fn entry_text(entry: &Value, with_key: bool, base64: bool, detailed: bool) -> Result<String, Failure> {
    let (key, coded) = (entry["Key"].as_str().unwrap_or(""), entry["Value"].as_str().unwrap_or(""));
    let value = if base64 {
        coded.to_owned()
    } else {
        let bytes = decoded(key, coded.as_bytes())?;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    if detailed {
        let mut text = String::new();
        for name in ["CreateIndex", "Flags", "Key", "LockIndex", "ModifyIndex", "Session"] {
            let shown = match &entry[name] {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            text.push_str(&format!("{name:<16} {shown}\n"));
        }
        return Ok(format!("{text}{:<16} {value}", "Value"));
    }
    Ok(if with_key { format!("{key}:{value}") } else { value })
}

fn put(args: &[String]) -> Result<Exit, Failure> {
    let own = [
        ("acquire", Takes::Switch),
        ("base64", Takes::Switch),
        ("cas", Takes::Switch),
        ("flags", Takes::Value),
        ("modify-index", Takes::Value),
        ("release", Takes::Switch),
        ("session", Takes::Value),
    ];
    let (remote, said) = Remote::read(args, &own, Words::UpTo(2))?;
    let key = key(&said)?;
    let value = value(&said)?;
    let mut parameters = Vec::new();
    parameters.extend(said.get("flags").map(|flags| ("flags", flags)));
    if said.is_on("cas") {
        parameters.push(("cas", said.get("modify-index").unwrap_or("0")));
    }
    for (switch, done) in [("acquire", "acquire"), ("release", "release")] {
        if said.is_on(switch) {
            let session = said.get("session").ok_or_else(|| {
                Failure::new(Exit::Usage, format!("Missing -session (required with -{switch})"))
            })?;
            parameters.push((done, session));
        }
    }
    let answered = good(block_on(remote.ask(Method::PUT, &path(KV, key), &parameters, value))?)?;
    if answered.body.trim_ascii() == b"true" {
        output::print(&format!("Success! Data written to: {key}\n"));
        return Ok(Exit::Done);
    }
    Err(Failure::new(Exit::Failed, format!("Did not write to {key}: CAS or lock operation failed")))
}

/// The value: the second argument.
fn value(said: &Said) -> Result<Vec<u8>, Failure> {
    let bytes = content("the value", said.rest.get(1).map_or("", String::as_str))?;
    if said.is_on("base64") { decoded("the value", bytes.trim_ascii()) } else { Ok(bytes) }
}

/// What an argument stands for: a file's content for `@FILE`, standard input for `-`, else itself.
pub(super) fn content(what: &str, argument: &str) -> Result<Vec<u8>, Failure> {
    let failed = |place: &str, error: std::io::Error| {
        Failure::new(Exit::Invalid, format!("cannot read {what} from {place}: {error}"))
    };
    if argument == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(|error| failed("standard input", error))?;
        return Ok(bytes);
    }
    match argument.strip_prefix('@') {
        Some(file) => std::fs::read(file).map_err(|error| failed(file, error)),
        None => Ok(argument.as_bytes().to_vec()),
    }
}

fn decoded(what: &str, coded: &[u8]) -> Result<Vec<u8>, Failure> {
    base64::engine::general_purpose::STANDARD
        .decode(coded)
        .map_err(|error| Failure::new(Exit::Invalid, format!("{what} is not base64: {error}")))
}

fn delete(args: &[String]) -> Result<Exit, Failure> {
    let own = [("recurse", Takes::Switch), ("cas", Takes::Switch), ("modify-index", Takes::Value)];
    let (remote, said) = Remote::read(args, &own, Words::UpTo(1))?;
    let all = said.is_on("recurse");
    let key = if all { said.rest.first().map_or("", |key| key.trim_start_matches('/')) } else { key(&said)? };
    let mut parameters = Vec::new();
    if all {
        parameters.push(("recurse", ""));
    }
    if said.is_on("cas") {
        let index = said.get("modify-index").ok_or_else(|| {
            Failure::new(Exit::Usage, "Must specify -modify-index with -cas to delete with check-and-set")
        })?;
        parameters.push(("cas", index));
    }
    let answered = good(block_on(remote.ask(Method::DELETE, &path(KV, key), &parameters, Bytes::new()))?)?;
    if answered.body.trim_ascii() == b"false" {
        return Err(Failure::new(Exit::Failed, format!("Did not delete {key}: CAS failed")));
    }
    let what = if all { "keys with prefix" } else { "key" };
    output::print(&format!("Success! Deleted {what}: {key}\n"));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_shown_as_scripts_know_them() {
        let entry = serde_json::json!({"Key": "a/b", "Value": "aGk=", "Flags": 7, "LockIndex": 0, "CreateIndex": 1, "ModifyIndex": 2});
        let shown = |with_key, base64, detailed| entry_text(&entry, with_key, base64, detailed).unwrap();
        assert_eq!(shown(false, false, false), "hi");
        assert_eq!(shown(true, false, false), "a/b:hi");
        assert_eq!(shown(false, true, false), "aGk=");
        let detailed = shown(false, false, true);
        assert!(
            detailed.contains("Flags            7\n") && detailed.ends_with("Value            hi"),
            "{detailed}"
        );
        let empty = serde_json::json!({"Key": "k", "Value": null});
        assert_eq!(entry_text(&empty, false, false, false).unwrap(), "");
    }
}
