//! Stores that no server runs on, and what is said when they cannot be used.

use std::path::Path;
use std::sync::Arc;

use weir_store::{Embedded, Error, LeftOut, Spec, Store};

use super::what;
use crate::control_plane::{mend, role_in};
use crate::exit::{Exit, Failure};

/// Opens a store that is there, to look at it: none is created by that, and none is changed.
pub(super) async fn existing(spec: &Spec) -> Result<Arc<dyn Store>, Failure> {
    let Spec::Embedded(path) = spec else {
        return weir_store::open(spec).await.map_err(|error| failure(spec, &error));
    };
    check_there(path)?;
    let read = Embedded::read(path).map_err(|error| failure(spec, &error))?;
    Ok(Arc::new(read))
}

/// Opens what is whole of a store in a data directory, to look at it; and says what of its log is left out.
pub(super) fn whole_part(spec: &Spec) -> Result<(Arc<dyn Store>, Option<LeftOut>), Failure> {
    let Spec::Embedded(path) = spec else {
        return Err(Failure::new(
            Exit::Usage,
            "--intact is for a damaged data directory; expected --data-dir DIR",
        ));
    };
    check_there(path)?;
    let (read, left_out) = Embedded::read_intact(path).map_err(|error| failure(spec, &error))?;
    Ok((Arc::new(read), left_out))
}

fn check_there(path: &Path) -> Result<(), Failure> {
    if Embedded::is_there(path) {
        return Ok(());
    }
    let (message, hint) = what::no_store_in(path.parent().unwrap_or(path));
    Err(Failure::new(Exit::NotFound, message).hint(hint))
}

/// What is said when only a part was exported.
pub(super) fn in_part(spec: &Spec, file: &Path, left_out: &LeftOut) -> Failure {
    let LeftOut { path, reason, after, records, up_to } = left_out;
    let records = match records {
        0 => "nobody can tell how much that is".to_owned(),
        1 => "at least 1 record of the log".to_owned(),
        _ => format!("at least {records} records of the log"),
    };
    let up_to = up_to.map_or_else(String::new, |last| {
        format!(", up to revision {last} as far as it can be read ({} writes)", last - after)
    });
    let message = format!(
        "{path}: {reason}\nleft out is everything that was written after revision {after}: {records}{up_to}"
    );
    let failure = Failure::new(Exit::InPart, message);
    let Some(dir) = folder(spec) else { return failure };
    failure.hint(format!(
        "keep a copy of {0}; then `weir store restore {1} --data-dir {0} --replace` goes on with what was exported",
        dir.display(),
        file.display()
    ))
}

fn folder(spec: &Spec) -> Option<&Path> {
    match spec {
        Spec::Embedded(path) => path.parent(),
        _ => None,
    }
}

/// Whose store it is.
fn role(spec: &Spec) -> &'static str {
    folder(spec).map_or("server", role_in)
}

pub(super) fn failure(spec: &Spec, error: &Error) -> Failure {
    let failure = |exit| Failure::new(exit, error.to_string());
    match error {
        Error::InUse { .. } => failure(Exit::CannotStart).hint(match role(spec) {
            "agent" => "a host's agent runs on it: stop it first",
            _ => "a server runs on it: stop it first, or copy its store with `weir store backup FILE` while it runs",
        }),
        Error::NotEmpty { .. } => failure(Exit::Failed)
            .hint("add --replace to lose what is there; `weir store export` keeps a copy of it"),
        Error::Unfinished { .. } => {
            failure(Exit::Failed).hint("`weir store import FILE --store ... --replace` begins anew")
        }
        Error::Compacted { .. } => failure(Exit::Failed)
            .hint("etcd forgot the moment that was being read; try again, or let it keep more history"),
        Error::Corrupt { .. } => match folder(spec) {
            Some(dir) => failure(Exit::Invalid).hint(mend(dir)),
            None => failure(Exit::Invalid),
        },
        Error::NewerFormat { .. } => failure(Exit::Invalid),
        Error::Open { .. } | Error::Unavailable { .. } if matches!(spec, Spec::Etcd(_)) => {
            failure(Exit::Unreachable).hint("is etcd there? `etcdctl --endpoints HOST:PORT endpoint health` tells")
        }
        _ => failure(Exit::Failed),
    }
}
