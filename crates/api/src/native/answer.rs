//! Answers to changes, and errors.

use serde::{Deserialize, Serialize};
use weir_model::{Position, ResourceId};

/// Everything that is wrong with a request. Sent with every status of 400 and above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What is wrong, at least one.
    pub errors: Vec<Problem>,
}

/// One thing that is wrong, said so that it can be mended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file or other text it was found in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The line in that text, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The field, as in `spec.rules[0].backendRefs[1].weight`, or the parameter or header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was probably meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Problem {
    /// A problem that has nothing but a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// The same problem, at a field.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The same problem, with what would be right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }
}

impl std::fmt::Display for Problem {
    /// `shop.yaml:7: spec.rules[0]: message (expected ...; did you mean ...?)`, without the parts that are absent.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        } else if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(path) = self.path.as_deref().filter(|path| !path.is_empty()) {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)?;
        match (&self.expected, &self.suggestion) {
            (Some(expected), Some(suggestion)) => {
                write!(f, " (expected {expected}; did you mean `{suggestion}`?)")
            }
            (Some(expected), None) => write!(f, " (expected {expected})"),
            (None, Some(suggestion)) => write!(f, " (did you mean `{suggestion}`?)"),
            (None, None) => Ok(()),
        }
    }
}

/// The answer to `apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The position at which the change is in force; where it would have been checked against, for a dry run.
    pub position: Position,
    /// The change set that was written; absent for a dry run and when nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_set: Option<u64>,
    /// Whether this was only a rehearsal.
    pub dry_run: bool,
    /// What became of each resource, in the order of the documents.
    pub changes: Vec<(ResourceId, Change)>,
    /// Fields that were understood but have no meaning here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<IgnoredField>,
    /// What is legal and will most likely not work as it stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// What is most likely not as it was meant. Never a refusal: the missing part may come later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The resource it is about, as `Kind/name`.
    pub resource: String,
    /// The field; empty for the whole resource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What will not work, and what to do.
    pub message: String,
}

impl std::fmt::Display for Warning {
    /// `HTTPRoute/shop: spec.parentRefs[0].name: message`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.resource)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// What became of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Created,
    /// It replaced an older version.
    Updated,
    /// It was already like this.
    Unchanged,
    /// It is gone.
    Deleted,
}

impl Change {
    /// The word that people read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        }
    }
}

/// A field that was left out of account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredField {
    /// The text it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The line in that text, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The field.
    pub path: String,
}

/// The answer to a deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The position at which it is gone.
    pub position: Position,
    /// The change set that was written; absent for what is not a declared resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_set: Option<u64>,
    /// What was deleted, by name.
    pub deleted: Vec<String>,
}

/// A list, with the position at which it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct List<T> {
    /// What the list shows the state of.
    pub position: Position,
    /// The members, sorted by name.
    pub items: Vec<T>,
}

/// A list that is gathered over the replicas of a control plane. Who reads it as a [`List`] misses only who is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gathered<T> {
    /// What the answering replica shows the state of.
    pub position: Position,
    /// The members, sorted by name.
    pub items: Vec<T>,
    /// Addresses of replicas that did not answer: what only they know is not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What proxies have reported last, gathered over the replicas of a control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportsAnswer {
    /// What the answering replica shows the state of.
    pub position: Position,
    /// How many proxies are connected, those that have not reported included.
    #[serde(default)]
    pub proxies: u64,
    /// The reports, by the id of the proxy.
    pub items: Vec<crate::report::ProxyReport>,
    /// Addresses of replicas that did not answer: the reports of their proxies are not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// Where the server stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionAnswer {
    /// What the catalog has applied.
    pub position: Position,
}

/// The answer to heartbeats that were passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardAnswer {
    /// How many were of checks that are known.
    pub heard: u64,
}

/// The leases on shares of limits, in the order in which they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasesAnswer {
    /// One for each that was asked for.
    pub leases: Vec<LeaseAnswer>,
}

/// A lease on a share of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseAnswer {
    /// Its number; 0: there is none now.
    pub number: u64,
    /// How much of the limit, in millionths.
    pub parts: u32,
    /// How long it lasts, from when it was asked for.
    pub ttl_ms: u32,
    /// How many share the limit; 0: not known.
    pub holders: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_read_like_a_compilers() {
        let mut problem = Problem::new("unknown field `weigth`").at("spec.rules[0]");
        problem.source = Some("shop.yaml".into());
        problem.line = Some(7);
        problem.suggestion = Some("weight".into());
        assert_eq!(
            problem.to_string(),
            "shop.yaml:7: spec.rules[0]: unknown field `weigth` (did you mean `weight`?)"
        );
        assert_eq!(Problem::new("no").expected("yes").to_string(), "no (expected yes)");
    }
}
