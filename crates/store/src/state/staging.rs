//! Commands executed over a state without touching it: each sees the effects of those before it, and all of them
//! take effect together, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::validate::{txn_bytes, validate, within};

use super::{Change, Commit, Entries, LeaseChange, Overlay, State, lookup, page, records_in};
use crate::{
    Compare, Entry, Error, Key, Lease, LeaseId, Op, Outcome, Page, Position, Read, Record, Relation,
    Revision, Txn, Value, Written,
};

/// A lease lives at least this long after a renewal.
pub(crate) const TTL_MIN: Duration = Duration::from_millis(100);
/// A lease lives at most this long after a renewal.
pub(crate) const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How many bits of a lease's number count leases; the others tell the epochs of a store apart.
const LEASE_COUNTER_BITS: u32 = 24;

/// One part in so many of `state_bytes_max` is kept for changes of keys that are there.
const STATE_ROOM_PARTS: u64 = 16;

/// Of so many conditions it is remembered what their keys hold: most writes are of a key that has one.
const SEEN_MAX: usize = 8;

/// Refuses a time to live that no engine grants.
pub(crate) fn validate_ttl(ttl: Duration) -> Result<(), Error> {
    if (TTL_MIN..=TTL_MAX).contains(&ttl) {
        return Ok(());
    }
    let reason = format!("expected {TTL_MIN:?} to {} s, got {ttl:?}", TTL_MAX.as_secs());
    Err(Error::InvalidArgument { field: "ttl", reason })
}

/// What can be asked of the writer of a store.
#[derive(Debug)]
pub(crate) enum Command {
    Commit(Txn),
    Grant(Duration),
    Revoke(LeaseId),
    /// End every lease whose time has come.
    Expire,
    /// Put this in place of everything.
    Replace(Contents),
}

/// What takes the place of everything that a store holds.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) values: BTreeMap<Key, Value>,
    /// The epoch that begins with it, unless it is over already; then the next one does.
    pub(crate) epoch: u64,
}

impl Contents {
    fn total(&self) -> Total {
        let bytes = self.values.iter().map(|(key, value)| (key.as_str().len() + value.len()) as u64).sum();
        Total { keys: self.values.len(), bytes }
    }
}

impl Command {
    /// The memory the command will need in a batch, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Commit(txn) => txn_bytes(txn),
            Self::Grant(_) | Self::Revoke(_) | Self::Expire => 0,
            Self::Replace(contents) => usize::try_from(contents.total().bytes).unwrap_or(usize::MAX),
        }
    }
}

/// The writer's answer to a command of the same name.
#[derive(Debug)]
pub(crate) enum Answer {
    Commit(Outcome),
    Grant(Lease),
    Revoke(Position),
    /// Every lease whose time had come is ended.
    Expire,
    Replace(Position),
}

impl Answer {
    /// The answer to [`Command::Commit`].
    pub(crate) fn into_commit(self) -> Outcome {
        let Self::Commit(outcome) = self else { unreachable!("a commit was answered with {self:?}") };
        outcome
    }

    /// The answer to [`Command::Grant`].
    pub(crate) fn into_grant(self) -> Lease {
        let Self::Grant(lease) = self else { unreachable!("a grant was answered with {self:?}") };
        lease
    }

    /// The answer to [`Command::Revoke`].
    pub(crate) fn into_revoke(self) -> Position {
        let Self::Revoke(position) = self else { unreachable!("a revocation was answered with {self:?}") };
        position
    }

    /// The answer to [`Command::Replace`].
    pub(crate) fn into_replace(self) -> Position {
        let Self::Replace(position) = self else { unreachable!("a replacement was answered with {self:?}") };
        position
    }
}

/// What executed commands change.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) entries: Overlay,
    pub(crate) leases: BTreeMap<LeaseId, LeaseChange>,
    pub(crate) epoch: u64,
    pub(crate) revision: Revision,
    pub(crate) lease_counter: u64,
    /// Those since `replaced`, if it is there.
    pub(crate) commits: Vec<Commit>,
    /// The revision that put something else in place of everything. No history leads over it.
    pub(crate) replaced: Option<Revision>,
}

impl Changes {
    /// Whether there is nothing to make durable.
    pub(crate) fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.leases.is_empty() && self.replaced.is_none()
    }
}

