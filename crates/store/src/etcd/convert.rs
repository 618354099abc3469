//! Transactions and answers, in etcd's words and in ours.

use super::generated::compare::{CompareResult, CompareTarget, TargetUnion};
use super::generated::request_op::Request;
use super::generated::response_op::Response;
use super::generated::{
    Compare as Condition, DeleteRangeRequest, Event as Told, KeyValue as Pair, PutRequest, RangeRequest,
    RequestOp, ResponseOp, TxnRequest, TxnResponse, event::EventType,
};

use super::fault;
use super::layout::Layout;
use crate::{
    Compare, Entry, Error, Event, KeyValue, LeaseId, Op, Outcome, Page, Position, Read, Relation, Txn,
    Written,
};

/// How much of a foreign key an error repeats, in characters.
const KEY_SHOWN_MAX: usize = 80;

/// What must be remembered of a transaction to understand its answer.
#[derive(Debug)]
pub(super) struct Shape {
    writes: Vec<Wrote>,
    reads: Vec<Read>,
    pub(super) leases: Vec<LeaseId>,
}

#[derive(Clone, Copy, Debug)]
enum Wrote {
    Put,
    Delete,
    DeleteRange,
    /// A range that cannot hold a key: it was not sent.
    Nothing,
}

/// etcd's numbers have a sign that they do not use.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Leases may have any number but 0; all other numbers are positive.
pub(super) fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

impl Layout {
    /// A transaction as etcd takes it.
    pub(super) fn txn(&self, txn: Txn) -> (TxnRequest, Shape) {
        let mut shape = Shape { writes: Vec::new(), reads: Vec::new(), leases: Vec::new() };
        let mut request = TxnRequest {
            compare: txn.compares.iter().map(|compare| self.condition(compare)).collect(),
            ..TxnRequest::default()
        };
        for op in txn.writes {
            let (wrote, write) = self.write(op, &mut shape.leases);
            shape.writes.push(wrote);
            request.success.extend(write.map(|write| RequestOp { request: Some(write) }));
        }
        let reads = txn.otherwise.iter().filter_map(|read| self.request(read));
        request.failure =
            reads.map(|read| RequestOp { request: Some(Request::RequestRange(read)) }).collect();
        shape.reads = txn.otherwise;
        (request, shape)
    }

    fn condition(&self, compare: &Compare) -> Condition {
        let (result, target, operand) = match compare {
            Compare::Exists(_) => (CompareResult::Greater, CompareTarget::Version, TargetUnion::Version(0)),
            Compare::Absent(_) => (CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(0)),
            Compare::Version(_, relation, version) => {
                (result(*relation), CompareTarget::Version, TargetUnion::Version(signed(*version)))
            }
            Compare::CreateRevision(_, relation, revision) => {
                (result(*relation), CompareTarget::Create, TargetUnion::CreateRevision(signed(*revision)))
            }
            Compare::ModRevision(_, relation, revision) => {
                (result(*relation), CompareTarget::Mod, TargetUnion::ModRevision(signed(*revision)))
            }
            Compare::Value(_, relation, value) => {
                (result(*relation), CompareTarget::Value, TargetUnion::Value(value.bytes().into_owned()))
            }
        };
        Condition {
            result: result.into(),
            target: target.into(),
            key: self.key(compare.key()),
            target_union: Some(operand),
        }
    }

    fn write(&self, op: Op, leases: &mut Vec<LeaseId>) -> (Wrote, Option<Request>) {
        match op {
            Op::Put { key, value, lease } => {
                leases.extend(lease);
                let lease = lease.map_or(0, |lease| lease.get().cast_signed());
                let put = PutRequest {
                    key: self.key(&key),
                    value: value.bytes().into_owned(),
                    lease,
                    prev_kv: true,
                };
                (Wrote::Put, Some(Request::RequestPut(put)))
            }
            Op::Delete(key) => {
                let delete = DeleteRangeRequest { key: self.key(&key), range_end: Vec::new(), prev_kv: true };
                (Wrote::Delete, Some(Request::RequestDeleteRange(delete)))
            }
            Op::DeleteRange(range) => match self.readable(&range) {
                Some((key, range_end)) => {
                    let delete = DeleteRangeRequest { key, range_end, prev_kv: false };
                    (Wrote::DeleteRange, Some(Request::RequestDeleteRange(delete)))
                }
                None => (Wrote::Nothing, None),
            },
        }
    }

