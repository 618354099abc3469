//! Many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_store::{Compare, KeyRange, Limits, Read, Store, Txn, list_and_watch};

use crate::support::{Make, key, next, value};

const TASKS: u64 = 16;
const ROUNDS: u64 = 40;

async fn number(store: &dyn Store, name: &str) -> (u64, u64) {
    let found = store.get(&key(name)).await.expect("a read works");
    found.map_or((0, 0), |found| (parse(&found.entry.value.bytes()), found.entry.mod_revision))
}

fn parse(value: &[u8]) -> u64 {
    std::str::from_utf8(value).expect("text").parse().expect("a number")
}

pub(crate) async fn counting_by_compare_and_swap_loses_nothing(make: Make) {
    let fixture = make(Limits::default());
    let start = fixture.revision().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&fixture.store);
        tasks.spawn(async move {
            let mut last = 0;
            for _ in 0..ROUNDS {
                loop {
                    let (count, revision) = number(&*store, "counter").await;
                    assert!(count >= last, "a read went back in time");
                    let txn = Txn::new()
                        .when(Compare::unchanged(key("counter"), revision))
                        .put(key("counter"), value(&(count + 1).to_string()));
                    if store.commit(txn).await.expect("accepted").succeeded {
                        last = count + 1;
                        break;
                    }
                }
                let (seen, _) = number(&*store, "counter").await;
                assert!(seen >= last, "the own write is not visible");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("the task is well");
    }
    let counter = fixture.store.get(&key("counter")).await.expect("a read works").expect("it exists").entry;
    assert_eq!((parse(&counter.value.bytes()), counter.version), (TASKS * ROUNDS, TASKS * ROUNDS));
    assert_eq!(fixture.revision().await, start + TASKS * ROUNDS, "every success is one revision");
}

/// Tasks move amounts between accounts; the sum must be the same in every read and after every watched batch.
pub(crate) async fn readers_and_watchers_never_see_half_a_transaction(make: Make) {
    const ACCOUNTS: usize = 5;
    const SUM: u64 = 100 * ACCOUNTS as u64;
    let fixture = make(Limits::default());
    let open = (0..ACCOUNTS).fold(Txn::new(), |txn, i| txn.put(key(&i.to_string()), value("100")));
    fixture.commit(open).await;
    let (entries, _, mut watch) = list_and_watch(&*fixture.store, &KeyRange::all()).await.expect("a list");
    let done = Arc::new(AtomicBool::new(false));

    let reader = {
        let (store, done) = (Arc::clone(&fixture.store), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let page = store.range(Read::range(KeyRange::all())).await.expect("a page");
                assert_eq!(
                    page.entries.iter().map(|found| parse(&found.entry.value.bytes())).sum::<u64>(),
                    SUM
                );
                tokio::task::yield_now().await;
            }
        })
    };
    let mut movers = tokio::task::JoinSet::new();
    for task in 0..8_usize {
        let store = Arc::clone(&fixture.store);
        movers.spawn(async move {
            for round in 0..50 {
                let (from, to) = ((task + round) % ACCOUNTS, (task + round * 2 + 1 + task % 3) % ACCOUNTS);
                if from != to {
                    transfer(&*store, &from.to_string(), &to.to_string()).await;
                }
            }
        });
    }
    let follower = tokio::spawn(async move {
        let mut accounts: std::collections::BTreeMap<_, _> =
            entries.into_iter().map(|found| (found.key(), parse(&found.value()))).collect();
        loop {
            let batch = next(&mut watch).await;
            for event in &*batch.events {
                let Some(entry) = &event.now else { return };
                accounts.insert(event.key.clone(), parse(&entry.value.bytes()));
            }
            assert_eq!(accounts.values().sum::<u64>(), SUM, "at {}", batch.position);
        }
    });
    while let Some(done) = movers.join_next().await {
        done.expect("the task is well");
    }
    done.store(true, Ordering::Relaxed);
    // Before an account goes away, which the reader would take for a wrong sum.
    reader.await.expect("the reader is well");
    fixture.delete("0").await;
    follower.await.expect("the follower is well");
}

async fn transfer(store: &dyn Store, from: &str, to: &str) {
    loop {
        let ((debit, debit_revision), (credit, credit_revision)) =
            (number(store, from).await, number(store, to).await);
        if debit == 0 {
            return;
        }
        let txn = Txn::new()
            .when(Compare::unchanged(key(from), debit_revision))
            .when(Compare::unchanged(key(to), credit_revision))
            .put(key(from), value(&(debit - 1).to_string()))
            .put(key(to), value(&(credit + 1).to_string()));
        if store.commit(txn).await.expect("accepted").succeeded {
            return;
        }
    }
}
