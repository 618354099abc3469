//! Where everything lies in the store: the one place that knows the key layout.
//!
//! ```text
//! /weir/v1/format/cluster/format                minimum reader and writer
//! /weir/v1/node/cluster/<node>                  Node
//! /weir/v1/instance/<ns>/<node>/<id>            Instance
//! /weir/v1/check/<ns>/<node>/<id>               Check
//! /weir/v1/kv/<ns>/<key>                        KV: a JSON header line, then the raw bytes
//! /weir/v1/changeset/cluster/<id>/<n>           change set: n = 0 its manifest, then its parts
//! /weir/v1/checkpoint/cluster/<id>/<n>          all resources after change set <id>, in parts
//! /weir/v1/replica/cluster/<id>                 Replica, under its lease
//! /weir/v1/head/cluster/resources               which change set is in force
//! ```
//!
//! Node names are compared without regard to case, so keys hold them in lower case.

use weir_store::{Key, KeyRange};

use crate::Error;

pub(crate) const CLUSTER: &str = "cluster";
pub(crate) const FORMAT: &str = "format";
pub(crate) const NODE: &str = "node";
pub(crate) const INSTANCE: &str = "instance";
pub(crate) const CHECK: &str = "check";
pub(crate) const KV: &str = "kv";
pub(crate) const CHANGE_SET: &str = "changeset";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const HEAD: &str = "head";
pub(crate) const REPLICA: &str = "replica";
const RESOURCES: &str = "resources";

/// A stored key, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Node(&'a str),
    Instance { namespace: &'a str, node: &'a str, id: &'a str },
    Check { namespace: &'a str, node: &'a str, id: &'a str },
    Kv { namespace: &'a str, key: &'a str },
    ChangeSet { id: &'a str, part: u32 },
    Checkpoint { id: &'a str, part: u32 },
    Head,
    Replica(&'a str),
}

/// What a key is about; `None` for keys that are not the catalog's business.
pub(crate) fn place(key: &Key) -> Option<Place<'_>> {
    let (kind, namespace, tail) = key.parts()?;
    Some(match kind {
        NODE => Place::Node(tail),
        INSTANCE => {
            let (node, id) = tail.split_once('/')?;
            Place::Instance { namespace, node, id }
        }
        CHECK => {
            let (node, id) = tail.split_once('/')?;
            Place::Check { namespace, node, id }
        }
        KV => Place::Kv { namespace, key: tail },
        CHANGE_SET => {
            let (id, part) = tail.split_once('/')?;
            Place::ChangeSet { id, part: part.parse().ok()? }
        }
        CHECKPOINT => {
            let (id, part) = tail.split_once('/')?;
            Place::Checkpoint { id, part: part.parse().ok()? }
        }
        REPLICA => Place::Replica(tail),
        HEAD if tail == RESOURCES => Place::Head,
        _ => return None,
    })
}

/// A node's name as keys and lookups use it.
pub(crate) fn node_key(name: &str) -> String {
    name.to_lowercase()
}

pub(crate) fn format() -> Result<Key, Error> {
    Ok(Key::new(FORMAT, CLUSTER, FORMAT)?)
}

pub(crate) fn node(name: &str) -> Result<Key, Error> {
    Ok(Key::new(NODE, CLUSTER, &node_key(name))?)
}

pub(crate) fn instance(namespace: &str, node: &str, id: &str) -> Result<Key, Error> {
    Ok(Key::new(INSTANCE, namespace, &format!("{}/{id}", node_key(node)))?)
}

pub(crate) fn check(namespace: &str, node: &str, id: &str) -> Result<Key, Error> {
    Ok(Key::new(CHECK, namespace, &format!("{}/{id}", node_key(node)))?)
}

/// Everything of a kind (instances or checks) that one node has in one namespace.
pub(crate) fn of_node(kind: &str, namespace: &str, node: &str) -> KeyRange {
    KeyRange::prefix(&format!("{}{kind}/{namespace}/{}/", weir_store::key::ROOT, node_key(node)))
}

pub(crate) fn kv(namespace: &str, key: &str) -> Result<Key, Error> {
    Ok(Key::new(KV, namespace, key)?)
}

pub(crate) fn part(kind: &str, id: &str, part: u32) -> Result<Key, Error> {
    // Zero-padded, so that parts come in order.
    Ok(Key::new(kind, CLUSTER, &format!("{id}/{part:06}"))?)
}

pub(crate) fn parts(kind: &str, id: &str) -> KeyRange {
    KeyRange::prefix(&format!("{}{kind}/{CLUSTER}/{id}/", weir_store::key::ROOT))
}

pub(crate) fn replica(id: &str) -> Result<Key, Error> {
    Ok(Key::new(REPLICA, CLUSTER, id)?)
}

pub(crate) fn head() -> Result<Key, Error> {
    Ok(Key::new(HEAD, CLUSTER, RESOURCES)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_apart_as_they_were_put_together() {
        let check = |key: Key, expect: Place<'_>| assert_eq!(place(&key), Some(expect), "{key}");
        check(node("Web-1").unwrap(), Place::Node("web-1"));
        check(
            instance("default", "Web-1", "a/b").unwrap(),
            Place::Instance { namespace: "default", node: "web-1", id: "a/b" },
        );
        check(
            super::check("n", "web", "service:a").unwrap(),
            Place::Check { namespace: "n", node: "web", id: "service:a" },
        );
        check(kv("default", "a//b/").unwrap(), Place::Kv { namespace: "default", key: "a//b/" });
        check(part(CHANGE_SET, "00000001-aa", 7).unwrap(), Place::ChangeSet { id: "00000001-aa", part: 7 });
        check(head().unwrap(), Place::Head);
        check(replica("a-1").unwrap(), Place::Replica("a-1"));
        assert_eq!(place(&format().unwrap()), None);
    }
}
