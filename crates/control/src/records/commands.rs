//! Writing records.

use serde_json::Value;
use weir_model::Revision;

use super::{Head, Record, TableRef};
use crate::bounds::{RECORD_BYTES_MAX, RECORD_NAME_BYTES_MAX, RECORDS_MAX, SESSION_RECORDS_MAX};
use crate::catalog::{Moment, State};
use crate::commit::{Committed, Plan};
use crate::registry::check_namespace;
use crate::session::SessionRef;
use crate::{Control, Error, keys};

/// On which condition a record is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// On none.
    Always,
    /// If it is there: otherwise [`Error::NotFound`].
    There,
    /// If it was last changed at this revision; 0: if it is not there.
    At(Revision),
}

/// Records of several tables that must fit each other. Every write of one of them also writes the head of one table, on
/// condition that it is as it was: so no two are judged on the same state, on whatever replica.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    /// The table whose head is written; it has no records of its own.
    pub head: &'a TableRef,
    /// Says why the write must not be made on this state. Pure: it is asked again when the state was not the newest.
    pub judge: &'a (dyn Fn(&Moment<'_>) -> Result<(), String> + Send + Sync),
}

/// Why nothing was done.
enum Declined {
    /// The record is not as the condition says.
    Condition,
    /// It would not fit others.
    Unfit(String),
}

/// What is to be answered: nothing where a condition did not hold.
fn done(outcome: Result<Committed, Declined>) -> Result<Option<Committed>, Error> {
    match outcome {
        Ok(committed) => Ok(Some(committed)),
        Err(Declined::Condition) => Ok(None),
        Err(Declined::Unfit(reason)) => Err(Error::refused(reason)),
    }
}

impl Control {
    /// Puts a record. `None` if it was not as the condition says. Putting what is there already makes no revision.
    ///
    /// # Errors
    /// [`Error::Invalid`] for its names; [`Error::TooLarge`]; [`Error::NotFound`] for its session, or itself where it
    /// had to be there; [`Error::Refused`] if another record has one of its names; [`Error::Overloaded`] with
    /// [`RECORDS_MAX`] records in its table, or [`SESSION_RECORDS_MAX`] that end with its session.
    pub async fn put_record(
        &self,
        table: &TableRef,
        record: &Record,
        when: When,
    ) -> Result<Option<Committed>, Error> {
        self.put_fitting_record(table, record, when, None).await
    }

    /// The same, if the record fits others.
    ///
    /// # Errors
    /// Those of [`Control::put_record`]; [`Error::Refused`] with what the judge said.
    pub async fn put_fitting_record(
        &self,
        table: &TableRef,
        record: &Record,
        when: When,
        fit: Option<Fit<'_>>,
    ) -> Result<Option<Committed>, Error> {
        check_record(table, record)?;
        let what = || format!("{} {:?}", table.name, record.name);
        done(self.execute_if(what, |state| put(state, table, record, when, fit)).await?)
    }

    /// Deletes a record, if it was last changed at this revision. `None` if that does not hold; without a condition,
    /// deleting what is not there changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for names that no record can have.
    pub async fn delete_record(
        &self,
        table: &TableRef,
        name: &str,
        at: Option<Revision>,
    ) -> Result<Option<Committed>, Error> {
        self.delete_fitting_record(table, name, at, None).await
    }

    /// The same, if the others fit without it.
    ///
    /// # Errors
    /// Those of [`Control::delete_record`]; [`Error::Refused`] with what the judge said.
    pub async fn delete_fitting_record(
        &self,
        table: &TableRef,
        name: &str,
        at: Option<Revision>,
        fit: Option<Fit<'_>>,
    ) -> Result<Option<Committed>, Error> {
        check_name(table, name)?;
        let what = || format!("{} {name:?}", table.name);
        let decide = |state: &State| {
            let known = state.records.get(table, name);
            match (known, at) {
                (None, None | Some(0)) => Ok(Ok(Plan::nothing())),
                (None, Some(_)) => Ok(Err(Declined::Condition)),
                (Some(known), Some(at)) if known.modify_revision != at => Ok(Err(Declined::Condition)),
                (Some(_), _) => {
                    let mut plan = Plan::nothing();
                    if let Some(reason) = unfit(state, fit, &mut plan)? {
                        return Ok(Err(Declined::Unfit(reason)));
                    }
                    touch(state, table, &mut plan)?;
                    plan.delete(keys::record(table, name)?);
                    Ok(Ok(plan))
                }
            }
        };
        done(self.execute_if(what, decide).await?)
    }

    /// Adds a record at the end of a table that is a ring of `max` records, over the oldest one when it is full.
    /// `content` is given how often the table was written before, which is told again of what came of it.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::TooLarge`], [`Error::Unavailable`].
    pub async fn append_record(
        &self,
        table: &TableRef,
        max: u64,
        content: impl Fn(u64) -> Value,
    ) -> Result<(u64, Committed), Error> {
        let mut number = 0;
        let what = || table.name.clone();
        let committed = self
            .execute(what, |state| {
                number = state.records.written(table);
                let name = format!("{:08}", number % max.max(1));
                let record = Record { name, content: content(number), ..Record::default() };
                check_record(table, &record)?;
                let mut plan = plan(state, table)?;
                plan.put(keys::record(table, &record.name)?, &record)?;
                Ok(plan)
            })
            .await?;
        Ok((number, committed))
    }
}

