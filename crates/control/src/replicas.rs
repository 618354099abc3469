//! The replicas of a control plane that share a store, and which of them watches over which check.
//!
//! ```text
//! start -> lease -> /weir/v1/replica/cluster/<id> under it -> renewed ... -> not renewed: the store deletes it
//! ```
//!
//! Each knows the others from the catalog. Heartbeats live in the memory of one replica, and checks are carried out by one:
//! that with the highest weight for it (rendezvous hashing: Thaler and Ravishankar, IEEE/ACM Transactions on
//! Networking 6(1), 1998), so that when one comes or goes only its own share moves. Who takes over grants full time before
//! it judges. Two that see the replicas differently for a moment both judge, or neither does; what either commits is true.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_model::Revision;
use weir_store::{LeaseId, Store, Txn};

use crate::bounds::{REPLICA_RENEW_EVERY, REPLICA_TTL, STALE_AFTER};
use crate::catalog::{CheckRef, Versioned};
use crate::lock::LockRef;
use crate::session::SessionRef;
use crate::{Control, Error, keys};

/// A replica as the others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// Its name, which no other has; new at each start.
    pub id: String,
    /// Where the others reach its HTTP API: host and port, behind `https://` where it speaks TLS.
    pub http: String,
    /// Where proxies reach it: host and port.
    pub grpc: String,
    /// Its version.
    pub version: String,
    /// The datacenter that it answers for; empty from versions that do not say.
    #[serde(default)]
    pub datacenter: String,
    /// The node that registrations at its own agent API belong to; empty from versions that do not say.
    #[serde(default)]
    pub node: String,
}

impl Replica {
    /// What this one would answer otherwise than another of the same store, where all must be alike.
    fn differs_from(&self, other: &Self) -> Option<String> {
        let differs = |own: &str, other: &str| {
            !own.is_empty() && !other.is_empty() && keys::node_key(own) != keys::node_key(other)
        };
        let (what, own, theirs) = if differs(&self.datacenter, &other.datacenter) {
            ("datacenter", &self.datacenter, &other.datacenter)
        } else if differs(&self.node, &other.node) {
            ("node name", &self.node, &other.node)
        } else {
            return None;
        };
        Some(format!(
            "its {what} is {own:?}, and that of the replica at {} is {theirs:?}: all that share a store must have the same",
            other.http
        ))
    }
}

/// A sign of life of a check that another replica judges.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The check.
    pub check: CheckRef,
    /// Its output, if that is not what the catalog shows.
    pub output: Option<String>,
}

/// Replicas by name.
pub(crate) type Replicas = BTreeMap<String, Versioned<Replica>>;

/// What one replica watches over, as text that the others name alike.
pub(crate) trait Subject {
    fn subject(&self) -> String;
}

impl Subject for CheckRef {
    fn subject(&self) -> String {
        format!("{}/{}/{}", self.namespace, keys::node_key(&self.node), self.id)
    }
}

impl Subject for SessionRef {
    fn subject(&self) -> String {
        format!("session/{}/{}", self.namespace, self.id)
    }
}

/// All claims of a lock are watched over by one.
impl Subject for LockRef {
    fn subject(&self) -> String {
        format!("lock/{}/{}", self.namespace, self.name)
    }
}

/// The replica that watches over something; none if there are none.
pub(crate) fn owner<'a>(replicas: &'a Replicas, subject: &impl Subject) -> Option<&'a Replica> {
    let subject = subject.subject();
    let replicas = replicas.values().map(|replica| &replica.value);
    replicas.max_by_key(|replica| (weight(&replica.id, &subject), &replica.id))
}

/// Whether a replica watches over something: the only one does, and of several the owner.
pub(crate) fn owns(own: Option<&Replica>, replicas: &Replicas, subject: &impl Subject) -> bool {
    own.is_none_or(|own| owner(replicas, subject).is_some_and(|owner| owner.id == own.id))
}