pub(crate) struct Staging<'a> {
    state: &'a State,
    changes: Changes,
    /// Keys that were put under a lease in this batch. Some may have left it again since.
    leased: BTreeMap<LeaseId, BTreeSet<Key>>,
    /// Leases granted in this batch.
    granted: usize,
    /// What the state amounts to with this batch.
    total: Total,
}

/// What one command does to keys.
type Steps = BTreeMap<Key, Change>;

/// How much a state holds.
#[derive(Clone, Copy)]
struct Total {
    keys: usize,
    bytes: u64,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(state: &'a State) -> Self {
        let changes = Changes {
            entries: Overlay::new(),
            leases: BTreeMap::new(),
            epoch: state.epoch,
            revision: state.revision,
            lease_counter: state.lease_counter,
            commits: Vec::new(),
            replaced: None,
        };
        Self {
            state,
            changes,
            leased: BTreeMap::new(),
            granted: 0,
            total: Total { keys: state.entries.len(), bytes: state.bytes },
        }
    }

    pub(crate) fn finish(self) -> Changes {
        self.changes
    }

    /// Executes one command. On an error the command has changed nothing.
    pub(crate) fn execute(&mut self, command: Command, now: Duration) -> Result<Answer, Error> {
        match command {
            Command::Commit(txn) => self.commit(txn, now).map(Answer::Commit),
            Command::Grant(ttl) => self.grant(ttl, now).map(Answer::Grant),
            Command::Revoke(id) => self.revoke(id).map(Answer::Revoke),
            Command::Expire => {
                for id in self.state.leases.due(now) {
                    if !self.changes.leases.contains_key(&id) {
                        self.end_lease(id);
                    }
                }
                Ok(Answer::Expire)
            }
            Command::Replace(contents) => self.replace(contents).map(Answer::Replace),
        }
    }

    /// Every lease ends, and every key gets the new revision: nothing that was decided on what was there before can be
    /// committed on what is there now.
    fn replace(&mut self, contents: Contents) -> Result<Position, Error> {
        let limits = &self.state.limits;
        let total = contents.total();
        within(|| "the number of keys".into(), "state_keys_max", limits.state_keys_max, total.keys)?;
        // As much as a store can have grown to, so that it can take back what it held.
        let (bytes, bytes_max) = (total.bytes, limits.state_bytes_max);
        if bytes > bytes_max + bytes_max / STATE_ROOM_PARTS {
            let (what, limit) = ("the size of keys and values".to_owned(), "state_bytes_max");
            return Err(Error::LimitExceeded { what, limit, max: bytes_max, actual: bytes });
        }
        for (key, value) in &contents.values {
            within(|| format!("the value of {key}"), "value_bytes_max", limits.value_bytes_max, value.len())?;
        }
        let changes = &mut self.changes;
        // Another replacement may have come in between, since the epoch was chosen.
        changes.epoch = contents.epoch.max(changes.epoch.saturating_add(1));
        changes.revision += 1;
        changes.replaced = Some(changes.revision);
        changes.commits.clear();
        let (create_revision, mod_revision) = (changes.revision, changes.revision);
        let staged = std::mem::take(&mut changes.entries);
        let gone =
            self.state.entries.iter().map(Record::key).chain(staged.into_keys()).map(|key| (key, None));
        changes.entries = gone.collect();
        changes.entries.extend(contents.values.into_iter().map(|(key, value)| {
            let entry = Entry { value, create_revision, mod_revision, version: 1, lease: None };
            let record = Record::of(&key, &entry);
            (record.key(), Some(record))
        }));
        changes.leases.extend(self.state.leases.iter().map(|(id, _)| (id, LeaseChange::Ended)));
        changes.leases.values_mut().for_each(|change| *change = LeaseChange::Ended);
        self.leased.clear();
        self.total = total;
        Ok(self.position())
    }

    fn commit(&mut self, txn: Txn, now: Duration) -> Result<Outcome, Error> {
        self.validate(&txn, now)?;
        let mut seen = Vec::with_capacity(txn.compares.len().min(SEEN_MAX));
        let holds = txn.compares.iter().all(|compare| {
            let known = self.get(compare.key());
            if seen.len() < SEEN_MAX {
                seen.push((compare.key(), known));
            }
            holds(compare, known)
        });
        if !holds {
            let reads = txn.otherwise.iter().map(|read| self.read(read)).collect();
            return Ok(Outcome { succeeded: false, position: self.position(), writes: Vec::new(), reads });
        }
        let (writes, changed) = self.plan(txn.writes, &seen)?;
        let total = self.total_with(&changed);
        self.validate_total(total)?;
        self.write(changed, total);
        Ok(Outcome { succeeded: true, position: self.position(), writes, reads: Vec::new() })
    }

