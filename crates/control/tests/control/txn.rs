//! Transactions: all operations or none.

use std::time::Duration;

use weir_control::Control;
use weir_control::bounds::TXN_OPS_MAX;
use weir_control::kv::{KvFault, KvOp, KvResult, KvVerb};
use weir_control::session::{Behavior, Session, SessionRef};
use weir_control::txn::{Outcome, TxnFault, TxnOp, TxnResult};
use weir_model::units::Span;

use crate::support::*;

fn op(verb: KvVerb, key: &str) -> KvOp {
    KvOp { verb, key: key.to_owned(), value: Vec::new(), flags: 0, revision: 0, session: String::new() }
}

fn set(key: &str, value: &str) -> KvOp {
    KvOp { value: value.into(), ..op(KvVerb::Set, key) }
}

fn on_keys(ops: &[KvOp]) -> Vec<TxnOp> {
    ops.iter().cloned().map(TxnOp::Kv).collect()
}

async fn done(control: &Control, ops: &[KvOp]) -> Vec<KvResult> {
    let of_key = |result| match result {
        TxnResult::Kv(result) => result,
        TxnResult::Registry(other) => panic!("{other:?}"),
    };
    match control.txn(NS, &on_keys(ops)).await.unwrap() {
        Outcome::Done(results) => results.into_iter().map(of_key).collect(),
        Outcome::Failed(faults) => panic!("{faults:?}"),
    }
}

async fn failed(control: &Control, ops: &[KvOp]) -> Vec<(usize, KvFault)> {
    let of_key = |(at, fault)| match fault {
        TxnFault::Kv(fault) => (at, fault),
        TxnFault::Registry(other) => panic!("{other:?}"),
    };
    match control.txn(NS, &on_keys(ops)).await.unwrap() {
        Outcome::Failed(faults) => faults.into_iter().map(of_key).collect(),
        Outcome::Done(results) => panic!("{results:?}"),
    }
}

fn keys(control: &Control) -> Vec<String> {
    control.catalog().kv_list(NS, "").entries.iter().map(|entry| entry.key.to_string()).collect()
}

#[tokio::test]
async fn operations_see_those_before_them_and_share_a_revision() {
    let control = start().await;
    let results = done(
        &control,
        &[
            set("a", "1"),
            set("b/1", "2"),
            set("a", "3"),
            op(KvVerb::Get, "a"),
            set("b/2", "4"),
            op(KvVerb::Delete, "b/1"),
            op(KvVerb::GetTree, "b/"),
            op(KvVerb::CheckAbsent, "b/1"),
        ],
    )
    .await;
    let revision = control.position().revision;
    assert_eq!(results.len(), 6);
    assert_eq!(results[3].value.as_deref(), Some(&b"3"[..]));
    assert_eq!((&*results[5].key, results[5].value.as_deref()), ("b/2", Some(&b"4"[..])));
    assert!(
        results.iter().all(|result| result.modify_revision == revision && result.create_revision == revision)
    );
    assert_eq!(keys(&control), ["a", "b/2"]);
    let same = done(&control, &[set("a", "3"), op(KvVerb::DeleteTree, "b/")]).await;
    assert_eq!((same[0].modify_revision, keys(&control).len()), (revision, 1), "the same again is no change");
}

#[tokio::test]
async fn one_that_fails_undoes_all_and_every_fault_is_named() {
    let control = start().await;
    done(&control, &[set("there", "1")]).await;
    let at = control.position();
    let stale = |verb, key| KvOp { revision: at.revision + 7, ..op(verb, key) };
    let faults = failed(
        &control,
        &[
            set("new", "1"),
            op(KvVerb::Get, "missing"),
            op(KvVerb::CheckAbsent, "there"),
            stale(KvVerb::SetIf, "there"),
            stale(KvVerb::CheckIndex, "there"),
            op(KvVerb::CheckIndex, "missing"),
            stale(KvVerb::DeleteIf, "there"),
            op(KvVerb::Set, ""),
            op(KvVerb::Lock, "there"),
            KvOp { session: "none".to_owned(), ..op(KvVerb::Lock, "there") },
            KvOp { session: "none".to_owned(), ..op(KvVerb::Unlock, "there") },
            KvOp { session: "none".to_owned(), ..op(KvVerb::CheckSession, "there") },
        ],
    )
    .await;
    let revision = KvFault::Revision(at.revision);
    assert_eq!(
        faults,
        [
            (1, KvFault::Missing),
            (2, KvFault::Exists),
            (3, revision.clone()),
            (4, revision.clone()),
            (5, KvFault::Missing),
            (6, revision),
            (7, KvFault::NoKey),
            (8, KvFault::NoSession),
            (9, KvFault::UnknownSession),
            (10, KvFault::Session(None)),
            (11, KvFault::Session(None)),
        ]
    );
    assert_eq!((control.position(), keys(&control)), (at, vec!["there".to_owned()]));
    let many = vec![set("k", "v"); TXN_OPS_MAX + 1];
    assert!(control.txn(NS, &on_keys(&many)).await.is_err());
    let tree: Vec<_> = (0..TXN_OPS_MAX).map(|number| set(&format!("t/{number}"), "")).collect();
    for part in 0..3 {
        let tree: Vec<_> =
            tree.iter().map(|op| KvOp { key: format!("{}/{part}", op.key), ..op.clone() }).collect();
        done(&control, &tree).await;
    }
    assert_eq!(failed(&control, &[op(KvVerb::GetTree, "t/")]).await, [(0, KvFault::TooManyKeys)]);
    done(&control, &[op(KvVerb::DeleteTree, "t/1")]).await;
    assert_eq!(keys(&control).len(), 1 + (128 - 39) * 3, "all but 1, 1x and 1xx");
}

