//! What a proxy had in force, as bytes: for the next start on this machine, and for the process that takes over.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_api::snapshot::{SNAPSHOT_FORMAT, SnapshotInputs};
use weir_model::{Resource, ResourceId};

use crate::snapshot::Inputs;

/// A state to keep.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// What is in force.
    pub(super) inputs: Inputs,
    /// Resources that are asked for and refused, and of which nothing is in force: what is refused today, such as a port
    /// that is taken, may do tomorrow. They must not be mixed with what is in force, for they may stand in its way.
    pub(super) refused: Vec<Arc<Resource>>,
    /// Resources in force of which only a part is: a part of their next version is worth as much.
    pub(super) in_part: BTreeSet<ResourceId>,
    /// Whether that is all the control plane has sent: nothing was refused. Only then may a stream be resumed from its
    /// position.
    pub(super) complete: bool,
}

/// The form of the bytes: the shared form of inputs, and what is beside them.
#[derive(Serialize, Deserialize)]
struct Form {
    #[serde(default)]
    complete: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<Resource>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    in_part: BTreeSet<ResourceId>,
    #[serde(flatten)]
    inputs: SnapshotInputs,
}

/// Why a kept state cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    #[error("it has format {0}, and this binary reads up to {SNAPSHOT_FORMAT}")]
    Format(u32),
}

impl Kept {
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let form = Form {
            complete: self.complete,
            refused: self.refused.iter().map(|resource| Resource::clone(resource)).collect(),
            in_part: self.in_part.clone(),
            inputs: SnapshotInputs::from(&self.inputs),
        };
        Ok(serde_json::to_vec(&form)?)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        // The format first: a later one may have any shape.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(bytes)?;
        if head.format > SNAPSHOT_FORMAT {
            return Err(LoadError::Format(head.format));
        }
        let form: Form = serde_json::from_slice(bytes)?;
        Ok(Self {
            inputs: form.inputs.into(),
            refused: form.refused.into_iter().map(Arc::new).collect(),
            in_part: form.in_part,
            complete: form.complete,
        })
    }
}
