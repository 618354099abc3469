//! Everything put in place of everything while the control plane goes on.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use weir_control::kv::KvPut;
use weir_control::lock::{Acquired, ClaimRef, LockRef, NewClaim, Token};
use weir_control::{ChangeEvent, Control, Error, Topic};
use weir_model::registry::{Check, CheckKind, Health, Runner};
use weir_model::units::Span;
use weir_model::{Kind, ResourceId};
use weir_store::{Memory, Store};

use crate::resources::{request, service};
use crate::support::*;

async fn backup(control: &Control) -> Cursor<Vec<u8>> {
    let mut export = control.backup().await.expect("it begins");
    let mut bytes = Vec::new();
    while let Some(piece) = export.next().await.expect("it goes on") {
        bytes.extend_from_slice(&piece);
    }
    Cursor::new(bytes)
}

async fn put(control: &Control, key: &str, value: &str) {
    let put = KvPut { namespace: NS, key, value: value.as_bytes(), ..KvPut::default() };
    control.kv_put(put).await.expect("accepted");
}

fn value(control: &Control, key: &str) -> Option<Vec<u8>> {
    let entry = control.catalog().kv_get(NS, key).entries?;
    Some(entry.value().to_vec())
}

async fn token(control: &Control) -> Token {
    let name = ClaimRef::new(LockRef::new(NS, "report"), "me");
    let ttl = Duration::from_secs(10);
    let new = NewClaim { name, count: 1, ttl, holder: "me".to_owned(), instance: None, session: None };
    match control.claim_lock(new, Duration::ZERO).await.expect("claimed") {
        Acquired::Held(claim) => claim.token,
        Acquired::Waiting(_) => panic!("somebody else has it"),
    }
}

#[tokio::test]
async fn what_was_comes_back_and_watches_wake() {
    let control = start().await;
    put(&control, "a", "old").await;
    let checks = vec![check("c", Some("w"), Health::Passing)];
    control.register_instance(instance("web", "w"), checks, false).await.unwrap();
    control.apply(&request(&[service("declared", 1)])).await.unwrap();
    let saved = backup(&control).await;

    put(&control, "a", "new").await;
    put(&control, "b", "new").await;
    control.deregister_instance(&instance_ref("w")).await.unwrap();
    control.register_instance(instance("late", "l"), vec![], false).await.unwrap();
    control.apply(&request(&[service("declared", 2), service("late", 1)])).await.unwrap();
    let held = token(&control).await;
    let before = control.position();
    let mut changes = control.changes();
    let topic = Topic::KvKey { namespace: NS.to_owned(), key: "a".to_owned() };
    let after = control.catalog().index(&topic);
    let waiter = {
        let control = Arc::clone(&control);
        tokio::spawn(async move { control.wait(&topic, after, Duration::from_secs(60)).await })
    };
    while control.catalog().waiters() == 0 {
        tokio::task::yield_now().await;
    }

    let position = control.restore(saved, false).await.expect("restored");

    assert!(position.epoch > before.epoch && position.revision > before.revision);
    assert_eq!(value(&control, "a").as_deref(), Some(&b"old"[..]));
    assert_eq!(value(&control, "b"), None);
    let catalog = control.catalog();
    assert_eq!(catalog.service_view(NS, "web").entries[0].health(), Health::Passing);
    assert!(catalog.service_view(NS, "late").entries.is_empty());
    let declared = catalog.resources().entries;
    assert_eq!(declared.len(), 1);
    assert_eq!(declared.get(&ResourceId::new(Kind::Service, NS, "declared")).unwrap().changed_in, 1);
    assert_eq!(catalog.head().unwrap().number, 1);
    assert!(waiter.await.unwrap().unwrap() > after, "whoever waits is woken, with an index that rises");
    let ChangeEvent::Change(change) = changes.next().await else { panic!("the subscription goes on") };
    assert_eq!(change.position, position);
    // Nobody holds a lock any more, and whoever does next is later than all before.
    assert!(token(&control).await > held);
    // It goes on from there.
    control.apply(&request(&[service("declared", 3)])).await.unwrap();
    assert_eq!(control.catalog().head().unwrap().number, 2);
    put(&control, "a", "next").await;
    assert_eq!(value(&control, "a").as_deref(), Some(&b"next"[..]));
    let other = start_on_same(&control).await;
    assert_eq!(value(&other, "a").as_deref(), Some(&b"next"[..]));
}

