//! Where everything lies in the store: the one place that knows the key layout.
//!
//! ```text
//! /weir/v1/format/cluster/format                minimum reader and writer
//! /weir/v1/node/cluster/<node>                  Node
//! /weir/v1/instance/<ns>/<node>/<id>            Instance
//! /weir/v1/check/<ns>/<node>/<id>               Check
//! /weir/v1/kv/<ns>/<key>                        KV: a JSON header line, then the raw bytes
//! /weir/v1/kl/<ns>/<key>                        the KV key has been locked; goes with the key
//! /weir/v1/kd/<ns>/<key>                        the KV key cannot be locked; ends with its lease
//! /weir/v1/session/<ns>/<id>                    Session
//! /weir/v1/lock/<ns>/<lock>                     Lock
//! /weir/v1/claim/<ns>/<lock>/<id>               Claim
//! /weir/v1/table/<ns>/<table>                   how often the table's records were written
//! /weir/v1/record/<ns>/<table>/<name>           Record
//! /weir/v1/changeset/cluster/<id>/<n>           change set: n = 0 its manifest, then its parts
//! /weir/v1/checkpoint/cluster/<id>/<n>          all resources after change set <id>, in parts
//! /weir/v1/replica/cluster/<id>                 Replica, under its lease
//! /weir/v1/told/cluster/<id>                    checks that a replica heard from last for others, under its lease
//! /weir/v1/head/cluster/resources               which change set is in force
//! ```
//!
//! Node names are compared without regard to case, so keys hold them in lower case.

use std::borrow::Cow;

use weir_store::{Key, KeyRange};

use crate::Error;
use crate::records::TableRef;

pub(crate) const CLUSTER: &str = "cluster";
pub(crate) const FORMAT: &str = "format";
pub(crate) const NODE: &str = "node";
pub(crate) const INSTANCE: &str = "instance";
pub(crate) const CHECK: &str = "check";
pub(crate) const KV: &str = "kv";
/// Marks a KV key that has been locked since it was created. Its kind is as short as that of KV keys, so that every KV
/// key has room for it.
pub(crate) const KV_LOCKED: &str = "kl";
pub(crate) const KV_DELAYED: &str = "kd";
pub(crate) const SESSION: &str = "session";
pub(crate) const LOCK: &str = "lock";
pub(crate) const CLAIM: &str = "claim";
pub(crate) const TABLE: &str = "table";
pub(crate) const RECORD: &str = "record";
pub(crate) const CHANGE_SET: &str = "changeset";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const HEAD: &str = "head";
pub(crate) const REPLICA: &str = "replica";
pub(crate) const TOLD: &str = "told";
const RESOURCES: &str = "resources";

/// A stored key, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    Node(&'a str),
    Instance { namespace: &'a str, node: &'a str, id: &'a str },
    Check { namespace: &'a str, node: &'a str, id: &'a str },
    Kv { namespace: &'a str, key: &'a str },
    KvDelayed { namespace: &'a str, key: &'a str },
    Session { namespace: &'a str, id: &'a str },
    Lock { namespace: &'a str, name: &'a str },
    Claim { namespace: &'a str, lock: &'a str, id: &'a str },
    Table { namespace: &'a str, name: &'a str },
    Record { namespace: &'a str, table: &'a str, name: &'a str },
    ChangeSet { id: &'a str, part: u32 },
    Checkpoint { id: &'a str, part: u32 },
    Head,
    Replica(&'a str),
    Told(&'a str),
}

/// What a key is about; `None` for keys that are not the catalog's business.
pub(crate) fn place(key: &Key) -> Option<Place<'_>> {
    place_at(key.as_str())
}

/// What the key with this path is about.
pub(crate) fn place_at(path: &str) -> Option<Place<'_>> {
    let (kind, namespace, tail) = weir_store::key::parts(path)?;
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
        KV_DELAYED => Place::KvDelayed { namespace, key: tail },
        SESSION => Place::Session { namespace, id: tail },
        LOCK => Place::Lock { namespace, name: tail },
        CLAIM => {
            let (lock, id) = tail.split_once('/')?;
            Place::Claim { namespace, lock, id }
        }
        TABLE => Place::Table { namespace, name: tail },
        RECORD => {
            let (table, name) = tail.split_once('/')?;
            Place::Record { namespace, table, name }
        }
        CHANGE_SET => {
            let (id, part) = tail.split_once('/')?;
            Place::ChangeSet { id, part: part.parse().ok()? }
        }
        CHECKPOINT => {
            let (id, part) = tail.split_once('/')?;
            Place::Checkpoint { id, part: part.parse().ok()? }
        }
        REPLICA => Place::Replica(tail),
        TOLD => Place::Told(tail),
        HEAD if tail == RESOURCES => Place::Head,
        _ => return None,
    })
}

/// A node's name as keys and lookups use it.
pub(crate) fn node_key(name: &str) -> Cow<'_, str> {
    let is_lower = name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_lowercase()) }
}

