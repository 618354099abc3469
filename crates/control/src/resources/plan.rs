//! The decision behind a change set: what changes, whether the result holds together, and how it is cut into stored
//! pieces. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_model::validate::{self, Bounded, FieldError};
use weir_model::{Resource, ResourceId};

use super::apply::{ChangeKind, ChangeRequest};
use super::set::ResourceSet;
use super::stored::{CheckpointEntry, CheckpointPart, Part};
use crate::bounds::{CHANGE_SET_BYTES_MAX, CHANGE_SET_PART_BYTES_MAX, MESSAGE_BYTES_MAX, RESOURCES_MAX};
use crate::{Error, Problem};

/// Most that is said of how a change set does not fit: each costs a look at all documents, and nobody reads more.
const PROBLEMS_MAX: usize = 100;

/// What a change set will do.
#[derive(Debug)]
pub(super) struct Difference {
    /// Every resource of the request, in its order, puts first.
    pub(super) changes: Vec<(ResourceId, ChangeKind)>,
    pub(super) puts: Vec<Resource>,
    pub(super) deletes: Vec<ResourceId>,
}

impl Difference {
    pub(super) fn count(&self, kind: ChangeKind) -> usize {
        self.changes.iter().filter(|(_, change)| *change == kind).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}

/// Judges a request against the resources in force.
pub(super) fn plan(set: &ResourceSet, request: &ChangeRequest) -> Result<Difference, Error> {
    for (path, text) in [("author", &request.author), ("message", &request.message)] {
        if text.len() > MESSAGE_BYTES_MAX {
            let what = format!("{path} in bytes");
            return Err(Error::TooLarge { what, max: MESSAGE_BYTES_MAX as u64, actual: text.len() as u64 });
        }
    }
    let difference = differ(set, request)?;
    let problems = judge(set, request);
    if problems.is_empty() { Ok(difference) } else { Err(Error::Rejected { problems }) }
}

fn differ(set: &ResourceSet, request: &ChangeRequest) -> Result<Difference, Error> {
    let mut difference = Difference { changes: Vec::new(), puts: Vec::new(), deletes: Vec::new() };
    let mut named = std::collections::BTreeSet::new();
    for resource in &request.puts {
        let id = resource.id();
        if !named.insert(id.clone()) {
            return Err(Error::invalid(id.to_string(), "is in the change set twice"));
        }
        let change = match set.get(&id) {
            None => ChangeKind::Created,
            Some(known) if known.resource == *resource => ChangeKind::Unchanged,
            Some(_) => ChangeKind::Updated,
        };
        if change != ChangeKind::Unchanged {
            difference.puts.push(resource.clone());
        }
        difference.changes.push((id, change));
    }
    for id in &request.deletes {
        if !named.insert(id.clone()) {
            return Err(Error::invalid(id.to_string(), "is in the change set twice"));
        }
        if set.get(id).is_none() {
            return Err(Error::NotFound { what: id.to_string() });
        }
        difference.deletes.push(id.clone());
        difference.changes.push((id.clone(), ChangeKind::Deleted));
    }
    Ok(difference)
}

/// Everything that is wrong with the state after the request.
fn judge(set: &ResourceSet, request: &ChangeRequest) -> Vec<Problem> {
    let problem = |id: &ResourceId, error: FieldError| Problem {
        resource: id.to_string(),
        path: error.path,
        reason: match error.expected {
            Some(expected) => format!("{}; expected {expected}", error.message),
            None => error.message,
        },
    };
    let mut problems = Vec::new();
    for resource in &request.puts {
        let id = resource.id();
        problems.extend(validate::validate(resource).into_iter().map(|error| problem(&id, error)));
    }
    let merged = merged(set, request);
    let together = validate::validate_set(merged.iter().copied());
    if !together.is_empty() {
        let known = || set.iter().map(|(_, entry)| &entry.resource);
        // What is there already is not this change's fault: what was applied under other rules must not stand in the way
        // of every later change.
        let before = validate::validate_set(known());
        // A number has no document of its own that was there already: it must not grow.
        let grows = |bounded: Bounded<'_>| bounded.count(merged.iter().copied()) > bounded.count(known());
        let by_id: BTreeMap<ResourceId, &Resource> =
            merged.iter().map(|resource| (resource.id(), *resource)).collect();
        let mut stood: BTreeMap<&ResourceId, Vec<&FieldError>> = BTreeMap::new();
        before.iter().for_each(|(id, fault)| stood.entry(id).or_default().push(fault));
        let is_brought = |(id, fault): &(ResourceId, FieldError)| {
            let resource = by_id.get(id).copied();
            let is_new = stood.get(id).is_none_or(|faults| !faults.contains(&fault));
            match resource.and_then(|resource| Bounded::of(resource, fault)) {
                Some(bounded @ Bounded::SharedLimits) => grows(bounded),
                Some(bounded @ Bounded::LimitsOf(..)) => is_new && grows(bounded),
                None => is_new,
            }
        };
        let brought = together.into_iter().filter(is_brought).take(PROBLEMS_MAX);
        problems.extend(brought.map(|(id, error)| problem(&id, error)));
    }
    if merged.len() > RESOURCES_MAX {
        problems.push(Problem {
            resource: "all".to_owned(),
            path: "the number of resources".to_owned(),
            reason: format!("is {}, more than the {RESOURCES_MAX} allowed", merged.len()),
        });
    }
    problems
}

/// The resources after the request: what is new comes last, so that it is said of this, and of nothing older, that it is too
/// much.
fn merged<'a>(set: &'a ResourceSet, request: &'a ChangeRequest) -> Vec<&'a Resource> {
    let mut known: BTreeMap<_, _> = set.iter().map(|(id, entry)| (id.clone(), &entry.resource)).collect();
    for id in &request.deletes {
        known.remove(id);
    }
    let mut new = BTreeMap::new();
    for resource in &request.puts {
        let id = resource.id();
        match known.get_mut(&id) {
            Some(before) => *before = resource,
            None => drop(new.insert(id, resource)),
        }
    }
    known.into_values().chain(new.into_values()).collect()
}

/// Cuts a change set's content into parts.
pub(super) fn parts(difference: &Difference) -> Result<Vec<Vec<u8>>, Error> {
    let puts =
        difference.puts.iter().cloned().map(|resource| Part { puts: vec![resource], deletes: Vec::new() });
    let deletes = difference.deletes.iter().cloned().map(|id| Part { puts: Vec::new(), deletes: vec![id] });
    cut(puts.chain(deletes), |into: &mut Part, mut from| {
        into.puts.append(&mut from.puts);
        into.deletes.append(&mut from.deletes);
    })
}

/// Cuts a whole state into parts.
pub(super) fn checkpoint(set: &ResourceSet) -> Result<Vec<Vec<u8>>, Error> {
    let entries = set.iter().map(|(_, entry)| CheckpointPart {
        resources: vec![CheckpointEntry {
            created_in: entry.created_in,
            changed_in: entry.changed_in,
            resource: entry.resource.clone(),
        }],
    });
    let mut parts =
        cut(entries, |into: &mut CheckpointPart, mut from| into.resources.append(&mut from.resources))?;
    if parts.is_empty() {
        // An empty state is a state too.
        parts.push(encode(&CheckpointPart::default())?);
    }
    Ok(parts)
}

/// Joins items into parts of at most [`CHANGE_SET_PART_BYTES_MAX`] each.
fn cut<T: Serialize + Default>(
    items: impl Iterator<Item = T>,
    join: impl Fn(&mut T, T),
) -> Result<Vec<Vec<u8>>, Error> {
    let mut parts = Vec::new();
    let mut open: Option<T> = None;
    let (mut open_bytes, mut all_bytes) = (0, 0);
    for item in items {
        let bytes = encode(&item)?.len();
        if bytes > CHANGE_SET_PART_BYTES_MAX {
            let what = "one resource in bytes".to_owned();
            return Err(Error::TooLarge {
                what,
                max: CHANGE_SET_PART_BYTES_MAX as u64,
                actual: bytes as u64,
            });
        }
        all_bytes += bytes;
        if open_bytes + bytes > CHANGE_SET_PART_BYTES_MAX
            && let Some(full) = open.take()
        {
            parts.push(encode(&full)?);
            open_bytes = 0;
        }
        open_bytes += bytes;
        match &mut open {
            Some(open) => join(open, item),
            None => open = Some(item),
        }
    }
    if let Some(last) = open {
        parts.push(encode(&last)?);
    }
    if all_bytes > CHANGE_SET_BYTES_MAX {
        let what = "the change set in bytes".to_owned();
        return Err(Error::TooLarge { what, max: CHANGE_SET_BYTES_MAX as u64, actual: all_bytes as u64 });
    }
    Ok(parts)
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::invalid("change set", error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::set::ResourceEntry;
    use super::*;

    fn resource(kind: &str, name: &str, spec: &serde_json::Value) -> Resource {
        let json =
            json!({"apiVersion": "weir.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_is_there_already_stands_in_the_way_of_no_change_but_its_own_kind() {
        let policy = |name: &str| resource("TrafficPolicy", name, &json!({"targetRefs": [{"name": "cart"}]}));
        // An older version let both be applied.
        let entries = [policy("a"), policy("b")]
            .map(|resource| Arc::new(ResourceEntry { resource, created_in: 1, changed_in: 1 }));
        let set = ResourceSet::new(entries);
        let problems = |puts: Vec<Resource>| {
            let found = judge(&set, &ChangeRequest { puts, ..ChangeRequest::default() });
            found.iter().map(|one| format!("{} {}", one.resource, one.path)).collect::<Vec<_>>()
        };
        assert_eq!(problems(vec![resource("Service", "cart", &json!({}))]), [""; 0]);
        assert_eq!(problems(vec![policy("c")]), ["TrafficPolicy/c spec.targetRefs[0]"]);
    }

    #[test]
    fn no_more_is_said_than_anybody_reads() {
        let policy = |at: usize, kind: &str| {
            let spec = json!({"targetRefs": [{"name": format!("s{at}")}]});
            resource("TrafficPolicy", &format!("{kind}{at}"), &spec)
        };
        let all = (0..PROBLEMS_MAX + 5).map(|at| policy(at, "a"));
        let set = ResourceSet::new(
            all.map(|resource| Arc::new(ResourceEntry { resource, created_in: 1, changed_in: 1 })),
        );
        let puts = (0..PROBLEMS_MAX + 5).map(|at| policy(at, "b")).collect();
        let found = judge(&set, &ChangeRequest { puts, ..ChangeRequest::default() });
        assert_eq!(found.len(), PROBLEMS_MAX);
    }

    #[test]
    fn a_target_with_too_many_limits_already_gets_no_more() {
        let limit = |name: &str, target: &str| {
            let spec = json!({"targetRefs": [{"name": target}], "rates": [{"requests": 1}]});
            resource("RateLimit", name, &spec)
        };
        // Two more than there may be.
        let all = (0..validate::LIMITS_MAX + 2).map(|at| limit(&format!("l{at}"), "cart"));
        let set = ResourceSet::new(
            all.map(|resource| Arc::new(ResourceEntry { resource, created_in: 1, changed_in: 1 })),
        );
        let problems = |puts: Vec<Resource>, deletes: &[&str]| {
            let deletes = deletes.iter().map(|name| limit(name, "cart").id()).collect();
            let found = judge(&set, &ChangeRequest { puts, deletes, ..ChangeRequest::default() });
            found.iter().map(|one| format!("{} {}", one.resource, one.path)).collect::<Vec<_>>()
        };
        for name in ["z", "a"] {
            let found = problems(vec![limit(name, "cart")], &[]);
            assert_eq!(found, [format!("RateLimit/{name} spec.targetRefs[0]")]);
        }
        assert!(!problems(vec![limit("a", "cart"), limit("b", "cart")], &["l0"]).is_empty());
        // As many, or fewer, stand in nobody's way, and nor do others'.
        assert_eq!(problems(vec![limit("a", "cart")], &["l0"]), [""; 0]);
        assert_eq!(problems(vec![limit("l1", "cart")], &[]), [""; 0]);
        assert_eq!(problems(vec![limit("l1", "shop")], &[]), [""; 0]);
        assert_eq!(problems(vec![limit("a", "shop")], &["l6"]), [""; 0]);
    }

    #[test]
    fn limits_that_are_too_many_already_become_no_more() {
        let limit = |name: &str, targets: usize| {
            let targets: Vec<_> = (0..targets).map(|at| json!({"name": format!("{name}-{at}")})).collect();
            let spec = json!({"targetRefs": targets, "algorithm": "token_bucket", "rates": [{"requests": 1}], "scope": "global"});
            resource("RateLimit", name, &spec)
        };
        // An older version let all of them be applied: one more than there may be.
        let each = 16;
        let count = validate::SHARED_LIMITS_MAX / each;
        let all = (0..count).map(|at| limit(&format!("l{at:04}"), each)).chain([limit("n", 1)]);
        let set = ResourceSet::new(
            all.map(|resource| Arc::new(ResourceEntry { resource, created_in: 1, changed_in: 1 })),
        );
        let problems = |puts: Vec<Resource>, deletes: Vec<ResourceId>| {
            let found = judge(&set, &ChangeRequest { puts, deletes, ..ChangeRequest::default() });
            found.iter().map(|one| one.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(problems(vec![limit("z", 1)], vec![]), ["spec.scope"]);
        assert_eq!(problems(vec![limit("a", 1)], vec![]), ["spec.scope"]);
        assert_eq!(problems(vec![limit("n", 2)], vec![]), ["spec.scope"]);
        // As many, or fewer, stand in nobody's way.
        assert_eq!(problems(vec![limit("n", 1)], vec![]), [""; 0]);
        assert_eq!(problems(vec![limit("a", 1)], vec![limit("n", 1).id()]), [""; 0]);
        assert_eq!(problems(vec![], vec![limit("n", 1).id()]), [""; 0]);
        assert_eq!(problems(vec![limit("l0000", 1)], vec![]), [""; 0]);
    }
}
