//! What files define, and what they defined when they were last read: what they do not define any more is deregistered. What was
//! registered by requests stays until somebody deregisters it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use weir_control::Control;
use weir_control::catalog::{CheckRef, InstanceRef};
use weir_edge::consul::{ConsulApi, judge_check, judge_service};
use weir_edge::http::{Request, Response, Route, Router};
use weir_model::registry::{CheckDefinition, CheckKind};

use super::{Definitions, Scripts, Source};
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

/// Registers what files define: at the start, and again whenever somebody asks for it.
pub(crate) struct Definer {
    source: Source,
    scripts: Scripts,
    data_dir: Option<PathBuf>,
    control: Arc<Control>,
    api: Arc<ConsulApi>,
    /// What was defined last. Held while it changes, so that two who ask are served one after the other.
    defined: Mutex<Defined>,
}

impl Definer {
    /// For the own node of a registry. What is defined is kept in `data_dir`, where there is one.
    pub(crate) fn new(
        source: Source,
        scripts: Scripts,
        data_dir: Option<PathBuf>,
        control: Arc<Control>,
        api: Arc<ConsulApi>,
    ) -> Self {
        let defined = Mutex::new(data_dir.as_deref().map(load).unwrap_or_default());
        Self { source, scripts, data_dir, control, api, defined }
    }

    /// Reads the files, registers what they define, and deregisters what they defined before.
    ///
    /// # Errors
    /// When a file cannot be read or a definition is wrong, with its place: then nothing is registered or deregistered. Where
    /// one does not fit what is there, what stands before it is registered.
    pub(crate) async fn define(&self) -> Result<(), Failure> {
        let mut before = self.defined.lock().await;
        let definitions = read(&self.source, self.scripts)?;
        let mut defined = Defined::default();
        if let Err(failure) = self.register(&definitions, &mut defined).await {
            // What is registered by now is the files', and goes once they do not define it.
            defined.services.extend(before.services.iter().cloned());
            defined.checks.extend(before.checks.iter().cloned());
            self.keep(&mut before, defined)?;
            return Err(failure);
        }
        let node = &*self.control.settings().node_name;
        for (namespace, id) in before.services.difference(&defined.services) {
            // What is not there any more needs no deregistration.
            let name = InstanceRef::new(&**namespace, node, &**id);
            let _ = self.control.deregister_instance(&name).await;
        }
        for (namespace, id) in before.checks.difference(&defined.checks) {
            let _ = self.control.deregister_check(&CheckRef::new(&**namespace, node, &**id)).await;
        }
        self.forget_programs(&defined).await;
        self.keep(&mut before, defined)
    }

    fn keep(&self, before: &mut Defined, defined: Defined) -> Result<(), Failure> {
        if let Some(dir) = self.data_dir.as_deref().filter(|_| defined != *before) {
            save(dir, &defined)?;
        }
        *before = defined;
        Ok(())
    }

    /// Deregisters checks that are programs and were registered by requests when that was allowed, where it is not now.
    async fn forget_programs(&self, defined: &Defined) {
        if self.scripts == Scripts::On {
            return;
        }
        let node = &self.control.settings().node_name;
        let Some(view) = self.control.catalog().node_view(node).entries else { return };
        for check in view.checks() {
            let check = &check.value;
            let is_program =
                |definition: &CheckDefinition| matches!(definition.kind, CheckKind::Script { .. });
            let name = (check.namespace.clone(), check.id.clone());
            if check.definition.as_ref().is_some_and(is_program) && !defined.checks.contains(&name) {
                tracing::warn!(check = check.id, "it is a program that no file defines, deregistered");
                let _ = self.control.deregister_check(&CheckRef::of(check)).await;
            }
        }
    }

    /// Registers all that is defined; what is registered by now is in `defined`, also when this fails.
    async fn register(&self, definitions: &Definitions, defined: &mut Defined) -> Result<(), Failure> {
        let scripts = self.scripts != Scripts::Off;
        for (place, map) in &definitions.services {
            let (name, checks) =
                self.api.define_service(map, scripts).await.map_err(|reason| wrong(place, &reason))?;
            if !defined.services.insert((name.namespace, name.id.clone())) {
                return Err(wrong(place, &format!("the id {:?} is defined twice", name.id)));
            }
            for check in checks {
                if !defined.checks.insert((check.namespace, check.id.clone())) {
                    return Err(wrong(place, &format!("the id {:?} is defined twice", check.id)));
                }
            }
        }
        for (place, map) in &definitions.checks {
            let name = self.api.define_check(map, scripts).await.map_err(|reason| wrong(place, &reason))?;
            if !defined.checks.insert((name.namespace, name.id.clone())) {
                return Err(wrong(place, &format!("the id {:?} is defined twice", name.id)));
            }
        }
        Ok(())
    }

    /// Defines anew at each SIGHUP.
    pub(crate) async fn define_at_hangups(&self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        while hangup.recv().await.is_some() {
            // What came of it is in the log.
            let _ = self.define_anew("SIGHUP").await;
        }
    }

    /// Defines anew, and says in the log what came of it. `asked` is who wanted it.
    async fn define_anew(&self, asked: &str) -> Result<(), Failure> {
        let defined = self.define().await;
        match &defined {
            Ok(()) => tracing::info!("{asked}: the definitions were read anew"),
            Err(failure) => {
                tracing::error!(error = failure.message, "{asked}: the definitions are not in force");
            }
        }
        defined
    }

    /// Adds `PUT /v1/agent/reload`, which defines anew.
    pub(crate) fn mount(self: &Arc<Self>, router: &mut Router) {
        let definer = Arc::clone(self);
        let reload = move |_: Request| {
            let definer = Arc::clone(&definer);
            async move {
                match definer.define_anew("PUT /v1/agent/reload").await {
                    Ok(()) => Response::empty(StatusCode::OK),
                    Err(failure) => Response::text(StatusCode::INTERNAL_SERVER_ERROR, failure.message),
                }
            }
        };
        router.add("/v1/agent/reload", Route::new().on(Method::PUT, reload));
    }
}

/// Reads definitions and judges each by itself.
///
/// # Errors
/// When a file cannot be read or a definition is wrong, with its place.
pub(crate) fn read(source: &Source, scripts: Scripts) -> Result<Definitions, Failure> {
    let (definitions, scripts) = (source.read()?, scripts != Scripts::Off);
    for (place, map) in &definitions.services {
        judge_service(map, scripts).map_err(|reason| wrong(place, &reason))?;
    }
    for (place, map) in &definitions.checks {
        judge_check(map, scripts).map_err(|reason| wrong(place, &reason))?;
    }
    Ok(definitions)
}

fn wrong(place: &str, reason: &str) -> Failure {
    Failure::new(Exit::Invalid, format!("{place}: {reason}")).hint("mend the definition")
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

#[cfg(test)]
mod tests;