#[tokio::test]
async fn several_keys_are_locked_together_or_not_at_all() {
    let control = start().await;
    let new = || Session { namespace: NS.to_owned(), node: NODE.to_owned(), ..Session::default() };
    let (one, two) =
        (control.create_session(new()).await.unwrap().0, control.create_session(new()).await.unwrap().0);
    let lock = |key: &str, session: &str| KvOp { session: session.to_owned(), ..op(KvVerb::Lock, key) };
    let locked = done(&control, &[lock("a", &one.id), lock("b", &one.id)]).await;
    assert!(locked.iter().all(|result| result.session.as_ref() == Some(&one.id) && result.lock_index == 1));
    let held = KvFault::Session(Some(one.id.clone()));
    assert_eq!(failed(&control, &[lock("c", &two.id), lock("b", &two.id)]).await, [(1, held)]);
    assert_eq!(keys(&control), ["a", "b"]);
    let unlock = KvOp { session: one.id.clone(), ..op(KvVerb::Unlock, "b") };
    let moved = done(&control, &[unlock, lock("b", &two.id)]).await;
    assert_eq!((moved[1].lock_index, moved[1].session.as_ref()), (2, Some(&two.id)));
    control.destroy_session(&two).await.unwrap();
    let entry = control.catalog().kv_get(NS, "b").entries.unwrap();
    assert_eq!((entry.session.as_deref(), entry.lock_index), (None, 2));
}

#[tokio::test]
async fn transfers_at_the_same_time_keep_the_sum() {
    let control = start().await;
    done(&control, &[set("a", "100"), set("b", "100")]).await;
    let transfer = |amount: i64| {
        let control = &control;
        async move {
            loop {
                let read = done(control, &[op(KvVerb::Get, "a"), op(KvVerb::Get, "b")]).await;
                let value = |at: usize| -> i64 {
                    std::str::from_utf8(read[at].value.as_deref().unwrap()).unwrap().parse().unwrap()
                };
                let put = |at: usize, value: i64| KvOp {
                    verb: KvVerb::SetIf,
                    revision: read[at].modify_revision,
                    ..set(&read[at].key, &value.to_string())
                };
                let ops = [put(0, value(0) - amount), put(1, value(1) + amount)];
                if let Outcome::Done(_) = control.txn(NS, &on_keys(&ops)).await.unwrap() {
                    return;
                }
            }
        }
    };
    futures_util::future::join_all((1..=10).map(transfer)).await;
    let read = done(&control, &[op(KvVerb::Get, "a"), op(KvVerb::Get, "b")]).await;
    assert_eq!([read[0].value.as_deref(), read[1].value.as_deref()], [Some(&b"45"[..]), Some(&b"155"[..])]);
}

fn ending(session: &SessionRef) -> TxnOp {
    TxnOp::EndSession(session.id.clone())
}

