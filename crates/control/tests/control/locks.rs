//! Locks, on the runtime's virtual clock.

use std::sync::Arc;
use std::time::Duration;

use weir_control::bounds::LOCK_CLAIMS_MAX;
use weir_control::lock::{Acquired, ClaimRef, LockRef, NewClaim, Token};
use weir_control::session::Session;
use weir_control::{Control, Error};
use weir_model::registry::Health;
use weir_store::{Memory, Store};

use crate::support::*;

const TTL: Duration = Duration::from_secs(10);

fn lock() -> LockRef {
    LockRef::new(NS, "report")
}

fn named(id: &str) -> ClaimRef {
    ClaimRef::new(lock(), id)
}

fn new(id: &str) -> NewClaim {
    NewClaim {
        name: named(id),
        count: 1,
        ttl: TTL,
        holder: format!("holder {id}"),
        instance: None,
        session: None,
    }
}

/// Claims without waiting: the token if the lock is held at once.
async fn claim(control: &Control, new: NewClaim) -> Option<Token> {
    match control.claim_lock(new, Duration::ZERO).await.expect("claimed") {
        Acquired::Held(claim) => Some(claim.token),
        Acquired::Waiting(_) => None,
    }
}

fn holders(control: &Control) -> Vec<String> {
    let lock = control.lock(&lock()).entries;
    lock.iter().flat_map(|lock| lock.holders()).map(|claim| claim.entry.value.id.clone()).collect()
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test(start_paused = true)]
async fn claims_hold_the_lock_in_the_order_in_which_they_came_with_rising_tokens() {
    let control = start().await;
    let mut last = claim(&control, new("0")).await.expect("free");
    for id in ["1", "2", "3"] {
        assert_eq!(claim(&control, new(id)).await, None);
    }
    assert_eq!(claim(&control, new("0")).await, Some(last), "asked again, it answers the same");
    let view = control.lock(&lock()).entries.unwrap();
    let places: Vec<_> = view.claims.iter().map(|claim| (&*claim.entry.value.id, claim.place)).collect();
    assert_eq!(places, [("0", 0), ("1", 1), ("2", 2), ("3", 3)]);
    control.release_claim(&named("2")).await.unwrap();
    for (held, next) in [("0", "1"), ("1", "3")] {
        assert_eq!(holders(&control), [held]);
        assert!(control.check_token(&lock(), last).await.unwrap().is_some());
        control.release_claim(&named(held)).await.unwrap();
        assert!(control.check_token(&lock(), last).await.unwrap().is_none(), "a stale token");
        let token = claim(&control, new(next)).await.expect("its turn");
        assert!(token > last);
        last = token;
    }
    control.release_claim(&named("3")).await.unwrap();
    assert!(control.lock(&lock()).entries.is_none(), "nothing is left of it");
    assert!(claim(&control, new("0")).await.unwrap() > last, "and still the tokens rise");
    assert!(matches!(control.release_claim(&named("9")).await, Err(Error::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_holds_the_lock_as_soon_as_it_is_free() {
    let control = start().await;
    claim(&control, new("a")).await.expect("free");
    let waiting = tokio::spawn({
        let control = Arc::clone(&control);
        async move { control.claim_lock(new("b"), TTL * 20).await }
    });
    // Longer than a claim lives without renewal: waiting renews it.
    for _ in 0..10 {
        tokio::time::sleep(TTL / 2).await;
        control.renew_claim(&named("a")).await.expect("held");
    }
    assert!(!waiting.is_finished());
    control.release_claim(&named("a")).await.unwrap();
    let before = tokio::time::Instant::now();
    assert!(matches!(waiting.await.unwrap(), Ok(Acquired::Held(_))));
    assert!(before.elapsed() < Duration::from_millis(100));
    let gone = control.claim_lock(new("c"), TTL * 20);
    let (gone, _) = futures_util::future::join(gone, async {
        settle().await;
        control.release_claim(&named("c")).await.unwrap();
    })
    .await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "it was taken out of the line");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_not_renewed_ends_and_the_next_has_its_full_time() {
    let control = start().await;
    claim(&control, new("a")).await.expect("free");
    tokio::time::sleep(TTL / 2).await;
    assert_eq!(claim(&control, new("b")).await, None);
    tokio::time::sleep(TTL / 2 - Duration::from_millis(10)).await;
    assert_eq!(holders(&control), ["a"]);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(holders(&control), ["b"], "the holder was not heard of");
    assert!(matches!(control.renew_claim(&named("a")).await, Err(Error::NotFound { .. })));
    tokio::time::sleep(TTL - Duration::from_millis(100)).await;
    assert_eq!(holders(&control), ["b"], "its time began when it came to hold the lock");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(control.lock(&lock()).entries.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_semaphore_has_as_many_holders_as_it_says() {
    let control = start().await;
    let two = |id: &str| NewClaim { count: 2, ..new(id) };
    let mut tokens = Vec::new();
    for id in ["a", "b"] {
        tokens.push(claim(&control, two(id)).await.expect("there is room"));
    }
    assert_eq!(claim(&control, two("c")).await, None);
    assert_eq!(holders(&control), ["a", "b"]);
    for token in &tokens {
        assert!(control.check_token(&lock(), *token).await.unwrap().is_some());
    }
    let other = control.claim_lock(NewClaim { count: 3, ..new("d") }, Duration::ZERO).await;
    assert!(matches!(other, Err(Error::Refused { .. })), "{other:?}");
    control.release_claim(&named("a")).await.unwrap();
    assert_eq!(holders(&control), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_taken_away_by_force_from_all_or_by_token() {
    let control = start().await;
    let two = |id: &str| NewClaim { count: 2, ..new(id) };
    let token = claim(&control, two("a")).await.unwrap();
    claim(&control, two("b")).await.unwrap();
    claim(&control, two("c")).await;
    assert_eq!(control.force_lock(&lock(), Some(token)).await.unwrap().1, 1);
    assert_eq!(holders(&control), ["b", "c"]);
    assert!(matches!(control.force_lock(&lock(), Some(token)).await, Err(Error::NotFound { .. })));
    assert_eq!(control.force_lock(&lock(), None).await.unwrap().1, 2);
    assert!(matches!(control.force_lock(&lock(), None).await, Err(Error::NotFound { .. })));
    assert!(matches!(control.renew_claim(&named("b")).await, Err(Error::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_claim_ends_at_once_with_its_instance_or_session() {
    let control = start().await;
    for id in ["web-1", "web-2"] {
        control
            .register_instance(instance("web", id), vec![ttl(id, Some(id), TTL * 1000, None)], false)
            .await
            .unwrap();
    }
    let session = Session { namespace: NS.to_owned(), node: NODE.to_owned(), ..Session::default() };
    let session = control.create_session(session).await.unwrap().0;
    let of =
        |id: &str, instance| NewClaim { instance: Some(instance_ref(instance)), ttl: TTL * 1000, ..new(id) };
    claim(&control, of("dies", "web-1")).await.expect("free");
    claim(&control, of("fails", "web-2")).await;
    claim(&control, NewClaim { session: Some(session.id.clone()), ttl: TTL * 1000, ..new("session") }).await;
    claim(&control, NewClaim { ttl: TTL * 1000, ..new("last") }).await;
    control.maintain_instance(&instance_ref("web-1"), Some("")).await.unwrap();
    settle().await;
    assert_eq!(holders(&control), ["dies"], "maintenance is no death");
    control.deregister_instance(&instance_ref("web-1")).await.unwrap();
    settle().await;
    assert_eq!(holders(&control), ["fails"]);
    control.set_check(&check_ref("web-2"), Health::Critical, "").await.unwrap();
    settle().await;
    assert_eq!(holders(&control), ["session"]);
    control.destroy_session(&session).await.unwrap();
    settle().await;
    assert_eq!(holders(&control), ["last"]);
    let refused = control.claim_lock(of("x", "web-2"), Duration::ZERO).await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    let unknown = control.claim_lock(of("x", "web-9"), Duration::ZERO).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })), "{unknown:?}");
}

#[tokio::test(start_paused = true)]
async fn locks_outlive_a_restart_with_their_line() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let control = start_on(Arc::clone(&store)).await;
    let token = claim(&control, new("a")).await;
    for id in ["b", "c"] {
        claim(&control, new(id)).await;
    }
    drop(control);
    let control = start_on(store).await;
    assert_eq!(claim(&control, new("a")).await, token);
    assert_eq!(control.lock(&lock()).entries.unwrap().waiters().len(), 2);
    control.release_claim(&named("a")).await.unwrap();
    assert_eq!(holders(&control), ["b"]);
    assert!(claim(&control, new("b")).await > token);
}

#[tokio::test]
async fn many_at_once_hold_it_one_after_the_other() {
    let control = start().await;
    let within = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tasks = (0..40).map(|number| {
        let (control, within) = (Arc::clone(&control), Arc::clone(&within));
        tokio::spawn(async move {
            let id = number.to_string();
            let Acquired::Held(claim) = control.claim_lock(new(&id), TTL * 6).await.unwrap() else {
                panic!("waited in vain")
            };
            within.lock().unwrap().push(claim.token);
            assert_eq!(holders(&control), [&*id]);
            control.release_claim(&named(&id)).await.unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let tokens = within.lock().unwrap();
    assert!(tokens.is_sorted() && tokens.len() == 40, "{tokens:?}");
    assert!(control.lock(&lock()).entries.is_none());
}

#[tokio::test]
async fn bad_claims_are_refused_by_field_and_the_line_has_an_end() {
    let control = start().await;
    let path = |new: NewClaim| {
        let control = &control;
        async move {
            match control.claim_lock(new, Duration::ZERO).await {
                Err(Error::Invalid { path, .. }) => path,
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(path(NewClaim { name: ClaimRef::new(LockRef::new(NS, "a/b"), "x"), ..new("") }).await, "name");
    assert_eq!(
        path(NewClaim { name: ClaimRef::new(LockRef::new("A", "a"), "x"), ..new("") }).await,
        "namespace"
    );
    for id in ["", "a/b", &"x".repeat(65)] {
        assert_eq!(path(new(id)).await, "claim");
    }
    assert_eq!(path(NewClaim { count: 0, ..new("x") }).await, "count");
    assert_eq!(path(NewClaim { count: 1001, ..new("x") }).await, "count");
    assert_eq!(path(NewClaim { ttl: Duration::from_millis(999), ..new("x") }).await, "ttl");
    assert_eq!(path(NewClaim { holder: "a\nb".to_owned(), ..new("x") }).await, "holder");
    assert!(control.lock(&lock()).entries.is_none());
    for number in 0..LOCK_CLAIMS_MAX {
        let claim = NewClaim { ttl: TTL * 1000, ..new(&number.to_string()) };
        control.claim_lock(claim, Duration::ZERO).await.unwrap();
    }
    let full = control.claim_lock(new("one-more"), Duration::ZERO).await;
    assert!(matches!(full, Err(Error::Overloaded { .. })), "{full:?}");
}
