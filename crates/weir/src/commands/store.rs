//! `weir store`: copies of everything that a control plane keeps.

mod file;
mod import;
mod opened;
mod what;

use std::path::Path;

use weir_api::native::PREFIX;
use weir_store::archive::{self, Export, Summary};
use weir_store::{Spec, Store};

use crate::cli::roles::LogArgs;
use crate::cli::store::{BackupArgs, CheckArgs, ExportArgs, StoreArg, StoreArgs, StoreCommand};
use crate::exit::{Exit, Failure};
use crate::output::{self, Table};
use crate::{log, server_client};

use file::NewFile;

pub(super) async fn run(args: &StoreArgs) -> Result<Exit, Failure> {
    // What is done is said by the answer; the log is for what is odd.
    let level = std::env::var_os("WEIR_LOG").is_none().then(|| "warn".to_owned());
    log::start(&LogArgs { log_level: level, log_format: None })?;
    match &args.command {
        StoreCommand::Backup(args) => backup(args).await,
        StoreCommand::Export(args) => export(args).await,
        StoreCommand::Import(args) => import::run(args).await,
        StoreCommand::Check(args) => check(args).await,
    }
}

async fn backup(args: &BackupArgs) -> Result<Exit, Failure> {
    let client = server_client::client(&args.server)?;
    let mut file = NewFile::create(&args.file)?;
    let download = client.download(&format!("{PREFIX}/backup"), |piece| file.write(piece)).await;
    download.map_err(|error| server_client::failure(&error))?;
    let summary = file.finish()?;
    said("backed up to", &args.file, &summary);
    Ok(Exit::Done)
}

async fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    let spec = spec(&args.store)?;
    let (store, left_out) = match args.intact {
        true => opened::whole_part(&spec)?,
        false => (opened::existing(&spec).await?, None),
    };
    let summary = export_to(&args.file, &*store, &spec).await?;
    said("exported to", &args.file, &summary);
    match left_out {
        Some(left_out) => Err(opened::in_part(&spec, &args.file, &left_out)),
        None => Ok(Exit::Done),
    }
}

async fn export_to(path: &Path, store: &dyn Store, spec: &Spec) -> Result<Summary, Failure> {
    let failed = |error: weir_store::Error| opened::failure(spec, &error);
    let mut export = Export::begin(store, weir_control::is_carried).await.map_err(failed)?;
    let mut file = NewFile::create(path)?;
    while let Some(piece) = export.next().await.map_err(failed)? {
        file.write(&piece).map_err(|error| file::failed(path, &error))?;
    }
    file.finish()
}

async fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let summary = match &args.file {
        Some(path) => file::verify(path)?,
        None => {
            let spec = spec(&args.store).map_err(|failure| {
                failure.hint("a file of `weir store backup` is named alone: `weir store check FILE`")
            })?;
            let store = opened::existing(&spec).await?;
            archive::survey(&*store).await.map_err(|error| opened::failure(&spec, &error))?
        }
    };
    output::print(&table(&summary));
    Ok(Exit::Done)
}

/// The store that was named.
fn spec(arg: &StoreArg) -> Result<Spec, Failure> {
    match (&arg.data_dir, &arg.store) {
        (Some(dir), _) => Ok(Spec::Embedded(dir.join(crate::control_plane::STORE_FILE))),
        (None, Some(etcd)) => Ok(Spec::Etcd(etcd.clone())),
        (None, None) => {
            Err(Failure::new(Exit::Usage, "no store is named; expected --data-dir DIR or --store etcd://...")
                .hint("`weir store backup FILE` asks a running server instead"))
        }
    }
}

fn said(done: &str, path: &Path, summary: &Summary) {
    let (keys, position) = (summary.keys(), summary.head.position);
    output::print(&format!("{keys} keys at {position} {done} {}\n", path.display()));
}

fn table(summary: &Summary) -> String {
    let mut table = Table::new(&["KIND", "KEYS"]);
    for (kind, count) in &summary.kinds {
        let kind = if kind.is_empty() { "(none of Weir's)" } else { kind };
        table.row([kind.to_owned(), count.to_string()]);
    }
    let archive::Head { position, version, .. } = &summary.head;
    format!(
        "sound: {} keys, {} bytes, at {position}, written by weir {version}\n{}",
        summary.keys(),
        summary.bytes,
        table.render()
    )
}
