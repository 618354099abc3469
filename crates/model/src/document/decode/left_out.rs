//! Goes on after a fault: what could not be read is left out, and the rest is read again, so that all faults are found in one
//! go.
//!
//! A type that is read field by field gives up at the first one that it cannot read, and there is nothing to put in its place.
//! But a document without that field can be read from the beginning; that the field is missing then is no fault of its own:
//! what it stood in is left out in turn.

use std::cell::RefCell;
use std::collections::HashSet;

use super::Fault;
use crate::document::ERRORS_MAX;
use crate::document::node::{Node, push_key};

/// Most times that a document is read: each of its faults takes one, and one more for each thing that its field is needed by.
const PASSES_MAX: usize = 4 * ERRORS_MAX;

/// Most values that are read for one document in all its passes, however large it is; the first pass reads it whole.
const VALUES_READ_MAX: usize = 8_000_000;

/// How often a document may be read.
pub(super) fn passes(node: &Node) -> usize {
    (VALUES_READ_MAX / node.size().0.max(1)).clamp(1, PASSES_MAX)
}

/// The paths of what is left out.
#[derive(Default)]
pub(super) struct LeftOut(RefCell<HashSet<String>>);

impl LeftOut {
    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Whether what stands at the path is.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.borrow().contains(path)
    }

    /// Whether the fault is only that a field is missing which was left out.
    pub(super) fn explains(&self, fault: &Fault) -> bool {
        let Some(field) = &fault.missing else { return false };
        let mut path = fault.path.clone();
        push_key(&mut path, field.0);
        self.has(&path)
    }

    /// Leaves out where a fault is, or what that stands in where it was left out before. Tells whether there is anything left
    /// to read below the root, whose path is so long.
    pub(super) fn add(&self, fault: &Fault, root: usize) -> bool {
        let mut path = fault.path.as_str();
        while self.has(path) {
            path = parent(path);
        }
        path.len() > root && self.0.borrow_mut().insert(path.to_owned())
    }
}

/// The path of what a value stands in; always shorter.
fn parent(path: &str) -> &str {
    let end = match path {
        _ if path.ends_with("\"]") => path.rfind("[\""),
        _ if path.ends_with(']') => path.rfind('['),
        _ => path.rfind('.'),
    };
    &path[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_in_what_its_path_says() {
        let check = |path: &str, expected: &str| assert_eq!(parent(path), expected, "{path}");
        check("spec.rules[0].name", "spec.rules[0]");
        check("spec.rules[0]", "spec.rules");
        check("labels[\"a.b\"]", "labels");
        check("spec", "");
        check("", "");
    }
}