    /// A read as etcd takes it: of one more than may be in a page, which tells whether there is more. None if the range
    /// holds no key.
    pub(super) fn request(&self, read: &Read) -> Option<RangeRequest> {
        let (key, range_end) = self.readable(&read.range)?;
        // 0 would be no limit.
        let limit = read.limit.map_or(0, |limit| signed(limit as u64).saturating_add(1));
        Some(RangeRequest { key, range_end, limit, keys_only: read.keys_only, ..RangeRequest::default() })
    }

    /// The answer to a transaction.
    pub(super) fn outcome(
        &self,
        answer: TxnResponse,
        shape: &Shape,
        position: Position,
        entries_max: usize,
    ) -> Result<Outcome, Error> {
        let succeeded = answer.succeeded;
        let mut outcome = Outcome { succeeded, position, writes: Vec::new(), reads: Vec::new() };
        let mut answers = answer.responses.into_iter().map(|ResponseOp { response }| response);
        if succeeded {
            for wrote in &shape.writes {
                outcome.writes.push(written(*wrote, &mut answers)?);
            }
            return Ok(outcome);
        }
        for read in &shape.reads {
            let limit = read.limit.unwrap_or(usize::MAX).min(entries_max);
            outcome.reads.push(match self.request(read).map(|_| answers.next()) {
                None => Page { entries: Vec::new(), more: false, position },
                Some(Some(Some(Response::ResponseRange(found)))) => self.page(found.kvs, limit, position)?,
                Some(_) => return Err(fault::nonsense("a read in a transaction was not answered")),
            });
        }
        Ok(outcome)
    }

    /// A page of what was read: of one more than may be in it, if there are so many.
    pub(super) fn page(&self, pairs: Vec<Pair>, limit: usize, position: Position) -> Result<Page, Error> {
        let more = pairs.len() > limit;
        let entries = pairs.into_iter().take(limit).map(|pair| self.key_value(pair));
        Ok(Page { entries: entries.collect::<Result<_, _>>()?, more, position })
    }

    fn key_value(&self, pair: Pair) -> Result<KeyValue, Error> {
        match self.parse(&pair.key) {
            Some(key) => Ok(KeyValue { key, entry: entry(pair) }),
            None => Err(foreign(&pair)),
        }
    }

    /// What a watch was told; none for the engine's own keys.
    pub(super) fn event(&self, told: Told) -> Result<Option<Event>, Error> {
        let is_put = told.r#type() == EventType::Put;
        let Some(pair) = told.kv else { return Err(fault::nonsense("an event without a key")) };
        if pair.key == self.tick() {
            return Ok(None);
        }
        let Some(key) = self.parse(&pair.key) else { return Err(foreign(&pair)) };
        Ok(Some(Event { key, now: is_put.then(|| entry(pair)), before: told.prev_kv.map(entry) }))
    }
}

fn written(wrote: Wrote, answers: &mut impl Iterator<Item = Option<Response>>) -> Result<Written, Error> {
    if let Wrote::Nothing = wrote {
        return Ok(Written::RangeDeleted(0));
    }
    match (wrote, answers.next().flatten()) {
        (Wrote::Put, Some(Response::ResponsePut(put))) => Ok(Written::Put(put.prev_kv.map(entry))),
        (Wrote::Delete, Some(Response::ResponseDeleteRange(gone))) => {
            Ok(Written::Deleted(gone.prev_kvs.into_iter().next().map(entry)))
        }
        (Wrote::DeleteRange, Some(Response::ResponseDeleteRange(gone))) => {
            Ok(Written::RangeDeleted(unsigned(gone.deleted)))
        }
        _ => Err(fault::nonsense("a write in a transaction was not answered")),
    }
}

/// Somebody else writes among our keys.
fn foreign(pair: &Pair) -> Error {
    let key = String::from_utf8_lossy(&pair.key).chars().take(KEY_SHOWN_MAX).collect();
    Error::InvalidKey {
        key,
        reason: "etcd holds a key among Weir's that is none; use a prefix of Weir's own",
    }
}

fn entry(pair: Pair) -> Entry {
    Entry {
        value: pair.value.into(),
        create_revision: unsigned(pair.create_revision),
        mod_revision: unsigned(pair.mod_revision),
        version: unsigned(pair.version),
        lease: LeaseId::from_u64(unsigned(pair.lease)),
    }
}

fn result(relation: Relation) -> CompareResult {
    match relation {
        Relation::Equal => CompareResult::Equal,
        Relation::NotEqual => CompareResult::NotEqual,
        Relation::Less => CompareResult::Less,
        Relation::Greater => CompareResult::Greater,
    }
}
