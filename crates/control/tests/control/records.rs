//! Records: tables of small documents that are decided on as a whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use weir_control::bounds::{RECORD_BYTES_MAX, RECORDS_MAX, SESSION_RECORDS_MAX};
use weir_control::catalog::{Moment, Topic};
use weir_control::records::{Fit, Record, TableRef, When};
use weir_control::session::Session;
use weir_control::{Control, Error};
use weir_store::Memory;

use crate::support::*;

fn table() -> TableRef {
    TableRef::new(NS, "things")
}

fn record(name: &str, alias: Option<&str>) -> Record {
    Record { name: name.to_owned(), alias: alias.map(str::to_owned), ..Record::default() }
}

async fn put(control: &Control, record: &Record, when: When) -> Result<bool, Error> {
    control.put_record(&table(), record, when).await.map(|done| done.is_some())
}

fn names(control: &Control) -> Vec<String> {
    control.catalog().table_view(&table()).entries.iter().map(|entry| entry.value.name.clone()).collect()
}

#[tokio::test]
async fn records_are_put_on_conditions_and_have_indexes_of_their_own() {
    let control = start().await;
    assert_eq!(put(&control, &record("a", None), When::There).await.unwrap_err(), missing("a"));
    assert!(put(&control, &record("a", None), When::At(0)).await.unwrap());
    assert!(!put(&control, &record("a", None), When::At(0)).await.unwrap(), "it is there");
    assert!(put(&control, &record("b", None), When::Always).await.unwrap());
    let (a, list) = (table().record("a"), Topic::Table(table()));
    let index = control.catalog().record(&a).index;
    assert!(control.catalog().index(&list) > index, "b came later");
    assert!(put(&control, &record("a", None), When::Always).await.unwrap());
    assert_eq!(control.catalog().record(&a).index, index, "nothing has changed");
    let changed = Record { content: json!({"v": 2}), ..record("a", None) };
    assert!(!put(&control, &changed, When::At(index + 1)).await.unwrap());
    assert!(put(&control, &changed, When::At(index)).await.unwrap());
    assert_eq!(control.catalog().record(&a).entries.unwrap().value, changed);
    let delete = async |at| control.delete_record(&table(), "a", at).await.unwrap();
    assert!(delete(Some(index)).await.is_none());
    let before = control.catalog().record(&a).index;
    assert!(delete(Some(before)).await.is_some());
    assert!(control.catalog().record(&a).index > before, "its end can be waited for");
    assert!(delete(Some(before)).await.is_none());
    assert!(!delete(None).await.unwrap().changed);
    assert_eq!(names(&control), ["b"]);
}

fn missing(name: &str) -> Error {
    Error::NotFound { what: format!("record {name:?}") }
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let control = start().await;
    put(&control, &record("a", Some("first")), When::Always).await.unwrap();
    for other in [record("b", Some("first")), record("first", None), record("b", Some("a"))] {
        let refused = put(&control, &other, When::Always).await;
        assert!(matches!(refused, Err(Error::Refused { .. })), "{other:?}: {refused:?}");
    }
    put(&control, &record("a", Some("renamed")), When::Always).await.unwrap();
    assert!(control.catalog().find_record(&table(), "first").is_none());
    assert_eq!(control.catalog().find_record(&table(), "renamed").unwrap().value.name, "a");
    put(&control, &record("b", Some("first")), When::Always).await.unwrap();
    assert_eq!(names(&control), ["a", "b"]);
}

#[tokio::test]
async fn a_name_is_taken_once_among_replicas() {
    let store = Arc::new(Memory::new());
    let (one, other) = (start_on(store.clone()).await, start_on(store).await);
    for round in 0..20 {
        let alias = format!("name-{round}");
        let (ours, theirs) = (format!("one-{round}"), format!("other-{round}"));
        let (ours, theirs) = (record(&ours, Some(&alias)), record(&theirs, Some(&alias)));
        let (a, b) = tokio::join!(put(&one, &ours, When::Always), put(&other, &theirs, When::Always));
        assert!(a.is_ok() != b.is_ok(), "round {round}: {a:?} {b:?}");
    }
    assert_eq!(names(&one).len(), 20);
}

