//! The stored forms, literally. What one version has written every later one must read: add texts here when a form
//! gains a field, and never change one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_control::kv::KvPut;
use weir_control::records::{Record, TableRef, When};
use weir_model::registry::{Address, Health, Instance, Node};
use weir_store::{Key, KeyRange, Memory, Store, Txn, list};

use crate::support::*;

const NODE_1: (&str, &str) = (
    "/weir/v1/node/cluster/host-1",
    r#"{"name":"Host-1","id":"","address":"10.0.0.1","metadata":{"rack":"r1"},"maintenance":"disk"}"#,
);
const INSTANCE_1: (&str, &str) = (
    "/weir/v1/instance/default/host-1/web/1",
    concat!(
        r#"{"namespace":"default","node":"Host-1","id":"web/1","service":"web","address":"10.0.0.2","port":8080,"#,
        r#""inbound":{"host":"10.0.0.2","port":15001},"tags":["v1"],"metadata":{"a":"b"},"#,
        r#""weights":{"passing":3,"warning":1},"enable_tag_override":false}"#,
    ),
);
const CHECK_1: (&str, &str) = (
    "/weir/v1/check/default/host-1/service:web/1",
    concat!(
        r#"{"namespace":"default","node":"Host-1","id":"service:web/1","name":"alive","instance":"web/1","#,
        r#""service":"web","health":"warning","output":"slow","notes":"","definition":{"kind":"ttl","interval":"10s","#,
        r#""timeout":"0s","successes_before_passing":0,"failures_before_critical":0,"failures_before_warning":0,"#,
        r#""deregister_after":"1m"}}"#,
    ),
);
const CHECK_OF_NODE: (&str, &str) = (
    "/weir/v1/check/default/host-1/c",
    r#"{"namespace":"default","node":"Host-1","id":"c","name":"c","health":"passing"}"#,
);
const KV_1: (&str, &str) = ("/weir/v1/kv/default/app/key", "{\"flags\":7}\nvalue");
const KV_LOCKED: (&str, &str) = (
    "/weir/v1/kv/default/app/lock",
    "{\"flags\":0,\"lock_index\":2,\"session\":\"0f6a2c1e-0000-4000-8000-00000000000a\"}\nme",
);
const SESSION_1: (&str, &str) = (
    "/weir/v1/session/default/0f6a2c1e-0000-4000-8000-00000000000a",
    concat!(
        r#"{"namespace":"default","id":"0f6a2c1e-0000-4000-8000-00000000000a","name":"s","node":"Host-1","#,
        r#""node_alive":true,"node_checks":["c"],"service_checks":[{"namespace":"default","id":"service:web/1"}],"#,
        r#""behavior":"delete","lock_delay":"15s","ttl":"10s"}"#,
    ),
);
const LOCK_1: (&str, &str) = ("/weir/v1/lock/default/report", r#"{"count":2}"#);
const CLAIM_1: (&str, &str) = (
    "/weir/v1/claim/default/report/c-1",
    concat!(
        r#"{"namespace":"default","lock":"report","id":"c-1","holder":"me","ttl":"1m","time_ms":5,"#,
        r#""instance":{"node":"Host-1","id":"web/1","service":"web"},"#,
        r#""session":"0f6a2c1e-0000-4000-8000-00000000000a"}"#,
    ),
);
const TABLE_1: (&str, &str) = ("/weir/v1/table/default/queries", r#"{"written":3}"#);
const RECORD_1: (&str, &str) = (
    "/weir/v1/record/default/queries/q-1",
    concat!(
        r#"{"name":"q-1","alias":"near","session":"0f6a2c1e-0000-4000-8000-00000000000a","#,
        r#""content":{"service":"web"}}"#,
    ),
);
const RECORD_2: (&str, &str) =
    ("/weir/v1/record/default/queries/q-2", r#"{"name":"q-2","content":{"service":"web"}}"#);
const FORMAT: (&str, &str) = ("/weir/v1/format/cluster/format", r#"{"minimum_reader":1,"minimum_writer":1}"#);
const HEAD: (&str, &str) = ("/weir/v1/head/cluster/resources", r#"{"id":"00000002-0000beef","number":2}"#);
const SETS: [(&str, &str); 5] = [
    (
        "/weir/v1/changeset/cluster/00000001-0000abcd/000000",
        r#"{"id":"00000001-0000abcd","number":1,"author":"me","message":"","time_ms":5,"created":1,"updated":0,"deleted":0,"parts":1,"checkpoint_parts":1}"#,
    ),
    (
        "/weir/v1/checkpoint/cluster/00000001-0000abcd/000001",
        r#"{"resources":[{"created_in":1,"changed_in":1,"resource":{"apiVersion":"weir.dev/v1","kind":"Service","metadata":{"name":"a","namespace":"default"},"spec":{"protocol":"grpc"}}}]}"#,
    ),
    (
        "/weir/v1/changeset/cluster/00000001-0000abcd/000001",
        r#"{"puts":[{"apiVersion":"weir.dev/v1","kind":"Service","metadata":{"name":"a","namespace":"default"},"spec":{"protocol":"grpc"}}]}"#,
    ),
    (
        "/weir/v1/changeset/cluster/00000002-0000beef/000000",
        r#"{"id":"00000002-0000beef","number":2,"parent":"00000001-0000abcd","parts":1,"from_a_later_version":{}}"#,
    ),
    (
        "/weir/v1/changeset/cluster/00000002-0000beef/000001",
        r#"{"puts":[{"apiVersion":"weir.dev/v1","kind":"Service","metadata":{"name":"b","namespace":"default"},"spec":{}}],"deletes":[{"kind":"Service","namespace":"default","name":"a"}]}"#,
    ),
];

#[tokio::test]
async fn what_the_first_version_wrote_is_read() {
    let store = Arc::new(Memory::new());
    let single =
        [FORMAT, NODE_1, INSTANCE_1, CHECK_1, CHECK_OF_NODE, KV_1, KV_LOCKED, SESSION_1, LOCK_1, CLAIM_1];
    for (key, value) in single.into_iter().chain([TABLE_1, RECORD_1]).chain(SETS).chain([HEAD]) {
        store.commit(Txn::new().put(Key::parse(key).unwrap(), value.as_bytes())).await.unwrap();
    }
    let control = start_on(store).await;
    let catalog = control.catalog();
    let member = catalog.service_view(NS, "web").entries.remove(0);
    assert_eq!(member.node.node.value, host());
    assert_eq!(member.instance.value(), &web());
    assert_eq!(member.instance.checks[0].value, alive());
    assert_eq!(catalog.kv_get(NS, "app/key").entries.unwrap().value(), b"value");
    let locked = catalog.kv_get(NS, "app/lock").entries.unwrap();
    assert_eq!(
        (locked.lock_index, locked.session.as_deref()),
        (2, Some("0f6a2c1e-0000-4000-8000-00000000000a"))
    );
    let session = &catalog.sessions_view(NS).entries[0].value;
    assert_eq!(serde_json::to_string(session).unwrap(), SESSION_1.1);
    let lock = control.locks(None).remove(0);
    assert_eq!((lock.count, &*lock.name.name), (2, "report"));
    assert_eq!(serde_json::to_string(&lock.claims[0].entry.value).unwrap(), CLAIM_1.1);
    let table = TableRef::new(NS, "queries");
    let record = catalog.find_record(&table, "near").unwrap();
    assert_eq!(serde_json::to_string(&record.value).unwrap(), RECORD_1.1);
    assert_eq!(catalog.table_view(&table).entries.len(), 1);
    let names: Vec<_> = catalog.resources().entries.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(names, ["Service/b"]);
    assert_eq!(catalog.change_sets().entries.len(), 2);
}

#[tokio::test]
async fn what_this_version_writes_is_what_the_first_one_wrote() {
    let store = Arc::new(Memory::new());
    let control = start_on(store.clone()).await;
    control.register_node(host()).await.unwrap();
    control.register_instance(web(), vec![alive()], false).await.unwrap();
    let put = KvPut { namespace: NS, key: "app/key", value: b"value", flags: 7, ..KvPut::default() };
    control.kv_put(put).await.unwrap();
    let table = TableRef::new(NS, "queries");
    for content in ["a", "b", "web"] {
        let content = serde_json::json!({"service": content});
        let record = Record { name: "q-2".to_owned(), content, ..Record::default() };
        control.put_record(&table, &record, When::Always).await.unwrap();
    }
    let (entries, _) = list(&*store as &dyn Store, &KeyRange::all()).await.unwrap();
    let written: BTreeMap<_, _> = entries
        .iter()
        .map(|found| (found.key.as_str(), String::from_utf8_lossy(&found.entry.value.bytes()).into_owned()))
        .collect();
    for (key, value) in [FORMAT, NODE_1, INSTANCE_1, CHECK_1, KV_1, TABLE_1, RECORD_2] {
        assert_eq!(written.get(key).map(String::as_str), Some(value), "{key}");
    }
}

fn host() -> Node {
    Node {
        metadata: [("rack".to_owned(), "r1".to_owned())].into(),
        maintenance: Some("disk".to_owned()),
        ..node("Host-1")
    }
}

fn web() -> Instance {
    Instance {
        node: "Host-1".to_owned(),
        address: "10.0.0.2".to_owned(),
        inbound: Some(Address { host: "10.0.0.2".to_owned(), port: 15001 }),
        tags: vec!["v1".to_owned()],
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        weights: weir_model::registry::Weights { passing: 3, warning: 1 },
        ..instance("web", "web/1")
    }
}

fn alive() -> weir_model::registry::Check {
    let ttl = ttl("service:web/1", Some("web/1"), Duration::from_secs(10), Some(Duration::from_secs(60)));
    weir_model::registry::Check {
        node: "Host-1".to_owned(),
        name: "alive".to_owned(),
        service: "web".to_owned(),
        health: Health::Warning,
        output: "slow".to_owned(),
        ..ttl
    }
}