/// FNV-1a (Fowler, Noll, Vo) of both, mixed as splitmix64 does, so that its upper bits are good. The same in every version, or
/// replicas of two versions would not agree.
fn weight(replica: &str, check: &str) -> u64 {
    let bytes = replica.bytes().chain([0]).chain(check.bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

impl Control {
    /// The replicas that live, this one included, by name. None where the store is not shared.
    pub fn replicas(&self) -> Vec<Replica> {
        self.catalog().state().replicas.values().map(|replica| replica.value.clone()).collect()
    }

    /// Whether this replica judges a check: it watches over it, and the others cannot have taken it for dead.
    pub(crate) fn judges(&self, check: &CheckRef) -> bool {
        self.owns(check) && self.may_judge()
    }

    /// Whether the others cannot have taken this replica for dead.
    pub(crate) fn may_judge(&self) -> bool {
        self.settings().replica.is_none() || self.membership.is_fresh()
    }

    /// How old what this replica shows may be, once it has not been able to make sure for [`STALE_AFTER`] that it is as new as
    /// the store. None otherwise: then it follows the store without delay.
    pub fn stale_for(&self) -> Option<Duration> {
        self.settings().replica.as_ref()?;
        Some(self.membership.since()).filter(|age| *age > STALE_AFTER)
    }

    /// When this replica last made sure that it is as new as the store; always now, where nobody else writes to it.
    pub fn made_sure_before(&self) -> Duration {
        self.settings().replica.as_ref().map_or(Duration::ZERO, |_| self.membership.since())
    }

    /// Refuses to be one of several that answer differently: those that were here first are right.
    pub(crate) fn check_alike(&self) -> Result<(), Error> {
        let Some(own) = &self.settings().replica else { return Ok(()) };
        let state = self.catalog().state();
        let joined = state.replicas.get(&own.id).map_or(Revision::MAX, |own| own.create_revision);
        let before = state.replicas.values().filter(|other| other.create_revision < joined);
        match before.filter_map(|other| own.differs_from(&other.value)).next() {
            Some(reason) => Err(Error::Refused { reason }),
            None => Ok(()),
        }
    }

    /// Whether this replica watches over something.
    pub(crate) fn owns(&self, subject: &impl Subject) -> bool {
        owns(self.settings().replica.as_ref(), &self.catalog().state().replicas, subject)
    }

    /// Heartbeats that came here and concern another replica, from now on. Only the first caller gets them.
    pub fn heartbeats_for_others(&self) -> Option<mpsc::Receiver<Heartbeat>> {
        self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What became of heartbeats that were passed on to the replica at this HTTP address: whether it was told, itself or by
    /// way of the store. As long as it is not, heartbeats that concern it are refused, so that whoever sends them goes to
    /// another replica.
    pub fn passed_on(&self, replica: &str, told: bool) {
        let replicas = self.replicas();
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        // No more than there are replicas.
        untold.retain(|address| replicas.iter().any(|replica| replica.http == *address));
        if told {
            untold.remove(replica);
        } else {
            untold.insert(replica.to_owned());
        }
    }

    /// Refuses a heartbeat that would be heard by nobody: this replica has lost the store, or cannot tell who judges the check.
    pub(crate) fn check_heard(&self, check: &CheckRef) -> Result<(), Error> {
        if !self.may_judge() {
            let reason =
                "this replica has lost it, and with it the others: a heartbeat here would not be heard";
            return Err(Error::Unavailable { reason: reason.to_owned() });
        }
        let Some(owner) = self.owned_by_other(check) else { return Ok(()) };
        if self.untold.lock().unwrap_or_else(PoisonError::into_inner).contains(&owner.http) {
            let reason = format!("the replica at {} judges this check and cannot be told of it", owner.http);
            return Err(Error::Unavailable { reason });
        }
        Ok(())
    }

    /// A heartbeat that another replica was told, of a check whose health it does not change.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn hear(&self, heartbeat: &Heartbeat) -> Result<(), Error> {
        let check = &heartbeat.check;
        let entry = self.catalog().check(check).ok_or_else(|| Error::not_found("check", &check.id))?;
        let output = heartbeat.output.as_deref().unwrap_or(&entry.value.output);
        self.heartbeat(&entry, entry.value.health, output).await.map(drop)
    }

    /// It is known that this replica is one. If it was not for long, others may have judged its checks meanwhile, and
    /// heartbeats have gone elsewhere: all get their full time again.
    fn is_one_of_them(&self, asked: Instant) {
        if !self.membership.is_fresh() {
            self.monitor.grant_full_time();
            self.keeper.grant_full_time();
        }
        self.membership.renew(asked);
    }

    /// The other replica that watches over a check; none if it is this one, or nobody yet.
    pub fn owned_by_other(&self, check: &CheckRef) -> Option<Replica> {
        let own = self.settings().replica.as_ref()?;
        owner(&self.catalog().state().replicas, check).filter(|replica| replica.id != own.id).cloned()
    }
}

/// How long ago this replica was last known to be one.
#[derive(Debug)]
pub(crate) struct Membership {
    renewed: Mutex<Instant>,
    /// Its lease; none where the store is not shared.
    lease: Mutex<Option<LeaseId>>,
}

impl Membership {
    /// It has joined after this moment, under this lease.
    pub(crate) fn new(at: Instant, lease: Option<LeaseId>) -> Self {
        Self { renewed: Mutex::new(at), lease: Mutex::new(lease) }
    }

    /// The lease that it lives under.
    pub(crate) fn lease(&self) -> Option<LeaseId> {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, lease: LeaseId) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
    }

    fn since(&self) -> Duration {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Whether its lease cannot have ended.
    fn is_fresh(&self) -> bool {
        self.since() < REPLICA_TTL
    }

    fn renew(&self, at: Instant) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// Joins the replicas. The lease lasts as long as it is renewed.
///
/// # Errors
/// [`Error::Unavailable`] if the store cannot be written.
pub(crate) async fn join(store: &dyn Store, replica: &Replica) -> Result<LeaseId, Error> {
    let lease = store.grant(REPLICA_TTL).await?;
    let key = keys::replica(&replica.id)?;
    let value = weir_store::json::to_value(&key, replica)?;
    store.commit(Txn::new().put_leased(key, value, lease.id)).await?;
    Ok(lease.id)
}

/// Renews the lease until the control plane is gone, and joins again where it was lost.
pub(crate) async fn stay(control: Weak<Control>, store: Arc<dyn Store>, replica: Replica) {
    loop {
        tokio::time::sleep(REPLICA_RENEW_EVERY).await;
        let asked = Instant::now();
        let Some(lease) = control.upgrade().and_then(|control| control.membership.lease()) else { return };
        let mut joined = None;
        let renewed = match store.keep_alive(lease).await {
            Err(weir_store::Error::LeaseNotFound { .. }) => {
                tracing::warn!(replica = replica.id, "the others took this replica for dead; joining again");
                join(&*store, &replica).await.map(|again| joined = Some(again))
            }
            renewed => renewed.map(drop).map_err(Error::from),
        };
        let Some(control) = control.upgrade() else { return };
        if let Some(lease) = joined {
            control.membership.hold(lease);
        }
        match renewed {
            // Only with a catalog that is as new: others may have taken over meanwhile.
            Ok(()) => {
                if let Ok(Ok(_)) = tokio::time::timeout(REPLICA_RENEW_EVERY, control.consistent()).await {
                    control.is_one_of_them(asked);
                }
            }
            Err(error) => tracing::warn!(%error, "the replica's lease was not renewed; trying again"),
        }
    }
}

/// Leaves at once, so that the others need not wait until the lease ends.
pub(crate) async fn leave(store: &dyn Store, replica: &Replica) {
    let Ok(key) = keys::replica(&replica.id) else { return };
    let leaving = store.commit(Txn::new().delete(key));
    if !matches!(tokio::time::timeout(LEAVE_MAX, leaving).await, Ok(Ok(_))) {
        tracing::debug!("the replicas could not be left; they notice when the lease ends");
    }
}

/// How long leaving may take.
const LEAVE_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(ids: &[&str]) -> Replicas {
        let of = |id: &&str| {
            let replica = Replica {
                id: id.to_string(),
                http: String::new(),
                grpc: String::new(),
                version: String::new(),
                datacenter: "dc1".to_owned(),
                node: "weir".to_owned(),
            };
            (id.to_string(), Versioned { value: replica, create_revision: 1, modify_revision: 1 })
        };
        ids.iter().map(of).collect()
    }

    fn check(node: &str) -> CheckRef {
        CheckRef { namespace: "default".to_owned(), node: node.to_owned(), id: "service:a".to_owned() }
    }

    #[test]
    fn each_gets_its_share_and_keeps_it_when_others_come_and_go() {
        let (three, two) = (replicas(&["a", "b", "c"]), replicas(&["a", "b"]));
        let mut shares = BTreeMap::<String, u32>::new();
        for node in 0..3000 {
            let check = check(&format!("node-{node}"));
            let before = owner(&three, &check).expect("one").id.clone();
            let after = owner(&two, &check).expect("one").id.clone();
            assert!(before == after || before == "c", "only what c had moves");
            *shares.entry(before).or_default() += 1;
        }
        // Binomial: a share is 1000 with a standard deviation of 26; five of them.
        assert!(shares.len() == 3 && shares.values().all(|share| (870..1130).contains(share)), "{shares:?}");
        assert_eq!(owner(&replicas(&[]), &check("x")), None);
        assert_eq!(owner(&three, &check("Web-1")), owner(&three, &check("web-1")));
    }

    #[test]
    fn those_that_would_answer_differently_are_told_apart() {
        let mut all = replicas(&["a", "b"]).into_values().map(|replica| replica.value);
        let (own, other) = (all.next().expect("one"), all.next().expect("two"));
        assert_eq!(own.differs_from(&other), None);
        let differs = |change: fn(&mut Replica)| {
            let mut own = own.clone();
            change(&mut own);
            own.differs_from(&other).unwrap_or_default()
        };
        assert!(differs(|own| own.datacenter = "dc2".to_owned()).contains("datacenter is \"dc2\""));
        assert!(differs(|own| own.node = "other".to_owned()).contains("node name is \"other\""));
        assert_eq!(differs(|own| own.node = "WEIR".to_owned()), "");
        assert_eq!(differs(|own| own.node.clear()), "", "an older version does not say");
    }

    #[test]
    fn weights_are_the_same_for_ever() {
        // Replicas of two versions must agree.
        assert_eq!(weight("a", "default/web-1/service:a"), 0x913b_6fc4_fc88_95b2);
        assert_ne!(weight("a", "bc"), weight("ab", "c"));
    }
}