/// Another control plane on a copy of what this one holds.
async fn start_on_same(control: &Control) -> Arc<Control> {
    let other = start().await;
    other.restore(backup(control).await, false).await.expect("restored");
    other
}

#[tokio::test]
async fn a_time_before_the_first_document_comes_back_too() {
    let control = start().await;
    let saved = backup(&control).await;
    control.apply(&request(&[service("declared", 1)])).await.unwrap();
    control.restore(saved, false).await.expect("restored");
    assert_eq!(control.catalog().resources().entries.len(), 0);
    assert!(control.catalog().head().is_none());
    control.apply(&request(&[service("again", 1)])).await.unwrap();
    assert_eq!(control.catalog().head().unwrap().number, 1);
}

#[tokio::test]
async fn a_backup_of_another_server_leaves_this_one_its_node() {
    let settings = weir_control::Settings { node_name: "elsewhere".to_owned(), ..settings() };
    let elsewhere = Control::start(Arc::new(Memory::new()), settings).await.unwrap();
    let control = start().await;
    control.restore(backup(&elsewhere).await, false).await.expect("restored");
    let nodes = control.catalog().nodes_view().entries;
    let names: Vec<&str> = nodes.iter().map(|entry| &*entry.node.value.name).collect();
    assert_eq!(names, ["elsewhere", NODE]);
}

#[tokio::test]
async fn a_program_comes_back_only_where_it_may_be_registered() {
    let control = start().await;
    let mut program = ttl("program", Some("w"), Duration::from_secs(60), None);
    if let Some(definition) = &mut program.definition {
        definition.kind = CheckKind::Script { args: vec!["/bin/false".to_owned()] };
        definition.timeout = Span(Duration::from_secs(1));
    }
    let of_agent = Check { id: "agents".to_owned(), runner: Runner::Agent, ..program.clone() };
    let checks = vec![program, of_agent, ttl("plain", Some("w"), Duration::from_secs(60), None)];
    control.register_instance(instance("web", "w"), checks, false).await.unwrap();
    let saved = backup(&control).await;
    let shown = || {
        let view = control.catalog().service_view(NS, "web");
        view.entries[0].checks().map(|check| check.value.id.clone()).collect::<Vec<_>>()
    };
    let mut restores = control.restores();
    control.restore(saved.clone(), false).await.expect("restored");
    assert_eq!(shown(), ["agents", "plain"]);
    assert!(restores.has_changed().unwrap(), "what the server defines itself is defined anew");
    assert_eq!(*restores.borrow_and_update(), 1);
    control.restore(saved, true).await.expect("restored");
    assert_eq!(shown(), ["agents", "plain", "program"]);
}

#[tokio::test]
async fn what_is_no_whole_backup_changes_nothing() {
    let control = start().await;
    put(&control, "a", "1").await;
    let saved = backup(&control).await.into_inner();
    let before = control.position();
    for end in [0, 5, 100, saved.len() - 1] {
        let error = control.restore(Cursor::new(saved[..end].to_vec()), false).await.expect_err("cut short");
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    let other = Memory::new();
    let key = weir_store::Key::new("kv", NS, "a").unwrap();
    other.commit(weir_store::Txn::new().put(key, *b"{}\n")).await.unwrap();
    let mut export = weir_store::archive::Export::begin(&other, |_| true).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = export.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    let error = control.restore(Cursor::new(bytes), false).await.expect_err("no control plane's").to_string();
    assert!(error.contains("not that of a control plane"), "{error}");
    assert_eq!(control.position(), before);
}
