//! Everything put in place of everything while the control plane goes on.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use weir_control::catalog::CheckRef;
use weir_control::kv::KvPut;
use weir_control::lock::{Acquired, ClaimRef, LockRef, NewClaim, Token};
use weir_control::records::{Record, TableRef, When};
use weir_control::{ChangeEvent, Control, Error, Topic};
use weir_model::registry::{Check, CheckKind, Health, Runner};
use weir_model::units::Span;
use weir_model::{Kind, ResourceId};
use weir_store::{Memory, Store};

use crate::resources::{pieces, request, service};
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
    assert!(matches!(changes.next().await, ChangeEvent::Resync), "the subscription goes on");
    assert_eq!(catalog.position(), position);
    assert_eq!(catalog.change_sets().entries.len(), 1, "nothing is left of the other history's log");
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

#[tokio::test]
async fn who_waits_for_a_table_that_goes_is_woken() {
    let control = start().await;
    let saved = backup(&control).await;
    let table = TableRef::new(NS, "things");
    let record = Record { name: "a".to_owned(), ..Record::default() };
    control.put_record(&table, &record, When::Always).await.unwrap();
    let topics = [Topic::Table(table.clone()), Topic::Record(table.record("a"))];
    let waiters = topics.clone().map(|topic| {
        let (control, after) = (Arc::clone(&control), control.catalog().index(&topic));
        tokio::spawn(async move { (after, control.wait(&topic, after, Duration::from_secs(60)).await) })
    });
    while control.catalog().waiters() < topics.len() {
        tokio::task::yield_now().await;
    }
    let tables = control.catalog().read(|moment| moment.records_index("things"));
    let position = control.restore(saved, false).await.expect("restored");
    assert!(control.catalog().table_view(&table).entries.is_empty());
    for waiter in waiters {
        let (after, woken) =
            tokio::time::timeout(Duration::from_secs(20), waiter).await.expect("woken").unwrap();
        assert!(woken.unwrap() > after);
    }
    for topic in &topics {
        assert!(control.catalog().index(topic) >= position.revision);
    }
    assert!(control.catalog().read(|moment| moment.records_index("things")) > tables);
}

#[tokio::test(start_paused = true)]
async fn what_is_waited_for_has_its_full_time_again() {
    let life = Duration::from_secs(10);
    let control = start().await;
    let checks = vec![ttl("alive", Some("a"), life, None)];
    control.register_instance(instance("web", "a"), checks, false).await.unwrap();
    let saved = backup(&control).await;
    tokio::time::sleep(life - Duration::from_secs(1)).await;
    control.restore(saved, false).await.expect("restored");
    let health = || control.catalog().check(&check_ref("alive")).unwrap().value.health;
    tokio::time::sleep(life - Duration::from_secs(1)).await;
    assert_eq!(health(), Health::Passing);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(health(), Health::Critical);
}

/// The restore comes in between the objects of the first change set and the head that was to lead to them.
#[tokio::test]
async fn a_first_document_that_meets_a_restore_is_written_anew() {
    use std::future::Future as _;
    use std::task::Poll;

    let memory = Arc::new(Memory::new());
    let control = start_on(memory.clone()).await;
    let saved = backup(&control).await;
    let change = request(&[service("declared", 1)]);
    let mut apply = std::pin::pin!(control.apply(&change));
    std::future::poll_fn(|cx| {
        assert!(apply.as_mut().poll(cx).is_pending(), "its objects are not shown yet");
        match std::pin::pin!(pieces(&*memory)).poll(cx) {
            Poll::Ready(0) => Poll::Pending,
            looked => looked.map(drop),
        }
    })
    .await;
    control.restore(saved, false).await.expect("restored");
    assert_eq!(pieces(&*memory).await, 0);
    apply.await.expect("applied");
    assert_eq!(control.catalog().resources().entries.len(), 1);
    assert_eq!(start_on(memory).await.catalog().resources().entries.len(), 1);
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
        let checks = view.entries[0].checks().map(|check| {
            let check = &check.value;
            (check.id.clone(), check.definition.is_some(), check.health)
        });
        checks.collect::<Vec<_>>()
    };
    let all = |program: (bool, Health)| {
        let (well, program) = (Health::Passing, ("program".to_owned(), program.0, program.1));
        vec![("agents".to_owned(), true, well), ("plain".to_owned(), true, well), program]
    };
    let mut restores = control.restores();
    control.restore(saved.clone(), false).await.expect("restored");
    assert_eq!(shown(), all((false, Health::Warning)), "what passed claims nothing any more");
    assert!(restores.has_changed().unwrap(), "what the server defines itself is defined anew");
    assert_eq!(*restores.borrow_and_update(), 1);
    control.restore(saved, true).await.expect("restored");
    assert_eq!(shown(), all((true, Health::Passing)));
    let name = CheckRef::new(NS, NODE, "program");
    control.set_check(&name, Health::Critical, "").await.expect("reported");
    let saved = backup(&control).await;
    control.restore(saved, false).await.expect("restored");
    assert_eq!(shown(), all((false, Health::Critical)), "what was critical stays so");
    let said = control.catalog().check(&name).expect("it is there").value.output.clone();
    assert!(said.contains("without its program"), "{said}");
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
