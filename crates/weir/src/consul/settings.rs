//! What flags and files say together: files in the order given, then flags, the later over the earlier; lists are added up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::blocks::{self, Wrong};
use super::keys::{self, Meaning};
use super::secure::Secure;
use crate::definitions::Definitions;
use crate::exit::{Exit, Failure};

/// Where nothing is said.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A port as Consul writes it: -1 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// Not served.
    Off,
    /// There.
    At(u16),
}

/// What is known after all is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) server: Option<bool>,
    pub(super) http_port: Option<Port>,
    pub(super) https_port: Option<Port>,
    pub(super) dns_port: Option<Port>,
    pub(super) grpc_port: Option<Port>,
    pub(super) client_addr: Option<IpAddr>,
    pub(super) http_addr: Option<IpAddr>,
    pub(super) https_addr: Option<IpAddr>,
    pub(super) dns_addr: Option<IpAddr>,
    pub(super) bind_addr: Option<IpAddr>,
    pub(super) advertise_addr: Option<IpAddr>,
    /// TLS at the listener of HTTPS.
    pub(super) secure: Secure,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) node_name: Option<String>,
    pub(super) node_meta: BTreeMap<String, String>,
    pub(super) datacenter: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) alt_domain: Option<String>,
    pub(super) recursors: Vec<String>,
    pub(super) only_passing: Option<bool>,
    pub(super) node_ttl: Option<String>,
    pub(super) service_ttls: BTreeMap<String, String>,
    pub(super) retry_join: Vec<String>,
    pub(super) script_checks: Option<bool>,
    pub(super) local_script_checks: Option<bool>,
    pub(super) leave_on_terminate: Option<bool>,
    pub(super) log_level: Option<String>,
    pub(super) log_json: Option<bool>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) definitions: Definitions,
    /// What is not done although it was asked for, a line each.
    pub(super) remarks: Vec<String>,
}

impl Settings {
    /// Takes over what a file says.
    ///
    /// # Errors
    /// For a key that Consul does not know, and for a value that makes no sense.
    pub(super) fn read(&mut self, place: &str, file: &Map<String, Value>) -> Result<(), Failure> {
        self.section(place, "", file)?;
        self.definitions.take(place, file)
    }

    fn section(&mut self, place: &str, section: &str, map: &Map<String, Value>) -> Result<(), Failure> {
        for (name, value) in map {
            // Beside a key in Consul's files may stand a remark.
            if name.starts_with('_') || value.is_null() {
                continue;
            }
            let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            self.key(place, &key, value)?;
        }
        Ok(())
    }

