//! Operations on keys in a transaction.

use weir_model::Revision;

use super::commands::check_key;
use super::draft::{Content, Draft, NotLocked, Seen};
use crate::Error;
use crate::bounds::KV_VALUE_BYTES_MAX;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVerb {
    /// Sets the key.
    Set,
    /// Sets the key if it was last changed at `revision`; 0: if it is not there.
    SetIf,
    /// Sets the key and locks it for `session`.
    Lock,
    /// Sets the key and releases it, if `session` holds it.
    Unlock,
    /// Reads the key, which must be there.
    Get,
    /// Reads the key, which may be missing.
    GetOrEmpty,
    /// Reads all keys that start so.
    GetTree,
    /// Fails unless the key was last changed at `revision`.
    CheckIndex,
    /// Fails unless `session` holds the key.
    CheckSession,
    /// Fails if the key is there.
    CheckAbsent,
    /// Deletes the key.
    Delete,
    /// Deletes the key if it was last changed at `revision`.
    DeleteIf,
    /// Deletes all keys that start so.
    DeleteTree,
}

impl KvVerb {
    /// Whether it writes.
    pub const fn writes(self) -> bool {
        use KvVerb as V;
        matches!(self, V::Set | V::SetIf | V::Lock | V::Unlock | V::Delete | V::DeleteIf | V::DeleteTree)
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub struct KvOp {
    /// What it does.
    pub verb: KvVerb,
    /// To which key, or to keys that start how.
    pub key: String,
    /// The value to set.
    pub value: Vec<u8>,
    /// The application's own number to set.
    pub flags: u64,
    /// The revision it compares with.
    pub revision: Revision,
    /// The session it is about.
    pub session: String,
}

/// A key that an operation read or wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvResult {
    /// The key.
    pub key: String,
    /// Its value, if it was asked for.
    pub value: Option<Vec<u8>>,
    /// The application's own number.
    pub flags: u64,
    /// How often it was locked.
    pub lock_index: u64,
    /// The session that holds it.
    pub session: Option<String>,
    /// The revision that created it; 0 if it is not there.
    pub create_revision: Revision,
    /// The revision that last changed it; 0 if it is not there.
    pub modify_revision: Revision,
}

/// Why an operation cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvFault {
    /// It names no key.
    NoKey,
    /// It names no session.
    NoSession,
    /// There is no such session.
    UnknownSession,
    /// The key is not there.
    Missing,
    /// The key is there.
    Exists,
    /// The key was last changed at this revision.
    Revision(Revision),
    /// This session holds the key, or none.
    Session(Option<String>),
    /// The key's last session ended a short while ago.
    Delayed,
    /// More keys than [`KV_TXN_KEYS_MAX`](crate::bounds::KV_TXN_KEYS_MAX) start so, or a session that is to end holds more than
    /// [`SESSION_END_KEYS_MAX`](crate::bounds::SESSION_END_KEYS_MAX).
    TooManyKeys,
}

/// A result whose revisions may be those of the transaction itself.
pub(crate) struct Pending {
    result: KvResult,
    created: bool,
    changed: bool,
}

/// Refuses an operation whose value or key is too long.
pub(crate) fn check_op(namespace: &str, op: &KvOp) -> Result<(), Error> {
    check_value(&op.key, &op.value)?;
    if op.key.is_empty() { Ok(()) } else { check_key(namespace, &op.key) }
}

impl Pending {
    /// The result, once the transaction has a revision.
    pub(crate) fn at(self, revision: Revision) -> KvResult {
        let mut result = self.result;
        if self.created {
            result.create_revision = revision;
        }
        if self.changed {
            result.modify_revision = revision;
        }
        result
    }
}

