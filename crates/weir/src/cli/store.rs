//! Arguments of `weir store`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use weir_store::EtcdAddress;

use super::operator::ServerArg;

/// `weir store`.
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Copies everything that a control plane keeps: to a file while it runs (backup), from a store that no server \
                  needs to run on (export), and back (import, which is also called restore). A file fits every kind of store, so \
                  that export and import move from one to another.\n\n\
                  A file holds the store at one moment. Locks and what lives only as long as a server does are not in it: who \
                  held a lock learns that it is lost, and who takes it next has a greater fencing token. A file that was cut \
                  short or altered is refused as a whole.\n\n\
                  A data directory whose log is damaged or missing is refused, too. `export --intact` saves what is whole of it.",
    after_long_help = "Examples:\n  \
                       weir store backup weir-monday.store                       of the running server\n  \
                       weir store restore weir-monday.store --data-dir /var/lib/weir --replace\n  \
                       weir store export all.store --data-dir /var/lib/weir      from one machine ...\n  \
                       weir store import all.store --store etcd://10.0.0.1:2379  ... to an etcd cluster\n  \
                       weir store check weir-monday.store                        whole and unaltered?\n\n\
                       docs/backup.md tells more."
)]
pub(crate) struct StoreArgs {
    /// What to do
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What is done with a store.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Copy a running server's store to a file
    Backup(BackupArgs),
    /// Copy a store to a file, without a server
    Export(ExportArgs),
    /// Fill a store from a file
    #[command(visible_alias = "restore")]
    Import(ImportArgs),
    /// Say whether a file or a store is sound, and what is in it
    Check(CheckArgs),
}

/// Which store is meant.
#[derive(Args, Clone, Debug, Default)]
#[group(required = false, multiple = false)]
pub(crate) struct StoreArg {
    /// The directory of a server that does not run
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// An etcd cluster: etcd://HOST:PORT,..., with the options of `weir server --store`
    #[arg(long, value_name = "ETCD")]
    pub store: Option<EtcdAddress>,
}

/// `weir store backup`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BackupArgs {
    /// The file to write; one that is there is replaced once the new one is whole
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which server
    #[command(flatten)]
    pub server: ServerArg,
}

/// `weir store export`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExportArgs {
    /// The file to write; one that is there is replaced once the new one is whole
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which store
    #[command(flatten)]
    pub store: StoreArg,
    /// If the log of a data directory is damaged, leave out what is not whole, and say how much that is (exit status 8)
    #[arg(long, conflicts_with = "store")]
    pub intact: bool,
}

/// `weir store import`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ImportArgs {
    /// A file that backup or export has written
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which store
    #[command(flatten)]
    pub store: StoreArg,
    /// Replace what the store holds
    #[arg(long)]
    pub replace: bool,
}

/// `weir store check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// A file that backup or export has written
    #[arg(value_name = "FILE", conflicts_with_all = ["data_dir", "store"])]
    pub file: Option<PathBuf>,
    /// Which store
    #[command(flatten)]
    pub store: StoreArg,
}
