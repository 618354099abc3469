//! `weir store import`: fills a store from a file.
//!
//! ```text
//! read the file to its end -> is the store free and empty? -> embedded: a new file takes the place of the old one
//!                                                          -> etcd: mark as unfinished, empty, fill, unmark
//! ```
//!
//! Nothing is touched before the whole file is known to be good.

use std::path::Path;

use weir_model::Position;
use weir_store::archive::{self, ArchiveError, Head, Reader};
use weir_store::{
    Embedded, Entry, Error, Etcd, EtcdAddress, EtcdOptions, Key, KeyRange, Read, Restore, Spec, Store, Txn,
};

use super::{file, opened};
use crate::cli::store::ImportArgs;
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) async fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let spec = super::spec(&args.store)?;
    let summary = file::verify(&args.file)?;
    let source = Source { path: &args.file, head: summary.head.clone() };
    let position = match &spec {
        Spec::Embedded(path) => into_file(path, &source, args.replace),
        Spec::Etcd(address) => into_etcd(address, &source, args.replace).await,
        // Nothing else can be named.
        _ => return Err(Failure::new(Exit::Usage, format!("{spec} cannot be filled"))),
    };
    let position = position.map_err(|fault| fault.failure(&spec, &args.file))?;
    output::print(&format!("{} keys imported into {spec}, which begins at {position}\n", summary.keys()));
    Ok(Exit::Done)
}

/// A file that is known to be good.
struct Source<'a> {
    path: &'a Path,
    head: Head,
}

impl Source<'_> {
    fn entries(&self) -> Result<impl Iterator<Item = Result<(Key, Entry), Fault>> + use<>, Fault> {
        let file = file::open(self.path).map_err(Fault::Said)?;
        Ok(Reader::open(file).map_err(Fault::File)?.map(|entry| entry.map_err(Fault::File)))
    }
}

/// What went wrong.
enum Fault {
    Store(Error),
    /// The file was changed after it was found to be good.
    File(ArchiveError),
    Said(Failure),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    fn failure(self, spec: &Spec, path: &Path) -> Failure {
        match self {
            Self::Store(error) => opened::failure(spec, &error),
            Self::File(error) => file::unfit(path, &error),
            Self::Said(failure) => failure,
        }
    }
}

fn into_file(path: &Path, source: &Source<'_>, replace: bool) -> Result<Position, Fault> {
    if let Some(folder) = path.parent() {
        crate::control_plane::create_data_dir(folder).map_err(Fault::Said)?;
    }
    Embedded::restore(path, Restore { from: source.head.position, replace }, source.entries()?)
}

async fn into_etcd(address: &EtcdAddress, source: &Source<'_>, replace: bool) -> Result<Position, Fault> {
    let store = Etcd::open_for_import(address, EtcdOptions::default()).await?;
    let servers = weir_control::servers_on(&store).await.map_err(|error| {
        Fault::Said(Failure::new(Exit::Failed, format!("cannot tell which servers run on it: {error}")))
    })?;
    if !servers.is_empty() {
        let message = format!("servers run on this store: {}", servers.join(", "));
        return Err(Fault::Said(Failure::new(Exit::CannotStart, message).hint("stop them first")));
    }
    let is_empty = store.range(Read::range(KeyRange::all()).limit(1).keys_only()).await?.entries.is_empty();
    if !is_empty && !replace {
        let keys = archive::survey(&store).await?.keys();
        return Err(Error::NotEmpty { path: address.to_string(), keys }.into());
    }
    store.begin_import(source.head.position.epoch).await?;
    store.commit(Txn::new().delete_range(KeyRange::all())).await?;
    archive::fill(&store, source.entries()?).await?;
    Ok(store.end_import().await?)
}
