//! What files define, and what they defined at the last start: what they do not define any more is deregistered. What was
//! registered by requests stays until somebody deregisters it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_control::Control;
use weir_control::catalog::{CheckRef, InstanceRef};
use weir_edge::consul::ConsulApi;

use super::{Definitions, Scripts};
use crate::exit::{Exit, Failure};

/// The file in the data directory that says what files defined.
const FILE: &str = "defined.json";

/// Namespaces and ids.
type Names = BTreeSet<(String, String)>;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Defined {
    services: Names,
    checks: Names,
}

/// Registers what the files define and deregisters what they defined before. What they defined is kept in `data_dir`.
///
/// # Errors
/// When a definition is wrong: with its place, and nothing is served.
pub(crate) async fn define(
    definitions: &Definitions,
    scripts: Scripts,
    data_dir: Option<&Path>,
    control: &Control,
    api: &ConsulApi,
) -> Result<(), Failure> {
    let (scripts, node) = (scripts != Scripts::Off, &*control.settings().node_name);
    let mut defined = Defined::default();
    let wrong = |place: &str, reason: String| {
        Failure::new(Exit::Invalid, format!("{place}: {reason}")).hint("mend the definition")
    };
    for (place, map) in &definitions.services {
        let name = api.define_service(map, scripts).await.map_err(|reason| wrong(place, reason))?;
        if !defined.services.insert((name.namespace, name.id.clone())) {
            return Err(wrong(place, format!("the id {:?} is defined twice", name.id)));
        }
    }
    for (place, map) in &definitions.checks {
        let name = api.define_check(map, scripts).await.map_err(|reason| wrong(place, reason))?;
        if !defined.checks.insert((name.namespace, name.id.clone())) {
            return Err(wrong(place, format!("the id {:?} is defined twice", name.id)));
        }
    }
    let Some(dir) = data_dir else { return Ok(()) };
    let before = load(dir);
    for (namespace, id) in before.services.difference(&defined.services) {
        // What is not there any more needs no deregistration.
        let _ = control.deregister_instance(&InstanceRef::new(&**namespace, node, &**id)).await;
    }
    for (namespace, id) in before.checks.difference(&defined.checks) {
        let _ = control.deregister_check(&CheckRef::new(&**namespace, node, &**id)).await;
    }
    if defined != before {
        save(dir, &defined)?;
    }
    Ok(())
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// What was defined; nothing, where that is not known.
fn load(dir: &Path) -> Defined {
    let text = fs::read_to_string(path(dir)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn save(dir: &Path, defined: &Defined) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::CannotStart, format!("cannot use the data directory {}: {error}", dir.display()))
    };
    let text = serde_json::to_string(defined).map_err(|error| failed(&error))?;
    let aside = dir.join(format!("{FILE}.new"));
    fs::write(&aside, text).map_err(|error| failed(&error))?;
    fs::rename(&aside, path(dir)).map_err(|error| failed(&error))
}