    /// Works out what the writes do, without doing it. What some keys hold was looked up for the conditions.
    fn plan(&self, ops: Vec<Op>, seen: &[(&Key, Option<&Record>)]) -> Result<(Vec<Written>, Steps), Error> {
        let known = |key: &Key| match seen.iter().find(|(seen, _)| *seen == key) {
            Some((_, known)) => known.cloned(),
            None => self.get(key).cloned(),
        };
        let revision = self.changes.revision + 1;
        let mut changed = Steps::new();
        let mut writes = Vec::with_capacity(ops.len());
        for op in ops {
            let written = match op {
                Op::Put { key, value, lease } => {
                    let known = known(&key);
                    let before = known.as_ref().map(Record::entry);
                    let create_revision = before.as_ref().map_or(revision, |before| before.create_revision);
                    let version = before.as_ref().map_or(0, |before| before.version) + 1;
                    let entry = Entry { value, create_revision, mod_revision: revision, version, lease };
                    let record = Record::of(&key, &entry);
                    changed.insert(record.key(), Change { now: Some(record), before: known });
                    Written::Put(before)
                }
                Op::Delete(key) => {
                    let known = known(&key);
                    let before = known.as_ref().map(Record::entry);
                    if known.is_some() {
                        changed.insert(key, Change { now: None, before: known });
                    }
                    Written::Deleted(before)
                }
                Op::DeleteRange(range) => {
                    let max = self.state.limits.txn_events_max;
                    let found = records_in(&self.state.entries, &self.changes.entries, &range, max + 1);
                    // Ranges may overlap: a key counts where it is met first.
                    let known = changed.len();
                    let gone = |record: Record| (record.key(), Change { now: None, before: Some(record) });
                    changed.extend(found.into_iter().map(gone));
                    Written::RangeDeleted((changed.len() - known) as u64)
                }
            };
            writes.push(written);
        }
        let max = self.state.limits.txn_events_max;
        within(|| "the number of keys changed".into(), "txn_events_max", max, changed.len())?;
        Ok((writes, changed))
    }

    fn total_with(&self, changed: &Steps) -> Total {
        let mut total = self.total;
        for Change { now, before } in changed.values() {
            // What comes first and what goes after: neither sum can pass below zero.
            if let Some(now) = now {
                total.keys += 1;
                total.bytes += now.size();
            }
            if let Some(before) = before {
                total.keys -= 1;
                total.bytes -= before.size();
            }
        }
        total
    }

    /// Refuses what would make a full state larger. What makes it smaller always passes; and what is there may still
    /// change when new keys are refused, so that health goes on to be judged.
    fn validate_total(&self, total: Total) -> Result<(), Error> {
        let limits = &self.state.limits;
        let adds = total.keys > self.total.keys;
        if total.keys > limits.state_keys_max && adds {
            return Err(Error::Overloaded { what: "state_keys_max", max: limits.state_keys_max as u64 });
        }
        let room = if adds { 0 } else { limits.state_bytes_max / STATE_ROOM_PARTS };
        if total.bytes > limits.state_bytes_max + room && total.bytes > self.total.bytes {
            return Err(Error::Overloaded { what: "state_bytes_max", max: limits.state_bytes_max });
        }
        Ok(())
    }

    /// Does what was planned, as one revision; no change is no revision.
    fn write(&mut self, changed: Steps, total: Total) {
        if changed.is_empty() {
            return;
        }
        self.total = total;
        self.changes.revision += 1;
        let mut changes = Vec::with_capacity(changed.len());
        for (key, change) in changed {
            if let Some(lease) = change.now.as_ref().and_then(Record::lease) {
                self.leased.entry(lease).or_default().insert(key.clone());
            }
            self.changes.entries.insert(key, change.now.clone());
            changes.push(change);
        }
        self.changes.commits.push(Commit { revision: self.changes.revision, changes: changes.into() });
    }

    fn grant(&mut self, ttl: Duration, now: Duration) -> Result<Lease, Error> {
        validate_ttl(ttl)?;
        // Leases that end in the same batch still count: the bound may refuse a little early, never late.
        if self.state.leases.len() + self.granted >= self.state.limits.leases_max {
            return Err(Error::Overloaded { what: "leases_max", max: self.state.limits.leases_max as u64 });
        }
        self.changes.lease_counter += 1;
        self.granted += 1;
        let id = lease_id(self.changes.epoch, self.changes.lease_counter);
        self.changes.leases.insert(id, LeaseChange::Granted { ttl, deadline: now + ttl });
        Ok(Lease { id, ttl })
    }