/// Does one operation; what it read or wrote.
pub(crate) fn step<'a>(draft: &mut Draft<'a>, op: &'a KvOp) -> Result<Vec<Pending>, KvFault> {
    let content = Content { value: &op.value, flags: op.flags };
    let key = op.key.as_str();
    let whole_tree = matches!(op.verb, KvVerb::GetTree | KvVerb::DeleteTree);
    if key.is_empty() && !whole_tree {
        return Err(KvFault::NoKey);
    }
    match op.verb {
        KvVerb::Set => draft.set(key, content),
        KvVerb::SetIf => {
            if !draft.set_if(key, op.revision, content) {
                return Err(KvFault::Revision(revision(draft, key)));
            }
        }
        KvVerb::Lock => lock(draft, op, content)?,
        KvVerb::Unlock if op.session.is_empty() => return Err(KvFault::NoSession),
        KvVerb::Unlock => {
            if !draft.unlock(key, &op.session, content) {
                return Err(KvFault::Session(session(draft, key)));
            }
        }
        KvVerb::Get => {
            draft.look(key).ok_or(KvFault::Missing)?;
        }
        KvVerb::GetOrEmpty => {
            draft.look(key);
        }
        KvVerb::CheckIndex => {
            draft.look(key).ok_or(KvFault::Missing)?;
            if revision(draft, key) != op.revision {
                return Err(KvFault::Revision(revision(draft, key)));
            }
        }
        KvVerb::CheckSession => {
            draft.look(key).ok_or(KvFault::Missing)?;
            if session(draft, key).unwrap_or_default() != op.session {
                return Err(KvFault::Session(session(draft, key)));
            }
        }
        KvVerb::CheckAbsent => return draft.look(key).map_or(Ok(Vec::new()), |_| Err(KvFault::Exists)),
        KvVerb::Delete => {
            draft.delete(key);
            return Ok(Vec::new());
        }
        KvVerb::DeleteIf => {
            if !draft.is_at(key, op.revision) {
                return Err(KvFault::Revision(revision(draft, key)));
            }
            draft.delete(key);
            return Ok(Vec::new());
        }
        KvVerb::GetTree => {
            let keys = draft.list(key).ok_or(KvFault::TooManyKeys)?;
            return Ok(keys.iter().map(|key| pending(key, draft.look(key), true)).collect());
        }
        KvVerb::DeleteTree => {
            let keys = draft.list(key).ok_or(KvFault::TooManyKeys)?;
            keys.iter().for_each(|key| draft.delete(key));
            return Ok(Vec::new());
        }
    }
    let with_value = matches!(op.verb, KvVerb::Get | KvVerb::GetOrEmpty);
    Ok(vec![pending(key, draft.peek(key), with_value)])
}

fn lock<'a>(draft: &mut Draft<'a>, op: &'a KvOp, content: Content<'a>) -> Result<(), KvFault> {
    if op.session.is_empty() {
        return Err(KvFault::NoSession);
    }
    match draft.lock(&op.key, &op.session, content) {
        Err(_) => Err(KvFault::UnknownSession),
        Ok(Err(NotLocked::Delayed)) => Err(KvFault::Delayed),
        Ok(Err(NotLocked::Held)) => Err(KvFault::Session(session(draft, &op.key))),
        Ok(Ok(())) => Ok(()),
    }
}

fn revision(draft: &mut Draft<'_>, key: &str) -> Revision {
    draft.look(key).and_then(|seen| seen.modify_revision).unwrap_or_default()
}

fn session(draft: &mut Draft<'_>, key: &str) -> Option<String> {
    draft.look(key)?.header.session.as_ref().map(ToString::to_string)
}

fn pending(key: &str, seen: Option<&Seen<'_>>, with_value: bool) -> Pending {
    let (created, changed) =
        seen.map_or((false, false), |seen| (seen.create_revision.is_none(), seen.modify_revision.is_none()));
    let result = KvResult {
        key: key.to_owned(),
        value: seen.filter(|_| with_value).map(|seen| seen.value.to_vec()),
        flags: seen.map_or(0, |seen| seen.header.flags),
        lock_index: seen.map_or(0, |seen| seen.header.lock_index),
        session: seen.and_then(|seen| seen.header.session.as_ref().map(ToString::to_string)),
        create_revision: seen.and_then(|seen| seen.create_revision).unwrap_or_default(),
        modify_revision: seen.and_then(|seen| seen.modify_revision).unwrap_or_default(),
    };
    Pending { result, created, changed }
}

/// Refuses a value that is too long.
pub(super) fn check_value(key: &str, value: &[u8]) -> Result<(), Error> {
    if value.len() <= KV_VALUE_BYTES_MAX {
        return Ok(());
    }
    let what = format!("the value of {key:?} in bytes");
    Err(Error::TooLarge { what, max: KV_VALUE_BYTES_MAX as u64, actual: value.len() as u64 })
}