    /// Takes over what one key says.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub(super) fn key(&mut self, place: &str, key: &str, value: &Value) -> Result<(), Failure> {
        let key = match key {
            "recursor" => "recursors",
            key => key,
        };
        match keys::meaning(key) {
            Some(Meaning::Used) => self
                .set(key, value)
                .map_err(|reason| Failure::new(Exit::Usage, format!("{place}: {key}: {reason}"))),
            Some(Meaning::Section) => match value {
                Value::Object(section) => self.section(place, key, section),
                // As files that were HCL once have it.
                Value::Array(items) => items.iter().try_for_each(|item| match item {
                    Value::Object(section) => self.section(place, key, section),
                    _ => Err(Failure::new(Exit::Usage, format!("{place}: {key}: expected an object"))),
                }),
                _ => Err(Failure::new(Exit::Usage, format!("{place}: {key}: expected an object"))),
            },
            Some(Meaning::Meaningless) => {
                check_block(place, key, value)?;
                self.remarks.push(format!("{place}: {key}: has no meaning for weir, ignored"));
                Ok(())
            }
            Some(Meaning::NotInForce) => {
                check_block(place, key, value)?;
                if asks_for_something(value) {
                    self.remarks.push(format!("{place}: {key}: weir does not do this, NOT IN FORCE"));
                }
                Ok(())
            }
            None => Err(unknown(place, key, keys::nearest(key))),
        }
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        if self.secure.set(key, value)? {
            return Ok(());
        }
        match key {
            "server" => self.server = Some(flag(value)?),
            "ports.http" => self.http_port = Some(port(value)?),
            "ports.https" => self.https_port = Some(port(value)?),
            "ports.dns" => self.dns_port = Some(port(value)?),
            "ports.grpc" => self.grpc_port = Some(port(value)?),
            "client_addr" => self.client_addr = Some(address(value)?),
            "addresses.http" => self.http_addr = Some(address(value)?),
            "addresses.https" => self.https_addr = Some(address(value)?),
            "addresses.dns" => self.dns_addr = Some(address(value)?),
            "bind_addr" => self.bind_addr = Some(address(value)?),
            "advertise_addr" => self.advertise_addr = Some(address(value)?),
            "data_dir" => self.data_dir = Some(text(value)?.into()),
            "node_name" => self.node_name = Some(text(value)?),
            "node_meta" => self.node_meta.extend(pairs(value)?),
            "datacenter" => self.datacenter = Some(text(value)?.to_ascii_lowercase()),
            "domain" => self.domain = Some(text(value)?),
            "alt_domain" => self.alt_domain = Some(text(value)?),
            "recursors" => self.recursors.extend(texts(value)?),
            "dns_config.only_passing" => self.only_passing = Some(flag(value)?),
            "dns_config.node_ttl" => self.node_ttl = Some(text(value)?),
            "dns_config.service_ttl" => self.service_ttls.extend(pairs(value)?),
            "retry_join" | "start_join" => self.retry_join.extend(texts(value)?),
            "enable_script_checks" => self.script_checks = Some(flag(value)?),
            "enable_local_script_checks" => self.local_script_checks = Some(flag(value)?),
            "leave_on_terminate" => self.leave_on_terminate = Some(flag(value)?),
            "log_level" => self.log_level = Some(text(value)?),
            "log_json" => self.log_json = Some(flag(value)?),
            "pid_file" => self.pid_file = Some(text(value)?.into()),
            // Taken from the file as a whole, where their places are known.
            "service" | "services" | "check" | "checks" => {}
            _ => return Err("is not understood".to_owned()),
        }
        Ok(())
    }

    /// Where HTTP is served.
    pub(super) fn http_ip(&self) -> IpAddr {
        self.http_addr.or(self.client_addr).unwrap_or(LOOPBACK)
    }

    /// Where HTTPS is served.
    pub(super) fn https_ip(&self) -> IpAddr {
        self.https_addr.or(self.client_addr).unwrap_or(LOOPBACK)
    }

    /// Where DNS is served.
    pub(super) fn dns_ip(&self) -> IpAddr {
        self.dns_addr.or(self.client_addr).unwrap_or(LOOPBACK)
    }

    /// The node's address, if it is said.
    pub(super) fn node_ip(&self) -> Option<IpAddr> {
        self.advertise_addr.or(self.bind_addr).filter(|ip| !ip.is_unspecified())
    }
}

fn unknown(place: &str, key: &str, nearest: Option<&str>) -> Failure {
    let failure = Failure::new(Exit::Usage, format!("{place}: {key}: Consul knows no such key"));
    match nearest {
        Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
        None => failure,
    }
}

/// Looks into an object that nothing is done with.
fn check_block(place: &str, key: &str, value: &Value) -> Result<(), Failure> {
    blocks::check(key, value).map_err(|wrong| match wrong {
        Wrong::NoObject(key) => Failure::new(Exit::Usage, format!("{place}: {key}: expected an object")),
        Wrong::Unknown(key, nearest) => unknown(place, &key, nearest.as_deref()),
    })
}

/// Whether a value asks for more than that something be left out.
fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_i64().is_none_or(|number| number > 0),
        Value::String(text) => !text.is_empty() && text != "-1" && text != "false" && text != "0",
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => map.get("enabled") != Some(&Value::Bool(false)) && !map.is_empty(),
        Value::Bool(true) => true,
    }
}

pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("expected text, got {other}")),
    }
}

/// True or false; flags say it as text.
pub(super) fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        other => Err(format!("expected true or false, got {other}")),
    }
}

fn port(value: &Value) -> Result<Port, String> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(-1) => Ok(Port::Off),
        Some(number) => u16::try_from(number)
            .map(Port::At)
            .map_err(|_| format!("expected a port from 0 to 65535, or -1 for none, got {number}")),
        None => Err(format!("expected a port from 0 to 65535, or -1 for none, got {value}")),
    }
}