    fn revoke(&mut self, id: LeaseId) -> Result<Position, Error> {
        let known = match self.changes.leases.get(&id) {
            Some(change) => *change != LeaseChange::Ended,
            None => self.state.leases.contains(id),
        };
        if !known {
            return Err(Error::LeaseNotFound { id });
        }
        self.end_lease(id);
        Ok(self.position())
    }

    /// Deletes the keys of a lease in one revision, and the lease.
    fn end_lease(&mut self, id: LeaseId) {
        let staged = self.leased.remove(&id).unwrap_or_default();
        let keys: BTreeSet<Key> = self.state.leases.keys(id).cloned().chain(staged).collect();
        let attached = |key: Key| {
            let before = self.get(&key).filter(|record| record.lease() == Some(id)).cloned()?;
            Some((key, Change { now: None, before: Some(before) }))
        };
        let changed = keys.into_iter().filter_map(attached).collect();
        let total = self.total_with(&changed);
        self.write(changed, total);
        self.changes.leases.insert(id, LeaseChange::Ended);
    }

    fn position(&self) -> Position {
        Position::new(self.changes.epoch, self.changes.revision)
    }

    fn get(&self, key: &Key) -> Option<&Record> {
        lookup(&self.state.entries, &self.changes.entries, key)
    }

    fn read(&self, read: &Read) -> Page {
        let entries: &Entries = &self.state.entries;
        page(entries, &self.changes.entries, read, &self.state.limits, self.position())
    }

    /// Refuses what breaks a limit or names a lease that is not alive.
    fn validate(&self, txn: &Txn, now: Duration) -> Result<(), Error> {
        validate(txn, &self.state.limits)?;
        let mut attached: BTreeMap<LeaseId, usize> = BTreeMap::new();
        for op in &txn.writes {
            if let Op::Put { lease: Some(lease), .. } = op {
                *attached.entry(*lease).or_default() += 1;
            }
        }
        for (id, keys) in attached {
            self.validate_lease(id, keys, now)?;
        }
        Ok(())
    }

    fn validate_lease(&self, id: LeaseId, keys: usize, now: Duration) -> Result<(), Error> {
        let alive = match self.changes.leases.get(&id) {
            Some(LeaseChange::Granted { deadline, .. }) => *deadline > now,
            Some(LeaseChange::Ended) => false,
            None => self.state.leases.is_alive(id, now),
        };
        if !alive {
            return Err(Error::LeaseNotFound { id });
        }
        // Counts a key twice if it is attached already: the bound may refuse a little early, never late.
        let staged = self.leased.get(&id).map_or(0, BTreeSet::len);
        let keys = self.state.leases.key_count(id) + staged + keys;
        within(
            || format!("the number of keys of lease {id}"),
            "lease_keys_max",
            self.state.limits.lease_keys_max,
            keys,
        )
    }
}

/// A lease's number: unique in this epoch, and unlikely to be met again in another one, so that a holder who slept
/// through a new epoch does not renew somebody else's lease. Never 0, and positive as a signed number.
fn lease_id(epoch: u64, counter: u64) -> LeaseId {
    let id = ((epoch << LEASE_COUNTER_BITS) ^ counter) & (u64::MAX >> 1);
    LeaseId::from_u64(id).or(LeaseId::from_u64(u64::MAX >> 1)).expect("not zero")
}

/// Whether a condition holds of what its key holds.
fn holds(compare: &Compare, known: Option<&Record>) -> bool {
    let entry = known.map(Record::entry);
    let number = |of: fn(&Entry) -> u64| entry.as_ref().map_or(0, of);
    match compare {
        Compare::Exists(_) => entry.is_some(),
        Compare::Absent(_) => entry.is_none(),
        Compare::Version(_, relation, than) => related(&number(|e| e.version), *relation, than),
        Compare::CreateRevision(_, relation, than) => {
            related(&number(|e| e.create_revision), *relation, than)
        }
        Compare::ModRevision(_, relation, than) => related(&number(|e| e.mod_revision), *relation, than),
        Compare::Value(_, relation, than) => {
            entry.is_some_and(|entry| related(&*entry.value.bytes(), *relation, &*than.bytes()))
        }
    }
}