#[tokio::test]
async fn records_of_several_tables_that_must_fit_are_judged_one_after_the_other() {
    let store = Arc::new(Memory::new());
    let (one, other) = (start_on(store.clone()).await, start_on(store).await);
    let head = TableRef::new(NS, "pairs");
    let (left, right) = (TableRef::new(NS, "pair-left"), TableRef::new(NS, "pair-right"));
    for round in 0..20 {
        let name = format!("{round}");
        // A name may be on one side only.
        let judge = |moment: &Moment<'_>| match moment.records("pair-").any(|(_, of)| of.value.name == name) {
            true => Err(format!("{name} is taken")),
            false => Ok(()),
        };
        let fit = Some(Fit { head: &head, judge: &judge });
        let of = record(&name, None);
        let (a, b) = tokio::join!(
            one.put_fitting_record(&left, &of, When::Always, fit),
            other.put_fitting_record(&right, &of, When::Always, fit)
        );
        let (good, bad) = if a.is_ok() { (a, b) } else { (b, a) };
        assert!(good.unwrap().is_some());
        assert_eq!(bad.unwrap_err(), Error::Refused { reason: format!("{name} is taken") });
    }
    let keep = |_: &Moment<'_>| Err("it is needed".to_owned());
    let fit = Some(Fit { head: &head, judge: &keep });
    let table = if one.catalog().table_view(&left).entries.is_empty() { &right } else { &left };
    let name = one.catalog().table_view(table).entries[0].value.name.clone();
    let kept = one.delete_fitting_record(table, &name, None, fit).await;
    assert_eq!(kept.unwrap_err(), Error::Refused { reason: "it is needed".to_owned() });
    assert!(!one.delete_fitting_record(table, "none", None, fit).await.unwrap().unwrap().changed);
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused() {
    let control = start().await;
    let large = Record { content: json!("x".repeat(RECORD_BYTES_MAX)), ..record("a", None) };
    assert!(matches!(put(&control, &large, When::Always).await, Err(Error::TooLarge { .. })));
    for name in ["", "a\nb", &"x".repeat(513)] {
        let refused = put(&control, &record(name, None), When::Always).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{name:?}");
    }
    let strange = TableRef::new(NS, "a/b");
    let refused = control.put_record(&strange, &record("a", None), When::Always).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    for n in 0..RECORDS_MAX {
        put(&control, &record(&n.to_string(), None), When::Always).await.unwrap();
    }
    assert!(matches!(
        put(&control, &record("more", None), When::Always).await,
        Err(Error::Overloaded { .. })
    ));
    assert_eq!(names(&control).len(), RECORDS_MAX);
}

#[tokio::test]
async fn a_ring_keeps_the_newest_in_order() {
    let store = Arc::new(Memory::new());
    let (one, other) = (start_on(store.clone()).await, start_on(store).await);
    let append =
        async |control: &Control| control.append_record(&table(), 4, |number| json!(number)).await.unwrap().0;
    let mut numbers = BTreeSet::new();
    for _ in 0..5 {
        let (a, b) = tokio::join!(append(&one), append(&other));
        numbers.extend([a, b]);
    }
    assert_eq!(numbers, (0..10).collect());
    one.consistent().await.unwrap();
    let mut kept = one.catalog().table_view(&table()).entries;
    kept.sort_by_key(|entry| entry.modify_revision);
    let kept: Vec<_> = kept.iter().map(|entry| entry.value.content.clone()).collect();
    assert_eq!(kept, [json!(6), json!(7), json!(8), json!(9)]);
}

#[tokio::test]
async fn records_end_with_their_session() {
    let control = start().await;
    let session = Session { namespace: NS.to_owned(), node: NODE.to_owned(), ..Session::default() };
    let (name, _) = control.create_session(session).await.unwrap();
    let tied = |n: usize| Record { session: Some(name.id.clone()), ..record(&format!("tied-{n}"), None) };
    for n in 0..SESSION_RECORDS_MAX {
        put(&control, &tied(n), When::Always).await.unwrap();
    }
    let more = put(&control, &tied(SESSION_RECORDS_MAX), When::Always).await;
    assert!(matches!(more, Err(Error::Overloaded { .. })));
    let changed = Record { content: json!(1), ..tied(0) };
    put(&control, &changed, When::Always).await.expect("one that is there already may change");
    put(&control, &record("free", None), When::Always).await.unwrap();
    let index = control.catalog().table_view(&table()).index;
    control.destroy_session(&name).await.unwrap();
    assert_eq!(names(&control), ["free"]);
    assert!(control.catalog().table_view(&table()).index > index);
    let refused = put(&control, &tied(0), When::Always).await;
    assert_eq!(refused.unwrap_err(), Error::NotFound { what: format!("session {:?}", name.id) });
}

#[tokio::test]
async fn a_start_and_a_lost_watch_find_the_records() {
    let store = Arc::new(Memory::new());
    let one = start_on(store.clone()).await;
    put(&one, &record("a", Some("first")), When::Always).await.unwrap();
    one.append_record(&TableRef::new(NS, "ring"), 4, |_| json!("x")).await.unwrap();
    let other = start_on(store).await;
    assert_eq!(other.catalog().find_record(&table(), "first").unwrap().value.name, "a");
    let topic = Topic::Table(table());
    let index = other.catalog().index(&topic);
    let waiting = Arc::clone(&other);
    let waiter = tokio::spawn(async move { waiting.wait(&topic, index, Duration::from_secs(60)).await });
    while other.catalog().waiters() == 0 {
        tokio::task::yield_now().await;
    }
    one.delete_record(&table(), "a", None).await.unwrap();
    assert!(waiter.await.unwrap().unwrap() > index);
    assert_eq!(names(&other), [""; 0]);
}