/// One address. Consul takes several, separated by blanks: of these, one that stands for all.
fn address(value: &Value) -> Result<IpAddr, String> {
    let text = text(value)?;
    if text.contains("{{") {
        return Err(format!("templates are not understood: {text}"));
    }
    let mut found = Vec::new();
    for part in text.split_whitespace() {
        let bare = part.strip_prefix('[').and_then(|part| part.strip_suffix(']')).unwrap_or(part);
        let parsed = if bare == "localhost" { Ok(LOOPBACK) } else { bare.parse::<IpAddr>() };
        found.push(parsed.map_err(|_| format!("`{part}` is no IP address"))?);
    }
    let for_all = found.iter().find(|ip| ip.is_unspecified()).copied();
    match (for_all, &*found) {
        (Some(ip), _) => Ok(ip),
        (None, [ip]) => Ok(*ip),
        (None, []) => Err("expected an IP address, got nothing".to_owned()),
        (None, _) => Err(format!("several addresses are not supported, use 0.0.0.0 for all: {text}")),
    }
}

/// Texts in an array, or one alone as flags say it.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        one => Ok(vec![text(one)?]),
    }
}

/// Texts by name in an object, or `NAME:VALUE` as flags say it.
fn pairs(value: &Value) -> Result<BTreeMap<String, String>, String> {
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect(),
        Value::String(one) => match one.split_once(':') {
            Some((name, value)) => Ok([(name.to_owned(), value.to_owned())].into()),
            None => Ok([(one.clone(), String::new())].into()),
        },
        other => Err(format!("expected an object of texts, got {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let Value::Object(map) = serde_json::from_str(text).unwrap() else { panic!() };
        let mut settings = Settings::default();
        settings.read("x.json", &map).map(|()| settings).map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_test_suites_write_is_understood() {
        let text = r#"{
            "ports": {"http": 4711, "https": -1, "dns": -1, "grpc_tls": -1, "rpc": 1, "serf_lan": 2, "server": 3},
            "performance": {"raft_multiplier": 1}, "enable_script_checks": true, "retry_join": ["10.0.0.1"],
            "client_addr": "127.0.0.1 0.0.0.0", "service": {"name": "web"}
        }"#;
        let settings = read(text).unwrap();
        assert_eq!((settings.http_port, settings.dns_port), (Some(Port::At(4711)), Some(Port::Off)));
        assert_eq!(settings.http_ip(), "0.0.0.0".parse::<IpAddr>().unwrap());
        assert_eq!((settings.script_checks, settings.definitions.services.len()), (Some(true), 1));
        assert!(
            settings.remarks.iter().all(|remark| remark.contains("has no meaning")),
            "{:?}",
            settings.remarks
        );
    }

    #[test]
    fn what_is_not_done_is_said_and_what_is_off_is_not() {
        let settings =
            read(r#"{"acl": {"enabled": true}, "encrypt": "x", "ports": {"grpc_tls": 8503}}"#).unwrap();
        assert_eq!(settings.remarks.len(), 3);
        assert!(
            settings.remarks.iter().all(|remark| remark.contains("NOT IN FORCE")),
            "{:?}",
            settings.remarks
        );
        let off = r#"{"acl": {"enabled": false}, "encrypt": "", "ports": {"https": -1}, "ui": false}"#;
        assert_eq!(read(off).unwrap().remarks, [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, says) in [
            (r#"{"datacentre": "x"}"#, "x.json: datacentre: Consul knows no such key"),
            (r#"{"ports": {"htp": 1}}"#, "did you mean `ports.http`?"),
            (r#"{"acl": {"enabledd": true}}"#, "x.json: acl.enabledd: Consul knows no such key"),
            (r#"{"performance": {"raft_multiplyer": 1}}"#, "did you mean `performance.raft_multiplier`?"),
            (r#"{"dns_config": {"soa": {"mn_ttl": 1}}}"#, "x.json: dns_config.soa.mn_ttl: Consul knows"),
            (r#"{"telemetry": true}"#, "x.json: telemetry: expected an object"),
            (r#"{"ports": 1}"#, "x.json: ports: expected an object"),
            (r#"{"ports": {"http": 70000}}"#, "x.json: ports.http: expected a port"),
            (r#"{"server": "yes"}"#, "x.json: server: expected true or false"),
            (r#"{"client_addr": "10.0.0.1 10.0.0.2"}"#, "several addresses"),
            (r#"{"bind_addr": "{{ GetInterfaceIP \"eth0\" }}"}"#, "templates are not understood"),
            (r#"{"services": {"name": "a"}}"#, "x.json: services: expected an array"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_value_of_any_key_is_taken_or_refused(key in "[a-z_.]{1,16}", text in ".{0,20}", number in proptest::num::i64::ANY) {
            for value in [Value::from(text), Value::from(number)] {
                let _ = Settings::default().key("x", &key, &value);
            }
        }
    }
}
