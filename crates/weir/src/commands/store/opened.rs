//! Stores that no server runs on, and what is said when they cannot be used.

use std::sync::Arc;

use weir_store::{Embedded, Error, Spec, Store};

use super::what;
use crate::control_plane::{mend, role_in};
use crate::exit::{Exit, Failure};

/// Opens a store that is there, to look at it: none is created by that, and none is changed.
pub(super) async fn existing(spec: &Spec) -> Result<Arc<dyn Store>, Failure> {
    let Spec::Embedded(path) = spec else {
        return weir_store::open(spec).await.map_err(|error| failure(spec, &error));
    };
    if !Embedded::is_there(path) {
        let (message, hint) = what::no_store_in(path.parent().unwrap_or(path));
        return Err(Failure::new(Exit::NotFound, message).hint(hint));
    }
    let read = Embedded::read(path).map_err(|error| failure(spec, &error))?;
    Ok(Arc::new(read))
}

/// Whose store it is.
fn role(spec: &Spec) -> &'static str {
    match spec {
        Spec::Embedded(path) => path.parent().map_or("server", role_in),
        _ => "server",
    }
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
        Error::Corrupt { .. } => match spec {
            Spec::Embedded(path) => failure(Exit::Invalid).hint(mend(path.parent().unwrap_or(path))),
            _ => failure(Exit::Invalid),
        },
        Error::NewerFormat { .. } => failure(Exit::Invalid),
        Error::Open { .. } | Error::Unavailable { .. } if matches!(spec, Spec::Etcd(_)) => {
            failure(Exit::Unreachable).hint("is etcd there? `etcdctl --endpoints HOST:PORT endpoint health` tells")
        }
        _ => failure(Exit::Failed),
    }
}