fn related<T: Ord + ?Sized>(stored: &T, relation: Relation, than: &T) -> bool {
    match relation {
        Relation::Equal => stored == than,
        Relation::NotEqual => stored != than,
        Relation::Less => stored < than,
        Relation::Greater => stored > than,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::Limits;
    use crate::state::Stored;

    #[test]
    fn many_leases_end_at_once_in_linear_time() {
        const LEASES: usize = 30_000;
        let ttl = Duration::from_secs(10);
        let mut state =
            State::new(Limits::default(), Stored { epoch: 1, ..Stored::default() }, Duration::ZERO);
        let mut staging = Staging::new(&state);
        for number in 0..LEASES {
            let granted = staging.execute(Command::Grant(ttl), Duration::ZERO).map(Answer::into_grant);
            let key = Key::new("kind", "ns", &format!("{number}")).expect("a key");
            let put = Txn::new().put_leased(key, Value::from(&b"x"[..]), granted.expect("a lease").id);
            staging.execute(Command::Commit(put), Duration::ZERO).expect("a put");
        }
        let changes = staging.finish();
        state.apply(changes);
        assert_eq!((state.entries.len(), state.leases.len()), (LEASES, LEASES));
        let began = Instant::now();
        let mut staging = Staging::new(&state);
        staging.execute(Command::Expire, ttl).expect("they end");
        let changes = staging.finish();
        // Quadratic work takes minutes; this takes well below a second, even unoptimized.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        state.apply(changes);
        assert_eq!((state.entries.len(), state.leases.len()), (0, 0));
    }

    #[test]
    fn replacements_raise_the_epoch_in_whatever_order_they_come() {
        let state = State::new(Limits::default(), Stored { epoch: 1, ..Stored::default() }, Duration::ZERO);
        let mut staging = Staging::new(&state);
        let mut last = 1;
        // Each has chosen its epoch before it was known which comes first.
        for epoch in [7, 6, 7, 9] {
            let contents = Contents { values: BTreeMap::new(), epoch };
            let replaced =
                staging.execute(Command::Replace(contents), Duration::ZERO).map(Answer::into_replace);
            let now = replaced.expect("replaced").epoch;
            assert!(now > last && now >= epoch, "{now} after {last}");
            last = now;
        }
    }

    #[test]
    fn what_a_store_can_grow_to_it_can_take_back() {
        let limits = Limits { state_bytes_max: 1600, ..Limits::default() };
        let state = State::new(limits, Stored { epoch: 1, ..Stored::default() }, Duration::ZERO);
        let key = Key::new("kind", "ns", "k").expect("a key");
        let value = |bytes: usize| Value::from(vec![b'x'; bytes - key.as_str().len()]);
        let mut staging = Staging::new(&state);
        for bytes in [1600, 1700] {
            let put = Txn::new().put(key.clone(), value(bytes));
            staging.execute(Command::Commit(put), Duration::ZERO).expect("it may grow");
        }
        let mut replace = |bytes: usize| {
            let contents = Contents { values: BTreeMap::from([(key.clone(), value(bytes))]), epoch: 2 };
            staging.execute(Command::Replace(contents), Duration::ZERO)
        };
        replace(1700).expect("it was there");
        let refused = replace(1701).expect_err("too large");
        assert!(matches!(refused, Error::LimitExceeded { limit: "state_bytes_max", .. }), "{refused}");
    }

    #[test]
    fn a_key_that_left_a_lease_in_the_same_batch_stays() {
        let state = State::new(Limits::default(), Stored { epoch: 1, ..Stored::default() }, Duration::ZERO);
        let mut staging = Staging::new(&state);
        let ttl = Duration::from_secs(10);
        let lease = staging.execute(Command::Grant(ttl), Duration::ZERO).map(Answer::into_grant);
        let lease = lease.expect("a lease").id;
        let key = |name: &str| Key::new("kind", "ns", name).expect("a key");
        let value = || Value::from(&b"x"[..]);
        for txn in [
            Txn::new().put_leased(key("stays"), value(), lease).put_leased(key("goes"), value(), lease),
            Txn::new().put(key("stays"), value()),
        ] {
            staging.execute(Command::Commit(txn), Duration::ZERO).expect("a put");
        }
        staging.execute(Command::Revoke(lease), Duration::ZERO).expect("revoked");
        let changes = staging.finish();
        assert!(changes.entries[&key("stays")].is_some());
        assert!(changes.entries[&key("goes")].is_none());
    }
}