/// A plan that holds only if the table is as it is now.
fn plan(state: &State, table: &TableRef) -> Result<Plan, Error> {
    let mut plan = Plan::nothing();
    touch(state, table, &mut plan)?;
    Ok(plan)
}

fn touch(state: &State, table: &TableRef, plan: &mut Plan) -> Result<(), Error> {
    let key = keys::table(table)?;
    plan.expect(key.clone(), state.records.head_revision(table));
    plan.put(key, &Head { written: state.records.written(table) + 1 })
}

/// Why a write must not be made; if it may, nobody else makes one that must fit it at the same time.
fn unfit(state: &State, fit: Option<Fit<'_>>, plan: &mut Plan) -> Result<Option<String>, Error> {
    let Some(Fit { head, judge }) = fit else { return Ok(None) };
    match judge(&Moment::of(state)) {
        Ok(()) => touch(state, head, plan).map(|()| None),
        Err(reason) => Ok(Some(reason)),
    }
}

fn put(
    state: &State,
    table: &TableRef,
    record: &Record,
    when: When,
    fit: Option<Fit<'_>>,
) -> Result<Result<Plan, Declined>, Error> {
    let known = state.records.get(table, &record.name);
    match when {
        When::There if known.is_none() => return Err(Error::not_found("record", &record.name)),
        When::At(revision) if known.map_or(0, |known| known.modify_revision) != revision => {
            return Ok(Err(Declined::Condition));
        }
        _ => {}
    }
    if known.is_some_and(|known| known.value == *record) {
        return Ok(Ok(Plan::nothing()));
    }
    for name in std::iter::once(&record.name).chain(&record.alias) {
        let taken = state.records.find(table, name).is_some_and(|other| other.value.name != record.name);
        if taken {
            return Err(Error::refused(format!("the name {name:?} is taken")));
        }
    }
    if known.is_none() && state.records.len(table) >= RECORDS_MAX {
        return Err(Error::Overloaded { what: "the table of records", max: RECORDS_MAX as u64 });
    }
    // The shared head comes first: those that write it take turns.
    let mut plan = Plan::nothing();
    if let Some(reason) = unfit(state, fit, &mut plan)? {
        return Ok(Err(Declined::Unfit(reason)));
    }
    touch(state, table, &mut plan)?;
    plan.put(keys::record(table, &record.name)?, record)?;
    if let Some(session) = &record.session {
        rely(state, &SessionRef::new(&*table.namespace, &**session), &record.name, &mut plan)?;
    }
    Ok(Ok(plan))
}

/// Writes the session anew, so that an end which was decided before does not overlook the record.
fn rely(state: &State, session: &SessionRef, name: &str, plan: &mut Plan) -> Result<(), Error> {
    let known = state.sessions.get(&session.namespace, &session.id);
    let known = known.ok_or_else(|| Error::not_found("session", &session.id))?;
    let others = state.records.of_session(session).filter(|record| record.name != name);
    if others.count() >= SESSION_RECORDS_MAX {
        let max = SESSION_RECORDS_MAX as u64;
        return Err(Error::Overloaded { what: "the session's list of records", max });
    }
    let key = keys::session(&session.namespace, &session.id)?;
    plan.expect(key.clone(), known.modify_revision);
    plan.put(key, &known.value)
}

/// Deletes the records that end with these sessions.
pub(crate) fn end_with_sessions<'a>(
    state: &State,
    sessions: impl Iterator<Item = &'a SessionRef>,
    plan: &mut Plan,
) -> Result<(), Error> {
    let mut tables = std::collections::BTreeSet::new();
    for record in sessions.flat_map(|session| state.records.of_session(session)) {
        if tables.insert(&record.table) {
            touch(state, &record.table, plan)?;
        }
        plan.delete(keys::record(&record.table, &record.name)?);
    }
    Ok(())
}

fn check_record(table: &TableRef, record: &Record) -> Result<(), Error> {
    for name in std::iter::once(&record.name).chain(&record.alias) {
        check_name(table, name)?;
    }
    let bytes = record.content.to_string().len();
    if bytes > RECORD_BYTES_MAX {
        let what = format!("{} {:?} in bytes", table.name, record.name);
        return Err(Error::TooLarge { what, max: RECORD_BYTES_MAX as u64, actual: bytes as u64 });
    }
    Ok(())
}

fn check_name(table: &TableRef, name: &str) -> Result<(), Error> {
    check_namespace(&table.namespace)?;
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if table.name.is_empty() || table.name.len() > 63 || !table.name.bytes().all(is_plain) {
        return Err(Error::invalid("table", "expected 1 to 63 lower-case letters, digits and dashes"));
    }
    if name.is_empty() || name.len() > RECORD_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let expected =
            format!("expected 1 to {RECORD_NAME_BYTES_MAX} bytes of text without control characters");
        return Err(Error::invalid("name", expected));
    }
    Ok(())
}
