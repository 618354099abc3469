//! Leases, on a clock that moves by hand.

use std::time::Duration;

use weir_store::{Error, KeyRange, LeaseId, Limits, Read, Txn};

use crate::support::{Fixture, Make, key, names, next, value};

const TTL: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(1);

async fn leased(fixture: &Fixture, keys: &[&str]) -> LeaseId {
    let lease = fixture.store.grant(TTL).await.expect("a lease");
    assert_eq!(lease.ttl, TTL);
    for name in keys {
        fixture.commit(Txn::new().put_leased(key(name), value("x"), lease.id)).await;
    }
    lease.id
}

pub(crate) async fn keys_end_with_their_lease_in_one_transaction(make: Make) {
    let fixture = make(Limits::default());
    leased(&fixture, &["a", "b", "c"]).await;
    let revision = fixture.put("d", "x").await;
    let mut watch = fixture.store.watch(KeyRange::all(), revision + 1).await.expect("a watch");
    fixture.clock.advance(TTL);
    let batch = next(&mut watch).await;
    assert_eq!(
        (names(&batch), batch.position.revision),
        (vec!["-a".into(), "-b".into(), "-c".into()], revision + 1)
    );
    let page = fixture.store.range(Read::range(KeyRange::all())).await.expect("a page");
    assert_eq!(page.entries.len(), 1);
    assert_eq!(fixture.store.stats().leases, 0);
}

pub(crate) async fn renewal_prolongs(make: Make) {
    let fixture = make(Limits::default());
    let renewed = leased(&fixture, &["renewed"]).await;
    leased(&fixture, &["other"]).await;
    let revision = fixture.revision().await;
    let mut watch = fixture.store.watch(KeyRange::all(), revision + 1).await.expect("a watch");
    fixture.clock.advance(TTL - MOMENT);
    assert_eq!(fixture.store.keep_alive(renewed).await.expect("alive").ttl, TTL);
    fixture.clock.advance(MOMENT);
    assert_eq!(names(&next(&mut watch).await), ["-other"]);
    fixture.clock.advance(TTL - 2 * MOMENT);
    assert!(fixture.store.keep_alive(renewed).await.is_ok(), "its time is not up");
    fixture.clock.advance(TTL);
    assert_eq!(names(&next(&mut watch).await), ["-renewed"]);
}

pub(crate) async fn an_expired_lease_cannot_be_renewed(make: Make) {
    let fixture = make(Limits::default());
    let lease = leased(&fixture, &[]).await;
    fixture.clock.advance(TTL - MOMENT);
    assert!(fixture.store.keep_alive(lease).await.is_ok());
    fixture.clock.advance(TTL);
    // Whether or not its end is carried out yet:
    assert_eq!(fixture.store.keep_alive(lease).await, Err(Error::LeaseNotFound { id: lease }));
    let put = Txn::new().put_leased(key("late"), value("x"), lease);
    assert_eq!(fixture.store.commit(put).await, Err(Error::LeaseNotFound { id: lease }));
    assert_eq!(fixture.text("late").await, None);
}

pub(crate) async fn revoking_deletes_at_once(make: Make) {
    let fixture = make(Limits::default());
    let lease = leased(&fixture, &["a", "b"]).await;
    let revision = fixture.revision().await;
    let mut watch = fixture.store.watch(KeyRange::all(), revision + 1).await.expect("a watch");
    let position = fixture.store.revoke(lease).await.expect("revoked");
    assert_eq!(position.revision, revision + 1);
    assert_eq!(fixture.text("a").await, None);
    let batch = next(&mut watch).await;
    assert_eq!((names(&batch), batch.position), (vec!["-a".into(), "-b".into()], position));
    let gone = Error::LeaseNotFound { id: lease };
    assert_eq!(fixture.store.revoke(lease).await, Err(gone.clone()));
    assert_eq!(fixture.store.keep_alive(lease).await, Err(gone));

    let empty = leased(&fixture, &[]).await;
    assert_eq!(
        fixture.store.revoke(empty).await,
        Ok(position),
        "a lease without keys ends without a revision"
    );
}

pub(crate) async fn a_put_without_lease_detaches(make: Make) {
    let fixture = make(Limits::default());
    let first = leased(&fixture, &["kept", "moved", "deleted", "ended"]).await;
    let second = leased(&fixture, &["moved"]).await;
    fixture.put("kept", "y").await;
    fixture.delete("deleted").await;
    fixture.put("deleted", "again").await;
    let page = fixture.store.get(&key("moved")).await.expect("a read works").expect("it exists");
    assert_eq!(page.entry.lease, Some(second));
    fixture.store.revoke(first).await.expect("revoked");
    for (name, stays) in [("kept", true), ("moved", true), ("deleted", true), ("ended", false)] {
        assert_eq!(fixture.text(name).await.is_some(), stays, "{name}");
    }
    fixture.store.revoke(second).await.expect("revoked");
    assert_eq!(fixture.text("moved").await, None);
}

pub(crate) async fn unknown_leases_are_refused(make: Make) {
    let fixture = make(Limits::default());
    let unknown = LeaseId::from_u64(42).expect("not zero");
    let not_found = Error::LeaseNotFound { id: unknown };
    let put = Txn::new().put(key("b"), value("x")).put_leased(key("a"), value("x"), unknown);
    assert_eq!(fixture.store.commit(put).await, Err(not_found.clone()));
    assert_eq!(fixture.text("b").await, None, "nothing of the transaction happened");
    assert_eq!(fixture.store.keep_alive(unknown).await, Err(not_found.clone()));
    assert_eq!(fixture.store.revoke(unknown).await, Err(not_found));
    let (one, two) = (leased(&fixture, &[]).await, leased(&make(Limits::default()), &[]).await);
    assert_ne!(one, two, "the leases of two stores differ");
}

pub(crate) async fn times_to_live_are_bounded(make: Make) {
    let fixture = make(Limits::default());
    for ttl in [Duration::ZERO, Duration::from_millis(99), Duration::from_secs(31 * 24 * 3600), Duration::MAX]
    {
        let error = fixture.store.grant(ttl).await.expect_err("refused");
        assert!(matches!(error, Error::InvalidArgument { field: "ttl", .. }), "{error}");
    }
    fixture.store.grant(Duration::from_millis(100)).await.expect("the least");
}

pub(crate) async fn leases_and_their_keys_are_bounded(make: Make) {
    let mut limits = Limits::default();
    (limits.leases_max, limits.lease_keys_max) = (2, 3);
    let fixture = make(limits);
    let lease = leased(&fixture, &["a", "b"]).await;
    let put = Txn::new().put_leased(key("c"), value("x"), lease).put_leased(key("d"), value("x"), lease);
    let error = fixture.store.commit(put).await.expect_err("one too many");
    assert!(
        matches!(error, Error::LimitExceeded { limit: "lease_keys_max", max: 3, actual: 4, .. }),
        "{error}"
    );
    fixture.put("a", "without").await;
    fixture.delete("b").await;
    let put =
        ["c", "d", "e"].iter().fold(Txn::new(), |txn, name| txn.put_leased(key(name), value("x"), lease));
    fixture.commit(put).await;
    leased(&fixture, &["f"]).await;
    let error = fixture.store.grant(TTL).await.expect_err("one too many");
    assert_eq!(error, Error::Overloaded { what: "leases_max", max: 2 });
    fixture.store.revoke(lease).await.expect("revoked");
    fixture.store.grant(TTL).await.expect("room again");
}
