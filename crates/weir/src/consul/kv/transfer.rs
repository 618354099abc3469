//! `kv export` and `kv import`: keys and values as Consul's command writes and reads them, to move them from one to the other.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{KV, content, decoded};
use crate::commands::block_on;
use crate::consul::flags::{Takes, Words};
use crate::consul::remote::{Remote, good, path};
use crate::exit::{Exit, Failure};
use crate::output;

/// One key in Consul's form.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Exported {
    key: String,
    #[serde(default)]
    flags: u64,
    /// Base64; null or empty for an empty value.
    #[serde(default)]
    value: Option<String>,
    /// Where it was; empty where Consul has no namespaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    partition: String,
}

/// One key to write.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    key: String,
    flags: u64,
    value: Vec<u8>,
    /// The namespace that the entry names, if it does.
    namespace: Option<String>,
}

impl Exported {
    /// An entry of `/v1/kv`.
    fn of(entry: &Value) -> Self {
        Self {
            key: entry["Key"].as_str().unwrap_or("").to_owned(),
            flags: entry["Flags"].as_u64().unwrap_or(0),
            value: Some(entry["Value"].as_str().unwrap_or("").to_owned()),
            namespace: String::new(),
            partition: String::new(),
        }
    }
}

/// `kv export [PREFIX]`.
pub(super) fn export(args: &[String]) -> Result<Exit, Failure> {
    let (remote, said) = Remote::read(args, &[], Words::UpTo(1))?;
    let prefix = said.rest.first().map_or("", |key| key.trim_start_matches('/'));
    let answered = block_on(remote.ask(Method::GET, &path(KV, prefix), &[("recurse", "")], Bytes::new()))?;
    let entries: Vec<Value> = if answered.status == StatusCode::NOT_FOUND {
        Vec::new()
    } else {
        serde_json::from_slice(&good(answered)?.body)
            .map_err(|error| Failure::new(Exit::Failed, format!("the answer is not Consul's: {error}")))?
    };
    let exported: Vec<_> = entries.iter().map(Exported::of).collect();
    let text = serde_json::to_string_pretty(&exported)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write the answer: {error}")))?;
    output::print(&(text + "\n"));
    Ok(Exit::Done)
}

/// `kv import [-prefix PREFIX] DATA`.
pub(super) fn import(args: &[String]) -> Result<Exit, Failure> {
    let (remote, said) = Remote::read(args, &[("prefix", Takes::Value)], Words::UpTo(1))?;
    let data = said.word(0, "DATA (JSON, @FILE, or - for standard input)")?;
    let entries =
        entries(&content("the keys", data)?, said.get("prefix").unwrap_or("")).map_err(|failure| {
            if is_name(data) { failure.hint(format!("@{data}, if that is a file")) } else { failure }
        })?;
    let asked = remote.parameter("ns");
    for one in &entries {
        if let (Some(own), Some(asked)) = (&one.namespace, asked)
            && own != asked
        {
            let message = format!("{} is of the namespace {own}, but {asked} is asked for", one.key);
            return Err(
                Failure::new(Exit::Invalid, message).hint("without -namespace each key is put into its own")
            );
        }
    }
    block_on(async {
        for Import { key, flags, value, namespace } in entries {
            let flags = flags.to_string();
            let mut parameters = vec![("flags", &*flags)];
            parameters.extend(namespace.as_deref().filter(|_| asked.is_none()).map(|name| ("ns", name)));
            let put = remote.ask(Method::PUT, &path(KV, &key), &parameters, value).await?;
            good(put)?;
            output::print(&format!("Imported: {key}\n"));
        }
        Ok(Exit::Done)
    })
}

/// Whether DATA may be meant as the name of a file: it is no JSON.
fn is_name(data: &str) -> bool {
    !data.starts_with(['[', '{', '@']) && data != "-" && !data.trim().is_empty()
}

/// What is to be written. All of it is read before the first is.
fn entries(data: &[u8], prefix: &str) -> Result<Vec<Import>, Failure> {
    let exported: Vec<Exported> = serde_json::from_slice(data).map_err(|error| {
        Failure::new(Exit::Invalid, format!("the keys are not what `kv export` writes: {error}"))
    })?;
    let of = |one: Exported| {
        if !matches!(&*one.partition, "" | "default") {
            let message = format!("{} is of the partition {}: only default exists", one.key, one.partition);
            return Err(Failure::new(Exit::Invalid, message));
        }
        let value = decoded(&one.key, one.value.unwrap_or_default().as_bytes())?;
        let key = format!("{prefix}{}", one.key.trim_start_matches('/'));
        let namespace = Some(one.namespace).filter(|name| !name.is_empty());
        Ok(Import { key, flags: one.flags, value, namespace })
    };
    exported.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_can_be_imported() {
        let entry = serde_json::json!({"Key": "a/b", "Value": "aGk=", "Flags": 7, "LockIndex": 0});
        let empty = serde_json::json!({"Key": "c", "Value": null, "Flags": 0});
        let text = serde_json::to_vec(&[Exported::of(&entry), Exported::of(&empty)]).unwrap();
        let import = |key: &str, flags, value: &[u8], namespace: Option<&str>| Import {
            key: key.to_owned(),
            flags,
            value: value.to_vec(),
            namespace: namespace.map(str::to_owned),
        };
        let read = entries(&text, "old/").unwrap();
        assert_eq!(read, [import("old/a/b", 7, b"hi", None), import("old/c", 0, b"", None)]);
        let of_others =
            br#"[{"key": "a", "namespace": "team", "partition": "default"}, {"key": "a", "namespace": ""}]"#;
        let read = entries(of_others, "").unwrap();
        assert_eq!(read, [import("a", 0, b"", Some("team")), import("a", 0, b"", None)]);
        for (bad, says) in [
            (&b"{}"[..], "not what `kv export` writes"),
            (br#"[{"value": ""}]"#, "missing field `key`"),
            (br#"[{"key": "a", "value": "?"}]"#, "a is not base64"),
            (br#"[{"key": "a", "partition": "p"}]"#, "a is of the partition p: only default exists"),
        ] {
            let failure = entries(bad, "").unwrap_err();
            assert!(failure.exit == Exit::Invalid && failure.message.contains(says), "{failure}");
        }
        for (data, expected) in
            [("svc.json", true), ("@svc.json", false), ("-", false), ("[]", false), ("", false)]
        {
            assert_eq!(is_name(data), expected, "{data}");
        }
    }
}