pub(crate) fn format() -> Result<Key, Error> {
    Ok(Key::new(FORMAT, CLUSTER, FORMAT)?)
}

pub(crate) fn node(name: &str) -> Result<Key, Error> {
    Ok(Key::new(NODE, CLUSTER, &node_key(name))?)
}

pub(crate) fn instance(namespace: &str, node: &str, id: &str) -> Result<Key, Error> {
    Ok(Key::below(INSTANCE, namespace, &node_key(node), id)?)
}

pub(crate) fn check(namespace: &str, node: &str, id: &str) -> Result<Key, Error> {
    Ok(Key::below(CHECK, namespace, &node_key(node), id)?)
}

/// Everything of a kind (instances or checks) that one node has in one namespace.
pub(crate) fn of_node(kind: &str, namespace: &str, node: &str) -> KeyRange {
    KeyRange::prefix(&format!("{}{kind}/{namespace}/{}/", weir_store::key::ROOT, node_key(node)))
}

pub(crate) fn kv(namespace: &str, key: &str) -> Result<Key, Error> {
    Ok(Key::new(KV, namespace, key)?)
}

pub(crate) fn kv_locked(namespace: &str, key: &str) -> Result<Key, Error> {
    Ok(Key::new(KV_LOCKED, namespace, key)?)
}

pub(crate) fn kv_delayed(namespace: &str, key: &str) -> Result<Key, Error> {
    Ok(Key::new(KV_DELAYED, namespace, key)?)
}

pub(crate) fn session(namespace: &str, id: &str) -> Result<Key, Error> {
    Ok(Key::new(SESSION, namespace, id)?)
}

pub(crate) fn lock(namespace: &str, name: &str) -> Result<Key, Error> {
    Ok(Key::new(LOCK, namespace, name)?)
}

pub(crate) fn claim(namespace: &str, lock: &str, id: &str) -> Result<Key, Error> {
    Ok(Key::below(CLAIM, namespace, lock, id)?)
}

pub(crate) fn table(table: &TableRef) -> Result<Key, Error> {
    Ok(Key::new(TABLE, &table.namespace, &table.name)?)
}

pub(crate) fn record(table: &TableRef, name: &str) -> Result<Key, Error> {
    Ok(Key::below(RECORD, &table.namespace, &table.name, name)?)
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

pub(crate) fn told(replica: &str) -> Result<Key, Error> {
    Ok(Key::new(TOLD, CLUSTER, replica)?)
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
        check(kv_delayed("n", "a/b").unwrap(), Place::KvDelayed { namespace: "n", key: "a/b" });
        check(session("n", "s").unwrap(), Place::Session { namespace: "n", id: "s" });
        check(lock("n", "a.b").unwrap(), Place::Lock { namespace: "n", name: "a.b" });
        check(claim("n", "a", "b/c").unwrap(), Place::Claim { namespace: "n", lock: "a", id: "b/c" });
        let things = TableRef::new("n", "things");
        check(table(&things).unwrap(), Place::Table { namespace: "n", name: "things" });
        check(
            record(&things, "a/b").unwrap(),
            Place::Record { namespace: "n", table: "things", name: "a/b" },
        );
        assert_eq!(place(&kv_locked("n", "a").unwrap()), None);
        check(part(CHANGE_SET, "00000001-aa", 7).unwrap(), Place::ChangeSet { id: "00000001-aa", part: 7 });
        check(head().unwrap(), Place::Head);
        check(replica("a-1").unwrap(), Place::Replica("a-1"));
        check(told("a-1").unwrap(), Place::Told("a-1"));
        assert_eq!(place(&format().unwrap()), None);
    }
}
