//! The model's rules in the words of Consul's definitions: paths as the client wrote them, one sentence per fault.

use weir_model::DEFAULT_NAMESPACE;
use weir_model::registry::{Check, Instance, Node};
use weir_model::validate::{FieldError, validate_check, validate_instance, validate_node};

use super::refusal::Refusal;
use super::views::NODE_ALIVE;

/// What no key of a service's metadata begins with.
const META_RESERVED: &str = "consul-";

/// The model's fields by Consul's names.
const INSTANCE_FIELDS: [(&str, &str); 10] = [
    ("namespace", "Namespace"),
    ("node", "Node"),
    ("id", "ID"),
    ("service", "Service name"),
    ("address", "Address"),
    ("tagged_addresses", "TaggedAddresses"),
    ("tags", "Tags"),
    ("metadata", "Meta"),
    ("weights", "Weights"),
    ("inbound", "TaggedAddresses.weir-inbound"),
];

const NODE_FIELDS: [(&str, &str); 5] = [
    ("name", "Node"),
    ("id", "ID"),
    ("address", "Address"),
    ("tagged_addresses", "TaggedAddresses"),
    ("metadata", "NodeMeta"),
];

const CHECK_FIELDS: [(&str, &str); 19] = [
    ("namespace", "Namespace"),
    ("id", "CheckID"),
    ("instance", "ServiceID"),
    ("name", "Name"),
    ("notes", "Notes"),
    ("output", "Output"),
    ("definition.interval", "Interval"),
    ("definition.timeout", "Timeout"),
    ("definition.http.url", "HTTP"),
    ("definition.http.headers", "Header"),
    ("definition.http.method", "Method"),
    ("definition.tcp.address", "TCP"),
    ("definition.udp.address", "UDP"),
    ("definition.grpc.address", "GRPC"),
    ("definition.grpc.service", "GRPC"),
    ("definition.h2_ping.address", "H2PING"),
    ("definition.alias.node", "AliasNode"),
    ("definition.alias.instance", "AliasService"),
    ("definition.script.args", "Args"),
];

pub(super) fn instance(instance: &Instance) -> Result<(), Refusal> {
    instance.metadata.iter().try_for_each(|(key, value)| service_meta(key, value))?;
    refuse("Invalid service definition", &validate_instance(instance), &INSTANCE_FIELDS)
}

/// Consul's rules for the keys of a service's metadata, in its words. Those of a node that is registered by `catalog/register` it
/// does not judge.
fn service_meta(key: &str, value: &str) -> Result<(), Refusal> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let reason = if key.is_empty() {
        "Key cannot be blank".to_owned()
    } else if !key.bytes().all(is_plain) {
        "Key contains invalid characters; expected letters, digits, `_` and `-`".to_owned()
    } else if key.starts_with(META_RESERVED) {
        format!("Key prefix '{META_RESERVED}' is reserved for internal use")
    } else {
        return Ok(());
    };
    Err(Refusal::bad(format!(
        "Invalid Service Meta: Couldn't load metadata pair ('{key}', '{value}'): {reason}"
    )))
}

pub(super) fn node(node: &Node) -> Result<(), Refusal> {
    refuse("Invalid node", &validate_node(node), &NODE_FIELDS)
}

pub(super) fn check(check: &Check) -> Result<(), Refusal> {
    refuse("Invalid check", &validate_check(check), &CHECK_FIELDS)
}

/// A check that is registered with whoever answers here: the one that stands for its own being alive is none of them.
pub(super) fn own_check(given: &Check) -> Result<(), Refusal> {
    if given.id == NODE_ALIVE && given.namespace == DEFAULT_NAMESPACE {
        return Err(Refusal::bad(format!(
            "Invalid check: CheckID: {NODE_ALIVE} stands for the agent itself"
        )));
    }
    check(given)
}

fn refuse(what: &str, faults: &[FieldError], fields: &[(&str, &str)]) -> Result<(), Refusal> {
    if faults.is_empty() {
        return Ok(());
    }
    let sentences: Vec<String> = faults
        .iter()
        .map(|fault| {
            let known = fields.iter().find_map(|(from, to)| {
                let rest = fault.path.strip_prefix(*from)?;
                let whole = rest.is_empty() || rest.starts_with(['.', '[', ' ']);
                whole.then(|| FieldError { path: format!("{to}{rest}"), ..fault.clone() })
            });
            known.as_ref().unwrap_or(fault).to_string()
        })
        .collect();
    Err(Refusal::bad(format!("{what}: {}", sentences.join("; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_that_stands_for_the_agent_is_nobody_elses() {
        let given = |namespace: &str, id: &str| Check {
            namespace: namespace.to_owned(),
            node: "n".to_owned(),
            id: id.to_owned(),
            name: "alive".to_owned(),
            ..Check::default()
        };
        let error = own_check(&given("default", "serfHealth")).unwrap_err();
        assert!(error.message.contains("CheckID: serfHealth"), "{}", error.message);
        assert!(own_check(&given("team", "serfHealth")).is_ok());
        assert!(own_check(&given("default", "serfhealth")).is_ok());
        assert!(check(&given("default", "serfHealth")).is_ok(), "other nodes' agents have one");
    }

    #[test]
    fn faults_are_told_in_the_clients_words() {
        let fine = Instance {
            namespace: "default".to_owned(),
            node: "n".to_owned(),
            id: "web-1".to_owned(),
            service: "web".to_owned(),
            ..Instance::default()
        };
        assert!(instance(&fine).is_ok());
        let says = |instance_: Instance, part: &str| {
            let message = instance(&instance_).unwrap_err().message;
            assert!(message.contains(part), "{message}");
        };
        says(
            Instance { service: "a b".to_owned(), ..fine.clone() },
            "Invalid service definition: Service name: ",
        );
        says(Instance { address: "no host".to_owned(), ..fine.clone() }, "Address: ");
        for (key, part) in [
            (
                "a b",
                "Invalid Service Meta: Couldn't load metadata pair ('a b', 'v'): Key contains invalid characters",
            ),
            ("a.b", "Key contains invalid characters"),
            ("consul-x", "Key prefix 'consul-' is reserved for internal use"),
            ("", "Key cannot be blank"),
        ] {
            let metadata = [(key.to_owned(), "v".to_owned())].into();
            says(Instance { metadata, ..fine.clone() }, part);
        }
        let metadata = [("k".to_owned(), "v".repeat(600))].into();
        says(Instance { metadata, ..fine.clone() }, "Meta[\"k\"]: 600 bytes long");
        let inbound = Some(weir_model::registry::Address { host: "127.0.0.1".to_owned(), port: 0 });
        says(Instance { inbound, ..fine }, "TaggedAddresses.weir-inbound.port: ");
    }
}
