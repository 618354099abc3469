//! `consul services`: registrations with the agent, from files or flags.

use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::below;
use super::flags::{Said, Takes, Words};
use super::remote::{Remote, good, path};
use crate::commands::block_on;
use crate::definitions::{self, Definitions, Scripts, Source};
use crate::exit::{Exit, Failure};
use crate::output;

/// Runs `services register` or `services deregister`.
pub(super) fn run(args: &[String]) -> Result<Exit, Failure> {
    let (command, rest) = below("services", args, &["register", "deregister"])?;
    if command == "register" { register(rest) } else { deregister(rest) }
}

/// The files that are named.
fn files(said: &Said) -> Source {
    Source::files(said.rest.iter().map(PathBuf::from).collect())
}

/// The services that files define.
fn services(definitions: Definitions) -> Vec<Map<String, Value>> {
    definitions.services.into_iter().map(|(_, service)| service).collect()
}

fn register(args: &[String]) -> Result<Exit, Failure> {
    let own = [
        ("address", Takes::Value),
        ("id", Takes::Value),
        ("kind", Takes::Value),
        ("meta", Takes::Value),
        ("name", Takes::Value),
        ("port", Takes::Value),
        ("tag", Takes::Value),
        ("tagged-address", Takes::Value),
    ];
    let (remote, said) = Remote::read(args, &own, Words::Any)?;
    let described = own.iter().find(|(flag, _)| said.get(flag).is_some());
    let services = match (said.rest.first(), described) {
        (None, _) => vec![from_flags(&said)?],
        // Whether their checks may be programs is the agent's to say.
        (Some(_), None) => services(definitions::read(&files(&said), Scripts::On)?),
        (Some(file), Some((flag, _))) => return Err(either(file, flag)),
    };
    block_on(async {
        for service in services {
            let name = service.iter().find(|(key, _)| key.eq_ignore_ascii_case("name"));
            let name = name.and_then(|(_, name)| name.as_str()).unwrap_or("").to_owned();
            let body = Value::Object(service).to_string();
            good(remote.ask(Method::PUT, "/v1/agent/service/register", &[], body).await?)?;
            output::print(&format!("Registered service: {name}\n"));
        }
        Ok(Exit::Done)
    })
}

/// What is said twice is not guessed at.
fn either(file: &str, flag: &str) -> Failure {
    let message = format!("{file} and -{flag} are both given; expected files or flags, not both");
    Failure::new(Exit::Usage, message)
}

fn from_flags(said: &Said) -> Result<Map<String, Value>, Failure> {
    let Some(name) = said.get("name") else {
        return Err(Failure::new(Exit::Usage, "Service name is required: -name, or a file"));
    };
    let mut service = Map::new();
    service.insert("Name".to_owned(), json!(name));
    for (flag, field) in [("id", "ID"), ("address", "Address"), ("kind", "Kind")] {
        if let Some(value) = said.get(flag) {
            service.insert(field.to_owned(), json!(value));
        }
    }
    if let Some(port) = said.get("port") {
        let port: u16 = port.parse().map_err(|_| {
            Failure::new(Exit::Usage, format!("-port: `{port}` is not a port from 0 to 65535"))
        })?;
        service.insert("Port".to_owned(), json!(port));
    }
    let pairs = |flag: &'static str| {
        said.all(flag).map(move |pair| {
            pair.split_once('=')
                .ok_or_else(|| Failure::new(Exit::Usage, format!("-{flag}: `{pair}` is not KEY=VALUE")))
        })
    };
    let meta = pairs("meta").map(|pair| pair.map(|(key, value)| (key.to_owned(), json!(value))));
    service.insert("Meta".to_owned(), Value::Object(meta.collect::<Result<_, _>>()?));
    let mut tagged = Map::new();
    for pair in pairs("tagged-address") {
        let (key, address) = pair?;
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
        let port: u16 = port.parse().map_err(|_| {
            Failure::new(Exit::Usage, format!("-tagged-address: `{address}` is not HOST or HOST:PORT"))
        })?;
        tagged.insert(key.to_owned(), json!({"Address": host, "Port": port}));
    }
    service.insert("TaggedAddresses".to_owned(), Value::Object(tagged));
    service.insert("Tags".to_owned(), said.all("tag").collect());
    Ok(service)
}

fn deregister(args: &[String]) -> Result<Exit, Failure> {
    let (remote, said) = Remote::read(args, &[("id", Takes::Value)], Words::Any)?;
    let ids: Vec<String> = match said.get("id") {
        Some(id) => match said.rest.first() {
            None => vec![id.to_owned()],
            Some(file) => return Err(either(file, "id")),
        },
        None => services(files(&said).read()?).iter().filter_map(id_of).collect(),
    };
    if ids.is_empty() {
        return Err(Failure::new(Exit::Usage, "which one? -id ID, or a file"));
    }
    block_on(async {
        for id in ids {
            let target = path("/v1/agent/service/deregister/", &id);
            let answered = remote.ask(Method::PUT, &target, &[], Bytes::new()).await?;
            if answered.status == StatusCode::NOT_FOUND {
                let text = String::from_utf8_lossy(&answered.body).into_owned();
                return Err(Failure::new(Exit::Failed, text));
            }
            good(answered)?;
            output::print(&format!("Deregistered service: {id}\n"));
        }
        Ok(Exit::Done)
    })
}

/// A definition's id, or its name.
fn id_of(service: &Map<String, Value>) -> Option<String> {
    let field = |name: &str| {
        let found = service.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.as_str()).map(str::to_owned)
    };
    field("id").or_else(|| field("name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::flags::read;

    #[test]
    fn files_are_judged_before_anything_is_registered() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        // Nobody listens there: what is wrong is found before anybody is asked.
        let register = |text: &str| {
            std::fs::write(&path, text).unwrap();
            register(&["-http-addr=127.0.0.1:1".to_owned(), path.clone()]).unwrap_err()
        };
        let failure = register(r#"{"service": {"name": "web", "prt": 80}}"#);
        assert!(failure.message.contains("service: prt: unknown field; did you mean `port`?"), "{failure}");
        assert_eq!(failure.exit, Exit::Invalid);
        let failure = register(r#"{"service": {"name": "web"}, "service": {"name": "api"}}"#);
        assert!(failure.message.contains("service: given as `service` before"), "{failure}");
        let failure =
            register(r#"{"service": {"name": "web", "check": {"args": ["true"], "interval": "1s"}}}"#);
        assert!(failure.message.contains("127.0.0.1:1"), "{failure}");
    }

    #[test]
    fn flags_make_a_definition() {
        let known =
            [("name", Takes::Value), ("port", Takes::Value), ("tag", Takes::Value), ("meta", Takes::Value)];
        let said = |args: &[&str]| {
            let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
            read(&args, &[&known], Words::UpTo(0)).unwrap()
        };
        let service = from_flags(&said(&["-name=web", "-port=80", "-tag=a", "-tag=b", "-meta=v=1"])).unwrap();
        let expected = json!({
            "Name": "web", "Port": 80, "Tags": ["a", "b"], "Meta": {"v": "1"}, "TaggedAddresses": {},
        });
        assert_eq!(Value::Object(service), expected);
        for (args, says) in [
            (&["-port=80"][..], "name is required"),
            (&["-name=web", "-port=x"], "`x` is not a port"),
            (&["-name=web", "-meta=v"], "`v` is not KEY=VALUE"),
        ] {
            assert!(from_flags(&said(args)).unwrap_err().message.contains(says), "{args:?}");
        }
    }
}