/// A session ends with all else or not at all, and what stands behind it finds its keys as any other end would leave them.
#[tokio::test]
async fn a_session_ends_within_a_transaction() {
    let control = start().await;
    let new = |behavior, delay: u64| Session {
        namespace: NS.to_owned(),
        node: NODE.to_owned(),
        behavior,
        lock_delay: Span(Duration::from_secs(delay)),
        ..Session::default()
    };
    let create = async |session| control.create_session(session).await.unwrap().0;
    let releasing = create(new(Behavior::Release, 15)).await;
    let deleting = create(new(Behavior::Delete, 0)).await;
    let next = create(new(Behavior::Release, 0)).await;
    let lock = |key: &str, session: &SessionRef| {
        TxnOp::Kv(KvOp { session: session.id.clone(), value: b"v".to_vec(), ..op(KvVerb::Lock, key) })
    };
    let locks =
        [lock("r/1", &releasing), lock("r/2", &releasing), lock("d/1", &deleting), lock("d/2", &deleting)];
    assert!(matches!(control.txn(NS, &locks).await.unwrap(), Outcome::Done(_)));
    let sessions = |control: &Control| control.sessions(Some(NS)).len();

    let fails = [ending(&releasing), TxnOp::Kv(op(KvVerb::Get, "missing"))];
    let Outcome::Failed(faults) = control.txn(NS, &fails).await.unwrap() else { panic!("a key is missing") };
    assert_eq!(faults, [(1, TxnFault::Kv(KvFault::Missing))]);
    let held =
        |control: &Control, key: &str| control.catalog().kv_get(NS, key).entries.unwrap().session.clone();
    assert_eq!((sessions(&control), held(&control, "r/1").as_deref()), (3, Some(&*releasing.id)));

    // A key of its own that it got just before goes, too, and what it let go of is free or not, as it says.
    let ops = [
        lock("d/3", &deleting),
        ending(&deleting),
        ending(&deleting),
        ending(&SessionRef::new(NS, "nobody")),
        TxnOp::Kv(op(KvVerb::CheckAbsent, "d/3")),
        lock("d/1", &next),
    ];
    let Outcome::Done(results) = control.txn(NS, &ops).await.unwrap() else {
        panic!("nothing is in the way")
    };
    let locked: Vec<_> = results
        .iter()
        .map(|result| match result {
            TxnResult::Kv(result) => (&*result.key, result.session.clone(), result.lock_index),
            TxnResult::Registry(other) => panic!("{other:?}"),
        })
        .collect();
    let expected = [("d/3", Some(deleting.id.clone()), 1), ("d/1", Some(next.id.clone()), 1)];
    assert_eq!(locked, expected);
    assert_eq!(keys(&control), ["d/1", "r/1", "r/2"]);
    for wrong in [lock("x", &deleting), lock("r/1", &releasing)] {
        let mut ops = vec![ending(&releasing), wrong];
        let Outcome::Failed(faults) = control.txn(NS, &ops).await.unwrap() else { panic!("it has ended") };
        assert_eq!(faults, [(1, TxnFault::Kv(KvFault::UnknownSession))]);
        ops[1] = lock("r/1", &next);
        let Outcome::Failed(faults) = control.txn(NS, &ops).await.unwrap() else { panic!("it is delayed") };
        assert_eq!(faults, [(1, TxnFault::Kv(KvFault::Delayed))]);
    }

    let ops = [ending(&releasing), lock("other", &next)];
    assert!(matches!(control.txn(NS, &ops).await.unwrap(), Outcome::Done(_)));
    assert_eq!((sessions(&control), held(&control, "r/1"), held(&control, "r/2")), (1, None, None));
    let Outcome::Failed(faults) = control.txn(NS, &[lock("r/2", &next)]).await.unwrap() else {
        panic!("it cannot be locked for a while")
    };
    assert_eq!(faults, [(0, TxnFault::Kv(KvFault::Delayed))]);
}

#[tokio::test]
async fn a_session_with_too_many_keys_does_not_end_within_a_transaction() {
    let control = start().await;
    let session = Session { namespace: NS.to_owned(), node: NODE.to_owned(), ..Session::default() };
    let session = control.create_session(session).await.unwrap().0;
    for part in 0..2 {
        let lock = |number: usize| {
            TxnOp::Kv(KvOp { session: session.id.clone(), ..op(KvVerb::Lock, &format!("{part}/{number}")) })
        };
        let locks: Vec<TxnOp> = (0..65 - part).map(lock).collect();
        assert!(matches!(control.txn(NS, &locks).await.unwrap(), Outcome::Done(_)));
    }
    let Outcome::Failed(faults) = control.txn(NS, &[ending(&session)]).await.unwrap() else {
        panic!("it holds 129 keys")
    };
    assert_eq!(faults, [(0, TxnFault::Kv(KvFault::TooManyKeys))]);
    let ops = [TxnOp::Kv(op(KvVerb::Delete, "0/0")), ending(&session)];
    assert!(matches!(control.txn(NS, &ops).await.unwrap(), Outcome::Done(_)));
    assert!(control.sessions(Some(NS)).is_empty());
}
