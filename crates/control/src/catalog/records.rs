//! The catalog's tables of records with their indexes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use weir_model::Revision;

use super::effects::Effects;
use super::entry::Versioned;
use super::topic::{Tombstones, Topic};
use crate::bounds::RECORD_TOMBSTONES_MAX;
use crate::records::{Head, RecordEntry, RecordRef, TableRef};
use crate::session::SessionRef;

#[derive(Default)]
struct Table {
    head: Option<Versioned<Head>>,
    records: BTreeMap<String, Arc<RecordEntry>>,
    /// Names by the other names.
    aliases: BTreeMap<String, String>,
}

pub(crate) struct Records {
    tables: BTreeMap<TableRef, Table>,
    by_session: HashMap<SessionRef, BTreeSet<RecordRef>>,
    gone: Tombstones<RecordRef>,
}

impl Records {
    pub(crate) fn new(floor: Revision) -> Self {
        Self {
            tables: BTreeMap::new(),
            by_session: HashMap::new(),
            gone: Tombstones::new(RECORD_TOMBSTONES_MAX, floor),
        }
    }

    pub(crate) fn get(&self, table: &TableRef, name: &str) -> Option<&Arc<RecordEntry>> {
        self.tables.get(table)?.records.get(name)
    }

    /// A record by either name.
    pub(crate) fn find(&self, table: &TableRef, name: &str) -> Option<&Arc<RecordEntry>> {
        let table = self.tables.get(table)?;
        table.records.get(name).or_else(|| table.records.get(table.aliases.get(name)?))
    }

    /// A table's records, by name.
    pub(crate) fn list(&self, table: &TableRef) -> impl Iterator<Item = &Arc<RecordEntry>> {
        self.tables.get(table).into_iter().flat_map(|table| table.records.values())
    }

    pub(crate) fn len(&self, table: &TableRef) -> usize {
        self.tables.get(table).map_or(0, |table| table.records.len())
    }

    /// How often a table was written.
    pub(crate) fn written(&self, table: &TableRef) -> u64 {
        self.head(table).map_or(0, |head| head.value.written)
    }

    /// The revision at which it was last written; 0 if never.
    pub(crate) fn head_revision(&self, table: &TableRef) -> Revision {
        self.head(table).map_or(0, |head| head.modify_revision)
    }

    fn head(&self, table: &TableRef) -> Option<&Versioned<Head>> {
        self.tables.get(table)?.head.as_ref()
    }

    /// The records that end with a session.
    pub(crate) fn of_session(&self, session: &SessionRef) -> impl Iterator<Item = &RecordRef> {
        self.by_session.get(session).into_iter().flatten()
    }

    /// All tables with the revisions of their heads.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (&TableRef, Revision)> {
        self.tables.iter().filter_map(|(name, table)| Some((name, table.head.as_ref()?.modify_revision)))
    }

    /// All records with their tables.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&TableRef, &Arc<RecordEntry>)> {
        self.tables.iter().flat_map(|(name, table)| table.records.values().map(move |entry| (name, entry)))
    }

    pub(crate) fn put_head(&mut self, table: &TableRef, head: Versioned<Head>, effects: &mut Effects) {
        self.tables.entry(table.clone()).or_default().head = Some(head);
        effects.touch(|| Topic::Table(table.clone()));
    }

    pub(crate) fn delete_head(&mut self, table: &TableRef, effects: &mut Effects) {
        if let Some(slot) = self.tables.get_mut(table) {
            slot.head = None;
            if slot.records.is_empty() {
                self.tables.remove(table);
            }
            effects.touch(|| Topic::Table(table.clone()));
        }
    }

    pub(crate) fn put(&mut self, table: &TableRef, entry: RecordEntry, effects: &mut Effects) {
        self.forget(table, &entry.value.name);
        let name = table.record(&*entry.value.name);
        self.gone.revive(&name);
        if let Some(session) = session_of(table, &entry) {
            self.by_session.entry(session).or_default().insert(name.clone());
        }
        let slot = self.tables.entry(table.clone()).or_default();
        if let Some(alias) = &entry.value.alias {
            slot.aliases.insert(alias.clone(), name.name.clone());
        }
        slot.records.insert(name.name.clone(), Arc::new(entry));
        effects.touch(|| Topic::Record(name));
    }

    pub(crate) fn delete(&mut self, table: &TableRef, name: &str, effects: &mut Effects) {
        if self.forget(table, name) {
            self.gone.bury(table.record(name), effects.revision());
            effects.touch(|| Topic::Record(table.record(name)));
        }
    }

    /// Takes a record out, if it is there.
    fn forget(&mut self, table: &TableRef, name: &str) -> bool {
        let Some(slot) = self.tables.get_mut(table) else { return false };
        let Some(entry) = slot.records.remove(name) else { return false };
        if let Some(alias) = &entry.value.alias
            && slot.aliases.get(alias).is_some_and(|owner| owner == name)
        {
            slot.aliases.remove(alias);
        }
        if let Some(session) = session_of(table, &entry)
            && let Some(records) = self.by_session.get_mut(&session)
        {
            records.remove(&table.record(name));
            if records.is_empty() {
                self.by_session.remove(&session);
            }
        }
        true
    }

    /// No answer's index lies below it.
    pub(crate) fn floor(&self) -> Revision {
        self.gone.floor()
    }

    pub(crate) fn table_index(&self, table: &TableRef) -> Revision {
        self.head(table).map_or(self.gone.floor(), |head| head.modify_revision)
    }

    pub(crate) fn index(&self, record: &RecordRef) -> Revision {
        let entry = self.get(&record.table, &record.name);
        entry.map_or_else(|| self.gone.index(record), |entry| entry.modify_revision)
    }
}

fn session_of(table: &TableRef, entry: &RecordEntry) -> Option<SessionRef> {
    entry.value.session.as_ref().map(|session| SessionRef::new(&*table.namespace, &**session))
}
